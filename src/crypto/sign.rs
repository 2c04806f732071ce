//! Ed25519 (RFC 8032), strict verification: canonical encodings, no keys or nonces of small order.

use crate::crypto::counted;
use crate::secret::guarded;
use alloc::boxed::Box;
use core::fmt;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use rand_core::CryptoRng;

/// Length of a public key.
pub(crate) const VERIFY_LEN: usize = 32;
/// Length of a signature.
pub(crate) const SIGNATURE_LEN: usize = 64;

/// A signing key: the 32-byte seed of RFC 8032, with its public key, which each signature needs. The crate wipes it.
pub(crate) struct SignPrivate(Box<SigningKey>);

impl SignPrivate {
    /// Draws 32 bytes.
    pub(crate) fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut bytes = guarded();
        rng.fill_bytes(bytes.as_mut_slice());
        Self::from_bytes(&bytes)
    }

    pub(crate) fn from_bytes(bytes: &[u8; 32]) -> Self {
        crate::crypto::scrubbed::<8192, _>(|| Self(Box::new(SigningKey::from_bytes(bytes))))
    }

    pub(crate) fn expose(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    pub(crate) fn public(&self) -> [u8; VERIFY_LEN] {
        self.0.verifying_key().to_bytes()
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_LEN] {
        counted!(sign);
        crate::crypto::scrubbed::<8192, _>(|| self.0.sign(message).to_bytes())
    }
}

impl fmt::Debug for SignPrivate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignPrivate")
    }
}

/// Whether the signature is this key's over this message.
pub(crate) fn verify(public: &[u8; VERIFY_LEN], message: &[u8], signature: &[u8; SIGNATURE_LEN]) -> bool {
    SignPublic::new(*public).verify(message, signature)
}

/// A public key that is made ready once for many signatures.
pub(crate) struct SignPublic {
    bytes: [u8; VERIFY_LEN],
    /// `None` for bytes that are no key: then no signature is good.
    key: Option<Box<VerifyingKey>>,
}

impl SignPublic {
    pub(crate) fn new(bytes: [u8; VERIFY_LEN]) -> Self {
        Self { bytes, key: VerifyingKey::from_bytes(&bytes).ok().map(Box::new) }
    }

    pub(crate) fn bytes(&self) -> &[u8; VERIFY_LEN] {
        &self.bytes
    }

    /// Whether the signature is this key's over this message.
    pub(crate) fn verify(&self, message: &[u8], signature: &[u8; SIGNATURE_LEN]) -> bool {
        counted!(sign);
        let signature = Signature::from_bytes(signature);
        self.key.as_ref().is_some_and(|key| key.verify_strict(message, &signature).is_ok())
    }
}

impl fmt::Debug for SignPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignPublic")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::kdf::tests::unhex;

    /// RFC 8032, section 7.1, test 1.
    #[test]
    fn signs_as_the_rfc() {
        let key = SignPrivate::from_bytes(&unhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"));
        assert_eq!(key.public(), unhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"));
        let signature = key.sign(b"");
        assert_eq!(signature[..4], [0xe5, 0x56, 0x43, 0x00]);
        assert!(verify(&key.public(), b"", &signature));
        assert!(!verify(&key.public(), b"x", &signature));
    }

    /// With the neutral element as key and as R, and s = 0, the plain equation holds for every message.
    #[test]
    fn refuses_keys_of_small_order() {
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let mut signature = [0; 64];
        signature[0] = 1;
        assert!(!verify(&neutral, b"anything", &signature));
    }
}
