//! A device's own identity. docs/PROTOCOL.md, "Identity".

use crate::codec::{Reader, Write};
use crate::crypto::dh::{DH_LEN, DhPoint, DhPrivate};
use crate::crypto::kem::{KEM_PUBLIC_LEN, KEM_SEED_LEN, KemSeed};
use crate::crypto::sign::SignPrivate;
use crate::error::StateError;
use crate::keys::{DhPublic, Fingerprint, IdentityKem, IdentityKey, Signature};
use crate::secret::Secret;
use crate::state::{self, Image};
use crate::wire::bundle::Signer;
use alloc::sync::Arc;
use core::fmt;
use rand_core::CryptoRng;

/// An identity with its private halves: signs prekeys, agrees and decapsulates in handshakes.
///
/// Image, 129 bytes: `version(1) || ed25519 seed(32) || x25519 private key(32) || ML-KEM-1024 seed(64)`.
pub struct IdentityKeyPair {
    sign: SignPrivate,
    dh: DhPrivate,
    /// Shared with the sessions that this identity has begun, until its key was used there.
    kem: Arc<IdentityKem>,
    public: IdentityKey,
}

impl IdentityKeyPair {
    /// Length of the image in bytes.
    pub const STATE_LEN: usize = 1 + 32 + DH_LEN + KEM_SEED_LEN;

    /// A new identity. Draws the Ed25519 seed (32 bytes), the X25519 private key (32 bytes), then the ML-KEM-1024 seed (64
    /// bytes).
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let sign = SignPrivate::generate(rng);
        let dh = DhPrivate::generate(rng);
        Self::from_private(sign, dh, KemSeed::generate(rng))
    }

    fn from_private(sign: SignPrivate, dh: DhPrivate, seed: KemSeed) -> Self {
        let pair = seed.expand();
        let public = IdentityKey::new(sign.public(), DhPublic(dh.public()), pair.public());
        let kem = Arc::new(IdentityKem::new(seed, pair, public.fingerprint()));
        Self { sign, dh, kem, public }
    }

    /// What someone has who breaks X25519 and Ed25519, and not ML-KEM: everything of this identity but the private half of its
    /// KEM key, in the place of which another one stands. For tests.
    #[cfg(feature = "vectors")]
    #[doc(hidden)]
    #[must_use]
    pub fn without_kem_key<R: CryptoRng + ?Sized>(&self, rng: &mut R) -> Self {
        let seed = KemSeed::generate(rng);
        let mut pair = seed.expand();
        pair.show(self.kem.public());
        let kem = Arc::new(IdentityKem::new(seed, pair, self.fingerprint()));
        let sign = SignPrivate::from_bytes(self.sign.expose());
        Self { sign, dh: DhPrivate::from_bytes(self.dh.expose()), kem, public: self.public }
    }

    /// The public half.
    pub fn public(&self) -> &IdentityKey {
        &self.public
    }

    /// The name of this device.
    pub fn fingerprint(&self) -> Fingerprint {
        *self.kem.owner()
    }

    /// Its long-term KEM key.
    pub(crate) fn kem(&self) -> &Arc<IdentityKem> {
        &self.kem
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
        let mut out = state::image(Self::STATE_LEN);
        out.u8(state::VERSION);
        out.bytes(self.sign.expose());
        out.bytes(self.dh.expose());
        out.bytes(self.kem.seed().expose());
        Image::new(out)
    }

    /// Restores an identity from its image.
    ///
    /// # Errors
    /// [`StateError::Malformed`] if the bytes are not an image of this version.
    pub fn from_state(image: &[u8]) -> Result<Self, StateError> {
        let (sign, dh, seed) = Reader::whole(image, |reader| {
            state::version(reader)?;
            let (sign, dh) = (SignPrivate::from_bytes(reader.array()?), DhPrivate::from_bytes(reader.array()?));
            Ok((sign, dh, KemSeed::from_bytes(reader.array()?)))
        })?;
        Ok(Self::from_private(sign, dh, seed))
    }
}

impl Signer for IdentityKeyPair {
    fn key(&self) -> &IdentityKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Signature {
        self.sign(message)
    }

    fn kem(&self) -> &[u8; KEM_PUBLIC_LEN] {
        self.kem.public()
    }

    fn name(&self) -> Fingerprint {
        self.fingerprint()
    }
}

impl fmt::Debug for IdentityKeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentityKeyPair").field("fingerprint", &self.fingerprint()).finish_non_exhaustive()
    }
}
