//! What came of a group before what it builds on: kept for a while, and taken when that has come.

use crate::codec::Reader;
use crate::device::Device;
use crate::device::debts::{Early, Waiting};
use crate::device::group_debts::kept;
use crate::device::group_open::Plan;
use crate::device::notice::Notice;
use crate::device::plan::Change;
use crate::group::{Group, GroupId, Received};
use crate::keys::{Fingerprint, UnixTime};
use crate::limits::{MAX_COMPARISONS, MAX_WAITING_UNKNOWN};
use crate::wire::payload::PayloadKind;
use crate::wire::roster::{Announcement, RosterMessage};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

impl Device {
    /// Tries what was waiting for a group, as long as it gets on, and takes it out.
    pub(super) fn settle_waiting(
        &self,
        group: &mut Group,
        now: UnixTime,
        plan: &mut Plan,
    ) -> Vec<(Fingerprint, Announcement)> {
        let (id, me) = (group.id(), self.fingerprint());
        let concerned = self.waiting.iter().filter(|(_, kept)| kept.concerns(id));
        let mut waiting: BTreeMap<Fingerprint, Waiting> = concerned.map(|(peer, kept)| (*peer, kept.clone())).collect();
        // What extends the present roster is applied; all else is compared, which costs copies of the group: so much at once.
        let mut comparisons = MAX_COMPARISONS;
        loop {
            let mut got_on = false;
            for (peer, kept) in &mut waiting {
                // Commits are long to decode: only where one of them can be followed, or is of the past.
                let may_be_taken = |hash| if comparisons > 0 { group.knows(hash) } else { hash == group.transcript() };
                if !kept.0.iter().filter_map(|early| early.extends(id)).any(may_be_taken) {
                    continue;
                }
                let others = kept.commits(id);
                kept.0.retain(|early| {
                    let Some(hash) = early.extends(id) else { return true };
                    if hash != group.transcript() {
                        if comparisons == 0 {
                            return true;
                        }
                        // With others of the same peer it may be compared as often as there are.
                        comparisons = comparisons.saturating_sub(others.len());
                    }
                    let Ok(RosterMessage::Commit(_, commit)) = RosterMessage::decode(&early.bytes) else {
                        return false;
                    };
                    let received = group.take(&commit, &others, now);
                    got_on |= matches!(received, Ok(Received::Applied | Received::Superseded(_)));
                    if received == Ok(Received::Fork) && group.member(*peer).is_some() {
                        plan.notices.push(Notice::GroupFork { group: id, ours: group.transcript(), theirs: hash });
                    }
                    matches!(received, Ok(Received::Early | Received::Outvoted))
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
                    if group.member(me).is_none() || !group.was_in(*peer, announced.epoch) {
                        // Out again by a commit that was waiting too: no chain is for this device. Or the peer was not in yet.
                        return false;
                    }
                    announcements.push((*peer, announced));
                    return false;
                }
                // The newest of each peer stays until its roster comes, or a newer one.
                announced.epoch > group.epoch() || known.is_some()
            });
        }
        let fewer = |(peer, kept): &(Fingerprint, Waiting)| {
            self.waiting.get(peer).is_some_and(|before| before.0.len() != kept.0.len())
        };
        let changed = waiting.into_iter().filter(fewer);
        plan.changes.extend(changed.map(|(peer, kept)| Change::Waiting(peer, kept)));
        announcements
    }

    /// Keeps what came too early; whether it was not there yet.
    pub(super) fn keep_early(
        &self,
        from: Fingerprint,
        group: GroupId,
        kind: PayloadKind,
        bytes: &[u8],
        now: UnixTime,
        plan: &mut Plan,
    ) -> bool {
        if !self.may_wait(from, group, bytes) {
            return false;
        }
        let mut waiting = self.waiting.get(&from).cloned().unwrap_or_default();
        let is_new = waiting.keep(Early { group, kind, since: now, bytes: kept(bytes) });
        plan.changes.push(Change::Waiting(from, waiting));
        is_new
    }

    /// Strangers fill no disk.
    pub(super) fn may_wait(&self, from: Fingerprint, group: GroupId, bytes: &[u8]) -> bool {
        let is_member = self.groups.get(&group).is_some_and(|group| group.member(from).is_some());
        is_member || bytes.len() <= MAX_WAITING_UNKNOWN
    }
}
