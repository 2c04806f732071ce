//! What an embedder may choose.

use crate::certificate::CertificatePolicy;
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
            low_water: 20,
            certificates: CertificatePolicy::default(),
        }
    }
}
