//! ML-KEM-1024 (FIPS 203). Private keys are kept as the 64-byte seed (d, z); encapsulation keys are validated.

use crate::crypto::{counted, overwrite, scrubbed};
use crate::secret::Secret;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;
use libcrux_ml_kem::mlkem1024;
use rand_core::CryptoRng;

/// Length of an encapsulation key.
pub(crate) const KEM_PUBLIC_LEN: usize = 1568;
/// Length of a ciphertext.
pub(crate) const KEM_CIPHERTEXT_LEN: usize = 1568;
/// Length of a seed.
pub(crate) const KEM_SEED_LEN: usize = 64;
/// Length of a shared secret.
pub(crate) const KEM_SECRET_LEN: usize = 32;

/// What is scrubbed of the stack after each operation: as much as one takes in a release build.
const KEM_STACK: usize = 45_056;

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
        let mut pair = KemKeyPair::empty();
        scrubbed::<KEM_STACK, _>(|| {
            let made = mlkem1024::generate_key_pair(*self.0.expose());
            pair.private_mut().copy_from_slice(made.sk());
            pair.public.copy_from_slice(made.pk());
        });
        pair
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
    public: [u8; KEM_PUBLIC_LEN],
}

impl KemKeyPair {
    #[inline(never)]
    fn empty() -> Box<Self> {
        Box::new(Self { private: mlkem1024::MlKem1024PrivateKey::default(), public: [0; KEM_PUBLIC_LEN] })
    }

    pub(crate) fn public(&self) -> &[u8; KEM_PUBLIC_LEN] {
        &self.public
    }

    /// Shows another key than its own, for tests.
    #[cfg(feature = "vectors")]
    pub(crate) fn show(&mut self, public: &[u8; KEM_PUBLIC_LEN]) {
        self.public = *public;
    }

    fn private_mut(&mut self) -> &mut [u8] {
        let all = 0..mlkem1024::MlKem1024PrivateKey::len();
        core::ops::IndexMut::index_mut(&mut self.private, all)
    }

    /// The shared secret. A ciphertext that was not made for this key gives an unrelated secret (implicit rejection).
    pub(crate) fn decapsulate(&self, ciphertext: &[u8; KEM_CIPHERTEXT_LEN]) -> Secret<KEM_SECRET_LEN> {
        counted!(kem);
        let ciphertext: Box<mlkem1024::MlKem1024Ciphertext> = boxed(ciphertext);
        Secret::made(|secret| {
            scrubbed::<KEM_STACK, _>(|| *secret = mlkem1024::decapsulate(&self.private, &ciphertext));
        })
    }
}

impl Drop for KemKeyPair {
    fn drop(&mut self) {
        // The crate wipes nothing by itself.
        overwrite(self.private_mut());
    }
}

/// A copy on the heap: the operations take enough of the stack by themselves.
#[inline(never)]
fn boxed<const N: usize, T: From<[u8; N]>>(bytes: &[u8; N]) -> Box<T> {
    Box::new(T::from(*bytes))
}

/// Whether the encoding is a valid encapsulation key (FIPS 203, section 7.2).
pub(crate) fn is_valid_public(public: &[u8; KEM_PUBLIC_LEN]) -> bool {
    counted!(kem);
    mlkem1024::validate_public_key(&public.into())
}

/// What encapsulation gives: the ciphertext to send and the secret.
pub(crate) struct Encapsulated {
    pub(crate) ciphertext: Arc<[u8; KEM_CIPHERTEXT_LEN]>,
    pub(crate) secret: Secret<KEM_SECRET_LEN>,
}

/// Encapsulates to a key that [`is_valid_public`] accepted. Draws 32 bytes.
pub(crate) fn encapsulate<R: CryptoRng + ?Sized>(public: &[u8; KEM_PUBLIC_LEN], rng: &mut R) -> Encapsulated {
    encapsulate_with(public, Secret::draw(rng).expose())
}

/// The same with randomness that is there already.
pub(crate) fn encapsulate_with(public: &[u8; KEM_PUBLIC_LEN], randomness: &[u8; 32]) -> Encapsulated {
    counted!(kem);
    let public: Box<mlkem1024::MlKem1024PublicKey> = boxed(public);
    let mut ciphertext: Box<[u8; KEM_CIPHERTEXT_LEN]> = boxed(&[0; KEM_CIPHERTEXT_LEN]);
    let secret = Secret::made(|secret| {
        scrubbed::<KEM_STACK, _>(|| {
            let (sent, shared) = mlkem1024::encapsulate(&public, *randomness);
            ciphertext.copy_from_slice(sent.as_slice());
            *secret = shared;
        });
    });
    Encapsulated { ciphertext: Arc::from(ciphertext), secret }
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
        assert_eq!(pair.decapsulate(&sent.ciphertext).expose(), sent.secret.expose());
        Arc::get_mut(&mut sent.ciphertext).unwrap()[700] ^= 1;
        assert_ne!(pair.decapsulate(&sent.ciphertext).expose(), sent.secret.expose());
    }

    #[test]
    fn refuses_coefficients_above_q() {
        assert!(!is_valid_public(&[0xff; KEM_PUBLIC_LEN]));
    }
}
