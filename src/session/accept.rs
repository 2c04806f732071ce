//! Accepting: from an introduction to a session and the message behind it.

use crate::crypto::{HANDSHAKE_STACK, scrubbed};
use crate::error::OpenError;
use crate::handshake::{self, Responded, Shown};
use crate::identity::IdentityKeyPair;
use crate::keys::{SessionId, UnixTime};
use crate::limits::MAX_FIRST_JUMP;
use crate::message::Opening;
use crate::prekey::{PreKeyChange, PreKeyLifetimes, PreKeyStore};
use crate::ratchet::{ChainKeys, Place, Ratchet};
use crate::secret::{Secret, guard};
use crate::session::open::{Opened, open_header};
use crate::session::{Content, Rank, Session};
use crate::wire::certificate::Certificate;
use crate::wire::envelope::Envelope;
use crate::wire::introduction::IntroductionId;
use crate::wire::sealed::Header;
use alloc::vec::Vec;
use core::mem;

/// An introduction that was accepted: the session, the message, and what the prekey store has to forget and to keep.
#[derive(Debug)]
#[must_use = "settle it with the prekey store, and store both"]
pub struct Accepted {
    pub(crate) session: Session,
    pub(crate) opened: Unclaimed,
    pub(crate) changes: Vec<PreKeyChange>,
    pub(crate) shown: Shown,
}

/// A message that was opened: its content is wiped if nobody takes it.
#[derive(Debug)]
pub(crate) struct Unclaimed(Opened);

impl Unclaimed {
    pub(crate) fn take(mut self) -> Opened {
        let Opened { content, tag, lost, bad_fragment } = &mut self.0;
        let content = mem::replace(content, Content::Receipt(Vec::new()));
        Opened { content, tag: *tag, lost: *lost, bad_fragment: *bad_fragment }
    }
}

impl Drop for Unclaimed {
    fn drop(&mut self) {
        if let Content::Message(text) | Content::Attachment(_, text) = &mut self.0.content {
            guard(mem::take(text));
        }
    }
}

impl Accepted {
    /// The session that the introduction makes.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The certificate that its author shows, as it came. It was not checked
    /// ([`crate::certificate::CertificatePolicy::check_encoded`]).
    pub fn certificate(&self) -> Option<&[u8; Certificate::LEN]> {
        self.shown.certificate.as_ref()
    }

    /// Whether its author has shown that it holds a session that there is with it already: it has lost no state, and nobody
    /// else can have made the introduction who has not stolen that session.
    pub fn continues(&self, before: &Session) -> bool {
        before.is_continued_by(&self.shown)
    }

    /// Deletes the one-time prekey that was used, and records the introduction so that it is never accepted again.
    /// Store the session, the prekeys and the plaintext together.
    ///
    /// # Errors
    /// [`OpenError::Replayed`], [`OpenError::PreKeyGone`] or [`OpenError::PreKeyFull`] if meanwhile the same introduction,
    /// another one with the same one-time prekey, or as many as may be were settled; nothing has changed.
    pub fn settle(mut self, prekeys: &mut PreKeyStore) -> Result<(Session, Opened), OpenError> {
        for change in &mut self.changes {
            match change {
                PreKeyChange::Introduction(id, Some(entry)) => {
                    if prekeys.record().get(id).is_some() {
                        return Err(OpenError::Replayed);
                    }
                    // Its place was planned when others may have been there.
                    let place = prekeys.record().plan(entry.block.signed_id, entry.session);
                    *entry = place.ok_or(OpenError::PreKeyFull)?;
                }
                PreKeyChange::OneTime(id, _) if !prekeys.has_one_time(*id) => return Err(OpenError::PreKeyGone),
                _ => {}
            }
        }
        prekeys.swap_all(&mut self.changes);
        Ok((self.session, self.opened.take()))
    }
}

impl Session {
    /// Accepts an introduction and opens the message behind it. Changes nothing by itself: [`Accepted::settle`] does.
    ///
    /// Costs at most one handshake. Needs no randomness.
    ///
    /// # Errors
    /// [`OpenError::Unknown`] for an envelope without introduction; [`OpenError::Replayed`] for an introduction that
    /// was accepted before (give the envelope to its session instead); [`OpenError::PreKeyGone`],
    /// [`OpenError::PreKeyFull`], [`OpenError::Rejected`].
    pub fn accept(
        identity: &IdentityKeyPair,
        prekeys: &PreKeyStore,
        envelope: &Envelope<'_>,
        lifetimes: &PreKeyLifetimes,
        now: UnixTime,
    ) -> Result<Accepted, OpenError> {
        let prefix = envelope.prefix.as_ref().ok_or(OpenError::Unknown)?;
        if prekeys.record().get(&prefix.id()).is_some() {
            return Err(OpenError::Replayed);
        }
        Self::accept_new(identity, prekeys, &Opening::new(envelope), lifetimes, now, |_| Ok(()))
    }

    /// The same for an introduction that is known not to be in the record. `admit` is asked as soon as the header says
    /// who the peer is.
    pub(crate) fn accept_new(
        identity: &IdentityKeyPair,
        prekeys: &PreKeyStore,
        opening: &Opening<'_>,
        lifetimes: &PreKeyLifetimes,
        now: UnixTime,
        admit: impl FnOnce(&Responded) -> Result<(), OpenError>,
    ) -> Result<Accepted, OpenError> {
        scrubbed::<HANDSHAKE_STACK, _>(|| Self::accept_unscrubbed(identity, prekeys, opening, lifetimes, now, admit))
    }

    fn accept_unscrubbed(
        identity: &IdentityKeyPair,
        prekeys: &PreKeyStore,
        opening: &Opening<'_>,
        lifetimes: &PreKeyLifetimes,
        now: UnixTime,
        admit: impl FnOnce(&Responded) -> Result<(), OpenError>,
    ) -> Result<Accepted, OpenError> {
        let prefix = opening.envelope.prefix.as_ref().ok_or(OpenError::Unknown)?;
        let keys = prekeys.keys_for(prefix, lifetimes, now).ok_or(OpenError::PreKeyGone)?;
        let responded = handshake::respond(identity, &keys, prefix, now).ok_or(OpenError::Rejected)?;
        let id = SessionId::derive(&responded.secrets.context);
        if responded.initiator == *identity.public() {
            return Err(OpenError::Rejected);
        }
        let (session, opened) =
            Self::respond(&responded, &keys.signed.private.dh, keys.one_time.is_some(), opening, now, admit)?;
        // The prefix is authentic now: being full may be said.
        let entry = prekeys.record().plan(prefix.signed_id, id).ok_or(OpenError::PreKeyFull)?;
        let introduction: IntroductionId = prefix.id();
        let mut changes = Vec::from([PreKeyChange::Introduction(introduction, Some(entry))]);
        if let Some((one_time_id, _)) = keys.one_time {
            changes.push(PreKeyChange::OneTime(one_time_id, None));
        }
        Ok(Accepted { session, opened, changes, shown: responded.shown })
    }

    fn respond(
        responded: &Responded,
        signed_prekey: &crate::crypto::dh::DhPrivate,
        one_time: bool,
        opening: &Opening<'_>,
        now: UnixTime,
        admit: impl FnOnce(&Responded) -> Result<(), OpenError>,
    ) -> Result<(Self, Unclaimed), OpenError> {
        let secrets = &responded.secrets;
        let keys = ChainKeys::derive(secrets.initiator_header.expose(), &secrets.context);
        let is_tag = |n| keys.is_tag(n, opening.tag());
        let header = open_header(opening, &keys, &secrets.context, is_tag).ok_or(OpenError::Rejected)?;
        let peer_fingerprint = responded.initiator.fingerprint();
        admit(responded)?;
        // Whatever is wrong from here on is the fault of someone who has no session with this device, and gets none.
        let Header { previous_chain_len, n, kem_epoch, .. } = header.header;
        if previous_chain_len != 0 || kem_epoch != 0 {
            return Err(OpenError::Rejected);
        }
        // Its first messages are lost, and nothing of it will ever be taken: that is said.
        if n > MAX_FIRST_JUMP {
            return Err(OpenError::TooFarAhead(peer_fingerprint));
        }
        let ratchet = Ratchet::responder(secrets, keys, signed_prekey, &responded.initiator, &header.header);
        let ratchet = ratchet.map_err(|_| OpenError::Rejected)?;
        let mut session = Self {
            id: SessionId::derive(&secrets.context),
            peer: responded.initiator,
            peer_fingerprint,
            rank: Rank { created_at: responded.created_at, transcript: responded.transcript },
            initiator: false,
            one_time,
            confirmed: false,
            prefix: None,
            exporter: Secret::new(secrets.exporter.expose()),
            ratchet,
        };
        let opened = session.open_authentic(Place::Current, &header, opening, now).map_err(|_| OpenError::Rejected)?;
        Ok((session, Unclaimed(opened)))
    }
}
