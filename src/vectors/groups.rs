//! Rosters, commits, sender chains, group messages.

use super::core::{NOW, identity};
use super::{File, Script, Value, class, file, flipped, object, refused};
use crate::codec::{Reader, Write};
use crate::crypto::kdf;
use crate::error::OpenError;
use crate::group::{Group, GroupPolicy, MemberChain, OwnChain, Role, RosterChange};
use crate::identity::IdentityKeyPair;
use crate::keys::Signature;
use crate::labels::Label;
use crate::message::{Opening, Outbound};
use crate::padding::Padding;
use crate::wire::envelope::Envelope;
use crate::wire::payload::PayloadKind;
use crate::wire::roster::{Announcement, RosterCommit, RosterMessage};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

pub(super) fn files() -> Vec<File> {
    vec![rosters(), sender_chains()]
}

/// A group with its people: Alice founds, Bob is an admin, Carol a member, Dave out.
struct Story {
    people: Vec<IdentityKeyPair>,
    group: Group,
    shown: Vec<Value>,
}

fn story(rng: &mut Script) -> Story {
    let (people, shown): (Vec<_>, Vec<_>) = (0..4).map(|_| identity(rng)).unzip();
    let group = Group::create(&people[0], GroupPolicy { max_messages: 5, max_age: 1_000 }, rng).unwrap();
    Story { people, group, shown }
}

fn state(group: &Group) -> Value {
    let mut roster = Vec::new();
    group.roster_for_vectors().write(&mut roster);
    object! {
        "epoch": group.epoch(), "roster": &roster,
        "roster_hash": &group.roster_for_vectors().hash(), "th": &group.transcript(),
    }
}

fn rosters() -> File {
    let mut rng = Script::new("rosters");
    let Story { people, mut group, shown } = story(&mut rng);
    let names: Vec<_> = people.iter().map(IdentityKeyPair::fingerprint).collect();
    let mut cases = vec![object! { "name": "founded", "people": shown, "draws": rng.draws(), "state": state(&group) }];
    let steps: [(&str, usize, Vec<RosterChange>); 6] = [
        (
            "two join",
            0,
            vec![
                RosterChange::Add(*people[1].public(), Role::Admin),
                RosterChange::Add(*people[2].public(), Role::Member),
            ],
        ),
        ("another policy", 1, vec![RosterChange::SetPolicy(GroupPolicy { max_messages: 100, max_age: 604_800 })]),
        ("a member becomes an admin", 1, vec![RosterChange::SetRole(names[2], Role::Admin)]),
        ("and a member again", 0, vec![RosterChange::SetRole(names[2], Role::Member)]),
        (
            "one joins, one is removed",
            0,
            vec![RosterChange::Add(*people[3].public(), Role::Member), RosterChange::Remove(names[2])],
        ),
        ("an admin leaves", 1, vec![RosterChange::Leave]),
    ];
    for (name, signer, changes) in steps {
        let extends = group.transcript();
        let made = group.commit(&people[signer], &changes, NOW).unwrap();
        let Ok(RosterMessage::Commit(_, commit)) = RosterMessage::decode(&made.commit) else { panic!() };
        cases.push(object! {
            "name": name, "signer": signer, "extends": &extends,
            "commit": &commit.encode(), "commit_message": &made.commit,
            "signed_message": &commit.signed_message(&group.id()),
            "commit_id": &commit.id(),
            "signer_order": &kdf::hash(Label::SignerOrder, &[group.id().as_bytes(), names[signer].as_bytes()]),
            "ends_chains": commit.ends_chains(),
            "welcome_message": &made.welcome,
            "state": state(&group),
        });
    }
    file("rosters", "9.1, 9.2", cases, commits(&mut rng))
}

/// Commits that the roster after "two join" refuses, or a newcomer their welcome.
fn commits(rng: &mut Script) -> Vec<Value> {
    let Story { people, mut group, .. } = story(rng);
    let names: Vec<_> = people.iter().map(IdentityKeyPair::fingerprint).collect();
    let adds =
        [RosterChange::Add(*people[1].public(), Role::Admin), RosterChange::Add(*people[2].public(), Role::Member)];
    group.commit(&people[0], &adds, NOW).unwrap();
    let signed = |signer: usize, changes: Vec<RosterChange>, extends: [u8; 32]| {
        let mut commit = RosterCommit { extends, signer: names[signer], changes, signature: Signature([0; 64]) };
        commit.signature = people[signer].sign(&commit.signed_message(&group.id()));
        RosterMessage::Commit(group.id(), commit).encode()
    };
    let th = group.transcript();
    let add = |person: usize, role| RosterChange::Add(*people[person].public(), role);
    let leave_and = vec![RosterChange::Leave, RosterChange::Remove(names[0])];
    let twice = vec![RosterChange::Remove(names[2]), RosterChange::SetRole(names[2], Role::Admin)];
    let adds_and_steps_down = vec![add(3, Role::Member), RosterChange::SetRole(names[0], Role::Member)];
    let good = signed(0, vec![add(3, Role::Member)], th);
    let ideas: [(&str, Vec<u8>); 16] = [
        ("a member adds", signed(2, vec![add(3, Role::Member)], th)),
        ("a stranger leaves", signed(3, vec![RosterChange::Leave], th)),
        ("who is in is added", signed(0, vec![add(2, Role::Member)], th)),
        ("who is not in is removed", signed(0, vec![RosterChange::Remove(names[3])], th)),
        ("removes itself", signed(0, vec![RosterChange::Remove(names[0])], th)),
        ("a role that is set", signed(0, vec![RosterChange::SetRole(names[1], Role::Admin)], th)),
        ("the same member twice", signed(0, twice, th)),
        ("leaves and more", signed(1, leave_and, th)),
        ("adds and steps down", signed(0, adds_and_steps_down, th)),
        ("a policy that is set", signed(0, vec![RosterChange::SetPolicy(group.policy())], th)),
        ("an unknown hash", signed(0, vec![add(3, Role::Member)], [9; 32])),
        ("signature changed", flipped(&good, good.len() - 1)),
        ("signature of another", {
            let mut other = good.clone();
            other[65..97].copy_from_slice(names[1].as_bytes());
            other
        }),
        ("another group", flipped(&good, 1)),
        ("trailing byte", [&good[..], &[0]].concat()),
        ("no changes", {
            let mut none = good[..97].to_vec();
            none.u32(0);
            none.extend([0; 64]);
            none
        }),
    ];
    let mut image = Vec::new();
    group.write(&mut image);
    let group_state = state(&group);
    let mut negative: Vec<Value> = ideas
        .iter()
        .map(|(idea, bytes)| {
            let mut theirs = group.clone();
            let result = theirs.receive(bytes, &[], NOW);
            assert_eq!(theirs, group, "{idea}");
            let class = result.map_or_else(|error| class(&error), |received| class(&received));
            let input = object! { "group_state": group_state.clone(), "message": bytes };
            refused(idea, input, &class)
        })
        .collect();
    let welcome = group.clone().commit(&people[0], &[add(3, Role::Member)], NOW).unwrap().welcome;
    for (idea, bytes, newcomer, bringer) in [
        ("welcome by another than its signer", welcome.clone(), 3, 1),
        ("welcome of someone else", welcome.clone(), 2, 0),
        ("welcome without its last member", welcome[..welcome.len() - 73].to_vec(), 3, 0),
    ] {
        let result = Group::join(people[newcomer].public(), &bytes, names[bringer], NOW);
        let input = object! {
            "newcomer": &people[newcomer].public().encode(), "bringer": names[bringer].as_bytes(), "message": &bytes,
        };
        negative.push(refused(idea, input, &class(&result.unwrap_err())));
    }
    negative
}

fn sender_chains() -> File {
    let mut rng = Script::new("sender_chains");
    let (alice, shown) = identity(&mut rng);
    let name = alice.fingerprint();
    let group = crate::wire::roster::GroupId::generate(&mut rng);
    let th: [u8; 32] = rng.draw(32).try_into().unwrap();
    rng.draws();
    let mut chain = OwnChain::generate(group, name, 3, th, NOW, &mut rng);
    let announcement = |chain: &OwnChain| {
        let mut bytes = Vec::new();
        chain.announcement(3, th).write(&mut bytes);
        bytes
    };
    let mut cases = vec![object! {
        "name": "a new chain", "sender": shown, "group": group.as_bytes(), "epoch": 3_u32, "th": &th,
        "draws": rng.draws(),
        "chain_context": &kdf::hash(Label::SenderChain, &[group.as_bytes(), name.as_bytes()]),
        "announcement": &announcement(&chain),
        "mailbox": chain.mailbox().as_bytes(),
    }];
    let first = announcement(&chain);
    let read = |bytes: &[u8]| Reader::whole(bytes, Announcement::read).unwrap();
    let mut member = MemberChain::accept(name, &read(&first), 0);
    let mut envelopes: Vec<Vec<u8>> = Vec::new();
    for content in [&b"one"[..], b"two", &[0xef; 358]] {
        let message = Outbound { kind: PayloadKind::Application, content };
        let (mut step, envelope) = chain.plan_seal(3, &th, message, Padding::default(), &mut rng).unwrap();
        let n = envelopes.len();
        let verify = first[first.len() - 32..].to_vec();
        let parts: [&[u8]; 5] = [group.as_bytes(), &3_u64.to_be_bytes(), &th, name.as_bytes(), &verify];
        let parsed = Envelope::parse(&envelope).unwrap();
        let opening = Opening::new(&parsed);
        let mut planned = member.plan_open(&opening, false, NOW, |_| Ok(th)).unwrap();
        assert_eq!(planned.content.as_slice(), content);
        member.swap(&mut planned.step, &mut ());
        chain.swap(&mut step);
        cases.push(object! {
            "name": "a message", "n": n, "content": content, "draws": rng.draws(),
            "context": &kdf::hash(Label::GroupContext, &parts),
            "envelope": &envelope,
            "announcement_after": &announcement(&chain),
        });
        envelopes.push(envelope);
    }
    let opens = |bytes: &[u8], th: [u8; 32]| -> String {
        let member = MemberChain::accept(name, &read(&first), 0);
        let Ok(parsed) = Envelope::parse(bytes) else { return "Malformed".into() };
        let result = member.plan_open(&Opening::new(&parsed), false, NOW, |epoch| {
            if epoch == 3 { Ok(th) } else { Err(OpenError::CommitMissing(group, name)) }
        });
        result.map_or_else(|error| class(&error), |_| "opened".into())
    };
    assert_eq!(opens(&envelopes[0], th), "opened");
    let envelope = &envelopes[0];
    let negative = [
        ("another roster hash", envelope.clone(), [1; 32]),
        ("tag changed", flipped(envelope, 2), th),
        ("header changed", flipped(envelope, 18), th),
        ("body changed", flipped(envelope, 90), th),
        ("header of one message, body of another", [&envelope[..90], &envelopes[1][90..]].concat(), th),
    ]
    .into_iter()
    .map(|(idea, bytes, hash)| {
        let result = opens(&bytes, hash);
        refused(idea, object! { "announcement": &first, "th": &hash, "envelope": &bytes }, &result)
    })
    .collect();
    file("sender_chains", "9.3, 9.4", cases, negative)
}
