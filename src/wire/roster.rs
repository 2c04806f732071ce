//! Group membership as plain data: rosters, the changes that commits make, and what carries them. docs/PROTOCOL.md,
//! "Roster".

use crate::codec::{Reader, Write};
use crate::crypto::kdf;
use crate::error::DecodeError;
use crate::keys::{Fingerprint, IdentityKey, Signature};
use crate::labels::Label;
use crate::limits::{MAX_CHAIN_LEN, MAX_GROUP_CHANGES, MAX_GROUP_MEMBERS};
use crate::wire::attachment::Attachment;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;
use rand_core::CryptoRng;

/// The name of a group: 32 random bytes, which the relay never sees.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId([u8; Self::LEN]);

impl GroupId {
    /// Length in bytes.
    pub const LEN: usize = 32;

    pub(crate) fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut id = [0; Self::LEN];
        rng.fill_bytes(&mut id);
        Self(id)
    }

    /// A group id that was stored as bytes.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.array().copied().map(Self)
    }
}

crate::text::text!(GroupId);

impl fmt::Debug for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GroupId(")?;
        for byte in self.0.iter().take(4) {
            write!(f, "{byte:02x}")?;
        }
        f.write_str("…)")
    }
}

/// What a member may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Reads, writes, leaves.
    Member,
    /// Changes the roster too.
    Admin,
}

impl Role {
    fn byte(self) -> u8 {
        match self {
            Self::Member => 1,
            Self::Admin => 2,
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u8()? {
            1 => Ok(Self::Member),
            2 => Ok(Self::Admin),
            _ => Err(DecodeError::Invalid),
        }
    }
}

/// `admin since` of whoever is not an admin.
pub(crate) const NEVER: u64 = u64::MAX;

/// One line of a roster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    pub(crate) identity: IdentityKey,
    /// The epoch since which it is an admin, [`NEVER`] for others.
    pub(crate) admin_since: u64,
}

impl Member {
    const LEN: usize = IdentityKey::LEN + 1 + 8;

    /// Its public identity.
    pub fn identity(&self) -> &IdentityKey {
        &self.identity
    }

    /// What it may do.
    pub fn role(&self) -> Role {
        if self.admin_since == NEVER { Role::Member } else { Role::Admin }
    }
}

/// When senders replace their chains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupPolicy {
    /// After so many messages of one chain, at least 1. Default: 100.
    pub max_messages: u32,
    /// After so many seconds. Default: 7 days.
    pub max_age: u64,
}

impl GroupPolicy {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let policy = Self { max_messages: reader.u32()?, max_age: reader.u64()? };
        if policy.is_valid() { Ok(policy) } else { Err(DecodeError::Invalid) }
    }

    fn write(&self, out: &mut impl Write) {
        out.u32(self.max_messages);
        out.u64(self.max_age);
    }

    pub(crate) fn is_valid(&self) -> bool {
        (1..=MAX_CHAIN_LEN).contains(&self.max_messages)
    }
}

impl Default for GroupPolicy {
    fn default() -> Self {
        Self { max_messages: 100, max_age: 7 * 86_400 }
    }
}

/// Who is in a group at one epoch.
///
/// ```text
/// group id(32) || epoch(8) || max messages(4) || max age(8) || count(4, at most 10000)
///   || (identity key(96) || role(1: member 1, admin 2) || admin since(8, 2^64 - 1 for members)) each
/// ```
///
/// Members ascend by fingerprint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Roster {
    pub(crate) group: GroupId,
    pub(crate) epoch: u64,
    pub(crate) policy: GroupPolicy,
    pub(crate) members: BTreeMap<Fingerprint, Member>,
}

impl Roster {
    pub(crate) fn len(&self) -> usize {
        self.members.len().saturating_mul(Member::LEN).saturating_add(GroupId::LEN + 8 + 12 + 4)
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (group, epoch, policy) = (GroupId::read(reader)?, reader.u64()?, GroupPolicy::read(reader)?);
        if epoch >= NEVER / 2 {
            return Err(DecodeError::Invalid);
        }
        let mut members = BTreeMap::new();
        for _ in 0..reader.count(MAX_GROUP_MEMBERS)? {
            let identity = IdentityKey::read(reader)?;
            let (role, admin_since) = (Role::read(reader)?, reader.u64()?);
            let consistent = match role {
                Role::Member => admin_since == NEVER,
                Role::Admin => admin_since <= epoch,
            };
            let name = identity.fingerprint();
            if !consistent || members.last_key_value().is_some_and(|(last, _)| name <= *last) {
                return Err(DecodeError::Invalid);
            }
            members.insert(name, Member { identity, admin_since });
        }
        Ok(Self { group, epoch, policy, members })
    }

    pub(crate) fn write(&self, out: &mut impl Write) {
        out.bytes(self.group.as_bytes());
        out.u64(self.epoch);
        self.policy.write(out);
        out.count(self.members.len());
        for member in self.members.values() {
            member.identity.write(out);
            out.u8(member.role().byte());
            out.u64(member.admin_since);
        }
    }

    pub(crate) fn hash(&self) -> [u8; 32] {
        let mut bytes = Vec::with_capacity(self.len());
        self.write(&mut bytes);
        kdf::hash(Label::Roster, &[&bytes])
    }
}

/// One change of a roster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RosterChange {
    /// Someone joins.
    Add(IdentityKey, Role),
    /// Someone is removed.
    Remove(Fingerprint),
    /// Someone becomes an admin, or is one no longer.
    SetRole(Fingerprint, Role),
    /// The signer leaves. It stands alone.
    Leave,
    /// Chains are replaced at other times.
    SetPolicy(GroupPolicy),
}

impl RosterChange {
    /// Whether it ends every chain: someone may read or write less than before.
    pub(crate) fn ends_chains(&self) -> bool {
        matches!(self, Self::Remove(_) | Self::Leave | Self::SetRole(_, Role::Member))
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u8()? {
            1 => Ok(Self::Add(IdentityKey::read(reader)?, Role::read(reader)?)),
            2 => Ok(Self::Remove(Fingerprint::from_bytes(*reader.array()?))),
            3 => Ok(Self::SetRole(Fingerprint::from_bytes(*reader.array()?), Role::read(reader)?)),
            4 => Ok(Self::Leave),
            5 => GroupPolicy::read(reader).map(Self::SetPolicy),
            _ => Err(DecodeError::Invalid),
        }
    }

    fn write(&self, out: &mut impl Write) {
        match self {
            Self::Add(identity, role) => {
                out.u8(1);
                identity.write(out);
                out.u8(role.byte());
            }
            Self::Remove(member) => {
                out.u8(2);
                out.bytes(member.as_bytes());
            }
            Self::SetRole(member, role) => {
                out.u8(3);
                out.bytes(member.as_bytes());
                out.u8(role.byte());
            }
            Self::Leave => out.u8(4),
            Self::SetPolicy(policy) => {
                out.u8(5);
                policy.write(out);
            }
        }
    }
}

/// Signed changes that extend one transcript hash.
///
/// ```text
/// extended hash(32) || signer(32) || count(4, 1 to 4096) || changes || signature(64)
/// change = 1 || identity key(96) || role(1)   add      | 2 || fingerprint(32)              remove
///        | 3 || fingerprint(32) || role(1)    set role | 4 leave | 5 || policy(12)         set policy
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RosterCommit {
    pub(crate) extends: [u8; 32],
    pub(crate) signer: Fingerprint,
    pub(crate) changes: Vec<RosterChange>,
    pub(crate) signature: Signature,
}

impl RosterCommit {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (extends, signer) = (*reader.array()?, Fingerprint::from_bytes(*reader.array()?));
        let count = reader.count(MAX_GROUP_CHANGES)?;
        if count == 0 {
            return Err(DecodeError::Invalid);
        }
        let changes = (0..count).map(|_| RosterChange::read(reader)).collect::<Result<_, _>>()?;
        Ok(Self { extends, signer, changes, signature: Signature::read(reader)? })
    }

    pub(crate) fn write(&self, out: &mut impl Write) {
        self.write_unsigned(out);
        out.bytes(&self.signature.0);
    }

    fn write_unsigned(&self, out: &mut impl Write) {
        out.bytes(&self.extends);
        out.bytes(self.signer.as_bytes());
        out.count(self.changes.len());
        for change in &self.changes {
            change.write(out);
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    /// `SHA-256(label || commit)`.
    pub(crate) fn id(&self) -> [u8; 32] {
        kdf::hash(Label::CommitId, &[&self.encode()])
    }

    pub(crate) fn ends_chains(&self) -> bool {
        self.changes.iter().any(RosterChange::ends_chains)
    }

    /// Whether it puts a member out.
    pub(crate) fn removes(&self, member: Fingerprint) -> bool {
        self.changes.iter().any(|change| match change {
            RosterChange::Remove(name) => *name == member,
            RosterChange::Leave => self.signer == member,
            _ => false,
        })
    }

    /// What is signed: label || group id || the commit up to the signature.
    pub(crate) fn signed_message(&self, group: &GroupId) -> Vec<u8> {
        let mut out = Vec::from(Label::RosterCommit.bytes());
        out.bytes(group.as_bytes());
        self.write_unsigned(&mut out);
        out
    }
}

/// What travels about a roster, in a session's message of kind 4.
///
/// ```text
/// 1 || group id(32) || commit                                    a commit, from any member
/// 2 || commit || roster                                           a welcome, from the commit's signer
/// 3 || group id(32) || attachment(72)                             one of these, as an attachment
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RosterMessage {
    Commit(GroupId, RosterCommit),
    Welcome(RosterCommit, Roster),
    Elsewhere(GroupId, Attachment),
}

impl RosterMessage {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Commit(group, commit) => {
                out.u8(1);
                out.bytes(group.as_bytes());
                commit.write(&mut out);
            }
            Self::Welcome(commit, roster) => {
                out.u8(2);
                commit.write(&mut out);
                roster.write(&mut out);
            }
            Self::Elsewhere(group, attachment) => {
                out.u8(3);
                out.bytes(group.as_bytes());
                attachment.write(&mut out);
            }
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Reader::whole(bytes, |reader| match reader.u8()? {
            1 => Ok(Self::Commit(GroupId::read(reader)?, RosterCommit::read(reader)?)),
            2 => Ok(Self::Welcome(RosterCommit::read(reader)?, Roster::read(reader)?)),
            3 => Ok(Self::Elsewhere(GroupId::read(reader)?, Attachment::read(reader)?)),
            _ => Err(DecodeError::Invalid),
        })
    }
}

/// A sender's chain from one position on, in a session's message of kind 3. Whose chain it is, the session says.
///
/// ```text
/// group id(32) || epoch(8) || transcript hash(32) || ck(32) || header secret(32) || n(4) || verification key(32)
/// ```
pub(crate) struct Announcement {
    pub(crate) group: GroupId,
    pub(crate) epoch: u64,
    pub(crate) transcript: [u8; 32],
    pub(crate) chain_key: crate::secret::Secret<32>,
    pub(crate) header_secret: crate::secret::Secret<32>,
    pub(crate) n: u32,
    pub(crate) verify: [u8; 32],
}

impl Announcement {
    pub(crate) const LEN: usize = 32 + 8 + 32 + 32 + 32 + 4 + 32;

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let announcement = Self {
            group: GroupId::read(reader)?,
            epoch: reader.u64()?,
            transcript: *reader.array()?,
            chain_key: crate::secret::Secret::new(reader.array()?),
            header_secret: crate::secret::Secret::new(reader.array()?),
            n: reader.u32()?,
            verify: *reader.array()?,
        };
        if announcement.n > MAX_CHAIN_LEN { Err(DecodeError::Invalid) } else { Ok(announcement) }
    }

    pub(crate) fn write(&self, out: &mut impl Write) {
        out.bytes(self.group.as_bytes());
        out.u64(self.epoch);
        out.bytes(&self.transcript);
        out.bytes(self.chain_key.expose());
        out.bytes(self.header_secret.expose());
        out.u32(self.n);
        out.bytes(&self.verify);
    }
}

impl fmt::Debug for Announcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Announcement").field("group", &self.group).field("epoch", &self.epoch).finish_non_exhaustive()
    }
}
