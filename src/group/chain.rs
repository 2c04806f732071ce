//! Sender chains: one for each sender, signed with a key made for that chain alone. docs/PROTOCOL.md, "Sender chains".
//!
//! Two types, here the sending one, so that a receiving chain can't seal. Knows chains, envelopes and what a roster
//! remembers of its epochs; no sessions.

use crate::codec::{Reader, Write};
use crate::crypto::aead::NONCE_LEN;
use crate::crypto::kdf;
use crate::crypto::sign::{self, SignPrivate};
use crate::crypto::{STEP_STACK, scrubbed};
use crate::error::{DecodeError, SealError};
use crate::group::Group;
use crate::keys::{Fingerprint, MailboxAddress, UnixTime};
use crate::labels::Label;
use crate::limits::MAX_CHAIN_LEN;
use crate::message::{Outbound, Sealing};
use crate::padding::Padding;
use crate::ratchet::{ChainKeys, kdf_ck};
use crate::secret::{Guarded, Secret, guarded};
use crate::wire::roster::{Announcement, GroupId, GroupPolicy};
use crate::wire::sealed::{GroupHeader, Tag};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;
use rand_core::CryptoRng;

/// The name of a receiving chain on the device that stores it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ChainId(pub(crate) [u8; 16]);

impl ChainId {
    /// `SHA-256(label || group id || sender || verification key)[0..16]`.
    pub(crate) fn derive(group: &GroupId, sender: &Fingerprint, verify: &[u8; 32]) -> Self {
        let parts: [&[u8]; 3] = [group.as_bytes(), sender.as_bytes(), verify];
        Self(kdf::truncate(&kdf::hash(Label::SenderChainId, &parts)))
    }
}

/// What a chain's header and tag keys are bound to: whoever announces another's chain as its own derives other ones.
pub(super) fn chain_context(group: &GroupId, sender: &Fingerprint) -> [u8; 32] {
    kdf::hash(Label::SenderChain, &[group.as_bytes(), sender.as_bytes()])
}

/// What a message's body and signature are bound to.
pub(super) fn message_context(
    group: &GroupId,
    epoch: u64,
    transcript: &[u8; 32],
    sender: &Fingerprint,
    verify: &[u8; 32],
) -> [u8; 32] {
    let parts: [&[u8]; 5] = [group.as_bytes(), &epoch.to_be_bytes(), transcript, sender.as_bytes(), verify];
    kdf::hash(Label::GroupContext, &parts)
}

/// `label || context || tag || header || SHA-256(label || payload up to the signature)`.
pub(super) fn signed_message(context: &[u8; 32], tag: &Tag, header: &[u8], payload: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::from(Label::GroupMessage.bytes());
    out.bytes(context);
    out.bytes(&tag.0);
    out.bytes(header);
    out.bytes(&kdf::hash(Label::GroupPayload, payload));
    out
}

/// This device's chain in one group.
#[derive(Debug)]
pub(crate) struct OwnChain {
    group: GroupId,
    own: Fingerprint,
    pub(crate) epoch: u64,
    pub(crate) transcript: [u8; 32],
    sign: SignPrivate,
    verify: [u8; 32],
    context: [u8; 32],
    keys: ChainKeys,
    /// Each message is given with it.
    mailbox: MailboxAddress,
    chain_key: Secret<32>,
    n: u32,
    began: UnixTime,
}

/// What sealing a message changes.
#[derive(Debug)]
pub(crate) struct OwnStep {
    chain_key: Guarded<32>,
    n: u32,
}

impl OwnChain {
    /// A new chain. Draws its key (32 bytes), its header secret (32), its Ed25519 seed (32).
    pub(crate) fn generate<R: CryptoRng + ?Sized>(
        group: GroupId,
        own: Fingerprint,
        epoch: u64,
        transcript: [u8; 32],
        now: UnixTime,
        rng: &mut R,
    ) -> Self {
        let (chain_key, secret) = (Secret::draw(rng), Secret::draw(rng));
        let sign = SignPrivate::generate(rng);
        let context = chain_context(&group, &own);
        let (verify, keys) = (sign.public(), ChainKeys::derive(secret.expose(), &context));
        let mailbox = keys.mailbox();
        Self { group, own, epoch, transcript, sign, verify, context, keys, mailbox, chain_key, n: 0, began: now }
    }

    /// Where its messages can go, once for all members.
    pub(crate) fn mailbox(&self) -> MailboxAddress {
        self.mailbox
    }

    /// Whether it began under the history of this roster, and nothing has ended it.
    pub(crate) fn is_live(&self, group: &Group) -> bool {
        group.transcript_at(self.epoch) == Some(self.transcript) && group.may_speak(self.epoch, group.epoch())
    }

    /// Whether the group's policy asks for a new one.
    pub(crate) fn is_due(&self, policy: GroupPolicy, now: UnixTime) -> bool {
        self.n >= policy.max_messages.min(MAX_CHAIN_LEN)
            || now >= self.began.plus(policy.max_age)
            // Begun by a clock that ran ahead: it would stay for as long.
            || self.began > now.plus(policy.max_age)
    }

    /// What lets a member of the present epoch read from here on.
    pub(crate) fn announcement(&self, epoch: u64, transcript: [u8; 32]) -> Announcement {
        Announcement {
            group: self.group,
            epoch,
            transcript,
            chain_key: Secret::new(self.chain_key.expose()),
            header_secret: Secret::new(self.keys.secret().expose()),
            n: self.n,
            verify: self.verify,
        }
    }

    /// Plans a message under the roster of an epoch. Draws 12 bytes: the body's nonce.
    pub(crate) fn plan_seal<R: CryptoRng + ?Sized>(
        &self,
        epoch: u64,
        transcript: &[u8; 32],
        message: Outbound<'_>,
        padding: Padding,
        rng: &mut R,
    ) -> Result<(Box<OwnStep>, Vec<u8>), SealError> {
        scrubbed::<STEP_STACK, _>(|| self.plan(self.keys.tag(self.n), (epoch, transcript), message, padding, rng))
    }

    fn plan<R: CryptoRng + ?Sized>(
        &self,
        tag: Tag,
        (epoch, transcript): (u64, &[u8; 32]),
        message: Outbound<'_>,
        padding: Padding,
        rng: &mut R,
    ) -> Result<(Box<OwnStep>, Vec<u8>), SealError> {
        let Outbound { kind, content } = message;
        let sealed_len = padding.sealed_len(content.len()).ok_or(SealError::TooLong)?;
        if self.n >= MAX_CHAIN_LEN {
            return Err(SealError::ChainExhausted);
        }
        let mut randomness = [0; NONCE_LEN];
        rng.fill_bytes(&mut randomness);
        let mut step = Box::new(OwnStep { chain_key: guarded(), n: self.n.saturating_add(1) });
        let mut message_key = guarded();
        kdf_ck(self.chain_key.expose(), &mut step.chain_key, &mut message_key);
        let context = message_context(&self.group, epoch, transcript, &self.own, &self.verify);
        let mut sealing = Sealing {
            message_key: &message_key,
            header_key: self.keys.header_key(),
            body_context: &context,
            header_context: &self.context,
            tag,
            header: GroupHeader { epoch, n: self.n, nonce: [0; NONCE_LEN] }.encode(),
            randomness: None,
            prefix: None,
        };

        let no_fragments = 0_u8;
        let mut start = Vec::with_capacity(5);
        start.u8(kind.byte());
        start.count(content.len());
        let payload: [&[u8]; 3] = [&start, content, &[no_fragments]];
        // Before the signature, which covers it.
        let nonce = sealing.nonce(&randomness, sealed_len, &payload);
        sealing.header = GroupHeader { epoch, n: self.n, nonce }.encode();
        let mut tail = Vec::with_capacity(1 + sign::SIGNATURE_LEN);
        tail.u8(no_fragments);
        tail.bytes(&self.sign.sign(&signed_message(&context, &tag, &sealing.header, &payload)));
        let envelope = sealing.envelope(Vec::new(), sealed_len, kind, content, &&tail[..]).ok_or(SealError::TooLong)?;
        Ok((step, envelope))
    }

    /// Exchanges the state with what a plan holds.
    pub(crate) fn swap(&mut self, step: &mut OwnStep) {
        self.chain_key.swap_guarded(&mut step.chain_key);
        mem::swap(&mut self.n, &mut step.n);
    }

    /// Writes:
    ///
    /// ```text
    /// group id(32) || epoch(8) || transcript hash(32) || ck(32) || header secret(32) || n(4) || ed25519 seed(32)
    ///   || began(8)
    /// ```
    pub(crate) fn write(&self, out: &mut impl Write) {
        out.bytes(self.group.as_bytes());
        out.u64(self.epoch);
        out.bytes(&self.transcript);
        out.bytes(self.chain_key.expose());
        out.bytes(self.keys.secret().expose());
        out.u32(self.n);
        out.bytes(self.sign.expose());
        out.u64(self.began.0);
    }

    pub(crate) fn read(reader: &mut Reader<'_>, own: Fingerprint) -> Result<Self, DecodeError> {
        let group = GroupId::read(reader)?;
        let (epoch, transcript) = (reader.u64()?, *reader.array()?);
        let context = chain_context(&group, &own);
        let chain_key = Secret::new(reader.array()?);
        let keys = ChainKeys::derive(reader.array()?, &context);
        let n = position(reader)?;
        let sign = SignPrivate::from_bytes(reader.array()?);
        let (verify, began) = (sign.public(), UnixTime(reader.u64()?));
        let mailbox = keys.mailbox();
        Ok(Self { group, own, epoch, transcript, sign, verify, context, keys, mailbox, chain_key, n, began })
    }

    pub(crate) fn group(&self) -> GroupId {
        self.group
    }
}

pub(super) fn position(reader: &mut Reader<'_>) -> Result<u32, DecodeError> {
    match reader.u32()? {
        n if n <= MAX_CHAIN_LEN => Ok(n),
        _ => Err(DecodeError::Invalid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl OwnChain {
        /// A good message but for its tag, which is that of another position.
        pub(in crate::group) fn plan_under_another_tag<R: CryptoRng + ?Sized>(
            &self,
            transcript: &[u8; 32],
            rng: &mut R,
        ) -> Vec<u8> {
            let tag = self.keys.tag(self.n.saturating_add(1));
            self.plan(tag, (3, transcript), Outbound::text(b"text"), Padding::default(), rng).unwrap().1
        }

        /// What a member can forge in another's chain: all is right but the signature, which is this chain's.
        pub(in crate::group) fn plan_forged<R: CryptoRng + ?Sized>(
            &self,
            victim: &Self,
            transcript: &[u8; 32],
            content: &[u8],
            rng: &mut R,
        ) -> Vec<u8> {
            let mut forger =
                Self { verify: victim.verify, ..Self::generate(self.group, self.own, 3, [0; 32], self.began, rng) };
            forger.sign = SignPrivate::from_bytes(self.sign.expose());
            forger.keys = ChainKeys::derive(victim.keys.secret().expose(), &victim.context);
            forger.chain_key = Secret::new(victim.chain_key.expose());
            forger.n = victim.n;
            forger.plan_seal(3, transcript, Outbound::text(content), Padding::default(), rng).unwrap().1
        }
    }
}
