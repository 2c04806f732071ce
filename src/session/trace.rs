//! What a session holds, and whatever a peer could say in one, for test vectors and tests.

use crate::codec::Write;
use crate::error::{HandshakeError, SealError};
use crate::handshake;
use crate::identity::IdentityKeyPair;
use crate::keys::{DhPublic, IdentityKey};
use crate::limits::SEALED_FIXED_LEN;
use crate::message::Outbound;
use crate::padding::Padding;
use crate::prekey::VerifiedPreKeyBundle;
use crate::ratchet::{Outgoing, SendStep};
use crate::session::Session;
use crate::state;
use crate::vectors::Value;
use crate::wire::introduction::{ENCRYPTED_IDENTITY_LEN, IDENTITY_PAYLOAD_LEN};
use crate::wire::payload::PayloadKind;
use alloc::vec::Vec;
use rand_core::CryptoRng;

/// What a header says besides its nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawHeader {
    /// The chain's public key.
    pub ratchet_key: [u8; 32],
    /// Messages of the chain before.
    pub previous_chain_len: u32,
    /// Position in the chain.
    pub n: u32,
    /// KEM secrets that the sender has offered and mixed in.
    pub kem_epoch: u32,
}

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
        let (mut step, mut outgoing) = (SendStep::empty(), Outgoing::empty());
        let room = sealed_len.saturating_sub(len + SEALED_FIXED_LEN);
        self.ratchet.plan_send(room, &mut step, &mut outgoing, rng)?;
        let kind = PayloadKind::from_byte(kind).unwrap_or(PayloadKind::Control);
        let envelope =
            self.envelope(&outgoing, Outbound { kind, content }, &fragments, (Vec::new(), sealed_len), rng)?;
        self.ratchet.swap_send(&mut step);
        Ok(envelope)
    }

    /// As [`Self::seal_raw`], with a header that is changed before it is sealed, under the tag of the position that it then
    /// names. If that position is not far ahead, under its message key too; else under that of the message's own.
    ///
    /// # Errors
    /// As [`Self::seal`].
    #[doc(hidden)]
    pub fn seal_forged<R: CryptoRng + ?Sized>(
        &mut self,
        (kind, content): (u8, &[u8]),
        fragments: &[u8],
        change: impl FnOnce(&mut RawHeader),
        rng: &mut R,
    ) -> Result<Vec<u8>, SealError> {
        let len = content.len().saturating_add(fragments.len());
        let sealed_len = Padding::default().sealed_len(len).ok_or(SealError::TooLong)?;
        let (mut step, mut outgoing) = (SendStep::empty(), Outgoing::empty());
        let room = sealed_len.saturating_sub(len + SEALED_FIXED_LEN);
        self.ratchet.plan_send(room, &mut step, &mut outgoing, rng)?;
        self.ratchet.swap_send(&mut step);
        let mut header = RawHeader {
            ratchet_key: outgoing.ratchet_key.0,
            previous_chain_len: outgoing.previous_chain_len,
            n: outgoing.n,
            kem_epoch: outgoing.kem_epoch,
        };
        change(&mut header);
        if header.n != outgoing.n
            && let Some((tag, key)) = self.ratchet.sending_at(header.n)
        {
            outgoing.tag = tag;
            outgoing.message_key = key.unwrap_or(outgoing.message_key);
        }
        outgoing.ratchet_key = DhPublic(header.ratchet_key);
        (outgoing.previous_chain_len, outgoing.n) = (header.previous_chain_len, header.n);
        outgoing.kem_epoch = header.kem_epoch;
        let kind = PayloadKind::from_byte(kind).unwrap_or(PayloadKind::Control);
        self.envelope(&outgoing, Outbound { kind, content }, &fragments, (Vec::new(), sealed_len), rng)
    }

    /// Introduces itself as a malicious author could: with any identity payload, as the specification has it in section 4.
    /// The secrets are right for the identity that the payload names, if this one's private keys fit it.
    ///
    /// # Errors
    /// As [`Self::initiate`].
    #[doc(hidden)]
    pub fn initiate_raw<R: CryptoRng + ?Sized>(
        identity: &IdentityKeyPair,
        payload: &[u8; IDENTITY_PAYLOAD_LEN],
        bundle: &VerifiedPreKeyBundle,
        rng: &mut R,
    ) -> Result<Self, HandshakeError> {
        let (claimed, rest) = payload.split_at(IdentityKey::LEN);
        let claimed = IdentityKey::decode(claimed).map_or(identity.fingerprint(), |claimed| claimed.fingerprint());
        let created_at = rest.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        let mut plaintext = state::image(ENCRYPTED_IDENTITY_LEN);
        plaintext.bytes(payload);
        let initiated = handshake::initiate_as(identity, &claimed, plaintext, bundle, [None; 2], rng)?;
        Ok(Self::initiated(identity, initiated, bundle, created_at))
    }
}
