//! Every prefix and every single-bit flip of every kind of envelope is refused, and changes nothing.
//!
//! Introductions cost a handshake each, so the ordinary run samples them. `SCEAU_THOROUGH=1 cargo test --release --test
//! damaged_envelopes_are_refused` tries every bit.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test is to fail loudly"
)]

use sceau::Device;
use sceau::error::{DecodeError, OpenError};
use sceau::limits::MAX_SEALED_LEN;
use sceau_testkit::Talk;
use sceau_testkit::talk::{NOW, done, state};

fn refused(device: &mut Device, bytes: &[u8]) -> OpenError {
    match device.open(bytes, NOW) {
        Err(error) => error,
        Ok(pending) => panic!("opened: {:?}", done(pending)),
    }
}

/// Flips the bits that `pick` picks and cuts at every length; the genuine envelope opens afterwards.
fn damage(device: &mut Device, genuine: &[u8], pick: impl Fn(usize) -> bool) {
    let before = state(device);
    for bit in (0..genuine.len() * 8).filter(|bit| pick(*bit)) {
        let mut damaged = genuine.to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        refused(device, &damaged);
        if bit % 997 == 0 {
            assert_eq!(state(device), before, "bit {bit} changed something");
        }
    }
    for len in 0..genuine.len() {
        refused(device, &genuine[..len]);
    }
    let mut longer = genuine.to_vec();
    longer.push(0);
    refused(device, &longer);
    assert_eq!(state(device), before);
    done(device.open(genuine, NOW).expect("the genuine envelope opens"));
}

#[test]
fn sealed_envelopes_whole() {
    let mut talk = Talk::confirmed(1);
    // In a chain, first of a chain, a receipt, and one that was skipped.
    let in_chain = talk.from_alice(b"text");
    damage(&mut talk.bob, &in_chain, |_| true);
    let first = talk.from_bob(b"text");
    damage(&mut talk.alice, &first, |_| true);
    let tags = [sceau::Envelope::parse(&first).unwrap().tag()];
    let receipt = done(talk.alice.seal_receipt(talk.to_bob, &tags, NOW, &mut talk.rng).unwrap());
    let later = talk.from_alice(b"later");
    talk.bob_reads(&later).unwrap();
    damage(&mut talk.bob, &receipt.envelope, |_| true);
}

#[test]
fn introductions_sampled_or_whole() {
    let whole = std::env::var_os("SCEAU_THOROUGH").is_some();
    let mut talk = Talk::new(2);
    let introduction = talk.from_alice(b"text");
    // Each byte of the clear fields, of the KEM ciphertext and of the rest now and then.
    damage(&mut talk.bob, &introduction, |bit| whole || bit / 8 < 44 && bit % 8 == 0 || bit % 61 == 0);
    // Behind an introduction that was accepted.
    let second = talk.from_alice(b"text");
    damage(&mut talk.bob, &second, |bit| whole || bit % 7 == 0);
}

/// A relay that knows an introduction can't put it before other messages, take it away, or exchange it.
#[test]
fn prefixes_cannot_be_stripped_grafted_or_swapped() {
    let mut talk = Talk::new(4);
    let (one, two) = (talk.from_alice(b"one"), talk.from_alice(b"two"));
    let sealed_of = |introduction: &[u8]| {
        let sealed = &introduction[2 + sceau::Envelope::INTRODUCTION_LEN..];
        [&[1, 2], sealed].concat()
    };
    assert_eq!(refused(&mut talk.bob, &sealed_of(&one)), OpenError::Unknown);
    assert_eq!(talk.bob_reads(&one).unwrap(), b"one");
    assert_eq!(refused(&mut talk.bob, &sealed_of(&two)), OpenError::Rejected, "stripped");

    // Another introduction of Alice's in front of the message.
    let bundle = talk.directory.take_bundle();
    done(talk.alice.renew(talk.to_bob, &bundle, NOW, &mut talk.rng).unwrap());
    let other = talk.from_alice(b"other");
    let split = 2 + sceau::Envelope::INTRODUCTION_LEN;
    let swapped = [&other[..split], &two[split..]].concat();
    assert_eq!(refused(&mut talk.bob, &swapped), OpenError::Rejected, "swapped");
    assert_eq!(talk.bob_reads(&two).unwrap(), b"two");
    assert_eq!(talk.bob_reads(&other).unwrap(), b"other");

    // A prefix in front of a message that has none.
    let reply = talk.from_bob(b"reply");
    talk.alice_reads(&reply).unwrap();
    let plain = talk.from_alice(b"plain");
    let grafted = [&other[..split], &plain[2..]].concat();
    assert_eq!(refused(&mut talk.bob, &grafted), OpenError::Rejected, "grafted");
    assert_eq!(talk.bob_reads(&plain).unwrap(), b"plain");
}

/// An envelope that comes back to its author says nothing.
#[test]
fn reflected_envelopes() {
    let mut talk = Talk::new(5);
    let introduction = talk.from_alice(b"text");
    assert_eq!(refused(&mut talk.alice, &introduction), OpenError::PreKeyGone);
    talk.bob_reads(&introduction).unwrap();
    let reply = talk.from_bob(b"text");
    assert_eq!(refused(&mut talk.bob, &reply), OpenError::Unknown);
}

/// Longer than any envelope, of a length that padding could have: said to be too long.
#[test]
fn longest_envelope_and_one_that_is_too_long() {
    let sealed = |len: usize| [vec![1, 2], vec![0; len - 2]].concat();
    assert!(sceau::Envelope::parse(&sealed(MAX_SEALED_LEN)).is_ok());
    for len in [MAX_SEALED_LEN + 1, MAX_SEALED_LEN + MAX_SEALED_LEN / 32, 2 * MAX_SEALED_LEN] {
        assert_eq!(sceau::Envelope::parse(&sealed(len)).err(), Some(DecodeError::TooLong));
    }
    assert_eq!(sceau::Envelope::parse(&sealed(MAX_SEALED_LEN - 1)).err(), Some(DecodeError::Invalid));
}
