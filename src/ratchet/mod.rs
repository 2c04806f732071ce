//! The Double Ratchet with header encryption (Perrin and Marlinspike, revision 4, section 4), hybrid root.
//!
//! Knows keys, counters and tags; neither envelopes nor peers. docs/PROTOCOL.md, "Chains" and "Session".

mod chain;
mod erasure;
mod image;
mod kem;
mod kem_image;
mod offer;
mod receive;
mod root;
mod send;
mod skipped;
mod state;
#[cfg(feature = "vectors")]
#[allow(clippy::indexing_slicing, clippy::as_conversions, clippy::cast_possible_truncation, reason = "no product code")]
pub(crate) mod trace;

pub(crate) use chain::{ChainKeys, TagSink, TagSource, TagWindow, kdf_ck};
pub(crate) use kem::Introduced;
pub(crate) use receive::{Place, ReceiveError, ReceiveStep, Skip, check_jump};
#[cfg(feature = "vectors")]
pub(crate) use root::kdf_rk;
pub(crate) use root::split;
pub(crate) use send::{Outgoing, SendStep};
pub(crate) use skipped::{SkippedDelta, SkippedKeys};
pub(crate) use state::{InitialSecrets, Ratchet};

#[cfg(test)]
mod tests;
