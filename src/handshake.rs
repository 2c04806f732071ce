//! The handshake: from a verified bundle, or from an introduction, to the secrets of a session.
//!
//! Knows keys and transcripts; neither ratchet steps nor envelopes. docs/PROTOCOL.md, "Handshake".

use crate::codec::Write;
use crate::crypto::aead::{self, MAC_LEN};
use crate::crypto::dh::DhPrivate;
use crate::crypto::{kdf, kem};
use crate::error::HandshakeError;
use crate::identity::IdentityKeyPair;
use crate::keys::{DhPublic, Fingerprint, IdentityKey, UnixTime};
use crate::labels::Label;
use crate::limits::{CREATED_AT_END, MAX_CREATED_AHEAD};
use crate::prekey::{ResponderKeys, VerifiedPreKeyBundle};
use crate::ratchet::{InitialSecrets, split};
use crate::secret::{GuardedVec, Secret, guard};
use crate::wire::VERSION;
use crate::wire::bundle::PreKeyFields;
use crate::wire::certificate::Certificate;
use crate::wire::introduction::{
    CONTINUITY_OFFSET, Continuity, ENCRYPTED_IDENTITY_LEN, IdentityPayload, IntroductionPrefix, PREFIX_LEN,
};
use alloc::boxed::Box;
use rand_core::CryptoRng;

/// What the initiator has after its half of the handshake.
pub(crate) struct Initiated {
    /// What stands in front of its messages until the first reply.
    pub(crate) prefix: Box<[u8; PREFIX_LEN]>,
    pub(crate) secrets: InitialSecrets,
    /// th2, the hash of all that both sides have agreed on.
    pub(crate) transcript: [u8; 32],
}

/// What the responder has after its half. Nothing of it is authentic until the header behind the prefix has opened.
pub(crate) struct Responded {
    pub(crate) initiator: IdentityKey,
    pub(crate) created_at: u64,
    pub(crate) shown: Shown,
    pub(crate) secrets: InitialSecrets,
    pub(crate) transcript: [u8; 32],
}

/// What the initiator shows beside its identity.
#[derive(Debug)]
pub(crate) struct Shown {
    /// As it came.
    pub(crate) certificate: Option<[u8; Certificate::LEN]>,
    continuity: Continuity,
    th1: [u8; 32],
}

impl Shown {
    /// Whether its author has shown that it holds this header secret.
    pub(crate) fn continues(&self, header_secret: &[u8; 32]) -> bool {
        let expected = continuity(header_secret, &self.th1);
        self.continuity.iter().fold(false, |any, shown| any | aead::equal(shown, &expected))
    }
}

/// The first 8 bytes of HMAC(header secret, label || th1).
fn continuity(header_secret: &[u8; 32], th1: &[u8; 32]) -> [u8; 8] {
    let mut continuity = [0; 8];
    kdf::hedge(header_secret, Label::Continuity, th1, &[], &mut continuity);
    continuity
}

/// The initiator's half. `before` are header secrets of sessions with the responder that it shows to hold. Draws 64
/// bytes: the ephemeral private key and the randomness of both encapsulations come from them, from the private identity key
/// and from all that the introduction says, so that no key of it comes twice with anything else, even where a generator was
/// put back to where it was.
pub(crate) fn initiate<R: CryptoRng + ?Sized>(
    identity: &IdentityKeyPair,
    certificate: Option<&Certificate>,
    bundle: &VerifiedPreKeyBundle,
    created_at: u64,
    before: [Option<&[u8; 32]>; 2],
    rng: &mut R,
) -> Result<Initiated, HandshakeError> {
    if created_at >= CREATED_AT_END {
        return Err(HandshakeError::RankExhausted);
    }
    initiate_at(identity, certificate, bundle, created_at, before, rng)
}

fn initiate_at<R: CryptoRng + ?Sized>(
    identity: &IdentityKeyPair,
    certificate: Option<&Certificate>,
    bundle: &VerifiedPreKeyBundle,
    created_at: u64,
    before: [Option<&[u8; 32]>; 2],
    rng: &mut R,
) -> Result<Initiated, HandshakeError> {
    let certificate = certificate.map(Certificate::encode_in_place);
    let payload = IdentityPayload { identity: *identity.public(), created_at, continuity: [[0; 8]; 2], certificate };
    initiate_as(identity, &identity.fingerprint(), payload.encode(), bundle, before, rng)
}

/// The initiator's half with this plaintext for the identity payload, which says that it is this fingerprint's.
pub(crate) fn initiate_as<R: CryptoRng + ?Sized>(
    identity: &IdentityKeyPair,
    fingerprint: &Fingerprint,
    mut payload: GuardedVec,
    bundle: &VerifiedPreKeyBundle,
    before: [Option<&[u8; 32]>; 2],
    rng: &mut R,
) -> Result<Initiated, HandshakeError> {
    let signed = &bundle.signed().fields;
    let one_time = bundle.one_time().map(|one_time| &one_time.fields);
    let weak = HandshakeError::WeakKey;

    let drawn = Randomness::draw(identity, bundle, &payload, rng);
    let ephemeral = DhPrivate::from_bytes(drawn.ephemeral.expose());
    let ephemeral_public = DhPublic(ephemeral.public());
    let signed_point = signed.dh.point();
    let dh1 = ephemeral.agree(&bundle.identity().dh().point()).ok_or(weak)?;
    let dh2 = ephemeral.agree(&signed_point).ok_or(weak)?;
    let dh3 = match one_time {
        Some(fields) => Some(ephemeral.agree(&fields.dh.point()).ok_or(weak)?),
        None => None,
    };
    let kem_key = one_time.map_or(&signed.kem, |fields| &fields.kem);
    let encapsulated = kem::encapsulate_with(kem_key, drawn.encapsulation.expose());
    let to_identity = kem::encapsulate_with(bundle.kem(), drawn.identity_encapsulation.expose());

    let ciphertexts = [encapsulated.ciphertext.as_slice(), to_identity.ciphertext.as_slice()];
    let th1 = transcript(bundle.identity(), signed, one_time, &ephemeral_public, ciphertexts);
    let shared = [&encapsulated.secret, &to_identity.secret];
    let keys = IdentityKeys::derive(&th1, &dh1, &dh2, dh3.as_ref(), shared);
    let places = payload.get_mut(CONTINUITY_OFFSET..).unwrap_or_default().as_chunks_mut().0;
    for (place, header_secret) in places.iter_mut().zip(before) {
        *place = header_secret.map_or([0; 8], |header_secret| continuity(header_secret, &th1));
    }
    let mac = aead::seal(keys.identity_key.expose(), &[0; 12], &th1, &mut payload);
    payload.bytes(&mac);

    let dh4 = identity.agree(&signed_point).ok_or(weak)?;
    let th2 = kdf::hash(Label::HandshakeFinal, &[&th1, &payload]);
    let secrets = session_secrets(&th2, &keys.next, &dh4, fingerprint, &bundle.fingerprint());

    let mut prefix = Box::new([0; PREFIX_LEN]);
    let mut out = crate::wire::payload::Place(prefix.as_mut_slice());
    out.bytes(&ephemeral_public.0);
    out.u32(signed.id);
    out.u32(one_time.map_or(0, |fields| fields.id));
    for ciphertext in ciphertexts {
        out.bytes(ciphertext);
    }
    out.bytes(&payload);
    Ok(Initiated { prefix, secrets, transcript: th2 })
}

/// What an introduction draws.
pub(crate) struct Randomness {
    pub(crate) ephemeral: Secret<32>,
    pub(crate) encapsulation: Secret<32>,
    pub(crate) identity_encapsulation: Secret<32>,
}

impl Randomness {
    fn draw<R: CryptoRng + ?Sized>(
        identity: &IdentityKeyPair,
        bundle: &VerifiedPreKeyBundle,
        payload: &[u8],
        rng: &mut R,
    ) -> Self {
        Self::derive(identity, bundle, payload, Secret::draw(rng).expose())
    }

    /// Each is HMAC-SHA-256(private X25519 identity key, label || 64 random bytes || 1, 2 or 3
    /// || SHA-256(label || bundle || identity payload)).
    pub(crate) fn derive(
        identity: &IdentityKeyPair,
        bundle: &VerifiedPreKeyBundle,
        payload: &[u8],
        random: &[u8; 64],
    ) -> Self {
        let said = kdf::hash(Label::HandshakeRandomness, &[&bundle.bundle().encode(), payload]);
        let derive = |which: u8| {
            let (key, label) = (identity.agreement_key(), Label::HandshakeRandomness);
            Secret::made(|out| kdf::hedge(key, label, random, &[&[which], &said], out))
        };
        Self { ephemeral: derive(1), encapsulation: derive(2), identity_encapsulation: derive(3) }
    }
}

/// The responder's half, with the keys that the prefix names. Needs no randomness. `None` when anything does not fit.
pub(crate) fn respond(
    identity: &IdentityKeyPair,
    keys: &ResponderKeys<'_>,
    prefix: &IntroductionPrefix<'_>,
    now: UnixTime,
) -> Option<Responded> {
    let signed = keys.signed;
    let ephemeral = prefix.ephemeral.point();
    let dh1 = identity.agree(&ephemeral)?;
    let dh2 = signed.private.dh.agree(&ephemeral)?;
    let dh3 = match keys.one_time {
        Some((_, stored)) => Some(stored.private.dh.agree(&ephemeral)?),
        None => None,
    };
    let kem = keys.one_time.map_or(&signed.private.kem, |(_, stored)| &stored.private.kem).expand();
    let shared = [&kem.decapsulate(prefix.ciphertext), &identity.kem().decapsulate(prefix.identity_ciphertext)];

    let one_time = keys.one_time.map(|(id, stored)| stored.public_with(id, &kem));
    let ciphertexts = [prefix.ciphertext.as_slice(), prefix.identity_ciphertext.as_slice()];
    let th1 = transcript(identity.public(), &signed.public, one_time.as_ref(), &prefix.ephemeral, ciphertexts);
    let keys = IdentityKeys::derive(&th1, &dh1, &dh2, dh3.as_ref(), shared);
    let payload = open_identity(keys.identity_key.expose(), &th1, prefix.encrypted_identity)?;
    if payload.created_at >= CREATED_AT_END || payload.created_at > now.plus(MAX_CREATED_AHEAD).0 {
        return None;
    }

    let dh4 = signed.private.dh.agree(&payload.identity.dh().point())?;
    let th2 = kdf::hash(Label::HandshakeFinal, &[&th1, prefix.encrypted_identity]);
    let secrets = session_secrets(&th2, &keys.next, &dh4, &payload.identity.fingerprint(), &identity.fingerprint());
    let IdentityPayload { identity: initiator, created_at, continuity, certificate } = payload;
    Some(Responded { initiator, created_at, shown: Shown { certificate, continuity, th1 }, secrets, transcript: th2 })
}

/// `th1 = SHA-256(label || version || IK_B || fields of SPK_B || flag || fields of OPK_B || EK_A || ct || ct_id)`.
pub(crate) fn transcript(
    responder: &IdentityKey,
    signed: &PreKeyFields,
    one_time: Option<&PreKeyFields>,
    ephemeral: &DhPublic,
    [ciphertext, identity_ciphertext]: [&[u8]; 2],
) -> [u8; 32] {
    let one_time_fields = one_time.map(PreKeyFields::encode);
    kdf::hash(
        Label::HandshakeTranscript,
        &[
            &[VERSION],
            &responder.encode(),
            &signed.encode(),
            &[u8::from(one_time.is_some())],
            one_time_fields.as_deref().unwrap_or(&[]),
            &ephemeral.0,
            ciphertext,
            identity_ciphertext,
        ],
    )
}

pub(crate) struct IdentityKeys {
    pub(crate) identity_key: Secret<32>,
    pub(crate) next: Secret<32>,
}

impl IdentityKeys {
    /// `k_id(32) || k_next(32) = HKDF(salt = th1, ikm = dh1 || dh2 || dh3 || ss || ss_id, label, 64)`.
    pub(crate) fn derive(
        th1: &[u8; 32],
        dh1: &Secret<32>,
        dh2: &Secret<32>,
        dh3: Option<&Secret<32>>,
        [shared, identity_shared]: [&Secret<32>; 2],
    ) -> Self {
        let dh3 = dh3.map_or(&[][..], |dh3| dh3.expose());
        let ikm = [dh1.expose(), dh2.expose(), dh3, shared.expose(), identity_shared.expose()];
        let okm = kdf::derive::<64>(th1, &ikm, Label::HandshakeIdentity, &[]);
        let [identity_key, next] = split(okm.expose());
        Self { identity_key, next }
    }
}

fn open_identity(key: &[u8; 32], th1: &[u8; 32], sealed: &[u8; ENCRYPTED_IDENTITY_LEN]) -> Option<IdentityPayload> {
    let (ciphertext, mac) = sealed.split_last_chunk::<MAC_LEN>()?;
    let mut payload = guard(ciphertext.to_vec());
    if !aead::open(key, &[0; 12], th1, &mut payload, mac) {
        return None;
    }
    IdentityPayload::decode(&payload).ok()
}

/// `rk0(32) || header_a(32) || header_b(32) || exporter(32)
///   = HKDF(salt = th2, ikm = k_next || dh4, label || fingerprint_A, 128)`.
fn session_secrets(
    th2: &[u8; 32],
    next: &Secret<32>,
    dh4: &Secret<32>,
    initiator: &Fingerprint,
    responder: &Fingerprint,
) -> InitialSecrets {
    let okm = kdf::derive::<128>(th2, &[next.expose(), dh4.expose()], Label::HandshakeSecrets, initiator.as_bytes());
    let [root_key, initiator_header, responder_header, exporter] = split(okm.expose());
    let context = context(th2, initiator, responder);
    InitialSecrets { root_key, initiator_header, responder_header, exporter, context }
}

/// What every message of a session is bound to: `SHA-256(label || th2 || fingerprint_A || fingerprint_B)`.
pub(crate) fn context(th2: &[u8; 32], initiator: &Fingerprint, responder: &Fingerprint) -> [u8; 32] {
    kdf::hash(Label::SessionContext, &[th2, initiator.as_bytes(), responder.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prekey::{PreKeyLifetimes, PreKeyStore, Rotation};
    use chacha20::ChaCha20Rng;
    use rand_core::SeedableRng;

    /// A rank above it must always exist, for whoever comes next.
    #[test]
    fn introduction_from_beyond_the_end_of_time_is_refused() {
        let mut rng = ChaCha20Rng::from_seed([8; 32]);
        let (alice, bob) = (IdentityKeyPair::generate(&mut rng), IdentityKeyPair::generate(&mut rng));
        let (mut prekeys, lifetimes, now) = (PreKeyStore::new(), PreKeyLifetimes::default(), UnixTime(9));
        let bundle = prekeys
            .publish(&bob, 1, Rotation::IfDue, &lifetimes, now, &mut rng)
            .unwrap()
            .into_entry()
            .expect("signed")
            .take_bundle();
        let bundle = VerifiedPreKeyBundle::verify(bundle, now).unwrap();
        let refused = initiate(&alice, None, &bundle, CREATED_AT_END, [None; 2], &mut rng);
        assert_eq!(refused.err(), Some(HandshakeError::RankExhausted));
        let end = UnixTime(CREATED_AT_END);
        for (created_at, now, good) in [
            (CREATED_AT_END - 1, end, true),
            (CREATED_AT_END, end, false),
            (u64::MAX, end, false),
            (now.0 + MAX_CREATED_AHEAD, now, true),
            (now.0 + MAX_CREATED_AHEAD + 1, now, false),
        ] {
            let initiated = initiate_at(&alice, None, &bundle, created_at, [None; 2], &mut rng).unwrap();
            let prefix = IntroductionPrefix::parse(&initiated.prefix).unwrap();
            let keys = prekeys.keys_for(&prefix, &lifetimes, UnixTime(9)).unwrap();
            assert_eq!(respond(&bob, &keys, &prefix, now).is_some(), good, "{created_at}");
        }
    }
}
