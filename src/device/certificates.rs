//! Certificates on a device: its own, shown to those it writes to; those of peers, checked by the policy.

use crate::certificate::{Certificate, CertificateDemand, CertificateState, Certified};
use crate::device::Device;
use crate::device::notice::Notice;
use crate::device::peer::Peer;
use crate::device::pending::Pending;
use crate::device::plan::Change;
use crate::error::{CertificateError, OpenError, UnknownPeer};
use crate::keys::{Fingerprint, IdentityKey, UnixTime};
use crate::limits::MAX_STRANGERS;
use alloc::boxed::Box;
use alloc::vec::Vec;

impl Device {
    /// This device's certificate.
    pub fn certificate(&self) -> Option<&Certificate> {
        self.certificate.as_deref()
    }

    /// Gives the device a certificate, the first or a renewed one, or takes it away. It travels, encrypted, in
    /// introductions to those who are shown it ([`Self::show_certificate`]), and is owed ([`Self::owed`]) to each of them that
    /// has another one or none.
    ///
    /// # Errors
    /// [`CertificateError::Signature`] if it is another identity's; nothing has changed.
    pub fn set_certificate(&mut self, certificate: Option<Certificate>) -> Result<Pending<'_, ()>, CertificateError> {
        if certificate.as_ref().is_some_and(|certificate| !certificate.is_of(self.identity.public())) {
            return Err(CertificateError::Signature);
        }
        let plan = Vec::from([Change::Certificate(certificate.map(Box::new))]);
        Ok(Pending::new(self, plan, ()))
    }

    /// Shows a peer this device's certificate, and each renewed one after that, or no more of them. It is then owed
    /// ([`Self::owed`]); called again, it is owed again: nothing tells whether it arrived.
    ///
    /// A peer that the application has added, and that had not introduced itself before, is shown it with the first message
    /// that people write to it; everybody else only by this.
    ///
    /// # Errors
    /// [`UnknownPeer`].
    pub fn show_certificate(&mut self, peer: Fingerprint, show: bool) -> Result<Pending<'_, ()>, UnknownPeer> {
        let change = |peer: &mut Peer| (peer.shown, peer.added, peer.told) = (show, show && peer.added, None);
        self.change_peer(peer, change)
    }

    /// Takes a peer's certificate that came by another way, as with its bundle from a directory, if it says more than what
    /// is known. The result is what there is to tell, as with an envelope that was opened.
    ///
    /// # Errors
    /// [`CertificateError`], [`CertificateError::UnknownPeer`] among them; nothing has changed.
    pub fn take_certificate(
        &mut self,
        peer: Fingerprint,
        certificate: &Certificate,
        now: UnixTime,
    ) -> Result<Pending<'_, Vec<Notice>>, CertificateError> {
        let mut known = self.peers.get(&peer).ok_or(CertificateError::UnknownPeer)?.clone();
        let certified = self.policy.certificates.check(certificate, &known.identity, now)?;
        let mut notices = Vec::new();
        let mut plan = Vec::new();
        if self.learn(&mut known, Some(Ok(certified)), now, &mut notices) {
            plan.push(Change::Peer(peer, Some(known)));
        }
        Ok(Pending::new(self, plan, notices))
    }

    /// Where a peer's certificate stands now; what it said, [`Self::peer`] tells.
    pub fn peer_certificate(&self, peer: Fingerprint, now: UnixTime) -> CertificateState {
        self.peers.get(&peer).map_or(CertificateState::None, |peer| self.certificate_state(peer, now))
    }

    pub(super) fn certificate_state(&self, peer: &Peer, now: UnixTime) -> CertificateState {
        self.policy.certificates.state(peer.certified.as_ref(), now)
    }

    /// This device's certificate, while it holds.
    pub(super) fn good_certificate(&self, now: UnixTime) -> Option<&Certificate> {
        self.certificate.as_deref().filter(|certificate| now <= certificate.not_after())
    }

    /// Whether a peer is owed this device's certificate.
    pub(super) fn owes_certificate(&self, peer: &Peer, now: UnixTime) -> bool {
        let certificate = self.good_certificate(now).map(Certificate::id);
        certificate.is_some() && peer.shown && !peer.blocked && peer.told != certificate
    }

    /// Whether an introduction may come in, and what is learnt of its author's address.
    pub(super) fn admit(
        &self,
        peer: Fingerprint,
        identity: &IdentityKey,
        certificate: Option<&[u8; Certificate::LEN]>,
        now: UnixTime,
    ) -> Result<Option<Result<Certified, CertificateError>>, OpenError> {
        let known = self.peers.get(&peer);
        if known.is_some_and(|known| known.blocked) {
            return Err(OpenError::Blocked(peer));
        }
        if known.is_none() && self.strangers().count() >= MAX_STRANGERS {
            return Err(OpenError::TooManyStrangers);
        }
        let policy = &self.policy.certificates;
        if policy.roots.is_empty() && policy.demand == CertificateDemand::Optional {
            return Ok(None);
        }
        let checked = certificate.map(|certificate| policy.check_encoded(certificate, identity, now));
        let good = matches!(checked, Some(Ok(_)))
            || known.is_some_and(|known| self.certificate_state(known, now) == CertificateState::Valid);
        match policy.demand {
            CertificateDemand::Required if !good => {
                let why = checked.and_then(Result::err).unwrap_or(CertificateError::Missing);
                Err(OpenError::Uncertified(peer, why))
            }
            _ => Ok(checked),
        }
    }

    /// Remembers what a peer's certificate says; whether anything is new.
    pub(super) fn learn(
        &self,
        peer: &mut Peer,
        checked: Option<Result<Certified, CertificateError>>,
        now: UnixTime,
        notices: &mut Vec<Notice>,
    ) -> bool {
        let name = peer.fingerprint();
        match checked {
            None => false,
            Some(Err(why)) => {
                notices.push(Notice::CertificateRefused(name, why));
                false
            }
            // An older one takes nothing back, as long as the newer holds.
            Some(Ok(certified))
                if self.certificate_state(peer, now) == CertificateState::Valid
                    && peer.certified.is_some_and(|known| certified.not_after <= known.not_after) =>
            {
                false
            }
            Some(Ok(certified)) => {
                if peer.certified.is_some_and(|known| known.address != certified.address) {
                    notices.push(Notice::AddressChanged(name));
                }
                notices.push(Notice::Certified(name));
                peer.certified = Some(certified);
                true
            }
        }
    }
}
