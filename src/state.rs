//! What all state images share: a version in front, wiping buffers, serde as bytes.
//!
//! Each state machine writes and reads its own image, in its own module.

use crate::codec::{Reader, Write};
use crate::error::DecodeError;
use crate::secret::{GuardedVec, guard};
use alloc::vec::Vec;
use core::fmt;

/// The version of every image.
pub(crate) const VERSION: u8 = 1;

/// A buffer for an image of at most `len` bytes. It is not meant to grow: growing would leave copies of secrets.
pub(crate) fn image(len: usize) -> GuardedVec {
    guard(Vec::with_capacity(len))
}

/// Reads the version byte.
pub(crate) fn version(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    if reader.u8()? == VERSION { Ok(()) } else { Err(DecodeError::Version) }
}

impl Write for GuardedVec {
    fn bytes(&mut self, bytes: &[u8]) {
        debug_assert!(self.len().saturating_add(bytes.len()) <= self.capacity(), "an image must not grow");
        self.extend_from_slice(bytes);
    }
}

/// Counts what would be written, so that an image gets its capacity at once.
#[derive(Debug)]
pub(crate) struct Length(pub(crate) usize);

impl Write for Length {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0 = self.0.saturating_add(bytes.len());
    }
}

/// The stored form of a state machine: secret bytes, wiped on drop, never printed.
///
/// Store it where only its owner can read it, or seal it first.
pub struct Image(GuardedVec);

impl Image {
    pub(crate) fn new(bytes: GuardedVec) -> Self {
        Self(bytes)
    }

    /// The bytes, to store them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Image {
    /// Takes bytes that were stored. They are checked when a state machine is restored from them.
    fn from(bytes: Vec<u8>) -> Self {
        Self(guard(bytes))
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Image({} bytes)", self.0.len())
    }
}

#[cfg(feature = "serde")]
mod serde_impl {
    use super::Image;
    use crate::secret::{GuardedVec, guard};
    use crate::state::image;
    use alloc::vec::Vec;
    use core::fmt;
    use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
    use serde::ser::{Serialize, Serializer};

    impl Serialize for Image {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(self.expose())
        }
    }

    impl<'de> Deserialize<'de> for Image {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_byte_buf(Bytes)
        }
    }

    struct Bytes;

    impl<'de> Visitor<'de> for Bytes {
        type Value = Image;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the bytes of a state image")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Image, E> {
            Ok(Image::from(Vec::from(bytes)))
        }

        fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Image, E> {
            Ok(Image::from(bytes))
        }

        /// Formats without a type for bytes, such as JSON, give a sequence.
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Image, A::Error> {
            let mut bytes = guard(Vec::new());
            while let Some(byte) = seq.next_element()? {
                if bytes.len() == bytes.capacity() {
                    bytes = moved_to_a_larger_buffer(&bytes);
                }
                bytes.push(byte);
            }
            Ok(Image(bytes))
        }
    }

    /// A vector that grows by itself frees its buffer as it is; the guard of this one is dropped, and wipes it.
    fn moved_to_a_larger_buffer(bytes: &GuardedVec) -> GuardedVec {
        let mut larger = image(bytes.len().saturating_mul(2).max(256));
        larger.extend_from_slice(bytes);
        larger
    }
}

#[cfg(all(test, feature = "serde"))]
mod tests {
    use super::Image;
    use serde::Deserialize;
    use serde::de::value::{BytesDeserializer, Error, SeqDeserializer};

    /// Short, at the length at which the buffer first grows, and beyond.
    #[test]
    fn image_comes_from_bytes_and_from_a_sequence() {
        for len in [0, 3, 255, 256, 257, 5_000] {
            let bytes: alloc::vec::Vec<u8> = (0..=250).cycle().take(len).collect();
            let image = Image::deserialize(BytesDeserializer::<Error>::new(&bytes)).unwrap();
            assert_eq!(image.expose(), bytes);
            let image = Image::deserialize(SeqDeserializer::<_, Error>::new(bytes.iter().copied())).unwrap();
            assert_eq!(image.expose(), bytes);
        }
    }
}
