//! Project Wycheproof's vectors through this crate's own wrappers. What is skipped, and why, is counted.

use crate::crypto::{aead, dh, kdf, kem, sign};
use std::println;
use std::vec::Vec;
use wycheproof::TestResult;

/// Cases that were run, and those that a wrapper can't be given.
#[derive(Debug, Default, PartialEq, Eq)]
struct Count {
    run: usize,
    skipped: usize,
}

fn array<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

/// Only 32-byte keys are used here, always with this crate's own length checks in front.
#[test]
fn x25519() {
    let mut count = Count::default();
    let set = wycheproof::xdh::TestSet::load(wycheproof::xdh::TestName::X25519).unwrap();
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let (Some(private), Some(public)) = (array(&test.private_key), array(&test.public_key)) else {
            count.skipped += 1;
            continue;
        };
        let shared = dh::DhPrivate::from_bytes(&private).agree(&dh::DhPoint::new(&public));
        let expected: [u8; 32] = array(&test.shared_secret).unwrap();
        // An all-zero result is refused, whatever the set says of it.
        let result = shared.map(|shared| *shared.expose());
        assert_eq!(result, (expected != [0; 32]).then_some(expected), "{}", test.tc_id);
        count.run += 1;
    }
    assert_eq!(count.skipped, 0);
    println!("x25519: {count:?}");
    assert!(count.run > 500);
}

#[test]
fn ed25519() {
    let mut count = Count::default();
    let set = wycheproof::eddsa::TestSet::load(wycheproof::eddsa::TestName::Ed25519).unwrap();
    for group in &set.test_groups {
        for test in &group.tests {
            let public = array(&group.key.pk).unwrap();
            // Signatures of another length never reach the wrapper: their place has 64 bytes.
            let Some(signature) = array(&test.sig) else {
                assert_eq!(test.result, TestResult::Invalid);
                count.skipped += 1;
                continue;
            };
            let good = sign::verify(&public, &test.msg, &signature);
            assert_eq!(good, test.result == TestResult::Valid, "{} {:?}", test.tc_id, test.comment);
            count.run += 1;
        }
    }
    println!("ed25519: {count:?}");
    assert!(count.run > 100 && count.skipped < 20, "{count:?}");
}

type Seal<const N: usize> = fn(&[u8; 32], &[u8; N], &[u8], &mut [u8]) -> [u8; 16];
type Open<const N: usize> = fn(&[u8; 32], &[u8; N], &[u8], &mut [u8], &[u8; 16]) -> bool;

fn aead_set<const N: usize>(name: wycheproof::aead::TestName, seal: Seal<N>, open: Open<N>) -> Count {
    let mut count = Count::default();
    let set = wycheproof::aead::TestSet::load(name).unwrap();
    for group in &set.test_groups {
        for test in &group.tests {
            // Nonces of other lengths: the type does not allow them.
            let (Some(nonce), Some(tag)) = (array(&test.nonce), array(&test.tag)) else {
                assert_eq!(test.result, TestResult::Invalid);
                count.skipped += 1;
                continue;
            };
            let key = array(&test.key).unwrap();
            let mut buffer = test.ct.to_vec();
            let opened = open(&key, &nonce, &test.aad, &mut buffer, &tag);
            assert_eq!(opened, test.result == TestResult::Valid, "{}", test.tc_id);
            if opened {
                assert_eq!(buffer, test.pt.to_vec(), "{}", test.tc_id);
                assert_eq!(seal(&key, &nonce, &test.aad, &mut buffer), tag, "{}", test.tc_id);
                assert_eq!(buffer, test.ct.to_vec(), "{}", test.tc_id);
            }
            count.run += 1;
        }
    }
    count
}

#[test]
fn chacha20_poly1305() {
    let count = aead_set(wycheproof::aead::TestName::ChaCha20Poly1305, aead::seal, aead::open);
    println!("chacha20-poly1305: {count:?}");
    assert!(count.run > 250 && count.skipped < 80, "{count:?}");
}

#[test]
fn xchacha20_poly1305() {
    let count = aead_set(wycheproof::aead::TestName::XChaCha20Poly1305, aead::xseal, aead::xopen);
    println!("xchacha20-poly1305: {count:?}");
    assert!(count.run > 200 && count.skipped < 80, "{count:?}");
}

/// Outputs above 96 bytes are never asked for here; the wrapper's labels are only the info's first part.
#[test]
fn hkdf_sha256() {
    let mut count = Count::default();
    let set = wycheproof::hkdf::TestSet::load(wycheproof::hkdf::TestName::HkdfSha256).unwrap();
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        if test.size > 96 {
            count.skipped += 1;
            continue;
        }
        let (one, two) = test.ikm.split_at(test.ikm.len() / 2);
        let (label, context) = test.info.split_at(test.info.len() / 2);
        let expander = kdf::extract(&test.salt, &[one, two]);
        let mut okm = std::vec![0; test.size];
        kdf::fill(&expander, &[label, context], &mut okm);
        assert_eq!(test.result, TestResult::Valid);
        assert_eq!(okm, test.okm.to_vec(), "{}", test.tc_id);
        count.run += 1;
    }
    println!("hkdf-sha256: {count:?}");
    assert!(count.run > 50, "{count:?}");
}

/// Keys of other than 32 bytes are not used here; codes are cut to 16 bytes.
#[test]
fn hmac_sha256() {
    let mut count = Count::default();
    let set = wycheproof::mac::TestSet::load(wycheproof::mac::TestName::HmacSha256).unwrap();
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let Some(key) = array(&test.key) else {
            count.skipped += 1;
            continue;
        };
        let (one, two) = test.msg.split_at(test.msg.len() / 2);
        let tag = kdf::MacKey::new(&key).mac16(&[one, two]);
        let front = test.tag.get(..16).unwrap();
        // A code that was changed behind the 16 bytes that are used is none that the wrapper could see.
        if test.result == TestResult::Valid {
            assert_eq!(tag, front, "{}", test.tc_id);
        } else if tag == front {
            count.skipped += 1;
            continue;
        }
        count.run += 1;
    }
    println!("hmac-sha256: {count:?}");
    assert!(count.run > 80, "{count:?}");
}

#[test]
fn ml_kem_1024() {
    use wycheproof::mlkem::{TestName, TestSet};
    let mut count = Count::default();
    let tests = |name| {
        let groups = TestSet::load(name).unwrap().test_groups;
        groups.into_iter().flat_map(|group| group.tests).collect::<Vec<_>>()
    };
    for test in tests(TestName::MlKem1024KeyGenSeed) {
        let pair = kem::KemSeed::from_bytes(&array(&test.seed.unwrap()).unwrap()).expand();
        assert_eq!(pair.public().to_vec(), test.encaps_key.unwrap().to_vec(), "{}", test.tc_id);
        count.run += 1;
    }
    for test in tests(TestName::MlKem1024Encaps) {
        // Keys of another length: their place has 1,568 bytes.
        let Some(key) = test.encaps_key.as_ref().and_then(|key| array(key)) else {
            assert_eq!(test.result, TestResult::Invalid);
            count.skipped += 1;
            continue;
        };
        assert_eq!(kem::is_valid_public(&key), test.result == TestResult::Valid, "{}", test.tc_id);
        if test.result == TestResult::Valid {
            let sent = kem::encapsulate(&key, &mut Given(test.msg.unwrap().to_vec()));
            assert_eq!(sent.ciphertext.to_vec(), test.ct.unwrap().to_vec(), "{}", test.tc_id);
            assert_eq!(sent.secret.expose().to_vec(), test.shared_secret.unwrap().to_vec(), "{}", test.tc_id);
        }
        count.run += 1;
    }
    for test in tests(TestName::MlKem1024) {
        let seed = test.seed.as_ref().and_then(|seed| array(seed));
        let (Some(seed), Some(ciphertext)) = (seed, test.ct.as_ref().and_then(|ct| array(ct))) else {
            assert_eq!(test.result, TestResult::Invalid);
            count.skipped += 1;
            continue;
        };
        let secret = kem::KemSeed::from_bytes(&seed).expand().decapsulate(&ciphertext);
        if test.result == TestResult::Valid {
            assert_eq!(secret.expose().to_vec(), test.shared_secret.unwrap().to_vec(), "{}", test.tc_id);
        }
        count.run += 1;
    }
    // Expanded private keys are never read here: a seed is all that is stored.
    count.skipped += tests(TestName::MlKem1024SemiExpandedDecaps).len();
    println!("ml-kem-1024: {count:?}");
    assert!(count.run > 100, "{count:?}");
}

/// Randomness that is given.
struct Given(Vec<u8>);

impl rand_core::TryRng for Given {
    type Error = core::convert::Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        unreachable!("only bytes are drawn")
    }
    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        unreachable!("only bytes are drawn")
    }
    fn try_fill_bytes(&mut self, place: &mut [u8]) -> Result<(), Self::Error> {
        place.copy_from_slice(&self.0);
        Ok(())
    }
}

impl rand_core::TryCryptoRng for Given {}
