//! What a try says of its backend: the end of its count there, and of its trial if it was one.

use super::connection::Flight;
use super::pump::Pump;
use crate::balance::{Ejected, Pool, Reason, choice};
use crate::config::{Algorithm, Statuses};
use crate::exchange::Cause;
use crate::id::BackendId;
use crate::slab::Key;
use crate::transport::Net;

/// How a try ended, for its backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It answered.
    Answered,
    /// It failed for this cause, by its own fault.
    Failed(Cause),
    /// It answered with a status that counts as a failure.
    Refused(u16),
    /// The try says nothing about it.
    Void,
    /// There was no room for the try.
    Full,
}

static NONE: Statuses = Statuses::NONE;

impl Flight {
    /// Another try may follow the present one.
    pub(super) fn may_go_again(&self) -> bool {
        let at_hand = self.whole && self.request.is_some() && self.exchange.is_idempotent();
        at_hand && self.retries > 0 && !self.exchange.response_begun()
    }

    /// Answers that are thrown away for another try.
    pub(super) fn statuses_to_retry<'p>(&self, pool: &'p Pool, now: u64) -> &'p Statuses {
        let statuses = &pool.config().retry.statuses;
        let may = !statuses.is_empty() && self.may_go_again() && pool.budget().allows(now, pool.requests());
        if may { statuses } else { &NONE }
    }

    /// The field that makes the client stick to the backend that answers; empty where it does already, or is to
    /// return to its own.
    pub(super) fn cookie<'p>(&self, pool: &'p Pool) -> &'p [u8] {
        match self.backend {
            Some(backend) if pool.cookie().is_some() && self.sticks_anew(pool) => pool.set_cookie(backend),
            _ => b"",
        }
    }

    fn sticks_anew(&self, pool: &Pool) -> bool {
        let returns = pool.config().sticky.as_ref().is_some_and(|sticky| sticky.returns);
        self.sticky != self.backend && !(returns && self.sticky.is_some())
    }
}

impl<N: Net> Pump<N> {
    /// The head of an answer has come, which is all that a trial asks for.
    pub(super) fn answered(&mut self, flight_key: Key) {
        let flight = &mut self.flights[flight_key];
        let Some(backend) = flight.backend else { return };
        let pool = self.table.pool(flight.pool);
        if let (Some(affinity), Some(client)) = (pool.affinity(), flight.client)
            && flight.sticks_anew(pool)
        {
            affinity.set(client, backend, self.now);
        }
        let status = flight.exchange.status();
        if pool.config().algorithm == Algorithm::PeakEwma {
            if status >= 500 {
                self.charge(flight_key);
            } else {
                let took = self.now_us.saturating_sub(flight.tried_at);
                self.table.backend(backend).latency().observe(took, self.now);
            }
        }
        let flight = &mut self.flights[flight_key];
        if !std::mem::take(&mut flight.trial) {
            return;
        }
        if pool.config().ejection.statuses.contains(status) {
            flight.judged = true;
            self.failed(backend, true, Cause::BadStatus, &format!("status {status}"));
        } else if self.table.trial_succeeded(backend, self.now) {
            log::info!("backend {} is back: the request that tried it went well", self.url(backend));
        }
    }

    /// The backend's latency is charged with a failure, however fast that was.
    pub(super) fn charge(&self, flight_key: Key) {
        let flight = &self.flights[flight_key];
        if let Some(backend) = flight.backend {
            let took = self.now_us.saturating_sub(flight.tried_at);
            self.table.backend(backend).latency().observe_failure(took, self.now);
        }
    }

    /// How a try ended that had an answer.
    pub(super) fn outcome(&self, flight_key: Key) -> Outcome {
        let flight = &self.flights[flight_key];
        let statuses = &self.table.pool(flight.pool).config().ejection.statuses;
        match flight.exchange.status() {
            _ if flight.judged => Outcome::Void,
            status if statuses.contains(status) => Outcome::Refused(status),
            _ => Outcome::Answered,
        }
    }

    /// Ends the present try of an exchange, once.
    pub(super) fn settle(&mut self, flight_key: Key, outcome: Outcome) {
        let flight = &mut self.flights[flight_key];
        let Some(backend) = flight.backend.take() else { return };
        let (trial, pool_id) = (std::mem::take(&mut flight.trial), flight.pool);
        let took = self.now_us.saturating_sub(flight.tried_at);
        let pool = self.table.pool(pool_id);
        choice::leave(&self.table, pool, backend, std::mem::take(&mut flight.counted));
        self.table.backend(backend).tally(self.worker).end();
        match outcome {
            Outcome::Answered => self.table.succeeded(backend),
            Outcome::Failed(cause) => {
                self.table.backend(backend).latency().observe_failure(took, self.now);
                self.failed(backend, trial, cause, cause.code());
            }
            Outcome::Refused(status) => {
                self.failed(backend, trial, Cause::BadStatus, &format!("status {status}"));
            }
            Outcome::Void | Outcome::Full if trial => self.table.trial_abandoned(backend, self.now),
            Outcome::Void | Outcome::Full => {}
        }
        if outcome != Outcome::Full {
            self.pass_turn(pool_id);
        }
    }

    fn failed(&mut self, backend: BackendId, trial: bool, cause: Cause, what: &str) {
        self.count_blame(backend, cause);
        let ejected = if trial {
            self.table.trial_failed(backend, self.worker, self.now)
        } else {
            self.table.failed(backend, self.worker, self.now)
        };
        let Some(Ejected { reason, time }) = ejected else { return };
        let url = self.url(backend);
        match reason {
            Reason::InARow(count) => {
                log::warn!(
                    "backend {url} is out for {time:?}: {count} failures in a row, the last one {what}"
                );
            }
            Reason::Rate(percent) => {
                log::warn!(
                    "backend {url} is out for {time:?}: {percent} % of its requests failed, the last one {what}"
                );
            }
            Reason::Trial => {
                log::warn!("backend {url} stays out for {time:?}: the request that tried it failed, {what}");
            }
        }
    }

    fn url(&self, backend: BackendId) -> &crate::config::BackendUrl {
        self.table.backend(backend).url()
    }
}
