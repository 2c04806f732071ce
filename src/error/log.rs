//! Errors of membership logs. Nothing in them is secret.

use super::DecodeError;
use crate::keys::AccountId;
use core::fmt;

/// Why an operation of a membership log was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OperationError {
    /// Not an operation: who brought it is at fault. Drop it.
    Malformed(DecodeError),
    /// Of another log: who brought it is at fault. Drop it.
    OtherLog,
    /// The author did not sign it: who brought it is at fault. Drop it.
    Signature,
    /// The account's log says that there is no such device: who brought it is at fault. Drop it.
    NotADevice(AccountId),
    /// Nobody is at fault: the account's log is not here, or not all of it. Fetch it, then offer the operation again.
    UnknownAuthor(AccountId),
    /// The author's software is at fault, whoever brought it: it could never make such a change. Drop it.
    Form(FormError),
    /// Nobody is at fault: the log is full, or the author's part of it. Found a new one.
    Full,
}

/// What is wrong with an operation, whatever else is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FormError {
    /// A genesis that is no beginning: without a salt, or with a change that needs a past; or a salt elsewhere.
    Genesis,
    /// It names an account twice, the owner, or its author.
    Named,
    /// To leave and to retire stand alone.
    NotAlone,
    /// The owner leaves by founding a new log.
    OwnerLeaves,
    /// A leaving's only parent is the addition that it ends.
    LeaveParent,
    /// No addition of the author is in its past.
    NeverIn,
    /// No appointment of the author is in its past, or only the owner may make the change.
    NotAdmin,
    /// Without changes, it must join two heads.
    Empty,
}

/// Why no operation was drafted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DraftError {
    /// More changes, or longer ones, than may be, or two about the same: split them.
    Changes(DecodeError),
    /// More heads than an operation can have parents: write an operation without changes first, which joins eight of them.
    TooManyHeads,
    /// No addition that the account could leave.
    NotMember,
}

display! {
    OperationError, caused by Malformed | Form {
        Self::Malformed(_) => "not an operation",
        Self::OtherLog => "of another log",
        Self::Signature => "not signed by its author",
        Self::NotADevice(_) => "the author's account has no such device",
        Self::UnknownAuthor(_) => "the author's account is not known",
        Self::Form(_) => "its author could never write it",
        Self::Full => "the log is full",
    }
    FormError {
        Self::Genesis => "not the beginning of a log",
        Self::Named => "an account is named twice, or must not be named",
        Self::NotAlone => "a change that must stand alone",
        Self::OwnerLeaves => "the owner can't leave",
        Self::LeaveParent => "not on the addition that it ends",
        Self::NeverIn => "the author was never added",
        Self::NotAdmin => "the author was never an admin, or only the owner may",
        Self::Empty => "without changes, and without two heads to join",
    }
    DraftError, caused by Changes {
        Self::Changes(_) => "changes that don't fit one operation",
        Self::TooManyHeads => "more heads than an operation can join",
        Self::NotMember => "no addition to leave",
    }
}
