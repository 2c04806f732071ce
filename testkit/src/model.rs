//! The event model: two devices, an adversarial relay, and what must hold whatever happens.
//!
//! The same events drive property tests, fuzz targets and measurements. After every event the model checks: what was
//! read was sent, by whom it says; nothing is read twice (unless a device fell back to an old image); after any error
//! the device's state is what it was; and the disk always holds exactly what the device holds.

use crate::{Disk, rng};
use chacha20::ChaCha20Rng;
use rand_core::Rng as _;
use sceau::device::OwedId;
use sceau::error::{OpenError, SealError};
use sceau::prekey::Rotation;
use sceau::{Device, DirectoryEntry, Envelope, Event, Fingerprint, IdentityKeyPair, Notice, PreKeyBundle, UnixTime};
use std::collections::{BTreeMap, BTreeSet};

/// One thing that happens. Sides and choices are taken modulo what there is, so that any numbers make an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A side seals a message of so many bytes and gives it to the relay.
    Send { side: u8, len: u16 },
    /// The relay delivers one of its envelopes.
    Deliver { pick: u8 },
    /// The relay delivers one and keeps a copy.
    Duplicate { pick: u8 },
    /// The relay loses one.
    Drop { pick: u8 },
    /// The relay delivers one with a bit changed, and keeps the original.
    Corrupt { pick: u8, bit: u32 },
    /// A side restarts from its disk.
    Restart { side: u8 },
    /// A side seals what it owes.
    PayOwed { side: u8 },
    /// A side renews the session with a fresh bundle.
    Renew { side: u8 },
    /// A side loses everything but its identity.
    LoseState { side: u8 },
    /// A side makes a backup.
    Backup { side: u8 },
    /// A side falls back to its backup.
    FallBack { side: u8 },
    /// The clock of a side goes on, or back.
    Clock { side: u8, seconds: i32 },
    /// A side does its daily upkeep.
    Maintain { side: u8 },
}

/// An envelope on its way.
#[derive(Debug, Clone)]
pub struct InFlight {
    /// Which side it is for.
    pub to: usize,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// One of the two.
#[derive(Debug)]
pub struct Side {
    /// The device.
    pub device: Device,
    /// What it has stored.
    pub disk: Disk,
    /// Its clock.
    pub now: UnixTime,
    backup: Option<(Disk, BTreeSet<u64>)>,
    identity: Vec<u8>,
    directory: DirectoryEntry,
    /// Whether it fell back to an old image and its application has not made up for it.
    pub fell_back: bool,
    /// Messages read, by number.
    pub read: BTreeSet<u64>,
    /// Envelopes that nobody recognised yet.
    pub unknown: Vec<Vec<u8>>,
    /// How often each error was returned.
    pub errors: BTreeMap<&'static str, u32>,
}

/// Two devices and the relay between them.
#[derive(Debug)]
pub struct Model {
    /// The two.
    pub sides: [Side; 2],
    /// What the relay holds.
    pub in_flight: Vec<InFlight>,
    /// Who sent which message.
    pub sent: BTreeMap<u64, usize>,
    /// Every envelope ever given to the relay.
    pub seen_by_relay: Vec<Vec<u8>>,
    /// Whether a device acts on notices at once, as an application would.
    pub dutiful: bool,
    rng: ChaCha20Rng,
    next: u64,
}

impl Model {
    /// Two devices that know of each other only by their directories.
    pub fn new(seed: u64) -> Self {
        let mut rng = rng(seed);
        let mut side = || {
            let device = Device::generate(&mut rng);
            let identity = device.identity().to_state().expose().to_vec();
            Side::new(device, identity, crate::talk::at(1_800_000_000), &mut rng)
        };
        let sides = [side(), side()];
        Self {
            sides,
            in_flight: Vec::new(),
            sent: BTreeMap::new(),
            seen_by_relay: Vec::new(),
            dutiful: false,
            rng,
            next: 0,
        }
    }

    /// The name of a side.
    pub fn name(&self, side: usize) -> Fingerprint {
        self.sides[side].device.fingerprint()
    }

    /// Makes something happen and checks what must hold.
    pub fn step(&mut self, step: Step) {
        match step {
            Step::Send { side, len } => {
                self.send(usize::from(side) % 2, usize::from(len));
            }
            Step::Deliver { pick } => {
                if let Some(index) = self.pick(pick) {
                    let envelope = self.in_flight.remove(index);
                    self.deliver(envelope.to, &envelope.bytes);
                }
            }
            Step::Duplicate { pick } => {
                if let Some(index) = self.pick(pick) {
                    let envelope = self.in_flight[index].clone();
                    self.deliver(envelope.to, &envelope.bytes);
                }
            }
            Step::Drop { pick } => {
                if let Some(index) = self.pick(pick) {
                    self.in_flight.remove(index);
                }
            }
            Step::Corrupt { pick, bit } => {
                if let Some(index) = self.pick(pick) {
                    let InFlight { to, mut bytes } = self.in_flight[index].clone();
                    let bit = bit as usize % (bytes.len() * 8);
                    bytes[bit / 8] ^= 1 << (bit % 8);
                    let read = self.sides[to].read.len();
                    self.deliver(to, &bytes);
                    assert_eq!(self.sides[to].read.len(), read, "a damaged envelope was read");
                }
            }
            Step::Restart { side } => {
                let side = &mut self.sides[usize::from(side) % 2];
                side.device = side.disk.restore();
            }
            Step::PayOwed { side } => self.pay_owed(usize::from(side) % 2),
            Step::Renew { side } => self.renew(usize::from(side) % 2),
            Step::LoseState { side } => {
                let side = usize::from(side) % 2;
                let identity = IdentityKeyPair::from_state(&self.sides[side].identity).expect("own image");
                let device = Device::with_identity(identity, &mut self.rng);
                let lost = &self.sides[side];
                let mut fresh = Side::new(device, lost.identity.clone(), lost.now, &mut self.rng);
                fresh.read.clone_from(&lost.read);
                self.sides[side] = fresh;
            }
            Step::Backup { side } => {
                let side = &mut self.sides[usize::from(side) % 2];
                side.backup = Some((side.disk.clone(), side.read.clone()));
            }
            Step::FallBack { side } => {
                let side = &mut self.sides[usize::from(side) % 2];
                if let Some((disk, read)) = side.backup.clone() {
                    side.device = disk.restore();
                    (side.disk, side.read, side.fell_back) = (disk, read, true);
                }
            }
            Step::Clock { side, seconds } => {
                let now = &mut self.sides[usize::from(side) % 2].now;
                let secs = now.as_secs().saturating_add_signed(i64::from(seconds));
                *now = crate::talk::at(secs.min(UnixTime::MAX));
            }
            Step::Maintain { side } => {
                let side = &mut self.sides[usize::from(side) % 2];
                let disk = &mut side.disk;
                let Ok(_) = side.device.maintain(side.now).commit(|changes| disk.apply(changes));
            }
        }
        for side in &self.sides {
            assert_eq!(Disk::of(&side.device), side.disk, "the disk is not what the device is");
        }
    }

    fn pick(&self, pick: u8) -> Option<usize> {
        usize::from(pick).checked_rem(self.in_flight.len())
    }

    /// A bundle from a side's directory. An honest directory that never runs out of signed prekeys.
    pub fn bundle(&mut self, side: usize) -> PreKeyBundle {
        let owner = &mut self.sides[side];
        if owner.directory.one_time_left() == 0 {
            owner.publish(&mut self.rng);
        }
        owner.directory.take_bundle()
    }

    /// Seals a numbered message and gives it to the relay; its number.
    pub fn send(&mut self, side: usize, len: usize) -> Option<u64> {
        let number = self.next;
        let mut content = number.to_be_bytes().to_vec();
        content.resize(len.max(8), 0xa5);
        let peer = self.name(1 - side);
        let bytes = match self.try_seal(side, peer, &content) {
            Err(SealError::UnknownPeer | SealError::BundleNeeded | SealError::BundleExpired) => {
                let bundle = self.bundle(1 - side);
                let Side { device, disk, now, .. } = &mut self.sides[side];
                // A clock that has gone far ahead refuses the bundle: nothing can be sent.
                let added = device.add_peer(&bundle, *now).ok()?;
                let Ok(_) = added.commit(|changes| disk.apply(changes));
                self.try_seal(side, peer, &content).expect("with a fresh bundle")
            }
            sealed => sealed.expect("a session can seal"),
        };
        self.next += 1;
        self.sent.insert(number, side);
        self.post(1 - side, bytes);
        Some(number)
    }

    fn try_seal(&mut self, side: usize, peer: Fingerprint, content: &[u8]) -> Result<Vec<u8>, SealError> {
        let Side { device, disk, now, .. } = &mut self.sides[side];
        let Ok(bytes) = device.seal(peer, content, *now, &mut self.rng)?.commit(|changes| disk.apply(changes));
        Ok(bytes.envelope)
    }

    /// Gives an envelope to the relay.
    pub fn post(&mut self, to: usize, bytes: Vec<u8>) {
        self.seen_by_relay.push(bytes.clone());
        self.in_flight.push(InFlight { to, bytes });
    }

    fn pay_owed(&mut self, side: usize) {
        let owed: Vec<OwedId> = self.sides[side].device.owed(self.sides[side].now).map(|(id, _)| id).collect();
        for id in owed {
            let Side { device, disk, now, .. } = &mut self.sides[side];
            let pending = device.seal_owed(id, *now, &mut self.rng).expect("it is owed");
            let Ok(bytes) = pending.commit(|changes| disk.apply(changes));
            self.post(1 - side, bytes.envelope);
        }
    }

    /// Renews with a fresh bundle. Fails, without harm, when the clocks are too far apart or nothing was sent yet.
    pub fn renew(&mut self, side: usize) {
        let (peer, bundle) = (self.name(1 - side), self.bundle(1 - side));
        let Side { device, disk, now, .. } = &mut self.sides[side];
        if let Ok(pending) = device.renew(peer, &bundle, *now, &mut self.rng) {
            let Ok(()) = pending.commit(|changes| disk.apply(changes));
        }
    }

    /// What an application does that knows that its device fell back to an old image: fresh prekeys, a new session.
    pub fn make_up_for_falling_back(&mut self, side: usize) {
        if core::mem::take(&mut self.sides[side].fell_back) {
            self.sides[side].publish(&mut self.rng);
            self.renew(side);
        }
    }

    /// Opens an envelope as an application would, and checks the outcome.
    pub fn deliver(&mut self, to: usize, bytes: &[u8]) {
        let before = Disk::of(&self.sides[to].device);
        let Side { device, disk, now, .. } = &mut self.sides[to];
        let result = device.open(bytes, *now);
        let opened = match result {
            Ok(pending) => {
                let Ok(opened) = pending.commit(|changes| disk.apply(changes));
                opened
            }
            Err(error) => {
                assert_eq!(Disk::of(device), before, "{error:?} changed something");
                *self.sides[to].errors.entry(name_of(error)).or_default() += 1;
                self.react(to, error, bytes);
                return;
            }
        };
        let peer = self.name(1 - to);
        match opened.event {
            Event::Message { from, content, tag, .. } => {
                assert_eq!(from, peer, "the wrong sender");
                assert_eq!(tag, Envelope::parse(bytes).expect("it opened").tag());
                let number = u64::from_be_bytes(*content.first_chunk().expect("a numbered message"));
                assert!(content[8..].iter().all(|byte| *byte == 0xa5), "the content is not what was sent");
                assert_eq!(self.sent.get(&number), Some(&(1 - to)), "a message that was never sent");
                assert!(self.sides[to].read.insert(number), "message {number} was read twice");
            }
            Event::Control { from } | Event::Unreadable { from, .. } => assert_eq!(from, peer, "the wrong sender"),
            other => panic!("unexpected {other:?}"),
        }
        if self.dutiful {
            for notice in opened.notices {
                match notice {
                    Notice::RenewalDue(_) => self.renew(to),
                    Notice::Owed(_) => self.pay_owed(to),
                    _ => {}
                }
            }
            self.retry_unknown(to);
        }
    }

    fn react(&mut self, side: usize, error: OpenError, bytes: &[u8]) {
        match error {
            OpenError::Unknown if self.sides[side].unknown.len() < 256 => {
                self.sides[side].unknown.push(bytes.to_vec());
            }
            OpenError::TooFarAhead(peer) | OpenError::Diverged(peer) => {
                assert_eq!(peer, self.name(1 - side));
                if self.dutiful {
                    self.renew(side);
                }
            }
            OpenError::Violation(peer) => panic!("an honest peer {peer} broke the protocol"),
            _ => {}
        }
    }

    /// Tries envelopes again that nobody recognised.
    pub fn retry_unknown(&mut self, side: usize) {
        for bytes in core::mem::take(&mut self.sides[side].unknown) {
            self.deliver(side, &bytes);
        }
    }

    /// Delivers all that is on its way, in order, without loss, until nothing is.
    pub fn flush(&mut self) {
        for _ in 0..10_000 {
            if self.in_flight.is_empty() {
                return;
            }
            let envelope = self.in_flight.remove(0);
            self.deliver(envelope.to, &envelope.bytes);
        }
        panic!("the two never stop talking");
    }

    /// A random number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.rng.next_u64() % end
    }

    /// A random step, weighted like an unkind day. `catastrophes` adds lost states, old images and clocks.
    pub fn random_step(&mut self, catastrophes: bool) -> Step {
        let (side, pick) = (self.below(2) as u8, self.below(256) as u8);
        match self.below(if catastrophes { 108 } else { 100 }) {
            0..=39 => Step::Send { side, len: self.below(1_000) as u16 },
            40..=74 => Step::Deliver { pick },
            75..=79 => Step::Duplicate { pick },
            80..=84 => Step::Drop { pick },
            85..=89 => Step::Corrupt { pick, bit: self.below(1 << 32) as u32 },
            90..=93 => Step::Restart { side },
            94..=97 => Step::PayOwed { side },
            98 => Step::Maintain { side },
            99 => Step::Clock { side, seconds: self.below(1_000) as i32 },
            100..=101 => Step::Renew { side },
            102 => Step::LoseState { side },
            103..=104 => Step::Backup { side },
            105 => Step::FallBack { side },
            _ => Step::Clock { side, seconds: self.below(400_000) as i32 - 200_000 },
        }
    }
}

impl Side {
    fn new(device: Device, identity: Vec<u8>, now: UnixTime, rng: &mut ChaCha20Rng) -> Self {
        let mut device = device;
        let mut disk = Disk::default();
        let pending = device.publish_prekeys(3, now, rng).expect("an empty store has room");
        let Ok(upload) = pending.commit(|changes| disk.apply(changes));
        let directory = upload.into_entry().expect("signed");
        Self {
            device,
            disk,
            now,
            backup: None,
            fell_back: false,
            identity,
            directory,
            read: BTreeSet::new(),
            unknown: Vec::new(),
            errors: BTreeMap::new(),
        }
    }

    fn publish(&mut self, rng: &mut ChaCha20Rng) {
        let Self { device, disk, now, directory, .. } = self;
        if let Ok(pending) = device.rotate_prekeys(3, Rotation::Always, *now, rng) {
            let Ok(upload) = pending.commit(|changes| disk.apply(changes));
            directory.update(upload).expect("signed");
        }
    }
}

/// An error's variant.
pub fn name_of(error: OpenError) -> &'static str {
    match error {
        OpenError::Malformed(_) => "malformed",
        OpenError::Rejected => "rejected",
        OpenError::Unknown => "unknown",
        OpenError::Duplicate => "duplicate",
        OpenError::Replayed => "replayed",
        OpenError::PreKeyGone => "prekey gone",
        OpenError::PreKeyFull => "prekey full",
        OpenError::TooFarAhead(_) => "too far ahead",
        OpenError::Diverged(_) => "diverged",
        OpenError::Violation(_) => "violation",
        OpenError::Blocked(_) => "blocked",
        OpenError::CommitMissing(..) => "commit missing",
        OpenError::EpochGone(_) => "epoch gone",
        OpenError::RosterDiffers(..) => "roster differs",
        _ => "other",
    }
}
