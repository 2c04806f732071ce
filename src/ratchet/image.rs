//! The ratchet's image. Skipped keys are stored beside it, in blocks.

use crate::codec::{Reader, Write};
use crate::crypto::aead;
use crate::crypto::dh::DhPrivate;
use crate::error::DecodeError;
use crate::keys::{DhKeyPair, DhPublic};
use crate::limits::{MAX_CHAIN_LEN, MAX_SKIPPED};
use crate::ratchet::chain::{ChainKeys, HeaderSecret};
use crate::ratchet::kem::{Introduced, KemRatchet};
use crate::ratchet::skipped::SkippedKeys;
use crate::ratchet::state::{Line, Ratchet, Sending};
use crate::secret::Secret;
use alloc::collections::VecDeque;

impl Ratchet {
    /// Longest image, skipped keys apart.
    pub(crate) const MAX_STATE_LEN: usize =
        32 + 32 + 32 + 1 + 104 + 32 + 8 + 1 + 3 * 36 + 32 + 4 + KemRatchet::MAX_STATE_LEN;

    /// Writes everything but the skipped keys:
    ///
    /// ```text
    /// context(32) || root key(32) || remote ratchet key(32)
    ///   || 0(1) || previous chain length(4)                                                     idle
    ///   or 1(1) || ratchet private key(32) || header secret(32) || ck(32) || n(4) || pn(4)      active
    ///   || next sending header secret(32) || number of the first line(8) || lines(1: 1, 2 or 3)
    ///   || (header secret(32) || next(4)) each || receiving ck(32) if there are 2 lines or more
    ///   || number of skipped keys(4) || KEM ratchet
    /// ```
    pub(crate) fn write(&self, out: &mut impl Write) {
        out.bytes(&self.context);
        out.bytes(self.root_key.expose());
        out.bytes(&self.remote.key.0);
        match &self.sending {
            Sending::Idle { previous_chain_len } => {
                out.u8(0);
                out.u32(*previous_chain_len);
            }
            Sending::Active { key_pair, keys, chain_key, n, previous_chain_len } => {
                out.u8(1);
                out.bytes(key_pair.private().expose());
                out.bytes(keys.secret().expose());
                out.bytes(chain_key.expose());
                out.u32(*n);
                out.u32(*previous_chain_len);
            }
        }
        out.bytes(self.next_send.expose());
        out.u64(self.first_line);
        out.u8(u8::try_from(self.lines.len()).unwrap_or(u8::MAX));
        for line in &self.lines {
            out.bytes(line.keys.secret().expose());
            out.u32(line.next);
        }
        if self.lines.len() >= 2 {
            out.bytes(self.chain_key.expose());
        }
        out.count(self.skipped.len());
        self.kem.write(out);
    }

    /// Reads what [`Self::write`] wrote. Skipped keys come afterwards, then [`Self::finish_restore`].
    pub(crate) fn read(reader: &mut Reader<'_>, introduced: Introduced<'_>) -> Result<Self, DecodeError> {
        let context = *reader.array()?;
        let root_key = Secret::new(reader.array()?);
        let remote = DhPublic(*reader.array()?).into();
        let sending = if reader.flag()? {
            let key_pair = DhKeyPair::from_private(DhPrivate::from_bytes(reader.array()?));
            let keys = ChainKeys::derive(reader.array()?, &context);
            let chain_key = Secret::new(reader.array()?);
            let n = position(reader)?;
            if n == 0 {
                return Err(DecodeError::Invalid);
            }
            Sending::Active { key_pair, keys, chain_key, n, previous_chain_len: position(reader)? }
        } else {
            Sending::Idle { previous_chain_len: position(reader)? }
        };
        let next_send = HeaderSecret::new(reader.array()?);
        let first_line = reader.u64()?;
        let count = reader.u8()?;
        if !(1..=3).contains(&count) || (count < 3 && first_line != 0) || first_line > u64::MAX / 2 {
            return Err(DecodeError::Invalid);
        }
        let mut lines = VecDeque::new();
        for index in 1..=count {
            let mut line = Line::new(reader.array()?, &context);
            line.next = position(reader)?;
            // The current chain has opened at least one message; the next one none.
            let role = count.saturating_sub(index);
            if (role == 0 && line.next != 0) || (role == 1 && line.next == 0) {
                return Err(DecodeError::Invalid);
            }
            lines.push_back(line);
        }
        let chain_key = if count >= 2 { Secret::new(reader.array()?) } else { Secret::new(&[0; 32]) };
        let skipped = SkippedKeys::expecting(reader.count(MAX_SKIPPED)?);
        // Nothing was received yet: nothing was sent before this chain.
        let first_chain = match &sending {
            Sending::Idle { previous_chain_len } | Sending::Active { previous_chain_len, .. } => {
                *previous_chain_len == 0
            }
        };
        if count == 1 && !first_chain {
            return Err(DecodeError::Invalid);
        }
        let kem = KemRatchet::read(reader, introduced)?;
        if count == 1 && (kem.sent_epoch(), kem.received_epoch()) != (0, 0) {
            return Err(DecodeError::Invalid);
        }
        Ok(Self { context, root_key, remote, sending, next_send, lines, first_line, chain_key, skipped, kem })
    }

    /// Checks what binds skipped keys to lines and fills the windows.
    pub(crate) fn finish_restore(&mut self) -> Result<(), DecodeError> {
        // In the next chain nothing was received, and so nothing skipped.
        let newest = self.line_number(self.lines.len().saturating_sub(2));
        let consistent = self.skipped.all(|chain, entry, keys| {
            let line = chain
                .checked_sub(self.first_line)
                .and_then(|index| usize::try_from(index).ok())
                .and_then(|index| self.lines.get(index));
            chain <= newest
                && line.is_none_or(|line| {
                    entry.n < line.next && aead::equal(line.keys.secret().expose(), keys.secret().expose())
                })
        });
        if !consistent || !self.skipped.is_complete() {
            return Err(DecodeError::Invalid);
        }
        self.refresh_windows(&mut ());
        Ok(())
    }
}

fn position(reader: &mut Reader<'_>) -> Result<u32, DecodeError> {
    match reader.u32()? {
        n if n <= MAX_CHAIN_LEN => Ok(n),
        _ => Err(DecodeError::Invalid),
    }
}
