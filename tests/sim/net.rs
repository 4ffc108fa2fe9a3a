//! The simulated network: lines between the balancer (the near end) and everybody else (the far end), with
//! the readiness events that epoll would give, edge-triggered.

use std::net::SocketAddr;

use evenkeel::worker::Ready;

use crate::kernel::Kernel;
use crate::line::{Connect, Line};
use crate::pipe::{End, Pipe};
use crate::rng::Rng;

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
    pub(crate) rng: Rng,
    pub(crate) splits: Splits,
    /// Bytes a socket takes at most.
    capacity: usize,
    pub(crate) lines: Vec<Line>,
    /// Lines with an end that is still open.
    live: Vec<usize>,
    /// Addresses that can be dialled.
    pub(crate) hosts: Vec<(SocketAddr, Host)>,
    /// Connects that a backend has yet to accept, with the address.
    pub(crate) arrivals: Vec<(usize, SocketAddr)>,
    /// Tokens of lines that the balancer has closed.
    pub(crate) stale: Vec<usize>,
    /// Calls by the balancer that got somewhere.
    pub(crate) moves: u64,
    /// Made when the first body is spliced.
    pub(crate) kernel: Option<Kernel>,
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

    pub(crate) fn line(&mut self, connect: Connect, token: Option<usize>) -> usize {
        let shares = [1, 2, 8];
        let mut capacity = || match self.splits {
            Splits::Random => (self.capacity / self.rng.pick(&shares)).max(40),
            Splits::Whole => self.capacity,
        };
        let (inbound, outbound) = (Pipe::new(capacity()), Pipe::new(capacity()));
        let pace = if self.splits == Splits::Whole { 100 } else { self.rng.pick(&[20, 50, 90, 100]) };
        self.lines.push(Line {
            inbound,
            outbound,
            connect,
            address: None,
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
            let all = Ready { readable: true, writable: true, ended: true, urgent: false, failed: true };
            told.push((self.rng.pick(&self.stale), all));
        }
        if noise && told.len() > 1 {
            let turn = self.rng.below(told.len() as u64) as usize;
            told.rotate_left(turn);
        }
        told
    }
}

/// The far end's calls.
impl Wires {
    pub(crate) fn far_write(&mut self, id: usize, bytes: &[u8]) -> usize {
        let line = &mut self.lines[id];
        let taken = if line.inbound.end() == End::Open { line.inbound.put(bytes) } else { bytes.len() };
        if taken > 0 && self.splits == Splits::Random && self.rng.chance(2) {
            line.inbound.mark();
            self.say(|| format!("line {id} far sends urgent data"));
        }
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

    /// Lines to that address that the balancer has open.
    pub(crate) fn dialled(&self, address: SocketAddr) -> usize {
        let open = |id: &&usize| self.lines[**id].near_open && self.lines[**id].address == Some(address);
        self.live.iter().filter(open).count()
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

pub(crate) fn shown(bytes: &[u8]) -> String {
    let (head, more) = (&bytes[..bytes.len().min(300)], if bytes.len() > 300 { "…" } else { "" });
    format!("\"{}{more}\"", head.escape_ascii())
}
