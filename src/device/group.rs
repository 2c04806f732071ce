//! Groups: changing rosters, sealing for all, paying what is owed to members.

use crate::device::Device;
use crate::device::debts::Debts;
use crate::device::fanout::{Delivery, Unreachable};
use crate::device::group_debts::{Paid, Voice};
use crate::device::pending::Pending;
use crate::device::plan::Change;
use crate::device::seal::Sealed;
use crate::error::{GroupError, SealError};
use crate::group::{Group, GroupId, GroupPolicy, OwnChain, Role, RosterChange};
use crate::keys::{Fingerprint, MailboxAddress, UnixTime};
use crate::limits::MAX_GROUPS;
use crate::message::Outbound;
use crate::session::Control;
use crate::wire::payload::PayloadKind;
use alloc::boxed::Box;
use alloc::vec::Vec;
use rand_core::CryptoRng;

/// A change that a member asks of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupChange {
    /// Adds a peer of this device.
    Add(Fingerprint, Role),
    /// Removes a member.
    Remove(Fingerprint),
    /// Makes a member an admin, or an admin a member.
    SetRole(Fingerprint, Role),
    /// Sets when senders replace their chains.
    SetPolicy(GroupPolicy),
}

/// A roster that was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupCommitted {
    /// The epoch that begins.
    pub epoch: u64,
    /// The commit, or the welcome, for each who is or was a member: as many as fit
    /// [`crate::limits::MAX_GROUP_BATCH`]; the others are owed ([`Device::seal_group_owed`]).
    pub deliveries: Vec<Delivery>,
    /// For whom none could be sealed.
    pub unreachable: Vec<Unreachable>,
    /// Ciphertexts of commits and welcomes longer than [`crate::limits::MAX_INLINE_ROSTER`]: store each under its SHA-256
    /// where the members can fetch it, before the envelopes leave.
    pub attached: Vec<Vec<u8>>,
}

/// A message for a group.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupSealed {
    /// The envelope: the same bytes for every other member.
    pub envelope: Vec<u8>,
    /// Where it can be left, once for all members, on relays that have mailboxes.
    pub mailbox: MailboxAddress,
    /// What single members need to read it: this device's chain, mostly none. At most one for each member; whoever is
    /// owed more gets it by [`Device::seal_group_owed`].
    pub deliveries: Vec<Delivery>,
    /// Who can't read it, since they lack this device's chain and it could not be sealed for them
    /// ([`Device::prepare_group`]); with [`SealError::Later`], since there were too many at once.
    pub unreachable: Vec<Unreachable>,
    /// As [`GroupCommitted::attached`], where an older debt was paid on the way.
    pub attached: Vec<Vec<u8>>,
}

/// How a group stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupStatus {
    /// The roster: members, roles, epoch, policy, transcript hash.
    pub roster: Group,
    /// Whether this device is in it.
    pub member: bool,
    /// To how many members something is owed.
    pub owed: usize,
    /// Chains of members that this device can read.
    pub chains: usize,
}

impl Device {
    /// A new group with this device as its only member, an admin. Draws 32 bytes: the group's id.
    ///
    /// # Errors
    /// [`GroupError::Policy`], [`GroupError::TooMany`]; nothing has changed.
    pub fn create_group<R: CryptoRng + ?Sized>(
        &mut self,
        policy: GroupPolicy,
        rng: &mut R,
    ) -> Result<Pending<'_, GroupId>, GroupError> {
        if self.groups.len() >= MAX_GROUPS {
            return Err(GroupError::TooMany);
        }
        let group = Group::create(&self.identity, policy, rng)?;
        let id = group.id();
        let plan = Vec::from([Change::Group(id, Some(Box::new(group)))]);
        Ok(Pending::new(self, plan, id))
    }

    /// Changes a group's roster, in this device's name: all changes or none. Seals the commit for every other member,
    /// removed ones too, and a welcome for each newcomer. Draws as [`Self::seal`] does, for each.
    ///
    /// # Errors
    /// [`GroupError`]; nothing has changed.
    pub fn commit_group<R: CryptoRng + ?Sized>(
        &mut self,
        group: GroupId,
        changes: &[GroupChange],
        now: UnixTime,
        rng: &mut R,
    ) -> Result<Pending<'_, GroupCommitted>, GroupError> {
        let roster_change = |change: &GroupChange| match *change {
            GroupChange::Add(peer, _) if peer == self.fingerprint() => Err(GroupError::AlreadyMember),
            GroupChange::Add(peer, role) => {
                let known = self.peers.get(&peer).ok_or(GroupError::Seal(SealError::UnknownPeer))?;
                Ok(RosterChange::Add(known.identity, role))
            }
            GroupChange::Remove(member) => Ok(RosterChange::Remove(member)),
            GroupChange::SetRole(member, role) => Ok(RosterChange::SetRole(member, role)),
            GroupChange::SetPolicy(policy) => Ok(RosterChange::SetPolicy(policy)),
        };
        let changes = changes.iter().map(roster_change).collect::<Result<Vec<_>, GroupError>>()?;
        self.change_roster(group, &changes, now, rng)
    }

    /// Leaves a group. Its admins can add this device again. Should the others have chosen a better commit for the same
    /// epoch, a [`crate::device::GroupEvent::Changed`] says so, and this device is still in.
    ///
    /// # Errors
    /// [`GroupError::UnknownGroup`], [`GroupError::NotMember`]; nothing has changed.
    pub fn leave_group<R: CryptoRng + ?Sized>(
        &mut self,
        group: GroupId,
        now: UnixTime,
        rng: &mut R,
    ) -> Result<Pending<'_, GroupCommitted>, GroupError> {
        self.change_roster(group, &[RosterChange::Leave], now, rng)
    }

    fn change_roster<R: CryptoRng + ?Sized>(
        &mut self,
        group: GroupId,
        changes: &[RosterChange],
        now: UnixTime,
        rng: &mut R,
    ) -> Result<Pending<'_, GroupCommitted>, GroupError> {
        let before = self.groups.get(&group).ok_or(GroupError::UnknownGroup)?;
        let mut after = before.clone();
        after.commit(&self.identity, changes, now)?;
        let (base, epoch) = (before.epoch(), after.epoch());
        let mut moved = self.moved(before, &after);
        for member in before.members().map(|(name, _)| name).chain(moved.added.iter().copied()) {
            if member == self.fingerprint() {
                continue;
            }
            let newcomer = moved.added.contains(&member);
            moved.debts.owe(member, |debt| match debt.welcome {
                _ if newcomer => debt.welcome = Some(epoch),
                // Its welcome comes first, and the commits after that.
                Some(_) => {}
                None => debt.commits_after = Some(debt.commits_after.map_or(base, |earlier| earlier.min(base))),
            });
        }
        let mut plan = moved.changes;
        let own = moved.own_chain_stays.then(|| self.own_chains.get(&group)).flatten();
        let paid =
            self.pay(&after, own.map(|chain| Voice { chain, first: false }), &mut moved.debts, now, rng, &mut plan);
        plan.push(Change::Group(group, Some(after)));
        plan.push(Change::Debts(group, moved.debts));
        let committed = GroupCommitted {
            epoch,
            deliveries: paid.deliveries,
            unreachable: paid.unreachable,
            attached: paid.attached,
        };
        Ok(Pending::new(self, plan, committed))
    }

    /// Seals a message for a group: one envelope for all, and, where members lack this device's chain, that chain for
    /// each of them.
    ///
    /// Draws, when a new chain is due, 96 bytes (key, header secret, signature seed), then 12 for the nonce, then as
    /// [`Self::seal`] does for each member that is owed something.
    ///
    /// # Errors
    /// [`GroupError::UnknownGroup`], [`GroupError::NotMember`], [`GroupError::Seal`] with [`SealError::TooLong`]; nothing
    /// has changed.
    pub fn seal_group<R: CryptoRng + ?Sized>(
        &mut self,
        group: GroupId,
        content: &[u8],
        now: UnixTime,
        rng: &mut R,
    ) -> Result<Pending<'_, GroupSealed>, GroupError> {
        self.seal_for_group(group, Outbound { kind: PayloadKind::Application, content }, now, rng)
    }

    pub(super) fn seal_for_group<R: CryptoRng + ?Sized>(
        &mut self,
        group: GroupId,
        message: Outbound<'_>,
        now: UnixTime,
        rng: &mut R,
    ) -> Result<Pending<'_, GroupSealed>, GroupError> {
        let roster = self.groups.get(&group).ok_or(GroupError::UnknownGroup)?;
        let (fresh, mut debts) = self.begin_chain(roster, now, rng)?;
        let mut plan = Vec::new();
        let present = self.own_chains.get(&group);
        let chain = fresh.as_ref().or(present).ok_or(GroupError::UnknownGroup)?;
        let (epoch, transcript) = (roster.epoch(), roster.transcript());
        let mailbox = chain.mailbox();
        let (mut step, envelope) = chain.plan_seal(epoch, &transcript, message, self.policy.padding, rng)?;
        // Chains are announced as they stand before this message, so that it can be read.
        let paid = if debts.0.is_empty() {
            Paid::default()
        } else {
            let paid = self.pay(roster, Some(Voice { chain, first: true }), &mut debts, now, rng, &mut plan);
            plan.push(Change::Debts(group, debts));
            paid
        };
        plan.push(match fresh {
            Some(mut fresh) => {
                fresh.swap(&mut step);
                Change::OwnChain(group, Some(fresh))
            }
            None => Change::OwnStep(group, step),
        });
        let sealed = GroupSealed {
            envelope,
            mailbox,
            deliveries: paid.deliveries,
            unreachable: paid.unreachable,
            attached: paid.attached,
        };
        Ok(Pending::new(self, plan, sealed))
    }

    /// Makes sealing for a group ready: begins a chain if one is due, and seals what members are owed, that chain
    /// included. Whoever is unreachable here can't read what is sealed before it was given the chain: fetch a bundle for
    /// each, [`Self::add_peer`], and [`Self::seal_group_owed`], then seal. Draws as [`Self::seal_group`] does.
    ///
    /// # Errors
    /// [`GroupError::UnknownGroup`], [`GroupError::NotMember`]; nothing has changed.
    pub fn prepare_group<R: CryptoRng + ?Sized>(
        &mut self,
        group: GroupId,
        now: UnixTime,
        rng: &mut R,
    ) -> Result<Pending<'_, GroupCommitted>, GroupError> {
        let roster = self.groups.get(&group).ok_or(GroupError::UnknownGroup)?;
        let (fresh, mut debts) = self.begin_chain(roster, now, rng)?;
        let own = fresh.as_ref().or_else(|| self.own_chains.get(&group)).map(|chain| &**chain);
        let mut plan = Vec::new();
        let paid = self.pay(roster, own.map(|chain| Voice { chain, first: true }), &mut debts, now, rng, &mut plan);
        let epoch = roster.epoch();
        plan.push(Change::Debts(group, debts));
        if fresh.is_some() {
            plan.push(Change::OwnChain(group, fresh));
        }
        let ready = GroupCommitted {
            epoch,
            deliveries: paid.deliveries,
            unreachable: paid.unreachable,
            attached: paid.attached,
        };
        Ok(Pending::new(self, plan, ready))
    }

    /// A new chain if one is due, and what is owed then.
    fn begin_chain<R: CryptoRng + ?Sized>(
        &self,
        roster: &Group,
        now: UnixTime,
        rng: &mut R,
    ) -> Result<(Option<Box<OwnChain>>, Debts), GroupError> {
        let (group, me) = (roster.id(), self.fingerprint());
        roster.member(me).ok_or(GroupError::NotMember)?;
        let (epoch, transcript) = (roster.epoch(), roster.transcript());
        let mut debts = self.debts.get(&group).cloned().unwrap_or_default();
        let usable = self
            .own_chains
            .get(&group)
            .is_some_and(|chain| chain.is_live(roster) && !chain.is_due(roster.policy(), now));
        if usable {
            return Ok((None, debts));
        }
        for (member, _) in roster.members().filter(|(member, _)| *member != me) {
            debts.owe(member, |debt| debt.announce = true);
        }
        Ok((Some(Box::new(OwnChain::generate(group, me, epoch, transcript, now, rng))), debts))
    }

    /// Ends this device's own chain in every group: the next [`Self::prepare_group`] or [`Self::seal_group`] begins another
    /// and owes it to all members. After a backup was restored (members have read beyond where the old chain stands, and
    /// would drop what comes as duplicates), and after a theft. The result is how many there were.
    pub fn renew_chains(&mut self) -> Pending<'_, usize> {
        let plan: Vec<Change> = self.own_chains.keys().map(|group| Change::OwnChain(*group, None)).collect();
        let count = plan.len();
        Pending::new(self, plan, count)
    }

    /// Owes a member again what it may have lost: this device's chain, as it stands then, and, if this device brought it in
    /// and has heard no chain of it, its welcome, as long as that is kept (8 commits). For one that has not said that it has
    /// the chain ([`GroupEvent::ChainReceived`](crate::device::GroupEvent::ChainReceived), each time), or can't read what
    /// others can. Then [`Self::seal_group_owed`]. Without a chain none is owed: the next one goes to everybody.
    ///
    /// # Errors
    /// [`GroupError::UnknownGroup`]; [`GroupError::NotMember`] if it is none.
    pub fn announce_again(&mut self, group: GroupId, member: Fingerprint) -> Result<Pending<'_, ()>, GroupError> {
        let roster = self.groups.get(&group).ok_or(GroupError::UnknownGroup)?;
        roster.member(member).ok_or(GroupError::NotMember)?;
        let mut debts = self.debts.get(&group).cloned().unwrap_or_default();
        self.owe_again(roster, member, &mut debts);
        Ok(Pending::new(self, Vec::from([Change::Debts(group, debts)]), ()))
    }

    fn owe_again(&self, roster: &Group, member: Fingerprint, debts: &mut Debts) {
        let id = roster.id();
        // A member that has announced a chain has its welcome.
        let unheard = self.chains_of_member(id, member).next().is_none();
        let welcome = roster.brought_at(self.fingerprint(), member).filter(|_| unheard);
        debts.owe(member, |debt| {
            debt.announce |= self.own_chains.contains_key(&id);
            debt.welcome = welcome.or(debt.welcome);
        });
    }

    /// What was sealed for a peer on a session that it has lost may have been this device's chains, or welcomes: they are owed
    /// again. The result are the groups.
    pub(super) fn owe_chains(&self, peer: Fingerprint, plan: &mut Vec<Change>) -> Vec<GroupId> {
        let mut groups = Vec::new();
        for (id, roster) in self.groups.iter().filter(|(_, roster)| roster.member(peer).is_some()) {
            let planned = plan.iter_mut().rev().find_map(|change| match change {
                Change::Debts(of, debts) if of == id => Some(debts),
                _ => None,
            });
            let present = || self.debts.get(id).cloned().unwrap_or_default();
            let mut debts = planned.as_deref().cloned().unwrap_or_else(present);
            let before = debts.clone();
            self.owe_again(roster, peer, &mut debts);
            if debts == before {
                continue;
            }
            groups.push(*id);
            match planned {
                Some(planned) => *planned = debts,
                None => plan.push(Change::Debts(*id, debts)),
            }
        }
        groups
    }

    /// Seals what is owed to members of a group, one envelope for each: commits, welcomes, chains, questions and answers.
    /// Call it until it gives no more envelopes. Draws as [`Self::seal`] does for each.
    ///
    /// # Errors
    /// [`GroupError::UnknownGroup`].
    pub fn seal_group_owed<R: CryptoRng + ?Sized>(
        &mut self,
        group: GroupId,
        now: UnixTime,
        rng: &mut R,
    ) -> Result<Pending<'_, GroupCommitted>, GroupError> {
        let roster = self.groups.get(&group).ok_or(GroupError::UnknownGroup)?;
        let epoch = roster.epoch();
        let mut plan = Vec::new();
        let mut committed =
            GroupCommitted { epoch, deliveries: Vec::new(), unreachable: Vec::new(), attached: Vec::new() };
        if let Some(debts) = self.debts.get(&group) {
            let mut debts = debts.clone();
            let own = self.own_chains.get(&group).map(|chain| &**chain);
            let paid =
                self.pay(roster, own.map(|chain| Voice { chain, first: false }), &mut debts, now, rng, &mut plan);
            (committed.deliveries, committed.unreachable) = (paid.deliveries, paid.unreachable);
            committed.attached = paid.attached;
            plan.push(Change::Debts(group, debts));
        }
        Ok(Pending::new(self, plan, committed))
    }

    /// Asks a member for the commits that this device misses, as after [`crate::error::OpenError::CommitMissing`]. Draws
    /// as [`Self::seal`] does.
    ///
    /// # Errors
    /// [`GroupError::UnknownGroup`], [`GroupError::Seal`]; nothing has changed.
    pub fn ask_for_commits<R: CryptoRng + ?Sized>(
        &mut self,
        group: GroupId,
        member: Fingerprint,
        now: UnixTime,
        rng: &mut R,
    ) -> Result<Pending<'_, Sealed>, GroupError> {
        let roster = self.groups.get(&group).ok_or(GroupError::UnknownGroup)?;
        let content = Control::CommitsWanted(group, roster.epoch(), roster.reach()).encode();
        let message = Outbound { kind: PayloadKind::Control, content: &content };
        let (plan, envelope) = self.plan_seal(member, message, now, rng)?;
        Ok(Pending::new(self, plan, envelope))
    }

    /// The groups, by name.
    pub fn groups(&self) -> impl Iterator<Item = GroupId> {
        self.groups.keys().copied()
    }

    /// How a group stands. Copies its roster.
    pub fn group(&self, group: GroupId) -> Option<GroupStatus> {
        let roster = self.groups.get(&group)?;
        Some(GroupStatus {
            roster: (**roster).clone(),
            member: roster.member(self.fingerprint()).is_some(),
            owed: self.debts.get(&group).map_or(0, |debts| debts.0.len()),
            chains: self.chains_in(group).count(),
        })
    }

    /// Forgets a group and wipes its chains, mostly one that this device has left.
    ///
    /// # Errors
    /// [`GroupError::UnknownGroup`].
    pub fn forget_group(&mut self, group: GroupId) -> Result<Pending<'_, ()>, GroupError> {
        self.groups.get(&group).ok_or(GroupError::UnknownGroup)?;
        let mut plan = self.without_chains(group);
        plan.push(Change::Debts(group, Debts::default()));
        plan.push(Change::Group(group, None));
        Ok(Pending::new(self, plan, ()))
    }
}
