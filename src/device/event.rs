//! What opening an envelope tells, and what can be asked.

use crate::attachment::Attachment;
use crate::certificate::{CertificateState, Certified};
use crate::device::notice::Notice;
use crate::group::GroupId;
use crate::keys::{Fingerprint, IdentityKey, MailboxAddress, UnixTime};
use crate::session::SessionStatus;
use crate::wire::sealed::Tag;
use alloc::vec::Vec;
use core::fmt;

/// What an envelope was.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Opened {
    /// What the peer sent.
    pub event: Event,
    /// What the application should know beside it.
    pub notices: Vec<Notice>,
}

/// What a peer sent.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A message for people.
    Message {
        /// Who sealed it.
        from: Fingerprint,
        /// Its name, for receipts.
        tag: Tag,
        /// What the peer's application sealed.
        content: Vec<u8>,
        /// What protects it.
        status: MessageStatus,
    },
    /// What opens content that travels beside its message: fetch the ciphertext by its name and open it
    /// ([`crate::attachment::open`]).
    Attachment {
        /// Who sealed it.
        from: Fingerprint,
        /// The message's name, for receipts.
        tag: Tag,
        /// What opens it. Store it ([`Attachment::to_state`]) until the ciphertext is here.
        attachment: Attachment,
        /// What the peer's application says of it.
        note: Vec<u8>,
        /// What protects it.
        status: MessageStatus,
    },
    /// A message for people that is too long for one envelope: what opens it. Fetch the ciphertext by its name and open it
    /// ([`crate::attachment::open`]); what comes out is what [`Self::Message`] would hold.
    LongMessage {
        /// Who sealed it.
        from: Fingerprint,
        /// The message's name, for receipts.
        tag: Tag,
        /// What opens it. Store it ([`Attachment::to_state`]) until the ciphertext is here.
        attachment: Attachment,
        /// What protects it.
        status: MessageStatus,
    },
    /// The peer has read these messages.
    Receipt {
        /// Who read them.
        from: Fingerprint,
        /// The messages' names, as [`crate::Envelope::tag`] gives them to whoever sealed them. Take one only for a
        /// message that was sealed for this peer: a peer can name any tag that it has seen.
        tags: Vec<Tag>,
    },
    /// A message of a group, for people.
    GroupMessage {
        /// The group.
        group: GroupId,
        /// Who sealed and signed it.
        from: Fingerprint,
        /// Its name.
        tag: Tag,
        /// The epoch of the roster that it was sealed under: an earlier one than the present if it comes late.
        epoch: u64,
        /// What the member's application sealed.
        content: Vec<u8>,
        /// What is known of this member.
        status: MemberStatus,
    },
    /// What opens content that travels beside a group's message.
    GroupAttachment {
        /// The group.
        group: GroupId,
        /// Who sealed and signed it.
        from: Fingerprint,
        /// The message's name.
        tag: Tag,
        /// The epoch of the roster that it was sealed under.
        epoch: u64,
        /// What opens it.
        attachment: Attachment,
        /// What the member's application says of it.
        note: Vec<u8>,
        /// What is known of this member.
        status: MemberStatus,
    },
    /// A group's message that is too long for one envelope: what opens it, as with [`Self::LongMessage`].
    GroupLongMessage {
        /// The group.
        group: GroupId,
        /// Who sealed and signed it.
        from: Fingerprint,
        /// The message's name.
        tag: Tag,
        /// The epoch of the roster that it was sealed under.
        epoch: u64,
        /// What opens it.
        attachment: Attachment,
        /// What is known of this member.
        status: MemberStatus,
    },
    /// Something about a group.
    Group {
        /// The group.
        group: GroupId,
        /// Whose session brought it.
        from: Fingerprint,
        /// What it was.
        what: GroupEvent,
    },
    /// An authentic message that can't be read: its session no longer fits. The next message to the peer introduces this
    /// device anew ([`Notice::RenewalDue`]).
    Unreadable {
        /// Who sealed it.
        from: Fingerprint,
        /// Why.
        why: Unreadable,
    },
    /// Something between the devices; nothing to show.
    Control {
        /// Whose device spoke.
        from: Fingerprint,
    },
}

impl Event {
    /// What people wrote.
    pub(super) fn text_mut(&mut self) -> Option<&mut Vec<u8>> {
        match self {
            Self::Message { content: text, .. }
            | Self::GroupMessage { content: text, .. }
            | Self::Attachment { note: text, .. }
            | Self::GroupAttachment { note: text, .. } => Some(text),
            _ => None,
        }
    }
}

impl fmt::Debug for Event {
    /// The content's length only: a log is not the place for it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message { from, tag, content, status } => f
                .debug_struct("Message")
                .field("from", from)
                .field("tag", tag)
                .field("content_len", &content.len())
                .field("status", status)
                .finish(),
            Self::Attachment { from, tag, attachment, note, status } => f
                .debug_struct("Attachment")
                .field("from", from)
                .field("tag", tag)
                .field("attachment", attachment)
                .field("note_len", &note.len())
                .field("status", status)
                .finish(),
            Self::LongMessage { from, tag, attachment, status } => f
                .debug_struct("LongMessage")
                .field("from", from)
                .field("tag", tag)
                .field("attachment", attachment)
                .field("status", status)
                .finish(),
            Self::GroupLongMessage { group, from, tag, epoch, attachment, status } => f
                .debug_struct("GroupLongMessage")
                .field("group", group)
                .field("from", from)
                .field("tag", tag)
                .field("epoch", epoch)
                .field("attachment", attachment)
                .field("status", status)
                .finish(),
            Self::GroupAttachment { group, from, tag, epoch, attachment, note, status } => f
                .debug_struct("GroupAttachment")
                .field("group", group)
                .field("from", from)
                .field("tag", tag)
                .field("epoch", epoch)
                .field("attachment", attachment)
                .field("note_len", &note.len())
                .field("status", status)
                .finish(),
            Self::Receipt { from, tags } => f.debug_struct("Receipt").field("from", from).field("tags", tags).finish(),
            Self::GroupMessage { group, from, tag, epoch, content, status } => f
                .debug_struct("GroupMessage")
                .field("group", group)
                .field("from", from)
                .field("tag", tag)
                .field("epoch", epoch)
                .field("content_len", &content.len())
                .field("status", status)
                .finish(),
            Self::Group { group, from, what } => {
                f.debug_struct("Group").field("group", group).field("from", from).field("what", what).finish()
            }
            Self::Unreadable { from, why } => {
                f.debug_struct("Unreadable").field("from", from).field("why", why).finish()
            }
            Self::Control { from } => f.debug_struct("Control").field("from", from).finish(),
        }
    }
}

/// Why an authentic message can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unreadable {
    /// One side fell back to an old state, or seals twice at one position.
    Diverged,
    /// It is more than [`crate::limits::MAX_JUMP`] messages ahead.
    TooFarAhead,
}

/// What became of something about a group.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupEvent {
    /// This device was added to the group.
    Joined {
        /// The group's epoch.
        epoch: u64,
    },
    /// The roster has changed; whether this device is still in it, [`crate::Device::group`] tells.
    Changed {
        /// The group's epoch now.
        epoch: u64,
        /// Who has joined.
        added: Vec<Fingerprint>,
        /// Who is out.
        removed: Vec<Fingerprint>,
        /// How many commits that had been applied were outvoted by a better one and are undone.
        superseded: usize,
        /// Whether one of those was this device's own: make it again if it is still wanted.
        own_superseded: bool,
    },
    /// A member's sender chain has come: envelopes that were unknown may open now.
    ChainAnnounced,
    /// What came is known already.
    Known,
    /// A commit that a better one has outvoted. The member will be told the better one.
    Outvoted,
    /// It lies elsewhere: fetch the ciphertext by this name and give it to [`crate::Device::take_attached`].
    Elsewhere {
        /// SHA-256 of the ciphertext.
        name: [u8; 32],
    },
    /// What the member named is no commit and no welcome of this group, and is wanted no more.
    Violation,
    /// It builds on a commit that has not come. It is kept, and the missing one asked for. Of a group that is not known yet
    /// ([`crate::Device::group`]), nobody is asked: the welcome is on its way, or who added this device has to send it again
    /// ([`crate::Device::announce_again`]).
    Waiting,
    /// The member's roster is another than this device's. Both are told each other's commits; if that does not mend it,
    /// people must: one of the two was told something else by someone who may change the roster, or was away for too many
    /// commits. It forgets the group ([`crate::Device::forget_group`]) and is removed and added again.
    Fork {
        /// The epoch at which they differ, or a later one.
        epoch: u64,
        /// The transcript hash here, zeros where the epoch is not remembered.
        ours: [u8; 32],
        /// The hash that the member named or built on.
        theirs: [u8; 32],
    },
    /// Nothing that this device takes from this peer: it is not a member, or what it sent is too old.
    Refused,
    /// The member asked for commits; they are owed.
    CommitsWanted,
    /// The member has taken in this device's sender chain.
    ChainReceived,
    /// The member has lost this device's sender chain to a commit that was outvoted; it is owed again.
    ChainWanted,
}

/// What is known of a member of a group who has written. That a message is signed, and under which roster, its epoch says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberStatus {
    /// Whether people have compared fingerprints with it.
    pub verified: bool,
    /// Where its certificate stands.
    pub certificate: CertificateState,
}

/// What protects a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageStatus {
    /// Whether people have compared fingerprints with this peer ([`crate::Device::set_verified`]).
    pub verified: bool,
    /// Whether it came with an introduction, so that its freshness rests on the sender alone.
    pub introduction: bool,
    /// Where the peer's certificate stands.
    pub certificate: CertificateState,
    /// The session that brought it.
    pub session: SessionStatus,
}

/// Where to look for an envelope whose tag nobody recognises.
#[derive(Debug, Clone, Copy)]
pub enum Search<'a> {
    /// In the sessions with these peers.
    Peers(&'a [Fingerprint]),
    /// In the sessions and chains that listen at this address.
    Mailbox(MailboxAddress),
    /// In the chains of this group's members: one small decryption each.
    Group(GroupId),
}

/// What is known of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[allow(clippy::struct_excessive_bools, reason = "each answers a question of its own")]
pub struct PeerStatus {
    /// Its public identity.
    pub identity: IdentityKey,
    /// Whether people have compared fingerprints.
    pub verified: bool,
    /// What its last good certificate said; whether that holds, [`crate::certificate::CertificatePolicy::state`] tells.
    pub certified: Option<Certified>,
    /// Whether it is shown this device's certificate.
    pub shows_certificate: bool,
    /// Whether it is blocked.
    pub blocked: bool,
    /// The session on which messages are sealed, never a suspect one. Not confirmed: the introduction is unanswered; if it stays
    /// so, renew.
    pub session: Option<SessionStatus>,
    /// Sessions that only receive.
    pub fading: usize,
    /// Whether the application has accepted it: it has added it, verified it, or written to it.
    pub accepted: bool,
    /// Whether the next message introduces this device anew, if there is a bundle ([`crate::Device::bundles_wanted`]).
    pub renewal_due: bool,
    /// Until when the bundle that is kept for the next introduction can be used. It serves one.
    pub bundle_not_after: Option<UnixTime>,
}

/// How the prekeys stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PreKeyStatus {
    /// One-time prekeys of the last upload that have served nobody yet.
    pub one_time_left: usize,
    /// One-time prekeys whose private half is here, those of earlier uploads among them.
    pub one_time_held: usize,
    /// Until when others can use the signed prekey; `None`: nothing was ever published.
    pub signed_not_after: Option<UnixTime>,
    /// Introductions accepted under it, of at most [`crate::limits::MAX_INTRODUCTIONS`].
    pub introductions: usize,
}
