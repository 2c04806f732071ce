//! Members, former members and strangers who break the protocol: nobody else is hurt for long, or told too much.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test is to fail loudly"
)]

use sceau::device::{GroupChange, GroupEvent};
use sceau::error::OpenError;
use sceau::group::{Group, GroupPolicy, Received, Role, RosterChange};
use sceau::{GroupId, IdentityKeyPair, Record};
use sceau_testkit::Crowd;
use sceau_testkit::crowd::{Flying, Party};
use sceau_testkit::talk::done;

const ROSTER: u8 = 4;

fn take(crowd: &mut Crowd) -> Vec<Flying> {
    core::mem::take(&mut crowd.queue)
}

fn policy(max_messages: u32) -> GroupChange {
    GroupChange::SetPolicy(GroupPolicy { max_messages, max_age: 1_000_000 })
}

/// An envelope with whatever its author likes to say of a group.
fn raw(crowd: &mut Crowd, from: usize, to: usize, content: &[u8]) -> Flying {
    let name = crowd.name(to);
    crowd.store_all();
    crowd.introduce(from, name);
    let Party { device, disk, .. } = &mut crowd.parties[from];
    let pending = device.seal_raw(name, ROSTER, content, crowd.now, &mut crowd.rng).unwrap();
    let Ok(bytes) = pending.commit(|changes| disk.apply(changes));
    Flying { to, bytes: bytes.envelope, intact: true }
}

/// The founder, then admins and members as the letters say; all have spoken.
fn group(roles: &str, seed: u64) -> Crowd {
    let mut crowd = Crowd::new(roles.len() + 1, seed);
    crowd.create(GroupPolicy::default());
    for (party, role) in roles.chars().enumerate().map(|(i, role)| (i + 1, role)) {
        let role = match role {
            'a' => Role::Admin,
            'm' => Role::Member,
            _ => continue,
        };
        let name = crowd.name(party);
        crowd.commit(0, &[GroupChange::Add(name, role)]).unwrap();
        crowd.flush();
    }
    for party in 0..=roles.len() {
        let _: Result<_, _> = crowd.say(party, b"hello");
        crowd.flush();
    }
    crowd
}

fn transcript(crowd: &Crowd, party: usize) -> [u8; 32] {
    crowd.parties[party].device.group(crowd.group()).unwrap().roster.transcript()
}

/// A second welcome into the roster of the first comes after much was built on that: the newcomer stays.
#[test]
fn late_welcome_tears_nobody_out() {
    let mut crowd = group("aa-m", 1);
    let three = crowd.name(3);
    crowd.commit(1, &[GroupChange::Add(three, Role::Member)]).unwrap();
    let late = take(&mut crowd);
    crowd.commit(2, &[GroupChange::Add(three, Role::Member)]).unwrap();
    crowd.flush();
    for (by, messages) in [(0, 50)].into_iter().chain((60..69).map(|messages| (2, messages))) {
        crowd.commit(by, &[policy(messages)]).unwrap();
        crowd.flush();
    }
    assert!(crowd.agrees());
    crowd.queue.extend(late);
    crowd.flush();
    assert!(crowd.agrees(), "{:?}", crowd.parties[3].events);
    for party in 0..5 {
        crowd.say(party, b"together").unwrap();
        crowd.flush();
    }
    assert!(crowd.agrees());
}

/// Whoever names a stored ciphertext with a wrong key stands in nobody's way.
#[test]
fn strangers_block_no_welcome() {
    const COUNT: usize = 240;
    let mut seed = 1;
    let mut crowd = loop {
        let mut crowd = Crowd::new(COUNT, seed);
        crowd.thorough = false;
        // The stranger's entry is to be looked at first.
        if crowd.name(COUNT - 1) < crowd.name(0) {
            break crowd;
        }
        seed += 1;
    };
    crowd.create(GroupPolicy::default());
    let adds: Vec<_> = (1..COUNT - 1).map(|party| GroupChange::Add(crowd.name(party), Role::Member)).collect();
    crowd.commit(0, &adds).unwrap();
    let welcomes = take(&mut crowd);
    let (ciphertext, now) = (crowd.attached[0].clone(), crowd.now);
    let name = sceau::attachment::name(&ciphertext);
    let group = crowd.group();
    // The last two name other ciphertexts too.
    let names =
        [(COUNT - 1, group, name), (COUNT - 1, GroupId::from_bytes([9; 32]), name), (COUNT - 1, group, [8; 32])];
    for (stranger, group, name) in names.into_iter().chain([(3, group, [7; 32])]) {
        let content = [&[3][..], group.as_bytes(), &[0; 32], &17_000_u64.to_be_bytes(), &name].concat();
        let bad = raw(&mut crowd, stranger, 1, &content);
        done(crowd.parties[1].device.open(&bad.bytes, now).unwrap());
    }
    // The founder's chain, and another newcomer's, come before the welcome and wait for it.
    let (one, to_two) = (crowd.name(1), welcomes.iter().find(|flying| flying.to == 2).unwrap());
    done(crowd.parties[2].device.open(&to_two.bytes, now).unwrap());
    done(crowd.parties[2].device.take_attached(&ciphertext, now).unwrap());
    crowd.store_all();
    crowd.introduce(2, one);
    for party in [0, 2] {
        let ready = done(crowd.parties[party].device.prepare_group(group, now, &mut crowd.rng).unwrap());
        let chain = ready.deliveries.into_iter().find(|delivery| delivery.to == one).unwrap();
        let opened = done(crowd.parties[1].device.open(&chain.envelope, now).unwrap());
        assert!(matches!(opened.event, sceau::Event::Group { what: GroupEvent::Waiting, .. }), "{:?}", opened.event);
    }
    let welcome = welcomes.iter().find(|flying| flying.to == 1).unwrap();
    let device = &mut crowd.parties[1].device;
    let waiting = |device: &sceau::Device| {
        let records = sceau_testkit::Disk::of(device);
        records.records().keys().filter(|key| key.as_bytes()[0] == 13).count()
    };
    done(device.open(&welcome.bytes, now).unwrap());
    assert_eq!(waiting(device), 4);
    done(device.take_attached(&ciphertext, now).unwrap());
    let status = device.group(group).unwrap();
    assert!(status.member && status.chains == 2);
    assert_eq!(waiting(device), 2, "the strangers'");
    // What is left of it is fetched once more, and then never again; other names that they gave stay.
    let mut wanted: Vec<_> = device.wanted().collect();
    wanted.sort_unstable();
    let mut expected = [[7; 32], [8; 32], name, name];
    expected.sort_unstable();
    assert_eq!(wanted, expected);
    let pending = device.take_attached(&ciphertext, now).unwrap();
    let mut records = 0;
    let Ok(opened) = pending.commit(|changes| {
        records = changes.len();
        Ok::<_, std::convert::Infallible>(())
    });
    assert!(matches!(opened.event, sceau::Event::Group { what: GroupEvent::Violation, .. }));
    assert_eq!(records, 2, "one peer's, and the head");
    assert!(device.wanted().all(|wanted| wanted != name) && device.wanted().count() == 2);
}

/// Someone who makes another an admin of many groups uses up its own quota, not the other's.
#[test]
fn quota_is_the_bringers() {
    let mut crowd = Crowd::new(3, 3);
    crowd.thorough = false;
    let (alice, victim) = (crowd.name(1), crowd.name(2));
    for _ in 0..64 {
        crowd.create(GroupPolicy::default());
        crowd.commit(0, &[GroupChange::Add(alice, Role::Admin), GroupChange::Add(victim, Role::Member)]).unwrap();
        crowd.queue.retain(|flying| flying.to == 2);
        crowd.flush();
    }
    let Party { device, disk, .. } = &mut crowd.parties[1];
    let pending = device.create_group(GroupPolicy::default(), &mut crowd.rng).unwrap();
    let Ok(group) = pending.commit(|changes| disk.apply(changes));
    crowd.group = Some(group);
    crowd.commit(1, &[GroupChange::Add(victim, Role::Member)]).unwrap();
    crowd.flush();
    assert!(crowd.parties[2].device.group(group).is_some());
}

/// Three branches, on which someone is made a member and leaves: no device goes round in a circle.
#[test]
fn no_circle_of_branches() {
    let (mut rng, now) = (sceau_testkit::rng(4), sceau_testkit::talk::at(1_800_000_000));
    let [x, y, z] = [(); 3].map(|()| IdentityKeyPair::generate(&mut rng));
    let set = |max_messages| RosterChange::SetPolicy(GroupPolicy { max_messages, max_age: 9 });
    let mut base = Group::create(&x, GroupPolicy::default(), &mut rng).unwrap();
    base.commit(&x, &[RosterChange::Add(*z.public(), Role::Admin)], now).unwrap();
    base.commit(&x, &[RosterChange::Add(*y.public(), Role::Admin)], now).unwrap();
    let by_z = base.clone().commit(&z, &[set(1)], now).unwrap().commit;
    let mut demoted = base.clone();
    let common = demoted.commit(&y, &[RosterChange::SetRole(x.fingerprint(), Role::Member)], now).unwrap().commit;
    let by_y = demoted.clone().commit(&y, &[set(2)], now).unwrap().commit;
    let left = demoted.clone().commit(&x, &[RosterChange::Leave], now).unwrap().commit;
    let mut device = base.clone();
    let mut turns = 0;
    for _ in 0..6 {
        for commit in [&by_z, &common, &left, &by_y] {
            let received = device.receive(commit, &[&by_z, &common, &left, &by_y], now).unwrap();
            turns += u32::from(matches!(received, Received::Superseded(_)));
        }
    }
    assert!(turns <= 2, "turned {turns} times");
}

/// Who was removed and asks is told what put it out.
#[test]
fn removed_member_asks_and_learns_no_more() {
    let mut crowd = group("amm-", 5);
    let (three, four) = (crowd.name(3), crowd.name(4));
    for (by, change) in [(1, GroupChange::Remove(three)), (1, policy(9)), (0, GroupChange::Add(four, Role::Member))] {
        let before = crowd.parties[0].device.group(crowd.group()).unwrap().roster.epoch();
        crowd.commit(by, &[change]).unwrap();
        crowd.queue.retain(|flying| flying.to != 3);
        crowd.flush();
        assert_eq!(crowd.parties[0].device.group(crowd.group()).unwrap().roster.epoch(), before + 1);
    }
    let (group, founder) = (crowd.group(), crowd.name(0));
    let Party { device, disk, .. } = &mut crowd.parties[3];
    let before = device.group(group).unwrap().roster.epoch();
    let pending = device.ask_for_commits(group, founder, crowd.now, &mut crowd.rng).unwrap();
    let Ok(question) = pending.commit(|changes| disk.apply(changes));
    crowd.post(0, question.envelope);
    crowd.flush();
    let roster = crowd.parties[3].device.group(group).unwrap().roster;
    assert_eq!((roster.epoch(), roster.member(four)), (before + 1, None));
}

/// Two commits of an outvoted branch are opened before anything is answered: the answer is given all the same.
#[test]
fn second_outvoted_commit_takes_no_answer_away() {
    let mut crowd = group("am", 6);
    for i in 0..10 {
        crowd.commit(0, &[policy(10 + i)]).unwrap();
        crowd.flush();
    }
    crowd.commit(0, &[policy(50)]).unwrap();
    crowd.queue.clear();
    crowd.commit(1, &[policy(60)]).unwrap();
    crowd.commit(1, &[policy(61)]).unwrap();
    let now = crowd.now;
    for flying in take(&mut crowd).iter().filter(|flying| flying.to == 0) {
        let Party { device, disk, .. } = &mut crowd.parties[0];
        let Ok(_) = device.open(&flying.bytes, now).unwrap().commit(|changes| disk.apply(changes));
    }
    crowd.parties[1].events.clear();
    crowd.pay(0);
    crowd.flush();
    assert_eq!(transcript(&crowd, 0), transcript(&crowd, 1), "{:?}", crowd.parties[1].events);
}

/// A plain member, who knows the group's id and hash, welcomes a newcomer into a roster of its own making; the real welcome
/// says that there is a fork.
#[test]
fn forged_welcome_is_a_fork() {
    let mut crowd = group("mm-", 7);
    let (group, now) = (crowd.group(), crowd.now);
    let identity = |party: usize| crowd.parties[party].device.identity().to_state();
    let key = IdentityKeyPair::from_state(identity(2).expose()).unwrap();
    let real = crowd.parties[2].device.group(group).unwrap().roster;
    let mut fake = Group::create(&key, GroupPolicy::default(), &mut crowd.rng).unwrap();
    let (founder, three) = (*crowd.parties[0].device.identity_key(), *crowd.parties[3].device.identity_key());
    fake.commit(&key, &[RosterChange::Add(founder, Role::Admin)], now).unwrap();
    fake.commit(&key, &[RosterChange::SetPolicy(GroupPolicy { max_messages: 2, max_age: 2 })], now).unwrap();
    // Its id and its hash are made those of the real one.
    let mut image = fake.to_state().expose().to_vec();
    for (from, to) in [(*fake.id().as_bytes(), *group.as_bytes()), (fake.transcript(), real.transcript())] {
        let places: Vec<usize> = (0..image.len() - 31).filter(|at| image[*at..*at + 32] == from).collect();
        for at in places {
            image[at..at + 32].copy_from_slice(&to);
        }
    }
    let mut fake = Group::from_state(&image).unwrap();
    let welcome = fake.commit(&key, &[RosterChange::Add(three, Role::Member)], now).unwrap().welcome;
    let flying = raw(&mut crowd, 2, 3, &welcome);
    crowd.deliver(&flying);
    assert!(matches!(crowd.parties[3].events.last(), Some(GroupEvent::Joined { .. })));
    let name = crowd.name(3);
    crowd.commit(0, &[GroupChange::Add(name, Role::Member)]).unwrap();
    let real = take(&mut crowd);
    for flying in real.iter().filter(|flying| flying.to == 3) {
        crowd.deliver(flying);
    }
    assert!(matches!(crowd.parties[3].events.last(), Some(GroupEvent::Fork { .. })), "{:?}", crowd.parties[3].events);
}

fn long_commit(group: GroupId, extends: u8, signer: &[u8; 32]) -> Vec<u8> {
    let mut content = [&[1][..], group.as_bytes(), &[extends; 32], signer, &4_096_u32.to_be_bytes()].concat();
    for number in 0..4_096_u32 {
        content.extend([&[1][..], &[7; 92], &number.to_be_bytes(), &[1]].concat());
    }
    content.extend([0; 64]);
    content
}

/// A member's commits that lead nowhere are kept within a bound, and written once.
#[test]
fn commits_that_wait_are_not_written_again() {
    let mut crowd = Crowd::together(4, 8);
    crowd.thorough = false;
    let (group, signer) = (crowd.group(), crowd.name(3));
    for i in 0..8 {
        let content = long_commit(group, i, signer.as_bytes());
        let flying = raw(&mut crowd, 3, 1, &content);
        crowd.deliver(&flying);
    }
    crowd.queue.clear();
    assert!(Party::size_of(&crowd.parties[1]) < 1_800_000, "{}", Party::size_of(&crowd.parties[1]));
    crowd.commit(0, &[policy(5)]).unwrap();
    let flying = take(&mut crowd).into_iter().find(|flying| flying.to == 1).unwrap();
    let head = crowd.parties[1].disk.records().get(&sceau::RecordKey::HEAD).cloned();
    let mut written = 0;
    let note = |changes: &sceau::Changes| {
        let records = changes.after(head.as_deref()).unwrap();
        written = records.map(|record| if let Record::Put(_, bytes) = record { bytes.len() } else { 0 }).sum();
        Ok::<(), std::convert::Infallible>(())
    };
    let Ok(_) = crowd.parties[1].device.open(&flying.bytes, crowd.now).unwrap().commit(note);
    assert!(written < 5_000, "{written} bytes");
}

/// Newcomers who can't be reached: nothing is encrypted for nobody, and once for all.
#[test]
fn rosters_are_encrypted_for_someone_and_once() {
    const FIRST: usize = 231;
    let mut crowd = Crowd::new(FIRST + 40, 9);
    crowd.thorough = false;
    crowd.create(GroupPolicy::default());
    let adds: Vec<_> = (1..FIRST).map(|party| GroupChange::Add(crowd.name(party), Role::Member)).collect();
    crowd.commit(0, &adds).unwrap();
    crowd.queue.clear();
    let names: Vec<_> = (FIRST..FIRST + 40).map(|party| crowd.name(party)).collect();
    for name in &names {
        crowd.introduce(0, *name);
    }
    crowd.now = crowd.now.plus(200 * 86_400);
    let (group, now) = (crowd.group(), crowd.now);
    for half in names.chunks(20) {
        let changes: Vec<_> = half.iter().map(|name| GroupChange::Add(*name, Role::Member)).collect();
        let Party { device, disk, .. } = &mut crowd.parties[0];
        let pending = device.commit_group(group, &changes, now, &mut crowd.rng).unwrap();
        let Ok(made) = pending.commit(|changes| disk.apply(changes));
        assert!(made.attached.is_empty());
    }
    for party in FIRST..FIRST + 40 {
        let Party { device, disk, directory, .. } = &mut crowd.parties[party];
        let Ok(upload) = device.publish_prekeys(1, now, &mut crowd.rng).unwrap().commit(|changes| disk.apply(changes));
        directory.update(upload).unwrap();
        let name = crowd.name(party);
        crowd.introduce(0, name);
    }
    let paid = done(crowd.parties[0].device.seal_group_owed(group, now, &mut crowd.rng).unwrap());
    assert_eq!(paid.attached.len(), 2, "one for each of the two commits");
}

/// What a removed member knows of the group after it has claimed a thing, four commits after its removal.
fn after_a_claim(seed: u64, kind: u8, claim: impl FnOnce(GroupId, u64, [u8; 32]) -> Vec<u8>) -> (Crowd, u64) {
    let mut crowd = group("amm--", seed);
    let (three, four, five) = (crowd.name(3), crowd.name(4), crowd.name(5));
    let add = |name| GroupChange::Add(name, Role::Member);
    let before = crowd.parties[3].device.group(crowd.group()).unwrap().roster;
    for (by, change) in [(1, GroupChange::Remove(three)), (1, add(four)), (0, policy(7)), (0, add(five))] {
        crowd.commit(by, &[change]).unwrap();
        crowd.queue.retain(|flying| flying.to != 3);
        crowd.flush();
    }
    let (founder, content) = (crowd.name(0), claim(crowd.group(), before.epoch(), before.transcript()));
    let Party { device, disk, .. } = &mut crowd.parties[3];
    let pending = device.seal_raw(founder, kind, &content, crowd.now, &mut crowd.rng).unwrap();
    let Ok(envelope) = pending.commit(|changes| disk.apply(changes));
    crowd.parties[3].events.clear();
    crowd.post(0, envelope.envelope);
    crowd.flush();
    (crowd, before.epoch())
}

/// A removed member says that it follows another branch, under a hash that it has made up: it is told its removal, not what
/// came after.
#[test]
fn invented_branches_convince_nobody() {
    let (crowd, before) = after_a_claim(11, 5, |group, epoch, transcript| {
        let mut content = vec![2];
        content.extend(group.as_bytes());
        content.extend((epoch + 1).to_be_bytes());
        content.push(2);
        content.extend([7; 32]);
        content.extend(transcript);
        content
    });
    let roster = crowd.parties[3].device.group(crowd.group()).unwrap().roster;
    assert_eq!(roster.epoch(), before + 1);
    assert!(roster.member(crowd.name(3)).is_none() && roster.member(crowd.name(4)).is_none());
}

/// A removed member announces a chain under an epoch far ahead: it is told its removal, and asked nothing, since a question
/// says where the group stands.
#[test]
fn who_is_out_is_asked_nothing() {
    let (crowd, before) = after_a_claim(12, 3, |group, _, _| {
        let mut content = group.as_bytes().to_vec();
        content.extend(1_000_u64.to_be_bytes());
        content.extend([7; 32 * 3]);
        content.extend([0; 4]);
        content.extend([7; 32]);
        content
    });
    let told = &crowd.parties[3].events;
    let commits =
        |event: &GroupEvent| matches!(event, GroupEvent::Changed { .. } | GroupEvent::Known | GroupEvent::Waiting);
    assert!(told.iter().all(commits), "{told:?}");
    let roster = crowd.parties[3].device.group(crowd.group()).unwrap().roster;
    assert_eq!(roster.epoch(), before + 1);
}

/// Of a group that a device does not know, little waits at a time.
#[test]
fn long_commits_of_unknown_groups_do_not_wait() {
    let mut crowd = group("-", 17);
    let people: Vec<_> = (0..43).map(|_| IdentityKeyPair::generate(&mut crowd.rng)).collect();
    let mut device = |count: usize| {
        let adds: Vec<_> =
            people[1..count].iter().map(|person| RosterChange::Add(*person.public(), Role::Member)).collect();
        let mut elsewhere = Group::create(&people[0], GroupPolicy::default(), &mut crowd.rng).unwrap();
        let commit = elsewhere.commit(&people[0], &adds, sceau_testkit::talk::at(1)).unwrap().commit;
        let flying = raw(&mut crowd, 1, 0, &commit);
        let opened = done(crowd.parties[0].device.open(&flying.bytes, crowd.now).unwrap());
        let sceau::Event::Group { what, .. } = opened.event else { panic!("{:?}", opened.event) };
        (commit.len() > 4_096, what)
    };
    assert_eq!(device(41), (false, GroupEvent::Waiting));
    assert_eq!(device(43), (true, GroupEvent::Refused));
}

/// A chain under an epoch from before one's own welcome is refused, and nothing of it is kept or owed.
#[test]
fn chains_from_before_the_welcome_are_refused() {
    let mut crowd = group("m-", 14);
    for i in 1..=3 {
        crowd.commit(0, &[policy(i)]).unwrap();
    }
    let two = crowd.name(2);
    crowd.commit(0, &[GroupChange::Add(two, Role::Member)]).unwrap();
    crowd.flush();
    let mut content = crowd.group().as_bytes().to_vec();
    content.extend(1_u64.to_be_bytes());
    content.extend([7; 32 * 3]);
    content.extend([0; 4]);
    content.extend([7; 32]);
    crowd.introduce(1, two);
    let Party { device, .. } = &mut crowd.parties[1];
    let announced = done(device.seal_raw(two, 3, &content, crowd.now, &mut crowd.rng).unwrap());
    let group = crowd.group();
    let device = &mut crowd.parties[2].device;
    let owed = device.group(group).unwrap().owed;
    let opened = done(device.open(&announced.envelope, crowd.now).unwrap());
    assert!(matches!(opened.event, sceau::Event::Group { what: GroupEvent::Refused, .. }), "{:?}", opened.event);
    assert_eq!(device.group(group).unwrap().owed, owed);
    assert!(!sceau_testkit::Disk::of(device).records().keys().any(|key| key.as_bytes()[0] == 13));
}

/// Someone who is out announces a chain under a hash that is known: who was put out lately is told so, a stranger nothing.
#[test]
fn who_is_out_is_told_so_and_strangers_nothing() {
    let announcement = |group: GroupId, epoch: u64, transcript: [u8; 32]| {
        let mut content = group.as_bytes().to_vec();
        content.extend(epoch.to_be_bytes());
        content.extend(transcript);
        content.extend([7; 32 * 2]);
        content.extend([0; 4]);
        content.extend([7; 32]);
        content
    };
    let (crowd, before) = after_a_claim(15, 3, announcement);
    let roster = crowd.parties[3].device.group(crowd.group()).unwrap().roster;
    assert_eq!(roster.epoch(), before + 1);

    let mut crowd = group("m-", 16);
    let founder = crowd.name(0);
    crowd.introduce(2, founder);
    let status = crowd.parties[0].device.group(crowd.group()).unwrap();
    let content = announcement(crowd.group(), status.roster.epoch(), status.roster.transcript());
    let announced = done(crowd.parties[2].device.seal_raw(founder, 3, &content, crowd.now, &mut crowd.rng).unwrap());
    let opened = done(crowd.parties[0].device.open(&announced.envelope, crowd.now).unwrap());
    assert!(matches!(opened.event, sceau::Event::Group { what: GroupEvent::Refused, .. }), "{:?}", opened.event);
    assert_eq!(crowd.parties[0].device.group(crowd.group()).unwrap().owed, status.owed);
}

/// Anyone who names the group is owed an answer, but only so many at a time, and members always.
#[test]
fn strangers_are_owed_little_at_a_time() {
    let mut crowd = group(&format!("m{}", "-".repeat(70)), 13);
    let mut claim = vec![2];
    claim.extend(crowd.group().as_bytes());
    claim.extend(1_000_u64.to_be_bytes());
    claim.push(1);
    claim.extend([7; 32]);
    let founder = crowd.name(0);
    for party in (2..=71).chain([1]) {
        crowd.store_all();
        crowd.introduce(party, founder);
        let Party { device, .. } = &mut crowd.parties[party];
        let claimed = done(device.seal_raw(founder, 5, &claim, crowd.now, &mut crowd.rng).unwrap());
        done(crowd.parties[0].device.open(&claimed.envelope, crowd.now).unwrap());
    }
    let (group, member, blocked) = (crowd.group(), crowd.name(1), crowd.name(2));
    let device = &mut crowd.parties[0].device;
    done(device.block(blocked).unwrap());
    let paid = done(device.seal_group_owed(group, crowd.now, &mut crowd.rng).unwrap());
    assert_eq!(paid.deliveries.len(), 63 + 1);
    assert!(paid.deliveries.iter().any(|delivery| delivery.to == member));
    // Who is blocked holds no place.
    assert_eq!(paid.unreachable.len(), 1);
    assert_eq!(device.group(group).unwrap().owed, 0);
}

/// Only a roster that could be one is fetched.
#[test]
fn named_ciphertexts_are_bounded() {
    let mut crowd = group("m", 18);
    let group = crowd.group();
    let one = crowd.name(1);
    for (len, good) in [(3_u64 << 19, true), ((3 << 19) + 1, false), (2 << 20, false)] {
        let content = [&[3][..], group.as_bytes(), &[0; 32], &len.to_be_bytes(), &[7; 32]].concat();
        let named = raw(&mut crowd, 1, 0, &content);
        let opened = crowd.parties[0].device.open(&named.bytes, crowd.now).map(drop);
        assert_eq!(opened.err(), (!good).then_some(OpenError::Violation(one)), "{len}");
    }
}

/// A commit of long ago that is not the one that was followed there: from a member it is a fork, from anyone else nothing.
#[test]
fn forks_of_long_ago_are_a_members_word() {
    let mut crowd = group("m-", 19);
    let old = crowd.parties[0].device.group(crowd.group()).unwrap().roster.transcript();
    for i in 1..=12 {
        crowd.commit(0, &[policy(i)]).unwrap();
        crowd.flush();
    }
    let member = crowd.name(1);
    let content = [&[1][..], crowd.group().as_bytes(), &old, member.as_bytes(), &[0, 0, 0, 1, 4], &[0; 64]].concat();
    for (from, expected) in [(1, true), (2, false)] {
        let said = raw(&mut crowd, from, 0, &content);
        let opened = done(crowd.parties[0].device.open(&said.bytes, crowd.now).unwrap());
        let sceau::Event::Group { what, .. } = opened.event else { panic!("{:?}", opened.event) };
        match what {
            GroupEvent::Fork { theirs, .. } => assert!(expected && theirs == old),
            what => assert!(!expected && what == GroupEvent::Refused, "{what:?}"),
        }
    }
}

/// A commit that comes too early is asked for, once, if a member brings it.
#[test]
fn early_commits_of_members_alone_are_asked_for() {
    let mut crowd = group("m-", 20);
    let (group, member) = (crowd.group(), crowd.name(1));
    let content = [&[1][..], group.as_bytes(), &[7; 32], member.as_bytes(), &[0, 0, 0, 1, 4], &[0; 64]].concat();
    let owed = |crowd: &Crowd| crowd.parties[0].device.group(group).unwrap().owed;
    let before = owed(&crowd);
    for (from, more) in [(2, 0), (1, 1)] {
        let said = raw(&mut crowd, from, 0, &content);
        let opened = done(crowd.parties[0].device.open(&said.bytes, crowd.now).unwrap());
        assert!(matches!(opened.event, sceau::Event::Group { what: GroupEvent::Waiting, .. }), "{:?}", opened.event);
        assert_eq!(owed(&crowd), before + more, "from {from}");
    }
    let paid = done(crowd.parties[0].device.seal_group_owed(group, crowd.now, &mut crowd.rng).unwrap());
    assert_eq!((paid.deliveries.len(), owed(&crowd)), (1, before));
    let again = raw(&mut crowd, 1, 0, &content);
    done(crowd.parties[0].device.open(&again.bytes, crowd.now).unwrap());
    assert_eq!(owed(&crowd), before, "the same one again");
}
