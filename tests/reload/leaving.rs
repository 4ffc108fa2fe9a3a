//! A listener that is removed, and one that is added.

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{Live, listener, pool, says};
use crate::cli::free_port;
use crate::layer4::names::hello;
use crate::layer4::{Server, connect, rest};
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

/// A file whose second listener is on that address, and leads to a pool of its own.
fn on(a: &Backend, b: &Backend, address: &str) -> String {
    let side = listener("side", "two").replace("127.0.0.1:0", address);
    listener("web", "one") + &side + &pool("one", [a]) + &pool("two", [b])
}

#[test]
fn a_wider_or_narrower_address_takes_over_in_one_reload() {
    let (a, b, port) = (Backend::named("a"), Backend::named("b"), free_port());
    let live = Live::start(&on(&a, &b, &format!("127.0.0.1:{port}")));
    let at = |last: u8| SocketAddr::from(([127, 0, 0, last], port));
    let mapped = "[::ffff:127.0.0.1]";
    for ip in
        ["0.0.0.0", "127.0.0.1", "[::]", mapped, "[::]", "0.0.0.0", mapped, "127.0.0.1", "[::]", "127.0.0.1"]
    {
        let mut before = Client::connect(at(1));
        assert_eq!(before.get("/").expect("a response").text(), "b", "before {ip}");
        live.reload(&on(&a, &b, &format!("{ip}:{port}")));
        before.assert_ended();
        assert_eq!(get(at(1), "/").expect("a response").text(), "b", "{ip}");
        eventually(SOON, "what was there is closed", || {
            Client::try_connect(at(2)).is_ok() != ip.contains("127.0.0.1")
        });
    }
}

#[test]
fn an_address_that_cannot_be_had_leaves_the_narrower_one_as_it_was() {
    let (a, b, port) = (Backend::named("a"), Backend::named("b"), free_port());
    let live = Live::start(&on(&a, &b, &format!("127.0.0.1:{port}")));
    let mut kept = Client::connect(([127, 0, 0, 1], port).into());
    assert_eq!(kept.get("/").expect("a response").text(), "b");
    let taken = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = taken.local_addr().expect("an address");
    let third = listener("third", "one").replace("127.0.0.1:0", &address.to_string());
    let wide = on(&a, &b, &format!("0.0.0.0:{port}"));
    live.refuse(&(third.clone() + &wide), &[&format!("cannot listen on {address}")]);
    assert_eq!(kept.get("/").expect("a response").text(), "b");
    let elsewhere = Client::try_connect(([127, 0, 0, 2], port).into());
    assert!(elsewhere.is_err(), "the wider one was given up");
    drop(taken);
    live.reload(&(third + &wide));
    assert_eq!(get(([127, 0, 0, 2], port).into(), "/").expect("a response").text(), "b");
}

#[test]
fn a_narrower_address_beside_a_wider_one_has_its_own_connections() {
    let (a, b, port) = (Backend::named("a"), Backend::named("b"), free_port());
    let both = on(&a, &b, &format!("127.0.0.1:{port}")).replace("127.0.0.1:0", &format!("0.0.0.0:{port}"));
    let live = Live::start(&both);
    let said = |last: u8| get(([127, 0, 0, last], port).into(), "/").expect("a response").text();
    (0..8).for_each(|_| assert_eq!((said(1), said(2)), ("b".to_owned(), "a".to_owned())));
    live.reload(&both.replace(&format!("127.0.0.1:{port}"), "127.0.0.1:0"));
    (0..8).for_each(|_| assert_eq!((said(1), said(2)), ("a".to_owned(), "a".to_owned())));
}

#[test]
fn ipv6_takes_the_ipv4_that_no_narrower_address_has() {
    let (a, b, port) = (Backend::named("a"), Backend::named("b"), free_port());
    if TcpListener::bind("[::1]:0").is_err() {
        eprintln!("skipped: no IPv6 here");
        return;
    }
    let both = on(&a, &b, &format!("127.0.0.1:{port}")).replace("127.0.0.1:0", &format!("[::]:{port}"));
    let _live = Live::start(&both);
    let said = |last: u8| get(([127, 0, 0, last], port).into(), "/").expect("a response").text();
    (0..8).for_each(|_| assert_eq!((said(1), said(2)), ("b".to_owned(), "a".to_owned())));
}

#[test]
fn what_another_process_listens_on_is_not_shared_with_it() {
    let (a, b, port) = (Backend::named("a"), Backend::named("b"), free_port());
    if TcpListener::bind("[::1]:0").is_err() {
        eprintln!("skipped: no IPv6 here");
        return;
    }
    let file = |own: u8| {
        let narrow = on(&a, &b, &format!("127.0.0.{own}:{port}"));
        narrow.replace("127.0.0.1:0", &format!("[::1]:{port}"))
    };
    let _first = Live::start(&file(2));
    let second = Live::start(&on(&a, &b, &format!("127.0.0.1:{port}")));
    second.refuse(&file(1), &[&format!("cannot listen on [::1]:{port}")]);
}

#[test]
fn ipv4_is_taken_by_the_ipv6_listener_that_is_left() {
    let (a, b, port) = (Backend::named("a"), Backend::named("b"), free_port());
    if TcpListener::bind("[::1]:0").is_err() {
        eprintln!("skipped: no IPv6 here");
        return;
    }
    let v6 = on(&a, &b, &format!("[::]:{port}"));
    let both = v6.replace("127.0.0.1:0", &format!("0.0.0.0:{port}"));
    let live = Live::start(&both);
    let said = || get(([127, 0, 0, 1], port).into(), "/").expect("a response").text();
    for _ in 0..2 {
        assert_eq!(said(), "a");
        live.reload(&v6);
        assert_eq!(said(), "b");
        live.reload(&both);
    }
}

const ANNOUNCED: &str = "PROXY TCP4 192.0.2.77 198.51.100.1 7777 443\r\n";
const ASKED: &str = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

/// What a listener waits for first: its name, what the file says of it, and what a client says there.
fn beginnings() -> [(&'static str, &'static str, Vec<u8>); 4] {
    let announced = "proxy_protocol = \"require\"\nproxy_from = [\"127.0.0.0/8\"]\n";
    let named = "mode = \"tcp\"\n[[listener.route]]\nsni = [\"example.com\"]\npool = \"echo\"\n";
    let both = "mode = \"tcp\"\nproxy_protocol = \"accept\"\nproxy_from = [\"127.0.0.0/8\"]\n";
    [
        ("head", "", ASKED.into()),
        ("header", announced, (ANNOUNCED.to_owned() + ASKED).into()),
        ("hello", named, hello(b"example.com")),
        ("either", both, (ANNOUNCED.to_owned() + "anything").into()),
    ]
}

/// Has connections wait in the queues of such listeners, silent ones and some that have begun, lets something happen and
/// shows that it ends the silent ones soon and no other.
fn ends_the_silent_ones(happens: impl Fn(&Live, &str)) {
    let (a, echo) = (Backend::named("a"), Server::echo());
    let without = listener("web", "one") + &pool("one", [&a]);
    let without = format!("timeouts.head = \"60s\"\nworkers = 2\n{without}");
    let echo_pool = format!(
        "[[pool]]\nname = \"echo\"\nhealth.kind = \"none\"\nbackend = [{{ url = \"{}\" }}]\n",
        echo.url()
    );
    let beginnings = beginnings();
    let ports = beginnings.each_ref().map(|_| free_port());
    let sides = beginnings.iter().zip(ports).map(|((name, more, _), port)| {
        let to = if more.contains("tcp") { "echo" } else { "one" };
        at(name, port, to) + more
    });
    let live = Live::start(&(without.clone() + &sides.collect::<String>() + &echo_pool));
    live.balancer.signal(Signal::STOP);
    let mut silent: Vec<TcpStream> =
        ports.iter().map(|&port| connect(([127, 0, 0, 1], port).into())).collect();
    let begun: Vec<TcpStream> = (0..3)
        .flat_map(|_| ports.iter().zip(&beginnings))
        .map(|(&port, (_, _, says))| {
            let mut client = connect(([127, 0, 0, 1], port).into());
            client.write_all(&says[..10]).expect("a part");
            client
        })
        .collect();
    happens(&live, &without);
    live.balancer.signal(Signal::CONT);
    let since = Instant::now();
    for (client, (name, ..)) in silent.iter_mut().zip(&beginnings) {
        assert_eq!(rest(client).unwrap_or_else(|e| panic!("{name}: {e}")), b"", "{name}");
    }
    assert!(since.elapsed() < Duration::from_secs(15), "{:?}", since.elapsed());
    for (mut client, (name, more, says)) in begun.into_iter().zip(beginnings.iter().cycle()) {
        client.write_all(&says[10..]).expect("the rest");
        client.shutdown(Shutdown::Write).expect("shutdown");
        let back = rest(&mut client).unwrap_or_else(|e| panic!("{name} was cut: {e}"));
        match more.contains("tcp") {
            true => assert!(!back.is_empty() && says.ends_with(&back), "{name}: {back:?}"),
            false => {
                assert!(back.starts_with(b"HTTP/1.1 200 ") && back.ends_with(b"\r\na"), "{name}: {back:?}")
            }
        }
    }
}

#[test]
fn connections_that_have_not_begun_end_with_it_and_those_that_have_do_not() {
    ends_the_silent_ones(|live, without| {
        live.write(without);
        live.balancer.signal(Signal::HUP);
    });
}

#[test]
fn a_drain_ends_the_same_ones() {
    ends_the_silent_ones(|live, _| live.balancer.signal(Signal::TERM));
}
