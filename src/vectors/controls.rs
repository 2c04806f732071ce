//! What sessions tell each other: controls, receipts, fragments as they travel; and what devices publish.

use super::core::{NOW, identity};
use super::{File, Script, Value, class, file, flipped, object, refused};
use crate::group::GroupId;
use crate::prekey::{PreKeyLifetimes, PreKeyStore, Rotation};
use crate::session::{Control, Rank};
use crate::wire::bundle::{DirectoryEntry, PreKeyUpload};
use crate::wire::control::{decode_receipt, encode_receipt};
use crate::wire::sealed::Tag;
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

pub(super) fn files() -> Vec<File> {
    vec![controls(), uploads()]
}

fn controls() -> File {
    let mut rng = Script::new("controls");
    let [group, th, th2, one, other]: [[u8; 32]; 5] = [(); 5].map(|()| rng.draw(32).try_into().unwrap());
    let certificate: [u8; 257] = rng.draw(257).try_into().unwrap();
    let id = GroupId::from_bytes(group);
    let shown = |control: &Control, fields: Value| {
        let (name, content) = (class(control), control.encode());
        assert_eq!(Control::decode(&content).as_ref(), Ok(control));
        object! { "name": name.as_str(), "kind": content[0], "content": &content, "fields": fields }
    };
    let rank = Rank { created_at: NOW.0, transcript: th2 };
    let mut cases = vec![
        shown(&Control::Outranked(rank), object! { "created_at": NOW.0, "th2": &th2 }),
        shown(
            &Control::CommitsWanted(id, 7, vec![one, other]),
            object! { "group": &group, "epoch": 7_u32, "hashes": vec![Value::from(&one), Value::from(&other)] },
        ),
        shown(&Control::ChainReceived(id), object! { "group": &group }),
        shown(&Control::CommitsGone(id, 7, th), object! { "group": &group, "epoch": 7_u32, "th": &th }),
        shown(&Control::Certificate(Box::new(certificate)), object! { "certificate": &certificate }),
        shown(&Control::ChainWanted(id), object! { "group": &group }),
        shown(&Control::Ended, object! { "none": "none" }),
        shown(&Control::Heard, object! { "none": "none" }),
    ];
    let tags: Vec<Tag> = (0..3).map(|_| Tag(rng.draw(16).try_into().unwrap())).collect();
    let shown: Vec<Value> = tags.iter().map(|tag| Value::from(&tag.0)).collect();
    cases.push(
        object! { "name": "Receipt", "content": &encode_receipt(&tags).unwrap(), "fields": object! { "tags": shown } },
    );
    let wanted = |count: u8| {
        let hashes = vec![9; 32 * usize::from(count)];
        [&[2][..], &group, &[0; 8], &[count], &hashes].concat()
    };
    let mut negative: Vec<Value> = [
        ("empty", vec![]),
        ("kind 0", vec![0]),
        ("kind 9", vec![9]),
        ("outranked: a rank of 2^62", [&[1, 0x40][..], &[0; 7], &th2].concat()),
        ("outranked: truncated", [&[1][..], &[0; 39]].concat()),
        ("outranked: trailing byte", [&[1][..], &[0; 41]].concat()),
        ("commits wanted: no hash", wanted(0)),
        ("commits wanted: ten hashes", wanted(10)),
        ("commits wanted: a hash less than the count", wanted(2)[..74].to_vec()),
        ("commits wanted: a hash more than the count", [&wanted(2)[..], &[9; 32]].concat()),
        ("chain received: truncated", [&[3][..], &[0; 31]].concat()),
        ("chain received: trailing byte", [&[3][..], &[0; 33]].concat()),
        ("commits gone: truncated", [&[4][..], &[0; 71]].concat()),
        ("commits gone: trailing byte", [&[4][..], &[0; 73]].concat()),
        ("certificate: truncated", [&[5][..], &[0; 256]].concat()),
        ("certificate: trailing byte", [&[5][..], &[0; 258]].concat()),
        ("chain wanted: truncated", [&[6][..], &[0; 31]].concat()),
        ("ended: trailing byte", vec![7, 0]),
        ("heard: trailing byte", vec![8, 0]),
    ]
    .into_iter()
    .map(|(idea, content)| {
        assert!(Control::decode(&content).is_err(), "{idea}");
        refused(idea, object! { "payload_kind": 5_u32, "content": &content }, "Violation")
    })
    .collect();
    for (idea, content) in
        [("receipt: no tag", vec![]), ("receipt: part of a tag", vec![9; 17]), ("receipt: 257 tags", vec![9; 257 * 16])]
    {
        assert!(decode_receipt(&content).is_err(), "{idea}");
        negative.push(refused(idea, object! { "payload_kind": 2_u32, "content": &content }, "Violation"));
    }
    file("controls", "7", cases, negative)
}

/// What a directory takes, and what it does not.
fn uploads() -> File {
    let mut rng = Script::new("uploads");
    let (device, shown) = identity(&mut rng);
    let (other, _) = identity(&mut rng);
    let lifetimes = PreKeyLifetimes::default();
    let publish = |store: &mut PreKeyStore, device, count, now, rng: &mut Script| {
        store.publish(device, count, Rotation::IfDue, &lifetimes, now, rng).unwrap()
    };
    let mut store = PreKeyStore::new();
    let (mut uploads, mut made) = (Vec::new(), Vec::new());
    rng.draws();
    for (count, now) in [(1, NOW), (0, NOW), (1, NOW.plus(3_600))] {
        let upload = publish(&mut store, &device, count, now, &mut rng);
        made.push(object! {
            "now": now.0, "count": count, "draws": rng.draws(), "number": upload.number(), "upload": &upload.encode(),
        });
        uploads.push(upload);
    }
    let mut directory: Option<DirectoryEntry> = None;
    let mut arrivals = Vec::new();
    for number in [1_usize, 0, 1, 2, 1, 2] {
        let upload = uploads[number].clone();
        let taken = if let Some(entry) = &mut directory {
            entry.update(upload).unwrap()
        } else {
            directory = Some(upload.into_entry().unwrap());
            true
        };
        let entry = directory.as_mut().unwrap();
        arrivals.push(object! { "upload": number, "taken": taken, "bundle": &entry.take_bundle().encode() });
    }
    let cases = vec![object! {
        "name": "uploads and a directory", "identity": shown, "uploads": made, "arrivals": arrivals,
    }];
    let good = uploads[0].encode();
    let of_other = publish(&mut PreKeyStore::new(), &other, 0, NOW.plus(9_999), &mut rng).encode();
    let end = 65 + 8 + 1_676;
    let without = [&good[..end], &[0; 4], &good[good.len() - 64..]].concat();
    let many = [&good[..end], &1_001_u32.to_be_bytes(), &good[end + 4..]].concat();
    let negative = [
        ("signature changed", flipped(&good, good.len() - 1)),
        ("number changed", flipped(&good, 72)),
        ("a one-time prekey left out", without),
        ("another identity in front", [&good[..1], &other.public().encode(), &good[65..]].concat()),
        ("another device's", of_other),
        ("1,001 one-time prekeys", many),
        ("signed prekey id 0", [&good[..73], &[0; 4], &good[77..]].concat()),
        ("truncated", good[..good.len() - 1].to_vec()),
        ("trailing byte", [&good[..], &[0]].concat()),
        ("other version", flipped(&good, 0)),
    ];
    let negative = negative.iter().map(|(idea, bytes)| {
        // The directory holds the first one; what is not later would be passed over without a word.
        let mut held = uploads[0].clone().into_entry().unwrap();
        let result = match PreKeyUpload::decode(bytes) {
            Err(error) => alloc::format!("Malformed {}", class(&error)),
            Ok(upload) => held.update(upload).map_or_else(|error| class(&error), |_| "accepted".into()),
        };
        refused(idea, object! { "upload": bytes }, &result)
    });
    file("uploads", "3", cases, negative.collect())
}
