//! Many devices, one group, an adversarial relay: what must hold whatever happens.
//!
//! After every event: what is read was sealed, once, by whom it says, and its reader was in the roster that it was sealed
//! under; an error changes nothing; the disk holds what the device holds; devices of one transcript hash have one roster.

use crate::{Disk, rng};
use chacha20::ChaCha20Rng;
use rand_core::Rng as _;
use sceau::device::{Delivery, GroupChange, GroupEvent, Unreachable};
use sceau::error::{GroupError, OpenError};
use sceau::group::{GroupPolicy, Role};
use sceau::prekey::Rotation;
use sceau::{Device, DirectoryEntry, Event, Fingerprint, GroupId, Notice, Search, UnixTime};
use std::collections::{BTreeMap, BTreeSet};

/// An envelope on its way.
#[derive(Debug, Clone)]
pub struct Flying {
    pub to: usize,
    pub bytes: Vec<u8>,
    pub intact: bool,
}

/// One device and its application.
#[derive(Debug)]
pub struct Party {
    pub device: Device,
    pub disk: Disk,
    pub directory: DirectoryEntry,
    pub unknown: Vec<Vec<u8>>,
    /// Envelopes whose commit is missing: tried again when the roster changes.
    pub missing: Vec<Vec<u8>>,
    pub read: BTreeSet<u64>,
    pub events: Vec<GroupEvent>,
    pub errors: BTreeMap<&'static str, u32>,
}

/// What was sealed.
#[derive(Debug, Clone)]
pub struct Sealed {
    pub from: usize,
    pub epoch: u64,
    pub transcript: [u8; 32],
    pub members: BTreeSet<Fingerprint>,
    pub content: Vec<u8>,
}

/// All of them.
#[derive(Debug)]
pub struct Crowd {
    pub parties: Vec<Party>,
    pub names: BTreeMap<Fingerprint, usize>,
    pub group: Option<GroupId>,
    pub now: UnixTime,
    pub queue: Vec<Flying>,
    pub sealed: Vec<Sealed>,
    /// Reads by someone who was not in the roster that the message was sealed under.
    pub read_after_removal: u64,
    pub read_before_joining: u64,
    pub mismatched: u64,
    /// Whoever was added by someone who may.
    pub added: BTreeSet<Fingerprint>,
    /// Sizes of envelopes that the relay saw.
    pub sizes: BTreeMap<usize, u64>,
    pub rng: ChaCha20Rng,
    /// Ciphertexts that anyone can fetch, and how many bytes they have.
    pub attached: Vec<Vec<u8>>,
    /// Whether disks and unchanged states are compared after each event: slow for large crowds.
    pub thorough: bool,
}

impl Crowd {
    pub fn new(count: usize, seed: u64) -> Self {
        let (mut rng, now) = (rng(seed), crate::talk::at(1_800_000_000));
        let parties: Vec<Party> = (0..count).map(|_| Party::new(now, &mut rng)).collect();
        let names = parties.iter().enumerate().map(|(index, party)| (party.device.fingerprint(), index)).collect();
        Self {
            parties,
            names,
            group: None,
            now,
            queue: Vec::new(),
            sealed: Vec::new(),
            read_after_removal: 0,
            read_before_joining: 0,
            mismatched: 0,
            added: BTreeSet::new(),
            sizes: BTreeMap::new(),
            rng,
            attached: Vec::new(),
            thorough: true,
        }
    }

    /// A group of everybody, founded by the first; all envelopes delivered.
    pub fn together(count: usize, seed: u64) -> Self {
        let mut crowd = Self::new(count, seed);
        crowd.create(GroupPolicy::default());
        let changes: Vec<GroupChange> = (1..count).map(|i| GroupChange::Add(crowd.name(i), Role::Member)).collect();
        crowd.commit(0, &changes).expect("an admin adds");
        crowd.flush();
        crowd
    }

    pub fn name(&self, party: usize) -> Fingerprint {
        self.parties[party].device.fingerprint()
    }

    pub fn group(&self) -> GroupId {
        self.group.expect("a group was made")
    }

    pub fn create(&mut self, policy: GroupPolicy) {
        let Party { device, disk, .. } = &mut self.parties[0];
        let pending = device.create_group(policy, &mut self.rng).expect("a good policy");
        let Ok(group) = pending.commit(|changes| disk.apply(changes));
        self.group = Some(group);
        self.added.insert(self.name(0));
    }

    /// Makes someone a peer of a party.
    pub fn introduce(&mut self, party: usize, other: Fingerprint) {
        let Some(&owner) = self.names.get(&other) else { return };
        let bundle = self.parties[owner].bundle(self.now, &mut self.rng);
        let Party { device, disk, .. } = &mut self.parties[party];
        if let Ok(pending) = device.add_peer(&bundle, self.now) {
            let Ok(_) = pending.commit(|changes| disk.apply(changes));
        }
    }

    /// Commits changes, gives the envelopes to the relay.
    ///
    /// # Errors
    /// What the device says.
    pub fn commit(&mut self, party: usize, changes: &[GroupChange]) -> Result<u64, GroupError> {
        for change in changes {
            if let GroupChange::Add(peer, _) = change
                && self.parties[party].device.peer(*peer).is_none()
            {
                self.introduce(party, *peer);
            }
        }
        let group = self.group();
        let Party { device, disk, .. } = &mut self.parties[party];
        let pending = device.commit_group(group, changes, self.now, &mut self.rng)?;
        let Ok(committed) = pending.commit(|changes| disk.apply(changes));
        for change in changes {
            if let GroupChange::Add(peer, _) = change {
                self.added.insert(*peer);
            }
        }
        self.attached.extend(committed.attached);
        self.post_all(party, committed.deliveries, &committed.unreachable);
        Ok(committed.epoch)
    }

    /// Leaves.
    ///
    /// # Errors
    /// What the device says.
    pub fn leave(&mut self, party: usize) -> Result<u64, GroupError> {
        let group = self.group();
        let Party { device, disk, .. } = &mut self.parties[party];
        let pending = device.leave_group(group, self.now, &mut self.rng)?;
        let Ok(committed) = pending.commit(|changes| disk.apply(changes));
        self.attached.extend(committed.attached);
        self.post_all(party, committed.deliveries, &committed.unreachable);
        Ok(committed.epoch)
    }

    /// Seals a numbered message for the group and gives all that comes of it to the relay.
    ///
    /// # Errors
    /// What the device says.
    pub fn say(&mut self, party: usize, text: &[u8]) -> Result<u64, GroupError> {
        let group = self.group();
        let number = self.sealed.len() as u64;
        let content = [&number.to_be_bytes()[..], text].concat();
        let Party { device, disk, .. } = &mut self.parties[party];
        let pending = device.prepare_group(group, self.now, &mut self.rng)?;
        let Ok(ready) = pending.commit(|changes| disk.apply(changes));
        self.attached.extend(ready.attached);
        self.post_all(party, ready.deliveries, &ready.unreachable);
        let Party { device, disk, .. } = &mut self.parties[party];
        let pending = device.seal_group(group, &content, self.now, &mut self.rng)?;
        let Ok(sealed) = pending.commit(|changes| disk.apply(changes));
        let roster = device.group(group).expect("it has just sealed").roster;
        let members: BTreeSet<Fingerprint> = roster.members().map(|(name, _)| name).collect();
        // The relay gives it to everybody, also to those who are out.
        for to in (0..self.parties.len()).filter(|to| *to != party) {
            self.post(to, sealed.envelope.clone());
        }
        let (epoch, transcript) = (roster.epoch(), roster.transcript());
        self.sealed.push(Sealed { from: party, epoch, transcript, members, content });
        self.attached.extend(sealed.attached);
        self.post_all(party, sealed.deliveries, &sealed.unreachable);
        Ok(number)
    }

    fn post_all(&mut self, party: usize, envelopes: Vec<Delivery>, unreachable: &[Unreachable]) {
        for Delivery { to, envelope, .. } in envelopes {
            self.post(self.names[&to], envelope);
        }
        for Unreachable { peer: member, .. } in unreachable {
            self.introduce(party, *member);
        }
        self.pay(party);
    }

    pub fn post(&mut self, to: usize, bytes: Vec<u8>) {
        *self.sizes.entry(bytes.len()).or_default() += 1;
        self.queue.push(Flying { to, bytes, intact: true });
    }

    /// Seals all that a party owes.
    pub fn pay(&mut self, party: usize) {
        let group = self.group();
        for _ in 0..20 {
            let Party { device, disk, .. } = &mut self.parties[party];
            let Ok(pending) = device.seal_group_owed(group, self.now, &mut self.rng) else { return };
            let Ok(paid) = pending.commit(|changes| disk.apply(changes));
            self.attached.extend(paid.attached);
            if paid.deliveries.is_empty() {
                return;
            }
            for Delivery { to, envelope, .. } in paid.deliveries {
                self.post(self.names[&to], envelope);
            }
        }
    }

    /// Stores whatever a test has committed without a store.
    pub fn store_all(&mut self) {
        for party in &mut self.parties {
            party.disk = Disk::of(&party.device);
        }
    }

    pub fn restart(&mut self, party: usize) {
        let party = &mut self.parties[party];
        party.device = party.disk.restore();
    }

    /// Opens an envelope as an application would, and checks the outcome.
    pub fn deliver(&mut self, flying: &Flying) {
        let (to, group) = (flying.to, self.group());
        let before = self.thorough.then(|| Disk::of(&self.parties[to].device));
        let Party { device, disk, .. } = &mut self.parties[to];
        let result = match device.open(&flying.bytes, self.now) {
            Err(OpenError::Unknown) => device.search(&flying.bytes, Search::Group(group), self.now),
            result => result,
        };
        let opened = match result {
            Ok(pending) => {
                let Ok(opened) = pending.commit(|changes| disk.apply(changes));
                opened
            }
            Err(error) => {
                if let Some(before) = before {
                    assert_eq!(Disk::of(device), before, "{error:?} changed something");
                }
                *self.parties[to].errors.entry(crate::model::name_of(error)).or_default() += 1;
                match error {
                    OpenError::Unknown if self.parties[to].unknown.len() < 512 => {
                        self.parties[to].unknown.push(flying.bytes.clone());
                    }
                    OpenError::CommitMissing(..) => {
                        let missing = &mut self.parties[to].missing;
                        if missing.len() < 512 {
                            missing.push(flying.bytes.clone());
                        }
                        // Once for each roster.
                        if missing.len() == 1 {
                            self.ask(to);
                        }
                    }
                    OpenError::Violation(peer) if flying.intact => panic!("an honest {peer} broke the protocol"),
                    _ => {}
                }
                return;
            }
        };
        let mut opened = opened;
        assert!(flying.intact, "a damaged envelope was opened: {:?}", opened.event);
        match opened.event {
            Event::GroupMessage { from, content, epoch, .. } => self.note_read(to, from, epoch, &content),
            Event::Group { what, .. } => {
                if let GroupEvent::Elsewhere { name } = what {
                    opened.notices.extend(self.fetch(to, name));
                }
                if std::env::var("TRACE").is_ok() {
                    eprintln!("to {to}: {what:?}");
                }
                self.parties[to].events.push(what);
            }
            Event::Control { .. } => {}
            other => panic!("unexpected {other:?}"),
        }
        let changed =
            |event: Option<&GroupEvent>| matches!(event, Some(GroupEvent::Changed { .. } | GroupEvent::Joined { .. }));
        let mut retry = false;
        if changed(self.parties[to].events.last()) {
            retry = true;
            let party = &mut self.parties[to];
            party.unknown.append(&mut party.missing);
        }
        for notice in opened.notices {
            match notice {
                Notice::NewChain(_) => retry = true,
                Notice::GroupOwed(_) => self.settle_debts(to),
                Notice::Owed(id) => {
                    let Party { device, disk, .. } = &mut self.parties[to];
                    let Some((_, peer)) = device.owed(self.now).find(|(owed, _)| *owed == id) else { continue };
                    let pending = device.seal_owed(id, self.now, &mut self.rng).expect("it is owed");
                    let Ok(bytes) = pending.commit(|changes| disk.apply(changes));
                    self.post(self.names[&peer], bytes.envelope);
                }
                _ => {}
            }
        }
        if self.thorough {
            let party = &self.parties[to];
            assert_eq!(Disk::of(&party.device), party.disk, "the disk is not what the device is");
        }
        if retry {
            for bytes in core::mem::take(&mut self.parties[to].unknown) {
                self.deliver(&Flying { to, bytes, intact: true });
            }
        }
    }

    /// Fetches what a member has named, as from a public store.
    fn fetch(&mut self, to: usize, name: [u8; 32]) -> Vec<Notice> {
        let ciphertext = self.attached.iter().find(|ciphertext| sceau::attachment::name(ciphertext) == name);
        let ciphertext = ciphertext.expect("it was stored before the envelope left");
        let Party { device, disk, events, .. } = &mut self.parties[to];
        assert!(device.wanted().any(|wanted| wanted == name));
        let pending = device.take_attached(ciphertext, self.now).expect("it is wanted");
        let Ok(opened) = pending.commit(|changes| disk.apply(changes));
        let Event::Group { what, .. } = opened.event else { panic!("{:?}", opened.event) };
        events.push(what);
        opened.notices
    }

    /// Pays, after making peers of those who are none yet.
    pub fn settle_debts(&mut self, party: usize) {
        let group = self.group();
        let Party { device, disk, .. } = &mut self.parties[party];
        let Ok(pending) = device.seal_group_owed(group, self.now, &mut self.rng) else { return };
        let Ok(paid) = pending.commit(|changes| disk.apply(changes));
        self.attached.extend(paid.attached);
        self.post_all(party, paid.deliveries, &paid.unreachable);
    }

    fn ask(&mut self, party: usize) {
        let group = self.group();
        let device = &self.parties[party].device;
        let me = device.fingerprint();
        let Some(status) = device.group(group) else { return };
        // Whoever is there; a peer that has a session answers.
        for (member, _) in status.roster.members().filter(|(member, _)| *member != me) {
            if self.parties[party].device.peer(member).is_none() {
                self.introduce(party, member);
            }
            let Party { device, disk, .. } = &mut self.parties[party];
            let Ok(pending) = device.ask_for_commits(group, member, self.now, &mut self.rng) else { continue };
            let Ok(bytes) = pending.commit(|changes| disk.apply(changes));
            self.post(self.names[&member], bytes.envelope);
        }
    }

    fn note_read(&mut self, reader: usize, from: Fingerprint, epoch: u64, content: &[u8]) {
        let number = u64::from_be_bytes(*content.first_chunk().expect("a numbered message"));
        let name = self.name(reader);
        let sealed = &self.sealed[usize::try_from(number).expect("small")];
        let genuine = content == sealed.content && self.names[&from] == sealed.from && epoch == sealed.epoch;
        let twice = !self.parties[reader].read.insert(number);
        self.mismatched += u64::from(!genuine || twice);
        if !sealed.members.contains(&name) {
            let was_in = self.sealed[..usize::try_from(number).expect("small")]
                .iter()
                .any(|earlier| earlier.members.contains(&name));
            self.read_after_removal += u64::from(was_in);
            self.read_before_joining += u64::from(!was_in);
        }
    }

    /// Delivers all that is on its way, in order, until nothing is.
    pub fn flush(&mut self) {
        for _ in 0..100 {
            if self.queue.is_empty() {
                return;
            }
            for flying in core::mem::take(&mut self.queue) {
                self.deliver(&flying);
            }
        }
        panic!("they never stop talking");
    }

    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.rng.next_u64() % end as u64).expect("small")
    }

    /// Members, in any party's roster, whom nobody added who may; and rosters that differ under one hash.
    pub fn ghosts(&self) -> u64 {
        let group = self.group();
        let mut by_hash: BTreeMap<[u8; 32], BTreeSet<Fingerprint>> = BTreeMap::new();
        let mut ghosts = 0;
        for status in self.parties.iter().filter_map(|party| party.device.group(group)) {
            let members: BTreeSet<Fingerprint> = status.roster.members().map(|(name, _)| name).collect();
            ghosts += members.difference(&self.added).count() as u64;
            let known = by_hash.entry(status.roster.transcript()).or_insert_with(|| members.clone());
            ghosts += u64::from(*known != members);
        }
        ghosts
    }

    /// Whether all who think they are in agree on the roster, and it holds just them.
    pub fn agrees(&self) -> bool {
        let group = self.group();
        let statuses: Vec<_> = self
            .parties
            .iter()
            .filter_map(|party| Some((party.device.fingerprint(), party.device.group(group)?)))
            .filter(|(_, status)| status.member)
            .collect();
        let mut hashes = statuses.iter().map(|(_, status)| status.roster.transcript());
        let first = hashes.next();
        hashes.all(|hash| Some(hash) == first)
            && statuses.iter().all(|(_, status)| status.roster.len() == statuses.len())
    }
}

impl Party {
    fn new(now: UnixTime, rng: &mut ChaCha20Rng) -> Self {
        let (mut device, mut disk) = (Device::generate(rng), Disk::default());
        let pending = device.publish_prekeys(2, now, rng).expect("room");
        let Ok(upload) = pending.commit(|changes| disk.apply(changes));
        let directory = upload.into_entry().expect("signed");
        Self {
            device,
            disk,
            directory,
            unknown: Vec::new(),
            missing: Vec::new(),
            read: BTreeSet::new(),
            events: Vec::new(),
            errors: BTreeMap::new(),
        }
    }

    /// Bytes that it has stored.
    pub fn size_of(&self) -> usize {
        self.disk.size()
    }

    /// A bundle; without a one-time prekey when they have run out.
    fn bundle(&mut self, now: UnixTime, rng: &mut ChaCha20Rng) -> sceau::PreKeyBundle {
        let Self { device, disk, directory, .. } = self;
        if directory.one_time_left() == 0
            && let Ok(pending) = device.rotate_prekeys(4, Rotation::IfDue, now, rng)
        {
            let Ok(upload) = pending.commit(|changes| disk.apply(changes));
            directory.update(upload).expect("signed");
        }
        directory.take_bundle()
    }
}
