//! Groups: what is owed to members gets sealed, and what follows from a new roster.

use crate::codec::Write;
use crate::device::Device;
use crate::device::debts::{Debt, Debts};
use crate::device::group::{GroupEnvelope, Unreachable};
use crate::device::pending::Change;
use crate::group::{ChainId, Group, GroupId, OwnChain};
use crate::keys::{Fingerprint, UnixTime};
use crate::limits::MAX_GROUP_BATCH;
use crate::secret::{GuardedVec, guard};
use crate::session::{Control, Outbound};
use crate::state;
use crate::wire::payload::PayloadKind;
use crate::wire::roster::{Announcement, RosterMessage};
use alloc::vec::Vec;
use rand_core::CryptoRng;

impl Device {
    /// Seals one message for every member to whom something is owed.
    pub(super) fn pay<R: CryptoRng + ?Sized>(
        &self,
        group: &Group,
        own: Option<&OwnChain>,
        debts: &mut Debts,
        now: UnixTime,
        rng: &mut R,
        plan: &mut Vec<Change>,
    ) -> Paid {
        let mut paid = Paid::default();
        let mut cache = Cache::default();
        let members: Vec<Fingerprint> = debts.0.keys().copied().collect();
        let mut bytes = 0_usize;
        for member in members {
            // The rest stays owed: what is made at once stays bounded, however large the group.
            if bytes > MAX_GROUP_BATCH {
                break;
            }
            let mut debt = debts.0.get(&member).copied().unwrap_or_default();
            let payment = payment(group, own, member, &mut debt, &mut cache);
            match payment {
                Some((kind, content)) => {
                    let message = Outbound { kind, content };
                    match self.plan_seal(member, message, now, rng) {
                        Ok((changes, envelope)) => {
                            plan.extend(changes);
                            bytes = bytes.saturating_add(envelope.len());
                            paid.envelopes.push(GroupEnvelope { to: member, envelope });
                            debts.owe(member, |owed| *owed = debt);
                        }
                        Err(why) => paid.unreachable.push(Unreachable { member, why }),
                    }
                }
                // What can't be paid any more has lost its purpose.
                None => debts.owe(member, |owed| *owed = debt),
            }
        }
        paid
    }

    /// What follows when a group's roster becomes another one.
    pub(super) fn moved(&self, before: &Group, after: &Group) -> Moved {
        let id = after.id();
        let me = self.fingerprint();
        let added: Vec<Fingerprint> =
            after.members().map(|(name, _)| name).filter(|name| before.member(*name).is_none()).collect();
        let removed: Vec<Fingerprint> =
            before.members().map(|(name, _)| name).filter(|name| after.member(*name).is_none()).collect();
        let undone = after.transcript_at(before.epoch()) != Some(before.transcript());
        let mut debts = self.debts.get(&id).cloned().unwrap_or_default();
        let mut changes = Vec::new();
        let mut own_chain_stays = self.own_chains.contains_key(&id);
        if after.member(me).is_none() {
            changes = self.without_chains(id);
            for debt in debts.0.values_mut() {
                *debt = Debt { commits_after: debt.commits_after, ..Debt::default() };
            }
            debts.0.retain(|_, debt| *debt != Debt::default());
            own_chain_stays = false;
            return Moved { added, removed, debts, changes, own_chain_stays };
        }
        for name in &removed {
            let chains = self.chains_of_member(id, *name).map(|chain| Change::Chain(chain, None));
            changes.extend(chains);
            debts.owe(*name, |debt| *debt = Debt { commits_after: debt.commits_after, ..Debt::default() });
        }
        if undone {
            // Chains that began under what is gone, and every announcement that was made under it.
            let gone = |chain: &ChainId| {
                self.chains.get(chain).is_some_and(|chain| {
                    let there = after.transcript_at(chain.epoch);
                    chain.epoch > after.epoch() || there.is_some_and(|hash| hash != chain.transcript)
                })
            };
            let gone = self.chains_in(id).filter(|(name, chain)| !removed.contains(name) && gone(chain));
            changes.extend(gone.map(|(_, chain)| Change::Chain(chain, None)));
            if own_chain_stays {
                changes.push(Change::OwnChain(id, None));
                own_chain_stays = false;
            }
            for debt in debts.0.values_mut() {
                debt.welcome = debt.welcome.filter(|epoch| {
                    *epoch <= before.epoch() && after.transcript_at(*epoch) == before.transcript_at(*epoch)
                });
                debt.announce = false;
            }
            for name in &removed {
                debts.owe(*name, |debt| {
                    debt.commits_after = debt.commits_after.filter(|base| after.concerns(*name, *base));
                });
            }
            debts.0.retain(|_, debt| *debt != Debt::default());
        }
        if own_chain_stays {
            for name in &added {
                debts.owe(*name, |debt| debt.announce = true);
            }
        }
        Moved { added, removed, debts, changes, own_chain_stays }
    }

    pub(super) fn without_chains(&self, group: GroupId) -> Vec<Change> {
        let mut changes: Vec<Change> = self.chains_in(group).map(|(_, chain)| Change::Chain(chain, None)).collect();
        if self.own_chains.contains_key(&group) {
            changes.push(Change::OwnChain(group, None));
        }
        changes
    }

    /// The receiving chains of a group.
    pub(super) fn chains_in(&self, group: GroupId) -> impl Iterator<Item = (Fingerprint, ChainId)> {
        let name = Fingerprint::from_bytes;
        let range = (group, name([0; 32]), ChainId([0; 16]))..=(group, name([0xff; 32]), ChainId([0xff; 16]));
        self.chains_of.range(range).map(|(_, member, chain)| (*member, *chain))
    }

    /// The receiving chains of one member.
    pub(super) fn chains_of_member(&self, group: GroupId, member: Fingerprint) -> impl Iterator<Item = ChainId> {
        let range = (group, member, ChainId([0; 16]))..=(group, member, ChainId([0xff; 16]));
        self.chains_of.range(range).map(|(_, _, chain)| *chain)
    }
}

/// What follows from a new roster.
pub(super) struct Moved {
    pub(super) added: Vec<Fingerprint>,
    pub(super) removed: Vec<Fingerprint>,
    pub(super) debts: Debts,
    pub(super) changes: Vec<Change>,
    /// Whether there is an own chain, and it goes on.
    pub(super) own_chain_stays: bool,
}

#[derive(Default)]
pub(super) struct Paid {
    pub(super) envelopes: Vec<GroupEnvelope>,
    pub(super) unreachable: Vec<Unreachable>,
}

/// Contents that many members get, made once.
#[derive(Default)]
struct Cache {
    welcome: Option<(u64, GuardedVec)>,
    commit: Option<(u64, GuardedVec)>,
    announcement: Option<GuardedVec>,
    other: GuardedVec,
}

fn cached(place: &mut Option<(u64, GuardedVec)>, key: u64, make: impl FnOnce() -> Option<Vec<u8>>) -> Option<&[u8]> {
    if place.as_ref().is_none_or(|(made_for, _)| *made_for != key) {
        *place = Some((key, guard(make()?)));
    }
    place.as_ref().map(|(_, bytes)| bytes.as_slice())
}

/// The next message owed to a member, and what is owed behind it.
fn payment<'c>(
    group: &Group,
    own: Option<&OwnChain>,
    member: Fingerprint,
    debt: &mut Debt,
    cache: &'c mut Cache,
) -> Option<(PayloadKind, &'c [u8])> {
    let Cache { welcome, commit, announcement, other } = cache;
    // First, so that a message sealed behind it can be read; a receiver keeps what comes too early.
    if core::mem::take(&mut debt.announce)
        && group.member(member).is_some()
        // One that may not speak any more is not worth having: its successor will be owed to everyone.
        && let Some(chain) = own.filter(|chain| chain.is_live(group))
    {
        let content = announcement.get_or_insert_with(|| {
            let mut out = state::image(Announcement::LEN);
            chain.announcement(group.epoch(), group.transcript()).write(&mut out);
            out
        });
        return Some((PayloadKind::Announcement, content));
    }
    if let Some(epoch) = debt.welcome.take() {
        if epoch < group.epoch() {
            debt.commits_after = Some(epoch);
        }
        if let Some(content) = cached(welcome, epoch, || group.welcome_of(epoch).map(|welcome| welcome.encode())) {
            return Some((PayloadKind::Roster, content));
        }
        // Too many commits ago: it has to be added again.
        *debt = Debt::default();
        return None;
    }
    let outvoted = core::mem::take(&mut debt.outvoted);
    if let Some(after) = debt.commits_after.take()
        && let Some((begins, made)) = group.commits_after(after).next()
        // Whoever is out is told what put it out, and nothing of what comes after.
        && (group.member(member).is_some()
            || (begins == after.saturating_add(1) && (outvoted || group.concerns(member, after))))
    {
        let more = begins < group.epoch() && group.concerns(member, begins);
        debt.commits_after = more.then_some(begins);
        let encode = || Some(RosterMessage::Commit(group.id(), made.clone()).encode());
        return cached(commit, begins, encode).map(|content| (PayloadKind::Roster, content));
    }
    if let Some(after) = debt.ask_after.take() {
        *other = guard(Control::CommitsWanted(group.id(), after).encode());
        return Some((PayloadKind::Control, other));
    }
    if core::mem::take(&mut debt.acknowledge) {
        *other = guard(Control::ChainReceived(group.id()).encode());
        return Some((PayloadKind::Control, other));
    }
    None
}

/// Bytes as a plan holds them.
pub(super) fn kept(bytes: &[u8]) -> GuardedVec {
    let mut out = state::image(bytes.len());
    out.bytes(bytes);
    out
}
