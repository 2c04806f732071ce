//! What only the inside can make: forgeries with a member's keys, rosters and images that break a rule.

mod chains;
mod images;
mod rosters;

use crate::keys::UnixTime;

const NOW: UnixTime = UnixTime(1_000);
