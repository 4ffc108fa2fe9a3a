//! Which backend is probed when, what its probe does next, and when to give up: pure, handed the time.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::course::{Course, Step, Up};
use super::fault::Fault;
use super::timing::{Timing, next_start};
use crate::id::BackendId;

/// After the first round the starts are spread over this part of the interval.
const SPREAD: u32 = 10;
/// Each start is late by chance, at most by this part of the time between starts: balancers that were started
/// together do not go on to probe together.
const JITTER: u32 = 10;
/// A probe that found no descriptor tries again after this long: others may have ended; a try costs little.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(100);
/// A shortage that has not been met for this long is over: the next one is said again.
const SHORTAGE_OVER: Duration = Duration::from_secs(60);

/// The state of every probe, one for each backend.
///
/// The caller takes what is `due`, does the step it is told, and says how that went.
#[derive(Debug)]
pub(super) struct Schedule {
    probes: Vec<Probe>,
    /// Exactly one entry for each probe that has a `wake`, equal to it.
    wakes: BTreeSet<(Instant, BackendId)>,
    /// When descriptors were last found to be short.
    shortage: Option<Instant>,
    random: Rng,
}

/// The probe of one backend, running or not.
#[derive(Debug)]
struct Probe {
    /// `None`: it is never probed.
    timing: Option<Timing>,
    /// Starts after the first are about this moment and whole intervals after it.
    phase: Instant,
    /// When the latest probe began.
    started: Instant,
    /// The next start, or the deadline of the address that is tried.
    wake: Option<Instant>,
    /// The path that was answered well the last time.
    path: usize,
    /// The probe that runs.
    course: Option<Course>,
}

/// What the time has come for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Call `start`.
    Start(BackendId),
    /// The address had its time: close the connection and call `address_failed`.
    Expired(BackendId),
}

/// One backend of a new table.
#[derive(Clone, Copy, Debug)]
pub(super) enum Entry {
    /// Probed as it was under that number.
    Kept(BackendId),
    /// New, or to be probed in another way: due at once, if at all.
    New(Option<Timing>),
}

impl Schedule {
    /// No probes.
    pub(super) fn new(random: Rng) -> Self {
        Self { probes: Vec::new(), wakes: BTreeSet::new(), shortage: None, random }
    }

    /// From now on there are these; each old one may be kept once.
    pub(super) fn replace(&mut self, entries: &[Entry], now: Instant) {
        let mut old: Vec<_> = std::mem::take(&mut self.probes).into_iter().map(Some).collect();
        let count = entries.len() as u32;
        let probe = |(index, entry): (usize, &Entry)| match entry {
            Entry::Kept(id) => old.get_mut(id.index()).and_then(Option::take),
            Entry::New(timing) => {
                let interval = timing.map_or(Duration::ZERO, |timing| timing.interval);
                // Earlier, not later: none waits longer for its second probe than for the third.
                let early = interval / SPREAD * index as u32 / count;
                let phase = now + interval - early;
                let wake = timing.map(|_| now);
                Some(Probe { timing: *timing, phase, started: now, wake, path: 0, course: None })
            }
        };
        self.probes = entries.iter().enumerate().filter_map(probe).collect();
        debug_assert_eq!(self.probes.len(), entries.len(), "an old probe is there, and kept once");
        let wake = |(index, probe): (usize, &Probe)| Some((probe.wake?, BackendId(index as u16)));
        self.wakes = self.probes.iter().enumerate().filter_map(wake).collect();
    }

    /// When `due` will next have something; `None` if nothing is probed.
    pub(super) fn wake(&self) -> Option<Instant> {
        self.wakes.first().map(|&(wake, _)| wake)
    }

    /// What is due now, the longest due first. The same answer until it is acted on.
    pub(super) fn due(&self, now: Instant) -> Option<Due> {
        let &(_, id) = self.wakes.first().filter(|&&(wake, _)| wake <= now)?;
        Some(match self.probes[id.index()].course {
            None => Due::Start(id),
            Some(_) => Due::Expired(id),
        })
    }

    /// Begins a probe over so many addresses, `first` before the others.
    pub(super) fn start(&mut self, id: BackendId, addresses: usize, first: usize, now: Instant) -> Step {
        let probe = &mut self.probes[id.index()];
        let paths = probe.timing.map_or(1, |timing| timing.paths);
        probe.started = now;
        probe.course = Some(Course::new((first, addresses), (probe.path, paths), now));
        self.new_address(id, now)
    }

    /// The path in turn failed: the next one on a new connection, the next address, or the end.
    pub(super) fn path_failed(&mut self, id: BackendId, fault: Fault, now: Instant) -> Step {
        let Some(course) = &mut self.probes[id.index()].course else { return Step::Down(Vec::new()) };
        if course.path_failed(fault, now) { self.new_address(id, now) } else { course.step() }
    }

    /// The address in turn failed: the next one, or the end.
    pub(super) fn address_failed(&mut self, id: BackendId, fault: Fault, now: Instant) -> Step {
        if let Some(course) = &mut self.probes[id.index()].course {
            course.address_failed(fault, now);
        }
        self.new_address(id, now)
    }

    /// The attempt in turn succeeded; `None` if none runs.
    pub(super) fn succeeded(&mut self, id: BackendId, now: Instant) -> Option<Up> {
        let probe = &mut self.probes[id.index()];
        let up = probe.course.as_ref()?.up(now)?;
        probe.path = up.path;
        self.rest(id, now);
        Some(up)
    }

    /// The latest result of a probe that has ended is not yet believed: the next one comes sooner.
    pub(super) fn hasten(&mut self, id: BackendId, now: Instant) {
        let probe = &self.probes[id.index()];
        let Some((timing, wake)) = probe.timing.zip(probe.wake) else { return };
        let sooner = next_start(probe.started, timing.haste, now) + self.jitter(timing.haste);
        self.set_wake(id, Some(sooner.min(wake)));
    }

    /// The probe could not be made for want of descriptors: it ends without a result and is soon tried again.
    /// True when this shortage is a new one.
    pub(super) fn postpone(&mut self, id: BackendId, now: Instant) -> bool {
        self.rest(id, now);
        let probe = &self.probes[id.index()];
        let interval = probe.timing.map_or(Duration::ZERO, |timing| timing.interval);
        let wake = probe.wake.map(|wake| wake.min(now + SHORTAGE_PAUSE));
        self.set_wake(id, wake);
        let last = self.shortage.replace(now);
        last.is_none_or(|last| now.saturating_duration_since(last) > SHORTAGE_OVER.max(interval))
    }

    /// The address in turn gets its time, or all have failed.
    fn new_address(&mut self, id: BackendId, now: Instant) -> Step {
        let probe = &mut self.probes[id.index()];
        let Some(course) = &mut probe.course else { return Step::Down(Vec::new()) };
        let step = course.step();
        if matches!(step, Step::Down(_)) {
            self.rest(id, now);
        } else {
            let deadline = probe.timing.map(|timing| course.begun() + timing.timeout);
            self.set_wake(id, deadline);
        }
        step
    }

    fn rest(&mut self, id: BackendId, now: Instant) {
        let probe = &mut self.probes[id.index()];
        probe.course = None;
        let (timing, phase) = (probe.timing, probe.phase);
        let wake =
            timing.map(|timing| next_start(phase, timing.interval, now) + self.jitter(timing.interval));
        self.set_wake(id, wake);
    }

    fn jitter(&mut self, interval: Duration) -> Duration {
        let most = u64::try_from((interval / JITTER).as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.random.u64(0..=most))
    }

    fn set_wake(&mut self, id: BackendId, wake: Option<Instant>) {
        let probe = &mut self.probes[id.index()];
        if let Some(old) = std::mem::replace(&mut probe.wake, wake) {
            self.wakes.remove(&(old, id));
        }
        self.wakes.extend(wake.map(|wake| (wake, id)));
    }
}

#[cfg(test)]
mod tests {
    use super::super::fault::Failure;
    use super::*;

    const A: BackendId = BackendId(0);
    const B: BackendId = BackendId(1);

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    fn timing(interval: u64, timeout: u64) -> Timing {
        Timing { interval: ms(interval), haste: ms(interval) / 4, timeout: ms(timeout), paths: 1 }
    }

    fn schedule(timings: &[Timing], now: Instant) -> Schedule {
        let mut schedule = Schedule::new(Rng::with_seed(7));
        let entries: Vec<_> = timings.iter().map(|&timing| Entry::New(Some(timing))).collect();
        schedule.replace(&entries, now);
        schedule
    }

    fn fault() -> Fault {
        Fault { path: None, failure: Failure::NoAnswer }
    }

    #[track_caller]
    fn dial(step: Step) -> (usize, usize) {
        match step {
            Step::Dial { position, path } => (position, path),
            Step::Down(failed) => panic!("down: {failed:?}"),
        }
    }

    #[track_caller]
    fn down(step: Step) -> Vec<usize> {
        match step {
            Step::Down(failed) => failed.into_iter().map(|failed| failed.position).collect(),
            Step::Dial { .. } => panic!("{step:?}"),
        }
    }

    /// Whether it is that moment, or later by at most a tenth of the interval.
    #[track_caller]
    fn assert_about(wake: Option<Instant>, moment: Instant, interval: Duration) {
        let wake = wake.expect("a wake");
        assert!(wake >= moment && wake <= moment + interval / 10, "{:?} late", wake - moment);
    }

    #[test]
    fn all_start_at_once_then_each_keeps_its_interval_apart_from_the_others() {
        let zero = Instant::now();
        let mut schedule = schedule(&[timing(1000, 200); 100], zero);
        let mut starts = vec![Vec::new(); 100];
        let mut now = zero;
        while now < zero + ms(3600) {
            while let Some(due) = schedule.due(now) {
                let Due::Start(id) = due else { panic!("{due:?}") };
                starts[id.index()].push(now - zero);
                assert_eq!(dial(schedule.start(id, 1, 0, now)), (0, 0));
                assert!(schedule.succeeded(id, now).is_some());
            }
            now = schedule.wake().unwrap();
        }
        let (mut second, mut gaps) = (BTreeSet::new(), BTreeSet::new());
        for starts in &starts {
            assert!((4..=5).contains(&starts.len()), "{starts:?}");
            assert_eq!(starts[0], ms(0));
            assert!(starts[1] > ms(900) && starts[1] <= ms(1100), "{starts:?}");
            for pair in starts[1..].windows(2) {
                let gap = pair[1] - pair[0];
                assert!(gap >= ms(900) && gap <= ms(1100), "{gap:?}");
                gaps.insert(gap);
            }
            second.insert(starts[1]);
        }
        assert_eq!(second.len(), 100);
        assert!(gaps.len() > 100, "the gaps differ by chance");
        assert_eq!(schedule.wakes.len(), 100);
    }

    #[test]
    fn the_preferred_address_is_first_and_the_others_follow_until_all_failed() {
        let now = Instant::now();
        let mut schedule = schedule(&[timing(1000, 200)], now);
        assert_eq!(dial(schedule.start(A, 3, 1, now)), (1, 0));
        assert_eq!(dial(schedule.address_failed(A, fault(), now)), (2, 0));
        assert_eq!(dial(schedule.path_failed(A, fault(), now)), (0, 0));
        assert_eq!(down(schedule.address_failed(A, fault(), now)), [1, 2, 0]);
        assert_about(schedule.wake(), now + ms(1000), ms(1000));
        assert_eq!(schedule.succeeded(A, now), None);
    }

    #[test]
    fn all_paths_share_the_time_of_their_address() {
        let zero = Instant::now();
        let mut schedule = schedule(&[Timing { paths: 3, ..timing(1000, 200) }], zero);
        assert_eq!(dial(schedule.start(A, 2, 0, zero)), (0, 0));
        assert_eq!(dial(schedule.path_failed(A, fault(), zero + ms(150))), (0, 1));
        assert_eq!(schedule.due(zero + ms(199)), None);
        assert_eq!(schedule.due(zero + ms(200)), Some(Due::Expired(A)));
        assert_eq!(dial(schedule.address_failed(A, fault(), zero + ms(200))), (1, 0));
        assert_eq!(schedule.wake(), Some(zero + ms(400)));
    }

    #[test]
    fn the_path_that_worked_is_first_the_next_time() {
        let now = Instant::now();
        let mut schedule = schedule(&[Timing { paths: 2, ..timing(1000, 200) }], now);
        schedule.start(A, 1, 0, now);
        assert_eq!(dial(schedule.path_failed(A, fault(), now)), (0, 1));
        assert_eq!(schedule.succeeded(A, now), Some(Up { position: 0, path: 1, took: ms(0) }));
        assert_eq!(dial(schedule.start(A, 1, 0, now)), (0, 1));
        assert_eq!(dial(schedule.path_failed(A, fault(), now)), (0, 0));
        assert_eq!(down(schedule.path_failed(A, fault(), now)), [0]);
        assert_eq!(dial(schedule.start(A, 1, 0, now)), (0, 1));
    }

    #[test]
    fn a_later_address_that_answers_is_told_with_its_own_time() {
        let zero = Instant::now();
        let mut schedule = schedule(&[timing(1000, 200)], zero);
        schedule.start(A, 2, 0, zero);
        assert_eq!(dial(schedule.address_failed(A, fault(), zero + ms(200))), (1, 0));
        assert_eq!(schedule.due(zero + ms(399)), None);
        let up = Up { position: 1, path: 0, took: ms(5) };
        assert_eq!(schedule.succeeded(A, zero + ms(205)), Some(up));
        assert_about(schedule.wake(), zero + ms(1000), ms(1000));
    }

    #[test]
    fn one_that_hangs_does_not_hold_up_another() {
        let zero = Instant::now();
        let mut schedule = schedule(&[timing(1000, 200); 2], zero);
        schedule.start(A, 1, 0, zero);
        assert_eq!(schedule.due(zero), Some(Due::Start(B)));
        schedule.start(B, 1, 0, zero);
        assert!(schedule.succeeded(B, zero + ms(1)).is_some());
        assert_eq!(schedule.due(zero + ms(200)), Some(Due::Expired(A)));
    }

    #[test]
    fn no_address_is_down_at_once() {
        let now = Instant::now();
        let mut schedule = schedule(&[timing(1000, 200)], now);
        assert!(down(schedule.start(A, 0, 0, now)).is_empty());
        assert_eq!(schedule.due(now), None);
    }

    #[test]
    fn a_probe_longer_than_the_interval_leaves_starts_out() {
        let zero = Instant::now();
        let mut schedule = schedule(&[timing(100, 250)], zero);
        schedule.start(A, 1, 0, zero);
        down(schedule.address_failed(A, fault(), zero + ms(250)));
        assert_about(schedule.wake(), zero + ms(300), ms(100));
    }

    #[test]
    fn haste_counts_from_the_start_and_never_delays() {
        let zero = Instant::now();
        let mut schedule = schedule(&[timing(1000, 600)], zero);
        schedule.start(A, 1, 0, zero);
        schedule.succeeded(A, zero + ms(1));
        schedule.hasten(A, zero + ms(1));
        assert_about(schedule.wake(), zero + ms(250), ms(250));
        schedule.start(A, 1, 0, zero + ms(270));
        schedule.address_failed(A, fault(), zero + ms(870));
        schedule.hasten(A, zero + ms(870));
        assert_about(schedule.wake(), zero + ms(1000), ms(1000));
    }

    #[test]
    fn a_shortage_is_told_once_and_tried_again_soon() {
        let zero = Instant::now();
        let mut schedule = schedule(&[timing(10_000, 200); 2], zero);
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
    fn a_replaced_table_keeps_what_is_kept_under_its_new_number() {
        let zero = Instant::now();
        let mut schedule = schedule(&[timing(1000, 200), timing(2000, 300)], zero);
        schedule.start(A, 1, 0, zero);
        schedule.succeeded(A, zero);
        schedule.start(B, 1, 0, zero);
        let new = Entry::New(Some(timing(1000, 200)));
        schedule.replace(&[Entry::Kept(B), new, Entry::New(None)], zero + ms(100));
        assert_eq!(schedule.wakes.len(), 2);
        assert_eq!(schedule.due(zero + ms(100)), Some(Due::Start(B)));
        schedule.start(B, 1, 0, zero + ms(100));
        schedule.succeeded(B, zero + ms(100));
        assert_eq!(schedule.due(zero + ms(300)), Some(Due::Expired(A)));
        assert!(schedule.succeeded(A, zero + ms(300)).is_some());
        schedule.replace(&[], zero + ms(300));
        assert_eq!(schedule.wake(), None);
    }

    #[test]
    fn what_is_not_probed_is_never_due() {
        let now = Instant::now();
        let mut schedule = Schedule::new(Rng::with_seed(7));
        schedule.replace(&[Entry::New(None)], now);
        assert_eq!((schedule.due(now + ms(1_000_000)), schedule.wake()), (None, None));
    }

    #[test]
    fn a_full_table_of_long_intervals_does_not_overflow() {
        let now = Instant::now();
        let year = timing(365 * 24 * 3600 * 1000, 200);
        let mut schedule = schedule(&vec![year; crate::limits::BACKENDS_MAX], now);
        let last = BackendId(crate::limits::BACKENDS_MAX as u16 - 1);
        assert_eq!(dial(schedule.start(last, 1, 0, now)), (0, 0));
        schedule.succeeded(last, now);
        assert!(schedule.probes[last.index()].wake.unwrap() > now);
    }
}
