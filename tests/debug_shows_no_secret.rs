//! Debug of every public type that holds secrets shows none of their bytes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test is to fail loudly"
)]

use sceau::attachment::AttachmentOpener;
use sceau::certificate::{IssuerKeyPair, RootKeyPair};
use sceau::prekey::{PreKeyLifetimes, PreKeyStore, Rotation, VerifiedPreKeyBundle};
use sceau::session::Session;
use sceau::vault::Vault;
use sceau::verification::{SasInitiator, SasResponder};
use sceau::{Device, Envelope, IdentityKeyPair, Padding, Record};
use sceau_testkit::Talk;
use sceau_testkit::talk::NOW;

/// Whether four secret bytes in a row appear, as numbers or as hexadecimal digits.
fn assert_hides(shown: &str, secret: &[u8], what: &str) {
    let digits: String = shown.to_lowercase().chars().filter(|c| !c.is_whitespace()).collect();
    for run in secret.windows(4).filter(|run| run.iter().any(|byte| *byte > 9)) {
        let list = format!("{},{},{},{}", run[0], run[1], run[2], run[3]);
        let hex: String = run.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(!digits.contains(&list) && !digits.contains(&hex), "{what} shows {run:?}");
    }
}

/// The check can fail: it finds bytes as numbers and as digits.
#[test]
fn shown_bytes_are_found() {
    for shown in [format!("{:?}", [1_u8, 2, 200, 4, 5]), "Key(00 01 02 c8 04)".into()] {
        assert!(std::panic::catch_unwind(|| assert_hides(&shown, &[1, 2, 200, 4], "a key")).is_err(), "{shown}");
    }
}

#[test]
fn of_anything() {
    let mut rng = sceau_testkit::rng(1);
    let (now, lifetimes) = (sceau_testkit::talk::at(1_000_000), PreKeyLifetimes::default());
    let identity = IdentityKeyPair::generate(&mut rng);
    let identity_secrets = &identity.to_state().expose()[1..].to_vec();
    assert_hides(&format!("{identity:#?}"), identity_secrets, "IdentityKeyPair");
    assert_hides(&format!("{:?}", identity.to_state()), identity_secrets, "Image");

    let mut prekeys = PreKeyStore::new();
    let upload = prekeys.publish(&identity, 2, Rotation::IfDue, &lifetimes, now, &mut rng).unwrap();
    // 5 bytes of version and count, 8 of id and generation, then the private halves.
    let prekey_image = prekeys.to_state();
    assert_hides(&format!("{prekeys:?}"), &prekey_image.expose()[13..13 + 96], "PreKeyStore");

    let bundle = VerifiedPreKeyBundle::verify(upload.clone().into_entry().expect("signed").take_bundle(), now).unwrap();
    let mut session = Session::initiate(&IdentityKeyPair::generate(&mut rng), None, &bundle, 7, &mut rng).unwrap();
    let fresh = format!("{session:?}");
    let image = session.to_state().expose().to_vec();
    // Behind the identity and the rank: the exporter secret. Behind four flags, the prefix, the context: the root key.
    assert_hides(&fresh, &image[1 + 64 + 40..][..32], "Session's exporter secret");
    assert_hides(&fresh, &image[1 + 64 + 40 + 32 + 4 + 1970 + 32..][..32], "Session's root key");
    let exported = session.export(b"call");
    assert_hides(&format!("{exported:?}"), exported.expose(), "ExportedKey");
    let bytes = session.seal(b"x", Padding::default(), &mut rng).unwrap();
    let image = session.to_state().expose().to_vec();
    let ratchet = &image[1 + 64 + 40 + 32 + 4 + 1970..];
    let shown = format!("{session:?}");
    assert_hides(&shown, &ratchet[32..64], "root key");
    // Private ratchet key, header secret, chain key behind context, root key, remote key and a flag.
    assert_hides(&shown, &ratchet[97..97 + 96], "sending chain");
    assert_hides(&shown, &ratchet[201..201 + 32], "next header secret");
    let accepted = Session::accept(&identity, &prekeys, &Envelope::parse(&bytes).unwrap(), &lifetimes, now).unwrap();
    assert_hides(&format!("{accepted:?}"), &prekey_image.expose()[13..13 + 96], "Accepted");
}

#[test]
fn of_what_surrounds_messages() {
    let mut rng = sceau_testkit::rng(3);
    let (key, _) = sceau::attachment::seal(b"content", &mut rng).unwrap();
    assert_hides(&format!("{key:?} {:?}", AttachmentOpener::new(&key)), &key.to_state().expose()[1..33], "Attachment");
    assert_hides(&format!("{key:?}"), key.name(), "Attachment's name");
    let (root, issuer) = (RootKeyPair::generate(&mut rng), IssuerKeyPair::generate(&mut rng));
    assert_hides(&format!("{root:?}"), &root.to_state().expose()[1..], "RootKeyPair");
    assert_hides(&format!("{issuer:?}"), &issuer.to_state().expose()[1..], "IssuerKeyPair");
    let vault = Vault::new(&[201, 7, 202, 9].repeat(8).try_into().unwrap());
    let sealed = vault.seal(b"name", 1, &[203, 10, 204, 11], &mut rng);
    let unsealed = vault.open(b"name", 1, &sealed).unwrap();
    assert_hides(&format!("{vault:?} {unsealed:?}"), &[201, 7, 202, 9], "Vault");
    assert_hides(&format!("{unsealed:?}"), &[203, 10, 204, 11], "Unsealed");
    let names = [1, 2].map(|byte| sceau::Fingerprint::from_bytes([byte; 32]));
    let (run, first) = SasInitiator::begin(names[0], names[1], &mut rng);
    let (answer, second) = SasResponder::answer(names[1], names[0], &first, &mut rng).unwrap();
    let shown = format!("{run:?} {answer:?}");
    let (sas, third) = run.reveal(&second).unwrap();
    assert_hides(&format!("{shown} {sas:?}"), &third[2..], "SasInitiator");
    assert!(!format!("{sas:?}").contains(&sas.digits()));
}

#[test]
fn of_a_device_and_its_plans() {
    let mut talk = Talk::confirmed(2);
    let records = talk.alice.records();
    let pending = talk.alice.seal(talk.to_bob, b"a secret text", NOW, &mut talk.rng).unwrap();
    let shown = format!("{pending:?} {records:?}");
    assert!(!shown.contains("secret text"));
    let shown = format!("{shown} {:?}", talk.alice);
    for record in records.after(None).unwrap() {
        let Record::Put(key, bytes) = record else { continue };
        let line = format!("{record:?}");
        // The peer's record (kind 5) is public; all others hold secrets behind version and kind.
        if ![0, 5].contains(&key.kind()) {
            let secret = if key.as_bytes()[0] == 6 { &bytes[2 + 10 + 64 + 40 + 32 + 4 + 32..] } else { &bytes[2..] };
            assert_hides(&shown, secret, "Device");
            assert_hides(&line, secret, "Record");
        }
    }
    assert!(format!("{:?}", Device::generate(&mut talk.rng)).starts_with("Device { fingerprint"));
}
