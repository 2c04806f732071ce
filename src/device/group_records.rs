//! Records of groups: rosters, chains, debts, what waits.

use crate::codec::Reader;
use crate::device::Device;
use crate::device::debts::{Debts, Waiting};
use crate::device::records::Row;
use crate::error::StateError;
use crate::group::{ChainId, Group, GroupId, MemberChain, OwnChain};
use crate::keys::Fingerprint;
use crate::limits::{MAX_GROUPS, MAX_MEMBER_CHAINS};
use alloc::boxed::Box;
use alloc::vec::Vec;

impl Device {
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
