//! Which backend is probed when, which address is next, and when to give up: pure, handed the time.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::dial::Failure;
use crate::config::Health;
use crate::id::BackendId;

/// Shortest interval and timeout; zero would spin.
const SHORTEST: Duration = Duration::from_millis(1);
/// Longest interval and timeout; keeps every sum of times in range.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
/// After the first round the starts are spread over this part of the interval.
const SPREAD: u32 = 10;
/// A probe that found no descriptor tries again after this long: others may have ended; a try costs little.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(100);
/// A shortage that has not been met for this long is over: the next one is said again.
const SHORTAGE_OVER: Duration = Duration::from_secs(60);

/// The state of every probe, one for each backend.
///
/// The caller takes what is `due`, does the step it is told, and says how that went.
#[derive(Debug)]
pub(super) struct Schedule {
    health: Health,
    probes: Box<[Probe]>,
    /// Exactly one entry for each probe, equal to its `wake`.
    wakes: BTreeSet<(Instant, BackendId)>,
    /// When descriptors were last found to be short.
    shortage: Option<Instant>,
}

/// The probe of one backend, running or not.
#[derive(Debug)]
struct Probe {
    /// Starts after the first are at this moment and whole intervals after it.
    phase: Instant,
    /// The next start, or the deadline of the attempt that runs.
    wake: Instant,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Until the next start.
    Resting,
    /// An attempt runs: at position `first + failed.len()`, modulo `addresses`.
    Dialling { first: usize, addresses: usize, begun: Instant, failed: Vec<(usize, Failure)> },
}

/// What the time has come for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Call `start`.
    Start(BackendId),
    /// The attempt had its time: close it and call `failed`.
    Expired(BackendId),
}

/// What a probe needs next.
#[derive(Debug)]
pub(super) enum Step {
    /// Connect to the address at this position; if that cannot even begin, call `failed` or `postpone`.
    Dial(usize),
    /// The probe has ended: every address failed, in this order. None failed if there was none.
    Down(Vec<(usize, Failure)>),
}

/// A good end of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Up {
    /// Position of the address that answered.
    pub(super) position: usize,
    /// From the start of that attempt to the answer.
    pub(super) took: Duration,
}

impl Schedule {
    /// Probes for this many backends; all are due at once.
    pub(super) fn new(health: Health, backends: usize, now: Instant) -> Self {
        let health = Health {
            interval: health.interval.clamp(SHORTEST, LONGEST),
            timeout: health.timeout.clamp(SHORTEST, LONGEST),
            ..health
        };
        let ids = (0..backends).map(|index| BackendId(index as u16));
        let interval = health.interval;
        let probe = |id: BackendId| {
            // Earlier, not later: no backend waits longer than the interval.
            let early = interval / SPREAD * u32::from(id.0) / backends as u32;
            Probe { phase: now + interval - early, wake: now, state: State::Resting }
        };
        Self {
            health,
            probes: ids.clone().map(probe).collect(),
            wakes: ids.map(|id| (now, id)).collect(),
            shortage: None,
        }
    }

    /// When `due` will next have something; `None` without backends.
    pub(super) fn wake(&self) -> Option<Instant> {
        self.wakes.first().map(|&(wake, _)| wake)
    }

    /// What is due now, the longest due first. The same answer until it is acted on.
    pub(super) fn due(&self, now: Instant) -> Option<Due> {
        let &(_, id) = self.wakes.first().filter(|&&(wake, _)| wake <= now)?;
        Some(match self.probes[id.index()].state {
            State::Resting => Due::Start(id),
            State::Dialling { .. } => Due::Expired(id),
        })
    }

    /// Begins a probe over so many addresses, `first` before the others.
    pub(super) fn start(&mut self, id: BackendId, addresses: usize, first: usize, now: Instant) -> Step {
        self.probes[id.index()].state = State::Dialling { first, addresses, begun: now, failed: Vec::new() };
        self.proceed(id, now)
    }

    /// The running attempt failed: the next address, or the end.
    pub(super) fn failed(&mut self, id: BackendId, failure: Failure, now: Instant) -> Step {
        if let State::Dialling { first, addresses, failed, .. } = &mut self.probes[id.index()].state {
            failed.push(((*first + failed.len()) % *addresses, failure));
        }
        self.proceed(id, now)
    }

    /// The running attempt connected; `None` if none runs.
    pub(super) fn connected(&mut self, id: BackendId, now: Instant) -> Option<Up> {
        let State::Dialling { first, addresses, begun, failed } = &self.probes[id.index()].state else {
            return None;
        };
        let position = (*first + failed.len()) % *addresses;
        let up = Up { position, took: now.saturating_duration_since(*begun) };
        self.rest(id, now);
        Some(up)
    }

    /// The probe could not be made for want of descriptors: it ends without a result and is soon tried again.
    /// True when this shortage is a new one.
    pub(super) fn postpone(&mut self, id: BackendId, now: Instant) -> bool {
        self.rest(id, now);
        let wake = self.probes[id.index()].wake.min(now + SHORTAGE_PAUSE);
        self.set_wake(id, wake);
        let last = self.shortage.replace(now);
        last.is_none_or(|last| now.saturating_duration_since(last) > SHORTAGE_OVER.max(self.health.interval))
    }

    /// The next address gets its time, or all have failed.
    fn proceed(&mut self, id: BackendId, now: Instant) -> Step {
        let State::Dialling { first, addresses, begun, failed } = &mut self.probes[id.index()].state else {
            return Step::Down(Vec::new());
        };
        if failed.len() == *addresses {
            let failed = std::mem::take(failed);
            self.rest(id, now);
            return Step::Down(failed);
        }
        *begun = now;
        let position = (*first + failed.len()) % *addresses;
        self.set_wake(id, now + self.health.timeout);
        Step::Dial(position)
    }

    fn rest(&mut self, id: BackendId, now: Instant) {
        let probe = &mut self.probes[id.index()];
        probe.state = State::Resting;
        let wake = next_start(probe.phase, self.health.interval, now);
        self.set_wake(id, wake);
    }

    fn set_wake(&mut self, id: BackendId, wake: Instant) {
        let probe = &mut self.probes[id.index()];
        self.wakes.remove(&(probe.wake, id));
        self.wakes.insert((wake, id));
        probe.wake = wake;
    }
}

/// The first of `phase`, `phase + interval`, ... after `now`: starts that a long probe overran are left out.
fn next_start(phase: Instant, interval: Duration, now: Instant) -> Instant {
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

    const A: BackendId = BackendId(0);
    const B: BackendId = BackendId(1);

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    fn schedule(backends: usize, now: Instant) -> Schedule {
        Schedule::new(Health { interval: ms(1000), timeout: ms(200), ..Health::default() }, backends, now)
    }

    fn dial(step: Step) -> usize {
        match step {
            Step::Dial(position) => position,
            Step::Down(failed) => panic!("down: {failed:?}"),
        }
    }

    fn down(step: Step) -> Vec<usize> {
        match step {
            Step::Down(failed) => failed.into_iter().map(|(position, _)| position).collect(),
            Step::Dial(position) => panic!("dial {position}"),
        }
    }

    #[test]
    fn all_start_at_once_then_each_keeps_its_interval_apart_from_the_others() {
        let zero = Instant::now();
        let mut schedule = schedule(100, zero);
        let mut starts = vec![Vec::new(); 100];
        let mut now = zero;
        while now < zero + ms(3500) {
            while let Some(due) = schedule.due(now) {
                let Due::Start(id) = due else { panic!("{due:?}") };
                starts[id.index()].push(now - zero);
                assert_eq!(dial(schedule.start(id, 1, 0, now)), 0);
                assert_eq!(schedule.connected(id, now), Some(Up { position: 0, took: ms(0) }));
            }
            now = schedule.wake().unwrap();
        }
        let mut second = BTreeSet::new();
        for starts in &starts {
            assert_eq!(starts.len(), 4);
            assert_eq!(starts[0], ms(0));
            assert!(starts[1] > ms(900) && starts[1] <= ms(1000), "{starts:?}");
            assert_eq!((starts[2] - starts[1], starts[3] - starts[2]), (ms(1000), ms(1000)));
            second.insert(starts[1]);
        }
        assert_eq!(second.len(), 100);
        assert_eq!(schedule.wakes.len(), 100);
    }

    #[test]
    fn the_preferred_address_is_first_and_the_others_follow_until_all_failed() {
        let now = Instant::now();
        let mut schedule = schedule(1, now);
        assert_eq!(dial(schedule.start(A, 3, 1, now)), 1);
        assert_eq!(dial(schedule.failed(A, Failure::NoAnswer, now)), 2);
        assert_eq!(dial(schedule.failed(A, Failure::NoAnswer, now)), 0);
        assert_eq!(down(schedule.failed(A, Failure::NoAnswer, now)), [1, 2, 0]);
        assert_eq!(schedule.wake(), Some(now + ms(1000)));
        assert_eq!(schedule.connected(A, now), None);
    }

    #[test]
    fn a_later_address_that_answers_is_told_with_its_own_time() {
        let zero = Instant::now();
        let mut schedule = schedule(1, zero);
        schedule.start(A, 2, 0, zero);
        assert_eq!(schedule.due(zero + ms(199)), None);
        assert_eq!(schedule.due(zero + ms(200)), Some(Due::Expired(A)));
        assert_eq!(dial(schedule.failed(A, Failure::NoAnswer, zero + ms(200))), 1);
        assert_eq!(schedule.due(zero + ms(399)), None);
        assert_eq!(schedule.connected(A, zero + ms(205)), Some(Up { position: 1, took: ms(5) }));
        assert_eq!(schedule.wake(), Some(zero + ms(1000)));
    }

    #[test]
    fn one_that_hangs_does_not_hold_up_another() {
        let zero = Instant::now();
        let mut schedule = schedule(2, zero);
        schedule.start(A, 1, 0, zero);
        assert_eq!(schedule.due(zero), Some(Due::Start(B)));
        schedule.start(B, 1, 0, zero);
        assert!(schedule.connected(B, zero + ms(1)).is_some());
        assert_eq!(schedule.due(zero + ms(200)), Some(Due::Expired(A)));
    }

    #[test]
    fn no_address_is_down_at_once() {
        let now = Instant::now();
        let mut schedule = schedule(1, now);
        assert!(down(schedule.start(A, 0, 0, now)).is_empty());
        assert_eq!(schedule.due(now), None);
    }

    #[test]
    fn a_probe_longer_than_the_interval_leaves_starts_out() {
        let zero = Instant::now();
        let mut schedule =
            Schedule::new(Health { interval: ms(100), timeout: ms(250), ..Health::default() }, 1, zero);
        schedule.start(A, 1, 0, zero);
        down(schedule.failed(A, Failure::NoAnswer, zero + ms(250)));
        assert_eq!(schedule.wake(), Some(zero + ms(300)));
        assert_eq!(next_start(zero, ms(100), zero + ms(300)), zero + ms(400));
    }

    #[test]
    fn a_shortage_is_told_once_and_tried_again_soon() {
        let zero = Instant::now();
        let mut schedule =
            Schedule::new(Health { interval: ms(10_000), timeout: ms(200), ..Health::default() }, 2, zero);
        for (id, told) in [(A, true), (B, false)] {
            schedule.start(id, 1, 0, zero);
            assert_eq!(schedule.postpone(id, zero), told);
        }
        assert_eq!(schedule.due(zero), None);
        assert_eq!(schedule.due(zero + SHORTAGE_PAUSE), Some(Due::Start(A)));
        schedule.start(A, 1, 0, zero);
        assert!(!schedule.postpone(A, zero + SHORTAGE_OVER));
        assert!(schedule.postpone(A, zero + 3 * SHORTAGE_OVER));
    }

    #[test]
    fn absurd_times_neither_spin_nor_overflow() {
        let now = Instant::now();
        for time in [Duration::ZERO, Duration::MAX] {
            let mut schedule =
                Schedule::new(Health { interval: time, timeout: time, ..Health::default() }, 4096, now);
            let last = BackendId(4095);
            assert_eq!(dial(schedule.start(last, 1, 0, now)), 0);
            schedule.connected(last, now);
            assert!(schedule.probes[last.index()].wake > now);
        }
        assert_eq!(
            Schedule::new(Health { interval: ms(1), timeout: ms(1), ..Health::default() }, 0, now).wake(),
            None
        );
    }
}
