//! How many requests each client may bring: a burst at once, then the rate.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use super::balance;
use crate::support::{Backend, Client, Evenkeel, Response, get};

/// Seconds until a refused client may come again.
#[track_caller]
fn retry_after(response: &Response) -> u64 {
    assert_eq!((response.status, response.closes()), (429, false), "{}", response.text());
    response.head.joined("retry-after").parse().expect("whole seconds")
}

/// So many clients on all workers ask at once, with these fields each; how many were let through.
fn admitted(
    balancer: &Evenkeel,
    clients: usize,
    requests: usize,
    fields: impl Fn(usize) -> String + Sync,
) -> usize {
    let admitted = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for i in 0..clients {
            let (fields, admitted) = (&fields, &admitted);
            scope.spawn(move || {
                let mut client = Client::connect(balancer.address);
                for _ in 0..requests {
                    match client.get_with("/", &fields(i)).expect("a response") {
                        response if response.status == 200 => admitted.fetch_add(1, SeqCst),
                        refused => usize::from(retry_after(&refused) == 0),
                    };
                }
            });
        }
    });
    admitted.into_inner()
}

#[test]
fn a_burst_is_exact_over_four_workers() {
    let backend = Backend::named("a");
    let balancer = balance("--workers 4 --rate-limit 1/1h --rate-burst 50", [&backend]);
    assert_eq!(admitted(&balancer, 16, 20, |_| String::new()), 50);
    assert_eq!(backend.requests(), 50, "who is refused costs no backend anything");
    assert_eq!(balancer.failures("rate-limited"), 16 * 20 - 50);
    assert_eq!(get(balancer.address, "/lb-status").expect("the status").status, 200, "it is not counted");
}

#[test]
fn who_waits_as_long_as_it_is_told_is_let_through() {
    let backend = Backend::named("a");
    let balancer = balance("--workers 2 --rate-limit 1/s --rate-burst 1", [&backend]);
    let mut client = Client::connect(balancer.address);
    assert_eq!(client.get("/").expect("a response").status, 200);
    let wait = retry_after(&client.get("/").expect("a response"));
    assert_eq!(wait, 1);
    let refused = retry_after(&client.post("/", "small").expect("a response"));
    assert_eq!(refused, 1);
    std::thread::sleep(Duration::from_secs(wait));
    assert_eq!(client.get("/").expect("a response").status, 200);
    let slow = balance("--workers 2 --rate-limit 6/1m --rate-burst 1", [&backend]);
    assert_eq!(get(slow.address, "/").expect("a response").status, 200);
    let mut client = Client::connect(slow.address);
    assert_eq!(retry_after(&client.get("/").expect("a response")), 10, "the next whole second");
}

#[test]
fn after_the_burst_the_rate_is_kept() {
    let backend = Backend::named("a");
    let balancer = balance("--workers 4 --rate-limit 40/s --rate-burst 5", [&backend]);
    let (began, admitted) = (Instant::now(), AtomicUsize::new(0));
    let span = Duration::from_millis(800);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = Client::connect(balancer.address);
                while began.elapsed() < span {
                    let response = client.get("/").expect("a response");
                    admitted.fetch_add(usize::from(response.status == 200), SeqCst);
                }
            });
        }
    });
    let most = 5 + (began.elapsed().as_secs_f64() * 40.0).ceil() as usize;
    let admitted = admitted.into_inner();
    assert!((25..=most).contains(&admitted), "{admitted} where {most} may be");
}

#[test]
fn each_address_has_its_own() {
    let backend = Backend::named("a");
    let balancer = balance("--workers 4 --rate-limit 1/1h --rate-burst 3", [&backend]);
    for i in 1..=20 {
        let from = IpAddr::from([127, 0, 4, i]);
        let ask = || {
            let mut client = Client::try_connect_from(from, balancer.address).expect("connect");
            client.get("/").expect("a response").status
        };
        assert_eq!([ask(), ask(), ask(), ask()], [200, 200, 200, 429], "{from}");
    }
}

#[test]
fn each_value_of_a_header_has_its_own_and_who_has_none_goes_by_address() {
    let backend = Backend::named("a");
    let flags = "--workers 4 --rate-limit 1/1h --rate-burst 4 --rate-key header:X-Api-Key";
    let balancer = balance(flags, [&backend]);
    assert_eq!(admitted(&balancer, 24, 10, |i| format!("x-api-key: client-{}\r\n", i % 12)), 12 * 4);
    assert_eq!(admitted(&balancer, 6, 10, |_| String::new()), 4, "all of one address");
    assert_eq!(admitted(&balancer, 1, 10, |_| "X-Api-Key: new\r\n".to_owned()), 4);
}

#[test]
fn many_clients_have_their_burst_each() {
    const CLIENTS: usize = 2000;
    let backend = Backend::named("a");
    let flags = "--workers 4 --rate-limit 1/1h --rate-burst 1 --rate-key header:X-User";
    let balancer = balance(flags, [&backend]);
    let before = balancer.resident();
    let next = AtomicUsize::new(0);
    // Two requests of each, at different workers.
    let all = admitted(&balancer, 4, CLIENTS / 2, |_| {
        format!("X-User: {}\r\n", next.fetch_add(1, SeqCst) % CLIENTS)
    });
    assert_eq!(all, CLIENTS);
    let grown = balancer.resident().saturating_sub(before);
    assert!(grown < 4 << 20, "grown by {grown} bytes");
}
