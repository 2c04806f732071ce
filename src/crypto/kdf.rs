//! SHA-256, HMAC-SHA-256 (RFC 2104) and HKDF-SHA-256 (RFC 5869), each input opened by a label.

use crate::crypto::{counted, scrubbed};
use crate::labels::Label;
use crate::secret::{Guarded, Secret, guarded};
use alloc::boxed::Box;
use core::fmt;
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::digest::common::hazmat::{SerializableState, SerializedState};
use sha2::{Digest, Sha256};

/// Length of a hash.
pub(crate) const HASH_LEN: usize = 32;

/// SHA-256(label || parts).
pub(crate) fn hash(label: Label, parts: &[&[u8]]) -> [u8; HASH_LEN] {
    counted!(hash);
    let mut digest = Sha256::new();
    digest.update(label.bytes());
    for part in parts {
        digest.update(part);
    }
    digest.finalize().into()
}

/// SHA-256 of what comes in pieces.
pub(crate) struct Sha(Sha256);

impl Sha {
    /// SHA-256(label || ...).
    pub(crate) fn labelled(label: Label) -> Self {
        let mut sha = Self::new();
        sha.update(label.bytes());
        sha
    }

    /// Without a label: for a name that others can compute and check.
    pub(crate) fn new() -> Self {
        Self(Sha256::new())
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> [u8; HASH_LEN] {
        self.0.finalize().into()
    }

    /// Where it stands behind whole blocks of 64 bytes: its eight words, big-endian. `None` within a block.
    pub(crate) fn midstate(&self) -> Option<[u8; HASH_LEN]> {
        let state = self.0.serialize();
        let (words, rest) = state.split_at_checked(HASH_LEN)?;
        // Behind the number of blocks (8 bytes), how much of one more has come.
        if rest.get(8) != Some(&0) {
            return None;
        }
        swapped(words)
    }

    /// One that goes on behind so many whole blocks.
    pub(crate) fn resume(midstate: &[u8; HASH_LEN], blocks: u64) -> Self {
        let mut state = SerializedState::<Sha256>::default();
        let words = swapped(midstate).unwrap_or_default();
        for (to, from) in state.iter_mut().zip(words.iter().chain(&blocks.to_le_bytes())) {
            *to = *from;
        }
        // Any words are a state, and nothing of a block is in it.
        Self(Sha256::deserialize(&state).unwrap_or_default())
    }
}

/// Eight words in the other order of bytes.
fn swapped(words: &[u8]) -> Option<[u8; HASH_LEN]> {
    let mut swapped = *words.first_chunk::<HASH_LEN>()?;
    swapped.chunks_exact_mut(4).for_each(<[u8]>::reverse);
    Some(swapped)
}

/// What is scrubbed of the stack after each derivation.
const KDF_STACK: usize = 2_048;

/// HKDF extract and expand; info = label || context.
pub(crate) fn derive<const N: usize>(salt: &[u8; 32], ikm: &[&[u8]], label: Label, context: &[u8]) -> Secret<N> {
    Secret::made(|okm| {
        scrubbed::<KDF_STACK, _>(|| fill(&extract(salt, ikm), &[label.bytes(), context], okm));
    })
}

pub(super) fn extract(salt: &[u8], ikm: &[&[u8]]) -> Hkdf<Sha256> {
    let mut extract = hkdf::HkdfExtract::<Sha256>::new(Some(salt));
    for part in ikm {
        extract.input_ikm(part);
    }
    extract.finalize().1
}

/// HKDF expand only; info = label || context.
pub(crate) fn expand<const N: usize>(key: &[u8; 32], label: Label, context: &[u8]) -> Secret<N> {
    expand_parts(key, label, [context, &[]])
}

/// The same with a context of two parts.
pub(crate) fn expand_parts<const N: usize>(key: &[u8; 32], label: Label, [context, more]: [&[u8]; 2]) -> Secret<N> {
    Secret::made(|okm| expand_into(key, label, [context, more], okm))
}

/// The same, to where it is wanted.
pub(crate) fn expand_into(key: &[u8; 32], label: Label, [context, more]: [&[u8]; 2], okm: &mut [u8]) {
    scrubbed::<KDF_STACK, _>(|| match Hkdf::<Sha256>::from_prk(key) {
        Ok(expander) => fill(&expander, &[label.bytes(), context, more], okm),
        // A key of 32 bytes is never too short.
        Err(_) => okm.fill(0),
    });
}

pub(super) fn fill(expander: &Hkdf<Sha256>, info: &[&[u8]], okm: &mut [u8]) {
    // RFC 5869 allows 255 blocks; the longest output here is 3.
    let expanded = expander.expand_multi_info(info, okm);
    debug_assert!(expanded.is_ok(), "at most 128 bytes are asked for");
}

/// HMAC-SHA-256(key, label || randomness || parts), cut to the length of `out`, at most 32 bytes: for a value that is drawn once.
/// With what is random it is random, and where that repeats, because a state was put back together with its generator, it
/// still differs unless all parts are the same.
pub(crate) fn hedge(key: &[u8; 32], label: Label, randomness: &[u8], parts: &[&[u8]], out: &mut [u8]) {
    scrubbed::<KDF_STACK, _>(|| {
        let mut mac = Hmac::<Sha256>::new((&*block(key)).into());
        mac.update(label.bytes());
        mac.update(randomness);
        for part in parts {
            mac.update(part);
        }
        let mut whole = mac.finalize().into_bytes();
        for (to, from) in out.iter_mut().zip(&whole) {
            *to = *from;
        }
        zeroize::Zeroize::zeroize(whole.as_mut_slice());
    });
}

/// A key shorter than the hash's block, padded with zeros (RFC 2104). Wiped when it goes.
fn block(key: &[u8; 32]) -> Guarded<64> {
    let mut block = guarded::<64>();
    for (to, from) in block.iter_mut().zip(key) {
        *to = *from;
    }
    block
}

/// An HMAC-SHA-256 key with its padding already hashed: a tag costs two compressions instead of four.
pub(crate) struct MacKey(Box<Hmac<Sha256>>);

impl MacKey {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        scrubbed::<KDF_STACK, _>(|| Self::keyed(key))
    }

    fn keyed(key: &[u8; 32]) -> Self {
        Self(Box::new(Hmac::new((&*block(key)).into())))
    }

    /// HMAC-SHA-256 over the parts, cut to 16 bytes.
    pub(crate) fn mac16(&self, parts: &[&[u8]]) -> [u8; 16] {
        scrubbed::<KDF_STACK, _>(|| {
            let mut mac = (*self.0).clone();
            for part in parts {
                mac.update(part);
            }
            let full: [u8; HASH_LEN] = mac.finalize().into_bytes().into();
            truncate(&full)
        })
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

    /// Words of FIPS 180-4's initial value, and of any other block border; nothing within a block.
    #[test]
    fn sha_is_continued_between_blocks() {
        let first: [u8; 32] = unhex("6a09e667bb67ae853c6ef372a54ff53a510e527f9b05688c1f83d9ab5be0cd19");
        assert_eq!(Sha::new().midstate(), Some(first));
        let text: [u8; 200] = core::array::from_fn(|i| u8::try_from(i).unwrap());
        for taken in 0..=text.len() {
            let mut sha = Sha::new();
            sha.update(&text[..taken]);
            let midstate = sha.midstate();
            assert_eq!(midstate.is_some(), taken % 64 == 0, "{taken}");
            let Some(midstate) = midstate else { continue };
            let mut sha = Sha::resume(&midstate, u64::try_from(taken / 64).unwrap());
            assert_eq!(sha.midstate(), Some(midstate));
            sha.update(&text[taken..]);
            assert_eq!(sha.finish(), <[u8; 32]>::from(Sha256::digest(text)));
        }
    }

    #[test]
    fn hash_is_sha256_of_label_and_parts() {
        let whole: [u8; 32] = Sha256::digest(b"sceau/1 bodyabc").into();
        assert_eq!(hash(Label::Body, &[b"a", b"bc"]), whole);
    }
}
