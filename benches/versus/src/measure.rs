//! What an operation costs, measured on both sides in turns.

use crate::counting;
use rustix::time::{ClockId, clock_gettime};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// How much is measured.
#[derive(Clone, Copy)]
pub struct Effort {
    pub quick: bool,
}

impl Effort {
    /// A count, or a part of it in a quick run.
    pub fn of(self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }

    /// How long a row may take before no further round begins.
    fn time(self) -> Duration {
        if self.quick { Duration::from_millis(20) } else { Duration::from_secs(2) }
    }

    fn rounds(self) -> std::ops::Range<usize> {
        if self.quick { 2..4 } else { 7..400 }
    }
}

/// What one batch cost, for each operation.
#[derive(Clone, Copy, Default)]
pub struct Cost {
    pub nanoseconds: f64,
    pub allocations: f64,
}

/// What all batches of a side cost, for each operation.
#[derive(Clone, Copy)]
pub struct Figure {
    pub min: f64,
    pub median: f64,
}

impl Figure {
    pub fn map(self, change: impl Fn(f64) -> f64) -> Self {
        Self { min: change(self.min), median: change(self.median) }
    }

    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self { min: values[0], median: values[values.len() / 2] }
    }
}

/// Figures of both sides; ours first.
pub type Both = [Figure; 2];

fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec.cast_unsigned(), u32::try_from(now.tv_nsec).expect("less than a second"))
}

/// Does something with each of the inputs: only that is measured, neither making inputs nor dropping results.
pub fn batch<I, O>(mut inputs: Vec<I>, mut operation: impl FnMut(&mut I) -> O) -> (Cost, Vec<O>) {
    let mut results = Vec::with_capacity(inputs.len());
    let (asked, start) = (counting::asked(), cpu());
    for input in &mut inputs {
        results.push(black_box(operation(black_box(input))));
    }
    let (time, asked) = (cpu().saturating_sub(start), counting::asked() - asked);
    let each = |total: f64| total / results.len() as f64;
    (Cost { nanoseconds: each(time.as_secs_f64() * 1e9), allocations: each(asked as f64) }, results)
}

/// Measures batches of both sides by turns, so that what else the machine does hits both alike. Each batch gives one or
/// more figures.
pub fn race<const N: usize>(
    effort: Effort,
    mut ours: impl FnMut() -> [f64; N],
    mut theirs: impl FnMut() -> [f64; N],
) -> [Both; N] {
    // Caches, tables that are made once, memory that the allocator keeps.
    ours();
    theirs();
    let begun = Instant::now();
    let mut batches = [Vec::new(), Vec::new()];
    let rounds = effort.rounds();
    while batches[0].len() < rounds.start || (batches[0].len() < rounds.end && begun.elapsed() < effort.time()) {
        batches[0].push(ours());
        batches[1].push(theirs());
    }
    std::array::from_fn(|at| batches.each_ref().map(|batches| Figure::of(batches.iter().map(|one| one[at]).collect())))
}
