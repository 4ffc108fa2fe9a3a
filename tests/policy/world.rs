//! A pool in virtual time: the code of the balancer chooses, the backends and their clients are made up.
//!
//! A backend serves one request at a time, in the order in which they came, each for an exponentially distributed
//! time; requests come as a Poisson process. So the end of a request is known when it is sent.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use evenkeel::balance::choice::{self, Counted};
use evenkeel::balance::{Ask, Choice, Eligible, Pool, Table, hash};
use evenkeel::config::Algorithm;
use evenkeel::id::BackendId;
use fastrand::Rng;

use crate::scenario::{
    COLD, FAST_FAILURE, GOES, Judgement, RETURNS, SERVICE, STALL, STALLS_APART, Scenario, Trouble,
    WARM_AFTER, WORKERS,
};

const FIRST: BackendId = BackendId(0);
/// Different things that clients ask for; how often, falls as one through the rank (Zipf).
const KEYS: usize = 10_000;

/// One request and what became of it. Times are in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exchange {
    pub(crate) began: u64,
    pub(crate) took: u64,
    pub(crate) backend: BackendId,
    pub(crate) failed: bool,
    worker: usize,
    trial: bool,
}

/// What came of a run.
#[derive(Debug, Default)]
pub(crate) struct Run {
    pub(crate) exchanges: Vec<Exchange>,
    /// The most requests that each backend had at once.
    pub(crate) queues: Vec<u32>,
}

struct Server {
    idle_from: u64,
    present: u32,
    next_stall: u64,
    stalls: Rng,
}

/// What clients do. It depends on the seed alone, so that all algorithms are asked the same.
struct Clients {
    arrivals: Rng,
    work: Rng,
    worker: Rng,
    keys: Rng,
    /// For each rank, how often that one or one before it is asked for.
    ranks: Vec<f64>,
}

impl Clients {
    fn new(seed: u64) -> Self {
        let mut all = Rng::with_seed(seed);
        let mut sum = 0.0;
        let ranks = (1..=KEYS).map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        });
        let ranks = ranks.collect();
        Self { arrivals: all.fork(), work: all.fork(), worker: all.fork(), keys: all.fork(), ranks }
    }

    fn key(&mut self) -> u64 {
        let at = self.keys.f64() * self.ranks[KEYS - 1];
        let rank = self.ranks.partition_point(|sum| *sum <= at);
        hash::hash(&(rank as u64).to_be_bytes())
    }
}

struct World<'a> {
    scenario: &'a Scenario,
    table: &'a Table,
    ewma: bool,
    eligible: Vec<Eligible>,
    servers: Vec<Server>,
    ends: BinaryHeap<Reverse<(u64, usize)>>,
    run: Run,
}

/// Sends requests for as long as the scenario says, and waits for the last answer.
pub(crate) fn run(scenario: &Scenario, algorithm: &Algorithm, seed: u64) -> Run {
    let table = scenario.table(algorithm);
    let mut world = World::new(scenario, &table, algorithm, seed);
    let mut clients = Clients::new(seed);
    let keyed = matches!(algorithm, Algorithm::Hash { .. });
    let mut changes = match scenario.trouble {
        Trouble::Returns => vec![(RETURNS, true), (GOES, false)],
        _ => Vec::new(),
    };
    let mut now = 0;
    loop {
        now += exponential(&mut clients.arrivals, 1.0 / scenario.rate());
        if now > scenario.seconds * 1_000_000 {
            break;
        }
        while let Some((at, up)) = changes.pop_if(|(at, _)| *at <= now) {
            world.end_until(at);
            table.set_up(FIRST, up, millis(at));
        }
        world.end_until(now);
        let (worker, key) = (clients.worker.usize(..WORKERS), keyed.then(|| clients.key()));
        world.send(now, worker, key, exponential(&mut clients.work, SERVICE));
    }
    world.end_until(u64::MAX);
    world.run
}

fn exponential(rng: &mut Rng, mean: f64) -> u64 {
    (-(1.0 - rng.f64()).ln() * mean) as u64
}

/// As the balancer counts them; its clock has run for a while.
fn millis(at: u64) -> u64 {
    60_000 + at / 1_000
}

impl<'a> World<'a> {
    fn new(scenario: &'a Scenario, table: &'a Table, algorithm: &Algorithm, seed: u64) -> Self {
        let server = |i| {
            let mut stalls = Rng::with_seed(seed << 16 | u64::from(i));
            let stall = scenario.trouble == Trouble::Stalls;
            let next_stall = if stall { exponential(&mut stalls, STALLS_APART) } else { u64::MAX };
            Server { idle_from: 0, present: 0, next_stall, stalls }
        };
        let pool = &table.pools()[0];
        Self {
            scenario,
            table,
            ewma: *algorithm == Algorithm::PeakEwma,
            eligible: (0..WORKERS).map(|i| Eligible::new(table, pool, seed << 16 | i as u64)).collect(),
            servers: (0..scenario.backends).map(server).collect(),
            ends: BinaryHeap::new(),
            run: Run { exchanges: Vec::new(), queues: vec![0; usize::from(scenario.backends)] },
        }
    }

    fn pool(&self) -> &'a Pool {
        &self.table.pools()[0]
    }

    fn send(&mut self, now: u64, worker: usize, key: Option<u64>, work: u64) {
        let ask = Ask { now: millis(now), key, replayable: true, ..Ask::default() };
        let (pool, eligible) = (self.pool(), &mut self.eligible[worker]);
        eligible.refresh(self.table, pool);
        let (backend, trial) = match eligible.choose(self.table, pool, &ask) {
            Choice::Backend(backend) => (backend, false),
            Choice::Trial(backend) => (backend, true),
            none => panic!("{none:?} at {now}"),
        };
        self.table.backend(backend).tally(worker).request();
        let failed = self.scenario.trouble == Trouble::FailsFast && backend == FIRST;
        let time = if failed { FAST_FAILURE } else { self.slowed(now, backend, work) };
        let server = &mut self.servers[backend.index()];
        let end = server.serve(now, time);
        server.present += 1;
        let queue = &mut self.run.queues[backend.index()];
        *queue = server.present.max(*queue);
        self.ends.push(Reverse((end, self.run.exchanges.len())));
        let exchange = Exchange { began: now, took: end - now, backend, failed, worker, trial };
        self.run.exchanges.push(exchange);
    }

    /// How long this backend is at work that takes another one so long.
    fn slowed(&self, now: u64, backend: BackendId, work: u64) -> u64 {
        match self.scenario.trouble {
            Trouble::HalfSpeed if backend == FIRST => 2 * work,
            Trouble::Returns if backend == FIRST && now >= RETURNS => {
                let begins = now.max(self.servers[0].idle_from);
                let warmth = ((begins - RETURNS) as f64 / WARM_AFTER as f64).min(1.0);
                (work as f64 * (COLD - (COLD - 1.0) * warmth)) as u64
            }
            _ => work,
        }
    }

    fn end_until(&mut self, now: u64) {
        while let Some(Reverse((end, number))) = self.ends.peek().copied().filter(|end| end.0.0 <= now) {
            self.ends.pop();
            let exchange = self.run.exchanges[number];
            self.servers[exchange.backend.index()].present -= 1;
            self.answered(&exchange, millis(end));
        }
    }

    /// What `worker/trust.rs` makes of an answer.
    fn answered(&self, exchange: &Exchange, now: u64) {
        let Exchange { backend, took, worker, trial, failed, .. } = *exchange;
        if self.ewma && !failed {
            self.table.backend(backend).latency().observe(took, now);
        }
        choice::leave(self.table, self.pool(), backend, Counted::by(self.pool()));
        let blamed = failed && self.scenario.judgement != Judgement::Answer;
        if blamed {
            self.table.backend(backend).latency().observe_failure(took, now);
        }
        match (blamed, trial) {
            (false, false) => self.table.succeeded(backend),
            (false, true) => drop(self.table.trial_succeeded(backend, now)),
            (true, false) => drop(self.table.failed(backend, worker, now)),
            (true, true) => drop(self.table.trial_failed(backend, worker, now)),
        }
    }
}

impl Server {
    /// When work that comes now will be done.
    fn serve(&mut self, now: u64, mut work: u64) -> u64 {
        let mut at = now.max(self.idle_from);
        while self.next_stall < at + work {
            let over = self.next_stall + STALL;
            work -= self.next_stall.saturating_sub(at);
            at = at.max(over);
            self.next_stall = over + exponential(&mut self.stalls, STALLS_APART);
        }
        self.idle_from = at + work;
        self.idle_from
    }
}
