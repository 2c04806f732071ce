//! Records of groups.

use super::*;

/// Records of groups that do not belong together are not restored.
#[test]
fn records_of_groups_belong_together() {
    let restores = |build: &dyn Fn(&mut Scene)| {
        let mut scene = Scene::new();
        build(&mut scene);
        let records = scene.device.records();
        let rows = records.iter().filter_map(|record| match record {
            Record::Put(key, bytes) => Some((key, bytes.to_vec())),
            Record::Delete(_) => None,
        });
        Device::restore(rows.collect::<Vec<_>>(), crate::device::Policy::default()).map(drop)
    };
    let follow = |scene: &mut Scene, group: &Group| {
        scene.settle(Vec::from([Change::Group(group.id(), Some(Box::new(group.clone())))]));
    };
    let without_me = |scene: &Scene| {
        let mut group = scene.group.clone();
        group.commit(&scene.alice, &[RosterChange::Remove(scene.device.fingerprint())], NOW).unwrap();
        group
    };
    let own = |scene: &mut Scene, group: &Group| {
        let me = scene.device.fingerprint();
        let own = OwnChain::generate(group.id(), me, group.epoch(), group.transcript(), NOW, &mut scene.rng);
        scene.settle(Vec::from([Change::OwnChain(group.id(), Some(Box::new(own)))]));
    };
    let owing = |scene: &mut Scene, carol| {
        let debts = Debts(BTreeMap::from([(carol, ANNOUNCE)]));
        scene.settle(Vec::from([Change::Debts(scene.group.id(), debts)]));
    };
    let read = |scene: &mut Scene, from| {
        let hash = scene.group.transcript();
        scene.reads(from, 2, hash);
    };
    let wrong = Err(StateError::Inconsistent);
    assert_eq!(
        restores(&|scene| {
            let (group, carol) = (scene.group.clone(), scene.names[1]);
            follow(scene, &group);
            own(scene, &group);
            owing(scene, carol);
            for _ in 0..MAX_MEMBER_CHAINS {
                read(scene, carol);
            }
        }),
        Ok(())
    );
    assert_eq!(restores(&|scene| own(scene, &scene.group.clone())), wrong, "a chain for no group");
    let out = |scene: &mut Scene| {
        let group = without_me(scene);
        follow(scene, &group);
        own(scene, &group);
    };
    assert_eq!(restores(&out), wrong, "a chain where this device is out");
    assert_eq!(restores(&|scene| owing(scene, scene.names[1])), wrong, "debts to no group");
    for (who, names) in [("its own", None), ("a stranger's", Some(3))] {
        let strange = |scene: &mut Scene| {
            let from = names.map_or(scene.device.fingerprint(), |name: usize| scene.names[name]);
            follow(scene, &scene.group.clone());
            read(scene, from);
        };
        assert_eq!(restores(&strange), wrong, "{who} chain");
    }
    let out = |scene: &mut Scene| {
        let group = without_me(scene);
        follow(scene, &group);
        read(scene, scene.names[1]);
    };
    assert_eq!(restores(&out), wrong, "a member's chain where this device is out");
    let unknown = |scene: &mut Scene| {
        follow(scene, &scene.group.clone());
        let (carol, id) = (scene.names[1], scene.group.id());
        waits(scene, carol, Vec::from([(id, PayloadKind::Roster, Vec::from([1]))]));
    };
    assert_eq!(restores(&unknown), wrong, "what waits of nobody");
    let many = |scene: &mut Scene| {
        follow(scene, &scene.group.clone());
        for _ in 0..=MAX_MEMBER_CHAINS {
            read(scene, scene.names[1]);
        }
    };
    assert_eq!(restores(&many), Err(StateError::Invariant), "too many chains");
}
