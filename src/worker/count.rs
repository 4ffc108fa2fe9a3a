//! What is counted of a request's way at its listener, its pool and its backends. Each count has this worker as its
//! one writer. Nothing is counted where nobody can ask for it.

use super::connection::Flight;
use super::generation::Place;
use super::pump::Pump;
use crate::exchange::Cause;
use crate::histogram::Timed;
use crate::id::{BackendId, PoolId};
use crate::slab::Key;
use crate::stats::Counter;
use crate::stats::traffic::{Counted, Traffic};
use crate::transport::Net;

/// Whose an answer of our own is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whose {
    pub(super) place: Place,
    /// The one that was chosen, if it came to that.
    pub(super) pool: Option<PoolId>,
}

impl<N: Net> Pump<N> {
    fn listener(&self, key: Key) -> Option<&Traffic> {
        if !self.settings.measured {
            return None;
        }
        let listener = self.downstreams.get(key)?.listener;
        self.settings.traffic.get(usize::from(listener)).map(|listener| listener.by(self.worker))
    }

    /// Where the listener of an exchange is counted.
    fn listener_of(&self, place: Place) -> Option<&Counted> {
        if !self.settings.measured {
            return None;
        }
        self.settings.traffic.get(usize::from(place.site())).map(|listener| &**listener)
    }

    fn flight_of(&self, key: Key) -> Option<&Flight> {
        if !self.settings.measured {
            return None;
        }
        self.flights.get(self.downstreams.get(key)?.flight?)
    }

    pub(super) fn count_connection(&self, key: Key) {
        self.stats.add(Counter::Accepted, 1);
        if let Some(listener) = self.listener(key) {
            listener.connection();
        }
    }

    /// This worker has a client's connection from now on.
    pub(super) fn count_open(&self, key: Key) {
        self.stats.add(Counter::Downstreams, 1);
        let listener = self.downstreams[key].listener;
        if let (true, Some(listener)) =
            (self.settings.measured, self.settings.traffic.get(usize::from(listener)))
        {
            listener.present(self.worker).open();
        }
    }

    /// This worker has it no more.
    pub(super) fn count_close(&self, listener: u16) {
        self.stats.sub(Counter::Downstreams);
        if let (true, Some(listener)) =
            (self.settings.measured, self.settings.traffic.get(usize::from(listener)))
        {
            listener.present(self.worker).close();
        }
    }

    /// An exchange begins.
    pub(super) fn count_flight(&self, place: Place) {
        self.stats.add(Counter::Flights, 1);
        if let Some(listener) = self.listener_of(place) {
            listener.present(self.worker).begin();
            self.route(place).into_iter().for_each(|route| route.present(self.worker).begin());
        }
    }

    /// A connection is balanced as a whole from now on, under this exchange.
    pub(super) fn count_tunnel(&self, flight: Key) {
        self.stats.add(Counter::Tunnels, 1);
        let flight = &self.flights[flight];
        if let Some(listener) = self.listener_of(flight.place) {
            listener.by(self.worker).tunnel();
            self.table.pool(flight.pool).tally(self.worker).tunnel();
            self.route(flight.place).into_iter().for_each(|route| route.by(self.worker).tunnel());
        }
    }

    /// An exchange is over, however it ended.
    pub(super) fn count_landing(&self, place: Place) {
        self.stats.sub(Counter::Flights);
        if let Some(listener) = self.listener_of(place) {
            listener.present(self.worker).end();
            self.route(place).into_iter().for_each(|route| route.present(self.worker).end());
        }
    }

    /// What buffers and pipes take now; cheap enough for every turn of the loop.
    pub(super) fn count_buffers(&self) {
        let used = self.pool.in_use();
        self.stats.set(Counter::BuffersLent, used.lent as u64);
        self.stats.set(Counter::BufferBytes, used.lent_bytes as u64);
        self.stats.set(Counter::SpareBytes, used.spare_bytes as u64);
        self.stats.set(Counter::PipesLent, self.pipes_lent as u64);
    }

    /// Bytes came from the client. Whose they are is known when an exchange takes them.
    pub(super) fn count_in(&self, key: Key, bytes: u64) {
        self.stats.add(Counter::BytesIn, bytes);
        if let Some(listener) = self.listener(key) {
            listener.came_in(bytes);
        }
    }

    /// Bytes that came from the client are an exchange's: its route's and its pool's.
    pub(super) fn count_taken(&mut self, flight: Key, bytes: u64) {
        self.flights[flight].note_received(bytes);
        if !self.settings.measured {
            return;
        }
        let flight = &self.flights[flight];
        self.table.pool(flight.pool).tally(self.worker).came_in(bytes);
        self.route(flight.place).into_iter().for_each(|route| route.by(self.worker).came_in(bytes));
    }

    /// Bytes of a request that took this line, and gets no exchange.
    pub(super) fn count_taken_at(&self, place: Place, bytes: usize) {
        if let (true, Some(route)) = (self.settings.measured, self.route(place)) {
            route.by(self.worker).came_in(bytes as u64);
        }
    }

    /// Bytes were taken by the client.
    pub(super) fn count_out(&mut self, key: Key, bytes: u64) {
        self.note_sent(key, bytes);
        self.stats.add(Counter::BytesOut, bytes);
        if let Some(listener) = self.listener(key) {
            listener.went_out(bytes);
        }
        if let Some(flight) = self.flight_of(key) {
            self.table.pool(flight.pool).tally(self.worker).went_out(bytes);
            self.route(flight.place).into_iter().for_each(|route| route.by(self.worker).went_out(bytes));
        }
    }

    /// What still waits for the client of an exchange that is about to end is sent, if the client takes it.
    pub(super) fn count_left(&self, key: Key, flight: Key) {
        if let Some(output) = &self.downstreams[key].output {
            let (flight, bytes) = (&self.flights[flight], output.filled().len() as u64);
            self.count_sent(&Whose { place: flight.place, pool: Some(flight.pool) }, bytes);
        }
    }

    /// Bytes go to the client that belong to no exchange any more, or never did.
    pub(super) fn count_sent(&self, whose: &Whose, bytes: u64) {
        if !self.settings.measured {
            return;
        }
        whose.pool.into_iter().for_each(|pool| self.table.pool(pool).tally(self.worker).went_out(bytes));
        self.route(whose.place).into_iter().for_each(|route| route.by(self.worker).went_out(bytes));
    }

    /// Bytes were taken by the backend, or came from it.
    pub(super) fn count_upstream(&self, flight: Key, sent: u64, received: u64) {
        if !self.settings.measured {
            return;
        }
        if let Some(backend) = self.flights[flight].backend {
            let tally = self.table.backend(backend).tally(self.worker);
            tally.sent(sent);
            tally.received(received);
        }
    }

    /// A connect ended well or not.
    pub(super) fn count_connect(&mut self, flight: Key, well: bool) {
        let flight = &mut self.flights[flight];
        let took = self.now_us.saturating_sub(flight.tried_at);
        if well {
            flight.note_connect(took);
        }
        if !self.settings.measured {
            return;
        }
        let Some(backend) = flight.backend else { return };
        let tally = self.table.backend(backend).tally(self.worker);
        if well {
            tally.connect(took);
            self.table.pool(flight.pool).tally(self.worker).connect.record(took);
        } else {
            tally.connect_failure();
        }
    }

    /// The head of an answer has come, to be passed on or thrown away for another try.
    pub(super) fn count_answer(&mut self, flight: Key) {
        let flight = &mut self.flights[flight];
        let took = self.now_us.saturating_sub(flight.tried_at);
        flight.note_answer(took);
        if !self.settings.measured {
            return;
        }
        let Some(backend) = flight.backend else { return };
        self.table.backend(backend).tally(self.worker).answer(flight.exchange.status(), took);
        self.table.pool(flight.pool).tally(self.worker).first_byte.record(took);
    }

    /// An answer goes to the client, to a request of that method; of an exchange if it has one, whose method counts.
    pub(super) fn count_reply(&mut self, key: Key, flight: Option<Key>, method: u8, status: u16) {
        self.note_status(flight, status);
        if !self.settings.measured {
            return;
        }
        let flight = flight.and_then(|flight| self.flights.get(flight));
        let method = usize::from(flight.map_or(method, |flight| flight.method));
        if let Some(listener) = self.listener(key) {
            listener.answer(method, status);
        }
        if let Some(flight) = flight {
            self.table.pool(flight.pool).tally(self.worker).answer(method, status);
            self.route(flight.place)
                .into_iter()
                .for_each(|route| route.by(self.worker).answer(method, status));
        }
    }

    /// An answer goes to a request that took this route, and has no exchange.
    pub(super) fn count_route(&self, place: Place, method: u8, status: u16) {
        if let (true, Some(route)) = (self.settings.measured, self.route(place)) {
            route.by(self.worker).answer(usize::from(method), status);
        }
    }

    /// What took this route was refused, and has no exchange; a request by an answer with 429.
    pub(super) fn count_limited(&self, place: Place, method: Option<u8>, cause: Cause) {
        if let (true, Some(route)) = (self.settings.measured, self.route(place)) {
            route.by(self.worker).failed(cause.index());
            method.into_iter().for_each(|method| route.by(self.worker).answer(usize::from(method), 429));
        }
    }

    /// An exchange is over; a tunnel's time is its users' business.
    pub(super) fn count_total(&self, flight: Key) {
        if !self.settings.measured {
            return;
        }
        let flight = &self.flights[flight];
        if !flight.exchange.is_tunnel() {
            let took = Timed::of(self.now_us.saturating_sub(flight.began_us));
            self.table.pool(flight.pool).tally(self.worker).total.add(took);
            self.listener_of(flight.place)
                .into_iter()
                .for_each(|listener| listener.by(self.worker).took(took));
            self.route(flight.place).into_iter().for_each(|route| route.by(self.worker).took(took));
        }
    }

    /// What came to this connection ended other than well.
    pub(super) fn count_failure(&mut self, key: Key, cause: Cause) {
        self.note_cause(key, cause);
        self.stats.failed(cause);
        if let Some(listener) = self.listener(key) {
            listener.failed(cause.index());
        }
        if let Some(flight) = self.flight_of(key) {
            self.table.pool(flight.pool).tally(self.worker).failed(cause.index());
            self.route(flight.place)
                .into_iter()
                .for_each(|route| route.by(self.worker).failed(cause.index()));
        }
    }

    /// A backend failed for this cause.
    pub(super) fn count_blame(&self, backend: BackendId, cause: Cause) {
        if self.settings.measured {
            self.table.backend(backend).tally(self.worker).failed_for(cause.index());
        }
    }

    /// An exchange tries the backend that it has now, not for the first time if it has failed before.
    pub(super) fn count_try(&mut self, flight_key: Key) {
        let flight = &mut self.flights[flight_key];
        let Some(backend) = flight.backend else { return };
        flight.note_try(backend);
        let again = std::mem::take(&mut flight.again);
        self.table.backend(backend).tally(self.worker).request();
        if again {
            self.count_retry(flight_key, backend);
        }
    }

    fn count_retry(&mut self, flight_key: Key, backend: BackendId) {
        self.stats.add(Counter::Retries, 1);
        let flight = &mut self.flights[flight_key];
        flight.note_retry();
        self.table.pool(flight.pool).tally(self.worker).retry();
        let flight = &self.flights[flight_key];
        if let Some(listener) = self.listener_of(flight.place) {
            listener.by(self.worker).retry();
            self.route(flight.place).into_iter().for_each(|route| route.by(self.worker).retry());
        }
        if self.settings.measured {
            self.table.backend(backend).tally(self.worker).retry();
        }
    }
}
