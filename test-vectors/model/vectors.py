"""The vectors in test-vectors/*.json: every value that can be computed is computed, every negative case is refused."""

import copy
import hashlib
import json
import os
import re

import around
import device
import groups as g
import membership_log as m
import mlkem
import sceau as s
from primitives import (
    DH, EXPAND, H, HKDF, HMAC16, L, LABELS, SIGN, Listed, Reader, Refused, ed_public, kem_valid, need, rebuild, symbol, u64,
    x_public,
)

# Names of labels there that are not words of the label itself
ALIASES = {"signed pre key": "SPK", "one time pre key": "OPK", "roster commit": "COMMIT", "commit id": "CID", "signer order": "ORDER",
           "safety digits": "DIGITS", "sas commitment": "SASC", "sas transcript": "SAST", "sas code": "SASCODE",
           "sender chain id": "SCID", "handshake randomness": "RAND", "body nonce": "NONCE", "attachment key": "ATTKEY",
           "vault nonce": "VNONCE", "head": "HEAD", "manifest part": "PART", "certificate request": "CREQ",
           "operation id": "OPID", "log heads": "HEADS"}


def b(text):
    return bytes.fromhex(text)


def optional(text):
    return None if text == "none" else b(text)


def draws(case):
    return Listed(b("".join(case["draws"])))


class Checker:
    def __init__(self, report):
        self.report = report
        self.cases = self.values = self.negative = self.mismatched = 0
        self.unused = set()
        self.where = ""

    def same(self, name, got, wanted):
        """wanted as in the file; bytes in hexadecimal there."""
        self.values += 1
        if isinstance(got, bytes):
            got = got.hex()
        if got != wanted:
            self.mismatched += 1
            self.report(f"{self.where}: {name}: {str(got)[:100]} is not {str(wanted)[:100]}")

    def fields(self, case, **got):
        for name, value in got.items():
            self.same(name, value, case[name])

    def refused(self, idea, action, wanted=None):
        """wanted: the class of the failure, where the model names it as the API does."""
        self.negative += 1
        try:
            action()
        except Refused as e:
            if wanted and e.args[0].split(" ")[0] != wanted.split(" ")[0]:
                self.mismatched += 1
                self.report(f"{self.where}: {idea}: {e.args[0]} is not {wanted}")
            return
        self.mismatched += 1
        self.report(f"{self.where}: accepted: {idea}")

    def run(self, folder):
        for file in sorted(os.listdir(folder)):
            if not file.endswith(".json") or file == "schema.json":
                continue
            with open(os.path.join(folder, file)) as f:
                data = json.load(f)
            name = file[:-5]
            self.where = name
            self.same("format", data["format"], "sceau/1")
            check = getattr(self, "check_" + name, None)
            if check is None:
                self.mismatched += 1
                self.report(f"{file}: not known here")
                continue
            self.cases += len(data["cases"])
            before = self.negative
            check(data["cases"], data["negative"])
            self.same("number of negative cases", self.negative - before, len(data["negative"]))

    # 1, 2, 3

    def check_labels(self, cases, negative):
        names = {text.decode()[8:]: name for name, text in LABELS.items()}
        seen = set()
        for c in cases:
            if "bytes" in c:
                words = re.sub(r"(?<!^)(?=[A-Z])", " ", c["name"]).lower()
                name = ALIASES.get(words) or names.get(words)
                seen.add(name)
                self.same(c["name"], L(name) if name else b"", c["bytes"])
            elif c["name"] == "bucket":
                self.same("bucket", s.bucket(c["content"]), c["S"])
            else:
                key, abc = bytes([7]) * 32, b"abc"
                self.fields(c, **{
                    "H(L_FP, 616263)": H("FP", abc),
                    "HKDF(07*32, 616263, L_ROOT || 646566, 96)": HKDF(key, abc, L("ROOT") + b"def", 96),
                    "EXPAND(07*32, L_CHAIN, 64)": EXPAND(key, L("CHAIN"), 64),
                    "HMAC16(07*32, 616263)": HMAC16(key, abc),
                })
        self.same("labels", seen, set(LABELS))
        for one in LABELS.values():
            self.same("prefixes", [o for o in LABELS.values() if o is not one and o.startswith(one)], [])
        for c in negative:
            self.refused(c["idea"], lambda: s.bucket(c["input"]))

    def identity(self, case):
        identity = s.new_identity(draws(case))
        self.fields(case, identity_key=identity.key, fingerprint=identity.fingerprint)
        self.same("image", b"\x01" + identity.ed_seed + identity.x_private + identity.kem_seed, case["image"])
        self.same("image", s.read_image(b(case["image"])).key, case["identity_key"])
        return identity

    def check_identity(self, cases, negative):
        for c in cases:
            self.identity(c)
        for c in negative:
            self.refused(c["idea"], lambda: s.read_image(b(c["input"])))

    def published(self, case):
        """A device from its identity and the draws of what it published."""
        identity = self.identity(case["identity"])
        rng = Listed(b("".join(case["identity"]["draws"])) + bytes(32) + b("".join(case["draws"])))
        d = device.Device(rng, case["now"])
        self.same("identity", d.identity.key, identity.key.hex())
        self.same("upload", d.publish(len(case["draws"]) // 3 - 1), case["upload"])
        rng.reader.end()
        entry = s.read_upload(b(case["upload"]))
        self.same("upload", s.sign_upload(identity, entry), case["upload"])
        self.same("bundles", [entry.take_bundle().hex() for _ in case["bundles"]], case["bundles"])
        for text in case["bundles"]:
            s.read_bundle(b(text)).check(case["now"])
        return d

    def check_prekeys(self, cases, negative):
        d = self.published(cases[0])
        for c in cases[1:]:
            key = {"signed prekey": d.current}[c["name"]]
            message = L("SPK") + d.fp + key.fields
            self.fields(c, fields=key.fields, signed_message=message, signature=SIGN(d.identity.ed_seed, message))
        for c in negative:
            self.refused(c["idea"], lambda: s.read_bundle(b(c["input"]["bundle"])).check(c["input"]["now"]))

    # 4

    def check_handshake(self, cases, negative):
        bob = alice = None
        for c in cases:
            d = self.published(c["bob"])
            a = self.identity(c["alice"])
            bundle = s.read_bundle(b(c["bundle"]))
            certificate = optional(c["certificate"])
            rng = Listed(b(c["random"]))
            secrets, prefix = s.initiate(a, bundle, c["created_at"], certificate, rng)
            payload = s.identity_payload(a.key, c["created_at"], certificate)
            e, m, m_id = s.hedged(a, bundle, payload, b(c["random"]))
            self.fields(c, e=e, encapsulation_m=m, identity_encapsulation_m=m_id)
            later = s.identity_payload(a.key, c["created_at"] + 1, certificate)
            later = s.hedged(a, bundle, later, b(c["random"]))
            self.fields(c["a_second_later"], e=later[0], encapsulation_m=later[1])
            opk = bundle.one_time
            self.same("dh1", DH(e, bundle.identity_key[32:64]), c["dh1"])
            self.same("dh2", DH(e, bundle.signed.x), c["dh2"])
            self.same("dh3", DH(e, opk.x).hex() if opk else "none", c["dh3"])
            self.same("dh4", DH(a.x_private, bundle.signed.x), c["dh4"])
            ct, ss = mlkem.encaps((opk or bundle.signed).kem, b(c["encapsulation_m"]))
            ct_id, ss_id = mlkem.encaps(bundle.kem, b(c["identity_encapsulation_m"]))
            self.fields(c, ct_id=ct_id, ss_id=ss_id)
            self.fields(c, E=x_public(e), ct=ct, ss=ss, prefix=prefix, introduction_id=s.introduction_id(prefix))
            self.fields(c, identity_payload=payload, c_id=prefix[-394:])
            mine = d.one_time[opk.id] if opk else None
            found = s.respond(d.identity, d.signed[bundle.signed.id], mine, prefix, d.now)
            self.same("what Bob reads", (found.identity_key, found.created_at, found.certificate), (a.key, c["created_at"], certificate))
            for x in secrets, found.secrets:
                self.fields(
                    c, th1=x.th1, k_id=x.k_id, k_next=x.k_next, th2=x.th2, rk0=x.rk0, header_a=x.header_a, header_b=x.header_b,
                    exporter=x.exporter, context=x.context, session_id=H("SID", x.context)[:16],
                )
                session = s.Session(x, c["created_at"], d.fp)
                for e in c["exported"]:
                    self.same("exported", session.export(b(e["context"])), e["key"])
            if bob is None:
                session = s.Session.initiator(secrets, c["created_at"], d.fp, bundle.signed.x, prefix, a)
                bob, alice = d, (session, a)
        for c in negative:
            self.refused(c["idea"], lambda: bob.open(b(c["input"])), c["expect"])
        session, a = alice
        good = session.seal(s.APPLICATION, b"good", Listed(bytes(range(44))))
        self.same("after what was refused", bob.open(good), ("message", a.fingerprint, good[3572:3588], b"good"))

    # 5, 6

    def check_chains(self, cases, negative):
        for c in cases:
            hs, ck, context = b(c["header_secret"]), b(c["ck"]), b(c["context"])
            tk = s.tag_key(hs, context)
            for i, step in enumerate(c["steps"]):
                ck, mk = s.chain_step(ck)
                self.fields(step, n=i, mk=mk, ck_next=ck, tag=s.tag(tk, i))
            self.fields(
                c, hk=s.header_key(hs, context), tag_65536=s.tag(tk, 65536), mailbox=around.mailbox(hs, context),
            )

    def check_messages(self, cases, negative):
        def opened(c, envelope):
            e = s.read_envelope(envelope)
            hs, mk, context = b(c["header_secret"]), b(c["mk"]), b(c["context"])
            header = s.open_header(e.kind, e.p, context, hs, e.sealed)
            n = int.from_bytes(header[36:40], "big")
            need(s.tag(s.tag_key(hs, context), n) == e.tag, "tag")
            return header, s.open_body(context, mk, header, e.sealed)

        for c in cases:
            hs, mk, context, header = b(c["header_secret"]), b(c["mk"]), b(c["context"]), b(c["header"])
            payload = b(c["body_plaintext"])[32:]
            n = int.from_bytes(header[36:40], "big")
            self.same("nonce", header[44:], c["nonce"])
            size = s.bucket(len(c["content"]) // 2)
            t = s.tag(s.tag_key(hs, context), n)
            written = payload[: 6 + len(c["content"]) // 2]
            self.same("nonce", s.body_nonce(mk, b(c["randomness"]), context, t, header[:44], size, written), c["nonce"])
            sealed = s.seal_message(2, s.NO_PREFIX, context, context, hs, n, mk, header, payload)
            self.fields(c, hk=s.header_key(hs, context), tag=sealed[:16], envelope=b"\x01\x02" + sealed)
            self.same("header", opened(c, b(c["envelope"])), (header, payload))
            kind, content, fragments, reports = s.read_payload(payload)
            self.same("content", content, c["content"])
            self.same("reports", reports, [])
            self.same("payload", s.write_payload(kind, content, fragments, s.bucket(len(content)) - 138), payload.hex())
        for c in negative:
            if "payload" in c["input"]:
                plain = b(c["input"]["payload"])

                def action():
                    need(plain[:32] == bytes(32), "commitment")
                    s.read_payload(plain[32:])

                self.refused(c["idea"], action)
            else:
                self.refused(c["idea"], lambda: opened(cases[c["input"]["case"]], b(c["input"]["envelope"])))

    def check_roots(self, cases, negative):
        for c in cases:
            pq = optional(c["pq"]) or b""
            rk, ck, hs = s.root_step(b(c["context"]), b(c["rk"]), b(c["dh"]), pq)
            self.fields(c, rk_next=rk, ck=ck, hs_next=hs)

    def state(self, x, wanted):
        """A session against `state_after`."""
        chains = ([x.previous] if x.previous else []) + ([(x.receiving.hs, x.receiving.n)] if x.receiving else [])
        receiving = [{"header_secret": hs.hex(), "next": n} for hs, n in chains + [(x.next_receiving, 0)]]
        sending = {"pn": x.pn}
        if x.sending:
            sending = {
                "ratchet_private": x.own_key.hex(), "header_secret": x.sending.hs.hex(), "ck": x.sending.ck.hex(),
                "n": x.sending.n, "pn": x.pn,
            }
        self.same("state", {
            "rk": x.rk.hex(), "peer_ratchet_key": x.peer_key.hex(), "sending": sending,
            "next_sending_header_secret": x.next_sending.hex(), "receiving": receiving[-len(wanted["receiving"]) :],
            "receiving_ck": x.receiving.ck.hex() if x.receiving else "none",
            "skipped": len(x.skipped), "kem_epochs": [x.kem.mixed, x.kem.peer_mixed],
        }, wanted)

    def check_session(self, cases, negative, smallest=640):
        for c in cases:
            i = c["initiation"]
            bob_device, alice = self.published(i["bob"]), self.identity(i["alice"])
            bundle = s.read_bundle(b(i["bundle"]))
            rng = draws(i)
            secrets, prefix = s.initiate(alice, bundle, i["created_at"], None, rng)
            rng.reader.end()
            x = s.Session.initiator(secrets, i["created_at"], bob_device.fp, bundle.signed.x, prefix, alice)
            x.smallest = smallest
            self.state(x, i["state"])
            sessions = {"alice": x}
            for e in c["events"]:
                self.where = f"{self.where.split(' ')[0]} step {e['step']}"
                if "seal" in e:
                    x, seal = sessions[e["by"]], e["seal"]
                    rng = draws(seal)
                    envelope = x.seal(s.APPLICATION, b(seal["content"]), rng)
                    rng.reader.end()
                    self.fields(seal, envelope=envelope, mk=x.last_key)
                    self.state(x, seal["state_after"])
                elif "accept" in e:
                    bob_device.open(b(e["accept"]))
                    sessions["bob"] = x = bob_device.peers[alice.fingerprint].best()
                    x.smallest = smallest
                    self.state(x, e["state_after"])
                else:
                    x = sessions[e["by"]]
                    _, content, reports = self.opening(x, b(e["open"]))
                    self.same("content", content, e["content"])
                    self.same("reports", reports, [])
                    self.state(x, e["state_after"])
        for n in negative:
            x = sessions[n["input"]["by"]]
            before = x.copy().__dict__
            self.refused(n["idea"], lambda: self.opening(x, b(n["input"]["envelope"])), n["expect"])
            self.same("nothing changed", before == x.__dict__, True)

    @staticmethod
    def opening(session, data):
        envelope = s.read_envelope(data)
        where = session.recognise(envelope.tag)
        need(where, "Unknown")
        return session.open(envelope, where)

    def check_kem_transcript(self, cases, negative):
        self.check_session(cases, negative, 2048)

    def check_kem(self, cases, negative):
        for c in cases:
            seed, m = b(c["draws"][0]), b(c["draws"][1])
            ek, dk = mlkem.keygen(seed)
            ct, ss = mlkem.encaps(ek, m)
            self.fields(c, ek=ek, ct=ct, ss=ss, offer_id=s.offer_id(ek), answer_id=s.answer_id(ek, ct), pq=s.kem_secret(ek, ct, ss))
            self.same("pq", s.kem_secret(ek, ct, ss, b(c["initiator"])), c["pq_of_identity"])
            self.same("decapsulation", mlkem.decaps(dk, ct), c["ss"])
            self.same("implicit rejection", mlkem.decaps(dk, b(c["implicit_rejection"]["ct"])), c["implicit_rejection"]["ss"])
            for x in c["symbols_of_ek"]:
                self.same("symbol", symbol(ek, x["index"]), x["symbol"])
            given = {x["index"]: b(x["symbol"]) for x in c["symbols_of_ek"]}
            for i in range(120, 160 - len(given) + 49):
                if len(given) < 49:
                    given[i] = symbol(ek, i)
            self.same("rebuilt", rebuild(given), c["ek"])
        for c in negative:
            self.refused(c["idea"], lambda: need(kem_valid(b(c["input"])), "encapsulation key"))

    # 9

    def roster(self, text):
        r = Reader(b(text))
        roster = g.read_roster(r)
        r.end()
        self.same("roster", roster.write(), text)
        return roster

    def check_rosters(self, cases, negative):
        people = [self.identity(p) for p in cases[0]["people"]]
        group = b(cases[0]["draws"][0])
        roster = th = None
        for c in cases:
            if roster is None:
                written = self.roster(c["state"]["roster"])
                roster = g.founded(group, people[0].key, written.policy)
                th = g.first_hash(roster)
            else:
                self.same("extends", th, c["extends"])
                r = Reader(b(c["commit"]))
                commit = g.read_commit(r)
                r.end()
                signer = people[c["signer"]]
                made = g.make_commit(signer, group, th, commit.changes)
                before = roster
                roster, ends = g.apply_commit(roster, commit)
                th = g.next_hash(commit.bytes, roster)
                self.fields(
                    c, commit=made.bytes, commit_message=b"\x01" + group + made.bytes, commit_id=commit.id(),
                    signer_order=g.signer_order(group, commit.signer),
                    signed_message=L("COMMIT") + group + commit.bytes[:-64], ends_chains=int(ends),
                    welcome_message=b"\x02" + commit.bytes + roster.write(),
                )
                self.same("signer", commit.signer, signer.fingerprint.hex())
                for fp in commit.added():
                    w, after = g.read_welcome(Reader(b(c["welcome_message"])[1:]), fp, commit.signer)
                    self.same("welcome", g.next_hash(w.bytes, after), th.hex())
            self.same("state", {
                "epoch": roster.epoch, "roster": roster.write().hex(), "roster_hash": roster.hash().hex(), "th": th.hex(),
            }, c["state"])
        for c in negative:
            data = c["input"]
            message = b(data["message"])

            def action():
                r = Reader(message[1:])
                if message[0] == 2:
                    g.read_welcome(r, s.fingerprint(b(data["newcomer"])) if len(data["newcomer"]) == 128 else b(data["newcomer"]), b(data["bringer"]))
                else:
                    state = data["group_state"]
                    now = self.roster(state["roster"])
                    need(r.take(32) == now.group, "group")
                    commit = g.read_commit(r)
                    r.end()
                    need(commit.extends == b(state["th"]), "another hash")
                    g.apply_commit(now, commit)

            self.refused(c["idea"], action)

    def check_sender_chains(self, cases, negative):
        first = cases[0]
        sender = self.identity(first["sender"])
        group, epoch, th = b(first["group"]), first["epoch"], b(first["th"])
        rng = draws(first)
        own = g.new_chain(rng, epoch, 0)
        rng.reader.end()
        self.fields(
            first, chain_context=g.chain_context(group, sender.fingerprint), announcement=own.announcement(group, epoch, th),
            mailbox=g.chain_mailbox(group, sender.fingerprint, own.hs),
        )

        def opened(announcement, th, envelope):
            chain = g.MemberChain(sender.fingerprint, g.read_announcement(announcement))
            e = s.read_envelope(envelope)
            where = chain.recognise(e.tag)
            need(where, "Unknown")
            return chain.open(e, where, epoch, lambda x: th if x == epoch else None)

        chain = g.MemberChain(sender.fingerprint, g.read_announcement(b(first["announcement"])))
        late = [c["envelope"] for c in cases[1:]][::-1]
        for c in cases[1:]:
            self.same("n", own.n, c["n"])
            rng = draws(c)
            envelope = g.seal_group(group, epoch, th, sender.fingerprint, own, 1, b(c["content"]), rng)
            rng.reader.end()
            context = g.group_context(group, epoch, th, sender.fingerprint, ed_public(own.seed))
            self.fields(c, context=context, envelope=envelope, announcement_after=own.announcement(group, epoch, th))
        for text in late:
            e = s.read_envelope(b(text))
            wanted = next(c["content"] for c in cases[1:] if c["envelope"] == text)
            self.same("opened", chain.open(e, chain.recognise(e.tag), epoch, lambda x: th)[2], wanted)
        for c in negative:
            data = c["input"]
            self.refused(c["idea"], lambda: opened(b(data["announcement"]), b(data["th"]), b(data["envelope"])))

    # 11

    def check_membership_log(self, cases, negative):
        authors = {}
        for c in cases[0]["authors"]:
            seed = b(c["draws"][0])
            self.same("verification key", ed_public(seed), c["verification_key"])
            authors[tuple(b(c[name]) for name in ("account", "device", "admission"))] = (ed_public(seed), c["rank"])

        def find(*author):
            need(author in authors, "NotADevice")
            return authors[author]

        def grown(operations):
            log = m.Log(b(operations[0]), find)
            for operation in operations[1:]:
                log.take(b(operation))
            return log

        for c in cases[1:-1]:
            log = grown([o["operation"] for o in c["operations"]])
            meaning = log.meaning()
            kept = log.close(meaning["live"])
            for o in c["operations"]:
                op = m.read_operation(b(o["operation"]))
                self.same("id", op.id, o["id"])
                self.same("signed message", L("OP") + op.unsigned, o["signed_message"])
                said = [int(op.id in ids) for ids in (meaning["effective"], meaning["live"], kept)]
                self.same("verdicts", said, [o["effective"], o["counts"], o["kept"]])
            role = lambda a: "Owner" if a == log.owner else "Admin" if a in meaning["admins"] else "Member"
            members = [{"account": a.hex(), "role": role(a)} for a in sorted(meaning["members"])]
            self.same("members", members, c["members"])
            settings = []
            for key, i in sorted(meaning["settings"].items()):
                value = next(change[2] for change in log.ops[i].changes if change[0] == m.SET and change[1] == key)
                settings.append({"key": key[0], "value": value.hex(), "from": i.hex()})
            self.same("settings", settings, c["settings"])
            self.same("heads hash", log.heads_hash(), c["heads_hash"])
        c = cases[-1]
        self.same("want", m.write_want(grown(c["operations"][: c["has"]]), 1), c["want"])
        self.same("answer", m.write_ops(grown(c["operations"]), 1, [b(o) for o in c["operations"][c["has"] :]]), c["answer"])
        for c in negative:
            data = c["input"]
            self.refused(c["idea"], lambda: grown(data["operations"] + [data["operation"]]))
    # 3, 7, and whole devices

    def check_stores(self, cases, negative):
        stores = [{b(x["key"]): b(x["row"]) for x in c["rows"]} for c in cases]
        for i, c in enumerate(cases):
            generation, image, _ = around.open_store(b(c["key"]), stores[i], b(c["mark"]))
            self.fields(c, generation=generation, manifest=image, mark=u64(generation) + image[-32:])
            if 0 < i < 3:
                around.open_store(b(c["key"]), stores[i], b(cases[i - 1]["mark"]))
        for c in negative:
            data = c["input"]
            rows = dict(stores[data["case"]])
            if "row" in data:
                rows[b(data["key"])] = optional(data["row"])
            rows = {name: row for name, row in rows.items() if row is not None}
            key = b(cases[data["case"]]["key"])
            self.refused(c["idea"], lambda: around.open_store(key, rows, b(data["mark"])), c["expect"])

    def check_uploads(self, cases, negative):
        for c in cases:
            identity = self.identity(c["identity"])
            d = device.Device(Listed(identity.ed_seed + identity.x_private + identity.kem_seed + bytes(32)))
            for made in c["uploads"]:
                d.now, d.rng = made["now"], draws(made)
                self.same("upload", d.publish(made["count"]), made["upload"])
                self.same("number", d.number, made["number"])
                d.rng.reader.end()
            held = None
            for a in c["arrivals"]:
                upload = b(c["uploads"][a["upload"]]["upload"])
                if held:
                    taken = held.update(upload)
                else:
                    held, taken = s.read_upload(upload), True
                self.same("taken", int(taken), a["taken"])
                self.same("bundle", held.take_bundle(), a["bundle"])
        for c in negative:
            held = s.read_upload(b(cases[0]["uploads"][0]["upload"]))

            def action():
                try:
                    held.update(b(c["input"]["upload"]))
                except Refused as e:
                    raise Refused("Malformed" if e.args[0] == "length" else e.args[0]) from None

            self.refused(c["idea"], action, c["expect"])

    def check_controls(self, cases, negative):
        for c in cases:
            fields, content = c["fields"], b(c["content"])
            said = [b(x) if isinstance(x, str) else [b(y) for y in x] if isinstance(x, list) else x for x in fields.values() if x != "none"]
            if c["name"] == "Receipt":
                self.same("read", s.read_receipt(content), said[0])
            else:
                self.same("read", s.read_control(content), (c["kind"], *said))
        for c in negative:
            self.refused(c["idea"], lambda: s.read_content(c["input"]["payload_kind"], b(c["input"]["content"])))

    def check_devices(self, cases, negative):
        ends = []
        for c in cases:
            self.where = "devices: " + c["name"]
            there = {}
            for name, made in c["devices"].items():
                there[name] = device.Device(draws(made), c["now"])
                self.same("fingerprint", there[name].fp, made["fingerprint"])
            kept = {}
            for number, step in enumerate(c["steps"]):
                self.where = f"devices: {c['name']}, step {number}"
                by = step["by"]
                d = there[by]
                (peer,) = [x.fp for name, x in there.items() if name != by]
                d.rng = draws(step) if "draws" in step else None
                what = step["do"]
                if what == "publish":
                    self.same("upload", d.publish(step["count"]), step["upload"])
                elif what == "add":
                    d.add(b(step["bundle"]))
                elif what == "renew":
                    d.renew(peer, b(step["bundle"]))
                elif what == "seal":
                    self.same("envelope", d.seal(peer, b(step["content"]))[0], step["envelope"])
                elif what == "owed":
                    self.same("envelopes", [e.hex() for _, e in d.owed()], step["envelopes"])
                elif what == "drop":
                    self.same("envelope", d.drop(peer, False), step["envelope"])
                elif what == "keep":
                    kept[by, step["as"]] = copy.deepcopy(d)
                elif what == "fall back":
                    there[by] = copy.deepcopy(kept[by, step["to"]])
                    there[by].roots = d.roots
                elif what == "trust":
                    d.roots.append(b(step["root"]))
                elif what == "certified":
                    said = d.peers[peer].certified
                    self.same("address", said[0] if said else "none", step["address"])
                else:
                    event, content = self.event(d, b(step["envelope"]))
                    self.same("event", (event, content.hex() if content is not None else "none"), (step["event"], step["content"]))
                    self.same("follows", sorted(d.follows), step["follows"])
                if d.rng:
                    d.rng.reader.end()
                    d.rng = None
            ends.append(there)
        for c in negative:
            self.negative += 1
            d = copy.deepcopy(ends[c["input"]["case"]][c["input"]["by"]])
            self.same(c["idea"], self.event(d, b(c["input"]["envelope"]))[0], c["expect"])

    @staticmethod
    def event(d, envelope):
        """(its name, the content of a message)"""
        try:
            out = d.open(envelope, True)
        except Refused as e:
            d.follows = []
            return e.args[0], None
        if out[0] == "unreadable":
            return "Unreadable " + out[2], None
        return out[0].capitalize(), out[3] if out[0] == "message" else None

    # 10

    def check_certificates(self, cases, negative):
        for c in cases:
            identity = self.identity(c["identity"])
            root_seed, issuer_seed = (b(x) for x in c["root_and_issuer_draws"])
            certificate = b(c["certificate"])
            sender_end, issuer_end = int.from_bytes(certificate[65:73], "big"), int.from_bytes(certificate[185:193], "big")
            self.same("end", min(sender_end, issuer_end), c["not_after"])
            made = around.make_certificate(root_seed, issuer_seed, issuer_end, identity.key, b(c["address"]), sender_end)
            issuer = ed_public(issuer_seed)
            self.fields(
                c, root=ed_public(root_seed), issuer=issuer, key_id=around.issuer_key_id(issuer), certificate=made,
                issuer_signed_message=L("ICERT") + made[145:193], signed_message=L("SCERT") + identity.key + made[:81],
            )
            said = around.check_certificate(certificate, identity.key, [b(c["root"])], c["not_after"])
            self.same("said", said, (b(c["address"]), c["not_after"]))
        for c in negative:
            data = c["input"]
            self.refused(c["idea"], lambda: around.check_certificate(
                b(data["certificate"]), b(data["identity_key"]), [b(r) for r in data["roots"]], data["now"],
                [b(r) for r in data["revoked"]],
            ))

    def check_proofs(self, cases, negative):
        for c in cases:
            identity = self.identity(c["identity"])
            key, made = identity.key, b(c["challenge"])
            if c["name"] == "login":
                server = b(c["server"])
                self.fields(c, signed_message=L("LOGIN") + key + made + server, login=around.sign_login(identity.ed_seed, key, server, made))
                around.verify_login(identity.fingerprint, b(c["login"]), server, made)
                continue
            issuer, address = b(c["issuer"]), b(c["address"])
            self.same("challenge", around.challenge(issuer, address, c["not_after"], b(c["draws"][0])), c["challenge"])
            self.fields(
                c, signed_message=L("CREQ") + made + key,
                request=around.request_certificate(identity.ed_seed, key, made, issuer, address),
            )
            self.same("verified", around.verify_request(made, b(c["request"]), c["not_after"]), (key, address))
        identity = self.identity(cases[0]["identity"])
        for c in negative:
            d = {k: v if k == "now" else b(v) for k, v in c["input"].items()}
            if "login" in d:
                self.refused(c["idea"], lambda: around.verify_login(d["fingerprint"], d["login"], d["server"], d["challenge"]))
            elif "request" in d:
                self.refused(c["idea"], lambda: around.verify_request(d["challenge"], d["request"], d["now"]))
            else:
                self.refused(c["idea"], lambda: around.request_certificate(
                    identity.ed_seed, identity.key, d["challenge"], d["issuer"], d["address"]))

    def check_attachments(self, cases, negative):
        for c in cases:
            content = b(c["content"]) if "content" in c else bytes(i % 251 for i in range(c["content_length"]))
            attachment, ciphertext = around.seal_attachment(b(c["draws"][0]), content)
            self.same("attachment", attachment, c["attachment"])
            if "ciphertext" in c:
                self.same("ciphertext", ciphertext, c["ciphertext"])
            else:
                self.fields(c, ciphertext_length=len(ciphertext), ciphertext_name=hashlib.sha256(ciphertext).digest())
            self.same("opened", around.open_attachment(attachment, ciphertext), content.hex())
        for c in negative:
            self.refused(c["idea"], lambda: around.open_attachment(b(c["input"]["attachment"]), b(c["input"]["ciphertext"])))

    def check_verification(self, cases, negative):
        for c in cases:
            if c["name"] == "safety number":
                self.same("digits", around.safety_number(b(c["one"]), b(c["other"])).replace(" ", ""), c["digits"])
            elif c["name"] == "qr code":
                own, peer = b(c["own"]), b(c["peer"])
                self.same("code", around.qr_code(own, peer), c["code"])
                self.same("text", around.qr_text(around.qr_code(own, peer)), c["text"])
                around.scan_qr_text(around.qr_text(around.qr_code(peer, own)), own, peer)
                around.scan_qr_code(around.qr_code(peer, own), own, peer)
            else:
                i, r, (nonce_i, nonce_r) = b(c["initiator"]), b(c["responder"]), (b(x) for x in c["draws"])
                messages = [around.sas_commitment(i, r, nonce_i), around.sas_answer(nonce_r), around.sas_opening(nonce_i)]
                self.same("messages", [m.hex() for m in messages], c["messages"])
                around.sas_check(i, r, messages[0], messages[2])
                digits, pictures = around.sas_code(i, r, nonce_i, nonce_r)
                self.same("digits", digits, c["digits"])
                self.same("pictures", [around.PICTURES[p].replace("-", " ") for p in pictures], c["pictures"])
        for c in negative:
            data = c["input"]
            if "text" in data:
                self.refused(c["idea"], lambda: around.scan_qr_text(data["text"], b(data["own"]), b(data["peer"])))
            elif "code" in data:
                self.refused(c["idea"], lambda: around.scan_qr_code(b(data["code"]), b(data["own"]), b(data["peer"])))
            else:
                first, _, third = (b(m) for m in data["messages"])
                self.refused(c["idea"], lambda: around.sas_check(b(data["initiator"]), b(data["responder"]), first, third))

    def check_vault(self, cases, negative):
        for c in cases:
            key, name, generation = b(c["key"]), b(c["name"]), int(c["generation"])
            sealed = around.seal_image(key, generation, b(c["draws"][0]), name, b(c["image"]))
            self.same("sealed", sealed, c["sealed"])
            self.same("opened", around.open_image(key, name, generation, sealed), (generation, b(c["image"])))
        for c in negative:
            data = c["input"]
            self.refused(c["idea"], lambda: around.open_image(b(data["key"]), b(data["name"]), data["least"], b(data["sealed"])))
