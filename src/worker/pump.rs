//! The pump: asks each connection for its next step and does it. It owns all connections of a worker and
//! knows neither mio nor the clock: streams come from a [`Net`], the time is handed in.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use super::connection::{Downstream, Flight, Phase, Ready, Upstream, read, write};
use super::connection::{Read, Stage};
use super::idle::Stacks;
use super::scratch::Scratch;
use super::token::Token;
use crate::balance::{Eligible, Table};
use crate::buffer::Pool;
use crate::config::{Retry, Timeouts};
use crate::limits;
use crate::proto::h1::request_id::RequestIds;
use crate::slab::{Key, Slab};
use crate::stats::{Block, Counter};
use crate::timer::Wheel;
use crate::transport::{Net, Newcomer, Pipe, Transport};

/// What a pump must know of the configuration.
pub struct Settings {
    /// See [`Timeouts`].
    pub timeouts: Timeouts,
    /// See [`Retry`].
    pub retry: Retry,
    /// Path answered with `status`.
    pub status_path: Option<String>,
    /// Makes the short status.
    pub status: Box<dyn Fn() -> String + Send + Sync>,
    /// Never sleep: the lowest latency, for a whole core.
    pub busy_poll: bool,
    /// Each listener's address as text, for requests that name no host.
    pub locals: Vec<String>,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("timeouts", &self.timeouts).finish_non_exhaustive()
    }
}

/// Whether a step got anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// It did: there may be more to do.
    Moved,
    /// It waits for an event or for time.
    Blocked,
    /// The connection is gone.
    Over,
}

/// All connections of one worker.
#[derive(Debug)]
pub struct Pump<N: Net> {
    pub(super) net: N,
    pub(super) table: Arc<Table>,
    pub(super) settings: Arc<Settings>,
    pub(super) stats: Arc<Block>,
    pub(super) downstreams: Slab<Downstream<N::Stream>>,
    pub(super) upstreams: Slab<Upstream<N::Stream>>,
    pub(super) flights: Slab<Flight>,
    pub(super) idle: Stacks,
    pub(super) pool: Pool,
    pub(super) pipes: Vec<Pipe>,
    pub(super) wheel: Wheel<Key>,
    pub(super) eligible: Eligible,
    /// Milliseconds since the worker began, as of this tick.
    pub(super) now: u64,
    pub(super) draining: bool,
    pub(super) request_ids: RequestIds,
    /// Unix time of the worker's beginning, in milliseconds.
    pub(super) unix_began: u64,
    queue: VecDeque<Key>,
    scratch: Scratch,
    expired: Vec<Key>,
}

impl<N: Net> Pump<N> {
    /// A pump without connections.
    pub fn new(net: N, table: Arc<Table>, settings: Arc<Settings>, stats: Arc<Block>) -> Self {
        Self {
            net,
            idle: Stacks::new(table.backends().len()),
            eligible: Eligible::new(&table),
            table,
            settings,
            stats,
            downstreams: Slab::default(),
            upstreams: Slab::default(),
            flights: Slab::default(),
            pool: Pool::default(),
            pipes: Vec::new(),
            wheel: Wheel::default(),
            now: 0,
            draining: false,
            request_ids: RequestIds::new(0, 0),
            unix_began: 0,
            queue: VecDeque::new(),
            scratch: Scratch::new(),
            expired: Vec::new(),
        }
    }

    /// Has requests numbered as this worker's, by a clock that stood at `unix` milliseconds when it began.
    pub fn number_requests(&mut self, ids: RequestIds, unix: u64) {
        (self.request_ids, self.unix_began) = (ids, unix);
    }

    /// Sets the time of this tick, in milliseconds since the worker began.
    pub fn set_now(&mut self, now: u64) {
        self.now = now;
    }

    /// Takes a connection that was just accepted.
    pub fn accepted(&mut self, newcomer: Newcomer<N::Stream>) {
        self.stats.add(Counter::Accepted, 1);
        let key = self.insert(newcomer);
        // Reminded early: most connections of a busy second are gone by then, and leave no long-lived entry.
        self.arm(key, limits::WATCH_DELAY.as_millis() as u64);
        self.downstreams[key].deadline = self.now + self.settings.timeouts.head.as_millis() as u64;
        self.enqueue(key);
    }

    /// Takes a connection over from another worker, to be watched at once.
    pub fn adopt(&mut self, newcomer: Newcomer<N::Stream>) {
        let key = self.insert(newcomer);
        self.arm_idle(key);
        self.register(key);
    }

    fn insert(&mut self, newcomer: Newcomer<N::Stream>) -> Key {
        let Newcomer { stream, peer, listener } = newcomer;
        self.stats.add(Counter::Downstreams, 1);
        self.downstreams.insert(Downstream {
            stream,
            // Never asked yet: the request has often come with the connection.
            ready: Ready { readable: true, writable: true, ..Ready::default() },
            phase: Phase::Head,
            queued: false,
            registered: false,
            listener,
            peer: peer.to_canonical(),
            input: None,
            scanned: 0,
            output: None,
            flight: None,
            deadline: 0,
            reminder: u64::MAX,
        })
    }

    /// Notes what the kernel says of a connection; the work waits for [`Self::run_queue`].
    pub fn event(&mut self, token: Token, seen: Ready) {
        match token {
            Token::Downstream(key) => {
                if let Some(down) = self.downstreams.get_mut(key) {
                    down.ready.note(seen);
                    self.enqueue(key);
                }
            }
            Token::Upstream(key) => {
                let Some(up) = self.upstreams.get_mut(key) else { return };
                up.ready.note(seen);
                match up.owner {
                    Some(owner) => self.enqueue(owner),
                    // RFC 9112 section 9.2: bytes that nobody asked for are no response.
                    None if seen.readable || seen.ended || seen.failed => {
                        let backend = up.backend;
                        self.idle.remove(backend, key);
                        self.close_upstream(key);
                    }
                    None => {}
                }
            }
            Token::Listener(_) | Token::Wake => {}
        }
    }

    pub(super) fn enqueue(&mut self, key: Key) {
        if let Some(down) = self.downstreams.get_mut(key)
            && !down.queued
        {
            down.queued = true;
            self.queue.push_back(key);
        }
    }

    /// Gives each connection on the queue a turn; those that had more to do are on it again afterwards.
    pub fn run_queue(&mut self) {
        for _ in 0..self.queue.len() {
            let Some(key) = self.queue.pop_front() else { break };
            if let Some(down) = self.downstreams.get_mut(key) {
                down.queued = false;
                self.run(key);
            }
        }
    }

    /// True when a connection waits for its turn, not for an event.
    pub fn has_work(&self) -> bool {
        !self.queue.is_empty()
    }

    fn run(&mut self, key: Key) {
        let mut scratch = mem::take(&mut self.scratch);
        let mut flow = Flow::Moved;
        for _ in 0..limits::STEPS {
            flow = self.step(&mut scratch, key);
            if flow != Flow::Moved {
                break;
            }
        }
        self.scratch = scratch;
        match flow {
            Flow::Moved => self.enqueue(key),
            Flow::Blocked => self.watch(key),
            Flow::Over => {}
        }
    }

    fn step(&mut self, scratch: &mut Scratch, key: Key) -> Flow {
        let Some(down) = self.downstreams.get(key) else { return Flow::Over };
        match down.phase {
            Phase::Head => self.receive_head(scratch, key),
            Phase::Flight => self.relay(scratch, key),
            Phase::Flush { linger } => self.flush_and_close(key, linger),
            Phase::Linger { left } => self.linger(scratch, key, left),
        }
    }

    /// Has the kernel tell of a connection's readiness from now on. One that will be closed after the answer
    /// it waits for is only watched when it must be (see [`Self::remind`]).
    fn watch(&mut self, key: Key) {
        let down = &self.downstreams[key];
        if !down.registered && !self.awaits_last_answer(key) && !self.pass_on(key) {
            self.register(key);
        }
    }

    /// Gives a connection that waits for its first or next request to a worker with fewer; true when it went.
    fn pass_on(&mut self, key: Key) -> bool {
        let down = &self.downstreams[key];
        let unused = down.phase == Phase::Head && down.input.is_none() && down.output.is_none();
        if !unused || self.draining {
            return false;
        }
        let Some(other) = self.net.lighter() else { return false };
        let Some(down) = self.downstreams.remove(key) else { return false };
        self.stats.sub(Counter::Downstreams);
        let newcomer = Newcomer { stream: down.stream, peer: down.peer, listener: down.listener };
        if let Err(newcomer) = self.net.pass(other, newcomer) {
            self.adopt(newcomer);
        }
        true
    }

    pub(super) fn awaits_last_answer(&self, key: Key) -> bool {
        let down = &self.downstreams[key];
        let Some(flight) = down.flight.and_then(|f| self.flights.get(f)) else { return false };
        let exchange = &flight.exchange;
        exchange.request_done() && !exchange.keeps_downstream() && down.output.is_none()
    }

    pub(super) fn register(&mut self, key: Key) {
        let down = &mut self.downstreams[key];
        down.registered = true;
        if let Err(error) = self.net.register(&mut down.stream, Token::Downstream(key).pack()) {
            log::warn!("cannot watch a client's connection: {error}");
            self.close_downstream(key);
        }
    }

    /// Sets when the present wait is given up, in milliseconds from now. The wheel is only touched when it
    /// would remind too late.
    pub(super) fn arm(&mut self, key: Key, wait: u64) {
        let down = &mut self.downstreams[key];
        down.deadline = self.now + wait;
        if down.deadline < down.reminder {
            down.reminder = down.deadline;
            self.wheel.insert(down.deadline, key);
        }
    }

    /// Waits for the peer of a body or a tunnel to take or send more.
    pub(super) fn arm_stall(&mut self, key: Key) {
        let flight = self.downstreams[key].flight.and_then(|f| self.flights.get(f));
        let tunnel = flight.is_some_and(|flight| flight.exchange.is_tunnel());
        let timeouts = &self.settings.timeouts;
        let wait = if tunnel { timeouts.tunnel } else { timeouts.stall };
        self.arm(key, wait.as_millis() as u64);
    }

    /// When [`Self::expire`] has something to do.
    pub fn next_expiry(&self) -> Option<u64> {
        self.wheel.next()
    }

    /// Ends the waits that have lasted too long.
    pub fn expire(&mut self) {
        let mut expired = mem::take(&mut self.expired);
        self.wheel.expire(self.now, &mut expired);
        for key in expired.drain(..) {
            self.remind(key);
        }
        self.expired = expired;
    }

    fn remind(&mut self, key: Key) {
        let Some(down) = self.downstreams.get_mut(key) else { return };
        // A reminder that a nearer one has overtaken.
        if self.now < down.reminder {
            return;
        }
        if self.now < down.deadline {
            down.reminder = down.deadline;
            self.wheel.insert(down.deadline, key);
            if !down.registered {
                self.register(key);
            }
            return;
        }
        down.reminder = u64::MAX;
        let mut scratch = mem::take(&mut self.scratch);
        self.expired(&mut scratch, key);
        self.scratch = scratch;
        self.enqueue(key);
    }

    /// Writes what waits for the client; `Blocked` while some is left.
    pub(super) fn flush(&mut self, key: Key) -> Flow {
        let down = &mut self.downstreams[key];
        let Some(output) = &mut down.output else { return Flow::Moved };
        if !down.ready.writable {
            return if down.ready.failed { self.close_downstream(key) } else { Flow::Blocked };
        }
        let Ok(taken) = write(&mut down.stream, &mut down.ready, output.filled()) else {
            return self.close_downstream(key);
        };
        output.consume(taken);
        self.stats.add(Counter::BytesOut, taken as u64);
        if !output.is_empty() {
            if taken > 0 {
                self.arm_stall(key);
            }
            return Flow::Blocked;
        }
        let empty = down.output.take();
        empty.into_iter().for_each(|buffer| self.pool.give(buffer));
        Flow::Moved
    }

    /// Sends to the client; what it does not take now waits.
    pub(super) fn send_down(&mut self, key: Key, bytes: &[u8]) -> Flow {
        let down = &mut self.downstreams[key];
        debug_assert!(down.output.is_none(), "what waits must leave first");
        if bytes.is_empty() {
            return Flow::Moved;
        }
        let taken = if down.ready.writable {
            match write(&mut down.stream, &mut down.ready, bytes) {
                Ok(taken) => taken,
                Err(_) => return self.close_downstream(key),
            }
        } else {
            0
        };
        self.stats.add(Counter::BytesOut, taken as u64);
        if taken < bytes.len() {
            down.output = Some(self.pool.copy(&bytes[taken..]));
        }
        Flow::Moved
    }

    fn flush_and_close(&mut self, key: Key, linger: bool) -> Flow {
        match self.flush(key) {
            Flow::Moved if linger => {
                let down = &mut self.downstreams[key];
                down.stream.shutdown_write();
                down.phase = Phase::Linger { left: limits::LINGER_BYTES };
                self.arm(key, limits::LINGER_TIMEOUT.as_millis() as u64);
                Flow::Moved
            }
            Flow::Moved => self.close_downstream(key),
            flow => flow,
        }
    }

    /// RFC 9112 section 9.6: reads on for a while, so that a reset does not destroy our last answer.
    fn linger(&mut self, scratch: &mut Scratch, key: Key, left: u32) -> Flow {
        let down = &mut self.downstreams[key];
        if !down.ready.readable {
            return Flow::Blocked;
        }
        scratch.load(&mut None, &mut self.pool);
        match read(&mut down.stream, &mut down.ready, scratch.room()) {
            Read::Bytes(n) if (n as u32) < left => {
                down.phase = Phase::Linger { left: left - n as u32 };
                Flow::Moved
            }
            Read::Blocked => Flow::Blocked,
            Read::Bytes(_) | Read::Ended | Read::Failed => self.close_downstream(key),
        }
    }

    /// Takes up what others changed: which backends are eligible. Called between ticks, so that nothing
    /// changes under a request; also closes upstreams that were idle for long.
    pub fn refresh(&mut self) {
        self.eligible.refresh(&self.table);
    }

    /// Closes idle upstreams that nobody has used for long.
    pub fn prune_idle(&mut self) {
        let oldest = self.now.saturating_sub(self.settings.timeouts.upstream_idle.as_millis() as u64);
        let upstreams = &self.upstreams;
        let stale = self.idle.prune(|key| upstreams.get(key).is_none_or(|up| up.idle_since < oldest));
        stale.into_iter().for_each(|key| self.close_upstream(key));
    }

    /// Begins the drain: exchanges end, then their connections; idle ones end after a grace in which a
    /// request already on its way is still answered.
    pub fn drain(&mut self) {
        self.draining = true;
        let grace = limits::DRAIN_GRACE.as_millis() as u64;
        for key in self.downstreams.keys().collect::<Vec<_>>() {
            if self.downstreams[key].phase == Phase::Head && self.downstreams[key].input.is_none() {
                self.arm(key, grace);
            }
        }
    }

    /// True when a drain has nothing left to wait for.
    pub fn is_drained(&self) -> bool {
        self.draining && self.downstreams.is_empty()
    }

    /// Upstreams that are idle now.
    pub fn idle_upstreams(&self) -> usize {
        self.idle.len()
    }

    /// Downstream connections open now.
    pub fn open_downstreams(&self) -> usize {
        self.downstreams.len()
    }

    /// Buffers held by connections, and exchanges in flight: both 0 at rest.
    pub fn held(&self) -> (usize, usize) {
        (self.pool.lent(), self.flights.len())
    }

    /// Where streams come from.
    pub fn net(&mut self) -> &mut N {
        &mut self.net
    }

    pub(super) fn close_upstream(&mut self, key: Key) {
        if let Some(up) = self.upstreams.remove(key) {
            up.input.into_iter().for_each(|buffer| self.pool.give(buffer));
            self.stats.sub(Counter::Upstreams);
        }
    }

    /// Closes a client's connection with all that belongs to it; with a reset where only that tells the
    /// client that an answer was cut.
    pub(super) fn close_downstream(&mut self, key: Key) -> Flow {
        if let Some(mut down) = self.downstreams.remove(key) {
            let flight = down.flight.and_then(|flight| self.flights.get(flight));
            if down.output.is_some() || flight.is_some_and(|flight| flight.exchange.ends_by_close()) {
                down.stream.abort();
            }
            if let Some(flight) = down.flight {
                self.end_flight(flight, false);
            }
            down.input.into_iter().chain(down.output).for_each(|buffer| self.pool.give(buffer));
            self.stats.sub(Counter::Downstreams);
            self.net.closed();
        }
        Flow::Over
    }

    /// Lets go of an exchange; its upstream is kept for the next one or closed.
    pub(super) fn end_flight(&mut self, key: Key, keep_upstream: bool) {
        let Some(flight) = self.flights.remove(key) else { return };
        self.stats.sub(Counter::Flights);
        // A backend that answered early still waits for the rest of the request.
        let unsent = flight.request.as_ref().is_some_and(|request| !request.is_empty());
        flight.request.into_iter().for_each(|buffer| self.pool.give(buffer));
        let mut clean = flight.stage == Stage::Open;
        for pipe in flight.request_pipe.into_iter().chain(flight.response_pipe) {
            clean &= pipe.held() == 0;
            self.give_pipe(pipe);
        }
        let Some(up_key) = flight.upstream else { return };
        let up = &mut self.upstreams[up_key];
        clean &= !unsent && up.input.is_none() && !up.ready.ended && !up.ready.failed;
        if keep_upstream && clean && !self.draining && self.idle.push(up.backend, up_key) {
            (up.owner, up.reused, up.idle_since) = (None, true, self.now);
        } else {
            self.close_upstream(up_key);
        }
    }
}
