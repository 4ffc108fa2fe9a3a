//! What came through a listener or was matched by a route: one writer a count, a worker.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::balance::tally::{CLASSES, class};

/// One worker's counts of a listener or a route, on cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Traffic {
    connections: AtomicU64,
    answers: [AtomicU64; CLASSES.len()],
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

impl Traffic {
    /// Counts a connection accepted. Only the owning worker may call it, as all that count.
    pub fn connection(&self) {
        add(&self.connections, 1);
    }

    /// Counts an answer to a client.
    pub fn answer(&self, status: u16) {
        add(&self.answers[class(status)], 1);
    }

    /// Counts bytes that clients sent.
    pub fn came_in(&self, bytes: u64) {
        add(&self.bytes_in, bytes);
    }

    /// Counts bytes sent to clients.
    pub fn went_out(&self, bytes: u64) {
        add(&self.bytes_out, bytes);
    }
}

fn add(count: &AtomicU64, n: u64) {
    count.store(count.load(Relaxed).wrapping_add(n), Relaxed);
}

/// What all workers counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Connections accepted.
    pub connections: u64,
    /// Answers by class.
    pub answers: [u64; CLASSES.len()],
    /// Bytes that clients sent.
    pub bytes_in: u64,
    /// Bytes sent to clients.
    pub bytes_out: u64,
}

/// The counts of one listener or route, with what it is called.
#[derive(Debug)]
pub struct Counted {
    name: String,
    address: String,
    by_worker: Box<[Traffic]>,
}

impl Counted {
    /// One of that name, counted by so many workers; a listener has an address.
    pub fn new(name: String, address: String, workers: usize) -> Self {
        Self { name, address, by_worker: (0..workers).map(|_| Traffic::default()).collect() }
    }

    /// What it is called: its label.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens; empty for a route.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// That worker's counts.
    pub fn by(&self, worker: usize) -> &Traffic {
        &self.by_worker[worker]
    }

    /// All workers' counts.
    pub fn sum(&self) -> Sum {
        let mut sum = Sum::default();
        for traffic in &self.by_worker {
            sum.connections += traffic.connections.load(Relaxed);
            sum.answers.iter_mut().zip(&traffic.answers).for_each(|(sum, count)| *sum += count.load(Relaxed));
            sum.bytes_in += traffic.bytes_in.load(Relaxed);
            sum.bytes_out += traffic.bytes_out.load(Relaxed);
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_that_of_all_workers() {
        let counted = Counted::new("web".into(), "127.0.0.1:80".into(), 2);
        counted.by(0).connection();
        counted.by(1).answer(404);
        counted.by(1).answer(200);
        counted.by(0).came_in(3);
        counted.by(1).went_out(5);
        let sum = Sum { connections: 1, answers: [0, 1, 0, 1, 0], bytes_in: 3, bytes_out: 5 };
        assert_eq!(counted.sum(), sum);
    }
}
