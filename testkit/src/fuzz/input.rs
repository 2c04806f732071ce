//! The fuzzer's bytes, read as values.

use sceau::vectors::RawHeader;

/// Bytes that are taken from the front; behind their end there are zeros.
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        let taken = self.slice(N);
        bytes[..taken.len()].copy_from_slice(taken);
        bytes
    }

    /// At most so many bytes.
    pub(super) fn slice(&mut self, len: usize) -> &'a [u8] {
        let (head, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        head
    }

    pub(super) fn u8(&mut self) -> u8 {
        let [byte] = self.array();
        byte
    }

    pub(super) fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.array())
    }

    pub(super) fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.array())
    }

    pub(super) fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.array())
    }

    /// One of these many.
    pub(super) fn below(&mut self, count: usize) -> usize {
        usize::from(self.u8()) % count.max(1)
    }

    /// A number near another, or any.
    pub(super) fn near(&mut self, number: u64) -> u64 {
        match self.u8() {
            0 => number,
            1 => self.u64(),
            2 => number.wrapping_add(self.u64()),
            small => number.wrapping_add_signed(i64::from(small.cast_signed())),
        }
    }

    /// The same of half the width.
    fn near32(&mut self, number: u32) -> u32 {
        match self.u8() {
            0 => number,
            1 => self.u32(),
            2 => number.wrapping_add(u32::from(self.u16())),
            small => number.wrapping_add_signed(i32::from(small.cast_signed())),
        }
    }

    /// Changes some bytes: a count, then places and what is added to each.
    pub(super) fn damage(&mut self, bytes: &mut [u8]) {
        for _ in 0..self.below(8) {
            let (place, value) = (usize::from(self.u16()) % bytes.len().max(1), self.u8());
            if let Some(byte) = bytes.get_mut(place) {
                *byte ^= value;
            }
        }
    }

    /// Changes fields of a header, and says which: a set of them, then for each what it becomes.
    pub(super) fn header(&mut self, header: &mut RawHeader) -> RawHeader {
        let (before, fields) = (*header, self.u8());
        if fields & 1 > 0 {
            match self.below(4) {
                0 => header.ratchet_key = SMALL_ORDER[self.below(SMALL_ORDER.len())],
                1 => header.ratchet_key = self.array(),
                2 => header.ratchet_key[31] ^= 0x80,
                _ => self.damage(&mut header.ratchet_key),
            }
        }
        if fields & 2 > 0 {
            header.previous_chain_len = self.near32(header.previous_chain_len);
        }
        if fields & 4 > 0 {
            header.n = self.near32(header.n);
        }
        if fields & 8 > 0 {
            header.kem_epoch = self.near32(header.kem_epoch);
        }
        before
    }
}

/// Points of X25519 of small order, and encodings of them that are not canonical.
const SMALL_ORDER: [[u8; 32]; 5] =
    [[0; 32], little(1, 0, 0), little(0xec, 0xff, 0x7f), little(0xed, 0xff, 0x7f), little(0xee, 0xff, 0x7f)];

/// A number by its first, its middle and its last byte.
const fn little(first: u8, middle: u8, last: u8) -> [u8; 32] {
    let mut bytes = [middle; 32];
    bytes[0] = first;
    bytes[31] = last;
    bytes
}
