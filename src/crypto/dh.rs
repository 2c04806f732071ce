//! X25519 (RFC 7748). An all-zero shared secret is refused.

use crate::crypto::{aead, counted, scrubbed};
use crate::secret::Secret;
use core::fmt;
use curve25519_dalek::{EdwardsPoint, MontgomeryPoint};
use rand_core::CryptoRng;
use x25519_dalek::{PublicKey, StaticSecret};

/// Length of public keys, private keys and shared secrets.
pub(crate) const DH_LEN: usize = 32;
/// What is scrubbed of the stack after a multiplication.
const DH_STACK: usize = 8_192;

/// A private key: 32 bytes as drawn, clamped when used.
pub(crate) struct DhPrivate(Secret<DH_LEN>);

impl DhPrivate {
    /// Draws 32 bytes.
    pub(crate) fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        Self(Secret::draw(rng))
    }

    pub(crate) fn from_bytes(bytes: &[u8; DH_LEN]) -> Self {
        Self(Secret::new(bytes))
    }

    pub(crate) fn expose(&self) -> &[u8; DH_LEN] {
        self.0.expose()
    }

    /// The public key. Computed, so keep it where it is needed often.
    pub(crate) fn public(&self) -> [u8; DH_LEN] {
        scrubbed::<DH_STACK, _>(|| PublicKey::from(&StaticSecret::from(*self.0.expose())).to_bytes())
    }

    /// The shared secret with a peer's public key; `None` when it is all zero, that is when the peer's key is of low
    /// order.
    pub(crate) fn agree(&self, public: &DhPoint) -> Option<Secret<DH_LEN>> {
        counted!(dh);
        let shared = Secret::made(|out| {
            scrubbed::<DH_STACK, _>(|| match &public.0 {
                Point::Edwards(point) => *out = point.mul_clamped(*self.0.expose()).to_montgomery().to_bytes(),
                Point::Twist(public) => {
                    let secret = StaticSecret::from(*self.0.expose());
                    *out = secret.diffie_hellman(&PublicKey::from(*public)).to_bytes();
                }
            });
        });
        (!aead::equal(shared.expose(), &[0; DH_LEN])).then_some(shared)
    }
}

/// A public key made ready for agreements; worth keeping for the next one with the same key.
///
/// On the curve itself, of which curve and twist share the u-coordinates, Edwards arithmetic is faster than RFC 7748's ladder
/// and gives the same bytes. Which of the two it is, is public.
pub(crate) struct DhPoint(Point);

enum Point {
    Edwards(EdwardsPoint),
    Twist([u8; DH_LEN]),
}

impl DhPoint {
    pub(crate) fn new(public: &[u8; DH_LEN]) -> Self {
        // Either sign will do: it does not show in u.
        Self(MontgomeryPoint(*public).to_edwards(0).map_or(Point::Twist(*public), Point::Edwards))
    }
}

impl fmt::Debug for DhPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DhPoint")
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
        assert_eq!(*key.agree(&DhPoint::new(&peer)).unwrap().expose(), shared);
    }

    /// The ladder of RFC 7748, on keys of curve and twist, reduced or not, with the highest bit set or not, and with a part of
    /// low order.
    #[test]
    fn gives_the_bytes_of_the_ladder() {
        use rand_core::{Rng, SeedableRng};
        let mut rng = chacha20::ChaCha20Rng::from_seed([9; 32]);
        let (mut on_curve, mut on_twist) = (0, 0);
        for i in 0..4_000_u32 {
            let (mut private, mut public) = ([0; 32], [0; 32]);
            rng.fill_bytes(&mut private);
            rng.fill_bytes(&mut public);
            match i % 8 {
                0 => {
                    // From p - 18 on: about half of them not reduced.
                    public[1..31].fill(0xff);
                    public[0] = 0xdb + u8::try_from(i / 8 % 37).unwrap();
                    public[31] |= 0x7f;
                }
                1 => public[1..].fill(0),
                2 => private[..31].fill(0xff),
                3 => private.fill(0),
                4 => {
                    let point = EdwardsPoint::mul_base_clamped(public);
                    let torsion = curve25519_dalek::constants::EIGHT_TORSION[usize::try_from(i / 8 % 8).unwrap()];
                    public = (point + torsion).to_montgomery().0;
                }
                _ => {}
            }
            match DhPoint::new(&public).0 {
                Point::Edwards(_) => on_curve += 1,
                Point::Twist(_) => on_twist += 1,
            }
            let shared = StaticSecret::from(private).diffie_hellman(&PublicKey::from(public));
            let expected = shared.was_contributory().then(|| *shared.as_bytes());
            assert_eq!(
                DhPrivate::from_bytes(&private).agree(&DhPoint::new(&public)).map(|shared| *shared.expose()),
                expected,
                "{public:?}"
            );
        }
        assert!(on_curve > 1_000 && on_twist > 1_000, "{on_curve} {on_twist}");
    }

    #[test]
    fn refuses_points_of_low_order() {
        let key = DhPrivate::from_bytes(&[7; 32]);
        let mut one = [0; 32];
        one[0] = 1;
        assert!(key.agree(&DhPoint::new(&[0; 32])).is_none());
        assert!(key.agree(&DhPoint::new(&one)).is_none());
        // p - 1, and p itself, which is 0 encoded differently.
        let mut p = [0xff; 32];
        (p[0], p[31]) = (0xec, 0x7f);
        assert!(key.agree(&DhPoint::new(&p)).is_none());
        p[0] = 0xed;
        assert!(key.agree(&DhPoint::new(&p)).is_none());
    }
}
