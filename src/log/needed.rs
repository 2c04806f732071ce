//! Which operations of a batch are worth taking: what may count, and what that builds on.

use super::author::Author;
use super::batch::Batch;
use super::operation::Change;
use super::plan::Planner;
use super::roster::Kind;
use super::waiting::Verified;
use crate::keys::AccountId;
use alloc::borrow::Cow;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

impl Planner<'_> {
    /// Whether what could not count may count after one of these: a retiring that outranks, by who may write, or a cut of who has
    /// retired devices, which may take the retiring.
    pub(super) fn stirs(&self, batch: &Batch<'_>, order: &[usize]) -> bool {
        let mut standing: BTreeMap<Author, bool> = BTreeMap::new();
        let takes = |(kind, named): (Kind, &AccountId)| {
            kind.cuts() && self.roster.find_account(named).is_some_and(|account| !account.retired.is_empty())
        };
        order.iter().filter_map(|&which| batch.list.get(which)?.as_ref()).any(|verified| {
            let author = &verified.operation.author;
            let outranks = verified.target.is_some_and(|target| verified.rank < target);
            (outranks && *standing.entry(*author).or_insert_with(|| self.may_write(author, &BTreeSet::new())))
                || verified.operation.changes.iter().filter_map(Kind::of).any(takes)
        })
    }

    /// Those that may count, as far as their authors' present standing says, and their pasts. Where something stirs, all may but
    /// what waits until a peer has ended.
    pub(super) fn needed(&self, batch: &Batch<'_>, stirs: bool) -> Vec<bool> {
        if self.restoring {
            return alloc::vec![true; batch.list.len()];
        }
        let mut appointed: BTreeSet<AccountId> = BTreeSet::new();
        for verified in batch.list.iter().flatten() {
            let appoints = |change: &Change| match change {
                Change::Appoint(account) => Some(*account),
                _ => None,
            };
            appointed.extend(verified.operation.changes.iter().filter_map(appoints));
        }
        let mut standing: BTreeMap<Author, bool> = BTreeMap::new();
        let mut may_count = |verified: &Cow<'_, Verified>| {
            let held = matches!(verified, Cow::Borrowed(_)) && self.waiting.is_unfinished(&verified.peer);
            if stirs && !held {
                return true;
            }
            let author = &verified.operation.author;
            // A leaving of what is not here is no reason to take it.
            if is_leave(verified) {
                return verified.operation.parents.iter().all(|parent| self.is_known(parent));
            }
            *standing.entry(*author).or_insert_with(|| self.may_write(author, &appointed))
        };
        let mut needed = alloc::vec![false; batch.list.len()];
        // What waits for a parent needs it too, if it may count.
        let all = batch.list.iter().flatten().enumerate();
        let mut stack: Vec<usize> = all.filter(|(_, verified)| may_count(verified)).map(|(which, _)| which).collect();
        while let Some(which) = stack.pop() {
            if let (Some(Some(verified)), Some(needed)) = (batch.list.get(which), needed.get_mut(which))
                && !core::mem::replace(needed, true)
            {
                stack.extend(verified.operation.parents.iter().filter_map(|parent| batch.find(parent)));
            }
        }
        // A leaving goes with its addition.
        for (which, verified) in batch.list.iter().flatten().enumerate() {
            let taken = |parent| batch.find(parent).is_some_and(|at| needed.get(at) == Some(&true));
            let goes = is_leave(verified) && verified.operation.parents.iter().all(taken);
            if let Some(needed) = needed.get_mut(which).filter(|_| goes) {
                *needed = true;
            }
        }
        needed
    }

    fn may_write(&self, author: &Author, appointed: &BTreeSet<AccountId>) -> bool {
        let Some(at) = self.roster.names.find(&author.account) else { return appointed.contains(&author.account) };
        let device = self.roster.find_device(at, &author.device, &author.admission);
        let retired = self
            .roster
            .account(at)
            .is_some_and(|account| account.retired.iter().any(|&(_, retired)| Some(retired) == device));
        !retired && (self.roster.has_authority(at) || appointed.contains(&author.account))
    }
}

fn is_leave(verified: &Verified) -> bool {
    matches!(verified.operation.changes.as_slice(), [Change::Leave])
}
