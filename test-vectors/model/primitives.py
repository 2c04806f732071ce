"""Section 1 of docs/PROTOCOL.md: conventions, labels, primitives. Also Padmé and the erasure code."""

import hashlib
import hmac

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

import mlkem


class Refused(Exception):
    """Whatever is not accepted; the first argument is a short name."""


def need(condition, name):
    if not condition:
        raise Refused(name)


# Labels

_TEXTS = {
    "FP": "fingerprint", "IKEM": "identity kem key", "IKSEC": "identity kem secret", "SPK": "signed prekey", "OPK": "one-time prekey", "UPLOAD": "upload",
    "RAND": "randomness of a handshake", "CONT": "continuity",
    "TH1": "handshake transcript", "ID": "handshake identity", "TH2": "handshake final", "SS": "handshake secrets",
    "CTX": "session context", "SID": "session id", "INTRO": "introduction id", "PREFIX": "introduction prefix",
    "BODY": "body", "NONCE": "nonce of a body", "ROOT": "root step", "CHAIN": "chain step", "HK": "header key", "TK": "tag key",
    "KOFF": "kem offer id", "KANS": "kem answer id", "KSEC": "kem secret", "REC": "record key",
    "GTH0": "group start", "GTH": "group transcript", "ROSTER": "roster",
    "COMMIT": "commit to a roster", "CID": "id of a commit", "ORDER": "order of signers",
    "ICERT": "issuer certificate", "SCERT": "sender certificate", "KID": "issuer key id", "CERTID": "certificate id",
    "CREQ": "request for a certificate", "LOGIN": "login", "EXP": "exporter",
    "BOX": "mailbox", "ATT": "attachment", "ATTKEY": "key of an attachment",
    "SAFETY": "safety number", "DIGITS": "digits of a safety number",
    "SASC": "comparison commitment", "SAST": "comparison transcript", "SASCODE": "comparison code", "VAULT": "vault",
    "VNONCE": "nonce of an image", "HEAD": "head of a store", "MAN": "manifest",
    "PART": "part of a manifest",
    "SCHAIN": "sender chain", "SCID": "id of a sender chain",
    "OP": "operation", "OPID": "id of an operation", "HEADS": "heads of a log",
    "GCTX": "group context", "GMSG": "group message", "GPAY": "group payload",
}
LABELS = {name: b"sceau/1 " + text.encode() for name, text in _TEXTS.items()}


def L(name):
    return LABELS[name]


# Integers and strict reading


def u16(x):
    return x.to_bytes(2, "big")


def u32(x):
    return x.to_bytes(4, "big")


def u64(x):
    return x.to_bytes(8, "big")


class Reader:
    """Takes a byte string apart; what is too short or too long is refused."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        need(self.at + n <= len(self.data), "length")
        self.at += n
        return self.data[self.at - n : self.at]

    def uint(self, n):
        return int.from_bytes(self.take(n), "big")

    def left(self):
        return len(self.data) - self.at

    def end(self):
        need(self.left() == 0, "length")


# Hashes and keys


def H(label, x):
    return hashlib.sha256(L(label) + x).digest()


def mac(key, x):
    return hmac.digest(key, x, "sha256")


HMAC = mac


def HMAC16(key, x):
    return mac(key, x)[:16]


def EXPAND(key, info, n):
    out, t, i = b"", b"", 1
    while len(out) < n:
        t = mac(key, t + info + bytes([i]))
        out += t
        i += 1
    return out[:n]


def HKDF(salt, ikm, info, n):
    return EXPAND(mac(salt, ikm), info, n)


def equal(a, b):
    return hmac.compare_digest(a, b)


# ChaCha20-Poly1305 and XChaCha20-Poly1305


def SEAL(key, nonce, ad, x):
    return ChaCha20Poly1305(key).encrypt(nonce, x, ad)


def OPEN(key, nonce, ad, x):
    try:
        return ChaCha20Poly1305(key).decrypt(nonce, x, ad)
    except InvalidTag:
        raise Refused("authentication") from None


def hchacha20(key, nonce16):
    """draft-irtf-cfrg-xchacha-03, 2.2, by way of ChaCha20: its block minus the words added at the end."""
    block = Cipher(algorithms.ChaCha20(key, nonce16), None).encryptor().update(bytes(64))
    start = b"expand 32-byte k" + key + nonce16
    words = [
        (int.from_bytes(block[i : i + 4], "little") - int.from_bytes(start[i : i + 4], "little")) % 2**32
        for i in range(0, 64, 4)
    ]
    return b"".join(w.to_bytes(4, "little") for w in words[:4] + words[12:])


def XSEAL(key, nonce, ad, x):
    return SEAL(hchacha20(key, nonce[:16]), bytes(4) + nonce[16:], ad, x)


def XOPEN(key, nonce, ad, x):
    return OPEN(hchacha20(key, nonce[:16]), bytes(4) + nonce[16:], ad, x)


# X25519


def x_public(private):
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def DH(private, public):
    try:
        return X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:  # all-zero result
        raise Refused("dh") from None


# Ed25519: verification refuses what is not canonical and what is of small order

_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P


def _add(a, b):
    (x1, y1), (x2, y2) = a, b
    k = _D * x1 * x2 * y1 * y2 % _P
    return (
        (x1 * y2 + x2 * y1) * pow(1 + k, -1, _P) % _P,
        (y1 * y2 + x1 * x2) * pow(1 - k, -1, _P) % _P,
    )


def _small_order_ys():
    """y of the eight points of small order: multiples of L times some point until one of order 8 is met."""
    y = 2
    while True:
        y += 1
        xx = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
        x = pow(xx, (_P + 3) // 8, _P)
        if x * x % _P != xx:
            x = x * pow(2, (_P - 1) // 4, _P) % _P
        if x * x % _P != xx:
            continue
        t, base, n = (0, 1), (x, y), _L
        while n:
            if n & 1:
                t = _add(t, base)
            base = _add(base, base)
            n >>= 1
        four = _add(_add(t, t), _add(t, t))
        if four != (0, 1):
            p, ys = (0, 1), set()
            for _ in range(8):
                ys.add(p[1])
                p = _add(p, t)
            return ys


_SMALL = _small_order_ys()


def _good_point(encoded):
    y = int.from_bytes(encoded, "little") & (2**255 - 1)
    return y < _P and y not in _SMALL


def ed_public(seed):
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def SIGN(seed, message):
    return Ed25519PrivateKey.from_private_bytes(seed).sign(message)


def VERIFY(public, message, signature):
    need(len(signature) == 64 and len(public) == 32, "signature")
    need(_good_point(public) and _good_point(signature[:32]), "signature")
    need(int.from_bytes(signature[32:], "little") < _L, "signature")
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise Refused("signature") from None


# Padmé (section 7)


def padme(n):
    e = n.bit_length() - 1
    b = e.bit_length()
    unit = 1 << max(e - b, 0)
    return (n + unit - 1) // unit * unit


# GF(2^8) with 0x11d, and the erasure code (section 6.1)


def _gf_mul(a, b):
    out = 0
    while b:
        if b & 1:
            out ^= a
        a <<= 1
        if a & 256:
            a ^= 0x11D
        b >>= 1
    return out


_TABLES = [bytes(_gf_mul(a, b) for b in range(256)) for a in range(256)]
_INVERSE = [0] + [_TABLES[a].index(1) for a in range(1, 256)]

SYMBOLS = 49


def _value_at(points, x):
    """points: {position: 32 bytes}, 49 of them; Lagrange."""
    total = 0
    for i, symbol in points.items():
        weight = 1
        for j in points:
            if j != i:
                weight = _TABLES[_TABLES[weight][x ^ j]][_INVERSE[i ^ j]]
        total ^= int.from_bytes(symbol.translate(_TABLES[weight]), "big")
    return total.to_bytes(32, "big")


def symbol(data, i):
    """Symbol i of 1568 bytes."""
    if i < SYMBOLS:
        return data[32 * i : 32 * i + 32]
    return _value_at({j: data[32 * j : 32 * j + 32] for j in range(SYMBOLS)}, i)


def rebuild(symbols):
    """The 1568 bytes from any 49 of {index: symbol}."""
    points = dict(list(symbols.items())[:SYMBOLS])
    return b"".join(points[i] if i in points else _value_at(points, i) for i in range(SYMBOLS))


# Randomness


def seeded(number):
    """What the seeded devices of examples/interop.rs draw from: ChaCha20, its key from PCG32 (rand_core's
    `seed_from_u64`). No part of the protocol."""
    state, key = number, b""
    for _ in range(8):
        state = (state * 6364136223846793005 + 11634580027462260723) % 2**64
        x = ((state >> 18 ^ state) >> 27) & 0xFFFFFFFF
        r = state >> 59
        key += ((x >> r | x << (32 - r)) & 0xFFFFFFFF).to_bytes(4, "little")
    return KeyStream(key)


class KeyStream:
    def __init__(self, key):
        self.stream = Cipher(algorithms.ChaCha20(key, bytes(16)), None).encryptor()

    def draw(self, n):
        return self.stream.update(bytes(n))


class Listed:
    """Draws bytes that were written down, and refuses to draw others."""

    def __init__(self, data):
        self.reader = Reader(data)

    def draw(self, n):
        return self.reader.take(n)


kem_keygen = mlkem.keygen
kem_decaps = mlkem.decaps

def kem_valid(ek):
    return mlkem.valid_ek(ek)


def kem_encaps(ek, m):
    need(kem_valid(ek), "encapsulation key")
    return mlkem.encaps(ek, m)
