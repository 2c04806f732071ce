//! What comes of groups: commits, welcomes and chains by the pairwise sessions, messages by the chains.

use crate::codec::Reader;
use crate::device::debts::{Debts, Early, Waiting};
use crate::device::event::{Event, GroupEvent, Notice, Opened};
use crate::device::group_debts::{Moved, kept};
use crate::device::pending::Change;
use crate::device::{Device, peer::Peer};
use crate::error::OpenError;
use crate::group::{ChainId, Group, GroupId, MemberChain, Received};
use crate::keys::{Fingerprint, UnixTime};
use crate::limits::{MAX_GROUPS, MAX_KEPT_COMMITS, MAX_MEMBER_CHAINS, MAX_WAITING_UNKNOWN};
use crate::message::Opening;
use crate::session::GroupContent;
use crate::wire::payload::PayloadKind;
use crate::wire::roster::{Announcement, Roster, RosterCommit, RosterMessage};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// What one group message, or one piece of news, changes.
#[derive(Default)]
struct Plan {
    changes: Vec<Change>,
    notices: Vec<Notice>,
}

impl Device {
    /// Opens a group's message in the chain that recognises it, or, on a search, might.
    pub(super) fn plan_group_message(
        &self,
        id: ChainId,
        opening: &Opening<'_>,
        search: bool,
    ) -> Result<(Vec<Change>, Opened), OpenError> {
        let chain = self.chains.get(&id).ok_or(OpenError::Unknown)?;
        let group = self.groups.get(&chain.group).ok_or(OpenError::Unknown)?;
        let (name, from) = (chain.group, chain.sender);
        let planned = chain.plan_open(opening, search, |epoch| {
            if epoch > group.epoch() {
                return Err(OpenError::CommitMissing(name));
            }
            let transcript = group.transcript_at(epoch).ok_or(OpenError::EpochGone(name))?;
            // A chain that was ended must not speak on.
            if group.may_speak(chain.epoch, epoch) { Ok(transcript) } else { Err(OpenError::RosterDiffers(name, from)) }
        })?;
        if self.peers.get(&from).is_some_and(|peer| peer.blocked) {
            return Err(OpenError::Blocked(from));
        }
        let mut notices = Vec::new();
        if planned.lost > 0 {
            notices.push(Notice::MessagesLost { peer: from, count: planned.lost });
        }
        let event = Event::GroupMessage {
            group: name,
            from,
            tag: *opening.tag(),
            epoch: planned.epoch,
            content: planned.content,
            verified: self.peers.get(&from).is_some_and(|peer| peer.verified),
        };
        Ok((Vec::from([Change::ChainOpen(id, Box::new(planned.step))]), Opened { event, notices }))
    }

    /// Takes in what a peer says of a group on its session.
    pub(super) fn plan_group_content(
        &self,
        peer: &Peer,
        content: &GroupContent,
        now: UnixTime,
        changes: &mut Vec<Change>,
        notices: &mut Vec<Notice>,
    ) -> Result<Event, OpenError> {
        let from = peer.fingerprint();
        let violation = OpenError::Violation(from);
        let mut plan = Plan::default();
        let (group, what) = if content.kind == PayloadKind::Announcement {
            let announced = Reader::whole(&content.bytes, Announcement::read).map_err(|_| violation)?;
            (announced.group, self.plan_announcement(from, &announced, &content.bytes, now, &mut plan))
        } else {
            match RosterMessage::decode(&content.bytes).map_err(|_| violation)? {
                RosterMessage::Commit(group, commit) => {
                    (group, self.plan_commit(from, group, &commit, &content.bytes, now, &mut plan)?)
                }
                RosterMessage::Welcome(commit, roster) => {
                    let group = roster.group;
                    (group, self.plan_welcome(from, &commit, roster, now, &mut plan)?)
                }
            }
        };
        changes.extend(plan.changes);
        notices.extend(plan.notices);
        Ok(Event::Group { group, from, what })
    }

    /// A member wants commits.
    pub(super) fn plan_commits_wanted(
        &self,
        from: Fingerprint,
        id: GroupId,
        after: u64,
        changes: &mut Vec<Change>,
        notices: &mut Vec<Notice>,
    ) -> Event {
        let what = match self.groups.get(&id) {
            Some(group) if group.concerns(from, after) && group.commits_after(after).next().is_some() => {
                let mut debts = self.debts.get(&id).cloned().unwrap_or_default();
                debts.owe(from, |debt| debt.commits_after = Some(after));
                changes.push(Change::Debts(id, debts));
                notices.push(Notice::GroupOwed(id));
                GroupEvent::CommitsWanted
            }
            _ => GroupEvent::Refused,
        };
        Event::Group { group: id, from, what }
    }

    // --- Commits -----------------------------------------------------------------------------------------------------

    fn plan_commit(
        &self,
        from: Fingerprint,
        id: GroupId,
        commit: &RosterCommit,
        bytes: &[u8],
        now: UnixTime,
        plan: &mut Plan,
    ) -> Result<GroupEvent, OpenError> {
        let Some(before) = self.groups.get(&id) else {
            if bytes.len() <= MAX_WAITING_UNKNOWN {
                self.keep_early(from, id, PayloadKind::Roster, bytes, plan);
            }
            return Ok(GroupEvent::Waiting);
        };
        let mut after = before.clone();
        let received = after.take(commit, now).map_err(|_| OpenError::Violation(from))?;
        match received {
            Received::Applied | Received::Superseded(_) => Ok(self.plan_moved(from, before, after, now, plan)),
            Received::Known => Ok(GroupEvent::Known),
            Received::Outvoted => {
                let base = before.commits_after(0).find(|(_, kept)| kept.extends == commit.extends);
                let base = base.map_or(0, |(begins, _)| begins.saturating_sub(1));
                // Strangers are told nothing.
                if before.concerns(from, base) {
                    self.owe(id, from, plan, |debt| debt.commits_after = Some(base));
                }
                Ok(GroupEvent::Outvoted)
            }
            Received::Early => {
                // Asked for once: an answer may be early too.
                let is_new = self.keep_early(from, id, PayloadKind::Roster, bytes, plan);
                if is_new && before.member(from).is_some() {
                    self.owe(id, from, plan, |debt| debt.ask_after = Some(before.epoch()));
                }
                Ok(GroupEvent::Waiting)
            }
            // Nothing is said: two sides that can't meet would never stop.
            Received::Fork => {
                Ok(GroupEvent::Fork { epoch: before.epoch(), ours: before.transcript(), theirs: commit.extends })
            }
        }
    }

    fn plan_welcome(
        &self,
        from: Fingerprint,
        commit: &RosterCommit,
        roster: Roster,
        now: UnixTime,
        plan: &mut Plan,
    ) -> Result<GroupEvent, OpenError> {
        let id = roster.group;
        let mut group = Group::welcomed(self.identity.public(), commit, roster, from, now)
            .map_err(|_| OpenError::Violation(from))?;
        if let Some(known) = self.groups.get(&id) {
            if known.transcript_at(group.epoch()) == Some(group.transcript()) {
                return Ok(GroupEvent::Known);
            }
            // Who is in already follows only an admin of the roster that it knows, and only forwards.
            let me_in = known.member(self.fingerprint()).is_some();
            let admin = known.member(from).is_some_and(|member| member.role() == crate::group::Role::Admin);
            if group.epoch() < known.epoch() || (me_in && !admin) {
                return Ok(self.fork(known, from, group.epoch(), group.transcript(), plan));
            }
            plan.changes.extend(self.without_chains(id));
        } else if self.groups.len() >= MAX_GROUPS {
            return Ok(GroupEvent::Refused);
        }
        let settled = self.settle_waiting(&mut group, now, plan);
        let mut debts = Debts::default();
        self.accept_chains(id, settled, now, true, &mut debts, plan);
        plan.changes.push(Change::Debts(id, debts));
        let epoch = group.epoch();
        plan.changes.push(Change::Group(id, Some(Box::new(group))));
        plan.notices.push(Notice::NewChain(from));
        Ok(GroupEvent::Joined { epoch })
    }

    /// A group's roster has become another one; more may follow from what was waiting for it.
    fn plan_moved(
        &self,
        from: Fingerprint,
        before: &Group,
        mut after: Box<Group>,
        now: UnixTime,
        plan: &mut Plan,
    ) -> GroupEvent {
        let id = after.id();
        let settled = self.settle_waiting(&mut after, now, plan);
        let undone = |(begins, _): &(u64, &RosterCommit)| after.transcript_at(*begins) != before.transcript_at(*begins);
        let lost: Vec<Fingerprint> = before.commits_after(0).filter(undone).map(|(_, commit)| commit.signer).collect();
        let Moved { added, removed, mut debts, changes, .. } = self.moved(before, &after);
        plan.changes.extend(changes);
        let own_superseded = lost.contains(&self.fingerprint());
        if own_superseded {
            // Nobody else can tell those whom only this device's commit had added.
            let base = after
                .commits_after(0)
                .find(|(begins, _)| after.transcript_at(*begins) != before.transcript_at(*begins));
            let base = base.map(|(begins, _)| begins.saturating_sub(1));
            for name in removed.iter().filter(|name| **name != self.fingerprint()) {
                debts.owe(*name, |debt| debt.commits_after = base);
            }
        }
        self.accept_chains(id, settled, now, false, &mut debts, plan);
        if !debts.0.is_empty() {
            plan.notices.push(Notice::GroupOwed(id));
        }
        plan.changes.push(Change::Debts(id, debts));
        let epoch = after.epoch();
        plan.changes.push(Change::Group(id, Some(after)));
        // Messages that named this epoch can be read now.
        plan.notices.push(Notice::NewChain(from));
        GroupEvent::Changed { epoch, added, removed, superseded: lost.len(), own_superseded }
    }

    /// Tries what was waiting for a group, as long as it gets on, and takes it out.
    fn settle_waiting(&self, group: &mut Group, now: UnixTime, plan: &mut Plan) -> Vec<(Fingerprint, Announcement)> {
        let id = group.id();
        let mut waiting: BTreeMap<Fingerprint, Waiting> = BTreeMap::new();
        waiting.extend(
            self.waiting.iter().filter(|(_, kept)| kept.concerns(id)).map(|(peer, kept)| (*peer, kept.clone())),
        );
        loop {
            let mut got_on = false;
            for kept in waiting.values_mut() {
                kept.0.retain(|early| {
                    if early.group != id || early.kind != PayloadKind::Roster {
                        return true;
                    }
                    let Ok(RosterMessage::Commit(_, commit)) = RosterMessage::decode(&early.bytes) else {
                        return false;
                    };
                    let received = group.take(&commit, now);
                    got_on |= matches!(received, Ok(Received::Applied | Received::Superseded(_)));
                    matches!(received, Ok(Received::Early))
                });
            }
            if !got_on {
                break;
            }
        }
        let mut announcements = Vec::new();
        for (peer, kept) in &mut waiting {
            kept.0.retain(|early| {
                if early.group != id || early.kind != PayloadKind::Announcement {
                    return true;
                }
                let Ok(announced) = Reader::whole(&early.bytes, Announcement::read) else { return false };
                let known = group.transcript_at(announced.epoch);
                if known == Some(announced.transcript) && group.member(*peer).is_some() {
                    announcements.push((*peer, announced));
                    return false;
                }
                // The newest of each peer stays until its roster comes, or a newer one.
                announced.epoch > group.epoch() || known.is_some()
            });
        }
        plan.changes.extend(waiting.into_iter().map(|(peer, kept)| Change::Waiting(peer, kept)));
        announcements
    }

    /// Keeps what came too early; whether it was not there yet.
    fn keep_early(&self, from: Fingerprint, group: GroupId, kind: PayloadKind, bytes: &[u8], plan: &mut Plan) -> bool {
        let mut waiting = self.waiting.get(&from).cloned().unwrap_or_default();
        let is_new = waiting.keep(Early { group, kind, bytes: kept(bytes) });
        plan.changes.push(Change::Waiting(from, waiting));
        is_new
    }

    fn owe(
        &self,
        group: GroupId,
        member: Fingerprint,
        plan: &mut Plan,
        change: impl FnOnce(&mut crate::device::debts::Debt),
    ) {
        let mut debts = self.debts.get(&group).cloned().unwrap_or_default();
        debts.owe(member, change);
        plan.changes.push(Change::Debts(group, debts));
        plan.notices.push(Notice::GroupOwed(group));
    }

    /// Two rosters: each side is given the other's commits.
    fn fork(&self, group: &Group, from: Fingerprint, epoch: u64, theirs: [u8; 32], plan: &mut Plan) -> GroupEvent {
        if group.member(from).is_some() {
            let oldest = group.commits_after(0).next().map(|(begins, _)| begins.saturating_sub(1));
            let depth = u64::try_from(MAX_KEPT_COMMITS).unwrap_or(u64::MAX);
            self.owe(group.id(), from, plan, |debt| {
                debt.commits_after = oldest;
                debt.ask_after = Some(group.epoch().saturating_sub(depth));
            });
        }
        GroupEvent::Fork { epoch, ours: group.transcript_at(epoch).unwrap_or([0; 32]), theirs }
    }

    // --- Chains ------------------------------------------------------------------------------------------------------

    fn plan_announcement(
        &self,
        from: Fingerprint,
        announced: &Announcement,
        bytes: &[u8],
        now: UnixTime,
        plan: &mut Plan,
    ) -> GroupEvent {
        let id = announced.group;
        let Some(group) = self.groups.get(&id) else {
            self.keep_early(from, id, PayloadKind::Announcement, bytes, plan);
            return GroupEvent::Waiting;
        };
        let me_in = group.member(self.fingerprint()).is_some();
        match group.transcript_at(announced.epoch) {
            Some(hash) if hash != announced.transcript => {
                // This device may be the one that has to change its mind.
                self.keep_early(from, id, PayloadKind::Announcement, bytes, plan);
                self.fork(group, from, announced.epoch, announced.transcript, plan)
            }
            None if announced.epoch > group.epoch() => {
                self.keep_early(from, id, PayloadKind::Announcement, bytes, plan);
                if group.member(from).is_some() {
                    self.owe(id, from, plan, |debt| debt.ask_after = Some(group.epoch()));
                }
                GroupEvent::Waiting
            }
            Some(_) if me_in && group.member(from).is_some() => {
                let mut debts = self.debts.get(&id).cloned().unwrap_or_default();
                let chain = MemberChain::accept(from, announced, 0);
                if self.chains.contains_key(&chain.id) {
                    return GroupEvent::Known;
                }
                let copy = Reader::whole(bytes, Announcement::read);
                let announced = copy.into_iter().map(|announced| (from, announced)).collect();
                self.accept_chains(id, announced, now, false, &mut debts, plan);
                plan.changes.push(Change::Debts(id, debts));
                plan.notices.push(Notice::GroupOwed(id));
                GroupEvent::ChainAnnounced
            }
            // It may not know yet that it is out.
            Some(_) if group.concerns(from, announced.epoch) => {
                self.owe(id, from, plan, |debt| debt.commits_after = Some(announced.epoch));
                GroupEvent::Refused
            }
            _ => GroupEvent::Refused,
        }
    }

    /// Begins chains of members; the ones before them go on for a while. `afresh`: all older ones are being wiped.
    fn accept_chains(
        &self,
        group: GroupId,
        announcements: Vec<(Fingerprint, Announcement)>,
        now: UnixTime,
        afresh: bool,
        debts: &mut Debts,
        plan: &mut Plan,
    ) {
        for (from, announced) in announcements {
            let mut earlier: Vec<&MemberChain> = Vec::new();
            if !afresh {
                let chains = self.chains_of_member(group, from).filter_map(|id| self.chains.get(&id));
                earlier.extend(chains.map(|chain| &**chain));
                earlier.sort_by_key(|chain| chain.number);
            }
            let number = earlier.last().map_or(0, |last| last.number.saturating_add(1));
            let chain = MemberChain::accept(from, &announced, number);
            if earlier.iter().any(|known| known.id == chain.id) {
                continue;
            }
            let surplus = earlier.len().saturating_add(1).saturating_sub(MAX_MEMBER_CHAINS);
            for (index, old) in earlier.iter().enumerate() {
                if index < surplus {
                    plan.changes.push(Change::Chain(old.id, None));
                } else if old.replaced.is_none() {
                    plan.changes.push(Change::ChainReplaced(old.id, Some(now)));
                }
            }
            plan.changes.push(Change::Chain(chain.id, Some(Box::new(chain))));
            plan.notices.push(Notice::NewChain(from));
            debts.owe(from, |debt| debt.acknowledge = true);
        }
    }

    /// Chains that have had their time: replaced, or ended by a commit, long enough ago.
    pub(super) fn faded_chains(&self, now: UnixTime) -> impl Iterator<Item = ChainId> {
        let over = move |since: UnixTime| now > since.plus(self.policy.fading);
        self.chains
            .iter()
            .filter(move |(_, chain)| {
                let ended = self.groups.get(&chain.group).and_then(|group| group.ended_after(chain.epoch));
                chain.replaced.is_some_and(over) || ended.is_some_and(over)
            })
            .map(|(id, _)| *id)
    }
}
