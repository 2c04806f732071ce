//! What stands in front of every message until the first reply. docs/PROTOCOL.md, "Handshake".

use crate::codec::{Reader, Write};
use crate::crypto::aead::MAC_LEN;
use crate::crypto::kdf;
use crate::crypto::kem::KEM_CIPHERTEXT_LEN;
use crate::error::DecodeError;
use crate::keys::{DhPublic, IdentityKey};
use crate::labels::Label;
use crate::secret::GuardedVec;
use crate::state;
use crate::wire::certificate::Certificate;

/// Where the continuity stands in an identity payload.
pub(crate) const CONTINUITY_OFFSET: usize = IdentityKey::LEN + 8;

/// Length of the identity payload, the same for everyone.
pub(crate) const IDENTITY_PAYLOAD_LEN: usize = CONTINUITY_OFFSET + 16 + 1 + Certificate::LEN;

/// Length of the encrypted identity payload.
pub(crate) const ENCRYPTED_IDENTITY_LEN: usize = IDENTITY_PAYLOAD_LEN + MAC_LEN;

/// Who introduces itself, since when, and what an authority says about it.
///
/// ```text
/// identity key(96) || created_at(8) || continuity(8) twice || certificate flag(1) || certificate(257), zeros when the flag is 0
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IdentityPayload {
    pub(crate) identity: IdentityKey,
    pub(crate) created_at: u64,
    /// Each shows who holds a session with the receiver that its author has that session too; zeros where there is none.
    pub(crate) continuity: Continuity,
    /// As it came: whether it is well-formed only matters to who looks at it.
    pub(crate) certificate: Option<[u8; Certificate::LEN]>,
}

/// For two sessions, the first 8 bytes of an HMAC under a header secret. Who guesses has one guess for each introduction.
pub(crate) type Continuity = [[u8; 8]; 2];

impl IdentityPayload {
    pub(crate) fn encode(&self) -> GuardedVec {
        let mut out = state::image(ENCRYPTED_IDENTITY_LEN);
        self.identity.write(&mut out);
        out.u64(self.created_at);
        self.continuity.iter().for_each(|shown| out.bytes(shown));
        out.flag(self.certificate.is_some());
        out.bytes(&self.certificate.unwrap_or([0; Certificate::LEN]));
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Reader::whole(bytes, |reader| {
            let (identity, created_at) = (IdentityKey::read(reader)?, reader.u64()?);
            let continuity = [*reader.array()?, *reader.array()?];
            let certificate = if reader.flag()? {
                Some(*reader.array()?)
            } else {
                reader.zeros(Certificate::LEN)?;
                None
            };
            Ok(Self { identity, created_at, continuity, certificate })
        })
    }
}

/// Length of a prefix.
pub(crate) const PREFIX_LEN: usize = 32 + 4 + 4 + 2 * KEM_CIPHERTEXT_LEN + ENCRYPTED_IDENTITY_LEN;

/// The prefix of an introduction, as it came.
///
/// ```text
/// ephemeral key(32) || signed prekey id(4) || one-time prekey id(4, 0 = none) || KEM ciphertext for the prekey(1568)
///   || KEM ciphertext for the identity(1568) || encrypted identity payload(394)
/// ```
#[derive(Debug, Clone, Copy)]
pub(crate) struct IntroductionPrefix<'a> {
    bytes: &'a [u8; PREFIX_LEN],
    pub(crate) ephemeral: DhPublic,
    pub(crate) signed_id: u32,
    pub(crate) one_time_id: Option<u32>,
    pub(crate) ciphertext: &'a [u8; KEM_CIPHERTEXT_LEN],
    pub(crate) identity_ciphertext: &'a [u8; KEM_CIPHERTEXT_LEN],
    pub(crate) encrypted_identity: &'a [u8; ENCRYPTED_IDENTITY_LEN],
}

impl<'a> IntroductionPrefix<'a> {
    pub(crate) fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Self::parse(reader.array()?)
    }

    pub(crate) fn parse(bytes: &'a [u8; PREFIX_LEN]) -> Result<Self, DecodeError> {
        Reader::whole(bytes, |reader| {
            let ephemeral = DhPublic(*reader.array()?);
            let signed_id = reader.u32()?;
            let one_time_id = reader.u32()?;
            if signed_id == 0 {
                return Err(DecodeError::Invalid);
            }
            Ok(Self {
                bytes,
                ephemeral,
                signed_id,
                one_time_id: (one_time_id != 0).then_some(one_time_id),
                ciphertext: reader.array()?,
                identity_ciphertext: reader.array()?,
                encrypted_identity: reader.array()?,
            })
        })
    }

    /// What binds a header to this prefix.
    pub(crate) fn hash(&self) -> [u8; 32] {
        prefix_hash(self.bytes)
    }

    /// Its name in the introduction record.
    pub(crate) fn id(&self) -> IntroductionId {
        IntroductionId(kdf::truncate(&kdf::hash(Label::IntroductionId, &[self.bytes])))
    }
}

/// What binds a header to a prefix.
pub(crate) fn prefix_hash(prefix: &[u8; PREFIX_LEN]) -> [u8; 32] {
    kdf::hash(Label::IntroductionPrefix, &[prefix])
}

/// The name of an introduction that was accepted: the first 16 bytes of a hash of its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct IntroductionId(pub(crate) [u8; 16]);
