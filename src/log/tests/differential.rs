//! The incremental evaluation against the whole set's, operation by operation and in any order.

use super::history::{TRUSTED, random};
use super::reference::{ALL, Set};
use crate::log::roster::Role;
use crate::log::{Log, Verdict};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeSet;
use std::vec::Vec;

pub(super) fn seeds(few: u64, many: u64) -> u64 {
    if std::env::var_os("SCEAU_THOROUGH").is_some() { many } else { few }
}

/// Asserts that a log says of these operations what the whole set says.
pub(super) fn same(set: &Set, arrived: &BTreeSet<usize>, log: &Log, what: &str) {
    let meaning = set.meaning(arrived, ALL);
    let kept = set.close(&meaning.live);
    for &i in arrived {
        let id = set.ops[i].id;
        assert_eq!(log.is_effective(&id), meaning.effective.contains(&i), "{what}: effective {i} {:?}", set.ops[i]);
        assert_eq!(log.is_kept(&id), kept.contains(&i), "{what}: kept {i}");
        assert_eq!(log.counts(&id), meaning.live.contains(&i), "{what}: counts {i}");
    }
    for who in b"ABCDEFG" {
        let who = super::history::account(*who);
        let expected = match (who == set.owner(), meaning.admins.contains(&who), meaning.members.contains(&who)) {
            (true, ..) => Role::Owner,
            (_, true, _) => Role::Admin,
            (_, _, true) => Role::Member,
            _ => Role::None,
        };
        assert_eq!(log.role(&who), expected, "{what}: {who:?}");
    }
    for key in [1, 2] {
        assert_eq!(log.setting_from(key), meaning.settings.get(&key).copied(), "{what}: setting {key}");
    }
    let mut heads: Vec<_> = set.heads(&kept).into_iter().map(|i| set.ops[i].id).collect();
    heads.sort_unstable();
    assert_eq!((log.heads(), log.len()), (heads, kept.len()), "{what}: heads");
}

#[test]
fn operation_by_operation() {
    for seed in 0..seeds(150, 6_000) {
        let set = random(seed, 60);
        let (mut log, mut arrived) = (Log::of(&set), BTreeSet::from([0]));
        for i in 1..set.ops.len() {
            log.give(vec![set.verified(i)], TRUSTED);
            arrived.insert(i);
            same(&set, &arrived, &log, &format!("seed {seed}, operation {i}"));
        }
    }
}

#[test]
fn whole_sets_in_any_order_and_in_any_batches() {
    for seed in 0..seeds(150, 6_000) {
        let set = random(seed, 80);
        let mut rng = StdRng::seed_from_u64(seed);
        for _ in 0..3 {
            let mut order: Vec<usize> = (1..set.ops.len()).collect();
            order.shuffle(&mut rng);
            let (mut log, mut arrived) = (Log::of(&set), BTreeSet::from([0]));
            while !order.is_empty() {
                let batch: Vec<usize> = order.split_off(order.len().saturating_sub(rng.random_range(1..12)));
                log.give(batch.iter().map(|&i| set.verified(i)).collect(), TRUSTED);
                arrived.extend(batch);
                // Only what has its past here is judged.
                let here: BTreeSet<usize> =
                    arrived.iter().copied().filter(|&i| set.close(&BTreeSet::from([i])).is_subset(&arrived)).collect();
                same(&set, &here, &log, &format!("seed {seed}"));
            }
        }
    }
}

#[test]
fn restored_from_records_it_is_the_same() {
    for seed in 0..seeds(60, 1_000) {
        let set = random(seed, 60);
        let mut rng = StdRng::seed_from_u64(seed);
        let (mut log, mut records) = Log::stored(&set);
        let mut order: Vec<usize> = (1..set.ops.len()).collect();
        order.shuffle(&mut rng);
        for batch in order.chunks(5) {
            records.extend(log.give_stored(batch.iter().map(|&i| set.verified(i)).collect()));
        }
        let restored = Log::restore(records.iter().map(|record| &*record.bytes)).unwrap();
        // What could not count was not stored; the others bring it again.
        same(&set, &set.all(), &log, "log");
        same(&set, &set.all(), &restored, "restored");
    }
}

/// The form rules look at an operation's past, and nothing else.
#[test]
fn form_is_what_the_words_say() {
    let mut refused = 0;
    for seed in 0..seeds(60, 1_000) {
        let set = random(seed, 50);
        let mut rng = StdRng::seed_from_u64(seed);
        let mut log = Log::of(&set);
        // All of it, dead or not.
        let plan = log.plan_verified((1..set.ops.len()).map(|i| set.verified(i)).collect());
        assert_eq!(plan.taken, set.ops.len() - 1);
        for _ in 0..60 {
            let kept: Vec<usize> = (0..set.ops.len()).filter(|&i| log.is_kept(&set.ops[i].id)).collect();
            let parents: BTreeSet<usize> =
                (0..rng.random_range(1..3)).map(|_| kept[rng.random_range(0..kept.len())]).collect();
            let parents: Vec<usize> = parents.into_iter().collect();
            let who = b"ABCDEFG"[rng.random_range(0..7)];
            let Some(operation) = super::properties::any_operation(&set, who, &parents, &mut rng) else { continue };
            let mut with = set.clone();
            let i = with.push(operation.clone(), parents.clone(), super::history::PHONE);
            let expected = with.form(i);
            refused += u32::from(expected.is_err());
            super::history::same_form(&set, &log, &operation, &parents, expected);
        }
        log.commit(plan);
    }
    assert!(refused > 100, "{refused}");
}

#[test]
fn known_operations_are_known() {
    let set = random(3, 40);
    let mut log = Log::of(&set);
    let all: Vec<_> = (0..set.ops.len()).map(|i| set.verified(i)).collect();
    log.give(all.clone(), TRUSTED);
    let before = (log.heads(), log.len(), log.waiting());
    let (verdicts, outcome) = log.give(all, TRUSTED);
    assert!(verdicts.iter().all(|verdict| matches!(verdict, Verdict::Known | Verdict::CannotCount)));
    assert_eq!((log.heads(), log.len(), log.waiting()), before);
    assert!(outcome.roles.is_empty() && outcome.fallen.is_empty());
}
