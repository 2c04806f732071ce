//! The operations that a log holds, in the order in which they came, and what is in whose past.
//!
//! Knows no rule. An index is less than that of everything that has the operation in its past. `base` spares most walks: all
//! that stands below an operation's base is in its past, but for what is *aside* (operations that can't count, and that nothing
//! which counts has in its past).

use super::names::Names;
use super::operation::{Change, Operation};
use crate::keys::OperationId;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// Where an operation stands.
pub(super) type At = u32;
/// Where an account stands in the list of accounts.
pub(super) type AccountAt = u32;

/// The owner's account is the first that a log meets.
pub(super) const OWNER: AccountAt = 0;

/// It changes what the log means: an effective operation.
pub(super) const EFFECTIVE: u8 = 1;
/// It is a retiring that counts.
pub(super) const RETIRING: u8 = 2;
/// It is a leaving.
pub(super) const LEAVING: u8 = 4;
/// It counts, or is in the past of one that does.
pub(super) const KEPT: u8 = 8;
/// It can't count, and nothing that counts has it in its past.
pub(super) const ASIDE: u8 = 16;
/// It stands at another place now.
pub(super) const MOVED: u8 = 32;

/// How far back, and over how many operations, a late operation's base is looked for. Beyond, it is left where its parents' are: an
/// operation on all heads knows its base without looking.
const MAX_BASE_WINDOW: u32 = 4_096;
const MAX_BASE_WALK: u64 = 4_096;

/// One operation, beside its bytes about 80 bytes.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: OperationId,
    pub(super) author: AccountAt,
    pub(super) device: u32,
    pub(super) height: u32,
    /// All below, but what is aside, is in its past.
    pub(super) base: At,
    parents: u32,
    parent_count: u8,
    pub(super) flags: u8,
    /// The operation as it was signed.
    pub(super) bytes: Box<[u8]>,
}

impl Entry {
    pub(super) fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The changes. What is held has been decoded before.
    pub(super) fn changes(&self) -> Vec<Change> {
        Operation::decode(&self.bytes).map(|operation| operation.changes).unwrap_or_default()
    }
}

/// Entries with their parents.
#[derive(Debug, Default)]
pub(super) struct Entries {
    first: At,
    list: Vec<Entry>,
    parents: Vec<At>,
}

impl Entries {
    fn get(&self, at: At) -> Option<&Entry> {
        self.list.get(place(at.checked_sub(self.first)?))
    }

    fn parents(&self, entry: &Entry) -> &[At] {
        let from = place(entry.parents);
        self.parents.get(from..from.saturating_add(usize::from(entry.parent_count))).unwrap_or_default()
    }

    fn push(&mut self, mut entry: Entry, parents: &[At]) {
        entry.parents = count(self.parents.len());
        entry.parent_count = u8::try_from(parents.len()).unwrap_or(u8::MAX);
        self.parents.extend_from_slice(parents);
        self.list.push(entry);
    }
}

/// A number of things as an index, and back. Logs stay far below 2^32.
pub(super) fn place(at: u32) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

pub(super) fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// All operations that a log holds.
#[derive(Debug, Default)]
pub(super) struct Index {
    entries: Entries,
    names: Names,
    /// Kept operations that no kept one builds on.
    pub(super) heads: BTreeSet<At>,
    /// How many are aside.
    pub(super) aside: BTreeSet<At>,
    /// How many are kept.
    pub(super) kept: usize,
}

impl Index {
    pub(super) fn len(&self) -> At {
        count(self.entries.list.len())
    }

    pub(super) fn get(&self, at: At) -> Option<&Entry> {
        self.entries.get(at)
    }

    pub(super) fn find(&self, id: &OperationId) -> Option<At> {
        self.names.find(&id.0, |at| self.get(at).is_some_and(|entry| entry.id == *id))
    }

    pub(super) fn flag(&mut self, at: At, flag: u8, on: bool) {
        if let Some(entry) = self.entries.list.get_mut(place(at)) {
            entry.flags = if on { entry.flags | flag } else { entry.flags & !flag };
        }
    }

    pub(super) fn is(&self, at: At, flag: u8) -> bool {
        self.get(at).is_some_and(|entry| entry.is(flag))
    }

    /// Takes in what was planned, in its order. Gives back what each changes.
    pub(super) fn extend(&mut self, overlay: Overlay) -> Vec<Vec<Change>> {
        let mut entries = overlay.entries;
        if entries.list.len() > self.entries.list.len() >> 3 {
            self.entries.list.reserve_exact(entries.list.len());
            self.entries.parents.reserve_exact(entries.parents.len());
        }
        for mut entry in core::mem::take(&mut entries.list) {
            let at = self.len();
            // What comes back from aside leaves its old place.
            if let Some(&old) = overlay.back.get(&at) {
                self.names.remove(&entry.id.0, old);
                self.aside.remove(&old);
                if let Some(old) = self.entries.list.get_mut(place(old)) {
                    old.flags = MOVED;
                    entry.bytes = core::mem::take(&mut old.bytes);
                }
            }
            self.names.insert(&entry.id.0, at);
            let parents = entries.parents(&entry).to_vec();
            self.entries.push(entry, &parents);
        }
        overlay.changes
    }

    pub(super) fn view(&self) -> View<'_> {
        View { index: self, overlay: None }
    }

    /// Where what stood there stands now.
    pub(super) fn resolve(&self, at: At) -> At {
        match self.get(at) {
            Some(entry) if entry.is(MOVED) => self.find(&entry.id).unwrap_or(at),
            _ => at,
        }
    }
}

/// Operations that are planned on top of an index.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    entries: Entries,
    /// What each changes.
    pub(super) changes: Vec<Vec<Change>>,
    /// Those that come back from aside: where they stood.
    pub(super) back: BTreeMap<At, At>,
    names: Names,
    /// Heads of the index on which a planned one builds, and planned heads.
    consumed: BTreeSet<At>,
    heads: BTreeSet<At>,
}

impl Overlay {
    pub(super) fn new(index: &Index) -> Self {
        Self { entries: Entries { first: index.len(), ..Entries::default() }, ..Self::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.list.len()
    }

    /// Where the next one will stand.
    pub(super) fn next(&self) -> At {
        self.entries.first.saturating_add(count(self.len()))
    }

    pub(super) fn find(&self, id: &OperationId) -> Option<At> {
        self.names.find(&id.0, |at| self.get(at).is_some_and(|entry| entry.id == *id))
    }

    pub(super) fn get(&self, at: At) -> Option<&Entry> {
        self.entries.get(at)
    }

    /// Adds an operation; its base and height follow from its parents. Returns where it stands and what that took.
    pub(super) fn push(&mut self, index: &Index, new: New, parents: &[At]) -> (At, u64) {
        let at = self.next();
        let (base, steps) = self.base(index, parents, at);
        let view = View { index, overlay: Some(self) };
        let height = parents.iter().filter_map(|&p| view.get(p)).map(|p| p.height.saturating_add(1)).max().unwrap_or(0);
        let New { id, author, device, changes, bytes } = new;
        let entry = Entry { id, author, device, height, base, parents: 0, parent_count: 0, flags: 0, bytes };
        self.changes.push(changes);
        self.entries.push(entry, parents);
        self.names.insert(&id.0, at);
        for &parent in parents {
            if !self.heads.remove(&parent) && index.heads.contains(&parent) {
                self.consumed.insert(parent);
            }
        }
        self.heads.insert(at);
        (at, steps)
    }

    /// The base of what stands at `at` with these parents.
    fn base(&self, index: &Index, parents: &[At], at: At) -> (At, u64) {
        let view = View { index, overlay: Some(self) };
        let open = index.heads.len().saturating_sub(self.consumed.len()).saturating_add(self.heads.len());
        let is_head = |p: &&At| self.heads.contains(p) || (index.heads.contains(p) && !self.consumed.contains(p));
        if parents.iter().filter(is_head).count() == open {
            return (at, 1);
        }
        let low = parents.iter().filter_map(|&p| view.get(p)).map(|p| p.base).max().unwrap_or(0);
        let (seen, steps) = match parents {
            [_] => (None, 1),
            _ if at.saturating_sub(low) > MAX_BASE_WINDOW => return (low, 1),
            _ => match view.past(parents, low, MAX_BASE_WALK) {
                Some((seen, steps)) => (Some(seen), steps),
                None => return (low, MAX_BASE_WALK),
            },
        };
        let mut base = low;
        while base < at && view.get(base).is_some_and(|entry| entry.flags & (ASIDE | MOVED) != 0)
            || seen.as_ref().map_or_else(|| parents.contains(&base), |seen| seen.has(base))
        {
            base = base.saturating_add(1);
        }
        (base, steps)
    }
}

/// What an operation is planned from.
#[derive(Debug)]
pub(super) struct New {
    pub(super) id: OperationId,
    pub(super) author: AccountAt,
    pub(super) device: u32,
    pub(super) changes: Vec<Change>,
    pub(super) bytes: Box<[u8]>,
}

/// A set of places from `first` on.
#[derive(Debug)]
pub(super) struct Set {
    first: At,
    words: Vec<u64>,
}

impl Set {
    /// An empty one for places from `first` to before `end`.
    pub(super) fn new(first: At, end: At) -> Self {
        let len = place(end.saturating_sub(first)).div_ceil(64);
        Self { first, words: alloc::vec![0; len] }
    }

    pub(super) fn has(&self, at: At) -> bool {
        let Some(bit) = at.checked_sub(self.first) else { return false };
        self.words.get(place(bit >> 6)).is_some_and(|word| word >> (bit & 63) & 1 != 0)
    }

    pub(super) fn insert(&mut self, at: At) {
        if let Some(bit) = at.checked_sub(self.first)
            && let Some(word) = self.words.get_mut(place(bit >> 6))
        {
            *word |= 1 << (bit & 63);
        }
    }

    /// The greatest one below `end`.
    fn below(&self, end: At) -> Option<At> {
        let end = end.checked_sub(self.first)?;
        let mut at = place(end >> 6);
        let mut mask = (1_u64 << (end & 63)).wrapping_sub(1);
        loop {
            let word = self.words.get(at).copied().unwrap_or(0) & mask;
            if word != 0 {
                let bit = 63_u32.saturating_sub(word.leading_zeros());
                return Some(self.first.saturating_add(count(at).saturating_mul(64)).saturating_add(bit));
            }
            at = at.checked_sub(1)?;
            mask = u64::MAX;
        }
    }
}

/// An index, and what is planned on top of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) index: &'a Index,
    pub(super) overlay: Option<&'a Overlay>,
}

impl<'a> View<'a> {
    pub(super) fn get(&self, at: At) -> Option<&'a Entry> {
        self.index.get(at).or_else(|| self.overlay?.get(at))
    }

    pub(super) fn find(&self, id: &OperationId) -> Option<At> {
        self.overlay.and_then(|overlay| overlay.find(id)).or_else(|| self.index.find(id))
    }

    pub(super) fn parents(&self, at: At) -> &'a [At] {
        match (self.index.get(at), self.overlay) {
            (Some(entry), _) => self.index.entries.parents(entry),
            (None, Some(overlay)) => overlay.get(at).map_or(&[][..], |entry| overlay.entries.parents(entry)),
            (None, None) => &[],
        }
    }

    /// `from`, and their past, from `floor` on; what it took. `None` beyond `limit` operations.
    pub(super) fn past(&self, from: &[At], floor: At, limit: u64) -> Option<(Set, u64)> {
        let top = from.iter().copied().max().unwrap_or(floor).max(floor).saturating_add(1);
        let mut seen = Set::new(floor, top);
        for &at in from {
            seen.insert(at);
        }
        let (mut steps, mut next) = (1_u64, top);
        while let Some(at) = seen.below(next) {
            steps = steps.saturating_add(1);
            if steps > limit {
                return None;
            }
            for &parent in self.parents(at) {
                seen.insert(parent);
            }
            next = at;
        }
        Some((seen, steps))
    }

    /// What has one of `of` in its past, and they themselves.
    pub(super) fn future(&self, of: At, end: At) -> Set {
        let mut seen = Set::new(of, end);
        seen.insert(of);
        for at in of.saturating_add(1)..end {
            if self.parents(at).iter().any(|&parent| seen.has(parent)) {
                seen.insert(at);
            }
        }
        seen
    }
}
