//! Random histories of a membership log, honest and hostile, for a second implementation to judge.

use crate::log_world::{People, account, author};
use crate::rng;
use chacha20::ChaCha20Rng;
use rand_core::Rng;
use sceau::log::{Change, DeviceId, Draft, Intake, Log, OperationId, PeerId, Role};
use std::fmt::Write;

pub const PEOPLE: u8 = 7;

/// Takes everything.
pub const OPEN: Intake = Intake { peer: PeerId::from_bytes([1; 32]), budget: u64::MAX, unfinished: false };

#[derive(Debug)]
pub struct History {
    people: People,
    rng: ChaCha20Rng,
    /// Four replicas that have seen different parts, and one that has seen all.
    views: Vec<Log>,
    seen: Vec<Vec<usize>>,
    pub all: Log,
    pub operations: Vec<(OperationId, Vec<u8>)>,
    parents: Vec<Vec<usize>>,
}

impl History {
    pub fn new(seed: u64) -> Self {
        let (people, mut rng) = (People::new(PEOPLE, 2), rng(seed));
        let draft = Draft::genesis(author(0, 1), Vec::new(), &mut rng).unwrap();
        let genesis = draft.sign(people.key(&author(0, 1)));
        let open = || Log::open(genesis.id(), &genesis.encode(), &people).unwrap().0;
        let (views, all) = ((0..4).map(|_| open()).collect(), open());
        let operations = vec![(genesis.id(), genesis.encode())];
        Self { people, rng, views, seen: vec![vec![0]; 4], all, operations, parents: vec![Vec::new()] }
    }

    fn below(&mut self, end: usize) -> usize {
        (self.rng.next_u64() % end as u64) as usize
    }

    fn changes(&mut self, owner: bool) -> (u8, Vec<Change>) {
        let mut rank = [1, 1, 1, 2][self.below(4)];
        let mut changes = Vec::new();
        for _ in 0..=self.below(3) {
            let t = account(1 + self.below(usize::from(PEOPLE) - 1) as u8);
            let change = match self.below(if owner { 18 } else { 11 }) {
                0..5 => Change::Add(t),
                5..8 => Change::Remove(t),
                8 => Change::Ban(t),
                9 => Change::Lift(t),
                10 => Change::Set { key: 1 + self.below(2) as u8, value: vec![self.below(99) as u8] },
                11..16 => Change::Appoint(t),
                _ => Change::Dismiss(t),
            };
            changes.push(change);
        }
        let retire = |rank, name: u8| Change::Retire {
            device: DeviceId::from_bytes([rank; 32]),
            admission: OperationId::from_bytes([name; 32]),
        };
        match self.below(100) {
            0..5 => changes = vec![Change::Leave],
            // Who retires is set by who writes.
            5..10 => (rank, changes) = (1, vec![retire(2, 0)]),
            10..12 => (rank, changes) = (0, vec![retire(1, 0)]),
            12..18 => changes = Vec::new(),
            _ => {}
        }
        (rank, changes)
    }

    /// One operation, if its form is right. Returns its place.
    pub fn step(&mut self) -> Option<usize> {
        let v = self.below(4);
        if self.below(20) < 7 {
            let other = self.below(4);
            for i in self.seen[other].clone() {
                self.show(v, i);
            }
            return None;
        }
        let name = self.writer(v);
        let (rank, mut changes) = self.changes(name == 0);
        if let [Change::Retire { admission, .. }] = changes.as_mut_slice() {
            *admission = OperationId::from_bytes([name; 32]);
        }
        let mut parents = self.views[v].heads();
        if self.below(10) < 3 {
            parents.clear();
            for _ in 0..=self.below(2) {
                let i = self.below(self.seen[v].len());
                let id = self.operations[self.seen[v][i]].0;
                if !parents.contains(&id) {
                    parents.push(id);
                }
            }
        }
        if changes == [Change::Leave] {
            let mine = self.views[v].additions(&account(name));
            if !mine.is_empty() {
                parents = vec![mine[self.below(mine.len())]];
            }
        }
        let writer = author(name, rank);
        let operation = Draft::new(self.all.id(), writer, parents, changes).ok()?.sign(self.people.key(&writer));
        let (id, bytes) = (operation.id(), operation.encode());
        if self.operations.iter().any(|(other, _)| *other == id) {
            return None;
        }
        let receiving = self.all.receive(&[&bytes], &self.people, OPEN);
        if matches!(receiving.verdicts(), [sceau::log::Verdict::Refused(_)]) {
            return None;
        }
        receiving.commit();
        let at = |id: &OperationId| self.operations.iter().position(|(other, _)| other == id);
        let parents = operation.parents().iter().filter_map(at).collect();
        self.operations.push((id, bytes));
        self.parents.push(parents);
        let i = self.operations.len() - 1;
        self.show(v, i);
        Some(i)
    }

    fn writer(&mut self, v: usize) -> u8 {
        let mut writers = vec![0, 0];
        for (id, role) in self.views[v].members() {
            let weight = if role == Role::Admin { 4 } else { 1 };
            writers.extend([id.as_bytes()[0]].repeat(weight));
        }
        writers[self.below(writers.len())]
    }

    /// A view sees an operation and all before it.
    fn show(&mut self, v: usize, i: usize) {
        if self.seen[v].contains(&i) {
            return;
        }
        for parent in self.parents[i].clone() {
            self.show(v, parent);
        }
        self.seen[v].push(i);
        let bytes = self.operations[i].1.clone();
        self.views[v].receive(&[&bytes], &self.people, OPEN).commit();
    }

    /// What the log that has seen all says, as one line of JSON.
    pub fn state(&self) -> String {
        let mut text = String::from("{\"roles\":\"");
        for name in 0..PEOPLE {
            let role = match self.all.role(&account(name)) {
                Role::Owner => 'O',
                Role::Admin => 'A',
                Role::Member => 'M',
                _ => '-',
            };
            text.push(role);
        }
        text.push_str("\",\"verdicts\":\"");
        for (id, _) in &self.operations {
            let flag = |on, flag: u32| if on { flag } else { 0 };
            let flags =
                flag(self.all.is_effective(id), 1) + flag(self.all.counts(id), 2) + flag(self.all.is_kept(id), 4);
            write!(text, "{flags}").unwrap();
        }
        text.push_str("\",\"settings\":{");
        let mut first = true;
        for key in 1..=2 {
            if let Some(at) =
                self.all.setting_from(key).and_then(|id| self.operations.iter().position(|(other, _)| *other == id))
            {
                write!(text, "{}\"{key}\":{at}", if first { "" } else { "," }).unwrap();
                first = false;
            }
        }
        text.push_str("}}");
        text
    }
}
