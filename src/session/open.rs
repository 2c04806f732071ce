//! Opening: envelope in, content out. The order is the protocol's promise to whoever is flooded with forgeries: look the
//! tag up, hash, open the small header over the body's hash, and only then derive keys.

use crate::codec::Reader;
use crate::crypto::aead::AEAD_STACK;
use crate::crypto::{STEP_STACK, scrubbed};
use crate::error::OpenError;
use crate::keys::UnixTime;
use crate::message::Opening;
use crate::ratchet::{ChainKeys, Place, ReceiveError, ReceiveStep, SkippedDelta, TagSink};
use crate::secret::{GuardedVec, guard, guarded};
use crate::session::{Content, GroupContent, Prefix, Session, SessionStatus, answer_is_owed};
use crate::wire::attachment::Attachment;
use crate::wire::control::{Control, decode_receipt};
use crate::wire::envelope::Envelope;
use crate::wire::payload::{CONTENT_OFFSET, Payload, PayloadKind};
use crate::wire::sealed::{HEADER_LEN, Header, Tag};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::{fmt, mem};

/// A message that was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Opened {
    /// What it holds.
    pub content: Content,
    /// Its name.
    pub tag: Tag,
    /// Keys of skipped messages that were lost to the bound on them ([`crate::limits::MAX_SKIPPED`]): as many messages
    /// can't be opened any more.
    pub lost: u32,
    /// Whether it carried a broken fragment of key material. The content is whole.
    pub bad_fragment: bool,
}

/// Opens a header under the keys of a chain: everything in the envelope is then the peer's. `is_tag` says whether the
/// envelope's tag is that of the header's position.
pub(super) fn open_header(
    opening: &Opening<'_>,
    keys: &ChainKeys,
    context: &[u8; 32],
    is_tag: impl FnOnce(u32) -> bool,
) -> Option<AuthenticHeader> {
    let bytes = scrubbed::<AEAD_STACK, _>(|| opening.header(keys.header_key(), context))?;
    let header = Reader::whole(&bytes, Header::read).ok()?;
    is_tag(header.n).then_some(AuthenticHeader { header, bytes })
}

/// A header that opened, and its bytes as they were.
pub(super) struct AuthenticHeader {
    pub(super) header: Header,
    bytes: [u8; HEADER_LEN],
}

/// What opening a message changes in a session.
pub(crate) struct OpenStep {
    receive: ReceiveStep,
    confirmation: Option<Confirmation>,
}

struct Confirmation {
    confirmed: bool,
    prefix: Option<Prefix>,
}

impl fmt::Debug for OpenStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpenStep")
    }
}

impl OpenStep {
    fn empty() -> Self {
        Self { receive: ReceiveStep::empty(), confirmation: None }
    }

    pub(crate) fn changed_blocks(&self) -> impl Iterator<Item = u64> {
        self.receive.changed_blocks()
    }
}

/// A planned opening.
pub(crate) struct PlannedOpen<S = Box<OpenStep>> {
    pub(crate) step: S,
    pub(crate) opened: Opened,
    /// The session's status with it.
    pub(crate) status: SessionStatus,
    /// Whether it is the first message of a chain.
    pub(crate) begins_chain: bool,
    /// Whether an answer is owed with it, if nothing else is sealed.
    pub(crate) owes_answer: bool,
}

impl Session {
    /// Opens a message of the peer's. Store the session together with the plaintext. Keys of messages that are passed over
    /// are kept from `now` on ([`Self::forget_skipped`]).
    ///
    /// # Errors
    /// [`OpenError`]; nothing has changed. [`OpenError::Unknown`] says that the message is not of this session, or too
    /// far ahead to be recognised by its tag ([`Self::search`]).
    pub fn open(&mut self, envelope: &Envelope<'_>, now: UnixTime) -> Result<Opened, OpenError> {
        self.open_into(envelope, Vec::new(), now)
    }

    /// As [`Self::open`], with a buffer for the content: [`Content::Message`] gives it back. What is in it is wiped. Nothing is
    /// allocated if it has room for the whole envelope and a chain goes on, once KEM keys have travelled.
    ///
    /// # Errors
    /// As [`Self::open`]; nothing has changed.
    pub fn open_into(&mut self, envelope: &Envelope<'_>, buffer: Vec<u8>, now: UnixTime) -> Result<Opened, OpenError> {
        let buffer = guard(buffer);
        let place = self.ratchet.locate(&envelope.tag()).ok_or(OpenError::Unknown)?;
        scrubbed::<STEP_STACK, _>(|| {
            let opening = Opening::with_buffer(envelope, buffer);
            let header = self.header_at(place, &opening)?;
            self.open_authentic(place, &header, &opening, now)
        })
    }

    /// Like [`Self::open`], also for a message that is more than [`crate::limits::TAG_WINDOW`] ahead: costs at most two
    /// small decryptions if the message is not of this session.
    ///
    /// # Errors
    /// [`OpenError`]; nothing has changed.
    pub fn search(&mut self, envelope: &Envelope<'_>, now: UnixTime) -> Result<Opened, OpenError> {
        scrubbed::<STEP_STACK, _>(|| {
            let opening = Opening::new(envelope);
            let (place, header) = self.header_anywhere(&opening)?;
            self.open_authentic(place, &header, &opening, now)
        })
    }

    pub(super) fn open_authentic(
        &mut self,
        place: Place,
        header: &AuthenticHeader,
        opening: &Opening<'_>,
        now: UnixTime,
    ) -> Result<Opened, OpenError> {
        let mut step = OpenStep::empty();
        let planned = self.plan_authentic(place, header, opening, now, &mut step)?;
        self.swap_open(planned.step, &mut ());
        Ok(planned.opened)
    }

    /// Where a tag belongs.
    pub(crate) fn locate(&self, tag: &Tag) -> Option<Place> {
        self.ratchet.locate(tag)
    }

    /// Plans to open a message whose tag was found at this place. The step is kept on the heap until it is stored.
    pub(crate) fn plan_open(
        &self,
        place: Place,
        opening: &Opening<'_>,
        now: UnixTime,
    ) -> Result<PlannedOpen, OpenError> {
        scrubbed::<STEP_STACK, _>(|| self.plan_boxed(place, &self.header_at(place, opening)?, opening, now))
    }

    /// Plans to open a message that may be anywhere in the current or the next receiving chain.
    pub(crate) fn plan_search(&self, opening: &Opening<'_>, now: UnixTime) -> Result<PlannedOpen, OpenError> {
        scrubbed::<STEP_STACK, _>(|| {
            let (place, header) = self.header_anywhere(opening)?;
            self.plan_boxed(place, &header, opening, now)
        })
    }

    fn plan_boxed(
        &self,
        place: Place,
        header: &AuthenticHeader,
        opening: &Opening<'_>,
        now: UnixTime,
    ) -> Result<PlannedOpen, OpenError> {
        let mut step = Box::new(OpenStep::empty());
        let PlannedOpen { opened, status, begins_chain, owes_answer, .. } =
            self.plan_authentic(place, header, opening, now, &mut step)?;
        Ok(PlannedOpen { step, opened, status, begins_chain, owes_answer })
    }

    fn header_at(&self, place: Place, opening: &Opening<'_>) -> Result<AuthenticHeader, OpenError> {
        if place == Place::Spent {
            return Err(OpenError::Duplicate);
        }
        self.open_header(place, opening).ok_or(OpenError::Rejected)
    }

    fn open_header(&self, place: Place, opening: &Opening<'_>) -> Option<AuthenticHeader> {
        let is_tag = |n| self.ratchet.is_tag(place, n, opening.tag());
        open_header(opening, self.ratchet.keys_at(place)?, self.ratchet.context(), is_tag)
    }

    fn header_anywhere(&self, opening: &Opening<'_>) -> Result<(Place, AuthenticHeader), OpenError> {
        if let Some(place) = self.ratchet.locate(opening.tag()) {
            return self.header_at(place, opening).map(|header| (place, header));
        }
        let mut places = [Place::Current, Place::Next].into_iter();
        places.find_map(|place| Some((place, self.open_header(place, opening)?))).ok_or(OpenError::Unknown)
    }

    /// From here on the whole envelope is the peer's. What it changes is written to where it stays.
    fn plan_authentic<'s>(
        &self,
        place: Place,
        header: &AuthenticHeader,
        opening: &Opening<'_>,
        now: UnixTime,
        step: &'s mut OpenStep,
    ) -> Result<PlannedOpen<&'s mut OpenStep>, OpenError> {
        let peer = self.peer_fingerprint;
        let (receive, mut message_key) = (&mut step.receive, guarded());
        let received = self.ratchet.plan_receive(place, &header.header, now, receive, &mut message_key);
        let begins_chain = received.map_err(|error| match error {
            ReceiveError::Duplicate => OpenError::Duplicate,
            ReceiveError::TooFarAhead => OpenError::TooFarAhead(peer),
            ReceiveError::Diverged => OpenError::Diverged(peer),
            ReceiveError::Violation => OpenError::Violation(peer),
        })?;
        let body = opening
            .body(&message_key, self.ratchet.context(), &header.bytes, &header.header.nonce)
            .ok_or(OpenError::Diverged(peer))?;
        let (content, bad_fragment) = read_body(body, receive).ok_or(OpenError::Violation(peer))?;
        // An initiator is confirmed by any message; a responder by one that answers to a message of its own.
        let confirms = !self.confirmed && (self.initiator || begins_chain);
        let opened = Opened { content, tag: *opening.tag(), lost: receive.lost(), bad_fragment };
        let turns = self.ratchet.turns().saturating_add(u32::from(begins_chain));
        let skipped = receive.skipped_after(self.ratchet.skipped().len());
        let status = self.status().at(self.confirmed || confirms, receive.kem_epochs(), turns, skipped);
        let sent = if begins_chain { 0 } else { self.ratchet.unanswered() };
        let owes_answer = receive.received().is_some_and(|received| answer_is_owed(received, sent));
        step.confirmation = confirms.then_some(Confirmation { confirmed: true, prefix: None });
        Ok(PlannedOpen { step, opened, status, begins_chain, owes_answer })
    }

    /// Whether an envelope whose tag was consumed is the peer's all the same: its header opens.
    pub(crate) fn is_authentic(&self, opening: &Opening<'_>) -> bool {
        scrubbed::<STEP_STACK, _>(|| {
            let keys = self.ratchet.consumed_keys(opening.tag());
            let is_tag = |keys: &ChainKeys, n| keys.is_tag(n, opening.tag());
            keys.is_some_and(|keys| open_header(opening, keys, self.ratchet.context(), |n| is_tag(keys, n)).is_some())
        })
    }

    /// Deletes keys of messages that were passed over before a moment, and returns how many: what was withheld so long opens
    /// no more, also for whoever steals the session.
    pub fn forget_skipped(&mut self, before: UnixTime) -> usize {
        let delta = self.ratchet.skipped().plan_expire(before);
        delta.map_or(0, |mut delta| {
            let count = self.ratchet.skipped().len().saturating_sub(delta.count_after(self.ratchet.skipped().len()));
            self.ratchet.swap_skipped(&mut delta, &mut ());
            count
        })
    }

    /// Exchanges skipped keys with what a plan holds.
    pub(crate) fn swap_skipped(&mut self, delta: &mut SkippedDelta, sink: &mut dyn TagSink) {
        self.ratchet.swap_skipped(delta, sink);
    }

    /// Exchanges the state with what a plan holds, and tells the sink which tags come and go.
    pub(crate) fn swap_open(&mut self, step: &mut OpenStep, sink: &mut dyn TagSink) {
        self.ratchet.swap_receive(&mut step.receive, sink);
        if let Some(confirmation) = &mut step.confirmation {
            mem::swap(&mut self.confirmed, &mut confirmation.confirmed);
            mem::swap(&mut self.prefix, &mut confirmation.prefix);
        }
    }
}

/// Reads a body, takes its fragments in, and leaves the content in the buffer it came in. `None` when the commitment, the layout or the content
/// is not as it must be.
fn read_body(mut body: GuardedVec, step: &mut ReceiveStep) -> Option<(Content, bool)> {
    let payload = Payload::decode(&body).ok()?;
    let end = CONTENT_OFFSET.checked_add(payload.content_len)?;
    let bad_fragment = !step.take_in(&payload.fragments) || payload.fragments.bad;
    let content = match payload.kind {
        PayloadKind::Application => {
            body.truncate(end);
            body.drain(..CONTENT_OFFSET.min(end));
            Content::Message(mem::take(&mut *body))
        }
        PayloadKind::Receipt => Content::Receipt(decode_receipt(body.get(CONTENT_OFFSET..end)?).ok()?),
        kind @ (PayloadKind::Announcement | PayloadKind::Roster) => {
            body.truncate(end);
            body.drain(..CONTENT_OFFSET.min(end));
            Content::Group(GroupContent { kind, bytes: body })
        }
        PayloadKind::Attachment => {
            let mut reader = Reader::new(body.get(CONTENT_OFFSET..end)?);
            let attachment = Attachment::read(&mut reader).ok()?;
            Content::Attachment(attachment, reader.rest().to_vec())
        }
        PayloadKind::LongMessage => {
            Content::LongMessage(Reader::whole(body.get(CONTENT_OFFSET..end)?, Attachment::read).ok()?)
        }
        PayloadKind::Control => Content::Control(Control::decode(body.get(CONTENT_OFFSET..end)?).ok()?),
    };
    Some((content, bad_fragment))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::padding::Padding;
    use crate::session::testing::Pair;
    use alloc::collections::{BTreeMap, BTreeSet};

    /// A sender falls back to old images again and again, within a chain and across root steps, and a clone of the
    /// receiver follows each time: whatever body key two messages share, their nonces differ.
    #[test]
    fn restored_old_image_never_repeats_a_body_key_and_nonce() {
        let Pair { mut alice, mut bob, identities, mut rng, .. } = Pair::answered();

        // Alice is about to take a root step, and later in the middle of a chain.
        let mut used: BTreeSet<([u8; 32], [u8; 12])> = BTreeSet::new();
        let mut keys: BTreeMap<[u8; 32], u32> = BTreeMap::new();
        for sealed_before in [0, 1, 3] {
            for _ in 0..sealed_before {
                let bytes = alice.seal(b"on", Padding::default(), &mut rng).unwrap();
                bob.open(&Envelope::parse(&bytes).unwrap(), crate::keys::UnixTime(1)).unwrap();
            }
            let (old_alice, old_bob) = (alice.to_state(), bob.to_state());
            for _ in 0..50 {
                let mut alice = Session::from_state(old_alice.expose(), &identities[0]).unwrap();
                let mut bob = Session::from_state(old_bob.expose(), &identities[1]).unwrap();
                for _ in 0..4 {
                    let bytes = alice.seal(b"text", Padding::default(), &mut rng).unwrap();
                    let envelope = Envelope::parse(&bytes).unwrap();
                    let opening = Opening::new(&envelope);
                    let place = bob.locate(opening.tag()).unwrap();
                    let header = bob.open_header(place, &opening).unwrap();
                    let (mut step, mut key) = (ReceiveStep::empty(), guarded());
                    bob.ratchet.plan_receive(place, &header.header, UnixTime(1), &mut step, &mut key).unwrap();
                    *keys.entry(*key).or_default() += 1;
                    let fresh = used.insert((*key, header.header.nonce));
                    assert!(fresh, "a body key and nonce were repeated");
                    bob.open(&envelope, crate::keys::UnixTime(1)).unwrap();
                }
            }
        }
        // The test would notice: keys do repeat, where only a chain was rolled back.
        assert!(keys.values().any(|count| *count >= 50), "no key was ever repeated");
    }

    /// Two futures of one image that have both taken a root step: the other side can follow one of them only.
    #[test]
    fn root_step_taken_twice_has_diverged() {
        let Pair { mut alice, bob, identities, names, mut rng } = Pair::new();
        let image = bob.to_state();
        let [mut one, mut two] = [(); 2].map(|()| Session::from_state(image.expose(), &identities[1]).unwrap());
        let from_one = one.seal(b"one", Padding::default(), &mut rng).unwrap();
        two.seal(b"zero", Padding::default(), &mut rng).unwrap();
        let from_two = two.seal(b"two", Padding::default(), &mut rng).unwrap();
        alice.open(&Envelope::parse(&from_one).unwrap(), crate::keys::UnixTime(1)).unwrap();
        let before = alice.to_state().expose().to_vec();
        let diverged = alice.open(&Envelope::parse(&from_two).unwrap(), crate::keys::UnixTime(1));
        assert_eq!(diverged, Err(OpenError::Diverged(names[1])));
        assert_eq!(alice.to_state().expose(), before);
    }
}
