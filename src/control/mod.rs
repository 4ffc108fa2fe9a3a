//! The supervising thread: starts everything, waits for signals, ends everything.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::admin;
use crate::balance::{Clients, RateLimiter, Table};
use crate::config::{self, Algorithm, Config, Key, Sticky, StickyBy};
use crate::error::StartError;
use crate::exchange::Wanted;
use crate::limits;
use crate::probe;
use crate::stats::Block;
use crate::sys;
use crate::worker::{self, Crew, Parts, Settings, Worker};

mod resolve;

/// What the supervising thread waits for.
enum Event {
    /// SIGTERM or SIGINT.
    Stop,
    /// A worker has drained.
    Drained,
    /// A worker's poll failed.
    Failed(usize, io::Error),
}

/// A balancer whose sockets are open and whose threads run.
pub struct Running {
    addresses: Vec<SocketAddr>,
    crew: Arc<Crew>,
    count: usize,
    events: Receiver<Event>,
    drain_timeout: Duration,
    _probe: probe::Thread,
}

/// Opens the sockets and starts the threads.
pub fn start(config: &Config) -> Result<Running, StartError> {
    end_on_panic();
    let began = Instant::now();
    let descriptors = sys::descriptors::raise_limit();
    let (listeners, addresses) = listen(config)?;
    let pools = config.pools.iter().map(|pool| (pool.clone(), resolve::backends(&pool.backends)));
    let table = Arc::new(Table::new(pools.collect(), config.workers));
    let rate = config.rate_limit.as_ref().map(|limit| (limit.key.clone(), Arc::new(RateLimiter::new(limit))));
    let known_crew = Arc::new(OnceLock::<Arc<Crew>>::new());
    let stats: Vec<_> = listeners.iter().map(|_| Arc::new(Block::default())).collect();
    let status_stats = stats.clone();
    let (status_table, status_crew) = (Arc::clone(&table), Arc::clone(&known_crew));
    let settings = Arc::new(Settings {
        timeouts: config.timeouts,
        wanted: wanted(&config.pools[0], rate.clone()),
        rate: rate.map(|(_, limiter)| limiter),
        limits: config.limits,
        trust: config.trust.clone(),
        clients: config.limits.connections_per_client.map(Clients::new),
        busy_poll: config.busy_poll,
        connections: connections(config.limits.connections, descriptors),
        status_path: config.status_path.clone(),
        status: Box::new(move || {
            let connections = status_crew.get().into_iter().flat_map(|crew| crew.open());
            admin::status::short(&status_table, connections, &status_stats)
        }),
        locals: addresses.iter().map(ToString::to_string).collect(),
    });
    say(config, &addresses, descriptors);
    warn_of_loops(&table, &addresses);
    let (sender, events) = unbounded();
    watch_signals(sender.clone()).map_err(|e| StartError::System("cannot watch signals", e))?;
    let probe = probe::spawn(Arc::clone(&table), began)
        .map_err(|e| StartError::System("cannot start the health probes", e))?;
    let parts = listeners.into_iter().zip(&stats);
    let parts = parts.map(|(listeners, stats)| Parts { listeners, stats: Arc::clone(stats) }).collect();
    let no_worker = |e| StartError::System("cannot start a worker", e);
    let (workers, crew) = worker::workers(parts, &table, &settings, began).map_err(no_worker)?;
    known_crew.get_or_init(|| Arc::clone(&crew));
    for (i, worker) in workers.into_iter().enumerate() {
        spawn(worker, i, config.pin, sender.clone()).map_err(no_worker)?;
    }
    Ok(Running {
        addresses,
        crew,
        count: stats.len(),
        events,
        drain_timeout: config.drain_timeout,
        _probe: probe,
    })
}

/// What has to be looked for in each request for this pool.
fn wanted(pool: &config::Pool, rate: Option<(Key, Arc<RateLimiter>)>) -> Wanted {
    let hash = match &pool.algorithm {
        Algorithm::Hash { key, .. } => Some(key.clone()),
        _ => None,
    };
    let cookie = match &pool.sticky {
        Some(Sticky { by: StickyBy::Cookie(cookie), .. }) => Some(cookie.name.clone()),
        _ => None,
    };
    Wanted { hash, rate, cookie }
}

/// Client connections in all: each needs a descriptor, and another to a backend while it is served.
fn connections(asked: Option<u64>, descriptors: Option<u64>) -> u64 {
    let most = descriptors.map_or(u64::MAX, |most| most.saturating_mul(limits::CONNECTIONS_PERCENT) / 100);
    asked.unwrap_or(most).max(1)
}

/// Each worker's listeners, and the addresses they are bound to.
fn listen(config: &Config) -> Result<(Vec<Vec<TcpListener>>, Vec<SocketAddr>), StartError> {
    let mut by_worker: Vec<Vec<TcpListener>> = (0..config.workers).map(|_| Vec::new()).collect();
    let mut addresses = Vec::new();
    for &address in &config.listen {
        let only_v6 = config.listen.iter().any(|a| a.is_ipv4() && a.port() == address.port());
        let failed = |error| StartError::Listen(address, error);
        let sockets = sys::socket::listen(address, only_v6, config.workers).map_err(failed)?;
        addresses.push(sockets[0].local_addr().map_err(failed)?);
        by_worker.iter_mut().zip(sockets).for_each(|(worker, socket)| worker.push(socket));
    }
    Ok((by_worker, addresses))
}

fn say(config: &Config, addresses: &[SocketAddr], descriptors: Option<u64>) {
    for address in addresses {
        log::info!("listening on {address}");
    }
    let pinned = if config.pin { "each to be pinned to a core" } else { "not pinned" };
    log::info!("{}, {pinned}", count(config.workers as u64, "worker"));
    for pool in &config.pools {
        let urls: Vec<_> = pool.backends.iter().map(|backend| backend.url.to_string()).collect();
        log::info!("{}: {}", count(urls.len() as u64, "backend"), urls.join(", "));
    }
    if let Some(limit) = descriptors {
        log::info!("at most {limit} open descriptors, two for each client being served");
    }
}

fn spawn(worker: Worker, i: usize, pin: bool, events: Sender<Event>) -> io::Result<()> {
    let run = move || {
        if pin {
            match sys::cores::pin(i) {
                Ok(core) => log::info!("worker {i} runs on core {core}"),
                Err(why) => log::warn!("worker {i} is not pinned: {why}"),
            }
        }
        let event = match worker.run() {
            Ok(()) => Event::Drained,
            Err(error) => Event::Failed(i, error),
        };
        // Nobody listens any more when the process is about to end.
        let _ = events.send(event);
    };
    thread::Builder::new().name(format!("worker-{i}")).spawn(run).map(drop)
}

fn watch_signals(events: Sender<Event>) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let watch = move || {
        for _ in signals.forever() {
            let _ = events.send(Event::Stop);
        }
    };
    thread::Builder::new().name("signals".into()).spawn(watch).map(drop)
}

/// A panic in any thread ends the process, in every build profile: never a half-dead balancer.
fn end_on_panic() {
    let say = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        say(info);
        std::process::abort();
    }));
}

impl Running {
    /// The addresses listened on, with the ports the kernel chose.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Waits for a signal, then drains; a second signal, or the drain timeout, ends it at once.
    pub fn wait(self) -> ExitCode {
        match self.events.recv() {
            Ok(Event::Failed(i, error)) => return failed(i, &error),
            Ok(Event::Stop | Event::Drained) | Err(_) => {}
        }
        log::info!("draining: no new connections, {} open", count(self.open(), "connection"));
        if let Err(error) = self.crew.drain() {
            log::error!("cannot wake a worker: {error}");
        }
        let deadline = Instant::now() + self.drain_timeout;
        let mut left = self.count;
        while left > 0 {
            match self.events.recv_deadline(deadline) {
                Ok(Event::Drained) => left -= 1,
                Ok(Event::Failed(i, error)) => return failed(i, &error),
                Ok(Event::Stop) => {
                    log::warn!("stopped by a second signal, {} cut", count(self.open(), "connection"));
                    return ExitCode::SUCCESS;
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    log::warn!("the drain timeout is over, {} cut", count(self.open(), "connection"));
                    return ExitCode::SUCCESS;
                }
            }
        }
        log::info!("drained");
        ExitCode::SUCCESS
    }

    fn open(&self) -> u64 {
        self.crew.open().map(u64::from).sum()
    }
}

fn failed(i: usize, error: &io::Error) -> ExitCode {
    log::error!("worker {i} cannot go on: {error}");
    ExitCode::FAILURE
}

fn count(n: u64, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

/// A backend that is this very process would send every request around until its head is too large.
fn warn_of_loops(table: &Table, addresses: &[SocketAddr]) {
    for backend in table.backends() {
        let is_own = |a: &SocketAddr| {
            let reaches =
                |own: &SocketAddr| own.ip() == a.ip() || (own.ip().is_unspecified() && a.ip().is_loopback());
            addresses.iter().any(|own| own.port() == a.port() && reaches(own))
        };
        if backend.addresses().iter().any(is_own) {
            log::warn!(
                "backend {} is this evenkeel itself: requests to it would go in circles",
                backend.url()
            );
        }
    }
}
