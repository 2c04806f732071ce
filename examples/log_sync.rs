//! Replicas of membership logs that exchange over a bad network: `cargo run --release --example log_sync -- [worlds] [first]`.
//!
//! Each world has an owner, admins and members on several replicas, and hostile ones: they write on old pasts after they were
//! removed, name heads that do not exist, withhold operations, and send damaged bytes and operations that can't count. Messages
//! are lost, doubled and reordered, replicas restart from their records. When it is quiet again, all honest replicas must have
//! the same operations that count. The last line is `worlds=… agreeing=…`; anything else than two equal numbers is a failure.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "an example of what must hold fails loudly"
)]

use sceau_testkit::log_world::{Totals, World};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>().expect("a number"));
    let (worlds, first) = (arguments.next().unwrap_or(300), arguments.next().unwrap_or(0));
    let (mut agreeing, mut totals) = (0, Totals::default());
    for seed in first..first + worlds {
        let mut world = World::new(seed);
        world.run();
        if world.settle() {
            agreeing += 1;
        } else {
            println!("world {seed}: apart");
        }
        totals.add(&world.totals);
    }
    let Totals { operations, messages, bytes, wants, rounds, hostile, restarts, most_answer, most_want } = totals;
    println!("operations {operations}, of hostile replicas {hostile}; restarts {restarts}");
    println!(
        "messages {messages}, of them questions {wants}; {} bytes an operation and replica",
        bytes / operations.max(1) / 6
    );
    println!(
        "rounds of questions until all agreed, once it was quiet: {:.1} in the mean",
        rounds as f64 / worlds as f64
    );
    println!("longest question {most_want} bytes, longest answer {most_answer} bytes");
    println!("worlds={worlds} agreeing={agreeing}");
    if worlds == agreeing { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
