//! Groups: what is read was sealed for its reader, once; members converge on one roster; forks and forgeries are noticed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test is to fail loudly"
)]

use sceau::device::{Event, GroupChange, GroupEvent, Search};
use sceau::error::{GroupError, OpenError, SealError};
use sceau::group::{GroupPolicy, Role};
use sceau::{Padding, Policy};
use sceau_testkit::crowd::Flying;
use sceau_testkit::crowd::Party;
use sceau_testkit::talk::done;
use sceau_testkit::{Crowd, Disk};

fn assert_clean(crowd: &Crowd) {
    assert_eq!((crowd.read_after_removal, crowd.read_before_joining, crowd.mismatched), (0, 0, 0));
    assert_eq!(crowd.ghosts(), 0);
}

fn read_by(crowd: &Crowd, number: u64) -> Vec<usize> {
    (0..crowd.parties.len()).filter(|party| crowd.parties[*party].read.contains(&number)).collect()
}

#[test]
fn one_envelope_for_all() {
    let mut crowd = Crowd::together(5, 1);
    assert!(crowd.agrees());
    for party in 0..5 {
        let number = crowd.say(party, b"Bonjour").unwrap();
        crowd.flush();
        assert_eq!(read_by(&crowd, number).len(), 4, "message of {party}");
    }
    // Steady: nothing but the one envelope.
    let group = crowd.group();
    let party = &mut crowd.parties[2];
    let pending = party.device.seal_group(group, b"steady", crowd.now, &mut crowd.rng).unwrap();
    let sealed = sceau_testkit::talk::done(pending);
    assert!(sealed.deliveries.is_empty() && sealed.unreachable.is_empty());
    assert_eq!(sealed.envelope.len(), 640);
    assert_clean(&crowd);
}

#[test]
fn removed_member_reads_nothing_more_and_newcomer_nothing_before() {
    let mut crowd = Crowd::new(5, 2);
    crowd.create(GroupPolicy::default());
    let adds: Vec<_> = (1..4).map(|party| GroupChange::Add(crowd.name(party), Role::Member)).collect();
    crowd.commit(0, &adds).unwrap();
    crowd.flush();
    let early = crowd.say(1, b"early").unwrap();
    let early_envelope = crowd.queue.iter().find(|flying| flying.to == 4).unwrap().bytes.clone();
    crowd.flush();
    assert_eq!(read_by(&crowd, early), [0, 2, 3]);
    let newcomer = crowd.name(4);
    crowd.commit(0, &[GroupChange::Add(newcomer, Role::Member)]).unwrap();
    crowd.flush();
    // The chain lives on; the newcomer is given it where it stands.
    let number = crowd.say(1, b"hello").unwrap();
    let old = crowd.queue.iter().find(|flying| flying.to == 0).unwrap().bytes.clone();
    crowd.flush();
    assert_eq!(read_by(&crowd, number), [0, 2, 3, 4]);
    assert!(!crowd.parties[4].read.contains(&early));
    let (group, now) = (crowd.group(), crowd.now);
    assert!(crowd.parties[0].device.group(group).unwrap().chains > 0);
    let searched = crowd.parties[4].device.search(&early_envelope, Search::Group(group), now);
    assert_eq!(searched.err(), Some(OpenError::EpochGone(group)), "it may know where the chain has been");
    let removed = crowd.name(3);
    crowd.say(1, b"held back").unwrap();
    let held_back = crowd.queue.iter().find(|flying| flying.to == 3).unwrap().bytes.clone();
    crowd.queue.retain(|flying| flying.to != 3);
    crowd.flush();
    // It keeps all that it has, and is not so kind as to wipe it when it is told.
    let kept = crowd.parties[3].disk.clone();
    assert!(matches!(done(kept.restore().open(&held_back, now).unwrap()).event, Event::GroupMessage { .. }));
    crowd.commit(0, &[GroupChange::Remove(removed)]).unwrap();
    crowd.flush();
    for party in [0, 1, 2, 4] {
        let number = crowd.say(party, b"without you").unwrap();
        let copies: Vec<Vec<u8>> = crowd.queue.iter().map(|flying| flying.bytes.clone()).collect();
        // The relay gives the removed member everything.
        for bytes in copies {
            let mut hoarder = kept.restore();
            for opened in [hoarder.preview(&bytes, now), hoarder.search(&bytes, Search::Group(group), now).map(done)] {
                let opened = opened.map(|opened| opened.event);
                assert!(!matches!(opened, Ok(Event::GroupMessage { .. })), "what {party} wrote was read");
            }
            crowd.queue.push(Flying { to: 3, bytes, intact: true });
        }
        crowd.flush();
        assert!(!read_by(&crowd, number).contains(&3));
        assert_eq!(read_by(&crowd, number).len(), 3);
    }
    assert_eq!(crowd.say(3, b"still here").unwrap_err(), GroupError::NotMember);
    crowd.queue.push(Flying { to: 0, bytes: old, intact: true });
    crowd.flush();
    assert!(crowd.parties[0].errors.contains_key("duplicate"), "{:?}", crowd.parties[0].errors);
    assert!(crowd.agrees());
    assert_clean(&crowd);
}

#[test]
fn envelope_before_its_chain_opens_later() {
    let mut crowd = Crowd::together(3, 3);
    let number = crowd.say(1, b"first").unwrap();
    let (announcements, messages): (Vec<_>, Vec<_>) = {
        let queue = core::mem::take(&mut crowd.queue);
        let same = queue[0].bytes.clone();
        queue.into_iter().partition(|flying| flying.bytes != same)
    };
    for flying in &messages {
        crowd.deliver(flying);
    }
    assert!(read_by(&crowd, number).is_empty());
    for flying in &announcements {
        crowd.deliver(flying);
    }
    assert_eq!(read_by(&crowd, number), [0, 2]);
    crowd.flush();
    assert_clean(&crowd);
}

#[test]
fn far_ahead_and_out_of_order_messages_open() {
    let mut crowd = Crowd::together(2, 4);
    crowd.say(0, b"first").unwrap();
    crowd.flush();
    let mut envelopes = Vec::new();
    for _ in 0..60 {
        crowd.say(0, b"many").unwrap();
        envelopes.append(&mut crowd.queue);
    }
    for flying in envelopes.iter().rev() {
        crowd.deliver(flying);
    }
    assert_eq!(crowd.parties[1].read.len(), 61);
    for flying in &envelopes {
        crowd.deliver(flying);
    }
    assert_eq!(crowd.parties[1].read.len(), 61);
    assert_clean(&crowd);
}

#[test]
fn chains_are_replaced_by_the_policy() {
    let mut crowd = Crowd::new(3, 5);
    crowd.create(GroupPolicy { max_messages: 5, max_age: 1_000 });
    let adds: Vec<_> = (1..3).map(|party| GroupChange::Add(crowd.name(party), Role::Member)).collect();
    crowd.commit(0, &adds).unwrap();
    crowd.flush();
    let mut announced = 0;
    for _ in 0..15 {
        crowd.say(0, b"tick").unwrap();
        announced += crowd.queue.len() - 2;
        crowd.flush();
    }
    assert_eq!(announced, 3 * 2, "three chains, two members");
    crowd.now = crowd.now.plus(1_001);
    crowd.say(0, b"tock").unwrap();
    assert_eq!(crowd.queue.len(), 4, "an old chain is replaced");
    crowd.flush();
    let chains = |crowd: &Crowd| crowd.parties[1].device.group(crowd.group()).unwrap().chains;
    assert_eq!(chains(&crowd), 4, "late messages of the older ones can come");
    for _ in 0..100 {
        crowd.say(0, b"tick").unwrap();
        crowd.flush();
    }
    assert_eq!(chains(&crowd), sceau::limits::MAX_MEMBER_CHAINS, "of 24");
    assert_clean(&crowd);
}

/// What is made at once is bounded: the others are named, and owed.
#[test]
fn large_batches_are_made_in_parts() {
    let mut crowd = Crowd::together(70, 7);
    crowd.thorough = false;
    crowd.say(0, b"now all sessions are answered").unwrap();
    crowd.flush();
    // 64 envelopes of a MiB do not pass the bound yet, the next one does.
    let (group, now) = (crowd.group(), crowd.now);
    let Party { device, disk, .. } = &mut crowd.parties[0];
    let mut policy = Policy::default();
    policy.padding = Padding::with_smallest(1 << 20);
    device.set_policy(policy);
    let Ok(1) = device.renew_chains().commit(|changes| disk.apply(changes)) else { panic!("there is one chain") };
    let ready = done(device.prepare_group(group, now, &mut crowd.rng).unwrap());
    assert!(ready.deliveries.iter().all(|delivery| delivery.envelope.len() == 1 << 20));
    assert_eq!((ready.deliveries.len(), ready.unreachable.len()), (65, 4));
    assert!(ready.unreachable.iter().all(|one| one.why == SealError::Later));
    assert_eq!(device.group(group).unwrap().owed, 4);
    let rest = done(device.seal_group_owed(group, now, &mut crowd.rng).unwrap());
    assert_eq!((rest.deliveries.len(), rest.unreachable.len()), (4, 0));
    assert_eq!(device.group(group).unwrap().owed, 0);
}

/// Two admins commit at once; whatever arrives first, all end up on the better one, and the other is told.
#[test]
fn concurrent_commits_converge() {
    for seed in 0..8 {
        let mut crowd = Crowd::new(6, 100 + seed);
        crowd.create(GroupPolicy::default());
        let mut adds: Vec<_> = (1..4).map(|party| GroupChange::Add(crowd.name(party), Role::Member)).collect();
        adds[0] = GroupChange::Add(crowd.name(1), Role::Admin);
        crowd.commit(0, &adds).unwrap();
        crowd.flush();
        crowd.say(2, b"before").unwrap();
        crowd.flush();
        let (four, five) = (crowd.name(4), crowd.name(5));
        crowd.commit(1, &[GroupChange::Add(five, Role::Member)]).unwrap();
        crowd.commit(0, &[GroupChange::Add(four, Role::Member)]).unwrap();
        crowd.say(1, b"on the worse branch").unwrap();
        crowd.say(0, b"on the better branch").unwrap();
        // In any order.
        while !crowd.queue.is_empty() {
            let pick = crowd.below(crowd.queue.len());
            let flying = crowd.queue.swap_remove(pick);
            crowd.deliver(&flying);
        }
        let told = crowd.parties[1]
            .events
            .iter()
            .any(|event| matches!(event, GroupEvent::Changed { own_superseded: true, superseded: 1, .. }));
        assert!(told, "seed {seed}: {:?}", crowd.parties[1].events);
        // Who was added by the loser only is added again.
        crowd.commit(1, &[GroupChange::Add(five, Role::Member)]).unwrap();
        crowd.flush();
        assert!(crowd.agrees(), "seed {seed}");
        for party in 0..6 {
            let number = crowd.say(party, b"after").unwrap();
            crowd.flush();
            assert_eq!(
                read_by(&crowd, number).len(),
                5,
                "seed {seed}, party {party}: {:?}",
                crowd.parties[party].errors
            );
        }
        assert_clean(&crowd);
    }
}

#[test]
fn missing_commit_is_asked_for() {
    let mut crowd = Crowd::together(4, 6);
    let (gone, promoted) = (crowd.name(3), crowd.name(1));
    crowd.commit(0, &[GroupChange::Remove(gone)]).unwrap();
    crowd.commit(0, &[GroupChange::SetRole(promoted, Role::Admin)]).unwrap();
    // The relay withholds both from 2.
    crowd.queue.retain(|flying| flying.to != 2);
    crowd.flush();
    let number = crowd.say(1, b"two epochs on").unwrap();
    crowd.flush();
    assert!(read_by(&crowd, number).contains(&2), "{:?} {:?}", crowd.parties[2].errors, crowd.parties[2].events);
    assert!(crowd.agrees());
    assert_clean(&crowd);
}

/// Random commits by several admins, messages, loss, reordering, damage and restarts; then quiet, and all agree.
#[test]
fn random_schedules() {
    let mut reads = 0;
    let seeds = if std::env::var_os("SCEAU_THOROUGH").is_some() { 2_000 } else { 40 };
    for seed in 0..seeds {
        let mut crowd = Crowd::new(6, 200 + seed);
        crowd.create(GroupPolicy { max_messages: 7, max_age: 50_000 });
        let adds: Vec<_> = (1..4)
            .map(|party| GroupChange::Add(crowd.name(party), if party < 3 { Role::Admin } else { Role::Member }))
            .collect();
        crowd.commit(0, &adds).unwrap();
        crowd.flush();
        for _ in 0..150 {
            random_step(&mut crowd);
        }
        settle(&mut crowd, seed);
        reads += crowd.parties.iter().map(|party| party.read.len()).sum::<usize>();
        assert_clean(&crowd);
    }
    assert!(reads > 800, "only {reads} messages were read");
}

/// Many commits, members who come back, groups that are forgotten, a restart after every envelope: devices stop talking,
/// nobody is in whom nobody added, and everything restores.
#[test]
fn rough_schedules() {
    let seeds = if std::env::var_os("SCEAU_THOROUGH").is_some() { 2_000 } else { 40 };
    for seed in 0..seeds {
        let mut crowd = Crowd::new(6, 5_000 + seed);
        crowd.thorough = false;
        crowd.create(GroupPolicy::default());
        let roles = [Role::Admin, Role::Admin, Role::Member];
        let adds: Vec<_> = (1..4).map(|party| GroupChange::Add(crowd.name(party), roles[party - 1])).collect();
        crowd.commit(0, &adds).unwrap();
        crowd.flush();
        for _ in 0..120 {
            rough_step(&mut crowd);
        }
        crowd.flush();
        for _ in 0..3 {
            for party in 0..6 {
                crowd.restart(party);
                let _: Result<_, _> = crowd.say(party, b"quiet");
                crowd.flush();
            }
        }
        assert_eq!((crowd.ghosts(), crowd.mismatched), (0, 0), "seed {seed}");
    }
}

fn rough_step(crowd: &mut Crowd) {
    let (party, other) = (crowd.below(6), crowd.below(6));
    let name = crowd.name(other);
    let role = [Role::Admin, Role::Member][crowd.below(2)];
    let change = match crowd.below(12) {
        0 => GroupChange::SetPolicy(GroupPolicy { max_messages: 1 + u32::from(party == 0), max_age: 99_999 }),
        1 => GroupChange::Remove(name),
        2 | 3 if party != other => GroupChange::Add(name, role),
        4 => GroupChange::SetRole(name, role),
        5 if crowd.below(3) == 0 => {
            let _: Result<_, _> = crowd.leave(party);
            return;
        }
        6 | 7 => {
            let _: Result<_, _> = crowd.say(party, b"text");
            return;
        }
        8 if crowd.below(4) == 0 => {
            let group = crowd.group();
            let Party { device, disk, .. } = &mut crowd.parties[party];
            if let Ok(pending) = device.forget_group(group) {
                let Ok(()) = pending.commit(|changes| disk.apply(changes));
            }
            return;
        }
        _ => {
            for _ in 0..crowd.below(12).min(crowd.queue.len()) {
                let pick = crowd.below(crowd.queue.len());
                let flying = crowd.queue.swap_remove(pick);
                if crowd.below(12) > 0 {
                    crowd.deliver(&flying);
                    assert_eq!(Disk::of(&crowd.parties[flying.to].device), crowd.parties[flying.to].disk);
                    crowd.restart(flying.to);
                }
                if crowd.queue.is_empty() {
                    return;
                }
            }
            return;
        }
    };
    let _: Result<_, _> = crowd.commit(party, &[change]);
}

fn random_step(crowd: &mut Crowd) {
    let (party, other) = (crowd.below(6), crowd.below(6));
    let name = crowd.name(other);
    match crowd.below(100) {
        0..=29 => {
            let _: Result<_, _> = crowd.say(party, b"text");
        }
        30..=84 => {
            if crowd.queue.is_empty() {
                return;
            }
            let pick = crowd.below(crowd.queue.len());
            let flying = crowd.queue.remove(pick);
            crowd.deliver(&flying);
        }
        85..=88 => {
            if !crowd.queue.is_empty() {
                let pick = crowd.below(crowd.queue.len());
                crowd.queue.remove(pick);
            }
        }
        89..=91 => {
            if !crowd.queue.is_empty() {
                let pick = crowd.below(crowd.queue.len());
                let mut flying = crowd.queue[pick].clone();
                let bit = crowd.below(flying.bytes.len() * 8);
                flying.bytes[bit / 8] ^= 1 << (bit % 8);
                flying.intact = false;
                crowd.deliver(&flying);
            }
        }
        92..=94 => crowd.restart(party),
        95 => {
            let _: Result<_, _> = crowd.commit(party, &[GroupChange::Add(name, Role::Member)]);
        }
        96 => {
            let _: Result<_, _> = crowd.commit(party, &[GroupChange::Remove(name)]);
        }
        97 => {
            let role = if crowd.below(2) == 0 { Role::Admin } else { Role::Member };
            let _: Result<_, _> = crowd.commit(party, &[GroupChange::SetRole(name, role)]);
        }
        98 => {
            let _: Result<_, _> = crowd.leave(party);
        }
        _ => crowd.now = crowd.now.plus(20_000),
    }
}

/// The network is good again. Members speak, tell each other what is missing, and end up on one roster, or, where more
/// commits were lost than are kept, know that they did not.
fn settle(crowd: &mut Crowd, seed: u64) {
    crowd.flush();
    for _ in 0..4 {
        // Lost announcements: chains are replaced after a while.
        crowd.now = crowd.now.plus(60_000);
        for party in 0..6 {
            let _: Result<_, _> = crowd.say(party, b"quiet");
            crowd.flush();
        }
    }
    // Of two who are in, on different rosters, one at least was added by a commit that was outvoted, and knows of a fork.
    let group = crowd.group();
    let rosters = |unaware: bool| -> std::collections::BTreeMap<[u8; 32], usize> {
        let is_aware = |party: &Party| party.events.iter().any(|event| matches!(event, GroupEvent::Fork { .. }));
        let counted = crowd.parties.iter().enumerate().filter(|(_, party)| !(unaware && is_aware(party)));
        let statuses = counted.filter_map(|(index, party)| Some((party.device.group(group)?, index)));
        statuses
            .filter(|(status, _)| status.member)
            .map(|(status, index)| (status.roster.transcript(), index))
            .collect()
    };
    let unaware = rosters(true);
    assert!(
        unaware.len() <= 1,
        "seed {seed}: these are apart and do not know, each with others: {:?}",
        unaware.values()
    );
    assert!(rosters(false).len() == 1 || seed > 0, "seed 0 is one in which all agree");
    // Where all agree, all hear each other.
    if crowd.agrees() {
        for party in 0..6 {
            let Ok(number) = crowd.say(party, b"heard by all") else { continue };
            crowd.flush();
            let is_in = |to: &usize| crowd.parties[*to].device.group(group).is_some_and(|status| status.member);
            let deaf: Vec<_> =
                (0..6).filter(|to| *to != party && is_in(to) && !crowd.parties[*to].read.contains(&number)).collect();
            assert!(deaf.is_empty(), "seed {seed}: {deaf:?} can't read {party}");
        }
    }
}
