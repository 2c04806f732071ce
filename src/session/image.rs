//! A session's image: a small fixed part, and blocks of skipped keys that are stored beside it.

use crate::codec::{Reader, Write};
use crate::error::{DecodeError, StateError};
use crate::handshake;
use crate::identity::IdentityKeyPair;
use crate::keys::{IdentityKey, SessionId};
use crate::limits::MAX_SKIPPED;
use crate::ratchet::{Introduced, Ratchet, SkippedKeys};
use crate::secret::Secret;
use crate::session::{Prefix, Rank, Session};
use crate::state::{self, Image, Length};
use crate::wire::introduction::PREFIX_LEN;
use alloc::boxed::Box;

impl Session {
    /// Longest image of a session without its skipped keys, in bytes; 3,570 less once it is confirmed.
    pub const MAX_STATE_LEN: usize = 1 + IdentityKey::LEN + Rank::LEN + 32 + 4 + PREFIX_LEN + Ratchet::MAX_STATE_LEN;

    /// Writes everything but the skipped keys:
    ///
    /// ```text
    /// peer identity(96) || created_at(8) || th2(32) || exporter secret(32) || initiator(1) || one-time prekey used(1)
    ///   || confirmed(1) || prefix flag(1) || prefix(3570) if the flag is 1 || ratchet
    /// ```
    pub(crate) fn write(&self, out: &mut impl Write) {
        self.peer.write(out);
        self.rank.write(out);
        out.bytes(self.exporter.expose());
        out.flag(self.initiator);
        out.flag(self.one_time);
        out.flag(self.confirmed);
        out.flag(self.prefix.is_some());
        if let Some(prefix) = &self.prefix {
            out.bytes(prefix.bytes.as_slice());
        }
        self.ratchet.write(out);
    }

    /// Reads what [`Self::write`] wrote, of a session of `own`'s. Skipped keys come next, then [`Self::finish_restore`].
    pub(crate) fn read(reader: &mut Reader<'_>, own: &IdentityKeyPair) -> Result<Self, DecodeError> {
        let peer = IdentityKey::read(reader)?;
        let rank = Rank::read(reader)?;
        let exporter = Secret::new(reader.array()?);
        let (initiator, one_time, confirmed) = (reader.flag()?, reader.flag()?, reader.flag()?);
        let prefix = if reader.flag()? { Some(Prefix::new(Box::new(*reader.array()?))) } else { None };
        // A prefix is there exactly as long as an initiator waits.
        if prefix.is_some() != (initiator && !confirmed) {
            return Err(DecodeError::Invalid);
        }
        let introduced = if initiator { Introduced::This(own.kem()) } else { Introduced::Peer(&peer) };
        let ratchet = Ratchet::read(reader, introduced)?;
        let (own, theirs) = (own.fingerprint(), peer.fingerprint());
        let [first, second] = if initiator { [own, theirs] } else { [theirs, own] };
        if handshake::context(&rank.transcript, &first, &second) != *ratchet.context() {
            return Err(DecodeError::Invalid);
        }
        // An initiator is confirmed by the peer's first chain, a responder by its second.
        let chains = ratchet.receiving_chains();
        if confirmed != (chains >= if initiator { 1 } else { 2 }) || (!initiator && chains == 0) {
            return Err(DecodeError::Invalid);
        }
        Ok(Self {
            id: SessionId::derive(ratchet.context()),
            peer_fingerprint: theirs,
            peer,
            rank,
            initiator,
            one_time,
            confirmed,
            prefix,
            exporter,
            ratchet,
        })
    }

    pub(crate) fn skipped(&self) -> &SkippedKeys {
        self.ratchet.skipped()
    }

    /// Goes on with the skipped keys that were read, and says how many are missing.
    pub(crate) fn accept_loss(&mut self) -> usize {
        self.ratchet.skipped_mut().accept_loss()
    }

    pub(crate) fn read_skipped(&mut self, block: u64, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        let context = *self.ratchet.context();
        self.ratchet.skipped_mut().read_block(block, &context, reader)
    }

    /// Checks what binds skipped keys to chains.
    pub(crate) fn finish_restore(&mut self) -> Result<(), DecodeError> {
        self.ratchet.finish_restore()
    }

    /// The whole session as one image, for those who use it without a device: `version(1)`, the fixed part, then
    /// `count(4) || (number(8) || block) each`.
    ///
    /// At most [`Self::MAX_STATE_LEN`] bytes and about 45 for each skipped key.
    pub fn to_state(&self) -> Image {
        let mut length = Length(0);
        self.write_whole(&mut length);
        let mut out = state::image(length.0);
        self.write_whole(&mut out);
        Image::new(out)
    }

    fn write_whole(&self, out: &mut impl Write) {
        out.u8(state::VERSION);
        self.write(out);
        out.count(self.skipped().blocks().count());
        for block in self.skipped().blocks() {
            out.u64(block);
            self.skipped().write_block(block, out);
        }
    }

    /// Restores a session of `own`'s from its image.
    ///
    /// # Errors
    /// [`StateError::Malformed`] if the bytes are not an image of this version, break an invariant or a bound, or
    /// belong to another identity's session.
    pub fn from_state(image: &[u8], own: &IdentityKeyPair) -> Result<Self, StateError> {
        let session = Reader::whole(image, |reader| {
            state::version(reader)?;
            let mut session = Self::read(reader, own)?;
            let mut last = None;
            for _ in 0..reader.count(MAX_SKIPPED)? {
                let block = reader.u64()?;
                if last.is_some_and(|last| block <= last) {
                    return Err(DecodeError::Invalid);
                }
                last = Some(block);
                session.read_skipped(block, reader)?;
            }
            session.finish_restore()?;
            Ok(session)
        })?;
        Ok(session)
    }
}
