//! What a device owes to members of a group, and what it holds for groups until what comes before it is here.

use crate::codec::{Reader, Write};
use crate::crypto::aead;
use crate::device::plan::Emptiness;
use crate::error::DecodeError;
use crate::group::GroupId;
use crate::keys::{Fingerprint, UnixTime};
use crate::limits::{MAX_GROUP_MEMBERS, MAX_SEALED_LEN, MAX_WAITING, MAX_WAITING_BYTES, MAX_WAITING_OF_PEER};
use crate::secret::{GuardedVec, guard};
use crate::wire::attachment::Attachment;
use crate::wire::payload::PayloadKind;
use crate::wire::roster::{RosterCommit, RosterMessage};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// What is owed to one member. Paid one message at a time, the chain first, then in the order of the fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a debt of its own")]
pub(super) struct Debt {
    /// The welcome of the commit that began this epoch.
    pub(super) welcome: Option<u64>,
    /// The commits after this epoch.
    pub(super) commits_after: Option<u64>,
    /// Up to which epoch they are owed to someone who is out, since it follows a branch that was outvoted.
    pub(super) convince: Option<u64>,
    /// Our question for the commits after our epoch.
    pub(super) ask: bool,
    /// The word that the commits that it wants are not kept any more.
    pub(super) gone: bool,
    /// Our chain.
    pub(super) announce: bool,
    /// Our wish for its chain, which a commit that is undone had taken from us.
    pub(super) want: bool,
    /// The answer to its chain.
    pub(super) acknowledge: bool,
}

/// What is owed to the members of one group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Debts(pub(super) BTreeMap<Fingerprint, Debt>);

impl Emptiness for Debts {
    fn is_nothing(&self) -> bool {
        self.0.is_empty()
    }
}

impl Debts {
    /// Changes what is owed to one member.
    pub(super) fn owe(&mut self, member: Fingerprint, change: impl FnOnce(&mut Debt)) {
        let mut debt = self.0.remove(&member).unwrap_or_default();
        change(&mut debt);
        if debt != Debt::default() && self.0.len() < Self::MAX {
            self.0.insert(member, debt);
        }
    }

    /// Debts of removed members stay, so that they learn of it, and those of two rosters add up.
    const MAX: usize = 2 * MAX_GROUP_MEMBERS;

    /// Writes `count(4) || (fingerprint(32) || (flag(1) || epoch(8), 0 without) three times || ask(1) || gone(1)
    /// || announce(1) || want(1) || acknowledge(1)) each`.
    pub(super) fn write(&self, out: &mut impl Write) {
        out.count(self.0.len());
        for (member, debt) in &self.0 {
            out.bytes(member.as_bytes());
            for epoch in [debt.welcome, debt.commits_after, debt.convince] {
                out.flag(epoch.is_some());
                out.u64(epoch.unwrap_or(0));
            }
            out.flag(debt.ask);
            out.flag(debt.gone);
            out.flag(debt.announce);
            out.flag(debt.want);
            out.flag(debt.acknowledge);
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut debts = BTreeMap::new();
        let count = reader.count(Self::MAX)?;
        for _ in 0..count {
            let member = Fingerprint::from_bytes(*reader.array()?);
            let mut epoch = || {
                let (there, epoch) = (reader.flag()?, reader.u64()?);
                if there || epoch == 0 { Ok(there.then_some(epoch)) } else { Err(DecodeError::Invalid) }
            };
            let (welcome, commits_after, convince) = (epoch()?, epoch()?, epoch()?);
            let (ask, gone) = (reader.flag()?, reader.flag()?);
            let (announce, want, acknowledge) = (reader.flag()?, reader.flag()?, reader.flag()?);
            let debt = Debt { welcome, commits_after, convince, ask, gone, announce, want, acknowledge };
            let ascends = debts.last_key_value().is_none_or(|(last, _)| *last < member);
            if !ascends || debt == Debt::default() {
                return Err(DecodeError::Invalid);
            }
            debts.insert(member, debt);
        }
        if count == 0 { Err(DecodeError::Invalid) } else { Ok(Self(debts)) }
    }
}

/// A commit or an announcement that came too early.
#[derive(Debug, Clone)]
pub(super) struct Early {
    pub(super) group: GroupId,
    pub(super) kind: PayloadKind,
    /// When it came.
    pub(super) since: UnixTime,
    pub(super) bytes: GuardedVec,
}

impl Early {
    /// The hash that a commit of this group extends, from its place in the message.
    pub(super) fn extends(&self, group: GroupId) -> Option<[u8; 32]> {
        if self.kind != PayloadKind::Roster || self.group != group || self.bytes.first() != Some(&1) {
            return None;
        }
        self.bytes.get(1 + GroupId::LEN..)?.first_chunk().copied()
    }

    /// What opens it, if it lies elsewhere.
    pub(super) fn elsewhere(&self) -> Option<Attachment> {
        // The kind byte first: commits are long to decode.
        if self.kind != PayloadKind::Roster || self.bytes.first() != Some(&3) {
            return None;
        }
        match RosterMessage::decode(&self.bytes) {
            Ok(RosterMessage::Elsewhere(_, attachment)) => Some(attachment),
            _ => None,
        }
    }
}

/// What has come too early from one peer, the oldest first: at most [`MAX_WAITING`] commits and one announcement for a
/// group, and [`MAX_WAITING_OF_PEER`] of each kind.
#[derive(Debug, Clone, Default)]
pub(super) struct Waiting(pub(super) Vec<Early>);

impl Emptiness for Waiting {
    fn is_nothing(&self) -> bool {
        self.0.is_empty()
    }
}

impl Waiting {
    /// Keeps one more, unless it is there; the oldest of its kind goes when there are too many, one that could be
    /// asked for again before a ciphertext that lies elsewhere.
    pub(super) fn keep(&mut self, early: Early) -> bool {
        let same = |kept: &Early| {
            kept.kind == early.kind && kept.group == early.group && aead::equal(&kept.bytes, &early.bytes)
        };
        if self.0.iter().any(same) {
            return false;
        }
        if early.kind == PayloadKind::Announcement {
            self.0.retain(|kept| kept.kind != early.kind || kept.group != early.group);
        }
        let alike = |kept: &Early| kept.kind == early.kind;
        let of_group = |kept: &Early| alike(kept) && kept.group == early.group;
        if self.0.iter().filter(|kept| of_group(kept)).count() >= MAX_WAITING {
            self.drop_oldest(of_group);
        } else if self.0.iter().filter(|kept| alike(kept)).count() >= MAX_WAITING_OF_PEER {
            self.drop_oldest(alike);
        }
        let room = MAX_WAITING_BYTES.saturating_sub(early.bytes.len());
        while self.0.iter().fold(0, |sum: usize, kept| sum.saturating_add(kept.bytes.len())) > room {
            self.drop_oldest(|_| true);
        }
        self.0.push(early);
        true
    }

    /// The oldest of some goes, one that could be asked for again first.
    fn drop_oldest(&mut self, of: impl Fn(&Early) -> bool) {
        let here = self.0.iter().position(|kept| of(kept) && kept.elsewhere().is_none());
        if let Some(oldest) = here.or_else(|| self.0.iter().position(of)) {
            self.0.remove(oldest);
        }
    }

    /// What waits on, without what has had its time; `None` if that is all of it.
    pub(super) fn without_old(&self, is_over: impl Fn(UnixTime) -> bool) -> Option<Self> {
        let stays = |early: &&Early| !is_over(early.since);
        if self.0.iter().all(|early| stays(&early)) {
            return None;
        }
        Some(Self(self.0.iter().filter(stays).cloned().collect()))
    }

    /// The commits of a group that wait.
    pub(super) fn commits(&self, group: GroupId) -> Vec<RosterCommit> {
        let of_group = self.0.iter().filter(|early| early.group == group && early.kind == PayloadKind::Roster);
        of_group
            .filter_map(|early| match RosterMessage::decode(&early.bytes) {
                Ok(RosterMessage::Commit(_, commit)) => Some(commit),
                _ => None,
            })
            .collect()
    }

    pub(super) fn concerns(&self, group: GroupId) -> bool {
        self.0.iter().any(|early| early.group == group)
    }

    /// Writes `count(4) || (group id(32) || kind(1: announcement 3, roster 4) || since(8) || length(4) || bytes) each`.
    pub(super) fn write(&self, out: &mut impl Write) {
        out.count(self.0.len());
        for early in &self.0 {
            out.bytes(early.group.as_bytes());
            out.u8(early.kind.byte());
            out.u64(early.since.0);
            out.count(early.bytes.len());
            out.bytes(&early.bytes);
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut waiting = Self::default();
        let count = reader.count(2 * MAX_WAITING_OF_PEER)?;
        for _ in 0..count {
            let group = GroupId::read(reader)?;
            let kind = match reader.u8()? {
                3 => PayloadKind::Announcement,
                4 => PayloadKind::Roster,
                _ => return Err(DecodeError::Invalid),
            };
            let since = UnixTime(reader.u64()?);
            let len = reader.count(MAX_SEALED_LEN)?;
            waiting.keep(Early { group, kind, since, bytes: guard(reader.slice(len)?.to_vec()) });
        }
        if count == 0 || waiting.0.len() != count { Err(DecodeError::Invalid) } else { Ok(waiting) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attachment;
    use crate::keys::Signature;
    use crate::wire::roster::RosterChange;
    use alloc::vec;
    use chacha20::ChaCha20Rng;
    use rand_core::SeedableRng;

    fn early(kind: PayloadKind, group: u8, content: u8) -> Early {
        let group = GroupId::from_bytes([group; 32]);
        Early { group, kind, since: UnixTime(7), bytes: guard(vec![content; 5]) }
    }

    #[test]
    fn few_of_a_peer_wait_and_the_newest_stay() {
        let mut waiting = Waiting::default();
        for content in 0..20 {
            assert!(waiting.keep(early(PayloadKind::Roster, 1, content)));
            assert!(!waiting.keep(early(PayloadKind::Roster, 1, content)), "kept once");
            waiting.keep(early(PayloadKind::Announcement, 1, content));
            for group in 0..40 {
                waiting.keep(early(PayloadKind::Announcement, 2 + group, 100 + content));
            }
        }
        let of = |kind| waiting.0.iter().filter(|kept| kept.kind == kind).map(|kept| kept.bytes[0]).collect::<Vec<_>>();
        assert_eq!(of(PayloadKind::Roster), (12..20).collect::<Vec<_>>());
        assert_eq!(of(PayloadKind::Announcement).len(), MAX_WAITING_OF_PEER);
        let of_one = waiting.0.iter().filter(|kept| kept.group == GroupId::from_bytes([41; 32]));
        assert_eq!(of_one.filter(|kept| kept.kind == PayloadKind::Announcement).count(), 1, "one for a group");
        let mut out = Vec::new();
        waiting.write(&mut out);
        let restored = Reader::whole(&out, Waiting::read).unwrap();
        assert_eq!(restored.0.len(), waiting.0.len());
    }

    #[test]
    fn what_lies_elsewhere_outlives_commits_that_can_be_asked_for_again() {
        let group = GroupId::from_bytes([1; 32]);
        let (attachment, _) = attachment::seal(b"a welcome", &mut ChaCha20Rng::from_seed([1; 32])).unwrap();
        let bytes = guard(RosterMessage::Elsewhere(group, attachment).encode());
        let welcome = Early { group, kind: PayloadKind::Roster, since: UnixTime(7), bytes };
        let mut waiting = Waiting::default();
        waiting.keep(welcome);
        for content in 0..20 {
            waiting.keep(early(PayloadKind::Roster, 1, content));
        }
        for of_group in 2..40 {
            waiting.keep(early(PayloadKind::Roster, of_group, 9));
        }
        assert_eq!(waiting.0.len(), MAX_WAITING_OF_PEER);
        for content in 1..=4 {
            let bytes = guard(vec![content; MAX_WAITING_BYTES / 4]);
            waiting.keep(Early {
                group: GroupId::from_bytes([2; 32]),
                kind: PayloadKind::Roster,
                since: UnixTime(7),
                bytes,
            });
        }
        assert_eq!(waiting.0.len(), 1 + 3, "as many bytes as there may be");
        assert_eq!(waiting.0.iter().filter(|kept| kept.elsewhere().is_some()).count(), 1);
    }

    #[test]
    fn waiting_bytes_are_bounded_and_a_full_load_stays() {
        let of_len = |content: u8, len: usize| {
            let kind = PayloadKind::Roster;
            let group = GroupId::from_bytes([1; 32]);
            Early { group, kind, since: UnixTime(7), bytes: guard(vec![content; len]) }
        };
        let mut waiting = Waiting::default();
        waiting.keep(of_len(1, MAX_WAITING_BYTES / 2));
        waiting.keep(of_len(2, MAX_WAITING_BYTES / 2));
        assert_eq!(waiting.0.len(), 2);
        waiting.keep(of_len(3, 1));
        assert_eq!(waiting.0.iter().map(|kept| kept.bytes[0]).collect::<Vec<_>>(), [2, 3]);
        waiting.keep(of_len(4, MAX_WAITING_BYTES + 1));
        assert_eq!(waiting.0.iter().map(|kept| kept.bytes[0]).collect::<Vec<_>>(), [4], "the newest stays");
        assert!(waiting.concerns(GroupId::from_bytes([1; 32])) && !waiting.concerns(GroupId::from_bytes([2; 32])));
    }

    #[test]
    fn only_a_groups_commits_extend_its_hashes() {
        let (group, other) = (GroupId::from_bytes([1; 32]), GroupId::from_bytes([2; 32]));
        let extends = |kind, first: u8, within| {
            let bytes = guard([&[first][..], &[1; 32], &[7; 32], &[0; 5]].concat());
            Early { group: within, kind, since: UnixTime(7), bytes }.extends(group)
        };
        assert_eq!(extends(PayloadKind::Roster, 1, group), Some([7; 32]));
        assert_eq!(extends(PayloadKind::Announcement, 1, group), None);
        assert_eq!(extends(PayloadKind::Roster, 1, other), None);
        assert_eq!(extends(PayloadKind::Roster, 2, group), None);
        assert_eq!(extends(PayloadKind::Roster, 3, group), None);
    }

    #[test]
    fn images_of_what_waits_are_refused_unless_all_of_it_would_wait() {
        let entry = |content: u8| [&[1; 32][..], &[4], &[0; 8], &[0, 0, 0, 1, content]].concat();
        let read = |count: u8, entries: &[Vec<u8>]| {
            Reader::whole(&[vec![0, 0, 0, count], entries.concat()].concat(), Waiting::read).is_ok()
        };
        assert!(read(2, &[entry(1), entry(2)]));
        assert!(!read(0, &[]), "nothing has no image");
        assert!(!read(2, &[entry(1), entry(1)]), "the same twice");
    }

    #[test]
    fn commits_wait_for_their_group_alone() {
        let (group, other) = (GroupId::from_bytes([1; 32]), GroupId::from_bytes([2; 32]));
        let commit = |extends| RosterCommit {
            extends: [extends; 32],
            signer: Fingerprint::from_bytes([3; 32]),
            changes: vec![RosterChange::Leave],
            signature: Signature([4; 64]),
        };
        let mut waiting = Waiting::default();
        for (id, extends) in [(group, 1), (other, 2), (group, 3)] {
            let bytes = guard(RosterMessage::Commit(id, commit(extends)).encode());
            let since = UnixTime(7);
            waiting.keep(Early { group: id, kind: PayloadKind::Roster, since, bytes: bytes.clone() });
            waiting.keep(Early { group: id, kind: PayloadKind::Announcement, since, bytes });
        }
        assert_eq!(waiting.commits(group), [commit(1), commit(3)]);
        assert_eq!(waiting.commits(other), [commit(2)]);
    }

    #[test]
    fn debts_out_of_order_doubled_or_empty_are_refused() {
        let entry = |member: u8, ask: u8| [&[member; 32][..], &[0; 27], &[ask, 0, 0, 0, 0]].concat();
        let read = |entries: &[Vec<u8>]| {
            let count = u8::try_from(entries.len()).unwrap();
            Reader::whole(&[vec![0, 0, 0, count], entries.concat()].concat(), Debts::read).is_ok()
        };
        assert!(read(&[entry(1, 1), entry(2, 1)]));
        assert!(!read(&[entry(2, 1), entry(1, 1)]), "descending");
        assert!(!read(&[entry(1, 1), entry(1, 1)]), "one member twice");
        assert!(!read(&[entry(1, 0)]), "no debt");
        assert!(!read(&[]), "nothing has no image");
    }

    #[test]
    fn debts_are_never_more_than_an_image_can_hold() {
        let mut debts = Debts::default();
        for number in 0..=Debts::MAX {
            let mut name = [0; 32];
            name[..8].copy_from_slice(&number.to_be_bytes());
            debts.owe(Fingerprint::from_bytes(name), |debt| debt.ask = true);
        }
        assert_eq!(debts.0.len(), 20_000, "two rosters");
    }

    #[test]
    fn debts_are_canonical() {
        let mut debts = Debts::default();
        debts.owe(Fingerprint::from_bytes([2; 32]), |debt| debt.commits_after = Some(0));
        debts.owe(Fingerprint::from_bytes([1; 32]), |debt| debt.announce = true);
        debts.owe(Fingerprint::from_bytes([3; 32]), |_| {});
        let mut out = Vec::new();
        debts.write(&mut out);
        assert_eq!(Reader::whole(&out, Debts::read).unwrap(), debts);
    }
}
