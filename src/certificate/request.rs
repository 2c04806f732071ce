//! Proof of possession: an issuer certifies no identity whose key did not sign the issuer's challenge.
//!
//! ```text
//! issuer                                             device
//!   challenge: issuer, address, end, 32 bytes  ───▶  is it the issuer, and the address, that I asked for?
//!   verify, then issue                         ◀───  request: identity key, signature over the challenge
//! ```

use crate::certificate::{Address, IssuerKey};
use crate::codec::{Reader, Write};
use crate::error::{CertificateRequestError, DecodeError};
use crate::identity::IdentityKeyPair;
use crate::keys::{IdentityKey, UnixTime};
use crate::labels::Label;
use crate::wire::VERSION;
use crate::wire::proof::Proof;
use alloc::vec::Vec;
use rand_core::CryptoRng;

/// What an issuer has a device sign before it certifies its identity. It serves once: [`Self::verify`] takes it by value.
///
/// ```text
/// version(1) = 1 || issuer key(32) || address length(1) || address(64) || not_after(8) || random(32)
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct CertificateChallenge {
    issuer: IssuerKey,
    address: Address,
    not_after: UnixTime,
    random: [u8; 32],
}

impl CertificateChallenge {
    /// Length of the encoding in bytes.
    pub const LEN: usize = 1 + 32 + 1 + Address::MAX_LEN + 8 + 32;

    pub(super) fn draw<R: CryptoRng + ?Sized>(
        issuer: IssuerKey,
        address: Address,
        not_after: UnixTime,
        rng: &mut R,
    ) -> Self {
        let mut random = [0; 32];
        rng.fill_bytes(&mut random);
        Self { issuer, address, not_after, random }
    }

    /// The issuer that made it.
    pub fn issuer(&self) -> IssuerKey {
        self.issuer
    }

    /// The address that was asked for.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The last moment at which the issuer takes an answer.
    pub fn not_after(&self) -> UnixTime {
        self.not_after
    }

    /// The encoding, for the device, and for the issuer's store until the answer comes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::LEN);
        self.write(&mut out);
        out
    }

    /// Reads an encoding. An issuer reads only what it has stored itself, and deletes it there: whoever asks could give an
    /// old one back.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Reader::whole(bytes, |reader| {
            version(reader)?;
            Ok(Self {
                issuer: IssuerKey(*reader.array()?),
                address: Address::read(reader)?,
                not_after: UnixTime(reader.u64()?),
                random: *reader.array()?,
            })
        })
    }

    fn write(&self, out: &mut impl Write) {
        out.u8(VERSION);
        out.bytes(&self.issuer.0);
        self.address.write(out);
        out.u64(self.not_after.0);
        out.bytes(&self.random);
    }

    /// Verifies the answer: the device holds the identity, and asked this issuer for this address.
    ///
    /// # Errors
    /// [`CertificateRequestError::Expired`], [`CertificateRequestError::Signature`]. The challenge is used up: a device that
    /// tries again gets another one.
    pub fn verify(
        self,
        request: &CertificateRequest,
        now: UnixTime,
    ) -> Result<VerifiedRequest, CertificateRequestError> {
        if now > self.not_after {
            return Err(CertificateRequestError::Expired);
        }
        let identity = *request.identity();
        if !request.0.verifies(&self.signed_message(&identity)) {
            return Err(CertificateRequestError::Signature);
        }
        Ok(VerifiedRequest { issuer: self.issuer, identity, address: self.address })
    }

    /// `label || challenge || identity key`.
    pub(crate) fn signed_message(&self, identity: &IdentityKey) -> Vec<u8> {
        let mut out = Vec::from(Label::CertificateRequest.bytes());
        self.write(&mut out);
        identity.write(&mut out);
        out
    }
}

/// A device's answer to a challenge: it holds this identity, and wants it certified. Nothing of it is known to be true
/// before [`CertificateChallenge::verify`].
///
/// ```text
/// version(1) = 1 || identity key(96) || signature of the identity(64)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertificateRequest(Proof);

impl CertificateRequest {
    /// Length of the encoding in bytes.
    pub const LEN: usize = Proof::LEN;

    /// The identity that it claims to be of.
    pub fn identity(&self) -> &IdentityKey {
        &self.0.identity
    }

    /// The encoding.
    pub fn encode(&self) -> Vec<u8> {
        self.0.encode()
    }

    /// Reads an encoding. Says nothing about the signature.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Proof::decode(bytes).map(Self)
    }
}

fn version(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    if reader.u8()? == VERSION { Ok(()) } else { Err(DecodeError::Version) }
}

/// A request whose signature was verified: the only thing that [`crate::certificate::IssuerKeyPair::issue`] certifies, once.
#[derive(Debug, PartialEq, Eq)]
pub struct VerifiedRequest {
    pub(super) issuer: IssuerKey,
    pub(super) identity: IdentityKey,
    pub(super) address: Address,
}

impl VerifiedRequest {
    /// The identity that asks, and holds its private key.
    pub fn identity(&self) -> &IdentityKey {
        &self.identity
    }

    /// The address that it asks for. Whether that is its own, the operator finds out.
    pub fn address(&self) -> &Address {
        &self.address
    }
}

impl IdentityKeyPair {
    /// Answers an issuer's challenge, if it is of the issuer that this device asks, and for the address that it asks for.
    /// Take both from what the device asked for, never from the challenge. The signature shows to anyone that this identity
    /// asked for this address.
    ///
    /// # Errors
    /// [`CertificateRequestError::OtherIssuer`], [`CertificateRequestError::OtherAddress`]: nothing was signed.
    pub fn request_certificate(
        &self,
        challenge: &CertificateChallenge,
        issuer: IssuerKey,
        address: &Address,
    ) -> Result<CertificateRequest, CertificateRequestError> {
        if challenge.issuer != issuer {
            return Err(CertificateRequestError::OtherIssuer);
        }
        if challenge.address != *address {
            return Err(CertificateRequestError::OtherAddress);
        }
        let identity = *self.public();
        Ok(CertificateRequest(Proof { identity, signature: self.sign(&challenge.signed_message(&identity)) }))
    }
}
