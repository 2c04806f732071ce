//! Opening an envelope: whose it is, what it says, what follows from it.

use crate::device::event::{Event, GroupEvent, MessageStatus, Opened, Search, Unreadable};
use crate::device::index::Holder;
use crate::device::notice::{Notice, Owed, OwedId};
use crate::device::peer::Peer;
use crate::device::pending::Pending;
use crate::device::plan::Change;
use crate::device::recent::{self, RecentChange};
use crate::device::{Device, Held, Standing};
use crate::error::OpenError;
use crate::group::ChainId;
use crate::keys::{Fingerprint, SessionId, UnixTime};
use crate::limits::MAX_CREATED_AHEAD;
use crate::message::Opening;
use crate::ratchet::Place;
use crate::session::{self, Authentication, Content, Control, SessionStatus};
use crate::wire::envelope::Envelope;
use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// How a message came.
#[derive(Clone, Copy)]
pub(super) struct About {
    pub(super) introduction: bool,
    /// Whether it is of a session that may be someone else's.
    pub(super) suspect: bool,
    pub(super) session: SessionStatus,
    pub(super) now: UnixTime,
}

/// What opening an envelope would change and tell.
pub(super) type Planned = (Vec<Change>, Opened);

impl Device {
    /// Opens an envelope, from whomever and by whatever way it came. Needs no randomness.
    ///
    /// A forged or damaged sealed envelope costs at most one look-up, one hash and one small decryption where it copies a
    /// tag, and where nobody recognises its tag as many as [`crate::Policy::search`] allows; a forged introduction at most one
    /// handshake.
    ///
    /// # Errors
    /// [`OpenError`], which says what to do with the envelope; nothing has changed.
    pub fn open(&mut self, envelope: &[u8], now: UnixTime) -> Result<Pending<'_, Opened>, OpenError> {
        let (plan, opened) = self.plan_open(envelope, None, now)?;
        Ok(Pending::opened(self, plan, opened))
    }

    /// As [`Self::open`], and says where to look if nobody recognises the tag: for messages that come more than
    /// [`crate::limits::TAG_WINDOW`] ahead of the last one, on a device with more sessions than [`crate::Policy::search`].
    /// Costs at most two small decryptions for each session tried.
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

    /// What [`Self::open`] would give, without opening it: nothing changes, nothing has to be stored, and the envelope can
    /// still be opened. For a process that may only look, such as one that shows notifications.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn preview(&self, envelope: &[u8], now: UnixTime) -> Result<Opened, OpenError> {
        self.plan_open(envelope, None, now).map(|(_, opened)| opened)
    }

    fn plan_open(&self, bytes: &[u8], search: Option<Search<'_>>, now: UnixTime) -> Result<Planned, OpenError> {
        let envelope = Envelope::parse(bytes).map_err(OpenError::Malformed)?;
        let opening = Opening::new(&envelope);
        // Only where it can be a duplicate its body is hashed for that.
        let tag_came = self.recent.has_tag(envelope.tag());
        let one = || recent::Opened::new(envelope.tag(), digest(&opening));
        if tag_came && self.recent.has(&one()) {
            return Err(OpenError::Duplicate);
        }
        let (mut changes, opened) = self.plan_new(&opening, tag_came, search, now)?;
        // One that is too far ahead can be read when more have come.
        if !matches!(opened.event, Event::Unreadable { why: Unreadable::TooFarAhead, .. }) {
            changes.push(Change::Recent(RecentChange::Push(one())));
        }
        Ok((changes, opened))
    }

    /// Plans to open an envelope that did not come lately. `tag_came`: another one under its tag did.
    fn plan_new(
        &self,
        opening: &Opening<'_>,
        tag_came: bool,
        search: Option<Search<'_>>,
        now: UnixTime,
    ) -> Result<Planned, OpenError> {
        if let Some(result) = self.plan_recognised(opening, tag_came, now) {
            return result;
        }
        if let Some(prefix) = &opening.envelope.prefix {
            return match self.prekeys.record().get(&prefix.id()) {
                Some(entry) => self.plan_repeated(entry.session, opening, now),
                None => self.plan_accept(opening, now),
            };
        }
        match search {
            None => {
                let bound = self.policy.search;
                match self.plan_search(self.sessions.iter().take(bound), opening, now) {
                    Err(OpenError::Unknown) => {}
                    result => return result,
                }
                let chains = self.chains.keys().copied();
                self.plan_search_chains(chains.take(bound.saturating_sub(self.sessions.len())), opening, now)
            }
            Some(Search::Group(group)) => {
                self.plan_search_chains(self.chains_in(group).map(|(_, chain)| chain), opening, now)
            }
            Some(Search::Peers(peers)) => {
                let sessions = peers.iter().flat_map(|peer| self.sessions_with(*peer));
                let sessions = sessions.filter_map(|(id, _)| self.sessions.get_key_value(id));
                self.plan_search(sessions, opening, now)
            }
            Some(Search::Mailbox(address)) => {
                let listens = |held: &Held| held.session.mailboxes().any(|listened| listened == address);
                let sessions = self.sessions.iter().filter(|(_, held)| listens(held));
                match self.plan_search(sessions, opening, now) {
                    Err(OpenError::Unknown) => {}
                    result => return result,
                }
                let chains = self.chains.iter().filter(|(_, chain)| chain.mailbox() == address);
                self.plan_search_chains(chains.map(|(id, _)| *id), opening, now)
            }
        }
    }

    /// By its tag. `None` when nobody recognises it.
    fn plan_recognised(
        &self,
        opening: &Opening<'_>,
        tag_came: bool,
        now: UnixTime,
    ) -> Option<Result<Planned, OpenError>> {
        let tag = *opening.tag();
        let mut result = None;
        for holder in self.index.find(tag) {
            let id = match holder {
                Holder::Session(id) => id,
                Holder::Chain(id) => {
                    match self.plan_group_message(id, opening, false, now) {
                        // Someone may have announced another's chain: the tag passes on.
                        Err(OpenError::Rejected) => result = Some(Err(OpenError::Rejected)),
                        planned => return Some(planned),
                    }
                    continue;
                }
            };
            let Some(held) = self.sessions.get(&id) else { continue };
            let planned = match held.session.locate(&tag) {
                None => continue,
                // Another one was opened under this tag: the peer has sealed twice at one position, or someone copies tags.
                Some(Place::Spent) if tag_came && held.session.is_authentic(opening) => {
                    Err(OpenError::Diverged(held.session.peer_fingerprint()))
                }
                Some(Place::Spent) if tag_came => Err(OpenError::Rejected),
                Some(Place::Spent) => Err(OpenError::Duplicate),
                Some(place) => held.session.plan_open(place, opening, now),
            };
            match planned {
                // Another session may have the same tag.
                Err(OpenError::Rejected) => result = Some(Err(OpenError::Rejected)),
                Err(error) => return Some(self.plan_failed(id, error)),
                Ok(planned) => {
                    return Some(self.plan_opened(id, held, planned, opening.envelope.is_introduction(), now));
                }
            }
        }
        result
    }

    /// An introduction that was accepted before belongs to its session alone.
    fn plan_repeated(&self, id: SessionId, opening: &Opening<'_>, now: UnixTime) -> Result<Planned, OpenError> {
        let held = self.sessions.get(&id).ok_or(OpenError::Replayed)?;
        match held.session.plan_search(opening, now) {
            Ok(planned) => self.plan_opened(id, held, planned, true, now),
            Err(OpenError::Unknown) => Err(OpenError::Rejected),
            Err(error) => self.plan_failed(id, error),
        }
    }

    fn plan_search<'a>(
        &self,
        sessions: impl Iterator<Item = (&'a SessionId, &'a Box<Held>)>,
        opening: &Opening<'_>,
        now: UnixTime,
    ) -> Result<Planned, OpenError> {
        for (id, held) in sessions {
            match held.session.plan_search(opening, now) {
                Ok(planned) => return self.plan_opened(*id, held, planned, false, now),
                Err(OpenError::Unknown) => {}
                Err(error) => return self.plan_failed(*id, error),
            }
        }
        Err(OpenError::Unknown)
    }

    fn plan_search_chains(
        &self,
        chains: impl Iterator<Item = ChainId>,
        opening: &Opening<'_>,
        now: UnixTime,
    ) -> Result<Planned, OpenError> {
        for chain in chains {
            match self.plan_group_message(chain, opening, true, now) {
                Err(OpenError::Unknown) => {}
                result => return result,
            }
        }
        Err(OpenError::Unknown)
    }

    /// A message that was not opened. Where it is authentic, and shows that the session no longer fits, the next message to
    /// the peer begins another one. Only a session that is sent on is worth that: an envelope of another one, replayed for
    /// ever, must not ask for a renewal each time.
    fn plan_failed(&self, id: SessionId, error: OpenError) -> Result<Planned, OpenError> {
        let (from, why) = match error {
            OpenError::TooFarAhead(peer) => (peer, Unreadable::TooFarAhead),
            OpenError::Diverged(peer) => (peer, Unreadable::Diverged),
            error => return Err(error),
        };
        let known = self.peers.get(&from).ok_or(OpenError::Rejected)?;
        if known.blocked {
            return Err(OpenError::Blocked(from));
        }
        if self.best_session(from).is_none_or(|(best, _)| *best != id) {
            return Err(OpenError::Rejected);
        }
        let mut changes = Vec::new();
        if !known.renew {
            let mut known = known.clone();
            known.renew = true;
            changes.push(Change::Peer(from, Some(known)));
        }
        let event = Event::Unreadable { from, why };
        Ok((changes, Opened { event, notices: Vec::from([Notice::RenewalDue(from)]) }))
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
        if known.blocked {
            return Err(OpenError::Blocked(peer));
        }
        let mut changes = Vec::from([Change::Open(id, planned.step)]);
        let mut notices = Vec::new();
        if planned.begins_chain {
            notices.push(Notice::NewChain(peer));
        }
        let suspect = self.is_suspect(held) && planned.status.authentication != Authentication::Proved;
        let proves = planned.status.authentication == Authentication::Proved && !known.proved;
        let named = match &planned.opened.content {
            Content::Control(Control::Outranked(rank)) if !suspect => Some(*rank),
            _ => None,
        };
        let mut author = Cow::Borrowed(&**known);
        let before = self.best_session(peer).map(|(best, _)| *best);
        let mut is_best = before == Some(id);
        if proves || named.is_some() {
            is_best = self.plan_best(peer, (id, held), proves, named, now, &mut changes) == Some(id);
        }
        if proves {
            author.to_mut().proved = true;
            if is_best && before != Some(id) {
                // It takes the place of one that is perhaps the peer's own, who has perhaps lost this one.
                author.to_mut().want_renewal();
                notices.push(Notice::RenewalDue(peer));
            }
            changes.push(Change::Peer(peer, Some(Box::new(Peer::clone(&author)))));
        }
        // A peer that still sends on an outranked session may have lost the one that outranks it. Controls are not answered:
        // two devices that both know better would never stop.
        let outranked = !is_best && self.rank_to_tell(peer).is_some_and(|rank| rank > held.session.rank());
        if outranked && !self.is_stranger(peer, known) && !matches!(planned.opened.content, Content::Control(_)) {
            changes.push(Change::Standing(id, Standing { owes_rank: true, ..held.standing }));
            notices.push(Notice::Owed(OwedId(Owed::Rank(id))));
        }
        if is_best && planned.owes_answer && !self.is_stranger(peer, known) {
            notices.push(Notice::Owed(OwedId(Owed::Answer(id))));
        }
        let about = About { introduction, suspect, session: planned.status, now };
        let event = self.tell(&author, planned.opened, about, &mut changes, &mut notices)?;
        Ok((changes, Opened { event, notices }))
    }

    /// Turns a message into an event, and plans what it asks for.
    pub(super) fn tell(
        &self,
        peer: &Peer,
        opened: session::Opened,
        about: About,
        changes: &mut Vec<Change>,
        notices: &mut Vec<Notice>,
    ) -> Result<Event, OpenError> {
        let About { introduction, suspect, mut session, now } = about;
        if suspect {
            session.authentication = Authentication::Suspect;
        }
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
            Content::LongMessage(attachment) => {
                let status = MessageStatus { verified: peer.verified, introduction, certificate, session };
                Event::LongMessage { from, tag: opened.tag, attachment, status }
            }
            // Tags are no secret; and it is not known whose word this is.
            Content::Receipt(_) | Content::Control(Control::Outranked(_) | Control::Ended) if suspect => {
                Event::Control { from }
            }
            Content::Receipt(tags) => Event::Receipt { from, tags },
            Content::Control(Control::Outranked(rank)) => {
                // One that could not be outranked is not believed.
                if rank.created_at <= now.plus(MAX_CREATED_AHEAD).0 && self.lacks_rank(from, rank) {
                    let mut peer = peer.clone();
                    peer.floor = peer.floor.max(Some(rank));
                    changes.push(Change::Peer(from, Some(Box::new(peer))));
                    notices.push(Notice::RenewalDue(from));
                }
                Event::Control { from }
            }
            Content::Control(Control::Ended) => {
                self.plan_ended(from, session.id, now, changes, notices);
                Event::Control { from }
            }
            Content::Control(Control::Heard) => Event::Control { from },
            Content::Control(Control::CommitsWanted(group, epoch, hashes)) => {
                self.plan_commits_wanted(from, group, (epoch, &hashes), changes, notices)
            }
            Content::Control(Control::CommitsGone(group, epoch, transcript)) => {
                self.commits_gone(from, group, epoch, transcript)
            }
            Content::Control(Control::Certificate(shown)) => {
                let mut peer = peer.clone();
                let policy = &self.policy.certificates;
                let checked = (!policy.roots.is_empty()).then(|| policy.check_encoded(&*shown, &peer.identity, now));
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

    /// The peer has dropped a session and all below it: they receive what is still under way, and are sent on no more.
    fn plan_ended(
        &self,
        from: Fingerprint,
        id: SessionId,
        now: UnixTime,
        changes: &mut Vec<Change>,
        notices: &mut Vec<Notice>,
    ) {
        let Some(ended) = self.sessions.get(&id).map(|held| held.session.rank()) else { return };
        for (id, held) in self.sessions_with(from) {
            if held.standing.fading_since.is_none() && held.session.rank() <= ended {
                changes.push(Change::Standing(*id, Standing { fading_since: Some(now), ..held.standing }));
                notices.push(Notice::Ended(from));
            }
        }
    }
}

/// What tells an envelope from another one under its tag.
fn digest(opening: &Opening<'_>) -> recent::Digest {
    opening.body_hash().first_chunk().copied().unwrap_or_default()
}
