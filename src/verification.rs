//! What people compare: safety numbers, QR codes, short authentication strings. docs/PROTOCOL.md, "Verification".
//!
//! Each binds both devices' whole identities. When they agree, tell the device ([`crate::Device::set_verified`]).
//!
//! ```
//! use sceau::IdentityKeyPair;
//! use sceau::verification::{QrCode, SafetyNumber, SasInitiator, SasResponder};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut rng = rand::rng();
//! let [alice, bob] = [(); 2].map(|()| IdentityKeyPair::generate(&mut rng).fingerprint());
//! // Read aloud: the same 60 digits on both sides.
//! assert_eq!(SafetyNumber::of(alice, bob), SafetyNumber::of(bob, alice));
//! // Alice scans what Bob shows.
//! QrCode::check_text(&QrCode::encode_text(bob, alice), alice, bob)?;
//! // Or three messages, over any channel, and then six digits or seven pictures to compare.
//! let (alices, commitment) = SasInitiator::begin(alice, bob, &mut rng);
//! let (bobs, challenge) = SasResponder::answer(bob, alice, &commitment, &mut rng)?;
//! let (alices, reveal) = alices.reveal(&challenge)?;
//! assert_eq!(alices.digits(), bobs.finish(&reveal)?.digits());
//! # Ok(())
//! # }
//! ```

use crate::codec::{Reader, Write};
use crate::crypto::{aead, kdf, scrubbed};
use crate::error::{DecodeError, VerificationError};
use crate::keys::Fingerprint;
use crate::labels::Label;
use crate::secret::Secret;
use crate::text;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write as _};
use rand_core::CryptoRng;

/// The version of what is scanned and sent here.
const VERSION: u8 = 1;

/// 60 decimal digits that two devices have in common, and no other two. Whoever wants to stand between two people must
/// find identities that give both of them one number: about 2^99 attempts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SafetyNumber([u32; Self::GROUPS]);

impl SafetyNumber {
    const GROUPS: usize = 12;

    /// That of two devices, in either order.
    pub fn of(one: Fingerprint, other: Fingerprint) -> Self {
        let (first, second) = if one <= other { (one, other) } else { (other, one) };
        let key = kdf::hash(Label::SafetyNumber, &[first.as_bytes(), second.as_bytes()]);
        let okm = kdf::expand::<{ 5 * Self::GROUPS }>(&key, Label::SafetyDigits, &[]);
        let mut groups = [0; Self::GROUPS];
        for (group, bytes) in groups.iter_mut().zip(okm.expose().chunks_exact(5)) {
            *group = u32::try_from(number(bytes) % 100_000).unwrap_or(0);
        }
        Self(groups)
    }

    /// The 60 digits without spaces.
    pub fn digits(&self) -> String {
        let mut digits = String::new();
        for group in self.0 {
            let _ = write!(digits, "{group:05}");
        }
        digits
    }

    /// Whether a text has these digits, whatever stands between them.
    pub fn matches(&self, text: &str) -> bool {
        let typed: String = text.chars().filter(char::is_ascii_digit).collect();
        aead::equal(typed.as_bytes(), self.digits().as_bytes())
    }
}

impl fmt::Display for SafetyNumber {
    /// Twelve groups of five digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, group) in self.0.iter().enumerate() {
            write!(f, "{}{group:05}", if i > 0 { " " } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Debug for SafetyNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SafetyNumber({self})")
    }
}

/// A big-endian number of at most 8 bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
}

/// What one device shows and the other scans: who it is, and whom it takes the other for.
///
/// In binary, or as a text, for scanners that give strings: of characters that a QR code holds in 5.5 bits each, its
/// alphanumeric mode.
///
/// ```text
/// binary(65) = version(1) = 1 || own fingerprint(32) || peer's fingerprint(32)
/// text(110)  = SCEAU: || base 32 of the binary form(104)
/// ```
#[derive(Debug)]
pub struct QrCode;

/// What a code begins with as a text.
const PREFIX: &str = "SCEAU:";

impl QrCode {
    /// Length in bytes.
    pub const LEN: usize = 1 + 2 * Fingerprint::LEN;

    /// What a device shows to a peer.
    pub fn encode(own: Fingerprint, peer: Fingerprint) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::LEN);
        out.u8(VERSION);
        out.bytes(own.as_bytes());
        out.bytes(peer.as_bytes());
        out
    }

    /// The same as a text.
    pub fn encode_text(own: Fingerprint, peer: Fingerprint) -> String {
        let mut out = String::from(PREFIX);
        text::write_base32(&Self::encode(own, peer), &mut out);
        out
    }

    /// As [`Self::check`], of a text that was scanned. Strict: upper case, and nothing around it.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn check_text(scanned: &str, own: Fingerprint, peer: Fingerprint) -> Result<(), VerificationError> {
        let digits = scanned.strip_prefix(PREFIX).ok_or(DecodeError::Invalid)?;
        Self::check(&text::read_base32(digits)?, own, peer)
    }

    /// Checks what was scanned from a peer's screen: that it is this peer, and that it knows this device.
    ///
    /// # Errors
    /// [`VerificationError::Malformed`], [`VerificationError::OtherPeer`], [`VerificationError::NotMe`].
    pub fn check(scanned: &[u8], own: Fingerprint, peer: Fingerprint) -> Result<(), VerificationError> {
        let (theirs, mine) = Reader::whole(scanned, |reader| {
            version(reader)?;
            Ok((reader.array::<32>()?, reader.array::<32>()?))
        })?;
        if !aead::equal(theirs, peer.as_bytes()) {
            return Err(VerificationError::OtherPeer);
        }
        if aead::equal(mine, own.as_bytes()) { Ok(()) } else { Err(VerificationError::NotMe) }
    }
}

fn version(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    if reader.u8()? == VERSION { Ok(()) } else { Err(DecodeError::Version) }
}

/// `version(1) = 1 || step(1) || value(32)`.
fn message(step: u8, value: &[u8; 32]) -> Vec<u8> {
    let mut out = Vec::with_capacity(34);
    out.u8(VERSION);
    out.u8(step);
    out.bytes(value);
    out
}

fn read(message: &[u8], step: u8) -> Result<[u8; 32], VerificationError> {
    Ok(Reader::whole(message, |reader| {
        version(reader)?;
        if reader.u8()? == step { reader.array().copied() } else { Err(DecodeError::Invalid) }
    })?)
}

/// Who compares: who began, and who answered.
#[derive(Clone, Copy)]
struct Pair {
    initiator: Fingerprint,
    responder: Fingerprint,
}

impl Pair {
    fn commitment(&self, nonce: &[u8; 32]) -> [u8; 32] {
        let parts: [&[u8]; 3] = [self.initiator.as_bytes(), self.responder.as_bytes(), nonce];
        scrubbed::<2_048, _>(|| kdf::hash(Label::SasCommitment, &parts))
    }

    fn code(&self, initiators: &[u8; 32], responders: &[u8; 32]) -> Sas {
        let parts: [&[u8]; 4] = [self.initiator.as_bytes(), self.responder.as_bytes(), initiators, responders];
        let okm =
            scrubbed::<2_048, _>(|| kdf::expand::<11>(&kdf::hash(Label::SasTranscript, &parts), Label::SasCode, &[]));
        let (digits, pictures) = okm.expose().split_at_checked(5).unwrap_or_default();
        Sas { digits: number(digits) % 1_000_000, pictures: number(pictures) >> 6 }
    }
}

/// A run of the one who began. Each step takes it by value: a wrong or repeated message ends it, and a new run draws
/// anew, so that whoever stands between has one guess.
///
/// ```text
/// 1. initiator: 0x01 || 0x01 || commitment(32)     2. responder: 0x01 || 0x02 || nonce(32)
/// 3. initiator: 0x01 || 0x03 || nonce(32)
/// ```
pub struct SasInitiator {
    pair: Pair,
    nonce: Secret<32>,
}

impl SasInitiator {
    /// Begins a run; the result is the first message. Draws 32 bytes.
    pub fn begin<R: CryptoRng + ?Sized>(own: Fingerprint, peer: Fingerprint, rng: &mut R) -> (Self, Vec<u8>) {
        let pair = Pair { initiator: own, responder: peer };
        let nonce = Secret::draw(rng);
        let first = message(1, &pair.commitment(nonce.expose()));
        (Self { pair, nonce }, first)
    }

    /// Takes the second message; the result is what to show, and the third message.
    ///
    /// # Errors
    /// [`VerificationError::Malformed`]: the run has ended.
    pub fn reveal(self, second: &[u8]) -> Result<(Sas, Vec<u8>), VerificationError> {
        let theirs = read(second, 2)?;
        Ok((self.pair.code(self.nonce.expose(), &theirs), message(3, self.nonce.expose())))
    }
}

/// A run of the one who answers. Whoever sends the first message learns the code before this side does, and can let the run end
/// there unseen: answer only when a person has agreed to this run, one at a time, and show a run that does not end as failed.
pub struct SasResponder {
    pair: Pair,
    commitment: [u8; 32],
    nonce: Secret<32>,
}

impl SasResponder {
    /// Answers the first message, **after a person has agreed to it**; the result is the second. Draws 32 bytes.
    ///
    /// # Errors
    /// [`VerificationError::Malformed`].
    pub fn answer<R: CryptoRng + ?Sized>(
        own: Fingerprint,
        peer: Fingerprint,
        first: &[u8],
        rng: &mut R,
    ) -> Result<(Self, Vec<u8>), VerificationError> {
        let commitment = read(first, 1)?;
        let nonce = Secret::draw(rng);
        let second = message(2, nonce.expose());
        Ok((Self { pair: Pair { initiator: peer, responder: own }, commitment, nonce }, second))
    }

    /// Takes the third message; the result is what to show.
    ///
    /// # Errors
    /// [`VerificationError::Malformed`], [`VerificationError::Commitment`]: the run has ended, and in the second case
    /// someone is between.
    pub fn finish(self, third: &[u8]) -> Result<Sas, VerificationError> {
        let theirs = read(third, 3)?;
        if aead::equal(&self.pair.commitment(&theirs), &self.commitment) {
            Ok(self.pair.code(&theirs, self.nonce.expose()))
        } else {
            Err(VerificationError::Commitment)
        }
    }
}

impl fmt::Debug for SasInitiator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SasInitiator")
    }
}

impl fmt::Debug for SasResponder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SasResponder")
    }
}

/// What both people see when nobody is between them: six digits, or seven pictures. Whoever is between makes them agree
/// with probability 10^-6, or 2^-42, in one run; so many guesses he has as people have agreed to runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sas {
    digits: u64,
    pictures: u64,
}

impl Sas {
    /// The six digits.
    pub fn digits(&self) -> String {
        let mut digits = String::new();
        let _ = write!(digits, "{:06}", self.digits);
        digits
    }

    /// The seven pictures.
    pub fn pictures(&self) -> [Picture; 7] {
        let mut pictures = [PICTURES[0]; 7];
        for (place, picture) in pictures.iter_mut().enumerate() {
            let shift = 6_usize.saturating_mul(6_usize.saturating_sub(place));
            let index = usize::try_from((self.pictures >> shift) & 63).unwrap_or(0);
            *picture = PICTURES.get(index).copied().unwrap_or(PICTURES[0]);
        }
        pictures
    }
}

impl fmt::Debug for Sas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sas")
    }
}

/// A picture and what people call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Picture {
    /// One character.
    pub symbol: char,
    /// Its name in English, to be read aloud.
    pub name: &'static str,
}

/// The table of docs/PROTOCOL.md, in its order.
pub const PICTURES: [Picture; 64] = pictures();

macro_rules! table {
    ($($symbol:literal $name:literal),* $(,)?) => { [$(Picture { symbol: $symbol, name: $name }),*] };
}

const fn pictures() -> [Picture; 64] {
    table! {
        '🐕' "dog", '🐈' "cat", '🐎' "horse", '🐄' "cow", '🐖' "pig", '🐘' "elephant", '🐇' "rabbit", '🐻' "bear",
        '🐓' "rooster", '🐧' "penguin", '🐢' "turtle", '🐟' "fish", '🐙' "octopus", '🦋' "butterfly", '🐝' "bee", '🐌' "snail",
        '🌳' "tree", '🌵' "cactus", '🌻' "sunflower", '🍄' "mushroom", '🌙' "moon", '⭐' "star", '🌈' "rainbow", '🔥' "fire",
        '⛄' "snowman", '⚡' "lightning", '🍎' "apple", '🍌' "banana", '🍇' "grapes", '🍓' "strawberry", '🌽' "corn", '🥕' "carrot",
        '🍞' "bread", '🧀' "cheese", '🍕' "pizza", '🎂' "cake", '☕' "cup", '🔑' "key", '🔒' "lock", '🔔' "bell",
        '🔨' "hammer", '📎' "paper clip", '📖' "book", '📷' "camera", '💡' "lamp", '⏰' "clock", '🎩' "hat", '👓' "glasses",
        '👑' "crown", '🎁' "gift", '🎈' "balloon", '🎸' "guitar", '🎺' "trumpet", '🥁' "drum", '⚽' "ball", '🏆' "trophy",
        '🚗' "car", '🚲' "bicycle", '🚂' "train", '🚀' "rocket", '⛵' "boat", '⚓' "anchor", '🏠' "house", '🌂' "umbrella",
    }
}
