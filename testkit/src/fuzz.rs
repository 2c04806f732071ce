//! Bodies of the fuzz targets: any bytes in; what must hold is asserted.

use crate::crowd::Flying;
use crate::model::{Model, Step};
use crate::talk::NOW;
use crate::{Crowd, Disk, Talk};
use sceau::certificate::{Certificate, IssuerCertificate, RootKeyPair};
use sceau::device::GroupChange;
use sceau::group::{Group, GroupPolicy, Role};
use sceau::prekey::{PreKeyLifetimes, PreKeyStore, Rotation, VerifiedPreKeyBundle};
use sceau::session::Session;
use sceau::vault::Vault;
use sceau::verification::{QrCode, SasResponder};
use sceau::{
    Attachment, Device, Envelope, Fingerprint, IdentityKey, IdentityKeyPair, Padding, PreKeyBundle, PreKeyUpload,
    RecordKey,
};
use std::sync::OnceLock;

/// A target: its name, which is that of its binary and its corpus, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[
    ("bundles", bundles),
    ("certificates", certificates),
    ("rosters", rosters),
    ("verification", verification),
    ("envelopes", envelopes),
    ("images", images),
    ("contents", contents),
    ("fragments", fragments),
    ("model", model),
    ("groups", groups),
];

/// Identities, bundles and uploads: what decodes encodes to the same bytes.
pub fn bundles(data: &[u8]) {
    if let Ok(bundle) = PreKeyBundle::decode(data) {
        assert_eq!(bundle.encode(), data);
    }
    if let Ok(upload) = PreKeyUpload::decode(data) {
        assert_eq!(upload.encode(), data);
    }
    if let Ok(identity) = IdentityKey::decode(data) {
        assert_eq!(identity.encode(), data);
    }
}

/// Certificates.
pub fn certificates(data: &[u8]) {
    if let Ok(certificate) = Certificate::decode(data) {
        assert_eq!(certificate.encode(), data);
    }
    if let Ok(certificate) = IssuerCertificate::decode(data) {
        assert_eq!(certificate.encode(), data);
    }
}

/// Commits and welcomes: nobody has signed these bytes for this identity, and nothing changes.
pub fn rosters(data: &[u8]) {
    static GROUP: OnceLock<(IdentityKeyPair, Group)> = OnceLock::new();
    let (own, group) = GROUP.get_or_init(|| {
        let own = IdentityKeyPair::generate(&mut crate::rng(5));
        let group = Group::create(&own, GroupPolicy::default(), &mut crate::rng(6)).expect("a good policy");
        (own, group)
    });
    assert!(Group::join(own.public(), data, own.fingerprint(), NOW).is_err());
    let mut changed = group.clone();
    if !matches!(changed.receive(data, &[data], NOW), Ok(sceau::group::Received::Applied)) {
        assert_eq!(&changed, group);
    }
}

/// Codes, comparisons, sealed images.
pub fn verification(data: &[u8]) {
    let (own, peer) = (Fingerprint::from_bytes([1; 32]), Fingerprint::from_bytes([2; 32]));
    assert!(QrCode::check(data, own, peer).is_err() || data == QrCode::encode(peer, own));
    if let Ok((run, _)) = SasResponder::answer(own, peer, data, &mut crate::rng(7)) {
        assert!(run.finish(data).is_err());
    }
    assert!(Vault::new(&[5; 32]).open(b"name", 0, data).is_err());
}

/// A device that is given the bytes as an envelope neither panics nor changes.
pub fn envelopes(data: &[u8]) {
    static DEVICE: OnceLock<Disk> = OnceLock::new();
    if Envelope::parse(data).is_ok() {
        let disk = DEVICE.get_or_init(|| Disk::of(&Talk::confirmed(1).bob));
        let mut device = disk.restore();
        assert!(device.open(data, NOW).is_err());
        assert_eq!(&Disk::of(&device), disk);
    }
}

/// The bytes as the content of a message of any kind, sealed by a peer in a session: what is refused changes nothing, and
/// the conversation goes on.
pub fn contents(data: &[u8]) {
    static DISKS: OnceLock<[Disk; 2]> = OnceLock::new();
    let Some((kind, content)) = data.split_first() else { return };
    let [alice, bob] = DISKS.get_or_init(|| {
        let talk = Talk::confirmed(2);
        [&talk.alice, &talk.bob].map(Disk::of)
    });
    let (mut alice, mut bob, mut rng) = (alice.restore(), bob.restore(), crate::rng(8));
    let (to_bob, to_alice) = (bob.fingerprint(), alice.fingerprint());
    let Ok(pending) = alice.seal_raw(to_bob, kind % 8, content, NOW, &mut rng) else { return };
    let envelope = crate::talk::done(pending);
    let before = Disk::of(&bob);
    match bob.open(&envelope, NOW) {
        Ok(pending) => drop(crate::talk::done(pending)),
        Err(_) => assert_eq!(Disk::of(&bob), before),
    }
    let next = crate::talk::done(alice.seal(to_bob, b"and on", NOW, &mut rng).expect("a session"));
    assert_eq!(crate::talk::content(crate::talk::done(bob.open(&next, NOW).expect("the next one"))), b"and on");
    let restored = Disk::of(&bob).restore();
    assert_eq!(Disk::of(&restored), Disk::of(&bob));
    let _ = to_alice;
}

/// The bytes as the fragments of key material in a message: the content comes through, whatever they are, and the session
/// goes on.
pub fn fragments(data: &[u8]) {
    static SIDES: OnceLock<([Vec<u8>; 2], [Fingerprint; 2])> = OnceLock::new();
    let (images, names) = SIDES.get_or_init(|| {
        let mut rng = crate::rng(9);
        let (a, b) = (IdentityKeyPair::generate(&mut rng), IdentityKeyPair::generate(&mut rng));
        let (mut prekeys, lifetimes) = (PreKeyStore::new(), PreKeyLifetimes::default());
        let upload = prekeys.publish(&b, 1, Rotation::IfDue, &lifetimes, NOW, &mut rng);
        let bundle = VerifiedPreKeyBundle::verify(upload.expect("room").take_bundle(), NOW).expect("good");
        let mut alice = Session::initiate(&a, None, &bundle, 1, &mut rng).expect("good keys");
        let first = alice.seal(b"first", Padding::default(), &mut rng).expect("room");
        let accepted = Session::accept(&b, &prekeys, &Envelope::parse(&first).expect("one"), &lifetimes, NOW);
        let (mut bob, _) = accepted.expect("an introduction").settle(&mut prekeys).expect("new");
        let reply = bob.seal(b"reply", Padding::default(), &mut rng).expect("room");
        alice.open(&Envelope::parse(&reply).expect("one")).expect("a reply");
        ([&alice, &bob].map(|side| side.to_state().expose().to_vec()), [a.fingerprint(), b.fingerprint()])
    });
    let mut alice = Session::from_state(&images[0], names[0]).expect("an image");
    let mut bob = Session::from_state(&images[1], names[1]).expect("an image");
    let mut rng = crate::rng(10);
    for part in data.chunks(400) {
        let Ok(envelope) = alice.seal_raw(1, b"content", part, &mut rng) else { return };
        let opened = bob.open(&Envelope::parse(&envelope).expect("one"));
        // Only what looks like padding of other bytes is refused.
        if let Ok(opened) = &opened {
            assert_eq!(opened.content, sceau::session::Content::Message(b"content".to_vec()));
        }
        let image = bob.to_state();
        let restored = Session::from_state(image.expose(), names[1]).expect("what it wrote");
        assert_eq!(restored.to_state().expose(), image.expose());
    }
    let reply = bob.seal(b"reply", Padding::default(), &mut rng).expect("room");
    alice.open(&Envelope::parse(&reply).expect("one")).expect("the session goes on");
}

/// Every image: what restores is stored as the same bytes.
pub fn images(data: &[u8]) {
    if let Ok(identity) = IdentityKeyPair::from_state(data) {
        assert_eq!(identity.to_state().expose(), data);
    }
    if let Ok(attachment) = Attachment::from_state(data) {
        assert_eq!(attachment.to_state().expose(), data);
        assert!(sceau::attachment::open(&attachment, data).is_err());
    }
    if let Ok(root) = RootKeyPair::from_state(data) {
        assert_eq!(root.to_state().expose(), data);
    }
    if let Ok(prekeys) = PreKeyStore::from_state(data) {
        assert_eq!(prekeys.to_state().expose(), data);
    }
    if let Ok(group) = Group::from_state(data) {
        assert_eq!(group.to_state().expose(), data);
    }
    // Whose session it would be stands in front.
    if let Some((own, data)) = data.split_first_chunk()
        && let Ok(session) = Session::from_state(data, Fingerprint::from_bytes(*own))
    {
        assert_eq!(session.to_state().expose(), data);
    }
    // A device's records: key(17) || length(2) || bytes, again and again.
    let mut records = Vec::new();
    let mut rest = data;
    while let Some((key, after)) = rest.split_first_chunk::<{ RecordKey::LEN }>() {
        let Some((len, after)) = after.split_first_chunk() else { break };
        let (bytes, after) = after.split_at(usize::from(u16::from_be_bytes(*len)).min(after.len()));
        records.push((RecordKey::from_bytes(*key), bytes.to_vec()));
        rest = after;
    }
    let given = records.clone();
    if let Ok(device) = Device::restore(records) {
        let disk = Disk::of(&device);
        assert_eq!(disk.records().clone(), given.into_iter().collect());
    }
}

/// The event model, with steps read from the bytes.
pub fn model(data: &[u8]) {
    let mut model = Model::new(u64::from(data.first().copied().unwrap_or(0)));
    for step in data.get(1..).unwrap_or(&[]).chunks_exact(3).take(300) {
        let (kind, a, b) = (step[0], step[1], step[2]);
        model.step(match kind % 16 {
            0..=3 => Step::Send { side: a, len: u16::from(b) * 3 },
            4..=6 => Step::Deliver { pick: a },
            7 => Step::Duplicate { pick: a },
            8 => Step::Drop { pick: a },
            9 => Step::Corrupt { pick: a, bit: u32::from(b) * 81 },
            10 => Step::Restart { side: a },
            11 => Step::PayOwed { side: a },
            12 => Step::Renew { side: a },
            13 => [Step::Backup { side: a }, Step::FallBack { side: a }][usize::from(b) % 2],
            14 => [Step::LoseState { side: a }, Step::Maintain { side: a }][usize::from(b) % 2],
            _ => Step::Clock { side: a, seconds: (i32::from(b) - 128) * 5_000 },
        });
    }
}

/// A group of four and two more, with steps read from the bytes; then quiet.
pub fn groups(data: &[u8]) {
    let mut crowd = Crowd::new(5, u64::from(data.first().copied().unwrap_or(0) % 4));
    crowd.create(GroupPolicy { max_messages: 3, max_age: 50_000 });
    let adds =
        [1, 2].map(|party| GroupChange::Add(crowd.name(party), if party == 1 { Role::Admin } else { Role::Member }));
    crowd.commit(0, &adds).expect("an admin adds");
    crowd.flush();
    for step in data.get(1..).unwrap_or(&[]).chunks_exact(3).take(60) {
        let (kind, party, pick) = (step[0] % 12, usize::from(step[1] % 5), usize::from(step[2]));
        let name = crowd.name(pick % 5);
        match kind {
            0..=2 => drop(crowd.say(party, b"text")),
            3..=6 if !crowd.queue.is_empty() => {
                let flying = crowd.queue.remove(pick % crowd.queue.len());
                if kind == 6 {
                    continue;
                }
                crowd.deliver(&flying);
                if kind == 5 {
                    crowd.deliver(&Flying { intact: true, ..flying });
                }
            }
            7 => drop(crowd.commit(party, &[GroupChange::Add(name, Role::Member)])),
            8 => drop(crowd.commit(party, &[GroupChange::Remove(name)])),
            9 => drop(crowd.commit(party, &[GroupChange::SetRole(name, Role::Admin)])),
            10 => drop(crowd.leave(party)),
            _ => crowd.restart(party),
        }
    }
    crowd.flush();
    assert_eq!((crowd.ghosts(), crowd.mismatched, crowd.read_before_joining), (0, 0, 0));
}
