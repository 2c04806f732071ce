//! A sealed store whose rows were mixed, torn, put back, or sealed again by who has the key.

use super::input::Input;
use crate::Disk;
use crate::talk::{NOW, done};
use sceau::error::Stale;
use sceau::store::{Mark, SealedChanges, SealedStore};
use sceau::vault::Vault;
use sceau::{Device, Policy, RecordKey};
use std::collections::BTreeMap;
use std::sync::OnceLock;

const KEY: [u8; 32] = [9; 32];

/// The manifest's row.
const MANIFEST: [u8; RecordKey::LEN] = [0; RecordKey::LEN];

/// The store after one of its transactions.
struct Moment {
    rows: BTreeMap<[u8; RecordKey::LEN], Vec<u8>>,
    mark: Mark,
    records: Disk,
}

/// The store of a device that publishes, adds a peer, writes to it twice and forgets it.
fn moments() -> Vec<Moment> {
    let mut rng = crate::rng(51);
    let (mut device, mut other) = (Device::generate(&mut rng), Device::generate(&mut rng));
    let bundle =
        done(other.publish_prekeys(1, NOW, &mut rng).expect("room")).into_entry().expect("signed").take_bundle();
    let (mut disk, mut moments) = (BTreeMap::new(), Vec::new());
    let mut write = |sealed: &SealedChanges| {
        let head = disk.get(SealedStore::HEAD).cloned();
        for (key, row) in sealed.after(head.as_deref())? {
            match row {
                Some(bytes) => disk.insert(*key, bytes.to_vec()),
                None => disk.remove(key),
            };
        }
        Ok::<_, Stale>(disk.clone())
    };
    let mut rows = BTreeMap::new();
    let mut store = SealedStore::create(&KEY, &device, &mut rng, |sealed| {
        rows = write(sealed)?;
        Ok::<(), Stale>(())
    })
    .expect("an empty store");
    for number in 0..5 {
        let mut sealing = crate::rng(60 + number);
        let to = other.fingerprint();
        macro_rules! commit {
            ($pending:expr) => {{
                let written = store.commit($pending, &mut sealing, |sealed, _| {
                    rows = write(sealed)?;
                    Ok::<(), Stale>(())
                });
                let _ = written.expect("one process has it");
            }};
        }
        match number {
            0 => commit!(device.publish_prekeys(3, NOW, &mut rng).expect("room")),
            1 => commit!(device.add_peer(&bundle, NOW).expect("a bundle")),
            2 | 3 => commit!(device.seal(to, b"text", NOW, &mut rng).expect("short")),
            _ => commit!(device.delete_peer(to, &mut rng).expect("a peer")),
        }
        moments.push(Moment { rows: rows.clone(), mark: store.mark(), records: Disk::of(&device) });
    }
    moments
}

/// Rows of a store, each of any of its moments, cut, changed, doubled, left out, under another's key, added, or sealed again
/// under the right key with other bytes. A store that opens is one of those moments, whole, and none before the mark.
pub fn stores(data: &[u8]) {
    static MOMENTS: OnceLock<Vec<Moment>> = OnceLock::new();
    let moments = MOMENTS.get_or_init(moments);
    let (mut input, vault, mut rng) = (Input(data), Vault::new(&KEY), crate::rng(52));
    let mark = moments.get(input.below(moments.len() + 1)).map(|moment| moment.mark);
    let base = &moments[input.below(moments.len())];
    let mut rows: Vec<(Vec<u8>, Vec<u8>)> = base.rows.iter().map(|(key, row)| (key.to_vec(), row.clone())).collect();
    for _ in 0..8 {
        if input.is_empty() || rows.is_empty() {
            break;
        }
        let (what, at) = (input.u8() % 12, input.below(rows.len()));
        let (key, row) = rows[at].clone();
        match what {
            0 => drop(rows.remove(at)),
            1 => rows.push((key, row)),
            2 => input.damage(&mut rows[at].1),
            3 => rows[at].1.truncate(usize::from(input.u16())),
            4 => {
                let len = input.below(32);
                rows[at].1.extend_from_slice(input.slice(len));
            }
            5 => input.damage(&mut rows[at].0),
            6 => rows[at].0.truncate(input.below(RecordKey::LEN + 1)),
            7 => {
                let with = input.below(rows.len());
                let other = rows[with].1.clone();
                rows[at].1 = other;
            }
            // As it was at another moment, and all of them.
            8 => {
                let other = &moments[input.below(moments.len())].rows;
                if let Some(row) = key.as_slice().try_into().ok().and_then(|key: [u8; RecordKey::LEN]| other.get(&key))
                {
                    rows[at].1.clone_from(row);
                }
            }
            9 => {
                let other = &moments[input.below(moments.len())].rows;
                rows[at..].iter_mut().for_each(|(key, row)| {
                    let key: Option<[u8; RecordKey::LEN]> = key.as_slice().try_into().ok();
                    if let Some(other) = key.and_then(|key| other.get(&key)) {
                        row.clone_from(other);
                    }
                });
            }
            // By who has the key: other bytes, and another generation.
            10 => {
                let Ok(unsealed) = vault.open(&key, 0, &row) else { continue };
                let generation = input.near(unsealed.generation);
                let mut image = unsealed.image.expose().to_vec();
                input.damage(&mut image);
                rows[at].1 = vault.seal(&key, generation, &image, &mut rng);
            }
            _ => {
                let (key, len) = (input.array::<{ RecordKey::LEN }>(), input.below(80));
                rows.push((key.to_vec(), vault.seal(&key, input.near(1), input.slice(len), &mut rng)));
            }
        }
    }
    // Every error is one of its own type; there is nothing that it could have changed.
    let read = rows.iter().map(|(key, row)| (key, row));
    let salvaged = SealedStore::salvage(&KEY, read.clone());
    assert!(salvaged.records.len() <= rows.len());
    let opened = match mark {
        Some(mark) => SealedStore::open(&KEY, read, &mark).map(|(store, records)| {
            let ahead = store.mark().generation().checked_sub(mark.generation()).expect("older than the mark");
            assert!(ahead <= 1, "beyond what follows the mark");
            records
        }),
        None => SealedStore::open_backup(&KEY, read),
    };
    if let Ok(records) = opened {
        let found: BTreeMap<RecordKey, Vec<u8>> =
            records.iter().map(|(key, image)| (*key, image.expose().to_vec())).collect();
        assert_eq!(found.len(), records.len());
        let rows: BTreeMap<Vec<u8>, Vec<u8>> = rows.into_iter().filter(|(key, _)| key[..] != MANIFEST).collect();
        let whole = |moment: &&Moment| {
            *moment.records.records() == found
                && moment
                    .rows
                    .iter()
                    .filter(|(key, _)| **key != MANIFEST)
                    .all(|(key, row)| rows.get(&key[..]) == Some(row))
        };
        let moment = moments.iter().find(whole).expect("rows that never were together");
        let device = Device::restore(records.iter().map(|(key, image)| (*key, image.expose())), Policy::default())
            .expect("a device");
        assert_eq!(Disk::of(&device), moment.records);
    }
}
