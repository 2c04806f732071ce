//! Replicas of a membership log end with the same operations, whatever the network and hostile replicas do.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "a test"
)]

use sceau::UnixTime;
use sceau::limits::MAX_ANSWER_LEN;
use sceau::log::{
    Author, AuthorError, AuthorKey, Authors, Change, Draft, Exchange, HeadsHash, Intake, Log, LogMessage, Operation,
    OperationId, Ops, Outcome, PeerId, Role, Verdict,
};
use sceau_testkit::log_world::{People, World, account, author};
use sceau_testkit::talk::at;

const OPEN: Intake = Intake { peer: PeerId::from_bytes([1; 32]), budget: u64::MAX, unfinished: false };

#[test]
fn replicas_agree() {
    for seed in 0..if std::env::var_os("SCEAU_THOROUGH").is_some() { 2_000 } else { 12 } {
        let mut world = World::new(1_000 + seed);
        world.run();
        assert!(world.settle(), "world {seed}");
    }
}

/// A log with two admins, and what may sign in it.
fn founded() -> (Log, Vec<u8>, People) {
    let people = People::new(6, 1);
    let draft = Draft::genesis(
        author(0, 1),
        vec![Change::Appoint(account(1)), Change::Add(account(2))],
        &mut sceau_testkit::rng(1),
    );
    let genesis = draft.unwrap().sign(people.key(&author(0, 1)));
    let (log, _) = Log::open(genesis.id(), &genesis.encode(), &people).unwrap();
    (log, genesis.encode(), people)
}

fn chain(log: &mut Log, people: &People, count: usize) {
    for i in 0..count {
        let value = vec![7; if i % 2 == 0 { 1_000 } else { 10 }];
        let draft = log.draft(author(1, 1), vec![Change::Set { key: 3, value }]).unwrap();
        let operation = draft.sign(people.key(&author(1, 1))).encode();
        assert_eq!(log.receive(&[&operation], people, OPEN).commit().verdicts, [Verdict::Taken]);
    }
}

fn question(log: &mut Log, exchange: &mut Exchange) -> sceau::log::Want {
    let (_, bytes) = exchange.poll(log, at(1_000_000)).remove(0);
    let Ok(LogMessage::Want(want)) = LogMessage::decode(&bytes) else { panic!("a question") };
    want
}

/// A long log comes in several answers, each of which fits one message; and a peer gets only so much a day.
#[test]
fn answers_are_bounded() {
    let (mut full, genesis, people) = founded();
    chain(&mut full, &people, 2_500);
    let mut empty = Log::open(full.id(), &genesis, &people).unwrap().0;
    let (mut asks, mut answers) = (Exchange::new(), Exchange::new());
    asks.add_peer(PeerId::from_bytes([2; 32]), at(1_000_000));
    answers.add_peer(PeerId::from_bytes([1; 32]), at(1_000_000));
    let mut rounds = 0;
    while empty.heads_hash() != full.heads_hash() {
        let want = question(&mut empty, &mut asks);
        let answer = answers.answer(&full, &PeerId::from_bytes([1; 32]), &want, at(1_000_000)).unwrap();
        assert!(answer.len() <= MAX_ANSWER_LEN);
        let Ok(LogMessage::Ops(ops)) = LogMessage::decode(&answer) else { panic!("an answer") };
        asks.receive(&mut empty, &people, &PeerId::from_bytes([2; 32]), ops, at(1_000_000)).unwrap().commit();
        rounds += 1;
        assert!(rounds < 10);
    }
    assert!(rounds > 2, "{rounds}");
    assert!(asks.agrees(&PeerId::from_bytes([2; 32]), &empty));
    // Whoever asks for all of it again and again is sent so much, and the next day again.
    let mut thirsty = Exchange::new();
    thirsty.add_peer(PeerId::from_bytes([2; 32]), at(1_000_000));
    let want = question(&mut Log::open(full.id(), &genesis, &people).unwrap().0, &mut thirsty);
    let mut sent = 0;
    while let Some(answer) = answers.answer(&full, &PeerId::from_bytes([1; 32]), &want, at(1_000_000)) {
        sent += answer.len();
    }
    assert!(sent <= 128 * MAX_ANSWER_LEN, "{sent}");
    assert!(answers.answer(&full, &PeerId::from_bytes([1; 32]), &want, at(1_000_000).plus(86_400)).is_some());
    assert!(answers.answer(&full, &PeerId::from_bytes([9; 32]), &want, at(1_000_000)).is_none(), "a stranger");
}

#[test]
fn invented_heads_are_asked_of_who_named_them_only() {
    let (mut log, genesis, people) = founded();
    let mut exchange = Exchange::new();
    for peer in 1..4 {
        exchange.add_peer(PeerId::from_bytes([peer; 32]), at(1_000_000));
    }
    // All agree.
    let same = Log::open(log.id(), &genesis, &people).unwrap().0;
    for (peer, bytes) in exchange.poll(&mut log, at(1_000_000)) {
        let mut theirs = Exchange::new();
        theirs.add_peer(PeerId::from_bytes([9; 32]), at(1_000_000));
        let Ok(LogMessage::Want(want)) = LogMessage::decode(&bytes) else { panic!("a question") };
        let answer = theirs.answer(&same, &PeerId::from_bytes([9; 32]), &want, at(1_000_000)).unwrap();
        let Ok(LogMessage::Ops(ops)) = LogMessage::decode(&answer) else { panic!("an answer") };
        exchange.receive(&mut log, &people, &peer, ops, at(1_000_000)).unwrap().commit();
    }
    assert!(exchange.poll(&mut log, at(1_000_000).plus(9_000)).is_empty());
    // The second names something else.
    let (mut liar, mut other) = (Exchange::new(), Log::open(log.id(), &genesis, &people).unwrap().0);
    chain(&mut other, &people, 1);
    liar.add_peer(PeerId::from_bytes([9; 32]), at(1_000_000));
    let want = question(&mut other, &mut liar);
    exchange.answer(&log, &PeerId::from_bytes([2; 32]), &want, at(1_000_000)).unwrap();
    let asked = exchange.poll(&mut log, at(1_000_000).plus(1));
    assert_eq!(asked.iter().map(|(peer, _)| *peer).collect::<Vec<_>>(), [PeerId::from_bytes([2; 32])]);
    // It answers that it has nothing, under the hash of something.
    let Ok(LogMessage::Want(back)) = LogMessage::decode(&asked[0].1) else { panic!("a question") };
    let mut empty = liar.answer(&other, &PeerId::from_bytes([9; 32]), &back, at(1_000_000)).unwrap();
    empty.truncate(1 + 32 + 4 + 16 + 1);
    empty.extend([0, 0]);
    let Ok(LogMessage::Ops(ops)) = LogMessage::decode(&empty) else { panic!("an answer") };
    let exchanged =
        exchange.receive(&mut log, &people, &PeerId::from_bytes([2; 32]), ops, at(1_000_000)).unwrap().commit();
    assert!(exchanged.withheld);
    // It is asked again, less and less often.
    let mut times = Vec::new();
    for second in 2..20_000 {
        if !exchange.poll(&mut log, at(1_000_000).plus(second)).is_empty() {
            times.push(second);
        }
    }
    assert!(times.len() < 20, "{times:?}");
    assert!(times.windows(3).all(|three| three[2] - three[1] >= three[1] - three[0]), "{times:?}");
}

/// Nobody knows the accounts.
struct Nobody;

impl Authors for Nobody {
    fn author(&self, _: &Author) -> Result<AuthorKey, AuthorError> {
        Err(AuthorError::Unknown)
    }
}

/// Dropped instead of committed, nothing changes; an account that is not known yet is nobody's fault.
#[test]
fn nothing_changes_before_the_commit() {
    let (mut log, _, people) = founded();
    let draft = log.draft(author(1, 1), vec![Change::Add(account(4))]).unwrap();
    let operation = draft.sign(people.key(&author(1, 1)));
    let bytes = operation.encode();
    let before = (log.heads_hash(), log.waiting(), log.role(&account(4)));
    let receiving = log.receive(&[&bytes], &people, OPEN);
    assert!(receiving.record().is_some());
    drop(receiving);
    assert_eq!((log.heads_hash(), log.waiting(), log.role(&account(4))), before);
    let refused = log.receive(&[&bytes], &Nobody, OPEN).commit();
    let unknown = sceau::error::OperationError::UnknownAuthor(account(1));
    assert_eq!(refused.verdicts, [Verdict::Refused(unknown)]);
    let outcome = log.receive(&[&bytes], &people, OPEN).commit();
    assert_eq!(outcome.roles, [(account(4), Role::None)]);
    assert_eq!((log.role(&account(4)), log.setting(1)), (Role::Member, None));
}

/// More heads than one operation can join: an operation without changes comes first.
#[test]
fn heads_are_joined() {
    let (mut log, _, people) = founded();
    let genesis = log.id();
    for key in 0..12 {
        let changes = vec![Change::Set { key, value: Vec::new() }];
        let draft = Draft::new(genesis, author(1, 1), vec![genesis], changes).unwrap();
        log.receive(&[&draft.sign(people.key(&author(1, 1))).encode()], &people, OPEN).commit();
    }
    assert_eq!(log.heads().len(), 12);
    let error = log.draft(author(0, 1), vec![Change::Add(account(4))]).unwrap_err();
    assert_eq!(error, sceau::error::DraftError::TooManyHeads);
    let merge = log.draft(author(0, 1), Vec::new()).unwrap().sign(people.key(&author(0, 1)));
    log.receive(&[&merge.encode()], &people, OPEN).commit();
    assert_eq!(log.heads().len(), 5);
    assert!(log.draft(author(0, 1), vec![Change::Add(account(4))]).is_ok());
    assert!(log.draft_leave(author(2, 1)).unwrap().len() == 1);
    assert_eq!(log.draft_leave(author(4, 1)).unwrap_err(), sceau::error::DraftError::NotMember);
}

fn signed(people: &People, log: OperationId, by: Author, parents: Vec<OperationId>, changes: Vec<Change>) -> Operation {
    Draft::new(log, by, parents, changes).unwrap().sign(people.key(&by))
}

fn set(number: u32, len: usize) -> Change {
    let mut value = number.to_be_bytes().to_vec();
    value.resize(len.max(4), 0);
    Change::Set { key: 1, value }
}

/// A run of operations of one author, each on the one before.
fn run(people: &People, log: OperationId, by: Author, from: OperationId, count: u32) -> Vec<Operation> {
    let mut parent = from;
    let next = |number| {
        let operation = signed(people, log, by, vec![parent], vec![set(number, 100)]);
        parent = operation.id();
        operation
    };
    (0..count).map(next).collect()
}

fn give(log: &mut Log, people: &People, operations: &[Operation], intake: Intake) -> (Outcome, usize) {
    let bytes: Vec<_> = operations.iter().map(Operation::encode).collect();
    let receiving = log.receive(&bytes.iter().map(Vec::as_slice).collect::<Vec<_>>(), people, intake);
    let stored = receiving.record().map_or(0, |record| record.bytes.len());
    (receiving.commit(), stored)
}

/// An answer to a question, as its bytes would be.
fn answer(want: &[u8], hash: HeadsHash, more: bool, operations: &[Operation]) -> Ops {
    let mut bytes = vec![2];
    bytes.extend(&want[1..37]);
    bytes.extend(hash);
    bytes.push(u8::from(more));
    bytes.extend((operations.len() as u16).to_be_bytes());
    for operation in operations.iter().map(Operation::encode) {
        bytes.extend((operation.len() as u16).to_be_bytes());
        bytes.extend(operation);
    }
    let Ok(LogMessage::Ops(ops)) = LogMessage::decode(&bytes) else { panic!("an answer") };
    ops
}

/// All accounts but one are known.
struct Lacks<'a>(&'a People, u8);

impl Authors for Lacks<'_> {
    fn author(&self, author: &Author) -> Result<AuthorKey, AuthorError> {
        if author.account == account(self.1) { Err(AuthorError::Unknown) } else { self.0.author(author) }
    }
}

/// Two replicas over a network without delay, until neither has anything to say at this time. Returns how many questions there were.
fn converse(
    logs: &mut [Log; 2],
    exchanges: &mut [Exchange; 2],
    authors: [&dyn Authors; 2],
    asks: usize,
    now: UnixTime,
) -> (usize, bool) {
    let (mut questions, mut withheld) = (0, false);
    loop {
        let before = questions;
        for i in 0..asks {
            let (me, peer) = (PeerId::from_bytes([i as u8; 32]), PeerId::from_bytes([1 - i as u8; 32]));
            for (_, bytes) in exchanges[i].poll(&mut logs[i], now) {
                questions += 1;
                assert!(questions < 1_000, "they ask without pause");
                let Ok(LogMessage::Want(want)) = LogMessage::decode(&bytes) else { panic!("a question") };
                let Some(bytes) = exchanges[1 - i].answer(&logs[1 - i], &me, &want, now) else { continue };
                let Ok(LogMessage::Ops(ops)) = LogMessage::decode(&bytes) else { panic!("an answer") };
                withheld |= exchanges[i].receive(&mut logs[i], authors[i], &peer, ops, now).unwrap().commit().withheld;
            }
        }
        if questions == before {
            return (questions, withheld);
        }
    }
}

fn two_of(log: Log, other: Log) -> ([Log; 2], [Exchange; 2]) {
    let mut exchanges = [Exchange::new(), Exchange::new()];
    exchanges[0].add_peer(PeerId::from_bytes([1; 32]), at(1_000_000));
    exchanges[1].add_peer(PeerId::from_bytes([0; 32]), at(1_000_000));
    ([log, other], exchanges)
}

/// What one has the other can't check yet: it asks less and less often, whether one asks or both, and reports nobody.
#[test]
fn who_cannot_take_what_comes_asks_less_and_less_often() {
    for (asks, large) in [(1, false), (2, false), (1, true)] {
        let (mut q, genesis, people) = founded();
        let mut p = Log::open(q.id(), &genesis, &people).unwrap().0;
        let first = signed(&people, q.id(), author(1, 1), vec![q.id()], vec![Change::Add(account(4))]);
        let length = if large { 3_000 } else { 1 };
        let more = run(&people, q.id(), author(0, 2), first.id(), length);
        give(&mut q, &people, std::slice::from_ref(&first), OPEN);
        give(&mut q, &people, &more, OPEN);
        let ours = signed(&people, p.id(), author(0, 1), vec![p.id()], vec![Change::Add(account(5))]);
        give(&mut p, &people, &[ours], OPEN);
        let (mut logs, mut exchanges) = two_of(p, q);
        let (lacks, lacks_owner) = (Lacks(&people, 1), Lacks(&people, 0));
        let mut questions = 0;
        for second in 0..3_000 {
            let now = at(1_000_000).plus(second);
            let (asked, withheld) = converse(&mut logs, &mut exchanges, [&lacks, &lacks_owner], asks, now);
            assert!(!withheld);
            assert!(second > 0 || asked <= 5, "{asked}");
            questions += asked;
        }
        assert!(questions < 80, "{questions}");
        // The accounts become known.
        let agree = (1..16).any(|hour| {
            let now = at(1_000_000).plus(hour * 3_600);
            converse(&mut logs, &mut exchanges, [&people, &people], 2, now);
            logs[0].heads_hash() == logs[1].heads_hash()
        });
        assert!(agree);
    }
}

#[test]
fn who_is_only_behind_withholds_nothing() {
    let (mut log, genesis, people) = founded();
    let behind = Log::open(log.id(), &genesis, &people).unwrap().0;
    chain(&mut log, &people, 3);
    let (mut logs, mut exchanges) = two_of(log, behind);
    let (questions, withheld) = converse(&mut logs, &mut exchanges, [&people, &people], 1, at(1_000_000));
    assert_eq!((questions, withheld), (1, false));
}

/// What something dead added and leaves is no reason to store it; a leaving comes with its addition, in whatever order.
#[test]
fn a_leaving_takes_no_dead_past_along() {
    let (mut log, _, people) = founded();
    let id = log.id();
    let cut = signed(&people, id, author(0, 1), vec![id], vec![Change::Remove(account(1))]);
    give(&mut log, &people, &[cut], OPEN);
    let mut dead = run(&people, id, author(1, 1), id, 500);
    let added = signed(&people, id, author(1, 1), vec![dead[499].id()], vec![Change::Add(account(5))]);
    dead.push(signed(&people, id, author(5, 1), vec![added.id()], vec![Change::Leave]));
    dead.push(added);
    let (outcome, stored) = give(&mut log, &people, &dead, OPEN);
    assert!(!outcome.verdicts.contains(&Verdict::Taken));
    assert_eq!((stored, log.len()), (0, 2));
    assert!(log.waiting() <= 65, "{}", log.waiting());
    let added = signed(&people, id, author(0, 1), vec![id], vec![Change::Add(account(4))]);
    let left = signed(&people, id, author(4, 1), vec![added.id()], vec![Change::Leave]);
    let (outcome, _) = give(&mut log, &people, &[left.clone(), added], OPEN);
    assert_eq!(outcome.verdicts, [Verdict::Taken, Verdict::Taken]);
    assert!(log.counts(&left.id()) && log.role(&account(4)) == Role::None);
}

/// Bans, lifts and additions that know nothing of each other cost no more than their number squared, and mean the same as few.
#[test]
fn many_bans_and_lifts_mean_what_few_mean() {
    let mut roles = Vec::new();
    for count in [3, 33, 300] {
        let (mut log, _, people) = founded();
        let (id, mut beside) = (log.id(), Vec::new());
        for kind in [Change::Ban(account(5)), Change::Lift(account(5)), Change::Add(account(5))] {
            for number in 0..count {
                beside.push(signed(&people, id, author(1, 1), vec![id], vec![kind.clone(), set(number, 4)]));
            }
        }
        give(&mut log, &people, &beside, OPEN);
        let mut seen = vec![log.role(&account(5))];
        while log.heads().len() > 1 {
            let merge = log.draft(author(1, 1), Vec::new()).unwrap().sign(people.key(&author(1, 1)));
            give(&mut log, &people, &[merge], OPEN);
        }
        // An addition that knows of all bans and no lift later than they; a lift; an addition that knows of that.
        for change in [Change::Add(account(5)), Change::Lift(account(5)), Change::Add(account(5))] {
            let next = log.draft(author(1, 1), vec![change]).unwrap().sign(people.key(&author(1, 1)));
            give(&mut log, &people, &[next], OPEN);
            seen.push(log.role(&account(5)));
        }
        let late = signed(&people, id, author(1, 2), vec![id], vec![Change::Ban(account(5))]);
        give(&mut log, &people, &[late], OPEN);
        seen.push(log.role(&account(5)));
        roles.push(seen);
    }
    assert_eq!(roles[0], [Role::None, Role::None, Role::None, Role::Member, Role::None]);
    assert!(roles.iter().all(|seen| *seen == roles[0]), "{roles:?}");
}

/// A peer says that more comes, and nothing comes: it is asked less and less often, and holds no more than others.
#[test]
fn an_answer_without_end_ends() {
    let (mut log, _, people) = founded();
    let (mut exchange, peer, id) = (Exchange::new(), PeerId::from_bytes([2; 32]), log.id());
    exchange.add_peer(peer, at(1_000_000));
    let mut asked = Vec::new();
    for second in 0..3_000 {
        let now = at(1_000_000).plus(second);
        let mut rounds = 0;
        while let Some((_, want)) = exchange.poll(&mut log, now).pop() {
            let nothing = answer(&want, [9; 16], true, &[]);
            let _ = exchange.receive(&mut log, &people, &peer, nothing, now).unwrap().commit();
            rounds += 1;
            assert!(rounds <= 64);
        }
        if rounds > 0 {
            asked.push(second);
        }
    }
    assert!(asked.len() <= 11, "{asked:?}");
    // Unfinished under the hash that is ours: then it is finished.
    let (_, want) = exchange.poll(&mut log, at(1_100_000)).pop().unwrap();
    let orphans = run(&people, id, author(4, 1), OperationId::from_bytes([7; 32]), 500);
    let _ = exchange
        .receive(&mut log, &people, &peer, answer(&want, [9; 16], true, &orphans), at(1_100_000))
        .unwrap()
        .commit();
    assert_eq!(log.waiting(), 500);
    let (_, want) = exchange.poll(&mut log, at(1_100_000)).pop().unwrap();
    let same = answer(&want, log.heads_hash(), true, &[]);
    let _ = exchange.receive(&mut log, &people, &peer, same, at(1_100_000)).unwrap().commit();
    assert!(exchange.agrees(&peer, &log));
    assert!(log.waiting() <= 64, "{}", log.waiting());
}

/// A question is answered once: what comes under its number again is no answer.
#[test]
fn one_answer_counts_for_a_question() {
    let (mut log, _, people) = founded();
    let (mut exchange, peer, id) = (Exchange::new(), PeerId::from_bytes([2; 32]), log.id());
    exchange.add_peer(peer, at(1_000_000));
    let now = at(1_000_000);
    let (_, want) = exchange.poll(&mut log, now).pop().unwrap();
    let orphans = run(&people, id, author(4, 1), OperationId::from_bytes([7; 32]), 300);
    for _ in 0..3 {
        let ended = answer(&want, [9; 16], false, &orphans[..1]);
        let _ = exchange.receive(&mut log, &people, &peer, ended, now).unwrap().commit();
        assert!(exchange.poll(&mut log, now).is_empty());
    }
    let again = answer(&want, [9; 16], true, &orphans);
    let _ = exchange.receive(&mut log, &people, &peer, again, now).unwrap().commit();
    assert!(exchange.poll(&mut log, now).is_empty());
    assert!(log.waiting() <= 64, "{}", log.waiting());
}

/// What waits and is looked at is charged, and without budget it is not looked at.
#[test]
fn looking_at_what_waits_is_charged() {
    let (mut log, _, people) = founded();
    let unfinished = Intake { unfinished: true, ..OPEN };
    let orphans = run(&people, log.id(), author(4, 1), OperationId::from_bytes([7; 32]), 1_001);
    give(&mut log, &people, &orphans[..1_000], unfinished);
    assert_eq!(log.waiting(), 1_000);
    let (outcome, _) = give(&mut log, &people, &orphans[1_000..], Intake { budget: 100, ..unfinished });
    assert!((100..110).contains(&outcome.spent), "{}", outcome.spent);
    let (outcome, _) = give(&mut log, &people, &orphans[1_000..], unfinished);
    assert!((1_000..1_010).contains(&outcome.spent), "{}", outcome.spent);
    assert_eq!(log.waiting(), 1_001);
}

/// A retiring has what waits judged again, but not what a peer has begun to send; and not if it can't count.
#[test]
fn a_retiring_stores_nothing_of_what_is_unfinished() {
    let (mut log, _, people) = founded();
    let id = log.id();
    let cut = signed(&people, id, author(0, 1), vec![id], vec![Change::Remove(account(1))]);
    give(&mut log, &people, &[cut], OPEN);
    let dead = run(&people, id, author(1, 1), id, 1_000);
    give(&mut log, &people, &dead[..20], Intake { peer: PeerId::from_bytes([3; 32]), ..OPEN });
    give(&mut log, &people, &dead, Intake { unfinished: true, ..OPEN });
    assert_eq!(log.waiting(), 1_000);
    let retire = |by: u8, device: u8| {
        let Author { device, admission, .. } = author(0, device);
        signed(&people, id, author(0, by), vec![id], vec![Change::Retire { device, admission }])
    };
    let honest = Intake { peer: PeerId::from_bytes([4; 32]), ..OPEN };
    let (outcome, stored) = give(&mut log, &people, &[retire(2, 1)], honest);
    assert!(stored < 1_000 && outcome.spent < 100, "{stored} {}", outcome.spent);
    assert_eq!(log.waiting(), 1_000);
    let (outcome, _) = give(&mut log, &people, &[retire(1, 2)], honest);
    assert!(outcome.spent < 200, "{}", outcome.spent);
    // What others have sent before was judged again.
    assert_eq!((log.waiting(), log.contains(&dead[19].id()), log.contains(&dead[20].id())), (980, true, false));
}
