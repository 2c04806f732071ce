//! A side's own offer of a KEM key: its key pair, how far it was sent, and what came of the answer.
//!
//! Knows keys, symbols and what they are bound to; neither numbers nor messages.

use crate::crypto::kdf;
use crate::crypto::kem::{KEM_CIPHERTEXT_LEN, KEM_PUBLIC_LEN, KemSeed};
use crate::keys::{Fingerprint, IdentityKem};
use crate::labels::Label;
use crate::limits::MAX_IDENTITY_ANSWERS;
use crate::ratchet::erasure::{Assembly, CODED_LEN, DATA_SYMBOLS};
use crate::secret::Secret;
use crate::wire::fragment::{Fragment, ShortId};
use alloc::sync::Arc;

const _: () = assert!(KEM_PUBLIC_LEN == CODED_LEN && KEM_CIPHERTEXT_LEN == CODED_LEN);

/// What a root step mixes in: `ss(32) || SHA-256(label || ek || ct)(32)`. Shared likewise.
pub(crate) type Mix = Arc<Secret<64>>;

/// Shared by a state and the plans made from it; public.
pub(super) type Coded = Arc<[u8; CODED_LEN]>;

/// Where the walk through the 256 symbols stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Walk {
    pub(super) next: u8,
    /// Symbols sent so far, counted up to 255.
    pub(super) sent: u8,
}

impl Walk {
    /// The next run of at most `most` symbols: the first index and how many.
    pub(super) fn run(&mut self, most: usize) -> Run {
        let first = self.next;
        let to_the_end = 256_u16.saturating_sub(u16::from(first));
        // 49 in one message are enough for anything.
        let most = u16::try_from(most).unwrap_or(u16::MAX).min(u16::from(DATA_SYMBOLS)).min(to_the_end);
        let count = u8::try_from(most).unwrap_or(DATA_SYMBOLS);
        self.next = first.wrapping_add(count);
        self.sent = self.sent.saturating_add(count);
        (first, count)
    }

    pub(super) fn first_round_left(self) -> usize {
        usize::from(DATA_SYMBOLS.saturating_sub(self.sent))
    }
}

/// The key pair of an own offer.
#[derive(Clone)]
pub(super) enum OfferKey {
    /// Made for this offer. The encapsulation key and its id come from the seed once they are needed: a session that rests
    /// does without.
    Fresh { seed: Arc<KemSeed>, public: Option<(ShortId, Coded)> },
    /// The identity's own; how often it has decapsulated in this session.
    Identity { kem: Arc<IdentityKem>, id: ShortId, answers: u8 },
}

/// An own offer.
#[derive(Clone)]
pub(super) struct OpenOffer {
    pub(super) key: OfferKey,
    pub(super) walk: Walk,
    /// Whether the peer's latest message answered it.
    pub(super) acknowledged: bool,
    pub(super) answer: Answer,
}

/// What has come of the answer to an own offer. The seed is kept until the secret is mixed: an answerer that fell back to
/// an old image answers once more.
#[derive(Clone)]
pub(super) enum Answer {
    None,
    Partial { id: ShortId, assembly: Assembly },
    Whole { id: ShortId, mix: Mix },
}

pub(super) fn offer_id(key: &[u8; CODED_LEN]) -> ShortId {
    let [a, b, c, ..] = kdf::hash(Label::KemOfferId, &[key]);
    [a, b, c]
}

pub(super) fn answer_id(key: &[u8; CODED_LEN], ciphertext: &[u8; CODED_LEN]) -> ShortId {
    let [a, b, c, ..] = kdf::hash(Label::KemAnswerId, &[key, ciphertext]);
    [a, b, c]
}

/// Binds a secret to its key and ciphertext; if the key is an identity's, to that too.
pub(super) fn mix(
    secret: &Secret<32>,
    owner: Option<&Fingerprint>,
    key: &[u8; CODED_LEN],
    ciphertext: &[u8; CODED_LEN],
) -> Mix {
    let binding = match owner {
        None => kdf::hash(Label::KemSecret, &[key, ciphertext]),
        Some(owner) => kdf::hash(Label::IdentityKemSecret, &[owner.as_bytes(), key, ciphertext]),
    };
    Arc::new(Secret::made(|bytes| {
        for (to, from) in bytes.iter_mut().zip(secret.expose().iter().chain(&binding)) {
            *to = *from;
        }
    }))
}

/// Adds the symbols of a fragment.
pub(super) fn add(assembly: &mut Assembly, fragment: &Fragment<'_>) {
    for (index, symbol) in (fragment.first..=u8::MAX).zip(fragment.symbols.as_chunks().0) {
        assembly.add(index, symbol);
    }
}

impl OfferKey {
    pub(super) fn fresh(seed: KemSeed) -> Self {
        Self::Fresh { seed: Arc::new(seed), public: None }
    }

    pub(super) fn identity(kem: &Arc<IdentityKem>, answers: u8) -> Self {
        Self::Identity { kem: kem.clone(), id: offer_id(kem.public()), answers }
    }

    pub(super) fn is_identity(&self) -> bool {
        matches!(self, Self::Identity { .. })
    }

    /// The encapsulation key and its id; `None` if it was not expanded yet.
    pub(super) fn public(&self) -> Option<(ShortId, &[u8; CODED_LEN])> {
        match self {
            Self::Fresh { public, .. } => public.as_ref().map(|(id, key)| (*id, &**key)),
            Self::Identity { kem, id, .. } => Some((*id, kem.public())),
        }
    }

    pub(super) fn expand(&mut self) {
        if let Self::Fresh { seed, public } = self {
            public.get_or_insert_with(|| {
                let key = Arc::new(*seed.expand().public());
                (offer_id(&key), key)
            });
        }
    }

    /// What an answer gives to mix in; `None` where an identity's key has decapsulated as often as it may.
    fn decapsulate(&mut self, ciphertext: &[u8; CODED_LEN]) -> Option<Mix> {
        match self {
            Self::Fresh { seed, .. } => {
                let pair = seed.expand();
                Some(mix(&pair.decapsulate(ciphertext), None, pair.public(), ciphertext))
            }
            Self::Identity { answers, .. } if *answers >= MAX_IDENTITY_ANSWERS => None,
            Self::Identity { kem, answers, .. } => {
                *answers = answers.saturating_add(1);
                Some(mix(&kem.decapsulate(ciphertext), Some(kem.owner()), kem.public(), ciphertext))
            }
        }
    }
}

impl OpenOffer {
    pub(super) fn new(key: OfferKey) -> Self {
        Self { key, walk: Walk::default(), acknowledged: false, answer: Answer::None }
    }

    /// Whether a fragment answers this offer, and not a key that is not this side's.
    pub(super) fn is_answered_by(&mut self, fragment: &Fragment<'_>) -> bool {
        self.key.expand();
        self.key.public().is_some_and(|(id, _)| id == fragment.offer_id)
    }

    /// Takes in a fragment of an answer to this offer; whether it was good. Only the newest message can bring another
    /// answer than the one at hand.
    pub(super) fn take_in(&mut self, fragment: &Fragment<'_>, newest: bool) -> bool {
        let new_id = fragment.answer_id;
        match &self.answer {
            Answer::Whole { id, .. } if *id == new_id => return true,
            Answer::Partial { id, .. } if *id == new_id => {}
            Answer::Whole { .. } | Answer::Partial { .. } if !newest => return true,
            _ => self.answer = Answer::Partial { id: new_id, assembly: Assembly::default() },
        }
        let Answer::Partial { assembly, .. } = &mut self.answer else { return true };
        add(assembly, fragment);
        let Some(ciphertext) = assembly.rebuild() else { return true };
        self.answer = Answer::None;
        self.key.expand();
        if self.key.public().is_none_or(|(_, key)| answer_id(key, &ciphertext) != new_id) {
            return false;
        }
        if let Some(mix) = self.key.decapsulate(&ciphertext) {
            self.answer = Answer::Whole { id: new_id, mix };
        }
        true
    }
}

/// First symbol and how many.
pub(super) type Run = (u8, u8);
