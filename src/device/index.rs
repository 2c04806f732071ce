//! From a tag to the sessions and chains that recognise it, in logarithmic time.

use crate::group::ChainId;
use crate::keys::SessionId;
use crate::ratchet::{TagSink, TagSource};
use crate::wire::sealed::Tag;
use alloc::collections::BTreeSet;

/// Who recognises a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Holder {
    Session(SessionId),
    Chain(ChainId),
}

/// Every tag that any session, or any chain of a group, recognises.
#[derive(Debug, Default)]
pub(super) struct TagIndex(BTreeSet<(Tag, Holder, TagSource)>);

impl TagIndex {
    /// Who recognises a tag: almost always nobody or one.
    pub(super) fn find(&self, tag: Tag) -> impl Iterator<Item = Holder> {
        let first = (tag, Holder::Session(SessionId::from_bytes([0; 16])), TagSource::Window);
        let last = (tag, Holder::Chain(ChainId([0xff; 16])), TagSource::Skipped);
        let mut previous = None;
        self.0.range(first..=last).map(|(_, holder, _)| *holder).filter(move |holder| {
            // Once for each, whatever the reasons.
            previous.replace(*holder) != Some(*holder)
        })
    }

    /// The index as one holder sees it.
    pub(super) fn of(&mut self, holder: Holder) -> impl TagSink {
        Entries { index: self, holder, removing: false }
    }

    /// The same, but what the holder announces is taken out.
    pub(super) fn without(&mut self, holder: Holder) -> impl TagSink {
        Entries { index: self, holder, removing: true }
    }
}

struct Entries<'a> {
    index: &'a mut TagIndex,
    holder: Holder,
    removing: bool,
}

impl TagSink for Entries<'_> {
    fn add(&mut self, tag: Tag, source: TagSource) {
        if self.removing {
            self.index.0.remove(&(tag, self.holder, source));
        } else {
            self.index.0.insert((tag, self.holder, source));
        }
    }

    fn remove(&mut self, tag: Tag, source: TagSource) {
        self.index.0.remove(&(tag, self.holder, source));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn finds_each_holder_once_and_only_for_its_tag() {
        let (a, b) = (Holder::Session(SessionId::from_bytes([9; 16])), Holder::Chain(ChainId([2; 16])));
        let mut index = TagIndex::default();
        index.of(a).add(Tag([7; 16]), TagSource::Window);
        index.of(a).add(Tag([7; 16]), TagSource::Skipped);
        index.of(b).add(Tag([7; 16]), TagSource::Skipped);
        index.of(b).add(Tag([8; 16]), TagSource::Window);
        assert_eq!(index.find(Tag([7; 16])).collect::<Vec<_>>(), [a, b]);
        index.of(a).remove(Tag([7; 16]), TagSource::Window);
        assert_eq!(index.find(Tag([7; 16])).collect::<Vec<_>>(), [a, b]);
        index.without(a).add(Tag([7; 16]), TagSource::Skipped);
        assert_eq!(index.find(Tag([7; 16])).collect::<Vec<_>>(), [b]);
        assert_eq!(index.find(Tag([9; 16])).count(), 0);
    }
}
