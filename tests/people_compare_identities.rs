//! Safety numbers, QR codes and short authentication strings, and a man in the middle who tries.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test is to fail loudly"
)]

use rand_core::Rng as _;
use sceau::Fingerprint;
use sceau::error::{DecodeError, VerificationError};
use sceau::verification::{PICTURES, QrCode, SafetyNumber, Sas, SasInitiator, SasResponder};
use sceau_testkit::rng;
use sha2::Digest as _;
use std::collections::BTreeSet;

const ALICE: Fingerprint = Fingerprint::from_bytes([1; 32]);
const BOB: Fingerprint = Fingerprint::from_bytes([2; 32]);
const MALLORY: Fingerprint = Fingerprint::from_bytes([3; 32]);

#[test]
fn safety_number_is_of_two_whole_identities() {
    let number = SafetyNumber::of(ALICE, BOB);
    assert_eq!(number, SafetyNumber::of(BOB, ALICE));
    assert_eq!(number.digits().len(), 60);
    assert_eq!(number.to_string().split(' ').map(str::len).collect::<Vec<_>>(), [5; 12]);
    // docs/PROTOCOL.md's example.
    assert_eq!(number.to_string(), "83075 17158 41122 04000 77208 35488 47686 71246 90695 55574 87387 30568");
    assert!(number.matches(&number.to_string()) && number.matches(&number.to_string().replace(' ', "\n")));
    assert!(!number.matches(&number.digits()[1..]) && !number.matches("") && !number.matches(&(number.digits() + "0")));
    for bit in 0..256 {
        let mut other = *BOB.as_bytes();
        other[bit / 8] ^= 1 << (bit % 8);
        let other = SafetyNumber::of(ALICE, Fingerprint::from_bytes(other));
        assert_ne!(other, number);
        assert!(!number.matches(&other.digits()));
    }
}

#[test]
fn qr_code_says_who_and_whom() {
    let shown = QrCode::encode(BOB, ALICE);
    assert_eq!(shown.len(), QrCode::LEN);
    assert_eq!(QrCode::check(&shown, ALICE, BOB), Ok(()));
    assert_eq!(QrCode::check(&shown, ALICE, MALLORY), Err(VerificationError::OtherPeer));
    // Bob has been given Mallory's identity for Alice's.
    assert_eq!(QrCode::check(&QrCode::encode(BOB, MALLORY), ALICE, BOB), Err(VerificationError::NotMe));
    // One's own code is not the peer's.
    assert_eq!(QrCode::check(&QrCode::encode(ALICE, BOB), ALICE, BOB), Err(VerificationError::OtherPeer));
    for bit in 0..shown.len() * 8 {
        let mut changed = shown.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(QrCode::check(&changed, ALICE, BOB).is_err());
    }
    for len in 0..shown.len() {
        let truncated = VerificationError::Malformed(DecodeError::Truncated);
        assert_eq!(QrCode::check(&shown[..len], ALICE, BOB), Err(truncated));
    }
}

/// The same code for scanners that give strings: upper case, digits and a colon, as a QR code's alphanumeric mode has them.
#[test]
fn qr_code_is_scanned_as_a_text() {
    let shown = QrCode::encode_text(BOB, ALICE);
    assert_eq!(shown.len(), 110);
    assert!(shown.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == ':'));
    assert_eq!(QrCode::check_text(&shown, ALICE, BOB), Ok(()));
    assert_eq!(QrCode::check_text(&shown, ALICE, MALLORY), Err(VerificationError::OtherPeer));
    assert_eq!(QrCode::check_text(&QrCode::encode_text(BOB, MALLORY), ALICE, BOB), Err(VerificationError::NotMe));
    // RFC 4648's alphabet, five bits each, from the first.
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let binary = QrCode::encode(BOB, ALICE);
    let bit = |i: usize| usize::from((binary[i / 8] >> (7 - i % 8)) & 1);
    let digits: String =
        (0..104).map(|i| char::from(alphabet[(0..5).fold(0, |sum, place| 2 * sum + bit(5 * i + place))])).collect();
    assert_eq!(shown, format!("SCEAU:{digits}"));
    // Any other text is another one: each place with each character, and every length.
    let malformed = |text: &str| matches!(QrCode::check_text(text, ALICE, BOB), Err(VerificationError::Malformed(_)));
    for place in 0..shown.len() {
        for other in (0..128_u8).map(char::from).filter(|c| !shown[place..].starts_with(*c)) {
            let changed = format!("{}{other}{}", &shown[..place], &shown[place + 1..]);
            assert!(QrCode::check_text(&changed, ALICE, BOB).is_err(), "{changed}");
            assert!(
                place >= 6 && alphabet.contains(&(u8::try_from(other).unwrap())) || malformed(&changed),
                "{changed}"
            );
        }
        assert!(malformed(&shown[..place]));
    }
    for around in [format!("{shown}\n"), format!(" {shown}"), format!("{shown}AAAAAAAA"), shown.to_lowercase()] {
        assert!(malformed(&around), "{around}");
    }
    assert!(malformed(&format!("SCEAU:{}\u{e9}{}", &digits[..50], &digits[52..])));
    let version = format!("SCEAU:B{}", &digits[1..]);
    assert_eq!(QrCode::check_text(&version, ALICE, BOB), Err(VerificationError::Malformed(DecodeError::Version)));
}

/// A run between two people, each with whom they take the other for.
fn run(seed: u64, alice_sees: Fingerprint, bob_sees: Fingerprint) -> (Sas, Result<Sas, VerificationError>) {
    let mut rng = rng(seed);
    let (alice, first) = SasInitiator::begin(ALICE, alice_sees, &mut rng);
    let (bob, second) = SasResponder::answer(BOB, bob_sees, &first, &mut rng).unwrap();
    let (alices, third) = alice.reveal(&second).unwrap();
    (alices, bob.finish(&third))
}

/// Computed by hand, from docs/PROTOCOL.md.
#[test]
fn known_answer() {
    let (alice, first) = SasInitiator::begin(ALICE, BOB, &mut rng(77));
    let (bob, second) = SasResponder::answer(BOB, ALICE, &first, &mut rng(78)).unwrap();
    let (sas, third) = alice.reveal(&second).unwrap();
    assert_eq!(bob.finish(&third), Ok(sas));
    let hash = |parts: &[&[u8]]| <[u8; 32]>::from(sha2::Sha256::digest(parts.concat()));
    let (nonce_a, nonce_b) = (&third[2..], &second[2..]);
    let commitment = hash(&[b"sceau/1 comparison commitment", ALICE.as_bytes(), BOB.as_bytes(), nonce_a]);
    assert_eq!(first, [&[1, 1][..], &commitment].concat());
    let key = hash(&[b"sceau/1 comparison transcript", ALICE.as_bytes(), BOB.as_bytes(), nonce_a, nonce_b]);
    let mut code = [0; 11];
    hkdf::Hkdf::<sha2::Sha256>::from_prk(&key).unwrap().expand(b"sceau/1 comparison code", &mut code).unwrap();
    let number = |bytes: &[u8]| bytes.iter().fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
    assert_eq!(sas.digits(), format!("{:06}", number(&code[..5]) % 1_000_000));
    let bits = number(&code[5..]) >> 6;
    let pictures: Vec<_> = (0..7).map(|i| PICTURES[usize::try_from((bits >> (36 - 6 * i)) & 63).unwrap()]).collect();
    assert_eq!(sas.pictures().to_vec(), pictures);
}

#[test]
fn honest_runs_agree_and_are_never_the_same() {
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let (alice, bob) = run(seed, BOB, ALICE);
        let bob = bob.unwrap();
        assert_eq!((alice.digits(), alice.pictures()), (bob.digits(), bob.pictures()));
        assert_eq!(alice.digits().len(), 6);
        seen.insert(alice.pictures().map(|picture| picture.symbol));
    }
    assert_eq!(seen.len(), 200);
    // Identities that differ are noticed: the commitment binds both.
    assert_eq!(run(1, MALLORY, ALICE).1, Err(VerificationError::Commitment));
    assert_eq!(run(1, BOB, MALLORY).1, Err(VerificationError::Commitment));
}

#[test]
fn wrong_and_repeated_steps_end_the_run() {
    let mut rng = rng(3);
    let malformed = |error| VerificationError::Malformed(error);
    let (alice, first) = SasInitiator::begin(ALICE, BOB, &mut rng);
    let (bob, second) = SasResponder::answer(BOB, ALICE, &first, &mut rng).unwrap();
    // Alice's own message comes back to her; Bob gets the first one again.
    assert_eq!(alice.reveal(&first).unwrap_err(), malformed(DecodeError::Invalid));
    assert_eq!(bob.finish(&first).unwrap_err(), malformed(DecodeError::Invalid));
    assert!(SasResponder::answer(BOB, ALICE, &second, &mut rng).is_err());
    // A third message of another run.
    let (bob, second) = SasResponder::answer(BOB, ALICE, &first, &mut rng).unwrap();
    let (other, _) = SasInitiator::begin(ALICE, BOB, &mut rng);
    let (_, third) = other.reveal(&second).unwrap();
    assert_eq!(bob.finish(&third).unwrap_err(), VerificationError::Commitment);
    for len in 0..first.len() {
        assert!(SasResponder::answer(BOB, ALICE, &first[..len], &mut rng).is_err());
    }
    // Every bit of what is revealed.
    for bit in 16..34 * 8 {
        let (alice, first) = SasInitiator::begin(ALICE, BOB, &mut rng);
        let (bob, second) = SasResponder::answer(BOB, ALICE, &first, &mut rng).unwrap();
        let (_, mut third) = alice.reveal(&second).unwrap();
        third[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(bob.finish(&third).unwrap_err(), VerificationError::Commitment);
    }
}

/// Digits that two strings have in common at the front.
fn common(one: &Sas, other: &Sas) -> usize {
    let (one, other) = (one.digits(), other.digits());
    one.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count()
}

/// A man in the middle answers Alice and begins with Bob. He can do no better than chance: of 20,000 runs a tenth agree in
/// the first digit, a hundredth in two, and so on, down to 10^-6 for all six.
#[test]
fn man_in_the_middle_has_one_guess_in_a_million() {
    const RUNS: usize = 20_000;
    let mut rng = rng(4);
    let mut agree = [0_usize; 7];
    for _ in 0..RUNS {
        let (alice, alices_first) = SasInitiator::begin(ALICE, MALLORY, &mut rng);
        // He has to commit to Bob before Bob answers, and to answer Alice before she reveals.
        let (to_bob, first) = SasInitiator::begin(MALLORY, BOB, &mut rng);
        let (bob, bobs_second) = SasResponder::answer(BOB, MALLORY, &first, &mut rng).unwrap();
        let (seen_by_bob, third) = to_bob.reveal(&bobs_second).unwrap();
        assert_eq!(bob.finish(&third).unwrap(), seen_by_bob);
        let (to_alice, second) = SasResponder::answer(MALLORY, ALICE, &alices_first, &mut rng).unwrap();
        let (seen_by_alice, alices_third) = alice.reveal(&second).unwrap();
        assert_eq!(to_alice.finish(&alices_third).unwrap(), seen_by_alice);
        for count in agree.iter_mut().take(common(&seen_by_alice, &seen_by_bob) + 1) {
            *count += 1;
        }
    }
    // Five standard deviations around what chance gives.
    for (digits, expected, slack) in [(1, 2_000, 215), (2, 200, 71), (3, 20, 23)] {
        let got = agree[digits];
        assert!(got.abs_diff(expected) <= slack, "{got} runs agree in {digits} digits");
    }
    assert!(agree[6] <= 1, "{} whole matches", agree[6]);
}

/// What docs and types warn of: who sends the first message knows the code first, and can drop a run unseen. He needs so many
/// runs as chance asks for: that is how often a person must have agreed. For two digits, about a hundred.
#[test]
fn dropping_runs_needs_as_many_agreements() {
    let mut rng = rng(6);
    let mut runs = 0_u32;
    for _ in 0..60 {
        let (alice, first) = SasInitiator::begin(ALICE, MALLORY, &mut rng);
        let (_, second) = SasResponder::answer(MALLORY, ALICE, &first, &mut rng).unwrap();
        let (target, _) = alice.reveal(&second).unwrap();
        loop {
            runs += 1;
            let (to_bob, first) = SasInitiator::begin(MALLORY, BOB, &mut rng);
            let (_, second) = SasResponder::answer(BOB, MALLORY, &first, &mut rng).unwrap();
            let (seen_by_bob, _) = to_bob.reveal(&second).unwrap();
            if common(&target, &seen_by_bob) >= 2 {
                break;
            }
        }
    }
    // 6,000 are expected; the standard deviation is about 770.
    assert!((3_000..10_000).contains(&runs), "{runs} agreements for 60 matches");
}

/// The control: were the nonce known before the other has to answer, as without a commitment, he would win; the test
/// above would see it.
#[test]
fn without_the_commitment_he_would_win() {
    let mut rng = rng(5);
    let mut best = 0;
    let (_, _, target) = {
        let (run, first) = SasInitiator::begin(MALLORY, BOB, &mut rng);
        let (_, second) = SasResponder::answer(BOB, MALLORY, &first, &mut rng).unwrap();
        let (sas, _) = run.reveal(&second).unwrap();
        (0, 0, sas)
    };
    let seed = rng.next_u64();
    for _ in 0..3_000 {
        // Alice's run again, as if her nonce were in clear: he tries answers until hers looks like Bob's.
        let (alice, _) = SasInitiator::begin(ALICE, MALLORY, &mut sceau_testkit::rng(seed));
        let mut nonce = [0; 32];
        rng.fill_bytes(&mut nonce);
        let (sas, _) = alice.reveal(&[&[1, 2][..], &nonce].concat()).unwrap();
        best = best.max(common(&sas, &target));
    }
    assert!(best >= 3, "{best} digits by search");
}

#[test]
fn pictures_are_distinct() {
    assert_eq!(PICTURES.iter().map(|picture| picture.symbol).collect::<BTreeSet<_>>().len(), 64);
    assert_eq!(PICTURES.iter().map(|picture| picture.name).collect::<BTreeSet<_>>().len(), 64);
    let table = include_str!("../docs/PROTOCOL.md");
    for (index, picture) in PICTURES.iter().enumerate() {
        assert!(table.contains(&format!("{index} {} {}", picture.symbol, picture.name)), "{index}");
    }
}

#[test]
fn fingerprints_are_shown_in_groups_of_four() {
    let name = sceau::Fingerprint::from_bytes(core::array::from_fn(|i| u8::try_from(i).unwrap()));
    let shown = "0001 0203 0405 0607 0809 0a0b 0c0d 0e0f 1011 1213 1415 1617 1819 1a1b 1c1d 1e1f";
    assert_eq!(name.to_string(), shown);
}
