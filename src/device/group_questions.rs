//! Questions of members for commits, and what there is to say.

use crate::device::Device;
use crate::device::event::{Event, GroupEvent};
use crate::device::group_open::Plan;
use crate::device::notice::Notice;
use crate::device::plan::Change;
use crate::group::GroupId;
use crate::keys::Fingerprint;
use alloc::vec::Vec;

impl Device {
    /// A member wants commits: those after the newest epoch on which both agree.
    pub(super) fn plan_commits_wanted(
        &self,
        from: Fingerprint,
        id: GroupId,
        (epoch, hashes): (u64, &[[u8; 32]]),
        changes: &mut Vec<Change>,
        notices: &mut Vec<Notice>,
    ) -> Event {
        let mut plan = Plan::default();
        let what = match self.groups.get(&id) {
            Some(group) => match group.parting(epoch, hashes) {
                Some(base) if base < group.oldest_base() && base == epoch => {
                    // Only behind, but too far.
                    self.owe(id, from, &mut plan, |debt| debt.gone = true);
                    GroupEvent::CommitsWanted
                }
                parting if parting.is_none_or(|base| base < group.oldest_base()) => {
                    // Neither can follow the other.
                    self.owe(id, from, &mut plan, |debt| debt.gone = true);
                    let (ours, theirs) = (group.hash_at(epoch), hashes.first().copied().unwrap_or([0; 32]));
                    // What came long before its welcome this device does not know: who is that far behind is no fork.
                    let can_tell = ours.is_some() || epoch > group.epoch();
                    if group.member(from).is_some() && can_tell {
                        GroupEvent::Fork { epoch, ours: ours.unwrap_or([0; 32]), theirs }
                    } else {
                        GroupEvent::Refused
                    }
                }
                Some(base) if base < group.epoch() && group.concerns(from, base) => {
                    // Further on, on another branch: this device has something to learn. Whoever is out shows its branch first:
                    // a hash is soon invented.
                    let ask = epoch > group.epoch() && group.member(from).is_some();
                    self.owe(id, from, &mut plan, |debt| {
                        debt.commits_after = Some(base);
                        debt.ask |= ask;
                    });
                    GroupEvent::CommitsWanted
                }
                // It is further on, on the same branch.
                Some(base) if base < epoch && group.member(from).is_some() => {
                    self.owe(id, from, &mut plan, |debt| debt.ask = true);
                    GroupEvent::CommitsWanted
                }
                _ => GroupEvent::Refused,
            },
            None => GroupEvent::Refused,
        };
        changes.extend(plan.changes);
        notices.extend(plan.notices);
        Event::Group { group: id, from, what }
    }

    /// A member has lost this device's chain. Without one there is nothing to say: the next one goes to everybody.
    pub(super) fn plan_chain_wanted(
        &self,
        from: Fingerprint,
        id: GroupId,
        changes: &mut Vec<Change>,
        notices: &mut Vec<Notice>,
    ) -> Event {
        let mut plan = Plan::default();
        let is_member = self.groups.get(&id).is_some_and(|group| group.member(from).is_some());
        let what = if is_member && self.own_chains.contains_key(&id) {
            self.owe(id, from, &mut plan, |debt| debt.announce = true);
            GroupEvent::ChainWanted
        } else {
            GroupEvent::Refused
        };
        changes.extend(plan.changes);
        notices.extend(plan.notices);
        Event::Group { group: id, from, what }
    }

    /// A member, or who brought this device in, keeps no commits that would lead to where it stands.
    pub(super) fn commits_gone(&self, from: Fingerprint, id: GroupId, epoch: u64, theirs: [u8; 32]) -> Event {
        let what = match self.groups.get(&id) {
            Some(group) if group.member(from).is_none() && group.bringer() != Some(from) => GroupEvent::Refused,
            Some(group) if group.hash_at(epoch) == Some(theirs) => GroupEvent::Known,
            Some(group) => GroupEvent::Fork { epoch, ours: group.hash_at(epoch).unwrap_or([0; 32]), theirs },
            None => GroupEvent::Refused,
        };
        Event::Group { group: id, from, what }
    }
}
