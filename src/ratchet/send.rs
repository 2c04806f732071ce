//! Sending: the next message key, and a new chain when the peer has turned.

use crate::error::{HandshakeError, SealError};
use crate::keys::{DhKeyPair, DhPublic};
use crate::limits::MAX_CHAIN_LEN;
use crate::ratchet::chain::{ChainKeys, HeaderSecret, kdf_ck};
use crate::ratchet::kem::{KemRatchet, Portion};
use crate::ratchet::root::kdf_rk;
use crate::ratchet::state::{Ratchet, Sending};
use crate::secret::{Guarded, Secret};
use crate::wire::payload::Tail;
use crate::wire::sealed::Tag;
use alloc::boxed::Box;
use core::mem;
use rand_core::CryptoRng;

/// A planned message to send: what to encrypt it with.
pub(crate) struct Outgoing {
    pub(crate) message_key: Guarded<32>,
    pub(crate) header_key: Guarded<32>,
    pub(crate) tag: Tag,
    pub(crate) ratchet_key: DhPublic,
    pub(crate) previous_chain_len: u32,
    pub(crate) n: u32,
    pub(crate) kem_epoch: u32,
}

/// What sending a message changes.
#[derive(Debug)]
pub(crate) struct SendStep {
    chain: ChainStep,
    kem: KemRatchet,
    portion: Portion,
}

impl SendStep {
    /// The fragments that go with the message.
    pub(crate) fn fragments(&self) -> impl Tail {
        (&self.kem, self.portion)
    }
}

#[derive(Debug)]
enum ChainStep {
    /// One step of the chain.
    Advance { chain_key: Guarded<32>, n: u32 },
    /// A new chain.
    Turn(Box<SendTurn>),
}

/// A new sending chain.
#[derive(Debug)]
struct SendTurn {
    root_key: Secret<32>,
    sending: Sending,
    next_send: HeaderSecret,
}

impl Ratchet {
    /// Plans the next message to send, with fragments for `room` bytes. Draws 32 bytes for a ratchet key when it begins a
    /// chain, 64 for a KEM key pair when one is due, 32 to answer one that is whole.
    pub(crate) fn plan_send<R: CryptoRng + ?Sized>(
        &self,
        room: usize,
        rng: &mut R,
    ) -> Result<(SendStep, Outgoing), SealError> {
        let mut kem = self.kem.clone();
        let (chain, mut outgoing) = match &self.sending {
            Sending::Idle { previous_chain_len } => self.plan_send_turn(*previous_chain_len, &mut kem, rng)?,
            Sending::Active { key_pair, keys, chain_key, n, previous_chain_len } => {
                if *n >= MAX_CHAIN_LEN {
                    return Err(SealError::ChainExhausted);
                }
                let step = kdf_ck(chain_key.expose());
                let ratchet_key = *key_pair.public();
                let outgoing = Outgoing::new(step.message_key, keys, ratchet_key, *previous_chain_len, *n);
                (ChainStep::Advance { chain_key: step.chain_key, n: n.saturating_add(1) }, outgoing)
            }
        };
        kem.prepare(rng);
        outgoing.kem_epoch = kem.sent_epoch();
        let portion = kem.take_portion(room);
        Ok((SendStep { chain, kem, portion }, outgoing))
    }

    fn plan_send_turn<R: CryptoRng + ?Sized>(
        &self,
        previous_chain_len: u32,
        kem: &mut KemRatchet,
        rng: &mut R,
    ) -> Result<(ChainStep, Outgoing), SealError> {
        let key_pair = DhKeyPair::generate(rng);
        // The peer's key was found good when it came.
        let dh = match &self.remote.point {
            Some(point) => key_pair.agree(point),
            None => key_pair.agree(&self.remote.key.point()),
        };
        let dh = dh.ok_or(SealError::Handshake(HandshakeError::WeakKey))?;
        let mix = kem.begin_chain();
        let root = kdf_rk(self.root_key.expose(), &dh, mix.as_deref(), &self.context);
        let keys = ChainKeys::derive(self.next_send.expose(), &self.context);
        let first = kdf_ck(root.chain_key.expose());
        let outgoing = Outgoing::new(first.message_key, &keys, *key_pair.public(), previous_chain_len, 0);
        let chain_key = Secret::new(&first.chain_key);
        let turn = SendTurn {
            root_key: root.root_key,
            sending: Sending::Active { key_pair, keys, chain_key, n: 1, previous_chain_len },
            next_send: HeaderSecret::new(root.next_header_secret.expose()),
        };
        Ok((ChainStep::Turn(Box::new(turn)), outgoing))
    }

    /// Exchanges the state with what a plan holds.
    pub(crate) fn swap_send(&mut self, step: &mut SendStep) {
        mem::swap(&mut self.kem, &mut step.kem);
        match &mut step.chain {
            ChainStep::Advance { chain_key: new_key, n: new_n } => {
                if let Sending::Active { chain_key, n, .. } = &mut self.sending {
                    chain_key.swap_guarded(new_key);
                    mem::swap(n, new_n);
                }
            }
            ChainStep::Turn(turn) => {
                self.root_key.swap(&mut turn.root_key);
                self.remote.point = None;
                mem::swap(&mut self.sending, &mut turn.sending);
                mem::swap(&mut self.next_send, &mut turn.next_send);
            }
        }
    }
}

impl Outgoing {
    fn new(message_key: Guarded<32>, keys: &ChainKeys, ratchet_key: DhPublic, previous_chain_len: u32, n: u32) -> Self {
        let (header_key, tag) = (Guarded::from(*keys.header_key()), keys.tag_within(n));
        Self { message_key, header_key, tag, ratchet_key, previous_chain_len, n, kem_epoch: 0 }
    }
}
