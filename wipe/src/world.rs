//! Devices that do everything four times: on a twin, so that what will come of it is known before; then dropped, refused by
//! the store, and at last done.
//!
//! This program frees no secret: contents and what the library gives of them are kept for ever.

use crate::heap::{self, operation, register, unseen};
use crate::rng::LoggedRng;
use crate::secrets::Ledger;
use chacha20::ChaCha20Rng;
use core::convert::Infallible;
use core::fmt::Debug;
use core::mem::ManuallyDrop;
use rand_core::{Rng, SeedableRng};
use sceau::device::{Delivery, GroupChange};
use sceau::error::OpenError;
use sceau::group::{GroupPolicy, Role};
use sceau::{
    Changes, Device, DirectoryEntry, Envelope, Event, Fingerprint, GroupId, Notice, Opened, Pending, Record, RecordKey,
    Search, UnixTime,
};
use std::cell::Cell;

pub const NOW: UnixTime = match UnixTime::from_secs(1_800_000_000) {
    Ok(now) => now,
    Err(_) => panic!("no clock shows it"),
};

thread_local! {
    static TEXTS: Cell<u64> = const { Cell::new(0) };
    /// Secret bytes behind the end of contents that the library has given out.
    static SPARE: Cell<usize> = const { Cell::new(0) };
}

/// A new text, registered, and kept for ever.
pub fn text(len: usize) -> &'static [u8] {
    let number = TEXTS.replace(TEXTS.get() + 1);
    let mut text = vec![0; len];
    ChaCha20Rng::seed_from_u64(1_000 + number).fill_bytes(&mut text);
    let text = text.leak();
    register("content", text);
    text
}

/// Keeps a content that the library has given, which is this program's own from then on.
pub fn keep(mut content: Vec<u8>) -> &'static [u8] {
    SPARE.set(SPARE.get() + heap::in_spare_capacity(&mut content));
    content.leak()
}

pub fn spare() -> usize {
    SPARE.get()
}

#[derive(Default)]
pub struct World {
    pub devices: Vec<Device>,
    pub names: Vec<Fingerprint>,
    pub directories: Vec<DirectoryEntry>,
    pub rng: Option<LoggedRng>,
    /// They hold secrets: never freed.
    ledgers: ManuallyDrop<Vec<Ledger>>,
}

impl World {
    /// Devices that have published prekeys.
    pub fn new(count: usize, seed: u64) -> Self {
        let mut world = Self { rng: Some(LoggedRng::new(seed)), ..Self::default() };
        for device in 0..count {
            operation("generate a device");
            let new = heap::on_clean_stack(|| Device::generate(world.rng()));
            world.names.push(new.fingerprint());
            world.devices.push(new);
            world.ledgers.push(Ledger::default());
            let upload = world.act("publish prekeys", device, |device, rng| device.publish_prekeys(4, NOW, rng));
            world.directories.push(upload.expect("room").into_entry().expect("signed"));
        }
        world
    }

    /// Devices that have read each other's messages.
    pub fn acquainted(count: usize, seed: u64) -> Self {
        let mut world = Self::new(count, seed);
        for device in 0..count {
            for other in device + 1..count {
                world.introduce(device, other);
                world.tell(device, other);
                world.tell(other, device);
                world.tell(device, other);
            }
        }
        world
    }

    pub fn rng(&mut self) -> &mut LoggedRng {
        self.rng.as_mut().expect("set by new")
    }

    /// Does something with a device.
    pub fn act<T, E: Debug>(
        &mut self,
        name: &'static str,
        device: usize,
        work: impl for<'d> Fn(&'d mut Device, &mut LoggedRng) -> Result<Pending<'d, T>, E>,
    ) -> Result<T, E> {
        operation(name);
        let Self { devices, names, rng, ledgers, .. } = self;
        let (device, own, ledger) = (&mut devices[device], names[device], &mut ledgers[device]);
        let rng = rng.as_mut().expect("set by new");
        if heap::measures() {
            let value = heap::on_clean_stack(|| {
                let Ok(value) = work(device, rng)?.commit(|_| Ok::<(), Infallible>(()));
                Ok(value)
            });
            operation("restore");
            heap::on_clean_stack(|| drop(twin(device)));
            return value;
        }
        let before = heap::on_clean_stack(|| device.records());
        ledger.learn(&before, None, own);
        let head = unseen(|| head(&before));

        let mut twin = heap::on_clean_stack(|| twin(device));
        heap::on_clean_stack(|| match work(&mut twin, &mut rng.clone()) {
            Ok(pending) => {
                let Ok(value) = pending.commit(|_| Ok::<(), Infallible>(()));
                // It may hold a content.
                core::mem::forget(value);
            }
            Err(error) => drop(error),
        });
        let after = heap::on_clean_stack(|| twin.records());
        ledger.learn(&after, None, own);
        heap::on_clean_stack(|| drop(twin));

        heap::on_clean_stack(|| drop(work(device, &mut rng.clone())));
        heap::on_clean_stack(|| drop(work(device, &mut rng.clone()).map(Pending::prepare)));
        heap::on_clean_stack(|| {
            if let Ok(pending) = work(device, &mut rng.clone()) {
                core::mem::forget(pending.commit(|changes| {
                    ledger.learn(changes, Some(&head), own);
                    Err(())
                }));
            }
        });
        let value = heap::on_clean_stack(|| {
            let Ok(value) = work(device, rng)?.commit(|_| Ok::<(), Infallible>(()));
            Ok(value)
        })?;
        let same = unseen(|| puts(&device.records()).eq(puts(&after)));
        assert!(same, "{name}: the twin did something else");
        Ok(value)
    }

    /// Root steps that were computed by this program too.
    pub fn root_steps(&self) -> usize {
        self.ledgers.iter().map(|ledger| ledger.root_steps).sum()
    }

    /// Makes one device a peer of another.
    pub fn introduce(&mut self, device: usize, other: usize) {
        let bundle = self.directories[other].take_bundle();
        self.act("add a peer", device, |device, _| device.add_peer(&bundle, NOW)).expect("a good bundle");
    }

    pub fn seal(&mut self, from: usize, to: usize, text: &'static [u8]) -> Vec<u8> {
        let to = self.names[to];
        let known = self.devices[from].peer(to).is_some_and(|peer| peer.session.is_some());
        let name = if known { "seal" } else { "seal an introduction" };
        self.act(name, from, |device, rng| device.seal(to, text, NOW, rng)).expect("it can be sealed").envelope
    }

    /// Opens an envelope and keeps its content.
    pub fn open(&mut self, device: usize, envelope: &[u8]) -> Result<Read, OpenError> {
        let introduces = Envelope::parse(envelope).is_ok_and(|envelope| envelope.is_introduction());
        let name = if introduces { "open an introduction" } else { "open" };
        self.act(name, device, |device, _| device.open(envelope, NOW)).map(Read::new)
    }

    pub fn search(&mut self, device: usize, envelope: &[u8], search: Search<'_>) -> Result<Read, OpenError> {
        self.act("search", device, |device, _| device.search(envelope, search, NOW)).map(Read::new)
    }

    /// Looks at an envelope first, then opens it, and keeps both contents.
    pub fn preview(&mut self, device: usize, envelope: &[u8]) -> Result<Read, OpenError> {
        let work = |device: &mut Device| device.preview(envelope, NOW).map(Read::new).map(|read| read.content);
        self.act("look at", device, |device, _| {
            work(device)?;
            device.open(envelope, NOW)
        })
        .map(Read::new)
    }

    /// Seals a message and has it read.
    pub fn tell(&mut self, from: usize, to: usize) {
        let text = text(100);
        let envelope = self.seal(from, to, text);
        assert_eq!(self.open(to, &envelope).expect("a good envelope").content, text);
    }

    pub fn tell_many(&mut self, from: usize, to: usize, count: usize) {
        for _ in 0..count {
            self.tell(from, to);
        }
    }

    /// A group of all devices, founded by the first. Commits and announcements come in the order that is asked for.
    pub fn create_group(&mut self, policy: GroupPolicy) -> GroupId {
        self.act("create a group", 0, |device, rng| {
            rng.next_is_public();
            device.create_group(policy, rng)
        })
        .expect("room")
    }

    pub fn commit_group(&mut self, group: GroupId, by: usize, changes: &[GroupChange]) -> Vec<Delivery> {
        let committed = self.act("commit to a roster", by, |device, rng| device.commit_group(group, changes, NOW, rng));
        committed.expect("allowed").deliveries
    }

    pub fn add_all(&mut self, group: GroupId) {
        let adds: Vec<_> = self.names.iter().skip(1).map(|name| GroupChange::Add(*name, Role::Member)).collect();
        let deliveries = self.commit_group(group, 0, &adds);
        self.deliver(group, deliveries);
    }

    pub fn prepare_group(&mut self, group: GroupId, by: usize) -> Vec<Delivery> {
        let ready = self.act("announce a chain", by, |device, rng| device.prepare_group(group, NOW, rng));
        ready.expect("a member").deliveries
    }

    pub fn seal_group(&mut self, group: GroupId, from: usize, text: &'static [u8]) -> Vec<u8> {
        let sealed = self.act("seal for a group", from, |device, rng| device.seal_group(group, text, NOW, rng));
        let sealed = sealed.expect("a member");
        self.deliver(group, sealed.deliveries);
        sealed.envelope
    }

    /// Delivers, and has paid what is owed in consequence.
    pub fn deliver(&mut self, group: GroupId, deliveries: Vec<Delivery>) {
        let mut queue = std::collections::VecDeque::from(deliveries);
        for _ in 0..200 {
            let Some(Delivery { to, envelope, .. }) = queue.pop_front() else { return };
            let to = self.names.iter().position(|name| *name == to).expect("a device");
            let Ok(read) = self.open(to, &envelope) else { continue };
            if read.notices.iter().any(|notice| matches!(notice, Notice::GroupOwed(_))) {
                let paid = self.act("pay a group", to, |device, rng| device.seal_group_owed(group, NOW, rng));
                queue.extend(paid.expect("a group").deliveries);
            }
        }
        panic!("they never stop talking");
    }
}

/// The same device once more.
fn twin(device: &Device) -> Device {
    let records = device.records();
    let mut twin = Device::restore(puts(&records), sceau::Policy::default()).expect("whole");
    twin.set_policy(device.policy().clone());
    twin
}

/// The records, not copied.
pub fn puts(records: &Changes) -> impl Iterator<Item = (sceau::RecordKey, &[u8])> {
    records.after(None).expect("all of a device").filter_map(|record| match record {
        Record::Put(key, bytes) => Some((key, bytes)),
        Record::Delete(_) => None,
    })
}

/// The head among all records of a device.
fn head(records: &Changes) -> Vec<u8> {
    let (_, head) = puts(records).find(|(key, _)| *key == RecordKey::HEAD).expect("it is among them");
    head.to_vec()
}

/// What was opened.
pub struct Read {
    /// The content, or an attachment's note.
    pub content: &'static [u8],
    pub attachment: Option<sceau::Attachment>,
    pub notices: Vec<Notice>,
}

impl Read {
    pub fn new(opened: Opened) -> Self {
        let (content, attachment) = match opened.event {
            Event::Message { content, .. } | Event::GroupMessage { content, .. } => (keep(content), None),
            Event::Attachment { note, attachment, .. } | Event::GroupAttachment { note, attachment, .. } => {
                (keep(note), Some(attachment))
            }
            Event::LongMessage { attachment, .. } | Event::GroupLongMessage { attachment, .. } => {
                (&[][..], Some(attachment))
            }
            _ => (&[][..], None),
        };
        Self { content, attachment, notices: opened.notices }
    }
}
