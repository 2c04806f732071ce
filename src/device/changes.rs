//! What an operation writes: records under opaque keys, and the head that says after which batch they come.
//!
//! A store holds its head in one of its rows. Whoever writes compares it first, in the same transaction: of two processes
//! that share a store the second one learns that it is late, and nothing is sealed twice at one position.

use crate::codec::{Reader, Write};
use crate::crypto::kdf;
use crate::device::records::start;
use crate::error::{DecodeError, Stale};
use crate::keys::MailboxAddress;
use crate::labels::Label;
use crate::state::{self, Image};
use alloc::vec::Vec;
use core::fmt;
use rand_core::CryptoRng;

/// The kind of the head's record.
pub(super) const HEAD_KIND: u8 = 0;
/// Length of the head's record.
const HEAD_LEN: usize = 2 + 8 + 16;

/// The key of a record in the embedder's store: stable, of fixed length, opaque. It tells the record's kind and nothing
/// of whom the record is about.
///
/// ```text
/// kind(1) || HMAC-SHA-256(the device's record secret, label || kind || id)[0..16]
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey([u8; Self::LEN]);

impl RecordKey {
    /// Length in bytes.
    pub const LEN: usize = 17;

    /// The key of the head: which batch the store took last. Always the same, and the only record without secrets.
    pub const HEAD: Self = Self([HEAD_KIND; Self::LEN]);

    pub(super) fn new(kind: u8, mac: &[u8; 16]) -> Self {
        let mut key = [kind; Self::LEN];
        for (to, from) in key.iter_mut().skip(1).zip(mac) {
            *to = *from;
        }
        Self(key)
    }

    /// The kind of the record, its first byte: docs/PROTOCOL.md, "Stored state".
    pub const fn kind(&self) -> u8 {
        let [kind, ..] = self.0;
        kind
    }

    /// A key as it was stored.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes to store under.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

crate::text::text!(RecordKey);

/// One record to write or to delete.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Record<'a> {
    /// Store these bytes under this key, in place of what is there. They hold secrets.
    Put(RecordKey, &'a [u8]),
    /// Delete what is stored under this key, if anything is.
    Delete(RecordKey),
}

impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put(key, bytes) => write!(f, "Put({key:?}, {} bytes)", bytes.len()),
            Self::Delete(key) => write!(f, "Delete({key:?})"),
        }
    }
}

/// Where a store stands: how many batches it has taken, and a hash over all of them.
///
/// ```text
/// generation(8) || digest(16)        digest = SHA-256(label || head before || (key || length(4) || record, or key || 2^32 - 1) each)[0..16]
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Head {
    generation: u64,
    digest: [u8; 16],
}

impl Head {
    /// Of a store that has taken no batch yet.
    pub(super) fn is_first(self) -> bool {
        self.generation == 0
    }

    /// Of a store that begins with all records of a device.
    pub(super) fn drawn<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut digest = [0; 16];
        rng.fill_bytes(&mut digest);
        Self { generation: 1, digest }
    }

    pub(super) fn write(self, out: &mut impl Write) {
        out.u64(self.generation);
        out.bytes(&self.digest);
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Reader::whole(bytes, |reader| {
            start(reader, HEAD_KIND)?;
            Ok(Self { generation: reader.u64()?, digest: *reader.array()? })
        })
    }

    fn image(self) -> Image {
        let mut out = state::image(HEAD_LEN);
        out.u8(state::VERSION);
        out.u8(HEAD_KIND);
        self.write(&mut out);
        Image::new(out)
    }

    /// The head after these rows.
    fn after(self, rows: &[(RecordKey, Option<Image>)]) -> Self {
        let mut digest = kdf::Sha::labelled(Label::Head);
        digest.update(&self.generation.to_be_bytes());
        digest.update(&self.digest);
        for (key, image) in rows {
            digest.update(key.as_bytes());
            let len = image.as_ref().map(|image| u32::try_from(image.expose().len()).unwrap_or(u32::MAX));
            digest.update(&len.unwrap_or(u32::MAX).to_be_bytes());
            digest.update(image.as_ref().map_or(&[], Image::expose));
        }
        Self { generation: self.generation.saturating_add(1), digest: kdf::truncate(&digest.finish()) }
    }
}

/// The records that an operation changes, to be stored in one transaction: all of them or none, and only in a store that
/// stands where the device left it ([`Self::after`]).
#[derive(Debug)]
pub struct Changes {
    /// The head among them, last.
    rows: Vec<(RecordKey, Option<Image>)>,
    /// Where the store has to stand. `None`: nobody knows.
    follows: Option<Head>,
    makes: Option<Head>,
    mailboxes: MailboxChanges,
}

/// Which addresses to listen on have come and gone with an operation ([`crate::Device::mailboxes`]).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MailboxChanges {
    /// Fetch from these too.
    pub came: Vec<MailboxAddress>,
    /// Nothing comes to these any more.
    pub gone: Vec<MailboxAddress>,
}

impl MailboxChanges {
    /// Leaves out what was there before and is there afterwards.
    pub(super) fn settle(&mut self) {
        let Self { came, gone } = self;
        came.retain(|address| match gone.iter().position(|before| before == address) {
            Some(at) => {
                gone.remove(at);
                false
            }
            None => true,
        });
    }
}

impl Changes {
    pub(super) fn new(
        mut rows: Vec<(RecordKey, Option<Image>)>,
        follows: Option<Head>,
        mailboxes: MailboxChanges,
    ) -> Self {
        let makes = if rows.is_empty() { follows } else { follows.map(|head| head.after(&rows)) };
        if let Some(head) = makes.filter(|_| !rows.is_empty()) {
            rows.push((RecordKey::HEAD, Some(head.image())));
        }
        Self { rows, follows, makes, mailboxes }
    }

    /// All records of a device, for an empty store.
    pub(super) fn whole(rows: Vec<(RecordKey, Option<Image>)>, head: Option<Head>) -> Self {
        Self { rows, follows: head.map(|_| Head::default()), makes: head, mailboxes: MailboxChanges::default() }
    }

    pub(super) fn makes(&self) -> Option<Head> {
        self.makes
    }

    /// The records, each once, if the store stands where this device left it. `stored` is what it holds under
    /// [`RecordKey::HEAD`], read in the transaction that writes the records; the head is one of these.
    ///
    /// # Errors
    /// [`Stale`]: another process has written since, or an earlier write of this device has ended without a word. Write
    /// nothing, restore the device from what the store holds, and do the operation again.
    pub fn after(&self, stored: Option<&[u8]>) -> Result<impl Iterator<Item = Record<'_>>, Stale> {
        let follows = self.follows.ok_or(Stale)?;
        let stands = match stored {
            None => follows.is_first(),
            Some(bytes) => Head::decode(bytes) == Ok(follows),
        };
        if stands { Ok(self.iter()) } else { Err(Stale) }
    }

    /// Whether nobody knows where the store has to stand: the device has to be restored.
    pub(crate) fn is_stale(&self) -> bool {
        self.follows.is_none()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        self.rows.iter().map(|(key, image)| match image {
            Some(image) => Record::Put(*key, image.expose()),
            None => Record::Delete(*key),
        })
    }

    /// Which addresses to listen on have come and gone. Store the list with the records.
    pub fn mailboxes(&self) -> &MailboxChanges {
        &self.mailboxes
    }

    /// How many records, the head among them.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether nothing is to be stored.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}
