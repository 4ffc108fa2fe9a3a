//! The simulated network: lines between the balancer (the near end) and everybody else (the far end), with
//! the readiness events that epoll would give, edge-triggered.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::rc::Rc;

use evenkeel::transport::{Net, Newcomer, Pipe, Transport};
use evenkeel::worker::Ready;

use crate::kernel::Kernel;
use crate::pipe::{self, End};
use crate::rng::Rng;

/// Bytes that one call splices at most.
const SPLICED: usize = 48 * 1024;

/// Where a connect stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connect {
    Stands,
    /// Ends at that time, well or not.
    Pending {
        due: u64,
        well: bool,
    },
    Refused,
}

/// One TCP connection.
#[derive(Debug)]
pub(crate) struct Line {
    /// Far to near.
    inbound: pipe::Pipe,
    /// Near to far.
    outbound: pipe::Pipe,
    connect: Connect,
    /// The near end is watched under this token.
    token: Option<usize>,
    near_open: bool,
    far_open: bool,
    /// Something happened that epoll has not told yet.
    edge: bool,
    /// The far end's last byte has come; a reset behind it changes nothing for a reader.
    fin_seen: bool,
    /// The near end has seen a reset, or its connect failed.
    broken: bool,
    /// The error of that, which the first call takes away (`SO_ERROR`).
    error: bool,
    /// Chance in a hundred that a pipe delivers in one turn.
    pace: u64,
}

/// What dialling an address leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    Up,
    Refuses,
    Blackhole,
    /// The dial itself fails: no route.
    Unroutable,
}

/// How bytes are cut up on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Splits {
    /// At random places.
    Random,
    /// Everything that was sent arrives at once.
    Whole,
}

/// All lines.
#[derive(Debug)]
pub(crate) struct Wires {
    pub(crate) now: u64,
    rng: Rng,
    splits: Splits,
    /// Bytes a socket takes at most.
    capacity: usize,
    lines: Vec<Line>,
    /// Lines with an end that is still open.
    live: Vec<usize>,
    /// Addresses that can be dialled.
    pub(crate) hosts: Vec<(SocketAddr, Host)>,
    /// Connects that a backend has yet to accept, with the address.
    pub(crate) arrivals: Vec<(usize, SocketAddr)>,
    /// Tokens of lines that the balancer has closed.
    stale: Vec<usize>,
    /// Calls by the balancer that got somewhere.
    pub(crate) moves: u64,
    /// Made when the first body is spliced.
    kernel: Option<Kernel>,
    /// What happened, when somebody wants to know.
    pub(crate) trace: Option<Vec<String>>,
}

/// How far a far end can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    Open,
    Ended,
    Reset,
}

impl Wires {
    pub(crate) fn new(rng: Rng, splits: Splits, capacity: usize, traced: bool) -> Self {
        Self {
            now: 0,
            rng,
            splits,
            capacity,
            lines: Vec::new(),
            live: Vec::new(),
            hosts: Vec::new(),
            arrivals: Vec::new(),
            stale: Vec::new(),
            moves: 0,
            kernel: None,
            trace: traced.then(Vec::new),
        }
    }

    pub(crate) fn say(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>6} {}", self.now, what()));
        }
    }

    fn line(&mut self, connect: Connect, token: Option<usize>) -> usize {
        let shares = [1, 2, 8];
        let mut capacity = || match self.splits {
            Splits::Random => (self.capacity / self.rng.pick(&shares)).max(40),
            Splits::Whole => self.capacity,
        };
        let (inbound, outbound) = (pipe::Pipe::new(capacity()), pipe::Pipe::new(capacity()));
        let pace = if self.splits == Splits::Whole { 100 } else { self.rng.pick(&[20, 50, 90, 100]) };
        self.lines.push(Line {
            inbound,
            outbound,
            connect,
            token,
            near_open: true,
            far_open: true,
            edge: false,
            fin_seen: false,
            broken: false,
            error: false,
            pace,
        });
        self.live.push(self.lines.len() - 1);
        self.lines.len() - 1
    }

    /// A client connects to the balancer.
    pub(crate) fn call(&mut self) -> usize {
        self.line(Connect::Stands, None)
    }

    /// Something is under way, or is still to be told.
    pub(crate) fn is_moving(&self) -> bool {
        let moves = |line: &Line| {
            let told = !line.edge || !line.near_open || line.token.is_none();
            line.inbound.is_moving() || line.outbound.is_moving() || !told
        };
        self.live.iter().any(|&id| moves(&self.lines[id]))
    }

    /// Ends connects, moves bytes and ends along.
    pub(crate) fn deliver(&mut self) {
        for at in 0..self.live.len() {
            let id = self.live[at];
            self.connects(id);
            let line = &mut self.lines[id];
            let go = self.rng.chance(line.pace);
            if go && line.inbound.deliver(&mut self.rng, self.splits, line.near_open) {
                line.edge = true;
                line.fin_seen |= line.inbound.end_arrived() == End::Fin;
                if !line.near_open && line.inbound.was_refused() {
                    line.outbound.reset(&mut self.rng);
                } else if line.inbound.end_arrived() == End::Reset && !line.broken {
                    (line.broken, line.error) = (true, true);
                }
            }
            let go = self.rng.chance(line.pace);
            if go
                && line.outbound.deliver(&mut self.rng, self.splits, line.far_open)
                && !line.far_open
                && line.outbound.was_refused()
            {
                line.inbound.reset(&mut self.rng);
            }
            if line.outbound.end_arrived() == End::Reset && line.inbound.end() == End::Open {
                line.inbound.end_silently();
            }
        }
        let lines = &self.lines;
        self.live.retain(|&id| lines[id].near_open || lines[id].far_open);
    }

    fn connects(&mut self, id: usize) {
        let now = self.now;
        let line = &mut self.lines[id];
        let Connect::Pending { due, well } = line.connect else { return };
        if due > now {
            return;
        }
        line.edge = true;
        if well {
            line.connect = Connect::Stands;
        } else {
            (line.connect, line.broken, line.error) = (Connect::Refused, true, true);
            line.far_open = false;
        }
    }

    /// When a pending connect ends, at the earliest.
    pub(crate) fn next_connect(&self) -> Option<u64> {
        let due = |&id: &usize| match self.lines[id].connect {
            Connect::Pending { due, .. } if self.lines[id].near_open && due < u64::MAX => Some(due),
            _ => None,
        };
        self.live.iter().filter_map(due).min()
    }

    /// What epoll tells, in any order, with some noise.
    pub(crate) fn events(&mut self) -> Vec<(usize, Ready)> {
        let mut told = Vec::new();
        let noise = self.splits == Splits::Random;
        for at in 0..self.live.len() {
            let id = self.live[at];
            let spurious = noise && self.rng.chance(1);
            let line = &mut self.lines[id];
            let (true, Some(token)) = (line.near_open && (line.edge || spurious), line.token) else {
                continue;
            };
            if matches!(line.connect, Connect::Pending { .. }) {
                continue;
            }
            line.edge = false;
            told.push((token, line.state()));
        }
        if noise && !self.stale.is_empty() && self.rng.chance(5) {
            let all = Ready { readable: true, writable: true, ended: true, failed: true };
            told.push((self.rng.pick(&self.stale), all));
        }
        if noise && told.len() > 1 {
            let turn = self.rng.below(told.len() as u64) as usize;
            told.rotate_left(turn);
        }
        told
    }
}

impl Line {
    /// As epoll's mask, read the way mio reads it.
    fn state(&self) -> Ready {
        let ended = self.inbound.end_arrived() == End::Fin;
        let shut = self.outbound.end() != End::Open;
        Ready {
            readable: self.inbound.arrived() > 0 || ended || self.broken,
            writable: self.outbound.space() > 0 || self.broken || shut,
            ended: ended || self.broken,
            failed: self.error,
        }
    }

    fn near_read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let taken = self.inbound.take(into);
        if taken > 0 || self.fin_seen {
            return Ok(taken);
        }
        if self.broken {
            return if std::mem::take(&mut self.error) {
                Err(ErrorKind::ConnectionReset.into())
            } else {
                Ok(0)
            };
        }
        Err(ErrorKind::WouldBlock.into())
    }

    fn near_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.broken || self.outbound.end() != End::Open {
            let reset = std::mem::take(&mut self.error) && !self.fin_seen;
            return Err(if reset { ErrorKind::ConnectionReset } else { ErrorKind::BrokenPipe }.into());
        }
        match self.outbound.put(bytes) {
            0 if !bytes.is_empty() => Err(ErrorKind::WouldBlock.into()),
            taken => Ok(taken),
        }
    }

    fn near_close(&mut self, aborted: bool, rng: &mut Rng) {
        self.near_open = false;
        if aborted || self.inbound.arrived() > 0 {
            self.outbound.reset(rng);
        } else {
            self.outbound.fin();
        }
    }
}

/// The far end's calls.
impl Wires {
    pub(crate) fn far_write(&mut self, id: usize, bytes: &[u8]) -> usize {
        let line = &mut self.lines[id];
        let taken = if line.inbound.end() == End::Open { line.inbound.put(bytes) } else { bytes.len() };
        if taken > 0 {
            self.say(|| format!("line {id} far sends {taken} bytes {}", shown(&bytes[..taken])));
        }
        taken
    }

    /// What has arrived, `most` bytes of it.
    pub(crate) fn far_read(&mut self, id: usize, most: usize) -> Vec<u8> {
        let line = &mut self.lines[id];
        let mut bytes = vec![0; line.outbound.arrived().min(most)];
        line.outbound.take(&mut bytes);
        line.edge |= line.outbound.has_eased();
        bytes
    }

    /// Whether more can come once all that arrived is read.
    pub(crate) fn far_tail(&self, id: usize) -> Tail {
        let line = &self.lines[id];
        match line.outbound.end_arrived() {
            _ if line.outbound.arrived() > 0 => Tail::Open,
            End::Open => Tail::Open,
            End::Fin => Tail::Ended,
            End::Reset => Tail::Reset,
        }
    }

    /// The balancer has not closed it.
    pub(crate) fn near_is_open(&self, id: usize) -> bool {
        self.lines[id].near_open
    }

    pub(crate) fn far_fin(&mut self, id: usize) {
        self.say(|| format!("line {id} far ends its side"));
        self.lines[id].inbound.fin();
    }

    pub(crate) fn far_reset(&mut self, id: usize) {
        self.say(|| format!("line {id} far resets"));
        let line = &mut self.lines[id];
        line.inbound.reset(&mut self.rng);
        line.far_open = false;
    }

    pub(crate) fn far_close(&mut self, id: usize) {
        if self.lines[id].outbound.arrived() > 0 {
            return self.far_reset(id);
        }
        self.say(|| format!("line {id} far closes"));
        let line = &mut self.lines[id];
        line.inbound.fin();
        line.far_open = false;
    }
}

fn shown(bytes: &[u8]) -> String {
    let (head, more) = (&bytes[..bytes.len().min(300)], if bytes.len() > 300 { "…" } else { "" });
    format!("\"{}{more}\"", head.escape_ascii())
}

/// A near end, owned by the balancer: dropping it closes the socket.
#[derive(Debug)]
pub(crate) struct Stream {
    id: usize,
    wires: Rc<RefCell<Wires>>,
    /// Its close is to be a reset.
    aborted: bool,
}

impl Stream {
    pub(crate) fn new(id: usize, wires: &Rc<RefCell<Wires>>) -> Self {
        Self { id, wires: Rc::clone(wires), aborted: false }
    }
}

impl Transport for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut wires = self.wires.borrow_mut();
        assert!(!into.is_empty(), "a read into nothing looks like an end");
        let done = wires.lines[self.id].near_read(into);
        if let Ok(taken) = done {
            wires.moves += 1;
            let id = self.id;
            wires.say(|| format!("line {id} near reads {taken} bytes"));
        }
        done
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut wires = self.wires.borrow_mut();
        let done = wires.lines[self.id].near_write(bytes);
        let id = self.id;
        match &done {
            Ok(taken) => {
                wires.moves += 1;
                wires.say(|| format!("line {id} near sends {taken} bytes {}", shown(&bytes[..*taken])));
            }
            Err(error) => wires.say(|| format!("line {id} near cannot send: {error}")),
        }
        done
    }

    fn shutdown_write(&mut self) {
        let mut wires = self.wires.borrow_mut();
        let id = self.id;
        wires.say(|| format!("line {id} near ends its side"));
        wires.moves += 1;
        let line = &mut wires.lines[id];
        if line.outbound.end() == End::Open {
            line.outbound.fin();
            line.edge |= line.inbound.end_arrived() == End::Fin;
        }
    }

    fn abort(&mut self) {
        self.aborted = true;
    }

    const SPLICES: bool = true;

    fn splice_in(&mut self, pipe: &mut Pipe, most: usize) -> io::Result<usize> {
        let wires = &mut *self.wires.borrow_mut();
        let mut bytes = vec![0; most.min(SPLICED)];
        let taken = wires.lines[self.id].near_read(&mut bytes)?;
        wires.moves += 1;
        let id = self.id;
        wires.say(|| format!("line {id} near splices {taken} bytes in"));
        if taken == 0 {
            return Ok(0);
        }
        let kernel = wires.kernel.get_or_insert_with(Kernel::new);
        let moved = kernel.fill(pipe, &bytes[..taken])?;
        wires.lines[id].inbound.put_back(&bytes[moved..taken]);
        if moved == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(moved) }
    }

    fn splice_out(&mut self, pipe: &mut Pipe) -> io::Result<usize> {
        let wires = &mut *self.wires.borrow_mut();
        let id = self.id;
        let line = &mut wires.lines[id];
        line.near_write(b"")?;
        if line.outbound.is_full() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let bytes = wires.kernel.get_or_insert_with(Kernel::new).drain(pipe)?;
        wires.lines[id].outbound.put_all(&bytes);
        wires.moves += 1;
        wires.say(|| format!("line {id} near splices {} bytes out", bytes.len()));
        Ok(bytes.len())
    }

    fn connected(&mut self) -> io::Result<bool> {
        let line = &mut self.wires.borrow_mut().lines[self.id];
        match line.connect {
            Connect::Pending { .. } => Ok(false),
            _ if std::mem::take(&mut line.error) => Err(ErrorKind::ConnectionRefused.into()),
            Connect::Stands => Ok(true),
            Connect::Refused => Ok(false),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut wires = self.wires.borrow_mut();
        let id = self.id;
        wires.say(|| format!("line {id} near closes"));
        let wires = &mut *wires;
        wires.moves += 1;
        let line = &mut wires.lines[id];
        line.near_close(self.aborted, &mut wires.rng);
        wires.stale.extend(line.token);
        if wires.stale.len() > 8 {
            wires.stale.remove(0);
        }
    }
}

/// The balancer's way to the network.
#[derive(Debug)]
pub(crate) struct SimNet {
    wires: Rc<RefCell<Wires>>,
    /// Given to another worker, who is always the same one again.
    passed: Rc<RefCell<Vec<Newcomer<Stream>>>>,
}

impl SimNet {
    pub(crate) fn new(wires: &Rc<RefCell<Wires>>, passed: &Rc<RefCell<Vec<Newcomer<Stream>>>>) -> Self {
        Self { wires: Rc::clone(wires), passed: Rc::clone(passed) }
    }
}

impl Net for SimNet {
    type Stream = Stream;

    fn dial(&mut self, address: SocketAddr, token: usize) -> io::Result<Stream> {
        let wires = &mut *self.wires.borrow_mut();
        let host = wires.hosts.iter().find(|(a, _)| *a == address).expect("the table has known addresses").1;
        wires.moves += 1;
        let slow = wires.splits == Splits::Random;
        let due = wires.now + if slow { wires.rng.pick(&[0, 0, 1, 5, 20]) } else { 0 };
        let connect = match host {
            Host::Unroutable => return Err(ErrorKind::NetworkUnreachable.into()),
            Host::Blackhole => Connect::Pending { due: u64::MAX, well: false },
            Host::Refuses => Connect::Pending { due, well: false },
            Host::Up => Connect::Pending { due, well: true },
        };
        let id = wires.line(connect, Some(token));
        wires.say(|| format!("line {id} near dials {address}: {host:?}"));
        if host == Host::Up {
            wires.arrivals.push((id, address));
        }
        Ok(Stream::new(id, &self.wires))
    }

    fn lighter(&self) -> Option<usize> {
        self.wires.borrow_mut().rng.chance(20).then_some(1)
    }

    fn pass(&self, _to: usize, newcomer: Newcomer<Stream>) -> Result<(), Newcomer<Stream>> {
        if self.wires.borrow_mut().rng.chance(20) {
            return Err(newcomer);
        }
        self.passed.borrow_mut().push(newcomer);
        Ok(())
    }

    fn register(&mut self, stream: &mut Stream, token: usize) -> io::Result<()> {
        let line = &mut self.wires.borrow_mut().lines[stream.id];
        assert!(line.token.is_none(), "a connection is registered once");
        // The kernel tells at once what is already so.
        (line.token, line.edge) = (Some(token), true);
        Ok(())
    }
}
