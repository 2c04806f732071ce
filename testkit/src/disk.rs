//! An embedder's store, in memory.

use core::convert::Infallible;
use sceau::{Changes, Device, Record, RecordKey};
use std::collections::BTreeMap;

/// Records by their keys. A clone is a backup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Disk(BTreeMap<RecordKey, Vec<u8>>);

impl Disk {
    /// Writes the changes; never fails.
    ///
    /// # Errors
    /// None.
    pub fn apply(&mut self, changes: &Changes) -> Result<(), Infallible> {
        let head = self.0.get(&RecordKey::HEAD).cloned();
        for record in changes.after(head.as_deref()).expect("one process has one store") {
            match record {
                Record::Put(key, bytes) => self.0.insert(key, bytes.to_vec()),
                Record::Delete(key) => self.0.remove(&key),
            };
        }
        Ok(())
    }

    /// A store that holds just what a device holds now.
    pub fn of(device: &Device) -> Self {
        let mut disk = Self::default();
        let Ok(()) = disk.apply(&device.records());
        disk
    }

    /// The device whose records these are.
    pub fn restore(&self) -> Device {
        Device::restore(self.0.iter().map(|(key, bytes)| (*key, bytes)), sceau::Policy::default())
            .expect("a store that was written is whole")
    }

    /// The records.
    pub fn records(&self) -> &BTreeMap<RecordKey, Vec<u8>> {
        &self.0
    }

    /// The records, to damage them.
    pub fn records_mut(&mut self) -> &mut BTreeMap<RecordKey, Vec<u8>> {
        &mut self.0
    }

    /// Bytes in all records.
    pub fn size(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }
}
