//! What follows when a roster becomes another one.

use super::*;
use alloc::collections::BTreeSet;

/// The chains that a plan wipes, and whether this device's own is one of them.
fn wiped(changes: &[Change]) -> (Vec<ChainId>, usize) {
    let mut chains: Vec<ChainId> = changes
        .iter()
        .filter_map(|change| match change {
            Change::Chain(id, None) => Some(*id),
            _ => None,
        })
        .collect();
    chains.sort_unstable();
    let own = changes.iter().filter(|change| matches!(change, Change::OwnChain(_, None))).count();
    (chains, own)
}

fn sorted<const N: usize>(mut chains: [ChainId; N]) -> Vec<ChainId> {
    chains.sort_unstable();
    chains.to_vec()
}

#[test]
fn who_is_out_still_owes_welcomes_and_commits() {
    let mut scene = Scene::new();
    let ([alice, carol, dave, _], group) = (scene.names, scene.group.clone());
    scene.follow(&group, &[(carol, EVERYTHING), (dave, ANNOUNCE)]);
    let chains = [alice, carol].map(|name| scene.reads(name, 2, group.transcript()));
    let mut after = group.clone();
    after.commit(&scene.alice, &[RosterChange::Remove(scene.device.fingerprint())], NOW).unwrap();
    let moved = scene.device.moved(&group, &after);
    let left = Debt { welcome: Some(2), commits_after: Some(2), convince: Some(2), ..NOTHING };
    assert_eq!(moved.debts.0, BTreeMap::from([(carol, left)]));
    assert_eq!(wiped(&moved.changes), (sorted(chains), 1));
    assert!(!moved.own_chain_stays && moved.added.is_empty());
    assert_eq!(moved.removed.into_iter().collect::<Vec<_>>(), [scene.device.fingerprint()]);
}

#[test]
fn who_was_put_out_is_owed_commits_alone_and_newcomers_the_chain() {
    let mut scene = Scene::new();
    let ([alice, carol, dave, eve], group) = (scene.names, scene.group.clone());
    scene.follow(&group, &[(carol, EVERYTHING), (dave, EVERYTHING)]);
    let of_carol = [alice, carol].map(|name| scene.reads(name, 2, group.transcript()))[1];
    let mut after = group.clone();
    let changes = [RosterChange::Remove(carol), RosterChange::Add(*scene.eve.public(), Role::Member)];
    after.commit(&scene.alice, &changes, NOW).unwrap();
    let moved = scene.device.moved(&group, &after);
    let told = Debt { commits_after: Some(2), convince: Some(2), ..NOTHING };
    assert_eq!(moved.debts.0, BTreeMap::from([(carol, told), (dave, EVERYTHING), (eve, ANNOUNCE)]));
    assert_eq!(wiped(&moved.changes), (Vec::from([of_carol]), 0));
    assert!(moved.own_chain_stays);
    assert_eq!((moved.added, moved.removed.len()), (Vec::from([eve]), 1));
}

#[test]
fn what_was_said_in_an_undone_epoch_is_taken_back() {
    let mut scene = Scene::new();
    let ([alice, carol, dave, eve], group) = (scene.names, scene.group.clone());
    // This device has gone on by two epochs; Alice, who outranks it, by another one.
    let mut before = group.clone();
    let add = RosterChange::Add(*scene.eve.public(), Role::Member);
    before.commit(&scene.device.identity, &[add], NOW).unwrap();
    let third = before.transcript();
    before.commit(&scene.device.identity, &[policy(8)], NOW).unwrap();
    let mut theirs = group.clone();
    let commit = theirs.commit(&scene.alice, &[policy(9), RosterChange::Remove(dave)], NOW).unwrap().commit;
    let mut after = before.clone();
    assert_eq!(after.receive(&commit, &[], NOW), Ok(Received::Superseded(2)));
    assert_eq!((before.epoch(), after.epoch()), (4, 3));

    let welcome = |epoch| Debt { welcome: Some(epoch), ..EVERYTHING };
    scene.follow(&before, &[(alice, ANNOUNCE), (carol, welcome(2)), (dave, EVERYTHING), (eve, EVERYTHING)]);
    for (epoch, transcript) in [(2, group.transcript()), (3, after.transcript())] {
        scene.reads(alice, epoch, transcript);
    }
    let gone = [
        scene.reads(alice, 3, third),
        scene.reads(carol, 4, before.transcript()),
        scene.reads(dave, 2, group.transcript()),
        scene.reads(eve, 3, third),
    ];
    let moved = scene.device.moved(&before, &after);
    assert_eq!(wiped(&moved.changes), (sorted(gone), 1));
    assert!(!moved.own_chain_stays && moved.added.is_empty());
    assert_eq!(moved.removed.len(), 2);
    // Dave was in what is kept, and learns that he is out; Eve knows nothing that the commits build on.
    let told = Debt { commits_after: Some(2), ..NOTHING };
    let silent = Debt { announce: false, ..EVERYTHING };
    assert_eq!(moved.debts.0, BTreeMap::from([(carol, silent), (dave, told)]));

    // Welcomes of epochs that are gone, or never were, are owed no more.
    for epoch in [3, 4, 9] {
        scene.follow(&before, &[(carol, welcome(epoch))]);
        let moved = scene.device.moved(&before, &after);
        assert_eq!(moved.debts.0, BTreeMap::from([(carol, Debt { welcome: None, ..silent })]), "{epoch}");
    }
}

/// A device that is in as many groups as there may be makes no other, is brought into no other, and is restored.
#[test]
fn groups_are_bounded() {
    let mut scene = Scene::new();
    let me = *scene.device.identity.public();
    let mut group = Group::create(&scene.alice, GroupPolicy::default(), &mut scene.rng).unwrap();
    let welcome = group.commit(&scene.alice, &[RosterChange::Add(me, Role::Member)], NOW).unwrap().welcome;
    let welcomed = |device: &Device| {
        let mut plan = Plan::default();
        let message = RosterMessage::decode(&welcome).unwrap();
        let (_, event) = device.plan_roster(scene.names[0], message, &welcome, NOW, &mut plan).unwrap();
        (event, plan.changes.is_empty())
    };
    let mut plan = Vec::new();
    for _ in 0..MAX_GROUPS {
        let group = Group::create(&scene.device.identity, GroupPolicy::default(), &mut scene.rng).unwrap();
        plan.push(Change::Group(group.id(), Some(Box::new(group))));
    }
    let settle = |device: &mut Device, plan| kept(Pending::new(device, plan, ()));
    settle(&mut scene.device, plan);
    assert_eq!(welcomed(&scene.device), (GroupEvent::Refused, true));
    let refused = scene.device.create_group(GroupPolicy::default(), &mut scene.rng).map(drop);
    assert_eq!(refused, Err(GroupError::TooMany));
    assert_eq!(restored(&scene.device).unwrap().groups.len(), MAX_GROUPS);
    let one_more = Group::create(&scene.device.identity, GroupPolicy::default(), &mut scene.rng).unwrap();
    let id = one_more.id();
    settle(&mut scene.device, Vec::from([Change::Group(id, Some(Box::new(one_more)))]));
    assert_eq!(restored(&scene.device).map(drop), Err(StateError::Inconsistent));
    // Two less, and there is room for one.
    let known: Vec<_> = scene.device.groups.keys().copied().take(2).collect();
    for group in known {
        kept(scene.device.forget_group(group).unwrap());
    }
    assert_eq!(welcomed(&scene.device), (GroupEvent::Joined { epoch: 1 }, false));
    kept(scene.device.create_group(GroupPolicy::default(), &mut scene.rng).unwrap());
    assert_eq!(scene.device.groups.len(), MAX_GROUPS);
}

/// A removal that is undone had chains wiped: those who come back are asked for theirs, and, by who comes back itself, all are.
#[test]
fn chains_that_were_wiped_for_nothing_are_wanted_again() {
    let mut scene = Scene::new();
    let ([alice, carol, dave, eve], group) = (scene.names, scene.group.clone());
    let me = scene.device.fingerprint();
    let mut theirs = group.clone();
    let add = RosterChange::Add(*scene.eve.public(), Role::Member);
    let better = theirs.commit(&scene.alice, &[add], NOW).unwrap().commit;
    let wanted = |scene: &mut Scene, change| {
        let mut before = group.clone();
        before.commit(&scene.device.identity, &[change], NOW).unwrap();
        scene.follow(&before, &[(carol, Debt { want: true, ..NOTHING })]);
        let mut after = before.clone();
        assert_eq!(after.receive(&better, &[], NOW), Ok(Received::Superseded(1)));
        let moved = scene.device.moved(&before, &after);
        let wanted = moved.debts.0.into_iter().filter(|(_, debt)| debt.want).map(|(name, _)| name);
        wanted.collect::<BTreeSet<_>>()
    };
    assert_eq!(wanted(&mut scene, policy(8)), BTreeSet::from([carol, eve]));
    assert_eq!(wanted(&mut scene, RosterChange::Remove(dave)), BTreeSet::from([carol, dave, eve]));
    assert_eq!(wanted(&mut scene, RosterChange::Leave), BTreeSet::from([alice, carol, dave, eve]));
    // Not when a removal stands, or a member comes back by being added.
    let mut without = group.clone();
    without.commit(&scene.alice, &[RosterChange::Remove(dave)], NOW).unwrap();
    scene.follow(&group, &[(dave, Debt { want: true, ..NOTHING })]);
    assert!(scene.device.moved(&group, &without).debts.0.is_empty());
    let mut again = without.clone();
    let daves = group.member(dave).unwrap().identity;
    again.commit(&scene.alice, &[RosterChange::Add(daves, Role::Member)], NOW).unwrap();
    scene.follow(&without, &[]);
    assert_eq!(scene.device.moved(&without, &again).debts.0, BTreeMap::from([(dave, ANNOUNCE)]));
    assert!(again.member(me).is_some());
}
