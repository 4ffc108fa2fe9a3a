//! Finding an upstream for an exchange, and another one when that fails.

use std::io;

use super::connection::{Ready, Stage, Upstream};
use super::pump::{Flow, Pump};
use super::scratch::Scratch;
use super::token::Token;
use super::trust::Outcome;
use crate::balance::choice::Counted;
use crate::balance::{Ask, Choice};
use crate::buffer::Buffer;
use crate::exchange::{Cause, Standing, Verdict};
use crate::id::BackendId;
use crate::slab::Key;
use crate::stats::Counter;
use crate::transport::{Net, Transport};

impl<N: Net> Pump<N> {
    /// Chooses a backend and gives the exchange a kept connection to it, or dials one.
    pub(super) fn attach(&mut self, key: Key, flight_key: Key) -> Result<(), Cause> {
        let flight = &mut self.flights[flight_key];
        let pool = self.table.pool(flight.pool);
        let ask = Ask {
            now: self.now,
            key: flight.key,
            sticky: flight.sticky,
            replayable: (flight.whole && flight.exchange.is_idempotent()) || flight.carried.is_some(),
            tried: flight.tried.all(),
        };
        let (backend, trial) = match self.eligible[flight.pool.index()].choose(&self.table, pool, &ask) {
            Choice::Backend(backend) => (backend, false),
            Choice::Trial(backend) => (backend, true),
            Choice::Full => return Err(Cause::BackendFull),
            Choice::None => return Err(Cause::NoBackend),
        };
        (flight.backend, flight.trial, flight.sent) = (Some(backend), trial, false);
        (flight.counted, flight.judged) = (Counted::by(pool), false);
        let chosen = self.table.backend(backend);
        (flight.tried_at, flight.first_address) = (self.now_us, chosen.preferred() as u16);
        let unused = flight.carried.is_none() && pool.config().send_proxy.is_none();
        while let Some(up_key) = unused.then(|| self.idle.pop(backend)).flatten() {
            let up = &mut self.upstreams[up_key];
            if up.idle_until <= self.now {
                self.stats.add(Counter::IdleUndercut, 1);
                self.close_upstream(up_key);
                continue;
            }
            up.owner = Some(key);
            let flight = &mut self.flights[flight_key];
            (flight.upstream, flight.stage) = (Some(up_key), Stage::Open);
            self.count_try(flight_key);
            return Ok(());
        }
        let dialled = self.dial(key, flight_key, backend, 0);
        // Where there was no room for a connection, here or there, nothing was tried.
        if !matches!(dialled, Err(Cause::BackendFull | Cause::Shortage)) {
            self.count_try(flight_key);
        }
        dialled
    }

    /// Begins a connect to the backend's address after `skip` others.
    fn dial(&mut self, key: Key, flight_key: Key, backend: BackendId, skip: u16) -> Result<(), Cause> {
        let target = self.table.backend(backend);
        let addresses = target.addresses();
        let first = usize::from(self.flights[flight_key].first_address);
        let mut failure = Cause::ConnectFailed;
        for tried in usize::from(skip)..addresses.len() {
            let address = addresses[(first + tried) % addresses.len()];
            let up_key = self.upstreams.next_key();
            if !target.connect() {
                self.ask_for_room(backend);
                return Err(Cause::BackendFull);
            }
            let stream = match self.net.dial(address, Token::Upstream(up_key).pack()) {
                Ok(stream) => stream,
                Err(error) => {
                    target.disconnect();
                    if is_shortage(&error) {
                        self.short = true;
                        return Err(Cause::Shortage);
                    }
                    // No local port is left to dial from, or no local address of that family: another may do.
                    if error.kind() == io::ErrorKind::AddrNotAvailable {
                        failure = Cause::Shortage;
                    } else {
                        target.tally(self.worker).connect_failure();
                    }
                    continue;
                }
            };
            self.upstreams.insert(Upstream {
                stream,
                ready: Ready::default(),
                backend,
                address,
                left: false,
                owner: Some(key),
                input: None,
                reused: false,
                reset: false,
                idle_since: 0,
                idle_until: 0,
            });
            self.stats.add(Counter::Upstreams, 1);
            let flight = &mut self.flights[flight_key];
            flight.upstream = Some(up_key);
            flight.stage = Stage::Connecting { addresses: tried as u16 + 1 };
            self.arm(key, self.line(flight_key).timeouts.connect.as_millis() as u64);
            return Ok(());
        }
        Err(failure)
    }

    /// Looks whether a connect has come to an end.
    pub(super) fn connecting(&mut self, s: &mut Scratch, key: Key, flight_key: Key, addresses: u16) -> Flow {
        let flight = &mut self.flights[flight_key];
        let Some(up_key) = flight.upstream else { return Flow::Blocked };
        let up = &mut self.upstreams[up_key];
        if !up.ready.writable && !up.ready.failed {
            return Flow::Blocked;
        }
        match up.stream.connected() {
            Ok(true) => {
                up.ready.writable = true;
                flight.stage = Stage::Open;
                let target = self.table.backend(up.backend);
                // Its addresses may have become others meanwhile.
                let position = target.addresses().iter().position(|address| *address == up.address);
                position.into_iter().for_each(|position| target.prefer(position));
                self.count_connect(flight_key, true);
                self.arm_stall(key);
                if let Err(cause) = self.announce(key, flight_key) {
                    return self.fail(s, key, cause);
                }
                self.join_tunnel(flight_key);
                Flow::Moved
            }
            Ok(false) => {
                up.ready.writable = false;
                Flow::Blocked
            }
            Err(_) => self.next_address(s, key, flight_key, addresses, Cause::ConnectFailed),
        }
    }

    /// Tries the backend's next address; without one the exchange fails for `cause`.
    pub(super) fn next_address(
        &mut self,
        s: &mut Scratch,
        key: Key,
        flight_key: Key,
        addresses: u16,
        cause: Cause,
    ) -> Flow {
        self.count_connect(flight_key, false);
        let flight = &mut self.flights[flight_key];
        if let (Some(up_key), Some(backend)) = (flight.upstream.take(), flight.backend) {
            self.close_upstream(up_key);
            if self.dial(key, flight_key, backend, addresses).is_ok() {
                return Flow::Moved;
            }
        }
        self.fail(s, key, cause)
    }

    /// An exchange went wrong: what is done is [`Cause::verdict`]'s to say.
    pub(super) fn fail(&mut self, scratch: &mut Scratch, key: Key, cause: Cause) -> Flow {
        let Some(flight_key) = self.downstreams[key].flight else { return self.close_downstream(key) };
        let mut cause = cause;
        loop {
            let dialled = self.flights[flight_key].backend.is_some();
            let reused = self.blame(flight_key, cause);
            if cause == Cause::BackendFull {
                match self.find_room(key, flight_key, dialled) {
                    Ok(flow) => return flow,
                    Err(Cause::BackendFull) if self.flights[flight_key].backend.is_none() => {}
                    Err(why) => {
                        cause = why;
                        continue;
                    }
                }
            }
            let flight = &mut self.flights[flight_key];
            let standing = Standing {
                response_begun: flight.exchange.response_begun(),
                replayable: (flight.request.is_some() || flight.carried.is_some())
                    && (!flight.sent || flight.whole),
                idempotent: flight.exchange.is_idempotent(),
                retries: flight.retries,
            };
            match cause.verdict(standing) {
                Verdict::Retry => {}
                Verdict::Reply(status) if flight.carried.is_none() => {
                    return self.reply_error(scratch, key, cause, status, false);
                }
                Verdict::Reply(_) | Verdict::Abort => {
                    self.count_failure(key, cause);
                    match &mut self.flights[flight_key].carried {
                        Some(carried) => carried.cause = Some(cause),
                        None => self.log_failure(key, cause, format_args!("cut off")),
                    }
                    return self.close_downstream(key);
                }
            }
            let failed = cause;
            if !self.budget_allows(flight_key, cause, reused) {
                self.flights[flight_key].retries = 0;
                continue;
            }
            if reused && matches!(cause, Cause::NoResponse | Cause::ConnectionStale) {
                self.stats.add(Counter::IdleRacesWon, 1);
            }
            let flight = &mut self.flights[flight_key];
            flight.retries -= 1;
            flight.again |= cause != Cause::Shortage;
            flight.request.iter_mut().for_each(Buffer::rewind);
            cause = match self.attach(key, flight_key) {
                Ok(()) => return Flow::Moved,
                // All that are up were tried: the same again, a little later. With none up any more, the
                // answer is what the last one did.
                Err(Cause::NoBackend) => match self.delay(key, flight_key) {
                    Some(flow) => return flow,
                    None => {
                        self.flights[flight_key].retries = 0;
                        failed
                    }
                },
                Err(cause) => cause,
            };
        }
    }

    /// A backend that was chosen has all the connections it may have: another one may have room. Where none has, the
    /// request waits. Where nobody may wait, a retry is left those that have failed it.
    fn find_room(&mut self, key: Key, flight_key: Key, dialled: bool) -> Result<Flow, Cause> {
        if dialled && !self.flights[flight_key].tried.has_most() {
            match self.attach(key, flight_key) {
                Ok(()) => return Ok(Flow::Moved),
                Err(Cause::BackendFull) if self.flights[flight_key].backend.is_some() => {
                    return Err(Cause::BackendFull);
                }
                Err(Cause::BackendFull | Cause::NoBackend) => {}
                Err(cause) => return Err(cause),
            }
        }
        self.flights[flight_key].tried.forget_full();
        match self.join_queue(key, flight_key) {
            Ok(()) => Ok(Flow::Moved),
            Err(Cause::BackendFull) if !self.flights[flight_key].tried.all().is_empty() => {
                self.delay(key, flight_key).ok_or(Cause::BackendFull)
            }
            Err(cause) => Err(cause),
        }
    }

    /// One line at debug for an exchange that ended other than well.
    pub(super) fn log_failure(&self, key: Key, cause: Cause, what: std::fmt::Arguments<'_>) {
        let down = &self.downstreams[key];
        let flight = down.flight.and_then(|flight| self.flights.get(flight));
        let id = flight.map_or("-", |flight| flight.exchange.printable_id());
        log::debug!("client {} request {id} {what}: {}", down.peer, cause.code());
    }

    /// Says which rule a backend's answer broke.
    fn log_bad_response(&self, flight: Key, cause: Cause) {
        if let (Cause::BadResponse(refusal), Some(backend)) = (cause, self.flights[flight].backend) {
            let id = self.flights[flight].exchange.printable_id();
            let backend = self.table.backend(backend).identity();
            log::debug!("backend {backend} answered request {id} with what is no HTTP: {}", refusal.text());
        }
    }

    /// Lets go of the failed upstream and counts the failure against its backend; true when the upstream had
    /// been used before.
    fn blame(&mut self, flight_key: Key, cause: Cause) -> bool {
        let mut reused = false;
        self.log_bad_response(flight_key, cause);
        self.cut_tunnel(flight_key);
        if let Some(up_key) = self.flights[flight_key].upstream.take() {
            reused = self.upstreams[up_key].reused;
            self.close_upstream(up_key);
        }
        let flight = &mut self.flights[flight_key];
        if let Some(backend) = flight.backend {
            flight.tried.push(backend, cause == Cause::BackendFull);
        }
        // A kept connection that closes instead of answering tells of the backend's patience, not its health.
        let excused = reused && cause == Cause::NoResponse;
        let outcome = match cause {
            Cause::BackendFull => Outcome::Full,
            Cause::BadStatus => {
                self.charge(flight_key);
                self.count_answer(flight_key);
                self.outcome(flight_key)
            }
            cause if cause.blames_backend() && !excused => Outcome::Failed(cause),
            _ => Outcome::Void,
        };
        self.settle(flight_key, outcome);
        reused
    }

    /// Whether the pool's budget has a retry for this. A kept connection that died is no sign of an outage: the
    /// backend has seen nothing of the request.
    fn budget_allows(&mut self, flight_key: Key, cause: Cause, reused: bool) -> bool {
        let stale = cause == Cause::ConnectionStale || (reused && cause == Cause::NoResponse);
        if stale || cause == Cause::Shortage || self.moves_on(flight_key) {
            return true;
        }
        let pool = self.table.pool(self.flights[flight_key].pool);
        let requests = pool.requests();
        if cause == Cause::BadStatus {
            // Its answer is thrown away already.
            pool.budget().force(self.now, requests);
            return true;
        }
        let allowed = pool.budget().withdraw(self.now, requests);
        self.stats.add(Counter::RetriesDenied, u64::from(!allowed));
        if !allowed {
            pool.tally(self.worker).retry_denied();
        }
        allowed
    }

    /// Waits before the same backends are tried again; `None` when none of them is up any more.
    pub(super) fn delay(&mut self, key: Key, flight_key: Key) -> Option<Flow> {
        let flight = &mut self.flights[flight_key];
        let pool = self.table.pool(flight.pool);
        let eligible = &mut self.eligible[flight.pool.index()];
        eligible.refresh(&self.table, pool);
        if eligible.is_empty() {
            return None;
        }
        flight.stage = Stage::Delay;
        flight.tried.clear();
        flight.carried.iter_mut().for_each(|carried| carried.again = true);
        self.arm(key, pool.config().retry.delay.as_millis() as u64);
        Some(Flow::Blocked)
    }

    /// The wait before a retry is over.
    pub(super) fn retry(&mut self, scratch: &mut Scratch, key: Key, flight_key: Key) -> Flow {
        match self.attach(key, flight_key) {
            Ok(()) => Flow::Moved,
            Err(cause) => self.fail(scratch, key, cause),
        }
    }
}

/// It is this process that lacks something, not the backend.
fn is_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let lacking = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|errno| lacking.contains(&errno))
}
