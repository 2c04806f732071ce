//! The facade: one device, its identity, prekeys, peers and sessions; envelopes in, events out.
//!
//! Every call that changes something returns a [`Pending`]: the plan, the result, and the records to store. Nothing has
//! changed until [`Pending::commit`] was given a place to store them and that succeeded: **persist, then transmit** is
//! the only order there is. Dropping a `Pending`, or failing to store, leaves the device as it was.

mod certificates;
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
mod index;
mod mailbox;
mod manage;
mod open;
mod peer;
mod pending;
mod policy;
mod records;
mod seal;
#[cfg(test)]
mod tests;

pub use event::{
    Event, GroupEvent, MemberStatus, MessageStatus, Notice, Opened, OwedId, PeerStatus, PreKeyStatus, Search,
};
pub use fanout::{Delivery, SealedMany, Unreachable};
pub use group::{GroupChange, GroupCommitted, GroupSealed, GroupStatus};
pub use pending::{Pending, Prepared};
pub use policy::Policy;
pub use records::{Changes, Record, RecordKey};

use crate::certificate::Certificate;
use crate::crypto::kdf::MacKey;
use crate::group::{ChainId, Group, GroupId, MemberChain, OwnChain};
use crate::identity::IdentityKeyPair;
use crate::keys::{Fingerprint, IdentityKey, SessionId, UnixTime};
use crate::prekey::PreKeyStore;
use crate::secret::Secret;
use crate::session::{Rank, Session};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use core::fmt;
use debts::{Debts, Waiting};
use index::TagIndex;
use peer::Peer;
use rand_core::CryptoRng;

/// One device of a person. See the [crate's page](crate) for the whole of it in twenty lines.
///
/// A peer is a [`Fingerprint`]; nothing else names anyone. Time is an argument; randomness is an argument of what needs
/// it; opening needs none.
pub struct Device {
    identity: IdentityKeyPair,
    record_secret: Secret<32>,
    record_key: MacKey,
    /// Whether the identity's record was stored.
    stored: bool,
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
}

impl Device {
    /// A new device with a new identity and the default [`Policy`]. Draws 96 bytes: the identity, then a secret for the
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
        Self::empty(identity, Secret::draw(rng), false)
    }

    fn empty(identity: IdentityKeyPair, record_secret: Secret<32>, stored: bool) -> Self {
        Self {
            identity,
            record_key: MacKey::new(record_secret.expose()),
            record_secret,
            stored,
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

    /// The policy in force.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Sets the policy. It is not stored: set it again after [`Self::restore`].
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// The sessions with a peer.
    fn sessions_with(&self, peer: Fingerprint) -> impl Iterator<Item = (&SessionId, &Held)> {
        let range = (peer, SessionId::from_bytes([0; 16]))..=(peer, SessionId::from_bytes([0xff; 16]));
        self.by_peer.range(range).filter_map(|(_, id)| self.sessions.get_key_value(id)).map(|(id, held)| (id, &**held))
    }

    /// The session on which to send to a peer: the one with the greatest rank.
    fn best_session(&self, peer: Fingerprint) -> Option<(&SessionId, &Held)> {
        self.sessions_with(peer).max_by_key(|(_, held)| held.session.rank())
    }

    /// The session of the greatest rank that the peer is known to hold: what there is to fall back on while an
    /// introduction is unanswered.
    fn best_answered(&self, peer: Fingerprint) -> Option<SessionId> {
        self.sessions_with(peer)
            .filter(|(_, held)| held.session.is_answered())
            .max_by_key(|(_, held)| held.session.rank())
            .map(|(id, _)| *id)
    }

    fn best_rank(&self, peer: Fingerprint) -> Option<Rank> {
        self.best_session(peer).map(|(_, held)| held.session.rank())
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
