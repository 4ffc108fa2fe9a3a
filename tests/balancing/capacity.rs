//! Requests in flight and connections of a backend are limited exactly, over all workers.

use std::time::{Duration, Instant};

use super::held::{Held, slow};
use super::{balance, load};
use crate::support::{Backend, Client, SOON, eventually};

const ANSWER_AFTER: Duration = Duration::from_millis(4);

fn backends(held: &[Held]) -> impl Iterator<Item = &Backend> {
    held.iter().map(|held| &held.backend)
}

#[test]
fn a_backend_never_has_more_than_its_most_requests() {
    let held = [slow("a", Duration::from_millis(10)), slow("b", Duration::from_millis(10))];
    let balancer = balance("--workers 4 --backend-max-requests 5", backends(&held));
    load(balancer.address, 64, 8);
    assert_eq!(held.each_ref().map(Held::most), [5, 5], "exact, and used to the full");
    assert_eq!(held.iter().map(|held| held.backend.requests()).sum::<usize>(), 64 * 8);
    assert_eq!(balancer.failures("queue-timeout"), 0);
}

const REQUESTS: usize = 48;

/// Requests a second through one slot, with eight clients over four workers.
fn through_one_slot(flags: &str) -> f64 {
    let held = [slow("a", ANSWER_AFTER)];
    let balancer = balance(&format!("--workers 4 {flags}"), backends(&held));
    let began = Instant::now();
    load(balancer.address, 8, REQUESTS / 8);
    assert_eq!(held[0].most(), 1);
    REQUESTS as f64 / began.elapsed().as_secs_f64()
}

#[test]
fn one_slot_goes_from_worker_to_worker_without_a_stall() {
    let direct = {
        let held = slow("a", ANSWER_AFTER);
        let began = Instant::now();
        load(held.backend.address(), 1, REQUESTS);
        REQUESTS as f64 / began.elapsed().as_secs_f64()
    };
    for flags in ["--backend-max-requests 1", "--backend-max-connections 1"] {
        // The best of three: the machine has other work too.
        let rates = [(); 3].map(|()| through_one_slot(flags));
        let best = rates.iter().copied().fold(0.0, f64::max);
        assert!(best > 0.7 * direct, "{flags}: {rates:.0?} a second, the backend alone {direct:.0}");
    }
}

#[test]
fn all_places_are_free_after_clients_have_left_at_every_stage() {
    let held = Held::named("a");
    let flags = "--workers 4 --backend-max-requests 3 --backend-max-connections 4 --queue-length 20";
    let balancer = balance(flags, [&held.backend]);
    let to = balancer.address;
    for round in 0..6 {
        let clients: Vec<Client> = (0..30).map(|_| Client::connect(to)).collect();
        for (i, client) in clients.iter().enumerate() {
            let part = [
                "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
                "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nab",
            ];
            client.send(part[i % 2]).expect("send");
            if i % 3 == 0 {
                client.reset_on_close();
            }
        }
        held.let_go(round);
    }
    held.open();
    eventually(SOON, "all have left", || balancer.open().iter().sum::<u64>() == 1);
    eventually(SOON, "nobody is with the backend", || held.now() == 0);
    held.shut();
    let mut clients: Vec<Client> = (0..23).map(|_| Client::connect(to)).collect();
    for client in &clients {
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").expect("send");
    }
    held.await_now(3);
    held.open();
    for client in &mut clients {
        assert_eq!(client.response("GET").expect("a response").status, 200);
    }
    assert_eq!(held.most(), 3);
}
