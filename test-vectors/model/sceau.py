"""Sections 2 to 7 of docs/PROTOCOL.md: identity, prekeys, handshake, chains, ratchets, payload."""

from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from primitives import (
    DH, EXPAND, H, HKDF, HMAC, HMAC16, L, OPEN, SEAL, SIGN, VERIFY, Reader, Refused, SYMBOLS, ed_public, equal, kem_decaps,
    kem_encaps, kem_keygen, kem_valid, need, padme, rebuild, symbol, u16, u32, u64, x_public,
)
from around import mailbox

PREFIX = 3570
IDENTITY = 96
EK = CT = 1568
NO_PREFIX = bytes(32)
DAY = 86400

# 2. Identity


@dataclass
class Identity:
    ed_seed: bytes
    x_private: bytes
    kem_seed: bytes

    def __post_init__(self):
        self.kem_ek, self.kem_dk = kem_keygen(self.kem_seed)
        self.key = ed_public(self.ed_seed) + x_public(self.x_private) + H("IKEM", self.kem_ek)
        self.fingerprint = fingerprint(self.key)


def new_identity(rng):
    return Identity(rng.draw(32), rng.draw(32), rng.draw(64))


def fingerprint(identity_key):
    return H("FP", identity_key)


# 3. Prekeys

FIELDS = 1612


@dataclass
class PreKey:
    """The private halves."""

    id: bytes
    x_private: bytes
    kem_seed: bytes
    not_after: int

    def __post_init__(self):
        self.kem_ek, self.kem_dk = kem_keygen(self.kem_seed)
        self.fields = self.id + x_public(self.x_private) + self.kem_ek + u64(self.not_after)

    def signed(self, identity, label):
        return self.fields + SIGN(identity.ed_seed, L(label) + identity.fingerprint + self.fields)


def new_prekey(rng, taken, not_after):
    while True:
        id = rng.draw(4)
        if id != bytes(4) and id not in taken:
            break
    return PreKey(id, rng.draw(32), rng.draw(64), not_after)


@dataclass
class PublicPreKey:
    fields: bytes
    signature: bytes

    def __post_init__(self):
        r = Reader(self.fields)
        self.id, self.x, self.kem, self.not_after = r.take(4), r.take(32), r.take(EK), r.uint(8)
        r.end()

    def check(self, identity_key, label, now):
        need(self.id != bytes(4), "id")
        VERIFY(identity_key[:32], L(label) + fingerprint(identity_key) + self.fields, self.signature)
        need(kem_valid(self.kem), "encapsulation key")
        need(now <= self.not_after, "expired")


def _read_prekey(r):
    return PublicPreKey(r.take(FIELDS), r.take(64))


@dataclass
class Bundle:
    identity_key: bytes
    kem: bytes
    signed: PublicPreKey
    one_time: PublicPreKey | None

    def write(self):
        one_time = self.one_time and self.one_time.fields + self.one_time.signature
        return write_bundle(self.identity_key, self.kem, self.signed.fields + self.signed.signature, one_time)

    def check(self, now):
        need(now <= self.signed.not_after, "Expired")
        need(H("IKEM", self.kem) == self.identity_key[64:], "OtherKemKey")
        need(kem_valid(self.kem), "encapsulation key")
        self.signed.check(self.identity_key, "SPK", now)
        if self.one_time:
            self.one_time.check(self.identity_key, "OPK", min(now, self.one_time.not_after))
            if now > self.one_time.not_after:
                self.one_time = None


def read_bundle(data):
    r = Reader(data)
    need(r.take(1) == b"\x01", "version")
    identity_key, kem, signed, flag = r.take(IDENTITY), r.take(EK), _read_prekey(r), r.uint(1)
    need(flag <= 1, "flag")
    bundle = Bundle(identity_key, kem, signed, _read_prekey(r) if flag else None)
    r.end()
    return bundle


def write_bundle(identity_key, kem, signed, one_time):
    return b"\x01" + identity_key + kem + signed + (b"\x01" + one_time if one_time else b"\x00")


def read_image(data):
    """An identity as it is stored (section 8)."""
    need(len(data) == 129 and data[0] == 1, "image")
    return Identity(data[1:33], data[33:65], data[65:])


@dataclass
class Entry:
    """What a directory holds of a device; prekeys as bytes."""

    identity_key: bytes
    kem: bytes
    number: int
    signed: bytes
    one_times: list

    def write(self):
        count = u32(len(self.one_times))
        out = b"\x01" + self.identity_key + self.kem + u64(self.number) + self.signed
        return out + count + b"".join(self.one_times)

    def take_bundle(self):
        return write_bundle(self.identity_key, self.kem, self.signed, self.one_times.pop() if self.one_times else None)

    def update(self, upload):
        """Gives whether it is a later one."""
        other = read_upload(upload, self.identity_key)
        later = other.number > self.number
        if later:
            self.__dict__.update(other.__dict__)
        return later


def sign_upload(identity, entry):
    return entry.write() + SIGN(identity.ed_seed, L("UPLOAD") + entry.write())


def read_upload(data, of=None):
    """The entry, once its signature has verified; of: the only identity that it may be of."""
    r = Reader(data)
    need(r.take(1) == b"\x01", "Malformed Version")
    identity_key, kem = r.take(IDENTITY), r.take(EK)
    number, signed, count = r.uint(8), r.take(FIELDS + 64), r.uint(4)
    need(count <= 1000, "Malformed TooLong")
    one_times = [r.take(FIELDS + 64) for _ in range(count)]
    signature = r.take(64)
    r.end()
    for prekey in [signed] + one_times:
        need(prekey[:4] != bytes(4), "Malformed Invalid")
    need(of in (None, identity_key), "OtherIdentity")
    with refusal("Signature"):
        VERIFY(identity_key[:32], L("UPLOAD") + data[:-64], signature)
    need(H("IKEM", kem) == identity_key[64:], "OtherKemKey")
    return Entry(identity_key, kem, number, signed, one_times)


# 4. Handshake


@dataclass
class Secrets:
    """What both sides come to."""

    th1: bytes
    k_id: bytes
    k_next: bytes
    th2: bytes = b""
    rk0: bytes = b""
    header_a: bytes = b""
    header_b: bytes = b""
    exporter: bytes = b""
    context: bytes = b""

    def finish(self, c_id, dh4, fp_a, fp_b):
        self.th2 = H("TH2", self.th1 + c_id)
        out = HKDF(self.th2, self.k_next + dh4, L("SS") + fp_a, 128)
        self.rk0, self.header_a, self.header_b, self.exporter = out[:32], out[32:64], out[64:96], out[96:]
        self.context = H("CTX", self.th2 + fp_a + fp_b)


def _first_secrets(identity_key_b, spk_fields, opk_fields, e_public, cts, dhs, sss):
    flag = b"\x00" if opk_fields is None else b"\x01" + opk_fields
    th1 = H("TH1", b"\x01" + identity_key_b + spk_fields + flag + e_public + b"".join(cts))
    out = HKDF(th1, b"".join(dhs) + b"".join(sss), L("ID"), 64)
    return Secrets(th1, out[:32], out[32:])


def identity_payload(identity_key, created_at, certificate, continuity=bytes(16)):
    tail = b"\x01" + certificate if certificate else bytes(258)
    return identity_key + u64(created_at) + continuity + tail


def continuity(hs, th1):
    return HMAC16(hs, L("CONT") + th1)[:8]


def hedged(identity, bundle, payload, r):
    """Gives (e, m, m_id) from 64 random bytes."""
    said = H("RAND", bundle.write() + payload)
    return [HMAC(identity.x_private, L("RAND") + r + which + said) for which in (b"\x01", b"\x02", b"\x03")]


def initiate(identity, bundle, created_at, certificate, rng, before=(None, None)):
    """A's part; before: the header secrets of two sessions that it shows to hold. Gives (secrets, prefix)."""
    spk, opk = bundle.signed, bundle.one_time
    payload = identity_payload(identity.key, created_at, certificate)
    e, m, m_id = hedged(identity, bundle, payload, rng.draw(64))
    ct, ss = kem_encaps((opk or spk).kem, m)
    ct_id, ss_id = kem_encaps(bundle.kem, m_id)
    dhs = [DH(e, bundle.identity_key[32:64]), DH(e, spk.x)] + ([DH(e, opk.x)] if opk else [])
    e_public = x_public(e)
    s = _first_secrets(bundle.identity_key, spk.fields, opk.fields if opk else None, e_public, (ct, ct_id), dhs, (ss, ss_id))
    shown = b"".join(continuity(hs, s.th1) if hs else bytes(8) for hs in before)
    payload = payload[:104] + shown + payload[120:]
    c_id = SEAL(s.k_id, bytes(12), s.th1, payload)
    s.finish(c_id, DH(identity.x_private, spk.x), identity.fingerprint, fingerprint(bundle.identity_key))
    return s, e_public + spk.id + (opk.id if opk else bytes(4)) + ct + ct_id + c_id


@dataclass
class Introduced:
    secrets: Secrets
    identity_key: bytes
    created_at: int
    certificate: bytes | None  # as it came
    continuity: bytes

    def continues(self, hs):
        return any(equal(self.continuity[i : i + 8], continuity(hs, self.secrets.th1)) for i in (0, 8))


def respond(identity, spk, opk, prefix, now):
    """B's part, up to the session's secrets; spk and opk as named by the prefix."""
    r = Reader(prefix)
    e_public, _, _, ct, ct_id, c_id = r.take(32), r.take(4), r.take(4), r.take(CT), r.take(CT), r.take(394)
    r.end()
    ss, ss_id = kem_decaps((opk or spk).kem_dk, ct), kem_decaps(identity.kem_dk, ct_id)
    dhs = [DH(identity.x_private, e_public), DH(spk.x_private, e_public)]
    if opk:
        dhs.append(DH(opk.x_private, e_public))
    s = _first_secrets(identity.key, spk.fields, opk.fields if opk else None, e_public, (ct, ct_id), dhs, (ss, ss_id))
    r = Reader(OPEN(s.k_id, bytes(12), s.th1, c_id))
    identity_key, created_at, shown, flag, certificate = r.take(IDENTITY), r.uint(8), r.take(16), r.uint(1), r.take(257)
    need(flag <= 1, "flag")
    need(flag or not any(certificate), "certificate")
    need(created_at < 2**62 and created_at <= now + 2**32, "created at")
    need(identity_key != identity.key, "own identity")
    fp_a = fingerprint(identity_key)
    s.finish(c_id, DH(spk.x_private, identity_key[32:64]), fp_a, identity.fingerprint)
    return Introduced(s, identity_key, created_at, certificate if flag else None, shown)


def introduction_id(prefix):
    return H("INTRO", prefix)[:16]


# 5. Chains and sealed messages


def header_key(hs, context):
    return EXPAND(hs, L("HK") + context, 32)


def tag_key(hs, context):
    return EXPAND(hs, L("TK") + context, 32)


def tag(tk, n):
    return HMAC16(tk, u32(n))


def chain_step(ck):
    """Gives (ck', mk)."""
    out = EXPAND(ck, L("CHAIN"), 64)
    return out[:32], out[32:]


def body_nonce(mk, r, context, t, header, size, payload):
    """header without its nonce; payload up to its zeros, or to a signature; from 12 random bytes."""
    return HMAC16(mk, L("NONCE") + r + context + t + header + u32(size) + payload)[:12]


def seal_message(kind, p, header_context, body_context, hs, n, mk, header, payload):
    """header as 56 bytes, the last 12 of which are the nonce. Gives the sealed message."""
    t = tag(tag_key(hs, header_context), n)
    body = SEAL(mk, header[44:], body_context + t + header, bytes(32) + payload)
    hb = body_hash(body)
    ad = b"\x01" + bytes([kind]) + p + header_context + t + hb
    return t + SEAL(header_key(hs, header_context), hb[:12], ad, header) + body


def body_hash(body):
    return H("BODY", body)


def open_header(kind, p, context, hs, sealed):
    t, header, body = sealed[:16], sealed[16:88], sealed[88:]
    hb = H("BODY", body)
    ad = b"\x01" + bytes([kind]) + p + context + t + hb
    return OPEN(header_key(hs, context), hb[:12], ad, header)


def open_body(context, mk, header, sealed):
    """Gives the payload; fails with `authentication` or with `commitment`."""
    plain = OPEN(mk, header[44:], context + sealed[:16] + header, sealed[88:])
    need(equal(plain[:32], bytes(32)), "commitment")
    return plain[32:]


@dataclass
class Envelope:
    kind: int
    prefix: bytes
    sealed: bytes

    @property
    def tag(self):
        return self.sealed[:16]

    @property
    def hb(self):
        return body_hash(self.sealed[88:])

    @property
    def p(self):
        return H("PREFIX", self.prefix) if self.prefix else NO_PREFIX


def read_envelope(data):
    need(len(data) >= 2 and data[0] == 1 and data[1] in (1, 2), "Malformed")
    at = 2 + (PREFIX if data[1] == 1 else 0)
    size = len(data) - at + 2
    need(640 <= size <= 2**20 and padme(size) == size, "Malformed")
    need(data[1] == 2 or data[34:38] != bytes(4), "Malformed")
    return Envelope(data[1], data[2:at], data[at:])


def bucket(content_length, smallest=640):
    need(content_length <= 2**20 - 283, "TooLong")
    return max(smallest, padme(144 + 139 + content_length))


# 7. Payload

APPLICATION, RECEIPT, CHAIN, ROSTER, CONTROL, ATTACHMENT, LONG = range(1, 8)


@dataclass
class Fragment:
    kind: int  # 1 offer, 2 ciphertext
    number: int  # low 16 bits
    offer_id: bytes
    answer_id: bytes
    first: int
    symbols: list

    def write(self):
        return (
            bytes([self.kind]) + u16(self.number) + self.offer_id + self.answer_id + bytes([self.first, len(self.symbols)])
            + b"".join(self.symbols)
        )


def write_payload(kind, content, fragments, length):
    out = bytes([kind]) + u32(len(content)) + content + bytes([len(fragments)]) + b"".join(f.write() for f in fragments)
    return out + bytes(max(0, length - len(out)))


def read_payload(data):
    """Gives (kind, content, fragments, reports)."""
    r = Reader(data)
    kind = r.uint(1)
    need(1 <= kind <= 7, "payload")
    content = r.take(r.uint(4))
    fragments, reports = [], []
    count = r.uint(1)
    if count > 4:
        return kind, content, [], ["too many"]
    for _ in range(count):
        if r.left() < 11:
            r.take(r.left())
            reports.append("runs over the end")
            break
        f = Fragment(r.uint(1), r.uint(2), r.take(3), r.take(3), r.uint(1), [])
        n = r.uint(1)
        if r.left() < 32 * n:
            r.take(r.left())
            reports.append("runs over the end")
            break
        f.symbols = [r.take(32) for _ in range(n)]
        if f.kind not in (1, 2) or n == 0 or f.first + n > 256 or (f.kind == 1 and f.answer_id != bytes(3)):
            reports.append("not well formed")
        else:
            fragments.append(f)
    need(not any(r.take(r.left())), "zeros")
    return kind, content, fragments, reports


ENDED, HEARD = b"\x07", b"\x08"


def outranked(created_at, th2):
    return b"\x01" + u64(created_at) + th2


def read_control(content):
    """Gives a tuple that begins with its kind."""
    r = Reader(content)
    kind = r.uint(1)
    if kind == 1:
        out = r.uint(8), r.take(32)
        need(out[0] < 2**62, "control")
    elif kind == 2:
        group, epoch, count = r.take(32), r.uint(8), r.uint(1)
        need(1 <= count <= 9, "control")
        out = group, epoch, [r.take(32) for _ in range(count)]
    elif kind in (3, 6):
        out = (r.take(32),)
    elif kind == 4:
        out = r.take(32), r.uint(8), r.take(32)
    elif kind == 5:
        out = (r.take(257),)
    else:
        need(kind in (7, 8), "control")
        out = ()
    r.end()
    return kind, *out


def read_receipt(content):
    need(len(content) % 16 == 0 and 16 <= len(content) <= 16 * 256, "receipt")
    return [content[i : i + 16] for i in range(0, len(content), 16)]


def read_attachment(data):
    need(len(data) == 72 and int.from_bytes(data[32:40], "big") <= 2**40, "attachment")
    return data


def read_content(kind, content):
    """What a payload's content says; that of groups is read with the group."""
    if kind == RECEIPT:
        return read_receipt(content)
    if kind == CONTROL:
        return read_control(content)
    if kind == ATTACHMENT:
        return read_attachment(content[:72]), content[72:]
    if kind == LONG:
        return read_attachment(content)
    return content


# 6.1 KEM ratchet


def offer_id(ek):
    return H("KOFF", ek)[:3]


def answer_id(ek, ct):
    return H("KANS", ek + ct)[:3]


def kem_secret(ek, ct, ss, owner=None):
    """owner: the initiator's fingerprint, if it is its first offer."""
    return ss + (H("IKSEC", owner + ek + ct) if owner else H("KSEC", ek + ct))


@dataclass
class Walk:
    """What is being sent: through the symbols 0 to 255, round and round."""

    data: bytes
    at: int = 0
    sent: int = 0

    def run(self, most):
        return min(most, SYMBOLS, 256 - self.at)

    def take(self, kind, number, offer, answer, count):
        f = Fragment(kind, number & 0xFFFF, offer, answer, self.at, [symbol(self.data, self.at + i) for i in range(count)])
        self.at = (self.at + count) % 256
        self.sent += count
        return f


@dataclass
class Kem:
    # who has introduced itself: this side's identity, or the peer's identity key
    own: Identity | None = None
    initiator: bytes = b""
    # offerer
    decapsulated: int = 0  # with the identity's key
    mixed: int = 0  # own offers mixed in so far
    seed: bytes = b""
    ek: bytes = b""
    dk: bytes = b""
    offering: Walk | None = None
    heard: bool = False  # the peer's newest message carried a fragment of an answer to the offer
    answer_id: bytes = b""
    answer: dict = field(default_factory=dict)
    secret: bytes = b""
    # answerer
    peer_mixed: int = 0  # the peer's offers mixed in so far; it works on the one after
    peer_offer_id: bytes = b""
    peer_offer: dict = field(default_factory=dict)
    peer_ek: bytes = b""
    answering: Walk | None = None
    peer_secret: bytes = b""

    def copy(self):
        return replace(
            self, answer=dict(self.answer), peer_offer=dict(self.peer_offer),
            offering=self.offering and replace(self.offering), answering=self.answering and replace(self.answering),
        )

    def mix_own(self):
        """At a sending root step: pq, or nothing."""
        pq = self.secret
        if pq:
            self.mixed += 1
            self.seed = self.ek = self.dk = self.secret = self.answer_id = b""
            self.offering, self.heard, self.answer = None, False, {}
        return pq

    def mix_peer(self, epoch):
        """At a receiving root step."""
        if epoch == self.peer_mixed:
            return b""
        need(epoch == self.peer_mixed + 1, "Violation")
        need(self.peer_secret, "Diverged")
        pq = self.peer_secret
        self.peer_mixed += 1
        self._forget_peer_offer()
        return pq

    def _forget_peer_offer(self):
        self.peer_offer_id = self.peer_ek = self.peer_secret = b""
        self.peer_offer, self.answering = {}, None

    def _forget_answer(self):
        self.answer_id = self.secret = b""
        self.answer = {}

    def send(self, room, rng):
        """What goes out with a message; draws first what is due."""
        if not self.ek and self.mixed + 1 < 2**32 - 1:
            if self.own and self.mixed == 0:
                self.ek, self.dk = self.own.kem_ek, self.own.kem_dk
            else:
                self.seed = rng.draw(64)
                self.ek, self.dk = kem_keygen(self.seed)
            self.offering = Walk(self.ek)
        if self.peer_ek and not self.answering:
            ct, ss = kem_encaps(self.peer_ek, rng.draw(32))
            self.answering = Walk(ct)
            first = self.initiator and self.peer_mixed == 0
            self.peer_secret = kem_secret(self.peer_ek, ct, ss, fingerprint(self.initiator) if first else None)
        offer = self.offering if self.ek and not self.heard else None
        answer = self.answering
        if offer and answer:
            total = (room - 22) // 32
            most_answer = self._share(offer, answer, total)
            most_offer = total - most_answer
        else:
            most_answer = most_offer = (room - 11) // 32
        out = []
        if answer:
            count = answer.run(most_answer)
            out.append(answer.take(2, self.peer_mixed + 1, self.peer_offer_id, answer_id(self.peer_ek, answer.data), count))
        if offer and most_offer > 0:
            out.append(offer.take(1, self.mixed + 1, offer_id(self.ek), bytes(3), offer.run(most_offer)))
        return out

    def _share(self, offer, answer, total):
        """Symbols of the ciphertext, when an offer is due too."""
        if self.own and self.mixed == 0 and offer.sent < SYMBOLS:
            return 1
        if offer.sent < SYMBOLS and answer.sent < SYMBOLS:
            rest = SYMBOLS - offer.sent
            if rest <= total:
                return max(1, total - rest)
            return min(total, SYMBOLS - answer.sent)
        return max(1, total // 2)

    def receive(self, fragments, newest):
        """Gives what is to be reported."""
        reports = []
        if newest:
            mine = [f for f in fragments if f.kind == 2 and self._is_mine(f)]
            if self.secret and not any(f.answer_id == self.answer_id for f in mine):
                self._forget_answer()
            self.heard = bool(mine)
        for f in fragments:
            if f.kind == 1:
                self._receive_offer(f, newest, reports)
            elif self._is_mine(f):
                self._receive_answer(f, newest, reports)
        return reports

    def _is_mine(self, f):
        return bool(self.ek) and f.number == (self.mixed + 1) & 0xFFFF and f.offer_id == offer_id(self.ek)

    def _receive_offer(self, f, newest, reports):
        if f.number != (self.peer_mixed + 1) & 0xFFFF:
            return
        if self.peer_offer_id and f.offer_id != self.peer_offer_id:
            if not newest:
                return
            self._forget_peer_offer()
        self.peer_offer_id = f.offer_id
        if self.peer_ek:
            return
        for i, s in enumerate(f.symbols):
            self.peer_offer.setdefault(f.first + i, s)
        if len(self.peer_offer) >= SYMBOLS:
            ek = rebuild(self.peer_offer)
            named = not self.initiator or self.peer_mixed > 0 or H("IKEM", ek) == self.initiator[64:]
            if offer_id(ek) != f.offer_id or not named or not kem_valid(ek):
                reports.append("bad offer")
                self._forget_peer_offer()
            else:
                self.peer_ek, self.peer_offer = ek, {}

    def _receive_answer(self, f, newest, reports):
        if self.answer_id and f.answer_id != self.answer_id:
            if not newest:
                return
            self._forget_answer()
        self.answer_id = f.answer_id
        if self.secret:
            return
        for i, s in enumerate(f.symbols):
            self.answer.setdefault(f.first + i, s)
        if len(self.answer) >= SYMBOLS:
            ct = rebuild(self.answer)
            if answer_id(self.ek, ct) != f.answer_id:
                reports.append("bad answer")
                self._forget_answer()
            elif self.own and self.mixed == 0 and self.decapsulated == 4:
                self._forget_answer()
            else:
                owner = self.own.fingerprint if self.own and self.mixed == 0 else None
                self.decapsulated += bool(owner)
                self.secret, self.answer = kem_secret(self.ek, ct, kem_decaps(self.dk, ct), owner), {}


# 6. Ratchet

AHEAD, NEXT_AHEAD, SPENT, KEPT, JUMP, FIRST_JUMP = 16, 8, 64, 2000, 8192, 2000


@dataclass
class Chain:
    ck: bytes
    hs: bytes
    n: int = 0
    peer_key: bytes = b""  # receiving: the ratchet key of its headers

    def keys_until(self, n):
        """Steps to message n; gives [(number, mk)] of what was passed over."""
        out = []
        while self.n < n:
            self.ck, mk = chain_step(self.ck)
            out.append((self.n, mk))
            self.n += 1
        return out

    def next_key(self):
        self.ck, mk = chain_step(self.ck)
        self.n += 1
        return mk


@dataclass
class Skipped:
    tag: bytes
    hs: bytes
    n: int
    mk: bytes


def root_step(context, rk, dh, pq):
    out = HKDF(rk, dh + pq, L("ROOT") + context, 96)
    return out[:32], out[32:64], out[64:]


class Session:
    def __init__(self, secrets, created_at, peer):
        self.context, self.th2, self.created_at, self.peer = secrets.context, secrets.th2, created_at, peer
        self.rk, self.exporter = secrets.rk0, secrets.exporter
        self.prefix = b""
        self.peer_key = b""
        self.own_key = b""
        self.sending = None
        self.pn = 0  # length of the previous sending chain
        self.next_sending = b""
        self.receiving = None
        self.previous = None  # (header secret, length) of the previous receiving chain
        self.older = []  # header secrets of chains before it
        self.next_receiving = b""
        self.skipped = []
        self.kem = Kem()
        self.lost = 0
        self.smallest = 640  # smallest bucket
        self.fading_since = None
        self.order = 0  # in which they began to fade, in one second
        self.owes_outranked = False
        self.answered = False  # the peer is known to hold it
        self.began = False  # by this side
        self.vouched = False

    @classmethod
    def initiator(cls, secrets, created_at, peer, spk_x, prefix, identity):
        s = cls(secrets, created_at, peer)
        s.kem.own, s.began = identity, True
        s.prefix, s.peer_key = prefix, spk_x
        s.next_sending, s.next_receiving = secrets.header_a, secrets.header_b
        return s

    @classmethod
    def responder(cls, secrets, created_at, peer, spk_private, envelope, initiator):
        """With its first message: gives (session, message)."""
        s = cls(secrets, created_at, peer)
        s.answered = True
        s.kem.initiator = initiator
        s.next_sending, s.next_receiving, s.own_key = secrets.header_b, secrets.header_a, spk_private
        message = s.open(envelope, ("next", None), first=True)
        return s, message

    @property
    def proved(self):
        return self.answered if self.began else self.kem.peer_mixed > 0

    @property
    def sure(self):
        """Whether nobody but the holder of the peer's KEM key can hold it."""
        return self.began or self.proved or self.vouched

    @property
    def id(self):
        return H("SID", self.context)[:16]

    def export(self, context):
        return EXPAND(self.exporter, L("EXP") + self.context + context, 32)

    @property
    def sending_hs(self):
        return self.sending.hs if self.sending else self.next_sending

    def is_continued_by(self, found):
        secrets = [self.next_receiving] + ([self.receiving.hs] if self.receiving else []) + ([self.previous[0]] if self.previous else [])
        return any(found.continues(hs) for hs in secrets)

    @property
    def unanswered(self):
        return self.sending.n if self.sending else 0

    @property
    def owes_answer(self):
        return bool(self.receiving) and self.receiving.n // 32 > self.unanswered

    @property
    def rank(self):
        """Greater is better."""
        return self.created_at, -int.from_bytes(self.th2, "big")

    def copy(self):
        other = object.__new__(Session)
        other.__dict__.update(self.__dict__)
        other.kem = self.kem.copy()
        other.sending = self.sending and replace(self.sending)
        other.receiving = self.receiving and replace(self.receiving)
        other.skipped = list(self.skipped)
        other.older = list(self.older)
        return other

    def replace_by(self, other):
        self.__dict__.update(other.__dict__)

    # sending

    def seal(self, kind, content, rng, spoil=None):
        """spoil: for negative tests, changes (header without nonce, payload) before they are sealed."""
        size = bucket(len(content), self.smallest)
        if self.sending is None:
            self.own_key = rng.draw(32)
            pq = self.kem.mix_own()
            self.rk, ck, hs = root_step(self.context, self.rk, DH(self.own_key, self.peer_key), pq)
            self.sending = Chain(ck, self.next_sending)
            self.next_sending = hs
        chain = self.sending
        need(chain.n < 2**31 and (not self.prefix or chain.n <= FIRST_JUMP), "ChainExhausted")
        fragments = self.kem.send(size - 144 - len(content), rng)
        r = rng.draw(12)
        n = chain.n
        header = x_public(self.own_key) + u32(self.pn) + u32(n) + u32(self.kem.mixed)
        self.last_key = mk = chain.next_key()
        payload = write_payload(kind, content, fragments, 0)
        t = tag(tag_key(chain.hs, self.context), n)
        nonce = body_nonce(mk, r, self.context, t, header, size, payload)
        payload += bytes(size - 138 - len(payload))
        if spoil:
            header, payload = spoil(header, payload)
        header += nonce
        p = H("PREFIX", self.prefix) if self.prefix else NO_PREFIX
        form = 1 if self.prefix else 2
        sealed = seal_message(form, p, self.context, self.context, chain.hs, n, mk, header, payload)
        return bytes([1, form]) + self.prefix + sealed

    @property
    def own_mailbox(self):
        """Where what is sealed now goes; nothing for an introduction."""
        return mailbox(self.sending.hs, self.context) if self.sending and not self.prefix else None

    def mailboxes(self):
        secrets = [self.next_receiving]
        if self.receiving:
            secrets.append(self.receiving.hs)
        if self.previous:
            secrets.append(self.previous[0])
        missing = [s.hs for s in self.skipped]
        late = [hs for hs in self.older if hs in missing]
        return [mailbox(hs, self.context) for hs in secrets + late[-5:][::-1]]

    # receiving

    def recognise(self, t):
        """Where a tag belongs: ("skipped", key), ("current", n), ("next", n), ("spent", n) or nothing."""
        for s in self.skipped:
            if s.tag == t:
                return "skipped", s
        if self.receiving:
            hs, n = self.receiving.hs, self.receiving.n
            tk = tag_key(hs, self.context)
            for i in range(n, n + AHEAD):
                if tag(tk, i) == t:
                    return "current", i
            for i in range(max(0, n - SPENT), n):
                if tag(tk, i) == t:
                    return "spent", (hs, i)
        if self.previous:
            hs, n = self.previous
            tk = tag_key(hs, self.context)
            for i in range(max(0, n - SPENT), n):
                if tag(tk, i) == t:
                    return "spent", (hs, i)
        tk = tag_key(self.next_receiving, self.context)
        for i in range(NEXT_AHEAD):
            if tag(tk, i) == t:
                return "next", i
        return None

    def search(self, envelope):
        """With the header keys of the current and the next chain: "current", "next" or nothing."""
        for where, hs in (("current", self.receiving and self.receiving.hs), ("next", self.next_receiving)):
            if hs:
                try:
                    open_header(envelope.kind, envelope.p, self.context, hs, envelope.sealed)
                    return where, None
                except Refused:
                    pass
        return None

    def is_authentic(self, envelope, where):
        """Whether the header of an envelope opens whose tag was consumed."""
        hs, n = where[1]
        try:
            return open_header(envelope.kind, envelope.p, self.context, hs, envelope.sealed)[36:40] == u32(n)
        except Refused:
            return False

    def open(self, envelope, where, first=False):
        """On success the session is changed and (kind, what its content says, reports) given; else nothing changes."""
        need(where[0] != "spent", "Duplicate")
        s = self.copy()
        out = s._open(envelope, where, first)
        self.replace_by(s)
        return out

    def _keep(self, hs, keys):
        tk = tag_key(hs, self.context)
        self.skipped += [Skipped(tag(tk, n), hs, n, mk) for n, mk in keys]
        if len(self.skipped) > KEPT:
            self.lost += len(self.skipped) - KEPT
            self.skipped = self.skipped[-KEPT:]

    def _open(self, envelope, where, first):
        place, key = where
        sealed = envelope.sealed
        hs = {
            "skipped": lambda: key.hs, "current": lambda: self.receiving.hs, "next": lambda: self.next_receiving,
        }[place]()
        with refusal("Rejected"):
            header = open_header(envelope.kind, envelope.p, self.context, hs, sealed)
            r = Reader(header)
            ratchet_key, pn, n, epoch = r.take(32), r.uint(4), r.uint(4), r.uint(4)
            need(equal(tag(tag_key(hs, self.context), n), sealed[:16]), "tag")
            need(place != "skipped" or key.n == n, "tag")
            if first:
                need(epoch == 0 and pn == 0, "introduction")
        if first:
            need(n <= FIRST_JUMP, "TooFarAhead")
        if place == "skipped":
            mk = key.mk
            self.skipped = [s for s in self.skipped if s is not key]
        elif place == "current":
            chain = self.receiving
            need(n >= chain.n, "Duplicate")
            need(ratchet_key == chain.peer_key, "Diverged")
            need(epoch == self.kem.peer_mixed, "Violation")
            need(n < 2**31, "Violation")
            need(n - chain.n <= JUMP, "TooFarAhead")
            self._keep(hs, chain.keys_until(n))
            mk = chain.next_key()
        else:
            need(self.own_key, "Diverged")
            old = self.receiving
            need(old or pn == 0, "Violation")
            need(pn <= 2**31, "Violation")
            rest = max(0, pn - old.n) if old else 0
            need(rest + n <= JUMP, "TooFarAhead")
            if old:
                self._keep(old.hs, old.keys_until(pn))
                if self.previous:
                    self.older = [h for h in self.older + [self.previous[0]] if any(x.hs == h for x in self.skipped)]
                self.previous = (old.hs, old.n)
            with refusal("Violation"):
                dh = DH(self.own_key, ratchet_key)
            pq = self.kem.mix_peer(epoch)
            self.rk, ck, self.next_receiving = root_step(self.context, self.rk, dh, pq)
            self.receiving = Chain(ck, hs, 0, ratchet_key)
            self.peer_key = ratchet_key
            self.own_key = b""
            self.pn, self.sending = (self.sending.n if self.sending else 0), None
            self._keep(hs, self.receiving.keys_until(n))
            mk = self.receiving.next_key()
        with refusal("Diverged"):
            plain = OPEN(mk, header[44:], self.context + sealed[:16] + header, sealed[88:])
        with refusal("Violation"):
            need(equal(plain[:32], bytes(32)), "commitment")
            kind, content, fragments, reports = read_payload(plain[32:])
            said = read_content(kind, content)
        reports = reports + self.kem.receive(fragments, place != "skipped")
        self.prefix = b""
        self.answered = True
        return kind, said, reports


@contextmanager
def refusal(name):
    """Whatever is refused within has this name."""
    try:
        yield
    except Refused:
        raise Refused(name) from None
