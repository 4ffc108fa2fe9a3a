//! What is said of runs: quantiles, queues and shares.

use evenkeel::config::Algorithm;

use crate::scenario::Scenario;
use crate::world;

/// Requests that come before the queues are as they will be are left out, in microseconds.
const SETTLED: u64 = 2_000_000;
pub(crate) const SEEDS: usize = 4;

/// The runs of one algorithm, one a seed.
#[derive(Debug)]
pub(crate) struct Figures {
    /// Of what was answered well, the quickest first.
    answers: Vec<Answer>,
    tallies: Vec<Tally>,
    /// When the last request came, at most.
    end: u64,
}

#[derive(Clone, Copy, Debug)]
struct Answer {
    took: u64,
    began: u64,
    seed: usize,
}

/// What one run has counted of each backend.
#[derive(Debug)]
struct Tally {
    requests: Vec<u32>,
    /// The most that it had at once.
    queues: Vec<u32>,
}

impl Figures {
    pub(crate) fn of(scenario: &Scenario, algorithm: &Algorithm) -> Self {
        let (mut answers, mut tallies) = (Vec::new(), Vec::new());
        for seed in 0..SEEDS {
            let run = world::run(scenario, algorithm, seed as u64);
            let mut requests = vec![0; run.queues.len()];
            for exchange in &run.exchanges {
                requests[exchange.backend.index()] += 1;
                if !exchange.failed {
                    answers.push(Answer { took: exchange.took, began: exchange.began, seed });
                }
            }
            tallies.push(Tally { requests, queues: run.queues });
        }
        answers.sort_unstable_by_key(|answer| answer.took);
        Self { answers, tallies, end: scenario.seconds * 1_000_000 }
    }

    /// The latency that so many of a thousand answers stay below, in milliseconds.
    fn quantile(&self, permille: usize, counts: impl Fn(&Answer) -> bool) -> f64 {
        let took: Vec<u64> = self.answers.iter().filter(|a| counts(a)).map(|answer| answer.took).collect();
        took[took.len() * permille / 1_000] as f64 / 1_000.0
    }

    pub(crate) fn p50(&self) -> f64 {
        self.quantile(500, |answer| answer.began >= SETTLED)
    }

    pub(crate) fn p99(&self) -> f64 {
        self.p99_between(SETTLED, self.end)
    }

    /// Of requests that began then, in microseconds.
    pub(crate) fn p99_between(&self, from: u64, to: u64) -> f64 {
        self.quantile(990, |answer| (from..to).contains(&answer.began))
    }

    /// In the first and in the second half of the run.
    pub(crate) fn p99_halves(&self) -> [f64; 2] {
        let half = SETTLED.midpoint(self.end);
        [self.p99_between(SETTLED, half), self.p99_between(half, self.end)]
    }

    /// With each seed by itself, for what has to hold with every one.
    pub(crate) fn p99_each(&self) -> [f64; SEEDS] {
        std::array::from_fn(|seed| self.quantile(990, |a| a.seed == seed && a.began >= SETTLED))
    }

    /// The most requests that one backend had at once.
    pub(crate) fn queue(&self) -> f64 {
        self.tallies.iter().flat_map(|tally| &tally.queues).copied().max().unwrap_or(0).into()
    }

    /// The most requests that the first backend had at once.
    pub(crate) fn first_queue(&self) -> f64 {
        self.tallies.iter().map(|tally| tally.queues[0]).max().unwrap_or(0).into()
    }

    /// In percent of all requests, for each backend.
    pub(crate) fn shares(&self) -> Vec<f64> {
        let requests = |at: usize| self.tallies.iter().map(|tally| tally.requests[at]).sum::<u32>();
        let requests: Vec<u32> = (0..self.tallies[0].requests.len()).map(requests).collect();
        let all: u32 = requests.iter().sum();
        requests.into_iter().map(|count| f64::from(count) * 100.0 / f64::from(all)).collect()
    }

    pub(crate) fn first_share(&self) -> f64 {
        self.shares()[0]
    }

    pub(crate) fn least_share(&self) -> f64 {
        self.shares().into_iter().fold(100.0, f64::min)
    }
}
