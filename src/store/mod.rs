//! A device's records, sealed as a whole: an old store that is put back, a row that is old, missing or added, is noticed.
//! docs/PROTOCOL.md, "Vault".
//!
//! Each transaction has a generation. Its rows are sealed under it ([`crate::vault::Vault`]), and with them a manifest, which
//! fixes every row's bytes and names the manifest before it. Keep the last [`Mark`] where it can't be turned back, as in the
//! system's key store; nothing else is needed to notice.
//!
//! ```
//! use sceau::store::{SealedChanges, SealedStore};
//! use sceau::{Device, Policy, UnixTime, error::Stale};
//! use std::collections::BTreeMap;
//!
//! /// All of it in one transaction; then the mark is kept.
//! fn write(disk: &mut BTreeMap<[u8; 17], Vec<u8>>, sealed: &SealedChanges) -> Result<(), Stale> {
//!     let head = disk.get(SealedStore::HEAD).cloned();
//!     for (key, row) in sealed.after(head.as_deref())? {
//!         match row {
//!             Some(bytes) => disk.insert(*key, bytes.to_vec()),
//!             None => disk.remove(key),
//!         };
//!     }
//!     Ok(())
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (mut rng, key) = (rand::rng(), [7; 32]); // The key from the system's key store.
//! let mut disk = BTreeMap::new();
//! let device = Device::generate(&mut rng);
//! let mut store = SealedStore::create(&key, &device, &mut rng, |sealed| write(&mut disk, sealed))?;
//! // Restored, the device goes on where it was.
//! let (mut store, records) = SealedStore::open(&key, &disk, &store.mark())?;
//! let records = records.iter().map(|(key, image)| (*key, image.expose()));
//! let mut device = Device::restore(records, Policy::default())?;
//! let pending = device.publish_prekeys(1, UnixTime::from_secs(1_800_000_000)?, &mut rng)?;
//! let upload = store.commit(pending, &mut rand::rng(), |sealed, _upload| write(&mut disk, sealed))?;
//! assert_eq!((store.mark().generation(), upload.identity()), (2, device.identity_key()));
//! # Ok(())
//! # }
//! ```

mod changes;
mod manifest;

pub use changes::{PreparedSealed, SealedChanges};

use crate::codec::Reader;
use crate::crypto::aead;
use crate::device::{Changes, Device, Pending, Record, RecordKey};
use crate::error::VaultError;
use crate::state::Image;
use crate::vault::{Unsealed, Vault};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use changes::Follows;
use core::fmt;
use manifest::{Manifest, Part, part_of, row_hash};
use rand_core::CryptoRng;

/// A device's records as they come out of a store.
pub type Records = Vec<(RecordKey, Image)>;

/// Which transaction was the last: its generation, and a hash of what it left and of all that came before.
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
pub struct SealedStore {
    vault: Vault,
    mark: Mark,
    /// SHA-256 of the row that holds the manifest. `None`: nobody knows what the store holds.
    head: Option<[u8; 32]>,
    /// By the second byte of the keys: all 256.
    parts: Vec<Part>,
}

impl SealedStore {
    /// The key of the row that holds the manifest.
    pub const HEAD: &[u8; RecordKey::LEN] = RecordKey::HEAD.as_bytes();

    /// A store with all records of a device, under a key of 32 random bytes: the first one, one under another key, or, in
    /// place of an old one, that of a device that was recovered ([`Device::recover`]). Begins a line of marks that no other
    /// store continues. Draws 32 bytes for that, and 24 for each row.
    ///
    /// `write` writes all rows into an empty table, in one transaction with emptying it where something was in it, and keeps
    /// the mark.
    ///
    /// # Errors
    /// Whatever `write` returns.
    pub fn create<R: CryptoRng + ?Sized, E>(
        key: &[u8; 32],
        device: &Device,
        rng: &mut R,
        write: impl FnOnce(&SealedChanges) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut before = [0; 32];
        rng.fill_bytes(&mut before);
        let mark = Mark { generation: 0, manifest: before };
        let mut store = Self { vault: Vault::new(key), mark, head: None, parts: Part::empty() };
        let sealed = store.seal(&device.records(), Some(Follows::Nothing), rng);
        write(&sealed)?;
        store.stored(sealed);
        Ok(store)
    }

    /// The mark of the last transaction.
    pub fn mark(&self) -> Mark {
        self.mark
    }

    /// Seals the records that an operation changes.
    fn seal<R: CryptoRng + ?Sized>(&self, changes: &Changes, follows: Option<Follows>, rng: &mut R) -> SealedChanges {
        if changes.is_empty() {
            let (mark, mailboxes) = (self.mark, changes.mailboxes().clone());
            return SealedChanges {
                follows,
                mark,
                mailboxes,
                head: self.head,
                rows: Vec::new(),
                changed: BTreeMap::new(),
            };
        }
        let generation = self.mark.generation.saturating_add(1);
        let (mut rows, mut changed, mut head) = (Vec::new(), BTreeMap::new(), &[][..]);
        for record in changes.iter() {
            let (key, row) = match record {
                Record::Put(RecordKey::HEAD, bytes) => {
                    head = bytes;
                    continue;
                }
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
        let manifest = Manifest::new(self.mark.manifest, head, parts);
        let mark = Mark { generation, manifest: manifest.hash };
        let row = self.vault.seal(Self::HEAD, generation, &manifest.encode(), rng);
        let head = Some(row_hash(&row));
        rows.push((*Self::HEAD, Some(row)));
        SealedChanges { follows, mark, mailboxes: changes.mailboxes().clone(), head, rows, changed }
    }

    fn rows(&self, part: u8) -> Option<&BTreeMap<RecordKey, [u8; 32]>> {
        self.parts.get(usize::from(part)).map(|part| &part.rows)
    }

    /// Commits an operation of the device, as [`Pending::commit_with`] does: seals the records that change, has `write` write
    /// all rows in one transaction and keep the mark, and gives the result when that succeeds. Device and store change
    /// together or not at all.
    ///
    /// Draws 24 bytes for each record that is put, and for the manifest. Hashes what it seals, 8 KiB, and, for each record,
    /// 49 bytes for a 256th of the store's rows.
    ///
    /// # Errors
    /// Whatever `write` returns, after it has written nothing. When that can't be said, drop the store and the device and
    /// open them again.
    pub fn commit<T, R: CryptoRng + ?Sized, E>(
        &mut self,
        pending: Pending<'_, T>,
        rng: &mut R,
        write: impl FnOnce(&SealedChanges, &T) -> Result<(), E>,
    ) -> Result<T, E> {
        let mut prepared = self.prepare(pending, rng);
        match prepared.show(write) {
            Ok(()) => Ok(prepared.stored()),
            Err(error) => {
                prepared.not_stored();
                Err(error)
            }
        }
    }

    /// The same in two steps, for a store that has to be awaited ([`Pending::prepare`]). Draws as [`Self::commit`] does.
    pub fn prepare<'d, T, R: CryptoRng + ?Sized>(
        &mut self,
        pending: Pending<'d, T>,
        rng: &mut R,
    ) -> PreparedSealed<'d, '_, T> {
        let prepared = pending.prepare();
        let head = self.head;
        let sealed = prepared.look(|changes| {
            // Whichever of the two has lost its way: nothing is written.
            let follows = head.filter(|_| !changes.is_stale()).map(Follows::Row);
            self.seal(changes, follows, rng)
        });
        PreparedSealed { prepared, store: self, sealed }
    }

    /// Takes note that the rows were written.
    fn stored(&mut self, sealed: SealedChanges) {
        self.mark = sealed.mark;
        self.head = sealed.head;
        for (number, part) in sealed.changed {
            if let Some(before) = self.parts.get_mut(usize::from(number)) {
                *before = part;
            }
        }
    }

    /// Opens a store with all its rows: the one that the mark says, or the one that directly follows it, whose mark was not
    /// kept. The result is the store and the records for [`Device::restore`].
    ///
    /// # Errors
    /// [`VaultError`]: a row or the whole is damaged, torn or under another key ([`Self::salvage`] opens what is whole), or
    /// [`VaultError::Old`], [`VaultError::NotNext`] or [`VaultError::Incomplete`].
    pub fn open<K: AsRef<[u8]>, B: AsRef<[u8]>>(
        key: &[u8; 32],
        rows: impl IntoIterator<Item = (K, B)>,
        last: &Mark,
    ) -> Result<(Self, Records), VaultError> {
        let (store, before, records) = Self::open_any(key, rows)?;
        let Mark { generation, .. } = store.mark;
        // One of the same generation that is another: a transaction that failed, and was made again.
        if generation < last.generation || (generation == last.generation && store.mark != *last) {
            return Err(VaultError::Old { generation });
        }
        let is_next = generation == last.generation.saturating_add(1) && before == last.manifest;
        if store.mark != *last && !is_next {
            return Err(VaultError::NotNext { generation });
        }
        Ok((store, records))
    }

    /// Opens a backup: the records of a store that is whole, however old, for [`Device::recover`]. Then
    /// [`Self::create`] begins a new line, which the store from before can't continue.
    ///
    /// # Errors
    /// As [`Self::open`], but for [`VaultError::Old`] and [`VaultError::NotNext`].
    pub fn open_backup<K: AsRef<[u8]>, B: AsRef<[u8]>>(
        key: &[u8; 32],
        rows: impl IntoIterator<Item = (K, B)>,
    ) -> Result<Records, VaultError> {
        Self::open_any(key, rows).map(|(_, _, records)| records)
    }

    /// Opens what is authentic of a damaged store, row by row, and says what is not. The records are for
    /// [`Device::recover`], and then it goes on as after a backup.
    pub fn salvage<K: AsRef<[u8]>, B: AsRef<[u8]>>(key: &[u8; 32], rows: impl IntoIterator<Item = (K, B)>) -> Salvaged {
        let vault = Vault::new(key);
        let mut salvaged = Salvaged { records: Vec::new(), unreadable: Vec::new(), missing: None };
        let (mut found, mut manifest, mut parts) = (0_usize, None, alloc::vec![BTreeMap::new(); 256]);
        for (name, bytes) in rows {
            let bytes = bytes.as_ref();
            let Some(name) = name.as_ref().first_chunk::<{ RecordKey::LEN }>() else { continue };
            let record = RecordKey::from_bytes(*name);
            match vault.open(name, 0, bytes) {
                Ok(Unsealed { image, .. }) if record == RecordKey::HEAD => {
                    manifest = Manifest::decode(image.expose()).ok();
                }
                Ok(Unsealed { image, .. }) => {
                    if let Some(part) = parts.get_mut(usize::from(part_of(&record))) {
                        part.insert(record, row_hash(bytes));
                    }
                    found = found.saturating_add(1);
                    salvaged.records.push((record, image));
                }
                Err(_) => {
                    found = found.saturating_add(1);
                    salvaged.unreadable.push(record);
                }
            }
        }
        if let Some(manifest) = manifest {
            let parts: Vec<Part> = parts.into_iter().map(Part::new).collect();
            let whole = Manifest::new(manifest.before, &manifest.head, parts.iter()).hash == manifest.hash;
            salvaged.missing = Some(Missing { rows: manifest.count.saturating_sub(found), of_one_moment: whole });
            salvaged.records.push((RecordKey::HEAD, Image::from(manifest.head)));
        }
        salvaged
    }

    /// Opens a whole store, of whatever mark; and the manifest before its own.
    fn open_any<K: AsRef<[u8]>, B: AsRef<[u8]>>(
        key: &[u8; 32],
        rows: impl IntoIterator<Item = (K, B)>,
    ) -> Result<(Self, [u8; 32], Records), VaultError> {
        let vault = Vault::new(key);
        let mut parts: Vec<BTreeMap<RecordKey, [u8; 32]>> = alloc::vec![BTreeMap::new(); 256];
        let mut records = Vec::new();
        let mut found: Option<(Unsealed, [u8; 32])> = None;
        for (key, bytes) in rows {
            let (key, bytes) = (Reader::whole(key.as_ref(), |reader| reader.array().copied())?, bytes.as_ref());
            let opened = vault.open(&key, 0, bytes)?;
            let key = RecordKey::from_bytes(key);
            if key == RecordKey::HEAD {
                if found.replace((opened, row_hash(bytes))).is_some() {
                    return Err(VaultError::Incomplete);
                }
                continue;
            }
            let part = parts.get_mut(usize::from(part_of(&key)));
            if part.is_some_and(|part| part.insert(key, row_hash(bytes)).is_some()) {
                return Err(VaultError::Incomplete);
            }
            records.push((key, opened.image));
        }
        let (Unsealed { generation, image, .. }, head) = found.ok_or(VaultError::Incomplete)?;
        let stored = Manifest::decode(image.expose())?;
        let parts: Vec<Part> = parts.into_iter().map(Part::new).collect();
        let manifest = Manifest::new(stored.before, &stored.head, parts.iter());
        if !aead::equal(&manifest.encode(), image.expose()) {
            return Err(VaultError::Incomplete);
        }
        records.push((RecordKey::HEAD, Image::from(stored.head)));
        let mark = Mark { generation, manifest: manifest.hash };
        Ok((Self { vault, mark, head: Some(head), parts }, manifest.before, records))
    }
}

/// What was whole of a damaged store ([`SealedStore::salvage`]).
#[derive(Debug)]
#[non_exhaustive]
pub struct Salvaged {
    /// The records that opened, for [`Device::recover`].
    pub records: Records,
    /// The rows that did not: their keys, whose kind says what they were ([`RecordKey::kind`]).
    pub unreadable: Vec<RecordKey>,
    /// What the manifest misses; `None` if it did not open itself.
    pub missing: Option<Missing>,
}

/// What a manifest misses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Missing {
    /// So many rows are not there at all.
    pub rows: usize,
    /// Whether all rows are those that it fixes. Else some are damaged, missing, old or added.
    pub of_one_moment: bool,
}

impl fmt::Debug for SealedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedStore")
            .field("generation", &self.mark.generation)
            .field("rows", &self.parts.iter().map(|part| part.rows.len()).sum::<usize>())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Stale;
    use chacha20::ChaCha20Rng;
    use rand_core::SeedableRng;
    use sha2::{Digest, Sha256};

    type Disk = BTreeMap<[u8; RecordKey::LEN], Vec<u8>>;

    fn write(disk: &mut Disk, sealed: &SealedChanges) -> Result<(), Stale> {
        let head = disk.get(SealedStore::HEAD).cloned();
        for (key, row) in sealed.after(head.as_deref())? {
            match row {
                Some(bytes) => drop(disk.insert(*key, bytes.to_vec())),
                None => drop(disk.remove(key)),
            }
        }
        Ok(())
    }

    /// docs/PROTOCOL.md, 10.5, written out over all rows.
    #[test]
    fn manifest_is_as_in_the_specification() {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let (device, mut disk) = (Device::generate(&mut rng), Disk::new());
        let mut store = SealedStore::create(&[2; 32], &device, &mut rng, |sealed| write(&mut disk, sealed)).unwrap();
        let mut device = device;
        for _ in 0..3 {
            let before = store.mark();
            let pending = device.publish_prekeys(40, crate::UnixTime(1_000), &mut rng).unwrap();
            store.commit(pending, &mut ChaCha20Rng::from_seed([3; 32]), |sealed, _| write(&mut disk, sealed)).unwrap();
            let head = device.records().iter().find_map(|record| match record {
                Record::Put(RecordKey::HEAD, bytes) => Some(bytes.to_vec()),
                _ => None,
            });
            let (head, count) = (head.unwrap(), u32::try_from(disk.len() - 1).unwrap());
            let mut whole = Sha256::new().chain_update(b"sceau/1 manifest").chain_update(before.manifest);
            whole.update(count.to_be_bytes());
            whole.update(u32::try_from(head.len()).unwrap().to_be_bytes());
            whole.update(&head);
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
