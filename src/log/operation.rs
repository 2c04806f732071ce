//! Operations as plain data: what is signed, and how it is named. docs/PROTOCOL.md, "Operations".

use super::author::Author;
use crate::codec::{Reader, Write};
use crate::crypto::kdf;
use crate::crypto::sign::{SIGNATURE_LEN, SignPrivate, SignPublic, VERIFY_LEN};
use crate::error::DecodeError;
use crate::keys::{AccountId, DeviceId, OperationId};
use crate::labels::Label;
use crate::limits::{MAX_OPERATION_CHANGES, MAX_OPERATION_LEN, MAX_PARENTS, MAX_SETTING_LEN};
use alloc::vec::Vec;
use core::fmt;
use rand_core::CryptoRng;

fn id(reader: &mut Reader<'_>) -> Result<OperationId, DecodeError> {
    Ok(OperationId(*reader.array()?))
}

/// One change. What it means depends on the whole set of operations: docs/PROTOCOL.md, "Meaning".
///
/// ```text
/// kind(1) || 0 salt(16)                                  found: in a genesis only
///          | 1 account(32)    add       | 2 account(32)    remove
///          | 3 account(32)    appoint   | 4 account(32)    dismiss
///          | 5 account(32)    ban       | 6 account(32)    lift
///          | 7                leave     | 8 device(32) || admission(32)   retire
///          | 9 key(1) || length(2, at most 1024) || value                 set
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// Begins a log; the random salt makes its id unique.
    Found([u8; 16]),
    /// Makes an account a member.
    Add(AccountId),
    /// Ends the additions of an account.
    Remove(AccountId),
    /// Makes an account a member and an admin. The owner's only.
    Appoint(AccountId),
    /// Ends the appointments of an account; it stays a member by what else added it. The owner's only.
    Dismiss(AccountId),
    /// Removes an account, and blocks later additions until a lift.
    Ban(AccountId),
    /// Ends the bans that the operation has in its past.
    Lift(AccountId),
    /// Ends the addition of the author that is the operation's only parent.
    Leave,
    /// Ends what a device of the author's account writes beyond this operation's past.
    Retire {
        /// The device.
        device: DeviceId,
        /// The operation of the account's log that admitted it.
        admission: OperationId,
    },
    /// Writes a setting.
    Set {
        /// Which one.
        key: u8,
        /// At most [`crate::limits::MAX_SETTING_LEN`] bytes.
        value: Vec<u8>,
    },
}

impl Change {
    fn kind(&self) -> u8 {
        match self {
            Self::Found(_) => 0,
            Self::Add(_) => 1,
            Self::Remove(_) => 2,
            Self::Appoint(_) => 3,
            Self::Dismiss(_) => 4,
            Self::Ban(_) => 5,
            Self::Lift(_) => 6,
            Self::Leave => 7,
            Self::Retire { .. } => 8,
            Self::Set { .. } => 9,
        }
    }

    /// The account that it names.
    pub fn named(&self) -> Option<&AccountId> {
        match self {
            Self::Add(account)
            | Self::Remove(account)
            | Self::Appoint(account)
            | Self::Dismiss(account)
            | Self::Ban(account)
            | Self::Lift(account) => Some(account),
            _ => None,
        }
    }

    /// What changes of one operation are ordered by: no two may be equal.
    fn order(&self) -> (u8, [u8; 32]) {
        let mut subject = [0; 32];
        match self {
            Self::Retire { device, .. } => subject = device.0,
            Self::Set { key, .. } => subject = [*key; 32],
            _ => {
                if let Some(account) = self.named() {
                    subject = account.0;
                }
            }
        }
        (self.kind(), subject)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let kind = reader.u8()?;
        Ok(match kind {
            0 => Self::Found(*reader.array()?),
            1..=6 => {
                let account = AccountId(*reader.array()?);
                match kind {
                    1 => Self::Add(account),
                    2 => Self::Remove(account),
                    3 => Self::Appoint(account),
                    4 => Self::Dismiss(account),
                    5 => Self::Ban(account),
                    _ => Self::Lift(account),
                }
            }
            7 => Self::Leave,
            8 => Self::Retire { device: DeviceId(*reader.array()?), admission: id(reader)? },
            9 => {
                let (key, len) = (reader.u8()?, usize::from(reader.u16()?));
                if len > MAX_SETTING_LEN {
                    return Err(DecodeError::TooLong);
                }
                Self::Set { key, value: reader.slice(len)?.to_vec() }
            }
            _ => return Err(DecodeError::Invalid),
        })
    }

    fn write(&self, out: &mut impl Write) {
        out.u8(self.kind());
        match self {
            Self::Found(salt) => out.bytes(salt),
            Self::Leave => {}
            Self::Retire { device, admission } => {
                out.bytes(&device.0);
                out.bytes(&admission.0);
            }
            Self::Set { key, value } => {
                out.u8(*key);
                out.u16(u16::try_from(value.len()).unwrap_or(u16::MAX));
                out.bytes(value);
            }
            _ => {
                if let Some(account) = self.named() {
                    out.bytes(&account.0);
                }
            }
        }
    }
}

/// What a device signs. Nothing of it is known to be true until a [`super::Log`] has taken it.
///
/// ```text
/// log id(32, zeros in a genesis) || author(96) || count(1, at most 8) || parents(32 each, ascending; none in a genesis)
///   || count(1, at most 64) || changes, ascending by kind and subject || signature(64)
/// ```
///
/// At most [`MAX_OPERATION_LEN`] bytes. Its id is a hash of all but the signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    pub(super) log: OperationId,
    pub(super) author: Author,
    pub(super) parents: Vec<OperationId>,
    pub(super) changes: Vec<Change>,
    pub(super) signature: [u8; SIGNATURE_LEN],
}

impl Operation {
    /// Who wrote it, as it says.
    pub fn author(&self) -> &Author {
        &self.author
    }

    /// The operations that it builds on.
    pub fn parents(&self) -> &[OperationId] {
        &self.parents
    }

    /// What it changes.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Whether it begins a log.
    pub fn is_genesis(&self) -> bool {
        self.parents.is_empty()
    }

    /// Its name.
    pub fn id(&self) -> OperationId {
        OperationId(kdf::hash(Label::OperationId, &[&self.unsigned()]))
    }

    fn unsigned(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        out.bytes(&self.log.0);
        self.author.write(&mut out);
        out.u8(u8::try_from(self.parents.len()).unwrap_or(u8::MAX));
        for parent in &self.parents {
            out.bytes(&parent.0);
        }
        out.u8(u8::try_from(self.changes.len()).unwrap_or(u8::MAX));
        for change in &self.changes {
            change.write(&mut out);
        }
        out
    }

    /// What the signature covers: the label and all before it.
    pub(crate) fn signed_message(&self) -> Vec<u8> {
        [Label::Operation.bytes(), &self.unsigned()].concat()
    }

    /// The bytes to send and to store.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.unsigned();
        out.bytes(&self.signature);
        out
    }

    /// Reads an operation; its signature is not verified yet.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are not exactly one operation.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > MAX_OPERATION_LEN {
            return Err(DecodeError::TooLong);
        }
        Reader::whole(bytes, |reader| {
            let (log, author) = (id(reader)?, Author::read(reader)?);
            let count = usize::from(reader.u8()?);
            if count > MAX_PARENTS {
                return Err(DecodeError::TooLong);
            }
            let mut parents = Vec::with_capacity(count);
            for _ in 0..count {
                parents.push(id(reader)?);
            }
            let genesis = log == OperationId::NONE;
            if !parents.is_sorted_by(|a, b| a < b) || genesis != parents.is_empty() {
                return Err(DecodeError::Invalid);
            }
            let count = usize::from(reader.u8()?);
            if count > MAX_OPERATION_CHANGES {
                return Err(DecodeError::TooLong);
            }
            let mut changes = Vec::new();
            for _ in 0..count {
                changes.push(Change::read(reader)?);
            }
            if !changes.is_sorted_by(|a, b| a.order() < b.order()) {
                return Err(DecodeError::Invalid);
            }
            Ok(Self { log, author, parents, changes, signature: *reader.array()? })
        })
    }

    pub(super) fn verifies(&self, key: &SignPublic) -> bool {
        key.verify(&self.signed_message(), &self.signature)
    }
}

/// An operation that is not signed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft(Operation);

impl Draft {
    /// The first operation of a new log, whose author is its owner for ever. It may add and appoint accounts and write
    /// settings. Draws the salt, 16 bytes.
    ///
    /// # Errors
    /// [`DecodeError`] if the changes are too many or too long, or two of them are about the same.
    pub fn genesis<R: CryptoRng + ?Sized>(
        author: Author,
        mut changes: Vec<Change>,
        rng: &mut R,
    ) -> Result<Self, DecodeError> {
        let mut salt = [0; 16];
        rng.fill_bytes(&mut salt);
        changes.push(Change::Found(salt));
        Self::new(OperationId::NONE, author, Vec::new(), changes)
    }

    /// An operation on these parents. [`super::Log::draft`] gives one on the present heads.
    ///
    /// # Errors
    /// [`DecodeError`] if parents or changes are too many or too long, or two of them are about the same.
    pub fn new(
        log: OperationId,
        author: Author,
        mut parents: Vec<OperationId>,
        mut changes: Vec<Change>,
    ) -> Result<Self, DecodeError> {
        parents.sort_unstable();
        changes.sort_unstable_by_key(Change::order);
        let operation = Operation { log, author, parents, changes, signature: [0; SIGNATURE_LEN] };
        // What is encoded here decodes there.
        if operation.parents.len() > MAX_PARENTS || operation.changes.len() > MAX_OPERATION_CHANGES {
            return Err(DecodeError::TooLong);
        }
        if operation
            .changes
            .iter()
            .any(|change| matches!(change, Change::Set { value, .. } if value.len() > MAX_SETTING_LEN))
        {
            return Err(DecodeError::TooLong);
        }
        Operation::decode(&operation.encode()).map(Self)
    }

    /// Signs it with the author's key.
    #[must_use]
    pub fn sign(self, key: &OperationKey) -> Operation {
        self.sign_with(|message| key.0.sign(message))
    }

    /// Signs it with what the layer above has.
    pub(crate) fn sign_with(mut self, sign: impl FnOnce(&[u8]) -> [u8; SIGNATURE_LEN]) -> Operation {
        self.0.signature = sign(&self.0.signed_message());
        self.0
    }
}

/// An Ed25519 key pair that signs operations: a device's, or an account's recovery key.
pub struct OperationKey(SignPrivate);

impl OperationKey {
    /// A new key. Draws the seed, 32 bytes.
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        Self(SignPrivate::generate(rng))
    }

    /// The public half.
    pub fn public(&self) -> [u8; VERIFY_LEN] {
        self.0.public()
    }
}

impl fmt::Debug for OperationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OperationKey")
    }
}
