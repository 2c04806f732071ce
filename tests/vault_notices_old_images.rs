//! Sealed images: what is torn, damaged, swapped or put back is refused, and the one before still opens.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test is to fail loudly"
)]

use sceau::error::VaultError;
use sceau::store::{Mark, SealedChanges, SealedStore};
use sceau::vault::Vault;
use sceau::{Changes, Device};
use sceau_testkit::rng;
use sceau_testkit::talk::{NOW, Talk, done};
use std::collections::BTreeMap;

type Disk = BTreeMap<[u8; 17], Vec<u8>>;

fn write(disk: &mut Disk, store: &mut SealedStore, changes: &Changes, seed: u64) {
    let before = store.mark();
    let failed = store.write(changes, &mut sceau_testkit::rng(seed), |_| Err("the disk is full"));
    assert_eq!((failed, store.mark()), (Err("the disk is full"), before));
    let mut mark = None;
    let written = store.write(changes, &mut sceau_testkit::rng(1_000 + seed), |sealed| {
        put(disk, sealed);
        mark = Some(sealed.mark());
        Ok::<(), std::convert::Infallible>(())
    });
    assert_eq!((written, mark), (Ok(()), Some(store.mark())));
    assert_eq!(store.mark().generation(), before.generation() + 1);
}

fn put(disk: &mut Disk, sealed: &SealedChanges) {
    for (key, row) in sealed.rows() {
        match row {
            Some(bytes) => disk.insert(*key, bytes.to_vec()),
            None => disk.remove(key),
        };
    }
}

fn opened(disk: &Disk, last: Option<&Mark>) -> Result<(SealedStore, Device), VaultError> {
    let (store, records) = SealedStore::open(&[9; 32], disk, last)?;
    let device = Device::restore(records.iter().map(|(key, image)| (*key, image.expose()))).expect("whole records");
    Ok((store, device))
}

/// A whole device, sealed; then someone puts the old store back, or single rows of it, or takes rows away.
#[test]
fn a_device_in_a_sealed_store() {
    let mut talk = Talk::confirmed(1);
    let (mut disk, mut store) = (Disk::new(), SealedStore::new(&[9; 32]));
    write(&mut disk, &mut store, &talk.bob.records(), 0);
    let mut backups = vec![disk.clone()];
    for seed in 1..6 {
        let envelope = talk.from_alice(b"text");
        let Ok(_) = talk.bob.open(&envelope, NOW).unwrap().commit(|changes| {
            write(&mut disk, &mut store, changes, seed);
            Ok::<(), std::convert::Infallible>(())
        });
        backups.push(disk.clone());
    }
    // Something is deleted too: the one-time prekey that a stranger uses.
    let mut stranger = Device::generate(&mut talk.rng);
    let mut directory = talk.directory.clone();
    done(stranger.add_peer(&directory.take_bundle(), NOW).unwrap());
    let envelope = done(stranger.seal(talk.to_bob, b"hello", NOW, &mut talk.rng).unwrap());
    let before = disk.len();
    let Ok(_) = talk.bob.open(&envelope, NOW).unwrap().commit(|changes| {
        write(&mut disk, &mut store, changes, 6);
        Ok::<(), std::convert::Infallible>(())
    });
    let mark = store.mark();
    let last = Some(&mark);
    let (again, device) = opened(&disk, last).unwrap();
    assert_eq!(sceau_testkit::Disk::of(&device), sceau_testkit::Disk::of(&talk.bob));
    assert_eq!((again.mark(), mark.generation()), (mark, 7));
    assert_eq!(Mark::from_bytes(&mark.to_bytes()), mark);
    assert!(disk.values().all(|row| row.len() > Vault::OVERHEAD) && disk.len() != before);

    // The whole, put back: old, whichever it is.
    for (generation, backup) in (1..).zip(&backups) {
        assert_eq!(opened(backup, last).unwrap_err(), VaultError::Old { generation });
        // Where nothing is kept outside, a whole old store is whole.
        assert!(opened(backup, None).is_ok());
    }
    // Each row of each old store by itself: changed, or there again.
    let mut tried = 0;
    for (key, old) in backups.iter().flatten().filter(|(key, old)| disk.get(*key) != Some(*old)) {
        let mut mixed = disk.clone();
        mixed.insert(*key, old.clone());
        let error = opened(&mixed, last).unwrap_err();
        assert!(matches!(error, VaultError::Incomplete | VaultError::Old { .. }), "{error:?}");
        tried += 1;
    }
    assert!(tried > 10, "{tried}");
    // Each row taken away, and one under another's key.
    let keys: Vec<[u8; 17]> = disk.keys().copied().collect();
    for key in &keys {
        let mut fewer = disk.clone();
        fewer.remove(key);
        assert_eq!(opened(&fewer, last).unwrap_err(), VaultError::Incomplete);
    }
    let mut swapped = disk.clone();
    swapped.insert(keys[1], disk[&keys[2]].clone());
    assert_eq!(opened(&swapped, last).unwrap_err(), VaultError::Rejected);
    // Where an old store is known by its generation alone, a transaction that failed and was seen looks like the next.
    let envelope = talk.from_alice(b"before the failure");
    let mut failed = disk.clone();
    let result = talk.bob.open(&envelope, NOW).unwrap().commit(|changes| {
        let sealed = store.seal(changes, &mut sceau_testkit::rng(50));
        put(&mut failed, &sealed);
        Err::<(), &str>("the disk is full")
    });
    assert!(result.is_err());
    assert_eq!(store.mark(), mark, "what was not written is nothing");
    assert!(opened(&disk, last).is_ok());
    let (mut store, _) = opened(&disk, last).unwrap();
    let envelope = talk.from_alice(b"after the failure");
    let Ok(_) = talk.bob.open(&envelope, NOW).unwrap().commit(|changes| {
        write(&mut disk, &mut store, changes, 51);
        Ok::<(), std::convert::Infallible>(())
    });
    let next = store.mark();
    assert_eq!(next.generation(), mark.generation() + 1);
    assert!(opened(&disk, Some(&next)).is_ok());
    assert!(opened(&failed, last).is_ok(), "it would have been the next");
    assert_eq!(opened(&failed, Some(&next)).unwrap_err(), VaultError::Old { generation: next.generation() });
    let mut tried = 0;
    for (key, row) in failed.iter().filter(|(key, row)| disk.get(*key) != Some(*row)) {
        let mut mixed = disk.clone();
        mixed.insert(*key, row.clone());
        assert_eq!(opened(&mixed, Some(&next)).unwrap_err(), VaultError::Incomplete);
        tried += 1;
    }
    assert!(tried >= 2, "{tried}");
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
