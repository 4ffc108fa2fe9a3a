//! When and why a backend's standing last changed. Written at changes alone, so that a lock costs nothing.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::table::Reason;

/// What each of those who judge a backend did last. Times are in milliseconds since the process began.
#[derive(Clone, Debug, Default)]
pub struct Last {
    /// When a person changed its mode.
    pub mode_at: u64,
    /// When active checks changed their mind.
    pub check_at: u64,
    /// What they found wrong; empty when nothing was, or nobody said.
    pub check_why: String,
    /// When traffic took it out or brought it back.
    pub traffic_at: u64,
    /// Why traffic took it out.
    pub traffic_why: Option<Reason>,
}

/// The record of one backend.
#[derive(Debug, Default)]
pub struct Record {
    last: Mutex<Last>,
    health_changes: AtomicU64,
    ejections: AtomicU64,
}

impl Record {
    fn last_mut(&self) -> MutexGuard<'_, Last> {
        // A panic ends the process, so nobody ever sees a poisoned lock.
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn mode_set(&self, now: u64) {
        self.last_mut().mode_at = now;
    }

    pub(super) fn checked(&self, now: u64) {
        self.health_changes.fetch_add(1, Relaxed);
        let mut last = self.last_mut();
        last.check_at = now;
        last.check_why.clear();
    }

    /// Says what active checks found wrong, after they took the backend out.
    pub fn explain(&self, why: String) {
        self.last_mut().check_why = why;
    }

    pub(super) fn ejected(&self, reason: Reason, now: u64) {
        self.ejections.fetch_add(1, Relaxed);
        let mut last = self.last_mut();
        (last.traffic_at, last.traffic_why) = (now, Some(reason));
    }

    pub(super) fn returned(&self, now: u64) {
        self.last_mut().traffic_at = now;
    }

    /// What was done last.
    pub fn last(&self) -> Last {
        self.last_mut().clone()
    }

    /// How often active checks changed their mind.
    pub fn health_changes(&self) -> u64 {
        self.health_changes.load(Relaxed)
    }

    /// How often traffic took it out, failed trials included.
    pub fn ejections(&self) -> u64 {
        self.ejections.load(Relaxed)
    }
}
