//! A worker: one thread, one event loop, its own listeners and its own connections.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::Receiver;
use mio::net::{TcpListener, TcpStream};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Waker};

use crate::access::Queue;
use crate::balance::Table;
use crate::id::{BackendId, PoolId};
use crate::limits;
use crate::proto::h1::request_id::RequestIds;
use crate::stats::{Block, Counter};
use crate::sys::{self, alarm::Alarm};
use crate::transport::{Net, Newcomer};

mod access;
mod clock;
mod connection;
mod count;
pub mod crew;
mod cut;
mod dispatch;
mod expiry;
mod flush;
mod generation;
mod idle;
mod opening;
mod pipes;
pub mod pump;
mod queue;
mod release;
mod reply;
mod request;
mod response;
mod scratch;
mod splice;
pub mod token;
mod trust;
mod tunnel;

pub use connection::Ready;
use crew::{Command, Place};
pub use crew::{Crew, Renewal};
pub use pump::{Pump, Settings};
pub use token::Token;

/// Streams from mio, all registered with one worker's poll.
#[derive(Debug)]
pub struct Sockets {
    registry: Registry,
    place: Place,
}

impl Sockets {
    fn registry(&self) -> &Registry {
        &self.registry
    }
}

impl Net for Sockets {
    type Stream = TcpStream;

    fn dial(&mut self, address: SocketAddr, token: usize) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        self.register(&mut stream, token)?;
        Ok(stream)
    }

    fn closed(&self) {
        self.place.closed();
    }

    fn lighter(&self) -> Option<usize> {
        self.place.lighter()
    }

    fn pass(&self, to: usize, newcomer: Newcomer<TcpStream>) -> Result<(), Newcomer<TcpStream>> {
        self.place.pass(to, newcomer)
    }

    fn deregister(&mut self, stream: &mut TcpStream) -> bool {
        self.registry.deregister(stream).is_ok()
    }

    fn ask_for_room(&self, backend: BackendId) {
        self.place.ask_for_room(backend);
    }

    fn give_turn(&self, worker: usize, pool: PoolId) {
        self.place.give_turn(worker, pool);
    }

    fn register(&mut self, stream: &mut TcpStream, token: usize) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
        self.registry.register(stream, mio::Token(token), interest)
    }
}

/// A listener with what is known of its queue.
#[derive(Debug)]
struct Listener {
    /// What its connections know it by.
    number: u16,
    socket: TcpListener,
    /// The queue may hold connections.
    ready: bool,
}

/// One worker, before and while its thread runs it.
#[derive(Debug)]
pub struct Worker {
    poll: Poll,
    events: Events,
    listeners: Vec<Listener>,
    pump: Pump<Sockets>,
    place: Place,
    commands: Receiver<Command>,
    stats: Arc<Block>,
    /// Client connections of all workers together.
    connections: u64,
    alarm: Alarm,
    /// When it rings, in milliseconds since the process began.
    alarm_at: u64,
    /// Never sleep in the poll.
    busy_poll: bool,
    began: Instant,
    /// Milliseconds since the process began, as of this tick: the only look at the clock.
    now: u64,
    /// Accepting is paused until then, in milliseconds since it began.
    paused_until: u64,
    /// From the first such pause until all who waited are in.
    paused: bool,
    /// When it is said that such pauses are over, unless one comes before.
    calm_at: u64,
    pruned: u64,
}

/// What [`workers`] builds each worker from.
#[derive(Debug)]
pub struct Parts {
    /// Its own listener for each listening address, by number.
    pub listeners: Vec<(u16, std::net::TcpListener)>,
    /// Its counters.
    pub stats: Arc<Block>,
    /// Where a line goes for each exchange.
    pub access: Option<Queue>,
}

/// All workers of a process, and the crew they are; their clocks count from `began`.
pub fn workers(
    parts: Vec<Parts>,
    table: &Arc<Table>,
    settings: &Arc<Settings>,
    began: Instant,
) -> io::Result<(Vec<Worker>, Arc<Crew>)> {
    let polls = parts.iter().map(|_| Poll::new()).collect::<io::Result<Vec<_>>>()?;
    let wakers =
        polls.iter().map(|poll| Waker::new(poll.registry(), mio::Token(Token::Wake.pack())).map(Arc::new));
    let (crew, ends) = Crew::new(wakers.collect::<io::Result<_>>()?);
    // Tells processes apart well enough: they do not start in the same nanosecond with the same number.
    let process = u64::from(unix().subsec_nanos()) << 8 ^ u64::from(std::process::id());
    let mut workers = Vec::with_capacity(parts.len());
    for (i, ((parts, poll), commands)) in parts.into_iter().zip(polls).zip(ends).enumerate() {
        let alarm = Alarm::new()?;
        let token = mio::Token(Token::Alarm.pack());
        poll.registry().register(&mut SourceFd(&alarm.descriptor()), token, Interest::READABLE)?;
        let place = Place::new(Arc::clone(&crew), i);
        let sockets = Sockets { registry: poll.registry().try_clone()?, place: place.clone() };
        let mut pump =
            Pump::new(i, sockets, Arc::clone(table), Arc::clone(settings), Arc::clone(&parts.stats));
        pump.log_to(parts.access);
        pump.number_requests(RequestIds::new(i, process ^ process >> 28));
        workers.push(Worker {
            events: Events::with_capacity(limits::EVENTS),
            listeners: watch(parts.listeners, poll.registry())?,
            poll,
            pump,
            stats: parts.stats,
            place,
            commands,
            connections: settings.connections,
            alarm,
            alarm_at: u64::MAX,
            busy_poll: settings.busy_poll,
            began,
            now: 0,
            paused_until: 0,
            paused: false,
            calm_at: u64::MAX,
            pruned: 0,
        });
    }
    Ok((workers, crew))
}

fn watch(sockets: Vec<(u16, std::net::TcpListener)>, registry: &Registry) -> io::Result<Vec<Listener>> {
    let watch = |(number, socket)| {
        let mut socket = TcpListener::from_std(socket);
        let token = mio::Token(Token::Listener(usize::from(number)).pack());
        registry.register(&mut socket, token, Interest::READABLE)?;
        Ok(Listener { number, socket, ready: false })
    };
    sockets.into_iter().map(watch).collect()
}

/// Time since 1970.
fn unix() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl Worker {
    /// Runs until it has drained. An error means that the poll itself failed.
    pub fn run(mut self) -> io::Result<()> {
        self.stats.runs_on(sys::process::thread());
        while !(self.pump.is_drained() && self.place.retire()) {
            self.tick()?;
        }
        self.pump.pass_last_lines();
        Ok(())
    }

    fn tick(&mut self) -> io::Result<()> {
        let timeout = self.timeout()?;
        let had_work = timeout == Some(Duration::ZERO) && !self.busy_poll;
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        let now_us = self.began.elapsed().as_micros() as u64;
        self.now = now_us / 1_000;
        self.pump.set_now(now_us);
        self.pump.follow_clock(|| unix().as_millis() as u64);
        self.pump.refresh();
        let mut woken = false;
        for event in &self.events {
            let ready = Ready::of(event);
            match Token::unpack(event.token().0) {
                Token::Listener(number) => {
                    let mut listeners = self.listeners.iter_mut();
                    listeners
                        .find(|l| usize::from(l.number) == number)
                        .into_iter()
                        .for_each(|l| l.ready = true);
                }
                Token::Wake => woken = true,
                Token::Alarm => self.alarm_at = u64::MAX,
                token => self.pump.event(token, ready),
            }
        }
        self.pump.run_queue();
        if self.pump.was_short() {
            // What clients let go of is for the backends of those inside.
            self.pause("no descriptor is left for connections to backends");
        }
        if self.accept() {
            self.pump.run_queue();
        }
        if self.now >= self.calm_at {
            self.calm_down();
        }
        self.pump.expire();
        if woken {
            self.obey();
            self.pump.run_queue();
        }
        if self.now - self.pruned >= limits::PRUNE_INTERVAL.as_millis() as u64 {
            self.pruned = self.now;
            self.pump.prune();
        }
        self.pump.pass_due_lines();
        if self.pump.is_measured() && (had_work || !self.events.is_empty()) {
            self.pump.count_buffers();
            self.stats.ticked((self.began.elapsed().as_micros() as u64).saturating_sub(now_us));
        }
        Ok(())
    }

    /// How long to sleep at most. The alarm ends the sleep when something is due, so it is only set here where
    /// it would ring too late.
    fn timeout(&mut self) -> io::Result<Option<Duration>> {
        if self.pump.has_work() || self.busy_poll {
            return Ok(Some(Duration::ZERO));
        }
        let accept = self.listeners.iter().any(|l| l.ready).then_some(self.paused_until);
        let spare = self.pump.idle_upstreams() > 0 || self.pump.has_pipes_to_spare();
        let prune = spare.then(|| self.pruned + limits::PRUNE_INTERVAL.as_millis() as u64);
        let due = [self.pump.next_expiry(), self.pump.lines_due(), accept, prune, Some(self.calm_at)]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(u64::MAX);
        if due <= self.now {
            return Ok(Some(Duration::ZERO));
        }
        if due < self.alarm_at {
            self.alarm_at = due;
            self.alarm.set(Duration::from_millis(due - self.now))?;
        }
        Ok(None)
    }

    /// Accepts a batch from each listener; true when there was any.
    fn accept(&mut self) -> bool {
        if self.now < self.paused_until {
            return false;
        }
        if !self.listeners.iter().any(|listener| listener.ready) {
            self.paused = false;
            return false;
        }
        let mut any = false;
        for i in 0..self.listeners.len() {
            for _ in 0..limits::ACCEPTS {
                if !self.listeners[i].ready {
                    break;
                }
                if self.place.total() >= self.connections {
                    self.pause("the limit of client connections is reached");
                    return any;
                }
                match self.listeners[i].socket.accept() {
                    Ok((stream, peer)) => {
                        any = true;
                        self.place.opened();
                        self.pump.accepted(Newcomer {
                            stream,
                            peer: peer.ip(),
                            port: peer.port(),
                            listener: self.listeners[i].number,
                            counted: false,
                            requests: 0,
                        });
                    }
                    Err(error) if self.accept_failed(i, &error) => return any,
                    Err(_) => {}
                }
            }
        }
        any
    }

    /// True when accepting pauses.
    fn accept_failed(&mut self, i: usize, error: &io::Error) -> bool {
        use io::ErrorKind::{ConnectionAborted, Interrupted, WouldBlock};
        match error.kind() {
            WouldBlock => self.listeners[i].ready = false,
            ConnectionAborted | Interrupted => {}
            _ => {
                self.pause(&error.to_string());
                return true;
            }
        }
        false
    }

    /// Stops accepting for a moment; the queue is looked at again then, because `ready` stays set.
    fn pause(&mut self, why: &str) {
        if self.listeners.is_empty() {
            return;
        }
        if self.place.pauses(self.now) {
            log::warn!("not accepting connections for now, those open go on: {why}");
        }
        self.stats.add(Counter::AcceptPauses, u64::from(!std::mem::replace(&mut self.paused, true)));
        self.paused_until = self.now + limits::ACCEPT_PAUSE.as_millis() as u64;
        self.calm_at = self.now + limits::ACCEPT_CALM.as_millis() as u64;
    }

    /// Says that the pauses are over.
    fn calm_down(&mut self) {
        self.calm_at = u64::MAX;
        if self.place.is_calm(self.now) {
            log::info!("accepting connections again");
        }
    }

    fn obey(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Drain => self.drain(),
                Command::Cut => self.pump.cut(),
                Command::Adopt(newcomer) => self.pump.adopt(newcomer),
                Command::MakeRoom(backend) => self.pump.make_room(backend),
                Command::TakeTurn(pool) => self.pump.take_turn(pool),
                Command::Renew(renewal) => self.renew(*renewal),
                Command::Open(sockets) => match watch(sockets, self.pump.net().registry()) {
                    Ok(listeners) => self.listeners.extend(listeners),
                    Err(error) => log::error!("a new listener cannot be watched: {error}"),
                },
            }
        }
    }

    /// Takes over a new configuration. A listener that is closed is emptied before.
    fn renew(&mut self, renewal: Renewal) {
        let Renewal { table, settings, access, closed, done } = renewal;
        self.empty(|listener| closed.contains(&listener.number));
        self.pump.replace(table, settings);
        self.pump.log_to(access);
        self.pump.refresh();
        // Nobody waits for it any more if this took too long.
        let _ = done.send(());
    }

    /// Closing a listener resets the connections in its queue, so they are accepted first.
    fn empty(&mut self, which: impl Fn(&Listener) -> bool) {
        for listener in self.listeners.iter_mut().filter(|listener| which(listener)) {
            sys::socket::refuse_new(&listener.socket);
            listener.ready = true;
        }
        self.paused_until = 0;
        while self.accept() {}
        self.listeners.retain(|listener| !which(listener));
    }

    fn drain(&mut self) {
        self.empty(|_| true);
        self.calm_at = u64::MAX;
        self.place.retire();
        self.pump.drain();
        self.pump.run_queue();
    }
}
