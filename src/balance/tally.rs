//! What each worker has seen of a backend: one writer a count, added up by whoever asks.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// One worker's counts for one backend, on cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Tally {
    requests: AtomicU64,
    failures: AtomicU64,
}

impl Tally {
    /// Counts a request sent to the backend, which may be a retry. Only the owning worker may call it.
    pub fn request(&self) {
        add(&self.requests);
    }

    /// Counts one that failed by the backend's fault. Only the owning worker may call it.
    pub fn failure(&self) {
        add(&self.failures);
    }

    /// Requests sent, retries included.
    pub fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// Requests that failed by the backend's fault.
    pub fn failures(&self) -> u64 {
        self.failures.load(Relaxed)
    }
}

fn add(count: &AtomicU64) {
    count.store(count.load(Relaxed).wrapping_add(1), Relaxed);
}
