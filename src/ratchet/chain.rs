//! Chains: message keys, header keys, tags, and the windows of tags that a receiver recognises.

use crate::crypto::kdf::{self, MacKey};
use crate::crypto::{aead, counted};
use crate::keys::MailboxAddress;
use crate::labels::Label;
use crate::secret::{Secret, guarded, secret_role};
use crate::wire::sealed::Tag;
use alloc::collections::VecDeque;
use core::ops::Range;

secret_role! {
    /// What a chain's header key and tag key come from; known one root step before its chain key.
    HeaderSecret, 32
}

/// `ck'(32) || mk(32) = EXPAND(ck, label, 64)`, to where they are wanted.
pub(crate) fn kdf_ck(chain_key: &[u8; 32], next: &mut [u8; 32], message_key: &mut [u8; 32]) {
    counted!(chain_steps);
    let mut okm = guarded::<64>();
    kdf::expand_into(chain_key, Label::ChainStep, [&[], &[]], okm.as_mut_slice());
    for (key, bytes) in [next, message_key].into_iter().zip(okm.as_chunks::<32>().0) {
        key.copy_from_slice(bytes);
    }
}

/// A chain's header secret and the keys that come from it. Knows no chain key.
#[derive(Debug)]
pub(crate) struct ChainKeys {
    secret: HeaderSecret,
    header_key: Secret<32>,
    tag_key: MacKey,
    mailbox: MailboxAddress,
}

impl ChainKeys {
    /// `hk = EXPAND(header secret, label || context, 32)`, `tk` likewise under its own label.
    pub(crate) fn derive(secret: &[u8; 32], context: &[u8; 32]) -> Self {
        let header_key = kdf::expand(secret, Label::HeaderKey, context);
        let tag_key = kdf::expand::<32>(secret, Label::TagKey, context);
        let mailbox = MailboxAddress(*kdf::expand::<32>(secret, Label::Mailbox, context).expose());
        Self { secret: HeaderSecret::new(secret), header_key, tag_key: MacKey::new(tag_key.expose()), mailbox }
    }

    pub(crate) fn secret(&self) -> &HeaderSecret {
        &self.secret
    }

    pub(crate) fn header_key(&self) -> &[u8; 32] {
        self.header_key.expose()
    }

    /// `EXPAND(header secret, label || context, 32)`: where the chain's messages can go.
    pub(crate) fn mailbox(&self) -> MailboxAddress {
        self.mailbox
    }

    /// `tag_n = HMAC-SHA-256(tk, n)[0..16]`.
    pub(crate) fn tag(&self, n: u32) -> Tag {
        Tag(self.tag_key.mac16(&[&n.to_be_bytes()]))
    }

    /// Whether `tag` is that of the n-th message, in constant time.
    pub(crate) fn is_tag(&self, n: u32, tag: &Tag) -> bool {
        aead::equal(&self.tag(n).0, &tag.0)
    }
}

/// Why a tag is in the index. A tag can be there for both reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TagSource {
    /// It lies in the window of a chain: to come, or opened lately.
    Window,
    /// Its message was skipped.
    Skipped,
}

/// Told of every tag that a session comes to recognise, or stops to.
pub(crate) trait TagSink {
    fn add(&mut self, tag: Tag, source: TagSource);
    fn remove(&mut self, tag: Tag, source: TagSource);
}

/// For a session that stands alone.
impl TagSink for () {
    fn add(&mut self, _: Tag, _: TagSource) {}
    fn remove(&mut self, _: Tag, _: TagSource) {}
}

/// The tags of a run of positions, kept so that a lookup costs no HMAC. Nothing but a cache of the chain's keys.
#[derive(Debug, Default)]
pub(crate) struct TagWindow {
    start: u32,
    tags: VecDeque<Tag>,
}

impl TagWindow {
    fn end(&self) -> u32 {
        self.start.saturating_add(u32::try_from(self.tags.len()).unwrap_or(u32::MAX))
    }

    /// The position of a tag.
    pub(crate) fn find(&self, tag: &Tag) -> Option<u32> {
        (self.start..self.end()).zip(&self.tags).find(|(_, known)| *known == tag).map(|(n, _)| n)
    }

    /// The tag of a position that it covers.
    pub(crate) fn at(&self, n: u32) -> Option<&Tag> {
        self.tags.get(usize::try_from(n.checked_sub(self.start)?).ok()?)
    }

    /// Makes the window cover `range` and nothing else, computing only the tags that are new.
    pub(crate) fn cover(&mut self, range: &Range<u32>, keys: &ChainKeys, sink: &mut dyn TagSink) {
        if range.end <= self.start || self.end() <= range.start {
            self.clear(sink);
            self.start = range.start;
        }
        while self.start < range.start {
            self.start = self.start.saturating_add(1);
            forget(self.tags.pop_front(), sink);
        }
        while self.end() > range.end {
            forget(self.tags.pop_back(), sink);
        }
        while self.start > range.start {
            self.start = self.start.saturating_sub(1);
            let tag = keys.tag(self.start);
            self.tags.push_front(tag);
            sink.add(tag, TagSource::Window);
        }
        while self.end() < range.end {
            let tag = keys.tag(self.end());
            self.tags.push_back(tag);
            sink.add(tag, TagSource::Window);
        }
    }

    /// Forgets every tag.
    pub(crate) fn clear(&mut self, sink: &mut dyn TagSink) {
        while let Some(tag) = self.tags.pop_back() {
            sink.remove(tag, TagSource::Window);
        }
    }

    /// The tags it covers.
    pub(crate) fn tags(&self) -> impl Iterator<Item = &Tag> {
        self.tags.iter()
    }
}

fn forget(tag: Option<Tag>, sink: &mut dyn TagSink) {
    if let Some(tag) = tag {
        sink.remove(tag, TagSource::Window);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[derive(Default)]
    struct Set {
        tags: alloc::collections::BTreeSet<Tag>,
        told: usize,
    }
    impl TagSink for Set {
        fn add(&mut self, tag: Tag, _: TagSource) {
            assert!(self.tags.insert(tag));
            self.told += 1;
        }
        fn remove(&mut self, tag: Tag, _: TagSource) {
            assert!(self.tags.remove(&tag));
            self.told += 1;
        }
    }

    #[test]
    fn window_covers_what_it_is_asked_to_and_tells_the_difference() {
        let keys = ChainKeys::derive(&[1; 32], &[2; 32]);
        let (mut window, mut sink) = (TagWindow::default(), Set::default());
        let mut before = 0..0;
        for range in [0..8, 0..20, 10..90, 5..60, 70_000..70_010, 3..4, 3..3, 0..8] {
            sink.told = 0;
            window.cover(&range, &keys, &mut sink);
            let expected: Vec<Tag> = range.clone().map(|n| keys.tag(n)).collect();
            assert_eq!(window.tags().copied().collect::<Vec<_>>(), expected);
            assert_eq!(sink.tags, expected.iter().copied().collect());
            let kept = range.clone().filter(|n| before.contains(n)).count();
            assert_eq!(sink.told, before.len() + range.len() - 2 * kept, "what stays is not told again");
            before = range.clone();
            for n in range {
                assert_eq!(window.find(&keys.tag(n)), Some(n));
                assert_eq!(window.at(n), Some(&keys.tag(n)));
            }
            assert_eq!((window.at(window.start.wrapping_sub(1)), window.at(window.end())), (None, None));
        }
        assert_eq!(window.find(&keys.tag(8)), None);
    }
}
