"""Random transcripts between a device of the crate and devices of the model."""

import copy
import random

import around
import groups
import sceau
from lines import Model, Real, hexed
from primitives import ed_public, seeded


class Mismatch(Exception):
    pass


class Counts:
    def __init__(self):
        self.transcripts = self.messages = self.refused = self.mixed = self.twin = 0


def expect(condition, *what):
    if not condition:
        raise Mismatch(" ".join(str(w)[:300] for w in what))


class Twinned:
    """The crate's device, and a model with the same randomness that has to answer the same."""

    def __init__(self, program, seed, counts):
        self.real, self.twin, self.counts, self.loose = Real(program, seed), Model(seed), counts, False
        expect(self.real.hello == self.twin.hello, "new")
        self.hello = self.real.hello

    def command(self, line):
        a = self.real.command(line)
        if self.loose:  # the twin has been left behind
            return a
        b = self.twin.command(line)
        name = line.split(" ")[0]
        if name in ("mailboxes", "owed"):
            same = sorted(a.split(" ")) == sorted(b.split(" "))
        elif a.startswith("ok group "):  # what became of it has names of the crate's
            same = a.split(" ")[:3] == b.split(" ")[:3]
        elif name in ("add", "detach"):  # refused for what the model names more finely
            same = a == b or (a.startswith("err ") and b.startswith("err "))
        else:
            same = a == b
        expect(same, "twin differs on", line, "\n crate:", a, "\n model:", b)
        self.counts.twin += 1
        return a

    def close(self):
        self.real.close()


class Party:
    def __init__(self, device):
        self.device = device
        self.name, self.key = device.hello.split(" ")[1:3]
        self.peers = {}

    def ask(self, *words):
        """The words after `ok`."""
        answer = self.device.command(" ".join(str(w) for w in words)).split(" ")
        expect(answer[0] == "ok", words, "answered", answer)
        return answer[1:]

    def fails(self, *words):
        answer = self.device.command(" ".join(str(w) for w in words))
        expect(answer.startswith("err "), words, "answered", answer)

    def can_not_read(self, envelope):
        """Refused, or told to be what no session fits."""
        answer = self.device.command("open " + envelope)
        expect(answer.startswith(("err ", "ok unreadable ")), envelope, "answered", answer)
        return answer.split(" ")[-1]

    def open(self, envelope):
        """As a careful application: by its tag, else by searching."""
        answer = self.device.command("open " + envelope)
        if answer.startswith("err "):
            answer = self.device.command("search " + envelope)
        expect(answer.startswith("ok "), "open", envelope, "answered", answer)
        return answer.split(" ")[1:]


def tag_of(envelope):
    at = 2 + (3570 if envelope[2:4] == "01" else 0)
    return envelope[2 * at : 2 * at + 32]


def mutated(rnd, envelope):
    data = bytearray.fromhex(envelope)
    how = rnd.randrange(6)
    if how == 0:
        data[rnd.randrange(len(data))] ^= 1 << rnd.randrange(8)
    elif how == 1:
        at = rnd.randrange(2, len(data))
        data[at] ^= 1 << rnd.randrange(8)
    elif how == 2:
        at = len(data) - rnd.randrange(1, 600)
        data[at] ^= 1 << rnd.randrange(8)
    elif how == 3:
        del data[-rnd.randrange(1, 40) :]
    elif how == 4:
        data += bytes(rnd.randrange(1, 40))
    else:
        data[1] ^= 3
    return bytes(data).hex()


def contents(rnd):
    r = rnd.random()
    n = 0 if r < 0.04 else rnd.randrange(1, 60) if r < 0.7 else rnd.randrange(300, 3000) if r < 0.98 else rnd.randrange(9000, 70000)
    return hexed(rnd.randbytes(n))


class Talk:
    """Two parties, and what is under way between them."""

    def __init__(self, rnd, counts, a, b, loss, reorder):
        self.rnd, self.counts, self.parties, self.loss, self.reorder = rnd, counts, (a, b), loss, reorder
        self.way = {a.name: [], b.name: []}
        self.read = {a.name: [], b.name: []}  # tags opened and not receipted
        self.done = []

    def say(self, who, to):
        rnd = self.rnd
        r = rnd.random()
        if r < 0.12 and self.read[who.name]:
            tags = self.read[who.name][-5:]
            self.read[who.name] = []
            (envelope,) = who.ask("receipt", to.name, *tags)
            wanted = ["receipt", who.name, *tags]
        elif r < 0.2:
            content, note = contents(rnd), hexed(rnd.randbytes(rnd.choice((0, 0, 5, 400))))
            key, ciphertext = who.ask("attach", content)
            if rnd.random() < 0.3:
                envelope, box = who.ask("seal-long", to.name, key)
                wanted = ["long-message", who.name, tag_of(envelope), key]
            else:
                envelope, box = who.ask("seal-attachment", to.name, key, note)
                wanted = ["attachment", who.name, tag_of(envelope), key, note]
            expect(to.ask("detach", key, ciphertext) == [content], "attachment")
            bad = bytearray.fromhex(ciphertext)
            bad[rnd.randrange(len(bad))] ^= 1
            to.fails("detach", key, bytes(bad).hex())
            self.counts.refused += 1
            self.at_mailbox(to, who, envelope, box)
        else:
            content = contents(rnd)
            envelope, box = who.ask("seal", to.name, content)
            wanted = ["message", who.name, tag_of(envelope), content]
            self.at_mailbox(to, who, envelope, box)
        if rnd.random() >= self.loss:
            self.way[to.name].append((envelope, wanted))

    def at_mailbox(self, to, who, envelope, box):
        expect((box == "-") == (envelope[2:4] == "01"), "mailbox of an introduction")
        if box != "-":
            expect(box in to.ask("mailboxes", who.name), "mailbox", box)

    def deliver(self, to):
        way = self.way[to.name]
        if not way:
            return
        rnd = self.rnd
        envelope, wanted = way.pop(rnd.randrange(min(self.reorder, len(way))))
        if rnd.random() < 0.2:
            to.fails("open", mutated(rnd, envelope))
            self.counts.refused += 1
        got = to.open(envelope)
        expect(got == wanted, "opened", got, "wanted", wanted)
        self.counts.messages += 1
        if wanted[0] != "receipt":
            self.read[to.name].append(wanted[2])
        self.done.append((to, envelope))
        if rnd.random() < 0.1:
            again_to, again = rnd.choice(self.done[-30:])
            again_to.fails("open", again)
            self.counts.refused += 1

    def run(self, steps, burst):
        for _ in range(steps):
            x, y = self.parties if self.rnd.random() < 0.5 else self.parties[::-1]
            for _ in range(self.rnd.choice(burst)):
                self.say(x, y)
            for _ in range(self.rnd.choice(burst)):
                self.deliver(y)
        while any(self.way.values()):
            for p in self.parties:
                self.deliver(p)


def introduce(rnd, a, b, one_time):
    """a can write to b."""
    upload = b.ask("publish", 3 if one_time else 0)
    expect(len(upload) == 1, "upload")
    (bundle,) = b.ask("bundle")
    bad = bytearray.fromhex(bundle)
    bad[rnd.randrange(len(bad))] ^= 1 << rnd.randrange(8)
    a.fails("add", bytes(bad).hex())
    expect(a.ask("add", bundle) == [b.name], "add")


def pair(program, seed, counts, steps, twin):
    rnd = random.Random(seed)
    real = Party(Twinned(program, seed, counts) if twin else Real(program, seed))
    model = Party(Model(1_000_000 + seed))
    both = rnd.random() < 0.3
    first, second = (real, model) if rnd.random() < 0.5 else (model, real)
    introduce(rnd, first, second, rnd.random() < 0.6)
    loss, reorder = rnd.choice(((0, 1), (0, 4), (0.1, 3), (0.3, 8), (0.5, 3)))
    talk = Talk(rnd, counts, real, model, loss, reorder)
    if both:
        introduce(rnd, second, first, rnd.random() < 0.6)
        talk.say(first, second)
        talk.say(second, first)
    else:
        talk.loss = 0
        for _ in range(rnd.randrange(1, 6)):
            talk.say(first, second)
        talk.deliver(second)
        talk.loss = loss
    talk.run(steps, rnd.choice(((1,), (0, 1, 1, 2), (0, 1, 2, 5), (3, 9))))
    expect(real.ask("safety", model.name) == model.ask("safety", real.name), "safety number")
    mine = model.device.device.peers[bytes.fromhex(real.name)].best()
    counts.mixed += mine.kem.mixed + mine.kem.peer_mixed
    # a long gap, that only a search closes
    if not both:
        for x, y in (talk.parties, talk.parties[::-1]):
            context = hexed(rnd.randbytes(rnd.choice((0, 1, 32, 300))))
            session, key = x.ask("export", y.name, context)
            expect(y.ask("export-of", session, context) == [key], "exported key")
        y.fails("export-of", "00" * 16, context)
        talk.loss = 0
        for x, y in (talk.parties, talk.parties[::-1]):
            for _ in range(rnd.choice((3, 30, 100))):
                x.ask("seal", y.name, "00")
            talk.say(x, y)
            talk.deliver(y)
    real.device.close()
    counts.transcripts += 1


def fresh(program, seed, counts):
    """The crate's device with an introduction from the model that has been answered: (real, model, the model's session)."""
    real = Party(Twinned(program, seed, counts))
    model = Party(Model(4_000_000 + seed))
    introduce(random.Random(seed), model, real, True)
    send(counts, model, real)
    send(counts, real, model)
    return real, model, model.device.device.peers[bytes.fromhex(real.name)].best()


def send(counts, a, b):
    content = hexed(a.name.encode()[:6])
    envelope = a.ask("seal", b.name, content)[0]
    got = b.open(envelope)
    expect(got == ["message", a.name, tag_of(envelope), content], "opened", got)
    counts.messages += 1


def payload_with(kind=1, content=b"x", fragments=b"", count=0, length=502, tail=b""):
    out = bytes([kind]) + len(content).to_bytes(4, "big") + content + bytes([count]) + fragments + tail
    return out + bytes(length - len(out))


def fragment(kind, first, count, number=1, answer=bytes(3)):
    return bytes([kind]) + number.to_bytes(2, "big") + b"abc" + answer + bytes([first, count])


def hostile(program, seed, counts):
    """Sealed by the model with correct keys, but wrong inside: refused, and nothing changes; or taken with its content."""
    real, model, session = fresh(program, seed, counts)
    rng = seeded(5_000_000 + seed)
    four = fragment(1, 0, 1) + bytes(32)

    def header_with(**new):
        def spoil(header, payload):
            key, pn, n, epoch = (new.get(k, v) for k, v in zip(
                ("key", "pn", "n", "epoch"), (header[:32], header[32:36], header[36:40], header[40:44])))
            return key + pn + n + epoch, payload
        return spoil

    refused = {
        "kind 0": payload_with(kind=0),
        "kind 8": payload_with(kind=8),
        "content beyond the end": b"\x01" + (10_000).to_bytes(4, "big") + bytes(497),
        "content to the end": b"\x01" + (497).to_bytes(4, "big") + bytes(497),
        "zeros": payload_with()[:-1] + b"\x01",
        "zeros behind a fragment": payload_with(fragments=four, count=1, tail=b"\x01"),
        "no tags": payload_with(kind=2, content=b""),
        "part of a tag": payload_with(kind=2, content=bytes(17)),
        "unknown control": payload_with(kind=5, content=b"\x09"),
        "a word behind `ended`": payload_with(kind=5, content=b"\x07\x00"),
        "a word behind `heard`": payload_with(kind=5, content=b"\x08\x00"),
        "control too long": payload_with(kind=5, content=b"\x03" + bytes(33)),
        "control too short": payload_with(kind=5, content=b"\x01" + bytes(39)),
        "half an attachment": payload_with(kind=6, content=bytes(71)),
        "half a long message": payload_with(kind=7, content=bytes(71)),
        "long message with a note": payload_with(kind=7, content=bytes(73)),
        "attachment of 2^40 + 1": payload_with(kind=6, content=bytes(32) + (2**40 + 1).to_bytes(8, "big") + bytes(32)),
    }
    taken = {
        "unknown fragment": (1, fragment(3, 0, 2) + bytes(64)),
        "no symbols": (1, fragment(1, 7, 0)),
        "beyond 256": (1, fragment(1, 250, 7) + bytes(224)),
        "offer with an answer id": (1, fragment(1, 0, 1, answer=b"xyz") + bytes(32)),
        "number of nobody": (1, fragment(1, 0, 1, number=77) + bytes(32)),
        "answer to no offer": (1, fragment(2, 0, 1) + bytes(32)),
        "five": (5, four * 5),
        "over the end": (1, fragment(1, 0, 40) + bytes(200)),
        "half a header": (2, four + b"\x01\x02"),
    }
    turn = seed % 2  # with a new chain, or in the one that goes on
    for idea, payload in refused.items():
        if turn:
            send(counts, real, model)
        bad = session.copy().seal(1, b"", rng, lambda h, p: (h, payload))
        expect(real.can_not_read(bad.hex()) == "Violation", idea)
        counts.refused += 1
        send(counts, model, real)
    for where in (0, 1):
        for idea, spoil in {
            "one epoch more": lambda h, p: (h[:40] + (int.from_bytes(h[40:], "big") + 1).to_bytes(4, "big"), p),
            "two epochs more": lambda h, p: (h[:40] + (int.from_bytes(h[40:], "big") + 2).to_bytes(4, "big"), p),
            "number": header_with(n=b"\x00\x00\x00\x09"), "ratchet key 0": header_with(key=bytes(32)),
            "another ratchet key": header_with(key=b"\x09" + bytes(31)), "nothing": None,
        }.items():
            if where:
                send(counts, real, model)
            bad = session.copy().seal(1, b"", rng, spoil)
            if spoil is None:
                bad = bad[:-1] + bytes([bad[-1] ^ 1])
            real.can_not_read(bad.hex())
            counts.refused += 1
            send(counts, model, real)
    for idea, (count, fragments) in taken.items():
        payload = payload_with(content=idea.encode(), fragments=fragments, count=count, length=502)
        if idea in ("over the end",):
            payload = payload[:-1] + b"\x01"
        envelope = session.seal(1, bytes(len(idea)), rng, lambda h, p: (h, payload)).hex()
        got = real.open(envelope)
        expect(got == ["message", model.name, tag_of(envelope), idea.encode().hex()], idea, got)
        counts.messages += 1
    # a jump too far: 8,193 messages passed over, and one less
    send(counts, real, model)
    send(counts, model, real)
    far = session.copy()
    far.sending.keys_until(far.sending.n + 8193)
    expect(real.ask("search", far.seal(1, b"", rng).hex()) == ["unreadable", model.name, "TooFarAhead"], "too far ahead")
    counts.refused += 1
    session.sending.keys_until(session.sending.n + 8192)
    envelope = session.seal(1, b"far", rng).hex()
    real.fails("open", envelope)
    expect(real.open(envelope)[0] == "message", "jump")
    for _ in range(60):  # and the KEM ratchet still turns
        send(counts, real, model)
        send(counts, model, real)
    expect(session.kem.mixed > 0 and session.kem.peer_mixed > 0, "no secrets mixed")
    counts.mixed += session.kem.mixed + session.kem.peer_mixed
    real.device.close()
    counts.transcripts += 1


def introductions(program, seed, counts):
    """Introductions that are refused; then a good one."""
    real = Party(Twinned(program, seed, counts))
    model = Party(Model(6_000_000 + seed))
    introduce(random.Random(seed), model, real, True)
    me, rng = model.device.device, seeded(7_000_000 + seed)
    bundle = sceau.read_bundle(bytes.fromhex(real.ask("bundle")[0]))
    bundle.one_time = None

    def make(created_at=1_800_000_000, payload=None, epoch=None, pn=None, passed=0, kept=sceau.identity_payload):
        if payload:
            sceau.identity_payload = payload
        try:
            secrets, prefix = sceau.initiate(me.identity, bundle, created_at, None, rng)
        finally:
            sceau.identity_payload = kept
        session = sceau.Session.initiator(secrets, created_at, bytes.fromhex(real.name), bundle.signed.x, prefix, me.identity)
        for _ in range(passed):
            session.seal(1, b"lost", rng)

        def spoil(h, p):
            return h[:32] + (pn or h[32:36]) + h[36:40] + (epoch or h[40:]), p

        return session.seal(1, b"x", rng, spoil).hex()

    good = sceau.identity_payload(me.identity.key, 1_800_000_000, None)
    low = good[:32] + bytes(32) + good[64:]
    for bad in (
        make(2**62), make(2**62 - 1), make(payload=lambda *_: good[:120] + b"\x02" + bytes(257)), make(payload=lambda *_: good[:-1] + b"\x01"),
        make(payload=lambda *_: low), make(payload=lambda *_: bytes.fromhex(real.key) + good[96:]),
        make(epoch=b"\x00\x00\x00\x01"), make(pn=b"\x00\x00\x00\x01"),
    ):
        expect(real.can_not_read(bad) == "Rejected", "introduction")
        counts.refused += 1
    if seed == 0:
        secrets, prefix = sceau.initiate(me.identity, bundle, 5, None, rng)
        session = sceau.Session.initiator(secrets, 5, bytes.fromhex(real.name), bundle.signed.x, prefix, me.identity)
        session.seal(1, b"lost", rng)
        session.sending.keys_until(2000)
        far = session.copy()
        last = session.seal(1, b"x", rng)
        try:
            session.seal(1, b"x", rng)
            expect(False, "sealed beyond what is taken")
        except sceau.Refused:
            pass
        far.prefix, kept = b"", far.prefix  # nobody would seal it
        far.sending.keys_until(2001)
        far.prefix, sceau.FIRST_JUMP = kept, 3000
        try:
            far = far.seal(1, b"x", rng)
        finally:
            sceau.FIRST_JUMP = 2000
        expect(real.can_not_read(far.hex()) == "TooFarAhead", "introduction from too far ahead")
        expect(real.open(last.hex())[0] == "message", "the last one that is taken")
        counts.refused += 1
        counts.messages += 1
        introduce(random.Random(seed), model, real, True)
    send(counts, model, real)
    send(counts, real, model)
    real.device.close()
    counts.transcripts += 1


def certificates(program, seed, counts):
    real, model = Party(Twinned(program, seed, counts)), Party(Model(8_000_000 + seed))
    root, issuer = bytes([seed % 256]) * 32, bytes([1 + seed % 255]) * 31 + b"i"
    for p in (real, model):
        p.ask("trust", ed_public(root).hex())

    def certificate(p, address, sender_end, issuer_end):
        c = around.make_certificate(root, issuer, issuer_end, bytes.fromhex(p.key), address, sender_end)
        p.ask("certificate", c.hex())
        return [hexed(address), str(min(sender_end, issuer_end))]

    end = 1_800_000_000 + 100_000
    a, b = certificate(real, b"real", end, end + 5), certificate(model, b"m" * 64, end + 9, end + 3)
    first, second = (real, model) if seed % 2 else (model, real)
    introduce(random.Random(seed), first, second, seed % 4 < 2)
    send(counts, first, second)
    expect(second.ask("certified", first.name) == (a if first is real else b), "certified")
    send(counts, second, first)
    # Who introduced itself has shown one, and owes the new one; the other has shown none
    new = certificate(first, b"new", end + 500, end + 400)
    certificate(second, b"never shown", end + 500, end + 400)
    expect(second.ask("owed") == [], "owed")
    (word,) = first.ask("owed")
    to, envelope = word.split(":")
    expect(to == second.name and second.open(envelope) == ["control", first.name], "control")
    counts.messages += 1
    expect(second.ask("certified", first.name) == new, "certified anew")
    expect(first.ask("certified", second.name) == ["-"], "certified")
    real.device.close()
    counts.transcripts += 1


def sessions(program, seed, counts):
    """Renewals and lost states: ranks, and the word that one is outranked."""
    real, model, _ = fresh(program, seed, counts)
    rnd = random.Random(seed)

    def bundle(p):
        p.ask("publish", 2)
        return p.ask("bundle")[0]

    model.ask("add", bundle(real))
    for _ in range(6):
        late = []
        r = rnd.random()
        if r < 0.6:  # one of them renews, or both do, while messages of the older session are under way
            late = [(y, x.ask("seal", y.name, "aa")[0]) for x, y in ((real, model), (model, real))]
            for p, q in ((real, model), (model, real)) if r < 0.2 else ((real, model),) if r < 0.4 else ((model, real),):
                p.ask("renew", q.name, bundle(q))
            crossing = [(y, x.ask("seal", y.name, "bb")[0]) for x, y in ((real, model), (model, real))]
            late += crossing
        else:  # the model falls back to what it was before it renewed
            old = copy_of(model.device, rnd.randrange(2**32))
            model.ask("renew", real.name, bundle(real))
            send(counts, model, real)
            send(counts, real, model)
            model.device = old
            if r < 0.8:
                model.ask("renew", real.name, bundle(real))
            else:
                model.ask("add", bundle(real))
        rnd.shuffle(late)
        for y, envelope in late:
            expect(y.open(envelope)[0] == "message", "late")
            counts.messages += 1
        for _ in range(3):
            for x, y in ((real, model), (model, real)):  # what an application does that is asked for bundles
                x.ask("add", bundle(y))
            send(counts, model, real)
            for x, y in ((real, model), (model, real)):
                for w in x.ask("owed"):
                    expect(y.open(w.split(":")[1]) == ["control", x.name], "control")
                    counts.messages += 1
        for _ in range(3):
            send(counts, real, model)
            send(counts, model, real)
        expect(real.ask("owed") == model.ask("owed") == [], "owed")
    real.device.close()
    counts.transcripts += 1


def losses(program, seed, counts):
    """Answers that are owed, sessions that end, are continued, blocked, fall silent, and fall back to an old state."""
    real, model, _ = fresh(program, seed, counts)
    rnd = random.Random(seed)

    def bundle(p):
        p.ask("publish", 2)
        return p.ask("bundle")[0]

    def controls(x, y, count):
        words = x.ask("owed")
        expect(len(words) == count, "owed", words)
        for w in words:
            expect(y.open(w.split(":")[1]) == ["control", x.name], "control")
            counts.messages += 1

    def heard():
        for x, y in ((model, real), (real, model)):
            send(counts, y, x)
            for i in range(65):
                send(counts, x, y)
                controls(y, x, int(i in (31, 63)))

    def ended():
        x, y = (real, model) if rnd.random() < 0.5 else (model, real)
        if rnd.random() < 0.5:
            x.ask("renew", y.name, bundle(y))
            send(counts, x, y)
            send(counts, y, x)
        send(counts, x, y)
        send(counts, y, x)
        late = x.ask("seal", y.name, "aa")[0]
        (farewell,) = x.ask(rnd.choice(("drop", "forget")), y.name)
        expect(y.open(farewell) == ["control", x.name], "ended")
        expect(y.open(late) == ["message", x.name, tag_of(late), "aa"], "late")
        y.ask("add", bundle(x))
        send(counts, y, x)
        expect(x.ask("renewed") == ["0"], "renewed")
        x.ask("add", bundle(y))  # it has dropped what would show that this is y
        send(counts, x, y)

    def continued():
        x, y = (real, model) if rnd.random() < 0.5 else (model, real)
        for _ in range(rnd.randrange(3)):
            x.ask("seal", y.name, "00")
        if rnd.random() < 0.5:
            send(counts, y, x)
        x.ask("renew", y.name, bundle(y))
        send(counts, x, y)
        expect(y.ask("renewed") == ["1"], "renewed")
        send(counts, y, x)
        if x is model:  # and when it has lost the session
            model.device.device.peers[bytes.fromhex(real.name)].sessions = []
            model.device.device.now += 1000
            real.ask("time", model.device.device.now)
            model.ask("add", bundle(real))
            send(counts, model, real)
            expect(real.ask("renewed") == ["0"], "renewed")
            real.ask("add", bundle(model))  # it does not know that it is still the model
            send(counts, real, model)

    def blocked():
        x, y = (real, model) if rnd.random() < 0.5 else (model, real)
        x.ask("block", y.name)
        for _ in range(2):
            envelope = y.ask("seal", x.name, "00")[0]
            expect(x.can_not_read(envelope) == "Blocked", "blocked")
            x.fails("seal", y.name, "00")
            y.ask("renew", x.name, bundle(x))
        x.ask("unblock", y.name)
        send(counts, y, x)
        send(counts, x, y)

    def silent():
        x, y = (real, model) if rnd.random() < 0.5 else (model, real)
        send(counts, y, x)
        x.ask("add", bundle(y))
        for _ in range(256):
            envelope = x.ask("seal", y.name, "00")[0]
            expect(envelope[2:4] == "02", "no introduction yet")
        send(counts, x, y)
        expect(y.ask("renewed") == ["1"], "renewed")
        send(counts, y, x)

    def fell_back():
        real.ask("add", bundle(model))
        for _ in range(rnd.randrange(2)):
            send(counts, real, model)
        old = copy_of(model.device, rnd.randrange(2**32))
        for _ in range(3):
            envelope = model.ask("seal", real.name, "01")[0]
            real.open(envelope)
        again = rnd.random() < 0.5
        if again:
            send(counts, real, model)
            send(counts, model, real)
        model.device = old
        envelope = model.ask("seal", real.name, "02")[0]
        # At a consumed position, in the present chain or the one before
        expect(real.can_not_read(envelope) == "Diverged", "fell back")
        counts.refused += 1
        send(counts, real, model)
        model.ask("add", bundle(real))  # where it can't see that this goes on from their session
        send(counts, model, real)

    steps = [heard, ended, continued, blocked, silent, fell_back]
    for _ in range(8):
        rnd.choice(steps)()
        for x, y in ((model, real), (real, model)):
            for w in x.ask("owed"):
                y.open(w.split(":")[1])
    real.device.close()
    counts.transcripts += 1


def forgeries(program, seed, counts):
    """In a group: commits and group messages that are wrong; the crate's device stays as it was."""
    real, boss, pawn = Party(Twinned(program, seed, counts)), Party(Model(9_000_000 + seed)), Party(Model(9_500_000 + seed))
    three = (real, boss, pawn)
    for p in three:
        p.ask("publish", 4)
    for p in three:
        for q in three:
            if p is not q:
                p.ask("add", *q.ask("bundle"))
    (group,) = boss.ask("group-new", 100, 86400)
    id = bytes.fromhex(group)

    def give(words):
        for w in words:
            to, envelope = w.split(":")
            next(p for p in three if p.name == to).open(envelope)

    give(boss.ask("group-commit", group, f"add:{real.name}:member", f"add:{pawn.name}:member")[1:])
    stranger = Model(9_900_000 + seed).device.identity
    b, w = boss.device.device, pawn.device.device
    state = b.groups[id]

    def commit(signer, changes, group_id=id, extends=None, spoil=None):
        c = groups.make_commit(signer, group_id, extends or state.th, changes).bytes
        return b"\x01" + id + (spoil(c) if spoil else c)

    me, him, it = b.identity, w.identity, bytes.fromhex(real.key)
    itself = bytes.fromhex(real.name)
    for content in (
        commit(him, [("policy", (7, 7))]), commit(him, [("remove", itself)]), commit(stranger, [("leave",)]),
        commit(me, [("remove", me.fingerprint)]), commit(me, [("remove", stranger.fingerprint)]), commit(me, [("add", it, 1)]),
        commit(me, [("role", itself, 1)]), commit(me, [("policy", (100, 86400))]), commit(me, [("policy", (0, 1))]),
        commit(me, [("policy", (2**31 + 1, 1))]), commit(me, [("leave",), ("policy", (9, 9))]), commit(me, []),
        commit(me, [("role", itself, 2), ("remove", itself)]), commit(me, [("policy", (9, 9)), ("policy", (8, 8))]),
        commit(me, [("add", stranger.key, 2), ("role", me.fingerprint, 1)]), commit(me, [("role", itself, 3)]),
        commit(me, [("policy", (9, 9))], group_id=bytes(32)), commit(me, [("policy", (9, 9))], extends=bytes(32)),
        commit(me, [("policy", (9, 9))], spoil=lambda c: c[:-1] + bytes([c[-1] ^ 1])),
        commit(me, [("policy", (9, 9))], spoil=lambda c: c[:32] + him.fingerprint + c[64:]),
        commit(me, [("policy", (9, 9))], spoil=lambda c: c + b"\x00"), b"\x04" + id, b"",
        b"\x02" + groups.make_commit(him, id, bytes(32), [("add", it, 1)]).bytes + groups.Roster(
            id, 9, (9, 9), {itself: (it, 1, groups.NEVER), him.fingerprint: (him.key, 2, 3)}).write(),
    ):
        before = real.ask("group", group)
        for d in (b, w):
            try:
                real.device.real.command("open " + d.seal_kind(itself, sceau.ROSTER, content).hex())
            except sceau.Refused:
                pass
            counts.refused += 1
        now = real.device.real.command("group " + group).split(" ")[1:]
        expect(now == before, "a forged commit changed", now)
    real.device.loose = True  # what is answered to nonsense is the crate's own affair
    envelope, _, *rest = boss.ask("group-say", group, "01")
    give(rest)
    real.ask("open", envelope)
    for spoil in (
        lambda h, p: (h, p[:10] + bytes([p[10] ^ 1]) + p[11:]),  # the signature
        lambda h, p: (h, p[:-1] + b"\x01"), lambda h, p: (h, b"\x02" + p[1:]), lambda h, p: (h, p[:6] + b"\x01" + p[7:]),
        lambda h, p: (b"\x01" + h[1:], p), lambda h, p: (h[:35] + b"\x01" + h[36:], p),
        lambda h, p: (h[:20] + (2).to_bytes(8, "big") + h[28:], p), lambda h, p: (h[:20] + bytes(8) + h[28:], p),
        lambda h, p: (h[:40] + (99).to_bytes(4, "big") + h[44:], p),
    ):
        chain = copy.copy(state.own)
        bad = groups.seal_group(id, state.roster.epoch, state.th, me.fingerprint, chain, 1, b"x", b.rng, spoil)
        real.fails("open", bad.hex())
        counts.refused += 1
    for c in ("02", "03"):
        envelope, _, *rest = boss.ask("group-say", group, c)
        expect(real.open(envelope) == ["group-message", group, boss.name, "1", c], "after forgeries")
        counts.messages += 1
    give(boss.ask("group-commit", group, f"role:{real.name}:admin")[1:])
    expect(real.ask("group", group) == boss.ask("group", group), "after forgeries")
    real.device.close()
    counts.transcripts += 1


def copy_of(model, seed):
    other = Model(0)
    kept = model.device.rng
    model.device.rng = None
    other.device = copy.deepcopy(model.device)
    model.device.rng = kept
    other.device.rng = seeded(seed)
    return other


class Room:
    """A group of a device of the crate and two of the model."""

    def __init__(self, program, seed, counts, concurrent):
        self.rnd, self.counts, self.concurrent = random.Random(seed), counts, concurrent
        self.parties = [Party(Real(program, seed)), Party(Model(2_000_000 + seed)), Party(Model(3_000_000 + seed))]
        self.named = {p.name: p for p in self.parties}
        for p in self.parties:
            p.ask("publish", 4)
        for p in self.parties:
            for q in self.parties:
                if p is not q:
                    p.ask("add", *q.ask("bundle"))
        self.rnd.shuffle(self.parties)
        self.founder = self.parties[0]
        (self.group,) = self.founder.ask("group-new", self.rnd.choice((3, 100)), 86400)
        self.way = {p.name: [] for p in self.parties}  # (envelope, wanted) in their order
        self.commits = 0

    def put(self, words):
        for w in words:
            to, envelope = w.split(":")
            self.way[to].append((envelope, None))

    def state(self, p):
        """(epoch, hash, {name: role}), or nothing."""
        answer = p.device.command("group " + self.group).split(" ")
        if answer[0] != "ok":
            return None
        return int(answer[1]), answer[2], dict(m.split(":") for m in answer[3:])

    def role(self, p):
        state = self.state(p)
        return state[2].get(p.name) if state else None

    def commit(self, p, *changes):
        self.put(p.ask("group-commit", self.group, *changes)[1:])
        self.put(p.ask("group-owed", self.group))
        self.commits += 1
        if not self.concurrent or self.commits % 6 == 0:  # more than 8 that others have not seen cannot be undone
            self.settle()

    def say(self, p):
        content = contents(self.rnd)
        epoch, _, members = self.state(p)
        wanted = ["group-message", self.group, p.name, str(epoch), content]
        if self.rnd.random() < 0.1:
            (key, _) = p.ask("attach", content)
            envelope, box, *rest = p.ask("group-long", self.group, key)
            wanted[0], wanted[4] = "group-long-message", key
        else:
            envelope, box, *rest = p.ask("group-say", self.group, content)
        self.put(rest)
        for name in members:
            if name != p.name:
                self.way[name].append((envelope, wanted))

    def deliver(self, p):
        if not self.way[p.name]:
            return
        envelope, wanted = self.way[p.name].pop(0)
        if wanted and self.rnd.random() < 0.2:
            p.fails("open", mutated(self.rnd, envelope))
            self.counts.refused += 1
        answer = p.device.command("open " + envelope).split(" ")
        if wanted is None:
            expect(answer[0] == "ok" or self.concurrent, "open", envelope, "answered", answer)
        elif answer == ["ok"] + wanted:
            self.counts.messages += 1
            p.fails("open", envelope)
            self.counts.refused += 1
        else:
            expect(self.concurrent and answer[0] == "err", "open", envelope, "answered", answer, "wanted", wanted)
        self.put(p.ask("group-owed", self.group) if self.state(p) else [])

    def settle(self):
        while any(self.way.values()):
            for p in self.parties:
                self.deliver(p)

    def step(self):
        rnd = self.rnd
        p = rnd.choice(self.parties)
        role = self.role(p)
        if role is None:
            return
        others = [q for q in self.parties if q is not p]
        r = rnd.random()
        if r < 0.55:
            self.say(p)
        elif role == "admin":
            if not self.concurrent:
                self.settle()
            members = self.state(p)[2]
            q = rnd.choice(others)
            if q.name not in members:
                # Nobody joins by a commit that may be undone: a branch that parts before one's welcome cannot be compared
                self.settle()
                if q.name not in self.state(p)[2] and self.role(p) == "admin":
                    self.commit(p, f"add:{q.name}:{rnd.choice(('member', 'admin'))}")
                    self.settle()
            elif r < 0.7:
                self.commit(p, f"policy:{rnd.randrange(2, 1000)}:{rnd.randrange(1000, 100000)}")
            elif r < 0.85:
                self.commit(p, f"role:{q.name}:{'admin' if members[q.name] == 'member' else 'member'}")
            else:
                self.commit(p, f"remove:{q.name}")
        elif r < 0.6 and not self.concurrent:
            self.settle()
            self.commit(p, "leave")

    def run(self, steps):
        a, b = self.parties[1:]
        self.commit(self.founder, f"add:{a.name}:admin", f"add:{b.name}:{self.rnd.choice(('member', 'admin'))}")
        self.settle()
        for _ in range(steps):
            self.step()
            for p in self.parties:
                if self.rnd.random() < 0.5:
                    self.deliver(p)
        self.settle()
        for _ in range(2 if self.concurrent else 0):  # what heals branches
            for p in self.parties:
                if self.role(p):
                    self.say(p)
            self.settle()
        # everyone who is in agrees, and everyone can say something to everyone
        members = max((self.state(p) for p in self.parties if self.role(p)), key=lambda x: x[0])
        there = [p for p in self.parties if p.name in members[2]]
        for p in there:
            expect(self.state(p) == members, "rosters differ", self.state(p), members)
        self.concurrent = False
        for p in there:
            self.say(p)
            self.settle()
        for p in self.parties:
            p.device.close()
        self.counts.transcripts += 1
