//! Moving bytes between a connection and a buffer.

use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr};

mod pipe;

pub use pipe::Pipe;

use crate::id::{BackendId, PoolId};
use rustix::net::{RecvFlags, SendFlags, recv, send};

/// A stream of bytes that never blocks: `WouldBlock` where it would have to.
pub trait Transport {
    /// Reads once; 0 is the end of the stream.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize>;
    /// Writes once, as much as is taken.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Ends our side; the peer's may go on.
    fn shutdown_write(&mut self);
    /// The peer's address and our own.
    fn ends(&self) -> io::Result<(SocketAddr, SocketAddr)> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Makes the close that follows a reset: the peer shall not take what it got for all.
    fn abort(&mut self);
    /// Bytes can go from one such stream to another through a pipe.
    const SPLICES: bool = false;
    /// Moves up to `most` bytes into the pipe; see [`Pipe::fill`].
    fn splice_in(&mut self, _pipe: &mut Pipe, _most: usize) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Whether nothing more can be read, where a pipe took nothing: it stops at the mark of urgent data as at the end.
    fn has_ended(&mut self) -> bool {
        false
    }
    /// Moves what the pipe holds to the peer; see [`Pipe::drain`].
    fn splice_out(&mut self, _pipe: &mut Pipe) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Outcome of a connect begun earlier: true when it stands, false when it is still under way.
    fn connected(&mut self) -> io::Result<bool>;
}

/// An accepted stream that nothing is known of but where it came from.
#[derive(Debug)]
pub struct Newcomer<S> {
    /// The stream.
    pub stream: S,
    /// The client's address.
    pub peer: IpAddr,
    /// The client's port.
    pub port: u16,
    /// Position of the listener that it came to.
    pub listener: u16,
    /// It counts among its client's connections.
    pub counted: bool,
    /// Requests begun on it so far.
    pub requests: u64,
}

/// Where transports come from and who tells of their readiness.
pub trait Net {
    /// The kind of stream.
    type Stream: Transport;
    /// Begins a connect; events about it will carry `token`.
    fn dial(&mut self, address: SocketAddr, token: usize) -> io::Result<Self::Stream>;
    /// Counts a stream that was accepted and is closed.
    fn closed(&self) {}
    /// Another worker with clearly fewer streams, if there is one.
    fn lighter(&self) -> Option<usize> {
        None
    }
    /// Undoes [`Self::register`], so that the stream can be passed on; false where that cannot be.
    fn deregister(&mut self, _stream: &mut Self::Stream) -> bool {
        false
    }
    /// Gives a stream that is not registered to that worker; gets it back when it is not taken.
    fn pass(&self, _to: usize, newcomer: Newcomer<Self::Stream>) -> Result<(), Newcomer<Self::Stream>> {
        Err(newcomer)
    }
    /// Asks other workers to close an unused stream to a backend that has all it may have.
    fn ask_for_room(&self, _backend: BackendId) {}
    /// Tells another worker that there may be room for the first of its line.
    fn give_turn(&self, _worker: usize, _pool: PoolId) {}
    /// Events about an accepted stream will carry `token`.
    fn register(&mut self, stream: &mut Self::Stream, token: usize) -> io::Result<()>;
}

/// Straight to the kernel: in a process of several threads the C library makes every recv and send a point of
/// cancellation, which costs more than the call around it.
impl Transport for mio::net::TcpStream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let (taken, _) = recv(&*self, into, RecvFlags::empty())?;
        Ok(taken)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(send(&*self, bytes, SendFlags::NOSIGNAL)?)
    }

    const SPLICES: bool = true;

    fn splice_in(&mut self, pipe: &mut Pipe, most: usize) -> io::Result<usize> {
        pipe.fill(&*self, most)
    }

    fn splice_out(&mut self, pipe: &mut Pipe) -> io::Result<usize> {
        pipe.drain(&*self)
    }

    fn has_ended(&mut self) -> bool {
        matches!(recv(&*self, &mut [0], RecvFlags::PEEK), Ok((0, _)))
    }

    fn shutdown_write(&mut self) {
        // It fails only when the peer has gone, which the next read tells.
        let _ = self.shutdown(Shutdown::Write);
    }

    fn ends(&self) -> io::Result<(SocketAddr, SocketAddr)> {
        Ok((self.peer_addr()?, self.local_addr()?))
    }

    fn abort(&mut self) {
        crate::sys::socket::reset_on_close(self);
    }

    fn connected(&mut self) -> io::Result<bool> {
        if let Some(error) = self.take_error()? {
            return Err(error);
        }
        match self.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }
}
