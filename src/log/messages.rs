//! What replicas say to each other: what they have, and what the other lacks. docs/PROTOCOL.md, "Exchange".

use super::index::{At, KEPT, View, count, place};
use super::membership::Log;
use crate::codec::{Reader, Write};
use crate::crypto::kdf;
use crate::error::DecodeError;
use crate::keys::OperationId;
use crate::labels::Label;
use crate::limits::{MAX_ANSWER_LEN, MAX_ANSWER_OPERATIONS, MAX_OLDER_IDS, MAX_OPERATION_LEN, MAX_PARENTS};
use alloc::vec::Vec;

/// 16 bytes over the heads of what counts. Who has the same has the same operations that count: a head's id fixes its past.
pub type HeadsHash = [u8; 16];

/// Asks for the operations that the sender lacks.
///
/// ```text
/// 1 || log id(32) || number(4) || heads hash(16) || heads(4) || count(1, 1 to 8) || heads(32 each, ascending)
///   || count(1, at most 16) || older ids(32 each) || after(32, zeros: from the beginning)
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// Comes back in the answer.
    pub(super) number: u32,
    pub(super) log: OperationId,
    pub(super) hash: HeadsHash,
    /// How many heads there are.
    pub(super) all: u32,
    pub(super) heads: Vec<OperationId>,
    pub(super) older: Vec<OperationId>,
    /// The last operation of the answer before, when that was not all.
    pub(super) after: OperationId,
}

/// Operations: an answer, or what is new.
///
/// ```text
/// 2 || log id(32) || number(4, 0 if nobody asked) || heads hash(16) || more(1) || count(2, at most 1024)
///   || (length(2) || operation) each
/// ```
///
/// At most [`MAX_ANSWER_LEN`] bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ops {
    pub(super) number: u32,
    pub(super) log: OperationId,
    /// What the sender has.
    pub(super) hash: HeadsHash,
    /// Whether the answer goes on.
    pub(super) more: bool,
    pub(super) operations: Vec<Vec<u8>>,
}

/// One of the two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogMessage {
    /// A question.
    Want(Want),
    /// Operations.
    Ops(Ops),
}

fn ids(reader: &mut Reader<'_>, max: usize) -> Result<Vec<OperationId>, DecodeError> {
    let count = usize::from(reader.u8()?);
    if count > max {
        return Err(DecodeError::TooLong);
    }
    (0..count).map(|_| Ok(OperationId(*reader.array()?))).collect()
}

fn write_ids(out: &mut impl Write, ids: &[OperationId]) {
    out.u8(u8::try_from(ids.len()).unwrap_or(u8::MAX));
    for id in ids {
        out.bytes(&id.0);
    }
}

impl LogMessage {
    /// The log that it is about.
    pub fn log(&self) -> OperationId {
        match self {
            Self::Want(want) => want.log,
            Self::Ops(ops) => ops.log,
        }
    }

    /// The bytes to send.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Want(want) => {
                out.u8(1);
                out.bytes(&want.log.0);
                out.u32(want.number);
                out.bytes(&want.hash);
                out.u32(want.all);
                write_ids(&mut out, &want.heads);
                write_ids(&mut out, &want.older);
                out.bytes(&want.after.0);
            }
            Self::Ops(ops) => {
                out.u8(2);
                out.bytes(&ops.log.0);
                out.u32(ops.number);
                out.bytes(&ops.hash);
                out.flag(ops.more);
                out.u16(u16::try_from(ops.operations.len()).unwrap_or(u16::MAX));
                for operation in &ops.operations {
                    out.u16(u16::try_from(operation.len()).unwrap_or(u16::MAX));
                    out.bytes(operation);
                }
            }
        }
        out
    }

    /// Reads a message. The operations in it are not looked at yet.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are not exactly one message.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > MAX_ANSWER_LEN {
            return Err(DecodeError::TooLong);
        }
        Reader::whole(bytes, |reader| {
            let kind = reader.u8()?;
            let (log, number, hash) = (OperationId(*reader.array()?), reader.u32()?, *reader.array()?);
            match kind {
                1 => {
                    let all = reader.u32()?;
                    let heads = ids(reader, MAX_PARENTS)?;
                    let named = usize::try_from(all).unwrap_or(usize::MAX).min(MAX_PARENTS);
                    if heads.is_empty() || heads.len() != named || !heads.is_sorted_by(|a, b| a < b) {
                        return Err(DecodeError::Invalid);
                    }
                    let older = ids(reader, MAX_OLDER_IDS)?;
                    Ok(Self::Want(Want { number, log, hash, all, heads, older, after: OperationId(*reader.array()?) }))
                }
                2 => {
                    let (more, count) = (reader.flag()?, usize::from(reader.u16()?));
                    if count > MAX_ANSWER_OPERATIONS {
                        return Err(DecodeError::TooLong);
                    }
                    let mut operations = Vec::new();
                    for _ in 0..count {
                        let len = usize::from(reader.u16()?);
                        if len > MAX_OPERATION_LEN {
                            return Err(DecodeError::TooLong);
                        }
                        operations.push(reader.slice(len)?.to_vec());
                    }
                    Ok(Self::Ops(Ops { number, log, hash, more, operations }))
                }
                _ => Err(DecodeError::Invalid),
            }
        })
    }
}

impl Log {
    /// 16 bytes over the heads of what counts, to compare replicas.
    pub fn heads_hash(&self) -> HeadsHash {
        let heads: Vec<u8> = self.heads().iter().flat_map(|head| head.0).collect();
        kdf::truncate(&kdf::hash(Label::LogHeads, &[&self.id.0, &heads]))
    }

    pub(super) fn want(&self, number: u32, after: OperationId) -> Want {
        let mut heads = self.heads();
        let all = count(heads.len());
        heads.truncate(MAX_PARENTS);
        let index = &self.roster.index;
        let mut older = Vec::new();
        // At distances 1, 2, 4 and so on from the newest.
        for distance in (0..MAX_OLDER_IDS).map(|power| 1_u32 << power) {
            let Some(from) = index.len().checked_sub(distance.saturating_add(1)) else { break };
            let kept = (0..=from).rev().find_map(|at| index.get(at).filter(|entry| entry.is(KEPT)));
            if let Some(entry) = kept.filter(|entry| !older.contains(&entry.id)) {
                older.push(entry.id);
            }
        }
        Want { number, log: self.id, hash: self.heads_hash(), all, heads, older, after }
    }

    /// What a peer lacks that has sent this, from where the answer before ended.
    pub(super) fn answer(&self, want: &Want, hash: HeadsHash) -> Ops {
        let index = &self.roster.index;
        let known = want.heads.iter().chain(&want.older).filter_map(|id| index.find(id));
        let known: Vec<At> = known.filter(|&at| index.is(at, KEPT)).chain([0]).collect();
        let view = View { index, overlay: None };
        // Below the greatest base of what both have, both have all.
        let floor = known.iter().filter_map(|&at| index.get(at)).map(|entry| entry.base).max().unwrap_or(0);
        let theirs = view.past(&known, floor, u64::MAX);
        let after = index.find(&want.after).map_or(0, |at| at.saturating_add(1));
        let (mut operations, mut len, mut more) = (Vec::new(), 64_usize, false);
        for at in floor.max(after)..index.len() {
            let Some(entry) = index.get(at).filter(|entry| entry.is(KEPT)) else { continue };
            if theirs.as_ref().is_some_and(|(theirs, _)| theirs.has(at)) {
                continue;
            }
            let next = len.saturating_add(entry.bytes.len()).saturating_add(2);
            if operations.len() >= MAX_ANSWER_OPERATIONS || next > MAX_ANSWER_LEN {
                more = true;
                break;
            }
            len = next;
            operations.push(entry.bytes.to_vec());
        }
        Ops { number: want.number, log: self.id, hash, more, operations }
    }

    /// What is new, for peers that have not asked: these operations, as many as fit.
    pub fn announcement(&self, ids: &[OperationId]) -> Vec<u8> {
        let mut len = 64_usize;
        let fits = |bytes: &&[u8]| {
            len = len.saturating_add(bytes.len()).saturating_add(2);
            len <= MAX_ANSWER_LEN
        };
        let found = ids.iter().filter_map(|id| self.operation(id)).take(MAX_ANSWER_OPERATIONS);
        let operations = found.take_while(fits).map(<[u8]>::to_vec).collect();
        LogMessage::Ops(Ops { number: 0, log: self.id, hash: self.heads_hash(), more: false, operations }).encode()
    }

    /// Whether a want under another hash names a head that is not kept here, or has more heads than it names.
    pub(super) fn lacks(&self, want: &Want) -> bool {
        place(want.all) > want.heads.len() || want.heads.iter().any(|head| !self.is_kept(head))
    }

    /// A head that a want names and that is not here at all.
    pub(super) fn missing_head(&self, want: &Want) -> Option<OperationId> {
        want.heads.iter().find(|head| !self.contains(head)).copied()
    }
}
