//! Bodies of the fuzz targets: any bytes in; what must hold is asserted.

use crate::Disk;
use crate::model::{Model, Step};
use sceau::certificate::{Certificate, IssuerCertificate, RootKeyPair};
use sceau::group::{Group, GroupPolicy};
use sceau::prekey::PreKeyStore;
use sceau::session::Session;
use sceau::vault::Vault;
use sceau::verification::{QrCode, SasResponder};
use sceau::{
    Attachment, Device, Envelope, Fingerprint, IdentityKey, IdentityKeyPair, PreKeyBundle, PreKeyUpload, RecordKey,
};
use std::sync::OnceLock;

/// Every decoder: what decodes encodes to the same bytes. And a device that is given the bytes as an envelope neither
/// panics nor changes.
pub fn decode(data: &[u8]) {
    static DEVICE: OnceLock<Disk> = OnceLock::new();
    static GROUP: OnceLock<(IdentityKeyPair, Group)> = OnceLock::new();
    if let Ok(bundle) = PreKeyBundle::decode(data) {
        assert_eq!(bundle.encode(), data);
    }
    if let Ok(upload) = PreKeyUpload::decode(data) {
        assert_eq!(upload.encode(), data);
    }
    if let Ok(certificate) = Certificate::decode(data) {
        assert_eq!(certificate.encode(), data);
    }
    if let Ok(certificate) = IssuerCertificate::decode(data) {
        assert_eq!(certificate.encode(), data);
    }
    let (own, peer) = (Fingerprint::from_bytes([1; 32]), Fingerprint::from_bytes([2; 32]));
    assert!(QrCode::check(data, own, peer).is_err() || data == QrCode::encode(peer, own));
    if let Ok((run, _)) = SasResponder::answer(own, peer, data, &mut crate::rng(7)) {
        assert!(run.finish(data).is_err());
    }
    assert!(Vault::new(&[5; 32]).open(b"name", 0, data).is_err());
    if let Ok(identity) = IdentityKey::decode(data) {
        assert_eq!(identity.encode(), data);
    }
    // Commits and welcomes: nobody has signed these bytes for this identity.
    let (own, group) = GROUP.get_or_init(|| {
        let own = IdentityKeyPair::generate(&mut crate::rng(5));
        let group = Group::create(&own, GroupPolicy::default(), &mut crate::rng(6)).expect("a good policy");
        (own, group)
    });
    assert!(Group::join(own.public(), data, own.fingerprint(), crate::talk::NOW).is_err());
    let mut changed = group.clone();
    if !matches!(changed.receive(data, &[], crate::talk::NOW), Ok(sceau::group::Received::Applied)) {
        assert_eq!(&changed, group);
    }
    if Envelope::parse(data).is_ok() {
        let disk = DEVICE.get_or_init(|| Disk::of(&crate::Talk::confirmed(1).bob));
        let mut device = disk.restore();
        assert!(device.open(data, crate::talk::NOW).is_err());
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
    if let Some((own, data)) = data.split_first_chunk()
        && let Ok(session) = Session::from_state(data, Fingerprint::from_bytes(*own))
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
    if let Ok(device) = Device::restore(records) {
        let disk = Disk::of(&device);
        assert_eq!(disk.records().clone(), given.into_iter().collect());
    }
}

/// The event model, with steps read from the bytes.
pub fn model(data: &[u8]) {
    let mut model = Model::new(u64::from(data.first().copied().unwrap_or(0)));
    for step in data.get(1..).unwrap_or(&[]).chunks_exact(3).take(300) {
        let (kind, a, b) = (step[0], step[1], step[2]);
        model.step(match kind % 16 {
            0..=3 => Step::Send { side: a, len: u16::from(b) * 3 },
            4..=6 => Step::Deliver { pick: a },
            7 => Step::Duplicate { pick: a },
            8 => Step::Drop { pick: a },
            9 => Step::Corrupt { pick: a, bit: u32::from(b) * 81 },
            10 => Step::Restart { side: a },
            11 => Step::PayOwed { side: a },
            12 => Step::Renew { side: a },
            13 => [Step::Backup { side: a }, Step::FallBack { side: a }][usize::from(b) % 2],
            14 => [Step::LoseState { side: a }, Step::Maintain { side: a }][usize::from(b) % 2],
            _ => Step::Clock { side: a, seconds: (i32::from(b) - 128) * 5_000 },
        });
    }
}
