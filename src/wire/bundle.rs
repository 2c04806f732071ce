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
/// version(1) || identity key(64) || signed prekey(1676) || flag(1) || one-time prekey(1676) if the flag is 1
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreKeyBundle {
    pub(crate) identity: IdentityKey,
    pub(crate) signed: SignedPreKey,
    pub(crate) one_time: Option<OneTimePreKey>,
}

impl PreKeyBundle {
    /// Longest encoding in bytes.
    pub const MAX_LEN: usize = 1 + IdentityKey::LEN + SignedPreKey::LEN + 1 + OneTimePreKey::LEN;

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
            signed: SignedPreKey::read(reader)?,
            one_time: if reader.flag()? { Some(OneTimePreKey::read(reader)?) } else { None },
        })
    }

    pub(crate) fn write(&self, out: &mut impl Write) {
        out.u8(VERSION);
        self.identity.write(out);
        self.signed.write(out);
        out.flag(self.one_time.is_some());
        if let Some(one_time) = &self.one_time {
            one_time.write(out);
        }
    }
}

/// What a device publishes in a directory: its identity, its signed prekey and a stock of one-time prekeys. The
/// directory needs no trust; it can only withhold.
///
/// ```text
/// version(1) || identity key(64) || signed prekey(1676) || count(4, at most 1000) || one-time prekeys(1676 each)
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreKeyUpload {
    pub(crate) identity: IdentityKey,
    pub(crate) signed: SignedPreKey,
    pub(crate) one_time: Vec<OneTimePreKey>,
}

impl PreKeyUpload {
    /// What a directory hands to one initiator: a one-time prekey too, as long as there are any, and each only once.
    pub fn take_bundle(&mut self) -> PreKeyBundle {
        PreKeyBundle { identity: self.identity, signed: self.signed.clone(), one_time: self.one_time.pop() }
    }

    /// Whose it claims to be: a directory knows its users by other means, and takes from each its own.
    pub fn identity(&self) -> &IdentityKey {
        &self.identity
    }

    /// The last moment at which its bundles may be used.
    pub fn not_after(&self) -> UnixTime {
        self.signed.not_after()
    }

    /// What a directory does with a newer upload of the same device: bundles have its signed prekey from now on, and its
    /// one-time prekeys are handed out when those that are here have been, or have had their time. An upload is added once.
    ///
    /// One that was made by a rotation that revokes, or by a device that has begun anew with its identity, takes the place
    /// of all that was here instead: the keys behind the older ones are gone.
    ///
    /// # Errors
    /// [`PreKeyError::OtherIdentity`]; [`PreKeyError::TooMany`] if more would be here than a device holds. Nothing has
    /// changed.
    pub fn add(&mut self, newer: Self, now: UnixTime) -> Result<(), PreKeyError> {
        if newer.identity != self.identity {
            return Err(PreKeyError::OtherIdentity);
        }
        let older = self.one_time.iter().filter(|one_time| now <= one_time.not_after());
        if older.clone().count().saturating_add(newer.one_time.len()) > MAX_ONE_TIME_PREKEYS {
            return Err(PreKeyError::TooMany);
        }
        let mut one_time = newer.one_time;
        one_time.extend(older.cloned());
        (self.signed, self.one_time) = (newer.signed, one_time);
        Ok(())
    }

    /// One-time prekeys left in it.
    pub fn one_time_left(&self) -> usize {
        self.one_time.len()
    }

    /// The bytes to publish.
    pub fn encode(&self) -> Vec<u8> {
        let prekeys = self.one_time.len().saturating_add(1).saturating_mul(OneTimePreKey::LEN);
        let mut out = Vec::with_capacity(prekeys.saturating_add(1 + IdentityKey::LEN + 4));
        out.u8(VERSION);
        self.identity.write(&mut out);
        self.signed.write(&mut out);
        out.count(self.one_time.len());
        for one_time in &self.one_time {
            one_time.write(&mut out);
        }
        out
    }

    /// Reads an upload; nothing of it is verified.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are not exactly one upload.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Reader::whole(bytes, |reader| {
            version(reader)?;
            let identity = IdentityKey::read(reader)?;
            let signed = SignedPreKey::read(reader)?;
            let count = reader.count(MAX_ONE_TIME_PREKEYS)?;
            // Grows with the input, so that a count without prekeys behind it costs no memory.
            let mut one_time = Vec::new();
            for _ in 0..count {
                one_time.push(OneTimePreKey::read(reader)?);
            }
            Ok(Self { identity, signed, one_time })
        })
    }
}

fn version(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    if reader.u8()? == VERSION { Ok(()) } else { Err(DecodeError::Version) }
}
