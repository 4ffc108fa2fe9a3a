//! Times counted by how long they were: one writer, read by whoever asks while it goes on.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Upper bounds of the buckets in microseconds, inclusive: round numbers, so that "within 100 ms" is exact, and no
/// more than twice the one before. What is above the last is counted beside them.
pub const BOUNDS_US: [u64; 25] = [
    50, 100, 200, 300, 500, 1_000, 2_000, 3_000, 5_000, 10_000, 20_000, 30_000, 50_000, 100_000, 200_000,
    300_000, 500_000, 1_000_000, 2_000_000, 3_000_000, 5_000_000, 10_000_000, 20_000_000, 30_000_000,
    60_000_000,
];

const BUCKETS: usize = BOUNDS_US.len() + 1;

/// How many times fell into each bucket.
#[derive(Debug, Default)]
pub struct Histogram {
    counts: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
}

impl Histogram {
    /// Counts a time in microseconds. Only the owning worker may call it.
    #[inline]
    pub fn record(&self, us: u64) {
        add(&self.counts[bucket(us)], 1);
        add(&self.sum_us, us);
    }

    /// Adds what was counted so far to `times`.
    pub fn add_to(&self, times: &mut Times) {
        for (sum, count) in times.counts.iter_mut().zip(&self.counts) {
            *sum += count.load(Relaxed);
        }
        times.sum_us += self.sum_us.load(Relaxed);
    }
}

fn add(count: &AtomicU64, n: u64) {
    count.store(count.load(Relaxed).wrapping_add(n), Relaxed);
}

/// The first bucket whose bound is not below `us`.
#[inline]
fn bucket(us: u64) -> usize {
    BOUNDS_US.partition_point(|&bound| bound < us)
}

/// The histograms of several writers, or of a span of time, added up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// By bucket; the last one holds what is above all bounds.
    pub counts: [u64; BUCKETS],
    /// All times together, in microseconds.
    pub sum_us: u64,
}

impl Times {
    /// The sum of these histograms.
    pub fn of<'a>(histograms: impl Iterator<Item = &'a Histogram>) -> Self {
        let mut times = Self::default();
        histograms.for_each(|histogram| histogram.add_to(&mut times));
        times
    }

    /// How many times were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Adds those of others.
    pub fn add(&mut self, others: &Self) {
        self.counts.iter_mut().zip(&others.counts).for_each(|(sum, count)| *sum += count);
        self.sum_us += others.sum_us;
    }

    /// What came after an earlier look at the same histograms.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut rest = self.clone();
        rest.counts.iter_mut().zip(&earlier.counts).for_each(|(now, then)| *now = now.saturating_sub(*then));
        rest.sum_us = rest.sum_us.saturating_sub(earlier.sum_us);
        rest
    }

    /// The time in microseconds that a share of all, 0 to 1, did not exceed, taken as evenly spread within its
    /// bucket; `None` when nothing was counted. Above the last bound it is that bound.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = (share.clamp(0.0, 1.0) * count as f64).max(1.0);
        let mut below = 0;
        for (i, &here) in self.counts.iter().enumerate() {
            if (below + here) as f64 >= rank {
                let last = BOUNDS_US[BOUNDS_US.len() - 1] as f64;
                let low = if i == 0 { 0.0 } else { BOUNDS_US[i - 1] as f64 };
                let high = BOUNDS_US.get(i).map_or(last, |&bound| bound as f64);
                return Some(low + (high - low) * (rank - below as f64) / here as f64);
            }
            below += here;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_grow_by_no_more_than_two() {
        assert!(BOUNDS_US.windows(2).all(|pair| pair[0] < pair[1] && pair[1] <= pair[0] * 2));
    }

    #[test]
    fn a_time_on_a_bound_belongs_below_it() {
        assert_eq!((bucket(0), bucket(50), bucket(51), bucket(100)), (0, 0, 1, 1));
        assert_eq!((bucket(60_000_000), bucket(60_000_001), bucket(u64::MAX)), (24, 25, 25));
    }

    #[test]
    fn quantiles_lie_within_the_bucket_of_the_true_one() {
        let histogram = Histogram::default();
        let mut rng = fastrand::Rng::with_seed(7);
        let mut all: Vec<u64> = (0..10_000).map(|_| 10_u64.pow(rng.u32(1..7)) * rng.u64(1..10)).collect();
        all.iter().for_each(|&us| histogram.record(us));
        all.sort_unstable();
        let times = Times::of([&histogram].into_iter());
        assert_eq!((times.count(), times.sum_us), (10_000, all.iter().sum()));
        for share in [0.01, 0.25, 0.5, 0.9, 0.99, 0.999] {
            let exact = all[(share * 10_000.0) as usize - 1];
            let found = times.quantile(share).unwrap();
            let i = bucket(exact);
            let low = if i == 0 { 0 } else { BOUNDS_US[i - 1] };
            assert!((low as f64..=BOUNDS_US[i] as f64).contains(&found), "{share}: {found} for {exact}");
        }
    }

    #[test]
    fn nothing_has_no_quantile_and_a_span_has_only_what_came_in_it() {
        let histogram = Histogram::default();
        assert_eq!(Times::default().quantile(0.5), None);
        histogram.record(10);
        let before = Times::of([&histogram].into_iter());
        histogram.record(70_000_000);
        let span = Times::of([&histogram].into_iter()).since(&before);
        assert_eq!((span.count(), span.sum_us), (1, 70_000_000));
        assert_eq!(span.quantile(0.5), Some(60_000_000.0));
    }
}
