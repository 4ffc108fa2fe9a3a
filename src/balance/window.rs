//! The failure rate of a backend over a window of time, reckoned when a failure happens and at no other time.

use crate::config::Ejection;

/// What had been counted when the window began. It begins with a failure: what went well before says nothing.
#[derive(Debug, Default)]
pub(super) struct Window {
    began: Option<u64>,
    requests: u64,
    failures: u64,
}

impl Window {
    /// A failure has happened, the totals include it; the rate in percent if it is one to act on.
    pub(super) fn failed(
        &mut self,
        now: u64,
        requests: u64,
        failures: u64,
        ejection: &Ejection,
    ) -> Option<u64> {
        let span = ejection.window.as_millis() as u64;
        if self.began.is_none_or(|began| now >= began + span) {
            (self.began, self.requests, self.failures) =
                (Some(now), requests.saturating_sub(1), failures.saturating_sub(1));
        }
        let (requests, failures) = (requests - self.requests, failures - self.failures);
        if ejection.fail_rate == 0 || requests < u64::from(ejection.fail_rate_requests) {
            return None;
        }
        // Requests are counted when they are sent: some in flight may fail yet, so the rate is never too high.
        let rate = failures * 100 / requests.max(1);
        (rate >= u64::from(ejection.fail_rate)).then(|| {
            self.began = None;
            rate
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_needs_enough_requests_within_the_window() {
        let ejection = Ejection { fail_rate: 50, fail_rate_requests: 20, ..Ejection::default() };
        let mut window = Window::default();
        assert_eq!(window.failed(0, 1_000, 1, &ejection), None);
        assert_eq!(window.failed(1, 1_017, 9, &ejection), None, "18 requests");
        assert_eq!(window.failed(2, 1_019, 10, &ejection), Some(50));
        assert_eq!(window.failed(10_000, 2_000, 600, &ejection), None, "a new window begins");
        assert_eq!(window.failed(19_999, 2_099, 640, &ejection), None, "41 of 100");
        assert_eq!(window.failed(19_999, 2_099, 655, &ejection), Some(56));
    }
}
