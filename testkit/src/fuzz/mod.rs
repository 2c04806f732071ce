//! Bodies of the fuzz targets: any bytes in; what must hold is asserted.

mod authorities;
mod encodings;
mod events;
mod formats;
mod headers;
mod input;
mod introductions;
mod logs;
mod messages;
mod openers;
mod stores;

pub use authorities::authorities;
pub use encodings::{bundles, certificates, envelopes, images, rosters, verification};
pub use events::{groups, model};
pub use formats::formats;
pub use headers::headers;
pub use introductions::introductions;
pub use logs::{hostile_log, operations, two_logs};
pub use messages::{contents, fragments};
pub use openers::openers;
pub use stores::stores;

/// A target: its name, which is that of its binary and its corpus, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[
    ("bundles", bundles),
    ("certificates", certificates),
    ("rosters", rosters),
    ("verification", verification),
    ("envelopes", envelopes),
    ("images", images),
    ("contents", contents),
    ("fragments", fragments),
    ("headers", headers),
    ("introductions", introductions),
    ("authorities", authorities),
    ("stores", stores),
    ("openers", openers),
    ("formats", formats),
    ("operations", operations),
    ("hostile_log", hostile_log),
    ("two_logs", two_logs),
    ("model", model),
    ("groups", groups),
];
