//! The sealed message: tag, encrypted header, encrypted body. docs/PROTOCOL.md, "Sealed message".

use crate::codec::{Reader, Write};
use crate::crypto::aead::{MAC_LEN, NONCE_LEN};
use crate::error::DecodeError;
use crate::keys::DhPublic;
use crate::wire::payload::Place;
use core::fmt;

/// The name of a sealed message: a one-time pseudo-random string in clear, which only its two ends can foresee. Both
/// can use it to speak of the message, as receipts do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(pub(crate) [u8; Tag::LEN]);

impl Tag {
    /// Length in bytes.
    pub const LEN: usize = 16;

    /// A tag that was stored as bytes.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

crate::text::text!(Tag);

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tag({self})")
    }
}

/// Length of a header's plaintext.
pub(crate) const HEADER_LEN: usize = 56;

/// The header of a session's message.
///
/// ```text
/// ratchet public key(32) || pn(4) || n(4) || kem_epoch(4) || body nonce(12)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) ratchet_key: DhPublic,
    /// Messages in the sender's previous chain.
    pub(crate) previous_chain_len: u32,
    /// Position in this chain, from 0.
    pub(crate) n: u32,
    /// How many of its own KEM offers the sender has mixed in.
    pub(crate) kem_epoch: u32,
    pub(crate) nonce: [u8; NONCE_LEN],
}

impl Header {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            ratchet_key: DhPublic(*reader.array()?),
            previous_chain_len: reader.u32()?,
            n: reader.u32()?,
            kem_epoch: reader.u32()?,
            nonce: *reader.array()?,
        })
    }

    pub(crate) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        self.write(&mut Place(&mut bytes));
        bytes
    }

    fn write(&self, out: &mut impl Write) {
        out.bytes(&self.ratchet_key.0);
        out.u32(self.previous_chain_len);
        out.u32(self.n);
        out.u32(self.kem_epoch);
        out.bytes(&self.nonce);
    }
}

/// The header of a group's message.
///
/// ```text
/// zeros(20) || epoch(8) || zeros(12) || n(4) || body nonce(12)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GroupHeader {
    pub(crate) epoch: u64,
    /// Position in the sender's chain, from 0.
    pub(crate) n: u32,
    pub(crate) nonce: [u8; NONCE_LEN],
}

impl GroupHeader {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.zeros(20)?;
        let epoch = reader.u64()?;
        reader.zeros(12)?;
        Ok(Self { epoch, n: reader.u32()?, nonce: *reader.array()? })
    }

    pub(crate) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        let mut out = Place(&mut bytes);
        out.bytes(&[0; 20]);
        out.u64(self.epoch);
        out.bytes(&[0; 12]);
        out.u32(self.n);
        out.bytes(&self.nonce);
        bytes
    }
}

/// A sealed message as it came.
///
/// ```text
/// tag(16) || encrypted header(56) || header MAC(16) || encrypted body || body MAC(16)
/// ```
#[derive(Debug, Clone, Copy)]
pub(crate) struct SealedMessage<'a> {
    pub(crate) tag: Tag,
    pub(crate) header: &'a [u8; HEADER_LEN],
    pub(crate) header_mac: &'a [u8; MAC_LEN],
    /// The body's ciphertext and MAC.
    pub(crate) body: &'a [u8],
}

impl<'a> SealedMessage<'a> {
    pub(crate) fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            tag: Tag(*reader.array()?),
            header: reader.array()?,
            header_mac: reader.array()?,
            body: reader.rest(),
        })
    }
}

/// The places of a sealed message in a buffer that is to be filled.
#[derive(Debug)]
pub(crate) struct SealedPlaces<'a> {
    pub(crate) tag: &'a mut [u8; Tag::LEN],
    pub(crate) header: &'a mut [u8; HEADER_LEN],
    pub(crate) header_mac: &'a mut [u8; MAC_LEN],
    /// Body plaintext, to become ciphertext, and room for its MAC behind it.
    pub(crate) body: &'a mut [u8],
}

impl<'a> SealedPlaces<'a> {
    pub(crate) fn split(buffer: &'a mut [u8]) -> Option<Self> {
        let (tag, rest) = buffer.split_first_chunk_mut()?;
        let (header, rest) = rest.split_first_chunk_mut()?;
        let (header_mac, body) = rest.split_first_chunk_mut()?;
        Some(Self { tag, header, header_mac, body })
    }
}
