//! What a body holds: content, fragments, zeros. docs/PROTOCOL.md, "Payload".

use crate::codec::{Reader, Write};
use crate::crypto::aead::{self, MAC_LEN};
use crate::crypto::sign::SIGNATURE_LEN;
use crate::error::DecodeError;
use crate::limits::MAX_CONTENT;
use crate::wire::fragment::Fragments;

/// Length of the key commitment: zeros that must come out of the body's decryption.
pub(crate) const COMMITMENT_LEN: usize = 32;

/// Bytes in front of the content.
pub(crate) const CONTENT_OFFSET: usize = COMMITMENT_LEN + 1 + 4;

/// What a content is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PayloadKind {
    Application,
    Receipt,
    /// A sender chain of a group.
    Announcement,
    /// A roster's commit, or a welcome.
    Roster,
    Control,
    /// What opens content that travels beside the message, and a note.
    Attachment,
    /// What opens a message that is too long for one envelope, and travels beside it.
    LongMessage,
}

impl PayloadKind {
    /// Whether it is what people write, and not what devices say to each other.
    pub(crate) fn is_by_people(self) -> bool {
        matches!(self, Self::Application | Self::Attachment | Self::LongMessage)
    }

    pub(crate) fn byte(self) -> u8 {
        match self {
            Self::Application => 1,
            Self::Receipt => 2,
            Self::Announcement => 3,
            Self::Roster => 4,
            Self::Control => 5,
            Self::Attachment => 6,
            Self::LongMessage => 7,
        }
    }

    pub(crate) fn from_byte(byte: u8) -> Result<Self, DecodeError> {
        match byte {
            1 => Ok(Self::Application),
            2 => Ok(Self::Receipt),
            3 => Ok(Self::Announcement),
            4 => Ok(Self::Roster),
            5 => Ok(Self::Control),
            6 => Ok(Self::Attachment),
            7 => Ok(Self::LongMessage),
            _ => Err(DecodeError::Invalid),
        }
    }
}

/// What stands behind the commitment, if that is whole. By itself, so that the comparison is not among what may branch on
/// plaintext.
fn committed(body: &[u8]) -> Result<&[u8], DecodeError> {
    let (commitment, rest) = body.split_first_chunk::<COMMITMENT_LEN>().ok_or(DecodeError::Truncated)?;
    if aead::equal(commitment, &[0; COMMITMENT_LEN]) { Ok(rest) } else { Err(DecodeError::Invalid) }
}

/// A body's plaintext, read.
///
/// ```text
/// zeros(32) || kind(1) || content length(4) || content || fragment count(1) || fragments || zeros
/// ```
#[derive(Debug)]
pub(crate) struct Payload<'a> {
    pub(crate) kind: PayloadKind,
    pub(crate) content_len: usize,
    /// A bad one never costs the message its content.
    pub(crate) fragments: Fragments<'a>,
}

impl<'a> Payload<'a> {
    pub(crate) fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        Reader::whole(committed(body)?, |reader| {
            let kind = PayloadKind::from_byte(reader.u8()?)?;
            let content_len = reader.count(MAX_CONTENT)?;
            reader.slice(content_len)?;
            let fragments = Fragments::read(reader)?;
            if !reader.rest().iter().all(|&byte| byte == 0) {
                return Err(DecodeError::Invalid);
            }
            Ok(Self { kind, content_len, fragments })
        })
    }
}

/// The plaintext of a group message's body, read.
///
/// ```text
/// zeros(32) || kind(1: 1, 6 or 7) || content length(4) || content || 0(1) || signature(64) || zeros
/// ```
#[derive(Debug)]
pub(crate) struct GroupPayload<'a> {
    pub(crate) kind: PayloadKind,
    pub(crate) content_len: usize,
    /// What is signed: all up to the signature, the commitment apart.
    pub(crate) signed: &'a [u8],
    pub(crate) signature: &'a [u8; SIGNATURE_LEN],
}

impl<'a> GroupPayload<'a> {
    pub(crate) fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        Reader::whole(committed(body)?, |reader| {
            let (kind, content_len) = (PayloadKind::from_byte(reader.u8()?)?, reader.count(MAX_CONTENT)?);
            reader.slice(content_len)?;
            if !kind.is_by_people() || reader.u8()? != 0 {
                return Err(DecodeError::Invalid);
            }
            let end = CONTENT_OFFSET.saturating_add(content_len).saturating_add(1);
            let signed = body.get(COMMITMENT_LEN..end).ok_or(DecodeError::Truncated)?;
            let signature = reader.array()?;
            if !reader.rest().iter().all(|&byte| byte == 0) {
                return Err(DecodeError::Invalid);
            }
            Ok(Self { kind, content_len, signed, signature })
        })
    }
}

/// What stands behind a content: fragments with their count in front, or a signature.
pub(crate) trait Tail {
    fn len(&self) -> usize;
    fn write(&self, out: &mut impl Write);
}

impl Tail for &[u8] {
    fn len(&self) -> usize {
        <[u8]>::len(self)
    }

    fn write(&self, out: &mut impl Write) {
        out.bytes(self);
    }
}

/// Writes a payload into a body place that is all zeros and ends with room for a MAC. `None` if it does not fit.
pub(crate) fn write(body: &mut [u8], kind: PayloadKind, content: &[u8], tail: &impl Tail) -> Option<()> {
    let room = body.len().checked_sub(CONTENT_OFFSET + MAC_LEN)?;
    if content.len().saturating_add(tail.len()) > room {
        return None;
    }
    let mut place = Place(body.get_mut(COMMITMENT_LEN..)?);
    place.u8(kind.byte());
    place.count(content.len());
    place.bytes(content);
    tail.write(&mut place);
    Some(())
}

/// Fills a place from its start. What does not fit is left out; callers check first.
#[derive(Debug)]
pub(crate) struct Place<'a>(pub(crate) &'a mut [u8]);

impl Write for Place<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        let place = core::mem::take(&mut self.0);
        if let Some((head, rest)) = place.split_at_mut_checked(bytes.len()) {
            head.copy_from_slice(bytes);
            self.0 = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    /// zeros, kind, length, content, no fragments, signature, zeros: nothing else is a payload of a group.
    #[test]
    fn group_payloads_have_one_form() {
        let good = [&[0; 32][..], &[1, 0, 0, 0, 2], b"hi", &[0], &[7; SIGNATURE_LEN], &[0; 9]].concat();
        let payload = GroupPayload::decode(&good).unwrap();
        assert_eq!((payload.signed, payload.signature), (&good[32..40], &[7; SIGNATURE_LEN]));
        for place in (0..32).chain([36, 39]).chain(good.len() - 9..good.len()) {
            let mut other = good.clone();
            other[place] ^= 1;
            assert!(GroupPayload::decode(&other).is_err(), "{place}");
        }
        for kind in [0, 2, 3, 4, 5, 8] {
            let mut other = good.clone();
            other[32] = kind;
            assert!(GroupPayload::decode(&other).is_err(), "kind {kind}");
        }
        assert!(GroupPayload::decode(&good[..good.len() - 10]).is_err());
    }

    #[test]
    fn content_is_written_up_to_the_room_for_the_mac() {
        let mut body = vec![0; CONTENT_OFFSET + 7 + MAC_LEN];
        assert_eq!(write(&mut body, PayloadKind::Application, &[9; 5], &&[8; 2][..]), Some(()));
        assert_eq!(body[CONTENT_OFFSET..], [&[9; 5][..], &[8; 2], &[0; MAC_LEN]].concat());
        let before = body.clone();
        assert_eq!(write(&mut body, PayloadKind::Application, &[7; 6], &&[7; 2][..]), None);
        assert_eq!(write(&mut body[..CONTENT_OFFSET], PayloadKind::Application, &[], &&[][..]), None);
        assert_eq!(body, before);
    }
}
