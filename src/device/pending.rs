//! Operations that are ready: what they would change is applied only once it is stored.

use crate::crypto::scrubbed;
use crate::device::Device;
use crate::device::changes::{Changes, Head, MailboxChanges};
use crate::device::event::Opened;
use crate::device::plan::Change;
use crate::device::records::Row;
use crate::secret::{GuardedVec, guard};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::fmt;
use core::mem;

/// An operation that is ready and has not happened yet.
///
/// [`Self::commit`] stores the records that change and, only if that succeeds, makes the change and gives the result.
/// Dropped, or not stored, it never was, and the same call can be made again.
#[must_use = "nothing happens until it is committed"]
pub struct Pending<'d, T> {
    device: &'d mut Device,
    plan: Vec<Change>,
    value: T,
    /// What people wrote, of the result: wiped if nobody takes it.
    text: GuardedVec,
    place: fn(&mut T) -> Option<&mut Vec<u8>>,
}

impl<'d, T> Pending<'d, T> {
    pub(super) fn new(device: &'d mut Device, plan: Vec<Change>, value: T) -> Self {
        Self { device, plan, value, text: guard(Vec::new()), place: |_| None }
    }

    /// Hands the changed records to `store`, which must write all of them or none, durably, and only if [`Changes::after`]
    /// gives them. When it returns `Ok`, the device has changed and the result is given: only now can an envelope leave, or a
    /// message be shown.
    ///
    /// # Errors
    /// Whatever `store` returns, after it has written nothing. The device has not changed. When a store can't say whether it
    /// has written (a connection lost while committing), drop the device and restore it from what the store then holds.
    pub fn commit<E>(self, store: impl FnOnce(&Changes) -> Result<(), E>) -> Result<T, E> {
        self.commit_with(|changes, _| store(changes))
    }

    /// As [`Self::commit`], and shows `store` the result, to be written **in the same transaction**: messages among those that
    /// were read, envelopes into a box of what is to be sent. Else a crash between the two loses it: the message was opened,
    /// the envelope is thought to be on its way. Nothing of it may be shown or sent before the transaction stands.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub fn commit_with<E>(self, store: impl FnOnce(&Changes, &T) -> Result<(), E>) -> Result<T, E> {
        let mut prepared = self.prepare();
        match prepared.show(store) {
            Ok(()) => Ok(prepared.stored()),
            Err(error) => {
                prepared.not_stored();
                Err(error)
            }
        }
    }

    /// The same in two steps, for a store that has to be awaited: look at what is to be written, write it, and say how that
    /// ended. Dropped after it was shown and before it was said, it leaves a device that has to be restored
    /// ([`Device::must_be_restored`]): nobody knows what the store holds.
    ///
    /// ```
    /// use sceau::{Device, Pending, Record};
    ///
    /// async fn kept<T>(pending: Pending<'_, T>, database: &Database) -> Result<T, Box<dyn std::error::Error>> {
    ///     let mut prepared = pending.prepare();
    ///     let head = database.read(sceau::RecordKey::HEAD.as_bytes()).await?;
    ///     let rows = prepared.show(|changes, _result| {
    ///         let row = |record: Record<'_>| match record {
    ///             Record::Put(key, bytes) => (*key.as_bytes(), Some(bytes.to_vec())),
    ///             Record::Delete(key) => (*key.as_bytes(), None),
    ///         };
    ///         changes.after(head.as_deref()).map(|records| records.map(row).collect::<Vec<_>>())
    ///     })?;
    ///     // All in one transaction, in which the head has to be what was read.
    ///     if !database.write(head, rows).await? {
    ///         prepared.not_stored();
    ///         return Err(sceau::error::Stale.into());
    ///     }
    ///     Ok(prepared.stored())
    /// }
    /// # struct Database;
    /// # impl Database {
    /// #     async fn read(&self, _: &[u8; 17]) -> std::io::Result<Option<Vec<u8>>> { Ok(None) }
    /// #     async fn write(&self, _: Option<Vec<u8>>, _: Vec<([u8; 17], Option<Vec<u8>>)>) -> std::io::Result<bool> { Ok(true) }
    /// # }
    /// ```
    pub fn prepare(self) -> Prepared<'d, T> {
        let Self { device, plan, value, text, place } = self;
        let mut applied = Applied::new(device, plan);
        let mailboxes = mem::take(&mut applied.mailboxes);
        let changes = scrubbed::<RECORDS_STACK, _>(|| applied.device.changes(&applied.rows, applied.before, mailboxes));
        Prepared { applied, changes, value, text, place }
    }
}

/// An operation that is being stored ([`Pending::prepare`]).
///
/// Dropped before it was shown, it never was. Dropped afterwards, as when whoever waited for the database is cancelled, nobody
/// knows whether it was written: the device has to be restored from what the store then holds
/// ([`Device::must_be_restored`]), and until then no store takes anything of it.
#[must_use = "nothing has happened until it is stored"]
pub struct Prepared<'d, T> {
    applied: Applied<'d>,
    changes: Changes,
    value: T,
    text: GuardedVec,
    place: fn(&mut T) -> Option<&mut Vec<u8>>,
}

impl<T> Prepared<'_, T> {
    /// Shows the records that change and the result, to be written in one transaction as [`Pending::commit_with`] says.
    pub fn show<R>(&mut self, look: impl FnOnce(&Changes, &T) -> R) -> R {
        let Self { applied, changes, value, text, place } = self;
        applied.shown = true;
        let shown = Shown::new(value, text, *place);
        look(changes, shown.value)
    }

    /// Looks at the records for someone who has not shown them to anybody yet.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&Changes) -> R) -> R {
        look(&self.changes)
    }

    /// They are written: the device has changed, and the result is given.
    pub fn stored(mut self) -> T {
        if let Some(place) = (self.place)(&mut self.value) {
            *place = mem::take(&mut *self.text);
        }
        self.applied.keep(self.changes.makes());
        self.value
    }

    /// Nothing of it was written: it never was.
    pub fn not_stored(mut self) {
        self.applied.shown = false;
    }
}

impl<T> fmt::Debug for Prepared<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("changes", &self.changes.len()).finish_non_exhaustive()
    }
}

/// A result that is looked at: what people wrote is in it for so long, and then where it is wiped unless it gets stored, also
/// after a panic in the caller's code.
struct Shown<'v, T> {
    value: &'v mut T,
    text: &'v mut GuardedVec,
    place: fn(&mut T) -> Option<&mut Vec<u8>>,
}

impl<'v, T> Shown<'v, T> {
    fn new(value: &'v mut T, text: &'v mut GuardedVec, place: fn(&mut T) -> Option<&mut Vec<u8>>) -> Self {
        if let Some(place) = place(value) {
            *place = mem::take(&mut **text);
        }
        Self { value, text, place }
    }
}

impl<T> Drop for Shown<'_, T> {
    fn drop(&mut self) {
        if let Some(place) = (self.place)(self.value) {
            **self.text = mem::take(place);
        }
    }
}

impl<'d> Pending<'d, Opened> {
    /// What was opened is given only when it is stored, and wiped if it is not.
    pub(super) fn opened(device: &'d mut Device, plan: Vec<Change>, mut opened: Opened) -> Self {
        fn place(opened: &mut Opened) -> Option<&mut Vec<u8>> {
            opened.event.text_mut()
        }
        let text = guard(place(&mut opened).map(mem::take).unwrap_or_default());
        Self { device, plan, value: opened, text, place }
    }
}

impl<T> fmt::Debug for Pending<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("changes", &self.plan.len()).finish_non_exhaustive()
    }
}

/// What is scrubbed of the stack after records were written.
const RECORDS_STACK: usize = 4_096;

/// What is scrubbed of the stack after each exchange of keys.
const SWAP_STACK: usize = 2_048;

/// A plan that is applied for as long as it takes to store it. Dropped, also by a panic in the caller's code, it undoes
/// itself. While it is there, and after it was forgotten, the device has no head: nothing else can be stored.
struct Applied<'d> {
    device: &'d mut Device,
    plan: Vec<Change>,
    rows: BTreeSet<Row>,
    /// The device's head.
    before: Option<Head>,
    mailboxes: MailboxChanges,
    /// Whether someone may have written it.
    shown: bool,
}

impl<'d> Applied<'d> {
    fn new(device: &'d mut Device, plan: Vec<Change>) -> Self {
        let before = device.head.take();
        let mut applied =
            Self { device, plan, rows: BTreeSet::new(), before, mailboxes: MailboxChanges::default(), shown: false };
        if before.is_some_and(Head::is_first) {
            applied.rows.insert(Row::Identity);
        }
        for change in &mut applied.plan {
            applied.device.rows_of(change, &mut applied.rows);
            applied.device.listened(change, &mut applied.mailboxes.gone);
            scrubbed::<SWAP_STACK, _>(|| applied.device.swap(change));
            applied.device.rows_of(change, &mut applied.rows);
            applied.device.listened(change, &mut applied.mailboxes.came);
        }
        applied.mailboxes.settle();
        applied
    }

    /// Makes it last. What was replaced is wiped.
    fn keep(mut self, head: Option<Head>) {
        self.before = head;
        self.shown = false;
        self.plan.clear();
    }
}

impl Drop for Applied<'_> {
    fn drop(&mut self) {
        for change in self.plan.iter_mut().rev() {
            scrubbed::<SWAP_STACK, _>(|| self.device.swap(change));
        }
        if !self.shown {
            self.device.head = self.before;
        }
    }
}
