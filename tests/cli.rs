//! The command line: what is wrong is said in one line, with exit code 2.

use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};

use crate::support::process::{evenkeel, output_of, test_server};
use crate::support::{Backend, Evenkeel, SOON, eventually, get};

fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = evenkeel();
    command.args(arguments).envs(environment.iter().copied());
    output_of(command)
}

/// One line on stderr that names these, exit code 2, and nothing that looks like a crash.
#[track_caller]
fn assert_one_line(arguments: &[&str], output: &Output, named: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "{arguments:?}: {stderr}");
    for name in named {
        assert!(stderr.contains(name), "{arguments:?}: {name} is not named: {stderr}");
    }
    assert!(!stderr.contains("panicked") && !stderr.contains("RUST_BACKTRACE"), "{stderr}");
    assert!(output.stdout.is_empty(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
}

/// A free port below those that the kernel hands out by itself, so that nobody else gets it meanwhile.
pub(crate) fn free_port() -> u16 {
    use std::sync::atomic::{AtomicU16, Ordering::SeqCst};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = 20_000 + (std::process::id() % 10_000) as u16;
    loop {
        let port = base + NEXT.fetch_add(1, SeqCst) % 2_000;
        if TcpListener::bind(("0.0.0.0", port)).is_ok() && TcpListener::bind(("::", port)).is_ok() {
            return port;
        }
    }
}

#[test]
fn a_bad_value_is_one_line_that_names_the_flag_and_the_value() {
    let cases = [
        ("--listen", "nonsense"),
        ("--listen", "127.0.0.1:70000"),
        ("--listen", "256.0.0.1:80"),
        ("--port", "x"),
        ("--port", "70000"),
        ("--port", "-1"),
        ("--backends", "ftp://localhost:81"),
        ("--backends", "http://localhost:0"),
        ("--backends", "http://localhost:70000"),
        ("--backends", "http://:81"),
        ("--backends", "http://localhost:81/path"),
        ("--backends", "localhost:x"),
        ("--workers", "0"),
        ("--workers", "many"),
        ("--workers", "-1"),
        ("--health-check-interval", "soon"),
        ("--health-check-interval", "5x"),
        ("--health-check-interval", "0"),
        ("--health-check-timeout", "0s"),
        ("--health-check-timeout", "-1s"),
        ("--health-check-timeout", "1h2"),
        ("--retries", "x"),
        ("--retries", "1000"),
        ("--retry-delay", "ms"),
        ("--retry-delay", "99999999999999999999s"),
        ("--max-fails", "often"),
        ("--max-fails", "-1"),
        ("--algorithm", "fastest"),
        ("--hash-bound", "100"),
        ("--backup", "localhost"),
        ("--health-check", "ping"),
        ("--health-path", "health"),
        ("--health-status", "ok"),
        ("--health-rise", "0"),
        ("--fail-rate", "101"),
        ("--eject-time", "0"),
        ("--retry-budget", "much"),
        ("--retry-statuses", "6xx"),
        ("--try-timeout", "60s"),
        ("--queue-length", "-1"),
        ("--slow-start", "slowly"),
        ("--sticky", "ip"),
        ("--rate-limit", "100"),
        ("--drain-timeout", "later"),
        ("--status-path", "no-slash"),
        ("--log-level", "loud"),
        ("--access-log-format", "xml"),
    ];
    for (flag, value) in cases {
        let arguments = [flag, value];
        assert_one_line(&arguments, &run(&arguments, &[]), &[flag, value]);
    }
}

#[test]
fn no_backend_is_an_error() {
    for value in ["", ",", " "] {
        let arguments = ["--backends", value];
        assert_one_line(&arguments, &run(&arguments, &[]), &["--backends"]);
    }
}

#[test]
fn a_doubled_address_is_an_error() {
    let arguments = ["--backends", "http://127.0.0.1:81,http://127.0.0.1:82,127.0.0.1:81"];
    assert_one_line(&arguments, &run(&arguments, &[]), &["--backends", "127.0.0.1:81"]);
    let address = format!("127.0.0.1:{}", free_port());
    let arguments = ["--listen", &address, "--listen", &address];
    assert_one_line(&arguments, &run(&arguments, &[]), &["--listen", &address]);
}

#[test]
fn an_unknown_flag_is_an_error() {
    for arguments in [&["--no-such-flag"][..], &["--workers"], &["stray"]] {
        assert_one_line(arguments, &run(arguments, &[]), &[arguments[0]]);
    }
}

#[test]
fn a_bad_proxy_port_is_an_error_unless_a_flag_wins() {
    assert_one_line(&[], &run(&[], &[("PROXY_PORT", "abc")]), &["PROXY_PORT", "abc"]);
}

#[test]
fn a_bad_secret_is_an_error_that_does_not_say_it() {
    let arguments = ["--sticky", "cookie"];
    let output = run(&arguments, &[("EVENKEEL_STICKY_SECRET", "sh0rt")]);
    assert_one_line(&arguments, &output, &["EVENKEEL_STICKY_SECRET", "too short"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("sh0rt"));
    let arguments = ["--sticky", "cookie", "--sticky-secret", "sh0rt"];
    let output = run(&arguments, &[("EVENKEEL_STICKY_SECRET", "0123456789abcdef")]);
    assert_one_line(&arguments, &output, &["--sticky-secret", "too short"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("sh0rt"));
    assert_one_line(
        &arguments[..2],
        &run(&arguments[..2], &[]),
        &["sticky cookie", "EVENKEEL_STICKY_SECRET"],
    );
}

#[test]
fn a_flag_without_the_one_it_needs_is_an_error() {
    let cases: [(&[&str], &str); 8] = [
        (&["--hash-key", "uri"], "--algorithm hash"),
        (&["--health-path", "/", "--health-check", "tcp"], "--health-check tcp"),
        (&["--fail-window", "1s", "--fail-rate", "0"], "--fail-rate 0"),
        (&["--queue-length", "5"], "--backend-max-requests"),
        (&["--retry-budget", "5", "--retries", "0"], "--retries 0"),
        (&["--sticky-return"], "--sticky cookie"),
        (&["--sticky-time", "5m"], "--sticky address"),
        (&["--rate-burst", "5"], "--rate-limit"),
    ];
    for (arguments, other) in cases {
        assert_one_line(arguments, &run(arguments, &[]), &[arguments[0], other]);
    }
}

#[test]
fn a_port_in_use_by_another_process_is_an_error() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = taken.local_addr().expect("an address").to_string();
    let arguments = ["--listen", &address];
    assert_one_line(&arguments, &run(&arguments, &[]), &["--listen", &address]);

    let taken = TcpListener::bind(("0.0.0.0", free_port())).expect("bind");
    let port = taken.local_addr().expect("an address").port().to_string();
    let arguments = ["--port", &port];
    assert_one_line(&arguments, &run(&arguments, &[]), &["--port", &port]);
}

#[test]
fn a_port_in_use_by_another_evenkeel_is_an_error() {
    let backend = Backend::named("a");
    let first = Evenkeel::start(&["--backends", &backend.url()]);
    let address = first.address.to_string();
    let arguments = ["--listen", &address];
    assert_one_line(&arguments, &run(&arguments, &[]), &["--listen", &address]);
    for _ in 0..20 {
        assert_eq!(get(first.address, "/").expect("the first serves on").text(), "a");
    }

    let port = free_port().to_string();
    let second = Evenkeel::start(&["--port", &port, "--backends", &backend.url()]);
    let arguments = ["--port", &port];
    assert_one_line(&arguments, &run(&arguments, &[]), &["--port", &port]);
    let output = run(&[], &[("PROXY_PORT", &port)]);
    assert_one_line(&["PROXY_PORT"], &output, &[&port]);

    // Whichever of two addresses is named first.
    let (theirs, wide, narrow) =
        (format!("127.0.0.2:{port}"), format!("0.0.0.0:{port}"), format!("127.0.0.1:{port}"));
    drop(second);
    let _third = Evenkeel::start(&["--listen", &theirs, "--backends", &backend.url()]);
    for (one, two) in [(&wide, &narrow), (&narrow, &wide)] {
        let arguments = ["--listen", one, "--listen", two];
        assert_one_line(&arguments, &run(&arguments, &[]), &[&wide, "in use"]);
    }
}

#[test]
fn a_port_can_be_taken_again_as_soon_as_it_is_free() {
    let backend = Backend::named("a");
    let port = free_port().to_string();
    for _ in 0..3 {
        let mut balancer = Evenkeel::start(&["--port", &port, "--backends", &backend.url()]);
        assert_eq!(get(balancer.address, "/").expect("a response").text(), "a");
        balancer.terminate();
        assert_eq!(balancer.exit_within(SOON).code(), Some(0));
    }
}

#[test]
fn proxy_port_sets_the_port_and_a_flag_wins() {
    let backend = Backend::named("a");
    let (by_environment, by_flag) = (free_port(), free_port());
    let start = |arguments: &[&str]| {
        let mut command = evenkeel();
        command.args(["--backends", &backend.url()]).args(arguments);
        command.env("PROXY_PORT", by_environment.to_string());
        Evenkeel::run(command)
    };
    let balancer = start(&[]);
    assert_eq!(balancer.address.port(), by_environment);
    assert_eq!(get(balancer.address, "/").expect("a response").text(), "a");
    drop(balancer);
    let balancer = start(&["--port", &by_flag.to_string()]);
    assert_eq!(balancer.address.port(), by_flag);
    assert_eq!(get(balancer.address, "/").expect("a response").text(), "a");
    assert!(TcpStream::connect(("127.0.0.1", by_environment)).is_err(), "only the flag's port is opened");
}

#[test]
fn every_listening_address_serves() {
    let backend = Backend::named("a");
    let balancer = Evenkeel::start(&[
        "--listen",
        "127.0.0.1:0",
        "--listen",
        "127.0.0.2:0",
        "--listen",
        "[::1]:0",
        "--backends",
        &backend.url(),
    ]);
    eventually(SOON, "three addresses", || balancer.addresses().len() == 3);
    for address in balancer.addresses() {
        for _ in 0..5 {
            assert_eq!(get(address, "/").expect("a response").text(), "a", "{address}");
        }
    }
}

#[test]
fn more_workers_than_cores_and_pins_is_no_reason_to_stop() {
    let backend = Backend::named("a");
    let balancer = Evenkeel::start(&["--workers", "16", "--pin", "--backends", &backend.url()]);
    for _ in 0..50 {
        assert_eq!(get(balancer.address, "/").expect("a response").text(), "a");
    }
}

#[test]
fn version_and_help_go_to_stdout_with_code_0() {
    let output = run(&["--version"], &[]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("evenkeel {}\n", env!("CARGO_PKG_VERSION")));

    let output = run(&["--help"], &[]);
    assert_eq!(output.status.code(), Some(0));
    let help = String::from_utf8_lossy(&output.stdout);
    for flag in [
        "--listen",
        "--port",
        "--backends",
        "--workers",
        "--pin",
        "--health-check-interval",
        "--health-check-timeout",
        "--retries",
        "--retry-delay",
        "--max-fails",
        "--drain-timeout",
        "--status-path",
        "--log-level",
        "--demo",
        "--version",
        "--help",
    ] {
        assert!(help.contains(flag), "{flag}: {help}");
    }
}

/// A file in the place for temporary files, removed when the test ends.
struct Written(std::path::PathBuf);

impl Written {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("evenkeel-{}-{name}", std::process::id()));
        std::fs::write(&path, text).expect("a file");
        Self(path)
    }

    fn name(&self) -> &str {
        self.0.to_str().expect("a path in UTF-8")
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

const RISKY: &str =
    "workers = 1\ntrust_forwarded = [\"0.0.0.0/0\"]\n[[pool]]\n[[pool.backend]]\nurl = \"a:1\"\n";

#[test]
fn an_address_that_cannot_be_listened_on_is_named_as_it_was_given() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = taken.local_addr().expect("an address").to_string();
    let pool = "[[pool]]\nbackend = [{ url = \"127.0.0.1:1\" }]\n";
    let file =
        Written::new("taken.toml", &format!("[[listener]]\nname = \"web\"\naddress = \"{address}\"\n{pool}"));
    let right = format!("cannot listen on {address} (listener \"web\"): the port is in use");
    let arguments = ["--config", file.name()];
    assert_one_line(&arguments, &run(&arguments, &[]), &[&right]);
    let right = format!("or --listen {address}): the port is in use");
    let arguments = ["--listen", &address];
    assert_one_line(&arguments, &run(&arguments, &[]), &[&right]);
}

#[test]
fn a_check_says_ok_with_warnings_on_stdout_and_errors_on_stderr() {
    let file = Written::new("risky.toml", RISKY);
    let output = run(&["--config", file.name(), "--check"], &[]);
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.starts_with("OK: 1 listener, 0 routes, 1 pool, 1 backend, 1 warning\n"), "{said}");
    assert!(said.contains(":2:20: warning: 0.0.0.0/0 trusts strangers"), "{said}");

    let file = Written::new("wrong.toml", "worker = 1\nlog_level = \"loud\"\n");
    for arguments in [&["--config", file.name()][..], &["--check", "--config", file.name(), "--port", "1"]] {
        let output = run(arguments, &[]);
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(2), &b""[..]));
        let said = String::from_utf8_lossy(&output.stderr);
        let first =
            format!("{}:1:1: unknown key \"worker\"; did you mean workers?\n  1 | worker = 1\n", file.name());
        assert!(said.starts_with(&first) && said.ends_with("\n2 errors\n"), "{said}");
    }
    let missing = ["--config", "/nowhere/lb.toml", "--check"];
    let output = run(&missing, &[]);
    assert_one_line(&missing, &output, &["/nowhere/lb.toml: cannot be read: there is no such file"]);
}

#[test]
fn a_file_is_run_with_the_flags_over_it_and_its_warnings_in_the_log() {
    let backend = Backend::named("a");
    let file = Written::new("run.toml", &RISKY.replace("a:1", &backend.url()));
    let balancer = Evenkeel::start(&["--config", file.name(), "--workers", "2"]);
    assert_eq!(get(balancer.address, "/").expect("a response").text(), "a");
    assert_eq!(balancer.status()["workers"].as_array().map(Vec::len), Some(2));
    let warned = |line: &String| line.contains("[WARN]") && line.contains(":2:20: warning: 0.0.0.0/0 trusts");
    assert_eq!(balancer.lines().iter().filter(|line| warned(line)).count(), 1);
}

#[test]
fn what_becomes_of_a_request_and_a_file_to_start_from_are_printed() {
    let output = run(&["--print-config"], &[]);
    let template = Written::new("template.toml", &String::from_utf8_lossy(&output.stdout));
    let output = run(&["--config", template.name(), "--check"], &[]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "OK: 1 listener, 0 routes, 1 pool, 3 backends\n");
    let output = run(&["--config", template.name(), "--explain", "GET example.com/v1/x"], &[]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0));
    assert!(said.starts_with("GET example.com/v1/x\n") && said.contains("http://localhost:8081"), "{said}");
    let asked = ["--config", template.name(), "--explain", "GET"];
    assert_one_line(&asked, &run(&asked, &[]), &["--explain", "a method and no host"]);
}

/// The `curl` command in a line, without what a log puts before it.
fn curl_in(line: &str) -> Option<String> {
    let start = ["for ", "while "].iter().find_map(|w| line.find(w)).or_else(|| line.find("curl "))?;
    line[start..].contains("curl ").then(|| line[start..].trim_matches(['`', ' ']).to_string())
}

#[test]
fn demo_needs_nothing_else_and_its_curl_line_works() {
    let balancer = Evenkeel::start(&["--demo", "--listen", "127.0.0.1:0"]);
    let mut line = None;
    eventually(SOON, "a curl line", || {
        line = balancer.lines().iter().find_map(|l| curl_in(l));
        line.is_some()
    });
    let line = line.unwrap_or_default();
    assert!(
        balancer.lines().iter().any(|l| l.contains(&balancer.address.to_string())),
        "the address is printed"
    );
    assert!(line.contains(&balancer.address.port().to_string()), "{line}");
    let mut shell = Command::new("sh");
    shell.args(["-c", &line]);
    if Command::new("curl").arg("--version").output().is_ok() {
        let output = output_of(shell);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("Hello from "), "{line}: {said}");
    } else {
        eprintln!("curl is not installed: its line is not tried");
    }
    let mut greetings = std::collections::BTreeSet::new();
    // The demo's own traffic takes turns too.
    eventually(SOON, "three backends greet", || {
        let text = get(balancer.address, "/").expect("a response").text();
        greetings.insert(text.lines().next().unwrap_or_default().to_string());
        greetings.len() == 3
    });
}

#[test]
fn test_server_says_who_it_is_and_what_it_saw() {
    let port = free_port();
    let mut command = test_server();
    command.args(["--port", &port.to_string(), "--name", "Alpha"]);
    let mut child = command.stdout(std::process::Stdio::null()).spawn().expect("spawn");
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    eventually(SOON, "test-server accepts", || TcpStream::connect(address).is_ok());
    let answers = ["/a?b=c", "/health", "/fail", "/health", "/a"].map(|path| get(address, path));
    let _ = child.kill();
    let _ = child.wait();
    let [hello, healthy, failing, unhealthy, failed] = answers.map(|a| a.expect("a response"));
    assert_eq!(hello.status, 200);
    assert_eq!(hello.text().lines().next(), Some(format!("Hello from Alpha on port {port}").as_str()));
    assert!(hello.text().contains("GET") && hello.text().contains("/a?b=c"), "{}", hello.text());
    assert!(hello.text().to_lowercase().contains("host: test.example"), "{}", hello.text());
    assert_eq!((healthy.status, unhealthy.status, failed.status), (200, 503, 503));
    assert!([200, 503].contains(&failing.status));
}
