//! Models and helpers for sceau's tests, examples and fuzz targets. Not published.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::missing_panics_doc,
    reason = "test code: a failure is to be loud"
)]

pub mod crowd;
pub mod disk;
pub mod fuzz;
pub mod group_healing;
pub mod healing;
pub mod log_history;
pub mod log_world;
pub mod model;
pub mod pair;
pub mod proving;
pub mod talk;

pub use crowd::Crowd;
pub use disk::Disk;
pub use pair::SessionPair;
pub use talk::Talk;

pub use chacha20::ChaCha20Rng as Rng;

use rand_core::SeedableRng;
use sceau::certificate::{Address, Certificate, IssuerCertificate, IssuerKeyPair};
use sceau::{IdentityKeyPair, UnixTime};

/// A reproducible generator.
pub fn rng(seed: u64) -> Rng {
    Rng::seed_from_u64(seed)
}

/// A certificate, from the challenge to its issue. The challenge's randomness is always the same.
pub fn certify(
    issuer: &IssuerKeyPair,
    authority: &IssuerCertificate,
    identity: &IdentityKeyPair,
    address: &[u8],
    not_after: UnixTime,
) -> Certificate {
    let address = Address::new(address).expect("short");
    let challenge = issuer.challenge(address, talk::NOW, &mut rng(0));
    let request = identity.request_certificate(&challenge, issuer.public(), &address).expect("what was asked for");
    let verified = challenge.verify(&request, talk::NOW).expect("signed");
    issuer.issue(authority, verified, not_after).expect("the issuer's own")
}
