//! An allocator that counts what is held.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ops::{AddAssign, Sub};
use std::sync::atomic::{AtomicUsize, Ordering};

pub struct Counting;

static BYTES: AtomicUsize = AtomicUsize::new(0);
static BLOCKS: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// Bytes as they were asked for, without what the allocator adds to each block, and blocks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Heap {
    pub bytes: usize,
    pub blocks: usize,
}

/// Wrapping: what is freed before it is counted comes back with the next sum.
impl Sub for Heap {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { bytes: self.bytes.wrapping_sub(other.bytes), blocks: self.blocks.wrapping_sub(other.blocks) }
    }
}

impl AddAssign for Heap {
    fn add_assign(&mut self, other: Self) {
        self.bytes = self.bytes.wrapping_add(other.bytes);
        self.blocks = self.blocks.wrapping_add(other.blocks);
    }
}

/// What is held now.
pub fn live() -> Heap {
    Heap { bytes: BYTES.load(Ordering::Relaxed), blocks: BLOCKS.load(Ordering::Relaxed) }
}

/// Does something; how many bytes were held at most beyond those before.
pub fn peak<T>(call: impl FnOnce() -> T) -> (T, usize) {
    let before = live().bytes;
    PEAK.store(before, Ordering::Relaxed);
    let value = call();
    (value, PEAK.load(Ordering::Relaxed).saturating_sub(before))
}

/// A plain load and store, not one atomic step, which would cost more than what is measured: this program has one thread.
fn count(bytes: usize, blocks: usize) {
    let now = BYTES.load(Ordering::Relaxed).wrapping_add(bytes);
    BYTES.store(now, Ordering::Relaxed);
    BLOCKS.store(BLOCKS.load(Ordering::Relaxed).wrapping_add(blocks), Ordering::Relaxed);
    if now > PEAK.load(Ordering::Relaxed) {
        PEAK.store(now, Ordering::Relaxed);
    }
}

const MINUS_ONE: usize = usize::MAX;

// SAFETY: every block is one of `System`'s.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: the caller's promises are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: the caller's promises are the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(layout.size().wrapping_neg(), MINUS_ONE);
        // SAFETY: the caller's promises are the same.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size.wrapping_sub(layout.size()), 0);
        // SAFETY: the caller's promises are the same.
        unsafe { System.realloc(block, layout, size) }
    }
}
