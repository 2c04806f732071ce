//! Crossing introductions, lost states, clocks set back: after any schedule, once envelopes arrive and applications do
//! what notices ask for, both sides send on one session, and nothing sent from then on is lost.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test is to fail loudly"
)]

use proptest::prelude::*;
use sceau::Notice;
use sceau_testkit::model::{Model, Step};
use sceau_testkit::talk::{NOW, Talk, done};

/// Two exchanges in both directions without loss, then what an attentive application does when no answer has come.
fn quiet_round(model: &mut Model) {
    for side in [0, 1, 0, 1] {
        model.send(side, 20);
        model.flush();
    }
    for side in 0..2 {
        let peer = model.name(1 - side);
        let status = model.sides[side].device.peer(peer).expect("it has sent");
        // An introduction that stays unanswered though everything arrives: its prekey is gone.
        if status.session.is_none_or(|session| session.initiator && !session.confirmed) || status.renewal_due {
            model.renew(side);
        }
    }
    model.flush();
}

fn sending_on_one_session(model: &Model) -> bool {
    let status = |side: usize| model.sides[side].device.peer(model.name(1 - side)).and_then(|peer| peer.session);
    let [Some(a), Some(b)] = [status(0), status(1)] else { return false };
    a.id == b.id
}

fn converges(model: &mut Model) {
    model.dutiful = true;
    // Time has passed and is right again; what was on its way has arrived or never will.
    let latest = model.sides.iter().map(|side| side.now).max().expect("two sides");
    for side in &mut model.sides {
        side.now = latest;
    }
    model.flush();
    for side in 0..2 {
        model.make_up_for_falling_back(side);
    }
    let mut rounds = 0;
    while !sending_on_one_session(model) {
        quiet_round(model);
        rounds += 1;
        assert!(rounds <= 6, "no convergence after {rounds} rounds");
    }
    // Nothing sent after convergence is lost, over many turns.
    for _ in 0..4 {
        for side in 0..2 {
            let numbers: Vec<u64> = (0..3).map(|_| model.send(side, 20).expect("a session")).collect();
            model.flush();
            for number in numbers {
                assert!(model.sides[1 - side].read.contains(&number), "message {number} was lost after convergence");
            }
        }
    }
    assert!(sending_on_one_session(model), "it flipped back");
}

#[test]
fn crossing_introductions() {
    let mut model = Model::new(1);
    for side in [0, 1] {
        model.step(Step::Send { side, len: 10 });
        model.step(Step::Send { side, len: 10 });
    }
    converges(&mut model);
    assert_eq!(model.sides[0].read.len() + model.sides[1].read.len(), model.sent.len(), "nothing at all was lost");
}

#[test]
fn state_lost_and_clock_set_back() {
    let mut model = Model::new(2);
    model.dutiful = true;
    for _ in 0..3 {
        for side in [0, 1] {
            model.send(side, 10);
            model.flush();
        }
    }
    model.step(Step::LoseState { side: 0 });
    model.step(Step::Clock { side: 0, seconds: -500_000 });
    // The introduction of the side that forgot is outranked; the answer tells it so, and it renews.
    model.send(0, 10);
    model.flush();
    model.send(0, 10);
    model.flush();
    model.send(1, 10);
    model.flush();
    assert!(sending_on_one_session(&model));
    converges(&mut model);
}

#[test]
fn state_lost_during_a_crossing() {
    for (seed, loser) in [(3, 0), (4, 1)] {
        let mut model = Model::new(seed);
        for side in [0, 1] {
            model.step(Step::Send { side, len: 10 });
        }
        model.step(Step::Deliver { pick: 0 });
        model.step(Step::LoseState { side: loser });
        model.step(Step::Send { side: loser, len: 10 });
        converges(&mut model);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn after_any_schedule(seed in any::<u64>(), steps in 0_usize..120) {
        let mut model = Model::new(seed);
        for _ in 0..steps {
            let step = model.random_step(true);
            // Falling back to an old image is a broken contract, and the clock is not the relay's.
            if !matches!(step, Step::FallBack { .. }) {
                model.step(step);
            }
        }
        converges(&mut model);
    }

    /// A broken contract heals too, when the application that restored an old image publishes fresh prekeys and renews.
    #[test]
    fn after_old_images(seed in any::<u64>(), steps in 0_usize..120) {
        let mut model = Model::new(seed);
        for _ in 0..steps {
            let step = model.random_step(true);
            model.step(step);
        }
        converges(&mut model);
    }
}

/// A peer may not tell of a session that nobody could outrank.
#[test]
fn ranks_from_the_far_future_are_not_believed() {
    const CONTROL: u8 = 5;
    let mut talk = Talk::confirmed(31);
    for (created_at, believed) in [(NOW.as_secs() + (1 << 32) + 1, false), (NOW.as_secs() + (1 << 32), true)] {
        let told = [&[1][..], &created_at.to_be_bytes(), &[7; 32]].concat();
        let told = done(talk.alice.seal_raw(talk.to_bob, CONTROL, &told, NOW, &mut talk.rng).unwrap());
        let opened = done(talk.bob.open(&told.envelope, NOW).unwrap());
        assert_eq!(opened.notices.contains(&Notice::RenewalDue(talk.to_alice)), believed);
        assert_eq!(talk.bob.peer(talk.to_alice).unwrap().renewal_due, believed);
    }
}
