//! Prekeys, peers and upkeep.

use crate::device::debts::Waiting;
use crate::device::event::{PeerStatus, PreKeyStatus};
use crate::device::peer::Peer;
use crate::device::pending::Pending;
use crate::device::plan::Change;
use crate::device::seal::Sealed;
use crate::device::{Device, Held};
use crate::error::{PreKeyError, UnknownPeer};
use crate::group::ChainId;
use crate::keys::{Fingerprint, SessionId, UnixTime};
use crate::prekey::{Rotation, VerifiedPreKeyBundle};
use crate::wire::bundle::{PreKeyBundle, PreKeyUpload};
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use rand_core::CryptoRng;

impl Device {
    // --- Prekeys -------------------------------------------------------------------------------------------------

    /// Makes `count` one-time prekeys, and a signed one if it is time for one. The result goes to a directory that nobody has to
    /// trust, where it takes the place of what was published before. Also deletes prekeys that are past their end and grace,
    /// and, where there are too many, the oldest.
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

    /// The last upload as it is now, without the prekeys that have served since: for a directory that has missed it. One that
    /// has lost what it handed out would hand it out again: publish anew then ([`Rotation::Always`]). `None` before the first.
    pub fn prekey_upload(&self) -> Option<PreKeyUpload> {
        self.prekeys.upload(&self.identity)
    }

    /// How the prekeys stand.
    pub fn prekey_status(&self) -> PreKeyStatus {
        PreKeyStatus {
            one_time_left: self.prekeys.one_time_left(),
            one_time_held: self.prekeys.one_time_held(),
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
        peer.accept();
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
            accepted: !self.is_stranger(peer, known),
            renewal_due: self.renewal_due(peer, known),
            bundle_not_after: known.bundle().map(VerifiedPreKeyBundle::not_after),
        })
    }

    /// Accepts a peer that has introduced itself: it is kept for as long as the application wants. Writing to it, verifying or
    /// adding it does so too.
    ///
    /// # Errors
    /// [`UnknownPeer`].
    pub fn accept_peer(&mut self, peer: Fingerprint) -> Result<Pending<'_, ()>, UnknownPeer> {
        self.change_peer(peer, Peer::accept)
    }

    /// Notes whether people have compared fingerprints with this peer.
    ///
    /// # Errors
    /// [`UnknownPeer`].
    pub fn set_verified(&mut self, peer: Fingerprint, verified: bool) -> Result<Pending<'_, ()>, UnknownPeer> {
        let verify = |peer: &mut Peer| {
            peer.verified = verified;
            peer.accept();
        };
        self.change_peer(peer, verify)
    }

    /// Blocks a peer: what it sends is refused, its introductions too, and nothing is sealed for it. Their sessions stay, so
    /// that they go on when it is unblocked; what came meanwhile is not shown then.
    ///
    /// # Errors
    /// [`UnknownPeer`].
    pub fn block(&mut self, peer: Fingerprint) -> Result<Pending<'_, ()>, UnknownPeer> {
        let mut known = self.peers.get(&peer).ok_or(UnknownPeer)?.clone();
        known.blocked = true;
        known.accept();
        let mut plan = self.without_waiting(peer);
        plan.push(Change::Peer(peer, Some(known)));
        Ok(Pending::new(self, plan, ()))
    }

    /// Takes a block away.
    ///
    /// # Errors
    /// [`UnknownPeer`].
    pub fn unblock(&mut self, peer: Fingerprint) -> Result<Pending<'_, ()>, UnknownPeer> {
        self.change_peer(peer, |peer| peer.blocked = false)
    }

    /// Wipes all sessions with a peer and forgets their ranks. What the peer still sends on them can't be opened; their
    /// introductions are not accepted again. The result tells the peer so, if it holds a session: send it, and its next message
    /// is an introduction. So is the next one to it. Draws as [`Self::seal`] does.
    ///
    /// # Errors
    /// [`UnknownPeer`].
    pub fn drop_sessions<R: CryptoRng + ?Sized>(
        &mut self,
        peer: Fingerprint,
        rng: &mut R,
    ) -> Result<Pending<'_, Option<Sealed>>, UnknownPeer> {
        let mut known = self.peers.get(&peer).ok_or(UnknownPeer)?.clone();
        let farewell = self.farewell(peer, rng);
        let mut plan = self.without_sessions(peer);
        (known.floor, known.renew) = (None, !plan.is_empty());
        plan.push(Change::Peer(peer, Some(known)));
        Ok(Pending::new(self, plan, farewell))
    }

    /// Forgets a peer and wipes its sessions. It can introduce itself again, as anyone can; the result tells it that it has to,
    /// if the application had accepted it. Draws as [`Self::seal`] does.
    ///
    /// # Errors
    /// [`UnknownPeer`].
    pub fn delete_peer<R: CryptoRng + ?Sized>(
        &mut self,
        peer: Fingerprint,
        rng: &mut R,
    ) -> Result<Pending<'_, Option<Sealed>>, UnknownPeer> {
        self.peers.get(&peer).ok_or(UnknownPeer)?;
        let farewell = self.farewell(peer, rng);
        let plan = self.without_peer(peer);
        Ok(Pending::new(self, plan, farewell))
    }

    pub(super) fn change_peer(
        &mut self,
        peer: Fingerprint,
        change: impl FnOnce(&mut Peer),
    ) -> Result<Pending<'_, ()>, UnknownPeer> {
        let mut known = self.peers.get(&peer).ok_or(UnknownPeer)?.clone();
        change(&mut known);
        let plan = Vec::from([Change::Peer(peer, Some(known))]);
        Ok(Pending::new(self, plan, ()))
    }

    fn without_sessions(&self, peer: Fingerprint) -> Vec<Change> {
        let sessions = self.sessions_with(peer).map(|(id, _)| Change::Session(*id, None));
        sessions.chain(self.without_waiting(peer)).collect()
    }

    fn without_waiting(&self, peer: Fingerprint) -> Vec<Change> {
        let waits = self.waiting.contains_key(&peer);
        waits.then(|| Change::Waiting(peer, Waiting::default())).into_iter().collect()
    }

    fn without_peer(&self, peer: Fingerprint) -> Vec<Change> {
        let mut plan = self.without_sessions(peer);
        plan.push(Change::Peer(peer, None));
        plan
    }

    /// The peers that have introduced themselves and were not accepted.
    pub fn strangers(&self) -> impl Iterator<Item = Fingerprint> {
        self.peers.iter().filter(|(name, peer)| self.is_stranger(**name, peer)).map(|(name, _)| *name)
    }

    // --- Upkeep --------------------------------------------------------------------------------------------------

    /// Deletes what has had its time: prekeys past their end and grace, sessions and chains of groups that have faded long
    /// enough, keys of messages that were passed over, records of introductions that nothing refers to any more, peers that were
    /// never accepted, and what has waited as long for a group that did not come. Call it once a day: nothing fades by itself.
    /// The result is the number of deletions.
    pub fn maintain(&mut self, now: UnixTime) -> Pending<'_, usize> {
        let old = |since: UnixTime, life: u64| now > since.plus(life);
        let strangers = self.strangers().filter(|name| {
            let since = self.peers.get(name).and_then(|peer| peer.stranger);
            since.is_some_and(|since| old(since, self.policy.strangers))
        });
        let strangers: BTreeSet<Fingerprint> = strangers.collect();
        let mut plan: Vec<Change> = strangers.iter().flat_map(|name| self.without_peer(*name)).collect();
        let goes = |held: &Held| strangers.contains(&held.session.peer_fingerprint());
        let faded = self.sessions.iter().filter(|(id, held)| {
            let faded = held.standing.fading_since.is_some_and(|since| old(since, self.policy.fading));
            faded && !goes(held) && !self.is_fallback(**id, held)
        });
        let faded: BTreeSet<SessionId> = faded.map(|(id, _)| *id).collect();
        plan.extend(faded.iter().map(|id| Change::Session(*id, None)));
        let is_alive = |id: &SessionId| self.sessions.get(id).is_some_and(|held| !goes(held)) && !faded.contains(id);
        plan.extend(self.prekeys.plan_expire(&self.policy.prekeys, now, is_alive).into_iter().map(Change::PreKey));
        plan.extend(self.faded_chains(now).map(|id| Change::Chain(id, None)));
        let mut count = plan.len();

        let before = UnixTime(now.0.saturating_sub(self.policy.skipped));
        for (id, held) in self.sessions.iter().filter(|(id, _)| is_alive(id)) {
            plan.extend(held.session.skipped().plan_expire(before).map(|delta| Change::Skipped(*id, delta)));
        }
        let gone: BTreeSet<ChainId> = self.faded_chains(now).collect();
        for (id, chain) in self.chains.iter().filter(|(id, _)| !gone.contains(id)) {
            plan.extend(chain.skipped().plan_expire(before).map(|delta| Change::ChainSkipped(*id, delta)));
        }
        for change in plan.iter().skip(count) {
            if let Change::Skipped(_, delta) | Change::ChainSkipped(_, delta) = change {
                count = count.saturating_add(delta.removed());
            }
        }
        for (peer, waiting) in self.waiting.iter().filter(|(peer, _)| !strangers.contains(peer)) {
            if let Some(kept) = waiting.without_old(|since| old(since, self.policy.fading)) {
                count = count.saturating_add(waiting.0.len().saturating_sub(kept.0.len()));
                plan.push(Change::Waiting(*peer, kept));
            }
        }
        Pending::new(self, plan, count)
    }

    /// Whether a session is all there is while an introduction of this device is unanswered.
    fn is_fallback(&self, id: SessionId, held: &Held) -> bool {
        let peer = held.session.peer_fingerprint();
        let waits = self.best_session(peer).is_some_and(|(_, best)| !best.session.is_answered());
        waits && self.best_answered(peer) == Some(id)
    }
}
