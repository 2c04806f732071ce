//! Labels, identities, prekeys, the handshake.

use super::{File, Script, Value, class, file, flipped, object, refused};
use crate::certificate::{IssuerKeyPair, RootKeyPair};
use crate::crypto::dh::DhPrivate;
use crate::crypto::{kdf, kem};
use crate::handshake::{self, IdentityKeys};
use crate::identity::IdentityKeyPair;
use crate::keys::{SessionId, UnixTime};
use crate::labels::Label;
use crate::message::Opening;
use crate::padding::Padding;
use crate::prekey::{PreKeyLifetimes, PreKeyStore, Rotation, VerifiedPreKeyBundle};
use crate::session::Session;
use crate::wire::bundle::PreKeyBundle;
use crate::wire::envelope::Envelope;
use crate::wire::introduction::{IdentityPayload, IntroductionPrefix};
use alloc::vec;
use alloc::vec::Vec;

pub(super) const NOW: UnixTime = UnixTime(1_800_000_000);

pub(super) fn files() -> Vec<File> {
    vec![labels(), identities(), prekeys(), handshakes()]
}

fn labels() -> File {
    let labels = Label::ALL.iter().map(|label| {
        let name = alloc::format!("{label:?}");
        object! { "name": name.as_str(), "bytes": label.bytes() }
    });
    let key = [7; 32];
    let primitives = object! {
        "name": "primitives",
        "H(L_FP, 616263)": &kdf::hash(Label::Fingerprint, &[b"abc"]),
        "HKDF(07*32, 616263, L_ROOT || 646566, 96)": kdf::derive::<96>(&key, &[b"abc"], Label::RootStep, b"def").expose(),
        "EXPAND(07*32, L_CHAIN, 64)": kdf::expand::<64>(&key, Label::ChainStep, &[]).expose(),
        "HMAC16(07*32, 616263)": &kdf::MacKey::new(&key).mac16(&[b"abc"]),
    };
    let padding = (0..9).map(|i| {
        let content = [0, 357, 358, 389, 1_000, 10_000, 65_536, 500_000, 1_048_293][i];
        object! { "name": "bucket", "content": content, "S": Padding::default().sealed_len(content).unwrap() }
    });
    let cases = labels.chain([primitives]).chain(padding).collect();
    let negative = vec![refused("content above the limit", 1_048_294_u32.into(), "TooLong")];
    file("labels", "1, 7", cases, negative)
}

pub(super) fn identity(rng: &mut Script) -> (IdentityKeyPair, Value) {
    let identity = IdentityKeyPair::generate(rng);
    let value = object! {
        "draws": rng.draws(),
        "identity_key": &identity.public().encode(),
        "fingerprint": identity.fingerprint().as_bytes(),
        "image": identity.to_state().expose(),
    };
    (identity, value)
}

fn identities() -> File {
    let mut rng = Script::new("identities");
    let cases: Vec<Value> = (0..3).map(|_| identity(&mut rng).1).collect();
    let image = IdentityKeyPair::generate(&mut rng).to_state();
    let image = image.expose();
    let negative = [
        ("truncated", &image[..128]),
        ("trailing byte", &[image, &[0]].concat()),
        ("other version", &[&[2], &image[1..]].concat()),
    ];
    let negative = negative.iter().map(|(idea, bytes)| {
        let error = IdentityKeyPair::from_state(bytes).unwrap_err();
        refused(idea, (*bytes).into(), &class(&error))
    });
    file("identity", "2, 8", cases, negative.collect())
}

/// Bob with prekeys.
pub(super) struct Bob {
    pub(super) identity: IdentityKeyPair,
    pub(super) prekeys: PreKeyStore,
    pub(super) bundles: Vec<PreKeyBundle>,
}

pub(super) fn bob(rng: &mut Script, one_time: usize) -> (Bob, Value) {
    let (identity, shown) = identity(rng);
    let mut prekeys = PreKeyStore::new();
    let upload = prekeys.publish(&identity, one_time, Rotation::IfDue, &PreKeyLifetimes::default(), NOW, rng).unwrap();
    let upload_bytes = upload.encode();
    let mut directory = upload.into_entry().unwrap();
    let bundles: Vec<PreKeyBundle> = (0..=one_time).map(|_| directory.take_bundle()).collect();
    let value = object! {
        "identity": shown,
        "now": NOW.0,
        "draws": rng.draws(),
        "upload": &upload_bytes,
        "bundles": bundles.iter().map(|bundle| Value::from(&bundle.encode())).collect::<Vec<_>>(),
        "store_image": prekeys.to_state().expose(),
    };
    (Bob { identity, prekeys, bundles }, value)
}

fn prekeys() -> File {
    let mut rng = Script::new("prekeys");
    let (bob, value) = bob(&mut rng, 2);
    let bytes = bob.bundles[0].encode();
    let owner = bob.identity.fingerprint();
    let signed = &bob.bundles[0].signed;
    let signed = object! {
        "name": "signed prekey",
        "fields": &signed.fields.encode(),
        "signed_message": &signed.fields.signed_message(Label::SignedPreKey, &owner),
        "signature": &signed.signature.0,
    };
    let verify = |bytes: &[u8], now: UnixTime| match PreKeyBundle::decode(bytes) {
        Err(error) => alloc::format!("Malformed {}", class(&error)),
        Ok(bundle) => class(&VerifiedPreKeyBundle::verify(bundle, now).unwrap_err()),
    };
    let ideas: [(&str, Vec<u8>, UnixTime); 14] = [
        ("empty", Vec::new(), NOW),
        ("truncated", bytes[..bytes.len() - 1].to_vec(), NOW),
        ("trailing byte", [&bytes[..], &[0]].concat(), NOW),
        ("version 0", flipped(&bytes, 0), NOW),
        ("flag 2", [&bytes[..3341], &[2], &bytes[3342..]].concat(), NOW),
        ("flag 0 with a one-time prekey behind it", flipped(&bytes, 3341), NOW),
        ("prekey id 0", [&bytes[..1665], &[0; 4], &bytes[1669..]].concat(), NOW),
        ("another identity", flipped(&bytes, 1), NOW),
        ("the KEM key that the identity names changed", flipped(&bytes, 96), NOW),
        ("the identity's KEM key changed", flipped(&bytes, 97), NOW),
        ("signed prekey's X25519 key changed", flipped(&bytes, 1669), NOW),
        ("signed prekey's end changed", flipped(&bytes, 3276), NOW),
        ("one-time prekey's signature changed", flipped(&bytes, bytes.len() - 1), NOW),
        ("past its time", bytes.clone(), NOW.plus(31 * 86_400)),
    ];
    let mut negative: Vec<Value> = ideas
        .iter()
        .map(|(idea, bytes, now)| refused(idea, object! { "bundle": bytes, "now": now.0 }, &verify(bytes, *now)))
        .collect();
    // Signed, but no valid encapsulation key: a coefficient above q.
    let mut bundle = bob.bundles[2].clone();
    bundle.signed.fields.kem.fill(0xff);
    bundle.signed.signature = bob.identity.sign(&bundle.signed.fields.signed_message(Label::SignedPreKey, &owner));
    let bytes = bundle.encode();
    negative.push(refused(
        "encapsulation key out of range",
        object! { "bundle": &bytes, "now": NOW.0 },
        &verify(&bytes, NOW),
    ));
    file("prekeys", "3", vec![value, signed], negative)
}

fn handshakes() -> File {
    let mut cases = Vec::new();
    let mut negative = Vec::new();
    for (name, one_time, certified) in
        [("with a one-time prekey", true, false), ("without", false, false), ("with a certificate", true, true)]
    {
        let mut rng = Script::new(name);
        let (bob, shown) = bob(&mut rng, 1);
        let (alice, alices) = identity(&mut rng);
        let bundle = VerifiedPreKeyBundle::verify(bob.bundles[usize::from(!one_time)].clone(), NOW).unwrap();
        let certificate = certified.then(|| {
            let (root, issuer) = (RootKeyPair::generate(&mut rng), IssuerKeyPair::generate(&mut rng));
            let certified = root.certify(issuer.public(), NOW.plus(100));
            super::around::certify(&issuer, &certified, &alice, b"alice@example.org", NOW.plus(50), &mut rng)
        });
        rng.draws();
        let created_at = NOW.0;
        let initiated =
            handshake::initiate(&alice, certificate.as_ref(), &bundle, created_at, [None; 2], &mut rng).unwrap();
        let draws = ::core::mem::take(&mut rng.drawn);
        let payload = IdentityPayload {
            identity: *alice.public(),
            created_at,
            continuity: [[0; 8]; 2],
            certificate: certificate.as_ref().map(crate::certificate::Certificate::encode_in_place),
        }
        .encode();
        let random: &[u8; 64] = draws[0].as_slice().try_into().unwrap();
        let random = handshake::Randomness::derive(&alice, &bundle, &payload, random);
        // The same randomness, another introduction.
        let later = IdentityPayload {
            identity: *alice.public(),
            created_at: created_at + 1,
            continuity: [[0; 8]; 2],
            certificate: certificate.as_ref().map(crate::certificate::Certificate::encode_in_place),
        }
        .encode();
        let drawn: &[u8; 64] = draws[0].as_slice().try_into().unwrap();
        let later = handshake::Randomness::derive(&alice, &bundle, &later, drawn);
        let ephemeral = DhPrivate::from_bytes(random.ephemeral.expose());
        let (signed, opk) = (&bundle.signed().fields, bundle.one_time().map(|one_time| &one_time.fields));
        let dh1 = ephemeral.agree(&bundle.identity().dh().point()).unwrap();
        let dh2 = ephemeral.agree(&signed.dh.point()).unwrap();
        let dh3 = opk.map(|fields| ephemeral.agree(&fields.dh.point()).unwrap());
        let kem_key = opk.map_or(&signed.kem, |fields| &fields.kem);
        let encapsulated = kem::encapsulate_with(kem_key, random.encapsulation.expose());
        let to_identity = kem::encapsulate_with(bundle.kem(), random.identity_encapsulation.expose());
        let public = crate::keys::DhPublic(ephemeral.public());
        let ciphertexts = [encapsulated.ciphertext.as_slice(), to_identity.ciphertext.as_slice()];
        let th1 = handshake::transcript(bundle.identity(), signed, opk, &public, ciphertexts);
        let shared = [&encapsulated.secret, &to_identity.secret];
        let keys = IdentityKeys::derive(&th1, &dh1, &dh2, dh3.as_ref(), shared);
        let dh4 = alice.agree(&signed.dh.point()).unwrap();
        let prefix = IntroductionPrefix::parse(&initiated.prefix).unwrap();
        let th2 = kdf::hash(Label::HandshakeFinal, &[&th1, prefix.encrypted_identity]);
        assert_eq!(th2, initiated.transcript);
        let secrets = &initiated.secrets;
        let exported: Vec<Value> = [&b""[..], b"call", &[7; 300]]
            .map(|context| {
                let parts: [&[u8]; 2] = [&secrets.context, context];
                let key = kdf::expand_parts::<32>(secrets.exporter.expose(), Label::Exporter, parts);
                object! { "context": context, "key": key.expose() }
            })
            .into();
        cases.push(object! {
            "name": name,
            "bob": shown,
            "alice": alices,
            "bundle": &bundle.bundle().encode(),
            "certificate": certificate.map_or(Value::from("none"), |certificate| Value::from(&certificate.encode())),
            "created_at": created_at,
            "random": &draws[0],
            "e": random.ephemeral.expose(),
            "E": &public.0,
            "encapsulation_m": random.encapsulation.expose(),
            "identity_encapsulation_m": random.identity_encapsulation.expose(),
            "a_second_later": object! { "e": later.ephemeral.expose(), "encapsulation_m": later.encapsulation.expose() },
            "dh1": dh1.expose(), "dh2": dh2.expose(),
            "dh3": dh3.as_ref().map_or(Value::from("none"), |dh3| Value::from(dh3.expose())),
            "ct": &*encapsulated.ciphertext,
            "ss": encapsulated.secret.expose(),
            "ct_id": &*to_identity.ciphertext,
            "ss_id": to_identity.secret.expose(),
            "th1": &th1,
            "k_id": keys.identity_key.expose(), "k_next": keys.next.expose(),
            "identity_payload": payload.as_slice(),
            "c_id": prefix.encrypted_identity,
            "dh4": dh4.expose(),
            "th2": &th2,
            "rk0": secrets.root_key.expose(), "header_a": secrets.initiator_header.expose(), "header_b": secrets.responder_header.expose(),
            "exporter": secrets.exporter.expose(),
            "exported": exported,
            "context": &secrets.context,
            "prefix": &*initiated.prefix,
            "session_id": SessionId::derive(&secrets.context).as_bytes(),
            "introduction_id": &prefix.id().0,
        });
        if one_time && !certified {
            negative = introductions(&bob, &alice, &bundle, &mut rng);
        }
    }
    file("handshake", "4", cases, negative)
}

/// Introductions that Bob refuses. Each input is an envelope; Bob is the one of the first case.
fn introductions(bob: &Bob, alice: &IdentityKeyPair, bundle: &VerifiedPreKeyBundle, rng: &mut Script) -> Vec<Value> {
    let envelope = |identity: &IdentityKeyPair, created_at, rng: &mut Script| {
        let mut session = Session::initiate(identity, None, bundle, created_at, rng).unwrap();
        session.seal(b"hello", Padding::default(), rng).unwrap()
    };
    let good = envelope(alice, 5, rng);
    let accept = |bytes: &[u8]| match Envelope::parse(bytes) {
        Err(error) => alloc::format!("Malformed {}", class(&error)),
        Ok(parsed) => {
            let _ = Opening::new(&parsed);
            let accepted = Session::accept(&bob.identity, &bob.prekeys, &parsed, &PreKeyLifetimes::default(), NOW);
            accepted.map_or_else(|error| class(&error), |_| "accepted".into())
        }
    };
    assert_eq!(accept(&good), "accepted");
    let low_order = [&good[..2], &[0; 32], &good[34..]].concat();
    let own = envelope(&bob.identity, 5, rng);
    let ideas: [(&str, Vec<u8>); 15] = [
        ("version 2", [&[2], &good[1..]].concat()),
        ("kind 3", [&good[..1], &[3], &good[2..]].concat()),
        ("truncated to no bucket", good[..good.len() - 1].to_vec()),
        ("signed prekey id 0", [&good[..34], &[0; 4], &good[38..]].concat()),
        ("unknown signed prekey", flipped(&good, 37)),
        ("unknown one-time prekey", flipped(&good, 41)),
        ("one-time prekey left out", [&good[..38], &[0; 4], &good[42..]].concat()),
        ("ephemeral key of low order", low_order),
        ("ephemeral key changed", flipped(&good, 2)),
        ("KEM ciphertext changed", flipped(&good, 42)),
        ("KEM ciphertext for the identity changed", flipped(&good, 1610)),
        ("encrypted identity changed", flipped(&good, 3178)),
        ("tag changed", flipped(&good, 3572)),
        ("body changed", flipped(&good, good.len() - 1)),
        ("Bob's own identity", own),
    ];
    ideas.iter().map(|(idea, bytes)| refused(idea, bytes.into(), &accept(bytes))).collect()
}
