"""Section 9 of docs/PROTOCOL.md: rosters, commits, branches, sender chains, group messages."""

from dataclasses import dataclass, field, replace

from primitives import H, L, OPEN, SIGN, VERIFY, Reader, Refused, ed_public, equal, need, u32, u64
from sceau import (
    AHEAD, JUMP, KEPT, SPENT, Skipped, body_nonce, bucket, chain_step, fingerprint, open_header, read_content, refusal, seal_message, tag,
    tag_key, NO_PREFIX,
)
from around import mailbox

MEMBER, ADMIN = 1, 2
NEVER = 2**64 - 1


# 9.1 Roster and commits


@dataclass
class Roster:
    group: bytes
    epoch: int
    policy: tuple  # (max messages, max age)
    members: dict  # fingerprint: (identity key, role, admin since)

    def write(self):
        out = self.group + u64(self.epoch) + u32(self.policy[0]) + u64(self.policy[1]) + u32(len(self.members))
        for fp in sorted(self.members):
            key, role, since = self.members[fp]
            out += key + bytes([role]) + u64(since)
        return out

    def hash(self):
        return H("ROSTER", self.write())

    def since(self, fp):
        return self.members[fp][2] if fp in self.members else NEVER

    def is_admin(self, fp):
        return fp in self.members and self.members[fp][1] == ADMIN


def read_policy(r):
    policy = r.uint(4), r.uint(8)
    need(1 <= policy[0] <= 2**31, "policy")
    return policy


def read_role(r):
    role = r.uint(1)
    need(role in (MEMBER, ADMIN), "role")
    return role


def read_roster(r):
    group, epoch = r.take(32), r.uint(8)
    need(epoch < 2**63 - 1, "epoch")
    policy, count = read_policy(r), r.uint(4)
    need(count <= 10000, "members")
    members, last = {}, b""
    for _ in range(count):
        key, role, since = r.take(96), read_role(r), r.uint(8)
        fp = fingerprint(key)
        need(fp > last, "order")
        need(since == NEVER if role == MEMBER else since <= epoch, "since")
        members[fp], last = (key, role, since), fp
    return Roster(group, epoch, policy, members)


def founded(group, identity_key, policy):
    return Roster(group, 0, policy, {fingerprint(identity_key): (identity_key, ADMIN, 0)})


def first_hash(roster):
    return H("GTH0", roster.hash())


def next_hash(commit_bytes, roster):
    return H("GTH", commit_bytes + roster.hash())


def write_change(change):
    what = change[0]
    if what == "add":
        return b"\x01" + change[1] + bytes([change[2]])
    if what == "remove":
        return b"\x02" + change[1]
    if what == "role":
        return b"\x03" + change[1] + bytes([change[2]])
    if what == "leave":
        return b"\x04"
    return b"\x05" + u32(change[1][0]) + u64(change[1][1])


def read_change(r):
    what = r.uint(1)
    if what == 1:
        return "add", r.take(96), read_role(r)
    if what == 2:
        return "remove", r.take(32)
    if what == 3:
        return "role", r.take(32), read_role(r)
    if what == 4:
        return ("leave",)
    need(what == 5, "change")
    return "policy", read_policy(r)


@dataclass
class Commit:
    extends: bytes
    signer: bytes
    changes: list
    bytes: bytes

    def added(self):
        return [fingerprint(c[1]) for c in self.changes if c[0] == "add"]

    def id(self):
        return H("CID", self.bytes)


def make_commit(identity, group, extends, changes):
    before = extends + identity.fingerprint + u32(len(changes)) + b"".join(write_change(c) for c in changes)
    return Commit(extends, identity.fingerprint, changes, before + SIGN(identity.ed_seed, L("COMMIT") + group + before))


def read_commit(r):
    start = r.at
    extends, signer, count = r.take(32), r.take(32), r.uint(4)
    need(1 <= count <= 4096, "changes")
    changes = [read_change(r) for _ in range(count)]
    r.take(64)
    return Commit(extends, signer, changes, r.data[start : r.at])


def verify_commit(commit, group, signer_key):
    VERIFY(signer_key[:32], L("COMMIT") + group + commit.bytes[:-64], commit.bytes[-64:])


def apply_commit(roster, commit):
    """Gives (the roster after it, whether it ends every chain). The caller has compared the hash it extends."""
    signer = commit.signer
    need(signer in roster.members, "signer")
    leaving = commit.changes == [("leave",)]
    need(leaving or roster.is_admin(signer), "admin")
    verify_commit(commit, roster.group, roster.members[signer][0])
    epoch = roster.epoch + 1
    need(epoch < 2**63 - 1, "epoch")
    members, policy = dict(roster.members), roster.policy
    named, ends, policies = set(), False, 0

    def name(fp):
        need(fp not in named, "twice")
        named.add(fp)

    for change in commit.changes:
        what = change[0]
        if what == "add":
            fp = fingerprint(change[1])
            name(fp)
            need(fp not in roster.members, "in already")
            members[fp] = change[1], change[2], epoch if change[2] == ADMIN else NEVER
        elif what == "remove":
            fp = change[1]
            name(fp)
            need(fp in roster.members and fp != signer, "not in")
            del members[fp]
            ends = True
        elif what == "role":
            _, fp, role = change
            name(fp)
            need(fp in roster.members and roster.members[fp][1] != role, "role")
            members[fp] = roster.members[fp][0], role, epoch if role == ADMIN else NEVER
            ends = ends or role == MEMBER
        elif what == "leave":
            need(leaving, "leaving stands alone")
            del members[signer]
            ends = True
        else:
            policies += 1
            need(policies == 1 and change[1] != roster.policy, "policy")
            policy = change[1]
    if any(c == ("role", signer, MEMBER) for c in commit.changes):
        need(not commit.added(), "adds and gives up")
    need(len(members) <= 10000, "members")
    return Roster(roster.group, epoch, policy, members), ends


def read_welcome(r, own, sender):
    """What follows 0x02; gives (commit, roster)."""
    commit = read_commit(r)
    roster = read_roster(r)
    r.end()
    need(commit.signer == sender, "signer")
    need(roster.is_admin(sender) and roster.since(sender) < roster.epoch, "signer")
    verify_commit(commit, roster.group, roster.members[sender][0])
    for change in commit.changes:
        what = change[0]
        if what == "add":
            key, role, since = roster.members.get(fingerprint(change[1]), (None, None, None))
            need(key == change[1] and role == change[2] and (role == MEMBER or since == roster.epoch), "welcome")
        elif what == "remove":
            need(change[1] not in roster.members, "welcome")
        elif what == "role":
            _, role, since = roster.members.get(change[1], (None, None, None))
            need(role == change[2] and (role == MEMBER or since == roster.epoch), "welcome")
        else:
            need(what == "policy" and change[1] == roster.policy, "welcome")
    need(own in commit.added(), "welcome")
    return commit, roster


# 9.2 Concurrent commits


def signer_order(group, signer):
    return H("ORDER", group + signer)


def branch_rank(commits, first_hash_after):
    """The smaller is better. commits: (roster that it extends, commit) each."""
    ranks = [(roster.since(c.signer), signer_order(roster.group, c.signer)) for roster, c in commits]
    return min(ranks), ranks[0], first_hash_after


def commits_wanted(group, epoch, hashes):
    return b"\x02" + group + u64(epoch) + bytes([len(hashes)]) + b"".join(hashes)


def commits_gone(group, epoch, th):
    return b"\x04" + group + u64(epoch) + th


# 9.3 Sender chains


def chain_context(group, sender):
    return H("SCHAIN", group + sender)


def group_context(group, epoch, th, sender, verification_key):
    return H("GCTX", group + u64(epoch) + th + sender + verification_key)


@dataclass
class OwnChain:
    ck: bytes
    hs: bytes
    seed: bytes
    epoch: int
    began: int
    n: int = 0
    told: set = field(default_factory=set)

    def announcement(self, group, epoch, th):
        return group + u64(epoch) + th + self.ck + self.hs + u32(self.n) + ed_public(self.seed)


def new_chain(rng, epoch, now):
    ck, hs, seed = rng.draw(32), rng.draw(32), rng.draw(32)
    return OwnChain(ck, hs, seed, epoch, now)


@dataclass
class Announcement:
    group: bytes
    epoch: int
    th: bytes
    ck: bytes
    hs: bytes
    n: int
    key: bytes


def read_announcement(content):
    r = Reader(content)
    a = Announcement(r.take(32), r.uint(8), r.take(32), r.take(32), r.take(32), r.uint(4), r.take(32))
    r.end()
    need(a.n < 2**31, "n")
    return a


# 9.4 Group messages


def group_payload(kind, content, signature, length):
    out = bytes([kind]) + len(content).to_bytes(4, "big") + content + b"\x00" + signature
    return out + bytes(length - len(out))


def seal_group(group, epoch, th, sender, chain, kind, content, rng, spoil=None):
    size = bucket(len(content))
    r = rng.draw(12)
    n = chain.n
    need(n < 2**31, "chain is full")
    own, outer = group_context(group, epoch, th, sender, ed_public(chain.seed)), chain_context(group, sender)
    t = tag(tag_key(chain.hs, outer), n)
    signed = bytes([kind]) + u32(len(content)) + content + b"\x00"
    chain.ck, mk = chain_step(chain.ck)
    chain.n += 1
    header = bytes(20) + u64(epoch) + bytes(12) + u32(n)
    header += body_nonce(mk, r, own, t, header, size, signed)
    signature = SIGN(chain.seed, L("GMSG") + own + t + header + H("GPAY", signed))
    payload = group_payload(kind, content, signature, size - 138)
    if spoil:  # for negative tests
        header, payload = spoil(header, payload)
    return b"\x01\x02" + seal_message(2, NO_PREFIX, outer, own, chain.hs, n, mk, header, payload)


def chain_mailbox(group, sender, hs):
    return mailbox(hs, chain_context(group, sender))


class MemberChain:
    def __init__(self, sender, announcement):
        a = announcement
        self.group, self.sender, self.epoch, self.key = a.group, sender, a.epoch, a.key
        self.ck, self.hs, self.n = a.ck, a.hs, a.n
        self.context = chain_context(a.group, sender)
        self.start = a.n
        self.skipped = []
        self.end = None  # the epoch at which it was ended

    def recognise(self, t):
        for s in self.skipped:
            if s.tag == t:
                return "skipped", s
        tk = tag_key(self.hs, self.context)
        for i in range(self.n, self.n + AHEAD):
            if tag(tk, i) == t:
                return "current", i
        for i in range(max(0, self.n - SPENT), self.n):
            if tag(tk, i) == t:
                return "spent", i
        return None

    def open(self, envelope, where, present_epoch, hash_of):
        """hash_of(epoch) gives the group's hash then, or nothing. Gives (epoch, kind, content)."""
        place, key = where
        need(place != "spent", "Duplicate")
        sealed = envelope.sealed
        with refusal("Rejected"):
            header = open_header(envelope.kind, envelope.p, self.context, self.hs, sealed)
            r = Reader(header)
            zeros, epoch, more, n = r.take(20), r.uint(8), r.take(12), r.uint(4)
            need(zeros == bytes(20) and more == bytes(12) and n < 2**31, "header")
            tk = tag_key(self.hs, self.context)
            need(equal(tag(tk, n), sealed[:16]), "tag")
        need(epoch <= present_epoch, "CommitMissing")
        th = hash_of(epoch)
        need(th is not None, "EpochGone")
        need(epoch >= self.epoch and (self.end is None or epoch < self.end), "RosterDiffers")
        ck, passed = self.ck, []
        if place == "skipped":
            need(key.n == n, "Rejected")
            mk = key.mk
        else:
            need(n >= self.n, "Duplicate")
            need(n - self.n <= JUMP, "Rejected")
            for i in range(self.n, n):
                ck, mk = chain_step(ck)
                passed.append(Skipped(tag(tk, i), self.hs, i, mk))
            ck, mk = chain_step(ck)
        context = group_context(self.group, epoch, th, self.sender, self.key)
        with refusal("RosterDiffers"):
            plain = OPEN(mk, header[44:], context + sealed[:16] + header, sealed[88:])
        with refusal("Rejected"):
            need(equal(plain[:32], bytes(32)), "commitment")
            payload = plain[32:]
            r = Reader(payload)
            kind = r.uint(1)
            need(kind in (1, 6, 7), "payload")
            content = r.take(r.uint(4))
            need(r.take(1) == b"\x00", "payload")
            signed = payload[: r.at]
            signature = r.take(64)
            need(not any(r.take(r.left())), "zeros")
            VERIFY(self.key, L("GMSG") + context + sealed[:16] + header + H("GPAY", signed), signature)
            said = read_content(kind, content)
        if place == "skipped":
            self.skipped = [s for s in self.skipped if s is not key]
        else:
            self.skipped = (self.skipped + passed)[-KEPT:]
            self.ck, self.n = ck, n + 1
        return epoch, kind, said
