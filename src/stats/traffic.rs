//! What came through a listener or was matched by a route: one writer a count, a worker. Counts belong to a name, what
//! is there at present to a place: listeners that swap their names keep what each of them has open.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::balance::tally::{CLASSES, METHODS, class};
use crate::exchange::cause::CODES;
use crate::histogram::{Histogram, Timed, Times};

/// One worker's counts of a listener or a route, on cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Traffic {
    answers: [[AtomicU64; CLASSES.len()]; METHODS.len()],
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    connections: AtomicU64,
    tunnels: AtomicU64,
    retries: AtomicU64,
    causes: [AtomicU64; CODES.len()],
    total: Histogram,
}

impl Traffic {
    /// Counts a connection accepted. Only the owning worker may call it, as all that count.
    pub fn connection(&self) {
        add(&self.connections, 1);
    }

    /// Counts a connection that is balanced as a whole.
    pub fn tunnel(&self) {
        add(&self.tunnels, 1);
    }

    /// Counts the time from a request's head to the last byte of its answer.
    pub fn took(&self, time: Timed) {
        self.total.add(time);
    }

    /// Counts a request that is sent again.
    pub fn retry(&self) {
        add(&self.retries, 1);
    }

    /// Counts what ended other than well, by the index of its cause.
    pub fn failed(&self, cause: usize) {
        add(&self.causes[cause], 1);
    }

    /// Counts an answer to a client, by the place of its request's method in [`METHODS`].
    pub fn answer(&self, method: usize, status: u16) {
        add(&self.answers[method.min(METHODS.len() - 1)][class(status)], 1);
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

/// What one worker has of a listener or a route at present, on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Present {
    begun: AtomicU64,
    ended: AtomicU64,
    /// Of this worker; what came here and was passed on counts there.
    open: AtomicU64,
}

impl Present {
    /// Counts a connection that this worker has from now on. Only the owning worker may call it, as all that count.
    pub fn open(&self) {
        add(&self.open, 1);
    }

    /// Counts a connection that this worker has no more.
    pub fn close(&self) {
        add(&self.open, u64::MAX);
    }

    /// Counts an exchange that begins.
    pub fn begin(&self) {
        add(&self.begun, 1);
    }

    /// Counts an exchange that is over, however it ended.
    pub fn end(&self) {
        add(&self.ended, 1);
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
    /// Connections balanced as a whole.
    pub tunnels: u64,
    /// Answers by method and class.
    pub answers: [[u64; CLASSES.len()]; METHODS.len()],
    /// Bytes that clients sent.
    pub bytes_in: u64,
    /// Bytes sent to clients.
    pub bytes_out: u64,
    /// Connections open.
    pub open: u64,
    /// Exchanges in flight.
    pub in_flight: u64,
    /// Requests sent again.
    pub retries: u64,
    /// What ended other than well, by the index of its cause.
    pub causes: [u64; CODES.len()],
    /// From a request's head to the last byte of its answer.
    pub total: Times,
}

impl Sum {
    /// Answers by class.
    pub fn classes(&self) -> [u64; CLASSES.len()] {
        std::array::from_fn(|class| self.answers.iter().map(|method| method[class]).sum())
    }
}

/// The counts of one listener or route, with what it is called.
#[derive(Debug)]
pub struct Counted {
    name: String,
    address: String,
    /// Of a route.
    listener: String,
    by_worker: Arc<[Traffic]>,
    present: Arc<[Present]>,
}

impl Counted {
    /// One of that name, counted by so many workers; a listener has an address.
    pub fn new(name: String, address: String, workers: usize) -> Self {
        Self {
            name,
            address,
            listener: String::new(),
            by_worker: (0..workers).map(|_| Traffic::default()).collect(),
            present: (0..workers).map(|_| Present::default()).collect(),
        }
    }

    /// The same counts under another name.
    #[must_use]
    pub fn renamed(&self, name: String) -> Self {
        let (address, listener) = (self.address.clone(), self.listener.clone());
        let (by_worker, present) = (Arc::clone(&self.by_worker), Arc::clone(&self.present));
        Self { name, address, listener, by_worker, present }
    }

    /// Counts like these go on here, where so much is open at present.
    #[must_use]
    pub fn beside(self, place: &Self) -> Self {
        Self { present: Arc::clone(&place.present), ..self }
    }

    /// The same counts, of a listener that listens there.
    #[must_use]
    pub fn at(self, address: String) -> Self {
        Self { address, ..self }
    }

    /// The same counts, of a route of the listener that is called so.
    #[must_use]
    pub fn of(&self, listener: &str) -> Self {
        Self { listener: listener.to_owned(), ..self.renamed(self.name.clone()) }
    }

    /// Both count with the same counts.
    pub fn shares(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.by_worker, &other.by_worker)
    }

    /// What it is called: its label.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens; empty for a route.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What the listener of a route is called; empty for a listener.
    pub fn listener(&self) -> &str {
        &self.listener
    }

    /// That worker's counts.
    pub fn by(&self, worker: usize) -> &Traffic {
        &self.by_worker[worker]
    }

    /// What that worker has at present.
    pub fn present(&self, worker: usize) -> &Present {
        &self.present[worker]
    }

    /// All workers' counts.
    pub fn sum(&self) -> Sum {
        let mut sum = Sum::default();
        for present in &*self.present {
            // What has ended is read first: what is in flight is then never less than nothing.
            let ended = present.ended.load(Relaxed);
            sum.in_flight += present.begun.load(Relaxed).saturating_sub(ended);
            sum.open += present.open.load(Relaxed);
        }
        for traffic in &*self.by_worker {
            sum.connections += traffic.connections.load(Relaxed);
            sum.tunnels += traffic.tunnels.load(Relaxed);
            sum.retries += traffic.retries.load(Relaxed);
            let answers = sum.answers.iter_mut().flatten().zip(traffic.answers.iter().flatten());
            answers.for_each(|(sum, count)| *sum += count.load(Relaxed));
            sum.causes.iter_mut().zip(&traffic.causes).for_each(|(sum, count)| *sum += count.load(Relaxed));
            traffic.total.add_to(&mut sum.total);
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
        counted.by(1).answer(0, 404);
        counted.by(0).answer(2, 200);
        counted.by(0).came_in(3);
        counted.by(1).went_out(5);
        let mut sum = Sum { connections: 1, bytes_in: 3, bytes_out: 5, ..Sum::default() };
        (sum.answers[0][3], sum.answers[2][1]) = (1, 1);
        assert_eq!(counted.sum(), sum);
        assert_eq!(sum.classes(), [0, 1, 0, 1, 0]);
    }

    #[test]
    fn another_name_keeps_the_counts() {
        let counted = Counted::new("web".into(), "127.0.0.1:80".into(), 2);
        counted.present(0).open();
        counted.present(1).begin();
        let renamed = counted.renamed("www".into());
        renamed.present(0).close();
        renamed.present(1).end();
        renamed.by(1).took(Timed::of(70));
        renamed.by(1).failed(2);
        let sum = counted.sum();
        assert_eq!((sum.open, sum.in_flight, sum.total.count(), sum.causes[2]), (0, 0, 1, 1));
        assert_eq!((renamed.name(), renamed.address(), renamed.sum()), ("www", "127.0.0.1:80", sum));
    }

    #[test]
    fn counts_move_and_what_is_open_stays() {
        let new = |name: &str, address: &str| Counted::new(name.into(), address.into(), 1);
        let (web, place) = (new("web", "127.0.0.1:80"), new("api", "127.0.0.1:81"));
        web.by(0).connection();
        web.present(0).open();
        (0..2).for_each(|_| place.present(0).open());
        let moved = web.renamed("web".into()).at("127.0.0.1:81".into()).beside(&place);
        place.present(0).close();
        let sum = moved.sum();
        assert_eq!((moved.address(), sum.connections, sum.open), ("127.0.0.1:81", 1, 1));
    }
}
