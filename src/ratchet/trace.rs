//! What a ratchet holds, for test vectors.

use crate::crypto::kdf;
use crate::keys::Fingerprint;
use crate::labels::Label;
use crate::ratchet::chain::kdf_ck;
use crate::ratchet::state::{Ratchet, Sending};
use crate::ratchet::{erasure, offer};
use crate::secret::{Guarded, Secret, guarded};
use crate::vectors::{Value, object};
use crate::wire::sealed::Tag;
use alloc::vec::Vec;

/// As far ahead message keys are derived, twice as many as are kept.
const AHEAD: u32 = 4_000;

/// The 256 symbols of a coded string.
pub(crate) fn symbols(data: &[u8; 1568]) -> Vec<[u8; 32]> {
    let mut symbols = Vec::new();
    erasure::write_symbols(data, 0, 255, &mut symbols);
    erasure::write_symbols(data, 255, 1, &mut symbols);
    symbols.as_chunks().0.to_vec()
}

/// `(offer id, answer id)` of a key and a ciphertext.
pub(crate) fn kem_ids(key: &[u8; 1568], ciphertext: &[u8; 1568]) -> ([u8; 3], [u8; 3]) {
    let short = |hash: [u8; 32]| [hash[0], hash[1], hash[2]];
    let offer = short(kdf::hash(Label::KemOfferId, &[key]));
    (offer, short(kdf::hash(Label::KemAnswerId, &[key, ciphertext])))
}

/// What a root step mixes in: for the first offer of an initiator, `owner` is its fingerprint.
pub(crate) fn kem_mix(
    secret: &Secret<32>,
    owner: Option<&Fingerprint>,
    key: &[u8; 1568],
    ciphertext: &[u8; 1568],
) -> [u8; 64] {
    *offer::mix(secret, owner, key, ciphertext).expose()
}

impl Ratchet {
    /// The tag of any position of the sending chain, and its message key if that is yet to come and not far ahead.
    pub(crate) fn sending_at(&self, at: u32) -> Option<(Tag, Option<Guarded<32>>)> {
        let Sending::Active { keys, chain_key, n, .. } = &self.sending else { return None };
        let key = at.checked_sub(*n).filter(|ahead| *ahead < AHEAD).map(|ahead| {
            let (mut chain, mut next, mut key) = (*chain_key.expose(), guarded(), guarded());
            for _ in 0..=ahead {
                kdf_ck(&chain, &mut next, &mut key);
                chain = *next;
            }
            key
        });
        Some((keys.tag(at), key))
    }

    /// Keys and counters.
    pub(crate) fn trace(&self) -> Value {
        let sending = match &self.sending {
            Sending::Idle { previous_chain_len } => object! { "pn": *previous_chain_len },
            Sending::Active { key_pair, keys, chain_key, n, previous_chain_len } => object! {
                "ratchet_private": key_pair.private().expose(),
                "header_secret": keys.secret().expose(),
                "ck": chain_key.expose(),
                "n": *n,
                "pn": *previous_chain_len,
            },
        };
        let receiving = self.lines.iter().map(|line| {
            object! { "header_secret": line.keys.secret().expose(), "next": line.next }
        });
        let (own, peers) = self.kem_epochs();
        object! {
            "rk": self.root_key.expose(),
            "peer_ratchet_key": &self.remote.key.0,
            "sending": sending,
            "next_sending_header_secret": self.next_send.expose(),
            "receiving": receiving.collect::<Vec<_>>(),
            "receiving_ck": if self.lines.len() > 1 { Value::from(self.chain_key.expose()) } else { "none".into() },
            "skipped": self.skipped.len(),
            "kem_epochs": Vec::from([Value::from(own), Value::from(peers)]),
        }
    }
}
