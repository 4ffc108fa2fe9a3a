//! What share of the requests each algorithm gives to whom.

use std::ops::RangeInclusive;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use super::{balance, balance_over, counts, load, named, weighted};
use crate::support::{Backend, Client, TestServer};

#[test]
fn round_robin_shares_exactly_by_weight_over_four_workers() {
    let backends = named(["a", "b", "c"]);
    let balancer = balance_over("--workers 4 --algorithm round-robin", &weighted(&backends, &[5, 3, 1]));
    let mut client = Client::connect(balancer.address);
    let first: String = (0..9).map(|_| client.get("/").expect("a response").text()).collect();
    assert_eq!(counts(&backends), [5, 3, 1]);
    assert!(!first.contains("aaa"), "in turn, not one after the other: {first}");
    load(balancer.address, 12, 60);
    assert_eq!(counts(&backends), [405, 243, 81], "729 requests, 9 a round");
}

/// The part of the requests, in percent, that weights of 3 and 1 give to the first of two.
fn share_of_the_heavier(algorithm: &str) -> usize {
    let backends = named(["heavy", "light"]);
    let flags = format!("--workers 4 --algorithm {algorithm}");
    let balancer = balance_over(&flags, &weighted(&backends, &[3, 1]));
    load(balancer.address, 8, 60);
    let counts = counts(&backends);
    assert_eq!(counts.iter().sum::<usize>(), 480);
    counts[0] * 100 / 480
}

#[test]
fn every_algorithm_heeds_weights() {
    let cases: [(&str, RangeInclusive<usize>); 5] = [
        ("random", 65..=85),
        ("least-connections", 60..=90),
        ("two-choices", 55..=95),
        ("peak-ewma", 50..=98),
        ("round-robin", 75..=75),
    ];
    for (algorithm, right) in cases {
        let share = share_of_the_heavier(algorithm);
        assert!(right.contains(&share), "{algorithm}: {share} %");
    }
}

const DELAY: Duration = Duration::from_millis(60);

/// What one backend of three got that takes its time, and within what time 80 % of all were answered.
fn beside_a_slow_one(algorithm: &str) -> (usize, Duration) {
    const CLIENTS: usize = 9;
    const REQUESTS: usize = 12;
    let slow = TestServer::start_with(&["--delay", "60ms"]);
    let fast = [TestServer::start(), TestServer::start()];
    let urls = [slow.url(), fast[0].url(), fast[1].url()].join(",");
    let balancer = balance_over(&format!("--workers 4 --algorithm {algorithm}"), &urls);
    let (of_slow, times) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = Client::connect(balancer.address);
                for _ in 0..REQUESTS {
                    let asked = Instant::now();
                    let response = client.get("/").expect("a response");
                    times.lock().unwrap().push(asked.elapsed());
                    let port = format!("on port {}", slow.port());
                    of_slow.fetch_add(usize::from(response.text().contains(&port)), SeqCst);
                }
            });
        }
    });
    let mut times = times.into_inner().unwrap();
    times.sort_unstable();
    (of_slow.into_inner(), times[CLIENTS * REQUESTS * 4 / 5])
}

#[test]
fn a_slow_backend_holds_up_nobody_else_where_the_load_chooses() {
    let (of_slow, took) = beside_a_slow_one("round-robin");
    assert_eq!(of_slow, 36, "its full share");
    assert!(took >= DELAY, "{took:?}");
    for algorithm in ["least-connections", "two-choices", "peak-ewma"] {
        let (less, sooner) = beside_a_slow_one(algorithm);
        assert!(less * 2 < of_slow, "{algorithm} gives it {less} of 108");
        assert!(sooner < DELAY, "{algorithm}: {sooner:?}, in turn {took:?}");
    }
}

/// The requests that a backend got that answers 503 at once, beside two that take 3 ms.
fn share_of_the_failing(algorithm: &str) -> usize {
    let failing = Backend::start(|_, reply| reply.send("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"));
    let well = [(); 2].map(|()| {
        Backend::start(|_, reply| {
            std::thread::sleep(Duration::from_millis(3));
            reply.ok("well")
        })
    });
    let flags =
        format!("--workers 4 --algorithm {algorithm} --fail-statuses 503 --max-fails 1000000 --fail-rate 0");
    let balancer = balance(&flags, [&failing, &well[0], &well[1]]);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = Client::connect(balancer.address);
                for _ in 0..100 {
                    assert!(matches!(client.get("/").expect("a response").status, 200 | 503));
                }
            });
        }
    });
    failing.requests()
}

#[test]
fn peak_ewma_keeps_away_from_a_backend_that_fails_fast_but_goes_on_trying() {
    let by_load = share_of_the_failing("least-connections");
    assert!(by_load > 400, "failing fast attracts: {by_load} of 800");
    let share = share_of_the_failing("peak-ewma");
    assert!((1..80).contains(&share), "{share} of 800");
}
