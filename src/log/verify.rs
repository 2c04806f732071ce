//! What can be checked of an operation without the log.

use super::author::{Author, AuthorError, Authors};
use super::operation::{Change, Operation};
use super::waiting::Verified;
use crate::crypto::sign::SignPublic;
use crate::error::OperationError;
use crate::keys::{OperationId, PeerId};
use alloc::collections::BTreeMap;

/// Verification keys, each made ready once for a batch.
pub(super) type Keys = BTreeMap<[u8; 32], SignPublic>;

/// Checks what can be checked of an operation without the log: who signed it.
pub(super) fn verify(
    log: &OperationId,
    (id, operation, bytes): (OperationId, Operation, &[u8]),
    authors: &dyn Authors,
    keys: &mut Keys,
    peer: PeerId,
) -> Result<Verified, OperationError> {
    if (operation.is_genesis() && id != *log) || (!operation.is_genesis() && operation.log != *log) {
        return Err(OperationError::OtherLog);
    }
    let find = |author: &Author| {
        authors.author(author).map_err(|error| match error {
            AuthorError::Unknown => OperationError::UnknownAuthor(author.account),
            AuthorError::NotADevice => OperationError::NotADevice(author.account),
        })
    };
    let key = find(&operation.author)?;
    let target = match operation.changes.as_slice() {
        [Change::Retire { device, admission }] => {
            let target = Author { device: *device, admission: *admission, ..operation.author };
            Some(find(&target)?.rank)
        }
        _ => None,
    };
    let verify = keys.entry(key.verify).or_insert_with(|| SignPublic::new(key.verify));
    if !operation.verifies(verify) {
        return Err(OperationError::Signature);
    }
    Ok(Verified { id, operation, bytes: bytes.to_vec(), rank: key.rank, target, peer })
}
