//! What the errors say, and what lies behind them.

use super::{
    AttachmentError, CertificateError, CertificateRequestError, DecodeError, GroupError, HandshakeError,
    ImplausibleTime, LoginError, OpenError, PreKeyError, SealError, Stale, StateError, UnknownPeer, UnknownSession,
    VaultError, VerificationError,
};
use core::fmt;

macro_rules! display {
    ($($type:ident $(, caused by $($cause:ident)|+)? { $($pattern:pat => $text:expr),* $(,)? })*) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $($pattern => $text),* })
            }
        }
        impl core::error::Error for $type {
            fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
                match self {
                    $($(Self::$cause(error) => Some(error),)+)?
                    _ => None,
                }
            }
        }
    )*};
}

display! {
    DecodeError {
        Self::Truncated => "the input ends too early",
        Self::Trailing => "bytes follow the value",
        Self::TooLong => "a length is above its limit",
        Self::Version => "unknown version",
        Self::Invalid => "a field has an impossible value",
    }
    PreKeyError {
        Self::Signature => "a prekey's signature does not verify",
        Self::Key => "a prekey is not a valid key",
        Self::OtherKemKey => "the long-term KEM key is not the identity's",
        Self::Expired => "the bundle is past its time",
        Self::Myself => "the bundle is this device's own",
        Self::OtherIdentity => "the bundle is another identity's",
        Self::Blocked => "the peer is blocked",
        Self::TooMany => "more prekeys than the store may hold",
    }
    HandshakeError {
        Self::WeakKey => "a key of the bundle is weak",
        Self::RankExhausted => "no higher rank exists for this peer's sessions",
    }
    SealError, caused by Bundle | Handshake {
        Self::UnknownPeer => "no such peer",
        Self::Blocked => "the peer is blocked",
        Self::BundleNeeded => "no session and no bundle for this peer",
        Self::BundleExpired => "no session, and the peer's bundle is past its time",
        Self::TooLong => "too long for one message",
        Self::ChainExhausted => "the sending chain is at its end",
        Self::NothingOwed => "nothing is owed under this id",
        Self::WelcomeGone => "the welcome can't be told any more",
        Self::Later => "too much was sealed at once: it is owed",
        Self::Bundle(_) => "the bundle can't be used",
        Self::Handshake(_) => "the introduction could not be made",
    }
    OpenError, caused by Malformed {
        Self::Malformed(_) => "not an envelope",
        Self::Rejected => "forged or damaged",
        Self::Unknown => "recognised by nobody here",
        Self::Duplicate => "opened before",
        Self::Replayed => "an introduction whose session is gone",
        Self::PreKeyGone => "the prekey it needs is gone",
        Self::PreKeyFull => "the signed prekey it needs accepts no more",
        Self::TooFarAhead(_) => "too far ahead",
        Self::Diverged(_) => "the session has diverged",
        Self::Violation(_) => "the peer broke the protocol",
        Self::Blocked(_) => "from a blocked peer",
        Self::TooManyStrangers => "too many peers wait to be accepted",
        Self::Uncertified(..) => "an introduction without the certificate that is asked for",
        Self::CommitMissing(..) => "the group's roster has moved on",
        Self::EpochGone(_) => "the group's epoch is not remembered any more",
        Self::RosterDiffers(..) => "not sealed under the group's roster",
    }
    GroupError, caused by Seal {
        Self::UnknownGroup => "no such group",
        Self::NotMember => "not a member",
        Self::NotAllowed => "the member's role does not allow it",
        Self::UnknownMember => "a change names someone who is not a member",
        Self::AlreadyMember => "a change adds someone who is a member",
        Self::NoChange => "a change changes nothing",
        Self::TooMany => "too many changes, members or groups",
        Self::Policy => "not a policy for chains",
        Self::Signature => "the signature does not verify",
        Self::Malformed => "not of this group, or not for this identity",
        Self::Seal(_) => "no message could be sealed",
    }
    CertificateError {
        Self::Missing => "no certificate",
        Self::Malformed => "not a certificate",
        Self::Expired => "the certificate's time is past",
        Self::Revoked => "the certificate's issuer is revoked",
        Self::Untrusted => "no trusted root stands behind the certificate",
        Self::Signature => "the certificate is not signed for this identity",
        Self::UnknownPeer => "no such peer",
    }
    CertificateRequestError {
        Self::OtherIssuer => "the challenge is another issuer's",
        Self::OtherAddress => "the challenge is for another address",
        Self::Expired => "the challenge is past its time",
        Self::Signature => "the identity did not sign the challenge",
    }
    LoginError {
        Self::OtherIdentity => "another device's login",
        Self::Signature => "the identity did not sign this challenge for this server",
    }
    VerificationError, caused by Malformed {
        Self::Malformed(_) => "not what should come now",
        Self::OtherPeer => "another device's code",
        Self::NotMe => "the peer takes another device for this one",
        Self::Commitment => "not what was committed to",
    }
    VaultError, caused by Malformed {
        Self::Malformed(_) => "not a sealed image",
        Self::Rejected => "damaged, or sealed under another key or name",
        Self::Old { .. } => "older than it may be",
        Self::NotNext { .. } => "newer than it may be",
        Self::Incomplete => "rows of different moments, or not all of them",
    }
    AttachmentError {
        Self::TooLong => "too long for an attachment",
        Self::WrongLength => "an attachment's chunk of a wrong length",
        Self::Rejected => "damaged, or another attachment",
        Self::Unfinished => "the attachment's last chunk is missing",
    }
    StateError, caused by Malformed {
        Self::Malformed(_) => "not the image of a state",
        Self::Invariant => "the image breaks an invariant",
        Self::Key => "a record stands under a wrong key",
        Self::Inconsistent => "the records don't belong together",
    }
    ImplausibleTime {
        Self => "no clock shows such a time",
    }
    Stale {
        Self => "the store has moved on without this device",
    }
    UnknownPeer {
        Self => "no such peer",
    }
    UnknownSession {
        Self => "no such session",
    }
}
