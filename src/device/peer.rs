//! What a device keeps of a peer beside the sessions.

use crate::certificate::Certified;
use crate::codec::{Reader, Write};
use crate::error::DecodeError;
use crate::keys::{Fingerprint, IdentityKey, UnixTime};
use crate::limits::MAX_USED_PREKEYS;
use crate::prekey::VerifiedPreKeyBundle;
use crate::session::Rank;
use crate::wire::bundle::PreKeyBundle;
use alloc::vec::Vec;

/// A peer. Everything here is public to the device's owner; the secrets are in the sessions.
#[derive(Debug, Clone)]
#[allow(clippy::struct_excessive_bools, reason = "each answers a question of its own")]
pub(super) struct Peer {
    pub(super) identity: IdentityKey,
    pub(super) verified: bool,
    /// Whether it has proved its identity in a session with this device, also one that is gone.
    pub(super) proved: bool,
    pub(super) blocked: bool,
    /// The rank of a session that the peer has and this device may have lost.
    pub(super) floor: Option<Rank>,
    /// What its last good certificate said.
    pub(super) certified: Option<Certified>,
    /// Whether this device's application added it, before it introduced itself.
    pub(super) added: bool,
    /// When it last introduced itself, as long as the application has not accepted it.
    pub(super) stranger: Option<UnixTime>,
    /// Whether the next message introduces this device anew, because its sessions with the peer may open nothing any more.
    pub(super) renew: bool,
    /// Whether it is shown this device's certificate.
    pub(super) shown: bool,
    /// The name of the certificate of this device that it was shown last.
    pub(super) told: Option<[u8; 16]>,
    /// One-time prekeys of the peer that introductions have used, oldest first.
    used: Vec<u32>,
    bundle: Option<VerifiedPreKeyBundle>,
    /// Whether an introduction was made with the bundle.
    spent: bool,
}

impl Peer {
    pub(super) fn new(identity: IdentityKey) -> Self {
        Self {
            identity,
            verified: false,
            proved: false,
            blocked: false,
            floor: None,
            certified: None,
            added: false,
            stranger: None,
            renew: false,
            shown: false,
            told: None,
            used: Vec::new(),
            bundle: None,
            spent: false,
        }
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        self.identity.fingerprint()
    }

    /// Whether a bundle is here that an introduction can be made with.
    pub(super) fn can_be_introduced_to(&self, now: UnixTime) -> bool {
        self.bundle().is_some_and(|bundle| now <= bundle.not_after())
    }

    /// The same with the bundle of an introduction that is made again.
    pub(super) fn can_be_introduced_again(&self, now: UnixTime) -> bool {
        self.bundle.as_ref().is_some_and(|bundle| now <= bundle.not_after())
    }

    /// The next introduction may be made with the bundle of the last one, without its one-time prekey.
    pub(super) fn reuse_bundle(&mut self) {
        self.spent = false;
    }

    /// The next message introduces this device anew, with a bundle that is yet to come: the peer has perhaps lost its state,
    /// and with it the prekeys of a bundle from before.
    pub(super) fn want_renewal(&mut self) {
        self.renew = true;
        self.forget_bundle();
    }

    /// What prekeys it has may have been used since this state was stored.
    pub(super) fn forget_bundle(&mut self) {
        self.bundle = None;
    }

    /// The application has to do with it.
    pub(super) fn accept(&mut self) {
        self.stranger = None;
    }

    /// The bundle for the next introduction.
    pub(super) fn bundle(&self) -> Option<&VerifiedPreKeyBundle> {
        self.bundle.as_ref().filter(|_| !self.spent)
    }

    /// Keeps a bundle for the next introduction, without a one-time prekey that was used before.
    pub(super) fn keep_bundle(&mut self, bundle: VerifiedPreKeyBundle) {
        let used = bundle.one_time().is_some_and(|one_time| self.used.contains(&one_time.fields.id));
        self.bundle = Some(if used { bundle.without_one_time() } else { bundle });
        self.spent = false;
    }

    /// Notes that an introduction was made with the bundle: it serves no other. If that one opens nothing, the prekeys may be
    /// gone, and only a fresh bundle helps.
    pub(super) fn use_bundle(&mut self) {
        let Some(bundle) = self.bundle.take() else { return };
        if let Some(one_time) = bundle.one_time() {
            if self.used.len() >= MAX_USED_PREKEYS {
                self.used.remove(0);
            }
            self.used.push(one_time.fields.id);
        }
        self.bundle = Some(bundle.without_one_time());
        self.spent = true;
    }

    /// Writes:
    ///
    /// ```text
    /// identity(96) || verified(1) || proved(1) || blocked(1) || floor flag(1) || (created_at(8) || th2(32)) if the flag is 1
    ///   || certified flag(1) || (address length(1) || address(64) || not_after(8) || issuer key id(8) || root(32)) if the flag is 1
    ///   || added(1) || stranger flag(1) || since(8, 0 without) || renew(1) || shown(1) || told flag(1) || told certificate's name(16) if the flag is 1
    ///   || count(1, at most 16) || used one-time prekey ids(4 each) || bundle flag(1) || (spent(1) || bundle) if the flag is 1
    /// ```
    pub(super) fn write(&self, out: &mut impl Write) {
        self.identity.write(out);
        out.flag(self.verified);
        out.flag(self.proved);
        out.flag(self.blocked);
        out.flag(self.floor.is_some());
        if let Some(floor) = &self.floor {
            floor.write(out);
        }
        out.flag(self.certified.is_some());
        if let Some(certified) = &self.certified {
            certified.write(out);
        }
        out.flag(self.added);
        out.flag(self.stranger.is_some());
        out.u64(self.stranger.unwrap_or_default().0);
        out.flag(self.renew);
        out.flag(self.shown);
        out.flag(self.told.is_some());
        if let Some(told) = &self.told {
            out.bytes(told);
        }
        out.u8(u8::try_from(self.used.len()).unwrap_or(u8::MAX));
        for id in &self.used {
            out.u32(*id);
        }
        out.flag(self.bundle.is_some());
        if let Some(bundle) = &self.bundle {
            out.flag(self.spent);
            bundle.bundle().write(out);
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let identity = IdentityKey::read(reader)?;
        let (verified, proved, blocked) = (reader.flag()?, reader.flag()?, reader.flag()?);
        let floor = if reader.flag()? { Some(Rank::read(reader)?) } else { None };
        let certified = if reader.flag()? { Some(Certified::read(reader)?) } else { None };
        let added = reader.flag()?;
        let (stranger, since) = (reader.flag()?, reader.u64()?);
        if (!stranger && since != 0) || (stranger && added) {
            return Err(DecodeError::Invalid);
        }
        let stranger = stranger.then_some(UnixTime(since));
        let (renew, shown) = (reader.flag()?, reader.flag()?);
        let told = if reader.flag()? { Some(*reader.array()?) } else { None };
        let count = usize::from(reader.u8()?);
        if count > MAX_USED_PREKEYS {
            return Err(DecodeError::TooLong);
        }
        let used = (0..count).map(|_| reader.u32()).collect::<Result<Vec<_>, _>>()?;
        let (spent, bundle) =
            if reader.flag()? { (reader.flag()?, Some(PreKeyBundle::read(reader)?)) } else { (false, None) };
        if bundle.as_ref().is_some_and(|bundle| *bundle.identity() != identity || !identity.names_kem_key(&bundle.kem))
        {
            return Err(DecodeError::Invalid);
        }
        let bundle = bundle.map(VerifiedPreKeyBundle::trusted);
        Ok(Self {
            identity,
            verified,
            proved,
            blocked,
            floor,
            certified,
            added,
            stranger,
            renew,
            shown,
            told,
            used,
            bundle,
            spent,
        })
    }
}
