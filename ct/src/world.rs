//! Devices whose secrets are marked.

use crate::heap::Shapes;
use crate::rng::SecretRng;
use crate::valgrind::{public, secret, secret_bytes};
use core::convert::Infallible;
use core::fmt::Debug;
use sceau::device::{Delivery, GroupChange};
use sceau::error::OpenError;
use sceau::group::{GroupPolicy, Role};
use sceau::{Device, DirectoryEntry, Event, Fingerprint, GroupId, Notice, Opened, Pending, UnixTime};

pub const NOW: UnixTime = match UnixTime::from_secs(1_800_000_000) {
    Ok(now) => now,
    Err(_) => panic!("no clock shows it"),
};

/// Devices and their directories. Between two calls, keys that devices hold are secret and all else is public.
pub struct World {
    pub devices: Vec<Device>,
    pub names: Vec<Fingerprint>,
    pub directories: Vec<DirectoryEntry>,
    pub rng: SecretRng,
    shapes: Shapes,
}

impl World {
    /// Devices that have published prekeys. Nothing is secret until [`Self::hide`].
    pub fn new(count: usize) -> Self {
        let mut rng = SecretRng::new(1);
        let mut devices: Vec<_> = (0..count).map(|_| Device::generate(&mut rng)).collect();
        let names = devices.iter().map(Device::fingerprint).collect();
        let publish =
            |device: &mut Device| done(device.publish_prekeys(4, NOW, &mut rng)).into_entry().expect("signed");
        let directories = devices.iter_mut().map(publish).collect();
        Self { devices, names, directories, rng, shapes: Shapes::new() }
    }

    /// Two devices, of which the first has the second's bundle.
    pub fn strangers() -> Self {
        let mut world = Self::new(2);
        world.introduce(0, 1);
        world
    }

    /// Two devices that have read each other's messages: the first is about to go on, the second to begin a chain.
    pub fn confirmed() -> Self {
        let mut world = Self::strangers();
        for (from, to) in [(0, 1), (1, 0), (0, 1)] {
            world.tell(from, to);
        }
        world
    }

    /// From here on keys are secret: those that are held, and all that is drawn.
    pub fn hide(mut self) -> Self {
        self.rng.hide();
        let secrets = self.settle();
        assert!(secrets > 500, "devices hold keys: {secrets} bytes are secret");
        self
    }

    /// An operation has ended: what it left behind is a stored key, or public.
    pub fn settle(&mut self) -> usize {
        self.shapes.settle()
    }

    /// Makes one device a peer of another.
    pub fn introduce(&mut self, device: usize, other: usize) {
        let bundle = self.directories[other].take_bundle();
        done(self.devices[device].add_peer(&bundle, NOW));
    }

    pub fn seal(&mut self, from: usize, to: usize, text: &[u8]) -> Vec<u8> {
        let content = hidden(text);
        let envelope = done(self.devices[from].seal(self.names[to], &content, NOW, &mut self.rng));
        self.sent(envelope.envelope)
    }

    /// An envelope leaves, and its operation has ended.
    pub fn sent(&mut self, mut envelope: Vec<u8>) -> Vec<u8> {
        self.show(&mut envelope);
        self.settle();
        envelope
    }

    /// Everyone sees an envelope.
    fn show(&self, envelope: &mut [u8]) {
        let secrets = secret_bytes(envelope);
        assert!(!self.rng.hides() || secrets > 500, "its bytes come from secrets: {secrets} of {}", envelope.len());
        public(envelope);
    }

    pub fn open(&mut self, device: usize, envelope: &[u8]) -> Result<Opened, OpenError> {
        let mut result = self.devices[device].open(envelope, NOW);
        public(&mut result);
        let mut opened = commit(result?);
        public(&mut opened);
        self.settle();
        Ok(opened)
    }

    /// A device looks no further than for the tags that it expects.
    pub fn search_nowhere(&mut self, device: usize) {
        let device = &mut self.devices[device];
        let mut policy = device.policy().clone();
        policy.search = 0;
        device.set_policy(policy);
    }

    /// Seals a message and has it read.
    pub fn tell(&mut self, from: usize, to: usize) {
        let text = b"something that nobody else may know";
        let envelope = self.seal(from, to, text);
        let opened = self.open(to, &envelope).expect("a good envelope");
        assert_eq!(content(opened), text);
    }

    /// A group of all devices, founded by the first.
    pub fn create_group(&mut self) -> GroupId {
        self.rng.next_is_public();
        let group = done(self.devices[0].create_group(GroupPolicy::default(), &mut self.rng));
        self.settle();
        group
    }

    pub fn add_all(&mut self, group: GroupId) {
        let names = self.names[1..].to_vec();
        self.add(group, &names);
    }

    pub fn add(&mut self, group: GroupId, names: &[Fingerprint]) {
        let adds: Vec<_> = names.iter().map(|name| GroupChange::Add(*name, Role::Member)).collect();
        let committed = done(self.devices[0].commit_group(group, &adds, NOW, &mut self.rng));
        assert!(committed.unreachable.is_empty());
        self.deliver(group, committed.deliveries, 0);
    }

    /// Announces a device's chain to whoever lacks it.
    pub fn announce(&mut self, group: GroupId, from: usize) {
        let ready = done(self.devices[from].prepare_group(group, NOW, &mut self.rng));
        assert!(ready.unreachable.is_empty() && !ready.deliveries.is_empty());
        self.deliver(group, ready.deliveries, 0);
    }

    pub fn seal_group(&mut self, group: GroupId, from: usize, text: &[u8]) -> Vec<u8> {
        let content = hidden(text);
        let sealed = done(self.devices[from].seal_group(group, &content, NOW, &mut self.rng));
        let mut envelope = sealed.envelope;
        self.show(&mut envelope);
        self.deliver(group, sealed.deliveries, 0);
        envelope
    }

    fn deliver(&mut self, group: GroupId, mut deliveries: Vec<Delivery>, depth: usize) {
        assert!(depth < 10, "they never stop talking");
        for delivery in &mut deliveries {
            self.show(&mut delivery.envelope);
        }
        self.settle();
        for Delivery { to, envelope, .. } in deliveries {
            let to = self.names.iter().position(|name| *name == to).expect("a device");
            let opened = self.open(to, &envelope).expect("a good envelope");
            assert!(matches!(opened.event, Event::Group { .. } | Event::Control { .. }), "{:?}", opened.event);
            if opened.notices.iter().any(|notice| matches!(notice, Notice::GroupOwed(_))) {
                let paid = done(self.devices[to].seal_group_owed(group, NOW, &mut self.rng));
                self.deliver(group, paid.deliveries, depth + 1);
            }
        }
    }
}

/// A copy of a text, secret.
fn hidden(text: &[u8]) -> Vec<u8> {
    let mut content = text.to_vec();
    secret(&mut *content);
    content
}

/// Commits without storing.
pub fn done<T, E: Debug>(mut result: Result<Pending<'_, T>, E>) -> T {
    public(&mut result);
    commit(result.expect("it can be done"))
}

fn commit<T>(pending: Pending<'_, T>) -> T {
    let Ok(mut value) = pending.commit(|_| Ok::<(), Infallible>(()));
    public(&mut value);
    value
}

/// The content of a message.
pub fn content(opened: Opened) -> Vec<u8> {
    match opened.event {
        Event::Message { content, .. } | Event::GroupMessage { content, .. } => content,
        other => panic!("not a message: {other:?}"),
    }
}
