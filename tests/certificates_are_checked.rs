//! Certificates: what is not in order is refused or told, what is shown to whom is the device's choice, and the relay
//! sees nothing of it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test is to fail loudly"
)]

use chacha20::ChaCha20Rng;
use sceau::certificate::{
    Address, Certificate, CertificateDemand, CertificatePolicy, CertificateState, IssuerCertificate, IssuerKeyPair,
    RootKeyPair,
};
use sceau::error::{CertificateError, OpenError};
use sceau::prekey::{PreKeyLifetimes, PreKeyStore, Rotation, VerifiedPreKeyBundle};
use sceau::session::Session;
use sceau::{Device, Envelope, Event, IdentityKeyPair, Notice, Opened, Padding, Policy, UnixTime};
use sceau_testkit::talk::{NOW, Talk, done, state};
use sceau_testkit::{Disk, certify, rng};

const DAY: u64 = 86_400;

struct Authority {
    root: RootKeyPair,
    issuer: IssuerKeyPair,
}

impl Authority {
    fn new(rng: &mut ChaCha20Rng) -> Self {
        Self { root: RootKeyPair::generate(rng), issuer: IssuerKeyPair::generate(rng) }
    }

    fn certify(&self, identity: &IdentityKeyPair, address: &[u8], not_after: UnixTime) -> Certificate {
        let issuer = self.root.certify(self.issuer.public(), NOW.plus(90 * DAY));
        certify(&self.issuer, &issuer, identity, address, not_after)
    }

    fn policy(&self) -> CertificatePolicy {
        let mut policy = CertificatePolicy::default();
        policy.roots.push(self.root.public());
        policy
    }
}

fn with(certificates: CertificatePolicy) -> Policy {
    let mut policy = Policy::default();
    policy.certificates = certificates;
    policy
}

/// Bob trusts the authority; Alice has a certificate for a week.
fn certified(seed: u64) -> (Talk, Authority) {
    let mut talk = Talk::new(seed);
    let authority = Authority::new(&mut talk.rng);
    let certificate = authority.certify(talk.alice.identity(), b"alice@example.org", NOW.plus(7 * DAY));
    done(talk.alice.set_certificate(Some(certificate)).unwrap());
    talk.bob.set_policy(with(authority.policy()));
    (talk, authority)
}

fn opens(device: &mut Device, envelope: &[u8], now: UnixTime) -> Opened {
    done(device.open(envelope, now).unwrap())
}

fn certificate_of(opened: &Opened) -> CertificateState {
    match &opened.event {
        Event::Message { status, .. } => status.certificate,
        other => panic!("{other:?}"),
    }
}

#[test]
fn chains_of_trust() {
    let mut rng = rng(1);
    let authority = Authority::new(&mut rng);
    let [alice, mallory] = [(); 2].map(|()| IdentityKeyPair::generate(&mut rng));
    let certificate = authority.certify(&alice, b"alice", NOW.plus(7 * DAY));
    let policy = authority.policy();
    let check = |policy: &CertificatePolicy, now| policy.check(&certificate, alice.public(), now);
    assert_eq!(check(&policy, NOW).unwrap().address.as_bytes(), b"alice");
    assert_eq!(check(&policy, NOW.plus(7 * DAY)).map(|certified| certified.issuer), Ok(authority.issuer.public().id()));
    assert_eq!(check(&policy, NOW.plus(7 * DAY + 1)), Err(CertificateError::Expired));
    assert_eq!(policy.check(&certificate, mallory.public(), NOW), Err(CertificateError::Signature));
    let mut other = policy.clone();
    other.roots = vec![RootKeyPair::generate(&mut rng).public()];
    assert_eq!(check(&other, NOW), Err(CertificateError::Untrusted));
    other.roots.push(authority.root.public());
    assert!(check(&other, NOW).is_ok());
    other.revoked.push(authority.issuer.public().id());
    assert_eq!(check(&other, NOW), Err(CertificateError::Revoked));
    // The issuer's own time ends the certificate's.
    let issuers = authority.root.certify(authority.issuer.public(), NOW.plus(90 * DAY));
    assert_eq!((issuers.issuer(), issuers.not_after()), (authority.issuer.public(), NOW.plus(90 * DAY)));
    let encoding = issuers.encode();
    assert_eq!((encoding.len(), IssuerCertificate::decode(&encoding)), (IssuerCertificate::LEN, Ok(issuers)));
    let long = authority.certify(&alice, b"alice", NOW.plus(900 * DAY));
    assert_eq!(long.not_after(), NOW.plus(90 * DAY));
    assert_eq!(policy.check(&long, alice.public(), NOW.plus(91 * DAY)), Err(CertificateError::Expired));
    // An issuer that nobody certified.
    let rogue = IssuerKeyPair::generate(&mut rng);
    let stolen = authority.root.certify(authority.issuer.public(), NOW.plus(DAY));
    let address = Address::new(b"alice").unwrap();
    let challenge = rogue.challenge(address, NOW, &mut rng);
    let request = mallory.request_certificate(&challenge, rogue.public(), &address).unwrap();
    let verified = challenge.verify(&request, NOW).unwrap();
    assert_eq!(rogue.issue(&stolen, verified, NOW).unwrap_err(), CertificateError::Untrusted);
    let own = RootKeyPair::generate(&mut rng).certify(rogue.public(), NOW.plus(DAY));
    let forged = certify(&rogue, &own, &mallory, b"alice", NOW.plus(DAY));
    assert_eq!(policy.check(&forged, mallory.public(), NOW), Err(CertificateError::Untrusted));
    // Its name and key by the authority's issuer, its signature by the rogue.
    let spliced = [
        &forged.encode()[..73],
        &certificate.encode()[73..81],
        &forged.encode()[81..145],
        &certificate.encode()[145..],
    ];
    let spliced = Certificate::decode(&spliced.concat()).unwrap();
    assert_eq!(policy.check(&spliced, mallory.public(), NOW), Err(CertificateError::Signature));
    // Keys come back from their images.
    let root = RootKeyPair::from_state(authority.root.to_state().expose()).unwrap();
    let issuer = IssuerKeyPair::from_state(authority.issuer.to_state().expose()).unwrap();
    assert_eq!((root.public(), issuer.public()), (authority.root.public(), authority.issuer.public()));
}

#[test]
fn every_changed_bit_is_refused() {
    let mut rng = rng(2);
    let authority = Authority::new(&mut rng);
    let alice = IdentityKeyPair::generate(&mut rng);
    let bytes = authority.certify(&alice, b"alice", NOW.plus(DAY)).encode();
    assert_eq!(bytes.len(), 257);
    assert_eq!(Certificate::decode(&bytes).unwrap().encode(), bytes);
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let checked =
            Certificate::decode(&changed).map(|changed| authority.policy().check(&changed, alice.public(), NOW));
        assert!(!matches!(checked, Ok(Ok(_))), "bit {bit}");
    }
    for len in 0..bytes.len() {
        assert!(Certificate::decode(&bytes[..len]).is_err());
    }
    assert!(Address::new(&[1; 64]).is_ok() && Address::new(&[1; 65]).is_err() && Address::new(&[]).is_ok());
}

#[test]
fn introduction_carries_it_and_the_relay_sees_nothing() {
    let (mut talk, authority) = certified(3);
    let envelope = talk.from_alice(b"hello");
    assert_eq!(envelope.len(), 4_210, "as without a certificate");
    assert!(!envelope.windows(5).any(|window| window == b"alice"));
    let key_id = authority.issuer.public().id();
    assert!(!envelope.windows(8).any(|window| window == key_id.0));
    let opened = opens(&mut talk.bob, &envelope, NOW);
    assert_eq!(certificate_of(&opened), CertificateState::Valid);
    assert!(opened.notices.contains(&Notice::Certified(talk.to_alice)));
    let known = talk.bob.peer(talk.to_alice).unwrap().certified.unwrap();
    assert_eq!((known.address.as_bytes(), known.not_after), (&b"alice@example.org"[..], NOW.plus(7 * DAY)));
    // Later its time is past, or its issuer revoked: each message says so.
    let later = talk.from_alice(b"later");
    let mut restored = state(&talk.bob).restore();
    restored.set_policy(with(authority.policy()));
    assert_eq!(certificate_of(&opens(&mut restored, &later, NOW.plus(8 * DAY))), CertificateState::Expired);
    let mut policy = authority.policy();
    policy.revoked.push(key_id);
    talk.bob.set_policy(with(policy));
    assert_eq!(certificate_of(&opens(&mut talk.bob, &later, NOW)), CertificateState::Revoked);
}

#[test]
fn required_means_required() {
    for case in 0..4 {
        let (mut talk, authority) = certified(4);
        let mut policy = authority.policy();
        policy.demand = CertificateDemand::Required;
        talk.bob.set_policy(with(policy.clone()));
        let (mut now, mut expected) = (NOW, None);
        match case {
            0 => {
                done(talk.alice.set_certificate(None).unwrap());
                expected = Some(CertificateError::Missing);
            }
            1 => (now, expected) = (NOW.plus(8 * DAY), Some(CertificateError::Expired)),
            2 => {
                let other = Authority::new(&mut talk.rng);
                let certificate = other.certify(talk.alice.identity(), b"alice", NOW.plus(DAY));
                done(talk.alice.set_certificate(Some(certificate)).unwrap());
                expected = Some(CertificateError::Untrusted);
            }
            _ => {}
        }
        let envelope = talk.from_alice(b"hello");
        let before = Disk::of(&talk.bob);
        match expected {
            Some(why) => {
                let refused = talk.bob.open(&envelope, now).unwrap_err();
                assert_eq!(refused, OpenError::Uncertified(talk.to_alice, why));
                assert_eq!(Disk::of(&talk.bob), before);
            }
            None => assert_eq!(certificate_of(&opens(&mut talk.bob, &envelope, now)), CertificateState::Valid),
        }
    }
}

/// Who is known by a certificate from elsewhere may introduce itself without one.
#[test]
fn certificate_from_a_directory() {
    let (mut talk, authority) = certified(5);
    let certificate = *talk.alice.certificate().unwrap();
    done(talk.alice.set_certificate(None).unwrap());
    let mut policy = authority.policy();
    policy.demand = CertificateDemand::Required;
    talk.bob.set_policy(with(policy));
    let unknown = talk.bob.take_certificate(talk.to_alice, &certificate, NOW).unwrap_err();
    assert_eq!(unknown, CertificateError::UnknownPeer);
    let bundle =
        done(talk.alice.publish_prekeys(1, NOW, &mut talk.rng).unwrap()).into_entry().expect("signed").take_bundle();
    done(talk.bob.add_peer(&bundle, NOW).unwrap());
    let envelope = talk.from_alice(b"hello");
    assert!(talk.bob.open(&envelope, NOW).is_err());
    done(talk.bob.take_certificate(talk.to_alice, &certificate, NOW).unwrap());
    assert_eq!(certificate_of(&opens(&mut talk.bob, &envelope, NOW)), CertificateState::Valid);
    // Not with someone else's.
    let mallory = IdentityKeyPair::generate(&mut talk.rng);
    let other = authority.certify(&mallory, b"mallory", NOW.plus(DAY));
    assert_eq!(talk.bob.take_certificate(talk.to_alice, &other, NOW).unwrap_err(), CertificateError::Signature);
}

#[test]
fn a_bad_one_is_told_and_without_an_authority_nobody_looks() {
    let (mut talk, authority) = certified(6);
    let old = authority.certify(talk.alice.identity(), b"alice", NOW.plus(1));
    done(talk.alice.set_certificate(Some(old)).unwrap());
    let envelope = talk.from_alice(b"hello");
    let mut nobody = state(&talk.bob).restore();
    let opened = opens(&mut talk.bob, &envelope, NOW.plus(2));
    assert_eq!(certificate_of(&opened), CertificateState::None);
    let refused = Notice::CertificateRefused(talk.to_alice, CertificateError::Expired);
    assert!(opened.notices.contains(&refused));
    let opened = opens(&mut nobody, &envelope, NOW.plus(2));
    assert!(
        !opened.notices.iter().any(|notice| matches!(notice, Notice::CertificateRefused(..) | Notice::Certified(_)))
    );
}

/// A certificate whose issuer's name is another key's is malformed. Without roots nobody looks; with roots that is said of it.
#[test]
fn malformed_one_costs_nobody_a_first_message() {
    let (talk, authority) = certified(8);
    let certificate = authority.certify(talk.alice.identity(), b"alice", NOW.plus(DAY)).encode();
    let mut payload = [0; 378];
    payload[..96].copy_from_slice(&talk.alice.identity_key().encode());
    payload[96..104].copy_from_slice(&NOW.as_secs().to_be_bytes());
    payload[120] = 1;
    payload[121..].copy_from_slice(&certificate);
    let place = certificate.windows(8).position(|window| window == authority.issuer.public().id().0).unwrap();
    payload[121 + place] ^= 1;
    for (trusts, demand) in
        [(false, CertificateDemand::Optional), (true, CertificateDemand::Optional), (true, CertificateDemand::Required)]
    {
        let (mut bob, mut rng) = (state(&talk.bob).restore(), rng(8));
        let mut policy = if trusts { authority.policy() } else { CertificatePolicy::default() };
        policy.demand = demand;
        bob.set_policy(with(policy));
        let bundle = done(bob.publish_prekeys(1, NOW, &mut rng).unwrap()).into_entry().unwrap().take_bundle();
        let bundle = VerifiedPreKeyBundle::verify(bundle, NOW).unwrap();
        let mut session = Session::initiate_raw(talk.alice.identity(), &payload, &bundle, &mut rng).unwrap();
        let envelope = session.seal(b"hello", Padding::default(), &mut rng).unwrap();
        if demand == CertificateDemand::Required {
            let refused = OpenError::Uncertified(talk.to_alice, CertificateError::Malformed);
            assert_eq!(bob.open(&envelope, NOW).unwrap_err(), refused);
            continue;
        }
        let opened = opens(&mut bob, &envelope, NOW);
        assert!(matches!(&opened.event, Event::Message { content, .. } if content == b"hello"));
        let told = opened.notices.contains(&Notice::CertificateRefused(talk.to_alice, CertificateError::Malformed));
        assert_eq!(told, trusts);
    }
}

#[test]
fn renewed_inside_the_session() {
    let (mut talk, authority) = certified(7);
    let first = talk.from_alice(b"hello");
    opens(&mut talk.bob, &first, NOW);
    let reply = talk.from_bob(b"reply");
    talk.alice_reads(&reply).unwrap();
    assert_eq!(talk.alice.owed(NOW).count(), 0, "the introduction carried it");
    let old = *talk.alice.certificate().unwrap();
    let renewed = authority.certify(talk.alice.identity(), b"alice@example.org", NOW.plus(14 * DAY));
    done(talk.alice.set_certificate(Some(renewed)).unwrap());
    assert_eq!(talk.alice.owed(NOW.plus(15 * DAY)).count(), 0, "one that is past its time is owed to nobody");
    let (id, peer) = talk.alice.owed(NOW).next().expect("the renewed one is owed");
    assert_eq!((peer, talk.alice.mailbox_owed(id).is_some()), (talk.to_bob, true));
    // Dropped, it stays owed.
    drop(talk.alice.seal_owed(id, NOW, &mut talk.rng).unwrap());
    let envelope = done(talk.alice.seal_owed(id, NOW, &mut talk.rng).unwrap());
    assert_eq!((envelope.envelope.len(), talk.alice.owed(NOW).count()), (640, 0));
    let opened = opens(&mut talk.bob, &envelope.envelope, NOW);
    assert_eq!(opened.event, Event::Control { from: talk.to_alice });
    assert!(opened.notices.contains(&Notice::Certified(talk.to_alice)));
    let known = |talk: &Talk| talk.bob.peer(talk.to_alice).unwrap().certified.unwrap();
    assert_eq!(known(&talk).not_after, NOW.plus(14 * DAY));
    // The old one again takes nothing back; another address is told.
    done(talk.alice.set_certificate(Some(old)).unwrap());
    let (id, _) = talk.alice.owed(NOW).next().unwrap();
    let envelope = done(talk.alice.seal_owed(id, NOW, &mut talk.rng).unwrap());
    assert_eq!(opens(&mut talk.bob, &envelope.envelope, NOW).notices, []);
    assert_eq!(known(&talk).not_after, NOW.plus(14 * DAY));
    let moved = authority.certify(talk.alice.identity(), b"alice@elsewhere.org", NOW.plus(15 * DAY));
    done(talk.alice.set_certificate(Some(moved)).unwrap());
    let (id, _) = talk.alice.owed(NOW).next().unwrap();
    let envelope = done(talk.alice.seal_owed(id, NOW, &mut talk.rng).unwrap());
    let notices = opens(&mut talk.bob, &envelope.envelope, NOW).notices;
    assert_eq!(notices, [Notice::AddressChanged(talk.to_alice), Notice::Certified(talk.to_alice)]);
}

/// Whoever is introduced to shows its address to nobody until it chooses to.
#[test]
fn strangers_are_shown_nothing() {
    let (mut talk, authority) = certified(8);
    talk.alice.set_policy(with(authority.policy()));
    let certificate = authority.certify(talk.bob.identity(), b"bob", NOW.plus(DAY));
    done(talk.bob.set_certificate(Some(certificate)).unwrap());
    let first = talk.from_alice(b"hello");
    opens(&mut talk.bob, &first, NOW);
    let reply = talk.from_bob(b"who are you?");
    assert_eq!(certificate_of(&opens(&mut talk.alice, &reply, NOW)), CertificateState::None);
    assert_eq!(talk.bob.owed(NOW).count(), 0);
    done(talk.bob.show_certificate(talk.to_alice, true).unwrap());
    let (id, _) = talk.bob.owed(NOW).next().unwrap();
    let envelope = done(talk.bob.seal_owed(id, NOW, &mut talk.rng).unwrap());
    assert_eq!(opens(&mut talk.alice, &envelope.envelope, NOW).notices, [Notice::Certified(talk.to_bob)]);
    assert!(talk.bob.peer(talk.to_alice).unwrap().shows_certificate);
}

#[test]
fn stored_and_restored() {
    let (mut talk, authority) = certified(9);
    let other = authority.certify(talk.bob.identity(), b"bob", NOW.plus(DAY));
    assert_eq!(talk.alice.set_certificate(Some(other)).unwrap_err(), CertificateError::Signature);
    let first = talk.from_alice(b"hello");
    opens(&mut talk.bob, &first, NOW);
    for device in [&talk.alice, &talk.bob] {
        let restored = state(device).restore();
        assert_eq!(Disk::of(&restored), Disk::of(device));
        assert_eq!(restored.certificate(), device.certificate());
    }
    // Another device's record under this one's key.
    let mut disk = state(&talk.alice);
    let records = disk.records_mut();
    let key = *records.keys().find(|key| key.as_bytes()[0] == 14).unwrap();
    let other = authority.certify(talk.bob.identity(), b"bob", NOW.plus(DAY));
    records.insert(key, [&[1, 14][..], &other.encode()].concat());
    assert!(Device::restore(records.iter().map(|(key, bytes)| (*key, bytes)), sceau::Policy::default()).is_err());
}

/// However a stranger provokes an introduction: by a session that has diverged, by a group, by a rank it makes up. Whom the
/// application has added is shown the certificate with the first message of people, and not by a group's business.
#[test]
fn strangers_provoke_no_certificate() {
    let (mut talk, authority) = certified(10);
    talk.alice.set_policy(with(authority.policy()));
    let certificate = authority.certify(talk.bob.identity(), b"bob", NOW.plus(DAY));
    done(talk.bob.set_certificate(Some(certificate)).unwrap());
    let first = talk.from_alice(b"hello");
    opens(&mut talk.bob, &first, NOW);
    // Alice, the stranger, pretends to have lost her state: Bob renews.
    let bundle =
        done(talk.alice.publish_prekeys(2, NOW, &mut talk.rng).unwrap()).into_entry().expect("signed").take_bundle();
    done(talk.bob.renew(talk.to_alice, &bundle, NOW, &mut talk.rng).unwrap());
    let again = talk.from_bob(b"still there?");
    assert_eq!(certificate_of(&opens(&mut talk.alice, &again, NOW)), CertificateState::None);
    assert!(!talk.bob.peer(talk.to_alice).unwrap().shows_certificate);

    // Carol was added by Bob, but what he introduces himself with is a group's.
    let mut carol = Device::generate(&mut talk.rng);
    carol.set_policy(with(authority.policy()));
    let bundle =
        done(carol.publish_prekeys(2, NOW, &mut talk.rng).unwrap()).into_entry().expect("signed").take_bundle();
    done(talk.bob.add_peer(&bundle, NOW).unwrap());
    let to_carol = carol.fingerprint();
    let group = done(talk.bob.create_group(sceau::group::GroupPolicy::default(), &mut talk.rng).unwrap());
    let add = sceau::device::GroupChange::Add(to_carol, sceau::group::Role::Member);
    let added = done(talk.bob.commit_group(group, &[add], NOW, &mut talk.rng).unwrap());
    let opened = opens(&mut carol, &added.deliveries[0].envelope, NOW);
    assert!(!opened.notices.iter().any(|notice| matches!(notice, Notice::Certified(_))));

    // Dave is written to by people: he is shown it. Unless the application says no before.
    for show in [true, false] {
        let mut dave = Device::generate(&mut talk.rng);
        dave.set_policy(with(authority.policy()));
        let bundle =
            done(dave.publish_prekeys(2, NOW, &mut talk.rng).unwrap()).into_entry().expect("signed").take_bundle();
        let to_dave = done(talk.bob.add_peer(&bundle, NOW).unwrap());
        if !show {
            done(talk.bob.show_certificate(to_dave, false).unwrap());
        }
        let envelope = done(talk.bob.seal(to_dave, b"hello", NOW, &mut talk.rng).unwrap());
        let expected = if show { CertificateState::Valid } else { CertificateState::None };
        assert_eq!(certificate_of(&opens(&mut dave, &envelope.envelope, NOW)), expected);
    }
}

/// A group has introduced the device before people write: they show the certificate all the same, also to someone who
/// refuses introductions without.
#[test]
fn shown_when_people_write_whatever_came_before() {
    for demand in [CertificateDemand::Optional, CertificateDemand::Required] {
        let (mut talk, authority) = certified(12);
        let certificate = authority.certify(talk.bob.identity(), b"bob", NOW.plus(DAY));
        done(talk.bob.set_certificate(Some(certificate)).unwrap());
        let mut carol = Device::generate(&mut talk.rng);
        let mut policy = authority.policy();
        policy.demand = demand;
        carol.set_policy(with(policy));
        let bundle =
            done(carol.publish_prekeys(2, NOW, &mut talk.rng).unwrap()).into_entry().expect("signed").take_bundle();
        let to_carol = done(talk.bob.add_peer(&bundle, NOW).unwrap());
        let group = done(talk.bob.create_group(sceau::group::GroupPolicy::default(), &mut talk.rng).unwrap());
        let add = sceau::device::GroupChange::Add(to_carol, sceau::group::Role::Member);
        let added = done(talk.bob.commit_group(group, &[add], NOW, &mut talk.rng).unwrap());
        let introduction = carol.open(&added.deliveries[0].envelope, NOW);
        if demand == CertificateDemand::Required {
            assert!(matches!(introduction, Err(OpenError::Uncertified(..))));
        } else {
            done(introduction.unwrap());
        }
        // What the group says next goes on the same session, and shows no more.
        let session = |talk: &Talk| talk.bob.peer(to_carol).unwrap().session.unwrap().id;
        let by_group = session(&talk);
        let policy = sceau::device::GroupChange::SetPolicy(sceau::group::GroupPolicy { max_messages: 7, max_age: 60 });
        let commit = done(talk.bob.commit_group(group, &[policy], NOW, &mut talk.rng).unwrap());
        assert_eq!((commit.deliveries.len(), session(&talk)), (1, by_group));
        assert!(!talk.bob.peer(to_carol).unwrap().shows_certificate);
        let envelope = done(talk.bob.seal(to_carol, b"hello", NOW, &mut talk.rng).unwrap());
        assert_eq!(certificate_of(&opens(&mut carol, &envelope.envelope, NOW)), CertificateState::Valid, "{demand:?}");
        assert!(talk.bob.peer(to_carol).unwrap().shows_certificate);
        // Once is enough: what follows goes on that session.
        let by_people = session(&talk);
        assert_ne!(by_people, by_group);
        let envelope = done(talk.bob.seal(to_carol, b"again", NOW, &mut talk.rng).unwrap());
        assert_eq!(session(&talk), by_people);
        assert!(matches!(opens(&mut carol, &envelope.envelope, NOW).event, Event::Message { .. }));
    }
}

/// People wrote before there was a certificate, or while the last one had ended: the next one is owed.
#[test]
fn first_certificate_is_owed_to_those_written_to() {
    let (mut talk, authority) = certified(13);
    talk.bob.set_policy(with(authority.policy()));
    done(talk.alice.set_certificate(None).unwrap());
    let first = talk.from_alice(b"hello");
    talk.bob_reads(&first).unwrap();
    let reply = talk.from_bob(b"who is it?");
    talk.alice_reads(&reply).unwrap();
    assert_eq!(talk.alice.owed(NOW).count(), 0);
    let certificate = authority.certify(talk.alice.identity(), b"alice", NOW.plus(DAY));
    done(talk.alice.set_certificate(Some(certificate)).unwrap());
    let (id, to) = talk.alice.owed(NOW).next().unwrap();
    assert_eq!(to, talk.to_bob);
    let envelope = done(talk.alice.seal_owed(id, NOW, &mut talk.rng).unwrap());
    opens(&mut talk.bob, &envelope.envelope, NOW);
    assert_eq!(talk.bob.peer_certificate(talk.to_alice, NOW), CertificateState::Valid);
    // Bob's side introduced nothing and shows nothing.
    assert!(!talk.bob.peer(talk.to_alice).unwrap().shows_certificate);
}

/// What is remembered holds under the present policy only, and stands in the way of nothing better.
#[test]
fn what_is_remembered_is_no_better_than_what_is_shown() {
    let (mut talk, authority) = certified(11);
    let long = authority.certify(talk.alice.identity(), b"old", NOW.plus(30 * DAY));
    let hello = talk.from_alice(b"hello");
    opens(&mut talk.bob, &hello, NOW);
    done(talk.bob.take_certificate(talk.to_alice, &long, NOW).unwrap());
    let state = |talk: &Talk| talk.bob.peer_certificate(talk.to_alice, NOW);
    let address = |talk: &Talk| talk.bob.peer(talk.to_alice).unwrap().certified.unwrap().address;
    assert_eq!(state(&talk), CertificateState::Valid);
    // An older one that is still good, from a directory: nothing changes, and nothing is told.
    let older = authority.certify(talk.alice.identity(), b"older", NOW.plus(20 * DAY));
    assert_eq!(done(talk.bob.take_certificate(talk.to_alice, &older, NOW).unwrap()), []);
    assert_eq!(address(&talk).as_bytes(), b"old");
    // A newer one with another address is told.
    let newer = authority.certify(talk.alice.identity(), b"new", NOW.plus(40 * DAY));
    let told = done(talk.bob.take_certificate(talk.to_alice, &newer, NOW).unwrap());
    assert_eq!(told, [Notice::AddressChanged(talk.to_alice), Notice::Certified(talk.to_alice)]);
    // Its issuer is revoked: a good one from another issuer takes its place, though it ends earlier.
    let mut other = Authority::new(&mut talk.rng);
    other.root = RootKeyPair::from_state(authority.root.to_state().expose()).unwrap();
    let good = other.certify(talk.alice.identity(), b"good", NOW.plus(7 * DAY));
    let mut policy = authority.policy();
    policy.revoked.push(authority.issuer.public().id());
    talk.bob.set_policy(with(policy));
    assert_eq!(state(&talk), CertificateState::Revoked);
    done(talk.bob.take_certificate(talk.to_alice, &good, NOW).unwrap());
    assert_eq!((state(&talk), address(&talk).as_bytes()), (CertificateState::Valid, &b"good"[..]));
    // The root is trusted no longer; then nobody is, and nothing is looked at.
    let mut policy = Authority::new(&mut talk.rng).policy();
    policy.demand = CertificateDemand::Required;
    talk.bob.set_policy(with(policy));
    assert_eq!(state(&talk), CertificateState::Untrusted);
    let bundle =
        done(talk.bob.publish_prekeys(1, NOW, &mut talk.rng).unwrap()).into_entry().expect("signed").take_bundle();
    done(talk.alice.renew(talk.to_bob, &bundle, NOW, &mut talk.rng).unwrap());
    let anew = talk.from_alice(b"anew");
    let refused = OpenError::Uncertified(talk.to_alice, CertificateError::Untrusted);
    assert_eq!(talk.bob.open(&anew, NOW).unwrap_err(), refused);
    talk.bob.set_policy(Policy::default());
    assert_eq!(state(&talk), CertificateState::None);
}

/// Without a device: an introduction hands over what its author shows, unchecked.
#[test]
fn accepted_introduction_shows_the_certificate() {
    let (mut rng, lifetimes) = (rng(20), PreKeyLifetimes::default());
    let authority = Authority::new(&mut rng);
    let [alice, bob] = [(); 2].map(|()| IdentityKeyPair::generate(&mut rng));
    let certificate = authority.certify(&alice, b"alice", NOW.plus(7 * DAY));
    let mut prekeys = PreKeyStore::new();
    let mut upload =
        prekeys.publish(&bob, 2, Rotation::IfDue, &lifetimes, NOW, &mut rng).unwrap().into_entry().expect("signed");
    for shown in [None, Some(&certificate)] {
        let bundle = VerifiedPreKeyBundle::verify(upload.take_bundle(), NOW).unwrap();
        let mut session = Session::initiate(&alice, shown, &bundle, 1, &mut rng).unwrap();
        let bytes = session.seal(b"hello", Padding::default(), &mut rng).unwrap();
        let envelope = Envelope::parse(&bytes).unwrap();
        let accepted = Session::accept(&bob, &prekeys, &envelope, &lifetimes, NOW).unwrap();
        assert_eq!(accepted.certificate().map(|bytes| Certificate::decode(bytes).unwrap()).as_ref(), shown);
    }
}
