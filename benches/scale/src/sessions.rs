//! One device and more and more peers, each with a session.

use crate::clock::Effort;
use crate::host::{CONTENT, Correspondents, Host, Row};
use chacha20::ChaCha20Rng;
use sceau::{Changes, Device, Fingerprint, PreKeyBundle};
use sceau_testkit::talk::{NOW, done};
use std::convert::Infallible;

/// Of each tenfold growth so many peers are kept, to write later; the others are dropped once their session stands.
const KEPT: usize = 16;

struct Peers {
    devices: Vec<Device>,
    host: Fingerprint,
    unread: Vec<(usize, Vec<u8>)>,
    rng: ChaCha20Rng,
}

impl Correspondents for Peers {
    fn count(&self) -> usize {
        self.devices.len()
    }

    fn write(&mut self, from: usize) -> Vec<u8> {
        done(self.devices[from].seal(self.host, CONTENT, NOW, &mut self.rng).expect("a session")).envelope
    }

    fn answer(&mut self, to: usize, device: &mut Device, store: &mut dyn FnMut(&Changes)) {
        let name = self.devices[to].fingerprint();
        let pending = device.seal(name, CONTENT, NOW, &mut self.rng).expect("a session");
        let Ok(sealed) = pending.commit(|changes| {
            store(changes);
            Ok::<(), Infallible>(())
        });
        self.unread.push((to, sealed.envelope));
    }

    fn read(&mut self) {
        for (to, envelope) in self.unread.drain(..) {
            done(self.devices[to].open(&envelope, NOW).expect("a message"));
        }
    }
}

/// Makes a session between the device and a new peer that both have confirmed: three messages. In turns the peer introduces
/// itself, and the device does: a signed prekey accepts no more than 65,536 introductions.
fn befriend(host: &mut Host, bundle: &PreKeyBundle, peer_begins: bool, rng: &mut ChaCha20Rng) -> Device {
    let mut peer = Device::generate(rng);
    let (host_name, peer_name) = (host.device.fingerprint(), peer.fingerprint());
    if peer_begins {
        done(peer.add_peer(bundle, NOW).expect("a good bundle"));
        hear(host, &mut peer, rng);
        answer(host, &mut peer, rng);
        hear(host, &mut peer, rng);
    } else {
        let upload = done(peer.publish_prekeys(0, NOW, rng).expect("room"));
        let bundle = upload.into_entry().expect("signed").take_bundle();
        host.change(|device| device.add_peer(&bundle, NOW).expect("a good bundle"));
        answer(host, &mut peer, rng);
        hear(host, &mut peer, rng);
        answer(host, &mut peer, rng);
    }
    let confirmed = |device: &Device, name| device.peer(name)?.session.map(|session| session.confirmed);
    assert_eq!((confirmed(&host.device, peer_name), confirmed(&peer, host_name)), (Some(true), Some(true)));
    peer
}

/// A message for the device.
fn hear(host: &mut Host, peer: &mut Device, rng: &mut ChaCha20Rng) {
    let sealed = done(peer.seal(host.device.fingerprint(), CONTENT, NOW, rng).expect("a session or a bundle"));
    let opened = host.change(|device| device.open(&sealed.envelope, NOW).expect("an introduction or a message"));
    host.let_go(opened);
}

/// A message of the device's.
fn answer(host: &mut Host, peer: &mut Device, rng: &mut ChaCha20Rng) {
    let name = peer.fingerprint();
    let sealed = host.change(|device| device.seal(name, CONTENT, NOW, rng).expect("a session or a bundle"));
    done(peer.open(&sealed.envelope, NOW).expect("a message"));
    host.let_go(sealed);
}

pub fn run(counts: &[usize], effort: Effort) -> Vec<Row> {
    let mut rng = sceau_testkit::rng(1);
    let mut device = Device::generate(&mut rng);
    let upload = done(device.publish_prekeys(0, NOW, &mut rng).expect("room"));
    let bundle = upload.into_entry().expect("signed").take_bundle();
    let name = device.fingerprint();
    let mut host = Host::new(device);
    host.begin();
    let mut peers = Peers { devices: Vec::new(), host: name, unread: Vec::new(), rng: sceau_testkit::rng(2) };
    let (mut rows, mut made) = (Vec::new(), 0);
    for count in counts {
        eprintln!("{count} sessions");
        let every = (count - made).div_ceil(KEPT);
        for i in made..*count {
            let peer = befriend(&mut host, &bundle, i % 2 == 0, &mut rng);
            if (i - made).is_multiple_of(every) {
                peers.devices.push(peer);
            }
        }
        made = *count;
        rows.push(host.measure(made, &mut peers, effort, &mut rng));
    }
    rows
}
