//! Changes of a device: made by exchanging state with them, and undone by exchanging it again.

use crate::certificate::Certificate;
use crate::device::debts::{Debts, Waiting};
use crate::device::index::Holder;
use crate::device::peer::Peer;
use crate::device::recent::RecentChange;
use crate::device::records::Row;
use crate::device::{Device, Held, Standing};
use crate::group::{ChainId, Group, GroupId, MemberChain, MemberStep, OwnChain, OwnStep};
use crate::keys::{Fingerprint, MailboxAddress, SessionId, UnixTime};
use crate::prekey::PreKeyChange;
use crate::ratchet::SkippedDelta;
use crate::session::{OpenStep, SealStep};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::mem;

/// One change. Swapping it with the device applies it; swapping it again undoes it.
#[derive(Debug)]
pub(super) enum Change {
    Peer(Fingerprint, Option<Box<Peer>>),
    Session(SessionId, Option<Box<Held>>),
    Seal(SessionId, Box<SealStep>),
    Open(SessionId, Box<OpenStep>),
    Standing(SessionId, Standing),
    Certificate(Option<Box<Certificate>>),
    PreKey(PreKeyChange),
    Group(GroupId, Option<Box<Group>>),
    OwnChain(GroupId, Option<Box<OwnChain>>),
    OwnStep(GroupId, Box<OwnStep>),
    Debts(GroupId, Debts),
    Chain(ChainId, Option<Box<MemberChain>>),
    ChainOpen(ChainId, Box<MemberStep>),
    ChainReplaced(ChainId, Option<UnixTime>),
    Waiting(Fingerprint, Waiting),
    Recent(RecentChange),
    Skipped(SessionId, SkippedDelta),
    ChainSkipped(ChainId, SkippedDelta),
}

impl Device {
    /// Exchanges state with what a change holds, and keeps what is derived from it in step.
    pub(super) fn swap(&mut self, change: &mut Change) {
        match change {
            Change::Peer(peer, value) => swap_entry(&mut self.peers, *peer, value),
            Change::Session(id, value) => {
                self.derive_without(*id);
                swap_entry(&mut self.sessions, *id, value);
                self.derive_with(*id);
            }
            Change::Seal(id, step) => {
                if let Some(held) = self.sessions.get_mut(id) {
                    held.session.swap_seal(step);
                }
                self.derive_owing(*id);
            }
            Change::Open(id, step) => {
                if let Some(held) = self.sessions.get_mut(id) {
                    held.session.swap_open(step, &mut self.index.of(Holder::Session(*id)));
                }
                self.derive_owing(*id);
            }
            Change::Standing(id, standing) => {
                if let Some(held) = self.sessions.get_mut(id) {
                    mem::swap(&mut held.standing, standing);
                }
                self.derive_owing(*id);
            }
            Change::Certificate(certificate) => mem::swap(&mut self.certificate, certificate),
            Change::PreKey(change) => self.prekeys.swap(change),
            Change::Group(group, value) => swap_entry(&mut self.groups, *group, value),
            Change::OwnChain(group, value) => swap_entry(&mut self.own_chains, *group, value),
            Change::OwnStep(group, step) => {
                if let Some(chain) = self.own_chains.get_mut(group) {
                    chain.swap(step);
                }
            }
            Change::Debts(group, debts) => swap_nonempty(&mut self.debts, *group, debts),
            Change::Chain(id, value) => {
                self.derive_without_chain(*id);
                swap_entry(&mut self.chains, *id, value);
                self.derive_with_chain(*id);
            }
            Change::ChainOpen(id, step) => {
                if let Some(chain) = self.chains.get_mut(id) {
                    chain.swap(step, &mut self.index.of(Holder::Chain(*id)));
                }
            }
            Change::ChainReplaced(id, since) => {
                if let Some(chain) = self.chains.get_mut(id) {
                    mem::swap(&mut chain.replaced, since);
                }
            }
            Change::Recent(change) => self.recent.swap(change),
            Change::Skipped(id, delta) => {
                if let Some(held) = self.sessions.get_mut(id) {
                    held.session.swap_skipped(delta, &mut self.index.of(Holder::Session(*id)));
                }
            }
            Change::ChainSkipped(id, delta) => {
                if let Some(chain) = self.chains.get_mut(id) {
                    chain.swap_skipped(delta, &mut self.index.of(Holder::Chain(*id)));
                }
            }
            Change::Waiting(peer, waiting) => swap_nonempty(&mut self.waiting, *peer, waiting),
        }
    }

    fn derive_without_chain(&mut self, id: ChainId) {
        if let Some(chain) = self.chains.get(&id) {
            chain.announce(&mut self.index.without(Holder::Chain(id)));
            self.chains_of.remove(&(chain.group, chain.sender, id));
        }
    }

    /// Puts a chain into everything that is derived from the chains.
    pub(super) fn derive_with_chain(&mut self, id: ChainId) {
        if let Some(chain) = self.chains.get(&id) {
            chain.announce(&mut self.index.of(Holder::Chain(id)));
            self.chains_of.insert((chain.group, chain.sender, id));
        }
    }

    /// Takes a session out of everything that is derived from the sessions.
    fn derive_without(&mut self, id: SessionId) {
        if let Some(held) = self.sessions.get(&id) {
            held.session.announce(&mut self.index.without(Holder::Session(id)));
            self.by_peer.remove(&(held.session.peer_fingerprint(), id));
            self.owing.remove(&id);
        }
    }

    /// Puts a session into everything that is derived from the sessions.
    pub(super) fn derive_with(&mut self, id: SessionId) {
        if let Some(held) = self.sessions.get(&id) {
            held.session.announce(&mut self.index.of(Holder::Session(id)));
            self.by_peer.insert((held.session.peer_fingerprint(), id));
        }
        self.derive_owing(id);
    }

    fn derive_owing(&mut self, id: SessionId) {
        if self.sessions.get(&id).is_some_and(|held| held.standing.owes_rank || held.session.owes_answer()) {
            self.owing.insert(id);
        } else {
            self.owing.remove(&id);
        }
    }

    /// Adds the addresses to listen on of what a change touches, as it is now.
    pub(super) fn listened(&self, change: &Change, addresses: &mut Vec<MailboxAddress>) {
        match change {
            Change::Session(id, _) | Change::Open(id, _) | Change::Skipped(id, _) => {
                addresses.extend(self.sessions.get(id).into_iter().flat_map(|held| held.session.mailboxes()));
            }
            Change::Chain(id, _) => addresses.extend(self.chains.get(id).map(|chain| chain.mailbox())),
            _ => {}
        }
    }

    /// The records that a change touches, seen from before or after it.
    pub(super) fn rows_of(&self, change: &Change, rows: &mut BTreeSet<Row>) {
        match change {
            Change::Peer(peer, _) => {
                rows.insert(Row::Peer(*peer));
            }
            Change::Session(id, _) => {
                rows.insert(Row::Session(*id));
                if let Some(held) = self.sessions.get(id) {
                    rows.extend(held.session.skipped().blocks().map(|block| Row::Skipped(*id, block)));
                }
            }
            Change::Seal(id, _) | Change::Standing(id, _) => {
                rows.insert(Row::Session(*id));
            }
            Change::Open(id, step) => {
                rows.insert(Row::Session(*id));
                rows.extend(step.changed_blocks().map(|block| Row::Skipped(*id, block)));
            }
            Change::Group(group, _) => {
                rows.insert(Row::Group(*group));
            }
            Change::OwnChain(group, _) | Change::OwnStep(group, _) => {
                rows.insert(Row::OwnChain(*group));
            }
            Change::Debts(group, _) => {
                rows.insert(Row::Debts(*group));
            }
            Change::Chain(id, _) => {
                rows.insert(Row::Chain(*id));
                if let Some(chain) = self.chains.get(id) {
                    rows.extend(chain.skipped().blocks().map(|block| Row::ChainSkipped(*id, block)));
                }
            }
            Change::ChainOpen(id, step) => {
                rows.insert(Row::Chain(*id));
                rows.extend(step.changed_blocks().map(|block| Row::ChainSkipped(*id, block)));
            }
            Change::ChainReplaced(id, _) => {
                rows.insert(Row::Chain(*id));
            }
            Change::Waiting(peer, _) => {
                rows.insert(Row::Waiting(*peer));
            }
            Change::Recent(RecentChange::Push(_)) => {
                rows.insert(Row::Recent(self.recent.next_place()));
            }
            Change::Recent(RecentChange::Pop(_)) => {}
            Change::Skipped(id, delta) => {
                rows.insert(Row::Session(*id));
                rows.extend(delta.changed_blocks().map(|block| Row::Skipped(*id, block)));
            }
            Change::ChainSkipped(id, delta) => {
                rows.insert(Row::Chain(*id));
                rows.extend(delta.changed_blocks().map(|block| Row::ChainSkipped(*id, block)));
            }
            Change::Certificate(_) => {
                rows.insert(Row::Certificate);
            }
            Change::PreKey(PreKeyChange::Signed(id, _) | PreKeyChange::Number(id, _)) => {
                rows.insert(Row::Signed(*id));
            }
            Change::PreKey(PreKeyChange::OneTime(id, _)) => {
                rows.insert(Row::OneTime(*id));
            }
            Change::PreKey(PreKeyChange::Introduction(id, entry)) => {
                let blocks = [entry.as_ref(), self.prekeys.record().get(id)];
                rows.extend(blocks.into_iter().flatten().map(|entry| Row::Introductions(entry.block)));
            }
        }
    }
}

fn swap_entry<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: &mut Option<V>) {
    let before = map.remove(&key);
    if let Some(after) = value.take() {
        map.insert(key, after);
    }
    *value = before;
}

/// The same where an empty value stands for none.
fn swap_nonempty<K: Ord, V: Default + Emptiness>(map: &mut BTreeMap<K, V>, key: K, value: &mut V) {
    let before = map.remove(&key).unwrap_or_default();
    let after = mem::replace(value, before);
    if !after.is_nothing() {
        map.insert(key, after);
    }
}

/// What can hold nothing.
pub(super) trait Emptiness {
    fn is_nothing(&self) -> bool;
}
