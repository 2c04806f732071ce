//! One operation, made ready, then done once inside [`counted`]: `run` has callgrind count what is in there.

use sceau::device::GroupChange;
use sceau::group::{GroupPolicy, Role};
use sceau::prekey::{PreKeyLifetimes, PreKeyStore, Rotation, VerifiedPreKeyBundle};
use sceau::session::Session;
use sceau::{Device, Envelope, GroupId, IdentityKeyPair, Padding};
use sceau_testkit::talk::{NOW, done};
use sceau_testkit::{Disk, SessionPair, Talk};
use std::hint::black_box;

/// What is counted: callgrind starts where this function is entered, and stops where it is left.
#[inline(never)]
fn counted<T>(work: impl FnOnce() -> T) {
    drop(black_box(work()));
}

const TEXT: [u8; 256] = [7; 256];

/// A case and its name.
type Case = (&'static str, fn());

const CASES: [Case; 18] = [
    ("session/seal/256B", || {
        let mut pair = steady();
        counted(|| pair.alice.seal(&TEXT, Padding::default(), &mut pair.rng).expect("short"));
    }),
    ("session/seal-parity/256B", || {
        // All symbols of the offer have travelled; nobody has answered.
        let mut pair = SessionPair::answered(1);
        for _ in 0..40 {
            pair.alice.seal(&TEXT, Padding::default(), &mut pair.rng).expect("short");
        }
        counted(|| pair.alice.seal(&TEXT, Padding::default(), &mut pair.rng).expect("short"));
    }),
    ("session/open/256B", || {
        let mut pair = steady();
        let bytes = pair.alice.seal(&TEXT, Padding::default(), &mut pair.rng).expect("short");
        counted(|| pair.bob.open(&Envelope::parse(&bytes).expect("whole"), NOW).expect("genuine"));
    }),
    ("session/seal/64KiB", || {
        let mut pair = steady();
        counted(|| pair.alice.seal(&[7; 65_536], Padding::default(), &mut pair.rng).expect("short"));
    }),
    ("session/turn", || {
        let mut pair = steady();
        counted(|| pair.turn());
    }),
    ("session/last-of-1000", || {
        let mut pair = steady();
        let mut last = Vec::new();
        for _ in 0..1_000 {
            last = pair.alice.seal(&TEXT, Padding::default(), &mut pair.rng).expect("short");
        }
        counted(|| pair.bob.search(&Envelope::parse(&last).expect("whole"), NOW).expect("genuine"));
    }),
    ("session/key-of-a-peer-rebuilt", || {
        // 28 symbols have come, the others of the data are lost: 21 are to be computed from parity.
        let mut pair = SessionPair::answered(1);
        let mut sealed = || pair.alice.seal(b"x", Padding::default(), &mut pair.rng).expect("short");
        let messages: Vec<_> = (0..6).map(|_| sealed()).collect();
        pair.bob.open(&Envelope::parse(&messages[4]).expect("whole"), NOW).expect("genuine");
        counted(|| pair.bob.open(&Envelope::parse(&messages[5]).expect("whole"), NOW).expect("genuine"));
    }),
    ("handshake/verify", || {
        let bundle = Parties::new().bundle();
        counted(|| VerifiedPreKeyBundle::verify(bundle, NOW).expect("good"));
    }),
    ("handshake/initiate", || {
        let mut parties = Parties::new();
        let bundle = VerifiedPreKeyBundle::verify(parties.bundle(), NOW).expect("good");
        counted(|| Session::initiate(&parties.alice, None, &bundle, 1, &mut parties.rng).expect("good"));
    }),
    ("handshake/accept", || {
        let mut parties = Parties::new();
        let bundle = VerifiedPreKeyBundle::verify(parties.bundle(), NOW).expect("good");
        let mut session = Session::initiate(&parties.alice, None, &bundle, 1, &mut parties.rng).expect("good");
        let bytes = session.seal(&TEXT, Padding::default(), &mut parties.rng).expect("short");
        let envelope = Envelope::parse(&bytes).expect("whole");
        let Parties { bob, prekeys, lifetimes, .. } = &parties;
        counted(|| Session::accept(bob, prekeys, &envelope, lifetimes, NOW).expect("genuine"));
    }),
    ("device/seal/256B", || {
        let mut talk = steady_devices();
        counted(|| talk.from_alice(&TEXT));
    }),
    ("device/open/256B", || {
        let mut talk = steady_devices();
        let bytes = talk.from_alice(&TEXT);
        counted(|| talk.bob_reads(&bytes).expect("genuine"));
    }),
    ("device/forged", || {
        let mut talk = steady_devices();
        let mut bytes = talk.from_alice(&TEXT);
        bytes[200] ^= 1;
        counted(|| talk.bob.open(&bytes, NOW).is_err());
    }),
    ("device/unknown", || {
        let mut talk = steady_devices();
        let mut bytes = talk.from_alice(&TEXT);
        bytes[5] ^= 1;
        counted(|| talk.bob.open(&bytes, NOW).is_err());
    }),
    ("group/seal/256B", || {
        let (mut alice, _, group, mut rng) = group();
        counted(|| done(alice.seal_group(group, &TEXT, NOW, &mut rng).expect("short")));
    }),
    ("group/open/256B", || {
        let (mut alice, mut bob, group, mut rng) = group();
        let envelope = done(alice.seal_group(group, &TEXT, NOW, &mut rng).expect("short")).envelope;
        counted(|| done(bob.open(&envelope, NOW).expect("genuine")));
    }),
    ("image/write", || {
        let pair = steady();
        counted(|| pair.bob.to_state());
    }),
    ("image/restore", || {
        let talk = steady_devices();
        let disk = Disk::of(&talk.bob);
        counted(|| disk.restore());
    }),
];

/// Both sides' keys of the KEM ratchet have travelled.
fn steady() -> SessionPair {
    let mut pair = SessionPair::answered(1);
    for _ in 0..12 {
        let bytes = pair.alice.seal(&TEXT, Padding::default(), &mut pair.rng).expect("short");
        pair.bob.open(&Envelope::parse(&bytes).expect("whole"), NOW).expect("genuine");
    }
    pair
}

fn steady_devices() -> Talk {
    let mut talk = Talk::confirmed(2);
    for _ in 0..12 {
        let bytes = talk.from_alice(&TEXT);
        talk.bob_reads(&bytes).expect("genuine");
    }
    talk
}

struct Parties {
    alice: IdentityKeyPair,
    bob: IdentityKeyPair,
    prekeys: PreKeyStore,
    lifetimes: PreKeyLifetimes,
    rng: Rng,
}

type Rng = sceau_testkit::Rng;

impl Parties {
    fn new() -> Self {
        let mut rng = sceau_testkit::rng(3);
        let (alice, bob) = (IdentityKeyPair::generate(&mut rng), IdentityKeyPair::generate(&mut rng));
        Self { alice, bob, prekeys: PreKeyStore::new(), lifetimes: PreKeyLifetimes::default(), rng }
    }

    fn bundle(&mut self) -> sceau::PreKeyBundle {
        let Self { bob, prekeys, lifetimes, rng, .. } = self;
        prekeys
            .publish(bob, 1, Rotation::IfDue, lifetimes, NOW, rng)
            .expect("room")
            .into_entry()
            .expect("signed")
            .take_bundle()
    }
}

/// Two members; Bob can read Alice.
fn group() -> (Device, Device, GroupId, Rng) {
    let mut rng = sceau_testkit::rng(4);
    let (mut alice, mut bob) = (Device::generate(&mut rng), Device::generate(&mut rng));
    let upload = done(bob.publish_prekeys(1, NOW, &mut rng).expect("room"));
    let bundle = upload.into_entry().expect("signed").take_bundle();
    let to_bob = done(alice.add_peer(&bundle, NOW).expect("good"));
    let group = done(alice.create_group(GroupPolicy::default(), &mut rng).expect("room"));
    let changes = [GroupChange::Add(to_bob, Role::Member)];
    let added = done(alice.commit_group(group, &changes, NOW, &mut rng).expect("allowed"));
    let ready = done(alice.prepare_group(group, NOW, &mut rng).expect("known"));
    for delivery in added.deliveries.iter().chain(&ready.deliveries) {
        done(bob.open(&delivery.envelope, NOW).expect("genuine"));
    }
    let first = done(alice.seal_group(group, &TEXT, NOW, &mut rng).expect("short")).envelope;
    done(bob.open(&first, NOW).expect("genuine"));
    (alice, bob, group, rng)
}

fn main() {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    if wanted == "list" {
        for (name, _) in CASES {
            println!("{name}");
        }
    } else if let Some((_, case)) = CASES.into_iter().find(|(name, _)| *name == wanted) {
        case();
    } else {
        eprintln!("cases: list, or one of its lines");
        std::process::exit(2);
    }
}
