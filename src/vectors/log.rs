//! Membership logs: each rule's example, operations that are refused, messages of the exchange.

use super::{File, Script, Value, class, file, flipped, object, refused};
use crate::error::OperationError;
use crate::keys::{AccountId, DeviceId, OperationId, PeerId};
use crate::log::{
    Author, AuthorError, AuthorKey, Authors, Change, Draft, Exchange, Intake, Log, LogMessage, Operation, OperationKey,
    Verdict,
};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

const OPEN: Intake = Intake { peer: PeerId([1; 32]), budget: u64::MAX, unfinished: false };
const RECOVERY: u8 = 0;
const PHONE: u8 = 1;
const LAPTOP: u8 = 2;

/// Accounts of the letters A to D, M, N and S, with three keys each.
struct Accounts(Vec<(Author, OperationKey, u8)>);

fn account(name: u8) -> AccountId {
    AccountId([name; 32])
}

fn author(name: u8, rank: u8) -> Author {
    Author { account: account(name), device: DeviceId([rank; 32]), admission: OperationId([name ^ 0xff; 32]) }
}

fn retire(name: u8, rank: u8) -> Change {
    Change::Retire { device: author(name, rank).device, admission: author(name, rank).admission }
}

impl Accounts {
    fn draw(rng: &mut Script) -> (Self, Value) {
        let (mut accounts, mut shown) = (Vec::new(), Vec::new());
        for name in *b"ABCDMNS" {
            for rank in [RECOVERY, PHONE, LAPTOP] {
                let (key, author) = (OperationKey::generate(rng), author(name, rank));
                shown.push(object! {
                    "account": &author.account.0, "device": &author.device.0, "admission": &author.admission.0,
                    "rank": u32::from(rank), "draws": rng.draws(), "verification_key": &key.public(),
                });
                accounts.push((author, key, rank));
            }
        }
        (Self(accounts), shown.into())
    }

    fn key(&self, author: &Author) -> &OperationKey {
        &self.0.iter().find(|(other, ..)| other == author).unwrap().1
    }

    fn sign(&self, log: OperationId, writer: Author, parents: Vec<OperationId>, changes: Vec<Change>) -> Operation {
        Draft::new(log, writer, parents, changes).unwrap().sign(self.key(&writer))
    }
}

impl Authors for Accounts {
    fn author(&self, author: &Author) -> Result<AuthorKey, AuthorError> {
        let found = self.0.iter().find(|(other, ..)| other == author);
        let (_, key, rank) = found.ok_or(AuthorError::NotADevice)?;
        Ok(AuthorKey { verify: key.public(), rank: u16::from(*rank) })
    }
}

/// A log, and its operations in their order.
struct Story<'a> {
    accounts: &'a Accounts,
    log: Log,
    operations: Vec<Operation>,
}

impl<'a> Story<'a> {
    fn new(accounts: &'a Accounts) -> Self {
        let genesis = accounts.sign(OperationId::NONE, author(b'A', PHONE), Vec::new(), vec![Change::Found([1; 16])]);
        let (log, _) = Log::open(genesis.id(), &genesis.encode(), accounts).unwrap();
        Self { accounts, log, operations: vec![genesis] }
    }

    fn draft(&self, name: u8, rank: u8, parents: &[usize], changes: Vec<Change>) -> Operation {
        let mut parents: Vec<OperationId> = parents.iter().map(|&i| self.operations[i].id()).collect();
        parents.sort_unstable();
        self.accounts.sign(self.log.id(), author(name, rank), parents, changes)
    }

    fn write(&mut self, name: u8, rank: u8, parents: &[usize], changes: Vec<Change>) -> usize {
        let operation = self.draft(name, rank, parents, changes);
        self.log.receive(&[&operation.encode()], self.accounts, OPEN).commit();
        self.operations.push(operation);
        self.operations.len() - 1
    }

    fn shown(&self, name: &str) -> Value {
        let operations = self.operations.iter().map(|operation| {
            let id = operation.id();
            let flag = |on: bool| u32::from(on);
            object! {
                "operation": &operation.encode(), "signed_message": &operation.signed_message(), "id": &id.0,
                "effective": flag(self.log.is_effective(&id)), "counts": flag(self.log.counts(&id)),
                "kept": flag(self.log.is_kept(&id)),
            }
        });
        let mut members: Vec<_> = self.log.members().collect();
        members.sort_unstable();
        let members = members.iter().map(|(id, role)| object! { "account": &id.0, "role": class(role).as_str() });
        let settings = (0..=255).filter_map(|key| {
            let (value, from) = self.log.setting(key).zip(self.log.setting_from(key))?;
            Some(object! { "key": u32::from(key), "value": &value, "from": &from.0 })
        });
        object! {
            "name": name,
            "operations": operations.collect::<Vec<_>>(),
            "members": members.collect::<Vec<_>>(),
            "settings": settings.collect::<Vec<_>>(),
            "heads_hash": &self.log.heads_hash(),
        }
    }
}

fn of(kind: fn(AccountId) -> Change, names: &[u8]) -> Vec<Change> {
    names.iter().map(|&name| kind(account(name))).collect()
}

fn set(key: u8, value: &[u8]) -> Vec<Change> {
    vec![Change::Set { key, value: value.to_vec() }]
}

type Tell = fn(&mut Story<'_>);

/// One idea each.
const STORIES: &[(&str, Tell)] = &[
    ("two admins remove each other", |s| {
        let h = s.write(b'A', PHONE, &[0], of(Change::Appoint, b"BC"));
        s.write(b'B', PHONE, &[h], of(Change::Remove, b"C"));
        s.write(b'C', PHONE, &[h], of(Change::Remove, b"B"));
    }),
    ("a removal beside an addition, and an addition that knows of it", |s| {
        let h = s.write(b'A', PHONE, &[0], [of(Change::Add, b"MN"), of(Change::Appoint, b"BC")].concat());
        let r = s.write(b'B', PHONE, &[h], of(Change::Remove, b"MN"));
        s.write(b'C', PHONE, &[h], of(Change::Add, b"MN"));
        s.write(b'C', PHONE, &[r], of(Change::Add, b"M"));
    }),
    ("added twice at once, and one addition falls", |s| {
        let h = s.write(b'A', PHONE, &[0], of(Change::Appoint, b"BC"));
        let b = s.write(b'B', PHONE, &[h], of(Change::Add, b"N"));
        s.write(b'C', PHONE, &[h], of(Change::Add, b"N"));
        s.write(b'A', PHONE, &[b], of(Change::Remove, b"C"));
    }),
    ("a removed admin on its old past, and an accomplice", |s| {
        let h = s.write(b'A', PHONE, &[0], of(Change::Appoint, b"BC"));
        let k = s.write(b'A', PHONE, &[h], of(Change::Remove, b"B"));
        let x = s.write(b'B', PHONE, &[h], [of(Change::Add, b"S"), of(Change::Remove, b"C")].concat());
        s.write(b'C', PHONE, &[k, x], of(Change::Add, b"M"));
    }),
    ("what the removal had seen", |s| {
        let h = s.write(b'A', PHONE, &[0], of(Change::Appoint, b"B"));
        let m = s.write(b'B', PHONE, &[h], of(Change::Add, b"M"));
        s.write(b'A', PHONE, &[m], of(Change::Remove, b"B"));
    }),
    ("an appointment beside an admin's removal", |s| {
        let h = s.write(b'A', PHONE, &[0], [of(Change::Add, b"M"), of(Change::Appoint, b"B")].concat());
        s.write(b'B', PHONE, &[h], of(Change::Remove, b"M"));
        s.write(b'A', PHONE, &[h], of(Change::Appoint, b"M"));
    }),
    ("dismissed and appointed again", |s| {
        let h = s.write(b'A', PHONE, &[0], of(Change::Appoint, b"B"));
        let k = s.write(b'A', PHONE, &[h], of(Change::Dismiss, b"B"));
        let x = s.write(b'B', PHONE, &[h], of(Change::Add, b"S"));
        let a = s.write(b'A', PHONE, &[k], of(Change::Appoint, b"B"));
        s.write(b'B', PHONE, &[a, x], of(Change::Add, b"M"));
    }),
    ("leaving ends one addition", |s| {
        let h = s.write(b'A', PHONE, &[0], of(Change::Add, b"MN"));
        s.write(b'M', PHONE, &[h], vec![Change::Leave]);
        s.write(b'N', PHONE, &[h], vec![Change::Leave]);
        s.write(b'A', PHONE, &[h], of(Change::Add, b"M"));
    }),
    ("a thief has the owner's phone", |s| {
        let h = s.write(b'A', PHONE, &[0], [of(Change::Add, b"M"), of(Change::Appoint, b"B")].concat());
        s.write(b'A', PHONE, &[h], of(Change::Remove, b"BM"));
        s.write(b'A', RECOVERY, &[h], vec![retire(b'A', PHONE)]);
    }),
    ("a thief retires the laptop first", |s| {
        let h = s.write(b'A', PHONE, &[0], of(Change::Add, b"M"));
        s.write(b'A', PHONE, &[h], vec![retire(b'A', LAPTOP)]);
        s.write(b'A', RECOVERY, &[h], vec![retire(b'A', PHONE)]);
        s.write(b'A', LAPTOP, &[h], of(Change::Add, b"N"));
    }),
    ("a removed admin retires its own device", |s| {
        let h = s.write(b'A', PHONE, &[0], of(Change::Appoint, b"B"));
        let m = s.write(b'B', LAPTOP, &[h], of(Change::Add, b"M"));
        s.write(b'A', PHONE, &[m], of(Change::Remove, b"B"));
        s.write(b'B', PHONE, &[h], vec![retire(b'B', LAPTOP)]);
    }),
    ("bans and lifts", |s| {
        let h = s.write(b'A', PHONE, &[0], [of(Change::Add, b"MN"), of(Change::Appoint, b"B")].concat());
        let n = s.write(b'A', PHONE, &[h], of(Change::Ban, b"MN"));
        let f = s.write(b'B', PHONE, &[n], of(Change::Lift, b"MN"));
        s.write(b'B', PHONE, &[f], of(Change::Add, b"MN"));
        let f = s.write(b'A', PHONE, &[n], of(Change::Lift, b"M"));
        s.write(b'B', PHONE, &[f], of(Change::Add, b"M"));
    }),
    ("settings at the same time", |s| {
        let h = s.write(b'A', PHONE, &[0], of(Change::Appoint, b"BC"));
        s.write(b'A', PHONE, &[h], set(1, b"the owner's"));
        let b = s.write(b'B', PHONE, &[h], [set(1, b"an admin's"), set(2, b"first"), set(3, b"b")].concat());
        s.write(b'B', PHONE, &[b], set(2, b"it follows"));
        s.write(b'C', PHONE, &[h], [set(2, b"lower"), set(3, b"c")].concat());
    }),
    ("a merge joins heads", |s| {
        let h = s.write(b'A', PHONE, &[0], of(Change::Appoint, b"B"));
        let (m, n) =
            (s.write(b'A', PHONE, &[h], of(Change::Add, b"M")), s.write(b'B', PHONE, &[h], of(Change::Add, b"N")));
        s.write(b'B', PHONE, &[m, n], Vec::new());
    }),
];

pub(super) fn files() -> Vec<File> {
    let mut rng = Script::new("membership_log");
    let (accounts, shown) = Accounts::draw(&mut rng);
    let mut cases = vec![object! { "name": "accounts", "authors": shown }];
    for (name, tell) in STORIES {
        let mut story = Story::new(&accounts);
        tell(&mut story);
        cases.push(story.shown(name));
    }
    cases.push(exchange(&accounts));
    vec![file("membership_log", "11", cases, negative(&accounts))]
}

/// A replica that lacks the last operation asks, and is answered.
fn exchange(accounts: &Accounts) -> Value {
    let mut full = Story::new(accounts);
    let h = full.write(b'A', PHONE, &[0], of(Change::Appoint, b"B"));
    let mut lacking = Log::open(full.log.id(), &full.operations[0].encode(), accounts).unwrap().0;
    lacking.receive(&[&full.operations[h].encode()], accounts, OPEN).commit();
    full.write(b'B', PHONE, &[h], of(Change::Add, b"M"));
    let (mut asks, mut answers) = (Exchange::new(), Exchange::new());
    asks.add_peer(PeerId([2; 32]), super::core::NOW);
    answers.add_peer(PeerId([1; 32]), super::core::NOW);
    let want = asks.poll(&mut lacking, super::core::NOW).remove(0).1;
    let Ok(LogMessage::Want(question)) = LogMessage::decode(&want) else { panic!() };
    let answer = answers.answer(&full.log, &PeerId([1; 32]), &question, super::core::NOW).unwrap();
    object! {
        "name": "a question and its answer",
        "has": lacking.len(),
        "operations": full.operations.iter().map(|operation| Value::from(&operation.encode())).collect::<Vec<_>>(),
        "want": &want, "answer": &answer,
    }
}

/// What is refused after the story "a removal beside an addition" has begun: B and C are admins, M is a member.
fn negative(accounts: &Accounts) -> Vec<Value> {
    let mut story = Story::new(accounts);
    let h = story.write(b'A', PHONE, &[0], [of(Change::Add, b"M"), of(Change::Appoint, b"BC")].concat());
    let m = story.write(b'B', PHONE, &[h], of(Change::Add, b"N"));
    let good = story.draft(b'B', PHONE, &[m], of(Change::Add, b"S"));
    let draft = |name, parents: &[usize], changes| story.draft(name, PHONE, parents, changes).encode();
    let mut other = good.encode();
    other[..32].copy_from_slice(&[9; 32]);
    let (bytes, changes) = (good.encode(), 32 + 96 + 1 + 32);
    let swapped = {
        let two = draft(b'B', &[m], of(Change::Add, b"DS"));
        [&two[..=changes], &two[changes + 34..changes + 67], &two[changes + 1..changes + 34], &two[changes + 67..]]
            .concat()
    };
    let parents = {
        let two = draft(b'B', &[h, m], of(Change::Add, b"S"));
        [&two[..129], &two[161..193], &two[129..161], &two[193..]].concat()
    };
    let stranger = {
        let writer = Author { admission: OperationId([3; 32]), ..author(b'B', PHONE) };
        let draft = Draft::new(story.log.id(), writer, vec![story.operations[m].id()], of(Change::Add, b"S")).unwrap();
        draft.sign(accounts.key(&author(b'B', PHONE))).encode()
    };
    let both = |a: Vec<Change>, b: Vec<Change>| [a, b].concat();
    let ideas: Vec<(&str, Vec<u8>)> = vec![
        ("empty", Vec::new()),
        ("truncated", bytes[..bytes.len() - 1].to_vec()),
        ("trailing byte", [&bytes[..], &[0]].concat()),
        ("nine parents", [&bytes[..128], &[9], &bytes[129..]].concat()),
        ("no parents, and no genesis", [&bytes[..128], &[0], &bytes[161..]].concat()),
        ("65 changes", [&bytes[..changes], &[65], &bytes[changes + 1..]].concat()),
        ("a kind that is none", [&bytes[..=changes], &[10], &bytes[changes + 2..]].concat()),
        ("changes not in order", swapped),
        ("parents not in order", parents),
        ("another log", other),
        ("signature changed", flipped(&bytes, bytes.len() - 1)),
        ("another author's signature", {
            let mut other = bytes.clone();
            other[32..64].copy_from_slice(&[b'C'; 32]);
            other[96..128].copy_from_slice(&author(b'C', PHONE).admission.0);
            other
        }),
        ("a device that the account has not", stranger),
        ("a salt in the middle", draft(b'A', &[m], vec![Change::Found([2; 16])])),
        ("an account twice", draft(b'B', &[m], both(of(Change::Add, b"S"), of(Change::Lift, b"S")))),
        ("the owner is named", draft(b'B', &[m], of(Change::Remove, b"A"))),
        ("its author is named", draft(b'B', &[m], of(Change::Ban, b"B"))),
        ("leaves and more", draft(b'B', &[h], both(vec![Change::Leave], set(1, b"x")))),
        ("retires and more", draft(b'B', &[m], both(vec![retire(b'B', LAPTOP)], set(1, b"x")))),
        ("the owner leaves", draft(b'A', &[h], vec![Change::Leave])),
        ("leaves on what is no addition of it", draft(b'M', &[m], vec![Change::Leave])),
        ("leaves on two", draft(b'M', &[h, m], vec![Change::Leave])),
        ("retires, and was never in", draft(b'D', &[m], vec![retire(b'D', LAPTOP)])),
        ("a member adds", draft(b'M', &[m], of(Change::Add, b"S"))),
        ("an admin appoints", draft(b'B', &[m], of(Change::Appoint, b"S"))),
        ("an admin dismisses", draft(b'B', &[m], of(Change::Dismiss, b"C"))),
        ("an admin before its appointment", draft(b'B', &[0], of(Change::Add, b"S"))),
        ("no changes on one head", draft(b'B', &[m], Vec::new())),
        ("a member joins heads", draft(b'M', &[h, m], Vec::new())),
    ];
    let before: Vec<Value> = story.operations.iter().map(|operation| Value::from(&operation.encode())).collect();
    let log = &story.log;
    let mut cases: Vec<Value> = ideas
        .iter()
        .map(|(idea, bytes)| {
            // Of who may not write at present, the form is judged when something needs the operation: asked for directly.
            let [verdict] = log.judge_for_vectors(&[bytes], accounts)[..] else { panic!("{idea}") };
            let Verdict::Refused(error) = verdict else { panic!("{idea}: {verdict:?}") };
            let input = object! { "operations": before.clone(), "operation": bytes };
            refused(idea, input, &described(&error))
        })
        .collect();
    for (idea, changes) in [
        ("a genesis without a salt", set(1, b"x")),
        ("a genesis that removes", both(vec![Change::Found([1; 16])], of(Change::Remove, b"B"))),
        ("a genesis that names its author", both(vec![Change::Found([1; 16])], of(Change::Add, b"A"))),
    ] {
        let genesis = accounts.sign(OperationId::NONE, author(b'A', PHONE), Vec::new(), changes);
        let error = Log::open(genesis.id(), &genesis.encode(), accounts).unwrap_err();
        let input = object! { "operations": Vec::<Value>::new(), "operation": &genesis.encode() };
        cases.push(refused(idea, input, &described(&error)));
    }
    cases
}

fn described(error: &OperationError) -> String {
    match error {
        OperationError::Malformed(why) => alloc::format!("Malformed {}", class(why)),
        OperationError::Form(why) => alloc::format!("Form {}", class(why)),
        error => class(error),
    }
}
