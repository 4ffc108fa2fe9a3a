//! Every wait has an end: what is answered or cut then, and under which cause it is counted.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::support::raw::{read_head, read_to_end, serve_raw};
use crate::support::{Backend, Client, Evenkeel, SOON, list};

const TICK: Duration = Duration::from_millis(50);

/// Sends one byte after another, with a pause between them, while `going`.
fn drip(client: &Client, byte: &[u8], going: impl Fn() -> bool) {
    while going() && client.send(byte).is_ok() {
        std::thread::sleep(TICK);
    }
}

/// Runs `wait` while `byte` drips in, and says how long that took.
fn timed<T>(
    client: &mut Client,
    byte: &[u8],
    wait: impl FnOnce(&mut Client) -> std::io::Result<T>,
) -> (T, Duration) {
    let stream = Client::over(client.stream().try_clone().expect("a second handle"));
    let (waiting, start) = (AtomicBool::new(true), Instant::now());
    let got = std::thread::scope(|scope| {
        scope.spawn(|| drip(&stream, byte, || waiting.load(SeqCst)));
        let got = wait(client);
        waiting.store(false, SeqCst);
        got
    });
    (got.expect("what was waited for"), start.elapsed())
}

#[track_caller]
fn assert_about(took: Duration, at_least: u64) {
    let (least, most) = (Duration::from_millis(at_least), Duration::from_millis(at_least * 3 + 2500));
    assert!(took >= least && took < most, "took {took:?}");
}

#[test]
fn a_head_that_drips_in_is_408_when_its_time_is_over() {
    let backend = Backend::named("a");
    let balancer = Evenkeel::start(&["--head-timeout", "500ms", "--backends", &backend.url()]);
    let mut client = Client::connect(balancer.address);
    assert_eq!(client.get("/").expect("a response").status, 200);
    client.send("GET / HTTP/1.1\r\nHost: h\r\nX-Slow: ").expect("send");
    let (response, took) = timed(&mut client, b"s", |client| client.response("GET"));
    assert_eq!((response.status, response.closes()), (408, true));
    assert_about(took, 450);
    assert_eq!(balancer.failures("head-timeout"), 1);
    assert_eq!(backend.requests(), 1);
}

#[test]
fn a_client_that_never_says_a_word_is_closed_without_one() {
    let backend = Backend::named("a");
    let balancer = Evenkeel::start(&["--head-timeout", "300ms", "--backends", &backend.url()]);
    let start = Instant::now();
    Client::connect(balancer.address).assert_ended();
    assert!(start.elapsed() < Duration::from_millis(900), "took {:?}", start.elapsed());
    // Empty lines are not a word either, and do not keep it open.
    let mut client = Client::connect(balancer.address);
    client.send("\r\n").expect("send");
    client.assert_ended();
    assert_eq!(balancer.failures("head-timeout"), 0);
}

#[test]
fn an_idle_client_is_closed_after_the_idle_timeout() {
    let backend = Backend::named("a");
    let balancer = Evenkeel::start(&["--idle-timeout", "400ms", "--backends", &backend.url()]);
    let mut client = Client::connect(balancer.address);
    assert!(!client.get("/").expect("a response").closes());
    let start = Instant::now();
    client.assert_ended();
    assert_about(start.elapsed(), 350);
    assert_eq!(balancer.status()["failures"].to_string(), "{}");
}

const POST: &str = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n";

#[test]
fn a_body_that_stops_is_408() {
    let backend = Backend::named("a");
    let balancer = Evenkeel::start(&["--stall-timeout", "400ms", "--backends", &backend.url()]);
    for head in [POST, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n"] {
        let mut client = Client::connect(balancer.address);
        client.send(head).expect("send");
        let start = Instant::now();
        let response = client.exchange("POST", "a part").expect("a response");
        assert_eq!((response.status, response.closes()), (408, true));
        assert_about(start.elapsed(), 350);
        client.assert_ended();
    }
    assert_eq!((backend.requests(), balancer.failures("client-stall")), (0, 2));
}

#[test]
fn a_body_slower_than_the_least_rate_is_408_though_it_never_stops() {
    let backend = Backend::named("a");
    let flags = ["--stall-timeout", "400ms", "--backends", &backend.url()];
    let balancer = Evenkeel::start(&[&["--min-body-rate", "1000"][..], &flags].concat());
    let mut client = Client::connect(balancer.address);
    client.send(POST).expect("send");
    // 20 bytes a second.
    let (response, took) = timed(&mut client, b"b", |client| client.response("POST"));
    assert_eq!((response.status, response.closes()), (408, true));
    assert_about(took, 350);
    assert_eq!((backend.requests(), balancer.failures("client-stall")), (0, 1));
}

#[test]
fn without_a_least_rate_a_body_may_drip() {
    let backend = Backend::named("a");
    let flags = ["--stall-timeout", "400ms", "--min-body-rate", "0", "--backends", &backend.url()];
    let balancer = Evenkeel::start(&flags);
    let mut client = Client::connect(balancer.address);
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 20\r\n\r\n").expect("send");
    let (response, took) = timed(&mut client, b"b", |client| client.response("POST"));
    assert_eq!((response.status, backend.last().body.length), (200, 20));
    assert!(took > Duration::from_millis(800), "longer than two stalls, or this shows nothing: {took:?}");
}

#[test]
fn a_backend_that_does_not_answer_is_504_and_not_asked_twice() {
    let silent = || serve_raw(|stream| drop(read_to_end(&stream)));
    let (one, other) = (silent(), silent());
    let backends = format!("http://{one},http://{other}");
    let balancer = Evenkeel::start(&["--response-timeout", "400ms", "--backends", &backends]);
    let mut client = Client::connect(balancer.address);
    for nth in 1..=2 {
        let start = Instant::now();
        let response = client.get("/").expect("a response");
        assert_eq!((response.status, response.closes()), (504, false));
        assert_about(start.elapsed(), 400);
        assert_eq!(balancer.failures("response-timeout"), nth);
    }
}

/// Answers every request with these bytes and is silent then.
fn stalls_after(answer: &'static str) -> SocketAddr {
    serve_raw(move |mut stream: TcpStream| {
        if read_head(&stream).is_some() && stream.write_all(answer.as_bytes()).is_ok() {
            let _ = read_to_end(&stream);
        }
    })
}

#[test]
fn an_answer_that_stops_is_cut() {
    let answers = [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
        "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nonly this",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n",
        "HTTP/1.1 200 OK\r\n\r\nonly this",
    ];
    for answer in answers {
        let backend = stalls_after(answer);
        let url = format!("http://{backend}");
        let balancer = Evenkeel::start(&["--stall-timeout", "300ms", "--backends", &url]);
        let mut client = Client::connect(balancer.address);
        let start = Instant::now();
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").expect("send");
        assert!(client.response("GET").is_err(), "completed falsely: {answer:?}");
        assert_about(start.elapsed(), 300);
        balancer.await_failures("backend-stall", 1);
    }
}

/// A tunnel through the balancer to a backend that sends back what it gets.
fn tunnel(balancer: &Evenkeel) -> Client {
    let mut client = Client::connect(balancer.address);
    client
        .send("GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .expect("send");
    assert_eq!(client.head().expect("a response").0, 101);
    client
}

#[test]
fn a_quiet_tunnel_is_closed_and_a_busy_one_is_not() {
    let echo = serve_raw(|mut stream: TcpStream| {
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        if read_head(&stream).is_some() && stream.write_all(answer).is_ok() {
            let mut back = stream.try_clone().expect("a second handle");
            let _ = std::io::copy(&mut stream, &mut back);
        }
    });
    let url = format!("http://{echo}");
    let flags = ["--tunnel-timeout", "600ms", "--stall-timeout", "100ms", "--backends", &url];
    let balancer = Evenkeel::start(&flags);
    let (mut quiet, mut busy) = (tunnel(&balancer), tunnel(&balancer));
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(900) {
        busy.send("ping").expect("send");
        busy.expect_bytes(b"ping");
        std::thread::sleep(TICK);
    }
    quiet.assert_ended();
    assert_about(start.elapsed(), 600);
    balancer.await_failures("tunnel-idle", 1);
    busy.assert_ended();
    balancer.await_failures("tunnel-idle", 2);
}

/// A listener whose queue is full: connecting to it takes for ever.
struct Blackhole {
    _socket: Socket,
    _queue: Vec<TcpStream>,
    address: SocketAddr,
}

impl Blackhole {
    fn open() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("bind");
        socket.listen(0).expect("listen");
        let address = socket.local_addr().ok().and_then(|a| a.as_socket()).expect("a bound address");
        let mut queue = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
            queue.push(stream);
        }
        Self { _socket: socket, _queue: queue, address }
    }
}

/// Probes that wait longer than the test, so that traffic finds out.
const PATIENT: [&str; 4] = ["--health-check-timeout", "5m", "--health-check-interval", "10m"];

#[test]
fn a_connect_without_end_is_504() {
    let hole = Blackhole::open();
    let url = format!("http://{}", hole.address);
    let flags = ["--connect-timeout", "200ms", "--retries", "1", "--backends", &url];
    let balancer = Evenkeel::start(&[&PATIENT[..], &flags].concat());
    let mut client = Client::connect(balancer.address);
    let start = Instant::now();
    let response = client.post("/", "body").expect("a response");
    assert_eq!((response.status, response.closes()), (504, false), "{}", response.text());
    assert_about(start.elapsed(), 400);
    assert_eq!(balancer.failures("connect-timeout"), 1);
}

#[test]
fn a_connect_without_end_goes_to_the_next_backend() {
    let (hole, live) = (Blackhole::open(), Backend::named("live"));
    let backends = format!("http://{},{}", hole.address, list([&live]));
    let flags = ["--connect-timeout", "200ms", "--max-fails", "100", "--backends", &backends];
    let balancer = Evenkeel::start(&[&PATIENT[..], &flags].concat());
    let mut client = Client::connect(balancer.address);
    for _ in 0..4 {
        let start = Instant::now();
        assert_eq!(client.post("/", "body").expect("a response").text(), "live");
        assert!(start.elapsed() < SOON / 4);
    }
    assert_eq!((live.requests(), live.last().text()), (4, "body".into()));
    assert_eq!(balancer.status()["failures"].to_string(), "{}", "nobody was failed");
}
