//! docs/PERFORMANCE.md, "Memory": allocations of each operation, heap of each session, size of each image.
//!
//! A program of its own, without the harness for tests, whose threads would be counted too.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "test code: a failure is to be loud"
)]

use sceau::session::{Content, Session};
use sceau::{Device, Envelope, IdentityKeyPair, Padding};
use sceau_testkit::talk::{NOW, done};
use sceau_testkit::{SessionPair, Talk};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Allocations and reallocations, and bytes that stay.
fn counted<T>(work: impl FnOnce() -> T) -> (T, usize, isize) {
    let region = Region::new(HEAP);
    let result = work();
    let stats = region.change();
    let kept = isize::try_from(stats.bytes_allocated).unwrap() - isize::try_from(stats.bytes_deallocated).unwrap();
    (result, stats.allocations + stats.reallocations, kept + stats.bytes_reallocated)
}

const TEXT: [u8; 256] = [7; 256];

/// Sealing takes one allocation, the envelope; opening one, the content; none with buffers of the caller's.
fn allocations_of_messages() {
    let mut pair = SessionPair::answered(1);
    let padding = Padding::default();
    // Until the keys of the KEM ratchet have travelled, they are collected; windows of tags grow until they are full.
    for _ in 0..70 {
        let bytes = pair.alice.seal(&TEXT, padding, &mut pair.rng).unwrap();
        pair.bob.open(&Envelope::parse(&bytes).unwrap(), NOW).unwrap();
    }
    let (mut envelope, mut buffer) = (Vec::new(), Vec::new());
    for round in 0..300 {
        let (bytes, sealing, _) = counted(|| pair.alice.seal(&TEXT, padding, &mut pair.rng).unwrap());
        let (opened, opening, _) = counted(|| pair.bob.open(&Envelope::parse(&bytes).unwrap(), NOW).unwrap());
        assert_eq!((sealing, opening), (1, 1), "{round}");
        assert_eq!(opened.content, Content::Message(TEXT.to_vec()));

        let ((), sealing, _) = counted(|| pair.alice.seal_into(&TEXT, padding, &mut pair.rng, &mut envelope).unwrap());
        let (opened, opening, _) =
            counted(|| pair.bob.open_into(&Envelope::parse(&envelope).unwrap(), buffer, NOW).unwrap());
        assert_eq!((sealing, opening), if round == 0 { (1, 1) } else { (0, 0) }, "{round}");
        let Content::Message(text) = opened.content else { panic!("not a message") };
        assert_eq!(text, TEXT);
        buffer = text;
        // Roomier ones serve as well.
        if round == 150 {
            envelope.reserve_exact(5_000);
            buffer.reserve_exact(5_000);
        }
    }
    assert!(envelope.capacity() >= 5_000 && buffer.capacity() >= 5_000);
}

/// Whoever sends a forgery makes nothing be allocated.
fn allocations_of_forgeries() {
    let mut talk = Talk::confirmed(2);
    let mut envelope = talk.from_alice(&TEXT);
    for place in [5, 40, 200] {
        envelope[place] ^= 1;
        let (refused, count, _) = counted(|| talk.bob.open(&envelope, NOW).is_err());
        assert!(refused);
        assert_eq!(count, 0, "byte {place}");
        envelope[place] ^= 1;
    }
}

/// Of a device, with the records that it gives to be stored.
fn allocations_of_devices() {
    let mut talk = Talk::confirmed(3);
    talk.alice_never_renews();
    for _ in 0..30 {
        let bytes = talk.from_alice(&TEXT);
        talk.bob_reads(&bytes).unwrap();
    }
    let (mut most_sealing, mut most_opening) = (0, 0);
    for _ in 0..300 {
        let (bytes, sealing, _) = counted(|| talk.from_alice(&TEXT));
        let (text, opening, _) = counted(|| talk.bob_reads(&bytes).unwrap());
        assert_eq!(text, TEXT);
        (most_sealing, most_opening) = (sealing.max(most_sealing), opening.max(most_opening));
    }
    println!("device: at most {most_sealing} allocations to seal, {most_opening} to open");
    assert!(most_sealing <= 9 && most_opening <= 19, "{most_sealing} {most_opening}");
}

/// What a session takes, restored from its image: fresh, busy, and with as many skipped keys as it can have.
fn heap_and_images_of_sessions() {
    let mut pair = SessionPair::answered(4);
    let padding = Padding::default();
    let own = IdentityKeyPair::from_state(pair.identities[1].to_state().expose()).unwrap();
    let of = |name: &str, session: &Session, most_heap: isize, most_image: usize| {
        let image = session.to_state();
        let (restored, _, heap) = counted(|| Session::from_state(image.expose(), &own).unwrap());
        let len = image.expose().len();
        println!("session {name}: {heap} bytes of heap, image of {len}, skipped {}", restored.status().skipped);
        assert!(heap <= most_heap && len <= most_image, "{name}: {heap} {len}");
        // And it is no smaller than what is said either.
        assert!(heap >= most_heap / 2 && len >= most_image / 2, "{name}: {heap} {len}");
    };
    of("fresh", &pair.bob, 4_500, 1_600);
    for _ in 0..60 {
        pair.turn();
    }
    of("busy", &pair.bob, 6_500, 3_800);
    for skipped in [200, 2_000] {
        let mut last = Vec::new();
        for _ in 0..=skipped - pair.bob.status().skipped {
            last = pair.alice.seal(&TEXT, padding, &mut pair.rng).unwrap();
        }
        pair.bob.search(&Envelope::parse(&last).unwrap(), NOW).unwrap();
        assert_eq!(pair.bob.status().skipped, skipped);
        of(
            &format!("with {skipped} skipped keys"),
            &pair.bob,
            8_500 + 250 * isize::try_from(skipped).unwrap(),
            3_800 + 56 * skipped,
        );
    }
}

/// One more session, one more peer in a device, with its tags in the index.
fn heap_of_devices() {
    let mut rng = sceau_testkit::rng(5);
    let mut bob = Device::generate(&mut rng);
    let upload = done(bob.publish_prekeys(0, NOW, &mut rng).unwrap());
    let (mut least, mut most) = (isize::MAX, 0);
    for i in 0..200 {
        let mut peer = Device::generate(&mut rng);
        let to_bob = done(peer.add_peer(&upload.clone().into_entry().unwrap().take_bundle(), NOW).unwrap());
        let envelope = done(peer.seal(to_bob, b"hello", NOW, &mut rng).unwrap());
        let ((), _, heap) = counted(|| drop(done(bob.open(&envelope.envelope, NOW).unwrap())));
        if i > 20 {
            (least, most) = (least.min(heap), most.max(heap));
        }
    }
    println!("device: {least} to {most} bytes of heap for one more session");
    assert!(most <= 12_000, "{most}");
}

fn main() {
    allocations_of_messages();
    allocations_of_forgeries();
    allocations_of_devices();
    heap_and_images_of_sessions();
    heap_of_devices();
}
