//! Where requests wait while every backend of their pool has all that it may have: first come, first served.

use std::collections::VecDeque;

use super::connection::Stage;
use super::pump::{Flow, Pump};
use super::scratch::Scratch;
use super::trust::Outcome;
use crate::balance::Backend;
use crate::exchange::Cause;
use crate::id::{BackendId, PoolId};
use crate::slab::Key;
use crate::stats::Counter;
use crate::transport::Net;

/// One that waits.
#[derive(Clone, Copy, Debug)]
struct Waiter {
    downstream: Key,
    flight: Key,
    since: u64,
    /// The same in microseconds.
    since_us: u64,
}

/// A worker's waiting requests, by pool.
#[derive(Debug)]
pub(super) struct Lines(Vec<Vec<Line>>);

/// Those who wait for the same.
#[derive(Debug)]
struct Line {
    aim: Aim,
    waiters: VecDeque<Waiter>,
}

/// What is waited for. Those who wait for something of their own hold up nobody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aim {
    /// Any backend.
    Any,
    /// The one that the client sticks to.
    Own(BackendId),
    /// One that has not failed the request yet.
    Untried,
}

impl Lines {
    pub(super) fn new(pools: usize) -> Self {
        Self((0..pools).map(|_| Vec::new()).collect())
    }

    pub(super) fn grow(&mut self, pools: usize) {
        self.0.resize_with(self.0.len().max(pools), Vec::new);
    }

    fn join(&mut self, pool: PoolId, aim: Aim, waiter: Waiter) {
        let lines = &mut self.0[pool.index()];
        match lines.iter_mut().find(|line| line.aim == aim) {
            Some(line) => line.waiters.push_back(waiter),
            None => lines.push(Line { aim, waiters: [waiter].into() }),
        }
    }

    fn leave(&mut self, pool: PoolId, flight: Key) -> Option<Waiter> {
        let lines = &mut self.0[pool.index()];
        let mut places = lines.iter().enumerate().map(|(at, line)| (at, line.place(flight)));
        let (at, place) = places.find_map(|(at, place)| Some((at, place?)))?;
        let left = lines[at].waiters.remove(place);
        if lines[at].waiters.is_empty() {
            lines.swap_remove(at);
        }
        left
    }

    /// The first of each line.
    fn firsts(&self, pool: PoolId) -> impl Iterator<Item = &Waiter> {
        self.0[pool.index()].iter().filter_map(|line| line.waiters.front())
    }

    /// All who wait for a pool, those of each line in their order.
    pub(super) fn waiting(&self, pool: PoolId) -> impl Iterator<Item = Key> {
        self.0[pool.index()].iter().flat_map(|line| line.waiters.iter().map(|waiter| waiter.downstream))
    }

    fn first_since(&self, pool: PoolId) -> Option<u64> {
        self.firsts(pool).map(|first| first.since).min()
    }

    /// The line of those that any backend is good for.
    fn free(&self, pool: PoolId) -> Option<&Line> {
        self.0[pool.index()].iter().find(|line| line.aim == Aim::Any)
    }
}

impl Line {
    fn place(&self, flight: Key) -> Option<usize> {
        self.waiters.iter().position(|waiter| waiter.flight == flight)
    }
}

impl<N: Net> Pump<N> {
    /// Somebody waits for any backend of this pool already, so that whoever comes now must not pass.
    pub(super) fn must_queue(&self, pool: PoolId) -> bool {
        let pool = self.table.pool(pool);
        pool.is_capped() && !pool.waiting().is_empty() && pool.waiting().next_free().is_some()
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
        let tried = flight.tried.all();
        let keeps = |backend: &Backend| backend.serves(flight.pool) && backend.keeps_clients();
        let own = flight.sticky.filter(|&id| keeps(self.table.backend(id)));
        let aim = match own.filter(|id| !tried.contains(&Some(*id))) {
            Some(own) => Aim::Own(own),
            None if tried.is_empty() => Aim::Any,
            None => Aim::Untried,
        };
        let (since, since_us) = (self.now, self.now_us);
        self.lines.join(flight.pool, aim, Waiter { downstream: key, flight: flight_key, since, since_us });
        self.tell_lines(pool.id());
        self.stats.add(Counter::Queued, 1);
        self.arm(key, queue.timeout.as_millis() as u64);
        Ok(())
    }

    /// What the other workers must know of this one's lines.
    fn tell_lines(&self, pool: PoolId) {
        let free = self.lines.free(pool).and_then(|line| line.waiters.front());
        let waiting = self.table.pool(pool).waiting();
        waiting.tell(self.worker, self.lines.first_since(pool), free.map(|first| first.since));
    }

    /// For the first of a line: nobody at another worker has waited longer for what it waits for. Where a reload has
    /// lifted the limits there is room for all.
    fn may_go(&self, pool: PoolId, flight: Key) -> bool {
        if !self.table.pool(pool).is_capped() {
            return true;
        }
        let free = self.lines.free(pool).and_then(|line| line.waiters.front());
        free.is_none_or(|first| first.flight != flight)
            || self.table.pool(pool).waiting().next_free() == Some(self.worker)
    }

    /// One whose turn it may be tries to get a backend.
    pub(super) fn queued(&mut self, s: &mut Scratch, key: Key, flight_key: Key, since: u64) -> Flow {
        // One that has closed its side has most likely gone: a backend that is busy must not serve nobody. Where
        // connections are balanced as a whole it may as well have said all.
        if self.downstreams[key].ready.ended && self.flights[flight_key].carried.is_none() {
            return self.fail(s, key, Cause::ClientClosed);
        }
        let pool_id = self.flights[flight_key].pool;
        if !self.lines.firsts(pool_id).any(|first| first.flight == flight_key) {
            return Flow::Blocked;
        }
        if !self.may_go(pool_id, flight_key) {
            self.arm_queued(key, pool_id, since);
            return Flow::Blocked;
        }
        let attached = self.attach(key, flight_key);
        if attached == Err(Cause::BackendFull) {
            self.settle(flight_key, Outcome::Full);
            self.flights[flight_key].stage = Stage::Queued { since };
            self.arm_queued(key, pool_id, since);
            return Flow::Blocked;
        }
        let flight = &mut self.flights[flight_key];
        (flight.body_since, flight.body_bytes) = (self.now, 0);
        self.leave_queue(flight_key, pool_id);
        match attached {
            Ok(()) => Flow::Moved,
            // What it waited for is out: the backends that had failed it are tried again.
            Err(Cause::NoBackend) if !self.flights[flight_key].tried.all().is_empty() => {
                self.delay(key, flight_key).unwrap_or_else(|| self.fail(s, key, Cause::NoBackend))
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
        let Some(left) = self.lines.leave(pool_id, flight_key) else { return };
        self.tell_lines(pool_id);
        self.table.pool(pool_id).waiting().leave();
        self.stats.add(Counter::QueueMillis, self.now - left.since);
        let waited = self.now_us.saturating_sub(left.since_us);
        self.table.pool(pool_id).tally(self.worker).queue.record(waited);
        if let Some(flight) = self.flights.get_mut(flight_key) {
            flight.note_queue(waited);
        }
        // It may have had the turn and not used it.
        self.pass_turn(pool_id);
    }

    /// There may be room at a backend: it is for whoever has waited longest, at whichever worker. That one may wait
    /// for another backend, so the first that any is good for is told too.
    pub(super) fn pass_turn(&mut self, pool_id: PoolId) {
        let pool = self.table.pool(pool_id);
        if !pool.is_capped() || pool.waiting().is_empty() {
            return;
        }
        let (first, free) = (pool.waiting().next(), pool.waiting().next_free());
        for worker in first.into_iter().chain(free.filter(|_| free != first)) {
            match worker == self.worker {
                true => self.take_turn(pool_id),
                false => self.net.give_turn(worker, pool_id),
            }
        }
    }

    /// The first of each of this worker's lines tries again.
    pub fn take_turn(&mut self, pool: PoolId) {
        // A pool of a configuration that is still to come has no line here.
        for at in 0..self.lines.0.get(pool.index()).map_or(0, Vec::len) {
            let first = self.lines.firsts(pool).nth(at).map(|first| first.downstream);
            first.into_iter().for_each(|first| self.enqueue(first));
        }
    }
}
