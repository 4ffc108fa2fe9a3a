//! What became of reloads: written by the thread that carries them out, read by whoever asks.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

/// Counts of reloads, and how the last one ended.
#[derive(Debug)]
pub struct Reloads {
    ok: AtomicU64,
    failed: AtomicU64,
    last_failed: AtomicBool,
    /// Unix time in milliseconds.
    at: AtomicU64,
}

impl Reloads {
    /// None so far; the configuration of the start counts as the last one that succeeded, and came at that Unix time.
    pub fn new(now: SystemTime) -> Self {
        let (ok, failed, last_failed) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
        Self { ok, failed, last_failed, at: AtomicU64::new(millis(now)) }
    }

    /// One ended well or not at that Unix time. Only the thread that carries them out may call it.
    pub fn ended(&self, well: bool, now: SystemTime) {
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

    /// Unix time, in seconds, at which the configuration in force was read.
    pub fn at(&self) -> f64 {
        self.at.load(Relaxed) as f64 / 1e3
    }
}

fn millis(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn one_that_fails_leaves_the_time_of_the_one_in_force() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let reloads = Reloads::new(at(10));
        assert_eq!(
            (reloads.ok(), reloads.failed(), reloads.last_successful(), reloads.at()),
            (0, 0, true, 10.0)
        );
        reloads.ended(false, at(20));
        assert_eq!(
            (reloads.ok(), reloads.failed(), reloads.last_successful(), reloads.at()),
            (0, 1, false, 10.0)
        );
        reloads.ended(true, at(30));
        assert_eq!(
            (reloads.ok(), reloads.failed(), reloads.last_successful(), reloads.at()),
            (1, 1, true, 30.0)
        );
    }
}
