//! Forks, gaps and lost welcomes: what mends itself does, and what can't is said.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test is to fail loudly"
)]

use sceau::device::{GroupChange, GroupEvent};
use sceau::error::SealError;
use sceau::group::{GroupPolicy, Role};
use sceau_testkit::Crowd;
use sceau_testkit::crowd::{Flying, Party};
use sceau_testkit::talk::done;

fn take(crowd: &mut Crowd) -> Vec<Flying> {
    core::mem::take(&mut crowd.queue)
}

fn deliver(crowd: &mut Crowd, envelopes: &[Flying], to: usize) {
    for flying in envelopes.iter().filter(|flying| flying.to == to) {
        crowd.deliver(flying);
    }
}

fn policy(max_messages: u32) -> GroupChange {
    GroupChange::SetPolicy(GroupPolicy { max_messages, max_age: 1_000_000 })
}

/// The founder, an admin, two members; all have heard of each other.
fn four(seed: u64) -> Crowd {
    let mut crowd = Crowd::together(4, seed);
    let one = crowd.name(1);
    crowd.commit(0, &[GroupChange::SetRole(one, Role::Admin)]).unwrap();
    crowd.flush();
    for party in 0..4 {
        crowd.say(party, b"hello").unwrap();
        crowd.flush();
    }
    crowd
}

/// A member has left and an admin was removed after that. The admin, who has heard of neither, changes the roster before:
/// it outranks the member who left. One member hears the admin first; in the end all follow the founder.
#[test]
fn removed_admin_undoes_nothing() {
    let mut crowd = four(1);
    crowd.leave(2).unwrap();
    let left = take(&mut crowd);
    deliver(&mut crowd, &left, 0);
    crowd.queue.clear();
    let one = crowd.name(1);
    crowd.commit(0, &[GroupChange::Remove(one)]).unwrap();
    let removed = take(&mut crowd);
    crowd.commit(1, &[policy(77)]).unwrap();
    let undoing = take(&mut crowd);
    deliver(&mut crowd, &undoing, 3);
    deliver(&mut crowd, &left, 3);
    deliver(&mut crowd, &removed, 3);
    crowd.queue.extend(undoing.into_iter().chain(left).chain(removed).filter(|flying| flying.to != 3));
    crowd.flush();
    let roster = |party: usize| crowd.parties[party].device.group(crowd.group()).unwrap();
    assert_eq!(roster(3).roster.transcript(), roster(0).roster.transcript(), "{:?}", crowd.parties[3].events);
    assert!(!roster(1).member && !roster(2).member && roster(3).roster.len() == 2);
    assert!(crowd.agrees());
}

/// Who misses more commits than anyone keeps is told so, and comes back by being removed and added.
#[test]
fn too_long_away_is_said() {
    let mut crowd = four(2);
    for i in 1..=12 {
        crowd.commit(0, &[policy(i)]).unwrap();
        crowd.queue.retain(|flying| flying.to != 3);
        crowd.flush();
    }
    crowd.parties[3].events.clear();
    crowd.commit(0, &[policy(100)]).unwrap();
    crowd.flush();
    let events = &crowd.parties[3].events;
    let told = events.iter().any(|event| matches!(event, GroupEvent::Fork { epoch: 15, ours: [0, ..], .. }));
    assert!(told, "{events:?}");
    let (group, three) = (crowd.group(), crowd.name(3));
    let Party { device, disk, .. } = &mut crowd.parties[3];
    let Ok(()) = device.forget_group(group).unwrap().commit(|changes| disk.apply(changes));
    crowd.commit(0, &[GroupChange::Remove(three)]).unwrap();
    crowd.flush();
    crowd.commit(0, &[GroupChange::Add(three, Role::Member)]).unwrap();
    crowd.flush();
    assert!(crowd.agrees());
    let number = crowd.say(3, b"back").unwrap();
    crowd.flush();
    assert!((0..3).all(|party| crowd.parties[party].read.contains(&number)));
}

/// Eight missed commits are no gap yet.
#[test]
fn eight_missed_commits_are_told() {
    let mut crowd = four(3);
    for i in 1..=7 {
        crowd.commit(0, &[policy(i)]).unwrap();
        crowd.queue.retain(|flying| flying.to != 3);
        crowd.flush();
    }
    crowd.commit(0, &[policy(100)]).unwrap();
    crowd.flush();
    assert!(crowd.agrees(), "{:?}", crowd.parties[3].events);
}

/// Two admins add the same newcomer at once, by two commits: it follows the one that all follow, whichever welcome came
/// first.
#[test]
fn added_twice_at_once() {
    for first in [0, 1] {
        let mut crowd = Crowd::new(4, 4);
        crowd.create(GroupPolicy::default());
        let adds = [(1, Role::Admin), (2, Role::Member)].map(|(party, role)| GroupChange::Add(crowd.name(party), role));
        crowd.commit(0, &adds).unwrap();
        crowd.flush();
        let three = crowd.name(3);
        let mut made: Vec<Vec<Flying>> = Vec::new();
        for party in [0, 1] {
            crowd.commit(party, &[GroupChange::Add(three, Role::Member)]).unwrap();
            made.push(take(&mut crowd));
        }
        deliver(&mut crowd, &made[first], 3);
        deliver(&mut crowd, &made[1 - first], 3);
        crowd.queue.extend(made.into_iter().flatten().filter(|flying| flying.to != 3));
        crowd.flush();
        assert!(crowd.agrees(), "{first}: {:?}", crowd.parties[3].events);
        let forked = crowd.parties[3].events.iter().any(|event| matches!(event, GroupEvent::Fork { .. }));
        assert!(!forked, "{first}: {:?}", crowd.parties[3].events);
        for party in 0..4 {
            let number = crowd.say(party, b"together").unwrap();
            crowd.flush();
            assert_eq!(crowd.parties.iter().filter(|other| other.read.contains(&number)).count(), 3);
        }
    }
}

/// Adds someone whose bundle is past its time; the welcome stays owed.
fn add_unreachable(crowd: &mut Crowd, newcomer: usize) {
    let (group, name) = (crowd.group(), crowd.name(newcomer));
    crowd.introduce(0, name);
    crowd.now = crowd.now.plus(200 * 86_400);
    let Party { device, disk, .. } = &mut crowd.parties[0];
    let pending = device.commit_group(group, &[GroupChange::Add(name, Role::Member)], crowd.now, &mut crowd.rng);
    let Ok(committed) = pending.unwrap().commit(|changes| disk.apply(changes));
    assert!(committed.unreachable.iter().any(|missed| (missed.peer, missed.why) == (name, SealError::BundleExpired)));
    crowd.added.insert(name);
    for delivery in committed.deliveries {
        crowd.post(crowd.names[&delivery.to], delivery.envelope);
    }
}

fn publish(crowd: &mut Crowd, party: usize) {
    let Party { device, disk, directory, .. } = &mut crowd.parties[party];
    let Ok(upload) =
        device.publish_prekeys(2, crowd.now, &mut crowd.rng).unwrap().commit(|changes| disk.apply(changes));
    directory.update(upload).unwrap();
}

/// Publishes afresh, and makes that known to party 0.
fn reachable(crowd: &mut Crowd, newcomer: usize) {
    publish(crowd, newcomer);
    let name = crowd.name(newcomer);
    crowd.introduce(0, name);
}

/// A welcome that could not be sealed before the group has moved on too far is given up, and that is said once.
#[test]
fn welcome_that_came_too_late_is_said() {
    let mut crowd = Crowd::new(3, 5);
    crowd.create(GroupPolicy::default());
    let one = crowd.name(1);
    crowd.commit(0, &[GroupChange::Add(one, Role::Member)]).unwrap();
    crowd.flush();
    add_unreachable(&mut crowd, 2);
    let group = crowd.group();
    let mut said = Vec::new();
    for i in 1..=10 {
        let device = &mut crowd.parties[0].device;
        let committed = done(device.commit_group(group, &[policy(i)], crowd.now, &mut crowd.rng).unwrap());
        said.extend(committed.unreachable.iter().filter(|missed| missed.why == SealError::WelcomeGone).map(|_| i));
    }
    assert_eq!(said, [8]);
    crowd.store_all();
    reachable(&mut crowd, 2);
    let paid = done(crowd.parties[0].device.seal_group_owed(group, crowd.now, &mut crowd.rng).unwrap());
    assert_eq!((paid.deliveries.len(), paid.unreachable.len()), (1, 0), "what is left is for party 1");
}

/// Who leaves still gives the welcomes that it alone can give.
#[test]
fn leaving_admin_pays_its_welcomes() {
    let mut crowd = Crowd::new(3, 6);
    crowd.create(GroupPolicy::default());
    let one = crowd.name(1);
    crowd.commit(0, &[GroupChange::Add(one, Role::Admin)]).unwrap();
    crowd.flush();
    add_unreachable(&mut crowd, 2);
    crowd.flush();
    crowd.leave(0).unwrap();
    crowd.flush();
    reachable(&mut crowd, 2);
    crowd.pay(0);
    crowd.flush();
    let status = crowd.parties[2].device.group(crowd.group()).expect("it was welcomed");
    assert!(status.member && status.roster.len() == 2, "{:?}", crowd.parties[2].events);
    assert!(crowd.agrees());
}

/// A large roster travels once, and every newcomer gets its key: welcomes together grow with the group, not with its
/// square.
#[test]
fn large_rosters_travel_once() {
    const MEMBERS: usize = 260;
    let mut crowd = Crowd::new(MEMBERS, 7);
    crowd.thorough = false;
    crowd.create(GroupPolicy::default());
    let one = crowd.name(1);
    crowd.commit(0, &[GroupChange::Add(one, Role::Member)]).unwrap();
    crowd.flush();
    crowd.sizes.clear();
    let adds: Vec<_> = (2..MEMBERS).map(|party| GroupChange::Add(crowd.name(party), Role::Member)).collect();
    crowd.commit(0, &adds).unwrap();
    crowd.flush();
    assert!(crowd.agrees());
    assert_eq!(crowd.attached.len(), 2, "the welcome, and the commit for who is in");
    let largest = crowd.sizes.keys().last().unwrap();
    assert_eq!(*largest, 4_210, "each gets an introduction of the smallest size");
    // Someone who does not fetch it has nothing, and is told what to fetch.
    let wanted: usize = crowd.parties.iter().map(|party| party.device.wanted().count()).sum();
    assert_eq!(wanted, 0);
    let number = crowd.say(MEMBERS - 1, b"all here").unwrap();
    crowd.flush();
    assert_eq!(crowd.parties.iter().filter(|party| party.read.contains(&number)).count(), MEMBERS - 1);
}

/// A newcomer that was made an admin adds someone, and learns that its own welcome was outvoted: nobody who is not in the
/// better roster is sent it.
#[test]
fn no_roster_for_who_is_not_in_it() {
    let mut crowd = Crowd::new(5, 14);
    crowd.create(GroupPolicy::default());
    let one = crowd.name(1);
    crowd.commit(0, &[GroupChange::Add(one, Role::Admin)]).unwrap();
    crowd.flush();
    let (three, four, group) = (crowd.name(3), crowd.name(4), crowd.group());
    crowd.introduce(3, four);
    crowd.now = crowd.now.plus(200 * 86_400);
    let mut made = Vec::new();
    for party in [0, 1] {
        publish(&mut crowd, 3);
        crowd.commit(party, &[GroupChange::Add(three, Role::Admin)]).unwrap();
        made.push(take(&mut crowd));
    }
    deliver(&mut crowd, &made[1], 3);
    take(&mut crowd);
    let Party { device, disk, .. } = &mut crowd.parties[3];
    let pending = device.commit_group(group, &[GroupChange::Add(four, Role::Member)], crowd.now, &mut crowd.rng);
    let Ok(committed) = pending.unwrap().commit(|changes| disk.apply(changes));
    let missed = committed.unreachable.iter().find(|missed| missed.peer == four).unwrap();
    assert_eq!(missed.why, SealError::BundleExpired);
    deliver(&mut crowd, &made[0], 3);
    take(&mut crowd);
    assert_eq!(crowd.parties[3].device.group(group).unwrap().roster.epoch(), 2, "the better welcome");
    crowd.commit(0, &[policy(9)]).unwrap();
    let next = take(&mut crowd);
    deliver(&mut crowd, &next, 3);
    take(&mut crowd);
    let status = crowd.parties[3].device.group(group).unwrap();
    assert_eq!((status.roster.epoch(), status.roster.member(four)), (3, None));
    reachable(&mut crowd, 4);
    crowd.introduce(3, four);
    let paid = done(crowd.parties[3].device.seal_group_owed(group, crowd.now, &mut crowd.rng).unwrap());
    assert!(paid.deliveries.iter().all(|delivery| delivery.to != four));
    assert!(crowd.parties[3].device.group(group).unwrap().roster.member(four).is_none());
}

/// A removal, or a leave, that is outvoted had chains wiped at some; those whom it hit are asked for them again, and in the end
/// everybody reads everybody.
#[test]
fn outvoted_removals_take_no_chain_for_good() {
    // Who goes, by whose commit, and who hears of that first.
    for (by, first_hears) in [(1, Some(2)), (1, Some(3)), (2, None)] {
        let mut crowd = four(5);
        let two = crowd.name(2);
        if by == 2 {
            crowd.leave(2).unwrap();
        } else {
            crowd.commit(1, &[GroupChange::Remove(two)]).unwrap();
        }
        let removal = take(&mut crowd);
        crowd.commit(0, &[policy(77)]).unwrap();
        let better = take(&mut crowd);
        if let Some(first) = first_hears {
            deliver(&mut crowd, &better, 5 - first);
            deliver(&mut crowd, &removal, first);
        } else {
            deliver(&mut crowd, &better, 3);
            deliver(&mut crowd, &better, 1);
        }
        crowd.queue.extend(removal.into_iter().chain(better));
        crowd.flush();
        assert!(crowd.agrees());
        for party in 0..4 {
            let number = crowd.say(party, b"heard by all").unwrap();
            crowd.flush();
            let deaf: Vec<_> = (0..4).filter(|to| *to != party && !crowd.parties[*to].read.contains(&number)).collect();
            assert!(deaf.is_empty(), "by {by}, heard first by {first_hears:?}: {deaf:?} can't read {party}");
        }
        let wanted = |party: usize| crowd.parties[party].events.contains(&GroupEvent::ChainWanted);
        assert!((0..4).any(wanted), "somebody was asked");
    }
}
