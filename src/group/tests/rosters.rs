//! Rosters: what commits may do, which branch is followed, and what welcomes are worth.

use super::NOW;
use crate::IdentityKeyPair;
use crate::codec::Write;
use crate::error::GroupError;
use crate::group::branch::Rival;
use crate::group::*;
use crate::wire::roster::RosterMessage;
use alloc::vec::Vec;
use chacha20::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng};

struct Founders {
    people: [IdentityKeyPair; 4],
    group: Group,
}

/// Alice founds, Bob is an admin later, Carol a member; Dave is out.
fn founders() -> Founders {
    let mut rng = ChaCha20Rng::from_seed([2; 32]);
    let people = [(); 4].map(|()| IdentityKeyPair::generate(&mut rng));
    let mut group = Group::create(&people[0], GroupPolicy::default(), &mut rng).unwrap();
    let adds =
        [RosterChange::Add(*people[1].public(), Role::Admin), RosterChange::Add(*people[2].public(), Role::Member)];
    group.commit(&people[0], &adds, NOW).unwrap();
    Founders { people, group }
}

#[test]
fn who_may_not_is_refused_and_nothing_changes() {
    let Founders { people: [alice, bob, carol, dave], group } = founders();
    let [a, b, c, d] = [&alice, &bob, &carol, &dave].map(IdentityKeyPair::fingerprint);
    let add = |person: &IdentityKeyPair| RosterChange::Add(*person.public(), Role::Member);
    let policy = GroupPolicy { max_messages: 0, max_age: 1 };
    let cases: [(&IdentityKeyPair, Vec<RosterChange>, GroupError); 13] = [
        (&carol, Vec::from([add(&dave)]), GroupError::NotAllowed),
        (&carol, Vec::from([RosterChange::Remove(b)]), GroupError::NotAllowed),
        (&carol, Vec::from([RosterChange::SetRole(c, Role::Admin)]), GroupError::NotAllowed),
        (&carol, Vec::from([RosterChange::Leave, RosterChange::Remove(a)]), GroupError::NotAllowed),
        (&dave, Vec::from([add(&dave)]), GroupError::NotMember),
        (&dave, Vec::from([RosterChange::Leave]), GroupError::NotMember),
        (&alice, Vec::from([add(&carol)]), GroupError::AlreadyMember),
        (&alice, Vec::from([RosterChange::Remove(d)]), GroupError::UnknownMember),
        (&alice, Vec::from([RosterChange::Remove(a)]), GroupError::NotAllowed),
        (&alice, Vec::from([RosterChange::Remove(c), RosterChange::SetRole(c, Role::Admin)]), GroupError::NoChange),
        (&alice, Vec::from([RosterChange::SetRole(c, Role::Member)]), GroupError::NoChange),
        (&alice, Vec::new(), GroupError::NoChange),
        (&alice, Vec::from([RosterChange::SetPolicy(policy)]), GroupError::Policy),
    ];
    for (signer, changes, expected) in cases {
        let mut changed = group.clone();
        assert_eq!(changed.commit(signer, &changes, NOW), Err(expected), "{changes:?}");
        assert_eq!(changed, group);
    }
}

#[test]
fn forged_signatures_and_other_groups_commits_are_refused() {
    let Founders { people: [alice, bob, _, dave], group } = founders();
    let mut made = group.clone();
    let commit = made.commit(&alice, &[RosterChange::Add(*dave.public(), Role::Member)], NOW).unwrap().commit;
    for byte in 33..commit.len() {
        let mut forged = commit.clone();
        forged[byte] ^= 1;
        let mut theirs = group.clone();
        let result = theirs.receive(&forged, &[], NOW);
        // What extends another hash is early; everything else is refused.
        assert!(matches!(result, Err(_) | Ok(Received::Early)), "byte {byte}: {result:?}");
        assert_eq!(theirs, group);
    }
    let other = Group::create(&bob, GroupPolicy::default(), &mut ChaCha20Rng::from_seed([3; 32])).unwrap();
    assert_eq!(other.clone().receive(&commit, &[], NOW), Err(GroupError::Malformed));
    let mut theirs = group.clone();
    assert_eq!(theirs.receive(&commit, &[], NOW), Ok(Received::Applied));
    assert_eq!((theirs.transcript(), theirs.receive(&commit, &[], NOW)), (made.transcript(), Ok(Received::Known)));
}

#[test]
fn welcome_is_its_signers_alone() {
    let Founders { people: [alice, bob, carol, dave], mut group } = founders();
    let welcome = group.commit(&alice, &[RosterChange::Add(*dave.public(), Role::Member)], NOW).unwrap().welcome;
    let join = |own: &IdentityKeyPair, welcome: &[u8], bringer: &IdentityKeyPair| {
        Group::join(own.public(), welcome, bringer.fingerprint(), NOW).map(|group| group.transcript())
    };
    assert_eq!(join(&dave, &welcome, &alice), Ok(group.transcript()));
    assert_eq!(join(&dave, &welcome, &bob), Err(GroupError::NotAllowed));
    assert_eq!(join(&carol, &welcome, &alice), Err(GroupError::Malformed));
    for byte in 0..welcome.len() {
        let mut forged = welcome.clone();
        forged[byte] ^= 1;
        // A roster that was not the commit's gives another hash: nobody shares it.
        assert_ne!(join(&dave, &forged, &alice), Ok(group.transcript()), "byte {byte}");
    }
}

/// Every pair of commits for one roster, in both orders, also with more built on them: one outcome.
#[test]
fn better_branch_wins_in_any_order() {
    let Founders { people: [alice, bob, carol, dave], group } = founders();
    let c = carol.fingerprint();
    let candidates: [(&IdentityKeyPair, RosterChange); 4] = [
        (&alice, RosterChange::Remove(c)),
        (&bob, RosterChange::Add(*dave.public(), Role::Member)),
        (&carol, RosterChange::Leave),
        (&alice, RosterChange::SetRole(c, Role::Admin)),
    ];
    let branches: Vec<Vec<Vec<u8>>> = candidates
        .iter()
        .map(|(signer, change)| {
            let mut branch = group.clone();
            let first = branch.commit(signer, &[*change], NOW).unwrap().commit;
            let policy = RosterChange::SetPolicy(GroupPolicy { max_messages: 9, max_age: 9 });
            Vec::from([first, branch.commit(&bob, &[policy], NOW).unwrap().commit])
        })
        .collect();
    let run = |order: &[&Vec<Vec<u8>>]| {
        let mut result = group.clone();
        // Twice: whatever was early the first time.
        for commit in order.iter().chain(order).flat_map(|branch| branch.iter()) {
            result.receive(commit, &[], NOW).unwrap();
        }
        (result.transcript(), result.epoch())
    };
    for one in &branches {
        for two in &branches {
            let forwards = run(&[one, two]);
            assert_eq!(forwards, run(&[two, one]));
            assert_eq!(forwards.1, 3);
            for three in &branches {
                assert_eq!(run(&[one, two, three]), run(&[three, one, two]));
            }
        }
    }
    // The founder outranks whoever became an admin later, and both a member who leaves.
    let winner = |one: usize, two: usize| run(&[&branches[one], &branches[two]]) == run(&[&branches[one]]);
    assert!(winner(0, 1) && winner(0, 2) && winner(1, 2) && winner(3, 1));
}

/// Bob was removed by Alice, after Carol had left. He goes back to before Carol left, where he outranks her, to undo his
/// removal; who has seen the removal is not impressed, and who has not learns better.
#[test]
fn nobody_undoes_what_someone_more_senior_has_done_since() {
    let Founders { people: [alice, bob, carol, dave], group } = founders();
    let mut honest = group.clone();
    let left = honest.commit(&carol, &[RosterChange::Leave], NOW).unwrap().commit;
    let removed = honest.commit(&alice, &[RosterChange::Remove(bob.fingerprint())], NOW).unwrap().commit;
    let mut revenge = group.clone();
    let ghost = revenge.commit(&bob, &[RosterChange::Add(*dave.public(), Role::Admin)], NOW).unwrap().commit;
    let mut informed = honest.clone();
    assert_eq!(informed.receive(&ghost, &[], NOW), Ok(Received::Outvoted));
    let mut misled = group.clone();
    assert_eq!(misled.receive(&ghost, &[], NOW), Ok(Received::Applied));
    assert_eq!(misled.receive(&left, &[], NOW), Ok(Received::Outvoted), "Bob outranks Carol");
    assert_eq!(misled.receive(&removed, &[], NOW), Ok(Received::Early));
    assert_eq!(misled.receive(&removed, &[&left], NOW), Ok(Received::Superseded(1)));
    assert_eq!(misled.transcript(), honest.transcript());
    // Also when the two come in the other order.
    let mut misled = revenge.clone();
    assert_eq!(misled.receive(&left, &[&removed], NOW), Ok(Received::Superseded(1)));
    assert_eq!(misled.transcript(), honest.transcript());
}

/// Between two who became admins at once a hash decides that neither can choose: whatever they commit, the same one wins.
#[test]
fn equals_can_not_choose_who_wins() {
    let Founders { people: [alice, bob, carol, dave], mut group } = founders();
    let both = [bob.fingerprint(), carol.fingerprint()];
    let demoted = [RosterChange::SetRole(both[0], Role::Member), RosterChange::Add(*dave.public(), Role::Member)];
    group.commit(&alice, &demoted, NOW).unwrap();
    group.commit(&alice, &both.map(|name| RosterChange::SetRole(name, Role::Admin)), NOW).unwrap();
    let policy = |max_messages| RosterChange::SetPolicy(GroupPolicy { max_messages, max_age: 1 });
    let mut outcomes = Vec::new();
    for i in 1..=6 {
        for j in 1..=6 {
            let (mut ours, mut theirs) = (group.clone(), group.clone());
            ours.commit(&bob, &[policy(i)], NOW).unwrap();
            let commit = theirs.commit(&carol, &[policy(100 + j)], NOW).unwrap().commit;
            outcomes.push(ours.receive(&commit, &[], NOW).unwrap());
        }
    }
    assert!(matches!(outcomes[0], Received::Superseded(1) | Received::Outvoted));
    assert!(outcomes.iter().all(|outcome| *outcome == outcomes[0]), "{outcomes:?}");

    // Nor by where they begin: commits by Dave, whom both outrank, then one removes the other, who goes back to one of them.
    group.commit(&alice, &[RosterChange::SetRole(dave.fingerprint(), Role::Admin)], NOW).unwrap();
    let mut points = Vec::from([group.clone()]);
    for i in 1..=6 {
        group.commit(&dave, &[policy(200 + i)], NOW).unwrap();
        points.push(group.clone());
    }
    let (senior, junior) = if outcomes[0] == Received::Outvoted { (&bob, &carol) } else { (&carol, &bob) };
    for (remover, removed, sticks) in [(senior, junior, true), (junior, senior, false)] {
        let mut after = group.clone();
        after.commit(remover, &[RosterChange::Remove(removed.fingerprint())], NOW).unwrap();
        for point in &points {
            let undoing = point.clone().commit(removed, &[policy(300)], NOW).unwrap().commit;
            let received = after.clone().receive(&undoing, &[], NOW).unwrap();
            assert_eq!(received == Received::Outvoted, sticks, "{received:?}");
        }
    }
}

/// The end of a better branch comes last, with all of it that came before: it is followed, and said so.
#[test]
fn long_branch_is_followed_when_its_end_comes() {
    let Founders { people: [alice, bob, ..], group } = founders();
    let policy = |max_messages| RosterChange::SetPolicy(GroupPolicy { max_messages, max_age: 1 });
    let (mut ours, mut theirs) = (group.clone(), group);
    ours.commit(&bob, &[policy(1)], NOW).unwrap();
    let branch = [2, 3, 4].map(|i| theirs.commit(&alice, &[policy(i)], NOW).unwrap().commit);
    let received = ours.receive(&branch[2], &[&branch[0], &branch[1]], NOW);
    assert_eq!((received, ours.transcript()), (Ok(Received::Superseded(1)), theirs.transcript()));
}

/// Two branches begin with one commit of the most senior admin: what is built on it decides, not that commit.
#[test]
fn common_beginning_speaks_for_neither_branch() {
    let Founders { people: [alice, bob, ..], group } = founders();
    let policy = |max_messages| RosterChange::SetPolicy(GroupPolicy { max_messages, max_age: 1 });
    let mut ours = group;
    let common = ours.commit(&alice, &[policy(1)], NOW).unwrap().commit;
    let mut theirs = ours.clone();
    ours.commit(&alice, &[policy(2)], NOW).unwrap();
    let [first, end] = [3, 4].map(|i| theirs.commit(&bob, &[policy(i)], NOW).unwrap().commit);
    let before = ours.clone();
    assert_eq!(ours.receive(&end, &[&common, &first], NOW), Ok(Received::Outvoted));
    assert_eq!(ours, before);
}

/// Dave is welcomed twice into one roster: the better welcome is the more senior signer's; what that one changed besides
/// is no contradiction, what it says of the time before is.
#[test]
fn second_welcome_is_compared_with_the_first() {
    let Founders { people: [alice, bob, carol, dave], group } = founders();
    let add = RosterChange::Add(*dave.public(), Role::Member);
    let welcome = |signer: &IdentityKeyPair, changes: &[RosterChange]| {
        group.clone().commit(signer, changes, NOW).unwrap().welcome
    };
    let join = |welcome: &[u8], bringer: &IdentityKeyPair| {
        Group::join(dave.public(), welcome, bringer.fingerprint(), NOW).unwrap()
    };
    let [b, c] = [&bob, &carol].map(IdentityKeyPair::fingerprint);
    let of_bob = join(&welcome(&bob, &[add]), &bob);
    assert_eq!(of_bob.compare_welcome(&of_bob), Some(Rival::Worse), "no better than itself");
    for change in [None, Some(RosterChange::SetRole(b, Role::Member)), Some(RosterChange::SetRole(c, Role::Admin))] {
        let changes: Vec<_> = [add].into_iter().chain(change).collect();
        let of_alice = join(&welcome(&alice, &changes), &alice);
        assert_eq!(of_bob.compare_welcome(&of_alice), Some(Rival::Better), "{change:?}");
        assert_eq!(of_alice.compare_welcome(&of_bob), Some(Rival::Worse), "{change:?}");
    }
    // Bob says that he has been an admin from the beginning.
    let Ok(RosterMessage::Welcome(commit, mut roster)) = RosterMessage::decode(&welcome(&bob, &[add])) else {
        panic!()
    };
    roster.members.get_mut(&b).unwrap().admin_since = 0;
    let forged = join(&RosterMessage::Welcome(commit, roster).encode(), &bob);
    let of_alice = join(&welcome(&alice, &[add]), &alice);
    assert_eq!(of_alice.compare_welcome(&forged), Some(Rival::Forged));
}

/// A newcomer knows the epoch that it came into and the hash of the one before, and nothing else of the past.
#[test]
fn what_a_newcomer_knows() {
    let Founders { people: [alice, _, _, dave], mut group } = founders();
    let before = (group.epoch(), group.transcript());
    let welcome = group.commit(&alice, &[RosterChange::Add(*dave.public(), Role::Member)], NOW).unwrap().welcome;
    let mut daves = Group::join(dave.public(), &welcome, alice.fingerprint(), NOW).unwrap();
    assert!(daves.is_new() && !group.is_new());
    for theirs in [&daves, &group] {
        assert!(theirs.knows(before.1) && theirs.knows(group.transcript()) && !theirs.knows([9; 32]));
        assert_eq!(theirs.parting(before.0, &[before.1]), Some(before.0));
        assert_eq!(theirs.parting(before.0, &[[9; 32]]), None);
        assert_eq!(theirs.parting(before.0 + 1, &[[9; 32], before.1]), Some(before.0));
        assert_eq!(theirs.parting(before.0 + 1, &[before.1, [9; 32]]), None, "a hash of another epoch");
    }
    let policy = RosterChange::SetPolicy(GroupPolicy { max_messages: 5, max_age: 1 });
    daves.receive(&group.commit(&alice, &[policy], NOW).unwrap().commit, &[], NOW).unwrap();
    assert!(!daves.is_new());
}

/// Trees of commits by everyone who may: whoever has heard of all of them, in whatever order, follows the same branch.
#[test]
fn all_orders_end_on_one_branch() {
    for seed in 0..24 {
        let mut rng = ChaCha20Rng::from_seed([seed; 32]);
        let mut below = |end: usize| usize::try_from(rng.next_u64() % end as u64).unwrap();
        let Founders { people, group } = founders();
        let mut tree = Vec::from([group.clone()]);
        let mut commits: Vec<Vec<u8>> = Vec::new();
        while commits.len() < 8 {
            let (parent, signer, subject) = (below(tree.len()), &people[below(4)], people[below(4)].fingerprint());
            let change = match below(6) {
                0 => RosterChange::Add(*people[3].public(), Role::Member),
                1 => RosterChange::Remove(subject),
                2 => RosterChange::SetRole(subject, Role::Admin),
                3 => RosterChange::SetRole(subject, Role::Member),
                4 => RosterChange::Leave,
                _ => RosterChange::SetPolicy(GroupPolicy { max_messages: 1 + u32::from(seed), max_age: 1 }),
            };
            let mut child = tree[parent].clone();
            if let Ok(made) = child.commit(signer, &[change], NOW) {
                tree.push(child);
                commits.push(made.commit);
            }
        }
        let mut ends = alloc::collections::BTreeSet::new();
        for _ in 0..3 {
            let mut order = commits.clone();
            for i in (1..order.len()).rev() {
                order.swap(i, below(i + 1));
            }
            let mut result = group.clone();
            let mut seen: Vec<&[u8]> = Vec::new();
            for commit in &order {
                seen.push(commit);
                // What waits is tried again after every change.
                let mut before = None;
                while before != Some(result.transcript()) {
                    before = Some(result.transcript());
                    for waiting in &seen {
                        result.receive(waiting, &seen, NOW).unwrap_or(Received::Early);
                    }
                }
            }
            ends.insert(result.transcript());
        }
        assert_eq!(ends.len(), 1, "seed {seed}");
    }
}

/// A commit of one's own past, passed on again, is no fork; another one for the same epoch is.
#[test]
fn ones_own_history_is_known() {
    let Founders { people: [alice, bob, carol, dave], mut group } = founders();
    let committed = group.commit(&alice, &[RosterChange::Add(*dave.public(), Role::Member)], NOW).unwrap();
    let mut daves = Group::join(dave.public(), &committed.welcome, alice.fingerprint(), NOW).unwrap();
    let mut other = founders().group;
    let fork = other.commit(&bob, &[RosterChange::Remove(carol.fingerprint())], NOW).unwrap().commit;
    assert_eq!(daves.receive(&committed.commit, &[], NOW), Ok(Received::Known));
    assert_eq!(daves.receive(&fork, &[], NOW), Ok(Received::Fork));
    for i in 1..=20 {
        let policy = RosterChange::SetPolicy(GroupPolicy { max_messages: i, max_age: 1 });
        let commit = group.commit(&bob, &[policy], NOW).unwrap().commit;
        assert_eq!(daves.receive(&commit, &[], NOW), Ok(Received::Applied));
    }
    for theirs in [&mut group, &mut daves] {
        assert_eq!(theirs.receive(&committed.commit, &[], NOW), Ok(Received::Known));
        assert_eq!(theirs.receive(&fork, &[], NOW), Ok(Received::Fork));
        let restored = Group::from_state(theirs.to_state().expose()).unwrap();
        assert_eq!(restored.clone().receive(&committed.commit, &[], NOW), Ok(Received::Known));
    }
}

#[test]
fn beyond_what_can_be_undone_is_a_fork() {
    let Founders { people: [alice, bob, ..], group } = founders();
    let policy = |max_messages| RosterChange::SetPolicy(GroupPolicy { max_messages, max_age: 1 });
    let (mut ours, mut theirs) = (group.clone(), group);
    let better = theirs.commit(&alice, &[policy(500)], NOW).unwrap().commit;
    for i in 1..=9 {
        ours.commit(&bob, &[policy(i)], NOW).unwrap();
    }
    let before = ours.clone();
    assert_eq!(ours.receive(&better, &[], NOW), Ok(Received::Fork));
    assert_eq!(ours, before);
}

#[test]
fn group_images_are_canonical_and_checked() {
    let Founders { people: [alice, _, carol, dave], mut group } = founders();
    group.commit(&alice, &[RosterChange::Remove(carol.fingerprint())], NOW).unwrap();
    group.commit(&alice, &[RosterChange::Add(*dave.public(), Role::Member)], NOW).unwrap();
    let image = group.to_state();
    let bytes = image.expose();
    assert_eq!(Group::from_state(bytes).unwrap(), group);
    for len in 0..bytes.len() {
        assert!(Group::from_state(&bytes[..len]).is_err());
    }
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        if let Ok(restored) = Group::from_state(&damaged) {
            assert_eq!(restored.to_state().expose(), damaged, "bit {bit}");
        }
    }
    let mut trailing = bytes.to_vec();
    trailing.u8(0);
    assert!(Group::from_state(&trailing).is_err());
}

#[test]
fn chains_may_speak_until_something_ends_them() {
    let Founders { people: [alice, _, carol, dave], mut group } = founders();
    assert!(group.may_speak(1, 1));
    group.commit(&alice, &[RosterChange::Add(*dave.public(), Role::Member)], NOW).unwrap();
    assert!(group.may_speak(1, 2) && group.ended_after(1).is_none());
    group.commit(&alice, &[RosterChange::Remove(carol.fingerprint())], NOW).unwrap();
    assert!(group.may_speak(1, 2) && !group.may_speak(1, 3) && group.may_speak(3, 3) && !group.may_speak(3, 2));
    assert_eq!(group.ended_after(2), Some(NOW));
}

/// A welcome is owed by whoever signed the commit that brought the newcomer in, and by nobody else.
#[test]
fn newcomer_is_brought_by_one_signer_in_one_epoch() {
    let mut rng = ChaCha20Rng::from_seed([9; 32]);
    let [alice, bob, carol] = [(); 3].map(|()| IdentityKeyPair::generate(&mut rng));
    let mut group = Group::create(&alice, GroupPolicy::default(), &mut rng).unwrap();
    group.commit(&alice, &[RosterChange::Add(*bob.public(), Role::Member)], NOW).unwrap();
    group.commit(&alice, &[RosterChange::Add(*carol.public(), Role::Member)], NOW).unwrap();
    let [alice, bob, carol] = [alice, bob, carol].map(|pair| pair.fingerprint());
    assert!(group.brought(alice, bob, 1) && group.brought(alice, carol, 2));
    for (signer, member, epoch) in
        [(bob, carol, 2), (alice, bob, 2), (alice, carol, 1), (alice, alice, 1), (alice, bob, 3)]
    {
        assert!(!group.brought(signer, member, epoch), "{epoch}");
    }
}
