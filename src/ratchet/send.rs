//! Sending: the next message key, and a new chain when the peer has turned.

use crate::error::{HandshakeError, SealError};
use crate::keys::{DhKeyPair, DhPublic};
use crate::limits::MAX_CHAIN_LEN;
use crate::ratchet::chain::{ChainKeys, HeaderSecret, kdf_ck};
use crate::ratchet::kem::{KemRatchet, Portion};
use crate::ratchet::root::kdf_rk;
use crate::ratchet::state::{Ratchet, Sending};
use crate::secret::{Guarded, Secret, guarded};
use crate::wire::payload::Tail;
use crate::wire::sealed::Tag;
use alloc::boxed::Box;
use core::mem;
use rand_core::CryptoRng;

/// A planned message to send: what to encrypt it with. Filled where it stays, as the step is.
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
    /// Where the chain then stands, if it goes on.
    chain_key: Guarded<32>,
    n: u32,
    /// A new chain.
    turn: Option<Box<SendTurn>>,
    kem: KemRatchet,
    portion: Portion,
}

impl SendStep {
    /// Changes nothing: [`Ratchet::plan_send`] fills it where it stays.
    pub(crate) fn empty() -> Self {
        Self { chain_key: guarded(), n: 0, turn: None, kem: KemRatchet::empty(), portion: Portion::default() }
    }

    /// The fragments that go with the message.
    pub(crate) fn fragments(&self) -> impl Tail {
        (&self.kem, self.portion)
    }
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
        step: &mut SendStep,
        outgoing: &mut Outgoing,
        rng: &mut R,
    ) -> Result<(), SealError> {
        step.kem = self.kem.clone();
        match &self.sending {
            Sending::Idle { previous_chain_len } => {
                self.plan_send_turn(*previous_chain_len, step, outgoing, rng)?;
            }
            Sending::Active { key_pair, keys, chain_key, n, previous_chain_len } => {
                if *n >= MAX_CHAIN_LEN {
                    return Err(SealError::ChainExhausted);
                }
                kdf_ck(chain_key.expose(), &mut step.chain_key, &mut outgoing.message_key);
                step.n = n.saturating_add(1);
                outgoing.name(keys, key_pair.public(), *previous_chain_len, *n);
            }
        }
        step.kem.prepare(rng);
        outgoing.kem_epoch = step.kem.sent_epoch();
        step.portion = step.kem.take_portion(room);
        Ok(())
    }

    fn plan_send_turn<R: CryptoRng + ?Sized>(
        &self,
        previous_chain_len: u32,
        step: &mut SendStep,
        outgoing: &mut Outgoing,
        rng: &mut R,
    ) -> Result<(), SealError> {
        let key_pair = DhKeyPair::generate(rng);
        // The peer's key was found good when it came.
        let dh = match &self.remote.point {
            Some(point) => key_pair.agree(point),
            None => key_pair.agree(&self.remote.key.point()),
        };
        let dh = dh.ok_or(SealError::Handshake(HandshakeError::WeakKey))?;
        let mix = step.kem.begin_chain();
        let root = kdf_rk(self.root_key.expose(), &dh, mix.as_deref(), &self.context);
        let keys = ChainKeys::derive(self.next_send.expose(), &self.context);
        let chain_key = Secret::made(|next| kdf_ck(root.chain_key.expose(), next, &mut outgoing.message_key));
        outgoing.name(&keys, key_pair.public(), previous_chain_len, 0);
        step.turn = Some(Box::new(SendTurn {
            root_key: root.root_key,
            sending: Sending::Active { key_pair, keys, chain_key, n: 1, previous_chain_len },
            next_send: HeaderSecret::new(root.next_header_secret.expose()),
        }));
        Ok(())
    }

    /// Exchanges the state with what a plan holds.
    pub(crate) fn swap_send(&mut self, step: &mut SendStep) {
        mem::swap(&mut self.kem, &mut step.kem);
        match &mut step.turn {
            None => {
                if let Sending::Active { chain_key, n, .. } = &mut self.sending {
                    chain_key.swap_guarded(&mut step.chain_key);
                    mem::swap(n, &mut step.n);
                }
            }
            Some(turn) => {
                self.root_key.swap(&mut turn.root_key);
                self.remote.point = None;
                mem::swap(&mut self.sending, &mut turn.sending);
                mem::swap(&mut self.next_send, &mut turn.next_send);
            }
        }
    }
}

impl Outgoing {
    pub(crate) fn empty() -> Self {
        let (tag, ratchet_key) = (Tag::from_bytes([0; Tag::LEN]), DhPublic([0; 32]));
        let (message_key, header_key) = (guarded(), guarded());
        Self { message_key, header_key, tag, ratchet_key, previous_chain_len: 0, n: 0, kem_epoch: 0 }
    }

    /// Sets all that the header says but the KEM epoch.
    fn name(&mut self, keys: &ChainKeys, ratchet_key: &DhPublic, previous_chain_len: u32, n: u32) {
        self.header_key.copy_from_slice(keys.header_key());
        self.tag = keys.tag(n);
        self.ratchet_key = *ratchet_key;
        self.previous_chain_len = previous_chain_len;
        self.n = n;
    }
}
