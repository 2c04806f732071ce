//! What a device can't follow, or refuses.

use super::{
    ALICE, BOB, IDENTITY_PAYLOAD_LEN, IdentityPayload, NOW, Padding, Scene, Script, Session, Vec, VerifiedPreKeyBundle,
    vec,
};

/// Authentic messages that can't be followed, or break the protocol.
pub(super) fn diverged() -> Scene {
    let mut scene = Scene::answered("what diverges");
    scene.send(ALICE, b"on");
    scene.send(BOB, b"on");
    scene.keep(ALICE, "before");
    let opened = scene.seal(ALICE, b"one");
    scene.open(BOB, &opened);
    let (lost, last) = (scene.seal(ALICE, b"passed over"), scene.seal(ALICE, b"three"));
    scene.open(BOB, &last);
    scene.refuses("opened before", BOB, opened.clone());
    scene.refuses("the tag of one that was opened, damaged", BOB, crate::vectors::flipped(&opened, opened.len() - 1));
    let rng = &mut Script::new("what diverges");
    // As Alice's next message, and as the first of her next chain.
    let now = scene.session(ALICE);
    let copy =
        |session: &Session| Session::from_state(session.to_state().expose(), scene.devices[ALICE].identity()).unwrap();
    let forged = |session: &Session, change: &dyn Fn(&mut crate::vectors::RawHeader), rng: &mut Script| {
        copy(session).seal_forged((1, b"x"), &[0], change, rng).unwrap()
    };
    let mut list: Vec<(&'static str, Vec<u8>)> = vec![
        ("another ratchet key in the chain that goes on", forged(&now, &|h| h.ratchet_key[0] ^= 1, rng)),
        ("another KEM epoch in the chain that goes on", forged(&now, &|h| h.kem_epoch += 1, rng)),
        ("sealed again at a consumed position", forged(&now, &|h| h.n = 0, rng)),
        ("sealed again at a consumed position with another ratchet key", {
            forged(&now, &|h| (h.n, h.ratchet_key) = (2, [9; 32]), rng)
        }),
        ("8,193 messages passed over", forged(&now, &|h| h.n += 8_193, rng)),
        ("the key of its position is another one", {
            // Beyond what is near, `seal_forged` takes the key of the session's own position.
            forged(&now, &|h| h.n += 8_000, rng)
        }),
    ];
    let turn = |session: &mut Session, bob: &mut Session, rng: &mut Script| {
        let envelope = bob.seal(b"a turn", Padding::default(), rng).unwrap();
        session.open(&crate::wire::envelope::Envelope::parse(&envelope).unwrap(), NOW).unwrap();
    };
    let bob = scene.session(BOB);
    // Bob has not turned: Alice's next chain answers to what he does not know.
    let mut early = copy(&now);
    let mut other = Session::from_state(bob.to_state().expose(), scene.devices[BOB].identity()).unwrap();
    turn(&mut early, &mut other, rng);
    list.push(("a chain that begins while nothing was sent", early.seal(b"x", Padding::default(), rng).unwrap()));
    for (idea, envelope) in list {
        scene.refuses(idea, BOB, envelope);
    }
    scene.open(BOB, &lost);
    scene.refuses("passed over, then opened", BOB, lost);
    scene
}

/// Introductions that are not accepted, though their header opens.
pub(super) fn introductions() -> Scene {
    let mut scene = Scene::new("introductions");
    let bundle = VerifiedPreKeyBundle::verify(scene.publish(BOB), NOW).unwrap();
    let rng = &mut Script::new("introductions");
    let alice = scene.devices[ALICE].identity();
    let introduced = |created_at: u64, rng: &mut Script| {
        let payload =
            IdentityPayload { identity: *alice.public(), created_at, continuity: [[0; 8]; 2], certificate: None }
                .encode();
        let payload: [u8; IDENTITY_PAYLOAD_LEN] = payload.as_slice().try_into().unwrap();
        Session::initiate_raw(alice, &payload, &bundle, rng).unwrap()
    };
    let forged = |change: &dyn Fn(&mut crate::vectors::RawHeader), rng: &mut Script| {
        let mut session = introduced(NOW.0, rng);
        session.seal_forged((1, b"x"), &[0], change, rng).unwrap()
    };
    let ahead = NOW.0 + (1 << 32);
    let mut list = vec![
        ("pn is not 0", forged(&|h| h.previous_chain_len = 1, rng)),
        ("the KEM epoch is not 0", forged(&|h| h.kem_epoch = 1, rng)),
        ("2,001 messages passed over", forged(&|h| h.n = 2_001, rng)),
        ("a ratchet key of low order", forged(&|h| h.ratchet_key = [0; 32], rng)),
        ("made more than 2^32 ahead", introduced(ahead + 1, rng).seal(b"x", Padding::default(), rng).unwrap()),
        ("made at 2^62", introduced(1 << 62, rng).seal(b"x", Padding::default(), rng).unwrap()),
        ("with a control that is none", introduced(NOW.0, rng).seal_raw(5, &[9], &[0], rng).unwrap()),
    ];
    let mut far = introduced(NOW.0, rng);
    let envelopes: Vec<Vec<u8>> = (0..3).map(|_| far.seal(b"x", Padding::default(), rng).unwrap()).collect();
    let latest = introduced(ahead, rng).seal(b"made 2^32 ahead", Padding::default(), rng).unwrap();
    list.push(("its session is there, and the envelope damaged", crate::vectors::flipped(&envelopes[2], 2_500)));
    scene.open(BOB, &envelopes[1]);
    scene.open(BOB, &envelopes[0]);
    scene.open(BOB, &latest);
    for (idea, envelope) in list {
        scene.refuses(idea, BOB, envelope);
    }
    scene
}
