//! Prekeys, peers and upkeep.

use crate::device::Device;
use crate::device::debts::Waiting;
use crate::device::event::{PeerStatus, PreKeyStatus};
use crate::device::peer::Peer;
use crate::device::pending::{Change, Pending};
use crate::error::{PreKeyError, UnknownPeer};
use crate::keys::{Fingerprint, SessionId, UnixTime};
use crate::prekey::{Rotation, VerifiedPreKeyBundle};
use crate::wire::bundle::{PreKeyBundle, PreKeyUpload};
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use rand_core::CryptoRng;

impl Device {
    // --- Prekeys -------------------------------------------------------------------------------------------------

    /// Makes `count` one-time prekeys, fewer if there is no room for so many, and a signed one if it is time for one. The
    /// result goes to a directory that nobody has to trust. Also deletes prekeys that are past their end and grace, and, where
    /// there are too many, the oldest signed one.
    ///
    /// Draws 100 bytes for each prekey: its id (4, again while 0 or in use), X25519 private key (32), KEM seed (64).
    ///
    /// # Errors
    /// [`PreKeyError::TooMany`]; nothing has changed.
    pub fn publish_prekeys<R: CryptoRng + ?Sized>(
        &mut self,
        count: usize,
        now: UnixTime,
        rng: &mut R,
    ) -> Result<Pending<'_, PreKeyUpload>, PreKeyError> {
        self.rotate_prekeys(count, Rotation::IfDue, now, rng)
    }

    /// The same with a say in what happens to the signed prekey. [`Rotation::Revoke`] after a suspected theft.
    ///
    /// # Errors
    /// [`PreKeyError::TooMany`]; nothing has changed.
    pub fn rotate_prekeys<R: CryptoRng + ?Sized>(
        &mut self,
        count: usize,
        rotation: Rotation,
        now: UnixTime,
        rng: &mut R,
    ) -> Result<Pending<'_, PreKeyUpload>, PreKeyError> {
        let (changes, upload) =
            self.prekeys.plan_publish(&self.identity, count, rotation, &self.policy.prekeys, now, rng)?;
        let expired = self.prekeys.plan_expire(&self.policy.prekeys, now, |id| self.sessions.contains_key(id));
        let plan = expired.into_iter().chain(changes).map(Change::PreKey).collect();
        Ok(Pending::new(self, plan, upload))
    }

    /// How the prekeys stand.
    pub fn prekey_status(&self) -> PreKeyStatus {
        PreKeyStatus {
            one_time_left: self.prekeys.one_time_left(),
            signed_not_after: self.prekeys.signed_not_after(),
            introductions: self.prekeys.introductions(),
        }
    }

    // --- Peers ---------------------------------------------------------------------------------------------------

    /// Adds a peer by its bundle, or gives a known peer a fresh one for its next introduction. The result is its name:
    /// compare it with the one you expected, since the directory could have given anyone's bundle.
    ///
    /// # Errors
    /// [`PreKeyError`]; nothing has changed.
    pub fn add_peer(&mut self, bundle: &PreKeyBundle, now: UnixTime) -> Result<Pending<'_, Fingerprint>, PreKeyError> {
        let bundle = VerifiedPreKeyBundle::verify(bundle.clone(), now)?;
        let fingerprint = bundle.fingerprint();
        if fingerprint == self.fingerprint() {
            return Err(PreKeyError::Myself);
        }
        let mut peer = match self.peers.get(&fingerprint) {
            Some(peer) if peer.blocked => return Err(PreKeyError::Blocked),
            Some(peer) => (**peer).clone(),
            None => {
                let mut peer = Peer::new(*bundle.identity());
                peer.added = true;
                peer
            }
        };
        peer.keep_bundle(bundle);
        let plan = Vec::from([Change::Peer(fingerprint, Some(Box::new(peer)))]);
        Ok(Pending::new(self, plan, fingerprint))
    }

    /// The peers, by name.
    pub fn peers(&self) -> impl Iterator<Item = Fingerprint> {
        self.peers.keys().copied()
    }

    /// What is known of a peer.
    pub fn peer(&self, peer: Fingerprint) -> Option<PeerStatus> {
        let known = self.peers.get(&peer)?;
        let best = self.best_session(peer);
        Some(PeerStatus {
            identity: known.identity,
            verified: known.verified,
            certified: known.certified,
            shows_certificate: known.shown,
            blocked: known.blocked,
            session: best.map(|(_, held)| held.session.status()),
            fading: self.sessions_with(peer).count().saturating_sub(1),
            renew_needed: known.floor.is_some_and(|floor| self.lacks_rank(peer, floor)),
            bundle_not_after: known.bundle().map(VerifiedPreKeyBundle::not_after),
        })
    }

    /// Notes whether people have compared fingerprints with this peer.
    ///
    /// # Errors
    /// [`UnknownPeer`].
    pub fn set_verified(&mut self, peer: Fingerprint, verified: bool) -> Result<Pending<'_, ()>, UnknownPeer> {
        self.change_peer(peer, |peer| peer.verified = verified, false)
    }

    /// Blocks a peer: its sessions are wiped, its introductions refused, nothing is sealed for it.
    ///
    /// # Errors
    /// [`UnknownPeer`].
    pub fn block(&mut self, peer: Fingerprint) -> Result<Pending<'_, ()>, UnknownPeer> {
        let block = |peer: &mut Peer| (peer.blocked, peer.floor) = (true, None);
        self.change_peer(peer, block, true)
    }

    /// Lets a blocked peer introduce itself again.
    ///
    /// # Errors
    /// [`UnknownPeer`].
    pub fn unblock(&mut self, peer: Fingerprint) -> Result<Pending<'_, ()>, UnknownPeer> {
        self.change_peer(peer, |peer| peer.blocked = false, false)
    }

    /// Wipes all sessions with a peer and forgets their ranks. What the peer still sends on them can't be opened;
    /// their introductions are not accepted again.
    ///
    /// # Errors
    /// [`UnknownPeer`].
    pub fn drop_sessions(&mut self, peer: Fingerprint) -> Result<Pending<'_, ()>, UnknownPeer> {
        self.change_peer(peer, |peer| peer.floor = None, true)
    }

    /// Forgets a peer and wipes its sessions. It can introduce itself again, as anyone can.
    ///
    /// # Errors
    /// [`UnknownPeer`].
    pub fn delete_peer(&mut self, peer: Fingerprint) -> Result<Pending<'_, ()>, UnknownPeer> {
        self.peers.get(&peer).ok_or(UnknownPeer)?;
        let mut plan = self.without_sessions(peer);
        plan.push(Change::Peer(peer, None));
        Ok(Pending::new(self, plan, ()))
    }

    pub(super) fn change_peer(
        &mut self,
        peer: Fingerprint,
        change: impl FnOnce(&mut Peer),
        drop_sessions: bool,
    ) -> Result<Pending<'_, ()>, UnknownPeer> {
        let mut known = self.peers.get(&peer).ok_or(UnknownPeer)?.clone();
        change(&mut known);
        let mut plan = if drop_sessions { self.without_sessions(peer) } else { Vec::new() };
        plan.push(Change::Peer(peer, Some(known)));
        Ok(Pending::new(self, plan, ()))
    }

    fn without_sessions(&self, peer: Fingerprint) -> Vec<Change> {
        let mut changes: Vec<Change> = self.sessions_with(peer).map(|(id, _)| Change::Session(*id, None)).collect();
        if self.waiting.contains_key(&peer) {
            changes.push(Change::Waiting(peer, Waiting::default()));
        }
        changes
    }

    // --- Upkeep --------------------------------------------------------------------------------------------------

    /// Deletes what has had its time: prekeys past their end and grace, sessions and chains of groups that have faded long enough, records
    /// of introductions that nothing refers to any more, and what has waited as long for a group that did not come. Call it once a day:
    /// nothing fades by itself. The result is the number of deletions.
    pub fn maintain(&mut self, now: UnixTime) -> Pending<'_, usize> {
        let faded: BTreeSet<SessionId> = self
            .sessions
            .iter()
            .filter(|(_, held)| held.standing.fading_since.is_some_and(|since| now > since.plus(self.policy.fading)))
            // While an introduction is unanswered, the best session that the peer holds is all there is.
            .filter(|(id, held)| self.best_answered(held.session.peer_fingerprint()) != Some(**id))
            .map(|(id, _)| *id)
            .collect();
        let is_alive = |id: &SessionId| self.sessions.contains_key(id) && !faded.contains(id);
        let prekeys = self.prekeys.plan_expire(&self.policy.prekeys, now, is_alive);
        let mut plan: Vec<Change> = faded.iter().map(|id| Change::Session(*id, None)).collect();
        plan.extend(prekeys.into_iter().map(Change::PreKey));
        plan.extend(self.faded_chains(now).map(|id| Change::Chain(id, None)));
        let mut count = plan.len();
        for (peer, waiting) in &self.waiting {
            if let Some(kept) = waiting.without_old(|since| now > since.plus(self.policy.fading)) {
                count = count.saturating_add(waiting.0.len().saturating_sub(kept.0.len()));
                plan.push(Change::Waiting(*peer, kept));
            }
        }
        Pending::new(self, plan, count)
    }
}
