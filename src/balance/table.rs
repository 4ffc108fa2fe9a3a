//! The table: all pools and backends in force, immutable but for their atomics, read by every worker without a
//! lock. Times are in milliseconds since the process began.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::backend::{Backend, Mode, Padded};
use super::circuit::State;
use super::pool::Pool;
use super::renewal::Renewal;
use super::window::Window;
use crate::config::{self, Ejection};
use crate::id::{BackendId, PoolId};

/// All pools and backends in force.
#[derive(Debug, Default)]
pub struct Table {
    pub(super) backends: Box<[Arc<Backend>]>,
    pub(super) pools: Box<[Arc<Pool>]>,
    /// Moves whenever that of a pool does.
    pub(super) epoch: Arc<Padded<AtomicU64>>,
}

/// Why traffic took a backend out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// So many failures in a row.
    InARow(u32),
    /// So many percent of its requests failed.
    Rate(u64),
    /// The one request that tried it failed.
    Trial,
}

/// A backend was taken out by traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejected {
    /// Why.
    pub reason: Reason,
    /// Until one request may try it.
    pub time: Duration,
}

impl Table {
    /// A table of these pools, with the addresses of each one's backends, used by so many workers.
    pub fn new(pools: Vec<(config::Pool, Vec<Vec<SocketAddr>>)>, workers: usize) -> Self {
        Renewal::new(&Self::default(), workers, 0).renew(pools).0
    }

    /// A table of these pools in which whatever this one has keeps its number and all that is known of it; and the
    /// pools' numbers, in the order given. To be called when all workers have the present one.
    pub fn renew(
        &self,
        pools: Vec<(config::Pool, Vec<Vec<SocketAddr>>)>,
        workers: usize,
        now: u64,
    ) -> (Self, Vec<PoolId>) {
        Renewal::new(self, workers, now).renew(pools)
    }

    /// Every backend, by number; some may be gone.
    pub fn backends(&self) -> &[Arc<Backend>] {
        &self.backends
    }

    /// Every pool, by number; some may be gone.
    pub fn pools(&self) -> &[Arc<Pool>] {
        &self.pools
    }

    /// The backend of that number.
    pub fn backend(&self, id: BackendId) -> &Backend {
        &self.backends[id.index()]
    }

    /// The pool of that number.
    pub fn pool(&self, id: PoolId) -> &Pool {
        &self.pools[id.index()]
    }

    /// The pool that a backend serves.
    pub fn pool_of(&self, id: BackendId) -> &Pool {
        self.pool(self.backend(id).pool())
    }

    /// Changes whenever the eligible set of a pool has changed.
    pub fn epoch(&self) -> u64 {
        self.epoch.0.load(Relaxed)
    }

    fn changed(&self, pool: &Pool) {
        pool.changed();
        self.epoch.0.fetch_add(1, Relaxed);
    }

    /// Sets what active checks say; true when that is a change. A backend that comes up starts trusted.
    pub fn set_up(&self, id: BackendId, up: bool, now: u64) -> bool {
        let (backend, pool) = (self.backend(id), self.pool_of(id));
        let changed = backend.up.swap(up, Relaxed) != up;
        backend.unjudged.store(false, Relaxed);
        if changed {
            backend.record().checked(now);
        }
        if changed && up {
            backend.failures.store(0, Relaxed);
            *backend.window() = Window::default();
            if backend.circuit.reset() {
                pool.return_one();
            }
            backend.since.store(now.max(1), Relaxed);
        }
        if changed {
            self.changed(pool);
        }
        changed
    }

    /// Sets what a person wants of a backend; true when that is a change.
    pub fn set_mode(&self, id: BackendId, mode: Mode, now: u64) -> bool {
        let backend = self.backend(id);
        let changed = backend.set_mode(mode);
        if changed {
            backend.record().mode_set(now);
            if mode == Mode::Enabled {
                backend.since.store(now.max(1), Relaxed);
            }
            self.changed(self.pool_of(id));
        }
        changed
    }

    /// Sets a backend's share beside the others'.
    pub fn set_weight(&self, id: BackendId, weight: u16) {
        self.backend(id).set_weight(weight.max(1));
        self.changed(self.pool_of(id));
    }

    /// A worker has seen a backend fail; tells when that took it out.
    pub fn failed(&self, id: BackendId, worker: usize, now: u64) -> Option<Ejected> {
        let (backend, pool) = (self.backend(id), self.pool_of(id));
        let ejection = &pool.config().ejection;
        backend.tally(worker).failure();
        let in_a_row = backend.failures.fetch_add(1, Relaxed) + 1;
        let rate = if ejection.fail_rate > 0 { self.fail_rate(backend, now, ejection) } else { None };
        let reason = match rate {
            _ if ejection.max_fails > 0 && in_a_row >= ejection.max_fails => Reason::InARow(in_a_row),
            Some(rate) => Reason::Rate(rate),
            None => return None,
        };
        // One that is not configured any more has no place among those that are out.
        if backend.is_gone() || !backend.circuit.is_closed() || !pool.eject_one() {
            return None;
        }
        if !backend.circuit.open(now, ejection) {
            pool.return_one();
            return None;
        }
        if backend.is_gone() && backend.circuit.reset() {
            pool.return_one();
            return None;
        }
        self.changed(pool);
        self.ejected(id, reason, now)
    }

    /// The totals are added up under the lock: else one worker's could be older than those of the one before it.
    fn fail_rate(&self, backend: &Backend, now: u64, ejection: &Ejection) -> Option<u64> {
        let mut window = backend.window();
        let (requests, failures) = backend.tallies().iter().fold((0, 0), |(requests, failures), tally| {
            (requests + tally.requests(), failures + tally.failures())
        });
        window.failed(now, requests.max(failures), failures, ejection)
    }

    fn ejected(&self, id: BackendId, reason: Reason, now: u64) -> Option<Ejected> {
        self.backend(id).record().ejected(reason, now);
        match self.backend(id).circuit.state() {
            State::Open { until } => {
                Some(Ejected { reason, time: Duration::from_millis(until.saturating_sub(now)) })
            }
            _ => None,
        }
    }

    /// Ends a run of failures: the backend answered. Writes only if there was one.
    pub fn succeeded(&self, id: BackendId) {
        let failures = &self.backend(id).failures;
        if failures.load(Relaxed) != 0 {
            failures.store(0, Relaxed);
        }
    }

    /// Takes the one trial of a backend that is out; false when its time has not come or somebody has it.
    pub fn try_out(&self, id: BackendId, now: u64) -> bool {
        self.backend(id).circuit.try_out(now)
    }

    /// The trial succeeded; true when that brought the backend back.
    pub fn trial_succeeded(&self, id: BackendId, now: u64) -> bool {
        let (backend, pool) = (self.backend(id), self.pool_of(id));
        let back = backend.circuit.trial_succeeded(now);
        if back {
            backend.failures.store(0, Relaxed);
            *backend.window() = Window::default();
            backend.since.store(now.max(1), Relaxed);
            backend.record().returned(now);
            pool.return_one();
            self.changed(pool);
        }
        back
    }

    /// The trial failed: out for longer.
    pub fn trial_failed(&self, id: BackendId, worker: usize, now: u64) -> Option<Ejected> {
        let (backend, pool) = (self.backend(id), self.pool_of(id));
        backend.tally(worker).failure();
        backend.circuit.trial_failed(now, &pool.config().ejection);
        self.changed(pool);
        self.ejected(id, Reason::Trial, now)
    }

    /// The trial said nothing: another request may try.
    pub fn trial_abandoned(&self, id: BackendId, now: u64) {
        self.backend(id).circuit.trial_abandoned(now);
        self.changed(self.pool_of(id));
    }
}
