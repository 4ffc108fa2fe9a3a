use std::os::unix::ffi::OsStringExt;

use super::*;
use crate::config::{Ejection, size};

fn with(arguments: &[&str], environment: &[(&str, &str)]) -> Outcome {
    parse(arguments, &|name| environment.iter().find(|(known, _)| *known == name).map(|(_, set)| set.into()))
}

fn run(arguments: &[&str]) -> (Config, LevelFilter, bool) {
    match with(arguments, &[]) {
        Outcome::Run { config, log_level, demo } => (config, log_level, demo),
        other => panic!("{arguments:?} gave {other:?}"),
    }
}

fn listens(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    match with(arguments, environment) {
        Outcome::Run { config, .. } => {
            config.listen.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(" ")
        }
        other => panic!("{arguments:?} gave {other:?}"),
    }
}

fn refusal(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    match with(arguments, environment) {
        Outcome::Refuse(line) => {
            assert!(!line.contains(char::is_control), "{arguments:?} gave {line:?}");
            line
        }
        other => panic!("{arguments:?} gave {other:?}"),
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
        "--log-level",
        "DEBUG",
    ]);
    let right = Config {
        listen: vec![Config::all_addresses(80)],
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
        drain_timeout: Duration::from_secs(60),
        status_path: None,
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
    (&["--max-fails", "0"], "--max-fails \"0\": must be a whole number from 1 to 4294967295"),
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
    (&["--log-level", "trace"], "--log-level \"trace\": must be error, warn, info or debug"),
];

#[test]
fn a_bad_value_is_one_line_with_flag_and_value() {
    for (arguments, line) in BAD_VALUES {
        assert_eq!(refusal(arguments, &[]), *line);
    }
}

#[test]
fn a_bad_flag_is_one_line_that_helps() {
    let cases: &[(&[&str], &str)] = &[
        (&["--backend", "a:1"], "unknown flag \"--backend\"; did you mean --backends?"),
        (&["--bakcends=a:1"], "unknown flag \"--bakcends\"; did you mean --backends?"),
        (&["-port", "80"], "unknown flag \"-port\"; did you mean --port?"),
        (&["--Workers", "1"], "unknown flag \"--Workers\"; did you mean --workers?"),
        (&["--max_fails", "1"], "unknown flag \"--max_fails\"; did you mean --max-fails?"),
        (&["--health", "1"], "unknown flag \"--health\"; did you mean --health-check-interval?"),
        (&["--verison"], "unknown flag \"--verison\"; did you mean --version?"),
        (&["--max-header", "1"], "unknown flag \"--max-header\"; did you mean --max-headers?"),
        (&["--max-connection", "1"], "unknown flag \"--max-connection\"; did you mean --max-connections?"),
        (&["--backend-max", "1"], "unknown flag \"--backend-max\"; did you mean --backend-max-connections?"),
        (&["--trust", "::1"], "unknown flag \"--trust\"; did you mean --trust-forwarded?"),
        (&["--hepl"], "unknown flag \"--hepl\"; did you mean --help?"),
        (&["--colour"], "unknown flag \"--colour\"; see evenkeel --help"),
        (&["--été"], "unknown flag \"--été\"; see evenkeel --help"),
        (&["--x\u{1b}[2J"], "unknown flag \"--x\\u{1b}[2J\"; see evenkeel --help"),
        (&["-p", "80"], "unknown flag \"-p\"; see evenkeel --help"),
        (&["--=x"], "unknown flag \"--\"; see evenkeel --help"),
        (&["start"], "\"start\" is not a flag; evenkeel takes flags only, see evenkeel --help"),
        (&[""], "\"\" is not a flag; evenkeel takes flags only, see evenkeel --help"),
        (&["--"], "\"--\" is not a flag; evenkeel takes flags only, see evenkeel --help"),
        (&["--port"], "--port needs a value, N, but nothing follows it"),
        (&["--backends", "--demo"], "--backends needs a value, LIST, but --demo follows it"),
        (&["--listen", "--port=1"], "--listen needs a value, ADDR:PORT, but --port=1 follows it"),
        (&["--port", "1", "--port=2"], "--port is given twice; give it once"),
        (&["--demo=yes"], "--demo takes no value, not \"yes\""),
    ];
    for (arguments, line) in cases {
        assert_eq!(refusal(arguments, &[]), *line);
    }
    let long = refusal(&[&format!("--{}", "x".repeat(100_000))], &[]);
    assert!(long.len() < 200, "{long}");
}

#[test]
fn a_bad_environment_names_the_variable() {
    for set in ["", "http", "-1", "65536", "80 "] {
        let line =
            format!("PROXY_PORT {set:?}: must be a whole number from 0 to 65535 (0 takes a free port)");
        assert_eq!(refusal(&[], &[("PROXY_PORT", set)]), line);
    }
}

#[test]
fn bytes_that_are_no_text_are_refused_by_every_flag() {
    let bytes = |before: &str| OsString::from_vec([before.as_bytes(), b"\xff\n:1"].concat());
    let flags = [
        "--listen=",
        "--port=",
        "--backends=",
        "--workers=",
        "--health-check-interval=",
        "--health-check-timeout=",
        "--retries=",
        "--retry-delay=",
        "--max-fails=",
        "--trust-forwarded=",
        "--max-head=",
        "--max-headers=",
        "--max-target=",
        "--max-body=",
        "--min-body-rate=",
        "--max-requests=",
        "--max-connections=",
        "--max-connections-per-client=",
        "--backend-max-connections=",
        "--backend-max-idle=",
        "--head-timeout=",
        "--idle-timeout=",
        "--connect-timeout=",
        "--response-timeout=",
        "--stall-timeout=",
        "--tunnel-timeout=",
        "--backend-idle-timeout=",
        "--drain-timeout=",
        "--status-path=/",
        "--log-level=",
    ];
    for flag in flags {
        let Outcome::Refuse(line) = parse(&[bytes(flag)], &|_| None) else { panic!("{flag} taken") };
        let name = flag.split('=').next().unwrap_or(flag);
        assert!(line.starts_with(&format!("{name} \"")) && line.contains("\u{fffd}\\n"), "{line}");
    }
    let Outcome::Refuse(line) = parse(&[bytes("--demo")], &|_| None) else { panic!("taken") };
    assert!(line.starts_with("unknown flag \"--demo\u{fffd}\\n:1\""), "{line}");
    let Outcome::Refuse(line) = parse::<&str>(&[], &|_| Some(bytes("80"))) else { panic!("taken") };
    assert!(line.starts_with("PROXY_PORT \"80\u{fffd}\\n:1\": must be"), "{line}");
}

#[test]
fn version_and_help_are_printed() {
    for arguments in [&["--version"][..], &["-V"], &["--port", "x", "--version"]] {
        let Outcome::Print(text) = with(arguments, &[("PROXY_PORT", "x")]) else { panic!("{arguments:?}") };
        assert_eq!(text, "evenkeel 0.1.0");
    }
    for arguments in
        [&["--help"][..], &["-h"], &["help"], &["--help", "--port", "1"], &["--port", "x", "--help"]]
    {
        let Outcome::Print(text) = with(arguments, &[("PROXY_PORT", "x")]) else { panic!("{arguments:?}") };
        assert!(text.starts_with("Usage: evenkeel [--listen ADDR:PORT]... "), "{text}");
    }
}

/// The help is literal text, so this holds it to `limits`.
#[test]
fn help_gives_every_flag_and_default() {
    let Outcome::Print(help) = with(&["--help"], &[]) else { panic!("no help") };
    let (usage, options) = help.split_once("Options:").expect("two parts");
    let (options, _) = options.split_once("Examples:").expect("examples after the options");
    let options: Vec<&str> = options.split("\n  --").map(str::trim).collect();
    let option = |flag: &str| {
        let found = options.iter().find(|text| text.split_whitespace().next() == Some(flag));
        found.unwrap_or_else(|| panic!("no --{flag}")).split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let bytes = |bytes: usize| size(bytes as u64);
    let millis = |duration: Duration| format!("(default {}ms)", duration.as_millis());
    let seconds = |duration: Duration| format!("(default {}s)", duration.as_secs());
    let cases = [
        ("port", format!("(default {})", limits::PORT)),
        ("backends", format!("(default {})", limits::BACKENDS)),
        ("workers", format!("1 to {} (default: the cores", limits::WORKERS_MAX)),
        ("health-check-interval", seconds(limits::HEALTH_INTERVAL)),
        ("health-check-timeout", seconds(limits::HEALTH_TIMEOUT)),
        ("retries", format!("0 to {} (default {})", limits::RETRIES_MAX, limits::RETRIES)),
        ("retry-delay", millis(limits::RETRY_DELAY)),
        ("max-fails", format!("(default {})", limits::MAX_FAILS)),
        ("trust-forwarded", "(default: nobody)".to_owned()),
        (
            "max-head",
            format!(
                "{} to {} (default {})",
                bytes(limits::HEAD_MIN),
                bytes(limits::HEAD_MAX),
                bytes(limits::HEAD)
            ),
        ),
        ("max-headers", format!("1 to {} (default {})", limits::FIELDS, limits::FIELDS_DEFAULT)),
        ("max-target", format!("{} to --max-head (default {},", limits::TARGET_MIN, bytes(limits::TARGET))),
        ("max-body", "0: no limit (default 0)".to_owned()),
        ("min-body-rate", format!("0: no limit (default {})", limits::BODY_RATE)),
        ("max-requests", "0: no limit (default 0)".to_owned()),
        ("max-connections", "descriptors allow (default 0)".to_owned()),
        ("max-connections-per-client", "0: no limit (default 0)".to_owned()),
        ("backend-max-connections", "0: no limit (default 0)".to_owned()),
        ("backend-max-idle", format!("0: none (default {})", limits::IDLE_UPSTREAMS)),
        ("head-timeout", seconds(limits::HEAD_TIMEOUT)),
        ("idle-timeout", seconds(limits::IDLE_TIMEOUT)),
        ("connect-timeout", seconds(limits::CONNECT_TIMEOUT)),
        ("response-timeout", seconds(limits::RESPONSE_TIMEOUT)),
        ("stall-timeout", seconds(limits::STALL_TIMEOUT)),
        ("tunnel-timeout", format!("(default {}h)", limits::TUNNEL_TIMEOUT.as_secs() / 3600)),
        ("backend-idle-timeout", seconds(limits::UPSTREAM_IDLE_TIMEOUT)),
        ("drain-timeout", seconds(limits::DRAIN_TIMEOUT)),
        ("status-path", format!("(default {})", limits::STATUS_PATH)),
        ("log-level", "(default info)".to_owned()),
        ("listen", "more than once".to_owned()),
        ("pin", "core".to_owned()),
        ("busy-poll", "a whole core for each worker".to_owned()),
        ("demo", "three backends".to_owned()),
    ];
    for (flag, text) in cases {
        assert!(option(flag).contains(&text), "--{flag}: {}", option(flag));
        assert!(usage.contains(&format!("[--{flag}")), "usage lacks --{flag}");
    }
    let fits = |line: &str| line.chars().count() <= 80 || line.contains(limits::BACKENDS);
    assert!(help.lines().all(fits), "{help}");
}

/// Any bytes give an outcome: pieces that mean something, in random order, split and joined.
#[test]
fn no_arguments_panic() {
    const PIECES: [&str; 24] = [
        "--port",
        "--listen",
        "--backends",
        "--demo",
        "--status-path",
        "--retry-delay",
        "=",
        ",",
        ":",
        "[",
        "]",
        "://",
        "http",
        "1",
        "65536",
        ".",
        "-",
        "ms",
        " ",
        "\0",
        "é",
        "/",
        "a",
        "::1",
    ];
    let mut seed: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut next = |bound: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % bound as u64) as usize
    };
    for _ in 0..20_000 {
        let arguments: Vec<String> =
            (0..next(5)).map(|_| (0..next(6)).map(|_| PIECES[next(PIECES.len())]).collect()).collect();
        if let Outcome::Refuse(line) = parse(&arguments, &|_| None) {
            assert!(!line.is_empty() && !line.contains(char::is_control), "{arguments:?} gave {line:?}");
        }
    }
}
