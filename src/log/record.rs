//! Records: one for each batch, appended, never written again. docs/PROTOCOL.md does not specify them.

use super::operation::{Change, Operation};
use super::waiting::Verified;
use crate::codec::{Reader, Write};
use crate::error::{DecodeError, StateError};
use crate::keys::PeerId;
use crate::limits::MAX_OPERATION_LEN;
use crate::state;
use alloc::vec::Vec;

/// What a batch of operations is stored as. Append it under its number; it is never changed and never deleted.
///
/// ```text
/// version(1) || number(8) || (author's rank(2) || rank of the retired device(2, zeros if it retires none) || length(2)
///   || operation) each
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// Its place: 0 for the first record of a log, then one more each time.
    pub number: u64,
    /// What to store. Public: it holds no secret but who is in the group.
    pub bytes: Vec<u8>,
}

/// The operations of a record that is being made.
#[derive(Debug, Default)]
pub(super) struct Draft(Vec<u8>);

impl Draft {
    pub(super) fn push(&mut self, verified: &Verified) {
        self.0.u16(verified.rank);
        self.0.u16(verified.target.unwrap_or(0));
        self.0.u16(u16::try_from(verified.bytes.len()).unwrap_or(u16::MAX));
        self.0.bytes(&verified.bytes);
    }

    /// `None` if there is nothing to store.
    pub(super) fn finish(&self, number: u64) -> Option<LogRecord> {
        if self.0.is_empty() {
            return None;
        }
        let mut bytes = Vec::with_capacity(self.0.len().saturating_add(9));
        bytes.u8(state::VERSION);
        bytes.u64(number);
        bytes.bytes(&self.0);
        Some(LogRecord { number, bytes })
    }
}

/// The operations of a record, which must have this number.
pub(super) fn read(bytes: &[u8], number: u64) -> Result<Vec<Verified>, StateError> {
    let (stored, operations) = Reader::whole(bytes, |reader| {
        state::version(reader)?;
        let stored = reader.u64()?;
        let mut operations = Vec::new();
        while !reader.is_empty() {
            operations.push(read_one(reader)?);
        }
        Ok((stored, operations))
    })?;
    if stored != number {
        return Err(StateError::Key);
    }
    if operations.is_empty() { Err(StateError::Invariant) } else { Ok(operations) }
}

fn read_one(reader: &mut Reader<'_>) -> Result<Verified, DecodeError> {
    let (rank, target, len) = (reader.u16()?, reader.u16()?, usize::from(reader.u16()?));
    if len > MAX_OPERATION_LEN {
        return Err(DecodeError::TooLong);
    }
    let bytes = reader.slice(len)?.to_vec();
    let operation = Operation::decode(&bytes)?;
    let retires = matches!(operation.changes.as_slice(), [Change::Retire { .. }]);
    if !retires && target != 0 {
        return Err(DecodeError::Invalid);
    }
    let target = retires.then_some(target);
    Ok(Verified { id: operation.id(), operation, bytes, rank, target, peer: PeerId([0; 32]) })
}
