//! Addresses: both sides compute the same ones, they change with every turn, show no relation, and what is left at one
//! finds a listener, whatever is lost and reordered.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test is to fail loudly"
)]

use rand_core::Rng as _;
use sceau::limits::MAX_MAILBOXES;
use sceau::{Device, Fingerprint, MailboxAddress};
use sceau_testkit::Crowd;
use sceau_testkit::talk::{NOW, Talk, done};
use std::collections::{BTreeMap, BTreeSet};

fn listens(device: &Device, peer: Fingerprint, address: MailboxAddress) -> bool {
    device.mailboxes_of(peer).any(|listed| listed == address)
}

#[test]
fn a_turn_changes_the_address_and_both_sides_know_it() {
    let mut talk = Talk::new(1);
    let first = talk.from_alice(b"hello");
    assert_eq!(talk.alice.mailbox(talk.to_bob), None, "introductions go where Bob has published");
    talk.bob_reads(&first).unwrap();
    let mut seen = BTreeSet::new();
    for _ in 0..5 {
        let reply = talk.from_bob(b"reply");
        let to_alice = talk.bob.mailbox(talk.to_alice).unwrap();
        assert!(listens(&talk.alice, talk.to_bob, to_alice) && !listens(&talk.bob, talk.to_alice, to_alice));
        assert!(seen.insert(to_alice), "another one after each turn");
        let more = talk.from_bob(b"more");
        assert_eq!(talk.bob.mailbox(talk.to_alice), Some(to_alice), "the same within a turn");
        talk.alice_reads(&reply).unwrap();
        talk.alice_reads(&more).unwrap();
        let answer = talk.from_alice(b"answer");
        let to_bob = talk.alice.mailbox(talk.to_bob).unwrap();
        assert!(listens(&talk.bob, talk.to_alice, to_bob) && !listens(&talk.alice, talk.to_bob, to_bob));
        assert!(seen.insert(to_bob));
        talk.bob_reads(&answer).unwrap();
    }
}

/// Loss, and reordering among the next twelve. Whenever something is sealed, its address is on the other's list; whenever
/// something opens, its address was. Devices restart now and then.
#[test]
fn what_is_left_finds_a_listener() {
    let mut talk = Talk::confirmed(2);
    let mut queue: Vec<(usize, MailboxAddress, Vec<u8>)> = Vec::new();
    let mut addresses: BTreeSet<MailboxAddress> = BTreeSet::new();
    let (mut opened, mut longest, mut unlisted) = (0, 0, 0);
    for _ in 0..6_000 {
        let pick = talk.rng.next_u64();
        match pick % 10 {
            0..=3 => {
                let (to, envelope, address) = if pick & 16 == 0 {
                    (1, talk.from_alice(b"text"), talk.alice.mailbox(talk.to_bob).unwrap())
                } else {
                    (0, talk.from_bob(b"text"), talk.bob.mailbox(talk.to_alice).unwrap())
                };
                let (device, peer) = if to == 1 { (&talk.bob, talk.to_alice) } else { (&talk.alice, talk.to_bob) };
                assert!(listens(device, peer, address), "sealed for an address that nobody listens on");
                longest = longest.max(device.mailboxes_of(peer).count());
                addresses.insert(address);
                queue.push((to, address, envelope));
            }
            4 if pick & 0xf00 == 0 => {
                talk.alice = sceau_testkit::talk::state(&talk.alice).restore();
                talk.bob = sceau_testkit::talk::state(&talk.bob).restore();
            }
            4 if !queue.is_empty() => drop(queue.swap_remove(usize::try_from(pick >> 8).unwrap() % queue.len())),
            _ if !queue.is_empty() => {
                let near = queue.len().min(12);
                let (to, address, envelope) = queue.remove(usize::try_from(pick >> 8).unwrap() % near);
                let (device, peer) = if to == 1 { (&talk.bob, talk.to_alice) } else { (&talk.alice, talk.to_bob) };
                let listed = listens(device, peer, address);
                let read = if to == 1 { talk.bob_reads(&envelope) } else { talk.alice_reads(&envelope) };
                opened += u32::from(read.is_ok());
                unlisted += u32::from(read.is_ok() && !listed);
            }
            _ => {}
        }
    }
    assert!(opened > 1_500 && addresses.len() > 200, "{opened} messages at {} addresses", addresses.len());
    assert_eq!(unlisted, 0);
    assert!((3..=MAX_MAILBOXES).contains(&longest), "{longest}");
    // No two of them share a window of six bytes.
    let mut windows: BTreeMap<[u8; 6], MailboxAddress> = BTreeMap::new();
    for address in addresses {
        for window in address.as_bytes().windows(6) {
            let other = windows.insert(window.try_into().unwrap(), address);
            assert_eq!(other, None, "two addresses show a relation");
        }
    }
}

/// An address is nothing that an envelope shows.
#[test]
fn envelopes_do_not_show_their_address() {
    let mut talk = Talk::confirmed(3);
    let envelope = talk.from_alice(b"text");
    let address = talk.alice.mailbox(talk.to_bob).unwrap();
    for window in address.as_bytes().windows(4) {
        assert!(!envelope.windows(4).any(|other| other == window));
    }
}

/// A group's messages are left once; every member listens there, a removed one no longer.
#[test]
fn groups_have_one_address_for_each_chain() {
    let mut crowd = Crowd::together(4, 4);
    for party in 0..4 {
        crowd.say(party, b"hello").unwrap();
        crowd.flush();
    }
    let group = crowd.group();
    for sender in 0..4 {
        let address = crowd.parties[sender].device.group_mailbox(group).unwrap();
        for reader in 0..4 {
            let device = &crowd.parties[reader].device;
            assert_eq!(device.group_mailboxes(group).any(|listed| listed == address), reader != sender);
            assert_eq!(device.mailboxes().any(|listed| listed == address), reader != sender);
        }
    }
    let before = crowd.parties[0].device.group_mailbox(group).unwrap();
    let three = crowd.name(3);
    crowd.commit(0, &[sceau::device::GroupChange::Remove(three)]).unwrap();
    crowd.flush();
    crowd.say(0, b"without three").unwrap();
    crowd.flush();
    let after = crowd.parties[0].device.group_mailbox(group).unwrap();
    assert_ne!(before, after);
    assert!(!crowd.parties[3].device.mailboxes().any(|listed| listed == after));
}

/// What is owed to a session that is not the best one goes to that session's address.
#[test]
fn owed_controls_have_their_address() {
    let mut talk = Talk::confirmed(5);
    let old = talk.from_alice(b"on the first session");
    let upload =
        done(talk.alice.publish_prekeys(1, NOW, &mut talk.rng).unwrap()).into_entry().expect("signed").take_bundle();
    done(talk.bob.renew(talk.to_alice, &upload, NOW, &mut talk.rng).unwrap());
    let introduction = talk.from_bob(b"anew");
    assert_eq!(talk.bob.mailbox(talk.to_alice), None);
    talk.alice_reads(&introduction).unwrap();
    let reply = talk.from_alice(b"on the second");
    talk.bob_reads(&reply).unwrap();
    talk.bob_reads(&old).unwrap();
    let (id, peer) = talk.bob.owed(NOW).next().expect("Alice may have lost the second session");
    let address = talk.bob.mailbox_owed(id).unwrap();
    assert!(listens(&talk.alice, talk.to_bob, address) && peer == talk.to_alice);
    assert_ne!(talk.bob.mailbox(talk.to_alice), Some(address));
}

/// The bound: of a session, the addresses of three chains and of the five newest older ones of which messages are missing. What lies
/// at an older one is not asked for; its author leaves it at the address of a later moment.
#[test]
fn addresses_of_long_ago_are_given_up() {
    let mut talk = Talk::confirmed(6);
    let mut late = Vec::new();
    for _ in 0..9 {
        let missing = talk.from_alice(b"late");
        late.push((talk.alice.mailbox(talk.to_bob).unwrap(), missing));
        let next = talk.from_alice(b"in time");
        talk.bob_reads(&next).unwrap();
        let reply = talk.from_bob(b"reply");
        talk.alice_reads(&reply).unwrap();
    }
    assert_eq!(talk.bob.mailboxes_of(talk.to_alice).count(), MAX_MAILBOXES);
    let listed: Vec<bool> = late.iter().map(|(address, _)| listens(&talk.bob, talk.to_alice, *address)).collect();
    // Nine late ones: the last two chains are still followed, five older ones are listed.
    assert_eq!(listed, [false, false, true, true, true, true, true, true, true]);
    // By any other way it opens all the same.
    let restored = sceau_testkit::talk::state(&talk.bob).restore();
    assert_eq!(
        restored.mailboxes_of(talk.to_alice).collect::<Vec<_>>(),
        talk.bob.mailboxes_of(talk.to_alice).collect::<Vec<_>>()
    );
    for (_, envelope) in &late {
        talk.bob_reads(envelope).unwrap();
    }
    assert_eq!(talk.bob.mailboxes_of(talk.to_alice).count(), 3);
}
