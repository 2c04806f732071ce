//! Keys for calls and the like: both ends come to the same, for each session and context another one, and nothing else of the
//! session comes out.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test is to fail loudly"
)]

use sceau::error::UnknownSession;
use sceau::session::Session;
use sceau::{Device, SessionId};
use sceau_testkit::talk::{NOW, Talk, done, state};
use std::collections::BTreeSet;

fn session(device: &Device, peer: sceau::Fingerprint) -> SessionId {
    device.peer(peer).unwrap().session.unwrap().id
}

#[test]
fn both_ends_export_the_same_key_whatever_has_happened_since() {
    let mut talk = Talk::new(1);
    let first = talk.from_alice(b"a call, and its id");
    // Alice's introduction is unanswered: she has the key already.
    let id = session(&talk.alice, talk.to_bob);
    let before = *talk.alice.export(id, b"call 1").unwrap().expose();
    talk.bob_reads(&first).unwrap();
    assert_eq!(session(&talk.bob, talk.to_alice), id);
    for turn in 0..20 {
        let [alices, bobs] = [&talk.alice, &talk.bob].map(|device| *device.export(id, b"call 1").unwrap().expose());
        assert_eq!((alices, bobs), (before, before), "turn {turn}");
        let reply = talk.from_bob(b"reply");
        talk.alice_reads(&reply).unwrap();
        let answer = talk.from_alice(b"answer");
        talk.bob_reads(&answer).unwrap();
        // After a restart too.
        talk.bob = state(&talk.bob).restore();
    }
}

#[test]
fn each_context_and_each_session_has_its_own_key() {
    let mut talk = Talk::confirmed(2);
    let old = session(&talk.alice, talk.to_bob);
    let bundle = talk.directory.take_bundle();
    done(talk.alice.renew(talk.to_bob, &bundle, NOW, &mut talk.rng).unwrap());
    let anew = talk.from_alice(b"anew");
    talk.bob_reads(&anew).unwrap();
    let new = session(&talk.alice, talk.to_bob);
    assert_ne!(old, new);
    let contexts: [&[u8]; 6] = [b"", b"\0", b"call 1", b"call 2", b"call 1\0", &[7; 5_000]];
    let mut keys = BTreeSet::new();
    for id in [old, new] {
        for context in contexts {
            let key = *talk.alice.export(id, context).unwrap().expose();
            assert_eq!(talk.bob.export(id, context).unwrap().expose(), &key);
            assert!(keys.insert(key), "two are the same");
        }
    }
    // None of them, and not the secret behind them, is anything else that the session stores.
    let records = state(&talk.alice);
    for record in records.records().values() {
        assert!(record.windows(32).all(|window| !keys.contains(window)));
    }
    let nobodys = SessionId::from_bytes([0; 16]);
    assert_eq!(talk.alice.export(nobodys, b"call 1").err(), Some(UnknownSession));
    done(talk.bob.delete_peer(talk.to_alice, &mut talk.rng).unwrap());
    assert_eq!(talk.bob.export(new, b"call 1").err(), Some(UnknownSession));
}

/// Computed by hand, from docs/PROTOCOL.md and the stored session; and the stored secret stands nowhere else in it.
#[test]
fn known_answer() {
    let talk = Talk::confirmed(3);
    let id = session(&talk.alice, talk.to_bob);
    let records = state(&talk.alice);
    let record = records.records().iter().find(|(key, _)| key.as_bytes()[0] == 6).unwrap().1;
    // Behind version, kind, fading flag, since, debts, trust, identity and rank; then four flags (no prefix any more) and the context.
    let at = 2 + 11 + 96 + 40;
    let (exporter, context) = (&record[at..at + 32], &record[at + 36..at + 68]);
    let info = [b"sceau/1 exporter", context, b"call 1"].concat();
    let mut key = [0; 32];
    hkdf::Hkdf::<sha2::Sha256>::from_prk(exporter).unwrap().expand(&info, &mut key).unwrap();
    assert_eq!(talk.alice.export(id, b"call 1").unwrap().expose(), &key);
    assert_eq!(record.windows(32).filter(|window| *window == exporter).count(), 1);
    // The session without a device gives the same.
    let alone = Session::from_state(&[&[1], &record[13..], &[0; 4]].concat(), talk.alice.identity()).unwrap();
    assert_eq!(alone.id(), id);
    assert_eq!(alone.export(b"call 1").expose(), &key);
    assert_eq!(format!("{:?}", alone.export(b"call 1")), "ExportedKey");
}
