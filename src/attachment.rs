//! Content of any length that travels beside its message: encrypted once, for one peer or for a thousand.
//! docs/PROTOCOL.md, "Attachments".
//!
//! The ciphertext is padded, and goes wherever peers can fetch it; its name is its SHA-256. What opens it, an
//! [`Attachment`], goes in a sealed message ([`crate::Device::seal_attachment`]). In one go:
//!
//! ```
//! use sceau::attachment;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (key, ciphertext) = attachment::seal(b"a picture", &mut rand::rng())?;
//! assert_eq!(attachment::open(&key, &ciphertext)?, b"a picture");
//! # Ok(())
//! # }
//! ```
//!
//! Or chunk by chunk, in constant memory, with [`AttachmentSealer`] and [`AttachmentOpener`].
//!
//! **Stopping and going on.** An opener can go on later, in another process: store [`AttachmentOpener::to_state`] between
//! two chunks.
//!
//! A sealer can't, on purpose. Its key must serve one content only: whoever sees two contents under one key can read parts of
//! both and forge chunks. After a stop nothing shows that the content is still the same, nor whether a chunk had been sealed that
//! the stored state does not count. So seal into a file first, and upload that file; an upload can go on from any place, since the
//! ciphertext's bytes do not change. If sealing itself is interrupted, begin anew: a new sealer draws a new key.

pub use crate::wire::attachment::Attachment;

use crate::codec::{Reader, Write};
use crate::crypto::aead::{self, MAC_LEN};
use crate::crypto::kdf::{self, Sha};
use crate::crypto::stream::Stream;
use crate::error::{AttachmentError, StateError};
use crate::labels::Label;
use crate::limits::MAX_ATTACHMENT;
use crate::padding;
use crate::secret::{GuardedVec, Secret, guard};
use crate::state::{self, Image};
use alloc::vec::Vec;
use core::fmt;
use rand_core::CryptoRng;

/// Length of every chunk of ciphertext but the last, which may be shorter.
pub const CHUNK_LEN: usize = 65_536;

/// Bytes of plaintext in a whole chunk.
const ROOM: usize = CHUNK_LEN - MAC_LEN;
const _: () = assert!(ROOM == 65_520);

/// Zeros in front of the content, which commit to the key.
const COMMITMENT_LEN: usize = 32;

/// Seals a content that is in memory. Draws 32 bytes: the key comes from them and from the content, so that no other content is
/// ever sealed under it, even where a generator was put back to where it was.
///
/// # Errors
/// [`AttachmentError::TooLong`].
pub fn seal<R: CryptoRng + ?Sized>(content: &[u8], rng: &mut R) -> Result<(Attachment, Vec<u8>), AttachmentError> {
    let len = u64::try_from(content.len()).map_err(|_| AttachmentError::TooLong)?;
    let random = Secret::draw(rng);
    let key =
        Secret::made(|key| kdf::hedge(random.expose(), Label::AttachmentKey, &len.to_be_bytes(), &[content], key));
    let mut sealer = AttachmentSealer::with_key(len, key)?;
    let mut sealed = Vec::with_capacity(usize::try_from(sealer.sealed_len()).map_err(|_| AttachmentError::TooLong)?);
    let mut rest = content;
    while let Some(wanted) = sealer.wants() {
        let (head, tail) = rest.split_at_checked(wanted).ok_or(AttachmentError::WrongLength)?;
        sealed.extend_from_slice(&sealer.seal(head)?);
        rest = tail;
    }
    Ok((sealer.finish()?, sealed))
}

/// Opens a whole ciphertext.
///
/// # Errors
/// [`AttachmentError::WrongLength`], [`AttachmentError::Rejected`].
pub fn open(attachment: &Attachment, sealed: &[u8]) -> Result<Vec<u8>, AttachmentError> {
    // Before anything is allocated.
    if u64::try_from(sealed.len()) != Ok(sealed_len(attachment.content_len())) {
        return Err(AttachmentError::WrongLength);
    }
    let len = usize::try_from(attachment.content_len()).map_err(|_| AttachmentError::TooLong)?;
    let mut content = guard(Vec::with_capacity(len));
    let mut opener = AttachmentOpener::new(attachment);
    let mut rest = sealed;
    while let Some(wanted) = opener.wants() {
        let (head, tail) = rest.split_at_checked(wanted).ok_or(AttachmentError::WrongLength)?;
        content.extend_from_slice(&guard(opener.open(head)?));
        rest = tail;
    }
    opener.finish()?;
    Ok(core::mem::take(&mut *content))
}

/// The name of a ciphertext: its SHA-256.
pub fn name(sealed: &[u8]) -> [u8; 32] {
    let mut digest = Sha::new();
    digest.update(sealed);
    digest.finish()
}

/// Length of the ciphertext for a content: a Padmé length, then 16 bytes for each chunk.
pub fn sealed_len(content_len: u64) -> u64 {
    let padded = padded_len(content_len);
    padded.saturating_add(padded.div_ceil(wide(ROOM)).saturating_mul(wide(MAC_LEN)))
}

fn wide(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// Commitment, content and zeros.
fn padded_len(content_len: u64) -> u64 {
    padding::padded(content_len.saturating_add(wide(COMMITMENT_LEN)))
}

/// Where a stream stands, the same on both sides.
struct Progress {
    /// `label || content length`.
    ad: Vec<u8>,
    position: u32,
    /// Bytes of content to come.
    content: u64,
    /// Bytes of plaintext to come.
    padded: u64,
    digest: Sha,
}

/// What the next chunk holds.
struct Shape {
    commitment: usize,
    content: usize,
    zeros: usize,
    last: bool,
}

impl Shape {
    fn len(&self) -> usize {
        self.commitment.saturating_add(self.content).saturating_add(self.zeros)
    }
}

impl Progress {
    fn new(content_len: u64) -> Self {
        let mut ad = Vec::from(Label::Attachment.bytes());
        ad.u64(content_len);
        Self { ad, position: 0, content: content_len, padded: padded_len(content_len), digest: Sha::new() }
    }

    fn next(&self) -> Option<Shape> {
        let within = |len: u64, room: usize| usize::try_from(len).unwrap_or(usize::MAX).min(room);
        let len = within(self.padded, ROOM);
        let commitment = if self.position == 0 { COMMITMENT_LEN } else { 0 };
        let content = within(self.content, len.saturating_sub(commitment));
        let zeros = len.saturating_sub(commitment).saturating_sub(content);
        let last = self.padded <= wide(ROOM);
        (len > 0).then_some(Shape { commitment, content, zeros, last })
    }

    /// Passes over whole chunks that were taken in before. `None` if not one more follows on them.
    fn skip(&mut self, chunks: u32, midstate: &[u8; 32]) -> Option<()> {
        let plaintext = u64::from(chunks).saturating_mul(wide(ROOM));
        self.padded = self.padded.checked_sub(plaintext).filter(|left| *left > 0)?;
        let content = if chunks == 0 { 0 } else { plaintext.saturating_sub(wide(COMMITMENT_LEN)) };
        self.content = self.content.saturating_sub(content);
        self.position = chunks;
        self.digest = Sha::resume(midstate, u64::from(chunks).saturating_mul(wide(CHUNK_LEN / 64)));
        Some(())
    }

    fn pass(&mut self, shape: &Shape, ciphertext: &[u8]) {
        self.digest.update(ciphertext);
        self.position = self.position.saturating_add(1);
        self.content = self.content.saturating_sub(wide(shape.content));
        self.padded = self.padded.saturating_sub(wide(shape.len()));
    }
}

/// Seals a content of known length chunk by chunk, in constant memory. It can't be stored and continued: see the
/// [module](self).
pub struct AttachmentSealer {
    key: Secret<32>,
    stream: Stream,
    content_len: u64,
    progress: Progress,
}

impl AttachmentSealer {
    /// Begins. Draws 32 bytes: the key. It is drawn before the content is known: a generator that was put back to where it was
    /// must seal no other content ([`seal`] has no such limit).
    ///
    /// # Errors
    /// [`AttachmentError::TooLong`] above [`crate::limits::MAX_ATTACHMENT`].
    pub fn new<R: CryptoRng + ?Sized>(content_len: u64, rng: &mut R) -> Result<Self, AttachmentError> {
        Self::with_key(content_len, Secret::draw(rng))
    }

    fn with_key(content_len: u64, key: Secret<32>) -> Result<Self, AttachmentError> {
        if content_len > MAX_ATTACHMENT {
            return Err(AttachmentError::TooLong);
        }
        let stream = Stream::new(key.expose());
        Ok(Self { key, stream, content_len, progress: Progress::new(content_len) })
    }

    /// How many bytes of ciphertext there will be.
    pub fn sealed_len(&self) -> u64 {
        sealed_len(self.content_len)
    }

    /// How many bytes of content the next chunk takes: 0 where only padding is left, `None` behind the last chunk.
    pub fn wants(&self) -> Option<usize> {
        self.progress.next().map(|shape| shape.content)
    }

    /// Seals the next chunk, of exactly the bytes that [`Self::wants`] asks for.
    ///
    /// # Errors
    /// [`AttachmentError::WrongLength`]; nothing has changed.
    pub fn seal(&mut self, content: &[u8]) -> Result<Vec<u8>, AttachmentError> {
        let shape = self.progress.next().filter(|shape| shape.content == content.len());
        let shape = shape.ok_or(AttachmentError::WrongLength)?;
        let mut chunk = guard(Vec::with_capacity(shape.len().saturating_add(MAC_LEN)));
        chunk.resize(shape.commitment, 0);
        chunk.extend_from_slice(content);
        chunk.resize(shape.len(), 0);
        let ad = &self.progress.ad;
        if !self.stream.seal(self.progress.position, shape.last, ad, &mut chunk) {
            return Err(AttachmentError::TooLong);
        }
        self.progress.pass(&shape, &chunk);
        Ok(core::mem::take(&mut *chunk))
    }

    /// Ends: what opens the ciphertext, to be sealed in a message.
    ///
    /// # Errors
    /// [`AttachmentError::Unfinished`] before the last chunk.
    pub fn finish(self) -> Result<Attachment, AttachmentError> {
        match self.progress.next() {
            None => Ok(Attachment::new(self.key.expose(), self.content_len, self.progress.digest.finish())),
            Some(_) => Err(AttachmentError::Unfinished),
        }
    }
}

/// Opens a ciphertext chunk by chunk, in constant memory. Each chunk is authentic and in its place; only
/// [`Self::finish`] says that it was the whole.
pub struct AttachmentOpener {
    attachment: Attachment,
    stream: Stream,
    progress: Progress,
}

impl AttachmentOpener {
    /// Begins.
    pub fn new(attachment: &Attachment) -> Self {
        let progress = Progress::new(attachment.content_len());
        Self { stream: Stream::new(attachment.key()), attachment: attachment.clone(), progress }
    }

    /// How many bytes of the content have come out so far: where the next ones go in the file.
    pub fn content_position(&self) -> u64 {
        self.attachment.content_len().saturating_sub(self.progress.content)
    }

    /// How many bytes of the ciphertext have been taken in so far: from where to fetch on.
    pub fn sealed_position(&self) -> u64 {
        let padded = padded_len(self.attachment.content_len()).saturating_sub(self.progress.padded);
        padded.saturating_add(u64::from(self.progress.position).saturating_mul(wide(MAC_LEN)))
    }

    /// Where it stands, 109 bytes, to go on later, in another process: `version(1) || attachment(72) || chunks opened(4) ||
    /// state of SHA-256 behind them(32)`. It holds the key. `None` behind the last chunk: there is only [`Self::finish`] left.
    ///
    /// Store the content before the state that counts it. After a restart cut the file to [`Self::content_position`]: what is
    /// behind that comes again.
    pub fn to_state(&self) -> Option<Image> {
        self.progress.next()?;
        let mut out = state::image(Attachment::LEN.saturating_add(37));
        out.u8(state::VERSION);
        self.attachment.write(&mut out);
        out.u32(self.progress.position);
        out.bytes(&self.progress.digest.midstate()?);
        Some(Image::new(out))
    }

    /// Goes on from what [`Self::to_state`] gave.
    ///
    /// # Errors
    /// [`StateError::Malformed`] if the bytes are not an image of this version, [`StateError::Invariant`] if no chunk
    /// follows on so many.
    pub fn from_state(image: &[u8]) -> Result<Self, StateError> {
        let (attachment, position, midstate) = Reader::whole(image, |reader| {
            state::version(reader)?;
            Ok((Attachment::read(reader)?, reader.u32()?, reader.array()?))
        })?;
        let mut opener = Self::new(&attachment);
        opener.progress.skip(position, midstate).ok_or(StateError::Invariant)?;
        Ok(opener)
    }

    /// How many bytes of ciphertext the next chunk has; `None` behind the last: more is not of this attachment.
    pub fn wants(&self) -> Option<usize> {
        self.progress.next().map(|shape| shape.len().saturating_add(MAC_LEN))
    }

    /// Opens the next chunk; the result is its content, empty where it is padding.
    ///
    /// # Errors
    /// [`AttachmentError::WrongLength`] if it is not as long as [`Self::wants`] says, [`AttachmentError::Rejected`] if it
    /// was changed or stands elsewhere. Nothing has changed: fetch it again.
    pub fn open(&mut self, sealed: &[u8]) -> Result<Vec<u8>, AttachmentError> {
        let shape = self.progress.next().filter(|shape| shape.len().checked_add(MAC_LEN) == Some(sealed.len()));
        let shape = shape.ok_or(AttachmentError::WrongLength)?;
        let mut chunk: GuardedVec = guard(sealed.to_vec());
        let ad = &self.progress.ad;
        if !self.stream.open(self.progress.position, shape.last, ad, &mut chunk) {
            return Err(AttachmentError::Rejected);
        }
        let content = shape.commitment..shape.commitment.saturating_add(shape.content);
        let commitment = chunk.get(..content.start).unwrap_or_default();
        let zeros = chunk.get(content.end..).unwrap_or_default();
        let expected = [0; COMMITMENT_LEN];
        if !aead::equal(commitment, expected.get(..shape.commitment).unwrap_or_default())
            || !zeros.iter().all(|&byte| byte == 0)
        {
            return Err(AttachmentError::Rejected);
        }
        self.progress.pass(&shape, sealed);
        chunk.truncate(content.end);
        chunk.drain(..content.start);
        Ok(core::mem::take(&mut *chunk))
    }

    /// Ends: the whole ciphertext was there, and is the one that was named.
    ///
    /// # Errors
    /// [`AttachmentError::Unfinished`] before the last chunk, [`AttachmentError::Rejected`] if it is another ciphertext
    /// under the same key: drop the content.
    pub fn finish(self) -> Result<(), AttachmentError> {
        match self.progress.next() {
            Some(_) => Err(AttachmentError::Unfinished),
            None if self.progress.digest.finish() == *self.attachment.name() => Ok(()),
            None => Err(AttachmentError::Rejected),
        }
    }
}

impl fmt::Debug for AttachmentSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttachmentSealer").field("content_len", &self.content_len).finish_non_exhaustive()
    }
}

impl fmt::Debug for AttachmentOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttachmentOpener").field("position", &self.progress.position).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    /// Sealed by hand under the right key: a plaintext that does not begin with zeros, or does not end with them.
    #[test]
    fn commitment_and_padding_are_checked() {
        let key = [3; 32];
        for (place, good) in
            [(None, true), (Some(0), false), (Some(31), false), (Some(32 + 5), false), (Some(639), false)]
        {
            let mut chunk = vec![0; 640];
            chunk[32..37].copy_from_slice(b"hello");
            if let Some(place) = place {
                chunk[place] = 1;
            }
            assert!(Stream::new(&key).seal(0, true, &Progress::new(5).ad, &mut chunk));
            let attachment = Attachment::new(&key, 5, name(&chunk));
            assert_eq!(open(&attachment, &chunk).is_ok(), good, "{place:?}");
        }
    }
}
