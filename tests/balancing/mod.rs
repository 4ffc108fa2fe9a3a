//! Choosing and trusting backends: every setting of a pool, by what its backends and clients see.

mod algorithms;
mod capacity;
mod ejection;
mod hash;
mod held;
mod queue;
mod rate;
mod retries;
mod returning;
mod sticky;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::JoinHandle;

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

/// Clients that go on asking until it is dropped.
struct Press {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Press {
    /// So many clients, each with a connection of its own and targets of its own; whatever answers they get.
    fn start(to: SocketAddr, clients: usize) -> Self {
        let count = Arc::new(AtomicUsize::new(0));
        Self::run(clients, move |stop| {
            let mut client = Client::connect(to);
            while !stop.load(SeqCst) {
                match client.get(&format!("/{}", count.fetch_add(1, SeqCst))) {
                    Ok(response) if !response.closes() => {}
                    _ => client = Client::connect(to),
                }
            }
        })
    }

    /// One after the other sends a request for `/later` and leaves without the answer.
    fn leaving(to: SocketAddr) -> Self {
        Self::run(1, move |stop| {
            let mut clients = VecDeque::new();
            while !stop.load(SeqCst) {
                let client = Client::connect(to);
                client.reset_on_close();
                client.send("GET /later HTTP/1.1\r\nHost: h\r\n\r\n").expect("send");
                clients.push_back(client);
                if clients.len() > 20 {
                    clients.pop_front();
                }
            }
        })
    }

    fn run(threads: usize, work: impl Fn(&AtomicBool) + Clone + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = |_| {
            let (stop, work) = (Arc::clone(&stop), work.clone());
            std::thread::spawn(move || work(&stop))
        };
        let threads = (0..threads).map(thread).collect();
        Self { stop, threads }
    }
}

impl Drop for Press {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}
