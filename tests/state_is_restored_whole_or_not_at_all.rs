//! Records: any order restores the same device; any damage is refused or gives just what the bytes say; sizes are small.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test is to fail loudly"
)]

use sceau::error::StateError;
use sceau::prekey::PreKeyStore;
use sceau::session::Session;
use sceau::{Device, IdentityKeyPair, Record};
use sceau_testkit::model::{Model, Step};
use sceau_testkit::talk::{done, state};
use sceau_testkit::{Disk, Talk};

/// A device with everything that a device can hold.
fn rich() -> (Model, Disk) {
    let mut model = Model::new(11);
    for _ in 0..400 {
        let step = model.random_step(false);
        model.step(step);
    }
    model.step(Step::Renew { side: 0 });
    for _ in 0..30 {
        model.step(Step::Send { side: 1, len: 5 });
    }
    let last = u8::try_from(model.in_flight.len() - 1).unwrap_or(255);
    model.step(Step::Deliver { pick: last });
    let disk = model.sides[0].disk.clone();
    let kinds: std::collections::BTreeSet<u8> = disk.records().keys().map(|key| key.as_bytes()[0]).collect();
    assert!(kinds.contains(&6) && kinds.contains(&5), "{kinds:?}");
    (model, disk)
}

#[test]
fn any_order_gives_the_same_device() {
    let (_, disk) = rich();
    let forwards: Vec<_> = disk.records().iter().map(|(key, bytes)| (*key, bytes.clone())).collect();
    let backwards: Vec<_> = forwards.iter().rev().cloned().collect();
    for records in [forwards, backwards] {
        let device = Device::restore(records, sceau::Policy::default()).unwrap();
        assert_eq!(Disk::of(&device), disk);
    }
}

#[test]
fn every_flipped_bit_is_refused_or_restored_as_it_is() {
    let (_, disk) = rich();
    let mut refused = 0;
    for key in disk.records().keys() {
        let len = disk.records()[key].len();
        for bit in (0..len * 8).filter(|bit| bit % 5 == 0) {
            let mut damaged = disk.clone();
            damaged.records_mut().get_mut(key).unwrap()[bit / 8] ^= 1 << (bit % 8);
            match Device::restore(damaged.records().iter().map(|(key, bytes)| (*key, bytes)), sceau::Policy::default())
            {
                Err(_) => refused += 1,
                Ok(device) => assert_eq!(Disk::of(&device), damaged, "not canonical: {key:?} bit {bit}"),
            }
        }
        for cut in (0..len).step_by(7) {
            let mut damaged = disk.clone();
            damaged.records_mut().get_mut(key).unwrap().truncate(cut);
            assert!(
                Device::restore(damaged.records().iter().map(|(key, bytes)| (*key, bytes)), sceau::Policy::default())
                    .is_err()
            );
        }
    }
    assert!(refused > 500, "{refused}");
}

#[test]
fn missing_doubled_or_exchanged_records_are_refused() {
    let (model, disk) = rich();
    let restore = |records: Vec<_>| Device::restore(records, sceau::Policy::default()).map(|_| ());
    let all: Vec<_> = disk.records().iter().map(|(key, bytes)| (*key, bytes.clone())).collect();
    let kind = |kind: u8| all.iter().position(|(key, _)| key.as_bytes()[0] == kind).unwrap();
    assert_eq!(restore(Vec::new()), Err(StateError::Inconsistent));
    for needed in [1, 5] {
        let mut without = all.clone();
        without.remove(kind(needed));
        assert_eq!(restore(without), Err(StateError::Inconsistent), "without a record of kind {needed}");
    }
    for (i, record) in all.iter().enumerate() {
        let mut doubled = all.clone();
        doubled.push(record.clone());
        assert!(restore(doubled).is_err(), "record {i} twice");
        let mut elsewhere = all.clone();
        elsewhere[i].0 = all[(i + 1) % all.len()].0;
        assert!(restore(elsewhere).is_err(), "record {i} under another key");
    }
    // Another device's records.
    let mut mixed = all.clone();
    let other = model.sides[1].disk.records();
    let session = other.iter().find(|(key, _)| key.as_bytes()[0] == 6).unwrap();
    mixed.push((*session.0, session.1.clone()));
    assert!(restore(mixed).is_err());
}

#[test]
fn operations_write_few_and_small_records() {
    let mut talk = Talk::confirmed(3);
    let mut written = Vec::new();
    let head = state(&talk.alice).records().get(&sceau::RecordKey::HEAD).cloned();
    let mut note = |changes: &sceau::Changes| {
        written = changes
            .after(head.as_deref())
            .unwrap()
            .map(|record| match record {
                Record::Put(_, bytes) => bytes.len(),
                Record::Delete(_) => 0,
            })
            .collect();
        Ok::<_, std::convert::Infallible>(())
    };
    let Ok(_) = talk.alice.seal(talk.to_bob, b"x", sceau_testkit::talk::NOW, &mut talk.rng).unwrap().commit(&mut note);
    assert_eq!((written.len(), written[1]), (2, 26), "sealing writes the session's record, and the head");
    assert!(written[0] < 3_844, "{written:?}");
    assert!(talk.alice.records().len() <= 5, "head, identity, peer, session, what was opened lately");
}

/// Sizes that the README states.
#[test]
fn size_of_a_session() {
    let session_record = |device: &Device| {
        state(device).records().iter().find(|(key, _)| key.as_bytes()[0] == 6).map(|(_, bytes)| bytes.len()).unwrap()
    };
    let mut talk = Talk::new(4);
    let first = talk.from_alice(b"first");
    assert_eq!(session_record(&talk.alice), 4_056, "unanswered introduction");
    talk.bob_reads(&first).unwrap();
    assert_eq!(session_record(&talk.bob), 944, "accepted, with the first symbols of a key");
    let (mut least, mut most) = (usize::MAX, 0);
    for _ in 0..1_000 {
        let reply = talk.from_bob(b"reply");
        talk.alice_reads(&reply).unwrap();
        let next = talk.from_alice(b"next");
        talk.bob_reads(&next).unwrap();
        for device in [&talk.alice, &talk.bob] {
            (least, most) = (least.min(session_record(device)), most.max(session_record(device)));
        }
    }
    // Where it stands in the exchange of KEM keys makes the difference; the number of turns makes none.
    assert!(least > 400 && most <= 3_877, "{least} {most}");
    const { assert!(Session::MAX_STATE_LEN == 3_877 - 13 + 1 + 3_570) }
}

/// The layers below have images too.
#[test]
fn layers_restore_from_their_images() {
    use sceau::prekey::{PreKeyLifetimes, Rotation, VerifiedPreKeyBundle};
    use sceau::{Envelope, Padding};
    let mut rng = sceau_testkit::rng(5);
    let (alice, bob) = (IdentityKeyPair::generate(&mut rng), IdentityKeyPair::generate(&mut rng));
    let restored = IdentityKeyPair::from_state(bob.to_state().expose()).unwrap();
    assert_eq!(restored.public(), bob.public());
    let (now, lifetimes) = (sceau_testkit::talk::at(5), PreKeyLifetimes::default());
    let mut prekeys = PreKeyStore::new();
    let bundle = prekeys
        .publish(&bob, 2, Rotation::IfDue, &lifetimes, now, &mut rng)
        .unwrap()
        .into_entry()
        .expect("signed")
        .take_bundle();
    let bundle = VerifiedPreKeyBundle::verify(bundle, now).unwrap();
    let mut session = Session::initiate(&alice, None, &bundle, 1, &mut rng).unwrap();
    session = Session::from_state(session.to_state().expose(), &alice).unwrap();
    let bytes = session.seal(b"x", Padding::default(), &mut rng).unwrap();
    let mut prekeys = PreKeyStore::from_state(prekeys.to_state().expose()).unwrap();
    let envelope = Envelope::parse(&bytes).unwrap();
    let accept = |prekeys: &PreKeyStore| Session::accept(&bob, prekeys, &envelope, &lifetimes, now);
    let (first, second) = (accept(&prekeys).unwrap(), accept(&prekeys).unwrap());
    let (responder, _) = first.settle(&mut prekeys).unwrap();
    assert!(second.settle(&mut prekeys).is_err(), "one introduction makes one session");
    let prekeys = PreKeyStore::from_state(prekeys.to_state().expose()).unwrap();
    assert_eq!(prekeys.one_time_left(), 1);
    let again = accept(&prekeys).err();
    assert_eq!(again, Some(sceau::error::OpenError::Replayed));
    let image = responder.to_state();
    assert_eq!(Session::from_state(image.expose(), &bob).unwrap().to_state().expose(), image.expose());
    for len in 0..image.expose().len() {
        assert!(Session::from_state(&image.expose()[..len], &bob).is_err());
    }
    done(Device::generate(&mut rng).maintain(now));
}

/// Without the record of introductions an introduction could be accepted again; with another peer's identity a session
/// would speak for it; with a key missing, a message could never be opened. All of that is noticed.
#[test]
fn records_that_lie_are_refused() {
    let mut talk = Talk::new(6);
    let first = talk.from_alice(b"first");
    let skipped = talk.from_alice(b"skipped");
    let second = talk.from_alice(b"second");
    for envelope in [&first, &second] {
        talk.bob_reads(envelope).unwrap();
    }
    let whole = state(&talk.bob);
    let restore = |disk: &Disk| {
        Device::restore(disk.records().iter().map(|(key, bytes)| (*key, bytes)), sceau::Policy::default()).map(|_| ())
    };
    assert_eq!(restore(&whole), Ok(()));
    for kind in [4, 7] {
        let mut without = whole.clone();
        without.records_mut().retain(|key, _| key.as_bytes()[0] != kind);
        assert!(restore(&without).is_err(), "without records of kind {kind}");
    }
    // Carol is a peer too; Alice's session is made hers.
    let mut carol = Device::generate(&mut talk.rng);
    let now = sceau_testkit::talk::NOW;
    let bundle =
        done(carol.publish_prekeys(1, now, &mut talk.rng).unwrap()).into_entry().expect("signed").take_bundle();
    done(talk.bob.add_peer(&bundle, now).unwrap());
    let mut lying = state(&talk.bob);
    assert_eq!(restore(&lying), Ok(()));
    let session = lying.records_mut().iter_mut().find(|(key, _)| key.as_bytes()[0] == 6).unwrap().1;
    session[13..109].copy_from_slice(&carol.identity_key().encode());
    assert!(restore(&lying).is_err());
    assert_eq!(talk.bob_reads(&skipped).unwrap(), b"skipped");
}
