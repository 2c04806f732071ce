//! Login: a device shows a server which identity it is, by a signature over the server's challenge.
//! docs/PROTOCOL.md, "Login".
//!
//! ```
//! use sceau::IdentityKeyPair;
//! use sceau::login::Login;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut rng = rand::rng();
//! let alice = IdentityKeyPair::generate(&mut rng); // Or `Device::identity`.
//! // The server draws 32 bytes for each attempt, keeps them for a minute, and takes one answer.
//! let challenge = [7; 32];
//! let login = alice.sign_login(b"relay.example.org", &challenge);
//! let login = Login::decode(&login.encode())?;
//! alice.fingerprint().verify_login(&login, b"relay.example.org", &challenge)?;
//! # Ok(())
//! # }
//! ```
//!
//! **What it proves**, to the server and to anyone to whom the server shows it: this identity answered this challenge for
//! this server. So the login can't be denied. **What it does not prove**: anything about messages and peers, which stay as
//! deniable as they were; when it was, other than after the challenge was made; that the connection it came on is the
//! identity's. For the last, put something into the server's name that both ends of the connection know and no third does,
//! such as the exporter of TLS: then whoever stands between can't pass a login on.

use crate::codec::Write;
use crate::error::{DecodeError, LoginError};
use crate::identity::IdentityKeyPair;
use crate::keys::{Fingerprint, IdentityKey};
use crate::labels::Label;
use crate::wire::proof::Proof;
use alloc::vec::Vec;

/// A device's answer to a server's challenge. Nothing of it is known to be true before [`Fingerprint::verify_login`].
///
/// ```text
/// version(1) = 1 || identity key(96) || signature of the identity(64)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Login(Proof);

impl Login {
    /// Length of the encoding in bytes.
    pub const LEN: usize = Proof::LEN;

    /// The identity that it claims to be of: of a device that a server sees for the first time, to verify against and to
    /// keep.
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

    /// `label || identity key || challenge || server`.
    pub(crate) fn signed_message(identity: &IdentityKey, server: &[u8], challenge: &[u8; 32]) -> Vec<u8> {
        let mut out = Vec::from(Label::Login.bytes());
        identity.write(&mut out);
        out.bytes(challenge);
        out.bytes(server);
        out
    }
}

impl IdentityKeyPair {
    /// Signs a server's challenge. `server` is the name of the server that this device means to log in to, as the device
    /// knows it, not as the challenge's bringer says; both sides agree on its bytes.
    pub fn sign_login(&self, server: &[u8], challenge: &[u8; 32]) -> Login {
        let identity = *self.public();
        Login(Proof { identity, signature: self.sign(&Login::signed_message(&identity, server, challenge)) })
    }
}

impl Fingerprint {
    /// Whether the device of this name signed this challenge for this server. The challenge is 32 random bytes that the
    /// server drew for this attempt, and takes one answer to.
    ///
    /// # Errors
    /// [`LoginError::OtherIdentity`], [`LoginError::Signature`].
    pub fn verify_login(&self, login: &Login, server: &[u8], challenge: &[u8; 32]) -> Result<(), LoginError> {
        if login.identity().fingerprint() != *self {
            return Err(LoginError::OtherIdentity);
        }
        let signed = Login::signed_message(login.identity(), server, challenge);
        if login.0.verifies(&signed) { Ok(()) } else { Err(LoginError::Signature) }
    }
}
