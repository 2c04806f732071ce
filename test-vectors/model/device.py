"""A device: identity, prekeys, sessions with peers and their ranks (section 4), and its groups (section 9).

Nothing is stored; nothing is bounded that an honest test does not reach.
"""

from dataclasses import dataclass, field

from primitives import H, Reader, Refused, need, u64
from around import check_certificate, end_of, safety_number
import groups as g
import sceau as s
from sceau import DAY

SIGNED_LIFE, ONE_TIME_LIFE, GRACE, FADING = 30 * DAY, 90 * DAY, 30 * DAY, 14 * DAY
EPOCHS, COMMITS = 64, 8


@dataclass
class Peer:
    key: bytes
    bundle: object = None
    used: set = field(default_factory=set)  # one-time prekeys
    sessions: list = field(default_factory=list)
    told: tuple = None  # the greatest rank it named
    certified: tuple = None  # (address, not_after)
    shown: bytes = None  # the certificate it was shown

    def best(self):
        return max(self.sessions, key=lambda x: x.rank, default=None)


@dataclass
class Step:
    """A commit that was applied, with what it replaced."""

    commit: object
    before: object  # roster
    th_before: bytes
    ends: bool


@dataclass
class Group:
    roster: object
    th: bytes
    steps: list = field(default_factory=list)  # the last 8
    epochs: dict = field(default_factory=dict)  # epoch: (th, commit id), the last 64
    before_welcome: bytes = b""
    welcome: object = None  # the commit
    own: object = None
    chains: dict = field(default_factory=dict)  # fingerprint: newest first
    waiting: dict = field(default_factory=dict)  # fingerprint: commits
    early: dict = field(default_factory=dict)  # fingerprint: announcement
    owed: dict = field(default_factory=dict)  # fingerprint: [(payload kind, content)]
    given: set = field(default_factory=set)
    last_end: int = 0

    def owe(self, fp, kind, content):
        if (kind, content) not in self.owed.setdefault(fp, []):
            self.owed[fp].append((kind, content))

    def hash_of(self, epoch):
        return self.epochs[epoch][0] if epoch in self.epochs else None

    def hashes(self):
        """Newest first, as far as it can go back."""
        return [self.th] + [x.th_before for x in reversed(self.steps)]

    def enter(self, roster, th, commit_id):
        self.roster, self.th = roster, th
        self.epochs[roster.epoch] = th, commit_id
        for old in [e for e in self.epochs if e <= roster.epoch - EPOCHS]:
            del self.epochs[old]


class Device:
    def __init__(self, rng, now=1_800_000_000):
        self.rng, self.now = rng, now
        self.identity = s.new_identity(rng)
        self.record_secret = rng.draw(32)
        self.fp = self.identity.fingerprint
        self.signed = {}
        self.one_time = {}
        self.current = None
        self.introductions = {}  # (signed prekey id, introduction id): session id
        self.peers = {}
        self.groups = {}
        self.early = {}  # (group, fingerprint): announcement for a group that is not known yet
        self.certificate = None
        self.roots = []

    # 3. Prekeys

    def publish(self, count):
        if self.current is None or self.now >= self.current.not_after - SIGNED_LIFE // 2:
            self.current = s.new_prekey(self.rng, self._taken(), self.now + SIGNED_LIFE)
            self.signed[self.current.id] = self.current
        fresh = []
        for _ in range(count):
            key = s.new_prekey(self.rng, self._taken(), self.now + ONE_TIME_LIFE)
            self.one_time[key.id] = key
            fresh.append(key)
        self.upload = [k.signed(self.identity, "OPK") for k in fresh]
        return s.write_upload(self.identity.key, self.current.signed(self.identity, "SPK"), self.upload)

    def bundle(self):
        one_time = self.upload.pop() if self.upload else None
        return s.write_bundle(self.identity.key, self.current.signed(self.identity, "SPK"), one_time)

    def _taken(self):
        return set(self.signed) | set(self.one_time)

    # Peers and sessions

    def add(self, data):
        bundle = s.read_bundle(data)
        bundle.check(self.now)
        fp = s.fingerprint(bundle.identity_key)
        need(fp != self.fp, "own identity")
        peer = self.peers.setdefault(fp, Peer(bundle.identity_key))
        peer.bundle = bundle
        return fp

    def renew(self, fp, data):
        need(self.add(data) == fp, "identity")
        self._introduce(self.peers[fp])

    def _introduce(self, peer):
        need(peer.bundle is not None, "no bundle")
        bundle = peer.bundle
        bundle.check(self.now)
        if bundle.one_time and bundle.one_time.id in peer.used:
            bundle = s.Bundle(bundle.identity_key, bundle.signed, None)
        if bundle.one_time:
            peer.used.add(bundle.one_time.id)
        known = [x.created_at for x in peer.sessions] + ([peer.told[0]] if peer.told else [])
        created_at = max([self.now] + [x + 1 for x in known])
        certificate = self.certificate
        if certificate and end_of(certificate) < self.now:
            certificate = None
        secrets, prefix = s.initiate(self.identity, bundle, created_at, certificate, self.rng)
        session = s.Session.initiator(secrets, created_at, s.fingerprint(peer.key), bundle.signed.x, prefix)
        peer.sessions.append(session)
        peer.shown = certificate or peer.shown
        self._fade(peer)
        return session

    def _fade(self, peer):
        best = peer.best()
        for x in peer.sessions:
            if x is best:
                x.faded_since = None
            elif x.faded_since is None:
                x.faded_since = self.now
        peer.sessions = [x for x in peer.sessions if x is best or self.now - x.faded_since <= FADING]
        faded = [x for x in peer.sessions if x is not best]
        if len(faded) > 4:
            keep = max((x for x in faded if x.answered), key=lambda x: x.rank, default=None)
            if best.answered:
                keep = None
            peer.sessions.remove(next(x for x in faded if x is not keep))

    def session(self, fp):
        peer = self.peers[fp]
        best = peer.best()
        if best is None or (peer.told and peer.told > best.rank):
            return self._introduce(peer)
        return best

    def seal_kind(self, fp, kind, content):
        need(fp in self.peers, "unknown peer")
        s.bucket(len(content))
        return self.session(fp).seal(kind, content, self.rng)

    def seal(self, fp, content):
        """Gives (envelope, mailbox or nothing)."""
        envelope = self.seal_kind(fp, s.APPLICATION, content)
        return envelope, self.peers[fp].best().own_mailbox

    def seal_attachment(self, fp, attachment, note):
        need(len(attachment) == 72 and int.from_bytes(attachment[32:40], "big") <= 2**40, "attachment")
        envelope = self.seal_kind(fp, s.ATTACHMENT, attachment + note)
        return envelope, self.peers[fp].best().own_mailbox

    def receipt(self, fp, tags):
        need(1 <= len(tags) <= 256, "receipt")
        return self.seal_kind(fp, s.RECEIPT, b"".join(tags))

    def owed(self):
        out = []
        for fp in sorted(self.peers):
            peer = self.peers[fp]
            for session in peer.sessions:
                best = peer.best()
                if session.owes_outranked:
                    session.owes_outranked = False
                    if best is not session:
                        out.append((fp, session.seal(s.CONTROL, s.outranked(best.created_at, best.th2), self.rng)))
            if peer.best() and self.certificate and peer.shown and peer.shown != self.certificate:
                peer.shown = self.certificate
                out.append((fp, self.seal_kind(fp, s.CONTROL, b"\x05" + self.certificate)))
        return out

    def mailboxes(self, fp):
        return [a for x in self.peers[fp].sessions for a in x.mailboxes()]

    def safety(self, fp):
        return safety_number(self.fp, fp)

    # Opening

    def open(self, data, search=False):
        """Gives a tuple that begins with what it is."""
        envelope = s.read_envelope(data)
        refusal = Refused("unknown")
        for fp, peer in self.peers.items():
            for session in peer.sessions:
                where = session.recognise(envelope.tag)
                if where:
                    return self._take(fp, session, envelope, where)
        if envelope.prefix:
            return self._open_introduction(envelope)
        for group in self.groups.values():
            for fp, chains in group.chains.items():
                for chain in chains:
                    where = chain.recognise(envelope.tag)
                    if where:
                        return self._open_group(group, fp, chain, envelope, where)
        if search:
            for fp, peer in self.peers.items():
                for session in peer.sessions:
                    where = session.search(envelope)
                    if where:
                        return self._take(fp, session, envelope, where)
            for group in self.groups.values():
                for fp, chains in group.chains.items():
                    for chain in chains:
                        try:
                            s.open_header(2, s.NO_PREFIX, chain.context, chain.hs, envelope.sealed)
                        except Refused:
                            continue
                        return self._open_group(group, fp, chain, envelope, ("current", None))
        raise refusal

    def _take(self, fp, session, envelope, where):
        before = session.copy()
        message = session.open(envelope, where)
        try:
            return self._opened(fp, session, message, envelope)
        except Refused:  # content that is not well formed: nothing changes
            session.replace_by(before)
            raise

    def _open_introduction(self, envelope):
        prefix = envelope.prefix
        spk_id, opk_id = prefix[32:36], prefix[36:40]
        known = self.introductions.get((spk_id, s.introduction_id(prefix)))
        if known:
            for fp, peer in self.peers.items():
                for session in peer.sessions:
                    if session.id == known:
                        where = session.search(envelope)
                        need(where, "rejected")
                        return self._take(fp, session, envelope, where)
            raise Refused("session gone")
        spk = self.signed.get(spk_id)
        need(spk and self.now <= spk.not_after + GRACE, "prekey gone")
        opk = None
        if opk_id != bytes(4):
            opk = self.one_time.get(opk_id)
            need(opk and self.now <= opk.not_after + GRACE, "prekey gone")
        found = s.respond(self.identity, spk, opk, prefix, self.now)
        fp = s.fingerprint(found.identity_key)
        session, message = s.Session.responder(found.secrets, found.created_at, fp, spk.x_private, envelope)
        peer = self.peers.setdefault(fp, Peer(found.identity_key))
        if found.certificate and self.roots:
            self._certified(peer, found.certificate)
        if opk:
            del self.one_time[opk_id]
        self.introductions[spk_id, s.introduction_id(prefix)] = session.id
        peer.sessions.append(session)
        self._fade(peer)
        return self._opened(fp, session, message, envelope)

    def _certified(self, peer, certificate):
        try:
            said = check_certificate(certificate, peer.key, self.roots, self.now)
        except Refused:
            return
        if peer.certified is None or said[1] >= peer.certified[1]:
            peer.certified = said

    def _opened(self, fp, session, message, envelope):
        peer = self.peers[fp]
        kind, content, self.reports = message
        best = peer.best()
        if kind != s.CONTROL and best is not session:
            session.owes_outranked = not (best.prefix and not best.answered)
        if kind == s.APPLICATION:
            return "message", fp, envelope.tag, content
        if kind == s.RECEIPT:
            return "receipt", fp, *s.read_receipt(content)
        if kind == s.ATTACHMENT:
            need(len(content) >= 72 and int.from_bytes(content[32:40], "big") <= 2**40, "attachment")
            return "attachment", fp, envelope.tag, content[:72], content[72:]
        if kind == s.CONTROL:
            return self._control(fp, content)
        if kind == s.ROSTER:
            return self._roster_message(fp, content)
        return self._announced(fp, g.read_announcement(content))

    def _control(self, fp, content):
        r = Reader(content)
        what = r.uint(1)
        if what == 1:
            created_at, th2 = r.uint(8), r.take(32)
            r.end()
            rank = created_at, -int.from_bytes(th2, "big")
            peer = self.peers[fp]
            if peer.told is None or rank > peer.told:
                peer.told = rank
        elif what == 2:
            group, epoch, count = r.take(32), r.uint(8), r.uint(1)
            need(1 <= count <= 9, "control")
            hashes = [r.take(32) for _ in range(count)]
            r.end()
            if group in self.groups:
                self._wanted(self.groups[group], fp, epoch, hashes)
            return "group", group, "asked"
        elif what == 3:
            group = r.take(32)
            r.end()
            return "group", group, "ChainReceived"
        elif what == 4:
            group, _, _ = r.take(32), r.uint(8), r.take(32)
            r.end()
            return "group", group, "gone"
        elif what == 5:
            certificate = r.take(257)
            r.end()
            if self.roots:
                self._certified(self.peers[fp], certificate)
        elif what == 6:
            group = r.take(32)
            r.end()
            known = self.groups.get(group)
            if not (known and known.own and fp in known.roster.members):
                return "group", group, "Refused"
            known.owe(fp, s.CHAIN, known.own.announcement(group, known.roster.epoch, known.th))
            return "group", group, "ChainWanted"
        else:
            raise Refused("control")
        return "control", fp

    # 9. Groups

    def group_new(self, policy):
        id = self.rng.draw(32)
        roster = g.founded(id, self.identity.key, policy)
        th = g.first_hash(roster)
        group = Group(roster, th)
        group.enter(roster, th, None)
        self.groups[id] = group
        return id

    def group_commit(self, id, changes):
        """changes as groups.write_change takes them, with fingerprints in place of keys. Gives [(to, envelope)]."""
        group = self.groups[id]
        changes = [(c[0], self.peers[c[1]].key, *c[2:]) if c[0] == "add" else c for c in changes]
        commit = g.make_commit(self.identity, id, group.th, changes)
        roster, _ = g.apply_commit(group.roster, commit)
        old = set(group.roster.members)
        self._apply(group, commit)
        for fp in sorted((old | set(roster.members)) - {self.fp}):
            if fp in old:
                group.owe(fp, s.ROSTER, b"\x01" + id + commit.bytes)
            else:
                group.owe(fp, s.ROSTER, b"\x02" + commit.bytes + roster.write())
        return roster.epoch, self.group_owed(id)

    def group_owed(self, id):
        group = self.groups[id]
        out = []
        for fp in sorted(group.owed):
            for kind, content in group.owed[fp]:
                if fp in self.peers:
                    out.append((fp, self.seal_kind(fp, kind, content)))
        group.owed = {}
        return out

    def group_say(self, id, content, kind=1):
        """Gives (envelope, mailbox, [(to, envelope)])."""
        group = self.groups[id]
        need(self.fp in group.roster.members, "not a member")
        most, age = group.roster.policy
        own = group.own
        if (
            own is None or own.n >= most or self.now >= own.began + age
            or own.epoch < group.last_end or own.epoch not in group.epochs
        ):
            group.own = own = g.new_chain(self.rng, group.roster.epoch, self.now)
        announcement = own.announcement(id, group.roster.epoch, group.th)
        envelope = g.seal_group(id, group.roster.epoch, group.th, self.fp, own, kind, content, self.rng)
        for fp in sorted(set(group.roster.members) - {self.fp} - own.told):
            group.owe(fp, s.CHAIN, announcement)
            own.told.add(fp)
        return envelope, g.chain_mailbox(id, self.fp, own.hs), self.group_owed(id)

    def group_ask(self, id, fp):
        group = self.groups[id]
        return self.seal_kind(fp, s.CONTROL, g.commits_wanted(id, group.roster.epoch, group.hashes()))

    def _apply(self, group, commit):
        before, th_before = group.roster, group.th
        roster, ends = g.apply_commit(before, commit)
        group.steps = (group.steps + [Step(commit, before, th_before, ends)])[-COMMITS:]
        group.enter(roster, g.next_hash(commit.bytes, roster), commit.id())
        for fp in set(before.members) - set(roster.members):
            group.chains.pop(fp, None)
            if group.own:
                group.own.told.discard(fp)
        if ends:
            group.last_end = roster.epoch
            for chains in group.chains.values():
                for chain in chains:
                    if chain.end is None:
                        chain.end = roster.epoch

    def _changed(self, group):
        """Tries again what came too early."""
        for fp, announcement in list(group.early.items()):
            if group.hash_of(announcement.epoch) is not None:
                del group.early[fp]
                self._announced(fp, announcement)
        for fp in list(group.waiting):
            for commit in list(group.waiting[fp]):
                if commit.extends == group.th:
                    group.waiting[fp].remove(commit)
                    self._commit(group, fp, commit)

    def _roster_message(self, fp, content):
        r = Reader(content)
        what = r.uint(1)
        if what == 1:
            id, commit = r.take(32), g.read_commit(r)
            r.end()
            need(id in self.groups, "unknown group")
            return "group", id, self._commit(self.groups[id], fp, commit)
        need(what == 2, "roster message")
        commit, roster = g.read_welcome(r, self.fp, fp)
        th = g.next_hash(commit.bytes, roster)
        old = self.groups.get(roster.group)
        if old and self.fp in old.roster.members:
            need(old.roster.is_admin(fp), "welcome")
            if th == old.th:
                return "group", roster.group, "known"
            better = False
            if old.welcome and old.welcome.extends == commit.extends:
                # The roster where they part is not known: the own welcome's serves, without those it made admins.
                began = old.before_roster.epoch
                members = {
                    name: (key, role, since if since < began else g.NEVER)
                    for name, (key, role, since) in old.before_roster.members.items()
                }
                parting = g.Roster(roster.group, began - 1, roster.policy, members)
                better = g.branch_rank([(parting, commit)], th) < g.branch_rank([(parting, old.welcome)], old.before_th)
            elif roster.epoch >= old.roster.epoch and not old.steps and (not old.welcome or old.welcome.signer in roster.members):
                better = True
            need(better, "welcome")
        group = Group(roster, th, before_welcome=commit.extends, welcome=commit)
        group.before_th, group.before_roster = th, roster
        group.enter(roster, th, commit.id())
        self.groups[roster.group] = group
        group.early = dict(old.early) if old else {}
        group.waiting = dict(old.waiting) if old else {}
        group.owed = old.owed if old else {}
        for of, by in [k for k in self.early if k[0] == roster.group]:
            group.early[by] = self.early.pop((of, by))
        self._changed(group)
        return "group", roster.group, "Joined"

    def _commit(self, group, fp, commit):
        if commit.extends == group.th:
            self._apply(group, commit)
            self._changed(group)
            return "Changed"
        if any(x.commit.bytes == commit.bytes for x in group.steps) or commit.id() in [c for _, c in group.epochs.values()]:
            return "known"
        held = group.waiting.setdefault(fp, [])
        if commit.bytes not in [c.bytes for c in held]:
            held.append(commit)
            del held[:-8]
        return self._compare(group, fp)

    def _compare(self, group, fp):
        """Every branch that the waiting commits of this peer form, against what was followed."""
        held = group.waiting[fp]
        outcome = "waiting"
        for i, step in enumerate(group.steps):
            for first in [c for c in held if c.extends == step.th_before]:
                roster, th, branch, extended, first_th = step.before, step.th_before, [], [], None
                nexts = [first]
                while nexts:
                    c = nexts[0]
                    extended.append(roster)
                    roster, _ = g.apply_commit(roster, c)
                    th = g.next_hash(c.bytes, roster)
                    first_th = first_th or th
                    branch.append(c)
                    nexts = [c for c in held if c.extends == th]
                after = group.steps[i + 1].th_before if i + 1 < len(group.steps) else group.th
                ours = g.branch_rank([(x.before, x.commit) for x in group.steps[i:]], after)
                theirs = g.branch_rank(list(zip(extended, branch)), first_th)
                if theirs < ours:
                    self._switch(group, i, branch)
                    group.waiting[fp] = [c for c in held if c not in branch]
                    self._changed(group)
                    return "switched"
                outcome = "Outvoted"
                if (fp, first.bytes) not in group.given:
                    group.given.add((fp, first.bytes))
                    for x in group.steps[i:]:
                        group.owe(fp, s.ROSTER, b"\x01" + group.roster.group + x.commit.bytes)
        if outcome == "waiting":
            group.owe(fp, s.CONTROL, g.commits_wanted(group.roster.group, group.roster.epoch, group.hashes()))
        return outcome

    def _switch(self, group, i, branch):
        undone, group.steps = group.steps[i:], group.steps[:i]
        parting, left = undone[0].before, set(group.roster.members)
        present = set(group.roster.members)
        own_commits = [x.commit for x in undone if x.commit.signer == self.fp]
        for epoch in [e for e in group.epochs if e > parting.epoch]:
            del group.epochs[epoch]
        group.roster, group.th = parting, undone[0].th_before
        group.own = None
        for fp in list(group.chains):
            group.chains[fp] = [c for c in group.chains[fp] if c.epoch <= parting.epoch]
            for c in group.chains[fp]:
                if c.end is not None and c.end > parting.epoch:
                    c.end = None
        for commit in branch:
            self._apply(group, commit)
        # Chains that went with a removal which is undone.
        back = set(group.roster.members) - {self.fp}
        for fp in sorted(back if self.fp not in left else back - left):
            group.owe(fp, s.CONTROL, b"\x06" + group.roster.group)
        for commit in own_commits:
            for fp in commit.added():
                if fp in present and fp not in group.roster.members:
                    group.owe(fp, s.CONTROL, g.commits_gone(group.roster.group, 0, bytes(32)))

    def _wanted(self, group, fp, epoch, hashes):
        mine = group.hashes()
        common = next((h for h in hashes if h in mine), None)
        if common is None:
            known = fp in group.roster.members
            group.owe(
                fp, s.CONTROL,
                g.commits_gone(group.roster.group, group.roster.epoch if known else 0, group.th if known else bytes(32)),
            )
            return
        for x in group.steps[len(group.steps) - mine.index(common) :]:
            group.owe(fp, s.ROSTER, b"\x01" + group.roster.group + x.commit.bytes)

    def _announced(self, fp, a):
        if a.group not in self.groups:
            self.early[a.group, fp] = a
            return "group", a.group, "early"
        group = self.groups[a.group]
        known = group.hash_of(a.epoch)
        if known != a.th:
            group.early[fp] = a
            if known is not None and fp in group.roster.members:
                for x in group.steps:
                    group.owe(fp, s.ROSTER, b"\x01" + a.group + x.commit.bytes)
            if known is not None or a.epoch > group.roster.epoch:
                group.owe(fp, s.CONTROL, g.commits_wanted(a.group, group.roster.epoch, group.hashes()))
            return "group", a.group, "early" if known is None else "fork"
        if fp not in group.roster.members or self.fp not in group.roster.members:
            return "group", a.group, "Refused"
        # As far back as the commits that are kept tell.
        since = next((x.before for x in group.steps if x.before.epoch >= a.epoch), group.roster)
        if fp not in since.members:
            return "group", a.group, "Refused"
        chains = group.chains.setdefault(fp, [])
        if any(c.key == a.key and c.hs == a.hs for c in chains):
            group.owe(fp, s.CONTROL, b"\x03" + a.group)
            return "group", a.group, "known"
        chain = g.MemberChain(fp, a)
        ends = [x.before.epoch + 1 for x in group.steps if x.ends and x.before.epoch + 1 > a.epoch]
        chain.end = min(ends, default=None)
        group.chains[fp] = [chain] + chains[:2]
        group.owe(fp, s.CONTROL, b"\x03" + a.group)
        return "group", a.group, "ChainAnnounced"

    def _open_group(self, group, fp, chain, envelope, where):
        id = group.roster.group
        epoch, kind, content = chain.open(envelope, where, group.roster.epoch, group.hash_of)
        if kind == s.ATTACHMENT:
            need(len(content) >= 72, "attachment")
            return "group-attachment", id, fp, epoch, content[:72], content[72:]
        return "group-message", id, fp, epoch, content
