//! STREAM (Hoang, Reyhanitabar, Rogaway, Vizár 2015) over ChaCha20-Poly1305: chunks that can't be cut, moved or added.

use crate::crypto::aead::{AEAD_STACK, KEY_LEN};
use crate::crypto::scrubbed;
use aead_stream::{NewStream, StreamBE32, StreamPrimitive};
use alloc::boxed::Box;
use alloc::vec::Vec;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
use core::fmt;

/// One stream under a key that serves no other: its nonces are `0*7 || position(4) || last(1)`.
///
/// On the heap: who moves it leaves no key behind.
pub(crate) struct Stream(Box<StreamBE32<ChaCha20Poly1305>>);

impl Stream {
    pub(crate) fn new(key: &[u8; KEY_LEN]) -> Self {
        scrubbed::<AEAD_STACK, _>(|| {
            Self(Box::new(StreamBE32::from_aead(ChaCha20Poly1305::new(key.into()), &[0; 7].into())))
        })
    }

    /// Encrypts a chunk in place; the MAC goes behind it. `false` only beyond the AEAD's limits.
    #[must_use]
    pub(crate) fn seal(&self, position: u32, last: bool, ad: &[u8], chunk: &mut Vec<u8>) -> bool {
        scrubbed::<AEAD_STACK, _>(|| self.0.encrypt_in_place(position, last, ad, chunk).is_ok())
    }

    /// Decrypts a chunk in place and takes its MAC off. On `false` it holds no plaintext.
    #[must_use]
    pub(crate) fn open(&self, position: u32, last: bool, ad: &[u8], chunk: &mut Vec<u8>) -> bool {
        scrubbed::<AEAD_STACK, _>(|| self.0.decrypt_in_place(position, last, ad, chunk).is_ok())
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stream")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::aead;

    /// The construction's nonce, written out.
    #[test]
    fn is_the_aead_under_the_nonce_of_the_specification() {
        let stream = Stream::new(&[7; 32]);
        for (position, last) in [(0, false), (1, false), (0x0102_0304, true)] {
            let mut chunk = Vec::from(*b"some bytes");
            assert!(stream.seal(position, last, b"ad", &mut chunk));
            let mut nonce = [0; 12];
            nonce[7..11].copy_from_slice(&position.to_be_bytes());
            nonce[11] = u8::from(last);
            let mut expected = *b"some bytes";
            let mac = aead::seal(&[7; 32], &nonce, b"ad", &mut expected);
            assert_eq!(chunk, [&expected[..], &mac[..]].concat());
            assert!(!stream.open(position, !last, b"ad", &mut chunk.clone()));
            assert!(!stream.open(position ^ 1, last, b"ad", &mut chunk.clone()));
            assert!(stream.open(position, last, b"ad", &mut chunk));
            assert_eq!(chunk, b"some bytes");
        }
    }
}
