//! Names as text, and with the feature `serde` as values: each has one form, and comes back from it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test is to fail loudly"
)]

use sceau::error::DecodeError;
use sceau::{
    AccountId, DeviceId, Fingerprint, GroupId, MailboxAddress, OperationId, PeerId, RecordKey, SessionId, Tag, UnixTime,
};
use std::fmt::{Debug, Display};
use std::str::FromStr;

fn bytes<const N: usize>() -> [u8; N] {
    core::array::from_fn(|i| u8::try_from(i * 37 % 256).unwrap())
}

/// What `Display` prints comes back; nothing that is a little different does.
fn comes_back<T: Display + FromStr<Err = DecodeError> + PartialEq + Debug>(name: &T, text: &str) {
    assert_eq!(name.to_string(), text);
    assert_eq!(text.parse::<T>().as_ref(), Ok(name));
    for end in 0..text.len() {
        assert_eq!(text[..end].parse::<T>(), Err(DecodeError::Truncated), "{end}");
    }
    assert_eq!(format!("{text}0").parse::<T>(), Err(DecodeError::Trailing));
    assert_eq!(format!("{text} ").parse::<T>(), Err(DecodeError::Trailing));
    assert_eq!(format!(" {text}").parse::<T>(), Err(DecodeError::Invalid));
    for (place, character) in text.char_indices() {
        for other in ["g", "F", "/", ":", "`", "-", "+", "\n", "\u{e9}", "\0", if character == ' ' { "0" } else { " " }]
        {
            let changed = [&text[..place], other, &text[place + 1..]].concat();
            assert_eq!(changed.parse::<T>(), Err(DecodeError::Invalid), "{changed}");
        }
    }
}

#[test]
fn names_come_back_from_their_texts() {
    let digits = |len: usize| bytes::<32>()[..len].iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let grouped: Vec<String> =
        digits(32).as_bytes().chunks(4).map(|four| String::from_utf8_lossy(four).into()).collect();
    comes_back(&Fingerprint::from_bytes(bytes()), &grouped.join(" "));
    comes_back(&GroupId::from_bytes(bytes()), &digits(32));
    comes_back(&MailboxAddress::from_bytes(bytes()), &digits(32));
    comes_back(&RecordKey::from_bytes(bytes()), &digits(17));
    comes_back(&SessionId::from_bytes(bytes()), &digits(16));
    comes_back(&Tag::from_bytes(bytes()), &digits(16));
    // Without its spaces, or with upper case, it is another text.
    assert_eq!(digits(32).parse::<Fingerprint>(), Err(DecodeError::Invalid));
    assert_eq!(digits(32).to_uppercase().parse::<GroupId>(), Err(DecodeError::Invalid));
}

#[test]
fn times_come_back_from_their_texts() {
    for seconds in [0, 9, 10, 1_800_000_000, UnixTime::MAX] {
        let text = sceau_testkit::talk::at(seconds).to_string();
        assert_eq!(text, seconds.to_string());
        assert_eq!(text.parse(), Ok(sceau_testkit::talk::at(seconds)));
    }
    for (text, error) in [
        ("", DecodeError::Truncated),
        ("1800000000000", DecodeError::Invalid),
        ("00", DecodeError::Invalid),
        ("01", DecodeError::Invalid),
        ("+1", DecodeError::Invalid),
        ("-1", DecodeError::Invalid),
        ("1 ", DecodeError::Invalid),
        ("1_000", DecodeError::Invalid),
        ("0x1", DecodeError::Invalid),
        ("18446744073709551616", DecodeError::TooLong),
    ] {
        assert_eq!(text.parse::<UnixTime>(), Err(error), "{text:?}");
    }
}

/// In JSON a text, in CBOR bytes; a name of another length is refused in either.
#[cfg(feature = "serde")]
#[test]
fn names_are_texts_for_people_and_bytes_for_machines() {
    use serde::Serialize;
    use serde::de::DeserializeOwned;

    fn both<T: Serialize + DeserializeOwned + Display + PartialEq + Debug>(name: &T, bytes: &[u8]) {
        let json = serde_json::to_string(name).unwrap();
        assert_eq!(json, format!("\"{name}\""));
        assert_eq!(&serde_json::from_str::<T>(&json).unwrap(), name);
        for wrong in ["\"\"", "7", "null", &json.replace('"', ""), &json.replacen('0', "G", 1), &format!("[{json}]")] {
            assert!(serde_json::from_str::<T>(wrong).is_err(), "{wrong}");
        }
        let cbor = |value: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            value(&mut out);
            out
        };
        let written = cbor(&|out| ciborium::into_writer(name, out).unwrap());
        // A byte string with its length, in one or two bytes.
        assert!(written.ends_with(bytes) && written.len() <= bytes.len() + 2 && written[0] >> 5 == 2);
        assert_eq!(&ciborium::from_reader::<T, _>(&written[..]).unwrap(), name);
        // Formats without a type for bytes give a sequence.
        let sequence = cbor(&|out| ciborium::into_writer(bytes, out).unwrap());
        assert_eq!(&ciborium::from_reader::<T, _>(&sequence[..]).unwrap(), name);
        for wrong in [&bytes[1..], &[bytes, &[0]].concat()] {
            let sequence = cbor(&|out| ciborium::into_writer(wrong, out).unwrap());
            assert!(ciborium::from_reader::<T, _>(&sequence[..]).is_err());
            let string = cbor(&|out| ciborium::into_writer(&ciborium::Value::Bytes(wrong.to_vec()), out).unwrap());
            assert!(ciborium::from_reader::<T, _>(&string[..]).is_err());
        }
    }

    both(&Fingerprint::from_bytes(bytes()), &bytes::<32>());
    both(&GroupId::from_bytes(bytes()), &bytes::<32>());
    both(&MailboxAddress::from_bytes(bytes()), &bytes::<32>());
    both(&RecordKey::from_bytes(bytes()), &bytes::<17>());
    both(&AccountId::from_bytes(bytes()), &bytes::<32>());
    both(&DeviceId::from_bytes(bytes()), &bytes::<32>());
    both(&OperationId::from_bytes(bytes()), &bytes::<32>());
    both(&PeerId::from_bytes(bytes()), &bytes::<32>());
    both(&SessionId::from_bytes(bytes()), &bytes::<16>());
    both(&Tag::from_bytes(bytes()), &bytes::<16>());
    assert_eq!(serde_json::to_string(&sceau_testkit::talk::at(7)).unwrap(), "7");
    assert_eq!(serde_json::from_str::<UnixTime>("7").unwrap(), sceau_testkit::talk::at(7));
    assert!(serde_json::from_str::<UnixTime>("\"7\"").is_err() && serde_json::from_str::<UnixTime>("-7").is_err());
    let mut out = Vec::new();
    ciborium::into_writer(&sceau_testkit::talk::at(7), &mut out).unwrap();
    assert_eq!(out, [7]);
}
