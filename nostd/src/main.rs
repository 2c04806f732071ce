//! Two devices talk in a program without the standard library: it has a panic handler of its own, so that it can't be
//! linked with that, an allocator over a static array, and nothing but C's `write` and start-up code under it.
//!
//! The exit status is 0 if all went well.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec::Vec;
use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::convert::Infallible;
use core::panic::PanicInfo;
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};
use sceau::rand_core::{TryCryptoRng, TryRng};
use sceau::{Device, Event, Pending, PreKeyBundle, PreKeyUpload, UnixTime};

#[link(name = "c")]
unsafe extern "C" {
    fn abort() -> !;
    fn write(file: i32, bytes: *const u8, len: usize) -> isize;
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    // SAFETY: it takes nothing and does not return.
    unsafe { abort() }
}

const HEAP_LEN: usize = 4 << 20;

/// Gives memory out and never takes it back.
struct Bump {
    memory: UnsafeCell<[u8; HEAP_LEN]>,
    used: AtomicUsize,
}

// SAFETY: no byte is given out twice.
unsafe impl Sync for Bump {}

// SAFETY: a block is a part of the array, is aligned, and overlaps no other.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let start = self.memory.get().cast::<u8>();
        let place = |used: usize| {
            let at = used + start.wrapping_add(used).align_offset(layout.align());
            let end = at.checked_add(layout.size())?;
            (end <= HEAP_LEN).then_some((at, end))
        };
        let next = |used| place(used).map(|(_, end)| end);
        match self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next) {
            Ok(used) => place(used).map_or(ptr::null_mut(), |(at, _)| start.wrapping_add(at)),
            Err(_) => ptr::null_mut(),
        }
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static HEAP: Bump = Bump { memory: UnsafeCell::new([0; HEAP_LEN]), used: AtomicUsize::new(0) };

/// `SplitMix64` from a fixed seed: good for nothing but this.
struct FixedRng(u64);

impl TryRng for FixedRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Ok(mixed ^ (mixed >> 31))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(8) {
            let word = self.try_next_u64()?.to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        Ok(())
    }
}

impl TryCryptoRng for FixedRng {}

const NOW: UnixTime = match UnixTime::from_secs(1_800_000_000) {
    Ok(now) => now,
    Err(_) => panic!("no clock shows it"),
};

/// Commits without storing.
fn done<T, E>(pending: Result<Pending<'_, T>, E>) -> Option<T> {
    let Ok(value) = pending.ok()?.commit(|_| Ok::<(), Infallible>(()));
    Some(value)
}

fn read(device: &mut Device, envelope: &[u8]) -> Option<Vec<u8>> {
    match done(device.open(envelope, NOW))?.event {
        Event::Message { content, .. } => Some(content),
        _ => None,
    }
}

/// Whether two devices understand each other. `None`: one of them could not do something.
fn conversation() -> Option<bool> {
    let mut rng = FixedRng(1);
    let (mut alice, mut bob) = (Device::generate(&mut rng), Device::generate(&mut rng));
    let upload = done(bob.publish_prekeys(2, NOW, &mut rng))?.encode();
    let mut directory = PreKeyUpload::decode(&upload).ok()?.into_entry().ok()?;
    let bundle = PreKeyBundle::decode(&directory.take_bundle().encode()).ok()?;
    let to_bob = done(alice.add_peer(&bundle, NOW))?;
    let mut good = to_bob == bob.fingerprint();
    let to_alice = alice.fingerprint();
    for _ in 0..3 {
        let envelope = done(alice.seal(to_bob, b"Bonjour", NOW, &mut rng))?.envelope;
        good &= read(&mut bob, &envelope)? == b"Bonjour";
        let reply = done(bob.seal(to_alice, b"Salut", NOW, &mut rng))?.envelope;
        good &= read(&mut alice, &reply)? == b"Salut";
        // Nothing opens twice.
        good &= alice.open(&reply, NOW).is_err();
    }
    Some(good)
}

#[unsafe(no_mangle)]
extern "C" fn main(_: i32, _: *const *const u8) -> i32 {
    let good = conversation() == Some(true);
    let line: &[u8] = if good { b"nostd: a conversation of 6 messages without std\n" } else { b"nostd: FAILED\n" };
    // SAFETY: the bytes are there, and so many.
    unsafe { write(1, line.as_ptr(), line.len()) };
    i32::from(!good)
}
