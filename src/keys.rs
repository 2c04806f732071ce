//! Typed public keys, key pairs, fingerprints, time.

use crate::codec::{Reader, Write};
use crate::crypto::dh::{DH_LEN, DhPoint, DhPrivate};
use crate::crypto::kem::{KEM_CIPHERTEXT_LEN, KEM_PUBLIC_LEN, KEM_SECRET_LEN, KemKeyPair, KemSeed};
use crate::crypto::sign::{SIGNATURE_LEN, VERIFY_LEN};
use crate::crypto::{kdf, sign};
use crate::error::{DecodeError, ImplausibleTime};
use crate::labels::Label;
use crate::secret::Secret;
use crate::text::text;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;
use rand_core::CryptoRng;

/// Seconds since 1970-01-01T00:00:00Z. The caller's clock; going backwards is no error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixTime(pub(crate) u64);

impl fmt::Display for UnixTime {
    /// The seconds, in decimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for UnixTime {
    type Err = DecodeError;

    /// Reads what `Display` prints, and nothing else: decimal digits without a sign, and no zeros in front; nothing above
    /// [`Self::MAX`].
    fn from_str(text: &str) -> Result<Self, DecodeError> {
        let digits = text.as_bytes();
        match digits.first() {
            None => return Err(DecodeError::Truncated),
            Some(b'0') if digits.len() > 1 => return Err(DecodeError::Invalid),
            Some(_) if !digits.iter().all(u8::is_ascii_digit) => return Err(DecodeError::Invalid),
            Some(_) => {}
        }
        let secs = text.parse().map_err(|_| DecodeError::TooLong)?;
        Self::from_secs(secs).map_err(|_| DecodeError::Invalid)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for UnixTime {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for UnixTime {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let secs = serde::Deserialize::deserialize(deserializer)?;
        Self::from_secs(secs).map_err(<D::Error as serde::de::Error>::custom)
    }
}

impl UnixTime {
    /// The latest time that a clock may show, in the year 4147: what is later is milliseconds, or no time at all.
    pub const MAX: u64 = 1 << 36;

    /// The time of a clock that shows so many seconds.
    ///
    /// # Errors
    /// [`ImplausibleTime`] above [`Self::MAX`].
    pub const fn from_secs(secs: u64) -> Result<Self, ImplausibleTime> {
        if secs > Self::MAX { Err(ImplausibleTime) } else { Ok(Self(secs)) }
    }

    /// Seconds since 1970-01-01T00:00:00Z. What others have signed can be any number.
    pub const fn as_secs(self) -> u64 {
        self.0
    }

    /// This time plus a number of seconds, at most the end of time.
    #[must_use]
    pub const fn plus(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(seconds))
    }
}

/// The name of a device: SHA-256 over its public identity keys. What people verify, and what names a peer
/// everywhere. docs/PROTOCOL.md, "Identity".
///
/// Public; compared as bytes. `Display` is 16 groups of 4 hexadecimal digits; `FromStr` reads that.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Length in bytes.
    pub const LEN: usize = 32;

    /// A fingerprint that was stored or received as bytes.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

text!(Fingerprint, groups of 2);

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// A public X25519 key: identity, prekey, ephemeral or ratchet. Compared as bytes, never modulo the field's prime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DhPublic(pub(crate) [u8; DH_LEN]);

/// An Ed25519 signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Signature(pub(crate) [u8; SIGNATURE_LEN]);

impl Signature {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.array().copied().map(Self)
    }
}

/// A device's public identity: an Ed25519 key that signs, an independent X25519 key that agrees, and the hash of a long-term
/// ML-KEM-1024 key. The KEM key itself is in bundles and in a session's first messages.
///
/// ```text
/// ed25519(32) || x25519(32) || SHA-256(label || ml-kem-1024 encapsulation key)(32)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdentityKey {
    verify: [u8; VERIFY_LEN],
    dh: DhPublic,
    kem: [u8; 32],
}

impl IdentityKey {
    /// Length of the encoding in bytes.
    pub const LEN: usize = VERIFY_LEN + DH_LEN + 32;

    /// The fingerprint of these keys.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint(kdf::hash(Label::Fingerprint, &[&self.verify, &self.dh.0, &self.kem]))
    }

    /// The 96 bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::LEN);
        self.write(&mut out);
        out
    }

    /// Reads the 96 bytes. Any 96 bytes are an identity; whether its keys are good shows when they are used.
    ///
    /// # Errors
    /// [`DecodeError`] for any other length.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Reader::whole(bytes, Self::read)
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { verify: *reader.array()?, dh: DhPublic(*reader.array()?), kem: *reader.array()? })
    }

    pub(crate) fn write(&self, out: &mut impl Write) {
        out.bytes(&self.verify);
        out.bytes(&self.dh.0);
        out.bytes(&self.kem);
    }

    pub(crate) fn dh(&self) -> &DhPublic {
        &self.dh
    }

    /// Whether this identity signed label || message.
    pub(crate) fn verifies(&self, message: &[u8], signature: &Signature) -> bool {
        sign::verify(&self.verify, message, &signature.0)
    }

    /// Whether the identity names this KEM key.
    pub(crate) fn names_kem_key(&self, public: &[u8; KEM_PUBLIC_LEN]) -> bool {
        self.kem == Self::hash_kem_key(public)
    }

    fn hash_kem_key(public: &[u8; KEM_PUBLIC_LEN]) -> [u8; 32] {
        kdf::hash(Label::IdentityKemKey, &[public])
    }

    pub(crate) fn new(verify: [u8; VERIFY_LEN], dh: DhPublic, kem: &[u8; KEM_PUBLIC_LEN]) -> Self {
        Self { verify, dh, kem: Self::hash_kem_key(kem) }
    }
}

/// The long-term KEM key pair of an identity, expanded once: each introduction and each first answer is decapsulated with it.
pub(crate) struct IdentityKem {
    seed: KemSeed,
    pair: Box<KemKeyPair>,
    owner: Fingerprint,
}

impl IdentityKem {
    pub(crate) fn new(seed: KemSeed, pair: Box<KemKeyPair>, owner: Fingerprint) -> Self {
        Self { seed, pair, owner }
    }

    /// The seed, to store it.
    pub(crate) fn seed(&self) -> &KemSeed {
        &self.seed
    }

    pub(crate) fn public(&self) -> &[u8; KEM_PUBLIC_LEN] {
        self.pair.public()
    }

    /// Whose key it is.
    pub(crate) fn owner(&self) -> &Fingerprint {
        &self.owner
    }

    /// The shared secret; an unrelated one for a ciphertext that was not made for this key.
    pub(crate) fn decapsulate(&self, ciphertext: &[u8; KEM_CIPHERTEXT_LEN]) -> Secret<KEM_SECRET_LEN> {
        self.pair.decapsulate(ciphertext)
    }
}

impl fmt::Debug for IdentityKem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdentityKem")
    }
}

impl DhPublic {
    pub(crate) fn point(&self) -> DhPoint {
        DhPoint::new(&self.0)
    }
}

/// A ratchet key pair: drawn for one sending chain, wiped once the peer's answer to it was taken in.
#[derive(Debug)]
pub(crate) struct DhKeyPair {
    private: DhPrivate,
    public: DhPublic,
}

impl DhKeyPair {
    pub(crate) fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        Self::from_private(DhPrivate::generate(rng))
    }

    pub(crate) fn from_private(private: DhPrivate) -> Self {
        let public = DhPublic(private.public());
        Self { private, public }
    }

    pub(crate) fn public(&self) -> &DhPublic {
        &self.public
    }

    /// The private key, to store it.
    pub(crate) fn private(&self) -> &DhPrivate {
        &self.private
    }

    /// The shared secret, `None` if the peer's key is of low order.
    pub(crate) fn agree(&self, public: &DhPoint) -> Option<Secret<DH_LEN>> {
        self.private.agree(public)
    }
}

/// Where messages of one chain can be left and fetched: 32 bytes that both sides compute and nobody else can, another one
/// after each turn of the conversation. Two of them show no relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MailboxAddress(pub(crate) [u8; Self::LEN]);

impl MailboxAddress {
    /// Length in bytes.
    pub const LEN: usize = 32;

    /// An address that was stored or received as bytes.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

text!(MailboxAddress);

/// The name of a session on the device that stores it: the first 16 bytes of a hash of its context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId([u8; Self::LEN]);

impl SessionId {
    /// Length in bytes.
    pub const LEN: usize = 16;

    pub(crate) fn derive(context: &[u8; 32]) -> Self {
        Self(kdf::truncate(&kdf::hash(Label::SessionId, &[context])))
    }

    /// A session id that was stored as bytes.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

text!(SessionId);

/// A name of 32 bytes that other layers give.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub(crate) [u8; Self::LEN]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = 32;

            /// A name that was stored or received as bytes.
            pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
                Self(bytes)
            }

            /// The 32 bytes.
            pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
                &self.0
            }
        }

        text!($name);

        impl fmt::Debug for $name {
            /// The first four bytes.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let [a, b, c, d, ..] = self.0;
                write!(f, concat!(stringify!($name), "({:02x}{:02x}{:02x}{:02x})"), a, b, c, d)
            }
        }
    };
}

name! {
    /// The name of an account: a user with several devices.
    AccountId
}
name! {
    /// The name of a device of an account.
    DeviceId
}
name! {
    /// A name for a peer that sends operations, of the embedder's choice.
    PeerId
}
name! {
    /// The name of an operation: a hash of all of it but its signature. That of a log is its first operation's.
    OperationId
}

impl OperationId {
    /// Stands in a genesis where the log's id stands in other operations.
    pub const NONE: Self = Self([0; 32]);
}
