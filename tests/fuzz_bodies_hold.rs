//! What the fuzzers assert, on mutations of genuine inputs and on random bytes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "a test")]

use proptest::prelude::*;
use sceau::Fingerprint;
use sceau::certificate::{Address, IssuerKeyPair, RootKeyPair};
use sceau::vault::Vault;
use sceau::verification::{QrCode, SasInitiator};
use sceau_testkit::talk::NOW;
use sceau_testkit::{Talk, certify, fuzz};
use std::sync::OnceLock;

/// Genuine inputs: a bundle, an upload, an identity, envelopes, images, records.
fn genuine() -> &'static Vec<Vec<u8>> {
    static GENUINE: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    GENUINE.get_or_init(|| {
        let mut talk = Talk::new(7);
        let bundle = talk.directory.take_bundle().encode();
        let upload = talk.directory.encode();
        let introduction = talk.from_alice(b"first");
        talk.bob_reads(&introduction).unwrap();
        let skipped = talk.from_bob(b"skipped");
        let reply = talk.from_bob(b"reply");
        talk.alice_reads(&reply).unwrap();
        let records: Vec<u8> = sceau_testkit::Disk::of(&talk.alice)
            .records()
            .iter()
            .flat_map(|(key, bytes)| {
                let len = u16::try_from(bytes.len()).unwrap().to_be_bytes();
                [key.as_bytes().as_slice(), &len, bytes].concat()
            })
            .collect();
        fuzz::images(&records);
        let identity = talk.alice.identity();
        let (root, issuer) = (RootKeyPair::generate(&mut talk.rng), IssuerKeyPair::generate(&mut talk.rng));
        let certified = root.certify(issuer.public(), NOW);
        let address = Address::new(b"alice@example.org").unwrap();
        let challenge = issuer.challenge(address, NOW, &mut talk.rng);
        let request = identity.request_certificate(&challenge, issuer.public(), &address).unwrap();
        let certificate = certify(&issuer, &certified, identity, b"alice@example.org", NOW);
        let (key, _) = sceau::attachment::seal(b"content", &mut talk.rng).unwrap();
        let peers = [1, 2].map(|byte| Fingerprint::from_bytes([byte; 32]));
        let around = vec![
            certificate.encode(),
            certified.encode(),
            challenge.encode(),
            request.encode(),
            identity.sign_login(b"relay.example.org", &[7; 32]).encode(),
            key.to_state().expose().to_vec(),
            root.to_state().expose().to_vec(),
            QrCode::encode(peers[1], peers[0]),
            QrCode::encode_text(peers[1], peers[0]).into_bytes(),
            peers[0].to_string().into_bytes(),
            SasInitiator::begin(peers[1], peers[0], &mut talk.rng).1,
            Vault::new(&[6; 32]).seal(b"name", 1, b"image", &mut talk.rng),
        ];
        let images = [identity.to_state().expose().to_vec(), identity.public().encode()];
        [vec![bundle, upload, introduction, skipped, reply, records], images.to_vec(), around].concat()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn on_mutations(which in any::<prop::sample::Index>(), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4), cut in any::<prop::sample::Index>(), cuts in any::<bool>()) {
        let mut bytes = which.get(genuine()).clone();
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] ^= value;
        }
        if cuts {
            bytes.truncate(cut.index(bytes.len()));
        }
        // Alice's own envelopes of this talk are not Bob's of the fuzzers' talk: nothing opens.
        for (name, body) in fuzz::TARGETS {
            if !SLOW.contains(name) {
                body(&bytes);
            }
        }
    }

    #[test]
    fn on_random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..700)) {
        for (name, body) in fuzz::TARGETS {
            if *name != "groups" {
                body(&bytes);
            }
        }
    }
}

/// Targets that take milliseconds.
const SLOW: &[&str] = &["model", "groups", "contents", "fragments", "headers", "introductions", "two_logs"];

/// The committed corpora, which fuzzing has found.
#[test]
fn on_the_corpora() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let mut count = 0;
    for (name, body) in fuzz::TARGETS {
        let inputs = std::fs::read_dir(folder.join(name)).unwrap();
        for input in inputs {
            body(&std::fs::read(input.unwrap().path()).unwrap());
            count += 1;
        }
    }
    assert!(count > 50, "{count} inputs");
}
