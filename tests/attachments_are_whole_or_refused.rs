//! Content beside its message: whatever is cut, added, moved, swapped or changed is refused; one ciphertext serves many.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "a test is to fail loudly"
)]

use sceau::attachment::{self, Attachment, AttachmentOpener, AttachmentSealer, CHUNK_LEN};
use sceau::error::{AttachmentError, OpenError, SealError, StateError};
use sceau::limits::MAX_ATTACHMENT;
use sceau::{Device, Event};
use sceau_testkit::talk::{NOW, Talk, done, state};
use sceau_testkit::{Crowd, rng};

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 % 251) as u8).collect()
}

#[test]
fn every_length_comes_back_and_lengths_are_padded() {
    let mut rng = rng(1);
    let edge = CHUNK_LEN - 16 - 32;
    let mut lengths = std::collections::BTreeSet::new();
    for len in (0..700).step_by(37).chain([607, 608, 609, edge - 1, edge, edge + 1, 200_000, 2 * CHUNK_LEN]) {
        let (key, sealed) = attachment::seal(&content(len), &mut rng).unwrap();
        assert_eq!(sealed.len() as u64, attachment::sealed_len(len as u64));
        assert_eq!(attachment::open(&key, &sealed).unwrap(), content(len));
        assert_eq!((key.content_len(), *key.name()), (len as u64, attachment::name(&sealed)));
        lengths.insert(sealed.len());
        // Through its image, as it is stored until the ciphertext is there.
        assert_eq!(Attachment::from_state(key.to_state().expose()).unwrap(), key);
    }
    assert!(lengths.contains(&656) && lengths.len() < 10, "{lengths:?}");
}

#[test]
fn chunk_by_chunk_is_the_same() {
    let content = content(300_000);
    let mut sealer = AttachmentSealer::new(content.len() as u64, &mut rng(2)).unwrap();
    assert_eq!(sealer.sealed_len(), attachment::sealed_len(content.len() as u64));
    let (mut out, mut at) = (Vec::new(), 0);
    while let Some(wanted) = sealer.wants() {
        assert_eq!(sealer.seal(&vec![0; wanted + 1]), Err(AttachmentError::WrongLength));
        let chunk = sealer.seal(&content[at..at + wanted]).unwrap();
        assert!(chunk.len() <= CHUNK_LEN);
        out.extend(chunk);
        at += wanted;
    }
    assert_eq!(sealer.seal(&[]), Err(AttachmentError::WrongLength));
    let (key, sealed) = (sealer.finish().unwrap(), out);
    assert_eq!(attachment::open(&key, &sealed).unwrap(), content);
    let mut opener = AttachmentOpener::new(&key);
    let (mut read, mut at) = (Vec::new(), 0);
    while let Some(wanted) = opener.wants() {
        // A damaged chunk changes nothing: it can be fetched again.
        let mut damaged = sealed[at..at + wanted].to_vec();
        damaged[wanted / 2] ^= 1;
        assert_eq!(opener.open(&damaged), Err(AttachmentError::Rejected));
        assert_eq!(opener.open(&damaged[1..]), Err(AttachmentError::WrongLength));
        read.extend(opener.open(&sealed[at..at + wanted]).unwrap());
        at += wanted;
    }
    assert_eq!(opener.open(&sealed[..100]), Err(AttachmentError::WrongLength), "nothing behind the end");
    opener.finish().unwrap();
    assert_eq!(read, content);
}

#[test]
fn unfinished_streams_are_nothing() {
    let sealer = AttachmentSealer::new(10, &mut rng(3)).unwrap();
    assert_eq!(sealer.finish(), Err(AttachmentError::Unfinished));
    let (key, _) = attachment::seal(b"text", &mut rng(3)).unwrap();
    assert_eq!(AttachmentOpener::new(&key).finish(), Err(AttachmentError::Unfinished));
    assert!(matches!(AttachmentSealer::new(1 << 41, &mut rng(3)), Err(AttachmentError::TooLong)));
}

#[test]
fn cut_extended_moved_and_changed_are_refused() {
    let mut rng = rng(4);
    let content = content(3 * CHUNK_LEN);
    let (key, sealed) = attachment::seal(&content, &mut rng).unwrap();
    for len in [0, 1, CHUNK_LEN, 2 * CHUNK_LEN, sealed.len() - 1] {
        assert_eq!(attachment::open(&key, &sealed[..len]), Err(AttachmentError::WrongLength));
    }
    assert_eq!(attachment::open(&key, &[&sealed[..], &[0]].concat()), Err(AttachmentError::WrongLength));
    let mut moved = sealed.clone();
    moved.copy_within(CHUNK_LEN..2 * CHUNK_LEN, 0);
    assert_eq!(attachment::open(&key, &moved), Err(AttachmentError::Rejected));
    let mut swapped = sealed.clone();
    let (one, two) = swapped.split_at_mut(2 * CHUNK_LEN);
    one[CHUNK_LEN..].swap_with_slice(&mut two[..CHUNK_LEN]);
    assert_eq!(attachment::open(&key, &swapped), Err(AttachmentError::Rejected));
    for byte in (0..sealed.len()).step_by(997).chain([sealed.len() - 1]) {
        let mut changed = sealed.clone();
        changed[byte] ^= 0x10;
        assert_eq!(attachment::open(&key, &changed), Err(AttachmentError::Rejected), "byte {byte}");
    }
    // Every field of what opens it.
    let image = key.to_state().expose().to_vec();
    for byte in 0..image.len() {
        let mut changed = image.clone();
        changed[byte] ^= 1;
        let opened = Attachment::from_state(&changed).map(|key| attachment::open(&key, &sealed));
        assert!(!matches!(opened, Ok(Ok(_))), "byte {byte}");
    }
    // Another ciphertext of the same length, whole in itself.
    let (_, other) = attachment::seal(&content, &mut rng).unwrap();
    assert_eq!(attachment::open(&key, &other), Err(AttachmentError::Rejected));
}

/// Bob, Carol and Dave; Dave is blocked.
#[test]
fn one_content_for_many() {
    let Talk { mut alice, mut bob, to_bob, mut rng, .. } = Talk::new(5);
    let [mut carol, mut dave] = [(); 2].map(|()| Device::generate(&mut rng));
    for device in [&mut carol, &mut dave] {
        let upload = done(device.publish_prekeys(1, NOW, &mut rng).unwrap());
        done(alice.add_peer(&upload.into_entry().expect("signed").take_bundle(), NOW).unwrap());
    }
    done(alice.block(dave.fingerprint()).unwrap());
    let peers = [to_bob, carol.fingerprint(), dave.fingerprint(), to_bob];
    for len in [0, 357, 358, 3_000_000] {
        let text = content(len);
        let sealed = done(alice.seal_many(&peers, &text, NOW, &mut rng).unwrap());
        assert_eq!(sealed.deliveries.len(), 2, "each once");
        assert_eq!(sealed.unreachable.len(), 1);
        assert_eq!((sealed.unreachable[0].peer, sealed.unreachable[0].why), (dave.fingerprint(), SealError::Blocked));
        assert_eq!(sealed.attached.is_some(), len > 357);
        assert_eq!(
            sealed.attached.as_ref().map_or(0, Vec::len) as u64,
            sealed.attached.as_ref().map_or(0, |_| attachment::sealed_len(len as u64))
        );
        for delivery in sealed.deliveries {
            assert_eq!(delivery.envelope.len(), 4_210, "an introduction in the smallest bucket");
            let device = if delivery.to == to_bob { &mut bob } else { &mut carol };
            let read = match done(device.open(&delivery.envelope, NOW).unwrap()).event {
                Event::Message { content, .. } => content,
                Event::LongMessage { attachment, .. } => {
                    attachment::open(&attachment, sealed.attached.as_ref().unwrap()).unwrap()
                }
                other => panic!("{other:?}"),
            };
            assert_eq!(read, text);
        }
    }
}

#[test]
fn attachments_with_notes_to_a_peer_and_to_a_group() {
    let mut talk = Talk::confirmed(6);
    let (key, sealed) = attachment::seal(b"a picture", &mut talk.rng).unwrap();
    let envelope = done(talk.alice.seal_attachment(talk.to_bob, &key, b"cat.jpg", NOW, &mut talk.rng).unwrap());
    assert_eq!(envelope.envelope.len(), 640);
    let Event::Attachment { from, attachment, note, status, .. } =
        done(talk.bob.open(&envelope.envelope, NOW).unwrap()).event
    else {
        panic!()
    };
    assert_eq!((from, &note[..], status.session.confirmed), (talk.to_alice, &b"cat.jpg"[..], true));
    assert_eq!(attachment::open(&attachment, &sealed).unwrap(), b"a picture");

    let mut crowd = Crowd::together(3, 7);
    crowd.say(0, b"hello").unwrap();
    crowd.flush();
    let (group, now, from) = (crowd.group(), crowd.now, crowd.name(0));
    let device = &mut crowd.parties[0].device;
    let sent = done(device.seal_group_attachment(group, &key, b"cat.jpg", now, &mut crowd.rng).unwrap());
    for party in [1, 2] {
        let opened = done(crowd.parties[party].device.open(&sent.envelope, now).unwrap());
        let Event::GroupAttachment { from: by, attachment, note, .. } = opened.event else { panic!() };
        assert_eq!((by, &attachment, &note[..]), (from, &key, &b"cat.jpg"[..]));
    }
}

/// A file without a note is a file, and a long message is a message: for a peer and for a group, whatever its length.
#[test]
fn file_without_a_note_is_not_a_long_message() {
    let mut talk = Talk::confirmed(8);
    let (key, _) = attachment::seal(b"a picture", &mut talk.rng).unwrap();
    let file = done(talk.alice.seal_attachment(talk.to_bob, &key, b"", NOW, &mut talk.rng).unwrap());
    let text = done(talk.alice.seal_long_message(talk.to_bob, &key, NOW, &mut talk.rng).unwrap());
    assert_eq!(file.envelope.len(), text.envelope.len());
    let event = done(talk.bob.open(&file.envelope, NOW).unwrap()).event;
    assert!(matches!(&event, Event::Attachment { attachment, note, .. } if *attachment == key && note.is_empty()));
    let event = done(talk.bob.open(&text.envelope, NOW).unwrap()).event;
    assert!(
        matches!(&event, Event::LongMessage { from, attachment, .. } if (from, attachment) == (&talk.to_alice, &key))
    );

    let mut crowd = Crowd::together(2, 9);
    crowd.say(0, b"hello").unwrap();
    crowd.flush();
    let (group, now, from) = (crowd.group(), crowd.now, crowd.name(0));
    let device = &mut crowd.parties[0].device;
    let file = done(device.seal_group_attachment(group, &key, b"", now, &mut crowd.rng).unwrap()).envelope;
    let text = done(device.seal_group_long_message(group, &key, now, &mut crowd.rng).unwrap()).envelope;
    let other = &mut crowd.parties[1].device;
    let event = done(other.open(&file, now).unwrap()).event;
    assert!(matches!(&event, Event::GroupAttachment { attachment, note, .. } if *attachment == key && note.is_empty()));
    let event = done(other.open(&text, now).unwrap()).event;
    assert!(
        matches!(&event, Event::GroupLongMessage { from: by, attachment, .. } if (by, attachment) == (&from, &key)),
        "{event:?}"
    );
}

/// What opens a long message is 72 bytes, and nothing behind them: a peer that breaks the protocol is told so.
#[test]
fn long_message_has_no_note() {
    let mut talk = Talk::confirmed(10);
    let (key, _) = attachment::seal(b"text", &mut talk.rng).unwrap();
    let whole = key.to_state().expose()[1..].to_vec();
    for (content, good) in [(&whole[..71], false), (&whole[..], true), (&[&whole[..], b"n"].concat(), false)] {
        let envelope = done(talk.alice.seal_raw(talk.to_bob, 7, content, NOW, &mut talk.rng).unwrap());
        let before = state(&talk.bob);
        match talk.bob.open(&envelope.envelope, NOW) {
            Ok(pending) => assert!(good && matches!(done(pending).event, Event::LongMessage { .. })),
            Err(error) => {
                assert!(!good && error == OpenError::Violation(talk.to_alice));
                assert_eq!(state(&talk.bob), before);
            }
        }
    }
}

/// An opener is stopped behind every chunk, also before the first, and goes on from its image, in any number of steps.
#[test]
fn opening_goes_on_where_it_stopped() {
    for len in [0, 1, 65_488, 65_489, 131_008, 300_000] {
        let text = content(len);
        let (key, sealed) = attachment::seal(&text, &mut rng(11)).unwrap();
        let mut opener = AttachmentOpener::new(&key);
        let mut file = Vec::new();
        loop {
            assert_eq!(opener.content_position(), file.len() as u64);
            let at = opener.sealed_position() as usize;
            let Some(image) = opener.to_state() else {
                assert_eq!((opener.wants(), at), (None, sealed.len()));
                break;
            };
            assert_eq!(image.expose().len(), 109);
            opener = AttachmentOpener::from_state(image.expose()).unwrap();
            assert_eq!(opener.to_state().unwrap().expose(), image.expose());
            assert_eq!((opener.content_position(), opener.sealed_position()), (file.len() as u64, at as u64));
            let wanted = opener.wants().unwrap();
            // What was opened before is not taken again, and what is damaged changes nothing.
            if at > 0 {
                let whole = wanted == CHUNK_LEN;
                let error = if whole { AttachmentError::Rejected } else { AttachmentError::WrongLength };
                assert_eq!(opener.open(&sealed[at - CHUNK_LEN..at]), Err(error));
            }
            file.extend(opener.open(&sealed[at..at + wanted]).unwrap());
        }
        opener.finish().unwrap();
        assert_eq!(file, text);
    }
}

/// An image that was changed: it does not restore, or nothing opens under it, or the whole is refused at the end.
#[test]
fn stopped_openers_that_were_changed_open_nothing_as_whole() {
    let (key, sealed) = attachment::seal(&content(150_000), &mut rng(12)).unwrap();
    let mut opener = AttachmentOpener::new(&key);
    opener.open(&sealed[..CHUNK_LEN]).unwrap();
    let image = opener.to_state().unwrap().expose().to_vec();
    for byte in 0..image.len() {
        let mut changed = image.clone();
        changed[byte] ^= 1;
        let Ok(mut opener) = AttachmentOpener::from_state(&changed) else { continue };
        let mut at = opener.sealed_position() as usize;
        let mut opened = true;
        while let Some(wanted) = opener.wants() {
            let Some(chunk) = sealed.get(at..at + wanted) else { break };
            opened &= opener.open(chunk).is_ok();
            if !opened {
                break;
            }
            at += wanted;
        }
        assert!(!opened || opener.finish().is_err(), "byte {byte}");
    }
    // As many chunks as there are, or more: none follows.
    for (chunks, good) in [(0_u32, true), (1, true), (2, true), (3, false), (u32::MAX, false)] {
        let changed = [&image[..73], &chunks.to_be_bytes(), &image[77..]].concat();
        let restored = AttachmentOpener::from_state(&changed);
        assert_eq!(restored.err(), (!good).then_some(StateError::Invariant), "{chunks}");
    }
    assert!(AttachmentOpener::from_state(&image[..108]).is_err());
    // Another ciphertext under the same key from there on would be the sender's: the end says that it was not the named one.
    let other = Attachment::from_state(&[&key.to_state().expose()[..41], &[7; 32]].concat()).unwrap();
    let mut opener = AttachmentOpener::new(&other);
    for chunk in sealed.chunks(CHUNK_LEN) {
        if let Some(image) = opener.to_state() {
            opener = AttachmentOpener::from_state(image.expose()).unwrap();
        }
        opener.open(chunk).unwrap();
    }
    assert_eq!(opener.finish(), Err(AttachmentError::Rejected));
}

/// What opens a ciphertext is one value: another key, length or name is another one, and no length is too long that could
/// be sealed.
#[test]
fn what_opens_them_is_compared_whole_and_bounded() {
    let (key, _) = attachment::seal(b"text", &mut rng(9)).unwrap();
    let image = key.to_state().expose().to_vec();
    for byte in [1, 32, 40, 41, 72] {
        let mut changed = image.clone();
        changed[byte] ^= 1;
        assert_ne!(Attachment::from_state(&changed).unwrap(), key, "byte {byte}");
    }
    let of_len = |len: u64| Attachment::from_state(&[&image[..33], &len.to_be_bytes(), &image[41..]].concat());
    assert_eq!(of_len(MAX_ATTACHMENT).unwrap().content_len(), MAX_ATTACHMENT);
    assert!(AttachmentSealer::new(MAX_ATTACHMENT, &mut rng(9)).is_ok());
    assert!(of_len(MAX_ATTACHMENT + 1).is_err());
}
