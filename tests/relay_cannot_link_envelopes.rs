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

use sceau_testkit::model::{Model, Step};
use sceau_testkit::{Disk, Talk};
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
