//! Sealing for a peer: on the session of the greatest rank, or with an introduction.

use crate::device::notice::{Owed, OwedId};
use crate::device::peer::Peer;
use crate::device::pending::Pending;
use crate::device::plan::Change;
use crate::device::{Device, Held, Standing};
use crate::error::{PreKeyError, SealError};
use crate::keys::{Fingerprint, MailboxAddress, SessionId, UnixTime};
use crate::limits::{MAX_CREATED_AHEAD, MAX_FADING};
use crate::message::Outbound;
use crate::prekey::VerifiedPreKeyBundle;
use crate::session::{Control, Rank, Session};
use crate::wire::bundle::PreKeyBundle;
use crate::wire::control::encode_receipt;
use crate::wire::payload::PayloadKind;
use crate::wire::sealed::Tag;
use alloc::boxed::Box;
use alloc::vec::Vec;
use rand_core::CryptoRng;

/// How often an unanswered renewal is sent again.
const SECONDS_A_DAY: u64 = 86_400;

impl Device {
    /// Seals a message for a peer; the result is the envelope, and where it goes. The first ones are introductions, made with
    /// the bundle that the peer was added with; so is one for which a renewal is due, with another bundle
    /// ([`Self::bundles_wanted`]). A bundle serves for one session.
    ///
    /// Draws 64 bytes for an introduction, then 32 bytes when the message begins a chain, then 12 for its nonce.
    ///
    /// # Errors
    /// [`SealError`]; nothing has changed.
    pub fn seal<R: CryptoRng + ?Sized>(
        &mut self,
        peer: Fingerprint,
        content: &[u8],
        now: UnixTime,
        rng: &mut R,
    ) -> Result<Pending<'_, Sealed>, SealError> {
        let message = Outbound { kind: PayloadKind::Application, content };
        let (plan, envelope) = self.plan_seal(peer, message, now, rng)?;
        Ok(Pending::new(self, plan, envelope))
    }

    /// Seals a receipt: these messages of the peer were read. Draws as [`Self::seal`] does.
    ///
    /// A receipt sent at once tells whoever watches the network who talks to whom. Wait a random while, and send one for
    /// several messages.
    ///
    /// # Errors
    /// [`SealError`]; nothing has changed.
    pub fn seal_receipt<R: CryptoRng + ?Sized>(
        &mut self,
        peer: Fingerprint,
        tags: &[Tag],
        now: UnixTime,
        rng: &mut R,
    ) -> Result<Pending<'_, Sealed>, SealError> {
        let content = encode_receipt(tags).ok_or(SealError::TooLong)?;
        let message = Outbound { kind: PayloadKind::Receipt, content: &content };
        let (plan, envelope) = self.plan_seal(peer, message, now, rng)?;
        Ok(Pending::new(self, plan, envelope))
    }

    /// Introduces this device anew to a peer, above every rank known: when the peer's state or this device's was lost
    /// or has diverged. The next message goes with it; older sessions go on receiving for a while. It is owed this
    /// device's chains of their groups again ([`Self::seal_group_owed`]). Draws 64 bytes.
    ///
    /// # Errors
    /// [`SealError::UnknownPeer`], [`SealError::Blocked`], [`SealError::Bundle`], [`SealError::Handshake`]; nothing has
    /// changed.
    pub fn renew<R: CryptoRng + ?Sized>(
        &mut self,
        peer: Fingerprint,
        bundle: &PreKeyBundle,
        now: UnixTime,
        rng: &mut R,
    ) -> Result<Pending<'_, ()>, SealError> {
        let mut known = self.peer_to_seal(peer)?.clone();
        let bundle = VerifiedPreKeyBundle::verify(bundle.clone(), now)?;
        if bundle.fingerprint() != peer {
            return Err(SealError::Bundle(PreKeyError::OtherIdentity));
        }
        known.keep_bundle(bundle);
        let (session, peer_change) = self.introduce(known, false, now, rng)?;
        let mut plan = self.plan_join(session, false, false, now).changes;
        plan.push(peer_change);
        self.owe_chains(peer, &mut plan);
        Ok(Pending::new(self, plan, ()))
    }

    /// The peers of whom a bundle is wanted ([`Self::add_peer`]): what goes on their session may open nothing, or there is none
    /// any more, and no bundle is here to introduce this device anew with.
    pub fn bundles_wanted(&self, now: UnixTime) -> impl Iterator<Item = Fingerprint> {
        let wanted = move |name: Fingerprint, peer: &Peer| {
            let ended = || self.sessions_with(name).next().is_some() && self.best_session(name).is_none();
            !peer.blocked
                && !self.is_stranger(name, peer)
                && !peer.can_be_introduced_to(now)
                && (self.renewal_due_at(name, peer, now) || ended())
        };
        self.peers.iter().filter(move |(name, peer)| wanted(**name, peer)).map(|(name, _)| *name)
    }

    /// The controls that this device owes: ranks, its certificate, answers to many messages without one, and introductions to
    /// peers for whom a renewal is due and a bundle is here. Seal them when the network is there; an answer a random while
    /// later.
    pub fn owed(&self, now: UnixTime) -> impl Iterator<Item = (OwedId, Fingerprint)> {
        let ranks = self.owing.iter().filter_map(|id| {
            let held = self.sessions.get(id)?;
            let peer = held.session.peer_fingerprint();
            let known = self.peers.get(&peer).filter(|known| !known.blocked)?;
            if self.is_stranger(peer, known) {
                return None;
            }
            let tells = || self.rank_to_tell(peer).is_some_and(|rank| rank > held.session.rank());
            let rank = held.standing.owes_rank && tells();
            let answer = self.owes_answer(*id, held);
            let owed = if rank { Owed::Rank(*id) } else { Owed::Answer(*id) };
            (rank || answer).then_some((OwedId(owed), peer))
        });
        let certificates = self.peers.iter().filter(move |(name, peer)| {
            self.owes_certificate(peer, now)
                && self.best_session(**name).is_some_and(|(_, held)| held.session.is_answered())
        });
        let certificates = certificates.map(|(name, _)| (OwedId(Owed::Certificate(*name)), *name));
        let renewals = self.peers.iter().filter(move |(name, peer)| self.owes_renewal(**name, peer, now));
        let renewals = renewals.map(|(name, _)| (OwedId(Owed::Renewal(*name)), *name));
        ranks.chain(certificates).chain(renewals)
    }

    /// Whether an introduction is owed to a peer, or is to be sent once more: nothing else tells the peer that its session with
    /// this device opens nothing.
    fn owes_renewal(&self, name: Fingerprint, peer: &Peer, now: UnixTime) -> bool {
        let due = || peer.can_be_introduced_to(now) && self.renewal_due_at(name, peer, now);
        !peer.blocked && (due() || self.repeats_renewal(name, now)) && !self.is_stranger(name, peer)
    }

    /// Whether a renewal is unanswered, and was sent no more often than once, and once for each day since then.
    fn repeats_renewal(&self, name: Fingerprint, now: UnixTime) -> bool {
        let renews = || self.sessions_with(name).nth(1).is_some();
        self.best_session(name).is_some_and(|(_, held)| {
            let days = now.0.saturating_sub(held.session.rank().created_at) / SECONDS_A_DAY;
            !held.session.is_answered() && u64::from(held.session.unanswered()) <= days && renews()
        })
    }

    /// Seals a control that is owed, on the session that it belongs to, or with an introduction. Draws as [`Self::seal`] does.
    ///
    /// # Errors
    /// [`SealError::NothingOwed`] or [`SealError::ChainExhausted`]; nothing has changed.
    pub fn seal_owed<R: CryptoRng + ?Sized>(
        &mut self,
        id: OwedId,
        now: UnixTime,
        rng: &mut R,
    ) -> Result<Pending<'_, Sealed>, SealError> {
        let nothing = SealError::NothingOwed;
        let (session, control, change) = match id.0 {
            Owed::Renewal(name) => {
                self.peers.get(&name).filter(|peer| self.owes_renewal(name, peer, now)).ok_or(nothing)?;
                let content = Control::Heard.encode();
                let message = Outbound { kind: PayloadKind::Control, content: &content };
                let (plan, envelope) = self.plan_seal(name, message, now, rng)?;
                return Ok(Pending::new(self, plan, envelope));
            }
            Owed::Answer(id) => {
                let held = self.sessions.get(&id).filter(|held| self.owes_answer(id, held)).ok_or(nothing)?;
                self.peers.get(&held.session.peer_fingerprint()).filter(|peer| !peer.blocked).ok_or(nothing)?;
                (id, Control::Heard, None)
            }
            Owed::Rank(id) => {
                let held = self.sessions.get(&id).filter(|held| held.standing.owes_rank).ok_or(nothing)?;
                let peer = held.session.peer_fingerprint();
                self.peers.get(&peer).filter(|known| !self.is_stranger(peer, known)).ok_or(nothing)?;
                let rank = self.rank_to_tell(peer).filter(|rank| *rank > held.session.rank()).ok_or(nothing)?;
                let standing = Standing { owes_rank: false, ..held.standing };
                (id, Control::Outranked(rank), Some(Change::Standing(id, standing)))
            }
            Owed::Certificate(name) => {
                let mut peer =
                    self.peers.get(&name).filter(|peer| self.owes_certificate(peer, now)).ok_or(nothing)?.clone();
                let (id, held) = self.best_session(name).ok_or(nothing)?;
                let certificate = self.good_certificate(now).filter(|_| held.session.is_answered()).ok_or(nothing)?;
                peer.told = Some(certificate.id());
                let control = Control::Certificate(Box::new(certificate.encode_in_place()));
                (*id, control, Some(Change::Peer(name, Some(peer))))
            }
        };
        let content = control.encode();
        let message = Outbound { kind: PayloadKind::Control, content: &content };
        let held = self.sessions.get(&session).ok_or(nothing)?;
        let sealed = held.session.plan_seal(message, self.policy.padding, rng)?;
        let (envelope, tag, mailbox) = (sealed.envelope, sealed.tag, held.session.mailbox());
        let mut plan = Vec::from([Change::Seal(session, sealed.step)]);
        plan.extend(change);
        Ok(Pending::new(self, plan, Sealed { envelope, mailbox, tag, renews: false }))
    }

    /// Whether an answer is owed on a session.
    fn owes_answer(&self, id: SessionId, held: &Held) -> bool {
        let best = self.best_session(held.session.peer_fingerprint());
        held.session.owes_answer() && best.is_some_and(|(best, _)| *best == id)
    }

    /// What tells a peer that its sessions with this device are dropped, sealed on the best one that it holds.
    pub(super) fn farewell<R: CryptoRng + ?Sized>(&self, peer: Fingerprint, rng: &mut R) -> Option<Sealed> {
        let known = self.peers.get(&peer).filter(|known| !known.blocked && !self.is_stranger(peer, known))?;
        let held = self.best_answered(known.fingerprint()).and_then(|id| self.sessions.get(&id))?;
        let content = Control::Ended.encode();
        let message = Outbound { kind: PayloadKind::Control, content: &content };
        let sealed = held.session.plan_seal(message, self.policy.padding, rng).ok()?;
        let (envelope, tag, mailbox) = (sealed.envelope, sealed.tag, held.session.mailbox());
        Some(Sealed { envelope, mailbox, tag, renews: false })
    }

    /// The rank that a peer who sends on another session may have lost; if it has dropped all of them, the greatest. `None`
    /// while this device's own introduction is unanswered: that tells the peer by itself, and if both told each other so, both would renew without end.
    pub(super) fn rank_to_tell(&self, peer: Fingerprint) -> Option<Rank> {
        match self.best_session(peer) {
            Some((_, held)) => held.session.is_answered().then(|| held.session.rank()),
            None => self.best_rank(peer),
        }
    }

    fn peer_to_seal(&self, peer: Fingerprint) -> Result<&Peer, SealError> {
        let known = self.peers.get(&peer).ok_or(SealError::UnknownPeer)?;
        if known.blocked { Err(SealError::Blocked) } else { Ok(known) }
    }

    /// Says whatever a peer that breaks the protocol could, for tests.
    ///
    /// # Errors
    /// As [`Self::seal`].
    #[cfg(feature = "vectors")]
    #[doc(hidden)]
    pub fn seal_raw<R: CryptoRng + ?Sized>(
        &mut self,
        peer: Fingerprint,
        kind: u8,
        content: &[u8],
        now: UnixTime,
        rng: &mut R,
    ) -> Result<Pending<'_, Sealed>, SealError> {
        let kind = PayloadKind::from_byte(kind).unwrap_or(PayloadKind::Control);
        let (plan, envelope) = self.plan_seal(peer, Outbound { kind, content }, now, rng)?;
        Ok(Pending::new(self, plan, envelope))
    }

    /// A copy of the session that is sent on, for test vectors.
    #[cfg(feature = "vectors")]
    pub(crate) fn session_copy(&self, peer: Fingerprint) -> Option<Session> {
        let (_, held) = self.best_session(peer)?;
        Session::from_state(held.session.to_state().expose(), &self.identity).ok()
    }

    /// Whether anything can be sealed for a peer.
    pub(super) fn can_seal(&self, peer: Fingerprint, now: UnixTime) -> Result<(), SealError> {
        let known = self.peer_to_seal(peer)?;
        if self.best_session(peer).is_none() {
            known.bundle().ok_or(SealError::BundleNeeded)?.at(now).ok_or(SealError::BundleExpired)?;
        }
        Ok(())
    }

    pub(super) fn plan_seal<R: CryptoRng + ?Sized>(
        &self,
        peer: Fingerprint,
        message: Outbound<'_>,
        now: UnixTime,
        rng: &mut R,
    ) -> Result<(Vec<Change>, Sealed), SealError> {
        let known = self.peer_to_seal(peer)?;
        let padding = self.policy.padding;
        padding.sealed_len(message.content.len()).ok_or(SealError::TooLong)?;
        // What people write; not what a group or a device asks for.
        let by_people = message.kind.is_by_people();
        let accepts = by_people && known.stranger.is_some();
        let accepted = || {
            let mut known = known.clone();
            if accepts {
                known.accept();
            }
            known
        };
        let mut again = false;
        if let Some((id, held)) = self.best_session(peer) {
            let shows_now = by_people && known.added && !known.shown;
            // An introduction without the certificate may have been refused for that, and with it all that follows.
            let shows_anew = by_people
                && (known.shown || shows_now)
                && known.told.is_none()
                && self.good_certificate(now).is_some()
                && !held.session.is_answered();
            let renews = self.renewal_due_at(peer, known, now) && known.can_be_introduced_to(now);
            again = shows_anew && known.can_be_introduced_again(now);
            if !renews && !again {
                let sealed = held.session.plan_seal(message, padding, rng)?;
                let mut plan = Vec::from([Change::Seal(*id, sealed.step)]);
                if shows_now || accepts {
                    let mut known = accepted();
                    known.shown |= shows_now;
                    plan.push(Change::Peer(peer, Some(Box::new(known))));
                }
                let (envelope, tag, mailbox) = (sealed.envelope, sealed.tag, held.session.mailbox());
                return Ok((plan, Sealed { envelope, mailbox, tag, renews: false }));
            }
        }
        let renews = self.sessions_with(peer).next().is_some();
        let mut known = accepted();
        if again {
            known.reuse_bundle();
        }
        let (mut session, peer_change) = self.introduce(known, by_people, now, rng)?;
        let mut sealed = session.plan_seal(message, padding, rng)?;
        session.swap_seal(&mut sealed.step);
        let mut plan = self.plan_join(session, false, false, now).changes;
        plan.push(peer_change);
        // What went with an introduction that may have been refused.
        if self.best_session(peer).is_some() {
            self.owe_chains(peer, &mut plan);
        }
        Ok((plan, Sealed { envelope: sealed.envelope, mailbox: None, tag: sealed.tag, renews }))
    }

    /// Makes a session with the bundle kept for a peer, above every rank known.
    fn introduce<R: CryptoRng + ?Sized>(
        &self,
        mut peer: Peer,
        by_people: bool,
        now: UnixTime,
        rng: &mut R,
    ) -> Result<(Session, Change), SealError> {
        let fingerprint = peer.fingerprint();
        let bundle = peer.bundle().ok_or(SealError::BundleNeeded)?.at(now).ok_or(SealError::BundleExpired)?;
        let known = self.best_rank(fingerprint).max(peer.floor);
        let above = known.map_or(0, |rank| rank.created_at.saturating_add(1));
        // A suspect rank is exceeded as far as the peer takes it, for perhaps it is the peer's own.
        let all = self.sessions_with(fingerprint).map(|(_, held)| held.session.rank().created_at).max();
        let all = all.map_or(0, |created_at| created_at.saturating_add(1));
        let above = above.max(all.min(now.plus(MAX_CREATED_AHEAD / 2).0));
        let show = peer.shown || (peer.added && by_people);
        let certificate = self.good_certificate(now).filter(|_| show);
        // Rather one that the peer is known to hold, and of these the one that is sent on. Beside it the best suspect one: if the
        // peer has lost its state, that is its own.
        let best = |suspect: bool| {
            let sessions = self.sessions_with(fingerprint).map(|(_, held)| held);
            let best = sessions.filter(|held| self.is_suspect(held) == suspect).max_by_key(|held| {
                let answered = held.session.is_answered();
                (answered, answered && held.standing.fading_since.is_none(), held.session.rank())
            });
            best.map(|held| &held.session)
        };
        let before = [best(false), best(true)];
        let session = Session::initiate_showing(before, &self.identity, certificate, &bundle, now.0.max(above), rng)?;
        peer.use_bundle();
        peer.renew = false;
        // Without one, it is owed as soon as there is one.
        peer.shown = show;
        if let Some(certificate) = certificate {
            peer.told = Some(certificate.id());
        }
        Ok((session, Change::Peer(fingerprint, Some(Box::new(peer)))))
    }

    /// Plans to let a session join those with its peer: the best one is sent on, the others fade, and the one that has
    /// faded longest goes when there are too many. Never the best one that the peer is known to hold: the new one may
    /// stay unanswered.
    pub(super) fn plan_join(&self, session: Session, vouched: bool, suspect: bool, now: UnixTime) -> Joining {
        let peer = session.peer_fingerprint();
        let best = self.best_session(peer);
        let is_above = best.is_none_or(|(_, held)| held.session.rank() < session.rank());
        let is_best = is_above && !suspect;
        let beside = best.map(|(_, held)| {
            let confirmed = held.session.status().confirmed;
            if is_above { Beside::Displaced { confirmed } } else { Beside::Outranked { confirmed } }
        });
        let mut changes = Vec::new();
        if is_best && let Some((id, held)) = best {
            let standing = Standing { fading_since: Some(now), ..held.standing };
            changes.push(Change::Standing(*id, standing));
        }
        let owes_rank = !is_above && self.rank_to_tell(peer).is_some();
        let surplus = self.sessions_with(peer).count().saturating_sub(MAX_FADING);
        let best_id = best.map(|(id, _)| *id);
        let keeper = self.best_answered(peer);
        let mut fading: Vec<_> = self
            .sessions_with(peer)
            .filter(|(id, _)| keeper != Some(**id) && (is_best || best_id != Some(**id)))
            .collect();
        // Suspect ones come first; the one that is outranked only now comes last, whatever the clock says.
        fading.sort_by_key(|(_, held)| {
            let since = held.standing.fading_since;
            (!self.is_suspect(held), since.is_none(), since, held.session.rank())
        });
        changes.extend(fading.into_iter().take(surplus).map(|(id, _)| Change::Session(*id, None)));
        let standing = Standing { fading_since: (!is_best).then_some(now), owes_rank, vouched };
        let id = session.id();
        changes.push(Change::Session(id, Some(Box::new(Held { session, standing }))));
        Joining { changes, is_best, owes_rank, beside }
    }
}

/// A session that joins those with its peer.
pub(super) struct Joining {
    pub(super) changes: Vec<Change>,
    /// Whether it is sent on.
    pub(super) is_best: bool,
    /// Whether its initiator is to be told the rank it has to exceed.
    pub(super) owes_rank: bool,
    /// Whether there is another session that is sent on, and which is the better one.
    pub(super) beside: Option<Beside>,
}

/// How a session that joins stands to the one that was sent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beside {
    /// It takes its place, or would if it were not suspect.
    Displaced { confirmed: bool },
    /// It does not.
    Outranked { confirmed: bool },
}

/// An envelope that was sealed for one peer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sealed {
    /// What the relay carries.
    pub envelope: Vec<u8>,
    /// Where it can be left, on relays that have mailboxes; `None`: where the peer has published that introductions go.
    pub mailbox: Option<MailboxAddress>,
    /// Its name, which receipts give.
    pub tag: Tag,
    /// Whether it begins a session in place of one that may have opened nothing: what was sealed before, and no receipt has
    /// named, may be lost. Send it again.
    pub renews: bool,
}
