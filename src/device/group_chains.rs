//! Chains of a group's members: announcements in, chains that begin, go on and fade.

use crate::codec::Reader;
use crate::device::Device;
use crate::device::debts::Debts;
use crate::device::event::GroupEvent;
use crate::device::group_open::Plan;
use crate::device::notice::Notice;
use crate::device::plan::Change;
use crate::group::{ChainId, GroupId, MemberChain};
use crate::keys::{Fingerprint, UnixTime};
use crate::limits::MAX_MEMBER_CHAINS;
use crate::wire::payload::PayloadKind;
use crate::wire::roster::Announcement;
use alloc::boxed::Box;
use alloc::vec::Vec;

impl Device {
    pub(super) fn plan_announcement(
        &self,
        from: Fingerprint,
        announced: &Announcement,
        bytes: &[u8],
        now: UnixTime,
        plan: &mut Plan,
    ) -> GroupEvent {
        let id = announced.group;
        let Some(group) = self.groups.get(&id) else {
            self.keep_early(from, id, PayloadKind::Announcement, bytes, now, plan);
            return GroupEvent::Waiting;
        };
        let me_in = group.member(self.fingerprint()).is_some();
        match group.transcript_at(announced.epoch) {
            Some(hash) if hash != announced.transcript => {
                // This device may be the one that has to change its mind.
                self.keep_early(from, id, PayloadKind::Announcement, bytes, now, plan);
                if group.member(from).is_some() {
                    return self.fork(group, from, announced.epoch, announced.transcript, plan);
                }
                // It came in, or stays, by a commit that was outvoted here.
                let base = group.oldest_base();
                self.owe(id, from, plan, |debt| {
                    if group.concerns(from, base) {
                        debt.commits_after = Some(base);
                    } else {
                        debt.gone = true;
                    }
                });
                GroupEvent::Refused
            }
            None if announced.epoch > group.epoch() => {
                self.keep_early(from, id, PayloadKind::Announcement, bytes, now, plan);
                let base = group.oldest_base();
                // Who was put out lately is told so, and asked nothing: a question says where the group stands. Others who are
                // no members here are asked: they may be newcomers, or follow what was outvoted here.
                let was_put_out = group.member(from).is_none() && group.concerns(from, base);
                self.owe(id, from, plan, |debt| {
                    if was_put_out {
                        debt.commits_after = Some(base);
                    } else {
                        debt.ask = true;
                    }
                });
                GroupEvent::Waiting
            }
            Some(_) if me_in && group.member(from).is_some() => {
                // Under a roster that it was not in, nobody speaks.
                if !group.was_in(from, announced.epoch) {
                    return GroupEvent::Refused;
                }
                let chain = MemberChain::accept(from, announced, 0);
                if self.chains.contains_key(&chain.id) {
                    // The answer was lost.
                    self.owe(id, from, plan, |debt| debt.acknowledge = true);
                    return GroupEvent::Known;
                }
                let mut debts = self.debts.get(&id).cloned().unwrap_or_default();
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
    pub(super) fn accept_chains(
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
        let over = move |since: UnixTime, time: u64| now > since.plus(time);
        let fading = self.policy.fading;
        self.chains
            .iter()
            .filter(move |(_, chain)| {
                let group = self.groups.get(&chain.group);
                let ended = group.and_then(|group| group.ended_after(chain.epoch));
                // Which of two came later need not be which is newer: for as long as its sender may use it.
                let in_use = group.map_or(0, |group| group.policy().max_age).max(fading);
                chain.replaced.is_some_and(|since| over(since, in_use))
                    || ended.is_some_and(|since| over(since, fading))
            })
            .map(|(id, _)| *id)
    }
}
