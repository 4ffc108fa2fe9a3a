//! Who waits for a backend of a pool: how many over all workers, and which worker's turn is next.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

use super::Padded;

/// A worker's line is empty.
const NOBODY: u64 = u64::MAX;

/// Each worker keeps its own line; this is what the others must know of it. Whoever joins counts itself before
/// it looks for room once more, and whoever makes room looks here afterwards, both in one order for all (SeqCst):
/// so one of the two sees the other, and nobody waits beside free room.
#[derive(Debug)]
pub struct Waiting {
    count: AtomicU32,
    /// When the first of each worker's line joined.
    first: Box<[Padded<AtomicU64>]>,
}

impl Waiting {
    /// Nobody waits, at so many workers.
    pub fn new(workers: usize) -> Self {
        let first = (0..workers).map(|_| Padded(AtomicU64::new(NOBODY))).collect();
        Self { count: AtomicU32::new(0), first }
    }

    /// Counts one more, if fewer than `most` wait; exact over all workers.
    pub fn join(&self, most: u32) -> bool {
        self.count.fetch_update(SeqCst, SeqCst, |count| (count < most).then_some(count + 1)).is_ok()
    }

    /// Counts one that joined out again.
    pub fn leave(&self) {
        self.count.fetch_sub(1, SeqCst);
    }

    /// Says since when the first of a worker's line has waited.
    pub fn tell(&self, worker: usize, since: Option<u64>) {
        self.first[worker].0.store(since.unwrap_or(NOBODY), SeqCst);
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
        let firsts = self.first.iter().enumerate().map(|(worker, first)| (first.0.load(SeqCst), worker));
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
        waiting.tell(0, Some(20));
        waiting.tell(2, Some(10));
        assert_eq!(waiting.next(), Some(2));
        waiting.tell(2, None);
        assert_eq!(waiting.next(), Some(0));
        waiting.leave();
        assert_eq!(waiting.len(), 1);
    }
}
