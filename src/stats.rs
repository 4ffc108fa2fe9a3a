//! Counters, one block a worker: one writer each, added up by whoever asks.

pub mod reloads;
pub mod traffic;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::balance::tally::CAUSES;
use crate::exchange::cause::{CODES, Cause};
use crate::histogram::Histogram;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Connections accepted.
    Accepted,
    /// Downstream connections open now.
    Downstreams,
    /// Upstream connections open now, idle ones included.
    Upstreams,
    /// Exchanges in flight now.
    Flights,
    /// Requests whose head was complete, refused ones included.
    Requests,
    /// Requests sent again.
    Retries,
    /// Retries that the budget did not allow.
    RetriesDenied,
    /// Requests that had to wait for a backend.
    Queued,
    /// How long they waited in all, in milliseconds.
    QueueMillis,
    /// Retries that a kept connection made necessary by closing just then: each would have been a 502.
    IdleRacesWon,
    /// Kept connections not used again because the backend was about to close them.
    IdleUndercut,
    /// Client connections closed because no request came.
    IdleClosed,
    /// Client connections closed because they had brought all the requests they may.
    RequestsSpent,
    /// Upstream connections closed because enough unused ones were kept.
    IdleSurplus,
    /// Times that accepting paused for want of descriptors or of room under the limit of connections.
    AcceptPauses,
    /// Exchanges that ended other than well.
    Failures,
    /// Connections balanced as a whole.
    Tunnels,
    /// Those that are over.
    TunnelsEnded,
    /// How long those that are over lasted in all, in milliseconds.
    TunnelMillis,
    /// Buffers that connections hold now.
    BuffersLent,
    /// Sizes of these together.
    BufferBytes,
    /// Sizes together of the buffers that are kept for the next who needs one.
    SpareBytes,
    /// Pipes that exchanges hold now.
    PipesLent,
    /// Bytes the clients sent.
    BytesIn,
    /// Bytes sent to the clients.
    BytesOut,
}

impl Counter {
    /// Those that only grow, with the names they are told by.
    pub const TOLD: [(&str, Self); 14] = [
        ("accepted", Self::Accepted),
        ("requests", Self::Requests),
        ("retries", Self::Retries),
        ("retries_denied", Self::RetriesDenied),
        ("queued", Self::Queued),
        ("queue_ms", Self::QueueMillis),
        ("idle_races_won", Self::IdleRacesWon),
        ("idle_undercut", Self::IdleUndercut),
        ("idle_closed", Self::IdleClosed),
        ("requests_spent", Self::RequestsSpent),
        ("idle_surplus", Self::IdleSurplus),
        ("accept_pauses", Self::AcceptPauses),
        ("tunnels", Self::Tunnels),
        ("tunnel_ms", Self::TunnelMillis),
    ];
}

const _: () = assert!(CODES.len() <= CAUSES, "each pool has a count for each cause");

const COUNTERS: usize = Counter::BytesOut as usize + 1;

/// One worker's counters, on cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Block {
    counts: [AtomicU64; COUNTERS],
    causes: [AtomicU64; CODES.len()],
    ticks: Histogram,
    /// The kernel's number of the worker's thread; 0: it does not run yet.
    thread: AtomicU32,
}

impl Block {
    /// Adds `n`. Only the owning worker may call it.
    pub fn add(&self, counter: Counter, n: u64) {
        let count = &self.counts[counter as usize];
        count.store(count.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Sets a gauge. Only the owning worker may call it.
    pub fn set(&self, gauge: Counter, n: u64) {
        self.counts[gauge as usize].store(n, Relaxed);
    }

    /// Takes one away from a gauge. Only the owning worker may call it.
    pub fn sub(&self, counter: Counter) {
        self.add(counter, u64::MAX);
    }

    /// Counts an exchange that ended for this cause. Only the owning worker may call it.
    pub fn failed(&self, cause: Cause) {
        self.add(Counter::Failures, 1);
        let count = &self.causes[cause.index()];
        count.store(count.load(Relaxed) + 1, Relaxed);
    }

    /// Exchanges that ended for the cause of that code, by its place in [`CODES`].
    pub fn failures(&self, code: usize) -> u64 {
        self.causes[code].load(Relaxed)
    }

    /// Counts a turn of the worker's loop that had something to do, from the end of its wait to the next one, in
    /// microseconds: what came in the meantime has waited that long. Only the owning worker may call it.
    pub fn ticked(&self, us: u64) {
        self.ticks.record(us);
    }

    /// The worker runs on the thread of that number.
    pub fn runs_on(&self, thread: u32) {
        self.thread.store(thread, Relaxed);
    }

    /// The kernel's number of the worker's thread, once it runs.
    pub fn thread(&self) -> Option<u32> {
        Some(self.thread.load(Relaxed)).filter(|&thread| thread != 0)
    }

    /// How long the turns of the worker's loop took.
    pub fn ticks(&self) -> &Histogram {
        &self.ticks
    }

    /// The count as last written.
    pub fn get(&self, counter: Counter) -> u64 {
        self.counts[counter as usize].load(Relaxed)
    }
}
