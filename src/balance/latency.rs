//! A backend's latency as a peak-sensitive moving average: up at once, down slowly.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Time in which the past loses all but 1/e of its weight.
const DECAY_MS: f32 = 5_000.0;
/// What a failure counts as at least: a backend that fails fast must not look fast.
const PENALTY_US: u64 = 2_000_000;
/// What is older says nothing any more.
const STALE_MS: i32 = 60_000;

/// The average in microseconds and when it was last touched, in one word. Two workers that observe at once may
/// lose one of two observations, which an average survives.
#[derive(Debug, Default)]
pub struct Latency(AtomicU64);

impl Latency {
    /// Something was observed within the last minute.
    pub fn is_fresh(&self, now_ms: u64) -> bool {
        unpack(self.0.load(Relaxed)).is_some_and(|(_, at)| age(at, now_ms) < STALE_MS)
    }

    /// The average as of now, in microseconds; as it was last for a time before that. `None` before the first
    /// observation.
    pub fn get(&self, now_ms: u64) -> Option<f32> {
        let (average, at) = unpack(self.0.load(Relaxed))?;
        Some(average * weight(at, now_ms))
    }

    /// An answer took so long.
    pub fn observe(&self, took_us: u64, now_ms: u64) {
        self.note(took_us as f32, now_ms);
    }

    /// After so long there was no answer, or one that is a failure.
    pub fn observe_failure(&self, took_us: u64, now_ms: u64) {
        self.note(took_us.max(PENALTY_US) as f32, now_ms);
    }

    fn note(&self, took: f32, now_ms: u64) {
        let average = match unpack(self.0.load(Relaxed)) {
            Some((average, at)) => {
                let weight = weight(at, now_ms);
                if took > average { took } else { average * weight + took * (1.0 - weight) }
            }
            None => took,
        };
        // A time of 0 stands for "never".
        let at = (now_ms as u32).max(1);
        self.0.store(u64::from(average.to_bits()) << 32 | u64::from(at), Relaxed);
    }
}

fn unpack(word: u64) -> Option<(f32, u32)> {
    let at = word as u32;
    (at > 0).then(|| (f32::from_bits((word >> 32) as u32), at))
}

/// What is left of the past.
fn weight(at: u32, now_ms: u64) -> f32 {
    (-age(at, now_ms) as f32 / DECAY_MS).exp()
}

/// The clock of 32 bits goes round once in 49 days, and the difference with it. Another core's may be ahead.
fn age(at: u32, now_ms: u64) -> i32 {
    ((now_ms as u32).wrapping_sub(at) as i32).max(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_at_once_and_falls_slowly() {
        let latency = Latency::default();
        assert_eq!(latency.get(10), None);
        latency.observe(1_000, 10);
        latency.observe(200_000, 20);
        assert_eq!(latency.get(20), Some(200_000.0));
        latency.observe(1_000, 1_020);
        let after_a_second = latency.get(1_020).unwrap();
        assert!((150_000.0..180_000.0).contains(&after_a_second), "{after_a_second}");
        (2..=40).for_each(|second| latency.observe(1_000, second * 1_000));
        assert!(latency.get(40_000).unwrap() < 1_500.0);
    }

    #[test]
    fn without_traffic_the_past_is_forgotten() {
        let latency = Latency::default();
        latency.observe_failure(300, 1_000);
        assert!(latency.is_fresh(60_999) && !latency.is_fresh(61_000));
        assert!(latency.get(1_000).unwrap() > 1_000_000.0);
        assert!(latency.get(61_000).unwrap() < 100.0);
        assert_eq!(latency.get(0), latency.get(1_000), "a clock that another core has not reached yet");
    }
}
