//! How soon a thief is locked out: `cargo run --release --example healing`.
//!
//! At every instant of a conversation, in turn, the complete state of either side is stolen, and the thief follows the
//! conversation as well as what it can break allows (`testkit/src/healing.rs` says how). A figure is the number of
//! messages from the theft to the first one from which on the thief reads nothing of either side: median and worst case.

#![allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "an example: arrays of its own making")]

use sceau::Padding;
use sceau_testkit::healing::{Broken, Pattern, Setting, Texts, measure, median_and_worst};
use sceau_testkit::proving;

/// Thefts that have not healed after so many messages are counted as that.
const PATIENCE: usize = 2_000;

fn cell(pattern: Pattern, texts: Texts, loss: u64, padding: Padding, broken: Broken) -> (usize, usize) {
    let setting = Setting { pattern, texts, loss, padding, broken };
    let thefts = if matches!(pattern, Pattern::Talker) { 42 } else { 60 };
    median_and_worst((0..4).flat_map(|seed| measure(&setting, seed, thefts, PATIENCE)).collect())
}

fn table(broken: Broken, padding: Padding, patterns: &[(&str, Pattern)]) {
    println!("{:<12} {:<10} {:>12} {:>12} {:>12}", "who talks", "texts", "no loss", "10 % loss", "30 % loss");
    let texts =
        [("20 B", Texts::Fixed(20)), ("100 B", Texts::Fixed(100)), ("400 B", Texts::Fixed(400)), ("mix", Texts::Mix)];
    for (who, pattern) in patterns {
        for (name, texts) in texts {
            let figures = [0, 10, 30].map(|loss| {
                let (median, worst) = cell(*pattern, texts, loss, padding, broken);
                let more = if worst >= PATIENCE { ">=" } else { "" };
                format!("{median} / {more}{worst}")
            });
            println!("{who:<12} {name:<10} {:>12} {:>12} {:>12}", figures[0], figures[1], figures[2]);
        }
    }
    println!();
}

/// Messages, and chains of the initiator, until it has proved its identity.
fn proving() {
    println!("Messages until the initiator has proved its identity, median / worst, and its chains until then, worst:");
    println!("{:<16} {:<8} {:>18} {:>18} {:>18}", "who talks", "texts", "no loss", "10 % loss", "30 % loss");
    let patterns = [
        ("lockstep", Pattern::Lockstep, false),
        ("bursts of 5", Pattern::Bursts, false),
        ("initiator 20:1", Pattern::Talker, false),
        ("responder 20:1", Pattern::Talker, true),
    ];
    // The last ones fill their bucket to the last byte.
    let texts = [("20 B", Texts::Fixed(20)), ("100 B", Texts::Fixed(100)), ("300 B", Texts::Fixed(300))];
    let texts = texts.into_iter().chain([("mix", Texts::Mix), ("357 B", Texts::Fixed(357))]);
    for (who, pattern, responder_talks) in patterns {
        for (name, texts) in texts.clone() {
            let figures = [0, 10, 30].map(|loss| {
                let setting = proving::Setting { pattern, responder_talks, texts, loss };
                let (messages, turns): (Vec<_>, Vec<_>) =
                    (0..100).map(|seed| proving::measure(&setting, seed, PATIENCE)).unzip();
                let (median, worst) = median_and_worst(messages);
                format!("{median} / {worst}, {}", turns.into_iter().max().unwrap_or(0))
            });
            println!("{who:<16} {name:<8} {:>18} {:>18} {:>18}", figures[0], figures[1], figures[2]);
        }
    }
    println!();
}

fn main() {
    let all = [("lockstep", Pattern::Lockstep), ("bursts of 5", Pattern::Bursts), ("20 to 1", Pattern::Talker)];
    println!(
        "Messages until healed, median / worst case, both sides' states stolen at 240 instants in a row (168 for 20 to"
    );
    println!("1, whose slow rows therefore do not cover a whole exchange). Envelopes are lost or arrive at once.");
    println!("Mix: log-normal, median 40 bytes, deviation 1, at most 2,000; an assumption.\n");
    proving();
    println!("DH broken, KEM sound, default padding:");
    table(Broken::Dh, Padding::default(), &all);
    println!("KEM broken, DH sound (the Double Ratchet's healing):");
    table(Broken::Kem, Padding::default(), &all);
    println!("DH broken, a smallest bucket of 2,048 and of 4,096 bytes:");
    table(Broken::Dh, Padding::with_smallest(2_048), &all[..1]);
    table(Broken::Dh, Padding::with_smallest(4_096), &all[..1]);
    println!("DH broken, every message fills its bucket to the last byte:");
    let full = cell(Pattern::Lockstep, Texts::Fixed(357), 0, Padding::default(), Broken::Dh);
    println!("lockstep     357 B      {} / {}\n", full.0, full.1);
    let mut rng = sceau_testkit::rng(1);
    let lengths: Vec<usize> = (0..10_000).map(|_| Texts::Mix.draw(&mut rng)).collect();
    let bytes = |reserve: usize| -> usize {
        // Without the reserve, a content could be longer by it in the same bucket.
        lengths.iter().filter_map(|len| Padding::default().sealed_len(len.saturating_sub(139 - reserve))).sum()
    };
    let (with, without) = (bytes(139), bytes(0));
    println!(
        "Bytes that the ratchet adds to a message of the mix, its reserve included: {}",
        (with - without) / 10_000
    );
    println!("of {} on average; to one of up to 357 bytes: 0\n", with / 10_000);
    let control = cell(Pattern::Lockstep, Texts::Fixed(20), 0, Padding::default(), Broken::Both);
    println!("Control, both broken: {} of {PATIENCE} messages read at the least", control.0);
    let none = cell(Pattern::Lockstep, Texts::Fixed(20), 0, Padding::default(), Broken::Dh);
    let loss = cell(Pattern::Lockstep, Texts::Fixed(20), 30, Padding::default(), Broken::Dh);
    println!("lockstep_median={} lockstep_worst={} loss30_median={} loss30_worst={}", none.0, none.1, loss.0, loss.1);
}
