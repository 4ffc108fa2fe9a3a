//! How often and how long, from what the user asked for.

use std::time::{Duration, Instant};

use crate::config::{Check, Health};

/// Shortest interval and timeout; zero would spin.
const SHORTEST: Duration = Duration::from_millis(1);
/// Longest interval and timeout; keeps every sum of times in range.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
/// A backend whose latest result contradicts what is believed of it is probed so many times as often (HAProxy's
/// `fastinter`): the default of three failures takes a backend down in one and a half intervals, not in three.
const HASTE: u32 = 4;
/// But not more often than this, unless the interval itself is shorter: three blips in a row need some time.
const HASTE_SHORTEST: Duration = Duration::from_secs(1);

/// The times of one backend's probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timing {
    /// Between the starts of two probes.
    pub(super) interval: Duration,
    /// The same while the latest result is not what is believed of the backend.
    pub(super) haste: Duration,
    /// For one address: the connections to it, and every path.
    pub(super) timeout: Duration,
    /// Paths to ask for; 1 where nothing is asked.
    pub(super) paths: usize,
}

impl Timing {
    /// What is asked for, in bounds; `None` where nothing is probed.
    pub(super) fn of(health: &Health) -> Option<Self> {
        let interval = health.interval.clamp(SHORTEST, LONGEST);
        let paths = match &health.check {
            Check::None => return None,
            Check::Tcp => 1,
            Check::Http(check) => check.paths.len().max(1),
        };
        Some(Self {
            interval,
            haste: (interval / HASTE).max(HASTE_SHORTEST).min(interval),
            timeout: health.timeout.clamp(SHORTEST, LONGEST),
            paths,
        })
    }
}

/// The first of `phase`, `phase + interval`, ... after `now`: starts that a long probe overran are left out.
pub(super) fn next_start(phase: Instant, interval: Duration, now: Instant) -> Instant {
    match now.checked_duration_since(phase) {
        None => phase,
        Some(past) => {
            let over = past.as_nanos() % interval.as_nanos();
            now + (interval - Duration::from_nanos(over as u64))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HttpCheck;

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn haste_is_a_quarter_but_a_second_and_never_more_than_the_interval() {
        let haste = |interval| {
            let health = Health { interval: ms(interval), ..Health::default() };
            Timing::of(&health).map(|timing| timing.haste)
        };
        assert_eq!(haste(10_000), Some(ms(2500)));
        assert_eq!(haste(2000), Some(ms(1000)));
        assert_eq!(haste(500), Some(ms(500)));
    }

    #[test]
    fn absurd_times_are_put_in_bounds() {
        for time in [Duration::ZERO, Duration::MAX] {
            let health = Health { interval: time, timeout: time, ..Health::default() };
            let timing = Timing::of(&health).unwrap();
            assert!(timing.interval >= SHORTEST && timing.interval <= LONGEST);
            assert!(timing.timeout >= SHORTEST && timing.timeout <= LONGEST);
            assert!(timing.haste <= timing.interval);
        }
    }

    #[test]
    fn paths_are_counted_and_none_is_not_probed() {
        let paths = |check| Timing::of(&Health { check, ..Health::default() }).map(|timing| timing.paths);
        assert_eq!(paths(Check::None), None);
        assert_eq!(paths(Check::Tcp), Some(1));
        assert_eq!(paths(Check::Http(HttpCheck::default())), Some(2));
        assert_eq!(paths(Check::Http(HttpCheck { paths: Vec::new(), ..HttpCheck::default() })), Some(1));
    }

    #[test]
    fn a_start_is_never_now() {
        let zero = Instant::now();
        assert_eq!(next_start(zero, ms(100), zero + ms(300)), zero + ms(400));
        assert_eq!(next_start(zero, ms(100), zero + ms(399)), zero + ms(400));
        assert_eq!(next_start(zero + ms(5), ms(100), zero), zero + ms(5));
    }
}
