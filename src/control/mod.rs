//! The supervising thread: starts everything, waits for signals, reloads, ends everything.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded, never, unbounded};
use log::LevelFilter;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};
use signal_hook::iterator::Signals;

use crate::access;
use crate::balance::Table;
use crate::config::{self, AccessLog, Config, Mode, changes};
use crate::error::StartError;
use crate::limits;
use crate::probe;
use crate::stats::Block;
use crate::stats::reloads::Reloads;
use crate::sys;
use crate::worker::{self, Crew, Parts, Renewal, Worker};

mod admin;
mod counts;
mod drain;
mod force;
mod resolve;

use admin::{AdminParts, Orders, serve_admin};
use force::{Fixtures, Force, Sockets};
use resolve::Names;

/// A configuration that is not in force yet.
#[derive(Debug)]
pub struct Wanted {
    /// Everything checked.
    pub config: Config,
    /// The least important messages that are logged then.
    pub log_level: LevelFilter,
    /// What is allowed and yet risky, a line each.
    pub warnings: Vec<String>,
}

/// Reads the configuration anew; the error is what to tell the user, line by line.
pub type Source = Box<dyn Fn() -> Result<Wanted, String> + Send>;

/// What the supervising thread waits for.
enum Event {
    /// SIGTERM or SIGINT.
    Stop,
    /// A drain asked for over the admin listener.
    Drain,
    /// SIGHUP, or a reload asked for over the admin listener.
    Reload,
    /// The name of a backend stands for other addresses.
    Renamed,
    /// A worker has drained.
    Drained,
    /// A worker's poll failed.
    Failed(usize, io::Error),
}

/// A balancer whose sockets are open and whose threads run.
pub struct Running {
    force: Force,
    fixtures: Fixtures,
    names: Arc<Names>,
    /// The table of now, for those who ask from other threads.
    table: Arc<RwLock<Arc<Table>>>,
    source: Option<Source>,
    crew: Arc<Crew>,
    count: usize,
    events: Receiver<Event>,
    began: Instant,
    probe: probe::Thread,
    /// Where workers say that they have taken what they were told last, and how many have not.
    dones: Receiver<()>,
    awaited: usize,
    draining: Arc<AtomicBool>,
    /// Listeners that not every worker could know of yet.
    unopened: Vec<(u16, Vec<TcpListener>)>,
    /// What the admin listener asks for.
    token: Arc<RwLock<Option<String>>>,
    /// What became of reloads.
    outcomes: Arc<Reloads>,
    /// Reloads that somebody waits to hear of.
    reloads: Receiver<Sender<Result<String, String>>>,
    admin: Option<crate::admin::Thread>,
    /// Writes what is left when this is dropped.
    access: access::Log,
}

/// Opens the sockets and starts the threads; `source` is where a reload finds the next configuration.
pub fn start(config: Config, source: Option<Source>) -> Result<Running, StartError> {
    end_on_panic();
    let (began, descriptors) = (Instant::now(), sys::descriptors::raise_limit());
    let (sender, events) = unbounded();
    let names = names(&config, sender.clone())?;
    let stats: Vec<_> = (0..config.workers).map(|_| Arc::new(Block::default())).collect();
    let (crew_cell, table) = (Arc::new(OnceLock::<Arc<Crew>>::new()), Arc::new(RwLock::default()));
    let mut access = access::Log::none();
    let log = prepare(&mut access, config.access_log.as_ref())?;
    let fixtures = Fixtures {
        status: status(Arc::clone(&table), Arc::clone(&crew_cell), stats.clone(), access.losses()),
        connections: connections(&config, descriptors),
        pipes: pipes(config.workers, descriptors),
    };
    let (pin, workers) = (config.pin, config.workers);
    let (log, named) = ((&mut access, log), source.is_some());
    let (force, sockets) = first(config, &|url| names.addresses(url), &fixtures, log, named)?;
    *table.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(force.table());
    watch_signals(sender.clone(), access.reopen())
        .map_err(|e| StartError::System("cannot watch signals", e))?;
    say(&force, descriptors);
    warn_of_loops(force.table(), &force.addresses());
    let probe = probe::spawn(Arc::clone(force.table()), began)
        .map_err(|e| StartError::System("cannot start the health probes", e))?;
    let parts = parts(sockets.opened, &stats, &access);
    let no_worker = |e| StartError::System("cannot start a worker", e);
    let (running, crew) =
        worker::workers(parts, force.table(), force.settings(), began).map_err(no_worker)?;
    crew_cell.get_or_init(|| Arc::clone(&crew));
    let (draining, (asks, reloads)) = (Arc::new(AtomicBool::new(false)), bounded(limits::RELOADS));
    let wanted = force.config().admin.clone();
    let token = Arc::new(RwLock::new(wanted.as_ref().and_then(|admin| admin.token.clone())));
    let outcomes = Arc::new(Reloads::new(sys::process::since_boot()));
    let told = AdminParts {
        token: Arc::clone(&token),
        table: Arc::clone(&table),
        crew: Arc::clone(&crew),
        stats,
        reloads: Arc::clone(&outcomes),
        losses: access.losses(),
        listeners: force.traffic(),
        routes: force.routes(),
    };
    let orders = Orders { events: sender.clone(), asks, draining: Arc::clone(&draining) };
    let admin = wanted.map(|wanted| serve_admin(wanted.address, told, orders, began)).transpose()?;
    for (i, worker) in running.into_iter().enumerate() {
        spawn(worker, i, pin, sender.clone()).map_err(no_worker)?;
    }
    Ok(Running {
        force,
        fixtures,
        names,
        table,
        source,
        crew,
        count: workers,
        events,
        began,
        probe,
        dones: never(),
        awaited: 0,
        draining,
        unopened: Vec::new(),
        token,
        outcomes,
        reloads,
        admin,
        access,
    })
}

/// Looks up the names of all backends from now on.
fn names(config: &Config, events: Sender<Event>) -> Result<Arc<Names>, StartError> {
    let names = Names::start(config.resolve_interval, move || drop(events.send(Event::Renamed)))
        .map_err(|e| StartError::System("cannot start the resolver", e))?;
    names.follow(urls(config));
    Ok(names)
}

/// What each worker begins with.
fn parts(opened: Vec<(u16, Vec<TcpListener>)>, stats: &[Arc<Block>], access: &access::Log) -> Vec<Parts> {
    let of_workers = by_worker(opened, stats.len()).into_iter().zip(stats);
    let part = |(listeners, stats): (_, &Arc<Block>)| Parts {
        listeners,
        stats: Arc::clone(stats),
        access: access.queue(),
    };
    of_workers.map(part).collect()
}

/// What has to be in force first. An access log that it does not come to leaves nothing.
fn first(
    config: Config,
    resolve: force::Resolve<'_>,
    fixtures: &Fixtures,
    (access, log): (&mut access::Log, Option<access::Next>),
    from_file: bool,
) -> Result<(Force, Sockets), StartError> {
    let names: Vec<_> = config.listeners.iter().map(|one| (one.address, one.name.clone())).collect();
    match Force::new(config, resolve, fixtures) {
        Ok(begun) => {
            log.into_iter().for_each(|log| access.follow(log));
            Ok(begun)
        }
        Err((address, error)) => {
            log.into_iter().for_each(access::Next::forget);
            let mut names = names.into_iter().filter(|_| from_file);
            let listener = names.find(|(place, _)| *place == address).map(|(_, name)| name);
            Err(StartError::Listen(address, listener, error))
        }
    }
}

fn prepare(access: &mut access::Log, log: Option<&AccessLog>) -> Result<Option<access::Next>, StartError> {
    let place = || log.map_or_else(String::new, AccessLog::place);
    access.prepare(log).map_err(|error| StartError::AccessLog(place(), error))
}

/// The short status, made of what is in force when it is asked for.
fn status(
    table: Arc<RwLock<Arc<Table>>>,
    crew: Arc<OnceLock<Arc<Crew>>>,
    stats: Vec<Arc<Block>>,
    losses: Arc<access::Losses>,
) -> Arc<dyn Fn() -> String + Send + Sync> {
    Arc::new(move || {
        let table = Arc::clone(&table.read().unwrap_or_else(PoisonError::into_inner));
        let connections = crew.get().into_iter().flat_map(|crew| crew.open());
        crate::admin::status::short(&table, connections, &stats, &losses)
    })
}

fn urls(config: &Config) -> impl Iterator<Item = crate::config::BackendUrl> + '_ {
    config.pools.iter().flat_map(|pool| &pool.backends).map(|backend| backend.url.clone())
}

/// Client connections in all: each needs a descriptor, and another to a backend while it is served.
fn connections(config: &Config, descriptors: Option<u64>) -> u64 {
    let percent = match config.listeners.iter().all(|listener| listener.mode == Mode::Tcp) {
        true => limits::TUNNELS_PERCENT,
        false => limits::CONNECTIONS_PERCENT,
    };
    let most = descriptors.map_or(u64::MAX, |most| most.saturating_mul(percent) / 100);
    config.limits.connections.unwrap_or(most).max(1)
}

/// Pipes of one worker.
fn pipes(workers: usize, descriptors: Option<u64>) -> usize {
    let most = descriptors.map_or(u64::MAX, |most| most.saturating_mul(limits::PIPES_PERCENT) / 100);
    limits::PIPES.min(most as usize / workers.max(1)).max(1)
}

/// Each worker's own socket of every listener.
fn by_worker(opened: Vec<(u16, Vec<TcpListener>)>, workers: usize) -> Vec<Vec<(u16, TcpListener)>> {
    let mut by_worker: Vec<Vec<_>> = (0..workers).map(|_| Vec::new()).collect();
    for (number, sockets) in opened {
        by_worker.iter_mut().zip(sockets).for_each(|(worker, socket)| worker.push((number, socket)));
    }
    by_worker
}

fn say(force: &Force, descriptors: Option<u64>) {
    let config = force.config();
    for address in force.addresses() {
        log::info!("listening on {address}");
    }
    let pinned = if config.pin { "each to be pinned to a core" } else { "not pinned" };
    log::info!("{}, {pinned}", count(config.workers as u64, "worker"));
    for pool in &config.pools {
        let urls: Vec<_> = pool.backends.iter().map(|backend| backend.url.to_string()).collect();
        let name = if config.pools.len() > 1 { format!("pool {}: ", pool.name) } else { String::new() };
        log::info!("{name}{}: {}", count(urls.len() as u64, "backend"), urls.join(", "));
    }
    if let Some(limit) = descriptors {
        log::info!("at most {limit} open descriptors, two for each client being served");
        if let Some(asked) = config.limits.connections.filter(|asked| asked.saturating_mul(2) > limit) {
            log::warn!(
                "max_connections {asked}: {limit} descriptors do not serve so many clients at once, and those too many get no \
                 backend: 503, or in TCP mode a reset; raise ulimit -n or lower it"
            );
        }
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

fn watch_signals(events: Sender<Event>, log: access::Reopen) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGXFSZ])?;
    let watch = move || {
        for signal in signals.forever() {
            let event = match signal {
                SIGUSR1 => {
                    log.ask();
                    continue;
                }
                // A file has reached the limit of its size (`ulimit -f`), which is an error of the write like any other.
                SIGXFSZ => continue,
                SIGHUP => Event::Reload,
                _ => Event::Stop,
            };
            let _ = events.send(event);
        }
    };
    thread::Builder::new().name("signals".into()).spawn(watch).map(drop)
}

/// A panic in any thread ends the process, in every build profile: never a half-dead balancer.
fn end_on_panic() {
    let say = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        // Nobody who leaves standard error unread keeps it alive, nor does a panic within the log, which is locked then.
        let late = || {
            thread::sleep(limits::PANIC_PATIENCE);
            std::process::abort()
        };
        drop(thread::Builder::new().spawn(late));
        // What led to it comes first.
        log::logger().flush();
        say(info);
        std::process::abort();
    }));
}

impl Running {
    /// The addresses listened on, with the ports the kernel chose.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.force.addresses()
    }

    /// Where status and commands are, if anywhere.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(crate::admin::Thread::address)
    }

    /// Waits for signals: reloads, and drains in the end; a second signal to end, or the drain timeout, ends it at
    /// once.
    pub fn wait(mut self) -> ExitCode {
        loop {
            match self.events.recv() {
                Ok(Event::Failed(i, error)) => return failed(i, &error),
                Ok(Event::Reload) => self.reload(),
                Ok(Event::Renamed) => self.rename(),
                Ok(Event::Drain) => return self.drain(false),
                Ok(Event::Stop | Event::Drained) | Err(_) => return self.drain(true),
            }
        }
    }

    fn open(&self) -> u64 {
        self.crew.open().map(u64::from).sum()
    }

    /// Reads the configuration anew and puts it in force; a bad one changes nothing. Whoever asked is told.
    fn reload(&mut self) {
        let outcome = self.try_reload();
        match &outcome {
            Ok(line) => log::info!("{line}"),
            Err(report) => {
                log::error!("not reloaded, nothing has changed:");
                report.lines().for_each(|line| log::error!("{line}"));
            }
        }
        self.outcomes.ended(outcome.is_ok(), sys::process::since_boot());
        while let Ok(asked) = self.reloads.try_recv() {
            let _ = asked.send(outcome.clone());
        }
    }

    fn try_reload(&mut self) -> Result<String, String> {
        let settled = self.is_settled();
        let Some(source) = &self.source else {
            return Err("no configuration file to read: this process was started without --config".to_owned());
        };
        if !settled {
            return Err("a worker has not taken the configuration before it yet".to_owned());
        }
        let Wanted { config, log_level, warnings } = source()?;
        let (mut changed, fixed) = changes(self.force.config(), &config);
        if log_level != log::max_level() {
            changed.push(format!("log_level is now {}", log_level.as_str().to_lowercase()));
        }
        let config = config::keep_fixed(self.force.config(), config);
        // First, since it may wait for names: what a reload that fails takes back has then just been made.
        self.names.follow(urls(&config));
        let before = self.force.addresses();
        let log = prepare(&mut self.access, config.access_log.as_ref()).map_err(|error| error.to_string());
        let followed = log.and_then(|log| {
            let refused = |(address, error)| format!("cannot listen on {address}: {error}");
            self.follow(config, log).map_err(refused)
        });
        let now = self.force.config();
        self.names.forget_others(urls(now), now.resolve_interval);
        followed?;
        log::set_max_level(log_level);
        warnings.iter().for_each(|warning| log::warn!("{warning}"));
        fixed.iter().for_each(|what| log::warn!("{what} changes with a restart only"));
        changed.iter().for_each(|line| log::info!("reload: {line}"));
        for address in self.force.addresses().iter().filter(|address| !before.contains(address)) {
            log::info!("listening on {address}");
        }
        Ok(format!("reloaded: {}", count(changed.len() as u64, "change")))
    }

    /// Takes over the addresses that names stand for now.
    fn rename(&mut self) {
        if !self.is_settled() {
            log::warn!("addresses are taken over later: a worker has not taken those before them yet");
            return;
        }
        let names = Arc::clone(&self.names);
        self.force.rename(&|url| names.addresses(url), self.now());
        self.tell(Sockets::default());
    }

    /// Puts a configuration in force. What can fail comes first, and then nothing has changed.
    fn follow(&mut self, config: Config, log: Option<access::Next>) -> Result<(), force::Refused> {
        let (names, now) = (Arc::clone(&self.names), self.now());
        let token = config.admin.as_ref().and_then(|admin| admin.token.clone());
        let sockets = match self.force.follow(config, &|url| names.addresses(url), &self.fixtures, now) {
            Ok(sockets) => sockets,
            Err(refused) => {
                log.into_iter().for_each(access::Next::forget);
                return Err(refused);
            }
        };
        *self.token.write().unwrap_or_else(PoisonError::into_inner) = token;
        log.into_iter().for_each(|log| self.access.follow(log));
        self.tell(sockets);
        Ok(())
    }

    /// Milliseconds since the process began; 0 is before that.
    fn now(&self) -> u64 {
        (self.began.elapsed().as_millis() as u64).max(1)
    }

    /// Every worker has what it was told last: the next step may use numbers again that the one before it has given
    /// up.
    fn is_settled(&mut self) -> bool {
        self.awaited -= self.dones.try_iter().take(self.awaited).count();
        self.awaited == 0
    }

    /// Tells all threads what is in force, and waits until every worker has it.
    fn tell(&mut self, sockets: Sockets) {
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(self.force.table());
        self.probe.replace(Arc::clone(self.force.table()));
        let Sockets { opened, closed } = sockets;
        let (done, dones) = bounded(self.count);
        (self.dones, self.awaited) = (dones, self.count);
        let renewals = (0..self.count).map(|_| Renewal {
            table: Arc::clone(self.force.table()),
            settings: Arc::clone(self.force.settings()),
            access: self.access.queue(),
            closed: closed.clone(),
            done: done.clone(),
        });
        if let Err(error) = self.crew.renew(renewals) {
            log::error!("cannot wake a worker: {error}");
        }
        drop(done);
        let deadline = Instant::now() + limits::RELOAD_PATIENCE;
        while self.awaited > 0 {
            match self.dones.recv_deadline(deadline) {
                Ok(()) => self.awaited -= 1,
                Err(_) => {
                    let patience = limits::RELOAD_PATIENCE;
                    log::error!(
                        "a worker has not taken the new configuration within {patience:?}; \
                         new listeners wait for the next reload"
                    );
                    self.unopened.extend(opened);
                    return;
                }
            }
        }
        let opened: Vec<_> = self.unopened.drain(..).chain(opened).collect();
        if let Err(error) = self.crew.listen(by_worker(opened, self.count).into_iter()) {
            log::error!("cannot wake a worker: {error}");
        }
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
            let url = backend.url();
            log::warn!("backend {url} is this evenkeel itself: requests to it would go in circles");
        }
    }
}
