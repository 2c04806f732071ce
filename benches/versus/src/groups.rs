//! Rows of groups: sceau's beside Megolm and MLS.

use crate::channel::{self, Channel};
use crate::measure::{Cost, Effort, batch, race};
use crate::mls::Mls;
use crate::olm::{Many, Megolm};
use crate::report::{Row, Unit};
use crate::sceau_side::Crowd;
use crate::{TEXT, exact, time};

/// All of them.
pub fn rows(effort: Effort, rows: &mut Vec<Row>) {
    let (mut crowd, mut mls) = (Crowd::new(10), Mls::full(10));
    messages(effort, ("a group", "Megolm"), &mut crowd, &mut Megolm::new(), rows);
    messages(effort, ("a group of 10", "openmls"), &mut crowd, &mut mls, rows);
    overhead(&mut crowd, &mut mls, rows);
    let members = effort.of(1_000, 20);
    let (mut crowd, mut full) = (Crowd::new(members), Mls::full(members));
    messages(effort, (&format!("a group of {members}"), "openmls"), &mut crowd, &mut full, rows);
    fan_out(effort, members - 1, &mut crowd, rows);
    crowd.heal_often();
    healing(effort, members, "full tree", &mut crowd, &mut full, rows);
    healing(effort, members, "empty tree", &mut crowd, &mut Mls::fresh(members), rows);
    churn(effort, members, &mut crowd, &mut full, rows);
}

fn messages(
    effort: Effort,
    (group, peer): (&str, &'static str),
    ours: &mut Crowd,
    theirs: &mut impl Channel,
    rows: &mut Vec<Row>,
) {
    let count = effort.of(40, 4);
    let [seal] = race(effort, || time(channel::seal(ours, count, TEXT)), || time(channel::seal(theirs, count, TEXT)));
    let [open] = race(effort, || time(channel::open(ours, count, TEXT)), || time(channel::open(theirs, count, TEXT)));
    for (what, both) in [("seal", seal), ("open", open)] {
        rows.push(
            Row::new(format!("{what} 256 B for {group}"), peer, Unit::Time, both)
                .note(if peer == "Megolm" {
                    "Both sign. sceau also encrypts the header, pads, binds the roster, and makes its records."
                } else {
                    "Both sign, hide the sender and make records (openmls in memory). sceau also pads and hides the group."
                })
                .reason("the signature is most of both; then come header, padding and records."),
        );
    }
}

fn overhead(crowd: &mut Crowd, mls: &mut Mls, rows: &mut Vec<Row>) {
    let ours = channel::overhead(crowd, TEXT);
    let theirs = [("Megolm", channel::overhead(&mut Megolm::new(), TEXT)), ("openmls", channel::overhead(mls, TEXT))];
    for (peer, theirs) in theirs {
        rows.push(
            Row::new("overhead of a group's message of 256 B", peer, Unit::Bytes, exact(ours, theirs))
                .reason("the padding hides lengths, which the peer shows unless told otherwise."),
        );
    }
}

fn fan_out(effort: Effort, peers: usize, crowd: &mut Crowd, rows: &mut Vec<Row>) {
    let content = vec![7; TEXT];
    let mut many = Many::new(peers);
    let [both] = race(
        effort,
        || [crowd.seal_many(&content).nanoseconds / peers as f64],
        || {
            let (cost, sealed) = batch(vec![()], |()| many.seal(&content));
            many.check(&sealed[0], &content);
            [cost.nanoseconds / peers as f64]
        },
    );
    rows.push(
        Row::new(format!("fan-out of 256 B to {peers}, each"), "Olm", Unit::Time, both)
            .note("sceau makes the records to be stored, too; Olm by itself."),
    );
}

/// One sender renews what it writes with.
fn healing(effort: Effort, members: usize, tree: &str, ours: &mut Crowd, theirs: &mut Mls, rows: &mut Vec<Row>) {
    const MORE: &str =
        "An MLS commit heals all that its author's theft opened; a chain of sceau's heals what its sender writes.";
    const EACH: &str = "the chain is sealed for each member by itself, in sessions that turn each time and mix ML-KEM in; MLS has \
                        a tree.";
    let figures = |send: Cost, settle: Cost, receive: Cost, bytes: usize| {
        let sender = send.nanoseconds + settle.nanoseconds;
        let all = sender + receive.nanoseconds * (members - 1) as f64;
        [send.nanoseconds, sender, receive.nanoseconds, all, bytes as f64]
    };
    let [send, sender, receive, all, bytes] = race(
        effort,
        || {
            let healed = ours.heal();
            figures(healed.send, healed.settle, healed.receive, healed.bytes)
        },
        || {
            let committed = theirs.heal();
            figures(committed.send, Cost::default(), committed.receive, committed.bytes)
        },
    );
    let row = |what: &str, unit, both| Row::new(format!("heal {members} ({tree}): {what}"), "openmls", unit, both);
    rows.push(row("sender seals", Unit::Time, send).note(MORE).reason(EACH));
    rows.push(
        row("sender, answers too", Unit::Time, sender)
            .note("sceau's members answer that they have it; MLS' don't.")
            .reason(EACH),
    );
    rows.push(row("a member", Unit::Time, receive).note("sceau: opened and answered; MLS: checked and merged."));
    rows.push(row("all together", Unit::Time, all).note(MORE));
    rows.push(
        row("sent by the sender", Unit::Bytes, bytes)
            .reason("640 bytes for each member by itself; MLS one message for all."),
    );
}

/// Someone comes and goes.
fn churn(effort: Effort, members: usize, ours: &mut Crowd, theirs: &mut Mls, rows: &mut Vec<Row>) {
    let flat = |[[a, b], [c, d]]: [[Cost; 2]; 2]| [a, b, c, d].map(|cost| cost.nanoseconds);
    let both = race(effort, || flat(ours.churn()), || flat(theirs.churn()));
    let names = ["add one: who does it", "add one: a member", "remove one: who does it", "remove one: a member"];
    for (what, both) in names.into_iter().zip(both) {
        rows.push(
            Row::new(format!("{members} (full tree), {what}"), "openmls", Unit::Time, both)
                .note("sceau until all is sealed that its next message needs; MLS needs no more.")
                .reason("each member is told by itself; MLS has one message for all."),
        );
    }
}
