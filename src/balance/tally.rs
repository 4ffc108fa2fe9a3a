//! What each worker has seen of a backend and of a pool: one writer a count, added up by whoever asks.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::histogram::Histogram;

/// Classes of statuses, by [`class`].
pub const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Methods told apart, by [`method`]: those of RFC 9110 and RFC 5789 that are forwarded. All others are one, so that
/// no client can make up labels.
pub const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "other"];

/// Room for counts by cause; more codes than there are.
pub const CAUSES: usize = 48;

/// The place of a status's class in [`CLASSES`].
pub fn class(status: u16) -> usize {
    usize::from((status / 100).clamp(1, 5)) - 1
}

/// The place of a method in [`METHODS`].
pub fn method(name: &str) -> usize {
    METHODS.iter().position(|known| *known == name).unwrap_or(METHODS.len() - 1)
}

/// One worker's counts for one backend, on cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Tally {
    requests: AtomicU64,
    failures: AtomicU64,
    ended: AtomicU64,
    retries: AtomicU64,
    answers: [AtomicU64; CLASSES.len()],
    first_byte_us: AtomicU64,
    bytes_sent: AtomicU64,
    bytes_received: AtomicU64,
    connects: AtomicU64,
    connect_us: AtomicU64,
    /// Not there before the first failure: most backends have none.
    troubles: OnceLock<Box<Troubles>>,
}

/// What is counted of backends that fail.
#[derive(Debug, Default)]
struct Troubles {
    connect_failures: AtomicU64,
    causes: Causes,
}

const _: () =
    assert!(size_of::<Tally>() == 128, "a thousand backends at eight workers stay within a megabyte");

impl Tally {
    /// Counts a request sent to the backend. Only the owning worker may call it, as all that count.
    pub fn request(&self) {
        add(&self.requests, 1);
    }

    /// Counts one that failed by the backend's fault.
    pub fn failure(&self) {
        add(&self.failures, 1);
    }

    /// Says why one failed, by the index of its cause.
    pub fn failed_for(&self, cause: usize) {
        add(&self.troubles.get_or_init(Box::default).causes.0[cause], 1);
    }

    /// Counts one that is no longer in flight, however it ended.
    pub fn end(&self) {
        add(&self.ended, 1);
    }

    /// Counts one that was sent elsewhere before.
    pub fn retry(&self) {
        add(&self.retries, 1);
    }

    /// Counts the head of an answer that came so many microseconds after the request was begun here.
    pub fn answer(&self, status: u16, took_us: u64) {
        add(&self.answers[class(status)], 1);
        add(&self.first_byte_us, took_us);
    }

    /// Counts bytes sent to the backend.
    pub fn sent(&self, bytes: u64) {
        add(&self.bytes_sent, bytes);
    }

    /// Counts bytes that came from the backend.
    pub fn received(&self, bytes: u64) {
        add(&self.bytes_received, bytes);
    }

    /// Counts a connection that was made within so many microseconds.
    pub fn connect(&self, took_us: u64) {
        add(&self.connects, 1);
        add(&self.connect_us, took_us);
    }

    /// Counts a connection that could not be made.
    pub fn connect_failure(&self) {
        add(&self.troubles.get_or_init(Box::default).connect_failures, 1);
    }

    /// Answers, and the microseconds that they took together up to their first byte.
    pub fn first_bytes(&self) -> (u64, u64) {
        (self.answers.iter().map(|count| count.load(Relaxed)).sum(), self.first_byte_us.load(Relaxed))
    }

    /// Requests sent, retries included.
    pub fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// Requests that failed by the backend's fault.
    pub fn failures(&self) -> u64 {
        self.failures.load(Relaxed)
    }

    /// Adds these counts up with others.
    pub fn add_to(&self, sum: &mut Sum) {
        // What has ended is read first: a request in flight is then never counted as less than none.
        sum.ended += self.ended.load(Relaxed);
        sum.requests += self.requests();
        sum.failures += self.failures();
        sum.retries += self.retries.load(Relaxed);
        sum.answers.iter_mut().zip(&self.answers).for_each(|(sum, count)| *sum += count.load(Relaxed));
        sum.first_byte_us += self.first_byte_us.load(Relaxed);
        sum.bytes_sent += self.bytes_sent.load(Relaxed);
        sum.bytes_received += self.bytes_received.load(Relaxed);
        sum.connects += self.connects.load(Relaxed);
        sum.connect_us += self.connect_us.load(Relaxed);
        if let Some(Troubles { connect_failures, causes }) = self.troubles.get().map(|troubles| &**troubles) {
            sum.connect_failures += connect_failures.load(Relaxed);
            sum.causes.iter_mut().zip(&causes.0).for_each(|(sum, count)| *sum += count.load(Relaxed));
        }
    }
}

/// What all workers have seen of a backend.
#[derive(Clone, Debug)]
pub struct Sum {
    /// Requests sent, retries included.
    pub requests: u64,
    /// Those that failed by the backend's fault.
    pub failures: u64,
    /// Those that are no longer in flight.
    pub ended: u64,
    /// Those that were sent elsewhere before.
    pub retries: u64,
    /// Answers by class.
    pub answers: [u64; CLASSES.len()],
    /// Microseconds that all answers took together, up to their first byte.
    pub first_byte_us: u64,
    /// Bytes sent.
    pub bytes_sent: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Connections made.
    pub connects: u64,
    /// Microseconds that making them took together.
    pub connect_us: u64,
    /// Connections that could not be made.
    pub connect_failures: u64,
    /// Those that failed by the backend's fault, by the index of the cause.
    pub causes: [u64; CAUSES],
}

impl Default for Sum {
    fn default() -> Self {
        Self {
            requests: 0,
            failures: 0,
            ended: 0,
            retries: 0,
            answers: [0; CLASSES.len()],
            first_byte_us: 0,
            bytes_sent: 0,
            bytes_received: 0,
            connects: 0,
            connect_us: 0,
            connect_failures: 0,
            causes: [0; CAUSES],
        }
    }
}

impl Sum {
    /// The sum of these tallies.
    pub fn of<'a>(tallies: impl IntoIterator<Item = &'a Tally>) -> Self {
        let mut sum = Self::default();
        tallies.into_iter().for_each(|tally| tally.add_to(&mut sum));
        sum
    }

    /// Requests in flight.
    pub fn in_flight(&self) -> u64 {
        self.requests.saturating_sub(self.ended)
    }
}

/// One worker's counts for one pool.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct PoolTally {
    answers: [[AtomicU64; CLASSES.len()]; METHODS.len()],
    causes: Causes,
    retries: AtomicU64,
    retries_denied: AtomicU64,
    tunnels: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    /// From a request's head to its place at a backend, of those that had to wait.
    pub queue: Histogram,
    /// From the begin of a connect to its end.
    pub connect: Histogram,
    /// From the begin of a try to the head of its answer.
    pub first_byte: Histogram,
    /// From a request's head to the last byte of its answer.
    pub total: Histogram,
}

#[derive(Debug)]
struct Causes([AtomicU64; CAUSES]);

impl Default for Causes {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; CAUSES])
    }
}

impl PoolTally {
    /// Counts an answer to a client, an error of our own included, by the place of its request's method in
    /// [`METHODS`]. Only the owning worker may call it, as all that count.
    pub fn answer(&self, method: usize, status: u16) {
        add(&self.answers[method.min(METHODS.len() - 1)][class(status)], 1);
    }

    /// Counts an exchange that ended other than well, by the index of its cause.
    pub fn failed(&self, cause: usize) {
        add(&self.causes.0[cause], 1);
    }

    /// Counts a retry.
    pub fn retry(&self) {
        add(&self.retries, 1);
    }

    /// Counts a connection that is balanced as a whole.
    pub fn tunnel(&self) {
        add(&self.tunnels, 1);
    }

    /// Counts a retry that the budget did not allow.
    pub fn retry_denied(&self) {
        add(&self.retries_denied, 1);
    }

    /// Counts bytes that clients sent.
    pub fn came_in(&self, bytes: u64) {
        add(&self.bytes_in, bytes);
    }

    /// Counts bytes sent to clients.
    pub fn went_out(&self, bytes: u64) {
        add(&self.bytes_out, bytes);
    }

    /// Answers to requests of that method with a status of that class.
    pub fn answers(&self, method: usize, class: usize) -> u64 {
        self.answers[method][class].load(Relaxed)
    }

    /// Exchanges that ended for the cause of that index.
    pub fn failures(&self, cause: usize) -> u64 {
        self.causes.0[cause].load(Relaxed)
    }

    /// Retries, and retries that the budget did not allow.
    pub fn retries(&self) -> (u64, u64) {
        (self.retries.load(Relaxed), self.retries_denied.load(Relaxed))
    }

    /// Connections balanced as a whole.
    pub fn tunnels(&self) -> u64 {
        self.tunnels.load(Relaxed)
    }

    /// Bytes that clients sent, and bytes sent to them.
    pub fn bytes(&self) -> (u64, u64) {
        (self.bytes_in.load(Relaxed), self.bytes_out.load(Relaxed))
    }
}

fn add(count: &AtomicU64, n: u64) {
    count.store(count.load(Relaxed).wrapping_add(n), Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_and_methods_have_a_place_whatever_they_are() {
        assert_eq!([100, 204, 304, 404, 599].map(class), [0, 1, 2, 3, 4]);
        assert_eq!([0, 99, 600, 999].map(class), [0, 0, 4, 4]);
        assert_eq!((method("GET"), method("get"), method("BREW")), (0, 8, 8));
    }

    #[test]
    fn what_was_sent_and_has_not_ended_is_in_flight() {
        let tallies = [Tally::default(), Tally::default()];
        tallies.iter().for_each(Tally::request);
        tallies[0].answer(503, 1_500);
        tallies[0].end();
        let sum = Sum::of(&tallies);
        assert_eq!(
            (sum.requests, sum.in_flight(), sum.answers, sum.first_byte_us),
            (2, 1, [0, 0, 0, 0, 1], 1_500)
        );
    }
}
