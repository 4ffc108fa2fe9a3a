//! When the process began, by a wall clock that may be set anew while it runs.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use super::history::unix;
use crate::sys::process;

/// By so many seconds clocks may differ before it is told anew: what is told must not waver.
const DIFFERS: f64 = 0.5;

/// The process's beginning.
#[derive(Debug)]
pub(super) struct Beginning {
    /// By the clock that goes on while the machine sleeps.
    at: f64,
    started: Told,
    /// What times since the beginning are added to: the clock that they are taken by stands while the machine sleeps.
    base: Told,
}

/// Bits of the Unix time in seconds that was told last.
#[derive(Debug, Default)]
struct Told(AtomicU64);

impl Beginning {
    pub(super) fn of(began: Instant) -> Self {
        let at = process::since_boot() - began.elapsed().as_secs_f64();
        let beginning = Self { at, started: Told::default(), base: Told::default() };
        beginning.get();
        beginning
    }

    /// Its Unix time in seconds.
    pub(super) fn get(&self) -> f64 {
        self.started.told(unix() - process::since_boot() + self.at)
    }

    /// The Unix time in seconds of what was so many seconds after the machine began.
    pub(super) fn wall(&self, since_boot: f64) -> f64 {
        self.get() + since_boot - self.at
    }

    /// The Unix time in seconds of what was so many milliseconds after it, where it is `now` milliseconds after it now.
    pub(super) fn after(&self, ms: u64, now: u64) -> f64 {
        self.base.told(unix() - now as f64 / 1e3) + ms as f64 / 1e3
    }
}

impl Told {
    fn told(&self, now: f64) -> f64 {
        let told = f64::from_bits(self.0.load(Relaxed));
        if (told - now).abs() < DIFFERS {
            return told;
        }
        self.0.store(now.to_bits(), Relaxed);
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_the_clock_and_does_not_waver() {
        let beginning = Told::default();
        let told = [1_790_000_000.0, 1_790_000_000.2, 1_789_999_999.8, 1_790_003_600.0, 1_790_003_600.4]
            .map(|now| beginning.told(now));
        assert_eq!(
            told,
            [1_790_000_000.0, 1_790_000_000.0, 1_790_000_000.0, 1_790_003_600.0, 1_790_003_600.0]
        );
        assert!((Beginning::of(Instant::now()).get() - unix()).abs() < 1.0);
    }
}
