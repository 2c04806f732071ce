//! What sessions say to each other without the people. docs/PROTOCOL.md, "Session control" and "Receipts".

use crate::codec::{Reader, Write};
use crate::error::DecodeError;
use crate::limits::{CREATED_AT_END, MAX_KEPT_COMMITS, MAX_RECEIPT_IDS};
use crate::wire::certificate::Certificate;
use crate::wire::roster::GroupId;
use crate::wire::sealed::Tag;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// Which of several sessions with a peer is the one to send on: the greatest `created_at`, then the smallest transcript
/// hash th2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rank {
    /// When its initiator made it, in the initiator's time.
    pub created_at: u64,
    /// th2, the hash of the handshake's transcript.
    pub transcript: [u8; 32],
}

impl Rank {
    pub(crate) const LEN: usize = 40;

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let created_at = reader.u64()?;
        if created_at >= CREATED_AT_END {
            return Err(DecodeError::Invalid);
        }
        Ok(Self { created_at, transcript: *reader.array()? })
    }

    pub(crate) fn write(&self, out: &mut impl Write) {
        out.u64(self.created_at);
        out.bytes(&self.transcript);
    }
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        self.created_at.cmp(&other.created_at).then_with(|| other.transcript.cmp(&self.transcript))
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The content of a session control.
///
/// ```text
/// type(1) = 1 || created_at(8) || th2(32)        outranked: the session that this one has to exceed
///         | 2 || group id(32) || epoch(8) || count(1, 1 to 9) || hashes(32 each)   commits wanted: those after the
///               newest common one of these hashes, of this epoch and those before it
///         | 3 || group id(32)                    chain received: the answer to an announcement
///         | 4 || group id(32) || epoch(8) || th(32)   commits gone: the sender stands there, and keeps none so old
///         | 5 || certificate(257)                certificate
///         | 6 || group id(32)                    chain wanted: the receiver's, which the sender has lost
///         | 7                                    ended: the sender has dropped this session and all of a lower rank
///         | 8                                    heard: the answer to many messages without one
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Control {
    /// Your introduction is outranked by a session that you may have lost.
    Outranked(Rank),
    /// Commits of a group are missing: those after the newest common one of these transcript hashes, of an epoch and those
    /// before it, back to where this device can go back to.
    CommitsWanted(GroupId, u64, Vec<[u8; 32]>),
    /// A sender chain of a group has come; that this is said gives the session a turn.
    ChainReceived(GroupId),
    /// The sender's roster is at this epoch and hash, zeros if the receiver is not in it; the commits that would lead there
    /// are not kept any more, or are none of the receiver's.
    CommitsGone(GroupId, u64, [u8; 32]),
    /// The sender's certificate, as it came: its first one, or a renewed one.
    Certificate(Box<[u8; Certificate::LEN]>),
    /// The receiver's sender chain of a group is wanted again: a commit that is undone had taken it from the sender.
    ChainWanted(GroupId),
    /// The sender has dropped this session and those of a lower rank: whoever writes next introduces itself anew.
    Ended,
    /// Nothing but an answer: the sender has opened what came, and the session gets a turn.
    Heard,
}

impl Control {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1 + 32 + 8 + 1 + 32 * (MAX_KEPT_COMMITS + 1));
        match self {
            Self::Outranked(rank) => {
                out.u8(1);
                rank.write(&mut out);
            }
            Self::CommitsWanted(group, epoch, hashes) => {
                out.u8(2);
                out.bytes(group.as_bytes());
                out.u64(*epoch);
                out.u8(u8::try_from(hashes.len()).unwrap_or(u8::MAX));
                for hash in hashes {
                    out.bytes(hash);
                }
            }
            Self::CommitsGone(group, epoch, transcript) => {
                out.u8(4);
                out.bytes(group.as_bytes());
                out.u64(*epoch);
                out.bytes(transcript);
            }
            Self::Certificate(certificate) => {
                out.u8(5);
                out.bytes(certificate.as_slice());
            }
            Self::Ended => out.u8(7),
            Self::Heard => out.u8(8),
            Self::ChainReceived(group) => {
                out.u8(3);
                out.bytes(group.as_bytes());
            }
            Self::ChainWanted(group) => {
                out.u8(6);
                out.bytes(group.as_bytes());
            }
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Reader::whole(bytes, |reader| match reader.u8()? {
            1 => Rank::read(reader).map(Self::Outranked),
            2 => {
                let (group, epoch, count) = (GroupId::read(reader)?, reader.u64()?, usize::from(reader.u8()?));
                if count == 0 || count > MAX_KEPT_COMMITS.saturating_add(1) {
                    return Err(DecodeError::Invalid);
                }
                let hashes = (0..count).map(|_| reader.array().copied()).collect::<Result<_, _>>()?;
                Ok(Self::CommitsWanted(group, epoch, hashes))
            }
            3 => GroupId::read(reader).map(Self::ChainReceived),
            5 => reader.array().map(|certificate| Self::Certificate(Box::new(*certificate))),
            6 => GroupId::read(reader).map(Self::ChainWanted),
            7 => Ok(Self::Ended),
            8 => Ok(Self::Heard),
            4 => Ok(Self::CommitsGone(GroupId::read(reader)?, reader.u64()?, *reader.array()?)),
            _ => Err(DecodeError::Invalid),
        })
    }
}

/// Encodes a receipt: the tags of the messages it is about, 16 bytes each. `None` for no tag or too many.
pub(crate) fn encode_receipt(tags: &[Tag]) -> Option<Vec<u8>> {
    if tags.is_empty() || tags.len() > MAX_RECEIPT_IDS {
        return None;
    }
    Some(tags.iter().flat_map(|tag| tag.0).collect())
}

/// Reads a receipt.
pub(crate) fn decode_receipt(bytes: &[u8]) -> Result<Vec<Tag>, DecodeError> {
    Reader::whole(bytes, |reader| {
        let mut tags = Vec::new();
        while !reader.is_empty() {
            tags.push(Tag(*reader.array()?));
        }
        match tags.len() {
            1..=MAX_RECEIPT_IDS => Ok(tags),
            _ => Err(DecodeError::Invalid),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn commits_are_wanted_after_one_to_nine_hashes() {
        for (count, good) in [(0, false), (1, true), (9, true), (10, false)] {
            let wanted = Control::CommitsWanted(GroupId::from_bytes([1; 32]), 5, vec![[2; 32]; count]);
            assert_eq!(Control::decode(&wanted.encode()), if good { Ok(wanted) } else { Err(DecodeError::Invalid) });
        }
    }

    #[test]
    fn receipts_name_one_to_256_messages() {
        for (count, good) in [(0, false), (1, true), (256, true), (257, false)] {
            let tags = vec![Tag([3; 16]); count];
            assert_eq!(encode_receipt(&tags).is_some(), good, "{count}");
            let bytes: Vec<u8> = tags.iter().flat_map(|tag| tag.0).collect();
            assert_eq!(decode_receipt(&bytes), if good { Ok(tags) } else { Err(DecodeError::Invalid) });
        }
    }
}
