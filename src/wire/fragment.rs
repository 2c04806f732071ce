//! Fragments of KEM keys and ciphertexts, as they travel in a payload. docs/PROTOCOL.md, "Fragments".

use crate::codec::{Reader, Write};
use crate::error::DecodeError;
use crate::limits::MAX_FRAGMENTS;
/// Length of one symbol.
pub(crate) const SYMBOL_LEN: usize = 32;

/// Length of a fragment without its symbols.
pub(crate) const FRAGMENT_OVERHEAD: usize = 11;

/// The first bytes of a hash, enough to tell two keys or two ciphertexts of one number apart.
pub(crate) type ShortId = [u8; 3];

/// What a fragment is a part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FragmentKind {
    /// An encapsulation key that the sender offers.
    Offer,
    /// A ciphertext for an offer of the receiver's.
    Ciphertext,
}

/// A run of symbols of one key or ciphertext.
///
/// ```text
/// kind(1: offer 1, ciphertext 2) || number(2: its low 16 bits) || offer id(3) || answer id(3, zeros in an offer)
///   || first symbol(1) || count(1, not 0) || symbols(32 each), first + count <= 256
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fragment<'a> {
    pub(crate) kind: FragmentKind,
    pub(crate) number: u16,
    pub(crate) offer_id: ShortId,
    pub(crate) answer_id: ShortId,
    pub(crate) first: u8,
    /// Whole symbols.
    pub(crate) symbols: &'a [u8],
}

impl<'a> Fragment<'a> {
    /// Reads one. `Ok(None)`: not a fragment, but its length is known, so that what follows can be read.
    fn read(reader: &mut Reader<'a>) -> Result<Option<Self>, DecodeError> {
        let kind = match reader.u8()? {
            1 => Some(FragmentKind::Offer),
            2 => Some(FragmentKind::Ciphertext),
            _ => None,
        };
        let number = reader.u16()?;
        let (offer_id, answer_id) = (*reader.array()?, *reader.array()?);
        let (first, count) = (reader.u8()?, reader.u8()?);
        let symbols = reader.slice(usize::from(count).saturating_mul(SYMBOL_LEN))?;
        let in_range = count > 0 && u16::from(first).saturating_add(u16::from(count)) <= 256;
        let fits = in_range && (kind != Some(FragmentKind::Offer) || answer_id == [0; 3]);
        let kind = kind.filter(|_| fits);
        Ok(kind.map(|kind| Self { kind, number, offer_id, answer_id, first, symbols }))
    }
}

/// What stands in front of a fragment's symbols.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FragmentStart {
    pub(crate) kind: FragmentKind,
    pub(crate) number: u16,
    pub(crate) offer_id: ShortId,
    pub(crate) answer_id: ShortId,
    pub(crate) first: u8,
    pub(crate) count: u8,
}

impl FragmentStart {
    pub(crate) fn write(&self, out: &mut impl Write) {
        out.u8(match self.kind {
            FragmentKind::Offer => 1,
            FragmentKind::Ciphertext => 2,
        });
        out.u16(self.number);
        out.bytes(&self.offer_id);
        out.bytes(&self.answer_id);
        out.u8(self.first);
        out.u8(self.count);
    }
}

/// The well-formed fragments of a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Fragments<'a> {
    list: [Option<Fragment<'a>>; MAX_FRAGMENTS],
    /// Whether another was none, or there were too many.
    pub(crate) bad: bool,
}

impl<'a> Fragments<'a> {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Fragment<'a>> {
        self.list.iter().flatten()
    }

    /// Reads a counted list. What runs over the end takes all that is left; so do more of them than may be.
    pub(crate) fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let mut fragments = Self::default();
        let count = reader.u8()?;
        let Some(places) = fragments.list.get_mut(..usize::from(count)) else {
            reader.rest();
            return Ok(Self { bad: true, ..Self::default() });
        };
        for place in places {
            if let Ok(fragment) = Fragment::read(reader) {
                fragments.bad |= fragment.is_none();
                *place = fragment;
            } else {
                reader.rest();
                fragments.bad = true;
                break;
            }
        }
        Ok(fragments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    fn fragment(symbols: &[u8]) -> Fragment<'_> {
        let kind = FragmentKind::Ciphertext;
        Fragment { kind, number: 7, offer_id: [1; 3], answer_id: [2; 3], first: 9, symbols }
    }

    fn write(fragment: &Fragment<'_>, out: &mut Vec<u8>) {
        let Fragment { kind, number, offer_id, answer_id, first, symbols } = *fragment;
        let count = u8::try_from(symbols.len() / SYMBOL_LEN).unwrap();
        FragmentStart { kind, number, offer_id, answer_id, first, count }.write(out);
        out.bytes(symbols);
    }

    fn read<'a>(reader: &mut Reader<'a>) -> (Vec<Fragment<'a>>, bool) {
        let fragments = Fragments::read(reader).unwrap();
        (fragments.iter().copied().collect(), !fragments.bad)
    }

    fn list(fragments: &[Vec<u8>], tail: usize) -> Vec<u8> {
        [vec![u8::try_from(fragments.len()).unwrap()], fragments.concat(), vec![0; tail]].concat()
    }

    #[test]
    fn bad_ones_are_dropped_and_good_ones_kept() {
        let symbols = [5; 64];
        let mut good = Vec::new();
        write(&fragment(&symbols), &mut good);
        assert_eq!(good.len(), FRAGMENT_OVERHEAD + 64);
        let changed = |place: usize, value: u8| {
            let mut bad = good.clone();
            bad[place] = value;
            bad
        };
        // An unknown kind, an offer with an answer id, no symbols' range left.
        for bad in [changed(0, 3), changed(0, 1), changed(9, 255)] {
            let bytes = list(&[bad, good.clone()], 3);
            let mut reader = Reader::new(&bytes);
            assert_eq!(read(&mut reader), (vec![fragment(&symbols)], false));
            assert_eq!(reader.rest(), [0; 3]);
        }
        let bytes = list(&[good.clone(), changed(10, 200)], 3);
        let mut reader = Reader::new(&bytes);
        assert_eq!(read(&mut reader), (vec![fragment(&symbols)], false));
        assert!(reader.is_empty());
        let bytes = list(&[&good; 5].map(Clone::clone), 3);
        let mut reader = Reader::new(&bytes);
        assert_eq!(read(&mut reader), (vec![], false));
        assert!(reader.is_empty());
        for count in [2, MAX_FRAGMENTS] {
            let bytes = list(&vec![good.clone(); count], 0);
            assert_eq!(read(&mut Reader::new(&bytes)), (vec![fragment(&symbols); count], true));
        }
        // One without symbols.
        let mut empty = Vec::new();
        write(&fragment(&[]), &mut empty);
        let bytes = list(&[empty, good], 0);
        assert_eq!(read(&mut Reader::new(&bytes)), (vec![fragment(&symbols)], false));
    }
}
