//! The private halves of prekeys, and what was accepted with them.

use crate::crypto::dh::DhPrivate;
use crate::crypto::kem::{KemKeyPair, KemSeed};
use crate::error::PreKeyError;
use crate::identity::IdentityKeyPair;
use crate::keys::{DhPublic, SessionId, UnixTime};
use crate::limits::{MAX_INTRODUCTIONS, MAX_ONE_TIME_PREKEYS, MAX_SIGNED_PREKEYS};
use crate::prekey::record::{IntroductionEntry, IntroductionRecord};
use crate::wire::bundle::{OneTimePreKey, PreKeyFields, PreKeyUpload, SignedPreKey};
use crate::wire::introduction::{IntroductionId, IntroductionPrefix};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::mem;
use rand_core::CryptoRng;

/// How long prekeys live, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PreKeyLifetimes {
    /// From a signed prekey's birth to its `not_after`. Default: 30 days.
    pub signed: u64,
    /// From a one-time prekey's birth to its `not_after`. Default: 90 days.
    pub one_time: u64,
    /// From `not_after` to the end of the private half: how late an introduction may arrive. Default: 30 days.
    pub grace: u64,
}

impl Default for PreKeyLifetimes {
    fn default() -> Self {
        const DAY: u64 = 86_400;
        Self { signed: 30 * DAY, one_time: 90 * DAY, grace: 30 * DAY }
    }
}

/// What publishing does to the prekeys there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rotation {
    /// A new signed prekey if there is none, or the current one has lived half its life, or its record of introductions
    /// is half full.
    #[default]
    IfDue,
    /// A new signed prekey; older ones stay until their end plus the grace period.
    Always,
    /// All older prekeys are deleted without grace, as after a theft: whoever holds a signed prekey's private half can
    /// introduce itself here under any identity until that key is gone.
    Revoke,
}

/// The private half of any prekey: seeds only.
#[derive(Debug)]
pub(crate) struct PreKeyPrivate {
    pub(crate) dh: DhPrivate,
    pub(crate) kem: KemSeed,
    pub(crate) not_after: UnixTime,
}

impl PreKeyPrivate {
    /// Draws the X25519 private key (32 bytes), then the KEM seed (64 bytes).
    fn generate<R: CryptoRng + ?Sized>(not_after: UnixTime, rng: &mut R) -> Self {
        let dh = DhPrivate::generate(rng);
        let kem = KemSeed::generate(rng);
        Self { dh, kem, not_after }
    }

    pub(crate) fn public(&self, id: u32) -> PreKeyFields {
        self.public_with(id, DhPublic(self.dh.public()), &self.kem.expand())
    }

    /// The same for whoever has its parts.
    fn public_with(&self, id: u32, dh: DhPublic, kem: &KemKeyPair) -> PreKeyFields {
        PreKeyFields { id, dh, kem: Box::new(*kem.public()), not_after: self.not_after }
    }

    /// Whether it is past its end and its grace.
    fn is_dead(&self, lifetimes: &PreKeyLifetimes, now: UnixTime) -> bool {
        now > self.not_after.plus(lifetimes.grace)
    }
}

/// A signed prekey with its private half. The public half is kept beside it: every introduction needs it.
#[derive(Debug)]
pub(crate) struct StoredSigned {
    /// Ascends; the greatest is the current one. A clock can't say that: it may go backwards.
    pub(super) generation: u32,
    /// The number of the last upload that it was in.
    pub(super) number: u64,
    pub(crate) private: PreKeyPrivate,
    pub(crate) public: PreKeyFields,
}

/// A one-time prekey's private half.
#[derive(Debug)]
pub(crate) struct StoredOneTime {
    pub(crate) private: PreKeyPrivate,
    /// The number of the upload that it is in.
    pub(super) number: u64,
    /// The X25519 public key, from its making on; after a restart it is computed when it is needed.
    public: Option<DhPublic>,
}

impl StoredOneTime {
    pub(super) fn restored(private: PreKeyPrivate, number: u64) -> Self {
        Self { private, number, public: None }
    }

    /// The public half, with the key pair that was expanded for decapsulating.
    pub(crate) fn public_with(&self, id: u32, kem: &KemKeyPair) -> PreKeyFields {
        let dh = self.public.unwrap_or_else(|| DhPublic(self.private.dh.public()));
        self.private.public_with(id, dh, kem)
    }
}

/// The keys that an introduction names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResponderKeys<'a> {
    pub(crate) signed: &'a StoredSigned,
    pub(crate) one_time: Option<(u32, &'a StoredOneTime)>,
}

/// What a change holds: applying it turns it into its own inverse.
#[derive(Debug)]
pub(crate) enum PreKeyChange {
    Signed(u32, Option<Box<StoredSigned>>),
    OneTime(u32, Option<Box<StoredOneTime>>),
    /// The number of the last upload that a signed prekey was in.
    Number(u32, u64),
    Introduction(IntroductionId, Option<IntroductionEntry>),
}

/// A responder's prekeys and its record of introductions. It publishes, finds what an introduction names, and forgets.
///
/// A one-time prekey is gone as soon as its introduction was accepted, a signed one at its end plus the grace period.
#[derive(Debug, Default)]
pub struct PreKeyStore {
    pub(super) signed: BTreeMap<u32, Box<StoredSigned>>,
    pub(super) one_time: BTreeMap<u32, Box<StoredOneTime>>,
    pub(super) introductions: IntroductionRecord,
}

impl PreKeyStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Deletes prekeys past their end and grace, makes `count` one-time prekeys, and a signed one when `rotation` asks for it.
    /// The oldest go where there would be more than [`MAX_ONE_TIME_PREKEYS`] and [`MAX_SIGNED_PREKEYS`]. Draws, for the signed
    /// prekey and then for each one-time prekey: an id (4 bytes, again while 0 or in use), the X25519 private key (32), the KEM
    /// seed (64).
    ///
    /// # Errors
    /// [`PreKeyError::TooMany`] if `count` is more than may be held; nothing has changed.
    pub fn publish<R: CryptoRng + ?Sized>(
        &mut self,
        identity: &IdentityKeyPair,
        count: usize,
        rotation: Rotation,
        lifetimes: &PreKeyLifetimes,
        now: UnixTime,
        rng: &mut R,
    ) -> Result<PreKeyUpload, PreKeyError> {
        let (mut changes, upload) = self.plan_publish(identity, count, rotation, lifetimes, now, rng)?;
        self.swap_all(&mut changes);
        Ok(upload)
    }

    /// Deletes what is past its end plus the grace period, and the introductions of dead signed prekeys whose session
    /// is dead too.
    pub fn expire(&mut self, lifetimes: &PreKeyLifetimes, now: UnixTime, is_alive: impl Fn(&SessionId) -> bool) {
        let mut changes = self.plan_expire(lifetimes, now, is_alive);
        self.swap_all(&mut changes);
    }

    /// The last upload as it is now, without what has served since: byte for byte the same until then. For a directory that
    /// has missed it, or has lost it. `None` before the first.
    pub fn upload(&self, identity: &IdentityKeyPair) -> Option<PreKeyUpload> {
        let (_, current) = self.current()?;
        let one_time = self.one_time.iter().filter(|(_, one_time)| one_time.number == current.number);
        let one_time = one_time.map(|(id, stored)| OneTimePreKey::sign(stored.private.public(*id), identity)).collect();
        Some(PreKeyUpload::sign(
            identity,
            current.number,
            SignedPreKey::sign(current.public.clone(), identity),
            one_time,
        ))
    }

    /// One-time prekeys of the last upload that have served nobody yet.
    pub fn one_time_left(&self) -> usize {
        let number = self.last_number();
        self.one_time.values().filter(|one_time| Some(one_time.number) == number).count()
    }

    /// One-time prekeys whose private half is here, those of earlier uploads among them.
    pub fn one_time_held(&self) -> usize {
        self.one_time.len()
    }

    /// The number for the next upload: greater than any before, also where all state was lost, if the clock is right.
    fn next_number(&self, now: UnixTime) -> u64 {
        self.last_number().map_or(0, |last| last.saturating_add(1)).max(now.0)
    }

    fn last_number(&self) -> Option<u64> {
        let signed = self.signed.values().map(|signed| signed.number);
        signed.chain(self.one_time.values().map(|one_time| one_time.number)).max()
    }

    /// The last moment at which others may use the current signed prekey.
    pub fn signed_not_after(&self) -> Option<UnixTime> {
        self.current().map(|(_, signed)| signed.private.not_after)
    }

    /// How many introductions the current signed prekey has accepted, of at most
    /// [`crate::limits::MAX_INTRODUCTIONS`].
    pub fn introductions(&self) -> usize {
        self.current().map_or(0, |(id, _)| self.introductions.count(id))
    }

    fn current(&self) -> Option<(u32, &StoredSigned)> {
        self.signed.iter().max_by_key(|(_, signed)| signed.generation).map(|(id, signed)| (*id, &**signed))
    }

    pub(crate) fn has_one_time(&self, id: u32) -> bool {
        self.one_time.contains_key(&id)
    }

    /// Whether a one-time prekey is of the last upload.
    pub(crate) fn is_of_last_upload(&self, id: u32) -> bool {
        let last = self.last_number();
        self.one_time.get(&id).is_some_and(|one_time| Some(one_time.number) == last)
    }

    pub(crate) fn record(&self) -> &IntroductionRecord {
        &self.introductions
    }

    pub(crate) fn plan_publish<R: CryptoRng + ?Sized>(
        &self,
        identity: &IdentityKeyPair,
        count: usize,
        rotation: Rotation,
        lifetimes: &PreKeyLifetimes,
        now: UnixTime,
        rng: &mut R,
    ) -> Result<(Vec<PreKeyChange>, PreKeyUpload), PreKeyError> {
        if count > MAX_ONE_TIME_PREKEYS {
            return Err(PreKeyError::TooMany);
        }
        let number = self.next_number(now);
        let mut changes = match rotation {
            Rotation::Revoke => self.plan_revoke(),
            _ => self.plan_expire_prekeys(lifetimes, now),
        };
        let current = self.current().filter(|current| self.is_fresh(*current, rotation, lifetimes, now));
        self.plan_room(&mut changes, usize::from(current.is_none()), count);
        let signed = if let Some((id, current)) = current {
            changes.push(PreKeyChange::Number(id, number));
            current.public.clone()
        } else {
            let generation = self.current().map_or(0, |(_, signed)| signed.generation.saturating_add(1));
            let id = fresh_id(rng, |id| self.signed.contains_key(&id) || self.introductions.count(id) > 0);
            let private = PreKeyPrivate::generate(now.plus(lifetimes.signed), rng);
            let public = private.public(id);
            let stored = StoredSigned { generation, number, private, public: public.clone() };
            changes.push(PreKeyChange::Signed(id, Some(Box::new(stored))));
            public
        };
        let mut fresh: BTreeMap<u32, Box<StoredOneTime>> = BTreeMap::new();
        let mut one_time: BTreeMap<u32, OneTimePreKey> = BTreeMap::new();
        for _ in 0..count {
            let id = fresh_id(rng, |id| self.one_time.contains_key(&id) || fresh.contains_key(&id));
            let private = PreKeyPrivate::generate(now.plus(lifetimes.one_time), rng);
            let fields = private.public(id);
            let public = Some(fields.dh);
            one_time.insert(id, OneTimePreKey::sign(fields, identity));
            fresh.insert(id, Box::new(StoredOneTime { private, number, public }));
        }
        changes.extend(fresh.into_iter().map(|(id, stored)| PreKeyChange::OneTime(id, Some(stored))));
        let signed = SignedPreKey::sign(signed, identity);
        Ok((changes, PreKeyUpload::sign(identity, number, signed, one_time.into_values().collect())))
    }

    /// Whether the current signed prekey goes on.
    fn is_fresh(
        &self,
        (id, current): (u32, &StoredSigned),
        rotation: Rotation,
        lifetimes: &PreKeyLifetimes,
        now: UnixTime,
    ) -> bool {
        let half_life = now.plus(lifetimes.signed / 2);
        // Beyond a whole life it was made by a clock that ran ahead, and would stay for as long.
        let in_time = (half_life..=now.plus(lifetimes.signed)).contains(&current.private.not_after);
        rotation == Rotation::IfDue && in_time && self.introductions.count(id) < MAX_INTRODUCTIONS / 2
    }

    /// Plans to delete the oldest where there would be too many with so many more. Whoever fetches bundles and never uses them,
    /// or fills a prekey's record, must not end in none.
    fn plan_room(&self, changes: &mut Vec<PreKeyChange>, signed_more: usize, one_time_more: usize) {
        let (mut gone_signed, mut gone_one_time) = (BTreeSet::new(), BTreeSet::new());
        for change in &*changes {
            match change {
                PreKeyChange::Signed(id, _) => gone_signed.insert(*id),
                PreKeyChange::OneTime(id, _) => gone_one_time.insert(*id),
                PreKeyChange::Number(..) | PreKeyChange::Introduction(..) => false,
            };
        }
        let signed = self.signed.iter().filter(|(id, _)| !gone_signed.contains(*id));
        let signed = oldest(signed.map(|(id, signed)| (signed.generation, *id)), signed_more, MAX_SIGNED_PREKEYS);
        changes.extend(signed.map(|id| PreKeyChange::Signed(id, None)));
        let one_time = self.one_time.iter().filter(|(id, _)| !gone_one_time.contains(*id));
        let one_time = oldest(one_time.map(|(id, key)| (key.number, *id)), one_time_more, MAX_ONE_TIME_PREKEYS);
        changes.extend(one_time.map(|id| PreKeyChange::OneTime(id, None)));
    }

    pub(crate) fn plan_expire(
        &self,
        lifetimes: &PreKeyLifetimes,
        now: UnixTime,
        is_alive: impl Fn(&SessionId) -> bool,
    ) -> Vec<PreKeyChange> {
        let mut changes = self.plan_expire_prekeys(lifetimes, now);
        let introductions = self.introductions.iter().filter(|(_, entry)| {
            let signed = self.signed.get(&entry.block.signed_id);
            signed.is_none_or(|signed| signed.private.is_dead(lifetimes, now)) && !is_alive(&entry.session)
        });
        changes.extend(introductions.map(|(id, _)| PreKeyChange::Introduction(*id, None)));
        changes
    }

    fn plan_expire_prekeys(&self, lifetimes: &PreKeyLifetimes, now: UnixTime) -> Vec<PreKeyChange> {
        let signed = self.signed.iter().filter(|(_, signed)| signed.private.is_dead(lifetimes, now));
        let one_time = self.one_time.iter().filter(|(_, one_time)| one_time.private.is_dead(lifetimes, now));
        signed
            .map(|(id, _)| PreKeyChange::Signed(*id, None))
            .chain(one_time.map(|(id, _)| PreKeyChange::OneTime(*id, None)))
            .collect()
    }

    /// Plans to delete every private half at once, as after a theft.
    fn plan_revoke(&self) -> Vec<PreKeyChange> {
        let signed = self.signed.keys().map(|id| PreKeyChange::Signed(*id, None));
        let one_time = self.one_time.keys().map(|id| PreKeyChange::OneTime(*id, None));
        signed.chain(one_time).collect()
    }

    /// The keys that an introduction names, if all of them are here and in time.
    pub(crate) fn keys_for(
        &self,
        prefix: &IntroductionPrefix<'_>,
        lifetimes: &PreKeyLifetimes,
        now: UnixTime,
    ) -> Option<ResponderKeys<'_>> {
        let in_time = |private: &PreKeyPrivate| !private.is_dead(lifetimes, now);
        let signed = self.signed.get(&prefix.signed_id).filter(|signed| in_time(&signed.private))?;
        let one_time = match prefix.one_time_id {
            None => None,
            Some(id) => Some((id, &**self.one_time.get(&id).filter(|one_time| in_time(&one_time.private))?)),
        };
        Some(ResponderKeys { signed, one_time })
    }

    /// Exchanges the state with what a change holds.
    pub(crate) fn swap(&mut self, change: &mut PreKeyChange) {
        match change {
            PreKeyChange::Signed(id, stored) => swap_entry(&mut self.signed, *id, stored),
            PreKeyChange::OneTime(id, stored) => swap_entry(&mut self.one_time, *id, stored),
            PreKeyChange::Number(id, number) => {
                if let Some(signed) = self.signed.get_mut(id) {
                    mem::swap(&mut signed.number, number);
                }
            }
            PreKeyChange::Introduction(id, entry) => self.introductions.swap(*id, entry),
        }
    }

    pub(crate) fn swap_all(&mut self, changes: &mut [PreKeyChange]) {
        for change in changes {
            self.swap(change);
        }
    }
}

/// The oldest, which have to go so that with `more` there are at most `max`.
fn oldest<A: Ord>(held: impl Iterator<Item = (A, u32)>, more: usize, max: usize) -> impl Iterator<Item = u32> {
    let mut held: Vec<(A, u32)> = held.collect();
    held.sort_unstable();
    let surplus = held.len().saturating_add(more).saturating_sub(max);
    held.into_iter().take(surplus).map(|(_, id)| id)
}

fn swap_entry<V>(map: &mut BTreeMap<u32, V>, id: u32, value: &mut Option<V>) {
    let before = map.remove(&id);
    if let Some(after) = mem::take(value) {
        map.insert(id, after);
    }
    *value = before;
}

/// A random id that is neither 0 nor in use: it tells nothing about age or count.
fn fresh_id<R: CryptoRng + ?Sized>(rng: &mut R, in_use: impl Fn(u32) -> bool) -> u32 {
    for _ in 0..32 {
        let mut bytes = [0; 4];
        rng.fill_bytes(&mut bytes);
        let id = u32::from_be_bytes(bytes);
        if id != 0 && !in_use(id) {
            return id;
        }
    }
    // Never with a random generator: far fewer ids are in use than there are.
    (1..=u32::MAX).find(|id| !in_use(*id)).unwrap_or(1)
}
