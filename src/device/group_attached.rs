//! Commits and welcomes that were too long for a message, and travel beside it.

use crate::attachment::{self, Attachment};
use crate::device::Device;
use crate::device::debts::{Early, Waiting};
use crate::device::event::{Event, GroupEvent, Opened};
use crate::device::group_open::Plan;
use crate::device::pending::Pending;
use crate::device::plan::Change;
use crate::error::OpenError;
use crate::keys::{Fingerprint, UnixTime};
use crate::secret::guard;
use crate::wire::roster::RosterMessage;
use alloc::vec::Vec;

impl Device {
    /// What is to be fetched for groups: names of ciphertexts, for [`Self::take_attached`].
    pub fn wanted(&self) -> impl Iterator<Item = [u8; 32]> {
        let all = self.waiting.values().flat_map(|waiting| &waiting.0);
        all.filter_map(Early::elsewhere).map(|attachment| *attachment.name())
    }

    /// Takes in a ciphertext that a member has named ([`crate::device::GroupEvent::Elsewhere`]), from wherever it was
    /// fetched: a commit or a welcome that was too long for a message.
    ///
    /// # Errors
    /// [`OpenError::Unknown`] if nobody has named it, or a commit's group is not known yet. Nothing has changed. If it is not
    /// what any of those who named it should have made, it is wanted no more: [`crate::device::GroupEvent::Violation`].
    pub fn take_attached(&mut self, ciphertext: &[u8], now: UnixTime) -> Result<Pending<'_, Opened>, OpenError> {
        let name = attachment::name(ciphertext);
        let mut wrong = Vec::new();
        // Anyone can name anything: whoever named it wrongly stands in nobody's way.
        for (from, early) in
            self.waiting.iter().flat_map(|(peer, waiting)| waiting.0.iter().map(|early| (*peer, early)))
        {
            let Some(attachment) = early.elsewhere().filter(|attachment| *attachment.name() == name) else { continue };
            match self.plan_attached(from, early, &attachment, ciphertext, now) {
                Ok((plan, what)) => {
                    let event = Event::Group { group: early.group, from, what };
                    let opened = Opened { event, notices: plan.notices };
                    return Ok(Pending::new(self, plan.changes, opened));
                }
                Err(OpenError::Violation(_)) => wrong.push((from, early.group)),
                Err(_) => {}
            }
        }
        let &(from, group) = wrong.first().ok_or(OpenError::Unknown)?;
        // They have it fetched no more.
        let drop_of = |(peer, waiting): (&Fingerprint, &Waiting)| {
            let mut kept = waiting.clone();
            kept.0.retain(|early| {
                let named = early.elsewhere().is_some_and(|attachment| *attachment.name() == name);
                !(named && wrong.contains(&(*peer, early.group)))
            });
            (kept.0.len() < waiting.0.len()).then_some(Change::Waiting(*peer, kept))
        };
        let plan = self.waiting.iter().filter_map(drop_of).collect();
        let event = Event::Group { group, from, what: GroupEvent::Violation };
        Ok(Pending::new(self, plan, Opened { event, notices: Vec::new() }))
    }

    fn plan_attached(
        &self,
        from: Fingerprint,
        early: &Early,
        attachment: &Attachment,
        ciphertext: &[u8],
        now: UnixTime,
    ) -> Result<(Plan, GroupEvent), OpenError> {
        let violation = OpenError::Violation(from);
        let bytes = guard(attachment::open(attachment, ciphertext).map_err(|_| violation)?);
        let message = RosterMessage::decode(&bytes).map_err(|_| violation)?;
        if matches!(message, RosterMessage::Commit(..)) && !self.groups.contains_key(&early.group) {
            return Err(OpenError::Unknown);
        }
        let mut plan = Plan::default();
        let (group, what) = self.plan_roster(from, message, &bytes, now, &mut plan)?;
        if group != early.group {
            return Err(violation);
        }
        // It waits no longer, whatever else does now.
        let stays = |kept: &Early| kept.elsewhere().is_none_or(|other| other.name() != attachment.name());
        let changed = plan.changes.iter_mut().rev().find_map(|change| match change {
            Change::Waiting(peer, waiting) if *peer == from => Some(waiting),
            _ => None,
        });
        if let Some(waiting) = changed {
            waiting.0.retain(stays);
        } else {
            let mut waiting = self.waiting.get(&from).cloned().unwrap_or_default();
            waiting.0.retain(stays);
            plan.changes.push(Change::Waiting(from, waiting));
        }
        Ok((plan, what))
    }
}
