//! What the line of each kind of exchange says.

use std::io::Write;
use std::net::Shutdown;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use serde_json::Value;

use super::Place;
use crate::support::raw::{read_head, serve_raw};
use crate::support::{Backend, Client, Evenkeel, Port, SOON, eventually};

/// A balancer that logs in JSON, with further flags.
fn logged(place: &Place, flags: &[&str]) -> Evenkeel {
    let log = place.path("a.log");
    let mut all = vec!["--access-log", &log, "--access-log-format", "json", "--workers", "1"];
    all.extend_from_slice(flags);
    Evenkeel::start(&all)
}

/// What a line says in these members, as one text.
fn says(line: &Value, names: &[&str]) -> String {
    let word = |name: &&str| match &line[*name] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    names.iter().map(word).collect::<Vec<_>>().join(" ")
}

const MAIN: [&str; 5] = ["method", "target", "version", "status", "cause"];

#[test]
fn requests_of_one_connection_have_a_line_each_in_their_order() {
    let place = Place::new();
    let backend = Backend::start(|request, reply| match request.method.as_str() {
        "HEAD" => reply.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        _ => reply.ok("hello"),
    });
    let balancer = logged(&place, &["--backends", &backend.url()]);
    let mut client = Client::connect(balancer.address);
    let first = client.get("/get").expect("a response");
    client.post("/post", &"x".repeat(100_000)).expect("a response");
    client.exchange("HEAD", "HEAD /head HTTP/1.1\r\nHost: h.example\r\n\r\n").expect("a response");
    let piped = "GET /p1 HTTP/1.1\r\nHost: h\r\n\r\nGET /p2 HTTP/1.1\r\nHost: h\r\n\r\n";
    client.send(piped).expect("send");
    for _ in 0..2 {
        client.response("GET").expect("a response");
    }
    let lines = place.await_json("a.log", 5);
    let seen: Vec<String> = lines.iter().map(|line| says(line, &MAIN)).collect();
    assert_eq!(
        seen,
        [
            "GET /get HTTP/1.1 200 null",
            "POST /post HTTP/1.1 200 null",
            "HEAD /head HTTP/1.1 200 null",
            "GET /p1 HTTP/1.1 200 null",
            "GET /p2 HTTP/1.1 200 null",
        ]
    );
    let bytes = |at: usize| lines[at]["bytes"].as_u64().expect("a number");
    assert_eq!(bytes(0), bytes(2) + first.body.bytes.len() as u64, "a HEAD has the same head and no body");
    assert_eq!(lines[2]["host"], "h.example");
    let port = client.stream().local_addr().expect("an address").port();
    assert!(
        lines.iter().all(|line| line["client_port"] == port && line["listener"].is_string()),
        "{lines:#?}"
    );
    assert!(lines[1]["received_bytes"].as_u64() > Some(100_000), "{}", lines[1]);
    assert_eq!(lines[3]["received_bytes"], "GET /p1 HTTP/1.1\r\nHost: h\r\n\r\n".len() as u64);
    assert!(lines[0]["connect_ms"].is_number() && lines[3]["connect_ms"].is_null(), "{lines:#?}");
    let ids: std::collections::BTreeSet<&str> =
        lines.iter().map(|line| line["request_id"].as_str().expect("an id")).collect();
    assert_eq!(ids.len(), 5);
    for line in &lines {
        assert_eq!(line["backend"], backend.url());
        assert!(
            line["first_byte_ms"].is_number() && line["queue_ms"] == 0.0 && line["retries"] == 0,
            "{line}"
        );
    }
}

#[test]
fn what_no_backend_answered_has_a_line_too() {
    let (place, backend) = (Place::new(), Backend::named("a"));
    let file = place.write(
        "lb.toml",
        &format!(
            "[[listener]]\naddress = \"127.0.0.1:0\"\n\
             [[listener.route]]\nname = \"old\"\npath_prefix = \"/old\"\nredirect = {{ location = \"https://new/\" }}\n\
             [[listener.route]]\nname = \"few\"\npath_prefix = \"/few\"\npool = \"app\"\n\
             rate_limit = {{ requests = 1, per = \"1h\", burst = 1 }}\n\
             [[listener.route]]\nname = \"gone\"\npath_prefix = \"/none\"\nrespond = {{ status = 404 }}\n\
             [[pool]]\nname = \"app\"\n[[pool.backend]]\nurl = \"{}\"\n\
             [access_log]\npath = \"a.log\"\nformat = \"json\"\n",
            backend.url()
        ),
    );
    let balancer = Evenkeel::start(&["--config", &file, "--workers", "1", "--listen", "127.0.0.1:0"]);
    let mut client = Client::connect(balancer.address);
    for (target, status) in [("/old/x", 308), ("/few", 200), ("/few", 429), ("/none", 404)] {
        assert_eq!(client.get(target).expect("a response").status, status, "{target}");
    }
    client.send("GET /bad HTTP/1.1\r\nHost: a\r\nHost: b\r\nUser-Agent: u\r\n\r\n").expect("send");
    assert_eq!(client.response("GET").expect("a response").status, 400);
    let mut client = Client::connect(balancer.address);
    client.send("nonsense \"\x01\r\n\r\n").expect("send");
    assert_eq!(client.response("GET").expect("a response").status, 400);
    let lines = place.await_json("a.log", 6);
    let seen: Vec<String> = lines.iter().map(|line| says(line, &MAIN)).collect();
    assert_eq!(
        seen,
        [
            "GET /old/x HTTP/1.1 308 null",
            "GET /few HTTP/1.1 200 null",
            "GET /few HTTP/1.1 429 rate-limited",
            "GET /none HTTP/1.1 404 null",
            "GET /bad HTTP/1.1 400 bad-request",
            "null nonsense \"\u{1} null 400 bad-request",
        ]
    );
    assert_eq!(says(&lines[1], &["route", "pool", "backend"]), format!("few app {}", backend.url()));
    let routes: Vec<String> = lines.iter().map(|line| says(line, &["route"])).collect();
    assert_eq!(routes, ["old", "few", "few", "gone", "null", "null"]);
    assert_eq!(says(&lines[2], &["backend", "first_byte_ms"]), "null null");
    assert_eq!(lines[4]["user_agent"], "u");
    assert!(lines.iter().all(|line| line["bytes"].as_u64() > Some(20)), "{lines:#?}");
}

#[test]
fn failures_are_told_by_their_cause() {
    let place = Place::new();
    let (silent, refusing) = (
        Backend::start(|_, _| {
            std::thread::park_timeout(SOON);
            Ok(())
        }),
        Port::reserve(),
    );
    let url = refusing.url();
    let balancer =
        logged(&place, &["--retries", "0", "--health-check", "none", "--max-fails", "0", "--backends", &url]);
    assert_eq!(Client::connect(balancer.address).get("/x").expect("a response").status, 503);
    let line = place.await_json("a.log", 1).remove(0);
    assert_eq!(says(&line, &MAIN), "GET /x HTTP/1.1 503 connect-failed");
    assert_eq!(says(&line, &["backend", "connect_ms", "first_byte_ms"]), format!("{url} null null"));

    let place = Place::new();
    let flags = ["--response-timeout", "200ms", "--retries", "0", "--backends", &silent.url()];
    let balancer = logged(&place, &flags);
    assert_eq!(Client::connect(balancer.address).get("/y").expect("a response").status, 504);
    let line = place.await_json("a.log", 1).remove(0);
    assert_eq!(says(&line, &MAIN), "GET /y HTTP/1.1 504 response-timeout");
    assert!(line["total_ms"].as_f64() >= Some(190.0), "{line}");
}

#[test]
fn a_retry_is_counted_and_its_backend_told() {
    let place = Place::new();
    let (good, closing) = (
        Backend::named("good"),
        Backend::start(|_, reply| {
            reply.close();
            Ok(())
        }),
    );
    let both = format!("{},{}", closing.url(), good.url());
    let balancer = logged(&place, &["--retry-budget", "100", "--max-fails", "0", "--backends", &both]);
    let mut client = Client::connect(balancer.address);
    for _ in 0..2 {
        assert_eq!(client.get("/").expect("a response").status, 200);
    }
    let mut lines = place.await_json("a.log", 2);
    lines.sort_by_key(|line| line["retries"].as_u64());
    let seen: Vec<String> = lines.iter().map(|line| says(line, &["status", "retries", "backend"])).collect();
    assert_eq!(seen, [format!("200 0 {}", good.url()), format!("200 1 {}", good.url())]);
}

#[test]
fn a_tunnel_has_its_line_at_its_end() {
    let place = Place::new();
    let backend = serve_raw(|mut stream| {
        if read_head(&stream).is_none() {
            return;
        }
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        let _ = stream.write_all(answer);
        let _ = std::io::copy(&mut stream.try_clone().expect("a handle"), &mut stream);
    });
    let balancer = logged(&place, &["--health-check", "none", "--backends", &backend.to_string()]);
    let mut client = Client::connect(balancer.address);
    client
        .send("GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .expect("send");
    assert_eq!(client.head().expect("a response").0, 101);
    client.send("x".repeat(1_000)).expect("send");
    client.expect_bytes("x".repeat(1_000).as_bytes());
    assert_eq!(crate::support::get(balancer.address, "/lb-status").expect("a response").status, 200);
    assert_eq!(place.await_json("a.log", 1)[0]["target"], "/lb-status", "a tunnel that lasts has no line");
    client.stream().shutdown(Shutdown::Write).expect("shutdown");
    client.assert_ended();
    let line = place.await_json("a.log", 2).remove(1);
    assert_eq!(says(&line, &MAIN), "GET /ws HTTP/1.1 101 null");
    assert!(line["bytes"].as_u64() > Some(1_000), "{line}");
}

#[test]
fn a_client_that_goes_away_is_told_by_its_cause() {
    let place = Place::new();
    let backend = Backend::start(|_, reply| {
        reply.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")?;
        std::thread::park_timeout(SOON);
        Ok(())
    });
    let balancer = logged(&place, &["--backends", &backend.url()]);
    let mut client = Client::connect(balancer.address);
    client.send("GET /cut HTTP/1.1\r\nHost: h\r\n\r\n").expect("send");
    client.head().expect("a head");
    client.reset_on_close();
    drop(client);
    let line = place.await_json("a.log", 1).remove(0);
    assert_eq!(says(&line, &MAIN), "GET /cut HTTP/1.1 200 client-closed");
    let bytes = line["bytes"].as_u64().expect("a number");
    assert!((20..1_000).contains(&bytes), "{line}");
}

#[test]
fn a_request_that_waits_in_line_says_how_long() {
    let place = Place::new();
    let (release, held) = channel();
    let held = Mutex::new(held);
    let backend = Backend::start(move |request, reply| {
        if request.target == "/slow" {
            let _ = held.lock().expect("one at a time").recv_timeout(SOON);
        }
        reply.ok("a")
    });
    let balancer = logged(&place, &["--backend-max-requests", "1", "--backends", &backend.url()]);
    let slow = Client::connect(balancer.address);
    slow.send("GET /slow HTTP/1.1\r\nHost: h\r\n\r\n").expect("send");
    eventually(SOON, "the first is with the backend", || backend.requests() == 1);
    let mut next = Client::connect(balancer.address);
    next.send("GET /next HTTP/1.1\r\nHost: h\r\n\r\n").expect("send");
    eventually(SOON, "the second waits", || balancer.status()["counts"]["queued"] == 1);
    // What is told is at least the time for which it was held here.
    std::thread::sleep(Duration::from_millis(20));
    release.send(()).expect("the backend waits");
    assert_eq!(next.response("GET").expect("a response").status, 200);
    eventually(SOON, "both lines", || {
        place.lines("a.log").iter().filter(|l| !l.contains("lb-status")).count() == 2
    });
    let lines: Vec<Value> =
        place.lines("a.log").iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let next = lines.iter().find(|line| line["target"] == "/next").expect("the second");
    let time = |name: &str| next[name].as_f64().expect("a number");
    assert!(time("queue_ms") > 15.0, "{next}");
    assert!(time("queue_ms") + time("first_byte_ms") <= time("total_ms") + 1e-9, "{next}");
}

/// Values that try to end the line, the quotes or the object they stand in.
#[test]
fn no_header_forges_a_line() {
    let (place, backend) = (Place::new(), Backend::named("a"));
    let balancer = logged(&place, &["--backends", &backend.url()]);
    let mut client = Client::connect(balancer.address);
    let mut sent: Vec<Vec<u8>> = Vec::new();
    for byte in (0x20..=0xff_u8).filter(|byte| *byte != 0x7f).chain([b'\t']) {
        let value = [b"x".as_slice(), &[byte], b"\",\"status\":1}\\u000a{\"forged\":\"y"].concat();
        let head = [b"GET / HTTP/1.1\r\nHost: h\r\nUser-Agent: ", value.as_slice(), b"\r\n\r\n"].concat();
        assert_eq!(client.exchange("GET", head).expect("a response").status, 200, "{byte}");
        sent.push(value);
    }
    let lines = place.await_json("a.log", sent.len());
    for (line, value) in lines.iter().zip(&sent) {
        assert_eq!(line["user_agent"], *String::from_utf8_lossy(value));
        assert!(line["status"] == 200 && line["forged"].is_null(), "{line}");
    }
}
