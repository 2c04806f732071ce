//! Bytes in, values out: strict, canonical, bounded. Knows no message.
//!
//! A [`Reader`] can't index and can't panic. A value has one encoding: `decode(x) == Ok(v)` implies `v.encode() == x`.

use crate::error::DecodeError;
use alloc::vec::Vec;

/// What is left of an input.
#[derive(Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Decodes one value that must fill the whole input.
    pub(crate) fn whole<T>(
        bytes: &'a [u8],
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        let mut reader = Self(bytes);
        let value = read(&mut reader)?;
        reader.end()?;
        Ok(value)
    }

    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], DecodeError> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(head)
    }

    /// The next `len` bytes. The caller has bounded `len`; nothing is allocated.
    pub(crate) fn slice(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self.0.split_at_checked(len).ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(head)
    }

    /// All that is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.0)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| *byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(|bytes| u16::from_be_bytes(*bytes))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(|bytes| u32::from_be_bytes(*bytes))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(|bytes| u64::from_be_bytes(*bytes))
    }

    /// One byte that must be 0 or 1.
    pub(crate) fn flag(&mut self) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Invalid),
        }
    }

    /// A 32-bit count, refused above `max` before anything is allocated for it.
    pub(crate) fn count(&mut self, max: usize) -> Result<usize, DecodeError> {
        let count = usize::try_from(self.u32()?).map_err(|_| DecodeError::TooLong)?;
        if count > max {
            return Err(DecodeError::TooLong);
        }
        Ok(count)
    }

    /// The next `len` bytes, which must all be zero.
    pub(crate) fn zeros(&mut self, len: usize) -> Result<(), DecodeError> {
        if self.slice(len)?.iter().all(|&byte| byte == 0) { Ok(()) } else { Err(DecodeError::Invalid) }
    }

    /// Refuses trailing bytes.
    pub(crate) fn end(&self) -> Result<(), DecodeError> {
        if self.0.is_empty() { Ok(()) } else { Err(DecodeError::Trailing) }
    }
}

/// Appends fixed-width, big-endian fields.
pub(crate) trait Write {
    fn bytes(&mut self, bytes: &[u8]);

    fn u8(&mut self, value: u8) {
        self.bytes(&[value]);
    }
    fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }
    fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }
    fn u64(&mut self, value: u64) {
        self.bytes(&value.to_be_bytes());
    }
    fn flag(&mut self, value: bool) {
        self.u8(u8::from(value));
    }
    /// A count as 32 bits. Every list of this crate is bounded far below 2^32.
    fn count(&mut self, value: usize) {
        self.u32(u32::try_from(value).unwrap_or(u32::MAX));
    }
}

impl Write for Vec<u8> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_was_written() {
        let mut bytes = Vec::new();
        bytes.u8(7);
        bytes.u32(0x0304_0506);
        bytes.u64(9);
        bytes.flag(true);
        bytes.count(3);
        assert_eq!(bytes[..5], [7, 3, 4, 5, 6]);
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.u8(), Ok(7));
        assert_eq!(reader.u32(), Ok(0x0304_0506));
        assert_eq!(reader.u64(), Ok(9));
        assert_eq!(reader.flag(), Ok(true));
        assert_eq!(reader.count(3), Ok(3));
        assert!(reader.is_empty());
        assert_eq!(reader.u8(), Err(DecodeError::Truncated));
    }

    #[test]
    fn refuses_what_is_not_canonical() {
        assert_eq!(Reader::new(&[2]).flag(), Err(DecodeError::Invalid));
        assert_eq!(Reader::new(&[0, 0, 0, 4]).count(3), Err(DecodeError::TooLong));
        assert_eq!(Reader::new(&[0, 1]).zeros(2), Err(DecodeError::Invalid));
        assert_eq!(Reader::whole(&[0, 1], Reader::u8), Err(DecodeError::Trailing));
    }
}
