//! A group talks through a relay that must not learn who is in it.
//!
//! `cargo run --release --example group -- FILE [--members N] [--churn P] [--drop P] [--reorder P] [--tamper P]
//! [--seed N]`, P in percent. Without a FILE, README.md.
//!
//! Members take turns with the lines of the file; before a line, some leave, are removed or join. The relay drops, holds
//! back and damages envelopes. At the end each line is accounted for, and who has read what they should not have.

#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "an example: counters and indexes of its own making"
)]

use sceau::device::GroupChange;
use sceau::error::GroupError;
use sceau::group::{GroupPolicy, Role};
use sceau_testkit::Crowd;
use sceau_testkit::crowd::Flying;
use std::collections::BTreeMap;
use std::error::Error;
use std::process::ExitCode;

/// What the command line asks for.
#[derive(Debug, Clone)]
struct Options {
    file: String,
    members: usize,
    churn: usize,
    drop: usize,
    reorder: usize,
    tamper: usize,
    seed: u64,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options =
            Self { file: "README.md".into(), members: 6, churn: 0, drop: 0, reorder: 0, tamper: 0, seed: 1 };
        while let Some(argument) = arguments.next() {
            if !argument.starts_with('-') {
                options.file = argument;
                continue;
            }
            let value = arguments.next().ok_or_else(|| format!("{argument} needs a number"))?;
            let number: usize = value.parse().map_err(|_| format!("{argument} {value}: not a whole number"))?;
            let (place, range) = match argument.as_str() {
                "--members" => (&mut options.members, 2..=200),
                "--churn" => (&mut options.churn, 0..=100),
                "--drop" => (&mut options.drop, 0..=100),
                "--reorder" => (&mut options.reorder, 0..=100),
                "--tamper" => (&mut options.tamper, 0..=100),
                "--seed" => {
                    options.seed = u64::try_from(number).unwrap_or(0);
                    continue;
                }
                other => return Err(format!("unknown option {other}")),
            };
            if !range.contains(&number) {
                return Err(format!("{argument} {value}: not between {} and {}", range.start(), range.end()));
            }
            *place = number;
        }
        Ok(options)
    }
}

struct World {
    options: Options,
    crowd: Crowd,
    /// By the delivery at which they are due, then by age.
    held: BTreeMap<(u64, u64), Flying>,
    deliveries: u64,
    posted: u64,
    dropped: u64,
    tampered: u64,
    joined: u64,
    left: u64,
}

impl World {
    fn chance(&mut self, percent: usize) -> bool {
        self.crowd.below(100) < percent
    }

    fn is_in(&self, party: usize) -> bool {
        self.crowd.parties[party].device.group(self.crowd.group()).is_some_and(|status| status.member)
    }

    /// The relay takes what was posted, and does to it what it does.
    fn relay(&mut self) {
        for mut flying in std::mem::take(&mut self.crowd.queue) {
            if self.chance(self.options.drop) {
                self.dropped += 1;
                continue;
            }
            if self.chance(self.options.tamper) {
                let bit = self.crowd.below(flying.bytes.len() * 8);
                flying.bytes[bit / 8] ^= 1 << (bit % 8);
                flying.intact = false;
                self.tampered += 1;
            }
            let hold = if self.chance(self.options.reorder) { 1 + self.crowd.below(64) } else { 0 };
            let due = self.deliveries + u64::try_from(hold).unwrap_or(0);
            self.held.insert((due, self.posted), flying);
            self.posted += 1;
        }
    }

    fn deliver(&mut self, everything: bool) {
        self.relay();
        while let Some(entry) = self.held.first_entry() {
            if entry.key().0 > self.deliveries && !everything {
                break;
            }
            let flying = entry.remove();
            self.deliveries += 1;
            self.crowd.deliver(&flying);
            self.relay();
        }
    }

    /// Someone joins, is removed, or leaves.
    fn churn(&mut self) {
        let party = 1 + self.crowd.below(self.crowd.parties.len() - 1);
        let name = self.crowd.name(party);
        let done = if self.is_in(party) {
            self.left += 1;
            if self.chance(50) { self.crowd.leave(party) } else { self.crowd.commit(0, &[GroupChange::Remove(name)]) }
        } else {
            self.joined += 1;
            self.crowd.commit(0, &[GroupChange::Add(name, Role::Member)])
        };
        // The admin may have heard of it already, or not yet.
        if let Err(error) = done {
            assert!(matches!(error, GroupError::UnknownMember | GroupError::AlreadyMember), "{error}");
        }
    }
}

fn run() -> Result<bool, Box<dyn Error>> {
    let options = Options::parse(std::env::args().skip(1))?;
    let text = std::fs::read(&options.file).map_err(|error| format!("{}: {error}", options.file))?;
    // Some more devices than members, to join later.
    let mut crowd = Crowd::new(options.members + 2, options.seed);
    crowd.thorough = false;
    crowd.create(GroupPolicy::default());
    let adds: Vec<_> = (1..options.members).map(|party| GroupChange::Add(crowd.name(party), Role::Member)).collect();
    crowd.commit(0, &adds)?;
    crowd.flush();
    let held = BTreeMap::new();
    let (deliveries, posted, dropped, tampered, joined, left) = (0, 0, 0, 0, 0, 0);
    let mut world = World { options, crowd, held, deliveries, posted, dropped, tampered, joined, left };

    let mut speaker = 0;
    for line in text.split(|byte| *byte == b'\n').flat_map(|line| line.chunks(100_000)) {
        if world.chance(world.options.churn) {
            world.churn();
        }
        // The next one who thinks that it is in.
        for _ in 0..world.crowd.parties.len() {
            speaker = (speaker + 1) % world.crowd.parties.len();
            if world.is_in(speaker) {
                break;
            }
        }
        world.crowd.say(speaker, line)?;
        world.crowd.now = world.crowd.now.plus(1);
        world.deliver(false);
    }
    world.deliver(true);
    Ok(report(&world))
}

fn report(world: &World) -> bool {
    let crowd = &world.crowd;
    println!("who wrote, in which epoch, to how many others, and how many have read it");
    let readers = |number: u64| crowd.parties.iter().filter(|party| party.read.contains(&number)).count();
    let (mut intended, mut delivered) = (0, 0);
    for (number, sealed) in (0_u64..).zip(&crowd.sealed) {
        let (others, read) = (sealed.members.len() - 1, readers(number));
        (intended, delivered) = (intended + others, delivered + read);
        if number < 12 {
            let text: String = String::from_utf8_lossy(&sealed.content[8..]).chars().take(40).collect();
            println!("  member {:>2}  epoch {:>3}  {read:>3} of {others:<3} {text}", sealed.from, sealed.epoch);
        }
    }
    println!("…");
    let sizes: Vec<String> = crowd.sizes.iter().map(|(size, count)| format!("{count} of {size}")).collect();
    println!("what the relay saw: envelopes of these sizes, no name and no group: {} bytes", sizes.join(", "));
    println!(
        "it dropped {} and damaged {}; {} joined, {} left or were removed",
        world.dropped, world.tampered, world.joined, world.left
    );
    let ghosts = crowd.ghosts();
    println!(
        "sent={} copies={intended} read={delivered} ghosts={ghosts} read_after_removal={} read_before_joining={} \
         mismatched={}",
        crowd.sealed.len(),
        crowd.read_after_removal,
        crowd.read_before_joining,
        crowd.mismatched
    );
    let calm = world.dropped == 0 && world.tampered == 0 && world.options.churn == 0 && world.options.reorder == 0;
    ghosts + crowd.read_after_removal + crowd.read_before_joining + crowd.mismatched == 0
        && (!calm || delivered == intended)
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}
