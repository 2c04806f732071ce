//! Messages as plain data: layouts, strict decoding, no keys and no state.

pub(crate) mod attachment;
pub(crate) mod bundle;
pub(crate) mod certificate;
pub(crate) mod control;
pub(crate) mod envelope;
pub(crate) mod fragment;
pub(crate) mod introduction;
pub(crate) mod payload;
pub(crate) mod proof;
pub(crate) mod roster;
pub(crate) mod sealed;

/// The protocol's version, first byte of every wire format.
pub(crate) const VERSION: u8 = 1;
