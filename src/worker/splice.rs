//! Large bodies of known length, and tunnels while they carry much: from socket to socket by splice(2), without a
//! copy.

use std::io;

use super::connection::Ready;
use super::pump::{Flow, Pump};
use super::scratch::Scratch;
use super::tunnel::Way;
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
    /// It has, or stands at a mark of urgent data: a read tells.
    sender_ended: bool,
    sender_failed: bool,
    receiver_failed: Option<io::Error>,
    /// Bytes left in the pipe.
    held: usize,
    /// Bytes that may still come.
    rest: u64,
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
    // Its slots are for pages, and a segment may be of larger ones: it would take more than its size.
    let room = limits::PIPE.saturating_sub(pipe.held());
    let most = usize::try_from(left).unwrap_or(usize::MAX).min(room);
    if most > 0 && sender_ready.readable {
        let was_empty = pipe.held() == 0;
        match sender.splice_in(pipe, most) {
            Ok(0) => (turn.sender_ended, sender_ready.urgent) = (true, true),
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
    turn.held = pipe.held();
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
        if self.pipes_lent >= self.settings.pipes {
            return None;
        }
        let pipe = self.pipes.take().or_else(|| Pipe::new().ok())?;
        self.pipes_lent += 1;
        Some(pipe)
    }

    /// Takes a pipe back; one that still holds bytes of an exchange is closed.
    pub(super) fn give_pipe(&mut self, pipe: Pipe) {
        self.pipes_lent -= 1;
        if pipe.held() == 0 {
            self.pipes.give(pipe);
        }
    }

    /// One turn of an exchange's pipe, which is kept while it holds something or more is to come; `None` when it must
    /// be copied for want of a pipe.
    fn through_pipe(&mut self, key: Key, flight_key: Key, up_key: Key, way: Way) -> Option<Turn> {
        let flight = &mut self.flights[flight_key];
        let urgent = match way {
            Way::Up => self.downstreams[key].ready.urgent,
            Way::Down => self.upstreams[up_key].ready.urgent,
        };
        let (place, rest) = flight.way(way);
        let rest = if urgent { 0 } else { rest };
        let mut pipe = match place.take() {
            Some(pipe) if urgent && pipe.held() == 0 => {
                self.give_pipe(pipe);
                return None;
            }
            Some(pipe) => pipe,
            None if rest < limits::SPLICE => return None,
            None => self.take_pipe()?,
        };
        let (down, up) = (&mut self.downstreams[key], &mut self.upstreams[up_key]);
        let client = (&mut down.stream, &mut down.ready);
        let backend = (&mut up.stream, &mut up.ready);
        let flight = &mut self.flights[flight_key];
        let mut turn = match way {
            Way::Up => turn(client, backend, &mut pipe, rest),
            Way::Down => turn(backend, client, &mut pipe, rest),
        };
        match way {
            Way::Up => flight.exchange.request_moved(turn.taken),
            Way::Down => flight.exchange.response_moved(turn.taken),
        }
        flight.carry(way, turn.taken);
        if turn.held == 0 {
            flight.calm_down(way, turn.taken);
        }
        let (place, rest) = flight.way(way);
        turn.rest = rest;
        if turn.held == 0 && rest == 0 {
            self.give_pipe(pipe);
        } else {
            *place = Some(pipe);
        }
        Some(turn)
    }

    /// Moves a response body on; `None` when it must be copied for want of a pipe.
    pub(super) fn splice_response(
        &mut self,
        s: &mut Scratch,
        key: Key,
        flight_key: Key,
        up_key: Key,
    ) -> Option<Flow> {
        let turn = self.through_pipe(key, flight_key, up_key, Way::Down)?;
        self.count_out(key, turn.given);
        self.count_upstream(flight_key, 0, turn.taken);
        let exchange = &self.flights[flight_key].exchange;
        if turn.receiver_failed.is_some() {
            return Some(self.client_gone(key));
        }
        // The kernel tells of a reset once; after that the stream looks as if it had ended.
        self.upstreams[up_key].reset |= turn.sender_failed;
        // What is in the pipe still belongs to the client before the failure is dealt with.
        if turn.held == 0 && turn.sender_failed {
            let cause = exchange.response_broken();
            return Some(self.fail(s, key, cause));
        }
        if turn.held == 0 && exchange.is_done() {
            return Some(self.finish(key, flight_key));
        }
        if turn.taken == 0 && turn.given == 0 {
            let (from, to) = (self.upstreams[up_key].ready, self.downstreams[key].ready);
            return Some(waits(turn.held, from, to));
        }
        self.arm_stall(key);
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
        let turn = self.through_pipe(key, flight_key, up_key, Way::Up)?;
        let flight = &mut self.flights[flight_key];
        flight.sent |= turn.given > 0;
        flight.whole = false;
        let tunnel = flight.exchange.is_tunnel();
        self.count_in(key, turn.taken);
        self.count_taken(flight_key, turn.taken);
        self.count_upstream(flight_key, turn.given, 0);
        if turn.held > 0 {
            // It is the backend that keeps the body waiting.
            let flight = &mut self.flights[flight_key];
            (flight.body_since, flight.body_bytes) = (self.now, 0);
        } else if !tunnel && self.body_is_too_slow(flight_key, turn.taken as usize) {
            return Some(self.fail(s, key, Cause::ClientStall));
        }
        let gone = turn.sender_ended && !tunnel && self.downstreams[key].stream.has_ended();
        if turn.sender_failed || gone {
            return Some(self.fail(s, key, Cause::ClientClosed));
        }
        if let Some(error) = turn.receiver_failed {
            return Some(self.stop_request(flight_key, &error));
        }
        if turn.taken == 0 && turn.given == 0 {
            let (from, to) = (self.downstreams[key].ready, self.upstreams[up_key].ready);
            return Some(waits(turn.held, from, to));
        }
        if turn.held == 0 && turn.rest == 0 && !tunnel {
            self.arm(key, self.line(flight_key).timeouts.response.as_millis() as u64);
        } else {
            self.arm_stall(key);
        }
        Some(Flow::Moved)
    }
}
