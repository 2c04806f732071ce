//! The device that is looked at, and what is measured of it.

use crate::clock::{Effort, Times};
use crate::heap::{self, Heap};
use chacha20::ChaCha20Rng;
use sceau::error::OpenError;
use sceau::store::SealedStore;
use sceau::{Changes, Device, Event, Pending, Record, RecordKey};
use sceau_testkit::Disk;
use sceau_testkit::talk::NOW;
use std::convert::Infallible;

/// What every message says.
pub const CONTENT: &[u8] = &[7; 256];

/// Messages of one correspondent in one sample: few, so that all of them are expected when the first comes, and as many
/// however many correspondents there are, since what a message carries beside its content changes along a turn.
const IN_A_ROW: usize = 4;

/// Refusals in one sample: the clock's own cost is then lost in theirs.
const REFUSALS: usize = 128;

/// A device, what it has stored, and what it holds in memory.
pub struct Host {
    pub device: Device,
    disk: Disk,
    held: Heap,
    /// What there was before the first session, or group.
    empty: Footprint,
}

/// What a device takes.
#[derive(Debug, Clone, Copy, Default)]
struct Footprint {
    heap: Heap,
    record_bytes: usize,
    records: usize,
    mailboxes: usize,
}

/// One line of the tables: a device with so many sessions, or groups.
pub struct Row {
    pub count: usize,
    /// Bytes and blocks for each, as it grew; bytes for each after a restart; and of those in which was spoken meanwhile.
    pub heap_bytes: f64,
    pub heap_blocks: f64,
    pub restored_bytes: f64,
    pub spoken_bytes: f64,
    /// Stored, for each.
    pub record_bytes: f64,
    pub records: f64,
    /// Written when one message is opened, and sealed.
    pub open_writes: f64,
    pub seal_writes: f64,
    pub mailboxes: f64,
    pub open: Times,
    pub seal: Times,
    pub forged: Times,
    pub unknown: Times,
    /// Making and sealing the records that one opened message changes.
    pub sealed_store: Times,
    pub restore: Times,
    pub export: Times,
    /// Bytes held beside the device while it gives all its records.
    pub export_peak: usize,
    pub maintain: Times,
    pub listen: Times,
    pub owed: Times,
}

/// Those who write to the device and are written to: some of its peers, or of its groups.
pub trait Correspondents {
    fn count(&self) -> usize;
    /// The next message of one of them.
    fn write(&mut self, from: usize) -> Vec<u8>;
    /// The device's next message to one of them.
    fn answer(&mut self, to: usize, device: &mut Device, store: &mut dyn FnMut(&Changes));
    /// They read what the device wrote.
    fn read(&mut self);
}

/// Records as a database takes them over: copied, no more.
struct Written {
    rows: Vec<(RecordKey, Option<Vec<u8>>)>,
    /// The head of what was written last.
    head: Option<Vec<u8>>,
}

impl Written {
    fn on(disk: &Disk) -> Self {
        Self { rows: Vec::new(), head: disk.records().get(&RecordKey::HEAD).cloned() }
    }

    fn take(&mut self, changes: &Changes) {
        let records = changes.after(self.head.as_deref()).expect("one process has one store");
        self.rows.extend(records.map(|record| match record {
            Record::Put(key, bytes) => (key, Some(bytes.to_vec())),
            Record::Delete(key) => (key, None),
        }));
        if let Some((_, head)) = self.rows.iter().rev().find(|(key, _)| *key == RecordKey::HEAD) {
            self.head.clone_from(head);
        }
    }

    fn bytes(&self) -> usize {
        self.rows.iter().filter_map(|(_, bytes)| bytes.as_ref()).map(Vec::len).sum()
    }

    fn apply(self, disk: &mut Disk) {
        for (key, bytes) in self.rows {
            match bytes {
                Some(bytes) => disk.records_mut().insert(key, bytes),
                None => disk.records_mut().remove(&key),
            };
        }
    }
}

impl Host {
    pub fn new(device: Device) -> Self {
        let disk = Disk::of(&device);
        Self { device, disk, held: Heap::default(), empty: Footprint::default() }
    }

    /// Counts from here: what there is belongs to no session, or to no group.
    pub fn begin(&mut self) {
        self.empty = self.footprint();
    }

    fn footprint(&self) -> Footprint {
        Footprint {
            heap: self.held,
            record_bytes: self.disk.size(),
            records: self.disk.records().len(),
            mailboxes: self.device.mailboxes().count(),
        }
    }

    /// Does something to the device, and stores it. What the device holds more, or less, is counted; so is the result,
    /// until [`Self::let_go`].
    pub fn change<T>(&mut self, call: impl for<'d> FnOnce(&'d mut Device) -> Pending<'d, T>) -> T {
        let Self { device, disk, held, .. } = self;
        let before = heap::live();
        let mut stored = Heap::default();
        let Ok(value) = call(device).commit(|changes| {
            let before = heap::live();
            let result = disk.apply(changes);
            stored = heap::live() - before;
            result
        });
        *held += heap::live() - before - stored;
        value
    }

    /// Drops a result of [`Self::change`].
    pub fn let_go<T>(&mut self, value: T) {
        let before = heap::live();
        drop(value);
        self.held += heap::live() - before;
    }

    /// Measures the device as it stands, with `count` sessions or groups.
    pub fn measure(
        &mut self,
        count: usize,
        correspondents: &mut dyn Correspondents,
        effort: Effort,
        rng: &mut ChaCha20Rng,
    ) -> Row {
        let (now, empty) = (self.footprint(), self.empty);
        let each = |now: usize, before: usize| now.wrapping_sub(before).cast_signed() as f64 / count as f64;
        let mut row = Row {
            count,
            heap_bytes: each(now.heap.bytes, empty.heap.bytes),
            heap_blocks: each(now.heap.blocks, empty.heap.blocks),
            restored_bytes: 0.0,
            spoken_bytes: 0.0,
            record_bytes: each(now.record_bytes, empty.record_bytes),
            records: each(now.records, empty.records),
            open_writes: 0.0,
            seal_writes: 0.0,
            mailboxes: each(now.mailboxes, empty.mailboxes),
            open: Times::default(),
            seal: Times::default(),
            forged: Times::default(),
            unknown: Times::default(),
            sealed_store: Times::default(),
            restore: Times::default(),
            export: Times::default(),
            export_peak: 0,
            maintain: Times::default(),
            listen: Times::default(),
            owed: Times::default(),
        };
        let before = self.restart(&mut row);
        self.messages(&mut row, correspondents, effort);
        let spoken = self.restart(&mut row).wrapping_sub(before).cast_signed() as f64;
        row.restored_bytes = each(before, empty.heap.bytes);
        row.spoken_bytes = row.restored_bytes + spoken / correspondents.count() as f64;
        self.whole(&mut row, correspondents, effort, rng);
        row
    }

    /// Restores the device once; how many bytes it then holds.
    fn restart(&self, row: &mut Row) -> usize {
        let before = heap::live();
        let restored = row.restore.batch(1, || self.disk.restore());
        let held = heap::live() - before;
        assert_eq!(restored.fingerprint(), self.device.fingerprint());
        held.bytes
    }

    fn messages(&mut self, row: &mut Row, correspondents: &mut dyn Correspondents, effort: Effort) {
        let count = correspondents.count();
        let operations = IN_A_ROW * count;
        for _ in 0..effort.rounds {
            // The first message in each direction begins a chain, which is off the clock: a turn is no matter of scale.
            let mut opened = Written::on(&self.disk);
            for from in 0..count {
                open(&mut self.device, &correspondents.write(from), &mut |changes| opened.take(changes));
            }
            opened.apply(&mut self.disk);
            let envelopes: Vec<_> =
                (0..IN_A_ROW).flat_map(|_| 0..count).map(|from| correspondents.write(from)).collect();
            let changed = |place: fn(&[u8]) -> usize| {
                let mut changed = envelopes.clone();
                for envelope in &mut changed {
                    let place = place(envelope);
                    envelope[place] ^= 1;
                }
                changed
            };
            let (forged, unknown) = (changed(|envelope| envelope.len() - 1), changed(|_| 5));
            row.forged.batch(REFUSALS, || refuse(&mut self.device, &forged, OpenError::Rejected));
            row.unknown.batch(REFUSALS, || refuse(&mut self.device, &unknown, OpenError::Unknown));

            let mut opened = Written::on(&self.disk);
            row.open.batch(operations, || {
                for envelope in &envelopes {
                    open(&mut self.device, envelope, &mut |changes| opened.take(changes));
                }
            });
            row.open_writes = opened.bytes() as f64 / operations as f64;
            opened.apply(&mut self.disk);

            let mut sealed = Written::on(&self.disk);
            for to in 0..count {
                correspondents.answer(to, &mut self.device, &mut |changes| sealed.take(changes));
            }
            sealed.apply(&mut self.disk);
            let mut sealed = Written::on(&self.disk);
            row.seal.batch(operations, || {
                for to in (0..IN_A_ROW).flat_map(|_| 0..count) {
                    correspondents.answer(to, &mut self.device, &mut |changes| sealed.take(changes));
                }
            });
            row.seal_writes = sealed.bytes() as f64 / operations as f64;
            sealed.apply(&mut self.disk);
            correspondents.read();
        }
    }

    fn whole(&mut self, row: &mut Row, correspondents: &mut dyn Correspondents, effort: Effort, rng: &mut ChaCha20Rng) {
        let Self { device, disk, .. } = self;
        row.maintain.repeat(effort, || {
            let Ok(deleted) = device.maintain(NOW).commit(|_| Ok::<(), Infallible>(()));
            assert_eq!(deleted, 0, "nothing has had its time");
        });
        row.listen.repeat(effort, || device.mailboxes().count());
        row.owed.repeat(effort, || assert_eq!(device.owed(NOW).count(), 0, "nothing is owed"));
        row.export.repeat(effort, || device.records());

        let (all, peak) = heap::peak(|| device.records());
        row.export_peak = peak;
        assert_eq!(all.len(), disk.records().len(), "all of it is stored");
        drop(all);
        let Ok(mut store) = SealedStore::create(&[7; 32], device, rng, |_| Ok::<(), Infallible>(()));
        let envelope = correspondents.write(0);
        for _ in 0..effort.rounds {
            let pending = device.open(&envelope, NOW).expect("a message of a known session or chain");
            row.sealed_store.batch(1, || store.prepare(pending, rng)).not_stored();
        }
        open(device, &envelope, &mut |changes| {
            let Ok(()) = disk.apply(changes);
        });
        drop(store);

        row.restore.repeat(effort, || disk.restore());
    }
}

fn open(device: &mut Device, envelope: &[u8], store: &mut dyn FnMut(&Changes)) {
    let pending = device.open(envelope, NOW).expect("a message of a known session or chain");
    let Ok(opened) = pending.commit(|changes| {
        store(changes);
        Ok::<(), Infallible>(())
    });
    assert!(matches!(opened.event, Event::Message { .. } | Event::GroupMessage { .. }));
}

fn refuse(device: &mut Device, envelopes: &[Vec<u8>], why: OpenError) {
    for envelope in envelopes.iter().cycle().take(REFUSALS) {
        assert!(device.open(envelope, NOW).is_err_and(|error| error == why));
    }
}
