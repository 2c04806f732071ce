//! What a membership log costs, against what it may: `cargo bench --bench log`. Exits non-zero where a goal is missed.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "a benchmark is to fail loudly"
)]

use sceau::log::{AccountId, Change, Draft, Intake, Log, LogRecord, Operation, OperationId, PeerId};
use sceau_testkit::log_world::{People, account, author};
use sceau_testkit::rng;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::process::ExitCode;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const OPEN: Intake = Intake { peer: PeerId::from_bytes([1; 32]), budget: u64::MAX, unfinished: false };

/// Time that this thread has had a processor, where the system says so: what others do beside it is not the log's.
fn busy() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let spent = text.split(' ').next().and_then(|text| text.parse().ok());
    spent.map_or_else(|| START.elapsed(), Duration::from_nanos)
}

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

struct Bench {
    people: People,
    missed: bool,
}

fn numbered(i: usize) -> AccountId {
    let mut id = [0xee; 32];
    id[..8].copy_from_slice(&(i as u64).to_be_bytes());
    // Names are hashes: their first bytes are not in order.
    id[0] = (i * 157) as u8;
    AccountId::from_bytes(id)
}

/// A small generator, for shapes.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % end as u64) as usize
    }
}

impl Bench {
    fn report(&mut self, name: &str, value: f64, unit: &str, goal: f64) {
        let good = value <= goal;
        self.missed |= !good;
        println!("{name:<64} {value:>10.1} {unit:<3} goal {goal}{}", if good { "" } else { "  MISSED" });
    }

    fn open(&self) -> (Log, Vec<LogRecord>) {
        let draft =
            Draft::genesis(author(0, 1), vec![Change::Appoint(account(1)), Change::Appoint(account(2))], &mut rng(1));
        let genesis = draft.unwrap().sign(self.people.key(&author(0, 1)));
        let (log, record) = Log::open(genesis.id(), &genesis.encode(), &self.people).unwrap();
        (log, vec![record])
    }

    fn sign(&self, log: OperationId, who: u8, parents: Vec<OperationId>, changes: Vec<Change>) -> Operation {
        Draft::new(log, author(who, 1), parents, changes).unwrap().sign(self.people.key(&author(who, 1)))
    }

    /// A chain of additions by two admins: none may write all of the longest log.
    fn shared_chain(&self, log: &Log, len: usize) -> Vec<Vec<u8>> {
        let mut parent = log.id();
        let add = |i| {
            let operation = self.sign(log.id(), 1 + (i % 2) as u8, vec![parent], vec![Change::Add(numbered(i))]);
            parent = operation.id();
            operation.encode()
        };
        (0..len).map(add).collect()
    }

    /// A chain of additions by one admin.
    fn chain(&self, log: &Log, who: u8, from: OperationId, numbers: std::ops::Range<usize>) -> Vec<Vec<u8>> {
        let mut parent = from;
        let add = |i| {
            let operation = self.sign(log.id(), who, vec![parent], vec![Change::Add(numbered(i))]);
            parent = operation.id();
            operation.encode()
        };
        numbers.map(add).collect()
    }

    fn take(&self, log: &mut Log, operations: &[Vec<u8>]) -> Option<LogRecord> {
        let operations: Vec<&[u8]> = operations.iter().map(Vec::as_slice).collect();
        let receiving = log.receive(&operations, &self.people, OPEN);
        let record = receiving.record();
        receiving.commit();
        record
    }

    fn load_one_by_one(&mut self) {
        let (mut log, _) = self.open();
        let operations = self.chain(&log, 1, log.id(), 0..10_000);
        let start = busy();
        for operation in &operations {
            let receiving = log.receive(&[operation], &self.people, OPEN);
            std::hint::black_box(receiving.record());
            receiving.commit();
        }
        let took = busy().saturating_sub(start);
        assert_eq!(log.len(), 10_001);
        self.report("load 10,000 additions one by one, with signatures", took.as_secs_f64() * 1e3, "ms", 1_000.0);
    }

    /// Whatever two admins write on `parents` old operations each, with some cuts by the owner.
    fn hostile(&mut self, name: &str, count: usize, parents: usize, cuts: usize, goal: f64) {
        let (mut log, mut records) = self.open();
        let (mut dice, mut ids) = (Dice(parents as u64), vec![log.id()]);
        let mut operations = Vec::new();
        for i in 1..count {
            let mut onto: Vec<OperationId> = (0..parents).map(|_| ids[dice.below(ids.len())]).collect();
            onto.sort_unstable();
            onto.dedup();
            let cut = cuts > 0 && i % (count / cuts) == count / cuts - 1;
            let victim = account(3 + dice.below(6) as u8);
            let (who, change) = match dice.below(8) {
                _ if cut => (0, Change::Dismiss(account(2))),
                0..3 => (1 + dice.below(2) as u8, Change::Add(victim)),
                3..6 => (1 + dice.below(2) as u8, Change::Remove(victim)),
                6 => (1 + dice.below(2) as u8, Change::Ban(victim)),
                _ => (1 + dice.below(2) as u8, Change::Lift(victim)),
            };
            let operation = self.sign(log.id(), who, onto, vec![change]);
            ids.push(operation.id());
            operations.push(operation.encode());
        }
        records.extend(self.take(&mut log, &operations));
        let start = busy();
        let restored = Log::restore(records.iter().map(|record| &*record.bytes)).unwrap();
        let took = busy().saturating_sub(start);
        assert_eq!(restored.heads_hash(), log.heads_hash());
        self.report(&format!("evaluate {count} hostile operations, {name}"), took.as_secs_f64() * 1e3, "ms", goal);
    }

    fn merge(&mut self) {
        let (mut log, _) = self.open();
        let common = self.chain(&log, 1, log.id(), 0..10_000);
        self.take(&mut log, &common);
        let at = log.heads()[0];
        let (ours, theirs) = (self.chain(&log, 1, at, 20_000..21_000), self.chain(&log, 2, at, 30_000..31_000));
        self.take(&mut log, &ours);
        let before = log.steps();
        let start = busy();
        self.take(&mut log, &theirs);
        let took = busy().saturating_sub(start);
        assert_eq!((log.len(), log.heads().len()), (12_001, 2));
        println!("merging took {} steps", log.steps() - before);
        self.report("merge 1,000 operations of a replica that parted 1,000 ago", took.as_secs_f64() * 1e3, "ms", 50.0);
    }

    fn on_the_heads(&mut self) {
        let mut medians = Vec::new();
        for len in [100, 10_000, 65_000] {
            let (mut log, _) = self.open();
            let all = self.shared_chain(&log, len + 400);
            self.take(&mut log, &all[..len]);
            let mut times: Vec<f64> = Vec::new();
            for operation in &all[len..] {
                let start = Instant::now();
                let receiving = log.receive(&[operation], &self.people, OPEN);
                std::hint::black_box(receiving.record());
                receiving.commit();
                times.push(start.elapsed().as_secs_f64() * 1e6);
            }
            assert_eq!(log.len(), len + 401);
            times.sort_by(f64::total_cmp);
            let median = times[times.len() / 2];
            self.report(
                &format!("one operation on the heads of a log of {len}, with its signature"),
                median,
                "µs",
                100.0,
            );
            medians.push(median);
        }
        self.report("the largest of these by the smallest", medians[2] / medians[0], "", 1.5);
    }

    fn memory(&mut self) {
        for (name, fresh) in [("each of a new account", true), ("of few accounts", false)] {
            let (mut log, mut records) = self.open();
            let mut parent = log.id();
            let operations: Vec<Vec<u8>> = (0..20_000)
                .map(|i| {
                    let who = if fresh { numbered(i) } else { account(3 + (i % 4) as u8) };
                    let change = if fresh || i % 8 < 4 { Change::Add(who) } else { Change::Remove(who) };
                    let operation = self.sign(log.id(), 1, vec![parent], vec![change]);
                    parent = operation.id();
                    operation.encode()
                })
                .collect();
            let bodies: usize = operations.iter().map(Vec::len).sum();
            records.extend(self.take(&mut log, &operations));
            drop(log);
            let region = Region::new(ALLOCATOR);
            let log = Log::restore(records.iter().map(|record| &*record.bytes)).unwrap();
            let stats = region.change();
            let held = stats.bytes_allocated - stats.bytes_deallocated;
            let beside = (held as f64 - bodies as f64) / 20_000.0;
            assert_eq!(log.len(), 20_001);
            let goal = if fresh { 400.0 } else { 150.0 };
            self.report(&format!("memory beside the bodies, {name}"), beside, "B", goal);
        }
    }
}

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|text| !text.starts_with('-')).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| name.contains(wanted));
    let mut bench = Bench { people: People::new(9, 3), missed: false };
    for (name, run) in [
        ("load", Bench::load_one_by_one as fn(&mut Bench)),
        ("heads", Bench::on_the_heads),
        ("merge", Bench::merge),
        ("hostile", |bench| {
            bench.hostile("one old parent", 65_536, 1, 0, 1_000.0);
            bench.hostile("one old parent, 16 late cuts", 65_536, 1, 16, 1_000.0);
            bench.hostile("two old parents", 65_536, 2, 0, 1_000.0);
        }),
        ("eight", |bench| bench.hostile("eight old parents", 65_536, 8, 0, 1_000.0)),
        ("memory", Bench::memory),
    ] {
        if is_wanted(name) {
            run(&mut bench);
        }
    }
    if bench.missed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
