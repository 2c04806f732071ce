//! Sealing: content in, envelope out.

use crate::crypto::aead::NONCE_LEN;
use crate::crypto::{STEP_STACK, scrubbed};
use crate::error::SealError;
use crate::limits::{MAX_FIRST_JUMP, SEALED_FIXED_LEN};
use crate::message::{Outbound, Sealing};
use crate::padding::Padding;
use crate::ratchet::{Outgoing, SendStep};
use crate::session::Session;
use crate::wire::control::encode_receipt;
use crate::wire::payload::{PayloadKind, Tail};
use crate::wire::sealed::{Header, Tag};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;
use rand_core::CryptoRng;

/// What sealing a message changes in a session.
#[derive(Debug)]
pub(crate) struct SealStep(SendStep);

impl SealStep {
    fn empty() -> Self {
        Self(SendStep::empty())
    }
}

/// A planned envelope.
pub(crate) struct Sealed {
    pub(crate) step: Box<SealStep>,
    pub(crate) envelope: Vec<u8>,
    pub(crate) tag: Tag,
    #[cfg(feature = "vectors")]
    pub(crate) message_key: crate::secret::Guarded<32>,
}

impl Session {
    /// Seals a message for the peer. Draws 32 bytes for a ratchet key when the message begins a chain, 64 for a KEM key
    /// pair when one is due, 32 to answer the peer's when that is whole, then 12 bytes for the body's nonce. Store the session before the envelope leaves.
    ///
    /// # Errors
    /// [`SealError::TooLong`] or [`SealError::ChainExhausted`]; nothing has changed.
    pub fn seal<R: CryptoRng + ?Sized>(
        &mut self,
        content: &[u8],
        padding: Padding,
        rng: &mut R,
    ) -> Result<Vec<u8>, SealError> {
        self.seal_now(Outbound { kind: PayloadKind::Application, content }, padding, rng, Vec::new())
    }

    /// As [`Self::seal`], into a buffer: what is in it goes. Nothing is allocated if the envelope fits and a chain goes on. On
    /// error it is empty.
    ///
    /// # Errors
    /// As [`Self::seal`]; nothing has changed.
    pub fn seal_into<R: CryptoRng + ?Sized>(
        &mut self,
        content: &[u8],
        padding: Padding,
        rng: &mut R,
        envelope: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        let message = Outbound { kind: PayloadKind::Application, content };
        *envelope = self.seal_now(message, padding, rng, mem::take(envelope))?;
        Ok(())
    }

    /// Seals a receipt: these messages of the peer were read. Draws as [`Self::seal`] does.
    ///
    /// # Errors
    /// [`SealError::TooLong`] for no tag or more than [`crate::limits::MAX_RECEIPT_IDS`], [`SealError::ChainExhausted`];
    /// nothing has changed.
    pub fn seal_receipt<R: CryptoRng + ?Sized>(
        &mut self,
        tags: &[Tag],
        padding: Padding,
        rng: &mut R,
    ) -> Result<Vec<u8>, SealError> {
        let content = encode_receipt(tags).ok_or(SealError::TooLong)?;
        self.seal_now(Outbound { kind: PayloadKind::Receipt, content: &content }, padding, rng, Vec::new())
    }

    fn seal_now<R: CryptoRng + ?Sized>(
        &mut self,
        message: Outbound<'_>,
        padding: Padding,
        rng: &mut R,
        buffer: Vec<u8>,
    ) -> Result<Vec<u8>, SealError> {
        scrubbed::<STEP_STACK, _>(|| {
            let (mut step, mut outgoing) = (SealStep::empty(), Outgoing::empty());
            let envelope = self.plan(message, padding, rng, buffer, &mut step, &mut outgoing)?;
            self.swap_seal(&mut step);
            Ok(envelope)
        })
    }

    /// Plans an envelope. The step is kept on the heap until it is stored.
    pub(crate) fn plan_seal<R: CryptoRng + ?Sized>(
        &self,
        message: Outbound<'_>,
        padding: Padding,
        rng: &mut R,
    ) -> Result<Sealed, SealError> {
        scrubbed::<STEP_STACK, _>(|| {
            let (mut step, mut outgoing) = (Box::new(SealStep::empty()), Outgoing::empty());
            let envelope = self.plan(message, padding, rng, Vec::new(), &mut step, &mut outgoing)?;
            Ok(Sealed {
                step,
                envelope,
                tag: outgoing.tag,
                #[cfg(feature = "vectors")]
                message_key: outgoing.message_key,
            })
        })
    }

    fn plan<R: CryptoRng + ?Sized>(
        &self,
        message: Outbound<'_>,
        padding: Padding,
        rng: &mut R,
        buffer: Vec<u8>,
        step: &mut SealStep,
        outgoing: &mut Outgoing,
    ) -> Result<Vec<u8>, SealError> {
        let sealed_len = padding.sealed_len(message.content.len()).ok_or(SealError::TooLong)?;
        let taken = message.content.len().saturating_add(SEALED_FIXED_LEN);
        self.ratchet.plan_send(sealed_len.saturating_sub(taken), &mut step.0, outgoing, rng)?;
        // Beyond, the peer would not take it: nothing of this introduction has come.
        if self.prefix.is_some() && outgoing.n > MAX_FIRST_JUMP {
            return Err(SealError::ChainExhausted);
        }
        self.envelope(outgoing, message, &step.0.fragments(), (buffer, sealed_len), rng)
    }

    /// The envelope of a message. Draws 12 bytes: the body's nonce.
    pub(super) fn envelope<R: CryptoRng + ?Sized>(
        &self,
        outgoing: &Outgoing,
        message: Outbound<'_>,
        fragments: &impl Tail,
        (buffer, sealed_len): (Vec<u8>, usize),
        rng: &mut R,
    ) -> Result<Vec<u8>, SealError> {
        let mut randomness = [0; NONCE_LEN];
        rng.fill_bytes(&mut randomness);
        let header = Header {
            ratchet_key: outgoing.ratchet_key,
            previous_chain_len: outgoing.previous_chain_len,
            n: outgoing.n,
            kem_epoch: outgoing.kem_epoch,
            nonce: [0; NONCE_LEN],
        };
        let sealing = Sealing {
            message_key: &outgoing.message_key,
            header_key: &outgoing.header_key,
            body_context: self.ratchet.context(),
            header_context: self.ratchet.context(),
            tag: outgoing.tag,
            header: header.encode(),
            randomness: Some(randomness),
            prefix: self.prefix.as_ref().map(|prefix| (&*prefix.bytes, &prefix.hash)),
        };
        sealing.envelope(buffer, sealed_len, message.kind, message.content, fragments).ok_or(SealError::TooLong)
    }

    /// Exchanges the state with what a plan holds.
    pub(crate) fn swap_seal(&mut self, step: &mut SealStep) {
        self.ratchet.swap_send(&mut step.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::MAX_RECEIPT_IDS;
    use crate::session::Content;
    use crate::session::testing::Pair;
    use crate::wire::envelope::Envelope;

    /// The peer opens what was sealed; too few and too many tags are refused and change nothing.
    #[test]
    fn receipts_name_what_was_read() {
        let Pair { mut alice, mut bob, mut rng, .. } = Pair::answered();
        for count in [1, 2, MAX_RECEIPT_IDS] {
            let tags: Vec<_> = (0..count).map(|i| Tag::from_bytes([u8::try_from(i % 251).unwrap(); 16])).collect();
            let envelope = alice.seal_receipt(&tags, Padding::default(), &mut rng).unwrap();
            let opened = bob.open(&Envelope::parse(&envelope).unwrap(), crate::keys::UnixTime(1)).unwrap();
            assert_eq!(opened.content, Content::Receipt(tags));
        }
        let before = alice.to_state();
        for count in [0, MAX_RECEIPT_IDS + 1] {
            let tags = vec![Tag::from_bytes([1; 16]); count];
            assert_eq!(alice.seal_receipt(&tags, Padding::default(), &mut rng), Err(SealError::TooLong));
        }
        assert_eq!(alice.to_state().expose(), before.expose());
    }
}
