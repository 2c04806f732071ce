//! How long a thief can read: measured with a real thief, not a simulated one.
//!
//! At some instant the complete state of one side is stolen. From then on the thief keeps a *shadow* of the victim's
//! session: restored from the stolen image, given every envelope that the victim opens, and sealing whenever the victim
//! seals. Where DH is broken, the shadow draws the victim's very ratchet keys; where KEM is broken, the victim's KEM
//! randomness; what is sound, it draws from a generator of its own. As long as the shadow's keys are the victim's, the
//! thief reads; once they differ, it never does again.

use crate::rng;
use chacha20::ChaCha20Rng;
use rand_core::{Rng as _, TryCryptoRng, TryRng};
use sceau::prekey::{PreKeyLifetimes, PreKeyStore, Rotation, VerifiedPreKeyBundle};
use sceau::session::{Authentication, Session};
use sceau::{Envelope, IdentityKeyPair, Padding};
use std::convert::Infallible;
use std::rc::Rc;

/// What the thief can break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// It knows every X25519 private key ever made.
    Dh,
    /// It knows all KEM randomness.
    Kem,
    /// Both: a control, which must never heal.
    Both,
}

/// Who seals the messages of one period.
#[derive(Debug, Clone, Copy)]
pub enum Pattern {
    /// One each.
    Lockstep,
    /// Five each.
    Bursts,
    /// Twenty, then one receipt.
    Talker,
}

impl Pattern {
    pub(crate) fn period(self) -> Vec<usize> {
        match self {
            Self::Lockstep => vec![0, 1],
            Self::Bursts => vec![0, 0, 0, 0, 0, 1, 1, 1, 1, 1],
            Self::Talker => [vec![0; 20], vec![1]].concat(),
        }
    }
}

/// Lengths of texts.
#[derive(Debug, Clone, Copy)]
pub enum Texts {
    /// All of so many bytes.
    Fixed(usize),
    /// Log-normal, median 40 bytes, deviation 1 of the logarithm, at most 2,000 bytes: short texts with a long tail. An
    /// assumption, not taken from a corpus.
    Mix,
}

impl Texts {
    /// A length.
    pub fn draw(self, rng: &mut ChaCha20Rng) -> usize {
        match self {
            Self::Fixed(len) => len,
            Self::Mix => {
                // The sum of twelve uniform numbers is normal enough.
                let normal: f64 = (0..12).map(|_| f64::from(rng.next_u32()) / f64::from(u32::MAX)).sum::<f64>() - 6.0;
                let len = 40.0 * normal.exp();
                (1..2_000).find(|candidate| f64::from(*candidate) >= len).unwrap_or(2_000) as usize
            }
        }
    }
}

/// A generator in two streams, told apart by what is drawn: a ratchet key is the first 32 bytes of a seal that begins a
/// chain, all else is KEM randomness and nonces.
struct TwoStreams<'a> {
    dh: ChaCha20Rng,
    other: &'a mut ChaCha20Rng,
    ratchet_key_is_next: bool,
}

impl TryRng for TwoStreams<'_> {
    type Error = Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.other.next_u32())
    }
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.other.next_u64())
    }
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        if core::mem::take(&mut self.ratchet_key_is_next) {
            assert_eq!(bytes.len(), 32, "a chain begins with a ratchet key");
            self.dh.fill_bytes(bytes);
        } else {
            self.other.fill_bytes(bytes);
        }
        Ok(())
    }
}

impl TryCryptoRng for TwoStreams<'_> {}

/// The parts of a confirmed session's image that the measure looks at (docs/PROTOCOL.md, section 8, and the writers of
/// the image).
const RATCHET: usize = 1 + 96 + 40 + 32 + 4;

fn is_idle(session: &Session) -> bool {
    session.to_state().expose()[RATCHET + 96] == 0
}

fn sending_chain_key(session: &Session) -> [u8; 32] {
    session.to_state().expose()[RATCHET + 97 + 64..][..32].try_into().expect("32 bytes")
}

/// One end of a conversation.
pub(crate) struct End {
    own: Rc<IdentityKeyPair>,
    pub(crate) session: Session,
    other: ChaCha20Rng,
}

impl End {
    fn seal(&mut self, len: usize, dh_seed: u64, padding: Padding) -> Vec<u8> {
        let ratchet_key_is_next = is_idle(&self.session);
        let mut rng = TwoStreams { dh: rng(dh_seed), other: &mut self.other, ratchet_key_is_next };
        self.session.seal(&vec![7; len], padding, &mut rng).expect("a session seals")
    }
}

/// A thief and what it holds.
struct Thief {
    victim: usize,
    since: usize,
    shadow: End,
    broken: Broken,
    last_read: usize,
    locked_out: bool,
}

impl Thief {
    fn clone_of(&self) -> Session {
        Session::from_state(self.shadow.session.to_state().expose(), &self.shadow.own).expect("an own image")
    }
}

/// What to measure.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    pub pattern: Pattern,
    pub texts: Texts,
    /// Percent of envelopes that are lost.
    pub loss: u64,
    pub padding: Padding,
    pub broken: Broken,
}

/// Both ends after the first exchange.
pub(crate) fn conversation(seed: u64) -> [End; 2] {
    let mut rng = rng(seed);
    let (now, lifetimes) = (crate::talk::at(1_000), PreKeyLifetimes::default());
    let (a, b) = (IdentityKeyPair::generate(&mut rng), IdentityKeyPair::generate(&mut rng));
    let mut prekeys = PreKeyStore::new();
    let bundle = prekeys
        .publish(&b, 1, Rotation::IfDue, &lifetimes, now, &mut rng)
        .expect("room")
        .into_entry()
        .expect("signed")
        .take_bundle();
    let bundle = VerifiedPreKeyBundle::verify(bundle, now).expect("a good bundle");
    let mut alice = Session::initiate(&a, None, &bundle, 1, &mut rng).expect("good keys");
    let open = |session: &mut Session, bytes: &[u8]| {
        session.open(&Envelope::parse(bytes).expect("an envelope"), crate::talk::NOW).expect("it opens");
    };
    let first = alice.seal(b"1", Padding::default(), &mut rng).expect("seals");
    let envelope = Envelope::parse(&first).expect("an envelope");
    let accepted = Session::accept(&b, &prekeys, &envelope, &lifetimes, now).expect("an introduction");
    let (mut bob, _) = accepted.settle(&mut prekeys).expect("new");
    let reply = bob.seal(b"2", Padding::default(), &mut rng).expect("seals");
    open(&mut alice, &reply);
    let third = alice.seal(b"3", Padding::default(), &mut rng).expect("seals");
    open(&mut bob, &third);
    [(a, alice, 1), (b, bob, 2)].map(|(identity, session, stream)| End {
        own: Rc::new(identity),
        session,
        other: crate::rng(seed * 1_000 + stream),
    })
}

/// For each theft: how many messages after it the first one comes from which on the thief reads nothing more. Thefts that
/// have not healed after `patience` messages count as `patience`.
pub fn measure(setting: &Setting, seed: u64, thefts: usize, patience: usize) -> Vec<usize> {
    // Each seed takes other instants, after the initiator has proved its identity: its first offer is no fresh one.
    let mut begins = None;
    let mut ends = conversation(seed);
    let mut chance = rng(seed ^ 0x5eed);
    let period = setting.pattern.period();
    let mut thieves: Vec<Thief> = Vec::new();
    let mut healed = Vec::new();
    // Spread over the instants of several periods.
    let mut at = 0;
    while begins.is_none_or(|begins| at < begins + thefts) || !thieves.is_empty() {
        if begins.is_none() && ends[1].session.status().authentication == Authentication::Proved {
            begins = Some(at + 20 + usize::try_from(seed % 16).expect("small") * thefts);
        }
        if begins.is_some_and(|begins| (begins..begins + thefts).contains(&at)) {
            for (victim, end) in ends.iter().enumerate() {
                let session = Session::from_state(end.session.to_state().expose(), &end.own).expect("an own image");
                // The stolen state does not hold the generator: what the thief draws is its own.
                let shadow = End { own: end.own.clone(), session, other: rng(at as u64 * 7_919 + victim as u64) };
                let broken = setting.broken;
                thieves.push(Thief { victim, since: at, shadow, broken, last_read: at, locked_out: false });
            }
        }
        at += 1;
        let sender = period[at % period.len()];
        let len = setting.texts.draw(&mut chance);
        let dh_seed = chance.next_u64();
        // What the victim will draw beside ratchet keys.
        let stream = chance.next_u64();
        ends[sender].other = rng(stream);
        let before_idle = is_idle(&ends[sender].session);
        let bytes = ends[sender].seal(len, dh_seed, setting.padding);
        let envelope = Envelope::parse(&bytes).expect("an envelope");
        let key = sending_chain_key(&ends[sender].session);
        for thief in thieves.iter_mut().filter(|thief| !thief.locked_out) {
            if thief.victim == sender {
                let dh = if thief.broken == Broken::Kem { dh_seed ^ 0xdead } else { dh_seed };
                if thief.broken != Broken::Dh {
                    thief.shadow.other = rng(stream);
                }
                let before = thief.clone_of();
                if is_idle(&thief.shadow.session) == before_idle {
                    thief.shadow.seal(len, dh, setting.padding);
                }
                if sending_chain_key(&thief.shadow.session) == key {
                    thief.last_read = at;
                } else {
                    // It can't follow. What it had it keeps: the peer's present chain stays readable until it is over.
                    thief.shadow.session = before;
                    thief.locked_out = is_locked_out(thief, &ends);
                }
            } else if thief.clone_of().search(&envelope, crate::talk::NOW).is_ok() {
                thief.last_read = at;
            }
        }
        if chance.next_u64() % 100 >= setting.loss {
            let receiver = &mut ends[1 - sender];
            receiver.session.search(&envelope, crate::talk::NOW).expect("an honest envelope opens");
            for thief in thieves.iter_mut().filter(|thief| thief.victim != sender && !thief.locked_out) {
                let _: Result<_, _> = thief.shadow.session.search(&envelope, crate::talk::NOW);
                thief.locked_out = is_locked_out(thief, &ends);
            }
        }
        thieves.retain(|thief| {
            // Locked out, and quiet for as long as a chain of the peer's could last.
            let quiet = at - thief.last_read > 3 * period.len();
            let over = (thief.locked_out && quiet) || at - thief.since >= patience + 3 * period.len();
            if over {
                healed.push((thief.last_read + 1 - thief.since).min(patience));
            }
            !over
        });
    }
    healed
}

/// Whether the shadow's root key is not the victim's any more, and the peer's present chain is over too.
fn is_locked_out(thief: &Thief, ends: &[End; 2]) -> bool {
    let root = |session: &Session| session.to_state().expose()[RATCHET + 32..RATCHET + 64].to_vec();
    root(&thief.shadow.session) != root(&ends[thief.victim].session)
        && root(&thief.shadow.session) != root(&ends[1 - thief.victim].session)
}

/// Median and greatest of some figures.
pub fn median_and_worst(mut figures: Vec<usize>) -> (usize, usize) {
    figures.sort_unstable();
    (figures[figures.len() / 2], figures[figures.len() - 1])
}
