//! One backend: where it is, and all that is known of it at this moment, in atomics.

use std::net::SocketAddr;
use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::circuit::{Circuit, State};
use super::latency::Latency;
use super::record::Record;
use super::tally::{Sum, Tally};
use super::window::Window;
use crate::config::{self, BackendUrl};
use crate::id::PoolId;

/// A word of its own on its own cache lines (128 bytes: processors fetch pairs of 64-byte lines).
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Padded<T>(pub T);

/// What a person wants of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It serves.
    Enabled,
    /// It finishes what it has and serves the clients that stick to it; nobody else comes.
    Draining,
    /// It finishes what it has.
    Disabled,
}

/// One configured target.
#[derive(Debug)]
#[repr(align(128))]
pub struct Backend {
    url: BackendUrl,
    /// The one of its name's addresses that it is, where each is a backend.
    address: Option<SocketAddr>,
    pool: PoolId,
    addresses: RwLock<Arc<[SocketAddr]>>,
    /// Which of the addresses answered last, by position.
    preferred: AtomicU16,
    weight: AtomicU16,
    configured_weight: AtomicU16,
    backup: AtomicBool,
    mode: AtomicU8,
    gone: AtomicBool,
    /// As active checks see it.
    pub(super) up: AtomicBool,
    /// It came while others served, and no check has said anything of it yet.
    pub(super) unjudged: AtomicBool,
    /// Failures in a row, as traffic saw them.
    pub(super) failures: AtomicU32,
    pub(super) circuit: Circuit,
    /// When it last returned, in milliseconds since the process began; 0: it has not been away.
    pub(super) since: AtomicU64,
    window: Mutex<Window>,
    max_connections: AtomicU32,
    max_requests: AtomicU32,
    /// Connections to it from all workers.
    connections: Padded<AtomicU32>,
    /// Requests in flight from all workers; only counted where somebody asks for it.
    in_flight: Padded<AtomicU32>,
    latency: Padded<Latency>,
    tallies: Box<[Tally]>,
    record: Record,
}

/// Stands for "no limit".
const ANY: u32 = u32::MAX;

impl Backend {
    /// A backend with the addresses its name resolved to, tallied by so many workers; without an address it
    /// cannot be reached yet. It is believed to be up: a request finds out as soon as a probe does.
    pub fn new(config: &config::Backend, pool: PoolId, addresses: Vec<SocketAddr>, workers: usize) -> Self {
        Self {
            url: config.url.clone(),
            address: config.address,
            pool,
            addresses: RwLock::new(addresses.into()),
            preferred: AtomicU16::new(0),
            weight: AtomicU16::new(config.weight),
            configured_weight: AtomicU16::new(config.weight),
            backup: AtomicBool::new(config.backup),
            mode: AtomicU8::new(Mode::Enabled as u8),
            gone: AtomicBool::new(false),
            up: AtomicBool::new(true),
            unjudged: AtomicBool::new(false),
            failures: AtomicU32::new(0),
            circuit: Circuit::default(),
            since: AtomicU64::new(0),
            window: Mutex::default(),
            max_connections: AtomicU32::new(config.max_connections.unwrap_or(ANY)),
            max_requests: AtomicU32::new(config.max_requests.unwrap_or(ANY)),
            connections: Padded::default(),
            in_flight: Padded::default(),
            latency: Padded::default(),
            tallies: (0..workers).map(|_| Tally::default()).collect(),
            record: Record::default(),
        }
    }

    /// This is what is configured there.
    pub(super) fn is(&self, config: &config::Backend) -> bool {
        self.url == config.url && self.address == config.address && !self.is_gone()
    }

    /// As the user named it.
    pub fn url(&self) -> &BackendUrl {
        &self.url
    }

    /// What tells it from all others of its pool, the same on every instance.
    pub fn identity(&self) -> String {
        match self.address {
            Some(address) => format!("{} at {address}", self.url),
            None => self.url.to_string(),
        }
    }

    /// The pool that it serves.
    pub fn pool(&self) -> PoolId {
        self.pool
    }

    /// All addresses, in the resolver's order. Asked for when a connection is made, not for each request.
    pub fn addresses(&self) -> Arc<[SocketAddr]> {
        // A panic ends the process, so nobody ever sees a poisoned lock.
        Arc::clone(&self.addresses.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes over what is configured now, and the addresses of now if they are other ones.
    pub(super) fn renew(&self, config: &config::Backend, addresses: Vec<SocketAddr>) {
        // What a person set meanwhile holds until the file says something else.
        if self.configured_weight.swap(config.weight, Relaxed) != config.weight {
            self.weight.store(config.weight, Relaxed);
        }
        self.backup.store(config.backup, Relaxed);
        self.max_connections.store(config.max_connections.unwrap_or(ANY), Relaxed);
        self.max_requests.store(config.max_requests.unwrap_or(ANY), Relaxed);
        if *self.addresses() != *addresses {
            self.preferred.store(0, Relaxed);
            *self.addresses.write().unwrap_or_else(PoisonError::into_inner) = addresses.into();
        }
    }

    /// Has nothing going on and will not have.
    pub(super) fn is_over(&self) -> bool {
        self.is_gone() && self.connections() == 0 && self.in_flight() == 0
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

    /// Its share beside the others'.
    pub fn weight(&self) -> u16 {
        self.weight.load(Relaxed)
    }

    pub(super) fn set_weight(&self, weight: u16) {
        self.weight.store(weight, Relaxed);
    }

    /// Used only while no other backend of its pool is eligible.
    pub fn is_backup(&self) -> bool {
        self.backup.load(Relaxed)
    }

    /// What is wanted of it.
    pub fn mode(&self) -> Mode {
        match self.mode.load(Relaxed) {
            0 => Mode::Enabled,
            1 => Mode::Draining,
            _ => Mode::Disabled,
        }
    }

    pub(super) fn set_mode(&self, mode: Mode) -> bool {
        self.mode.swap(mode as u8, Relaxed) != mode as u8
    }

    /// Up, as active checks see it.
    pub fn is_up(&self) -> bool {
        self.up.load(Relaxed)
    }

    /// No longer configured: what it has goes on, nothing new comes.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Relaxed)
    }

    pub(super) fn set_gone(&self) {
        self.gone.store(true, Relaxed);
    }

    /// Nothing is kept for later requests: it is gone or disabled.
    pub fn is_leaving(&self) -> bool {
        self.is_gone() || self.mode() == Mode::Disabled
    }

    /// Trusted by checks and by traffic.
    pub fn is_healthy(&self) -> bool {
        self.is_up() && self.circuit.is_closed()
    }

    /// Whether traffic trusts it.
    pub fn circuit(&self) -> State {
        self.circuit.state()
    }

    /// May be given any request.
    pub fn is_eligible(&self) -> bool {
        self.is_healthy() && self.mode() == Mode::Enabled
    }

    /// May be given the requests of clients that stick to it.
    pub fn keeps_clients(&self) -> bool {
        self.is_healthy() && self.mode() != Mode::Disabled
    }

    /// Whether it is one of that pool's. What was remembered of it may be older than a reload, and its number may have
    /// been given to another since.
    pub fn serves(&self, pool: PoolId) -> bool {
        self.pool == pool && !self.is_gone()
    }

    /// When it last returned; 0: it has not been away.
    pub fn since(&self) -> u64 {
        self.since.load(Relaxed)
    }

    /// Counts a connection in, if it may have another one; exact over all workers.
    pub fn connect(&self) -> bool {
        count_in(&self.connections.0, self.max_connections.load(Relaxed))
    }

    /// Counts a connection out that was counted in.
    pub fn disconnect(&self) {
        self.connections.0.fetch_sub(1, SeqCst);
    }

    /// Connections to it from all workers, idle ones included.
    pub fn connections(&self) -> u32 {
        self.connections.0.load(Relaxed)
    }

    /// Counts a request in, if it may have another one; exact over all workers.
    pub fn enter(&self) -> bool {
        count_in(&self.in_flight.0, self.most_in_flight())
    }

    /// Each request in flight needs a connection.
    fn most_in_flight(&self) -> u32 {
        self.max_requests.load(Relaxed).min(self.max_connections.load(Relaxed))
    }

    /// Counts a request out that was counted in.
    pub fn leave(&self) {
        self.in_flight.0.fetch_sub(1, SeqCst);
    }

    /// Requests in flight, where they are counted.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.0.load(Relaxed)
    }

    /// Another request may enter.
    pub fn has_room(&self) -> bool {
        self.in_flight() < self.most_in_flight()
    }

    /// Connections or requests in flight are limited.
    pub fn is_capped(&self) -> bool {
        self.most_in_flight() != ANY
    }

    // A panic ends the process, so nobody ever sees a poisoned lock.
    pub(super) fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long its answers take.
    pub fn latency(&self) -> &Latency {
        &self.latency.0
    }

    /// What that worker has seen of it.
    pub fn tally(&self, worker: usize) -> &Tally {
        &self.tallies[worker]
    }

    /// What all workers have seen of it.
    pub fn tallies(&self) -> &[Tally] {
        &self.tallies
    }

    /// What all workers have seen of it, added up.
    pub fn sum(&self) -> Sum {
        Sum::of(&self.tallies)
    }

    /// When and why its standing changed.
    pub fn record(&self) -> &Record {
        &self.record
    }
}

/// Without a limit it is one instruction, with one a loop: two workers never both take the last place.
fn count_in(count: &AtomicU32, most: u32) -> bool {
    if most == ANY {
        count.fetch_add(1, Relaxed);
        return true;
    }
    count.fetch_update(SeqCst, SeqCst, |count| (count < most).then_some(count + 1)).is_ok()
}

impl Backend {
    /// Requests in flight, one more included, for each unit of its weight.
    pub(super) fn in_flight_for_weight(&self) -> f32 {
        (self.in_flight() + 1) as f32 / f32::from(self.weight())
    }

    /// Its latency times its requests in flight for its weight. One that was not heard of for long is cheap while
    /// it has nothing to do, and dear as soon as it has. While requests wait there, what was seen last does not
    /// fade: one that hangs must not look faster for it.
    pub(super) fn cost(&self, now: u64) -> f32 {
        const UNKNOWN_US: f32 = 1_000_000.0;
        let idle = self.in_flight() == 0;
        let latency = match self.latency().get(if idle { now } else { 0 }) {
            Some(latency) if self.latency().is_fresh(now) => latency + 1.0,
            _ if idle => 0.0,
            seen => seen.map_or(UNKNOWN_US, |seen| seen.max(UNKNOWN_US)),
        };
        latency * self.in_flight_for_weight()
    }
}
