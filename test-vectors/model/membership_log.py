"""Section 11 of docs/PROTOCOL.md: operations, their form, and what a set of them means. Computed anew from the whole set."""

from dataclasses import dataclass, field

from primitives import H, VERIFY, L, Reader, Refused, need, u16, u32

FOUND, ADD, REMOVE, APPOINT, DISMISS, BAN, LIFT, LEAVE, RETIRE, SET = range(10)
NONE = bytes(32)
CUTS = (REMOVE, DISMISS, BAN)
HEIGHT, OWN = 65535, 32768


@dataclass
class Operation:
    log: bytes
    account: bytes
    device: bytes
    admission: bytes
    parents: list
    changes: list  # (kind, ...)
    signature: bytes
    unsigned: bytes
    # Given by the accounts' logs.
    rank: int = 0
    target: int = 0
    past: set = field(default_factory=set)
    height: int = 0

    @property
    def id(self):
        return H("OPID", self.unsigned)

    def has(self, kind, account):
        return (kind, account) in self.changes

    def cuts(self, account):
        return any(self.has(kind, account) for kind in CUTS)

    def adds(self, account):
        return self.has(ADD, account) or self.has(APPOINT, account)

    def removes(self, account):
        return self.has(REMOVE, account) or self.has(BAN, account)

    def is_only(self, kind):
        return len(self.changes) == 1 and self.changes[0][0] == kind

    def named(self):
        return [change[1] for change in self.changes if ADD <= change[0] <= LIFT]


def read_change(r):
    kind = r.uint(1)
    need(kind <= SET, "kind")
    if kind == FOUND:
        return kind, r.take(16)
    if kind == LEAVE:
        return (kind,)
    if kind == RETIRE:
        return kind, r.take(32), r.take(32)
    if kind == SET:
        key, length = r.take(1), r.uint(2)
        need(length <= 1024, "length")
        return kind, key, r.take(length)
    return kind, r.take(32)


def subject(change):
    kind = change[0]
    return (kind, bytes(32) if kind in (FOUND, LEAVE) else change[1])


def read_operation(data):
    need(len(data) <= 8192, "length")
    r = Reader(data)
    log, account, device, admission = (r.take(32) for _ in range(4))
    count = r.uint(1)
    need(count <= 8, "parents")
    parents = [r.take(32) for _ in range(count)]
    need(all(a < b for a, b in zip(parents, parents[1:])), "order")
    need((log == NONE) == (not parents), "genesis")
    count = r.uint(1)
    need(count <= 64, "changes")
    changes = [read_change(r) for _ in range(count)]
    need(all(subject(a) < subject(b) for a, b in zip(changes, changes[1:])), "order")
    unsigned = data[: r.at]
    signature = r.take(64)
    r.end()
    return Operation(log, account, device, admission, parents, changes, signature, unsigned)


class Log:
    """All operations that have come; `authors` gives key and rank of (account, device, admission)."""

    def __init__(self, genesis, authors):
        self.ops, self.authors = {}, authors
        op = read_operation(genesis)
        need(sum(c[0] == FOUND for c in op.changes) == 1 and not op.parents, "Genesis")
        need(all(c[0] in (FOUND, ADD, APPOINT, SET) for c in op.changes), "Genesis")
        self.id, self.owner = op.id, op.account
        self.check_named(op)
        self.verify(op)
        self.ops[self.id] = op

    def verify(self, op):
        key, op.rank = self.authors(op.account, op.device, op.admission)
        if op.is_only(RETIRE):
            op.target = self.authors(op.account, op.changes[0][1], op.changes[0][2])[1]
        VERIFY(key, L("OP") + op.unsigned, op.signature)

    def check_named(self, op):
        named = op.named()
        need(len(named) == len(set(named)) and self.owner not in named and op.account not in named, "Named")

    def take(self, data):
        """Adds an operation whose parents are here."""
        op = read_operation(data)
        need(op.log == self.id, "OtherLog")
        self.verify(op)
        need(all(p in self.ops for p in op.parents), "WaitsForParents")
        op.past = set(op.parents).union(*(self.ops[p].past for p in op.parents))
        op.height = 1 + max(self.ops[p].height for p in op.parents)
        self.check_form(op)
        self.ops[op.id] = op
        return op.id

    def check_form(self, op):
        kinds, own = [c[0] for c in op.changes], op.account == self.owner
        need(FOUND not in kinds, "Genesis")
        self.check_named(op)
        need(kinds or len(op.parents) >= 2, "Empty")
        need(len(kinds) == 1 or not {LEAVE, RETIRE} & set(kinds), "NotAlone")
        past = [self.ops[i] for i in op.past]
        if kinds == [LEAVE]:
            need(not own, "OwnerLeaves")
            need(len(op.parents) == 1 and self.ops[op.parents[0]].adds(op.account), "LeaveParent")
        elif own:
            pass
        elif kinds == [RETIRE]:
            need(any(o.adds(op.account) for o in past), "NeverIn")
        else:
            need(not {APPOINT, DISMISS} & set(kinds), "NotAdmin")
            need(any(o.account == self.owner and o.has(APPOINT, op.account) for o in past), "NotAdmin")
        mine = sum(o.account == op.account for o in past)
        need(op.height <= HEIGHT and mine < OWN, "Full")

    def knows(self, later, earlier):
        return earlier in self.ops[later].past

    def close(self, ids):
        return set(ids).union(*(self.ops[i].past for i in ids))

    def heads(self, ids):
        return sorted(set(ids) - {p for i in ids for p in self.ops[i].parents})

    def stands(self, x, retirings):
        """Rule 3: what a retired device wrote stands if the retiring has it in its past."""
        return all(self.ops[r].changes[0][1:] != (self.ops[x].device, self.ops[x].admission) or self.knows(r, x) for r in retirings)

    def retirings(self, ids, account, accept):
        """Those of an account that count, by seniority."""
        found = []
        of = [i for i in ids if self.ops[i].account == account and self.ops[i].is_only(RETIRE)]
        for r in sorted(of, key=lambda i: (self.ops[i].rank, self.ops[i].height, i)):
            if self.ops[r].rank < self.ops[r].target and accept(r) and self.stands(r, found):
                found.append(r)
        return found

    def meaning(self, ids=None):
        ids, own, ops = list(self.ops if ids is None else ids), self.owner, self.ops
        # 1, 3: the owner.
        retired = self.retirings(ids, own, lambda r: True)
        owners = [i for i in ids if ops[i].account == own and self.stands(i, retired)]
        effective, live = set(owners), set(owners) | set(retired)

        def cuts(t):
            return [i for i in owners if ops[i].cuts(t)]

        def appointments(t):
            return [i for i in owners if ops[i].has(APPOINT, t)]

        # 2, 3: admins.
        for account in {ops[i].account for i in ids} - {own}:
            grants, ends = appointments(account), cuts(account)

            def authorised(x):
                return any(self.knows(x, g) and all(self.knows(g, k) or self.knows(k, x) for k in ends) for g in grants)

            retired = self.retirings(ids, account, authorised)
            live |= set(retired)
            for x in ids:
                op = ops[x]
                if op.account == account and not op.is_only(LEAVE) and not op.is_only(RETIRE):
                    if authorised(x) and self.stands(x, retired):
                        effective.add(x)
        live |= effective
        # 4: members.
        leavings = [i for i in ids if ops[i].is_only(LEAVE)]
        live |= {i for i in leavings if ops[i].parents[0] in effective}
        members, admins = {own}, set()
        for t in {name for i in effective for name in ops[i].named()}:
            left = {ops[i].parents[0] for i in leavings if ops[i].account == t}
            appointed = any(g not in left and all(self.knows(g, k) for k in cuts(t)) for g in appointments(t))
            removals = [r for r in effective if ops[r].removes(t) and (not appointed or ops[r].account == own)]
            lifts = [f for f in effective if ops[f].has(LIFT, t)]

            def reached(a, r):
                weak = ops[a].account == own and ops[r].account != own
                if not self.knows(a, r) and (not weak or self.knows(r, a)):
                    return True
                if not ops[r].has(BAN, t) or weak:
                    return False
                may = [f for f in lifts if ops[f].account == own or ops[r].account != own]
                return not any(self.knows(f, r) and self.knows(a, f) for f in may)

            if any(ops[a].adds(t) and a not in left and not any(reached(a, r) for r in removals) for a in effective):
                members.add(t)
                if appointed:
                    admins.add(t)
        # 5: settings.
        settings = {}
        for key in {c[1] for i in effective for c in ops[i].changes if c[0] == SET}:
            writes = [i for i in effective if any(c[0] == SET and c[1] == key for c in ops[i].changes)]
            tops = [i for i in writes if not any(self.knows(other, i) for other in writes)]
            settings[key] = min(tops, key=lambda i: (ops[i].account != own, -ops[i].height, i))
        return {"members": members, "admins": admins, "settings": settings, "effective": effective, "live": live}

    def heads_hash(self):
        live = self.close(self.meaning()["live"])
        return H("HEADS", self.id + b"".join(self.heads(live)))[:16]


def write_want(log, number):
    """The question of a replica whose operations came in this order."""
    live = log.close(log.meaning()["live"])
    heads, order = log.heads(live), [i for i in log.ops if i in live]
    older = []
    for power in range(16):
        if len(order) > 1 << power and order[-1 - (1 << power)] not in older:
            older.append(order[-1 - (1 << power)])
    ids = b"".join
    return (
        b"\x01" + log.id + u32(number) + log.heads_hash() + u32(len(heads)) + bytes([len(heads[:8])]) + ids(heads[:8])
        + bytes([len(older)]) + ids(older) + NONE
    )


def write_ops(log, number, operations):
    out = b"\x02" + log.id + u32(number) + log.heads_hash() + b"\x00" + u16(len(operations))
    return out + b"".join(u16(len(o)) + o for o in operations)


def compare(lines):
    """Histories as examples/log_histories writes them: what the crate says after each operation, and this. Returns counts."""
    logs = operations = refused = mismatched = 0
    log = None
    for line in lines:
        data = bytes.fromhex(line["operation"])
        if "log" in line:
            log, order = Log.__new__(Log), []
            log.ops, log.authors = {}, None
            op = read_operation(data)
            log.id, log.owner = op.id, op.account
            op.rank = op.device[0]
            log.ops[op.id] = op
            order.append(op.id)
            logs += 1
        else:
            op = read_operation(data)
            # Ranks are the devices' first bytes there; signatures are the vectors' matter.
            op.rank, op.target = op.device[0], op.changes[0][1][0] if op.is_only(RETIRE) else 0
            order.append(op.id)
            # What its author could never write, and what builds on that, is in no set.
            if all(p in log.ops for p in op.parents):
                op.past = set(op.parents).union(*(log.ops[p].past for p in op.parents))
                op.height = 1 + max(log.ops[p].height for p in op.parents)
                try:
                    log.check_form(op)
                    log.ops[op.id] = op
                except Refused:
                    refused += 1
        operations += 1
        if describe(log, order) != line["state"]:
            mismatched += 1
    return logs, operations, refused, mismatched


def describe(log, order):
    m = log.meaning()
    kept = log.close(m["live"])
    roles = ""
    for name in range(7):
        account = bytes([name]) * 32
        roles += "O" if account == log.owner else "A" if account in m["admins"] else "M" if account in m["members"] else "-"
    verdicts = "".join(str((i in m["effective"]) + 2 * (i in m["live"]) + 4 * (i in kept)) for i in order)
    settings = {str(key[0]): order.index(i) for key, i in m["settings"].items()}
    return {"roles": roles, "verdicts": verdicts, "settings": settings}
