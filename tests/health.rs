//! Probes find out who is up, tell it once, and never wait for one another.

use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::support::{Backend, Evenkeel, Port, SOON, eventually, get, list, raise_open_files};

#[test]
fn each_change_is_one_log_line() {
    let (mut backend, other) = (Backend::named("a"), Backend::named("b"));
    let balancer =
        Evenkeel::start(&["--health-check-interval", "50ms", "--backends", &list([&backend, &other])]);
    let url = backend.url();
    let said = |word| balancer.lines_with(&url, word);
    eventually(SOON, "the first rounds of probes", || other.connections() > 3);
    for round in 1..=3 {
        let ups = said("up");
        backend.kill();
        eventually(SOON, "a line that says it is down", || said("down") >= round);
        let probed = other.connections();
        eventually(SOON, "more rounds of probes", || other.connections() > probed + 5);
        assert_eq!(said("down"), round, "said once: {:?}", balancer.lines());
        backend.restart();
        eventually(SOON, "a line that says it is up", || said("up") > ups);
        let probed = other.connections();
        eventually(SOON, "more rounds of probes", || other.connections() > probed + 5);
        assert_eq!(said("up"), ups + 1, "said once: {:?}", balancer.lines());
    }
    assert_eq!(balancer.lines_with(&other.url(), "down"), 0);
}

#[test]
fn the_first_round_is_at_the_start() {
    let nobody = Port::reserve();
    let backend = Backend::named("a");
    let urls = format!("{},{}", nobody.url(), backend.url());
    let balancer = Evenkeel::start(&["--health-check-interval", "10m", "--backends", &urls]);
    eventually(SOON, "the dead one is found", || balancer.lines_with(&nobody.url(), "down") == 1);
    eventually(SOON, "the live one is probed", || backend.connections() == 1);
    assert_eq!(backend.requests(), 0);
}

#[test]
fn a_dead_backend_gets_no_requests_and_costs_none() {
    let nobody = Port::reserve();
    let backend = Backend::named("a");
    let urls = format!("{},{}", nobody.url(), backend.url());
    let balancer = Evenkeel::start(&["--backends", &urls]);
    for _ in 0..50 {
        assert_eq!(get(balancer.address, "/").expect("a response").text(), "a");
    }
}

/// Serves on one loopback address only and is asked for by the name `localhost`.
fn by_name(address: &str) {
    let backend = Backend::start_on(address, |_, reply| reply.ok("by name"));
    let url = format!("http://localhost:{}", backend.address().port());
    let balancer = Evenkeel::start(&["--health-check-interval", "100ms", "--backends", &url]);
    for _ in 0..10 {
        assert_eq!(get(balancer.address, "/").expect("a response").text(), "by name");
    }
    eventually(SOON, "probes", || backend.connections() > 3);
    assert_eq!(get(balancer.address, "/").expect("a response").text(), "by name");
    assert_eq!(balancer.lines_with(&url, "down"), 0, "{:?}", balancer.lines());
}

/// Whether `localhost` has that address here, so that a balancer could know.
fn localhost_has(address: &str) -> bool {
    use std::net::ToSocketAddrs;
    let found =
        ("localhost", 1).to_socket_addrs().into_iter().flatten().any(|a| a.ip().to_string() == address);
    if !found {
        eprintln!("skipped: localhost is not {address} on this machine");
    }
    found
}

#[test]
fn localhost_is_found_on_127_0_0_1_alone() {
    if localhost_has("127.0.0.1") {
        by_name("127.0.0.1:0");
    }
}

#[test]
fn localhost_is_found_on_ipv6_alone() {
    if localhost_has("::1") {
        by_name("[::1]:0");
    }
}

#[test]
fn an_ipv6_backend_is_served() {
    let backend = Backend::start_on("[::1]:0", |_, reply| reply.ok("six"));
    let balancer = Evenkeel::start(&["--backends", &backend.url()]);
    assert_eq!(get(balancer.address, "/").expect("a response").text(), "six");
}

#[test]
fn a_name_that_does_not_resolve_is_a_dead_backend_not_the_end() {
    let backend = Backend::named("a");
    let unknown = "http://no-such-host.invalid:8081";
    let balancer = Evenkeel::start(&["--backends", &format!("{unknown},{}", backend.url())]);
    for _ in 0..10 {
        assert_eq!(get(balancer.address, "/").expect("a response").text(), "a");
    }
    eventually(SOON, "a line that says it is down", || balancer.lines_with(unknown, "down") == 1);
}

/// A port on every loopback address where a connect neither succeeds nor fails: its queue is full.
struct Silent {
    _listener: Socket,
    _queued: Vec<Socket>,
    port: u16,
}

impl Silent {
    fn start() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("socket");
        listener.bind(&std::net::SocketAddr::from(([0, 0, 0, 0], 0)).into()).expect("bind");
        listener.listen(0).expect("listen");
        let address = listener.local_addr().ok().and_then(|a| a.as_socket()).expect("an address");
        let target = std::net::SocketAddr::from(([127, 0, 0, 1], address.port()));
        let mut queued = Vec::new();
        loop {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("socket");
            if socket.connect_timeout(&target.into(), Duration::from_millis(300)).is_err() {
                break;
            }
            queued.push(socket);
        }
        Self { _listener: listener, _queued: queued, port: address.port() }
    }
}

#[test]
fn a_thousand_silent_backends_do_not_delay_one_another() {
    raise_open_files();
    let silent = Silent::start();
    let mut live = Backend::named("live");
    let mut urls: Vec<String> =
        (0..1000).map(|i| format!("http://127.1.{}.{}:{}", i / 250, i % 250 + 1, silent.port)).collect();
    urls.push(live.url());
    let balancer = Evenkeel::start(&[
        "--health-check-interval",
        "1s",
        "--health-check-timeout",
        "500ms",
        "--log-level",
        "info",
        "--backends",
        &urls.join(","),
    ]);
    let start = Instant::now();
    let down = || balancer.lines().iter().filter(|l| l.contains("127.1.") && l.contains("down")).count();
    eventually(SOON, "all are found silent", || down() >= 1000);
    assert!(start.elapsed() < Duration::from_secs(8), "took {:?}", start.elapsed());
    assert_eq!(get(balancer.address, "/").expect("a response").text(), "live");

    let start = Instant::now();
    live.kill();
    eventually(SOON, "the live one is found down", || balancer.lines_with(&live.url(), "down") == 1);
    live.restart();
    eventually(SOON, "and up", || get(balancer.address, "/").is_ok_and(|r| r.text() == "live"));
    assert!(start.elapsed() < Duration::from_secs(12), "took {:?}", start.elapsed());
}
