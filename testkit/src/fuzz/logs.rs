//! Bodies of the fuzz targets of membership logs: any bytes in; what must hold is asserted.

use crate::log_world::{People, account, author};
use sceau::log::{
    Change, DeviceId, Draft, Exchange, Intake, Log, LogMessage, LogRecord, Operation, OperationId, PeerId,
};
use std::sync::OnceLock;

const OPEN: Intake = Intake { peer: PeerId::from_bytes([1; 32]), budget: u64::MAX, unfinished: false };

fn people() -> &'static People {
    static PEOPLE: OnceLock<People> = OnceLock::new();
    PEOPLE.get_or_init(|| People::new(6, 4))
}

fn genesis() -> &'static Operation {
    static GENESIS: OnceLock<Operation> = OnceLock::new();
    GENESIS.get_or_init(|| {
        let changes = vec![Change::Appoint(account(1)), Change::Appoint(account(2)), Change::Add(account(3))];
        let draft = Draft::genesis(author(0, 1), changes, &mut crate::rng(11)).expect("few changes");
        draft.sign(people().key(&author(0, 1)))
    })
}

fn open() -> (Log, LogRecord) {
    Log::open(genesis().id(), &genesis().encode(), people()).expect("a genesis")
}

/// Operations, messages and records: what decodes encodes to the same bytes; nobody has signed these bytes.
pub fn operations(data: &[u8]) {
    if let Ok(operation) = Operation::decode(data) {
        assert_eq!(operation.encode(), data);
    }
    if let Ok(message) = LogMessage::decode(data) {
        assert_eq!(message.encode(), data);
    }
    let (mut log, record) = open();
    let before = (log.heads_hash(), log.waiting());
    if data != genesis().encode() {
        log.receive(&[data], people(), OPEN).commit();
    }
    assert_eq!((log.heads_hash(), log.waiting()), before);
    let _ = Log::restore([data]);
    let _ = Log::restore([&*record.bytes, data]);
}

/// Writes what three bytes say: who, on what, which change.
fn write(ids: &[OperationId], [who, onto, what]: [u8; 3]) -> Option<Operation> {
    let (name, rank) = (who % 5, [1, 1, 2, 0][usize::from(who >> 6)]);
    let t = account(1 + what % 5);
    let change = match what / 5 % 10 {
        0 | 1 => Change::Add(t),
        2 => Change::Remove(t),
        3 => Change::Ban(t),
        4 => Change::Lift(t),
        5 => Change::Appoint(t),
        6 => Change::Dismiss(t),
        7 => Change::Leave,
        8 => Change::Retire {
            device: DeviceId::from_bytes([1 + who % 2; 32]),
            admission: OperationId::from_bytes([name; 32]),
        },
        _ => Change::Set { key: what, value: vec![who] },
    };
    let pick = |back: u8| ids[ids.len() - 1 - usize::from(back) % ids.len()];
    let mut parents = vec![pick(onto >> 4)];
    if !onto.is_multiple_of(4) && pick(onto & 15) != parents[0] {
        parents.push(pick(onto & 15));
    }
    let changes = if what == 255 { Vec::new() } else { vec![change] };
    let writer = author(name, rank);
    Draft::new(genesis().id(), writer, parents, changes).ok().map(|draft| draft.sign(people().key(&writer)))
}

/// A log of operations read from the bytes: given one by one, all at once, backwards, and restored from its records, it means
/// the same.
pub fn hostile_log(data: &[u8]) {
    let (mut one_by_one, record) = open();
    let (mut records, mut ids, mut all) = (vec![record], vec![genesis().id()], Vec::new());
    for step in data.chunks_exact(3).take(60) {
        let Some(operation) = write(&ids, [step[0], step[1], step[2]]) else { continue };
        let bytes = operation.encode();
        let receiving = one_by_one.receive(&[&bytes], people(), OPEN);
        if matches!(receiving.verdicts(), [sceau::log::Verdict::Refused(_)]) {
            continue;
        }
        records.extend(receiving.record());
        receiving.commit();
        ids.push(operation.id());
        all.push(bytes);
    }
    let given: Vec<&[u8]> = all.iter().map(Vec::as_slice).collect();
    let (mut at_once, _) = open();
    at_once.receive(&given, people(), OPEN).commit();
    let (mut backwards, _) = open();
    for bytes in given.iter().rev() {
        backwards.receive(&[bytes], people(), OPEN).commit();
    }
    let restored = Log::restore(records.iter().map(|record| &*record.bytes)).expect("what it wrote");
    let shown = |log: &Log| {
        let mut members: Vec<_> = log.members().collect();
        members.sort_unstable();
        let settings: Vec<_> = (0..=255).map(|key| log.setting_from(key)).collect();
        (members, settings, log.heads(), log.len())
    };
    for other in [&at_once, &backwards, &restored] {
        assert_eq!(shown(other), shown(&one_by_one));
    }
}

/// Two logs, each with its own part of what the bytes say, and a third whose messages are damaged: the two end with the same.
pub fn two_logs(data: &[u8]) {
    let (split, data) = data.split_first().map_or((1, data), |(split, data)| (*split, data));
    let mut logs = [open().0, open().0];
    let mut exchanges = [Exchange::new(), Exchange::new()];
    let mut now = crate::talk::at(1_000);
    let peer = |i: usize| PeerId::from_bytes([1 + u8::try_from(i).expect("two"); 32]);
    exchanges[0].add_peer(peer(1), now);
    exchanges[1].add_peer(peer(0), now);
    let mut ids = [vec![genesis().id()], vec![genesis().id()]];
    for (i, step) in data.chunks_exact(3).take(40).enumerate() {
        let side = usize::from(split >> (i % 8) & 1);
        let Some(operation) = write(&ids[side], [step[0], step[1], step[2]]) else { continue };
        logs[side].receive(&[&operation.encode()], people(), OPEN).commit();
        if logs[side].contains(&operation.id()) {
            ids[side].push(operation.id());
        }
    }
    for round in 0..64 {
        now = now.plus(60);
        for side in [0, 1] {
            let other = 1 - side;
            for (_, bytes) in exchanges[side].poll(&mut logs[side], now) {
                // Some are damaged, and some are lost.
                let mut damaged = bytes.clone();
                let place = usize::from(split) * 7 % damaged.len();
                damaged[place] ^= 1 << (split % 8);
                for bytes in [damaged, bytes] {
                    let Ok(LogMessage::Want(want)) = LogMessage::decode(&bytes) else { continue };
                    let Some(answer) = exchanges[other].answer(&logs[other], &peer(side), &want, now) else { continue };
                    if round < 3 && split & 1 << round != 0 {
                        continue;
                    }
                    let Ok(LogMessage::Ops(ops)) = LogMessage::decode(&answer) else { panic!("its own answer") };
                    let incoming = exchanges[side].receive(&mut logs[side], people(), &peer(other), ops, now);
                    incoming.expect("a peer").commit();
                }
            }
        }
        if logs[0].heads_hash() == logs[1].heads_hash() {
            return;
        }
    }
    panic!("the logs stay apart");
}
