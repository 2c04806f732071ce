//! Rows of two who talk: sceau's sessions beside Olm's.

use crate::channel::{self, Late, Meeting, Talk as _};
use crate::measure::{Both, Cost, Effort, Figure, batch, race};
use crate::olm::{Accounts, Olm};
use crate::report::{Goal, Row, Unit};
use crate::sceau_side::{Flooded, Sessions, Strangers};
use crate::{TEXT, exact, time};
use sceau::error::OpenError;

fn row(what: impl Into<String>, unit: Unit, both: Both) -> Row {
    Row::new(what, "Olm", unit, both)
}

/// Sealing and opening in a chain that goes on; turns.
pub fn messages(effort: Effort, rows: &mut Vec<Row>) {
    let (mut ours, mut theirs) = (Sessions::new(), Olm::new());
    let both = |cost: Cost| [cost.nanoseconds, cost.allocations];
    let count = effort.of(200, 10);
    let [seal, seal_asks] =
        race(effort, || both(channel::seal(&mut ours, count, TEXT)), || both(channel::seal(&mut theirs, count, TEXT)));
    let [open, open_asks] =
        race(effort, || both(channel::open(&mut ours, count, TEXT)), || both(channel::open(&mut theirs, count, TEXT)));
    let wires = [channel::overhead(&mut ours, TEXT), channel::overhead(&mut theirs, TEXT)].map(|over| over + TEXT);
    let per_byte = [0, 1].map(|side: usize| open[side].map(|value| value / wires[side] as f64));
    rows.push(row("seal 256 B, same chain", Unit::Time, seal).goal(Goal::Times(6.0)).note(
        "sceau also encrypts the header, pads, makes a tag for one use, and carries ML-KEM keys in the padding.",
    ));
    rows.push(
        row("open 256 B, same chain", Unit::Time, open)
            .goal(Goal::Times(1.0 / 1.2))
            .note("sceau: tag, hash, header, 640 bytes; Olm: 320 bytes, header in clear.")
            .reason("twice the bytes, their hash, and the header's decryption."),
    );
    rows.push(
        row("open 256 B, for each byte on the wire", Unit::TimePerByte, per_byte)
            .goal(Goal::Times(1.0))
            .note("sceau: 640 bytes, Olm: 320."),
    );
    long(effort, &mut ours, &mut theirs, rows);
    let count = effort.of(20, 4);
    let [turn, turn_asks] =
        race(effort, || both(channel::turn(&mut ours, count, TEXT)), || both(channel::turn(&mut theirs, count, TEXT)));
    rows.push(
        row("turn: one message each way, each", Unit::Time, turn)
            .goal(Goal::Times(1.4))
            .note("Sealing and opening. sceau mixes ML-KEM-1024 secrets in as it goes.")
            .reason("the KEM ratchet: keys made, encapsulated and decapsulated; Olm has none."),
    );
    for (what, asks) in [("seal", seal_asks), ("open", open_asks), ("turn, each message", turn_asks)] {
        rows.push(row(format!("{what} 256 B"), Unit::Allocations, asks).note("Blocks asked of the heap."));
    }
}

fn long(effort: Effort, ours: &mut Sessions, theirs: &mut Olm, rows: &mut Vec<Row>) {
    let count = effort.of(16, 4);
    for kib in [4, 64] {
        let len = kib << 10;
        let [seal] = race(effort, || time(channel::seal(ours, count, len)), || time(channel::seal(theirs, count, len)));
        let [open] = race(effort, || time(channel::open(ours, count, len)), || time(channel::open(theirs, count, len)));
        rows.push(row(format!("seal {kib} KiB, same chain"), Unit::Time, seal));
        rows.push(
            row(format!("open {kib} KiB, same chain"), Unit::Time, open)
                .note("sceau hashes the body before it derives its key.")
                .reason(
                    "AES, Olm's cipher, has instructions of its own here, and CBC opens blocks side by side; ChaCha20 has \
                     none.",
                ),
        );
    }
}

/// Sessions that begin.
pub fn handshakes(effort: Effort, rows: &mut Vec<Row>) {
    let count = effort.of(20, 3);
    let (mut ours, mut theirs) = (Strangers::new(), Accounts::new());
    let [initiate] = race(
        effort,
        || time(channel::initiate(&mut ours, count, TEXT)),
        || time(channel::initiate(&mut theirs, count, TEXT)),
    );
    let [accept] = race(
        effort,
        || time(channel::accept(&mut ours, count, TEXT)),
        || time(channel::accept(&mut theirs, count, TEXT)),
    );
    for (what, both) in [("start a session, first message", initiate), ("accept it, open its message", accept)] {
        rows.push(
            row(what, Unit::Time, both)
                .note("sceau: X25519 and ML-KEM-1024, signed prekeys checked, identity hidden; Olm: three X25519.")
                .reason("the KEM, one key agreement more, and, where it starts, signatures."),
        );
    }
}

/// The last of many comes first.
pub fn late(effort: Effort, rows: &mut Vec<Row>) {
    let count = effort.of(1_000, 100);
    let (mut ours, mut theirs) = (Sessions::new(), Olm::new());
    let figures = |late: Late| [late.each.nanoseconds, late.came.nanoseconds, late.lost as f64, late.first.nanoseconds];
    let [each, came, lost, first] = race(
        effort,
        || figures(channel::late(&mut ours, count, TEXT)),
        || figures(channel::late(&mut theirs, count, TEXT)),
    );
    let name = |what: &str| format!("last of {count} comes first: {what}");
    rows.push(
        row(name("each that is read"), Unit::Time, each)
            .goal(Goal::AtMost(3_000.0))
            .note("All the time, divided by the messages that could be read."),
    );
    rows.push(
        row(name("each that comes"), Unit::Time, came)
            .note("Olm refuses most of them without work.")
            .reason("sceau opens all of them, Olm 41."),
    );
    rows.push(row(name("lost"), Unit::Messages, lost).goal(Goal::AtMost(0.0)));
    rows.push(
        row(name("that one alone"), Unit::Time, first)
            .note("sceau keeps the keys of all others, Olm 40.")
            .reason("keys that are kept are also derived."),
    );
}

/// What it costs to be sent what nobody wrote.
pub fn forgeries(effort: Effort, rows: &mut Vec<Row>) {
    let mut olm = Olm::new();
    let worst = olm.forged();
    for sessions in [1, effort.of(100, 10)] {
        let mut flooded = Flooded::new(sessions);
        let forged = [("unknown tag", flooded.unknown.clone()), ("awaited tag, changed body", flooded.changed.clone())];
        for (what, forged) in forged {
            let [both] = race(
                effort,
                || refuse(effort.of(200, 10), || flooded.refuse(&forged)),
                || refuse(effort.of(10, 2), || olm.refuse(&worst)),
            );
            rows.push(
                row(format!("forged: {what}; sessions: {sessions}"), Unit::Time, both)
                    .goal(Goal::Times(100.0))
                    .note("Olm at its worst, one session: a ratchet key of the forger's, 2,000 ahead."),
            );
        }
    }
    let (mut strangers, mut accounts) = (Strangers::new(), Accounts::new());
    let (forged, far, worst) = (strangers.forged(), strangers.far(), accounts.forged());
    let count = effort.of(10, 2);
    let [both] = race(
        effort,
        || refuse(count, || strangers.consider(&forged) == Err(OpenError::Rejected)),
        || refuse(count, || accounts.refuse(&worst)),
    );
    rows.push(
        row("forged first message, with a bundle", Unit::Time, both)
            .note("sceau: a whole handshake; Olm: three key agreements, 2,000 ahead."),
    );
    let [both] = race(
        effort,
        || refuse(count, || strangers.consider(&far).is_ok()),
        || refuse(count, || accounts.refuse(&worst)),
    );
    rows.push(
        row("costliest first message, with a bundle", Unit::Time, both)
            .note("A stranger's introduction, genuine, 2,000 ahead; Olm as above.")
            .reason("sceau accepts larger jumps."),
    );
}

fn refuse(count: usize, mut refused: impl FnMut() -> bool) -> [f64; 1] {
    let (cost, all) = batch(vec![(); count], |()| refused());
    assert!(all.into_iter().all(|refused| refused), "not what was expected");
    time(cost)
}

/// Bytes on the wire, and of stored sessions.
pub fn sizes(effort: Effort, rows: &mut Vec<Row>) {
    let (mut ours, mut theirs) = (Sessions::new(), Olm::new());
    let both = exact(channel::overhead(&mut ours, TEXT), channel::overhead(&mut theirs, TEXT));
    rows.push(
        row("overhead of a message of 256 B", Unit::Bytes, both).reason("the padding hides lengths, which Olm shows."),
    );
    let both = exact(first(&mut Strangers::new()), first(&mut Accounts::new()));
    rows.push(
        row("overhead of a first message of 256 B", Unit::Bytes, both)
            .reason("an ML-KEM-1024 ciphertext, the encrypted identity, padding."),
    );
    let turns = effort.of(100, 10);
    let begun = exact(ours.stored(), theirs.stored());
    let talking = [channel::stored(&mut ours, turns), channel::stored(&mut theirs, turns)].map(Figure::of);
    let skipped = exact(channel::stored_skipped(&mut ours), channel::stored_skipped(&mut theirs));
    let stored = [
        ("just begun".to_owned(), begun),
        (format!("after each of {turns} turns"), talking),
        ("200 skipped keys".to_owned(), skipped),
    ];
    for (what, both) in stored {
        rows.push(
            row(format!("stored session, {what}"), Unit::Bytes, both)
                .note(
                    "sceau: its image; Olm: the JSON that its pickle encrypts, for which a denser form could be made.",
                )
                .reason("the KEM ratchet: keys and ciphertexts of ML-KEM-1024 on their way."),
        );
    }
}

fn first(meeting: &mut impl Meeting) -> usize {
    let bundle = meeting.bundles(1).remove(0);
    meeting.initiate(&bundle, &[7; TEXT]).1.len() - TEXT
}
