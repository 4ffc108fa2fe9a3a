//! Bounds of a message: what goes beyond one is refused with its status, told as a failure, and closed.

use std::io::Write;
use std::sync::mpsc::{Receiver, channel};

use crate::support::raw::{read_head, read_to_end, serve_raw};
use crate::support::{Backend, Client, Evenkeel, Response, SOON, get};

/// Sends bytes on a connection of their own; the answer, behind which the connection must end.
#[track_caller]
fn last_answer(balancer: &Evenkeel, bytes: &str) -> Response {
    let mut client = Client::connect(balancer.address);
    let response = client.exchange("GET", bytes).expect("a response");
    assert!(response.closes(), "{:?}", response.head);
    client.assert_ended();
    response
}

/// A request head of exactly so many bytes.
fn head_of(size: usize) -> String {
    let (before, after) = ("GET / HTTP/1.1\r\nHost: h\r\nX-Pad: ", "\r\n\r\n");
    format!("{before}{}{after}", "p".repeat(size - before.len() - after.len()))
}

#[test]
fn a_head_larger_than_max_head_is_431() {
    let backend = Backend::named("a");
    let balancer = Evenkeel::start(&["--max-head", "1k", "--backends", &backend.url()]);
    let mut client = Client::connect(balancer.address);
    assert_eq!(client.exchange("GET", head_of(1024)).expect("a response").status, 200);
    assert_eq!(last_answer(&balancer, &head_of(1025)).status, 431);
    // One that would go on for ever is not waited for.
    assert_eq!(last_answer(&balancer, head_of(1100).trim_end()).status, 431);
    assert_eq!((backend.requests(), balancer.failures("head-too-large")), (1, 2));
}

#[test]
fn more_fields_than_max_headers_is_431() {
    let backend = Backend::named("a");
    let balancer = Evenkeel::start(&["--max-headers", "5", "--backends", &backend.url()]);
    let with =
        |fields: usize| format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X-A: 1\r\n".repeat(fields - 1));
    let mut client = Client::connect(balancer.address);
    assert_eq!(client.exchange("GET", with(5)).expect("a response").status, 200);
    assert_eq!(last_answer(&balancer, &with(6)).status, 431);
    assert_eq!((backend.requests(), balancer.failures("head-too-large")), (1, 1));
}

#[test]
fn a_target_longer_than_max_target_is_414() {
    let backend = Backend::named("a");
    let balancer = Evenkeel::start(&["--max-target", "64", "--backends", &backend.url()]);
    let to = |length: usize| format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "t".repeat(length - 1));
    let mut client = Client::connect(balancer.address);
    assert_eq!(client.exchange("GET", to(64)).expect("a response").status, 200);
    assert_eq!(last_answer(&balancer, &to(65)).status, 414);
    assert_eq!(last_answer(&balancer, &to(8000)).status, 414);
    assert_eq!((backend.requests(), balancer.failures("target-too-long")), (1, 2));
}

#[test]
fn a_body_longer_than_max_body_is_413_before_it_comes() {
    let backend = Backend::named("a");
    let balancer = Evenkeel::start(&["--max-body", "1000", "--backends", &backend.url()]);
    let mut client = Client::connect(balancer.address);
    assert_eq!(client.post("/", &"b".repeat(1000)).expect("a response").status, 200);
    assert_eq!(backend.last().body.length, 1000);
    let refused = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1001\r\n\r\n";
    assert_eq!(last_answer(&balancer, refused).status, 413);
    assert_eq!((backend.requests(), balancer.failures("body-too-large")), (1, 1));
}

/// A backend that says what it was sent: when a head has come, and when its connection has ended.
fn recording() -> (String, Receiver<Vec<u8>>) {
    let (heard, ends) = channel();
    let address = serve_raw(move |stream| {
        let Some(mut seen) = read_head(&stream) else { return };
        let _ = heard.send(seen.clone());
        if let Ok(rest) = read_to_end(&stream) {
            seen.extend(rest);
            let _ = heard.send(seen);
        }
    });
    (format!("http://{address}"), ends)
}

#[test]
fn chunks_beyond_max_body_are_413_in_the_middle_and_the_backend_is_cut_off() {
    let (url, ends) = recording();
    let balancer = Evenkeel::start(&["--max-body", "1000", "--backends", &url]);
    let mut client = Client::connect(balancer.address);
    let chunk = |size: usize| format!("{size:x}\r\n{}\r\n", "c".repeat(size));
    client.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n").expect("send");
    client.send(chunk(600)).expect("send");
    ends.recv_timeout(SOON).expect("the head reaches the backend");
    client.send(chunk(600)).expect("send");
    let response = client.response("POST").expect("a response");
    assert_eq!(response.status, 413);
    assert!(response.closes());
    client.assert_ended();
    let seen = ends.recv_timeout(SOON).expect("the backend's connection ends");
    assert!(!seen.ends_with(b"0\r\n\r\n"), "the backend takes it for whole: {:?}", seen.escape_ascii());
    assert!(seen.iter().filter(|&&byte| byte == b'c').count() <= 1010, "what is too much was sent on");
    assert_eq!(balancer.failures("body-too-large"), 1);
}

#[test]
fn chunks_up_to_max_body_pass() {
    let backend = Backend::named("a");
    let balancer = Evenkeel::start(&["--max-body", "1000", "--backends", &backend.url()]);
    let mut client = Client::connect(balancer.address);
    let chunk = format!("1f4\r\n{}\r\n", "c".repeat(500));
    let request =
        format!("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n");
    assert_eq!(client.exchange("POST", request).expect("a response").status, 200);
    assert_eq!(backend.last().body.length, 1000);
}

#[test]
fn the_last_of_max_requests_says_so_and_closes() {
    let backend = Backend::named("a");
    let balancer = Evenkeel::start(&["--max-requests", "3", "--backends", &backend.url()]);
    for _ in 0..2 {
        let mut client = Client::connect(balancer.address);
        for nth in 1..=3 {
            let response = client.get("/").expect("a response");
            assert_eq!((response.status, response.closes()), (200, nth == 3), "request {nth}");
        }
        client.assert_ended();
    }
    assert_eq!(balancer.status()["failures"].to_string(), "{}");
}

#[test]
fn what_is_refused_harms_nobody_else() {
    let backend = Backend::named("a");
    let balancer = Evenkeel::start(&["--max-head", "1k", "--max-body", "10", "--backends", &backend.url()]);
    let mut other = Client::connect(balancer.address);
    for bytes in [head_of(2000), "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\n".into()] {
        assert_eq!(other.get("/").expect("a response").text(), "a");
        last_answer(&balancer, &bytes);
        let writer = Client::connect(balancer.address);
        writer.send(&bytes).expect("send");
        // More than is thrown away for it: it is cut off in the end, whatever it reads.
        let _ = writer.stream().write_all(&vec![b'x'; 8 << 20]);
        drop(writer);
        assert_eq!(get(balancer.address, "/").expect("a response").text(), "a");
    }
}
