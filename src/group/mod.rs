//! Groups: who is in, and one ciphertext for all. docs/PROTOCOL.md, "Groups".
//!
//! [`Group`] is the signed, hash-chained roster of one device; sender chains carry the messages. Most embedders use
//! [`crate::Device`], which brings both together with the pairwise sessions. A roster alone:
//!
//! ```
//! use sceau::group::{Group, GroupPolicy, Role, RosterChange};
//! use sceau::{IdentityKeyPair, UnixTime};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (mut rng, now) = (rand::rng(), UnixTime::from_secs(1_800_000_000)?);
//! let (alice, bob) = (IdentityKeyPair::generate(&mut rng), IdentityKeyPair::generate(&mut rng));
//! let mut hers = Group::create(&alice, GroupPolicy::default(), &mut rng)?;
//! let welcome = hers.commit(&alice, &[RosterChange::Add(*bob.public(), Role::Member)], now)?.welcome;
//! let mut his = Group::join(bob.public(), &welcome, alice.fingerprint(), now)?;
//! assert_eq!(his.transcript(), hers.transcript());
//! // Who may not is refused, and nothing changes.
//! assert!(his.commit(&bob, &[RosterChange::Remove(alice.fingerprint())], now).is_err());
//! # Ok(())
//! # }
//! ```

mod branch;
mod chain;
mod history;
mod image;
mod member;
mod roster;

pub use crate::wire::roster::{GroupId, GroupPolicy, Member, Role, RosterChange};
pub(crate) use branch::Rival;
pub(crate) use chain::{ChainId, OwnChain, OwnStep};
pub(crate) use member::{MemberChain, MemberStep};
pub use roster::{Committed, Group, Received};

#[cfg(test)]
mod tests;
