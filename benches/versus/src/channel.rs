//! What both sides can do, and how it is measured: the same code for each.

use crate::measure::{Cost, batch};

/// One direction of a conversation, with bytes on the wire in between.
pub trait Channel {
    fn seal(&mut self, content: &[u8]) -> Vec<u8>;

    /// `None`: it can't be read.
    fn open(&mut self, wire: &[u8]) -> Option<Vec<u8>>;

    /// Opens one that is far ahead of all others.
    fn open_far(&mut self, wire: &[u8]) -> Option<Vec<u8>> {
        self.open(wire)
    }
}

/// Both directions.
pub trait Talk: Channel {
    fn answer(&mut self, content: &[u8]) -> Vec<u8>;
    fn open_answer(&mut self, wire: &[u8]) -> Option<Vec<u8>>;
    /// Bytes of the opening side's stored session.
    fn stored(&self) -> usize;
}

/// Sessions that begin.
pub trait Meeting {
    type Bundle;
    type Session;
    /// What the responder has published, for so many initiators.
    fn bundles(&mut self, count: usize) -> Vec<Self::Bundle>;
    fn initiate(&mut self, bundle: &Self::Bundle, content: &[u8]) -> (Self::Session, Vec<u8>);
    fn accept(&mut self, wire: &[u8]) -> (Self::Session, Vec<u8>);
}

/// Contents that differ, of one length.
fn contents(count: usize, len: usize) -> Vec<Vec<u8>> {
    let content = |index: usize| (0..len).map(|at| (at * 31 + index * 7 + (at >> 8)) as u8).collect();
    (0..count).map(content).collect()
}

fn check(opened: Option<&Vec<u8>>, content: &Vec<u8>) {
    assert_eq!(opened, Some(content), "opened is not what was sealed");
}

pub fn seal(channel: &mut impl Channel, count: usize, len: usize) -> Cost {
    let contents = contents(count, len);
    let (cost, sealed) = batch(contents.iter().collect(), |content| channel.seal(content));
    for (wire, content) in sealed.iter().zip(&contents) {
        check(channel.open(wire).as_ref(), content);
    }
    cost
}

pub fn open(channel: &mut impl Channel, count: usize, len: usize) -> Cost {
    let contents = contents(count, len);
    let sealed = contents.iter().map(|content| channel.seal(content)).collect();
    let (cost, opened) = batch(sealed, |wire| channel.open(wire));
    for (opened, content) in opened.iter().zip(&contents) {
        check(opened.as_ref(), content);
    }
    cost
}

/// One message each way, for each message.
pub fn turn(talk: &mut impl Talk, count: usize, len: usize) -> Cost {
    let contents = contents(count, len);
    let (cost, opened) = batch(contents.iter().collect(), |content| {
        let wire = talk.seal(content);
        let there = talk.open(&wire);
        let wire = talk.answer(content);
        (there, talk.open_answer(&wire))
    });
    for ((there, back), content) in opened.iter().zip(&contents) {
        check(there.as_ref(), content);
        check(back.as_ref(), content);
    }
    Cost { nanoseconds: cost.nanoseconds / 2.0, allocations: cost.allocations / 2.0 }
}

/// What it costs when the last message of many comes first.
pub struct Late {
    /// Opening the last one, which comes first.
    pub first: Cost,
    /// Time of all, for each that was read.
    pub each: Cost,
    /// Time of all, for each that came.
    pub came: Cost,
    pub lost: usize,
}

pub fn late(channel: &mut impl Channel, count: usize, len: usize) -> Late {
    let contents = contents(count, len);
    let mut sealed: Vec<_> = contents.iter().map(|content| channel.seal(content)).collect();
    let last = sealed.pop().expect("at least one");
    let (first, mut opened_first) = batch(vec![last], |wire| channel.open_far(wire));
    let (others, mut opened) = batch(sealed, |wire| channel.open(wire));
    opened.append(&mut opened_first);
    let mut lost = 0;
    for (opened, content) in opened.iter().zip(&contents) {
        match opened {
            Some(opened) => check(Some(opened), content),
            None => lost += 1,
        }
    }
    let total = first.nanoseconds + others.nanoseconds * (count - 1) as f64;
    let share = |count: usize| Cost { nanoseconds: total / count as f64, ..Cost::default() };
    Late { first, each: share(count - lost), came: share(count), lost }
}

pub fn initiate(meeting: &mut impl Meeting, count: usize, len: usize) -> Cost {
    let contents = contents(count, len);
    let inputs = meeting.bundles(count).into_iter().zip(&contents).collect();
    let (cost, begun) = batch(inputs, |(bundle, content)| meeting.initiate(bundle, content));
    for ((_, wire), content) in begun.iter().zip(&contents) {
        assert_eq!(meeting.accept(wire).1, *content);
    }
    cost
}

pub fn accept(meeting: &mut impl Meeting, count: usize, len: usize) -> Cost {
    let contents = contents(count, len);
    let bundles = meeting.bundles(count);
    let begun = bundles.iter().zip(&contents).map(|(bundle, content)| meeting.initiate(bundle, content)).collect();
    let (cost, accepted) = batch(begun, |(_, wire)| meeting.accept(wire));
    for ((_, opened), content) in accepted.iter().zip(&contents) {
        assert_eq!(opened, content);
    }
    cost
}

/// Bytes on the wire beside the content.
pub fn overhead(channel: &mut impl Channel, len: usize) -> usize {
    let content = &contents(1, len)[0];
    let wire = channel.seal(content);
    check(channel.open(&wire).as_ref(), content);
    wire.len() - len
}

/// Bytes of a stored session while two talk: after each of so many turns.
pub fn stored(talk: &mut impl Talk, turns: usize) -> Vec<f64> {
    let mut sizes = Vec::new();
    for _ in 0..turns {
        turn(talk, 1, 256);
        sizes.push(talk.stored() as f64);
    }
    sizes
}

/// Bytes of a stored session that waits for 200 messages, 40 of each of five chains: as many as vodozemac keeps.
pub fn stored_skipped(talk: &mut impl Talk) -> usize {
    for _ in 0..5 {
        for _ in 0..40 {
            talk.seal(b"lost");
        }
        let wire = talk.seal(b"far");
        talk.open_far(&wire).expect("it is not too far");
        let wire = talk.answer(b"turn");
        talk.open_answer(&wire).expect("an answer");
    }
    talk.stored()
}
