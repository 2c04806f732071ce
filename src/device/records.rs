//! A device as small records: which of them change, their bytes, and back.
//!
//! Each record is `version(1) || kind(1) || body`; bodies are those of the state machines, behind their ids.

use crate::certificate::Certificate;
use crate::codec::{Reader, Write};
use crate::crypto::kdf::MacKey;
use crate::device::Policy;
use crate::device::changes::{Changes, HEAD_KIND, Head, MailboxChanges, RecordKey};
use crate::device::peer::Peer;
use crate::device::{Device, Held, Standing};
use crate::error::{DecodeError, StateError};
use crate::group::{ChainId, GroupId};
use crate::identity::IdentityKeyPair;
use crate::keys::{Fingerprint, SessionId, UnixTime};
use crate::labels::Label;
use crate::limits::MAX_FADING;
use crate::prekey::BlockId;
use crate::ratchet::SkippedKeys;
use crate::secret::Secret;
use crate::session::Session;
use crate::state::{self, Image, Length};
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

/// The greatest kind of a record.
pub(super) const LAST_KIND: u8 = 15;

/// One record's name inside the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Row {
    Head,
    Identity,
    Signed(u32),
    OneTime(u32),
    Introductions(BlockId),
    Peer(Fingerprint),
    Session(SessionId),
    Skipped(SessionId, u64),
    Group(GroupId),
    OwnChain(GroupId),
    Debts(GroupId),
    Chain(ChainId),
    ChainSkipped(ChainId, u64),
    Waiting(Fingerprint),
    Certificate,
    Recent(u8),
}

impl Row {
    const fn kind(self) -> u8 {
        match self {
            Self::Head => HEAD_KIND,
            Self::Identity => 1,
            Self::Signed(_) => 2,
            Self::OneTime(_) => 3,
            Self::Introductions(_) => 4,
            Self::Peer(_) => 5,
            Self::Session(_) => 6,
            Self::Skipped(..) => 7,
            Self::Group(_) => 8,
            Self::OwnChain(_) => 9,
            Self::Debts(_) => 10,
            Self::Chain(_) => 11,
            Self::ChainSkipped(..) => 12,
            Self::Waiting(_) => 13,
            Self::Certificate => 14,
            Self::Recent(_) => LAST_KIND,
        }
    }

    /// The id that the record's key is computed from.
    fn id(self) -> Vec<u8> {
        let mut id = Vec::new();
        match self {
            Self::Head | Self::Identity | Self::Certificate => {}
            Self::Signed(prekey) | Self::OneTime(prekey) => id.u32(prekey),
            Self::Introductions(block) => {
                id.u32(block.signed_id);
                id.u32(block.number);
            }
            Self::Peer(peer) | Self::Waiting(peer) => id.bytes(peer.as_bytes()),
            Self::Group(group) | Self::OwnChain(group) | Self::Debts(group) => id.bytes(group.as_bytes()),
            Self::Chain(chain) => id.bytes(&chain.0),
            Self::ChainSkipped(chain, block) => {
                id.bytes(&chain.0);
                id.u64(block);
            }
            Self::Recent(place) => id.u8(place),
            Self::Session(session) => id.bytes(session.as_bytes()),
            Self::Skipped(session, block) => {
                id.bytes(session.as_bytes());
                id.u64(block);
            }
        }
        id
    }

    pub(super) fn key(self, record_key: &MacKey) -> RecordKey {
        if self == Self::Head {
            return RecordKey::HEAD;
        }
        let mac = record_key.mac16(&[Label::RecordKey.bytes(), &[self.kind()], &self.id()]);
        RecordKey::new(self.kind(), &mac)
    }
}

impl Device {
    /// Every record of the device, for an empty store: a copy, or the first records under another key.
    pub fn records(&self) -> Changes {
        let mut rows = BTreeSet::from([Row::Identity]);
        rows.extend(self.prekeys.signed_ids().map(Row::Signed));
        rows.extend(self.prekeys.one_time_ids().map(Row::OneTime));
        rows.extend(self.prekeys.record().block_ids().map(Row::Introductions));
        rows.extend(self.certificate.iter().map(|_| Row::Certificate));
        rows.extend(self.peers.keys().copied().map(Row::Peer));
        for (id, held) in &self.sessions {
            rows.insert(Row::Session(*id));
            rows.extend(held.session.skipped().blocks().map(|block| Row::Skipped(*id, block)));
        }
        rows.extend(self.groups.keys().copied().map(Row::Group));
        rows.extend(self.own_chains.keys().copied().map(Row::OwnChain));
        rows.extend(self.debts.keys().copied().map(Row::Debts));
        for (id, chain) in &self.chains {
            rows.insert(Row::Chain(*id));
            rows.extend(chain.skipped().blocks().map(|block| Row::ChainSkipped(*id, block)));
        }
        rows.extend(self.waiting.keys().copied().map(Row::Waiting));
        rows.extend(self.recent.places().map(Row::Recent));
        rows.insert(Row::Head);
        let rows = rows.iter().map(|row| (row.key(&self.record_key), self.encode(*row))).collect();
        Changes::whole(rows, self.head)
    }

    /// The records of these rows, to be stored after `follows`. What is stored then has another head, unless nothing changes.
    pub(super) fn changes(&self, rows: &BTreeSet<Row>, follows: Option<Head>, mailboxes: MailboxChanges) -> Changes {
        let rows = rows.iter().map(|row| (row.key(&self.record_key), self.encode(*row))).collect();
        Changes::new(rows, follows, mailboxes)
    }

    /// The record of a row, if there is one now.
    fn encode(&self, row: Row) -> Option<Image> {
        // Twice, so that it takes the room it needs and no more: what is taken is wiped.
        let mut length = Length(0);
        self.write(row, &mut length)?;
        let mut out = state::image(length.0);
        self.write(row, &mut out)?;
        Some(Image::new(out))
    }

    fn write(&self, row: Row, out: &mut impl Write) -> Option<()> {
        out.u8(state::VERSION);
        out.u8(row.kind());
        match row {
            Row::Head => self.head.unwrap_or_default().write(out),
            Row::Identity => {
                out.bytes(self.identity.to_state().expose());
                out.bytes(self.record_secret.expose());
            }
            Row::Certificate => self.certificate.as_ref()?.write(out),
            Row::Signed(id) => self.prekeys.write_signed(id, out)?,
            Row::OneTime(id) => self.prekeys.write_one_time(id, out)?,
            Row::Introductions(block) if self.prekeys.record().has_block(block) => {
                out.u32(block.signed_id);
                out.u32(block.number);
                self.prekeys.record().write_block(block, out);
            }
            Row::Introductions(_) => return None,
            Row::Peer(peer) => self.peers.get(&peer)?.write(out),
            Row::Session(id) => {
                let held = self.sessions.get(&id)?;
                held.standing.write(out);
                held.session.write(out);
            }
            Row::Skipped(id, block) => {
                out.bytes(id.as_bytes());
                write_skipped(self.sessions.get(&id)?.session.skipped(), block, out)?;
            }
            Row::Group(id) => self.groups.get(&id)?.write(out),
            Row::OwnChain(id) => self.own_chains.get(&id)?.write(out),
            Row::Debts(id) => {
                out.bytes(id.as_bytes());
                self.debts.get(&id)?.write(out);
            }
            Row::Chain(id) => self.chains.get(&id)?.write(out),
            Row::ChainSkipped(id, block) => {
                out.bytes(&id.0);
                write_skipped(self.chains.get(&id)?.skipped(), block, out)?;
            }
            Row::Recent(place) => self.recent.write_block(place, out)?,
            Row::Waiting(peer) => {
                out.bytes(peer.as_bytes());
                self.waiting.get(&peer)?.write(out);
            }
        }
        Some(())
    }

    /// Restores a device from all its records, in any order, under a policy, which is not stored: a device that demands
    /// certificates is not restored as one that does not. Read all records in one transaction: rows of two moments can make the
    /// device seal at a position that was used.
    ///
    /// # Errors
    /// [`StateError`]: a damaged record, a record under a wrong key, or records that don't belong together. Nothing is
    /// repaired silently.
    pub fn restore<B: AsRef<[u8]>>(
        records: impl IntoIterator<Item = (RecordKey, B)>,
        policy: Policy,
    ) -> Result<Self, StateError> {
        let records: Vec<(RecordKey, B)> = records.into_iter().collect();
        let of_kind = |kind: u8| of_kind(&records, kind);
        let mut device = Self::read_first(&records, policy)?;
        let mut heads = of_kind(HEAD_KIND);
        let (Some((key, bytes)), None) = (heads.next(), heads.next()) else {
            return Err(StateError::Inconsistent);
        };
        check_key(*key, Row::Head, &device.record_key)?;
        device.head = Some(Head::decode(bytes)?);

        // In the order in which they build on each other.
        let mut read = 2_usize;
        for kind in 2..=LAST_KIND {
            for (key, bytes) in of_kind(kind) {
                let row = device.read(kind, bytes)?;
                check_key(*key, row, &device.record_key)?;
                read = read.saturating_add(1);
            }
        }
        if read != records.len() {
            return Err(StateError::Key);
        }
        device.finish_restore()?;
        Ok(device)
    }

    /// The empty device of the one record that holds an identity.
    pub(super) fn read_first<B: AsRef<[u8]>>(records: &[(RecordKey, B)], policy: Policy) -> Result<Self, StateError> {
        let mut identities = of_kind(records, Row::Identity.kind());
        let (Some((key, bytes)), None) = (identities.next(), identities.next()) else {
            return Err(StateError::Inconsistent);
        };
        let mut device = Self::read_identity(bytes)?;
        device.policy = policy;
        check_key(*key, Row::Identity, &device.record_key)?;
        Ok(device)
    }

    fn read_identity(bytes: &[u8]) -> Result<Self, StateError> {
        let (identity, secret) = Reader::whole(bytes, |reader| {
            start(reader, Row::Identity.kind())?;
            Ok((reader.slice(IdentityKeyPair::STATE_LEN)?, reader.array::<32>()?))
        })?;
        Ok(Self::empty(IdentityKeyPair::from_state(identity)?, Secret::new(secret)))
    }

    /// Reads one record into the device and says which one it is.
    pub(super) fn read(&mut self, kind: u8, bytes: &[u8]) -> Result<Row, StateError> {
        let mut reader = Reader::new(bytes);
        start(&mut reader, kind)?;
        let row = match kind {
            2 => Row::Signed(self.prekeys.read_signed(&mut reader)?),
            3 => Row::OneTime(self.prekeys.read_one_time(&mut reader)?),
            4 => {
                let block = BlockId { signed_id: reader.u32()?, number: reader.u32()? };
                self.prekeys.record_mut().read_block(block, &mut reader)?;
                Row::Introductions(block)
            }
            5 => {
                let peer = Peer::read(&mut reader)?;
                let fingerprint = peer.fingerprint();
                if fingerprint == self.fingerprint() || self.peers.insert(fingerprint, Box::new(peer)).is_some() {
                    return Err(StateError::Inconsistent);
                }
                Row::Peer(fingerprint)
            }
            6 => {
                let standing = Standing::read(&mut reader)?;
                let session = Session::read(&mut reader, &self.identity)?;
                let id = session.id();
                if self.sessions.insert(id, Box::new(Held { session, standing })).is_some() {
                    return Err(StateError::Inconsistent);
                }
                Row::Session(id)
            }
            LAST_KIND => Row::Recent(self.recent.read_block(&mut reader)?),
            14 => {
                let certificate = Certificate::read(&mut reader)?;
                if !certificate.is_of(self.identity.public()) || self.certificate.is_some() {
                    return Err(StateError::Inconsistent);
                }
                self.certificate = Some(Box::new(certificate));
                Row::Certificate
            }
            8..=13 => self.read_group_record(kind, &mut reader)?,
            _ => {
                let id = SessionId::from_bytes(*reader.array()?);
                let block = reader.u64()?;
                let held = self.sessions.get_mut(&id).ok_or(StateError::Inconsistent)?;
                held.session.read_skipped(block, &mut reader)?;
                Row::Skipped(id, block)
            }
        };
        reader.end()?;
        Ok(row)
    }

    /// Checks what binds records to each other, and builds what is derived from them.
    pub(super) fn finish_restore(&mut self) -> Result<(), StateError> {
        self.finish_groups()?;
        self.recent.finish_restore()?;
        let ids: Vec<SessionId> = self.sessions.keys().copied().collect();
        for id in ids {
            let held = self.sessions.get_mut(&id).ok_or(StateError::Inconsistent)?;
            held.session.finish_restore()?;
            if !self.peers.contains_key(&held.session.peer_fingerprint()) {
                return Err(StateError::Inconsistent);
            }
            self.derive_with(id);
        }
        // Without its entry in the record, the introduction that made a session could be accepted again.
        let introduced: BTreeSet<SessionId> = self.prekeys.record().iter().map(|(_, entry)| entry.session).collect();
        let recorded = |held: &Held| held.session.status().initiator || introduced.contains(&held.session.id());
        if !self.sessions.values().all(|held| recorded(held)) {
            return Err(StateError::Inconsistent);
        }
        for peer in self.peers.keys() {
            // One at most is sent on; the others only receive, and only they can owe a rank. None that is suspect
            // is sent on; own introductions are not judged.
            let best = self.best_session(*peer).map(|(id, _)| id);
            let standings = self.sessions_with(*peer).all(|(id, held)| {
                let is_best = best == Some(id);
                held.standing.fading_since.is_none() == is_best
                    && !(is_best && held.standing.owes_rank)
                    && !(is_best && self.is_suspect(held))
                    && !(held.standing.vouched && held.session.status().initiator)
            });
            if !standings || self.sessions_with(*peer).count() > MAX_FADING.saturating_add(1) {
                return Err(StateError::Invariant);
            }
        }
        Ok(())
    }
}

/// The records of a kind.
pub(super) fn of_kind<B: AsRef<[u8]>>(
    records: &[(RecordKey, B)],
    kind: u8,
) -> impl Iterator<Item = (&RecordKey, &[u8])> {
    records.iter().filter(move |(key, _)| key.kind() == kind).map(|(key, bytes)| (key, bytes.as_ref()))
}

pub(super) fn start(reader: &mut Reader<'_>, kind: u8) -> Result<(), DecodeError> {
    state::version(reader)?;
    if reader.u8()? == kind { Ok(()) } else { Err(DecodeError::Invalid) }
}

/// A block of skipped keys, if it has any.
fn write_skipped(skipped: &SkippedKeys, block: u64, out: &mut impl Write) -> Option<()> {
    if skipped.is_empty_block(block) {
        return None;
    }
    out.u64(block);
    skipped.write_block(block, out);
    Some(())
}

pub(super) fn check_key(key: RecordKey, row: Row, record_key: &MacKey) -> Result<(), StateError> {
    if key == row.key(record_key) { Ok(()) } else { Err(StateError::Key) }
}

impl Standing {
    /// Writes `fading flag(1) || fading since(8, 0 when the flag is 0) || owes rank(1) || vouched(1)`.
    fn write(self, out: &mut impl Write) {
        out.flag(self.fading_since.is_some());
        out.u64(self.fading_since.unwrap_or_default().0);
        out.flag(self.owes_rank);
        out.flag(self.vouched);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let fading = reader.flag()?;
        let since = reader.u64()?;
        if !fading && since != 0 {
            return Err(DecodeError::Invalid);
        }
        let (owes_rank, vouched) = (reader.flag()?, reader.flag()?);
        Ok(Self { fading_since: fading.then_some(UnixTime(since)), owes_rank, vouched })
    }
}
