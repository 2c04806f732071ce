//! The bytes of every state image of this release, from one seeded story: written today they are the same, on every
//! platform; and what a release wrote is restored, whole, and goes on.
//!
//! `test-vectors/images.txt` has a line for each: a name and hexadecimal bytes. After a change of the state format, which has
//! a line in CHANGELOG.md, `SCEAU_WRITE_VECTORS=1 cargo test --test images_are_pinned` writes it anew.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test is to fail loudly"
)]

use sceau::attachment::AttachmentOpener;
use sceau::certificate::{Address, CertificateChallenge, IssuerKeyPair, RootKeyPair};
use sceau::device::GroupChange;
use sceau::group::{GroupPolicy, Role};
use sceau::prekey::{PreKeyLifetimes, PreKeyStore, Rotation, VerifiedPreKeyBundle};
use sceau::session::Session;
use sceau::vault::Vault;
use sceau::{Attachment, Device, Envelope, Event, IdentityKeyPair, Padding, RecordKey, attachment};
use sceau_testkit::talk::{NOW, done};
use sceau_testkit::{Crowd, Disk, certify, rng};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

type Images = BTreeMap<String, Vec<u8>>;

/// Everything that can be stored. Records of devices are named `device N, KEY`; `next N` is an envelope that device N can
/// open.
fn story() -> Images {
    let mut images = Images::new();
    devices(&mut images);
    layers(&mut images);
    images
}

/// Three devices in a group, with skipped keys, debts, a certificate, something that waits.
fn devices(images: &mut Images) {
    let mut crowd = Crowd::new(4, 1);
    crowd.create(GroupPolicy { max_messages: 5, max_age: 1_000_000 });
    let [zero, one, two, three] = [0, 1, 2, 3].map(|party| crowd.name(party));
    crowd.commit(0, &[GroupChange::Add(one, Role::Admin), GroupChange::Add(two, Role::Member)]).unwrap();
    crowd.flush();
    for party in [0, 1, 2, 0] {
        crowd.say(party, b"text").unwrap();
        crowd.flush();
    }
    // Skipped: in a session and in a chain.
    for _ in 0..2 {
        crowd.say(0, b"skipped").unwrap();
        crowd.queue.clear();
    }
    crowd.say(0, b"the one after").unwrap();
    crowd.flush();
    let (root, issuer) = (RootKeyPair::generate(&mut crowd.rng), IssuerKeyPair::generate(&mut crowd.rng));
    let certified = root.certify(issuer.public(), NOW.plus(1_000_000));
    let device = &mut crowd.parties[0].device;
    let certificate = certify(&issuer, &certified, device.identity(), b"zero@example.org", NOW.plus(500_000));
    done(device.set_certificate(Some(certificate)).unwrap());
    done(device.show_certificate(two, true).unwrap());
    done(device.set_verified(one, true).unwrap());
    // A commit whose predecessor does not come; a newcomer who is not told yet.
    crowd.commit(1, &[GroupChange::SetRole(two, Role::Admin)]).unwrap();
    crowd.queue.clear();
    crowd.commit(1, &[GroupChange::SetPolicy(GroupPolicy { max_messages: 6, max_age: 9 })]).unwrap();
    let early = crowd.queue.iter().find(|flying| flying.to == 2).unwrap().bytes.clone();
    done(crowd.parties[2].device.open(&early, NOW).unwrap());
    crowd.store_all();
    crowd.introduce(0, three);
    let group = crowd.group();
    let next = done(crowd.parties[1].device.seal(zero, b"next", NOW, &mut crowd.rng).unwrap());
    images.insert("next 0".into(), next.envelope);
    images.insert("group".into(), crowd.parties[2].device.group(group).unwrap().roster.to_state().expose().to_vec());
    for (number, party) in crowd.parties.iter().enumerate() {
        for (key, bytes) in Disk::of(&party.device).records() {
            images.insert(format!("device {number}, {}", hex(key.as_bytes())), bytes.clone());
        }
    }
}

/// The images of what can be used alone.
fn layers(images: &mut Images) {
    let mut rng = rng(2);
    let (alice, bob) = (IdentityKeyPair::generate(&mut rng), IdentityKeyPair::generate(&mut rng));
    let (mut prekeys, lifetimes) = (PreKeyStore::new(), PreKeyLifetimes::default());
    let bundle = prekeys
        .publish(&bob, 2, Rotation::IfDue, &lifetimes, NOW, &mut rng)
        .unwrap()
        .into_entry()
        .expect("signed")
        .take_bundle();
    let bundle = VerifiedPreKeyBundle::verify(bundle, NOW).unwrap();
    let mut to_bob = Session::initiate(&alice, None, &bundle, 1, &mut rng).unwrap();
    let first = to_bob.seal(b"first", Padding::default(), &mut rng).unwrap();
    images.insert("session unanswered".into(), to_bob.to_state().expose().to_vec());
    let accepted = Session::accept(&bob, &prekeys, &Envelope::parse(&first).unwrap(), &lifetimes, NOW).unwrap();
    let (mut to_alice, _) = accepted.settle(&mut prekeys).unwrap();
    for _ in 0..30 {
        let reply = to_alice.seal(b"reply", Padding::default(), &mut rng).unwrap();
        to_bob.open(&Envelope::parse(&reply).unwrap(), NOW).unwrap();
        let answer = to_bob.seal(b"answer", Padding::default(), &mut rng).unwrap();
        to_alice.open(&Envelope::parse(&answer).unwrap(), NOW).unwrap();
    }
    assert!(to_bob.status().kem_epochs.0 > 0);
    images.insert("session".into(), to_alice.to_state().expose().to_vec());
    images.insert("identity".into(), bob.to_state().expose().to_vec());
    images.insert("identity of who waits".into(), alice.to_state().expose().to_vec());
    images.insert("prekeys".into(), prekeys.to_state().expose().to_vec());
    let (key, ciphertext) = attachment::seal(b"content", &mut rng).unwrap();
    images.insert("attachment".into(), key.to_state().expose().to_vec());
    images.insert("attachment's ciphertext".into(), ciphertext);
    let (key, long) = attachment::seal(&vec![7; 65_500], &mut rng).unwrap();
    let mut opener = AttachmentOpener::new(&key);
    opener.open(&long[..attachment::CHUNK_LEN]).unwrap();
    images.insert("attachment half opened".into(), opener.to_state().unwrap().expose().to_vec());
    images.insert("attachment's second half".into(), long[attachment::CHUNK_LEN..].to_vec());
    let sealed = Vault::new(&[7; 32]).seal(b"name", 3, bob.to_state().expose(), &mut rng);
    images.insert("vault".into(), sealed);
    images.insert("root key".into(), RootKeyPair::generate(&mut rng).to_state().expose().to_vec());
    let issuer = IssuerKeyPair::generate(&mut rng);
    images.insert("issuer key".into(), issuer.to_state().expose().to_vec());
    let address = Address::new(b"alice@example.org").unwrap();
    images.insert("issuer's challenge".into(), issuer.challenge(address, NOW, &mut rng).encode());
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
}

fn path() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("test-vectors/images.txt")
}

fn pinned() -> Images {
    let text = std::fs::read_to_string(path()).unwrap();
    text.lines()
        .map(|line| {
            let (name, bytes) = line.split_once(" = ").unwrap();
            (name.to_owned(), unhex(bytes))
        })
        .collect()
}

#[test]
fn todays_images_are_the_pinned_ones() {
    let images = story();
    if std::env::var_os("SCEAU_WRITE_VECTORS").is_some() {
        let mut text = String::new();
        for (name, bytes) in &images {
            writeln!(text, "{name} = {}", hex(bytes)).unwrap();
        }
        std::fs::write(path(), text).unwrap();
    }
    let pinned = pinned();
    assert!(pinned.keys().eq(images.keys()), "images have come or gone");
    for (name, bytes) in &images {
        assert_eq!(hex(bytes), hex(&pinned[name]), "{name}");
    }
    // Every kind of record is among them.
    let kinds: std::collections::BTreeSet<&str> =
        images.keys().filter_map(|name| name.strip_prefix("device ")?.get(3..5)).collect();
    assert_eq!(kinds.len(), 16, "{kinds:?}");
}

#[test]
fn pinned_images_are_restored_and_go_on() {
    let pinned = pinned();
    for number in 0..4 {
        let prefix = format!("device {number}, ");
        let records: Vec<(RecordKey, &Vec<u8>)> = pinned
            .iter()
            .filter_map(|(name, bytes)| Some((name.strip_prefix(&prefix)?, bytes)))
            .map(|(key, bytes)| (RecordKey::from_bytes(unhex(key).try_into().unwrap()), bytes))
            .collect();
        let mut device = Device::restore(records.iter().copied(), sceau::Policy::default()).unwrap();
        let written: Vec<_> = Disk::of(&device).records().clone().into_iter().collect();
        assert_eq!(written, records.iter().map(|(key, bytes)| (*key, (*bytes).clone())).collect::<Vec<_>>());
        if let Some(next) = pinned.get(&format!("next {number}")) {
            let opened = done(device.open(next, NOW).unwrap());
            assert!(matches!(opened.event, Event::Message { content, .. } if content == b"next"));
        }
    }
    let image = |name: &str| pinned[name].as_slice();
    let bob = IdentityKeyPair::from_state(image("identity")).unwrap();
    assert_eq!(bob.to_state().expose(), image("identity"));
    assert_eq!(PreKeyStore::from_state(image("prekeys")).unwrap().to_state().expose(), image("prekeys"));
    let alice = IdentityKeyPair::from_state(image("identity of who waits")).unwrap();
    let session = Session::from_state(image("session"), &bob).unwrap();
    assert_eq!(session.to_state().expose(), image("session"));
    let unanswered = Session::from_state(image("session unanswered"), &alice).unwrap();
    assert_eq!(unanswered.to_state().expose(), image("session unanswered"));
    assert_eq!(sceau::group::Group::from_state(image("group")).unwrap().to_state().expose(), image("group"));
    let key = Attachment::from_state(image("attachment")).unwrap();
    assert_eq!(attachment::open(&key, image("attachment's ciphertext")).unwrap(), b"content");
    let mut opener = AttachmentOpener::from_state(image("attachment half opened")).unwrap();
    assert_eq!(opener.to_state().unwrap().expose(), image("attachment half opened"));
    assert_eq!(opener.open(image("attachment's second half")).unwrap(), [7; 12]);
    opener.finish().unwrap();
    assert_eq!(
        CertificateChallenge::decode(image("issuer's challenge")).unwrap().encode(),
        image("issuer's challenge")
    );
    let unsealed = Vault::new(&[7; 32]).open(b"name", 3, image("vault")).unwrap();
    assert_eq!(unsealed.image.expose(), image("identity"));
    assert_eq!(RootKeyPair::from_state(image("root key")).unwrap().to_state().expose(), image("root key"));
    assert_eq!(IssuerKeyPair::from_state(image("issuer key")).unwrap().to_state().expose(), image("issuer key"));
}
