//! Receiving: where a tag belongs, which keys that takes, and what it leaves behind.

use crate::crypto::aead;
use crate::keys::UnixTime;
use crate::limits::{MAX_CHAIN_LEN, MAX_JUMP, MAX_SKIPPED};
use crate::ratchet::chain::{ChainKeys, TagSink, kdf_ck};
use crate::ratchet::kem::KemRatchet;
use crate::ratchet::root::kdf_rk;
use crate::ratchet::skipped::{SkippedDelta, SkippedKey, SkippedKeys};
use crate::ratchet::state::{Line, Ratchet, Remote, Sending};
use crate::secret::{Guarded, Secret, guarded};
use crate::wire::fragment::Fragments;
use crate::wire::sealed::{Header, Tag};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;
use core::ops::Range;

/// Where a tag was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Among the skipped keys.
    Skipped(u64),
    /// In the current receiving chain.
    Current,
    /// In the chain after it.
    Next,
    /// Opened before.
    Spent,
}

/// What opening a message changes.
#[derive(Debug)]
pub(crate) struct ReceiveStep {
    turn: Option<Box<ReceiveTurn>>,
    advance: Advance,
    skipped: SkippedDelta,
    kem: KemRatchet,
    /// Whether no later message was opened before.
    newest: bool,
}

#[derive(Debug)]
struct Advance {
    chain_key: Guarded<32>,
    /// Where the current chain then stands, if it goes on.
    next: Option<u32>,
}

#[derive(Debug)]
struct ReceiveTurn {
    root_key: Secret<32>,
    remote: Remote,
    sending: Sending,
    /// Where the finished chain ends.
    finished: u32,
    lines: LineChange,
}

/// Forwards a line comes; backwards it goes, and the one it pushed out returns.
#[derive(Debug)]
enum LineChange {
    Push(Line),
    Pop(Option<Line>),
}

/// Why an authentic header can't be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReceiveError {
    Duplicate,
    TooFarAhead,
    Diverged,
    Violation,
}

impl ReceiveStep {
    /// How far the peer's chain has come with the message, if that changes.
    pub(crate) fn received(&self) -> Option<u32> {
        self.advance.next
    }

    /// Changes nothing: [`Ratchet::plan_receive`] fills it where it stays.
    pub(crate) fn empty() -> Self {
        Self {
            turn: None,
            advance: Advance { chain_key: guarded(), next: None },
            skipped: SkippedDelta::default(),
            kem: KemRatchet::empty(),
            newest: false,
        }
    }

    /// Takes the chain to the message at `n`, of which this is the chain key.
    fn advance_to(&mut self, n: u32, chain_key: &Guarded<32>, message_key: &mut Guarded<32>) {
        kdf_ck(chain_key, &mut self.advance.chain_key, message_key);
        self.advance.next = Some(n.saturating_add(1));
        self.newest = true;
    }

    /// Message keys lost to the bound on skipped keys.
    pub(crate) fn lost(&self) -> u32 {
        self.skipped.lost
    }

    /// Takes in the fragments of the message, now that its body has opened; whether all were good.
    pub(crate) fn take_in(&mut self, fragments: &Fragments<'_>) -> bool {
        self.kem.take_in(fragments, self.newest)
    }

    /// How many KEM secrets are mixed in with the message, as [`Ratchet::kem_epochs`].
    pub(crate) fn kem_epochs(&self) -> (u32, u32) {
        (self.kem.sent_epoch(), self.kem.received_epoch())
    }

    /// How many keys of skipped messages there are then.
    pub(crate) fn skipped_after(&self, before: usize) -> usize {
        self.skipped.count_after(before)
    }

    pub(crate) fn changed_blocks(&self) -> impl Iterator<Item = u64> {
        self.skipped.changed_blocks()
    }
}

impl Ratchet {
    /// Where a tag belongs, if it is recognised. A few comparisons with public values; no key is used.
    pub(crate) fn locate(&self, tag: &Tag) -> Option<Place> {
        if let Some(sequence) = self.skipped.find(tag) {
            return Some(Place::Skipped(sequence));
        }
        let (index, n) =
            self.lines.iter().enumerate().rev().find_map(|(i, line)| line.window.find(tag).map(|n| (i, n)))?;
        let line = self.lines.get(index)?;
        let place = if index.saturating_add(1) == self.lines.len() { Place::Next } else { Place::Current };
        Some(if n < line.next { Place::Spent } else { place })
    }

    /// The keys with which the header of a message at this place opens.
    pub(crate) fn keys_at(&self, place: Place) -> Option<&ChainKeys> {
        match place {
            Place::Skipped(sequence) => self.skipped.chain(self.skipped.get(sequence)?.chain),
            Place::Current => self.current_line().map(|line| &line.keys),
            Place::Next => self.next_line().map(|line| &line.keys),
            Place::Spent => None,
        }
    }

    /// Whether a tag is that of this position at this place. Those in the windows are there already.
    pub(crate) fn is_tag(&self, place: Place, n: u32, tag: &Tag) -> bool {
        let line = match place {
            Place::Current => self.current_line(),
            Place::Next => self.next_line(),
            Place::Skipped(_) | Place::Spent => None,
        };
        match line.and_then(|line| line.window.at(n)) {
            Some(known) => aead::equal(&known.0, &tag.0),
            None => self.keys_at(place).is_some_and(|keys| keys.is_tag(n, tag)),
        }
    }

    /// Plans to take in the message of an authentic header, found at this place: what it changes, and its key. Whether it
    /// begins the peer's next chain, which proves that the peer has opened a message of ours.
    pub(crate) fn plan_receive(
        &self,
        place: Place,
        header: &Header,
        now: UnixTime,
        step: &mut ReceiveStep,
        message_key: &mut Guarded<32>,
    ) -> Result<bool, ReceiveError> {
        match place {
            Place::Spent => return Err(ReceiveError::Duplicate),
            Place::Skipped(sequence) => {
                let key = self.skipped.get(sequence).ok_or(ReceiveError::Duplicate)?;
                step.kem = self.kem.clone();
                step.skipped = SkippedDelta::using(sequence);
                message_key.copy_from_slice(key.key.expose());
            }
            Place::Current => self.plan_current(header, now, step, message_key)?,
            Place::Next => self.plan_turn(header, now, step, message_key)?,
        }
        Ok(place == Place::Next)
    }

    fn plan_current(
        &self,
        header: &Header,
        now: UnixTime,
        step: &mut ReceiveStep,
        message_key: &mut Guarded<32>,
    ) -> Result<(), ReceiveError> {
        let index = self.current_index().ok_or(ReceiveError::Diverged)?;
        let line = self.lines.get(index).ok_or(ReceiveError::Diverged)?;
        // What was opened or passed over, whatever else its header says: replayed for ever, it asks for nothing.
        let jump = header.n.checked_sub(line.next).ok_or(ReceiveError::Duplicate)?;
        if header.ratchet_key != self.remote.key {
            return Err(ReceiveError::Diverged);
        }
        if header.kem_epoch != self.kem.received_epoch() {
            return Err(ReceiveError::Violation);
        }
        check_jump(header.n, jump)?;
        step.kem = self.kem.clone();
        let (mut skip, mut chain_key) = (Skip::at(now), guarded());
        chain_key.copy_from_slice(self.chain_key.expose());
        skip.run(self.line_number(index), &line.keys, &self.context, &mut chain_key, line.next..header.n);
        step.advance_to(header.n, &chain_key, message_key);
        step.skipped = skip.plan(&self.skipped);
        Ok(())
    }

    fn plan_turn(
        &self,
        header: &Header,
        now: UnixTime,
        step: &mut ReceiveStep,
        message_key: &mut Guarded<32>,
    ) -> Result<(), ReceiveError> {
        // Without a key pair of ours that waits, the peer answers to something that we have forgotten.
        let Sending::Active { key_pair, n, .. } = &self.sending else { return Err(ReceiveError::Diverged) };
        let next = self.next_line().ok_or(ReceiveError::Diverged)?;
        let (mut skip, mut chain_key) = (Skip::at(now), guarded());
        let (rest, finished) = match self.current_index() {
            None if header.previous_chain_len > 0 => return Err(ReceiveError::Violation),
            None => (0, 0),
            Some(index) => {
                let line = self.lines.get(index).ok_or(ReceiveError::Diverged)?;
                // A peer that fell back within its chain names a smaller length; what it sent twice is lost.
                let end = header.previous_chain_len.max(line.next);
                let rest = end.saturating_sub(line.next);
                check_jump(end.saturating_sub(1), rest.saturating_add(header.n))?;
                chain_key.copy_from_slice(self.chain_key.expose());
                skip.run(self.line_number(index), &line.keys, &self.context, &mut chain_key, line.next..end);
                (rest, end)
            }
        };
        check_jump(header.n, rest.saturating_add(header.n))?;
        let point = header.ratchet_key.point();
        let dh = key_pair.agree(&point).ok_or(ReceiveError::Violation)?;
        step.kem = self.kem.clone();
        let mix = step.kem.follow(header.kem_epoch)?;
        let root = kdf_rk(self.root_key.expose(), &dh, mix.as_deref(), &self.context);
        let number = self.line_number(self.lines.len().saturating_sub(1));
        chain_key.copy_from_slice(root.chain_key.expose());
        skip.run(number, &next.keys, &self.context, &mut chain_key, 0..header.n);
        step.advance_to(header.n, &chain_key, message_key);
        step.turn = Some(Box::new(ReceiveTurn {
            root_key: root.root_key,
            remote: Remote { key: header.ratchet_key, point: Some(Box::new(point)) },
            sending: Sending::Idle { previous_chain_len: *n },
            finished,
            lines: LineChange::Push(Line::new(root.next_header_secret.expose(), &self.context)),
        }));
        step.skipped = skip.plan(&self.skipped);
        Ok(())
    }

    /// Exchanges skipped keys with what a plan holds.
    pub(crate) fn swap_skipped(&mut self, delta: &mut SkippedDelta, sink: &mut dyn TagSink) {
        self.skipped.swap(delta, sink);
    }

    /// Exchanges the state with what a plan holds, and tells the sink which tags come and go.
    pub(crate) fn swap_receive(&mut self, step: &mut ReceiveStep, sink: &mut dyn TagSink) {
        self.skipped.swap(&mut step.skipped, sink);
        mem::swap(&mut self.kem, &mut step.kem);
        // Forwards, the new chain becomes current first and then advances; backwards the other way round.
        let forwards = step.turn.as_ref().is_none_or(|turn| matches!(turn.lines, LineChange::Push(_)));
        if !forwards {
            self.swap_advance(&mut step.advance);
        }
        if let Some(turn) = &mut step.turn {
            self.swap_turn(turn, sink);
        }
        if forwards {
            self.swap_advance(&mut step.advance);
        }
        self.refresh_windows(sink);
    }

    fn swap_advance(&mut self, Advance { chain_key, next }: &mut Advance) {
        let index = self.current_index();
        if let (Some(next), Some(line)) = (next, index.and_then(|index| self.lines.get_mut(index))) {
            self.chain_key.swap_guarded(chain_key);
            mem::swap(&mut line.next, next);
        }
    }

    fn swap_turn(&mut self, turn: &mut ReceiveTurn, sink: &mut dyn TagSink) {
        self.root_key.swap(&mut turn.root_key);
        mem::swap(&mut self.remote, &mut turn.remote);
        mem::swap(&mut self.sending, &mut turn.sending);
        turn.lines = match mem::replace(&mut turn.lines, LineChange::Pop(None)) {
            LineChange::Push(line) => {
                self.swap_finished(&mut turn.finished);
                let mut oldest = if self.lines.len() >= 3 { self.lines.pop_front() } else { None };
                if let Some(oldest) = &mut oldest {
                    self.first_line = self.first_line.saturating_add(1);
                    oldest.window.clear(sink);
                }
                self.lines.push_back(line);
                LineChange::Pop(oldest)
            }
            LineChange::Pop(oldest) => {
                let newest = self.lines.pop_back();
                if let Some(oldest) = oldest {
                    self.first_line = self.first_line.saturating_sub(1);
                    self.lines.push_front(oldest);
                }
                self.swap_finished(&mut turn.finished);
                match newest {
                    Some(mut newest) => {
                        newest.window.clear(sink);
                        LineChange::Push(newest)
                    }
                    None => LineChange::Pop(None),
                }
            }
        };
    }

    /// Exchanges the position of the line that is current before the turn.
    fn swap_finished(&mut self, finished: &mut u32) {
        let index = self.current_index();
        if let Some(line) = index.and_then(|index| self.lines.get_mut(index)) {
            mem::swap(&mut line.next, finished);
        }
    }
}

/// Refuses positions beyond a chain's end and jumps beyond the bound.
pub(crate) fn check_jump(end: u32, jump: u32) -> Result<(), ReceiveError> {
    if end >= MAX_CHAIN_LEN {
        return Err(ReceiveError::Violation);
    }
    if jump > MAX_JUMP { Err(ReceiveError::TooFarAhead) } else { Ok(()) }
}

/// Message keys that are passed over on the way.
pub(crate) struct Skip {
    now: UnixTime,
    keys: Vec<SkippedKey>,
    chains: Vec<(u64, ChainKeys)>,
    /// Keys that no bound could have kept.
    lost: u32,
}

impl Skip {
    /// None yet; those that come are passed over now.
    pub(crate) fn at(now: UnixTime) -> Self {
        Self { now, keys: Vec::new(), chains: Vec::new(), lost: 0 }
    }

    /// Derives the keys of a range, and takes the chain key behind it. Only as many as could be kept are kept.
    pub(crate) fn run(
        &mut self,
        chain: u64,
        line: &ChainKeys,
        context: &[u8; 32],
        chain_key: &mut Guarded<32>,
        range: Range<u32>,
    ) {
        if range.is_empty() {
            return;
        }
        self.chains.push((chain, ChainKeys::derive(line.secret().expose(), context)));
        let keep_from = range.end.saturating_sub(u32::try_from(MAX_SKIPPED).unwrap_or(u32::MAX));
        let (mut next, mut message_key) = (guarded(), guarded());
        for n in range {
            kdf_ck(chain_key, &mut next, &mut message_key);
            chain_key.copy_from_slice(next.as_slice());
            if n < keep_from {
                self.lost = self.lost.saturating_add(1);
            } else {
                self.keys.push(SkippedKey {
                    tag: line.tag(n),
                    chain,
                    n,
                    since: self.now,
                    key: Secret::new(&message_key),
                });
            }
        }
    }

    /// Plans to keep the keys.
    pub(crate) fn plan(self, kept: &SkippedKeys) -> SkippedDelta {
        kept.plan(self.keys, self.chains, self.lost)
    }
}
