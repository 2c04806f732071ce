//! From a tag to the sessions that recognise it, in logarithmic time.

use crate::keys::SessionId;
use crate::ratchet::{TagSink, TagSource};
use crate::wire::sealed::Tag;
use alloc::collections::BTreeSet;

/// Every tag that any session recognises.
#[derive(Debug, Default)]
pub(super) struct TagIndex(BTreeSet<(Tag, SessionId, TagSource)>);

impl TagIndex {
    /// The sessions that recognise a tag: almost always none or one.
    pub(super) fn find(&self, tag: Tag) -> impl Iterator<Item = SessionId> {
        let first = (tag, SessionId::from_bytes([0; 16]), TagSource::Window);
        let last = (tag, SessionId::from_bytes([0xff; 16]), TagSource::Skipped);
        let mut previous = None;
        self.0.range(first..=last).map(|(_, session, _)| *session).filter(move |session| {
            // Once for each session, whatever the reasons.
            previous.replace(*session) != Some(*session)
        })
    }

    /// The index as one session sees it.
    pub(super) fn of(&mut self, session: SessionId) -> impl TagSink {
        Entries { index: self, session, removing: false }
    }

    /// The same, but what the session announces is taken out.
    pub(super) fn without(&mut self, session: SessionId) -> impl TagSink {
        Entries { index: self, session, removing: true }
    }
}

struct Entries<'a> {
    index: &'a mut TagIndex,
    session: SessionId,
    removing: bool,
}

impl TagSink for Entries<'_> {
    fn add(&mut self, tag: Tag, source: TagSource) {
        if self.removing {
            self.index.0.remove(&(tag, self.session, source));
        } else {
            self.index.0.insert((tag, self.session, source));
        }
    }

    fn remove(&mut self, tag: Tag, source: TagSource) {
        self.index.0.remove(&(tag, self.session, source));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn finds_each_session_once_and_only_for_its_tag() {
        let (a, b) = (SessionId::from_bytes([1; 16]), SessionId::from_bytes([2; 16]));
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
