//! Whom an application drops, deletes or has not accepted: nobody writes into nothing, and nobody fills a device.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test is to fail loudly"
)]

use sceau::error::{OpenError, SealError};
use sceau::limits::{MAX_STRANGERS, MAX_UNANSWERED};
use sceau::{Device, Event, Notice, UnixTime};
use sceau_testkit::Talk;
use sceau_testkit::talk::{NOW, content, done, state};

const DAY: u64 = 86_400;

fn alarms(notices: &[Notice]) -> usize {
    let alarm = |notice: &&Notice| matches!(notice, Notice::Displaced { .. } | Notice::IntroducedBeside { .. });
    notices.iter().filter(alarm).count()
}

/// Bob drops his sessions: Alice is told, her next message introduces her anew, and nobody takes that for a lost state.
#[test]
fn dropped_sessions_are_renewed_without_an_alarm() {
    for deletes in [false, true] {
        let mut talk = Talk::confirmed(1);
        done(talk.alice.set_verified(talk.to_bob, true).unwrap());
        let late = talk.from_bob(b"still under way");
        let farewell = if deletes {
            done(talk.bob.delete_peer(talk.to_alice, &mut talk.rng).unwrap())
        } else {
            done(talk.bob.drop_sessions(talk.to_alice, &mut talk.rng).unwrap())
        };
        let farewell = farewell.expect("Alice holds a session");
        assert!(farewell.mailbox.is_some());
        talk.bob = state(&talk.bob).restore();
        let opened = done(talk.alice.open(&farewell.envelope, NOW).unwrap());
        assert_eq!((opened.event, alarms(&opened.notices)), (Event::Control { from: talk.to_bob }, 0));
        assert!(opened.notices.contains(&Notice::Ended(talk.to_bob)));
        talk.alice = state(&talk.alice).restore();
        assert_eq!(talk.alice_reads(&late).unwrap(), b"still under way");
        assert!(talk.alice.peer(talk.to_bob).unwrap().session.is_none());

        assert_eq!(talk.alice.bundles_wanted(NOW).collect::<Vec<_>>(), [talk.to_bob]);
        done(talk.alice.add_peer(&talk.directory.take_bundle(), NOW).unwrap());
        let next = talk.from_alice(b"anew");
        let opened = done(talk.bob.open(&next, NOW).unwrap());
        assert_eq!(alarms(&opened.notices), 0, "{:?}", opened.notices);
        assert_eq!(opened.notices.contains(&Notice::NewPeer(talk.to_alice)), deletes);
        assert_eq!(content(opened), b"anew");
        let reply = talk.from_bob(b"reply");
        let opened = done(talk.alice.open(&reply, NOW).unwrap());
        assert_eq!(alarms(&opened.notices), 0, "{:?}", opened.notices);
        assert_eq!(content(opened), b"reply");
    }
}

/// Where both write at once after that, or Bob writes first, nobody is alarmed either; without a bundle it is said.
#[test]
fn who_has_dropped_may_write_first() {
    let mut talk = Talk::confirmed(2);
    let bundle = done(talk.alice.publish_prekeys(1, NOW, &mut talk.rng).unwrap()).into_entry().unwrap().take_bundle();
    let farewell = done(talk.bob.drop_sessions(talk.to_alice, &mut talk.rng).unwrap()).unwrap();
    done(talk.alice.open(&farewell.envelope, NOW).unwrap());
    let refused = talk.bob.seal(talk.to_alice, b"x", NOW, &mut talk.rng).map(drop);
    assert_eq!(refused, Err(SealError::BundleNeeded));
    assert_eq!(talk.bob.bundles_wanted(NOW).collect::<Vec<_>>(), [talk.to_alice]);
    done(talk.bob.add_peer(&bundle, NOW).unwrap());
    assert_eq!(talk.bob.bundles_wanted(NOW).count(), 0);
    let first = talk.from_bob(b"first");
    let opened = done(talk.alice.open(&first, NOW).unwrap());
    assert_eq!(alarms(&opened.notices), 0, "{:?}", opened.notices);
    assert_eq!(content(opened), b"first");
}

/// The word that sessions were dropped is lost: whoever goes on writing renews in time.
#[test]
fn lost_farewell_costs_a_bounded_number_of_messages() {
    let mut talk = Talk::confirmed(3);
    done(talk.bob.drop_sessions(talk.to_alice, &mut talk.rng).unwrap());
    let mut lost = 0;
    loop {
        // The bundle that she had served for the session that is gone.
        for wanted in talk.alice.bundles_wanted(NOW).collect::<Vec<_>>() {
            assert_eq!(wanted, talk.to_bob);
            done(talk.alice.add_peer(&talk.directory.take_bundle(), NOW).unwrap());
        }
        let envelope = talk.from_alice(b"hello?");
        match talk.bob_reads(&envelope) {
            Ok(read) => break assert_eq!(read, b"hello?"),
            Err(error) => assert_eq!(error, OpenError::Unknown),
        }
        lost += 1;
        assert!(lost <= MAX_UNANSWERED, "Bob never hears Alice");
    }
}

/// An ended session never comes back: a farewell that is late ends nothing that was made since.
#[test]
fn late_farewell_ends_nothing_newer() {
    let mut talk = Talk::confirmed(4);
    let farewell = done(talk.bob.drop_sessions(talk.to_alice, &mut talk.rng).unwrap()).unwrap();
    let bundle = done(talk.alice.publish_prekeys(1, NOW, &mut talk.rng).unwrap()).into_entry().unwrap().take_bundle();
    done(talk.bob.add_peer(&bundle, NOW).unwrap());
    let later = NOW.plus(60);
    let envelope = done(talk.bob.seal(talk.to_alice, b"anew", later, &mut talk.rng).unwrap()).envelope;
    done(talk.alice.open(&envelope, later).unwrap());
    // Nothing shows that it is Bob's: Alice answers with one of her own.
    let mut directory = done(talk.bob.publish_prekeys(1, later, &mut talk.rng).unwrap()).into_entry().unwrap();
    done(talk.alice.add_peer(&directory.take_bundle(), later).unwrap());
    let answer = done(talk.alice.seal(talk.to_bob, b"answer", later, &mut talk.rng).unwrap()).envelope;
    done(talk.bob.open(&answer, later).unwrap());
    let session = talk.alice.peer(talk.to_bob).unwrap().session.unwrap().id;
    let opened = done(talk.alice.open(&farewell.envelope, later).unwrap());
    assert!(!opened.notices.contains(&Notice::Ended(talk.to_bob)));
    assert_eq!(talk.alice.peer(talk.to_bob).unwrap().session.unwrap().id, session);
}

/// A device that renews shows that it holds the session before, and nobody takes that for a lost state; one that has lost it,
/// or someone with the identity key alone, can't.
#[test]
fn renewal_by_who_holds_the_session_is_no_alarm() {
    for state_lost in [false, true] {
        for turns in 0..4 {
            let mut talk = Talk::confirmed(10);
            for turn in 0..turns {
                let envelope = if turn % 2 == 0 { talk.from_bob(b"on") } else { talk.from_alice(b"on") };
                let reader = if turn % 2 == 0 { &mut talk.alice } else { &mut talk.bob };
                done(reader.open(&envelope, NOW).unwrap());
            }
            // Some of it is still under way when Alice renews.
            let late = talk.from_alice(b"late");
            if state_lost {
                let identity = talk.alice.identity().to_state();
                let identity = sceau::IdentityKeyPair::from_state(identity.expose()).unwrap();
                talk.alice = Device::with_identity(identity, &mut talk.rng);
                done(talk.alice.add_peer(&talk.directory.take_bundle(), NOW).unwrap());
            } else {
                done(talk.alice.renew(talk.to_bob, &talk.directory.take_bundle(), NOW, &mut talk.rng).unwrap());
            }
            let anew = done(talk.alice.seal(talk.to_bob, b"anew", NOW.plus(1), &mut talk.rng).unwrap()).envelope;
            let opened = done(talk.bob.open(&anew, NOW).unwrap());
            let renewed = opened.notices.contains(&Notice::Renewed(talk.to_alice));
            assert_eq!((renewed, alarms(&opened.notices)), (!state_lost, usize::from(state_lost)), "{turns} turns");
            assert_eq!(talk.bob_reads(&late).unwrap(), b"late");
        }
    }
}

/// Who stole a session long ago can't show that it holds what came of it.
#[test]
fn continuity_heals_with_the_ratchet() {
    let mut talk = Talk::confirmed(11);
    let mut thief = state(&talk.alice).restore();
    for _ in 0..2 {
        let envelope = talk.from_bob(b"on");
        talk.alice_reads(&envelope).unwrap();
        let envelope = talk.from_alice(b"on");
        talk.bob_reads(&envelope).unwrap();
    }
    done(thief.renew(talk.to_bob, &talk.directory.take_bundle(), NOW.plus(1), &mut talk.rng).unwrap());
    let forged = done(thief.seal(talk.to_bob, b"it is me", NOW.plus(1), &mut talk.rng).unwrap()).envelope;
    let opened = done(talk.bob.open(&forged, NOW).unwrap());
    assert_eq!(alarms(&opened.notices), 1, "{:?}", opened.notices);
}

/// Every introduction by a peer that is verified, or has a session, is told, also while a session is not confirmed.
#[test]
fn introductions_by_known_peers_are_told() {
    let mut talk = Talk::new(5);
    let first = talk.from_alice(b"first");
    assert_eq!(done(talk.bob.open(&first, NOW).unwrap()).notices[1], Notice::NewPeer(talk.to_alice));
    done(talk.bob.set_verified(talk.to_alice, true).unwrap());
    let renewed = |talk: &mut Talk, now: UnixTime| {
        let bundle = talk.directory.take_bundle();
        done(talk.alice.renew(talk.to_bob, &bundle, now, &mut talk.rng).unwrap());
        let envelope = done(talk.alice.seal(talk.to_bob, b"again", now, &mut talk.rng).unwrap()).envelope;
        done(talk.bob.open(&envelope, now).unwrap()).notices
    };
    let peer = talk.to_alice;
    assert!(renewed(&mut talk, NOW.plus(1)).contains(&Notice::Renewed(peer)));
    done(talk.bob.drop_sessions(peer, &mut talk.rng).unwrap());
    assert!(renewed(&mut talk, NOW.plus(2)).contains(&Notice::IntroducedAgain(peer)));
}

/// Strangers are bounded, and forgotten after their time; those whom the application accepts are not.
#[test]
fn strangers_are_bounded_and_aged() {
    let mut talk = Talk::new(6);
    let mut policy = talk.bob.policy().clone();
    policy.low_water = 0;
    talk.bob.set_policy(policy);
    let mut bundle = talk.directory.take_bundle();
    for _ in 0..3 {
        bundle = talk.directory.take_bundle();
    }
    let mut introduce = |bob: &mut Device, now| {
        let mut stranger = Device::generate(&mut talk.rng);
        let to_bob = done(stranger.add_peer(&bundle, now).unwrap());
        let envelope = done(stranger.seal(to_bob, b"hello", now, &mut talk.rng).unwrap()).envelope;
        (stranger.fingerprint(), bob.open(&envelope, now).map(done).map(content), envelope)
    };
    let mut names = Vec::new();
    for _ in 0..MAX_STRANGERS {
        let (name, opened, _) = introduce(&mut talk.bob, NOW);
        assert_eq!(opened.unwrap(), b"hello");
        names.push(name);
    }
    let before = state(&talk.bob);
    let (_, refused, waiting) = introduce(&mut talk.bob, NOW);
    assert_eq!(refused, Err(OpenError::TooManyStrangers));
    assert_eq!(state(&talk.bob), before);
    assert_eq!(talk.bob.strangers().count(), MAX_STRANGERS);
    // Accepted in any way, they take no place; what was left at the relay opens then.
    done(talk.bob.accept_peer(names[0]).unwrap());
    assert_eq!(content(done(talk.bob.open(&waiting, NOW).unwrap())), b"hello");
    done(talk.bob.seal(names[1], b"welcome", NOW, &mut sceau_testkit::rng(7)).unwrap());
    done(talk.bob.set_verified(names[2], true).unwrap());
    done(talk.bob.block(names[3]).unwrap());
    assert_eq!(
        done(talk.bob.delete_peer(names[4], &mut sceau_testkit::rng(8)).unwrap()),
        None,
        "strangers are told nothing"
    );
    assert_eq!(talk.bob.strangers().count(), MAX_STRANGERS - 4);
    // The others are forgotten after their time, with their sessions.
    talk.bob = state(&talk.bob).restore();
    done(talk.bob.maintain(NOW.plus(30 * DAY)));
    assert_eq!(talk.bob.strangers().count(), MAX_STRANGERS - 4);
    done(talk.bob.maintain(NOW.plus(30 * DAY + 1)));
    assert_eq!(talk.bob.strangers().count(), 0);
    let mut left: Vec<_> = talk.bob.peers().collect();
    left.sort_unstable();
    names.truncate(4);
    names.sort_unstable();
    assert_eq!(left, names);
    assert_eq!(state(&state(&talk.bob).restore()), state(&talk.bob));
}

/// A message that is withheld for longer than its key is kept opens no more, also for whoever steals the state later.
#[test]
fn keys_of_withheld_messages_go_with_time() {
    let mut talk = Talk::confirmed(7);
    let withheld: Vec<_> = (0..70).map(|_| talk.from_alice(b"withheld")).collect();
    let next = talk.from_alice(b"next");
    talk.bob_reads(&next).unwrap();
    let later = NOW.plus(10 * DAY);
    let also = done(talk.alice.seal(talk.to_bob, b"later", later, &mut talk.rng).unwrap()).envelope;
    let after = done(talk.alice.seal(talk.to_bob, b"after", later, &mut talk.rng).unwrap()).envelope;
    done(talk.bob.open(&after, later).unwrap());
    let skipped = |bob: &Device| bob.peer(talk.to_alice).unwrap().session.unwrap().skipped;
    assert_eq!(skipped(&talk.bob), 71);
    assert_eq!(done(talk.bob.maintain(NOW.plus(30 * DAY))), 0);
    assert_eq!(done(talk.bob.maintain(NOW.plus(30 * DAY + 1))), 70);
    assert_eq!(skipped(&talk.bob), 1);
    let mut thief = state(&talk.bob).restore();
    for envelope in &withheld {
        assert!(thief.open(envelope, NOW).is_err());
    }
    assert_eq!(content(done(thief.open(&also, later).unwrap())), b"later");
    assert_eq!(state(&thief.clone_of()), state(&thief));
}

trait CloneOf {
    fn clone_of(&self) -> Device;
}

impl CloneOf for Device {
    fn clone_of(&self) -> Device {
        state(self).restore()
    }
}

/// Each operation says which addresses to listen on came and went: added up, they are the list.
#[test]
fn mailbox_changes_add_up_to_the_list() {
    let mut talk = Talk::new(8);
    let mut lists = [Vec::new(), Vec::new()];
    let note = |list: &mut Vec<_>, changes: &sceau::Changes| {
        let mailboxes = changes.mailboxes();
        for gone in &mailboxes.gone {
            let place = list.iter().position(|listed| listed == gone).expect("it was listened on");
            list.swap_remove(place);
        }
        assert!(mailboxes.came.iter().all(|came| !list.contains(came)));
        list.extend(&mailboxes.came);
        Ok::<(), core::convert::Infallible>(())
    };
    for round in 0..40_u32 {
        for alice_speaks in [true, false] {
            let (from, to, peer) = if alice_speaks {
                (&mut talk.alice, &mut talk.bob, talk.to_bob)
            } else {
                (&mut talk.bob, &mut talk.alice, talk.to_alice)
            };
            let [mut own, mut other] = core::mem::take(&mut lists);
            if !alice_speaks {
                core::mem::swap(&mut own, &mut other);
            }
            let mut sealed = Vec::new();
            for _ in 0..=round % 3 {
                let pending = from.seal(peer, b"text", NOW, &mut talk.rng).unwrap();
                let Ok(one) = pending.commit(|changes| note(&mut own, changes));
                sealed.push(one.envelope);
            }
            // The last first; the others one round late, or never.
            for envelope in sealed.iter().rev().take(1 + usize::try_from(round % 2).unwrap()) {
                let Ok(_) = to.open(envelope, NOW).unwrap().commit(|changes| note(&mut other, changes));
            }
            for (device, list) in [(&*from, &own), (&*to, &other)] {
                let mut expected: Vec<_> = device.mailboxes().collect();
                let mut listed = list.clone();
                expected.sort_unstable();
                listed.sort_unstable();
                assert_eq!(listed, expected);
            }
            lists = if alice_speaks { [own, other] } else { [other, own] };
        }
    }
    let Ok(_) =
        talk.bob.delete_peer(talk.to_alice, &mut talk.rng).unwrap().commit(|changes| note(&mut lists[1], changes));
    assert!(lists[1].is_empty());
}

/// Looking at an envelope changes nothing, and shows what opening gives.
#[test]
fn preview_shows_and_changes_nothing() {
    let mut talk = Talk::new(9);
    let first = talk.from_alice(b"first");
    for _ in 0..2 {
        let before = state(&talk.bob);
        assert_eq!(content(talk.bob.preview(&first, NOW).unwrap()), b"first");
        assert_eq!(state(&talk.bob), before);
    }
    let shown = talk.bob.preview(&first, NOW).unwrap();
    assert_eq!(done(talk.bob.open(&first, NOW).unwrap()), shown);
    assert_eq!(talk.bob.preview(&first, NOW).err(), Some(OpenError::Duplicate));
}

/// The word that sessions were dropped comes behind the introduction that followed it, which is outranked: its author is told, and
/// nothing that it writes is lost.
#[test]
fn farewell_behind_an_introduction_loses_nothing() {
    let (mut rng, mut talk) = (sceau_testkit::rng(55), Talk::new(5));
    // Alice's clock was a day ahead when she made their session.
    let day = 86_400;
    let first = done(talk.alice.seal(talk.to_bob, b"first", NOW.plus(day), &mut talk.rng).unwrap()).envelope;
    talk.bob_reads(&first).unwrap();
    let reply = talk.from_bob(b"reply");
    talk.alice_reads(&reply).unwrap();
    let third = talk.from_alice(b"third");
    talk.bob_reads(&third).unwrap();
    let mut directory = done(talk.alice.publish_prekeys(9, NOW, &mut rng).unwrap()).into_entry().unwrap();
    let farewell = done(talk.bob.drop_sessions(talk.to_alice, &mut rng).unwrap()).unwrap();
    done(talk.bob.add_peer(&directory.take_bundle(), NOW).unwrap());
    let anew = talk.from_bob(b"anew");
    talk.alice_reads(&anew).unwrap();
    done(talk.alice.open(&farewell.envelope, NOW).unwrap());
    for days in 1..60 {
        let now = NOW.plus(days * day);
        done(talk.alice.maintain(now));
        for _ in talk.bob.bundles_wanted(now).collect::<Vec<_>>() {
            let upload = done(talk.alice.publish_prekeys(9, now, &mut rng).unwrap());
            directory.update(upload).unwrap();
            done(talk.bob.add_peer(&directory.take_bundle(), now).unwrap());
        }
        for _ in talk.alice.bundles_wanted(now).collect::<Vec<_>>() {
            let upload = done(talk.bob.publish_prekeys(9, now, &mut rng).unwrap());
            done(talk.alice.add_peer(&upload.into_entry().unwrap().take_bundle(), now).unwrap());
        }
        let envelope = done(talk.bob.seal(talk.to_alice, b"daily", now, &mut rng).unwrap()).envelope;
        done(talk.alice.open(&envelope, now).unwrap());
        for (id, _) in talk.alice.owed(now).collect::<Vec<_>>() {
            let envelope = done(talk.alice.seal_owed(id, now, &mut rng).unwrap()).envelope;
            done(talk.bob.open(&envelope, now).unwrap());
        }
    }
}

/// Whoever is deleted while its renewal waits is told on the session that it holds.
#[test]
fn farewell_goes_on_a_session_that_the_peer_holds() {
    let mut talk = Talk::confirmed(6);
    done(talk.alice.renew(talk.to_bob, &talk.directory.take_bundle(), NOW, &mut talk.rng).unwrap());
    let farewell = done(talk.alice.delete_peer(talk.to_bob, &mut talk.rng).unwrap()).unwrap();
    assert!(done(talk.bob.open(&farewell.envelope, NOW).unwrap()).notices.contains(&Notice::Ended(talk.to_alice)));
}
