//! What became of reloads: written by the thread that carries them out, read by whoever asks.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Counts of reloads, and how the last one ended.
#[derive(Debug)]
pub struct Reloads {
    ok: AtomicU64,
    failed: AtomicU64,
    last_failed: AtomicBool,
    /// Milliseconds since the machine began: the wall clock may be set anew.
    at: AtomicU64,
}

impl Reloads {
    /// None so far; the configuration of the start counts as the last one that succeeded, and came so many seconds after the
    /// machine began.
    pub fn new(now: f64) -> Self {
        let (ok, failed, last_failed) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
        Self { ok, failed, last_failed, at: AtomicU64::new(millis(now)) }
    }

    /// One ended well or not, so many seconds after the machine began. Only the thread that carries them out may call it.
    pub fn ended(&self, well: bool, now: f64) {
        let count = if well { &self.ok } else { &self.failed };
        count.store(count.load(Relaxed) + 1, Relaxed);
        self.last_failed.store(!well, Relaxed);
        if well {
            self.at.store(millis(now), Relaxed);
        }
    }

    /// Those that put a configuration in force.
    pub fn ok(&self) -> u64 {
        self.ok.load(Relaxed)
    }

    /// Those that changed nothing.
    pub fn failed(&self) -> u64 {
        self.failed.load(Relaxed)
    }

    /// The last one did, or there was none.
    pub fn last_successful(&self) -> bool {
        !self.last_failed.load(Relaxed)
    }

    /// Seconds after the machine began at which the configuration in force was read.
    pub fn at(&self) -> f64 {
        self.at.load(Relaxed) as f64 / 1e3
    }
}

fn millis(at: f64) -> u64 {
    (at * 1e3) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_fails_leaves_the_time_of_the_one_in_force() {
        let reloads = Reloads::new(10.0);
        assert_eq!(
            (reloads.ok(), reloads.failed(), reloads.last_successful(), reloads.at()),
            (0, 0, true, 10.0)
        );
        reloads.ended(false, 20.0);
        assert_eq!(
            (reloads.ok(), reloads.failed(), reloads.last_successful(), reloads.at()),
            (0, 1, false, 10.0)
        );
        reloads.ended(true, 30.0);
        assert_eq!(
            (reloads.ok(), reloads.failed(), reloads.last_successful(), reloads.at()),
            (1, 1, true, 30.0)
        );
    }
}
