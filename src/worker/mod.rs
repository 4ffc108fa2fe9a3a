//! A worker: one thread, one event loop, its own listeners and its own connections.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Waker};

use crate::balance::Table;
use crate::limits;
use crate::stats::Block;
use crate::transport::Net;

mod connection;
mod dispatch;
mod idle;
pub mod pump;
mod request;
mod response;
mod scratch;
mod splice;
pub mod token;

pub use connection::Ready;
pub use pump::{Pump, Settings};
pub use token::Token;

/// What a worker can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Stop accepting, let exchanges end, then return.
    Drain,
}

/// The way to tell a worker something.
#[derive(Debug)]
pub struct Handle {
    commands: Sender<Command>,
    waker: Waker,
}

impl Handle {
    /// Sends first and wakes second, so that a woken worker finds the command.
    pub fn send(&self, command: Command) -> io::Result<()> {
        // A full channel holds the same commands already; a closed one belongs to a worker that has ended.
        let _ = self.commands.try_send(command);
        self.waker.wake()
    }
}

/// Streams from mio, all registered with one worker's poll.
#[derive(Debug)]
pub struct Sockets {
    registry: Registry,
}

impl Net for Sockets {
    type Stream = TcpStream;

    fn dial(&mut self, address: SocketAddr, token: usize) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        self.register(&mut stream, token)?;
        Ok(stream)
    }

    fn register(&mut self, stream: &mut TcpStream, token: usize) -> io::Result<()> {
        self.registry.register(stream, mio::Token(token), Interest::READABLE | Interest::WRITABLE)
    }
}

/// A listener with what is known of its queue.
#[derive(Debug)]
struct Listener {
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
    commands: Receiver<Command>,
    began: Instant,
    /// Milliseconds since it began, as of this tick: the only look at the clock.
    now: u64,
    /// Accepting is paused until then, in milliseconds since it began.
    paused_until: u64,
    pruned: u64,
}

impl Worker {
    /// A worker with its listeners, one for each listening address, in that order.
    pub fn new(
        listeners: Vec<std::net::TcpListener>,
        table: Arc<Table>,
        settings: Arc<Settings>,
        stats: Arc<Block>,
    ) -> io::Result<(Self, Handle)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), mio::Token(Token::Wake.pack()))?;
        let (sender, commands) = bounded(16);
        let mut watched = Vec::with_capacity(listeners.len());
        for (i, socket) in listeners.into_iter().enumerate() {
            let mut socket = TcpListener::from_std(socket);
            poll.registry().register(
                &mut socket,
                mio::Token(Token::Listener(i).pack()),
                Interest::READABLE,
            )?;
            watched.push(Listener { socket, ready: false });
        }
        let sockets = Sockets { registry: poll.registry().try_clone()? };
        let worker = Self {
            poll,
            events: Events::with_capacity(limits::EVENTS),
            listeners: watched,
            pump: Pump::new(sockets, table, settings, stats),
            commands,
            began: Instant::now(),
            now: 0,
            paused_until: 0,
            pruned: 0,
        };
        Ok((worker, Handle { commands: sender, waker }))
    }

    /// Runs until it has drained. An error means that the poll itself failed.
    pub fn run(mut self) -> io::Result<()> {
        while !self.pump.is_drained() {
            self.tick()?;
        }
        Ok(())
    }

    fn tick(&mut self) -> io::Result<()> {
        let timeout = self.timeout();
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        self.now = self.began.elapsed().as_millis() as u64;
        self.pump.set_now(self.now);
        self.pump.refresh();
        let mut woken = false;
        for event in &self.events {
            let ready = Ready {
                readable: event.is_readable(),
                writable: event.is_writable(),
                ended: event.is_read_closed(),
                failed: event.is_error() || event.is_write_closed(),
            };
            match Token::unpack(event.token().0) {
                Token::Listener(i) => self.listeners.iter_mut().skip(i).take(1).for_each(|l| l.ready = true),
                Token::Wake => woken = true,
                token => self.pump.event(token, ready),
            }
        }
        self.pump.run_queue();
        if self.accept() {
            self.pump.run_queue();
        }
        self.pump.expire();
        if woken {
            self.obey();
        }
        if self.now - self.pruned >= limits::PRUNE_INTERVAL.as_millis() as u64 {
            self.pruned = self.now;
            self.pump.prune_idle();
        }
        Ok(())
    }

    /// How long to sleep at most.
    fn timeout(&self) -> Option<Duration> {
        if self.pump.has_work() {
            return Some(Duration::ZERO);
        }
        let accept = self.listeners.iter().any(|l| l.ready).then_some(self.paused_until);
        let prune =
            (self.pump.idle_upstreams() > 0).then(|| self.pruned + limits::PRUNE_INTERVAL.as_millis() as u64);
        let due = [self.pump.next_expiry(), accept, prune].into_iter().flatten().min()?;
        Some(Duration::from_millis(due.saturating_sub(self.now)))
    }

    /// Accepts a batch from each listener; true when there was any.
    fn accept(&mut self) -> bool {
        if self.now < self.paused_until {
            return false;
        }
        let mut any = false;
        for i in 0..self.listeners.len() {
            for _ in 0..limits::ACCEPTS {
                if !self.listeners[i].ready {
                    break;
                }
                match self.listeners[i].socket.accept() {
                    Ok((stream, peer)) => {
                        any = true;
                        self.pump.accepted(stream, peer.ip(), i as u16);
                    }
                    Err(error) => self.accept_failed(i, &error),
                }
            }
        }
        any
    }

    fn accept_failed(&mut self, i: usize, error: &io::Error) {
        use io::ErrorKind::{ConnectionAborted, Interrupted, WouldBlock};
        match error.kind() {
            WouldBlock => self.listeners[i].ready = false,
            ConnectionAborted | Interrupted => {}
            _ => {
                if self.paused_until + 60_000 < self.now || self.paused_until == 0 {
                    log::warn!("cannot accept connections, those open go on: {error}");
                }
                self.paused_until = self.now + limits::ACCEPT_PAUSE.as_millis() as u64;
                // The queue is looked at again after the pause; `ready` stays set.
            }
        }
    }

    fn obey(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Drain => self.drain(),
            }
        }
    }

    /// Closing a listener resets the connections in its queue, so they are accepted first.
    fn drain(&mut self) {
        for listener in &mut self.listeners {
            crate::sys::socket::refuse_new(&listener.socket);
            listener.ready = true;
        }
        self.paused_until = 0;
        while self.accept() {}
        self.listeners.clear();
        self.pump.drain();
        self.pump.run_queue();
    }
}
