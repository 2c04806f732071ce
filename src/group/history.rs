//! What a group remembers of its past: hashes of epochs, which of them ended chains, commits that can be told.

use crate::group::Group;
use crate::group::roster::Welcome;
use crate::keys::{Fingerprint, UnixTime};
use crate::wire::roster::{RosterCommit, RosterMessage};
use alloc::vec::Vec;

impl Group {
    pub(crate) fn first_epoch(&self) -> u64 {
        let before = u64::try_from(self.epochs.len().saturating_sub(1)).unwrap_or(u64::MAX);
        self.roster.epoch.saturating_sub(before)
    }

    /// The transcript hash of an epoch, while it is remembered.
    pub fn transcript_at(&self, epoch: u64) -> Option<[u8; 32]> {
        let index = usize::try_from(epoch.checked_sub(self.first_epoch())?).ok()?;
        self.epochs.get(index).map(|epoch| epoch.transcript)
    }

    /// The same, and of the epoch before the welcome, whose hash is all that a device knows of it.
    pub(crate) fn hash_at(&self, epoch: u64) -> Option<[u8; 32]> {
        let before = || self.remembered_welcome().filter(|welcome| welcome.epoch.checked_sub(1) == Some(epoch));
        self.transcript_at(epoch).or_else(|| before().map(|welcome| welcome.extends))
    }

    /// When the first commit after an epoch came that ended every chain.
    pub(crate) fn ended_after(&self, epoch: u64) -> Option<UnixTime> {
        self.first_end(epoch).map(|(_, at)| at)
    }

    /// Whether a chain of one epoch may speak in a later one: nothing that ended every chain lies between, and the chain's
    /// epoch is still remembered.
    pub(crate) fn may_speak(&self, chain_epoch: u64, epoch: u64) -> bool {
        (self.first_epoch()..=epoch).contains(&chain_epoch)
            && self.first_end(chain_epoch).is_none_or(|(end, _)| epoch < end)
    }

    fn first_end(&self, after: u64) -> Option<(u64, UnixTime)> {
        let numbered = (self.first_epoch()..).zip(&self.epochs);
        numbered.filter(|(number, _)| *number > after).find_map(|(number, epoch)| Some((number, epoch.ended_chains?)))
    }

    /// The commits after an epoch that are kept, the earliest first, with the epochs they begin.
    pub(crate) fn commits_after(&self, epoch: u64) -> impl Iterator<Item = (u64, &RosterCommit)> {
        let count = u64::try_from(self.steps.len()).unwrap_or(u64::MAX);
        let first = self.roster.epoch.saturating_sub(count).saturating_add(1);
        (first..)
            .zip(&self.steps)
            .filter(move |(begins, _)| *begins > epoch)
            .map(|(begins, step)| (begins, &step.commit))
    }

    #[cfg(feature = "vectors")]
    pub(crate) fn roster_for_vectors(&self) -> &crate::wire::roster::Roster {
        &self.roster
    }

    /// How this device came in, while the epoch that it came in with is remembered.
    pub(super) fn remembered_welcome(&self) -> Option<Welcome> {
        self.welcome.filter(|welcome| welcome.epoch == self.first_epoch())
    }

    /// Who brought this device in.
    pub(crate) fn bringer(&self) -> Option<Fingerprint> {
        self.welcome.map(|welcome| welcome.signer)
    }

    /// The epoch that the oldest kept commit extends; the present one if none is kept.
    pub(crate) fn oldest_base(&self) -> u64 {
        self.roster.epoch.saturating_sub(u64::try_from(self.steps.len()).unwrap_or(u64::MAX))
    }

    /// The hashes of the present epoch and of those before it to which this device can go back: by them another tells
    /// where the two part.
    pub(crate) fn reach(&self) -> Vec<[u8; 32]> {
        let count = self.steps.len().saturating_add(1);
        self.epochs.iter().rev().take(count).map(|epoch| epoch.transcript).collect()
    }

    /// The newest of another's epochs that this device has too.
    pub(crate) fn parting(&self, epoch: u64, hashes: &[[u8; 32]]) -> Option<u64> {
        let mut epochs = (0..).map_while(|back| epoch.checked_sub(back)).zip(hashes);
        epochs.find(|(epoch, hash)| self.hash_at(*epoch) == Some(**hash)).map(|(epoch, _)| epoch)
    }

    /// Whether nothing has been built on this device's welcome.
    pub(crate) fn is_new(&self) -> bool {
        self.welcome.is_some_and(|welcome| welcome.epoch == self.roster.epoch)
    }

    /// Whether a hash is that of an epoch that is remembered, or of the one before the welcome.
    pub(crate) fn knows(&self, hash: [u8; 32]) -> bool {
        self.remembered_welcome().is_some_and(|welcome| welcome.extends == hash)
            || self.epochs.iter().any(|epoch| epoch.transcript == hash)
    }

    /// Whether a peer may be told the kept commits after an epoch: a member, or whom one of them puts out.
    pub(crate) fn concerns(&self, peer: Fingerprint, after: u64) -> bool {
        self.member(peer).is_some() || self.commits_after(after).any(|(_, commit)| commit.removes(peer))
    }

    /// Whether the commit that began an epoch is this signer's and brought the member in.
    pub(crate) fn brought(&self, signer: Fingerprint, member: Fingerprint, epoch: u64) -> bool {
        let place = epoch.checked_sub(self.oldest_base().saturating_add(1));
        let step = place.and_then(|place| self.steps.get(usize::try_from(place).ok()?));
        step.is_some_and(|step| step.commit.signer == signer && step.members.get(&member).is_some_and(Option::is_none))
    }

    /// The epoch that this signer's commit began by bringing the member in, as long as it can be undone.
    pub(crate) fn brought_at(&self, signer: Fingerprint, member: Fingerprint) -> Option<u64> {
        (self.oldest_base()..=self.epoch()).rev().find(|epoch| self.brought(signer, member, *epoch))
    }

    /// Whether a member was one in an earlier epoch too, as far as the commits that are kept tell.
    pub(crate) fn was_in(&self, member: Fingerprint, epoch: u64) -> bool {
        let later = epoch.saturating_sub(self.oldest_base());
        let mut later = self.steps.iter().skip(usize::try_from(later).unwrap_or(usize::MAX));
        // The first commit after it that touched the member says how it stood before.
        later.find_map(|step| step.members.get(&member)).is_none_or(Option::is_some)
    }

    /// The welcome that belongs to the commit that began an epoch, as long as it can be undone.
    pub(crate) fn welcome_of(&self, epoch: u64) -> Option<RosterMessage> {
        let mut then = self.clone();
        while then.epoch() > epoch {
            then.undo()?;
        }
        let commit = then.steps.pop_back()?.commit;
        Some(RosterMessage::Welcome(commit, then.roster))
    }
}
