//! How soon a thief of one member's state is locked out of a group: `cargo run --release --example group_healing`.
//!
//! Members speak in turn, nothing is lost. `testkit/src/group_healing.rs` says what the thief can do.

#![allow(clippy::arithmetic_side_effects, reason = "an example: numbers of its own making")]

use sceau::group::GroupPolicy;
use sceau_testkit::group_healing::measure;

fn main() {
    println!(
        "Messages of the group from the theft of one member's state until the thief reads nothing more, median and"
    );
    println!("worst of the instants; and how many earlier messages the stolen state opens.\n");
    println!("{:<10} {:<34} {:>8} {:>7} {:>6}", "members", "chains replaced after", "median", "worst", "past");
    let week = GroupPolicy::default().max_age;
    for members in [3, 10] {
        for max_messages in [1, 5, 20, 100] {
            let policy = GroupPolicy { max_messages, max_age: week };
            let cycle = members * usize::try_from(max_messages).unwrap_or(100);
            let healing = measure(members, policy, cycle.min(60), 4 * cycle + 10 * members);
            let note = if policy == GroupPolicy::default() { " (default)" } else { "" };
            let after = format!("{max_messages} messages of a sender{note}");
            println!("{members:<10} {after:<34} {:>8} {:>7} {:>6}", healing.median, healing.worst, healing.past);
        }
    }
}
