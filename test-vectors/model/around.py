"""Section 10: certificates, mailbox addresses, attachments, verification, vault."""

import base64
import hashlib

from primitives import EXPAND, H, HMAC, L, OPEN, SEAL, SIGN, VERIFY, XOPEN, XSEAL, Reader, Refused, ed_public, equal, need, padme, u32, u64

# 10.1 certificates


def issuer_key_id(key):
    return H("KID", key)[:8]


def make_certificate(root_seed, issuer_seed, issuer_not_after, identity, address, not_after):
    issuer = ed_public(issuer_seed)
    part = issuer + issuer_key_id(issuer) + u64(issuer_not_after)
    issuer_certificate = part + SIGN(root_seed, L("ICERT") + part)
    before = bytes([len(address)]) + address + bytes(64 - len(address)) + u64(not_after) + issuer_key_id(issuer)
    return before + SIGN(issuer_seed, L("SCERT") + identity + before) + issuer_certificate


def end_of(certificate):
    return min(int.from_bytes(certificate[65:73], "big"), int.from_bytes(certificate[185:193], "big"))


def check_certificate(certificate, identity, roots, now, revoked=()):
    """Gives (address, end); it ends with the earlier of its two parts."""
    need(len(certificate) == 257, "length")
    r = Reader(certificate)
    n = r.uint(1)
    need(n <= 64, "address")
    address, zeros = r.take(n), r.take(64 - n)
    need(not any(zeros), "address")
    not_after, key_id, signature = r.uint(8), r.take(8), r.take(64)
    issuer, issuer_id, issuer_not_after, root_signature = r.take(32), r.take(8), r.uint(8), r.take(64)
    need(key_id == issuer_id == issuer_key_id(issuer), "issuer key id")
    need(key_id not in revoked, "revoked")
    need(now <= not_after and now <= issuer_not_after, "expired")
    for root in roots:
        try:
            VERIFY(root, L("ICERT") + certificate[145:193], root_signature)
            break
        except Refused:
            continue
    else:
        raise Refused("root")
    VERIFY(issuer, L("SCERT") + identity + certificate[:81], signature)
    return address, end_of(certificate)


def challenge(issuer, address, not_after, random):
    return b"\x01" + issuer + bytes([len(address)]) + address + bytes(64 - len(address)) + u64(not_after) + random


def read_challenge(data):
    """Gives (issuer, address, end)."""
    need(len(data) == 138 and data[0] == 1 and data[33] <= 64 and not any(data[34 + data[33] : 98]), "challenge")
    return data[1:33], data[34 : 34 + data[33]], int.from_bytes(data[98:106], "big")


def request_certificate(ed_seed, identity, made, issuer, address):
    """The device's side: of the issuer, and for the address, that it asks for."""
    need(read_challenge(made)[:2] == (issuer, address), "another challenge")
    return b"\x01" + identity + SIGN(ed_seed, L("CREQ") + made + identity)


def verify_request(made, request, now):
    """The issuer's side: gives (identity key, address)."""
    _, address, not_after = read_challenge(made)
    need(len(request) == 161 and request[0] == 1, "request")
    need(now <= not_after, "expired")
    VERIFY(request[1:33], L("CREQ") + made + request[1:97], request[97:])
    return request[1:97], address


# 10.2 mailbox addresses


def mailbox(header_secret, context):
    return EXPAND(header_secret, L("BOX") + context, 32)


# 10.3 attachments

CHUNK = 65520


def _chunks(n):
    return max(1, -(-n // CHUNK))


def _nonce(i, last):
    return bytes(7) + u32(i) + bytes([last])


def seal_attachment(r, content):
    """Gives (attachment, ciphertext) from 32 random bytes."""
    n = len(content)
    key = HMAC(r, L("ATTKEY") + u64(n) + content)
    plain = bytes(32) + content
    plain += bytes(max(640, padme(32 + n)) - len(plain))
    count = _chunks(len(plain))
    ad = L("ATT") + u64(n)
    ciphertext = b"".join(
        SEAL(key, _nonce(i, i == count - 1), ad, plain[CHUNK * i : CHUNK * (i + 1)]) for i in range(count)
    )
    return key + u64(n) + hashlib.sha256(ciphertext).digest(), ciphertext


def open_attachment(attachment, ciphertext):
    need(len(attachment) == 72, "length")
    key, n, digest = attachment[:32], int.from_bytes(attachment[32:40], "big"), attachment[40:]
    need(n <= 2**40, "length")
    size = max(640, padme(32 + n))
    count = _chunks(size)
    need(len(ciphertext) == size + 16 * count, "length")
    need(equal(hashlib.sha256(ciphertext).digest(), digest), "hash")
    ad = L("ATT") + u64(n)
    plain = b"".join(
        OPEN(key, _nonce(i, i == count - 1), ad, ciphertext[(CHUNK + 16) * i : (CHUNK + 16) * (i + 1)])
        for i in range(count)
    )
    need(equal(plain[:32], bytes(32)), "commitment")
    need(not any(plain[32 + n :]), "zeros")
    return plain[32 : 32 + n]


# 10.4 verification


def safety_number(a, b):
    a, b = sorted((a, b))
    out = EXPAND(H("SAFETY", a + b), L("DIGITS"), 60)
    return " ".join(f"{int.from_bytes(out[5 * i : 5 * i + 5], 'big') % 10**5:05}" for i in range(12))


def qr_code(own, peer):
    return b"\x01" + own + peer


def qr_text(code):
    return "SCEAU:" + base64.b32encode(code).decode()


def scan_qr_text(text, own, peer):
    need(len(text) == 110 and text.startswith("SCEAU:"), "qr")
    need(all(c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567" for c in text[6:]), "qr")
    scan_qr_code(base64.b32decode(text[6:]), own, peer)


def scan_qr_code(code, own, peer):
    need(len(code) == 65 and code[0] == 1, "qr")
    need(equal(code[1:33], peer) & equal(code[33:], own), "qr")


def sas_commitment(i, r, nonce_i):
    return b"\x01\x01" + H("SASC", i + r + nonce_i)


def sas_answer(nonce_r):
    return b"\x01\x02" + nonce_r


def sas_opening(nonce_i):
    return b"\x01\x03" + nonce_i


def sas_check(i, r, commitment, opening):
    need(len(commitment) == 34 and commitment[:2] == b"\x01\x01", "sas")
    need(len(opening) == 34 and opening[:2] == b"\x01\x03", "sas")
    need(equal(sas_commitment(i, r, opening[2:]), commitment), "sas")


def sas_code(i, r, nonce_i, nonce_r):
    """Gives (six digits, seven indices of pictures)."""
    code = EXPAND(H("SAST", i + r + nonce_i + nonce_r), L("SASCODE"), 11)
    digits = f"{int.from_bytes(code[:5], 'big') % 10**6:06}"
    bits = int.from_bytes(code[5:], "big") >> 6
    return digits, [bits >> 6 * (6 - k) & 63 for k in range(7)]


PICTURES = (
    "dog cat horse cow pig elephant rabbit bear rooster penguin turtle fish octopus butterfly bee snail "
    "tree cactus sunflower mushroom moon star rainbow fire snowman lightning apple banana grapes strawberry corn carrot "
    "bread cheese pizza cake cup key lock bell hammer paper-clip book camera lamp clock hat glasses "
    "crown gift balloon guitar trumpet drum ball trophy car bicycle train rocket boat anchor house umbrella"
).split(" ")


# 10.5 vault


def seal_image(key, generation, r, name, image):
    """From 24 random bytes."""
    head = b"\x01" + u64(generation)
    ad = L("VAULT") + head + name
    nonce = HMAC(key, L("VNONCE") + r + H("VNONCE", ad) + image)[:24]
    return head + nonce + XSEAL(key, nonce, ad, bytes(32) + image)


def open_image(key, name, least, sealed):
    """Gives (generation, image)."""
    r = Reader(sealed)
    need(r.take(1) == b"\x01", "version")
    generation, nonce = r.uint(8), r.take(24)
    plain = XOPEN(key, nonce, L("VAULT") + sealed[:9] + name, r.take(r.left()))
    need(len(plain) >= 32 and equal(plain[:32], bytes(32)), "commitment")
    need(generation >= least, "old generation")
    return generation, plain[32:]


def manifest(before, head, rows):
    """rows: {17-byte key: sealed image}, the head's apart; head: its record. Gives the image under the key 0*17."""
    parts = [[key for key in sorted(rows) if key[1] == i] for i in range(256)]
    hashed = lambda keys: b"".join(key + hashlib.sha256(rows[key]).digest() for key in keys)
    hashes = b"".join(H("PART", u32(len(keys)) + hashed(keys)) for keys in parts)
    digest = H("MAN", before + u32(len(rows)) + u32(len(head)) + head + hashes)
    return before + u32(len(rows)) + head + digest


def open_store(key, rows, mark):
    """rows: {17-byte key: row}, the manifest's under 0*17. Gives (generation, manifest, {key: record})."""
    records = {}
    for name, row in rows.items():
        try:
            generation, records[name] = open_image(key, name, 0, row)
        except Refused:
            raise Refused("Rejected") from None
        if name == bytes(17):
            newest = generation
    need(bytes(17) in rows, "Incomplete")
    stored = records.pop(bytes(17))
    others = {name: row for name, row in rows.items() if name != bytes(17)}
    need(len(stored) >= 68 and equal(manifest(stored[:32], stored[36:-32], others), stored), "Incomplete")
    marked, digest = int.from_bytes(mark[:8], "big"), mark[8:]
    need(newest > marked or (newest == marked and equal(stored[-32:], digest)), "Old")
    need(newest == marked or (newest == marked + 1 and equal(stored[:32], digest)), "NotNext")
    return newest, stored, records


# 10.6 login


def sign_login(ed_seed, identity, server, made):
    return b"\x01" + identity + SIGN(ed_seed, L("LOGIN") + identity + made + server)


def verify_login(fingerprint, login, server, made):
    need(len(login) == 161 and login[0] == 1, "login")
    need(H("FP", login[1:97]) == fingerprint, "another identity")
    VERIFY(login[1:33], L("LOGIN") + login[1:97] + made + server, login[97:])
