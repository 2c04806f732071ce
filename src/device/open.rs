//! Opening an envelope: whose it is, what it says, what follows from it.

use crate::device::event::{Event, GroupEvent, MessageStatus, Notice, Opened, Owed, OwedId, Search};
use crate::device::index::Holder;
use crate::device::peer::Peer;
use crate::device::pending::{Change, Pending};
use crate::device::seal::Beside;
use crate::device::{Device, Held, Standing};
use crate::error::OpenError;
use crate::handshake::Responded;
use crate::keys::{Fingerprint, SessionId, UnixTime};
use crate::limits::{MAX_CREATED_AHEAD, MAX_INTRODUCTIONS};
use crate::message::Opening;
use crate::prekey::PreKeyChange;
use crate::ratchet::Place;
use crate::session::{self, Accepted, Content, Control, Session, SessionStatus};
use crate::wire::envelope::Envelope;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// How a message came.
#[derive(Clone, Copy)]
struct About {
    introduction: bool,
    session: SessionStatus,
    now: UnixTime,
}

/// What opening an envelope would change and tell.
type Planned = (Vec<Change>, Opened);

impl Device {
    /// Opens an envelope, from whomever and by whatever way it came. Needs no randomness.
    ///
    /// A forged or damaged sealed envelope costs at most one look-up, one hash and one small decryption; a forged
    /// introduction at most one handshake.
    ///
    /// # Errors
    /// [`OpenError`], which says what to do with the envelope; nothing has changed.
    pub fn open(&mut self, envelope: &[u8], now: UnixTime) -> Result<Pending<'_, Opened>, OpenError> {
        let (plan, opened) = self.plan_open(envelope, None, now)?;
        Ok(Pending::opened(self, plan, opened))
    }

    /// As [`Self::open`]; and where nobody recognises the tag, tries sessions: for messages that come more than
    /// [`crate::limits::TAG_WINDOW`] ahead of the last one. That costs at most two small decryptions for each session tried.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn search(
        &mut self,
        envelope: &[u8],
        search: Search<'_>,
        now: UnixTime,
    ) -> Result<Pending<'_, Opened>, OpenError> {
        let (plan, opened) = self.plan_open(envelope, Some(search), now)?;
        Ok(Pending::opened(self, plan, opened))
    }

    fn plan_open(&self, bytes: &[u8], search: Option<Search<'_>>, now: UnixTime) -> Result<Planned, OpenError> {
        let envelope = Envelope::parse(bytes).map_err(OpenError::Malformed)?;
        if let Some(result) = self.plan_recognised(&envelope, now) {
            return result;
        }
        if let Some(prefix) = &envelope.prefix {
            let opening = Opening::new(&envelope);
            return match self.prekeys.record().get(&prefix.id()) {
                Some(entry) => self.plan_repeated(entry.session, &opening, now),
                None => self.plan_accept(&opening, now),
            };
        }
        let search = search.ok_or(OpenError::Unknown)?;
        let opening = Opening::new(&envelope);
        match search {
            Search::UpTo(count) => self.plan_search(self.sessions.iter().take(count), &opening, now),
            Search::Group(group) => {
                for (_, chain) in self.chains_in(group) {
                    match self.plan_group_message(chain, &opening, true, now) {
                        Err(OpenError::Unknown) => {}
                        result => return result,
                    }
                }
                Err(OpenError::Unknown)
            }
            Search::Peers(peers) => {
                let sessions = peers.iter().flat_map(|peer| self.sessions_with(*peer));
                let sessions = sessions.filter_map(|(id, _)| self.sessions.get_key_value(id));
                self.plan_search(sessions, &opening, now)
            }
        }
    }

    /// By its tag. `None` when nobody recognises it.
    fn plan_recognised(&self, envelope: &Envelope<'_>, now: UnixTime) -> Option<Result<Planned, OpenError>> {
        let mut opening = None;
        let mut result = None;
        for holder in self.index.find(envelope.tag()) {
            let id = match holder {
                Holder::Session(id) => id,
                Holder::Chain(id) => {
                    let opening = opening.get_or_insert_with(|| Opening::new(envelope));
                    match self.plan_group_message(id, opening, false, now) {
                        // Someone may have announced another's chain: the tag passes on.
                        Err(OpenError::Rejected) => result = Some(Err(OpenError::Rejected)),
                        planned => return Some(planned),
                    }
                    continue;
                }
            };
            let Some(held) = self.sessions.get(&id) else { continue };
            let planned = match held.session.locate(&envelope.tag()) {
                None => continue,
                Some(Place::Spent) => Err(OpenError::Duplicate),
                Some(place) => held.session.plan_open(place, opening.get_or_insert_with(|| Opening::new(envelope))),
            };
            match planned {
                // Another session may have the same tag.
                Err(OpenError::Rejected) => result = Some(Err(OpenError::Rejected)),
                Err(error) => return Some(Err(self.advise(id, error))),
                Ok(planned) => return Some(self.plan_opened(id, held, planned, envelope.is_introduction(), now)),
            }
        }
        result
    }

    /// An introduction that was accepted before belongs to its session alone.
    fn plan_repeated(&self, id: SessionId, opening: &Opening<'_>, now: UnixTime) -> Result<Planned, OpenError> {
        let held = self.sessions.get(&id).ok_or(OpenError::Replayed)?;
        match held.session.plan_search(opening) {
            Ok(planned) => self.plan_opened(id, held, planned, true, now),
            Err(OpenError::Unknown) => Err(OpenError::Rejected),
            Err(error) => Err(self.advise(id, error)),
        }
    }

    fn plan_search<'a>(
        &self,
        sessions: impl Iterator<Item = (&'a SessionId, &'a Box<Held>)>,
        opening: &Opening<'_>,
        now: UnixTime,
    ) -> Result<Planned, OpenError> {
        for (id, held) in sessions {
            match held.session.plan_search(opening) {
                Ok(planned) => return self.plan_opened(*id, held, planned, false, now),
                Err(OpenError::Unknown) => {}
                Err(error) => return Err(self.advise(*id, error)),
            }
        }
        Err(OpenError::Unknown)
    }

    /// Only a session that is sent on is worth renewing: an envelope of another one, replayed for ever, must not ask for
    /// a renewal each time.
    fn advise(&self, id: SessionId, error: OpenError) -> OpenError {
        match error {
            OpenError::TooFarAhead(peer) | OpenError::Diverged(peer)
                if self.best_session(peer).is_none_or(|(best, _)| *best != id) =>
            {
                OpenError::Rejected
            }
            error => error,
        }
    }

    /// A message of a session that is there.
    fn plan_opened(
        &self,
        id: SessionId,
        held: &Held,
        planned: session::PlannedOpen,
        introduction: bool,
        now: UnixTime,
    ) -> Result<Planned, OpenError> {
        let peer = held.session.peer_fingerprint();
        let known = self.peers.get(&peer).ok_or(OpenError::Rejected)?;
        let mut changes = Vec::from([Change::Open(id, planned.step)]);
        let mut notices = Vec::new();
        if planned.begins_chain {
            notices.push(Notice::NewChain(peer));
        }
        let is_best = self.best_session(peer).is_some_and(|(best, _)| *best == id);
        // Whoever still sends on an outranked session may have lost the one that outranks it. Controls are not answered:
        // two devices that both know better would never stop.
        if !is_best && self.rank_to_tell(peer).is_some() && !matches!(planned.opened.content, Content::Control(_)) {
            changes.push(Change::Standing(id, Standing { owes_rank: true, ..held.standing }));
            notices.push(Notice::Owed(OwedId(Owed::Rank(id))));
        }
        let about = About { introduction, session: planned.status, now };
        let event = self.tell(known, planned.opened, about, &mut changes, &mut notices)?;
        Ok((changes, Opened { event, notices }))
    }

    /// A new introduction.
    fn plan_accept(&self, opening: &Opening<'_>, now: UnixTime) -> Result<Planned, OpenError> {
        let lifetimes = &self.policy.prekeys;
        let mut checked = None;
        let admit = |responded: &Responded| {
            let (identity, certificate) = (&responded.initiator, responded.certificate.as_ref());
            checked = self.admit(identity.fingerprint(), identity, certificate, now)?;
            Ok(())
        };
        let accepted = Session::accept_new(&self.identity, &self.prekeys, opening, lifetimes, now, admit)?;
        let Accepted { session, opened, changes: prekeys, .. } = accepted;
        if self.sessions.contains_key(&session.id()) {
            return Err(OpenError::Replayed);
        }
        let (id, peer, status) = (session.id(), session.peer_fingerprint(), session.status());
        let mut notices = Vec::from([Notice::NewChain(peer)]);
        let known = self.peers.get(&peer);
        if known.is_none() {
            notices.push(Notice::NewPeer(peer));
        }
        let mut author = known.map_or_else(|| Peer::new(*session.peer()), |known| (**known).clone());
        let changed = self.learn(&mut author, checked, now, &mut notices) || known.is_none();
        let joining = self.plan_join(session, now);
        let mut changes = joining.changes;
        match joining.beside {
            Some(Beside::Displaced) => notices.push(Notice::Displaced(peer)),
            Some(Beside::Outranked) => notices.push(Notice::IntroducedBeside(peer)),
            None => {}
        }
        if joining.owes_rank {
            notices.push(Notice::Owed(OwedId(Owed::Rank(id))));
        }
        self.warn_of_prekeys(&prekeys, &mut notices);
        changes.extend(prekeys.into_iter().map(Change::PreKey));
        if changed {
            changes.push(Change::Peer(peer, Some(Box::new(author.clone()))));
        }
        let about = About { introduction: true, session: status, now };
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
        let used = changes.iter().filter(|change| matches!(change, PreKeyChange::OneTime(..))).count();
        let left = self.prekeys.one_time_left().saturating_sub(used);
        if left < self.policy.low_water {
            notices.push(Notice::FewPreKeys { left });
        }
        if self.prekeys.introductions().saturating_add(1) >= MAX_INTRODUCTIONS / 2 {
            notices.push(Notice::IntroductionsHalfFull);
        }
    }

    /// Turns a message into an event, and plans what it asks for.
    fn tell(
        &self,
        peer: &Peer,
        opened: session::Opened,
        about: About,
        changes: &mut Vec<Change>,
        notices: &mut Vec<Notice>,
    ) -> Result<Event, OpenError> {
        let About { introduction, session, now } = about;
        let from = peer.fingerprint();
        let certificate = self.certificate_state(peer, now);
        if opened.lost > 0 {
            notices.push(Notice::MessagesLost { peer: from, count: opened.lost });
        }
        if opened.bad_fragment {
            notices.push(Notice::BadFragment(from));
        }
        Ok(match opened.content {
            Content::Message(content) => {
                let status = MessageStatus { verified: peer.verified, introduction, certificate, session };
                Event::Message { from, tag: opened.tag, content, status }
            }
            Content::Attachment(attachment, note) => {
                let status = MessageStatus { verified: peer.verified, introduction, certificate, session };
                Event::Attachment { from, tag: opened.tag, attachment, note, status }
            }
            Content::Receipt(tags) => Event::Receipt { from, tags },
            Content::Control(Control::Outranked(rank)) => {
                // One that could not be outranked is not believed.
                if rank.created_at <= now.plus(MAX_CREATED_AHEAD).0 && self.lacks_rank(from, rank) {
                    let mut peer = peer.clone();
                    peer.floor = peer.floor.max(Some(rank));
                    changes.push(Change::Peer(from, Some(Box::new(peer))));
                    notices.push(Notice::RenewNeeded(from));
                }
                Event::Control { from }
            }
            Content::Control(Control::CommitsWanted(group, epoch, hashes)) => {
                self.plan_commits_wanted(from, group, (epoch, &hashes), changes, notices)
            }
            Content::Control(Control::CommitsGone(group, epoch, transcript)) => {
                self.commits_gone(from, group, epoch, transcript)
            }
            Content::Control(Control::Certificate(shown)) => {
                let mut peer = peer.clone();
                let policy = &self.policy.certificates;
                let checked = (!policy.roots.is_empty()).then(|| policy.check(&shown, &peer.identity, now));
                if self.learn(&mut peer, checked, now, notices) {
                    changes.push(Change::Peer(from, Some(Box::new(peer))));
                }
                Event::Control { from }
            }
            Content::Control(Control::ChainWanted(group)) => self.plan_chain_wanted(from, group, changes, notices),
            Content::Control(Control::ChainReceived(group)) => {
                Event::Group { group, from, what: GroupEvent::ChainReceived }
            }
            Content::Group(content) => self.plan_group_content(peer, &content, now, changes, notices)?,
        })
    }

    /// Whether a rank that a peer names is above every session that this device has with it.
    pub(super) fn lacks_rank(&self, peer: Fingerprint, rank: session::Rank) -> bool {
        self.best_rank(peer).is_none_or(|best| best < rank)
    }
}
