"""A device: identity, prekeys, sessions with peers and their ranks (section 4), and its groups (section 9).

Nothing is stored; nothing is bounded that an honest test does not reach.
"""

import copy
from dataclasses import dataclass, field

from primitives import H, Reader, Refused, need, u64
from around import check_certificate, end_of, safety_number
import groups as g
import sceau as s
from sceau import DAY, read_attachment, refusal

SIGNED_LIFE, ONE_TIME_LIFE, GRACE, FADING = 30 * DAY, 90 * DAY, 30 * DAY, 14 * DAY
EPOCHS, COMMITS = 64, 8
UNANSWERED, AHEAD = 256, 2**32


@dataclass
class Peer:
    key: bytes
    bundle: object = None
    spent: bool = False  # whether an introduction was made with the bundle
    used: set = field(default_factory=set)  # one-time prekeys
    sessions: list = field(default_factory=list)
    told: tuple = None  # the greatest rank it named
    certified: tuple = None  # (address, not_after)
    added: bool = False  # by the application, before it introduced itself
    stranger: bool = False
    blocked: bool = False
    renew: bool = False
    proved: bool = False  # in a session with this device, also one that is gone
    shown: bool = False  # whether it is shown the device's certificate
    shown_last: bytes = None  # the one that it was shown

    def best(self):
        """The one that is sent on."""
        return next((x for x in self.sessions if x.fading_since is None), None)

    def greatest(self):
        return max((x for x in self.sessions if not self.suspects(x)), key=lambda x: x.rank, default=None)

    def suspects(self, session):
        """Such a session only receives."""
        return self.proved and not session.sure

    def best_answered(self):
        found = (x for x in self.sessions if x.answered and not self.suspects(x))
        return max(found, key=lambda x: x.rank, default=None)

    def lacks(self, rank):
        return not self.greatest() or self.greatest().rank < rank

    def renewal_due(self, now):
        best = self.best()
        if best and not best.answered and best.created_at + 30 * 86400 < now:
            return True
        return self.renew or (self.told and self.lacks(self.told)) or (best and best.unanswered >= UNANSWERED)

    def keep_bundle(self, bundle):
        if bundle.one_time and bundle.one_time.id in self.used:
            bundle.one_time = None
        self.bundle, self.spent = bundle, False


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
        self.entry = None  # what a directory holds
        self.number = 0
        self.introductions = {}  # (signed prekey id, introduction id): session id
        self.peers = {}
        self.groups = {}
        self.early = {}  # (group, fingerprint): announcement for a group that is not known yet
        self.certificate = None
        self.roots = []
        self.follows = []  # what there is to tell of the envelope that was opened last
        self.opened = {}  # first 8 bytes of a tag: the first 4 of hb of all envelopes that came under it

    # 3. Prekeys

    def publish(self, count):
        if self.current is None or self.now >= self.current.not_after - SIGNED_LIFE // 2:
            self.current = s.new_prekey(self.rng, set(self.signed), self.now + SIGNED_LIFE)
            self.signed[self.current.id] = self.current
        fresh = []
        for _ in range(count):
            key = s.new_prekey(self.rng, set(self.one_time), self.now + ONE_TIME_LIFE)
            self.one_time[key.id] = key
            fresh.append(key)
        self.number = max(self.now, self.number + 1)
        fresh = [k.signed(self.identity, "OPK") for k in sorted(fresh, key=lambda k: k.id)]
        self.entry = s.Entry(self.identity.key, self.identity.kem_ek, self.number, self.current.signed(self.identity, "SPK"), fresh)
        return s.sign_upload(self.identity, self.entry)

    def bundle(self):
        return self.entry.take_bundle()

    # Peers and sessions

    def add(self, data):
        bundle = s.read_bundle(data)
        bundle.check(self.now)
        fp = s.fingerprint(bundle.identity_key)
        need(fp != self.fp, "Myself")
        if fp not in self.peers:
            self.peers[fp] = Peer(bundle.identity_key, added=True)
        peer = self.peers[fp]
        need(not peer.blocked, "Blocked")
        peer.stranger = False
        peer.keep_bundle(bundle)
        return fp

    def renew(self, fp, data):
        peer = self._to_seal(fp)
        bundle = s.read_bundle(data)
        bundle.check(self.now)
        need(bundle.identity_key == peer.key, "OtherIdentity")
        peer.keep_bundle(bundle)
        self._introduce(peer, False)

    def block(self, fp, blocked):
        need(fp in self.peers, "UnknownPeer")
        peer = self.peers[fp]
        peer.blocked = blocked
        if blocked:
            peer.stranger = False

    def drop(self, fp, whole):
        """Drops the sessions with a peer, or all of it. Gives the farewell, or nothing."""
        need(fp in self.peers, "UnknownPeer")
        peer, farewell = self.peers[fp], None
        best = peer.best_answered()
        if best and not peer.blocked and not self._is_stranger(peer):
            farewell = best.seal(s.CONTROL, s.ENDED, self.rng)
        peer.told, peer.renew, peer.sessions = None, bool(peer.sessions), []
        if whole:
            del self.peers[fp]
        return farewell

    def _is_stranger(self, peer):
        fp = s.fingerprint(peer.key)
        return peer.stranger and not any(fp in x.roster.members for x in self.groups.values())

    def _to_seal(self, fp):
        need(fp in self.peers, "UnknownPeer")
        need(not self.peers[fp].blocked, "Blocked")
        return self.peers[fp]

    def _good_certificate(self):
        return self.certificate if self.certificate and self.now <= end_of(self.certificate) else None

    def _bundle(self, peer):
        """The one to introduce oneself with: that its prekeys are past may have come since."""
        need(peer.bundle is not None and not peer.spent, "BundleNeeded")
        bundle = copy.copy(peer.bundle)
        need(self.now <= bundle.signed.not_after, "BundleExpired")
        if bundle.one_time and self.now > bundle.one_time.not_after:
            bundle.one_time = None
        return bundle

    def _introduce(self, peer, by_people):
        bundle = self._bundle(peer)
        greatest, best = peer.greatest(), peer.best()
        before = [
            max((x for x in peer.sessions if peer.suspects(x) == suspect), default=None,
                key=lambda x: (x.answered, x.answered and x.fading_since is None, x.rank))
            for suspect in (False, True)
        ]
        known = ([greatest.created_at] if greatest else []) + ([peer.told[0]] if peer.told else [])
        every = max((x.created_at + 1 for x in peer.sessions), default=0)
        created_at = max([self.now, min(every, self.now + 2**31)] + [x + 1 for x in known])
        show = peer.shown or (peer.added and by_people)
        certificate = self._good_certificate() if show else None
        secrets, prefix = s.initiate(
            self.identity, bundle, created_at, certificate, self.rng, [x and x.sending_hs for x in before])
        session = s.Session.initiator(secrets, created_at, s.fingerprint(peer.key), bundle.signed.x, prefix, self.identity)
        if bundle.one_time:
            peer.used.add(bundle.one_time.id)
        peer.bundle, peer.spent = s.Bundle(bundle.identity_key, bundle.kem, bundle.signed, None), True
        peer.renew, peer.shown = False, show
        peer.shown_last = certificate or peer.shown_last
        self._join(peer, session)
        return session

    def _join(self, peer, session):
        """Gives (whether it is sent on, whether it is outranked)."""
        best, keeper = peer.best(), peer.best_answered()
        is_above = best is None or best.rank < session.rank
        is_best = is_above and not peer.suspects(session)
        loser = best if is_best else session
        surplus = len(peer.sessions) - 4
        going = sorted(
            (x for x in peer.sessions if x is not keeper and (is_best or x is not best)),
            key=lambda x: (not peer.suspects(x), x.fading_since is None, x.fading_since or 0, x.rank),
        )
        for x in going[: max(0, surplus)]:
            peer.sessions.remove(x)
        peer.sessions.append(session)
        if not is_best:
            session.fading_since = self.now
        elif best:
            best.fading_since = self.now
        return is_best, not is_above

    def seal_kind(self, fp, kind, content):
        peer = self._to_seal(fp)
        s.bucket(len(content))
        by_people = kind in (s.APPLICATION, s.ATTACHMENT, s.LONG)
        session = peer.best()
        anew = session is None
        if session:
            shows_now = by_people and peer.added and not peer.shown
            unshown = (
                by_people and (peer.shown or shows_now) and peer.shown_last is None and self._good_certificate()
                and not session.answered
            )
            usable = peer.bundle and self.now <= peer.bundle.signed.not_after
            again = unshown and usable
            anew = again or (peer.renewal_due(self.now) and usable and not peer.spent)
            peer.spent = peer.spent and not again
            if not anew:
                peer.shown = peer.shown or shows_now
        if anew:
            session = self._introduce(peer, by_people)
        if by_people:
            peer.stranger = False
        return session.seal(kind, content, self.rng)

    def seal(self, fp, content):
        """Gives (envelope, mailbox or nothing)."""
        envelope = self.seal_kind(fp, s.APPLICATION, content)
        return envelope, self.peers[fp].best().own_mailbox

    def seal_attachment(self, fp, attachment, note):
        read_attachment(attachment)
        envelope = self.seal_kind(fp, s.ATTACHMENT, attachment + note)
        return envelope, self.peers[fp].best().own_mailbox

    def seal_long(self, fp, attachment):
        read_attachment(attachment)
        envelope = self.seal_kind(fp, s.LONG, attachment)
        return envelope, self.peers[fp].best().own_mailbox

    def export(self, fp, context):
        """Gives (session id, key)."""
        session = self.peers[fp].best()
        return session.id, session.export(context)

    def export_of(self, id, context):
        found = [x for peer in self.peers.values() for x in peer.sessions if x.id == id]
        need(found, "UnknownSession")
        return found[0].export(context)

    def receipt(self, fp, tags):
        need(1 <= len(tags) <= 256, "TooLong")
        return self.seal_kind(fp, s.RECEIPT, b"".join(tags))

    def _tells_rank(self, peer):
        """The session of which a peer is told that sends on another one."""
        best = peer.best()
        return peer.greatest() if not best else best if best.answered else None

    def owed(self):
        """Ranks and answers, then certificates, then introductions of renewals."""
        out = []
        sessions = [(x.id, fp, x) for fp, peer in self.peers.items() for x in peer.sessions if not peer.blocked]
        for _, fp, session in sorted(sessions, key=lambda x: x[0]):
            peer = self.peers[fp]
            told = self._tells_rank(peer)
            if self._is_stranger(peer):
                continue
            if session.owes_outranked and told and told.rank > session.rank:
                session.owes_outranked = False
                out.append((fp, session.seal(s.CONTROL, s.outranked(told.created_at, told.th2), self.rng)))
            elif session is peer.best() and session.owes_answer:
                out.append((fp, session.seal(s.CONTROL, s.HEARD, self.rng)))
        for fp in sorted(self.peers):
            peer, certificate = self.peers[fp], self._good_certificate()
            best = peer.best()
            if certificate and peer.shown and not peer.blocked and peer.shown_last != certificate and best and best.answered:
                peer.shown_last = certificate
                out.append((fp, best.seal(s.CONTROL, b"\x05" + certificate, self.rng)))
        for fp in sorted(self.peers):
            peer = self.peers[fp]
            usable = peer.bundle and not peer.spent and self.now <= peer.bundle.signed.not_after
            best = peer.best()
            again = best and not best.answered and len(peer.sessions) > 1 \
                and best.unanswered <= max(0, self.now - best.created_at) // 86400
            if (usable and peer.renewal_due(self.now) or again) and not peer.blocked and not self._is_stranger(peer):
                out.append((fp, self.seal_kind(fp, s.CONTROL, s.HEARD)))
        return out

    def mailboxes(self, fp):
        return [a for x in self.peers[fp].sessions for a in x.mailboxes()]

    def safety(self, fp):
        return safety_number(self.fp, fp)

    # Opening

    def open(self, data, search=False):
        """Gives a tuple that begins with what it is."""
        with refusal("Malformed"):
            envelope = s.read_envelope(data)
        name, digest = envelope.tag[:8], envelope.hb[:4]
        need(digest not in self.opened.get(name, ()), "Duplicate")
        self.follows = []
        out = self._open(envelope, search)
        if out[0] != "unreadable" or out[2] != "TooFarAhead":
            self.opened.setdefault(name, set()).add(digest)
        return out

    def _open(self, envelope, search):
        known = envelope.tag[:8] in self.opened  # with another body
        for fp, peer in self.peers.items():
            for session in peer.sessions:
                where = session.recognise(envelope.tag)
                if where and where[0] == "spent" and known:
                    need(session.is_authentic(envelope, where), "Rejected")
                    return self._unreadable(fp, session, "Diverged")
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
        raise Refused("Unknown")

    def _unreadable(self, fp, session, why):
        """An authentic message that can't be opened: whoever sends on this session should introduce itself anew."""
        peer = self.peers[fp]
        need(not peer.blocked, "Blocked")
        need(session is peer.best(), "Rejected")
        peer.renew = True
        self.follows.append("RenewalDue")
        return "unreadable", fp, why

    def _take(self, fp, session, envelope, where):
        before = session.copy()
        try:
            message = session.open(envelope, where)
            need(not self.peers[fp].blocked, "Blocked")
            return self._opened(fp, session, message, envelope)
        except Refused as e:  # content that is not well formed: nothing changes
            session.replace_by(before)
            if e.args[0] in ("Diverged", "TooFarAhead"):
                return self._unreadable(fp, session, e.args[0])
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
                        need(where, "Rejected")
                        return self._take(fp, session, envelope, where)
            raise Refused("Replayed")
        spk = self.signed.get(spk_id)
        need(spk and self.now <= spk.not_after + GRACE, "PreKeyGone")
        opk = None
        if opk_id != bytes(4):
            opk = self.one_time.get(opk_id)
            need(opk and self.now <= opk.not_after + GRACE, "PreKeyGone")
        with refusal("Rejected"):
            found = s.respond(self.identity, spk, opk, prefix, self.now)
        fp = s.fingerprint(found.identity_key)
        peer = self.peers.get(fp)
        try:
            session, message = s.Session.responder(found.secrets, found.created_at, fp, spk.x_private, envelope, found.identity_key)
        except Refused as e:
            authentic = e.args[0] != "Rejected"
            need(not (authentic and peer and peer.blocked), "Blocked")
            raise Refused("TooFarAhead" if e.args[0] == "TooFarAhead" else "Rejected") from None
        need(not (peer and peer.blocked), "Blocked")
        if peer is None:
            peer = Peer(found.identity_key, stranger=True)
        had = peer.best() is not None
        continued = any(x.is_continued_by(found) for x in peer.sessions if not peer.suspects(x))
        self.peers[fp] = peer
        if found.certificate and self.roots:
            self._certified(peer, found.certificate)
        if opk:
            del self.one_time[opk_id]
        self.introductions[spk_id, s.introduction_id(prefix)] = session.id
        session.vouched = any(x.sure and x.is_continued_by(found) for x in peer.sessions)
        suspect = peer.suspects(session)
        is_best, beside = self._join(peer, session)
        peer.renew = peer.renew and not is_best
        if suspect:
            peer.renew, peer.bundle = True, None
            self.follows.append("RenewalDue")
        if had:
            self.follows.append("Renewed" if continued else "IntroducedBeside" if beside else "Displaced")
        if beside and self._tells_rank(peer):
            session.owes_outranked = True
        return self._opened(fp, session, message, envelope)

    def _send_on(self, peer, session, named):
        """Which session is sent on once a message came on this one, which perhaps names another's rank."""
        best = peer.best()
        for x in peer.sessions:
            is_named = named and x.rank == (named[0], -int.from_bytes(named[1], "big"))
            if is_named and x is not session and session.sure and not x.sure:
                x.vouched = True
                if not best or peer.suspects(best) or best.rank < x.rank:
                    self._swap(peer, x)
        if best and best is peer.best() and peer.suspects(best) and session.sure:
            self._swap(peer, session)
            peer.renew, peer.bundle = True, None
            self.follows.append("RenewalDue")

    def _swap(self, peer, session):
        if peer.best():
            peer.best().fading_since = self.now
        session.fading_since, session.owes_outranked = None, False

    def _certified(self, peer, certificate):
        try:
            said = check_certificate(certificate, peer.key, self.roots, self.now)
        except Refused:
            self.follows.append("CertificateRefused")
            return
        if peer.certified is None or said[1] > peer.certified[1] or self.now > peer.certified[1]:
            self.follows.append("Certified")
            peer.certified = said

    def _opened(self, fp, session, message, envelope):
        peer = self.peers[fp]
        kind, said, reports = message
        if reports:
            self.follows.append("BadFragment")
        suspect = peer.suspects(session)
        peer.proved = peer.proved or session.proved
        named = said[1:] if kind == s.CONTROL and said[0] == 1 and not suspect else None
        self._send_on(peer, session, named)
        told = self._tells_rank(peer)
        if kind != s.CONTROL and peer.best() is not session and told and told.rank > session.rank and not self._is_stranger(peer):
            session.owes_outranked = True
        if kind == s.APPLICATION:
            return "message", fp, envelope.tag, said
        if suspect and (kind == s.RECEIPT or kind == s.CONTROL and said[0] in (1, 7)):
            return "control", fp
        if kind == s.RECEIPT:
            return "receipt", fp, *said
        if kind == s.ATTACHMENT:
            return "attachment", fp, envelope.tag, *said
        if kind == s.LONG:
            return "long-message", fp, envelope.tag, said
        if kind == s.CONTROL:
            return self._control(fp, session, *said)
        with refusal("Violation"):
            if kind == s.ROSTER:
                return self._roster_message(fp, said)
            return self._announced(fp, g.read_announcement(said))

    def _control(self, fp, session, what, *said):
        peer = self.peers[fp]
        if what == 1:
            created_at, th2 = said
            rank = created_at, -int.from_bytes(th2, "big")
            if created_at <= self.now + AHEAD and peer.lacks(rank):
                peer.told = rank if peer.told is None else max(rank, peer.told)
                self.follows.append("RenewalDue")
        elif what == 2:
            group, epoch, hashes = said
            if group in self.groups:
                self._wanted(self.groups[group], fp, epoch, hashes)
            return "group", group, "asked"
        elif what == 3:
            return "group", said[0], "ChainReceived"
        elif what == 4:
            return "group", said[0], "gone"
        elif what == 5:
            if self.roots:
                self._certified(peer, said[0])
        elif what == 6:
            (group,) = said
            known = self.groups.get(group)
            if not (known and known.own and fp in known.roster.members):
                return "group", group, "Refused"
            known.owe(fp, s.CHAIN, known.own.announcement(group, known.roster.epoch, known.th))
            return "group", group, "ChainWanted"
        elif what == 7:
            for x in peer.sessions:
                if x.fading_since is None and x.rank <= session.rank:
                    x.fading_since = self.now
                    self.follows.append("Ended")
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
            return "group-attachment", id, fp, epoch, *content
        if kind == s.LONG:
            return "group-long-message", id, fp, epoch, content
        return "group-message", id, fp, epoch, content
