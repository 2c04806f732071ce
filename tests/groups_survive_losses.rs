//! What was lost after it was stored, by a crash, a backup or a relay, is mended; what a stranger says of a group is not believed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test is to fail loudly"
)]

use sceau::certificate::{CertificateDemand, IssuerKeyPair, RootKeyPair};
use sceau::device::{Delivery, Event, GroupChange, GroupEvent, Search};
use sceau::error::{GroupError, OpenError, SealError};
use sceau::group::{GroupId, GroupPolicy, Role};
use sceau::{Device, Fingerprint, Notice, Policy};
use sceau_testkit::talk::{NOW, done};
use sceau_testkit::{Disk, certify};

type Rng = chacha20::ChaCha20Rng;

/// Two or more devices, the first of which knows all others and has brought the second into a group.
struct Circle {
    devices: Vec<Device>,
    group: GroupId,
    rng: Rng,
}

impl Circle {
    fn new(count: usize, seed: u64) -> Self {
        let mut rng = sceau_testkit::rng(seed);
        let mut devices: Vec<Device> = (0..count).map(|_| Device::generate(&mut rng)).collect();
        let mut bundles: Vec<_> = devices
            .iter_mut()
            .map(|d| done(d.publish_prekeys(9, NOW, &mut rng).unwrap()).into_entry().unwrap())
            .collect();
        for (from, device) in devices.iter_mut().enumerate() {
            for (_, bundles) in bundles.iter_mut().enumerate().filter(|(to, _)| *to != from) {
                done(device.add_peer(&bundles.take_bundle(), NOW).unwrap());
            }
        }
        let group = done(devices[0].create_group(GroupPolicy::default(), &mut rng).unwrap());
        let mut circle = Self { devices, group, rng };
        let adds = [GroupChange::Add(circle.name(1), Role::Member)];
        let committed = done(circle.devices[0].commit_group(group, &adds, NOW, &mut circle.rng).unwrap());
        circle.deliver(committed.deliveries);
        circle.prepare(0);
        circle
    }

    fn name(&self, device: usize) -> Fingerprint {
        self.devices[device].fingerprint()
    }

    fn deliver(&mut self, deliveries: Vec<Delivery>) -> Vec<Event> {
        let mut events = Vec::new();
        for delivery in deliveries {
            let to = self.devices.iter_mut().find(|device| device.fingerprint() == delivery.to).unwrap();
            events.push(done(to.open(&delivery.envelope, NOW).unwrap()).event);
        }
        events
    }

    fn prepare(&mut self, device: usize) -> usize {
        let ready = done(self.devices[device].prepare_group(self.group, NOW, &mut self.rng).unwrap());
        self.deliver(ready.deliveries).len()
    }

    fn seal(&mut self, device: usize) -> (Vec<u8>, Vec<Delivery>) {
        let sealed = done(self.devices[device].seal_group(self.group, b"text", NOW, &mut self.rng).unwrap());
        (sealed.envelope, sealed.deliveries)
    }

    fn reads(&mut self, device: usize, envelope: &[u8]) -> Result<(), OpenError> {
        self.devices[device].open(envelope, NOW).map(|pending| drop(done(pending)))
    }
}

#[test]
fn restored_backup_begins_new_chains() {
    let mut circle = Circle::new(2, 1);
    circle.prepare(1);
    circle.prepare(0);
    circle.seal(0);
    let backup = Disk::of(&circle.devices[0]);
    for _ in 0..20 {
        let (envelope, _) = circle.seal(0);
        circle.reads(1, &envelope).unwrap();
    }
    circle.devices[0] = backup.restore();
    // Without the step, what is written goes where others have read already.
    let (lost, _) = circle.seal(0);
    assert_eq!(circle.reads(1, &lost), Err(OpenError::Duplicate));

    circle.devices[0] = backup.restore();
    let me = circle.name(0);
    let bundle = done(circle.devices[1].publish_prekeys(1, NOW, &mut circle.rng).unwrap())
        .into_entry()
        .expect("signed")
        .take_bundle();
    let peer = circle.name(1);
    done(circle.devices[0].renew(peer, &bundle, NOW, &mut circle.rng).unwrap());
    assert_eq!(done(circle.devices[0].renew_chains()), 1);
    assert_eq!(circle.prepare(0), 1);
    for _ in 0..3 {
        let (envelope, deliveries) = circle.seal(0);
        assert!(deliveries.is_empty());
        circle.reads(1, &envelope).unwrap();
    }
    assert_eq!(circle.devices[1].group(circle.group).unwrap().chains, 2, "{me}: the old chain goes on being read");
}

#[test]
fn lost_announcement_is_made_again_on_demand_and_on_a_new_introduction() {
    let mut circle = Circle::new(2, 2);
    let (one, zero) = (circle.name(1), circle.name(0));
    // The member's chain was sealed, stored, and never left.
    let lost = done(circle.devices[1].prepare_group(circle.group, NOW, &mut circle.rng).unwrap());
    assert_eq!(lost.deliveries.len(), 1);
    assert_eq!(circle.prepare(1), 1, "the answer to the other's chain");
    assert_eq!(circle.prepare(1), 0, "nothing is owed any more");
    let (envelope, _) = circle.seal(1);
    assert_eq!(circle.reads(0, &envelope), Err(OpenError::Unknown));

    done(circle.devices[1].announce_again(circle.group, zero).unwrap());
    let owed = done(circle.devices[1].seal_group_owed(circle.group, NOW, &mut circle.rng).unwrap());
    let events = circle.deliver(owed.deliveries);
    assert!(matches!(events[..], [Event::Group { what: GroupEvent::ChainAnnounced, from, .. }] if from == one));
    let (envelope, _) = circle.seal(1);
    circle.reads(0, &envelope).unwrap();
    let stranger = Fingerprint::from_bytes([7; 32]);
    assert!(circle.devices[1].announce_again(circle.group, stranger).is_err());

    // Whoever introduces itself anew may have lost what was sealed on the session before.
    let owed = |circle: &Circle, device: usize| circle.devices[device].group(circle.group).unwrap().owed;
    let acknowledged = done(circle.devices[0].seal_group_owed(circle.group, NOW, &mut circle.rng).unwrap());
    circle.deliver(acknowledged.deliveries);
    let before = owed(&circle, 1);
    let bundle = done(circle.devices[1].publish_prekeys(1, NOW, &mut circle.rng).unwrap())
        .into_entry()
        .expect("signed")
        .take_bundle();
    done(circle.devices[0].renew(one, &bundle, NOW, &mut circle.rng).unwrap());
    assert_eq!(owed(&circle, 0), 1, "who renews owes its chain");
    let hello = done(circle.devices[0].seal(one, b"anew", NOW, &mut circle.rng).unwrap());
    let opened = done(circle.devices[1].open(&hello.envelope, NOW).unwrap());
    assert!(opened.notices.contains(&Notice::GroupOwed(circle.group)));
    assert_eq!((before, owed(&circle, 1)), (0, 1), "and so does who is met anew");
}

/// The first message of whoever introduces itself anew may be a chain: it is answered, and this device's chains are owed, of
/// this group and of others.
#[test]
fn introduction_with_a_chain_is_answered_with_all_chains() {
    let mut circle = Circle::new(2, 8);
    let (one, first) = (circle.name(1), circle.group);
    let second = done(circle.devices[0].create_group(GroupPolicy::default(), &mut circle.rng).unwrap());
    let adds = [GroupChange::Add(one, Role::Member)];
    let committed = done(circle.devices[0].commit_group(second, &adds, NOW, &mut circle.rng).unwrap());
    circle.deliver(committed.deliveries);
    for group in [first, second] {
        circle.group = group;
        for device in [1, 0, 1] {
            circle.prepare(device);
        }
        let owed = done(circle.devices[0].seal_group_owed(group, NOW, &mut circle.rng).unwrap());
        circle.deliver(owed.deliveries);
    }
    let owed = |circle: &Circle| [first, second].map(|group| circle.devices[1].group(group).unwrap().owed);
    assert_eq!(owed(&circle), [0, 0]);

    done(circle.devices[0].renew_chains());
    let bundle = done(circle.devices[1].publish_prekeys(1, NOW, &mut circle.rng).unwrap())
        .into_entry()
        .expect("signed")
        .take_bundle();
    done(circle.devices[0].renew(one, &bundle, NOW, &mut circle.rng).unwrap());
    circle.group = first;
    assert_eq!(circle.prepare(0), 1);
    assert_eq!(owed(&circle), [1, 1]);
    let mut said = Vec::new();
    for _ in 0..3 {
        let owed = done(circle.devices[1].seal_group_owed(first, NOW, &mut circle.rng).unwrap());
        said.extend(circle.deliver(owed.deliveries));
    }
    let received = |event: &Event| matches!(event, Event::Group { what: GroupEvent::ChainReceived, .. });
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said.iter().any(received), "{said:?}");
}

/// Gives what was chosen: a group's id is all that is drawn when it is made.
struct Chosen([u8; 32]);
impl sceau::rand_core::TryRng for Chosen {
    type Error = core::convert::Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(7)
    }
    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(7)
    }
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        let len = bytes.len().min(32);
        bytes[..len].copy_from_slice(&self.0[..len]);
        Ok(())
    }
}
impl sceau::rand_core::TryCryptoRng for Chosen {}

/// A stranger who knows the group's id: its welcome into a roster of its own is no fork, once anything was built on one's own.
#[test]
fn strangers_make_no_fork() {
    let mut circle = Circle::new(3, 3);
    let id = circle.group;
    let policy = [GroupChange::SetPolicy(GroupPolicy { max_messages: 50, max_age: 1_000 })];
    let committed = done(circle.devices[0].commit_group(id, &policy, NOW, &mut circle.rng).unwrap());
    circle.deliver(committed.deliveries);

    let forged = done(circle.devices[2].create_group(GroupPolicy::default(), &mut Chosen(*id.as_bytes())).unwrap());
    assert_eq!(forged, id);
    let adds = [GroupChange::Add(circle.name(1), Role::Member)];
    let committed = done(circle.devices[2].commit_group(id, &adds, NOW, &mut circle.rng).unwrap());
    let events = circle.deliver(committed.deliveries);
    assert!(matches!(events[..], [Event::Group { what: GroupEvent::Refused, .. }]), "{events:?}");
    let (envelope, _) = circle.seal(0);
    circle.reads(1, &envelope).unwrap();
}

/// A member that was away while another one began many chains reads all of them, whatever came first.
#[test]
fn announcements_that_come_at_once_lose_no_message() {
    let mut circle = Circle::new(2, 4);
    let policy = [GroupChange::SetPolicy(GroupPolicy { max_messages: 2, max_age: 1_000_000 })];
    let committed = done(circle.devices[0].commit_group(circle.group, &policy, NOW, &mut circle.rng).unwrap());
    circle.deliver(committed.deliveries);
    let (mut announced, mut envelopes) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        let (envelope, deliveries) = circle.seal(0);
        announced.extend(deliveries);
        envelopes.push(envelope);
    }
    assert!(announced.len() >= 9);
    circle.deliver(announced);
    for envelope in &envelopes {
        circle.reads(1, envelope).unwrap();
    }
}

/// What is opened can be stored with the records that change, and is not lost by a crash behind it.
#[test]
fn result_is_stored_with_the_records() {
    let mut circle = Circle::new(2, 5);
    let one = circle.name(1);
    let mut outbox = Vec::new();
    let pending = circle.devices[0].seal(one, b"text", NOW, &mut circle.rng).unwrap();
    pending
        .commit_with(|changes, envelope| {
            outbox.push(envelope.clone());
            assert!(!changes.is_empty());
            Ok::<_, ()>(())
        })
        .unwrap();
    let read = |event: &Event| match event {
        Event::Message { content, .. } => content.clone(),
        other => panic!("{other:?}"),
    };
    // A store that refuses: nothing has changed, and the same can be opened again.
    let pending = circle.devices[1].open(&outbox[0].envelope, NOW).unwrap();
    let mut seen = Vec::new();
    let refused = pending.commit_with(|_, opened| {
        seen.push(read(&opened.event));
        Err("full")
    });
    assert_eq!(refused.unwrap_err(), "full");
    let pending = circle.devices[1].open(&outbox[0].envelope, NOW).unwrap();
    let opened = pending
        .commit_with(|_, opened| {
            seen.push(read(&opened.event));
            Ok::<_, ()>(())
        })
        .unwrap();
    assert_eq!(seen, [b"text", b"text"]);
    assert_eq!(read(&opened.event), b"text");
}

/// A clock that ran ten years ahead once does not keep old keys for ten years.
#[test]
fn keys_of_a_clock_that_ran_ahead_are_replaced() {
    let mut circle = Circle::new(2, 6);
    let ahead = NOW.plus(10 * 365 * 86_400);
    let rng = &mut circle.rng;
    done(circle.devices[0].publish_prekeys(0, ahead, rng).unwrap());
    assert!(circle.devices[0].prekey_status().signed_not_after.unwrap() > ahead);
    done(circle.devices[0].publish_prekeys(0, NOW, rng).unwrap());
    assert!(circle.devices[0].prekey_status().signed_not_after.unwrap() < NOW.plus(31 * 86_400));

    let sealed = done(circle.devices[0].seal_group(circle.group, b"ahead", ahead, rng).unwrap());
    circle.deliver(sealed.deliveries);
    let (envelope, deliveries) = circle.seal(0);
    assert_eq!(circle.deliver(deliveries).len(), 1, "a new chain");
    circle.reads(1, &envelope).unwrap();
}

/// What waits for a group that does not come is gone after two weeks.
#[test]
fn what_waits_in_vain_is_forgotten() {
    let mut circle = Circle::new(2, 7);
    done(circle.devices[1].forget_group(circle.group).unwrap());
    let policy = [GroupChange::SetPolicy(GroupPolicy { max_messages: 50, max_age: 1_000 })];
    let committed = done(circle.devices[0].commit_group(circle.group, &policy, NOW, &mut circle.rng).unwrap());
    let events = circle.deliver(committed.deliveries);
    assert!(matches!(events[..], [Event::Group { what: GroupEvent::Waiting, .. }]), "{events:?}");
    let device = &mut circle.devices[1];
    let waits = |device: &Device| Disk::of(device).records().keys().any(|key| key.as_bytes()[0] == 13);
    assert!(waits(device));
    *device = Disk::of(device).restore();
    let end = NOW.plus(14 * 86_400);
    done(device.maintain(end));
    assert!(waits(device));
    assert_eq!(done(device.maintain(end.plus(1))), 1);
    assert!(!waits(device));
    assert_eq!(Disk::of(&Disk::of(device).restore()), Disk::of(device));
}

/// A chain that was replaced, or ended by a commit, is received on for two weeks.
#[test]
fn chains_fade_when_they_were_replaced_or_ended() {
    let (last, over) = (NOW.plus(14 * 86_400), NOW.plus(14 * 86_400 + 1));
    let chains = |circle: &mut Circle, at| {
        let device = &mut circle.devices[1];
        done(device.maintain(at));
        device.group(circle.group).unwrap().chains
    };
    let mut circle = Circle::new(3, 9);
    assert_eq!(chains(&mut circle, over), 1, "it goes on");
    done(circle.devices[0].renew_chains());
    circle.prepare(0);
    assert_eq!(chains(&mut circle, last), 2);
    assert_eq!(chains(&mut circle, over), 1, "the one that was replaced is gone");

    let two = circle.name(2);
    for change in [GroupChange::Add(two, Role::Member), GroupChange::Remove(two)] {
        let committed = done(circle.devices[0].commit_group(circle.group, &[change], NOW, &mut circle.rng).unwrap());
        let to_one = committed.deliveries.into_iter().filter(|delivery| delivery.to != two).collect();
        circle.deliver(to_one);
    }
    assert_eq!(chains(&mut circle, last), 1);
    assert_eq!(chains(&mut circle, over), 0, "the one that was ended is gone");
}

/// What is asked for in vain is said by its name.
#[test]
fn who_is_in_is_not_added_oneself_included() {
    let mut circle = Circle::new(2, 10);
    let (zero, one) = (circle.name(0), circle.name(1));
    let mut commit = |changes: &[GroupChange]| {
        circle.devices[0].commit_group(circle.group, changes, NOW, &mut circle.rng).map(drop).unwrap_err()
    };
    assert_eq!(commit(&[GroupChange::Add(zero, Role::Member)]), GroupError::AlreadyMember);
    assert_eq!(commit(&[GroupChange::Add(one, Role::Member)]), GroupError::AlreadyMember);
    assert_eq!(commit(&[]), GroupError::NoChange);
    let stranger = Fingerprint::from_bytes([7; 32]);
    assert_eq!(commit(&[GroupChange::Add(stranger, Role::Member)]), GroupError::Seal(SealError::UnknownPeer));
}

/// More messages passed over than keys are kept for: how many are lost is told.
#[test]
fn losses_in_a_members_chain_are_told() {
    let mut circle = Circle::new(2, 11);
    let policy = [GroupChange::SetPolicy(GroupPolicy { max_messages: 10_000, max_age: 1_000_000 })];
    let committed = done(circle.devices[0].commit_group(circle.group, &policy, NOW, &mut circle.rng).unwrap());
    circle.deliver(committed.deliveries);
    let zero = circle.name(0);
    let lost = |circle: &mut Circle, passed: usize| {
        for _ in 0..passed {
            circle.seal(0);
        }
        let (envelope, _) = circle.seal(0);
        done(circle.devices[1].search(&envelope, Search::Group(circle.group), NOW).unwrap()).notices
    };
    assert_eq!(lost(&mut circle, 2), []);
    assert_eq!(lost(&mut circle, 2_003), [Notice::MessagesLost { peer: zero, count: 5 }]);
}

/// The answer to a chain was lost: it is given again, each time.
#[test]
fn lost_answers_are_given_again() {
    let mut circle = Circle::new(2, 9);
    let one = circle.name(1);
    circle.prepare(1);
    let answers = |circle: &mut Circle| {
        let owed = done(circle.devices[1].seal_group_owed(circle.group, NOW, &mut circle.rng).unwrap());
        circle.deliver(owed.deliveries)
    };
    let received = |events: &[Event]| matches!(events, [Event::Group { what: GroupEvent::ChainReceived, from, .. }] if *from == one);
    answers(&mut circle);
    assert_eq!(answers(&mut circle), []);
    for _ in 0..2 {
        done(circle.devices[0].announce_again(circle.group, one).unwrap());
        let owed = done(circle.devices[0].seal_group_owed(circle.group, NOW, &mut circle.rng).unwrap());
        let events = circle.deliver(owed.deliveries);
        assert!(matches!(events[..], [Event::Group { what: GroupEvent::Known, .. }]));
        assert!(received(&answers(&mut circle)));
    }
}

/// The welcome was lost, and with it the group: who made it sends it again, with what followed, as long as nothing was heard of
/// the newcomer; nobody else can.
#[test]
fn lost_welcomes_are_sent_again() {
    let mut circle = Circle::new(3, 10);
    let (one, two) = (circle.name(1), circle.name(2));
    for device in [1, 0, 1] {
        circle.prepare(device);
    }
    let adds = [GroupChange::Add(two, Role::Member)];
    let mut lost = done(circle.devices[0].commit_group(circle.group, &adds, NOW, &mut circle.rng).unwrap());
    lost.deliveries.retain(|delivery| delivery.to != two);
    circle.deliver(lost.deliveries);
    let policy = GroupChange::SetPolicy(GroupPolicy { max_messages: 7, max_age: 1_000 });
    let mut lost = done(circle.devices[0].commit_group(circle.group, &[policy], NOW, &mut circle.rng).unwrap());
    lost.deliveries.retain(|delivery| delivery.to != two);
    circle.deliver(lost.deliveries);
    let again = |circle: &mut Circle, device: usize| {
        let mut events = Vec::new();
        done(circle.devices[device].announce_again(circle.group, two).unwrap());
        for _ in 0..4 {
            let owed = done(circle.devices[device].seal_group_owed(circle.group, NOW, &mut circle.rng).unwrap());
            events.extend(circle.deliver(owed.deliveries));
        }
        events
    };
    let whats = |events: Vec<Event>| {
        let what = |event| if let Event::Group { what, .. } = event { what } else { panic!("{event:?}") };
        events.into_iter().map(what).collect::<Vec<_>>()
    };
    let waits = whats(again(&mut circle, 1));
    assert!(waits.iter().all(|what| *what == GroupEvent::Waiting) && circle.devices[2].group(circle.group).is_none());
    let brought = whats(again(&mut circle, 0));
    assert!(brought.contains(&GroupEvent::Joined { epoch: 2 }), "{brought:?}");
    assert_eq!(circle.devices[2].group(circle.group).unwrap().roster.epoch(), 3);
    // It has a chain of who sent the welcome, and of the other, which waited.
    assert_eq!(circle.devices[2].group(circle.group).unwrap().chains, 2);
    // Having spoken, it needs no welcome.
    circle.prepare(2);
    let known = whats(again(&mut circle, 0));
    assert!(!known.iter().any(|what| matches!(what, GroupEvent::Joined { .. })), "{known:?}");
    assert_eq!(circle.devices[0].group(circle.group).unwrap().owed, 0);
    assert!(circle.devices[0].group(circle.group).unwrap().roster.member(one).is_some());
}

/// What went with an introduction that was refused for want of a certificate, or on a session that was dropped, is owed
/// again: chains and welcomes.
#[test]
fn what_refused_introductions_held_is_owed_again() {
    let mut circle = Circle::new(3, 11);
    let two = circle.name(2);
    let (root, issuer) = (RootKeyPair::generate(&mut circle.rng), IssuerKeyPair::generate(&mut circle.rng));
    let authority = root.certify(issuer.public(), NOW.plus(90 * 86_400));
    for device in 0..2 {
        let identity = circle.devices[device].identity();
        let certificate = certify(&issuer, &authority, identity, b"someone@example.org", NOW.plus(86_400));
        done(circle.devices[device].set_certificate(Some(certificate)).unwrap());
    }
    let mut policy = Policy::default();
    policy.certificates.roots.push(root.public());
    policy.certificates.demand = CertificateDemand::Required;
    circle.devices[2].set_policy(policy);
    for device in [1, 0, 1] {
        circle.prepare(device);
    }
    let adds = [GroupChange::Add(two, Role::Member)];
    let refused = |circle: &mut Circle, deliveries: Vec<Delivery>| {
        let (refused, others): (Vec<_>, Vec<_>) = deliveries.into_iter().partition(|delivery| delivery.to == two);
        circle.deliver(others);
        for delivery in refused {
            let error = circle.devices[2].open(&delivery.envelope, NOW).err();
            assert!(matches!(error, Some(OpenError::Uncertified(..))), "{error:?}");
        }
    };
    let committed = done(circle.devices[0].commit_group(circle.group, &adds, NOW, &mut circle.rng).unwrap());
    refused(&mut circle, committed.deliveries);
    for device in 0..2 {
        let ready = done(circle.devices[device].prepare_group(circle.group, NOW, &mut circle.rng).unwrap());
        refused(&mut circle, ready.deliveries);
        assert_eq!(circle.devices[device].group(circle.group).unwrap().owed, 0);
    }
    // People write: now they are shown who it is, and what was said before comes again.
    for device in 0..2 {
        let hello = done(circle.devices[device].seal(two, b"hello", NOW, &mut circle.rng).unwrap());
        done(circle.devices[2].open(&hello.envelope, NOW).unwrap());
        assert_eq!(circle.devices[device].group(circle.group).unwrap().owed, 1);
        for _ in 0..3 {
            let owed = done(circle.devices[device].seal_group_owed(circle.group, NOW, &mut circle.rng).unwrap());
            circle.deliver(owed.deliveries);
        }
    }
    let status = circle.devices[2].group(circle.group).unwrap();
    assert_eq!((status.member, status.chains), (true, 2));

    // A peer without a session here introduces itself anew: it may have lost everything.
    circle.prepare(2);
    for device in [0, 1, 0] {
        circle.prepare(device);
    }
    let zero = circle.name(0);
    done(circle.devices[0].drop_sessions(two, &mut circle.rng).unwrap());
    let bundle = done(circle.devices[0].publish_prekeys(1, NOW, &mut circle.rng).unwrap())
        .into_entry()
        .expect("signed")
        .take_bundle();
    done(circle.devices[2].renew(zero, &bundle, NOW, &mut circle.rng).unwrap());
    let hello = done(circle.devices[2].seal(zero, b"anew", NOW, &mut circle.rng).unwrap());
    let opened = done(circle.devices[0].open(&hello.envelope, NOW).unwrap());
    assert!(opened.notices.contains(&Notice::GroupOwed(circle.group)));
    assert_eq!(circle.devices[0].group(circle.group).unwrap().owed, 1);
}

/// The relay has turned two announcements round: the chain that is in use is not deleted for that.
#[test]
fn chains_are_kept_for_as_long_as_they_may_be_used() {
    let day = 86_400;
    let mut circle = Circle::new(2, 12);
    let policy = GroupChange::SetPolicy(GroupPolicy { max_messages: 1_000, max_age: 60 * day });
    let committed = done(circle.devices[0].commit_group(circle.group, &[policy], NOW, &mut circle.rng).unwrap());
    circle.deliver(committed.deliveries);
    let [first, second] = [(); 2].map(|()| {
        done(circle.devices[0].renew_chains());
        done(circle.devices[0].prepare_group(circle.group, NOW, &mut circle.rng).unwrap()).deliveries
    });
    circle.deliver(second);
    circle.deliver(first);
    for days in 1..60 {
        let now = NOW.plus(days * day);
        done(circle.devices[1].maintain(now));
        let sealed = done(circle.devices[0].seal_group(circle.group, b"text", now, &mut circle.rng).unwrap());
        done(circle.devices[1].open(&sealed.envelope, now).unwrap());
    }
    assert_eq!(circle.devices[1].group(circle.group).unwrap().chains, 3);
    done(circle.devices[1].maintain(NOW.plus(61 * day)));
    assert_eq!(circle.devices[1].group(circle.group).unwrap().chains, 1);
}

/// The address is that of the chain which the message is sealed with, also when that has just begun.
#[test]
fn group_messages_come_with_their_mailbox() {
    let mut circle = Circle::new(2, 13);
    for _ in 0..2 {
        done(circle.devices[0].renew_chains());
        let before = circle.devices[0].group_mailbox(circle.group);
        let sealed = done(circle.devices[0].seal_group(circle.group, b"text", NOW, &mut circle.rng).unwrap());
        assert_eq!((before, circle.devices[0].group_mailbox(circle.group)), (None, Some(sealed.mailbox)));
        circle.deliver(sealed.deliveries);
        assert!(circle.devices[1].group_mailboxes(circle.group).any(|address| address == sealed.mailbox));
        circle.reads(1, &sealed.envelope).unwrap();
    }
}
