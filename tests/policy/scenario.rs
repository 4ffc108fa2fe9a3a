//! What is simulated: the algorithms, and what befalls the backends.

use std::time::Duration;

use evenkeel::balance::Table;
use evenkeel::config::{Algorithm, Backend, BackendUrl, Ejection, Key, Pool};
use evenkeel::limits;

pub(crate) const WORKERS: usize = 4;
/// Mean time of an answer by a backend that has nothing else to do, in microseconds.
pub(crate) const SERVICE: f64 = 10_000.0;
pub(crate) const STALL: u64 = 200_000;
/// Mean time from one stall of a backend to the next.
pub(crate) const STALLS_APART: f64 = 5_000_000.0;
/// What an error takes that a backend answers without any work.
pub(crate) const FAST_FAILURE: u64 = 1_000;
/// When the backend of the last scenario goes, and when it returns: far enough apart that its queue is empty.
pub(crate) const GOES: u64 = 2_000_000;
pub(crate) const RETURNS: u64 = 12_000_000;
/// A backend that returns takes four times as long at first, and ever less until it is warm.
pub(crate) const COLD: f64 = 4.0;
pub(crate) const WARM_AFTER: u64 = 10_000_000;

/// As their flag names them, from what is worst with equal backends to what is best.
pub(crate) const ALGORITHMS: [(&str, Algorithm); 6] = [
    ("random", Algorithm::Random),
    ("round-robin", Algorithm::RoundRobin),
    ("hash", Algorithm::Hash { key: Key::Uri, bound: Some(limits::HASH_BOUND) }),
    ("peak-ewma", Algorithm::PeakEwma),
    ("two-choices", Algorithm::TwoChoices),
    ("least-connections", Algorithm::LeastConnections),
];

/// What befalls the backends; where it is one of them, it is the first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Trouble {
    None,
    /// One takes twice as long.
    HalfSpeed,
    /// Each stands still now and then.
    Stalls,
    /// One answers an error at once, whatever it is asked.
    FailsFast,
    /// One goes, and returns cold.
    Returns,
}

/// What an answer of 500 means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Judgement {
    /// Nothing, as without `--fail-statuses`.
    Answer,
    /// A failure, but nobody is taken out for it.
    Failure,
    /// A failure, and three in a row take the backend out.
    Breaker,
}

#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) backends: u16,
    /// Percent of what all could do at full speed.
    pub(crate) load: u32,
    pub(crate) seconds: u64,
    pub(crate) trouble: Trouble,
    pub(crate) slow_start: Duration,
    pub(crate) judgement: Judgement,
}

impl Scenario {
    pub(crate) fn new(trouble: Trouble, load: u32, seconds: u64) -> Self {
        let judgement = Judgement::Breaker;
        Self { backends: 16, load, seconds, trouble, slow_start: Duration::ZERO, judgement }
    }

    /// Requests in a microsecond.
    pub(crate) fn rate(&self) -> f64 {
        f64::from(self.backends) * f64::from(self.load) / 100.0 / SERVICE
    }

    pub(crate) fn table(&self, algorithm: &Algorithm) -> Table {
        let url = |i| BackendUrl { host: "backend.test".into(), port: 8_000 + i };
        let ejection = match self.judgement {
            Judgement::Breaker => Ejection::default(),
            Judgement::Answer | Judgement::Failure => Ejection { most: 0, ..Ejection::default() },
        };
        let pool = Pool {
            algorithm: algorithm.clone(),
            backends: (0..self.backends).map(|i| Backend::new(url(i))).collect(),
            slow_start: self.slow_start,
            ejection,
            ..Pool::default()
        };
        Table::new(vec![(pool, vec![Vec::new(); usize::from(self.backends)])], WORKERS)
    }
}
