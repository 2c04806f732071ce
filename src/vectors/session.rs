//! Chains, sealed messages, root steps, whole sessions, the KEM ratchet.

use super::core::{Bob, NOW, bob, identity};
use super::{File, Script, Value, class, file, flipped, object, refused};
use crate::codec::Reader;
use crate::crypto::aead;
use crate::crypto::kem::KemSeed;
use crate::identity::IdentityKeyPair;
use crate::keys::Fingerprint;
use crate::message::{Opening, Outbound, Sealing};
use crate::padding::Padding;
use crate::prekey::{PreKeyLifetimes, VerifiedPreKeyBundle};
use crate::ratchet::{ChainKeys, kdf_ck, kdf_rk, trace};
use crate::secret::Secret;
use crate::session::Session;
use crate::wire::envelope::Envelope;
use crate::wire::payload::PayloadKind;
use crate::wire::sealed::Header;
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;

pub(super) fn files() -> Vec<File> {
    vec![chains(), messages(), roots(), transcript("session", 60, 0), kem(), transcript("kem_transcript", 50, 2_048)]
}

fn chains() -> File {
    let mut rng = Script::new("chains");
    let cases = (0..3).map(|_| {
        let [hs, ck, context]: [[u8; 32]; 3] = [(); 3].map(|()| rng.draw(32).try_into().unwrap());
        let keys = ChainKeys::derive(&hs, &context);
        let mut at = ck;
        let steps = (0..3_u32).map(|n| {
            let (mut next, mut message_key) = ([0; 32], [0; 32]);
            kdf_ck(&at, &mut next, &mut message_key);
            at = next;
            object! { "n": n, "mk": &message_key, "ck_next": &next, "tag": &keys.tag(n).0 }
        });
        let steps: Vec<Value> = steps.collect();
        object! {
            "header_secret": &hs, "ck": &ck, "context": &context,
            "hk": keys.header_key(),
            "steps": steps,
            "tag_65536": &keys.tag(65_536).0,
            "mailbox": keys.mailbox().as_bytes(),
        }
    });
    file("chains", "5, 10.2", cases.collect(), Vec::new())
}

/// Sealed messages under given keys, every value on the way.
fn messages() -> File {
    let mut rng = Script::new("messages");
    let mut cases = Vec::new();
    let mut negative = Vec::new();
    let mut kept = None;
    for content in [&b""[..], b"Bonjour", &[0xab; 357], &[0xcd; 1_000], b"Bonsoir"] {
        let mut drawn: ([[u8; 32]; 4], [u8; 12]) =
            ([(); 4].map(|()| rng.draw(32).try_into().unwrap()), rng.draw(12).try_into().unwrap());
        // All but the content as once before: the nonce is another one.
        match content {
            b"Bonjour" => kept = Some(drawn),
            b"Bonsoir" => drawn = kept.unwrap(),
            _ => {}
        }
        let ([hs, mk, context, ratchet_key], randomness) = drawn;
        let keys = ChainKeys::derive(&hs, &context);
        let header = Header {
            ratchet_key: crate::keys::DhPublic(ratchet_key),
            previous_chain_len: 3,
            n: 5,
            kem_epoch: 1,
            nonce: [0; 12],
        };
        let sealing = Sealing {
            message_key: &mk,
            header_key: keys.header_key(),
            body_context: &context,
            header_context: &context,
            tag: keys.tag(5),
            header: header.encode(),
            randomness: Some(randomness),
            prefix: None,
        };
        let len = Padding::default().sealed_len(content.len()).unwrap();
        let envelope = sealing.envelope(Vec::new(), len, PayloadKind::Application, content, &&[0][..]).unwrap();
        let parsed = Envelope::parse(&envelope).unwrap();
        let opening = Opening::new(&parsed);
        let opened = opening.header(keys.header_key(), &context).unwrap();
        let nonce = Reader::whole(&opened, Header::read).unwrap().nonce;
        let body = opening.body(&mk, &context, &opened, &nonce).unwrap();
        cases.push(object! {
            "header_secret": &hs, "mk": &mk, "context": &context, "randomness": &randomness, "nonce": &nonce,
            "hk": keys.header_key(),
            "tag": &keys.tag(5).0,
            "header": &opened,
            "content": content,
            "body_plaintext": body.as_slice(),
            "envelope": &envelope,
        });
        if content == b"Bonjour" {
            let opens = |bytes: &[u8]| {
                let Ok(parsed) = Envelope::parse(bytes) else { return "Malformed" };
                let opening = Opening::new(&parsed);
                let header = opening.header(keys.header_key(), &context);
                let Some(header) = header.filter(|_| opening.tag() == &keys.tag(5)) else { return "Rejected" };
                let nonce = Reader::whole(&header, Header::read).unwrap().nonce;
                if opening.body(&mk, &context, &header, &nonce).is_some() { "opened" } else { "Diverged" }
            };
            assert_eq!(opens(&envelope), "opened");
            for (idea, bytes) in [
                ("version changed", flipped(&envelope, 0)),
                ("kind of an introduction", [&envelope[..1], &[1], &envelope[2..]].concat()),
                ("tag changed", flipped(&envelope, 2)),
                ("header changed", flipped(&envelope, 18)),
                ("header's MAC changed", flipped(&envelope, 89)),
                ("body changed", flipped(&envelope, 90)),
                ("body's MAC changed", flipped(&envelope, envelope.len() - 1)),
                ("one byte short", envelope[..envelope.len() - 1].to_vec()),
                ("one byte long", [&envelope[..], &[0]].concat()),
                ("a Padme length too short for a message", envelope[..608].to_vec()),
            ] {
                let input = object! { "case": 1_u32, "envelope": &bytes };
                negative.push(refused(idea, input, opens(&bytes)));
            }
        }
    }
    negative.extend(payloads(&mut rng));
    file("messages", "5, 7", cases, negative)
}

/// Bodies that open and are not payloads. They are given as plaintexts, the 32 zeros included.
fn payloads(rng: &mut Script) -> Vec<Value> {
    let mut plain = vec![0; 534];
    plain[32] = 1;
    plain[36] = 7;
    plain[37..44].copy_from_slice(b"Bonjour");
    let read = |bytes: &[u8]| crate::wire::payload::Payload::decode(bytes).map(|_| ());
    assert!(read(&plain).is_ok());
    let with = |place: usize, value: u8| {
        let mut changed = plain.clone();
        changed[place] = value;
        changed
    };
    let _ = rng;
    [
        ("commitment of other bytes", with(0, 1)),
        ("commitment's last byte", with(31, 1)),
        ("kind 0", with(32, 0)),
        ("kind 8", with(32, 8)),
        ("content longer than the body", with(35, 4)),
        ("content length above the limit", with(33, 1)),
        ("padding of other bytes", with(533, 1)),
    ]
    .into_iter()
    .map(|(idea, bytes)| {
        assert!(read(&bytes).is_err(), "{idea}");
        refused(idea, object! { "payload": &bytes }, "Violation")
    })
    .collect()
}

fn roots() -> File {
    let mut rng = Script::new("roots");
    let mut cases = Vec::new();
    for mixed in [false, true, false, true] {
        let [rk, dh, context]: [[u8; 32]; 3] = [(); 3].map(|()| rng.draw(32).try_into().unwrap());
        let pq: Option<[u8; 64]> = mixed.then(|| rng.draw(64).try_into().unwrap());
        let step = kdf_rk(&rk, &Secret::new(&dh), pq.as_ref().map(Secret::new).as_ref(), &context);
        cases.push(object! {
            "rk": &rk, "dh": &dh, "context": &context,
            "pq": pq.as_ref().map_or(Value::from("none"), Value::from),
            "rk_next": step.root_key.expose(), "ck": step.chain_key.expose(), "hs_next": step.next_header_secret.expose(),
        });
    }
    file("roots", "6", cases, Vec::new())
}

struct Side {
    session: Session,
    rng: Script,
}

impl Side {
    fn seal(&mut self, content: &[u8], padding: Padding) -> (Vec<u8>, Value) {
        self.rng.draws();
        let message = Outbound { kind: PayloadKind::Application, content };
        let mut sealed = self.session.plan_seal(message, padding, &mut self.rng).unwrap();
        self.session.swap_seal(&mut sealed.step);
        let value = object! {
            "content": content,
            "draws": self.rng.draws(),
            "mk": &*sealed.message_key,
            "envelope": &sealed.envelope,
            "state_after": self.session.trace(),
        };
        (sealed.envelope, value)
    }
}

/// A whole session of Alice and Bob: lost, late and skipped messages, turns, KEM secrets; every state.
fn transcript(name: &'static str, steps: u32, smallest: usize) -> File {
    let mut rng = Script::new(name);
    let padding = Padding::with_smallest(smallest);
    let (Bob { identity: bobs, mut prekeys, bundles }, shown) = bob(&mut rng, 1);
    let (alices, alice) = identity(&mut rng);
    let bundle = VerifiedPreKeyBundle::verify(bundles[0].clone(), NOW).unwrap();
    let to_bob = Session::initiate(&alices, None, &bundle, NOW.0, &mut rng).unwrap();
    let initiation = object! {
        "bob": shown, "alice": alice, "bundle": &bundles[0].encode(), "created_at": NOW.0,
        "draws": rng.draws(), "state": to_bob.trace(),
    };
    let mut sides = [Some(Side { session: to_bob, rng: Script::new("alice") }), None];
    let mut in_flight: VecDeque<(usize, Vec<u8>)> = VecDeque::new();
    let mut events = Vec::new();
    for number in 0..steps {
        let choice = rng.draw(2);
        let by = usize::from(choice[0] & 1);
        let Some(side) = &mut sides[by] else {
            // Bob has heard nothing yet.
            let (envelope, event) = sides[0].as_mut().unwrap().seal(b"first", padding);
            let parsed = Envelope::parse(&envelope).unwrap();
            let accepted = Session::accept(&bobs, &prekeys, &parsed, &PreKeyLifetimes::default(), NOW).unwrap();
            let (session, opened) = accepted.settle(&mut prekeys).unwrap();
            assert!(format_is(&opened.content, b"first"));
            events.push(object! { "step": number, "by": "alice", "seal": event });
            events.push(object! { "step": number, "by": "bob", "accept": &envelope, "state_after": session.trace() });
            sides[1] = Some(Side { session, rng: Script::new("bob") });
            continue;
        };
        let content = number.to_be_bytes();
        let (envelope, event) = side.seal(&content, padding);
        events.push(object! { "step": number, "by": ["alice", "bob"][by], "seal": event });
        in_flight.push_back((1 - by, envelope));
        // One in eight is lost; most come in order, some late.
        if choice[1].is_multiple_of(8) {
            in_flight.pop_front();
        }
        while in_flight.len() > usize::from(choice[1] >> 4) % 4 {
            let place = if choice[1] & 8 == 0 { 0 } else { in_flight.len() - 1 };
            let (to, bytes) = in_flight.remove(place).unwrap();
            let Some(side) = &mut sides[to] else { continue };
            let opened = side.session.open(&Envelope::parse(&bytes).unwrap(), NOW).unwrap();
            let crate::session::Content::Message(content) = opened.content else { panic!() };
            events.push(object! {
                "step": number, "by": ["alice", "bob"][to], "open": &bytes, "content": &content,
                "state_after": side.session.trace(),
            });
        }
    }
    let negative = replays(sides.map(|side| side.unwrap().session), &bobs, &events);
    file(name, "4, 5, 6", vec![object! { "initiation": initiation, "events": events }], negative)
}

fn format_is(content: &crate::session::Content, expected: &[u8]) -> bool {
    matches!(content, crate::session::Content::Message(content) if content == expected)
}

/// What the sides refuse after the last event.
fn replays(mut sides: [Session; 2], _: &IdentityKeyPair, events: &[Value]) -> Vec<Value> {
    let opened: Vec<(&str, Vec<u8>)> = events
        .iter()
        .filter_map(|event| {
            let Value::Object(fields) = event else { return None };
            let text = |name: &str| {
                fields.iter().find(|(field, _)| field == name).and_then(|(_, value)| match value {
                    Value::Text(text) => Some(text.as_str()),
                    _ => None,
                })
            };
            let bytes = text("open")?;
            let bytes = (0..bytes.len() / 2).map(|i| u8::from_str_radix(&bytes[2 * i..2 * i + 2], 16).unwrap());
            Some((text("by")?, bytes.collect()))
        })
        .collect();
    let (by, last) = opened.last().unwrap();
    let side = usize::from(*by == "bob");
    let mut negative = Vec::new();
    let mut refuse = |idea: &str, to: usize, bytes: &[u8]| {
        let refused_by = ["alice", "bob"][to];
        let result = match Envelope::parse(bytes) {
            Err(_) => "Malformed".into(),
            Ok(parsed) => class(&sides[to].open(&parsed, NOW).unwrap_err()),
        };
        negative.push(refused(idea, object! { "by": refused_by, "envelope": bytes }, &result));
    };
    refuse("opened before", side, last);
    refuse("one's own message", 1 - side, last);
    refuse("nobody's tag", side, &flipped(last, 3));
    negative
}

/// Keys, ciphertexts, ids and symbols.
fn kem() -> File {
    let mut rng = Script::new("kem");
    let mut cases = Vec::new();
    for _ in 0..2 {
        let seed = KemSeed::generate(&mut rng);
        let pair = seed.expand();
        let encapsulated = crate::crypto::kem::encapsulate(pair.public(), &mut rng);
        let (ct, ss) = (*encapsulated.ciphertext, encapsulated.secret.expose());
        let (offer, answer) = trace::kem_ids(pair.public(), &ct);
        let owner = Fingerprint::from_bytes(rng.draw(32).try_into().unwrap());
        let pq = |owner| trace::kem_mix(&encapsulated.secret, owner, pair.public(), &ct);
        let symbols = trace::symbols(pair.public());
        let shown = [0, 1, 48, 49, 50, 100, 200, 254, 255].map(|index: usize| {
            object! { "index": index, "symbol": &symbols[index] }
        });
        let mut other = ct;
        other[7] ^= 1;
        cases.push(object! {
            "draws": rng.draws(),
            "ek": pair.public(), "ct": &ct, "ss": ss,
            "implicit_rejection": object! { "ct": &other, "ss": pair.decapsulate(&other).expose() },
            "offer_id": &offer, "answer_id": &answer, "pq": &pq(None),
            "initiator": owner.as_bytes(), "pq_of_identity": &pq(Some(&owner)),
            "symbols_of_ek": Vec::from(shown),
        });
    }
    // Equal for all: the AEAD, and the comparison of the commitment, take nothing else.
    assert!(aead::equal(&[], &[]));
    file("kem", "6.1", cases, vec![refused("encapsulation key out of range", Value::from(&[0xff; 1568]), "Key")])
}
