//! Who waits for a backend of a pool: how many over all workers, and which worker's turn is next.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

use super::Padded;

/// Stands for "nobody".
const NOBODY: u64 = u64::MAX;

/// Each worker keeps its own line; this is what the others must know of it. Whoever joins counts itself before
/// it looks for room once more, and whoever makes room looks here afterwards, both in one order for all (SeqCst):
/// so one of the two sees the other, and nobody waits beside free room.
#[derive(Debug)]
pub struct Waiting {
    count: AtomicU32,
    lines: Box<[Padded<Line>]>,
}

/// When the first of a worker's line joined.
#[derive(Debug)]
struct Line {
    any: AtomicU64,
    /// The first that does not wait for its own backend.
    free: AtomicU64,
}

impl Waiting {
    /// Nobody waits, at so many workers.
    pub fn new(workers: usize) -> Self {
        let line = || Padded(Line { any: AtomicU64::new(NOBODY), free: AtomicU64::new(NOBODY) });
        Self { count: AtomicU32::new(0), lines: (0..workers).map(|_| line()).collect() }
    }

    /// Counts one more, if fewer than `most` wait; exact over all workers.
    pub fn join(&self, most: u32) -> bool {
        self.count.fetch_update(SeqCst, SeqCst, |count| (count < most).then_some(count + 1)).is_ok()
    }

    /// Counts one that joined out again.
    pub fn leave(&self) {
        self.count.fetch_sub(1, SeqCst);
    }

    /// Says since when the first of a worker's line has waited, and the first that any backend is good for.
    pub fn tell(&self, worker: usize, any: Option<u64>, free: Option<u64>) {
        self.lines[worker].0.any.store(any.unwrap_or(NOBODY), SeqCst);
        self.lines[worker].0.free.store(free.unwrap_or(NOBODY), SeqCst);
    }

    /// How many wait.
    pub fn len(&self) -> u32 {
        self.count.load(Relaxed)
    }

    /// Nobody waits. To be asked after room was made.
    pub fn is_empty(&self) -> bool {
        self.count.load(SeqCst) == 0
    }

    /// The worker whose first has waited longest.
    pub fn next(&self) -> Option<usize> {
        self.oldest(|line| &line.any)
    }

    /// The worker with the one that has waited longest of those that any backend is good for.
    pub fn next_free(&self) -> Option<usize> {
        self.oldest(|line| &line.free)
    }

    fn oldest(&self, first: impl Fn(&Line) -> &AtomicU64) -> Option<usize> {
        let firsts = self.lines.iter().enumerate().map(|(at, line)| (first(&line.0).load(SeqCst), at));
        firsts.min().filter(|&(since, _)| since != NOBODY).map(|(_, worker)| worker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_bounded_and_the_oldest_is_next() {
        let waiting = Waiting::new(3);
        assert!(waiting.is_empty() && waiting.next().is_none());
        assert!(waiting.join(2) && waiting.join(2) && !waiting.join(2));
        waiting.tell(0, Some(20), Some(20));
        waiting.tell(2, Some(10), Some(30));
        assert_eq!((waiting.next(), waiting.next_free()), (Some(2), Some(0)));
        waiting.tell(0, Some(20), None);
        assert_eq!((waiting.next(), waiting.next_free()), (Some(2), Some(2)));
        waiting.tell(2, None, None);
        assert_eq!((waiting.next(), waiting.next_free()), (Some(0), None));
        waiting.leave();
        assert_eq!(waiting.len(), 1);
    }
}
