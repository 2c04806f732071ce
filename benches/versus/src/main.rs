//! sceau beside Olm, Megolm and MLS, in one run. See README.md.

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a benchmark's counts are small, and its contents are what they are"
)]

mod channel;
mod counting;
mod groups;
mod measure;
mod mls;
mod olm;
mod report;
mod sceau_side;
mod sessions;

use measure::{Both, Cost, Effort, Figure};
use report::Row;
use std::hint::black_box;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

/// Bytes of a text, longer than most that people write.
const TEXT: usize = 256;

const INTRODUCTION: &str = "\
Processor time, bytes, allocations: less is better in every row, and a peer / sceau above 1 means that sceau is ahead.
Not the same work: sceau encrypts headers, pads to 640 bytes and more, makes a tag for one use for each message, hides
the sender from the first message on, and mixes ML-KEM-1024 secrets in, at the start and while people talk. Of these the
peers do one: MLS encrypts who in the group has sent a message.
";

fn time(cost: Cost) -> [f64; 1] {
    [cost.nanoseconds]
}

/// What is counted, not measured.
fn exact(ours: usize, theirs: usize) -> Both {
    [ours, theirs].map(|value| Figure::of(vec![value as f64]))
}

fn all(effort: Effort) -> Vec<Row> {
    let mut rows = Vec::new();
    sessions::messages(effort, &mut rows);
    sessions::handshakes(effort, &mut rows);
    sessions::late(effort, &mut rows);
    sessions::forgeries(effort, &mut rows);
    sessions::sizes(effort, &mut rows);
    groups::rows(effort, &mut rows);
    rows
}

fn main() -> ExitCode {
    let (mut effort, mut markdown) = (Effort { quick: false }, false);
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--quick" => effort.quick = true,
            "--markdown" => markdown = true,
            _ => {
                eprintln!("options: --quick, --markdown");
                return ExitCode::FAILURE;
            }
        }
    }
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global().expect("nothing has used it before");
    // A large block that is freed teaches the system's allocator to keep memory: else whoever has larger results pays for
    // new pages in each batch.
    drop(black_box(vec![0_u8; 24 << 20]));
    let rows = all(effort);
    println!("{INTRODUCTION}");
    if effort.quick {
        println!("A quick run shows that everything works; its figures mean little.\n");
    }
    println!("{}", report::table(&rows, markdown));
    let goals: Vec<bool> = rows.iter().filter_map(Row::meets).collect();
    println!("goals={} met={}", goals.len(), goals.iter().filter(|met| **met).count());
    println!("rows={} behind={}", rows.len(), rows.iter().filter(|row| row.is_behind()).count());
    ExitCode::SUCCESS
}
