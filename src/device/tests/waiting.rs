//! What came too early.

use super::*;

/// What is left waiting of each peer whose entries have become fewer.
fn left(plan: &Plan) -> BTreeMap<Fingerprint, usize> {
    let of = |change: &Change| match change {
        Change::Waiting(peer, waiting) => Some((*peer, waiting.0.len())),
        _ => None,
    };
    plan.changes.iter().filter_map(of).collect()
}

#[test]
fn what_waits_is_taken_as_soon_as_it_fits() {
    let mut scene = Scene::new();
    let ([alice, carol, dave, eve], mut group) = (scene.names, scene.group.clone());
    let (id, mut later) = (group.id(), group.clone());
    let commits = [1, 2].map(|i| later.commit(&scene.alice, &[policy(i)], NOW).unwrap().commit);
    let (low, high) = (carol.min(dave), carol.max(dave));
    let other = GroupId::from_bytes([9; 32]);
    let hash = later.transcript();
    // The first commit stands with the peer that is looked at last.
    let [first, second] = commits;
    let in_other = announced(&mut scene, low, other, 4, hash);
    let fits = announced(&mut scene, low, id, 4, hash);
    let of_low = [(id, PayloadKind::Roster, second), (other, PayloadKind::Announcement, in_other)];
    let of_low = of_low.into_iter().chain([(id, PayloadKind::Announcement, fits)]).collect();
    waits(&mut scene, low, of_low);
    let future = announced(&mut scene, high, id, 9, [7; 32]);
    let of_high = Vec::from([(id, PayloadKind::Roster, first), (id, PayloadKind::Announcement, future)]);
    waits(&mut scene, high, of_high);
    // Under another hash, and of someone who is no member: these may still come to fit.
    for (peer, hash) in [(alice, [7; 32]), (eve, hash)] {
        let bytes = announced(&mut scene, peer, id, 4, hash);
        waits(&mut scene, peer, Vec::from([(id, PayloadKind::Announcement, bytes)]));
    }
    let mut plan = Plan::default();
    let taken = scene.device.settle_waiting(&mut group, NOW, &mut plan);
    assert_eq!((group.epoch(), group.transcript()), (4, hash));
    assert_eq!(taken.iter().map(|(from, _)| *from).collect::<Vec<_>>(), [low]);
    assert_eq!(left(&plan), BTreeMap::from([(low, 1), (high, 1)]));
    assert!(plan.notices.is_empty());

    // A newcomer that does not know the epoch of a chain, since it was before its welcome, waits for nothing.
    let me = *scene.device.identity.public();
    let mut before = Group::create(&scene.alice, GroupPolicy::default(), &mut scene.rng).unwrap();
    before.commit(&scene.alice, &[RosterChange::Add(*scene.carol.public(), Role::Member)], NOW).unwrap();
    let welcome = before.commit(&scene.alice, &[RosterChange::Add(me, Role::Member)], NOW).unwrap().welcome;
    let mut joined = Group::join(&me, &welcome, alice, NOW).unwrap();
    let old = announced(&mut scene, carol, joined.id(), 1, [7; 32]);
    waits(&mut scene, carol, Vec::from([(joined.id(), PayloadKind::Announcement, old)]));
    let mut plan = Plan::default();
    assert!(scene.device.settle_waiting(&mut joined, NOW, &mut plan).is_empty());
    assert_eq!(left(&plan), BTreeMap::from([(carol, 0)]));
}

#[test]
fn what_waits_and_can_not_be_followed_is_a_fork_if_a_member_brought_it() {
    let mut scene = Scene::new();
    let ([_, carol, dave, eve], mut group) = (scene.names, scene.group.clone());
    let id = group.id();
    let known = group.commit(&scene.alice, &[policy(1)], NOW).unwrap().commit;
    for i in 2..=12 {
        group.commit(&scene.alice, &[policy(i)], NOW).unwrap();
    }
    let extends = scene.group.transcript();
    let signature = crate::keys::Signature([0; 64]);
    let commit = RosterCommit { extends, signer: carol, changes: Vec::from([RosterChange::Leave]), signature };
    let foreign = RosterMessage::Commit(id, commit).encode();
    for (peer, bytes) in [(carol, &foreign), (eve, &foreign), (dave, &known)] {
        waits(&mut scene, peer, Vec::from([(id, PayloadKind::Roster, bytes.clone())]));
    }
    let mut plan = Plan::default();
    scene.device.settle_waiting(&mut group, NOW, &mut plan);
    assert_eq!(left(&plan), BTreeMap::from([(carol, 0), (eve, 0), (dave, 0)]));
    assert_eq!(plan.notices, [Notice::GroupFork { group: id, ours: group.transcript(), theirs: extends }]);
}

/// However many peers have something waiting, one change of the roster compares so much of it.
#[test]
fn what_waits_is_compared_within_bounds() {
    let mut scene = Scene::new();
    let mut group = scene.group.clone();
    let id = group.id();
    let known = group.commit(&scene.alice, &[policy(1)], NOW).unwrap().commit;
    let peer = |number: u16| {
        let mut name = [9; 32];
        name[..2].copy_from_slice(&number.to_be_bytes());
        Fingerprint::from_bytes(name)
    };
    for number in 0..300 {
        waits(&mut scene, peer(number), Vec::from([(id, PayloadKind::Roster, known.clone())]));
    }
    let mut plan = Plan::default();
    scene.device.settle_waiting(&mut group, NOW, &mut plan);
    assert_eq!(left(&plan).len(), MAX_COMPARISONS);
    // What can be applied is, all the same.
    let next = group.clone().commit(&scene.alice, &[policy(2)], NOW).unwrap().commit;
    waits(&mut scene, peer(u16::MAX), Vec::from([(id, PayloadKind::Roster, next)]));
    scene.device.settle_waiting(&mut group, NOW, &mut Plan::default());
    assert_eq!(group.epoch(), 4);
}

/// What came as an attachment waits no longer, whoever else's commits follow from it.
#[test]
fn what_was_fetched_waits_no_longer() {
    let mut scene = Scene::new();
    let ([_, carol, dave, _], mut group) = (scene.names, scene.group.clone());
    scene.follow(&group, &[]);
    let id = group.id();
    let [first, second] = [1, 2].map(|i| group.commit(&scene.alice, &[policy(i)], NOW).unwrap().commit);
    let (attachment, ciphertext) = crate::attachment::seal(&first, &mut scene.rng).unwrap();
    let named = RosterMessage::Elsewhere(id, attachment).encode();
    waits(&mut scene, carol, Vec::from([(id, PayloadKind::Roster, named)]));
    waits(&mut scene, dave, Vec::from([(id, PayloadKind::Roster, second)]));
    assert_eq!(scene.device.wanted().count(), 1);
    let Ok(_) = scene.device.take_attached(&ciphertext, NOW).unwrap().commit(|_| Ok::<_, Infallible>(()));
    assert_eq!(scene.device.group(id).unwrap().roster.epoch(), 4);
    assert_eq!(scene.device.wanted().count(), 0);
    assert!(scene.device.waiting.is_empty());
}
