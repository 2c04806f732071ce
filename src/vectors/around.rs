//! What surrounds messages: certificates, attachments, verification, the vault.

use super::core::{NOW, identity};
use super::{File, Script, Value, class, file, flipped, object, refused};
use crate::attachment;
use crate::certificate::{
    Address, Certificate, CertificateChallenge, CertificatePolicy, CertificateRequest, IssuerKeyPair, RootKeyPair,
};
use crate::identity::IdentityKeyPair;
use crate::keys::{Fingerprint, IdentityKey, UnixTime};
use crate::login::Login;
use crate::vault::Vault;
use crate::verification::{QrCode, SafetyNumber, SasInitiator, SasResponder};
use crate::wire::attachment::Attachment;
use crate::wire::certificate::IssuerCertificate;
use alloc::borrow::ToOwned;
use alloc::vec;
use alloc::vec::Vec;

pub(super) fn files() -> Vec<File> {
    vec![certificates(), proofs(), attachments(), verification(), vaults()]
}

/// A certificate, from the challenge to its issue.
pub(super) fn certify(
    issuer: &IssuerKeyPair,
    authority: &IssuerCertificate,
    identity: &IdentityKeyPair,
    address: &[u8],
    not_after: UnixTime,
    rng: &mut Script,
) -> Certificate {
    let address = Address::new(address).unwrap();
    let challenge = issuer.challenge(address, NOW, rng);
    let request = identity.request_certificate(&challenge, issuer.public(), &address).unwrap();
    issuer.issue(authority, challenge.verify(&request, NOW).unwrap(), not_after).unwrap()
}

fn certificates() -> File {
    let mut rng = Script::new("certificates");
    let (alice, shown) = identity(&mut rng);
    let root = RootKeyPair::generate(&mut rng);
    let issuer = IssuerKeyPair::generate(&mut rng);
    let draws = rng.draws();
    let issuers = root.certify(issuer.public(), NOW.plus(100));
    let certificate = certify(&issuer, &issuers, &alice, b"alice@example.org", NOW.plus(50), &mut rng);
    let nameless = certify(&issuer, &issuers, &alice, b"", NOW.plus(500), &mut rng);
    rng.draws();
    let shown_one = |name: &str, certificate: &Certificate| {
        object! {
            "name": name, "identity": shown.clone(), "root_and_issuer_draws": draws.clone(),
            "root": &root.public().0, "issuer": &issuer.public().0, "key_id": &issuer.public().id().0,
            "issuer_signed_message": &IssuerCertificate::signed_message(&issuer.public(), NOW.plus(100)),
            "signed_message": &Certificate::signed_message(
                alice.public(), &certificate.address, certificate.not_after, issuer.public().id()),
            "address": certificate.address.as_bytes(), "not_after": certificate.not_after().0,
            "certificate": &certificate.encode(),
        }
    };
    let mut policy = CertificatePolicy::default();
    policy.roots.push(root.public());
    let check = |bytes: &[u8], identity: &IdentityKey, now, policy: &CertificatePolicy| match Certificate::decode(bytes)
    {
        Err(error) => alloc::format!("Malformed {}", class(&error)),
        Ok(certificate) => {
            policy.check(&certificate, identity, now).map_or_else(|error| class(&error), |_| "good".into())
        }
    };
    let bytes = certificate.encode();
    let mut revoking = policy.clone();
    revoking.revoked.push(issuer.public().id());
    let (other, _) = identity(&mut rng);
    let mine = alice.public();
    let ideas = [
        ("past its time", bytes.clone(), mine, NOW.plus(51), &policy),
        ("its issuer's time is past", nameless.encode(), mine, NOW.plus(101), &policy),
        ("issuer revoked", bytes.clone(), mine, NOW, &revoking),
        ("no root", bytes.clone(), mine, NOW, &CertificatePolicy::default()),
        ("another identity", bytes.clone(), other.public(), NOW, &policy),
        ("address changed", flipped(&bytes, 1), mine, NOW, &policy),
        ("end changed", flipped(&bytes, 72), mine, NOW, &policy),
        ("key id changed", flipped(&bytes, 73), mine, NOW, &policy),
        ("issuer's signature changed", flipped(&bytes, 81), mine, NOW, &policy),
        ("issuer's key changed", flipped(&bytes, 145), mine, NOW, &policy),
        ("root's signature changed", flipped(&bytes, 256), mine, NOW, &policy),
        ("address longer than it can be", [&[65], &bytes[1..]].concat(), mine, NOW, &policy),
        ("padding of other bytes", flipped(&bytes, 64), mine, NOW, &policy),
        ("truncated", bytes[..256].to_vec(), mine, NOW, &policy),
    ];
    let negative = ideas.iter().map(|(idea, bytes, identity, now, policy)| {
        let input = object! {
            "certificate": bytes, "identity_key": &identity.encode(), "now": now.0,
            "roots": policy.roots.iter().map(|root| Value::from(&root.0)).collect::<Vec<_>>(),
            "revoked": policy.revoked.iter().map(|id| Value::from(&id.0)).collect::<Vec<_>>(),
        };
        refused(idea, input, &check(bytes, identity, *now, policy))
    });
    let cases = vec![shown_one("with an address", &certificate), shown_one("without", &nameless)];
    file("certificates", "10.1", cases, negative.collect())
}

/// What identities sign: requests for certificates, and logins.
fn proofs() -> File {
    let mut rng = Script::new("proofs");
    let (alice, shown) = identity(&mut rng);
    let (mallory, _) = identity(&mut rng);
    let [issuer, other] = [(); 2].map(|()| IssuerKeyPair::generate(&mut rng));
    let [address, elsewhere] = [&b"alice@example.org"[..], b"mallory@example.org"].map(|a| Address::new(a).unwrap());
    rng.draws();
    let bytes = issuer.challenge(address, NOW.plus(60), &mut rng).encode();
    let draws = rng.draws();
    // A challenge serves once: here it is read anew each time.
    let challenge = || CertificateChallenge::decode(&bytes).unwrap();
    let request = alice.request_certificate(&challenge(), issuer.public(), &address).unwrap();
    let server = b"relay.example.org";
    let server_draws: [u8; 32] = rng.draw(32).try_into().unwrap();
    let login = alice.sign_login(server, &server_draws);
    let cases = vec![
        object! {
            "name": "request for a certificate", "identity": shown.clone(), "issuer": &issuer.public().0,
            "address": address.as_bytes(), "not_after": NOW.plus(60).0, "draws": draws, "challenge": &bytes,
            "signed_message": &challenge().signed_message(alice.public()), "request": &request.encode(),
        },
        object! {
            "name": "login", "identity": shown, "server": server, "challenge": &server_draws,
            "signed_message": &Login::signed_message(alice.public(), server, &server_draws), "login": &login.encode(),
        },
    ];
    let mut negative = Vec::new();
    let made = |challenge: &CertificateChallenge, identity: &IdentityKeyPair| {
        identity.request_certificate(challenge, challenge.issuer(), challenge.address()).unwrap().encode()
    };
    let good = request.encode();
    let for_others = [
        other.challenge(address, NOW.plus(60), &mut rng),
        issuer.challenge(elsewhere, NOW.plus(60), &mut rng),
        issuer.challenge(address, NOW.plus(60), &mut rng),
    ];
    let [of_other_issuer, of_other_address, of_other_challenge] = for_others.each_ref().map(|c| made(c, &alice));
    let spliced = [&good[..1], &mallory.public().encode(), &good[65..]].concat();
    for (idea, request, now) in [
        ("answer to another issuer's challenge", of_other_issuer, NOW),
        ("answer to a challenge for another address", of_other_address, NOW),
        ("answer to another challenge", of_other_challenge, NOW),
        ("another identity beside the signature", spliced, NOW),
        ("signature changed", flipped(&good, 128), NOW),
        ("past its time", good.clone(), NOW.plus(61)),
        ("truncated", good[..128].to_vec(), NOW),
        ("other version", flipped(&good, 0), NOW),
    ] {
        let result = match CertificateRequest::decode(&request) {
            Err(error) => alloc::format!("Malformed {}", class(&error)),
            Ok(request) => class(&challenge().verify(&request, now).unwrap_err()),
        };
        let input = object! { "challenge": &bytes, "request": &request, "now": now.0 };
        negative.push(refused(idea, input, &result));
    }
    // What the device does not sign.
    for (idea, challenge) in [
        ("device: challenge of another issuer", &for_others[0]),
        ("device: challenge for another address", &for_others[1]),
    ] {
        let result = class(&alice.request_certificate(challenge, issuer.public(), &address).unwrap_err());
        let input = object! {
            "challenge": &challenge.encode(), "issuer": &issuer.public().0, "address": address.as_bytes(),

        };
        negative.push(refused(idea, input, &result));
    }
    let good = login.encode();
    let spliced = [&good[..1], &mallory.public().encode(), &good[65..]].concat();
    let mut another = server_draws;
    another[31] ^= 1;
    for (idea, login, server, challenge) in [
        ("login at another server", good.clone(), &b"relay.example.com"[..], &server_draws),
        ("login with another challenge", good.clone(), server, &another),
        ("login of another identity", spliced, server, &server_draws),
        ("login's signature changed", flipped(&good, 128), server, &server_draws),
        ("login truncated", good[..128].to_vec(), server, &server_draws),
    ] {
        let result = match Login::decode(&login) {
            Err(error) => alloc::format!("Malformed {}", class(&error)),
            Ok(login) => class(&alice.fingerprint().verify_login(&login, server, challenge).unwrap_err()),
        };
        let input = object! {
            "fingerprint": alice.fingerprint().as_bytes(), "login": &login, "server": server, "challenge": challenge,
        };
        negative.push(refused(idea, input, &result));
    }
    file("proofs", "10.1, 10.6", cases, negative)
}

fn attachments() -> File {
    let mut rng = Script::new("attachments");
    let wire = |key: &Attachment| key.to_state().expose()[1..].to_vec();
    let mut cases = Vec::new();
    for content in [Vec::new(), b"a picture".to_vec(), vec![7; 1_000]] {
        let (key, sealed) = attachment::seal(&content, &mut rng).unwrap();
        cases.push(object! {
            "content": &content, "draws": rng.draws(), "attachment": &wire(&key), "ciphertext": &sealed,
        });
    }
    // The same randomness, another content: another key.
    for content in [&b"one"[..], b"two"] {
        let mut again = Script::new("attachments, again");
        let (key, sealed) = attachment::seal(content, &mut again).unwrap();
        cases.push(object! {
            "content": content, "draws": again.draws(), "attachment": &wire(&key), "ciphertext": &sealed,
        });
    }
    // Long ones by their hashes.
    for len in [65_488_usize, 65_489, 200_000] {
        let content: Vec<u8> = (0..len).map(|i| u8::try_from(i % 251).unwrap()).collect();
        let (key, sealed) = attachment::seal(&content, &mut rng).unwrap();
        cases.push(object! {
            "content_rule": "byte i is i mod 251", "content_length": len, "draws": rng.draws(),
            "attachment": &wire(&key), "ciphertext_length": sealed.len(), "ciphertext_name": &attachment::name(&sealed),
        });
    }
    let (key, sealed) = attachment::seal(b"content", &mut rng).unwrap();
    let good = wire(&key);
    let opens = |key: &[u8], sealed: &[u8]| match Attachment::from_state(&[&[1], key].concat()) {
        Err(error) => class(&error),
        Ok(key) => attachment::open(&key, sealed).map_or_else(|error| class(&error), |_| "opened".into()),
    };
    let ideas = [
        ("another key", flipped(&good, 0), sealed.clone()),
        ("another length", flipped(&good, 39), sealed.clone()),
        ("another name", flipped(&good, 71), sealed.clone()),
        ("a length that can't be", [&good[..32], &[0xff; 8], &good[40..]].concat(), sealed.clone()),
        ("cut", good.clone(), sealed[..sealed.len() - 1].to_vec()),
        ("extended", good.clone(), [&sealed[..], &[0]].concat()),
        ("changed", good.clone(), flipped(&sealed, 5)),
    ];
    let negative = ideas.iter().map(|(idea, key, sealed)| {
        refused(idea, object! { "attachment": key, "ciphertext": sealed }, &opens(key, sealed))
    });
    file("attachments", "10.3", cases, negative.collect())
}

fn verification() -> File {
    let mut rng = Script::new("verification");
    let mut cases = Vec::new();
    let names: Vec<Fingerprint> = (0..3).map(|_| Fingerprint::from_bytes(rng.draw(32).try_into().unwrap())).collect();
    for (one, other) in [(0, 1), (1, 2), (2, 0)] {
        let (one, other) = (names[one], names[other]);
        let number = SafetyNumber::of(one, other);
        cases.push(object! {
            "name": "safety number", "one": one.as_bytes(), "other": other.as_bytes(), "digits": number.digits().as_str(),
        });
        cases.push(object! {
            "name": "qr code", "own": one.as_bytes(), "peer": other.as_bytes(), "code": &QrCode::encode(one, other),
            "text": QrCode::encode_text(one, other).as_str(),
        });
        let (run, first) = SasInitiator::begin(one, other, &mut rng);
        let (answer, second) = SasResponder::answer(other, one, &first, &mut rng).unwrap();
        let (sas, third) = run.reveal(&second).unwrap();
        assert_eq!(answer.finish(&third).unwrap(), sas);
        let pictures = sas.pictures().map(|picture| Value::from(picture.name));
        cases.push(object! {
            "name": "short authentication string", "initiator": one.as_bytes(), "responder": other.as_bytes(),
            "draws": rng.draws(), "messages": vec![Value::from(&first), Value::from(&second), Value::from(&third)],
            "digits": sas.digits().as_str(), "pictures": Vec::from(pictures),
        });
    }
    let code = QrCode::encode(names[1], names[0]);
    let scan = |code: &[u8]| class(&QrCode::check(code, names[0], names[1]).unwrap_err());
    let mut negative: Vec<Value> = [
        ("another peer", QrCode::encode(names[2], names[0])),
        ("another self", QrCode::encode(names[1], names[2])),
        ("one's own", QrCode::encode(names[0], names[1])),
        ("other version", flipped(&code, 0)),
        ("truncated", code[..64].to_vec()),
    ]
    .iter()
    .map(|(idea, code)| {
        let input = object! { "own": names[0].as_bytes(), "peer": names[1].as_bytes(), "code": code };
        refused(idea, input, &scan(code))
    })
    .collect();
    let text = QrCode::encode_text(names[1], names[0]);
    for (idea, text) in [
        ("a text in lower case", text.to_lowercase()),
        ("a text without its prefix", text[6..].into()),
        ("a text cut short", text[..109].into()),
        ("a text with padding", text.clone() + "======"),
        ("a text with a digit outside the alphabet", text[..109].to_owned() + "1"),
        ("another peer as a text", QrCode::encode_text(names[2], names[0])),
    ] {
        let result = class(&QrCode::check_text(&text, names[0], names[1]).unwrap_err());
        let input = object! { "own": names[0].as_bytes(), "peer": names[1].as_bytes(), "text": text.as_str() };
        negative.push(refused(idea, input, &result));
    }
    let (run, first) = SasInitiator::begin(names[0], names[1], &mut rng);
    let (answer, second) = SasResponder::answer(names[1], names[0], &first, &mut rng).unwrap();
    let (_, third) = run.reveal(&second).unwrap();
    let wrong = flipped(&third, 33);
    let result = class(&answer.finish(&wrong).unwrap_err());
    let input = object! {
        "initiator": names[0].as_bytes(), "responder": names[1].as_bytes(),
        "messages": vec![Value::from(&first), Value::from(&second), Value::from(&wrong)],
    };
    negative.push(refused("revealed another nonce", input, &result));
    file("verification", "10.4", cases, negative)
}

fn vaults() -> File {
    let mut rng = Script::new("vault");
    let mut cases = Vec::new();
    let key: [u8; 32] = rng.draw(32).try_into().unwrap();
    let vault = Vault::new(&key);
    for (name, generation, image) in [(&b""[..], 0, &b""[..]), (b"name", 1, b"image"), (b"name", u64::MAX, &[1; 100])] {
        let sealed = vault.seal(name, generation, image, &mut rng);
        cases.push(object! {
            "key": &key, "name": name, "generation": alloc::format!("{generation}").as_str(), "image": image,
            "draws": rng.draws(), "sealed": &sealed,
        });
    }
    // The same randomness, another image: another nonce.
    for image in [b"one", b"two"] {
        let mut again = Script::new("vault, again");
        let sealed = vault.seal(b"name", 2, image, &mut again);
        cases.push(object! {
            "key": &key, "name": b"name", "generation": "2", "image": image, "draws": again.draws(), "sealed": &sealed,
        });
    }
    let sealed = vault.seal(b"name", 7, b"image", &mut rng);
    let opens = |name: &[u8], least, sealed: &[u8]| class(&vault.open(name, least, sealed).unwrap_err());
    let ideas = [
        ("an old one", &b"name"[..], 8, sealed.clone()),
        ("another name", b"nome", 0, sealed.clone()),
        ("generation changed", b"name", 0, flipped(&sealed, 8)),
        ("nonce changed", b"name", 0, flipped(&sealed, 9)),
        ("ciphertext changed", b"name", 0, flipped(&sealed, 33)),
        ("torn", b"name", 0, sealed[..sealed.len() - 1].to_vec()),
        ("torn in front", b"name", 0, sealed[..20].to_vec()),
        ("other version", b"name", 0, flipped(&sealed, 0)),
    ];
    let negative = ideas.iter().map(|(idea, name, least, sealed)| {
        let input = object! { "key": &key, "name": *name, "least": *least, "sealed": sealed };
        refused(idea, input, &opens(name, *least, sealed))
    });
    file("vault", "10.5", cases, negative.collect())
}
