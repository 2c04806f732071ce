//! What this device makes of welcomes and questions.

use super::*;

/// What this device makes of a welcome, when it follows `known`; and what it owes then.
fn welcomed(scene: &mut Scene, known: &Group, welcome: &[u8], from: Fingerprint) -> (GroupEvent, Option<Debts>) {
    scene.settle(Vec::from([Change::Group(known.id(), Some(Box::new(known.clone())))]));
    let message = RosterMessage::decode(welcome).unwrap();
    let mut plan = Plan::default();
    let (_, event) = scene.device.plan_roster(from, message, welcome, NOW, &mut plan).unwrap();
    let debts = plan.changes.into_iter().rev().find_map(|change| match change {
        Change::Debts(_, debts) => Some(debts),
        _ => None,
    });
    (event, debts)
}

/// Another welcome than the one that was followed, into a roster that does not come from the same one.
#[test]
fn second_welcomes_are_taken_while_nothing_was_built_on_the_first() {
    let mut scene = Scene::new();
    let [alice, carol, _, eve] = scene.names;
    let me = *scene.device.identity.public();
    let founded = Group::create(&scene.alice, GroupPolicy::default(), &mut scene.rng).unwrap();
    let add = |key, role| RosterChange::Add(key, role);
    let (eve_in, carol_in) = (add(*scene.eve.public(), Role::Admin), add(*scene.carol.public(), Role::Member));
    let mut group = founded.clone();
    group.commit(&scene.alice, &[eve_in, carol_in], NOW).unwrap();

    // Epoch 2 of one branch: Alice brings this device in.
    let mut first = group.clone();
    let welcome = first.commit(&scene.alice, &[add(me, Role::Member)], NOW).unwrap().welcome;
    let known = Group::join(&me, &welcome, alice, NOW).unwrap();
    let mut built_on = known.clone();
    built_on.commit(&scene.alice, &[policy(5)], NOW).unwrap();
    let mut out = known.clone();
    out.commit(&scene.alice, &[RosterChange::Remove(scene.device.fingerprint())], NOW).unwrap();

    // Others, by Eve, an admin, and by Carol, who is one there only.
    let by_eve =
        |mut group: Group, scene: &Scene| group.commit(&scene.eve, &[add(me, Role::Member)], NOW).unwrap().welcome;
    let mut later = group.clone();
    later.commit(&scene.alice, &[policy(6)], NOW).unwrap();
    let later = by_eve(later, &scene);
    let mut same_epoch = founded.clone();
    same_epoch.commit(&scene.alice, &[eve_in], NOW).unwrap();
    let same_epoch = by_eve(same_epoch, &scene);
    let earlier = founded.clone().commit(&scene.alice, &[eve_in, add(me, Role::Member)], NOW).unwrap().welcome;
    let mut promoted = group.clone();
    promoted.commit(&scene.alice, &[RosterChange::SetRole(carol, Role::Admin)], NOW).unwrap();
    let by_carol = promoted.commit(&scene.carol, &[add(me, Role::Member)], NOW).unwrap().welcome;
    let rival = by_eve(group.clone(), &scene);
    let mut without = group.clone();
    without.commit(&scene.eve, &[RosterChange::Remove(alice)], NOW).unwrap();
    let without = by_eve(without, &scene);
    let again = by_eve(out.clone(), &scene);

    let is_fork = |event: &GroupEvent| matches!(event, GroupEvent::Fork { .. });
    let joined = |event: &GroupEvent, at| matches!(event, GroupEvent::Joined { epoch } if *epoch == at);
    let mut say = |known: &Group, welcome: &[u8], from| welcomed(&mut scene, known, welcome, from).0;
    assert!(joined(&say(&known, &later, eve), 3));
    assert!(joined(&say(&known, &same_epoch, eve), 2));
    assert!(is_fork(&say(&known, &earlier, alice)));
    assert!(is_fork(&say(&known, &by_carol, carol)));
    assert!(is_fork(&say(&built_on, &later, eve)));
    assert!(is_fork(&say(&known, &without, eve)), "who brought it in is not there");
    // Who was put out is taken in again, but by nothing older than that.
    assert!(joined(&say(&out, &again, eve), 4));
    assert!(is_fork(&say(&out, &same_epoch, eve)));
    assert!(is_fork(&say(&out, &rival, eve)));

    // Welcomes that were owed before that are still owed, to be said to be too late; nothing else is.
    let owed = |welcome| Debt { welcome, ..EVERYTHING };
    let debts = [(alice, ANNOUNCE), (carol, owed(Some(1))), (eve, owed(Some(4)))];
    scene.settle(Vec::from([Change::Debts(out.id(), Debts(debts.into_iter().collect()))]));
    let (_, debts) = welcomed(&mut scene, &out, &again, eve);
    assert_eq!(debts.unwrap().0, BTreeMap::from([(carol, Debt { welcome: Some(1), ..NOTHING })]));
}

/// Who asks, its epoch, the newest epoch on which both agree; what is owed then, and what is said.
type Case<'a> = (Fingerprint, u64, Option<u64>, Option<Debt>, &'a str);

/// What a question for commits is answered with: what is owed then, and what is said.
#[test]
fn questions_are_answered_with_what_leads_on() {
    let mut scene = Scene::new();
    let ([_, carol, _, eve], mut group) = (scene.names, scene.group.clone());
    for i in 1..=10 {
        group.commit(&scene.alice, &[policy(i)], NOW).unwrap();
    }
    assert_eq!((group.epoch(), group.oldest_base()), (12, 4));
    let hash = |epoch| group.transcript_at(epoch).unwrap();
    let elsewhere = [7; 32];
    scene.settle(Vec::from([Change::Group(group.id(), Some(Box::new(group.clone())))]));
    let ask = |scene: &Scene, from, epoch, hashes: &[[u8; 32]]| {
        let mut changes = Vec::new();
        let event = scene.device.plan_commits_wanted(from, group.id(), (epoch, hashes), &mut changes, &mut Vec::new());
        let Event::Group { what, .. } = event else { panic!("{event:?}") };
        let owed = changes.into_iter().find_map(|change| match change {
            Change::Debts(_, debts) => debts.0.get(&from).copied(),
            _ => None,
        });
        let said = match what {
            GroupEvent::CommitsWanted => "wanted",
            GroupEvent::Fork { .. } => "fork",
            GroupEvent::Refused => "refused",
            other => panic!("{other:?}"),
        };
        (owed, said)
    };
    let gone = Some(Debt { gone: true, ..NOTHING });
    let commits = |after, ask| Some(Debt { commits_after: Some(after), ask, ..NOTHING });
    let only_ask = Some(Debt { ask: true, ..NOTHING });
    // Who asks, its epoch, and the newest epoch on which both agree.
    let cases: [Case<'_>; 14] = [
        (carol, 2, Some(2), gone, "wanted"),
        (carol, 3, Some(2), gone, "fork"),
        (carol, 9, None, gone, "fork"),
        (eve, 9, None, gone, "refused"),
        (carol, 4, Some(4), commits(4, false), "wanted"),
        (carol, 6, Some(6), commits(6, false), "wanted"),
        (eve, 6, Some(6), None, "refused"),
        (carol, 8, Some(6), commits(6, false), "wanted"),
        (carol, 12, Some(6), commits(6, false), "wanted"),
        (carol, 13, Some(6), commits(6, true), "wanted"),
        (carol, 11, Some(11), commits(11, false), "wanted"),
        (carol, 12, Some(12), None, "refused"),
        (carol, 13, Some(12), only_ask, "wanted"),
        (eve, 13, Some(12), None, "refused"),
    ];
    for (from, epoch, agreed, owed, said) in cases {
        let newest_first = (0..=epoch).rev();
        let hashes: Vec<_> = match agreed {
            Some(agreed) => newest_first
                .take_while(|at| *at >= agreed)
                .map(|at| if at == agreed { hash(at) } else { elsewhere })
                .collect(),
            None => Vec::from([elsewhere]),
        };
        assert_eq!(ask(&scene, from, epoch, &hashes), (owed, said), "{epoch} {agreed:?}");
    }
    // Whether the commits that it wants are gone, whoever is in says; who has the hash itself is no fork.
    let gone = |from, epoch, theirs| match scene.device.commits_gone(from, group.id(), epoch, theirs) {
        Event::Group { what, .. } => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(gone(carol, 6, hash(6)), GroupEvent::Known);
    assert!(matches!(gone(carol, 6, elsewhere), GroupEvent::Fork { epoch: 6, .. }));
    assert_eq!(gone(eve, 6, elsewhere), GroupEvent::Refused);
    assert_eq!(gone(eve, 6, hash(6)), GroupEvent::Refused);
}

/// Of what was before its welcome a device knows one hash, and believes who brought it in that this was undone.
#[test]
fn newcomers_are_told_of_forks() {
    let mut scene = Scene::new();
    let [alice, carol, _, eve] = scene.names;
    let (elsewhere, me) = ([7; 32], *scene.device.identity.public());
    let mut group = Group::create(&scene.alice, GroupPolicy::default(), &mut scene.rng).unwrap();
    let carol_in = RosterChange::Add(*scene.carol.public(), Role::Admin);
    group.commit(&scene.alice, &[carol_in], NOW).unwrap();
    group.commit(&scene.alice, &[policy(3)], NOW).unwrap();
    let before = group.transcript();
    let welcome = group.commit(&scene.alice, &[RosterChange::Add(me, Role::Member)], NOW).unwrap().welcome;
    let mut joined = Group::join(&me, &welcome, alice, NOW).unwrap();
    scene.settle(Vec::from([Change::Group(joined.id(), Some(Box::new(joined.clone())))]));
    let is_fork = |event| matches!(event, Event::Group { what: GroupEvent::Fork { .. }, .. });
    let asked = |epoch, hash| {
        let (mut changes, mut notices) = (Vec::new(), Vec::new());
        is_fork(scene.device.plan_commits_wanted(carol, joined.id(), (epoch, &[hash]), &mut changes, &mut notices))
    };
    assert_eq!([1, 2, 3, 4].map(|epoch| asked(epoch, elsewhere)), [false, true, true, true]);
    assert!(!asked(2, before));

    joined.commit(&scene.carol, &[RosterChange::Remove(alice)], NOW).unwrap();
    scene.settle(Vec::from([Change::Group(joined.id(), Some(Box::new(joined.clone())))]));
    let gone = |from, epoch, hash| is_fork(scene.device.commits_gone(from, joined.id(), epoch, hash));
    assert!(gone(alice, 0, [0; 32]) && gone(alice, 2, elsewhere) && gone(carol, 1, elsewhere));
    assert!(!gone(alice, 2, before) && !gone(eve, 2, elsewhere));
}

/// A chain is one of the roster that its announcement names: not of who came in later, as far back as can be told, nor, when
/// it waited, later.
#[test]
fn nobody_speaks_under_a_roster_it_was_not_in() {
    let mut scene = Scene::new();
    let ([alice, carol, dave, eve], mut group) = (scene.names, scene.group.clone());
    let eves = *scene.eve.public();
    group.commit(&scene.alice, &[RosterChange::Add(eves, Role::Member), RosterChange::Remove(dave)], NOW).unwrap();
    group.commit(&scene.alice, &[policy(9)], NOW).unwrap();
    let hash = |epoch| group.transcript_at(epoch).unwrap();
    assert_eq!((group.epoch(), group.was_in(alice, 0), group.was_in(carol, 0)), (4, true, false));
    let held = [(alice, 1, true), (carol, 1, true), (carol, 4, true), (eve, 2, false), (eve, 3, true), (eve, 4, true)];
    for (from, epoch, fits) in held {
        assert_eq!(group.was_in(from, epoch), fits, "{epoch}");
        let announced = announced(&mut scene, from, group.id(), epoch, hash(epoch));
        scene.follow(&group, &[]);
        let mut plan = Plan::default();
        let read = Reader::whole(&announced, Announcement::read).unwrap();
        let event = scene.device.plan_announcement(from, &read, &announced, NOW, &mut plan);
        assert_eq!(event, if fits { GroupEvent::ChainAnnounced } else { GroupEvent::Refused });
        assert_eq!(plan.changes.is_empty(), !fits);
        // The same when it waited for that roster.
        waits(&mut scene, from, Vec::from([(group.id(), PayloadKind::Announcement, announced)]));
        let (mut plan, mut now) = (Plan::default(), group.clone());
        let taken = scene.device.settle_waiting(&mut now, NOW, &mut plan);
        assert_eq!(taken.len(), usize::from(fits));
        waits(&mut scene, from, Vec::new());
    }
    // Beyond what is kept, the oldest roster that is known serves.
    for most in 10..18 {
        group.commit(&scene.alice, &[policy(most)], NOW).unwrap();
    }
    assert_eq!(group.oldest_base(), 4);
    assert!(group.was_in(eve, 2) && group.was_in(eve, 4));
}

/// A member that has lost this device's chain gets it again; nobody else does, and where there is none there is nothing to say.
#[test]
fn chains_are_given_again_to_members_who_want_them() {
    let mut scene = Scene::new();
    let ([_, carol, _, eve], group) = (scene.names, scene.group.clone());
    let wanted = |scene: &Scene, from| {
        let (mut changes, mut notices) = (Vec::new(), Vec::new());
        let event = scene.device.plan_chain_wanted(from, group.id(), &mut changes, &mut notices);
        let Event::Group { what, .. } = event else { panic!("{event:?}") };
        let owed = changes.into_iter().find_map(|change| match change {
            Change::Debts(_, debts) => debts.0.get(&from).copied(),
            _ => None,
        });
        assert_eq!(notices.len(), usize::from(owed.is_some()));
        (what, owed)
    };
    assert_eq!(wanted(&scene, carol), (GroupEvent::Refused, None), "of a group that is not known");
    scene.settle(Vec::from([Change::Group(group.id(), Some(Box::new(group.clone())))]));
    assert_eq!(wanted(&scene, carol), (GroupEvent::Refused, None), "there is no chain");
    scene.follow(&group, &[]);
    assert_eq!(wanted(&scene, carol), (GroupEvent::ChainWanted, Some(ANNOUNCE)));
    assert_eq!(wanted(&scene, eve), (GroupEvent::Refused, None), "she is out");
}
