//! Ed25519 (RFC 8032), strict verification: canonical encodings, no keys or nonces of small order.

use crate::crypto::{counted, scrubbed};
use crate::secret::Secret;
use alloc::boxed::Box;
use core::fmt;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use rand_core::CryptoRng;

/// Length of a public key.
pub(crate) const VERIFY_LEN: usize = 32;
/// Length of a signature.
pub(crate) const SIGNATURE_LEN: usize = 64;

/// What is scrubbed of the stack after a signature.
const SIGN_STACK: usize = 8_192;

/// A signing key: the 32-byte seed of RFC 8032, with its public key, which each signature needs. The crate wipes it.
pub(crate) struct SignPrivate(Box<SigningKey>);

impl SignPrivate {
    /// Draws 32 bytes.
    pub(crate) fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        Self::from_bytes(Secret::draw(rng).expose())
    }

    pub(crate) fn from_bytes(bytes: &[u8; 32]) -> Self {
        scrubbed::<SIGN_STACK, _>(|| Self(Box::new(SigningKey::from_bytes(bytes))))
    }

    pub(crate) fn expose(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    pub(crate) fn public(&self) -> [u8; VERIFY_LEN] {
        self.0.verifying_key().to_bytes()
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_LEN] {
        counted!(sign);
        scrubbed::<SIGN_STACK, _>(|| self.0.sign(message).to_bytes())
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

    /// Why messages are not verified in batches. Here the signer puts a point of low order into R: a batch, which must sum up
    /// many equations, finds it good in part of all cases, or always if it clears the cofactor. One by one, it never is.
    #[test]
    fn refuses_a_nonce_with_a_part_of_low_order() {
        use curve25519_dalek::{EdwardsPoint, Scalar, constants::EIGHT_TORSION};
        use sha2::{Digest, Sha512};
        let hash = |parts: [&[u8]; 3]| {
            let digest = parts.iter().fold(Sha512::new(), sha2::Digest::chain_update).finalize();
            Scalar::from_bytes_mod_order_wide(&digest.into())
        };
        let (private, nonce, message) = (Scalar::from(77_u8), Scalar::from(99_u8), b"message");
        let public = EdwardsPoint::mul_base(&private).compress().to_bytes();
        for (i, torsion) in EIGHT_TORSION.iter().enumerate() {
            let nonce_point = (EdwardsPoint::mul_base(&nonce) + torsion).compress().to_bytes();
            let challenge = hash([&nonce_point, &public, message]);
            let mut signature = [0; SIGNATURE_LEN];
            signature[..32].copy_from_slice(&nonce_point);
            signature[32..].copy_from_slice((nonce + challenge * private).as_bytes());
            assert_eq!(verify(&public, message, &signature), i == 0, "{i}");
            // With the cofactor it would be good each time.
            let s = Scalar::from_canonical_bytes(signature[32..].try_into().unwrap()).unwrap();
            let key = EdwardsPoint::mul_base(&private);
            let difference = EdwardsPoint::mul_base(&s) - key * challenge - EdwardsPoint::mul_base(&nonce) - torsion;
            assert_eq!(difference.mul_by_cofactor(), EdwardsPoint::default());
        }
    }

    /// A key with a part of low order: what single verification says of it depends on the message alone, and is the same
    /// each time.
    #[test]
    fn a_key_with_a_part_of_low_order_is_verified_the_same_each_time() {
        use curve25519_dalek::{EdwardsPoint, Scalar, constants::EIGHT_TORSION};
        use sha2::{Digest, Sha512};
        let private = Scalar::from(77_u8);
        let public = (EdwardsPoint::mul_base(&private) + EIGHT_TORSION[1]).compress().to_bytes();
        let key = SignPublic::new(public);
        let mut good = 0;
        for message in 0..64_u8 {
            let nonce = Scalar::from(message) + Scalar::ONE;
            let nonce_point = EdwardsPoint::mul_base(&nonce).compress().to_bytes();
            let digest =
                Sha512::new().chain_update(nonce_point).chain_update(public).chain_update([message]).finalize();
            let challenge = Scalar::from_bytes_mod_order_wide(&digest.into());
            let mut signature = [0; SIGNATURE_LEN];
            signature[..32].copy_from_slice(&nonce_point);
            signature[32..].copy_from_slice((nonce + challenge * private).as_bytes());
            // Good where the challenge is a multiple of eight.
            let expected = challenge.as_bytes()[0].is_multiple_of(8);
            assert_eq!(key.verify(&[message], &signature), expected, "{message}");
            assert_eq!(verify(&public, &[message], &signature), expected);
            good += u8::from(expected);
        }
        assert!((2..20).contains(&good), "{good}");
    }
}
