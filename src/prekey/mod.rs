//! Prekeys: verified bundles on the initiator's side, the store of private halves on the responder's.
//! docs/PROTOCOL.md, "Prekeys".

mod image;
mod record;
mod store;
#[cfg(test)]
mod tests;

pub(crate) use record::BlockId;
pub(crate) use store::{PreKeyChange, ResponderKeys};
pub use store::{PreKeyLifetimes, PreKeyStore, Rotation};

use crate::crypto::kem::{self, KEM_PUBLIC_LEN};
use crate::error::PreKeyError;
use crate::keys::{Fingerprint, IdentityKey, UnixTime};
use crate::wire::bundle::{OneTimePreKey, PreKeyBundle, PreKeyFields, SignedPreKey};

/// A bundle whose signatures, keys and dates were checked. Only this type can start a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedPreKeyBundle {
    bundle: PreKeyBundle,
    fingerprint: Fingerprint,
}

impl VerifiedPreKeyBundle {
    /// Checks a bundle: both signatures, all KEM keys, the identity's among them, both dates. A one-time prekey that is past its time is left out:
    /// the signed one is there for when none is left.
    ///
    /// That the identity is the person's own is not checked here: people compare fingerprints.
    ///
    /// # Errors
    /// [`PreKeyError::Expired`], [`PreKeyError::OtherKemKey`], [`PreKeyError::Signature`] or [`PreKeyError::Key`].
    pub fn verify(mut bundle: PreKeyBundle, now: UnixTime) -> Result<Self, PreKeyError> {
        let check = |fields: &PreKeyFields, signed: bool| {
            if !signed {
                Err(PreKeyError::Signature)
            } else if !kem::is_valid_public(&fields.kem) {
                Err(PreKeyError::Key)
            } else {
                Ok(())
            }
        };
        if now > bundle.signed.not_after() {
            return Err(PreKeyError::Expired);
        }
        if !bundle.identity.names_kem_key(&bundle.kem) {
            return Err(PreKeyError::OtherKemKey);
        }
        if !kem::is_valid_public(&bundle.kem) {
            return Err(PreKeyError::Key);
        }
        check(&bundle.signed.fields, bundle.signed.is_signed_by(&bundle.identity))?;
        if let Some(one_time) = &bundle.one_time {
            check(&one_time.fields, one_time.is_signed_by(&bundle.identity))?;
        }
        bundle.one_time = bundle.one_time.filter(|one_time| now <= one_time.not_after());
        Ok(Self::trusted(bundle))
    }

    /// A bundle that was verified before it was stored.
    pub(crate) fn trusted(bundle: PreKeyBundle) -> Self {
        let fingerprint = bundle.identity.fingerprint();
        Self { bundle, fingerprint }
    }

    /// Whose bundle it is.
    pub fn identity(&self) -> &IdentityKey {
        &self.bundle.identity
    }

    /// The name of its owner.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The last moment at which it may be used.
    pub fn not_after(&self) -> UnixTime {
        self.bundle.signed.not_after()
    }

    /// The bundle as it is worth now: without a one-time prekey past its time; `None` when all of it is.
    pub(crate) fn at(&self, now: UnixTime) -> Option<Self> {
        let mut current = self.clone();
        current.bundle.one_time = current.bundle.one_time.filter(|one_time| now <= one_time.not_after());
        (now <= self.not_after()).then_some(current)
    }

    /// Whether an introduction with it uses a one-time prekey.
    pub fn has_one_time(&self) -> bool {
        self.bundle.one_time.is_some()
    }

    /// The same bundle without its one-time prekey, which serves one introduction only.
    #[must_use]
    pub fn without_one_time(mut self) -> Self {
        self.bundle.one_time = None;
        self
    }

    pub(crate) fn bundle(&self) -> &PreKeyBundle {
        &self.bundle
    }

    /// The owner's long-term KEM key.
    pub(crate) fn kem(&self) -> &[u8; KEM_PUBLIC_LEN] {
        &self.bundle.kem
    }

    pub(crate) fn signed(&self) -> &SignedPreKey {
        &self.bundle.signed
    }

    pub(crate) fn one_time(&self) -> Option<&OneTimePreKey> {
        self.bundle.one_time.as_ref()
    }
}
