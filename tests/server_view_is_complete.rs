//! docs/SERVER_VIEW.md, held against real bytes: every operation, every kind of envelope, every byte.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test is to fail loudly"
)]

use sceau::certificate::{IssuerKeyPair, RootKeyPair};
use sceau::device::{Delivery, GroupChange};
use sceau::group::{GroupPolicy, Role};
use sceau::vault::Vault;
use sceau::{Device, Envelope, attachment};
use sceau_testkit::certify;
use sceau_testkit::talk::{NOW, Talk, done};
use std::collections::{BTreeMap, BTreeSet};

const LEDGER: &str = include_str!("../docs/SERVER_VIEW.md");

/// A run of bytes in a table: from, to (exclusive; none: the end), and how it looks.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    from: usize,
    to: Option<usize>,
    looks: String,
}

/// The cells of the table rows below a heading, up to the next one.
fn table(heading: &str) -> Vec<Vec<&'static str>> {
    let start = LEDGER.find(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    let text = &LEDGER[start + heading.len() + 2..];
    let text = &text[..text.find("\n#").unwrap_or(text.len())];
    let rows = text.lines().filter(|line| line.starts_with('|')).skip(2);
    rows.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

fn rows(kind: &str) -> Vec<Row> {
    let row = |cells: Vec<&str>| {
        let (from, to) = cells[0].split_once('-').unwrap_or((cells[0], cells[0]));
        let to = if to == "end" { None } else { Some(to.parse::<usize>().unwrap() + 1) };
        Row { from: from.parse().unwrap(), to, looks: cells[2].to_owned() }
    };
    table(&format!("### {kind}")).into_iter().map(row).collect()
}

/// Bytes that were given, and by whom: introductions of one session, bundles of one device, belong together.
#[derive(Debug, Clone)]
struct Sample {
    bytes: Vec<u8>,
    by: (u64, u32),
    /// The bundle that an introduction was made with.
    bundle: Option<Vec<u8>>,
}

#[derive(Default)]
struct Seen {
    /// What each operation gave.
    by_operation: BTreeMap<&'static str, Vec<(&'static str, usize)>>,
    samples: BTreeMap<&'static str, Vec<Sample>>,
    /// The story, and the session in it, that is being told.
    by: (u64, u32),
    bundle: Option<Vec<u8>>,
}

impl Seen {
    fn note(&mut self, operation: &'static str, kind: &'static str, bytes: &[u8]) {
        let given = self.by_operation.entry(operation).or_default();
        if !given.contains(&(kind, bytes.len())) {
            given.push((kind, bytes.len()));
        }
        let sample = Sample { bytes: bytes.to_vec(), by: self.by, bundle: self.bundle.clone() };
        self.samples.entry(kind).or_default().push(sample);
    }

    /// An envelope, of the kind that its second byte says.
    fn envelope(&mut self, operation: &'static str, bytes: &[u8]) {
        Envelope::parse(bytes).expect("an envelope");
        self.note(operation, if bytes[1] == 1 { "introduction" } else { "sealed" }, bytes);
    }

    fn deliveries(&mut self, operation: &'static str, to: &mut Device, deliveries: &[Delivery]) {
        for delivery in deliveries {
            self.envelope(operation, &delivery.envelope);
            done(to.open(&delivery.envelope, NOW).unwrap());
        }
    }
}

/// Two devices do everything there is.
fn everything(seed: u64, seen: &mut Seen) {
    let mut talk = Talk::new(seed);
    seen.by = (seed, 0);
    seen.note("publish prekeys", "upload", &talk.bob.prekey_upload().unwrap().encode());
    let bundle = talk.directory.take_bundle().encode();
    seen.note("fetch a bundle", "bundle", &bundle);
    let decoded = sceau::PreKeyBundle::decode(&bundle).unwrap();
    done(talk.alice.add_peer(&decoded, NOW).unwrap());
    seen.bundle = Some(bundle);
    let first = talk.from_alice(b"first");
    seen.envelope("first message", &first);
    talk.bob_reads(&first).unwrap();
    for _ in 0..3 {
        let more = talk.from_alice(b"more");
        seen.envelope("message before the reply", &more);
        talk.bob_reads(&more).unwrap();
    }
    let reply = talk.from_bob(b"reply");
    seen.envelope("reply", &reply);
    talk.alice_reads(&reply).unwrap();
    for _ in 0..4 {
        let message = talk.from_alice(&[7; 357]);
        seen.envelope("message", &message);
        talk.bob_reads(&message).unwrap();
        let tag = Envelope::parse(&message).unwrap().tag();
        let Talk { alice, bob, rng, to_alice, to_bob, .. } = &mut talk;
        let receipt = done(bob.seal_receipt(*to_alice, &[tag], NOW, rng).unwrap());
        seen.envelope("receipt", &receipt.envelope);
        done(alice.open(&receipt.envelope, NOW).unwrap());
        for (device, peer) in [(&*alice, *to_bob), (&*bob, *to_alice)] {
            seen.note("listening", "mailbox address", device.mailbox(peer).unwrap().as_bytes());
        }
        let (key, ciphertext) = attachment::seal(b"a picture", rng).unwrap();
        seen.note("attachment", "attachment", &ciphertext);
        let envelope = done(alice.seal_attachment(*to_bob, &key, b"cat.jpg", NOW, rng).unwrap());
        seen.envelope("attachment's key", &envelope.envelope);
        done(bob.open(&envelope.envelope, NOW).unwrap());
        let many = done(alice.seal_many(&[*to_bob], b"to many", NOW, rng).unwrap());
        seen.deliveries("message to many", bob, &many.deliveries);
        let many = done(alice.seal_many(&[*to_bob], &[1; 13_500], NOW, rng).unwrap());
        seen.note("long content for many", "attachment", &many.attached.unwrap());
        seen.deliveries("long content for many", bob, &many.deliveries);
        let image = bob.identity().to_state();
        let sealed = Vault::new(&[3; 32]).seal(b"identity", 3, image.expose(), rng);
        seen.note("stored elsewhere", "vault", &sealed);
    }
    certificates(&mut talk, seen);
    groups(&mut talk, seen);
    ranks(&mut talk, seen);
    answers_and_ends(&mut talk, seen);
}

fn certificates(talk: &mut Talk, seen: &mut Seen) {
    let (root, issuer) = (RootKeyPair::generate(&mut talk.rng), IssuerKeyPair::generate(&mut talk.rng));
    let certified = root.certify(issuer.public(), NOW.plus(9));
    let certificate = certify(&issuer, &certified, talk.alice.identity(), b"alice@example.org", NOW.plus(9));
    done(talk.alice.set_certificate(Some(certificate)).unwrap());
    done(talk.alice.show_certificate(talk.to_bob, true).unwrap());
    let (id, _) = talk.alice.owed(NOW).next().unwrap();
    let envelope = done(talk.alice.seal_owed(id, NOW, &mut talk.rng).unwrap());
    seen.envelope("certificate that is owed", &envelope.envelope);
    done(talk.bob.open(&envelope.envelope, NOW).unwrap());
}

fn groups(talk: &mut Talk, seen: &mut Seen) {
    let Talk { alice, bob, rng, to_alice, to_bob, .. } = talk;
    let group = done(alice.create_group(GroupPolicy::default(), rng).unwrap());
    let welcome = done(alice.commit_group(group, &[GroupChange::Add(*to_bob, Role::Admin)], NOW, rng).unwrap());
    seen.deliveries("group: welcome", bob, &welcome.deliveries);
    for i in 1..4 {
        let policy = GroupChange::SetPolicy(GroupPolicy { max_messages: i, max_age: 9 });
        let commit = done(alice.commit_group(group, &[policy], NOW, rng).unwrap());
        seen.deliveries("group: commit", bob, &commit.deliveries);
        let ready = done(alice.prepare_group(group, NOW, rng).unwrap());
        seen.deliveries("group: sender chain", bob, &ready.deliveries);
        let sealed = done(alice.seal_group(group, b"for all", NOW, rng).unwrap());
        seen.envelope("group: message", &sealed.envelope);
        done(bob.open(&sealed.envelope, NOW).unwrap());
        let (key, _) = attachment::seal(b"a picture", rng).unwrap();
        let sealed = done(alice.seal_group_attachment(group, &key, b"cat.jpg", NOW, rng).unwrap());
        seen.deliveries("group: sender chain", bob, &sealed.deliveries);
        seen.envelope("group: attachment's key", &sealed.envelope);
        done(bob.open(&sealed.envelope, NOW).unwrap());
        let question = done(bob.ask_for_commits(group, *to_alice, NOW, rng).unwrap());
        seen.envelope("group: question for commits", &question.envelope);
        done(alice.open(&question.envelope, NOW).unwrap());
        // Bob is told that what he wants is gone, as to someone who was away for too long.
        loop {
            let owed = done(bob.seal_group_owed(group, NOW, rng).unwrap());
            if owed.deliveries.is_empty() {
                break;
            }
            seen.deliveries("group: what else is owed", alice, &owed.deliveries);
        }
    }
}

/// Bob's session is outranked, Alice has lost that, and is told.
fn ranks(talk: &mut Talk, seen: &mut Seen) {
    let old = talk.from_alice(b"on the first session");
    let bundle =
        done(talk.alice.publish_prekeys(1, NOW, &mut talk.rng).unwrap()).into_entry().expect("signed").take_bundle();
    (seen.by.1, seen.bundle) = (1, Some(bundle.encode()));
    done(talk.bob.renew(talk.to_alice, &bundle, NOW, &mut talk.rng).unwrap());
    let introduction = talk.from_bob(b"anew");
    seen.envelope("renewed session", &introduction);
    talk.alice_reads(&introduction).unwrap();
    let reply = talk.from_alice(b"on the second");
    talk.bob_reads(&reply).unwrap();
    talk.bob_reads(&old).unwrap();
    let (id, _) = talk.bob.owed(NOW).next().unwrap();
    let envelope = done(talk.bob.seal_owed(id, NOW, &mut talk.rng).unwrap());
    seen.envelope("rank that is owed", &envelope.envelope);
}

/// Alice has read much and written nothing; then Bob has had enough.
fn answers_and_ends(talk: &mut Talk, seen: &mut Seen) {
    for _ in 0..32 {
        let message = talk.from_bob(b"and more");
        talk.alice_reads(&message).unwrap();
    }
    let (id, _) = talk.alice.owed(NOW).next().unwrap();
    let envelope = done(talk.alice.seal_owed(id, NOW, &mut talk.rng).unwrap());
    seen.envelope("answer that is owed", &envelope.envelope);
    done(talk.bob.open(&envelope.envelope, NOW).unwrap());
    let farewell = done(talk.bob.drop_sessions(talk.to_alice, &mut talk.rng).unwrap()).unwrap();
    seen.envelope("dropped sessions, deleted peer", &farewell.envelope);
    done(talk.alice.open(&farewell.envelope, NOW).unwrap());
}

fn all() -> Seen {
    let mut seen = Seen::default();
    for seed in 0..24 {
        everything(100 + seed, &mut seen);
    }
    seen
}

#[test]
fn every_operation_is_listed_with_what_it_gives() {
    let seen = all();
    let listed = table("## Operations");
    let names: BTreeSet<&str> = listed.iter().map(|cells| cells[0]).collect();
    assert_eq!(names, seen.by_operation.keys().copied().collect(), "operations");
    for cells in listed {
        let kinds: Vec<&str> = cells[1].split(", ").collect();
        let sizes: Vec<usize> = cells[2].split(", ").map(|size| size.parse().unwrap()).collect();
        let expected: Vec<(&str, usize)> = kinds.into_iter().zip(sizes).collect();
        assert_eq!(seen.by_operation[cells[0]], expected, "{}", cells[0]);
    }
}

#[test]
fn every_byte_is_listed_and_looks_as_it_says() {
    let seen = all();
    // Windows of whatever is not public: none is seen again outside what belongs together, over all kinds.
    let mut windows: BTreeMap<[u8; 8], (&str, (u64, u32))> = BTreeMap::new();
    for (kind, samples) in &seen.samples {
        let rows = rows(kind);
        assert!(samples.len() >= 20, "{kind}: {} samples", samples.len());
        let mut repeated: BTreeMap<((u64, u32), usize), Vec<u8>> = BTreeMap::new();
        for Sample { bytes, by, bundle } in samples {
            let mut at = 0;
            for row in &rows {
                assert_eq!(row.from, at, "{kind}: bytes before {} are not listed", row.from);
                at = row.to.unwrap_or(bytes.len());
                let part = bytes.get(row.from..at).unwrap_or_else(|| panic!("{kind}: {row:?} is not there"));
                let mut unseen = |part: &[u8]| {
                    for window in part.windows(8) {
                        let other = windows.insert(window.try_into().unwrap(), (kind, *by));
                        assert_eq!(other, None, "{kind} of {by:?} shares {window:02x?}");
                    }
                };
                match row.looks.split_once(' ').unwrap_or((&row.looks, "")) {
                    ("fixed", value) => assert_eq!(part, [value.parse::<u8>().unwrap()], "{kind}: {row:?}"),
                    ("fresh", _) => unseen(part),
                    ("repeats", _) => {
                        let earlier = repeated.entry((*by, row.from)).or_insert_with(|| {
                            unseen(part);
                            part.to_vec()
                        });
                        assert_eq!(earlier, part, "{kind}: {row:?} within a session");
                    }
                    ("bundle", places) => {
                        let (from, to) = places.split_once('-').unwrap();
                        let place = from.parse().unwrap()..to.parse::<usize>().unwrap() + 1;
                        assert_eq!(bundle.as_ref().map(|bundle| &bundle[place]), Some(part), "{kind}: {row:?}");
                    }
                    ("public", _) => {}
                    _ => panic!("{row:?}"),
                }
            }
            assert_eq!(at, bytes.len(), "{kind}: bytes behind the last row");
        }
        no_place_prefers_a_value(kind, &rows, samples);
    }
}

/// No place of what is fresh, or repeats, prefers any value, over samples that do not belong together.
fn no_place_prefers_a_value(kind: &str, rows: &[Row], samples: &[Sample]) {
    for row in rows.iter().filter(|row| row.looks == "fresh" || row.looks == "repeats") {
        let groups: BTreeMap<_, _> = samples.iter().map(|sample| (sample.by, &sample.bytes)).collect();
        let all: Vec<&Vec<u8>> = match row.looks.as_str() {
            "fresh" => samples.iter().map(|sample| &sample.bytes).collect(),
            _ => groups.into_values().collect(),
        };
        let shortest = all.iter().map(|bytes| bytes.len()).min().unwrap();
        let count = f64::from(u32::try_from(all.len()).unwrap());
        for place in row.from..row.to.unwrap_or(shortest) {
            let values: BTreeSet<u8> = all.iter().map(|bytes| bytes[place]).collect();
            // An X25519 key's last byte is below 128.
            let possible = if kind == "introduction" && place == 33 { 128.0 } else { 256.0_f64 };
            let expected = possible * (1.0 - ((possible - 1.0) / possible).powf(count));
            let enough = f64::from(u32::try_from(values.len()).unwrap()) > expected * 0.6;
            assert!(enough, "{kind}, byte {place}: {} values in {count}", values.len());
        }
    }
}

/// What is public of a bundle and an upload is what the devices publish, and nothing else.
#[test]
fn bundles_hold_what_is_published() {
    let mut talk = Talk::new(9);
    let identity = talk.bob.identity_key().encode();
    let upload = talk.bob.prekey_upload().unwrap().encode();
    let bundle = talk.directory.take_bundle().encode();
    assert_eq!((&bundle[1..97], &upload[1..97]), (&identity[..], &identity[..]));
    assert_eq!(bundle[97..1665], upload[97..1665], "the identity's KEM key");
    assert_eq!(bundle[1665..3341], upload[1673..3349], "the signed prekey");
    assert_eq!(bundle[3341], 1);
    assert!(upload[3353..].windows(1676).any(|one_time| *one_time == bundle[3342..]));
    assert_eq!((upload.len() - 3353 - 64) % 1676, 0);
    // With what the device knows, a peer accepts it; with one byte changed, nobody does (prekeys.json).
    assert!(done(talk.alice.add_peer(&sceau::PreKeyBundle::decode(&bundle).unwrap(), NOW).unwrap()) == talk.to_bob);
}

/// What an introduction names of a bundle is what the bundle says, and it repeats until the reply and no longer.
#[test]
fn introductions_name_prekeys_and_nothing_else() {
    let mut talk = Talk::new(7);
    let bundle = talk.directory.take_bundle().encode();
    let mut alice = Device::generate(&mut talk.rng);
    let decoded = sceau::PreKeyBundle::decode(&bundle).unwrap();
    done(alice.add_peer(&decoded, NOW).unwrap());
    let envelopes: Vec<Vec<u8>> =
        (0..3).map(|_| done(alice.seal(talk.to_bob, b"hello", NOW, &mut talk.rng).unwrap()).envelope).collect();
    for envelope in &envelopes {
        assert_eq!(envelope[34..38], bundle[1665..1669], "the signed prekey's id");
        assert_eq!(envelope[38..42], bundle[3342..3346], "the one-time prekey's id");
        assert_eq!(envelope[..1972], envelopes[0][..1972], "the prefix repeats");
    }
    assert_eq!(bundle[1..97], talk.bob.identity_key().encode());
    done(talk.bob.open(&envelopes[0], NOW).unwrap());
    let reply = done(talk.bob.seal(alice.fingerprint(), b"reply", NOW, &mut talk.rng).unwrap());
    done(alice.open(&reply.envelope, NOW).unwrap());
    let after = done(alice.seal(talk.to_bob, b"after", NOW, &mut talk.rng).unwrap());
    assert_eq!((after.envelope[1], after.envelope.len()), (2, 640));
}
