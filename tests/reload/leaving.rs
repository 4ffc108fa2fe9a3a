//! A listener that is removed, and one that is added.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{Live, listener, pool, says};
use crate::cli::free_port;
use crate::support::{Backend, Client, SOON, eventually, get};

fn at(name: &str, port: u16, pool: &str) -> String {
    listener(name, pool).replace("127.0.0.1:0", &format!("127.0.0.1:{port}"))
}

fn refuses(port: u16) -> bool {
    let tried = Client::try_connect(([127, 0, 0, 1], port).into());
    tried.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
}

/// A file whose second listener, on that port, leads to a pool of its own; and the file without both.
fn with_and_without(a: &Backend, b: &Backend, port: u16) -> (String, String) {
    let without = listener("web", "one") + &pool("one", [a]);
    let with = listener("web", "one") + &at("side", port, "two") + &pool("one", [a]) + &pool("two", [b]);
    (with, without)
}

#[test]
fn its_connections_are_answered_once_more_and_told_that_they_end() {
    let (a, b, port) = (Backend::named("a"), Backend::named("b"), free_port());
    let (with, without) = with_and_without(&a, &b, port);
    let live = Live::start(&with);
    let side = ([127, 0, 0, 1], port).into();
    let mut half: Vec<Client> = (0..8).map(|_| Client::connect(side)).collect();
    let mut idle: Vec<Client> = (0..8).map(|_| Client::connect(side)).collect();
    for client in half.iter_mut().chain(&mut idle) {
        assert_eq!(client.get("/").expect("a response").text(), "b");
    }
    half.iter().for_each(|client| client.send("GET / HTTP/1.1\r\nHo").expect("a part of a head"));
    let said = live.reload(&without);
    says(&said, "reload: listener side removed from 127.0.0.1:");
    assert!(refuses(port));
    for client in &mut half {
        client.send("st: h\r\n\r\n").expect("the rest");
        let response = client.response("GET").expect("an answer of the pool that it led to");
        assert_eq!((response.status, response.text().as_str(), response.closes()), (200, "b", true));
        client.assert_ended();
    }
    idle.iter_mut().for_each(Client::assert_ended);
    assert_eq!(get(live.balancer.address, "/").expect("the other listener").text(), "a");
}

#[test]
fn what_waits_in_its_queue_is_accepted_and_answered() {
    let (a, b, port) = (Backend::named("a"), Backend::named("b"), free_port());
    let (with, without) = with_and_without(&a, &b, port);
    let live = Live::start(&format!("workers = 2\n{with}"));
    assert_eq!(get(([127, 0, 0, 1], port).into(), "/").expect("a response").text(), "b");
    // While the process is stopped the kernel goes on to take connections for it.
    live.balancer.signal(Signal::STOP);
    let waiting: Vec<Client> = (0..200)
        .map(|_| {
            let client = Client::connect(([127, 0, 0, 1], port).into());
            client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").expect("send");
            client
        })
        .collect();
    live.write(&format!("workers = 2\n{without}"));
    live.balancer.signal(Signal::HUP);
    live.balancer.signal(Signal::CONT);
    for mut client in waiting {
        let response = client.response("GET").expect("an answer");
        assert_eq!((response.status, response.text().as_str()), (200, "b"));
    }
    eventually(SOON, "it refuses", || refuses(port));
}

#[test]
fn it_can_be_added_again_on_the_same_port() {
    let (a, b, port) = (Backend::named("a"), Backend::named("b"), free_port());
    let (with, without) = with_and_without(&a, &b, port);
    let live = Live::start(&without);
    for _ in 0..5 {
        let said = live.reload(&with);
        says(&said, &format!("] listening on 127.0.0.1:{port}"));
        assert_eq!(get(([127, 0, 0, 1], port).into(), "/").expect("a response").text(), "b");
        let mut kept = Client::connect(([127, 0, 0, 1], port).into());
        assert_eq!(kept.get("/").expect("a response").text(), "b");
        live.reload(&without);
        assert!(refuses(port));
    }
    assert_eq!(get(live.balancer.address, "/").expect("a response").text(), "a");
}

#[test]
fn an_exchange_that_goes_on_there_ends_in_full() {
    let a = Backend::named("a");
    let slow = Backend::start(|_, reply| {
        reply.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")?;
        std::thread::sleep(Duration::from_secs(1));
        reply.send("half")
    });
    let port = free_port();
    let (with, without) = with_and_without(&a, &slow, port);
    let live = Live::start(&with);
    let mut client = Client::connect(([127, 0, 0, 1], port).into());
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").expect("send");
    eventually(SOON, "the backend has it", || slow.requests() == 1);
    let begun = Instant::now();
    live.reload(&without);
    assert!(begun.elapsed() < Duration::from_secs(1), "too slow to show anything: {:?}", begun.elapsed());
    assert_eq!(client.response("GET").expect("all of it").text(), "halfhalf");
    client.assert_ended();
}

#[test]
fn another_listener_takes_its_address_one_reload_later() {
    let (a, b, port) = (Backend::named("a"), Backend::named("b"), free_port());
    let (with, without) = with_and_without(&a, &b, port);
    let all = with.replace(&format!("127.0.0.1:{port}"), &format!("0.0.0.0:{port}"));
    let live = Live::start(&with);
    let side = ([127, 0, 0, 1], port).into();
    live.refuse(&all, &[&format!("cannot listen on 0.0.0.0:{port}")]);
    assert_eq!(get(side, "/").expect("it is as before").text(), "b");
    live.reload(&without);
    live.reload(&all);
    assert_eq!(get(side, "/").expect("the new one").text(), "b");
}
