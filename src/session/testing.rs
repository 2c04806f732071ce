//! Two sessions for unit tests.

use crate::error::OpenError;
use crate::message::Outbound;
use crate::padding::Padding;
use crate::prekey::{PreKeyLifetimes, PreKeyStore, Rotation, VerifiedPreKeyBundle};
use crate::ratchet::{Outgoing, Ratchet};
use crate::session::{Accepted, Session};
use crate::{Envelope, Fingerprint, IdentityKeyPair, UnixTime};
use alloc::vec::Vec;
use chacha20::ChaCha20Rng;
use rand_core::SeedableRng;

/// Alice introduced herself, Bob accepted; nobody has answered yet.
pub(crate) struct Pair {
    pub(crate) alice: Session,
    pub(crate) bob: Session,
    pub(crate) identities: [IdentityKeyPair; 2],
    pub(crate) names: [Fingerprint; 2],
    pub(crate) rng: ChaCha20Rng,
}

impl Pair {
    pub(crate) fn new() -> Self {
        Self::introduced(|session, rng| session.seal(b"hi", Padding::default(), rng).unwrap()).unwrap()
    }

    /// The same with another first message of Alice's, if Bob accepts it.
    pub(crate) fn introduced(first: impl FnOnce(&mut Session, &mut ChaCha20Rng) -> Vec<u8>) -> Result<Self, OpenError> {
        let mut rng = ChaCha20Rng::from_seed([5; 32]);
        let (now, lifetimes) = (UnixTime(1000), PreKeyLifetimes::default());
        let (a, b) = (IdentityKeyPair::generate(&mut rng), IdentityKeyPair::generate(&mut rng));
        let mut prekeys = PreKeyStore::new();
        let bundle = prekeys
            .publish(&b, 1, Rotation::IfDue, &lifetimes, now, &mut rng)
            .unwrap()
            .into_entry()
            .expect("signed")
            .take_bundle();
        let bundle = VerifiedPreKeyBundle::verify(bundle, now).unwrap();
        let mut alice = Session::initiate(&a, None, &bundle, 1, &mut rng).unwrap();
        let bytes = first(&mut alice, &mut rng);
        let envelope = Envelope::parse(&bytes).unwrap();
        let accepted: Accepted = Session::accept(&b, &prekeys, &envelope, &lifetimes, now)?;
        let (bob, _) = accepted.settle(&mut prekeys).unwrap();
        let names = [a.fingerprint(), b.fingerprint()];
        Ok(Self { alice, bob, identities: [a, b], names, rng })
    }

    /// The same after Bob's answer.
    pub(crate) fn answered() -> Self {
        let mut pair = Self::new();
        let bytes = pair.bob.seal(b"hello", Padding::default(), &mut pair.rng).unwrap();
        pair.alice.open(&Envelope::parse(&bytes).unwrap(), crate::keys::UnixTime(1)).unwrap();
        pair
    }

    pub(crate) fn from_alice(&mut self) -> Vec<u8> {
        self.alice.seal(b"text", Padding::default(), &mut self.rng).unwrap()
    }
}

pub(crate) fn ratchet_of(session: &Session) -> &Ratchet {
    &session.ratchet
}

pub(crate) fn ratchet_of_mut(session: &mut Session) -> &mut Ratchet {
    &mut session.ratchet
}

/// A message as a peer that breaks the protocol could make it: what its header says is changed before it is sealed.
pub(crate) fn forge(session: &mut Session, rng: &mut ChaCha20Rng, change: impl FnOnce(&mut Outgoing)) -> Vec<u8> {
    forge_with(session, rng, &[0], change)
}

/// The same with any bytes for the fragments and their count.
pub(crate) fn forge_with(
    session: &mut Session,
    rng: &mut ChaCha20Rng,
    fragments: &[u8],
    change: impl FnOnce(&mut Outgoing),
) -> Vec<u8> {
    let sealed_len = Padding::default().sealed_len(4).unwrap();
    let (mut step, mut outgoing) = (crate::ratchet::SendStep::empty(), crate::ratchet::Outgoing::empty());
    session.ratchet.plan_send(0, &mut step, &mut outgoing, rng).unwrap();
    change(&mut outgoing);
    let message = Outbound::text(b"text");
    let envelope = session.envelope(&outgoing, message, &fragments, (Vec::new(), sealed_len), rng).unwrap();
    session.ratchet.swap_send(&mut step);
    envelope
}

/// Goes on in a chain as if a message had been sealed.
pub(crate) fn pass_over(session: &mut Session, rng: &mut ChaCha20Rng) {
    let (mut step, mut outgoing) = (crate::ratchet::SendStep::empty(), crate::ratchet::Outgoing::empty());
    session.ratchet.plan_send(0, &mut step, &mut outgoing, rng).unwrap();
    session.ratchet.swap_send(&mut step);
}
