//! Sending: the next message key, and a new chain when the peer has turned.

use crate::error::{HandshakeError, SealError};
use crate::keys::{DhKeyPair, DhPublic};
use crate::limits::MAX_CHAIN_LEN;
use crate::ratchet::chain::{ChainKeys, HeaderSecret, kdf_ck};
use crate::ratchet::root::kdf_rk;
use crate::ratchet::state::{Ratchet, Sending};
use crate::secret::{Guarded, Secret, copied};
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
}

/// What sending a message changes.
#[derive(Debug)]
pub(crate) enum SendStep {
    /// One step of the chain.
    Advance { chain_key: Guarded<32>, n: u32 },
    /// A new chain.
    Turn(Box<SendTurn>),
}

/// A new sending chain.
#[derive(Debug)]
pub(crate) struct SendTurn {
    root_key: Guarded<32>,
    sending: Sending,
    next_send: HeaderSecret,
}

impl Ratchet {
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
                    header_key: copied(keys.header_key()),
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
            header_key: copied(keys.header_key()),
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
        Ok((SendStep::Turn(Box::new(turn)), outgoing))
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
}
