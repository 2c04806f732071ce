//! The facade: one device, its identity, prekeys, peers and sessions; envelopes in, events out.
//!
//! Every call that changes something returns a [`Pending`]: the plan, the result, and the records to store. Nothing has
//! changed until [`Pending::commit`] was given a place to store them and that succeeded: **persist, then transmit** is
//! the only order there is. Dropping a `Pending`, or failing to store, leaves the device as it was.

mod accept;
mod certificates;
mod changes;
mod debts;
mod event;
mod fanout;
mod group;
mod group_attached;
mod group_chains;
mod group_debts;
mod group_open;
mod group_questions;
mod group_records;
mod group_waiting;
mod index;
mod mailbox;
mod manage;
mod notice;
mod open;
mod peer;
mod pending;
mod plan;
mod policy;
mod recent;
mod recover;

mod records;
mod seal;
#[cfg(test)]
mod tests;
mod trust;

pub use changes::{Changes, MailboxChanges, Record, RecordKey};
pub use event::{Event, GroupEvent, MemberStatus, MessageStatus, Opened, PeerStatus, PreKeyStatus, Search, Unreadable};
pub use fanout::{Delivery, SealedMany, Unreachable};
pub use group::{GroupChange, GroupCommitted, GroupSealed, GroupStatus};
pub use notice::{Notice, OwedId};
pub use pending::{Pending, Prepared};
pub use policy::Policy;
pub use recover::{Lost, Recovered, Why};
pub use seal::Sealed;

use crate::certificate::Certificate;
use crate::crypto::kdf::MacKey;
use crate::error::UnknownSession;
use crate::group::{ChainId, Group, GroupId, MemberChain, OwnChain};
use crate::identity::IdentityKeyPair;
use crate::keys::{Fingerprint, IdentityKey, SessionId, UnixTime};
use crate::prekey::PreKeyStore;
use crate::secret::Secret;
use crate::session::{ExportedKey, Rank, Session};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use changes::Head;
use core::fmt;
use debts::{Debts, Waiting};
use index::TagIndex;
use peer::Peer;
use rand_core::CryptoRng;
use recent::Recent;

/// One device of a person. See the [crate's page](crate) for the whole of it in twenty lines.
///
/// A peer is a [`Fingerprint`]; nothing else names anyone. Time is an argument; randomness is an argument of what needs
/// it; opening needs none.
pub struct Device {
    identity: IdentityKeyPair,
    record_secret: Secret<32>,
    record_key: MacKey,
    /// Where the store stands: what is stored next follows it. `None`: nobody knows, and nothing more can be stored.
    head: Option<Head>,
    policy: Policy,
    certificate: Option<Box<Certificate>>,
    prekeys: PreKeyStore,
    peers: BTreeMap<Fingerprint, Box<Peer>>,
    sessions: BTreeMap<SessionId, Box<Held>>,
    // Derived from the sessions.
    by_peer: BTreeSet<(Fingerprint, SessionId)>,
    owing: BTreeSet<SessionId>,
    index: TagIndex,
    groups: BTreeMap<GroupId, Box<Group>>,
    own_chains: BTreeMap<GroupId, Box<OwnChain>>,
    debts: BTreeMap<GroupId, Debts>,
    chains: BTreeMap<ChainId, Box<MemberChain>>,
    /// What has come for groups before what comes before it.
    waiting: BTreeMap<Fingerprint, Waiting>,
    /// What was opened lately.
    recent: Recent,
    // Derived from the chains.
    chains_of: BTreeSet<(GroupId, Fingerprint, ChainId)>,
}

/// A session and how it stands among those with its peer.
#[derive(Debug)]
struct Held {
    session: Session,
    standing: Standing,
}

/// How a session stands among those with its peer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Standing {
    /// Since when another one is sent on.
    fading_since: Option<UnixTime>,
    /// Whether its initiator is to be told the rank it has to exceed.
    owes_rank: bool,
    /// Whether its author has shown, with it or since, that it holds a session that only the holder of the peer's KEM key can
    /// have.
    vouched: bool,
}

impl Device {
    /// A new device with a new identity and the default [`Policy`]. Draws 160 bytes: the identity, then a secret for the
    /// keys of records.
    ///
    /// Its first commit stores the identity; before that nothing of it lasts.
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let identity = IdentityKeyPair::generate(rng);
        Self::with_identity(identity, rng)
    }

    /// A new device for an identity that exists, as when everything but a backup of the identity was lost. Draws 32
    /// bytes: a secret for the keys of records.
    pub fn with_identity<R: CryptoRng + ?Sized>(identity: IdentityKeyPair, rng: &mut R) -> Self {
        Self::empty(identity, Secret::draw(rng))
    }

    fn empty(identity: IdentityKeyPair, record_secret: Secret<32>) -> Self {
        Self {
            identity,
            record_key: MacKey::new(record_secret.expose()),
            record_secret,
            head: Some(Head::default()),
            policy: Policy::default(),
            certificate: None,
            prekeys: PreKeyStore::new(),
            peers: BTreeMap::new(),
            sessions: BTreeMap::new(),
            by_peer: BTreeSet::new(),
            owing: BTreeSet::new(),
            index: TagIndex::default(),
            groups: BTreeMap::new(),
            own_chains: BTreeMap::new(),
            debts: BTreeMap::new(),
            chains: BTreeMap::new(),
            waiting: BTreeMap::new(),
            recent: Recent::default(),
            chains_of: BTreeSet::new(),
        }
    }

    /// The name of this device, to show and to compare.
    pub fn fingerprint(&self) -> Fingerprint {
        self.identity.fingerprint()
    }

    /// Its public identity.
    pub fn identity_key(&self) -> &IdentityKey {
        self.identity.public()
    }

    /// Its identity, to make a backup of ([`IdentityKeyPair::to_state`]).
    pub fn identity(&self) -> &IdentityKeyPair {
        &self.identity
    }

    /// Whether the device can store nothing more, because nobody knows what the store holds: an operation was shown to the
    /// store, and then dropped without a word. Restore it from what the store holds.
    pub fn must_be_restored(&self) -> bool {
        self.head.is_none()
    }

    /// The policy in force.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Sets the policy. It is not stored: [`Self::restore`] asks for it.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// A key from a session, for a call or the like: [`Session::export`] says what `context` must hold, and how secret the
    /// key is. Both ends name the same session: the caller that of [`PeerStatus::session`], beside the id in the message
    /// that announces the call, and whoever is called the one that is named there.
    ///
    /// # Errors
    /// [`UnknownSession`]: it is not of this device, is gone, or is suspect ([`crate::session::Authentication::Suspect`]).
    pub fn export(&self, session: SessionId, context: &[u8]) -> Result<ExportedKey, UnknownSession> {
        let held = self.sessions.get(&session).filter(|held| !self.is_suspect(held));
        held.map(|held| held.session.export(context)).ok_or(UnknownSession)
    }

    /// The sessions with a peer.
    fn sessions_with(&self, peer: Fingerprint) -> impl Iterator<Item = (&SessionId, &Held)> {
        let range = (peer, SessionId::from_bytes([0; 16]))..=(peer, SessionId::from_bytes([0xff; 16]));
        self.by_peer.range(range).filter_map(|(_, id)| self.sessions.get_key_value(id)).map(|(id, held)| (id, &**held))
    }

    /// The session on which to send to a peer: the one with the greatest rank, unless the peer has dropped it. Never a suspect
    /// one.
    fn best_session(&self, peer: Fingerprint) -> Option<(&SessionId, &Held)> {
        self.sessions_with(peer).find(|(_, held)| held.standing.fading_since.is_none())
    }

    /// The session of the greatest rank that the peer is known to hold: what there is to fall back on while an
    /// introduction is unanswered.
    fn best_answered(&self, peer: Fingerprint) -> Option<SessionId> {
        self.sessions_with(peer)
            .filter(|(_, held)| held.session.is_answered() && !self.is_suspect(held))
            .max_by_key(|(_, held)| held.session.rank())
            .map(|(id, _)| *id)
    }

    fn best_rank(&self, peer: Fingerprint) -> Option<Rank> {
        self.sessions_with(peer).filter(|(_, held)| !self.is_suspect(held)).map(|(_, held)| held.session.rank()).max()
    }

    /// Whether a rank that a peer names is above every session that this device has with it, suspect ones apart.
    fn lacks_rank(&self, peer: Fingerprint, rank: Rank) -> bool {
        self.best_rank(peer).is_none_or(|best| best < rank)
    }

    /// Whether the next message to a peer should introduce this device anew: what goes on their session may open nothing.
    fn renewal_due(&self, name: Fingerprint, peer: &Peer) -> bool {
        peer.renew
            || peer.floor.is_some_and(|floor| self.lacks_rank(name, floor))
            || self.best_session(name).is_some_and(|(_, held)| held.session.unanswered() >= self.policy.unanswered)
    }

    /// The same, also where this device's introduction has gone unanswered for so long that the prekeys it used may be gone.
    fn renewal_due_at(&self, name: Fingerprint, peer: &Peer, now: UnixTime) -> bool {
        let past = |created_at: u64| created_at.saturating_add(self.policy.prekeys.signed) < now.0;
        let stale = |held: &Held| !held.session.is_answered() && past(held.session.status().created_at);
        self.renewal_due(name, peer) || self.best_session(name).is_some_and(|(_, held)| stale(held))
    }

    /// Whether the application has nothing to do with a peer: it was never accepted, and is in no group that this device is in.
    fn is_stranger(&self, name: Fingerprint, peer: &Peer) -> bool {
        peer.stranger.is_some() && !self.groups.values().any(|group| group.member(name).is_some())
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device")
            .field("fingerprint", &self.fingerprint())
            .field("peers", &self.peers.len())
            .field("sessions", &self.sessions.len())
            .finish_non_exhaustive()
    }
}
