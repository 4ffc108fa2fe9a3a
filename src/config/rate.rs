//! Rates as a person writes them: `100/s`, `600/1m`.

use std::time::Duration;

use super::value::{digits, parse_duration, quoted};
use super::{Key, RateLimit};
use crate::limits;

const RIGHT: &str = "write 100/s, or 600/1m for 600 a minute";
const SECOND: u128 = Duration::from_secs(1).as_nanos();

/// Reads a number of requests and the time for them: `100/s`, `600/1m`, `5/500ms`.
///
/// # Errors
/// One line that says what is wrong and what would be right; it does not repeat the value.
pub fn parse_rate(text: &str) -> Result<(u32, Duration), String> {
    let (requests, per) = text.split_once('/').ok_or_else(|| format!("not a rate; {RIGHT}"))?;
    let requests: u32 = digits(requests).filter(|requests| *requests > 0).ok_or_else(|| {
        format!("{} must be a whole number from 1 to {}; {RIGHT}", quoted(requests), u32::MAX)
    })?;
    let per = match per {
        "ms" | "s" | "m" | "h" => parse_duration(&format!("1{per}"))?,
        per => parse_duration(per).map_err(|reason| format!("{}: {reason}", quoted(per)))?,
    };
    if per < limits::RATE_TIME_MIN {
        return Err(format!("too short a time; it must be at least {:?}", limits::RATE_TIME_MIN));
    }
    if u128::from(requests) * SECOND > u128::from(limits::RATE_MAX) * per.as_nanos() {
        return Err(format!("more than {} a second; no client brings that many", limits::RATE_MAX));
    }
    Ok((requests, per))
}

impl RateLimit {
    /// A limit with as large a burst as one second of the rate brings, at least 1.
    #[must_use]
    pub fn new((requests, per): (u32, Duration)) -> Self {
        let burst =
            (u128::from(requests) * SECOND / per.as_nanos().max(1)).clamp(1, u128::from(limits::RATE_MAX));
        Self { requests, per, burst: burst as u32, key: Key::Address }
    }

    /// The same limit with another burst.
    ///
    /// # Errors
    /// One line when it takes longer than [`limits::RATE_REFILL_MAX`] to earn it again.
    pub fn with_burst(self, burst: u32) -> Result<Self, String> {
        let refill = u128::from(burst) * self.per.as_nanos() / u128::from(self.requests.max(1));
        if refill > limits::RATE_REFILL_MAX.as_nanos() {
            return Err("would take more than a year to be earned again; write a smaller one".to_owned());
        }
        Ok(Self { burst: burst.max(1), ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read() {
        let cases = [
            ("100/s", 100, 1_000, 100),
            ("600/1m", 600, 60_000, 10),
            ("5/500ms", 5, 500, 10),
            ("1/h", 1, 3_600_000, 1),
            ("59/m", 59, 60_000, 1),
            ("100/ms", 100, 1, 100_000),
            ("100000/s", 100_000, 1_000, 100_000),
            ("3/1.5s", 3, 1_500, 2),
            ("10/2", 10, 2_000, 5),
            ("1/8760h", 1, 365 * 86_400_000, 1),
        ];
        for (text, requests, millis, burst) in cases {
            let rate = parse_rate(text).expect(text);
            assert_eq!(rate, (requests, Duration::from_millis(millis)), "{text}");
            assert_eq!(RateLimit::new(rate).burst, burst, "{text}");
        }
    }

    #[test]
    fn bad_rates_are_refused() {
        let cases = [
            ("", "not a rate; write 100/s, or 600/1m for 600 a minute"),
            ("100", "not a rate"),
            ("/s", "\"\" must be a whole number from 1 to 4294967295"),
            ("0/s", "\"0\" must be a whole number"),
            ("-1/s", "\"-1\" must be"),
            ("1.5/s", "\"1.5\" must be"),
            ("10 /s", "\"10 \" must be"),
            ("4294967296/s", "must be"),
            ("10/", "\"\": empty; write 500ms"),
            ("10/d", "\"d\": not a duration"),
            ("10/s/s", "\"s/s\": not a duration"),
            ("10/-1s", "cannot be negative"),
            ("10/0", "too short a time; it must be at least 1ms"),
            ("1/0.9ms", "too short a time"),
            ("100001/s", "more than 100000 a second"),
            ("101/ms", "more than 100000 a second"),
            ("1/8761h", "longer than a year"),
        ];
        for (text, wrong) in cases {
            let message = parse_rate(text).expect_err(text);
            assert!(message.contains(wrong), "{text:?} gave {message:?}");
        }
    }

    #[test]
    fn a_burst_is_earned_within_a_year() {
        let rate = |text: &str| RateLimit::new(parse_rate(text).expect(text));
        assert_eq!(rate("1/h").with_burst(8760).map(|limit| limit.burst), Ok(8760));
        assert!(rate("1/h").with_burst(8761).unwrap_err().contains("more than a year"));
        assert_eq!(rate("1/8760h").with_burst(1).map(|limit| limit.burst), Ok(1));
        assert!(rate("100/s").with_burst(u32::MAX).unwrap_err().contains("more than a year"));
    }
}
