//! The roster's state machine: commits in, rosters out, and the total order that lets members converge.
//!
//! Knows identities, signatures and hashes; neither sessions nor chains. A commit extends a transcript hash; of two that
//! extend the same one the better wins, whenever it arrives, as long as the epoch it starts from is among those that can
//! be undone.

use crate::crypto::kdf;
use crate::error::GroupError;
use crate::identity::IdentityKeyPair;
use crate::keys::{Fingerprint, IdentityKey, Signature, UnixTime};
use crate::labels::Label;
use crate::limits::{MAX_GROUP_CHANGES, MAX_GROUP_MEMBERS, MAX_KEPT_COMMITS, MAX_KEPT_EPOCHS};
use crate::wire::roster::{
    GroupId, GroupPolicy, Member, NEVER, Role, Roster, RosterChange, RosterCommit, RosterMessage,
};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use rand_core::CryptoRng;

/// What a device remembers of an epoch, the present one included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Epoch {
    pub(super) transcript: [u8; 32],
    /// The name of the commit that began it, zeros for epoch 0.
    pub(super) commit: [u8; 32],
    /// When the commit that began it came, if it ended every chain.
    pub(super) ended_chains: Option<UnixTime>,
}

/// A commit that was applied, and what it replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) commit: RosterCommit,
    pub(super) policy: GroupPolicy,
    pub(super) members: BTreeMap<Fingerprint, Option<Member>>,
}

/// The roster of a group as one device knows it, with the commits of late that can still be outvoted.
///
/// Invariant: `epochs` ends with the present epoch and is at least one longer than `steps`, whose commits led to the last
/// of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    pub(super) roster: Roster,
    pub(super) epochs: VecDeque<Epoch>,
    pub(super) steps: VecDeque<Step>,
    /// How this device came in, if it did not found the group.
    pub(super) welcome: Option<Welcome>,
}

/// The commit that a welcome stood on. Nothing before it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Welcome {
    pub(super) extends: [u8; 32],
    pub(super) signer: Fingerprint,
    /// The epoch that the commit began.
    pub(super) epoch: u64,
}

/// A commit that was made, to be handed to members.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Committed {
    /// For those who were members before: [`Group::receive`].
    pub commit: Vec<u8>,
    /// For those whom it adds: [`Group::join`]. It lists every member.
    pub welcome: Vec<u8>,
}

/// What became of a commit that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Received {
    /// The roster has changed.
    Applied,
    /// It outvoted commits that had been applied, this many; what was built on them is gone.
    Superseded(usize),
    /// It is applied already.
    Known,
    /// A better branch was applied before: whoever brought it should be given that. Keep it for a while: with commits that
    /// build on it, it may be the better one.
    Outvoted,
    /// It extends a hash that is not known: keep it until what comes before it is here.
    Early,
    /// It extends an epoch that can't be undone any more, in another way than this device went.
    Fork,
}

impl Group {
    /// A new group with one member, an admin. Draws 32 bytes: the group's id.
    ///
    /// # Errors
    /// [`GroupError::Policy`].
    pub fn create<R: CryptoRng + ?Sized>(
        own: &IdentityKeyPair,
        policy: GroupPolicy,
        rng: &mut R,
    ) -> Result<Self, GroupError> {
        if !policy.is_valid() {
            return Err(GroupError::Policy);
        }
        let group = GroupId::generate(rng);
        let founder = Member { identity: *own.public(), admin_since: 0 };
        let members = BTreeMap::from([(own.fingerprint(), founder)]);
        let roster = Roster { group, epoch: 0, policy, members };
        // th_0: nobody but the founder ever needs it; whoever is added learns th_0 from the commit that extends it.
        let transcript = kdf::hash(Label::GroupStart, &[&roster.hash()]);
        let epochs = VecDeque::from([Epoch { transcript, commit: [0; 32], ended_chains: None }]);
        Ok(Self { roster, epochs, steps: VecDeque::new(), welcome: None })
    }

    /// The group's name.
    pub fn id(&self) -> GroupId {
        self.roster.group
    }

    /// How many commits led here.
    pub fn epoch(&self) -> u64 {
        self.roster.epoch
    }

    /// The hash of all that led here: members with the same one agree on everything.
    pub fn transcript(&self) -> [u8; 32] {
        self.epochs.back().map_or([0; 32], |epoch| epoch.transcript)
    }

    /// When senders replace their chains.
    pub fn policy(&self) -> GroupPolicy {
        self.roster.policy
    }

    /// The members, in the order of their names.
    pub fn members(&self) -> impl Iterator<Item = (Fingerprint, &Member)> {
        self.roster.members.iter().map(|(name, member)| (*name, member))
    }

    /// One member.
    pub fn member(&self, name: Fingerprint) -> Option<&Member> {
        self.roster.members.get(&name)
    }

    /// How many members.
    pub fn len(&self) -> usize {
        self.roster.members.len()
    }

    /// Whether nobody is left.
    pub fn is_empty(&self) -> bool {
        self.roster.members.is_empty()
    }

    /// Changes the roster in one's own name, and gives what others need to follow.
    ///
    /// # Errors
    /// [`GroupError`]: one of the changes is not allowed or not possible. Nothing has changed.
    pub fn commit(
        &mut self,
        own: &IdentityKeyPair,
        changes: &[RosterChange],
        now: UnixTime,
    ) -> Result<Committed, GroupError> {
        let mut commit = RosterCommit {
            extends: self.transcript(),
            signer: own.fingerprint(),
            changes: changes.to_vec(),
            signature: Signature([0; 64]),
        };
        let step = self.check(&commit)?;
        commit.signature = own.sign(&commit.signed_message(&self.id()));
        self.apply(Step { commit: commit.clone(), ..step }, now);
        Ok(Committed {
            commit: RosterMessage::Commit(self.id(), commit.clone()).encode(),
            welcome: RosterMessage::Welcome(commit, self.roster.clone()).encode(),
        })
    }

    /// Takes in a commit that came, from whichever member. `others` are some that came before and were
    /// [`Received::Outvoted`] or [`Received::Early`]: together they may be the better branch.
    ///
    /// # Errors
    /// [`GroupError`]: its author was not allowed to make it, or did not: whoever passed it on is at fault. Nothing has
    /// changed.
    pub fn receive(&mut self, commit: &[u8], others: &[&[u8]], now: UnixTime) -> Result<Received, GroupError> {
        let read = |bytes: &[u8]| match RosterMessage::decode(bytes) {
            Ok(RosterMessage::Commit(group, commit)) if group == self.id() => Ok(commit),
            _ => Err(GroupError::Malformed),
        };
        let others = others.iter().map(|bytes| read(bytes)).collect::<Result<Vec<_>, _>>()?;
        let commit = read(commit)?;
        self.take(&commit, &others, now)
    }

    pub(super) fn check_signed(&self, commit: &RosterCommit) -> Result<Step, GroupError> {
        let step = self.check(commit)?;
        let signer = self.roster.members.get(&commit.signer).ok_or(GroupError::NotMember)?;
        if signer.identity.verifies(&commit.signed_message(&self.id()), &commit.signature) {
            Ok(step)
        } else {
            Err(GroupError::Signature)
        }
    }

    /// Whether the present roster allows a commit, and what it would replace.
    fn check(&self, commit: &RosterCommit) -> Result<Step, GroupError> {
        let present = &self.roster;
        let signer = present.members.get(&commit.signer).ok_or(GroupError::NotMember)?;
        if commit.changes.is_empty() {
            return Err(GroupError::NoChange);
        }
        if commit.changes.len() > MAX_GROUP_CHANGES || present.epoch >= NEVER / 2 - 1 {
            return Err(GroupError::TooMany);
        }
        let leaves = commit.changes == [RosterChange::Leave];
        if !leaves && signer.role() != Role::Admin {
            return Err(GroupError::NotAllowed);
        }
        // A newcomer takes a welcome from an admin only.
        let adds = commit.changes.iter().any(|change| matches!(change, RosterChange::Add(..)));
        if adds && commit.changes.contains(&RosterChange::SetRole(commit.signer, Role::Member)) {
            return Err(GroupError::NotAllowed);
        }
        let mut changed: BTreeMap<Fingerprint, Option<Member>> = BTreeMap::new();
        let mut count = present.members.len();
        let mut policy_changed = false;
        for change in &commit.changes {
            let name = match change {
                RosterChange::Add(identity, _) => identity.fingerprint(),
                RosterChange::Remove(name) | RosterChange::SetRole(name, _) => *name,
                RosterChange::Leave if leaves => commit.signer,
                RosterChange::Leave => return Err(GroupError::NotAllowed),
                RosterChange::SetPolicy(policy) if !policy.is_valid() => return Err(GroupError::Policy),
                RosterChange::SetPolicy(_) if policy_changed => return Err(GroupError::NoChange),
                RosterChange::SetPolicy(policy) if *policy == present.policy => return Err(GroupError::NoChange),
                RosterChange::SetPolicy(_) => {
                    policy_changed = true;
                    continue;
                }
            };
            let member = present.members.get(&name);
            match (change, member) {
                (RosterChange::Add(..), Some(_)) => return Err(GroupError::AlreadyMember),
                (RosterChange::Add(..), None) => count = count.saturating_add(1),
                (_, None) => return Err(GroupError::UnknownMember),
                // To go oneself is to leave.
                (RosterChange::Remove(_), Some(_)) if name == commit.signer => return Err(GroupError::NotAllowed),
                (RosterChange::Remove(_), Some(_)) => count = count.saturating_sub(1),
                (RosterChange::SetRole(_, role), Some(member)) if member.role() == *role => {
                    return Err(GroupError::NoChange);
                }
                _ => {}
            }
            if changed.insert(name, member.copied()).is_some() {
                return Err(GroupError::NoChange);
            }
        }
        if count > MAX_GROUP_MEMBERS {
            return Err(GroupError::TooMany);
        }
        Ok(Step { commit: commit.clone(), policy: present.policy, members: changed })
    }

    /// Applies a commit that was checked.
    pub(super) fn apply(&mut self, step: Step, now: UnixTime) {
        let roster = &mut self.roster;
        roster.epoch = roster.epoch.saturating_add(1);
        let since = |role: Role, epoch: u64| if role == Role::Admin { epoch } else { NEVER };
        for change in &step.commit.changes {
            match change {
                RosterChange::Add(identity, role) => {
                    let member = Member { identity: *identity, admin_since: since(*role, roster.epoch) };
                    roster.members.insert(identity.fingerprint(), member);
                }
                RosterChange::Remove(name) => {
                    roster.members.remove(name);
                }
                RosterChange::SetRole(name, role) => {
                    if let Some(member) = roster.members.get_mut(name) {
                        member.admin_since = since(*role, roster.epoch);
                    }
                }
                RosterChange::Leave => {
                    roster.members.remove(&step.commit.signer);
                }
                RosterChange::SetPolicy(policy) => roster.policy = *policy,
            }
        }
        let transcript = next_transcript(&step.commit, &self.roster);
        let ended_chains = step.commit.ends_chains().then_some(now);
        self.epochs.push_back(Epoch { transcript, commit: step.commit.id(), ended_chains });
        self.steps.push_back(step);
        if self.steps.len() > MAX_KEPT_COMMITS {
            self.steps.pop_front();
        }
        if self.epochs.len() > MAX_KEPT_EPOCHS {
            self.epochs.pop_front();
        }
    }

    /// Takes the last step back.
    pub(super) fn undo(&mut self) -> Option<Step> {
        let step = self.steps.pop_back()?;
        self.epochs.pop_back();
        self.roster.epoch = self.roster.epoch.saturating_sub(1);
        self.roster.policy = step.policy;
        for (name, before) in &step.members {
            match before {
                Some(member) => self.roster.members.insert(*name, *member),
                None => self.roster.members.remove(name),
            };
        }
        Some(step)
    }

    /// Joins a group by a welcome. `bringer` is who brought it, as its session says: it must be who signed the commit.
    ///
    /// # Errors
    /// [`GroupError`]: the welcome does not add this identity, is not its bringer's, or does not fit together.
    pub fn join(own: &IdentityKey, welcome: &[u8], bringer: Fingerprint, now: UnixTime) -> Result<Self, GroupError> {
        match RosterMessage::decode(welcome) {
            Ok(RosterMessage::Welcome(commit, roster)) => Self::welcomed(own, &commit, roster, bringer, now),
            _ => Err(GroupError::Malformed),
        }
    }

    pub(crate) fn welcomed(
        own: &IdentityKey,
        commit: &RosterCommit,
        roster: Roster,
        bringer: Fingerprint,
        now: UnixTime,
    ) -> Result<Self, GroupError> {
        let signer = roster.members.get(&commit.signer).ok_or(GroupError::NotMember)?;
        // An admin before its own commit, so that no commit makes its signer one.
        if commit.signer != bringer || signer.admin_since >= roster.epoch {
            return Err(GroupError::NotAllowed);
        }
        // The roster must be one that the commit can have led to; whom it makes an admin has been one since.
        let has = |member: &Member, role| {
            member.role() == role && (role == Role::Member || member.admin_since == roster.epoch)
        };
        let fits = commit.changes.iter().all(|change| match change {
            RosterChange::Add(identity, role) => {
                let member = roster.members.get(&identity.fingerprint());
                member.is_some_and(|member| has(member, *role))
            }
            RosterChange::Remove(name) => !roster.members.contains_key(name),
            RosterChange::SetRole(name, role) => roster.members.get(name).is_some_and(|member| has(member, *role)),
            RosterChange::Leave => false,
            RosterChange::SetPolicy(policy) => roster.policy == *policy,
        });
        let adds_me =
            commit.changes.iter().any(|change| matches!(change, RosterChange::Add(identity, _) if identity == own));
        if !fits || !adds_me || roster.epoch == 0 {
            return Err(GroupError::Malformed);
        }
        if !signer.identity.verifies(&commit.signed_message(&roster.group), &commit.signature) {
            return Err(GroupError::Signature);
        }
        let transcript = next_transcript(commit, &roster);
        let ended_chains = commit.ends_chains().then_some(now);
        let epochs = VecDeque::from([Epoch { transcript, commit: commit.id(), ended_chains }]);
        let welcome = Some(Welcome { extends: commit.extends, signer: commit.signer, epoch: roster.epoch });
        Ok(Self { roster, epochs, steps: VecDeque::new(), welcome })
    }
}

/// `th_(e+1) = SHA-256(label || th_e || commit || SHA-256(label || roster_(e+1)))`; th_e opens the commit.
fn next_transcript(commit: &RosterCommit, roster: &Roster) -> [u8; 32] {
    kdf::hash(Label::GroupTranscript, &[&commit.encode(), &roster.hash()])
}
