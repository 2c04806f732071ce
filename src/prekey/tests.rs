//! Prekeys from the inside: what a fuller store or an unlucky generator would show.

use super::record::{IntroductionEntry, IntroductionRecord};
use super::*;
use crate::codec::Reader;
use crate::error::DecodeError;
use crate::identity::IdentityKeyPair;
use crate::keys::{SessionId, Signature};
use crate::limits::MAX_INTRODUCTIONS;
use crate::wire::bundle::{PreKeyUpload, Signer};
use crate::wire::introduction::IntroductionId;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;
use chacha20::ChaCha20Rng;
use core::convert::Infallible;
use rand_core::{SeedableRng, TryCryptoRng, TryRng};

const NOW: UnixTime = UnixTime(1_000);
const LIFETIMES: PreKeyLifetimes = PreKeyLifetimes { signed: 100, one_time: 200, grace: 10 };

/// A generator whose first ids are given.
struct Unlucky {
    ids: VecDeque<u32>,
    rng: ChaCha20Rng,
}

impl TryRng for Unlucky {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.rng.try_next_u32()
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.rng.try_next_u64()
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        match (out.len(), self.ids.front()) {
            (4, Some(id)) => {
                out.copy_from_slice(&id.to_be_bytes());
                self.ids.pop_front();
                Ok(())
            }
            _ => self.rng.try_fill_bytes(out),
        }
    }
}

impl TryCryptoRng for Unlucky {}

fn unlucky(ids: &[u32]) -> Unlucky {
    Unlucky { ids: ids.iter().copied().collect(), rng: ChaCha20Rng::from_seed([5; 32]) }
}

/// Lets a signed prekey accept so many introductions.
fn accept(store: &mut PreKeyStore, signed_id: u32, count: usize) {
    for number in 0..count {
        let entry = store.record().plan(signed_id, SessionId::from_bytes([3; 16])).unwrap();
        let mut id = [0; 16];
        id[..8].copy_from_slice(&u64::try_from(number).unwrap().to_be_bytes());
        store.swap(&mut PreKeyChange::Introduction(IntroductionId(id), Some(entry)));
    }
}

#[test]
fn ids_in_use_are_not_given_again() {
    let identity = IdentityKeyPair::generate(&mut unlucky(&[]));
    let mut store = PreKeyStore::new();
    let publish = |store: &mut PreKeyStore, count, rng: &mut Unlucky| {
        store.publish(&identity, count, Rotation::Always, &LIFETIMES, NOW, rng).unwrap()
    };
    // Zero is none; then one id comes twice within one upload.
    let upload = publish(&mut store, 2, &mut unlucky(&[0, 7, 8, 8, 9]));
    assert_eq!(upload.signed_id(), 7);
    assert_eq!(upload.one_time_ids(), [8, 9]);
    // And what earlier uploads had.
    let upload = publish(&mut store, 1, &mut unlucky(&[7, 10, 8, 11]));
    assert_eq!((upload.signed_id(), upload.one_time_ids()[0]), (10, 11));
    // The id of a signed prekey that is gone, but not its introductions.
    accept(&mut store, 10, 1);
    store.swap(&mut PreKeyChange::Signed(10, None));
    assert_eq!(publish(&mut store, 0, &mut unlucky(&[10, 12])).signed_id(), 12);
    // A generator that gives nothing else.
    let stuck = publish(&mut store, 0, &mut unlucky(&[7; 32])).signed_id();
    assert_eq!(stuck, 1, "the first that is free");
    assert_eq!(publish(&mut store, 0, &mut unlucky(&[7; 32])).signed_id(), 2);
}

#[test]
fn half_full_record_brings_the_next_signed_prekey() {
    let mut rng = ChaCha20Rng::from_seed([5; 32]);
    let identity = IdentityKeyPair::generate(&mut rng);
    let mut store = PreKeyStore::new();
    let mut publish =
        |store: &mut PreKeyStore| store.publish(&identity, 0, Rotation::IfDue, &LIFETIMES, NOW, &mut rng).unwrap();
    let first = publish(&mut store).signed_id();
    accept(&mut store, first, MAX_INTRODUCTIONS / 2 - 1);
    assert_eq!(store.introductions(), MAX_INTRODUCTIONS / 2 - 1);
    assert_eq!(publish(&mut store).signed_id(), first);
    accept(&mut store, first, MAX_INTRODUCTIONS / 2);
    assert_ne!(publish(&mut store).signed_id(), first);
    assert_eq!(store.introductions(), 0);
}

#[test]
fn prekeys_end_after_their_grace() {
    let mut rng = ChaCha20Rng::from_seed([5; 32]);
    let identity = IdentityKeyPair::generate(&mut rng);
    let mut store = PreKeyStore::new();
    let upload = store.publish(&identity, 2, Rotation::IfDue, &LIFETIMES, NOW, &mut rng).unwrap();
    let (dead, alive) = (SessionId::from_bytes([1; 16]), SessionId::from_bytes([2; 16]));
    for (id, session) in [(1, dead), (2, alive)] {
        let IntroductionEntry { block, .. } = store.record().plan(upload.signed_id(), session).unwrap();
        let entry = IntroductionEntry { session, block };
        store.swap(&mut PreKeyChange::Introduction(IntroductionId([id; 16]), Some(entry)));
    }
    let expire = |store: &mut PreKeyStore, at| {
        store.expire(&LIFETIMES, UnixTime(at), |session| *session == alive);
        let introductions: BTreeSet<_> = store.record().iter().map(|(_, entry)| entry.session).collect();
        (store.signed_not_after().is_some(), store.one_time_left(), introductions.into_iter().collect::<Vec<_>>())
    };
    assert_eq!(expire(&mut store, 1_110), (true, 2, Vec::from([dead, alive])));
    assert_eq!(expire(&mut store, 1_111), (false, 2, Vec::from([alive])));
    assert_eq!(expire(&mut store, 1_210), (false, 2, Vec::from([alive])));
    assert_eq!(expire(&mut store, 1_211), (false, 0, Vec::from([alive])));
}

#[test]
fn images_of_the_record_have_one_form() {
    let read = |record: &mut IntroductionRecord, signed_id, number, ids: &[u8]| {
        let mut image = Vec::from(u32::try_from(ids.len()).unwrap().to_be_bytes());
        image.extend(ids.iter().flat_map(|id| [[*id; 16], [3; 16]]).flatten());
        let block = BlockId { signed_id, number };
        Reader::whole(&image, |reader| record.read_block(block, reader))
    };
    let mut record = IntroductionRecord::default();
    let wrong = Err(DecodeError::Invalid);
    assert_eq!(read(&mut record, 9, 0, &[1, 2]), Ok(()));
    assert_eq!(read(&mut record, 9, 0, &[3]), wrong, "a block twice");
    assert_eq!(read(&mut record, 9, 1, &[]), wrong);
    assert_eq!(read(&mut record, 0, 1, &[3]), wrong);
    assert_eq!(read(&mut record, 9, 2, &[4, 3]), wrong);
    assert_eq!(read(&mut record, 9, 3, &[1]), wrong, "an introduction twice");
    assert_eq!(read(&mut record, 9, 4, &[5, 6]), Ok(()));
}

#[test]
fn images_of_prekeys_have_one_form() {
    let mut rng = ChaCha20Rng::from_seed([5; 32]);
    let identity = IdentityKeyPair::generate(&mut rng);
    let mut store = PreKeyStore::new();
    let id = store.publish(&identity, 0, Rotation::IfDue, &LIFETIMES, NOW, &mut rng).unwrap().signed_id();
    let mut image = Vec::new();
    store.write_signed(id, &mut image).unwrap();
    let changed = |id: u32, generation: u32| {
        let rest = image[8..].iter().copied();
        id.to_be_bytes().into_iter().chain(generation.to_be_bytes()).chain(rest).collect::<Vec<_>>()
    };
    let read = |store: &mut PreKeyStore, image: &[u8]| Reader::whole(image, |reader| store.read_signed(reader));
    let mut restored = PreKeyStore::new();
    let wrong = Err(DecodeError::Invalid);
    assert_eq!(read(&mut restored, &changed(0, 0)), wrong);
    assert_eq!(read(&mut restored, &changed(7, 0)), Ok(7));
    assert_eq!(read(&mut restored, &changed(8, 0)), wrong, "a generation twice");
    assert_eq!(read(&mut restored, &changed(7, 1)), wrong, "an id twice");
    assert_eq!(read(&mut restored, &changed(8, 1)), Ok(8));
}

/// Whose upload shows another KEM key than its identity names.
struct Liar<'a>(&'a IdentityKeyPair, &'a IdentityKeyPair);

impl Signer for Liar<'_> {
    fn key(&self) -> &IdentityKey {
        self.0.public()
    }

    fn kem(&self) -> &[u8; KEM_PUBLIC_LEN] {
        self.1.kem().public()
    }

    fn sign(&self, message: &[u8]) -> Signature {
        self.0.sign(message)
    }
}

#[test]
fn upload_with_another_kem_key_is_refused() {
    let mut rng = ChaCha20Rng::from_seed([6; 32]);
    let [bob, other] = [(); 2].map(|()| IdentityKeyPair::generate(&mut rng));
    let mut prekeys = PreKeyStore::new();
    let honest = prekeys.publish(&bob, 1, Rotation::IfDue, &LIFETIMES, NOW, &mut rng).unwrap();
    let bundle = honest.into_entry().unwrap().take_bundle();
    let upload = |signer: &Liar<'_>| PreKeyUpload::sign(signer, 7, bundle.signed.clone(), Vec::new()).into_entry();
    assert!(upload(&Liar(&bob, &bob)).is_ok());
    assert_eq!(upload(&Liar(&bob, &other)).err(), Some(PreKeyError::OtherKemKey));
}
