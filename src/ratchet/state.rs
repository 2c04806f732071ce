//! The ratchet's state and its steps.
//!
//! ```text
//!             send: draw a key pair, root step
//!        Idle ─────────────────────────────────▶ Active ⟲ send: chain step
//!          ▲                                       │
//!          └───────────────────────────────────────┘
//!            receive the next chain: root step, wipe the key pair
//! ```
//!
//! Planning (`plan_*`) takes `&self` and changes nothing; [`Ratchet::swap_send`] and [`Ratchet::swap_receive`] exchange
//! what a plan changes with what was there. They can't fail, and doing them twice does nothing: whoever could not store
//! the new state swaps back.

use crate::codec::{Reader, Write};
use crate::crypto::aead;
use crate::crypto::dh::DhPrivate;
use crate::error::{DecodeError, HandshakeError, SealError};
use crate::keys::{DhKeyPair, DhPublic};
use crate::limits::{MAX_CHAIN_LEN, MAX_JUMP, MAX_SKIPPED, NEXT_TAG_WINDOW, SPENT_WINDOW, TAG_WINDOW};
use crate::ratchet::chain::{ChainKeys, HeaderSecret, TagSink, TagWindow, kdf_ck};
use crate::ratchet::root::{RootStep, kdf_rk};
use crate::ratchet::skipped::{SkippedDelta, SkippedKey, SkippedKeys};
use crate::secret::{Guarded, GuardedVec, Secret, guarded};
use crate::wire::sealed::{Header, Tag};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::mem;
use core::ops::Range;
use rand_core::CryptoRng;

/// What the handshake hands to the ratchet.
pub(crate) struct InitialSecrets {
    pub(crate) root_key: Guarded<32>,
    /// Header secret of the initiator's first chain.
    pub(crate) initiator_header: Guarded<32>,
    /// Header secret of the responder's first chain.
    pub(crate) responder_header: Guarded<32>,
    /// What every message is bound to.
    pub(crate) context: [u8; 32],
}

/// The sending side.
#[derive(Debug)]
enum Sending {
    /// The peer's ratchet key is newer than ours: the next message begins a chain.
    Idle { previous_chain_len: u32 },
    /// A chain is going, at least one message long; the key pair waits for the peer's next chain.
    Active { key_pair: DhKeyPair, keys: ChainKeys, chain_key: Secret<32>, n: u32, previous_chain_len: u32 },
}

/// A receiving chain as far as its header secret reaches.
#[derive(Debug)]
struct Line {
    keys: ChainKeys,
    /// Position of the first message that is neither opened nor skipped.
    next: u32,
    window: TagWindow,
}

impl Line {
    fn new(secret: &[u8; 32], context: &[u8; 32]) -> Self {
        Self { keys: ChainKeys::derive(secret, context), next: 0, window: TagWindow::default() }
    }
}

/// One side of a session.
///
/// Invariant: `lines` holds, oldest first, the previous chain (if any), the current one (if any), and the one that comes
/// next; `chain_key` belongs to the current line, `remote` is its ratchet key (before the first: the signed prekey).
#[derive(Debug)]
pub(crate) struct Ratchet {
    context: [u8; 32],
    root_key: Secret<32>,
    remote: DhPublic,
    sending: Sending,
    next_send: HeaderSecret,
    lines: VecDeque<Line>,
    /// Number of the first line; they ascend by one.
    first_line: u64,
    chain_key: Secret<32>,
    skipped: SkippedKeys,
}

/// A planned message to send: what to encrypt it with.
pub(crate) struct Outgoing {
    pub(crate) message_key: Guarded<32>,
    pub(crate) header_key: Guarded<32>,
    pub(crate) tag: Tag,
    pub(crate) ratchet_key: DhPublic,
    pub(crate) previous_chain_len: u32,
    pub(crate) n: u32,
}

/// What sending a message changes.
#[derive(Debug)]
pub(crate) enum SendStep {
    /// One step of the chain.
    Advance { chain_key: Guarded<32>, n: u32 },
    /// A new chain.
    Turn(alloc::boxed::Box<SendTurn>),
}

/// A new sending chain.
#[derive(Debug)]
pub(crate) struct SendTurn {
    root_key: Guarded<32>,
    sending: Sending,
    next_send: HeaderSecret,
}

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

/// A planned message to open.
pub(crate) struct Incoming {
    pub(crate) message_key: Guarded<32>,
    pub(crate) step: ReceiveStep,
    /// Whether it begins the peer's next chain, which proves that the peer has opened a message of ours.
    pub(crate) begins_chain: bool,
}

/// What opening a message changes.
#[derive(Debug)]
pub(crate) struct ReceiveStep {
    turn: Option<ReceiveTurn>,
    advance: Option<Advance>,
    skipped: SkippedDelta,
}

#[derive(Debug)]
struct Advance {
    chain_key: Guarded<32>,
    /// Where the current chain then stands.
    next: u32,
}

#[derive(Debug)]
struct ReceiveTurn {
    root_key: Guarded<32>,
    remote: DhPublic,
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
    /// Message keys lost to the bound on skipped keys.
    pub(crate) fn lost(&self) -> u32 {
        self.skipped.lost
    }

    pub(crate) fn changed_blocks(&self) -> impl Iterator<Item = u64> {
        self.skipped.changed_blocks()
    }
}

impl Ratchet {
    /// The initiator's side: it will begin its first chain against the peer's signed prekey.
    pub(crate) fn initiator(secrets: &InitialSecrets, signed_prekey: DhPublic) -> Self {
        let mut ratchet = Self {
            context: secrets.context,
            root_key: Secret::new(&secrets.root_key),
            remote: signed_prekey,
            sending: Sending::Idle { previous_chain_len: 0 },
            next_send: HeaderSecret::new(&secrets.initiator_header),
            lines: VecDeque::from([Line::new(&secrets.responder_header, &secrets.context)]),
            first_line: 0,
            chain_key: Secret::new(&[0; 32]),
            skipped: SkippedKeys::default(),
        };
        ratchet.refresh_windows(&mut ());
        ratchet
    }

    /// The responder's side, from the first header it opens. Its own first ratchet key pair was the signed prekey.
    pub(crate) fn responder(
        secrets: &InitialSecrets,
        initiator_keys: ChainKeys,
        signed_prekey: &DhPrivate,
        header: &Header,
    ) -> Result<Self, ReceiveError> {
        let dh = signed_prekey.agree(&header.ratchet_key.0).ok_or(ReceiveError::Violation)?;
        let step = kdf_rk(&secrets.root_key, &dh, &[], &secrets.context);
        let first = Line { keys: initiator_keys, next: 0, window: TagWindow::default() };
        let mut ratchet = Self {
            context: secrets.context,
            root_key: Secret::new(&step.root_key),
            remote: header.ratchet_key,
            sending: Sending::Idle { previous_chain_len: 0 },
            next_send: HeaderSecret::new(&secrets.responder_header),
            lines: VecDeque::from([first, Line::new(&step.next_header_secret, &secrets.context)]),
            first_line: 0,
            chain_key: Secret::new(&step.chain_key),
            skipped: SkippedKeys::default(),
        };
        ratchet.refresh_windows(&mut ());
        Ok(ratchet)
    }

    pub(crate) fn context(&self) -> &[u8; 32] {
        &self.context
    }

    pub(crate) fn skipped(&self) -> &SkippedKeys {
        &self.skipped
    }

    pub(crate) fn skipped_mut(&mut self) -> &mut SkippedKeys {
        &mut self.skipped
    }

    /// Tells a sink of every tag this side recognises.
    pub(crate) fn announce(&self, sink: &mut dyn TagSink) {
        for tag in self.lines.iter().flat_map(|line| line.window.tags()) {
            sink.add(*tag, crate::ratchet::TagSource::Window);
        }
        for tag in self.skipped.tags() {
            sink.add(*tag, crate::ratchet::TagSource::Skipped);
        }
    }

    // --- Sending -------------------------------------------------------------------------------------------------

    /// Plans the next message to send. Draws 32 bytes for a ratchet key when it begins a chain, else nothing.
    pub(crate) fn plan_send<R: CryptoRng + ?Sized>(&self, rng: &mut R) -> Result<(SendStep, Outgoing), SealError> {
        match &self.sending {
            Sending::Idle { previous_chain_len } => self.plan_send_turn(*previous_chain_len, rng),
            Sending::Active { key_pair, keys, chain_key, n, previous_chain_len } => {
                if *n >= MAX_CHAIN_LEN {
                    return Err(SealError::ChainExhausted);
                }
                let step = kdf_ck(chain_key.expose());
                let outgoing = Outgoing {
                    message_key: step.message_key,
                    header_key: copy(keys.header_key()),
                    tag: keys.tag(*n),
                    ratchet_key: *key_pair.public(),
                    previous_chain_len: *previous_chain_len,
                    n: *n,
                };
                Ok((SendStep::Advance { chain_key: step.chain_key, n: n.saturating_add(1) }, outgoing))
            }
        }
    }

    fn plan_send_turn<R: CryptoRng + ?Sized>(
        &self,
        previous_chain_len: u32,
        rng: &mut R,
    ) -> Result<(SendStep, Outgoing), SealError> {
        let key_pair = DhKeyPair::generate(rng);
        // The peer's key was found good when it came.
        let dh = key_pair.agree(&self.remote).ok_or(SealError::Handshake(HandshakeError::WeakKey))?;
        let root = kdf_rk(self.root_key.expose(), &dh, &[], &self.context);
        let keys = ChainKeys::derive(self.next_send.expose(), &self.context);
        let first = kdf_ck(&root.chain_key);
        let outgoing = Outgoing {
            message_key: first.message_key,
            header_key: copy(keys.header_key()),
            tag: keys.tag(0),
            ratchet_key: *key_pair.public(),
            previous_chain_len,
            n: 0,
        };
        let chain_key = Secret::new(&first.chain_key);
        let turn = SendTurn {
            root_key: root.root_key,
            sending: Sending::Active { key_pair, keys, chain_key, n: 1, previous_chain_len },
            next_send: HeaderSecret::new(&root.next_header_secret),
        };
        Ok((SendStep::Turn(alloc::boxed::Box::new(turn)), outgoing))
    }

    /// Exchanges the state with what a plan holds.
    pub(crate) fn swap_send(&mut self, step: &mut SendStep) {
        match step {
            SendStep::Advance { chain_key: new_key, n: new_n } => {
                if let Sending::Active { chain_key, n, .. } = &mut self.sending {
                    chain_key.swap(new_key);
                    mem::swap(n, new_n);
                }
            }
            SendStep::Turn(turn) => {
                self.root_key.swap(&mut turn.root_key);
                mem::swap(&mut self.sending, &mut turn.sending);
                mem::swap(&mut self.next_send, &mut turn.next_send);
            }
        }
    }

    // --- Receiving -----------------------------------------------------------------------------------------------

    fn next_line(&self) -> Option<&Line> {
        self.lines.back()
    }

    fn current_index(&self) -> Option<usize> {
        self.lines.len().checked_sub(2)
    }

    fn current_line(&self) -> Option<&Line> {
        self.lines.get(self.current_index()?)
    }

    fn line_number(&self, index: usize) -> u64 {
        self.first_line.saturating_add(u64::try_from(index).unwrap_or(u64::MAX))
    }

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

    /// Plans to take in the message of an authentic header, found at this place.
    pub(crate) fn plan_receive(&self, place: Place, header: &Header) -> Result<Incoming, ReceiveError> {
        match place {
            Place::Spent => Err(ReceiveError::Duplicate),
            Place::Skipped(sequence) => {
                let key = self.skipped.get(sequence).ok_or(ReceiveError::Duplicate)?;
                let step = ReceiveStep { turn: None, advance: None, skipped: SkippedDelta::using(sequence) };
                Ok(Incoming { message_key: copy(key.key.expose()), step, begins_chain: false })
            }
            Place::Current => self.plan_current(header),
            Place::Next => self.plan_turn(header),
        }
    }

    fn plan_current(&self, header: &Header) -> Result<Incoming, ReceiveError> {
        let index = self.current_index().ok_or(ReceiveError::Diverged)?;
        let line = self.lines.get(index).ok_or(ReceiveError::Diverged)?;
        if header.ratchet_key != self.remote {
            return Err(ReceiveError::Diverged);
        }
        let jump = header.n.checked_sub(line.next).ok_or(ReceiveError::Duplicate)?;
        check_jump(header.n, jump)?;
        let mut skip = Skip::default();
        let chain_key =
            skip.run(self.line_number(index), line, &self.context, self.chain_key.expose(), line.next..header.n);
        let step = kdf_ck(&chain_key);
        let advance = Advance { chain_key: step.chain_key, next: header.n.saturating_add(1) };
        let skipped = self.skipped.plan(skip.keys, skip.chains, skip.lost);
        let step_out = ReceiveStep { turn: None, advance: Some(advance), skipped };
        Ok(Incoming { message_key: step.message_key, step: step_out, begins_chain: false })
    }

    fn plan_turn(&self, header: &Header) -> Result<Incoming, ReceiveError> {
        // Without a key pair of ours that waits, the peer answers to something that we have forgotten.
        let Sending::Active { key_pair, n, .. } = &self.sending else { return Err(ReceiveError::Diverged) };
        let next = self.next_line().ok_or(ReceiveError::Diverged)?;
        let mut skip = Skip::default();
        let (rest, finished) = match self.current_index() {
            None if header.previous_chain_len > 0 => return Err(ReceiveError::Violation),
            None => (0, 0),
            Some(index) => {
                let line = self.lines.get(index).ok_or(ReceiveError::Diverged)?;
                // A peer that fell back within its chain names a smaller length; what it sent twice is lost.
                let end = header.previous_chain_len.max(line.next);
                let rest = end.saturating_sub(line.next);
                check_jump(end.saturating_sub(1), rest.saturating_add(header.n))?;
                skip.run(self.line_number(index), line, &self.context, self.chain_key.expose(), line.next..end);
                (rest, end)
            }
        };
        check_jump(header.n, rest.saturating_add(header.n))?;
        let dh = key_pair.agree(&header.ratchet_key).ok_or(ReceiveError::Violation)?;
        let root: RootStep = kdf_rk(self.root_key.expose(), &dh, &[], &self.context);
        let number = self.line_number(self.lines.len().saturating_sub(1));
        let chain_key = skip.run(number, next, &self.context, &root.chain_key, 0..header.n);
        let step = kdf_ck(&chain_key);
        let turn = ReceiveTurn {
            root_key: root.root_key,
            remote: header.ratchet_key,
            sending: Sending::Idle { previous_chain_len: *n },
            finished,
            lines: LineChange::Push(Line::new(&root.next_header_secret, &self.context)),
        };
        let advance = Advance { chain_key: step.chain_key, next: header.n.saturating_add(1) };
        let skipped = self.skipped.plan(skip.keys, skip.chains, skip.lost);
        let step_out = ReceiveStep { turn: Some(turn), advance: Some(advance), skipped };
        Ok(Incoming { message_key: step.message_key, step: step_out, begins_chain: true })
    }

    /// Exchanges the state with what a plan holds, and tells the sink which tags come and go.
    pub(crate) fn swap_receive(&mut self, step: &mut ReceiveStep, sink: &mut dyn TagSink) {
        self.skipped.swap(&mut step.skipped, sink);
        // Forwards, the new chain becomes current first and then advances; backwards the other way round.
        let forwards = step.turn.as_ref().is_none_or(|turn| matches!(turn.lines, LineChange::Push(_)));
        if !forwards {
            self.swap_advance(step.advance.as_mut());
        }
        if let Some(turn) = &mut step.turn {
            self.swap_turn(turn, sink);
        }
        if forwards {
            self.swap_advance(step.advance.as_mut());
        }
        self.refresh_windows(sink);
    }

    fn swap_advance(&mut self, advance: Option<&mut Advance>) {
        let index = self.current_index();
        if let (Some(advance), Some(line)) = (advance, index.and_then(|index| self.lines.get_mut(index))) {
            self.chain_key.swap(&mut advance.chain_key);
            mem::swap(&mut line.next, &mut advance.next);
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

    /// Makes every line recognise what its role asks for.
    fn refresh_windows(&mut self, sink: &mut dyn TagSink) {
        let count = self.lines.len();
        for (index, line) in self.lines.iter_mut().enumerate() {
            let spent = line.next.saturating_sub(SPENT_WINDOW);
            let range: Range<u32> = match count.saturating_sub(index) {
                1 => 0..NEXT_TAG_WINDOW,
                2 => spent..line.next.saturating_add(TAG_WINDOW),
                _ => spent..line.next,
            };
            line.window.cover(&range, &line.keys, sink);
        }
    }

    // --- Image ---------------------------------------------------------------------------------------------------

    /// Longest image, skipped keys apart.
    pub(crate) const MAX_STATE_LEN: usize = 32 + 32 + 32 + 1 + 104 + 32 + 8 + 1 + 3 * 36 + 32;

    /// Writes everything but the skipped keys:
    ///
    /// ```text
    /// context(32) || root key(32) || remote ratchet key(32)
    ///   || 0(1) || previous chain length(4)                                                     idle
    ///   or 1(1) || ratchet private key(32) || header secret(32) || ck(32) || n(4) || pn(4)      active
    ///   || next sending header secret(32) || number of the first line(8) || lines(1: 1, 2 or 3)
    ///   || (header secret(32) || next(4)) each || receiving ck(32) if there are 2 lines or more
    /// ```
    pub(crate) fn write(&self, out: &mut GuardedVec) {
        out.bytes(&self.context);
        out.bytes(self.root_key.expose());
        out.bytes(&self.remote.0);
        match &self.sending {
            Sending::Idle { previous_chain_len } => {
                out.u8(0);
                out.u32(*previous_chain_len);
            }
            Sending::Active { key_pair, keys, chain_key, n, previous_chain_len } => {
                out.u8(1);
                out.bytes(key_pair.private().expose());
                out.bytes(keys.secret().expose());
                out.bytes(chain_key.expose());
                out.u32(*n);
                out.u32(*previous_chain_len);
            }
        }
        out.bytes(self.next_send.expose());
        out.u64(self.first_line);
        out.u8(u8::try_from(self.lines.len()).unwrap_or(u8::MAX));
        for line in &self.lines {
            out.bytes(line.keys.secret().expose());
            out.u32(line.next);
        }
        if self.lines.len() >= 2 {
            out.bytes(self.chain_key.expose());
        }
    }

    /// Reads what [`Self::write`] wrote. Skipped keys come afterwards, then [`Self::finish_restore`].
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let context = *reader.array()?;
        let root_key = Secret::new(reader.array()?);
        let remote = DhPublic(*reader.array()?);
        let sending = if reader.flag()? {
            let key_pair = DhKeyPair::from_private(DhPrivate::from_bytes(reader.array()?));
            let keys = ChainKeys::derive(reader.array()?, &context);
            let chain_key = Secret::new(reader.array()?);
            let n = position(reader)?;
            if n == 0 {
                return Err(DecodeError::Invalid);
            }
            Sending::Active { key_pair, keys, chain_key, n, previous_chain_len: position(reader)? }
        } else {
            Sending::Idle { previous_chain_len: position(reader)? }
        };
        let next_send = HeaderSecret::new(reader.array()?);
        let first_line = reader.u64()?;
        let count = reader.u8()?;
        if !(1..=3).contains(&count) || (count < 3 && first_line != 0) || first_line > u64::MAX / 2 {
            return Err(DecodeError::Invalid);
        }
        let mut lines = VecDeque::new();
        for index in 1..=count {
            let mut line = Line::new(reader.array()?, &context);
            line.next = position(reader)?;
            // The current chain has opened at least one message; the next one none.
            let role = count.saturating_sub(index);
            if (role == 0 && line.next != 0) || (role == 1 && line.next == 0) {
                return Err(DecodeError::Invalid);
            }
            lines.push_back(line);
        }
        let chain_key = if count >= 2 { Secret::new(reader.array()?) } else { Secret::new(&[0; 32]) };
        let skipped = SkippedKeys::default();
        Ok(Self { context, root_key, remote, sending, next_send, lines, first_line, chain_key, skipped })
    }

    /// Checks what binds skipped keys to lines and fills the windows.
    pub(crate) fn finish_restore(&mut self) -> Result<(), DecodeError> {
        let next = self.line_number(self.lines.len().saturating_sub(1));
        let consistent = self.skipped.all(|chain, entry, keys| {
            let line = chain
                .checked_sub(self.first_line)
                .and_then(|index| usize::try_from(index).ok())
                .and_then(|index| self.lines.get(index));
            chain < next
                && line.is_none_or(|line| {
                    entry.n < line.next && aead::equal(line.keys.secret().expose(), keys.secret().expose())
                })
        });
        if !consistent {
            return Err(DecodeError::Invalid);
        }
        self.refresh_windows(&mut ());
        Ok(())
    }
}

fn position(reader: &mut Reader<'_>) -> Result<u32, DecodeError> {
    match reader.u32()? {
        n if n <= MAX_CHAIN_LEN => Ok(n),
        _ => Err(DecodeError::Invalid),
    }
}

fn copy(key: &[u8; 32]) -> Guarded<32> {
    let mut guard = guarded();
    guard.copy_from_slice(key);
    guard
}

/// Refuses positions beyond a chain's end and jumps beyond the bound.
fn check_jump(end: u32, jump: u32) -> Result<(), ReceiveError> {
    if end >= MAX_CHAIN_LEN {
        return Err(ReceiveError::Violation);
    }
    if jump > MAX_JUMP { Err(ReceiveError::TooFarAhead) } else { Ok(()) }
}

/// Message keys that are passed over on the way.
#[derive(Default)]
struct Skip {
    keys: Vec<SkippedKey>,
    chains: Vec<(u64, ChainKeys)>,
    /// Keys that no bound could have kept.
    lost: u32,
}

impl Skip {
    /// Derives the keys of a range and returns the chain key behind it. Only as many as could be kept are kept.
    fn run(&mut self, chain: u64, line: &Line, context: &[u8; 32], start: &[u8; 32], range: Range<u32>) -> Guarded<32> {
        let mut chain_key = copy(start);
        if range.is_empty() {
            return chain_key;
        }
        self.chains.push((chain, ChainKeys::derive(line.keys.secret().expose(), context)));
        let keep_from = range.end.saturating_sub(u32::try_from(MAX_SKIPPED).unwrap_or(u32::MAX));
        for n in range {
            let step = kdf_ck(&chain_key);
            chain_key = step.chain_key;
            if n < keep_from {
                self.lost = self.lost.saturating_add(1);
            } else {
                let key = Secret::new(&step.message_key);
                self.keys.push(SkippedKey { tag: line.keys.tag(n), chain, n, key });
            }
        }
        chain_key
    }
}
