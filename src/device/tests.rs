//! What follows on this device when a group's roster becomes another one.

use crate::device::Device;
use crate::device::Record;
use crate::device::debts::{Debt, Debts, Early, Waiting};
use crate::device::event::{Event, GroupEvent, Notice};
use crate::device::group_open::Plan;
use crate::device::pending::{Change, Pending};
use crate::error::StateError;
use crate::group::{ChainId, Group, GroupId, GroupPolicy, MemberChain, OwnChain, Received, Role, RosterChange};
use crate::identity::IdentityKeyPair;
use crate::keys::{Fingerprint, UnixTime};
use crate::limits::{MAX_COMPARISONS, MAX_MEMBER_CHAINS};
use crate::secret::guard;
use crate::wire::payload::PayloadKind;
use crate::wire::roster::{RosterCommit, RosterMessage};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use chacha20::ChaCha20Rng;
use core::convert::Infallible;
use rand_core::SeedableRng;

const NOW: UnixTime = UnixTime(1_000);

/// Alice founds; this device, an admin, Carol and Dave come in with epoch 1; Eve is out. It is epoch 2.
struct Scene {
    device: Device,
    alice: IdentityKeyPair,
    names: [Fingerprint; 4],
    carol: IdentityKeyPair,
    eve: IdentityKeyPair,
    group: Group,
    rng: ChaCha20Rng,
}

fn policy(max_messages: u32) -> RosterChange {
    RosterChange::SetPolicy(GroupPolicy { max_messages, max_age: 1 })
}

impl Scene {
    fn new() -> Self {
        let mut rng = ChaCha20Rng::from_seed([3; 32]);
        let device = Device::generate(&mut rng);
        let [alice, carol, dave, eve] = [(); 4].map(|()| IdentityKeyPair::generate(&mut rng));
        let names = [&alice, &carol, &dave, &eve].map(IdentityKeyPair::fingerprint);
        let mut group = Group::create(&alice, GroupPolicy::default(), &mut rng).unwrap();
        let adds = [
            RosterChange::Add(*device.identity.public(), Role::Admin),
            RosterChange::Add(*carol.public(), Role::Member),
            RosterChange::Add(*dave.public(), Role::Member),
        ];
        group.commit(&alice, &adds, NOW).unwrap();
        group.commit(&alice, &[policy(7)], NOW).unwrap();
        Self { device, alice, names, carol, eve, group, rng }
    }

    fn settle(&mut self, plan: Vec<Change>) {
        let Ok(()) = Pending::new(&mut self.device, plan, ()).commit(|_| Ok::<_, Infallible>(()));
    }

    /// This device follows a roster, has a chain of its own, and owes what is said.
    fn follow(&mut self, group: &Group, owed: &[(Fingerprint, Debt)]) {
        let (id, me) = (group.id(), self.device.fingerprint());
        let own = OwnChain::generate(id, me, group.epoch(), group.transcript(), NOW, &mut self.rng);
        let debts = Debts(owed.iter().copied().collect());
        self.settle(Vec::from([
            Change::Group(id, Some(Box::new(group.clone()))),
            Change::OwnChain(id, Some(Box::new(own))),
            Change::Debts(id, debts),
        ]));
    }

    /// It reads a chain that was announced in an epoch.
    fn reads(&mut self, from: Fingerprint, epoch: u64, transcript: [u8; 32]) -> ChainId {
        let chain = OwnChain::generate(self.group.id(), from, epoch, transcript, NOW, &mut self.rng);
        let chain = MemberChain::accept(from, &chain.announcement(epoch, transcript), 0);
        let id = chain.id;
        self.settle(Vec::from([Change::Chain(id, Some(Box::new(chain)))]));
        id
    }
}

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

const EVERYTHING: Debt = Debt {
    welcome: Some(2),
    commits_after: Some(2),
    convince: Some(2),
    ask: true,
    gone: true,
    announce: true,
    acknowledge: true,
};
const NOTHING: Debt = Debt {
    welcome: None,
    commits_after: None,
    convince: None,
    ask: false,
    gone: false,
    announce: false,
    acknowledge: false,
};
const ANNOUNCE: Debt = Debt { announce: true, ..NOTHING };

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
    // Of what was before its welcome a device knows nothing.
    let mut before = Group::create(&scene.alice, GroupPolicy::default(), &mut scene.rng).unwrap();
    let carol_in = RosterChange::Add(*scene.carol.public(), Role::Member);
    before.commit(&scene.alice, &[carol_in], NOW).unwrap();
    before.commit(&scene.alice, &[policy(3)], NOW).unwrap();
    let me = *scene.device.identity.public();
    let welcome = before.commit(&scene.alice, &[RosterChange::Add(me, Role::Member)], NOW).unwrap().welcome;
    let joined = Group::join(&me, &welcome, scene.names[0], NOW).unwrap();
    scene.settle(Vec::from([Change::Group(joined.id(), Some(Box::new(joined.clone())))]));
    for (epoch, fork) in [(1, false), (2, false), (3, true), (4, true)] {
        let event = scene.device.plan_commits_wanted(
            carol,
            joined.id(),
            (epoch, &[elsewhere]),
            &mut Vec::new(),
            &mut Vec::new(),
        );
        let is_fork = matches!(event, Event::Group { what: GroupEvent::Fork { .. }, .. });
        assert_eq!(is_fork, fork, "{epoch}");
    }
}

/// What one peer has waiting.
fn waits(scene: &mut Scene, peer: Fingerprint, what: Vec<(GroupId, PayloadKind, Vec<u8>)>) {
    let early = |(group, kind, bytes)| Early { group, kind, since: NOW, bytes: guard(bytes) };
    let waiting = Waiting(what.into_iter().map(early).collect());
    scene.settle(Vec::from([Change::Waiting(peer, waiting)]));
}

/// What is left waiting of each peer whose entries have become fewer.
fn left(plan: &Plan) -> BTreeMap<Fingerprint, usize> {
    let of = |change: &Change| match change {
        Change::Waiting(peer, waiting) => Some((*peer, waiting.0.len())),
        _ => None,
    };
    plan.changes.iter().filter_map(of).collect()
}

fn announced(scene: &mut Scene, from: Fingerprint, group: GroupId, epoch: u64, hash: [u8; 32]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let chain = OwnChain::generate(group, from, epoch, hash, NOW, &mut scene.rng);
    chain.announcement(epoch, hash).write(&mut bytes);
    bytes
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
        Device::restore(rows.collect::<Vec<_>>()).map(drop)
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
