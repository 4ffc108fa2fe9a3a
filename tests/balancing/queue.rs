//! Requests wait in line while every backend has all that it may have.

use std::io::Write;
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use super::held::{HEALTH, Held};
use super::{Press, balance};
use crate::support::wire::Pattern;
use crate::support::{Backend, Client, Evenkeel, SOON, eventually};

/// One slot, with so many workers and further flags.
fn one_slot(held: &Held, workers: usize, flags: &str) -> Evenkeel {
    let flags = format!("--workers {workers} --backend-max-requests 1 {flags}");
    balance(&flags, [&held.backend])
}

/// How many requests have had to wait so far.
fn queued(balancer: &Evenkeel) -> u64 {
    balancer.status()["counts"]["queued"].as_u64().expect("a count")
}

#[track_caller]
fn await_queued(balancer: &Evenkeel, count: u64) {
    eventually(SOON, &format!("{count} have had to wait"), || queued(balancer) == count);
}

/// A connection on which this request is under way.
fn sent(balancer: &Evenkeel, target: &str) -> Client {
    let client = Client::connect(balancer.address);
    client.send(format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n")).expect("send");
    client
}

/// One with the backend, and so many others in line, in order.
fn line_of(held: &Held, balancer: &Evenkeel, count: u64) -> Vec<Client> {
    let mut clients = vec![sent(balancer, "/0")];
    held.await_now(1);
    for i in 1..=count {
        clients.push(sent(balancer, &format!("/{i}")));
        await_queued(balancer, i);
        // Arrivals are told apart by the millisecond.
        std::thread::sleep(Duration::from_millis(2));
    }
    clients
}

fn targets(count: u64) -> Vec<String> {
    (0..=count).map(|i| format!("/{i}")).collect()
}

#[test]
fn who_came_first_is_served_first() {
    for workers in [1, 4] {
        let held = Held::named("a");
        let balancer = one_slot(&held, workers, "");
        let mut clients = line_of(&held, &balancer, 24);
        for (i, client) in clients.iter_mut().enumerate() {
            held.let_go(1);
            assert_eq!(client.response("GET").expect("a response").text(), "a", "client {i}");
        }
        assert_eq!(held.came(), targets(24), "workers: {workers}");
    }
}

#[test]
fn nobody_who_comes_later_passes() {
    for workers in [1, 4] {
        let held = Held::named("a");
        let balancer = one_slot(&held, workers, "");
        let mut clients = line_of(&held, &balancer, 30);
        let press = Press::leaving(balancer.address);
        for client in &mut clients {
            held.let_go(1);
            assert_eq!(client.response("GET").expect("a response").status, 200, "{:?}", held.came());
        }
        drop(press);
        assert_eq!(held.came()[..31], targets(30), "workers: {workers}");
    }
}

#[test]
fn more_than_may_wait_are_503() {
    let held = Held::named("a");
    let balancer = one_slot(&held, 4, "--queue-length 3");
    let mut clients = line_of(&held, &balancer, 3);
    for _ in 0..5 {
        let asked = Instant::now();
        let mut client = Client::connect(balancer.address);
        let response = client.get("/").expect("a response");
        assert_eq!((response.status, response.closes()), (503, false), "{}", response.text());
        assert_eq!(response.head.joined("retry-after"), "1");
        assert!(asked.elapsed() < Duration::from_secs(1));
    }
    assert_eq!(balancer.failures("queue-full"), 5);
    held.open();
    for client in &mut clients {
        assert_eq!(client.response("GET").expect("a response").status, 200);
    }
    assert_eq!(held.came(), targets(3));
}

#[test]
fn nobody_waits_longer_than_the_queue_timeout() {
    let held = Held::named("a");
    let balancer = one_slot(&held, 4, "--queue-timeout 400ms");
    let mut first = sent(&balancer, "/0");
    held.await_now(1);
    let asked = Instant::now();
    let mut late: Vec<Client> = (0..30).map(|_| sent(&balancer, "/late")).collect();
    for client in &mut late {
        let response = client.response("GET").expect("a response");
        assert_eq!((response.status, response.closes()), (503, false), "{}", response.text());
        assert!(response.head.has("retry-after"), "{:?}", response.head);
        assert!(asked.elapsed() >= Duration::from_millis(395), "{:?}", asked.elapsed());
    }
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    assert_eq!(balancer.failures("queue-timeout"), 30);
    held.open();
    assert_eq!(first.response("GET").expect("a response").status, 200);
    assert_eq!(late[0].get("/again").expect("a response").status, 200, "the connection goes on");
    assert_eq!(held.came(), ["/0", "/again"]);
    let waited = balancer.status()["counts"]["queue_ms"].as_u64().expect("a count");
    assert!((30 * 395..30 * 2000).contains(&waited), "{waited} ms");
}

#[test]
fn a_client_that_leaves_frees_its_place() {
    let held = Held::named("a");
    let balancer = one_slot(&held, 2, "--queue-length 3");
    let mut clients = line_of(&held, &balancer, 3);
    let gone = clients.remove(2);
    gone.reset_on_close();
    drop(gone);
    balancer.await_failures("client-closed", 1);
    clients.push(sent(&balancer, "/4"));
    await_queued(&balancer, 4);
    for client in &mut clients {
        held.let_go(1);
        assert_eq!(client.response("GET").expect("a response").status, 200);
    }
    assert_eq!(held.came(), ["/0", "/1", "/3", "/4"]);
}

#[test]
fn a_client_that_ends_its_side_in_line_is_gone_and_one_that_is_served_is_answered() {
    let held = Held::named("a");
    let balancer = one_slot(&held, 2, "");
    let mut clients = line_of(&held, &balancer, 2);
    clients[..2].iter().for_each(|client| drop(client.stream().shutdown(Shutdown::Write)));
    assert!(clients[1].response("GET").is_err(), "closed without an answer");
    for client in [0, 2] {
        held.let_go(1);
        assert_eq!(clients[client].response("GET").expect("a response").status, 200);
    }
    assert_eq!(held.came(), ["/0", "/2"]);
}

#[test]
fn a_drain_answers_all_that_wait() {
    let held = Held::named("a");
    let mut balancer = one_slot(&held, 4, "--drain-timeout 10s");
    let mut clients = line_of(&held, &balancer, 12);
    balancer.terminate();
    eventually(SOON, "it drains", || balancer.lines_with("draining", "connections") > 0);
    held.open();
    for client in &mut clients {
        let response = client.response("GET").expect("a response");
        assert_eq!((response.status, response.closes()), (200, true));
    }
    assert!(balancer.exit_within(SOON).success());
    assert_eq!(held.came().len(), 13);
}

#[test]
fn a_large_body_waits_and_arrives_whole() {
    const LENGTH: usize = 1 << 20;
    let held = Held::start(|request, reply| {
        assert!(request.target != "/large" || request.body.is_pattern(LENGTH as u64));
        reply.ok("whole")
    });
    let balancer = one_slot(&held, 2, "");
    let mut first = sent(&balancer, "/0");
    held.await_now(1);
    let to = balancer.address;
    let posting = std::thread::spawn(move || {
        let mut client = Client::connect(to);
        let head = format!("POST /large HTTP/1.1\r\nHost: h\r\nContent-Length: {LENGTH}\r\n\r\n");
        client.send(head).expect("send");
        let (mut pattern, mut left) = (Pattern::default(), LENGTH);
        while left > 0 {
            let part = pattern.next(left);
            client.stream().write_all(part).expect("send");
            left -= part.len();
        }
        let response = client.response("POST").expect("a response");
        (response.status, response.text(), client.get("/next").expect("a response").status)
    });
    await_queued(&balancer, 1);
    held.open();
    assert_eq!(first.response("GET").expect("a response").status, 200);
    assert_eq!(posting.join().expect("no panic"), (200, "whole".to_owned(), 200));
    assert_eq!(held.came(), ["/0", "/large", "/next"]);
}

#[test]
fn time_in_line_is_not_the_clients_to_answer_for() {
    let held = Held::named("a");
    let balancer = one_slot(&held, 1, "--stall-timeout 300ms");
    let mut first = sent(&balancer, "/0");
    held.await_now(1);
    let mut client = Client::connect(balancer.address);
    client.send("POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nab").expect("send");
    await_queued(&balancer, 1);
    std::thread::sleep(Duration::from_millis(600));
    client.send("cd").expect("send");
    held.let_go(1);
    assert_eq!(first.response("GET").expect("a response").status, 200);
    std::thread::sleep(Duration::from_millis(100));
    client.send("ef").expect("send");
    held.let_go(1);
    assert_eq!(client.response("POST").expect("a response").status, 200);
    assert_eq!(held.backend.last().text(), "abcdef");
}

#[test]
fn one_that_waits_for_a_backend_that_goes_down_goes_back_to_one_that_failed_it() {
    let failed = Arc::new(AtomicBool::new(false));
    let once = Arc::clone(&failed);
    let first =
        Backend::start(move |request, reply| match request.target == "/x" && !once.swap(true, SeqCst) {
            true => {
                reply.close();
                Ok(())
            }
            false => reply.ok("first"),
        });
    let (ill, down) = (Arc::new(AtomicBool::new(false)), "HTTP/1.1 500 Ill\r\nContent-Length: 0\r\n\r\n");
    let is_ill = Arc::clone(&ill);
    let second = Held::start(move |request, reply| match request.target == HEALTH && is_ill.load(SeqCst) {
        true => reply.send(down),
        false => reply.ok("second"),
    });
    let balancer = balance(
        "--workers 1 --backend-max-requests 1 --health-path /health --health-check-interval 50ms --health-fall 1",
        [&first, &second.backend],
    );
    let mut client = Client::connect(balancer.address);
    assert_eq!(client.get("/").expect("a response").text(), "first");
    let mut holding = sent(&balancer, "/hold");
    second.await_now(1);
    client.send("GET /x HTTP/1.1\r\nHost: h\r\n\r\n").expect("send");
    await_queued(&balancer, 1);
    assert!(failed.load(SeqCst), "the first has failed it");
    ill.store(true, SeqCst);
    assert_eq!(client.response("GET").expect("a response").text(), "first");
    second.open();
    assert_eq!(holding.response("GET").expect("a response").text(), "second");
}

#[test]
fn a_head_waits_and_is_answered_without_a_body() {
    let held = Held::start(|request, reply| match request.method.as_str() {
        "HEAD" => reply.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"),
        _ => reply.ok("a"),
    });
    let balancer = one_slot(&held, 2, "");
    let mut first = sent(&balancer, "/0");
    held.await_now(1);
    let mut client = Client::connect(balancer.address);
    client.send("HEAD /1 HTTP/1.1\r\nHost: h\r\n\r\n").expect("send");
    await_queued(&balancer, 1);
    held.open();
    let response = client.response("HEAD").expect("a response");
    assert_eq!((response.status, response.head.joined("content-length").as_str()), (200, "1000000"));
    assert_eq!(first.response("GET").expect("a response").text(), "a");
    assert_eq!(client.get("/2").expect("the connection goes on").text(), "a");
}

#[test]
fn one_that_waits_for_its_own_backend_holds_up_nobody_else() {
    for workers in [1, 4] {
        let (held, other) = (Held::named("held"), Backend::named("other"));
        let balancer = balance(
            &format!(
                "--workers {workers} --backend-max-requests 1 --sticky cookie \
                 --sticky-secret 0123456789abcdef0123456789abcdef"
            ),
            [&held.backend, &other],
        );
        let mut first = sent(&balancer, "/first");
        held.await_now(1);
        held.let_go(1);
        let response = first.response("GET").expect("a response");
        let cookie = response.head.joined("set-cookie").split(';').next().expect("a cookie").to_owned();
        first.send(format!("GET /first HTTP/1.1\r\nHost: h\r\nCookie: {cookie}\r\n\r\n")).expect("send");
        held.await_now(1);
        let mut own = Client::connect(balancer.address);
        own.send(format!("GET /own HTTP/1.1\r\nHost: h\r\nCookie: {cookie}\r\n\r\n")).expect("send");
        await_queued(&balancer, 1);
        let (mut client, began) = (Client::connect(balancer.address), Instant::now());
        for _ in 0..20 {
            assert_eq!(client.get("/").expect("a response").text(), "other");
        }
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        held.open();
        assert_eq!(own.response("GET").expect("a response").text(), "held", "workers: {workers}");
        assert_eq!(first.response("GET").expect("a response").text(), "held");
        assert_eq!(held.came().last().map(String::as_str), Some("/own"));
    }
}
