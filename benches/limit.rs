//! How far each operation is from the primitives that it can't do without: `cargo bench --bench limit`.
//!
//! Both sides run in turns, in one process: what else the machine does meets both. The limit is what the protocol's
//! operation needs of its curve, KEM, hash and AEAD, at the padded size, by the fastest code that the library could call;
//! no decoding, no state, no allocation, no wiping.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "a benchmark is to fail loudly"
)]

use chacha20::ChaCha20Rng;
use curve25519_dalek::{EdwardsPoint, MontgomeryPoint};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use libcrux_ml_kem::mlkem1024;
use rand::Rng;
use sceau::group::{GroupPolicy, Role};
use sceau::prekey::{PreKeyLifetimes, PreKeyStore, Rotation, VerifiedPreKeyBundle};
use sceau::session::Session;
use sceau::{Device, DirectoryEntry, Envelope, IdentityKeyPair, Padding};
use sceau_testkit::Disk;
use sceau_testkit::talk::{NOW, done};
use sha2::{Digest, Sha256};
use std::hint::black_box;
use std::time::Instant;

/// Nanoseconds per operation: the fastest batch, and the median one.
#[derive(Clone, Copy)]
struct Cost {
    least: f64,
    median: f64,
}

impl Cost {
    fn of(mut batches: Vec<f64>) -> Self {
        batches.sort_by(f64::total_cmp);
        Self { least: batches[0], median: batches[batches.len() / 2] }
    }
}

/// Runs both sides in turns. Each prepares a batch, then does it.
fn compare<A, B>(
    name: &str,
    goal: f64,
    size: usize,
    mut operation: (impl FnMut() -> A, impl FnMut(A)),
    mut limit: (impl FnMut() -> B, impl FnMut(B)),
) {
    let (mut ours, mut least) = (Vec::new(), Vec::new());
    for _ in 0..101 {
        let batch: Vec<A> = (0..size).map(|_| operation.0()).collect();
        ours.push(timed(batch, &mut operation.1));
        let batch: Vec<B> = (0..size).map(|_| limit.0()).collect();
        least.push(timed(batch, &mut limit.1));
    }
    let (ours, limit) = (Cost::of(ours), Cost::of(least));
    println!(
        "{name:<22} {:>10.2} {:>10.2} {:>10.2} {:>10.2} {:>8.2} {:>8.2} {goal:>6.2}",
        ours.least / 1e3,
        ours.median / 1e3,
        limit.least / 1e3,
        limit.median / 1e3,
        ours.least / limit.least,
        ours.median / limit.median,
    );
}

fn timed<T>(batch: Vec<T>, run: &mut impl FnMut(T)) -> f64 {
    let count = batch.len() as f64;
    let start = Instant::now();
    for item in batch {
        run(item);
    }
    start.elapsed().as_nanos() as f64 / count
}

/// What every message costs: the AEAD over the padded body and over the header, the body's hash, one step of the chain, one
/// tag.
struct Symmetric {
    body: Vec<u8>,
    out: Vec<u8>,
    tag_key: Hmac<Sha256>,
}

const HEADER: usize = 56;
const AD: usize = 114;

impl Symmetric {
    fn of(envelope: usize) -> Self {
        let body = envelope - 2 - 16 - HEADER - 16 - 16;
        let tag_key = Hmac::<Sha256>::new_from_slice(&[3; 32]).unwrap();
        Self { body: vec![7; body], out: vec![0; body], tag_key }
    }

    fn keys(&self) {
        let mut keys = [0; 64];
        Hkdf::<Sha256>::from_prk(black_box(&[1; 32])).unwrap().expand(b"sceau/1 chain step", &mut keys).unwrap();
        let mut tag = self.tag_key.clone();
        tag.update(&7_u32.to_be_bytes());
        black_box((keys, tag.finalize().into_bytes()));
    }

    fn seal(&mut self) {
        self.keys();
        let (key, nonce, mut mac) = ([5; 32], [6; 12], [0; 16]);
        if self.body.len() <= 1_400 {
            libcrux_chacha20poly1305::encrypt_detached(&key, &self.body, &mut self.out, &mut mac, &[8; AD], &nonce)
                .unwrap();
        } else {
            use chacha20poly1305::aead::{AeadInOut, inout::InOutBuf};
            let place = InOutBuf::from(&mut self.out[..]);
            let cipher = chacha20poly1305::ChaCha20Poly1305::new(&key.into());
            black_box(cipher.encrypt_inout_detached(&nonce.into(), &[8; AD], place).unwrap());
        }
        black_box(Sha256::digest(&self.out));
        let mut header = [0; HEADER];
        libcrux_chacha20poly1305::encrypt_detached(&key, &[9; HEADER], &mut header, &mut mac, &[8; AD], &nonce)
            .unwrap();
        black_box((header, mac));
    }
}

/// Public half: what [`MontgomeryPoint::to_edwards`] costs once for each key.
fn point(public: &[u8; 32]) -> EdwardsPoint {
    MontgomeryPoint(*public).to_edwards(0).unwrap()
}

fn agree(private: [u8; 32], point: &EdwardsPoint) {
    black_box(point.mul_clamped(black_box(private)).to_montgomery());
}

fn generate(rng: &mut ChaCha20Rng) -> [u8; 32] {
    let mut private = [0; 32];
    rng.fill_bytes(&mut private);
    black_box(EdwardsPoint::mul_base_clamped(private).to_montgomery());
    private
}

/// `N` bytes by extraction and expansion.
fn derive<const N: usize>(ikm: &[u8]) {
    let mut okm = [0; N];
    Hkdf::<Sha256>::new(Some(&[1; 32]), black_box(ikm))
        .expand(b"sceau/1 root step, and a context of 32 bytes", &mut okm)
        .unwrap();
    black_box(okm);
}

/// What a root step needs: secrets from the agreement, and the next chain's header and tag keys.
fn root_step() {
    derive::<96>(&[2; 32]);
    for _ in 0..2 {
        let mut key = [0; 32];
        Hkdf::<Sha256>::from_prk(black_box(&[1; 32])).unwrap().expand(&[5; 50], &mut key).unwrap();
        black_box(key);
    }
}

struct Pair {
    identities: [IdentityKeyPair; 2],
    prekeys: PreKeyStore,
    bundle: VerifiedPreKeyBundle,
    directory: DirectoryEntry,
    alice: Session,
    bob: Session,
    rng: ChaCha20Rng,
}

impl Pair {
    fn new() -> Self {
        let mut rng = sceau_testkit::rng(1);
        let identities = [IdentityKeyPair::generate(&mut rng), IdentityKeyPair::generate(&mut rng)];
        let (mut prekeys, lifetimes) = (PreKeyStore::new(), PreKeyLifetimes::default());
        let mut upload = prekeys
            .publish(&identities[1], 3, Rotation::IfDue, &lifetimes, NOW, &mut rng)
            .unwrap()
            .into_entry()
            .expect("signed");
        let bundle = VerifiedPreKeyBundle::verify(upload.take_bundle(), NOW).unwrap();
        let mut alice = Session::initiate(&identities[0], None, &bundle, 1, &mut rng).unwrap();
        let first = alice.seal(b"first", Padding::default(), &mut rng).unwrap();
        let accepted =
            Session::accept(&identities[1], &prekeys, &Envelope::parse(&first).unwrap(), &lifetimes, NOW).unwrap();
        let (bob, _) = accepted.settle(&mut prekeys).unwrap();
        let bundle = VerifiedPreKeyBundle::verify(upload.take_bundle(), NOW).unwrap();
        let mut pair = Self { identities, prekeys, bundle, directory: upload, alice, bob, rng };
        pair.turn();
        pair
    }

    fn turn(&mut self) {
        let reply = self.bob.seal(b"reply", Padding::default(), &mut self.rng).unwrap();
        self.alice.open(&Envelope::parse(&reply).unwrap(), NOW).unwrap();
        let answer = self.alice.seal(b"answer", Padding::default(), &mut self.rng).unwrap();
        self.bob.open(&Envelope::parse(&answer).unwrap(), NOW).unwrap();
    }
}

fn messages() {
    for (name, len) in [("256B", 256), ("4KiB", 4_096), ("64KiB", 65_536)] {
        let content = vec![7; len];
        let mut pair = Pair::new();
        let size = pair.alice.seal(&content, Padding::default(), &mut pair.rng).unwrap().len();
        // The peer's and the own key travel first; what is measured is the chain as it goes on.
        for _ in 0..20 {
            let bytes = pair.alice.seal(&content, Padding::default(), &mut pair.rng).unwrap();
            pair.bob.open(&Envelope::parse(&bytes).unwrap(), NOW).unwrap();
        }
        let mut symmetric = Symmetric::of(size);
        let Pair { alice, bob, rng, .. } = &mut pair;
        compare(
            &format!("session/seal/{name}"),
            1.5,
            50,
            (
                || (),
                |()| {
                    black_box(alice.seal(&content, Padding::default(), rng).unwrap());
                },
            ),
            (|| (), |()| symmetric.seal()),
        );
        compare(
            &format!("session/open/{name}"),
            1.5,
            50,
            (
                || alice.seal(&content, Padding::default(), rng).unwrap(),
                |bytes| {
                    black_box(bob.search(&Envelope::parse(&bytes).unwrap(), NOW).unwrap());
                },
            ),
            (|| (), |()| symmetric.seal()),
        );
    }
}

/// One message each way. Each has two agreements with one key, a key pair, two root steps, a sealing, an opening; and its part
/// of what the KEM ratchet does for each secret: a key pair, its validation, an encapsulation, a key pair again and a
/// decapsulation.
fn turns() {
    let mut pair = Pair::new();
    let (mut rng, public) = (sceau_testkit::rng(7), MontgomeryPoint::mul_base_clamped([8; 32]).0);
    let (mut one, mut two) = (Symmetric::of(640), Symmetric::of(640));
    let kem = mlkem1024::generate_key_pair([3; 64]);
    let (private, kem_public) = kem.into_parts();
    // In lockstep each side's secret takes so many messages, both sides' together half of it.
    let count = |session: &Session| session.status().kem_secrets();
    let before = count(&pair.alice);
    for _ in 0..500 {
        pair.turn();
    }
    let per_turn = f64::from(count(&pair.alice) - before) / 500.0;
    let mut due = 0.0;
    compare(
        "session/turn, two ways",
        1.1,
        20,
        (|| (), |()| pair.turn()),
        (
            || (),
            |()| {
                for _ in 0..2 {
                    let shared = point(&public);
                    agree([4; 32], &shared);
                    root_step();
                    let private = generate(&mut rng);
                    agree(private, &shared);
                    root_step();
                    one.seal();
                    two.seal();
                }
                due += per_turn;
                while due >= 1.0 {
                    due -= 1.0;
                    black_box(mlkem1024::generate_key_pair([3; 64]));
                    black_box(mlkem1024::validate_public_key(&kem_public));
                    let (ciphertext, secret) = mlkem1024::encapsulate(&kem_public, [4; 32]);
                    black_box(mlkem1024::generate_key_pair([3; 64]));
                    black_box((secret, mlkem1024::decapsulate(&private, &ciphertext)));
                }
            },
        ),
    );
    println!("{:<22} {per_turn:.3} KEM secrets in one message each way", "");
}

fn handshakes() {
    let mut pair = Pair::new();
    let mut rng = sceau_testkit::rng(8);
    let public = MontgomeryPoint::mul_base_clamped([8; 32]).0;
    let kem = mlkem1024::generate_key_pair([3; 64]);
    let (kem_private, kem_public) = kem.into_parts();
    let signing = SigningKey::from_bytes(&[5; 32]);
    let (verifying, signature) = (signing.verifying_key().to_bytes(), signing.sign(&[6; 200]));
    let symmetric = || derive::<96>(&[2; 64]);
    let bundle = pair.directory.take_bundle();
    compare(
        "handshake/verify",
        1.1,
        5,
        (
            || bundle.clone(),
            |bundle| {
                black_box(VerifiedPreKeyBundle::verify(bundle, NOW).unwrap());
            },
        ),
        (
            || (),
            |()| {
                // A signed and a one-time prekey.
                for _ in 0..2 {
                    let key = VerifyingKey::from_bytes(&verifying).unwrap();
                    key.verify_strict(black_box(&[6; 200]), &signature).unwrap();
                    black_box(mlkem1024::validate_public_key(&kem_public));
                    black_box(Sha256::digest([1; 1_700]));
                }
                // The identity's KEM key.
                black_box(Sha256::digest([1; 1_600]));
                black_box(mlkem1024::validate_public_key(&kem_public));
            },
        ),
    );
    let Pair { identities, prekeys, bundle, .. } = &mut pair;
    let (alice, bob) = (&identities[0], &identities[1]);
    compare(
        "handshake/initiate",
        1.1,
        5,
        (
            || (),
            |()| {
                black_box(Session::initiate(alice, None, bundle, 1, &mut rng).unwrap());
            },
        ),
        (
            || (),
            |()| {
                let (identity, signed, one_time) = (point(&public), point(&public), point(&public));
                let ephemeral = generate(&mut sceau_testkit::rng(9));
                for point in [&identity, &signed, &one_time] {
                    agree(ephemeral, point);
                }
                agree([3; 32], &signed);
                black_box(mlkem1024::encapsulate(&kem_public, [4; 32]));
                black_box(mlkem1024::encapsulate(&kem_public, [4; 32]));
                // Transcripts over both keys and the ciphertexts, the bundle for the randomness.
                black_box(Sha256::digest([1; 6_800]));
                black_box(Sha256::digest([1; 5_400]));
                symmetric();
                symmetric();
            },
        ),
    );
    let mut session = Session::initiate(alice, None, bundle, 1, &mut rng).unwrap();
    let bytes = session.seal(b"x", Padding::default(), &mut rng).unwrap();
    let (envelope, lifetimes) = (Envelope::parse(&bytes).unwrap(), PreKeyLifetimes::default());
    let mut body = Symmetric::of(640);
    let (ciphertext, _) = mlkem1024::encapsulate(&kem_public, [4; 32]);
    compare(
        "handshake/accept",
        1.1,
        5,
        (
            || (),
            |()| {
                let _ = black_box(Session::accept(bob, prekeys, &envelope, &lifetimes, NOW).unwrap());
            },
        ),
        (
            || (),
            |()| {
                let (ephemeral, identity, ratchet) = (point(&public), point(&public), point(&public));
                for _ in 0..3 {
                    agree([3; 32], &ephemeral);
                }
                agree([3; 32], &identity);
                agree([3; 32], &ratchet);
                black_box(mlkem1024::generate_key_pair([3; 64]));
                black_box(mlkem1024::decapsulate(&kem_private, &ciphertext));
                black_box(mlkem1024::decapsulate(&kem_private, &ciphertext));
                black_box(Sha256::digest([1; 12_000]));
                symmetric();
                symmetric();
                root_step();
                root_step();
                body.seal();
            },
        ),
    );
}

fn groups() {
    let mut rng = sceau_testkit::rng(10);
    let (mut alice, mut bob) = (Device::generate(&mut rng), Device::generate(&mut rng));
    let bundle = done(bob.publish_prekeys(1, NOW, &mut rng).unwrap()).into_entry().expect("signed").take_bundle();
    let to_bob = done(alice.add_peer(&bundle, NOW).unwrap());
    let policy = GroupPolicy { max_messages: 1 << 30, ..GroupPolicy::default() };
    let group = done(alice.create_group(policy, &mut rng).unwrap());
    let changes = [sceau::device::GroupChange::Add(to_bob, Role::Member)];
    let added = done(alice.commit_group(group, &changes, NOW, &mut rng).unwrap());
    let ready = done(alice.prepare_group(group, NOW, &mut rng).unwrap());
    for delivery in added.deliveries.iter().chain(&ready.deliveries) {
        done(bob.open(&delivery.envelope, NOW).unwrap());
    }
    let signing = SigningKey::from_bytes(&[5; 32]);
    let signature: Signature = signing.sign(&[6; 190]);
    let key = signing.verifying_key();
    let (mut sealing, mut opening) = (Symmetric::of(640), Symmetric::of(640));
    let seal = |device: &mut Device, rng: &mut ChaCha20Rng| {
        done(device.seal_group(group, &[7; 256], NOW, rng).unwrap()).envelope
    };
    let disk = Disk::of(&alice);
    let (mut other, mut other_rng) = (disk.restore(), sceau_testkit::rng(11));
    compare(
        "group/seal/256B",
        1.15,
        10,
        (
            || (),
            |()| {
                black_box(seal(&mut other, &mut other_rng));
            },
        ),
        (
            || (),
            |()| {
                black_box(signing.sign(&[6; 190]));
                black_box(Sha256::digest([1; 262]));
                sealing.seal();
            },
        ),
    );
    compare(
        "group/open/256B",
        1.15,
        10,
        (
            || seal(&mut alice, &mut rng),
            |envelope| {
                black_box(done(bob.open(&envelope, NOW).unwrap()));
            },
        ),
        (
            || (),
            |()| {
                key.verify_strict(&[6; 190], &signature).unwrap();
                black_box(Sha256::digest([1; 262]));
                opening.seal();
            },
        ),
    );
}

fn main() {
    println!(
        "{:<22} {:>10} {:>10} {:>10} {:>10} {:>8} {:>8} {:>6}",
        "microseconds", "least", "median", "limit", "median", "ratio", "median", "goal"
    );
    messages();
    turns();
    handshakes();
    groups();
}
