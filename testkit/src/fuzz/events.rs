//! The event models, driven by bytes.

use crate::Crowd;
use crate::crowd::Flying;
use crate::model::{Model, Step};
use sceau::device::GroupChange;
use sceau::group::{GroupPolicy, Role};

/// The event model, with steps read from the bytes.
pub fn model(data: &[u8]) {
    let mut model = Model::new(u64::from(data.first().copied().unwrap_or(0)));
    for step in data.get(1..).unwrap_or(&[]).chunks_exact(3).take(300) {
        let (kind, a, b) = (step[0], step[1], step[2]);
        model.step(match kind % 16 {
            0..=3 => Step::Send { side: a, len: u16::from(b) * 3 },
            4..=6 => Step::Deliver { pick: a },
            7 => Step::Duplicate { pick: a },
            8 => Step::Drop { pick: a },
            9 => Step::Corrupt { pick: a, bit: u32::from(b) * 81 },
            10 => Step::Restart { side: a },
            11 => Step::PayOwed { side: a },
            12 => Step::Renew { side: a },
            13 => [Step::Backup { side: a }, Step::FallBack { side: a }][usize::from(b) % 2],
            14 => [Step::LoseState { side: a }, Step::Maintain { side: a }][usize::from(b) % 2],
            _ => Step::Clock { side: a, seconds: (i32::from(b) - 128) * 5_000 },
        });
    }
}

/// A group of four and two more, with steps read from the bytes; then quiet.
pub fn groups(data: &[u8]) {
    let mut crowd = Crowd::new(5, u64::from(data.first().copied().unwrap_or(0) % 4));
    crowd.create(GroupPolicy { max_messages: 3, max_age: 50_000 });
    let adds =
        [1, 2].map(|party| GroupChange::Add(crowd.name(party), if party == 1 { Role::Admin } else { Role::Member }));
    crowd.commit(0, &adds).expect("an admin adds");
    crowd.flush();
    for step in data.get(1..).unwrap_or(&[]).chunks_exact(3).take(60) {
        let (kind, party, pick) = (step[0] % 12, usize::from(step[1] % 5), usize::from(step[2]));
        let name = crowd.name(pick % 5);
        match kind {
            0..=2 => drop(crowd.say(party, b"text")),
            3..=6 if !crowd.queue.is_empty() => {
                let flying = crowd.queue.remove(pick % crowd.queue.len());
                if kind == 6 {
                    continue;
                }
                crowd.deliver(&flying);
                if kind == 5 {
                    crowd.deliver(&Flying { intact: true, ..flying });
                }
            }
            7 => drop(crowd.commit(party, &[GroupChange::Add(name, Role::Member)])),
            8 => drop(crowd.commit(party, &[GroupChange::Remove(name)])),
            9 => drop(crowd.commit(party, &[GroupChange::SetRole(name, Role::Admin)])),
            10 => drop(crowd.leave(party)),
            _ => crowd.restart(party),
        }
    }
    crowd.flush();
    assert_eq!((crowd.ghosts(), crowd.mismatched, crowd.read_before_joining), (0, 0, 0));
}
