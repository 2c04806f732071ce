//! What is sealed under the right key of a vault or an attachment, by who has that key and seals other things.

use super::input::Input;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, XChaCha20Poly1305};
use sceau::Attachment;
use sceau::attachment::{AttachmentOpener, CHUNK_LEN, sealed_len};
use sceau::error::{AttachmentError, VaultError};
use sceau::vault::Vault;

const KEY: [u8; 32] = [8; 32];
const MAC_LEN: usize = 16;
const COMMITMENT: [u8; 32] = [0; 32];

/// Vaults and attachments: what opens is what the specification says of the plaintext, and nothing else does.
pub fn openers(data: &[u8]) {
    let mut input = Input(data);
    match input.u8() % 4 {
        0 => vault_sealed(&mut input),
        1 => vault_by_hand(&mut input),
        how => attachment(&mut input, how == 3),
    }
}

/// A genuine image that is changed, or asked for under another name or as a later one.
fn vault_sealed(input: &mut Input<'_>) {
    let (vault, generation) = (Vault::new(&KEY), input.near(5));
    let (how, len) = (input.u8(), input.below(100));
    let image = input.slice(len);
    let genuine = vault.seal(b"name", generation, image, &mut crate::rng(71));
    assert_eq!(genuine.len(), image.len() + Vault::OVERHEAD);
    let mut sealed = genuine.clone();
    if how & 1 > 0 {
        input.damage(&mut sealed);
    }
    if how & 2 > 0 {
        sealed.truncate(usize::from(input.u8()));
    }
    if how & 4 > 0 {
        sealed.extend_from_slice(&input.array::<3>());
    }
    let name: &[u8] = if how & 8 > 0 { &input.array::<4>() } else { b"name" };
    let least = if how & 16 > 0 { input.u64() } else { generation };
    let result = vault.open(name, least, &sealed).map(|opened| (opened.generation, opened.image.expose().to_vec()));
    if sealed != genuine || name != b"name" {
        assert!(matches!(result, Err(VaultError::Malformed(_) | VaultError::Rejected)), "{result:?}");
    } else if generation < least {
        assert_eq!(result, Err(VaultError::Old { generation }));
    } else {
        assert_eq!(result, Ok((generation, image.to_vec())));
    }
}

/// A plaintext that need not begin with zeros (docs/PROTOCOL.md, section 10.5).
fn vault_by_hand(input: &mut Input<'_>) {
    let (generation, least, nonce) = (input.near(5), input.near(5), input.array::<24>());
    let len = input.below(120);
    let mut plaintext = vec![0; len];
    input.damage(&mut plaintext);
    let ad = [&b"sceau/1 vault"[..], &[1], &generation.to_be_bytes(), b"name"].concat();
    let payload = Payload { msg: &plaintext, aad: &ad };
    let body = XChaCha20Poly1305::new(&KEY.into()).encrypt(&nonce.into(), payload).expect("short");
    let sealed = [&[1][..], &generation.to_be_bytes(), &nonce, &body].concat();
    let result = Vault::new(&KEY).open(b"name", least, &sealed);
    match plaintext.split_first_chunk::<32>() {
        Some((&COMMITMENT, image)) if generation >= least => {
            assert_eq!(result.expect("as it must be").image.expose(), image);
        }
        Some((&COMMITMENT, _)) => assert_eq!(result.err(), Some(VaultError::Old { generation })),
        _ => assert!(matches!(result, Err(VaultError::Malformed(_) | VaultError::Rejected)), "{result:?}"),
    }
    assert_eq!(Vault::generation(&sealed), Ok(generation));
}

/// One chunk as it is sealed: its plaintext, its place, and whether it says that it is the last.
struct Chunk {
    plaintext: Vec<u8>,
    position: u32,
    last: bool,
}

/// Chunks of any plaintext, place and end, for a content of any length, under the name of what they are or of something else.
fn attachment(input: &mut Input<'_>, long: bool) {
    let len = if long { 65_400 + u64::from(input.u16()) } else { input.near(100) };
    let (how, total) = (input.u8(), sealed_len(len));
    if total > 3 * CHUNK_LEN as u64 {
        return too_long(len, input);
    }
    let (len, total) = (len as usize, total as usize);
    // Genuine, and then not quite.
    let mut rest = total;
    let mut chunks: Vec<Chunk> = Vec::new();
    while rest > 0 {
        let chunk = rest.min(CHUNK_LEN);
        rest -= chunk;
        let plaintext = vec![0; chunk - MAC_LEN];
        chunks.push(Chunk { plaintext, position: chunks.len() as u32, last: rest == 0 });
    }
    let fill = |at: usize| (at % 251 + 1) as u8;
    let places = chunks.iter_mut().flat_map(|chunk| &mut chunk.plaintext).skip(32).take(len).enumerate();
    places.for_each(|(at, byte)| *byte = fill(at));
    let count = chunks.len();
    let mut good = true;
    if how & 1 > 0 {
        // In the commitment, or in the padding.
        let room = chunks[count - 1].plaintext.len();
        let (chunk, at) =
            if how & 2 > 0 { (0, input.below(32)) } else { (count - 1, room - 1 - input.below(8).min(room - 1)) };
        let before: usize = chunks[..chunk].iter().map(|chunk| chunk.plaintext.len()).sum();
        let value = input.u8();
        chunks[chunk].plaintext[at] ^= value;
        good &= value == 0 || (32..32 + len).contains(&(before + at));
    }
    if how & 4 > 0 {
        let at = input.below(count);
        let value = input.near(u64::from(chunks[at].position)) as u32;
        good &= value == chunks[at].position;
        chunks[at].position = value;
    }
    if how & 8 > 0 {
        let at = input.below(count);
        chunks[at].last ^= true;
        good = false;
    }
    let content: Vec<u8> = chunks.iter().flat_map(|chunk| &chunk.plaintext).skip(32).take(len).copied().collect();
    let mut sealed: Vec<Vec<u8>> = chunks.iter().map(|chunk| seal(chunk, len as u64)).collect();
    if how & 16 > 0 && count > 1 {
        sealed.swap(0, 1);
        good = false;
    }
    let whole = sealed.concat();
    let mut name = sceau::attachment::name(&whole);
    if how & 32 > 0 {
        let before = name;
        input.damage(&mut name);
        good &= name == before;
    }
    let key = attachment_of(len as u64, &name).expect("below the limit");
    let opened = sceau::attachment::open(&key, &whole);
    let expected = if good { Ok(&content[..]) } else { Err(&AttachmentError::Rejected) };
    assert_eq!(opened.as_ref().map(Vec::as_slice), expected);
    assert_eq!(sceau::attachment::open(&key, &whole[1..]), Err(AttachmentError::WrongLength));

    // Chunk by chunk, with wrong ones in between: they change nothing.
    let mut opener = AttachmentOpener::new(&key);
    let mut read = Vec::new();
    for chunk in &sealed {
        if opener.wants() != Some(chunk.len()) {
            assert!(!good);
            assert_eq!(opener.open(chunk), Err(AttachmentError::WrongLength));
            return;
        }
        assert_eq!(opener.open(&chunk[1..]), Err(AttachmentError::WrongLength));
        let mut changed = chunk.clone();
        changed[0] ^= 1;
        assert_eq!(opener.open(&changed), Err(AttachmentError::Rejected));
        match opener.open(chunk) {
            Ok(part) => read.extend(part),
            Err(error) => {
                assert_eq!(error, AttachmentError::Rejected);
                assert!(!good);
                assert_eq!(opener.finish(), Err(AttachmentError::Unfinished));
                return;
            }
        }
    }
    assert_eq!(opener.wants(), None);
    assert_eq!(opener.open(&sealed[0]), Err(AttachmentError::WrongLength));
    assert_eq!(opener.finish(), if good { Ok(()) } else { Err(AttachmentError::Rejected) });
    assert!(!good || read == content);
}

/// A length that nobody would fetch costs nothing, or is refused.
fn too_long(len: u64, input: &mut Input<'_>) {
    let Some(key) = attachment_of(len, &[0; 32]) else {
        return assert!(len > sceau::limits::MAX_ATTACHMENT);
    };
    assert_eq!(sceau::attachment::open(&key, input.slice(1_000)), Err(AttachmentError::WrongLength));
    let mut opener = AttachmentOpener::new(&key);
    assert_eq!(opener.wants(), Some(CHUNK_LEN));
    assert_eq!(opener.open(input.slice(1_000)), Err(AttachmentError::WrongLength));
    assert_eq!(opener.finish(), Err(AttachmentError::Unfinished));
}

fn attachment_of(len: u64, name: &[u8; 32]) -> Option<Attachment> {
    Attachment::from_state(&[&[1][..], &KEY, &len.to_be_bytes(), name].concat()).ok()
}

/// STREAM with a nonce of `0*7 || position(4) || last(1)` (docs/PROTOCOL.md, section 10.3).
fn seal(chunk: &Chunk, len: u64) -> Vec<u8> {
    let mut nonce = [0; 12];
    nonce[7..11].copy_from_slice(&chunk.position.to_be_bytes());
    nonce[11] = u8::from(chunk.last);
    let ad = [&b"sceau/1 attachment"[..], &len.to_be_bytes()].concat();
    let payload = Payload { msg: &chunk.plaintext, aad: &ad };
    ChaCha20Poly1305::new(&KEY.into()).encrypt(&nonce.into(), payload).expect("short")
}
