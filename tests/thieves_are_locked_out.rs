//! Healing, measured with real thieves: within the bounds that the documentation states. `cargo run --release --example
//! healing` prints the whole table.

use sceau::Padding;
use sceau::group::GroupPolicy;
use sceau_testkit::group_healing;
use sceau_testkit::healing::{Broken, Pattern, Setting, Texts, measure, median_and_worst};

fn heals(pattern: Pattern, texts: Texts, loss: u64, broken: Broken, padding: Padding) -> (usize, usize) {
    median_and_worst(measure(&Setting { pattern, texts, loss, padding, broken }, 3, 30, 300))
}

#[test]
fn quantum_thief_in_lockstep() {
    let (median, worst) = heals(Pattern::Lockstep, Texts::Fixed(20), 0, Broken::Dh, Padding::default());
    assert!(median < 18 && worst < 28, "{median} {worst}");
    let (median, worst) = heals(Pattern::Lockstep, Texts::Fixed(20), 30, Broken::Dh, Padding::default());
    assert!(median <= 40 && worst <= 90, "{median} {worst}");
}

#[test]
fn quantum_thief_of_a_talker_who_fills_every_bucket() {
    let (median, worst) = heals(Pattern::Lockstep, Texts::Fixed(357), 0, Broken::Dh, Padding::default());
    assert!(median < 100 && worst < 140, "{median} {worst}");
}

#[test]
fn quantum_thief_with_a_larger_bucket() {
    let (median, worst) = heals(Pattern::Lockstep, Texts::Fixed(20), 0, Broken::Dh, Padding::with_smallest(4_096));
    assert!(median <= 4 && worst <= 7, "{median} {worst}");
}

#[test]
fn classical_thief() {
    let (median, worst) = heals(Pattern::Lockstep, Texts::Fixed(20), 0, Broken::Kem, Padding::default());
    assert!(median <= 2 && worst <= 3, "{median} {worst}");
}

/// The measure can fail: who breaks both reads on for ever.
#[test]
fn who_breaks_both_is_never_locked_out() {
    let (median, _) = heals(Pattern::Lockstep, Texts::Fixed(20), 0, Broken::Both, Padding::default());
    assert_eq!(median, 300);
}

/// In a group: once every sender has replaced its chain over sessions that have turned; and nothing of the past is open.
#[test]
fn thief_of_a_members_state() {
    let policy = |max_messages| GroupPolicy { max_messages, ..GroupPolicy::default() };
    let strict = group_healing::measure(3, policy(1), 3, 30);
    assert!(strict.worst <= 6 && strict.past == 0, "{strict:?}");
    let looser = group_healing::measure(3, policy(5), 10, 80);
    assert!((10..=40).contains(&looser.worst) && looser.past == 0, "{looser:?}");
}
