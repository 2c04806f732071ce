//! The erasure code of KEM keys and ciphertexts: 49 symbols of 32 bytes, any 49 of 256 rebuild them.
//!
//! Systematic: symbols 0 to 48 are the data. Symbol i from 49 on is, byte lane by byte lane, the value at i of the
//! polynomial over GF(2^8) (modulus 0x11d, generator 2) of degree below 49 that takes the data's bytes at 0 to 48. All of
//! it is public, so tables are fine. docs/PROTOCOL.md, "Erasure code".

use crate::wire::fragment::SYMBOL_LEN;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// Symbols that carry the data itself, and that are needed to rebuild it.
pub(crate) const DATA_SYMBOLS: u8 = 49;

/// Length of what is coded: an encapsulation key or a ciphertext of ML-KEM-1024.
pub(crate) const CODED_LEN: usize = 1568;

/// Logarithms and powers of the generator.
struct Tables {
    log: [u8; 256],
    exp: [u8; 256],
}

static TABLES: Tables = tables();

#[expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "evaluated at compile time: in range")]
#[expect(clippy::as_conversions, clippy::cast_possible_truncation, reason = "evaluated at compile time: below 256")]
const fn tables() -> Tables {
    let (mut log, mut exp) = ([0; 256], [0; 256]);
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
    exp[255] = exp[0];
    Tables { log, exp }
}

/// The logarithm of a value that is not 0.
fn log(value: u8) -> u32 {
    TABLES.log.get(usize::from(value)).copied().map_or(0, u32::from)
}

/// The generator to this power.
fn exp(power: u32) -> u8 {
    let power = usize::try_from(power.checked_rem(255).unwrap_or(0)).unwrap_or(0);
    TABLES.exp.get(power).copied().unwrap_or(0)
}

/// Lagrange's coefficients: with what to multiply the values at `nodes` to get the value at `x`. The nodes are distinct
/// and `x` is none of them.
fn coefficients(nodes: &[u8], x: u8) -> Vec<u8> {
    // Products as sums of logarithms: at most 50 terms below 255 each.
    let to_all: u32 = nodes.iter().fold(0, |sum, node| sum.wrapping_add(log(x ^ node)));
    let coefficient = |node: &u8| {
        let others = nodes.iter().filter(|other| *other != node);
        let denominator = others.fold(log(x ^ node), |sum, other| sum.wrapping_add(log(node ^ other)));
        // 255 * 64 is above any denominator and a multiple of the group's order.
        exp(to_all.wrapping_add(255 * 64).wrapping_sub(denominator))
    };
    nodes.iter().map(coefficient).collect()
}

/// The value at `x` of the polynomials that take these symbols at these nodes.
fn interpolate<'a>(nodes: &[u8], symbols: impl Iterator<Item = &'a [u8]>, x: u8) -> [u8; SYMBOL_LEN] {
    let mut value = [0; SYMBOL_LEN];
    for (coefficient, symbol) in coefficients(nodes, x).into_iter().zip(symbols) {
        let factor = log(coefficient);
        for (to, from) in value.iter_mut().zip(symbol) {
            if *from != 0 {
                *to ^= exp(factor.wrapping_add(log(*from)));
            }
        }
    }
    value
}

/// One symbol of a coded string.
pub(crate) fn symbol(data: &[u8; CODED_LEN], index: u8) -> [u8; SYMBOL_LEN] {
    let mut symbols = data.chunks_exact(SYMBOL_LEN);
    if index < DATA_SYMBOLS {
        let symbol = symbols.nth(usize::from(index)).and_then(|symbol| symbol.first_chunk());
        return symbol.copied().unwrap_or([0; SYMBOL_LEN]);
    }
    let nodes: Vec<u8> = (0..DATA_SYMBOLS).collect();
    interpolate(&nodes, symbols, index)
}

/// Symbols on their way to a whole. Indexes ascend; at most 49.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Assembly {
    indexes: Vec<u8>,
    symbols: Vec<u8>,
}

impl Assembly {
    pub(crate) const EMPTY: Self = Self { indexes: Vec::new(), symbols: Vec::new() };

    /// Adds a symbol, unless it is there already or enough are.
    pub(crate) fn add(&mut self, index: u8, symbol: &[u8; SYMBOL_LEN]) {
        if let Err(place) = self.indexes.binary_search(&index)
            && !self.is_complete()
        {
            self.indexes.insert(place, index);
            let at = place.saturating_mul(SYMBOL_LEN);
            self.symbols.splice(at..at, symbol.iter().copied());
        }
    }

    /// Whether the string can be rebuilt.
    pub(crate) fn is_complete(&self) -> bool {
        self.indexes.len() >= usize::from(DATA_SYMBOLS)
    }

    /// The indexes and symbols, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u8, &[u8])> {
        self.indexes.iter().copied().zip(self.symbols.chunks_exact(SYMBOL_LEN))
    }

    pub(crate) fn len(&self) -> usize {
        self.indexes.len()
    }

    /// Rebuilds the string; `None` while symbols are missing.
    pub(crate) fn rebuild(&self) -> Option<Box<[u8; CODED_LEN]>> {
        if !self.is_complete() {
            return None;
        }
        let mut data = Box::new([0; CODED_LEN]);
        for (index, place) in (0..DATA_SYMBOLS).zip(data.chunks_exact_mut(SYMBOL_LEN)) {
            match self.iter().find(|(known, _)| *known == index) {
                Some((_, symbol)) => place.copy_from_slice(symbol),
                None => {
                    place.copy_from_slice(&interpolate(&self.indexes, self.symbols.chunks_exact(SYMBOL_LEN), index));
                }
            }
        }
        Some(data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
                assert_eq!(exp(log(a) + log(b)), multiply(a, b));
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
