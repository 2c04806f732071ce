//! Whole devices, step by step: ranks, sessions that fade and end, continuity, certificates, what can't be read.

use super::core::NOW;
use super::{File, Script, Value, class, file, object, refused};
use crate::certificate::{IssuerKeyPair, RootKey, RootKeyPair};
use crate::device::{Device, Event, Notice, Opened, Pending, Record, RecordKey, Unreadable};
use crate::keys::{Fingerprint, UnixTime};
use crate::padding::Padding;
use crate::prekey::VerifiedPreKeyBundle;
use crate::session::Session;
use crate::wire::bundle::PreKeyBundle;
use crate::wire::introduction::{IDENTITY_PAYLOAD_LEN, IdentityPayload};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

mod refusals;

use refusals::{diverged, introductions};

const ALICE: usize = 0;
const BOB: usize = 1;
const NAMES: [&str; 2] = ["alice", "bob"];

pub(super) fn files() -> Vec<File> {
    let mut cases = Vec::new();
    let mut negative = Vec::new();
    let scenes: [fn() -> Scene; 10] =
        [crossing, outranked, fading, ended, heard, continuity, certificates, fragments, diverged, introductions];
    for (number, scene) in scenes.iter().map(|play| play()).enumerate() {
        for (idea, by, envelope) in &scene.refused {
            let result = match scene.devices[*by].preview(envelope, scene.now) {
                Err(error) => class(&error),
                Ok(Opened { event: Event::Unreadable { why, .. }, .. }) => alloc::format!("Unreadable {}", class(&why)),
                Ok(_) => "opened".into(),
            };
            let input = object! { "case": number, "by": NAMES[*by], "envelope": envelope };
            negative.push(refused(idea, input, &result));
        }
        cases.push(object! { "name": scene.name, "now": scene.now.0, "devices": scene.shown, "steps": scene.steps });
    }
    vec![file("devices", "4, 5, 6.1, 7, 10.1", cases, negative)]
}

type Records = Vec<(RecordKey, Vec<u8>)>;

/// Two devices, and what they have done.
struct Scene {
    name: &'static str,
    devices: [Device; 2],
    rngs: [Script; 2],
    now: UnixTime,
    shown: Value,
    steps: Vec<Value>,
    kept: BTreeMap<(usize, &'static str), Records>,
    refused: Vec<(&'static str, usize, Vec<u8>)>,
}

impl Scene {
    fn new(name: &'static str) -> Self {
        let mut rngs = ["alice", "bob"].map(|of| Script::new(alloc::format!("{name}, {of}")));
        let devices = [ALICE, BOB].map(|by| Device::generate(&mut rngs[by]));
        let mut shown = Vec::new();
        for by in [ALICE, BOB] {
            let name = devices[by].fingerprint();
            shown.push((NAMES[by].into(), object! { "draws": rngs[by].draws(), "fingerprint": name.as_bytes() }));
        }
        let (steps, kept, refused) = (Vec::new(), BTreeMap::new(), Vec::new());
        Self { name, devices, rngs, now: NOW, shown: Value::Object(shown), steps, kept, refused }
    }

    /// Alice has introduced herself, and Bob has answered.
    fn answered(name: &'static str) -> Self {
        let mut scene = Self::new(name);
        scene.meet(ALICE);
        scene.send(ALICE, b"Bonjour");
        scene.send(BOB, b"Salut");
        scene
    }

    fn name_of(&self, by: usize) -> Fingerprint {
        self.devices[by].fingerprint()
    }

    fn step(&mut self, by: usize, what: &str, fields: Value) {
        let Value::Object(fields) = fields else { panic!("fields") };
        let mut step = vec![("by".into(), NAMES[by].into()), ("do".into(), what.into())];
        step.extend(fields);
        self.steps.push(Value::Object(step));
    }

    fn publish(&mut self, by: usize) -> PreKeyBundle {
        let pending = self.devices[by].publish_prekeys(0, self.now, &mut self.rngs[by]).unwrap();
        let upload = done(pending);
        let draws = self.rngs[by].draws();
        self.step(by, "publish", object! { "count": 0_u32, "draws": draws, "upload": &upload.encode() });
        upload.into_entry().unwrap().take_bundle()
    }

    /// `by` can write to the other.
    fn meet(&mut self, by: usize) {
        let bundle = self.publish(1 - by);
        done(self.devices[by].add_peer(&bundle, self.now).unwrap());
        self.step(by, "add", object! { "bundle": &bundle.encode() });
    }

    fn renew(&mut self, by: usize) {
        let (bundle, peer) = (self.publish(1 - by), self.name_of(1 - by));
        done(self.devices[by].renew(peer, &bundle, self.now, &mut self.rngs[by]).unwrap());
        let draws = self.rngs[by].draws();
        self.step(by, "renew", object! { "bundle": &bundle.encode(), "draws": draws });
    }

    fn seal(&mut self, by: usize, content: &[u8]) -> Vec<u8> {
        let peer = self.name_of(1 - by);
        let sealed = done(self.devices[by].seal(peer, content, self.now, &mut self.rngs[by]).unwrap());
        let draws = self.rngs[by].draws();
        self.step(by, "seal", object! { "content": content, "draws": draws, "envelope": &sealed.envelope });
        sealed.envelope
    }

    fn open(&mut self, by: usize, envelope: &[u8]) {
        let (event, content, mut follows) = match self.devices[by].open(envelope, self.now) {
            Err(error) => (class(&error), Value::from("none"), Vec::new()),
            Ok(pending) => {
                let Opened { event, notices } = done(pending);
                let follows: Vec<String> = notices.iter().filter(|notice| is_shown(notice)).map(|n| class(n)).collect();
                match event {
                    Event::Message { content, .. } => ("Message".into(), Value::from(&content), follows),
                    Event::Unreadable { why, .. } => (unreadable(why), Value::from("none"), follows),
                    event => (class(&event), Value::from("none"), follows),
                }
            }
        };
        follows.sort();
        let follows: Vec<Value> = follows.iter().map(|name| Value::from(name.as_str())).collect();
        let fields = object! { "envelope": envelope, "event": event.as_str(), "content": content, "follows": follows };
        self.step(by, "open", fields);
    }

    fn send(&mut self, by: usize, content: &[u8]) {
        let envelope = self.seal(by, content);
        self.open(1 - by, &envelope);
    }

    fn owed(&mut self, by: usize) -> Vec<Vec<u8>> {
        let ids: Vec<_> = self.devices[by].owed(self.now).map(|(id, _)| id).collect();
        let mut sealed = Vec::new();
        for id in ids {
            sealed.push(done(self.devices[by].seal_owed(id, self.now, &mut self.rngs[by]).unwrap()).envelope);
        }
        let draws = self.rngs[by].draws();
        let shown: Vec<Value> = sealed.iter().map(Value::from).collect();
        self.step(by, "owed", object! { "draws": draws, "envelopes": shown });
        sealed
    }

    fn keep(&mut self, by: usize, name: &'static str) {
        let records = self.devices[by].records();
        let records = records.iter().filter_map(|record| match record {
            Record::Put(key, bytes) => Some((key, bytes.to_vec())),
            Record::Delete(_) => None,
        });
        self.kept.insert((by, name), records.collect());
        self.step(by, "keep", object! { "as": name });
    }

    fn fall_back(&mut self, by: usize, name: &'static str) {
        let policy = self.devices[by].policy().clone();
        let records = self.kept[&(by, name)].iter().map(|(key, bytes)| (*key, bytes));
        self.devices[by] = Device::restore(records, policy).unwrap();
        self.step(by, "fall back", object! { "to": name });
    }

    /// A copy of the session that is sent on.
    fn session(&self, by: usize) -> Session {
        self.devices[by].session_copy(self.name_of(1 - by)).unwrap()
    }

    fn refuses(&mut self, idea: &'static str, by: usize, envelope: Vec<u8>) {
        self.refused.push((idea, by, envelope));
    }
}

fn unreadable(why: Unreadable) -> String {
    alloc::format!("Unreadable {}", class(&why))
}

fn is_shown(notice: &Notice) -> bool {
    matches!(
        notice,
        Notice::Displaced { .. }
            | Notice::IntroducedBeside { .. }
            | Notice::Renewed(_)
            | Notice::Ended(_)
            | Notice::Certified(_)
            | Notice::CertificateRefused(..)
            | Notice::RenewalDue(_)
            | Notice::BadFragment(_)
    )
}

/// Commits without storing.
fn done<T>(pending: Pending<'_, T>) -> T {
    let Ok(value) = pending.commit(|_| Ok::<(), ::core::convert::Infallible>(()));
    value
}

/// Both introduce themselves at once: the same rank in time, so that the smaller th2 is sent on.
fn crossing() -> Scene {
    let mut scene = Scene::new("crossing introductions");
    scene.meet(ALICE);
    scene.meet(BOB);
    let from = [scene.seal(ALICE, b"from Alice"), scene.seal(BOB, b"from Bob")];
    scene.open(BOB, &from[ALICE]);
    scene.open(ALICE, &from[BOB]);
    for by in [ALICE, BOB, ALICE] {
        scene.send(by, b"on the better one");
        scene.owed(BOB);
        scene.owed(ALICE);
    }
    scene
}

/// Alice falls back to before she has introduced herself anew; Bob tells her the rank, and she does so above it.
fn outranked() -> Scene {
    let mut scene = Scene::answered("an outranked session");
    scene.keep(ALICE, "before");
    scene.renew(ALICE);
    scene.send(ALICE, b"anew");
    scene.send(BOB, b"answered");
    scene.fall_back(ALICE, "before");
    scene.send(ALICE, b"on the old one");
    for envelope in scene.owed(BOB) {
        scene.open(ALICE, &envelope);
    }
    scene.send(BOB, b"on the better one");
    scene.meet(ALICE);
    scene.send(ALICE, b"above it");
    scene.send(BOB, b"heard");
    scene
}

/// Five renewals: of the sessions before, four go on receiving, and the fifth is gone.
fn fading() -> Scene {
    let mut scene = Scene::answered("sessions that fade");
    let mut late = Vec::new();
    let mut before = None;
    for _ in 0..5 {
        late.push(scene.seal(ALICE, b"late"));
        before = Some(scene.session(ALICE));
        scene.renew(ALICE);
        scene.send(ALICE, b"anew");
        scene.send(BOB, b"answered");
    }
    for envelope in &late {
        scene.open(BOB, envelope);
    }
    for envelope in scene.owed(BOB) {
        scene.open(ALICE, &envelope);
    }
    // On the one that is sent on it would ask for a renewal.
    let mut before = before.unwrap();
    let rng = &mut Script::new("sessions that fade");
    let forged = before.seal_forged((1, b"x"), &[0], |header| header.ratchet_key[0] ^= 1, rng).unwrap();
    scene.refuses("another ratchet key, on a session that fades", BOB, forged);
    scene
}

/// Alice drops her sessions: Bob is told, and introduces himself anew.
fn ended() -> Scene {
    let mut scene = Scene::answered("a session that ends");
    let late = scene.seal(ALICE, b"late");
    let peer = scene.name_of(BOB);
    let farewell = done(scene.devices[ALICE].drop_sessions(peer, &mut scene.rngs[ALICE]).unwrap()).unwrap();
    let draws = scene.rngs[ALICE].draws();
    scene.step(ALICE, "drop", object! { "draws": draws, "envelope": &farewell.envelope });
    scene.open(BOB, &farewell.envelope);
    scene.open(BOB, &late);
    scene.meet(BOB);
    scene.send(BOB, b"anew");
    scene
}

/// Of 32 messages that came without one in return, the 32nd asks for an answer.
fn heard() -> Scene {
    let mut scene = Scene::answered("an answer that is owed");
    for number in 0..32_u8 {
        let envelope = scene.seal(ALICE, &[number]);
        // What is passed over counts.
        if number % 10 == 0 || number > 29 {
            scene.open(BOB, &envelope);
            scene.owed(BOB);
        }
    }
    scene
}

/// An introduction after a session, by whoever holds it, an older state of it, or none.
fn continuity() -> Scene {
    let mut scene = Scene::answered("continuity");
    for name in ["a chain before the previous one", "the previous chain", "the current chain"] {
        let envelope = scene.seal(ALICE, b"on");
        scene.keep(ALICE, name);
        scene.open(BOB, &envelope);
        scene.send(BOB, b"on");
    }
    scene.keep(ALICE, "the next chain");
    scene.keep(BOB, "before");
    for name in ["the next chain", "the current chain", "the previous chain", "a chain before the previous one"] {
        scene.fall_back(ALICE, name);
        scene.fall_back(BOB, "before");
        scene.renew(ALICE);
        scene.send(ALICE, b"anew");
    }
    scene
}

/// Introductions with certificates, to one who knows no root, and to one who knows theirs.
fn certificates() -> Scene {
    let mut scene = Scene::new("certificates in introductions");
    let bundle = VerifiedPreKeyBundle::verify(scene.publish(BOB), NOW).unwrap();
    let alice = scene.devices[ALICE].identity();
    let rng = &mut Script::new("certificates in introductions");
    let (root, issuer) = (RootKeyPair::generate(rng), IssuerKeyPair::generate(rng));
    let certified = root.certify(issuer.public(), NOW.plus(100));
    let good =
        super::around::certify(&issuer, &certified, alice, b"alice@example.org", NOW.plus(50), rng).encode_in_place();
    let changed = |place: usize| {
        let mut changed = good;
        changed[place] ^= 1;
        changed
    };
    let envelopes = [good, changed(73), changed(256), changed(81), [7; 257]].map(|certificate| {
        let payload = IdentityPayload {
            identity: *alice.public(),
            created_at: NOW.0,
            continuity: [[0; 8]; 2],
            certificate: Some(certificate),
        };
        let payload: [u8; IDENTITY_PAYLOAD_LEN] = payload.encode().as_slice().try_into().unwrap();
        let mut session = Session::initiate_raw(alice, &payload, &bundle, rng).unwrap();
        session.seal(b"Bonjour", Padding::default(), rng).unwrap()
    });
    let names =
        ["good", "of a wrong issuer key id", "badly signed by the root", "badly signed by the issuer", "not one"];
    scene.keep(BOB, "before");
    for root in [None, Some(root.public())] {
        if let Some(RootKey(bytes)) = root {
            let mut policy = scene.devices[BOB].policy().clone();
            policy.certificates.roots.push(RootKey(bytes));
            scene.devices[BOB].set_policy(policy);
            scene.step(BOB, "trust", object! { "root": &bytes });
        }
        for (name, envelope) in names.iter().zip(&envelopes) {
            scene.fall_back(BOB, "before");
            scene.open(BOB, envelope);
            let known = scene.devices[BOB].peer(scene.name_of(ALICE)).and_then(|peer| peer.certified);
            let known = known.map_or(Value::from("none"), |known| Value::from(known.address.as_bytes()));
            scene.step(BOB, "certified", object! { "certificate": *name, "address": known });
        }
    }
    scene
}

/// Fragments that are none: the message is whole.
fn fragments() -> Scene {
    let mut scene = Scene::answered("fragments that are not well formed");
    let (mut session, rng) = (scene.session(ALICE), &mut Script::new("fragments"));
    let fragment = |kind: u8, number: u8, answer: u8, first: u8, count: u8, symbols: usize| {
        [&[kind, 0, number][..], b"abc", &[answer; 3], &[first, count], &vec![9; 32 * symbols]].concat()
    };
    let whole = fragment(1, 1, 0, 0, 49, 49);
    for (idea, tail) in [
        ("one that fits", [&[1][..], &fragment(1, 1, 0, 0, 1, 1)].concat()),
        ("none", vec![0]),
        ("an unknown kind", [&[1][..], &fragment(3, 1, 0, 0, 2, 2)].concat()),
        ("no symbols", [&[1][..], &fragment(1, 1, 0, 7, 0, 0)].concat()),
        ("beyond symbol 255", [&[1][..], &fragment(1, 1, 0, 250, 7, 7)].concat()),
        ("up to symbol 255", [&[1][..], &fragment(1, 1, 0, 250, 6, 6)].concat()),
        ("an offer with an answer id", [&[1][..], &fragment(1, 1, 5, 0, 1, 1)].concat()),
        ("a number that is not worked on", [&[1][..], &fragment(1, 77, 0, 0, 1, 1)].concat()),
        ("an answer to no offer of the receiver", [&[1][..], &fragment(2, 1, 5, 0, 1, 1)].concat()),
        ("symbols beyond the end", [&[1][..], &fragment(1, 1, 0, 0, 255, 2), &[8; 20]].concat()),
        ("half a fragment", [&[2][..], &fragment(1, 1, 0, 0, 1, 1), &[1, 0, 1]].concat()),
        ("five", [&[5][..], &fragment(1, 1, 0, 0, 1, 1).repeat(5), &[8; 9]].concat()),
        ("a whole key with another id", [&[1][..], &whole].concat()),
    ] {
        let envelope = session.seal_raw(1, idea.as_bytes(), &tail, rng).unwrap();
        scene.open(BOB, &envelope);
    }
    let mut bad = |tail: &[u8]| session.seal_raw(1, b"x", tail, rng).unwrap();
    let zeros = bad(&[&[1][..], &fragment(1, 1, 0, 0, 1, 1), &[1]].concat());
    scene.refuses("other bytes than zeros behind a fragment", BOB, zeros);
    let zeros = bad(&[0, 1]);
    scene.refuses("other bytes than zeros behind no fragment", BOB, zeros);
    scene
}
