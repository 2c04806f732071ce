//! Every public error, in one place, so that the no-oracle rule can be reviewed in one file:
//!
//! * decided before a secret is used: may be specific;
//! * decided between that and a successful authentication: one bare variant, `Rejected`;
//! * decided on authenticated data: specific again, and it names the peer.
//!
//! Every variant says what the caller should do. After any error nothing has changed.

#[macro_use]
mod text;
mod log;

pub use log::{DraftError, FormError, OperationError};

use crate::keys::Fingerprint;
use crate::wire::roster::GroupId;

/// Why bytes, or a text, are not the encoding of a value. Whatever the variant: drop them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// The input ends before the value does.
    Truncated,
    /// Bytes follow the value.
    Trailing,
    /// A length or a count is above its limit.
    TooLong,
    /// A version of the format that this crate does not know.
    Version,
    /// A field has a value that it can't have.
    Invalid,
}

/// Why prekeys were not published, or a bundle not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PreKeyError {
    /// A signature does not verify: the directory, or someone before it, changed the bundle. Fetch another.
    Signature,
    /// A key is not a valid one. Fetch another bundle; its author's software is at fault.
    Key,
    /// The long-term KEM key is not the one that the identity names: the directory changed it. Fetch another bundle.
    OtherKemKey,
    /// The bundle is past its time. Fetch a fresh one.
    Expired,
    /// The bundle is this device's own.
    Myself,
    /// The bundle is another identity's than the peer's. Fetch another; the directory is at fault.
    OtherIdentity,
    /// The peer is blocked: unblock it first.
    Blocked,
    /// More at once than may ever be held ([`crate::limits::MAX_ONE_TIME_PREKEYS`]). Publish fewer.
    TooMany,
}

/// Why a handshake was not started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandshakeError {
    /// A key of the bundle gives an all-zero shared secret. Fetch another bundle; its author's software is at fault.
    WeakKey,
    /// The rank is at its end ([`crate::limits::CREATED_AT_END`]): drop all sessions of this peer, then introduce anew.
    RankExhausted,
}

/// Why a message was not sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SealError {
    /// No such peer: add it first.
    UnknownPeer,
    /// The peer is blocked: unblock it first.
    Blocked,
    /// No session, and no bundle to make one: fetch a bundle and add the peer again.
    BundleNeeded,
    /// No session, and the bundle kept for the peer is past its time: fetch a fresh one and add the peer again.
    BundleExpired,
    /// Longer than [`crate::limits::MAX_CONTENT`], or a receipt with no ids or too many: split it.
    TooLong,
    /// The sending chain is at its end until the peer answers: [`crate::limits::MAX_CHAIN_LEN`] messages, or
    /// [`crate::limits::MAX_FIRST_JUMP`] of an introduction. Renew the session.
    ChainExhausted,
    /// Nothing is owed under this id: it was sealed already, or has lost its purpose.
    NothingOwed,
    /// A group has moved on too far for this member's welcome: remove it and add it again.
    WelcomeGone,
    /// As much was sealed at once as is ([`crate::limits::MAX_GROUP_BATCH`]): seal what is owed until nothing is.
    Later,
    /// The bundle can't be used.
    Bundle(PreKeyError),
    /// The introduction could not be made.
    Handshake(HandshakeError),
}

/// Why an envelope was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenError {
    /// Not an envelope. Drop it.
    Malformed(DecodeError),
    /// Forged or damaged. Drop it.
    Rejected,
    /// Recognised by nobody here. Search where that is cheap; else keep it for a bounded time and try again after
    /// [`crate::Notice::NewChain`], or when more of the peer's messages have come: it may be far ahead.
    Unknown,
    /// Opened before, or its key was lost to the bound on skipped keys. Drop it.
    Duplicate,
    /// An introduction accepted before, whose session is gone. Drop it.
    Replayed,
    /// The prekey that it needs is gone, or never was: nobody can say who wrote. Drop it, and do no more: anyone can make such a
    /// one. Its author sees that no answer comes, and renews.
    PreKeyGone,
    /// The signed prekey that it needs has accepted [`crate::limits::MAX_INTRODUCTIONS`]. Publish a new signed prekey;
    /// its author sees that no answer comes, and renews.
    PreKeyFull,
    /// Authentic, but more than [`crate::limits::MAX_JUMP`] messages ahead, or, of an introduction, more than
    /// [`crate::limits::MAX_FIRST_JUMP`]: none of its first messages came. Renew the session with this peer. A
    /// [`crate::Device`] does so by itself where it has a session ([`crate::Event::Unreadable`]).
    TooFarAhead(Fingerprint),
    /// Authentic, but of a state that no longer fits: one side fell back to an old image. Renew the session with this peer. A
    /// [`crate::Device`] does so by itself ([`crate::Event::Unreadable`]).
    Diverged(Fingerprint),
    /// Authentic, and against the protocol: the peer's software is at fault. Drop it.
    Violation(Fingerprint),
    /// Authentic, from a blocked peer. Drop it.
    Blocked(Fingerprint),
    /// An introduction by someone unknown, and [`crate::limits::MAX_STRANGERS`] wait to be accepted. Leave it at the relay, and
    /// try again when one of them was accepted, deleted or forgotten ([`crate::Device::maintain`]).
    TooManyStrangers,
    /// Authentic, an introduction by someone who shows no certificate that the policy asks for. Drop it, or keep it and try
    /// again when a certificate was taken ([`crate::Device::take_certificate`]).
    Uncertified(Fingerprint, CertificateError),
    /// Of a group whose roster has moved on without this device, as a header in this member's chain says (any member can make
    /// one). Keep it for a bounded time, ask that member, or another, for the commits, once
    /// ([`crate::Device::ask_for_commits`]), and try again after the roster has changed
    /// ([`crate::device::GroupEvent::Changed`]), not before: two devices that ask at every attempt would never stop.
    CommitMissing(GroupId, Fingerprint),
    /// Of a group, from an epoch that is not remembered any more. Drop it.
    EpochGone(GroupId),
    /// Of a group, and not sealed under the roster that this device knows: its sender's is another, or a member forged
    /// it. Drop it; a notice follows when it is a fork.
    RosterDiffers(GroupId, Fingerprint),
}

/// Why a group was not changed, or nothing was sealed for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupError {
    /// No such group on this device.
    UnknownGroup,
    /// Whoever should have signed is not a member; on a device: this one is not, or not any more.
    NotMember,
    /// The signer's role does not allow it; or a welcome is not its signer's.
    NotAllowed,
    /// A change names someone who is not a member.
    UnknownMember,
    /// A change adds someone who is a member.
    AlreadyMember,
    /// No change, one that changes nothing, or two of one member in one commit.
    NoChange,
    /// More changes, members or groups than may be ([`crate::limits`]).
    TooMany,
    /// A policy with no messages to a chain, or too many.
    Policy,
    /// The signature does not verify.
    Signature,
    /// Not a commit of this group, or not a welcome for this identity.
    Malformed,
    /// No message could be sealed.
    Seal(SealError),
}

/// Why a certificate was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateError {
    /// There is none.
    Missing,
    /// Its time, or its issuer's, is past: its owner has to fetch another.
    Expired,
    /// Its issuer is trusted no longer.
    Revoked,
    /// No trusted root stands behind its issuer.
    Untrusted,
    /// Not a certificate: its fields can't be, or its issuer's name is another's.
    Malformed,
    /// Its issuer did not sign it for this identity.
    Signature,
    /// There is no such peer.
    UnknownPeer,
}

/// Why a request for a certificate was not made, or not verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateRequestError {
    /// The challenge is another issuer's than the device asks. Do not answer it.
    OtherIssuer,
    /// The challenge is for another address than the device asks for: whoever passed it on wants this identity certified
    /// under an address that is not its own. Do not answer it.
    OtherAddress,
    /// The challenge is past its time. Make another one.
    Expired,
    /// The identity did not sign this challenge: it is another one's answer, or someone else's identity. Refuse it.
    Signature,
}

/// Why a login was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoginError {
    /// It is another device's.
    OtherIdentity,
    /// The identity did not sign this challenge for this server. Refuse it.
    Signature,
}

/// Why a comparison of identities failed. Whatever the variant: the peer is not verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum VerificationError {
    /// Not what should come now. A run of messages has ended; begin another.
    Malformed(DecodeError),
    /// The code that was scanned is another device's than this peer's.
    OtherPeer,
    /// The peer takes another device for this one: someone may be between.
    NotMe,
    /// What was revealed is not what was committed to: someone may be between.
    Commitment,
}

/// Why a sealed image was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum VaultError {
    /// Not a sealed image: torn, or of a version that this crate does not know.
    Malformed(DecodeError),
    /// Torn, damaged, or sealed under another key or name.
    Rejected,
    /// Whole, but older than it may be: someone has put it back.
    Old {
        /// How old.
        generation: u64,
    },
    /// Whole, and newer than it may be: it does not follow what the mark says. It is from before a backup was restored, or
    /// marks were not kept.
    NotNext {
        /// How new.
        generation: u64,
    },
    /// Each row is whole, but they are not those of one moment: one is old, missing, there twice, or was deleted.
    Incomplete,
}

/// Why an attachment was not sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttachmentError {
    /// Longer than [`crate::limits::MAX_ATTACHMENT`], or than this machine's memory.
    TooLong,
    /// A chunk, or the whole, is not as long as it must be: cut, extended, or given in other pieces.
    WrongLength,
    /// Damaged, changed, moved, or not the ciphertext that was named. Fetch it again; if that does not help, drop it.
    Rejected,
    /// The last chunk has not come yet.
    Unfinished,
}

/// Why stored state was not restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateError {
    /// Not the image of a state: damaged, truncated, or of a version that this crate does not know.
    Malformed(DecodeError),
    /// A value breaks an invariant or a bound of the state.
    Invariant,
    /// A record stands under a key that is not its own.
    Key,
    /// Records don't belong together: one is missing, twice there, or from another time or device.
    Inconsistent,
}

/// No clock shows such a time: it is in milliseconds, or not a time. Give seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImplausibleTime;

/// The store has moved on without this device, or nobody knows whether it has: another process wrote to it, or an earlier
/// write ended without a word. Nothing was written. Restore the device from what the store holds, and do the operation again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stale;

/// There is no such peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownPeer;

/// There is no such session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownSession;

impl From<HandshakeError> for SealError {
    fn from(error: HandshakeError) -> Self {
        Self::Handshake(error)
    }
}

impl From<SealError> for GroupError {
    fn from(error: SealError) -> Self {
        Self::Seal(error)
    }
}

impl From<PreKeyError> for SealError {
    fn from(error: PreKeyError) -> Self {
        Self::Bundle(error)
    }
}

impl From<DecodeError> for VerificationError {
    fn from(error: DecodeError) -> Self {
        Self::Malformed(error)
    }
}

impl From<DecodeError> for VaultError {
    fn from(error: DecodeError) -> Self {
        Self::Malformed(error)
    }
}

impl From<DecodeError> for StateError {
    fn from(error: DecodeError) -> Self {
        Self::Malformed(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::error::Error;

    /// What lies behind an error is told, down to its end.
    #[test]
    fn causes_are_told() {
        let chain = |error: &dyn Error| {
            let mut texts = alloc::vec::Vec::from([alloc::format!("{error}")]);
            let mut cause = error.source();
            while let Some(error) = cause {
                texts.push(alloc::format!("{error}"));
                cause = error.source();
            }
            texts
        };
        let expired = GroupError::Seal(SealError::Bundle(PreKeyError::Expired));
        assert_eq!(
            chain(&expired),
            ["no message could be sealed", "the bundle can't be used", "the bundle is past its time"]
        );
        assert_eq!(chain(&SealError::Handshake(HandshakeError::WeakKey)).len(), 2);
        assert_eq!(
            chain(&OpenError::Malformed(DecodeError::Truncated)),
            ["not an envelope", "the input ends too early"]
        );
        for malformed in [
            &VerificationError::Malformed(DecodeError::Version) as &dyn Error,
            &VaultError::Malformed(DecodeError::Version),
            &StateError::Malformed(DecodeError::Version),
        ] {
            assert_eq!(chain(malformed)[1], "unknown version");
        }
        assert_eq!(chain(&GroupError::NotMember), ["not a member"]);
    }
}
