//! What only the inside can see: calls of primitives, and that swapping a step back undoes it.

use crate::crypto::count::calls;
use crate::error::OpenError;
use crate::limits::{MAX_CHAIN_LEN, MAX_JUMP};
use crate::message::Opening;
use crate::padding::Padding;
use crate::ratchet::{ReceiveError, TagSink, TagSource, check_jump};
use crate::session::testing::{Pair, forge, forge_with};
use crate::session::{Content, Session};
use crate::wire::payload::PayloadKind;
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
            let result = Envelope::parse(&damaged).map(|envelope| pair.bob.search(&envelope));
            let made = calls() - before;
            assert!(!matches!(result, Ok(Ok(_))), "byte {byte}");
            assert_eq!((made.dh, made.kem, made.sign, made.chain_steps), (0, 0, 0, 0), "byte {byte}");
            assert!(made.aead_open <= 2, "byte {byte}");
        }
        let before = calls();
        pair.bob.open(&Envelope::parse(&genuine).unwrap()).unwrap();
        let made = calls() - before;
        assert_eq!((made.dh, made.kem, made.chain_steps), (u32::from(first_of_a_turn), 0, 1));
        // Known now: nothing at all is computed.
        let before = calls();
        let again = pair.bob.open(&Envelope::parse(&genuine).unwrap());
        assert_eq!((again, calls() - before), (Err(OpenError::Duplicate), crate::crypto::count::Calls::default()));
    }
}

/// A peer that breaks the protocol names a message as another one, or as none: a message has one name.
#[test]
fn message_under_another_tag_than_its_positions_is_refused() {
    let mut pair = Pair::answered();
    let before = pair.from_alice();
    pair.bob.open(&Envelope::parse(&before).unwrap()).unwrap();
    let coming = pair.from_alice();
    let coming = Envelope::parse(&coming).unwrap();
    for tag in [coming.tag(), Tag([7; 16])] {
        let forged = forge(&mut pair.alice, &mut pair.rng, |outgoing| outgoing.tag = tag);
        let result = pair.bob.search(&Envelope::parse(&forged).unwrap());
        assert!(matches!(result, Err(OpenError::Rejected | OpenError::Unknown)), "{result:?}");
    }
    pair.bob.open(&coming).unwrap();
    // Beyond the window, where only the header's key finds it.
    for _ in 0..30 {
        pair.from_alice();
    }
    let forged = forge(&mut pair.alice, &mut pair.rng, |outgoing| outgoing.tag = Tag([7; 16]));
    assert_eq!(pair.bob.search(&Envelope::parse(&forged).unwrap()), Err(OpenError::Unknown));
    let far = pair.from_alice();
    assert!(pair.bob.search(&Envelope::parse(&far).unwrap()).is_ok());
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
        let result = pair.alice.search(&Envelope::parse(&forged).unwrap());
        assert_eq!(result.map(|opened| opened.content), Err(OpenError::Violation(pair.names[1])));
    }
    let good = forge(&mut pair.bob, &mut pair.rng, |_| ());
    assert!(pair.alice.search(&Envelope::parse(&good).unwrap()).is_ok());
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

/// Anyone with a bundle can make one: it costs a handshake, and not 65,536 steps of a chain.
#[test]
fn introduction_far_into_its_chain_is_refused_before_the_chain_is_run() {
    let introduced = |lost: u32| {
        let before = calls();
        let first = |session: &mut Session, rng: &mut ChaCha20Rng| {
            for _ in 0..lost {
                session.seal(b"x", Padding::default(), rng).unwrap();
            }
            session.seal(b"x", Padding::default(), rng).unwrap()
        };
        let refused = Pair::introduced(first).err();
        // One to seal each, and as many to open the last.
        (refused, (calls() - before).chain_steps - (lost + 1))
    };
    assert_eq!(introduced(2_000), (None, 2_001));
    assert_eq!(introduced(2_001), (Some(OpenError::Rejected), 0));
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
        let opened = pair.bob.open(&Envelope::parse(&envelope).unwrap()).unwrap();
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
        let Ok(mut planned) = receiver.plan_search(&Opening::new(&envelope)) else { continue };
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

        let restored = Session::from_state(&after.0, pair.names[side]).unwrap();
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
        pair.bob.open(&Envelope::parse(&sealed.envelope).unwrap()).unwrap();
        if round % 3 == 0 {
            let bytes = pair.bob.seal(b"y", Padding::default(), &mut pair.rng).unwrap();
            pair.alice.open(&Envelope::parse(&bytes).unwrap()).unwrap();
        }
    }
}

mod kem {
    //! The KEM ratchet alone: two sides and the fragments between them.

    use crate::codec::Reader;
    use crate::ratchet::kem::KemRatchet;
    use crate::ratchet::receive::ReceiveError;
    use crate::state;
    use crate::wire::fragment::Fragments;
    use crate::wire::payload::Tail;
    use alloc::vec::Vec;
    use chacha20::ChaCha20Rng;
    use rand_core::SeedableRng;

    /// Sends fragments from one side to the other; whether all were good.
    fn send(from: &mut KemRatchet, to: &mut KemRatchet, room: usize, rng: &mut ChaCha20Rng) -> bool {
        let bytes = fragments(from, room, rng);
        take_in(to, &bytes)
    }

    fn fragments(from: &mut KemRatchet, room: usize, rng: &mut ChaCha20Rng) -> Vec<u8> {
        from.prepare(rng);
        let portion = from.take_portion(room);
        let mut bytes = Vec::new();
        (&*from, portion).write(&mut bytes);
        assert_eq!(bytes.len(), (&*from, portion).len());
        assert!(bytes.len() <= room + 1, "{} bytes for {room}", bytes.len());
        bytes
    }

    fn take_in(to: &mut KemRatchet, bytes: &[u8]) -> bool {
        let fragments = Reader::whole(bytes, Fragments::read).unwrap();
        !fragments.bad && to.take_in(&fragments, true)
    }

    fn image(kem: &KemRatchet) -> Vec<u8> {
        let mut out = state::image(KemRatchet::MAX_STATE_LEN);
        kem.write(&mut out);
        out.to_vec()
    }

    fn restored(kem: &KemRatchet) -> KemRatchet {
        let bytes = image(kem);
        let restored = Reader::whole(&bytes, KemRatchet::read).unwrap();
        assert_eq!(image(&restored), bytes);
        restored
    }

    /// Runs lockstep turns until `a` has mixed so many; each side follows what the other mixes, with equal secrets.
    fn run(a: &mut KemRatchet, b: &mut KemRatchet, epochs: u32, rng: &mut ChaCha20Rng) -> u32 {
        try_run(a, b, epochs, rng).unwrap()
    }

    fn try_run(
        a: &mut KemRatchet,
        b: &mut KemRatchet,
        epochs: u32,
        rng: &mut ChaCha20Rng,
    ) -> Result<u32, ReceiveError> {
        for turn in 1..2_000 {
            for a_speaks in [true, false] {
                let (from, to) = if a_speaks { (&mut *a, &mut *b) } else { (&mut *b, &mut *a) };
                let mixed = from.begin_chain();
                let followed = to.follow(from.sent_epoch())?;
                let bytes = |mix: Option<crate::ratchet::kem::Mix>| mix.map(|mix| *mix.expose());
                assert_eq!(bytes(mixed), bytes(followed));
                assert!(send(from, to, 476, rng));
                *from = restored(from);
            }
            if a.sent_epoch() >= epochs {
                return Ok(turn);
            }
        }
        panic!("it came to a standstill");
    }

    fn new() -> (KemRatchet, KemRatchet, ChaCha20Rng) {
        (KemRatchet::new(), KemRatchet::new(), ChaCha20Rng::from_seed([3; 32]))
    }

    #[test]
    fn both_mix_the_same_secrets_through_restarts_at_every_step() {
        let (mut a, mut b, mut rng) = new();
        let turns = run(&mut a, &mut b, 5, &mut rng);
        assert!(turns < 45, "{turns}");
        assert!(b.sent_epoch() >= 4);
    }

    #[test]
    fn smallest_room_moves_on_and_less_sends_nothing() {
        let (mut a, mut b, mut rng) = new();
        for room in 0..139 {
            let bytes = fragments(&mut a, room, &mut rng);
            assert!(bytes.len() <= room + 1 && (room >= 43 || bytes == [0]), "room {room}");
        }
        for _ in 0..60 {
            assert!(send(&mut a, &mut b, 139, &mut rng));
            assert!(send(&mut b, &mut a, 139, &mut rng));
        }
        assert!(a.begin_chain().is_some(), "139 bytes a message are enough");
    }

    #[test]
    fn answerer_that_never_answers_costs_nothing_more() {
        let (mut a, _, mut rng) = new();
        let mut longest = 0;
        for _ in 0..2_000 {
            fragments(&mut a, 476, &mut rng);
            assert!(a.begin_chain().is_none());
            longest = longest.max(image(&a).len());
        }
        assert!(longest <= 4 + 1 + 64 + 2 + 1 + 1 + 4 + 1 + 3 + 1, "{longest}");
    }

    /// At every point of an exchange either side falls back. The exchange starts again, unless the other side has
    /// already mixed in an answer that is forgotten: that has diverged, and is said.
    #[test]
    fn side_that_fell_back_to_an_old_image_recovers_or_has_diverged() {
        let (mut recovered, mut diverged) = (0, 0);
        for steps in 0..20 {
            for a_falls_back in [true, false] {
                let (mut a, mut b, mut rng) = new();
                run(&mut a, &mut b, 1, &mut rng);
                for _ in 0..3 {
                    send(&mut a, &mut b, 476, &mut rng);
                }
                let old = restored(if a_falls_back { &a } else { &b });
                for step in 0..steps {
                    let (from, to) = if step % 2 == 0 { (&mut a, &mut b) } else { (&mut b, &mut a) };
                    send(from, to, 476, &mut rng);
                }
                if a_falls_back {
                    a = old;
                } else {
                    b = old;
                }
                let epochs = a.sent_epoch();
                match try_run(&mut a, &mut b, epochs + 2, &mut rng) {
                    Ok(_) => recovered += 1,
                    Err(ReceiveError::Diverged) => diverged += 1,
                    Err(error) => panic!("{error:?}"),
                }
            }
        }
        assert!(recovered >= 20 && diverged >= 1, "{recovered} {diverged}");
    }

    /// A message of a future that its sender has forgotten comes late: it must not undo the exchange that goes on.
    #[test]
    fn late_fragments_of_a_lost_future_are_ignored() {
        let (mut a, mut b, mut rng) = new();
        let old = restored(&a);
        let late = fragments(&mut a, 476, &mut rng);
        a = old;
        let mut mixed = None;
        while mixed.is_none() {
            send(&mut a, &mut b, 476, &mut rng);
            send(&mut b, &mut a, 476, &mut rng);
            mixed = restored(&a).begin_chain();
        }
        let lost = Reader::whole(&late, Fragments::read).unwrap();
        assert!(b.take_in(&lost, false));
        run(&mut a, &mut b, 1, &mut rng);
    }

    #[test]
    fn foreign_stale_doubled_and_broken_fragments_do_no_harm() {
        let (mut a, mut b, mut rng) = new();
        let (mut c, mut d, _) = new();
        let mut old = Vec::new();
        for _ in 0..3 {
            let bytes = fragments(&mut a, 476, &mut rng);
            old.push(bytes.clone());
            assert!(take_in(&mut b, &bytes) && take_in(&mut b, &bytes), "doubled");
        }
        // An answer to somebody else's offer.
        for _ in 0..4 {
            send(&mut c, &mut d, 476, &mut rng);
        }
        let mut foreign = fragments(&mut d, 476, &mut rng);
        assert_eq!(foreign[1], 2, "a ciphertext");
        // Alone: what d offers of its own is good for a as for anyone.
        foreign[0] = 1;
        foreign.truncate(1 + 11 + usize::from(foreign[11]) * 32);
        let before = image(&a);
        assert!(take_in(&mut a, &foreign));
        assert_eq!(image(&a), before, "foreign");
        // One bit of a symbol: found when all are there, and the exchange starts again.
        let mut broken = fragments(&mut a, 476, &mut rng);
        broken[30] ^= 1;
        assert!(!take_in(&mut b, &broken), "reported");
        let epochs = a.sent_epoch();
        run(&mut a, &mut b, epochs + 1, &mut rng);
        // Of an exchange that is over.
        let before = image(&b);
        for bytes in old {
            assert!(take_in(&mut b, &bytes), "stale");
        }
        assert_eq!(image(&b), before);
    }

    #[test]
    fn epochs_that_cannot_be_are_refused() {
        let (mut a, mut b, mut rng) = new();
        run(&mut a, &mut b, 1, &mut rng);
        let epoch = b.received_epoch();
        assert!(matches!(restored(&b).follow(epoch), Ok(None)));
        assert!(matches!(restored(&b).follow(epoch + 2), Err(ReceiveError::Violation)));
        assert!(matches!(restored(&b).follow(epoch - 1), Err(ReceiveError::Violation)));
        // Mixed, they say, though this side knows of no answer: it has forgotten.
        let mut forgetful = KemRatchet::new();
        assert!(matches!(forgetful.follow(1), Err(ReceiveError::Diverged)));
    }

    #[test]
    fn last_number_is_never_offered() {
        let (mut a, mut b, mut rng) = new();
        let mut bytes = image(&a);
        bytes[..4].copy_from_slice(&(u32::MAX - 1).to_be_bytes());
        a = Reader::whole(&bytes, KemRatchet::read).unwrap();
        let mut bytes = image(&b);
        bytes[5..9].copy_from_slice(&(u32::MAX - 1).to_be_bytes());
        b = Reader::whole(&bytes, KemRatchet::read).unwrap();
        run(&mut a, &mut b, u32::MAX - 1, &mut rng);
        let epochs = b.sent_epoch();
        // It rests, while the other direction goes on.
        run(&mut b, &mut a, epochs + 3, &mut rng);
        assert_eq!(a.sent_epoch(), u32::MAX - 1);
    }

    #[test]
    fn images_are_bounded() {
        let (mut a, mut b, mut rng) = new();
        let mut longest = 0;
        for _ in 0..40 {
            send(&mut a, &mut b, 90, &mut rng);
            send(&mut b, &mut a, 90, &mut rng);
            longest = longest.max(image(&a).len()).max(image(&b).len());
        }
        assert!(longest > 1_700 && longest <= KemRatchet::MAX_STATE_LEN, "{longest}");
    }
}
