//! The sealed message under given keys: what sessions and groups share. docs/PROTOCOL.md, "Sealed message".
//!
//! Knows keys, headers as bytes and associated data; neither chains nor peers. Sealing goes body first, so that the
//! header can authenticate the body's hash; opening goes header first.

use crate::codec::Write;
use crate::crypto::aead::{self, MAC_LEN, NONCE_LEN};
use crate::crypto::kdf;
use crate::crypto::overwrite;
use crate::labels::Label;
use crate::secret::{GuardedVec, guard};
use crate::wire::envelope::{Envelope, EnvelopeKind, START_LEN};
use crate::wire::introduction::{IntroductionPrefix, PREFIX_LEN};
use crate::wire::payload::{self, COMMITMENT_LEN, CONTENT_OFFSET, PayloadKind, Place, Tail};
use crate::wire::sealed::{HEADER_LEN, SealedPlaces, Tag};
use alloc::vec::Vec;
use core::cell::{Cell, OnceCell};

/// Length of a header's associated data.
const HEADER_AD_LEN: usize = START_LEN + 32 + 32 + Tag::LEN + 32;
/// Length of a body's associated data.
const BODY_AD_LEN: usize = 32 + Tag::LEN + HEADER_LEN;

/// `version || kind || SHA-256(label || prefix) or zeros || context || tag || SHA-256(label || body)`.
fn header_ad(
    kind: EnvelopeKind,
    prefix_hash: &[u8; 32],
    context: &[u8; 32],
    tag: &Tag,
    body_hash: &[u8; 32],
) -> [u8; HEADER_AD_LEN] {
    concat(&[&kind.start(), prefix_hash, context, &tag.0, body_hash])
}

/// `context || tag || header plaintext`.
fn body_ad(context: &[u8; 32], tag: &Tag, header: &[u8; HEADER_LEN]) -> [u8; BODY_AD_LEN] {
    concat(&[context, &tag.0, header])
}

/// The nonce of a header: the first 12 bytes of its body's hash. The body's own nonce is random, and differs for
/// different bodies even without randomness, so that this one does not repeat even where a chain does, after a state was put back.
fn header_nonce(body_hash: &[u8; 32]) -> [u8; NONCE_LEN] {
    body_hash.first_chunk().copied().unwrap_or_default()
}

fn concat<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut whole = [0; N];
    let mut place = Place(&mut whole);
    for part in parts {
        place.bytes(part);
    }
    whole
}

/// A message to seal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outbound<'a> {
    pub(crate) kind: PayloadKind,
    pub(crate) content: &'a [u8],
}

#[cfg(test)]
impl<'a> Outbound<'a> {
    pub(crate) fn text(content: &'a [u8]) -> Self {
        Self { kind: PayloadKind::Application, content }
    }
}

/// What a message is sealed with.
pub(crate) struct Sealing<'a> {
    pub(crate) message_key: &'a [u8; 32],
    pub(crate) header_key: &'a [u8; 32],
    /// What the body is bound to.
    pub(crate) body_context: &'a [u8; 32],
    /// What the header is bound to; known before the header is read.
    pub(crate) header_context: &'a [u8; 32],
    pub(crate) tag: Tag,
    /// Ends with the body's nonce.
    pub(crate) header: [u8; HEADER_LEN],
    /// Where the nonce is not there yet: what it is drawn with.
    pub(crate) randomness: Option<[u8; NONCE_LEN]>,
    /// An introduction's prefix and its hash.
    pub(crate) prefix: Option<(&'a [u8; PREFIX_LEN], &'a [u8; 32])>,
}

impl Sealing<'_> {
    /// The nonce of a body: fresh with its randomness, and where that comes again under the same key, another one all the same
    /// unless everything that is sealed is the same. `payload` is all of it up to its zeros, or to a
    /// signature, in at most three parts.
    pub(crate) fn nonce(&self, randomness: &[u8; NONCE_LEN], sealed_len: usize, payload: &[&[u8]]) -> [u8; NONCE_LEN] {
        let len = u32::try_from(sealed_len).unwrap_or(u32::MAX).to_be_bytes();
        let header = self.header.split_last_chunk::<NONCE_LEN>().map_or(&[][..], |(start, _)| start);
        let mut nonce = [0; NONCE_LEN];
        let mut parts: [&[u8]; 7] = [self.body_context, &self.tag.0, header, &len, &[], &[], &[]];
        for (place, part) in parts.iter_mut().skip(4).zip(payload) {
            *place = part;
        }
        kdf::hedge(self.message_key, Label::BodyNonce, randomness, &parts, &mut nonce);
        nonce
    }

    /// The envelope, in a buffer that may be there already. `sealed_len` is a bucket; `tail` is what stands behind the
    /// content. `None` if it does not fit.
    pub(crate) fn envelope(
        &self,
        mut envelope: Vec<u8>,
        sealed_len: usize,
        kind: PayloadKind,
        content: &[u8],
        tail: &impl Tail,
    ) -> Option<Vec<u8>> {
        let (envelope_kind, prefix, prefix_hash) = match self.prefix {
            Some((prefix, hash)) => (EnvelopeKind::Introduction, prefix.as_slice(), *hash),
            None => (EnvelopeKind::Sealed, &[][..], [0; 32]),
        };
        let len = prefix.len().saturating_add(sealed_len);
        envelope.clear();
        envelope.reserve_exact(len);
        envelope.resize(len, 0);
        let (place, rest) = envelope.split_first_chunk_mut::<START_LEN>()?;
        *place = envelope_kind.start();
        let (place, sealed) = rest.split_at_mut_checked(prefix.len())?;
        place.copy_from_slice(prefix);

        let places = SealedPlaces::split(sealed)?;
        Place(places.tag).bytes(&self.tag.0);
        *places.header = self.header;
        payload::write(places.body, kind, content, tail)?;
        let (body, mac_place) = places.body.split_last_chunk_mut::<MAC_LEN>()?;
        if let Some(randomness) = &self.randomness {
            let end = CONTENT_OFFSET.checked_add(content.len())?.checked_add(tail.len())?;
            let payload = body.get(COMMITMENT_LEN..end)?;
            let nonce = self.nonce(randomness, sealed_len, &[payload]);
            *places.header.last_chunk_mut()? = nonce;
        }
        let ad = body_ad(self.body_context, &self.tag, places.header);
        *mac_place = aead::seal(self.message_key, places.header.last_chunk()?, &ad, body);

        let body_hash = kdf::hash(Label::Body, &[places.body]);
        let ad = header_ad(envelope_kind, &prefix_hash, self.header_context, &self.tag, &body_hash);
        *places.header_mac = aead::seal(self.header_key, &header_nonce(&body_hash), &ad, places.header);
        Some(envelope)
    }
}

/// An envelope with the hashes that its header authenticates, computed once, when they are needed: what nobody recognises is
/// not hashed.
pub(crate) struct Opening<'a> {
    pub(crate) envelope: &'a Envelope<'a>,
    prefix_hash: OnceCell<[u8; 32]>,
    body_hash: OnceCell<[u8; 32]>,
    /// Room for the body, for the first that asks for it.
    buffer: Cell<GuardedVec>,
}

impl<'a> Opening<'a> {
    pub(crate) fn new(envelope: &'a Envelope<'a>) -> Self {
        Self::with_buffer(envelope, guard(Vec::new()))
    }

    /// The same with room for the body that is there already; what is in it is overwritten.
    pub(crate) fn with_buffer(envelope: &'a Envelope<'a>, buffer: GuardedVec) -> Self {
        Self { envelope, buffer: Cell::new(buffer), prefix_hash: OnceCell::new(), body_hash: OnceCell::new() }
    }

    fn prefix_hash(&self) -> &[u8; 32] {
        self.prefix_hash.get_or_init(|| self.envelope.prefix.as_ref().map_or([0; 32], IntroductionPrefix::hash))
    }

    /// SHA-256(label || body ciphertext).
    pub(crate) fn body_hash(&self) -> &[u8; 32] {
        self.body_hash.get_or_init(|| kdf::hash(Label::Body, &[self.envelope.sealed.body]))
    }

    pub(crate) fn tag(&self) -> &Tag {
        &self.envelope.sealed.tag
    }

    /// Opens the header: everything in the envelope is then of someone who has its key.
    pub(crate) fn header(&self, header_key: &[u8; 32], context: &[u8; 32]) -> Option<[u8; HEADER_LEN]> {
        let sealed = &self.envelope.sealed;
        let body_hash = self.body_hash();
        let ad = header_ad(self.envelope.kind(), self.prefix_hash(), context, &sealed.tag, body_hash);
        let mut header = *sealed.header;
        aead::open(header_key, &header_nonce(body_hash), &ad, &mut header, sealed.header_mac).then_some(header)
    }

    /// Opens the body of a message whose header has opened. `None` when it does not open all the same.
    pub(crate) fn body(
        &self,
        message_key: &[u8; 32],
        context: &[u8; 32],
        header: &[u8; HEADER_LEN],
        nonce: &[u8; NONCE_LEN],
    ) -> Option<GuardedVec> {
        let (ciphertext, mac) = self.envelope.sealed.body.split_last_chunk::<MAC_LEN>()?;
        let mut body = self.buffer.take();
        if body.capacity() < ciphertext.len() {
            // Not by growing: that would leave what is in it.
            body = guard(Vec::with_capacity(ciphertext.len()));
        }
        overwrite(&mut body);
        body.clear();
        body.extend_from_slice(ciphertext);
        aead::open(message_key, nonce, &body_ad(context, self.tag(), header), &mut body, mac).then_some(body)
    }
}
