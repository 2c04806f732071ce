//! Keys of messages that have not come yet: bounded, oldest out first, stored in blocks.

use crate::codec::{Reader, Write};
use crate::error::DecodeError;
use crate::keys::UnixTime;
use crate::limits::{MAX_CHAIN_LEN, MAX_SKIPPED, SKIPPED_PER_BLOCK};
use crate::ratchet::chain::{ChainKeys, TagSink, TagSource};
use crate::secret::Secret;
use crate::wire::sealed::Tag;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// One message key and where it belongs.
#[derive(Debug)]
pub(crate) struct SkippedKey {
    pub(crate) tag: Tag,
    pub(crate) chain: u64,
    pub(crate) n: u32,
    /// When it was passed over.
    pub(crate) since: UnixTime,
    pub(crate) key: Secret<32>,
}

/// A chain that has skipped keys.
#[derive(Debug)]
struct SkippedChain {
    keys: ChainKeys,
    count: usize,
}

/// The skipped keys of a session, by the order in which they were skipped.
///
/// Invariant: `by_tag` and `chains` mirror `entries`; a chain is there exactly while it has entries.
#[derive(Debug, Default)]
pub(crate) struct SkippedKeys {
    entries: BTreeMap<u64, SkippedKey>,
    by_tag: BTreeMap<Tag, u64>,
    chains: BTreeMap<u64, SkippedChain>,
    /// While a session is restored: how many keys the blocks must hold.
    expected: usize,
}

/// What one message changes. Applying it turns it into its own inverse.
#[derive(Debug, Default)]
pub(crate) struct SkippedDelta {
    insert: Vec<(u64, SkippedKey)>,
    remove: Vec<u64>,
    chains: Vec<(u64, ChainKeys)>,
    /// Keys lost to the bound.
    pub(crate) lost: u32,
}

impl SkippedDelta {
    /// The delta that uses up one key.
    pub(crate) fn using(sequence: u64) -> Self {
        Self { remove: Vec::from([sequence]), ..Self::default() }
    }

    /// How many keys it removes.
    pub(crate) fn removed(&self) -> usize {
        self.remove.len()
    }

    /// How many keys there are after it, of so many before.
    pub(crate) fn count_after(&self, before: usize) -> usize {
        before.saturating_add(self.insert.len()).saturating_sub(self.remove.len())
    }

    pub(crate) fn changed_blocks(&self) -> impl Iterator<Item = u64> {
        let blocks: BTreeSet<u64> =
            self.insert.iter().map(|(sequence, _)| sequence).chain(&self.remove).copied().map(block_of).collect();
        blocks.into_iter()
    }
}

fn block_of(sequence: u64) -> u64 {
    sequence.checked_div(SKIPPED_PER_BLOCK).unwrap_or(0)
}

impl SkippedKeys {
    /// An empty store into which blocks with so many keys are to be read.
    pub(crate) fn expecting(expected: usize) -> Self {
        Self { expected, ..Self::default() }
    }

    /// Goes on with the keys that were read, and says how many are missing.
    pub(crate) fn accept_loss(&mut self) -> usize {
        let missing = self.expected.saturating_sub(self.entries.len());
        self.expected = self.entries.len();
        missing
    }

    /// Whether all keys that were expected have been read.
    pub(crate) fn is_complete(&self) -> bool {
        self.entries.len() == self.expected
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The sequence number of a tag's key.
    pub(crate) fn find(&self, tag: &Tag) -> Option<u64> {
        self.by_tag.get(tag).copied()
    }

    pub(crate) fn get(&self, sequence: u64) -> Option<&SkippedKey> {
        self.entries.get(&sequence)
    }

    /// The header keys of a chain that has skipped keys.
    pub(crate) fn chain(&self, chain: u64) -> Option<&ChainKeys> {
        self.chains.get(&chain).map(|chain| &chain.keys)
    }

    /// The chains that have skipped keys, the newest first.
    pub(crate) fn newest_chains(&self) -> impl Iterator<Item = (u64, &ChainKeys)> {
        self.chains.iter().rev().map(|(number, chain)| (*number, &chain.keys))
    }

    pub(crate) fn tags(&self) -> impl Iterator<Item = &Tag> {
        self.by_tag.keys()
    }

    /// Plans to keep `skipped`, oldest first, within the bound. Keys that don't fit are lost: the oldest ones.
    /// `lost` have gone before.
    pub(crate) fn plan(&self, mut skipped: Vec<SkippedKey>, chains: Vec<(u64, ChainKeys)>, lost: u32) -> SkippedDelta {
        let surplus = skipped.len().saturating_sub(MAX_SKIPPED);
        skipped.drain(..surplus);
        let evicted = self.entries.len().saturating_add(skipped.len()).saturating_sub(MAX_SKIPPED);
        let remove: Vec<u64> = self.entries.keys().take(evicted).copied().collect();
        let dropped = u32::try_from(surplus.saturating_add(remove.len())).unwrap_or(u32::MAX);
        let lost = lost.saturating_add(dropped);
        let first = self.entries.keys().next_back().map_or(0, |last| last.saturating_add(1));
        let insert: Vec<_> = (first..).zip(skipped).collect();
        let used: BTreeSet<u64> = insert.iter().map(|(_, key)| key.chain).collect();
        let chains = chains.into_iter().filter(|(chain, _)| used.contains(chain)).collect();
        SkippedDelta { insert, remove, chains, lost }
    }

    /// Plans to delete the keys that were passed over before a moment. `None` if there are none.
    pub(crate) fn plan_expire(&self, before: UnixTime) -> Option<SkippedDelta> {
        let old = self.entries.iter().filter(|(_, entry)| entry.since < before);
        let remove: Vec<u64> = old.map(|(sequence, _)| *sequence).collect();
        (!remove.is_empty()).then(|| SkippedDelta { remove, ..SkippedDelta::default() })
    }

    /// Applies a delta and turns it into its inverse.
    pub(crate) fn swap(&mut self, delta: &mut SkippedDelta, sink: &mut dyn TagSink) {
        let added: Vec<u64> = delta.insert.iter().map(|(sequence, _)| *sequence).collect();
        let mut removed = Vec::with_capacity(delta.remove.len());
        let mut emptied = Vec::new();
        for sequence in delta.remove.drain(..) {
            let Some(entry) = self.entries.remove(&sequence) else { continue };
            self.by_tag.remove(&entry.tag);
            sink.remove(entry.tag, TagSource::Skipped);
            if let Some(chain) = self.chains.get_mut(&entry.chain) {
                chain.count = chain.count.saturating_sub(1);
            }
            removed.push((sequence, entry));
        }
        for (number, keys) in delta.chains.drain(..) {
            self.chains.entry(number).or_insert(SkippedChain { keys, count: 0 });
        }
        for (sequence, entry) in delta.insert.drain(..) {
            self.insert(sequence, entry, sink);
        }
        for (_, entry) in &removed {
            if self.chains.get(&entry.chain).is_some_and(|chain| chain.count == 0)
                && let Some(chain) = self.chains.remove(&entry.chain)
            {
                emptied.push((entry.chain, chain.keys));
            }
        }
        delta.insert = removed;
        delta.remove = added;
        delta.chains = emptied;
    }

    fn insert(&mut self, sequence: u64, entry: SkippedKey, sink: &mut dyn TagSink) {
        if let Some(chain) = self.chains.get_mut(&entry.chain) {
            chain.count = chain.count.saturating_add(1);
        }
        self.by_tag.insert(entry.tag, sequence);
        sink.add(entry.tag, TagSource::Skipped);
        self.entries.insert(sequence, entry);
    }

    /// The blocks in which the keys are stored.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = u64> {
        let blocks: BTreeSet<u64> = self.entries.keys().copied().map(block_of).collect();
        blocks.into_iter()
    }

    fn block(&self, block: u64) -> impl Iterator<Item = (u64, &SkippedKey)> {
        let start = block.saturating_mul(SKIPPED_PER_BLOCK);
        let range = start..start.saturating_add(SKIPPED_PER_BLOCK);
        self.entries.range(range).map(|(sequence, entry)| (*sequence, entry))
    }

    /// Whether a block has no keys, so that its record goes.
    pub(crate) fn is_empty_block(&self, block: u64) -> bool {
        self.block(block).next().is_none()
    }

    /// Writes one block:
    ///
    /// ```text
    /// chain count(1) || (chain(8) || header secret(32)) each || key count(1) || (place(1) || chain(8) || n(4) || since(8) || mk(32)) each
    /// ```
    ///
    /// Chains ascend, places in the block ascend.
    pub(crate) fn write_block(&self, block: u64, out: &mut impl Write) {
        let chains: BTreeSet<u64> = self.block(block).map(|(_, entry)| entry.chain).collect();
        out.u8(u8::try_from(chains.len()).unwrap_or(u8::MAX));
        for number in chains {
            if let Some(chain) = self.chains.get(&number) {
                out.u64(number);
                out.bytes(chain.keys.secret().expose());
            }
        }
        out.u8(u8::try_from(self.block(block).count()).unwrap_or(u8::MAX));
        for (sequence, entry) in self.block(block) {
            out.u8(u8::try_from(sequence.checked_rem(SKIPPED_PER_BLOCK).unwrap_or(0)).unwrap_or(u8::MAX));
            out.u64(entry.chain);
            out.u32(entry.n);
            out.u64(entry.since.0);
            out.bytes(entry.key.expose());
        }
    }

    /// Reads one block into the store, all of it or nothing.
    pub(crate) fn read_block(
        &mut self,
        block: u64,
        context: &[u8; 32],
        reader: &mut Reader<'_>,
    ) -> Result<(), DecodeError> {
        let mut chains: BTreeMap<u64, ChainKeys> = BTreeMap::new();
        for _ in 0..reader.u8()? {
            let (number, secret) = (reader.u64()?, reader.array()?);
            let ascends = chains.last_key_value().is_none_or(|(last, _)| number > *last);
            let known = self.chains.get(&number).map(|known| known.keys.secret().expose());
            if !ascends || known.is_some_and(|known| !crate::crypto::aead::equal(known, secret)) {
                return Err(DecodeError::Invalid);
            }
            chains.insert(number, ChainKeys::derive(secret, context));
        }
        // Far from the end of the numbers, so that the next ones exist.
        let base =
            block.checked_mul(SKIPPED_PER_BLOCK).filter(|base| *base < u64::MAX / 2).ok_or(DecodeError::Invalid)?;
        let mut keys: Vec<(u64, SkippedKey)> = Vec::new();
        let mut last = None;
        for _ in 0..reader.u8()? {
            let place = u64::from(reader.u8()?);
            let (chain, n, since, key) = (reader.u64()?, reader.u32()?, UnixTime(reader.u64()?), reader.array()?);
            if last.is_some_and(|last| place <= last) || place >= SKIPPED_PER_BLOCK || n >= MAX_CHAIN_LEN {
                return Err(DecodeError::Invalid);
            }
            last = Some(place);
            let tag = chains.get(&chain).ok_or(DecodeError::Invalid)?.tag(n);
            if self.by_tag.contains_key(&tag) || keys.iter().any(|(_, other)| other.tag == tag) {
                return Err(DecodeError::Invalid);
            }
            let sequence = base.checked_add(place).ok_or(DecodeError::Invalid)?;
            keys.push((sequence, SkippedKey { tag, chain, n, since, key: Secret::new(key) }));
        }
        let used: BTreeSet<u64> = keys.iter().map(|(_, key)| key.chain).collect();
        let fits = self.entries.len().saturating_add(keys.len()) <= MAX_SKIPPED;
        if keys.is_empty() || !chains.keys().eq(&used) || !fits {
            return Err(DecodeError::Invalid);
        }
        for (number, keys) in chains {
            self.chains.entry(number).or_insert(SkippedChain { keys, count: 0 });
        }
        for (sequence, key) in keys {
            self.insert(sequence, key, &mut ());
        }
        Ok(())
    }

    /// Whether every entry of a chain satisfies a condition.
    pub(crate) fn all(&self, check: impl Fn(u64, &SkippedKey, &ChainKeys) -> bool) -> bool {
        self.entries.values().all(|entry| self.chain(entry.chain).is_some_and(|keys| check(entry.chain, entry, keys)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    const CONTEXT: [u8; 32] = [4; 32];

    fn key(chain: u64, n: u32) -> SkippedKey {
        let tag = ChainKeys::derive(&[u8::try_from(chain).unwrap(); 32], &CONTEXT).tag(n);
        SkippedKey { tag, chain, n, since: UnixTime(7), key: Secret::new(&[9; 32]) }
    }

    /// Chains, each with a header secret; keys, each with place, chain and position.
    fn block(chains: &[(u64, u8)], keys: &[(u8, u64, u32)]) -> Vec<u8> {
        let mut out = Vec::new();
        out.u8(u8::try_from(chains.len()).unwrap());
        for (number, secret) in chains {
            out.u64(*number);
            out.bytes(&[*secret; 32]);
        }
        out.u8(u8::try_from(keys.len()).unwrap());
        for (place, chain, n) in keys {
            out.u8(*place);
            out.u64(*chain);
            out.u32(*n);
            out.u64(7);
            out.bytes(&[9; 32]);
        }
        out
    }

    fn read(into: &mut SkippedKeys, number: u64, bytes: &[u8]) -> bool {
        Reader::whole(bytes, |reader| into.read_block(number, &CONTEXT, reader)).is_ok()
    }

    #[test]
    fn blocks_come_back_as_they_were() {
        let mut kept = SkippedKeys::default();
        let keys = (0..70).map(|n| key(1, n)).chain([key(2, 0)]).collect();
        let chains = [1, 2].map(|chain| (u64::from(chain), ChainKeys::derive(&[chain; 32], &CONTEXT)));
        kept.swap(&mut kept.plan(keys, Vec::from(chains), 0), &mut ());
        let mut restored = SkippedKeys::expecting(kept.len());
        for number in [0, 1] {
            let mut out = crate::state::image(4_096);
            kept.write_block(number, &mut out);
            assert!(!restored.is_complete());
            assert!(read(&mut restored, number, &out));
            let mut again = crate::state::image(4_096);
            restored.write_block(number, &mut again);
            assert_eq!(out, again);
        }
        assert!(restored.is_complete());
        assert_eq!(restored.blocks().collect::<Vec<_>>(), [0, 1]);
    }

    type Case = (&'static str, Vec<(u64, u8)>, Vec<(u8, u64, u32)>);

    #[test]
    fn blocks_that_nobody_writes_are_refused() {
        let good = || (vec![(1, 1), (2, 2)], vec![(0, 1, 5), (63, 2, MAX_CHAIN_LEN - 1)]);
        let cases: [Case; 9] = [
            ("chains descend", vec![(2, 2), (1, 1)], good().1),
            ("a chain twice", vec![(1, 1), (1, 1), (2, 2)], good().1),
            ("a chain without keys", vec![(1, 1), (2, 2), (3, 3)], good().1),
            ("a key without its chain", vec![(1, 1)], good().1),
            ("no key", vec![], vec![]),
            ("places descend", good().0, vec![(5, 1, 5), (4, 2, 6)]),
            ("a place twice", good().0, vec![(5, 1, 5), (5, 2, 6)]),
            ("a place beyond the block", good().0, vec![(0, 1, 5), (64, 2, 6)]),
            ("a position beyond the chain", good().0, vec![(0, 1, 5), (1, 2, MAX_CHAIN_LEN)]),
        ];
        let (chains, keys) = good();
        assert!(read(&mut SkippedKeys::default(), 0, &block(&chains, &keys)));
        for (what, chains, keys) in cases {
            assert!(!read(&mut SkippedKeys::default(), 0, &block(&chains, &keys)), "{what}");
        }
        let far = u64::MAX / 2 / SKIPPED_PER_BLOCK;
        assert!(read(&mut SkippedKeys::default(), far, &block(&chains, &keys)));
        for number in [far + 1, u64::MAX / SKIPPED_PER_BLOCK + 1] {
            assert!(!read(&mut SkippedKeys::default(), number, &block(&chains, &keys)), "numbers would run out");
        }
    }

    #[test]
    fn blocks_agree_on_chains_and_hold_no_key_twice_and_no_more_than_is_kept() {
        let mut kept = SkippedKeys::default();
        assert!(read(&mut kept, 0, &block(&[(1, 1)], &[(0, 1, 5)])));
        assert!(!read(&mut kept, 1, &block(&[(1, 2)], &[(0, 1, 6)])), "another secret of one chain");
        assert!(read(&mut kept, 2, &block(&[(1, 1)], &[(0, 1, 7)])));
        assert!(!read(&mut kept, 3, &block(&[(1, 1)], &[(0, 1, 5)])), "a key twice");
        let mut full = SkippedKeys::default();
        let mut blocks = (0..u32::try_from(MAX_SKIPPED).unwrap()).collect::<Vec<_>>();
        blocks.push(u32::MAX / 4);
        for (number, positions) in (0..).zip(blocks.chunks(50)) {
            let keys: Vec<_> = (0..).zip(positions).map(|(place, n)| (place, 1, *n)).collect();
            let good = read(&mut full, number, &block(&[(1, 1)], &keys));
            assert_eq!(good, usize::try_from(number).unwrap() < MAX_SKIPPED / 50);
        }
        assert_eq!(full.len(), MAX_SKIPPED);
    }
}
