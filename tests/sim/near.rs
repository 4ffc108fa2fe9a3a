//! The balancer's way to the simulated network.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::rc::Rc;

use evenkeel::transport::{Net, Newcomer, Pipe, Transport};

use crate::kernel::Kernel;
use crate::line::Connect;
use crate::net::{Host, Splits, Wires, shown};
use crate::pipe::End;

/// Bytes that one call splices at most.
const SPLICED: usize = 48 * 1024;

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

/// The far end's address and the near end's.
pub(crate) fn ends(line: usize) -> (SocketAddr, SocketAddr) {
    let [.., high, low] = line.to_be_bytes();
    (SocketAddr::from(([203, 0, high, low], 4_000)), SocketAddr::from(([198, 51, 100, 1], 443)))
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

    fn ends(&self) -> io::Result<(SocketAddr, SocketAddr)> {
        Ok(ends(self.id))
    }

    fn abort(&mut self) {
        self.aborted = true;
    }

    const SPLICES: bool = true;

    fn splice_in(&mut self, pipe: &mut Pipe, most: usize) -> io::Result<usize> {
        let wires = &mut *self.wires.borrow_mut();
        let line = &wires.lines[self.id];
        if line.inbound.is_at_mark() && !line.broken {
            // A pipe does not get past it, and takes it for the end where that has come.
            return if line.fin_seen { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) };
        }
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

    fn has_ended(&mut self) -> bool {
        let line = &self.wires.borrow().lines[self.id];
        line.fin_seen && line.inbound.arrived() == 0
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
        wires.lines[id].address = Some(address);
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
