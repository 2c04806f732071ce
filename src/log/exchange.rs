//! Brings replicas of a log to the same operations, over anything that carries bytes: it may lose, double and reorder them.
//!
//! Nothing of it is stored. While what a peer has is not known to be what is here, one question is open to it, and is repeated
//! less and less often until the answer says so.
//!
//! ```text
//!            hash differs                      answer, and more to come
//! Agreed ------------------> Asking(attempt) ----------------------------> Asking(0, after the last one)
//!   ^                          |   ^  |
//!   |  the peer's hash is ours |   |  | no answer, or nothing taken: 2, 4, 8 ... 3600 s later
//!   +--------------------------+   +--+
//! ```

use super::author::Authors;
use super::membership::{Log, Outcome, Receiving};
use super::messages::{HeadsHash, LogMessage, Ops, Want};
use super::operation::Operation;
use super::plan::{Intake, Verdict};
use super::record::LogRecord;
use crate::error::{DecodeError, OperationError};
use crate::keys::{OperationId, PeerId, UnixTime};
use crate::limits::{MAX_ANSWER_LEN, MAX_EVALUATION_STEPS, MAX_IDLE_PARTS};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Seconds before a question is repeated for the first time, and at most.
const FIRST_REPEAT: u64 = 2;
const LAST_REPEAT: u64 = 3_600;
/// Seconds after which a question that is put off follows all the same on one by which the peer names again what is not here.
const REMINDED: u64 = 600;
/// Repetitions after which a peer is not expected to end what it began to send.
const PATIENCE: u32 = 5;
/// Answers of full length that a peer gets at once, and again each day: 64 MiB, a whole log of ordinary operations.
const ANSWERS: u64 = 128;
const DAY: u64 = 86_400;
/// What an answer counts for at least: it is searched for, even if nothing is found.
const LEAST_ANSWER: u64 = 4_096;

/// What is known of one peer.
#[derive(Debug)]
struct Peer {
    /// The hash of which both have said that it is theirs.
    agreed: Option<HeadsHash>,
    /// The number of the open question, and its repetitions so far.
    number: u32,
    attempt: u32,
    /// Whether it has not been answered. One answer counts.
    open: bool,
    /// Parts of its answer in a row of which nothing was taken.
    idle: u32,
    /// Answers in a row that ended without anything that was taken.
    fruitless: u32,
    /// When it was asked last, and is asked next.
    asked: UnixTime,
    next: UnixTime,
    /// The last operation of an answer that goes on.
    after: OperationId,
    /// What its operations may still cost, as of when.
    budget: u64,
    /// Bytes that it may still be sent, as of when.
    answers: u64,
    since: UnixTime,
    deferred: bool,
    /// The hash under which its question named a head that was not here, and that head.
    named: Option<(HeadsHash, OperationId)>,
    /// The hash of its last question that named what is not kept here.
    heard: Option<HeadsHash>,
}

impl Peer {
    fn new(now: UnixTime) -> Self {
        Self {
            agreed: None,
            number: 0,
            attempt: 0,
            open: false,
            idle: 0,
            fruitless: 0,
            asked: UnixTime(0),
            next: now,
            after: OperationId::NONE,
            budget: MAX_EVALUATION_STEPS,
            answers: ANSWERS.saturating_mul(most()),
            since: now,
            deferred: false,
            named: None,
            heard: None,
        }
    }

    fn refill(&mut self, now: UnixTime) {
        let seconds = now.0.saturating_sub(self.since.0);
        if seconds == 0 {
            return;
        }
        self.since = now;
        let steps = (MAX_EVALUATION_STEPS / 60).saturating_mul(seconds);
        self.budget = self.budget.saturating_add(steps).min(MAX_EVALUATION_STEPS);
        let all = ANSWERS.saturating_mul(most());
        self.answers = self.answers.saturating_add((all / DAY).saturating_mul(seconds)).min(all);
    }

    /// Whether this is the answer to the open question.
    fn is_answer(&self, ops: &Ops) -> bool {
        self.open && ops.number == self.number
    }

    /// Its answer has ended: the next question is about everything again.
    fn end(&mut self) {
        (self.after, self.idle) = (OperationId::NONE, 0);
    }

    /// Its answer has ended and nothing was taken: each time it takes longer until the next question, over however many parts.
    fn back_off(&mut self, now: UnixTime) {
        let before = self.fruitless;
        self.fruitless = before.saturating_add(1);
        if self.attempt <= before {
            (self.attempt, self.next) = (self.fruitless, now.plus(wait(before)));
        }
    }

    /// The next question follows at once.
    fn ask_soon(&mut self, now: UnixTime) {
        (self.attempt, self.next) = (0, now);
    }
}

/// Seconds until a question is repeated that has been repeated so often.
fn wait(attempt: u32) -> u64 {
    FIRST_REPEAT.saturating_mul(1 << attempt.min(11)).min(LAST_REPEAT)
}

fn most() -> u64 {
    u64::try_from(MAX_ANSWER_LEN).unwrap_or(u64::MAX)
}

/// The exchange of one log with its peers.
#[derive(Debug, Default)]
pub struct Exchange {
    peers: BTreeMap<PeerId, Peer>,
}

/// A message that came, and what becomes of the log with it: store the record, then commit. Dropping it changes nothing in the
/// log.
#[derive(Debug)]
#[must_use = "nothing has changed before the commit"]
pub struct Incoming<'a> {
    peer: &'a mut Peer,
    now: UnixTime,
    receiving: Receiving<'a>,
    ops: Option<(Ops, OperationId)>,
}

/// What a message has brought.
#[derive(Debug)]
#[non_exhaustive]
pub struct Exchanged {
    /// What has changed in the log.
    pub outcome: Outcome,
    /// Whether it was the end of an answer that has brought nothing, under the hash under which the peer itself has named a head that
    /// is not here: it withholds operations, or has invented what it has named.
    pub withheld: bool,
}

impl Incoming<'_> {
    /// What has to be stored first, if anything.
    pub fn record(&self) -> Option<LogRecord> {
        self.receiving.record()
    }

    /// Takes it. Can't fail. [`Exchange::poll`] says what to send now.
    pub fn commit(self) -> Exchanged {
        let Self { peer, now, mut receiving, ops } = self;
        let verdicts = receiving.verdicts();
        let brought = verdicts.iter().any(|verdict| !matches!(verdict, Verdict::Known | Verdict::Refused(_)));
        let taken = verdicts.contains(&Verdict::Taken);
        // An account that is not known yet is nobody's fault.
        let unknown = |verdict: &Verdict| matches!(verdict, Verdict::Refused(OperationError::UnknownAuthor(_)));
        let idle = !brought && !verdicts.iter().any(unknown);
        peer.deferred |= verdicts.contains(&Verdict::OverBudget);
        let answers = ops.as_ref().is_some_and(|(ops, _)| peer.is_answer(ops));
        if taken {
            peer.fruitless = 0;
        }
        let mut goes_on = false;
        if let Some((ops, last)) = ops.as_ref().filter(|_| answers) {
            peer.open = false;
            peer.idle = if taken { 0 } else { peer.idle.saturating_add(1) };
            goes_on = ops.more && peer.idle < MAX_IDLE_PARTS;
            if goes_on {
                peer.after = *last;
            } else {
                receiving.end();
                peer.end();
            }
        }
        let theirs = ops.map(|(ops, _)| (ops.number, ops.hash));
        let missing = peer.named.filter(|(_, head)| receiving.is_missing(head)).map(|(hash, _)| hash);
        let (outcome, hash) = receiving.commit_with_hash(theirs.map(|(_, hash)| hash));
        peer.budget = peer.budget.saturating_sub(outcome.spent);
        let mut withheld = false;
        if let Some((number, theirs)) = theirs {
            if theirs == hash {
                peer.agreed = Some(hash);
                peer.fruitless = 0;
                peer.end();
            } else if goes_on || (answers && taken) {
                peer.ask_soon(now);
            } else if answers {
                // Asked again when it is due: what has come waits, or is here, or can't be checked yet.
                withheld = idle && missing == Some(theirs);
                peer.back_off(now);
            } else if taken || (brought && number == 0) {
                // Not an answer: what it builds on may be missing.
                peer.next = peer.next.min(now);
            }
        }
        Exchanged { outcome, withheld }
    }
}

impl Exchange {
    /// Without peers.
    pub fn new() -> Self {
        Self::default()
    }

    /// A peer with whom the log is exchanged from now on.
    pub fn add_peer(&mut self, peer: PeerId, now: UnixTime) {
        self.peers.entry(peer).or_insert_with(|| Peer::new(now));
    }

    /// Forgets a peer.
    pub fn remove_peer(&mut self, peer: &PeerId) {
        self.peers.remove(peer);
    }

    /// Whether a peer has said that it has what is here.
    pub fn agrees(&self, peer: &PeerId, log: &Log) -> bool {
        self.peers.get(peer).is_some_and(|peer| peer.agreed == Some(log.heads_hash()))
    }

    /// Something else has told what a peer has: each of its messages can.
    pub fn heard(&mut self, peer: &PeerId, hash: HeadsHash, now: UnixTime) {
        if let Some(peer) = self.peers.get_mut(peer).filter(|peer| peer.agreed != Some(hash)) {
            peer.agreed = None;
            peer.next = peer.next.min(now);
        }
    }

    /// The questions that are due. Call it after each change, and when time has passed.
    pub fn poll(&mut self, log: &mut Log, now: UnixTime) -> Vec<(PeerId, Vec<u8>)> {
        let hash = log.heads_hash();
        let mut messages = Vec::new();
        for (&id, peer) in &mut self.peers {
            if peer.agreed == Some(hash) {
                continue;
            }
            if peer.agreed.take().is_some() {
                // Something has just come or been written: what was announced to the peer has time to reach it.
                (peer.attempt, peer.next) = (0, now.plus(FIRST_REPEAT));
            }
            if now < peer.next {
                continue;
            }
            if peer.attempt >= PATIENCE {
                peer.end();
                log.waiting.set_unfinished(id, false);
            }
            peer.number = peer.number.checked_add(1).unwrap_or(1);
            peer.open = true;
            (peer.asked, peer.next) = (now, now.plus(wait(peer.attempt)));
            peer.attempt = peer.attempt.saturating_add(1);
            messages.push((id, LogMessage::Want(log.want(peer.number, peer.after)).encode()));
        }
        messages
    }

    /// Seconds until the next question is due, if any is open.
    pub fn next(&self, log: &Log) -> Option<UnixTime> {
        let hash = log.heads_hash();
        self.peers.values().filter(|peer| peer.agreed != Some(hash)).map(|peer| peer.next).min()
    }

    /// Answers a question. `None` for a peer that is not exchanged with, or has been sent enough for today.
    pub fn answer(&mut self, log: &Log, from: &PeerId, want: &Want, now: UnixTime) -> Option<Vec<u8>> {
        let peer = self.peers.get_mut(from)?;
        peer.refill(now);
        if want.log != log.id() || peer.answers < most() {
            return None;
        }
        let hash = log.heads_hash();
        if want.hash == hash {
            peer.agreed = Some(hash);
        } else {
            peer.agreed = None;
            if log.lacks(want) {
                peer.named = log.missing_head(want).map(|head| (want.hash, head));
                // Two that can't take what the other has do not go on asking each other.
                let new = peer.heard.replace(want.hash) != Some(want.hash);
                peer.next = peer.next.min(if new { now } else { peer.asked.plus(REMINDED) });
            }
        }
        let answer = LogMessage::Ops(log.answer(want, hash)).encode();
        peer.answers = peer.answers.saturating_sub(u64::try_from(answer.len()).unwrap_or(u64::MAX).max(LEAST_ANSWER));
        Some(answer)
    }

    /// Takes operations that a peer has sent. `None` for a peer that is not exchanged with, or for another log's.
    pub fn receive<'a>(
        &'a mut self,
        log: &'a mut Log,
        authors: &dyn Authors,
        from: &PeerId,
        ops: Ops,
        now: UnixTime,
    ) -> Option<Incoming<'a>> {
        let peer = self.peers.get_mut(from).filter(|_| ops.log == log.id())?;
        peer.refill(now);
        // What is no answer does not end one.
        let unfinished = if peer.is_answer(&ops) { ops.more } else { peer.after != OperationId::NONE };
        let intake = Intake { peer: *from, budget: peer.budget, unfinished };
        let operations: Vec<&[u8]> = ops.operations.iter().map(Vec::as_slice).collect();
        let last = operations.last().and_then(|bytes| Operation::decode(bytes).ok()).map(|operation| operation.id());
        let receiving = log.receive(&operations, authors, intake);
        let ops = Some((ops, last.unwrap_or(OperationId::NONE)));
        Some(Incoming { peer, now, receiving, ops })
    }

    /// Judges what a peer has brought beyond its budget, when there is some again. Call it from time to time.
    pub fn resume<'a>(&'a mut self, log: &'a mut Log, now: UnixTime) -> Option<Incoming<'a>> {
        let ready = |peer: &mut Peer| {
            peer.refill(now);
            peer.deferred && peer.budget >= MAX_EVALUATION_STEPS / 2
        };
        let (id, peer) = self.peers.iter_mut().find_map(|(id, peer)| ready(peer).then_some((*id, peer)))?;
        peer.deferred = false;
        let unfinished = peer.after != OperationId::NONE;
        let receiving = log.resume(Intake { peer: id, budget: peer.budget, unfinished });
        Some(Incoming { peer, now, receiving, ops: None })
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`DecodeError`]: who sent it is at fault.
    pub fn decode(bytes: &[u8]) -> Result<LogMessage, DecodeError> {
        LogMessage::decode(bytes)
    }
}
