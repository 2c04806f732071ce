//! ML-KEM-1024 (FIPS 203). Private keys are kept as the 64-byte seed (d, z); encapsulation keys are validated.

use crate::crypto::{counted, overwrite, scrubbed};
use crate::secret::{Guarded, Secret};
use alloc::boxed::Box;
use core::fmt;
use libcrux_ml_kem::mlkem1024;
use rand_core::CryptoRng;
use zeroize::Zeroize;

/// Length of an encapsulation key.
pub(crate) const KEM_PUBLIC_LEN: usize = 1568;
/// Length of a ciphertext.
pub(crate) const KEM_CIPHERTEXT_LEN: usize = 1568;
/// Length of a seed.
pub(crate) const KEM_SEED_LEN: usize = 64;
/// Length of a shared secret.
pub(crate) const KEM_SECRET_LEN: usize = 32;

/// A private key as its seed. Expanding it costs a key generation, so callers expand only to use it.
pub(crate) struct KemSeed(Secret<KEM_SEED_LEN>);

impl KemSeed {
    /// Draws 64 bytes: d, then z.
    pub(crate) fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        Self(Secret::draw(rng))
    }

    pub(crate) fn from_bytes(bytes: &[u8; KEM_SEED_LEN]) -> Self {
        Self(Secret::new(bytes))
    }

    pub(crate) fn expose(&self) -> &[u8; KEM_SEED_LEN] {
        self.0.expose()
    }

    /// The whole key pair, wiped after use. On the heap: what is moved on the stack leaves copies there.
    pub(crate) fn expand(&self) -> Box<KemKeyPair> {
        counted!(kem);
        scrubbed::<65536, _>(|| {
            let (private, public) = mlkem1024::generate_key_pair(*self.0.expose()).into_parts();
            Box::new(KemKeyPair { private, public })
        })
    }
}

impl fmt::Debug for KemSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KemSeed")
    }
}

/// An expanded key pair, for one operation.
pub(crate) struct KemKeyPair {
    private: mlkem1024::MlKem1024PrivateKey,
    public: mlkem1024::MlKem1024PublicKey,
}

impl KemKeyPair {
    pub(crate) fn public(&self) -> &[u8; KEM_PUBLIC_LEN] {
        self.public.as_slice()
    }

    /// The shared secret. A ciphertext that was not made for this key gives an unrelated secret (implicit rejection).
    pub(crate) fn decapsulate(&self, ciphertext: &[u8; KEM_CIPHERTEXT_LEN]) -> Guarded<KEM_SECRET_LEN> {
        counted!(kem);
        scrubbed::<65536, _>(|| Guarded::from(mlkem1024::decapsulate(&self.private, &ciphertext.into())))
    }
}

impl Drop for KemKeyPair {
    fn drop(&mut self) {
        // The crate wipes nothing by itself.
        let all = 0..mlkem1024::MlKem1024PrivateKey::len();
        overwrite(core::ops::IndexMut::index_mut(&mut self.private, all));
    }
}

/// Whether the encoding is a valid encapsulation key (FIPS 203, section 7.2).
pub(crate) fn is_valid_public(public: &[u8; KEM_PUBLIC_LEN]) -> bool {
    counted!(kem);
    mlkem1024::validate_public_key(&public.into())
}

/// What encapsulation gives: the ciphertext to send and the secret.
pub(crate) struct Encapsulated {
    pub(crate) ciphertext: [u8; KEM_CIPHERTEXT_LEN],
    pub(crate) secret: Guarded<KEM_SECRET_LEN>,
}

/// Encapsulates to a key that [`is_valid_public`] accepted. Draws 32 bytes.
pub(crate) fn encapsulate<R: CryptoRng + ?Sized>(public: &[u8; KEM_PUBLIC_LEN], rng: &mut R) -> Encapsulated {
    counted!(kem);
    let mut randomness = [0; 32];
    rng.fill_bytes(&mut randomness);
    let encapsulated = scrubbed::<65536, _>(|| {
        let (ciphertext, secret) = mlkem1024::encapsulate(&public.into(), randomness);
        Encapsulated { ciphertext: ciphertext.into(), secret: secret.into() }
    });
    randomness.zeroize();
    encapsulated
}

#[cfg(test)]
mod tests {
    use super::*;
    use chacha20::ChaCha20Rng;
    use rand_core::SeedableRng;

    #[test]
    fn decapsulates_what_was_encapsulated_and_nothing_else() {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let pair = KemSeed::generate(&mut rng).expand();
        assert!(is_valid_public(pair.public()));
        let mut sent = encapsulate(pair.public(), &mut rng);
        assert_eq!(*pair.decapsulate(&sent.ciphertext), *sent.secret);
        sent.ciphertext[700] ^= 1;
        assert_ne!(*pair.decapsulate(&sent.ciphertext), *sent.secret);
    }

    #[test]
    fn refuses_coefficients_above_q() {
        assert!(!is_valid_public(&[0xff; KEM_PUBLIC_LEN]));
    }
}
