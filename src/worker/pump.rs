//! The pump: asks each connection for its next step and does it. It owns all connections of a worker and
//! knows neither mio nor the clock: streams come from a [`Net`], the time is handed in.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use super::access::Access;
use super::clock::WallClock;
use super::connection::{Downstream, Flight, Phase, Ready, Stage, Upstream};
use super::generation::Past;
use super::idle::Stacks;
use super::pipes::Spares;
use super::queue::Lines;
use super::scratch::Scratch;
use super::token::Token;
use crate::balance::{Clients, Eligible, Patience, Pool, Table};
use crate::buffer;
use crate::config::{ErrorPage, Limits, Mode, Network, Timeouts};
use crate::exchange::Site;
use crate::id::PoolId;
use crate::limits;
use crate::proto::h1::request_id::RequestIds;
use crate::slab::{Key, Slab};
use crate::stats::Block;
use crate::stats::traffic::Counted;
use crate::timer::Wheel;
use crate::transport::{Net, Newcomer};

/// What a pump must know of the configuration.
pub struct Settings {
    /// See [`Timeouts`].
    pub timeouts: Timeouts,
    /// What becomes of requests, by the number of the listener that they come to.
    pub sites: Vec<Arc<Site>>,
    /// What came in at each of these.
    pub traffic: Vec<Arc<Counted>>,
    /// What took each route of these, by its place there.
    pub routes: Vec<Vec<Arc<Counted>>>,
    /// There is an admin listener to tell what listeners, pools and backends have done.
    pub measured: bool,
    /// Bodies of our own error replies; of several for one status the first counts.
    pub error_pages: Vec<ErrorPage>,
    /// Field of these that tells their cause, if one does.
    pub cause_header: Option<String>,
    /// Path answered with `status`.
    pub status_path: Option<String>,
    /// Makes the short status.
    pub status: Box<dyn Fn() -> String + Send + Sync>,
    /// See [`Limits`].
    pub limits: Limits,
    /// Clients whose forwarding fields are kept.
    pub trust: Vec<Network>,
    /// Connections of each client address, where they are limited.
    pub clients: Option<Arc<Clients>>,
    /// Client connections of all workers together; accepting pauses there.
    pub connections: u64,
    /// Pipes in use by one worker at most.
    pub pipes: usize,
    /// Never sleep: the lowest latency, for a whole core.
    pub busy_poll: bool,
}

impl Default for Settings {
    /// One listener, every bound at its default, no status.
    fn default() -> Self {
        Self {
            timeouts: Timeouts::default(),
            sites: vec![Arc::new(Site::to_pool(PoolId(0)))],
            traffic: vec![Arc::new(Counted::new(String::new(), String::new(), 1))],
            routes: Vec::new(),
            measured: false,
            error_pages: Vec::new(),
            cause_header: None,
            status_path: None,
            status: Box::new(String::new),
            limits: Limits::default(),
            trust: Vec::new(),
            clients: None,
            connections: u64::MAX,
            pipes: limits::PIPES,
            busy_poll: false,
        }
    }
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
    /// Its worker's number.
    pub(super) worker: usize,
    pub(super) net: N,
    pub(super) table: Arc<Table>,
    pub(super) settings: Arc<Settings>,
    /// Counts the settings that were replaced.
    pub(super) generation: u32,
    pub(super) past: Vec<Past>,
    /// Decides where a route leads to several pools.
    pub(super) dice: fastrand::Rng,
    pub(super) stats: Arc<Block>,
    pub(super) downstreams: Slab<Downstream<N::Stream>>,
    pub(super) upstreams: Slab<Upstream<N::Stream>>,
    pub(super) flights: Slab<Flight>,
    pub(super) idle: Stacks,
    pub(super) pool: buffer::Pool,
    pub(super) pipes: Spares,
    /// Pipes that exchanges hold.
    pub(super) pipes_lent: usize,
    pub(super) wheel: Wheel<Key>,
    /// One a pool.
    pub(super) eligible: Vec<Eligible>,
    pub(super) lines: Lines,
    epoch: u64,
    /// Milliseconds since the process began, as of this tick.
    pub(super) now: u64,
    /// The same in microseconds.
    pub(super) now_us: u64,
    pub(super) draining: bool,
    /// A connection to a backend could not be made for want of a descriptor, since somebody asked.
    pub(super) short: bool,
    pub(super) request_ids: RequestIds,
    pub(super) clock: WallClock,
    queue: VecDeque<Key>,
    pub(super) scratch: Scratch,
    pub(super) expired: Vec<Key>,
    /// What was learnt of each backend's patience with unused connections.
    pub(super) patience: Vec<Patience>,
    /// Backends that another worker needs a connection to.
    pub(super) room_wanted: Vec<bool>,
    /// When other workers were last asked for room at a backend.
    pub(super) asked_for_room: Option<u64>,
    /// Where a line is kept of each exchange.
    pub(super) access: Option<Box<Access>>,
}

impl<N: Net> Pump<N> {
    /// A pump without connections.
    pub fn new(worker: usize, net: N, table: Arc<Table>, settings: Arc<Settings>, stats: Arc<Block>) -> Self {
        let backends = table.backends().len();
        let seed = |pool: &Pool| (worker as u64) << 32 | u64::from(pool.id().0);
        let eligible = table.pools().iter().map(|pool| Eligible::new(&table, pool, seed(pool))).collect();
        Self {
            worker,
            generation: 0,
            past: Vec::new(),
            dice: fastrand::Rng::with_seed(worker as u64),
            net,
            idle: Stacks::new(backends, settings.limits.backend_idle),
            eligible,
            lines: Lines::new(table.pools().len()),
            epoch: 0,
            table,
            settings,
            stats,
            downstreams: Slab::default(),
            upstreams: Slab::default(),
            flights: Slab::default(),
            pool: buffer::Pool::default(),
            pipes: Spares::default(),
            pipes_lent: 0,
            wheel: Wheel::default(),
            now: 0,
            now_us: 0,
            draining: false,
            short: false,
            request_ids: RequestIds::new(0, 0),
            clock: WallClock::default(),
            queue: VecDeque::new(),
            scratch: Scratch::new(),
            expired: Vec::new(),
            patience: vec![Patience::default(); backends],
            room_wanted: vec![false; backends],
            asked_for_room: None,
            access: None,
        }
    }

    /// Has requests numbered as this worker's.
    pub fn number_requests(&mut self, ids: RequestIds) {
        self.request_ids = ids;
    }

    /// Sets the time of this tick, in microseconds since the process began.
    pub fn set_now(&mut self, now: u64) {
        (self.now, self.now_us) = (now / 1_000, now);
    }

    /// Has lines and numbers tell the time of a wall clock, in milliseconds of Unix time, which is looked at now and then.
    pub fn follow_clock(&mut self, unix: impl FnOnce() -> u64) {
        self.clock.follow(self.now, unix);
    }

    /// Takes a connection that was just accepted.
    pub fn accepted(&mut self, newcomer: Newcomer<N::Stream>) {
        let key = self.insert(newcomer);
        self.count_connection(key);
        if !self.awaits_header(key) && !self.enter_client(key) {
            self.refuse_connection(key);
            return;
        }
        // Reminded early: most connections of a busy second are gone by then, and leave no long-lived entry.
        let head = self.settings.timeouts.head.as_millis() as u64;
        self.arm(key, head.min(limits::WATCH_DELAY.as_millis() as u64));
        self.downstreams[key].deadline = self.now + head;
        self.enqueue(key);
    }

    /// Takes a connection over from another worker, to be watched at once.
    pub fn adopt(&mut self, newcomer: Newcomer<N::Stream>) {
        let key = self.insert(newcomer);
        self.arm_first(key);
        self.register(key);
    }

    fn insert(&mut self, newcomer: Newcomer<N::Stream>) -> Key {
        let Newcomer { stream, peer, port, listener, counted, requests } = newcomer;
        let peer = peer.to_canonical();
        let site = &self.settings.sites[usize::from(listener)];
        // One that has brought requests has said before where it comes from.
        let plain = site.mode == Mode::Http && (site.proxy.is_none() || requests > 0);
        let trusted = self.settings.trust.iter().any(|network| network.contains(peer));
        let key = self.downstreams.insert(Downstream {
            stream,
            // Never asked yet: the request has often come with the connection.
            ready: Ready { readable: true, writable: true, ..Ready::default() },
            phase: if plain { Phase::Head } else { Phase::Opening },
            queued: false,
            registered: false,
            listener,
            peer,
            port,
            since_us: self.now_us,
            trusted,
            announced: false,
            ends: None,
            counted,
            requests,
            input: None,
            scanned: 0,
            output: None,
            flight: None,
            deadline: 0,
            reminder: u64::MAX,
        });
        self.count_open(key);
        key
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
                        let (backend, age) = (up.backend, self.now - up.idle_since);
                        self.patience[backend.index()].closed(age, self.now);
                        self.idle.remove(backend, key);
                        self.close_upstream(key);
                    }
                    None => {}
                }
            }
            Token::Listener(_) | Token::Wake | Token::Alarm => {}
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

    pub(super) fn run(&mut self, key: Key) {
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
            Phase::Opening => self.open(scratch, key),
            Phase::Flight => self.relay(scratch, key),
            Phase::Flush { linger } => self.flush_and_close(key, linger),
            Phase::Linger { left } => self.linger(scratch, key, left),
        }
    }

    /// Has the kernel tell of a connection's readiness from now on. One that only waits for an answer has
    /// nothing to be told of; it is watched when that takes long (see [`Self::remind`]).
    fn watch(&mut self, key: Key) {
        let down = &self.downstreams[key];
        if down.registered {
            // One whose request came with it could not be passed on before. Where requests are counted, it
            // stays with the one who counts.
            if down.requests == 1 && self.settings.limits.requests.is_none() {
                self.pass_on(key);
            }
        } else if !self.awaits_answer(key) && !self.pass_on(key) {
            self.register(key);
        }
    }

    /// Gives a connection that waits for its first or next request to a worker with fewer; true when it went.
    pub(super) fn pass_on(&mut self, key: Key) -> bool {
        let down = &self.downstreams[key];
        if !down.is_unused() || down.announced || self.draining {
            return false;
        }
        let Some(other) = self.net.lighter() else { return false };
        let down = &mut self.downstreams[key];
        if down.registered && !self.net.deregister(&mut down.stream) {
            return false;
        }
        let Some(down) = self.downstreams.remove(key) else { return false };
        self.count_close(down.listener);
        let newcomer = Newcomer {
            stream: down.stream,
            peer: down.peer,
            port: down.port,
            listener: down.listener,
            counted: down.counted,
            requests: down.requests,
        };
        if let Err(newcomer) = self.net.pass(other, newcomer) {
            self.adopt(newcomer);
        }
        true
    }

    pub(super) fn awaits_answer(&self, key: Key) -> bool {
        let down = &self.downstreams[key];
        let Some(flight) = down.flight.and_then(|f| self.flights.get(f)) else { return false };
        // One that waits in line may leave, and its place is then another's.
        if let Stage::Queued { .. } = flight.stage {
            return false;
        }
        let exchange = &flight.exchange;
        // What a pipe holds for a client that takes no more waits for that client, not for the answer.
        let takes = down.output.is_none() && down.ready.writable;
        exchange.request_done() && !exchange.is_tunnel() && takes
    }

    pub(super) fn register(&mut self, key: Key) {
        let down = &mut self.downstreams[key];
        down.registered = true;
        if let Err(error) = self.net.register(&mut down.stream, Token::Downstream(key).pack()) {
            log::warn!("cannot watch a client's connection: {error}");
            self.close_downstream(key);
        }
    }

    /// Takes up what others changed: which backends are eligible. Called between ticks, so that nothing
    /// changes under a request.
    pub fn refresh(&mut self) {
        let epoch = self.table.epoch();
        if self.epoch == epoch {
            return;
        }
        self.epoch = epoch;
        for at in 0..self.eligible.len() {
            let pool = &self.table.pools()[at];
            if self.eligible[at].refresh(&self.table, pool) {
                self.take_turn(pool.id());
            }
        }
    }

    /// Begins the drain: exchanges end, then their connections; idle ones end after a grace in which a
    /// request already on its way is still answered.
    pub fn drain(&mut self) {
        self.draining = true;
        let grace = limits::DRAIN_GRACE.as_millis() as u64;
        for key in self.downstreams.keys().collect::<Vec<_>>() {
            if self.downstreams[key].is_unused() {
                self.arm(key, grace);
            }
        }
    }

    /// True when a drain has nothing left to wait for.
    pub fn is_drained(&self) -> bool {
        self.draining && self.downstreams.is_empty()
    }

    /// Whether there was no descriptor for a backend's connection since this was asked last.
    pub fn was_short(&mut self) -> bool {
        mem::take(&mut self.short)
    }

    /// Somebody may ask how long a turn of the loop takes.
    pub fn is_measured(&self) -> bool {
        self.settings.measured
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

    /// Pipes held by exchanges: 0 at rest.
    pub fn pipes_held(&self) -> usize {
        self.pipes_lent
    }

    /// Pipes are kept that may be closed after a while.
    pub fn has_pipes_to_spare(&self) -> bool {
        self.pipes.are_many()
    }

    /// Where streams come from.
    pub fn net(&mut self) -> &mut N {
        &mut self.net
    }
}
