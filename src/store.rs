//! A device's records, sealed as a whole: an old store that is put back, a row that is old, missing or added, is noticed.
//! docs/PROTOCOL.md, "Vault".
//!
//! Each transaction has a generation. Its rows are sealed under it ([`crate::vault::Vault`]), and with them a manifest, which
//! fixes every row's bytes. Keep the last [`Mark`] where it can't be turned back, as in the system's key store; nothing
//! else is needed to notice.
//!
//! ```
//! use sceau::store::SealedStore;
//! use sceau::{Device, UnixTime};
//! use std::collections::BTreeMap;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (mut rng, key) = (rand::rng(), [7; 32]); // The key from the system's key store.
//! let mut disk: BTreeMap<[u8; 17], Vec<u8>> = BTreeMap::new();
//! let mut store = SealedStore::new(&key);
//! let mut device = Device::generate(&mut rng);
//! device.publish_prekeys(1, UnixTime(1_800_000_000), &mut rng)?.commit(|changes| {
//!     store.write(changes, &mut rand::rng(), |sealed| {
//!         for (key, row) in sealed.rows() {
//!             match row {
//!                 Some(bytes) => disk.insert(*key, bytes.to_vec()), // All in one transaction.
//!                 None => disk.remove(key),
//!             };
//!         }
//!         Ok::<(), std::io::Error>(()) // And the mark is kept.
//!     })
//! })?;
//! let (again, records) = SealedStore::open(&key, &disk, Some(&store.mark()))?;
//! let restored = Device::restore(records.iter().map(|(key, image)| (*key, image.expose())))?;
//! assert_eq!((restored.fingerprint(), again.mark()), (device.fingerprint(), store.mark()));
//! # Ok(())
//! # }
//! ```

use crate::codec::{Reader, Write};
use crate::crypto::kdf;
use crate::device::{Changes, Record, RecordKey};
use crate::error::VaultError;
use crate::labels::Label;
use crate::state::Image;
use crate::vault::{Unsealed, Vault};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;
use rand_core::CryptoRng;

/// The manifest's key: no record has kind 0.
const MANIFEST: [u8; RecordKey::LEN] = [0; RecordKey::LEN];

/// A row of the embedder's store: its key, and its bytes, or that it is to be deleted.
type Row = ([u8; RecordKey::LEN], Option<Vec<u8>>);

/// Which transaction was the last: its generation, and what it left. Rows of a transaction that failed, and was made
/// again, are of the same generation and have another mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    generation: u64,
    manifest: [u8; 32],
}

impl Mark {
    /// Bytes of a mark: `generation(8) || manifest(32)`.
    pub const LEN: usize = 40;

    /// The mark of these bytes.
    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Self {
        let (mut generation, mut manifest) = ([0; 8], [0; 32]);
        generation.iter_mut().chain(&mut manifest).zip(bytes).for_each(|(to, from)| *to = *from);
        Self { generation: u64::from_be_bytes(generation), manifest }
    }

    /// Its bytes, to be kept outside.
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let from = self.generation.to_be_bytes();
        bytes.iter_mut().zip(from.iter().chain(&self.manifest)).for_each(|(to, from)| *to = *from);
        bytes
    }

    /// How many transactions there were.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

/// Seals a device's records under one key, and remembers what was written.
///
/// ```text
/// row      = sealed image under its key
/// part     = SHA-256(label || count(4) || (key(17) || SHA-256(row)) each, by key), of keys with one second byte
/// manifest = under the key 0*17, the image SHA-256(label || all 256 parts)
/// ```
pub struct SealedStore {
    vault: Vault,
    mark: Mark,
    /// By the second byte of the keys: all 256.
    parts: Vec<Part>,
}

/// The rows whose keys have one second byte, which is as good as random: what changes costs the hash of a 256th of the store.
#[derive(Clone)]
struct Part {
    rows: BTreeMap<RecordKey, [u8; 32]>,
    hash: [u8; 32],
}

impl Part {
    fn new(rows: BTreeMap<RecordKey, [u8; 32]>) -> Self {
        let mut bytes = Vec::with_capacity(rows.len().saturating_mul(RecordKey::LEN + 32).saturating_add(4));
        bytes.count(rows.len());
        for (key, hash) in &rows {
            bytes.bytes(key.as_bytes());
            bytes.bytes(hash);
        }
        Self { rows, hash: kdf::hash(Label::ManifestPart, &[&bytes]) }
    }
}

fn part_of(key: &RecordKey) -> u8 {
    let [_, second, ..] = key.as_bytes();
    *second
}

/// The rows of one transaction, the manifest among them.
#[must_use = "write it, then tell the store"]
pub struct SealedChanges {
    mark: Mark,
    rows: Vec<Row>,
    changed: BTreeMap<u8, Part>,
}

impl SealedChanges {
    /// What to write, in one transaction: bytes to put, or `None` to delete.
    pub fn rows(&self) -> impl Iterator<Item = (&[u8; RecordKey::LEN], Option<&[u8]>)> {
        self.rows.iter().map(|(key, row)| (key, row.as_deref()))
    }

    /// What these rows leave. Keep it outside once they are written.
    pub fn mark(&self) -> Mark {
        self.mark
    }
}

impl SealedStore {
    /// An empty store, under a key of 32 random bytes that no other store has or had.
    pub fn new(key: &[u8; 32]) -> Self {
        let (vault, mark) = (Vault::new(key), Mark { generation: 0, manifest: [0; 32] });
        Self { vault, mark, parts: alloc::vec![Part::new(BTreeMap::new()); 256] }
    }

    /// The mark of the last transaction.
    pub fn mark(&self) -> Mark {
        self.mark
    }

    /// Seals the records that an operation changes. Draws 24 bytes for each that is put, and for the manifest. Hashes what
    /// it seals, 8 KiB, and, for each record, 49 bytes for a 256th of the store's rows.
    ///
    /// One at a time: tell [`Self::stored`], or drop it, before the next.
    pub fn seal<R: CryptoRng + ?Sized>(&self, changes: &Changes, rng: &mut R) -> SealedChanges {
        let generation = self.mark.generation.saturating_add(1);
        let (mut rows, mut changed) = (Vec::new(), BTreeMap::new());
        for record in changes.iter() {
            let (key, row) = match record {
                Record::Put(key, bytes) => (key, Some(self.vault.seal(key.as_bytes(), generation, bytes, rng))),
                Record::Delete(key) => (key, None),
            };
            let part = part_of(&key);
            let part = changed.entry(part).or_insert_with(|| self.rows(part).cloned().unwrap_or_default());
            match row.as_deref().map(row_hash) {
                Some(hash) => part.insert(key, hash),
                None => part.remove(&key),
            };
            rows.push((*key.as_bytes(), row));
        }
        let changed: BTreeMap<u8, Part> = changed.into_iter().map(|(number, rows)| (number, Part::new(rows))).collect();
        let parts = (0..=u8::MAX).zip(&self.parts).map(|(number, part)| changed.get(&number).unwrap_or(part));
        let mark = Mark { generation, manifest: manifest(parts) };
        rows.push((MANIFEST, Some(self.vault.seal(&MANIFEST, generation, &mark.manifest, rng))));
        SealedChanges { mark, rows, changed }
    }

    fn rows(&self, part: u8) -> Option<&BTreeMap<RecordKey, [u8; 32]>> {
        self.parts.get(usize::from(part)).map(|part| &part.rows)
    }

    /// Has the changes of an operation written, as [`crate::Pending::commit`] wants it: [`Self::seal`], `write`, and
    /// [`Self::stored`] if that succeeds. `write` has to write all rows in one transaction, and to keep the mark outside.
    ///
    /// # Errors
    /// Whatever `write` returns; then nothing may have been written. When that can't be said, drop the store and the device
    /// and open them again.
    pub fn write<R: CryptoRng + ?Sized, E>(
        &mut self,
        changes: &Changes,
        rng: &mut R,
        write: impl FnOnce(&SealedChanges) -> Result<(), E>,
    ) -> Result<(), E> {
        let sealed = self.seal(changes, rng);
        write(&sealed)?;
        self.stored(&sealed);
        Ok(())
    }

    /// Takes note that the rows were written. Without it the next transaction leaves a store that does not open. If that is not certain, or the mark could not be kept outside, drop the store
    /// and the device and open them again.
    pub fn stored(&mut self, sealed: &SealedChanges) {
        self.mark = sealed.mark;
        for (number, part) in &sealed.changed {
            if let Some(before) = self.parts.get_mut(usize::from(*number)) {
                before.clone_from(part);
            }
        }
    }

    /// Opens a store with all its rows: the one that the mark says, or a later one. The result is the store and the
    /// records for [`crate::Device::restore`]. Without a mark, any that is whole.
    ///
    /// # Errors
    /// [`VaultError`]: a row or the whole is damaged, torn or under another key, or [`VaultError::Old`], or
    /// [`VaultError::Incomplete`].
    pub fn open<K: AsRef<[u8]>, B: AsRef<[u8]>>(
        key: &[u8; 32],
        rows: impl IntoIterator<Item = (K, B)>,
        last: Option<&Mark>,
    ) -> Result<(Self, Vec<(RecordKey, Image)>), VaultError> {
        let mut store = Self::new(key);
        let mut parts: Vec<BTreeMap<RecordKey, [u8; 32]>> = alloc::vec![BTreeMap::new(); 256];
        let mut records = Vec::new();
        let mut found: Option<Unsealed> = None;
        let least = last.map_or(0, Mark::generation);
        for (key, bytes) in rows {
            let (key, bytes) = (Reader::whole(key.as_ref(), |reader| reader.array().copied())?, bytes.as_ref());
            if key == MANIFEST {
                if found.replace(store.vault.open(&MANIFEST, least, bytes)?).is_some() {
                    return Err(VaultError::Incomplete);
                }
                continue;
            }
            let Unsealed { image, .. } = store.vault.open(&key, 0, bytes)?;
            let key = RecordKey::from_bytes(key);
            let part = parts.get_mut(usize::from(part_of(&key)));
            if part.is_some_and(|part| part.insert(key, row_hash(bytes)).is_some()) {
                return Err(VaultError::Incomplete);
            }
            records.push((key, image));
        }
        let Unsealed { generation, image, .. } = found.ok_or(VaultError::Incomplete)?;
        store.parts = parts.into_iter().map(Part::new).collect();
        let manifest = manifest(store.parts.iter());
        if image.expose() != manifest {
            return Err(VaultError::Incomplete);
        }
        store.mark = Mark { generation, manifest };
        // Of the same generation, and not what was marked: a transaction that failed and was made again.
        match last {
            Some(last) if generation == least && store.mark != *last => Err(VaultError::Old { generation }),
            _ => Ok((store, records)),
        }
    }
}

fn row_hash(row: &[u8]) -> [u8; 32] {
    let mut digest = kdf::Sha::new();
    digest.update(row);
    digest.finish()
}

/// What fixes every row.
fn manifest<'a>(parts: impl Iterator<Item = &'a Part>) -> [u8; 32] {
    let hashes: Vec<&[u8]> = parts.map(|part| part.hash.as_slice()).collect();
    kdf::hash(Label::Manifest, &hashes)
}

impl fmt::Debug for SealedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedStore")
            .field("generation", &self.mark.generation)
            .field("rows", &self.parts.iter().map(|part| part.rows.len()).sum::<usize>())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SealedChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedChanges").field("rows", &self.rows.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Device;
    use chacha20::ChaCha20Rng;
    use rand_core::SeedableRng;
    use sha2::{Digest, Sha256};

    /// docs/PROTOCOL.md, 10.5, written out over all rows.
    #[test]
    fn manifest_is_as_in_the_specification() {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let (mut device, mut store) = (Device::generate(&mut rng), SealedStore::new(&[2; 32]));
        let mut disk = BTreeMap::new();
        for _ in 0..3 {
            let pending = device.publish_prekeys(40, crate::UnixTime(1_000), &mut rng).unwrap();
            let sealed = pending.commit(|changes| {
                let sealed = store.seal(changes, &mut ChaCha20Rng::from_seed([3; 32]));
                sealed.rows().for_each(|(key, row)| drop(disk.insert(*key, row.unwrap().to_vec())));
                store.stored(&sealed);
                Ok::<(), core::convert::Infallible>(())
            });
            sealed.unwrap();
            let mut whole = Sha256::new().chain_update(b"sceau/1 manifest");
            for second in 0..=u8::MAX {
                let rows: Vec<_> = disk.iter().filter(|(key, _)| key[0] != 0 && key[1] == second).collect();
                let mut part = Sha256::new().chain_update(b"sceau/1 part of a manifest");
                part.update(u32::try_from(rows.len()).unwrap().to_be_bytes());
                for (key, row) in rows {
                    part.update(key);
                    part.update(Sha256::digest(row));
                }
                whole.update(part.finalize());
            }
            assert_eq!(store.mark().manifest[..], whole.finalize()[..]);
        }
        assert!(disk.len() > 100);
    }
}
