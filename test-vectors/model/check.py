"""Checks this model, the vectors against it, and the crate's device against it; one summary line, and 1 on any difference.

check.py [factor] multiplies the number of transcripts.
"""

import json
import os
import random
import subprocess
import sys
import traceback

import jsonschema
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM1024PrivateKey

import around
import interop
import membership_log
import mlkem
import primitives as p
import vectors

HERE = os.path.dirname(os.path.abspath(__file__))
VECTORS = os.path.dirname(HERE)
ROOT = os.path.dirname(VECTORS)


def units():
    """The model's own ground: ML-KEM against the `cryptography` package, samples of RFCs and of docs/PROTOCOL.md."""
    rnd = random.Random(1)
    for _ in range(4):
        seed = rnd.randbytes(64)
        other = MLKEM1024PrivateKey.from_seed_bytes(seed)
        ek, dk = mlkem.keygen(seed)
        assert other.public_key().public_bytes_raw() == ek and mlkem.valid_ek(ek)
        ct, ss = mlkem.encaps(ek, rnd.randbytes(32))
        assert mlkem.decaps(dk, ct) == other.decapsulate(ct) == ss
        bad = bytes([ct[0] ^ 1]) + ct[1:]
        assert mlkem.decaps(dk, bad) == other.decapsulate(bad) != ss
        parts = other.public_key().encapsulate()
        ss, ct = sorted(parts, key=len)
        assert mlkem.decaps(dk, ct) == ss
        symbols = {i: p.symbol(ek, i) for i in rnd.sample(range(256), 49)}
        assert p.rebuild(symbols) == ek
    assert not mlkem.valid_ek(b"\xff" * 1568) and not mlkem.valid_ek(bytes(1567))
    assert p.hchacha20(bytes(range(32)), bytes.fromhex("000000090000004a0000000031415927")).hex() == (
        "82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc")
    assert len(p._SMALL) == 5  # 1, -1, 0, and two of order 8
    for weak in (b"\x01" + bytes(31), bytes(32), b"\xec" + b"\xff" * 30 + b"\x7f", b"\xed" + b"\xff" * 30 + b"\x7f"):
        refused(lambda: p.VERIFY(weak, b"", weak + bytes(32)))
    refused(lambda: p.DH(bytes(32), bytes(32)))
    assert [p.padme(n) for n in (640, 641, 1000, 2**20 - 1)] == [640, 672, 1024, 2**20]
    assert around.safety_number(b"\x02" * 32, b"\x01" * 32) == (
        "83075 17158 41122 04000 77208 35488 47686 71246 90695 55574 87387 30568")


def schema():
    """Every file has the form that test-vectors/schema.json describes."""
    with open(os.path.join(VECTORS, "schema.json")) as file:
        validator = jsonschema.Draft202012Validator(json.load(file))
    names = [name for name in sorted(os.listdir(VECTORS)) if name.endswith(".json") and name != "schema.json"]
    assert len(names) > 10
    for name in names:
        with open(os.path.join(VECTORS, name)) as file:
            validator.validate(json.load(file))


def refused(action):
    try:
        action()
    except p.Refused:
        return
    raise AssertionError("accepted")


def program(name="interop"):
    given = os.environ.get("SCEAU_" + name.upper())
    if given:
        return given
    out = subprocess.run(
        ["cargo", "build", "--release", "--locked", "--example", name, "--message-format=json"],
        cwd=ROOT, check=True, stdout=subprocess.PIPE,
    ).stdout
    for line in out.splitlines():
        message = json.loads(line)
        if message.get("reason") == "compiler-artifact" and message["target"]["name"] == name:
            return message["executable"]
    raise RuntimeError("cargo names no program")


def histories(count):
    """What the crate says of random membership logs after each operation, and the model."""
    run = subprocess.Popen([program("log_histories"), str(count)], stdout=subprocess.PIPE)
    found = membership_log.compare(json.loads(line) for line in run.stdout)
    if run.wait() != 0:
        raise RuntimeError("log_histories failed")
    return found


def main():
    factor = float(sys.argv[1]) if len(sys.argv) > 1 else 1
    units()
    schema()
    checker = vectors.Checker(print)
    checker.run(VECTORS)
    mismatched = checker.mismatched
    counts = interop.Counts()
    path = program()
    for count, run in (
        (60, lambda seed: interop.pair(path, seed, counts, 40, False)),
        (40, lambda seed: interop.pair(path, 1000 + seed, counts, 40, True)),
        (3, lambda seed: interop.pair(path, 2000 + seed, counts, 250, True)),
        (4, lambda seed: interop.hostile(path, seed, counts)),
        (6, lambda seed: interop.introductions(path, seed, counts)),
        (8, lambda seed: interop.certificates(path, seed, counts)),
        (20, lambda seed: interop.sessions(path, seed, counts)),
        (24, lambda seed: interop.losses(path, seed, counts)),
        (30, lambda seed: interop.Room(path, seed, counts, False).run(40)),
        (40, lambda seed: interop.Room(path, 1000 + seed, counts, True).run(40)),
        (4, lambda seed: interop.forgeries(path, seed, counts)),
    ):
        for seed in range(round(count * factor)):
            try:
                run(seed)
            except Exception:
                mismatched += 1
                print(f"seed {seed}:", traceback.format_exc()[-3000:])
    if not counts.mixed or not checker.cases:
        mismatched += 1
    logs, operations, unformed, differ = histories(round(1000 * factor))
    mismatched += differ
    print(f"logs={logs} operations={operations} unformed={unformed} differ={differ}")
    print(
        f"vectors={checker.cases} values={checker.values} negative={checker.negative} transcripts={counts.transcripts} "
        f"messages={counts.messages} refused={counts.refused} secrets={counts.mixed} reproduced={counts.twin} mismatched={mismatched}"
    )
    return 1 if mismatched else 0


if __name__ == "__main__":
    sys.exit(main())
