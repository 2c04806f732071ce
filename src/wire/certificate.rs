//! Sender certificates as plain data, and what their signatures cover. docs/PROTOCOL.md, "Certificates".

use crate::codec::{Reader, Write};
use crate::crypto::{kdf, sign};
use crate::error::DecodeError;
use crate::keys::{IdentityKey, Signature, UnixTime};
use crate::labels::Label;
use alloc::vec::Vec;
use core::fmt;

/// What an authority says about a device: an opaque name of at most 64 bytes, such as an e-mail address or a number. May
/// be empty. This crate never reads it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    len: u8,
    bytes: [u8; Self::MAX_LEN],
}

impl Address {
    /// Longest address in bytes.
    pub const MAX_LEN: usize = 64;

    /// An address of these bytes.
    ///
    /// # Errors
    /// [`DecodeError::TooLong`] above [`Self::MAX_LEN`].
    pub fn new(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut address = Self { len: 0, bytes: [0; Self::MAX_LEN] };
        let place = address.bytes.get_mut(..bytes.len()).ok_or(DecodeError::TooLong)?;
        place.copy_from_slice(bytes);
        address.len = u8::try_from(bytes.len()).map_err(|_| DecodeError::TooLong)?;
        Ok(address)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// Reads `length(1) || address(64, padded with zeros)`.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (len, bytes) = (reader.u8()?, *reader.array()?);
        let address = Self { len, bytes };
        let padding = address.bytes.get(usize::from(len)..).ok_or(DecodeError::TooLong)?;
        if padding.iter().all(|&byte| byte == 0) { Ok(address) } else { Err(DecodeError::Invalid) }
    }

    pub(crate) fn write(&self, out: &mut impl Write) {
        out.u8(self.len);
        out.bytes(&self.bytes);
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({})", self.as_bytes().escape_ascii())
    }
}

/// The short name of an issuer's key, for revocation: the first 8 bytes of a hash of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 8]);

/// An issuer's public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IssuerKey(pub [u8; 32]);

impl IssuerKey {
    /// Its short name.
    pub fn id(&self) -> KeyId {
        let mut id = [0; 8];
        for (to, from) in id.iter_mut().zip(kdf::hash(Label::IssuerKeyId, &[&self.0])) {
            *to = from;
        }
        KeyId(id)
    }
}

/// The public key of an authority, which an application trusts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RootKey(pub [u8; 32]);

/// An authority's word for an issuer.
///
/// ```text
/// issuer key(32) || key id(8) || not_after(8) || signature of the root(64)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IssuerCertificate {
    pub(crate) issuer: IssuerKey,
    pub(crate) not_after: UnixTime,
    pub(crate) signature: Signature,
}

impl IssuerCertificate {
    /// Length of the encoding in bytes.
    pub const LEN: usize = 32 + 8 + 8 + sign::SIGNATURE_LEN;

    /// The issuer's key.
    pub fn issuer(&self) -> IssuerKey {
        self.issuer
    }

    /// The last moment at which it holds.
    pub fn not_after(&self) -> UnixTime {
        self.not_after
    }

    /// The encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::LEN);
        self.write(&mut out);
        out
    }

    /// Reads an encoding. Says nothing about the signature.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Reader::whole(bytes, Self::read)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (issuer, id) = (IssuerKey(*reader.array()?), KeyId(*reader.array()?));
        if issuer.id() != id {
            return Err(DecodeError::Invalid);
        }
        Ok(Self { issuer, not_after: UnixTime(reader.u64()?), signature: Signature::read(reader)? })
    }

    fn write(&self, out: &mut impl Write) {
        out.bytes(&self.issuer.0);
        out.bytes(&self.issuer.id().0);
        out.u64(self.not_after.0);
        out.bytes(&self.signature.0);
    }

    /// `label || issuer key || key id || not_after`.
    pub(crate) fn signed_message(issuer: &IssuerKey, not_after: UnixTime) -> Vec<u8> {
        let mut out = Vec::from(Label::IssuerCertificate.bytes());
        out.bytes(&issuer.0);
        out.bytes(&issuer.id().0);
        out.u64(not_after.0);
        out
    }
}

/// What a device shows of itself: an issuer's word for its address, and an authority's for the issuer.
///
/// ```text
/// address length(1) || address(64) || not_after(8) || issuer key id(8) || signature of the issuer(64)
///   || issuer certificate(112)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Certificate {
    pub(crate) address: Address,
    pub(crate) not_after: UnixTime,
    pub(crate) signature: Signature,
    pub(crate) issuer: IssuerCertificate,
}

impl Certificate {
    /// Length of the encoding in bytes.
    pub const LEN: usize = 1 + Address::MAX_LEN + 8 + 8 + sign::SIGNATURE_LEN + IssuerCertificate::LEN;

    /// What it says. Nothing of it is known to be true: [`crate::certificate::CertificatePolicy::check`].
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The last moment at which it holds, the issuer's part too.
    pub fn not_after(&self) -> UnixTime {
        self.not_after.min(self.issuer.not_after)
    }

    /// The encoding, in place.
    pub(crate) fn encode_in_place(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        self.write(&mut crate::wire::payload::Place(&mut bytes));
        bytes
    }

    /// The encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::LEN);
        self.write(&mut out);
        out
    }

    /// Reads an encoding. Says nothing about the signatures.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Reader::whole(bytes, Self::read)
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (address, not_after) = (Address::read(reader)?, UnixTime(reader.u64()?));
        let (id, signature) = (KeyId(*reader.array()?), Signature::read(reader)?);
        let issuer = IssuerCertificate::read(reader)?;
        if issuer.issuer.id() != id {
            return Err(DecodeError::Invalid);
        }
        Ok(Self { address, not_after, signature, issuer })
    }

    pub(crate) fn write(&self, out: &mut impl Write) {
        self.address.write(out);
        out.u64(self.not_after.0);
        out.bytes(&self.issuer.issuer.id().0);
        out.bytes(&self.signature.0);
        self.issuer.write(out);
    }

    /// Its name among those of one device: the first 16 bytes of a hash of it.
    pub(crate) fn id(&self) -> [u8; 16] {
        kdf::truncate(&kdf::hash(Label::CertificateId, &[&self.encode()]))
    }

    /// `label || identity key || address length || address || not_after || issuer key id`.
    pub(crate) fn signed_message(
        identity: &IdentityKey,
        address: &Address,
        not_after: UnixTime,
        issuer: KeyId,
    ) -> Vec<u8> {
        let mut out = Vec::from(Label::SenderCertificate.bytes());
        identity.write(&mut out);
        address.write(&mut out);
        out.u64(not_after.0);
        out.bytes(&issuer.0);
        out
    }
}
