//! When a wait is given up, and what is done then.

use std::mem;

use super::connection::{Phase, Stage};
use super::pump::Pump;
use super::scratch::Scratch;
use crate::buffer::Buffer;
use crate::exchange::Cause;
use crate::limits;
use crate::slab::Key;
use crate::stats::Counter;
use crate::transport::{Net, Pipe};

const REMINDER_MOST: u64 = limits::REMINDER_MOST.as_millis() as u64;

impl<N: Net> Pump<N> {
    /// Sets when the present wait is given up, in milliseconds from now. The wheel is only touched when it
    /// would remind too late.
    pub(super) fn arm(&mut self, key: Key, wait: u64) {
        let down = &mut self.downstreams[key];
        down.deadline = self.now + wait;
        let reminder = down.deadline.min(self.now + REMINDER_MOST);
        if reminder < down.reminder {
            down.reminder = reminder;
            self.wheel.insert(reminder, key);
        }
    }

    /// Waits for the peer of a body or a tunnel to take or send more.
    pub(super) fn arm_stall(&mut self, key: Key) {
        let wait = match self.downstreams[key].flight {
            Some(flight) if self.flights[flight].exchange.is_tunnel() => {
                let wait = self.tunnel_wait(flight);
                self.arm(key, wait);
                return;
            }
            Some(flight) => self.line(flight).timeouts.stall,
            None => self.settings.timeouts.stall,
        };
        self.arm(key, wait.as_millis() as u64);
    }

    /// Waits for the next request, or first for the client to take the end of its last answer.
    pub(super) fn arm_idle(&mut self, key: Key) {
        if self.downstreams[key].output.is_some() {
            self.arm_stall(key);
            return;
        }
        let timeouts = &self.settings.timeouts;
        // What came of the next request in the same read is on its way from now on.
        let begun = self.downstreams[key].input.is_some();
        if begun {
            self.downstreams[key].since_us = self.now_us;
        }
        let wait = match (self.draining || self.is_left_behind(key), begun) {
            (true, _) => limits::DRAIN_GRACE,
            (false, true) => timeouts.head,
            (false, false) => timeouts.idle,
        };
        self.arm(key, wait.as_millis() as u64);
    }

    /// Waits for the first byte of a request: the first one is to come as soon as its head.
    pub(super) fn arm_first(&mut self, key: Key) {
        if self.downstreams[key].requests > 0 || self.draining || self.is_left_behind(key) {
            self.arm_idle(key);
        } else {
            self.arm(key, self.settings.timeouts.head.as_millis() as u64);
        }
    }

    /// When [`Self::expire`] has something to do.
    pub fn next_expiry(&self) -> Option<u64> {
        self.wheel.next()
    }

    /// Ends the waits that have lasted too long.
    pub fn expire(&mut self) {
        let mut expired = mem::take(&mut self.expired);
        self.wheel.expire(self.now, &mut expired);
        for key in expired.drain(..) {
            self.remind(key);
        }
        self.expired = expired;
    }

    fn remind(&mut self, key: Key) {
        let Some(down) = self.downstreams.get_mut(key) else { return };
        // A reminder that a nearer one has overtaken.
        if self.now < down.reminder {
            return;
        }
        if self.now < down.deadline {
            down.reminder = down.deadline.min(self.now + REMINDER_MOST);
            self.wheel.insert(down.reminder, key);
            if !down.registered {
                self.register(key);
            }
            return;
        }
        down.reminder = u64::MAX;
        if self.takes_more(key) {
            return;
        }
        let mut scratch = mem::take(&mut self.scratch);
        self.expired(&mut scratch, key);
        self.scratch = scratch;
        self.enqueue(key);
    }

    /// Whether a peer that seemed to take nothing has taken something all the same. The kernel tells of room once a third of
    /// a send buffer is free, which may be a megabyte; a write finds what there is.
    fn takes_more(&mut self, key: Key) -> bool {
        let before = self.untaken(key);
        let flight = self.downstreams[key].flight;
        let is_over = |flight| self.flights[flight].exchange.is_tunnel() && self.tunnel_wait(flight) == 0;
        if before == 0 || flight.is_some_and(is_over) {
            return false;
        }
        let down = &mut self.downstreams[key];
        let mut full = !mem::replace(&mut down.ready.writable, true);
        if let Some(flight) = down.flight.and_then(|flight| self.flights.get(flight))
            && flight.stage == Stage::Open
            && let Some(up) = flight.upstream.and_then(|up| self.upstreams.get_mut(up))
        {
            full |= !mem::replace(&mut up.ready.writable, true);
        }
        if !full {
            return false;
        }
        self.run(key);
        if self.downstreams.get(key).is_some_and(|down| down.deadline <= self.now) {
            let after = self.untaken(key);
            let answers = |flight: Key| {
                let exchange = &self.flights[flight].exchange;
                exchange.awaits_backend() && !exchange.response_begun()
            };
            // It was the backend's time, and what waited beside it an interim answer.
            let spent = after == 0 && self.downstreams[key].flight.is_some_and(answers);
            if after >= before || spent {
                return false;
            }
            self.arm_stall(key);
        }
        true
    }

    /// Bytes at hand that a peer has yet to take.
    fn untaken(&self, key: Key) -> usize {
        let down = &self.downstreams[key];
        let filled = |buffer: &Option<Buffer>| buffer.as_ref().map_or(0, |buffer| buffer.filled().len());
        let held = |pipe: &Option<Pipe>| pipe.as_ref().map_or(0, Pipe::held);
        let flight = down.flight.and_then(|flight| self.flights.get(flight));
        let of_flight = flight.map_or(0, |flight| {
            filled(&flight.request) + held(&flight.request_pipe) + held(&flight.response_pipe)
        });
        filled(&down.output) + of_flight
    }

    /// The present wait of a connection has lasted too long.
    pub(super) fn expired(&mut self, scratch: &mut Scratch, key: Key) {
        let down = &self.downstreams[key];
        match down.phase {
            Phase::Head
                if down.output.is_none()
                    && down.input.as_ref().is_some_and(|input| has_line(input.filled())) =>
            {
                self.reply_error(scratch, key, Cause::HeadTimeout, 408, false);
            }
            Phase::Opening => self.opening_expired(key),
            Phase::Head | Phase::Flush { .. } | Phase::Linger { .. } => {
                if down.phase == Phase::Head && !self.draining {
                    self.stats.add(Counter::IdleClosed, 1);
                }
                self.close_downstream(key);
            }
            Phase::Flight => self.flight_expired(scratch, key),
        }
    }

    fn flight_expired(&mut self, scratch: &mut Scratch, key: Key) {
        let down = &self.downstreams[key];
        let Some(flight_key) = down.flight else { return };
        let flight = &self.flights[flight_key];
        let held = |pipe: &Option<Pipe>| pipe.as_ref().is_some_and(|pipe| pipe.held() > 0);
        let response = self.line(flight_key).timeouts.response;
        let unsent = flight.request.as_ref().is_some_and(|request| !request.is_empty());
        let cause = match flight.stage {
            Stage::Delay => {
                self.retry(scratch, key, flight_key);
                return;
            }
            Stage::Queued { since } => {
                self.queue_expired(scratch, key, flight_key, since);
                return;
            }
            Stage::Connecting { addresses } => {
                self.next_address(scratch, key, flight_key, addresses, Cause::ConnectTimeout);
                return;
            }
            Stage::Open if flight.exchange.is_tunnel() => match self.tunnel_wait(flight_key) {
                0 => Cause::TunnelLifetime,
                _ => Cause::TunnelIdle,
            },
            Stage::Open if down.output.is_some() || held(&flight.response_pipe) => Cause::ClientStall,
            Stage::Open if unsent || held(&flight.request_pipe) => Cause::BackendStall,
            Stage::Open if !flight.exchange.awaits_backend() => Cause::ClientStall,
            Stage::Open if flight.exchange.response_begun() => Cause::BackendStall,
            Stage::Open if self.try_timeout(flight).is_some_and(|one| one < response) => Cause::TryTimeout,
            Stage::Open => Cause::ResponseTimeout,
        };
        self.fail(scratch, key, cause);
    }
}

/// More than empty lines: somebody waits for an answer to it.
pub(super) fn has_line(head: &[u8]) -> bool {
    head.iter().any(|byte| !matches!(byte, b'\r' | b'\n'))
}
