//! What is planned together, and what judging it may cost.

use super::form;
use super::index::{count, place};
use super::names::Names;
use super::operation::{Change, Operation};
use super::roster::Roster;
use super::waiting::Verified;
use crate::keys::OperationId;
use alloc::borrow::Cow;
use alloc::vec::Vec;

/// What came, and what waits and has to do with it: the former by value, the latter by reference.
#[derive(Debug, Default)]
pub(super) struct Batch<'a> {
    /// Each until it is judged.
    pub(super) list: Vec<Option<Cow<'a, Verified>>>,
    ids: Vec<OperationId>,
    names: Names,
}

impl<'a> Batch<'a> {
    pub(super) fn add(&mut self, verified: Cow<'a, Verified>) {
        if self.find(&verified.id).is_none() {
            self.names.insert(&verified.id.0, count(self.list.len()));
            self.ids.push(verified.id);
            self.list.push(Some(verified));
        }
    }

    pub(super) fn find(&self, id: &OperationId) -> Option<usize> {
        self.names.find(&id.0, |which| self.ids.get(place(which)) == Some(id)).map(place)
    }
}

/// What judging one operation may cost.
#[derive(Debug, Default)]
pub(super) struct Cost {
    /// Operations about the accounts that it names: 256 of them share one pass.
    lanes: u64,
    /// Operations that are judged again, and walks for that.
    judged: u64,
    walks: u64,
}

impl Cost {
    /// What judging an operation may cost beside one pass over the batch's window, at most.
    pub(super) fn of(roster: &Roster, operation: &Operation) -> Self {
        let mut cost = Self::default();
        let author = roster.find_account(&operation.author.account);
        let owners = form::is_owner(roster, &operation.author.account);
        for change in &operation.changes {
            let account = change.named().and_then(|named| roster.find_account(named));
            let marks = account.map_or(0, |account| account.marks.len());
            cost.lanes = cost.lanes.saturating_add(u64::from(count(marks)).saturating_add(1));
            let retires = matches!(change, Change::Retire { .. });
            let judged = if retires { author } else { account.filter(|_| owners) };
            let written = judged.map_or(0, |account| count(account.written.len()));
            if written > 0 {
                cost.judged = cost.judged.saturating_add(u64::from(written));
                cost.walks = cost.walks.saturating_add(2);
            }
        }
        cost
    }

    /// On the present heads, next to nothing.
    pub(super) fn steps(&self, window: u64) -> u64 {
        if window == 0 {
            return 1;
        }
        let lanes = window.saturating_mul(self.lanes) >> 7;
        lanes.saturating_add(self.judged).saturating_add(self.walks.saturating_mul(window)).saturating_add(1)
    }
}
