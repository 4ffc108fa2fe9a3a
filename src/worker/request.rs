//! The request's way: from the client's bytes to the backend's socket.

use std::io;
use std::time::Duration;

use super::connection::{Flight, Phase, Read, Stage, Tried, read, write};
use super::expiry::has_line;
use super::pump::{Flow, Pump};
use super::scratch::Scratch;
use super::tunnel::Way;
use crate::balance::choice::Counted;
use crate::balance::hash;
use crate::config::Limits;
use crate::exchange::{Cause, Exchange, Found, Local, Opened, Rules, Took};
use crate::id::{BackendId, PoolId};
use crate::limits;
use crate::proto::h1::request::Forwarded;
use crate::proto::h1::{Refusal, scan};
use crate::slab::Key;
use crate::stats::Counter;
use crate::transport::{Net, Transport};

impl<N: Net> Pump<N> {
    /// Reads until a request head is complete, and begins its exchange.
    pub(super) fn receive_head(&mut self, scratch: &mut Scratch, key: Key) -> Flow {
        if self.downstreams[key].output.is_some() {
            let flow = self.flush(key);
            if flow == Flow::Moved {
                self.arm_idle(key);
            }
            return flow;
        }
        let down = &mut self.downstreams[key];
        let waiting = down.input.as_ref().map_or(0, |input| input.filled().len());
        let scanned = down.scanned as usize;
        if waiting > scanned {
            scratch.load(&mut down.input, &mut self.pool);
        } else if down.ready.readable {
            scratch.load(&mut down.input, &mut self.pool);
            match read(&mut down.stream, &mut down.ready, scratch.room()) {
                Read::Bytes(n) => scratch.add(n),
                Read::Blocked => {
                    down.input = scratch.rest(0, &mut self.pool);
                    return Flow::Blocked;
                }
                Read::Ended | Read::Failed => return self.head_broken(scratch, key),
            }
            self.count_in(key, (scratch.input().len() - waiting) as u64);
            if waiting == 0 {
                self.downstreams[key].since_us = self.now_us;
                self.arm(key, self.settings.timeouts.head.as_millis() as u64);
            }
        } else {
            return Flow::Blocked;
        }
        match find_head(scratch.input(), scanned, &self.settings.limits) {
            Ok(Scanned::Head { start, end }) => self.begin(scratch, key, start, end),
            // Empty lines are kept too: they are counted, and the time for a head has begun with them.
            Ok(Scanned::Part) => {
                let down = &mut self.downstreams[key];
                down.input = scratch.rest(0, &mut self.pool);
                down.scanned = scratch.input().len() as u32;
                Flow::Moved
            }
            Err(refusal) => self.refuse(scratch, key, refusal),
        }
    }

    /// The client is gone; what it had begun to say is told.
    fn head_broken(&mut self, scratch: &Scratch, key: Key) -> Flow {
        if has_line(scratch.input()) {
            self.note_refused(key, scratch.input());
            self.count_failure(key, Cause::ClientClosed);
            self.log_failure(key, Cause::ClientClosed, format_args!("gone within its head"));
        }
        self.close_downstream(key)
    }

    fn begin(&mut self, scratch: &mut Scratch, key: Key, start: usize, end: usize) -> Flow {
        self.stats.add(Counter::Requests, 1);
        let down = &mut self.downstreams[key];
        down.scanned = 0;
        down.requests += 1;
        let site = &self.settings.sites[usize::from(down.listener)];
        let forwarded = Forwarded {
            client: down.peer,
            scheme: "http",
            local: &site.local,
            trusted: down.trusted,
            id: &self.request_ids.next(self.clock.unix(self.now)),
        };
        let (input, out) = scratch.split();
        let rules = Rules {
            forwarded,
            status_path: self.settings.status_path.as_deref(),
            limits: &self.settings.limits,
            site,
            dice: self.dice.u64(..),
        };
        let Opened { mut exchange, line, pool, found, clients, local } =
            match Exchange::open(&input[start..end], &rules, out) {
                Ok(opened) => opened,
                Err(refusal) => return self.refuse(scratch, key, refusal),
            };
        let took = match exchange.request(&input[end..], out) {
            Ok(took) => took,
            Err(refusal) => return self.refuse(scratch, key, refusal),
        };
        let took = Took { consumed: end + took.consumed, pass: end + took.pass.start..end + took.pass.end };
        down.input = scratch.rest(took.consumed, &mut self.pool);
        let rates = site.lines[line].rates.iter().zip(clients);
        let refused =
            rates.filter_map(|((_, rate), client)| rate.admit_hash(client, self.now_us).err()).max();
        self.note_request(key, &scratch.input()[start..end], exchange.id());
        self.note_route(key, line);
        if let Some(wait) = refused {
            self.count_taken_at(self.place(key, line), took.consumed);
            return self.reply_limited(scratch, key, (&exchange, found.method), line, wait);
        }
        let Some(pool) = pool else {
            let asked = (&exchange, found.method);
            self.count_taken_at(self.place(key, line), took.consumed);
            return self.reply_locally(scratch, key, asked, line, local.unwrap_or(Local::Line));
        };
        let flight = self.insert_flight(key, exchange, line, pool, found);
        let down = &mut self.downstreams[key];
        (down.phase, down.flight) = (Phase::Flight, Some(flight));
        self.count_taken(flight, took.consumed as u64);
        let pool = self.flights[flight].pool;
        let attached = if self.must_queue(pool) { Err(Cause::BackendFull) } else { self.attach(key, flight) };
        match attached {
            Ok(()) => self.send_first(scratch, key, flight, &took),
            Err(cause) => {
                self.flights[flight].request = Some(self.pool.copy(scratch.joined(&took)));
                self.fail(scratch, key, cause)
            }
        }
    }

    pub(super) fn insert_flight(
        &mut self,
        key: Key,
        exchange: Exchange,
        line: usize,
        pool: PoolId,
        found: Found,
    ) -> Key {
        let (place, note) = (self.place(key, line), self.take_note());
        let pool = self.table.pool(pool);
        pool.request(self.worker);
        let client = pool.affinity().map(|_| hash::hash_address(self.downstreams[key].peer));
        let remembered = || pool.affinity()?.get(client?, self.now);
        let belongs = |&id: &BackendId| self.table.backend(id).serves(pool.id());
        self.count_flight(place);
        self.flights.insert(Flight {
            whole: exchange.request_done(),
            exchange,
            place,
            stage: Stage::Delay,
            upstream: None,
            pool: pool.id(),
            backend: None,
            counted: Counted::default(),
            trial: false,
            again: false,
            judged: false,
            key: found.hash,
            sticky: found.cookie.map_or_else(remembered, |value| pool.backend_of(value)).filter(belongs),
            client,
            method: found.method,
            began_us: self.now_us,
            tried_at: self.now_us,
            first_address: 0,
            request: None,
            request_pipe: None,
            response_pipe: None,
            request_calm: 0,
            response_calm: 0,
            body_since: self.now,
            body_bytes: 0,
            carried: None,
            sent: false,
            upstream_shut: false,
            downstream_shut: false,
            retries: pool.config().retry.retries,
            tried: Tried::default(),
            note,
        })
    }

    /// Sends the head with what is at hand of the body; keeps what must wait, or may have to be sent again.
    fn send_first(&mut self, scratch: &mut Scratch, key: Key, flight_key: Key, took: &Took) -> Flow {
        let flight = &mut self.flights[flight_key];
        let mut taken = 0;
        let bytes = scratch.joined(took);
        let mut stale = false;
        if let (Stage::Open, Some(up)) = (flight.stage, flight.upstream) {
            let up = &mut self.upstreams[up];
            match write(&mut up.stream, &mut up.ready, bytes) {
                Ok(n) => taken = n,
                Err(_) => stale = true,
            }
            flight.sent = taken > 0;
            self.count_upstream(flight_key, taken as u64, 0);
        }
        let flight = &mut self.flights[flight_key];
        let again = flight.whole && flight.exchange.is_idempotent();
        if taken < bytes.len() || again {
            let mut request = self.pool.copy(bytes);
            request.consume(taken);
            flight.request = Some(request);
        }
        if stale {
            return self.fail(scratch, key, Cause::ConnectionStale);
        }
        if self.flights[flight_key].stage == Stage::Open {
            self.arm_request(key, flight_key);
        }
        Flow::Moved
    }

    /// Moves the rest of the request: what waits for the backend's socket, then what the client sends.
    pub(super) fn push_request(&mut self, scratch: &mut Scratch, key: Key, flight_key: Key) -> Flow {
        let flight = &mut self.flights[flight_key];
        let Some(up_key) = flight.upstream else { return Flow::Blocked };
        if let Some(request) = flight.request.as_mut().filter(|request| !request.is_empty()) {
            let up = &mut self.upstreams[up_key];
            if !up.ready.writable {
                return Flow::Blocked;
            }
            let taken = match write(&mut up.stream, &mut up.ready, request.filled()) {
                Ok(taken) => taken,
                Err(_) if !flight.sent => return self.fail(scratch, key, Cause::ConnectionStale),
                Err(error) => return self.stop_request(flight_key, &error),
            };
            request.consume(taken);
            flight.sent |= request.whole().len() > request.filled().len();
            let left = !request.is_empty();
            let may_go_again = flight.whole && flight.exchange.is_idempotent();
            if !left && !may_go_again {
                let sent = flight.request.take();
                sent.into_iter().for_each(|buffer| self.pool.give(buffer));
            }
            if taken > 0 {
                self.count_upstream(flight_key, taken as u64, 0);
                self.arm_request(key, flight_key);
            }
            return if left { Flow::Blocked } else { Flow::Moved };
        }
        if N::Stream::SPLICES
            && (flight.request_pipe.is_some() || flight.exchange.request_rest() >= limits::SPLICE)
            && self.downstreams[key].input.is_none()
            && let Some(flow) = self.splice_request(scratch, key, flight_key, up_key)
        {
            return flow;
        }
        let flight = &mut self.flights[flight_key];
        if flight.exchange.request_done() {
            if flight.exchange.is_tunnel() && !flight.upstream_shut {
                flight.upstream_shut = true;
                self.upstreams[up_key].stream.shutdown_write();
                return Flow::Moved;
            }
            return Flow::Blocked;
        }
        self.pull_request(scratch, key, flight_key, up_key)
    }

    /// Reads more of the body and sends it on.
    fn pull_request(&mut self, scratch: &mut Scratch, key: Key, flight_key: Key, up_key: Key) -> Flow {
        let down = &mut self.downstreams[key];
        let waiting = down.input.is_some();
        if !waiting && !down.ready.readable {
            return Flow::Blocked;
        }
        scratch.load(&mut down.input, &mut self.pool);
        let flight = &mut self.flights[flight_key];
        if !waiting {
            match read(&mut down.stream, &mut down.ready, scratch.room()) {
                Read::Bytes(n) => scratch.add(n),
                Read::Blocked => return Flow::Blocked,
                Read::Ended => {
                    return match flight.exchange.request_closed() {
                        Ok(()) => Flow::Moved,
                        Err(cause) => self.fail(scratch, key, cause),
                    };
                }
                Read::Failed => return self.fail(scratch, key, Cause::ClientClosed),
            }
        }
        let (input, out) = scratch.split();
        let took = match flight.exchange.request(input, out) {
            Ok(took) => took,
            Err(refusal) => return self.fail(scratch, key, Cause::BadRequest(refusal)),
        };
        down.input = scratch.rest(took.consumed, &mut self.pool);
        if !waiting {
            self.count_in(key, scratch.input().len() as u64);
        }
        self.count_taken(flight_key, took.consumed as u64);
        if self.body_is_too_slow(flight_key, scratch.input().len()) {
            return self.fail(scratch, key, Cause::ClientStall);
        }
        let flight = &mut self.flights[flight_key];
        let bytes = scratch.joined(&took);
        let up = &mut self.upstreams[up_key];
        let taken = match write(&mut up.stream, &mut up.ready, bytes) {
            Ok(taken) => taken,
            Err(error) => return self.stop_request(flight_key, &error),
        };
        flight.sent |= taken > 0;
        flight.whole = false;
        if taken < bytes.len() {
            // Now it is the backend that keeps the body waiting.
            (flight.body_since, flight.body_bytes) = (self.now, 0);
            flight.request = Some(self.pool.copy(&bytes[taken..]));
        }
        self.count_upstream(flight_key, taken as u64, 0);
        self.arm_request(key, flight_key);
        Flow::Moved
    }

    /// After a part of the request has moved: waits for the answer, or for whoever keeps the body waiting.
    fn arm_request(&mut self, key: Key, flight_key: Key) {
        let flight = &self.flights[flight_key];
        let sent = flight.request.as_ref().is_none_or(crate::buffer::Buffer::is_empty);
        if sent && flight.exchange.awaits_backend() && !flight.exchange.is_tunnel() {
            let response = self.line(flight_key).timeouts.response;
            let one_try = self.try_timeout(flight).unwrap_or(response);
            self.arm(key, response.min(one_try).as_millis() as u64);
        } else {
            self.arm_stall(key);
        }
    }

    /// Time for one try, where there may be another.
    pub(super) fn try_timeout(&self, flight: &Flight) -> Option<Duration> {
        let timeout = self.table.pool(flight.pool).config().retry.try_timeout;
        timeout.filter(|_| flight.may_go_again())
    }

    /// A body must bring so many bytes a second, looked at over each time that it may stand still.
    pub(super) fn body_is_too_slow(&mut self, flight_key: Key, came: usize) -> bool {
        let stall = self.line(flight_key).timeouts.stall.as_millis() as u64;
        let flight = &mut self.flights[flight_key];
        flight.body_bytes += came as u64;
        let (span, rate) = (self.now - flight.body_since, self.settings.limits.body_rate);
        if flight.exchange.is_tunnel() {
            flight.carry(Way::Up, came as u64);
            return false;
        }
        if span < stall {
            return false;
        }
        let slow = flight.body_bytes < rate.saturating_mul(span) / 1_000 && !flight.exchange.request_done();
        (flight.body_since, flight.body_bytes) = (self.now, 0);
        slow
    }

    /// The backend takes no more of the request. It may have answered all the same, so its answer is awaited.
    pub(super) fn stop_request(&mut self, flight_key: Key, error: &io::Error) -> Flow {
        let flight = &mut self.flights[flight_key];
        if let Some(request) = flight.request.as_mut().filter(|_| flight.whole) {
            // Kept to be sent again elsewhere, should no answer come.
            request.consume(request.filled().len());
        } else {
            flight.exchange.abandon_request();
            let unsent = flight.request.take();
            unsent.into_iter().for_each(|buffer| self.pool.give(buffer));
            let unsent = flight.request_pipe.take();
            unsent.into_iter().for_each(|pipe| self.give_pipe(pipe));
        }
        let flight = &self.flights[flight_key];
        if let Some(up) = flight.upstream {
            let up = &mut self.upstreams[up];
            (up.ready.readable, up.ready.failed) = (true, true);
            // A tunnel knows no answer that could come all the same.
            up.reset |= flight.exchange.is_tunnel() || error.kind() == io::ErrorKind::ConnectionReset;
        }
        Flow::Moved
    }
}

/// What [`find_head`] found.
enum Scanned {
    /// A whole head.
    Head { start: usize, end: usize },
    /// Only a part of one.
    Part,
}

/// Looks for a request head behind empty lines; `scanned` bytes were looked at before.
fn find_head(input: &[u8], scanned: usize, most: &Limits) -> Result<Scanned, Refusal> {
    let (start, unfinished) = scan::empty_lines(input, limits::EMPTY_LINES)?;
    let head = &input[start..];
    let end = if unfinished { None } else { scan::end_of_head(head, scanned.saturating_sub(start))? };
    let size = end.unwrap_or(head.len());
    if size > most.head || (end.is_none() && size > most.target) {
        let line = memchr::memchr(b'\n', head).unwrap_or(head.len());
        if line > most.target + limits::METHOD + " HTTP/1.1\r".len() + 1 {
            return Err(Refusal::TargetSize);
        }
    }
    if size > most.head {
        return Err(Refusal::HeadSize);
    }
    Ok(end.map_or(Scanned::Part, |end| Scanned::Head { start, end: start + end }))
}
