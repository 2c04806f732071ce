//! Commits and welcomes that were too long for a message, and travel beside it.

use crate::attachment;
use crate::device::Device;
use crate::device::debts::Early;
use crate::device::event::{Event, Opened};
use crate::device::group_open::Plan;
use crate::device::pending::{Change, Pending};
use crate::error::OpenError;
use crate::keys::UnixTime;
use crate::secret::guard;
use crate::wire::roster::RosterMessage;

impl Device {
    /// What is to be fetched for groups: names of ciphertexts, for [`Self::take_attached`].
    pub fn wanted(&self) -> impl Iterator<Item = [u8; 32]> {
        let all = self.waiting.values().flat_map(|waiting| &waiting.0);
        all.filter_map(Early::elsewhere).map(|attachment| *attachment.name())
    }

    /// Takes in a ciphertext that a member has named ([`crate::device::GroupEvent::Elsewhere`]), from wherever it was fetched: a commit
    /// or a welcome that was too long for a message.
    ///
    /// # Errors
    /// [`OpenError::Unknown`] if nobody has named it, [`OpenError::Violation`] if it is not what its author should have
    /// made; nothing has changed.
    pub fn take_attached(&mut self, ciphertext: &[u8], now: UnixTime) -> Result<Pending<'_, Opened>, OpenError> {
        let name = attachment::name(ciphertext);
        let named = |early: &Early| early.elsewhere().filter(|attachment| *attachment.name() == name);
        let (from, attachment) = self
            .waiting
            .iter()
            .find_map(|(peer, waiting)| Some((*peer, waiting.0.iter().find_map(named)?)))
            .ok_or(OpenError::Unknown)?;
        let violation = OpenError::Violation(from);
        let bytes = guard(attachment::open(&attachment, ciphertext).map_err(|_| violation)?);
        let message = RosterMessage::decode(&bytes).map_err(|_| violation)?;
        let mut plan = Plan::default();
        let (group, what) = self.plan_roster(from, message, &bytes, now, &mut plan)?;
        // It waits no longer, whatever else does now.
        let mut after = None;
        for change in &mut plan.changes {
            if let Change::Waiting(peer, waiting) = change
                && *peer == from
            {
                after = Some(waiting);
            }
        }
        if let Some(waiting) = after {
            waiting.0.retain(|early| named(early).is_none());
        } else {
            let mut waiting = self.waiting.get(&from).cloned().unwrap_or_default();
            waiting.0.retain(|early| named(early).is_none());
            plan.changes.push(Change::Waiting(from, waiting));
        }
        let opened = Opened { event: Event::Group { group, from, what }, notices: plan.notices };
        Ok(Pending::new(self, plan.changes, opened))
    }
}
