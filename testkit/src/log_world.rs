//! Replicas of one membership log, honest and hostile, over a network that loses, doubles and reorders.

use crate::rng;
use chacha20::ChaCha20Rng;
use rand_core::Rng;
use sceau::UnixTime;
use sceau::log::{
    AccountId, Author, AuthorError, AuthorKey, Authors, Change, DeviceId, Draft, Exchange, Intake, Log, LogMessage,
    LogRecord, OperationId, OperationKey, PeerId, Role,
};
use std::collections::{BTreeMap, BTreeSet};

/// Accounts with two devices and a recovery key each: what the layer above a log knows.
#[derive(Debug)]
pub struct People {
    keys: BTreeMap<Author, (OperationKey, u16)>,
}

impl People {
    pub fn new(count: u8, seed: u64) -> Self {
        let mut rng = rng(seed);
        let mut keys = BTreeMap::new();
        for name in 0..count {
            for rank in 0..3 {
                keys.insert(author(name, rank), (OperationKey::generate(&mut rng), u16::from(rank)));
            }
        }
        Self { keys }
    }

    pub fn key(&self, author: &Author) -> &OperationKey {
        &self.keys[author].0
    }
}

impl Authors for People {
    fn author(&self, author: &Author) -> Result<AuthorKey, AuthorError> {
        let (key, rank) = self.keys.get(author).ok_or(AuthorError::NotADevice)?;
        Ok(AuthorKey { verify: key.public(), rank: *rank })
    }
}

/// The account of this name.
pub fn account(name: u8) -> AccountId {
    AccountId::from_bytes([name; 32])
}

/// Its device of this rank: 0 is the recovery key.
pub fn author(name: u8, rank: u8) -> Author {
    Author {
        account: account(name),
        device: DeviceId::from_bytes([rank; 32]),
        admission: OperationId::from_bytes([name; 32]),
    }
}

/// A replica with what it has stored.
#[derive(Debug)]
pub struct Replica {
    pub log: Log,
    pub records: Vec<LogRecord>,
    exchange: Exchange,
    name: u8,
    hostile: bool,
}

#[derive(Debug, Default, Clone, Copy)]
pub struct Totals {
    pub operations: u64,
    pub messages: u64,
    pub bytes: u64,
    pub wants: u64,
    pub rounds: u64,
    pub hostile: u64,
    pub restarts: u64,
    pub most_answer: u64,
    pub most_want: u64,
}

impl Totals {
    pub fn add(&mut self, other: &Self) {
        self.operations += other.operations;
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.wants += other.wants;
        self.rounds += other.rounds;
        self.hostile += other.hostile;
        self.restarts += other.restarts;
        self.most_answer = self.most_answer.max(other.most_answer);
        self.most_want = self.most_want.max(other.most_want);
    }
}

const REPLICAS: usize = 6;
const PEOPLE: u8 = 9;

#[derive(Debug)]
pub struct World {
    people: People,
    replicas: Vec<Replica>,
    flying: Vec<(usize, usize, Vec<u8>)>,
    now: UnixTime,
    rng: ChaCha20Rng,
    /// One message in so many is lost.
    loss: u64,
    pub totals: Totals,
}

fn peer(replica: usize) -> PeerId {
    PeerId::from_bytes([replica as u8 + 1; 32])
}

impl World {
    pub fn new(seed: u64) -> Self {
        let (people, mut rng) = (People::new(PEOPLE, 1), rng(seed));
        let admins = vec![Change::Appoint(account(1)), Change::Appoint(account(2)), Change::Add(account(3))];
        let draft = Draft::genesis(author(0, 1), admins, &mut rng).unwrap();
        let genesis = draft.sign(people.key(&author(0, 1)));
        let replicas = (0..REPLICAS)
            .map(|i| {
                let (log, record) = Log::open(genesis.id(), &genesis.encode(), &people).unwrap();
                // The last two write and exchange as they like.
                Replica { log, records: vec![record], exchange: Exchange::new(), name: i as u8 % 5, hostile: i >= 4 }
            })
            .collect();
        let mut world = Self {
            people,
            replicas,
            flying: Vec::new(),
            now: crate::talk::at(1_000_000),
            rng,
            loss: 4,
            totals: Totals::default(),
        };
        for i in 0..REPLICAS {
            world.meet(i);
        }
        world
    }

    fn meet(&mut self, i: usize) {
        for other in (0..REPLICAS).filter(|&other| other != i) {
            self.replicas[i].exchange.add_peer(peer(other), self.now);
        }
    }

    fn below(&mut self, end: usize) -> usize {
        (self.rng.next_u64() % end as u64) as usize
    }

    pub fn run(&mut self) {
        for _ in 0..400 {
            match self.below(20) {
                0..4 => self.write(),
                4..6 => self.attack(),
                6 => self.restart(),
                7..10 => self.now = self.now.plus(1),
                10 => self.now = self.now.plus(60),
                11 | 12 => {
                    self.poll();
                }
                _ => self.deliver(),
            }
        }
    }

    fn send(&mut self, from: usize, to: usize, bytes: Vec<u8>) {
        self.totals.messages += 1;
        self.totals.bytes += bytes.len() as u64;
        if bytes.first() == Some(&1) {
            self.totals.wants += 1;
            self.totals.most_want = self.totals.most_want.max(bytes.len() as u64);
        } else {
            self.totals.most_answer = self.totals.most_answer.max(bytes.len() as u64);
        }
        if self.loss > 0 && self.below(self.loss as usize) == 0 {
            return;
        }
        if self.loss > 0 && self.below(8) == 0 {
            self.flying.push((from, to, bytes.clone()));
        }
        self.flying.push((from, to, bytes));
    }

    /// An honest replica writes on what it knows.
    fn write(&mut self) {
        let i = self.below(4);
        let name = self.replicas[i].name;
        let role = self.replicas[i].log.role(&account(name));
        let t = account(1 + self.below(PEOPLE as usize - 1) as u8);
        let kind = self.below(12);
        let change = match (role, kind) {
            (Role::Owner, 0..2) => Change::Appoint(t),
            (Role::Owner, 2) => Change::Dismiss(t),
            (Role::Owner | Role::Admin, 0..6) => Change::Add(t),
            (Role::Owner | Role::Admin, 6..8) => Change::Remove(t),
            (Role::Owner | Role::Admin, 8) => Change::Ban(t),
            (Role::Owner | Role::Admin, 9) => Change::Lift(t),
            (Role::Owner | Role::Admin, _) => Change::Set { key: kind as u8, value: vec![self.below(250) as u8] },
            (Role::Member, 0) => Change::Leave,
            _ => return,
        };
        let writer = author(name, 1);
        let log = &self.replicas[i].log;
        let drafts = match change {
            Change::Leave => log.draft_leave(writer).unwrap_or_default(),
            _ if log.heads().len() > 8 => log.draft(writer, Vec::new()).into_iter().collect(),
            _ => log.draft(writer, vec![change]).into_iter().collect(),
        };
        for draft in drafts {
            let operation = draft.sign(self.people.key(&writer));
            let (id, bytes) = (operation.id(), operation.encode());
            self.take(i, &[&bytes], peer(i));
            self.totals.operations += 1;
            let announcement = self.replicas[i].log.announcement(&[id]);
            for to in (0..REPLICAS).filter(|&to| to != i) {
                self.send(i, to, announcement.clone());
            }
        }
    }

    fn take(&mut self, i: usize, operations: &[&[u8]], from: PeerId) {
        let replica = &mut self.replicas[i];
        let intake = Intake { peer: from, budget: u64::MAX, unfinished: false };
        let receiving = replica.log.receive(operations, &self.people, intake);
        replica.records.extend(receiving.record());
        receiving.commit();
    }

    /// A hostile replica writes on an old past, with any account that it has, and sends what it likes to whom it likes.
    fn attack(&mut self) {
        let i = 4 + self.below(2);
        let name = [1, 3, 4, 2][self.below(4)];
        let (rank, victim) = (1 + self.below(2) as u8, self.below(4));
        let t = account(1 + self.below(PEOPLE as usize - 1) as u8);
        let change = [Change::Add(t), Change::Remove(t), Change::Set { key: 9, value: vec![6] }, Change::Ban(t)]
            [self.below(4)]
        .clone();
        let log = &self.replicas[i].log;
        let mut known: Vec<OperationId> = log.heads();
        known.push(log.id());
        known.extend((0..PEOPLE).flat_map(|name| log.additions(&account(name))));
        let parent = known[self.below(known.len())];
        let writer = author(name, rank);
        let mut chain = vec![parent];
        for _ in 0..=self.below(4) {
            let Ok(draft) = Draft::new(self.replicas[i].log.id(), writer, chain.clone(), vec![change.clone()]) else {
                return;
            };
            let operation = draft.sign(self.people.key(&writer));
            chain = vec![operation.id()];
            self.take(i, &[&operation.encode()], peer(i));
            self.totals.hostile += 1;
            // The last one first: its parents are missing.
            let ops = self.replicas[i].log.announcement(&[operation.id()]);
            self.send(i, victim, ops);
        }
        match self.below(4) {
            // A head that does not exist.
            0 => {
                let replica = &mut self.replicas[i];
                if let Some((_, mut want)) = replica.exchange.poll(&mut replica.log, self.now).pop() {
                    let at = 58 + self.below(32);
                    if at < want.len() {
                        want[at] ^= 1;
                    }
                    self.send(i, victim, want);
                }
            }
            // Damaged bytes.
            1 => {
                let mut bytes = self.replicas[i].log.announcement(&self.replicas[i].log.heads());
                let at = self.below(bytes.len());
                bytes[at] ^= 1 << self.below(8);
                self.send(i, victim, bytes);
            }
            _ => {}
        }
    }

    /// A replica forgets all but its records.
    fn restart(&mut self) {
        let i = self.below(REPLICAS);
        self.totals.restarts += 1;
        let replica = &mut self.replicas[i];
        let (hash, len) = (replica.log.heads_hash(), replica.log.len());
        replica.log = Log::restore(replica.records.iter().map(|record| &*record.bytes)).expect("its own records");
        assert_eq!((replica.log.heads_hash(), replica.log.len()), (hash, len), "a restart changes nothing that counts");
        replica.exchange = Exchange::new();
        self.meet(i);
    }

    fn poll(&mut self) -> bool {
        let mut asked = false;
        for i in 0..REPLICAS {
            let replica = &mut self.replicas[i];
            if let Some(incoming) = replica.exchange.resume(&mut replica.log, self.now) {
                replica.records.extend(incoming.record());
                incoming.commit();
            }
            let messages = replica.exchange.poll(&mut replica.log, self.now);
            for (to, bytes) in messages {
                asked |= i < 4;
                self.send(i, usize::from(to.as_bytes()[0]) - 1, bytes);
            }
        }
        asked
    }

    fn deliver(&mut self) {
        if self.flying.is_empty() {
            return;
        }
        let which = self.below(self.flying.len());
        let (from, to, bytes) = self.flying.swap_remove(which);
        let Ok(message) = LogMessage::decode(&bytes) else { return };
        let replica = &mut self.replicas[to];
        match message {
            LogMessage::Want(want) => {
                // A hostile one withholds.
                if replica.hostile && self.rng.next_u64().is_multiple_of(2) {
                    return;
                }
                if let Some(answer) = replica.exchange.answer(&replica.log, &peer(from), &want, self.now) {
                    self.send(to, from, answer);
                }
            }
            LogMessage::Ops(ops) => {
                let incoming = replica.exchange.receive(&mut replica.log, &self.people, &peer(from), ops, self.now);
                if let Some(incoming) = incoming {
                    replica.records.extend(incoming.record());
                    incoming.commit();
                }
            }
        }
    }

    fn agree(&self) -> bool {
        let hashes: BTreeSet<_> = self.replicas[..4].iter().map(|replica| replica.log.heads_hash()).collect();
        hashes.len() == 1
    }

    /// Quiet: nothing is written any more, and nothing is lost. Whether the honest replicas end with the same operations.
    pub fn settle(&mut self) -> bool {
        self.loss = 0;
        // In half of the worlds all that is under way is lost.
        if self.below(2) == 0 {
            self.flying.clear();
        }
        for _ in 0..200 {
            while !self.flying.is_empty() {
                self.deliver();
            }
            if self.agree() {
                break;
            }
            self.now = self.now.plus(600);
            self.totals.rounds += u64::from(self.poll());
        }
        let shown = |replica: &Replica| {
            let mut members: Vec<_> = replica.log.members().collect();
            members.sort_unstable();
            let settings: Vec<_> =
                (0..=255).filter_map(|key| replica.log.setting(key).map(|value| (key, value))).collect();
            (members, settings, replica.log.len(), replica.log.heads())
        };
        let first = shown(&self.replicas[0]);
        self.agree() && self.replicas[..4].iter().all(|replica| shown(replica) == first)
    }
}
