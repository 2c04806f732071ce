//! X25519 (RFC 7748). An all-zero shared secret is refused.

use crate::crypto::{counted, scrubbed};
use crate::secret::{Guarded, Secret, guarded};
use core::fmt;
use rand_core::CryptoRng;
use x25519_dalek::{PublicKey, StaticSecret};

/// Length of public keys, private keys and shared secrets.
pub(crate) const DH_LEN: usize = 32;

/// A private key: 32 bytes as drawn, clamped when used.
pub(crate) struct DhPrivate(Secret<DH_LEN>);

impl DhPrivate {
    /// Draws 32 bytes.
    pub(crate) fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut bytes = guarded();
        rng.fill_bytes(bytes.as_mut_slice());
        Self::from_bytes(&bytes)
    }

    pub(crate) fn from_bytes(bytes: &[u8; DH_LEN]) -> Self {
        Self(Secret::new(bytes))
    }

    pub(crate) fn expose(&self) -> &[u8; DH_LEN] {
        self.0.expose()
    }

    /// The public key. Computed, so keep it where it is needed often.
    pub(crate) fn public(&self) -> [u8; DH_LEN] {
        scrubbed::<8192, _>(|| PublicKey::from(&StaticSecret::from(*self.0.expose())).to_bytes())
    }

    /// The shared secret with a peer's public key; `None` when it is all zero, that is when the peer's key is of low
    /// order.
    pub(crate) fn agree(&self, public: &[u8; DH_LEN]) -> Option<Guarded<DH_LEN>> {
        counted!(dh);
        let mut out = crate::secret::guarded();
        let good = scrubbed::<8192, _>(|| {
            let shared = StaticSecret::from(*self.0.expose()).diffie_hellman(&PublicKey::from(*public));
            out.copy_from_slice(shared.as_bytes());
            shared.was_contributory()
        });
        good.then_some(out)
    }
}

impl fmt::Debug for DhPrivate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DhPrivate")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7748, section 5.2, first vector.
    #[test]
    fn agrees_with_the_rfc() {
        let hex = crate::crypto::kdf::tests::unhex::<32>;
        let key = DhPrivate::from_bytes(&hex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"));
        let peer = hex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c");
        let shared = hex("c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552");
        assert_eq!(*key.agree(&peer).unwrap(), shared);
    }

    #[test]
    fn refuses_points_of_low_order() {
        let key = DhPrivate::from_bytes(&[7; 32]);
        let mut one = [0; 32];
        one[0] = 1;
        assert!(key.agree(&[0; 32]).is_none());
        assert!(key.agree(&one).is_none());
        // p - 1, and p itself, which is 0 encoded differently.
        let mut p = [0xff; 32];
        (p[0], p[31]) = (0xec, 0x7f);
        assert!(key.agree(&p).is_none());
        p[0] = 0xed;
        assert!(key.agree(&p).is_none());
    }
}
