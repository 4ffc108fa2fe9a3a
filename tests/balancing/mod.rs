//! Choosing and trusting backends: every setting of a pool, by what its backends and clients see.

mod algorithms;
mod capacity;
mod hash;
mod held;
mod queue;
mod sticky;

use std::net::SocketAddr;

use crate::support::{Backend, Client, Evenkeel, list};

/// A balancer with these flags, words of one line, and no health checks: the backends see its requests alone.
#[track_caller]
fn balance<'a>(flags: &str, backends: impl IntoIterator<Item = &'a Backend>) -> Evenkeel {
    balance_over(flags, &list(backends))
}

/// As [`balance`], over a list for `--backends`.
#[track_caller]
fn balance_over(flags: &str, backends: &str) -> Evenkeel {
    let mut words: Vec<&str> = flags.split_whitespace().collect();
    if !flags.contains("--health-") {
        words.extend(["--health-check", "none"]);
    }
    words.extend(["--backends", backends]);
    Evenkeel::start(&words)
}

/// Backends that answer with nothing but their names.
fn named<const N: usize>(names: [&'static str; N]) -> [Backend; N] {
    names.map(Backend::named)
}

/// `a=5,b=3` for `--backends`.
fn weighted(backends: &[Backend], weights: &[u16]) -> String {
    let each = backends.iter().zip(weights).map(|(backend, weight)| format!("{}={weight}", backend.url()));
    each.collect::<Vec<_>>().join(",")
}

/// Whole requests that each backend has had.
fn counts(backends: &[Backend]) -> Vec<usize> {
    backends.iter().map(Backend::requests).collect()
}

/// So many clients at once, each with a connection of its own and so many GETs one after the other, all of
/// which must be answered with 200.
fn load(to: SocketAddr, clients: usize, requests: usize) {
    std::thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                let mut client = Client::connect(to);
                for _ in 0..requests {
                    let response = client.get("/").expect("a response");
                    assert_eq!(response.status, 200, "{}", response.text());
                }
            });
        }
    });
}
