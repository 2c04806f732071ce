//! The sparse KEM ratchet: KEM exchanges in both directions, side by side, in the room that padding leaves.
//!
//! Knows numbers, keys and fragments; neither chains nor messages.
//!
//! ```text
//! offerer:    Due ──seal: make a key pair──▶ Open ──whole ciphertext: decapsulate──▶ Answer::Whole
//!              ▲                                                                         │
//!              └──────────────────── sending root step: mix the secret ──────────────────┘
//! answerer:   Collecting ──whole key──▶ Received ──seal: encapsulate──▶ Answering
//!              ▲                                                          │
//!              └────────── receiving root step that says so: mix ─────────┘
//! ```
//!
//! The initiator's first offer is no fresh key but that of its identity: once its secret is mixed in, the responder knows that
//! it talks with whoever holds that identity's KEM key. Fresh ones follow.
//!
//! Why it heals: whoever stole one side's state lacks the randomness that this side uses afterwards, for its next key
//! pairs and for its next encapsulations. docs/PROTOCOL.md, "KEM ratchet".

use crate::codec::Write;
use crate::crypto::kem::{self, KemSeed};
use crate::keys::{IdentityKem, IdentityKey};
use crate::ratchet::erasure::{self, Assembly};
use crate::ratchet::offer::{Answer, Coded, Mix, OfferKey, OpenOffer, Run, Walk, add, answer_id, mix, offer_id};
use crate::ratchet::receive::ReceiveError;
use crate::wire::fragment::{FRAGMENT_OVERHEAD, Fragment, FragmentKind, FragmentStart, Fragments, SYMBOL_LEN, ShortId};
use crate::wire::payload::Tail;
use alloc::sync::Arc;
use rand_core::CryptoRng;

/// Who of the two has introduced itself: the first offer of that one is the KEM key of its identity.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Introduced<'a> {
    This(&'a Arc<IdentityKem>),
    Peer(&'a IdentityKey),
}

/// The part that offers keys. `number` counts from 1; all below it are mixed in.
#[derive(Clone)]
pub(super) struct Offerer {
    pub(super) number: u32,
    /// `None`: due, a key pair is made when a message is next sealed.
    pub(super) offer: Option<OpenOffer>,
}

/// The part that answers the peer's offers.
#[derive(Clone)]
pub(super) struct Answerer {
    pub(super) number: u32,
    pub(super) stage: Answering,
}

#[derive(Clone)]
pub(super) enum Answering {
    Collecting { id: ShortId, assembly: Assembly },
    Received { id: ShortId, key: Coded },
    Answered { offer_id: ShortId, answer_id: ShortId, ciphertext: Coded, mix: Mix, walk: Walk },
}

impl Answering {
    const START: Self = Self::Collecting { id: [0; 3], assembly: Assembly::EMPTY };
}

/// One side of the KEM ratchet. A copy to plan with shares keys and symbols, until it changes them; secrets are wiped with
/// the last of them.
#[derive(Clone)]
pub(crate) struct KemRatchet {
    pub(super) offerer: Offerer,
    pub(super) answerer: Answerer,
    /// The peer, if it has introduced itself: its first offer must be the key that its identity names.
    pub(super) initiator: Option<IdentityKey>,
}

/// The low 16 bits of a number, as fragments carry them.
fn low(number: u32) -> u16 {
    let [_, _, a, b] = number.to_be_bytes();
    u16::from_be_bytes([a, b])
}

impl Answerer {
    /// Takes in a fragment of the peer's offer; whether it was good. Only the newest message can bring another offer than
    /// the one at hand.
    fn take_in(&mut self, fragment: &Fragment<'_>, newest: bool, initiator: Option<&IdentityKey>) -> bool {
        let new_id = fragment.offer_id;
        match &self.stage {
            Answering::Received { id, .. } | Answering::Answered { offer_id: id, .. } if *id == new_id => return true,
            Answering::Collecting { id, .. } if *id == new_id => {}
            Answering::Collecting { assembly, .. } if assembly.len() == 0 => {
                self.stage = Answering::Collecting { id: new_id, assembly: Assembly::default() };
            }
            _ if !newest => return true,
            // The offerer fell back to an old image: what was collected or answered is for a key that is gone.
            _ => self.stage = Answering::Collecting { id: new_id, assembly: Assembly::default() },
        }
        let Answering::Collecting { assembly, .. } = &mut self.stage else { return true };
        add(assembly, fragment);
        let Some(key) = assembly.rebuild() else { return true };
        let named = || initiator.filter(|_| self.number == 1).is_none_or(|identity| identity.names_kem_key(&key));
        let good = offer_id(&key) == new_id && named() && kem::is_valid_public(&key);
        self.stage = if good { Answering::Received { id: new_id, key } } else { Answering::START };
        good
    }
}

impl KemRatchet {
    pub(crate) fn new(introduced: Introduced<'_>) -> Self {
        let (offer, initiator) = match introduced {
            Introduced::This(kem) => (Some(OpenOffer::new(OfferKey::identity(kem, 0))), None),
            Introduced::Peer(identity) => (None, Some(*identity)),
        };
        Self { offerer: Offerer { number: 1, offer }, initiator, ..Self::empty() }
    }

    /// In a step that changes nothing yet.
    pub(crate) fn empty() -> Self {
        let answerer = Answerer { number: 1, stage: Answering::START };
        Self { offerer: Offerer { number: 1, offer: None }, answerer, initiator: None }
    }

    /// How many own offers are mixed in: the header's `kem_epoch`.
    pub(crate) fn sent_epoch(&self) -> u32 {
        self.offerer.number.saturating_sub(1)
    }

    /// How many of the peer's offers are mixed in: what its headers must say.
    pub(crate) fn received_epoch(&self) -> u32 {
        self.answerer.number.saturating_sub(1)
    }

    // --- Sending -------------------------------------------------------------------------------------------------

    /// At a sending root step: what to mix in, if an offer was answered. The next offer is due.
    pub(crate) fn begin_chain(&mut self) -> Option<Mix> {
        match self.offerer.offer.take() {
            Some(OpenOffer { answer: Answer::Whole { mix, .. }, .. }) => {
                self.offerer.number = self.offerer.number.saturating_add(1);
                Some(mix)
            }
            offer => {
                self.offerer.offer = offer;
                None
            }
        }
    }

    /// Before a message is sealed: makes the key pair that is due (64 bytes drawn), and answers a key that is whole (32
    /// bytes drawn).
    pub(crate) fn prepare<R: CryptoRng + ?Sized>(&mut self, rng: &mut R) {
        // The last number is never offered: there is none after it.
        if self.offerer.offer.is_none() && self.offerer.number < u32::MAX {
            self.offerer.offer = Some(OpenOffer::new(OfferKey::fresh(KemSeed::generate(rng))));
        }
        if let Answering::Received { id, key } = &self.answerer.stage {
            let answer = kem::encapsulate(key, rng);
            let owner = self.initiator.filter(|_| self.answerer.number == 1).map(|identity| identity.fingerprint());
            self.answerer.stage = Answering::Answered {
                offer_id: *id,
                answer_id: answer_id(key, &answer.ciphertext),
                mix: mix(&answer.secret, owner.as_ref(), key, &answer.ciphertext),
                ciphertext: answer.ciphertext,
                walk: Walk::default(),
            };
        }
    }

    /// Which symbols go into a message with this room, the count's byte not counted.
    ///
    /// Until 49 symbols of each were sent once, ciphertext symbols go before offer symbols, unless all that is left of the
    /// offer fits into this message: the peer waits for it. From then on both get half. The key of an identity goes first: a
    /// peer that writes much more always has a ciphertext to wait for.
    pub(crate) fn take_portion(&mut self, room: usize) -> Portion {
        let symbols_in = |room: usize, fragments: usize| {
            room.saturating_sub(fragments.saturating_mul(FRAGMENT_OVERHEAD)).checked_div(SYMBOL_LEN).unwrap_or(0)
        };
        let (one, both) = (symbols_in(room, 1), symbols_in(room, 2));
        let offer = self.offerer.offer.as_mut();
        let offer = offer.filter(|offer| !offer.acknowledged && !matches!(offer.answer, Answer::Whole { .. }));
        let answer = match &mut self.answerer.stage {
            Answering::Answered { walk, .. } => Some(walk),
            _ => None,
        };
        let (for_answer, for_offer) = match (&answer, &offer) {
            (None, None) => (0, 0),
            (None, Some(_)) => (0, one),
            (Some(_), None) => (one, 0),
            (Some(walk), Some(offer)) => {
                let (answer_left, offer_left) = (walk.first_round_left(), offer.walk.first_round_left());
                let for_answer = if offer_left > 0 && offer.key.is_identity() {
                    1
                } else if answer_left > 0 && offer_left > 0 {
                    if offer_left <= both { both.saturating_sub(offer_left) } else { both.min(answer_left) }
                } else {
                    both / 2
                };
                // A message without any would say that this side has fallen back.
                let for_answer = for_answer.max(1).min(both);
                (for_answer, both.saturating_sub(for_answer))
            }
        };
        Portion {
            answer: answer.filter(|_| for_answer > 0).map(|walk| walk.run(for_answer)),
            offer: offer.filter(|_| for_offer > 0).map(|offer| {
                offer.key.expand();
                offer.walk.run(for_offer)
            }),
        }
    }

    // --- Receiving -----------------------------------------------------------------------------------------------

    /// At a receiving root step: what the peer has mixed in, by the number that its header names.
    pub(crate) fn follow(&mut self, epoch: u32) -> Result<Option<Mix>, ReceiveError> {
        if epoch == self.received_epoch() {
            return Ok(None);
        }
        if epoch != self.answerer.number {
            return Err(ReceiveError::Violation);
        }
        match core::mem::replace(&mut self.answerer.stage, Answering::START) {
            Answering::Answered { mix, .. } => {
                self.answerer.number = self.answerer.number.saturating_add(1);
                Ok(Some(mix))
            }
            // The peer has mixed in an answer that this side has forgotten.
            _ => Err(ReceiveError::Diverged),
        }
    }

    /// Takes in the fragments of one message; whether all were good. `newest` says that no later message was opened
    /// before it: then an offer that it does not answer is not acknowledged any more, for the peer has fallen back.
    pub(crate) fn take_in(&mut self, fragments: &Fragments<'_>, newest: bool) -> bool {
        let mut all_good = true;
        let mut answers = false;
        for fragment in fragments.iter() {
            // Others are of an exchange that is over.
            match (fragment.kind, &mut self.offerer.offer) {
                (FragmentKind::Offer, _) if fragment.number == low(self.answerer.number) => {
                    all_good &= self.answerer.take_in(fragment, newest, self.initiator.as_ref());
                }
                (FragmentKind::Ciphertext, Some(offer)) if fragment.number == low(self.offerer.number) => {
                    let answers_it = offer.is_answered_by(fragment);
                    answers |= answers_it;
                    all_good &= !answers_it || offer.take_in(fragment, newest);
                }
                _ => {}
            }
        }
        if let Some(offer) = &mut self.offerer.offer {
            // Ids are public: what they say is branched on, not selected by.
            match (newest, answers) {
                (true, true) => offer.acknowledged = true,
                (true, false) => {
                    offer.acknowledged = false;
                    // An answerer sends its answer until it was mixed in. One that has stopped has forgotten it.
                    if matches!(offer.answer, Answer::Whole { .. }) {
                        offer.answer = Answer::None;
                    }
                }
                (false, _) => {}
            }
        }
        all_good
    }
}

impl core::fmt::Debug for KemRatchet {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("KemRatchet")
    }
}

/// The symbols that one message carries.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Portion {
    answer: Option<Run>,
    offer: Option<Run>,
}

impl Tail for (&KemRatchet, Portion) {
    fn len(&self) -> usize {
        let fragment =
            |(_, count): Run| usize::from(count).saturating_mul(SYMBOL_LEN).saturating_add(FRAGMENT_OVERHEAD);
        let fragments = [self.1.answer, self.1.offer].into_iter().flatten();
        fragments.fold(1, |len, run| len.saturating_add(fragment(run)))
    }

    fn write(&self, out: &mut impl Write) {
        let (KemRatchet { offerer, answerer, .. }, portion) = *self;
        out.u8(u8::from(portion.answer.is_some()).saturating_add(u8::from(portion.offer.is_some())));
        if let (Some((first, count)), Answering::Answered { offer_id, answer_id, ciphertext, .. }) =
            (portion.answer, &answerer.stage)
        {
            let start = FragmentStart {
                kind: FragmentKind::Ciphertext,
                number: low(answerer.number),
                offer_id: *offer_id,
                answer_id: *answer_id,
                first,
                count,
            };
            start.write(out);
            erasure::write_symbols(ciphertext, first, count, out);
        }
        let public = offerer.offer.as_ref().and_then(|offer| offer.key.public());
        if let (Some((first, count)), Some((offer_id, key))) = (portion.offer, public) {
            let (kind, number) = (FragmentKind::Offer, low(offerer.number));
            FragmentStart { kind, number, offer_id, answer_id: [0; 3], first, count }.write(out);
            erasure::write_symbols(key, first, count, out);
        }
    }
}
