//! Names of 32 bytes, and where what they name stands.

use super::index::{AccountAt, count, place};
use crate::keys::AccountId;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// The first 8 bytes of a name, to look it up.
fn prefix(name: &[u8; 32]) -> u64 {
    name.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// Places by name: a name's first 8 bytes and the place, 12 bytes each. Whoever makes names with one beginning makes a few at most.
#[derive(Debug, Default)]
pub(super) struct Names {
    first: BTreeMap<u64, u32>,
    /// Those whose beginning another has.
    more: Vec<(u64, u32)>,
}

impl Names {
    pub(super) fn find(&self, name: &[u8; 32], is: impl Fn(u32) -> bool) -> Option<u32> {
        let prefix = prefix(name);
        let first = *self.first.get(&prefix)?;
        if is(first) {
            return Some(first);
        }
        self.more.iter().filter(|(other, _)| *other == prefix).map(|&(_, at)| at).find(|&at| is(at))
    }

    pub(super) fn insert(&mut self, name: &[u8; 32], at: u32) {
        let prefix = prefix(name);
        if *self.first.entry(prefix).or_insert(at) != at {
            self.more.push((prefix, at));
        }
    }

    pub(super) fn remove(&mut self, name: &[u8; 32], at: u32) {
        let prefix = prefix(name);
        if self.first.get(&prefix) != Some(&at) {
            self.more.retain(|entry| *entry != (prefix, at));
            return;
        }
        self.first.remove(&prefix);
        if let Some(next) = self.more.iter().position(|(other, _)| *other == prefix) {
            self.first.insert(prefix, self.more.swap_remove(next).1);
        }
    }
}

/// Accounts by name.
#[derive(Debug, Default)]
pub(super) struct AccountNames {
    names: Names,
    pub(super) list: Vec<AccountId>,
}

impl AccountNames {
    pub(super) fn find(&self, id: &AccountId) -> Option<AccountAt> {
        self.names.find(&id.0, |at| self.list.get(place(at)) == Some(id))
    }

    pub(super) fn insert(&mut self, id: AccountId) -> AccountAt {
        self.find(&id).unwrap_or_else(|| {
            let at = count(self.list.len());
            self.names.insert(&id.0, at);
            self.list.push(id);
            at
        })
    }
}
