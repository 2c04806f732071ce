//! The initiator's first offer: the KEM key of its identity.

use super::kem::{alice, fragments, image, new, read, restored, run, send, take_in};
use crate::identity::IdentityKeyPair;
use crate::labels::Label;
use crate::ratchet::kem::{Answering, Introduced, KemRatchet};
use crate::ratchet::receive::ReceiveError;
use chacha20::ChaCha20Rng;

/// Turns in which `b` takes in what `a` sends, until it has the whole key or has refused it.
fn offered(a: &mut KemRatchet, b: &mut KemRatchet, rng: &mut ChaCha20Rng) -> bool {
    for _ in 0..20 {
        if !send(a, b, 476, rng) {
            return false;
        }
        if image(b)[9] == 1 {
            return true;
        }
    }
    panic!("neither whole nor refused");
}

#[test]
fn first_offer_is_the_key_that_the_identity_names() {
    let (mut a, mut b, mut rng) = new();
    assert!(offered(&mut a, &mut b, &mut rng));
    assert_eq!(&image(&b)[10..], alice().kem().public());
    // Another identity's, and one that was made for this session.
    let (_, mut b, mut rng) = new();
    let mallory = IdentityKeyPair::generate(&mut rng);
    let mut other = KemRatchet::new(Introduced::This(mallory.kem()));
    let before = image(&b);
    assert!(!offered(&mut other, &mut b, &mut rng));
    assert_eq!(image(&b), before, "nothing of it stays");
    let mut fresh = KemRatchet::empty();
    assert!(!offered(&mut fresh, &mut b, &mut rng));
    assert_eq!(image(&b), before);
    // What they would mix in can't be followed.
    assert!(matches!(restored(&b).follow(1), Err(ReceiveError::Diverged)));
    // Symbols of two keys: the id is one of them at most.
    for index in 0..49 {
        let from = if index % 2 == 0 { &mut a } else { &mut other };
        let mut bytes = fragments(from, 43, &mut rng);
        bytes[4..7].copy_from_slice(&fragments(&mut a, 43, &mut rng)[4..7]);
        bytes[10] = index;
        assert_eq!(take_in(&mut b, &bytes), index < 48, "{index}");
    }
    assert_eq!(image(&b), before);
    // Afterwards the right one is still taken.
    run(&mut a, &mut b, 1, &mut rng);
    // The other direction is free from the start.
    let (mut a, mut b, mut rng) = new();
    run(&mut b, &mut a, 2, &mut rng);
}

/// What is mixed in says whose key it was: the same key, ciphertext and secret of another exchange give another.
#[test]
fn secret_of_the_first_offer_names_the_identity() {
    let (mut a, mut b, mut rng) = new();
    while restored(&a).begin_chain().is_none() {
        send(&mut a, &mut b, 476, &mut rng);
        send(&mut b, &mut a, 476, &mut rng);
    }
    let mixed = *a.begin_chain().unwrap().expose();
    let (key, ciphertext): (&[u8; 1568], [u8; 1568]) = match &b.answerer.stage {
        Answering::Answered { ciphertext, .. } => (&alice().kem().public().clone(), **ciphertext),
        _ => panic!("not answered"),
    };
    let hash = |label, parts: &[&[u8]]| crate::crypto::kdf::hash(label, parts);
    let bound = hash(Label::IdentityKemSecret, &[alice().fingerprint().as_bytes(), key, &ciphertext]);
    assert_eq!(mixed[32..], bound);
    assert_ne!(mixed[32..], hash(Label::KemSecret, &[key, &ciphertext]));
    assert_eq!(&mixed[..32], alice().kem().decapsulate(&ciphertext).expose());
}

/// A peer that answers again and again, as if it had fallen back each time.
#[test]
fn key_of_the_identity_decapsulates_four_times_in_a_session() {
    let (mut a, mut b, mut rng) = new();
    assert!(offered(&mut a, &mut b, &mut rng));
    let received = restored(&b);
    for time in 1..=6 {
        let mut b = restored(&received);
        for _ in 0..8 {
            assert!(send(&mut b, &mut a, 476, &mut rng));
            assert!(send(&mut a, &mut received.clone(), 476, &mut rng));
        }
        assert_eq!(image(&a)[5], time.min(4), "how often");
        assert_eq!(restored(&a).begin_chain().is_some(), time <= 4, "{time}");
    }
}

/// The initiator's first offer is its identity's key, and nothing else is.
#[test]
fn images_with_another_first_offer_are_refused() {
    let (mut a, mut b, mut rng) = new();
    let bytes = image(&a);
    let changed = |at: usize, value: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = value;
        bytes
    };
    assert!(read(&bytes, &a).is_ok() && read(&changed(5, 4), &a).is_ok());
    for (at, value) in [(3, 2), (4, 0), (4, 1), (4, 3), (5, 5)] {
        assert!(read(&changed(at, value), &a).is_err(), "{at} {value}");
    }
    // Nor can a responder have it.
    assert!(read(&bytes, &b).is_err());
    let fresh = [&bytes[..4], &[1], &[7; 64], &bytes[6..]].concat();
    assert!(read(&fresh, &a).is_err() && read(&fresh, &b).is_ok());
    // The key that came is the one that the identity names.
    assert!(offered(&mut a, &mut b, &mut rng));
    let mut bytes = image(&b);
    assert!(read(&bytes, &b).is_ok());
    let other = IdentityKeyPair::generate(&mut rng);
    bytes[10..].copy_from_slice(other.kem().public());
    assert!(read(&bytes, &b).is_err());
}
