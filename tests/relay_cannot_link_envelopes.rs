//! What the relay sees of a conversation: no two sealed envelopes share a window of 8 bytes, introductions share only
//! their prefix, nothing names anyone, and lengths are buckets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test is to fail loudly"
)]

use sceau::attachment;
use sceau::vault::Vault;
use sceau_testkit::crowd::Crowd;
use sceau_testkit::model::{Model, Step};
use sceau_testkit::talk::{NOW, done};
use sceau_testkit::{Disk, Talk, rng};
use std::collections::HashMap;

#[test]
fn envelopes_of_a_long_conversation_share_nothing() {
    let mut model = Model::new(77);
    model.dutiful = true;
    for _ in 0..5_000 {
        let step = match model.random_step(false) {
            // Long ones only make the test slow.
            Step::Send { side, len } => Step::Send { side, len: len % 300 },
            step => step,
        };
        model.step(step);
    }
    let names: Vec<Vec<u8>> = (0..2)
        .flat_map(|side| {
            let key = model.sides[side].device.identity_key().encode();
            [model.name(side).as_bytes().to_vec(), key[..32].to_vec(), key[32..].to_vec()]
        })
        .flat_map(|name| name.chunks(8).map(<[u8]>::to_vec).collect::<Vec<_>>())
        .collect();
    let prefix = 2 + sceau::Envelope::INTRODUCTION_LEN;
    let mut windows: HashMap<[u8; 8], usize> = HashMap::new();
    let mut introductions: HashMap<Vec<u8>, usize> = HashMap::new();
    let mut sealed = 0;
    assert!(model.seen_by_relay.len() > 1_500, "{}", model.seen_by_relay.len());
    for (index, bytes) in model.seen_by_relay.iter().enumerate() {
        let (in_common, own) = if bytes[1] == 1 { bytes.split_at(prefix) } else { bytes.split_at(2) };
        sealed += usize::from(bytes[1] == 2);
        assert_eq!(own.len() + 2, 640, "a bucket");
        if bytes[1] == 1 {
            *introductions.entry(in_common.to_vec()).or_default() += 1;
        }
        for window in own.windows(8) {
            let window: [u8; 8] = window.try_into().unwrap();
            // In an envelope itself a window could repeat, but for chance it does not.
            let before = windows.insert(window, index);
            assert_eq!(before, None, "envelopes {before:?} and {index} share {window:02x?}");
            assert!(!names.iter().any(|name| name == &window), "a name in envelope {index}");
        }
    }
    assert!(sealed > 1_000, "{sealed}");
    // Different introductions share nothing but their version and kind: ids, keys and ciphertexts are all fresh.
    for bytes in introductions.keys() {
        for window in bytes[2..].windows(8) {
            let window: [u8; 8] = window.try_into().unwrap();
            // The signed prekey's id repeats, but behind and before it stands something random.
            assert_eq!(windows.insert(window, usize::MAX), None, "introductions share {window:02x?}");
            assert!(!names.iter().any(|name| name == &window), "a name in an introduction");
        }
    }
}

/// A state that was put back seals under the keys that it has sealed under already. The tag says so, and nothing else: no
/// nonce repeats, neither the body's nor the header's.
#[test]
fn chain_that_is_used_twice_repeats_tags_and_no_nonce() {
    let mut talk = Talk::confirmed(1);
    let image = Disk::of(&talk.alice);
    let mut seen = Vec::new();
    for _ in 0..3 {
        talk.alice = image.restore();
        seen.push(talk.from_alice(b"the same text"));
    }
    let (tag, header) = (2..18, 18..90);
    for (i, one) in seen.iter().enumerate() {
        for two in &seen[i + 1..] {
            assert_eq!(one[tag.clone()], two[tag.clone()]);
            // The headers are the same but for the body's nonce at their end: under one nonce, so would the ciphertexts be.
            let equal = header.clone().filter(|place| one[*place] == two[*place]).count();
            assert!(equal < 8, "{equal} of 72 bytes of the headers");
            let equal = (90..one.len()).filter(|place| one[*place] == two[*place]).count();
            assert!(equal < 20, "{equal} of 550 bytes of the bodies");
        }
    }
}

/// A virtual machine that is put back has its random generator put back too. Whatever is sealed then is sealed under another nonce, or
/// another key, than before, unless it is the same.
#[test]
fn randomness_that_repeats_gives_no_nonce_twice() {
    // Two contents of one length: under one key and one nonce, all ciphertexts below would be the same but for the places in which
    // the contents differ.
    let contents = [[1_u8; 100], [2; 100]];
    let differ = |places: core::ops::Range<usize>, [one, two]: [Vec<u8>; 2]| {
        let equal = places.clone().filter(|place| one[*place] == two[*place]).count();
        assert!(equal * 20 < places.len(), "{equal} of {} bytes are the same", places.len());
        assert_eq!(one.len(), two.len());
    };

    // A session: the body's nonce, and with it the header's.
    let talk = Talk::confirmed(2);
    let image = Disk::of(&talk.alice);
    let seal = |content: &[u8]| {
        let (mut device, mut rng) = (image.restore(), rng(7));
        done(device.seal(talk.to_bob, content, NOW, &mut rng).unwrap()).envelope
    };
    let envelopes = contents.map(|content| seal(&content));
    assert_eq!(envelopes[0][..18], envelopes[1][..18], "one position of one chain");
    differ(18..90, envelopes.clone());
    differ(90..640, envelopes);
    assert_eq!(seal(b"the same"), seal(b"the same"));

    // A group's chain.
    let crowd = Crowd::together(3, 2);
    let (image, group) = (Disk::of(&crowd.parties[0].device), crowd.group());
    let envelopes = contents.map(|content| {
        let (mut device, mut rng) = (image.restore(), rng(7));
        done(device.seal_group(group, &content, crowd.now, &mut rng).unwrap()).envelope
    });
    assert_eq!(envelopes[0][..18], envelopes[1][..18], "one position of one chain");
    differ(18..90, envelopes.clone());
    differ(90..640, envelopes);

    // An introduction: the ephemeral key, and the KEM's randomness.
    let mut talk = Talk::new(3);
    let mut entry = done(talk.bob.publish_prekeys(2, NOW, &mut talk.rng).unwrap()).into_entry().unwrap();
    let image = Disk::of(&talk.alice);
    let introductions = [(); 2].map(|()| {
        let (mut device, mut rng) = (image.restore(), rng(7));
        let bob = done(device.add_peer(&entry.take_bundle(), NOW).unwrap());
        done(device.seal(bob, b"Bonjour", NOW, &mut rng).unwrap()).envelope
    });
    differ(2..34, introductions.clone());
    differ(42..1972, introductions);

    // A vault, and with it a sealed store.
    let vault = Vault::new(&[7; 32]);
    let images = contents.map(|content| vault.seal(b"name", 1, &content, &mut rng(7)));
    assert_eq!(images[0][..9], images[1][..9]);
    differ(33..images[0].len(), images);

    // An attachment: its key.
    let sealed = contents.map(|content| attachment::seal(&content, &mut rng(7)).unwrap().1);
    differ(0..sealed[0].len(), sealed);
}
