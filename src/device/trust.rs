//! Which sessions may be somebody else's: after a peer has proved its identity, nothing is sent to whom it may not be.
//! docs/PROTOCOL.md, "Authentication".

use crate::device::plan::Change;
use crate::device::{Device, Held};
use crate::keys::{Fingerprint, SessionId, UnixTime};
use crate::session::Rank;
use alloc::vec::Vec;

impl Held {
    /// Whether nobody but the holder of the peer's KEM key can hold the session, as far as no state was stolen.
    pub(super) fn is_sure(&self) -> bool {
        self.standing.vouched || self.session.is_of_holder()
    }
}

impl Device {
    /// Whether someone else may hold a session than the peer that it names: the peer has proved its identity to this device,
    /// and nothing shows that this session is the same one's. Such a session only receives.
    pub(super) fn is_suspect(&self, held: &Held) -> bool {
        let proved = self.peers.get(&held.session.peer_fingerprint()).is_some_and(|peer| peer.proved);
        proved && !held.is_sure()
    }

    /// The session that is sent on, once a message on this one has proved the peer (`proves`), or has named the rank of another
    /// one. What is named on a session that nobody else can have is the same peer's; who may not be the peer is sent nothing.
    pub(super) fn plan_best(
        &self,
        peer: Fingerprint,
        (by, on): (SessionId, &Held),
        proves: bool,
        named: Option<Rank>,
        now: UnixTime,
        changes: &mut Vec<Change>,
    ) -> Option<SessionId> {
        let by_sure = proves || on.is_sure();
        let named = named.filter(|_| by_sure).and_then(|rank| {
            self.sessions_with(peer).find(|(id, held)| held.session.rank() == rank && **id != by && !held.is_sure())
        });
        let vouched = named.map(|(id, _)| *id);
        let best = self.best_session(peer);
        let stays = |id: SessionId, held: &Held| !proves || held.is_sure() || id == by || Some(id) == vouched;
        // Of the present one, if it may stay, and of the one that is vouched for, the one with the greater rank; else this one.
        let candidates = best.filter(|(id, held)| stays(**id, held)).into_iter().chain(named);
        let next = candidates.max_by_key(|(_, held)| held.session.rank()).map(|(id, _)| *id);
        let next = next.or(best.map(|_| by));
        for (id, held) in self.sessions_with(peer) {
            let mut standing = held.standing;
            standing.vouched |= Some(*id) == vouched;
            if Some(*id) == next {
                (standing.fading_since, standing.owes_rank) = (None, false);
            } else {
                standing.fading_since = standing.fading_since.or(Some(now));
            }
            if standing != held.standing {
                changes.push(Change::Standing(*id, standing));
            }
        }
        next
    }
}
