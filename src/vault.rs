//! Stored images under a key of the caller's, with a generation that shows when an old one is put back. docs/PROTOCOL.md,
//! "Vault".
//!
//! ```
//! use sceau::vault::Vault;
//! use sceau::{IdentityKeyPair, error::VaultError};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut rng = rand::rng();
//! let vault = Vault::new(&[7; 32]); // From the system's key store.
//! let image = IdentityKeyPair::generate(&mut rng).to_state();
//! let (old, new) = (vault.seal(b"identity", 1, image.expose(), &mut rng), vault.seal(b"identity", 2, image.expose(), &mut rng));
//! assert_eq!(vault.open(b"identity", 2, &new)?.image.expose(), image.expose());
//! assert_eq!(vault.open(b"identity", 2, &old).unwrap_err(), VaultError::Old { generation: 1 });
//! # Ok(())
//! # }
//! ```

use crate::codec::{Reader, Write};
use crate::crypto::aead::{self, MAC_LEN, XNONCE_LEN};
use crate::crypto::kdf;
use crate::error::{DecodeError, VaultError};
use crate::labels::Label;
use crate::secret::{Secret, guard};
use crate::state::{self, Image};
use alloc::vec::Vec;
use core::fmt;
use rand_core::CryptoRng;

/// Zeros in front of an image, which commit to the key.
const COMMITMENT_LEN: usize = 32;
/// What stands in front of the ciphertext.
const START_LEN: usize = 1 + 8 + XNONCE_LEN;

/// Seals and opens images under one key.
///
/// ```text
/// version(1) = 1 || generation(8) || nonce(24) || XChaCha20-Poly1305(0*32 || image)
/// ```
///
/// Bound to the image's name and its generation. Count generations up with every write of this image, and keep the greatest one
/// that was written where an attacker can't turn it back: then an old image that is put back by mistake or by force is noticed.
/// For the many records of a device: [`crate::store::SealedStore`].
pub struct Vault {
    key: Secret<32>,
}

/// An image that was opened.
#[derive(Debug)]
#[non_exhaustive]
pub struct Unsealed {
    /// How new it is.
    pub generation: u64,
    /// The image.
    pub image: Image,
}

impl Vault {
    /// A vault under a key of 32 random bytes.
    pub fn new(key: &[u8; 32]) -> Self {
        Self { key: Secret::new(key) }
    }

    /// Bytes that sealing adds to an image.
    pub const OVERHEAD: usize = START_LEN + COMMITMENT_LEN + MAC_LEN;

    /// Seals an image under its name, such as [`crate::RecordKey::as_bytes`]. Draws 24 bytes, for the nonce.
    pub fn seal<R: CryptoRng + ?Sized>(&self, name: &[u8], generation: u64, image: &[u8], rng: &mut R) -> Vec<u8> {
        let mut randomness = [0; XNONCE_LEN];
        rng.fill_bytes(&mut randomness);
        let associated = associated(name, generation);
        // Another one for another image even where the generator was put back to where it was.
        let (mut nonce, bound) = ([0; XNONCE_LEN], kdf::hash(Label::VaultNonce, &[&associated]));
        kdf::hedge(self.key.expose(), Label::VaultNonce, &randomness, &[&bound, image], &mut nonce);
        let mut out = state::image(image.len().saturating_add(Self::OVERHEAD));
        out.u8(state::VERSION);
        out.u64(generation);
        out.bytes(&nonce);
        out.bytes(&[0; COMMITMENT_LEN]);
        out.bytes(image);
        let (_, place) = out.split_at_mut_checked(START_LEN).unwrap_or_default();
        let mac = aead::xseal(self.key.expose(), &nonce, &associated, place);
        out.bytes(&mac);
        core::mem::take(&mut *out)
    }

    /// Opens what was sealed under this name, no older than a generation.
    ///
    /// # Errors
    /// [`VaultError`]: torn, damaged, another name's or key's, or an old one put back. The one before it, if it was kept,
    /// opens as it did.
    pub fn open(&self, name: &[u8], least: u64, sealed: &[u8]) -> Result<Unsealed, VaultError> {
        let (generation, nonce, body) = Reader::whole(sealed, read)?;
        let (ciphertext, mac) = body.split_last_chunk::<MAC_LEN>().ok_or(DecodeError::Truncated)?;
        let mut plaintext = guard(ciphertext.to_vec());
        if !aead::xopen(self.key.expose(), nonce, &associated(name, generation), &mut plaintext, mac) {
            return Err(VaultError::Rejected);
        }
        let commitment = plaintext.get(..COMMITMENT_LEN).ok_or(DecodeError::Truncated)?;
        if !aead::equal(commitment, &[0; COMMITMENT_LEN]) {
            return Err(VaultError::Rejected);
        }
        if generation < least {
            return Err(VaultError::Old { generation });
        }
        plaintext.drain(..COMMITMENT_LEN);
        Ok(Unsealed { generation, image: Image::new(plaintext) })
    }

    /// The generation that stands in clear in front. Not authentic: to find the newest of several before opening.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn generation(sealed: &[u8]) -> Result<u64, DecodeError> {
        Reader::whole(sealed, read).map(|(generation, ..)| generation)
    }
}

fn read<'a>(reader: &mut Reader<'a>) -> Result<(u64, &'a [u8; XNONCE_LEN], &'a [u8]), DecodeError> {
    state::version(reader)?;
    Ok((reader.u64()?, reader.array()?, reader.rest()))
}

/// `label || version || generation || name`.
fn associated(name: &[u8], generation: u64) -> Vec<u8> {
    let mut out = Vec::from(Label::Vault.bytes());
    out.u8(state::VERSION);
    out.u64(generation);
    out.bytes(name);
    out
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault")
    }
}
