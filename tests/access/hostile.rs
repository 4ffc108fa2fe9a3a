//! Whatever clients send, a line is one line, and says of each of its members only that.

use std::io::Write;
use std::net::{Shutdown, TcpStream};

use serde_json::Value;

use super::Place;
use crate::support::raw::read_to_end;
use crate::support::{Backend, Evenkeel, SOON, eventually};

/// What a client sends, the lines that there are of it, and how each of them reads: method, target, status, cause.
const CASES: [(&[u8], &[&str]); 17] = [
    (b"GET / HTTP/1.1\r\nHost: h\r\nUser-Agent: a\n127.0.0.1 - - forged\n\r\n\r\n", &["GET / 400 bad-request"]),
    (b"GET / HTTP/1.1\r\nHost: h\r\nUser-Agent: a\r\n folded\r\n\r\n", &["GET / 400 bad-request"]),
    (b"GET /\" HTTP/1.1\r\nHost: h\r\n\r\n", &["GET /\" 400 bad-request"]),
    (b"GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", &["GET /a b 400 bad-request"]),
    (b"GET http://evil.example/x HTTP/1.1\r\nHost: other\r\n\r\n", &["GET http://evil.example/x 200 null"]),
    (b"GET /09\r\n\r\n", &["null GET /09 400 bad-request"]),
    (b"\0\x01\xff\r\n\r\n", &["null \0\x01\u{fffd} 400 bad-request"]),
    (b"\x16\x03\x01\x02\0\x01\0\r\n\r\n", &["null \x16\x03\x01\x02\0\x01\0 400 bad-request"]),
    (b"\r\n\r\n\r\n\r\n", &["null null 400 bad-request"]),
    (b"CONNECT evil:443 HTTP/1.1\r\nHost: evil:443\r\n\r\n", &["CONNECT evil:443 405 bad-request"]),
    (b"HEAD /h HTTP/1.1\r\nHost: h\r\n\r\n", &["HEAD /h 200 null"]),
    (b"HEAD / HTTP/1.1\r\n\r\n", &["HEAD / 400 bad-request"]),
    (b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", &["OPTIONS * 200 null"]),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &["PRI * 505 bad-request"]),
    (b"GET /1xx HTTP/1.1\r\nHost: h\r\n\r\n", &["GET /1xx 200 null"]),
    (
        b"GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\nBAD\r\n\r\nGET /4 HTTP/1.1\r\nHost: h\r\n\r\n",
        &["GET /1 200 null", "GET /2 200 null", "null BAD 400 bad-request"],
    ),
    (
        b"POST /body HTTP/1.1\r\nHost: h\r\nContent-Length: 37\r\n\r\nGET /inside HTTP/1.1\r\nHost: h\r\n\r\n1234",
        &["POST /body 200 null"],
    ),
];

fn backend() -> Backend {
    Backend::start(|request, reply| {
        if request.target == "/1xx" {
            reply.send("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n")?;
        }
        if request.method == "HEAD" {
            reply.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        } else {
            reply.ok("hello")
        }
    })
}

/// Sends it, ends and waits for the end of all answers.
#[track_caller]
fn send(balancer: &Evenkeel, bytes: &[u8]) {
    let mut stream = TcpStream::connect(balancer.address).expect("connect");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    stream.write_all(bytes).expect("send");
    let _ = stream.shutdown(Shutdown::Write);
    // What is left unread of a refused request resets the connection.
    let _ = read_to_end(&stream);
}

fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[test]
fn each_request_has_its_own_line_and_no_other() {
    let (place, backend) = (Place::new(), backend());
    let log = place.path("a.log");
    let flags = ["--access-log", &log, "--access-log-format", "json", "--workers", "1"];
    let balancer = Evenkeel::start(&[&flags[..], &["--backends", &backend.url()]].concat());
    let mut right = Vec::new();
    for (bytes, lines) in CASES {
        send(&balancer, bytes);
        right.extend(lines.iter().map(|line| (*line).to_owned()));
        let lines = place.await_json("a.log", right.len());
        let said =
            |line: &Value| ["method", "target", "status", "cause"].map(|name| word(&line[name])).join(" ");
        assert_eq!(lines.iter().map(said).collect::<Vec<_>>(), right, "{}", bytes.escape_ascii());
    }
    let bytes = std::fs::read(&log).expect("the log");
    assert!(bytes.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\n')), "only ASCII");
}

/// As long as they may be, and of bytes that become longer; in text, where quotes and spaces are all that parts members.
#[test]
fn long_values_are_cut_and_leave_the_others_whole() {
    let (place, backend) = (Place::new(), backend());
    for format in ["text", "json"] {
        let log = place.path(format);
        let flags =
            ["--access-log", &log, "--access-log-format", format, "--max-target", "20k", "--max-head", "60k"];
        let balancer = Evenkeel::start(&[&flags[..], &["--backends", &backend.url()]].concat());
        let fields = [
            &b"Referer: "[..],
            &[b'"'; 9_000],
            b"\r\nUser-Agent: ",
            &[0xff; 9_000],
            b"\r\nHost: h\r\nConnection: close\r\n\r\n",
        ];
        for (at, (length, cut)) in [(8_190, 8_179), (19_000, 8_179), (100, 100)].into_iter().enumerate() {
            let target = format!("/{}", "x".repeat(length - 1));
            send(&balancer, &[format!("GET {target} HTTP/1.1\r\n").as_bytes(), &fields.concat()].concat());
            let seen = format!("/{}", "x".repeat(cut - 1));
            eventually(SOON, "its line", || place.lines(format).len() > at);
            let line = place.lines(format).pop().expect("a line");
            if format == "json" {
                let line: Value = serde_json::from_str(&line).expect("JSON");
                assert_eq!(
                    (word(&line["method"]), word(&line["target"]), word(&line["version"])),
                    ("GET".to_owned(), seen, "HTTP/1.1".to_owned())
                );
                assert_eq!(line["referer"], "\"".repeat(8 << 10));
                assert_eq!(line["user_agent"], "\u{fffd}".repeat(8 << 10));
                continue;
            }
            let quoted: Vec<&str> = line.split('"').collect();
            assert_eq!((quoted.len(), quoted[1]), (7, format!("GET {seen} HTTP/1.1").as_str()));
            assert_eq!(
                (quoted[3], quoted[5]),
                ("\\x22".repeat(8 << 10).as_str(), "\\xFF".repeat(8 << 10).as_str())
            );
        }
    }
}
