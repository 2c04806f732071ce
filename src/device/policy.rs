//! What an embedder may choose.

use crate::certificate::CertificatePolicy;
use crate::limits::MAX_UNANSWERED;
use crate::padding::Padding;
use crate::prekey::PreKeyLifetimes;

/// An embedder's choices. None of them can switch encryption, header encryption, authentication or the KEM off.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policy {
    /// To which lengths messages are padded. Default: 640 bytes, then Padmé.
    pub padding: Padding,
    /// How long prekeys live.
    pub prekeys: PreKeyLifetimes,
    /// For how many seconds a session that was outranked goes on receiving. Default: 14 days.
    pub fading: u64,
    /// For how many seconds the key of a message that was passed over is kept. Default: 30 days.
    pub skipped: u64,
    /// For how many seconds a peer is kept that has introduced itself and was not accepted. Default: 30 days.
    pub strangers: u64,
    /// In how many sessions and chains an envelope is looked for whose tag nobody recognises, each at the cost of at most two
    /// small decryptions. Default: 32.
    pub search: usize,
    /// After how many messages without an answer the next one introduces this device anew: the peer may have lost what it needs
    /// to open them. Default: [`MAX_UNANSWERED`].
    pub unanswered: u32,
    /// Below how many one-time prekeys a notice is given when one is used. Default: 20.
    pub low_water: usize,
    /// Which certificates of peers are good, and whether they need one. Default: not looked at.
    pub certificates: CertificatePolicy,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            padding: Padding::default(),
            prekeys: PreKeyLifetimes::default(),
            fading: 14 * 86_400,
            skipped: 30 * 86_400,
            strangers: 30 * 86_400,
            search: 32,
            unanswered: MAX_UNANSWERED,
            low_water: 20,
            certificates: CertificatePolicy::default(),
        }
    }
}
