//! The circuit breaker of one backend: closed while it is trusted, open while it is out, and half-open while
//! exactly one request tries it (Nygard, "Release It!", 2007).

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::config::Ejection;

/// Longer times would not fit beside the level; 2^56 ms are two million years.
const LEVEL_BITS: u32 = 6;
const STATE_BITS: u32 = 2;
const LEVEL_MAX: u64 = (1 << LEVEL_BITS) - 1;

/// What a circuit is at one moment. Times are in milliseconds since the process began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Trusted, since then if it was ever out.
    Closed {
        /// When the last trial succeeded; 0: it was never out.
        since: u64,
    },
    /// Out; one request may try it from then on.
    Open {
        /// When it may be tried.
        until: u64,
    },
    /// One request is trying it.
    HalfOpen,
}

/// State, level and time in one word, so that every change is one compare-and-swap.
#[derive(Debug, Default)]
pub struct Circuit(AtomicU64);

#[derive(Clone, Copy)]
struct Word {
    state: State,
    /// How often in a row it was opened.
    level: u64,
}

impl Word {
    fn unpack(word: u64) -> Self {
        let time = word >> (STATE_BITS + LEVEL_BITS);
        let state = match word & ((1 << STATE_BITS) - 1) {
            0 => State::Closed { since: time },
            1 => State::Open { until: time },
            _ => State::HalfOpen,
        };
        Self { state, level: word >> STATE_BITS & LEVEL_MAX }
    }

    fn pack(self) -> u64 {
        let (state, time) = match self.state {
            State::Closed { since } => (0, since),
            State::Open { until } => (1, until),
            State::HalfOpen => (2, 0),
        };
        time << (STATE_BITS + LEVEL_BITS) | self.level.min(LEVEL_MAX) << STATE_BITS | state
    }

    fn opened(level: u64, now: u64, ejection: &Ejection) -> Self {
        let (time, most) = (ejection.time.as_millis() as u64, ejection.time_max.as_millis() as u64);
        let doubled = time.saturating_mul(1_u64.checked_shl(level as u32).unwrap_or(u64::MAX));
        Self { state: State::Open { until: now + doubled.min(most.max(time)) }, level: level + 1 }
    }
}

impl Circuit {
    /// What it is now.
    pub fn state(&self) -> State {
        Word::unpack(self.0.load(Relaxed)).state
    }

    /// Trusted.
    pub fn is_closed(&self) -> bool {
        matches!(self.state(), State::Closed { .. })
    }

    fn change(&self, change: impl Fn(Word) -> Option<Word>) -> bool {
        self.0.fetch_update(Relaxed, Relaxed, |word| change(Word::unpack(word)).map(Word::pack)).is_ok()
    }

    /// Takes a trusted backend out; false when it was out already. Each time soon after another is twice as long.
    pub fn open(&self, now: u64, ejection: &Ejection) -> bool {
        self.change(|word| {
            let State::Closed { since } = word.state else { return None };
            let calm = now.saturating_sub(since) >= ejection.time_max.as_millis() as u64;
            Some(Word::opened(if calm { 0 } else { word.level }, now, ejection))
        })
    }

    /// Takes the one trial; false when its time has not come or somebody has it.
    pub fn try_out(&self, now: u64) -> bool {
        self.change(|word| {
            matches!(word.state, State::Open { until } if until <= now)
                .then_some(Word { state: State::HalfOpen, ..word })
        })
    }

    /// The trial succeeded; false when something else has decided meanwhile.
    pub fn trial_succeeded(&self, now: u64) -> bool {
        let closed = State::Closed { since: now.max(1) };
        self.change(|word| (word.state == State::HalfOpen).then_some(Word { state: closed, ..word }))
    }

    /// The trial failed: out again, for longer.
    pub fn trial_failed(&self, now: u64, ejection: &Ejection) {
        self.change(|word| (word.state == State::HalfOpen).then(|| Word::opened(word.level, now, ejection)));
    }

    /// The trial said nothing about the backend: another request may try.
    pub fn trial_abandoned(&self, now: u64) {
        let open = State::Open { until: now };
        self.change(|word| (word.state == State::HalfOpen).then_some(Word { state: open, ..word }));
    }

    /// Trusted again for another reason; true when it was out.
    pub fn reset(&self) -> bool {
        !matches!(Word::unpack(self.0.swap(0, Relaxed)).state, State::Closed { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;
    use std::time::Duration;

    fn ejection() -> Ejection {
        Ejection { time: Duration::from_secs(1), time_max: Duration::from_secs(5), ..Ejection::default() }
    }

    #[test]
    fn the_time_out_doubles_up_to_its_bound_and_starts_anew_after_a_calm() {
        let (circuit, ejection) = (Circuit::default(), ejection());
        assert!(circuit.open(0, &ejection) && !circuit.open(0, &ejection));
        let mut now = 0;
        for time in [1_000, 2_000, 4_000, 5_000, 5_000] {
            assert_eq!(circuit.state(), State::Open { until: now + time });
            assert!(!circuit.try_out(now + time - 1) && circuit.try_out(now + time));
            now += time;
            circuit.trial_failed(now, &ejection);
        }
        assert!(circuit.try_out(now + 5_000) && circuit.trial_succeeded(now + 5_000));
        now += 5_000;
        assert!(circuit.open(now + 4_999, &ejection));
        assert_eq!(circuit.state(), State::Open { until: now + 4_999 + 5_000 });
        assert!(circuit.try_out(now + 10_000) && circuit.trial_succeeded(now + 10_000));
        assert!(circuit.open(now + 15_000, &ejection));
        assert_eq!(circuit.state(), State::Open { until: now + 16_000 });
    }

    #[test]
    fn one_request_tries_and_no_other() {
        let (circuit, ejection) = (Circuit::default(), ejection());
        circuit.open(0, &ejection);
        let trials = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    (0..1000).for_each(|_| {
                        trials.fetch_add(u32::from(circuit.try_out(1_000)), Relaxed);
                    })
                });
            }
        });
        assert_eq!(trials.into_inner(), 1);
        circuit.trial_abandoned(1_001);
        assert!(circuit.try_out(1_001) && !circuit.try_out(1_001));
        assert!(circuit.reset() && circuit.is_closed() && !circuit.trial_succeeded(1_002));
    }
}
