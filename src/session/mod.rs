//! A session with one peer: seals and opens envelopes. docs/PROTOCOL.md, "Session".
//!
//! Most embedders use [`crate::Device`], which owns many sessions, finds the one that an envelope belongs to, and says
//! what to store. A session alone is for those who bring a router and a store of their own:
//!
//! ```
//! use sceau::prekey::{PreKeyLifetimes, PreKeyStore, Rotation, VerifiedPreKeyBundle};
//! use sceau::session::{Content, Session};
//! use sceau::{Envelope, IdentityKeyPair, Padding, UnixTime};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (mut rng, now, lifetimes) = (rand::rng(), UnixTime::from_secs(1_800_000_000)?, PreKeyLifetimes::default());
//! let (alice, bob) = (IdentityKeyPair::generate(&mut rng), IdentityKeyPair::generate(&mut rng));
//! let mut prekeys = PreKeyStore::new();
//! let bundle = prekeys.publish(&bob, 1, Rotation::IfDue, &lifetimes, now, &mut rng)?.into_entry()?.take_bundle();
//!
//! let bundle = VerifiedPreKeyBundle::verify(bundle, now)?;
//! let mut to_bob = Session::initiate(&alice, None, &bundle, now.as_secs(), &mut rng)?;
//! let bytes = to_bob.seal(b"Bonjour", Padding::default(), &mut rng)?;
//!
//! let accepted = Session::accept(&bob, &prekeys, &Envelope::parse(&bytes)?, &lifetimes, now)?;
//! let (mut to_alice, opened) = accepted.settle(&mut prekeys)?;
//! assert!(matches!(opened.content, Content::Message(text) if text == b"Bonjour"));
//!
//! let reply = to_alice.seal(b"Salut", Padding::default(), &mut rng)?;
//! assert!(matches!(to_bob.open(&Envelope::parse(&reply)?, now)?.content, Content::Message(text) if text == b"Salut"));
//! # Ok(())
//! # }
//! ```
//!
//! **Persist, then transmit**: store [`Session::to_state`] after sealing and before the bytes leave, and together with
//! the plaintext after opening. Who does not loses messages after a restart, never secrecy.

mod accept;
mod authentication;
mod export;
mod image;
mod open;
mod seal;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(feature = "vectors")]
#[allow(clippy::arithmetic_side_effects, reason = "no product code")]
pub(crate) mod trace;

pub use crate::wire::control::{Control, Rank};
pub use accept::Accepted;
pub use authentication::Authentication;
pub use export::ExportedKey;
pub use open::Opened;

pub(crate) use open::{OpenStep, PlannedOpen};
pub(crate) use seal::SealStep;

use crate::crypto::{HANDSHAKE_STACK, scrubbed};
use crate::error::HandshakeError;
use crate::handshake::{self, Initiated, Shown};
use crate::identity::IdentityKeyPair;
use crate::keys::{Fingerprint, IdentityKey, MailboxAddress, SessionId};
use crate::limits::ANSWER_AFTER;
use crate::prekey::VerifiedPreKeyBundle;
use crate::ratchet::{Ratchet, TagSink};
use crate::secret::{GuardedVec, Secret};
use crate::wire::attachment::Attachment;
use crate::wire::certificate::Certificate;
use crate::wire::introduction::{PREFIX_LEN, prefix_hash};
use crate::wire::payload::PayloadKind;
use crate::wire::sealed::Tag;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use rand_core::CryptoRng;

/// What a message holds.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Content {
    /// What the application sealed.
    Message(Vec<u8>),
    /// What opens content that travels beside the message, and a note on it.
    Attachment(Attachment, Vec<u8>),
    /// What opens a message that travels beside its envelope, being too long for one.
    LongMessage(Attachment),
    /// The peer has read these messages.
    Receipt(Vec<Tag>),
    /// What the other side's device says to this one.
    Control(Control),
    /// What members of a group tell each other, for [`crate::Device`].
    Group(GroupContent),
}

/// A commit, a welcome or a sender chain of a group: it may hold keys, and shows nothing.
#[derive(Clone)]
pub struct GroupContent {
    pub(crate) kind: PayloadKind,
    pub(crate) bytes: GuardedVec,
}

impl fmt::Debug for GroupContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, {} bytes", self.kind, self.bytes.len())
    }
}

impl PartialEq for GroupContent {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && crate::crypto::aead::equal(&self.bytes, &other.bytes)
    }
}

impl Eq for GroupContent {}

/// What a session can say of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionStatus {
    /// Its name, the same on both sides.
    pub id: SessionId,
    /// Whether this side introduced itself.
    pub initiator: bool,
    /// Whether the peer has shown that it holds the session too. Before that, an initiator's messages are
    /// introductions, and nothing says that they arrive.
    pub confirmed: bool,
    /// Whether a one-time prekey was used: then the first messages are forward secret from the moment they are
    /// opened, else from the end of the signed prekey.
    pub one_time_prekey: bool,
    /// When the initiator made it, in its own time.
    pub created_at: u64,
    /// Whether the peer has shown that it holds its identity's ML-KEM-1024 key.
    pub authentication: Authentication,
    /// How many KEM secrets are mixed into the session after the handshake's: those that this side offered, and those that
    /// the peer did. Each locks out whoever stole a state before it began, quantum computer or not. The one that proves the
    /// initiator's identity does not count: it falls with the identity.
    pub kem_epochs: (u32, u32),
    /// Message keys kept for messages that were skipped.
    pub skipped: usize,
}

impl SessionStatus {
    /// How many ML-KEM-1024 secrets the session's keys depend on, each beside X25519: the two of the handshake, and those of
    /// [`Self::kem_epochs`]. There is no session without the two.
    pub fn kem_secrets(&self) -> u32 {
        self.kem_epochs.0.saturating_add(self.kem_epochs.1).saturating_add(2)
    }

    /// The status with what moves with each message.
    fn at(self, confirmed: bool, (offered, answered): (u32, u32), turns: u32, skipped: usize) -> Self {
        let shown = authentication::is_proved(self.initiator, confirmed, answered);
        let (ours, theirs) = if self.initiator { (1, 0) } else { (0, 1) };
        let kem_epochs = (offered.saturating_sub(ours), answered.saturating_sub(theirs));
        Self { confirmed, authentication: Authentication::new(shown, turns), kem_epochs, skipped, ..self }
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(content) => write!(f, "Message({} bytes)", content.len()),
            Self::Attachment(attachment, note) => write!(f, "{attachment:?} with {} bytes", note.len()),
            Self::LongMessage(attachment) => f.debug_tuple("LongMessage").field(attachment).finish(),
            Self::Receipt(tags) => f.debug_tuple("Receipt").field(tags).finish(),
            Self::Group(content) => f.debug_tuple("Group").field(content).finish(),
            Self::Control(control) => f.debug_tuple("Control").field(control).finish(),
        }
    }
}

/// One side of a session with one peer.
pub struct Session {
    id: SessionId,
    peer: IdentityKey,
    peer_fingerprint: Fingerprint,
    rank: Rank,
    initiator: bool,
    one_time: bool,
    confirmed: bool,
    /// The initiator's, until it is confirmed.
    prefix: Option<Prefix>,
    /// What exported keys come from.
    exporter: Secret<32>,
    ratchet: Ratchet,
}

impl fmt::Debug for Session {
    /// Names only: tags that are still to come would let whoever reads a log recognise envelopes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("id", &self.id).field("peer", &self.peer_fingerprint).finish_non_exhaustive()
    }
}

/// For [`ANSWER_AFTER`] messages one in return.
fn answer_is_owed(received: u32, sent: u32) -> bool {
    received / ANSWER_AFTER > sent
}

struct Prefix {
    bytes: Box<[u8; PREFIX_LEN]>,
    hash: [u8; 32],
}

impl Prefix {
    fn new(bytes: Box<[u8; PREFIX_LEN]>) -> Self {
        let hash = prefix_hash(&bytes);
        Self { bytes, hash }
    }
}

impl Session {
    /// Introduces `identity` to the owner of a bundle, with its certificate if it has one. `created_at` ranks the session among others with the same peer:
    /// the present time, and more than any that is known for this peer. Draws 64 bytes: the ephemeral key, then the
    /// encapsulation's randomness.
    ///
    /// A bundle's one-time prekey serves one introduction
    /// ([`VerifiedPreKeyBundle::without_one_time`]).
    ///
    /// # Errors
    /// [`HandshakeError`]: a weak key in the bundle, or `created_at` at its end.
    pub fn initiate<R: CryptoRng + ?Sized>(
        identity: &IdentityKeyPair,
        certificate: Option<&Certificate>,
        bundle: &VerifiedPreKeyBundle,
        created_at: u64,
        rng: &mut R,
    ) -> Result<Self, HandshakeError> {
        Self::initiate_after(None, identity, certificate, bundle, created_at, rng)
    }

    /// The same, and shows the peer that this side holds a session with it: so it knows that no state was lost
    /// ([`Accepted::continues`]).
    ///
    /// # Errors
    /// As [`Self::initiate`].
    pub fn initiate_after<R: CryptoRng + ?Sized>(
        before: Option<&Self>,
        identity: &IdentityKeyPair,
        certificate: Option<&Certificate>,
        bundle: &VerifiedPreKeyBundle,
        created_at: u64,
        rng: &mut R,
    ) -> Result<Self, HandshakeError> {
        Self::initiate_showing([before, None], identity, certificate, bundle, created_at, rng)
    }

    /// The same with two sessions: which of them the peer holds, and takes for this side's, is not always known.
    pub(crate) fn initiate_showing<R: CryptoRng + ?Sized>(
        before: [Option<&Self>; 2],
        identity: &IdentityKeyPair,
        certificate: Option<&Certificate>,
        bundle: &VerifiedPreKeyBundle,
        created_at: u64,
        rng: &mut R,
    ) -> Result<Self, HandshakeError> {
        let before = before.map(|before| before.map(|before| before.ratchet.sending_header_secret().expose()));
        scrubbed::<HANDSHAKE_STACK, _>(|| {
            let initiated = handshake::initiate(identity, certificate, bundle, created_at, before, rng)?;
            Ok(Self::initiated(identity, initiated, bundle, created_at))
        })
    }

    fn initiated(
        identity: &IdentityKeyPair,
        initiated: Initiated,
        bundle: &VerifiedPreKeyBundle,
        created_at: u64,
    ) -> Self {
        Self {
            id: SessionId::derive(&initiated.secrets.context),
            peer: *bundle.identity(),
            peer_fingerprint: bundle.fingerprint(),
            rank: Rank { created_at, transcript: initiated.transcript },
            initiator: true,
            one_time: bundle.has_one_time(),
            confirmed: false,
            prefix: Some(Prefix::new(initiated.prefix)),
            ratchet: Ratchet::initiator(&initiated.secrets, bundle.signed().fields.dh, identity.kem()),
            exporter: initiated.secrets.exporter,
        }
    }

    /// The session's name on this device; the peer's device gives it the same.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// The peer's public identity.
    pub fn peer(&self) -> &IdentityKey {
        &self.peer
    }

    /// The peer's name.
    pub fn peer_fingerprint(&self) -> Fingerprint {
        self.peer_fingerprint
    }

    /// Its rank among the sessions with this peer: both sides send on the one with the greatest.
    pub fn rank(&self) -> Rank {
        self.rank
    }

    /// What the session can say of itself.
    pub fn status(&self) -> SessionStatus {
        let status = SessionStatus {
            id: self.id,
            initiator: self.initiator,
            confirmed: false,
            one_time_prekey: self.one_time,
            created_at: self.rank.created_at,
            authentication: Authentication::Unproved { turns: 0 },
            kem_epochs: (0, 0),
            skipped: 0,
        };
        let ratchet = &self.ratchet;
        status.at(self.confirmed, ratchet.kem_epochs(), ratchet.turns(), ratchet.skipped().len())
    }

    /// Where what is sealed now goes: an address that changes with each turn, on which the peer listens. `None` while this
    /// side's introduction is unanswered: that goes where the peer has published that introductions go.
    pub fn mailbox(&self) -> Option<MailboxAddress> {
        self.is_answered().then(|| self.ratchet.send_mailbox())
    }

    /// Where to listen for the peer's messages, the likeliest first: at most [`crate::limits::MAX_MAILBOXES`]. The list
    /// changes with what is opened.
    pub fn mailboxes(&self) -> impl Iterator<Item = MailboxAddress> {
        self.ratchet.receive_mailboxes()
    }

    /// Whether the peer is known to hold the session: it is not an introduction of this side's that waits for an answer.
    pub(crate) fn is_answered(&self) -> bool {
        self.confirmed || !self.initiator
    }

    /// Whether this side began it, or the peer has proved its identity in it: then nobody but the holder of the peer's KEM key
    /// can hold it, as far as no state was stolen.
    pub(crate) fn is_of_holder(&self) -> bool {
        self.initiator || authentication::is_proved(self.initiator, self.confirmed, self.ratchet.kem_epochs().1)
    }

    /// Whether an introduction's author has shown that it holds this session.
    pub(crate) fn is_continued_by(&self, shown: &Shown) -> bool {
        self.ratchet.receiving_header_secrets().any(|secret| shown.continues(secret.expose()))
    }

    /// Messages sealed since the peer's last turn: nobody knows whether it has opened them.
    pub fn unanswered(&self) -> u32 {
        self.ratchet.unanswered()
    }

    /// Whether the peer has written so much that an answer is owed, if nothing else is sealed.
    pub(crate) fn owes_answer(&self) -> bool {
        answer_is_owed(self.ratchet.received(), self.ratchet.unanswered())
    }

    /// Tells a sink of every tag that this side recognises.
    pub(crate) fn announce(&self, sink: &mut dyn TagSink) {
        self.ratchet.announce(sink);
    }
}
