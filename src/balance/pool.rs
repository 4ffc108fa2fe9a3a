//! A pool in force: its settings, and what its workers share to choose from it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use super::affinity::Affinity;
use super::backend::{Backend, Mode, Padded};
use super::budget::Budget;
use super::hash;
use super::maglev::Maglev;
use super::table::Table;
use super::tally::PoolTally;
use super::waiting::Waiting;
use crate::config::{self, Algorithm, Cookie, SameSite, StickyBy};
use crate::id::{BackendId, PoolId};
use crate::limits;

/// What outlives a reload.
#[derive(Debug)]
pub struct Live {
    /// The round-robin index, shared by all workers.
    next: Padded<AtomicU64>,
    /// Moves whenever the eligible set has changed.
    epoch: Padded<AtomicU64>,
    /// Requests in flight to all its backends; only counted where a hash is bounded.
    in_flight: Padded<AtomicU32>,
    /// Backends that are out by traffic's judgement.
    ejected: AtomicU32,
    waiting: Waiting,
    /// By worker.
    requests: Box<[Padded<Requests>]>,
    /// No longer configured.
    gone: AtomicBool,
    /// Requests may come to it although it is gone.
    held: AtomicBool,
    tallies: Box<[PoolTally]>,
}

/// One worker's requests.
#[derive(Debug, Default)]
struct Requests {
    begun: AtomicU64,
    ended: AtomicU64,
}

/// A sticky cookie, ready to be sent.
#[derive(Debug)]
struct Ticket {
    value: u64,
    backend: BackendId,
    field: Box<[u8]>,
}

/// One pool.
#[derive(Debug)]
pub struct Pool {
    id: PoolId,
    config: config::Pool,
    members: Box<[BackendId]>,
    live: Arc<Live>,
    affinity: Option<Arc<Affinity>>,
    budget: Arc<Budget>,
    maglev: Option<Maglev>,
    /// By value, where clients stick by a cookie.
    tickets: Box<[Ticket]>,
    counts: bool,
    capped: bool,
}

impl Live {
    fn new(workers: usize) -> Self {
        Self {
            next: Padded::default(),
            epoch: Padded::default(),
            in_flight: Padded::default(),
            ejected: AtomicU32::new(0),
            waiting: Waiting::new(workers),
            requests: (0..workers).map(|_| Padded::default()).collect(),
            gone: AtomicBool::new(false),
            held: AtomicBool::new(false),
            tallies: (0..workers).map(|_| PoolTally::default()).collect(),
        }
    }
}

impl Pool {
    /// A pool of these members, in the order of its configuration; what is shared goes on from `before`.
    pub fn new(
        id: PoolId,
        config: config::Pool,
        members: &[(BackendId, Arc<Backend>)],
        workers: usize,
        before: Option<&Self>,
    ) -> Self {
        let live = before.map_or_else(|| Arc::new(Live::new(workers)), |before| Arc::clone(&before.live));
        let affinity = match &config.sticky {
            Some(config::Sticky { by: StickyBy::Address(keep), .. }) => {
                let known = before.filter(|before| before.config.sticky == config.sticky);
                let new = || Arc::new(Affinity::new(limits::STICKY_CLIENTS, *keep));
                Some(known.and_then(|before| before.affinity.clone()).unwrap_or_else(new))
            }
            _ => None,
        };
        let rule = (config.retry.budget, config.retry.budget_floor);
        let known =
            before.filter(|before| rule == (before.config.retry.budget, before.config.retry.budget_floor));
        let budget = known.map(|before| Arc::clone(&before.budget));
        let budget = budget.unwrap_or_else(|| Arc::new(Budget::new(rule.0, rule.1)));
        let maglev = matches!(config.algorithm, Algorithm::Hash { .. }).then(|| {
            let name = |backend: &Backend| hash::hash(backend.identity().as_bytes());
            let names: Vec<_> = members.iter().map(|(_, b)| (name(b), b.weight())).collect();
            Maglev::new(&names)
        });
        let capped = members.iter().any(|(_, backend)| backend.is_capped());
        Self {
            id,
            members: members.iter().map(|(id, _)| *id).collect(),
            live,
            affinity,
            budget,
            maglev,
            tickets: tickets(&config, members),
            counts: capped || counts(&config.algorithm),
            capped,
            config,
        }
    }

    /// No longer configured.
    pub fn is_gone(&self) -> bool {
        self.live.gone.load(Relaxed)
    }

    pub(super) fn set_gone(&self) {
        self.live.gone.store(true, Relaxed);
    }

    /// Its number.
    pub fn id(&self) -> PoolId {
        self.id
    }

    /// Its settings.
    pub fn config(&self) -> &config::Pool {
        &self.config
    }

    /// Its backends, in the order of the configuration.
    pub fn members(&self) -> &[BackendId] {
        &self.members
    }

    /// Whether this backend of it may be given any request: with `fail_open` and none eligible, each that is enabled.
    pub fn may_serve(&self, table: &Table, backend: &Backend) -> bool {
        let eligible = |&id: &BackendId| table.backend(id).is_eligible();
        backend.is_eligible()
            || (self.config.fail_open
                && backend.mode() == Mode::Enabled
                && !self.members.iter().any(eligible))
    }

    /// How many of its backends may be given any request.
    pub fn eligible(&self, table: &Table) -> usize {
        self.members.iter().filter(|&&id| self.may_serve(table, table.backend(id))).count()
    }

    /// The next round-robin ticket: every number is handed out once over all workers.
    pub fn ticket(&self) -> u64 {
        self.live.next.0.fetch_add(1, Relaxed)
    }

    /// Changes whenever the eligible set has changed.
    pub fn epoch(&self) -> u64 {
        self.live.epoch.0.load(Relaxed)
    }

    pub(super) fn changed(&self) {
        self.live.epoch.0.fetch_add(1, Relaxed);
    }

    /// Takes one of the places for backends that are out by traffic's judgement; false when there is none left.
    pub(super) fn eject_one(&self) -> bool {
        let most = self.members.len() as u64 * u64::from(self.config.ejection.most) / 100;
        let room = |count: u32| (u64::from(count) < most).then_some(count + 1);
        self.live.ejected.fetch_update(Relaxed, Relaxed, room).is_ok()
    }

    pub(super) fn return_one(&self) {
        self.live.ejected.fetch_sub(1, Relaxed);
    }

    /// Requests in flight are counted.
    pub fn counts(&self) -> bool {
        self.counts
    }

    /// Some backend has a limit, so that requests may have to wait.
    pub fn is_capped(&self) -> bool {
        self.capped
    }

    /// Counts a request that it is to serve. Only that worker may call it.
    pub fn request(&self, worker: usize) {
        let begun = &self.live.requests[worker].0.begun;
        begun.store(begun.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// Counts one that is over. Only that worker may call it.
    pub fn end_request(&self, worker: usize) {
        let ended = &self.live.requests[worker].0.ended;
        ended.store(ended.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// Nothing goes on there, and nothing will come.
    pub(super) fn is_over(&self) -> bool {
        let counts = &self.live.requests;
        let ended = counts.iter().map(|count| count.0.ended.load(Relaxed)).sum::<u64>();
        self.is_gone() && !self.live.held.load(Relaxed) && ended == self.requests()
    }

    /// Whether requests may come to it although it is no longer configured: then it keeps its number, and its
    /// backends theirs.
    pub fn hold(&self, held: bool) {
        self.live.held.store(held, Relaxed);
    }

    /// Requests that it was to serve so far, each counted once however often it was tried.
    pub fn requests(&self) -> u64 {
        self.live.requests.iter().map(|count| count.0.begun.load(Relaxed)).sum()
    }

    /// Requests that are not over, those that wait among them.
    pub fn unfinished(&self) -> u64 {
        let of_worker = |count: &Padded<Requests>| {
            // What has ended is read first: a request in flight is then never counted as less than none.
            let ended = count.0.ended.load(Relaxed);
            count.0.begun.load(Relaxed).saturating_sub(ended)
        };
        self.live.requests.iter().map(of_worker).sum()
    }

    /// Who waits for one of its backends.
    pub fn waiting(&self) -> &Waiting {
        &self.live.waiting
    }

    /// What that worker has seen of it.
    pub fn tally(&self, worker: usize) -> &PoolTally {
        &self.live.tallies[worker]
    }

    /// What all workers have seen of it.
    pub fn tallies(&self) -> &[PoolTally] {
        &self.live.tallies
    }

    /// Backends that are out by traffic's judgement.
    pub fn ejected(&self) -> u32 {
        self.live.ejected.load(Relaxed)
    }

    /// What retries may cost.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Where each key belongs, for pools that choose by hash: positions in [`Self::members`].
    pub fn maglev(&self) -> Option<&Maglev> {
        self.maglev.as_ref()
    }

    /// Requests in flight to all backends, where a hash is bounded.
    pub(super) fn in_flight(&self) -> &AtomicU32 {
        &self.live.in_flight.0
    }

    /// Which backend each client had, where clients stick by their address.
    pub fn affinity(&self) -> Option<&Affinity> {
        self.affinity.as_deref()
    }

    /// The cookie that clients stick by.
    pub fn cookie(&self) -> Option<&Cookie> {
        match &self.config.sticky {
            Some(config::Sticky { by: StickyBy::Cookie(cookie), .. }) => Some(cookie),
            _ => None,
        }
    }

    /// The backend that a cookie's value stands for.
    pub fn backend_of(&self, value: u64) -> Option<BackendId> {
        let at = self.tickets.binary_search_by_key(&value, |ticket| ticket.value).ok()?;
        Some(self.tickets[at].backend)
    }

    /// The header field that makes a client stick to this backend, with its line end; empty without cookies.
    pub fn set_cookie(&self, backend: BackendId) -> &[u8] {
        self.tickets.iter().find(|ticket| ticket.backend == backend).map_or(b"", |ticket| &ticket.field)
    }
}

fn counts(algorithm: &Algorithm) -> bool {
    match algorithm {
        Algorithm::LeastConnections | Algorithm::TwoChoices | Algorithm::PeakEwma => true,
        Algorithm::Hash { bound, .. } => bound.is_some(),
        Algorithm::RoundRobin | Algorithm::Random => false,
    }
}

fn tickets(config: &config::Pool, members: &[(BackendId, Arc<Backend>)]) -> Box<[Ticket]> {
    let Some(config::Sticky { by: StickyBy::Cookie(cookie), .. }) = &config.sticky else {
        return Box::default();
    };
    let ticket = |(id, backend): &(BackendId, Arc<Backend>)| {
        let value = hash::cookie_value(cookie.secret.as_bytes(), &backend.identity());
        let same_site = match cookie.same_site {
            SameSite::Strict => "Strict",
            SameSite::Lax => "Lax",
            SameSite::None => "None",
        };
        let secure = if cookie.secure { "; Secure" } else { "" };
        let (name, path) = (&cookie.name, &cookie.path);
        let field = format!(
            "Set-Cookie: {name}={value:016x}; Path={path}; HttpOnly; SameSite={same_site}{secure}\r\n"
        );
        Ticket { value, backend: *id, field: field.into_bytes().into() }
    };
    let mut tickets: Vec<_> = members.iter().map(ticket).collect();
    tickets.sort_unstable_by_key(|ticket| ticket.value);
    tickets.into()
}
