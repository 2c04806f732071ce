//! How long it takes until the initiator of a session has proved its identity: docs/PROTOCOL.md, "Authentication".

use crate::healing::{End, Pattern, Texts, conversation};
use crate::rng;
use rand_core::Rng as _;
use sceau::session::Authentication;
use sceau::{Envelope, Padding};

/// What to measure.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    pub pattern: Pattern,
    /// Whether the responder is the one who talks more.
    pub responder_talks: bool,
    pub texts: Texts,
    /// Percent of envelopes that are lost.
    pub loss: u64,
}

/// Messages of both sides, and chains of the initiator, until the responder knows; at most so many messages.
pub fn measure(setting: &Setting, seed: u64, patience: usize) -> (usize, u32) {
    let mut ends = conversation(seed);
    let mut chance = rng(seed ^ 0x00ab);
    let period = setting.pattern.period();
    let proved = |ends: &[End; 2]| ends[1].session.status().authentication == Authentication::Proved;
    // Three messages were sent already.
    let mut messages = 3;
    let mut turns = 2;
    while !proved(&ends) && messages < patience {
        let sender = period[messages % period.len()] ^ usize::from(setting.responder_talks);
        let text = vec![7; setting.texts.draw(&mut chance)];
        let bytes = ends[sender].session.seal(&text, Padding::default(), &mut chance).expect("a session seals");
        messages += 1;
        if chance.next_u64() % 100 >= setting.loss {
            let envelope = Envelope::parse(&bytes).expect("an envelope");
            ends[1 - sender].session.search(&envelope, crate::talk::NOW).expect("an honest envelope opens");
        }
        if let Authentication::Unproved { turns: begun } = ends[1].session.status().authentication {
            turns = begun + 1;
        }
    }
    (messages, turns)
}
