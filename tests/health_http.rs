//! HTTP health checks: what is asked, what is expected, and how many answers it takes.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::{
    Backend, Evenkeel, Port, Reply, Request, SOON, Split, eventually, get, raise_open_files,
};

/// A balancer that checks these URLs by HTTP; often, unless the flags say otherwise.
fn checked(urls: &str, flags: &[&str]) -> Evenkeel {
    let http = ["--health-check", "http", "--backends", urls];
    let often = ["--health-check-interval", "30ms"];
    let often = if flags.contains(&often[0]) { &[][..] } else { &often };
    Evenkeel::start(&[&http[..], often, flags].concat())
}

/// A backend that answers each path as told: one that the script does not know gets a 404.
fn by_path(script: impl Fn(&str) -> Option<u16> + Send + Sync + 'static) -> (Backend, Targets) {
    let targets = Targets::default();
    let seen = targets.clone();
    let backend = Backend::start(move |request, reply| {
        seen.0.lock().unwrap().push(request.target.clone());
        status(reply, script(&request.target).unwrap_or(404))
    });
    (backend, targets)
}

/// The targets asked for, in order.
#[derive(Clone, Default)]
struct Targets(Arc<Mutex<Vec<String>>>);

impl Targets {
    fn list(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

fn status(reply: &Reply<'_>, status: u16) -> io::Result<()> {
    reply.send(format!("HTTP/1.1 {status} Some\r\nContent-Length: 0\r\n\r\n"))
}

/// Bytes sent by every answer, and then the connection is closed.
fn always(answer: impl AsRef<[u8]> + Send + Sync + 'static, split: Split) -> Backend {
    Backend::start(move |_, reply| {
        reply.close();
        reply.send_pieces(answer.as_ref(), &split)
    })
}

/// The latest line that names this backend and says that it is up or down.
fn said(balancer: &Evenkeel, url: &str, word: &str) -> Option<String> {
    let start = format!("backend {url} is {word}");
    balancer.lines().into_iter().rev().find(|line| line.contains(&start))
}

#[track_caller]
fn line(balancer: &Evenkeel, url: &str, word: &str) -> String {
    eventually(SOON, "a line about the backend", || said(balancer, url, word).is_some());
    said(balancer, url, word).unwrap_or_default()
}

/// The backend is found to be up, and nothing else is said of it.
#[track_caller]
fn assert_up(backend: &Backend, flags: &[&str]) {
    let balancer = checked(&backend.url(), flags);
    line(&balancer, &backend.url(), "up");
    let seen = backend.connections();
    eventually(SOON, "more probes", || backend.connections() > seen + 5);
    assert_eq!(said(&balancer, &backend.url(), "down"), None);
}

/// The backend is found to be down, and for this reason.
#[track_caller]
fn assert_down(backend: &Backend, flags: &[&str], reason: &str) {
    let balancer = checked(&backend.url(), flags);
    let down = line(&balancer, &backend.url(), "down");
    assert!(down.contains(reason), "{down:?} does not say {reason:?}");
    assert_eq!(said(&balancer, &backend.url(), "up"), None);
}

#[test]
fn paths_are_tried_in_turn_and_the_one_that_works_comes_first_from_then_on() {
    let (backend, targets) = by_path(|path| (path == "/b").then_some(204));
    let balancer = checked(&backend.url(), &["--health-path", "/a,/b,/c", "--health-status", "2xx"]);
    let up = line(&balancer, &backend.url(), "up");
    assert!(up.contains(&format!(": GET /b answered 204 ({}, ", backend.address())), "{up}");
    eventually(SOON, "more probes", || targets.list().len() >= 6);
    assert_eq!(targets.list()[..6], ["/a", "/b", "/b", "/b", "/b", "/b"]);
    assert!(backend.connections() >= targets.list().len(), "one connection for each request");
}

#[test]
fn a_path_that_stops_working_gives_way_to_the_next() {
    let moved = Arc::new(AtomicBool::new(false));
    let now = moved.clone();
    let (backend, targets) =
        by_path(move |path| (path == if now.load(SeqCst) { "/a" } else { "/b" }).then_some(200));
    let balancer = checked(&backend.url(), &["--health-path", "/a,/b", "--health-status", "200"]);
    line(&balancer, &backend.url(), "up");
    moved.store(true, SeqCst);
    eventually(SOON, "it moves", || targets.list().ends_with(&["/a".to_owned(), "/a".to_owned()]));
    assert_eq!(said(&balancer, &backend.url(), "down"), None);
}

#[test]
fn a_failure_names_each_path_and_what_it_answered() {
    let (backend, _) = by_path(|path| (path == "/health").then_some(503));
    let reason = format!("is down: GET /health answered 503, GET / answered 404 ({})", backend.address());
    assert_down(&backend, &["--health-status", "200"], &reason);
}

#[test]
fn statuses_below_500_are_expected_unless_set_otherwise() {
    let (backend, _) = by_path(|path| (path == "/health").then_some(499));
    assert_up(&backend, &[]);
    let (backend, _) = by_path(|_| Some(500));
    assert_down(&backend, &[], "GET /health answered 500, GET / answered 500");
    let (backend, _) = by_path(|_| Some(503));
    assert_up(&backend, &["--health-status", "200,503"]);
    let (backend, _) = by_path(|_| Some(201));
    assert_down(&backend, &["--health-status", "200,503"], "GET /health answered 201");
}

#[test]
fn the_request_is_what_was_asked_for() {
    let backend = Backend::named("a");
    let flags =
        ["--health-method", "OPTIONS", "--health-host", "api.example", "--health-path", "/ready?full=1"];
    let fields = ["--health-header", "Authorization: Basic YTpi", "--health-header", "X-Probe: yes"];
    let balancer = checked(&backend.url(), &[&flags[..], &fields].concat());
    line(&balancer, &backend.url(), "up");
    let Request { method, target, head, .. } = backend.last();
    assert_eq!((method.as_str(), target.as_str()), ("OPTIONS", "/ready?full=1"));
    assert_eq!(head.all("host"), ["api.example"]);
    assert_eq!(head.all("authorization"), ["Basic YTpi"]);
    assert_eq!(head.all("x-probe"), ["yes"]);
    assert_eq!(head.all("connection"), ["close"]);
    let agent = concat!("evenkeel/", env!("CARGO_PKG_VERSION"), " (health check)");
    assert_eq!(head.all("user-agent"), [agent]);
}

#[test]
fn without_a_host_it_is_the_backends_own() {
    let backend = Backend::named("a");
    let balancer = checked(&backend.url(), &[]);
    line(&balancer, &backend.url(), "up");
    assert_eq!(backend.last().head.all("host"), [backend.address().to_string()]);
    assert_eq!(backend.last().target, "/health");
}

#[test]
fn a_text_is_found_across_reads_and_framings() {
    let text = ["--health-body", "all is well"];
    let chunked =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n--all\r\n9\r\n is well-\r\n0\r\n\r\n";
    let long = format!("HTTP/1.1 200 OK\r\nContent-Length: 50011\r\n\r\n{}all is well", "-".repeat(50_000));
    assert_up(&always(chunked, Split::Every(3)), &text);
    assert_up(&always("HTTP/1.0 200 OK\r\n\r\n--all is well--", Split::Every(1)), &text);
    assert_up(&always(long, Split::Every(7001)), &text);
    let lacks = "GET /health answered 200 without the expected text, GET / answered 200 without";
    assert_down(&always("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nwell", Split::Every(1)), &text, lacks);
    assert_down(&always("HTTP/1.0 200 OK\r\n\r\nall is we", Split::Every(1)), &text, lacks);
}

#[test]
fn http_1_0_chunks_and_interim_answers_are_understood() {
    assert_up(&always("HTTP/1.0 200 OK\r\n\r\nhello", Split::Whole), &[]);
    assert_up(&always("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Split::Whole), &[]);
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    assert_up(&always(format!("{interim}HTTP/1.1 200 OK\r\n\r\n"), Split::Every(5)), &[]);
    let bad = always(format!("{interim}HTTP/1.1 503 No\r\n\r\n"), Split::Every(5));
    assert_down(&bad, &[], "GET /health answered 503");
}

#[test]
fn an_answer_to_head_has_no_body_to_wait_for() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
    let backend = Backend::start(move |request, reply| {
        assert_eq!(request.method, "HEAD");
        reply.send(answer)
    });
    assert_up(&backend, &["--health-method", "HEAD"]);
}

#[test]
fn what_is_no_answer_is_a_failure_that_says_so() {
    for (answer, reason) in [
        ("SSH-2.0-OpenSSH_9.2\r\n", "GET /health: not HTTP/1: malformed start line"),
        ("HTTP/2 200\r\n\r\n", "GET /health: not HTTP/1: malformed start line"),
        ("HTTP/1.1 200 OK\n\n", "GET /health: not HTTP/1: a line ends in LF without CR"),
        ("HTTP/1.1 200 OK\r\nA : b\r\n\r\n", "GET /health: not HTTP/1: malformed header field"),
        ("HTTP/1.1 200 OK\r\nServer: a", "GET /health: closed before the end of the answer"),
        ("", "GET /health: closed without an answer"),
        ("HTTP/1.1 100 Continue\r\n\r\n", "GET /health: closed before the end of the answer"),
    ] {
        assert_down(&always(answer, Split::Whole), &[], reason);
    }
}

#[test]
fn a_refused_connection_is_not_tried_for_every_path() {
    let nobody = Port::reserve();
    let balancer = checked(&nobody.url(), &[]);
    let down = line(&balancer, &nobody.url(), "down");
    assert!(down.ends_with(&format!("is down: connection refused ({})", nobody.address)), "{down}");
}

/// Gives a byte now and then, and never the end of it, until the other side has had enough.
fn drip(reply: &Reply<'_>, start: &str) -> io::Result<()> {
    reply.send(start)?;
    loop {
        std::thread::sleep(Duration::from_millis(5));
        reply.send("a")?;
    }
}

#[test]
fn a_slow_drip_ends_in_time_wherever_it_is() {
    let text = ["--health-check-timeout", "300ms", "--health-body", "well"];
    for (flags, start) in [
        (&text[..2], "HTTP/1.1 200 OK\r\nServer: "),
        (&text[..], "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"),
    ] {
        let dripping = Arc::new(AtomicUsize::new(0));
        let count = dripping.clone();
        let backend = Backend::start(move |_, reply| {
            count.fetch_add(1, SeqCst);
            let ended = drip(reply, start);
            count.fetch_sub(1, SeqCst);
            ended
        });
        let begun = Instant::now();
        let interval = ["--health-check-interval", "10m"];
        let balancer = checked(&backend.url(), &[flags, &interval].concat());
        let down = line(&balancer, &backend.url(), "down");
        assert!(
            begun.elapsed() >= Duration::from_millis(300) && begun.elapsed() < SOON / 4,
            "{:?}",
            begun.elapsed()
        );
        assert!(down.contains("is down: GET /health: no answer in time"), "{down}");
        eventually(SOON, "the connection is closed", || dripping.load(SeqCst) == 0);
        assert_eq!(backend.requests(), 1, "no time is left for another path");
    }
}

#[test]
fn the_time_is_for_all_paths_together() {
    let backend = Backend::start(|request, reply| match request.target.as_str() {
        "/a" | "/b" => {
            std::thread::sleep(Duration::from_millis(400));
            status(reply, 404)
        }
        _ => status(reply, 200),
    });
    let flags = ["--health-path", "/a,/b,/c", "--health-status", "200", "--health-check-timeout", "600ms"];
    assert_down(&backend, &flags, "is down: GET /a answered 404, GET /b: no answer in time (");
}

/// Answers as the list says, `+` or `-`, then for ever as its last letter; and counts the requests.
fn by_list(answers: &'static str) -> (Backend, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let backend = Backend::start(move |_, reply| {
        let at = count.fetch_add(1, SeqCst).min(answers.len() - 1);
        status(reply, if answers.as_bytes()[at] == b'+' { 200 } else { 503 })
    });
    (backend, asked)
}

/// The changes said of a backend that gives these answers: `U` or `D`, with how many in a row it took.
#[track_caller]
fn changes(answers: &'static str, flags: &[&str]) -> String {
    let (backend, asked) = by_list(answers);
    let balancer = checked(&backend.url(), &[&["--health-path", "/"], flags].concat());
    eventually(SOON, "all answers", || asked.load(SeqCst) > answers.len() + 3);
    let mut changes = String::new();
    for line in balancer.lines() {
        let Some((_, said)) = line.split_once(&format!("backend {} is ", backend.url())) else { continue };
        let in_a_row = said.split_once(" in a row").and_then(|(before, _)| before.split(' ').nth(1));
        let letter = if said.starts_with("up") { 'U' } else { 'D' };
        changes.push(letter);
        changes.push_str(in_a_row.unwrap_or("1"));
    }
    changes
}

#[test]
fn the_first_answer_decides_alone_then_rise_and_fall_are_counted_exactly() {
    let counts = ["--health-rise", "2", "--health-fall", "3"];
    assert_eq!(changes("+", &counts), "U1");
    assert_eq!(changes("-", &counts), "D1");
    assert_eq!(changes("+--+---+-++", &counts), "U1D3U2");
    assert_eq!(changes("-+-+-++--++---", &counts), "D1U2D3");
    assert_eq!(changes("+-+-", &["--health-rise", "1", "--health-fall", "1"]), "U1D1U1D1");
    let counts = ["--health-rise", "5", "--health-fall", "4"];
    assert_eq!(changes("+---+++++----", &counts), "U1D4");
    assert_eq!(changes("-++++-+++++", &counts), "D1U5");
}

#[test]
fn single_blips_take_nobody_out() {
    assert_eq!(changes("+-+--+-+-+--+--+-+", &["--health-fall", "3"]), "U1");
    assert_eq!(changes("-+-+-+-+-+-", &["--health-rise", "2"]), "D1");
}

#[test]
fn three_failures_take_less_than_two_intervals() {
    let (backend, asked) = by_list("+---");
    let balancer = checked(&backend.url(), &["--health-path", "/", "--health-check-interval", "4s"]);
    line(&balancer, &backend.url(), "up");
    eventually(SOON, "the first failure", || asked.load(SeqCst) >= 2);
    let begun = Instant::now();
    let down = line(&balancer, &backend.url(), "down");
    assert!(down.contains("is down, 3 failures in a row: GET / answered 503 ("), "{down}");
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(1500) && took < Duration::from_millis(3500), "{took:?}");
}

#[test]
fn none_is_never_probed() {
    let (unasked, asked) = (Backend::named("a"), Backend::named("b"));
    let balancer = Evenkeel::start(&["--health-check", "none", "--backends", &unasked.url()]);
    let _other = checked(&asked.url(), &[]);
    eventually(SOON, "probes elsewhere", || asked.connections() > 10);
    assert_eq!(unasked.connections(), 0);
    assert_eq!(said(&balancer, &unasked.url(), "up"), None);
    assert_eq!(get(balancer.address, "/").expect("a response").text(), "a");
}

#[test]
fn a_thousand_that_do_not_answer_do_not_delay_the_others() {
    raise_open_files();
    // Connections are made by the kernel; nobody takes them, so nothing is ever answered.
    let silent = std::net::TcpListener::bind("0.0.0.0:0").expect("bind");
    let port = silent.local_addr().expect("an address").port();
    let live = Backend::named("live");
    let (backend, _) = by_path(|_| Some(503));
    let mut urls: Vec<String> =
        (0..1000).map(|i| format!("http://127.2.{}.{}:{port}", i / 250, i % 250 + 1)).collect();
    urls.extend([live.url(), backend.url()]);
    let timeout = Duration::from_secs(3);
    let begun = Instant::now();
    let balancer =
        checked(&urls.join(","), &["--health-check-timeout", "3s", "--health-check-interval", "10m"]);
    line(&balancer, &live.url(), "up");
    line(&balancer, &backend.url(), "down");
    assert!(begun.elapsed() < timeout, "the silent held up the others: {:?}", begun.elapsed());
    let down = || balancer.lines().iter().filter(|l| l.contains("//127.2.") && l.contains("is down")).count();
    eventually(SOON, "all are found silent", || down() == 1000);
    assert!(begun.elapsed() < timeout * 2, "took {:?}", begun.elapsed());
}
