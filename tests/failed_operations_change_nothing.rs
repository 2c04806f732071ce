//! After any error, a failed store or a dropped plan the serialized state is what it was; where a store may have written
//! what nobody heard of, nothing more is stored until the device is restored.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test is to fail loudly"
)]

use sceau::error::{OpenError, PreKeyError, SealError, Stale, UnknownPeer};
use sceau::limits::{MAX_CONTENT, MAX_ONE_TIME_PREKEYS};
use sceau::{Device, Fingerprint, PreKeyBundle, RecordKey, Search, UnixTime};
use sceau_testkit::Talk;
use sceau_testkit::talk::{NOW, done, state};
use std::panic::{AssertUnwindSafe, catch_unwind};

const LATE: UnixTime = NOW.plus(400 * 86_400);

type Operation<'a> = (&'a str, Box<dyn FnMut(&mut Device, Ending) + 'a>);

/// Every way in which a mutating call of `Device` can end without having happened.
#[test]
fn every_operation_of_the_device() {
    let mut talk = Talk::confirmed(1);
    let stranger = Fingerprint::from_bytes([9; 32]);
    let bundle = talk.directory.take_bundle();
    let to_open = talk.from_bob(b"to open");
    let (peer, mut rng) = (talk.to_bob, sceau_testkit::rng(8));

    let [mut r1, mut r2, mut r3, mut r4, mut r5, mut r6, mut r7] = [1, 2, 3, 4, 5, 6, 7].map(sceau_testkit::rng);
    let mut operations: Vec<Operation<'_>> = Vec::new();
    macro_rules! operation {
        ($name:literal, |$device:ident| $call:expr) => {
            operations.push(($name, Box::new(|$device: &mut Device, ending: Ending| ending.end($call))));
        };
    }
    operation!("publish", |device| device.publish_prekeys(2, NOW, &mut r1).unwrap());
    operation!("add_peer", |device| device.add_peer(&bundle, NOW).unwrap());
    operation!("seal", |device| device.seal(peer, b"x", NOW, &mut r2).unwrap());
    operation!("receipt", |device| device
        .seal_receipt(peer, &[sceau::Tag::from_bytes([1; 16])], NOW, &mut r3)
        .unwrap());
    operation!("renew", |device| device.renew(peer, &bundle, NOW, &mut r4).unwrap());
    operation!("open", |device| device.open(&to_open, NOW).unwrap());
    operation!("search", |device| device.search(&to_open, Search::Peers(&[peer]), NOW).unwrap());
    operation!("verified", |device| device.set_verified(peer, true).unwrap());
    operation!("block", |device| device.block(peer).unwrap());
    operation!("drop_sessions", |device| device.drop_sessions(peer, &mut r6).unwrap());
    operation!("delete", |device| device.delete_peer(peer, &mut r7).unwrap());
    operation!("maintain", |device| device.maintain(LATE));
    operation!("rotate", |device| device.rotate_prekeys(1, sceau::prekey::Rotation::Revoke, NOW, &mut r5).unwrap());

    for (name, operation) in &mut operations {
        let before = state(&talk.alice);
        operation(&mut talk.alice, Ending::Dropped);
        assert_eq!(state(&talk.alice), before, "{name} dropped");
        for ending in [Ending::Prepared, Ending::NotStored] {
            operation(&mut talk.alice, ending);
            assert_eq!(state(&talk.alice), before, "{name} not stored");
        }
        // Someone may have written it: no store takes anything more, until the device is restored.
        for ending in [Ending::Shown, Ending::Forgotten, Ending::Panicked] {
            let ended = catch_unwind(AssertUnwindSafe(|| operation(&mut talk.alice, ending)));
            assert_eq!(ended.is_err(), matches!(ending, Ending::Panicked));
            assert!(talk.alice.must_be_restored(), "{name} {ending:?}");
            let head = before.records().get(&RecordKey::HEAD).unwrap();
            let pending = talk.alice.maintain(NOW);
            let refused = pending.commit(|changes| changes.after(Some(head)).map(drop)).map(drop);
            assert_eq!(refused, Err(Stale), "{name} {ending:?}");
            talk.alice = before.restore();
            assert_eq!(state(&talk.alice), before);
        }
    }
    drop(operations);

    // The device works as if nothing had been tried, its index included.
    assert_eq!(talk.alice_reads(&to_open).unwrap(), b"to open");
    let next = talk.from_alice(b"next");
    assert_eq!(talk.bob_reads(&next).unwrap(), b"next");

    let before = state(&talk.alice);
    let device = &mut talk.alice;
    let seal_errors = [
        (device.seal(stranger, b"", NOW, &mut rng).err(), SealError::UnknownPeer),
        (device.seal(peer, &vec![0; MAX_CONTENT + 1], NOW, &mut rng).err(), SealError::TooLong),
        (device.seal_receipt(peer, &[], NOW, &mut rng).err(), SealError::TooLong),
        (device.renew(stranger, &bundle, NOW, &mut rng).err(), SealError::UnknownPeer),
        (device.renew(peer, &bundle, LATE, &mut rng).err(), SealError::Bundle(PreKeyError::Expired)),
    ];
    for (error, expected) in seal_errors {
        assert_eq!(error, Some(expected));
    }
    let too_many = device.publish_prekeys(MAX_ONE_TIME_PREKEYS + 1, NOW, &mut rng);
    assert_eq!(too_many.err(), Some(PreKeyError::TooMany));
    assert_eq!(device.block(stranger).err(), Some(UnknownPeer));
    assert_eq!(device.delete_peer(stranger, &mut rng).err(), Some(UnknownPeer));
    assert_eq!(device.open(&to_open, NOW).err(), Some(OpenError::Duplicate));
    assert_eq!(state(device), before);
}

#[derive(Debug, Clone, Copy)]
enum Ending {
    Dropped,
    Prepared,
    Shown,
    Forgotten,
    NotStored,
    Panicked,
}

impl Ending {
    fn end<T>(self, pending: sceau::Pending<'_, T>) {
        match self {
            Self::Dropped => drop(pending),
            Self::Prepared => drop(pending.prepare()),
            Self::Shown => pending.prepare().show(|_, _| ()),
            Self::Forgotten => std::mem::forget(pending.prepare()),
            Self::NotStored => assert!(pending.commit(|_| Err("disk full")).is_err()),
            Self::Panicked => {
                let _: Result<T, ()> = pending.commit(|_| panic!("the store broke"));
            }
        }
    }
}

/// A bundle with any bit changed is refused, and so is a good one of someone else's in place of the peer's.
#[test]
fn damaged_or_wrong_bundles() {
    let mut talk = Talk::new(2);
    let good = talk.directory.take_bundle();
    let bytes = good.encode();
    assert_eq!(bytes.len(), PreKeyBundle::MAX_LEN);
    let before = state(&talk.alice);
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        // Every byte, but not every bit of the keys: verification takes a while.
        if bit % 8 != (bit / 8) % 8 && bit > 600 {
            continue;
        }
        if let Ok(bundle) = PreKeyBundle::decode(&damaged) {
            assert!(talk.alice.add_peer(&bundle, NOW).is_err(), "bit {bit}");
        }
    }
    let mut mallory = Device::generate(&mut talk.rng);
    let other =
        done(mallory.publish_prekeys(1, NOW, &mut talk.rng).unwrap()).into_entry().expect("signed").take_bundle();
    let wrong = talk.alice.renew(talk.to_bob, &other, NOW, &mut talk.rng).err();
    assert_eq!(wrong, Some(SealError::Bundle(PreKeyError::OtherIdentity)));
    let own =
        done(talk.alice.publish_prekeys(1, NOW, &mut talk.rng).unwrap()).into_entry().expect("signed").take_bundle();
    let after_publishing = state(&talk.alice);
    assert_ne!(before, after_publishing);
    assert_eq!(talk.alice.add_peer(&own, NOW).err(), Some(PreKeyError::Myself));
    assert_eq!(state(&talk.alice), after_publishing);
}

/// In two steps, for stores that are awaited: what is shown is what is given, text and all, and nothing is missing from it.
#[test]
fn prepared_operations_are_stored_in_two_steps() {
    fn may_be_awaited(_: &impl Send) {}
    let mut talk = Talk::confirmed(4);
    let envelope = talk.from_bob(b"to open");
    let mut disk = state(&talk.alice);
    let mut prepared = talk.alice.open(&envelope, NOW).unwrap().prepare();
    may_be_awaited(&prepared);
    assert!(format!("{prepared:?}").contains("changes"));
    for _ in 0..2 {
        let text = prepared.show(|_, opened| match &opened.event {
            sceau::Event::Message { content, .. } => content.clone(),
            other => panic!("{other:?}"),
        });
        assert_eq!(text, b"to open");
    }
    let Ok(()) = prepared.show(|changes, _| disk.apply(changes));
    let opened = prepared.stored();
    assert!(matches!(opened.event, sceau::Event::Message { content, .. } if content == b"to open"));
    assert_eq!(state(&talk.alice), disk);
    assert!(matches!(talk.alice.open(&envelope, NOW), Err(OpenError::Duplicate)));
}
