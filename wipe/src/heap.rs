//! An allocator that looks for secrets in every block that is given back, and a look at the stack.

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::UnsafeCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};

/// A copy of so many bytes of a secret is one.
pub const WINDOW: usize = 16;

/// Of a secret longer than [`LONG`], a text, only every so-manieth window is looked for: a copy of 23 bytes is found.
const STRIDE: usize = 8;
const LONG: usize = 256;

/// Bits of the filter in front of the map of windows.
const FILTER_BITS: u32 = 24;

/// With more hits than that no more backtraces are taken.
const MAX_BACKTRACES: usize = 3_000;

pub struct Scanning;

/// A secret in a block that was freed; each secret's label once for a block.
pub struct Hit {
    /// Whose copy it was.
    pub label: &'static str,
    /// During which operation.
    pub operation: &'static str,
    /// Length of the block, and where in it the copy began.
    pub size: usize,
    pub at: usize,
    /// Functions, the innermost first.
    pub frames: Vec<String>,
}

#[derive(Default)]
struct State {
    filter: Vec<u64>,
    windows: HashMap<[u8; WINDOW], &'static str>,
    seen: HashSet<Vec<u8>>,
    hits: Vec<Hit>,
    operation: &'static str,
    operations: usize,
    frees: usize,
    /// Where the stack is copied to.
    stack: Vec<u8>,
    stacks: usize,
    depths: BTreeMap<&'static str, usize>,
}

struct Place(UnsafeCell<Option<State>>);

// SAFETY: `enter` lets one in at a time; this program has one thread anyway.
unsafe impl Sync for Place {}

static STATE: Place = Place(UnsafeCell::new(None));
static ENTERED: AtomicBool = AtomicBool::new(false);

/// Gives access to the state, unless someone has it: whoever frees memory in here is not looked at.
fn enter<T>(work: impl FnOnce(&mut State) -> T) -> Option<T> {
    if ENTERED.swap(true, Ordering::Acquire) {
        return None;
    }
    // SAFETY: the flag was not set, so nobody else has a reference.
    let state = unsafe { &mut *STATE.0.get() };
    let result = work(state.get_or_insert_with(State::default));
    ENTERED.store(false, Ordering::Release);
    Some(result)
}

/// Runs this program's own bookkeeping, whose memory is not looked at. Never the library's code.
pub fn unseen<T>(work: impl FnOnce() -> T) -> T {
    enter(|_| work()).expect("not from within")
}

/// An operation begins.
pub fn operation(name: &'static str) {
    enter(|state| {
        state.operation = name;
        state.operations += 1;
    });
}

/// Looks for this secret from now on.
pub fn register(label: &'static str, secret: &[u8]) {
    if measures() {
        return;
    }
    enter(|state| state.register(label, secret)).expect("not from within");
    scrub();
}

/// Whether this run measures how deep the stack gets, and looks for no secret.
static MEASURES: AtomicBool = AtomicBool::new(false);

/// From now on operations are measured: [`depths`].
pub fn measure() {
    MEASURES.store(true, Ordering::Relaxed);
}

pub fn measures() -> bool {
    MEASURES.load(Ordering::Relaxed)
}

/// The deepest that each operation got, in bytes below its call.
pub fn depths() -> BTreeMap<&'static str, usize> {
    enter(|state| state.depths.clone()).expect("not from within")
}

/// Overwrites the stack below. What this program has computed there must not come up in the library's blocks, where bytes
/// between fields can be whatever was on the stack.
#[inline(never)]
#[allow(clippy::large_stack_arrays, reason = "it is what this is for")]
pub fn scrub() {
    if measures() {
        return;
    }
    let mut stack = [0_u8; 1 << 17];
    core::hint::black_box(&mut stack);
}

/// In place of a backtrace: found where an operation had its stack.
pub const ON_STACK: &str = "the stack";

/// How much of the stack is looked at.
const STACK: usize = 96 << 10;

/// Does something on a stack of zeros, and looks at what it has left there.
#[inline(never)]
pub fn on_clean_stack<T>(work: impl FnOnce() -> T) -> T {
    #[inline(never)]
    fn apart<T>(work: impl FnOnce() -> T) -> T {
        work()
    }
    if measures() {
        paint();
        let value = apart(work);
        let depth = deepest();
        enter(|state| {
            let most = state.depths.entry(state.operation).or_default();
            *most = depth.max(*most);
        });
        return value;
    }
    enter(|state| state.stack.resize(STACK, 0));
    scrub();
    let value = apart(work);
    copy_stack();
    enter(|state| {
        let stack = std::mem::take(&mut state.stack);
        state.left_on_stack(&stack);
        state.stack = stack;
        state.stacks += 1;
    });
    scrub();
    value
}

/// How far down the stack is painted to be measured, and with what.
const PAINTED: usize = 3 << 20;
const PAINT: u8 = 0xa5;

#[inline(never)]
#[allow(clippy::large_stack_arrays, reason = "it is what this is for")]
fn paint() {
    let mut stack = [PAINT; PAINTED];
    core::hint::black_box(&mut stack);
}

/// How far below this frame the paint is gone.
#[inline(never)]
fn deepest() -> usize {
    const STEP: usize = 64;
    let here = 0_u8;
    let here = core::ptr::from_ref(&here).addr();
    // `paint` has reached at least as far, but for the room of two frames.
    let lowest = here - PAINTED + (64 << 10);
    for at in (lowest..here).step_by(STEP) {
        // SAFETY: the stack of the main thread was in use down there a moment ago.
        let bytes = unsafe { core::ptr::read_volatile(core::ptr::with_exposed_provenance::<[u8; STEP]>(at)) };
        if bytes != [PAINT; STEP] {
            return here - at;
        }
    }
    0
}

/// Copies what is below this frame, the farthest first. Calls nothing that would write there.
#[inline(never)]
fn copy_stack() {
    // SAFETY: only this thread is here, and nobody is within.
    let Some(state) = (unsafe { &mut *STATE.0.get() }) else { return };
    let here = 0_u8;
    let here = core::ptr::from_ref(&here).addr();
    for (at, byte) in state.stack.iter_mut().enumerate() {
        let address = here - STACK + at;
        // SAFETY: the stack of the main thread was in use down there a moment ago, and `scrub` has filled more of it.
        *byte = unsafe { core::ptr::read_volatile(core::ptr::with_exposed_provenance::<u8>(address)) };
    }
}

pub struct Report {
    pub stacks: usize,
    pub operations: usize,
    pub secrets: usize,
    pub frees: usize,
}

/// What was counted, and the hits since the last report.
pub fn report() -> (Report, Vec<Hit>) {
    let report = |state: &mut State| {
        let report = Report {
            stacks: state.stacks,
            operations: state.operations,
            secrets: state.seen.len(),
            frees: state.frees,
        };
        (report, std::mem::take(&mut state.hits))
    };
    enter(report).expect("not from within")
}

/// The windows of secrets in a vector's memory behind its content.
pub fn in_spare_capacity(bytes: &mut Vec<u8>) -> usize {
    let spare = bytes.spare_capacity_mut();
    // SAFETY: blocks are filled with zeros when they are allocated, so all of this one is initialised.
    let spare = unsafe { core::slice::from_raw_parts(spare.as_ptr().cast::<u8>(), spare.len()) };
    enter(|state| state.find(spare).count()).expect("not from within")
}

impl State {
    fn register(&mut self, label: &'static str, secret: &[u8]) {
        if self.filter.is_empty() {
            self.filter = vec![0; 1 << (FILTER_BITS - 6)];
        }
        if secret.len() < WINDOW || !self.seen.insert(secret.to_vec()) {
            return;
        }
        let stride = if secret.len() > LONG { STRIDE } else { 1 };
        for window in secret.array_windows_by(stride) {
            let (word, bit) = place(&window);
            self.filter[word] |= bit;
            self.windows.entry(window).or_insert(label);
        }
    }

    /// Where a block holds parts of secrets, and of which.
    fn find<'a>(&'a self, block: &'a [u8]) -> impl Iterator<Item = (usize, &'static str)> + 'a {
        let windows = block.windows(WINDOW).enumerate();
        windows.filter_map(|(at, window)| {
            let window: &[u8; WINDOW] = window.try_into().ok()?;
            let (word, bit) = place(window);
            if self.filter.get(word).is_some_and(|bits| bits & bit != 0) {
                return Some((at, *self.windows.get(window)?));
            }
            None
        })
    }

    fn left_on_stack(&mut self, stack: &[u8]) {
        let mut left: Vec<(usize, &'static str)> = self.find(stack).collect();
        left.sort_by_key(|(at, label)| (*label, *at));
        left.dedup_by_key(|(_, label)| *label);
        for (at, label) in left {
            let frames = Vec::from([ON_STACK.to_string()]);
            self.hits.push(Hit { label, operation: self.operation, size: stack.len(), at: stack.len() - at, frames });
        }
    }

    fn freed(&mut self, block: &[u8]) {
        self.frees += 1;
        let mut labels: Vec<(usize, &'static str)> = self.find(block).collect();
        if labels.is_empty() {
            return;
        }
        labels.sort_by_key(|(at, label)| (*label, *at));
        labels.dedup_by_key(|(_, label)| *label);
        let frames = if self.hits.len() < MAX_BACKTRACES { frames(&Backtrace::force_capture()) } else { Vec::new() };
        for (at, label) in labels {
            self.hits.push(Hit { label, operation: self.operation, size: block.len(), at, frames: frames.clone() });
        }
    }
}

/// Where the filter has a window's bit.
fn place(window: &[u8; WINDOW]) -> (usize, u64) {
    let start = u64::from_le_bytes(*window.first_chunk().expect("16 bytes"));
    let hash = start.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - FILTER_BITS);
    (usize::try_from(hash >> 6).expect("small"), 1 << (hash & 63))
}

/// The functions of a backtrace with their lines, without this module's and the runtime's.
fn frames(backtrace: &Backtrace) -> Vec<String> {
    let mut frames: Vec<String> = Vec::new();
    for line in backtrace.to_string().lines() {
        let line = line.trim();
        if let Some(place) = line.strip_prefix("at ") {
            let file = place.rsplit('/').next().unwrap_or_default();
            let file = file.rsplit_once(':').map_or(file, |(file, _column)| file);
            if let Some(last) = frames.last_mut() {
                *last = format!("{last} ({file})");
            }
        } else if let Some((_, name)) = line.split_once(": ") {
            frames.push(name.to_string());
        }
    }
    // Up to this program's own, without the allocator and the standard library, but with what is dropped.
    if let Some(end) = frames.iter().position(|frame| frame.contains("(cases.rs") || frame.contains("(world.rs")) {
        frames.truncate(end + 1);
    }
    let own = ["(heap.rs", "std::backtrace", "__rust", "__rdl"];
    let library =
        ["(alloc.rs", "(mod.rs", "(raw_vec", "(boxed.rs", "(ptr", "(map.rs", "(option.rs", "(result.rs", "(iter"];
    let dropped = |frame: &str| frame.starts_with("drop_in_place<") || frame.starts_with("core::ptr::drop_in_place");
    frames.retain(|frame| {
        let within = |names: &[&str]| names.iter().any(|name| frame.contains(name));
        !within(&own) && (dropped(frame) || !within(&library))
    });
    frames
}

trait Windows {
    fn array_windows_by(&self, stride: usize) -> impl Iterator<Item = [u8; WINDOW]>;
}

impl Windows for [u8] {
    fn array_windows_by(&self, stride: usize) -> impl Iterator<Item = [u8; WINDOW]> {
        self.windows(WINDOW).step_by(stride).filter_map(|window| window.try_into().ok())
    }
}

// SAFETY: every block is one of `System`'s.
unsafe impl GlobalAlloc for Scanning {
    /// With zeros, so that a block holds nothing but what was written to it since: neither undefined bytes nor those of an
    /// earlier one.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block is live and initialised, and the caller has given up its references to it.
        let bytes = unsafe { core::slice::from_raw_parts(block, layout.size()) };
        if !measures() {
            enter(|state| state.freed(bytes));
        }
        // SAFETY: the caller's promises are the same.
        unsafe { System.dealloc(block, layout) }
    }

    // `realloc` is the trait's own: it allocates, copies, and frees the old block by `dealloc`, which looks at it.
}
