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

use crate::crypto::dh::{DhPoint, DhPrivate};
use crate::keys::{DhKeyPair, DhPublic, IdentityKem, IdentityKey, MailboxAddress};
use crate::limits::{MAX_MAILBOXES, NEXT_TAG_WINDOW, SPENT_WINDOW, TAG_WINDOW};
use crate::ratchet::chain::{ChainKeys, HeaderSecret, TagSink, TagWindow};
use crate::ratchet::kem::{Introduced, KemRatchet};
use crate::ratchet::receive::ReceiveError;
use crate::ratchet::root::kdf_rk;
use crate::ratchet::skipped::SkippedKeys;
use crate::secret::Secret;
use crate::wire::sealed::{Header, Tag};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::ops::Range;

/// What the handshake hands to the ratchet.
pub(crate) struct InitialSecrets {
    pub(crate) root_key: Secret<32>,
    /// Header secret of the initiator's first chain.
    pub(crate) initiator_header: Secret<32>,
    /// Header secret of the responder's first chain.
    pub(crate) responder_header: Secret<32>,
    /// What keys for the application come from; the ratchet does not look at it.
    pub(crate) exporter: Secret<32>,
    /// What every message is bound to.
    pub(crate) context: [u8; 32],
}

/// The sending side.
#[derive(Debug)]
pub(super) enum Sending {
    /// The peer's ratchet key is newer than ours: the next message begins a chain.
    Idle { previous_chain_len: u32 },
    /// A chain is going, at least one message long; the key pair waits for the peer's next chain.
    Active { key_pair: DhKeyPair, keys: ChainKeys, chain_key: Secret<32>, n: u32, previous_chain_len: u32 },
}

/// The peer's ratchet key. Each is agreed with twice, when it comes and when it is answered.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) key: DhPublic,
    /// Between the two.
    pub(super) point: Option<Box<DhPoint>>,
}

impl From<DhPublic> for Remote {
    fn from(key: DhPublic) -> Self {
        Self { key, point: None }
    }
}

/// A receiving chain as far as its header secret reaches.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) keys: ChainKeys,
    /// Position of the first message that is neither opened nor skipped.
    pub(super) next: u32,
    pub(super) window: TagWindow,
}

impl Line {
    pub(super) fn new(secret: &[u8; 32], context: &[u8; 32]) -> Self {
        Self { keys: ChainKeys::derive(secret, context), next: 0, window: TagWindow::default() }
    }
}

/// One side of a session.
///
/// Invariant: `lines` holds, oldest first, the previous chain (if any), the current one (if any), and the one that comes
/// next; `chain_key` belongs to the current line, `remote` is its ratchet key (before the first: the signed prekey).
#[derive(Debug)]
pub(crate) struct Ratchet {
    pub(super) context: [u8; 32],
    pub(super) root_key: Secret<32>,
    pub(super) remote: Remote,
    pub(super) sending: Sending,
    pub(super) next_send: HeaderSecret,
    pub(super) lines: VecDeque<Line>,
    /// Number of the first line; they ascend by one.
    pub(super) first_line: u64,
    pub(super) chain_key: Secret<32>,
    pub(super) skipped: SkippedKeys,
    pub(super) kem: KemRatchet,
}

impl Ratchet {
    /// The initiator's side: it will begin its first chain against the peer's signed prekey, and offer its identity's KEM key.
    pub(crate) fn initiator(secrets: &InitialSecrets, signed_prekey: DhPublic, identity: &Arc<IdentityKem>) -> Self {
        let mut ratchet = Self {
            context: secrets.context,
            root_key: Secret::new(secrets.root_key.expose()),
            remote: signed_prekey.into(),
            sending: Sending::Idle { previous_chain_len: 0 },
            next_send: HeaderSecret::new(secrets.initiator_header.expose()),
            lines: VecDeque::from([Line::new(secrets.responder_header.expose(), &secrets.context)]),
            first_line: 0,
            chain_key: Secret::new(&[0; 32]),
            skipped: SkippedKeys::default(),
            kem: KemRatchet::new(Introduced::This(identity)),
        };
        ratchet.refresh_windows(&mut ());
        ratchet
    }

    /// The responder's side, from the first header it opens. Its own first ratchet key pair was the signed prekey.
    pub(crate) fn responder(
        secrets: &InitialSecrets,
        initiator_keys: ChainKeys,
        signed_prekey: &DhPrivate,
        initiator: &IdentityKey,
        header: &Header,
    ) -> Result<Self, ReceiveError> {
        let point = header.ratchet_key.point();
        let dh = signed_prekey.agree(&point).ok_or(ReceiveError::Violation)?;
        let step = kdf_rk(secrets.root_key.expose(), &dh, None, &secrets.context);
        let first = Line { keys: initiator_keys, next: 0, window: TagWindow::default() };
        let mut ratchet = Self {
            context: secrets.context,
            root_key: Secret::new(step.root_key.expose()),
            remote: Remote { key: header.ratchet_key, point: Some(Box::new(point)) },
            sending: Sending::Idle { previous_chain_len: 0 },
            next_send: HeaderSecret::new(secrets.responder_header.expose()),
            lines: VecDeque::from([first, Line::new(step.next_header_secret.expose(), &secrets.context)]),
            first_line: 0,
            chain_key: Secret::new(step.chain_key.expose()),
            skipped: SkippedKeys::default(),
            kem: KemRatchet::new(Introduced::Peer(initiator)),
        };
        ratchet.refresh_windows(&mut ());
        Ok(ratchet)
    }

    pub(crate) fn context(&self) -> &[u8; 32] {
        &self.context
    }

    /// How many KEM secrets are mixed in: those that this side offered, and those that the peer did.
    pub(crate) fn kem_epochs(&self) -> (u32, u32) {
        (self.kem.sent_epoch(), self.kem.received_epoch())
    }

    /// How many chains of the peer are kept track of: 0 before its first message, at most 2.
    pub(crate) fn receiving_chains(&self) -> usize {
        self.lines.len().saturating_sub(1)
    }

    pub(crate) fn skipped(&self) -> &SkippedKeys {
        &self.skipped
    }

    pub(crate) fn skipped_mut(&mut self) -> &mut SkippedKeys {
        &mut self.skipped
    }

    /// How many chains the peer has begun.
    pub(crate) fn turns(&self) -> u32 {
        let finished = u32::try_from(self.first_line).unwrap_or(u32::MAX);
        finished.saturating_add(u32::try_from(self.receiving_chains()).unwrap_or(0))
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

    /// Messages sent since the peer's present chain began: none of them was answered yet.
    pub(crate) fn unanswered(&self) -> u32 {
        match &self.sending {
            Sending::Idle { .. } => 0,
            Sending::Active { n, .. } => *n,
        }
    }

    /// Messages of the peer's present chain that were opened or passed over.
    pub(crate) fn received(&self) -> u32 {
        self.current_line().map_or(0, |line| line.next)
    }

    /// The header keys of the chain in which a tag was consumed.
    pub(crate) fn consumed_keys(&self, tag: &Tag) -> Option<&ChainKeys> {
        self.lines.iter().find(|line| line.window.find(tag).is_some_and(|n| n < line.next)).map(|line| &line.keys)
    }

    /// The header secret of the chain that is sent in, or would be next.
    pub(crate) fn sending_header_secret(&self) -> &HeaderSecret {
        match &self.sending {
            Sending::Active { keys, .. } => keys.secret(),
            Sending::Idle { .. } => &self.next_send,
        }
    }

    /// Those of the chains that the peer sends in, has sent in last, or would begin next.
    pub(crate) fn receiving_header_secrets(&self) -> impl Iterator<Item = &HeaderSecret> {
        self.lines.iter().map(|line| line.keys.secret())
    }

    /// Where what is sent now goes.
    pub(crate) fn send_mailbox(&self) -> MailboxAddress {
        match &self.sending {
            Sending::Active { keys, .. } => keys.mailbox(),
            Sending::Idle { .. } => ChainKeys::derive(self.next_send.expose(), &self.context).mailbox(),
        }
    }

    /// Where the peer's messages may lie: at the next chain's address, the current one's, the previous one's, then those
    /// of older chains of which messages are missing.
    pub(crate) fn receive_mailboxes(&self) -> impl Iterator<Item = MailboxAddress> {
        let first = self.first_line;
        let lines = self.lines.iter().rev().map(|line| &line.keys);
        let older = self.skipped.newest_chains().filter(move |(number, _)| *number < first).map(|(_, keys)| keys);
        lines.chain(older).take(MAX_MAILBOXES).map(ChainKeys::mailbox)
    }

    // --- Lines ---------------------------------------------------------------------------------------------------

    pub(super) fn next_line(&self) -> Option<&Line> {
        self.lines.back()
    }

    pub(super) fn current_index(&self) -> Option<usize> {
        self.lines.len().checked_sub(2)
    }

    pub(super) fn current_line(&self) -> Option<&Line> {
        self.lines.get(self.current_index()?)
    }

    pub(super) fn line_number(&self, index: usize) -> u64 {
        self.first_line.saturating_add(u64::try_from(index).unwrap_or(u64::MAX))
    }

    /// Makes every line recognise what its role asks for.
    pub(super) fn refresh_windows(&mut self, sink: &mut dyn TagSink) {
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
}
