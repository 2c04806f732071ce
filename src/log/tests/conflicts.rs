//! Conflicts and what they mean, one idea each: who wrote what, who had seen what. docs/PROTOCOL.md has the pictures.

#![allow(clippy::many_single_char_names, reason = "who wrote what: letters, as in the pictures")]

use super::differential::same;
use super::history::{LAPTOP, PHONE, RECOVERY, TRUSTED, account, retire};
use super::reference::Set;
use crate::log::operation::Change::{self, Add, Appoint, Ban, Dismiss, Leave, Lift, Remove};
use crate::log::roster::Role;
use crate::log::{Log, Verdict};

/// A log that grows by hand, and beside it the set.
struct Story {
    set: Set,
    log: Log,
}

impl Story {
    fn new() -> Self {
        let set = Set::founded(0);
        Self { log: Log::of(&set), set }
    }

    fn write(&mut self, who: u8, parents: &[usize], changes: &[Change]) -> usize {
        self.write_with(who, PHONE, parents, changes)
    }

    fn write_with(&mut self, who: u8, rank: u16, parents: &[usize], changes: &[Change]) -> usize {
        let at = self.set.add(who, rank, parents, changes.to_vec()).expect("the form is right");
        let (verdicts, _) = self.log.give(vec![self.set.verified(at)], TRUSTED);
        assert!(matches!(verdicts[..], [Verdict::Taken | Verdict::CannotCount]));
        at
    }

    /// Asserts who is in, and who is an admin beside the owner.
    fn is(&self, members: &str, admins: &str) {
        same(&self.set, &self.set.all(), &self.log, "story");
        let by = |least: Role| -> String {
            let all = self.log.members().filter(|(_, role)| *role >= least);
            let mut names: Vec<char> = all.map(|(id, _)| char::from(id.0[0])).collect();
            names.sort_unstable();
            names.into_iter().collect()
        };
        assert_eq!((by(Role::Member).as_str(), by(Role::Admin).trim_start_matches('A')), (members, admins));
    }
}

fn of(kind: fn(crate::keys::AccountId) -> Change, who: &str) -> Vec<Change> {
    who.bytes().map(|name| kind(account(name))).collect()
}

#[test]
fn two_admins_cannot_remove_each_other() {
    let mut s = Story::new();
    let h = s.write(b'A', &[0], &of(Appoint, "BC"));
    s.write(b'B', &[h], &of(Remove, "C"));
    s.write(b'C', &[h], &of(Remove, "B"));
    s.is("ABC", "BC");
}

#[test]
fn removal_wins_over_an_addition_at_the_same_time_and_can_be_undone_by_who_knows_it() {
    let mut s = Story::new();
    let h = s.write(b'A', &[0], &[of(Appoint, "BC"), of(Add, "M")].concat());
    let r = s.write(b'B', &[h], &of(Remove, "M"));
    s.write(b'C', &[h], &of(Add, "M"));
    s.is("ABC", "BC");
    s.write(b'C', &[r], &of(Add, "M"));
    s.is("ABCM", "BC");
}

#[test]
fn newcomer_added_twice_stays_when_one_addition_falls() {
    let mut s = Story::new();
    let h = s.write(b'A', &[0], &of(Appoint, "BC"));
    let b = s.write(b'B', &[h], &of(Add, "N"));
    s.write(b'C', &[h], &of(Add, "N"));
    s.is("ABCN", "BC");
    s.write(b'A', &[b], &of(Remove, "C"));
    s.is("ABN", "B");
}

#[test]
fn removed_admin_changes_nothing_from_an_old_past_even_with_an_accomplice() {
    let mut s = Story::new();
    let h = s.write(b'A', &[0], &of(Appoint, "BC"));
    let k = s.write(b'A', &[h], &of(Remove, "B"));
    let x = s.write(b'B', &[h], &[of(Add, "S"), of(Remove, "C")].concat());
    s.is("AC", "C");
    s.write(b'C', &[k, x], &of(Add, "M"));
    s.is("ACM", "C");
}

#[test]
fn what_a_removal_has_seen_stands() {
    let mut s = Story::new();
    let h = s.write(b'A', &[0], &of(Appoint, "B"));
    let m = s.write(b'B', &[h], &of(Add, "M"));
    s.write(b'A', &[m], &of(Remove, "B"));
    s.is("AM", "");
}

#[test]
fn removal_from_an_old_view_takes_what_it_has_not_seen_and_another_admin_adopts_it() {
    let mut s = Story::new();
    let h = s.write(b'A', &[0], &of(Appoint, "BC"));
    let m = s.write(b'B', &[h], &of(Add, "M"));
    let k = s.write(b'A', &[h], &of(Remove, "B"));
    s.is("AC", "C");
    s.write(b'C', &[m, k], &of(Add, "M"));
    s.is("ACM", "C");
}

#[test]
fn appointment_stands_beside_an_admins_removal() {
    let mut s = Story::new();
    let h = s.write(b'A', &[0], &[of(Appoint, "B"), of(Add, "M")].concat());
    s.write(b'B', &[h], &of(Remove, "M"));
    s.write(b'A', &[h], &of(Appoint, "M"));
    s.is("ABM", "BM");
}

#[test]
fn what_was_written_between_dismissal_and_new_appointment_does_not_count() {
    let mut s = Story::new();
    let h = s.write(b'A', &[0], &of(Appoint, "B"));
    let k = s.write(b'A', &[h], &of(Dismiss, "B"));
    let x = s.write(b'B', &[h], &of(Add, "S"));
    let a = s.write(b'A', &[k], &of(Appoint, "B"));
    s.is("AB", "B");
    s.write(b'B', &[a, x], &of(Add, "M"));
    s.is("ABM", "B");
}

#[test]
fn who_left_is_in_again_by_a_new_addition_only() {
    let mut s = Story::new();
    let h = s.write(b'A', &[0], &of(Add, "M"));
    s.write(b'M', &[h], &[Leave]);
    s.is("A", "");
    s.write(b'A', &[h], &of(Add, "M"));
    s.is("AM", "");
}

#[test]
fn recovery_takes_back_what_a_thief_wrote_with_the_owners_phone() {
    let mut s = Story::new();
    let h = s.write(b'A', &[0], &[of(Appoint, "B"), of(Add, "M")].concat());
    s.write(b'A', &[h], &of(Remove, "BM"));
    s.is("A", "");
    s.write_with(b'A', RECOVERY, &[h], &[retire(PHONE)]);
    s.is("ABM", "B");
}

#[test]
fn recovery_outranks_a_thief_that_retires_the_laptop_first() {
    let mut s = Story::new();
    let h = s.write(b'A', &[0], &of(Add, "M"));
    s.write(b'A', &[h], &[retire(LAPTOP)]);
    s.write_with(b'A', RECOVERY, &[h], &[retire(PHONE)]);
    s.write_with(b'A', LAPTOP, &[h], &of(Add, "N"));
    s.is("AMN", "");
}

#[test]
fn removed_admin_cannot_take_back_what_was_accepted_by_retiring_its_device() {
    let mut s = Story::new();
    let h = s.write(b'A', &[0], &of(Appoint, "B"));
    let m = s.write_with(b'B', LAPTOP, &[h], &of(Add, "M"));
    s.write(b'A', &[m], &of(Remove, "B"));
    s.write(b'B', &[h], &[retire(LAPTOP)]);
    s.is("AM", "");
}

#[test]
fn ban_holds_until_a_lift_that_knows_of_it_and_the_owners_until_the_owners() {
    let mut s = Story::new();
    let h = s.write(b'A', &[0], &[of(Appoint, "B"), of(Add, "M")].concat());
    let n = s.write(b'A', &[h], &of(Ban, "M"));
    let f = s.write(b'B', &[n], &of(Lift, "M"));
    s.write(b'B', &[f], &of(Add, "M"));
    s.is("AB", "B");
    let f = s.write(b'A', &[n], &of(Lift, "M"));
    s.write(b'B', &[f], &of(Add, "M"));
    s.is("ABM", "B");
}

/// A leaving counts whatever device wrote it: else who left could come back by retiring that device.
#[test]
fn leaving_is_not_taken_back_by_retiring_the_device_that_left() {
    let mut s = Story::new();
    let h = s.write(b'A', &[0], &of(Appoint, "B"));
    s.write_with(b'B', LAPTOP, &[h], &[Leave]);
    s.write(b'B', &[h], &[retire(LAPTOP)]);
    s.is("A", "");
}

/// An operation without changes joins heads, and changes nothing else.
#[test]
fn merges_join_heads() {
    let mut s = Story::new();
    let h = s.write(b'A', &[0], &of(Appoint, "B"));
    let (x, y) = (s.write(b'A', &[h], &of(Add, "M")), s.write(b'B', &[h], &of(Add, "N")));
    assert_eq!(s.log.heads().len(), 2);
    let m = s.write(b'B', &[x, y], &[]);
    assert_eq!(s.log.heads(), [s.set.ops[m].id]);
    s.is("ABMN", "B");
}

/// What a batch has changed is told: roles with what they were, settings, and what counts no more.
#[test]
fn outcomes_say_what_has_changed() {
    let mut s = Story::new();
    let h = s.write(b'A', &[0], &of(Appoint, "B"));
    let set = |value: u8| Change::Set { key: 1, value: vec![value] };
    let first = s.set.add(b'A', PHONE, &[h], vec![set(1)]).unwrap();
    let (_, outcome) = s.log.give(vec![s.set.verified(first)], TRUSTED);
    assert_eq!((outcome.settings, outcome.roles), (vec![1], Vec::new()));
    // The owner's comes first: another's beside it changes nothing.
    let second = s.set.add(b'B', PHONE, &[h], vec![set(2), Add(account(b'M'))]).unwrap();
    let (_, outcome) = s.log.give(vec![s.set.verified(second)], TRUSTED);
    assert_eq!((outcome.settings, outcome.roles), (Vec::new(), vec![(account(b'M'), Role::None)]));
    assert_eq!(s.log.setting(1), Some(vec![1]));
    let third = s.set.add(b'A', PHONE, &[first], vec![Remove(account(b'B'))]).unwrap();
    let (_, outcome) = s.log.give(vec![s.set.verified(third)], TRUSTED);
    assert_eq!(outcome.fallen, [s.set.ops[second].id]);
    assert_eq!(outcome.roles, [(account(b'B'), Role::Admin), (account(b'M'), Role::Member)]);
    assert!(outcome.settings.is_empty());
}

/// A cut takes a retiring that it does not know. What the retired device wrote on a new appointment, and had come before the cut,
/// counts.
#[test]
fn what_waits_for_a_cut_that_takes_a_retiring_counts() {
    let mut s = Story::new();
    let h = s.write(b'A', &[0], &of(Appoint, "B"));
    s.write(b'B', &[h], &[retire(LAPTOP)]);
    let k = s.set.add(b'A', PHONE, &[h], of(Remove, "B")).unwrap();
    let g = s.set.add(b'A', PHONE, &[k], of(Appoint, "B")).unwrap();
    let x = s.set.add(b'B', LAPTOP, &[g], of(Add, "M")).unwrap();
    for (i, verdict) in [(x, Verdict::WaitsForParents), (g, Verdict::WaitsForParents), (k, Verdict::Taken)] {
        assert_eq!(s.log.give(vec![s.set.verified(i)], TRUSTED).0, [verdict]);
    }
    s.is("ABM", "B");
}
