//! vodozemac: Olm between two, Megolm for groups.

use crate::channel::{Channel, Meeting, Talk};
use vodozemac::Curve25519PublicKey;
use vodozemac::megolm::{self, GroupSession, InboundGroupSession, MegolmMessage};
use vodozemac::olm::{Account, OlmMessage, Session, SessionConfig};

/// As far as vodozemac lets a message be ahead of the last.
const LARGEST_GAP: u64 = 2_000;

fn encrypt(session: &mut Session, content: &[u8]) -> Vec<u8> {
    session.encrypt(content).expect("a session can encrypt").to_parts().1
}

fn decrypt(session: &mut Session, kind: usize, wire: &[u8]) -> Option<Vec<u8>> {
    session.decrypt(&OlmMessage::from_parts(kind, wire).ok()?).ok()
}

/// A session that both have written on.
pub struct Olm {
    alice: Session,
    bob: Session,
}

impl Olm {
    pub fn new() -> Self {
        let mut meeting = Accounts::new();
        let bundle = meeting.bundles(1).remove(0);
        let (alice, first) = meeting.initiate(&bundle, b"first");
        let (bob, _) = meeting.accept(&first);
        let mut olm = Self { alice, bob };
        let reply = olm.answer(b"reply");
        olm.open_answer(&reply).expect("a reply");
        let third = olm.seal(b"third");
        olm.open(&third).expect("a message");
        olm
    }

    /// A message with a ratchet key that Bob has not seen, as far ahead as he accepts. Its forger needs no key.
    pub fn forged(&mut self) -> Vec<u8> {
        let wire = encrypt(&mut self.alice, &[7; 256]);
        assert_eq!((wire[1], wire[2], wire[35]), (0x0a, 32, 0x10), "not the layout that vodozemac documents");
        let mut forged = wire[..36].to_vec();
        forged[3..35].copy_from_slice(&[9; 32]);
        let mut index = LARGEST_GAP;
        while index >= 0x80 {
            forged.push((index & 0x7f) as u8 | 0x80);
            index >>= 7;
        }
        forged.push(index as u8);
        // The index of the real one is small: one byte.
        forged.extend_from_slice(&wire[37..]);
        forged
    }

    /// Bob refuses it.
    pub fn refuse(&mut self, forged: &[u8]) -> bool {
        decrypt(&mut self.bob, 1, forged).is_none()
    }
}

impl Channel for Olm {
    fn seal(&mut self, content: &[u8]) -> Vec<u8> {
        encrypt(&mut self.alice, content)
    }

    fn open(&mut self, wire: &[u8]) -> Option<Vec<u8>> {
        decrypt(&mut self.bob, 1, wire)
    }
}

impl Talk for Olm {
    fn answer(&mut self, content: &[u8]) -> Vec<u8> {
        encrypt(&mut self.bob, content)
    }

    fn open_answer(&mut self, wire: &[u8]) -> Option<Vec<u8>> {
        decrypt(&mut self.alice, 1, wire)
    }

    fn stored(&self) -> usize {
        serde_json::to_vec(&self.bob.pickle()).expect("a pickle is data").len()
    }
}

/// Two who have not met.
pub struct Accounts {
    alice: Account,
    bob: Account,
}

impl Accounts {
    pub fn new() -> Self {
        Self { alice: Account::new(), bob: Account::new() }
    }

    /// A first message that names Bob's one-time key, as far ahead as he accepts, with a wrong code at its end.
    pub fn forged(&mut self) -> Vec<u8> {
        let bundle = self.bundles(1).remove(0);
        let config = SessionConfig::version_1();
        let mut session = self.alice.create_outbound_session(config, bundle.0, bundle.1).expect("good keys");
        for _ in 0..LARGEST_GAP {
            session.encrypt([]).expect("a session can encrypt");
        }
        let mut forged = encrypt(&mut session, &[7; 256]);
        *forged.last_mut().expect("not empty") ^= 1;
        forged
    }

    /// Bob refuses it.
    pub fn refuse(&mut self, forged: &[u8]) -> bool {
        let Ok(OlmMessage::PreKey(first)) = OlmMessage::from_parts(0, forged) else { return false };
        self.bob.create_inbound_session(SessionConfig::version_1(), first.identity_key(), &first).is_err()
    }
}

impl Meeting for Accounts {
    type Bundle = (Curve25519PublicKey, Curve25519PublicKey);
    type Session = Session;

    fn bundles(&mut self, count: usize) -> Vec<Self::Bundle> {
        self.bob.generate_one_time_keys(count);
        let keys = self.bob.one_time_keys().into_values().map(|key| (self.bob.curve25519_key(), key)).collect();
        self.bob.mark_keys_as_published();
        keys
    }

    fn initiate(&mut self, (identity, one_time): &Self::Bundle, content: &[u8]) -> (Session, Vec<u8>) {
        let config = SessionConfig::version_1();
        let mut session = self.alice.create_outbound_session(config, *identity, *one_time).expect("good keys");
        let wire = encrypt(&mut session, content);
        (session, wire)
    }

    fn accept(&mut self, wire: &[u8]) -> (Session, Vec<u8>) {
        let Ok(OlmMessage::PreKey(first)) = OlmMessage::from_parts(0, wire) else { panic!("not a first message") };
        let config = SessionConfig::version_1();
        let made = self.bob.create_inbound_session(config, first.identity_key(), &first).expect("a good message");
        (made.session, made.plaintext)
    }
}

/// One who has sessions with many, all answered.
pub struct Many(Vec<Olm>);

impl Many {
    pub fn new(count: usize) -> Self {
        Self((0..count).map(|_| Olm::new()).collect())
    }

    /// The same content for each.
    pub fn seal(&mut self, content: &[u8]) -> Vec<Vec<u8>> {
        self.0.iter_mut().map(|olm| olm.seal(content)).collect()
    }

    /// Each of them reads it.
    pub fn check(&mut self, sealed: &[Vec<u8>], content: &[u8]) {
        for (olm, wire) in self.0.iter_mut().zip(sealed) {
            assert_eq!(olm.open(wire).as_deref(), Some(content));
        }
    }
}

/// A sender and a reader of a group.
pub struct Megolm {
    alice: GroupSession,
    bob: InboundGroupSession,
}

impl Megolm {
    pub fn new() -> Self {
        let config = megolm::SessionConfig::version_1();
        let alice = GroupSession::new(config);
        let bob = InboundGroupSession::new(&alice.session_key(), config);
        Self { alice, bob }
    }
}

impl Channel for Megolm {
    fn seal(&mut self, content: &[u8]) -> Vec<u8> {
        self.alice.encrypt(content).to_bytes()
    }

    fn open(&mut self, wire: &[u8]) -> Option<Vec<u8>> {
        Some(self.bob.decrypt(&MegolmMessage::from_bytes(wire).ok()?).ok()?.plaintext)
    }
}
