//! A generator that makes known what it gives.

use crate::heap;
use chacha20::ChaCha20Rng;
use core::convert::Infallible;
use rand_core::{Rng, SeedableRng, TryCryptoRng, TryRng};

/// Draws of 32 bytes or more are secrets (docs/PROTOCOL.md, 6.2), but for those announced by [`Self::next_is_public`]: ids
/// of groups, what the answering side of a comparison draws, and what a sealed store begins with. Shorter ones are nonces and ids.
///
/// A copy gives the same.
#[derive(Clone)]
pub struct LoggedRng {
    seed: u64,
    draws: u64,
    next_is_public: bool,
}

impl LoggedRng {
    pub fn new(seed: u64) -> Self {
        Self { seed, draws: 0, next_is_public: false }
    }

    /// The next draw is of something public.
    pub fn next_is_public(&mut self) {
        self.next_is_public = true;
    }
}

impl TryRng for LoggedRng {
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
        self.draws += 1;
        draw(self.seed, self.draws, bytes);
        // The generator's buffer.
        heap::scrub();
        if !core::mem::take(&mut self.next_is_public) && bytes.len() >= 32 {
            heap::register(if bytes.len() == 64 { "drawn: a KEM seed" } else { "drawn" }, bytes);
            // Some are the keys of HMACs.
            if let Ok(key) = <&[u8; 32]>::try_from(&*bytes) {
                crate::secrets::register_mac_key("drawn", key);
            }
            // What was computed for that.
            heap::scrub();
        }
        Ok(())
    }
}

#[inline(never)]
fn draw(seed: u64, number: u64, bytes: &mut [u8]) {
    let mut whole = [0; 32];
    whole[..8].copy_from_slice(&seed.to_le_bytes());
    whole[8..16].copy_from_slice(&number.to_le_bytes());
    ChaCha20Rng::from_seed(whole).fill_bytes(bytes);
}

impl TryCryptoRng for LoggedRng {}
