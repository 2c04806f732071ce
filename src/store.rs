//! A device's records, sealed as a whole: an old store that is put back, a row that is old, missing or added, is noticed.
//! docs/PROTOCOL.md, "Vault".
//!
//! Each transaction has a generation. Its rows are sealed under it ([`crate::vault::Vault`]), and with them a manifest, which
//! fixes of what generation every row is. Keep the last generation where it can't be turned back, as in the system's key
//! store; nothing else is needed to notice.
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
//!     let sealed = store.seal(changes, &mut rand::rng());
//!     for (key, row) in sealed.rows() {
//!         match row {
//!             Some(bytes) => disk.insert(*key, bytes.to_vec()), // All in one transaction.
//!             None => disk.remove(key),
//!         };
//!     }
//!     store.stored(&sealed); // Only when that has succeeded.
//!     Ok::<(), std::io::Error>(())
//! })?;
//! let (again, records) = SealedStore::open(&key, &disk, store.generation())?;
//! let restored = Device::restore(records.iter().map(|(key, image)| (*key, image.expose())))?;
//! assert_eq!((restored.fingerprint(), again.generation()), (device.fingerprint(), 1));
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

/// Seals a device's records under one key, and remembers of what generation each is.
///
/// ```text
/// row      = sealed image under its key
/// manifest = under the key 0*17, the image SHA-256(label || count(4) || (key(17) || generation(8)) each, by key)
/// ```
pub struct SealedStore {
    vault: Vault,
    generation: u64,
    rows: BTreeMap<RecordKey, u64>,
}

/// The rows of one transaction, the manifest among them.
#[must_use = "write it, then tell the store"]
pub struct SealedChanges {
    generation: u64,
    rows: Vec<Row>,
    changed: Vec<(RecordKey, bool)>,
}

impl SealedChanges {
    /// What to write, in one transaction: bytes to put, or `None` to delete.
    pub fn rows(&self) -> impl Iterator<Item = (&[u8; RecordKey::LEN], Option<&[u8]>)> {
        self.rows.iter().map(|(key, row)| (key, row.as_deref()))
    }

    /// The generation that these rows make. Keep it outside once they are written.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

impl SealedStore {
    /// An empty store, under a key of 32 random bytes.
    pub fn new(key: &[u8; 32]) -> Self {
        Self { vault: Vault::new(key), generation: 0, rows: BTreeMap::new() }
    }

    /// The generation of the last transaction.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Seals the records that an operation changes. Draws 24 bytes for each that is put, and for the manifest. Hashes 25
    /// bytes for each row of the store.
    pub fn seal<R: CryptoRng + ?Sized>(&self, changes: &Changes, rng: &mut R) -> SealedChanges {
        let generation = self.generation.saturating_add(1);
        let (mut rows, mut changed, mut after) = (Vec::new(), Vec::new(), self.rows.clone());
        for record in changes.iter() {
            let (key, row) = match record {
                Record::Put(key, bytes) => {
                    after.insert(key, generation);
                    (key, Some(self.vault.seal(key.as_bytes(), generation, bytes, rng)))
                }
                Record::Delete(key) => {
                    after.remove(&key);
                    (key, None)
                }
            };
            changed.push((key, row.is_some()));
            rows.push((*key.as_bytes(), row));
        }
        rows.push((MANIFEST, Some(self.vault.seal(&MANIFEST, generation, &manifest(&after), rng))));
        SealedChanges { generation, rows, changed }
    }

    /// Takes note that the rows were written. If that is not certain, drop the store and open it again.
    pub fn stored(&mut self, sealed: &SealedChanges) {
        self.generation = sealed.generation;
        for (key, there) in &sealed.changed {
            if *there {
                self.rows.insert(*key, sealed.generation);
            } else {
                self.rows.remove(key);
            }
        }
    }

    /// Opens a store with all its rows, no older than a generation. The result is the store and the records for
    /// [`crate::Device::restore`].
    ///
    /// # Errors
    /// [`VaultError`]: a row or the whole is damaged, torn or under another key, or [`VaultError::Old`], or
    /// [`VaultError::Incomplete`].
    pub fn open<K: AsRef<[u8]>, B: AsRef<[u8]>>(
        key: &[u8; 32],
        rows: impl IntoIterator<Item = (K, B)>,
        least: u64,
    ) -> Result<(Self, Vec<(RecordKey, Image)>), VaultError> {
        let mut store = Self::new(key);
        let mut records = Vec::new();
        let mut found: Option<Unsealed> = None;
        for (key, bytes) in rows {
            let key = Reader::whole(key.as_ref(), |reader| reader.array().copied())?;
            if key == MANIFEST {
                found = Some(store.vault.open(&MANIFEST, least, bytes.as_ref())?);
                continue;
            }
            let Unsealed { generation, image, .. } = store.vault.open(&key, 0, bytes.as_ref())?;
            let key = RecordKey::from_bytes(key);
            if store.rows.insert(key, generation).is_some() {
                return Err(VaultError::Incomplete);
            }
            records.push((key, image));
        }
        let Unsealed { generation, image, .. } = found.ok_or(VaultError::Incomplete)?;
        if image.expose() != manifest(&store.rows) {
            return Err(VaultError::Incomplete);
        }
        store.generation = generation;
        Ok((store, records))
    }
}

/// What fixes every row's generation.
fn manifest(rows: &BTreeMap<RecordKey, u64>) -> [u8; 32] {
    let mut bytes = Vec::with_capacity(rows.len().saturating_mul(RecordKey::LEN + 8).saturating_add(4));
    bytes.count(rows.len());
    for (key, generation) in rows {
        bytes.bytes(key.as_bytes());
        bytes.u64(*generation);
    }
    kdf::hash(Label::Manifest, &[&bytes])
}

impl fmt::Debug for SealedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedStore")
            .field("generation", &self.generation)
            .field("rows", &self.rows.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SealedChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedChanges").field("rows", &self.rows.len()).finish_non_exhaustive()
    }
}
