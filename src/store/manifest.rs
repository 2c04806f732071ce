//! What fixes every row of a sealed store. docs/PROTOCOL.md, "Vault".

use crate::codec::{Reader, Write};
use crate::crypto::kdf;
use crate::device::RecordKey;
use crate::error::DecodeError;
use crate::labels::Label;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// What stands in the row that fixes all others.
///
/// ```text
/// manifest before(32), random in the first || count of rows(4) || the device's head, as its record || manifest(32)
/// manifest = SHA-256(label || manifest before || count(4) || length of the head(4) || head || all 256 parts)
/// part     = SHA-256(label || count(4) || (key(17) || SHA-256(row)) each, by key), of keys with one second byte
/// ```
pub(super) struct Manifest {
    pub(super) before: [u8; 32],
    pub(super) count: usize,
    pub(super) head: Vec<u8>,
    pub(super) hash: [u8; 32],
}

impl Manifest {
    pub(super) fn new<'a>(before: [u8; 32], head: &[u8], parts: impl Iterator<Item = &'a Part> + Clone) -> Self {
        let count = parts.clone().map(|part| part.rows.len()).sum();
        let mut start = Vec::from(before);
        start.count(count);
        start.count(head.len());
        start.bytes(head);
        let mut hashes = Vec::from([start.as_slice()]);
        hashes.extend(parts.map(|part| part.hash.as_slice()));
        let hash = kdf::hash(Label::Manifest, &hashes);
        Self { before, count, head: head.to_vec(), hash }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::from(self.before);
        out.count(self.count);
        out.bytes(&self.head);
        out.bytes(&self.hash);
        out
    }

    pub(super) fn decode(image: &[u8]) -> Result<Self, DecodeError> {
        let (rest, hash) = image.split_last_chunk::<32>().ok_or(DecodeError::Truncated)?;
        Reader::whole(rest, |reader| {
            let before = *reader.array()?;
            let count = reader.count(usize::MAX)?;
            Ok(Self { before, count, head: reader.rest().to_vec(), hash: *hash })
        })
    }
}

/// The rows whose keys have one second byte, which is as good as random: what changes costs the hash of a 256th of the store.
#[derive(Clone)]
pub(super) struct Part {
    pub(super) rows: BTreeMap<RecordKey, [u8; 32]>,
    pub(super) hash: [u8; 32],
}

impl Part {
    pub(super) fn new(rows: BTreeMap<RecordKey, [u8; 32]>) -> Self {
        let mut bytes = Vec::with_capacity(rows.len().saturating_mul(RecordKey::LEN + 32).saturating_add(4));
        bytes.count(rows.len());
        for (key, hash) in &rows {
            bytes.bytes(key.as_bytes());
            bytes.bytes(hash);
        }
        Self { rows, hash: kdf::hash(Label::ManifestPart, &[&bytes]) }
    }

    pub(super) fn empty() -> Vec<Self> {
        alloc::vec![Self::new(BTreeMap::new()); 256]
    }
}

pub(super) fn part_of(key: &RecordKey) -> u8 {
    let [_, second, ..] = key.as_bytes();
    *second
}

pub(super) fn row_hash(row: &[u8]) -> [u8; 32] {
    let mut digest = kdf::Sha::new();
    digest.update(row);
    digest.finish()
}
