//! One probe on its way: every address in turn, and at each of them every path.

use std::time::{Duration, Instant};

use super::fault::Fault;

/// A probe that has begun and not ended.
#[derive(Debug)]
pub(super) struct Course {
    addresses: Turns,
    paths: Turns,
    /// When this address had its first connection.
    begun: Instant,
    /// What went wrong at this address.
    faults: Vec<Fault>,
    failed: Vec<Failed>,
}

/// An address that failed, and everything that went wrong there.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) position: usize,
    pub(super) faults: Vec<Fault>,
}

/// A good end of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Up {
    /// Position of the address that answered.
    pub(super) position: usize,
    /// Position of the path that was answered well; 0 where nothing is asked.
    pub(super) path: usize,
    /// From the first connection to that address to the answer.
    pub(super) took: Duration,
}

/// What a probe needs next.
#[derive(Debug)]
pub(super) enum Step {
    /// A new connection to the address at this position, to ask for the path at that one.
    Dial { position: usize, path: usize },
    /// Nothing: every address failed, in this order. None failed if there was none.
    Down(Vec<Failed>),
}

/// Positions from `first` on, each once.
#[derive(Clone, Copy, Debug)]
struct Turns {
    first: usize,
    count: usize,
    done: usize,
}

impl Turns {
    fn new(first: usize, count: usize) -> Self {
        Self { first, count, done: 0 }
    }

    fn position(&self) -> Option<usize> {
        (self.done < self.count).then(|| (self.first + self.done) % self.count)
    }
}

impl Course {
    /// The way over so many addresses and paths, from the `first` ones on.
    pub(super) fn new(
        (first_address, addresses): (usize, usize),
        (first_path, paths): (usize, usize),
        now: Instant,
    ) -> Self {
        Self {
            addresses: Turns::new(first_address, addresses),
            paths: Turns::new(first_path, paths),
            begun: now,
            faults: Vec::new(),
            failed: Vec::new(),
        }
    }

    /// When the address in turn had its first connection.
    pub(super) fn begun(&self) -> Instant {
        self.begun
    }

    /// What is to be done now.
    pub(super) fn step(&mut self) -> Step {
        match (self.addresses.position(), self.paths.position()) {
            (Some(position), Some(path)) => Step::Dial { position, path },
            _ => Step::Down(std::mem::take(&mut self.failed)),
        }
    }

    /// This path failed: the next one at the same address; behind the last one, the next address. True when
    /// that is another address.
    pub(super) fn path_failed(&mut self, fault: Fault, now: Instant) -> bool {
        self.paths.done += 1;
        if self.paths.position().is_none() {
            self.address_failed(fault, now);
            return true;
        }
        self.faults.push(fault);
        false
    }

    /// This address failed, whatever paths are left: the next one.
    pub(super) fn address_failed(&mut self, fault: Fault, now: Instant) {
        let Some(position) = self.addresses.position() else { return };
        let mut faults = std::mem::take(&mut self.faults);
        faults.push(fault);
        self.failed.push(Failed { position, faults });
        self.addresses.done += 1;
        self.paths.done = 0;
        self.begun = now;
    }

    /// The attempt in turn succeeded; `None` if none is in turn.
    pub(super) fn up(&self, now: Instant) -> Option<Up> {
        let (position, path) = self.addresses.position().zip(self.paths.position())?;
        Some(Up { position, path, took: now.saturating_duration_since(self.begun) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fault::Failure;
    use super::*;

    fn fault(path: usize) -> Fault {
        Fault { path: Some(path), failure: Failure::Status(503) }
    }

    fn dial(course: &mut Course) -> (usize, usize) {
        match course.step() {
            Step::Dial { position, path } => (position, path),
            Step::Down(failed) => panic!("down: {failed:?}"),
        }
    }

    #[test]
    fn every_path_at_every_address_from_the_preferred_ones_on() {
        let now = Instant::now();
        let mut course = Course::new((1, 2), (2, 3), now);
        for (position, path, is_last) in
            [(1, 2, false), (1, 0, false), (1, 1, true), (0, 2, false), (0, 0, false), (0, 1, true)]
        {
            assert_eq!(dial(&mut course), (position, path));
            assert_eq!(course.path_failed(fault(path), now), is_last);
        }
        let Step::Down(failed) = course.step() else { panic!("{course:?}") };
        let paths = |at: usize| failed[at].faults.iter().map(|fault| fault.path).collect::<Vec<_>>();
        assert_eq!((failed[0].position, paths(0)), (1, vec![Some(2), Some(0), Some(1)]));
        assert_eq!((failed[1].position, paths(1)), (0, vec![Some(2), Some(0), Some(1)]));
        assert_eq!(course.up(now), None);
    }

    #[test]
    fn a_failed_address_takes_its_paths_with_it_and_starts_the_time_anew() {
        let zero = Instant::now();
        let later = zero + Duration::from_millis(200);
        let mut course = Course::new((0, 2), (0, 2), zero);
        course.path_failed(fault(0), zero);
        course.address_failed(Fault { path: None, failure: Failure::NoAnswer }, later);
        assert_eq!((dial(&mut course), course.begun()), ((1, 0), later));
        let took = Duration::from_millis(5);
        assert_eq!(course.up(later + took), Some(Up { position: 1, path: 0, took }));
        course.path_failed(fault(0), later);
        course.path_failed(fault(1), later);
        let Step::Down(failed) = course.step() else { panic!("{course:?}") };
        assert_eq!((failed.len(), failed[0].faults.len(), failed[1].faults.len()), (2, 2, 2));
    }

    #[test]
    fn no_address_is_down_at_once() {
        let mut course = Course::new((0, 0), (0, 1), Instant::now());
        assert!(matches!(course.step(), Step::Down(failed) if failed.is_empty()));
    }
}
