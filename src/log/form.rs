//! What is refused by everyone alike: it looks at an operation and its own past, never at what else has come.

use super::index::{ASIDE, At, MOVED, OWNER, Overlay, View, place};
use super::operation::{Change, Operation};
use super::roster::{Kind, Roster};
use crate::error::{FormError, OperationError};
use crate::keys::AccountId;
use crate::limits::{MAX_LOG_HEIGHT, MAX_OWN_OPERATIONS};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// What planned operations say of accounts, for the operations planned after them.
#[derive(Debug, Default)]
pub(super) struct Planned {
    pub(super) marks: BTreeMap<AccountId, Vec<(At, Kind)>>,
    pub(super) written: BTreeMap<AccountId, Vec<At>>,
}

impl Planned {
    pub(super) fn note(&mut self, at: At, operation: &Operation) {
        for (kind, account) in operation.changes.iter().filter_map(Kind::of) {
            self.marks.entry(*account).or_default().push((at, kind));
        }
        self.written.entry(operation.author.account).or_default().push(at);
    }
}

/// What can be said of a first operation without any other.
pub(super) fn genesis(operation: &Operation) -> Result<(), FormError> {
    let founds = operation.changes.iter().filter(|change| matches!(change, Change::Found(_))).count();
    let begins =
        |change: &Change| matches!(change, Change::Found(_) | Change::Add(_) | Change::Appoint(_) | Change::Set { .. });
    if founds != 1 || !operation.is_genesis() || !operation.changes.iter().all(begins) {
        return Err(FormError::Genesis);
    }
    named(operation, &operation.author.account)
}

fn named(operation: &Operation, owner: &AccountId) -> Result<(), FormError> {
    let mut names = BTreeSet::from([&operation.author.account, owner]);
    if operation.changes.iter().filter_map(Change::named).all(|name| names.insert(name)) {
        Ok(())
    } else {
        Err(FormError::Named)
    }
}

/// An operation that is planned on top of a roster, with its parents' places.
pub(super) struct Candidate<'a> {
    pub(super) roster: &'a Roster,
    pub(super) overlay: &'a Overlay,
    pub(super) planned: &'a Planned,
    pub(super) operation: &'a Operation,
    pub(super) parents: &'a [At],
}

impl Candidate<'_> {
    fn view(&self) -> View<'_> {
        View { index: &self.roster.index, overlay: Some(self.overlay) }
    }

    /// Whether it could ever be written; and how many steps that took to say.
    pub(super) fn check(&self) -> Result<u64, OperationError> {
        let mut steps = 1;
        self.check_changes(&mut steps).map_err(OperationError::Form)?;
        let heights = self.parents.iter().filter_map(|&parent| self.view().get(parent)).map(|entry| entry.height);
        if heights.max().is_none_or(|height| height >= MAX_LOG_HEIGHT) || self.is_full(&mut steps) {
            return Err(OperationError::Full);
        }
        Ok(steps)
    }

    fn check_changes(&self, steps: &mut u64) -> Result<(), FormError> {
        let operation = self.operation;
        let author = &operation.author.account;
        let Some(owner) = self.roster.names.list.first() else { return Err(FormError::Genesis) };
        if operation.changes.iter().any(|change| matches!(change, Change::Found(_))) {
            return Err(FormError::Genesis);
        }
        named(operation, owner)?;
        let alone = |change: &Change| matches!(change, Change::Leave | Change::Retire { .. });
        match operation.changes.as_slice() {
            [] if operation.parents.len() < 2 => return Err(FormError::Empty),
            [Change::Leave] if author == owner => return Err(FormError::OwnerLeaves),
            [Change::Leave] => {
                let [addition] = *self.parents else { return Err(FormError::LeaveParent) };
                let adds = self.additions(Kind::adds).contains(&addition);
                return if adds { Ok(()) } else { Err(FormError::LeaveParent) };
            }
            [Change::Retire { .. }] if author != owner => {
                let added = self.any_in_past(&self.additions(Kind::adds), steps);
                return if added { Ok(()) } else { Err(FormError::NeverIn) };
            }
            [_] => {}
            changes if changes.iter().any(alone) => return Err(FormError::NotAlone),
            _ => {}
        }
        if author == owner {
            return Ok(());
        }
        let owners = |change: &Change| matches!(change, Change::Appoint(_) | Change::Dismiss(_));
        let is_admin = |kind| kind == Kind::Appoint;
        if operation.changes.iter().any(owners) || !self.any_in_past(&self.additions(is_admin), steps) {
            return Err(FormError::NotAdmin);
        }
        Ok(())
    }

    /// What is held of this kind about the author, effective or not.
    fn additions(&self, is: impl Fn(Kind) -> bool) -> Vec<At> {
        let author = &self.operation.author.account;
        let held = self.roster.find_account(author).into_iter().flat_map(|account| &account.marks);
        let planned = self.planned.marks.get(author).into_iter().flatten();
        held.map(|mark| (mark.at, mark.kind))
            .chain(planned.copied())
            .filter(|&(_, kind)| is(kind))
            .map(|(at, _)| at)
            .collect()
    }

    fn any_in_past(&self, of: &[At], steps: &mut u64) -> bool {
        let view = self.view();
        let plain = |at: At| {
            self.parents.contains(&at)
                || (self.parents.iter().filter_map(|&parent| view.get(parent)).any(|parent| at < parent.base)
                    && view.get(at).is_some_and(|entry| entry.flags & (ASIDE | MOVED) == 0))
        };
        if of.iter().any(|&at| plain(at)) {
            return true;
        }
        let Some(floor) = of.iter().copied().min() else { return false };
        let Some((past, walked)) = view.past(self.parents, floor, u64::MAX) else { return false };
        *steps = steps.saturating_add(walked);
        of.iter().any(|&at| past.has(at))
    }

    /// Whether too many operations of its account are in its past.
    fn is_full(&self, steps: &mut u64) -> bool {
        let author = &self.operation.author.account;
        let account = self.roster.find_account(author);
        let held = account.map(|account| account.written.as_slice()).unwrap_or_default();
        let aside = account.map_or(0, |account| place(account.aside));
        let planned = self.planned.written.get(author).map(Vec::as_slice).unwrap_or_default();
        let most = held.len().saturating_add(planned.len());
        if most.saturating_add(aside) < MAX_OWN_OPERATIONS {
            return false;
        }
        let Some((past, walked)) = self.view().past(self.parents, 0, u64::MAX) else { return false };
        *steps = steps.saturating_add(walked);
        held.iter().chain(planned).filter(|&&at| past.has(at)).count() >= MAX_OWN_OPERATIONS
    }
}

/// Whether an author is the owner.
pub(super) fn is_owner(roster: &Roster, account: &AccountId) -> bool {
    roster.names.find(account) == Some(OWNER)
}
