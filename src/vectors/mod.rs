//! The project's own test vectors, for its example and its tests: not a part of the API, and not compiled without the
//! feature `vectors`. The formats are those of test-vectors/README.md.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::missing_panics_doc,
    reason = "no product code: a generator that can't go on is to stop"
)]

mod around;
mod controls;
mod core;
mod devices;
mod groups;
mod log;
mod session;
mod stores;

pub use crate::session::trace::RawHeader;

use crate::crypto::kdf::Sha;
use ::core::convert::Infallible;
use ::core::fmt::{self, Write as _};
use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use rand_core::{TryCryptoRng, TryRng};

/// A JSON value. Texts are ASCII without anything to escape; bytes are hexadecimal texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Text(String),
    Number(u64),
    List(Vec<Value>),
    Object(Vec<(String, Value)>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<u8> for Value {
    fn from(number: u8) -> Self {
        Self::Number(number.into())
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Number(u64::try_from(number).unwrap())
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Number(flag.into())
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        let mut text = String::with_capacity(2 * bytes.len());
        for byte in bytes {
            write!(text, "{byte:02x}").unwrap();
        }
        Self::Text(text)
    }
}

impl From<&Vec<u8>> for Value {
    fn from(bytes: &Vec<u8>) -> Self {
        bytes.as_slice().into()
    }
}

impl<const N: usize> From<&[u8; N]> for Value {
    fn from(bytes: &[u8; N]) -> Self {
        bytes.as_slice().into()
    }
}

impl From<Vec<Value>> for Value {
    fn from(list: Vec<Value>) -> Self {
        Self::List(list)
    }
}

/// An object from names and values.
macro_rules! object {
    ($($name:literal: $value:expr),* $(,)?) => {
        crate::vectors::Value::Object(alloc::vec![$(($name.into(), crate::vectors::Value::from($value))),*])
    };
}
pub(crate) use object;

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}

impl Value {
    fn write(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        let pad = 2 * (depth + 1);
        match self {
            Self::Text(text) => {
                let plain = text.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\');
                assert!(plain, "{text}");
                write!(f, "\"{text}\"")
            }
            Self::Number(number) => write!(f, "{number}"),
            Self::List(list) if list.is_empty() => f.write_str("[]"),
            Self::List(list) => {
                f.write_str("[")?;
                for (i, value) in list.iter().enumerate() {
                    write!(f, "{}\n{:pad$}", if i > 0 { "," } else { "" }, "")?;
                    value.write(f, depth + 1)?;
                }
                write!(f, "\n{:1$}]", "", 2 * depth)
            }
            Self::Object(fields) => {
                f.write_str("{")?;
                for (i, (name, value)) in fields.iter().enumerate() {
                    write!(f, "{}\n{:pad$}\"{name}\": ", if i > 0 { "," } else { "" }, "")?;
                    value.write(f, depth + 1)?;
                }
                write!(f, "\n{:1$}}}", "", 2 * depth)
            }
        }
    }
}

/// One file of vectors.
#[derive(Debug)]
pub struct File {
    pub name: &'static str,
    pub value: Value,
}

fn file(name: &'static str, section: &str, cases: Vec<Value>, negative: Vec<Value>) -> File {
    let value = object! { "format": "sceau/1", "section": section, "cases": cases, "negative": negative };
    File { name, value }
}

/// All of them.
pub fn files() -> Vec<File> {
    let mut files = core::files();
    files.extend(session::files());
    files.extend(groups::files());
    files.extend(around::files());
    files.extend(log::files());
    files.extend(controls::files());
    files.extend(devices::files());
    files.extend(stores::files());
    files
}

/// Randomness that can be written down: SHA-256 of a name and a counter, again and again; and what was drawn.
struct Script {
    name: String,
    counter: u64,
    left: Vec<u8>,
    drawn: Vec<Vec<u8>>,
}

impl Script {
    fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), counter: 0, left: Vec::new(), drawn: Vec::new() }
    }

    fn draw(&mut self, len: usize) -> Vec<u8> {
        while self.left.len() < len {
            let mut block = Sha::new();
            block.update(self.name.as_bytes());
            block.update(&self.counter.to_be_bytes());
            self.counter += 1;
            self.left.extend(block.finish());
        }
        let rest = self.left.split_off(len);
        ::core::mem::replace(&mut self.left, rest)
    }

    /// What was drawn since this was asked last.
    fn draws(&mut self) -> Value {
        let drawn = ::core::mem::take(&mut self.drawn);
        drawn.iter().map(Value::from).collect::<Vec<_>>().into()
    }
}

impl TryRng for Script {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, place: &mut [u8]) -> Result<(), Infallible> {
        let bytes = self.draw(place.len());
        place.copy_from_slice(&bytes);
        self.drawn.push(bytes);
        Ok(())
    }
}

impl TryCryptoRng for Script {}

/// A case that must be refused: its one idea, and the class of failure.
fn refused(idea: &str, input: Value, class: &str) -> Value {
    object! { "idea": idea, "input": input, "expect": class }
}

/// The class of an error: its variant's name.
fn class(error: &dyn fmt::Debug) -> String {
    let text = alloc::format!("{error:?}");
    text.split(['(', ' ', '{']).next().unwrap_or_default().to_owned()
}

/// Bytes with one of them changed.
fn flipped(bytes: &[u8], place: usize) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    changed[place] ^= 1;
    changed
}
