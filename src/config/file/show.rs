//! Settings in the words of the file, for people to read.

use std::time::Duration;

use crate::config::{
    Action, Algorithm, Check, HeaderMatch, Health, Key, PathPattern, RateLimit, Route, ValueMatch,
};

/// A duration as the file may write it, in the largest unit that leaves it short.
pub(super) fn time(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units = [(3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms")];
    match units.into_iter().find(|(unit, _)| millis > 0 && millis.is_multiple_of(*unit)) {
        _ if duration.is_zero() => "0s".to_owned(),
        // Seconds up to two minutes are how people write these.
        Some((60_000, _)) if millis <= 120_000 => format!("{}s", millis / 1000),
        Some((unit, name)) if duration.subsec_nanos().is_multiple_of(1_000_000) => {
            format!("{}{name}", millis / unit)
        }
        _ => {
            let text = format!("{millis}.{:06}", duration.subsec_nanos() % 1_000_000);
            format!("{}ms", text.trim_end_matches('0'))
        }
    }
}

/// The conditions of a route.
pub(super) fn conditions(route: &Route) -> String {
    let host = route.host.as_ref().map(|host| format!("host {host}"));
    let path = match &route.path {
        PathPattern::Any => None,
        PathPattern::Prefix(prefix) => Some(format!("path prefix {prefix}")),
        PathPattern::Exact(path) => Some(format!("path {path}")),
    };
    let header = |HeaderMatch { name, value }: &HeaderMatch| match value {
        ValueMatch::Present => format!("with header {name}"),
        ValueMatch::Absent => format!("without header {name}"),
        ValueMatch::Equals(text) => format!("header {name}: {text}"),
    };
    let all: Vec<String> = host.into_iter().chain(path).chain(route.headers.iter().map(header)).collect();
    if all.is_empty() { "all requests".to_owned() } else { all.join(", ") }
}

pub(super) fn key(key: &Key) -> String {
    match key {
        Key::Address => "client address".to_owned(),
        Key::Uri => "path and query".to_owned(),
        Key::Header(name) => format!("header {name}"),
        Key::Cookie(name) => format!("cookie {name}"),
    }
}

pub(super) fn algorithm(algorithm: &Algorithm) -> String {
    let name = match algorithm {
        Algorithm::RoundRobin => "round-robin",
        Algorithm::LeastConnections => "least-connections",
        Algorithm::TwoChoices => "two-choices",
        Algorithm::PeakEwma => "peak-ewma",
        Algorithm::Random => "random",
        Algorithm::Hash { key, bound } => {
            let bound = bound.map_or_else(
                || "without a bound".to_owned(),
                |bound| format!("at most {bound} % of the mean"),
            );
            return format!("hash of the {}, {bound}", self::key(key));
        }
    };
    name.to_owned()
}

pub(super) fn health(health: &Health) -> String {
    let check = match &health.check {
        Check::None => return "none: only traffic finds out who is down".to_owned(),
        Check::Tcp => "tcp".to_owned(),
        Check::Http(http) => {
            format!("http {} {}, expects {}", http.method, http.paths.join(" or "), http.expected)
        }
    };
    let (interval, timeout) = (time(health.interval), time(health.timeout));
    format!(
        "{check}, every {interval}, timeout {timeout}, up after {}, down after {}",
        health.rise, health.fall
    )
}

pub(super) fn rate(rate: &RateLimit) -> String {
    let RateLimit { requests, per, burst, key } = rate;
    format!("{requests} requests in {}, {burst} at once, by {}", time(*per), self::key(key))
}

/// What a route does where it asks no backend.
pub(super) fn answer(action: &Action) -> Option<String> {
    match action {
        Action::Pool(_) | Action::Split(_) => None,
        Action::Redirect(to) => Some(format!("redirect {} to {}", to.status, to.location)),
        Action::Fixed(fixed) => {
            let bytes = fixed.body.len();
            Some(format!("{} with {bytes} bytes of {}", fixed.status, fixed.content_type))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::parse_duration;
    use super::*;

    #[test]
    fn durations_can_be_read_again() {
        for text in
            ["0s", "1ms", "500ms", "1500ms", "2s", "60s", "120s", "3m", "30m", "1h", "24h", "0.5ms", "2.25ms"]
        {
            assert_eq!(parse_duration(text).map(time), Ok(text.to_owned()), "{text}");
        }
        for text in ["90s", "1m", "2h", "1.5s", "0.000001s", "61.5m"] {
            let duration = parse_duration(text);
            assert_eq!(parse_duration(&time(duration.clone().expect(text))), duration, "{text}");
        }
    }
}
