//! Sealed images: what is torn, damaged, swapped or put back is refused, and the one before still opens.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test is to fail loudly"
)]

use sceau::error::{Stale, VaultError};
use sceau::store::{Mark, SealedChanges, SealedStore};
use sceau::vault::Vault;
use sceau::{Device, Pending, Policy, RecordKey};
use sceau_testkit::rng;
use sceau_testkit::talk::{NOW, Talk, content, done, state};
use std::collections::BTreeMap;

type Disk = BTreeMap<[u8; 17], Vec<u8>>;

const KEY: [u8; 32] = [9; 32];

fn put(disk: &mut Disk, sealed: &SealedChanges) -> Result<(), Stale> {
    let head = disk.get(SealedStore::HEAD).cloned();
    for (key, row) in sealed.after(head.as_deref())? {
        match row {
            Some(bytes) => disk.insert(*key, bytes.to_vec()),
            None => disk.remove(key),
        };
    }
    Ok(())
}

/// Commits, after a try that has failed; both change the store's mark as they should.
fn commit<T>(disk: &mut Disk, store: &mut SealedStore, pending: Pending<'_, T>, seed: u64) -> T {
    let before = store.mark();
    let mut mark = None;
    let written = store.commit(pending, &mut sceau_testkit::rng(1_000 + seed), |sealed, _| {
        put(disk, sealed)?;
        mark = Some(sealed.mark());
        Ok::<(), Stale>(())
    });
    assert_eq!(mark, Some(store.mark()));
    assert_eq!(store.mark().generation(), before.generation() + 1);
    written.unwrap()
}

fn create(disk: &mut Disk, device: &Device) -> SealedStore {
    disk.clear();
    SealedStore::create(&KEY, device, &mut rng(7), |sealed| put(disk, sealed)).unwrap()
}

fn opened(disk: &Disk, last: &Mark) -> Result<(SealedStore, Device), VaultError> {
    let (store, records) = SealedStore::open(&KEY, disk, last)?;
    let records = records.iter().map(|(key, image)| (*key, image.expose()));
    Ok((store, Device::restore(records, Policy::default()).expect("whole records")))
}

/// A whole device, sealed; then someone puts the old store back, or single rows of it, or takes rows away.
#[test]
fn a_device_in_a_sealed_store() {
    let mut talk = Talk::confirmed(1);
    let mut disk = Disk::new();
    let mut store = create(&mut disk, &talk.bob);
    let mut backups = vec![(store.mark(), disk.clone())];
    for seed in 1..6 {
        let envelope = talk.from_alice(b"text");
        commit(&mut disk, &mut store, talk.bob.open(&envelope, NOW).unwrap(), seed);
        backups.push((store.mark(), disk.clone()));
    }
    // Something is deleted too: the one-time prekey that a stranger uses.
    let mut stranger = Device::generate(&mut talk.rng);
    let mut directory = talk.directory.clone();
    done(stranger.add_peer(&directory.take_bundle(), NOW).unwrap());
    let envelope = done(stranger.seal(talk.to_bob, b"hello", NOW, &mut talk.rng).unwrap()).envelope;
    let before = disk.len();
    commit(&mut disk, &mut store, talk.bob.open(&envelope, NOW).unwrap(), 6);
    let last = store.mark();
    let (again, device) = opened(&disk, &last).unwrap();
    assert_eq!(state(&device), state(&talk.bob));
    assert_eq!((again.mark(), last.generation()), (last, 7));
    assert_eq!(Mark::from_bytes(&last.to_bytes()), last);
    assert!(disk.values().all(|row| row.len() > Vault::OVERHEAD) && disk.len() != before);

    // The whole, put back: old, whichever it is. And what follows a mark by more than one.
    for (generation, (mark, backup)) in (1..).zip(&backups) {
        assert_eq!(opened(backup, &last).unwrap_err(), VaultError::Old { generation });
        assert!(SealedStore::open_backup(&KEY, backup).is_ok(), "a whole old store is whole");
        let ahead = opened(&disk, mark).map(drop);
        assert_eq!(ahead, if generation == 6 { Ok(()) } else { Err(VaultError::NotNext { generation: 7 }) });
    }
    // Each row of each old store by itself: changed, or there again.
    let mut tried = 0;
    let rows = backups.iter().flat_map(|(_, backup)| backup);
    for (key, old) in rows.filter(|(key, old)| disk.get(*key) != Some(*old)) {
        let mut mixed = disk.clone();
        mixed.insert(*key, old.clone());
        let error = opened(&mixed, &last).unwrap_err();
        assert!(matches!(error, VaultError::Incomplete | VaultError::Old { .. }), "{error:?}");
        tried += 1;
    }
    assert!(tried > 10, "{tried}");
    // Each row taken away, and one under another's key.
    let keys: Vec<[u8; 17]> = disk.keys().copied().collect();
    for key in &keys {
        let mut fewer = disk.clone();
        fewer.remove(key);
        assert_eq!(opened(&fewer, &last).unwrap_err(), VaultError::Incomplete);
    }
    let mut swapped = disk.clone();
    swapped.insert(keys[1], disk[&keys[2]].clone());
    assert_eq!(opened(&swapped, &last).unwrap_err(), VaultError::Rejected);
}

/// Rows that the application writes behind the store's fail the transaction: neither device nor store has moved on.
#[test]
fn failed_transactions_leave_a_store_that_opens() {
    let mut talk = Talk::confirmed(2);
    let mut disk = Disk::new();
    let mut store = create(&mut disk, &talk.bob);
    let mark = store.mark();
    let before = disk.clone();
    let envelope = talk.from_alice(b"before the failure");
    let mut failed = disk.clone();
    let result = store.commit(talk.bob.open(&envelope, NOW).unwrap(), &mut rng(50), |sealed, _| {
        put(&mut failed, sealed).unwrap();
        Err("the application's own rows did not fit")
    });
    assert_eq!((result.err(), store.mark()), (Some("the application's own rows did not fit"), mark));
    assert_eq!(state(&opened(&disk, &mark).unwrap().1), state(&talk.bob));
    // The next operation stands on what is there.
    let opened_again = commit(&mut disk, &mut store, talk.bob.open(&envelope, NOW).unwrap(), 51);
    assert_eq!(content(opened_again), b"before the failure");
    let next = store.mark();
    assert!(opened(&disk, &next).is_ok());
    // The mark of the last transaction was not kept: its store is what directly follows.
    assert!(opened(&disk, &mark).is_ok() && opened(&before, &mark).is_ok());
    // What had failed is of the same generation, and is another.
    assert_eq!(opened(&failed, &next).unwrap_err(), VaultError::Old { generation: next.generation() });
    for (key, row) in failed.iter().filter(|(key, row)| disk.get(*key) != Some(*row)) {
        let mut mixed = disk.clone();
        mixed.insert(*key, row.clone());
        assert_eq!(opened(&mixed, &next).unwrap_err(), VaultError::Incomplete);
    }
    // Nothing to store: nothing is written, and the mark stays.
    let idle = store.commit(talk.bob.maintain(NOW), &mut rng(52), |sealed, _| put(&mut disk, sealed));
    assert_eq!((idle, store.mark()), (Ok(0), next));
    assert!(opened(&disk, &next).is_ok());

    // Shown, and dropped without a word: neither store nor device writes anything until both are opened again.
    let envelope = talk.from_alice(b"cancelled");
    let mut prepared = store.prepare(talk.bob.open(&envelope, NOW).unwrap(), &mut rng(53));
    let cancelled = prepared.show(|sealed, _| sealed.clone());
    drop(prepared);
    assert!(talk.bob.must_be_restored());
    let refused = store.commit(talk.bob.maintain(NOW), &mut rng(54), |sealed, _| put(&mut disk, sealed));
    assert_eq!(refused, Err(Stale));
    // Whether it was written or not, it goes on from there.
    for written in [false, true] {
        let mut disk = disk.clone();
        if written {
            put(&mut disk, &cancelled).unwrap();
        }
        let (mut store, mut bob) = opened(&disk, &next).unwrap();
        let result = bob.open(&envelope, NOW).map(|pending| commit(&mut disk, &mut store, pending, 55));
        assert_eq!(result.is_ok(), !written);
        assert!(opened(&disk, &store.mark()).is_ok());
    }
    // Prepared, and given up with a word.
    let (mut store, mut bob) = opened(&disk, &next).unwrap();
    let mut prepared = store.prepare(bob.open(&envelope, NOW).unwrap(), &mut rng(56));
    prepared.show(|_, _| ());
    prepared.not_stored();
    commit(&mut disk, &mut store, bob.open(&envelope, NOW).unwrap(), 57);
}

/// A backup begins a new line, which the store from before can't continue, whatever its generation.
#[test]
fn restored_backup_is_not_followed_by_the_old_store() {
    let mut talk = Talk::confirmed(3);
    let mut disk = Disk::new();
    let mut store = create(&mut disk, &talk.bob);
    let mut olds = vec![disk.clone()];
    for seed in 0..4 {
        let envelope = talk.from_alice(b"text");
        commit(&mut disk, &mut store, talk.bob.open(&envelope, NOW).unwrap(), seed);
        olds.push(disk.clone());
    }
    let records = SealedStore::open_backup(&KEY, &olds[1]).unwrap();
    let records = records.iter().map(|(key, image)| (*key, image.expose()));
    let recovered = Device::recover(records, Policy::default(), 5, NOW, &mut talk.rng).unwrap();
    assert!(recovered.lost.is_empty());
    let mut bob = recovered.device;
    let mut store = create(&mut disk, &bob);
    for seed in 0..6 {
        let mark = store.mark();
        for old in &olds {
            let refused = opened(old, &mark).map(drop);
            assert!(matches!(refused, Err(VaultError::Old { .. } | VaultError::NotNext { .. })), "{refused:?}");
        }
        assert_eq!(state(&opened(&disk, &mark).unwrap().1), state(&bob));
        let pending = bob.publish_prekeys(1, NOW, &mut talk.rng).unwrap();
        commit(&mut disk, &mut store, pending, 60 + seed);
    }
}

/// One damaged row is not the loss of the device: what is authentic is opened, what is not is named.
#[test]
fn damaged_rows_are_named_and_the_rest_lives_on() {
    let mut talk = Talk::confirmed(4);
    // A message that is passed over, so that there are skipped keys.
    let late = talk.from_alice(b"late");
    let envelope = talk.from_alice(b"text");
    talk.bob_reads(&envelope).unwrap();
    let mut disk = Disk::new();
    let store = create(&mut disk, &talk.bob);
    let kinds: std::collections::BTreeSet<u8> = disk.keys().map(|key| key[0]).collect();
    assert!([1, 2, 3, 4, 5, 6, 7, 15].iter().all(|kind| kinds.contains(kind)), "{kinds:?}");
    for key in disk.keys().copied().collect::<Vec<_>>() {
        for missing in [false, true] {
            let mut damaged = disk.clone();
            if missing {
                damaged.remove(&key);
            } else {
                *damaged.get_mut(&key).unwrap().last_mut().unwrap() ^= 1;
            }
            assert!(SealedStore::open(&KEY, &damaged, &store.mark()).is_err());
            let salvaged = SealedStore::salvage(&KEY, &damaged);
            let record = RecordKey::from_bytes(key);
            let unreadable: Vec<_> = (!missing).then_some(record).into_iter().collect();
            assert_eq!(salvaged.unreadable, unreadable);
            let head = record == RecordKey::HEAD;
            assert_eq!(
                salvaged.missing.map(|missing| (missing.rows, missing.of_one_moment)),
                (!head).then_some((usize::from(missing), false))
            );
            let records = salvaged.records.iter().map(|(key, image)| (*key, image.expose()));
            let recovered = Device::recover(records, Policy::default(), 3, NOW, &mut talk.rng);
            if record.kind() == 1 {
                assert!(recovered.is_err(), "there is no device without an identity");
                continue;
            }
            let mut recovered = recovered.unwrap();
            assert_eq!(recovered.device.fingerprint(), talk.to_bob);
            assert_eq!(
                recovered.lost.is_empty(),
                ![4, 6, 7].contains(&record.kind()),
                "{record:?} {:?}",
                recovered.lost
            );
            assert!(recovered.device.peer(talk.to_alice).is_some() || record.kind() == 4);
            if record.kind() != 7 && record.kind() != 6 && record.kind() != 4 {
                assert_eq!(content(done(recovered.device.open(&late, NOW).unwrap())), b"late", "{record:?}");
            }
            // Stored anew it is whole, and it goes on as after a backup: the next message introduces it anew.
            let mut again = Disk::new();
            let store = create(&mut again, &recovered.device);
            let (_, mut bob) = opened(&again, &store.mark()).unwrap();
            assert_eq!(state(&bob), state(&recovered.device));
            let mut alice = state(&talk.alice).restore();
            let upload = done(alice.publish_prekeys(1, NOW, &mut talk.rng).unwrap());
            done(bob.add_peer(&upload.into_entry().unwrap().take_bundle(), NOW).unwrap());
            let later = NOW.plus(1);
            let anew = done(bob.seal(talk.to_alice, b"anew", later, &mut talk.rng).unwrap()).envelope;
            assert_eq!(content(done(alice.open(&anew, NOW).unwrap())), b"anew");
            // Where it can't show that it continues their session, Alice answers with an introduction of her own.
            if alice.bundles_wanted(NOW).next().is_some() {
                let mut entry = recovered.upload.clone().into_entry().unwrap();
                done(alice.add_peer(&entry.take_bundle(), NOW).unwrap());
            }
            let reply = done(alice.seal(talk.to_bob, b"reply", NOW, &mut talk.rng).unwrap()).envelope;
            assert_eq!(content(done(bob.open(&reply, NOW).unwrap())), b"reply");
        }
    }
}

#[test]
fn torn_damaged_and_swapped_images_are_refused_and_the_previous_one_opens() {
    let mut rng = rng(2);
    let vault = Vault::new(&[1; 32]);
    let old = vault.seal(b"name", 4, b"the old image", &mut rng);
    let new = vault.seal(b"name", 5, b"the new image", &mut rng);
    assert_eq!(new.len(), b"the new image".len() + Vault::OVERHEAD);
    assert_eq!((Vault::generation(&old), Vault::generation(&new)), (Ok(4), Ok(5)));
    for len in 0..new.len() {
        let torn = vault.open(b"name", 0, &new[..len]).unwrap_err();
        assert!(matches!(torn, VaultError::Malformed(_) | VaultError::Rejected), "{len}: {torn:?}");
    }
    for bit in 0..new.len() * 8 {
        let mut damaged = new.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let refused = vault.open(b"name", 0, &damaged).unwrap_err();
        assert!(matches!(refused, VaultError::Malformed(_) | VaultError::Rejected), "{bit}: {refused:?}");
    }
    // Half a write over the old one.
    let mut overwritten = old.clone();
    overwritten[..40].copy_from_slice(&new[..40]);
    assert_eq!(vault.open(b"name", 0, &overwritten).unwrap_err(), VaultError::Rejected);
    assert_eq!(vault.open(b"name", 0, &[&new[..], &[0]].concat()).unwrap_err(), VaultError::Rejected);
    assert_eq!(vault.open(b"other", 0, &new).unwrap_err(), VaultError::Rejected);
    assert_eq!(Vault::new(&[2; 32]).open(b"name", 0, &new).unwrap_err(), VaultError::Rejected);
    let previous = vault.open(b"name", 4, &old).unwrap();
    assert_eq!((previous.generation, previous.image.expose()), (4, &b"the old image"[..]));
    assert_eq!(vault.open(b"name", 5, &old).unwrap_err(), VaultError::Old { generation: 4 });
    assert_eq!(vault.open(b"name", 5, &new).unwrap().image.expose(), b"the new image");
    // Empty images are images; the same image is never the same bytes.
    let empty = [(); 2].map(|()| vault.seal(b"", 0, b"", &mut rng));
    assert_ne!(empty[0], empty[1]);
    assert_eq!(vault.open(b"", 0, &empty[0]).unwrap().image.expose(), b"");
}
