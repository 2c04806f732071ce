//! What a peer says inside a session.

use crate::talk::NOW;
use crate::{Disk, Talk};
use sceau::prekey::{PreKeyLifetimes, PreKeyStore, Rotation, VerifiedPreKeyBundle};
use sceau::session::Session;
use sceau::{Envelope, IdentityKeyPair, Padding};
use std::sync::OnceLock;

/// The bytes as the content of a message of any kind, sealed by a peer in a session: what is refused changes nothing, and
/// the conversation goes on.
pub fn contents(data: &[u8]) {
    static DISKS: OnceLock<[Disk; 2]> = OnceLock::new();
    let Some((kind, content)) = data.split_first() else { return };
    let [alice, bob] = DISKS.get_or_init(|| {
        let talk = Talk::confirmed(2);
        [&talk.alice, &talk.bob].map(Disk::of)
    });
    let (mut alice, mut bob, mut rng) = (alice.restore(), bob.restore(), crate::rng(8));
    let (to_bob, to_alice) = (bob.fingerprint(), alice.fingerprint());
    let Ok(pending) = alice.seal_raw(to_bob, kind % 8, content, NOW, &mut rng) else { return };
    let envelope = crate::talk::done(pending);
    let before = Disk::of(&bob);
    match bob.open(&envelope.envelope, NOW) {
        Ok(pending) => drop(crate::talk::done(pending)),
        Err(_) => assert_eq!(Disk::of(&bob), before),
    }
    let next = crate::talk::done(alice.seal(to_bob, b"and on", NOW, &mut rng).expect("a session"));
    assert_eq!(
        crate::talk::content(crate::talk::done(bob.open(&next.envelope, NOW).expect("the next one"))),
        b"and on"
    );
    let restored = Disk::of(&bob).restore();
    assert_eq!(Disk::of(&restored), Disk::of(&bob));
    let _ = to_alice;
}

/// The bytes as the fragments of key material in a message: the content comes through, whatever they are, and the session
/// goes on.
pub fn fragments(data: &[u8]) {
    static SIDES: OnceLock<([Vec<u8>; 2], [IdentityKeyPair; 2])> = OnceLock::new();
    let (images, identities) = SIDES.get_or_init(|| {
        let mut rng = crate::rng(9);
        let (a, b) = (IdentityKeyPair::generate(&mut rng), IdentityKeyPair::generate(&mut rng));
        let (mut prekeys, lifetimes) = (PreKeyStore::new(), PreKeyLifetimes::default());
        let upload = prekeys.publish(&b, 1, Rotation::IfDue, &lifetimes, NOW, &mut rng);
        let bundle =
            VerifiedPreKeyBundle::verify(upload.expect("room").into_entry().expect("signed").take_bundle(), NOW)
                .expect("good");
        let mut alice = Session::initiate(&a, None, &bundle, 1, &mut rng).expect("good keys");
        let first = alice.seal(b"first", Padding::default(), &mut rng).expect("room");
        let accepted = Session::accept(&b, &prekeys, &Envelope::parse(&first).expect("one"), &lifetimes, NOW);
        let (mut bob, _) = accepted.expect("an introduction").settle(&mut prekeys).expect("new");
        let reply = bob.seal(b"reply", Padding::default(), &mut rng).expect("room");
        alice.open(&Envelope::parse(&reply).expect("one"), NOW).expect("a reply");
        ([&alice, &bob].map(|side| side.to_state().expose().to_vec()), [a, b])
    });
    let mut alice = Session::from_state(&images[0], &identities[0]).expect("an image");
    let mut bob = Session::from_state(&images[1], &identities[1]).expect("an image");
    let mut rng = crate::rng(10);
    for part in data.chunks(400) {
        let Ok(envelope) = alice.seal_raw(1, b"content", part, &mut rng) else { return };
        let opened = bob.open(&Envelope::parse(&envelope).expect("one"), NOW);
        // Only what looks like padding of other bytes is refused.
        if let Ok(opened) = &opened {
            assert_eq!(opened.content, sceau::session::Content::Message(b"content".to_vec()));
        }
        let image = bob.to_state();
        let restored = Session::from_state(image.expose(), &identities[1]).expect("what it wrote");
        assert_eq!(restored.to_state().expose(), image.expose());
    }
    let reply = bob.seal(b"reply", Padding::default(), &mut rng).expect("room");
    alice.open(&Envelope::parse(&reply).expect("one"), NOW).expect("the session goes on");
}
