//! Two devices in a test that says step by step what happens.

use crate::{Disk, rng};
use chacha20::ChaCha20Rng;
use sceau::error::OpenError;
use sceau::{Device, DirectoryEntry, Event, Fingerprint, Opened, UnixTime};

/// The moment at which tests take place.
pub const NOW: UnixTime = at(1_800_000_000);

/// A moment.
///
/// # Panics
/// If no clock shows it.
pub const fn at(secs: u64) -> UnixTime {
    match UnixTime::from_secs(secs) {
        Ok(time) => time,
        Err(_) => panic!("no clock shows it"),
    }
}

/// Alice knows Bob's bundle; nobody has written yet.
#[derive(Debug)]
pub struct Talk {
    pub alice: Device,
    pub bob: Device,
    /// Bob's directory.
    pub directory: DirectoryEntry,
    pub rng: ChaCha20Rng,
    /// How the two know each other.
    pub to_bob: Fingerprint,
    pub to_alice: Fingerprint,
}

impl Talk {
    /// Bob has published three one-time prekeys; Alice has added him with one of them.
    pub fn new(seed: u64) -> Self {
        let mut rng = rng(seed);
        let (mut alice, mut bob) = (Device::generate(&mut rng), Device::generate(&mut rng));
        let upload = done(bob.publish_prekeys(3, NOW, &mut rng).expect("room"));
        let mut directory = upload.into_entry().expect("signed");
        let to_bob = done(alice.add_peer(&directory.take_bundle(), NOW).expect("a good bundle"));
        let to_alice = alice.fingerprint();
        Self { alice, bob, directory, rng, to_bob, to_alice }
    }

    /// The same after each has read a message of the other: both sides confirmed.
    pub fn confirmed(seed: u64) -> Self {
        let mut talk = Self::new(seed);
        let first = talk.from_alice(b"first");
        talk.bob_reads(&first).expect("an introduction");
        let reply = talk.from_bob(b"reply");
        talk.alice_reads(&reply).expect("a reply");
        let third = talk.from_alice(b"third");
        talk.bob_reads(&third).expect("a message");
        talk
    }

    /// Alice goes on in one chain, however long nobody answers.
    pub fn alice_never_renews(&mut self) {
        let mut policy = self.alice.policy().clone();
        policy.unanswered = u32::MAX;
        self.alice.set_policy(policy);
    }

    pub fn from_alice(&mut self, content: &[u8]) -> Vec<u8> {
        done(self.alice.seal(self.to_bob, content, NOW, &mut self.rng).expect("Alice can seal")).envelope
    }

    pub fn from_bob(&mut self, content: &[u8]) -> Vec<u8> {
        done(self.bob.seal(self.to_alice, content, NOW, &mut self.rng).expect("Bob can seal")).envelope
    }

    /// # Errors
    /// What opening says.
    pub fn alice_reads(&mut self, envelope: &[u8]) -> Result<Vec<u8>, OpenError> {
        self.alice.open(envelope, NOW).map(done).map(content)
    }

    /// # Errors
    /// What opening says.
    pub fn bob_reads(&mut self, envelope: &[u8]) -> Result<Vec<u8>, OpenError> {
        self.bob.open(envelope, NOW).map(done).map(content)
    }
}

/// Commits without storing.
pub fn done<T>(pending: sceau::Pending<'_, T>) -> T {
    let Ok(value) = pending.commit(|_| Ok::<(), core::convert::Infallible>(()));
    value
}

/// The content of a message.
pub fn content(opened: Opened) -> Vec<u8> {
    match opened.event {
        Event::Message { content, .. } => content,
        other => panic!("not a message: {other:?}"),
    }
}

/// What a device would have on disk.
pub fn state(device: &Device) -> Disk {
    Disk::of(device)
}
