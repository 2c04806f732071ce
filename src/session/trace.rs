//! What a session holds, and whatever a peer could say in one, for test vectors and tests.

use crate::error::SealError;
use crate::limits::SEALED_FIXED_LEN;
use crate::message::Outbound;
use crate::padding::Padding;
use crate::session::Session;
use crate::vectors::Value;
use crate::wire::payload::PayloadKind;
use alloc::vec::Vec;
use rand_core::CryptoRng;

impl Session {
    /// Keys and counters.
    pub(crate) fn trace(&self) -> Value {
        self.ratchet.trace()
    }

    /// Seals as a peer that breaks the protocol could: any kind, and any bytes in place of the count of fragments and the
    /// fragments. The state moves on as with [`Self::seal`].
    ///
    /// # Errors
    /// As [`Self::seal`].
    #[doc(hidden)]
    pub fn seal_raw<R: CryptoRng + ?Sized>(
        &mut self,
        kind: u8,
        content: &[u8],
        fragments: &[u8],
        rng: &mut R,
    ) -> Result<Vec<u8>, SealError> {
        let len = content.len().saturating_add(fragments.len());
        let sealed_len = Padding::default().sealed_len(len).ok_or(SealError::TooLong)?;
        let (mut step, outgoing) = self.ratchet.plan_send(sealed_len.saturating_sub(len + SEALED_FIXED_LEN), rng)?;
        let kind = PayloadKind::from_byte(kind).unwrap_or(PayloadKind::Control);
        let envelope =
            self.envelope(&outgoing, Outbound { kind, content }, &fragments, (Vec::new(), sealed_len), rng)?;
        self.ratchet.swap_send(&mut step);
        Ok(envelope)
    }
}
