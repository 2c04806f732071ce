//! Which envelopes were opened lately, or could not be read: one that comes again is known, and told from another one under the
//! same tag.

use crate::codec::{Reader, Write};
use crate::error::DecodeError;
use crate::limits::{MAX_RECENT_BLOCKS, RECENT_PER_BLOCK};
use crate::wire::sealed::Tag;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;

/// The first bytes of a tag. Whoever makes another envelope under the same ones has only its own taken for a duplicate.
type Name = [u8; 8];
/// The first bytes of the hash of a body.
pub(super) type Digest = [u8; 4];

/// One envelope that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Opened {
    name: Name,
    digest: Digest,
}

impl Opened {
    pub(super) fn new(tag: Tag, digest: Digest) -> Self {
        Self { name: name(tag), digest }
    }
}

fn name(tag: Tag) -> Name {
    tag.0.first_chunk().copied().unwrap_or_default()
}

/// Some that were opened one after the other, and are stored together.
#[derive(Debug, Clone, Default)]
pub(super) struct Block {
    /// Ascends by one.
    number: u64,
    opened: Vec<Opened>,
}

/// The envelopes opened last, at least all but a block of the last [`MAX_RECENT_BLOCKS`] blocks.
///
/// Invariant: blocks ascend by one, all but the last are full, none is empty, no envelope is in two places; `known` mirrors them.
#[derive(Debug, Default)]
pub(super) struct Recent {
    blocks: VecDeque<Block>,
    known: BTreeSet<Opened>,
}

/// A change. Applying it turns it into its own inverse.
#[derive(Debug)]
pub(super) enum RecentChange {
    /// One more.
    Push(Opened),
    /// One less, and the block comes back that had to go for it.
    Pop(Option<Block>),
}

impl Recent {
    /// Whether an envelope of this tag came lately, whatever was in it.
    pub(super) fn has_tag(&self, tag: Tag) -> bool {
        let of = |digest| Opened::new(tag, digest);
        self.known.range(of([0; 4])..=of([0xff; 4])).next().is_some()
    }

    /// Whether this envelope came lately.
    pub(super) fn has(&self, opened: &Opened) -> bool {
        self.known.contains(opened)
    }

    /// Where the next one is stored.
    pub(super) fn next_place(&self) -> u8 {
        let number = match self.blocks.back() {
            Some(block) if block.opened.len() >= RECENT_PER_BLOCK => block.number.saturating_add(1),
            Some(block) => block.number,
            None => 0,
        };
        place(number)
    }

    pub(super) fn swap(&mut self, change: &mut RecentChange) {
        *change = match change {
            RecentChange::Push(opened) => RecentChange::Pop(self.push(*opened)),
            RecentChange::Pop(block) => match self.pop(block.take()) {
                Some(opened) => RecentChange::Push(opened),
                None => RecentChange::Pop(None),
            },
        };
    }

    fn push(&mut self, opened: Opened) -> Option<Block> {
        self.known.insert(opened);
        if let Some(block) = self.blocks.back_mut().filter(|block| block.opened.len() < RECENT_PER_BLOCK) {
            block.opened.push(opened);
            return None;
        }
        let number = self.blocks.back().map_or(0, |block| block.number.saturating_add(1));
        self.blocks.push_back(Block { number, opened: Vec::from([opened]) });
        if self.blocks.len() <= MAX_RECENT_BLOCKS {
            return None;
        }
        let oldest = self.blocks.pop_front();
        for opened in oldest.iter().flat_map(|block| &block.opened) {
            self.known.remove(opened);
        }
        oldest
    }

    fn pop(&mut self, oldest: Option<Block>) -> Option<Opened> {
        let block = self.blocks.back_mut()?;
        let opened = block.opened.pop()?;
        if block.opened.is_empty() {
            self.blocks.pop_back();
        }
        self.known.remove(&opened);
        if let Some(oldest) = oldest {
            self.known.extend(&oldest.opened);
            self.blocks.push_front(oldest);
        }
        Some(opened)
    }

    /// The places of the blocks.
    pub(super) fn places(&self) -> impl Iterator<Item = u8> {
        self.blocks.iter().map(|block| place(block.number))
    }

    /// Writes the block of a place: `number(8) || count(1) || (first 8 bytes of the tag || first 4 of the body's hash) each`.
    pub(super) fn write_block(&self, at: u8, out: &mut impl Write) -> Option<()> {
        let block = self.blocks.iter().find(|block| place(block.number) == at)?;
        out.u64(block.number);
        out.u8(u8::try_from(block.opened.len()).unwrap_or(u8::MAX));
        for opened in &block.opened {
            out.bytes(&opened.name);
            out.bytes(&opened.digest);
        }
        Some(())
    }

    /// Reads a block, in any order; [`Self::finish_restore`] comes last. The result is its place.
    pub(super) fn read_block(&mut self, reader: &mut Reader<'_>) -> Result<u8, DecodeError> {
        let number = reader.u64()?;
        let count = usize::from(reader.u8()?);
        if count == 0 || count > RECENT_PER_BLOCK || number > u64::MAX / 2 {
            return Err(DecodeError::Invalid);
        }
        let mut opened = Vec::with_capacity(count);
        for _ in 0..count {
            opened.push(Opened { name: *reader.array()?, digest: *reader.array()? });
        }
        self.blocks.push_back(Block { number, opened });
        Ok(place(number))
    }

    pub(super) fn finish_restore(&mut self) -> Result<(), DecodeError> {
        self.blocks.make_contiguous().sort_unstable_by_key(|block| block.number);
        let mut expected = self.blocks.front().map_or(0, |block| block.number);
        let last = self.blocks.back().map(|block| block.number);
        for block in &self.blocks {
            let full = block.opened.len() == RECENT_PER_BLOCK;
            if block.number != expected || (!full && last != Some(block.number)) {
                return Err(DecodeError::Invalid);
            }
            expected = expected.saturating_add(1);
        }
        if self.blocks.len() > MAX_RECENT_BLOCKS {
            return Err(DecodeError::TooLong);
        }
        self.known = self.blocks.iter().flat_map(|block| &block.opened).copied().collect();
        let count: usize = self.blocks.iter().map(|block| block.opened.len()).sum();
        if self.known.len() == count { Ok(()) } else { Err(DecodeError::Invalid) }
    }
}

/// Blocks are stored in a ring.
fn place(number: u64) -> u8 {
    let ring = u64::try_from(MAX_RECENT_BLOCKS).unwrap_or(1);
    u8::try_from(number.checked_rem(ring).unwrap_or(0)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(i: usize) -> Opened {
        let mut tag = [0; 16];
        tag[..8].copy_from_slice(&u64::try_from(i).unwrap().to_be_bytes());
        Opened::new(Tag(tag), u32::try_from(i).unwrap().to_be_bytes())
    }

    fn tag(i: usize) -> Tag {
        let mut tag = [0; 16];
        tag[..8].copy_from_slice(&opened(i).name);
        Tag(tag)
    }

    /// As many as are said are known; each step back and forth is exact; the image gives the same.
    #[test]
    fn the_last_ones_are_known_and_each_step_can_be_taken_back() {
        let mut recent = Recent::default();
        let all = MAX_RECENT_BLOCKS * RECENT_PER_BLOCK;
        for i in 0..2 * all + 40 {
            let mut change = RecentChange::Push(opened(i));
            recent.swap(&mut change);
            recent.swap(&mut change);
            assert!(!recent.has_tag(tag(i)) && !recent.has(&opened(i)));
            if i >= all {
                assert!(recent.has_tag(tag(i - all + RECENT_PER_BLOCK)), "{i}");
            }
            let place = recent.next_place();
            recent.swap(&mut change);
            assert!(recent.has_tag(tag(i)) && recent.has(&opened(i)));
            // Another one under the same tag comes and goes, and takes nothing along.
            let mut other = RecentChange::Push(Opened { digest: [0xff; 4], ..opened(i) });
            recent.swap(&mut other);
            recent.swap(&mut other);
            assert!(recent.has(&opened(i)));
            assert_eq!(recent.places().last(), Some(place));
        }
        assert_eq!(recent.blocks.len(), MAX_RECENT_BLOCKS);
        let mut restored = Recent::default();
        let mut places: Vec<u8> = recent.places().collect();
        places.sort_unstable();
        for place in places {
            let mut out = Vec::new();
            recent.write_block(place, &mut out).unwrap();
            assert_eq!(Reader::whole(&out, |reader| restored.read_block(reader)), Ok(place));
        }
        restored.finish_restore().unwrap();
        assert_eq!(restored.known, recent.known);
        assert_eq!(restored.next_place(), recent.next_place());
        // A block that is missing, or there twice, is noticed.
        let block = restored.blocks.remove(3).unwrap();
        assert!(restored.finish_restore().is_err());
        restored.blocks.push_back(block.clone());
        assert!(restored.finish_restore().is_ok());
        restored.blocks.push_back(block);
        assert!(restored.finish_restore().is_err());
    }
}
