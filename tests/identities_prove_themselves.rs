//! Whoever asks for a certificate, or logs in, shows that it holds the identity; what it signs for one is good for nothing
//! else.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test is to fail loudly"
)]

use sceau::certificate::{
    Address, CertificateChallenge, CertificatePolicy, CertificateRequest, IssuerKeyPair, RootKeyPair,
};
use sceau::error::{CertificateError, CertificateRequestError, DecodeError, LoginError};
use sceau::login::Login;
use sceau::{Device, IdentityKeyPair};
use sceau_testkit::rng;
use sceau_testkit::talk::NOW;

fn address(text: &str) -> Address {
    Address::new(text.as_bytes()).unwrap()
}

fn identities<const N: usize>(seed: u64) -> [IdentityKeyPair; N] {
    let mut rng = rng(seed);
    [(); N].map(|()| IdentityKeyPair::generate(&mut rng))
}

fn issuers<const N: usize>(seed: u64) -> [IssuerKeyPair; N] {
    let mut rng = rng(seed);
    [(); N].map(|()| IssuerKeyPair::generate(&mut rng))
}

#[test]
fn identity_that_signed_the_challenge_is_certified() {
    let (mut rng, root, [issuer]) = (rng(1), RootKeyPair::generate(&mut rng(2)), issuers(3));
    let alice = Device::generate(&mut rng);
    let authority = root.certify(issuer.public(), NOW.plus(900));
    let asked = address("alice@example.org");
    let challenge = issuer.challenge(asked, NOW.plus(60), &mut rng);
    assert_eq!(
        (challenge.issuer(), *challenge.address(), challenge.not_after()),
        (issuer.public(), asked, NOW.plus(60))
    );
    // Both travel, and the issuer's server forgets nothing meanwhile.
    let bytes = challenge.encode();
    assert_eq!(bytes.len(), CertificateChallenge::LEN);
    let challenge = CertificateChallenge::decode(&bytes).unwrap();
    let request = alice.identity().request_certificate(&challenge, issuer.public(), &asked).unwrap();
    let bytes = request.encode();
    assert_eq!(bytes.len(), CertificateRequest::LEN);
    let request = CertificateRequest::decode(&bytes).unwrap();
    assert_eq!(request.identity(), alice.identity_key());
    let verified = challenge.verify(&request, NOW.plus(60)).unwrap();
    assert_eq!((verified.identity(), *verified.address()), (alice.identity_key(), asked));
    let certificate = issuer.issue(&authority, verified, NOW.plus(100)).unwrap();
    let mut policy = CertificatePolicy::default();
    policy.roots.push(root.public());
    assert_eq!(policy.check(&certificate, alice.identity_key(), NOW).unwrap().address, asked);
}

/// Mallory wants Alice's key certified under his own address.
#[test]
fn nobody_certifies_anothers_key() {
    let (mut rng, [alice, mallory], [issuer]) = (rng(4), identities(5), issuers(6));
    let his = address("mallory@example.org");
    let challenge = || issuer.challenge(his, NOW, &mut sceau_testkit::rng(7));
    let asked = |identity: &IdentityKeyPair| identity.request_certificate(&challenge(), issuer.public(), &his).unwrap();
    // He puts her key beside his own signature, or claims hers.
    let own = asked(&mallory).encode();
    let spliced = [&own[..1], &alice.public().encode(), &own[97..]].concat();
    let request = CertificateRequest::decode(&spliced).unwrap();
    assert_eq!(request.identity(), alice.public());
    assert_eq!(challenge().verify(&request, NOW), Err(CertificateRequestError::Signature));
    // Half of hers is not enough either.
    for half in [1..33, 33..65] {
        let mut spliced = own.clone();
        spliced[half.clone()].copy_from_slice(&alice.public().encode()[half.start - 1..half.end - 1]);
        let request = CertificateRequest::decode(&spliced).unwrap();
        assert_eq!(challenge().verify(&request, NOW), Err(CertificateRequestError::Signature), "{half:?}");
    }
    // He passes his challenge on to her, who asks the same issuer for her own address: she signs nothing.
    let hers = address("alice@example.org");
    let refused = alice.request_certificate(&challenge(), issuer.public(), &hers);
    assert_eq!(refused, Err(CertificateRequestError::OtherAddress));
    // He shows what she signed for her own address, or in a login.
    let for_hers = issuer.challenge(hers, NOW, &mut rng);
    let request = alice.request_certificate(&for_hers, issuer.public(), &hers).unwrap();
    assert_eq!(challenge().verify(&request, NOW), Err(CertificateRequestError::Signature));
    let login = alice.sign_login(&challenge().encode(), &[0; 32]);
    let request = CertificateRequest::decode(&login.encode()).unwrap();
    assert_eq!(challenge().verify(&request, NOW), Err(CertificateRequestError::Signature));
    // With her key and his address, only she could.
    assert!(challenge().verify(&asked(&alice), NOW).is_ok());
}

#[test]
fn request_is_good_for_one_challenge_of_one_issuer() {
    let (mut rng, [alice], [issuer, other]) = (rng(8), identities(9), issuers(10));
    let (asked, root) = (address("alice@example.org"), RootKeyPair::generate(&mut rng));
    let challenge = issuer.challenge(asked, NOW, &mut rng);
    let request = alice.request_certificate(&challenge, issuer.public(), &asked).unwrap();
    // Another issuer's challenge, though it were of the same randomness; another one of the same issuer.
    let bytes = challenge.encode();
    let same = [&bytes[..1], &other.public().0, &bytes[33..]].concat();
    for challenge in [
        other.challenge(asked, NOW, &mut rng),
        CertificateChallenge::decode(&same).unwrap(),
        issuer.challenge(asked, NOW, &mut rng),
        issuer.challenge(asked, NOW.plus(1), &mut rng),
    ] {
        assert_eq!(challenge.verify(&request, NOW), Err(CertificateRequestError::Signature));
    }
    // The device answers no issuer that it did not ask.
    let refused = alice.request_certificate(&challenge, other.public(), &asked);
    assert_eq!(refused, Err(CertificateRequestError::OtherIssuer));
    // Too late.
    let late = CertificateChallenge::decode(&bytes).unwrap();
    assert_eq!(late.verify(&request, NOW.plus(1)), Err(CertificateRequestError::Expired));
    // What one issuer has verified, another does not certify.
    let verified = challenge.verify(&request, NOW).unwrap();
    let authority = root.certify(other.public(), NOW.plus(9));
    assert_eq!(other.issue(&authority, verified, NOW).unwrap_err(), CertificateError::Untrusted);
}

#[test]
fn every_changed_bit_of_a_request_is_refused() {
    let (mut rng, [alice], [issuer]) = (rng(11), identities(12), issuers(13));
    let asked = address("alice@example.org");
    let challenge = issuer.challenge(asked, NOW, &mut rng).encode();
    let read = |bytes: &[u8]| CertificateChallenge::decode(bytes);
    let request = alice.request_certificate(&read(&challenge).unwrap(), issuer.public(), &asked).unwrap();
    let verify = |challenge: &[u8], request: &[u8]| {
        let request = CertificateRequest::decode(request).ok()?;
        read(challenge).ok()?.verify(&request, NOW).ok()
    };
    let request = request.encode();
    assert!(verify(&challenge, &request).is_some());
    let flipped = |bytes: &[u8], bit: usize| {
        let mut changed = bytes.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        changed
    };
    for bit in 0..request.len() * 8 {
        assert!(verify(&challenge, &flipped(&request, bit)).is_none(), "bit {bit} of the request");
    }
    for bit in 0..challenge.len() * 8 {
        assert!(verify(&flipped(&challenge, bit), &request).is_none(), "bit {bit} of the challenge");
    }
    for (bytes, error) in [
        (&challenge[..137], DecodeError::Truncated),
        (&[&challenge[..], &[0]].concat(), DecodeError::Trailing),
        (&[&[2], &challenge[1..]].concat(), DecodeError::Version),
    ] {
        assert_eq!(read(bytes).unwrap_err(), error);
    }
    for (bytes, error) in [
        (&request[..128], DecodeError::Truncated),
        (&[&request[..], &[0]].concat(), DecodeError::Trailing),
        (&[&[2], &request[1..]].concat(), DecodeError::Version),
    ] {
        assert_eq!(CertificateRequest::decode(bytes), Err(error));
        assert_eq!(Login::decode(bytes), Err(error));
    }
}

#[test]
fn login_is_of_one_identity_for_one_server_and_challenge() {
    let [alice, mallory] = identities(14);
    let (server, challenge) = (&b"relay.example.org"[..], [3; 32]);
    let login = Login::decode(&alice.sign_login(server, &challenge).encode()).unwrap();
    assert_eq!((login.encode().len(), login.identity()), (Login::LEN, alice.public()));
    let name = alice.fingerprint();
    assert_eq!(name.verify_login(&login, server, &challenge), Ok(()));
    assert_eq!(mallory.fingerprint().verify_login(&login, server, &challenge), Err(LoginError::OtherIdentity));
    for (server, challenge) in [
        // Passed on to another server; kept for another time; and the border between the two moved.
        (&b"relay.example.com"[..], challenge),
        (b"relay.example.or", challenge),
        (b"", challenge),
        (b"relay.example.org", [4; 32]),
        (b"\x03relay.example.org", challenge),
    ] {
        assert_eq!(name.verify_login(&login, server, &challenge), Err(LoginError::Signature));
    }
    // Mallory's signature beside Alice's key; every bit.
    let bytes = mallory.sign_login(server, &challenge).encode();
    let spliced = Login::decode(&[&bytes[..1], &alice.public().encode(), &bytes[97..]].concat()).unwrap();
    assert_eq!(name.verify_login(&spliced, server, &challenge), Err(LoginError::Signature));
    let bytes = login.encode();
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let verified = Login::decode(&changed).map(|login| name.verify_login(&login, server, &challenge));
        assert!(!matches!(verified, Ok(Ok(()))), "bit {bit}");
    }
    // What was signed for an issuer is no login.
    let mut rng = rng(15);
    let (issuer, asked) = (IssuerKeyPair::generate(&mut rng), address("alice@example.org"));
    let request = issuer.challenge(asked, NOW, &mut rng);
    let request = alice.request_certificate(&request, issuer.public(), &asked).unwrap();
    let login = Login::decode(&request.encode()).unwrap();
    assert_eq!(name.verify_login(&login, server, &challenge), Err(LoginError::Signature));
}
