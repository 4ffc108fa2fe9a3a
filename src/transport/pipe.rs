//! A pipe in the kernel, through which bytes go from socket to socket without being copied.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice};

use crate::limits;

/// A pipe and how much is in it.
#[derive(Debug)]
pub struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
    held: usize,
}

impl Pipe {
    /// A new one; of the kernel's default size where a larger one is not granted. An error where not even that is.
    pub fn new() -> io::Result<Self> {
        let (out, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // A user has a quota of large pipes; a smaller one only takes more calls.
        let granted = fcntl_setpipe_size(&into, limits::PIPE).is_ok();
        // Beyond the quota a pipe has two pages.
        if !granted && fcntl_getpipe_size(&into)? < limits::PIPE_MIN {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        Ok(Self { out, into, held: 0 })
    }

    /// Bytes in it.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Moves up to `most` bytes in; 0 is the end of the stream. `WouldBlock` where the socket has none or the
    /// pipe no room.
    pub fn fill(&mut self, from: impl AsFd, most: usize) -> io::Result<usize> {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        let moved = splice(from, None, &self.into, None, most, flags)?;
        self.held += moved;
        Ok(moved)
    }

    /// Moves what it holds out, as far as the socket takes it.
    pub fn drain(&mut self, to: impl AsFd) -> io::Result<usize> {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        let moved = splice(&self.out, None, to, None, self.held, flags)?;
        self.held -= moved;
        Ok(moved)
    }
}
