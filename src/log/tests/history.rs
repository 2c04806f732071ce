//! Histories, honest and hostile, made at random: as many views of a log as there are replicas, each operation written on what one
//! of them has seen, or on an old part of it.

use super::reference::{ALL, Bits, Op, Set, has, or, put};
use crate::error::{FormError, OperationError};
use crate::keys::{AccountId, DeviceId, OperationId, PeerId};
use crate::log::author::Author;
use crate::log::form::{self, Planned};
use crate::log::index::Overlay;
use crate::log::operation::{Change, Draft, Operation};
use crate::log::plan::{Intake, Plan, Verdict};
use crate::log::waiting::Verified;
use crate::log::{Log, LogRecord, Outcome};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeSet;
use std::vec::Vec;

pub(super) fn account(name: u8) -> AccountId {
    AccountId([name; 32])
}

pub(super) fn author(name: u8, rank: u16) -> Author {
    let device = DeviceId([u8::try_from(rank).unwrap(); 32]);
    Author { account: account(name), device, admission: OperationId([7; 32]) }
}

pub(super) fn retire(rank: u16) -> Change {
    Change::Retire { device: author(0, rank).device, admission: OperationId([7; 32]) }
}

/// The recovery key has rank 0, the first device 1, the second 2.
pub(super) const PHONE: u16 = 1;
pub(super) const LAPTOP: u16 = 2;
pub(super) const RECOVERY: u16 = 0;

pub(super) fn unsigned(draft: Draft) -> Operation {
    draft.sign_with(|_| [0; 64])
}

impl Set {
    pub(super) fn founded(salt: u64) -> Self {
        let mut set = Self::default();
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&salt.to_be_bytes());
        let operation = Draft::new(OperationId::NONE, author(b'A', PHONE), Vec::new(), vec![Change::Found(bytes)]);
        set.push(unsigned(operation.unwrap()), Vec::new(), PHONE);
        set
    }

    /// The operation, if it can be encoded.
    pub(super) fn write(&self, name: u8, rank: u16, parents: &[usize], changes: Vec<Change>) -> Option<Operation> {
        let ids = parents.iter().map(|&p| self.ops[p].id).collect();
        Draft::new(self.ops[0].id, author(name, rank), ids, changes).ok().map(unsigned)
    }

    pub(super) fn push(&mut self, operation: Operation, parents: Vec<usize>, rank: u16) -> usize {
        let mut past = Bits::new();
        for &p in &parents {
            or(&mut past, &self.ops[p].past);
            put(&mut past, p);
        }
        let height = parents.iter().map(|&p| self.ops[p].height + 1).max().unwrap_or(0);
        let target = match operation.changes.as_slice() {
            [Change::Retire { device, .. }] => Some(u16::from(device.0[0])),
            _ => None,
        };
        self.ops.push(Op { id: operation.id(), operation, rank, target, parents, past, height });
        self.ops.len() - 1
    }

    /// The form rules, word for word, over the whole past.
    pub(super) fn form(&self, i: usize) -> Result<(), FormError> {
        let op = &self.ops[i];
        if i == 0 {
            return form::genesis(&op.operation);
        }
        let (own, by) = (self.owner(), op.author());
        let named: Vec<AccountId> = op.changes().iter().filter_map(|change| change.named().copied()).collect();
        let distinct: BTreeSet<&AccountId> = named.iter().collect();
        let alone = |change: &Change| matches!(change, Change::Leave | Change::Retire { .. });
        let is = |kind: fn(AccountId) -> Change, o: usize| self.ops[o].names(kind, &by);
        let adds = |o: usize| is(Change::Add, o) || is(Change::Appoint, o);
        let past: Vec<usize> = (0..self.ops.len()).filter(|&o| has(&op.past, o)).collect();
        if op.changes().iter().any(|change| matches!(change, Change::Found(_))) {
            return Err(FormError::Genesis);
        }
        if distinct.len() != named.len() || named.contains(&own) || named.contains(&by) {
            return Err(FormError::Named);
        }
        if op.changes().is_empty() && op.parents.len() < 2 {
            return Err(FormError::Empty);
        }
        if op.changes().len() > 1 && op.changes().iter().any(alone) {
            return Err(FormError::NotAlone);
        }
        match op.changes() {
            [Change::Leave] if by == own => Err(FormError::OwnerLeaves),
            _ if by == own => Ok(()),
            [Change::Leave] if op.parents.len() == 1 && adds(op.parents[0]) => Ok(()),
            [Change::Leave] => Err(FormError::LeaveParent),
            [Change::Retire { .. }] if past.iter().any(|&o| adds(o)) => Ok(()),
            [Change::Retire { .. }] => Err(FormError::NeverIn),
            changes => {
                let owners = |change: &Change| matches!(change, Change::Appoint(_) | Change::Dismiss(_));
                let admin = past.iter().any(|&o| self.ops[o].author() == own && is(Change::Appoint, o));
                if changes.iter().any(owners) || !admin { Err(FormError::NotAdmin) } else { Ok(()) }
            }
        }
    }

    /// Adds an operation if its form is right and it is new.
    pub(super) fn add(&mut self, name: u8, rank: u16, parents: &[usize], changes: Vec<Change>) -> Option<usize> {
        let operation = self.write(name, rank, parents, changes)?;
        if self.find(&operation.id()).is_some() {
            return None;
        }
        let mut parents = parents.to_vec();
        parents.sort_unstable();
        let i = self.push(operation, parents, rank);
        if self.form(i).is_err() {
            self.ops.pop();
            return None;
        }
        Some(i)
    }

    pub(super) fn verified(&self, i: usize) -> Verified {
        let op = &self.ops[i];
        Verified {
            id: op.id,
            operation: op.operation.clone(),
            bytes: op.operation.encode(),
            rank: op.rank,
            target: op.target,
            peer: PeerId([1; 32]),
        }
    }
}

/// At the present heads, at most eight.
pub(super) fn onto(set: &Set, of: &BTreeSet<usize>) -> Vec<usize> {
    let mut heads = set.heads(of);
    heads.truncate(8);
    heads
}

fn pick<T: Copy>(rng: &mut StdRng, of: &[T]) -> T {
    of[rng.random_range(0..of.len())]
}

/// A history of this many steps, with three in ten operations written on an old past.
pub(super) fn random(seed: u64, steps: usize) -> Set {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut set = Set::founded(seed);
    let mut views: Vec<BTreeSet<usize>> = vec![BTreeSet::from([0]); 4];
    for _ in 0..steps {
        let v = rng.random_range(0..views.len());
        if rng.random_bool(0.35) {
            let other = views[rng.random_range(0..4)].clone();
            views[v].extend(other);
            continue;
        }
        let mut base = views[v].clone();
        if rng.random_bool(0.3) {
            let all: Vec<usize> = base.iter().copied().collect();
            let some = (0..pick(&mut rng, &[1, 1, 2])).map(|_| pick(&mut rng, &all)).collect();
            base = set.close(&some);
        }
        let Some((who, rank, parents, changes)) = step(&set, &base, &mut rng) else { continue };
        if let Some(i) = set.add(who, rank, &parents, changes) {
            views[v].extend(set.close(&BTreeSet::from([i])));
        }
    }
    set
}

fn step(set: &Set, base: &BTreeSet<usize>, rng: &mut StdRng) -> Option<(u8, u16, Vec<usize>, Vec<Change>)> {
    let meaning = set.meaning(base, ALL);
    let mut authors = vec![b'A'; 2];
    for admin in &meaning.admins {
        authors.extend([admin.0[0]; 3]);
    }
    authors.extend(meaning.members.iter().map(|member| member.0[0]));
    let who = pick(rng, &authors);
    let (mut changes, mut used) = (Vec::new(), BTreeSet::from([who, b'A']));
    for _ in 0..pick(rng, &[1, 1, 2, 3]) {
        let t = pick(rng, b"BCDEFG");
        let kinds: &[fn(AccountId) -> Change] = &[Change::Add, Change::Remove, Change::Ban, Change::Lift];
        let weights: &[usize] = if who == b'A' { &[5, 3, 1, 1, 1, 5, 2] } else { &[5, 3, 1, 1, 1] };
        let mut at = rng.random_range(0..weights.iter().sum());
        let kind = weights.iter().position(|&weight| {
            let here = at < weight;
            at = at.wrapping_sub(weight);
            here
        });
        let change = match kind? {
            4 => Change::Set { key: pick(rng, &[1, 2]), value: vec![rng.random_range(0..99)] },
            _ if !used.insert(t) => continue,
            5 => Change::Appoint(account(t)),
            6 => Change::Dismiss(account(t)),
            kind => kinds[kind](account(t)),
        };
        changes.push(change);
    }
    let mut rank = pick(rng, &[PHONE, PHONE, PHONE, LAPTOP]);
    let mut parents = onto(set, base);
    match rng.random_range(0..100) {
        0..5 => {
            changes = vec![Change::Leave];
            let adds = |i: &usize| {
                set.ops[*i]
                    .changes()
                    .iter()
                    .any(|change| matches!(change, Change::Add(t) | Change::Appoint(t) if *t == account(who)))
            };
            let mine: Vec<usize> = base.iter().copied().filter(adds).collect();
            if !mine.is_empty() {
                parents = vec![pick(rng, &mine)];
            }
        }
        5..10 => (changes, rank) = (vec![retire(LAPTOP)], PHONE),
        10..12 => (changes, rank) = (vec![retire(PHONE)], RECOVERY),
        // By itself, and by a junior one: they don't count.
        12 => (changes, rank) = (vec![retire(PHONE)], PHONE),
        13 => (changes, rank) = (vec![retire(PHONE)], LAPTOP),
        14..20 => changes = Vec::new(),
        _ => {}
    }
    Some((who, rank, parents, changes))
}

pub(super) const TRUSTED: Intake = Intake { peer: PeerId([1; 32]), budget: u64::MAX, unfinished: false };

impl Log {
    /// Takes operations whose signatures nobody checks.
    pub(super) fn give(&mut self, given: Vec<Verified>, intake: Intake) -> (Vec<Verdict>, Outcome) {
        let ids: Vec<OperationId> = given.iter().map(|verified| verified.id).collect();
        let mut plan = Plan::new(&self.roster, intake);
        self.planner().plan(given.into_iter().map(alloc::borrow::Cow::Owned).collect(), &mut plan);
        let verdicts = ids.iter().map(|id| plan.verdict(id).unwrap_or(Verdict::Known)).collect();
        (verdicts, self.commit(plan))
    }

    pub(super) fn of(set: &Set) -> Self {
        Self::stored(set).0
    }

    pub(super) fn stored(set: &Set) -> (Self, Vec<LogRecord>) {
        let mut log = Self::empty(set.ops[0].id);
        let plan = log.plan_verified(vec![set.verified(0)]);
        let record = plan.record.finish(0).unwrap();
        log.commit(plan);
        (log, vec![record])
    }

    pub(super) fn give_stored(&mut self, given: Vec<Verified>) -> Option<LogRecord> {
        let mut plan = Plan::new(&self.roster, TRUSTED);
        self.planner().plan(given.into_iter().map(alloc::borrow::Cow::Owned).collect(), &mut plan);
        let record = plan.record.finish(self.records);
        self.commit(plan);
        record
    }
}

/// Whether the log's own form rules say of an operation what the words say.
pub(super) fn same_form(
    set: &Set,
    log: &Log,
    operation: &Operation,
    parents: &[usize],
    expected: Result<(), FormError>,
) {
    let (overlay, planned) = (Overlay::new(&log.roster.index), Planned::default());
    let places: Vec<u32> = parents.iter().filter_map(|&p| log.roster.index.find(&set.ops[p].id)).collect();
    let candidate =
        form::Candidate { roster: &log.roster, overlay: &overlay, planned: &planned, operation, parents: &places };
    let found = candidate.check().map(|_| ()).map_err(|error| match error {
        OperationError::Form(error) => error,
        other => panic!("{other:?}"),
    });
    assert_eq!(found, expected, "{operation:?}");
}
