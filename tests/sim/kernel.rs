//! The kernel's side of splice(2): what moves between our byte queues and the balancer's real pipes.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};

use evenkeel::transport::Pipe;
use rustix::pipe::{PipeFlags, pipe_with};

/// A pipe of our own that stands for a socket; empty between calls.
#[derive(Debug)]
pub(crate) struct Kernel {
    out: File,
    into: File,
}

impl Kernel {
    pub(crate) fn new() -> Self {
        let (out, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).expect("a pipe can be made");
        Self { out: out.into(), into: into.into() }
    }

    /// Moves bytes into the balancer's pipe; how many it had room for.
    pub(crate) fn fill(&mut self, pipe: &mut Pipe, bytes: &[u8]) -> io::Result<usize> {
        let offered = self.into.write(bytes)?;
        let moved = match pipe.fill(&self.out, offered) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            moved => moved?,
        };
        self.out.read_exact(&mut vec![0; offered - moved])?;
        Ok(moved)
    }

    /// Moves bytes out of the balancer's pipe.
    pub(crate) fn drain(&mut self, pipe: &mut Pipe) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; pipe.drain(&self.into)?];
        self.out.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}
