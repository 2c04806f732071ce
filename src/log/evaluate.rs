//! From operations to what they mean, after a batch: only what the batch concerns is judged again.
//!
//! The order is that of the rules (docs/PROTOCOL.md, "Meaning"): the owner's operations, then each admin's, then who is in, the
//! settings, and what is kept.

use super::index::{ASIDE, AccountAt, At, EFFECTIVE, KEPT, LEAVING, MOVED, OWNER, RETIRING, Set, place};
use super::operation::Change;
use super::roster::{Kind, Role, Roster};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// What a batch has changed.
#[derive(Debug, Default)]
pub(super) struct Changed {
    /// Roles before the batch.
    pub(super) roles: BTreeMap<AccountAt, Role>,
    pub(super) settings: BTreeSet<u8>,
    /// Operations from before the batch that count no more.
    pub(super) fallen: Vec<At>,
}

/// What has to be judged.
#[derive(Debug, Default)]
struct Dirty {
    /// Accounts whose membership has to be looked at.
    members: BTreeSet<AccountAt>,
    /// Accounts all of whose operations have to be judged.
    authors: BTreeSet<AccountAt>,
    keys: BTreeSet<u8>,
    fallen: Vec<At>,
    /// What the operations of the batch change.
    changes: Vec<Vec<Change>>,
}

/// Pasts and futures of operations, walked when they are asked for.
#[derive(Debug, Default)]
struct Walks {
    pasts: BTreeMap<At, Set>,
    futures: BTreeMap<At, Set>,
}

impl Roster {
    /// Whether x is in the past of y, by one walk from y, if it is not plain.
    fn walk_past(&mut self, walks: &mut Walks, x: At, y: At) -> bool {
        let base = self.base(y);
        if x < base || x >= y {
            return x < base;
        }
        let set = walks.pasts.entry(y).or_insert_with(|| {
            let view = self.index.view();
            let (set, steps) = view.past(view.parents(y), base, u64::MAX).unwrap_or((Set::new(base, base), 0));
            self.steps = self.steps.saturating_add(steps);
            set
        });
        set.has(x)
    }

    /// The same, by one walk forward from x.
    fn walk_future(&mut self, walks: &mut Walks, x: At, y: At) -> bool {
        let base = self.base(y);
        if x < base || x >= y {
            return x < base;
        }
        let set = walks.futures.entry(x).or_insert_with(|| {
            let end = self.index.len();
            self.steps = self.steps.saturating_add(u64::from(end.saturating_sub(x)));
            self.index.view().future(x, end)
        });
        set.has(y)
    }

    /// Judges what the operations from `first` on concern.
    pub(super) fn evaluate(&mut self, first: At, changes: Vec<Vec<Change>>) -> Changed {
        let mut dirty = Dirty { changes, ..Dirty::default() };
        self.judge_owner(first, &mut dirty);
        let mut authors = core::mem::take(&mut dirty.authors);
        let mut fresh = BTreeSet::new();
        for at in first..self.index.len() {
            if let Some(author) = self.index.get(at).map(|entry| entry.author).filter(|&author| author != OWNER) {
                fresh.insert(author);
                if self.index.is(at, LEAVING) {
                    dirty.members.insert(author);
                }
                if self.retires.contains_key(&at) {
                    authors.insert(author);
                }
            }
        }
        for &author in fresh.union(&authors) {
            let from = if authors.contains(&author) { 0 } else { first };
            self.judge_author(author, from, first, &mut dirty);
        }
        let mut changed = Changed { roles: self.judge_members(&dirty.members), ..Changed::default() };
        for key in dirty.keys {
            if self.judge_setting(key) {
                changed.settings.insert(key);
            }
        }
        self.keep(if dirty.fallen.is_empty() { first } else { 0 });
        changed.fallen = dirty.fallen;
        changed
    }

    /// Notes a verdict.
    fn set_effective(&mut self, at: At, on: bool, first: At, dirty: &mut Dirty) {
        let Some(entry) = self.index.get(at).filter(|entry| entry.is(EFFECTIVE) != on) else { return };
        let (owners, base) = (entry.author == OWNER, entry.base);
        let fresh = at.checked_sub(first).and_then(|at| dirty.changes.get_mut(place(at))).map(core::mem::take);
        let changes = fresh.unwrap_or_else(|| entry.changes());
        self.index.flag(at, EFFECTIVE, on);
        if !on {
            dirty.fallen.push(at);
        }
        for change in &changes {
            if let Change::Set { key, .. } = change {
                dirty.keys.insert(*key);
            }
            let Some((kind, named)) = Kind::of(change) else { continue };
            let Some(named) = self.names.find(named) else { continue };
            dirty.members.insert(named);
            // What a cut has seen stands; what has not come yet is judged when it comes.
            let written = self.account(named).and_then(|account| account.written.last().copied());
            let settled = on && at >= first && (kind == Kind::Appoint || written.is_none_or(|last| last < base));
            if owners && (kind == Kind::Appoint || kind.cuts()) && written.is_some() && !settled {
                dirty.authors.insert(named);
            }
        }
    }

    /// Rules 1 and 3: the owner's operations count, but for what a retired device wrote that the retiring has not seen.
    fn judge_owner(&mut self, first: At, dirty: &mut Dirty) {
        let Some(owner) = self.account(OWNER) else { return };
        let retires = self.retires.range(first..).any(|(&at, _)| self.is_owners(at));
        if !retires {
            let retired: BTreeSet<u32> = owner.retired.iter().map(|&(_, device)| device).collect();
            let fresh = owner.written.partition_point(|&at| at < first);
            for at in owner.written.get(fresh..).unwrap_or_default().to_vec() {
                let stands = self.index.get(at).is_some_and(|entry| !retired.contains(&entry.device));
                self.set_effective(at, stands, first, dirty);
            }
            return;
        }
        let (written, mut walks) = (owner.written.clone(), Walks::default());
        let accepted = self.retirings(OWNER, &written, |_| true, &mut walks);
        for at in written {
            let stands = self.stands(at, &accepted, &mut walks);
            self.set_effective(at, stands, first, dirty);
        }
        self.note_retirings(OWNER, accepted, dirty);
    }

    /// Rules 2 and 3: judges what an account other than the owner's wrote, from `from` on.
    fn judge_author(&mut self, author: AccountAt, from: At, first: At, dirty: &mut Dirty) {
        let Some(account) = self.account(author) else { return };
        let begin = account.written.partition_point(|&at| at < from);
        let written = account.written.get(begin..).unwrap_or_default().to_vec();
        let mut walks = Walks::default();
        let authorised = self.authorised(author, &written, &mut walks);
        let accepted = if from == 0 {
            self.retirings(author, &written, |at| authorised.contains(&at), &mut walks)
        } else {
            account_retired(self, author)
        };
        for at in written {
            let plain = !self.index.is(at, LEAVING) && !self.retires.contains_key(&at);
            let on = plain && authorised.contains(&at) && self.stands(at, &accepted, &mut walks);
            self.set_effective(at, on, first, dirty);
        }
        if from == 0 {
            self.note_retirings(author, accepted, dirty);
        }
    }

    /// The retirings of an account that count, by seniority of their authors.
    fn retirings(
        &mut self,
        account: AccountAt,
        written: &[At],
        accept: impl Fn(At) -> bool,
        walks: &mut Walks,
    ) -> Vec<(At, u32)> {
        let mut candidates: Vec<(u16, At, u32)> = Vec::new();
        for &at in written {
            let Some((entry, &target)) = self.index.get(at).zip(self.retires.get(&at)) else { continue };
            if entry.author == account && self.rank(entry.device) < self.rank(target) && accept(at) {
                candidates.push((self.rank(entry.device), at, target));
            }
        }
        candidates.sort_unstable();
        let mut accepted: Vec<(At, u32)> = Vec::new();
        for (_, at, target) in candidates {
            if self.stands(at, &accepted, walks) {
                accepted.push((at, target));
            }
        }
        accepted
    }

    /// An operation of a retired device stands if the retiring has it in its past.
    fn stands(&mut self, at: At, retirings: &[(At, u32)], walks: &mut Walks) -> bool {
        let Some(device) = self.index.get(at).map(|entry| entry.device) else { return false };
        retirings.iter().all(|&(retiring, target)| target != device || self.walk_past(walks, at, retiring))
    }

    fn note_retirings(&mut self, account: AccountAt, accepted: Vec<(At, u32)>, dirty: &mut Dirty) {
        let Some(account) = self.accounts.get_mut(place(account)) else { return };
        let before = core::mem::replace(&mut account.retired, accepted);
        let now: Vec<At> = account.retired.iter().map(|&(at, _)| at).collect();
        for (at, _) in before {
            if !now.contains(&at) && !self.index.is(at, MOVED) {
                self.index.flag(at, RETIRING, false);
                dirty.fallen.push(at);
            }
        }
        for at in now {
            self.index.flag(at, RETIRING, true);
        }
    }

    /// Rule 2: which of these operations of an account have an appointment in their past such that every cut is in the
    /// appointment's past, or has the operation in its own.
    fn authorised(&mut self, author: AccountAt, written: &[At], walks: &mut Walks) -> BTreeSet<At> {
        let (grants, cuts) = self.grants_and_cuts(author);
        let mut authorised = BTreeSet::new();
        if grants.is_empty() {
            return authorised;
        }
        for &at in written {
            // The cuts that have not seen it. An appointment that came before the last of them can't have it in its past.
            let unseen: Vec<At> = cuts.iter().copied().filter(|&cut| !self.walk_past(walks, at, cut)).collect();
            let last = unseen.last().copied();
            let good = grants.iter().rev().take_while(|&&grant| last.is_none_or(|last| grant > last)).any(|&grant| {
                let base = self.base(grant);
                let mut late = unseen.iter().rev().take_while(|&&cut| cut >= base);
                self.walk_future(walks, grant, at) && late.all(|&cut| self.walk_past(walks, cut, grant))
            });
            if good {
                authorised.insert(at);
            }
        }
        authorised
    }

    /// Rule 5: of the effective writes that no other follows, the owner's, then the highest, then the smaller id. Returns
    /// whether another one holds than before.
    fn judge_setting(&mut self, key: u8) -> bool {
        // Whatever is below a write's base is followed by it.
        let (mut fresh, mut fence) = (Vec::new(), 0);
        for &at in self.writes.get(&key).into_iter().flatten().rev() {
            if at < fence {
                break;
            }
            if self.is_effective(at) {
                fence = fence.max(self.base(at));
                fresh.push(at);
            }
        }
        fresh.retain(|&at| at >= fence);
        let view = self.index.view();
        let parents: Vec<At> = fresh.iter().flat_map(|&at| view.parents(at)).copied().collect();
        let followed = view.past(&parents, fence, u64::MAX);
        let best = fresh
            .iter()
            .filter(|&&at| followed.as_ref().is_none_or(|(followed, _)| !followed.has(at)))
            .filter_map(|&at| view.get(at).map(|entry| (entry, at)))
            .min_by_key(|(entry, _)| (entry.author != OWNER, core::cmp::Reverse(entry.height), entry.id))
            .map(|(_, at)| at);
        self.steps = self.steps.saturating_add(followed.map_or(0, |(_, steps)| steps));
        let before = match best {
            Some(at) => self.settings.insert(key, at),
            None => self.settings.remove(&key),
        };
        before != best
    }

    /// Marks what counts with its past; puts aside the rest. From `first` on, or anew from 0.
    fn keep(&mut self, first: At) {
        let end = self.index.len();
        if first == 0 {
            self.index.heads.clear();
            self.index.kept = 0;
        }
        let mut inner = Set::new(first, end);
        let mut dead = Vec::new();
        for at in (first..end).rev() {
            if self.index.get(at).is_none_or(|entry| entry.flags & (ASIDE | MOVED) != 0) {
                continue;
            }
            if !inner.has(at) && !self.is_live(at) {
                dead.push(at);
                continue;
            }
            self.index.kept = self.index.kept.saturating_add(1);
            self.index.flag(at, KEPT, true);
            for parent in self.index.view().parents(at).to_vec() {
                inner.insert(parent);
                self.index.heads.remove(&parent);
            }
            if !inner.has(at) {
                self.index.heads.insert(at);
            }
        }
        self.steps = self.steps.saturating_add(u64::from(end.saturating_sub(first)));
        if !dead.is_empty() {
            self.put_aside(&dead);
        }
    }
}

fn account_retired(roster: &Roster, author: AccountAt) -> Vec<(At, u32)> {
    roster.account(author).map(|account| account.retired.clone()).unwrap_or_default()
}
