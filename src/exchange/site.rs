//! What becomes of the requests that come in at one listener.

use std::sync::Arc;

use super::Wanted;
use crate::balance::rate::{Client, RateLimiter};
use crate::config::{Fixed, Key, Mode, ProxyProtocol, Redirect, Rewrite, Routes, Timeouts};
use crate::id::PoolId;
use crate::proto::h1::edits::Edits;
use crate::proto::h1::request::Request;

/// A listener's routes, ready to be taken.
#[derive(Debug)]
pub struct Site {
    /// Says which route a request takes.
    pub routes: Routes,
    /// Its address as text, for requests that name no host.
    pub local: String,
    /// What is spoken there.
    pub mode: Mode,
    /// Whose headers of the PROXY protocol are taken.
    pub proxy: Option<ProxyProtocol>,
    /// It is no longer listened on: its connections end with the exchange that they have, or the next one if that has
    /// begun to come.
    pub leaving: bool,
    /// What becomes of it, by its route's place in [`Routes::all`], and last what becomes of all others.
    pub lines: Arc<[Line]>,
}

/// What becomes of the requests of one route.
#[derive(Debug)]
pub struct Line {
    /// What log and status call it.
    pub name: String,
    /// What is done with them.
    pub action: Act,
    /// Bounds in time.
    pub timeouts: Timeouts,
    /// Requests that each client may bring; all must allow one.
    pub rates: Box<[(Key, Arc<RateLimiter>)]>,
    /// What takes the place of the path prefix.
    pub rewrite: Option<Rewrite>,
    /// Changes to the request's fields.
    pub request: Edits,
    /// Changes to the response's fields.
    pub response: Edits,
}

/// What is done with a request.
#[derive(Debug)]
pub enum Act {
    /// It goes to one of these pools, by share; at least one.
    Pools(Box<[Share]>),
    /// Its client is sent elsewhere.
    Redirect(Redirect),
    /// It is answered here.
    Fixed(Fixed),
    /// Nobody serves it: 404.
    Nobody,
}

/// A pool and its share of a route's requests.
#[derive(Debug)]
pub struct Share {
    /// The pool.
    pub pool: PoolId,
    /// Its weight added to those of the pools before it.
    pub until: u64,
    /// What its choice of a backend wants to know.
    pub wanted: Wanted,
}

impl Line {
    /// A line to one pool that wants to know nothing.
    pub fn to_pool(pool: PoolId) -> Self {
        let share = Share { pool, until: 1, wanted: Wanted::default() };
        Self {
            name: String::new(),
            action: Act::Pools([share].into()),
            timeouts: Timeouts::default(),
            rates: Box::default(),
            rewrite: None,
            request: Edits::default(),
            response: Edits::default(),
        }
    }

    /// The pool that a request goes to; `dice` is any number, even over all of them.
    pub fn share(&self, dice: u64) -> Option<&Share> {
        let Act::Pools(shares) = &self.action else { return None };
        match &**shares {
            [only] => Some(only),
            shares => {
                let all = shares.last().map_or(1, |share| share.until).max(1);
                shares.iter().find(|share| dice % all < share.until)
            }
        }
    }

    /// What the rate limits know the client by.
    pub(super) fn clients(&self, request: &Request<'_, '_>, address: std::net::IpAddr) -> Box<[u64]> {
        let known_by = |(key, limiter): &(Key, Arc<RateLimiter>)| {
            // Whoever leaves the field out must not escape by that.
            limiter.hash(super::wanted::value(key, request).map_or(Client::Address(address), Client::Field))
        };
        self.rates.iter().map(known_by).collect()
    }
}

impl Site {
    /// A site where all goes to one pool.
    pub fn to_pool(pool: PoolId) -> Self {
        let lines = [Line::to_pool(pool)].into();
        Self {
            routes: Routes::default(),
            local: "localhost".to_owned(),
            mode: Mode::Http,
            proxy: None,
            leaving: false,
            lines,
        }
    }

    /// The pools that its requests may go to, some more than once.
    pub fn pools(&self) -> impl Iterator<Item = PoolId> {
        let shares = self.lines.iter().flat_map(|line| match &line.action {
            Act::Pools(shares) => &**shares,
            Act::Redirect(_) | Act::Fixed(_) | Act::Nobody => &[],
        });
        shares.map(|share| share.pool)
    }

    /// The place of the line that a request takes.
    pub(super) fn find(&self, request: &Request<'_, '_>) -> usize {
        let last = self.lines.len() - 1;
        if last == 0 {
            return last;
        }
        let target = request.path().as_bytes();
        let found =
            self.routes.find(request.authority.unwrap_or_default(), target, |name| request.field(name));
        found.unwrap_or(last)
    }
}
