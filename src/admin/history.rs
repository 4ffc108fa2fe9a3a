//! Samples of the counters, one a second: what rates, shares and quantiles are reckoned from, and what the page draws.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::Sources;
use super::beginning::Beginning;
use crate::balance::{Backend, Pool, Table};
use crate::histogram::Times;
use crate::limits;
use crate::stats::Counter;
use crate::sys::process::{self, thread_seconds};

/// All counters at one moment.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    at: Instant,
    table: Arc<Table>,
    /// By worker.
    pub(super) workers: Vec<WorkerSample>,
    /// By pool: how long requests took.
    totals: Vec<Times>,
    /// By backend.
    backends: Vec<BackendSample>,
}

/// What a backend had been sent and had answered.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BackendSample {
    pub(super) requests: u64,
    pub(super) answers: u64,
    /// That all answers took together up to their first byte.
    pub(super) first_byte_us: u64,
}

impl BackendSample {
    fn of(backend: &Backend) -> Self {
        let mut sum = Self::default();
        for tally in backend.tallies() {
            let (answers, us) = tally.first_bytes();
            sum.requests += tally.requests();
            sum.answers += answers;
            sum.first_byte_us += us;
        }
        sum
    }

    fn since(&self, earlier: &Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(earlier.requests),
            answers: self.answers.saturating_sub(earlier.answers),
            first_byte_us: self.first_byte_us.saturating_sub(earlier.first_byte_us),
        }
    }
}

/// One worker's counters at one moment.
#[derive(Clone, Debug)]
pub(super) struct WorkerSample {
    pub(super) requests: u64,
    /// Connections balanced as a whole.
    tunnels: u64,
    pub(super) failures: u64,
    pub(super) ticks: Times,
    /// Seconds of processor time that its thread has used.
    pub(super) cpu: Option<f64>,
}

impl WorkerSample {
    /// What was balanced: requests, and connections as a whole.
    pub(super) fn balanced(&self) -> u64 {
        self.requests + self.tunnels
    }
}

impl Sample {
    pub(super) fn take(sources: &Sources) -> Self {
        let table = (sources.table)();
        let worker = |block: &Arc<crate::stats::Block>| WorkerSample {
            requests: block.get(Counter::Requests),
            tunnels: block.get(Counter::Tunnels),
            failures: block.get(Counter::Failures),
            ticks: Times::of(std::iter::once(block.ticks())),
            cpu: block.thread().map_or(Some(0.0), thread_seconds),
        };
        let total = |pool: &Arc<Pool>| Times::of(pool.tallies().iter().map(|tally| &tally.total));
        Self {
            at: Instant::now(),
            workers: sources.workers.iter().map(worker).collect(),
            totals: table.pools().iter().map(total).collect(),
            backends: table.backends().iter().map(|backend| BackendSample::of(backend)).collect(),
            table,
        }
    }

    /// Time since an earlier sample; never quite nothing.
    pub(super) fn after(&self, earlier: &Self) -> Duration {
        self.at.saturating_duration_since(earlier.at).max(Duration::from_millis(1))
    }

    fn sum(&self, count: impl Fn(&WorkerSample) -> u64) -> u64 {
        self.workers.iter().map(count).sum()
    }

    /// How long requests of the pool at that place took since an earlier sample. A pool that was not there then, or is
    /// another one now, counts from its beginning.
    pub(super) fn times_of(&self, place: usize, earlier: &Self) -> Times {
        let counts = |sample: &Self| sample.table.pools().get(place).map(|pool| pool.tallies().as_ptr());
        match (self.totals.get(place), earlier.totals.get(place)) {
            (Some(now), Some(then)) if counts(self) == counts(earlier) => now.since(then),
            (now, _) => now.cloned().unwrap_or_default(),
        }
    }

    /// How long requests of all pools took since an earlier sample.
    pub(super) fn times_since(&self, earlier: &Self) -> Times {
        let mut times = Times::default();
        (0..self.totals.len()).for_each(|place| times.add(&self.times_of(place, earlier)));
        times
    }

    /// What the backend at that place did since an earlier sample, or since its beginning if it was not there then.
    pub(super) fn of_backend(&self, place: usize, earlier: &Self) -> BackendSample {
        let counts = |sample: &Self| sample.table.backends().get(place).map(Arc::as_ptr);
        match (self.backends.get(place), earlier.backends.get(place)) {
            (Some(now), Some(then)) if counts(self) == counts(earlier) => now.since(then),
            (now, _) => now.copied().unwrap_or_default(),
        }
    }
}

/// One point of what the page draws.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Point {
    /// In seconds: kept since the machine began, told as Unix time.
    time: f64,
    /// Requests a second, and connections balanced as a whole.
    requests: f64,
    /// Exchanges a second that ended other than well.
    failures: f64,
    /// Client connections open.
    connections: u32,
    /// Quantiles of the time that requests took, in milliseconds.
    p50_ms: Option<f64>,
    p90_ms: Option<f64>,
    p99_ms: Option<f64>,
}

impl Point {
    fn told(&self, began: &Beginning) -> Self {
        Self { time: rounded(began.wall(self.time)), ..*self }
    }
}

/// The last samples and points.
#[derive(Debug)]
pub(super) struct History(Mutex<Kept>);

#[derive(Debug)]
struct Kept {
    samples: VecDeque<Arc<Sample>>,
    points: VecDeque<Point>,
}

impl History {
    pub(super) fn new(sources: &Sources) -> Self {
        let samples = VecDeque::from([Arc::new(Sample::take(sources))]);
        Self(Mutex::new(Kept { samples, points: VecDeque::new() }))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // A panic ends the process, so nobody ever sees a poisoned lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The oldest sample of a few seconds ago.
    pub(super) fn earlier(&self) -> Option<Arc<Sample>> {
        self.kept().samples.front().map(Arc::clone)
    }

    /// What the page draws, oldest first, by the clock as it is now.
    pub(super) fn points(&self, began: &Beginning) -> Vec<Point> {
        self.kept().points.iter().map(|point| point.told(began)).collect()
    }

    /// The newest of them.
    pub(super) fn last(&self, began: &Beginning) -> Option<Point> {
        self.kept().points.back().map(|point| point.told(began))
    }

    /// Takes samples until it is stopped, and woken from its park.
    pub(super) fn run(&self, sources: &Sources, stopped: &AtomicBool) {
        let mut next = Instant::now() + limits::SAMPLE_INTERVAL;
        while !stopped.load(Ordering::Acquire) {
            let left = next.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                thread::park_timeout(left);
                continue;
            }
            // After a time in which the machine slept, one sample is enough.
            next = Instant::now() + limits::SAMPLE_INTERVAL;
            self.add(Sample::take(sources), (sources.connections)().iter().sum());
        }
    }

    fn add(&self, sample: Sample, connections: u32) {
        let mut kept = self.kept();
        if let Some(last) = kept.samples.back() {
            let point = point(last, &sample, connections);
            if kept.points.len() >= limits::SAMPLES {
                kept.points.pop_front();
            }
            kept.points.push_back(point);
        }
        if kept.samples.len() > limits::RECENT_SAMPLES {
            kept.samples.pop_front();
        }
        kept.samples.push_back(Arc::new(sample));
    }
}

fn point(last: &Sample, sample: &Sample, connections: u32) -> Point {
    let seconds = sample.after(last).as_secs_f64();
    let rate =
        |count: fn(&WorkerSample) -> u64| sample.sum(count).saturating_sub(last.sum(count)) as f64 / seconds;
    let times = sample.times_since(last);
    let quantile = |share| times.quantile(share).map(|us| rounded(us / 1e3));
    Point {
        time: process::since_boot(),
        requests: rounded(rate(WorkerSample::balanced)),
        failures: rounded(rate(|worker| worker.failures)),
        connections,
        p50_ms: quantile(0.5),
        p90_ms: quantile(0.9),
        p99_ms: quantile(0.99),
    }
}

/// Unix time in seconds.
pub(super) fn unix() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// To three decimals: microseconds in milliseconds, and short to read.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}
