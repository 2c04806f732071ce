//! How long a thief of one member's state reads a group, and what of its past it can read.
//!
//! The thief keeps a copy of the victim's device, is given every envelope that the victim is given, and opens what it
//! can. It does not seal, and can break nothing: what the victim draws afterwards it does not know.

use crate::Crowd;
use sceau::device::GroupChange;
use sceau::group::{GroupPolicy, Role};
use sceau::{Device, Event, Notice};

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Healing {
    /// Messages of the group from the theft to the first one from which on the thief reads nothing: the median of the
    /// instants, and the worst.
    pub median: usize,
    pub worst: usize,
    /// Of the messages before the theft, how many the stolen state opens, at worst.
    pub past: usize,
}

struct Thief {
    device: Device,
    since: usize,
    last_read: usize,
    unknown: Vec<Vec<u8>>,
}

/// Members speak in turn; at each of `thefts` instants the state of member 1 is stolen.
pub fn measure(members: usize, policy: GroupPolicy, thefts: usize, patience: usize) -> Healing {
    let mut crowd = Crowd::new(members, 77);
    crowd.thorough = false;
    crowd.create(policy);
    let adds: Vec<_> = (1..members).map(|party| GroupChange::Add(crowd.name(party), Role::Member)).collect();
    crowd.commit(0, &adds).expect("an admin adds");
    crowd.flush();
    let (mut thieves, mut past): (Vec<Thief>, usize) = (Vec::new(), 0);
    let warm_up = 2 * members;
    let mut history: Vec<Vec<u8>> = Vec::new();
    for at in 0..warm_up + thefts + patience {
        if (warm_up..warm_up + thefts).contains(&at) {
            let stolen = crowd.parties[1].disk.clone();
            let opens = history
                .iter()
                .filter(|bytes| {
                    let mut device = stolen.restore();
                    let opened = device.open(bytes, crowd.now).map(crate::talk::done);
                    matches!(opened.map(|opened| opened.event), Ok(Event::GroupMessage { .. }))
                })
                .count();
            past = past.max(opens);
            thieves.push(Thief { device: stolen.restore(), since: at, last_read: at, unknown: Vec::new() });
        }
        crowd.say(at % members, b"text").expect("a member speaks");
        while !crowd.queue.is_empty() {
            for flying in core::mem::take(&mut crowd.queue) {
                if flying.to == 1 {
                    history.push(flying.bytes.clone());
                    for thief in &mut thieves {
                        let mut todo = vec![flying.bytes.clone()];
                        while let Some(bytes) = todo.pop() {
                            let Ok(pending) = thief.device.open(&bytes, crowd.now) else {
                                thief.unknown.push(bytes);
                                continue;
                            };
                            let opened = crate::talk::done(pending);
                            if matches!(opened.event, Event::GroupMessage { .. }) {
                                thief.last_read = at + 1;
                            }
                            if opened.notices.iter().any(|notice| matches!(notice, Notice::NewChain(_))) {
                                todo.append(&mut thief.unknown);
                            }
                        }
                    }
                }
                crowd.deliver(&flying);
            }
        }
    }
    let healed = thieves.iter().map(|thief| (thief.last_read + 1 - thief.since).min(patience)).collect();
    let (median, worst) = crate::healing::median_and_worst(healed);
    Healing { median, worst, past }
}
