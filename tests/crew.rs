//! Workers share the connections evenly, however the kernel deals them, and none is lost on its way.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use crate::support::figures::open_in;
use crate::support::{Backend, Client, Evenkeel, SOON, eventually, list};

/// What each worker has open, asked for by a client that is one of the counted.
fn open(asker: &mut Client) -> Vec<u64> {
    let text = asker.get("/lb-status").expect("the status").text();
    open_in(&serde_json::from_str(&text).expect("JSON"))
}

#[track_caller]
fn assert_even(balancer: &Evenkeel, clients: &mut [Client]) {
    let (mut last, mine) = (Vec::new(), clients.len() as u64);
    for client in clients.iter_mut() {
        assert_eq!(client.get("/").expect("a response").status, 200);
    }
    eventually(SOON, "each worker has its share", || {
        last = open(&mut clients[0]);
        last.iter().sum::<u64>() == mine
    });
    let share = mine / last.len() as u64;
    assert!(last.iter().all(|n| n.abs_diff(share) <= 1), "{last:?} at {}", balancer.address);
}

#[test]
fn keep_alive_connections_are_spread_evenly_as_they_come() {
    let backends = [Backend::named("a"), Backend::named("b")];
    let balancer = Evenkeel::start(&["--workers", "4", "--backends", &list(&backends)]);
    let mut clients = Vec::new();
    for _ in 0..64 {
        let mut client = Client::connect(balancer.address);
        assert_eq!(client.get("/").expect("a response").status, 200);
        clients.push(client);
    }
    assert_even(&balancer, &mut clients);
}

#[test]
fn a_burst_of_connections_is_spread_evenly() {
    let backend = Backend::named("a");
    let balancer = Evenkeel::start(&["--workers", "4", "--backends", &backend.url()]);
    let mut clients: Vec<Client> = (0..64).map(|_| Client::connect(balancer.address)).collect();
    for client in &clients {
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").expect("send");
    }
    for client in &mut clients {
        assert_eq!(client.response("GET").expect("a response").status, 200);
    }
    assert_even(&balancer, &mut clients);
}

#[test]
fn busy_polling_workers_serve_and_drain() {
    let backend = Backend::named("a");
    let mut balancer = Evenkeel::start(&["--busy-poll", "--workers", "2", "--backends", &backend.url()]);
    let mut clients: Vec<Client> = (0..8).map(|_| Client::connect(balancer.address)).collect();
    for _ in 0..20 {
        for client in &mut clients {
            assert_eq!(client.get("/").expect("a response").text(), "a");
        }
    }
    balancer.terminate();
    clients.iter_mut().for_each(Client::assert_ended);
    assert_eq!(balancer.exit_within(SOON).code(), Some(0), "{:?}", balancer.lines());
}

/// Connects, asks twice, and connects again, until it is refused or told to close; what went wrong.
fn until_sent_away(address: SocketAddr, answered: &AtomicUsize) -> Option<String> {
    loop {
        let Ok(mut client) = Client::try_connect(address) else { return None };
        for nth in 0..2 {
            match client.get("/") {
                Ok(response) if response.status == 200 => {
                    answered.fetch_add(1, SeqCst);
                    if response.closes() {
                        return None;
                    }
                }
                Ok(response) => return Some(format!("{}: {}", response.status, response.text())),
                // The kernel may take a connection in at the moment at which the listener closes.
                Err(e) if nth == 0 && e.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(e) => return Some(format!("request {nth}: {e}")),
            }
        }
    }
}

#[test]
fn a_drain_loses_no_connection_on_its_way_to_another_worker() {
    let backend = Backend::named("a");
    for _ in 0..3 {
        let mut balancer = Evenkeel::start(&["--workers", "4", "--backends", &backend.url()]);
        // Keep the counts uneven, so that newcomers are passed on all the time.
        let mut kept: Vec<Client> = (0..40).map(|_| Client::connect(balancer.address)).collect();
        for client in kept.iter_mut().step_by(3) {
            assert_eq!(client.get("/").expect("a response").status, 200);
        }
        let (address, answered, lost) = (balancer.address, AtomicUsize::new(0), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| lost.lock().unwrap().extend(until_sent_away(address, &answered)));
            }
            eventually(SOON, "the load runs", || answered.load(SeqCst) > 200);
            balancer.terminate();
            // Those that were not used yet still may be, for the drain's grace.
            for client in kept.iter_mut().skip(1).step_by(3) {
                assert_eq!(client.get("/").expect("within the grace").status, 200);
            }
        });
        let lost = lost.lock().unwrap();
        assert!(lost.is_empty(), "{} of {}: {lost:?}", lost.len(), answered.load(SeqCst));
        assert_eq!(balancer.exit_within(SOON).code(), Some(0), "{:?}", balancer.lines());
    }
}
