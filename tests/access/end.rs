//! What the end of the process cuts has its line, whatever ends it.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::Place;
use crate::reload::Live;
use crate::support::raw::{read_head, serve_raw};
use crate::support::{Backend, Client, Evenkeel, SOON, eventually, get};

/// A balancer with an HTTP and a TCP listener before one backend, which never ends what it begins.
fn cut_off(place: &Place, flags: &[&str]) -> Live {
    let http = serve_raw(|mut stream| {
        let Some(head) = read_head(&stream) else { return };
        let answer: &[u8] = match head.split(|byte| *byte == b' ').nth(1) {
            Some(b"/begun") => b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf",
            Some(b"/ws") => {
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhalf"
            }
            _ => b"",
        };
        let _ = stream.write_all(answer);
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let echo =
        serve_raw(|mut stream| drop(std::io::copy(&mut stream.try_clone().expect("a handle"), &mut stream)));
    let pool = |name: &str, url: std::net::SocketAddr| {
        format!(
            "[[pool]]\nname = \"{name}\"\nhealth = {{ kind = \"none\" }}\n[[pool.backend]]\nurl = \"{url}\"\n"
        )
    };
    let text = format!(
        "workers = 2\n[access_log]\npath = \"{}\"\nformat = \"json\"\n\
         [[listener]]\nname = \"http\"\naddress = \"127.0.0.1:0\"\npool = \"http\"\n\
         [[listener]]\nname = \"tcp\"\naddress = \"127.0.0.2:0\"\nmode = \"tcp\"\npool = \"echo\"\n{}{}",
        place.path("a.log"),
        pool("http", http),
        pool("echo", echo)
    );
    Live::start_with(&text, &[], flags)
}

/// Has one of each kind in flight; the clients.
fn in_flight(live: &Live) -> Vec<Client> {
    eventually(SOON, "both listeners", || live.balancer.addresses().len() == 2);
    let [http, tcp] = live.balancer.addresses()[..] else { panic!("two listeners") };
    let connect = |head: &str| {
        let client = Client::connect(http);
        client.send(head).expect("send");
        client
    };
    let waiting = connect("GET /waiting HTTP/1.1\r\nHost: h\r\n\r\n");
    let part = connect("GET /part HTTP/1.1\r\nHost:");
    let mut begun = connect("GET /begun HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(begun.head().expect("a head").0, 200);
    let mut ws = connect("GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(ws.head().expect("a head").0, 101);
    ws.expect_bytes(b"half");
    let mut tunnel = Client::connect(tcp);
    tunnel.send("through").expect("send");
    tunnel.expect_bytes(b"through");
    let idle = Client::connect(http);
    // The one that asks is open too.
    eventually(SOON, "all are there", || live.balancer.open().iter().sum::<u64>() == 7);
    vec![waiting, part, begun, ws, tunnel, idle]
}

/// The lines of what was cut, but for the status that the test asked for.
#[track_caller]
fn assert_told(place: &Place, live: &Live) {
    let lines: Vec<Value> =
        place.lines("a.log").iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let mut told: Vec<String> = lines
        .iter()
        .filter(|line| line["target"] != "/lb-status")
        .map(|line| format!("{} {} {}", line["target"], line["status"], line["cause"]))
        .collect();
    told.sort();
    let right = [
        "\"/begun\" 200 \"drain-cut\"",
        "\"/part\" null \"drain-cut\"",
        "\"/waiting\" null \"drain-cut\"",
        "\"/ws\" 101 \"drain-cut\"",
        "null null \"drain-cut\"",
    ];
    assert_eq!(told, right, "{:?}", live.balancer.lines());
    let tunnel = lines.iter().find(|line| line["target"].is_null()).expect("the tunnel");
    assert_eq!((&tunnel["pool"], &tunnel["bytes"]), (&"echo".into(), &7.into()), "{tunnel}");
}

#[test]
fn the_drain_timeout_leaves_a_line_of_each_exchange_that_it_cuts() {
    let place = Place::new();
    let mut live = cut_off(&place, &["--drain-timeout", "200ms"]);
    let clients = in_flight(&live);
    let began = Instant::now();
    live.balancer.terminate();
    assert_eq!(live.balancer.exit_within(SOON).code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(5), "took {:?}", began.elapsed());
    assert_told(&place, &live);
    drop(clients);
}

#[test]
fn a_second_signal_leaves_them_too() {
    let place = Place::new();
    let mut live = cut_off(&place, &[]);
    let clients = in_flight(&live);
    live.balancer.terminate();
    eventually(SOON, "the drain", || live.balancer.lines().iter().any(|line| line.contains("draining:")));
    live.balancer.signal(Signal::INT);
    assert_eq!(live.balancer.exit_within(Duration::from_secs(5)).code(), Some(0));
    assert_told(&place, &live);
    drop(clients);
}

#[test]
fn a_client_that_is_gone_within_its_head_has_a_line_and_one_that_said_nothing_has_none() {
    let (place, backend) = (Place::new(), Backend::named("a"));
    let flags = ["--access-log", &place.path("a.log"), "--access-log-format", "json"];
    let balancer = Evenkeel::start(&[&flags[..], &["--backends", &backend.url()]].concat());
    for said in ["", "\r\n", "GET /half HTTP/1.1\r\nHos", "\x16\x03\x01"] {
        let client = Client::connect(balancer.address);
        client.send(said).expect("send");
        client.stream().shutdown(Shutdown::Write).expect("shut down");
        assert_eq!(client.stream().read(&mut [0]).expect("its end"), 0, "{said:?}");
    }
    assert_eq!(get(balancer.address, "/last").expect("a response").status, 200);
    let lines = place.await_json("a.log", 3);
    let told = |line: &Value| (line["target"].clone(), line["status"].clone(), line["cause"].clone());
    assert!(lines.iter().any(|line| told(line) == ("/half".into(), Value::Null, "client-closed".into())));
    assert_eq!(balancer.status()["failures"]["client-closed"], 2);
}
