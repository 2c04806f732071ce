//! Which of two branches of a roster's history members follow.
//!
//! A branch is as good as its most senior signer: whoever is more senior than all who signed the other one wins, wherever
//! in the branch it signed. So nobody undoes what someone more senior has done since. Seniority is what the roster that a
//! commit extends says of its signer, and, of those who became admins at once, a fixed hash of the signer: a commit has one,
//! whatever it is compared with, and no two signers have the same, so that the order is total and nobody can choose a better place
//! in it by choosing what to extend.

use crate::crypto::kdf;
use crate::error::GroupError;
use crate::group::Group;
use crate::group::roster::{Received, Step};
use crate::keys::{Fingerprint, UnixTime};
use crate::labels::Label;
use crate::wire::roster::{GroupId, Member, NEVER, RosterCommit};
use alloc::vec::Vec;

/// Since when a signer has been an admin, and a hash that orders those of one epoch. The smallest is the most senior.
type Seniority = (u64, [u8; 32]);

/// Where a branch stands among those that begin at one hash, the smallest first: the seniority of its most senior
/// signer, then that of the first one, then the hash that the first commit leads to.
type Standing = (Seniority, Seniority, [u8; 32]);

fn seniority(since: u64, group: &GroupId, signer: &Fingerprint) -> Seniority {
    (since, kdf::hash(Label::SignerOrder, &[group.as_bytes(), signer.as_bytes()]))
}

impl Group {
    /// Takes in a commit; `others` are commits that came before and could not be followed, mostly of the same peer.
    pub(crate) fn take(
        &mut self,
        commit: &RosterCommit,
        others: &[RosterCommit],
        now: UnixTime,
    ) -> Result<Received, GroupError> {
        if commit.extends == self.transcript() {
            let step = self.check_signed(commit)?;
            self.apply(step, now);
            return Ok(Received::Applied);
        }
        let place = self.place(commit);
        if place.is_some_and(|place| self.steps.get(place).is_some_and(|step| step.commit == *commit)) {
            return Ok(Received::Known);
        }
        if let Some(place) = place {
            let (branch, _) = self.branch(place, commit, others, now)?;
            return Ok(self.choose(place, branch));
        }
        if let Some(known) = self.is_history(commit) {
            return Ok(if known { Received::Known } else { Received::Fork });
        }
        // It may be the end of a branch whose beginning was outvoted by itself.
        let mut received = Received::Early;
        for first in others {
            let Some(place) = self.place(first) else { continue };
            let mut rest = others.to_vec();
            rest.push(commit.clone());
            let Ok((branch, reached)) = self.branch(place, first, &rest, now) else { continue };
            if reached.contains(commit) {
                received = self.choose(place, branch);
                if received != Received::Outvoted {
                    break;
                }
            }
        }
        Ok(received)
    }

    /// Which step extends the same hash.
    fn place(&self, commit: &RosterCommit) -> Option<usize> {
        self.steps.iter().position(|step| step.commit.extends == commit.extends)
    }

    /// The group as the best branch would have it that leaves this device's at a step with a commit, as far as the others
    /// reach; and which of them can be followed at all.
    fn branch(
        &self,
        place: usize,
        first: &RosterCommit,
        others: &[RosterCommit],
        now: UnixTime,
    ) -> Result<(Self, Vec<RosterCommit>), GroupError> {
        let mut branch = self.clone();
        for _ in place..self.steps.len() {
            branch.undo();
        }
        let step = branch.check_signed(first)?;
        branch.apply(step, now);
        let mut reached = Vec::new();
        Ok((branch.grown(others, &mut reached, now), reached))
    }

    /// Goes on with commits that build on the present roster. Each extends one hash, so that none is tried twice.
    fn grown(self, others: &[RosterCommit], reached: &mut Vec<RosterCommit>, now: UnixTime) -> Self {
        let mut best: Option<Self> = None;
        for next in others.iter().filter(|next| next.extends == self.transcript()) {
            if reached.contains(next) {
                continue;
            }
            let Ok(step) = self.check_signed(next) else { continue };
            reached.push(next.clone());
            let mut grown = self.clone();
            grown.apply(step, now);
            let grown = grown.grown(others, reached, now);
            match &mut best {
                None => best = Some(grown),
                Some(best) => {
                    if let Some(place) = best.place(next) {
                        best.choose(place, grown);
                    }
                }
            }
        }
        best.unwrap_or(self)
    }

    fn choose(&mut self, place: usize, branch: Self) -> Received {
        // A branch longer than what is kept has lost its beginning: nobody follows that by halves.
        let Some(theirs) = branch.place_of(self.steps.get(place)).and_then(|place| branch.standing(place)) else {
            return Received::Outvoted;
        };
        if self.standing(place).is_some_and(|mine| theirs < mine) {
            let undone = self.steps.len().saturating_sub(place);
            *self = branch;
            Received::Superseded(undone)
        } else {
            Received::Outvoted
        }
    }

    fn place_of(&self, step: Option<&Step>) -> Option<usize> {
        self.place(&step?.commit)
    }

    /// How good the branch is that this device follows from a step on.
    fn standing(&self, place: usize) -> Option<Standing> {
        let mut seniorities = self.seniorities(place);
        let begins = seniorities.next()?;
        let best = seniorities.fold(begins, Seniority::min);
        let after = self.epochs.len().saturating_sub(self.steps.len()).saturating_add(place);
        let leads_to = self.epochs.get(after)?.transcript;
        Some((best, begins, leads_to))
    }

    /// The epoch that the most senior signer's first commit after an epoch begins: whoever knows the commits up to there
    /// knows how good this device's branch is.
    pub(crate) fn convinces(&self, base: u64) -> Option<u64> {
        let place = usize::try_from(base.checked_sub(self.oldest_base())?).ok()?;
        let (_, begins) = self.seniorities(place).zip(base.saturating_add(1)..).min()?;
        Some(begins)
    }

    /// Of each commit from a step on, its signer's.
    fn seniorities(&self, place: usize) -> impl Iterator<Item = Seniority> {
        let steps = self.steps.iter().enumerate().skip(place);
        steps.map(|(at, Step { commit, .. })| {
            seniority(self.admin_since(at, &commit.signer), &self.id(), &commit.signer)
        })
    }

    /// Since when someone was an admin in the roster before a step, [`NEVER`] if it was none.
    fn admin_since(&self, place: usize, name: &Fingerprint) -> u64 {
        // What the first later step replaced, else what is there now.
        let replaced = self.steps.iter().skip(place).find_map(|later| later.members.get(name));
        let entry: Option<&Member> = replaced.map_or_else(|| self.roster.members.get(name), Option::as_ref);
        entry.map_or(NEVER, |member| member.admin_since)
    }

    /// Whether a commit that extends an epoch of long ago is the one that was followed there. `None` if that epoch is not
    /// known.
    fn is_history(&self, commit: &RosterCommit) -> Option<bool> {
        let began = match self.remembered_welcome() {
            Some(welcome) if welcome.extends == commit.extends => self.epochs.front()?,
            _ => {
                let extended = self.epochs.iter().position(|epoch| epoch.transcript == commit.extends)?;
                self.epochs.get(extended.saturating_add(1))?
            }
        };
        Some(began.commit == commit.id())
    }

    /// What a welcome into the roster that this device was welcomed into by another one is, beside that. `None` if the two
    /// can't be compared: they extend different hashes, or too much was built on the first. The other's signer is an admin
    /// as long as this device's roster says.
    pub(crate) fn compare_welcome(&self, other: &Self) -> Option<Rival> {
        let (mine, theirs) = (self.remembered_welcome()?, other.welcome?);
        // All that was built on it is still known, and can be undone.
        if mine.extends != theirs.extends || self.epochs.len() != self.steps.len().saturating_add(1) {
            return None;
        }
        let began = self.first_epoch();
        let of = |name: &Fingerprint| match self.admin_since(0, name) {
            // An admin by the welcome's commit was none before it.
            since if since < began => seniority(since, &self.id(), name),
            _ => seniority(NEVER, &self.id(), name),
        };
        // Who was in before, and was not touched, is the same in both.
        let agrees = other.roster.members.iter().all(|(name, theirs)| {
            let mine = self.admin_since(0, name);
            let known = self.steps.iter().find_map(|step| step.members.get(name)).is_some_and(Option::is_some)
                || self.roster.members.contains_key(name);
            !known || mine == theirs.admin_since || mine == began || mine == NEVER || theirs.admin_since >= began
        });
        if !agrees {
            return Some(Rival::Forged);
        }
        let first = of(&mine.signer);
        let best = self.seniorities(0).fold(first, Seniority::min);
        let standing: Standing = (best, first, self.epochs.front()?.transcript);
        let their = of(&theirs.signer);
        let better = (their, their, other.transcript()) < standing;
        Some(if better { Rival::Better } else { Rival::Worse })
    }
}

/// A second welcome that extends the same hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rival {
    Better,
    Worse,
    /// The two can't both come from one roster.
    Forged,
}
