//! Two sessions for unit tests.

use crate::padding::Padding;
use crate::prekey::{PreKeyLifetimes, PreKeyStore, Rotation, VerifiedPreKeyBundle};
use crate::session::{Accepted, Session};
use crate::{Envelope, Fingerprint, IdentityKeyPair, UnixTime};
use alloc::vec::Vec;
use chacha20::ChaCha20Rng;
use rand_core::SeedableRng;

/// Alice introduced herself, Bob accepted; nobody has answered yet.
pub(crate) struct Pair {
    pub(crate) alice: Session,
    pub(crate) bob: Session,
    pub(crate) names: [Fingerprint; 2],
    pub(crate) rng: ChaCha20Rng,
}

impl Pair {
    pub(crate) fn new() -> Self {
        let mut rng = ChaCha20Rng::from_seed([5; 32]);
        let (now, lifetimes) = (UnixTime(1000), PreKeyLifetimes::default());
        let (a, b) = (IdentityKeyPair::generate(&mut rng), IdentityKeyPair::generate(&mut rng));
        let mut prekeys = PreKeyStore::new();
        let bundle = prekeys.publish(&b, 1, Rotation::IfDue, &lifetimes, now, &mut rng).unwrap().take_bundle();
        let bundle = VerifiedPreKeyBundle::verify(bundle, now).unwrap();
        let mut alice = Session::initiate(&a, None, &bundle, 1, &mut rng).unwrap();
        let bytes = alice.seal(b"hi", Padding::default(), &mut rng).unwrap();
        let envelope = Envelope::parse(&bytes).unwrap();
        let accepted: Accepted = Session::accept(&b, &prekeys, &envelope, &lifetimes, now).unwrap();
        let (bob, _) = accepted.settle(&mut prekeys).unwrap();
        Self { alice, bob, names: [a.fingerprint(), b.fingerprint()], rng }
    }

    /// The same after Bob's answer.
    pub(crate) fn answered() -> Self {
        let mut pair = Self::new();
        let bytes = pair.bob.seal(b"hello", Padding::default(), &mut pair.rng).unwrap();
        pair.alice.open(&Envelope::parse(&bytes).unwrap()).unwrap();
        pair
    }

    pub(crate) fn from_alice(&mut self) -> Vec<u8> {
        self.alice.seal(b"text", Padding::default(), &mut self.rng).unwrap()
    }
}
