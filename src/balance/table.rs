//! The table: all backends in force, immutable but for its atomics, read by every worker without a lock.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::config::{self, BackendUrl};
use crate::id::BackendId;

/// A word of its own on its own cache lines (128 bytes: processors fetch pairs of 64-byte lines).
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Padded<T>(pub T);

/// One configured target.
#[derive(Debug)]
#[repr(align(128))]
pub struct Backend {
    config: config::Backend,
    addresses: Box<[SocketAddr]>,
    /// Which of the addresses answered last, by position.
    preferred: AtomicU16,
    up: AtomicBool,
    /// Failures in a row, as traffic saw them.
    failures: AtomicU32,
    /// Connections to it from all workers; only counted where they are limited.
    connections: AtomicU32,
}

impl Backend {
    /// A backend with the addresses its name resolved to; none means that it cannot be reached yet.
    pub fn new(config: config::Backend, addresses: Vec<SocketAddr>) -> Self {
        Self {
            config,
            addresses: addresses.into(),
            preferred: AtomicU16::new(0),
            up: AtomicBool::new(true),
            failures: AtomicU32::new(0),
            connections: AtomicU32::new(0),
        }
    }

    /// As the user named it.
    pub fn url(&self) -> &BackendUrl {
        &self.config.url
    }

    /// All addresses, in the resolver's order.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Position of the address that answered last; the first until one has.
    pub fn preferred(&self) -> usize {
        usize::from(self.preferred.load(Relaxed))
    }

    /// Remembers the address that answered.
    pub fn prefer(&self, position: usize) {
        if self.preferred() != position {
            self.preferred.store(position as u16, Relaxed);
        }
    }

    /// Counts a connection in, if it may have another one; exact over all workers.
    pub fn connect(&self) -> bool {
        let most = self.config.max_connections.unwrap_or(u32::MAX);
        let room = |count: u32| (count < most).then_some(count + 1);
        self.connections.fetch_update(Relaxed, Relaxed, room).is_ok()
    }

    /// Counts a connection out that was counted in.
    pub fn disconnect(&self) {
        self.connections.fetch_sub(1, Relaxed);
    }

    /// Believed to be up. True before the first probe: a request finds out as soon as a probe does.
    pub fn is_up(&self) -> bool {
        self.up.load(Relaxed)
    }
}

/// All backends in force.
#[derive(Debug)]
pub struct Table {
    backends: Box<[Backend]>,
    /// Moves whenever a backend goes up or down.
    epoch: Padded<AtomicU64>,
    /// The round-robin index, shared by all workers.
    next: Padded<AtomicU64>,
}

impl Table {
    /// A table of these backends, all believed up.
    pub fn new(backends: Vec<Backend>) -> Self {
        Self { backends: backends.into(), epoch: Padded::default(), next: Padded::default() }
    }

    /// Every backend, in the order of the configuration.
    pub fn backends(&self) -> &[Backend] {
        &self.backends
    }

    /// The backend of that number.
    pub fn backend(&self, id: BackendId) -> &Backend {
        &self.backends[id.index()]
    }

    /// The next round-robin ticket: every number is handed out once over all workers.
    pub fn ticket(&self) -> u64 {
        self.next.0.fetch_add(1, Relaxed)
    }

    /// Changes whenever the eligible set has changed.
    pub fn epoch(&self) -> u64 {
        self.epoch.0.load(Relaxed)
    }

    /// Sets a backend's health; true when that is a change. A backend that comes up starts without failures.
    pub fn set_up(&self, id: BackendId, up: bool) -> bool {
        let backend = self.backend(id);
        if up {
            backend.failures.store(0, Relaxed);
        }
        let changed = backend.up.swap(up, Relaxed) != up;
        if changed {
            self.epoch.0.fetch_add(1, Relaxed);
        }
        changed
    }

    /// Counts one failure seen by traffic; true when it was the one that took the backend down.
    pub fn failed(&self, id: BackendId, max_fails: u32) -> bool {
        let failures = self.backend(id).failures.fetch_add(1, Relaxed) + 1;
        failures >= max_fails && self.set_up(id, false)
    }

    /// Ends a run of failures: the backend answered. Writes only if there was one.
    pub fn succeeded(&self, id: BackendId) {
        let failures = &self.backend(id).failures;
        if failures.load(Relaxed) != 0 {
            failures.store(0, Relaxed);
        }
    }
}
