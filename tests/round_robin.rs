//! Over all workers together, any N x backends requests in a row give every backend exactly N.

use std::net::SocketAddr;

use crate::support::{Backend, Client, Evenkeel, get, list};

fn three() -> [Backend; 3] {
    [Backend::named("a"), Backend::named("b"), Backend::named("c")]
}

fn counts(backends: &[Backend]) -> Vec<usize> {
    backends.iter().map(Backend::requests).collect()
}

fn balance(backends: &[Backend], workers: &str) -> Evenkeel {
    Evenkeel::start(&["--backends", &list(backends), "--workers", workers])
}

/// `clients` threads, each with a fresh connection for every `requests / connections` GETs.
fn load(to: SocketAddr, clients: usize, connections: usize, requests: usize) {
    std::thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(move || {
                for _ in 0..connections {
                    let mut client = Client::connect(to);
                    for _ in 0..requests / connections {
                        assert_eq!(client.get("/").expect("a response").status, 200);
                    }
                }
            });
        }
    });
}

#[test]
fn every_three_requests_in_a_row_reach_three_backends() {
    for workers in ["1", "2", "4"] {
        let backends = three();
        let balancer = balance(&backends, workers);
        for round in 1..=20 {
            for _ in 0..backends.len() {
                assert_eq!(get(balancer.address, "/").expect("a response").status, 200);
            }
            assert_eq!(counts(&backends), [round; 3], "workers: {workers}");
        }
    }
}

#[test]
fn one_connection_is_spread_request_by_request() {
    for workers in ["1", "2", "4"] {
        let backends = three();
        let balancer = balance(&backends, workers);
        let mut client = Client::connect(balancer.address);
        for round in 1..=20 {
            for _ in 0..backends.len() {
                client.get("/").expect("a response");
            }
            assert_eq!(counts(&backends), [round; 3], "workers: {workers}");
        }
    }
}

#[test]
fn concurrent_clients_share_exactly() {
    for workers in ["1", "2", "4"] {
        let backends = three();
        let balancer = balance(&backends, workers);
        load(balancer.address, 24, 1, 50);
        assert_eq!(counts(&backends), [400; 3], "workers: {workers}, one connection a client");
        load(balancer.address, 12, 10, 50);
        assert_eq!(counts(&backends), [600; 3], "workers: {workers}, ten connections a client");
    }
}

#[test]
fn a_single_backend_gets_everything() {
    let backends = [Backend::named("only")];
    let balancer = balance(&backends, "2");
    load(balancer.address, 4, 5, 20);
    assert_eq!(counts(&backends), [80]);
}
