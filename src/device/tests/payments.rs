//! How what is owed to members gets paid: one message at a time, and never more than the member may know.

use super::*;
use crate::device::group_debts::{Cache, Paid, Payment, payment};
use crate::device::peer::Peer;
use crate::error::SealError;
use crate::session::Control;
use alloc::format;
use alloc::string::String;

/// What one payment said, and what is owed behind it.
fn paid(scene: &mut Scene, group: &Group, member: Fingerprint, mut debt: Debt) -> (String, Debt) {
    let (mut cache, me) = (Cache::default(), scene.device.fingerprint());
    let said = match payment(group, None, me, member, &mut debt, &mut cache, &mut scene.rng) {
        Payment::Nothing => String::from("nothing"),
        Payment::Message(PayloadKind::Roster, content) => match RosterMessage::decode(content).unwrap() {
            RosterMessage::Commit(_, commit) => {
                let (begins, _) = group.commits_after(0).find(|(_, kept)| **kept == commit).unwrap();
                format!("commit {begins}")
            }
            RosterMessage::Welcome(..) => String::from("welcome"),
            RosterMessage::Elsewhere(..) => String::from("elsewhere"),
        },
        Payment::Message(_, content) => match Control::decode(content).unwrap() {
            Control::CommitsGone(_, epoch, _) => format!("gone {epoch}"),
            other => panic!("{other:?}"),
        },
    };
    (said, debt)
}

#[test]
fn commits_are_paid_as_far_as_they_concern_the_member() {
    let mut scene = Scene::new();
    let ([_, carol, dave, eve], mut group) = (scene.names, scene.group.clone());
    for change in [policy(8), RosterChange::Remove(carol), policy(9), policy(10)] {
        group.commit(&scene.alice, &[change], NOW).unwrap();
    }
    assert_eq!((group.epoch(), group.oldest_base()), (6, 0));
    let owed = |after, convince| Debt { commits_after: Some(after), convince, ..NOTHING };
    let cases = [
        // A member gets all that follows.
        (dave, owed(4, None), "commit 5", owed(5, None)),
        (dave, owed(5, None), "commit 6", NOTHING),
        (dave, owed(6, None), "nothing", NOTHING),
        // Who is out gets them up to the one that put it out, or that convinces it.
        (carol, owed(2, None), "commit 3", owed(3, None)),
        (carol, owed(3, None), "commit 4", NOTHING),
        (carol, owed(4, None), "nothing", NOTHING),
        (carol, owed(3, Some(5)), "commit 4", owed(4, Some(5))),
        (carol, owed(4, Some(5)), "commit 5", NOTHING),
        (carol, owed(5, Some(5)), "nothing", NOTHING),
        (eve, owed(5, None), "nothing", NOTHING),
    ];
    for (member, debt, said, left) in cases {
        assert_eq!(paid(&mut scene, &group, member, debt), (String::from(said), left), "{debt:?}");
    }
    for most in 11..15 {
        group.commit(&scene.alice, &[policy(most)], NOW).unwrap();
    }
    assert_eq!((group.epoch(), group.oldest_base()), (10, 2));
    // A gap: nobody could follow.
    assert_eq!(paid(&mut scene, &group, dave, owed(1, None)), (String::from("gone 10"), NOTHING));
    assert_eq!(paid(&mut scene, &group, eve, owed(1, None)), (String::from("nothing"), NOTHING));
    assert_eq!(paid(&mut scene, &group, dave, owed(2, None)), (String::from("commit 3"), owed(3, None)));
    let both = Debt { gone: true, ..owed(6, None) };
    let gone = Debt { gone: true, ..owed(7, None) };
    assert_eq!(paid(&mut scene, &group, dave, both), (String::from("commit 7"), gone));
}

#[test]
fn commits_follow_welcomes_that_are_late() {
    let mut scene = Scene::new();
    let (eve, mut group) = (scene.names[3], scene.group.clone());
    let add = RosterChange::Add(*scene.eve.public(), Role::Member);
    group.commit(&scene.device.identity, &[add], NOW).unwrap();
    let owed = Debt { welcome: Some(3), ..NOTHING };
    assert_eq!(paid(&mut scene, &group, eve, owed), (String::from("welcome"), NOTHING));
    group.commit(&scene.alice, &[policy(9)], NOW).unwrap();
    let left = Debt { commits_after: Some(3), ..NOTHING };
    assert_eq!(paid(&mut scene, &group, eve, owed), (String::from("welcome"), left));
    // It was not this device that brought Dave in.
    let dave = scene.names[2];
    assert_eq!(paid(&mut scene, &group, dave, Debt { welcome: Some(1), ..NOTHING }).0, "nothing");
}

#[test]
fn debts_stay_until_they_can_be_paid() {
    let mut scene = Scene::new();
    let ([_, carol, _, eve], group) = (scene.names, scene.group.clone());
    let owed = Debt { ask: true, ..NOTHING };
    let mut debts = Debts(BTreeMap::from([(carol, owed), (eve, owed)]));
    let before = debts.clone();
    let why = |paid: &Paid| paid.unreachable.iter().map(|one| (one.peer, one.why)).collect::<BTreeMap<_, _>>();
    let both = |error| BTreeMap::from([carol, eve].map(|name| (name, error)));
    let know = |scene: &mut Scene, blocked| {
        let keys = [*scene.carol.public(), *scene.eve.public()];
        let peers = keys.map(|key| {
            let mut peer = Peer::new(key);
            peer.blocked = blocked;
            peer
        });
        scene.settle(peers.map(|peer| Change::Peer(peer.fingerprint(), Some(Box::new(peer)))).into());
    };
    // No bundle of either is here.
    know(&mut scene, false);
    let paid = scene.device.pay(&group, None, &mut debts, NOW, &mut scene.rng, &mut Vec::new());
    assert_eq!(why(&paid), both(SealError::BundleNeeded));
    assert_eq!(debts, before);
    // Of those whom people have blocked, who is in stays owed.
    know(&mut scene, true);
    let paid = scene.device.pay(&group, None, &mut debts, NOW, &mut scene.rng, &mut Vec::new());
    assert_eq!(why(&paid), both(SealError::Blocked));
    assert_eq!(debts.0, BTreeMap::from([(carol, owed)]));
    // That someone was never welcomed is remembered.
    let welcome = Debt { welcome: Some(2), ..NOTHING };
    let mut debts = Debts(BTreeMap::from([(eve, Debt { ask: true, ..welcome })]));
    scene.device.pay(&group, None, &mut debts, NOW, &mut scene.rng, &mut Vec::new());
    assert_eq!(debts.0, BTreeMap::from([(eve, welcome)]));
}
