//! One content for many peers, and content that travels beside its message.

use crate::attachment::{self, Attachment};
use crate::codec::Write;
use crate::device::Device;
use crate::device::group::GroupSealed;
use crate::device::pending::Pending;
use crate::device::plan::Change;
use crate::device::seal::Sealed;
use crate::error::{GroupError, SealError};
use crate::group::GroupId;
use crate::keys::{Fingerprint, MailboxAddress, UnixTime};
use crate::message::Outbound;
use crate::secret::GuardedVec;
use crate::state;
use crate::wire::payload::PayloadKind;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use rand_core::CryptoRng;

/// An envelope and whom it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivery {
    /// Whom it is for. The relay need not know.
    pub to: Fingerprint,
    /// Where it can be left, on relays that have mailboxes; `None`: where the peer has published that introductions go.
    pub mailbox: Option<MailboxAddress>,
    /// What goes there.
    pub envelope: Vec<u8>,
}

/// A peer for whom nothing could be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unreachable {
    /// The peer.
    pub peer: Fingerprint,
    /// Why: mostly a bundle to fetch and to give to [`Device::add_peer`].
    pub why: SealError,
}

/// One content, sealed for many.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SealedMany {
    /// Content that does not fit the smallest bucket, encrypted once: store it under its SHA-256 where the peers can
    /// fetch it, before the envelopes leave.
    pub attached: Option<Vec<u8>>,
    /// One envelope for each peer.
    pub deliveries: Vec<Delivery>,
    /// For whom none could be sealed.
    pub unreachable: Vec<Unreachable>,
}

impl Device {
    /// Seals one content for many peers. What fits the smallest bucket is sealed for each; anything longer, of any length,
    /// is encrypted once, and each peer gets a message with its key: an [`crate::Event::LongMessage`].
    ///
    /// Draws 32 bytes for the key of a longer content, then as [`Self::seal`] does for each peer, by their names.
    ///
    /// # Errors
    /// [`SealError::TooLong`]; nothing has changed. Peers for whom nothing can be sealed are listed in the result.
    pub fn seal_many<R: CryptoRng + ?Sized>(
        &mut self,
        peers: &[Fingerprint],
        content: &[u8],
        now: UnixTime,
        rng: &mut R,
    ) -> Result<Pending<'_, SealedMany>, SealError> {
        let fits = self.policy.padding.sealed_len(content.len()) == Some(self.policy.padding.smallest());
        let mut attached = None;
        let key = if fits {
            None
        } else {
            let (key, ciphertext) = attachment::seal(content, rng).map_err(|_| SealError::TooLong)?;
            attached = Some(ciphertext);
            Some(attachment_content(&key, &[]))
        };
        let message = match &key {
            Some(key) => Outbound { kind: PayloadKind::LongMessage, content: key },
            None => Outbound { kind: PayloadKind::Application, content },
        };
        let mut plan = Vec::new();
        let mut sealed = SealedMany { attached, deliveries: Vec::new(), unreachable: Vec::new() };
        for peer in peers.iter().copied().collect::<BTreeSet<_>>() {
            match self.plan_delivery(peer, message, now, rng, &mut plan) {
                Ok(delivery) => sealed.deliveries.push(delivery),
                Err(why) => sealed.unreachable.push(Unreachable { peer, why }),
            }
        }
        Ok(Pending::new(self, plan, sealed))
    }

    /// Seals what opens an attachment for a peer, with a note on it: a caption, a file's name, where it lies. Draws as
    /// [`Self::seal`] does.
    ///
    /// # Errors
    /// [`SealError`]; nothing has changed.
    pub fn seal_attachment<R: CryptoRng + ?Sized>(
        &mut self,
        peer: Fingerprint,
        attachment: &Attachment,
        note: &[u8],
        now: UnixTime,
        rng: &mut R,
    ) -> Result<Pending<'_, Sealed>, SealError> {
        let content = attachment_content(attachment, note);
        let message = Outbound { kind: PayloadKind::Attachment, content: &content };
        let (plan, envelope) = self.plan_seal(peer, message, now, rng)?;
        Ok(Pending::new(self, plan, envelope))
    }

    /// Seals what opens a message that is too long for one envelope, for a peer: encrypt it first ([`crate::attachment`]).
    /// [`Self::seal_many`] does both, of a content in memory. Draws as [`Self::seal`] does.
    ///
    /// # Errors
    /// [`SealError`]; nothing has changed.
    pub fn seal_long_message<R: CryptoRng + ?Sized>(
        &mut self,
        peer: Fingerprint,
        attachment: &Attachment,
        now: UnixTime,
        rng: &mut R,
    ) -> Result<Pending<'_, Sealed>, SealError> {
        let content = attachment_content(attachment, &[]);
        let message = Outbound { kind: PayloadKind::LongMessage, content: &content };
        let (plan, envelope) = self.plan_seal(peer, message, now, rng)?;
        Ok(Pending::new(self, plan, envelope))
    }

    /// The same for a group. Draws as [`Self::seal_group`] does.
    ///
    /// # Errors
    /// As [`Self::seal_group`].
    pub fn seal_group_long_message<R: CryptoRng + ?Sized>(
        &mut self,
        group: GroupId,
        attachment: &Attachment,
        now: UnixTime,
        rng: &mut R,
    ) -> Result<Pending<'_, GroupSealed>, GroupError> {
        let content = attachment_content(attachment, &[]);
        self.seal_for_group(group, Outbound { kind: PayloadKind::LongMessage, content: &content }, now, rng)
    }

    /// Seals what opens an attachment for a group, with a note on it. Draws as [`Self::seal_group`] does.
    ///
    /// # Errors
    /// As [`Self::seal_group`].
    pub fn seal_group_attachment<R: CryptoRng + ?Sized>(
        &mut self,
        group: GroupId,
        attachment: &Attachment,
        note: &[u8],
        now: UnixTime,
        rng: &mut R,
    ) -> Result<Pending<'_, GroupSealed>, GroupError> {
        let content = attachment_content(attachment, note);
        self.seal_for_group(group, Outbound { kind: PayloadKind::Attachment, content: &content }, now, rng)
    }

    /// Plans one envelope for one of many peers.
    pub(super) fn plan_delivery<R: CryptoRng + ?Sized>(
        &self,
        to: Fingerprint,
        message: Outbound<'_>,
        now: UnixTime,
        rng: &mut R,
        plan: &mut Vec<Change>,
    ) -> Result<Delivery, SealError> {
        let (changes, sealed) = self.plan_seal(to, message, now, rng)?;
        plan.extend(changes);
        Ok(Delivery { to, mailbox: sealed.mailbox, envelope: sealed.envelope })
    }
}

/// What opens an attachment, and the note behind it.
fn attachment_content(attachment: &Attachment, note: &[u8]) -> GuardedVec {
    let mut out = state::image(Attachment::LEN.saturating_add(note.len()));
    attachment.write(&mut out);
    out.bytes(note);
    out
}
