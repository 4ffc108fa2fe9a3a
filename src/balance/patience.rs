//! How long a backend keeps an unused connection, learnt from when it closes them.
//!
//! A backend that closes just as its connection is used again costs a retry, or a 502 where the request may
//! not be sent twice. Connections older than what was learnt are not used again, so that we close first.

/// Closes below this age teach nothing: they are restarts, or cannot be undercut.
const YOUNGEST: u64 = 1_000;
/// Closes nearer together than this are one event, such as a restart.
const APART: u64 = 1_000;
/// What was learnt is forgotten after this long, in case the backend has changed.
const FORGOTTEN: u64 = 15 * 60_000;

/// What one worker has learnt of one backend. Times are in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Patience {
    /// The age at which it closed last, and when.
    age: u64,
    seen: u64,
    /// Connections of this age are not used again.
    limit: Option<u64>,
}

impl Patience {
    /// The backend closed a connection that had been idle for `age`. Two closes in a row at about the same age
    /// are a rule.
    pub fn closed(&mut self, age: u64, now: u64) {
        if age < YOUNGEST || (self.age > 0 && now < self.seen + APART) {
            return;
        }
        let near = age.abs_diff(self.age) <= margin(age);
        if near {
            self.limit = Some(age.min(self.age) - margin(age.min(self.age)));
        }
        (self.age, self.seen) = (age, now);
    }

    /// The age from which a connection is not used again; `None` while nothing is known.
    pub fn limit(&self, now: u64) -> Option<u64> {
        self.limit.filter(|_| now < self.seen + FORGOTTEN)
    }
}

/// A tenth, and at least half a second: the request's way there takes time, and clocks tick coarsely.
pub fn margin(age: u64) -> u64 {
    (age / 10).max(500).min(age)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_closes_at_one_age_are_a_rule() {
        let mut patience = Patience::default();
        patience.closed(5_000, 100_000);
        assert_eq!(patience.limit(100_000), None);
        patience.closed(5_080, 106_000);
        assert_eq!(patience.limit(106_000), Some(4_500));
        assert_eq!(patience.limit(106_000 + FORGOTTEN), None);
    }

    #[test]
    fn a_restart_teaches_nothing() {
        let mut patience = Patience::default();
        (0..10).for_each(|i| patience.closed(7_000 + i, 50_000 + i));
        patience.closed(200, 60_000);
        patience.closed(30_000, 90_000);
        assert_eq!(patience.limit(90_000), None);
    }
}
