//! Whatever a relay does, and whenever devices restart: what is read was sent, once, and no error changes anything.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test is to fail loudly"
)]

use sceau_testkit::model::Model;

#[test]
fn unkind_relay_over_thousands_of_steps() {
    let mut read = 0;
    for seed in 0..8 {
        let mut model = Model::new(seed);
        for _ in 0..800 {
            let step = model.random_step(false);
            model.step(step);
        }
        read += model.sides.iter().map(|side| side.read.len()).sum::<usize>();
    }
    assert!(read > 1_500, "only {read} messages were read");
}

#[test]
fn catastrophes_too() {
    for seed in 100..130 {
        let mut model = Model::new(seed);
        for _ in 0..300 {
            let step = model.random_step(true);
            model.step(step);
        }
    }
}
