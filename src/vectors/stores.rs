//! Sealed stores: their manifests and marks.

use super::core::NOW;
use super::{File, Script, Value, class, file, object, refused};
use crate::device::{Device, RecordKey};
use crate::error::Stale;
use crate::store::{Mark, SealedChanges, SealedStore};
use crate::vault::Vault;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

type Disk = BTreeMap<[u8; RecordKey::LEN], Vec<u8>>;

pub(super) fn files() -> Vec<File> {
    let mut rng = Script::new("stores");
    let key: [u8; 32] = rng.draw(32).try_into().unwrap();
    let mut moments: Vec<(Disk, Mark)> = Vec::new();
    let mut device = Device::generate(&mut rng);
    let mut disk = Disk::new();
    let mut store = SealedStore::create(&key, &device, &mut rng, |sealed| write(&mut disk, sealed)).unwrap();
    moments.push((disk.clone(), store.mark()));
    for count in [0, 1] {
        let mut drawn = Script::new("stores, prekeys");
        let pending = device.publish_prekeys(count, NOW, &mut drawn).unwrap();
        store.commit(pending, &mut rng, |sealed, _| write(&mut disk, sealed)).unwrap();
        moments.push((disk.clone(), store.mark()));
    }
    // Another one of the same device begins another line.
    let mut other = Disk::new();
    let line = SealedStore::create(&key, &device, &mut rng, |sealed| write(&mut other, sealed)).unwrap();
    moments.push((other, line.mark()));

    let shown = |name: &str, (disk, mark): &(Disk, Mark)| {
        let opened = Vault::new(&key).open(SealedStore::HEAD, 0, &disk[SealedStore::HEAD]).unwrap();
        let rows = disk.iter().map(|(key, row)| object! { "key": key, "row": row });
        object! {
            "name": name, "key": &key, "generation": mark.generation(), "manifest": opened.image.expose(),
            "mark": &mark.to_bytes(), "rows": rows.collect::<Vec<Value>>(),
        }
    };
    let names = ["a new store", "after one transaction", "after another", "another store of the same device"];
    let cases = names.iter().zip(&moments).map(|(name, moment)| shown(name, moment)).collect();

    let opens = |disk: &Disk, mark: &Mark| {
        SealedStore::open(&key, disk, mark).map_or_else(|error| class(&error), |_| "opened".into())
    };
    assert_eq!(opens(&moments[1].0, &moments[1].1), "opened");
    assert_eq!(opens(&moments[1].0, &moments[0].1), "opened");
    let mut negative: Vec<Value> = [
        ("an older one", 1_usize, 2_usize),
        ("another of the same generation", 3, 0),
        ("two transactions after the mark", 2, 0),
        ("the next generation of another line", 1, 3),
    ]
    .iter()
    .map(|(idea, case, mark)| {
        let mark = &moments[*mark].1;
        let input = object! { "case": *case, "mark": &mark.to_bytes() };
        refused(idea, input, &opens(&moments[*case].0, mark))
    })
    .collect();
    let (whole, mark) = &moments[2];
    let (name, newest) =
        whole.iter().find(|(name, row)| name[0] != 0 && moments[1].0.get(*name) != Some(*row)).unwrap();
    let (first, _) = whole.iter().find(|(name, _)| name[0] == 1).unwrap();
    let mut damaged = newest.clone();
    damaged[40] ^= 1;
    let old = moments[1].0.get(SealedStore::HEAD).unwrap();
    for (idea, name, row) in [
        ("a row is missing", name, None),
        ("the manifest is missing", SealedStore::HEAD, None),
        ("the manifest is an older one", SealedStore::HEAD, Some(old)),
        ("a row is damaged", name, Some(&damaged)),
        ("a row under another key", first, Some(newest)),
    ] {
        let mut disk = whole.clone();
        match row {
            Some(row) => disk.insert(*name, row.clone()),
            None => disk.remove(name),
        };
        let input = object! {
            "case": 2_u32, "mark": &mark.to_bytes(), "key": name, "row": row.map_or(Value::from("none"), Value::from),
        };
        negative.push(refused(idea, input, &opens(&disk, mark)));
    }
    Vec::from([file("stores", "10.5", cases, negative)])
}

fn write(disk: &mut Disk, sealed: &SealedChanges) -> Result<(), Stale> {
    let head = disk.get(SealedStore::HEAD).cloned();
    for (key, row) in sealed.after(head.as_deref())? {
        match row {
            Some(bytes) => drop(disk.insert(*key, bytes.to_vec())),
            None => drop(disk.remove(key)),
        }
    }
    Ok(())
}
