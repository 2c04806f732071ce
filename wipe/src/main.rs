//! Checks that sceau leaves no copy of a secret in freed heap memory, nor on the stack. See README.md; `run` runs it.

mod allowed;
mod cases;
mod heap;
mod rng;
mod secrets;
mod world;

use allowed::{ALLOWED, Allowed};
use core::mem::ManuallyDrop;
use heap::{Hit, Scanning, WINDOW};
use hmac::{Hmac, KeyInit};
use sha2::Sha256;
use std::collections::BTreeMap;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: Scanning = Scanning;

/// Buffers that are freed as they are, and copies on the stack: each must be caught, but for those that were wiped.
#[allow(clippy::large_stack_arrays, reason = "it is what this is for")]
fn controls() -> (usize, usize) {
    heap::operation("control");
    let text = world::text(100);
    let (mut caught, mut of) = (0, 0);
    let mut control = |expected: usize, leak: &dyn Fn()| {
        leak();
        let (_, hits) = heap::report();
        of += 1;
        let good = hits.len() == expected && hits.iter().all(|hit| hit.label == "content");
        caught += usize::from(good);
        if !good {
            let places: Vec<_> = hits.iter().map(|hit| (hit.size, hit.at)).collect();
            println!("control {of}: NOT AS EXPECTED: {places:?} instead of {expected}");
        }
    };
    control(1, &|| drop(text.to_vec()));
    // One window, at an odd place in a larger block.
    control(1, &|| {
        let mut block = vec![7; 1_000];
        block[333..333 + WINDOW].copy_from_slice(&text[41..41 + WINDOW]);
        drop(block);
    });
    // A buffer that grows and is wiped afterwards: the old block is found.
    control(1, &|| {
        let mut grown = text.to_vec();
        grown.reserve(10_000);
        grown.fill(0);
    });
    // Cut, but not gone.
    control(1, &|| {
        let mut cut = text.to_vec();
        cut.clear();
    });
    // A keyed HMAC that is not dropped in its box.
    let key = text[..32].try_into().expect("32 bytes");
    for pad in [0x36, 0x5c] {
        heap::register("content", &secrets::hash_state(&key, pad));
    }
    control(1, &|| {
        let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&key).expect("any length will do");
        drop(core::hint::black_box(Box::new(ManuallyDrop::new(mac))));
    });
    // On the stack, near and far.
    let on_stack = |wipes: bool| {
        let mut copy = [0; 100];
        copy.copy_from_slice(text);
        core::hint::black_box(&mut copy);
        if wipes {
            copy.fill(0);
            core::hint::black_box(&mut copy);
        }
    };
    let deep = |wipes: bool| {
        core::hint::black_box(&mut [0_u8; 60_000]);
        apart(|| on_stack(wipes));
    };
    control(1, &|| heap::on_clean_stack(|| on_stack(false)));
    control(1, &|| heap::on_clean_stack(|| deep(false)));
    control(0, &|| heap::on_clean_stack(|| deep(true)));
    control(0, &|| {
        let mut wiped = text.to_vec();
        wiped.fill(0);
        core::hint::black_box(&mut wiped);
    });
    (caught, of)
}

#[inline(never)]
fn apart(work: impl FnOnce()) {
    work();
}

fn is_allowed(hit: &Hit, allowed: &Allowed) -> bool {
    let within = |name: &&str| hit.frames.iter().any(|frame| frame.contains(*name));
    allowed.labels.iter().any(|label| hit.label.starts_with(label)) && allowed.frames.iter().all(within)
}

/// Says how much of the stack each operation takes, and fails if one takes more than `limit` bytes.
fn measure(limit: usize) -> ExitCode {
    heap::measure();
    cases::all();
    let mut depths: Vec<_> = heap::depths().into_iter().collect();
    depths.sort_by_key(|(_, depth)| core::cmp::Reverse(*depth));
    for (operation, depth) in &depths {
        println!("{depth:8} {operation}");
    }
    let deepest = depths.first().map_or(0, |(_, depth)| *depth);
    println!("operations={} deepest={deepest} limit={limit}", depths.len());
    if deepest <= limit { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn main() -> ExitCode {
    if let Some(limit) = std::env::args().nth(1) {
        return measure(limit.parse().expect("bytes of stack"));
    }
    let (caught, controls) = controls();
    let root_steps = cases::all();
    let (report, hits) = heap::report();
    let mut known = [0; ALLOWED.len()];
    let mut unexpected = Vec::new();
    for hit in hits {
        match ALLOWED.iter().position(|allowed| is_allowed(&hit, allowed)) {
            Some(at) => known[at] += 1,
            None => unexpected.push(hit),
        }
    }
    let counts = (known.iter().sum::<usize>(), unexpected.len());
    heap::unseen(|| print(unexpected));
    for (allowed, count) in ALLOWED.iter().zip(known) {
        println!("allowed, {count} times: {}", allowed.why);
    }
    println!("root steps computed here too: {root_steps}; windows behind contents given out: {}", world::spare());
    println!(
        "operations={} stacks={} secrets={} frees={} hits={} allowed={} control_caught={caught}/{controls}",
        report.operations, report.stacks, report.secrets, report.frees, counts.1, counts.0
    );
    let good = counts.1 == 0 && caught == controls && root_steps > 50;
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One of each kind.
fn print(hits: Vec<Hit>) {
    let mut kinds: BTreeMap<Vec<String>, Vec<Hit>> = BTreeMap::new();
    for hit in hits {
        kinds.entry(hit.frames.clone()).or_default().push(hit);
    }
    for (frames, hits) in kinds.into_iter().filter(|(_, hits)| !hits.is_empty()) {
        let mut what: Vec<_> = hits.iter().map(|hit| (hit.label, hit.operation)).collect();
        what.sort_unstable();
        what.dedup();
        if frames == [heap::ON_STACK] {
            println!("LEFT ON THE STACK, {} times, as {} bytes below the call:", hits.len(), hits[0].at);
        } else {
            println!("LEFT IN FREED MEMORY, {} times, as in {} bytes at {}:", hits.len(), hits[0].size, hits[0].at);
        }
        for (label, operation) in what.iter().take(12) {
            println!("  {label}, during \"{operation}\"");
        }
        for frame in frames.iter().take(40) {
            println!("    {}", frame.chars().take(200).collect::<String>());
        }
    }
}
