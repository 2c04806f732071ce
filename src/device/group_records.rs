//! Records of groups: rosters, chains, debts, what waits.

use crate::codec::{Reader, Write};
use crate::device::Device;
use crate::device::debts::{Debts, Waiting};
use crate::device::records::Row;
use crate::error::StateError;
use crate::group::{ChainId, Group, GroupId, MemberChain, OwnChain};
use crate::keys::Fingerprint;
use crate::limits::{MAX_GROUPS, MAX_MEMBER_CHAINS};
use crate::ratchet::SkippedKeys;
use crate::secret::GuardedVec;
use alloc::boxed::Box;
use alloc::vec::Vec;

impl Device {
    /// The record of a group's row, if there is one now. `start` begins a record.
    pub(super) fn encode_group_record(&self, row: Row, start: impl Fn(usize) -> GuardedVec) -> Option<GuardedVec> {
        Some(match row {
            Row::Group(id) => {
                let group = self.groups.get(&id)?;
                let mut out = start(group.state_len());
                group.write(&mut out);
                out
            }
            Row::OwnChain(id) => {
                let mut out = start(OwnChain::STATE_LEN);
                self.own_chains.get(&id)?.write(&mut out);
                out
            }
            Row::Debts(id) => {
                let debts = self.debts.get(&id)?;
                let mut out = start(debts.state_len().saturating_add(GroupId::LEN));
                out.bytes(id.as_bytes());
                debts.write(&mut out);
                out
            }
            Row::Chain(id) => {
                let mut out = start(MemberChain::STATE_LEN);
                self.chains.get(&id)?.write(&mut out);
                out
            }
            Row::ChainSkipped(id, block) => {
                let skipped = self.chains.get(&id)?.skipped();
                if skipped.is_empty_block(block) {
                    return None;
                }
                let mut out = start(SkippedKeys::MAX_BLOCK_LEN.saturating_add(24));
                out.bytes(&id.0);
                out.u64(block);
                skipped.write_block(block, &mut out);
                out
            }
            Row::Waiting(peer) => {
                let waiting = self.waiting.get(&peer)?;
                let mut out = start(waiting.state_len().saturating_add(Fingerprint::LEN));
                out.bytes(peer.as_bytes());
                waiting.write(&mut out);
                out
            }
            _ => return None,
        })
    }

    /// Reads one record of a group into the device and says which one it is.
    pub(super) fn read_group_record(&mut self, kind: u8, reader: &mut Reader<'_>) -> Result<Row, StateError> {
        let (row, doubled) = match kind {
            8 => {
                let group = Group::read(reader)?;
                let id = group.id();
                (Row::Group(id), self.groups.insert(id, Box::new(group)).is_some())
            }
            9 => {
                let chain = OwnChain::read(reader, self.fingerprint())?;
                let id = chain.group();
                (Row::OwnChain(id), self.own_chains.insert(id, Box::new(chain)).is_some())
            }
            10 => {
                let id = GroupId::from_bytes(*reader.array()?);
                (Row::Debts(id), self.debts.insert(id, Debts::read(reader)?).is_some())
            }
            11 => {
                let chain = MemberChain::read(reader)?;
                let id = chain.id;
                (Row::Chain(id), self.chains.insert(id, Box::new(chain)).is_some())
            }
            12 => {
                let (id, block) = (ChainId(*reader.array()?), reader.u64()?);
                let chain = self.chains.get_mut(&id).ok_or(StateError::Inconsistent)?;
                chain.read_skipped(block, reader)?;
                (Row::ChainSkipped(id, block), false)
            }
            _ => {
                let peer = Fingerprint::from_bytes(*reader.array()?);
                (Row::Waiting(peer), self.waiting.insert(peer, Waiting::read(reader)?).is_some())
            }
        };
        if doubled { Err(StateError::Inconsistent) } else { Ok(row) }
    }

    /// Checks what binds the records of groups to each other.
    pub(super) fn finish_groups(&mut self) -> Result<(), StateError> {
        let me = self.fingerprint();
        let is_in = |group: &GroupId, member: Fingerprint| {
            self.groups.get(group).is_some_and(|group| group.member(member).is_some() && group.member(me).is_some())
        };
        let fits = self.own_chains.keys().all(|group| is_in(group, me))
            && self.debts.keys().all(|group| self.groups.contains_key(group))
            && self.chains.values().all(|chain| chain.sender != me && is_in(&chain.group, chain.sender))
            && self.waiting.keys().all(|peer| self.peers.contains_key(peer))
            && self.groups.len() <= MAX_GROUPS;
        if !fits {
            return Err(StateError::Inconsistent);
        }
        let ids: Vec<ChainId> = self.chains.keys().copied().collect();
        for id in ids {
            let chain = self.chains.get_mut(&id).ok_or(StateError::Inconsistent)?;
            chain.finish_restore()?;
            let (group, sender) = (chain.group, chain.sender);
            self.derive_with_chain(id);
            if self.chains_of_member(group, sender).count() > MAX_MEMBER_CHAINS {
                return Err(StateError::Invariant);
            }
        }
        Ok(())
    }
}
