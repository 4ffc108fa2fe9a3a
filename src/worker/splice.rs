//! Large bodies of known length: from socket to socket by splice(2), without a copy.

use std::io;

use super::connection::Ready;
use super::pump::{Flow, Pump};
use super::scratch::Scratch;
use crate::exchange::Cause;
use crate::limits;
use crate::slab::Key;
use crate::transport::{Net, Pipe, Transport};

/// What one turn through a pipe came to.
#[derive(Debug, Default)]
struct Turn {
    /// Bytes taken from the sender.
    taken: u64,
    /// Bytes given to the receiver.
    given: u64,
    sender_ended: bool,
    sender_failed: bool,
    receiver_failed: Option<io::Error>,
}

/// Fills the pipe from one socket and drains it into the other, once each.
fn turn<S: Transport>(
    from: (&mut S, &mut Ready),
    to: (&mut S, &mut Ready),
    pipe: &mut Pipe,
    left: u64,
) -> Turn {
    let (sender, sender_ready) = from;
    let (receiver, receiver_ready) = to;
    let mut turn = Turn::default();
    if left > 0 && sender_ready.readable {
        let was_empty = pipe.held() == 0;
        match sender.splice_in(pipe, usize::try_from(left).unwrap_or(usize::MAX).min(limits::PIPE)) {
            Ok(0) => turn.sender_ended = true,
            Ok(n) => turn.taken = n as u64,
            // With bytes in the pipe it may be the pipe that has no room.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sender_ready.readable = !was_empty,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => turn.sender_failed = true,
        }
    }
    if pipe.held() > 0 && receiver_ready.writable {
        match receiver.splice_out(pipe) {
            Ok(n) => turn.given = n as u64,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => receiver_ready.writable = false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => turn.receiver_failed = Some(error),
        }
    }
    turn
}

/// Whether a turn that moved nothing would move something if it came again.
fn waits(held: usize, from: Ready, to: Ready) -> Flow {
    let goes_on = if held > 0 { to.writable } else { from.readable };
    if goes_on { Flow::Moved } else { Flow::Blocked }
}

impl<N: Net> Pump<N> {
    /// A pipe, the one used last first.
    fn take_pipe(&mut self) -> Option<Pipe> {
        self.pipes.pop().or_else(|| Pipe::new().ok())
    }

    /// Takes a pipe back; one that still holds bytes of an exchange is closed.
    pub(super) fn give_pipe(&mut self, pipe: Pipe) {
        if pipe.held() == 0 && self.pipes.len() < limits::SPARE_PIPES {
            self.pipes.push(pipe);
        }
    }

    /// Moves a response body on; `None` when it must be copied for want of a pipe.
    pub(super) fn splice_response(
        &mut self,
        s: &mut Scratch,
        key: Key,
        flight_key: Key,
        up_key: Key,
    ) -> Option<Flow> {
        let flight = &mut self.flights[flight_key];
        let mut pipe = match flight.response_pipe.take() {
            Some(pipe) => pipe,
            None if flight.exchange.response_rest() < limits::SPLICE => return None,
            None => self.take_pipe()?,
        };
        let (down, up) = (&mut self.downstreams[key], &mut self.upstreams[up_key]);
        let flight = &mut self.flights[flight_key];
        let from = (&mut up.stream, &mut up.ready);
        let turn =
            turn(from, (&mut down.stream, &mut down.ready), &mut pipe, flight.exchange.response_rest());
        flight.exchange.response_moved(turn.taken);
        let (held, done) = (pipe.held(), flight.exchange.is_done());
        self.count_out(key, turn.given);
        self.count_upstream(flight_key, 0, turn.taken);
        let flight = &mut self.flights[flight_key];
        if turn.receiver_failed.is_some() {
            return Some(self.close_downstream(key));
        }
        // What is in the pipe still belongs to the client before the failure is dealt with.
        if (turn.sender_ended || turn.sender_failed) && held == 0 {
            return Some(self.fail(s, key, Cause::ResponseCut));
        }
        if held == 0 && flight.exchange.response_rest() == 0 {
            self.give_pipe(pipe);
        } else {
            flight.response_pipe = Some(pipe);
        }
        if done && held == 0 {
            return Some(self.finish(key, flight_key));
        }
        if turn.taken == 0 && turn.given == 0 {
            let (from, to) = (self.upstreams[up_key].ready, self.downstreams[key].ready);
            return Some(waits(held, from, to));
        }
        self.arm(key, self.line(flight_key).timeouts.stall.as_millis() as u64);
        Some(Flow::Moved)
    }

    /// Moves a request body on; `None` when it must be copied for want of a pipe.
    pub(super) fn splice_request(
        &mut self,
        s: &mut Scratch,
        key: Key,
        flight_key: Key,
        up_key: Key,
    ) -> Option<Flow> {
        let flight = &mut self.flights[flight_key];
        let mut pipe = match flight.request_pipe.take() {
            Some(pipe) => pipe,
            None if flight.exchange.request_rest() < limits::SPLICE => return None,
            None => self.take_pipe()?,
        };
        let (down, up) = (&mut self.downstreams[key], &mut self.upstreams[up_key]);
        let flight = &mut self.flights[flight_key];
        let to = (&mut up.stream, &mut up.ready);
        let turn = turn((&mut down.stream, &mut down.ready), to, &mut pipe, flight.exchange.request_rest());
        flight.exchange.request_moved(turn.taken);
        flight.sent |= turn.given > 0;
        flight.whole = false;
        self.count_in(key, turn.taken);
        self.count_upstream(flight_key, turn.given, 0);
        if self.body_is_too_slow(flight_key, turn.taken as usize) {
            return Some(self.fail(s, key, Cause::ClientStall));
        }
        let flight = &mut self.flights[flight_key];
        if turn.sender_ended || turn.sender_failed {
            return Some(self.fail(s, key, Cause::ClientClosed));
        }
        if let Some(error) = turn.receiver_failed {
            return Some(self.stop_request(flight_key, &error));
        }
        let (held, rest) = (pipe.held(), flight.exchange.request_rest());
        if held == 0 && rest == 0 {
            self.give_pipe(pipe);
        } else {
            flight.request_pipe = Some(pipe);
        }
        if turn.taken == 0 && turn.given == 0 {
            let (from, to) = (self.downstreams[key].ready, self.upstreams[up_key].ready);
            return Some(waits(held, from, to));
        }
        let timeouts = &self.line(flight_key).timeouts;
        let wait = if held == 0 && rest == 0 { timeouts.response } else { timeouts.stall };
        self.arm(key, wait.as_millis() as u64);
        Some(Flow::Moved)
    }
}
