//! Forgeries by members, who have every symmetric key: all are refused, and nothing is kept of them.

use super::NOW;
use crate::IdentityKeyPair;
use crate::crypto::sign::SignPrivate;
use crate::error::OpenError;
use crate::group::chain::OwnChain;
use crate::group::*;
use crate::keys::{Fingerprint, UnixTime};
use crate::limits::MAX_CHAIN_LEN;
use crate::message::Opening;
use crate::message::Outbound;
use crate::padding::Padding;
use crate::wire::envelope::Envelope;
use crate::wire::roster::Announcement;
use alloc::vec::Vec;
use chacha20::ChaCha20Rng;
use rand_core::SeedableRng;

const TH: [u8; 32] = [7; 32];

struct Chains {
    group: GroupId,
    alice: Fingerprint,
    own: OwnChain,
    rng: ChaCha20Rng,
}

impl Chains {
    fn new() -> Self {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let group = GroupId::generate(&mut rng);
        let alice = IdentityKeyPair::generate(&mut rng).fingerprint();
        let own = OwnChain::generate(group, alice, 3, TH, NOW, &mut rng);
        Self { group, alice, own, rng }
    }

    fn announcement(&self) -> Announcement {
        self.own.announcement(3, TH)
    }

    fn seal(&mut self, content: &[u8]) -> Vec<u8> {
        let (mut step, envelope) =
            self.own.plan_seal(3, &TH, Outbound::text(content), Padding::default(), &mut self.rng).unwrap();
        self.own.swap(&mut step);
        envelope
    }
}

fn open(chain: &mut MemberChain, bytes: &[u8], transcript: [u8; 32]) -> Result<Vec<u8>, OpenError> {
    let envelope = Envelope::parse(bytes).unwrap();
    let mut planned = chain.plan_open(&Opening::new(&envelope), true, crate::keys::UnixTime(1), |_| Ok(transcript))?;
    chain.swap(&mut planned.step, &mut ());
    Ok(planned.content.to_vec())
}

#[test]
fn opens_in_any_order_once() {
    let mut chains = Chains::new();
    let mut bob = MemberChain::accept(chains.alice, &chains.announcement(), 0);
    let envelopes: Vec<_> = (0..5_u8).map(|i| chains.seal(&[i])).collect();
    for i in [3, 0, 4, 2, 1_u8] {
        assert_eq!(open(&mut bob, &envelopes[usize::from(i)], TH), Ok(Vec::from([i])));
    }
    for envelope in &envelopes {
        assert!(open(&mut bob, envelope, TH).is_err());
    }
}

/// Its sender could else have it shown under two names.
#[test]
fn message_under_another_tag_than_its_positions_is_refused() {
    let mut chains = Chains::new();
    let mut bob = MemberChain::accept(chains.alice, &chains.announcement(), 0);
    let forged = chains.own.plan_under_another_tag(&TH, &mut chains.rng);
    assert_eq!(open(&mut bob, &forged, TH), Err(OpenError::Rejected));
    let genuine = chains.seal(b"text");
    assert_eq!(open(&mut bob, &genuine, TH).unwrap(), b"text");
}

/// The newcomer gets the chain where it stands.
#[test]
fn what_came_before_the_announcement_is_closed() {
    let mut chains = Chains::new();
    let before = chains.seal(b"before");
    let mut carol = MemberChain::accept(chains.alice, &chains.announcement(), 0);
    let after = chains.seal(b"after");
    assert!(open(&mut carol, &before, TH).is_err());
    assert_eq!(open(&mut carol, &after, TH).unwrap(), b"after");
}

#[test]
fn another_roster_is_another_key_context() {
    let mut chains = Chains::new();
    let mut bob = MemberChain::accept(chains.alice, &chains.announcement(), 0);
    let envelope = chains.seal(b"text");
    let differs = OpenError::RosterDiffers(chains.group, chains.alice);
    assert_eq!(open(&mut bob, &envelope, [8; 32]), Err(differs));
    assert_eq!(open(&mut bob, &envelope, TH).unwrap(), b"text");
}

/// A chain can be announced up to its end, and not beyond.
#[test]
fn announced_positions_are_bounded() {
    let chains = Chains::new();
    for (n, good) in [(MAX_CHAIN_LEN - 1, true), (MAX_CHAIN_LEN, true), (MAX_CHAIN_LEN + 1, false), (u32::MAX, false)] {
        let mut announcement = chains.announcement();
        announcement.n = n;
        let mut bytes = Vec::new();
        announcement.write(&mut bytes);
        let read = crate::codec::Reader::whole(&bytes, Announcement::read);
        assert_eq!(read.is_ok_and(|read| read.n == n), good, "{n}");
    }
}

/// Beyond the window a message is found by a search alone.
#[test]
fn far_ahead_is_searched_for() {
    let mut chains = Chains::new();
    let bob = MemberChain::accept(chains.alice, &chains.announcement(), 0);
    let far = (0..30).map(|_| chains.seal(b"far")).last().unwrap();
    let envelope = Envelope::parse(&far).unwrap();
    let opened = |search| {
        bob.plan_open(&Opening::new(&envelope), search, crate::keys::UnixTime(1), |_| Ok(TH))
            .map(|planned| planned.lost)
    };
    assert_eq!(opened(false), Err(OpenError::Unknown));
    assert_eq!(opened(true), Ok(0));
}

/// A chain is replaced at its policy's age, and when a clock that ran ahead began it.
#[test]
fn chains_are_due_by_age() {
    let chains = Chains::new();
    let due = |now| chains.own.is_due(GroupPolicy { max_messages: 9, max_age: 10 }, UnixTime(now));
    let times = [NOW.0 - 11, NOW.0 - 10, NOW.0, NOW.0 + 9, NOW.0 + 10];
    assert_eq!(times.map(due), [true, false, false, false, true]);
}

/// Mallory, a member, announces Alice's chain as her own: other tags, other keys, nothing opens.
#[test]
fn a_copied_announcement_gains_nothing() {
    let mut chains = Chains::new();
    let mallory = IdentityKeyPair::generate(&mut chains.rng).fingerprint();
    let copied = chains.announcement();
    let mut as_mallorys = MemberChain::accept(mallory, &copied, 0);
    let envelope = chains.seal(b"by Alice");
    assert_eq!(open(&mut as_mallorys, &envelope, TH), Err(OpenError::Unknown));
    // In another group too.
    let mut elsewhere = chains.announcement();
    elsewhere.group = GroupId::from_bytes([9; 32]);
    let envelope = chains.seal(b"by Alice");
    assert_eq!(open(&mut MemberChain::accept(chains.alice, &elsewhere, 0), &envelope, TH), Err(OpenError::Unknown));
}

/// A member has all of Alice's symmetric keys, but not her signature: it can seal in her chain, and is refused.
#[test]
fn a_member_can_not_sign_for_another() {
    let mut chains = Chains::new();
    let mut bob = MemberChain::accept(chains.alice, &chains.announcement(), 0);
    // What Mallory can build from the announcement: everything but the seed.
    let mut image = Vec::new();
    chains.own.write(&mut image);
    let seed_at = image.len() - 40;
    let other = SignPrivate::generate(&mut chains.rng);
    image[seed_at..seed_at + 32].copy_from_slice(other.expose());
    let forger = crate::codec::Reader::whole(&image, |reader| OwnChain::read(reader, chains.alice)).unwrap();
    let (_, forged) =
        forger.plan_seal(3, &TH, Outbound::text(b"not by Alice"), Padding::default(), &mut chains.rng).unwrap();
    // Another verification key is another context: the body does not open.
    let differs = OpenError::RosterDiffers(chains.group, chains.alice);
    assert_eq!(open(&mut bob, &forged, TH), Err(differs));
    // With the right context and a wrong signature it opens, and is refused all the same.
    let forged = forger.plan_forged(&chains.own, &TH, b"not by Alice", &mut chains.rng);
    assert_eq!(open(&mut bob, &forged, TH), Err(OpenError::Rejected));
    let genuine = chains.seal(b"by Alice");
    assert_eq!(open(&mut bob, &genuine, TH).unwrap(), b"by Alice");
}

/// Two members are told different chain keys under one header secret: one envelope never opens to two contents.
#[test]
fn one_envelope_has_one_content() {
    let mut chains = Chains::new();
    let mut to_bob = chains.announcement();
    to_bob.chain_key = crate::secret::Secret::new(&[1; 32]);
    let mut bob = MemberChain::accept(chains.alice, &to_bob, 0);
    let mut carol = MemberChain::accept(chains.alice, &chains.announcement(), 0);
    let envelope = chains.seal(b"for whom?");
    assert!(open(&mut bob, &envelope, TH).is_err());
    assert!(open(&mut carol, &envelope, TH).is_ok());
}

#[test]
fn every_flipped_bit_and_every_spliced_part_is_refused() {
    let mut chains = Chains::new();
    let mut bob = MemberChain::accept(chains.alice, &chains.announcement(), 0);
    let (one, two) = (chains.seal(b"one"), chains.seal(b"two"));
    for bit in 0..one.len() * 8 {
        let mut damaged = one.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        if Envelope::parse(&damaged).is_ok() {
            assert!(open(&mut bob, &damaged, TH).is_err(), "bit {bit}");
        }
    }
    // tag, header, body of one in the other.
    for range in [2..18, 18..90, 90..640] {
        let mut spliced = one.clone();
        spliced[range.clone()].copy_from_slice(&two[range]);
        assert!(open(&mut bob, &spliced, TH).is_err());
    }
    assert_eq!(open(&mut bob, &two, TH).unwrap(), b"two");
    assert_eq!(open(&mut bob, &one, TH).unwrap(), b"one");
}

#[test]
fn images_are_canonical() {
    let mut chains = Chains::new();
    let mut bob = MemberChain::accept(chains.alice, &chains.announcement(), 4);
    chains.seal(b"skipped");
    let envelope = chains.seal(b"opened");
    open(&mut bob, &envelope, TH).unwrap();
    let mut image = Vec::new();
    bob.write(&mut image);
    let restored = crate::codec::Reader::whole(&image, MemberChain::read).unwrap();
    let mut again = Vec::new();
    restored.write(&mut again);
    // But for the skipped keys, which are stored beside it.
    assert_eq!(image[..image.len() - 4], again[..image.len() - 4]);
    let mut image = Vec::new();
    chains.own.write(&mut image);
    let restored = crate::codec::Reader::whole(&image, |reader| OwnChain::read(reader, chains.alice)).unwrap();
    let mut again = Vec::new();
    restored.write(&mut again);
    assert_eq!(image, again);
}
