//! Opening: envelope in, content out. The order is the protocol's promise to whoever is flooded with forgeries: look the
//! tag up, hash, open the small header over the body's hash, and only then derive keys.

use crate::codec::Reader;
use crate::crypto::{HANDSHAKE_STACK, STEP_STACK, scrubbed};
use crate::error::OpenError;
use crate::handshake::{self, Responded};
use crate::identity::IdentityKeyPair;
use crate::keys::{SessionId, UnixTime};
use crate::limits::MAX_FIRST_JUMP;
use crate::message::Opening;
use crate::prekey::{PreKeyChange, PreKeyLifetimes, PreKeyStore};
use crate::ratchet::{ChainKeys, Incoming, Place, Ratchet, ReceiveError, ReceiveStep, TagSink};
use crate::secret::{GuardedVec, guard};
use crate::session::{Content, GroupContent, Prefix, Rank, Session, SessionStatus};
use crate::wire::attachment::Attachment;
use crate::wire::certificate::Certificate;
use crate::wire::control::{Control, decode_receipt};
use crate::wire::envelope::Envelope;
use crate::wire::introduction::IntroductionId;
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
fn open_header(
    opening: &Opening<'_>,
    keys: &ChainKeys,
    context: &[u8; 32],
    is_tag: impl FnOnce(u32) -> bool,
) -> Option<AuthenticHeader> {
    let bytes = opening.header(keys.header_key(), context)?;
    let header = Reader::whole(&bytes, Header::read).ok()?;
    is_tag(header.n).then_some(AuthenticHeader { header, bytes })
}

/// A header that opened, and its bytes as they were.
struct AuthenticHeader {
    header: Header,
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
}

impl PlannedOpen<OpenStep> {
    fn boxed(self) -> PlannedOpen {
        let Self { step, opened, status, begins_chain } = self;
        PlannedOpen { step: Box::new(step), opened, status, begins_chain }
    }
}

/// An introduction that was accepted: the session, the message, and what the prekey store has to forget and to keep.
#[derive(Debug)]
#[must_use = "settle it with the prekey store, and store both"]
pub struct Accepted {
    pub(crate) session: Session,
    pub(crate) opened: Unclaimed,
    pub(crate) changes: Vec<PreKeyChange>,
    pub(crate) certificate: Option<Certificate>,
}

/// A message that was opened: its content is wiped if nobody takes it.
#[derive(Debug)]
pub(crate) struct Unclaimed(Opened);

impl Unclaimed {
    pub(crate) fn take(mut self) -> Opened {
        let Opened { content, tag, lost, bad_fragment } = &mut self.0;
        let content = mem::replace(content, Content::Receipt(Vec::new()));
        Opened { content, tag: *tag, lost: *lost, bad_fragment: *bad_fragment }
    }
}

impl Drop for Unclaimed {
    fn drop(&mut self) {
        if let Content::Message(text) | Content::Attachment(_, text) = &mut self.0.content {
            guard(mem::take(text));
        }
    }
}

impl Accepted {
    /// The session that the introduction makes.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The certificate that its author shows. It was not checked
    /// ([`crate::certificate::CertificatePolicy::check`]).
    pub fn certificate(&self) -> Option<&Certificate> {
        self.certificate.as_ref()
    }

    /// Deletes the one-time prekey that was used, and records the introduction so that it is never accepted again.
    /// Store the session, the prekeys and the plaintext together.
    ///
    /// # Errors
    /// [`OpenError::Replayed`] or [`OpenError::PreKeyGone`] if meanwhile the same introduction, or another one with the
    /// same one-time prekey, was settled; nothing has changed.
    pub fn settle(mut self, prekeys: &mut PreKeyStore) -> Result<(Session, Opened), OpenError> {
        for change in &self.changes {
            match change {
                PreKeyChange::Introduction(id, _) if prekeys.record().get(id).is_some() => {
                    return Err(OpenError::Replayed);
                }
                PreKeyChange::OneTime(id, _) if !prekeys.has_one_time(*id) => return Err(OpenError::PreKeyGone),
                _ => {}
            }
        }
        prekeys.swap_all(&mut self.changes);
        Ok((self.session, self.opened.take()))
    }
}

impl Session {
    /// Opens a message of the peer's. Store the session together with the plaintext.
    ///
    /// # Errors
    /// [`OpenError`]; nothing has changed. [`OpenError::Unknown`] says that the message is not of this session, or too
    /// far ahead to be recognised by its tag ([`Self::search`]).
    pub fn open(&mut self, envelope: &Envelope<'_>) -> Result<Opened, OpenError> {
        self.open_into(envelope, Vec::new())
    }

    /// As [`Self::open`], with a buffer for the content: [`Content::Message`] gives it back. What is in it is wiped. Nothing is
    /// allocated if it has room for the whole envelope and a chain goes on, once KEM keys have travelled.
    ///
    /// # Errors
    /// As [`Self::open`]; nothing has changed.
    pub fn open_into(&mut self, envelope: &Envelope<'_>, buffer: Vec<u8>) -> Result<Opened, OpenError> {
        let buffer = guard(buffer);
        let place = self.ratchet.locate(&envelope.tag()).ok_or(OpenError::Unknown)?;
        scrubbed::<STEP_STACK, _>(|| {
            let opening = Opening::with_buffer(envelope, buffer);
            self.plan_at(place, &opening).map(|planned| self.settle(planned))
        })
    }

    /// Like [`Self::open`], also for a message that is more than [`crate::limits::TAG_WINDOW`] ahead: costs at most two
    /// small decryptions if the message is not of this session.
    ///
    /// # Errors
    /// [`OpenError`]; nothing has changed.
    pub fn search(&mut self, envelope: &Envelope<'_>) -> Result<Opened, OpenError> {
        scrubbed::<STEP_STACK, _>(|| self.plan_anywhere(&Opening::new(envelope)).map(|planned| self.settle(planned)))
    }

    fn settle(&mut self, mut planned: PlannedOpen<OpenStep>) -> Opened {
        self.swap_open(&mut planned.step, &mut ());
        planned.opened
    }

    /// Where a tag belongs.
    pub(crate) fn locate(&self, tag: &Tag) -> Option<Place> {
        self.ratchet.locate(tag)
    }

    /// Plans to open a message whose tag was found at this place. The step is kept on the heap until it is stored.
    pub(crate) fn plan_open(&self, place: Place, opening: &Opening<'_>) -> Result<PlannedOpen, OpenError> {
        scrubbed::<STEP_STACK, _>(|| self.plan_at(place, opening).map(PlannedOpen::boxed))
    }

    /// Plans to open a message that may be anywhere in the current or the next receiving chain.
    pub(crate) fn plan_search(&self, opening: &Opening<'_>) -> Result<PlannedOpen, OpenError> {
        scrubbed::<STEP_STACK, _>(|| self.plan_anywhere(opening).map(PlannedOpen::boxed))
    }

    fn plan_at(&self, place: Place, opening: &Opening<'_>) -> Result<PlannedOpen<OpenStep>, OpenError> {
        if place == Place::Spent {
            return Err(OpenError::Duplicate);
        }
        let header = self.open_header(place, opening).ok_or(OpenError::Rejected)?;
        self.plan_authentic(place, &header, opening)
    }

    fn open_header(&self, place: Place, opening: &Opening<'_>) -> Option<AuthenticHeader> {
        let is_tag = |n| self.ratchet.is_tag(place, n, opening.tag());
        open_header(opening, self.ratchet.keys_at(place)?, self.ratchet.context(), is_tag)
    }

    fn plan_anywhere(&self, opening: &Opening<'_>) -> Result<PlannedOpen<OpenStep>, OpenError> {
        if let Some(place) = self.ratchet.locate(opening.tag()) {
            return self.plan_at(place, opening);
        }
        for place in [Place::Current, Place::Next] {
            if let Some(header) = self.open_header(place, opening) {
                return self.plan_authentic(place, &header, opening);
            }
        }
        Err(OpenError::Unknown)
    }

    /// From here on the whole envelope is the peer's.
    fn plan_authentic(
        &self,
        place: Place,
        header: &AuthenticHeader,
        opening: &Opening<'_>,
    ) -> Result<PlannedOpen<OpenStep>, OpenError> {
        let peer = self.peer_fingerprint;
        let incoming = self.ratchet.plan_receive(place, &header.header).map_err(|error| match error {
            ReceiveError::Duplicate => OpenError::Duplicate,
            ReceiveError::TooFarAhead => OpenError::TooFarAhead(peer),
            ReceiveError::Diverged => OpenError::Diverged(peer),
            ReceiveError::Violation => OpenError::Violation(peer),
        })?;
        self.finish(incoming, header, opening)
    }

    fn finish(
        &self,
        mut incoming: Incoming,
        header: &AuthenticHeader,
        opening: &Opening<'_>,
    ) -> Result<PlannedOpen<OpenStep>, OpenError> {
        let peer = self.peer_fingerprint;
        let body = opening
            .body(&incoming.message_key, self.ratchet.context(), &header.bytes, &header.header.nonce)
            .ok_or(OpenError::Diverged(peer))?;
        let (content, bad_fragment) = read_body(body, &mut incoming.step).ok_or(OpenError::Violation(peer))?;
        // An initiator is confirmed by any message; a responder by one that answers to a message of its own.
        let begins_chain = incoming.begins_chain;
        let confirms = !self.confirmed && (self.initiator || begins_chain);
        let opened = Opened { content, tag: *opening.tag(), lost: incoming.step.lost(), bad_fragment };
        let status = SessionStatus {
            confirmed: self.confirmed || confirms,
            kem_epochs: incoming.step.kem_epochs(),
            skipped: incoming.step.skipped_after(self.ratchet.skipped().len()),
            ..self.status()
        };
        let confirmation = confirms.then_some(Confirmation { confirmed: true, prefix: None });
        Ok(PlannedOpen { step: OpenStep { receive: incoming.step, confirmation }, opened, status, begins_chain })
    }

    /// Exchanges the state with what a plan holds, and tells the sink which tags come and go.
    pub(crate) fn swap_open(&mut self, step: &mut OpenStep, sink: &mut dyn TagSink) {
        self.ratchet.swap_receive(&mut step.receive, sink);
        if let Some(confirmation) = &mut step.confirmation {
            mem::swap(&mut self.confirmed, &mut confirmation.confirmed);
            mem::swap(&mut self.prefix, &mut confirmation.prefix);
        }
    }

    /// Accepts an introduction and opens the message behind it. Changes nothing by itself: [`Accepted::settle`] does.
    ///
    /// Costs at most one handshake. Needs no randomness.
    ///
    /// # Errors
    /// [`OpenError::Unknown`] for an envelope without introduction; [`OpenError::Replayed`] for an introduction that
    /// was accepted before (give the envelope to its session instead); [`OpenError::PreKeyGone`],
    /// [`OpenError::PreKeyFull`], [`OpenError::Rejected`].
    pub fn accept(
        identity: &IdentityKeyPair,
        prekeys: &PreKeyStore,
        envelope: &Envelope<'_>,
        lifetimes: &PreKeyLifetimes,
        now: UnixTime,
    ) -> Result<Accepted, OpenError> {
        let prefix = envelope.prefix.as_ref().ok_or(OpenError::Unknown)?;
        if prekeys.record().get(&prefix.id()).is_some() {
            return Err(OpenError::Replayed);
        }
        Self::accept_new(identity, prekeys, &Opening::new(envelope), lifetimes, now, |_| Ok(()))
    }

    /// The same for an introduction that is known not to be in the record. `admit` is asked as soon as the header says
    /// who the peer is.
    pub(crate) fn accept_new(
        identity: &IdentityKeyPair,
        prekeys: &PreKeyStore,
        opening: &Opening<'_>,
        lifetimes: &PreKeyLifetimes,
        now: UnixTime,
        admit: impl FnOnce(&Responded) -> Result<(), OpenError>,
    ) -> Result<Accepted, OpenError> {
        scrubbed::<HANDSHAKE_STACK, _>(|| Self::accept_unscrubbed(identity, prekeys, opening, lifetimes, now, admit))
    }

    fn accept_unscrubbed(
        identity: &IdentityKeyPair,
        prekeys: &PreKeyStore,
        opening: &Opening<'_>,
        lifetimes: &PreKeyLifetimes,
        now: UnixTime,
        admit: impl FnOnce(&Responded) -> Result<(), OpenError>,
    ) -> Result<Accepted, OpenError> {
        let prefix = opening.envelope.prefix.as_ref().ok_or(OpenError::Unknown)?;
        let keys = prekeys.keys_for(prefix, lifetimes, now).ok_or(OpenError::PreKeyGone)?;
        let responded = handshake::respond(identity, &keys, prefix, now).ok_or(OpenError::Rejected)?;
        let id = SessionId::derive(&responded.secrets.context);
        if responded.initiator == *identity.public() {
            return Err(OpenError::Rejected);
        }
        let (session, opened) =
            Self::respond(&responded, &keys.signed.private.dh, keys.one_time.is_some(), opening, admit)?;
        // The prefix is authentic now: being full may be said.
        let entry = prekeys.record().plan(prefix.signed_id, id).ok_or(OpenError::PreKeyFull)?;
        let introduction: IntroductionId = prefix.id();
        let mut changes = Vec::from([PreKeyChange::Introduction(introduction, Some(entry))]);
        if let Some((one_time_id, _)) = keys.one_time {
            changes.push(PreKeyChange::OneTime(one_time_id, None));
        }
        Ok(Accepted { session, opened, changes, certificate: responded.certificate })
    }

    fn respond(
        responded: &Responded,
        signed_prekey: &crate::crypto::dh::DhPrivate,
        one_time: bool,
        opening: &Opening<'_>,
        admit: impl FnOnce(&Responded) -> Result<(), OpenError>,
    ) -> Result<(Self, Unclaimed), OpenError> {
        let secrets = &responded.secrets;
        let keys = ChainKeys::derive(secrets.initiator_header.expose(), &secrets.context);
        let is_tag = |n| keys.is_tag(n, opening.tag());
        let header = open_header(opening, &keys, &secrets.context, is_tag).ok_or(OpenError::Rejected)?;
        let peer_fingerprint = responded.initiator.fingerprint();
        admit(responded)?;
        // Whatever is wrong from here on is the fault of someone who has no session with this device, and gets none.
        let Header { previous_chain_len, n, kem_epoch, .. } = header.header;
        if previous_chain_len != 0 || kem_epoch != 0 || n > MAX_FIRST_JUMP {
            return Err(OpenError::Rejected);
        }
        let ratchet =
            Ratchet::responder(secrets, keys, signed_prekey, &header.header).map_err(|_| OpenError::Rejected)?;
        let mut session = Self {
            id: SessionId::derive(&secrets.context),
            peer: responded.initiator,
            peer_fingerprint,
            rank: Rank { created_at: responded.created_at, transcript: responded.transcript },
            initiator: false,
            one_time,
            confirmed: false,
            prefix: None,
            ratchet,
        };
        let planned = session.plan_authentic(Place::Current, &header, opening).map_err(|_| OpenError::Rejected)?;
        let opened = Unclaimed(session.settle(planned));
        Ok((session, opened))
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
        let Pair { mut alice, mut bob, names, mut rng } = Pair::answered();

        // Alice is about to take a root step, and later in the middle of a chain.
        let mut used: BTreeSet<([u8; 32], [u8; 12])> = BTreeSet::new();
        let mut keys: BTreeMap<[u8; 32], u32> = BTreeMap::new();
        for sealed_before in [0, 1, 3] {
            for _ in 0..sealed_before {
                let bytes = alice.seal(b"on", Padding::default(), &mut rng).unwrap();
                bob.open(&Envelope::parse(&bytes).unwrap()).unwrap();
            }
            let (old_alice, old_bob) = (alice.to_state(), bob.to_state());
            for _ in 0..50 {
                let mut alice = Session::from_state(old_alice.expose(), names[0]).unwrap();
                let mut bob = Session::from_state(old_bob.expose(), names[1]).unwrap();
                for _ in 0..4 {
                    let bytes = alice.seal(b"text", Padding::default(), &mut rng).unwrap();
                    let envelope = Envelope::parse(&bytes).unwrap();
                    let opening = Opening::new(&envelope);
                    let place = bob.locate(opening.tag()).unwrap();
                    let header = bob.open_header(place, &opening).unwrap();
                    let incoming = bob.ratchet.plan_receive(place, &header.header).unwrap();
                    *keys.entry(*incoming.message_key).or_default() += 1;
                    let fresh = used.insert((*incoming.message_key, header.header.nonce));
                    assert!(fresh, "a body key and nonce were repeated");
                    bob.open(&envelope).unwrap();
                }
            }
        }
        // The test would notice: keys do repeat, where only a chain was rolled back.
        assert!(keys.values().any(|count| *count >= 50), "no key was ever repeated");
    }

    /// Two futures of one image that have both taken a root step: the other side can follow one of them only.
    #[test]
    fn root_step_taken_twice_has_diverged() {
        let Pair { mut alice, bob, names, mut rng } = Pair::new();
        let image = bob.to_state();
        let [mut one, mut two] = [(); 2].map(|()| Session::from_state(image.expose(), names[1]).unwrap());
        let from_one = one.seal(b"one", Padding::default(), &mut rng).unwrap();
        two.seal(b"zero", Padding::default(), &mut rng).unwrap();
        let from_two = two.seal(b"two", Padding::default(), &mut rng).unwrap();
        alice.open(&Envelope::parse(&from_one).unwrap()).unwrap();
        let before = alice.to_state().expose().to_vec();
        let diverged = alice.open(&Envelope::parse(&from_two).unwrap());
        assert_eq!(diverged, Err(OpenError::Diverged(names[1])));
        assert_eq!(alice.to_state().expose(), before);
    }
}
