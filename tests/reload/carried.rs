//! What is known goes on: health, counts, what waits, whom a client had, what it may still ask.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::{Live, listener, pool};
use crate::support::{Backend, Client, Port, SOON, eventually, get};

/// A backend that answers `/held` when it is told to, once for each word, and everything else at once.
fn held(name: &'static str) -> (Backend, SyncSender<()>) {
    let (gate, opened) = sync_channel(64);
    let opened = Arc::new(Mutex::new(opened));
    let backend = Backend::start(move |request, reply| {
        if request.target.starts_with("/held") {
            let _ = opened.lock().expect("the gate").recv_timeout(2 * SOON);
        }
        reply.ok(name)
    });
    (backend, gate)
}

/// A client whose request is at the backend and unanswered.
fn in_flight(live: &Live, backend: &Backend) -> Client {
    let before = backend.requests();
    let client = Client::connect(live.balancer.address);
    client.send("GET /held HTTP/1.1\r\nHost: h\r\n\r\n").expect("send");
    eventually(SOON, "the backend has the request", || backend.requests() > before);
    client
}

/// A pool's part of a file with settings of its own.
fn pool_with<'a>(name: &str, settings: &str, backends: impl IntoIterator<Item = &'a Backend>) -> String {
    let text = pool(name, backends);
    text.replacen("\n[[pool.backend]]", &format!("\n{settings}\n[[pool.backend]]"), 1)
}

fn alive(status: &Value) -> Vec<bool> {
    let backends = status["backends"].as_array().expect("backends");
    backends.iter().map(|backend| backend["alive"].as_bool().expect("alive")).collect()
}

#[test]
fn health_and_counts_are_as_before() {
    let (a, dead) = (Backend::named("a"), Port::reserve());
    let down = format!("[[pool.backend]]\nurl = \"{}\"\n", dead.url());
    let text = |weight: u32| {
        let settings = "health = { interval = \"1h\", fall = 1 }";
        listener("web", "one") + &pool_with("one", settings, [&a]) + &format!("weight = {weight}\n") + &down
    };
    let live = Live::start(&text(1));
    eventually(SOON, "the first probes", || alive(&live.balancer.status()) == [true, false]);
    (0..10).for_each(|_| assert_eq!(get(live.balancer.address, "/").expect("a response").status, 200));
    let counts = |status: &Value| {
        let count = |name: &str| status["counts"][name].as_u64().expect("a count");
        (count("requests"), count("retries"))
    };
    let before = counts(&live.balancer.status());
    let probes = a.connections();
    for weight in 2..10 {
        live.reload(&text(weight));
        let status = live.balancer.status();
        assert_eq!(alive(&status), [true, false], "what is down stays down, and nothing else goes down");
        assert_eq!(counts(&status).1, before.1, "nobody was sent to the one that is down");
    }
    assert_eq!(counts(&live.balancer.status()).0, before.0 + 9, "each status was a request");
    // The interval is an hour: a probe more would be one that a reload caused.
    assert!(a.connections() <= probes + 8, "{} connections more", a.connections() - probes);
}

#[test]
fn a_backend_that_is_removed_finishes_what_it_has() {
    let ((a, gate), b) = (held("a"), Backend::named("b"));
    let live = Live::start(&(listener("web", "one") + &pool("one", [&a])));
    let mut clients: Vec<Client> = (0..8).map(|_| in_flight(&live, &a)).collect();
    live.reload(&(listener("web", "one") + &pool("one", [&b])));
    eventually(SOON, "the other one serves", || {
        get(live.balancer.address, "/").is_ok_and(|response| response.text() == "b")
    });
    // And the pool as a whole may go, and another one come.
    live.reload(&(listener("web", "two") + &pool("two", [&b])));
    live.reload(&(listener("web", "three") + &pool("three", [&b])));
    (0..8).for_each(|_| gate.send(()).expect("open the gate"));
    for client in &mut clients {
        assert_eq!(client.response("GET").expect("its answer").text(), "a");
        assert_eq!(client.get("/").expect("the next one").text(), "b");
    }
    assert_eq!(live.balancer.status()["failures"], serde_json::json!({}));
    eventually(SOON, "nothing is kept for the one that is gone", || {
        let status = live.balancer.status();
        status["backends"].as_array().is_some_and(|backends| backends.len() == 1)
    });
}

#[test]
fn those_who_wait_are_served_when_the_limit_is_lifted() {
    let (a, gate) = held("a");
    let text = |most: u32| {
        let queue = "queue = { timeout = \"60s\" }\nretry = { delay = \"30s\" }";
        listener("web", "one") + &pool_with("one", queue, [&a]) + &format!("max_requests = {most}\n")
    };
    let live = Live::start(&format!("workers = 2\n{}", text(1)));
    let mut first = in_flight(&live, &a);
    let mut waiting: Vec<Client> = (0..20)
        .map(|_| {
            let client = Client::connect(live.balancer.address);
            client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").expect("send");
            client
        })
        .collect();
    let queued = || live.balancer.status()["counts"]["queued"].as_u64();
    eventually(SOON, &format!("they wait, {:?}", queued()), || queued() == Some(20));
    live.reload(&format!("workers = 2\n{}", text(1).replace("60s", "50s")));
    assert_eq!(a.requests(), 1, "they still wait");
    live.reload(&format!("workers = 2\n{}", text(0)));
    for client in &mut waiting {
        assert_eq!(client.response("GET").expect("an answer").text(), "a");
    }
    gate.send(()).expect("open the gate");
    assert_eq!(first.response("GET").expect("an answer").text(), "a");
}

#[test]
fn those_who_wait_for_a_backend_that_is_removed_are_served_by_another() {
    let ((a, gate), b) = (held("a"), Backend::named("b"));
    let text = |backends: &[&Backend]| {
        let settings = "queue = { timeout = \"60s\" }";
        let pool = pool_with("one", settings, backends.iter().copied());
        listener("web", "one") + &pool.replace("url", "max_requests = 1\nurl")
    };
    let live = Live::start(&text(&[&a]));
    let mut first = in_flight(&live, &a);
    let mut second = Client::connect(live.balancer.address);
    second.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").expect("send");
    eventually(SOON, "it waits", || live.balancer.status()["counts"]["queued"].as_u64() == Some(1));
    live.reload(&text(&[&b]));
    assert_eq!(second.response("GET").expect("an answer").text(), "b");
    gate.send(()).expect("open the gate");
    assert_eq!(first.response("GET").expect("an answer").text(), "a");
}

#[test]
fn a_client_stays_with_its_backend_and_what_it_asked_counts() {
    let names = ["a", "b", "c", "d"];
    let backends: Vec<Backend> = names.map(Backend::named).into();
    for sticky in ["by = \"address\"", "by = \"cookie\"\nsecret = \"0123456789abcdef\""] {
        let sticky = sticky.replace('\n', ", ");
        let text = |count: usize| {
            let pool = pool_with("one", &format!("sticky = {{ {sticky} }}"), &backends[..count]);
            "rate_limit = { requests = 20, per = \"1h\", burst = 20 }\n".to_owned()
                + &listener("web", "one")
                + &pool
        };
        let live = Live::start(&text(3));
        let mut client = Client::connect(live.balancer.address);
        let answer = client.get("/").expect("a response");
        let (own, cookie) = (answer.text(), answer.head.joined("set-cookie"));
        let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
        let request = format!("GET / HTTP/1.1\r\nHost: h\r\nCookie: {cookie}\r\n\r\n");
        let mut asked = 1;
        for count in [4, 3, 4, 3, 4] {
            live.reload(&text(count));
            for _ in 0..3 {
                assert_eq!(client.exchange("GET", &request).expect("a response").text(), own, "{sticky}");
                asked += 1;
            }
        }
        let refused = (asked..30).find(|_| client.get("/").expect("a response").status == 429);
        assert_eq!(refused, Some(20), "a reload does not give a client new requests");
    }
}

#[test]
fn connections_of_a_client_are_counted_over_reloads() {
    let a = Backend::named("a");
    let text = |most: u32| {
        let limit = format!("limits = {{ max_connections_per_client = {most} }}\n");
        limit + &listener("web", "one") + &pool("one", [&a])
    };
    let live = Live::start(&text(2));
    let two: Vec<Client> = (0..2)
        .map(|_| {
            let mut client = Client::connect(live.balancer.address);
            assert_eq!(client.get("/").expect("a response").status, 200);
            client
        })
        .collect();
    let refused = || Client::connect(live.balancer.address).get("/").map_or(0, |response| response.status);
    assert_eq!(refused(), 429);
    live.reload(&text(3));
    let third = Client::connect(live.balancer.address);
    live.reload(&text(0));
    assert_eq!(refused(), 200);
    live.reload(&text(3));
    assert_eq!(refused(), 429, "the three are still counted");
    drop(two);
    drop(third);
    eventually(SOON, "and none when they are gone", || refused() == 200);
}

#[test]
fn kept_connections_are_as_many_as_the_file_says_now() {
    let (a, gate) = held("a");
    let text = |most: u32| {
        let limit = format!("workers = 1\nlimits = {{ backend_max_idle = {most} }}\n");
        limit + &listener("web", "one") + &pool_with("one", "health = { kind = \"none\" }", [&a])
    };
    let live = Live::start(&text(10));
    let round = |clients: &mut Vec<Client>| {
        let before = a.requests();
        clients.iter().for_each(|c| c.send("GET /held HTTP/1.1\r\nHost: h\r\n\r\n").expect("send"));
        eventually(SOON, "all are at the backend", || a.requests() == before + 4);
        (0..4).for_each(|_| gate.send(()).expect("open the gate"));
        clients.iter_mut().for_each(|c| assert_eq!(c.response("GET").expect("an answer").text(), "a"));
        a.connections()
    };
    let mut clients: Vec<Client> = (0..4).map(|_| Client::connect(live.balancer.address)).collect();
    assert_eq!((round(&mut clients), round(&mut clients)), (4, 4));
    live.reload(&text(1));
    assert_eq!((round(&mut clients), round(&mut clients)), (4, 7), "one was kept of four");
}
