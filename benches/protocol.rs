//! What the protocol costs by itself, without a device around it, and the worst cases: `cargo bench --bench protocol`.

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark is to fail loudly"
)]

use chacha20::ChaCha20Rng;
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use sceau::prekey::{PreKeyLifetimes, PreKeyStore, Rotation, VerifiedPreKeyBundle};
use sceau::session::Session;
use sceau::{Device, Envelope, Fingerprint, IdentityKeyPair, Padding};
use sceau_testkit::talk::{NOW, done};
use sceau_testkit::{Disk, Talk};

const PADDING: fn() -> Padding = Padding::default;

/// Two sides of a session that is answered.
struct Pair {
    alice: Session,
    bob: Session,
    names: [Fingerprint; 2],
    rng: ChaCha20Rng,
}

impl Pair {
    fn new() -> Self {
        let mut rng = sceau_testkit::rng(1);
        let (a, b) = (IdentityKeyPair::generate(&mut rng), IdentityKeyPair::generate(&mut rng));
        let (mut prekeys, lifetimes) = (PreKeyStore::new(), PreKeyLifetimes::default());
        let bundle = prekeys.publish(&b, 1, Rotation::IfDue, &lifetimes, NOW, &mut rng).unwrap().take_bundle();
        let bundle = VerifiedPreKeyBundle::verify(bundle, NOW).unwrap();
        let mut alice = Session::initiate(&a, None, &bundle, 1, &mut rng).unwrap();
        let first = alice.seal(b"first", PADDING(), &mut rng).unwrap();
        let accepted = Session::accept(&b, &prekeys, &Envelope::parse(&first).unwrap(), &lifetimes, NOW).unwrap();
        let (bob, _) = accepted.settle(&mut prekeys).unwrap();
        let mut pair = Self { alice, bob, names: [a.fingerprint(), b.fingerprint()], rng };
        pair.turn();
        pair
    }

    fn turn(&mut self) {
        let reply = self.bob.seal(b"reply", PADDING(), &mut self.rng).unwrap();
        self.alice.open(&Envelope::parse(&reply).unwrap()).unwrap();
        let answer = self.alice.seal(b"answer", PADDING(), &mut self.rng).unwrap();
        self.bob.open(&Envelope::parse(&answer).unwrap()).unwrap();
    }
}

fn sessions(c: &mut Criterion) {
    for (name, len) in [("256B", 256), ("4KiB", 4_096), ("64KiB", 65_536)] {
        let content = vec![7; len];
        let mut pair = Pair::new();
        c.bench_function(&format!("session/seal/{name}"), |b| {
            b.iter(|| pair.alice.seal(&content, PADDING(), &mut pair.rng).unwrap());
        });
        let mut pair = Pair::new();
        c.bench_function(&format!("session/open/{name}"), |b| {
            b.iter_batched(
                || pair.alice.seal(&content, PADDING(), &mut pair.rng).unwrap(),
                |bytes| pair.bob.open(&Envelope::parse(&bytes).unwrap()).unwrap(),
                BatchSize::PerIteration,
            );
        });
    }
    let mut pair = Pair::new();
    c.bench_function("session/turn", |b| b.iter(|| pair.turn()));
    // A thousand messages, the last one first.
    let mut pair = Pair::new();
    let image = pair.bob.to_state();
    let envelopes: Vec<_> = (0..1_000).map(|_| pair.alice.seal(&[7; 256], PADDING(), &mut pair.rng).unwrap()).collect();
    c.bench_function("session/last-of-1000-first", |b| {
        b.iter_batched(
            || Session::from_state(image.expose(), pair.names[1]).unwrap(),
            |mut bob| bob.search(&Envelope::parse(&envelopes[999]).unwrap()).unwrap(),
            BatchSize::PerIteration,
        );
    });
    pair.bob.search(&Envelope::parse(&envelopes[999]).unwrap()).unwrap();
    let full = pair.bob.to_state();
    c.bench_function("session/skipped-of-1000", |b| {
        b.iter_batched(
            || Session::from_state(full.expose(), pair.names[1]).unwrap(),
            |mut bob| bob.open(&Envelope::parse(&envelopes[500]).unwrap()).unwrap(),
            BatchSize::PerIteration,
        );
    });
    c.bench_function("image/restore", |b| b.iter(|| Session::from_state(full.expose(), pair.names[1]).unwrap()));
}

fn handshakes(c: &mut Criterion) {
    let mut rng = sceau_testkit::rng(2);
    let (alice, bob) = (IdentityKeyPair::generate(&mut rng), IdentityKeyPair::generate(&mut rng));
    let (mut prekeys, lifetimes) = (PreKeyStore::new(), PreKeyLifetimes::default());
    let bundle = prekeys.publish(&bob, 1, Rotation::IfDue, &lifetimes, NOW, &mut rng).unwrap().take_bundle();
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
            let _: Result<_, _> = talk.bob.open(&envelope, NOW).map(done);
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
                |bytes| done(bob.open(&bytes, NOW).unwrap()),
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
        let bundle = done(peer.publish_prekeys(0, NOW, &mut rng).unwrap()).take_bundle();
        let to_peer = done(alice.add_peer(&bundle, NOW).unwrap());
        let envelope = done(alice.seal(to_peer, b"hello", NOW, &mut rng).unwrap());
        done(peer.open(&envelope, NOW).unwrap());
        let reply = done(peer.seal(alice.fingerprint(), b"hello", NOW, &mut rng).unwrap());
        done(alice.open(&reply, NOW).unwrap());
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

criterion_group!(benches, sessions, handshakes, devices, fanout);
criterion_main!(benches);
