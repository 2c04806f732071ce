//! Which sessions may be somebody else's: after a peer has proved its identity, nothing is sent to whom it may not be.
//! docs/PROTOCOL.md, "Authentication".

use crate::device::peer::Peer;
use crate::device::plan::Change;
use crate::device::{Device, Held, Standing};
use crate::keys::{SessionId, UnixTime};
use crate::session::{Authentication, Rank};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

impl Held {
    /// Whether nobody but the holder of the peer's KEM key can hold the session, as far as no state was stolen.
    pub(super) fn is_sure(&self) -> bool {
        let status = self.session.status();
        status.initiator || status.authentication == Authentication::Proved || self.standing.vouched
    }
}

impl Device {
    /// Whether someone else may hold a session than the peer that it names: the peer has proved its identity to this device,
    /// and nothing shows that this session is the same one's. Such a session only receives.
    pub(super) fn is_suspect(&self, held: &Held) -> bool {
        let proved = self.peers.get(&held.session.peer_fingerprint()).is_some_and(|peer| peer.proved);
        proved && !held.is_sure()
    }

    /// Which session is sent on once a message came on this one, which perhaps names another's rank: who may not be the peer is
    /// sent nothing. A session that is named on one that nobody else can have is the same peer's.
    pub(super) fn plan_best(
        &self,
        peer: &Peer,
        (by, on): (SessionId, &Held),
        named: Option<Rank>,
        now: UnixTime,
        changes: &mut Vec<Change>,
    ) -> Option<SessionId> {
        let name = peer.fingerprint();
        let best = self.best_session(name).map(|(id, held)| (*id, held));
        // What proves the peer now is not in the session's state yet.
        let proves = peer.proved && self.peers.get(&name).is_some_and(|known| !known.proved);
        let by_sure = on.is_sure() || proves;
        let named = named.filter(|_| by_sure).and_then(|rank| {
            self.sessions_with(name).find(|(id, held)| held.session.rank() == rank && **id != by && !held.is_sure())
        });
        let named = named.map(|(id, held)| (*id, held));
        let sure = |id: SessionId, held: &Held| {
            held.is_sure() || (id == by && by_sure) || named.is_some_and(|(named, _)| named == id)
        };
        let mut next = best.filter(|(id, held)| !peer.proved || sure(*id, held));
        if let Some((id, held)) = named
            && next.is_none_or(|(_, next)| next.session.rank() < held.session.rank())
        {
            next = Some((id, held));
        } else if next.is_none() && best.is_some() && by_sure {
            next = Some((by, on));
        }
        let (before, after) = (best.map(|(id, _)| id), next.map(|(id, _)| id));
        let mut moved: BTreeMap<SessionId, Standing> = BTreeMap::new();
        if let Some((id, held)) = named {
            moved.insert(id, Standing { vouched: true, ..held.standing });
        }
        if before != after {
            for (id, held) in [best, next].into_iter().flatten() {
                let standing = moved.entry(id).or_insert(held.standing);
                standing.fading_since = (Some(id) != after).then_some(now);
                standing.owes_rank &= Some(id) != after;
            }
        }
        changes.extend(moved.into_iter().map(|(id, standing)| Change::Standing(id, standing)));
        after
    }
}
