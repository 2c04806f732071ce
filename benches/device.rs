//! What an embedder pays: `cargo bench`.

#![allow(missing_docs, clippy::expect_used, clippy::unwrap_used, reason = "a benchmark is to fail loudly")]

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use sceau_testkit::talk::{NOW, done};
use sceau_testkit::{Disk, Talk};

fn messages(c: &mut Criterion) {
    let content = [7; 256];
    let mut talk = Talk::confirmed(1);
    c.bench_function("device/seal/256B", |b| {
        b.iter(|| done(talk.alice.seal(talk.to_bob, &content, NOW, &mut talk.rng).expect("a session")));
    });
    let mut talk = Talk::confirmed(2);
    c.bench_function("device/open/256B", |b| {
        b.iter_batched(
            || done(talk.alice.seal(talk.to_bob, &content, NOW, &mut talk.rng).expect("a session")),
            |bytes| done(talk.bob.open(&bytes, NOW).expect("a message")),
            BatchSize::PerIteration,
        );
    });
    let mut talk = Talk::confirmed(3);
    c.bench_function("device/turn", |b| {
        b.iter(|| {
            let bytes = talk.from_alice(&content);
            talk.bob_reads(&bytes).expect("a message");
            let bytes = talk.from_bob(&content);
            talk.alice_reads(&bytes).expect("a message")
        });
    });
}

fn handshake(c: &mut Criterion) {
    let alice = Disk::of(&Talk::new(4).alice);
    let mut talk = Talk::new(4);
    let bob = Disk::of(&talk.bob);
    c.bench_function("device/introduce", |b| {
        b.iter_batched(
            || alice.restore(),
            |mut alice| done(alice.seal(talk.to_bob, b"x", NOW, &mut talk.rng).expect("a bundle")),
            BatchSize::PerIteration,
        );
    });
    let bytes = talk.from_alice(b"x");
    c.bench_function("device/accept", |b| {
        b.iter_batched(
            || bob.restore(),
            |mut bob| done(bob.open(&bytes, NOW).expect("an introduction")),
            BatchSize::PerIteration,
        );
    });
}

criterion_group!(benches, messages, handshake);
criterion_main!(benches);
