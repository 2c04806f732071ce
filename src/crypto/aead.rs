//! ChaCha20-Poly1305 (RFC 8439), in place.

use crate::crypto::{counted, overwrite, scrubbed};
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

/// Up to this length libcrux's code is the faster, above it RustCrypto's, whose vectors have their price at the start. Both
/// give the same bytes.
const SHORT: usize = 1_280;

/// Encrypts `buffer` in place and returns the tag that goes behind it.
pub(crate) fn seal(key: &[u8; KEY_LEN], nonce: &[u8; NONCE_LEN], ad: &[u8], buffer: &mut [u8]) -> [u8; MAC_LEN] {
    let mac =
        if buffer.len() <= SHORT { seal_short(key, nonce, ad, buffer) } else { seal_long(key, nonce, ad, buffer) };
    mac.unwrap_or_else(|| {
        // Only for 256 GiB and more. Should it ever happen, no plaintext leaves.
        buffer.zeroize();
        [0; MAC_LEN]
    })
}

fn seal_long(key: &[u8; KEY_LEN], nonce: &[u8; NONCE_LEN], ad: &[u8], buffer: &mut [u8]) -> Option<[u8; MAC_LEN]> {
    let place = InOutBuf::from(buffer);
    let mac = ChaCha20Poly1305::new(key.into()).encrypt_inout_detached(nonce.into(), ad, place);
    mac.ok().map(Into::into)
}

fn seal_short(key: &[u8; KEY_LEN], nonce: &[u8; NONCE_LEN], ad: &[u8], buffer: &mut [u8]) -> Option<[u8; MAC_LEN]> {
    let mut copy = [0; SHORT];
    let plaintext = copy.get_mut(..buffer.len())?;
    plaintext.copy_from_slice(buffer);
    let mut mac = [0; MAC_LEN];
    let sealed = libcrux_chacha20poly1305::encrypt_detached(key, plaintext, buffer, &mut mac, ad, nonce).is_ok();
    overwrite(plaintext);
    sealed.then_some(mac)
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
    if buffer.len() <= SHORT {
        let mut copy = [0; SHORT];
        let Some(ciphertext) = copy.get_mut(..buffer.len()) else { return false };
        ciphertext.copy_from_slice(buffer);
        libcrux_chacha20poly1305::decrypt_detached(key, buffer, ciphertext, mac, ad, nonce).is_ok()
    } else {
        let place = InOutBuf::from(buffer);
        ChaCha20Poly1305::new(key.into()).decrypt_inout_detached(nonce.into(), ad, place, &(*mac).into()).is_ok()
    }
}

/// What is scrubbed of the stack after sealing or opening.
pub(crate) const AEAD_STACK: usize = 4_096;

/// Length of a nonce of the extended variant, which may be drawn at random for any number of messages.
pub(crate) const XNONCE_LEN: usize = 24;

/// [`seal`] with XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03).
pub(crate) fn xseal(key: &[u8; KEY_LEN], nonce: &[u8; XNONCE_LEN], ad: &[u8], buffer: &mut [u8]) -> [u8; MAC_LEN] {
    let place = InOutBuf::from(&mut *buffer);
    let seal = || XChaCha20Poly1305::new(key.into()).encrypt_inout_detached(nonce.into(), ad, place);
    if let Ok(mac) = scrubbed::<AEAD_STACK, _>(seal) {
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
    let open = || {
        let place = InOutBuf::from(buffer);
        XChaCha20Poly1305::new(key.into()).decrypt_inout_detached(nonce.into(), ad, place, &(*mac).into()).is_ok()
    };
    scrubbed::<AEAD_STACK, _>(open)
}

/// Equality whose time tells nothing but the lengths. Never inlined: a compiler that knows the lengths makes one comparison of
/// any source, and `ct/run` could not tell this one from one that stops early. All bytes go into one difference, which alone is
/// turned into an answer: an answer for each byte, as slices have it in subtle, took measurably different times (`ct/run`).
#[inline(never)]
pub(crate) fn equal(a: &[u8], b: &[u8]) -> bool {
    let difference = a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b));
    a.len() == b.len() && difference.ct_eq(&0).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On both sides of the length where the one hands over to the other.
    #[test]
    fn both_implementations_give_the_same_bytes() {
        let (key, nonce) = ([5; 32], [6; 12]);
        for len in (0..200).chain(SHORT - 70..SHORT + 70) {
            let text: alloc::vec::Vec<u8> = (0..len).map(|i| u8::try_from(i % 251).unwrap()).collect();
            let (mut one, mut other) = (text.clone(), text.clone());
            let mac = seal_long(&key, &nonce, &text[..len / 3], &mut one).unwrap();
            assert_eq!(seal(&key, &nonce, &text[..len / 3], &mut other), mac);
            assert_eq!(seal_short(&key, &nonce, &text[..len / 3], &mut text.clone()), (len <= SHORT).then_some(mac));
            assert_eq!(one, other);
            let mut wrong = mac;
            wrong[len % 16] ^= 1 << (len % 8);
            assert!(!open(&key, &nonce, &text[..len / 3], &mut other, &wrong));
            assert_eq!(one, other, "nothing is decrypted of what is not authentic");
            assert!(open(&key, &nonce, &text[..len / 3], &mut other, &mac));
            assert_eq!(other, text);
        }
    }

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
