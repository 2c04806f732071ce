//! Peers, their sessions, and the prekeys that made them.

use super::*;
use crate::crypto::count::{Calls, calls};
use crate::device::index::TagIndex;
use crate::device::peer::Peer;
use crate::device::{Held, Standing};
use crate::error::{DecodeError, OpenError, SealError};
use crate::keys::SessionId;
use crate::limits::{MAX_FADING, MAX_INTRODUCTIONS, MAX_USED_PREKEYS};
use crate::padding::Padding;
use crate::prekey::{PreKeyChange, VerifiedPreKeyBundle};
use crate::session::Session;
use crate::wire::bundle::PreKeyBundle;
use crate::wire::introduction::IntroductionId;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::format;

/// Two devices of which the first has introduced itself to the second.
fn introduced(rng: &mut ChaCha20Rng) -> [Device; 2] {
    let [mut alice, mut bob] = [(); 2].map(|()| Device::generate(rng));
    let bundle = kept(bob.publish_prekeys(1, NOW, rng).unwrap()).into_entry().expect("signed").take_bundle();
    let to = kept(alice.add_peer(&bundle, NOW).unwrap());
    let envelope = kept(alice.seal(to, b"Bonjour", NOW, rng).unwrap());
    kept(bob.open(&envelope.envelope, NOW).unwrap());
    [alice, bob]
}

#[test]
fn few_prekeys_and_a_half_full_record_are_told() {
    let mut rng = ChaCha20Rng::from_seed([4; 32]);
    let mut device = Device::generate(&mut rng);
    device.policy.low_water = 3;
    let upload = kept(device.publish_prekeys(4, NOW, &mut rng).unwrap());
    let told = |device: &Device, used: usize| {
        let ids = device.prekeys.one_time_ids().take(used);
        let changes: Vec<_> = ids.map(|id| PreKeyChange::OneTime(id, None)).collect();
        let mut notices = Vec::new();
        device.warn_of_prekeys(&changes, &mut notices);
        notices
    };
    assert_eq!(told(&device, 1), []);
    assert_eq!(told(&device, 2), [Notice::FewPreKeys { left: 2 }]);
    let session = SessionId::from_bytes([3; 16]);
    for number in 1..MAX_INTRODUCTIONS / 2 {
        let entry = device.prekeys.record().plan(upload.signed_id(), session).unwrap();
        let mut id = [0; 16];
        id[..8].copy_from_slice(&u64::try_from(number).unwrap().to_be_bytes());
        if number + 1 == MAX_INTRODUCTIONS / 2 {
            assert_eq!(told(&device, 0), []);
        }
        device.prekeys.swap(&mut PreKeyChange::Introduction(IntroductionId(id), Some(entry)));
    }
    assert_eq!(told(&device, 0), [Notice::IntroductionsHalfFull]);
}

#[test]
fn only_a_higher_rank_is_lacked() {
    let [alice, bob] = introduced(&mut ChaCha20Rng::from_seed([4; 32]));
    let peer = bob.fingerprint();
    let mut rank = alice.best_rank(peer).unwrap();
    assert!(!alice.lacks_rank(peer, rank));
    rank.created_at += 1;
    assert!(alice.lacks_rank(peer, rank));
}

/// Without its introduction a session could not be restored.
#[test]
fn introductions_of_living_sessions_outlive_their_prekey() {
    let [_, mut bob] = introduced(&mut ChaCha20Rng::from_seed([4; 32]));
    let lifetimes = bob.policy.prekeys;
    let alice = bob.peers().next().unwrap();
    kept(bob.accept_peer(alice).unwrap());
    let late = NOW.plus(lifetimes.one_time + lifetimes.signed + 2 * lifetimes.grace);
    kept(bob.maintain(late));
    assert!(bob.prekeys.signed_not_after().is_none());
    assert_eq!((bob.sessions.len(), bob.prekeys.record().iter().count()), (1, 1));
    // Of a session that is gone, the record is deleted, not stored empty.
    kept(bob.drop_sessions(alice, &mut ChaCha20Rng::from_seed([5; 32])).unwrap());
    let Ok(1) = bob.maintain(late).commit(|changes| {
        let deleted = changes.iter().filter(|record| matches!(record, Record::Delete(_))).count();
        assert_eq!((changes.len(), deleted), (2, 1), "and the head");
        Ok::<_, Infallible>(())
    }) else {
        panic!("one block of introductions")
    };
}

#[test]
fn the_session_that_is_sent_on_owes_nothing() {
    let stands = |standing: Standing| {
        let [_, mut bob] = introduced(&mut ChaCha20Rng::from_seed([4; 32]));
        for held in bob.sessions.values_mut() {
            held.standing = standing;
        }
        restored(&bob).map(drop)
    };
    let wrong = Err(StateError::Invariant);
    assert_eq!(stands(Standing::default()), Ok(()));
    assert_eq!(
        stands(Standing { fading_since: Some(NOW), owes_rank: true, ..Standing::default() }),
        Ok(()),
        "the peer has ended it"
    );
    assert_eq!(stands(Standing { fading_since: None, owes_rank: true, ..Standing::default() }), wrong);
}

#[test]
fn used_prekeys_of_a_peer_are_bounded() {
    let mut rng = ChaCha20Rng::from_seed([4; 32]);
    let mut image = Vec::new();
    Peer::new(*IdentityKeyPair::generate(&mut rng).public()).write(&mut image);
    let fixed = image.len() - 2;
    let read = |count: usize| {
        let mut image = image.clone();
        image.truncate(fixed);
        image.push(u8::try_from(count).unwrap());
        image.resize(fixed + 1 + 4 * count + 1, 0);
        Reader::whole(&image, Peer::read).map(drop)
    };
    assert_eq!(read(MAX_USED_PREKEYS), Ok(()));
    assert_eq!(read(MAX_USED_PREKEYS + 1), Err(DecodeError::TooLong));
}

#[test]
fn sessions_that_go_leave_nothing_behind() {
    let [_, mut bob] = introduced(&mut ChaCha20Rng::from_seed([4; 32]));
    let (id, peer) = bob.by_peer.iter().map(|(peer, id)| (*id, *peer)).next().unwrap();
    bob.owing.insert(id);
    let mut rng = ChaCha20Rng::from_seed([5; 32]);
    let pending = bob.drop_sessions(peer, &mut rng).unwrap();
    let Ok(_) = pending.commit(|changes| {
        assert_eq!((changes.len(), changes.is_empty()), (changes.iter().count(), false));
        assert!(changes.len() > 1);
        Ok::<_, Infallible>(())
    });
    kept(bob.maintain(NOW));
    let Ok(nothing) = bob.maintain(NOW).commit(|changes| {
        assert!(changes.is_empty());
        Ok::<_, Infallible>(())
    });
    assert_eq!(nothing, 0);
    assert!(bob.sessions.is_empty() && bob.by_peer.is_empty() && bob.owing.is_empty());
    assert_eq!(format!("{:?}", bob.index), format!("{:?}", TagIndex::default()));
}

/// Alice's introduction of some rank, and the session that it makes.
fn introduction(alice: &Device, bundle: PreKeyBundle, rank: u64, rng: &mut ChaCha20Rng) -> (SessionId, Vec<u8>) {
    let bundle = VerifiedPreKeyBundle::verify(bundle, NOW).unwrap();
    let mut session = Session::initiate(&alice.identity, None, &bundle, rank, rng).unwrap();
    let envelope = session.seal(b"Bonjour", Padding::default(), rng).unwrap();
    (session.id(), envelope)
}

/// What faded first goes; but neither the best one, nor the best one that the peer is known to hold.
#[test]
fn the_session_that_faded_longest_goes() {
    let mut rng = ChaCha20Rng::from_seed([4; 32]);
    let [mut alice, mut bob] = [(); 2].map(|()| Device::generate(&mut rng));
    let mut bobs = kept(bob.publish_prekeys(8, NOW, &mut rng).unwrap()).into_entry().expect("signed");
    let mut alices = kept(alice.publish_prekeys(8, NOW, &mut rng).unwrap()).into_entry().expect("signed");
    let to_alice = kept(bob.add_peer(&alices.take_bundle(), NOW).unwrap());
    let held = |bob: &Device| bob.sessions.keys().copied().collect::<BTreeSet<_>>();
    let mut expected = VecDeque::new();
    let same = |bob: &Device, expected: &VecDeque<SessionId>| {
        assert_eq!(held(bob), expected.iter().copied().collect());
        restored(bob).unwrap();
    };
    let mut clock = 0..;
    let mut tick = || NOW.plus(clock.next().unwrap());
    // Alice introduces herself again and again: Bob holds what is hers, and each outranks the one before.
    for _ in 0..=MAX_FADING {
        let now = tick();
        let (id, envelope) = introduction(&alice, bobs.take_bundle(), now.0, &mut rng);
        kept(bob.open(&envelope, now).unwrap());
        expected.push_back(id);
    }
    same(&bob, &expected);
    // Bob does, and nobody answers. At last only one of hers is left: the last.
    let hers = expected[MAX_FADING];
    for round in 0..=MAX_FADING {
        let now = tick();
        kept(bob.renew(to_alice, &alices.take_bundle(), now, &mut rng).unwrap());
        kept(bob.seal(to_alice, b"Bonjour", now, &mut rng).unwrap());
        if round < MAX_FADING {
            expected.pop_front();
        } else {
            assert_eq!(expected.remove(1).map(|_| expected[0]), Some(hers));
        }
        expected.push_back(*bob.best_session(to_alice).unwrap().0);
        same(&bob, &expected);
    }
    // One that is outranked when it comes pushes out what has faded for longer, not the best.
    let (id, envelope) = introduction(&alice, bobs.take_bundle(), 1, &mut rng);
    let now = tick();
    kept(bob.open(&envelope, now).unwrap());
    assert_eq!(expected.remove(1).map(|_| expected[0]), Some(hers));
    let best = expected.back().copied();
    expected.push_back(id);
    same(&bob, &expected);
    assert_eq!(bob.best_session(to_alice).map(|(id, _)| *id), best);
    // More than that is no state of a device.
    let bundle = VerifiedPreKeyBundle::verify(alices.take_bundle(), NOW).unwrap();
    let session = Session::initiate(&bob.identity, None, &bundle, 2, &mut rng).unwrap();
    let standing = Standing { fading_since: Some(NOW), owes_rank: false, ..Standing::default() };
    let one_more = Change::Session(session.id(), Some(Box::new(Held { session, standing })));
    kept(Pending::new(&mut bob, Vec::from([one_more]), ()));
    assert_eq!(restored(&bob).map(drop), Err(StateError::Invariant));
}

/// That someone introduces itself beside a session is told, whatever rank it has chosen, and also while the session is not
/// confirmed, which a relay can prolong.
#[test]
fn who_comes_beside_a_session_is_told() {
    let told = |rank: u64, confirmed: bool| {
        let mut rng = ChaCha20Rng::from_seed([4; 32]);
        let [mut alice, mut bob] = [(); 2].map(|()| Device::generate(&mut rng));
        let mut bobs = kept(bob.publish_prekeys(3, NOW, &mut rng).unwrap()).into_entry().expect("signed");
        let to_bob = kept(alice.add_peer(&bobs.take_bundle(), NOW).unwrap());
        let first = kept(alice.seal(to_bob, b"Bonjour", NOW, &mut rng).unwrap());
        let told = kept(bob.open(&first.envelope, NOW).unwrap());
        let peer = alice.fingerprint();
        let displaced = Notice::Displaced { peer, confirmed };
        let beside = Notice::IntroducedBeside { peer, confirmed };
        assert!(!told.notices.contains(&displaced) && !told.notices.contains(&beside), "there was none");
        if confirmed {
            let reply = kept(bob.seal(alice.fingerprint(), b"Oui ?", NOW, &mut rng).unwrap());
            kept(alice.open(&reply.envelope, NOW).unwrap());
            let answer = kept(alice.seal(to_bob, b"Non.", NOW, &mut rng).unwrap());
            kept(bob.open(&answer.envelope, NOW).unwrap());
        }
        let (_, envelope) = introduction(&alice, bobs.take_bundle(), rank, &mut rng);
        let told = kept(bob.open(&envelope, NOW).unwrap()).notices;
        (told.contains(&displaced), told.contains(&beside))
    };
    assert_eq!(told(NOW.0 + 1, true), (true, false));
    assert_eq!(told(NOW.0 - 1, true), (false, true));
    assert_eq!(told(NOW.0 + 1, false), (true, false));
    assert_eq!(told(NOW.0 - 1, false), (false, true));
}

#[test]
fn ranks_that_are_owed_are_told_once() {
    let mut rng = ChaCha20Rng::from_seed([4; 32]);
    let [mut alice, mut bob] = [(); 2].map(|()| Device::generate(&mut rng));
    let mut bobs = kept(bob.publish_prekeys(3, NOW, &mut rng).unwrap()).into_entry().expect("signed");
    let to_bob = kept(alice.add_peer(&bobs.take_bundle(), NOW).unwrap());
    let first = kept(alice.seal(to_bob, b"Bonjour", NOW, &mut rng).unwrap());
    kept(bob.open(&first.envelope, NOW).unwrap());
    assert_eq!(bob.owed(NOW).count(), 0);
    // A stranger is told nothing, as often as it may ask.
    let (_, outranked) = introduction(&alice, bobs.take_bundle(), NOW.0 - 1, &mut rng);
    let told = kept(bob.open(&outranked, NOW).unwrap()).notices;
    assert!(!told.iter().any(|notice| matches!(notice, Notice::Owed(_))));
    assert_eq!(bob.owed(NOW).count(), 0);
    kept(bob.accept_peer(alice.fingerprint()).unwrap());
    let (_, outranked) = introduction(&alice, bobs.take_bundle(), NOW.0 - 2, &mut rng);
    let told = kept(bob.open(&outranked, NOW).unwrap()).notices;
    let (before, _) = bob.owed(NOW).next().unwrap();
    kept(bob.seal_owed(before, NOW, &mut rng).unwrap());
    let (id, to) = bob.owed(NOW).next().unwrap();
    assert!(told.contains(&Notice::Owed(id)) && to == alice.fingerprint());
    kept(bob.seal_owed(id, NOW, &mut rng).unwrap());
    assert_eq!(bob.owed(NOW).count(), 0);
    assert_eq!(bob.seal_owed(id, NOW, &mut rng).map(drop).unwrap_err(), SealError::NothingOwed);
    restored(&bob).unwrap();
}

/// A flood of long envelopes that nobody here can open costs no more than look-ups.
#[test]
fn what_nobody_can_open_is_not_hashed() {
    let mut rng = ChaCha20Rng::from_seed([5; 32]);
    let [mut alice, bob] = introduced(&mut rng);
    let long = alloc::vec![7; 1 << 20];
    let introduction = kept(alice.seal(bob.fingerprint(), &long[..crate::limits::MAX_CONTENT], NOW, &mut rng).unwrap());
    let mut carol = Device::generate(&mut rng);
    let sealed = [&[1, 2][..], &long[..long.len() - 2]].concat();
    for (envelope, error) in [(introduction.envelope, OpenError::PreKeyGone), (sealed, OpenError::Unknown)] {
        let before = calls();
        assert_eq!(carol.open(&envelope, NOW).map(drop), Err(error));
        assert_eq!(calls() - before, Calls { hash: (calls() - before).hash, ..Calls::default() });
        // The name of an introduction is a hash of its prefix, of 1,970 bytes; its body is not read.
        assert_eq!((calls() - before).hash, u32::from(error == OpenError::PreKeyGone));
    }
}
