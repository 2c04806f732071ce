//! What protects a session and a message, as the application can ask.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test is to fail loudly"
)]

use sceau::certificate::{Address, CertificateState, IssuerKeyPair, RootKeyPair};
use sceau::device::MessageStatus;
use sceau::session::SessionStatus;
use sceau::{Device, Event, Fingerprint, Padding, Policy};
use sceau_testkit::certify;
use sceau_testkit::talk::{NOW, Talk, done};

fn session(device: &Device, peer: Fingerprint) -> SessionStatus {
    device.peer(peer).unwrap().session.unwrap()
}

fn message(device: &mut Device, envelope: &[u8]) -> MessageStatus {
    match done(device.open(envelope, NOW).unwrap()).event {
        Event::Message { status, .. } => status,
        other => panic!("{other:?}"),
    }
}

#[test]
fn confirmed_as_soon_as_the_other_side_has_shown_it() {
    let mut talk = Talk::new(1);
    let first = talk.from_alice(b"first");
    let hers = session(&talk.alice, talk.to_bob);
    assert!(hers.initiator && !hers.confirmed);
    let status = message(&mut talk.bob, &first);
    assert!(status.introduction && !status.session.confirmed && !status.session.initiator);
    assert_eq!(status.session.id, hers.id);
    let reply = talk.from_bob(b"reply");
    let status = message(&mut talk.alice, &reply);
    assert!(!status.introduction && status.session.confirmed);
    let third = talk.from_alice(b"third");
    assert!(message(&mut talk.bob, &third).session.confirmed);
}

/// Whether the first messages are forward secret from the moment they are opened.
#[test]
fn one_time_prekey_used_or_not() {
    for used in [true, false] {
        let mut talk = Talk::new(2);
        if !used {
            // The directory has run out.
            while talk.directory.one_time_left() > 0 {
                talk.directory.take_bundle();
            }
            talk.alice = Device::generate(&mut talk.rng);
            talk.to_alice = talk.alice.fingerprint();
            done(talk.alice.add_peer(&talk.directory.take_bundle(), NOW).unwrap());
        }
        let first = talk.from_alice(b"first");
        assert_eq!(session(&talk.alice, talk.to_bob).one_time_prekey, used);
        assert_eq!(message(&mut talk.bob, &first).session.one_time_prekey, used);
    }
}

/// Hybrid from the first message, and more so with every secret of the KEM ratchet; both sides count the same.
#[test]
fn kem_secrets_are_counted() {
    let mut talk = Talk::confirmed(3);
    let mut policy = Policy::default();
    policy.padding = Padding::with_smallest(2_048);
    talk.alice.set_policy(policy.clone());
    talk.bob.set_policy(policy);
    assert_eq!(session(&talk.alice, talk.to_bob).kem_secrets(), 2, "the handshake's");
    for _ in 0..30 {
        talk.from_alice(b"skipped");
        let envelope = talk.from_alice(b"text");
        let status = message(&mut talk.bob, &envelope);
        assert_eq!(status.session, session(&talk.bob, talk.to_alice), "with this message");
        let envelope = talk.from_bob(b"text");
        let status = message(&mut talk.alice, &envelope);
        assert_eq!(status.session, session(&talk.alice, talk.to_bob));
    }
    let (hers, his) = (session(&talk.alice, talk.to_bob), session(&talk.bob, talk.to_alice));
    assert!(hers.kem_epochs.0 >= 2 && hers.kem_epochs.1 >= 2, "{hers:?}");
    assert_eq!(hers.kem_secrets(), 2 + hers.kem_epochs.0 + hers.kem_epochs.1);
    assert!(hers.kem_epochs.0.abs_diff(his.kem_epochs.1) <= 1 && hers.kem_epochs.1.abs_diff(his.kem_epochs.0) <= 1);
}

#[test]
fn verified_by_people_and_certified_by_an_authority() {
    let mut talk = Talk::confirmed(4);
    let envelope = talk.from_alice(b"text");
    let status = message(&mut talk.bob, &envelope);
    assert!(!status.verified && status.certificate == CertificateState::None);
    assert_eq!(talk.bob.peer_certificate(talk.to_alice, NOW), CertificateState::None);
    done(talk.bob.set_verified(talk.to_alice, true).unwrap());
    let (root, issuer) = (RootKeyPair::generate(&mut talk.rng), IssuerKeyPair::generate(&mut talk.rng));
    let mut policy = Policy::default();
    policy.certificates.roots.push(root.public());
    talk.bob.set_policy(policy);
    let certified = root.certify(issuer.public(), NOW.plus(9));
    let address = Address::new(b"alice").unwrap();
    let certificate = certify(&issuer, &certified, talk.alice.identity(), b"alice", NOW.plus(9));
    done(talk.bob.take_certificate(talk.to_alice, &certificate, NOW).unwrap());
    let envelope = talk.from_alice(b"text");
    let status = message(&mut talk.bob, &envelope);
    assert!(status.verified && status.certificate == CertificateState::Valid);
    assert_eq!(talk.bob.peer_certificate(talk.to_alice, NOW.plus(10)), CertificateState::Expired);
    let known = talk.bob.peer(talk.to_alice).unwrap();
    assert!(known.verified && known.certified.unwrap().address == address);
}

/// Of a member of a group too.
#[test]
fn members_of_a_group() {
    let mut crowd = sceau_testkit::Crowd::together(2, 5);
    crowd.say(0, b"hello").unwrap();
    crowd.flush();
    let (group, now, founder) = (crowd.group(), crowd.now, crowd.name(0));
    for verified in [false, true] {
        done(crowd.parties[1].device.set_verified(founder, verified).unwrap());
        let sealed = done(crowd.parties[0].device.seal_group(group, b"text", now, &mut crowd.rng).unwrap());
        let opened = done(crowd.parties[1].device.open(&sealed.envelope, now).unwrap());
        let Event::GroupMessage { status, .. } = opened.event else { panic!() };
        assert_eq!((status.verified, status.certificate), (verified, CertificateState::None));
    }
}

#[test]
fn policy_is_the_one_that_was_set() {
    let mut talk = Talk::new(9);
    assert_eq!(talk.alice.policy().low_water, Policy::default().low_water);
    let mut policy = Policy::default();
    policy.low_water = 77;
    talk.alice.set_policy(policy);
    assert_eq!(talk.alice.policy().low_water, 77);
}
