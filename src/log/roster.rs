//! What the operations mean at present: who is in, who is an admin, which settings hold. Kept up to date by the evaluation.

use super::author::Author;
use super::index::{ASIDE, AccountAt, At, EFFECTIVE, Index, KEPT, LEAVING, OWNER, Overlay, RETIRING, count, place};
use super::names::AccountNames;
use super::operation::Change;
use crate::keys::{AccountId, DeviceId, OperationId};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// What an operation says about an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Add,
    Remove,
    Appoint,
    Dismiss,
    Ban,
    Lift,
}

impl Kind {
    pub(super) fn of(change: &Change) -> Option<(Self, &AccountId)> {
        let kind = match change {
            Change::Add(_) => Self::Add,
            Change::Remove(_) => Self::Remove,
            Change::Appoint(_) => Self::Appoint,
            Change::Dismiss(_) => Self::Dismiss,
            Change::Ban(_) => Self::Ban,
            Change::Lift(_) => Self::Lift,
            _ => return None,
        };
        change.named().map(|account| (kind, account))
    }

    /// It makes the account a member.
    pub(super) fn adds(self) -> bool {
        matches!(self, Self::Add | Self::Appoint)
    }

    pub(super) fn removes(self) -> bool {
        matches!(self, Self::Remove | Self::Ban)
    }

    /// If it is the owner's, it ends appointments.
    pub(super) fn cuts(self) -> bool {
        matches!(self, Self::Remove | Self::Ban | Self::Dismiss)
    }
}

/// An operation that names an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) at: At,
    pub(super) kind: Kind,
}

/// What an account is in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Role {
    /// Not in.
    None,
    /// A member.
    Member,
    /// A member that adds and removes members and writes settings.
    Admin,
    /// The author of the first operation.
    Owner,
}

/// All that concerns one account.
#[derive(Debug)]
pub(super) struct Account {
    /// The operations that name it, in their order. Only effective ones count.
    pub(super) marks: Vec<Mark>,
    /// The operations that it wrote, in their order.
    pub(super) written: Vec<At>,
    /// Its retirings that count, and the devices that they retire.
    pub(super) retired: Vec<(At, u32)>,
    pub(super) role: Role,
    pub(super) ever_appointed: bool,
    pub(super) ever_banned: bool,
    /// How many of its operations are aside.
    pub(super) aside: u32,
}

/// Operations and their meaning.
#[derive(Debug)]
pub(super) struct Roster {
    pub(super) index: Index,
    pub(super) names: AccountNames,
    pub(super) accounts: Vec<Account>,
    /// Ranks of devices that have written, or were retired.
    pub(super) devices: Vec<u16>,
    device_names: BTreeMap<(AccountAt, DeviceId, OperationId), u32>,
    /// Retirings, and the devices that they name.
    pub(super) retires: BTreeMap<At, u32>,
    /// Leavings: the addition, who leaves, the leaving.
    pub(super) leavings: BTreeSet<(At, AccountAt, At)>,
    /// Operations that write a setting.
    pub(super) writes: BTreeMap<u8, Vec<At>>,
    /// The write that holds.
    pub(super) settings: BTreeMap<u8, At>,
    /// Operations visited in evaluating since the log was made.
    pub(super) steps: u64,
}

impl Roster {
    pub(super) fn new() -> Self {
        Self {
            index: Index::default(),
            names: AccountNames::default(),
            accounts: Vec::new(),
            devices: Vec::new(),
            device_names: BTreeMap::new(),
            retires: BTreeMap::new(),
            leavings: BTreeSet::new(),
            writes: BTreeMap::new(),
            settings: BTreeMap::new(),
            steps: 0,
        }
    }

    pub(super) fn account(&self, at: AccountAt) -> Option<&Account> {
        self.accounts.get(place(at))
    }

    pub(super) fn find_account(&self, id: &AccountId) -> Option<&Account> {
        self.account(self.names.find(id)?)
    }

    pub(super) fn find_device(&self, account: AccountAt, device: &DeviceId, admission: &OperationId) -> Option<u32> {
        self.device_names.get(&(account, *device, *admission)).copied()
    }

    /// Makes an account known.
    pub(super) fn meet(&mut self, id: AccountId) -> AccountAt {
        let at = self.names.insert(id);
        if place(at) >= self.accounts.len() {
            self.accounts.push(Account {
                marks: Vec::new(),
                written: Vec::new(),
                retired: Vec::new(),
                role: if at == OWNER { Role::Owner } else { Role::None },
                ever_appointed: false,
                ever_banned: false,
                aside: 0,
            });
        }
        at
    }

    /// Makes a device known.
    pub(super) fn meet_device(&mut self, author: &Author, rank: u16) -> u32 {
        let account = self.meet(author.account);
        let next = count(self.devices.len());
        let at = *self.device_names.entry((account, author.device, author.admission)).or_insert(next);
        if at == next {
            self.devices.push(rank);
        }
        at
    }

    pub(super) fn is_owners(&self, at: At) -> bool {
        self.index.get(at).is_some_and(|entry| entry.author == OWNER)
    }

    pub(super) fn is_effective(&self, at: At) -> bool {
        self.index.is(at, EFFECTIVE)
    }

    pub(super) fn base(&self, at: At) -> At {
        self.index.get(at).map_or(0, |entry| entry.base)
    }

    pub(super) fn rank(&self, device: u32) -> u16 {
        self.devices.get(place(device)).copied().unwrap_or(u16::MAX)
    }

    /// Who may write at present, as far as this operation on the present heads would: the owner, and admins.
    pub(super) fn has_authority(&self, account: AccountAt) -> bool {
        if account == OWNER {
            return true;
        }
        let (grants, cuts) = self.grants_and_cuts(account);
        let last_cut = cuts.last().copied();
        grants.iter().rev().take_while(|&&grant| last_cut.is_none_or(|cut| grant > cut)).next().is_some()
    }

    /// The effective appointments of an account, and the owner's effective cuts.
    pub(super) fn grants_and_cuts(&self, account: AccountAt) -> (Vec<At>, Vec<At>) {
        let (mut grants, mut cuts) = (Vec::new(), Vec::new());
        let Some(account) = self.account(account).filter(|account| account.ever_appointed) else {
            return (grants, cuts);
        };
        for mark in &account.marks {
            if !self.is_effective(mark.at) || !self.is_owners(mark.at) {
                continue;
            }
            if mark.kind == Kind::Appoint {
                grants.push(mark.at);
            } else if mark.kind.cuts() {
                cuts.push(mark.at);
            }
        }
        (grants, cuts)
    }

    /// Whether an account has ended this addition by leaving.
    pub(super) fn has_left(&self, account: AccountAt, addition: At) -> bool {
        self.leavings.range((addition, account, 0)..=(addition, account, At::MAX)).next().is_some()
    }

    /// Takes in what was planned. Returns where it begins, and what it changes.
    pub(super) fn append(&mut self, overlay: Overlay) -> (At, Vec<Vec<Change>>) {
        let first = self.index.len();
        for &old in overlay.back.values() {
            if let Some(author) = self.index.get(old).map(|entry| entry.author)
                && let Some(account) = self.accounts.get_mut(place(author))
            {
                account.aside = account.aside.saturating_sub(1);
            }
        }
        let changes = self.index.extend(overlay);
        for (at, changes) in (first..).zip(&changes) {
            self.register(at, changes);
        }
        (first, changes)
    }

    fn register(&mut self, at: At, changes: &[Change]) {
        let Some(author) = self.index.get(at).map(|entry| entry.author) else { return };
        if let Some(account) = self.accounts.get_mut(place(author)) {
            account.written.push(at);
        }
        for change in changes {
            if let Some((kind, named)) = Kind::of(change) {
                let named = self.meet(*named);
                let Some(account) = self.accounts.get_mut(place(named)) else { continue };
                account.marks.push(Mark { at, kind });
                account.ever_appointed |= kind == Kind::Appoint;
                account.ever_banned |= kind == Kind::Ban;
            }
            match change {
                Change::Leave => {
                    self.index.flag(at, LEAVING, true);
                    if let [addition] = *self.index.view().parents(at) {
                        self.leavings.insert((addition, author, at));
                    }
                }
                Change::Retire { device, admission } => {
                    if let Some(device) = self.find_device(author, device, admission) {
                        self.retires.insert(at, device);
                    }
                }
                Change::Set { key, .. } => self.writes.entry(*key).or_default().push(at),
                _ => {}
            }
        }
    }

    /// Puts operations aside: they change nothing, and nothing that counts has them in its past.
    pub(super) fn put_aside(&mut self, dead: &[At]) {
        let (mut authors, mut named, mut keys) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for &at in dead {
            let Some((author, changes)) = self.index.get(at).map(|entry| (entry.author, entry.changes())) else {
                continue;
            };
            self.index.flag(at, ASIDE, true);
            self.index.flag(at, KEPT, false);
            self.index.aside.insert(at);
            authors.insert(author);
            if let Some(account) = self.accounts.get_mut(place(author)) {
                account.aside = account.aside.saturating_add(1);
            }
            for change in &changes {
                named.extend(change.named().and_then(|named| self.names.find(named)));
                match change {
                    Change::Leave => {
                        if let [addition] = *self.index.view().parents(at) {
                            self.leavings.remove(&(addition, author, at));
                        }
                    }
                    Change::Retire { .. } => drop(self.retires.remove(&at)),
                    Change::Set { key, .. } => drop(keys.insert(*key)),
                    _ => {}
                }
            }
        }
        let Self { index, accounts, writes, .. } = self;
        let stays = |at: At| !index.is(at, ASIDE);
        for author in authors {
            if let Some(account) = accounts.get_mut(place(author)) {
                account.written.retain(|&at| stays(at));
            }
        }
        for named in named {
            if let Some(account) = accounts.get_mut(place(named)) {
                account.marks.retain(|mark| stays(mark.at));
            }
        }
        for key in keys {
            if let Some(writes) = writes.get_mut(&key) {
                writes.retain(|&at| stays(at));
            }
        }
    }

    /// Whether it counts.
    pub(super) fn is_live(&self, at: At) -> bool {
        let Some(entry) = self.index.get(at) else { return false };
        entry.is(EFFECTIVE | RETIRING)
            || (entry.is(LEAVING) && self.index.view().parents(at).iter().all(|&addition| self.is_effective(addition)))
    }
}
