//! One-time prekeys serve one introduction; prekeys expire; introductions are never accepted twice; notices come in time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test is to fail loudly"
)]

use sceau::device::Unreadable;
use sceau::error::{ImplausibleTime, OpenError, PreKeyError, SealError};
use sceau::prekey::{PreKeyLifetimes, PreKeyStore, Rotation, VerifiedPreKeyBundle};
use sceau::session::Session;
use sceau::{
    Device, DirectoryEntry, Envelope, Event, IdentityKeyPair, Notice, Padding, PreKeyBundle, PreKeyUpload, UnixTime,
};
use sceau_testkit::Disk;
use sceau_testkit::Talk;
use sceau_testkit::talk::{NOW, content, done};

const DAY: u64 = 86_400;

#[test]
fn one_time_prekey_is_gone_after_its_introduction() {
    let mut talk = Talk::new(1);
    assert_eq!(talk.bob.prekey_status().one_time_left, 3);
    let first = talk.from_alice(b"first");
    let opened = done(talk.bob.open(&first, NOW).unwrap());
    let Event::Message { from, status, .. } = &opened.event else { panic!("{opened:?}") };
    assert_eq!(*from, talk.to_alice);
    assert!(status.introduction && status.session.one_time_prekey && !status.session.confirmed && !status.verified);
    assert!(opened.notices.contains(&Notice::NewPeer(talk.to_alice)));
    assert!(opened.notices.contains(&Notice::FewPreKeys { left: 2 }));
    assert_eq!(talk.bob.prekey_status().one_time_left, 2);
    assert_eq!(talk.bob.prekey_status().introductions, 1);

    // A second introduction with the same one-time prekey: of Alice's, restored to before she used it.
    let mut rng = sceau_testkit::rng(9);
    let mut twin = Talk::new(1);
    let again = done(twin.alice.seal(twin.to_bob, b"again", NOW, &mut rng).unwrap());
    assert_ne!(first, again.envelope);
    assert_eq!(talk.bob_reads(&again.envelope), Err(OpenError::PreKeyGone));
}

#[test]
fn one_bundle_uses_its_one_time_prekey_once() {
    let mut talk = Talk::new(2);
    let bundle = talk.directory.take_bundle();
    done(talk.alice.add_peer(&bundle, NOW).unwrap());
    let first = talk.from_alice(b"first");
    talk.bob_reads(&first).unwrap();
    // The application gives the same bundle again: the introduction goes without it, and works.
    done(talk.alice.renew(talk.to_bob, &bundle, NOW, &mut talk.rng).unwrap());
    assert!(!talk.alice.peer(talk.to_bob).unwrap().session.unwrap().one_time_prekey);
    let second = talk.from_alice(b"second");
    assert_eq!(talk.bob_reads(&second).unwrap(), b"second");
}

#[test]
fn accepted_introduction_is_refused_after_its_session_is_gone() {
    let mut talk = Talk::new(3);
    let first = talk.from_alice(b"first");
    talk.bob_reads(&first).unwrap();
    assert_eq!(talk.bob_reads(&first), Err(OpenError::Duplicate));
    // Another message of the same introduction.
    let first = talk.from_alice(b"and another");
    done(talk.bob.drop_sessions(talk.to_alice, &mut talk.rng).unwrap());
    assert_eq!(talk.bob_reads(&first), Err(OpenError::Replayed));
    done(talk.bob.delete_peer(talk.to_alice, &mut talk.rng).unwrap());
    assert_eq!(talk.bob_reads(&first), Err(OpenError::Replayed));
    // The record outlives restarts and upkeep, as long as the signed prekey lives.
    let mut bob = sceau_testkit::Disk::of(&talk.bob).restore();
    done(bob.maintain(NOW.plus(59 * DAY)));
    assert_eq!(bob.open(&first, NOW).err(), Some(OpenError::Replayed));
    done(bob.maintain(NOW.plus(61 * DAY)));
    assert_eq!(bob.prekey_status().signed_not_after, None);
    assert_eq!(bob.open(&first, NOW).err(), Some(OpenError::PreKeyGone));
}

#[test]
fn bundles_and_prekeys_have_their_time() {
    let mut talk = Talk::new(4);
    let bundle = talk.directory.take_bundle();
    let end = NOW.plus(30 * DAY);
    assert!(talk.alice.add_peer(&bundle, end).is_ok());
    assert_eq!(talk.alice.add_peer(&bundle, end.plus(1)).err(), Some(PreKeyError::Expired));
    let late = talk.alice.seal(talk.to_bob, b"x", end.plus(1), &mut talk.rng).err();
    assert_eq!(late, Some(SealError::BundleExpired));
    // An introduction made in time opens until the grace period is over, and not after.
    let first = done(talk.alice.seal(talk.to_bob, b"x", end, &mut talk.rng).unwrap());
    let grace_end = end.plus(30 * DAY);
    assert_eq!(talk.bob.open(&first.envelope, grace_end.plus(1)).err(), Some(OpenError::PreKeyGone));
    // Going back in time is no error.
    assert_eq!(content(done(talk.bob.open(&first.envelope, sceau_testkit::talk::at(1)).unwrap())), b"x");
}

#[test]
fn rotation_and_revocation() {
    let mut talk = Talk::new(5);
    let first = talk.from_alice(b"first");
    let same = done(talk.bob.publish_prekeys(1, NOW, &mut talk.rng).unwrap());
    let expected = talk.directory.take_bundle();
    assert_eq!(signed_part(same), signed_part_of(&expected), "not due");
    let later = NOW.plus(16 * DAY);
    let rotated = done(talk.bob.publish_prekeys(1, later, &mut talk.rng).unwrap());
    assert_ne!(signed_part(rotated), signed_part_of(&expected), "half its life is over");
    assert!(talk.bob.open(&first, later).is_ok(), "the old one is still there");
    let pending = talk.bob.rotate_prekeys(2, Rotation::Revoke, later, &mut talk.rng).unwrap();
    done(pending);
    assert_eq!(talk.bob.prekey_status().one_time_left, 2);
    assert_eq!(talk.bob_reads(&first), Err(OpenError::PreKeyGone), "revoked");
}

/// Whoever publishes often, or is made to by introductions, is never left without a current prekey.
#[test]
fn publishing_never_ends_for_want_of_room() {
    let mut talk = Talk::new(7);
    let first = talk.from_alice(b"under the first signed prekey");
    let mut directories = Vec::new();
    for _ in 0..20 {
        let upload = done(talk.bob.rotate_prekeys(0, Rotation::Always, NOW, &mut talk.rng).unwrap());
        directories.push(upload.into_entry().unwrap());
    }
    // The newest 16 open introductions; older ones are gone.
    assert_eq!(talk.bob_reads(&first), Err(OpenError::PreKeyGone));
    for (place, directory) in directories.iter_mut().enumerate() {
        done(talk.alice.renew(talk.to_bob, &directory.take_bundle(), NOW, &mut talk.rng).unwrap());
        let introduction = talk.from_alice(b"anew");
        let opened = talk.bob_reads(&introduction);
        let expected = if place < 4 { Err(OpenError::PreKeyGone) } else { Ok(b"anew".to_vec()) };
        assert_eq!(opened, expected, "{place}");
    }
    assert!(Disk::of(&talk.bob).restore().prekey_status().signed_not_after.is_some());
    // Whoever fetches bundles and uses none takes nothing from who comes after: the oldest go.
    let mut bundles = Vec::new();
    for _ in 0..4 {
        let mut directory = done(talk.bob.publish_prekeys(300, NOW, &mut talk.rng).unwrap()).into_entry().unwrap();
        assert_eq!((directory.one_time_left(), talk.bob.prekey_status().one_time_left), (300, 300));
        bundles.push(directory.take_bundle());
    }
    assert_eq!(talk.bob.prekey_status().one_time_held, 1_000);
    for (place, bundle) in bundles.iter().enumerate() {
        let mut carol = Device::generate(&mut talk.rng);
        done(carol.add_peer(bundle, NOW).unwrap());
        let introduction = done(carol.seal(talk.to_bob, b"hello", NOW, &mut talk.rng).unwrap()).envelope;
        assert!(carol.peer(talk.to_bob).unwrap().session.unwrap().one_time_prekey);
        let opened = talk.bob_reads(&introduction);
        // Of the oldest upload two thirds are gone.
        assert!(opened.is_ok() || (place, opened) == (0, Err(OpenError::PreKeyGone)), "{place}");
    }
}

fn signed_part(upload: PreKeyUpload) -> Vec<u8> {
    signed_part_of(&upload.into_entry().expect("signed").take_bundle())
}

fn signed_part_of(bundle: &sceau::PreKeyBundle) -> Vec<u8> {
    bundle.encode()[65..65 + 1676].to_vec()
}

#[test]
fn blocked_peers_are_refused_and_go_on_when_they_are_not() {
    let mut talk = Talk::confirmed(6);
    let bundle = talk.directory.take_bundle();
    done(talk.bob.block(talk.to_alice).unwrap());
    assert!(talk.bob.peer(talk.to_alice).unwrap().blocked);
    let sealed = talk.from_alice(b"x");
    assert_eq!(talk.bob_reads(&sealed), Err(OpenError::Blocked(talk.to_alice)));
    assert_eq!(talk.bob.seal(talk.to_alice, b"x", NOW, &mut talk.rng).err(), Some(SealError::Blocked));
    done(talk.alice.renew(talk.to_bob, &bundle, NOW, &mut talk.rng).unwrap());
    let introduction = talk.from_alice(b"it is me");
    assert_eq!(talk.bob_reads(&introduction), Err(OpenError::Blocked(talk.to_alice)));
    let own =
        done(talk.alice.publish_prekeys(1, NOW, &mut talk.rng).unwrap()).into_entry().expect("signed").take_bundle();
    assert_eq!(talk.bob.add_peer(&own, NOW).err(), Some(PreKeyError::Blocked));
    done(talk.bob.unblock(talk.to_alice).unwrap());
    assert_eq!(talk.bob_reads(&introduction).unwrap(), b"it is me");

    // Nothing was lost but what came meanwhile: the same session goes on, in both directions.
    let mut talk = Talk::confirmed(6);
    done(talk.bob.block(talk.to_alice).unwrap());
    talk.bob = Disk::of(&talk.bob).restore();
    let meanwhile = talk.from_alice(b"meanwhile");
    assert_eq!(talk.bob_reads(&meanwhile), Err(OpenError::Blocked(talk.to_alice)));
    done(talk.bob.unblock(talk.to_alice).unwrap());
    let afterwards = talk.from_alice(b"afterwards");
    let opened = done(talk.bob.open(&afterwards, NOW).unwrap());
    let quiet = |notice: &Notice| matches!(notice, Notice::NewChain(_));
    assert!(opened.notices.iter().all(quiet), "{:?}", opened.notices);
    let reply = talk.from_bob(b"reply");
    assert_eq!(talk.alice_reads(&reply).unwrap(), b"reply");
}

#[test]
fn displaced_sessions_are_told_and_fade() {
    let mut talk = Talk::confirmed(7);
    let old = talk.from_alice(b"on the old session");
    // Alice has lost all but her identity.
    let identity = IdentityKeyPair::from_state(talk.alice.identity().to_state().expose()).unwrap();
    let mut alice = Device::with_identity(identity, &mut talk.rng);
    done(alice.add_peer(&talk.directory.take_bundle(), NOW).unwrap());
    let introduction = done(alice.seal(talk.to_bob, b"new", NOW.plus(1), &mut talk.rng).unwrap()).envelope;
    let opened = done(talk.bob.open(&introduction, NOW).unwrap());
    let displaced = Notice::Displaced { peer: talk.to_alice, confirmed: true };
    assert!(opened.notices.contains(&displaced), "{:?}", opened.notices);
    done(talk.bob.accept_peer(talk.to_alice).unwrap());
    assert_eq!(talk.bob.peer(talk.to_alice).unwrap().fading, 1);
    assert_eq!(talk.bob_reads(&old).unwrap(), b"on the old session");
    assert_eq!(done(talk.bob.maintain(NOW.plus(14 * DAY))), 0);
    assert_eq!(done(talk.bob.maintain(NOW.plus(14 * DAY + 1))), 1, "it has faded");
    assert_eq!(talk.bob.peer(talk.to_alice).unwrap().fading, 0);
}

#[test]
fn sessions_with_a_peer_are_bounded() {
    let mut talk = Talk::new(8);
    let mut bundles = done(talk.bob.publish_prekeys(20, NOW, &mut talk.rng).unwrap()).into_entry().expect("signed");
    for i in 0..12 {
        done(talk.alice.renew(talk.to_bob, &bundles.take_bundle(), NOW, &mut talk.rng).unwrap());
        let introduction = talk.from_alice(&[i]);
        assert_eq!(talk.bob_reads(&introduction).unwrap(), [i]);
    }
    for device in [&talk.alice, &talk.bob] {
        let peer = device.peers().next().unwrap();
        assert_eq!(device.peer(peer).unwrap().fading, sceau::limits::MAX_FADING);
    }
    let restored: Device = sceau_testkit::Disk::of(&talk.bob).restore();
    assert_eq!(restored.peer(talk.to_alice), talk.bob.peer(talk.to_alice));
}

/// A peer that does not answer, for a year and through many renewals, does not cost the session that works.
#[test]
fn unanswered_renewals_keep_the_confirmed_session() {
    let mut talk = Talk::confirmed(9);
    let waiting = talk.from_bob(b"waiting");
    let mut bundles = done(talk.bob.publish_prekeys(20, NOW, &mut talk.rng).unwrap()).into_entry().expect("signed");
    for i in 0..10 {
        // A clock that goes backwards is no reason either.
        let then = sceau_testkit::talk::at(NOW.as_secs() - i * DAY);
        done(talk.alice.renew(talk.to_bob, &bundles.take_bundle(), then, &mut talk.rng).unwrap());
    }
    done(talk.alice.maintain(NOW.plus(365 * DAY)));
    assert_eq!(talk.alice_reads(&waiting).unwrap(), b"waiting");
}

#[test]
fn publishing_deletes_what_is_past_its_time() {
    let mut talk = Talk::new(10);
    let later = NOW.plus(400 * DAY);
    done(talk.bob.publish_prekeys(1_000, later, &mut talk.rng).unwrap());
    assert_eq!(talk.bob.prekey_status().one_time_left, 1_000);
}

#[test]
fn replayed_divergence_asks_for_one_renewal() {
    let mut talk = Talk::confirmed(11);
    let old = sceau_testkit::Disk::of(&talk.alice);
    let reply = talk.from_bob(b"a turn");
    talk.alice_reads(&reply).unwrap();
    let first = talk.from_alice(b"one future");
    talk.bob_reads(&first).unwrap();
    // Alice falls back, follows the same turn again, and takes another future.
    talk.alice = old.restore();
    talk.alice_reads(&reply).unwrap();
    talk.from_alice(b"zero");
    let diverging = talk.from_alice(b"another future");
    let opened = done(talk.bob.open(&diverging, NOW).unwrap());
    assert_eq!(opened.event, Event::Unreadable { from: talk.to_alice, why: Unreadable::Diverged });
    assert!(talk.bob.peer(talk.to_alice).unwrap().renewal_due);
    assert_eq!(talk.bob.bundles_wanted(NOW).collect::<Vec<_>>(), [talk.to_alice]);
    let bundle =
        done(talk.alice.publish_prekeys(1, NOW, &mut talk.rng).unwrap()).into_entry().expect("signed").take_bundle();
    done(talk.bob.renew(talk.to_alice, &bundle, NOW, &mut talk.rng).unwrap());
    assert_eq!(talk.bob_reads(&diverging), Err(OpenError::Duplicate), "it is known by now");
    let renewed = talk.from_bob(b"renewed");
    assert_eq!(talk.alice_reads(&renewed).unwrap(), b"renewed");
}

/// An expired one-time prekey in a stale directory does not keep people from writing.
#[test]
fn expired_one_time_prekey_is_left_out() {
    let mut talk = Talk::new(12);
    let mut policy = talk.bob.policy().clone();
    policy.prekeys.one_time = DAY;
    talk.bob.set_policy(policy);
    let bundle =
        done(talk.bob.publish_prekeys(1, NOW, &mut talk.rng).unwrap()).into_entry().expect("signed").take_bundle();
    let later = NOW.plus(2 * DAY);
    done(talk.alice.add_peer(&bundle, later).unwrap());
    let envelope = done(talk.alice.seal(talk.to_bob, b"x", later, &mut talk.rng).unwrap());
    assert!(!talk.alice.peer(talk.to_bob).unwrap().session.unwrap().one_time_prekey);
    assert_eq!(content(done(talk.bob.open(&envelope.envelope, later).unwrap())), b"x");
}

#[test]
fn bundles_tell_whether_they_hold_a_one_time_prekey() {
    let mut talk = Talk::new(13);
    let mut upload = done(talk.bob.publish_prekeys(1, NOW, &mut talk.rng).unwrap()).into_entry().expect("signed");
    assert!(upload.take_bundle().has_one_time());
    assert!(!upload.take_bundle().has_one_time());
}

/// Without a device: what was accepted is settled once, whatever happened meanwhile.
#[test]
fn accepted_introductions_are_settled_once() {
    let (mut rng, lifetimes) = (sceau_testkit::rng(14), PreKeyLifetimes::default());
    let [alice, bob, carol] = [(); 3].map(|()| IdentityKeyPair::generate(&mut rng));
    let mut prekeys = PreKeyStore::new();
    let mut upload =
        prekeys.publish(&bob, 1, Rotation::IfDue, &lifetimes, NOW, &mut rng).unwrap().into_entry().expect("signed");
    let bundle = VerifiedPreKeyBundle::verify(upload.take_bundle(), NOW).unwrap();
    let introductions = [&alice, &carol].map(|person| {
        let mut session = Session::initiate(person, None, &bundle, 1, &mut rng).unwrap();
        session.seal(b"hello", Padding::default(), &mut rng).unwrap()
    });
    let accept = |prekeys: &PreKeyStore, bytes: &[u8]| {
        Session::accept(&bob, prekeys, &Envelope::parse(bytes).unwrap(), &lifetimes, NOW).unwrap()
    };
    let [first, same, other] = [0, 0, 1].map(|which: usize| accept(&prekeys, &introductions[which]));
    assert_eq!(first.session().peer_fingerprint(), alice.fingerprint());
    first.settle(&mut prekeys).unwrap();
    assert_eq!((prekeys.one_time_left(), prekeys.introductions()), (0, 1));
    assert_eq!(same.settle(&mut prekeys).err(), Some(OpenError::Replayed));
    assert_eq!(other.settle(&mut prekeys).err(), Some(OpenError::PreKeyGone));
    assert_eq!((prekeys.one_time_left(), prekeys.introductions()), (0, 1));
}

/// What a directory does: the later upload stays, whatever comes twice, late or never; each one-time prekey goes out once.
#[test]
fn uploads_change_nothing_for_the_worse() {
    let mut rng = sceau_testkit::rng(14);
    let [mut bob, mut stranger] = [(); 2].map(|()| Device::generate(&mut rng));
    let mut publish = |device: &mut Device, count, now| done(device.publish_prekeys(count, now, &mut rng).unwrap());
    let first = publish(&mut bob, 2, NOW);
    assert_eq!(first.identity(), bob.identity_key());
    assert_eq!(bob.prekey_upload(), Some(first.clone()), "the same again, from what is stored");
    assert_eq!(Disk::of(&bob).restore().prekey_upload(), Some(first.clone()), "also after a restart");
    let mut directory = first.clone().into_entry().unwrap();
    let before = directory.clone();
    assert_eq!(directory.update(publish(&mut stranger, 1, NOW)), Err(PreKeyError::OtherIdentity));
    let mut forged = first.encode();
    *forged.last_mut().unwrap() ^= 1;
    let forged = PreKeyUpload::decode(&forged).unwrap();
    assert_eq!(directory.update(forged.clone()), Err(PreKeyError::Signature));
    assert_eq!(forged.into_entry().err(), Some(PreKeyError::Signature));
    assert_eq!(directory, before);

    // The same bytes twice give no one-time prekey to two people.
    let mut given = vec![directory.take_bundle()];
    assert_eq!(directory.update(first.clone()), Ok(false));
    given.push(directory.take_bundle());
    assert_ne!(given[0], given[1]);
    assert!(given.iter().all(PreKeyBundle::has_one_time) && !directory.take_bundle().has_one_time());
    assert_eq!(DirectoryEntry::decode(&directory.encode()), Ok(directory.clone()));

    // A later one takes the place of all that is here; an older one that comes late changes nothing.
    let later = NOW.plus(20 * DAY);
    let second = publish(&mut bob, 3, later);
    assert!(second.number() > first.number() && second.not_after() > first.not_after());
    assert_eq!(directory.update(second.clone()), Ok(true));
    assert_eq!(directory.update(first.clone()), Ok(false));
    assert_eq!(
        (directory.one_time_left(), directory.number(), directory.not_after()),
        (3, second.number(), second.not_after())
    );

    // A directory that has missed an upload, or lost everything, is filled again.
    let mut missed = first.into_entry().unwrap();
    assert_eq!(missed.update(bob.prekey_upload().unwrap()), Ok(true));
    assert_eq!(missed, directory);
    // What has served since is not in it.
    let mut carol = Device::generate(&mut sceau_testkit::rng(15));
    let to_bob = done(carol.add_peer(&directory.take_bundle(), later).unwrap());
    let hello = done(carol.seal(to_bob, b"hello", later, &mut sceau_testkit::rng(16)).unwrap());
    done(bob.open(&hello.envelope, later).unwrap());
    assert_eq!(bob.prekey_upload().unwrap().one_time_count(), 2);
    assert_eq!(bob.prekey_upload().unwrap().number(), second.number());
    // A clock that was put back makes no older number.
    let third = publish(&mut bob, 1, NOW);
    assert_eq!(directory.update(third), Ok(true));
}

/// Published once with a clock of 2099, then with the right one: everybody who comes after that is heard.
#[test]
fn wrong_clock_is_mended_by_the_next_upload() {
    let mut talk = Talk::new(16);
    let wrong = sceau_testkit::talk::at(4_070_908_800);
    let upload = done(talk.bob.publish_prekeys(20, wrong, &mut talk.rng).unwrap());
    talk.directory.update(upload).unwrap();
    let upload = done(talk.bob.publish_prekeys(20, NOW, &mut talk.rng).unwrap());
    assert_eq!(talk.directory.update(upload), Ok(true));
    for newcomer in 0..30 {
        let mut carol = Device::generate(&mut talk.rng);
        done(carol.add_peer(&talk.directory.take_bundle(), NOW).unwrap());
        let hello = done(carol.seal(talk.to_bob, b"hello", NOW, &mut talk.rng).unwrap()).envelope;
        assert_eq!(talk.bob_reads(&hello).unwrap(), b"hello", "{newcomer}");
    }
    // What a clock can't show is none.
    assert_eq!(UnixTime::from_secs(1_800_000_000_000), Err(ImplausibleTime), "milliseconds");
    assert_eq!(UnixTime::from_secs(UnixTime::MAX + 1), Err(ImplausibleTime));
    assert_eq!(UnixTime::from_secs(UnixTime::MAX).map(UnixTime::as_secs), Ok(UnixTime::MAX));
}

/// As many introductions as one record holds, accepted before the first is settled, leave a store that restores.
#[test]
fn many_introductions_are_settled_after_they_were_accepted() {
    let (mut rng, lifetimes) = (sceau_testkit::rng(17), PreKeyLifetimes::default());
    let bob = IdentityKeyPair::generate(&mut rng);
    let mut prekeys = PreKeyStore::new();
    let upload = prekeys.publish(&bob, 0, Rotation::IfDue, &lifetimes, NOW, &mut rng).unwrap();
    let bundle = VerifiedPreKeyBundle::verify(upload.into_entry().unwrap().take_bundle(), NOW).unwrap();
    let alice = IdentityKeyPair::generate(&mut rng);
    let accepted: Vec<_> = (0..257)
        .map(|i| {
            let mut session = Session::initiate(&alice, None, &bundle, i, &mut rng).unwrap();
            let bytes = session.seal(b"hello", Padding::default(), &mut rng).unwrap();
            Session::accept(&bob, &prekeys, &Envelope::parse(&bytes).unwrap(), &lifetimes, NOW).unwrap()
        })
        .collect();
    for accepted in accepted {
        accepted.settle(&mut prekeys).unwrap();
    }
    let restored = PreKeyStore::from_state(prekeys.to_state().expose()).unwrap();
    assert_eq!(restored.introductions(), 257);
}
