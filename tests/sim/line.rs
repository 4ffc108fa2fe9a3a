//! One connection, with what the kernel knows of its near end: its state, its errors, its events.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use evenkeel::worker::Ready;

use crate::pipe::{End, Pipe};
use crate::rng::Rng;

/// Where a connect stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connect {
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
    pub(crate) inbound: Pipe,
    /// Near to far.
    pub(crate) outbound: Pipe,
    pub(crate) connect: Connect,
    /// What the balancer dialled.
    pub(crate) address: Option<SocketAddr>,
    /// The near end is watched under this token.
    pub(crate) token: Option<usize>,
    pub(crate) near_open: bool,
    pub(crate) far_open: bool,
    /// Something happened that epoll has not told yet.
    pub(crate) edge: bool,
    /// The far end's last byte has come; a reset behind it changes nothing for a reader.
    pub(crate) fin_seen: bool,
    /// The near end has seen a reset, or its connect failed.
    pub(crate) broken: bool,
    /// The error of that, which the first call takes away (`SO_ERROR`).
    pub(crate) error: bool,
    /// Chance in a hundred that a pipe delivers in one turn.
    pub(crate) pace: u64,
}

impl Line {
    /// As epoll's mask, read the way mio reads it.
    pub(crate) fn state(&self) -> Ready {
        let ended = self.inbound.end_arrived() == End::Fin;
        let shut = self.outbound.end() != End::Open;
        Ready {
            readable: self.inbound.arrived() > 0 || ended || self.broken,
            writable: self.outbound.space() > 0 || self.broken || shut,
            ended: ended || self.broken,
            urgent: self.inbound.is_marked(),
            failed: self.error,
        }
    }

    pub(crate) fn near_read(&mut self, into: &mut [u8]) -> io::Result<usize> {
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

    pub(crate) fn near_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.broken || self.outbound.end() != End::Open {
            let reset = std::mem::take(&mut self.error) && !self.fin_seen;
            return Err(if reset { ErrorKind::ConnectionReset } else { ErrorKind::BrokenPipe }.into());
        }
        match self.outbound.put(bytes) {
            0 if !bytes.is_empty() => Err(ErrorKind::WouldBlock.into()),
            taken => Ok(taken),
        }
    }

    pub(crate) fn near_close(&mut self, aborted: bool, rng: &mut Rng) {
        self.near_open = false;
        if aborted || self.inbound.arrived() > 0 {
            self.outbound.reset(rng);
        } else {
            self.outbound.fin();
        }
    }
}
