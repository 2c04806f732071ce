//! A group's image.

use crate::codec::{Reader, Write};
use crate::error::{DecodeError, StateError};
use crate::group::Group;
use crate::group::roster::{Epoch, Step, Welcome};
use crate::keys::{Fingerprint, IdentityKey, UnixTime};
use crate::limits::{MAX_GROUP_CHANGES, MAX_KEPT_COMMITS, MAX_KEPT_EPOCHS};
use crate::secret::GuardedVec;
use crate::state::{self, Image};
use crate::wire::roster::{GroupPolicy, Member, Roster, RosterCommit};
use alloc::collections::{BTreeMap, VecDeque};

impl Group {
    /// Length of what [`Self::write`] writes.
    pub(crate) fn state_len(&self) -> usize {
        let mut count = state::Length(0);
        self.write(&mut count);
        count.0
    }

    /// Writes:
    ///
    /// ```text
    /// roster || welcome flag(1) || (hash before the welcome(32) || its signer(32) || its epoch(8)), if the flag is 1
    ///   || epochs(1) || (transcript hash(32) || commit's hash(32) || ended chains(1) || when(8, 0 if not)) each
    ///   || steps(1) || (commit || max messages(4) || max age(8) || count(4)
    ///       || (fingerprint(32) || flag(1) || identity(96) || admin since(8), if the flag is 1) each) each
    /// ```
    pub(crate) fn write(&self, out: &mut impl Write) {
        self.roster.write(out);
        out.flag(self.welcome.is_some());
        if let Some(welcome) = &self.welcome {
            out.bytes(&welcome.extends);
            out.bytes(welcome.signer.as_bytes());
            out.u64(welcome.epoch);
        }
        out.u8(u8::try_from(self.epochs.len()).unwrap_or(u8::MAX));
        for epoch in &self.epochs {
            out.bytes(&epoch.transcript);
            out.bytes(&epoch.commit);
            out.flag(epoch.ended_chains.is_some());
            out.u64(epoch.ended_chains.unwrap_or_default().0);
        }
        out.u8(u8::try_from(self.steps.len()).unwrap_or(u8::MAX));
        for step in &self.steps {
            step.commit.write(out);
            out.u32(step.policy.max_messages);
            out.u64(step.policy.max_age);
            out.count(step.members.len());
            for (name, before) in &step.members {
                out.bytes(name.as_bytes());
                out.flag(before.is_some());
                if let Some(member) = before {
                    member.identity.write(out);
                    out.u64(member.admin_since);
                }
            }
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let roster = Roster::read(reader)?;
        let welcome = if reader.flag()? {
            let (extends, signer) = (*reader.array()?, Fingerprint::from_bytes(*reader.array()?));
            Some(Welcome { extends, signer, epoch: reader.u64()? })
        } else {
            None
        };
        let count = usize::from(reader.u8()?);
        if count == 0 || count > MAX_KEPT_EPOCHS {
            return Err(DecodeError::Invalid);
        }
        let mut epochs = VecDeque::new();
        for _ in 0..count {
            let (transcript, commit) = (*reader.array()?, *reader.array()?);
            let (ended, at) = (reader.flag()?, reader.u64()?);
            if !ended && at != 0 {
                return Err(DecodeError::Invalid);
            }
            epochs.push_back(Epoch { transcript, commit, ended_chains: ended.then_some(UnixTime(at)) });
        }
        let count = usize::from(reader.u8()?);
        if count > MAX_KEPT_COMMITS || count >= epochs.len() {
            return Err(DecodeError::Invalid);
        }
        let steps = (0..count).map(|_| read_step(reader)).collect::<Result<VecDeque<_>, _>>()?;
        let before_steps = epochs.len().saturating_sub(steps.len()).saturating_sub(1);
        // Each step extends the epoch before the one it began.
        let linked = steps.iter().zip(epochs.iter().skip(before_steps));
        let reach = u64::try_from(epochs.len()).unwrap_or(u64::MAX).saturating_sub(1);
        if !linked.into_iter().all(|(step, epoch)| step.commit.extends == epoch.transcript) || reach > roster.epoch {
            return Err(DecodeError::Invalid);
        }
        // A welcome is no later than the oldest epoch that is remembered, unless it is that.
        let first = roster.epoch.saturating_sub(reach);
        if welcome.is_some_and(|welcome| welcome.epoch == 0 || welcome.epoch > first) {
            return Err(DecodeError::Invalid);
        }
        Ok(Self { roster, epochs, steps, welcome })
    }

    /// The whole group as one image, for those who use it without a device. It holds no secret.
    pub fn to_state(&self) -> Image {
        let mut out: GuardedVec = state::image(self.state_len().saturating_add(1));
        out.u8(state::VERSION);
        self.write(&mut out);
        Image::new(out)
    }

    /// Restores a group from its image.
    ///
    /// # Errors
    /// [`StateError::Malformed`] if the bytes are not an image of this version, or break an invariant or a bound.
    pub fn from_state(image: &[u8]) -> Result<Self, StateError> {
        Ok(Reader::whole(image, |reader| {
            state::version(reader)?;
            Self::read(reader)
        })?)
    }
}

fn read_step(reader: &mut Reader<'_>) -> Result<Step, DecodeError> {
    let commit = RosterCommit::read(reader)?;
    let policy = GroupPolicy { max_messages: reader.u32()?, max_age: reader.u64()? };
    let mut members = BTreeMap::new();
    for _ in 0..reader.count(MAX_GROUP_CHANGES)? {
        let name = Fingerprint::from_bytes(*reader.array()?);
        if members.last_key_value().is_some_and(|(last, _)| name <= *last) {
            return Err(DecodeError::Invalid);
        }
        let before = if reader.flag()? {
            let member = Member { identity: IdentityKey::read(reader)?, admin_since: reader.u64()? };
            if member.identity.fingerprint() != name {
                return Err(DecodeError::Invalid);
            }
            Some(member)
        } else {
            None
        };
        members.insert(name, before);
    }
    if !policy.is_valid() {
        return Err(DecodeError::Invalid);
    }
    Ok(Step { commit, policy, members })
}
