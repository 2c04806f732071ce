//! Padding: the whole envelope fills a bucket. docs/PROTOCOL.md, "Padding".

use crate::limits::{FRAGMENT_RESERVE, MAX_CONTENT, MAX_SEALED_LEN, MIN_SEALED_LEN, SEALED_FIXED_LEN};

/// The padding policy: the smallest bucket; above it buckets are those of Padmé (at most 12 % more than needed).
///
/// There is no policy without padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Padding {
    smallest: usize,
}

impl Padding {
    /// A policy whose smallest bucket has at least `smallest` bytes, rounded up to a Padmé length and kept between
    /// [`MIN_SEALED_LEN`] and [`MAX_SEALED_LEN`]. A larger smallest bucket hides more and heals faster.
    pub fn with_smallest(smallest: usize) -> Self {
        Self { smallest: padme(smallest.clamp(MIN_SEALED_LEN, MAX_SEALED_LEN)) }
    }

    /// The smallest bucket in bytes.
    pub fn smallest(self) -> usize {
        self.smallest
    }

    /// Length of the sealed message, version and kind included, for a content; `None` above [`MAX_CONTENT`].
    pub fn sealed_len(self, content_len: usize) -> Option<usize> {
        if content_len > MAX_CONTENT {
            return None;
        }
        let needed = content_len.saturating_add(SEALED_FIXED_LEN).saturating_add(FRAGMENT_RESERVE);
        Some(padme(needed).max(self.smallest))
    }
}

impl Default for Padding {
    /// The smallest bucket has [`MIN_SEALED_LEN`] bytes.
    fn default() -> Self {
        Self { smallest: MIN_SEALED_LEN }
    }
}

/// Whether a sealed message can have this length at all.
pub(crate) fn is_bucket(len: usize) -> bool {
    (MIN_SEALED_LEN..=MAX_SEALED_LEN).contains(&len) && padme(len) == len
}

/// Padmé (Nikitin et al., "Reducing metadata leakage from encrypted files and communication with PURBs", 2019): keep as
/// many leading bits of the length as its exponent's own length, round up the rest.
fn padme(len: usize) -> usize {
    let wide = u64::try_from(len).unwrap_or(u64::MAX);
    usize::try_from(padme_wide(wide)).unwrap_or(usize::MAX)
}

fn padme_wide(len: u64) -> u64 {
    let Some(exponent) = len.checked_ilog2() else { return len };
    let Some(kept) = exponent.checked_ilog2() else { return len };
    let low_bits = exponent.saturating_sub(kept.saturating_add(1));
    let mask = (1_u64 << low_bits).wrapping_sub(1);
    len.saturating_add(mask) & !mask
}

/// The length to which something that is stored is padded: at least [`MIN_SEALED_LEN`], a Padmé length.
pub(crate) fn padded(len: u64) -> u64 {
    padme_wide(len).max(u64::try_from(MIN_SEALED_LEN).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padme_as_published() {
        assert_eq!([9, 640, 641, 1000, 1 << 20].map(padme), [10, 640, 672, 1024, 1 << 20]);
    }

    #[test]
    fn bucket_boundaries() {
        let padding = Padding::default();
        assert_eq!(padding.sealed_len(0), Some(640));
        assert_eq!(padding.sealed_len(357), Some(640));
        assert_eq!(padding.sealed_len(358), Some(672));
        assert_eq!(padding.sealed_len(MAX_CONTENT), Some(MAX_SEALED_LEN));
        assert_eq!(padding.sealed_len(MAX_CONTENT + 1), None);
    }

    #[test]
    fn every_policy_gives_buckets_with_room() {
        for smallest in [0, 640, 700, 2_000, 70_000, MAX_SEALED_LEN, usize::MAX] {
            let padding = Padding::with_smallest(smallest);
            for content in (0..MAX_CONTENT).step_by(997) {
                let len = padding.sealed_len(content).unwrap();
                assert!(is_bucket(len) && len >= content + SEALED_FIXED_LEN + FRAGMENT_RESERVE, "{smallest} {content}");
            }
        }
    }
}
