//! Connections that are balanced as a whole: tunnels from their first byte.

use std::net::IpAddr;

use super::connection::{Flight, Phase, Stage};
use super::pump::{Flow, Pump};
use super::scratch::Scratch;
use crate::balance::hash;
use crate::balance::rate::Client;
use crate::exchange::{Cause, Exchange, Found};
use crate::id::BackendId;
use crate::limits;
use crate::proto::tls;
use crate::slab::Key;
use crate::stats::Counter;
use crate::transport::{Net, Pipe, Transport};

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// From the client to the backend.
    Up,
    /// From the backend to the client.
    Down,
}

/// What is told of such a connection when it ends.
#[derive(Debug)]
pub(super) struct Carried {
    client: IpAddr,
    /// The backend that it was joined with.
    backend: Option<BackendId>,
    /// In milliseconds.
    began: u64,
    /// Bytes from the client.
    up: u64,
    /// Bytes to the client.
    down: u64,
    /// Why it ended other than well.
    pub(super) cause: Option<Cause>,
    /// Every backend that is up has been tried in vain.
    pub(super) again: bool,
}

impl Carried {
    fn new(client: IpAddr, began: u64) -> Self {
        Self { client, backend: None, began, up: 0, down: 0, cause: None, again: false }
    }
}

impl Flight {
    /// The pipe of one way, and what may come there without being looked at.
    pub(super) fn way(&mut self, way: Way) -> (&mut Option<Pipe>, u64) {
        match way {
            Way::Up => (&mut self.request_pipe, self.exchange.request_rest()),
            Way::Down => (&mut self.response_pipe, self.exchange.response_rest()),
        }
    }

    /// So many bytes came at once that belong to a tunnel. A whole buffer of them says that there are many.
    pub(super) fn carry(&mut self, way: Way, bytes: u64) {
        if let Some(carried) = &mut self.carried {
            match way {
                Way::Up => carried.up += bytes,
                Way::Down => carried.down += bytes,
            }
        }
        if bytes >= limits::INBOX as u64 {
            self.set_bulk(way, true);
        }
    }

    /// So many bytes came through a pipe that is empty again. A pipe is given up when it brings little for a while: a
    /// copy costs two calls then as well, and holds nothing.
    pub(super) fn calm_down(&mut self, way: Way, bytes: u64) {
        let (little, often) = limits::SPLICE_CALM;
        let calm = match way {
            Way::Up => &mut self.request_calm,
            Way::Down => &mut self.response_calm,
        };
        *calm = match bytes {
            0 => *calm,
            bytes if bytes < little => calm.saturating_add(1),
            _ => 0,
        };
        if *calm >= often {
            *calm = 0;
            self.set_bulk(way, false);
        }
    }

    fn set_bulk(&mut self, way: Way, bulk: bool) {
        match way {
            Way::Up => self.exchange.request_in_bulk(bulk),
            Way::Down => self.exchange.response_in_bulk(bulk),
        }
    }
}

impl<N: Net> Pump<N> {
    /// Finds a backend for a connection that takes the line at that place. Its bytes are only read once that has been reached.
    pub(super) fn open_tunnel(&mut self, scratch: &mut Scratch, key: Key, at: usize) -> Flow {
        self.note_tunnel(key, Some(at));
        let down = &self.downstreams[key];
        let peer = down.peer;
        let site = &self.settings.sites[usize::from(down.listener)];
        let line = &site.lines[at];
        if line.rates.iter().any(|(_, rate)| rate.admit(Client::Address(peer), self.now_us).is_err()) {
            self.count_limited(self.place(key, at), None, Cause::RateLimited);
            return self.refuse_tunnel(key, Cause::RateLimited);
        }
        let Some(share) = line.share(self.dice.u64(..)) else {
            return self.refuse_tunnel(key, Cause::NoRoute);
        };
        // Nothing but the address is known of it, whatever key the pool names.
        let hash = share.wanted.hash.as_ref().map(|_| hash::hash_address(peer));
        let (pool, found) = (share.pool, Found { hash, ..Found::default() });
        let flight_key = self.insert_flight(key, Exchange::tunnel(), at, pool, found);
        self.count_tunnel(flight_key);
        self.flights[flight_key].carried = Some(Box::new(Carried::new(peer, self.now)));
        let down = &mut self.downstreams[key];
        (down.phase, down.flight) = (Phase::Flight, Some(flight_key));
        let attached =
            if self.must_queue(pool) { Err(Cause::BackendFull) } else { self.attach(key, flight_key) };
        match attached {
            Ok(()) => Flow::Moved,
            Err(cause) => self.fail(scratch, key, cause),
        }
    }

    /// Closes a connection that gets no backend, so that the client can tell it from one that has ended.
    pub(super) fn refuse_tunnel(&mut self, key: Key, cause: Cause) -> Flow {
        self.note_tunnel(key, None);
        self.count_failure(key, cause);
        self.log_refusal(key, cause);
        self.downstreams[key].stream.abort();
        self.close_downstream(key)
    }

    /// Says what it had asked for, or began with where that is what was wrong.
    fn log_refusal(&self, key: Key, cause: Cause) {
        if !log::log_enabled!(log::Level::Debug) {
            return;
        }
        let input = self.downstreams[key].input.as_ref().map_or(&[][..], |input| input.filled());
        let begun = &input[..input.len().min(limits::BEGINNING_SAID)];
        let (does, what) = match cause {
            Cause::BadClientHello | Cause::BadProxyHeader => ("begins with", begun.to_vec()),
            _ => ("asks for", tls::wanted(input).unwrap_or_default()),
        };
        match &what[..what.len().min(limits::NAME_SAID)] {
            [] => self.log_failure(key, cause, format_args!("closed")),
            what => {
                let what = what.escape_ascii();
                self.log_failure(key, cause, format_args!("closed, it {does} \"{what}\""));
            }
        }
    }

    /// The backend has been reached, which is all that can be known of how well it serves.
    pub(super) fn join_tunnel(&mut self, flight_key: Key) {
        let flight = &mut self.flights[flight_key];
        let Some(carried) = &mut flight.carried else { return };
        carried.backend = flight.backend;
        flight.exchange.join();
        self.answered(flight_key);
        let flight = &mut self.flights[flight_key];
        flight.judged = true;
        flight.backend.into_iter().for_each(|backend| self.table.succeeded(backend));
    }

    /// A backend that was not tried yet is left to a connection that is balanced as a whole. A connect that failed has
    /// asked nothing of anybody, so that one elsewhere adds to no load.
    pub(super) fn moves_on(&self, flight_key: Key) -> bool {
        let flight = &self.flights[flight_key];
        let untried = |id: BackendId| !flight.tried.all().contains(&Some(id));
        flight.carried.as_ref().is_some_and(|carried| !carried.again)
            && self.eligible[flight.pool.index()].backends().any(untried)
    }

    /// The backend of a tunnel has taken less than the client said.
    pub(super) fn is_refused(&self, flight_key: Key) -> bool {
        let upstream = self.flights[flight_key].upstream.and_then(|up| self.upstreams.get(up));
        upstream.is_some_and(|up| up.reset)
    }

    /// For how many milliseconds a tunnel may be quiet now; 0 when its lifetime is over.
    pub(super) fn tunnel_wait(&self, flight_key: Key) -> u64 {
        let timeouts = &self.line(flight_key).timeouts;
        let idle = (timeouts.tunnel.as_millis() as u64).max(1);
        match timeouts.lifetime {
            None => idle,
            Some(lifetime) => {
                let end = self.flights[flight_key].tried_at / 1_000 + lifetime.as_millis() as u64;
                idle.min(end.saturating_sub(self.now))
            }
        }
    }

    /// What ends a tunnel before both sides have ended it is to look like that to the backend too.
    pub(super) fn cut_tunnel(&mut self, flight_key: Key) {
        let Some(flight) = self.flights.get(flight_key) else { return };
        if flight.exchange.is_tunnel()
            && flight.stage == Stage::Open
            && let Some(up) = flight.upstream.and_then(|up| self.upstreams.get_mut(up))
        {
            up.stream.abort();
        }
    }

    /// One line at debug for each.
    pub(super) fn tell_of(&self, carried: &Carried, exchange: &Exchange) {
        let lasted = self.now - carried.began;
        self.stats.add(Counter::TunnelsEnded, 1);
        self.stats.add(Counter::TunnelMillis, lasted);
        let cause = match carried.cause {
            Some(cause) => cause.code(),
            None if exchange.is_done() => "ended",
            None => Cause::ClientClosed.code(),
        };
        let Carried { client, up, down, .. } = carried;
        match carried.backend {
            Some(backend) => {
                let url = self.table.backend(backend).url();
                log::debug!("client {client} tunnel to {url}: {cause}, {up} up, {down} down, {lasted} ms");
            }
            None => log::debug!("client {client} tunnel to nobody: {cause}, {lasted} ms"),
        }
    }
}
