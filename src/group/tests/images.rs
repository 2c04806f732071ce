//! Images of groups and of members' chains that break an invariant are refused; and the bounds of rosters.

use super::NOW;
use crate::codec::Reader;
use crate::error::{GroupError, StateError};
use crate::group::chain::OwnChain;
use crate::group::*;
use crate::identity::IdentityKeyPair;
use crate::keys::{Fingerprint, Signature};
use crate::limits::{MAX_CHAIN_LEN, MAX_GROUP_CHANGES, MAX_GROUP_MEMBERS};
use crate::message::{Opening, Outbound};
use crate::padding::Padding;
use crate::wire::envelope::Envelope;
use crate::wire::roster::{Member, NEVER, Roster, RosterCommit, RosterMessage};
use alloc::vec::Vec;
use chacha20::ChaCha20Rng;
use rand_core::SeedableRng;

/// Version, a roster without members, and one member.
const ROSTER: usize = 1 + 56;
const MEMBER: usize = 105;
/// What is remembered of an epoch.
const EPOCH: usize = 32 + 32 + 1 + 8;

fn policy(max_messages: u32) -> RosterChange {
    RosterChange::SetPolicy(GroupPolicy { max_messages, max_age: 1 })
}

/// A founder alone, after some commits.
fn alone(commits: u32) -> (IdentityKeyPair, Group) {
    let mut rng = ChaCha20Rng::from_seed([4; 32]);
    let alice = IdentityKeyPair::generate(&mut rng);
    let mut group = Group::create(&alice, GroupPolicy::default(), &mut rng).unwrap();
    for i in 1..=commits {
        group.commit(&alice, &[policy(i)], NOW).unwrap();
    }
    (alice, group)
}

fn restored(image: &[u8]) -> Result<Group, StateError> {
    Group::from_state(image)
}

fn with(image: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut changed = image.to_vec();
    changed[at..at + bytes.len()].copy_from_slice(bytes);
    changed
}

#[test]
fn epochs_that_cannot_be_are_refused() {
    let (_, group) = alone(70);
    let image = group.to_state().expose().to_vec();
    // No welcome; then how many epochs are remembered.
    let count = ROSTER + MEMBER + 1;
    assert_eq!(image[count], 64);
    assert_eq!(restored(&image).unwrap().to_state().expose(), image);
    let epoch = |number: usize| count + 1 + EPOCH * number;
    // One more, of before.
    let mut more = image.clone();
    more.splice(epoch(0)..epoch(0), [7; 64].into_iter().chain([0; 9]));
    more[count] = 65;
    assert!(restored(&more).is_err());
    // When it ended chains, if it did.
    let ended = epoch(3) + 64;
    assert!(restored(&with(&image, ended + 8, &[1])).is_err());
    assert!(restored(&with(&image, ended, &[1, 0, 0, 0, 0, 0, 0, 0, 0])).is_ok());
    // None at all.
    let mut none = image.clone();
    none.drain(epoch(0)..epoch(64));
    none[count] = 0;
    assert!(restored(&none).is_err());
    // A step that extends another hash.
    let steps = epoch(64);
    assert_eq!(image[steps], 8);
    assert!(restored(&with(&image, steps + 1, &[image[steps + 1] ^ 1])).is_err());

    // One step more than is kept, which links as well.
    let older = alone(69).1.to_state().expose().to_vec();
    let step = (image.len() - steps - 1) / 8;
    let mut nine = image.clone();
    let first = steps + 1;
    nine.splice(first..first, older[first..first + step].iter().copied());
    nine[steps] = 9;
    assert!(restored(&nine).is_err());

    // More epochs than there were.
    let (_, group) = alone(2);
    let image = group.to_state().expose().to_vec();
    assert!(restored(&image).is_ok());
    let mut more = image.clone();
    more.splice(epoch(0)..epoch(0), [7; 64].into_iter().chain([0; 9]));
    more[count] = 4;
    assert!(restored(&more).is_err());
}

#[test]
fn welcomes_that_cannot_have_been_are_refused() {
    let (alice, mut group) = alone(3);
    let bob = IdentityKeyPair::generate(&mut ChaCha20Rng::from_seed([5; 32]));
    let made = group.commit(&alice, &[RosterChange::Add(*bob.public(), Role::Member)], NOW).unwrap();
    let mut joined = Group::join(bob.public(), &made.welcome, alice.fingerprint(), NOW).unwrap();
    let epoch = ROSTER + 2 * MEMBER + 1 + 64;
    let image = joined.to_state().expose().to_vec();
    assert_eq!(image[epoch..epoch + 8], 4_u64.to_be_bytes());
    assert!(restored(&image).is_ok());
    for other in [0_u64, 5] {
        assert!(restored(&with(&image, epoch, &other.to_be_bytes())).is_err(), "{other}");
    }
    // Long after, it may be one that is forgotten.
    for i in 1..=70 {
        joined.commit(&alice, &[policy(100 + i)], NOW).unwrap();
    }
    let image = joined.to_state().expose().to_vec();
    assert!(restored(&image).is_ok());
    let oldest = 4 + 70 - 63_u64;
    assert!(restored(&with(&image, epoch, &oldest.to_be_bytes())).is_ok());
    assert!(restored(&with(&image, epoch, &(oldest + 1).to_be_bytes())).is_err());
}

/// A chain's image with its skipped keys, one block.
fn chain_restored(image: &[u8], block: &[u8]) -> bool {
    let Ok(mut chain) = Reader::whole(image, MemberChain::read) else { return false };
    Reader::whole(block, |reader| chain.read_skipped(0, reader)).is_ok() && chain.finish_restore().is_ok()
}

#[test]
fn chains_that_cannot_be_are_refused() {
    let mut rng = ChaCha20Rng::from_seed([6; 32]);
    let (group, alice, hash) = (GroupId::generate(&mut rng), Fingerprint::from_bytes([9; 32]), [7; 32]);
    let mut own = OwnChain::generate(group, alice, 3, hash, NOW, &mut rng);
    let mut chain = MemberChain::accept(alice, &own.announcement(3, hash), 4);
    let mut image = Vec::new();
    chain.write(&mut image);
    let nothing: &[u8] = &[0, 0];
    let (number, flag, since, start, next) = (104, 112, 113, 217, 221);
    let good = |changes: &[(usize, &[u8])]| {
        let changed = changes.iter().fold(image.clone(), |image, (at, bytes)| with(&image, *at, bytes));
        Reader::whole(&changed, MemberChain::read).is_ok_and(|mut chain| chain.finish_restore().is_ok())
    };
    let (end, most) = (u64::MAX / 2, MAX_CHAIN_LEN.to_be_bytes());
    assert!(good(&[]) && good(&[(flag, &[1])]) && good(&[(number, &(end - 1).to_be_bytes())]));
    assert!(good(&[(start, &most), (next, &most)]) && good(&[(next, &most)]));
    for bad in [
        (since + 7, &[1][..]),
        (number, &end.to_be_bytes()),
        (start, &[0, 0, 0, 1]),
        (next, &(MAX_CHAIN_LEN + 1).to_be_bytes()),
    ] {
        assert!(!good(&[bad]), "{bad:?}");
    }

    // Two that were skipped: they are of this chain, and between its start and where it stands.
    for n in 0..3 {
        let (mut step, envelope) =
            own.plan_seal(3, &hash, Outbound::text(b"text"), Padding::default(), &mut rng).unwrap();
        own.swap(&mut step);
        if n == 2 {
            let envelope = Envelope::parse(&envelope).unwrap();
            let mut planned =
                chain.plan_open(&Opening::new(&envelope), false, crate::keys::UnixTime(1), |_| Ok(hash)).unwrap();
            chain.swap(&mut planned.step, &mut ());
        }
    }
    let (mut image, mut block) = (Vec::new(), Vec::new());
    chain.write(&mut image);
    chain.skipped().write_block(0, &mut block);
    assert!(chain_restored(&image, &block));
    assert!(!chain_restored(&image, nothing), "they are missing");
    for (at, bytes, fits) in [
        (start, [0, 0, 0, 1], false),
        (next, [0, 0, 0, 2], true),
        (next, [0, 0, 0, 1], false),
        (next, [0, 0, 0, 0], false),
    ] {
        assert_eq!(chain_restored(&with(&image, at, &bytes), &block), fits, "{at} {bytes:?}");
    }
    let secret = 153;
    assert!(!chain_restored(&with(&image, secret, &[image[secret] ^ 1]), &block), "another header secret");
    // Of another chain: the number stands behind the count of chains, and in each entry.
    let other: Vec<u8> = {
        let mut other = block.clone();
        other[8] = 1;
        for entry in 0..2 {
            other[1 + 40 + 1 + entry * 45 + 8] = 1;
        }
        other
    };
    assert!(!chain_restored(&image, &other), "another chain");
}

#[test]
fn rosters_are_bounded() {
    let (alice, group) = alone(0);
    let commit = |changes: Vec<RosterChange>| RosterCommit {
        extends: group.transcript(),
        signer: alice.fingerprint(),
        changes,
        signature: Signature([0; 64]),
    };
    let signed = |group: &Group, changes: Vec<RosterChange>| {
        let mut commit = commit(changes);
        commit.signature = alice.sign(&commit.signed_message(&group.id()));
        group.clone().take(&commit, &[], NOW).err()
    };
    // Changes.
    let strangers = |count: usize| (0..count).map(|i| RosterChange::Remove(name(i))).collect::<Vec<_>>();
    assert_eq!(signed(&group, strangers(MAX_GROUP_CHANGES)), Some(GroupError::UnknownMember));
    assert_eq!(signed(&group, strangers(MAX_GROUP_CHANGES + 1)), Some(GroupError::TooMany));
    // Members.
    let mut full = group.clone();
    let (_, member) = group.members().next().unwrap();
    for i in 0..MAX_GROUP_MEMBERS - 2 {
        full.roster.members.insert(name(i), Member { admin_since: NEVER, ..*member });
    }
    let mut rng = ChaCha20Rng::from_seed([7; 32]);
    let mut adds = |count: usize| {
        let add = |_| RosterChange::Add(*IdentityKeyPair::generate(&mut rng).public(), Role::Member);
        (0..count).map(add).collect::<Vec<_>>()
    };
    assert_eq!(signed(&full, adds(1)), None);
    assert_eq!(signed(&full, adds(2)), Some(GroupError::TooMany));
    let exchanged = adds(2).into_iter().chain([RosterChange::Remove(name(0))]).collect();
    assert_eq!(signed(&full, exchanged), None, "as many are left");
    // Epochs.
    for (epoch, error) in [(NEVER / 2 - 2, None), (NEVER / 2 - 1, Some(GroupError::TooMany))] {
        let mut old = group.clone();
        old.roster.epoch = epoch;
        assert_eq!(signed(&old, Vec::from([policy(3)])), error, "{epoch}");
    }
}

fn name(number: usize) -> Fingerprint {
    let mut bytes = [0xff; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    Fingerprint::from_bytes(bytes)
}

#[test]
fn a_group_counts_its_members() {
    let (alice, mut group) = alone(1);
    assert_eq!((group.len(), group.is_empty()), (1, false));
    assert!(group.member(alice.fingerprint()).is_some() && group.member(name(1)).is_none());
    let bob = IdentityKeyPair::generate(&mut ChaCha20Rng::from_seed([5; 32]));
    group.commit(&alice, &[RosterChange::Add(*bob.public(), Role::Member)], NOW).unwrap();
    assert_eq!(group.len(), 2);
    // The last one to leave leaves nobody.
    let (alice, mut group) = alone(0);
    group.commit(&alice, &[RosterChange::Leave], NOW).unwrap();
    assert_eq!((group.len(), group.is_empty()), (0, true));
}

/// Each change of a welcome's commit must be seen in its roster.
#[test]
fn welcomes_fit_their_rosters() {
    let mut rng = ChaCha20Rng::from_seed([8; 32]);
    let [alice, bob, carol, dave] = [(); 4].map(|()| IdentityKeyPair::generate(&mut rng));
    let mut group = Group::create(&alice, GroupPolicy::default(), &mut rng).unwrap();
    let add = |person: &IdentityKeyPair, role| RosterChange::Add(*person.public(), role);
    group.commit(&alice, &[add(&bob, Role::Member), add(&carol, Role::Member)], NOW).unwrap();
    let changes = [
        add(&dave, Role::Member),
        RosterChange::Remove(carol.fingerprint()),
        RosterChange::SetRole(bob.fingerprint(), Role::Admin),
        policy(9),
    ];
    let welcome = group.commit(&alice, &changes, NOW).unwrap().welcome;
    let welcomed = |change: &dyn Fn(&mut Roster)| {
        let Ok(RosterMessage::Welcome(commit, mut roster)) = RosterMessage::decode(&welcome) else { panic!() };
        change(&mut roster);
        Group::welcomed(dave.public(), &commit, roster, alice.fingerprint(), NOW).err()
    };
    let member = |person: &IdentityKeyPair, admin_since| Member { identity: *person.public(), admin_since };
    assert_eq!(welcomed(&|_| ()), None);
    let malformed = Some(GroupError::Malformed);
    let as_admin = |roster: &mut Roster| {
        roster.members.insert(dave.fingerprint(), member(&dave, 2));
    };
    assert_eq!(welcomed(&as_admin), malformed);
    let missing = |roster: &mut Roster| {
        roster.members.remove(&dave.fingerprint());
    };
    assert_eq!(welcomed(&missing), malformed);
    let still_in = |roster: &mut Roster| {
        roster.members.insert(carol.fingerprint(), member(&carol, NEVER));
    };
    assert_eq!(welcomed(&still_in), malformed);
    let as_before = |roster: &mut Roster| {
        roster.members.insert(bob.fingerprint(), member(&bob, NEVER));
    };
    assert_eq!(welcomed(&as_before), malformed);
    let another = |roster: &mut Roster| roster.policy = GroupPolicy { max_messages: 8, max_age: 1 };
    assert_eq!(welcomed(&another), malformed);
    let policy_twice = [policy(3), policy(4)];
    assert_eq!(group.commit(&alice, &policy_twice, NOW).err(), Some(GroupError::NoChange));
}
