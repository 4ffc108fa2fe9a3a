//! The flags of the pool: its backends, how one is chosen, what is tried again and what waits.

use std::collections::HashSet;
use std::time::Duration;

use super::flags::Flags;
use super::over::Environment;
use super::{bounds, clients, needless, one_of, positive, trust, value};
use crate::config::{self, Algorithm, Backend, Key, Pool, ProxyVersion, Queue, Retry, Timeouts, quoted};
use crate::limits;

/// The one pool that flags can describe: what they say over what it was.
pub(super) fn pool(
    flags: &Flags,
    base: Pool,
    timeouts: &Timeouts,
    environment: &Environment,
) -> Result<Pool, String> {
    let slow_start = value("--slow-start", &flags.slow_start, config::parse_duration)?;
    let backends = backends(flags, base.backends)?;
    Ok(Pool {
        name: base.name,
        algorithm: algorithm(flags, base.algorithm)?,
        queue: queue(flags, &backends, base.queue)?,
        backends,
        health: trust::health(flags, base.health)?,
        retry: retry(flags, timeouts, base.retry)?,
        ejection: trust::ejection(flags, base.ejection)?,
        sticky: clients::sticky(flags, base.sticky, environment)?,
        slow_start: slow_start.unwrap_or(base.slow_start),
        fail_open: flags.fail_open || base.fail_open,
        resolve: base.resolve,
        send_proxy: value("--send-proxy", &flags.send_proxy, |text| {
            one_of(text, &[("v1", ProxyVersion::V1), ("v2", ProxyVersion::V2)])
        })?
        .or(base.send_proxy),
    })
}

/// `--backends` takes the place of all that were there, `--backup` of the backups alone.
fn backends(flags: &Flags, base: Vec<Backend>) -> Result<Vec<Backend>, String> {
    let mut backends = match &flags.backends {
        Some(list) => config::parse_backends(list).map_err(|line| format!("--backends {line}"))?,
        None => base,
    };
    if let Some(list) = &flags.backup {
        backends.retain(|backend| !backend.backup);
        let backups = config::parse_backends(list).map_err(|line| format!("--backup {line}"))?;
        let first: HashSet<_> = backends.iter().map(|backend| backend.url.clone()).collect();
        if let Some(twice) = backups.iter().find(|backup| first.contains(&backup.url)) {
            let url = quoted(&twice.url.to_string());
            return Err(format!("--backup {url}: is one of --backends too; name each backend once"));
        }
        if first.len() + backups.len() > limits::BACKENDS_MAX {
            let most = limits::BACKENDS_MAX;
            return Err(format!("--backup: at most {most} backends are taken, those of --backends included"));
        }
        backends.extend(backups.into_iter().map(|backup| Backend { backup: true, ..backup }));
    }
    let (max_connections, max_requests) = bounds::backend_limits(flags)?;
    for backend in &mut backends {
        backend.max_connections = max_connections.unwrap_or(backend.max_connections);
        backend.max_requests = max_requests.unwrap_or(backend.max_requests);
    }
    Ok(backends)
}

fn algorithm(flags: &Flags, base: Algorithm) -> Result<Algorithm, String> {
    let (by, set) = match &base {
        Algorithm::Hash { key, bound } => (key.clone(), Some(*bound)),
        _ => (Key::Uri, None),
    };
    let hash = |key: Key| Algorithm::Hash { bound: key.bound(), key };
    let choices = [
        ("round-robin", Algorithm::RoundRobin),
        ("least-connections", Algorithm::LeastConnections),
        ("two-choices", Algorithm::TwoChoices),
        ("peak-ewma", Algorithm::PeakEwma),
        ("random", Algorithm::Random),
        ("ip-hash", hash(Key::Address)),
        ("hash", hash(by)),
    ];
    let named = flags.algorithm.as_deref();
    let mut algorithm =
        value("--algorithm", &flags.algorithm, |text| one_of(text, &choices))?.unwrap_or(base);
    let hashed = value("--hash-key", &flags.hash_key, config::parse_key)?;
    let most = value("--hash-bound", &flags.hash_bound, hash_bound)?;
    let keyed = matches!(algorithm, Algorithm::Hash { .. });
    if !keyed || named.is_some_and(|name| !name.eq_ignore_ascii_case("hash")) {
        needless(&[("--hash-key", hashed.is_some())], "needs --algorithm hash; give both or neither")?;
    }
    match &mut algorithm {
        Algorithm::Hash { key, bound } => {
            *key = hashed.unwrap_or(key.clone());
            *bound = most.or(set).unwrap_or(key.bound());
        }
        _ => needless(
            &[("--hash-bound", most.is_some())],
            "needs --algorithm hash or ip-hash; give both or neither",
        )?,
    }
    Ok(algorithm)
}

fn hash_bound(text: &str) -> Result<Option<u32>, String> {
    const LEAST: u32 = 101;
    match config::parse_percent(text, 0..=limits::HASH_BOUND_MAX) {
        Ok(0) => Ok(None),
        Ok(percent @ LEAST..) => Ok(Some(percent)),
        _ => Err(format!("must be a whole number from {LEAST} to {} (0: no bound)", limits::HASH_BOUND_MAX)),
    }
}

fn queue(flags: &Flags, backends: &[Backend], base: Queue) -> Result<Queue, String> {
    let length = bounds::count("--queue-length", &flags.queue_length, "none waits")?;
    let timeout = value("--queue-timeout", &flags.queue_timeout, positive)?;
    let given = [("--queue-length", length.is_some()), ("--queue-timeout", timeout.is_some())];
    if backends.iter().all(|backend| backend.max_connections.is_none() && backend.max_requests.is_none()) {
        let reason =
            "needs --backend-max-requests or --backend-max-connections: without a limit nothing waits";
        needless(&given, reason)?;
    }
    if length == Some(0) {
        needless(&given[1..], "has no effect with --queue-length 0; leave one of them out")?;
    }
    Ok(Queue { length: length.unwrap_or(base.length), timeout: timeout.unwrap_or(base.timeout) })
}

fn retry(flags: &Flags, timeouts: &Timeouts, base: Retry) -> Result<Retry, String> {
    let retries =
        value("--retries", &flags.retries, |text| config::parse_count(text, 0..=limits::RETRIES_MAX.into()))?;
    let delay = value("--retry-delay", &flags.retry_delay, config::parse_duration)?;
    let budget = value("--retry-budget", &flags.retry_budget, |text| {
        config::parse_percent(text, 0..=limits::RETRY_BUDGET_MAX)
    })?;
    let statuses = value("--retry-statuses", &flags.retry_statuses, config::parse_statuses)?;
    let try_timeout =
        value("--try-timeout", &flags.try_timeout, |text| try_timeout(text, timeouts.response))?;
    if retries == Some(0) {
        let given = [
            ("--retry-budget", budget.is_some()),
            ("--retry-statuses", statuses.is_some()),
            ("--try-timeout", try_timeout.is_some()),
        ];
        needless(&given, "has no effect with --retries 0; leave one of them out")?;
    }
    Ok(Retry {
        retries: retries.and_then(|retries| u8::try_from(retries).ok()).unwrap_or(base.retries),
        delay: delay.unwrap_or(base.delay),
        budget: budget.unwrap_or(base.budget),
        budget_floor: base.budget_floor,
        try_timeout: try_timeout.or(base.try_timeout),
        statuses: statuses.unwrap_or(base.statuses),
    })
}

fn try_timeout(text: &str, response: Duration) -> Result<Duration, String> {
    match positive(text)? {
        duration if duration >= response => Err(format!(
            "not less than --response-timeout, {response:?}, which ends the request; lower this one or raise that"
        )),
        duration => Ok(duration),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_refused, pool_of};
    use super::*;

    #[test]
    fn every_algorithm_is_reached() {
        let algorithm = |line: &str| pool_of(line).algorithm;
        let hash = |key, bound| Algorithm::Hash { key, bound };
        let bound = Some(limits::HASH_BOUND);
        let cases = [
            ("round-robin", Algorithm::RoundRobin),
            ("least-connections", Algorithm::LeastConnections),
            ("two-choices", Algorithm::TwoChoices),
            ("peak-ewma", Algorithm::PeakEwma),
            ("Random", Algorithm::Random),
            ("ip-hash", hash(Key::Address, None)),
            ("ip-hash --hash-bound 125", hash(Key::Address, bound)),
            ("hash --hash-key address", hash(Key::Address, None)),
            ("hash", hash(Key::Uri, bound)),
            ("hash --hash-key uri", hash(Key::Uri, bound)),
            ("hash --hash-key header:X-User", hash(Key::Header("X-User".to_owned()), bound)),
            ("hash --hash-key cookie:id --hash-bound 200", hash(Key::Cookie("id".to_owned()), Some(200))),
            ("hash --hash-key address --hash-bound 101%", hash(Key::Address, Some(101))),
            ("ip-hash --hash-bound 0", hash(Key::Address, None)),
        ];
        for (line, right) in cases {
            assert_eq!(algorithm(&format!("--algorithm {line}")), right, "{line}");
        }
        for (line, bound) in [("", None), ("--hash-bound 125", bound)] {
            let found = algorithm(&format!("--mode tcp --algorithm hash {line}"));
            assert_eq!(found, hash(Key::Uri, bound), "{line}");
        }
    }

    #[test]
    fn backups_stand_behind_the_others_with_the_same_limits() {
        let given = pool_of(
            "--backends a:1=2,b:1 --backup c:1,d:1=3 --backend-max-connections 4 --backend-max-requests 5",
        );
        let shown: Vec<_> =
            given.backends.iter().map(|b| (b.url.host.as_str(), b.weight, b.backup)).collect();
        assert_eq!(shown, [("a", 2, false), ("b", 1, false), ("c", 1, true), ("d", 3, true)]);
        let limited = |b: &Backend| (b.max_connections, b.max_requests) == (Some(4), Some(5));
        assert!(given.backends.iter().all(limited));
        assert_eq!(pool_of("--backup c:1").backends.len(), 4);
        let backends = pool_of("--backend-max-requests 0").backends;
        assert!(backends.iter().all(|backend| backend.max_requests.is_none()));
    }

    #[test]
    fn the_backups_count_too() {
        let list = |host: &str| (1..=2048).map(|port| format!("{host}:{port}")).collect::<Vec<_>>().join(",");
        let (a, b) = (list("a"), list("b"));
        assert_eq!(pool_of(&format!("--backends {a} --backup {b}")).backends.len(), limits::BACKENDS_MAX);
        assert_refused(&[(
            &format!("--backends {a} --backup {b},c:1"),
            "--backup: at most 4096 backends are taken, those of --backends included",
        )]);
    }

    #[test]
    fn what_is_tried_again_and_what_waits_reaches_its_field() {
        let given = pool_of(
            "--retries 1 --retry-delay 2ms --retry-budget 30% --retry-statuses 502,503 --try-timeout 4s \
             --backend-max-requests 5 --queue-length 6 --queue-timeout 7s --slow-start 8s --fail-open",
        );
        let statuses = config::parse_statuses("502-503").unwrap();
        let right = Retry {
            retries: 1,
            delay: Duration::from_millis(2),
            budget: 30,
            budget_floor: limits::RETRY_BUDGET_FLOOR,
            try_timeout: Some(Duration::from_secs(4)),
            statuses,
        };
        assert_eq!(given.retry, right);
        assert_eq!(given.queue, Queue { length: 6, timeout: Duration::from_secs(7) });
        assert_eq!((given.slow_start, given.fail_open), (Duration::from_secs(8), true));
        assert_eq!(pool_of("--backend-max-connections 1 --queue-length 0").queue.length, 0);
        assert_eq!(pool_of("--slow-start 0").slow_start, Duration::ZERO);
        assert!(pool_of("--try-timeout 60s --response-timeout 61s").retry.try_timeout.is_some());
    }

    #[test]
    fn what_is_wrong_with_the_choice_is_refused() {
        const BOUND: &str = "must be a whole number from 101 to 10000 (0: no bound)";
        assert_refused(&[
            (
                "--algorithm fastest",
                "--algorithm \"fastest\": must be round-robin, least-connections, two-choices, peak-ewma, random, \
                 ip-hash or hash",
            ),
            ("--hash-key uri", "--hash-key needs --algorithm hash; give both or neither"),
            ("--algorithm random --hash-key uri", "--hash-key needs --algorithm hash; give both or neither"),
            (
                "--algorithm ip-hash --hash-key address",
                "--hash-key needs --algorithm hash; give both or neither",
            ),
            (
                "--algorithm hash --hash-key url",
                "--hash-key \"url\": must be address, uri, header:NAME or cookie:NAME",
            ),
            ("--hash-bound 150", "--hash-bound needs --algorithm hash or ip-hash; give both or neither"),
            ("--algorithm hash --hash-bound 100", &format!("--hash-bound \"100\": {BOUND}")),
            ("--algorithm hash --hash-bound 10001", &format!("--hash-bound \"10001\": {BOUND}")),
            ("--algorithm hash --hash-bound x", &format!("--hash-bound \"x\": {BOUND}")),
            ("--backup a", "--backup \"a\": no port; write http://a:8081"),
            ("--backup=", "--backup \"\": no backend; write one or more, like http://localhost:8081"),
            ("--backup a:1,a:1", "--backup \"a:1\": given twice; name each backend once"),
            (
                "--backends a:1,b:1 --backup http://B:1/",
                "--backup \"http://b:1\": is one of --backends too; name each backend once",
            ),
            (
                "--backup localhost:8081",
                "--backup \"http://localhost:8081\": is one of --backends too; name each backend once",
            ),
            (
                "--demo --backup a:1",
                "--backup and --demo exclude each other: --demo brings its own backends; give one or the other",
            ),
            (
                "--backend-max-requests -1",
                "--backend-max-requests \"-1\": must be a whole number from 0 to 4294967295 (0: no limit)",
            ),
        ]);
    }

    #[test]
    fn what_is_wrong_with_waits_and_retries_is_refused() {
        const QUEUE: &str =
            "needs --backend-max-requests or --backend-max-connections: without a limit nothing waits";
        const NO_RETRIES: &str = "has no effect with --retries 0; leave one of them out";
        assert_refused(&[
            (
                "--slow-start x",
                "--slow-start \"x\": not a duration; write 500ms, 2s, 1m, 1h or a number of seconds",
            ),
            ("--fail-open=1", "--fail-open takes no value, not \"1\""),
            ("--queue-length 5", &format!("--queue-length {QUEUE}")),
            ("--queue-timeout 5s", &format!("--queue-timeout {QUEUE}")),
            ("--queue-length 5 --backend-max-requests 0", &format!("--queue-length {QUEUE}")),
            (
                "--backend-max-requests 1 --queue-length x",
                "--queue-length \"x\": must be a whole number from 0 to 4294967295 (0: none waits)",
            ),
            (
                "--backend-max-requests 1 --queue-timeout 0",
                "--queue-timeout \"0\": too short; it must be at least 1ms",
            ),
            (
                "--backend-max-requests 1 --queue-length 0 --queue-timeout 5s",
                "--queue-timeout has no effect with --queue-length 0; leave one of them out",
            ),
            ("--retry-budget 1501", "--retry-budget \"1501\": must be a whole number from 0 to 1500"),
            ("--retries 0 --retry-budget 20", &format!("--retry-budget {NO_RETRIES}")),
            ("--retries 0 --retry-statuses 503", &format!("--retry-statuses {NO_RETRIES}")),
            ("--retries 0 --try-timeout 1s", &format!("--try-timeout {NO_RETRIES}")),
            (
                "--retry-statuses 700",
                "--retry-statuses \"700\": \"700\" is no status; write statuses from 100 to 599, like 200,300-399,5xx",
            ),
            ("--try-timeout 0", "--try-timeout \"0\": too short; it must be at least 1ms"),
            (
                "--try-timeout 60s",
                "--try-timeout \"60s\": not less than --response-timeout, 60s, which ends the request; \
                 lower this one or raise that",
            ),
        ]);
    }
}
