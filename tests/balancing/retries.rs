//! What is tried again elsewhere, how often, and what never is.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use super::held::Held;
use super::{balance, balance_over, counts, named};
use crate::support::wire::Pattern;
use crate::support::{Backend, Client, Evenkeel, Port, get, list};

/// No failure takes a backend out, so that each request meets them all.
const TRUSTING: &str = "--max-fails 0 --fail-rate 0";

/// Reads each request and ends the connection.
fn silent() -> Backend {
    Backend::start(|_, reply| {
        reply.close();
        Ok(())
    })
}

fn refusing(body: &'static str) -> Backend {
    Backend::start(move |_, reply| {
        let length = body.len();
        reply.send(format!("HTTP/1.1 503 No\r\nContent-Length: {length}\r\nX-From: backend\r\n\r\n{body}"))
    })
}

/// GETs of eight clients: how many were answered with 200, and how many with what a failure is answered with.
fn press(to: SocketAddr, requests: usize) -> [usize; 2] {
    let tally = [(); 2].map(|()| AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = Client::connect(to);
                for _ in 0..requests / 8 {
                    match client.get("/").expect("a response").status {
                        200 => tally[0].fetch_add(1, SeqCst),
                        502 | 503 => tally[1].fetch_add(1, SeqCst),
                        status => panic!("{status}"),
                    };
                }
            });
        }
    });
    tally.map(AtomicUsize::into_inner)
}

fn retries(balancer: &Evenkeel) -> usize {
    balancer.status()["counts"]["retries"].as_u64().expect("a count") as usize
}

const REQUESTS: usize = 640;

/// Retries of many requests where all backends but one fail in that way.
fn retries_in_an_outage(flags: &str, failing: &[Backend]) -> (usize, Duration) {
    let well = Backend::named("well");
    let all = failing.iter().chain([&well]);
    let balancer = balance(&format!("--workers 4 {TRUSTING} {flags}"), all);
    let began = Instant::now();
    let [answered, failed] = press(balancer.address, REQUESTS);
    let took = began.elapsed();
    assert_eq!(answered + failed, REQUESTS);
    let tries = well.requests() + failing.iter().map(Backend::requests).sum::<usize>();
    assert_eq!(retries(&balancer), tries - REQUESTS, "what it counts is what came");
    (tries - REQUESTS, took)
}

/// Asserts that retries stayed within a percentage and the floor of 3 a second, of which ten seconds' are saved, and
/// that they were used.
#[track_caller]
fn assert_within_budget((retries, took): (usize, Duration), percent: usize) {
    let share = REQUESTS * percent / 100;
    let most = share + 30 + (3.0 * took.as_secs_f64()).ceil() as usize;
    assert!((share..=most).contains(&retries), "{retries} retries of {REQUESTS} requests, {most} may be");
}

#[test]
fn an_outage_is_not_doubled_by_retries() {
    let failing = [silent(), silent(), silent()];
    assert_within_budget(retries_in_an_outage("", &failing), 20);
    let failing = [silent(), silent(), silent()];
    assert_within_budget(retries_in_an_outage("--retry-budget 50", &failing), 50);
    let failing = [silent(), silent(), silent()];
    let (all, _) = retries_in_an_outage("--retry-budget 1500", &failing);
    assert!(all > REQUESTS, "{all}: as many as are needed");
}

#[test]
fn nor_by_retries_for_a_status() {
    let failing = [refusing("no"), refusing("no"), refusing("no")];
    assert_within_budget(retries_in_an_outage("--retry-statuses 503", &failing), 20);
}

#[test]
fn nor_by_retries_for_a_connection_refused() {
    let (dead, well) = ([(); 3].map(|()| Port::reserve()), Backend::named("well"));
    let urls = dead.iter().map(Port::url).chain([well.url()]).collect::<Vec<_>>().join(",");
    let balancer = balance_over(&format!("--workers 4 {TRUSTING}"), &urls);
    let began = Instant::now();
    let [answered, failed] = press(balancer.address, REQUESTS);
    assert_within_budget((retries(&balancer), began.elapsed()), 20);
    assert_eq!(well.requests(), answered);
    assert!(failed > 0 && answered >= REQUESTS / 4, "{answered} answered, {failed} failed");
}

#[test]
fn an_answer_with_that_status_is_tried_again_elsewhere() {
    let (refusing, well) = (refusing("no"), Backend::start(|request, reply| reply.ok(&request.text())));
    let balancer = balance(&format!("--workers 1 --retry-statuses 502,503 {TRUSTING}"), [&refusing, &well]);
    let mut client = Client::connect(balancer.address);
    let bodies = [("GET", ""), ("GET", "with a body"), ("PUT", "whole"), ("DELETE", ""), ("OPTIONS", "")];
    for (method, body) in bodies {
        for _ in 0..2 {
            let length = body.len();
            let head = format!("{method} / HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n");
            let response = client.exchange(method, head + body).expect("a response");
            assert_eq!((response.status, response.text().as_str()), (200, body), "{method}");
        }
    }
    let response = client.exchange("HEAD", "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n").expect("a response");
    assert_eq!(response.status, 200);
    assert!(refusing.requests() >= 5, "{} were refused first", refusing.requests());
}

#[test]
fn a_post_or_a_body_that_has_gone_is_never_sent_twice() {
    const LARGE: usize = 1 << 20;
    let backends = [refusing("a"), refusing("b")];
    let balancer = balance(&format!("--workers 1 --retry-statuses 503 {TRUSTING}"), &backends);
    let mut client = Client::connect(balancer.address);
    for _ in 0..4 {
        let response = client.post("/", "once").expect("a response");
        assert_eq!((response.status, response.head.joined("x-from").as_str()), (503, "backend"));
    }
    assert_eq!(counts(&backends), [2, 2]);
    client.send(format!("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: {LARGE}\r\n\r\n")).expect("send");
    let (mut pattern, mut left) = (Pattern::default(), LARGE);
    while left > 0 {
        let part = pattern.next(left);
        client.stream().write_all(part).expect("send");
        left -= part.len();
    }
    assert_eq!(client.response("PUT").expect("a response").status, 503);
    assert_eq!(counts(&backends).iter().sum::<usize>(), 5);
}

#[test]
fn the_last_answer_passes_when_no_retry_is_left() {
    let backends = [refusing("a says no"), refusing("b says no")];
    let balancer = balance(&format!("--workers 1 --retries 2 --retry-statuses 5xx {TRUSTING}"), &backends);
    let response = get(balancer.address, "/").expect("a response");
    assert_eq!((response.status, response.head.joined("x-from").as_str()), (503, "backend"));
    assert!(response.text().ends_with("says no"), "{}", response.text());
    assert_eq!(counts(&backends).iter().sum::<usize>(), 3, "one try and two more");
}

#[test]
fn where_the_others_are_full_and_nobody_may_wait_the_same_one_is_asked_again() {
    let (no, busy) = (refusing("no"), Held::named("busy"));
    let flags = "--backend-max-requests 1 --queue-length 0 --retry-statuses 503 --retries 2";
    let balancer = balance_over(&format!("--workers 1 {TRUSTING} {flags}"), &list([&no, &busy.backend]));
    // The first may meet the refusing one, and is then sent to the other.
    let waits = Client::connect(balancer.address);
    waits.send("GET /waits HTTP/1.1\r\nHost: h\r\n\r\n").expect("sent");
    busy.await_now(1);
    let before = no.requests();
    let response = get(balancer.address, "/").expect("a response");
    assert_eq!((response.status, response.text().as_str()), (503, "no"));
    assert_eq!(no.requests() - before, 3, "the last answer is passed on");
    assert_eq!(balancer.status()["failures"], serde_json::json!({}));
}

#[test]
fn a_status_that_is_not_listed_passes_at_once() {
    let backends = [refusing("a"), refusing("b")];
    let balancer = balance(&format!("--workers 1 --retry-statuses 502 {TRUSTING}"), &backends);
    assert_eq!(get(balancer.address, "/").expect("a response").status, 503);
    assert_eq!(counts(&backends), [1, 0]);
}

#[test]
fn a_try_that_takes_too_long_goes_on_to_another_backend() {
    let (held, well) = (Held::named("held"), Backend::named("well"));
    let balancer = balance(
        &format!("--workers 1 --try-timeout 150ms --response-timeout 15s {TRUSTING}"),
        [&held.backend, &well],
    );
    let asked = Instant::now();
    assert_eq!(get(balancer.address, "/").expect("a response").text(), "well");
    let took = asked.elapsed();
    assert!((145..2000).contains(&took.as_millis()), "{took:?}");
    assert_eq!((held.backend.requests(), well.requests()), (1, 1));
}

#[test]
fn a_post_has_the_whole_response_timeout() {
    let (held, well) = (Held::named("held"), Backend::named("well"));
    let balancer = balance(
        &format!("--workers 1 --try-timeout 100ms --response-timeout 15s {TRUSTING}"),
        [&held.backend, &well],
    );
    let client = Client::connect(balancer.address);
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nonce").expect("send");
    held.await_now(1);
    std::thread::sleep(Duration::from_millis(300));
    held.let_go(1);
    let mut client = client;
    assert_eq!(client.response("POST").expect("a response").text(), "held");
    assert_eq!((held.backend.requests(), well.requests()), (1, 0));
}

#[test]
fn the_last_try_has_the_whole_response_timeout_too() {
    let held = [Held::named("a"), Held::named("b")];
    let balancer = balance(
        &format!("--workers 1 --retries 1 --try-timeout 100ms --response-timeout 700ms {TRUSTING}"),
        held.iter().map(|held| &held.backend),
    );
    let asked = Instant::now();
    assert_eq!(get(balancer.address, "/").expect("a response").status, 504);
    let took = asked.elapsed();
    assert!((795..2500).contains(&took.as_millis()), "{took:?}");
    assert_eq!(held.each_ref().map(|held| held.backend.requests()), [1, 1]);
    assert_eq!((balancer.failures("response-timeout"), balancer.failures("try-timeout")), (1, 0));
}

#[test]
fn without_retries_nothing_is_sent_twice() {
    let backends = [silent(), silent()];
    let balancer = balance(&format!("--workers 1 --retries 0 {TRUSTING}"), &backends);
    assert_eq!(get(balancer.address, "/").expect("a response").status, 502);
    assert_eq!(counts(&backends), [1, 0]);
    let [well, other] = &named(["well", "other"]);
    let urls = list([well, other]);
    assert_eq!(get(balance_over("--retries 0", &urls).address, "/").expect("a response").status, 200);
}
