//! Encodings, sealed bytes and images from anywhere: nobody who holds a key has made them.

use crate::talk::NOW;
use crate::{Disk, Talk};
use sceau::attachment::AttachmentOpener;
use sceau::certificate::{Certificate, CertificateChallenge, CertificateRequest, IssuerCertificate, RootKeyPair};
use sceau::group::{Group, GroupPolicy};
use sceau::login::Login;
use sceau::prekey::PreKeyStore;
use sceau::session::Session;
use sceau::vault::Vault;
use sceau::verification::{QrCode, SasResponder};
use sceau::{
    Attachment, Device, DirectoryEntry, Envelope, Fingerprint, GroupId, IdentityKey, IdentityKeyPair, PreKeyBundle,
    PreKeyUpload, RecordKey, Tag, UnixTime,
};
use std::sync::OnceLock;

/// Identities, bundles and uploads: what decodes encodes to the same bytes.
pub fn bundles(data: &[u8]) {
    if let Ok(bundle) = PreKeyBundle::decode(data) {
        assert_eq!(bundle.encode(), data);
    }
    if let Ok(upload) = PreKeyUpload::decode(data) {
        assert_eq!(upload.encode(), data);
    }
    if let Ok(entry) = DirectoryEntry::decode(data) {
        assert_eq!(entry.encode(), data);
    }
    if let Ok(identity) = IdentityKey::decode(data) {
        assert_eq!(identity.encode(), data);
    }
}

/// Certificates, and what asks for them; logins.
pub fn certificates(data: &[u8]) {
    if let Ok(certificate) = Certificate::decode(data) {
        assert_eq!(certificate.encode(), data);
    }
    if let Ok(certificate) = IssuerCertificate::decode(data) {
        assert_eq!(certificate.encode(), data);
    }
    if let Ok(challenge) = CertificateChallenge::decode(data) {
        assert_eq!(challenge.encode(), data);
    }
    if let Ok(request) = CertificateRequest::decode(data) {
        assert_eq!(request.encode(), data);
    }
    if let Ok(login) = Login::decode(data) {
        assert_eq!(login.encode(), data);
        assert!(login.identity().fingerprint().verify_login(&login, b"fuzz", &[0; 32]).is_err());
    }
}

/// Commits and welcomes: nobody has signed these bytes for this identity, and nothing changes.
pub fn rosters(data: &[u8]) {
    static GROUP: OnceLock<(IdentityKeyPair, Group)> = OnceLock::new();
    let (own, group) = GROUP.get_or_init(|| {
        let own = IdentityKeyPair::generate(&mut crate::rng(5));
        let group = Group::create(&own, GroupPolicy::default(), &mut crate::rng(6)).expect("a good policy");
        (own, group)
    });
    assert!(Group::join(own.public(), data, own.fingerprint(), NOW).is_err());
    let mut changed = group.clone();
    if !matches!(changed.receive(data, &[data], NOW), Ok(sceau::group::Received::Applied)) {
        assert_eq!(&changed, group);
    }
}

/// Codes, comparisons, sealed images.
pub fn verification(data: &[u8]) {
    let (own, peer) = (Fingerprint::from_bytes([1; 32]), Fingerprint::from_bytes([2; 32]));
    assert!(QrCode::check(data, own, peer).is_err() || data == QrCode::encode(peer, own));
    if let Ok(text) = core::str::from_utf8(data) {
        assert!(QrCode::check_text(text, own, peer).is_err() || text == QrCode::encode_text(peer, own));
        let read = [
            text.parse::<Fingerprint>().map(|name| name.to_string()),
            text.parse::<GroupId>().map(|name| name.to_string()),
            text.parse::<Tag>().map(|name| name.to_string()),
            text.parse::<RecordKey>().map(|name| name.to_string()),
            text.parse::<UnixTime>().map(|time| time.to_string()),
        ];
        assert!(read.into_iter().flatten().all(|printed| printed == text));
    }
    if let Ok((run, _)) = SasResponder::answer(own, peer, data, &mut crate::rng(7)) {
        assert!(run.finish(data).is_err());
    }
    assert!(Vault::new(&[5; 32]).open(b"name", 0, data).is_err());
}

/// A device that is given the bytes as an envelope neither panics nor changes.
pub fn envelopes(data: &[u8]) {
    static DEVICE: OnceLock<Disk> = OnceLock::new();
    if Envelope::parse(data).is_ok() {
        let disk = DEVICE.get_or_init(|| Disk::of(&Talk::confirmed(1).bob));
        let mut device = disk.restore();
        assert!(device.open(data, NOW).is_err());
        assert_eq!(&Disk::of(&device), disk);
    }
}

/// Every image: what restores is stored as the same bytes.
pub fn images(data: &[u8]) {
    if let Ok(identity) = IdentityKeyPair::from_state(data) {
        assert_eq!(identity.to_state().expose(), data);
    }
    if let Ok(attachment) = Attachment::from_state(data) {
        assert_eq!(attachment.to_state().expose(), data);
        assert!(sceau::attachment::open(&attachment, data).is_err());
    }
    if let Ok(opener) = AttachmentOpener::from_state(data) {
        assert_eq!(opener.to_state().expect("not at its end").expose(), data);
        assert!(opener.finish().is_err());
    }
    if let Ok(root) = RootKeyPair::from_state(data) {
        assert_eq!(root.to_state().expose(), data);
    }
    if let Ok(prekeys) = PreKeyStore::from_state(data) {
        assert_eq!(prekeys.to_state().expose(), data);
    }
    if let Ok(group) = Group::from_state(data) {
        assert_eq!(group.to_state().expose(), data);
    }
    // Whose session it would be stands in front.
    if let Some((own, data)) = data.split_at_checked(IdentityKeyPair::STATE_LEN)
        && let Ok(own) = IdentityKeyPair::from_state(own)
        && let Ok(session) = Session::from_state(data, &own)
    {
        assert_eq!(session.to_state().expose(), data);
    }
    // A device's records: key(17) || length(2) || bytes, again and again.
    let mut records = Vec::new();
    let mut rest = data;
    while let Some((key, after)) = rest.split_first_chunk::<{ RecordKey::LEN }>() {
        let Some((len, after)) = after.split_first_chunk() else { break };
        let (bytes, after) = after.split_at(usize::from(u16::from_be_bytes(*len)).min(after.len()));
        records.push((RecordKey::from_bytes(*key), bytes.to_vec()));
        rest = after;
    }
    let given = records.clone();
    if let Ok(device) = Device::restore(records, sceau::Policy::default()) {
        let disk = Disk::of(&device);
        assert_eq!(disk.records().clone(), given.into_iter().collect());
    }
}
