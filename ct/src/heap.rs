//! An allocator that knows all blocks, so that what devices hold between two calls can be marked: keys as secret, all else
//! as public.
//!
//! The library keeps every stored secret in a block of its own: 32 or 64 bytes without alignment, a keyed HMAC, or an
//! Ed25519 signing key. The first are known by their size, the others by what is public in them. Another block of 32 or 64
//! bytes is marked secret too, which can only add alarms.

use crate::valgrind::{mask, public, public_at, secret, secret_at};
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, Ordering};
use ed25519_dalek::SigningKey;
use hmac::{Hmac, KeyInit, digest};
use sha2::Sha256;
use std::alloc::System;

pub struct Tracked;

/// In front of each block, in a doubly linked list.
struct Head {
    previous: *mut Head,
    next: *mut Head,
    layout: Layout,
}

static NEWEST: AtomicPtr<Head> = AtomicPtr::new(ptr::null_mut());

/// The place of a block's head.
fn head_of(block: *mut u8) -> *mut Head {
    block.wrapping_sub(size_of::<Head>()).cast()
}

/// The layout with room for a head in front, and how far behind its start the block is.
fn with_head(layout: Layout) -> (Layout, usize) {
    let place = Layout::new::<Head>().extend(layout);
    place.unwrap_or_else(|_| std::process::abort())
}

// SAFETY: every block is one of `System`'s, with a head in front of it. This program has one thread.
unsafe impl GlobalAlloc for Tracked {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (whole, offset) = with_head(layout);
        // SAFETY: the layout is not empty: it has a head. The head's end is the block's start at most.
        unsafe {
            let start = System.alloc(whole);
            if start.is_null() {
                return start;
            }
            let block = start.add(offset);
            let head = head_of(block);
            let next = NEWEST.swap(head, Ordering::Relaxed);
            head.write(Head { previous: ptr::null_mut(), next, layout });
            // A length that was in a sealed message has been reported by now, where it was branched on.
            public_at(head.cast(), size_of::<Head>());
            if let Some(next) = next.as_mut() {
                next.previous = head;
            }
            block
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        // SAFETY: the block came from `alloc`, which has noted its layout.
        unsafe {
            let Head { previous, next, layout } = head_of(block).read();
            let (whole, offset) = with_head(layout);
            match previous.as_mut() {
                Some(previous) => previous.next = next,
                None => NEWEST.store(next, Ordering::Relaxed),
            }
            if let Some(next) = next.as_mut() {
                next.previous = previous;
            }
            System.dealloc(block.sub(offset), whole);
        }
    }
}

/// How keys look that do not stand alone in their block.
pub struct Shapes {
    /// The bytes of an HMAC, and which of them depend on its key.
    mac: (Vec<u8>, Vec<bool>),
    /// Where a signing key has its seed and its public key.
    seed: usize,
    public: usize,
}

impl Shapes {
    pub fn new() -> Self {
        let mut key = digest::Key::<Hmac<Sha256>>::default();
        secret(key.as_mut_slice());
        let mut mac = Box::new(Hmac::<Sha256>::new(&key));
        let secret_bytes = mask(&*mac);
        public(&mut *mac);
        let signing = SigningKey::from_bytes(&[1; 32]);
        let offset = |part: &[u8]| part.as_ptr().addr() - ptr::from_ref(&signing).addr();
        let (seed, public) = (offset(signing.as_bytes()), offset(signing.as_ref().as_bytes()));
        Self { mac: (block_of(&*mac), secret_bytes), seed, public }
    }

    /// Marks everything on the heap as public, but stored secrets as secret. Returns how many bytes are secret.
    pub fn settle(&self) -> usize {
        let mut secret_bytes = 0;
        let mut hide = |start: *mut u8, len: usize| {
            secret_at(start, len);
            secret_bytes += len;
        };
        let mut head = NEWEST.load(Ordering::Relaxed);
        while let Some(found) = NonNull::new(head) {
            // SAFETY: heads in the list are those of live blocks; there is one thread.
            let Head { layout, next, .. } = unsafe { found.read() };
            let block = head.wrapping_add(1).cast::<u8>();
            head = next;
            public_at(block, layout.size());
            if layout.align() == 1 && matches!(layout.size(), 32 | 64) {
                hide(block, layout.size());
            } else if layout == Layout::new::<Hmac<Sha256>>() {
                let (bytes, secret) = &self.mac;
                let places = || secret.iter().zip(bytes).enumerate().map(|(at, (secret, byte))| (at, *secret, *byte));
                // SAFETY: the block is that long, and all of it has been marked as defined.
                if places().all(|(at, secret, byte)| secret || unsafe { block.add(at).read_volatile() } == byte) {
                    places().filter(|(_, secret, _)| *secret).for_each(|(at, ..)| hide(block.wrapping_add(at), 1));
                }
            } else if layout == Layout::new::<SigningKey>() {
                // SAFETY: as above, and both lie in it.
                let [seed, public] =
                    [self.seed, self.public].map(|at| unsafe { block.add(at).cast::<[u8; 32]>().read_volatile() });
                if SigningKey::from_bytes(&seed).as_ref().as_bytes() == &public {
                    hide(block.wrapping_add(self.seed), 32);
                }
            }
        }
        secret_bytes
    }
}

/// A value's bytes, those between its fields too.
fn block_of<T>(value: &T) -> Vec<u8> {
    let start = ptr::from_ref(value).cast::<u8>();
    // SAFETY: within the value. What was never written is read only after valgrind was told that it is defined, and is
    // compared with nothing.
    (0..size_of::<T>()).map(|at| unsafe { start.add(at).read_volatile() }).collect()
}
