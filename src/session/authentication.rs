//! Whether the peer is whom its identity names, also for those who reckon with quantum computers. docs/PROTOCOL.md,
//! "Authentication".

use crate::limits::OVERDUE_TURNS;

/// What a session knows of its peer beyond X25519 and Ed25519: whether it has shown that it holds the ML-KEM-1024 key of its
/// identity. Until then, who can break those two could be at the other end.
///
/// It says whether the peer holds the keys of an identity; whose identity that is, people find out by comparing
/// fingerprints. It is of one session, never of a peer: an introduction begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Authentication {
    /// Not yet. An initiator has to wait for the first answer; a responder until the initiator's key has travelled in the
    /// padding, and the answer to it back.
    Unproved {
        /// How many chains the peer has begun.
        turns: u32,
    },
    /// The peer has begun more than [`OVERDUE_TURNS`] chains without showing it. Whoever is there perhaps does not hold the key.
    Overdue,
    /// Not in this session, though in one before; and nothing shows that this one is the same peer's. A [`crate::Device`] seals
    /// nothing here, and introduces itself anew.
    Suspect,
    /// It has.
    Proved,
}

/// Whether the peer has proved its identity: to an initiator with any message, to a responder by the secret of its first
/// offer, of which `answered` says how many are mixed in.
pub(super) fn is_proved(initiator: bool, confirmed: bool, answered: u32) -> bool {
    if initiator { confirmed } else { answered > 0 }
}

impl Authentication {
    pub(super) fn new(proved: bool, turns: u32) -> Self {
        if proved {
            Self::Proved
        } else if turns > OVERDUE_TURNS {
            Self::Overdue
        } else {
            Self::Unproved { turns }
        }
    }
}
