"""Devices driven by lines, as examples/interop.rs describes: the crate's behind a pipe, and the model's."""

import subprocess

import around
import device
import groups as g
from primitives import Refused, seeded


class Real:
    """The crate's device."""

    def __init__(self, program, seed):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.hello = self.command(f"new {seed}")

    def command(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError("the crate's device went away on: " + line[:200])
        return answer.strip()

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)


def hexed(data):
    return data.hex() if data else "-"


def unhex(word):
    return b"" if word == "-" else bytes.fromhex(word)


class Model:
    """The model's device; the same commands and the same answers."""

    def __init__(self, seed):
        self.device = device.Device(seeded(seed))
        self.hello = f"ok {self.device.fp.hex()} {self.device.identity.key.hex()}"

    def command(self, line):
        name, *words = line.split(" ")
        try:
            out = getattr(self, "do_" + name.replace("-", "_"))(*words)
        except Refused as e:
            return "err " + e.args[0].replace(" ", "-")
        return " ".join(["ok"] + [w for w in out if w != ""])

    def close(self):
        pass

    def do_time(self, n):
        self.device.now = int(n)
        return []

    def do_publish(self, n):
        return [self.device.publish(int(n)).hex()]

    def do_bundle(self):
        return [self.device.bundle().hex()]

    def do_add(self, bundle):
        return [self.device.add(unhex(bundle)).hex()]

    def do_renew(self, peer, bundle):
        self.device.renew(unhex(peer), unhex(bundle))
        return []

    def do_block(self, peer):
        self.device.block(unhex(peer), True)
        return []

    def do_unblock(self, peer):
        self.device.block(unhex(peer), False)
        return []

    def do_drop(self, peer):
        return [hexed(self.device.drop(unhex(peer), False))]

    def do_forget(self, peer):
        return [hexed(self.device.drop(unhex(peer), True))]

    def do_renewed(self):
        return [str(int("Renewed" in self.device.follows))]

    def do_seal(self, peer, content):
        envelope, box = self.device.seal(unhex(peer), unhex(content))
        return [envelope.hex(), hexed(box)]

    def do_seal_attachment(self, peer, key, note):
        envelope, box = self.device.seal_attachment(unhex(peer), unhex(key), unhex(note))
        return [envelope.hex(), hexed(box)]

    def do_seal_long(self, peer, key):
        envelope, box = self.device.seal_long(unhex(peer), unhex(key))
        return [envelope.hex(), hexed(box)]

    def do_export(self, peer, context):
        return [x.hex() for x in self.device.export(unhex(peer), unhex(context))]

    def do_export_of(self, id, context):
        return [self.device.export_of(unhex(id), unhex(context)).hex()]

    def do_receipt(self, peer, *tags):
        return [self.device.receipt(unhex(peer), [unhex(t) for t in tags]).hex()]

    def do_owed(self):
        return [f"{p.hex()}:{e.hex()}" for p, e in self.device.owed()]

    def do_open(self, envelope, search=False):
        out = self.device.open(unhex(envelope), search)
        return [hexed(w) if isinstance(w, bytes) else str(w) for w in out]

    def do_search(self, envelope):
        return self.do_open(envelope, True)

    def do_mailboxes(self, peer):
        return [a.hex() for a in self.device.mailboxes(unhex(peer))]

    def do_certificate(self, certificate):
        self.device.certificate = unhex(certificate)
        return []

    def do_trust(self, root):
        self.device.roots.append(unhex(root))
        return []

    def do_certified(self, peer):
        said = self.device.peers[unhex(peer)].certified
        return [hexed(said[0]), str(said[1])] if said else ["-"]

    def do_attach(self, content):
        key, ciphertext = around.seal_attachment(self.device.rng.draw(32), unhex(content))
        return [key.hex(), ciphertext.hex()]

    def do_detach(self, key, ciphertext):
        return [hexed(around.open_attachment(unhex(key), unhex(ciphertext)))]

    def do_safety(self, peer):
        return [self.device.safety(unhex(peer)).replace(" ", "")]

    def do_group_new(self, most, age):
        return [self.device.group_new((int(most), int(age))).hex()]

    def do_group_commit(self, group, *words):
        role = {"member": g.MEMBER, "admin": g.ADMIN}
        changes = []
        for w in words:
            what, *rest = w.split(":")
            if what == "policy":
                changes.append((what, (int(rest[0]), int(rest[1]))))
            else:
                changes.append((what, *[unhex(x) for x in rest[:1]], *[role[x] for x in rest[1:]]))
        epoch, deliveries = self.device.group_commit(unhex(group), changes)
        return [str(epoch)] + self._all(deliveries)

    @staticmethod
    def _all(deliveries):
        return [f"{to.hex()}:{e.hex()}" for to, e in deliveries]

    def do_group_say(self, group, content):
        envelope, box, deliveries = self.device.group_say(unhex(group), unhex(content))
        return [envelope.hex(), box.hex()] + self._all(deliveries)

    def do_group_long(self, group, key):
        envelope, box, deliveries = self.device.group_say(unhex(group), unhex(key), 7)
        return [envelope.hex(), box.hex()] + self._all(deliveries)

    def do_group_owed(self, group):
        return self._all(self.device.group_owed(unhex(group)))

    def do_group_ask(self, group, member):
        return [self.device.group_ask(unhex(group), unhex(member)).hex()]

    def do_group(self, group):
        x = self.device.groups[unhex(group)]
        members = [
            f"{fp.hex()}:{'admin' if role == g.ADMIN else 'member'}" for fp, (_, role, _) in sorted(x.roster.members.items())
        ]
        return [str(x.roster.epoch), x.th.hex()] + members
