//! A device whose plain store was put back is noticed, by itself and by its peer, and both hear each other again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test is to fail loudly"
)]

use sceau::device::{Opened, Unreadable};
use sceau::error::{OpenError, Stale};
use sceau::limits::{ANSWER_AFTER, MAX_FIRST_JUMP, MAX_UNANSWERED};
use sceau::{Device, DirectoryEntry, Event, Fingerprint, Notice, Policy, RecordKey, UnixTime};
use sceau_testkit::talk::{NOW, content, done, state};
use sceau_testkit::{Disk, Talk};

/// What Bob makes of an envelope.
fn bob_opens(talk: &mut Talk, envelope: &[u8]) -> Opened {
    done(talk.bob.open(envelope, NOW).unwrap())
}

#[test]
fn sealed_twice_at_one_position_has_diverged() {
    let mut talk = Talk::confirmed(1);
    let old = state(&talk.alice);
    let first: Vec<_> = (0..3).map(|_| talk.from_alice(b"one future")).collect();
    for envelope in &first {
        assert_eq!(talk.bob_reads(envelope).unwrap(), b"one future");
    }
    talk.alice = old.restore();
    let second: Vec<_> = (0..3).map(|_| talk.from_alice(b"another future")).collect();
    for (envelope, before) in second.iter().zip(&first) {
        assert_eq!(envelope[2..18], before[2..18], "the tags are the same");
        let opened = bob_opens(&mut talk, envelope);
        assert_eq!(opened.event, Event::Unreadable { from: talk.to_alice, why: Unreadable::Diverged });
        assert_eq!(opened.notices, [Notice::RenewalDue(talk.to_alice)]);
        // What only copies the tag is nothing; what comes again is a duplicate.
        let mut forged = envelope.clone();
        *forged.last_mut().unwrap() ^= 1;
        assert_eq!(talk.bob_reads(&forged), Err(OpenError::Rejected));
        assert_eq!(talk.bob_reads(before), Err(OpenError::Duplicate));
        // It is reported once.
        assert_eq!(talk.bob_reads(envelope), Err(OpenError::Duplicate));
    }
    // That it is due outlives a restart; the next message to Alice is an introduction, as soon as there is a bundle.
    talk.bob = state(&talk.bob).restore();
    assert!(talk.bob.peer(talk.to_alice).unwrap().renewal_due);
    assert_eq!(talk.bob.bundles_wanted(NOW).collect::<Vec<_>>(), [talk.to_alice]);
    let bundle = done(talk.alice.publish_prekeys(1, NOW, &mut talk.rng).unwrap()).into_entry().unwrap().take_bundle();
    done(talk.bob.add_peer(&bundle, NOW).unwrap());
    let renewed = talk.from_bob(b"anew");
    assert_eq!(talk.alice_reads(&renewed).unwrap(), b"anew");
    assert!(!talk.bob.peer(talk.to_alice).unwrap().renewal_due);
    let reply = talk.from_alice(b"heard");
    assert_eq!(talk.bob_reads(&reply).unwrap(), b"heard");
}

/// What was opened lately is a duplicate when it comes again, however many turns ago that was, also after a restart.
#[test]
fn redelivery_is_a_duplicate() {
    let mut talk = Talk::confirmed(2);
    let mut seen = Vec::new();
    for turn in 0..200_u32 {
        let envelope = talk.from_alice(&turn.to_be_bytes());
        talk.bob_reads(&envelope).unwrap();
        seen.push(envelope);
        let reply = talk.from_bob(b"reply");
        talk.alice_reads(&reply).unwrap();
    }
    talk.bob = state(&talk.bob).restore();
    for envelope in &seen {
        assert_eq!(talk.bob_reads(envelope), Err(OpenError::Duplicate));
    }
}

/// An application that does what it is told and nothing else: bundles that are wanted, controls that are owed.
struct App {
    device: Device,
    directory: DirectoryEntry,
    read: Vec<Vec<u8>>,
    /// For the other one.
    out: Vec<Vec<u8>>,
}

impl App {
    fn new(device: Device, rng: &mut chacha20::ChaCha20Rng) -> Self {
        let mut device = device;
        let directory = done(device.publish_prekeys(20, NOW, rng).unwrap()).into_entry().unwrap();
        Self { device, directory, read: Vec::new(), out: Vec::new() }
    }

    fn say(&mut self, peer: Fingerprint, text: &[u8], bundles: &mut DirectoryEntry, rng: &mut chacha20::ChaCha20Rng) {
        for wanted in self.device.bundles_wanted(NOW).collect::<Vec<_>>() {
            assert_eq!(wanted, peer);
            done(self.device.add_peer(&bundles.take_bundle(), NOW).unwrap());
        }
        self.out.push(done(self.device.seal(peer, text, NOW, rng).unwrap()).envelope);
    }

    fn hear(&mut self, envelopes: Vec<Vec<u8>>, rng: &mut chacha20::ChaCha20Rng) {
        for envelope in envelopes {
            let Ok(pending) = self.device.open(&envelope, NOW) else { continue };
            if let Event::Message { content, .. } = done(pending).event {
                self.read.push(content);
            }
        }
        for id in self.device.owed(NOW).map(|(id, _)| id).collect::<Vec<_>>() {
            self.out.push(done(self.device.seal_owed(id, NOW, rng).unwrap()).envelope);
        }
    }
}

/// Put back by one turn or by many: nothing that one of them sends is recognised by the other. Whoever writes notices that
/// nobody answers, within a bounded number of messages, and both hear each other again; nobody was asked.
#[test]
fn both_ends_notice_that_they_hear_nothing_and_renew() {
    for (turns, both_write) in [(1, true), (3, true), (8, false)] {
        let mut talk = Talk::confirmed(3);
        let mut rng = sceau_testkit::rng(9);
        let old = state(&talk.alice);
        for _ in 0..turns {
            let one = talk.from_alice(b"on");
            talk.bob_reads(&one).unwrap();
            let other = talk.from_bob(b"and on");
            talk.alice_reads(&other).unwrap();
        }
        let (to_alice, to_bob) = (talk.to_alice, talk.to_bob);
        let mut alice = App::new(old.restore(), &mut rng);
        let mut bob = App::new(talk.bob, &mut rng);
        let bound = MAX_UNANSWERED + 8;
        let mut heard = None;
        for i in 0..bound {
            alice.say(to_bob, &i.to_be_bytes(), &mut bob.directory, &mut rng);
            if both_write {
                bob.say(to_alice, &i.to_be_bytes(), &mut alice.directory, &mut rng);
            }
            let (hers, his) = (core::mem::take(&mut alice.out), core::mem::take(&mut bob.out));
            bob.hear(hers, &mut rng);
            alice.hear(his, &mut rng);
            if heard.is_none() && !bob.read.is_empty() && (!both_write || !alice.read.is_empty()) {
                heard = Some(i);
            }
        }
        let heard = heard.unwrap_or_else(|| panic!("{turns} turns: nobody was heard"));
        assert!(heard <= MAX_UNANSWERED + 2, "{turns} turns: after {heard}");
        // From then on everything is.
        let last = (bound - 1).to_be_bytes();
        assert_eq!(bob.read.last().unwrap(), &last);
        assert!(!both_write || alice.read.last().unwrap() == &last);
    }
}

/// Who only listens answers now and then, so that nobody who is heard renews.
#[test]
fn listeners_answer_and_nobody_renews() {
    let mut talk = Talk::confirmed(4);
    let mut rng = sceau_testkit::rng(9);
    let session = talk.alice.peer(talk.to_bob).unwrap().session.unwrap().id;
    let mut answers = 0;
    for i in 0..3 * MAX_UNANSWERED {
        let envelope = talk.from_alice(&i.to_be_bytes());
        let opened = bob_opens(&mut talk, &envelope);
        let owed: Vec<_> = talk.bob.owed(NOW).collect();
        let noticed = opened.notices.iter().any(|notice| matches!(notice, Notice::Owed(_)));
        assert_eq!(noticed, !owed.is_empty());
        for (id, peer) in owed {
            assert_eq!(peer, talk.to_alice);
            talk.bob = state(&talk.bob).restore();
            let answer = done(talk.bob.seal_owed(id, NOW, &mut rng).unwrap());
            assert_eq!(talk.bob.owed(NOW).count(), 0);
            // Three of four answers are lost.
            answers += 1;
            if answers % 4 == 0 {
                let heard = done(talk.alice.open(&answer.envelope, NOW).unwrap());
                assert_eq!(heard.event, Event::Control { from: talk.to_bob });
            }
        }
    }
    assert!(answers >= 3 * MAX_UNANSWERED / ANSWER_AFTER - 4, "{answers}");
    assert_eq!(talk.alice.peer(talk.to_bob).unwrap().session.unwrap().id, session);
    // Nobody answers for whom the application has not accepted.
    let mut talk = Talk::new(5);
    for _ in 0..2 * ANSWER_AFTER {
        let envelope = talk.from_alice(b"hello?");
        bob_opens(&mut talk, &envelope);
        assert_eq!(talk.bob.owed(NOW).count(), 0);
    }
    done(talk.bob.accept_peer(talk.to_alice).unwrap());
    assert_eq!(talk.bob.owed(NOW).count(), 1);
    done(talk.bob.block(talk.to_alice).unwrap());
    assert_eq!(talk.bob.owed(NOW).count(), 0);
}

/// An introduction of which none of the first messages came: the receiver says so, and the sender has stopped or renewed.
#[test]
fn lost_introduction_is_said_and_renewed() {
    // Left alone, the sender asks for a bundle and begins anew.
    let mut talk = Talk::new(6);
    let mut last = Vec::new();
    for i in 0..MAX_UNANSWERED {
        assert_eq!(talk.alice.bundles_wanted(NOW).count(), 0);
        last = talk.from_alice(&i.to_be_bytes());
    }
    assert_eq!(talk.alice.bundles_wanted(NOW).collect::<Vec<_>>(), [talk.to_bob]);
    done(talk.alice.add_peer(&talk.directory.take_bundle(), NOW).unwrap());
    let (owed, to) = talk.alice.owed(NOW).next().unwrap();
    assert_eq!(to, talk.to_bob);
    let anew = done(talk.alice.seal_owed(owed, NOW, &mut talk.rng).unwrap());
    assert!(anew.renews && anew.mailbox.is_none() && talk.alice.owed(NOW).count() == 0);
    assert_ne!(anew.envelope[2..1_972], last[2..1_972]);
    done(talk.bob.open(&anew.envelope, NOW).unwrap());
    last = talk.from_alice(b"heard");
    assert_eq!(talk.bob_reads(&last).unwrap(), b"heard");

    let mut talk = Talk::new(7);
    talk.alice_never_renews();
    for _ in 0..=MAX_FIRST_JUMP {
        last = talk.from_alice(b"x");
    }
    let before = state(&talk.alice);
    let stopped = talk.alice.seal(talk.to_bob, b"x", NOW, &mut talk.rng).map(drop);
    assert_eq!(stopped, Err(sceau::error::SealError::ChainExhausted));
    assert_eq!(state(&talk.alice), before);
    assert_eq!(content(bob_opens(&mut talk, &last)), b"x", "the farthest that may be");
}

/// A store that is put back and a twin that goes on: whatever happens, no restored disk is lost.
#[test]
fn restored_devices_restore_again() {
    let mut talk = Talk::confirmed(8);
    for _ in 0..5 {
        let envelope = talk.from_alice(b"on");
        talk.bob_reads(&envelope).unwrap();
        talk.bob = Disk::of(&talk.bob).restore();
        talk.alice = Disk::of(&talk.alice).restore();
    }
}

fn days(count: u64) -> UnixTime {
    NOW.plus(count * 86_400)
}

/// Bob's prekeys are gone with his state, or were replaced when it was recovered: what Alice had used of them opens nothing, and a fresh
/// bundle does. Bob himself writes nothing.
#[test]
fn who_lost_its_prekeys_is_heard_again() {
    for recovers in [false, true] {
        let mut talk = Talk::new(16);
        let backup = state(&talk.bob);
        let first = talk.from_alice(b"first");
        talk.bob_reads(&first).unwrap();
        let reply = talk.from_bob(b"reply");
        talk.alice_reads(&reply).unwrap();
        let upload = if recovers {
            let records = backup.records().iter().map(|(key, bytes)| (*key, bytes));
            let recovered = Device::recover(records, Policy::default(), 3, NOW.plus(1), &mut talk.rng).unwrap();
            talk.bob = recovered.device;
            recovered.upload
        } else {
            let identity = sceau::IdentityKeyPair::from_state(talk.bob.identity().to_state().expose()).unwrap();
            talk.bob = Device::with_identity(identity, &mut talk.rng);
            done(talk.bob.publish_prekeys(3, NOW.plus(1), &mut talk.rng).unwrap())
        };
        assert!(talk.directory.update(upload).unwrap());
        let mut lost = 0;
        loop {
            for wanted in talk.alice.bundles_wanted(NOW).collect::<Vec<_>>() {
                assert_eq!(wanted, talk.to_bob);
                done(talk.alice.add_peer(&talk.directory.take_bundle(), NOW).unwrap());
            }
            let envelope = talk.from_alice(b"hello?");
            match talk.bob.open(&envelope, NOW.plus(2)) {
                Ok(opened) => break assert_eq!(content(done(opened)), b"hello?"),
                Err(_) => lost += 1,
            }
            assert!(lost <= MAX_UNANSWERED, "Bob never hears Alice");
        }
    }
}

/// A device that was recovered asks for bundles of all with whom it had sessions, and owes them introductions: nobody has to write
/// first. If a peer was faster, nothing is owed to it.
#[test]
fn recovered_devices_introduce_themselves() {
    for peer_was_faster in [false, true] {
        let mut talk = Talk::confirmed(14);
        let backup = state(&talk.alice);
        let records = backup.records().iter().map(|(key, bytes)| (*key, bytes));
        let recovered = Device::recover(records, Policy::default(), 3, NOW, &mut talk.rng).unwrap();
        talk.alice = recovered.device;
        let mut directory = recovered.upload.into_entry().unwrap();
        assert_eq!(talk.alice.bundles_wanted(NOW).collect::<Vec<_>>(), [talk.to_bob]);
        if peer_was_faster {
            done(talk.bob.renew(talk.to_alice, &directory.take_bundle(), NOW, &mut talk.rng).unwrap());
            let anew = talk.from_bob(b"anew");
            assert_eq!(talk.alice_reads(&anew).unwrap(), b"anew");
            assert!(!talk.alice.peer(talk.to_bob).unwrap().renewal_due);
            assert_eq!(talk.alice.bundles_wanted(NOW).count() + talk.alice.owed(NOW).count(), 0);
        } else {
            done(talk.alice.add_peer(&talk.directory.take_bundle(), NOW).unwrap());
            let (owed, _) = talk.alice.owed(NOW).next().unwrap();
            let anew = done(talk.alice.seal_owed(owed, NOW, &mut talk.rng).unwrap());
            assert_eq!(bob_opens(&mut talk, &anew.envelope).event, Event::Control { from: talk.to_alice });
        }
        let envelope = talk.from_bob(b"on the new session");
        assert_eq!(talk.alice_reads(&envelope).unwrap(), b"on the new session");
    }
}

/// Of one backup, two recoveries: neither writes into the other's store.
#[test]
fn recoveries_do_not_mix() {
    let talk = Talk::confirmed(12);
    let backup = state(&talk.alice);
    let mut devices = [1, 2].map(|seed| {
        let records = backup.records().iter().map(|(key, bytes)| (*key, bytes));
        Device::recover(records, Policy::default(), 3, NOW, &mut sceau_testkit::rng(seed)).unwrap().device
    });
    let [one, other] = [0, 1].map(|of: usize| state(&devices[of]).records()[&RecordKey::HEAD].clone());
    let write = |device: &mut Device, head: &[u8]| {
        let pending = device.publish_prekeys(1, NOW, &mut sceau_testkit::rng(3)).unwrap();
        pending.commit(|changes| changes.after(Some(head)).map(drop)).map(drop)
    };
    assert_eq!(write(&mut devices[0], &other), Err(Stale));
    assert_eq!(write(&mut devices[0], &one), Ok(()));
}

/// An introduction that comes when its prekeys are gone is answered by nobody. Its author knows that it may be so, and begins anew.
#[test]
fn introductions_older_than_prekeys_are_made_anew() {
    let mut talk = Talk::new(4);
    let first = talk.from_alice(b"hello");
    let upload = done(talk.bob.publish_prekeys(3, days(61), &mut talk.rng).unwrap());
    assert!(talk.directory.update(upload).unwrap());
    assert_eq!(talk.bob.open(&first, days(61)).map(drop), Err(OpenError::PreKeyGone));
    assert_eq!(talk.alice.bundles_wanted(days(30)).count(), 0);
    assert_eq!(talk.alice.bundles_wanted(days(61)).collect::<Vec<_>>(), [talk.to_bob]);
    done(talk.alice.add_peer(&talk.directory.take_bundle(), days(61)).unwrap());
    let again = done(talk.alice.seal(talk.to_bob, b"again", days(61), &mut talk.rng).unwrap());
    assert!(again.renews);
    assert_eq!(content(done(talk.bob.open(&again.envelope, days(61)).unwrap())), b"again");
}

/// Renewals of which the first are lost alarm nobody when the last one comes: each shows a session that the peer is known to hold.
#[test]
fn lost_renewals_alarm_nobody() {
    let mut talk = Talk::confirmed(2);
    let mut policy = talk.alice.policy().clone();
    policy.unanswered = 4;
    talk.alice.set_policy(policy);
    let mut last = Vec::new();
    for _ in 0..12 {
        for _ in talk.alice.bundles_wanted(NOW).collect::<Vec<_>>() {
            done(talk.alice.add_peer(&talk.directory.take_bundle(), NOW).unwrap());
        }
        last = talk.from_alice(b"lost but for the last");
    }
    let notices = bob_opens(&mut talk, &last).notices;
    assert!(notices.contains(&Notice::Renewed(talk.to_alice)), "{notices:?}");
}

/// Bob comes from a backup, and his introduction is lost. He only reads; it is sent again each day, and no more often.
#[test]
fn lost_renewal_is_sent_again() {
    let mut talk = Talk::confirmed(8);
    let upload = done(talk.alice.publish_prekeys(3, NOW, &mut talk.rng).unwrap());
    let mut directory = upload.into_entry().unwrap();
    let recovered = Device::recover(
        state(&talk.bob).records().iter().map(|(key, bytes)| (*key, bytes)),
        Policy::default(),
        3,
        NOW,
        &mut talk.rng,
    );
    talk.bob = recovered.unwrap().device;
    done(talk.bob.add_peer(&directory.take_bundle(), NOW).unwrap());
    let day = 86_400;
    let mut sent = Vec::new();
    for hour in 0..5 * 24 {
        let now = NOW.plus(hour * day / 24);
        for (id, _) in talk.bob.owed(now).collect::<Vec<_>>() {
            sent.push((hour, done(talk.bob.seal_owed(id, now, &mut talk.rng).unwrap()).envelope));
        }
        talk.bob = state(&talk.bob).restore();
    }
    // Its rank is a second later than the backup's.
    assert_eq!(sent.iter().map(|(hour, _)| *hour).collect::<Vec<_>>(), [0, 25, 49, 73, 97]);
    // The third one arrives.
    let opened = done(talk.alice.open(&sent[2].1, NOW.plus(2 * day)).unwrap());
    assert!(opened.notices.contains(&Notice::Renewed(talk.to_bob)), "{:?}", opened.notices);
    let answer = done(talk.alice.seal(talk.to_bob, b"answer", NOW.plus(5 * day), &mut talk.rng).unwrap()).envelope;
    assert_eq!(content(done(talk.bob.open(&answer, NOW.plus(5 * day)).unwrap())), b"answer");
    assert_eq!(talk.bob.owed(NOW.plus(9 * day)).count(), 0, "it was answered");
}

/// Rows of two moments, each of which says of another session that it is the one to send on.
#[test]
fn rows_of_two_moments_make_a_device() {
    let mut talk = Talk::confirmed(9);
    let old = state(&talk.alice);
    let bundle = talk.directory.take_bundle();
    done(talk.alice.renew(talk.to_bob, &bundle, NOW.plus(9), &mut talk.rng).unwrap());
    let mut mixed = state(&talk.alice);
    for (key, bytes) in old.records().iter().filter(|(key, _)| key.kind() == 6) {
        mixed.records_mut().insert(*key, bytes.clone());
    }
    let records = || mixed.records().iter().map(|(key, bytes)| (*key, bytes));
    assert!(Device::restore(records(), Policy::default()).is_err());
    let recovered = Device::recover(records(), Policy::default(), 1, NOW, &mut talk.rng).unwrap();
    assert_eq!(recovered.lost, []);
    let status = recovered.device.peer(talk.to_bob).unwrap();
    assert_eq!((status.fading, status.renewal_due), (1, true));
    assert!(status.session.is_some_and(|session| !session.confirmed), "the later one");
    assert_eq!(state(&state(&recovered.device).restore()), state(&recovered.device));
}
