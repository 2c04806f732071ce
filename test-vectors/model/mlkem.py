"""ML-KEM-1024 (FIPS 203), plain and slow, not in constant time: for checking only.

Names follow the standard: K-PKE is its section 5, ML-KEM_internal its section 6.
"""

import hashlib

Q = 3329
N = 256
K = 4
ETA = 2
DU, DV = 11, 5

EK_LEN = 384 * K + 32
DK_LEN = 768 * K + 96
CT_LEN = 32 * (DU * K + DV)


def _bitrev7(i):
    return int(f"{i:07b}"[::-1], 2)


ZETAS = [pow(17, _bitrev7(i), Q) for i in range(128)]
GAMMAS = [pow(17, 2 * _bitrev7(i) + 1, Q) for i in range(128)]


def _g(x):
    d = hashlib.sha3_512(x).digest()
    return d[:32], d[32:]


def _h(x):
    return hashlib.sha3_256(x).digest()


def _j(x):
    return hashlib.shake_256(x).digest(32)


def _prf(s, b):
    return hashlib.shake_256(s + bytes([b])).digest(64 * ETA)


def byte_encode(f, d):
    """Algorithm 5."""
    v = 0
    for i, c in enumerate(f):
        v |= c << (d * i)
    return v.to_bytes(32 * d, "little")


def byte_decode(b, d):
    """Algorithm 6."""
    m = Q if d == 12 else 1 << d
    v = int.from_bytes(b, "little")
    mask = (1 << d) - 1
    return [((v >> (d * i)) & mask) % m for i in range(N)]


def _compress(f, d):
    return [(((c << d) * 2 + Q) // (2 * Q)) % (1 << d) for c in f]


def _decompress(f, d):
    return [(c * Q + (1 << (d - 1))) >> d for c in f]


def _sample_ntt(seed):
    """Algorithm 7."""
    length = 672
    while True:
        c = hashlib.shake_128(seed).digest(length)
        out = []
        for i in range(0, length, 3):
            d1 = c[i] + 256 * (c[i + 1] % 16)
            d2 = c[i + 1] // 16 + 16 * c[i + 2]
            if d1 < Q:
                out.append(d1)
            if d2 < Q:
                out.append(d2)
        if len(out) >= N:
            return out[:N]
        length += 168


def _sample_cbd(b):
    """Algorithm 8, eta = 2."""
    v = int.from_bytes(b, "little")
    out = []
    for _ in range(N):
        out.append(((v & 1) + (v >> 1 & 1) - (v >> 2 & 1) - (v >> 3 & 1)) % Q)
        v >>= 4
    return out


def _ntt(f):
    """Algorithm 9."""
    f = list(f)
    i = 1
    length = 128
    while length >= 2:
        for start in range(0, N, 2 * length):
            z = ZETAS[i]
            i += 1
            for j in range(start, start + length):
                t = z * f[j + length] % Q
                f[j + length] = (f[j] - t) % Q
                f[j] = (f[j] + t) % Q
        length //= 2
    return f


def _ntt_inverse(f):
    """Algorithm 10."""
    f = list(f)
    i = 127
    length = 2
    while length <= 128:
        for start in range(0, N, 2 * length):
            z = ZETAS[i]
            i -= 1
            for j in range(start, start + length):
                t = f[j]
                f[j] = (t + f[j + length]) % Q
                f[j + length] = z * (f[j + length] - t) % Q
        length *= 2
    return [c * 3303 % Q for c in f]


def _multiply_add(acc, f, g):
    """Algorithms 11 and 12: acc + f * g in the NTT domain."""
    out = [0] * N
    for i in range(128):
        a0, a1, b0, b1 = f[2 * i], f[2 * i + 1], g[2 * i], g[2 * i + 1]
        out[2 * i] = (acc[2 * i] + a0 * b0 + a1 * b1 % Q * GAMMAS[i]) % Q
        out[2 * i + 1] = (acc[2 * i + 1] + a0 * b1 + a1 * b0) % Q
    return out


def _add(f, g):
    return [(a + b) % Q for a, b in zip(f, g)]


def _sub(f, g):
    return [(a - b) % Q for a, b in zip(f, g)]


def _dot(fs, gs):
    acc = [0] * N
    for f, g in zip(fs, gs):
        acc = _multiply_add(acc, f, g)
    return acc


def _matrix(rho):
    return [[_sample_ntt(rho + bytes([j, i])) for j in range(K)] for i in range(K)]


def _pke_keygen(d):
    rho, sigma = _g(d + bytes([K]))
    a = _matrix(rho)
    s = [_ntt(_sample_cbd(_prf(sigma, i))) for i in range(K)]
    e = [_ntt(_sample_cbd(_prf(sigma, K + i))) for i in range(K)]
    t = [_add(_dot(a[i], s), e[i]) for i in range(K)]
    return b"".join(byte_encode(p, 12) for p in t) + rho, b"".join(byte_encode(p, 12) for p in s)


def _pke_encrypt(ek, m, r):
    t = [byte_decode(ek[384 * i : 384 * (i + 1)], 12) for i in range(K)]
    a = _matrix(ek[384 * K :])
    y = [_ntt(_sample_cbd(_prf(r, i))) for i in range(K)]
    e1 = [_sample_cbd(_prf(r, K + i)) for i in range(K)]
    e2 = _sample_cbd(_prf(r, 2 * K))
    u = [_add(_ntt_inverse(_dot([a[j][i] for j in range(K)], y)), e1[i]) for i in range(K)]
    mu = _decompress(byte_decode(m, 1), 1)
    v = _add(_add(_ntt_inverse(_dot(t, y)), e2), mu)
    return b"".join(byte_encode(_compress(p, DU), DU) for p in u) + byte_encode(_compress(v, DV), DV)


def _pke_decrypt(dk, c):
    u = [_decompress(byte_decode(c[32 * DU * i : 32 * DU * (i + 1)], DU), DU) for i in range(K)]
    v = _decompress(byte_decode(c[32 * DU * K :], DV), DV)
    s = [byte_decode(dk[384 * i : 384 * (i + 1)], 12) for i in range(K)]
    w = _sub(v, _ntt_inverse(_dot(s, [_ntt(p) for p in u])))
    return byte_encode(_compress(w, 1), 1)


def keygen(seed):
    """seed = d || z; gives (ek, dk), dk in the expanded form of FIPS 203."""
    assert len(seed) == 64
    ek, dk = _pke_keygen(seed[:32])
    return ek, dk + ek + _h(ek) + seed[32:]


def valid_ek(ek):
    """Section 7.2: length and modulus check."""
    if len(ek) != EK_LEN:
        return False
    return all(byte_encode(byte_decode(ek[384 * i : 384 * (i + 1)], 12), 12) == ek[384 * i : 384 * (i + 1)] for i in range(K))


def encaps(ek, m):
    """m: 32 random bytes; gives (ct, ss)."""
    assert len(m) == 32
    if not valid_ek(ek):
        raise ValueError("encapsulation key")
    ss, r = _g(m + _h(ek))
    return _pke_encrypt(ek, m, r), ss


def decaps(dk, ct):
    if len(ct) != CT_LEN or len(dk) != DK_LEN:
        raise ValueError("length")
    dk_pke, ek, h, z = dk[: 384 * K], dk[384 * K : 768 * K + 32], dk[768 * K + 32 : 768 * K + 64], dk[768 * K + 64 :]
    m = _pke_decrypt(dk_pke, ct)
    ss, r = _g(m + h)
    return ss if _pke_encrypt(ek, m, r) == ct else _j(z + ct)
