//! Whatever a relay withholds, reorders, replays or splits: members with different rosters never read each other as if
//! nothing were wrong. Each test says who notices, when, and by what.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test is to fail loudly"
)]

use sceau::device::{GroupChange, GroupEvent};
use sceau::error::{OpenError, SealError};
use sceau::group::{GroupPolicy, Role};
use sceau::{Device, Event, Record};
use sceau_testkit::crowd::{Flying, Party};
use sceau_testkit::talk::done;
use sceau_testkit::{Crowd, Disk};

fn take(crowd: &mut Crowd) -> Vec<Flying> {
    core::mem::take(&mut crowd.queue)
}

fn last_event(crowd: &Crowd, party: usize) -> &GroupEvent {
    crowd.parties[party].events.last().unwrap()
}

/// Opens without what an application does about it.
fn open(crowd: &mut Crowd, party: usize, bytes: &[u8]) -> Result<Event, OpenError> {
    let now = crowd.now;
    crowd.parties[party].device.open(bytes, now).map(|pending| done(pending).event)
}

/// Everyone has everyone's chain.
fn talking(members: usize, seed: u64) -> Crowd {
    let mut crowd = Crowd::together(members, seed);
    for party in 0..members {
        crowd.say(party, b"hello").unwrap();
        crowd.flush();
    }
    crowd
}

/// Withheld: the member itself notices, at the first message that names a later epoch.
#[test]
fn withheld_addition() {
    let mut crowd = talking(3, 1);
    let newcomer_free = crowd.name(1);
    crowd.commit(0, &[GroupChange::SetRole(newcomer_free, Role::Admin)]).unwrap();
    let commits = take(&mut crowd);
    for flying in commits.iter().filter(|flying| flying.to != 2) {
        crowd.deliver(flying);
    }
    crowd.say(1, b"in the new epoch").unwrap();
    let message = take(&mut crowd).into_iter().find(|flying| flying.to == 2).unwrap();
    let missing = OpenError::CommitMissing(crowd.group(), newcomer_free);
    assert_eq!(open(&mut crowd, 2, &message.bytes).unwrap_err(), missing);
    // It comes late, and the message opens.
    let late = commits.iter().find(|flying| flying.to == 2).unwrap();
    assert!(matches!(
        open(&mut crowd, 2, &late.bytes),
        Ok(Event::Group { what: GroupEvent::Changed { epoch: 2, .. }, .. })
    ));
    assert!(matches!(open(&mut crowd, 2, &message.bytes), Ok(Event::GroupMessage { epoch: 2, .. })));
}

/// A withheld removal: whoever does not know of it speaks under the old roster; the others see by the epoch that it
/// did not know, and it learns as soon as it is spoken to.
#[test]
fn withheld_removal() {
    let mut crowd = talking(4, 2);
    let removed = crowd.name(3);
    crowd.commit(0, &[GroupChange::Remove(removed)]).unwrap();
    let commits = take(&mut crowd);
    for flying in commits.iter().filter(|flying| flying.to != 2) {
        crowd.deliver(flying);
    }
    crowd.say(2, b"unaware").unwrap();
    let unaware = take(&mut crowd).into_iter().find(|flying| flying.to == 1).unwrap();
    assert!(matches!(open(&mut crowd, 1, &unaware.bytes), Ok(Event::GroupMessage { epoch: 1, .. })), "marked as old");
    // The others speak on new chains: to member 2 their envelopes are unknown until the announcements come, and those
    // name an epoch that it lacks.
    crowd.say(0, b"aware").unwrap();
    crowd.queue.retain(|flying| flying.to == 2);
    let heard: Vec<Flying> = take(&mut crowd);
    for flying in &heard {
        crowd.deliver(flying);
    }
    assert_eq!(last_event(&crowd, 2), &GroupEvent::Waiting);
    // It has asked; the relay lets that through.
    crowd.flush();
    assert!(matches!(
        crowd.parties[2].events.iter().rev().find(|event| matches!(event, GroupEvent::Changed { .. })),
        Some(GroupEvent::Changed { epoch: 2, .. })
    ));
    assert!(crowd.agrees());
    assert_eq!(crowd.read_after_removal, 0);
}

/// Reordered: the second commit waits for the first.
#[test]
fn reordered_commits() {
    let mut crowd = talking(3, 3);
    let one = crowd.name(1);
    crowd.commit(0, &[GroupChange::SetRole(one, Role::Admin)]).unwrap();
    let first = take(&mut crowd);
    crowd.commit(0, &[GroupChange::SetPolicy(GroupPolicy { max_messages: 3, max_age: 9 })]).unwrap();
    let second = take(&mut crowd);
    for flying in second.iter().chain(&first).filter(|flying| flying.to == 2) {
        crowd.deliver(flying);
    }
    assert!(matches!(last_event(&crowd, 2), GroupEvent::Changed { epoch: 3, .. }));
    assert!(crowd.parties[2].events.contains(&GroupEvent::Waiting));
}

/// Replayed: commits, announcements and messages are duplicates.
#[test]
fn replays() {
    let mut crowd = talking(3, 4);
    let one = crowd.name(1);
    crowd.commit(0, &[GroupChange::SetRole(one, Role::Admin)]).unwrap();
    crowd.say(0, b"text").unwrap();
    let all = take(&mut crowd);
    for flying in &all {
        crowd.deliver(flying);
    }
    crowd.flush();
    for flying in &all {
        let before = Disk::of(&crowd.parties[flying.to].device);
        let replayed = open(&mut crowd, flying.to, &flying.bytes);
        assert_eq!(replayed.unwrap_err(), OpenError::Duplicate);
        assert_eq!(Disk::of(&crowd.parties[flying.to].device), before);
    }
}

/// Split: two admins commit at once and the relay gives each half one of the two, and keeps them apart. Across, nothing
/// opens as if nothing were wrong; the first announcement that gets through tells of the fork, and mends it.
#[test]
fn split() {
    let mut crowd = talking(4, 5);
    let [one, three] = [1, 3].map(|party| crowd.name(party));
    crowd.commit(0, &[GroupChange::SetRole(one, Role::Admin)]).unwrap();
    crowd.flush();
    crowd.commit(0, &[GroupChange::SetPolicy(GroupPolicy { max_messages: 7, max_age: 99 })]).unwrap();
    let by_zero = take(&mut crowd);
    crowd.commit(1, &[GroupChange::SetRole(three, Role::Admin)]).unwrap();
    let by_one = take(&mut crowd);
    for flying in by_zero.iter().filter(|flying| flying.to == 2).chain(by_one.iter().filter(|flying| flying.to == 3)) {
        crowd.deliver(flying);
    }
    crowd.queue.clear();
    // Chains that both know, rosters that differ: the body does not open.
    crowd.say(2, b"on one side").unwrap();
    let message = take(&mut crowd).into_iter().find(|flying| flying.to == 3).unwrap();
    let (group, two) = (crowd.group(), crowd.name(2));
    assert_eq!(open(&mut crowd, 3, &message.bytes).unwrap_err(), OpenError::RosterDiffers(group, two));
    // A new chain is announced under another hash.
    crowd.now = crowd.now.plus(8 * 86_400);
    crowd.say(3, b"on the other").unwrap();
    for flying in take(&mut crowd).iter().filter(|flying| flying.to == 2) {
        crowd.deliver(flying);
    }
    let forked = crowd.parties[2].events.iter().any(|event| matches!(event, GroupEvent::Fork { epoch: 3, .. }));
    assert!(forked, "{:?}", crowd.parties[2].events);
    crowd.flush();
    let transcript = |party: usize| crowd.parties[party].device.group(group).unwrap().roster.transcript();
    assert_eq!(transcript(2), transcript(3), "the two have told each other");
    assert_eq!(transcript(2), transcript(0), "the more senior admin's commit has won");
    // The loser learns it as soon as it speaks.
    crowd.say(1, b"unaware").unwrap();
    crowd.flush();
    assert!(crowd.agrees());
    let told =
        crowd.parties[1].events.iter().any(|event| matches!(event, GroupEvent::Changed { own_superseded: true, .. }));
    assert!(told);
    let number = crowd.say(3, b"together").unwrap();
    crowd.flush();
    assert!((0..3).all(|party| crowd.parties[party].read.contains(&number)));
}

/// A removed member's message, in its old chain, under whatever epoch it names.
#[test]
fn removed_member_goes_on_writing() {
    let mut crowd = talking(3, 6);
    let removed = crowd.name(2);
    crowd.commit(0, &[GroupChange::Remove(removed)]).unwrap();
    let commits = take(&mut crowd);
    for flying in commits.iter().filter(|flying| flying.to != 2) {
        crowd.deliver(flying);
    }
    // It does not know, or pretends not to.
    crowd.say(2, b"still here").unwrap();
    for flying in take(&mut crowd) {
        assert_eq!(open(&mut crowd, flying.to, &flying.bytes).unwrap_err(), OpenError::Unknown);
    }
}

#[test]
fn every_group_operation_ends_whole_or_not_at_all() {
    let mut crowd = talking(4, 7);
    let (group, now) = (crowd.group(), crowd.now);
    let [one, three] = [1, 3].map(|party| crowd.name(party));
    crowd.say(1, b"to open").unwrap();
    let message = take(&mut crowd).into_iter().find(|flying| flying.to == 0).unwrap();
    let mut rng = sceau_testkit::rng(8);
    let device = &mut crowd.parties[0].device;
    let before = Disk::of(device);
    macro_rules! unchanged {
        ($($call:expr),* $(,)?) => {$(
            drop($call);
            assert_eq!(Disk::of(device), before);
            assert!($call.commit(|_| Err::<(), _>("disk full")).is_err());
            assert_eq!(Disk::of(device), before, stringify!($call));
        )*};
    }
    unchanged!(
        device.create_group(GroupPolicy::default(), &mut rng).unwrap(),
        device.commit_group(group, &[GroupChange::Remove(three)], now, &mut rng).unwrap(),
        device.commit_group(group, &[GroupChange::SetRole(one, Role::Admin)], now, &mut rng).unwrap(),
        device.leave_group(group, now, &mut rng).unwrap(),
        device.seal_group(group, b"x", now, &mut rng).unwrap(),
        device.prepare_group(group, now.plus(10_000_000), &mut rng).unwrap(),
        device.seal_group_owed(group, now, &mut rng).unwrap(),
        device.forget_group(group).unwrap(),
        device.open(&message.bytes, now).unwrap(),
        device.maintain(now.plus(1 << 40)),
    );
    let stranger = sceau::Fingerprint::from_bytes([9; 32]);
    let unknown = device.commit_group(group, &[GroupChange::Add(stranger, Role::Member)], now, &mut rng).err();
    assert_eq!(unknown, Some(sceau::error::GroupError::Seal(SealError::UnknownPeer)));
    assert_eq!(Disk::of(device), before);
    assert!(device.open(&message.bytes, now).is_ok());
}

/// A device with all kinds of records, those of groups included.
fn rich() -> Disk {
    let mut crowd = talking(3, 9);
    let (one, group) = (crowd.name(1), crowd.group());
    crowd.say(1, b"skipped").unwrap();
    crowd.queue.clear();
    crowd.say(1, b"opened").unwrap();
    crowd.flush();
    // A commit that waits, and a debt.
    crowd.commit(0, &[GroupChange::SetRole(one, Role::Admin)]).unwrap();
    crowd.queue.clear();
    crowd.commit(0, &[GroupChange::SetPolicy(GroupPolicy { max_messages: 3, max_age: 9 })]).unwrap();
    let early = take(&mut crowd).into_iter().find(|flying| flying.to == 2).unwrap();
    let Crowd { parties, now, .. } = &mut crowd;
    done(parties[2].device.open(&early.bytes, *now).unwrap());
    assert!(parties[2].device.group(group).unwrap().owed > 0);
    Disk::of(&parties[2].device)
}

#[test]
fn group_records_restore_whole_or_not_at_all() {
    let disk = rich();
    let kinds: std::collections::BTreeSet<u8> = disk.records().keys().map(|key| key.as_bytes()[0]).collect();
    assert!((8..=13).all(|kind| kinds.contains(&kind)), "{kinds:?}");
    assert_eq!(Disk::of(&disk.restore()), disk);
    let restore = |disk: &Disk| {
        Device::restore(disk.records().iter().map(|(key, bytes)| (*key, bytes)), sceau::Policy::default())
    };
    for needed in [8, 12] {
        let mut without = disk.clone();
        without.records_mut().retain(|key, _| key.as_bytes()[0] != needed);
        assert!(restore(&without).is_err(), "without records of kind {needed}");
    }
    for (key, bytes) in disk.records().iter().filter(|(key, _)| key.as_bytes()[0] >= 8) {
        for bit in (0..bytes.len() * 8).filter(|bit| bit % 3 == 0) {
            let mut damaged = disk.clone();
            damaged.records_mut().get_mut(key).unwrap()[bit / 8] ^= 1 << (bit % 8);
            if let Ok(device) = restore(&damaged) {
                assert_eq!(Disk::of(&device), damaged, "not canonical: {key:?} bit {bit}");
            }
        }
        for cut in 0..bytes.len() {
            let mut damaged = disk.clone();
            damaged.records_mut().get_mut(key).unwrap().truncate(cut);
            assert!(restore(&damaged).is_err());
        }
    }
}

/// A steady message writes the sender's chain, and opening one writes that chain on the other side: small, whatever the
/// size of the group.
#[test]
fn steady_messages_write_one_small_record() {
    for members in [3, 30] {
        let mut crowd = Crowd::together(members, 10);
        crowd.say(0, b"first").unwrap();
        crowd.flush();
        let (group, now) = (crowd.group(), crowd.now);
        let mut written = Vec::new();
        let mut note = |disk: &Disk, changes: &sceau::Changes| {
            let head = disk.records().get(&sceau::RecordKey::HEAD).cloned();
            for record in changes.after(head.as_deref()).unwrap() {
                let Record::Put(_, bytes) = record else { panic!("{record:?}") };
                written.push(bytes.len());
            }
            Ok::<(), std::convert::Infallible>(())
        };
        let Party { device, disk, .. } = &mut crowd.parties[0];
        let pending = device.seal_group(group, b"x", now, &mut crowd.rng).unwrap();
        let Ok(sealed) = pending.commit(|changes| note(disk, changes));
        let Party { device, disk, .. } = &mut crowd.parties[1];
        let Ok(_) = device.open(&sealed.envelope, now).unwrap().commit(|changes| note(disk, changes));
        // The chain and the head; the chain, what was opened lately, and the head.
        let recent = written[3];
        assert!(recent <= 2 + 9 + 32 * 12, "{recent}");
        assert_eq!(written, [182, 26, 231, recent, 26], "with {members} members");
    }
}

/// The removal of a member and a chain for it settle together, from what was waiting: it is out, holds no chain, and its
/// records restore.
#[test]
fn waiting_removal_and_chain_leave_nothing_behind() {
    let mut crowd = Crowd::together(3, 11);
    let [one, two] = [1, 2].map(|party| crowd.name(party));
    crowd.commit(0, &[GroupChange::SetRole(one, Role::Admin)]).unwrap();
    let first = take(&mut crowd);
    for flying in first.iter().filter(|flying| flying.to == 1) {
        crowd.deliver(flying);
    }
    crowd.queue.clear();
    crowd.say(1, b"in epoch 2").unwrap();
    let chain = take(&mut crowd);
    crowd.commit(0, &[GroupChange::Remove(two)]).unwrap();
    let second = take(&mut crowd);
    // The chain, then the removal, then the commit that both wait for.
    for flying in chain.iter().chain(&second).chain(&first).filter(|flying| flying.to == 2) {
        crowd.deliver(flying);
    }
    let (group, party) = (crowd.group(), &crowd.parties[2]);
    let status = party.device.group(group).unwrap();
    assert!(!status.member && status.chains == 0, "{:?}", party.events);
    assert_eq!(Disk::of(&party.disk.restore()), party.disk);
}

/// A stranger's welcomes fill neither the device nor the place of others.
#[test]
fn one_peer_can_bring_a_device_into_few_groups_only() {
    let mut crowd = Crowd::new(2, 12);
    crowd.thorough = false;
    for _ in 0..70 {
        crowd.create(GroupPolicy::default());
        let victim = crowd.name(1);
        crowd.commit(0, &[GroupChange::Add(victim, Role::Member)]).unwrap();
        crowd.flush();
    }
    assert_eq!(crowd.parties[1].device.groups().count(), sceau::limits::MAX_GROUPS_OF_PEER);
}
