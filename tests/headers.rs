//! What is kept, what is removed, and what the balancer adds.

use crate::support::{Backend, Client, Evenkeel, Request};

/// The request as the backend saw it, for these bytes sent by a client.
fn forwarded(request: &str) -> Request {
    let backend = Backend::named("ok");
    let balancer = Evenkeel::start(&["--backends", &backend.url()]);
    let response = Client::connect(balancer.address).exchange("GET", request).expect("a response");
    assert_eq!(response.status, 200, "{}", response.text());
    backend.last()
}

fn host_of(balancer: &Evenkeel) -> String {
    balancer.address.to_string()
}

#[test]
fn method_target_query_and_end_to_end_fields_are_kept() {
    let seen = forwarded(
        "PROPFIND /a%20b/../c?x=1&y=%2F&&z HTTP/1.1\r\nHost: shop.example:81\r\nX-One: 1\r\nx-two:   padded \r\n\
         Cookie: a=b; c=d\r\nX-One: again\r\nAccept-Encoding: gzip\r\nX-Empty:\r\n\r\n",
    );
    assert_eq!(seen.method, "PROPFIND");
    assert_eq!(seen.target, "/a%20b/../c?x=1&y=%2F&&z");
    assert_eq!(seen.head.all("x-one"), ["1", "again"]);
    assert_eq!(seen.head.all("x-two"), ["padded"]);
    assert_eq!(seen.head.all("cookie"), ["a=b; c=d"]);
    assert_eq!(seen.head.all("accept-encoding"), ["gzip"]);
    assert_eq!(seen.head.all("x-empty"), [""]);
}

#[test]
fn every_method_passes() {
    let backend = Backend::named("ok");
    let balancer = Evenkeel::start(&["--backends", &backend.url()]);
    let mut client = Client::connect(balancer.address);
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "QUERY", "X-OWN"] {
        let request = format!("{method} /m HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi");
        assert_eq!(client.exchange(method, request).expect(method).status, 200, "{method}");
        let seen = backend.last();
        assert_eq!((seen.method.as_str(), seen.text().as_str()), (method, "hi"));
    }
}

#[test]
fn the_backend_gets_exactly_one_host_the_clients_own() {
    let seen = forwarded("GET / HTTP/1.1\r\nHost: shop.example:81\r\n\r\n");
    assert_eq!(seen.head.all("host"), ["shop.example:81"]);
    let seen = forwarded("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(seen.head.all("host").len(), 1, "an HTTP/1.0 client may send no Host: {:?}", seen.head);
}

#[test]
fn hop_by_hop_fields_of_a_request_stop_here() {
    let seen = forwarded(
        "GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\
         Proxy-Connection: keep-alive\r\nTE: trailers\r\nUpgrade: chat\r\nX-Stays: 1\r\nConnection: x-hop-two\r\n\
         X-Hop-Two: 2\r\n\r\n",
    );
    for name in ["x-hop", "x-hop-two", "keep-alive", "proxy-connection", "te", "upgrade"] {
        assert!(!seen.head.has(name), "{name} reached the backend: {:?}", seen.head);
    }
    assert!(seen.head.has("x-stays"));
    for element in ["close", "x-hop", "x-hop-two", "upgrade"] {
        assert!(!seen.head.lists("connection", element), "{:?}", seen.head);
    }
}

#[test]
fn a_clients_close_does_not_close_the_upstream() {
    let seen = forwarded("GET / HTTP/1.1\r\nHost: h\r\nConnection: close, x-hop\r\nX-Hop: 1\r\n\r\n");
    assert!(!seen.head.lists("connection", "close"), "{:?}", seen.head);
    assert!(!seen.head.has("x-hop"), "{:?}", seen.head);
}

#[test]
fn hop_by_hop_fields_of_a_response_stop_here() {
    let backend = Backend::start(|_, reply| {
        reply.send(
            "HTTP/1.1 200 Fine\r\nConnection: x-secret\r\nX-Secret: 1\r\nKeep-Alive: timeout=5\r\n\
             Proxy-Connection: keep-alive\r\nConnection: keep-alive\r\nContent-Length: 2\r\nX-Stays: 1\r\n\
             Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nServer: own\r\n\r\nok",
        )
    });
    let balancer = Evenkeel::start(&["--backends", &backend.url()]);
    let response = Client::connect(balancer.address).get("/").expect("a response");
    for name in ["x-secret", "keep-alive", "proxy-connection"] {
        assert!(!response.head.has(name), "{name} reached the client: {:?}", response.head);
    }
    assert!(!response.head.lists("connection", "x-secret"));
    assert!(response.head.start.ends_with(" 200 Fine"), "the reason is kept: {}", response.head.start);
    assert_eq!(response.head.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(response.head.all("x-stays"), ["1"]);
    assert_eq!(response.head.all("server"), ["own"]);
}

#[test]
fn a_backends_close_does_not_close_the_client() {
    let backend = Backend::start(|_, reply| {
        reply.close();
        reply.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
    });
    let balancer = Evenkeel::start(&["--backends", &backend.url()]);
    let mut client = Client::connect(balancer.address);
    for _ in 0..5 {
        let response = client.get("/").expect("a response");
        assert!(!response.closes(), "{:?}", response.head);
    }
}

#[test]
fn x_forwarded_says_who_asked_for_what_and_how() {
    let seen = forwarded("GET / HTTP/1.1\r\nHost: shop.example:81\r\n\r\n");
    assert_eq!(seen.head.joined("x-forwarded-for"), "127.0.0.1");
    assert_eq!(seen.head.joined("x-forwarded-host"), "shop.example:81");
    assert_eq!(seen.head.joined("x-forwarded-proto"), "http");
}

#[test]
fn x_forwarded_for_of_anyone_is_replaced() {
    let seen = forwarded("GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n");
    assert_eq!(seen.head.joined("x-forwarded-for"), "127.0.0.1");
}

#[test]
fn connection_cannot_strip_what_we_add() {
    let seen = forwarded(
        "GET / HTTP/1.1\r\nHost: h\r\nConnection: X-Forwarded-For, X-Forwarded-Host, X-Forwarded-Proto, Via\r\n\
         Via: 1.1 before\r\n\r\n",
    );
    assert!(seen.head.joined("x-forwarded-for").ends_with("127.0.0.1"), "{:?}", seen.head);
    assert_eq!(seen.head.joined("x-forwarded-host"), "h");
    assert_eq!(seen.head.joined("x-forwarded-proto"), "http");
    assert!(seen.head.has("via"));
}

#[test]
fn via_names_us_after_those_before() {
    let seen = forwarded("GET / HTTP/1.1\r\nHost: h\r\nVia: 1.0 before\r\n\r\n");
    let via = seen.head.joined("via");
    let steps: Vec<&str> = via.split(',').map(str::trim).collect();
    assert_eq!(steps.len(), 2, "{via}");
    assert_eq!(steps[0], "1.0 before");
    assert!(steps[1].starts_with("1.1 "), "{via}");

    let via = forwarded("GET / HTTP/1.0\r\n\r\n").head.joined("via");
    assert!(via.starts_with("1.0 "), "the version is the one received: {via}");
}

#[test]
fn framing_fields_that_leave_are_ours() {
    let seen = forwarded("POST / HTTP/1.1\r\nHost: h\r\nCONTENT-LENGTH: 0005\r\n\r\nhello");
    assert_eq!(seen.head.all("content-length"), ["5"]);
    assert_eq!(seen.text(), "hello");

    let seen = forwarded(
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: ChunKed\r\n\r\n005;a=b\r\nhello\r\n0\r\n\r\n",
    );
    assert_eq!(seen.text(), "hello");
}

#[test]
fn connection_cannot_strip_framing_or_host() {
    let backend = Backend::named("ok");
    let balancer = Evenkeel::start(&["--backends", &backend.url()]);
    for (named, framed) in [
        ("Content-Length", "Content-Length: 5\r\n\r\nhello"),
        ("Transfer-Encoding", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        ("Host", "Content-Length: 5\r\n\r\nhello"),
    ] {
        let before = backend.requests();
        let request = format!("POST / HTTP/1.1\r\nHost: h\r\nConnection: {named}\r\n{framed}");
        let response = Client::connect(balancer.address).exchange("POST", request).expect("a response");
        // RFC 9110 section 7.6.1 forbids the sender this: refusing it is right, ignoring the option is safe.
        if response.status == 400 {
            assert_eq!(backend.requests(), before, "refused and yet passed on: {named}");
            continue;
        }
        assert_eq!((response.status, backend.last().text().as_str()), (200, "hello"), "{named}");
        assert_eq!(backend.last().head.all("host"), ["h"], "{named}");
    }
}

#[test]
fn an_absolute_target_is_understood() {
    let backend = Backend::named("ok");
    let balancer = Evenkeel::start(&["--backends", &backend.url()]);
    let host = host_of(&balancer);
    let request = format!("GET http://{host}/p?q=1 HTTP/1.1\r\nHost: {host}\r\n\r\n");
    assert_eq!(Client::connect(balancer.address).exchange("GET", request).expect("a response").status, 200);
    assert!(backend.last().target.ends_with("/p?q=1"), "{}", backend.last().target);
    assert_eq!(backend.last().head.all("host"), [host.as_str()]);
}
