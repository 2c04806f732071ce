//! What an embedder pays: `cargo bench`.

#![allow(missing_docs, clippy::expect_used, clippy::unwrap_used, reason = "a benchmark is to fail loudly")]

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use sceau::device::GroupChange;
use sceau::group::GroupPolicy;
use sceau_testkit::talk::{NOW, done};
use sceau_testkit::{Crowd, Disk, Talk};

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
            |bytes| done(talk.bob.open(&bytes.envelope, NOW).expect("a message")),
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

fn groups(c: &mut Criterion) {
    let mut crowd = Crowd::together(10, 5);
    crowd.say(0, b"the chain").expect("a member");
    crowd.flush();
    let (group, now) = (crowd.group(), crowd.now);
    let Crowd { parties, rng, .. } = &mut crowd;
    let [alice, bob, ..] = parties.as_mut_slice() else { return };
    // So long that no chain is replaced while it is measured.
    let policy = GroupPolicy { max_messages: 1 << 30, max_age: u64::MAX };
    let committed = alice.device.commit_group(group, &[GroupChange::SetPolicy(policy)], now, rng).expect("an admin");
    let to_bob = bob.device.fingerprint();
    for sent in done(committed).deliveries.iter().filter(|sent| sent.to == to_bob) {
        done(bob.device.open(&sent.envelope, now).expect("a commit"));
    }
    c.bench_function("group/seal/256B", |b| {
        let (mut device, mut rng) = (Disk::of(&alice.device).restore(), sceau_testkit::rng(6));
        b.iter(|| done(device.seal_group(group, &[7; 256], now, &mut rng).expect("a member")));
    });
    c.bench_function("group/open/256B", |b| {
        b.iter_batched(
            || done(alice.device.seal_group(group, &[7; 256], now, rng).expect("a member")).envelope,
            |bytes| done(bob.device.open(&bytes, now).expect("a message")),
            BatchSize::PerIteration,
        );
    });
}

criterion_group!(benches, messages, handshake, groups);
criterion_main!(benches);
