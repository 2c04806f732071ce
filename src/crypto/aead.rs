//! ChaCha20-Poly1305 (RFC 8439), in place.

use crate::crypto::counted;
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// Length of a key.
pub(crate) const KEY_LEN: usize = 32;
/// Length of a nonce.
pub(crate) const NONCE_LEN: usize = 12;
/// Length of the authentication tag behind a ciphertext.
pub(crate) const MAC_LEN: usize = 16;

/// Encrypts `buffer` in place and returns the tag that goes behind it.
pub(crate) fn seal(key: &[u8; KEY_LEN], nonce: &[u8; NONCE_LEN], ad: &[u8], buffer: &mut [u8]) -> [u8; MAC_LEN] {
    let place = InOutBuf::from(&mut *buffer);
    if let Ok(mac) = ChaCha20Poly1305::new(key.into()).encrypt_inout_detached(nonce.into(), ad, place) {
        return mac.into();
    }
    // Only for 256 GiB and more. Should it ever happen, no plaintext leaves.
    buffer.zeroize();
    [0; MAC_LEN]
}

/// Decrypts `buffer` in place. On `false` the buffer holds no plaintext.
#[must_use]
pub(crate) fn open(
    key: &[u8; KEY_LEN],
    nonce: &[u8; NONCE_LEN],
    ad: &[u8],
    buffer: &mut [u8],
    mac: &[u8; MAC_LEN],
) -> bool {
    counted!(aead_open);
    ChaCha20Poly1305::new(key.into())
        .decrypt_inout_detached(nonce.into(), ad, InOutBuf::from(buffer), &(*mac).into())
        .is_ok()
}

/// Equality whose time tells nothing but the lengths.
pub(crate) fn equal(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}
