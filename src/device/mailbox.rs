//! Where envelopes go, and where to listen for them.

use crate::device::Device;
use crate::device::notice::{Owed, OwedId};
use crate::group::GroupId;
use crate::keys::{Fingerprint, MailboxAddress};

impl Device {
    /// Where to leave what was just sealed for a peer: an address that only its device listens on, another one after each
    /// turn of the conversation. `None` while there is no session that the peer is known to hold: introductions go where
    /// the peer has published that they go.
    ///
    /// Sealing does not change it: it can be asked before, to be stored with the envelope. An envelope that could not be left
    /// there can be left at the address of a later moment.
    pub fn mailbox(&self, peer: Fingerprint) -> Option<MailboxAddress> {
        self.best_session(peer)?.1.session.mailbox()
    }

    /// Where to leave a control that is owed ([`Self::seal_owed`]), asked before it is sealed.
    pub fn mailbox_owed(&self, id: OwedId) -> Option<MailboxAddress> {
        match id.0 {
            Owed::Rank(session) | Owed::Answer(session) => self.sessions.get(&session)?.session.mailbox(),
            Owed::Certificate(peer) => self.mailbox(peer),
            Owed::Renewal(_) => None,
        }
    }

    /// Where to leave this device's messages for a group, once for all members; `None` before the first. It changes with
    /// the chain.
    pub fn group_mailbox(&self, group: GroupId) -> Option<MailboxAddress> {
        self.own_chains.get(&group).map(|chain| chain.mailbox())
    }

    /// Where to listen for a peer: at most [`crate::limits::MAX_MAILBOXES`] for each session, mostly three. Ask again
    /// after each envelope that was opened.
    pub fn mailboxes_of(&self, peer: Fingerprint) -> impl Iterator<Item = MailboxAddress> {
        self.sessions_with(peer).flat_map(|(_, held)| held.session.mailboxes())
    }

    /// Where to listen for a group: one address for each chain of a member.
    pub fn group_mailboxes(&self, group: GroupId) -> impl Iterator<Item = MailboxAddress> {
        self.chains_in(group).filter_map(|(_, id)| self.chains.get(&id)).map(|chain| chain.mailbox())
    }

    /// Every address to listen on, beside the one where introductions go.
    pub fn mailboxes(&self) -> impl Iterator<Item = MailboxAddress> {
        let sessions = self.sessions.values().flat_map(|held| held.session.mailboxes());
        sessions.chain(self.chains.values().map(|chain| chain.mailbox()))
    }
}
