//! The retry budget of a pool: retries in proportion to requests, so that an outage is not doubled by them.
//!
//! A token bucket that requests fill (as in Finagle's `RetryBudget`). It is only looked at when a retry is wanted:
//! whatever has come since the last look is reckoned then, and a pool without failures pays nothing for it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::limits;

/// A token, in the thousandths that are kept: a percent of a request and a millisecond of the floor are whole.
const TOKEN: i64 = 1000;
const PERCENT: u64 = 10;
/// In milliseconds: the time over which the rate is taken, and the least between two of its samples.
const SPAN: u64 = limits::RETRY_BUDGET_SPAN.as_millis() as u64;
const SAMPLES_APART: u64 = 1000;
/// All within the span, one before it, and one on its way in.
const SAMPLES: usize = (SPAN / SAMPLES_APART) as usize + 2;

/// What the retries of all requests of a pool may use together.
///
/// It holds at most what [`limits::RETRY_BUDGET_SPAN`] brings at the present rate (but never less than one retry):
/// what a day without failures earns cannot be spent in a minute. Where it has not been looked at for longer, the
/// present rate is the mean since then, so that a rise is believed only as it goes on.
#[derive(Debug)]
pub struct Budget {
    percent: u64,
    floor: u64,
    account: Mutex<Account>,
}

#[derive(Debug)]
struct Account {
    /// Thousandths of tokens; negative while more was forced than was there.
    tokens: i64,
    /// The last look: milliseconds, and requests by then.
    seen: Sample,
    /// Looks at least [`SAMPLES_APART`]; the first one is at or before the beginning of the span.
    samples: VecDeque<Sample>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    at: u64,
    requests: u64,
}

impl Budget {
    /// A retry for every hundred requests times `percent`, and `floor_per_second` beside them; it starts with what the
    /// floor brings in [`limits::RETRY_BUDGET_SPAN`].
    #[must_use]
    pub fn new(percent: u32, floor_per_second: u32) -> Self {
        let floor = u64::from(floor_per_second);
        let mut samples = VecDeque::with_capacity(SAMPLES);
        samples.push_back(Sample::default());
        let tokens = (floor * SPAN) as i64;
        let account = Mutex::new(Account { tokens, seen: Sample::default(), samples });
        Self { percent: percent.into(), floor, account }
    }

    /// Takes a token for a retry, if there is one.
    ///
    /// `now_ms` counts from about when `requests`, the pool's total over all workers, was 0. Callers whose clocks or
    /// totals are a little behind those of others do no harm.
    pub fn withdraw(&self, now_ms: u64, requests: u64) -> bool {
        let mut account = self.look(now_ms, requests);
        let enough = account.tokens >= TOKEN;
        account.tokens -= if enough { TOKEN } else { 0 };
        enough
    }

    /// Whether there is a token; see [`Self::withdraw`].
    pub fn allows(&self, now_ms: u64, requests: u64) -> bool {
        self.look(now_ms, requests).tokens >= TOKEN
    }

    /// Takes a token although there may be none, for a retry that has to be. What is owed for such retries is at most
    /// what would be there at best, so that many of them do not forbid others for longer than it takes to earn that.
    pub fn force(&self, now_ms: u64, requests: u64) {
        let mut account = self.look(now_ms, requests);
        let most = self.most(account.recent());
        account.tokens = account.tokens.saturating_sub(TOKEN).max(-most);
    }

    /// Retries that it would allow now, less than none where some were forced.
    pub fn left(&self, now_ms: u64, requests: u64) -> i64 {
        self.look(now_ms, requests).tokens.div_euclid(TOKEN)
    }

    fn look(&self, now_ms: u64, requests: u64) -> MutexGuard<'_, Account> {
        // A panic ends the process, so nobody ever sees a poisoned lock.
        let mut account = self.account.lock().unwrap_or_else(PoisonError::into_inner);
        let Sample { at, requests: before } = account.seen;
        let seen = Sample { at: at.max(now_ms), requests: before.max(requests) };
        let earned = self.earned(seen.requests - before, seen.at - at);
        account.sample(seen);
        let most = self.most(account.recent());
        account.tokens = account.tokens.saturating_add(earned).min(most);
        account
    }

    fn earned(&self, requests: u64, millis: u64) -> i64 {
        let by_requests = requests.saturating_mul(self.percent * PERCENT);
        let by_time = millis.saturating_mul(self.floor);
        by_requests.saturating_add(by_time).min(i64::MAX as u64) as i64
    }

    /// The most that it holds with so many requests in a span.
    fn most(&self, requests: u64) -> i64 {
        self.earned(requests, SPAN).max(TOKEN)
    }
}

impl Account {
    fn sample(&mut self, seen: Sample) {
        self.seen = seen;
        let beginning = seen.at.saturating_sub(SPAN);
        while self.samples.get(1).is_some_and(|second| second.at <= beginning) {
            self.samples.pop_front();
        }
        if self.samples.back().is_none_or(|last| seen.at - last.at >= SAMPLES_APART) {
            self.samples.push_back(seen);
        }
    }

    /// Requests within the span before the last look, as if those between two samples had come evenly.
    fn recent(&self) -> u64 {
        let beginning = self.seen.at.saturating_sub(SPAN);
        let first = self.samples.front().copied().unwrap_or_default();
        let second = self.samples.get(1).copied().unwrap_or(self.seen);
        let (time, requests) = (second.at - first.at, second.requests - first.requests);
        let passed = u128::from(requests) * u128::from(beginning - first.at) / u128::from(time.max(1));
        self.seen.requests - first.requests - passed as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Retries that are granted at once.
    fn at_once(budget: &Budget, now: u64, requests: u64) -> u64 {
        (0..1_000_000).take_while(|_| budget.withdraw(now, requests)).count() as u64
    }

    #[test]
    fn it_starts_with_ten_seconds_of_its_floor() {
        assert_eq!(at_once(&Budget::new(20, 3), 0, 0), 30);
        assert_eq!(at_once(&Budget::new(20, 0), 0, 0), 0);
        let budget = Budget::new(0, 0);
        assert_eq!(at_once(&budget, 3_600_000, 1_000_000), 0);
    }

    #[test]
    fn steady_requests_bring_their_percentage_and_the_floor() {
        let budget = Budget::new(20, 3);
        at_once(&budget, 0, 0);
        for second in 1..=100 {
            assert_eq!(at_once(&budget, second * 1000, second * 50), 13, "in second {second}");
        }
        let budget = Budget::new(33, 0);
        let granted: u64 = (1..=1000).map(|n| at_once(&budget, n * 17, n)).sum();
        assert_eq!(granted, 330);
    }

    #[test]
    fn what_was_saved_is_ten_seconds_of_the_rate() {
        for hours in [1, 24, 10_000] {
            let budget = Budget::new(20, 3);
            assert_eq!(at_once(&budget, hours * 3_600_000, hours * 3600 * 100), 10 * (20 + 3));
        }
    }

    #[test]
    fn a_burst_after_a_long_quiet_is_believed_as_it_goes_on() {
        let budget = Budget::new(20, 3);
        let day = 86_400_000;
        assert_eq!(at_once(&budget, day, 0), 30);
        assert_eq!(at_once(&budget, day + 1, 1000), 200, "a fifth of what has come since");
        let saved = Budget::new(20, 3);
        assert!(saved.withdraw(day, 0));
        for second in 1..=10 {
            assert!(saved.withdraw(day + second * 1000, second * 1000));
        }
        // 30 from before, less the 11 taken, and all that came: but at most ten seconds of it.
        assert_eq!(at_once(&saved, day + 10_000, 10_000), 10 * (200 + 3) - 1);
    }

    #[test]
    fn a_rate_that_fell_is_forgotten_after_ten_seconds() {
        let budget = Budget::new(20, 1);
        for second in 0..=20 {
            assert!(budget.withdraw(second * 1000, second * 1000));
        }
        for second in 21..=31 {
            assert!(budget.withdraw(second * 1000, 20_000));
        }
        assert_eq!(at_once(&budget, 31_000, 20_000), 10 - 1);
    }

    #[test]
    fn at_a_low_rate_without_a_floor_a_token_can_still_be_saved() {
        let budget = Budget::new(20, 0);
        assert_eq!((0..=50).filter(|n| budget.withdraw(n * 10_000, *n)).count(), 10);
    }

    #[test]
    fn what_is_forced_is_owed_but_not_for_ever() {
        let budget = Budget::new(0, 3);
        at_once(&budget, 0, 0);
        budget.force(0, 0);
        assert!(!budget.withdraw(333, 0) && !budget.withdraw(666, 0) && budget.withdraw(667, 0));
        (0..1_000_000).for_each(|_| budget.force(667, 0));
        assert!(!budget.withdraw(667 + 10_000, 0));
        assert!(budget.withdraw(667 + 10_334, 0));
    }

    #[test]
    fn clocks_and_totals_behind_do_no_harm() {
        let budget = Budget::new(100, 0);
        assert_eq!(at_once(&budget, 5000, 100), 100);
        for _ in 0..100 {
            assert!(!budget.withdraw(4000, 90) && !budget.withdraw(5000, 100));
        }
    }

    #[test]
    fn the_largest_numbers_do_not_wrap() {
        let budget = Budget::new(u32::MAX, u32::MAX);
        for (now, requests) in [(0, 0), (u64::MAX - 1, 1), (u64::MAX, u64::MAX), (0, 0)] {
            assert!(budget.withdraw(now, requests));
            budget.force(now, requests);
        }
        let empty = Budget::new(0, 0);
        empty.force(u64::MAX, u64::MAX);
        assert!(!empty.withdraw(u64::MAX, u64::MAX));
    }

    /// xorshift, below a bound.
    fn draw(seed: &mut u64, bound: u64) -> u64 {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        *seed % bound
    }

    /// Looks at random times and rates: in no ten seconds is there more than they brought and what could be saved.
    #[test]
    fn no_ten_seconds_have_more_than_the_budget_and_what_was_saved() {
        for start in 1..=60_u64 {
            let mut seed = start.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let (percent, floor) = (draw(&mut seed, 120), draw(&mut seed, 6));
            let budget = Budget::new(percent as u32, floor as u32);
            let (mut now, mut requests, mut rate) = (0, 0, 10);
            // Time, requests by then, retries granted by then.
            let mut looks: Vec<(u64, u64, u64)> = vec![(0, 0, 0)];
            let mut granted = 0;
            while looks.len() < 1500 {
                now += draw(&mut seed, 400);
                if draw(&mut seed, 40) == 0 {
                    rate = [0, 1, 30, 400][draw(&mut seed, 4) as usize];
                }
                requests += draw(&mut seed, rate + 1);
                let asks = [1000, 3, 0, 1][draw(&mut seed, 100).min(3) as usize];
                granted += (0..asks).take_while(|_| budget.withdraw(now, requests)).count() as u64;
                looks.push((now, requests, granted));
            }
            let by = |time: u64| looks[looks.partition_point(|look| look.0 < time).saturating_sub(1)];
            for &(end, requests, granted) in &looks {
                // The look before the window; what it could have saved came in a span before it, and a sample more.
                let (_, _, granted_before) = by(end.saturating_sub(SPAN));
                let (_, requests_before, _) = by(end.saturating_sub(2 * SPAN + SAMPLES_APART + 400));
                let brought = (requests - requests_before) * percent * PERCENT;
                let most = brought + 2 * floor * SPAN + floor * 400 + TOKEN as u64;
                assert!((granted - granted_before) * TOKEN as u64 <= most, "seed {start}, before {end} ms");
            }
        }
    }

    /// Whoever takes all that there is, all the time, gets the whole percentage and floor.
    #[test]
    fn nothing_is_lost_to_who_asks_often() {
        for start in 1..=60_u64 {
            let mut seed = start.wrapping_mul(0x2545_f491_4f6c_dd1d);
            let (percent, floor) = (draw(&mut seed, 120), draw(&mut seed, 6));
            let budget = Budget::new(percent as u32, floor as u32);
            let (mut now, mut requests, mut granted) = (0, 0, at_once(&budget, 0, 0));
            for _ in 0..2000 {
                now += draw(&mut seed, 300);
                requests += draw(&mut seed, 50);
                granted += at_once(&budget, now, requests);
            }
            let right = (requests * percent * PERCENT + floor * (SPAN + now)) / TOKEN as u64;
            assert_eq!(granted, right, "seed {start}: {percent} % and {floor}");
        }
    }
}
