//! What follows on this device when a group's roster becomes another one.

use crate::device::Device;
use crate::device::debts::{Debt, Debts};
use crate::device::pending::{Change, Pending};
use crate::group::{ChainId, Group, GroupPolicy, MemberChain, OwnChain, Received, Role, RosterChange};
use crate::identity::IdentityKeyPair;
use crate::keys::{Fingerprint, UnixTime};
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
        Self { device, alice, names, eve, group, rng }
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
