//! What a message says of content that travels beside it. docs/PROTOCOL.md, "Attachments".

use crate::codec::{Reader, Write};
use crate::crypto::aead;
use crate::error::{DecodeError, StateError};
use crate::limits::MAX_ATTACHMENT;
use crate::secret::Secret;
use crate::state::{self, Image};
use core::fmt;

/// The key to an encrypted content that is stored elsewhere, its length and its name. It travels in a sealed message; the
/// ciphertext may lie anywhere.
///
/// ```text
/// key(32) || content length(8, at most 2^40) || SHA-256 of the ciphertext(32)
/// ```
pub struct Attachment {
    key: Secret<32>,
    content_len: u64,
    name: [u8; 32],
}

impl Attachment {
    pub(crate) const LEN: usize = 32 + 8 + 32;

    pub(crate) fn new(key: &[u8; 32], content_len: u64, name: [u8; 32]) -> Self {
        Self { key: Secret::new(key), content_len, name }
    }

    /// SHA-256 of the ciphertext: a name under which anyone can store it and check it.
    pub fn name(&self) -> &[u8; 32] {
        &self.name
    }

    /// Length of the content in bytes.
    pub fn content_len(&self) -> u64 {
        self.content_len
    }

    pub(crate) fn key(&self) -> &[u8; 32] {
        self.key.expose()
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (key, content_len, name) = (reader.array()?, reader.u64()?, *reader.array()?);
        if content_len > MAX_ATTACHMENT { Err(DecodeError::TooLong) } else { Ok(Self::new(key, content_len, name)) }
    }

    pub(crate) fn write(&self, out: &mut impl Write) {
        out.bytes(self.key.expose());
        out.u64(self.content_len);
        out.bytes(&self.name);
    }

    /// The image, 73 bytes, to store until the ciphertext has been fetched: `version(1)` and what travels. It holds the
    /// key.
    pub fn to_state(&self) -> Image {
        let mut out = state::image(Self::LEN.saturating_add(1));
        out.u8(state::VERSION);
        self.write(&mut out);
        Image::new(out)
    }

    /// Restores what [`Self::to_state`] gave.
    ///
    /// # Errors
    /// [`StateError::Malformed`] if the bytes are not an image of this version.
    pub fn from_state(image: &[u8]) -> Result<Self, StateError> {
        Ok(Reader::whole(image, |reader| {
            state::version(reader)?;
            Self::read(reader)
        })?)
    }
}

impl Clone for Attachment {
    fn clone(&self) -> Self {
        Self::new(self.key.expose(), self.content_len, self.name)
    }
}

impl PartialEq for Attachment {
    fn eq(&self, other: &Self) -> bool {
        (self.content_len, self.name) == (other.content_len, other.name)
            && aead::equal(self.key.expose(), other.key.expose())
    }
}

impl Eq for Attachment {}

impl fmt::Debug for Attachment {
    /// Not the name: with it, whoever reads a log could fetch the ciphertext.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attachment").field("content_len", &self.content_len).finish_non_exhaustive()
    }
}
