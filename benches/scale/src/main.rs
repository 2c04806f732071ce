//! How sceau's throughput and memory grow: `cargo run --release --manifest-path benches/scale/Cargo.toml`.
//!
//! README.md beside it says what is measured, and how.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a measurement is to fail loudly")]

mod clock;
mod groups;
mod heap;
mod host;
mod plot;
mod relay;
mod sessions;
mod table;

use clock::Effort;
use plot::Line;
use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

#[global_allocator]
static HEAP: heap::Counting = heap::Counting;

const USAGE: &str = "usage: sceau-scale [--quick] [--plots DIR]";

struct Scale {
    sessions: &'static [usize],
    groups: &'static [usize],
    mailboxes: &'static [usize],
    effort: Effort,
}

const FULL: Scale = Scale {
    sessions: &[1, 10, 100, 1_000, 10_000, 100_000],
    groups: &[1, 10, 100, 1_000],
    mailboxes: &[1_000, 10_000, 100_000, 1_000_000],
    effort: Effort::FULL,
};

const QUICK: Scale = Scale {
    sessions: &[1, 10, 100, 1_000],
    groups: &[1, 10, 50],
    mailboxes: &[1_000, 10_000, 100_000],
    effort: Effort::QUICK,
};

fn main() -> Result<(), Box<dyn Error>> {
    let (mut scale, mut plots) = (&FULL, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => scale = &QUICK,
            "--plots" => plots = Some(PathBuf::from(arguments.next().ok_or(USAGE)?)),
            _ => return Err(USAGE.into()),
        }
    }
    let start = Instant::now();
    let relay = relay::run(scale.mailboxes, scale.effort);
    let groups = groups::run(scale.groups, scale.effort);
    let sessions = sessions::run(scale.sessions, scale.effort);
    table::device("sessions", &sessions);
    table::device("groups", &groups);
    table::relay(&relay);
    if let Some(directory) = plots {
        for (name, svg) in draw(&sessions, &groups, &relay)? {
            std::fs::write(directory.join(name), svg)?;
        }
    }
    if let Some(bytes) = resident_peak() {
        println!("\nMost memory that the program had: {:.0} MB", bytes / 1e6);
    }
    let rows = sessions.len() + groups.len() + relay.len();
    println!("\nrows={rows} seconds={:.0}", start.elapsed().as_secs_f64());
    Ok(())
}

fn draw(
    sessions: &[host::Row],
    groups: &[host::Row],
    relay: &[relay::Row],
) -> Result<[(&'static str, String); 3], Box<dyn Error>> {
    let device = |row: &host::Row, value: f64| (row.count as f64, value);
    let index = |row: &relay::Row, value: f64| (row.mailboxes as f64, value);
    let messages = [
        Line::of("open", sessions, |row| device(row, row.open.median())),
        Line::of("seal", sessions, |row| device(row, row.seal.median())),
        Line::of("refuse forged", sessions, |row| device(row, row.forged.median())),
        Line::of("refuse unknown", sessions, |row| device(row, row.unknown.median())),
        Line::of("open, groups", groups, |row| device(row, row.open.median())),
        Line::of("seal, groups", groups, |row| device(row, row.seal.median())),
        Line::of("deliver, relay", relay, |row| index(row, row.deliver.median())),
        Line::of("ask, relay", relay, |row| index(row, row.fetch.median())),
    ];
    let memory = [
        Line::of("heap, session", sessions, |row| device(row, row.heap_bytes)),
        Line::of("records, session", sessions, |row| device(row, row.record_bytes)),
        Line::of("heap, group of 8", groups, |row| device(row, row.heap_bytes)),
        Line::of("records, group of 8", groups, |row| device(row, row.record_bytes)),
        Line::of("index, mailbox", relay, |row| index(row, row.churned_bytes)),
    ];
    let whole = [
        Line::of("restore", sessions, |row| device(row, row.restore.median())),
        Line::of("all records", sessions, |row| device(row, row.export.median())),
        Line::of("mailboxes", sessions, |row| device(row, row.listen.median())),
        Line::of("maintain", sessions, |row| device(row, row.maintain.median())),
        Line::of("store sealed, one message", sessions, |row| device(row, row.sealed_store.median())),
        Line::of("restore, groups", groups, |row| device(row, row.restore.median())),
        Line::of("maintain, groups", groups, |row| device(row, row.maintain.median())),
    ];
    let count = "sessions, groups or mailboxes";
    Ok([
        ("messages.svg", plot::draw("One message", count, "µs of CPU time, median", &messages)?),
        ("memory.svg", plot::draw("Memory and records", count, "bytes for each", &memory)?),
        (
            "whole.svg",
            plot::draw("What goes through the whole device", "sessions or groups", "µs of CPU time, median", &whole)?,
        ),
    ])
}

/// Where the system says it.
fn resident_peak() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()? * 1_024.0)
}
