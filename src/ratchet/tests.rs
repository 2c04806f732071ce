//! What only the inside can see: calls of primitives, and that swapping a step back undoes it.

use crate::crypto::count::calls;
use crate::error::OpenError;
use crate::limits::{MAX_CHAIN_LEN, MAX_JUMP};
use crate::message::Opening;
use crate::padding::Padding;
use crate::ratchet::chain::kdf_ck;
use crate::ratchet::state::Sending;
use crate::ratchet::{Ratchet, ReceiveError, TagSink, TagSource, check_jump};
use crate::session::testing::{Pair, forge, forge_with, pass_over, ratchet_of, ratchet_of_mut};
use crate::session::{Content, Session};
use crate::wire::payload::PayloadKind;
use crate::wire::sealed::{HEADER_LEN, Header};
use crate::{Envelope, Tag};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use chacha20::ChaCha20Rng;

#[test]
fn damaged_or_forged_envelope_costs_no_dh_no_kem_and_no_chain_step() {
    let mut pair = Pair::answered();
    for first_of_a_turn in [true, false] {
        let genuine = pair.from_alice();
        for byte in 0..genuine.len() {
            let mut damaged = genuine.clone();
            damaged[byte] ^= 1 << (byte % 8);
            let before = calls();
            let result = Envelope::parse(&damaged).map(|envelope| pair.bob.search(&envelope, crate::keys::UnixTime(1)));
            let made = calls() - before;
            assert!(!matches!(result, Ok(Ok(_))), "byte {byte}");
            assert_eq!((made.dh, made.kem, made.sign, made.chain_steps), (0, 0, 0, 0), "byte {byte}");
            assert!(made.aead_open <= 2, "byte {byte}");
        }
        let before = calls();
        pair.bob.open(&Envelope::parse(&genuine).unwrap(), crate::keys::UnixTime(1)).unwrap();
        let made = calls() - before;
        assert_eq!((made.dh, made.kem, made.chain_steps), (u32::from(first_of_a_turn), 0, 1));
        // Known now: nothing at all is computed.
        let before = calls();
        let again = pair.bob.open(&Envelope::parse(&genuine).unwrap(), crate::keys::UnixTime(1));
        assert_eq!((again, calls() - before), (Err(OpenError::Duplicate), crate::crypto::count::Calls::default()));
    }
}

/// A peer that breaks the protocol names a message as another one, or as none: a message has one name.
#[test]
fn message_under_another_tag_than_its_positions_is_refused() {
    let mut pair = Pair::answered();
    let before = pair.from_alice();
    pair.bob.open(&Envelope::parse(&before).unwrap(), crate::keys::UnixTime(1)).unwrap();
    let coming = pair.from_alice();
    let coming = Envelope::parse(&coming).unwrap();
    for tag in [coming.tag(), Tag([7; 16])] {
        let forged = forge(&mut pair.alice, &mut pair.rng, |outgoing| outgoing.tag = tag);
        let result = pair.bob.search(&Envelope::parse(&forged).unwrap(), crate::keys::UnixTime(1));
        assert!(matches!(result, Err(OpenError::Rejected | OpenError::Unknown)), "{result:?}");
    }
    pair.bob.open(&coming, crate::keys::UnixTime(1)).unwrap();
    // Beyond the window, where only the header's key finds it.
    for _ in 0..30 {
        pair.from_alice();
    }
    let forged = forge(&mut pair.alice, &mut pair.rng, |outgoing| outgoing.tag = Tag([7; 16]));
    assert_eq!(pair.bob.search(&Envelope::parse(&forged).unwrap(), crate::keys::UnixTime(1)), Err(OpenError::Unknown));
    let far = pair.from_alice();
    assert!(pair.bob.search(&Envelope::parse(&far).unwrap(), crate::keys::UnixTime(1)).is_ok());
}

#[test]
fn introduction_under_another_tag_is_refused() {
    let first = |tag: Option<Tag>| {
        let first = |session: &mut Session, rng: &mut ChaCha20Rng| {
            forge(session, rng, |outgoing| outgoing.tag = tag.unwrap_or(outgoing.tag))
        };
        Pair::introduced(first).err()
    };
    assert_eq!(first(None), None);
    assert_eq!(first(Some(Tag([7; 16]))), Some(OpenError::Rejected));
}

/// There is no chain before a peer's first one.
#[test]
fn first_chain_that_claims_an_earlier_one_is_refused() {
    let mut pair = Pair::new();
    for length in [1, u32::MAX] {
        let forged = forge(&mut pair.bob, &mut pair.rng, |outgoing| outgoing.previous_chain_len = length);
        let result = pair.alice.search(&Envelope::parse(&forged).unwrap(), crate::keys::UnixTime(1));
        assert_eq!(result.map(|opened| opened.content), Err(OpenError::Violation(pair.names[1])));
    }
    let good = forge(&mut pair.bob, &mut pair.rng, |_| ());
    assert!(pair.alice.search(&Envelope::parse(&good).unwrap(), crate::keys::UnixTime(1)).is_ok());
}

#[test]
fn introduction_that_claims_what_was_before_it_is_refused() {
    let introduced = |length, epoch| {
        let first = |session: &mut Session, rng: &mut ChaCha20Rng| {
            forge(session, rng, |outgoing| (outgoing.previous_chain_len, outgoing.kem_epoch) = (length, epoch))
        };
        Pair::introduced(first).err()
    };
    assert_eq!(introduced(0, 0), None);
    for (length, epoch) in [(1, 0), (0, 1), (1, 1)] {
        assert_eq!(introduced(length, epoch), Some(OpenError::Rejected));
    }
}

/// Anyone with a bundle can make one: it costs a handshake, and no steps of a chain. Nobody honest does: who is not answered
/// stops before.
#[test]
fn introduction_far_into_its_chain_is_refused_before_the_chain_is_run() {
    let introduced = |lost: u32| {
        let before = calls();
        let first = |session: &mut Session, rng: &mut ChaCha20Rng| {
            for _ in 0..lost {
                pass_over(session, rng);
            }
            let before = session.to_state();
            if lost > crate::limits::MAX_FIRST_JUMP {
                assert_eq!(session.seal(b"x", Padding::default(), rng), Err(crate::error::SealError::ChainExhausted));
            }
            assert_eq!(session.to_state().expose(), before.expose());
            forge(session, rng, |_| ())
        };
        let refused = Pair::introduced(first).err();
        // One to seal each, and as many to open the last.
        (refused, (calls() - before).chain_steps - (lost + 1))
    };
    assert_eq!(introduced(2_000), (None, 2_001));
    let (refused, steps) = introduced(2_001);
    assert!(matches!(refused, Some(OpenError::TooFarAhead(_))) && steps <= 1, "{refused:?} {steps}");
}

#[test]
fn jumps_and_positions_are_bounded() {
    assert_eq!(check_jump(MAX_CHAIN_LEN - 1, MAX_JUMP), Ok(()));
    assert_eq!(check_jump(MAX_CHAIN_LEN, 0), Err(ReceiveError::Violation));
    assert_eq!(check_jump(0, MAX_JUMP + 1), Err(ReceiveError::TooFarAhead));
}

/// A broken fragment is told, and harms neither the content nor what is exchanged after it.
#[test]
fn broken_fragment_is_told_and_the_content_is_whole() {
    let mut pair = Pair::answered();
    let unknown_kind = [&[1, 3][..], &[0; 10]].concat();
    for (fragments, bad) in [(unknown_kind, true), (Vec::from([0]), false)] {
        let envelope = forge_with(&mut pair.alice, &mut pair.rng, &fragments, |_| ());
        let opened = pair.bob.open(&Envelope::parse(&envelope).unwrap(), crate::keys::UnixTime(1)).unwrap();
        assert_eq!((opened.content, opened.bad_fragment), (Content::Message(b"text".to_vec()), bad));
    }
}

#[derive(Default, PartialEq, Debug, Clone)]
struct Index(BTreeSet<(Tag, TagSource)>);

impl TagSink for Index {
    fn add(&mut self, tag: Tag, source: TagSource) {
        assert!(self.0.insert((tag, source)), "added twice");
    }
    fn remove(&mut self, tag: Tag, source: TagSource) {
        assert!(self.0.remove(&(tag, source)), "removed what was not there");
    }
}

/// Over a long random exchange: every opening, swapped in, out and in again, leaves state and tag index as they should
/// be, and the index always equals what a restored session announces.
#[test]
fn swapping_an_opening_twice_changes_nothing() {
    let mut pair = Pair::answered();
    let mut index = [Index::default(), Index::default()];
    pair.alice.announce(&mut index[0]);
    pair.bob.announce(&mut index[1]);
    let mut held: [Vec<Vec<u8>>; 2] = Default::default();
    let mut random = 7_u32;
    let mut below = |n: usize| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 8) as usize % n
    };
    let mut opened = 0;
    for _ in 0..3_000 {
        let side = below(2);
        if below(2) == 0 {
            let sender = if side == 0 { &mut pair.alice } else { &mut pair.bob };
            held[1 - side].push(sender.seal(b"x", Padding::default(), &mut pair.rng).unwrap());
            continue;
        }
        if held[side].is_empty() {
            continue;
        }
        let pick = below(held[side].len().min(40));
        let bytes = held[side].swap_remove(pick);
        let receiver = if side == 0 { &mut pair.alice } else { &mut pair.bob };
        let envelope = Envelope::parse(&bytes).unwrap();
        let Ok(mut planned) = receiver.plan_search(&Opening::new(&envelope), crate::keys::UnixTime(1)) else {
            continue;
        };
        opened += 1;
        let before = (receiver.to_state().expose().to_vec(), index[side].clone());
        receiver.swap_open(&mut planned.step, &mut index[side]);
        let after = (receiver.to_state().expose().to_vec(), index[side].clone());
        assert_ne!(before, after);
        receiver.swap_open(&mut planned.step, &mut index[side]);
        assert_eq!((receiver.to_state().expose().to_vec(), index[side].clone()), before);
        receiver.swap_open(&mut planned.step, &mut index[side]);
        assert_eq!((receiver.to_state().expose().to_vec(), index[side].clone()), after);
        assert!(matches!(planned.opened.content, Content::Message(_)));

        let restored = Session::from_state(&after.0, &pair.identities[side]).unwrap();
        let mut announced = Index::default();
        restored.announce(&mut announced);
        assert_eq!(announced, index[side]);
        assert_eq!(restored.to_state().expose(), after.0);
    }
    assert!(opened > 1_000, "{opened}");
}

#[test]
fn swapping_a_sealing_twice_changes_nothing() {
    let mut pair = Pair::answered();
    for round in 0..20 {
        let before = pair.alice.to_state().expose().to_vec();
        let message = crate::message::Outbound { kind: PayloadKind::Application, content: b"x" };
        let mut sealed = pair.alice.plan_seal(message, Padding::default(), &mut pair.rng).unwrap();
        assert_eq!(pair.alice.to_state().expose(), before, "planning changed something");
        pair.alice.swap_seal(&mut sealed.step);
        assert_ne!(pair.alice.to_state().expose(), before);
        pair.alice.swap_seal(&mut sealed.step);
        assert_eq!(pair.alice.to_state().expose(), before);
        pair.alice.swap_seal(&mut sealed.step);
        pair.bob.open(&Envelope::parse(&sealed.envelope).unwrap(), crate::keys::UnixTime(1)).unwrap();
        if round % 3 == 0 {
            let bytes = pair.bob.seal(b"y", Padding::default(), &mut pair.rng).unwrap();
            pair.alice.open(&Envelope::parse(&bytes).unwrap(), crate::keys::UnixTime(1)).unwrap();
        }
    }
}

mod images;
mod kem;
mod kem_identity;

#[test]
fn only_what_introduces_is_an_introduction_and_the_longest_is_as_long_as_is_said() {
    let mut pair = Pair::answered();
    let bytes = pair.from_alice();
    assert!(!Envelope::parse(&bytes).unwrap().is_introduction());
    let introduced = Pair::introduced(|alice, rng| {
        let content = alloc::vec![7; crate::limits::MAX_CONTENT];
        let bytes = alice.seal(&content, Padding::default(), rng).unwrap();
        assert_eq!(bytes.len(), Envelope::MAX_LEN);
        assert!(Envelope::parse(&bytes).unwrap().is_introduction());
        bytes
    });
    assert!(introduced.is_ok());
}

/// A peer that begins a second chain before its first was answered: there is no key pair here for that.
#[test]
fn chain_that_nobody_has_answered_has_no_successor() {
    let mut pair = Pair::answered();
    let first = pair.from_alice();
    pair.bob.open(&Envelope::parse(&first).unwrap(), crate::keys::UnixTime(1)).unwrap();
    ratchet_of_mut(&mut pair.alice).sending = Sending::Idle { previous_chain_len: 1 };
    let second = pair.from_alice();
    let before = pair.bob.to_state().expose().to_vec();
    let result = pair.bob.open(&Envelope::parse(&second).unwrap(), crate::keys::UnixTime(1));
    assert_eq!(result.map(|opened| opened.content), Err(OpenError::Diverged(pair.names[0])));
    assert_eq!(pair.bob.to_state().expose(), before);
}

/// Whether any 32 bytes of a stolen state are a message's key, or a chain key a few steps before it.
fn state_opens(state: &[u8], context: &[u8; 32], (envelope, header): &(Vec<u8>, [u8; HEADER_LEN])) -> bool {
    let envelope = Envelope::parse(envelope).unwrap();
    let opening = Opening::new(&envelope);
    let nonce = crate::codec::Reader::whole(header, Header::read).unwrap().nonce;
    let opens = |key: &[u8; 32]| opening.body(key, context, header, &nonce).is_some();
    state.windows(32).any(|window| {
        let mut key: [u8; 32] = window.try_into().unwrap();
        opens(&key)
            || (0..4).any(|_| {
                let (mut next, mut message_key) = ([0; 32], [0; 32]);
                kdf_ck(&key, &mut next, &mut message_key);
                key = next;
                opens(&message_key)
            })
    })
}

/// Whoever steals a state has no key of what was opened before, and those of what was skipped or is to come.
#[test]
fn stolen_state_opens_nothing_of_the_past() {
    let mut pair = Pair::answered();
    let context = ratchet_of(&pair.bob).context;
    let header_of = |bob: &Session, bytes: &[u8]| {
        let envelope = Envelope::parse(bytes).unwrap();
        let opening = Opening::new(&envelope);
        let mut lines = ratchet_of(bob).lines.iter();
        (bytes.to_vec(), lines.find_map(|line| opening.header(line.keys.header_key(), &context)).unwrap())
    };
    let (mut past, mut skipped) = (Vec::new(), Vec::new());
    for turn in 0..4 {
        for n in 0..4 {
            let bytes = pair.from_alice();
            let seen = header_of(&pair.bob, &bytes);
            if turn == 3 && n == 1 {
                skipped.push(seen);
            } else {
                pair.bob.open(&Envelope::parse(&bytes).unwrap(), crate::keys::UnixTime(1)).unwrap();
                past.push(seen);
            }
        }
        if turn < 3 {
            let answer = pair.bob.seal(b"answer", Padding::default(), &mut pair.rng).unwrap();
            pair.alice.open(&Envelope::parse(&answer).unwrap(), crate::keys::UnixTime(1)).unwrap();
        }
    }
    let next = pair.from_alice();
    let next = header_of(&pair.bob, &next);
    let state = pair.bob.to_state();
    let stolen = state.expose();
    assert!(state_opens(stolen, &context, &next) && state_opens(stolen, &context, &skipped[0]));
    assert_eq!(past.len(), 15);
    for (number, message) in past.iter().enumerate() {
        assert!(!state_opens(stolen, &context, message), "{number}");
    }
}
