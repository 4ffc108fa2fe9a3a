//! What share of the requests each algorithm gives to whom.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use super::held::Held;
use super::{balance, balance_over, counts, load, named, weighted};
use crate::support::{Backend, Client, SOON, TestServer, eventually};

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

#[test]
fn by_load_weights_are_shares_of_the_requests_in_flight() {
    for algorithm in ["least-connections", "two-choices"] {
        let held = [Held::named("heavy"), Held::named("light")];
        let urls = format!("{}=3,{}=1", held[0].backend.url(), held[1].backend.url());
        let balancer = balance_over(&format!("--workers 4 --algorithm {algorithm}"), &urls);
        let clients: Vec<Client> = (0..16).map(|_| Client::connect(balancer.address)).collect();
        for (i, client) in clients.iter().enumerate() {
            client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").expect("send");
            eventually(SOON, "one more is there", || held.iter().map(Held::now).sum::<usize>() == i + 1);
        }
        assert_eq!(held.each_ref().map(Held::now), [12, 4], "{algorithm}");
    }
}

#[test]
fn at_random_and_by_latency_weights_are_shares_too() {
    let cases: [(&str, RangeInclusive<usize>); 2] = [("random", 65..=85), ("peak-ewma", 50..=98)];
    for (algorithm, right) in cases {
        let backends = named(["heavy", "light"]);
        let flags = format!("--workers 4 --algorithm {algorithm}");
        let balancer = balance_over(&flags, &weighted(&backends, &[3, 1]));
        load(balancer.address, 8, 60);
        let counts = counts(&backends);
        assert_eq!(counts.iter().sum::<usize>(), 480);
        let share = counts[0] * 100 / 480;
        assert!(right.contains(&share), "{algorithm}: {share} %");
    }
}

/// How many of 108 requests of nine clients one backend of three had that takes its time for each.
fn share_of_the_slow(algorithm: &str) -> usize {
    let slow = TestServer::start_with(&["--delay", "60ms"]);
    let fast = [TestServer::start(), TestServer::start()];
    let urls = [slow.url(), fast[0].url(), fast[1].url()].join(",");
    let balancer = balance_over(&format!("--workers 4 --algorithm {algorithm}"), &urls);
    let (of_slow, port) = (AtomicUsize::new(0), format!("on port {}", slow.port()));
    std::thread::scope(|scope| {
        for _ in 0..9 {
            scope.spawn(|| {
                let mut client = Client::connect(balancer.address);
                for _ in 0..12 {
                    let response = client.get("/").expect("a response");
                    of_slow.fetch_add(usize::from(response.text().contains(&port)), SeqCst);
                }
            });
        }
    });
    of_slow.into_inner()
}

#[test]
fn where_the_load_chooses_few_requests_wait_for_a_slow_backend() {
    assert_eq!(share_of_the_slow("round-robin"), 36, "its full share");
    for algorithm in ["least-connections", "two-choices", "peak-ewma"] {
        let share = share_of_the_slow(algorithm);
        assert!(share * 2 < 36, "{algorithm} gives it {share} of 108");
    }
}

#[test]
fn while_one_request_hangs_no_other_goes_there() {
    let (held, well) = (Held::named("held"), Backend::named("well"));
    let balancer = balance("--workers 4 --algorithm least-connections", [&held.backend, &well]);
    let mut hanging = Client::connect(balancer.address);
    let _ = hanging.stream().set_read_timeout(Some(Duration::from_millis(50)));
    let mut answered = true;
    eventually(SOON, "one hangs", || {
        if answered {
            hanging.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").expect("send");
        }
        answered = hanging.response("GET").is_ok();
        held.now() == 1
    });
    let mut client = Client::connect(balancer.address);
    for _ in 0..50 {
        assert_eq!(client.get("/").expect("a response").text(), "well");
    }
    held.open();
    let _ = hanging.stream().set_read_timeout(Some(SOON));
    assert_eq!(hanging.response("GET").expect("a response").text(), "held");
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
    let (by_load, share) = (share_of_the_failing("least-connections"), share_of_the_failing("peak-ewma"));
    assert!((1..120).contains(&share), "{share} of 800");
    assert!(by_load > 2 * share, "failing fast attracts: {by_load} of 800 where only the load chooses");
}
