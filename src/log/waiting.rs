//! Operations that can't be taken yet: their parents are not here, they can't count and nothing needs them, or the peer's budget
//! is used up. In memory only, bounded by author and by peer; the oldest go first, and are asked for again.

use super::operation::Operation;
use crate::keys::{AccountId, OperationId, PeerId};
use crate::limits::{MAX_DEAD_OF_AUTHOR, MAX_UNFINISHED_BYTES, MAX_UNFINISHED_OPERATIONS, MAX_WAITING_OPERATIONS};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// An operation whose signature has been verified.
#[derive(Debug, Clone)]
pub(super) struct Verified {
    pub(super) id: OperationId,
    pub(super) operation: Operation,
    pub(super) bytes: Vec<u8>,
    pub(super) rank: u16,
    /// The rank of the device that it retires.
    pub(super) target: Option<u16>,
    pub(super) peer: PeerId,
}

/// What waits.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    operations: BTreeMap<OperationId, (u64, Verified)>,
    /// What names an operation as its parent.
    children: BTreeSet<(OperationId, OperationId)>,
    peers: BTreeMap<PeerId, BTreeSet<(u64, OperationId)>>,
    /// How long the encodings are that each has brought, and all.
    sizes: BTreeMap<PeerId, usize>,
    size: usize,
    authors: BTreeMap<AccountId, BTreeSet<(u64, OperationId)>>,
    /// Peers that have said that more is to come.
    unfinished: BTreeSet<PeerId>,
    next: u64,
}

impl Waiting {
    pub(super) fn get(&self, id: &OperationId) -> Option<&Verified> {
        self.operations.get(id).map(|(_, verified)| verified)
    }

    pub(super) fn len(&self) -> usize {
        self.operations.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Verified> {
        self.operations.values().map(|(_, verified)| verified)
    }

    pub(super) fn children(&self, id: &OperationId) -> impl Iterator<Item = &Verified> {
        let range = (*id, OperationId::NONE)..=(*id, OperationId([0xff; 32]));
        self.children.range(range).filter_map(|(_, child)| self.get(child))
    }

    /// Whether a peer has said that more is to come.
    pub(super) fn is_unfinished(&self, peer: &PeerId) -> bool {
        self.unfinished.contains(peer)
    }

    /// Notes whether more is to come from a peer. When its answer is whole, the ordinary bounds hold again.
    pub(super) fn set_unfinished(&mut self, peer: PeerId, unfinished: bool) {
        if unfinished {
            self.unfinished.insert(peer);
        } else if self.unfinished.remove(&peer) {
            self.trim(peer);
            for author in self.authors.keys().copied().collect::<Vec<_>>() {
                self.trim_author(author);
            }
        }
    }

    pub(super) fn insert(&mut self, verified: Verified) {
        if self.operations.contains_key(&verified.id) {
            return;
        }
        let key = (self.next, verified.id);
        self.next = self.next.saturating_add(1);
        for parent in &verified.operation.parents {
            self.children.insert((*parent, verified.id));
        }
        let (peer, author) = (verified.peer, verified.operation.author.account);
        self.peers.entry(peer).or_default().insert(key);
        self.authors.entry(author).or_default().insert(key);
        let len = verified.bytes.len();
        self.size = self.size.saturating_add(len);
        let of = self.sizes.entry(peer).or_default();
        *of = of.saturating_add(len);
        self.operations.insert(verified.id, (key.0, verified));
        self.trim(peer);
        if !self.unfinished.contains(&peer) {
            self.trim_author(author);
        }
    }

    pub(super) fn remove(&mut self, id: &OperationId) -> Option<Verified> {
        let (order, verified) = self.operations.remove(id)?;
        for parent in &verified.operation.parents {
            self.children.remove(&(*parent, *id));
        }
        take(&mut self.peers, &verified.peer, (order, *id));
        take(&mut self.authors, &verified.operation.author.account, (order, *id));
        let len = verified.bytes.len();
        self.size = self.size.saturating_sub(len);
        if !self.peers.contains_key(&verified.peer) {
            self.sizes.remove(&verified.peer);
        } else if let Some(of) = self.sizes.get_mut(&verified.peer) {
            *of = of.saturating_sub(len);
        }
        Some(verified)
    }

    fn trim(&mut self, peer: PeerId) {
        if self.unfinished.contains(&peer) {
            // All of them together hold no more than one log: who has sent most loses the oldest.
            loop {
                let most = if self.size > MAX_UNFINISHED_BYTES {
                    self.sizes.iter().max_by_key(|(_, len)| **len).map(|(peer, _)| *peer)
                } else if self.operations.len() > MAX_UNFINISHED_OPERATIONS {
                    self.peers.iter().max_by_key(|(_, of)| of.len()).map(|(peer, _)| *peer)
                } else {
                    return;
                };
                let oldest = most.and_then(|peer| self.peers.get(&peer)).and_then(|of| of.first().copied());
                let Some((_, oldest)) = oldest else { return };
                self.remove(&oldest);
            }
        }
        let first = |of: &BTreeSet<(u64, OperationId)>| of.first().map(|&(_, id)| id);
        while let Some(oldest) = self.peers.get(&peer).filter(|of| of.len() > MAX_WAITING_OPERATIONS).and_then(first) {
            self.remove(&oldest);
        }
    }

    fn trim_author(&mut self, author: AccountId) {
        let Some(of) = self.authors.get(&author).filter(|of| of.len() > MAX_DEAD_OF_AUTHOR) else { return };
        // What a peer has begun to send is not counted until it has ended.
        let counted: Vec<OperationId> = of
            .iter()
            .map(|&(_, id)| id)
            .filter(|id| self.get(id).is_some_and(|verified| !self.unfinished.contains(&verified.peer)))
            .collect();
        for id in counted.iter().take(counted.len().saturating_sub(MAX_DEAD_OF_AUTHOR)) {
            self.remove(id);
        }
    }
}

fn take<K: Ord>(map: &mut BTreeMap<K, BTreeSet<(u64, OperationId)>>, key: &K, item: (u64, OperationId)) {
    if let Some(set) = map.get_mut(key) {
        set.remove(&item);
        if set.is_empty() {
            map.remove(key);
        }
    }
}
