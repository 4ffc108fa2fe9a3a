//! A backend that closes its unused connections just as they are used again: no request meets such a close
//! once it can be known.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use crate::support::raw::serve_raw;
use crate::support::{Backend, Client, Evenkeel, SOON, eventually};

/// What a backend saw of the connections that it closes when they were idle for its `patience`.
#[derive(Default)]
struct Seen {
    /// Connections with a request.
    used: AtomicUsize,
    requests: AtomicUsize,
    /// Connections it ended for their idleness.
    closed: AtomicUsize,
    /// Requests that came on a connection after that.
    met: AtomicUsize,
}

/// A backend that closes an idle connection after so long; it announces it as `Keep-Alive: timeout=`, if told.
fn impatient(patience: Duration, announced: Option<u64>) -> (String, Arc<Seen>) {
    let seen = Arc::new(Seen::default());
    let counts = Arc::clone(&seen);
    let keep_alive = announced.map_or(String::new(), |seconds| format!("Keep-Alive: timeout={seconds}\r\n"));
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{keep_alive}\r\nok");
    let address = serve_raw(move |mut stream: TcpStream| {
        let _ = stream.set_read_timeout(Some(patience));
        let mut piece = [0; 4096];
        for nth in 0.. {
            match stream.read(&mut piece) {
                Ok(0) => return,
                Ok(_) => {
                    counts.used.fetch_add(usize::from(nth == 0), SeqCst);
                    counts.requests.fetch_add(1, SeqCst);
                    if stream.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
                Err(_) => return,
            }
        }
        counts.closed.fetch_add(1, SeqCst);
        let _ = stream.shutdown(Shutdown::Write);
        // What comes now was sent before our end had been heard.
        if stream.read(&mut piece).is_ok_and(|n| n > 0) {
            counts.met.fetch_add(1, SeqCst);
        }
    });
    (format!("http://{address}"), seen)
}

/// One worker, so that what it learns is what the next request needs; probes only at the start.
fn steady(url: &str) -> Evenkeel {
    Evenkeel::start(&["--workers", "1", "--health-check-interval", "10m", "--backends", url])
}

#[test]
fn the_age_at_which_a_backend_closes_is_learnt_and_undercut() {
    let (url, seen) = impatient(Duration::from_millis(1500), None);
    let balancer = steady(&url);
    let mut client = Client::connect(balancer.address);
    for closes in 1..=2 {
        assert_eq!(client.post("/", "x").expect("a response").status, 200);
        eventually(SOON, "the backend closes", || seen.closed.load(SeqCst) == closes);
    }
    for gap in [1490, 1500, 1510] {
        assert_eq!(client.post("/", "x").expect("a response").status, 200);
        std::thread::sleep(Duration::from_millis(gap));
    }
    assert_eq!(client.post("/", "x").expect("a response").status, 200);
    // Well below that age it is used again.
    assert_eq!(client.post("/", "x").expect("a response").status, 200);
    let [requests, used, met] = [&seen.requests, &seen.used, &seen.met].map(|count| count.load(SeqCst));
    assert_eq!([requests, met], [7, 0], "requests, and those that met a closed connection");
    assert!(used < requests, "no connection was used twice");
    assert_eq!(balancer.status()["failures"].to_string(), "{}");
}

#[test]
fn what_a_backend_announces_is_kept_to_with_a_margin() {
    let (url, seen) = impatient(Duration::from_millis(2000), Some(2));
    let balancer = steady(&url);
    let mut client = Client::connect(balancer.address);
    for gap in [800, 1900, 0] {
        assert_eq!(client.post("/", "x").expect("a response").status, 200);
        std::thread::sleep(Duration::from_millis(gap));
    }
    let counts = [&seen.requests, &seen.used, &seen.closed, &seen.met].map(|count| count.load(SeqCst));
    assert_eq!(counts, [3, 2, 0, 0], "requests, connections, closed by the backend, met a closed one");
}

/// A backend that answers and then does this to the connection; when it has done so is counted.
fn after_the_answer(
    then: impl Fn(&mut TcpStream) + Clone + Send + 'static,
) -> (String, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let (done, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (count, seen) = (Arc::clone(&done), Arc::clone(&requests));
    let address = serve_raw(move |mut stream: TcpStream| {
        let mut piece = [0; 4096];
        while stream.read(&mut piece).is_ok_and(|n| n > 0) {
            seen.fetch_add(1, SeqCst);
            if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err() {
                return;
            }
            // The answer is to be at rest at the balancer: what follows belongs to no exchange.
            std::thread::sleep(Duration::from_millis(50));
            then(&mut stream);
            count.fetch_add(1, SeqCst);
        }
    });
    (format!("http://{address}"), done, requests)
}

#[track_caller]
fn assert_each_on_a_fresh_one(then: impl Fn(&mut TcpStream) + Clone + Send + 'static) {
    let (url, done, requests) = after_the_answer(then);
    let balancer = steady(&url);
    let mut client = Client::connect(balancer.address);
    for nth in 1..=5 {
        let response = client.post("/", "not to be sent twice").expect("a response");
        assert_eq!((response.status, response.text().as_str()), (200, "ok"), "request {nth}");
        eventually(SOON, "the backend has done it", || done.load(SeqCst) == nth);
        // What it did has been seen when a later request was served.
        std::thread::sleep(Duration::from_millis(50));
        balancer.status();
    }
    assert_eq!(requests.load(SeqCst), 5, "each was sent once");
    assert_eq!(balancer.status()["failures"].to_string(), "{}");
}

#[test]
fn a_connection_whose_end_was_seen_is_not_used() {
    assert_each_on_a_fresh_one(|stream| drop(stream.shutdown(Shutdown::Write)));
    assert_each_on_a_fresh_one(|stream| drop(stream.shutdown(Shutdown::Both)));
}

#[test]
fn a_connection_with_bytes_nobody_asked_for_is_not_used() {
    assert_each_on_a_fresh_one(|stream| {
        let _ = stream.write_all(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
    });
    assert_each_on_a_fresh_one(|stream| drop(stream.write_all(b"?")));
}

#[test]
fn a_get_that_met_the_close_is_sent_again_unseen() {
    // Answers one request a connection and lets the second one run into its end.
    let backend = Backend::start(|request, reply| match request.nth {
        0 => reply.ok("ok"),
        _ => {
            reply.close();
            Ok(())
        }
    });
    let balancer = steady(&backend.url());
    let mut client = Client::connect(balancer.address);
    for _ in 0..10 {
        assert_eq!(client.get("/").expect("a response").text(), "ok");
    }
    assert_eq!(balancer.status()["failures"].to_string(), "{}");
    assert_eq!(balancer.lines_with(&backend.url(), "down"), 0);
}
