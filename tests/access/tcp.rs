//! What the line of a connection in TCP mode says.

use std::io::Write;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Place;
use crate::layer4::names::hello;
use crate::layer4::{Server, connect, logged, rest};
use crate::support::{Evenkeel, Port};

fn balancer(place: &Place, url: &str, listener: &str) -> Evenkeel {
    let file = place.write(
        "lb.toml",
        &format!(
            "log_level = \"debug\"\nworkers = 1\ntimeouts.head = \"300ms\"\n\
             access_log = {{ path = \"a.log\", format = \"json\" }}\n\
             [[listener]]\nname = \"tls\"\naddress = \"127.0.0.1:0\"\nmode = \"tcp\"\n{listener}\
             [[pool]]\nname = \"app\"\nhealth.kind = \"none\"\nbackend = [{{ url = \"{url}\" }}]\n"
        ),
    );
    Evenkeel::start(&["--config", &file])
}

const ROUTE: &str = "[[listener.route]]\nname = \"r\"\nsni = [\"example.com\"]\npool = \"app\"\n";

#[test]
fn a_connection_says_its_listener_its_port_its_name_and_its_route() {
    let (place, server) = (Place::new(), Server::echo());
    let balancer = balancer(&place, &server.url(), ROUTE);
    let sent = hello(b"Example.com");
    let mut client = connect(balancer.address);
    let port = client.local_addr().expect("an address").port();
    client.write_all(&sent).expect("written");
    client.write_all(b"and more").expect("written");
    client.shutdown(Shutdown::Write).expect("shutdown");
    assert_eq!(rest(&mut client).expect("all of it").len(), sent.len() + 8);
    let line = place.await_json("a.log", 1).remove(0);
    assert_eq!((&line["listener"], &line["route"]), (&Value::from("tls"), &Value::from("r")), "{line}");
    assert_eq!((&line["client_port"], &line["host"]), (&Value::from(port), &Value::from("example.com")));
    assert_eq!(line["received_bytes"], line["bytes"], "{line}");
    assert_eq!(line["received_bytes"], sent.len() as u64 + 8);
}

#[test]
fn one_that_is_refused_says_what_it_asked_for_and_how_long_it_was_held() {
    let (place, server) = (Place::new(), Server::echo());
    let balancer = balancer(&place, &server.url(), ROUTE);
    let mut held = Duration::ZERO;
    for (count, sent, cause) in [
        (1, hello(b"nobody.example"), "no-route"),
        (2, hello(b"x\"y\n"), "no-route"),
        (3, b"\x16\x03\x01\0\0".to_vec(), "bad-client-hello"),
        (4, b"\x16\x03\x01\x02\0\x01".to_vec(), "head-timeout"),
    ] {
        let (mut client, began) = (connect(balancer.address), Instant::now());
        client.write_all(&sent).expect("written");
        assert!(rest(&mut client).is_err(), "{cause}: a reset");
        held = began.elapsed();
        let line = place.await_json("a.log", count).remove(count - 1);
        assert_eq!((&line["cause"], &line["listener"]), (&Value::from(cause), &Value::from("tls")), "{line}");
        assert_eq!(line["received_bytes"], sent.len() as u64, "{line}");
    }
    let lines = place.await_json("a.log", 4);
    assert_eq!((&lines[0]["host"], &lines[1]["host"]), (&"nobody.example".into(), &"x\"y\n".into()));
    assert!(lines[2]["host"].is_null() && lines[3]["host"].is_null());
    let total = lines[3]["total_ms"].as_f64().expect("a number");
    assert!(total >= 290.0 && total <= held.as_secs_f64() * 1_000.0, "{total} of {held:?}");
    logged(&balancer, &["closed, it asks for \"nobody.example\": no-route"]);
    logged(&balancer, &["closed, it asks for \"x\\\"y\\n\": no-route"]);
    logged(&balancer, &["closed, it begins with \"\\x16\\x03\\x01\\x00\\x00\": bad-client-hello"]);
}

#[test]
fn one_whose_backend_cannot_be_reached_has_brought_what_it_sent() {
    let (place, port) = (Place::new(), Port::reserve());
    let balancer = balancer(&place, &port.url(), ROUTE);
    let sent = hello(b"example.com");
    let mut client = connect(balancer.address);
    client.write_all(&sent).expect("written");
    assert!(rest(&mut client).is_err(), "a reset");
    let line = place.await_json("a.log", 1).remove(0);
    assert_eq!(
        (&line["cause"], &line["route"]),
        (&Value::from("connect-failed"), &Value::from("r")),
        "{line}"
    );
    assert_eq!(line["received_bytes"], sent.len() as u64, "{line}");
}

#[test]
fn a_header_of_the_proxy_protocol_that_is_none_has_its_time_and_its_bytes() {
    let (place, server) = (Place::new(), Server::echo());
    let proxy = "pool = \"app\"\nproxy_protocol = \"require\"\nproxy_from = [\"127.0.0.1\"]\n";
    let balancer = balancer(&place, &server.url(), proxy);
    let mut client = connect(balancer.address);
    client.write_all(b"PROXY TCP4 1").expect("written");
    assert!(rest(&mut client).is_err(), "a reset");
    let mut client = connect(balancer.address);
    client.write_all(b"nonsense\r\n").expect("written");
    assert!(rest(&mut client).is_err(), "a reset");
    let lines = place.await_json("a.log", 2);
    assert!(lines.iter().all(|line| line["cause"] == "bad-proxy-header"), "{lines:#?}");
    assert_eq!((&lines[0]["received_bytes"], &lines[1]["received_bytes"]), (&12.into(), &10.into()));
    assert!(lines[0]["total_ms"].as_f64() >= Some(290.0), "{lines:#?}");
}
