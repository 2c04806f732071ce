//! The KEM ratchet's image.

use crate::codec::{Reader, Write};
use crate::crypto::kem::{self, KemSeed};
use crate::error::DecodeError;
use crate::limits::MAX_IDENTITY_ANSWERS;
use crate::ratchet::erasure::{Assembly, CODED_LEN};
use crate::ratchet::kem::{Answerer, Answering, Introduced, KemRatchet, Offerer};
use crate::ratchet::offer::{Answer, OfferKey, OpenOffer, Walk, offer_id};
use crate::secret::Secret;
use alloc::sync::Arc;

impl KemRatchet {
    /// Longest image: a partial answer and a whole answer to the peer.
    pub(crate) const MAX_STATE_LEN: usize =
        (4 + 1 + 64 + 2 + 1 + 1 + 3 + 1 + 48 * 33) + (4 + 1 + 3 + 3 + 2 + 64 + CODED_LEN);

    /// Writes:
    ///
    /// ```text
    /// number(4) || 0(1)                                                                          an offer is due
    ///           or ( 1(1) || seed(64) or 2(1) || answers(1): the identity's key ) || next(1) || sent(1) || acknowledged(1) ||
    ///              ( 0(1) or 1(1) || answer id(3) || assembly or 2(1) || answer id(3) || mix(64) )
    ///   || number(4) || ( 0(1) || offer id(3) || assembly or 1(1) || encapsulation key(1568)
    ///           or 2(1) || offer id(3) || answer id(3) || next(1) || sent(1) || mix(64) || ciphertext(1568) )
    /// assembly = count(1, at most 48) || (index(1) || symbol(32)) each, ascending
    /// ```
    pub(crate) fn write(&self, out: &mut impl Write) {
        out.u32(self.offerer.number);
        match self.offerer.offer.as_ref().map(|offer| &offer.key) {
            None => out.u8(0),
            Some(OfferKey::Fresh { seed, .. }) => {
                out.u8(1);
                out.bytes(seed.expose());
            }
            Some(OfferKey::Identity { answers, .. }) => {
                out.u8(2);
                out.u8(*answers);
            }
        }
        if let Some(offer) = &self.offerer.offer {
            offer.walk.write(out);
            out.flag(offer.acknowledged);
            match &offer.answer {
                Answer::None => out.u8(0),
                Answer::Partial { id, assembly } => {
                    out.u8(1);
                    out.bytes(id);
                    write_assembly(assembly, out);
                }
                Answer::Whole { id, mix } => {
                    out.u8(2);
                    out.bytes(id);
                    out.bytes(mix.expose());
                }
            }
        }
        out.u32(self.answerer.number);
        match &self.answerer.stage {
            Answering::Collecting { id, assembly } => {
                out.u8(0);
                out.bytes(id);
                write_assembly(assembly, out);
            }
            Answering::Received { key, .. } => {
                out.u8(1);
                out.bytes(key.as_slice());
            }
            Answering::Answered { offer_id, answer_id, ciphertext, mix, walk } => {
                out.u8(2);
                out.bytes(offer_id);
                out.bytes(answer_id);
                walk.write(out);
                out.bytes(mix.expose());
                out.bytes(ciphertext.as_slice());
            }
        }
    }

    /// Reads what [`Self::write`] wrote; who has introduced itself is not in it.
    pub(crate) fn read(reader: &mut Reader<'_>, introduced: Introduced<'_>) -> Result<Self, DecodeError> {
        let number = nonzero(reader.u32()?)?;
        // The first offer of who has introduced itself is its identity's key, and no other is.
        let key = match (introduced, number, reader.u8()?) {
            (Introduced::This(kem), 1, 2) => Some(OfferKey::identity(kem, reader.u8()?)),
            (Introduced::This(_), 1, _) => return Err(DecodeError::Invalid),
            (_, _, 0) => None,
            (_, _, 1) => Some(OfferKey::fresh(KemSeed::from_bytes(reader.array()?))),
            _ => return Err(DecodeError::Invalid),
        };
        if matches!(key, Some(OfferKey::Identity { answers, .. }) if answers > MAX_IDENTITY_ANSWERS) {
            return Err(DecodeError::Invalid);
        }
        let offer = if let Some(key) = key {
            let mut offer = OpenOffer::new(key);
            offer.walk = Walk::read(reader)?;
            offer.acknowledged = reader.flag()?;
            offer.answer = match reader.u8()? {
                0 => Answer::None,
                1 => Answer::Partial { id: *reader.array()?, assembly: read_assembly(reader)? },
                2 => Answer::Whole { id: *reader.array()?, mix: Arc::new(Secret::new(reader.array()?)) },
                _ => return Err(DecodeError::Invalid),
            };
            if number == u32::MAX {
                return Err(DecodeError::Invalid);
            }
            Some(offer)
        } else {
            None
        };
        let offerer = Offerer { number, offer };
        let number = nonzero(reader.u32()?)?;
        let stage = match reader.u8()? {
            0 => Answering::Collecting { id: *reader.array()?, assembly: read_assembly(reader)? },
            1 => {
                let key = Arc::new(*reader.array()?);
                let named = match introduced {
                    Introduced::Peer(identity) if number == 1 => identity.names_kem_key(&key),
                    _ => true,
                };
                if !named || !kem::is_valid_public(&key) {
                    return Err(DecodeError::Invalid);
                }
                Answering::Received { id: offer_id(&key), key }
            }
            2 => {
                let (offer_id, answer_id) = (*reader.array()?, *reader.array()?);
                let walk = Walk::read(reader)?;
                let mix = Arc::new(Secret::new(reader.array()?));
                Answering::Answered { offer_id, answer_id, ciphertext: Arc::new(*reader.array()?), mix, walk }
            }
            _ => return Err(DecodeError::Invalid),
        };
        let initiator = match introduced {
            Introduced::This(_) => None,
            Introduced::Peer(identity) => Some(*identity),
        };
        Ok(Self { offerer, answerer: Answerer { number, stage }, initiator })
    }
}

fn nonzero(number: u32) -> Result<u32, DecodeError> {
    if number == 0 { Err(DecodeError::Invalid) } else { Ok(number) }
}

impl Walk {
    fn write(self, out: &mut impl Write) {
        out.u8(self.next);
        out.u8(self.sent);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { next: reader.u8()?, sent: reader.u8()? })
    }
}

fn write_assembly(assembly: &Assembly, out: &mut impl Write) {
    out.u8(u8::try_from(assembly.len()).unwrap_or(u8::MAX));
    for (index, symbol) in assembly.iter() {
        out.u8(index);
        out.bytes(symbol);
    }
}

fn read_assembly(reader: &mut Reader<'_>) -> Result<Assembly, DecodeError> {
    let mut assembly = Assembly::default();
    let mut last = None;
    for _ in 0..reader.u8()? {
        let index = reader.u8()?;
        if last.is_some_and(|last| index <= last) {
            return Err(DecodeError::Invalid);
        }
        last = Some(index);
        assembly.add(index, reader.array()?);
        if assembly.is_complete() {
            return Err(DecodeError::Invalid);
        }
    }
    Ok(assembly)
}
