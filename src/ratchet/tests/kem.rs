//! The KEM ratchet alone: two sides and the fragments between them.

use crate::codec::Reader;
use crate::error::DecodeError;
use crate::identity::IdentityKeyPair;
use crate::ratchet::kem::{Introduced, KemRatchet};
use crate::ratchet::receive::ReceiveError;
use crate::state;
use crate::wire::fragment::Fragments;
use crate::wire::payload::Tail;
use alloc::vec::Vec;
use chacha20::ChaCha20Rng;
use rand_core::SeedableRng;

/// Sends fragments from one side to the other; whether all were good.
pub(super) fn send(from: &mut KemRatchet, to: &mut KemRatchet, room: usize, rng: &mut ChaCha20Rng) -> bool {
    let bytes = fragments(from, room, rng);
    take_in(to, &bytes)
}

pub(super) fn fragments(from: &mut KemRatchet, room: usize, rng: &mut ChaCha20Rng) -> Vec<u8> {
    from.prepare(rng);
    let portion = from.take_portion(room);
    let mut bytes = Vec::new();
    (&*from, portion).write(&mut bytes);
    assert_eq!(bytes.len(), (&*from, portion).len());
    assert!(bytes.len() <= room + 1, "{} bytes for {room}", bytes.len());
    bytes
}

pub(super) fn take_in(to: &mut KemRatchet, bytes: &[u8]) -> bool {
    let fragments = Reader::whole(bytes, Fragments::read).unwrap();
    !fragments.bad && to.take_in(&fragments, true)
}

pub(super) fn image(kem: &KemRatchet) -> Vec<u8> {
    let mut out = state::image(KemRatchet::MAX_STATE_LEN);
    kem.write(&mut out);
    out.to_vec()
}

pub(super) fn restored(kem: &KemRatchet) -> KemRatchet {
    let bytes = image(kem);
    let restored = read(&bytes, kem).unwrap();
    assert_eq!(image(&restored), bytes);
    restored
}

/// Reads an image of the same side.
pub(super) fn read(bytes: &[u8], side: &KemRatchet) -> Result<KemRatchet, DecodeError> {
    let alice = alice();
    let introduced = side.initiator.as_ref().map_or(Introduced::This(alice.kem()), Introduced::Peer);
    Reader::whole(bytes, |reader| KemRatchet::read(reader, introduced))
}

/// Who has introduced herself.
pub(super) fn alice() -> IdentityKeyPair {
    IdentityKeyPair::generate(&mut ChaCha20Rng::from_seed([9; 32]))
}

/// Runs lockstep turns until `a` has mixed so many; each side follows what the other mixes, with equal secrets.
pub(super) fn run(a: &mut KemRatchet, b: &mut KemRatchet, epochs: u32, rng: &mut ChaCha20Rng) -> u32 {
    try_run(a, b, epochs, rng).unwrap()
}

fn try_run(a: &mut KemRatchet, b: &mut KemRatchet, epochs: u32, rng: &mut ChaCha20Rng) -> Result<u32, ReceiveError> {
    for turn in 1..2_000 {
        for a_speaks in [true, false] {
            let (from, to) = if a_speaks { (&mut *a, &mut *b) } else { (&mut *b, &mut *a) };
            let mixed = from.begin_chain();
            let followed = to.follow(from.sent_epoch())?;
            let bytes = |mix: Option<crate::ratchet::offer::Mix>| mix.map(|mix| *mix.expose());
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

pub(super) fn new() -> (KemRatchet, KemRatchet, ChaCha20Rng) {
    let alice = alice();
    let (a, b) = (Introduced::This(alice.kem()), Introduced::Peer(alice.public()));
    (KemRatchet::new(a), KemRatchet::new(b), ChaCha20Rng::from_seed([3; 32]))
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
    // An answer is due, and an offer: in too little room neither goes, and no fragment without symbols.
    for room in 0..43 {
        assert_eq!(fragments(&mut b, room, &mut rng), [0], "room {room}");
    }
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
    foreign[4] ^= 1;
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
    let mut forgetful = KemRatchet::empty();
    assert!(matches!(forgetful.follow(1), Err(ReceiveError::Diverged)));
}

#[test]
fn last_number_is_never_offered() {
    // The responder offers; what the initiator has of its own first offer is 6 bytes.
    let (mut b, mut a, mut rng) = new();
    let mut bytes = image(&a);
    bytes[..4].copy_from_slice(&(u32::MAX - 1).to_be_bytes());
    a = read(&bytes, &a).unwrap();
    let mut bytes = image(&b);
    bytes[10..14].copy_from_slice(&(u32::MAX - 1).to_be_bytes());
    b = read(&bytes, &b).unwrap();
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

/// A message with one fragment, of symbols that are all alike.
fn fragment(kind: u8, offer_id: [u8; 3], answer_id: [u8; 3], first: u8, count: u8) -> Vec<u8> {
    let mut bytes = Vec::from([1, kind, 0, 1]);
    bytes.extend(offer_id);
    bytes.extend(answer_id);
    bytes.extend([first, count]);
    bytes.resize(bytes.len() + 32 * usize::from(count), first);
    bytes
}

fn take_in_as(to: &mut KemRatchet, bytes: &[u8], newest: bool) -> bool {
    to.take_in(&Reader::whole(bytes, Fragments::read).unwrap(), newest)
}

/// Another offer, or another answer, takes the place of what was collected only if the peer's newest message brings it.
#[test]
fn other_ids_displace_only_in_newest_messages() {
    const NEWEST: bool = true;
    const OLDER: bool = false;
    let none = [0; 3];
    // The answerer: its stage, the offer's id and how many symbols are there, behind numbers and no offer of its own.
    let stage = |kem: &KemRatchet| image(kem)[9..14].to_vec();
    let (_, mut b, _) = new();
    for (id, first, newest, expected) in [
        ([1; 3], 0, OLDER, [0, 1, 1, 1, 1]),
        ([2; 3], 0, OLDER, [0, 1, 1, 1, 1]),
        ([1; 3], 1, OLDER, [0, 1, 1, 1, 2]),
        ([2; 3], 0, NEWEST, [0, 2, 2, 2, 1]),
    ] {
        assert!(take_in_as(&mut b, &fragment(1, id, none, first, 1), newest));
        assert_eq!(stage(&b), expected, "{id:?} {newest}");
    }
    let (mut a, mut b, mut rng) = new();
    while stage(&b)[0] == 0 {
        let bytes = fragments(&mut a, 476, &mut rng);
        assert!(take_in_as(&mut b, &bytes, NEWEST));
    }
    let received = image(&b);
    assert!(take_in_as(&mut b, &fragment(1, [2; 3], none, 0, 1), OLDER));
    assert_eq!(image(&b), received);
    let mut answering = restored(&b);
    assert!(take_in_as(&mut b, &fragment(1, [2; 3], none, 0, 1), NEWEST));
    assert_eq!(stage(&b), [0, 2, 2, 2, 1]);

    // The offerer: what it has of an answer, its id and how many symbols, behind how often its key was used.
    let answer = |kem: &KemRatchet| image(kem)[9..14].to_vec();
    let offer_id: [u8; 3] = fragments(&mut a, 476, &mut rng)[4..7].try_into().unwrap();
    for (id, newest, expected) in
        [([1; 3], OLDER, [1, 1, 1, 1, 1]), ([2; 3], OLDER, [1, 1, 1, 1, 1]), ([2; 3], NEWEST, [1, 2, 2, 2, 1])]
    {
        assert!(take_in_as(&mut a, &fragment(2, offer_id, id, 0, 1), newest));
        assert_eq!(answer(&a), expected, "{id:?} {newest}");
        // Only the newest message says whether the peer still answers.
        assert_eq!(image(&a)[8], u8::from(newest));
    }
    // Of an exchange that is over, or of none.
    let before = answer(&a);
    let mut other = fragment(2, offer_id, [3; 3], 0, 1);
    other[3] = 2;
    assert!(take_in_as(&mut a, &other, NEWEST));
    assert_eq!(answer(&a), before);
    // One that is not what its id says is told, and forgotten.
    assert!(!take_in_as(&mut a, &fragment(2, offer_id, [3; 3], 0, 49), NEWEST));
    assert_eq!(answer(&a)[0], 0);
    while answer(&a)[0] != 2 {
        let bytes = fragments(&mut answering, 476, &mut rng);
        assert!(take_in_as(&mut a, &bytes, NEWEST));
    }
    let whole = image(&a);
    assert!(take_in_as(&mut a, &fragment(2, offer_id, [3; 3], 0, 1), OLDER));
    assert_eq!(answer(&a), whole[9..14]);
    assert!(take_in_as(&mut a, &fragment(2, offer_id, [3; 3], 0, 1), NEWEST));
    assert_eq!(answer(&a), [1, 3, 3, 3, 1]);
}
