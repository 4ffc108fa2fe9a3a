//! Times counted by how long they were: one writer, read by whoever asks while it goes on.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The bounds that scrapers are told, in microseconds, inclusive: round numbers, so that "within 100 ms" is exact. Each
/// is a bound of [`FINE_US`] too.
pub const BOUNDS_US: [u64; 25] = [
    50, 100, 200, 300, 500, 1_000, 2_000, 3_000, 5_000, 10_000, 20_000, 30_000, 50_000, 100_000, 200_000,
    300_000, 500_000, 1_000_000, 2_000_000, 3_000_000, 5_000_000, 10_000_000, 20_000_000, 30_000_000,
    60_000_000,
];

/// Bounds within ten, by their first two digits: each at most an eighth more than the one before.
const DIGITS: [u64; 28] = [
    10, 11, 12, 13, 14, 15, 16, 18, 20, 22, 24, 26, 28, 30, 33, 36, 40, 45, 50, 55, 60, 65, 70, 75, 80, 85,
    90, 95,
];
/// Times of 10 us, 100 us, … are told as finely as [`DIGITS`] are, up to the last of [`BOUNDS_US`].
const FINE: usize = DIGITS.len() * 6 + 21;

/// Upper bounds of the buckets in microseconds, inclusive, so close that a quantile is right to a tenth. What is above
/// the last is counted beside them.
const FINE_US: [u64; FINE] = {
    let (mut bounds, mut i) = ([0; FINE], 0);
    while i < FINE {
        bounds[i] = DIGITS[i % DIGITS.len()] * 10_u64.pow((i / DIGITS.len()) as u32);
        i += 1;
    }
    bounds
};
const _: () = assert!(FINE_US[FINE - 1] == BOUNDS_US[BOUNDS_US.len() - 1]);

const BUCKETS: usize = FINE + 1;

/// By how many bits a time has, the first bucket that it can belong to: a few steps of search are left.
const FIRST: [u8; OCTAVES + 1] = {
    let (mut first, mut bits) = ([0; OCTAVES + 1], 0);
    while bits <= OCTAVES {
        let least = if bits == 0 { 0 } else { 1 << (bits - 1) };
        let mut i = 0;
        while i < FINE && FINE_US[i] < least {
            i += 1;
        }
        first[bits] = i as u8;
        bits += 1;
    }
    first
};
/// Bits of the last bound.
const OCTAVES: usize = (u64::BITS - FINE_US[FINE - 1].leading_zeros()) as usize;

/// A time, and the bucket that it belongs to in every histogram.
#[derive(Clone, Copy, Debug)]
pub struct Timed {
    us: u64,
    bucket: usize,
}

impl Timed {
    /// So many microseconds.
    #[inline]
    pub fn of(us: u64) -> Self {
        Self { us, bucket: bucket(us) }
    }
}

/// How many times fell into each bucket.
#[derive(Debug)]
pub struct Histogram {
    counts: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [const { AtomicU64::new(0) }; BUCKETS], sum_us: AtomicU64::new(0) }
    }
}

impl Histogram {
    /// Counts a time in microseconds. Only the owning worker may call it.
    #[inline]
    pub fn record(&self, us: u64) {
        self.add(Timed::of(us));
    }

    /// As [`Self::record`], of a time that more than one histogram counts.
    #[inline]
    pub fn add(&self, time: Timed) {
        add(&self.counts[time.bucket], 1);
        add(&self.sum_us, time.us);
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
    let bits = (u64::BITS - us.leading_zeros()) as usize;
    let Some(&first) = FIRST.get(bits) else { return FINE };
    let first = usize::from(first);
    let last = FIRST.get(bits + 1).map_or(FINE, |&next| usize::from(next));
    first + FINE_US[first..last].partition_point(|&bound| bound < us)
}

/// The histograms of several writers, or of a span of time, added up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Times {
    /// By bucket; the last one holds what is above all bounds.
    counts: [u64; BUCKETS],
    /// All times together, in microseconds.
    pub sum_us: u64,
}

impl Default for Times {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], sum_us: 0 }
    }
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

    /// How many times exceeded none of [`BOUNDS_US`], one by one.
    pub fn within(&self) -> impl Iterator<Item = u64> + '_ {
        let (mut at, mut below) = (0, 0);
        BOUNDS_US.iter().map(move |&bound| {
            while at < FINE && FINE_US[at] <= bound {
                below += self.counts[at];
                at += 1;
            }
            below
        })
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
                let last = FINE_US[FINE - 1] as f64;
                let low = if i == 0 { 0.0 } else { FINE_US[i - 1] as f64 };
                let high = FINE_US.get(i).map_or(last, |&bound| bound as f64);
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
    fn bounds_grow_by_no_more_than_an_eighth_and_those_told_are_among_them() {
        assert!(FINE_US.windows(2).all(|pair| pair[0] < pair[1] && pair[1] * 8 <= pair[0] * 9));
        assert!(BOUNDS_US.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(BOUNDS_US.iter().all(|bound| FINE_US.contains(bound)));
    }

    #[test]
    fn a_time_belongs_to_the_first_bound_that_is_not_below_it() {
        let near = FINE_US.iter().flat_map(|&bound| [bound - 1, bound, bound + 1]);
        let powers = (0..u64::BITS).flat_map(|bits| [1 << bits, (1 << bits) - 1]);
        for us in near.chain(powers).chain([u64::MAX]) {
            assert_eq!(bucket(us), FINE_US.partition_point(|&bound| bound < us), "{us}");
        }
    }

    #[test]
    fn a_bound_that_is_told_counts_what_did_not_exceed_it() {
        let histogram = Histogram::default();
        [0, 50, 51, 100, 60_000_000, 60_000_001, u64::MAX].into_iter().for_each(|us| histogram.record(us));
        let within: Vec<u64> = Times::of([&histogram].into_iter()).within().collect();
        assert_eq!((within.len(), within[0], within[1], within[23], within[24]), (25, 2, 4, 4, 5));
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
            let low = if i == 0 { 0 } else { FINE_US[i - 1] };
            assert!((low as f64..=FINE_US[i] as f64).contains(&found), "{share}: {found} for {exact}");
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
