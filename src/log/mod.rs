//! A membership log: who is in, as a set of signed operations. docs/PROTOCOL.md, "Membership log".
//!
//! What the operations mean is a function of their set: who holds the same ones agrees, in whatever order they came. An owner
//! appoints admins, admins add and remove members, members leave. The log knows neither devices' keys nor sessions: the layer above
//! gives keys and ranks ([`Authors`]), stores records ([`LogRecord`]) and carries messages ([`Exchange`]).
//!
//! ```
//! use sceau::log::{
//!     AccountId, Author, AuthorError, AuthorKey, Authors, Change, DeviceId, Draft, Intake, Log, OperationId, OperationKey,
//!     PeerId, Role,
//! };
//!
//! /// One account with one device.
//! struct Accounts(Author, [u8; 32]);
//!
//! impl Authors for Accounts {
//!     fn author(&self, author: &Author) -> Result<AuthorKey, AuthorError> {
//!         if *author == self.0 { Ok(AuthorKey { verify: self.1, rank: 1 }) } else { Err(AuthorError::Unknown) }
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (mut rng, bob) = (rand::rng(), AccountId::from_bytes([2; 32]));
//! let key = OperationKey::generate(&mut rng);
//! let alice = Author { account: AccountId::from_bytes([1; 32]), device: DeviceId::from_bytes([1; 32]), admission: OperationId::from_bytes([1; 32]) };
//! let accounts = Accounts(alice, key.public());
//! // The first operation names the log.
//! let genesis = Draft::genesis(alice, vec![], &mut rng)?.sign(&key);
//! let (mut log, first) = Log::open(genesis.id(), &genesis.encode(), &accounts)?;
//! let mut disk = vec![first.bytes];
//! // An operation on what is known so far. Store the record, then commit.
//! let operation = log.draft(alice, vec![Change::Add(bob)])?.sign(&key);
//! let intake = Intake { peer: PeerId::from_bytes([0; 32]), budget: u64::MAX, unfinished: false };
//! let receiving = log.receive(&[&operation.encode()], &accounts, intake);
//! disk.extend(receiving.record().map(|record| record.bytes));
//! let outcome = receiving.commit();
//! assert_eq!(outcome.roles, [(bob, Role::None)]);
//! assert_eq!(log.role(&bob), Role::Member);
//! // After a restart.
//! let restored = Log::restore(disk.iter().map(Vec::as_slice))?;
//! assert_eq!(restored.heads_hash(), log.heads_hash());
//! # Ok(())
//! # }
//! ```

mod author;
mod batch;
mod evaluate;
mod exchange;
mod form;
mod index;
mod members;
mod membership;
mod messages;
mod names;
mod needed;
mod operation;
mod plan;
mod record;
mod roster;
mod verify;
mod waiting;

pub use crate::keys::{AccountId, DeviceId, OperationId, PeerId};
pub use author::{Author, AuthorError, AuthorKey, Authors};
pub use exchange::{Exchange, Exchanged, Incoming};
pub use membership::{Log, Outcome, Receiving};
pub use messages::{HeadsHash, LogMessage, Ops, Want};
pub use operation::{Change, Draft, Operation, OperationKey};
pub use plan::{Intake, Verdict};
pub use record::LogRecord;
pub use roster::Role;

#[cfg(test)]
mod tests;
