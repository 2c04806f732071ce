//! What comes of groups: commits, welcomes and chains by the pairwise sessions, messages by the chains.

use crate::codec::Reader;
use crate::device::debts::Debt;
use crate::device::event::{Event, GroupEvent, MemberStatus, Opened};
use crate::device::group_debts::Moved;
use crate::device::notice::Notice;
use crate::device::plan::Change;
use crate::device::{Device, peer::Peer};
use crate::error::OpenError;
use crate::group::{ChainId, Group, GroupId, Received, Rival, Role};
use crate::keys::{Fingerprint, UnixTime};
use crate::limits::{MAX_ATTACHED_ROSTER, MAX_GROUPS, MAX_GROUPS_OF_PEER, MAX_STRANGERS_OWED};
use crate::message::Opening;
use crate::session::GroupContent;
use crate::wire::attachment::Attachment;
use crate::wire::payload::PayloadKind;
use crate::wire::roster::{Announcement, Roster, RosterCommit, RosterMessage};
use alloc::boxed::Box;
use alloc::vec::Vec;

/// What one group message, or one piece of news, changes.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) changes: Vec<Change>,
    pub(super) notices: Vec<Notice>,
}

impl Device {
    /// Opens a group's message in the chain that recognises it, or, on a search, might.
    pub(super) fn plan_group_message(
        &self,
        id: ChainId,
        opening: &Opening<'_>,
        search: bool,
        now: UnixTime,
    ) -> Result<(Vec<Change>, Opened), OpenError> {
        let chain = self.chains.get(&id).ok_or(OpenError::Unknown)?;
        let group = self.groups.get(&chain.group).ok_or(OpenError::Unknown)?;
        let (name, from) = (chain.group, chain.sender);
        let planned = chain.plan_open(opening, search, now, |epoch| {
            if epoch > group.epoch() {
                return Err(OpenError::CommitMissing(name, from));
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
        let (tag, epoch) = (*opening.tag(), planned.epoch);
        let verified = self.peers.get(&from).is_some_and(|peer| peer.verified);
        let status = MemberStatus { verified, certificate: self.peer_certificate(from, now) };
        let mut content = planned.content;
        let violation = OpenError::Violation(from);
        let event = match planned.kind {
            PayloadKind::Attachment => {
                let mut reader = Reader::new(&content);
                let attachment = Attachment::read(&mut reader).map_err(|_| violation)?;
                let note = reader.rest().to_vec();
                Event::GroupAttachment { group: name, from, tag, epoch, attachment, note, status }
            }
            PayloadKind::LongMessage => {
                let attachment = Reader::whole(&content, Attachment::read).map_err(|_| violation)?;
                Event::GroupLongMessage { group: name, from, tag, epoch, attachment, status }
            }
            _ => {
                let content = core::mem::take(&mut *content);
                Event::GroupMessage { group: name, from, tag, epoch, content, status }
            }
        };
        Ok((Vec::from([Change::ChainOpen(id, planned.step)]), Opened { event, notices }))
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
                RosterMessage::Elsewhere(group, attachment) => {
                    if attachment.content_len() > MAX_ATTACHED_ROSTER {
                        return Err(violation);
                    }
                    self.keep_early(from, group, PayloadKind::Roster, &content.bytes, now, &mut plan);
                    (group, GroupEvent::Elsewhere { name: *attachment.name() })
                }
                message => self.plan_roster(from, message, &content.bytes, now, &mut plan)?,
            }
        };
        changes.extend(plan.changes);
        notices.extend(plan.notices);
        Ok(Event::Group { group, from, what })
    }

    pub(super) fn plan_roster(
        &self,
        from: Fingerprint,
        message: RosterMessage,
        bytes: &[u8],
        now: UnixTime,
        plan: &mut Plan,
    ) -> Result<(GroupId, GroupEvent), OpenError> {
        match message {
            RosterMessage::Commit(group, commit) => {
                Ok((group, self.plan_commit(from, group, &commit, bytes, now, plan)?))
            }
            RosterMessage::Welcome(commit, roster) => {
                Ok((roster.group, self.plan_welcome(from, &commit, roster, now, plan)?))
            }
            RosterMessage::Elsewhere(..) => Err(OpenError::Violation(from)),
        }
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
            if !self.may_wait(from, id, bytes) {
                return Ok(GroupEvent::Refused);
            }
            self.keep_early(from, id, PayloadKind::Roster, bytes, now, plan);
            return Ok(GroupEvent::Waiting);
        };
        let mut after = before.clone();
        let others = self.waiting.get(&from).map(|waiting| waiting.commits(id)).unwrap_or_default();
        let received = after.take(commit, &others, now).map_err(|_| OpenError::Violation(from))?;
        match received {
            Received::Applied | Received::Superseded(_) => Ok(self.plan_moved(from, before, after, now, plan)),
            Received::Known => Ok(GroupEvent::Known),
            Received::Outvoted => {
                let branch = before.commits_after(0).find(|(_, kept)| kept.extends == commit.extends);
                let base = branch.map(|(begins, _)| begins.saturating_sub(1));
                // Strangers are told nothing. With what builds on it, it may be the better branch.
                if before.concerns(from, base.unwrap_or(0)) && self.keep_early(from, id, PayloadKind::Roster, bytes, now, plan)
                    // Answered once, where the branch begins.
                    && let Some(base) = base
                {
                    self.owe(id, from, plan, |debt| {
                        (debt.commits_after, debt.convince) = (Some(base), before.convinces(base));
                    });
                }
                Ok(GroupEvent::Outvoted)
            }
            Received::Early => {
                // Asked for once: an answer may be early too.
                let is_new = self.keep_early(from, id, PayloadKind::Roster, bytes, now, plan);
                if is_new && before.member(from).is_some() {
                    self.owe(id, from, plan, |debt| debt.ask = true);
                }
                Ok(GroupEvent::Waiting)
            }
            // Whoever knows the group's id could say so.
            Received::Fork if before.member(from).is_none() => Ok(GroupEvent::Refused),
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
            // Who is in already follows commits. Only a newcomer whose own welcome may have been outvoted takes another,
            // from an admin whom it knows; of two into the same roster, the better.
            let me_in = known.member(self.fingerprint()).is_some();
            let from_admin = is_admin(known, from);
            // Who was not put out hears of this device, and says so if it was moved elsewhere.
            let has_bringer = known.bringer().is_none_or(|bringer| group.member(bringer).is_some());
            // A newcomer may have been brought into a roster of someone's own making, which lacks those who tell it so. Anyone
            // else who is no member has no say.
            if known.member(from).is_none() && me_in && !known.is_new() {
                return Ok(GroupEvent::Refused);
            }
            match known.compare_welcome(&group).filter(|_| me_in && from_admin) {
                Some(Rival::Better) => {}
                Some(Rival::Worse) => return Ok(GroupEvent::Outvoted),
                Some(Rival::Forged) => return Ok(self.fork(known, from, group.epoch(), group.transcript(), plan)),
                _ if group.epoch() < known.epoch() || (me_in && !(known.is_new() && from_admin && has_bringer)) => {
                    return Ok(self.fork(known, from, group.epoch(), group.transcript(), plan));
                }
                _ => {}
            }
            plan.changes.extend(self.without_chains(id));
        } else if self.groups.len() >= MAX_GROUPS
            || self.groups.values().filter(|group| group.bringer() == Some(from)).count() >= MAX_GROUPS_OF_PEER
        {
            return Ok(GroupEvent::Refused);
        }
        let joined = group.epoch();
        let settled = self.settle_waiting(&mut group, now, plan);
        // Welcomes that were owed in an earlier membership can't be told any more; that is said when they are due. Those of
        // what a better welcome undoes were into rosters that never were.
        let mut debts = self.debts.get(&id).cloned().unwrap_or_default();
        debts.0.retain(|_, debt| {
            *debt = Debt { welcome: debt.welcome.filter(|epoch| *epoch < joined), ..Debt::default() };
            debt.welcome.is_some()
        });
        self.accept_chains(id, settled, now, true, &mut debts, plan);
        plan.changes.push(Change::Debts(id, debts));
        let (epoch, is_in) = (group.epoch(), group.member(self.fingerprint()).is_some());
        plan.changes.push(Change::Group(id, Some(Box::new(group))));
        plan.notices.push(Notice::NewChain(from));
        if is_in { Ok(GroupEvent::Joined { epoch }) } else { Ok(GroupEvent::Refused) }
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
            // Who was never welcomed has nothing to unlearn.
            let unwelcomed = |name| {
                self.debts.get(&id).and_then(|debts| debts.0.get(name)).is_some_and(|debt| debt.welcome.is_some())
            };
            for name in removed.iter().filter(|name| **name != self.fingerprint() && !unwelcomed(*name)) {
                match base.filter(|base| after.concerns(*name, *base)) {
                    Some(base) => debts.owe(*name, |debt| {
                        (debt.commits_after, debt.convince) = (Some(base), after.convinces(base));
                    }),
                    // Who came in only by what is undone knows nothing that the commits build on.
                    None => debts.owe(*name, |debt| debt.gone = true),
                }
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
        let removed = removed.into_iter().collect();
        GroupEvent::Changed { epoch, added, removed, superseded: lost.len(), own_superseded }
    }

    pub(super) fn owe(
        &self,
        group: GroupId,
        member: Fingerprint,
        plan: &mut Plan,
        change: impl FnOnce(&mut crate::device::debts::Debt),
    ) {
        let mut debts = self.debts.get(&group).cloned().unwrap_or_default();
        if !debts.0.contains_key(&member)
            && self.groups.get(&group).is_some_and(|group| {
                let is_stranger = |name: &Fingerprint| !group.concerns(*name, group.oldest_base());
                is_stranger(&member) && debts.0.keys().filter(|name| is_stranger(name)).count() >= MAX_STRANGERS_OWED
            })
        {
            // Strangers stand in no member's way.
            return;
        }
        debts.owe(member, change);
        plan.changes.push(Change::Debts(group, debts));
        plan.notices.push(Notice::GroupOwed(group));
    }

    /// Two rosters: each side is given the other's commits.
    pub(super) fn fork(
        &self,
        group: &Group,
        from: Fingerprint,
        epoch: u64,
        theirs: [u8; 32],
        plan: &mut Plan,
    ) -> GroupEvent {
        if group.member(from).is_some() {
            let oldest = group.oldest_base();
            self.owe(group.id(), from, plan, |debt| {
                debt.commits_after = (oldest < group.epoch()).then_some(oldest);
                debt.ask = true;
            });
        }
        GroupEvent::Fork { epoch, ours: group.transcript_at(epoch).unwrap_or([0; 32]), theirs }
    }
}

fn is_admin(group: &Group, peer: Fingerprint) -> bool {
    group.member(peer).is_some_and(|member| member.role() == Role::Admin)
}
