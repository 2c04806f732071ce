//! What a peer or an author can fill, and what it can cost.

use super::history::{PHONE, TRUSTED, account, retire};
use super::reference::Set;
use crate::error::{FormError, OperationError, StateError};
use crate::keys::{AccountId, OperationId, PeerId};
use crate::limits::{
    MAX_DEAD_OF_AUTHOR, MAX_LOG_HEIGHT, MAX_OPERATION_LEN, MAX_OWN_OPERATIONS, MAX_UNFINISHED_BYTES,
    MAX_WAITING_OPERATIONS,
};
use crate::log::names::AccountNames;
use crate::log::operation::Change::{self, Add, Appoint, Remove};
use crate::log::operation::Draft;
use crate::log::plan::Intake;
use crate::log::waiting::{Verified, Waiting};
use crate::log::{Log, Verdict};
use std::vec::Vec;

fn set_to(value: usize) -> Change {
    Change::Set { key: 1, value: value.to_be_bytes().to_vec() }
}

/// An owner, an admin B that was removed and has seen nothing of it, and C, who stays.
fn removed() -> (Set, usize, usize) {
    let mut set = Set::founded(0);
    let h = set.add(b'A', PHONE, &[0], vec![Appoint(account(b'B')), Appoint(account(b'C'))]).unwrap();
    let k = set.add(b'A', PHONE, &[h], vec![Remove(account(b'B'))]).unwrap();
    (set, h, k)
}

fn give_all(log: &mut Log, set: &Set) {
    log.give((0..set.ops.len()).map(|i| set.verified(i)).collect(), TRUSTED);
}

#[test]
fn who_is_out_fills_no_log_and_no_disk() {
    let (mut set, h, _) = removed();
    let (mut log, _) = Log::stored(&set);
    give_all(&mut log, &set);
    let len = log.len();
    for i in 0..300 {
        let x = set.add(b'B', PHONE, &[h], vec![set_to(i)]).unwrap();
        let record = log.give_stored(vec![set.verified(x)]);
        assert_eq!(record, None);
    }
    assert_eq!((log.len(), log.waiting()), (len, MAX_DEAD_OF_AUTHOR));
}

#[test]
fn orphans_of_a_peer_are_bounded() {
    let (mut set, h, _) = removed();
    let mut log = Log::of(&set);
    // Nobody knows h here: all wait. The admins are many devices' worth of authors.
    let names: Vec<u8> = (b'a'..=b'z').collect();
    let all = names.iter().map(|&name| Appoint(account(name))).collect();
    let g = set.add(b'A', PHONE, &[h], all).unwrap();
    for i in 0..20 {
        for &name in &names {
            let x = set.add(name, PHONE, &[g], vec![set_to(i)]).unwrap();
            let (verdicts, _) = log.give(vec![set.verified(x)], TRUSTED);
            assert_eq!(verdicts, [Verdict::WaitsForParents]);
        }
    }
    assert_eq!(log.waiting(), MAX_WAITING_OPERATIONS);
    // Another peer's still find room.
    let x = set.add(b'a', PHONE, &[g], vec![set_to(99)]).unwrap();
    let mut verified = set.verified(x);
    verified.peer = PeerId([2; 32]);
    log.give(vec![verified], TRUSTED);
    assert_eq!(log.waiting(), MAX_WAITING_OPERATIONS + 1);
    // What they waited for comes: they are taken.
    log.give(vec![set.verified(h), set.verified(g)], TRUSTED);
    assert_eq!((log.waiting(), log.len()), (0, 3 + MAX_WAITING_OPERATIONS + 1));
}

/// A run of operations that do not count, longer than what an author may have waiting, stands in the past of one that does.
#[test]
fn what_something_that_counts_builds_on_is_taken_however_long() {
    let (mut set, h, k) = removed();
    let mut log = Log::of(&set);
    give_all(&mut log, &set);
    let mut last = h;
    let run: Vec<usize> = (0..500)
        .map(|i| {
            last = set.add(b'B', PHONE, &[last], vec![set_to(i)]).unwrap();
            last
        })
        .collect();
    let y = set.add(b'C', PHONE, &[k, last], vec![Add(account(b'M'))]).unwrap();
    // In an answer of several parts: while more is to come, nothing is dropped.
    let mut other = Log::of(&set);
    give_all(&mut other, &set);
    for part in run.chunks(100) {
        let given = part.iter().map(|&i| set.verified(i)).collect();
        let (verdicts, _) = log.give(given, Intake { unfinished: true, ..TRUSTED });
        assert!(verdicts.iter().all(|verdict| *verdict == Verdict::CannotCount));
    }
    assert_eq!(log.waiting(), 500);
    log.give(vec![set.verified(y)], TRUSTED);
    assert_eq!((log.waiting(), log.len()), (0, 504));
    assert_eq!(log.heads_hash(), other.heads_hash());
    // When the answer ends without it, few stay.
    let mut log = Log::of(&set);
    log.give(vec![set.verified(1), set.verified(2)], TRUSTED);
    log.give(run.iter().map(|&i| set.verified(i)).collect(), Intake { unfinished: true, ..TRUSTED });
    log.give(Vec::new(), TRUSTED);
    assert_eq!(log.waiting(), MAX_DEAD_OF_AUTHOR);
}

/// An admin that is in can make a device evaluate what its peer's budget allows, and no more.
#[test]
fn a_peer_costs_no_more_than_its_budget() {
    let mut set = Set::founded(0);
    let mut last = set.add(b'A', PHONE, &[0], vec![Appoint(account(b'B')), Appoint(account(b'C'))]).unwrap();
    let old = last;
    for i in 0..400 {
        let t = account(100 + u8::try_from(i % 120).unwrap());
        let change = if i % 3 == 2 { Remove(t) } else { Add(t) };
        last = set.add(b'C', PHONE, &[last], vec![change]).unwrap();
    }
    let mut log = Log::of(&set);
    give_all(&mut log, &set);
    let peer = PeerId([9; 32]);
    let (mut budget, before, mut deferred) = (60_000_u64, log.steps(), 0);
    for i in 0..120 {
        let change = if i % 2 == 0 { Remove(account(100 + i)) } else { Add(account(100 + i)) };
        let Some(x) = set.add(b'B', PHONE, &[old], vec![change]) else { continue };
        let mut verified = set.verified(x);
        verified.peer = peer;
        let (verdicts, outcome) = log.give(vec![verified], Intake { peer, budget, unfinished: false });
        budget = budget.saturating_sub(outcome.spent);
        deferred += u32::from(verdicts == [Verdict::OverBudget]);
    }
    let cost = log.steps() - before;
    assert!(deferred > 50, "{deferred} deferred");
    assert!(cost <= 2 * 60_000, "{cost} steps");
    assert!(log.waiting() > 0);
    // With a new budget they are judged.
    let plan = log.resume(Intake { peer, budget: u64::MAX, unfinished: false });
    assert!(plan.record().is_some());
    plan.commit();
    assert_eq!(log.waiting(), 0);
}

#[test]
fn records_that_do_not_belong_together_are_refused() {
    let set = super::history::random(5, 40);
    let (mut log, mut records) = Log::stored(&set);
    for i in 1..set.ops.len() {
        records.extend(log.give_stored(vec![set.verified(i)]));
    }
    let bytes: Vec<&[u8]> = records.iter().map(|record| &*record.bytes).collect();
    assert_eq!(Log::restore(bytes.iter().copied()).unwrap().heads_hash(), log.heads_hash());
    assert_eq!(Log::restore([]).unwrap_err(), StateError::Inconsistent);
    for i in 0..bytes.len() {
        let mut without = bytes.clone();
        without.remove(i);
        let last = i == bytes.len() - 1;
        assert_eq!(Log::restore(without).is_err(), !last, "without {i}");
        let mut twice = bytes.clone();
        twice.insert(i, bytes[i]);
        assert_eq!(Log::restore(twice).unwrap_err(), StateError::Key);
        for place in 0..bytes[i].len() {
            let mut damaged = bytes[i].to_vec();
            damaged[place] ^= 1;
            let mut all = bytes.clone();
            all[i] = &damaged;
            // Signatures, and what nothing later names, are the vault's to protect.
            if let Ok(restored) = Log::restore(all) {
                assert!(restored.len() <= log.len());
            }
        }
    }
}

/// What a retired cut had taken comes back, also if it never counted here.
#[test]
fn what_could_not_count_is_judged_again_when_a_cut_falls() {
    let (mut set, h, k) = removed();
    let mut log = Log::of(&set);
    give_all(&mut log, &set);
    let x = set.add(b'B', PHONE, &[h], vec![Add(account(b'M'))]).unwrap();
    let (verdicts, _) = log.give(vec![set.verified(x)], TRUSTED);
    assert_eq!(verdicts, [Verdict::CannotCount]);
    let r = set.add(b'A', 0, &[h], vec![retire(PHONE)]).unwrap();
    let (_, outcome) = log.give(vec![set.verified(r)], TRUSTED);
    assert!(log.is_effective(&set.ops[x].id) && !log.is_effective(&set.ops[k].id));
    assert_eq!(outcome.fallen, [set.ops[k].id]);
    super::differential::same(&set, &set.all(), &log, "revived");
}

/// Bounds are seen in an operation's own past. Takes a while: with SCEAU_THOROUGH only.
#[test]
fn a_full_log_takes_no_more() {
    if std::env::var_os("SCEAU_THOROUGH").is_none() {
        return;
    }
    let mut set = Set::founded(0);
    set.add(b'A', PHONE, &[0], vec![Appoint(account(b'B')), Appoint(account(b'C'))]).unwrap();
    let mut log = Log::of(&set);
    give_all(&mut log, &set);
    let mut parent = set.ops[1].id;
    let write = |who: u8, parent: OperationId, i: usize| {
        let draft =
            Draft::new(set.ops[0].id, super::history::author(who, PHONE), vec![parent], vec![set_to(i)]).unwrap();
        let operation = super::history::unsigned(draft);
        let bytes = operation.encode();
        Verified { id: operation.id(), operation, bytes, rank: PHONE, target: None, peer: PeerId([1; 32]) }
    };
    let give = |log: &mut Log, verified: Verified| log.give(vec![verified], TRUSTED).0;
    for i in 0..MAX_OWN_OPERATIONS {
        let verified = write(b'B', parent, i);
        parent = verified.id;
        assert_eq!(give(&mut log, verified), [Verdict::Taken]);
    }
    let full = [Verdict::Refused(OperationError::Full)];
    assert_eq!(give(&mut log, write(b'B', parent, 0)), full);
    // Elsewhere it may still write: the bound is in the operation's past.
    assert_eq!(give(&mut log, write(b'B', set.ops[1].id, 9)), [Verdict::Taken]);
    let begun = usize::try_from(MAX_LOG_HEIGHT).unwrap() - MAX_OWN_OPERATIONS - 1;
    for i in 0..begun {
        let verified = write(b'C', parent, i);
        parent = verified.id;
        assert_eq!(give(&mut log, verified), [Verdict::Taken]);
    }
    assert_eq!(give(&mut log, write(b'A', parent, 0)), full);
}

/// Whoever makes two ids that begin alike gains nothing.
#[test]
fn names_with_one_beginning_are_told_apart() {
    let name = |last: u8| {
        let mut name = [5; 32];
        name[31] = last;
        AccountId(name)
    };
    let mut names = AccountNames::default();
    for last in 0..9 {
        assert_eq!(names.insert(name(last)), u32::from(last));
    }
    for last in 0..9 {
        assert_eq!((names.find(&name(last)), names.insert(name(last))), (Some(last.into()), last.into()));
    }
    assert_eq!(names.find(&name(9)), None);
}

/// Who is out can't make others judge anything again by retiring devices, however often.
#[test]
fn retirings_of_who_is_out_stir_nothing() {
    let (mut set, h, _) = removed();
    // B wrote much before the removal came: all of it is aside.
    let mut last = h;
    for i in 0..50 {
        last = set.add(b'B', PHONE, &[last], vec![set_to(i)]).unwrap();
    }
    let mut log = Log::of(&set);
    let all: Vec<usize> = (1..set.ops.len()).filter(|&i| i != 2).chain([2]).collect();
    for i in all {
        log.give(vec![set.verified(i)], TRUSTED);
    }
    super::differential::same(&set, &set.all(), &log, "aside");
    let (steps, places) = (log.steps(), log.roster.index.len());
    for i in 0..40 {
        let onto = 3 + i;
        let x = set.add(b'B', PHONE, &[onto], vec![retire(2)]).unwrap();
        log.give(vec![set.verified(x)], TRUSTED);
    }
    assert_eq!((log.steps(), log.roster.index.len()), (steps, places));
    // The owner's recovery key takes the removal back, and all of it counts.
    let r = set.add(b'A', 0, &[h], vec![retire(PHONE)]).unwrap();
    log.give(vec![set.verified(r)], TRUSTED);
    super::differential::same(&set, &set.all(), &log, "back");
    assert!(log.is_effective(&set.ops[last].id));
}

/// The first operation that a parent does not know stands exactly at its base.
#[test]
fn an_appointment_beside_the_parent_is_not_in_the_past() {
    let mut set = Set::founded(0);
    set.add(b'A', PHONE, &[0], vec![Appoint(account(b'B'))]).unwrap();
    let beside = set.add(b'A', PHONE, &[0], vec![set_to(1)]).unwrap();
    let mut log = Log::of(&set);
    give_all(&mut log, &set);
    let operation = set.write(b'B', PHONE, &[beside], vec![set_to(2)]).unwrap();
    super::history::same_form(&set, &log, &operation, &[beside], Err(FormError::NotAdmin));
}

/// What waits while answers are unfinished is bounded by its length too: who has brought most loses the oldest.
#[test]
fn unfinished_answers_are_bounded_by_their_length() {
    let (set, _, k) = removed();
    let mut waiting = Waiting::default();
    let (large, small) = (PeerId([2; 32]), PeerId([3; 32]));
    let give = |waiting: &mut Waiting, peer: PeerId, number: usize| {
        let mut verified = set.verified(k);
        let mut id = [peer.0[0]; 32];
        id[..8].copy_from_slice(&number.to_be_bytes());
        (verified.id, verified.peer, verified.bytes) = (OperationId(id), peer, std::vec![0; MAX_OPERATION_LEN]);
        waiting.insert(verified);
        OperationId(id)
    };
    waiting.set_unfinished(large, true);
    waiting.set_unfinished(small, true);
    let kept: Vec<OperationId> = (0..100).map(|number| give(&mut waiting, small, number)).collect();
    let most = MAX_UNFINISHED_BYTES / MAX_OPERATION_LEN;
    let given: Vec<OperationId> = (0..most + 50).map(|number| give(&mut waiting, large, number)).collect();
    assert_eq!(waiting.len(), most);
    assert!(kept.iter().all(|id| waiting.get(id).is_some()));
    assert!(waiting.get(&given[149]).is_none() && waiting.get(&given[150]).is_some());
    // They end: the ordinary bounds hold, and what is removed makes room.
    waiting.set_unfinished(large, false);
    waiting.set_unfinished(small, false);
    assert_eq!(waiting.len(), MAX_DEAD_OF_AUTHOR);
    waiting.set_unfinished(large, true);
    for number in most * 2..most * 3 {
        give(&mut waiting, large, number);
    }
    assert_eq!(waiting.len(), most);
}
