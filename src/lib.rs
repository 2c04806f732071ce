#![cfg_attr(not(test), no_std)]
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::wrong_self_convention,
        reason = "unit tests are to fail loudly, and Alice is someone"
    )
)]
#![doc = include_str!("../README.md")]

extern crate alloc;

mod codec;
mod crypto;
mod handshake;
mod identity;
mod keys;
mod labels;
mod message;
mod padding;
mod ratchet;
mod secret;
mod state;
mod text;
mod wire;

#[cfg(feature = "vectors")]
#[doc(hidden)]
pub mod vectors;

pub mod attachment;
pub mod certificate;
pub mod device;
pub mod error;
pub mod group;
pub mod limits;
pub mod log;
pub mod login;
pub mod prekey;
pub mod session;
pub mod store;
pub mod vault;
pub mod verification;

/// The snippets of docs/EMBEDDING.md.
#[cfg(doctest)]
#[doc = include_str!("../docs/EMBEDDING.md")]
mod embedding {}

pub use attachment::Attachment;
pub use device::{
    Changes, Device, Event, Notice, Opened, Pending, Policy, Prepared, Record, RecordKey, Sealed, Search,
};
pub use group::GroupId;
pub use identity::IdentityKeyPair;
pub use keys::{
    AccountId, DeviceId, Fingerprint, IdentityKey, MailboxAddress, OperationId, PeerId, SessionId, UnixTime,
};
pub use padding::Padding;
pub use rand_core;
pub use state::Image;
pub use wire::bundle::{DirectoryEntry, OneTimePreKey, PreKeyBundle, PreKeyUpload, SignedPreKey};
pub use wire::envelope::Envelope;
pub use wire::sealed::Tag;
