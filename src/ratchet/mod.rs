//! The Double Ratchet with header encryption (Perrin and Marlinspike, revision 4, section 4), hybrid root.
//!
//! Knows keys, counters and tags; neither envelopes nor peers. docs/PROTOCOL.md, "Chains" and "Session".

mod chain;
mod root;
mod skipped;
mod state;

pub(crate) use chain::{ChainKeys, TagSink, TagSource};
pub(crate) use root::split;
pub(crate) use skipped::SkippedKeys;
pub(crate) use state::{Incoming, InitialSecrets, Outgoing, Place, Ratchet, ReceiveError, ReceiveStep, SendStep};

#[cfg(test)]
mod tests;
