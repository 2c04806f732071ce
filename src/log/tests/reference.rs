//! The meaning of a whole set, computed anew from the rules, with nothing remembered: what the incremental evaluation is
//! compared with. Rules can be switched off.

use crate::keys::{AccountId, OperationId};
use crate::log::Change;
use crate::log::operation::Operation;
use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

#[allow(clippy::struct_excessive_bools, reason = "switches")]
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) cuts: bool,
    pub(super) retires: bool,
    pub(super) remove_wins: bool,
    pub(super) protect: bool,
}

pub(super) const ALL: Rules = Rules { cuts: true, retires: true, remove_wins: true, protect: true };

pub(super) type Bits = Vec<u64>;

pub(super) fn has(bits: &Bits, i: usize) -> bool {
    bits.get(i / 64).is_some_and(|word| word >> (i % 64) & 1 == 1)
}

pub(super) fn put(bits: &mut Bits, i: usize) {
    if bits.len() <= i / 64 {
        bits.resize(i / 64 + 1, 0);
    }
    bits[i / 64] |= 1 << (i % 64);
}

pub(super) fn or(to: &mut Bits, from: &Bits) {
    if to.len() < from.len() {
        to.resize(from.len(), 0);
    }
    for (to, from) in to.iter_mut().zip(from) {
        *to |= from;
    }
}

/// One operation, with its whole past.
#[derive(Debug, Clone)]
pub(super) struct Op {
    pub(super) id: OperationId,
    pub(super) operation: Operation,
    pub(super) rank: u16,
    /// The rank of the device that it retires.
    pub(super) target: Option<u16>,
    pub(super) parents: Vec<usize>,
    pub(super) past: Bits,
    pub(super) height: usize,
}

impl Op {
    pub(super) fn author(&self) -> AccountId {
        self.operation.author.account
    }

    pub(super) fn changes(&self) -> &[Change] {
        &self.operation.changes
    }

    pub(super) fn names(&self, kind: fn(AccountId) -> Change, who: &AccountId) -> bool {
        self.changes().contains(&kind(*who))
    }

    fn cuts(&self, who: &AccountId) -> bool {
        self.names(Change::Dismiss, who) || self.names(Change::Remove, who) || self.names(Change::Ban, who)
    }

    fn removes(&self, who: &AccountId) -> bool {
        self.names(Change::Remove, who) || self.names(Change::Ban, who)
    }

    fn adds(&self, who: &AccountId) -> bool {
        self.names(Change::Add, who) || self.names(Change::Appoint, who)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Meaning {
    pub(super) members: BTreeSet<AccountId>,
    pub(super) admins: BTreeSet<AccountId>,
    pub(super) settings: BTreeMap<u8, OperationId>,
    pub(super) effective: BTreeSet<usize>,
    pub(super) live: BTreeSet<usize>,
    pub(super) retired: BTreeSet<(AccountId, u16)>,
}

impl Meaning {
    /// What users see.
    pub(super) fn shown(&self) -> (&BTreeSet<AccountId>, &BTreeSet<AccountId>, &BTreeMap<u8, OperationId>) {
        (&self.members, &self.admins, &self.settings)
    }
}

/// All operations, parents first; the genesis is the first.
#[derive(Debug, Clone, Default)]
pub(super) struct Set {
    pub(super) ops: Vec<Op>,
}

impl Set {
    pub(super) fn owner(&self) -> AccountId {
        self.ops[0].author()
    }

    pub(super) fn find(&self, id: &OperationId) -> Option<usize> {
        self.ops.iter().position(|op| op.id == *id)
    }

    pub(super) fn all(&self) -> BTreeSet<usize> {
        (0..self.ops.len()).collect()
    }

    pub(super) fn close(&self, of: &BTreeSet<usize>) -> BTreeSet<usize> {
        let mut bits = Bits::new();
        for &i in of {
            or(&mut bits, &self.ops[i].past);
            put(&mut bits, i);
        }
        (0..self.ops.len()).filter(|&i| has(&bits, i)).collect()
    }

    pub(super) fn heads(&self, of: &BTreeSet<usize>) -> Vec<usize> {
        let inner: BTreeSet<usize> = of.iter().flat_map(|&i| self.ops[i].parents.iter().copied()).collect();
        of.difference(&inner).copied().collect()
    }

    fn knows(&self, later: usize, earlier: usize) -> bool {
        has(&self.ops[later].past, earlier)
    }

    /// The retirings of an account that count, by seniority of their authors.
    fn retired(&self, ids: &[usize], author: AccountId, accept: impl Fn(usize) -> bool, rules: Rules) -> Vec<usize> {
        let mut candidates: Vec<usize> =
            ids.iter().copied().filter(|&i| self.ops[i].author() == author && self.ops[i].target.is_some()).collect();
        candidates.sort_by_key(|&i| (self.ops[i].rank, self.ops[i].height, self.ops[i].id));
        let mut found: Vec<usize> = Vec::new();
        for r in candidates {
            if Some(self.ops[r].rank) < self.ops[r].target && accept(r) && self.stands(r, &found, rules) {
                found.push(r);
            }
        }
        found
    }

    fn stands(&self, x: usize, retirings: &[usize], rules: Rules) -> bool {
        !rules.retires || retirings.iter().all(|&r| self.ops[r].target != Some(self.ops[x].rank) || self.knows(r, x))
    }

    pub(super) fn meaning(&self, ids: &BTreeSet<usize>, rules: Rules) -> Meaning {
        let ids: Vec<usize> = ids.iter().copied().collect();
        let own = self.owner();
        let mut meaning = Meaning::default();
        // Owner.
        let retirings = self.retired(&ids, own, |_| true, rules);
        let owners: Vec<usize> = ids
            .iter()
            .copied()
            .filter(|&i| i == 0 || (self.ops[i].author() == own && self.stands(i, &retirings, rules)))
            .collect();
        let mut effective: BTreeSet<usize> = owners.iter().copied().collect();
        let mut live = effective.clone();
        let note = |live: &mut BTreeSet<usize>, meaning: &mut Meaning, retirings: &[usize]| {
            for &r in retirings {
                live.insert(r);
                meaning.retired.insert((self.ops[r].author(), self.ops[r].target.unwrap()));
            }
        };
        note(&mut live, &mut meaning, &retirings);
        let cuts = |t: &AccountId| -> Vec<usize> { owners.iter().copied().filter(|&o| self.ops[o].cuts(t)).collect() };
        let grants = |t: &AccountId| -> Vec<usize> {
            owners.iter().copied().filter(|&o| self.ops[o].names(Change::Appoint, t)).collect()
        };
        // Admins.
        let authors: BTreeSet<AccountId> = ids.iter().map(|&i| self.ops[i].author()).filter(|a| *a != own).collect();
        for author in authors {
            let (grants, cuts) = (grants(&author), cuts(&author));
            let authorised = |x: usize| {
                grants.iter().any(|&g| {
                    self.knows(x, g) && cuts.iter().all(|&k| self.knows(g, k) || self.knows(k, x) || !rules.cuts)
                })
            };
            let retirings = if grants.is_empty() { Vec::new() } else { self.retired(&ids, author, authorised, rules) };
            note(&mut live, &mut meaning, &retirings);
            for &x in ids.iter().filter(|&&x| self.ops[x].author() == author) {
                let apart = matches!(self.ops[x].changes(), [Change::Leave | Change::Retire { .. }]);
                if !apart && authorised(x) && self.stands(x, &retirings, rules) {
                    effective.insert(x);
                    live.insert(x);
                }
            }
        }
        self.members(&ids, &effective, &mut live, &mut meaning, rules, &cuts, &grants);
        self.settings(&ids, &effective, &mut meaning);
        (meaning.effective, meaning.live) = (effective, live);
        meaning
    }

    #[allow(clippy::too_many_arguments, reason = "one pass of three")]
    fn members(
        &self,
        ids: &[usize],
        effective: &BTreeSet<usize>,
        live: &mut BTreeSet<usize>,
        meaning: &mut Meaning,
        rules: Rules,
        cuts: &dyn Fn(&AccountId) -> Vec<usize>,
        grants: &dyn Fn(&AccountId) -> Vec<usize>,
    ) {
        let own = self.owner();
        meaning.members.insert(own);
        let owners = |i: usize| self.ops[i].author() == own;
        let leavings: Vec<usize> = ids.iter().copied().filter(|&i| self.ops[i].changes() == [Change::Leave]).collect();
        live.extend(leavings.iter().filter(|&&l| effective.contains(&self.ops[l].parents[0])));
        let named: BTreeSet<AccountId> = ids
            .iter()
            .flat_map(|&i| self.ops[i].changes())
            .filter(|change| matches!(change, Change::Add(_) | Change::Appoint(_)))
            .filter_map(|change| change.named().copied())
            .collect();
        for t in named {
            let left = |a: usize| leavings.iter().any(|&l| self.ops[l].author() == t && self.ops[l].parents == [a]);
            let by = |is: &dyn Fn(&Op) -> bool| -> Vec<usize> {
                effective.iter().copied().filter(|&i| is(&self.ops[i])).collect()
            };
            let mut removals = by(&|op| op.removes(&t));
            let appointed = grants(&t).into_iter().any(|g| !left(g) && cuts(&t).iter().all(|&k| self.knows(g, k)));
            if appointed && rules.protect {
                removals.retain(|&r| owners(r));
            }
            let lifts = by(&|op| op.names(Change::Lift, &t));
            let holds = |a: usize| {
                let gone = removals.iter().any(|&r| {
                    let reached = !owners(a) || owners(r) || self.knows(r, a);
                    !self.knows(a, r) && reached && (rules.remove_wins || self.knows(r, a))
                });
                let banned = removals.iter().filter(|&&b| self.ops[b].names(Change::Ban, &t)).any(|&b| {
                    let lifted =
                        lifts.iter().any(|&f| self.knows(f, b) && (owners(f) || !owners(b)) && self.knows(a, f));
                    !lifted && (!owners(a) || owners(b))
                });
                !gone && !banned && !left(a)
            };
            if by(&|op| op.adds(&t)).into_iter().any(holds) {
                meaning.members.insert(t);
                if appointed {
                    meaning.admins.insert(t);
                }
            }
        }
    }

    fn settings(&self, ids: &[usize], effective: &BTreeSet<usize>, meaning: &mut Meaning) {
        let own = self.owner();
        let keys: BTreeSet<u8> = ids.iter().flat_map(|&i| self.ops[i].changes()).filter_map(key).collect();
        for wanted in keys {
            let writes: Vec<usize> = effective
                .iter()
                .copied()
                .filter(|&i| self.ops[i].changes().iter().filter_map(key).any(|key| key == wanted))
                .collect();
            let top = |&&i: &&usize| !writes.iter().any(|&other| self.knows(other, i));
            let best = writes
                .iter()
                .filter(top)
                .min_by_key(|&&i| (self.ops[i].author() != own, std::cmp::Reverse(self.ops[i].height), self.ops[i].id));
            if let Some(&best) = best {
                meaning.settings.insert(wanted, self.ops[best].id);
            }
        }
    }
}

fn key(change: &Change) -> Option<u8> {
    match change {
        Change::Set { key, .. } => Some(*key),
        _ => None,
    }
}
