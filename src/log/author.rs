//! Who writes in a log, and what the layer above says of them.

use crate::codec::{Reader, Write};
use crate::crypto::sign::VERIFY_LEN;
use crate::error::DecodeError;
use crate::keys::{AccountId, DeviceId, OperationId};

/// Who writes: a device of an account, and the operation of the account's own log that admitted it.
///
/// ```text
/// account(32) || device(32) || admission(32)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Author {
    /// The account.
    pub account: AccountId,
    /// The device.
    pub device: DeviceId,
    /// The operation of the account's log that admitted the device.
    pub admission: OperationId,
}

impl Author {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            account: AccountId(*reader.array()?),
            device: DeviceId(*reader.array()?),
            admission: OperationId(*reader.array()?),
        })
    }

    pub(super) fn write(&self, out: &mut impl Write) {
        out.bytes(&self.account.0);
        out.bytes(&self.device.0);
        out.bytes(&self.admission.0);
    }
}

/// What an account's log says of one of its devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuthorKey {
    /// The Ed25519 key that verifies what the device writes.
    pub verify: [u8; VERIFY_LEN],
    /// Its seniority: 0 for the recovery key, 1 for the first device, then in the order of admission. The lesser outranks
    /// the greater.
    pub rank: u16,
}

/// Why an author is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthorError {
    /// The account's log, or the operation that admits the device, is not here yet.
    Unknown,
    /// The account's log says that there is no such device.
    NotADevice,
}

/// What the layer above knows of accounts. The answer for one author never changes, except from [`AuthorError::Unknown`]:
/// who holds the same operations must agree on what they mean.
pub trait Authors {
    /// The key and the rank of a device.
    ///
    /// # Errors
    /// [`AuthorError`].
    fn author(&self, author: &Author) -> Result<AuthorKey, AuthorError>;
}
