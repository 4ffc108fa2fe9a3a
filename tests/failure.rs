//! What a client sees when backends die, refuse, or answer nonsense.

use crate::support::wire::Body;
use crate::support::{Backend, Client, Evenkeel, Framing, Port, SOON, eventually, get, list};

/// One worker, so that it is known which idle connection is reused; probes only at the start.
const STEADY: [&str; 4] = ["--workers", "1", "--health-check-interval", "10m"];

fn steady(backends: &str) -> Evenkeel {
    Evenkeel::start(&[&STEADY[..], &["--backends", backends]].concat())
}

/// Waits until the first round of probes has reached them all.
fn probed(backends: &[&Backend]) {
    eventually(SOON, "the first probes", || backends.iter().all(|b| b.connections() > 0));
}

/// Asserts a short plain error reply of that status.
#[track_caller]
fn assert_refused(response: &crate::support::Response, status: u16) {
    assert_eq!(response.status, status, "{}", response.text());
    assert!((1..500).contains(&response.body.length), "a short body: {:?}", response.text());
    assert!(response.head.joined("content-type").starts_with("text/plain"), "{:?}", response.head);
}

#[test]
fn a_request_that_never_connected_is_retried_whatever_its_method() {
    let (mut dead, live) = (Backend::named("dead"), Backend::named("live"));
    let balancer = Evenkeel::start(
        &[&STEADY[..], &["--max-fails", "1000000", "--backends", &list([&dead, &live])]].concat(),
    );
    probed(&[&dead, &live]);
    dead.kill();
    let mut client = Client::connect(balancer.address);
    for i in 0..20 {
        let response = match i % 2 {
            0 => client.get("/"),
            _ => client.post("/", "kept for the retry"),
        };
        assert_eq!(response.expect("a response").text(), "live");
    }
    assert_eq!((dead.requests(), live.requests()), (0, 20));
    assert_eq!(live.last().text(), "kept for the retry");
}

/// A backend whose connections die on their second request, unanswered.
fn forgetful() -> Backend {
    Backend::start(|request, reply| match request.nth {
        0 => reply.ok("ok"),
        _ => {
            reply.close();
            Ok(())
        }
    })
}

#[test]
fn a_get_on_a_reused_connection_that_died_is_sent_again() {
    let backend = forgetful();
    let balancer = steady(&backend.url());
    let mut client = Client::connect(balancer.address);
    for sent in [1, 3, 5, 7] {
        assert_eq!(client.get("/").expect("a response").text(), "ok");
        assert_eq!(
            backend.requests(),
            sent,
            "the first on a new connection, the others on a dying one and a new one"
        );
    }
}

#[test]
fn a_post_on_a_reused_connection_that_died_is_not_sent_again() {
    let (backend, other) = (forgetful(), Backend::named("other"));
    let balancer = steady(&list([&backend, &other]));
    let mut client = Client::connect(balancer.address);
    assert_eq!(client.post("/", "once").expect("a response").text(), "ok");
    assert_eq!(client.post("/", "once").expect("a response").text(), "other");
    let response = client.post("/", "once").expect("a response");
    assert_refused(&response, 502);
    assert_eq!((backend.requests(), other.requests()), (2, 1), "each was sent once");
}

#[test]
fn failures_in_a_row_take_a_backend_out() {
    let (mut backend, live) = (Backend::named("back"), Backend::named("live"));
    let balancer = steady(&list([&backend, &live]));
    probed(&[&backend, &live]);
    backend.kill();
    for _ in 0..20 {
        assert_eq!(get(balancer.address, "/").expect("a response").text(), "live");
    }
    eventually(SOON, "a line that says it is out", || balancer.lines_with(&backend.url(), "out") == 1);
    backend.restart();
    let answered = || get(balancer.address, "/").expect("a response").text();
    eventually(SOON, "the one request that tries it", || answered() == "back");
    eventually(SOON, "a line that says it is back", || balancer.lines_with(&backend.url(), "back") == 1);
    let back = (0..20).filter(|_| answered() == "back").count();
    assert_eq!(back, 10, "it has its share again");
}

#[test]
fn fewer_failures_than_max_fails_do_not() {
    let (mut backend, live) = (Backend::named("back"), Backend::named("live"));
    let balancer = steady(&list([&backend, &live]));
    probed(&[&backend, &live]);
    backend.kill();
    // At most two failures, one less than the default.
    for _ in 0..2 {
        assert_eq!(get(balancer.address, "/").expect("a response").text(), "live");
    }
    backend.restart();
    for _ in 0..20 {
        get(balancer.address, "/").expect("a response");
    }
    assert_eq!(backend.requests(), 10, "it has its full share again");
    assert_eq!(balancer.lines_with(&backend.url(), "down"), 0);
}

#[test]
fn a_probe_that_succeeds_brings_it_back() {
    let (mut backend, live) = (Backend::named("back"), Backend::named("live"));
    let balancer =
        Evenkeel::start(&["--health-check-interval", "200ms", "--backends", &list([&backend, &live])]);
    probed(&[&backend, &live]);
    backend.kill();
    eventually(SOON, "it is taken out", || {
        assert_eq!(get(balancer.address, "/").expect("a response").text(), "live");
        balancer.lines_with(&backend.url(), "down") == 1
    });
    backend.restart();
    eventually(SOON, "it serves again", || get(balancer.address, "/").expect("a response").text() == "back");
}

#[test]
fn all_down_is_503_and_back_up_is_200() {
    let mut backends = [Backend::named("a"), Backend::named("b")];
    let balancer = Evenkeel::start(&["--health-check-interval", "100ms", "--backends", &list(&backends)]);
    let mut client = Client::connect(balancer.address);
    assert_eq!(client.get("/").expect("a response").status, 200);
    backends.iter_mut().for_each(Backend::kill);
    for backend in &backends {
        eventually(SOON, "it is known to be down", || balancer.lines_with(&backend.url(), "down") > 0);
    }
    assert_refused(&get(balancer.address, "/").expect("a response"), 503);
    assert_refused(&Client::connect(balancer.address).post("/", "body").expect("a response"), 503);
    backends.iter_mut().for_each(Backend::restart);
    eventually(SOON, "200 again", || get(balancer.address, "/").expect("a response").status == 200);
}

#[test]
fn all_tried_in_vain_is_503() {
    let mut backends = [Backend::named("a"), Backend::named("b")];
    let balancer = steady(&list(&backends));
    probed(&[&backends[0], &backends[1]]);
    backends.iter_mut().for_each(Backend::kill);
    assert_refused(&get(balancer.address, "/").expect("a response"), 503);
    assert_refused(&Client::connect(balancer.address).post("/", "body").expect("a response"), 503);
}

#[test]
fn a_backend_that_was_never_there_is_503() {
    let nobody = Port::reserve();
    let balancer = Evenkeel::start(&["--backends", &nobody.url()]);
    assert_refused(&get(balancer.address, "/").expect("a response"), 503);
    eventually(SOON, "a line that says it is down", || balancer.lines_with(&nobody.url(), "down") == 1);
    assert_refused(&get(balancer.address, "/").expect("a response"), 503);
}

#[test]
fn a_single_backend_is_tried_again_after_the_delay() {
    let mut backend = Backend::named("back");
    let balancer = Evenkeel::start(
        &[&STEADY[..], &["--retry-delay", "300ms", "--retries", "15", "--max-fails", "100", "--backends"]]
            .concat()
            .into_iter()
            .chain([backend.url().as_str()])
            .collect::<Vec<_>>(),
    );
    probed(&[&backend]);
    backend.kill();
    let mut client = Client::connect(balancer.address);
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody").expect("send");
    std::thread::sleep(std::time::Duration::from_millis(100));
    backend.restart();
    assert_eq!(client.response("POST").expect("a response").text(), "back");
    assert_eq!(backend.last().text(), "body");
}

#[test]
fn an_answer_that_is_not_http_is_502() {
    let answers = [
        "What is this?\r\n\r\n",
        "\r\n\r\n\r\n\r\n",
        "HTTP/1.1 abc Fine\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-Cut-In-The",
        "HTTP/1.1 200 OK\r\nX-Cut: after-a-line\r\n",
    ];
    let backend = Backend::start(move |request, reply| {
        reply.close();
        let which: usize = request.target.trim_start_matches('/').parse().unwrap_or(0);
        reply.send(answers[which])
    });
    let flags = ["--max-fails", "1000", "--log-level", "debug", "--backends", &backend.url()];
    let balancer = Evenkeel::start(&flags);
    for (i, answer) in answers.iter().enumerate() {
        let response = get(balancer.address, &format!("/{i}")).unwrap_or_else(|e| panic!("{e}: {answer:?}"));
        assert_eq!(response.status, 502, "{answer:?}");
        assert_refused(&response, 502);
    }
    for reason in ["malformed start line", "malformed header field", "Content-Length fields differ"] {
        let said = format!("backend {} answered request ", backend.url());
        let has = |line: &String| line.contains(&said) && line.ends_with(&format!("no HTTP: {reason}"));
        eventually(SOON, reason, || balancer.lines().iter().any(has));
    }
    let lines = balancer.lines();
    let width = |line: &String| line.find("Z [").map(|at| (at, line.as_bytes()[19]));
    assert!(lines.iter().filter_map(width).all(|at| at == (26, b'.')), "times sort as text: {lines:#?}");
}

/// What a client has of a response whose beginning had reached it before the backend sent the rest and closed.
fn cut(method: &str, beginning: &'static str, rest: &'static str) -> (Framing, Body, std::io::Result<()>) {
    let (gate, opened) = std::sync::mpsc::sync_channel::<()>(1);
    let opened = std::sync::Mutex::new(opened);
    let backend = Backend::start(move |_, reply| {
        reply.close();
        reply.send(beginning)?;
        let _ = opened.lock().unwrap().recv_timeout(SOON);
        reply.send(rest)
    });
    let balancer = Evenkeel::start(&["--backends", &backend.url()]);
    let mut client = Client::connect(balancer.address);
    client.send(format!("{method} / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")).expect("send");
    let (status, _, framing) = client.head().expect("the head has passed");
    assert_eq!(status, 200);
    gate.send(()).expect("open the gate");
    let mut body = Body::default();
    let outcome = client.body(framing, &mut body);
    (framing, body, outcome)
}

#[test]
fn a_response_cut_within_its_length_is_cut_for_the_client() {
    for method in ["GET", "POST"] {
        let (framing, body, outcome) =
            cut(method, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly ", "this");
        assert_eq!(framing, Framing::Length(100));
        assert!(outcome.is_err(), "{method}: completed falsely");
        assert!(b"only this".starts_with(&body.bytes), "{method}: {body:?}");
    }
}

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n";

#[test]
fn a_response_cut_within_its_chunks_is_cut_for_the_client() {
    let rests =
        ["9\r\n and this\r\n", "9\r\n and", "9\r\n and this", "0\r\n", "0", "0\r\nX-Trailer: t\r\n", ""];
    for rest in rests {
        let (framing, body, outcome) = cut("GET", CHUNKED, rest);
        assert_eq!(framing, Framing::Chunked, "{rest:?}");
        assert!(outcome.is_err(), "completed falsely: {rest:?}");
        assert!(b"ok and this".starts_with(&body.bytes), "{rest:?}: {body:?}");
    }
}

#[test]
fn chunks_that_break_the_rules_are_cut_for_the_client() {
    for rest in ["zz\r\n", "-1\r\n", "2\r\nokay\r\n0\r\n\r\n", "fffffffffffffffffff\r\nx", "\r\n0\r\n\r\n"] {
        let (_, _, outcome) = cut("GET", CHUNKED, rest);
        assert!(outcome.is_err(), "completed falsely: {rest:?}");
    }
}

#[test]
fn bytes_after_an_answer_never_reach_the_next_exchange() {
    let backend = Backend::start(|request, reply| match request.nth {
        0 => reply.send(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        ),
        _ => reply.ok("ok"),
    });
    let balancer = steady(&backend.url());
    let mut client = Client::connect(balancer.address);
    for _ in 0..5 {
        assert_eq!(client.get("/").expect("a response").text(), "ok");
    }
}

#[test]
fn a_client_that_leaves_does_no_harm() {
    let backend = Backend::start(|_, reply| {
        reply.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n{}", "x".repeat(300_000)))
    });
    let balancer = steady(&backend.url());
    for i in 0..100 {
        let client = Client::connect(balancer.address);
        let sent = match i % 4 {
            0 => "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
            1 => "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\npart",
            2 => "GET / HT",
            _ => "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        };
        client.send(sent).expect("send");
        if i % 3 == 0 {
            client.reset_on_close();
        }
    }
    for _ in 0..10 {
        assert_eq!(get(balancer.address, "/").expect("a response").body.length, 300_000);
    }
    assert_eq!(balancer.lines_with(&backend.url(), "down"), 0, "it is not the backend that failed");
}
