//! Formats that give something else than they were asked for.

use super::input::Input;
use sceau::{IdentityKeyPair, Image};
use serde::de::value::{Error, SeqDeserializer};
use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde::ser::{Impossible, Serializer};
use serde::{Deserialize, Serialize};

/// An image from a format that answers with bytes, a sequence of anything and of any alleged length, or another type. What is
/// made of it are the bytes that came, or the format's error; and they go out as they came in.
pub fn formats(data: &[u8]) {
    let mut input = Input(data);
    let how = input.u8() % 14;
    let expected: Option<Vec<u8>> = match how {
        0..=2 => Some(input.0.to_vec()),
        3..=5 => numbers(&input).iter().map(|number| u8::try_from(*number).ok()).collect(),
        _ => None,
    };
    match Image::deserialize(Format { how, input: Input(input.0) }) {
        Ok(image) => {
            assert_eq!(Some(image.expose()), expected.as_deref());
            let out = image.serialize(Bytes).expect("bytes");
            assert_eq!(out, image.expose());
            let again = Image::deserialize(SeqDeserializer::<_, Error>::new(out.into_iter())).expect("bytes");
            assert_eq!(again.expose(), image.expose());
            if let Ok(identity) = IdentityKeyPair::from_state(image.expose()) {
                assert_eq!(identity.to_state().expose(), image.expose());
            }
        }
        Err(_) => assert_eq!(expected, None),
    }
}

/// Numbers of two bytes, that mostly fit one.
fn numbers(input: &Input<'_>) -> Vec<u16> {
    let wide = |pair: &[u8]| u16::from_be_bytes([u8::from(pair[0] == 255), *pair.get(1).unwrap_or(&0)]);
    input.0.chunks(2).map(wide).collect()
}

struct Format<'a> {
    how: u8,
    input: Input<'a>,
}

impl<'de> Deserializer<'de> for Format<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Error> {
        let numbers = numbers(&self.input).into_iter();
        match self.how {
            0 => visitor.visit_bytes(self.input.0),
            1 => visitor.visit_borrowed_bytes(self.input.0),
            2 => visitor.visit_byte_buf(self.input.0.to_vec()),
            3 => visitor.visit_seq(Numbers { numbers, alleged: None }),
            4 => visitor.visit_seq(Numbers { numbers, alleged: Some(usize::MAX) }),
            5 => visitor.visit_seq(Numbers { numbers, alleged: Some(0) }),
            6 => visitor.visit_str(&String::from_utf8_lossy(self.input.0)),
            7 => visitor.visit_u64(self.input.u64()),
            8 => visitor.visit_none(),
            9 => visitor.visit_unit(),
            10 => visitor.visit_bool(true),
            11 => visitor.visit_some(Format { how: self.input.u8() % 11, input: self.input }),
            12 => visitor.visit_newtype_struct(Format { how: self.input.u8() % 11, input: self.input }),
            _ => visitor.visit_seq(Texts),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

struct Numbers<I> {
    numbers: I,
    /// How many it says that there are.
    alleged: Option<usize>,
}

impl<'de, I: Iterator<Item = u16>> SeqAccess<'de> for Numbers<I> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        use serde::de::IntoDeserializer;
        self.numbers.next().map(|number| seed.deserialize(number.into_deserializer())).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        self.alleged
    }
}

/// A sequence of what is no number.
struct Texts;

impl<'de> SeqAccess<'de> for Texts {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        use serde::de::IntoDeserializer;
        seed.deserialize("1".into_deserializer()).map(Some)
    }
}

/// Takes bytes, and nothing else.
struct Bytes;

type No = Impossible<Vec<u8>, core::fmt::Error>;

macro_rules! refuse {
    ($($name:ident($($type:ty),*) -> $out:ty;)*) => {$(
        fn $name(self, $(_: $type),*) -> Result<$out, core::fmt::Error> {
            Err(core::fmt::Error)
        }
    )*};
}

impl Serializer for Bytes {
    type Ok = Vec<u8>;
    type Error = core::fmt::Error;
    type SerializeSeq = No;
    type SerializeTuple = No;
    type SerializeTupleStruct = No;
    type SerializeTupleVariant = No;
    type SerializeMap = No;
    type SerializeStruct = No;
    type SerializeStructVariant = No;

    fn serialize_bytes(self, bytes: &[u8]) -> Result<Vec<u8>, core::fmt::Error> {
        Ok(bytes.to_vec())
    }

    fn serialize_some<T: ?Sized + Serialize>(self, _: &T) -> Result<Vec<u8>, core::fmt::Error> {
        Err(core::fmt::Error)
    }

    fn serialize_newtype_struct<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        _: &T,
    ) -> Result<Vec<u8>, core::fmt::Error> {
        Err(core::fmt::Error)
    }

    fn serialize_newtype_variant<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<Vec<u8>, core::fmt::Error> {
        Err(core::fmt::Error)
    }

    refuse! {
        serialize_bool(bool) -> Vec<u8>;
        serialize_i8(i8) -> Vec<u8>;
        serialize_i16(i16) -> Vec<u8>;
        serialize_i32(i32) -> Vec<u8>;
        serialize_i64(i64) -> Vec<u8>;
        serialize_u8(u8) -> Vec<u8>;
        serialize_u16(u16) -> Vec<u8>;
        serialize_u32(u32) -> Vec<u8>;
        serialize_u64(u64) -> Vec<u8>;
        serialize_f32(f32) -> Vec<u8>;
        serialize_f64(f64) -> Vec<u8>;
        serialize_char(char) -> Vec<u8>;
        serialize_str(&str) -> Vec<u8>;
        serialize_none() -> Vec<u8>;
        serialize_unit() -> Vec<u8>;
        serialize_unit_struct(&'static str) -> Vec<u8>;
        serialize_unit_variant(&'static str, u32, &'static str) -> Vec<u8>;
        serialize_seq(Option<usize>) -> No;
        serialize_tuple(usize) -> No;
        serialize_tuple_struct(&'static str, usize) -> No;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> No;
        serialize_map(Option<usize>) -> No;
        serialize_struct(&'static str, usize) -> No;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> No;
    }
}
