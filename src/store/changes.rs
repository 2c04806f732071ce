//! The rows of one transaction, and the operation that they store.

use super::manifest::{Part, row_hash};
use super::{Mark, SealedStore};
use crate::device::{MailboxChanges, Prepared, RecordKey};
use crate::error::Stale;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

/// A row of the embedder's store: its key, and its bytes, or that it is to be deleted.
type Row = ([u8; RecordKey::LEN], Option<Vec<u8>>);

/// The rows of one transaction, the manifest among them.
#[derive(Clone)]
pub struct SealedChanges {
    pub(super) follows: Option<Follows>,
    pub(super) mark: Mark,
    pub(super) mailboxes: MailboxChanges,
    pub(super) head: Option<[u8; 32]>,
    pub(super) rows: Vec<Row>,
    pub(super) changed: BTreeMap<u8, Part>,
}

/// What the store has to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Follows {
    Nothing,
    /// SHA-256 of the row under the manifest's key.
    Row([u8; 32]),
}

impl SealedChanges {
    /// What to write, in one transaction, if the store stands where this one left it: bytes to put, or `None` to delete.
    /// `stored` is what the store holds under [`SealedStore::HEAD`], read in the same transaction.
    ///
    /// # Errors
    /// [`Stale`]: another process has written since, or an earlier write has ended without a word. Write nothing, open store
    /// and device again, and do the operation again.
    pub fn after(
        &self,
        stored: Option<&[u8]>,
    ) -> Result<impl Iterator<Item = (&[u8; RecordKey::LEN], Option<&[u8]>)>, Stale> {
        let found = stored.map_or(Follows::Nothing, |row| Follows::Row(row_hash(row)));
        if self.follows != Some(found) {
            return Err(Stale);
        }
        Ok(self.rows.iter().map(|(key, row)| (key, row.as_deref())))
    }

    /// Which addresses to listen on have come and gone.
    pub fn mailboxes(&self) -> &MailboxChanges {
        &self.mailboxes
    }

    /// What these rows leave. Keep it outside once they are written.
    pub fn mark(&self) -> Mark {
        self.mark
    }
}

/// An operation that is being stored in a sealed store ([`SealedStore::prepare`]).
///
/// Dropped before it was shown, it never was. Dropped afterwards, nobody knows whether it was written: open store and device
/// again. Until then neither of them writes anything.
#[must_use = "nothing has happened until it is stored"]
pub struct PreparedSealed<'d, 's, T> {
    pub(super) prepared: Prepared<'d, T>,
    pub(super) store: &'s mut SealedStore,
    pub(super) sealed: SealedChanges,
}

impl<T> PreparedSealed<'_, '_, T> {
    /// Shows the rows and the result, to be written in one transaction as [`SealedStore::commit`] says.
    pub fn show<R>(&mut self, look: impl FnOnce(&SealedChanges, &T) -> R) -> R {
        self.store.head = None;
        let sealed = &self.sealed;
        self.prepared.show(|_, value| look(sealed, value))
    }

    /// They are written, and the mark is kept: store and device have changed, and the result is given.
    pub fn stored(self) -> T {
        self.store.stored(self.sealed);
        self.prepared.stored()
    }

    /// Nothing of it was written: it never was.
    pub fn not_stored(self) {
        if let Some(Follows::Row(head)) = self.sealed.follows {
            self.store.head = Some(head);
        }
        self.prepared.not_stored();
    }
}

impl fmt::Debug for SealedChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedChanges").field("rows", &self.rows.len()).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for PreparedSealed<'_, '_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreparedSealed").field("rows", &self.sealed.rows.len()).finish_non_exhaustive()
    }
}
