//! Where requests wait while every backend of their pool has all that it may have: first come, first served.

use std::collections::VecDeque;

use super::connection::Stage;
use super::pump::{Flow, Pump};
use super::scratch::Scratch;
use super::trust::Outcome;
use crate::exchange::Cause;
use crate::id::PoolId;
use crate::slab::Key;
use crate::stats::Counter;
use crate::transport::Net;

/// Behind one that waits for a backend of its own, so many others are asked whether they can go first.
const LOOKED_AT: usize = 16;

/// One that waits.
#[derive(Clone, Copy, Debug)]
struct Waiter {
    downstream: Key,
    flight: Key,
    since: u64,
}

/// A worker's waiting requests, one line a pool.
#[derive(Debug)]
pub(super) struct Lines(Vec<VecDeque<Waiter>>);

impl Lines {
    pub(super) fn new(pools: usize) -> Self {
        Self((0..pools).map(|_| VecDeque::new()).collect())
    }

    pub(super) fn grow(&mut self, pools: usize) {
        self.0.resize_with(self.0.len().max(pools), VecDeque::new);
    }

    fn place(&self, pool: PoolId, flight: Key) -> Option<usize> {
        self.0[pool.index()].iter().position(|waiter| waiter.flight == flight)
    }

    fn first_since(&self, pool: PoolId) -> Option<u64> {
        self.0[pool.index()].front().map(|waiter| waiter.since)
    }
}

impl<N: Net> Pump<N> {
    /// Somebody waits for this pool already, so that whoever comes now must not pass.
    pub(super) fn must_queue(&self, pool: PoolId) -> bool {
        let pool = self.table.pool(pool);
        pool.is_capped() && pool.waiting().len() > 0
    }

    /// Has an exchange wait for a backend. It is tried once more before it does: room may have come meanwhile.
    pub(super) fn join_queue(&mut self, key: Key, flight_key: Key) -> Result<(), Cause> {
        let flight = &mut self.flights[flight_key];
        let pool = self.table.pool(flight.pool);
        let queue = pool.config().queue;
        if queue.length == 0 {
            return Err(Cause::BackendFull);
        }
        if !pool.waiting().join(queue.length) {
            return Err(Cause::QueueFull);
        }
        flight.stage = Stage::Queued { since: self.now };
        let line = &mut self.lines.0[flight.pool.index()];
        line.push_back(Waiter { downstream: key, flight: flight_key, since: self.now });
        if line.len() == 1 {
            pool.waiting().tell(self.worker, Some(self.now));
        }
        self.stats.add(Counter::Queued, 1);
        self.arm(key, queue.timeout.as_millis() as u64);
        Ok(())
    }

    /// One whose turn it may be tries to get a backend.
    pub(super) fn queued(&mut self, s: &mut Scratch, key: Key, flight_key: Key, since: u64) -> Flow {
        let pool_id = self.flights[flight_key].pool;
        let Some(place) = self.lines.place(pool_id, flight_key) else { return Flow::Blocked };
        if place >= LOOKED_AT {
            return Flow::Blocked;
        }
        let attached = self.attach(key, flight_key);
        if attached == Err(Cause::BackendFull) {
            self.settle(flight_key, Outcome::Full);
            let flight = &mut self.flights[flight_key];
            flight.stage = Stage::Queued { since };
            let next = self.lines.0[pool_id.index()].get(place + 1).map(|waiter| waiter.downstream);
            if let (Some(next), Some(_)) = (next, flight.sticky) {
                self.enqueue(next);
            }
            self.arm_queued(key, pool_id, since);
            return Flow::Blocked;
        }
        self.leave_queue(flight_key, pool_id);
        match attached {
            Ok(()) => {
                self.pass_turn(pool_id);
                Flow::Moved
            }
            Err(cause) => self.fail(s, key, cause),
        }
    }

    /// The end of the wait; before it, another try: what keeps the room may be an unused connection of another
    /// worker, which is asked for once in a while.
    fn arm_queued(&mut self, key: Key, pool: PoolId, since: u64) {
        let config = self.table.pool(pool).config();
        let end = since + config.queue.timeout.as_millis() as u64;
        let again = self.now + (config.retry.delay.as_millis() as u64).max(1);
        self.arm(key, end.min(again).saturating_sub(self.now));
    }

    /// The wait is over, or it is time for another try.
    pub(super) fn queue_expired(&mut self, s: &mut Scratch, key: Key, flight_key: Key, since: u64) {
        let pool = self.table.pool(self.flights[flight_key].pool);
        if self.now >= since + pool.config().queue.timeout.as_millis() as u64 {
            self.fail(s, key, Cause::QueueTimeout);
        } else {
            self.enqueue(key);
        }
    }

    /// Takes an exchange out of its line, wherever in it it stands.
    pub(super) fn leave_queue(&mut self, flight_key: Key, pool_id: PoolId) {
        let Some(place) = self.lines.place(pool_id, flight_key) else { return };
        let since = self.lines.0[pool_id.index()].remove(place).map_or(self.now, |waiter| waiter.since);
        let waiting = self.table.pool(pool_id).waiting();
        if place == 0 {
            waiting.tell(self.worker, self.lines.first_since(pool_id));
        }
        waiting.leave();
        self.stats.add(Counter::QueueMillis, self.now - since);
    }

    /// There may be room at a backend: it is for whoever has waited longest, at whichever worker.
    pub(super) fn pass_turn(&mut self, pool_id: PoolId) {
        let pool = self.table.pool(pool_id);
        if !pool.is_capped() || pool.waiting().is_empty() {
            return;
        }
        match pool.waiting().next() {
            Some(worker) if worker != self.worker => self.net.give_turn(worker, pool_id),
            Some(_) => self.take_turn(pool_id),
            None => {}
        }
    }

    /// The first of this worker's line tries again.
    pub fn take_turn(&mut self, pool: PoolId) {
        if let Some(first) = self.lines.0[pool.index()].front() {
            self.enqueue(first.downstream);
        }
    }
}
