use super::*;
use crate::config::{Config, Ejection, Health, Pool, Retry};
use crate::limits;

pub(super) fn with(arguments: &[&str], environment: &[(&str, &str)]) -> Outcome {
    parse(arguments, &|name| environment.iter().find(|(known, _)| *known == name).map(|(_, set)| set.into()))
}

fn run(arguments: &[&str]) -> (Config, LevelFilter, bool) {
    match with(arguments, &[]) {
        Outcome::Run { setup, demo, .. } => (setup.config, setup.log_level, demo),
        other => panic!("{arguments:?} gave {other:?}"),
    }
}

fn listens(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    match with(arguments, environment) {
        Outcome::Run { setup, .. } => setup
            .config
            .listeners
            .iter()
            .map(|listener| listener.address.to_string())
            .collect::<Vec<_>>()
            .join(" "),
        other => panic!("{arguments:?} gave {other:?}"),
    }
}

pub(super) fn refusal(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    match with(arguments, environment) {
        Outcome::Refuse(line) => {
            assert!(!line.contains(char::is_control), "{arguments:?} gave {line:?}");
            line
        }
        other => panic!("{arguments:?} gave {other:?}"),
    }
}

/// What a line of words, with single spaces between them, gives.
pub(super) fn outcome_of(line: &str) -> Outcome {
    with(&line.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>(), &[])
}

#[track_caller]
pub(super) fn run_of(line: &str) -> Config {
    run(&line.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>()).0
}

#[track_caller]
pub(super) fn pool_of(line: &str) -> Pool {
    run_of(line).pools.remove(0)
}

#[track_caller]
pub(super) fn pool_of_words(arguments: &[&str]) -> Pool {
    run(arguments).0.pools.remove(0)
}

#[track_caller]
pub(super) fn refusal_of(line: &str) -> String {
    refusal(&line.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>(), &[])
}

/// Arguments, and the one line that refuses each.
#[track_caller]
pub(super) fn assert_refused(cases: &[(&str, &str)]) {
    for (arguments, line) in cases {
        assert_eq!(refusal_of(arguments), *line, "{arguments}");
    }
}

#[test]
fn no_flags_give_the_defaults() {
    let (config, log_level, demo) = run(&[]);
    assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
    assert_eq!((log_level, demo), (LevelFilter::Info, false));
}

#[test]
fn every_flag_reaches_its_field() {
    let (config, log_level, demo) = run(&[
        "--port=80",
        "--backends",
        "a:1,http://b:2/",
        "--workers",
        "7",
        "--pin",
        "--busy-poll",
        "--health-check-interval",
        "1",
        "--health-check-timeout",
        "300ms",
        "--retries",
        "0",
        "--retry-delay",
        "0",
        "--max-fails",
        "1",
        "--drain-timeout=1m",
        "--status-path=",
        "--cause-header",
        "X-Why",
        "--log-level",
        "DEBUG",
    ]);
    let right = Config {
        listeners: vec![config::Listener::new(Config::all_addresses(80))],
        workers: 7,
        pin: true,
        busy_poll: true,
        pools: vec![Pool {
            backends: config::parse_backends("a:1,b:2").expect("two backends"),
            health: Health {
                interval: Duration::from_secs(1),
                timeout: Duration::from_millis(300),
                ..Health::default()
            },
            retry: Retry { retries: 0, delay: Duration::ZERO, ..Retry::default() },
            ejection: Ejection { max_fails: 1, ..Ejection::default() },
            ..Pool::default()
        }],
        rate_limit: None,
        resolve_interval: limits::RESOLVE_INTERVAL,
        error_pages: Vec::new(),
        admin: None,
        access_log: None,
        drain_timeout: Duration::from_secs(60),
        status_path: None,
        cause_header: Some("X-Why".to_owned()),
        timeouts: Default::default(),
        limits: Default::default(),
        trust: Vec::new(),
    };
    assert_eq!(format!("{config:?}"), format!("{right:?}"));
    assert_eq!((log_level, demo), (LevelFilter::Debug, false));
}

#[test]
fn demo_needs_nothing_else() {
    assert!(run(&["--demo"]).2);
    assert!(run(&["--demo", "--port", "0", "--workers", "1"]).2);
}

#[test]
fn listen_addresses_come_from_flag_then_environment_then_default() {
    let environment = [("PROXY_PORT", "9000")];
    let bad = [("PROXY_PORT", "nonsense")];
    assert_eq!(listens(&[], &[]), "[::]:8080");
    assert_eq!(listens(&[], &environment), "[::]:9000");
    assert_eq!(listens(&["--port", "1"], &environment), "[::]:1");
    assert_eq!(listens(&["--port", "0"], &bad), "[::]:0");
    let two = ["--listen", "127.0.0.1:1", "--listen=[::1]:1"];
    assert_eq!(listens(&two, &bad), "127.0.0.1:1 [::1]:1");
}

/// Arguments, and the one line that refuses them.
const BAD_VALUES: &[(&[&str], &str)] = &[
    (&["--port", "http"], "--port \"http\": must be a whole number from 0 to 65535 (0 takes a free port)"),
    (&["--port", "65536"], "--port \"65536\": must be a whole number from 0 to 65535 (0 takes a free port)"),
    (&["--port", ""], "--port \"\": must be a whole number from 0 to 65535 (0 takes a free port)"),
    (
        &["--listen", "8080"],
        "--listen \"8080\": no address; write [::]:8080 for all addresses, or 127.0.0.1:8080",
    ),
    (
        &["--listen", "localhost:8080"],
        "--listen \"localhost:8080\": not ADDR:PORT with a numeric address and a port up to 65535; \
             write it like 127.0.0.1:8080 or [::]:8080",
    ),
    (
        &["--listen", "127.0.0.1:1", "--listen", "127.0.0.1:1"],
        "--listen \"127.0.0.1:1\": given twice; name each address once",
    ),
    (
        &["--port", "80", "--listen", "127.0.0.1:80"],
        "--port 80 and --listen 127.0.0.1:80 exclude each other: --port already listens on all addresses; \
             give --port alone, or --listen once for each address",
    ),
    (
        &["--backends", "https://a:1"],
        "--backends \"https://a:1\": TLS to backends is not supported yet; write http://a:1",
    ),
    (&["--backends", ""], "--backends \"\": no backend; write one or more, like http://localhost:8081"),
    (
        &["--backends", "a:1,"],
        "--backends \"a:1,\": an empty element; put one comma between two backends and none at the ends",
    ),
    (&["--backends", "a:1,A:1"], "--backends \"A:1\": given twice; name each backend once"),
    (
        &["--demo", "--backends", "a:1"],
        "--backends and --demo exclude each other: --demo brings its own backends; give one or the other",
    ),
    (&["--workers", "0"], "--workers \"0\": must be a whole number from 1 to 1024"),
    (&["--workers", "1025"], "--workers \"1025\": must be a whole number from 1 to 1024"),
    (&["--workers", "two\n"], "--workers \"two\\n\": must be a whole number from 1 to 1024"),
    (&["--retries", "16"], "--retries \"16\": must be a whole number from 0 to 15"),
    (&["--retries", "-1"], "--retries \"-1\": must be a whole number from 0 to 15"),
    (&["--health-check-interval", "0"], "--health-check-interval \"0\": too short; it must be at least 1ms"),
    (
        &["--health-check-timeout", "0.9ms"],
        "--health-check-timeout \"0.9ms\": too short; it must be at least 1ms",
    ),
    (
        &["--retry-delay", "soon"],
        "--retry-delay \"soon\": not a duration; write 500ms, 2s, 1m, 1h or a number of seconds",
    ),
    (
        &["--drain-timeout=-1s"],
        "--drain-timeout \"-1s\": a duration cannot be negative; write 500ms, 2s, 1m, 1h or a number of seconds",
    ),
    (
        &["--status-path", "status"],
        "--status-path \"status\": must begin with /, or be empty to turn the status off",
    ),
    (
        &["--cause-header", "Connection"],
        "--cause-header \"Connection\": connection has a meaning of its own in an answer; \
             write one of your own, like X-Evenkeel-Cause",
    ),
    (&["--log-level", "trace"], "--log-level \"trace\": must be error, warn, info or debug"),
];

#[test]
fn a_bad_value_is_one_line_with_flag_and_value() {
    for (arguments, line) in BAD_VALUES {
        assert_eq!(refusal(arguments, &[]), *line);
    }
}

#[test]
fn a_bad_environment_names_the_variable() {
    for set in ["", "http", "-1", "65536", "80 "] {
        let line =
            format!("PROXY_PORT {set:?}: must be a whole number from 0 to 65535 (0 takes a free port)");
        assert_eq!(refusal(&[], &[("PROXY_PORT", set)]), line);
    }
}
