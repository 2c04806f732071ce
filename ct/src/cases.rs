//! What is run under valgrind, each by itself.

use crate::rng::SecretRng;
use crate::valgrind::{is_running, public, secret, secret_bytes};
use crate::world::{NOW, World, content, done};
use core::hint::black_box;
use sceau::attachment::{self, Attachment, AttachmentOpener, CHUNK_LEN};
use sceau::certificate::{Address, CertificatePolicy, IssuerKeyPair, RootKeyPair};
use sceau::error::{OpenError, VaultError, VerificationError};
use sceau::prekey::{PreKeyLifetimes, PreKeyStore, Rotation, VerifiedPreKeyBundle};
use sceau::session::Session;
use sceau::vault::Vault;
use sceau::verification::{QrCode, SafetyNumber, SasInitiator, SasResponder};
use sceau::{Device, IdentityKeyPair, Image, Notice, Record, RecordKey, Search};

pub type Case = (&'static str, fn());

/// Each must be clean.
pub const CASES: &[Case] = &[
    ("identity", identity),
    ("prekeys", prekeys),
    ("initiate", initiate),
    ("accept", accept),
    ("seal", seal),
    ("open", open),
    ("forged", forged),
    ("turns", turns),
    ("skipped", skipped),
    ("tag", tag),
    ("commitment", commitment),
    ("group", group),
    ("continuity", continuity),
    ("certificate", certificate),
    ("attachment", attachment),
    ("vault", vault),
    ("verification", verification),
    ("restore-device", restore_device),
    ("restore-session", restore_session),
];

/// Each must be caught.
pub const LEAKY: &[Case] =
    &[("leaky", leaky), ("leaky-index", leaky_index), ("leaky-stored", leaky_stored), ("leaky-opened", leaky_opened)];

fn hiding() -> SecretRng {
    let mut rng = SecretRng::new(2);
    rng.hide();
    rng
}

fn shown<T>(mut value: T) -> T {
    public(&mut value);
    value
}

fn published(mut bytes: Vec<u8>) -> Vec<u8> {
    assert!(secret_bytes(&bytes) > 0, "it comes from secrets");
    public(&mut *bytes);
    bytes
}

/// An image as a device keeps it: its bytes are as secret as the fields they come from.
fn stored(image: &Image) -> Vec<u8> {
    let bytes = image.expose().to_vec();
    assert!(secret_bytes(&bytes) >= 32);
    bytes
}

fn identity() {
    let mut rng = hiding();
    let pair = shown(IdentityKeyPair::generate(&mut rng));
    let image = stored(&pair.to_state());
    let again = shown(IdentityKeyPair::from_state(&image)).expect("an image");
    assert_eq!(shown(again.fingerprint()), shown(pair.fingerprint()));
    let device = shown(Device::generate(&mut rng));
    black_box(device.fingerprint());
    black_box(device.identity_key().encode());
}

fn prekeys() {
    let mut world = World::new(1).hide();
    let upload = done(world.devices[0].rotate_prekeys(2, Rotation::Always, NOW, &mut world.rng));
    published(upload.encode());
}

fn initiate() {
    let mut world = World::strangers().hide();
    world.seal(0, 1, b"the first");
    world.seal(0, 1, b"the second, with the same introduction");
}

fn accept() {
    let mut world = World::strangers();
    let envelopes = [world.seal(0, 1, b"the first"), world.seal(0, 1, b"the second")];
    let mut world = world.hide();
    assert_eq!(content(world.open(1, &envelopes[0]).expect("an introduction")), b"the first");
    assert_eq!(content(world.open(1, &envelopes[1]).expect("the same")), b"the second");
    assert_eq!(world.open(1, &envelopes[1]).expect_err("again"), OpenError::Duplicate);
}

fn seal() {
    let mut world = World::confirmed().hide();
    world.seal(0, 1, b"in a chain that goes on");
    world.seal(1, 0, b"in a new chain");
    world.seal(1, 0, &[7; 5_000]);
    let receipt = done(world.devices[1].seal_receipt(
        world.names[0],
        &[sceau::Envelope::parse(&[&[1, 2][..], &[0; 638]].concat()).expect("an envelope").tag()],
        NOW,
        &mut world.rng,
    ));
    world.sent(receipt.envelope);
}

fn open() {
    let mut world = World::confirmed();
    let sent = [world.seal(0, 1, b"in a chain that goes on"), world.seal(1, 0, b"in a new chain")];
    let long = world.seal(1, 0, &[7; 5_000]);
    let mut world = world.hide();
    assert_eq!(content(world.open(1, &sent[0]).expect("good")), b"in a chain that goes on");
    assert_eq!(content(world.open(0, &sent[1]).expect("good")), b"in a new chain");
    assert_eq!(content(world.open(0, &long).expect("good")), [7; 5_000]);
}

/// The tag is known and the header damaged, its MAC, or the body; then the tag.
fn forged() {
    let mut world = World::confirmed();
    let envelope = world.seal(0, 1, b"to be damaged");
    let mut world = world.hide();
    for place in [18, 73, 74, 89, 90, envelope.len() - 1] {
        let mut damaged = envelope.clone();
        damaged[place] ^= 1;
        assert_eq!(world.open(1, &damaged).expect_err("damaged"), OpenError::Rejected);
    }
    let mut damaged = envelope.clone();
    damaged[2] ^= 1;
    assert_eq!(world.open(1, &damaged).expect_err("damaged"), OpenError::Unknown);
    world.open(1, &envelope).expect("nothing has changed");
}

/// Back and forth, some lost on the way, until secrets of the KEM ratchet are mixed in on both sides.
fn turns() {
    let mut world = World::confirmed().hide();
    let mut mixed = 0;
    for turn in 0..60 {
        let (from, to) = ((turn + 1) % 2, turn % 2);
        for _ in 0..=turn % 3 {
            world.tell(from, to);
        }
        world.seal(from, to, b"lost");
        let status = world.devices[to].peer(world.names[from]).and_then(|peer| peer.session).expect("a session");
        if status.kem_epochs.0 > 0 && status.kem_epochs.1 > 0 {
            mixed += 1;
        }
        if mixed > 2 {
            return;
        }
    }
    panic!("no secret was mixed in");
}

/// Messages that come late, in their chain and after a turn; one that must be searched.
fn skipped() {
    let mut world = World::confirmed();
    let mut late: Vec<_> = (0..5_u8).map(|i| world.seal(0, 1, &[i; 9])).collect();
    let mut far: Vec<_> = (0..20_u8).map(|i| world.seal(1, 0, &[i; 9])).collect();
    let mut world = world.hide();
    world.open(1, &late.pop().expect("five")).expect("good");
    let last = far.pop().expect("twenty");
    world.search_nowhere(0);
    assert_eq!(world.open(0, &last).expect_err("too far ahead"), OpenError::Unknown);
    let peers = [world.names[1]];
    done(shown(world.devices[0].search(&last, Search::Peers(&peers), NOW)));
    world.settle();
    world.tell(0, 1);
    world.tell(1, 0);
    for envelope in late.iter().rev() {
        world.open(1, envelope).expect("its key was kept");
    }
    for envelope in &far {
        world.open(0, envelope).expect("its key was kept");
    }
}

/// Tags that no window holds: each is computed, and compared with the envelope's. In both chains of a session, in that of an
/// introduction, and in a member's.
fn tag() {
    let mut world = World::strangers();
    let mut introductions: Vec<_> = (0..12_u8).map(|i| world.seal(0, 1, &[i; 9])).collect();
    let mut world = world.hide();
    let last = introductions.pop().expect("twelve");
    assert_eq!(content(world.open(1, &last).expect("an introduction")), [11; 9]);
    let far: Vec<_> = (0..20_u8).map(|i| world.seal(1, 0, &[i; 9])).collect();
    let peers = [world.names[1]];
    for envelope in &far[18..] {
        // The first one begins a chain, which the second one finds.
        done(shown(world.devices[0].search(envelope, Search::Peers(&peers), NOW)));
        world.settle();
    }
    let far: Vec<_> = (0..100_u8).map(|i| world.seal(1, 0, &[i; 9])).collect();
    done(shown(world.devices[0].search(far.last().expect("a hundred"), Search::Peers(&peers), NOW)));
    world.settle();
}

/// The zeros in front of what is opened, wherever there are some: in a session's message and an introduction, a member's
/// message, an attachment, an image in a vault.
fn commitment() {
    let mut world = World::new(3);
    world.introduce(0, 1);
    for (from, to) in [(0, 1), (1, 0)] {
        world.tell(from, to);
    }
    world.introduce(2, 1);
    let introduction = world.seal(2, 1, b"the first");
    let mut world = world.hide();
    assert_eq!(content(world.open(1, &introduction).expect("good")), b"the first");
    world.tell(0, 1);
    let group = world.create_group();
    let names = world.names[1..2].to_vec();
    world.add(group, &names);
    world.announce(group, 0);
    let envelope = world.seal_group(group, 0, b"to all");
    assert_eq!(content(world.open(1, &envelope).expect("good")), b"to all");
    attachment();
    vault();
}

/// An introduction of one who is known shows so, and it is compared. Then one that stands beside another.
fn continuity() {
    let mut world = World::confirmed().hide();
    // All that these devices know was hidden, also their names.
    let [name, peer] = [0, 1].map(|device: usize| shown(world.names[device]));
    let bundle = world.directories[1].take_bundle();
    done(shown(world.devices[0].renew(peer, &bundle, NOW, &mut world.rng)));
    world.settle();
    let envelope = world.seal(0, 1, b"anew");
    let mut opened = world.open(1, &envelope).expect("an introduction");
    opened.notices.iter_mut().for_each(public);
    assert!(opened.notices.contains(&Notice::Renewed(name)), "{:?}", opened.notices);
    world.tell(1, 0);
    world.tell(0, 1);
    // The last word to someone whose sessions are wiped, and its next introduction.
    let farewell = done(shown(world.devices[0].drop_sessions(peer, &mut world.rng)));
    let farewell = world.sent(farewell.expect("the peer holds a session").envelope);
    world.open(1, &farewell).expect("good");
}

fn group() {
    let mut world = World::new(3);
    for (device, other) in [(0, 1), (0, 2), (1, 2)] {
        world.introduce(device, other);
    }
    for (from, to) in [(0, 1), (0, 2), (1, 2), (1, 0), (2, 0), (2, 1)] {
        world.tell(from, to);
    }
    let mut world = world.hide();
    let group = world.create_group();
    world.add_all(group);
    for from in [0, 1] {
        world.announce(group, from);
        let first = world.seal_group(group, from, b"to all");
        let second = world.seal_group(group, from, b"to all, once more");
        for to in (0..3).filter(|to| *to != from) {
            // In the wrong order: a key is skipped.
            assert_eq!(content(world.open(to, &second).expect("good")), b"to all, once more");
            let mut damaged = first.clone();
            damaged[30] ^= 1;
            assert_eq!(world.open(to, &damaged).expect_err("damaged"), OpenError::Rejected);
            assert_eq!(content(world.open(to, &first).expect("good")), b"to all");
        }
    }
}

fn certificate() {
    let mut rng = hiding();
    let (root, issuer) = (RootKeyPair::generate(&mut rng), IssuerKeyPair::generate(&mut rng));
    let (root_key, issuer_key) = (shown(root.public()), shown(issuer.public()));
    let identity = shown(IdentityKeyPair::generate(&mut rng));
    let certified = shown(root.certify(issuer_key, NOW.plus(9_000)));
    let address = Address::new(b"alice@example.org").expect("short");
    // What the key holds of its public half is public too.
    crate::heap::Shapes::new().settle();
    let challenge = shown(issuer.challenge(address, NOW, &mut rng));
    let request = shown(identity.request_certificate(&challenge, issuer_key, &address)).expect("what was asked for");
    let verified = challenge.verify(&request, NOW).expect("signed");
    let login = shown(identity.sign_login(b"relay.example.org", &[7; 32]));
    identity.fingerprint().verify_login(&login, b"relay.example.org", &[7; 32]).expect("signed");
    let certificate = shown(issuer.issue(&certified, verified, NOW.plus(900)));
    let certificate = certificate.expect("the issuer's own");
    let mut policy = CertificatePolicy::default();
    policy.roots.push(root_key);
    policy.check(&certificate, identity.public(), NOW).expect("good");
    let again = shown(IssuerKeyPair::from_state(&stored(&issuer.to_state()))).expect("an image");
    black_box(again);
    let again = shown(RootKeyPair::from_state(&stored(&root.to_state()))).expect("an image");
    black_box(again);
}

fn attachment() {
    let mut rng = hiding();
    let mut text = vec![7; 70_000];
    secret(&mut *text);
    let (key, sealed) = shown(attachment::seal(&text, &mut rng)).expect("short");
    let mut sealed = published(sealed);
    // The length is a public field of the key's image, the name the hash of what everyone sees.
    let mut image = stored(&key.to_state());
    public(&mut image[33..]);
    let key = shown(Attachment::from_state(&image)).expect("an image");
    let opened = shown(attachment::open(&key, &sealed)).expect("good");
    black_box(opened);
    // Stopped behind the first chunk: only the key in the image is secret.
    let mut opener = AttachmentOpener::new(&key);
    black_box(shown(opener.open(&sealed[..CHUNK_LEN])).expect("good"));
    let mut image = stored(&opener.to_state().expect("not at its end"));
    public(&mut image[33..]);
    let mut opener = shown(AttachmentOpener::from_state(&image)).expect("an image");
    black_box(shown(opener.open(&sealed[CHUNK_LEN..])).expect("good"));
    shown(opener.finish()).expect("the end");
    sealed[100] ^= 1;
    attachment::open(&key, &sealed).expect_err("damaged");
}

fn vault() {
    let mut rng = hiding();
    let (mut key, mut text) = ([7; 32], vec![8; 300]);
    secret(&mut key);
    secret(&mut *text);
    let vault = Vault::new(&key);
    let mut sealed = published(vault.seal(b"name", 3, &text, &mut rng));
    shown(vault.open(b"name", 3, &sealed)).expect("good");
    assert_eq!(shown(vault.open(b"name", 4, &sealed)).expect_err("old"), VaultError::Old { generation: 3 });
    *sealed.last_mut().expect("a MAC") ^= 1;
    assert_eq!(shown(vault.open(b"name", 3, &sealed)).expect_err("damaged"), VaultError::Rejected);
}

fn verification() {
    let mut rng = hiding();
    let [mut one, mut other] = [3, 4].map(|seed| IdentityKeyPair::generate(&mut SecretRng::new(seed)).fingerprint());
    // Compared in constant time, though they are public.
    let code = QrCode::encode(other, one);
    secret(&mut one);
    secret(&mut other);
    assert_eq!(shown(QrCode::check(&code, one, other)), Ok(()));
    assert_eq!(shown(QrCode::check(&code, other, one)), Err(VerificationError::OtherPeer));
    public(&mut one);
    public(&mut other);
    black_box(SafetyNumber::of(one, other).digits());
    let (initiator, commitment) = SasInitiator::begin(one, other, &mut rng);
    let begun = shown(SasResponder::answer(other, one, &published(commitment), &mut rng));
    let (responder, second) = begun.expect("a commitment");
    let (mut ours, third) = shown(initiator.reveal(&published(second))).expect("an answer");
    let mut theirs = shown(responder.finish(&published(third))).expect("what was committed to");
    // From here on it is said aloud.
    public(&mut ours);
    public(&mut theirs);
    assert_eq!((ours.digits(), ours.pictures()), (theirs.digits(), theirs.pictures()));
}

/// A device in the middle of everything: skipped keys, half an offer, a group, an unanswered introduction.
fn busy() -> World {
    let mut world = World::new(3);
    for (device, other) in [(0, 1), (1, 2), (0, 2)] {
        world.introduce(device, other);
    }
    for (from, to) in [(0, 1), (1, 0), (0, 1), (1, 0), (1, 2), (2, 1)] {
        world.tell(from, to);
    }
    world.seal(0, 1, b"lost");
    world.tell(0, 1);
    let group = world.create_group();
    world.add_all(group);
    for from in 0..3 {
        world.announce(group, from);
    }
    world.seal_group(group, 0, b"lost");
    let last = world.seal_group(group, 0, b"for all");
    world.open(1, &last).expect("good");
    world
}

fn restore_device() {
    let mut world = busy().hide();
    for device in &mut world.devices {
        // The records' bytes are as secret as the fields that they come from.
        let changes = device.records();
        let mut records: Vec<(RecordKey, Vec<u8>)> = Vec::new();
        for record in changes.after(None).expect("all of it") {
            let Record::Put(mut key, bytes) = record else { panic!("nothing is deleted") };
            public(&mut key);
            records.push((key, bytes.to_vec()));
        }
        let secrets: usize = records.iter().map(|(_, bytes)| secret_bytes(bytes)).sum();
        assert!(secrets > 1_000, "{secrets} bytes are secret");
        *device = shown(Device::restore(records, sceau::Policy::default())).expect("whole");
    }
    world.settle();
    world.tell(1, 0);
    world.tell(0, 1);
}

fn restore_session() {
    let mut world = World::new(1).hide();
    let mut plain = SecretRng::new(5);
    let [alice, bob] = [(); 2].map(|()| IdentityKeyPair::generate(&mut plain));
    let (mut prekeys, lifetimes) = (PreKeyStore::new(), PreKeyLifetimes::default());
    let upload = prekeys.publish(&bob, 1, Rotation::IfDue, &lifetimes, NOW, &mut plain).expect("room");
    let bundle = upload.into_entry().expect("signed").take_bundle();
    let bundle = VerifiedPreKeyBundle::verify(bundle, NOW).expect("good");
    let padding = sceau::Padding::default();
    let mut ours = Session::initiate(&alice, None, &bundle, NOW.as_secs(), &mut plain).expect("good");
    let first = ours.seal(b"first", padding, &mut plain).expect("short");
    world.settle();
    let mut ours = shown(Session::from_state(&stored(&ours.to_state()), &alice)).expect("whole");
    world.settle();
    let envelope = sceau::Envelope::parse(&first).expect("an envelope");
    let accepted = shown(Session::accept(&bob, &prekeys, &envelope, &lifetimes, NOW)).expect("good");
    let (theirs, _) = shown(accepted.settle(&mut prekeys)).expect("good");
    let theirs = shown(theirs);
    world.settle();
    let mut theirs = shown(Session::from_state(&stored(&theirs.to_state()), &bob)).expect("whole");
    world.settle();
    assert_eq!(secret_bytes(theirs.export(b"call").expose()), 32, "an exported key comes from secrets");
    let reply = published(shown(theirs.seal(b"reply", padding, &mut world.rng)).expect("short"));
    world.settle();
    shown(ours.open(&sceau::Envelope::parse(&reply).expect("an envelope"), NOW)).expect("good");
    let _ = PreKeyStore::from_state(&stored(&prekeys.to_state())).expect("whole");
}

/// Of a length that the compiler does not know, or it would compare everything at once.
#[inline(never)]
fn first_difference(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(a, b)| black_box(**a) == **b).count()
}

fn leaky() {
    let mut key = vec![7; black_box(32)];
    secret(&mut *key);
    black_box(first_difference(&key, &vec![7; black_box(32)]));
}

fn leaky_index() {
    let mut index = [black_box(7_u8)];
    secret(&mut index);
    black_box(look_up(&black_box([1; 256]), index[0]));
}

#[inline(never)]
fn look_up(table: &[u8; 256], index: u8) -> u8 {
    table[usize::from(index)]
}

/// Marks reach what a device has stored.
fn leaky_stored() {
    let world = World::confirmed().hide();
    for record in world.devices[0].records().after(None).expect("all of it") {
        let Record::Put(_, bytes) = record else { continue };
        // Begun anew at each byte: the first ones are public.
        for start in 0..bytes.len() {
            black_box(first_difference(&bytes[start..], &[7]));
        }
    }
}

/// Marks go through decryption: what comes out of an envelope is secret.
fn leaky_opened() {
    let mut world = World::confirmed();
    let envelope = world.seal(0, 1, b"what nobody else may know");
    let mut world = world.hide();
    let mut result = world.devices[1].open(&envelope, NOW);
    public(&mut result);
    let Ok(mut opened) = result.expect("good").commit(|_| Ok::<(), core::convert::Infallible>(()));
    public(&mut opened);
    black_box(first_difference(&content(opened), b"what nobody else may know"));
}

/// Whether marks do anything at all here.
pub fn under_valgrind() -> bool {
    let mut byte = [0_u8];
    secret(&mut byte);
    let hidden = secret_bytes(&byte) == 1;
    public(&mut byte);
    is_running() && hidden && secret_bytes(&byte) == 0
}
