//! What a worker keeps of each connection, and of each exchange in flight.

use std::io;
use std::net::{IpAddr, SocketAddr};

use super::access::Note;
use super::generation::Place;
use super::tunnel::Carried;
use crate::balance::choice::Counted;
use crate::buffer::Buffer;
use crate::exchange::Exchange;
use crate::id::{BackendId, PoolId};
use crate::limits;
use crate::proto::proxy::Ends;
use crate::slab::Key;
use crate::transport::{Pipe, Transport};

/// What the kernel last said of a socket, less what was used up since. Bits are set by events and cleared by
/// a call that would have blocked, or that moved less than it could.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ready {
    /// A read may give something.
    pub readable: bool,
    /// A write may be taken.
    pub writable: bool,
    /// The peer has sent its last byte: a short read is followed by the end, and no event will say so.
    pub ended: bool,
    /// Urgent data has come, or what a pipe takes for the end: reads stop short at its mark, and a pipe does not get
    /// beyond it. From then on the connection is read until a read would block.
    pub urgent: bool,
    /// The connection is broken.
    pub failed: bool,
}

impl Ready {
    /// What an event says.
    pub(super) fn of(event: &mio::event::Event) -> Self {
        Self {
            readable: event.is_readable(),
            writable: event.is_writable(),
            ended: event.is_read_closed(),
            urgent: event.is_priority(),
            // A hang-up alone says that both sides have ended, and what the peer sent last may still wait.
            failed: event.is_error(),
        }
    }

    /// Adds what an event says.
    pub(super) fn note(&mut self, seen: Ready) {
        self.readable |= seen.readable | seen.ended | seen.failed;
        self.writable |= seen.writable;
        self.ended |= seen.ended;
        self.urgent |= seen.urgent;
        self.failed |= seen.failed;
    }
}

/// Outcome of one read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    Bytes(usize),
    Ended,
    Blocked,
    Failed,
}

/// Reads once. A short read has drained the socket, unless its end is still to be read.
pub(super) fn read<S: Transport>(stream: &mut S, ready: &mut Ready, into: &mut [u8]) -> Read {
    debug_assert!(!into.is_empty());
    match stream.read(into) {
        Ok(0) => Read::Ended,
        Ok(n) => {
            ready.readable = n == into.len() || ready.ended || ready.urgent;
            Read::Bytes(n)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            ready.readable = false;
            Read::Blocked
        }
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Read::Bytes(0),
        Err(_) => Read::Failed,
    }
}

/// Writes once; how much was taken. A short write says that the socket is full.
pub(super) fn write<S: Transport>(stream: &mut S, ready: &mut Ready, bytes: &[u8]) -> io::Result<usize> {
    let taken = match stream.write(bytes) {
        Ok(n) => n,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(0),
        Err(error) => return Err(error),
    };
    ready.writable = taken == bytes.len();
    Ok(taken)
}

/// A client's connection.
#[derive(Debug)]
pub(super) struct Downstream<S> {
    pub(super) stream: S,
    pub(super) ready: Ready,
    pub(super) phase: Phase,
    /// On the run queue.
    pub(super) queued: bool,
    /// The kernel tells of its readiness: not before the first wait for it.
    pub(super) registered: bool,
    /// Position of the listener that it came to.
    pub(super) listener: u16,
    pub(super) peer: IpAddr,
    pub(super) port: u16,
    /// When it was accepted, or the first byte of the head came that it waits for, in microseconds.
    pub(super) since_us: u64,
    /// What it says of a request's way so far is believed.
    pub(super) trusted: bool,
    /// Whether it began with a PROXY header is settled.
    pub(super) announced: bool,
    /// What that header said.
    pub(super) ends: Option<Box<Ends>>,
    /// It counts among its client's connections.
    pub(super) counted: bool,
    /// Requests begun on it.
    pub(super) requests: u64,
    /// Read and not yet understood.
    pub(super) input: Option<Buffer>,
    /// Bytes of `input` in which no end of head was found.
    pub(super) scanned: u32,
    /// To be written before anything else is.
    pub(super) output: Option<Buffer>,
    /// The exchange, in [`Phase::Flight`].
    pub(super) flight: Option<Key>,
    /// When its present wait is given up, in the worker's milliseconds.
    pub(super) deadline: u64,
    /// When the wheel reminds of the deadline; never later than it.
    pub(super) reminder: u64,
}

impl<S> Downstream<S> {
    /// Waits for a first byte, of its first or next request, and owes the client none.
    pub(super) fn is_unused(&self) -> bool {
        let waits = matches!(self.phase, Phase::Head | Phase::Opening);
        waits && self.input.is_none() && self.output.is_none()
    }
}

/// What a downstream is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Was just accepted at a listener that is not plain HTTP.
    Opening,
    /// Waits for a request, or for the rest of its head.
    Head,
    /// Has an exchange in flight.
    Flight,
    /// Is closed as soon as its output has left, and lingers if the client may still be sending.
    Flush { linger: bool },
    /// Our side is closed; what still comes is thrown away, so many bytes at most.
    Linger { left: u32 },
}

/// Our connection to a backend.
#[derive(Debug)]
pub(super) struct Upstream<S> {
    pub(super) stream: S,
    pub(super) ready: Ready,
    pub(super) backend: BackendId,
    /// Where it leads.
    pub(super) address: SocketAddr,
    /// The backend is no longer there.
    pub(super) left: bool,
    /// The downstream it serves; `None` while it is idle.
    pub(super) owner: Option<Key>,
    /// A part of a response head.
    pub(super) input: Option<Buffer>,
    /// It has carried an exchange before the present one.
    pub(super) reused: bool,
    /// A write was told that the backend has reset: a read would say no more than that it has ended.
    pub(super) reset: bool,
    /// When it became idle.
    pub(super) idle_since: u64,
    /// From when on it is not used again.
    pub(super) idle_until: u64,
}

/// An exchange with what it holds on to.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) exchange: Exchange,
    /// Where its line is.
    pub(super) place: Place,
    pub(super) stage: Stage,
    pub(super) upstream: Option<Key>,
    pub(super) pool: PoolId,
    /// The backend that it is tried at.
    pub(super) backend: Option<BackendId>,
    /// What it is counted in there.
    pub(super) counted: Counted,
    /// It is the one request that tries a backend which is out.
    pub(super) trial: bool,
    /// What its answer says of the backend has been taken down.
    pub(super) judged: bool,
    /// Hash of the key that chooses its backend.
    pub(super) key: Option<u64>,
    /// The backend that its client sticks to.
    pub(super) sticky: Option<BackendId>,
    /// Its client's hash, where the backend that answers is remembered by it.
    pub(super) client: Option<u64>,
    /// Place of its method among those counted apart.
    pub(super) method: u8,
    /// When its head was complete, in microseconds.
    pub(super) began_us: u64,
    /// When the present try began, in microseconds.
    pub(super) tried_at: u64,
    /// Position of the backend's address that is tried first; the preferred one may change meanwhile.
    pub(super) first_address: u16,
    /// The request as it is to be sent, or the part of it that waits to be; consumed as it leaves.
    pub(super) request: Option<Buffer>,
    /// What is under way to the backend without a copy.
    pub(super) request_pipe: Option<Pipe>,
    /// What is under way to the client without a copy.
    pub(super) response_pipe: Option<Pipe>,
    /// Turns of each pipe, one behind the other, that brought little.
    pub(super) request_calm: u8,
    pub(super) response_calm: u8,
    /// `request` holds the request from its first byte to its last.
    pub(super) whole: bool,
    /// Since when the client alone keeps the body waiting, and what it brought since.
    pub(super) body_since: u64,
    pub(super) body_bytes: u64,
    /// What is told of a connection that is balanced as a whole, when it ends.
    pub(super) carried: Option<Box<Carried>>,
    /// A backend has failed it: it counts as a retry when it is given one again.
    pub(super) again: bool,
    /// A byte of the request was taken by the present upstream.
    pub(super) sent: bool,
    /// The tunnel's end was passed on to the backend.
    pub(super) upstream_shut: bool,
    /// The tunnel's end was passed on to the client.
    pub(super) downstream_shut: bool,
    pub(super) retries: u8,
    pub(super) tried: Tried,
    /// What the access log is to say of it, where there is one.
    pub(super) note: Option<Box<Note>>,
}

/// How far an exchange has come with its upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Waits before the next try.
    Delay,
    /// Waits for a backend that has room, since then.
    Queued { since: u64 },
    /// Waits for a connect to this many addresses, the backend's preferred one first.
    Connecting { addresses: u16 },
    /// Has a connected upstream.
    Open,
}

/// Backends that are passed over because they were tried in vain.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tried {
    backends: [Option<BackendId>; limits::RETRIES_MAX as usize],
    len: u8,
    /// By place: it had all the connections it may have, which is no failure.
    full: u16,
}

const _: () = assert!(limits::RETRIES_MAX as u32 <= u16::BITS, "each place has a bit");

impl Tried {
    pub(super) fn push(&mut self, backend: BackendId, full: bool) {
        if let Some(place) = self.backends.get_mut(usize::from(self.len)) {
            *place = Some(backend);
            self.full |= u16::from(full) << self.len;
            self.len += 1;
        }
    }

    pub(super) fn all(&self) -> &[Option<BackendId>] {
        &self.backends[..usize::from(self.len)]
    }

    /// No further one can be passed over.
    pub(super) fn has_most(&self) -> bool {
        usize::from(self.len) == self.backends.len()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Those that only were full need not be passed over any more.
    pub(super) fn forget_full(&mut self) {
        let old = std::mem::take(self);
        let failed = old.all().iter().enumerate().filter(|(place, _)| old.full >> place & 1 == 0);
        failed.filter_map(|(_, backend)| *backend).for_each(|backend| self.push(backend, false));
    }
}
