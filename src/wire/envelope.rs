//! What a relay carries. docs/PROTOCOL.md, "Envelope".

use crate::codec::Reader;
use crate::error::DecodeError;
use crate::limits::MAX_SEALED_LEN;
use crate::padding;
use crate::wire::VERSION;
use crate::wire::introduction::{IntroductionPrefix, PREFIX_LEN};
use crate::wire::sealed::{SealedMessage, Tag};

/// Length of the version and kind bytes.
pub(crate) const START_LEN: usize = 2;

/// The second byte of an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EnvelopeKind {
    /// A prefix stands in front of the sealed message.
    Introduction = 1,
    /// The sealed message alone.
    Sealed = 2,
}

impl EnvelopeKind {
    /// The first two bytes of an envelope of this kind, which its header authenticates.
    pub(crate) fn start(self) -> [u8; START_LEN] {
        match self {
            Self::Introduction => [VERSION, 1],
            Self::Sealed => [VERSION, 2],
        }
    }
}

/// An envelope as it came from the relay: well formed, nothing more.
///
/// ```text
/// version(1) = 1 || kind(1: introduction 1, sealed 2) || prefix(1970, introductions only) || sealed message
/// ```
///
/// Without the prefix its length is a bucket of the padding.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    pub(crate) prefix: Option<IntroductionPrefix<'a>>,
    pub(crate) sealed: SealedMessage<'a>,
}

impl<'a> Envelope<'a> {
    /// Longest envelope in bytes.
    pub const MAX_LEN: usize = MAX_SEALED_LEN + PREFIX_LEN;

    /// Bytes that an introduction's envelope has more than a sealed one.
    pub const INTRODUCTION_LEN: usize = PREFIX_LEN;

    /// Reads an envelope without copying.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes can't be an envelope.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        Reader::whole(bytes, |reader| {
            if reader.u8()? != VERSION {
                return Err(DecodeError::Version);
            }
            let (prefix, around) = match reader.u8()? {
                1 => (Some(IntroductionPrefix::read(reader)?), PREFIX_LEN),
                2 => (None, 0),
                _ => return Err(DecodeError::Invalid),
            };
            match bytes.len().saturating_sub(around) {
                len if padding::is_bucket(len) => {}
                len if len > MAX_SEALED_LEN => return Err(DecodeError::TooLong),
                _ => return Err(DecodeError::Invalid),
            }
            Ok(Self { prefix, sealed: SealedMessage::read(reader)? })
        })
    }

    /// Whether it is an introduction.
    pub fn is_introduction(&self) -> bool {
        self.prefix.is_some()
    }

    /// The name of the message in it.
    pub fn tag(&self) -> Tag {
        self.sealed.tag
    }

    pub(crate) fn kind(&self) -> EnvelopeKind {
        if self.prefix.is_some() { EnvelopeKind::Introduction } else { EnvelopeKind::Sealed }
    }
}
