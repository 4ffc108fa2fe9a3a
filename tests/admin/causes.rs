//! A cause is the same word in the header, the access log, the metrics and the status.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use super::Admin;
use super::metrics::scrape;
use crate::support::raw::{read_head, serve_raw};
use crate::support::{Client, SOON, eventually};

const NAME: &str = "X-Why";

/// A backend that answers every request with these bytes and closes.
fn saying(answer: &'static [u8]) -> SocketAddr {
    serve_raw(move |mut stream: TcpStream| {
        if read_head(&stream).is_some() {
            let _ = stream.write_all(answer);
        }
    })
}

/// Routes by the name of the cause that each of them brings.
fn routes() -> String {
    let interim = [&b"HTTP/1.1 103 Early Hints\r\n\r\n"[..]; 200].concat().leak();
    let backends = [
        ("bad-response", saying(b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\na"), ""),
        (
            "switched",
            saying(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
            "",
        ),
        ("interim", saying(interim), ""),
        ("response-cut", saying(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab"), ""),
        (
            "bad-status",
            saying(b"HTTP/1.1 500 Sorry\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
            "retry = { retries = 3, statuses = [500] }\nejection = { max_fails = 1, most = 100, statuses = [500], time = \"1h\" }\n",
        ),
    ];
    let mut text =
        String::from("[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\npool = \"interim\"\n");
    for (name, ..) in &backends {
        text += &format!("[[listener.route]]\nname = \"{name}\"\npath = \"/{name}\"\npool = \"{name}\"\n");
    }
    for (name, address, more) in &backends {
        let mild = if more.is_empty() { "ejection = { max_fails = 0, fail_rate = 0 }\n" } else { more };
        text += &format!(
            "[[pool]]\nname = \"{name}\"\nhealth = {{ kind = \"none\" }}\n{mild}[[pool.backend]]\nurl = \"{address}\"\n"
        );
    }
    text
}

#[test]
fn header_log_metrics_and_status_agree() {
    let log = std::env::temp_dir().join(format!("evenkeel-causes-{}", std::process::id()));
    let flags =
        ["--workers", "1", "--cause-header", NAME, "--access-log-format", "json", "--log-level", "debug"];
    let path = log.display().to_string();
    let admin = Admin::run(&[&flags[..], &["--access-log", &path]].concat(), None, &routes());
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
    let coded = "POST /coded HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n";
    let method = format!("{} / HTTP/1.1\r\nHost: h\r\n\r\n", "M".repeat(100));
    let cases = [
        (get("/bad-response"), 502, "bad-response"),
        (get("/switched"), 502, "unexpected-response"),
        (get("/"), 502, "unexpected-response"),
        (get("/response-cut"), 200, "response-cut"),
        (get("/bad-status"), 502, "bad-status"),
        (coded.to_owned(), 501, "bad-request"),
        (method, 501, "bad-request"),
    ];
    let mut counts = BTreeMap::<&str, f64>::new();
    for (request, status, cause) in &cases {
        let mut client = Client::connect(admin.balancer.address);
        client.send(request).expect("send");
        if *status == 200 {
            let (_, head, framing) = client.head().expect("a head");
            assert!(head.all(NAME).is_empty() && client.body(framing, &mut Default::default()).is_err());
        } else {
            // Interim answers pass.
            let mut response = client.response("GET").expect("an answer");
            while response.status < 200 {
                response = client.response("GET").expect("an answer");
            }
            assert_eq!((response.status, response.head.all(NAME)), (*status, vec![*cause]), "{request}");
        }
        *counts.entry(cause).or_default() += 1.0;
    }
    let lines =
        || std::fs::read_to_string(&log).expect("the log").lines().map(str::to_owned).collect::<Vec<_>>();
    eventually(SOON, "a line each", || lines().len() == cases.len());
    for (line, (request, status, cause)) in lines().iter().zip(&cases) {
        let line: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!((&line["status"], &line["cause"]), (&(*status).into(), &(*cause).into()), "{request}");
    }
    let _ = std::fs::remove_file(&log);
    let (found, told) = (scrape(&admin), admin.json("/api/status"));
    let short = admin.balancer.status();
    for (cause, count) in counts {
        for of in ["failures_total{", "listener_failures_total{listener=\"web\","] {
            assert_eq!(found[&format!("evenkeel_{of}cause=\"{cause}\"}}")], count, "{of} {cause}");
        }
        for errors in [&told["errors"], &told["listeners"][0]["errors"], &short["failures"]] {
            assert_eq!(errors[cause].as_f64(), Some(count), "{cause}: {errors}");
        }
        eventually(SOON, "lines of the log", || admin.balancer.lines_with(cause, "DEBUG") as f64 >= count);
    }
}
