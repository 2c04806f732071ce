//! Out of order, far ahead, too far ahead; keys are kept within their bound and losses are told.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test is to fail loudly"
)]

use sceau::device::Unreadable;
use sceau::error::OpenError;
use sceau::limits::{MAX_JUMP, MAX_SKIPPED, TAG_WINDOW};
use sceau::{Device, Event, Notice};
use sceau_testkit::Talk;
use sceau_testkit::talk::{NOW, content, done};

/// By its tag alone.
fn recognised(device: &mut Device, envelope: &[u8]) -> Result<sceau::Opened, OpenError> {
    let policy = device.policy().clone();
    let mut narrow = policy.clone();
    narrow.search = 0;
    device.set_policy(narrow);
    let opened = device.open(envelope, NOW).map(done);
    device.set_policy(policy);
    opened
}

fn open(device: &mut Device, envelope: &[u8]) -> Result<sceau::Opened, OpenError> {
    device.open(envelope, NOW).map(done)
}

#[test]
fn last_first_then_all_others() {
    let mut talk = Talk::confirmed(1);
    talk.alice_never_renews();
    let envelopes: Vec<_> = (0..1_000_u32).map(|i| talk.from_alice(&i.to_be_bytes())).collect();
    let last = envelopes.last().unwrap();
    assert_eq!(recognised(&mut talk.bob, last), Err(OpenError::Unknown), "beyond the window");
    assert_eq!(content(open(&mut talk.bob, last).unwrap()), 999_u32.to_be_bytes());
    for (i, envelope) in (0_u32..1_000).zip(&envelopes).rev().skip(1) {
        assert_eq!(talk.bob_reads(envelope).unwrap(), i.to_be_bytes());
    }
    for envelope in &envelopes {
        assert_eq!(talk.bob_reads(envelope), Err(OpenError::Duplicate));
    }
}

#[test]
fn window_recognises_without_a_search() {
    let mut talk = Talk::confirmed(2);
    let envelopes: Vec<_> = (0..=TAG_WINDOW).map(|i| talk.from_alice(&i.to_be_bytes())).collect();
    assert_eq!(recognised(&mut talk.bob, envelopes.last().unwrap()), Err(OpenError::Unknown));
    let at_the_edge = &envelopes[envelopes.len() - 2];
    assert_eq!(content(recognised(&mut talk.bob, at_the_edge).unwrap()), (TAG_WINDOW - 1).to_be_bytes());
    assert_eq!(content(recognised(&mut talk.bob, envelopes.last().unwrap()).unwrap()), TAG_WINDOW.to_be_bytes());
}

#[test]
fn skipped_keys_survive_turns_and_restarts() {
    let mut talk = Talk::confirmed(3);
    let mut late = Vec::new();
    for turn in 0..50_u32 {
        late.push((turn, talk.from_alice(&turn.to_be_bytes())));
        let arrives = talk.from_alice(b"arrives");
        talk.bob_reads(&arrives).unwrap();
        let reply = talk.from_bob(b"reply");
        talk.alice_reads(&reply).unwrap();
        talk.bob = sceau_testkit::Disk::of(&talk.bob).restore();
    }
    for (turn, envelope) in late {
        assert_eq!(talk.bob_reads(&envelope).unwrap(), turn.to_be_bytes());
    }
}

#[test]
fn keys_are_bounded_and_losses_told() {
    let mut talk = Talk::confirmed(4);
    talk.alice_never_renews();
    let extra = 30;
    let envelopes: Vec<_> = (0..=MAX_SKIPPED + extra).map(|_| talk.from_alice(b"x")).collect();
    let opened = open(&mut talk.bob, envelopes.last().unwrap()).unwrap();
    let lost = Notice::MessagesLost { peer: talk.to_alice, count: u32::try_from(extra).unwrap() };
    assert!(opened.notices.contains(&lost), "{:?}", opened.notices);
    assert_eq!(talk.bob.peer(talk.to_alice).unwrap().session.unwrap().skipped, MAX_SKIPPED);
    // The oldest went.
    assert!(talk.bob_reads(&envelopes[extra - 1]).is_err());
    assert_eq!(talk.bob_reads(&envelopes[extra]).unwrap(), b"x");
    // One more skip pushes the next oldest out.
    let skipped = [talk.from_alice(b"a"), talk.from_alice(b"b")];
    let arrives = talk.from_alice(b"arrives");
    let opened = done(talk.bob.open(&arrives, NOW).unwrap());
    assert!(opened.notices.contains(&Notice::MessagesLost { peer: talk.to_alice, count: 1 }));
    assert!(talk.bob_reads(&envelopes[extra + 1]).is_err());
    assert_eq!(talk.bob_reads(&envelopes[extra + 2]).unwrap(), b"x");
    assert_eq!(talk.bob_reads(&skipped[0]).unwrap(), b"a");
    // Stored in blocks, all of them restorable.
    let disk = sceau_testkit::Disk::of(&talk.bob);
    assert!(disk.size() < 150_000, "{}", disk.size());
    assert_eq!(sceau_testkit::Disk::of(&disk.restore()), disk);
}

#[test]
fn farthest_jump_opens_and_one_more_does_not() {
    let mut talk = Talk::confirmed(5);
    talk.alice_never_renews();
    let mut last = Vec::new();
    for _ in 0..=MAX_JUMP {
        last = talk.from_alice(b"x");
    }
    let beyond = talk.from_alice(b"y");
    let mut twin = sceau_testkit::Disk::of(&talk.bob).restore();
    let refused = open(&mut twin, &beyond).unwrap();
    assert_eq!(refused.event, Event::Unreadable { from: talk.to_alice, why: Unreadable::TooFarAhead });
    assert_eq!(refused.notices, [Notice::RenewalDue(talk.to_alice)]);
    let opened = open(&mut talk.bob, &last).unwrap();
    let count = MAX_JUMP - u32::try_from(MAX_SKIPPED).unwrap();
    assert!(opened.notices.contains(&Notice::MessagesLost { peer: talk.to_alice, count }));
    assert_eq!(talk.bob_reads(&beyond).unwrap(), b"y");
}
