//! The response's way: from the backend's bytes to the client's socket.

use super::connection::{Phase, Read, Stage, read};
use super::generation;
use super::pump::{Flow, Pump};
use super::scratch::Scratch;
use super::tunnel::Way;
use crate::buffer::Buffer;
use crate::exchange::{Cause, Taking};
use crate::limits;
use crate::slab::Key;
use crate::stats::Counter;
use crate::transport::{Net, Transport};

impl<N: Net> Pump<N> {
    /// Moves an exchange on, in both directions.
    pub(super) fn relay(&mut self, scratch: &mut Scratch, key: Key) -> Flow {
        let down = &self.downstreams[key];
        let Some(flight_key) = down.flight else { return Flow::Over };
        if down.ready.failed {
            return self.fail(scratch, key, Cause::ClientClosed);
        }
        match self.flights[flight_key].stage {
            Stage::Delay => return Flow::Blocked,
            Stage::Queued { since } => return self.queued(scratch, key, flight_key, since),
            Stage::Connecting { addresses } => return self.connecting(scratch, key, flight_key, addresses),
            Stage::Open => {}
        }
        if self.tunnel_is_over(key, flight_key) {
            // What the client said last has reached nobody.
            return match self.is_refused(flight_key) {
                true => self.fail(scratch, key, Cause::BackendReset),
                false => self.finish(key, flight_key),
            };
        }
        let pushed = self.push_request(scratch, key, flight_key);
        // The push may have ended the exchange, or begun it anew elsewhere.
        if pushed == Flow::Over || self.flights.get(flight_key).is_none_or(|f| f.stage != Stage::Open) {
            return pushed;
        }
        let pulled = self.pull_response(scratch, key, flight_key);
        if pulled == Flow::Blocked { pushed } else { pulled }
    }

    fn pull_response(&mut self, scratch: &mut Scratch, key: Key, flight_key: Key) -> Flow {
        if self.downstreams[key].output.is_some() {
            match self.flush(key) {
                Flow::Moved if self.flights[flight_key].exchange.is_tunnel() => self.arm_stall(key),
                Flow::Moved => {}
                flow => return flow,
            }
        }
        let flight = &mut self.flights[flight_key];
        if flight.exchange.response_done() && flight.response_pipe.is_none() {
            if flight.downstream_shut {
                return Flow::Blocked;
            }
            flight.downstream_shut = true;
            self.downstreams[key].stream.shutdown_write();
            return Flow::Moved;
        }
        let Some(up_key) = flight.upstream else { return Flow::Blocked };
        if N::Stream::SPLICES
            && (flight.response_pipe.is_some() || flight.exchange.response_rest() >= limits::SPLICE)
            && self.upstreams[up_key].input.is_none()
            && let Some(flow) = self.splice_response(scratch, key, flight_key, up_key)
        {
            return flow;
        }
        let up = &mut self.upstreams[up_key];
        if !up.ready.readable {
            return Flow::Blocked;
        }
        let scanned = up.input.as_ref().map_or(0, |input| input.filled().len());
        scratch.load(&mut up.input, &mut self.pool);
        match read(&mut up.stream, &mut up.ready, scratch.room()) {
            Read::Bytes(n) => {
                scratch.add(n);
                self.count_upstream(flight_key, 0, n as u64);
            }
            Read::Blocked => {
                up.input = scratch.rest(0, &mut self.pool);
                return Flow::Blocked;
            }
            Read::Ended if !up.reset => return self.response_closed(scratch, key, flight_key),
            Read::Ended | Read::Failed => {
                let cause = self.flights[flight_key].exchange.response_broken();
                return self.fail(scratch, key, cause);
            }
        }
        self.take_response(scratch, key, flight_key, up_key, scanned)
    }

    fn take_response(
        &mut self,
        scratch: &mut Scratch,
        key: Key,
        flight_key: Key,
        up_key: Key,
        scanned: usize,
    ) -> Flow {
        let keep = !self.draining && !self.was_last_request(key);
        let flight = &mut self.flights[flight_key];
        let begun = flight.exchange.response_begun();
        let awaited = flight.exchange.awaits_backend();
        let (input, out) = scratch.split();
        let pool = self.table.pool(flight.pool);
        let line = generation::line(&self.settings, &self.past, flight.place);
        let taking = Taking {
            keep,
            edits: &line.response,
            added: flight.cookie(pool),
            again: flight.statuses_to_retry(pool, self.now),
        };
        let took = match flight.exchange.response(input, scanned, &taking, out) {
            Ok(took) => took,
            Err(cause) => return self.fail(scratch, key, cause),
        };
        let up = &mut self.upstreams[up_key];
        up.input = scratch.rest(took.consumed, &mut self.pool);
        if !begun && flight.exchange.response_begun() {
            self.answered(flight_key);
            self.count_answer(flight_key);
            self.count_reply(key, Some(flight_key), 0, self.flights[flight_key].exchange.status());
            let flight = &mut self.flights[flight_key];
            // Sent again is only what was not answered; what has not left yet goes on leaving.
            if flight.whole && flight.request.as_ref().is_some_and(Buffer::is_empty) {
                let answered = flight.request.take();
                answered.into_iter().for_each(|buffer| self.pool.give(buffer));
            }
        }
        let flight = &mut self.flights[flight_key];
        if awaited && !flight.exchange.awaits_backend() {
            // From now on it is the client that may keep the body waiting.
            (flight.body_since, flight.body_bytes) = (self.now, 0);
        }
        let done = flight.exchange.is_done();
        let timeouts = &generation::line(&self.settings, &self.past, flight.place).timeouts;
        let wait = match (flight.exchange.is_tunnel(), flight.exchange.response_begun()) {
            (true, _) => {
                flight.carry(Way::Down, scratch.input().len() as u64);
                self.tunnel_wait(flight_key)
            }
            (false, true) => timeouts.stall.as_millis() as u64,
            (false, false) => timeouts.response.as_millis() as u64,
        };
        if self.send_down(key, scratch.joined(&took)) == Flow::Over {
            return Flow::Over;
        }
        if done {
            return self.finish(key, flight_key);
        }
        // A head has its time in all, however many pieces it comes in.
        if took.consumed > 0 {
            self.arm(key, wait);
        }
        Flow::Moved
    }

    /// The backend has closed: the end of some responses, a failure of others.
    fn response_closed(&mut self, scratch: &mut Scratch, key: Key, flight_key: Key) -> Flow {
        let flight = &mut self.flights[flight_key];
        if let Err(cause) = flight.exchange.response_closed(&mut scratch.outbox) {
            return self.fail(scratch, key, cause);
        }
        let done = !flight.exchange.is_tunnel();
        if self.send_down(key, &scratch.outbox) == Flow::Over {
            return Flow::Over;
        }
        if done { self.finish(key, flight_key) } else { Flow::Moved }
    }

    /// Both sides of a tunnel have ended, and all that they said has left.
    fn tunnel_is_over(&self, key: Key, flight_key: Key) -> bool {
        let flight = &self.flights[flight_key];
        flight.exchange.is_tunnel()
            && flight.exchange.is_done()
            && self.downstreams[key].output.is_none()
            && flight.request.is_none()
    }

    /// The exchange is over: the upstream is kept if it is clean, the downstream goes on or closes.
    pub(super) fn finish(&mut self, key: Key, flight_key: Key) -> Flow {
        let exchange = &self.flights[flight_key].exchange;
        let (keep, unread) = (exchange.keeps_downstream(), exchange.request_unread());
        let keep_upstream = exchange.keeps_upstream();
        if self.was_last_request(key) && !self.is_left_behind(key) {
            self.stats.add(Counter::RequestsSpent, 1);
        }
        self.count_total(flight_key);
        self.count_left(key, flight_key);
        self.settle(flight_key, self.outcome(flight_key));
        self.end_flight(flight_key, keep_upstream);
        self.end_line(key);
        let down = &mut self.downstreams[key];
        down.flight = None;
        if keep {
            down.phase = Phase::Head;
            self.arm_idle(key);
        } else {
            down.phase = Phase::Flush { linger: unread || down.input.is_some() };
            self.arm_stall(key);
        }
        Flow::Moved
    }
}
