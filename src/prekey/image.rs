//! Images of prekeys: each as a record of its own, or the whole store at once.

use crate::codec::{Reader, Write};
use crate::crypto::dh::DhPrivate;
use crate::crypto::kem::KemSeed;
use crate::error::{DecodeError, StateError};
use crate::keys::UnixTime;
use crate::limits::{MAX_ONE_TIME_PREKEYS, MAX_SIGNED_PREKEYS};
use crate::prekey::record::{BlockId, IntroductionRecord};
use crate::prekey::store::{PreKeyPrivate, PreKeyStore, StoredOneTime, StoredSigned};
use crate::state::{self, Image, Length};
use alloc::boxed::Box;

impl PreKeyPrivate {
    fn write(&self, out: &mut impl Write) {
        out.bytes(self.dh.expose());
        out.bytes(self.kem.expose());
        out.u64(self.not_after.0);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            dh: DhPrivate::from_bytes(reader.array()?),
            kem: KemSeed::from_bytes(reader.array()?),
            not_after: UnixTime(reader.u64()?),
        })
    }
}

impl PreKeyStore {
    pub(crate) fn signed_ids(&self) -> impl Iterator<Item = u32> {
        self.signed.keys().copied()
    }

    pub(crate) fn one_time_ids(&self) -> impl Iterator<Item = u32> {
        self.one_time.keys().copied()
    }

    /// Writes `id(4) || generation(4) || upload number(8) || x25519 private key(32) || KEM seed(64) || not_after(8)`; `None` if there is none.
    pub(crate) fn write_signed(&self, id: u32, out: &mut impl Write) -> Option<()> {
        let stored = self.signed.get(&id)?;
        out.u32(id);
        out.u32(stored.generation);
        out.u64(stored.number);
        stored.private.write(out);
        Some(())
    }

    /// Writes `id(4) || upload number(8) || x25519 private key(32) || KEM seed(64) || not_after(8)`; `None` if there is none.
    pub(crate) fn write_one_time(&self, id: u32, out: &mut impl Write) -> Option<()> {
        let stored = self.one_time.get(&id)?;
        out.u32(id);
        out.u64(stored.number);
        stored.private.write(out);
        Some(())
    }

    pub(crate) fn read_signed(&mut self, reader: &mut Reader<'_>) -> Result<u32, DecodeError> {
        let id = reader.u32()?;
        let (generation, number) = (reader.u32()?, reader.u64()?);
        let private = PreKeyPrivate::read(reader)?;
        let twice = self.signed.values().any(|other| other.generation == generation);
        if id == 0 || twice || self.signed.contains_key(&id) || self.signed.len() >= MAX_SIGNED_PREKEYS {
            return Err(DecodeError::Invalid);
        }
        let public = private.public(id);
        self.signed.insert(id, Box::new(StoredSigned { generation, number, private, public }));
        Ok(id)
    }

    pub(crate) fn read_one_time(&mut self, reader: &mut Reader<'_>) -> Result<u32, DecodeError> {
        let id = reader.u32()?;
        let number = reader.u64()?;
        let stored = StoredOneTime::restored(PreKeyPrivate::read(reader)?, number);
        if id == 0 || self.one_time.contains_key(&id) || self.one_time.len() >= MAX_ONE_TIME_PREKEYS {
            return Err(DecodeError::Invalid);
        }
        self.one_time.insert(id, Box::new(stored));
        Ok(id)
    }

    pub(crate) fn record_mut(&mut self) -> &mut IntroductionRecord {
        &mut self.introductions
    }

    /// The whole store as one image, for those who use it without a device:
    ///
    /// ```text
    /// version(1) || count(4) || signed prekeys || count(4) || one-time prekeys
    ///   || count(4) || (signed id(4) || number(4) || block) each
    /// ```
    ///
    /// Ids ascend. 120 bytes a signed prekey, 116 a one-time prekey, 32 an introduction and 12 per 256 of them.
    pub fn to_state(&self) -> Image {
        let mut length = Length(0);
        self.write_whole(&mut length);
        let mut out = state::image(length.0);
        self.write_whole(&mut out);
        Image::new(out)
    }

    fn write_whole(&self, out: &mut impl Write) {
        out.u8(state::VERSION);
        out.count(self.signed.len());
        for id in self.signed_ids() {
            self.write_signed(id, out);
        }
        out.count(self.one_time.len());
        for id in self.one_time_ids() {
            self.write_one_time(id, out);
        }
        out.count(self.introductions.block_ids().count());
        for block in self.introductions.block_ids() {
            out.u32(block.signed_id);
            out.u32(block.number);
            self.introductions.write_block(block, out);
        }
    }

    /// Restores a store from its image.
    ///
    /// # Errors
    /// [`StateError::Malformed`] if the bytes are not an image of this version or break a bound.
    pub fn from_state(image: &[u8]) -> Result<Self, StateError> {
        let store = Reader::whole(image, |reader| {
            state::version(reader)?;
            let mut store = Self::default();
            ascending(reader, MAX_SIGNED_PREKEYS, |reader| store.read_signed(reader))?;
            ascending(reader, MAX_ONE_TIME_PREKEYS, |reader| store.read_one_time(reader))?;
            ascending(reader, usize::MAX, |reader| {
                let block = BlockId { signed_id: reader.u32()?, number: reader.u32()? };
                store.introductions.read_block(block, reader).map(|()| block)
            })?;
            Ok(store)
        })?;
        Ok(store)
    }
}

/// Reads a counted list whose keys ascend.
fn ascending<K: PartialOrd>(
    reader: &mut Reader<'_>,
    max: usize,
    mut read: impl FnMut(&mut Reader<'_>) -> Result<K, DecodeError>,
) -> Result<(), DecodeError> {
    let mut last: Option<K> = None;
    for _ in 0..reader.count(max)? {
        let key = read(reader)?;
        if last.is_some_and(|last| key <= last) {
            return Err(DecodeError::Invalid);
        }
        last = Some(key);
    }
    Ok(())
}
