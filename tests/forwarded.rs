//! What a backend is told of a request's way: ours, or the client's own where it is trusted.

use std::collections::HashSet;
use std::net::IpAddr;

use crate::support::wire::Head;
use crate::support::{Backend, Client, Evenkeel};

const TRUSTED: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2));
const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 3));

/// What the backend was told when a client there sent these fields.
fn told(from: IpAddr, fields: &str) -> Head {
    let backend = Backend::named("a");
    let flags = ["--trust-forwarded", "10.0.0.0/8,127.0.0.2/32", "--backends", &backend.url()];
    let balancer = Evenkeel::start(&flags);
    let mut client = Client::try_connect_from(from, balancer.address).expect("connect");
    let request = format!("GET / HTTP/1.1\r\nHost: here.example\r\n{fields}\r\n");
    assert_eq!(client.exchange("GET", request).expect("a response").status, 200);
    backend.last().head
}

const FIELDS: &str = "X-Forwarded-For: 203.0.113.9, 198.51.100.1\r\nX-Forwarded-For: 10.1.2.3\r\n\
                      X-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example\r\nX-Request-Id: abc-1\r\n";

#[test]
fn a_trusted_clients_fields_are_kept_and_its_address_appended() {
    let head = told(TRUSTED, FIELDS);
    assert_eq!(head.joined("x-forwarded-for"), "203.0.113.9, 198.51.100.1, 10.1.2.3, 127.0.0.2");
    assert_eq!(head.all("x-forwarded-proto"), ["https"]);
    assert_eq!(head.all("x-forwarded-host"), ["shop.example"]);
    assert_eq!(head.all("x-request-id"), ["abc-1"]);
}

#[test]
fn anybody_elses_fields_are_replaced() {
    let head = told(OTHER, FIELDS);
    assert_eq!(head.all("x-forwarded-for"), ["127.0.0.3"]);
    assert_eq!(head.all("x-forwarded-proto"), ["http"]);
    assert_eq!(head.all("x-forwarded-host"), ["here.example"]);
    assert_uuid(head.all("x-request-id")[0]);
    assert_eq!(head.all("x-request-id").len(), 1);
}

#[test]
fn what_a_trusted_client_leaves_out_is_made() {
    let head = told(TRUSTED, "");
    assert_eq!(head.all("x-forwarded-for"), ["127.0.0.2"]);
    assert_eq!(head.all("x-forwarded-proto"), ["http"]);
    assert_eq!(head.all("x-forwarded-host"), ["here.example"]);
    assert_uuid(head.all("x-request-id")[0]);
}

#[test]
fn connection_cannot_name_away_what_is_ours() {
    let names = "Connection: X-Forwarded-For, X-Forwarded-Host, X-Forwarded-Proto, X-Request-Id\r\n";
    for from in [TRUSTED, OTHER] {
        let head = told(from, &format!("{names}{FIELDS}"));
        for name in ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-request-id"] {
            assert!(!head.joined(name).is_empty(), "{name} from {from}");
        }
        assert!(head.joined("x-forwarded-for").ends_with(&from.to_string()), "{head:?}");
    }
}

/// A UUID of version 7 and variant 10 as text (RFC 9562 section 5.7).
#[track_caller]
fn assert_uuid(id: &str) {
    let at = |i: usize| id.as_bytes().get(i).copied().unwrap_or(0);
    let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    let shaped = (0..36).all(|i| match i {
        8 | 13 | 18 | 23 => at(i) == b'-',
        14 => at(i) == b'7',
        19 => b"89ab".contains(&at(i)),
        _ => lower_hex(at(i)),
    });
    assert!(id.len() == 36 && shaped, "{id:?}");
}

#[test]
fn request_ids_are_unique_over_workers_and_ordered_on_a_connection() {
    let backend = Backend::start(|request, reply| reply.ok(&request.head.joined("x-request-id")));
    let balancer = Evenkeel::start(&["--workers", "4", "--backends", &backend.url()]);
    let of_a_client = || {
        let mut client = Client::connect(balancer.address);
        (0..100).map(|_| client.get("/").expect("a response").text()).collect::<Vec<_>>()
    };
    let all: Vec<Vec<String>> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..16).map(|_| scope.spawn(of_a_client)).collect();
        clients.into_iter().map(|client| client.join().expect("a client")).collect()
    });
    for ids in &all {
        ids.iter().for_each(|id| assert_uuid(id));
        // After its first request a connection may move to a worker whose numbers in that millisecond are lower.
        assert!(ids[1..].is_sorted(), "in the order they came: {ids:?}");
    }
    let unique: HashSet<&String> = all.iter().flatten().collect();
    assert_eq!(unique.len(), 1600);
    // The time is in front: what comes later, wherever it comes, sorts behind.
    std::thread::sleep(std::time::Duration::from_millis(20));
    let later = of_a_client();
    assert!(unique.iter().all(|id| **id < later[0]), "{}", later[0]);
}
