//! Plans: what an operation would change, applied only once it is stored.

use crate::certificate::Certificate;
use crate::device::debts::{Debts, Waiting};
use crate::device::event::Opened;
use crate::device::index::Holder;
use crate::device::peer::Peer;
use crate::device::records::{Changes, Row};
use crate::device::{Device, Held, Standing};
use crate::group::{ChainId, Group, GroupId, MemberChain, MemberStep, OwnChain, OwnStep};
use crate::keys::{Fingerprint, SessionId, UnixTime};
use crate::prekey::PreKeyChange;
use crate::secret::{GuardedVec, guard};
use crate::session::{OpenStep, SealStep};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::fmt;
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
}

/// An operation that is ready and has not happened yet.
///
/// [`Self::commit`] stores the records that change and, only if that succeeds, makes the change and gives the result.
/// Dropped, or not stored, it never was, and the same call can be made again.
#[must_use = "nothing happens until it is committed"]
pub struct Pending<'d, T> {
    device: &'d mut Device,
    plan: Vec<Change>,
    value: T,
    /// What people wrote, of the result: wiped if nobody takes it.
    text: GuardedVec,
    place: fn(&mut T) -> Option<&mut Vec<u8>>,
}

impl<'d, T> Pending<'d, T> {
    pub(super) fn new(device: &'d mut Device, plan: Vec<Change>, value: T) -> Self {
        Self { device, plan, value, text: guard(Vec::new()), place: |_| None }
    }

    /// Hands the changed records to `store`, which must write all of them or none, durably. When it returns `Ok`, the
    /// device has changed and the result is given: only now can an envelope leave, or a message be shown.
    ///
    /// # Errors
    /// Whatever `store` returns. The device has not changed. When a store can't say whether it has written (a connection
    /// lost while committing), drop the device and restore it from what the store then holds.
    pub fn commit<E>(self, store: impl FnOnce(&Changes) -> Result<(), E>) -> Result<T, E> {
        self.commit_with(|changes, _| store(changes))
    }

    /// As [`Self::commit`], and shows `store` the result, to be written **in the same transaction**: messages among those that
    /// were read, envelopes into a box of what is to be sent. Else a crash between the two loses it: the message was opened,
    /// the envelope is thought to be on its way. Nothing of it may be shown or sent before the transaction stands.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub fn commit_with<E>(self, store: impl FnOnce(&Changes, &T) -> Result<(), E>) -> Result<T, E> {
        let mut prepared = self.prepare();
        prepared.show(store)?;
        Ok(prepared.stored())
    }

    /// The same in two steps, for a store that has to be awaited: look at what is to be written, write it, and say so.
    ///
    /// ```
    /// use sceau::{Device, Pending, Record};
    ///
    /// async fn kept<T>(pending: Pending<'_, T>, database: &Database) -> Result<T, std::io::Error> {
    ///     let mut prepared = pending.prepare();
    ///     let rows = prepared.show(|changes, _result| {
    ///         let row = |record: Record<'_>| match record {
    ///             Record::Put(key, bytes) => (*key.as_bytes(), Some(bytes.to_vec())),
    ///             Record::Delete(key) => (*key.as_bytes(), None),
    ///         };
    ///         changes.iter().map(row).collect::<Vec<_>>()
    ///     });
    ///     database.write(rows).await?; // All in one transaction.
    ///     Ok(prepared.stored())
    /// }
    /// # struct Database;
    /// # impl Database {
    /// #     async fn write(&self, _: Vec<([u8; 17], Option<Vec<u8>>)>) -> std::io::Result<()> { Ok(()) }
    /// # }
    /// ```
    pub fn prepare(self) -> Prepared<'d, T> {
        let Self { device, plan, value, text, place } = self;
        let applied = Applied::new(device, plan);
        let changes = applied.device.changes(&applied.rows);
        Prepared { applied, changes, value, text, place }
    }
}

/// An operation that is being stored ([`Pending::prepare`]).
///
/// Dropped, it never was, as long as nothing of it was written. When that can't be said, because whoever waited for the
/// database was cancelled, drop the device too and restore it from what the store then holds.
#[must_use = "nothing has happened until it is stored"]
pub struct Prepared<'d, T> {
    applied: Applied<'d>,
    changes: Changes,
    value: T,
    text: GuardedVec,
    place: fn(&mut T) -> Option<&mut Vec<u8>>,
}

impl<T> Prepared<'_, T> {
    /// Shows the records that change and the result, to be written in one transaction as [`Pending::commit_with`] says.
    pub fn show<R>(&mut self, look: impl FnOnce(&Changes, &T) -> R) -> R {
        let Self { changes, value, text, place, .. } = self;
        let shown = Shown::new(value, text, *place);
        look(changes, shown.value)
    }

    /// They are written: the device has changed, and the result is given.
    pub fn stored(mut self) -> T {
        if let Some(place) = (self.place)(&mut self.value) {
            *place = mem::take(&mut *self.text);
        }
        self.applied.keep();
        self.value
    }
}

impl<T> fmt::Debug for Prepared<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("changes", &self.changes.len()).finish_non_exhaustive()
    }
}

/// A result that is looked at: what people wrote is in it for so long, and then where it is wiped unless it gets stored, also
/// after a panic in the caller's code.
struct Shown<'v, T> {
    value: &'v mut T,
    text: &'v mut GuardedVec,
    place: fn(&mut T) -> Option<&mut Vec<u8>>,
}

impl<'v, T> Shown<'v, T> {
    fn new(value: &'v mut T, text: &'v mut GuardedVec, place: fn(&mut T) -> Option<&mut Vec<u8>>) -> Self {
        if let Some(place) = place(value) {
            *place = mem::take(&mut **text);
        }
        Self { value, text, place }
    }
}

impl<T> Drop for Shown<'_, T> {
    fn drop(&mut self) {
        if let Some(place) = (self.place)(self.value) {
            **self.text = mem::take(place);
        }
    }
}

impl<'d> Pending<'d, Opened> {
    /// What was opened is given only when it is stored, and wiped if it is not.
    pub(super) fn opened(device: &'d mut Device, plan: Vec<Change>, mut opened: Opened) -> Self {
        fn place(opened: &mut Opened) -> Option<&mut Vec<u8>> {
            opened.event.text_mut()
        }
        let text = guard(place(&mut opened).map(mem::take).unwrap_or_default());
        Self { device, plan, value: opened, text, place }
    }
}

impl<T> fmt::Debug for Pending<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("changes", &self.plan.len()).finish_non_exhaustive()
    }
}

/// A plan that is applied for as long as it takes to store it. Dropped, also by a panic in the caller's code, it undoes
/// itself.
struct Applied<'d> {
    device: &'d mut Device,
    plan: Vec<Change>,
    rows: BTreeSet<Row>,
}

impl<'d> Applied<'d> {
    fn new(device: &'d mut Device, plan: Vec<Change>) -> Self {
        let mut applied = Self { device, plan, rows: BTreeSet::new() };
        if !applied.device.stored {
            applied.rows.insert(Row::Identity);
        }
        for change in &mut applied.plan {
            applied.device.rows_of(change, &mut applied.rows);
            applied.device.swap(change);
            applied.device.rows_of(change, &mut applied.rows);
        }
        applied
    }

    /// Makes it last. What was replaced is wiped.
    fn keep(mut self) {
        self.device.stored = true;
        self.plan.clear();
    }
}

impl Drop for Applied<'_> {
    fn drop(&mut self) {
        for change in self.plan.iter_mut().rev() {
            self.device.swap(change);
        }
    }
}

impl Device {
    /// Exchanges state with what a change holds, and keeps what is derived from it in step.
    fn swap(&mut self, change: &mut Change) {
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
            }
            Change::Open(id, step) => {
                if let Some(held) = self.sessions.get_mut(id) {
                    held.session.swap_open(step, &mut self.index.of(Holder::Session(*id)));
                }
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
        if self.sessions.get(&id).is_some_and(|held| held.standing.owes_rank) {
            self.owing.insert(id);
        } else {
            self.owing.remove(&id);
        }
    }

    /// The records that a change touches, seen from before or after it.
    fn rows_of(&self, change: &Change, rows: &mut BTreeSet<Row>) {
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
            Change::Certificate(_) => {
                rows.insert(Row::Certificate);
            }
            Change::PreKey(PreKeyChange::Signed(id, _)) => {
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
