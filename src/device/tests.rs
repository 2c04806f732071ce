//! A device, its groups and its peers, as only the inside can set them up.

mod commits;
mod payments;
mod peers;
mod records;
mod rosters;
mod told;
mod waiting;

use crate::codec::Reader;
use crate::device::Device;
use crate::device::Record;
use crate::device::debts::{Debt, Debts, Early, Waiting};
use crate::device::event::{Event, GroupEvent};
use crate::device::group_open::Plan;
use crate::device::notice::Notice;
use crate::device::pending::Pending;
use crate::device::plan::Change;
use crate::error::{GroupError, StateError};
use crate::group::{ChainId, Group, GroupId, GroupPolicy, MemberChain, OwnChain, Received, Role, RosterChange};
use crate::identity::IdentityKeyPair;
use crate::keys::{Fingerprint, UnixTime};
use crate::limits::{MAX_COMPARISONS, MAX_GROUPS, MAX_MEMBER_CHAINS};
use crate::secret::guard;
use crate::wire::payload::PayloadKind;
use crate::wire::roster::{Announcement, RosterCommit, RosterMessage};
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

const EVERYTHING: Debt = Debt {
    welcome: Some(2),
    commits_after: Some(2),
    convince: Some(2),
    ask: true,
    gone: true,
    announce: true,
    want: true,
    acknowledge: true,
};
const NOTHING: Debt = Debt {
    welcome: None,
    commits_after: None,
    convince: None,
    ask: false,
    gone: false,
    announce: false,
    want: false,
    acknowledge: false,
};
const ANNOUNCE: Debt = Debt { announce: true, ..NOTHING };

/// What one peer has waiting.
fn waits(scene: &mut Scene, peer: Fingerprint, what: Vec<(GroupId, PayloadKind, Vec<u8>)>) {
    let early = |(group, kind, bytes)| Early { group, kind, since: NOW, bytes: guard(bytes) };
    let waiting = Waiting(what.into_iter().map(early).collect());
    scene.settle(Vec::from([Change::Waiting(peer, waiting)]));
}

fn kept<T>(pending: Pending<'_, T>) -> T {
    let Ok(value) = pending.commit(|_| Ok::<_, Infallible>(()));
    value
}

fn restored(device: &Device) -> Result<Device, StateError> {
    let records = device.records();
    let rows = records.iter().filter_map(|record| match record {
        Record::Put(key, bytes) => Some((key, bytes.to_vec())),
        Record::Delete(_) => None,
    });
    Device::restore(rows.collect::<Vec<_>>(), crate::device::Policy::default())
}

fn announced(scene: &mut Scene, from: Fingerprint, group: GroupId, epoch: u64, hash: [u8; 32]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let chain = OwnChain::generate(group, from, epoch, hash, NOW, &mut scene.rng);
    chain.announcement(epoch, hash).write(&mut bytes);
    bytes
}
