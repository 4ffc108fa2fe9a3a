//! A pump on streams in memory: whoever drives it plays the clients, the backends and the kernel, and every call
//! that would have gone to the kernel is written down. In steady state it allocates nothing itself.

use std::cell::{Ref, RefCell};
use std::hint::black_box;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use evenkeel::access;
use evenkeel::balance::Table;
use evenkeel::config::{self, AccessLog, BackendUrl, LogFormat, Pool};
use evenkeel::limits;
use evenkeel::stats::Block;
use evenkeel::transport::{Net, Newcomer, Transport};
use evenkeel::worker::{Pump, Ready, Settings, Token};

/// Who is at the other end of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Client,
    Backend,
}

/// A call that costs a system call where streams are sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Read(Peer),
    Write(Peer),
    Shutdown(Peer),
    Abort(Peer),
    Register,
    Dial,
    Connected,
}

/// One stream, as the kernel and the peer see it.
struct Line {
    peer: Peer,
    /// What events about it carry; `None` while nobody asked for events.
    token: Option<usize>,
    incoming: Vec<u8>,
    /// Bytes of `incoming` that were read.
    read: usize,
    outgoing: Vec<u8>,
    /// The pump has let go of it.
    closed: bool,
}

struct Kernel {
    lines: Vec<Line>,
    calls: Vec<Call>,
    /// Bytes that a write takes before it must wait.
    room: usize,
    /// The backend's line that was written to last.
    asked: Option<usize>,
    /// Lines of which an event is due: they took less than they were given, or their connect has ended.
    writable: Vec<usize>,
}

impl Kernel {
    fn open(&mut self, peer: Peer, token: Option<usize>) -> usize {
        self.lines.push(Line {
            peer,
            token,
            incoming: Vec::new(),
            read: 0,
            outgoing: Vec::new(),
            closed: false,
        });
        self.lines.len() - 1
    }
}

/// Where the pump's streams come from.
pub(crate) struct Streams(Rc<RefCell<Kernel>>);

/// One end of a [`Line`].
pub(crate) struct Stream {
    kernel: Rc<RefCell<Kernel>>,
    line: usize,
}

impl Transport for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let kernel = &mut *self.kernel.borrow_mut();
        let line = &mut kernel.lines[self.line];
        kernel.calls.push(Call::Read(line.peer));
        let rest = &line.incoming[line.read..];
        if rest.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let n = rest.len().min(into.len());
        into[..n].copy_from_slice(&rest[..n]);
        line.read += n;
        Ok(n)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let kernel = &mut *self.kernel.borrow_mut();
        let line = &mut kernel.lines[self.line];
        kernel.calls.push(Call::Write(line.peer));
        let n = bytes.len().min(kernel.room);
        line.outgoing.extend_from_slice(&bytes[..n]);
        if n < bytes.len() {
            kernel.writable.push(self.line);
        }
        if line.peer == Peer::Backend {
            kernel.asked = Some(self.line);
        }
        Ok(n)
    }

    fn shutdown_write(&mut self) {
        let kernel = &mut *self.kernel.borrow_mut();
        kernel.calls.push(Call::Shutdown(kernel.lines[self.line].peer));
    }

    fn abort(&mut self) {
        let kernel = &mut *self.kernel.borrow_mut();
        kernel.calls.push(Call::Abort(kernel.lines[self.line].peer));
    }

    fn connected(&mut self) -> io::Result<bool> {
        self.kernel.borrow_mut().calls.push(Call::Connected);
        Ok(true)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.kernel.borrow_mut().lines[self.line].closed = true;
    }
}

impl Net for Streams {
    type Stream = Stream;

    fn dial(&mut self, _: SocketAddr, token: usize) -> io::Result<Stream> {
        let mut kernel = self.0.borrow_mut();
        kernel.calls.push(Call::Dial);
        let line = kernel.open(Peer::Backend, Some(token));
        kernel.writable.push(line);
        Ok(Stream { kernel: Rc::clone(&self.0), line })
    }

    fn register(&mut self, stream: &mut Stream, token: usize) -> io::Result<()> {
        let mut kernel = self.0.borrow_mut();
        kernel.calls.push(Call::Register);
        kernel.lines[stream.line].token = Some(token);
        Ok(())
    }
}

/// A client's connection, by its line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client(usize);

/// One worker's pump with everything around it.
pub(crate) struct Balancer {
    pub(crate) pump: Pump<Streams>,
    kernel: Rc<RefCell<Kernel>>,
    now: u64,
    /// Milliseconds from one turn of the loop to the next.
    step: u64,
    pruned: u64,
    /// Where lines go, as long as this is here.
    _log: Option<access::Log>,
}

impl Balancer {
    /// With so many backends, all up. A write to any stream takes at most `room` bytes, the rest after an event;
    /// from one event to the next `step` milliseconds pass.
    pub(crate) fn new(backends: u16, room: usize, step: u64) -> Self {
        Self::with(backends, room, step, false, None)
    }

    /// As [`Self::new`]; where it is `watched`, somebody may ask what listeners, pools and backends have done. Each
    /// exchange leaves a line in the `log`.
    pub(crate) fn with(backends: u16, room: usize, step: u64, watched: bool, log: Option<LogFormat>) -> Self {
        let url = |i| BackendUrl { host: "backend.test".into(), port: 1 + i };
        let pool = Pool {
            backends: (0..backends).map(|i| config::Backend::new(url(i))).collect(),
            ..Pool::default()
        };
        let addresses = (0..backends).map(|i| vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 1 + i))]).collect();
        let table = Arc::new(Table::new(vec![(pool, addresses)], 1));
        let status_path = Some(limits::STATUS_PATH.to_owned());
        let settings = Arc::new(Settings { status_path, measured: watched, ..Settings::default() });
        let kernel = Kernel { lines: Vec::new(), calls: Vec::new(), room, asked: None, writable: Vec::new() };
        let kernel = Rc::new(RefCell::new(kernel));
        let mut pump = Pump::new(0, Streams(Rc::clone(&kernel)), table, settings, Arc::new(Block::default()));
        let log = log.map(|format| {
            let log = AccessLog { path: Some("/dev/null".into()), format };
            let mut kept = access::Log::none();
            let next = kept.prepare(Some(&log)).expect("/dev/null takes everything").expect("a new one");
            kept.follow(next);
            pump.log_to(kept.queue());
            kept
        });
        Self { pump, kernel, now: 0, step, pruned: 0, _log: log }
    }

    /// A client connects, its first bytes already there.
    pub(crate) fn connect(&mut self, first: &[u8]) -> Client {
        let line = {
            let mut kernel = self.kernel.borrow_mut();
            kernel.calls.clear();
            let line = kernel.open(Peer::Client, None);
            kernel.lines[line].incoming.extend_from_slice(first);
            line
        };
        let stream = Stream { kernel: Rc::clone(&self.kernel), line };
        let peer = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        self.pump.accepted(Newcomer { stream, peer, port: 0, listener: 0, counted: false, requests: 0 });
        self.tick(None);
        Client(line)
    }

    /// The client sends a piece. What it was sent before and the calls noted before are forgotten.
    pub(crate) fn send(&mut self, client: Client, piece: &[u8]) {
        {
            let mut kernel = self.kernel.borrow_mut();
            kernel.calls.clear();
            kernel.lines[client.0].outgoing.clear();
        }
        self.send_more(client, piece);
    }

    /// The client sends another piece; nothing is forgotten.
    pub(crate) fn send_more(&mut self, client: Client, piece: &[u8]) {
        self.arrive(client.0, piece);
    }

    /// The backend that was written to last sends a piece.
    pub(crate) fn answer(&mut self, piece: &[u8]) {
        let line = {
            let mut kernel = self.kernel.borrow_mut();
            let line = kernel.asked.expect("no request has reached a backend");
            kernel.lines[line].outgoing.clear();
            line
        };
        self.arrive(line, piece);
    }

    /// What the client was sent since [`Self::send`].
    pub(crate) fn received(&self, client: Client) -> Ref<'_, [u8]> {
        Ref::map(self.kernel.borrow(), |kernel| kernel.lines[client.0].outgoing.as_slice())
    }

    /// The calls made since [`Self::send`] or [`Self::connect`].
    pub(crate) fn calls(&self) -> Ref<'_, [Call]> {
        Ref::map(self.kernel.borrow(), |kernel| kernel.calls.as_slice())
    }

    fn arrive(&mut self, line: usize, piece: &[u8]) {
        {
            let line = &mut self.kernel.borrow_mut().lines[line];
            assert!(!line.closed, "the {:?} sends on a stream that the pump has closed", line.peer);
            if line.read == line.incoming.len() {
                line.incoming.clear();
                line.read = 0;
            }
            line.incoming.extend_from_slice(piece);
        }
        self.tick(Some(line));
    }

    /// One turn of the worker's loop, and as many more as it takes to come to rest.
    pub(crate) fn tick(&mut self, readable: Option<usize>) {
        self.now += self.step;
        self.pump.set_now(self.now * 1_000);
        self.pump.refresh();
        if let Some(line) = readable {
            self.tell(line, Ready { readable: true, writable: true, ..Ready::default() });
        }
        self.pump.run_queue();
        while let Some(line) = self.next_writable() {
            self.tell(line, Ready { writable: true, ..Ready::default() });
            self.pump.run_queue();
        }
        while self.pump.has_work() {
            self.pump.run_queue();
        }
        self.pump.expire();
        if self.now - self.pruned >= limits::PRUNE_INTERVAL.as_millis() as u64 {
            self.pruned = self.now;
            self.pump.prune_idle();
        }
        self.pump.pass_due_lines();
        // What the worker asks to know how long it may sleep: it is a part of what a turn costs.
        black_box((self.pump.next_expiry(), self.pump.idle_upstreams(), self.pump.lines_due()));
    }

    fn tell(&mut self, line: usize, seen: Ready) {
        let token = self.kernel.borrow().lines[line].token;
        let token = token.expect("a stream that nobody watches would wait for ever");
        self.pump.event(Token::unpack(token), seen);
    }

    fn next_writable(&mut self) -> Option<usize> {
        self.kernel.borrow_mut().writable.pop()
    }
}
