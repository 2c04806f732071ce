//! What only the inside can see: calls of primitives, and that swapping a step back undoes it.

use crate::crypto::count::calls;
use crate::error::OpenError;
use crate::padding::Padding;
use crate::prekey::{PreKeyLifetimes, PreKeyStore, Rotation, VerifiedPreKeyBundle};
use crate::ratchet::{TagSink, TagSource};
use crate::session::{Content, Opening, Session};
use crate::wire::payload::PayloadKind;
use crate::{Envelope, Fingerprint, IdentityKeyPair, Tag, UnixTime};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use chacha20::ChaCha20Rng;
use rand_core::SeedableRng;

struct Pair {
    alice: Session,
    bob: Session,
    names: [Fingerprint; 2],
    rng: ChaCha20Rng,
}

impl Pair {
    fn new() -> Self {
        let mut rng = ChaCha20Rng::from_seed([5; 32]);
        let (now, lifetimes) = (UnixTime(1000), PreKeyLifetimes::default());
        let (a, b) = (IdentityKeyPair::generate(&mut rng), IdentityKeyPair::generate(&mut rng));
        let mut prekeys = PreKeyStore::new();
        let bundle = prekeys.publish(&b, 1, Rotation::IfDue, &lifetimes, now, &mut rng).unwrap().take_bundle();
        let bundle = VerifiedPreKeyBundle::verify(bundle, now).unwrap();
        let mut alice = Session::initiate(&a, &bundle, 1, &mut rng).unwrap();
        let bytes = alice.seal(b"hi", Padding::default(), &mut rng).unwrap();
        let accepted = Session::accept(&b, &prekeys, &Envelope::parse(&bytes).unwrap(), &lifetimes, now).unwrap();
        let (mut bob, _) = accepted.settle(&mut prekeys).unwrap();
        let bytes = bob.seal(b"hello", Padding::default(), &mut rng).unwrap();
        alice.open(&Envelope::parse(&bytes).unwrap()).unwrap();
        let names = [a.fingerprint(), b.fingerprint()];
        Self { alice, bob, names, rng }
    }

    fn from_alice(&mut self) -> Vec<u8> {
        self.alice.seal(b"text", Padding::default(), &mut self.rng).unwrap()
    }
}

#[test]
fn damaged_or_forged_envelope_costs_no_dh_no_kem_and_no_chain_step() {
    let mut pair = Pair::new();
    for first_of_a_turn in [true, false] {
        let genuine = pair.from_alice();
        for byte in 0..genuine.len() {
            let mut damaged = genuine.clone();
            damaged[byte] ^= 1 << (byte % 8);
            let before = calls();
            let result = Envelope::parse(&damaged).map(|envelope| pair.bob.search(&envelope));
            let made = calls() - before;
            assert!(!matches!(result, Ok(Ok(_))), "byte {byte}");
            assert_eq!((made.dh, made.kem, made.sign, made.chain_steps), (0, 0, 0, 0), "byte {byte}");
            assert!(made.aead_open <= 2, "byte {byte}");
        }
        let before = calls();
        pair.bob.open(&Envelope::parse(&genuine).unwrap()).unwrap();
        let made = calls() - before;
        assert_eq!((made.dh, made.kem, made.chain_steps), (u32::from(first_of_a_turn), 0, 1));
        // Known now: nothing at all is computed.
        let before = calls();
        let again = pair.bob.open(&Envelope::parse(&genuine).unwrap());
        assert_eq!((again, calls() - before), (Err(OpenError::Duplicate), crate::crypto::count::Calls::default()));
    }
}

#[derive(Default, PartialEq, Debug, Clone)]
struct Index(BTreeSet<(Tag, TagSource)>);

impl TagSink for Index {
    fn add(&mut self, tag: Tag, source: TagSource) {
        assert!(self.0.insert((tag, source)), "added twice");
    }
    fn remove(&mut self, tag: Tag, source: TagSource) {
        assert!(self.0.remove(&(tag, source)), "removed what was not there");
    }
}

/// Over a long random exchange: every opening, swapped in, out and in again, leaves state and tag index as they should
/// be, and the index always equals what a restored session announces.
#[test]
fn swapping_an_opening_twice_changes_nothing() {
    let mut pair = Pair::new();
    let mut index = [Index::default(), Index::default()];
    pair.alice.announce(&mut index[0]);
    pair.bob.announce(&mut index[1]);
    let mut held: [Vec<Vec<u8>>; 2] = Default::default();
    let mut random = 7_u32;
    let mut below = |n: usize| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 8) as usize % n
    };
    let mut opened = 0;
    for _ in 0..3_000 {
        let side = below(2);
        if below(2) == 0 {
            let sender = if side == 0 { &mut pair.alice } else { &mut pair.bob };
            held[1 - side].push(sender.seal(b"x", Padding::default(), &mut pair.rng).unwrap());
            continue;
        }
        if held[side].is_empty() {
            continue;
        }
        let pick = below(held[side].len().min(40));
        let bytes = held[side].swap_remove(pick);
        let receiver = if side == 0 { &mut pair.alice } else { &mut pair.bob };
        let envelope = Envelope::parse(&bytes).unwrap();
        let Ok(mut planned) = receiver.plan_search(&Opening::new(&envelope)) else { continue };
        opened += 1;
        let before = (receiver.to_state().expose().to_vec(), index[side].clone());
        receiver.swap_open(&mut planned.step, &mut index[side]);
        let after = (receiver.to_state().expose().to_vec(), index[side].clone());
        assert_ne!(before, after);
        receiver.swap_open(&mut planned.step, &mut index[side]);
        assert_eq!((receiver.to_state().expose().to_vec(), index[side].clone()), before);
        receiver.swap_open(&mut planned.step, &mut index[side]);
        assert_eq!((receiver.to_state().expose().to_vec(), index[side].clone()), after);
        assert!(matches!(planned.opened.content, Content::Message(_)));

        let restored = Session::from_state(&after.0, pair.names[side]).unwrap();
        let mut announced = Index::default();
        restored.announce(&mut announced);
        assert_eq!(announced, index[side]);
        assert_eq!(restored.to_state().expose(), after.0);
    }
    assert!(opened > 1_000, "{opened}");
}

#[test]
fn swapping_a_sealing_twice_changes_nothing() {
    let mut pair = Pair::new();
    for round in 0..20 {
        let before = pair.alice.to_state().expose().to_vec();
        let message = crate::session::Outbound { kind: PayloadKind::Application, content: b"x" };
        let mut sealed = pair.alice.plan_seal(message, Padding::default(), &mut pair.rng).unwrap();
        assert_eq!(pair.alice.to_state().expose(), before, "planning changed something");
        pair.alice.swap_seal(&mut sealed.step);
        assert_ne!(pair.alice.to_state().expose(), before);
        pair.alice.swap_seal(&mut sealed.step);
        assert_eq!(pair.alice.to_state().expose(), before);
        pair.alice.swap_seal(&mut sealed.step);
        pair.bob.open(&Envelope::parse(&sealed.envelope).unwrap()).unwrap();
        if round % 3 == 0 {
            let bytes = pair.bob.seal(b"y", Padding::default(), &mut pair.rng).unwrap();
            pair.alice.open(&Envelope::parse(&bytes).unwrap()).unwrap();
        }
    }
}
