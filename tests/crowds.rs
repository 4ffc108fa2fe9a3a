//! How many connections there may be: in all, of one client, to one backend; and what one that does not read
//! its answer holds up, which is its own backend alone.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use crate::admin::Admin;
use crate::support::raw::{read_head, serve_raw};
use crate::support::{Backend, Client, Evenkeel, SOON, eventually, get};

#[test]
fn clients_beyond_max_connections_wait_and_are_served_when_others_leave() {
    let backend = Backend::named("a");
    let flags = ["--workers", "2", "--max-connections", "4", "--backends", &backend.url()];
    let balancer = Evenkeel::start(&flags);
    let mut inside: Vec<Client> = (0..4).map(|_| Client::connect(balancer.address)).collect();
    for client in &mut inside {
        assert_eq!(client.get("/").expect("a response").text(), "a");
    }
    let mut waiting: Vec<Client> = (0..3).map(|_| Client::connect(balancer.address)).collect();
    for client in &waiting {
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").expect("send");
        let _ = client.stream().set_read_timeout(Some(Duration::from_millis(100)));
    }
    eventually(SOON, "it says why", || balancer.lines_with("not accepting", "limit") > 0);
    for client in &mut waiting {
        assert!(client.response("GET").is_err(), "served beyond the limit");
        let _ = client.stream().set_read_timeout(Some(SOON));
    }
    assert_eq!(backend.requests(), 4);
    for client in &mut inside {
        assert_eq!(client.get("/").expect("those inside go on").text(), "a");
    }
    inside.truncate(1);
    for client in &mut waiting {
        assert_eq!(client.response("GET").expect("a response").text(), "a");
    }
    drop((inside, waiting));
    eventually(SOON, "none but the one that asks", || balancer.open().iter().sum::<u64>() == 1);
    assert_eq!(get(balancer.address, "/").expect("a response").text(), "a");
    assert_eq!(balancer.lines_with("not accepting", "limit"), 1, "{:?}", balancer.lines());
}

#[test]
fn a_pause_in_accepting_counts_once_however_long_and_its_end_is_said() {
    let backend = Backend::named("a");
    let mut admin = Admin::start(&["--workers", "1", "--max-connections", "2", "--backends", &backend.url()]);
    let mut inside: Vec<Client> = (0..2).map(|_| Client::connect(admin.balancer.address)).collect();
    for client in &mut inside {
        assert_eq!(client.get("/").expect("a response").text(), "a");
    }
    let mut waiting = Client::connect(admin.balancer.address);
    waiting.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").expect("send");
    let pauses = |admin: &Admin| admin.json("/api/status")["counts"]["accept_pauses"].as_u64();
    eventually(SOON, "a pause", || pauses(&admin) == Some(1));
    // Several further tries to accept.
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(pauses(&admin), Some(1));
    assert_eq!(admin.balancer.lines_with("connections again", "accepting"), 0);
    drop(inside);
    assert_eq!(waiting.response("GET").expect("a response").text(), "a");
    eventually(SOON, "it says so", || admin.balancer.lines_with("connections again", "accepting") == 1);
    assert_eq!(pauses(&admin), Some(1));
    assert_eq!(admin.balancer.lines_with("not accepting", "limit"), 1);
    let _more = [(); 2].map(|()| Client::connect(admin.balancer.address));
    eventually(SOON, "the next is said too", || admin.balancer.lines_with("not accepting", "limit") == 2);
    admin.balancer.terminate();
    assert_eq!(admin.balancer.exit_within(SOON).code(), Some(0));
    assert_eq!(admin.balancer.lines_with("connections again", "accepting"), 1);
}

#[test]
fn a_client_with_too_many_connections_is_429_and_no_other_is() {
    let backend = Backend::named("a");
    let flags = ["--workers", "4", "--max-connections-per-client", "3", "--backends", &backend.url()];
    let balancer = Evenkeel::start(&flags);
    let (one, other) = (IpAddr::from([127, 0, 0, 7]), IpAddr::from([127, 0, 0, 2]));
    let connect = |from| Client::try_connect_from(from, balancer.address).expect("connect");
    let mut inside: Vec<Client> = (0..3).map(|_| connect(one)).collect();
    for client in &mut inside {
        assert_eq!(client.get("/").expect("a response").status, 200);
    }
    for _ in 0..4 {
        let mut refused = connect(one);
        let response = refused.get("/").expect("a response");
        assert_eq!((response.status, response.closes()), (429, true));
        assert!(response.head.has("retry-after"), "{:?}", response.head);
        refused.assert_ended();
        assert_eq!(connect(other).get("/").expect("a response").status, 200);
    }
    for client in &mut inside {
        assert_eq!(client.get("/").expect("those inside go on").status, 200);
    }
    assert_eq!(balancer.failures("too-many-connections"), 4);
    inside.pop();
    eventually(SOON, "a place is free again", || {
        connect(one).get("/").is_ok_and(|response| response.status == 200)
    });
    drop(inside);
    eventually(SOON, "all places are free again", || {
        let mut three: Vec<Client> = (0..3).map(|_| connect(one)).collect();
        three.iter_mut().all(|client| client.get("/").is_ok_and(|response| response.status == 200))
    });
}

/// How many requests are with a backend now, and at most were.
#[derive(Default)]
struct Crowd {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// A backend that takes this long for an answer, and who is with it.
fn busy(answer_after: Duration) -> (Backend, Arc<Crowd>) {
    let crowd = Arc::new(Crowd::default());
    let counted = Arc::clone(&crowd);
    let backend = Backend::start(move |_, reply| {
        let now = counted.now.fetch_add(1, SeqCst) + 1;
        counted.most.fetch_max(now, SeqCst);
        std::thread::sleep(answer_after);
        counted.now.fetch_sub(1, SeqCst);
        reply.ok("busy")
    });
    (backend, crowd)
}

/// Probes only at the start, and the connections that they made until they had passed.
fn probed(balancer: &Evenkeel, backend: &Backend) -> usize {
    eventually(SOON, "the first probe", || balancer.lines_with(&backend.url(), "up") > 0);
    eventually(SOON, "it is seen", || backend.connections() > 0);
    backend.connections()
}

#[test]
fn a_backend_never_has_more_than_its_most_connections() {
    let (backend, crowd) = busy(Duration::from_millis(20));
    let balancer = Evenkeel::start(&[
        "--workers",
        "4",
        "--backend-max-connections",
        "5",
        "--retries",
        "15",
        "--health-check-interval",
        "10m",
        "--backends",
        &backend.url(),
    ]);
    probed(&balancer, &backend);
    let answered = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut client = Client::connect(balancer.address);
                for _ in 0..12 {
                    let response = client.post("/", "x").expect("a response");
                    match response.status {
                        200 => answered.fetch_add(1, SeqCst),
                        503 => 0,
                        status => panic!("{status}: {}", response.text()),
                    };
                }
            });
        }
    });
    let (answered, most) = (answered.load(SeqCst), crowd.most.load(SeqCst));
    assert_eq!((most, backend.requests()), (5, answered), "exact, and every other was refused by us");
    assert_eq!(balancer.failures("backend-full"), 16 * 12 - answered as u64);
    assert!(answered > 40, "{answered} answered");
}

/// Fills a backend, and says after how long one client more was refused.
fn one_too_many(flags: &[&str], cause: &str) -> Duration {
    let (backend, crowd) = busy(Duration::from_millis(1500));
    let limits = ["--workers", "2", "--backend-max-connections", "2", "--backends", &backend.url()];
    let balancer = Evenkeel::start(&[&limits[..], &["--health-check-interval", "10m"], flags].concat());
    let mut clients: Vec<Client> = (0..3).map(|_| Client::connect(balancer.address)).collect();
    for client in &clients[..2] {
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").expect("send");
    }
    eventually(SOON, "both are there", || crowd.now.load(SeqCst) == 2);
    let asked = Instant::now();
    let response = clients[2].get("/").expect("a response");
    let took = asked.elapsed();
    assert_eq!((response.status, response.closes()), (503, false), "{}", response.text());
    assert!(response.head.has("retry-after"), "{:?}", response.head);
    assert_eq!(balancer.failures(cause), 1, "{}", balancer.status());
    for client in &mut clients[..2] {
        assert_eq!(client.response("GET").expect("a response").text(), "busy");
    }
    assert_eq!(balancer.lines_with(&backend.url(), "down"), 0, "a full backend is not an ill one");
    took
}

#[test]
fn a_full_backend_is_503_when_nothing_frees() {
    let took = one_too_many(&["--queue-timeout", "300ms"], "queue-timeout");
    assert!((300..1200).contains(&took.as_millis()), "{took:?}");
}

#[test]
fn a_full_backend_is_503_at_once_where_nobody_may_wait() {
    let took = one_too_many(&["--queue-length", "0"], "backend-full");
    assert!(took < Duration::from_millis(500), "{took:?}");
}

#[test]
fn a_connection_that_one_worker_keeps_is_not_in_the_way_of_another() {
    let backend = Backend::named("a");
    let flags = ["--workers", "4", "--backend-max-connections", "2", "--backends", &backend.url()];
    let balancer = Evenkeel::start(&[&flags[..], &["--health-check-interval", "10m"]].concat());
    // Spread over all workers, and one after the other, so that there is always room.
    let mut clients: Vec<Client> = (0..16).map(|_| Client::connect(balancer.address)).collect();
    for round in 0..8 {
        for (i, client) in clients.iter_mut().enumerate() {
            let response = client.post("/", "x").expect("a response");
            assert_eq!(response.status, 200, "client {i}, round {round}: {}", response.text());
        }
    }
}

#[test]
fn no_more_than_backend_max_idle_connections_are_kept() {
    for (most, idle) in [("0", 0), ("2", 2)] {
        let (backend, crowd) = busy(Duration::from_millis(300));
        let flags = ["--workers", "1", "--backend-max-idle", most, "--backends", &backend.url()];
        let balancer = Evenkeel::start(&[&flags[..], &["--health-check-interval", "10m"]].concat());
        let before = probed(&balancer, &backend);
        let mut clients: Vec<Client> = (0..6).map(|_| Client::connect(balancer.address)).collect();
        for round in 0..2 {
            for client in &clients {
                client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").expect("send");
            }
            eventually(SOON, "all at once", || crowd.now.load(SeqCst) == 6 || backend.requests() == 0);
            for client in &mut clients {
                assert_eq!(client.response("GET").expect("a response").status, 200);
            }
            assert_eq!(backend.connections() - before, 6 + round * (6 - idle), "round {round}");
        }
    }
}

/// Sends so much that nobody holds it, and counts what left; `chunked` or with its length.
fn endless(chunked: bool, sent: &Arc<AtomicU64>) -> String {
    const PIECE: usize = 64 << 10;
    let sent = Arc::clone(sent);
    let address = serve_raw(move |mut stream: TcpStream| {
        let head: &[u8] = match chunked {
            true => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            false => b"HTTP/1.1 200 OK\r\nContent-Length: 1099511627776\r\n\r\n",
        };
        let piece = match chunked {
            true => format!("{PIECE:x}\r\n{}\r\n", "e".repeat(PIECE)),
            false => "e".repeat(PIECE),
        };
        if read_head(&stream).is_some() && stream.write_all(head).is_ok() {
            while stream.write_all(piece.as_bytes()).is_ok() {
                sent.fetch_add(PIECE as u64, SeqCst);
            }
        }
    });
    format!("http://{address}")
}

#[test]
fn a_client_that_does_not_read_stops_its_backend_and_nobody_else() {
    for chunked in [false, true] {
        let sent = Arc::new(AtomicU64::new(0));
        let url = endless(chunked, &sent);
        let flags = ["--workers", "1", "--stall-timeout", "2s", "--max-fails", "1000", "--backends", &url];
        let balancer = Evenkeel::start(&flags);
        let mut deaf: Vec<Client> = (0..4).map(|_| Client::connect(balancer.address)).collect();
        balancer.status();
        let before = balancer.resident();
        for client in &mut deaf {
            client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").expect("send");
            assert_eq!(client.head().expect("the head").0, 200);
        }
        let mut last = u64::MAX;
        eventually(SOON, "the backends are read no further", || {
            std::thread::sleep(Duration::from_millis(150));
            balancer.status();
            std::mem::replace(&mut last, sent.load(SeqCst)) == last
        });
        let grown = balancer.resident().saturating_sub(before);
        assert!(grown < 4 << 20, "grown by {grown} bytes for {last} sent");
        assert!(last < 4 * (32 << 20), "{last} bytes are more than the sockets hold");
        balancer.await_failures("client-stall", 4);
    }
}

/// Writes of little fill a send buffer as those of much do, of which a slow reader would have to take megabytes first.
#[test]
fn a_client_that_reads_steadily_is_not_cut_however_small_the_pieces_were() {
    let backend = Backend::start(|_, reply| {
        reply.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        let piece = format!("2000\r\n{}\r\n", "e".repeat(0x2000));
        loop {
            reply.send(&piece)?;
            std::thread::sleep(Duration::from_micros(500));
        }
    });
    let balancer =
        Evenkeel::start(&["--workers", "1", "--stall-timeout", "1s", "--backends", &backend.url()]);
    let client = Client::connect(balancer.address);
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").expect("send");
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(5) {
        client.stream().read_exact(&mut [0; 12_000]).expect("it goes on");
        std::thread::sleep(Duration::from_millis(50));
    }
}
