//! Receiving chains of a group's members.
//!
//! Knows chains and envelopes; neither rosters nor sessions: what a message is bound to of a roster comes in as the hash
//! of an epoch. Nothing is kept before the signature was found good: any member has a chain's symmetric keys.

use crate::codec::{Reader, Write};
use crate::crypto::aead::AEAD_STACK;
use crate::crypto::sign::SignPublic;
use crate::crypto::{STEP_STACK, scrubbed};
use crate::error::{DecodeError, OpenError};
use crate::group::chain::{ChainId, chain_context, message_context, position, signed_message};
use crate::keys::{Fingerprint, MailboxAddress, UnixTime};
use crate::limits::{MAX_SKIPPED, SPENT_WINDOW, TAG_WINDOW};
use crate::message::Opening;
use crate::ratchet::{
    ChainKeys, Place, ReceiveError, Skip, SkippedDelta, SkippedKeys, TagSink, TagSource, TagWindow, check_jump, kdf_ck,
};
use crate::secret::{Guarded, GuardedVec, Secret, guarded};
use crate::wire::payload::{CONTENT_OFFSET, GroupPayload, PayloadKind};
use crate::wire::roster::{Announcement, GroupId};
use crate::wire::sealed::{GroupHeader, Tag};
use alloc::boxed::Box;
use core::mem;

/// The only chain in a receiver's store of skipped keys.
const ONLY: u64 = 0;

/// A member's chain, from the position on at which it was announced.
#[derive(Debug)]
pub(crate) struct MemberChain {
    pub(crate) id: ChainId,
    pub(crate) group: GroupId,
    pub(crate) sender: Fingerprint,
    pub(crate) epoch: u64,
    pub(crate) transcript: [u8; 32],
    /// Counts this member's chains on this device.
    pub(crate) number: u64,
    /// Since when the member has a newer one.
    pub(crate) replaced: Option<UnixTime>,
    verify: SignPublic,
    context: [u8; 32],
    keys: ChainKeys,
    chain_key: Secret<32>,
    /// Where it was announced.
    start: u32,
    /// Position of the first message that is neither opened nor skipped.
    next: u32,
    window: TagWindow,
    skipped: SkippedKeys,
}

/// What opening a message changes.
#[derive(Debug)]
pub(crate) struct MemberStep {
    /// The chain key, and where the chain then stands, if it goes on.
    chain_key: Guarded<32>,
    next: Option<u32>,
    skipped: SkippedDelta,
}

impl MemberStep {
    pub(crate) fn changed_blocks(&self) -> impl Iterator<Item = u64> {
        self.skipped.changed_blocks()
    }
}

/// A planned opening.
pub(crate) struct PlannedGroupOpen {
    pub(crate) step: Box<MemberStep>,
    pub(crate) epoch: u64,
    pub(crate) kind: PayloadKind,
    pub(crate) content: GuardedVec,
    /// Message keys lost to the bound on skipped keys.
    pub(crate) lost: u32,
}

impl MemberChain {
    /// The chain that the peer of a session has announced there.
    pub(crate) fn accept(sender: Fingerprint, announced: &Announcement, number: u64) -> Self {
        let context = chain_context(&announced.group, &sender);
        let mut chain = Self {
            id: ChainId::derive(&announced.group, &sender, &announced.verify),
            group: announced.group,
            sender,
            epoch: announced.epoch,
            transcript: announced.transcript,
            number,
            replaced: None,
            verify: SignPublic::new(announced.verify),
            context,
            keys: ChainKeys::derive(announced.header_secret.expose(), &context),
            chain_key: Secret::new(announced.chain_key.expose()),
            start: announced.n,
            next: announced.n,
            window: TagWindow::default(),
            skipped: SkippedKeys::default(),
        };
        chain.refresh(&mut ());
        chain
    }

    fn refresh(&mut self, sink: &mut dyn TagSink) {
        let spent = self.next.saturating_sub(SPENT_WINDOW).max(self.start);
        let range = spent..self.next.saturating_add(TAG_WINDOW);
        self.window.cover(&range, &self.keys, sink);
    }

    pub(crate) fn skipped(&self) -> &SkippedKeys {
        &self.skipped
    }

    /// Tells a sink of every tag that it recognises.
    pub(crate) fn announce(&self, sink: &mut dyn TagSink) {
        for tag in self.window.tags() {
            sink.add(*tag, TagSource::Window);
        }
        for tag in self.skipped.tags() {
            sink.add(*tag, TagSource::Skipped);
        }
    }

    /// Where its messages can go.
    pub(crate) fn mailbox(&self) -> MailboxAddress {
        self.keys.mailbox()
    }

    fn locate(&self, tag: &Tag) -> Option<Place> {
        if let Some(sequence) = self.skipped.find(tag) {
            return Some(Place::Skipped(sequence));
        }
        let n = self.window.find(tag)?;
        Some(if n < self.next { Place::Spent } else { Place::Current })
    }

    /// Plans to open a message. `transcript_of` gives the hash of the epoch that its header names, or says why there is
    /// none. [`OpenError::Unknown`] if it is not of this chain.
    ///
    /// Nothing is kept before the signature was found good: any member has the chain's symmetric keys.
    pub(crate) fn plan_open(
        &self,
        opening: &Opening<'_>,
        search: bool,
        now: UnixTime,
        transcript_of: impl FnOnce(u64) -> Result<[u8; 32], OpenError>,
    ) -> Result<PlannedGroupOpen, OpenError> {
        scrubbed::<STEP_STACK, _>(|| self.plan(opening, search, now, transcript_of))
    }

    fn plan(
        &self,
        opening: &Opening<'_>,
        search: bool,
        now: UnixTime,
        transcript_of: impl FnOnce(u64) -> Result<[u8; 32], OpenError>,
    ) -> Result<PlannedGroupOpen, OpenError> {
        let tag = opening.tag();
        let (place, unopened) = match self.locate(tag) {
            Some(Place::Spent) => return Err(OpenError::Duplicate),
            Some(place) => (place, OpenError::Rejected),
            None if search => (Place::Current, OpenError::Unknown),
            None => return Err(OpenError::Unknown),
        };
        let header = || opening.header(self.keys.header_key(), &self.context);
        let bytes = scrubbed::<AEAD_STACK, _>(header).ok_or(unopened)?;
        let header = Reader::whole(&bytes, GroupHeader::read).map_err(|_| OpenError::Rejected)?;
        if !self.keys.is_tag(header.n, tag) {
            return Err(OpenError::Rejected);
        }
        let transcript = transcript_of(header.epoch)?;
        let mut step = Box::new(MemberStep { chain_key: guarded(), next: None, skipped: SkippedDelta::default() });
        let mut message_key = guarded();
        self.plan_receive(place, header.n, now, &mut step, &mut message_key).map_err(|error| match error {
            ReceiveError::Duplicate => OpenError::Duplicate,
            // Any member can make such a header, and to renew a session would mend no chain.
            ReceiveError::TooFarAhead | ReceiveError::Diverged | ReceiveError::Violation => OpenError::Rejected,
        })?;
        let context = message_context(&self.group, header.epoch, &transcript, &self.sender, self.verify.bytes());
        let mut body = opening
            .body(&message_key, &context, &bytes, &header.nonce)
            .ok_or(OpenError::RosterDiffers(self.group, self.sender))?;
        let payload = GroupPayload::decode(&body).map_err(|_| OpenError::Rejected)?;
        let kind = payload.kind;
        let signed = signed_message(&context, tag, &bytes, &[payload.signed]);
        if !self.verify.verify(&signed, payload.signature) {
            return Err(OpenError::Rejected);
        }
        let end = CONTENT_OFFSET.saturating_add(payload.content_len);
        body.truncate(end);
        body.drain(..CONTENT_OFFSET.min(end));
        Ok(PlannedGroupOpen { lost: step.skipped.lost, step, epoch: header.epoch, kind, content: body })
    }

    fn plan_receive(
        &self,
        place: Place,
        n: u32,
        now: UnixTime,
        step: &mut MemberStep,
        message_key: &mut Guarded<32>,
    ) -> Result<(), ReceiveError> {
        if let Place::Skipped(sequence) = place {
            let key = self.skipped.get(sequence).ok_or(ReceiveError::Duplicate)?;
            step.skipped = SkippedDelta::using(sequence);
            message_key.copy_from_slice(key.key.expose());
            return Ok(());
        }
        let jump = n.checked_sub(self.next).ok_or(ReceiveError::Duplicate)?;
        check_jump(n, jump)?;
        let (mut skip, mut chain_key) = (Skip::at(now), guarded());
        chain_key.copy_from_slice(self.chain_key.expose());
        skip.run(ONLY, &self.keys, &self.context, &mut chain_key, self.next..n);
        kdf_ck(&chain_key, &mut step.chain_key, message_key);
        step.next = Some(n.saturating_add(1));
        step.skipped = skip.plan(&self.skipped);
        Ok(())
    }

    /// Exchanges skipped keys with what a plan holds.
    pub(crate) fn swap_skipped(&mut self, delta: &mut SkippedDelta, sink: &mut dyn TagSink) {
        self.skipped.swap(delta, sink);
    }

    /// Exchanges the state with what a plan holds, and tells the sink which tags come and go.
    pub(crate) fn swap(&mut self, step: &mut MemberStep, sink: &mut dyn TagSink) {
        self.skipped.swap(&mut step.skipped, sink);
        if let Some(next) = &mut step.next {
            self.chain_key.swap_guarded(&mut step.chain_key);
            mem::swap(&mut self.next, next);
        }
        self.refresh(sink);
    }

    /// Writes all but the skipped keys:
    ///
    /// ```text
    /// group id(32) || sender(32) || epoch(8) || transcript hash(32) || number(8) || replaced flag(1) || since(8)
    ///   || verification key(32) || header secret(32) || ck(32) || start(4) || next(4) || skipped keys(4)
    /// ```
    pub(crate) fn write(&self, out: &mut impl Write) {
        out.bytes(self.group.as_bytes());
        out.bytes(self.sender.as_bytes());
        out.u64(self.epoch);
        out.bytes(&self.transcript);
        out.u64(self.number);
        out.flag(self.replaced.is_some());
        out.u64(self.replaced.unwrap_or_default().0);
        out.bytes(self.verify.bytes());
        out.bytes(self.keys.secret().expose());
        out.bytes(self.chain_key.expose());
        out.u32(self.start);
        out.u32(self.next);
        out.count(self.skipped.len());
    }

    /// Reads what [`Self::write`] wrote. Skipped keys come next, then [`Self::finish_restore`].
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (group, sender) = (GroupId::read(reader)?, Fingerprint::from_bytes(*reader.array()?));
        let (epoch, transcript, number) = (reader.u64()?, *reader.array()?, reader.u64()?);
        let (replaced, since) = (reader.flag()?, reader.u64()?);
        if (!replaced && since != 0) || number >= u64::MAX / 2 {
            return Err(DecodeError::Invalid);
        }
        let verify = *reader.array()?;
        let context = chain_context(&group, &sender);
        let keys = ChainKeys::derive(reader.array()?, &context);
        let chain_key = Secret::new(reader.array()?);
        let (start, next) = (position(reader)?, position(reader)?);
        let skipped = SkippedKeys::expecting(reader.count(MAX_SKIPPED)?);
        if next < start {
            return Err(DecodeError::Invalid);
        }
        Ok(Self {
            id: ChainId::derive(&group, &sender, &verify),
            group,
            sender,
            epoch,
            transcript,
            number,
            replaced: replaced.then_some(UnixTime(since)),
            verify: SignPublic::new(verify),
            context,
            keys,
            chain_key,
            start,
            next,
            window: TagWindow::default(),
            skipped,
        })
    }

    pub(crate) fn read_skipped(&mut self, block: u64, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        let context = self.context;
        self.skipped.read_block(block, &context, reader)
    }

    /// Checks the skipped keys against the chain, and fills the window.
    pub(crate) fn finish_restore(&mut self) -> Result<(), DecodeError> {
        let (start, next) = (self.start, self.next);
        let own = self.keys.secret().expose();
        let fits = self.skipped.all(|chain, entry, keys| {
            let same = crate::crypto::aead::equal(keys.secret().expose(), own);
            chain == ONLY && (start..next).contains(&entry.n) && same
        });
        if !fits || !self.skipped.is_complete() {
            return Err(DecodeError::Invalid);
        }
        self.refresh(&mut ());
        Ok(())
    }
}
