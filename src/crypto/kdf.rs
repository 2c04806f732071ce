//! SHA-256, HMAC-SHA-256 (RFC 2104) and HKDF-SHA-256 (RFC 5869), each input opened by a label.

use crate::labels::Label;
use crate::secret::{Guarded, guarded};
use alloc::boxed::Box;
use core::fmt;
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroize;

/// Length of a hash.
pub(crate) const HASH_LEN: usize = 32;

/// SHA-256(label || parts).
pub(crate) fn hash(label: Label, parts: &[&[u8]]) -> [u8; HASH_LEN] {
    let mut digest = Sha256::new();
    digest.update(label.bytes());
    for part in parts {
        digest.update(part);
    }
    digest.finalize().into()
}

/// SHA-256 of what comes in pieces. Without a label: for a name that others can compute and check.
pub(crate) struct Sha(Sha256);

impl Sha {
    pub(crate) fn new() -> Self {
        Self(Sha256::new())
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> [u8; HASH_LEN] {
        self.0.finalize().into()
    }
}

/// HKDF extract and expand; info = label || context.
pub(crate) fn derive<const N: usize>(salt: &[u8; 32], ikm: &[&[u8]], label: Label, context: &[u8]) -> Guarded<N> {
    expand_with(&extract(salt, ikm), label, context)
}

pub(super) fn extract(salt: &[u8], ikm: &[&[u8]]) -> Hkdf<Sha256> {
    let mut extract = hkdf::HkdfExtract::<Sha256>::new(Some(salt));
    for part in ikm {
        extract.input_ikm(part);
    }
    extract.finalize().1
}

/// HKDF expand only; info = label || context.
pub(crate) fn expand<const N: usize>(key: &[u8; 32], label: Label, context: &[u8]) -> Guarded<N> {
    match Hkdf::<Sha256>::from_prk(key) {
        Ok(expander) => expand_with(&expander, label, context),
        // A key of 32 bytes is never too short.
        Err(_) => guarded(),
    }
}

fn expand_with<const N: usize>(expander: &Hkdf<Sha256>, label: Label, context: &[u8]) -> Guarded<N> {
    // RFC 5869 allows 255 blocks; the longest output here is 3.
    const { assert!(N <= 96) };
    let mut okm = guarded();
    fill(expander, &[label.bytes(), context], okm.as_mut_slice());
    okm
}

pub(super) fn fill(expander: &Hkdf<Sha256>, info: &[&[u8]], okm: &mut [u8]) {
    let expanded = expander.expand_multi_info(info, okm);
    debug_assert!(expanded.is_ok(), "at most 96 bytes are asked for");
}

/// An HMAC-SHA-256 key with its padding already hashed: a tag costs two compressions instead of four.
pub(crate) struct MacKey(Box<Hmac<Sha256>>);

impl MacKey {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        crate::crypto::scrubbed::<2048, _>(|| Self::keyed(key))
    }

    fn keyed(key: &[u8; 32]) -> Self {
        // A key shorter than the hash's block is padded with zeros (RFC 2104).
        let mut block = hmac::digest::Key::<Hmac<Sha256>>::default();
        for (to, from) in block.iter_mut().zip(key) {
            *to = *from;
        }
        let mac = Box::new(Hmac::new(&block));
        block.as_mut_slice().zeroize();
        Self(mac)
    }

    /// HMAC-SHA-256 over the parts, cut to 16 bytes.
    pub(crate) fn mac16(&self, parts: &[&[u8]]) -> [u8; 16] {
        crate::crypto::scrubbed::<2048, _>(|| self.mac16_within(parts))
    }

    /// The same within an operation that is scrubbed as a whole.
    pub(crate) fn mac16_within(&self, parts: &[&[u8]]) -> [u8; 16] {
        let mut mac = (*self.0).clone();
        for part in parts {
            mac.update(part);
        }
        let full: [u8; HASH_LEN] = mac.finalize().into_bytes().into();
        truncate(&full)
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacKey")
    }
}

/// The first 16 bytes.
pub(crate) fn truncate(hash: &[u8; HASH_LEN]) -> [u8; 16] {
    let mut short = [0; 16];
    for (to, from) in short.iter_mut().zip(hash) {
        *to = *from;
    }
    short
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn unhex<const N: usize>(text: &str) -> [u8; N] {
        assert_eq!(text.len(), 2 * N);
        core::array::from_fn(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
    }

    /// RFC 5869, appendix A.1, through the same calls (label and context are only the info's two halves).
    #[test]
    fn expands_as_the_rfc() {
        let prk: [u8; 32] = unhex("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5");
        let mut okm = [0; 42];
        let info: [u8; 10] = unhex("f0f1f2f3f4f5f6f7f8f9");
        Hkdf::<Sha256>::from_prk(&prk).unwrap().expand_multi_info(&[&info[..4], &info[4..]], &mut okm).unwrap();
        assert_eq!(okm[..4], [0x3c, 0xb2, 0x5f, 0x25]);
    }

    /// RFC 4231, test case 2 has a short key; here with the 32 bytes that this crate uses, padded by hand.
    #[test]
    fn mac_is_hmac() {
        let key = [0x0b; 32];
        let (mut inner, mut outer) = ([0x36; 64], [0x5c; 64]);
        for i in 0..32 {
            inner[i] ^= key[i];
            outer[i] ^= key[i];
        }
        let first = Sha256::new().chain_update(inner).chain_update(b"Hi There").finalize();
        let whole: [u8; 32] = Sha256::new().chain_update(outer).chain_update(first).finalize().into();
        assert_eq!(MacKey::new(&key).mac16(&[b"Hi ", b"There"]), truncate(&whole));
    }

    #[test]
    fn hash_is_sha256_of_label_and_parts() {
        let whole: [u8; 32] = Sha256::digest(b"sceau/1 bodyabc").into();
        assert_eq!(hash(Label::Body, &[b"a", b"bc"]), whole);
    }
}
