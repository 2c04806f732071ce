//! Checks that no branch and no address in sceau depends on a secret. See README.md; `run` runs it all.

mod cases;
mod heap;
mod rng;
mod timing;
mod valgrind;
mod world;

use cases::{CASES, LEAKY};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: heap::Tracked = heap::Tracked;

fn main() -> ExitCode {
    let argument = std::env::args().nth(1).unwrap_or_default();
    match argument.as_str() {
        "list" => CASES.iter().for_each(|(name, _)| println!("{name}")),
        "list-leaky" => LEAKY.iter().for_each(|(name, _)| println!("{name}")),
        "under-valgrind" => return if cases::under_valgrind() { ExitCode::SUCCESS } else { ExitCode::FAILURE },
        "timing" => {
            let (clean, of, caught) = timing::run();
            println!("timing={of} clean={clean} controls_caught={}", u8::from(caught));
            return if clean == of && caught { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
        name => {
            let Some((_, case)) = CASES.iter().chain(LEAKY).find(|(known, _)| *known == name) else {
                eprintln!("usage: sceau-ct list | list-leaky | under-valgrind | timing | CASE");
                return ExitCode::FAILURE;
            };
            if !cases::under_valgrind() {
                eprintln!("not under valgrind: nothing would be checked");
                return ExitCode::FAILURE;
            }
            case();
        }
    }
    ExitCode::SUCCESS
}
