//! Sender certificates: an authority's word for a device's address, shown to the peer alone. docs/PROTOCOL.md,
//! "Certificates".
//!
//! Nobody needs them: without an authority, people compare safety numbers. With one, its server calls this side:
//!
//! ```
//! use sceau::certificate::{Address, CertificatePolicy, IssuerKeyPair, RootKeyPair};
//! use sceau::{IdentityKeyPair, UnixTime};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (mut rng, now) = (rand::rng(), UnixTime::from_secs(1_800_000_000)?);
//! // Once, offline: the root. Once a season: an issuer. Once a week: each device.
//! let (root, issuer) = (RootKeyPair::generate(&mut rng), IssuerKeyPair::generate(&mut rng));
//! let issuer_certificate = root.certify(issuer.public(), now.plus(90 * 86_400));
//! // Alice asks for her address. The server makes sure that it is hers, as by an e-mail to it, and sends a challenge.
//! let alice = IdentityKeyPair::generate(&mut rng);
//! let address = Address::new(b"alice@example.org")?;
//! let challenge = issuer.challenge(address, now.plus(600), &mut rng);
//! // Her device signs it; the server verifies that, and certifies.
//! let request = alice.request_certificate(&challenge, issuer_certificate.issuer(), &address)?;
//! let verified = challenge.verify(&request, now)?;
//! let certificate = issuer.issue(&issuer_certificate, verified, now.plus(7 * 86_400))?;
//!
//! // And an application checks: in `Policy::certificates`, or by itself.
//! let mut policy = CertificatePolicy::default();
//! policy.roots.push(root.public());
//! assert_eq!(policy.check(&certificate, alice.public(), now)?.address, address);
//! # Ok(())
//! # }
//! ```

mod request;

pub use crate::wire::certificate::{Address, Certificate, IssuerCertificate, IssuerKey, KeyId, RootKey};
pub use request::{CertificateChallenge, CertificateRequest, VerifiedRequest};

use crate::codec::{Reader, Write};
use crate::crypto::sign::{self, SignPrivate};
use crate::error::{CertificateError, DecodeError, StateError};
use crate::keys::{IdentityKey, Signature, UnixTime};
use crate::state::{self, Image};
use alloc::vec::Vec;
use rand_core::CryptoRng;

/// What an application makes of peers' certificates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CertificatePolicy {
    /// The authorities that are trusted. None: certificates are not looked at.
    pub roots: Vec<RootKey>,
    /// Issuers that are trusted no longer.
    pub revoked: Vec<KeyId>,
    /// Whether a peer needs one to introduce itself.
    pub demand: CertificateDemand,
}

/// Whether a peer needs a certificate to introduce itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CertificateDemand {
    /// No; a good one is remembered, a bad one is told by a notice.
    #[default]
    Optional,
    /// An introduction without a good one, by someone of whom none is known, is refused.
    Required,
}

/// What a good certificate says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Certified {
    /// The device's address.
    pub address: Address,
    /// The last moment at which that holds.
    pub not_after: UnixTime,
    /// Who says so.
    pub issuer: KeyId,
    /// Which authority stands behind it.
    pub root: RootKey,
}

/// Where what is known of a peer's address stands now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateState {
    /// No good certificate of the peer has come.
    None,
    /// One has, and it holds.
    Valid,
    /// One has, and its time is past.
    Expired,
    /// One has, and its issuer is trusted no longer.
    Revoked,
    /// One has, and its root is trusted no longer.
    Untrusted,
}

impl CertificatePolicy {
    /// Checks a certificate of an identity: signatures, times, revocation.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn check(
        &self,
        certificate: &Certificate,
        identity: &IdentityKey,
        now: UnixTime,
    ) -> Result<Certified, CertificateError> {
        let issuer = &certificate.issuer;
        let signed = IssuerCertificate::signed_message(&issuer.issuer, issuer.not_after);
        let root = self.roots.iter().find(|root| sign::verify(&root.0, &signed, &issuer.signature.0));
        let root = *root.ok_or(CertificateError::Untrusted)?;
        if !certificate.is_of(identity) {
            return Err(CertificateError::Signature);
        }
        let certified = Certified {
            address: certificate.address,
            not_after: certificate.not_after(),
            issuer: issuer.issuer.id(),
            root,
        };
        match self.state(Some(&certified), now) {
            CertificateState::Revoked => Err(CertificateError::Revoked),
            CertificateState::Expired => Err(CertificateError::Expired),
            CertificateState::Untrusted => Err(CertificateError::Untrusted),
            CertificateState::Valid | CertificateState::None => Ok(certified),
        }
    }

    /// Checks what a peer shows as its certificate ([`crate::session::Accepted::certificate`]).
    ///
    /// # Errors
    /// [`CertificateError`], [`CertificateError::Malformed`] among them.
    pub fn check_encoded(
        &self,
        certificate: &[u8],
        identity: &IdentityKey,
        now: UnixTime,
    ) -> Result<Certified, CertificateError> {
        let certificate = Certificate::decode(certificate).map_err(|_| CertificateError::Malformed)?;
        self.check(&certificate, identity, now)
    }

    /// Where what a certificate said stands now, and under these roots. Without roots nothing is looked at.
    pub fn state(&self, certified: Option<&Certified>, now: UnixTime) -> CertificateState {
        match certified {
            None => CertificateState::None,
            _ if self.roots.is_empty() => CertificateState::None,
            Some(certified) if !self.roots.contains(&certified.root) => CertificateState::Untrusted,
            Some(certified) if self.revoked.contains(&certified.issuer) => CertificateState::Revoked,
            Some(certified) if now > certified.not_after => CertificateState::Expired,
            Some(_) => CertificateState::Valid,
        }
    }
}

impl Certificate {
    /// Whether its issuer signed it for this identity. Says nothing about the issuer.
    pub(crate) fn is_of(&self, identity: &IdentityKey) -> bool {
        let issuer = &self.issuer.issuer;
        let signed = Self::signed_message(identity, &self.address, self.not_after, issuer.id());
        sign::verify(&issuer.0, &signed, &self.signature.0)
    }
}

impl Certified {
    /// Writes `address length(1) || address(64) || not_after(8) || issuer key id(8) || root(32)`.
    pub(crate) fn write(&self, out: &mut impl Write) {
        self.address.write(out);
        out.u64(self.not_after.0);
        out.bytes(&self.issuer.0);
        out.bytes(&self.root.0);
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            address: Address::read(reader)?,
            not_after: UnixTime(reader.u64()?),
            issuer: KeyId(*reader.array()?),
            root: RootKey(*reader.array()?),
        })
    }
}

/// An authority's own key: certifies issuers. Keep it offline.
#[derive(Debug)]
pub struct RootKeyPair(SignPrivate);

impl RootKeyPair {
    /// Draws 32 bytes.
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        Self(SignPrivate::generate(rng))
    }

    /// What applications trust.
    pub fn public(&self) -> RootKey {
        RootKey(self.0.public())
    }

    /// Certifies an issuer until a moment.
    pub fn certify(&self, issuer: IssuerKey, not_after: UnixTime) -> IssuerCertificate {
        let signature = Signature(self.0.sign(&IssuerCertificate::signed_message(&issuer, not_after)));
        IssuerCertificate { issuer, not_after, signature }
    }

    /// The image to store, 33 bytes: `version(1) || ed25519 seed(32)`.
    pub fn to_state(&self) -> Image {
        write_key(&self.0)
    }

    /// Restores a key from its image.
    ///
    /// # Errors
    /// [`StateError::Malformed`].
    pub fn from_state(image: &[u8]) -> Result<Self, StateError> {
        read_key(image).map(Self)
    }
}

/// An issuer's key: certifies devices. Its server makes sure that whoever asks has the address; how is the operator's
/// affair. That they have the identity, [`CertificateChallenge`] makes sure.
#[derive(Debug)]
pub struct IssuerKeyPair(SignPrivate);

impl IssuerKeyPair {
    /// Draws 32 bytes.
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        Self(SignPrivate::generate(rng))
    }

    /// What a root certifies.
    pub fn public(&self) -> IssuerKey {
        IssuerKey(self.0.public())
    }

    /// A challenge for a device that asks for an address; it can be answered until a moment, some minutes from now. Draws
    /// 32 bytes.
    pub fn challenge<R: CryptoRng + ?Sized>(
        &self,
        address: Address,
        not_after: UnixTime,
        rng: &mut R,
    ) -> CertificateChallenge {
        CertificateChallenge::draw(self.public(), address, not_after, rng)
    }

    /// Certifies that the device of a verified request has the address that it asked for, until a moment. Keep that near,
    /// days, not years: a single certificate can't be revoked.
    ///
    /// # Errors
    /// [`CertificateError::Untrusted`] if the issuer certificate, or the request, is another issuer's.
    #[expect(clippy::needless_pass_by_value, reason = "a request that was verified is certified once")]
    pub fn issue(
        &self,
        issuer: &IssuerCertificate,
        request: VerifiedRequest,
        not_after: UnixTime,
    ) -> Result<Certificate, CertificateError> {
        let VerifiedRequest { issuer: asked, identity, address } = request;
        if issuer.issuer != self.public() || asked != self.public() {
            return Err(CertificateError::Untrusted);
        }
        let signed = Certificate::signed_message(&identity, &address, not_after, issuer.issuer.id());
        Ok(Certificate { address, not_after, signature: Signature(self.0.sign(&signed)), issuer: *issuer })
    }

    /// The image to store, 33 bytes: `version(1) || ed25519 seed(32)`.
    pub fn to_state(&self) -> Image {
        write_key(&self.0)
    }

    /// Restores a key from its image.
    ///
    /// # Errors
    /// [`StateError::Malformed`].
    pub fn from_state(image: &[u8]) -> Result<Self, StateError> {
        read_key(image).map(Self)
    }
}

fn write_key(key: &SignPrivate) -> Image {
    let mut out = state::image(33);
    out.u8(state::VERSION);
    out.bytes(key.expose());
    Image::new(out)
}

fn read_key(image: &[u8]) -> Result<SignPrivate, StateError> {
    Ok(Reader::whole(image, |reader| {
        state::version(reader)?;
        Ok(SignPrivate::from_bytes(reader.array()?))
    })?)
}
