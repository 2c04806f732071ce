//! The erasure code of KEM keys and ciphertexts: 49 symbols of 32 bytes, any 49 of 256 rebuild them.
//!
//! Systematic: symbols 0 to 48 are the data. Symbol i from 49 on is, byte lane by byte lane, the value at i of the
//! polynomial over GF(2^8) (modulus 0x11d, generator 2) of degree below 49 that takes the data's bytes at 0 to 48. All of
//! it is public, so tables are fine. docs/PROTOCOL.md, "Erasure code".
//!
//! How it is fast: a value is a sum of products of coefficients and symbols. Bit by bit of the coefficients it is eight
//! plain sums of symbols, doubled and added up; and sums of four symbols are looked up in a table made once (the "four
//! Russians", Arlazarov, Dinic, Kronrod, Faradzev 1970).

use crate::codec::Write;
use crate::wire::fragment::SYMBOL_LEN;
use alloc::sync::Arc;

/// Symbols that carry the data itself, and that are needed to rebuild it.
pub(crate) const DATA_SYMBOLS: u8 = 49;

/// [`DATA_SYMBOLS`], as a length.
const NODES: usize = 49;

/// Length of what is coded: an encapsulation key or a ciphertext of ML-KEM-1024.
pub(crate) const CODED_LEN: usize = 1568;

/// Logarithms and powers of the generator.
struct Tables {
    log: [u8; 256],
    exp: [u8; 255],
}

static TABLES: Tables = tables();

#[expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "evaluated at compile time: in range")]
#[expect(clippy::as_conversions, clippy::cast_possible_truncation, reason = "evaluated at compile time: below 256")]
const fn tables() -> Tables {
    let (mut log, mut exp) = ([0; 256], [0; 255]);
    let (mut power, mut value) = (0_usize, 1_usize);
    while power < 255 {
        exp[power] = value as u8;
        log[value] = power as u8;
        value <<= 1;
        if value > 255 {
            value ^= 0x11d;
        }
        power += 1;
    }
    Tables { log, exp }
}

/// Coefficients of the 49 symbols, bit by bit: bit i of the k-th is bit k of the i-th symbol's coefficient.
type Masks = [u64; 8];

/// Lagrange's interpolation through 49 distinct nodes.
struct Basis {
    nodes: [u8; NODES],
    /// Logarithm of the product of a node's differences to the others.
    products: [u32; NODES],
}

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "also evaluated at compile time; indexes are below 49, or bytes into 256; sums of 49 logarithms are small"
)]
impl Basis {
    const fn new(nodes: [u8; NODES]) -> Self {
        let mut products = [0; NODES];
        let mut i = 0;
        while i < NODES {
            let mut j = 0;
            while j < NODES {
                if j != i {
                    products[i] += TABLES.log[(nodes[i] ^ nodes[j]) as usize] as u32;
                }
                j += 1;
            }
            i += 1;
        }
        Self { nodes, products }
    }

    /// With what to multiply the values at the nodes to get the value at `x`, which is none of them.
    const fn at(&self, x: u8) -> Masks {
        let (mut to_all, mut i) = (0, 0);
        while i < NODES {
            to_all += TABLES.log[(x ^ self.nodes[i]) as usize] as u32;
            i += 1;
        }
        let mut masks = [0; 8];
        i = 0;
        while i < NODES {
            let own = TABLES.log[(x ^ self.nodes[i]) as usize] as u32 + self.products[i];
            // 255 * 64 is above any product of 49 and a multiple of the group's order.
            let coefficient = TABLES.exp[((to_all + 255 * 64 - own) % 255) as usize] as u64;
            let mut bit = 0;
            while bit < 8 {
                masks[bit] |= ((coefficient >> bit) & 1) << i;
                bit += 1;
            }
            i += 1;
        }
        masks
    }

    /// Through the places of the data itself.
    const fn systematic() -> Self {
        let mut nodes = [0; NODES];
        let mut i = 0_u8;
        while i < DATA_SYMBOLS {
            nodes[i as usize] = i;
            i += 1;
        }
        Self::new(nodes)
    }

    /// [`Self::at`] for each symbol that is no data.
    const fn parity() -> [Masks; 256 - NODES] {
        let basis = Self::systematic();
        let mut masks = [[0; 8]; 256 - NODES];
        let mut i = 0;
        let mut x = DATA_SYMBOLS;
        while i < masks.len() {
            masks[i] = basis.at(x);
            i += 1;
            x = x.wrapping_add(1);
        }
        masks
    }
}

static PARITY: [Masks; 256 - NODES] = Basis::parity();

/// A symbol as four words.
type Words = [u64; 4];

fn words(symbol: &[u8]) -> Words {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(symbol.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    words
}

fn sum(mut words: Words, other: Words) -> Words {
    for (word, other) in words.iter_mut().zip(other) {
        *word ^= other;
    }
    words
}

/// Each byte times the generator.
fn double(words: Words) -> Words {
    words.map(|word| {
        let carries = (word >> 7) & 0x0101_0101_0101_0101;
        ((word & 0x7f7f_7f7f_7f7f_7f7f) << 1) ^ carries.wrapping_mul(0x1d)
    })
}

/// All sums of each four symbols in a row.
struct Sums([[Words; 16]; NODES.div_ceil(4)]);

impl Sums {
    fn of(symbols: &[u8]) -> Self {
        let mut groups = [[[0; 4]; 16]; NODES.div_ceil(4)];
        for (group, symbols) in groups.iter_mut().zip(symbols.chunks(4 * SYMBOL_LEN)) {
            for (bit, symbol) in symbols.chunks_exact(SYMBOL_LEN).enumerate() {
                let symbol = words(symbol);
                let (without, with) = group.split_at_mut(1_usize << bit);
                for (with, without) in with.iter_mut().zip(without) {
                    *with = sum(*without, symbol);
                }
            }
        }
        Self(groups)
    }

    fn value(&self, masks: &Masks) -> [u8; SYMBOL_LEN] {
        let mut value = [0; 4];
        for mask in masks.iter().rev() {
            value = double(value);
            let mut mask = *mask;
            for group in &self.0 {
                let four = usize::try_from(mask & 15).unwrap_or(0);
                value = sum(value, group.get(four).copied().unwrap_or_default());
                mask >>= 4;
            }
        }
        let mut symbol = [0; SYMBOL_LEN];
        for (bytes, word) in symbol.as_chunks_mut::<8>().0.iter_mut().zip(value) {
            *bytes = word.to_le_bytes();
        }
        symbol
    }
}

/// Writes a run of symbols of a coded string; `first + count` is at most 256.
pub(crate) fn write_symbols(data: &[u8; CODED_LEN], first: u8, count: u8, out: &mut impl Write) {
    let (mut index, end) = (usize::from(first), usize::from(first).saturating_add(usize::from(count)));
    let of_data = data.chunks_exact(SYMBOL_LEN).take(end).skip(index);
    for symbol in of_data {
        out.bytes(symbol);
        index = index.saturating_add(1);
    }
    if index < end {
        let sums = Sums::of(data);
        for masks in PARITY.iter().take(end.saturating_sub(NODES)).skip(index.saturating_sub(NODES)) {
            out.bytes(&sums.value(masks));
        }
    }
}

/// Symbols on their way to a whole. A copy shares them until it changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Assembly(Option<Arc<Collected>>);

/// The first `len` are there, their indexes ascend.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Collected {
    len: usize,
    indexes: [u8; NODES],
    symbols: [[u8; SYMBOL_LEN]; NODES],
}

impl Assembly {
    pub(crate) const EMPTY: Self = Self(None);

    /// Adds a symbol, unless it is there already or enough are.
    pub(crate) fn add(&mut self, index: u8, symbol: &[u8; SYMBOL_LEN]) {
        let len = self.len();
        let indexes = self.0.as_ref().and_then(|collected| collected.indexes.get(..len)).unwrap_or(&[]);
        let Err(place) = indexes.binary_search(&index) else { return };
        if self.is_complete() {
            return;
        }
        let collected = self.0.get_or_insert_with(|| {
            Arc::new(Collected { len: 0, indexes: [0; NODES], symbols: [[0; SYMBOL_LEN]; NODES] })
        });
        let collected = Arc::make_mut(collected);
        collected.len = len.saturating_add(1);
        insert(collected.indexes.get_mut(place..=len), index);
        insert(collected.symbols.get_mut(place..=len), *symbol);
    }

    /// Whether the string can be rebuilt.
    pub(crate) fn is_complete(&self) -> bool {
        self.len() >= NODES
    }

    /// The indexes and symbols, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u8, &[u8; SYMBOL_LEN])> {
        let collected = self.0.iter();
        collected.flat_map(|collected| collected.indexes.iter().copied().zip(&collected.symbols).take(collected.len))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |collected| collected.len)
    }

    /// Rebuilds the string; `None` while symbols are missing.
    pub(crate) fn rebuild(&self) -> Option<Arc<[u8; CODED_LEN]>> {
        let collected = self.0.as_ref().filter(|collected| collected.len == NODES)?;
        let basis = Basis::new(collected.indexes);
        let sums = Sums::of(collected.symbols.as_flattened());
        let mut data = [0; CODED_LEN];
        let mut known = self.iter().peekable();
        for (index, place) in (0..DATA_SYMBOLS).zip(data.as_chunks_mut::<SYMBOL_LEN>().0) {
            *place = match known.next_if(|(known, _)| *known == index) {
                Some((_, symbol)) => *symbol,
                None => sums.value(&basis.at(index)),
            };
        }
        Some(Arc::new(data))
    }
}

/// Makes a value the first; the others move up, and the last one goes.
fn insert<T>(places: Option<&mut [T]>, value: T) {
    let Some(places) = places else { return };
    places.rotate_right(1);
    if let Some(first) = places.first_mut() {
        *first = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn symbol(data: &[u8; CODED_LEN], index: u8) -> [u8; SYMBOL_LEN] {
        let mut out = Vec::new();
        write_symbols(data, index, 1, &mut out);
        out.try_into().unwrap()
    }

    /// Multiplication from its definition.
    fn multiply(mut a: u8, mut b: u8) -> u8 {
        let mut product = 0;
        while b > 0 {
            if b & 1 == 1 {
                product ^= a;
            }
            let carry = a >> 7;
            a <<= 1;
            if carry == 1 {
                a ^= 0x1d;
            }
            b >>= 1;
        }
        product
    }

    #[test]
    fn tables_multiply_as_defined() {
        for a in 1..=255 {
            for b in 1..=255 {
                let power = usize::from(TABLES.log[usize::from(a)]) + usize::from(TABLES.log[usize::from(b)]);
                assert_eq!(TABLES.exp[power % 255], multiply(a, b));
            }
        }
    }

    /// The polynomial x^48 has the symbols i^48, computed without interpolation.
    #[test]
    fn symbols_are_values_of_the_polynomial() {
        let power = |x: u8| (0..48).fold(1, |product, _| multiply(product, x));
        let mut data = [0; CODED_LEN];
        for (index, symbol) in (0..DATA_SYMBOLS).zip(data.chunks_exact_mut(SYMBOL_LEN)) {
            symbol.fill(power(index));
        }
        for index in 0..=255 {
            assert_eq!(symbol(&data, index), [power(index); SYMBOL_LEN], "symbol {index}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn any_49_of_256_rebuild(seed in any::<[u8; 32]>(), indexes in prop::sample::subsequence((0..=255_u8).collect::<Vec<_>>(), 49)) {
            let mut data = [0; CODED_LEN];
            for (i, byte) in data.iter_mut().enumerate() {
                *byte = seed[i % 32].rotate_left(u32::try_from(i / 32 % 8).unwrap()) ^ u8::try_from(i / 8).unwrap();
            }
            let mut assembly = Assembly::default();
            for (i, index) in indexes.iter().rev().enumerate() {
                prop_assert_eq!(assembly.rebuild(), None);
                prop_assert_eq!(assembly.len(), i);
                assembly.add(*index, &symbol(&data, *index));
                assembly.add(*index, &[0; SYMBOL_LEN]);
            }
            prop_assert_eq!(*assembly.rebuild().unwrap(), data);
        }
    }
}
