//! Sealing: content in, envelope out.

use crate::crypto::aead::{self, MAC_LEN, NONCE_LEN};
use crate::crypto::kdf;
use crate::error::SealError;
use crate::labels::Label;
use crate::limits::SEALED_FIXED_LEN;
use crate::padding::Padding;
use crate::ratchet::{Outgoing, SendStep};
use crate::session::Session;
use crate::wire::control::encode_receipt;
use crate::wire::envelope::{EnvelopeKind, START_LEN};
use crate::wire::introduction::PREFIX_LEN;
use crate::wire::payload::{self, PayloadKind};
use crate::wire::sealed::{HEADER_LEN, Header, SealedPlaces, Tag};
use alloc::vec;
use alloc::vec::Vec;
use rand_core::CryptoRng;

/// A message to seal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outbound<'a> {
    pub(crate) kind: PayloadKind,
    pub(crate) content: &'a [u8],
}

/// What sealing a message changes in a session.
#[derive(Debug)]
pub(crate) struct SealStep(SendStep);

/// A planned envelope.
pub(crate) struct Sealed {
    pub(crate) step: SealStep,
    pub(crate) envelope: Vec<u8>,
}

/// Length of a header's associated data.
pub(crate) const HEADER_AD_LEN: usize = START_LEN + 32 + 32 + Tag::LEN + 32;
/// Length of a body's associated data.
pub(crate) const BODY_AD_LEN: usize = 32 + Tag::LEN + HEADER_LEN;

/// `version || kind || SHA-256(label || prefix) or zeros || context || tag || SHA-256(label || body)`.
pub(crate) fn header_ad(
    kind: EnvelopeKind,
    prefix_hash: &[u8; 32],
    context: &[u8; 32],
    tag: &Tag,
    body_hash: &[u8; 32],
) -> [u8; HEADER_AD_LEN] {
    concat(&[&kind.start(), prefix_hash, context, &tag.0, body_hash])
}

/// `context || tag || header plaintext`.
pub(crate) fn body_ad(context: &[u8; 32], tag: &Tag, header: &[u8; HEADER_LEN]) -> [u8; BODY_AD_LEN] {
    concat(&[context, &tag.0, header])
}

/// The hash of a body's ciphertext and MAC.
pub(crate) fn body_hash(body: &[u8]) -> [u8; 32] {
    kdf::hash(Label::Body, &[body])
}

/// The nonce of a header: the first 12 bytes of its tag.
pub(crate) fn header_nonce(tag: &Tag) -> [u8; NONCE_LEN] {
    concat(&[&tag.0])
}

fn concat<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut whole = [0; N];
    for (to, from) in whole.iter_mut().zip(parts.iter().copied().flatten()) {
        *to = *from;
    }
    whole
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
        let message = Outbound { kind: PayloadKind::Application, content };
        let mut sealed = self.plan_seal(message, padding, rng)?;
        self.swap_seal(&mut sealed.step);
        Ok(sealed.envelope)
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
        let message = Outbound { kind: PayloadKind::Receipt, content: &content };
        let mut sealed = self.plan_seal(message, padding, rng)?;
        self.swap_seal(&mut sealed.step);
        Ok(sealed.envelope)
    }

    pub(crate) fn plan_seal<R: CryptoRng + ?Sized>(
        &self,
        message: Outbound<'_>,
        padding: Padding,
        rng: &mut R,
    ) -> Result<Sealed, SealError> {
        let sealed_len = padding.sealed_len(message.content.len()).ok_or(SealError::TooLong)?;
        let taken = message.content.len().saturating_add(SEALED_FIXED_LEN);
        let (step, outgoing) = self.ratchet.plan_send(sealed_len.saturating_sub(taken), rng)?;
        let mut nonce = [0; NONCE_LEN];
        rng.fill_bytes(&mut nonce);

        let (kind, prefix, prefix_hash) = match &self.prefix {
            Some(prefix) => (EnvelopeKind::Introduction, prefix.bytes.as_slice(), prefix.hash),
            None => (EnvelopeKind::Sealed, &[][..], [0; 32]),
        };
        let mut envelope = vec![0; prefix.len().saturating_add(sealed_len)];
        fill(&mut envelope, kind.start(), prefix)
            .and_then(|mut places| self.seal_into(&mut places, message, &outgoing, nonce, kind, &prefix_hash))
            .ok_or(SealError::TooLong)?;
        Ok(Sealed { step: SealStep(step), envelope })
    }

    /// Body first, so that the header can authenticate the body's hash.
    fn seal_into(
        &self,
        places: &mut SealedPlaces<'_>,
        message: Outbound<'_>,
        outgoing: &Outgoing,
        nonce: [u8; NONCE_LEN],
        kind: EnvelopeKind,
        prefix_hash: &[u8; 32],
    ) -> Option<()> {
        let context = self.ratchet.context();
        let tag = &outgoing.tag;
        let header = Header {
            ratchet_key: outgoing.ratchet_key,
            previous_chain_len: outgoing.previous_chain_len,
            n: outgoing.n,
            kem_epoch: outgoing.kem_epoch,
            nonce,
        };
        crate::codec::Write::bytes(&mut payload::Place(places.tag), &tag.0);
        header.write(&mut payload::Place(places.header));

        payload::write(places.body, message.kind, message.content, &outgoing.fragments)?;
        let (body, mac_place) = places.body.split_last_chunk_mut::<MAC_LEN>()?;
        *mac_place = aead::seal(&outgoing.message_key, &nonce, &body_ad(context, tag, places.header), body);

        let ad = header_ad(kind, prefix_hash, context, tag, &body_hash(places.body));
        *places.header_mac = aead::seal(&outgoing.header_key, &header_nonce(tag), &ad, places.header);
        Some(())
    }

    /// Exchanges the state with what a plan holds.
    pub(crate) fn swap_seal(&mut self, step: &mut SealStep) {
        self.ratchet.swap_send(&mut step.0);
    }
}

/// Writes what stands in clear and returns the places of the sealed message behind it.
fn fill<'a>(envelope: &'a mut [u8], start: [u8; START_LEN], prefix: &[u8]) -> Option<SealedPlaces<'a>> {
    debug_assert!(prefix.is_empty() || prefix.len() == PREFIX_LEN);
    let (place, rest) = envelope.split_first_chunk_mut::<START_LEN>()?;
    *place = start;
    let (place, sealed) = rest.split_at_mut_checked(prefix.len())?;
    place.copy_from_slice(prefix);
    SealedPlaces::split(sealed)
}
