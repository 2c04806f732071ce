//! Two devices talk, keep their records, and send a file and a message to a group: what a program in WebAssembly would do.
//! The exit status is 0 if all went well.

use sceau::device::GroupChange;
use sceau::error::Stale;
use sceau::group::{GroupPolicy, Role};
use sceau::{Changes, Device, Event, Pending, Policy, Record, RecordKey, UnixTime};
use std::collections::BTreeMap;
use std::error::Error;
use std::time::{SystemTime, UNIX_EPOCH};

/// A device and its store.
struct Side {
    device: Device,
    disk: BTreeMap<RecordKey, Vec<u8>>,
}

impl Side {
    fn new() -> Self {
        let device = Device::generate(&mut rand::rng());
        let mut disk = BTreeMap::new();
        write(&mut disk, &device.records()).expect("nothing is there yet");
        Self { device, disk }
    }

    fn restart(&mut self) -> Result<(), Box<dyn Error>> {
        self.device = Device::restore(self.disk.iter().map(|(key, bytes)| (*key, bytes)), Policy::default())?;
        Ok(())
    }
}

fn write(disk: &mut BTreeMap<RecordKey, Vec<u8>>, changes: &Changes) -> Result<(), Stale> {
    let head = disk.get(&RecordKey::HEAD).cloned();
    for record in changes.after(head.as_deref())? {
        match record {
            Record::Put(key, bytes) => disk.insert(key, bytes.to_vec()),
            Record::Delete(key) => disk.remove(&key),
        };
    }
    Ok(())
}

fn done<T>(pending: Pending<'_, T>, disk: &mut BTreeMap<RecordKey, Vec<u8>>) -> T {
    pending.commit(|changes| write(disk, changes)).expect("nobody else writes")
}

fn open(to: &mut Side, envelope: &[u8], now: UnixTime) -> Result<Event, Box<dyn Error>> {
    Ok(done(to.device.open(envelope, now)?, &mut to.disk).event)
}

fn main() -> Result<(), Box<dyn Error>> {
    let now = UnixTime::from_secs(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    let rng = &mut rand::rng();
    let (mut alice, mut bob) = (Side::new(), Side::new());
    let upload = done(bob.device.publish_prekeys(2, now, rng)?, &mut bob.disk);
    let mut directory = upload.into_entry()?;
    let to_bob = done(alice.device.add_peer(&directory.take_bundle(), now)?, &mut alice.disk);
    let to_alice = alice.device.fingerprint();
    for round in 0..20_u32 {
        let text = round.to_string();
        let envelope = done(alice.device.seal(to_bob, text.as_bytes(), now, rng)?, &mut alice.disk).envelope;
        let Event::Message { content, .. } = open(&mut bob, &envelope, now)? else { return Err("no message".into()) };
        let reply = done(bob.device.seal(to_alice, &content, now, rng)?, &mut bob.disk).envelope;
        let Event::Message { content, .. } = open(&mut alice, &reply, now)? else { return Err("no reply".into()) };
        if content != text.as_bytes() {
            return Err("another text".into());
        }
        alice.restart()?;
        bob.restart()?;
    }

    let (key, ciphertext) = sceau::attachment::seal(&[7; 100_000], rng)?;
    if sceau::attachment::open(&key, &ciphertext)? != [7; 100_000] {
        return Err("another file".into());
    }

    let group = done(alice.device.create_group(GroupPolicy::default(), rng)?, &mut alice.disk);
    let add = [GroupChange::Add(to_bob, Role::Member)];
    let added = done(alice.device.commit_group(group, &add, now, rng)?, &mut alice.disk);
    let sealed = done(alice.device.seal_group(group, b"to all", now, rng)?, &mut alice.disk);
    for delivery in added.deliveries.iter().chain(&sealed.deliveries) {
        open(&mut bob, &delivery.envelope, now)?;
    }
    let Event::GroupMessage { content, .. } = open(&mut bob, &sealed.envelope, now)? else {
        return Err("no message of the group".into());
    };
    if content != b"to all" {
        return Err("another message of the group".into());
    }
    println!("a conversation of 40 messages, a file and a group, with {} bits to a pointer", usize::BITS);
    Ok(())
}
