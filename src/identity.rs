//! A device's own identity. docs/PROTOCOL.md, "Identity".

use crate::codec::{Reader, Write};
use crate::crypto::dh::{DH_LEN, DhPoint, DhPrivate};
use crate::crypto::sign::SignPrivate;
use crate::error::StateError;
use crate::keys::{DhPublic, Fingerprint, IdentityKey, Signature};
use crate::secret::Secret;
use crate::state::{self, Image};
use crate::wire::bundle::Signer;
use core::fmt;
use rand_core::CryptoRng;

/// An identity with its private halves: signs prekeys and agrees in handshakes.
///
/// Image, 65 bytes: `version(1) || ed25519 seed(32) || x25519 private key(32)`.
pub struct IdentityKeyPair {
    sign: SignPrivate,
    dh: DhPrivate,
    public: IdentityKey,
    fingerprint: Fingerprint,
}

impl IdentityKeyPair {
    /// A new identity. Draws the Ed25519 seed (32 bytes), then the X25519 private key (32 bytes).
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let sign = SignPrivate::generate(rng);
        let dh = DhPrivate::generate(rng);
        Self::from_private(sign, dh)
    }

    fn from_private(sign: SignPrivate, dh: DhPrivate) -> Self {
        let public = IdentityKey::new(sign.public(), DhPublic(dh.public()));
        let fingerprint = public.fingerprint();
        Self { sign, dh, public, fingerprint }
    }

    /// The public half.
    pub fn public(&self) -> &IdentityKey {
        &self.public
    }

    /// The name of this device.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Signs a message that starts with its label.
    pub(crate) fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.sign.sign(message))
    }

    /// The private key that agrees, as a key of what is drawn with it.
    pub(crate) fn agreement_key(&self) -> &[u8; DH_LEN] {
        self.dh.expose()
    }

    pub(crate) fn agree(&self, public: &DhPoint) -> Option<Secret<DH_LEN>> {
        self.dh.agree(public)
    }

    /// The image to store. It holds the private keys.
    pub fn to_state(&self) -> Image {
        let mut out = state::image(65);
        out.u8(state::VERSION);
        out.bytes(self.sign.expose());
        out.bytes(self.dh.expose());
        Image::new(out)
    }

    /// Restores an identity from its image.
    ///
    /// # Errors
    /// [`StateError::Malformed`] if the bytes are not an image of this version.
    pub fn from_state(image: &[u8]) -> Result<Self, StateError> {
        let (sign, dh) = Reader::whole(image, |reader| {
            state::version(reader)?;
            Ok((SignPrivate::from_bytes(reader.array()?), DhPrivate::from_bytes(reader.array()?)))
        })?;
        Ok(Self::from_private(sign, dh))
    }
}

impl Signer for IdentityKeyPair {
    fn key(&self) -> &IdentityKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Signature {
        self.sign(message)
    }

    fn name(&self) -> Fingerprint {
        self.fingerprint
    }
}

impl fmt::Debug for IdentityKeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentityKeyPair").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}
