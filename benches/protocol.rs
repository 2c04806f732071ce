//! What the protocol costs by itself, without a device around it, and the worst cases: `cargo bench --bench protocol`.

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark is to fail loudly"
)]

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use sceau::limits::{MAX_JUMP, MAX_SKIPPED};
use sceau::prekey::{PreKeyLifetimes, PreKeyStore, Rotation, VerifiedPreKeyBundle};
use sceau::session::Session;
use sceau::{Device, Envelope, IdentityKeyPair, Padding};
use sceau_testkit::talk::{NOW, done};
use sceau_testkit::{Disk, SessionPair, Talk};

const PADDING: fn() -> Padding = Padding::default;

fn sessions(c: &mut Criterion) {
    for (name, len) in [("256B", 256), ("4KiB", 4_096), ("64KiB", 65_536)] {
        let content = vec![7; len];
        let mut pair = SessionPair::answered(1);
        c.bench_function(&format!("session/seal/{name}"), |b| {
            b.iter(|| pair.alice.seal(&content, PADDING(), &mut pair.rng).unwrap());
        });
        let mut pair = SessionPair::answered(1);
        c.bench_function(&format!("session/open/{name}"), |b| {
            b.iter_batched(
                || pair.alice.seal(&content, PADDING(), &mut pair.rng).unwrap(),
                |bytes| pair.bob.open(&Envelope::parse(&bytes).unwrap(), NOW).unwrap(),
                BatchSize::PerIteration,
            );
        });
    }
    let mut pair = SessionPair::answered(1);
    c.bench_function("session/turn", |b| b.iter(|| pair.turn()));
    // A thousand messages, the last one first.
    let mut pair = SessionPair::answered(1);
    let image = pair.bob.to_state();
    let envelopes: Vec<_> = (0..1_000).map(|_| pair.alice.seal(&[7; 256], PADDING(), &mut pair.rng).unwrap()).collect();
    c.bench_function("session/last-of-1000-first", |b| {
        b.iter_batched(
            || Session::from_state(image.expose(), &pair.identities[1]).unwrap(),
            |mut bob| (bob.search(&Envelope::parse(&envelopes[999]).unwrap(), NOW).unwrap(), bob),
            BatchSize::PerIteration,
        );
    });
    pair.bob.search(&Envelope::parse(&envelopes[999]).unwrap(), NOW).unwrap();
    let full = pair.bob.to_state();
    c.bench_function("session/skipped-of-1000", |b| {
        b.iter_batched(
            || Session::from_state(full.expose(), &pair.identities[1]).unwrap(),
            |mut bob| (bob.open(&Envelope::parse(&envelopes[500]).unwrap(), NOW).unwrap(), bob),
            BatchSize::PerIteration,
        );
    });
    c.bench_function("image/restore", |b| b.iter(|| Session::from_state(full.expose(), &pair.identities[1]).unwrap()));
}

fn handshakes(c: &mut Criterion) {
    let mut rng = sceau_testkit::rng(2);
    let (alice, bob) = (IdentityKeyPair::generate(&mut rng), IdentityKeyPair::generate(&mut rng));
    let (mut prekeys, lifetimes) = (PreKeyStore::new(), PreKeyLifetimes::default());
    let bundle = prekeys
        .publish(&bob, 1, Rotation::IfDue, &lifetimes, NOW, &mut rng)
        .unwrap()
        .into_entry()
        .expect("signed")
        .take_bundle();
    c.bench_function("handshake/verify-bundle", |b| {
        b.iter(|| VerifiedPreKeyBundle::verify(bundle.clone(), NOW).unwrap());
    });
    let bundle = VerifiedPreKeyBundle::verify(bundle, NOW).unwrap();
    c.bench_function("handshake/initiate", |b| {
        b.iter(|| Session::initiate(&alice, None, &bundle, 1, &mut rng).unwrap());
    });
    let mut session = Session::initiate(&alice, None, &bundle, 1, &mut rng).unwrap();
    let bytes = session.seal(b"x", PADDING(), &mut rng).unwrap();
    let envelope = Envelope::parse(&bytes).unwrap();
    c.bench_function("handshake/accept", |b| {
        b.iter(|| Session::accept(&bob, &prekeys, &envelope, &lifetimes, NOW).unwrap());
    });
}

/// What a peer can make a session do at most. Sessions are given back, so that dropping them is not timed.
fn worst_cases(c: &mut Criterion) {
    let mut group = c.benchmark_group("worst");
    group.sample_size(10);
    // The longest jump.
    let mut pair = SessionPair::answered(1);
    let image = pair.bob.to_state();
    let own = IdentityKeyPair::from_state(pair.identities[1].to_state().expose()).unwrap();
    let mut last = Vec::new();
    for _ in 0..=MAX_JUMP {
        last = pair.alice.seal(b"x", PADDING(), &mut pair.rng).unwrap();
    }
    group.bench_function("jump/65536", |b| {
        b.iter_batched(
            || Session::from_state(image.expose(), &own).unwrap(),
            |mut bob| (bob.search(&Envelope::parse(&last).unwrap(), NOW).unwrap(), bob),
            BatchSize::PerIteration,
        );
    });
    // As many skipped keys as there can be: one of them, and one that pushes the oldest out.
    let mut pair = SessionPair::answered(1);
    let envelopes: Vec<_> =
        (0..=MAX_SKIPPED + 2).map(|_| pair.alice.seal(b"x", PADDING(), &mut pair.rng).unwrap()).collect();
    pair.bob.search(&Envelope::parse(&envelopes[MAX_SKIPPED]).unwrap(), NOW).unwrap();
    let full = pair.bob.to_state();
    for (id, index) in [("full-store/skipped", MAX_SKIPPED / 2), ("full-store/one-more", MAX_SKIPPED + 2)] {
        group.bench_function(id, |b| {
            b.iter_batched(
                || Session::from_state(full.expose(), &own).unwrap(),
                |mut bob| (bob.open(&Envelope::parse(&envelopes[index]).unwrap(), NOW).unwrap(), bob),
                BatchSize::PerIteration,
            );
        });
    }
    // A key of the KEM ratchet that is whole with this message, a good part of it from parity alone.
    let mut pair = SessionPair::answered(1);
    let envelopes: Vec<_> = (0..6).map(|_| pair.alice.seal(b"x", PADDING(), &mut pair.rng).unwrap()).collect();
    pair.bob.open(&Envelope::parse(&envelopes[4]).unwrap(), NOW).unwrap();
    let collecting = pair.bob.to_state();
    group.bench_function("fragments/key-rebuilt", |b| {
        b.iter_batched(
            || Session::from_state(collecting.expose(), &own).unwrap(),
            |mut bob| (bob.open(&Envelope::parse(&envelopes[5]).unwrap(), NOW).unwrap(), bob),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// A device with so many sessions; a message of one of them, and forged ones.
fn devices(c: &mut Criterion) {
    for count in [1_usize, 100, 10_000] {
        let mut talk = Talk::confirmed(3);
        for _ in 1..count {
            let mut peer = Device::generate(&mut talk.rng);
            let upload = talk.directory.clone().take_bundle();
            done(peer.add_peer(&upload, NOW).unwrap());
            let envelope = done(peer.seal(talk.to_bob, b"hello", NOW, &mut talk.rng).unwrap());
            // One-time prekeys run out; a bundle without one serves any number.
            let _: Result<_, _> = talk.bob.open(&envelope.envelope, NOW).map(done);
            while talk.directory.one_time_left() > 0 {
                talk.directory.take_bundle();
            }
        }
        let envelope = talk.from_alice(&[7; 256]);
        let mut forged = envelope.clone();
        forged[40] ^= 1;
        let mut unknown = envelope;
        unknown[5] ^= 1;
        c.bench_with_input(BenchmarkId::new("device/forged", count), &forged, |b, bytes| {
            b.iter(|| talk.bob.open(bytes, NOW).err().unwrap());
        });
        c.bench_with_input(BenchmarkId::new("device/unknown", count), &unknown, |b, bytes| {
            b.iter(|| talk.bob.open(bytes, NOW).err().unwrap());
        });
        let Talk { alice, bob, rng, to_bob, .. } = &mut talk;
        c.bench_function(&format!("device/open/{count}-sessions"), |b| {
            b.iter_batched(
                || done(alice.seal(*to_bob, &[7; 256], NOW, rng).unwrap()),
                |bytes| done(bob.open(&bytes.envelope, NOW).unwrap()),
                BatchSize::PerIteration,
            );
        });
    }
}

/// One content for a thousand peers.
fn fanout(c: &mut Criterion) {
    let mut rng = sceau_testkit::rng(4);
    let mut alice = Device::generate(&mut rng);
    let mut peers = Vec::new();
    for _ in 0..1_000 {
        let mut peer = Device::generate(&mut rng);
        let bundle = done(peer.publish_prekeys(0, NOW, &mut rng).unwrap()).into_entry().expect("signed").take_bundle();
        let to_peer = done(alice.add_peer(&bundle, NOW).unwrap());
        let envelope = done(alice.seal(to_peer, b"hello", NOW, &mut rng).unwrap());
        done(peer.open(&envelope.envelope, NOW).unwrap());
        let reply = done(peer.seal(alice.fingerprint(), b"hello", NOW, &mut rng).unwrap());
        done(alice.open(&reply.envelope, NOW).unwrap());
        peers.push(to_peer);
    }
    let disk = Disk::of(&alice);
    let mut group = c.benchmark_group("fanout");
    group.sample_size(10);
    for (name, len) in [("1000/256B", 256), ("1000/64KiB", 65_536)] {
        let content = vec![7; len];
        group.bench_function(name, |b| {
            b.iter_batched(
                || disk.restore(),
                |mut alice| done(alice.seal_many(&peers, &content, NOW, &mut rng).unwrap()),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, sessions, worst_cases, handshakes, devices, fanout);
criterion_main!(benches);
