//! An author who introduces itself with right keys and wrong words.

use super::input::Input;
use crate::talk::{NOW, content, done};
use crate::{Disk, Talk};
use sceau::certificate::{CertificateDemand, RootKey};
use sceau::error::OpenError;
use sceau::limits::{CREATED_AT_END, MAX_CREATED_AHEAD, MAX_FIRST_JUMP};
use sceau::prekey::VerifiedPreKeyBundle;
use sceau::session::Session;
use sceau::vectors::RawHeader;
use sceau::{Device, Envelope, Event, Fingerprint, IdentityKey, IdentityKeyPair, Policy};
use std::sync::OnceLock;

/// Bytes of an identity payload: identity, time, flag, certificate (docs/PROTOCOL.md, section 4).
const PAYLOAD_LEN: usize = IdentityKey::LEN + 8 + 16 + 1 + sceau::certificate::Certificate::LEN;

/// What one introduction may add to a device's records: 2,000 skipped keys and what a session takes.
const MAX_GROWTH: usize = 150_000;

/// Bob, who talks with Alice and has not read an introduction of Carol's yet; and an author that he does not know.
struct Scene {
    bob: Disk,
    /// Alice's identity, Bob's, and the author's.
    authors: [Vec<u8>; 3],
    /// Certificates of these, by [`Scene::root`].
    certificates: [Vec<u8>; 3],
    root: RootKey,
    /// With a one-time prekey and without.
    bundles: [VerifiedPreKeyBundle; 2],
    /// What Alice and Carol wrote.
    waiting: [Vec<u8>; 2],
}

impl Scene {
    fn new() -> Self {
        let mut talk = Talk::confirmed(31);
        let author = IdentityKeyPair::generate(&mut talk.rng);
        let verified = |bundle| VerifiedPreKeyBundle::verify(bundle, NOW).expect("a good bundle");
        let bundle = verified(talk.directory.take_bundle());
        let mut carol = Device::generate(&mut talk.rng);
        done(carol.add_peer(&talk.directory.take_bundle(), NOW).expect("a good bundle"));
        let waiting = [
            talk.from_alice(b"Alice"),
            done(carol.seal(talk.to_bob, b"Carol", NOW, &mut talk.rng).expect("short")).envelope,
        ];
        let without = verified(talk.directory.take_bundle());
        assert!(bundle.has_one_time() && !without.has_one_time());
        let identities = [talk.alice.identity(), talk.bob.identity(), &author];
        let root = super::authorities::Authority::new(1);
        let end = NOW.plus(86_400);
        let certificates = identities.map(|identity| {
            let issuer = super::authorities::Authority::new(2);
            let word = root.certify(&issuer.key(), issuer.id(), end.as_secs());
            [issuer.issue(identity.public(), (5, &address(b"a@b.c")), end.as_secs()), word].concat()
        });
        Self {
            bob: Disk::of(&talk.bob),
            authors: identities.map(|identity| identity.to_state().expose().to_vec()),
            certificates,
            root: RootKey(root.key()),
            bundles: [bundle, without],
            waiting,
        }
    }

    fn bob(&self, flags: u8) -> Device {
        let mut bob = self.bob.restore();
        let mut policy = Policy::default();
        if flags & 2 > 0 {
            policy.certificates.roots.push(self.root);
        }
        if flags & 4 > 0 {
            policy.certificates.demand = CertificateDemand::Required;
        }
        bob.set_policy(policy);
        bob
    }
}

fn address(text: &[u8]) -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes[..text.len()].copy_from_slice(text);
    bytes
}

/// Introductions whose handshake is right for whoever they say they are from, with any identity, time, certificate, header,
/// fragments and content. What is refused changes nothing; what is taken makes one session, under the name and the time that it
/// gives, once. Others are read as before.
pub fn introductions(data: &[u8]) {
    static SCENE: OnceLock<Scene> = OnceLock::new();
    let scene = SCENE.get_or_init(Scene::new);
    let (mut input, mut rng) = (Input(data), crate::rng(32));
    let flags = input.u8();
    let which = input.below(scene.authors.len());
    let author = IdentityKeyPair::from_state(&scene.authors[which]).expect("an image");
    let payload = payload(&mut input, &author, &scene.certificates[which]);
    let bundle = &scene.bundles[usize::from(flags & 1)];
    let mut session = Session::initiate_raw(&author, &payload, bundle, &mut rng).expect("Bob's keys are good");
    // Some that nobody gets.
    for _ in 0..input.below(3) {
        session.seal(b"lost", sceau::Padding::default(), &mut rng).expect("short");
    }
    let (kind, count) = (input.u8() % 8, input.below(4));
    let fragments = [&[u8::try_from(count).expect("small")], input.slice(count * 13)].concat();
    let len = usize::from(input.u8());
    let said = input.slice(len);
    let mut said_of_itself = None;
    let change = |header: &mut RawHeader| {
        input.header(header);
        said_of_itself = Some(*header);
    };
    let envelope = session.seal_forged((kind, said), &fragments, change, &mut rng).expect("a short message");

    let mut bob = scene.bob(flags);
    let before = Disk::of(&bob);
    let accepted = match bob.open(&envelope, NOW) {
        Ok(pending) => {
            let opened = done(pending);
            let from = author_of(&opened.event);
            assert_eq!(Some(from), IdentityKey::decode(&payload[..96]).ok().map(|key| key.fingerprint()));
            assert_ne!(from, bob.fingerprint());
            Some(from)
        }
        Err(error) => {
            assert_eq!(Disk::of(&bob), before, "{error:?} changed something");
            assert!(
                matches!(
                    error,
                    OpenError::Rejected
                        | OpenError::Violation(_)
                        | OpenError::Uncertified(..)
                        | OpenError::TooFarAhead(_)
                ),
                "{error:?}"
            );
            None
        }
    };
    let after = Disk::of(&bob);
    assert_eq!(Disk::of(&after.restore()), after);
    let created_at = u64::from_be_bytes(payload[96..104].try_into().expect("8 bytes"));
    if let Some(from) = accepted {
        assert!(after.size() <= before.size() + MAX_GROWTH, "{} bytes more", after.size() - before.size());
        let header = said_of_itself.expect("a header");
        assert!(header.n <= MAX_FIRST_JUMP && (header.previous_chain_len, header.kem_epoch) == (0, 0), "{header:?}");
        assert!(created_at < CREATED_AT_END && created_at <= NOW.plus(MAX_CREATED_AHEAD).as_secs());
        let left = |disk: &Disk| disk.restore().prekey_status().one_time_left;
        assert_eq!(left(&before) - left(&after), usize::from(flags & 1 == 0));
        // Once.
        let again = bob.open(&envelope, NOW).map(done);
        assert!(matches!(again, Err(OpenError::Duplicate | OpenError::Rejected)), "{again:?}");
        assert_eq!(Disk::of(&bob), after);
        // Bob can answer, on the session of the greater time.
        let reply = done(bob.seal(from, b"reply", NOW, &mut rng).expect("a peer"));
        if which != 0 || created_at > NOW.as_secs() {
            let reply = session
                .open(&Envelope::parse(&reply.envelope).expect("an envelope"), NOW)
                .expect("the author can read it");
            assert_eq!(reply.content, sceau::session::Content::Message(b"reply".to_vec()));
        }
    }
    // Those who were there before are heard, and so is who comes after.
    bob.set_policy(Policy::default());
    for (envelope, text) in scene.waiting.iter().zip([&b"Alice"[..], b"Carol"]) {
        let opened = bob.open(envelope, NOW).map(done);
        assert_eq!(content(opened.expect("an honest message")), text);
    }
}

fn payload(input: &mut Input<'_>, author: &IdentityKeyPair, certificate: &[u8]) -> [u8; PAYLOAD_LEN] {
    let mut payload = [0; PAYLOAD_LEN];
    payload[..96].copy_from_slice(&author.public().encode());
    let created_at = input.near(NOW.as_secs());
    payload[96..104].copy_from_slice(&created_at.to_be_bytes());
    let how = input.u8();
    if how & 1 > 0 {
        payload[120] = 1;
        payload[121..].copy_from_slice(certificate);
    }
    if how & 2 > 0 {
        input.damage(&mut payload[104..]);
    }
    if how & 4 > 0 {
        input.damage(&mut payload[..96]);
    }
    if how & 8 > 0 {
        payload[32..64].copy_from_slice(&input.array::<32>());
    }
    payload
}

fn author_of(event: &Event) -> Fingerprint {
    match event {
        Event::Message { from, .. }
        | Event::Attachment { from, .. }
        | Event::Receipt { from, .. }
        | Event::Control { from }
        | Event::Group { from, .. } => *from,
        other => panic!("not of an introduction: {other:?}"),
    }
}
