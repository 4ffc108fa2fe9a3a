//! The last metres to the client: what it has not taken yet, and a close that it can hear.

use super::connection::{Phase, Read, read, write};
use super::pump::{Flow, Pump};
use super::scratch::Scratch;
use crate::limits;
use crate::slab::Key;
use crate::transport::{Net, Transport};

impl<N: Net> Pump<N> {
    /// Writes what waits for the client; `Blocked` while some is left.
    pub(super) fn flush(&mut self, key: Key) -> Flow {
        let down = &mut self.downstreams[key];
        let Some(output) = &mut down.output else { return Flow::Moved };
        if !down.ready.writable {
            return if down.ready.failed { self.client_gone(key) } else { Flow::Blocked };
        }
        let Ok(taken) = write(&mut down.stream, &mut down.ready, output.filled()) else {
            return self.client_gone(key);
        };
        output.consume(taken);
        let left = !output.is_empty();
        self.count_out(key, taken as u64);
        if left {
            if taken > 0 {
                self.arm_stall(key);
            }
            return Flow::Blocked;
        }
        let empty = self.downstreams[key].output.take();
        empty.into_iter().for_each(|buffer| self.pool.give(buffer));
        Flow::Moved
    }

    /// Sends to the client; what it does not take now waits.
    pub(super) fn send_down(&mut self, key: Key, bytes: &[u8]) -> Flow {
        let down = &mut self.downstreams[key];
        debug_assert!(down.output.is_none(), "what waits must leave first");
        if bytes.is_empty() {
            return Flow::Moved;
        }
        let taken = if down.ready.writable {
            match write(&mut down.stream, &mut down.ready, bytes) {
                Ok(taken) => taken,
                Err(_) => return self.client_gone(key),
            }
        } else {
            0
        };
        self.count_out(key, taken as u64);
        if taken < bytes.len() {
            self.downstreams[key].output = Some(self.pool.copy(&bytes[taken..]));
        }
        Flow::Moved
    }

    pub(super) fn flush_and_close(&mut self, key: Key, linger: bool) -> Flow {
        match self.flush(key) {
            Flow::Moved if linger => {
                let down = &mut self.downstreams[key];
                down.stream.shutdown_write();
                down.phase = Phase::Linger { left: limits::LINGER_BYTES };
                self.arm(key, limits::LINGER_TIMEOUT.as_millis() as u64);
                Flow::Moved
            }
            Flow::Moved => self.close_downstream(key),
            flow => flow,
        }
    }

    /// RFC 9112 section 9.6: reads on for a while, so that a reset does not destroy our last answer.
    pub(super) fn linger(&mut self, scratch: &mut Scratch, key: Key, left: u32) -> Flow {
        let down = &mut self.downstreams[key];
        if !down.ready.readable {
            return Flow::Blocked;
        }
        scratch.load(&mut None, &mut self.pool);
        match read(&mut down.stream, &mut down.ready, scratch.room()) {
            Read::Bytes(n) if (n as u32) < left => {
                down.phase = Phase::Linger { left: left - n as u32 };
                Flow::Moved
            }
            Read::Blocked => Flow::Blocked,
            Read::Bytes(_) | Read::Ended | Read::Failed => self.close_downstream(key),
        }
    }
}
