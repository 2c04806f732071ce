//! Names as text: what people copy and scanners read. One name has one text, as one value has one encoding.
//!
//! Bytes are lower-case hexadecimal digits, or, in QR codes, upper-case base 32 (RFC 4648). Reading is strict: what `Display`
//! prints, and nothing else. With the feature `serde` a name is its text in formats that people read, its bytes in others.

use crate::error::DecodeError;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Writes hexadecimal digits, with a space between groups of so many bytes.
pub(crate) fn write_hex(bytes: &[u8], group: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (i, group) in bytes.chunks(group).enumerate() {
        if i > 0 {
            f.write_str(" ")?;
        }
        for byte in group {
            write!(f, "{byte:02x}")?;
        }
    }
    Ok(())
}

/// Reads what [`write_hex`] wrote.
pub(crate) fn read_hex<const N: usize>(text: &str, group: usize) -> Result<[u8; N], DecodeError> {
    let mut characters = text.bytes();
    let mut next = || characters.next().ok_or(DecodeError::Truncated);
    let mut bytes = [0; N];
    for (i, group) in bytes.chunks_mut(group).enumerate() {
        if i > 0 && next()? != b' ' {
            return Err(DecodeError::Invalid);
        }
        for byte in group {
            *byte = (digit(next()?)? << 4) | digit(next()?)?;
        }
    }
    if characters.next().is_none() { Ok(bytes) } else { Err(DecodeError::Trailing) }
}

fn digit(character: u8) -> Result<u8, DecodeError> {
    position(b"0123456789abcdef", character)
}

/// Where a character stands in an alphabet.
fn position(alphabet: &[u8], character: u8) -> Result<u8, DecodeError> {
    let place = alphabet.iter().position(|known| *known == character).ok_or(DecodeError::Invalid)?;
    u8::try_from(place).map_err(|_| DecodeError::Invalid)
}

const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Appends base 32. As many bytes as are whole groups of five: no bits are left over, and nothing is padded.
pub(crate) fn write_base32(bytes: &[u8], text: &mut String) {
    debug_assert!(bytes.len().is_multiple_of(5), "whole groups of five");
    for group in bytes.chunks_exact(5) {
        let bits = group.iter().fold(0_u64, |bits, byte| (bits << 8) | u64::from(*byte));
        for shift in (0..8_u32).rev() {
            let index = usize::try_from((bits >> shift.saturating_mul(5)) & 31).unwrap_or(0);
            text.push(char::from(BASE32.get(index).copied().unwrap_or(b'A')));
        }
    }
}

/// Reads what [`write_base32`] wrote.
pub(crate) fn read_base32(text: &str) -> Result<Vec<u8>, DecodeError> {
    let groups = text.as_bytes().chunks_exact(8);
    if !groups.remainder().is_empty() {
        return Err(DecodeError::Truncated);
    }
    let mut bytes = Vec::with_capacity(text.len());
    for group in groups {
        let mut bits = 0_u64;
        for character in group {
            bits = (bits << 5) | u64::from(position(BASE32, *character)?);
        }
        bytes.extend(bits.to_be_bytes().into_iter().skip(3));
    }
    Ok(bytes)
}

/// Display, `FromStr` and serde for a name, `struct Name([u8; N])`: hexadecimal digits, in groups of so many bytes.
macro_rules! text {
    ($name:ident, groups of $group:expr) => {
        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                crate::text::write_hex(&self.0, $group, f)
            }
        }

        impl core::str::FromStr for $name {
            type Err = crate::error::DecodeError;

            /// Reads what `Display` prints, and nothing else.
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                crate::text::read_hex(text, $group).map(Self)
            }
        }

        #[cfg(feature = "serde")]
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                crate::text::serialize(self, &self.0, serializer)
            }
        }

        #[cfg(feature = "serde")]
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                crate::text::deserialize(Self, deserializer)
            }
        }
    };
    ($name:ident) => {
        crate::text::text!($name, groups of $name::LEN);
    };
}
pub(crate) use text;

#[cfg(feature = "serde")]
pub(crate) use serde_impl::{deserialize, serialize};

#[cfg(feature = "serde")]
mod serde_impl {
    use core::fmt::{self, Display};
    use core::marker::PhantomData;
    use core::str::FromStr;
    use serde::de::{Deserializer, Error, SeqAccess, Visitor};
    use serde::ser::Serializer;

    /// A text where people read the format, else bytes.
    pub(crate) fn serialize<S: Serializer>(
        name: &impl Display,
        bytes: &[u8],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(name) } else { serializer.serialize_bytes(bytes) }
    }

    /// Reads what [`serialize`] wrote.
    pub(crate) fn deserialize<'de, T: FromStr, D: Deserializer<'de>, const N: usize>(
        make: fn([u8; N]) -> T,
        deserializer: D,
    ) -> Result<T, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(Text(PhantomData))
        } else {
            deserializer.deserialize_bytes(Bytes(make))
        }
    }

    struct Text<T>(PhantomData<T>);

    impl<T: FromStr> Visitor<'_> for Text<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a name in hexadecimal digits")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(|_| E::custom("not a name in hexadecimal digits"))
        }
    }

    struct Bytes<T, const N: usize>(fn([u8; N]) -> T);

    impl<'de, T, const N: usize> Visitor<'de> for Bytes<T, N> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a name of {N} bytes")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<T, E> {
            bytes.try_into().map(self.0).map_err(|_| E::invalid_length(bytes.len(), &self))
        }

        /// Formats without a type for bytes give a sequence.
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<T, A::Error> {
            let mut bytes = [0; N];
            for (i, byte) in bytes.iter_mut().enumerate() {
                *byte = seq.next_element()?.ok_or_else(|| A::Error::invalid_length(i, &self))?;
            }
            match seq.next_element::<u8>()? {
                None => Ok((self.0)(bytes)),
                Some(_) => Err(A::Error::invalid_length(N.saturating_add(1), &self)),
            }
        }
    }
}
