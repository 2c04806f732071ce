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
use sceau::vault::Vault;
use sceau::{Device, Record, RecordKey};
use sceau_testkit::rng;
use sceau_testkit::talk::{NOW, Talk};
use std::collections::BTreeMap;

/// A whole device in a vault, one generation for each commit; then an attacker puts the old store back.
#[test]
fn a_device_in_a_vault() {
    let Talk { mut alice, mut rng, to_bob, .. } = Talk::new(1);
    let vault = Vault::new(&[9; 32]);
    let mut disk: BTreeMap<RecordKey, Vec<u8>> = BTreeMap::new();
    let mut generation = 0;
    let write = |disk: &mut BTreeMap<RecordKey, Vec<u8>>, generation, changes: &sceau::Changes| {
        for record in changes.iter() {
            match record {
                Record::Put(key, bytes) => {
                    let sealed =
                        vault.seal(key.as_bytes(), generation, bytes, &mut sceau_testkit::rng(1_000 + generation));
                    assert!(!sealed.windows(16).any(|window| bytes.windows(16).any(|other| other == window)));
                    disk.insert(key, sealed)
                }
                Record::Delete(key) => disk.remove(&key),
            };
        }
        Ok::<(), std::io::Error>(())
    };
    generation += 1;
    write(&mut disk, generation, &alice.records()).unwrap();
    let backup = disk.clone();
    for _ in 0..3 {
        let pending = alice.seal(to_bob, b"text", NOW, &mut rng).unwrap();
        generation += 1;
        pending.commit(|changes| write(&mut disk, generation, changes)).unwrap();
    }
    let open = |disk: &BTreeMap<RecordKey, Vec<u8>>, session: u64| {
        let mut records = Vec::new();
        for (key, sealed) in disk {
            // What changed with the last commit must be of that generation; here the session's record is.
            let least = if key.as_bytes()[0] == 6 { session } else { 1 };
            records.push((*key, vault.open(key.as_bytes(), least, sealed)?.image));
        }
        Ok::<_, VaultError>(records)
    };
    let records = open(&disk, generation).unwrap();
    let restored = Device::restore(records.iter().map(|(key, image)| (*key, image.expose()))).unwrap();
    assert_eq!(restored.fingerprint(), alice.fingerprint());
    assert_eq!(sceau_testkit::Disk::of(&restored), sceau_testkit::Disk::of(&alice));
    // Put back, one record or all: the session's is missing, or old.
    let session = *disk.keys().find(|key| key.as_bytes()[0] == 6).unwrap();
    let middle = vault.seal(session.as_bytes(), 2, b"an old session", &mut rng);
    let mut mixed = disk.clone();
    mixed.insert(session, middle);
    assert_eq!(open(&mixed, generation).unwrap_err(), VaultError::Old { generation: 2 });
    assert!(!backup.contains_key(&session));
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
