//! A peer whose headers lie, in a session that others have been honest in.

use super::input::Input;
use crate::SessionPair;
use sceau::error::OpenError;
use sceau::limits::MAX_SKIPPED;
use sceau::session::{Content, Opened, Session};
use sceau::vectors::RawHeader;
use sceau::{Envelope, IdentityKeyPair, Padding};
use std::sync::OnceLock;

/// More than a session's image ever takes: 2,000 keys of 45 bytes, as many chains, and KEM keys.
const MAX_IMAGE: usize = 400_000;

/// Steps of one run.
const MAX_STEPS: usize = 24;

/// Honest messages, lost and late ones, turns, and messages of Alice's whose headers are sealed under the right keys and
/// have any ratchet key, `pn`, `n` and `kem_epoch`. What is refused changes nothing, and its error names Alice or says
/// that it is hers or nobody's. What is taken is bounded. Honest messages are read, as long as no lie was taken; and after a turn
/// they are read again, whatever was.
pub fn headers(data: &[u8]) {
    let mut input = Input(data);
    let mut talk = Lies::begin(input.below(3));
    for _ in 0..MAX_STEPS {
        if input.is_empty() {
            break;
        }
        match input.u8() % 8 {
            0 => {
                let envelope = talk.honest();
                talk.arrives(&envelope);
            }
            1 => drop(talk.honest()),
            2 => {
                let envelope = talk.honest();
                talk.late.push(envelope);
            }
            3 if !talk.late.is_empty() => {
                let envelope = talk.late.remove(input.below(talk.late.len()));
                talk.arrives(&envelope);
            }
            3 | 4 => talk.answer(),
            _ => talk.lie(&mut input),
        }
    }
    talk.answer();
    talk.taken = false;
    let envelope = talk.honest();
    talk.arrives(&envelope);
}

/// A ratchet key as the curve reads it: without its highest bit.
fn point(header: &RawHeader) -> [u8; 32] {
    let mut bytes = header.ratchet_key;
    bytes[31] &= 0x7f;
    bytes
}

struct Lies {
    alice: Session,
    bob: Session,
    identities: &'static [IdentityKeyPair; 2],
    rng: crate::Rng,
    late: Vec<Vec<u8>>,
    /// Whether a lie was taken since Alice's last answer.
    taken: bool,
}

impl Lies {
    /// After a message each way; in the middle of a chain; after many turns, with KEM secrets.
    fn begin(which: usize) -> Self {
        static IMAGES: OnceLock<[[Vec<u8>; 2]; 3]> = OnceLock::new();
        static IDENTITIES: OnceLock<[IdentityKeyPair; 2]> = OnceLock::new();
        let images = IMAGES.get_or_init(|| {
            let mut pair = SessionPair::answered(21);
            let images = |pair: &SessionPair| [&pair.alice, &pair.bob].map(|side| side.to_state().expose().to_vec());
            let first = images(&pair);
            for _ in 0..3 {
                let bytes = pair.alice.seal(b"text", Padding::default(), &mut pair.rng).expect("short");
                pair.bob.open(&Envelope::parse(&bytes).expect("an envelope"), crate::talk::NOW).expect("a message");
            }
            let second = images(&pair);
            (0..60).for_each(|_| pair.turn());
            assert!(pair.bob.status().kem_epochs.1 > 0, "KEM secrets were mixed in");
            let third = images(&pair);
            IDENTITIES.get_or_init(|| pair.identities);
            [first, second, third]
        });
        let identities = IDENTITIES.get().expect("set with the images");
        let [alice, bob] = &images[which];
        Self {
            alice: Session::from_state(alice, &identities[0]).expect("an image"),
            bob: Session::from_state(bob, &identities[1]).expect("an image"),
            identities,
            rng: crate::rng(22),
            late: Vec::new(),
            taken: false,
        }
    }

    fn honest(&mut self) -> Vec<u8> {
        self.alice.seal(b"honest", Padding::default(), &mut self.rng).expect("short")
    }

    /// An honest message of Alice's.
    fn arrives(&mut self, envelope: &[u8]) {
        match self.deliver(envelope, true) {
            Ok(opened) => assert_eq!(opened.content, Content::Message(b"honest".to_vec())),
            // A lie may have stood at its position, pushed its key out, or named its chain by another encoding of the key.
            Err(error) => {
                assert!(self.taken, "an honest message was refused: {error:?}");
                let known = matches!(error, OpenError::Duplicate | OpenError::Unknown | OpenError::Diverged(_));
                assert!(known, "{error:?}");
            }
        }
    }

    fn lie(&mut self, input: &mut Input<'_>) {
        let how = input.u8();
        let (kind, fragments): (u8, &[u8]) = (how % 8, if how & 0x10 > 0 { &[1, 9] } else { &[0] });
        let content = input.below(64);
        let content = input.slice(content);
        let (mut honest, mut foreign) = (true, false);
        let change = |header: &mut RawHeader| {
            let before = input.header(header);
            honest = before == *header;
            foreign = before.kem_epoch != header.kem_epoch || point(&before) != point(header);
        };
        let sealed = self.alice.seal_forged((kind, content), fragments, change, &mut self.rng);
        let envelope = sealed.expect("a short message");
        let search = how & 0x20 > 0;
        let skipped = self.bob.status().skipped;
        let result = self.deliver(&envelope, search);
        // Only of a message that was skipped, whose keys are there already, are ratchet key and KEM epoch not looked at.
        if foreign && result.is_ok() {
            assert_eq!(self.bob.status().skipped + 1, skipped, "another's ratchet key, or another KEM epoch");
        }
        if honest && kind == 1 && !self.taken {
            // Without a search, one that is far ahead is not recognised.
            assert!(result.is_ok() || (!search && result == Err(OpenError::Unknown)), "{result:?}");
        }
        if let Ok(opened) = &result {
            self.taken |= !honest;
            assert!(kind != 1 || opened.content == Content::Message(content.to_vec()));
        }
        // Nothing is opened twice. The ratchet key of a message that was skipped is not compared with its chain's.
        if result.is_ok() {
            let again = self.deliver(&envelope, true);
            let once = matches!(again, Err(OpenError::Duplicate | OpenError::Unknown));
            assert!(once || (!honest && matches!(again, Err(OpenError::Diverged(_)))), "{again:?}");
        }
    }

    /// Gives Bob an envelope.
    fn deliver(&mut self, envelope: &[u8], search: bool) -> Result<Opened, OpenError> {
        let before = self.bob.to_state();
        let envelope = Envelope::parse(envelope).expect("an envelope");
        let result = if search {
            self.bob.search(&envelope, crate::talk::NOW)
        } else {
            self.bob.open(&envelope, crate::talk::NOW)
        };
        let after = self.bob.to_state();
        match &result {
            Ok(_) => {
                let restored = Session::from_state(after.expose(), &self.identities[1]).expect("what it wrote");
                assert_eq!(restored.to_state().expose(), after.expose());
                assert!(self.bob.status().skipped <= MAX_SKIPPED);
                assert!(after.expose().len() <= MAX_IMAGE, "{} bytes", after.expose().len());
            }
            Err(error) => {
                assert_eq!(after.expose(), before.expose(), "{error:?} changed something");
                match error {
                    OpenError::Duplicate | OpenError::Unknown => {}
                    OpenError::TooFarAhead(peer) | OpenError::Diverged(peer) | OpenError::Violation(peer) => {
                        assert_eq!(*peer, self.identities[0].fingerprint());
                    }
                    other => panic!("of an authentic header: {other:?}"),
                }
            }
        }
        result
    }

    /// Bob speaks, and Alice reads it: her next message begins a chain.
    fn answer(&mut self) {
        let bytes = self.bob.seal(b"reply", Padding::default(), &mut self.rng).expect("short");
        let opened = self.alice.open(&Envelope::parse(&bytes).expect("an envelope"), crate::talk::NOW);
        assert_eq!(opened.expect("Bob is honest").content, Content::Message(b"reply".to_vec()));
    }
}
