//! Letting go: of a client, of an exchange, of a connection to a backend.

use super::connection::{Read, Stage, read};
use super::pump::{Flow, Pump};
use super::trust::Outcome;
use crate::balance::patience;
use crate::exchange::Cause;
use crate::id::BackendId;
use crate::slab::Key;
use crate::stats::Counter;
use crate::transport::{Net, Transport};

impl<N: Net> Pump<N> {
    /// Closes a client's connection with all that belongs to it; with a reset where only that tells the
    /// client that an answer was cut.
    pub(super) fn close_downstream(&mut self, key: Key) -> Flow {
        if let Some(mut down) = self.downstreams.remove(key) {
            let flight = down.flight.and_then(|flight| self.flights.get(flight));
            if down.output.is_some() || flight.is_some_and(|flight| flight.exchange.ends_by_close()) {
                down.stream.abort();
            }
            // What a tunnel was never rid of came from its client all the same.
            let unread =
                down.input.as_ref().filter(|_| flight.is_some_and(|flight| flight.carried.is_some()));
            let unread = unread.map_or(0, |input| input.filled().len() as u64);
            if let Some(flight) = down.flight {
                if unread > 0 {
                    self.count_taken(flight, unread);
                }
                self.cut_tunnel(flight);
                self.end_flight(flight, false);
            }
            self.cut_line();
            down.input.into_iter().chain(down.output).for_each(|buffer| self.pool.give(buffer));
            self.count_close(down.listener);
            if let (true, Some(clients)) = (down.counted, &self.settings.clients) {
                clients.leave(down.peer);
            }
            self.net.closed();
        }
        Flow::Over
    }

    /// As [`Self::close_downstream`], where the client takes nothing more.
    pub(super) fn client_gone(&mut self, key: Key) -> Flow {
        if self.downstreams[key].flight.is_some() {
            self.count_failure(key, Cause::ClientClosed);
        }
        self.close_downstream(key)
    }

    /// Lets go of an exchange; its upstream is kept for the next one or closed.
    pub(super) fn end_flight(&mut self, key: Key, keep_upstream: bool) {
        let Some(flight) = self.flights.get(key) else { return };
        if let Stage::Queued { .. } = flight.stage {
            self.leave_queue(key, flight.pool);
        }
        self.settle(key, Outcome::Void);
        self.land(key);
        let flight = &mut self.flights[key];
        let (pool, place, upstream, mut clean) =
            (flight.pool, flight.place, flight.upstream, flight.stage == Stage::Open);
        let idle_most = flight.exchange.idle_most();
        let carried = flight.carried.take();
        let (request, pipes) =
            (flight.request.take(), [flight.request_pipe.take(), flight.response_pipe.take()]);
        if let Some(carried) = carried {
            self.tell_of(&carried, &self.flights[key].exchange);
        }
        self.flights.vacate(key);
        self.count_landing(place);
        self.table.pool(pool).end_request(self.worker);
        self.leave_generation(place);
        // A backend that answered early still waits for the rest of the request.
        let unsent = request.as_ref().is_some_and(|request| !request.is_empty());
        request.into_iter().for_each(|buffer| self.pool.give(buffer));
        for pipe in pipes.into_iter().flatten() {
            clean &= pipe.held() == 0;
            self.give_pipe(pipe);
        }
        let Some(up_key) = upstream else { return };
        let up = &mut self.upstreams[up_key];
        clean &= !unsent && !up.left && up.input.is_none() && !up.ready.ended && !up.ready.failed;
        // A read that ended just with the answer has not said whether something stands behind it.
        if keep_upstream && clean && up.ready.readable {
            clean = read(&mut up.stream, &mut up.ready, &mut [0]) == Read::Blocked;
        }
        let backend = up.backend;
        let idle = self.idle_time(backend, idle_most);
        let wanted_elsewhere = std::mem::take(&mut self.room_wanted[backend.index()]);
        // What a backend was told of one client must not be taken for another.
        let told = self.table.pool(pool).config().send_proxy.is_some();
        let unwanted = told || wanted_elsewhere || self.draining || self.table.backend(backend).is_leaving();
        let kept = keep_upstream && clean && idle > 0 && !unwanted;
        if kept && self.idle.push(backend, up_key) {
            let up = &mut self.upstreams[up_key];
            (up.owner, up.reused, up.idle_since, up.idle_until) = (None, true, self.now, self.now + idle);
            self.pass_turn(pool);
        } else {
            self.stats.add(Counter::IdleSurplus, u64::from(kept));
            self.close_upstream(up_key);
        }
    }

    pub(super) fn close_upstream(&mut self, key: Key) {
        if let Some(up) = self.upstreams.remove(key) {
            up.input.into_iter().for_each(|buffer| self.pool.give(buffer));
            self.stats.sub(Counter::Upstreams);
            let backend = self.table.backend(up.backend);
            backend.disconnect();
            self.pass_turn(backend.pool());
        }
    }

    /// For how many milliseconds an upstream may be used again: what was set, what the backend said
    /// (`Keep-Alive: timeout=`, in seconds) and what was learnt of it, whichever is least.
    fn idle_time(&self, backend: BackendId, told: Option<u64>) -> u64 {
        let set = self.settings.timeouts.upstream_idle.as_millis() as u64;
        let told = told.map_or(set, |seconds| {
            let age = seconds.saturating_mul(1_000);
            age - patience::margin(age)
        });
        let learnt = self.patience[backend.index()].limit(self.now).unwrap_or(set);
        set.min(told).min(learnt)
    }

    /// What other workers keep unused counts among a backend's connections too. Asked at most once a
    /// millisecond: under a load that fills the backend there is nothing unused to be had.
    pub(super) fn ask_for_room(&mut self, backend: BackendId) {
        if self.asked_for_room != Some(self.now) {
            self.asked_for_room = Some(self.now);
            self.net.ask_for_room(backend);
        }
    }

    /// Closes the upstream to this backend that has been idle longest; without one, the next that would be kept.
    pub fn make_room(&mut self, backend: BackendId) {
        match self.idle.pop_oldest(backend) {
            Some(key) => self.close_upstream(key),
            // One of a configuration that is still to come has nothing here.
            None => self.room_wanted.get_mut(backend.index()).into_iter().for_each(|wanted| *wanted = true),
        }
    }

    /// Closes what was kept for others and is not needed.
    pub fn prune(&mut self) {
        self.prune_idle();
        self.pipes.prune(self.now);
    }

    /// Closes idle upstreams whose time is over.
    pub fn prune_idle(&mut self) {
        let (upstreams, now) = (&self.upstreams, self.now);
        let stale = self.idle.prune(|key| upstreams.get(key).is_none_or(|up| up.idle_until <= now));
        stale.into_iter().for_each(|key| self.close_upstream(key));
    }
}
