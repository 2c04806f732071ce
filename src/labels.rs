//! Every domain-separation string of the protocol, in one place.
//!
//! Each hash, each signature and each key-derivation `info` starts with one of these. No label is a prefix of another
//! (tested), so two purposes can never meet on the same input. docs/PROTOCOL.md, "Labels".

macro_rules! labels {
    ($($(#[$doc:meta])* $name:ident = $text:literal),* $(,)?) => {
        /// What a hash, a signature or a derivation is for.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Label { $($(#[$doc])* $name),* }

        impl Label {
            /// The bytes that open the input.
            pub(crate) const fn bytes(self) -> &'static [u8] {
                match self { $(Self::$name => concat!("sceau/1 ", $text).as_bytes()),* }
            }

            #[cfg(any(test, feature = "vectors"))]
            pub(crate) const ALL: &[Self] = &[$(Self::$name),*];
        }
    };
}

labels! {
    /// SHA-256: a device's name.
    Fingerprint = "fingerprint",
    /// SHA-256: the long-term KEM key that an identity names.
    IdentityKemKey = "identity kem key",
    /// SHA-256: binds a KEM secret to an identity, its KEM key and a ciphertext.
    IdentityKemSecret = "identity kem secret",
    /// Ed25519: a signed prekey.
    SignedPreKey = "signed prekey",
    /// Ed25519: a one-time prekey.
    OneTimePreKey = "one-time prekey",
    /// Ed25519: all that a device publishes at once.
    Upload = "upload",
    /// SHA-256: th1, the transcript up to the KEM ciphertext.
    HandshakeTranscript = "handshake transcript",
    /// HKDF: the key of the initiator's identity.
    HandshakeIdentity = "handshake identity",
    /// HMAC: that an introduction comes from who holds the session before it.
    Continuity = "continuity",
    /// SHA-256: th2, the transcript with the encrypted identity.
    HandshakeFinal = "handshake final",
    /// HKDF: the first root key and the first two header secrets.
    HandshakeSecrets = "handshake secrets",
    /// SHA-256: what every message of a session is bound to.
    SessionContext = "session context",
    /// SHA-256: a session's name on the device that stores it.
    SessionId = "session id",
    /// SHA-256: an introduction's name in the record of those accepted.
    IntroductionId = "introduction id",
    /// SHA-256: the introduction prefix, in the header's associated data.
    IntroductionPrefix = "introduction prefix",
    /// HMAC: the nonce of a body, from its key, fresh randomness and all that it holds.
    BodyNonce = "nonce of a body",
    /// HMAC: the nonce of a stored image, likewise.
    VaultNonce = "nonce of an image",
    /// HMAC: the randomness of a handshake, likewise.
    HandshakeRandomness = "randomness of a handshake",
    /// HMAC: the key of an attachment, likewise.
    AttachmentKey = "key of an attachment",
    /// SHA-256: the body ciphertext, in the header's associated data.
    Body = "body",
    /// HKDF: a root step.
    RootStep = "root step",
    /// EXPAND: a chain step.
    ChainStep = "chain step",
    /// EXPAND: a chain's header key.
    HeaderKey = "header key",
    /// EXPAND: a chain's tag key.
    TagKey = "tag key",
    /// Ed25519: an issuer's certificate.
    IssuerCertificate = "issuer certificate",
    /// Ed25519: a sender's certificate.
    SenderCertificate = "sender certificate",
    /// Ed25519: a device asks an issuer for a certificate.
    CertificateRequest = "request for a certificate",
    /// SHA-256: the short name of an issuer's key.
    IssuerKeyId = "issuer key id",
    /// SHA-256: a certificate's name.
    CertificateId = "certificate id",
    /// EXPAND: a chain's mailbox address.
    Mailbox = "mailbox",
    /// SHA-256: an offered KEM key's short name.
    KemOfferId = "kem offer id",
    /// SHA-256: a KEM ciphertext's short name.
    KemAnswerId = "kem answer id",
    /// SHA-256: binds a KEM secret to its key and ciphertext.
    KemSecret = "kem secret",
    /// SHA-256: th_0, the transcript of a new group.
    GroupStart = "group start",
    /// SHA-256: th_(e+1), the transcript after a commit.
    GroupTranscript = "group transcript",
    /// SHA-256: a roster, in the transcript.
    Roster = "roster",
    /// Ed25519: a roster commit.
    RosterCommit = "commit to a roster",
    /// SHA-256: a commit's name.
    CommitId = "id of a commit",
    /// SHA-256: which of two admins since one epoch is the more senior.
    SignerOrder = "order of signers",
    /// SHA-256: what a sender chain's keys are bound to.
    SenderChain = "sender chain",
    /// SHA-256: a sender chain's name on the device that stores it.
    SenderChainId = "id of a sender chain",
    /// SHA-256: what every message of a group is bound to.
    GroupContext = "group context",
    /// Ed25519: a group's message.
    GroupMessage = "group message",
    /// SHA-256: a group message's payload, which is signed.
    GroupPayload = "group payload",
    /// STREAM: a chunk of an attachment.
    Attachment = "attachment",
    /// SHA-256: two devices, for their safety number.
    SafetyNumber = "safety number",
    /// EXPAND: the digits of a safety number.
    SafetyDigits = "digits of a safety number",
    /// SHA-256: what the initiator of a comparison commits to.
    SasCommitment = "comparison commitment",
    /// SHA-256: all that a comparison depends on.
    SasTranscript = "comparison transcript",
    /// EXPAND: what people compare.
    SasCode = "comparison code",
    /// Ed25519: a device shows a server which identity it is.
    Login = "login",
    /// EXPAND: a key that an application takes from a session.
    Exporter = "exporter",
    /// XChaCha20-Poly1305: an image in a vault.
    Vault = "vault",
    /// SHA-256: all batches that a store has taken.
    Head = "head of a store",
    /// SHA-256: all rows of a sealed store.
    Manifest = "manifest",
    /// SHA-256: those whose keys have one second byte.
    ManifestPart = "part of a manifest",
    /// HMAC: a record's key in the embedder's store.
    RecordKey = "record key",
    /// Ed25519: an operation of a membership log.
    Operation = "operation",
    /// SHA-256: an operation's name.
    OperationId = "id of an operation",
    /// SHA-256: the heads of a membership log.
    LogHeads = "heads of a log",
}

#[cfg(test)]
mod tests {
    use super::Label;

    #[test]
    fn no_label_is_a_prefix_of_another() {
        for a in Label::ALL {
            for b in Label::ALL {
                assert!(a == b || !b.bytes().starts_with(a.bytes()), "{a:?} opens {b:?}");
            }
        }
    }
}
