//! What an application should know beside an event, and what it is asked to do.

use crate::error::CertificateError;
use crate::group::GroupId;
use crate::keys::{Fingerprint, SessionId};

/// What the application should know beside an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// Someone introduced themselves for the first time.
    NewPeer(Fingerprint),
    /// An introduction took the place of a session: the peer has lost its state, or someone holds its key. Tell people if
    /// they had verified it. Where the peer was proved before, the session in use stays, and a renewal is due
    /// ([`Self::RenewalDue`]).
    Displaced {
        /// Who introduced itself.
        peer: Fingerprint,
        /// Whether the session was confirmed. Else both may have introduced themselves at the same time.
        confirmed: bool,
    },
    /// An introduction came of a peer with whom a better session stands: it was late, the peer's clock or state
    /// was put back, or someone holds its key and would not be noticed. What came with it is as good as that.
    IntroducedBeside {
        /// Who introduced itself.
        peer: Fingerprint,
        /// Whether the better session is confirmed. Else both may have introduced themselves at the same time.
        confirmed: bool,
    },
    /// The peer began a new session, and has shown that it holds the one before, or did two turns ago: it has not lost its state. What it
    /// was sent before, and no receipt has named, may be lost: send it again.
    Renewed(Fingerprint),
    /// A verified peer with whom there was no session introduced itself.
    IntroducedAgain(Fingerprint),
    /// The peer has dropped its sessions with this device: the next message to it is an introduction, for which a bundle is
    /// needed ([`crate::Device::bundles_wanted`]).
    Ended(Fingerprint),
    /// The peer has shown a good certificate, its first or a renewed one ([`crate::device::PeerStatus::certified`]).
    Certified(Fingerprint),
    /// The good certificate that the peer has shown names another address than the one before. Tell people.
    AddressChanged(Fingerprint),
    /// The peer has shown a certificate that is not good; its message was taken all the same.
    CertificateRefused(Fingerprint, CertificateError),
    /// A session or a chain began: envelopes that were unknown may open now. Try them again.
    NewChain(Fingerprint),
    /// What goes on the session with the peer may open nothing: the next message to it introduces this device anew, for which
    /// a bundle is needed ([`crate::Device::bundles_wanted`]).
    RenewalDue(Fingerprint),
    /// A control is owed to the peer: seal it ([`crate::Device::seal_owed`]).
    Owed(OwedId),
    /// A commit that had waited leads away from what this device has followed, too long ago to choose: as
    /// [`crate::device::GroupEvent::Fork`].
    GroupFork {
        /// The group.
        group: GroupId,
        /// The transcript hash here.
        ours: [u8; 32],
        /// The hash that the commit extends.
        theirs: [u8; 32],
    },
    /// Something is owed to members of the group: seal it ([`crate::Device::seal_group_owed`]).
    GroupOwed(GroupId),
    /// Few one-time prekeys are left: publish more.
    FewPreKeys {
        /// How many are left.
        left: usize,
    },
    /// The record of introductions under the current signed prekey is half full: publish, and a new one is made.
    IntroductionsHalfFull,
    /// So many messages of the peer can't be opened any more: too many were skipped.
    MessagesLost {
        /// Whose messages.
        peer: Fingerprint,
        /// How many.
        count: u32,
    },
    /// The message carried broken key material, which was ignored; its content is whole. The peer's software is at
    /// fault.
    BadFragment(Fingerprint),
}

/// The name of a control that is owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwedId(pub(super) Owed);

/// What is owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Owed {
    /// The rank that the introduction of this session has to exceed.
    Rank(SessionId),
    /// This device's certificate.
    Certificate(Fingerprint),
    /// An answer to many messages of this session without one.
    Answer(SessionId),
    /// An introduction to a peer whose session with this device opens nothing.
    Renewal(Fingerprint),
}
