//! Pipelined requests are answered in order, each whole.

use std::time::Duration;

use crate::support::{Backend, Client, Evenkeel, Split, list};

/// Method, target and body of a request; POST bodies alternate between the framings.
fn requests(count: usize) -> Vec<(&'static str, String, String)> {
    let one = |i: usize| {
        let method = ["GET", "POST", "HEAD", "POST", "DELETE"][i % 5];
        let body = if method == "POST" { format!("body number {i}") } else { String::new() };
        (method, format!("/{i}"), body)
    };
    (0..count).map(one).collect()
}

fn bytes(requests: &[(&str, String, String)]) -> Vec<u8> {
    let mut bytes = String::new();
    for (i, (method, target, body)) in requests.iter().enumerate() {
        let framed = match (*method, i % 2) {
            ("POST", 0) => {
                format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
            }
            ("POST", _) => format!("Content-Length: {}\r\n\r\n{body}", body.len()),
            _ => "\r\n".to_string(),
        };
        bytes += &format!("{method} {target} HTTP/1.1\r\nHost: h\r\n{framed}");
    }
    bytes.into_bytes()
}

/// A backend that echoes, later the more its target is a multiple of three.
fn echo() -> Backend {
    Backend::start(|request, reply| {
        if request.target.ends_with(['0', '3']) {
            std::thread::sleep(Duration::from_millis(3));
        }
        let text = format!("{} {} {}", request.method, request.target, request.text());
        let body = if request.method == "HEAD" { "" } else { &text };
        reply.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", text.len()))
    })
}

fn check(client: &mut Client, requests: &[(&'static str, String, String)]) {
    for (method, target, body) in requests {
        let response = client.response(method).unwrap_or_else(|e| panic!("{method} {target}: {e}"));
        let expected = format!("{method} {target} {body}");
        assert_eq!(response.head.all("content-length"), [expected.len().to_string()], "{method} {target}");
        if *method != "HEAD" {
            assert_eq!(response.text(), expected);
        }
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let backends = [echo(), echo(), echo()];
    let balancer = Evenkeel::start(&["--backends", &list(&backends)]);
    let requests = requests(100);
    let mut client = Client::connect(balancer.address);
    client.send(bytes(&requests)).expect("send");
    check(&mut client, &requests);
}

#[test]
fn pipelined_requests_survive_any_split() {
    let backend = echo();
    let balancer = Evenkeel::start(&["--backends", &backend.url()]);
    let requests = requests(6);
    let bytes = bytes(&requests);
    let mut client = Client::connect(balancer.address);
    for at in (1..bytes.len()).step_by(3) {
        client.send_pieces(&bytes, &Split::At(at)).expect("send");
        check(&mut client, &requests);
    }
    client.send_pieces(&bytes, &Split::Every(1)).expect("send");
    check(&mut client, &requests);
}

#[test]
fn a_pipeline_ends_at_the_request_that_closes() {
    let backend = echo();
    let balancer = Evenkeel::start(&["--backends", &backend.url()]);
    let mut client = Client::connect(balancer.address);
    let last = "GET /last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    client
        .send(format!("GET /1 HTTP/1.1\r\nHost: h\r\n\r\n{last}GET /never HTTP/1.1\r\nHost: h\r\n\r\n"))
        .expect("send");
    assert_eq!(client.response("GET").expect("the first").text(), "GET /1 ");
    assert_eq!(client.response("GET").expect("the last").text(), "GET /last ");
    client.assert_ended();
    assert_eq!(backend.requests(), 2);
}

#[test]
fn a_client_that_ends_its_side_after_asking_is_answered() {
    let backend = echo();
    let balancer = Evenkeel::start(&["--backends", &backend.url()]);
    let requests = requests(5);
    let mut client = Client::connect(balancer.address);
    client.send(bytes(&requests)).expect("send");
    client.stream().shutdown(std::net::Shutdown::Write).expect("shutdown");
    check(&mut client, &requests);
    client.assert_ended();
}
