//! ChaCha20-Poly1305 (RFC 8439), in place.

use crate::crypto::counted;
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, XChaCha20Poly1305};
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

/// Length of a nonce of the extended variant, which may be drawn at random for any number of messages.
pub(crate) const XNONCE_LEN: usize = 24;

/// [`seal`] with XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03).
pub(crate) fn xseal(key: &[u8; KEY_LEN], nonce: &[u8; XNONCE_LEN], ad: &[u8], buffer: &mut [u8]) -> [u8; MAC_LEN] {
    let place = InOutBuf::from(&mut *buffer);
    if let Ok(mac) = XChaCha20Poly1305::new(key.into()).encrypt_inout_detached(nonce.into(), ad, place) {
        return mac.into();
    }
    buffer.zeroize();
    [0; MAC_LEN]
}

/// [`open`] with XChaCha20-Poly1305.
#[must_use]
pub(crate) fn xopen(
    key: &[u8; KEY_LEN],
    nonce: &[u8; XNONCE_LEN],
    ad: &[u8],
    buffer: &mut [u8],
    mac: &[u8; MAC_LEN],
) -> bool {
    XChaCha20Poly1305::new(key.into())
        .decrypt_inout_detached(nonce.into(), ad, InOutBuf::from(buffer), &(*mac).into())
        .is_ok()
}

/// Equality whose time tells nothing but the lengths.
pub(crate) fn equal(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// draft-irtf-cfrg-xchacha-03, appendix A.3.1.
    #[test]
    fn extended_nonce_as_in_the_draft() {
        let text = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.";
        let (key, nonce) = (
            core::array::from_fn(|i| 0x80 + u8::try_from(i).unwrap()),
            core::array::from_fn(|i| 0x40 + u8::try_from(i).unwrap()),
        );
        let ad = [0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7];
        let mut buffer = *text;
        let mac = xseal(&key, &nonce, &ad, &mut buffer);
        assert_eq!(buffer[..8], [0xbd, 0x6d, 0x17, 0x9d, 0x3e, 0x83, 0xd4, 0x3b]);
        assert_eq!(mac, crate::crypto::kdf::tests::unhex("c0875924c1c7987947deafd8780acf49"));
        assert!(xopen(&key, &nonce, &ad, &mut buffer, &mac));
        assert_eq!(buffer, *text);
        assert!(!xopen(&key, &nonce, b"", &mut buffer, &mac));
    }
}
