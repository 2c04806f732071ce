//! CPU time of this process, which other processes disturb less than the time of day.

use rustix::time::{ClockId, clock_gettime};
use std::hint::black_box;
use std::time::Duration;

/// CPU time so far. One call takes 0.4 µs: measure several operations at once.
pub fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default())
}

/// Microseconds of one operation, many times.
#[derive(Debug, Clone, Default)]
pub struct Times(Vec<f64>);

impl Times {
    /// With room for samples, so that taking them changes nothing in memory.
    pub fn with_capacity(samples: usize) -> Self {
        Self(Vec::with_capacity(samples))
    }

    /// Measures operations that are done at once: one sample, their mean.
    pub fn batch<T>(&mut self, operations: usize, all: impl FnOnce() -> T) -> T {
        let start = cpu();
        let value = black_box(all());
        let spent = cpu().saturating_sub(start);
        self.0.push(spent.as_secs_f64() * 1e6 / operations as f64);
        value
    }

    /// Measures one operation until there are enough samples, or it has taken long enough.
    pub fn repeat<T>(&mut self, effort: Effort, mut once: impl FnMut() -> T) {
        let mut spent = 0.0;
        while self.0.len() < effort.least || (self.0.len() < effort.most && spent < effort.micros) {
            // What it gives is dropped off the clock.
            drop(self.batch(1, &mut once));
            spent += self.0.last().copied().unwrap_or_default();
        }
    }

    pub fn min(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    pub fn max(&self) -> f64 {
        self.0.iter().copied().fold(0.0, f64::max)
    }

    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

/// How often to measure.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Batches of operations that take microseconds.
    pub rounds: usize,
    /// Samples of what takes longer the more there is: at least, at most, and for how long in between.
    pub least: usize,
    pub most: usize,
    pub micros: f64,
}

impl Effort {
    pub const FULL: Self = Self { rounds: 48, least: 3, most: 200, micros: 400_000.0 };
    pub const QUICK: Self = Self { rounds: 8, least: 2, most: 20, micros: 50_000.0 };
}
