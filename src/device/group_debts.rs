//! Groups: what is owed to members gets sealed, and what follows from a new roster.

use crate::attachment;
use crate::codec::Write;
use crate::device::Device;
use crate::device::debts::{Debt, Debts};
use crate::device::fanout::{Delivery, Unreachable};
use crate::device::plan::Change;
use crate::error::SealError;
use crate::group::{ChainId, Group, GroupId, OwnChain};
use crate::keys::{Fingerprint, UnixTime};
use crate::limits::{MAX_GROUP_BATCH, MAX_INLINE_ROSTER};
use crate::message::Outbound;
use crate::secret::{GuardedVec, guard};
use crate::session::Control;
use crate::state;
use crate::wire::payload::PayloadKind;
use crate::wire::roster::{Announcement, RosterMessage};
use alloc::collections::btree_map::Entry;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use rand_core::CryptoRng;

impl Device {
    /// Seals one message for every member to whom something is owed. Before a message of the group, chains come first, so
    /// that it can be read; else welcomes do.
    pub(super) fn pay<R: CryptoRng + ?Sized>(
        &self,
        group: &Group,
        own: Option<Voice<'_>>,
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
            let mut debt = debts.0.get(&member).copied().unwrap_or_default();
            // The rest stays owed: what is made at once stays bounded, however large the group.
            if bytes > MAX_GROUP_BATCH {
                if debt.announce {
                    paid.unreachable.push(Unreachable { peer: member, why: SealError::Later });
                }
                continue;
            }
            if debt.welcome.is_some_and(|epoch| epoch <= group.oldest_base()) {
                // Too many commits ago: it has to be removed and added again.
                paid.unreachable.push(Unreachable { peer: member, why: SealError::WelcomeGone });
                debts.owe(member, |owed| *owed = Debt::default());
                continue;
            }
            // Before anything is made for it.
            if let Err(why) = self.can_seal(member, now) {
                if why == SealError::Blocked && group.member(member).is_none() {
                    // A stranger whom people want no more: its place is free for another.
                    debts.owe(member, |owed| *owed = Debt { welcome: owed.welcome, ..Debt::default() });
                }
                paid.unreachable.push(Unreachable { peer: member, why });
                continue;
            }
            let own = own.filter(|own| own.first || debt.welcome.is_none()).map(|own| own.chain);
            let payment = payment(group, own, self.fingerprint(), member, &mut debt, &mut cache, rng);
            match payment {
                Payment::Message(kind, content) => {
                    let message = Outbound { kind, content };
                    match self.plan_delivery(member, message, now, rng, plan) {
                        Ok(delivery) => {
                            bytes = bytes.saturating_add(delivery.envelope.len());
                            paid.deliveries.push(delivery);
                            debts.owe(member, |owed| *owed = debt);
                        }
                        Err(why) => paid.unreachable.push(Unreachable { peer: member, why }),
                    }
                }
                // What can't be paid any more has lost its purpose.
                Payment::Nothing => debts.owe(member, |owed| *owed = debt),
            }
        }
        paid.attached = cache.attached;
        paid
    }

    /// What follows when a group's roster becomes another one.
    pub(super) fn moved(&self, before: &Group, after: &Group) -> Moved {
        let id = after.id();
        let me = self.fingerprint();
        let added: Vec<Fingerprint> =
            after.members().map(|(name, _)| name).filter(|name| before.member(*name).is_none()).collect();
        let removed: BTreeSet<Fingerprint> =
            before.members().map(|(name, _)| name).filter(|name| after.member(*name).is_none()).collect();
        let undone = after.transcript_at(before.epoch()) != Some(before.transcript());
        let mut debts = self.debts.get(&id).cloned().unwrap_or_default();
        let mut changes = Vec::new();
        let mut own_chain_stays = self.own_chains.contains_key(&id);
        if after.member(me).is_none() {
            changes = self.without_chains(id);
            for debt in debts.0.values_mut() {
                // Welcomes still are this device's alone to give.
                let Debt { welcome, commits_after, convince, .. } = *debt;
                *debt = Debt { welcome, commits_after, convince, ..Debt::default() };
            }
            debts.0.retain(|_, debt| *debt != Debt::default());
            own_chain_stays = false;
            return Moved { added, removed, debts, changes, own_chain_stays };
        }
        for name in &removed {
            let chains = self.chains_of_member(id, *name).map(|chain| Change::Chain(chain, None));
            changes.extend(chains);
            debts.owe(*name, |debt| {
                let Debt { commits_after, convince, .. } = *debt;
                *debt = Debt { commits_after, convince, ..Debt::default() };
            });
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
                    debt.convince = None;
                });
            }
            debts.0.retain(|_, debt| *debt != Debt::default());
            // Chains that went with a removal which never was: of whom it removed, or of all, if that was this device.
            let was_out = before.member(me).is_none();
            for (name, _) in after.members().filter(|(name, _)| *name != me) {
                if was_out || before.member(name).is_none() {
                    debts.owe(name, |debt| debt.want = true);
                }
            }
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

/// This device's chain, and whether it goes before welcomes.
#[derive(Clone, Copy)]
pub(super) struct Voice<'a> {
    pub(super) chain: &'a OwnChain,
    pub(super) first: bool,
}

/// What follows from a new roster.
pub(super) struct Moved {
    pub(super) added: Vec<Fingerprint>,
    pub(super) removed: BTreeSet<Fingerprint>,
    pub(super) debts: Debts,
    pub(super) changes: Vec<Change>,
    /// Whether there is an own chain, and it goes on.
    pub(super) own_chain_stays: bool,
}

#[derive(Default)]
pub(super) struct Paid {
    pub(super) deliveries: Vec<Delivery>,
    pub(super) unreachable: Vec<Unreachable>,
    /// Ciphertexts of what was too long to be sealed for each.
    pub(super) attached: Vec<Vec<u8>>,
}

/// Contents that many members get, made once.
#[derive(Default)]
pub(super) struct Cache {
    welcome: BTreeMap<u64, GuardedVec>,
    commit: BTreeMap<u64, GuardedVec>,
    announcement: Option<GuardedVec>,
    other: GuardedVec,
    attached: Vec<Vec<u8>>,
}

/// A roster message for many, made once: if it is long, its ciphertext is, and the message is what opens that.
fn cached<'c, R: CryptoRng + ?Sized>(
    made: &'c mut BTreeMap<u64, GuardedVec>,
    key: u64,
    group: GroupId,
    attached: &mut Vec<Vec<u8>>,
    rng: &mut R,
    make: impl FnOnce() -> Option<RosterMessage>,
) -> Option<&'c [u8]> {
    // At most one for each commit that is kept.
    let message = match made.entry(key) {
        Entry::Occupied(made) => made.into_mut(),
        Entry::Vacant(place) => {
            let mut message = guard(make()?.encode());
            if message.len() > MAX_INLINE_ROSTER {
                let (attachment, ciphertext) = attachment::seal(&message, rng).ok()?;
                message = guard(RosterMessage::Elsewhere(group, attachment).encode());
                attached.push(ciphertext);
            }
            place.insert(message)
        }
    };
    Some(message.as_slice())
}

/// What is owed to a member next.
pub(super) enum Payment<'c> {
    Message(PayloadKind, &'c [u8]),
    Nothing,
}

/// The next message owed to a member, and what is owed behind it.
pub(super) fn payment<'c, R: CryptoRng + ?Sized>(
    group: &Group,
    own: Option<&OwnChain>,
    me: Fingerprint,
    member: Fingerprint,
    debt: &mut Debt,
    cache: &'c mut Cache,
    rng: &mut R,
) -> Payment<'c> {
    let Cache { welcome, commit, announcement, other, attached } = cache;
    // First, so that a message sealed behind it can be read; a receiver keeps what comes too early.
    if own.is_some()
        && core::mem::take(&mut debt.announce)
        && group.member(member).is_some()
        // One that may not speak any more is not worth having: its successor will be owed to everyone.
        && let Some(chain) = own.filter(|chain| chain.is_live(group))
    {
        let content = announcement.get_or_insert_with(|| {
            let mut out = state::image(Announcement::LEN);
            chain.announcement(group.epoch(), group.transcript()).write(&mut out);
            out
        });
        return Payment::Message(PayloadKind::Announcement, content);
    }
    if let Some(epoch) = debt.welcome.take() {
        if epoch < group.epoch() {
            debt.commits_after = Some(epoch);
        }
        // Never a roster for someone who is not in it.
        if !group.brought(me, member, epoch) {
            return Payment::Nothing;
        }
        return match cached(welcome, epoch, group.id(), attached, rng, || group.welcome_of(epoch)) {
            Some(content) => Payment::Message(PayloadKind::Roster, content),
            None => Payment::Nothing,
        };
    }
    let convince = debt.convince.take();
    if let Some(after) = debt.commits_after.take()
        && let Some((begins, made)) = group.commits_after(after).next()
    {
        let follows = begins == after.saturating_add(1);
        // Whoever is out is told what put it out, and nothing of what comes after, unless it takes that to convince it.
        let concerned = |after: u64| group.concerns(member, after) || convince.is_some_and(|until| after < until);
        if follows && concerned(after) {
            let more = begins < group.epoch() && concerned(begins);
            (debt.commits_after, debt.convince) = if more { (Some(begins), convince) } else { (None, None) };
            let make = || Some(RosterMessage::Commit(group.id(), made.clone()));
            if let Some(content) = cached(commit, begins, group.id(), attached, rng, make) {
                return Payment::Message(PayloadKind::Roster, content);
            }
        }
        debt.gone |= !follows && group.member(member).is_some();
    }
    // Without a chain there is nothing to announce; its successor will be owed to everyone.
    debt.announce &= own.is_some();
    let control = if core::mem::take(&mut debt.gone) {
        // Whoever is out is told that, and nothing of where the group stands.
        let is_in = group.member(member).is_some();
        let (epoch, transcript) = if is_in { (group.epoch(), group.transcript()) } else { (0, [0; 32]) };
        Control::CommitsGone(group.id(), epoch, transcript)
    } else if core::mem::take(&mut debt.ask) {
        Control::CommitsWanted(group.id(), group.epoch(), group.reach())
    } else if core::mem::take(&mut debt.want) {
        Control::ChainWanted(group.id())
    } else if core::mem::take(&mut debt.acknowledge) {
        Control::ChainReceived(group.id())
    } else {
        return Payment::Nothing;
    };
    *other = guard(control.encode());
    Payment::Message(PayloadKind::Control, other)
}

/// Bytes as a plan holds them.
pub(super) fn kept(bytes: &[u8]) -> GuardedVec {
    let mut out = state::image(bytes.len());
    out.bytes(bytes);
    out
}
