//! Prekeys as published. docs/PROTOCOL.md, "Prekeys".

use crate::codec::{Reader, Write};
use crate::crypto::kem::KEM_PUBLIC_LEN;
use crate::error::{DecodeError, PreKeyError};
use crate::keys::{DhPublic, Fingerprint, IdentityKey, Signature, UnixTime};
use crate::labels::Label;
use crate::limits::MAX_ONE_TIME_PREKEYS;
use crate::wire::VERSION;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// A prekey's public fields.
///
/// ```text
/// id(4, not 0) || x25519(32) || ml-kem-1024 encapsulation key(1568) || not_after(8)
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PreKeyFields {
    pub(crate) id: u32,
    pub(crate) dh: DhPublic,
    pub(crate) kem: Box<[u8; KEM_PUBLIC_LEN]>,
    pub(crate) not_after: UnixTime,
}

impl PreKeyFields {
    pub(crate) const LEN: usize = 4 + 32 + KEM_PUBLIC_LEN + 8;

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            id: nonzero(reader.u32()?)?,
            dh: DhPublic(*reader.array()?),
            kem: Box::new(*reader.array()?),
            not_after: UnixTime(reader.u64()?),
        })
    }

    pub(crate) fn write(&self, out: &mut impl Write) {
        out.u32(self.id);
        out.bytes(&self.dh.0);
        out.bytes(self.kem.as_slice());
        out.u64(self.not_after.0);
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::LEN);
        self.write(&mut out);
        out
    }

    /// What is signed: label || fingerprint || fields.
    pub(crate) fn signed_message(&self, label: Label, owner: &Fingerprint) -> Vec<u8> {
        let mut out = Vec::from(label.bytes());
        out.bytes(owner.as_bytes());
        self.write(&mut out);
        out
    }
}

fn nonzero(id: u32) -> Result<u32, DecodeError> {
    if id == 0 { Err(DecodeError::Invalid) } else { Ok(id) }
}

macro_rules! published {
    ($(#[$doc:meta])* $name:ident, $label:expr) => {
        $(#[$doc])*
        ///
        /// ```text
        /// id(4, not 0) || x25519(32) || ml-kem-1024 encapsulation key(1568) || not_after(8) || signature(64)
        /// ```
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name {
            pub(crate) fields: PreKeyFields,
            pub(crate) signature: Signature,
        }

        impl $name {
            pub(crate) const LABEL: Label = $label;
            pub(crate) const LEN: usize = PreKeyFields::LEN + 64;

            /// The last moment at which it may be used to introduce oneself.
            pub fn not_after(&self) -> UnixTime {
                self.fields.not_after
            }

            pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Ok(Self { fields: PreKeyFields::read(reader)?, signature: Signature::read(reader)? })
            }

            pub(crate) fn write(&self, out: &mut impl Write) {
                self.fields.write(out);
                out.bytes(&self.signature.0);
            }

            pub(crate) fn sign(fields: PreKeyFields, owner: &impl Signer) -> Self {
                let signature = owner.sign(&fields.signed_message(Self::LABEL, &owner.name()));
                Self { fields, signature }
            }

            /// Whether `owner` signed it.
            pub(crate) fn is_signed_by(&self, owner: &IdentityKey) -> bool {
                owner.verifies(&self.fields.signed_message(Self::LABEL, &owner.fingerprint()), &self.signature)
            }
        }
    };
}

published! {
    /// A prekey that serves many introductions until it is replaced.
    SignedPreKey, Label::SignedPreKey
}
published! {
    /// A prekey that serves one introduction, which is forward secret as soon as it was accepted.
    OneTimePreKey, Label::OneTimePreKey
}

/// What an initiator fetches, anonymously, to write to someone for the first time. Nothing of it is trusted until it is
/// verified ([`crate::prekey::VerifiedPreKeyBundle`]).
///
/// ```text
/// version(1) || identity key(96) || its ml-kem-1024 encapsulation key(1568) || signed prekey(1676) || flag(1)
///   || one-time prekey(1676) if the flag is 1
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreKeyBundle {
    pub(crate) identity: IdentityKey,
    pub(crate) kem: Box<[u8; KEM_PUBLIC_LEN]>,
    pub(crate) signed: SignedPreKey,
    pub(crate) one_time: Option<OneTimePreKey>,
}

impl PreKeyBundle {
    /// Longest encoding in bytes.
    pub const MAX_LEN: usize = 1 + IdentityKey::LEN + KEM_PUBLIC_LEN + SignedPreKey::LEN + 1 + OneTimePreKey::LEN;

    /// Whose bundle it claims to be.
    pub fn identity(&self) -> &IdentityKey {
        &self.identity
    }

    /// Whether it holds a one-time prekey.
    pub fn has_one_time(&self) -> bool {
        self.one_time.is_some()
    }

    /// The bytes to hand out.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::MAX_LEN);
        self.write(&mut out);
        out
    }

    /// Reads a bundle; nothing of it is verified yet.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are not exactly one bundle.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Reader::whole(bytes, Self::read)
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        version(reader)?;
        Ok(Self {
            identity: IdentityKey::read(reader)?,
            kem: Box::new(*reader.array()?),
            signed: SignedPreKey::read(reader)?,
            one_time: if reader.flag()? { Some(OneTimePreKey::read(reader)?) } else { None },
        })
    }

    pub(crate) fn write(&self, out: &mut impl Write) {
        out.u8(VERSION);
        self.identity.write(out);
        out.bytes(self.kem.as_slice());
        self.signed.write(out);
        out.flag(self.one_time.is_some());
        if let Some(one_time) = &self.one_time {
            one_time.write(out);
        }
    }
}

/// An identity that signs what it publishes.
pub(crate) trait Signer {
    fn key(&self) -> &IdentityKey;
    fn kem(&self) -> &[u8; KEM_PUBLIC_LEN];
    fn sign(&self, message: &[u8]) -> Signature;

    fn name(&self) -> Fingerprint {
        self.key().fingerprint()
    }
}

/// What a device publishes: its identity, its signed prekey, and a batch of one-time prekeys, which takes the place of all
/// that it has published before. Published twice, or late, it changes nothing for the worse: a directory goes by the number.
///
/// ```text
/// version(1) || identity key(96) || its ml-kem-1024 encapsulation key(1568) || number(8) || signed prekey(1676)
///   || count(4, at most 1000) || one-time prekeys(1676 each) || signature(64) over label || all before it
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreKeyUpload {
    entry: DirectoryEntry,
    signature: Signature,
}

impl PreKeyUpload {
    pub(crate) fn sign(owner: &impl Signer, number: u64, signed: SignedPreKey, one_time: Vec<OneTimePreKey>) -> Self {
        let (identity, kem) = (*owner.key(), Box::new(*owner.kem()));
        let entry = DirectoryEntry { identity, kem, number, signed, one_time };
        let signature = owner.sign(&entry.signed_message());
        Self { entry, signature }
    }

    /// What a directory keeps of it, once it has checked that the device signed it and shows the KEM key that its identity
    /// names.
    ///
    /// # Errors
    /// [`PreKeyError::Signature`] or [`PreKeyError::OtherKemKey`].
    pub fn into_entry(self) -> Result<DirectoryEntry, PreKeyError> {
        let Self { entry, signature } = self;
        if !entry.identity.verifies(&entry.signed_message(), &signature) {
            Err(PreKeyError::Signature)
        } else if !entry.identity.names_kem_key(&entry.kem) {
            Err(PreKeyError::OtherKemKey)
        } else {
            Ok(entry)
        }
    }

    #[cfg(test)]
    pub(crate) fn signed_id(&self) -> u32 {
        self.entry.signed.fields.id
    }

    #[cfg(test)]
    pub(crate) fn one_time_ids(&self) -> Vec<u32> {
        self.entry.one_time.iter().map(|one_time| one_time.fields.id).collect()
    }

    /// Whose it claims to be.
    pub fn identity(&self) -> &IdentityKey {
        &self.entry.identity
    }

    /// Which of the device's uploads it is: greater than all before.
    pub fn number(&self) -> u64 {
        self.entry.number
    }

    /// The last moment at which its bundles may be used.
    pub fn not_after(&self) -> UnixTime {
        self.entry.not_after()
    }

    /// How many one-time prekeys it has.
    pub fn one_time_count(&self) -> usize {
        self.entry.one_time.len()
    }

    /// The bytes to publish.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.entry.encode();
        out.bytes(&self.signature.0);
        out
    }

    /// Reads an upload; nothing of it is verified ([`Self::into_entry`]).
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are not exactly one upload.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Reader::whole(bytes, |reader| {
            Ok(Self { entry: DirectoryEntry::read(reader)?, signature: Signature::read(reader)? })
        })
    }
}

/// What a directory holds of one device: its last upload, without the one-time prekeys that were handed out. Nobody has to
/// trust the directory; it can only withhold.
///
/// ```text
/// version(1) || identity key(96) || its ml-kem-1024 encapsulation key(1568) || number(8) || signed prekey(1676)
///   || count(4, at most 1000) || one-time prekeys(1676 each)
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryEntry {
    identity: IdentityKey,
    kem: Box<[u8; KEM_PUBLIC_LEN]>,
    number: u64,
    signed: SignedPreKey,
    one_time: Vec<OneTimePreKey>,
}

impl DirectoryEntry {
    /// What is handed to one initiator: with a one-time prekey, as long as there are any, and each only once. Store the entry
    /// before the bundle leaves.
    pub fn take_bundle(&mut self) -> PreKeyBundle {
        let (kem, signed) = (self.kem.clone(), self.signed.clone());
        PreKeyBundle { identity: self.identity, kem, signed, one_time: self.one_time.pop() }
    }

    /// Takes a later upload of the same device in place of what is here; whether it is a later one. The same upload again, or
    /// an older one that comes late, changes nothing.
    ///
    /// # Errors
    /// [`PreKeyError::OtherIdentity`], [`PreKeyError::Signature`] or [`PreKeyError::OtherKemKey`]; nothing has changed.
    pub fn update(&mut self, upload: PreKeyUpload) -> Result<bool, PreKeyError> {
        if upload.entry.identity != self.identity {
            return Err(PreKeyError::OtherIdentity);
        }
        let entry = upload.into_entry()?;
        let later = entry.number > self.number;
        if later {
            *self = entry;
        }
        Ok(later)
    }

    /// Whose it is.
    pub fn identity(&self) -> &IdentityKey {
        &self.identity
    }

    /// Which of the device's uploads it comes from.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The last moment at which its bundles may be used.
    pub fn not_after(&self) -> UnixTime {
        self.signed.not_after()
    }

    /// One-time prekeys that were not handed out yet.
    pub fn one_time_left(&self) -> usize {
        self.one_time.len()
    }

    /// The bytes to store.
    pub fn encode(&self) -> Vec<u8> {
        let prekeys = self.one_time.len().saturating_add(1).saturating_mul(OneTimePreKey::LEN);
        let mut out = Vec::with_capacity(prekeys.saturating_add(1 + IdentityKey::LEN + KEM_PUBLIC_LEN + 8 + 4 + 64));
        self.write(&mut out);
        out
    }

    /// Reads what was stored.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are not exactly one entry.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Reader::whole(bytes, Self::read)
    }

    fn signed_message(&self) -> Vec<u8> {
        let mut out = Vec::from(Label::Upload.bytes());
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut impl Write) {
        out.u8(VERSION);
        self.identity.write(out);
        out.bytes(self.kem.as_slice());
        out.u64(self.number);
        self.signed.write(out);
        out.count(self.one_time.len());
        for one_time in &self.one_time {
            one_time.write(out);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        version(reader)?;
        let (identity, kem) = (IdentityKey::read(reader)?, Box::new(*reader.array()?));
        let number = reader.u64()?;
        let signed = SignedPreKey::read(reader)?;
        let count = reader.count(MAX_ONE_TIME_PREKEYS)?;
        // Grows with the input, so that a count without prekeys behind it costs no memory.
        let mut one_time = Vec::new();
        for _ in 0..count {
            one_time.push(OneTimePreKey::read(reader)?);
        }
        Ok(Self { identity, kem, number, signed, one_time })
    }
}

fn version(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    if reader.u8()? == VERSION { Ok(()) } else { Err(DecodeError::Version) }
}
