//! The record of introductions accepted: none is accepted twice. docs/PROTOCOL.md, "Introduction record".

use crate::codec::{Reader, Write};
use crate::error::DecodeError;
use crate::keys::SessionId;
use crate::limits::{INTRODUCTIONS_PER_BLOCK, MAX_INTRODUCTIONS};
use crate::wire::introduction::IntroductionId;
use alloc::collections::{BTreeMap, BTreeSet};

/// Which session an introduction made, and where its entry is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IntroductionEntry {
    pub(crate) session: SessionId,
    pub(crate) block: BlockId,
}

/// A stored block of entries: the signed prekey's id and a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BlockId {
    pub(crate) signed_id: u32,
    pub(crate) number: u32,
}

/// All introductions accepted under signed prekeys that live, or with sessions that live.
#[derive(Debug, Default)]
pub(crate) struct IntroductionRecord {
    entries: BTreeMap<IntroductionId, IntroductionEntry>,
    blocks: BTreeMap<BlockId, BTreeSet<IntroductionId>>,
}

impl IntroductionRecord {
    pub(crate) fn get(&self, id: &IntroductionId) -> Option<&IntroductionEntry> {
        self.entries.get(id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&IntroductionId, &IntroductionEntry)> {
        self.entries.iter()
    }

    fn blocks_of(&self, signed_id: u32) -> impl DoubleEndedIterator<Item = (&BlockId, &BTreeSet<IntroductionId>)> {
        self.blocks.range(BlockId { signed_id, number: 0 }..=BlockId { signed_id, number: u32::MAX })
    }

    /// Entries under a signed prekey.
    pub(crate) fn count(&self, signed_id: u32) -> usize {
        self.blocks_of(signed_id).map(|(_, ids)| ids.len()).sum()
    }

    /// The entry that a new introduction would have; `None` when its signed prekey accepts no more.
    pub(crate) fn plan(&self, signed_id: u32, session: SessionId) -> Option<IntroductionEntry> {
        if self.count(signed_id) >= MAX_INTRODUCTIONS {
            return None;
        }
        let number = match self.blocks_of(signed_id).next_back() {
            None => 0,
            Some((last, ids)) if ids.len() < INTRODUCTIONS_PER_BLOCK => last.number,
            Some((last, _)) => last.number.saturating_add(1),
        };
        Some(IntroductionEntry { session, block: BlockId { signed_id, number } })
    }

    /// Exchanges what is known of an introduction with what `entry` holds.
    pub(crate) fn swap(&mut self, id: IntroductionId, entry: &mut Option<IntroductionEntry>) {
        let before = self.entries.remove(&id);
        if let Some(before) = &before
            && let Some(ids) = self.blocks.get_mut(&before.block)
        {
            ids.remove(&id);
            if ids.is_empty() {
                self.blocks.remove(&before.block);
            }
        }
        if let Some(after) = entry.take() {
            self.entries.insert(id, after);
            self.blocks.entry(after.block).or_default().insert(id);
        }
        *entry = before;
    }

    pub(crate) fn block_ids(&self) -> impl Iterator<Item = BlockId> {
        self.blocks.keys().copied()
    }

    pub(crate) fn has_block(&self, block: BlockId) -> bool {
        self.blocks.contains_key(&block)
    }

    /// Writes a block: `count(4, 1 to 256) || (introduction id(16) || session id(16)) each`, ids ascending.
    pub(crate) fn write_block(&self, block: BlockId, out: &mut impl Write) {
        let ids = self.blocks.get(&block);
        out.count(ids.map_or(0, BTreeSet::len));
        for id in ids.into_iter().flatten() {
            if let Some(entry) = self.entries.get(id) {
                out.bytes(&id.0);
                out.bytes(entry.session.as_bytes());
            }
        }
    }

    /// Reads a block into the record.
    pub(crate) fn read_block(&mut self, block: BlockId, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        let count = reader.count(INTRODUCTIONS_PER_BLOCK)?;
        if count == 0 || self.blocks.contains_key(&block) || block.signed_id == 0 {
            return Err(DecodeError::Invalid);
        }
        let mut last = None;
        for _ in 0..count {
            let id = IntroductionId(*reader.array()?);
            let session = SessionId::from_bytes(*reader.array()?);
            if last.is_some_and(|last| id <= last) || self.entries.contains_key(&id) {
                return Err(DecodeError::Invalid);
            }
            last = Some(id);
            self.swap(id, &mut Some(IntroductionEntry { session, block }));
        }
        if self.count(block.signed_id) > MAX_INTRODUCTIONS {
            return Err(DecodeError::TooLong);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(i: u32) -> IntroductionId {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&i.to_be_bytes());
        IntroductionId(bytes)
    }

    #[test]
    fn full_signed_prekey_accepts_no_more_and_a_fresh_one_does() {
        let session = SessionId::from_bytes([3; 16]);
        let mut record = IntroductionRecord::default();
        for i in 0..u32::try_from(MAX_INTRODUCTIONS).unwrap() {
            let entry = record.plan(9, session).unwrap();
            record.swap(id(i), &mut Some(entry));
        }
        assert_eq!(record.count(9), MAX_INTRODUCTIONS);
        assert_eq!(record.block_ids().count(), MAX_INTRODUCTIONS / INTRODUCTIONS_PER_BLOCK);
        assert!(record.plan(9, session).is_none());
        assert!(record.plan(10, session).is_some());
    }

    #[test]
    fn swap_twice_changes_nothing_and_blocks_survive_their_image() {
        let session = SessionId::from_bytes([3; 16]);
        let mut record = IntroductionRecord::default();
        for i in 0..300 {
            let entry = record.plan(9, session).unwrap();
            record.swap(id(i), &mut Some(entry));
        }
        let before = record.entries.clone();
        let mut change = None;
        record.swap(id(7), &mut change);
        assert!(record.get(&id(7)).is_none());
        record.swap(id(7), &mut change);
        assert_eq!(record.entries, before);

        let mut restored = IntroductionRecord::default();
        for block in record.block_ids() {
            let mut out = Vec::new();
            record.write_block(block, &mut out);
            Reader::whole(&out, |reader| restored.read_block(block, reader)).unwrap();
        }
        assert_eq!(restored.entries, before);
        assert_eq!(restored.blocks, record.blocks);
    }

    /// What it can take in, it can read; and no more.
    #[test]
    fn images_hold_no_more_than_the_record() {
        let session = SessionId::from_bytes([3; 16]);
        let read = |last: usize| {
            let mut record = IntroductionRecord::default();
            let full = u32::try_from(MAX_INTRODUCTIONS / INTRODUCTIONS_PER_BLOCK).unwrap();
            let mut number = 0;
            for block in 0..=full {
                let count = if block < full { INTRODUCTIONS_PER_BLOCK } else { last };
                let mut image = Vec::new();
                image.count(count);
                for _ in 0..count {
                    image.bytes(&id(number).0);
                    image.bytes(session.as_bytes());
                    number += 1;
                }
                let name = BlockId { signed_id: 9, number: block };
                if count > 0 {
                    Reader::whole(&image, |reader| record.read_block(name, reader))?;
                }
            }
            Ok(record.count(9))
        };
        assert_eq!(read(0), Ok(MAX_INTRODUCTIONS));
        assert_eq!(read(1), Err(DecodeError::TooLong));
    }
}
