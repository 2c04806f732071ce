//! All that the library does with secrets.

use crate::heap::{on_clean_stack, operation, register, scrub};
use crate::rng::LoggedRng;
use crate::secrets;
use crate::world::{NOW, Read, World, keep, puts, text};
use core::convert::Infallible;
use core::hint::black_box;
use hmac::{Hmac, KeyInit, Mac};
use rand_core::Rng;
use sceau::attachment::{AttachmentOpener, AttachmentSealer, CHUNK_LEN};
use sceau::certificate::{Address, IssuerKeyPair, RootKeyPair};
use sceau::device::GroupChange;
use sceau::error::{OpenError, Stale, VaultError};
use sceau::group::{GroupPolicy, Role};
use sceau::prekey::{PreKeyLifetimes, PreKeyStore, Rotation, VerifiedPreKeyBundle};
use sceau::session::{Content, Session};
use sceau::store::{SealedChanges, SealedStore};
use sceau::vault::Vault;
use sceau::verification::{SasInitiator, SasResponder};
use sceau::{Attachment, Device, Envelope, Fingerprint, IdentityKeyPair, Image, Padding, Search, attachment};
use serde::Deserialize;
use serde::de::value::{BytesDeserializer, Error, SeqDeserializer};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Runs all of it. The result is how many root steps were computed here too.
pub fn all() -> usize {
    identity();
    certificate();
    verification();
    attachments();
    vault();
    serde();
    sealed_store();
    session();
    prekeys() + turns() + skipped_and_forged() + manage() + fan_out() + group() + early() + longs()
}

/// One operation, on a stack that is looked at afterwards.
fn clean<T>(name: &'static str, work: impl FnOnce() -> T) -> T {
    operation(name);
    on_clean_stack(work)
}

fn identity() {
    let mut rng = LoggedRng::new(1);
    let pair = clean("generate an identity", || IdentityKeyPair::generate(&mut rng));
    clean("write and read an identity", || {
        drop(IdentityKeyPair::from_state(pair.to_state().expose()).expect("an image"));
    });
    clean("drop an identity", || drop(pair));
    clean("drop a new device", || drop(Device::generate(&mut rng)));
}

fn prekeys() -> usize {
    let mut world = World::new(2, 2);
    world.act("rotate prekeys", 1, |device, rng| device.rotate_prekeys(3, Rotation::Always, NOW, rng)).expect("room");
    world.introduce(0, 1);
    // Uses one up; answered, so that they are no strangers later.
    world.tell(0, 1);
    world.tell(1, 0);
    let later = NOW.plus(200 * 86_400);
    let expired = world.act::<_, Infallible>("maintain", 1, |device, _| Ok(device.maintain(later)));
    expired.expect("nothing can fail");
    let revoke = world.act("revoke prekeys", 1, |device, rng| device.rotate_prekeys(3, Rotation::Revoke, NOW, rng));
    world.directories[1] = revoke.expect("room").into_entry().expect("signed");
    let (peer, bundle) = (world.names[1], world.directories[1].take_bundle());
    world.act("renew", 0, |device, rng| device.renew(peer, &bundle, NOW, rng)).expect("good");
    world.tell(0, 1);
    end(world)
}

/// Drops all devices. The result is how many root steps were computed here too.
fn end(mut world: World) -> usize {
    while let Some(device) = world.devices.pop() {
        clean("drop a device", || drop(device));
    }
    world.root_steps()
}

/// Back and forth, some lost on the way, until secrets of the KEM ratchet are mixed in on both sides, several times.
fn turns() -> usize {
    let mut world = World::new(2, 3);
    world.introduce(0, 1);
    let envelopes = [(), ()].map(|()| world.seal(0, 1, text(100)));
    for envelope in &envelopes {
        world.open(1, envelope).expect("an introduction");
    }
    assert!(matches!(world.open(1, &envelopes[0]), Err(OpenError::Duplicate)));
    let mut mixed = 0;
    for turn in 1..120 {
        let (from, to) = (turn % 2, (turn + 1) % 2);
        world.tell_many(from, to, 1 + turn % 3);
        if turn % 4 == 0 {
            world.seal(from, to, text(100));
        }
        let session = world.devices[to].peer(world.names[from]).and_then(|peer| peer.session).expect("a session");
        if session.kem_epochs.0 > 1 && session.kem_epochs.1 > 1 {
            mixed += 1;
        }
        if mixed > 3 {
            return end(world);
        }
    }
    panic!("no secret was mixed in");
}

fn skipped_and_forged() -> usize {
    let mut world = World::acquainted(2, 4);
    let texts: Vec<_> = (0..25).map(|_| text(100)).collect();
    let late: Vec<_> = texts[..5].iter().map(|text| world.seal(0, 1, text)).collect();
    let far: Vec<_> = texts[5..].iter().map(|text| world.seal(1, 0, text)).collect();
    world.open(1, &late[4]).expect("good");
    let mut policy = world.devices[0].policy().clone();
    policy.search = 0;
    world.devices[0].set_policy(policy);
    assert!(matches!(world.open(0, &far[19]), Err(OpenError::Unknown)));
    let peers = [world.names[1]];
    world.search(0, &far[19], Search::Peers(&peers)).expect("it is there");
    world.tell(0, 1);
    world.tell(1, 0);
    for place in [18, 73, 74, 89, 90, 639] {
        let mut damaged = late[0].clone();
        damaged[place] ^= 1;
        assert!(world.open(1, &damaged).is_err());
        let mut damaged = far[3].clone();
        damaged[place] ^= 1;
        assert!(world.open(0, &damaged).is_err());
    }
    for (envelope, text) in late.iter().zip(&texts).take(4).rev() {
        assert_eq!(&world.open(1, envelope).expect("its key was kept").content, text);
    }
    for (envelope, text) in far.iter().zip(&texts[5..]).take(19) {
        assert_eq!(&world.open(0, envelope).expect("its key was kept").content, text);
    }
    // An introduction that is damaged, and one of which nothing is right but its form.
    // Keys that nobody asks for any more.
    let lost: Vec<_> = (0..3).map(|_| world.seal(0, 1, text(100))).collect();
    world.preview(1, &lost[2]).expect("good");
    let later = NOW.plus(world.devices[1].policy().skipped + 1);
    let forgotten = world.act::<_, Infallible>("forget skipped keys", 1, |device, _| Ok(device.maintain(later)));
    assert!(forgotten.expect("nothing can fail") >= 2);
    assert!(world.open(1, &lost[0]).is_err());
    let mut other = World::new(2, 5);
    other.introduce(0, 1);
    let introduction = other.seal(0, 1, text(100));
    for place in [30, 60, 1_700, 3_300, 3_500, 3_570, 3_700, introduction.len() - 1] {
        let mut damaged = introduction.clone();
        damaged[place] ^= 1;
        assert!(other.open(1, &damaged).is_err());
    }
    other.preview(1, &introduction).expect("good");
    end(world) + end(other)
}

fn manage() -> usize {
    let mut world = World::acquainted(3, 6);
    let peer = world.names[1];
    let tag = Envelope::parse(&world.seal(1, 0, text(50))).expect("an envelope").tag();
    let receipt = world.act("seal a receipt", 0, |device, rng| device.seal_receipt(peer, &[tag], NOW, rng));
    world.open(1, &receipt.expect("confirmed").envelope).expect("good");
    world.act("verify a peer", 0, |device, _| device.set_verified(peer, true)).expect("a peer");
    let bundle = world.directories[1].take_bundle();
    world.act("renew", 0, |device, rng| device.renew(peer, &bundle, NOW, rng)).expect("good");
    world.tell(0, 1);
    world.tell(1, 0);
    let later = NOW.plus(15 * 86_400);
    world.act::<_, Infallible>("let sessions fade", 0, |device, _| Ok(device.maintain(later))).expect("none");
    let farewell = world.act("drop sessions", 0, |device, rng| device.drop_sessions(peer, rng)).expect("a peer");
    world.open(1, &farewell.expect("the peer holds a session").envelope).expect("good");
    let bundle = world.directories[1].take_bundle();
    world.act("renew", 0, |device, rng| device.renew(peer, &bundle, NOW, rng)).expect("good");
    world.tell(0, 1);
    world.act("block a peer", 0, |device, _| device.block(peer)).expect("a peer");
    world.act("unblock a peer", 0, |device, _| device.unblock(peer)).expect("a peer");
    let other = world.names[2];
    let farewell = world.act("delete a peer", 0, |device, rng| device.delete_peer(other, rng)).expect("a peer");
    world.open(2, &farewell.expect("the peer holds a session").envelope).expect("good");
    end(world)
}

fn fan_out() -> usize {
    let mut world = World::acquainted(4, 7);
    let peers: Vec<Fingerprint> = world.names[1..].to_vec();
    for len in [100, 5_000] {
        let text = text(len);
        let sealed = world.act("seal for many", 0, |device, rng| device.seal_many(&peers, text, NOW, rng));
        let sealed = sealed.expect("short");
        assert_eq!(sealed.deliveries.len(), 3);
        for delivery in &sealed.deliveries {
            let to = world.names.iter().position(|name| *name == delivery.to).expect("a device");
            let read = world.open(to, &delivery.envelope).expect("good");
            let content = match (read.attachment, &sealed.attached) {
                (Some(key), Some(attached)) => keep(attachment::open(&key, attached).expect("good")),
                _ => read.content,
            };
            assert_eq!(content, text);
        }
    }
    // Turns, each with a new chain for all of them.
    for to in 1..4 {
        world.tell(to, 0);
    }
    let text = text(100);
    world.act("seal for many", 0, |device, rng| device.seal_many(&peers, text, NOW, rng)).expect("short");
    end(world)
}

fn group() -> usize {
    let mut world = World::acquainted(3, 8);
    let group = world.create_group(GroupPolicy { max_messages: 3, max_age: 86_400 });
    world.add_all(group);
    for round in 0..2 {
        for from in 0..3 {
            let chain = world.prepare_group(group, from);
            world.deliver(group, chain);
            let texts = [(), ()].map(|()| text(100));
            let envelopes = texts.map(|text| world.seal_group(group, from, text));
            for to in (0..3).filter(|to| *to != from) {
                // In the wrong order: a key is skipped.
                assert_eq!(world.open(to, &envelopes[1]).expect("good").content, texts[1]);
                let mut damaged = envelopes[0].clone();
                damaged[30] ^= 1;
                assert!(world.open(to, &damaged).is_err());
                *damaged.last_mut().expect("an envelope") ^= 1;
                assert!(world.open(to, &damaged).is_err());
                assert_eq!(world.open(to, &envelopes[0]).expect("good").content, texts[0]);
            }
            if round == 1 {
                // The chain is used up: a new one.
                world.seal_group(group, from, text(100));
                world.seal_group(group, from, text(100));
            }
        }
    }
    let (key, ciphertext) = attachment::seal(text(1_000), world.rng()).expect("short");
    let note = text(60);
    let sealed = world
        .act("seal a group's attachment", 0, |device, rng| device.seal_group_attachment(group, &key, note, NOW, rng));
    let sealed = sealed.expect("a member");
    world.deliver(group, sealed.deliveries);
    let read = world.open(1, &sealed.envelope).expect("good");
    assert_eq!(read.content, note);
    keep(attachment::open(&read.attachment.expect("one"), &ciphertext).expect("good"));

    let removed = world.names[2];
    let deliveries = world.commit_group(group, 0, &[GroupChange::Remove(removed)]);
    world.deliver(group, deliveries);
    let chain = world.prepare_group(group, 0);
    world.deliver(group, chain);
    let last = world.seal_group(group, 0, text(100));
    world.open(1, &last).expect("good");
    assert!(world.open(2, &last).is_err());
    let left = world.act("leave a group", 1, |device, rng| device.leave_group(group, NOW, rng)).expect("a member");
    world.deliver(group, left.deliveries);
    for device in 0..3 {
        world.act("forget a group", device, |device, _| device.forget_group(group)).expect("it is known");
    }
    end(world)
}

/// Announcements that come before the commit that they belong to wait.
fn early() -> usize {
    let mut world = World::acquainted(3, 9);
    let group = world.create_group(GroupPolicy::default());
    let second = world.names[1];
    let deliveries = world.commit_group(group, 0, &[GroupChange::Add(second, Role::Admin)]);
    world.deliver(group, deliveries);
    let third = world.names[2];
    let mut deliveries = world.commit_group(group, 0, &[GroupChange::Add(third, Role::Member)]);
    deliveries.extend(world.prepare_group(group, 0));
    deliveries.reverse();
    world.deliver(group, deliveries);
    let member = world.names[0];
    let asked = world.act("ask for commits", 1, |device, rng| device.ask_for_commits(group, member, NOW, rng));
    world.open(0, &asked.expect("a member").envelope).expect("good");
    let last = world.seal_group(group, 0, text(100));
    for to in 1..3 {
        world.open(to, &last).expect("good");
    }
    end(world)
}

/// Contents of any length; attachments to a peer.
fn longs() -> usize {
    let mut world = World::acquainted(2, 10);
    for len in [0, 1, 40, 600, 5_000, 60_000] {
        let text = text(len);
        let envelope = world.seal(0, 1, text);
        assert_eq!(world.open(1, &envelope).expect("good").content, text);
    }
    let (key, ciphertext) = attachment::seal(text(2_000), world.rng()).expect("short");
    let (peer, note) = (world.names[1], text(70));
    let sealed = world.act("seal an attachment", 0, |device, rng| device.seal_attachment(peer, &key, note, NOW, rng));
    let read = world.open(1, &sealed.expect("short").envelope).expect("good");
    assert_eq!(read.content, note);
    keep(attachment::open(&read.attachment.expect("one"), &ciphertext).expect("good"));
    end(world)
}

fn certificate() {
    let mut rng = LoggedRng::new(11);
    let root = clean("generate a root", || RootKeyPair::generate(&mut rng));
    let issuer = clean("generate an issuer", || IssuerKeyPair::generate(&mut rng));
    let mut device = clean("generate a device", || Device::generate(&mut rng));
    // Challenges go to whoever asks, in clear.
    rng.next_is_public();
    let certificate = clean("issue a certificate", || {
        let certified = root.certify(issuer.public(), NOW.plus(9_000));
        let address = Address::new(b"alice@example.org").expect("short");
        let challenge = issuer.challenge(address, NOW, &mut rng);
        let request =
            device.identity().request_certificate(&challenge, issuer.public(), &address).expect("as asked for");
        let verified = challenge.verify(&request, NOW).expect("signed");
        issuer.issue(&certified, verified, NOW.plus(900)).expect("its own")
    });
    clean("log in", || std::hint::black_box(device.identity().sign_login(b"relay.example.org", &[7; 32])));
    clean("take a certificate", || {
        let Ok(()) = device.set_certificate(Some(certificate)).expect("its own").commit(|_| Ok::<(), Infallible>(()));
    });
    clean("write and read an authority", || {
        drop(RootKeyPair::from_state(root.to_state().expose()).expect("an image"));
        drop(IssuerKeyPair::from_state(issuer.to_state().expose()).expect("an image"));
    });
    clean("drop an authority", || drop((root, issuer, device)));
}

fn verification() {
    let mut rng = LoggedRng::new(12);
    let [one, other] = [(); 2].map(|()| IdentityKeyPair::generate(&mut rng).fingerprint());
    let (initiator, commitment) = clean("begin a comparison", || SasInitiator::begin(one, other, &mut rng));
    // It goes to the other side in clear, at once.
    rng.next_is_public();
    let answered = clean("answer a comparison", || SasResponder::answer(other, one, &commitment, &mut rng));
    let (responder, second) = answered.expect("a commitment");
    let (ours, third) = clean("reveal in a comparison", || initiator.reveal(&second).expect("an answer"));
    // Public by now, but registered: it may stay.
    operation("end a comparison");
    let theirs = responder.finish(&third).expect("what was committed to");
    assert_eq!(ours.digits(), theirs.digits());
    third.leak();
    scrub();
    clean("give a comparison up", || drop(SasInitiator::begin(one, other, &mut rng)));
}

fn attachments() {
    let mut rng = LoggedRng::new(13);
    for len in [10, 70_000, 200_000] {
        let text = text(len);
        // Once more with what is drawn, so that the key is known before.
        let (key, _) = attachment::seal(text, &mut rng.clone()).expect("short");
        secrets::register_mac_key("attachment: key", key.to_state().expose()[1..33].try_into().expect("32 bytes"));
        scrub();
        let (key, sealed) = clean("seal an attachment at once", || attachment::seal(text, &mut rng).expect("short"));
        let opened = clean("open an attachment at once", || attachment::open(&key, &sealed).expect("good"));
        assert_eq!(keep(opened), text);
        let mut damaged = sealed.clone();
        damaged[sealed.len() - 1] ^= 1;
        clean("open a damaged attachment", || attachment::open(&key, &damaged).expect_err("damaged"));
        clean("write and read an attachment's key", || {
            drop(Attachment::from_state(key.to_state().expose()).expect("an image"));
            drop(key.clone());
        });
    }
    let text = text(150_000);
    let mut sealer = clean("begin an attachment", || AttachmentSealer::new(150_000, &mut rng).expect("short"));
    let (mut sealed, mut rest) = (Vec::new(), text);
    while let Some(wanted) = sealer.wants() {
        let (head, tail) = rest.split_at(wanted);
        sealed.push(clean("seal a chunk", || sealer.seal(head).expect("as long as it wants")));
        rest = tail;
    }
    let key = clean("end an attachment", || sealer.finish().expect("the end"));
    let mut opener = clean("begin to open an attachment", || AttachmentOpener::new(&key));
    for chunk in &sealed {
        opener = clean("stop and go on in an attachment", || {
            let state = opener.to_state().expect("not at its end");
            drop(opener);
            AttachmentOpener::from_state(state.expose()).expect("an image")
        });
        keep(clean("open a chunk", || opener.open(chunk).expect("good")));
    }
    clean("end an opened attachment", || opener.finish().expect("the end"));
    clean("give an attachment up", || {
        let mut sealer = AttachmentSealer::new(150_000, &mut rng).expect("short");
        sealer.seal(&text[..sealer.wants().expect("a chunk")]).expect("as long as it wants");
    });
    clean("give an opened attachment up", || {
        let mut opener = AttachmentOpener::new(&key);
        keep(opener.open(&sealed[0]).expect("good"));
        opener.open(&vec![0; CHUNK_LEN]).expect_err("not the second");
    });
}

fn vault() {
    let mut rng = LoggedRng::new(14);
    let key: &[u8; 32] = text(32).try_into().expect("32 bytes");
    secrets::register_mac_key("vault: key", key);
    let image = text(300);
    let vault = clean("make a vault", || Vault::new(key));
    let mut sealed = clean("seal in a vault", || vault.seal(b"name", 3, image, &mut rng));
    let opened = clean("open from a vault", || vault.open(b"name", 3, &sealed).expect("good"));
    assert_eq!(opened.image.expose(), image);
    clean("wipe an opened image", || drop(opened));
    let old = clean("open an old image", || vault.open(b"name", 4, &sealed).expect_err("old"));
    assert_eq!(old, VaultError::Old { generation: 3 });
    sealed[60] ^= 1;
    let damaged = clean("open a damaged image", || vault.open(b"name", 3, &sealed).expect_err("damaged"));
    assert_eq!(damaged, VaultError::Rejected);
    clean("drop a vault", || drop(vault));
}

/// Images from formats that have a type for bytes, and from those that give one after another.
fn serde() {
    let image = text(5_000);
    let read = clean("read an image from bytes", || Image::deserialize(BytesDeserializer::<Error>::new(image)));
    clean("drop an image", || drop(read.expect("bytes")));
    let bytes = image.iter().copied();
    let read = clean("read an image from a sequence", || Image::deserialize(SeqDeserializer::<_, Error>::new(bytes)));
    let read = read.expect("bytes");
    assert_eq!(read.expose(), image);
    clean("drop an image", || drop(read));
}

fn sealed_store() {
    let key: &[u8; 32] = text(32).try_into().expect("32 bytes");
    secrets::register_mac_key("vault: key", key);
    let mut world = World::acquainted(2, 15);
    let (mut disk, mut rng) = (Disk::new(), LoggedRng::new(16));
    // The manifest before the first is in every mark.
    rng.next_is_public();
    let mut store = clean("create a sealed store", || {
        SealedStore::create(key, &world.devices[0], &mut rng, |sealed| write(&mut disk, sealed)).expect("empty")
    });
    let peer = world.names[1];
    for _ in 0..3 {
        let text = text(100);
        clean("commit to a sealed store", || {
            let pending = world.devices[0].seal(peer, text, NOW, &mut LoggedRng::new(17)).expect("good");
            store.commit(pending, &mut rng, |sealed, _| write(&mut disk, sealed)).expect("nobody else writes");
        });
    }
    // Not written, then never asked for, then written.
    let envelope = world.seal(1, 0, text(100));
    clean("prepare for a sealed store, and let it be", || {
        let pending = world.devices[0].open(&envelope, NOW).expect("good");
        let mut prepared = store.prepare(pending, &mut rng);
        prepared.show(|sealed, _| drop(sealed.clone()));
        prepared.not_stored();
        drop(store.prepare(world.devices[0].open(&envelope, NOW).expect("good"), &mut rng));
    });
    let opened = clean("prepare for a sealed store", || {
        let mut prepared = store.prepare(world.devices[0].open(&envelope, NOW).expect("good"), &mut rng);
        prepared.show(|sealed, _| write(&mut disk, sealed)).expect("nobody else writes");
        prepared.stored()
    });
    Read::new(opened);
    let opened = clean("open a sealed store", || SealedStore::open(key, &disk, &store.mark()));
    let (again, records) = opened.expect("whole");
    let restored = clean("restore a device from it", || {
        Device::restore(records.iter().map(|(key, image)| (*key, image.expose())), sceau::Policy::default())
            .expect("whole")
    });
    assert_eq!(restored.fingerprint(), world.names[0]);
    clean("drop a restored device", || drop((again, store, records, restored)));
    clean("open a backup", || drop(SealedStore::open_backup(key, &disk).expect("whole")));
    let damaged = disk.iter_mut().find(|(key, _)| key[0] == 5).expect("a peer's");
    *damaged.1.last_mut().expect("a MAC") ^= 1;
    let salvaged = clean("salvage a sealed store", || SealedStore::salvage(key, &disk));
    assert_eq!(salvaged.unreadable.len(), 1);
    let recovered = clean("recover a device", || {
        let records = salvaged.records.iter().map(|(key, image)| (*key, image.expose()));
        Device::recover(records, sceau::Policy::default(), 2, NOW, &mut rng).expect("its identity is whole")
    });
    assert_eq!(recovered.device.fingerprint(), world.names[0]);
    clean("drop a recovered device", || drop((salvaged, recovered)));
    let changes = world.devices[0].records();
    clean("restore a damaged device", || {
        let others = || puts(&changes).filter(|(key, _)| key.kind() != 1);
        Device::restore(others(), sceau::Policy::default()).expect_err("its identity is missing");
        let halves = puts(&changes).map(|(key, bytes)| (key, &bytes[..bytes.len() - usize::from(bytes[1] == 6)]));
        Device::restore(halves, sceau::Policy::default()).expect_err("its session is cut");
    });
    end(world);
}

type Disk = BTreeMap<[u8; 17], Vec<u8>>;

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

/// The parts without a device.
fn session() {
    let mut rng = LoggedRng::new(18);
    let [alice, bob] = [(); 2].map(|()| IdentityKeyPair::generate(&mut rng));
    let (mut prekeys, lifetimes, padding) = (PreKeyStore::new(), PreKeyLifetimes::default(), Padding::default());
    let upload = clean("publish from a store of prekeys", || {
        prekeys.publish(&bob, 2, Rotation::IfDue, &lifetimes, NOW, &mut rng)
    });
    let mut directory = upload.expect("room").into_entry().expect("signed");
    let bundle = directory.take_bundle();
    let encoded = bundle.encode();
    let bundle = VerifiedPreKeyBundle::verify(bundle, NOW).expect("good");
    register_ephemeral(&alice, &encoded, &rng);
    let mut ours =
        clean("initiate", || Session::initiate(&alice, None, &bundle, NOW.as_secs(), &mut rng).expect("good"));
    let first = clean("seal the first message", || ours.seal(text(100), padding, &mut rng).expect("short"));
    let envelope = Envelope::parse(&first).expect("an envelope");
    clean("accept, and let it be", || {
        drop(Session::accept(&bob, &prekeys, &envelope, &lifetimes, NOW).expect("good"));
    });
    let (mut theirs, opened) = clean("accept", || {
        let accepted = Session::accept(&bob, &prekeys, &envelope, &lifetimes, NOW).expect("good");
        accepted.settle(&mut prekeys).expect("good")
    });
    keep_content(opened.content);
    let exported = clean("export a key", || ours.export(b"call"));
    register("exported key", exported.expose());
    clean("export it on the other side", || assert_eq!(theirs.export(b"call").expose(), exported.expose()));
    clean("drop an exported key", || drop(exported));
    clean("write and read a session", || {
        drop(Session::from_state(ours.to_state().expose(), &alice).expect("whole"));
        drop(Session::from_state(theirs.to_state().expose(), &bob).expect("whole"));
        drop(PreKeyStore::from_state(prekeys.to_state().expose()).expect("whole"));
    });
    for _ in 0..3 {
        let reply = clean("seal", || theirs.seal(text(100), padding, &mut rng).expect("short"));
        let envelope = Envelope::parse(&reply).expect("an envelope");
        keep_content(clean("open", || ours.open(&envelope, NOW).expect("good").content));
        let next = clean("seal", || ours.seal(text(100), padding, &mut rng).expect("short"));
        let envelope = Envelope::parse(&next).expect("an envelope");
        keep_content(clean("open", || theirs.open(&envelope, NOW).expect("good").content));
    }
    let next = clean("seal", || ours.seal(text(100), padding, &mut rng).expect("short"));
    let envelope = Envelope::parse(&next).expect("an envelope");
    for room in [100, 10_000] {
        let mut buffer = Vec::with_capacity(room);
        buffer.extend_from_slice(text(100));
        clean("open what is one's own", || ours.open_into(&envelope, buffer, NOW).expect_err("its own"));
    }
    let buffer = text(100).to_vec();
    let opened = clean("open into a buffer that holds a content", || theirs.open_into(&envelope, buffer, NOW));
    keep_content(opened.expect("good").content);
    let passed: Vec<_> =
        (0..20).map(|_| clean("seal", || ours.seal(text(100), padding, &mut rng).expect("short"))).collect();
    let last = Envelope::parse(passed.last().expect("twenty")).expect("an envelope");
    keep_content(clean("search", || theirs.search(&last, NOW).expect("it is there").content));
    let forgotten = clean("forget skipped keys", || theirs.forget_skipped(NOW.plus(1)));
    assert_eq!(forgotten, 19);
    clean("seal what is too long", || {
        ours.seal(&vec![0; 70_000_000], padding, &mut rng).expect_err("too long");
    });
    clean("let prekeys expire", || prekeys.expire(&lifetimes, NOW.plus(400 * 86_400), |_| false));
    clean("drop sessions and identities", || drop((black_box(ours), theirs, prekeys, alice, bob)));
}

/// What an introduction's own keys come to, which no image shows: HMAC(identity key, label || drawn || 1, 2 or 3 || hash).
fn register_ephemeral(own: &IdentityKeyPair, bundle: &[u8], rng: &LoggedRng) {
    let mut drawn = [0; 64];
    rng.clone().fill_bytes(&mut drawn);
    let mut payload = own.public().encode().to_vec();
    payload.extend(NOW.as_secs().to_be_bytes());
    // No continuity, no certificate.
    payload.resize(96 + 8 + 16 + 1 + 257, 0);
    let label = b"sceau/1 randomness of a handshake";
    let said = Sha256::new().chain_update(label).chain_update(bundle).chain_update(payload).finalize();
    for which in [1, 2, 3] {
        let image = own.to_state();
        let mut mac = Hmac::<Sha256>::new_from_slice(&image.expose()[33..65]).expect("any length will do");
        for part in [&label[..], &drawn, &[which], &said] {
            mac.update(part);
        }
        register("introduction: a derived key", &mac.finalize().into_bytes());
    }
    scrub();
}

fn keep_content(content: Content) {
    match content {
        Content::Message(bytes) => drop(keep(bytes)),
        _ => panic!("not a message"),
    }
}
