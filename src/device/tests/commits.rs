//! What comes of commits that a peer brings.

use super::*;
use crate::wire::roster::Announcement;

/// What this device makes of a commit from a peer; what it owes then, if that changes, and whether the commit waits.
fn brought(scene: &Scene, from: Fingerprint, commit: &[u8]) -> (GroupEvent, Option<Debts>, bool) {
    let mut plan = Plan::default();
    let message = RosterMessage::decode(commit).unwrap();
    let (_, event) = scene.device.plan_roster(from, message, commit, NOW, &mut plan).unwrap();
    let waits = plan.changes.iter().any(|change| matches!(change, Change::Waiting(..)));
    (event, owed(plan), waits)
}

fn owed(plan: Plan) -> Option<Debts> {
    plan.changes.into_iter().rev().find_map(|change| match change {
        Change::Debts(_, debts) => Some(debts),
        _ => None,
    })
}

#[test]
fn outvoted_commits_are_answered_once_where_the_branch_begins() {
    let mut scene = Scene::new();
    let ([_, carol, _, eve], mut group) = (scene.names, scene.group.clone());
    group.commit(&scene.alice, &[policy(8)], NOW).unwrap();
    // Of this device, which is an admin for less long.
    let rival = group.clone().commit(&scene.device.identity, &[policy(20)], NOW).unwrap().commit;
    for most in 9..12 {
        group.commit(&scene.alice, &[policy(most)], NOW).unwrap();
    }
    scene.follow(&group, &[]);
    let (event, debts, waits) = brought(&scene, carol, &rival);
    let answer = Debt { commits_after: Some(3), convince: Some(4), ..NOTHING };
    assert_eq!((event, waits), (GroupEvent::Outvoted, true));
    assert_eq!(debts.unwrap().0, BTreeMap::from([(carol, answer)]));
    // A stranger is told nothing.
    let (event, debts, waits) = brought(&scene, eve, &rival);
    assert_eq!((event, debts, waits), (GroupEvent::Outvoted, None, false));
    waits_already(&mut scene, carol, &rival);
    let (event, debts, _) = brought(&scene, carol, &rival);
    assert_eq!((event, debts), (GroupEvent::Outvoted, None));
}

fn waits_already(scene: &mut Scene, peer: Fingerprint, commit: &[u8]) {
    let id = scene.group.id();
    waits(scene, peer, Vec::from([(id, PayloadKind::Roster, Vec::from(commit))]));
}

#[test]
fn early_commits_wait_and_members_are_asked_once() {
    let mut scene = Scene::new();
    let ([_, carol, _, eve], mut group) = (scene.names, scene.group.clone());
    scene.follow(&scene.group.clone(), &[]);
    group.commit(&scene.alice, &[policy(8)], NOW).unwrap();
    let early = group.commit(&scene.alice, &[policy(9)], NOW).unwrap().commit;
    let (event, debts, waits) = brought(&scene, carol, &early);
    assert_eq!((event, waits), (GroupEvent::Waiting, true));
    assert_eq!(debts.unwrap().0, BTreeMap::from([(carol, Debt { ask: true, ..NOTHING })]));
    let (event, debts, waits) = brought(&scene, eve, &early);
    assert_eq!((event, debts, waits), (GroupEvent::Waiting, None, true));
    waits_already(&mut scene, carol, &early);
    let (event, debts, _) = brought(&scene, carol, &early);
    assert_eq!((event, debts), (GroupEvent::Waiting, None));
}

#[test]
fn who_was_added_by_what_is_undone_is_told() {
    let mut scene = Scene::new();
    let ([alice, _, dave, eve], group) = (scene.names, scene.group.clone());
    let frank = IdentityKeyPair::generate(&mut scene.rng);
    let adds = [scene.eve.public(), frank.public()].map(|key| RosterChange::Add(*key, Role::Member));
    let mut before = group.clone();
    before.commit(&scene.device.identity, &adds, NOW).unwrap();
    let mut theirs = group.clone();
    let better = theirs.commit(&scene.alice, &[RosterChange::Remove(dave)], NOW).unwrap().commit;
    // Frank was not welcomed yet, and has nothing to unlearn.
    scene.follow(&before, &[(frank.fingerprint(), Debt { welcome: Some(3), ..NOTHING })]);
    let (event, debts, _) = brought(&scene, alice, &better);
    assert!(matches!(event, GroupEvent::Changed { epoch: 3, own_superseded: true, superseded: 1, .. }), "{event:?}");
    let told = Debt { commits_after: Some(2), convince: Some(3), ..NOTHING };
    assert_eq!(debts.unwrap().0, BTreeMap::from([(dave, told), (eve, Debt { gone: true, ..NOTHING })]));

    // It owes itself nothing.
    scene.follow(&before, &[]);
    let mut theirs = group.clone();
    let changes = [RosterChange::Remove(scene.device.fingerprint())];
    let better = theirs.commit(&scene.alice, &changes, NOW).unwrap().commit;
    let (_, debts, _) = brought(&scene, alice, &better);
    assert_eq!(debts.unwrap().0, [eve, frank.fingerprint()].map(|name| (name, Debt { gone: true, ..NOTHING })).into());
}

#[test]
fn members_on_another_roster_are_given_all_commits_and_asked() {
    let mut scene = Scene::new();
    let ([alice, carol, ..], group) = (scene.names, scene.group.clone());
    let announce = |scene: &mut Scene, group: &Group| {
        scene.follow(group, &[]);
        let chain = OwnChain::generate(group.id(), carol, 2, [7; 32], NOW, &mut scene.rng);
        let announced: Announcement = chain.announcement(group.epoch(), [7; 32]);
        let mut plan = Plan::default();
        let event = scene.device.plan_announcement(carol, &announced, b"what waits", NOW, &mut plan);
        assert!(matches!(event, GroupEvent::Fork { .. }), "{event:?}");
        owed(plan).unwrap().0
    };
    let debt = |commits_after| BTreeMap::from([(carol, Debt { commits_after, ask: true, ..NOTHING })]);
    assert_eq!(announce(&mut scene, &group), debt(Some(0)));
    // A newcomer has no commits to give.
    let me = *scene.device.identity.public();
    let mut before = Group::create(&scene.alice, GroupPolicy::default(), &mut scene.rng).unwrap();
    before.commit(&scene.alice, &[RosterChange::Add(*scene.carol.public(), Role::Member)], NOW).unwrap();
    let welcome = before.commit(&scene.alice, &[RosterChange::Add(me, Role::Member)], NOW).unwrap().welcome;
    let joined = Group::join(&me, &welcome, alice, NOW).unwrap();
    assert_eq!(announce(&mut scene, &joined), debt(None));
}

#[test]
fn who_leaves_is_put_out_by_its_own_commit() {
    let scene = Scene::new();
    let ([_, carol, dave, _], mut group) = (scene.names, scene.group.clone());
    group.commit(&scene.carol, &[RosterChange::Leave], NOW).unwrap();
    let (_, commit) = group.commits_after(2).next().unwrap();
    assert!(commit.removes(carol) && !commit.removes(dave));
}
