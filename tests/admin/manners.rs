//! How the admin listener takes whatever is sent to it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use evenkeel::limits;

use super::Admin;
use crate::support::{Backend, Client, SOON, Split, eventually};

#[test]
fn methods_and_paths_that_are_not_there_are_refused() {
    let backend = Backend::named("a");
    let admin = Admin::start(&["--backends", &backend.url()]);
    for (method, target, status, allow) in [
        ("GET", "/nothing", 404, ""),
        ("POST", "/api/backends/default/0", 404, ""),
        ("POST", "/api/status", 405, "GET, HEAD"),
        ("DELETE", "/", 405, "GET, HEAD"),
        ("OPTIONS", "/api/drain", 405, "POST"),
        ("GET", "/api/reload", 405, "POST"),
        ("GET", "/api/backends/default/0/drain", 405, "POST"),
        ("HEAD", "/api/status", 200, ""),
        ("HEAD", "/metrics", 200, ""),
        ("GET", "/?query", 200, ""),
        ("GET", "/livez?verbose", 200, ""),
    ] {
        let response = admin.ask(method, target, "", "");
        assert_eq!(response.status, status, "{method} {target}: {}", response.text());
        assert_eq!(response.head.joined("allow"), allow, "{method} {target}");
        assert!(method != "HEAD" || response.body.bytes.is_empty());
    }
}

#[test]
fn one_connection_serves_many_requests_in_any_pieces() {
    let backend = Backend::named("a");
    let admin = Admin::start(&["--backends", &backend.url()]);
    let mut client = Client::connect(admin.address);
    let weight = "POST /api/backends/default/0/weight HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let chunked =
        format!("{weight}Transfer-Encoding: chunked\r\n\r\n5\r\n{{\"wei\r\n8\r\nght\": 5}}\r\n0\r\n\r\n");
    client.send_pieces(chunked.as_bytes(), &Split::Every(1)).expect("send");
    assert_eq!(client.response("POST").expect("an answer").status, 200);
    let expecting = format!("{weight}Content-Length: 13\r\nExpect: 100-continue\r\n\r\n");
    client.send(expecting).expect("send");
    client.expect_bytes(b"HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(client.exchange("POST", "{\"weight\": 7}").expect("an answer").status, 200);
    let get = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
    client.send(get.repeat(20)).expect("send");
    for _ in 0..20 {
        assert_eq!(client.response("GET").expect("an answer").text(), "alive\n");
    }
    assert_eq!(admin.backends()[0]["weight"], 7);
}

#[test]
fn what_breaks_the_rules_is_refused_and_the_connection_closed() {
    let backend = Backend::named("a");
    let admin = Admin::start(&["--backends", &backend.url()]);
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nA: {}\r\n\r\n", "a".repeat(20_000));
    let large =
        format!("POST /api/drain HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n{}", "a".repeat(5_000));
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\nHost: a\n\n", 400),
        ("nonsense\r\n\r\n", 400),
        (
            "POST /api/drain HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        ("GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505),
        (&long, 431),
        (&large, 413),
    ] {
        let mut client = Client::connect(admin.address);
        let response = client.exchange("GET", request).expect("an answer");
        assert_eq!(response.status, status, "{}", &request[..request.len().min(60)]);
        assert!(response.text().starts_with("{\"error\":"), "{}", response.text());
        client.assert_ended();
    }
    assert_eq!(admin.get("/readyz").status, 200);
}

#[test]
fn slow_clients_hold_up_nobody() {
    let backend = Backend::named("a");
    let admin = Admin::start(&["--backends", &backend.url()]);
    let mut slow: Vec<TcpStream> = Vec::new();
    for i in 0..200 {
        let mut stream = TcpStream::connect(admin.address).expect("connect");
        // Silent ones, ones in the middle of a head, and ones in the middle of a body.
        let piece =
            ["", "GET /api/st", "POST /api/drain HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{"][i % 3];
        stream.write_all(piece.as_bytes()).expect("write");
        slow.push(stream);
        if i % 20 == 0 {
            let begun = Instant::now();
            assert_eq!(admin.get("/api/status").status, 200, "beside {i} slow ones");
            assert!(begun.elapsed() < Duration::from_secs(5), "{:?} beside {i} slow ones", begun.elapsed());
        }
    }
    slow[0].set_read_timeout(Some(SOON)).expect("a timeout");
    assert_eq!(slow[0].read(&mut [0; 16]).expect("the oldest is closed"), 0);
    let threads = || std::fs::read_dir(format!("/proc/{}/task", admin.balancer.id())).expect("tasks").count();
    eventually(SOON, "few threads", || threads() < 60);
}

#[test]
fn clients_that_do_not_read_hold_up_nobody() {
    let urls: Vec<String> = (0..300).map(|i| format!("127.1.{}.{}:9", i / 250, i % 250 + 1)).collect();
    let admin = Admin::start(&["--health-check", "none", "--backends", &urls.join(",")]);
    // More than fits into the buffers of a connection.
    let ask = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(12);
    let deaf: Vec<TcpStream> = (0..limits::ADMIN_CONNECTIONS + 8)
        .map(|_| {
            let mut stream = TcpStream::connect(admin.address).expect("connect");
            stream.write_all(ask.as_bytes()).expect("write");
            // It is being answered, and nobody who has yet to ask: that one would make room anyway.
            let _ = stream.read(&mut [0]);
            stream
        })
        .collect();
    // Less than the time after which an answer that is not read is given up.
    let patience = limits::ADMIN_TIMEOUT / 2;
    eventually(patience, "somebody else is answered", || admin.get("/livez").status == 200);
    drop(deaf);
}

#[test]
fn a_token_is_asked_for_and_only_probes_and_the_page_go_without() {
    let backend = Backend::named("a");
    let admin = Admin::start_with_token(&["--backends", &backend.url()], "sesame");
    for path in ["/", "/livez", "/readyz"] {
        assert_eq!(admin.get(path).status, 200, "{path}");
    }
    let right = "Authorization: Bearer sesame\r\n";
    for path in ["/metrics", "/api/status", "/api/history"] {
        let refused = admin.get(path);
        assert_eq!(refused.status, 401, "{path}");
        assert!(refused.head.joined("www-authenticate").starts_with("Bearer"));
        assert_eq!(admin.ask("GET", path, "Authorization: Bearer sesam\r\n", "").status, 401);
        assert_eq!(admin.ask("GET", path, right, "").status, 200);
    }
    let json = "Content-Type: application/json\r\n";
    assert_eq!(admin.ask("POST", "/api/backends/default/0/drain", json, "").status, 401);
    assert_eq!(admin.ask("POST", "/api/backends/default/0/drain", right, "").status, 200);
    assert!(
        !admin.balancer.lines().iter().any(|line| line.contains("sesame")),
        "the token stands in the log"
    );
}

#[test]
fn other_sites_cannot_use_a_browser_to_command() {
    let backend = Backend::named("a");
    let admin = Admin::start(&["--backends", &backend.url()]);
    let (address, drain) = (admin.address, "/api/backends/default/0/drain");
    let json = "Content-Type: application/json\r\n";
    for (fields, status) in [
        (String::new(), 415),
        ("Content-Type: text/plain\r\n".to_owned(), 415),
        (format!("{json}Origin: http://evil.example\r\n"), 403),
        (format!("{json}Origin: null\r\n"), 403),
        (format!("{json}Sec-Fetch-Site: cross-site\r\n"), 403),
        (format!("{json}Sec-Fetch-Site: same-origin\r\nOrigin: http://{address}\r\n"), 200),
        ("X-Evenkeel: 1\r\n".to_owned(), 200),
    ] {
        assert_eq!(admin.ask("POST", drain, &fields, "").status, status, "{fields}");
    }
    let rebound = |method: &str, path: &str| {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: evil.example\r\n{json}\r\n");
        Client::connect(address).exchange(method, request).expect("an answer").status
    };
    assert_eq!(
        (rebound("POST", drain), rebound("GET", "/api/status"), rebound("GET", "/metrics")),
        (403, 403, 403)
    );
    assert_eq!(rebound("GET", "/livez"), 200);
    let preflight = admin.ask(
        "OPTIONS",
        drain,
        "Origin: http://evil.example\r\nAccess-Control-Request-Method: POST\r\n",
        "",
    );
    assert_eq!(preflight.status, 405);
    assert!(!preflight.head.has("access-control-allow-origin"));
}
