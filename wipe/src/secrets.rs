//! The secrets in a device's records, and those that come from them, computed beside the library as docs/PROTOCOL.md says.

use crate::heap::{self, register, unseen};
use hkdf::Hkdf;
use sceau::{Changes, Fingerprint, Record};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use x25519_dalek::{PublicKey, StaticSecret};

/// Length of an introduction's prefix.
const PREFIX_LEN: usize = 3570;
/// Length of what the KEM ratchet's images call an encapsulation key or a ciphertext.
const CODED_LEN: usize = 1568;

type Key = [u8; 32];

/// What is known of the sessions of one device, by the keys of their records.
#[derive(Default)]
pub struct Ledger {
    sessions: BTreeMap<[u8; 17], Ratchet>,
    /// Root steps that were computed here too.
    pub root_steps: usize,
}

/// Of a session's image: what a root step needs.
#[derive(Clone)]
struct Ratchet {
    context: Key,
    root: Key,
    remote: Key,
    private: Option<Key>,
    chain: Option<Key>,
    receiving: Option<Key>,
    /// Number of the own offer and its answer's secret; the peer's number, and what this side answered.
    offer: (u32, Option<[u8; 64]>),
    answer: (u32, Option<[u8; 64]>),
}

impl Ledger {
    /// Registers what the records hold, and what comes from it. `stored` is the head that they follow.
    pub fn learn(&mut self, changes: &Changes, stored: Option<&[u8]>, own: Fingerprint) {
        self.learn_all(changes, stored, own);
        heap::scrub();
    }

    #[inline(never)]
    fn learn_all(&mut self, changes: &Changes, stored: Option<&[u8]>, own: Fingerprint) {
        let records: Vec<([u8; 17], &[u8])> = unseen(|| {
            let put = |record| match record {
                Record::Put(key, bytes) => Some((*key.as_bytes(), bytes)),
                Record::Delete(_) => None,
            };
            changes.after(stored).expect("they follow it").filter_map(put).collect()
        });
        let mut found = Found::default();
        unseen(|| {
            for (key, bytes) in &records {
                self.read(*key, bytes, own, &mut found);
            }
        });
        for (label, secret) in &found.0 {
            register(label, secret);
        }
        unseen(move || drop((records, found)));
    }

    fn read(&mut self, key: [u8; 17], bytes: &[u8], own: Fingerprint, found: &mut Found) {
        let mut reader = Reader(bytes);
        let (_version, kind) = (reader.u8(), reader.u8());
        match kind {
            1 => {
                reader.take(1);
                found.add("identity: signing key", reader.key());
                found.mac("identity: X25519 key", &reader.key());
                found.add("identity: KEM seed", reader.take(64));
                found.mac("record secret", &reader.key());
            }
            2 | 3 => {
                reader.take(if kind == 2 { 8 } else { 4 });
                found.add("prekey: X25519 key", reader.key());
                found.add("prekey: KEM seed", reader.take(64));
            }
            6 => {
                let after = Ratchet::read(&mut reader, found);
                if let Some(before) = self.sessions.get(&key)
                    && before.root != after.root
                {
                    assert!(before.root_step(&after, found), "the library took another root step");
                    self.root_steps += 1;
                }
                self.sessions.insert(key, after);
            }
            7 | 12 => {
                reader.take(16 + 8);
                reader.skipped(found);
            }
            9 => {
                let group = reader.key();
                reader.take(8 + 32);
                found.chain_key("sender chain: chain key", &reader.key());
                found.header_secret(
                    "sender chain: header secret",
                    &reader.key(),
                    &chain_context(&group, own.as_bytes()),
                );
                reader.take(4);
                found.add("sender chain: signing key", reader.key());
            }
            11 => {
                let (group, sender) = (reader.key(), reader.key());
                reader.take(8 + 32 + 8 + 1 + 8 + 32);
                let context = chain_context(&group, &sender);
                found.header_secret("member's chain: header secret", &reader.key(), &context);
                found.chain_key("member's chain: chain key", &reader.key());
            }
            _ => {}
        }
    }
}

fn chain_context(group: &Key, sender: &Key) -> Key {
    Sha256::new().chain_update("sceau/1 sender chain").chain_update(group).chain_update(sender).finalize().into()
}

impl Ratchet {
    fn read(reader: &mut Reader<'_>, found: &mut Found) -> Self {
        reader.take(11 + 96 + 8 + 32);
        found.add("session: exporter secret", reader.key());
        reader.take(3);
        if reader.u8() == 1 {
            reader.take(PREFIX_LEN);
        }
        let (context, root, remote) = (reader.key(), reader.key(), reader.key());
        found.add("session: root key", root);
        let (mut private, mut chain) = (None, None);
        if reader.u8() == 1 {
            private = Some(found.add("session: ratchet key", reader.key()));
            found.header_secret("session: sending header secret", &reader.key(), &context);
            chain = Some(found.chain_key("session: sending chain key", &reader.key()));
            reader.take(8);
        } else {
            reader.take(4);
        }
        found.header_secret("session: next sending header secret", &reader.key(), &context);
        reader.take(8);
        let lines = reader.u8();
        for _ in 0..lines {
            found.header_secret("session: receiving header secret", &reader.key(), &context);
            reader.take(4);
        }
        let receiving = (lines >= 2).then(|| found.chain_key("session: receiving chain key", &reader.key()));
        reader.take(4);
        let mut offer = (reader.u32(), None);
        let kind = reader.u8();
        if kind > 0 {
            // A fresh key's seed, or how often the identity's was used.
            if kind == 1 {
                found.add("KEM ratchet: seed", reader.take(64));
            } else {
                reader.take(1);
            }
            reader.take(3);
            match reader.u8() {
                0 => {}
                1 => {
                    reader.take(3);
                    reader.assembly();
                }
                _ => {
                    reader.take(3);
                    offer.1 = Some(found.mix(reader));
                }
            }
        }
        let mut answer = (reader.u32(), None);
        match reader.u8() {
            0 => {
                reader.take(3);
                reader.assembly();
            }
            1 => {
                reader.take(CODED_LEN);
            }
            _ => {
                reader.take(3 + 3 + 2);
                answer.1 = Some(found.mix(reader));
                reader.take(CODED_LEN);
            }
        }
        assert!(reader.0.is_empty(), "a session's image has another layout");
        Self { context, root, remote, private, chain, receiving, offer, answer }
    }

    /// Computes what a sending or a receiving root step has made on the way. Whether it is what the library made.
    fn root_step(&self, after: &Self, found: &mut Found) -> bool {
        let receives = self.remote != after.remote;
        let private = if receives { self.private } else { after.private };
        let pq = match receives {
            true if after.answer.0 != self.answer.0 => self.answer.1,
            false if after.offer.0 != self.offer.0 => self.offer.1,
            _ => None,
        };
        let private = private.expect("who takes a root step has a ratchet key");
        let shared = StaticSecret::from(private).diffie_hellman(&PublicKey::from(after.remote));
        found.add("session: DH output", *shared.as_bytes());
        let ikm = [&shared.as_bytes()[..], pq.as_ref().map_or(&[], |mix| &mix[..])].concat();
        let (pseudorandom, expander) = Hkdf::<Sha256>::extract(Some(&self.root), &ikm);
        found.add("session: extracted key", pseudorandom);
        let okm: [u8; 96] = expand(&expander, "root step", &self.context);
        let (root, chain) = (found.part(&okm, 0), found.part(&okm, 32));
        // Then the chain goes on, as far as the image says.
        let end = if receives { after.receiving } else { after.chain };
        let mut chain = found.add("session: first chain key", chain);
        let arrived = (0..1_000).any(|_| {
            chain = found.chain_key("session: chain key", &chain);
            Some(chain) == end
        });
        root == after.root && arrived
    }
}

fn expand<const N: usize>(expander: &Hkdf<Sha256>, label: &str, context: &[u8]) -> [u8; N] {
    let mut okm = [0; N];
    expander.expand_multi_info(&[b"sceau/1 ", label.as_bytes(), context], &mut okm).expect("short");
    okm
}

/// Secrets that were found.
#[derive(Default)]
struct Found(Vec<(&'static str, Vec<u8>)>);

impl Found {
    fn add<T: AsRef<[u8]>>(&mut self, label: &'static str, secret: T) -> T {
        self.0.push((label, secret.as_ref().to_vec()));
        secret
    }

    fn part(&mut self, okm: &[u8], at: usize) -> Key {
        self.add("session: root step", okm[at..at + 32].try_into().expect("long enough"))
    }

    /// A chain key, the message key that comes from it, and the next chain key, which is given back.
    fn chain_key(&mut self, label: &'static str, chain: &Key) -> Key {
        self.add(label, chain);
        let expander = Hkdf::<Sha256>::from_prk(chain).expect("32 bytes");
        let okm: [u8; 64] = expand(&expander, "chain step", &[]);
        self.add("chain: next chain key", &okm[..32]);
        // It encrypts, and is the key of the HMAC that gives the nonce.
        self.mac("chain: message key", okm.last_chunk().expect("64 bytes"));
        if label == "session: chain key" { *okm.first_chunk().expect("64 bytes") } else { *chain }
    }

    /// A header secret, its header key, its tag key.
    fn header_secret(&mut self, label: &'static str, secret: &Key, context: &Key) {
        // It is also the key of the HMAC that shows a device to be the one from before.
        self.mac(label, secret);
        let expander = Hkdf::<Sha256>::from_prk(secret).expect("32 bytes");
        let header: Key = expand(&expander, "header key", context);
        let tag: Key = expand(&expander, "tag key", context);
        self.add("chain: header key", header);
        self.mac("chain: tag key", &tag);
    }

    /// The key of an HMAC, and the hash states that it is kept as.
    fn mac(&mut self, label: &'static str, key: &Key) {
        self.add(label, key);
        for pad in [0x36, 0x5c] {
            self.add("state of an HMAC", hash_state(key, pad));
        }
    }

    /// `ss || hash of what was sent`.
    fn mix(&mut self, reader: &mut Reader<'_>) -> [u8; 64] {
        let mix = reader.take(64);
        self.add("KEM ratchet: secret", &mix[..32]);
        mix.try_into().expect("64 bytes")
    }
}

/// Registers the key of an HMAC, and the hash states that it is kept as.
pub fn register_mac_key(label: &'static str, key: &Key) {
    register(label, key);
    for pad in [0x36, 0x5c] {
        register("state of an HMAC", &hash_state(key, pad));
    }
}

/// The state of SHA-256 after a padded HMAC key, as it lies in memory.
pub fn hash_state(key: &Key, pad: u8) -> Key {
    let mut block = [pad; 64];
    for (to, from) in block.iter_mut().zip(key) {
        *to ^= from;
    }
    let mut state =
        [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];
    sha2::block_api::compress256(&mut state, &[block]);
    let mut bytes = [0; 32];
    for (to, word) in bytes.chunks_exact_mut(4).zip(state) {
        to.copy_from_slice(&u32::to_ne_bytes(word));
    }
    bytes
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> &'a [u8] {
        let (head, rest) = self.0.split_at(len);
        self.0 = rest;
        head
    }

    fn u8(&mut self) -> u8 {
        self.take(1)[0]
    }

    fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.take(4).try_into().expect("4 bytes"))
    }

    fn key(&mut self) -> Key {
        self.take(32).try_into().expect("32 bytes")
    }

    fn assembly(&mut self) {
        let count = usize::from(self.u8());
        self.take(count * 33);
    }

    /// A block of skipped keys. What comes from header secrets was registered while their chain was in use.
    fn skipped(&mut self, found: &mut Found) {
        for _ in 0..self.u8() {
            self.take(8);
            found.mac("skipped: header secret", &self.key());
        }
        for _ in 0..self.u8() {
            self.take(1 + 8 + 4 + 8);
            found.mac("skipped: message key", &self.key());
        }
        assert!(self.0.is_empty(), "a block of skipped keys has another layout");
    }
}
