//! What must hold for every set, on many seeds; and that these checks find a rule that is switched off.

use super::differential::seeds;
use super::history::{LAPTOP, PHONE, RECOVERY, account, random, retire};
use super::reference::{ALL, Meaning, Rules, Set, has};
use crate::keys::AccountId;
use crate::log::operation::Change::{self, Add, Appoint, Ban, Dismiss, Leave, Lift, Remove};
use crate::log::operation::Operation;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

/// Any operation that can be encoded.
pub(super) fn any_operation(set: &Set, who: u8, parents: &[usize], rng: &mut StdRng) -> Option<Operation> {
    let count = rng.random_range(0..3);
    let changes: Vec<Change> = (0..count)
        .map(|_| {
            let t = account(b"ABCDEFG"[rng.random_range(0..7)]);
            match rng.random_range(0..10) {
                0 => Add(t),
                1 => Remove(t),
                2 => Appoint(t),
                3 => Dismiss(t),
                4 => Ban(t),
                5 => Lift(t),
                6 => Leave,
                7 => retire(LAPTOP),
                8 => Change::Found([1; 16]),
                _ => Change::Set { key: 1, value: vec![2] },
            }
        })
        .collect();
    set.write(who, PHONE, parents, changes)
}

type Shown = (BTreeSet<AccountId>, BTreeSet<AccountId>, BTreeMap<u8, crate::keys::OperationId>);

/// What is shown, but for one account.
fn rest(meaning: &Meaning, but: AccountId) -> Shown {
    let (members, admins, settings) = meaning.shown();
    let without = |of: &BTreeSet<AccountId>| of.iter().copied().filter(|who| *who != but).collect();
    (without(members), without(admins), settings.clone())
}

struct Check<'a> {
    set: Set,
    meaning: Meaning,
    rules: Rules,
    rng: StdRng,
    found: &'a mut BTreeMap<&'static str, u32>,
}

impl Check<'_> {
    fn note(&mut self, what: &'static str) {
        *self.found.entry(what).or_default() += 1;
    }

    fn now(&self) -> Meaning {
        self.set.meaning(&self.set.all(), self.rules)
    }

    /// All heads, of what counts and of what does not. Beyond eight nothing is written on all of them at once.
    fn heads(&self) -> Vec<usize> {
        self.set.heads(&self.set.all())
    }

    fn bases(&self) -> Vec<Vec<usize>> {
        (0..self.set.ops.len()).map(|i| vec![i]).chain([self.heads()]).collect()
    }

    /// A device of an account that is not retired.
    fn alive(&self, who: AccountId) -> u16 {
        let retired = |rank| self.meaning.retired.contains(&(who, rank));
        [PHONE, LAPTOP].into_iter().find(|&rank| !retired(rank)).unwrap_or(RECOVERY)
    }

    fn live_part_means_the_same(&mut self) {
        let live = self.set.close(&self.meaning.live);
        if self.set.meaning(&live, self.rules).shown() != self.meaning.shown() {
            self.note("the meaning depends on what does not count");
        }
    }

    /// What is written on the heads by who may is effective at once; and no addition that does not know of a removal undoes it.
    fn heads_count(&mut self) {
        let own = self.set.owner();
        let mut writers = vec![own];
        writers.extend(&self.meaning.admins);
        for a in writers {
            for t in self.meaning.members.clone() {
                if t == a || t == own || (a != own && self.meaning.admins.contains(&t)) {
                    continue;
                }
                let Some(r) = self.set.add(a.0[0], self.alive(a), &self.heads(), vec![Remove(t)]) else { continue };
                if self.now().members.contains(&t) {
                    self.note("a removal on the heads fails");
                }
                for b in self.meaning.admins.clone() {
                    for base in 0..r {
                        if b == t || self.rng.random_bool(0.93) {
                            continue;
                        }
                        if self.set.add(b.0[0], self.alive(b), &[base], vec![Add(t)]).is_some() {
                            if self.now().members.contains(&t) {
                                self.note("an addition undoes a removal that it does not know of");
                            }
                            self.set.ops.pop();
                        }
                    }
                }
                self.set.ops.pop();
            }
            if self.set.add(a.0[0], self.alive(a), &self.heads(), vec![Add(account(b'Y'))]).is_some() {
                if !self.now().members.contains(&account(b'Y')) {
                    self.note("an addition on the heads fails");
                }
                self.set.ops.pop();
            }
        }
    }

    fn retired_devices_change_nothing(&mut self) {
        for (who, rank) in self.meaning.retired.clone() {
            for base in self.bases() {
                let kinds = [
                    Add(account(b'Z')),
                    Remove(account(b'B')),
                    Change::Set { key: 1, value: vec![6] },
                    Appoint(account(b'E')),
                    retire(LAPTOP),
                ];
                for change in kinds {
                    if self.rng.random_bool(0.9) {
                        continue;
                    }
                    if self.set.add(who.0[0], rank, &base, vec![change]).is_some() {
                        if self.now().shown() != self.meaning.shown() {
                            self.note("a retired device changes something");
                        }
                        self.set.ops.pop();
                    }
                }
            }
        }
    }

    /// Whether the owner has appointed an account, and has not cut it since.
    fn has_authority(&self, who: AccountId) -> bool {
        let owners: Vec<usize> =
            self.meaning.effective.iter().copied().filter(|&i| self.set.ops[i].author() == self.set.owner()).collect();
        let cuts = |k: usize| [Dismiss, Remove, Ban].iter().any(|kind| self.set.ops[k].names(*kind, &who));
        let knows = |g: usize, k: usize| has(&self.set.ops[g].past, k);
        owners
            .iter()
            .any(|&g| self.set.ops[g].names(Appoint, &who) && owners.iter().filter(|&&k| cuts(k)).all(|&k| knows(g, k)))
    }

    /// Who is out, or dismissed, changes nothing but its own leaving: alone, in chains, and with an accomplice who is in.
    fn outsiders_change_nothing(&mut self) {
        let own = self.set.owner();
        let names: BTreeSet<AccountId> =
            self.set.ops.iter().map(super::reference::Op::author).filter(|who| *who != own).collect();
        for name in names {
            let (allowed, heads) = (self.has_authority(name), self.heads());
            for base in self.bases() {
                if self.rng.random_bool(0.75) {
                    continue;
                }
                let before = self.set.ops.len();
                let mut parents = base.clone();
                for _ in 0..2 {
                    let (change, rank) = (self.hostile(), [PHONE, LAPTOP][self.rng.random_range(0..2)]);
                    let onto = if change == Leave {
                        self.an_addition(name).unwrap_or(parents.clone())
                    } else {
                        parents.clone()
                    };
                    if let Some(x) = self.set.add(name.0[0], rank, &onto, vec![change]) {
                        parents = vec![x];
                    }
                }
                if self.set.ops.len() > before {
                    self.judge_outsider(name, allowed, before);
                    self.judge_accomplice(name, allowed, before, &base, &heads);
                }
                self.set.ops.truncate(before);
            }
        }
    }

    fn hostile(&mut self) -> Change {
        let kinds = [
            Add(account(b'Z')),
            Remove(account(b'B')),
            Remove(account(b'C')),
            Change::Set { key: 1, value: vec![6] },
            Ban(account(b'F')),
            Lift(account(b'F')),
            Add(account(b'F')),
            Leave,
            retire(PHONE),
            retire(LAPTOP),
        ];
        kinds[self.rng.random_range(0..kinds.len())].clone()
    }

    fn an_addition(&mut self, of: AccountId) -> Option<Vec<usize>> {
        let adds = |i: &usize| self.set.ops[*i].names(Add, &of) || self.set.ops[*i].names(Appoint, &of);
        let all: Vec<usize> = (0..self.set.ops.len()).filter(adds).collect();
        (!all.is_empty()).then(|| vec![all[self.rng.random_range(0..all.len())]])
    }

    fn judge_outsider(&mut self, name: AccountId, allowed: bool, before: usize) {
        let leaves = self.set.ops[before..].iter().any(|op| op.changes() == [Leave]);
        let after = self.now();
        if allowed {
            if self.meaning.admins.iter().any(|who| *who != name && !after.admins.contains(who)) {
                self.note("an admin touches another admin");
            }
        } else if rest(&after, name) != rest(&self.meaning, name) || (!leaves && after.shown() != self.meaning.shown())
        {
            self.note("who is out or dismissed changes something");
        }
    }

    fn judge_accomplice(&mut self, name: AccountId, allowed: bool, before: usize, base: &[usize], heads: &[usize]) {
        // A leaving brings a past of its own.
        if allowed || self.set.ops[before..].iter().any(|op| op.changes() == [Leave]) {
            return;
        }
        let hostile: Vec<_> = self.set.ops[before..].to_vec();
        let mut allies = vec![self.set.owner()];
        allies.extend(self.meaning.admins.iter().filter(|who| **who != name).take(1));
        for ally in allies {
            let change = loop {
                let change = self.hostile();
                if !matches!(change, Leave | Change::Retire { .. }) {
                    break change;
                }
            };
            let onto = if self.rng.random_bool(0.5) { heads } else { base };
            let with: Vec<usize> = onto.iter().copied().chain([self.set.ops.len() - 1]).collect();
            let keys = |(members, admins, settings): Shown| (members, admins, settings.into_keys().collect::<Vec<_>>());
            if with.len() > 8 || self.set.add(ally.0[0], self.alive(ally), &with, vec![change.clone()]).is_none() {
                continue;
            }
            let helped = keys(rest(&self.now(), name));
            self.set.ops.truncate(before);
            if self.set.add(ally.0[0], self.alive(ally), onto, vec![change]).is_some() {
                if helped != keys(rest(&self.now(), name)) {
                    self.note("an accomplice gains");
                }
                self.set.ops.pop();
            }
            self.set.ops.extend(hostile.iter().cloned());
        }
    }
}

fn check(seed: u64, rules: Rules, found: &mut BTreeMap<&'static str, u32>) {
    let set = random(seed, 60);
    let meaning = set.meaning(&set.all(), rules);
    let mut check = Check { set, meaning, rules, rng: StdRng::seed_from_u64(!seed), found };
    check.live_part_means_the_same();
    check.heads_count();
    check.retired_devices_change_nothing();
    check.outsiders_change_nothing();
}

#[test]
fn what_must_hold_for_every_set() {
    let mut found = BTreeMap::new();
    for seed in 0..seeds(60, 6_000) {
        check(seed, ALL, &mut found);
    }
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn each_rule_that_is_switched_off_is_noticed() {
    for (name, rules) in [
        ("cuts", Rules { cuts: false, ..ALL }),
        ("retires", Rules { retires: false, ..ALL }),
        ("remove wins", Rules { remove_wins: false, ..ALL }),
        ("protect", Rules { protect: false, ..ALL }),
    ] {
        let mut found = BTreeMap::new();
        let noticed = (0..200).any(|seed| {
            check(seed, rules, &mut found);
            !found.is_empty()
        });
        assert!(noticed, "{name}");
    }
}

/// The same, of the program itself: with a rule switched off, the reference and the log part.
#[test]
fn the_log_follows_each_rule() {
    for rules in [
        Rules { cuts: false, ..ALL },
        Rules { retires: false, ..ALL },
        Rules { remove_wins: false, ..ALL },
        Rules { protect: false, ..ALL },
    ] {
        let differs = (0..200).any(|seed| {
            let set = random(seed, 60);
            set.meaning(&set.all(), rules).shown() != set.meaning(&set.all(), ALL).shown()
        });
        assert!(differs, "{rules:?}");
    }
}
