//! Two sessions without devices around them.

use crate::rng;
use crate::talk::NOW;
use chacha20::ChaCha20Rng;
use sceau::prekey::{PreKeyLifetimes, PreKeyStore, Rotation, VerifiedPreKeyBundle};
use sceau::session::Session;
use sceau::{Envelope, Fingerprint, IdentityKeyPair, Padding};

/// Alice has introduced herself, and Bob has accepted.
#[derive(Debug)]
pub struct SessionPair {
    pub alice: Session,
    pub bob: Session,
    /// Alice's and Bob's.
    pub names: [Fingerprint; 2],
    pub identities: [IdentityKeyPair; 2],
    pub rng: ChaCha20Rng,
}

impl SessionPair {
    /// The same after a message each way.
    pub fn answered(seed: u64) -> Self {
        let mut rng = rng(seed);
        let (alice, bob) = (IdentityKeyPair::generate(&mut rng), IdentityKeyPair::generate(&mut rng));
        let (mut prekeys, lifetimes) = (PreKeyStore::new(), PreKeyLifetimes::default());
        let upload = prekeys.publish(&bob, 1, Rotation::IfDue, &lifetimes, NOW, &mut rng);
        let bundle = upload.expect("room").into_entry().expect("signed").take_bundle();
        let bundle = VerifiedPreKeyBundle::verify(bundle, NOW).expect("a good bundle");
        let mut to_bob = Session::initiate(&alice, None, &bundle, 1, &mut rng).expect("good keys");
        let first = to_bob.seal(b"first", Padding::default(), &mut rng).expect("short");
        let envelope = Envelope::parse(&first).expect("an envelope");
        let accepted = Session::accept(&bob, &prekeys, &envelope, &lifetimes, NOW).expect("an introduction");
        let (to_alice, _) = accepted.settle(&mut prekeys).expect("the first of its kind");
        let names = [alice.fingerprint(), bob.fingerprint()];
        let mut pair = Self { alice: to_bob, bob: to_alice, names, identities: [alice, bob], rng };
        pair.turn();
        pair
    }

    /// A message of Bob's, and one of Alice's.
    pub fn turn(&mut self) {
        for bob_speaks in [true, false] {
            let (from, to) =
                if bob_speaks { (&mut self.bob, &mut self.alice) } else { (&mut self.alice, &mut self.bob) };
            let bytes = from.seal(b"text", Padding::default(), &mut self.rng).expect("short");
            to.open(&Envelope::parse(&bytes).expect("an envelope"), NOW).expect("a message");
        }
    }
}
