//! Requests in flight and connections of a backend are limited exactly, over all workers.

use std::time::{Duration, Instant};

use super::held::{Held, slow};
use super::{balance, load};
use crate::support::{Backend, Client, SOON, eventually};

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

#[test]
fn one_slot_goes_from_worker_to_worker_without_a_stall() {
    for limit in ["--backend-max-requests 1", "--backend-max-connections 1"] {
        let held = [slow("a", Duration::from_millis(4))];
        // Who waits looks again of itself after the retry delay: a turn that got lost would show.
        let flags = format!("--workers 4 {limit} --retry-delay 10s --queue-timeout 60s");
        let balancer = balance(&flags, backends(&held));
        let began = Instant::now();
        load(balancer.address, 8, 8);
        assert!(began.elapsed() < Duration::from_secs(8), "{limit}: {:?}", began.elapsed());
        assert_eq!(held[0].most(), 1, "{limit}");
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
    let mut clients: Vec<Client> = (0..20).map(|_| Client::connect(to)).collect();
    for client in &clients {
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").expect("send");
    }
    held.await_now(3);
    held.open();
    for client in &mut clients {
        assert_eq!(client.response("GET").expect("a response").status, 200);
    }
}
