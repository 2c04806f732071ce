//! Images that no ratchet writes are refused.

use super::*;
use crate::ratchet::kem::Introduced;

/// Images whose skipped keys can't be of this session's chains, and one that says of itself what its chains deny.
#[test]
fn images_that_contradict_themselves_are_refused() {
    let mut pair = Pair::answered();
    pair.from_alice();
    let next = pair.from_alice();
    pair.bob.open(&Envelope::parse(&next).unwrap(), crate::keys::UnixTime(1)).unwrap();
    let image = pair.bob.to_state().expose().to_vec();
    let name = &pair.identities[1];
    assert!(Session::from_state(&image, name).is_ok());
    // The last of it: a skipped key's chain, position, time and key, and before these one count, one place, one chain's secret.
    let end = image.len();
    for (at, change) in [(end - 41, 0xf0), (end - 42, 0x01), (end - 44 - 8 - 1 - 1 - 32, 0x01)] {
        let mut changed = image.clone();
        changed[at] ^= change;
        assert!(Session::from_state(&changed, name).is_err(), "byte {at} of {end}");
    }
    // Confirmed, as nobody is before the peer's second chain.
    let pair = Pair::new();
    let mut image = pair.bob.to_state().expose().to_vec();
    assert!(Session::from_state(&image, &pair.identities[1]).is_ok());
    let confirmed = 1 + 96 + 40 + 32 + 2;
    assert_eq!(image[confirmed - 2..=confirmed + 1], [0, 1, 0, 0]);
    image[confirmed] = 1;
    assert!(Session::from_state(&image, &pair.identities[1]).is_err());
}

/// What a session writes into its image, with some bytes changed: whether it is a ratchet still.
fn ratchet_with(pair: &Pair, session: &Session, changes: &[(usize, &[u8])]) -> bool {
    let alices = session.status().initiator;
    let public = *pair.identities[0].public();
    let introduced = if alices { Introduced::This(pair.identities[0].kem()) } else { Introduced::Peer(&public) };
    let mut image = Vec::new();
    ratchet_of(session).write(&mut image);
    for (at, bytes) in changes {
        image[*at..*at + bytes.len()].copy_from_slice(bytes);
    }
    crate::codec::Reader::whole(&image, |reader| Ratchet::read(reader, introduced)).is_ok_and(|ratchet| {
        let mut again = Vec::new();
        ratchet.write(&mut again);
        // But for the number of skipped keys, which are not there.
        again.len() == image.len()
    })
}

#[test]
fn images_that_break_an_invariant_are_refused() {
    let most = MAX_CHAIN_LEN.to_be_bytes();
    let (more, one, none) = ((MAX_CHAIN_LEN + 1).to_be_bytes(), 1_u32.to_be_bytes(), [0; 4]);

    // Alice has sent, and received nothing: one line. `n` of what she sends, the length of the chain before, the first
    // line's number, how many there are, `next` of the one, then what the KEM ratchet counts.
    let pair = Pair::new();
    let alice = &pair.alice;
    let (n, previous, first, count, next) = (193, 197, 233, 241, 242 + 32);
    let (offers, answers) = (282, 292);
    assert!(ratchet_with(&pair, alice, &[]));
    assert!(ratchet_with(&pair, alice, &[(n, &most)]));
    for change in [
        (n, &none[..]),
        (n, &more),
        (previous, &one),
        (first, &1_u64.to_be_bytes()),
        (count, &[0]),
        (count, &[4]),
        (next, &one),
        (offers, &none),
        (offers, &2_u32.to_be_bytes()),
        (answers, &none),
        (answers, &2_u32.to_be_bytes()),
    ] {
        assert!(!ratchet_with(&pair, alice, &[change]), "{change:?}");
    }

    // Two lines; Alice is idle, so that what she sends takes less room: the present one, where she has received, and the next.
    let mut pair = Pair::answered();
    let (previous, current, next) = (97, 142 + 32, 142 + 36 + 32);
    assert!(ratchet_with(&pair, &pair.alice, &[(previous, &most), (current, &most)]));
    for change in [(previous, &more[..]), (current, &none), (current, &more), (next, &one)] {
        assert!(!ratchet_with(&pair, &pair.alice, &[change]), "{change:?}");
    }

    // Three; only then lines before them may have been forgotten.
    for _ in 0..3 {
        let envelope = pair.from_alice();
        pair.bob.open(&Envelope::parse(&envelope).unwrap(), crate::keys::UnixTime(1)).unwrap();
        let envelope = pair.bob.seal(b"text", Padding::default(), &mut pair.rng).unwrap();
        pair.alice.open(&Envelope::parse(&envelope).unwrap(), crate::keys::UnixTime(1)).unwrap();
    }
    let (first, count) = (133, 141);
    let end = u64::MAX / 2;
    assert!(ratchet_with(&pair, &pair.alice, &[(count, &[3])]));
    assert!(ratchet_with(&pair, &pair.alice, &[(first, &0_u64.to_be_bytes())]));
    assert!(ratchet_with(&pair, &pair.alice, &[(first, &end.to_be_bytes())]));
    assert!(!ratchet_with(&pair, &pair.alice, &[(first, &(end + 1).to_be_bytes())]));
}

/// A skipped key stands where its chain has been, under that chain's header secret.
#[test]
fn images_with_skipped_keys_elsewhere_are_refused() {
    let mut pair = Pair::answered();
    pair.from_alice();
    pair.from_alice();
    let third = pair.from_alice();
    pair.bob.open(&Envelope::parse(&third).unwrap(), crate::keys::UnixTime(1)).unwrap();
    assert_eq!(pair.bob.status().skipped, 2);
    let image = pair.bob.to_state();
    let (image, own) = (image.expose(), &pair.identities[1]);
    assert!(Session::from_state(image, own).is_ok());
    // Bob is active or idle: the line is found by its header secret. Messages 0 and 1 of it are the skipped ones.
    let lines = &ratchet_of(&pair.bob).lines;
    let secret = lines[lines.len() - 2].keys.secret().expose();
    let at = image.windows(32).position(|window| window == secret).unwrap() + 32;
    assert_eq!(image[at..at + 4], 3_u32.to_be_bytes());
    for (next, good) in [(2_u32, true), (1, false)] {
        let mut changed = image.to_vec();
        changed[at..at + 4].copy_from_slice(&next.to_be_bytes());
        assert_eq!(Session::from_state(&changed, own).is_ok(), good, "next {next}");
    }
    let mut changed = image.to_vec();
    changed[at - 1] ^= 1;
    assert!(Session::from_state(&changed, own).is_err(), "another header secret");
}
