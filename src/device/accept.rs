//! Accepting an introduction: who it is, what the new session changes, and what people should know of it.

use crate::device::Device;
use crate::device::event::Opened;
use crate::device::notice::{Notice, Owed, OwedId};
use crate::device::open::{About, Planned};
use crate::device::peer::Peer;
use crate::device::plan::Change;
use crate::device::seal::Beside;
use crate::error::OpenError;
use crate::handshake::Responded;
use crate::keys::UnixTime;
use crate::limits::MAX_INTRODUCTIONS;
use crate::message::Opening;
use crate::prekey::PreKeyChange;
use crate::session::{Accepted, Session};
use alloc::boxed::Box;
use alloc::vec::Vec;

impl Device {
    /// A new introduction.
    pub(super) fn plan_accept(&self, opening: &Opening<'_>, now: UnixTime) -> Result<Planned, OpenError> {
        let lifetimes = &self.policy.prekeys;
        let mut checked = None;
        let admit = |responded: &Responded| {
            let (identity, certificate) = (&responded.initiator, responded.shown.certificate.as_ref());
            checked = self.admit(identity.fingerprint(), identity, certificate, now)?;
            Ok(())
        };
        let accepted = Session::accept_new(&self.identity, &self.prekeys, opening, lifetimes, now, admit)?;
        let Accepted { session, opened, changes: prekeys, shown } = accepted;
        if self.sessions.contains_key(&session.id()) {
            return Err(OpenError::Replayed);
        }
        let (id, peer, status) = (session.id(), session.peer_fingerprint(), session.status());
        let mut notices = Vec::from([Notice::NewChain(peer)]);
        let known = self.peers.get(&peer);
        let mut author = known.map_or_else(|| Peer::new(*session.peer()), |known| (**known).clone());
        if known.is_none() || author.stranger.is_some() {
            author.stranger = Some(now);
        }
        let learnt = self.learn(&mut author, checked, now, &mut notices);
        let (mut vouched, mut continues) = (false, false);
        for (_, held) in self.sessions_with(peer).filter(|(_, held)| held.session.is_continued_by(&shown)) {
            vouched |= held.is_sure();
            continues |= !self.is_suspect(held);
        }
        // Its author may be anyone who can break the curves.
        let suspect = author.proved && !vouched;
        let joining = self.plan_join(session, vouched, suspect, now);
        // What is sent goes on this session from now on.
        let renewed = author.renew && joining.is_best;
        author.renew &= !renewed;
        if suspect {
            // Or the peer itself, whose state is lost, and with it the prekeys of a bundle from before.
            author.want_renewal();
            notices.push(Notice::RenewalDue(peer));
        }
        let changed = learnt || renewed || suspect || author.stranger.is_some();
        let mut changes = joining.changes;
        match (known, joining.beside) {
            (None, _) => notices.push(Notice::NewPeer(peer)),
            (_, Some(_)) if continues => notices.push(Notice::Renewed(peer)),
            (_, Some(Beside::Displaced { confirmed })) => notices.push(Notice::Displaced { peer, confirmed }),
            (_, Some(Beside::Outranked { confirmed })) => notices.push(Notice::IntroducedBeside { peer, confirmed }),
            (Some(known), None) if known.verified => notices.push(Notice::IntroducedAgain(peer)),
            (Some(_), None) => {}
        }
        if joining.owes_rank && !self.is_stranger(peer, &author) {
            notices.push(Notice::Owed(OwedId(Owed::Rank(id))));
        }
        self.warn_of_prekeys(&prekeys, &mut notices);
        changes.extend(prekeys.into_iter().map(Change::PreKey));
        if changed {
            changes.push(Change::Peer(peer, Some(Box::new(author.clone()))));
        }
        let about = About { introduction: true, suspect, session: status, now };
        let event = self.tell(&author, opened.take(), about, &mut changes, &mut notices)?;
        // What it was sent before, it may have lost.
        if known.is_some() {
            let owed = self.owe_chains(peer, &mut changes);
            notices.extend(
                owed.into_iter().map(Notice::GroupOwed).filter(|notice| !notices.contains(notice)).collect::<Vec<_>>(),
            );
        }
        Ok((changes, Opened { event, notices }))
    }

    pub(super) fn warn_of_prekeys(&self, changes: &[PreKeyChange], notices: &mut Vec<Notice>) {
        let used = changes
            .iter()
            .filter(|change| matches!(change, PreKeyChange::OneTime(id, _) if self.prekeys.is_of_last_upload(*id)));
        let left = self.prekeys.one_time_left().saturating_sub(used.count());
        if left < self.policy.low_water {
            notices.push(Notice::FewPreKeys { left });
        }
        if self.prekeys.introductions().saturating_add(1) >= MAX_INTRODUCTIONS / 2 {
            notices.push(Notice::IntroductionsHalfFull);
        }
    }
}
