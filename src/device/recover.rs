//! A device from a backup, or from what is left of a damaged store: what fits together lives on, what does not is named, and
//! whatever an old state makes unsafe is replaced.

use crate::device::changes::{Head, RecordKey};
use crate::device::peer::Peer;
use crate::device::plan::Change;
use crate::device::recent::Recent;
use crate::device::records::{LAST_KIND, Row, check_key, of_kind};
use crate::device::{Device, Policy};
use crate::error::{PreKeyError, StateError};
use crate::keys::{Fingerprint, SessionId, UnixTime};
use crate::limits::MAX_FADING;
use crate::prekey::Rotation;
use crate::session::{Authentication, Rank};
use crate::wire::bundle::PreKeyUpload;
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::ops::RangeInclusive;
use rand_core::CryptoRng;

/// The kinds of records that groups have.
const GROUP_KINDS: RangeInclusive<u8> = 8..=13;

/// A device that was recovered ([`Device::recover`]).
#[derive(Debug)]
#[non_exhaustive]
pub struct Recovered {
    /// The device. Store all its records ([`Device::records`], [`crate::store::SealedStore::create`]) in place of what was there.
    pub device: Device,
    /// Its new prekeys, for the directory. All earlier ones are gone.
    pub upload: PreKeyUpload,
    /// What was not taken over.
    pub lost: Vec<Lost>,
}

/// What was lost of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lost {
    /// The record: its kind says what it was ([`RecordKey::kind`]).
    pub key: RecordKey,
    /// Why it was not taken over.
    pub why: Why,
}

/// Why a record was not taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// It is damaged, or another record's.
    Damaged,
    /// What it belongs to is missing.
    Alone,
    /// A session beyond as many as there may be with one peer.
    Surplus,
    /// So many message keys that belong to it are missing.
    Incomplete {
        /// How many.
        keys: usize,
    },
    /// Something else of a group is damaged or missing: its groups are forgotten, and it has to be added again.
    Group,
}

impl Device {
    /// A device from a backup, or from the records that a damaged store has left: what belongs together is taken over. Because
    /// what is stored may be old, its prekeys are replaced, its chains in groups too, and the next message to each peer is an
    /// introduction ([`Self::bundles_wanted`]).
    ///
    /// Makes `count` one-time prekeys. Draws 16 bytes, then as [`Self::publish_prekeys`] does.
    ///
    /// # Errors
    /// [`StateError`] if there is no identity, or not one alone; [`StateError::Invariant`] if `count` is above
    /// [`crate::limits::MAX_ONE_TIME_PREKEYS`].
    pub fn recover<B: AsRef<[u8]>, R: CryptoRng + ?Sized>(
        records: impl IntoIterator<Item = (RecordKey, B)>,
        policy: Policy,
        count: usize,
        now: UnixTime,
        rng: &mut R,
    ) -> Result<Recovered, StateError> {
        let records: Vec<(RecordKey, B)> = records.into_iter().collect();
        let mut lost = Vec::new();
        let mut device = Self::read_left(&records, policy.clone(), true, now, &mut lost)?;
        if device.finish_restore().is_err() {
            // Groups refer to each other in many ways, and have all that they need elsewhere.
            lost.clear();
            device = Self::read_left(&records, policy, false, now, &mut lost)?;
            device.finish_restore()?;
        }
        // Another one each time: what was recovered twice goes into two stores.
        device.head = Some(Head::drawn(rng));
        let upload = device.start_anew(count, now, rng).map_err(|_| StateError::Invariant)?;
        Ok(Recovered { device, upload, lost })
    }

    /// Reads all records that can be read and have what they belong to.
    fn read_left<B: AsRef<[u8]>>(
        records: &[(RecordKey, B)],
        policy: Policy,
        groups: bool,
        now: UnixTime,
        lost: &mut Vec<Lost>,
    ) -> Result<Self, StateError> {
        let mut device = Self::read_first(records, policy)?;
        for kind in 2..=LAST_KIND {
            for (key, bytes) in of_kind(records, kind) {
                let why = if GROUP_KINDS.contains(&kind) && !groups {
                    Why::Group
                } else {
                    match device.read_one(*key, kind, bytes) {
                        Ok(()) => continue,
                        Err(StateError::Inconsistent) => Why::Alone,
                        Err(_) => Why::Damaged,
                    }
                };
                lost.push(Lost { key: *key, why });
            }
        }
        let unknown = records.iter().filter(|(key, _)| key.kind() > LAST_KIND);
        lost.extend(unknown.map(|(key, _)| Lost { key: *key, why: Why::Damaged }));
        device.drop_what_stands_alone(lost);
        device.settle_sessions(now, lost);
        Ok(device)
    }

    fn read_one(&mut self, key: RecordKey, kind: u8, bytes: &[u8]) -> Result<(), StateError> {
        let row = self.read(kind, bytes)?;
        check_key(key, row, &self.record_key)
    }

    /// Sessions need their peer and, where the peer made them, the record of their introduction.
    fn drop_what_stands_alone(&mut self, lost: &mut Vec<Lost>) {
        if self.recent.finish_restore().is_err() {
            // What was opened lately is then unknown when it comes again, and no more.
            let places: Vec<u8> = self.recent.places().collect();
            let rows = places.into_iter().map(|place| Row::Recent(place).key(&self.record_key));
            lost.extend(rows.map(|key| Lost { key, why: Why::Alone }));
            self.recent = Recent::default();
        }
        let introduced: BTreeSet<SessionId> = self.prekeys.record().iter().map(|(_, entry)| entry.session).collect();
        let ids: Vec<SessionId> = self.sessions.keys().copied().collect();
        for id in ids {
            let Some(held) = self.sessions.get_mut(&id) else { continue };
            let key = Row::Session(id).key(&self.record_key);
            let missing = held.session.accept_loss();
            if missing > 0 {
                lost.push(Lost { key, why: Why::Incomplete { keys: missing } });
            }
            let (peer, identity) = (held.session.peer_fingerprint(), *held.session.peer());
            if !held.session.status().initiator && !introduced.contains(&id) {
                lost.push(Lost { key, why: Why::Alone });
                self.sessions.remove(&id);
            } else {
                // What was known of it is gone; who it is, the session says.
                let proved = held.session.status().authentication == Authentication::Proved;
                let known = self.peers.entry(peer).or_insert_with(|| Box::new(Peer::new(identity)));
                known.proved |= proved;
            }
        }
    }

    /// Rows of different moments can say of two sessions with a peer that each is the one that is sent on, and hold more of them than
    /// there may be. The best one is, and those below it only receive.
    fn settle_sessions(&mut self, now: UnixTime, lost: &mut Vec<Lost>) {
        let names: Vec<Fingerprint> = self.peers.keys().copied().collect();
        for name in names {
            let sessions = self.sessions.iter().filter(|(_, held)| held.session.peer_fingerprint() == name);
            let mut ranked: Vec<(bool, bool, Rank, SessionId)> = sessions
                .map(|(id, held)| {
                    let suspect = self.is_suspect(held);
                    (!suspect && held.standing.fading_since.is_none(), !suspect, held.session.rank(), *id)
                })
                .collect();
            ranked.sort_unstable_by(|a, b| b.cmp(a));
            for (place, (sent_on, _, _, id)) in ranked.into_iter().enumerate() {
                if place > MAX_FADING {
                    self.sessions.remove(&id);
                    lost.push(Lost { key: Row::Session(id).key(&self.record_key), why: Why::Surplus });
                } else if let Some(held) = self.sessions.get_mut(&id) {
                    let is_best = place == 0 && sent_on;
                    let standing = &mut held.standing;
                    standing.vouched &= !held.session.status().initiator;
                    standing.owes_rank &= !is_best;
                    standing.fading_since = if is_best { None } else { standing.fading_since.or(Some(now)) };
                }
            }
        }
    }

    /// Replaces what must not be used again after an old state was put back.
    fn start_anew<R: CryptoRng + ?Sized>(
        &mut self,
        count: usize,
        now: UnixTime,
        rng: &mut R,
    ) -> Result<PreKeyUpload, PreKeyError> {
        let lifetimes = self.policy.prekeys;
        let (changes, upload) =
            self.prekeys.plan_publish(&self.identity, count, Rotation::Revoke, &lifetimes, now, rng)?;
        let mut plan: Vec<Change> = changes.into_iter().map(Change::PreKey).collect();
        let names: Vec<Fingerprint> = self.peers.keys().copied().collect();
        for name in names {
            let has_sessions = self.sessions_with(name).next().is_some();
            if let Some(peer) = self.peers.get_mut(&name) {
                peer.renew |= has_sessions;
                peer.forget_bundle();
            }
        }
        plan.extend(self.own_chains.keys().map(|group| Change::OwnChain(*group, None)));
        for mut change in plan {
            self.swap(&mut change);
        }
        Ok(upload)
    }
}
