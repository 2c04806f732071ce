//! One device in more and more groups.

use crate::clock::Effort;
use crate::host::{CONTENT, Correspondents, Host, Row};
use chacha20::ChaCha20Rng;
use sceau::device::{GroupChange, GroupCommitted};
use sceau::group::{GroupPolicy, Role};
use sceau::{Changes, Device, Fingerprint, GroupId, Notice, Pending};
use sceau_testkit::talk::{NOW, done};
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;

/// Members of each group, the device among them.
const MEMBERS: usize = 8;

/// The others come from a pool: each founds every sixteenth group, so that none is the admin of more than 64.
const POOL: usize = 16;

/// Of so many groups messages come and go while it is measured.
const SPOKEN_IN: usize = 64;

/// The device: the first of all.
const HOST: usize = 0;

struct World {
    host: Host,
    pool: Vec<Device>,
    numbers: BTreeMap<Fingerprint, usize>,
    groups: Vec<GroupId>,
    queue: VecDeque<(usize, Vec<u8>)>,
    rng: ChaCha20Rng,
}

/// Who speaks in which group.
struct Speakers<'a> {
    pool: &'a mut [Device],
    groups: Vec<(GroupId, usize)>,
    rng: ChaCha20Rng,
}

impl Correspondents for Speakers<'_> {
    fn count(&self) -> usize {
        self.groups.len()
    }

    fn write(&mut self, from: usize) -> Vec<u8> {
        let (group, speaker) = self.groups[from];
        let sealed = done(self.pool[speaker].seal_group(group, CONTENT, NOW, &mut self.rng).expect("a member"));
        assert!(sealed.deliveries.is_empty(), "all have its chain");
        sealed.envelope
    }

    fn answer(&mut self, to: usize, device: &mut Device, store: &mut dyn FnMut(&Changes)) {
        let (group, _) = self.groups[to];
        let pending = device.seal_group(group, CONTENT, NOW, &mut self.rng).expect("a member");
        let Ok(sealed) = pending.commit(|changes| {
            store(changes);
            Ok::<(), Infallible>(())
        });
        assert!(sealed.deliveries.is_empty(), "all have its chain");
    }

    /// Nobody need: a chain goes on by itself.
    fn read(&mut self) {}
}

/// The pool's member that comes `offset` places after the founder of a group.
fn member(group: usize, offset: usize) -> usize {
    (group + offset) % POOL
}

impl World {
    /// All know each other.
    fn new() -> Self {
        let mut rng = sceau_testkit::rng(3);
        let devices: Vec<_> = (0..=POOL).map(|_| Device::generate(&mut rng)).collect();
        let numbers = devices.iter().enumerate().map(|(number, device)| (device.fingerprint(), number)).collect();
        let mut devices = devices.into_iter();
        let host = Host::new(devices.next().expect("the first"));
        let (groups, queue) = (Vec::new(), VecDeque::new());
        let mut world = Self { host, pool: devices.collect(), numbers, groups, queue, rng };
        for one in 0..=POOL {
            for other in one + 1..=POOL {
                world.befriend(one, other);
            }
        }
        world.host.begin();
        world
    }

    /// Does something to one of them.
    fn act<T>(
        &mut self,
        who: usize,
        call: impl for<'d> FnOnce(&'d mut Device, &mut ChaCha20Rng) -> Pending<'d, T>,
    ) -> T {
        let rng = &mut self.rng;
        match who.checked_sub(1) {
            None => self.host.change(|device| call(device, rng)),
            Some(place) => done(call(&mut self.pool[place], rng)),
        }
    }

    fn let_go<T>(&mut self, who: usize, value: T) {
        if who == HOST {
            self.host.let_go(value);
        }
    }

    fn name(&self, who: usize) -> Fingerprint {
        who.checked_sub(1).map_or_else(|| self.host.device.fingerprint(), |place| self.pool[place].fingerprint())
    }

    fn befriend(&mut self, one: usize, other: usize) {
        let upload = self.act(other, |device, rng| device.publish_prekeys(0, NOW, rng).expect("room"));
        let bundle = upload.into_entry().expect("signed").take_bundle();
        self.act(one, |device, _| device.add_peer(&bundle, NOW).expect("a good bundle"));
        for (from, to) in [(one, other), (other, one), (one, other)] {
            let name = self.name(to);
            let sealed = self.act(from, |device, rng| device.seal(name, CONTENT, NOW, rng).expect("a peer"));
            let opened = self.act(to, |device, _| device.open(&sealed.envelope, NOW).expect("a message"));
            self.let_go(to, opened);
            self.let_go(from, sealed);
        }
    }

    fn post(&mut self, from: usize, committed: GroupCommitted) {
        assert!(committed.unreachable.is_empty() && committed.attached.is_empty());
        for delivery in &committed.deliveries {
            self.queue.push_back((self.numbers[&delivery.to], delivery.envelope.clone()));
        }
        self.let_go(from, committed);
    }

    /// Delivers, and pays what is owed then, until nothing is on its way.
    fn deliver(&mut self) {
        while let Some((to, envelope)) = self.queue.pop_front() {
            let opened = self.act(to, |device, _| device.open(&envelope, NOW).expect("a message"));
            let owed: Vec<_> = opened
                .notices
                .iter()
                .filter_map(|notice| if let Notice::GroupOwed(group) = notice { Some(*group) } else { None })
                .collect();
            self.let_go(to, opened);
            for group in owed {
                loop {
                    let paid = self.act(to, |device, rng| device.seal_group_owed(group, NOW, rng).expect("a group"));
                    let done = paid.deliveries.is_empty();
                    self.post(to, paid);
                    if done {
                        break;
                    }
                }
            }
        }
    }

    /// Founds one more group; every member has told the others its chain.
    fn found(&mut self) {
        let number = self.groups.len();
        let members: Vec<_> = (0..MEMBERS - 1).map(|offset| member(number, offset) + 1).chain([HOST]).collect();
        // So long that no chain is replaced while it is measured.
        let policy = GroupPolicy { max_messages: 1 << 30, max_age: u64::MAX };
        let founder = members[0];
        let group = self.act(founder, |device, rng| device.create_group(policy, rng).expect("room"));
        let adds: Vec<_> = members[1..].iter().map(|who| GroupChange::Add(self.name(*who), Role::Member)).collect();
        let committed = self.act(founder, |device, rng| device.commit_group(group, &adds, NOW, rng).expect("an admin"));
        self.post(founder, committed);
        self.deliver();
        for who in members {
            let ready = self.act(who, |device, rng| device.prepare_group(group, NOW, rng).expect("a member"));
            self.post(who, ready);
            self.deliver();
        }
        let status = self.host.device.group(group).expect("it was added");
        assert_eq!((status.member, status.owed, status.chains), (true, 0, MEMBERS - 1));
        self.groups.push(group);
    }

    fn measure(&mut self, effort: Effort) -> Row {
        let count = self.groups.len();
        let every = count.div_ceil(SPOKEN_IN);
        let spoken = (0..count).step_by(every).map(|number| (self.groups[number], member(number, 1))).collect();
        let mut speakers = Speakers { pool: &mut self.pool, groups: spoken, rng: sceau_testkit::rng(4) };
        self.host.measure(count, &mut speakers, effort, &mut self.rng)
    }
}

pub fn run(counts: &[usize], effort: Effort) -> Vec<Row> {
    let mut world = World::new();
    let mut rows = Vec::new();
    for count in counts {
        eprintln!("{count} groups");
        while world.groups.len() < *count {
            world.found();
        }
        rows.push(world.measure(effort));
    }
    rows
}
