//! A signature by an identity over what both sides know, with the identity: logins and requests for certificates.

use crate::codec::{Reader, Write};
use crate::crypto::sign::SIGNATURE_LEN;
use crate::error::DecodeError;
use crate::keys::{IdentityKey, Signature};
use crate::wire::VERSION;
use alloc::vec::Vec;

/// ```text
/// version(1) = 1 || identity key(96) || signature of the identity(64)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Proof {
    pub(crate) identity: IdentityKey,
    pub(crate) signature: Signature,
}

impl Proof {
    pub(crate) const LEN: usize = 1 + IdentityKey::LEN + SIGNATURE_LEN;

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::LEN);
        out.u8(VERSION);
        self.identity.write(&mut out);
        out.bytes(&self.signature.0);
        out
    }

    /// Says nothing about the signature.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Reader::whole(bytes, |reader| {
            if reader.u8()? != VERSION {
                return Err(DecodeError::Version);
            }
            Ok(Self { identity: IdentityKey::read(reader)?, signature: Signature::read(reader)? })
        })
    }

    /// Whether the identity signed this.
    pub(crate) fn verifies(&self, message: &[u8]) -> bool {
        self.identity.verifies(message, &self.signature)
    }
}
