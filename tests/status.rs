//! `GET /lb-status` says who is up.

use serde_json::Value;

use crate::support::{Backend, Client, Evenkeel, SOON, eventually, get, list};

/// Each backend's url and whether it is alive.
fn status(balancer: &Evenkeel, path: &str) -> Vec<(String, bool)> {
    let response = get(balancer.address, path).expect("a response");
    assert_eq!(response.status, 200);
    assert!(response.head.joined("content-type").starts_with("application/json"), "{:?}", response.head);
    let value: Value = serde_json::from_str(&response.text()).expect("JSON");
    let backends = value["backends"].as_array().expect("an array of backends");
    let one = |b: &Value| {
        let url = b["url"].as_str().expect("a url").to_string();
        (url, b["alive"].as_bool().expect("alive or not"))
    };
    backends.iter().map(one).collect()
}

#[test]
fn status_lists_every_backend_in_order_and_whether_it_is_alive() {
    let mut backends = [Backend::named("a"), Backend::named("b"), Backend::named("c")];
    let balancer = Evenkeel::start(&["--health-check-interval", "100ms", "--backends", &list(&backends)]);
    let expected = |alive: [bool; 3]| backends.iter().map(Backend::url).zip(alive).collect::<Vec<_>>();
    let (all, two) = (expected([true; 3]), expected([true, false, true]));
    assert_eq!(status(&balancer, "/lb-status"), all);
    backends[1].kill();
    eventually(SOON, "it is shown dead", || status(&balancer, "/lb-status") == two);
    backends[1].restart();
    eventually(SOON, "it is shown alive", || status(&balancer, "/lb-status") == all);
    assert_eq!(backends.iter().map(Backend::requests).sum::<usize>(), 0, "no backend is asked");
}

#[test]
fn a_backend_given_without_scheme_has_a_url() {
    let backend = Backend::named("a");
    let balancer = Evenkeel::start(&["--backends", &backend.address().to_string()]);
    assert_eq!(status(&balancer, "/lb-status"), [(backend.url(), true)]);
}

#[test]
fn status_fits_between_other_requests_of_a_connection() {
    let backend = Backend::named("a");
    let balancer = Evenkeel::start(&["--backends", &backend.url()]);
    let mut client = Client::connect(balancer.address);
    for _ in 0..3 {
        assert_eq!(client.get("/").expect("a response").text(), "a");
        assert!(client.get("/lb-status").expect("a response").text().starts_with('{'));
    }
    let pipelined = "GET /lb-status HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n";
    client.send(pipelined.repeat(10)).expect("send");
    for _ in 0..10 {
        assert!(client.response("GET").expect("a response").text().starts_with('{'));
        assert_eq!(client.response("GET").expect("a response").text(), "a");
    }
}

#[test]
fn only_that_path_is_the_status() {
    let backend = Backend::named("a");
    let balancer = Evenkeel::start(&["--backends", &backend.url()]);
    for path in ["/lb-status/", "/lb-statuses", "/x/lb-status", "/"] {
        assert_eq!(get(balancer.address, path).expect("a response").text(), "a", "{path}");
    }
}

#[test]
fn status_path_moves_it() {
    let backend = Backend::named("a");
    let balancer = Evenkeel::start(&["--status-path", "/up", "--backends", &backend.url()]);
    assert_eq!(status(&balancer, "/up"), [(backend.url(), true)]);
    assert_eq!(get(balancer.address, "/lb-status").expect("a response").text(), "a");
}

#[test]
fn an_empty_status_path_turns_it_off() {
    let backend = Backend::named("a");
    let balancer = Evenkeel::start(&["--status-path", "", "--backends", &backend.url()]);
    assert_eq!(get(balancer.address, "/lb-status").expect("a response").text(), "a");
    assert_eq!(backend.last().target, "/lb-status");
}
