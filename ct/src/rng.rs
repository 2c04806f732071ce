//! A generator whose output is secret.

use crate::valgrind::secret;
use chacha20::ChaCha20Rng;
use core::convert::Infallible;
use rand_core::{Rng, SeedableRng, TryCryptoRng, TryRng};

/// What is drawn is marked as secret, unless it is public by its purpose (docs/PROTOCOL.md, 6.2): ids of prekeys are the
/// only draws of 4 bytes, the vault's nonces the only ones of 24; ids of groups are announced by [`Self::next_is_public`].
pub struct SecretRng {
    inner: ChaCha20Rng,
    hides: bool,
    next_is_public: bool,
}

impl SecretRng {
    /// Hides nothing until [`Self::hide`].
    pub fn new(seed: u64) -> Self {
        Self { inner: ChaCha20Rng::seed_from_u64(seed), hides: false, next_is_public: false }
    }

    pub fn hide(&mut self) {
        self.hides = true;
    }

    pub fn hides(&self) -> bool {
        self.hides
    }

    /// The next draw is of something public.
    pub fn next_is_public(&mut self) {
        self.next_is_public = true;
    }
}

impl TryRng for SecretRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.inner.fill_bytes(bytes);
        let announced = core::mem::take(&mut self.next_is_public);
        if self.hides && !announced && !matches!(bytes.len(), 4 | 24) {
            secret(bytes);
        }
        Ok(())
    }
}

impl TryCryptoRng for SecretRng {}
