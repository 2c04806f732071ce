//! Certificates behind good signatures.

use super::input::Input;
use crate::talk::{NOW, done};
use crate::{Disk, Talk};
use ed25519_dalek::{Signer, SigningKey};
use sceau::certificate::{Certificate, CertificateState, IssuerKey, KeyId, RootKey};
use sceau::error::CertificateError;
use sceau::{IdentityKey, Policy, UnixTime};
use std::sync::OnceLock;

/// A root or an issuer who signs whatever it is given (docs/PROTOCOL.md, section 10.1).
pub(super) struct Authority(SigningKey);

impl Authority {
    pub(super) fn new(seed: u8) -> Self {
        Self(SigningKey::from_bytes(&[seed; 32]))
    }

    pub(super) fn key(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    pub(super) fn id(&self) -> [u8; 8] {
        IssuerKey(self.key()).id().0
    }

    fn sign(&self, parts: &[&[u8]]) -> [u8; 64] {
        self.0.sign(&parts.concat()).to_bytes()
    }

    /// Its word for an issuer: 112 bytes.
    pub(super) fn certify(&self, issuer: &[u8; 32], id: [u8; 8], not_after: u64) -> Vec<u8> {
        let fields: [&[u8]; 3] = [issuer, &id, &not_after.to_be_bytes()];
        let signature = self.sign(&[&[&b"sceau/1 issuer certificate"[..]], &fields[..]].concat());
        [&fields.concat()[..], &signature].concat()
    }

    /// Its word for a device: the bytes in front of those of [`Self::certify`].
    pub(super) fn issue(&self, identity: &IdentityKey, address: (u8, &[u8; 64]), not_after: u64) -> Vec<u8> {
        let fields: [&[u8]; 4] = [&[address.0], address.1, &not_after.to_be_bytes(), &self.id()];
        let label = b"sceau/1 sender certificate";
        let signature = self.sign(&[&[&label[..], &identity.encode()], &fields[..]].concat());
        [&fields.concat()[..], &signature].concat()
    }
}

/// Certificates with any address, any times, any issuer's key and any name of it, well signed or by others. What decodes is what
/// the specification says; what the policy says of it is what its fields say; a device takes it then, and only then.
pub fn authorities(data: &[u8]) {
    static TALK: OnceLock<(Disk, Disk)> = OnceLock::new();
    let (alice, bob) = TALK.get_or_init(|| {
        let talk = Talk::confirmed(41);
        (Disk::of(&talk.alice), Disk::of(&talk.bob))
    });
    let mut input = Input(data);
    let (mut alice, mut bob) = (alice.restore(), bob.restore());
    let (root, stranger) = (Authority::new(1), Authority::new(3));
    let how = input.u8();
    let issuer = Authority::new(input.u8() % 4 + 10);
    let address = if how & 1 > 0 { (input.u8(), input.array()) } else { (3, padded(input.array::<3>())) };
    let ends = [input.near(NOW.as_secs()), input.near(NOW.as_secs())];
    let now = crate::talk::at(input.near(NOW.as_secs()).min(UnixTime::MAX));
    // A key that nobody has, or under another's name, does not sign.
    let named = if how & 2 > 0 { input.array() } else { issuer.key() };
    let id = if how & 4 > 0 { input.array() } else { IssuerKey(named).id().0 };
    let identity = *if how & 8 > 0 { bob.identity_key() } else { alice.identity_key() };
    let word = if how & 16 > 0 { &stranger } else { &root }.certify(&named, id, ends[1]);
    let mut bytes = [issuer.issue(&identity, (address.0, &address.1), ends[0]), word].concat();
    if how & 32 > 0 {
        // The issuer's name of itself, and signatures made up for keys that nobody has.
        bytes[73..81].copy_from_slice(&id);
        bytes[81..145].copy_from_slice(&input.array::<64>());
    }
    let is_padded = address.1.get(usize::from(address.0)..).is_some_and(|rest| rest.iter().all(|byte| *byte == 0));
    let same_name = bytes[73..81] == id && IssuerKey(named).id().0 == id;
    let Ok(certificate) = Certificate::decode(&bytes) else {
        assert!(!is_padded || !same_name, "a certificate that is well made");
        return;
    };
    assert!(is_padded && same_name);
    assert_eq!(certificate.encode(), bytes);

    let mut policy = Policy::default();
    policy.certificates.roots.push(RootKey(root.key()));
    if how & 64 > 0 {
        policy.certificates.revoked.push(KeyId(id));
    }
    let certificates = policy.certificates.clone();
    let expected = if how & 16 > 0 {
        Err(CertificateError::Untrusted)
    } else if how & (8 | 32) > 0 || named != issuer.key() {
        Err(CertificateError::Signature)
    } else if how & 64 > 0 {
        Err(CertificateError::Revoked)
    } else if now.as_secs() > ends[0].min(ends[1]) {
        Err(CertificateError::Expired)
    } else {
        Ok(())
    };
    let checked = certificates.check(&certificate, alice.identity_key(), now);
    assert_eq!(checked.map(|_| ()), expected);

    // Alice's device takes it if it is signed for her, whoever signed.
    let (peer, before) = (alice.fingerprint(), Disk::of(&alice));
    let own = alice.set_certificate(Some(certificate)).map(done);
    let is_hers = how & (8 | 32) == 0 && named == issuer.key();
    assert_eq!(own, if is_hers { Ok(()) } else { Err(CertificateError::Signature) });
    assert!(is_hers || Disk::of(&alice) == before);
    assert_eq!(Disk::of(&Disk::of(&alice).restore()), Disk::of(&alice));

    // Bob remembers it if it is good.
    bob.set_policy(policy.clone());
    let before = Disk::of(&bob);
    let taken = bob.take_certificate(peer, &certificate, now).map(|pending| drop(done(pending)));
    assert_eq!(taken, expected);
    let mut again = Disk::of(&bob).restore();
    again.set_policy(policy);
    assert_eq!(Disk::of(&again), Disk::of(&bob));
    if taken.is_err() {
        assert_eq!(Disk::of(&bob), before);
        return;
    }
    assert_eq!(again.peer_certificate(peer, now), CertificateState::Valid);
    let known = again.peer(peer).expect("a peer").certified.expect("what was taken");
    assert_eq!(known.address.as_bytes(), &address.1[..usize::from(address.0)]);
    // One that ends earlier takes nothing back.
    let earlier =
        [issuer.issue(&identity, (1, &padded(*b"x")), now.as_secs()), root.certify(&issuer.key(), id, now.as_secs())]
            .concat();
    let earlier = Certificate::decode(&earlier).expect("well made");
    assert_eq!(again.take_certificate(peer, &earlier, now).map(|pending| drop(done(pending))), Ok(()));
    let still = again.peer(peer).expect("a peer").certified.expect("what was taken");
    assert_eq!(still, known);
}

fn padded<const N: usize>(text: [u8; N]) -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes[..N].copy_from_slice(&text);
    bytes
}
