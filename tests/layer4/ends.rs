//! An end is passed on as an end, a reset as a reset, and time is bounded.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::{Server, balancer, connect, logged, rest};
use crate::admin::Admin;
use crate::support::{Evenkeel, Port, SOON, eventually};

/// A server that hands its connections over.
pub(super) fn handing() -> (Server, Receiver<TcpStream>) {
    let (sender, streams) = channel();
    let server = Server::start(move |stream| {
        stream.set_read_timeout(Some(SOON))?;
        let _ = sender.send(stream);
        Ok(())
    });
    (server, streams)
}

pub(super) fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("linger");
}

#[track_caller]
fn is_reset(stream: &mut TcpStream) {
    let error = rest(stream).map(|all| all.len()).expect_err("a reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
}

#[test]
fn either_side_may_end_first_and_still_be_told() {
    let (server, streams) = handing();
    let balancer = balancer(&server.url(), &[]);
    let mut client = connect(balancer.address);
    let mut backend = streams.recv_timeout(SOON).expect("a connection");
    client.write_all(b"question").expect("written");
    client.shutdown(Shutdown::Write).expect("shutdown");
    assert_eq!(rest(&mut backend).expect("the question"), b"question");
    backend.write_all(b"answer").expect("written");
    drop(backend);
    assert_eq!(rest(&mut client).expect("the answer"), b"answer");

    let mut client = connect(balancer.address);
    let mut backend = streams.recv_timeout(SOON).expect("a connection");
    backend.write_all(b"greeting").expect("written");
    backend.shutdown(Shutdown::Write).expect("shutdown");
    assert_eq!(rest(&mut client).expect("the greeting"), b"greeting");
    client.write_all(b"thanks").expect("written");
    drop(client);
    assert_eq!(rest(&mut backend).expect("thanks"), b"thanks");
}

#[test]
fn an_end_while_the_backend_is_dialled_is_passed_on() {
    let (server, streams) = handing();
    let balancer = balancer(&server.url(), &[]);
    let mut client = connect(balancer.address);
    client.write_all(b"all at once").expect("written");
    client.shutdown(Shutdown::Write).expect("shutdown");
    let mut backend = streams.recv_timeout(SOON).expect("a connection");
    assert_eq!(rest(&mut backend).expect("all"), b"all at once");
    drop(backend);
    assert_eq!(rest(&mut client).expect("the end"), b"");
}

#[test]
fn a_reset_is_passed_on_either_way() {
    let (server, streams) = handing();
    let balancer = balancer(&server.url(), &[]);
    // A backend that resets before its connect is known to stand has refused it.
    let joined = || {
        let mut client = connect(balancer.address);
        let mut backend = streams.recv_timeout(SOON).expect("a connection");
        client.write_all(b"x").expect("written");
        backend.read_exact(&mut [0]).expect("a byte");
        (client, backend)
    };
    let (client, mut backend) = joined();
    reset(client);
    is_reset(&mut backend);
    logged(&balancer, &["client-closed"]);

    // It does not count against the backend.
    for _ in 0..10 {
        let (mut client, backend) = joined();
        reset(backend);
        is_reset(&mut client);
    }
    logged(&balancer, &["backend-reset"]);
    assert_eq!(balancer.lines().iter().filter(|line| line.contains("is out")).count(), 0);
}

#[test]
fn what_was_cut_by_a_reset_is_never_taken_for_all() {
    let (server, streams) = handing();
    let balancer = balancer(&server.url(), &[]);
    let mut client = connect(balancer.address);
    let mut backend = streams.recv_timeout(SOON).expect("a connection");
    // The client reads nothing, until all on the way is full.
    backend.set_write_timeout(Some(Duration::from_millis(300))).expect("a timeout");
    let chunk = vec![7; 1 << 20];
    while backend.write(&chunk).is_ok() {}
    reset(backend);
    is_reset(&mut client);
    logged(&balancer, &["backend-reset"]);
}

/// Sends both ways, reading nothing, until neither takes more.
fn fill(one: &mut TcpStream, other: &mut TcpStream) {
    let chunk = vec![7; 1 << 20];
    for stream in [&mut *one, &mut *other] {
        stream.set_nonblocking(true).expect("nonblocking");
    }
    let mut moved = Instant::now();
    while moved.elapsed() < Duration::from_millis(300) {
        if [one.write(&chunk), other.write(&chunk)].iter().any(Result::is_ok) {
            moved = Instant::now();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    for stream in [one, other] {
        stream.set_nonblocking(false).expect("blocking");
    }
}

/// Processor time of the process so far, in hundredths of a second.
fn spent(balancer: &Evenkeel) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", balancer.id())).expect("its state");
    let behind_name = stat.rsplit_once(')').expect("a name").1;
    behind_name.split(' ').skip(12).take(2).map(|ticks| ticks.parse::<u64>().expect("ticks")).sum()
}

#[test]
fn with_both_ways_full_a_reset_waits_for_the_client_without_work() {
    let (server, streams) = handing();
    let balancer = balancer(&server.url(), &["--workers", "1"]);
    let mut client = connect(balancer.address);
    let mut backend = streams.recv_timeout(SOON).expect("a connection");
    fill(&mut client, &mut backend);
    reset(backend);
    let (before, start) = (spent(&balancer), Instant::now());
    eventually(SOON, "a second is over", || start.elapsed() > Duration::from_secs(1));
    let spent = spent(&balancer) - before;
    assert!(spent < 10, "{spent} hundredths of a second for nothing");
    is_reset(&mut client);
}

#[test]
fn a_client_whose_bytes_reach_nobody_is_reset() {
    let (server, streams) = handing();
    let balancer = balancer(&server.url(), &[]);
    let mut client = connect(balancer.address);
    let mut backend = streams.recv_timeout(SOON).expect("a connection");
    backend.write_all(b"that is all").expect("written");
    drop(backend);
    assert_eq!(rest(&mut client).expect("an end"), b"that is all");
    let start = Instant::now();
    while client.write_all(b"more").is_ok() {
        assert!(start.elapsed() < SOON, "it goes on");
        std::thread::yield_now();
    }
    logged(&balancer, &["backend-reset"]);
}

#[test]
fn without_a_backend_the_client_is_reset() {
    let dead = Port::reserve();
    let balancer = balancer(&dead.url(), &["--retry-delay", "1ms"]);
    is_reset(&mut connect(balancer.address));
    logged(&balancer, &["tunnel to nobody: connect-failed"]);
}

#[test]
fn a_quiet_tunnel_ends_and_one_that_moves_goes_on() {
    let server = Server::echo();
    let balancer = balancer(&server.url(), &["--tunnel-timeout", "400ms"]);
    let mut client = connect(balancer.address);
    let start = Instant::now();
    let mut moved = start;
    while start.elapsed() < Duration::from_millis(900) {
        client.write_all(b"x").expect("written");
        client.read_exact(&mut [0]).expect("the echo");
        moved = Instant::now();
        std::thread::sleep(Duration::from_millis(50));
    }
    is_reset(&mut client);
    assert!(moved.elapsed() >= Duration::from_millis(350), "{:?}", moved.elapsed());
    logged(&balancer, &["tunnel-idle"]);
}

#[test]
fn a_reader_that_takes_little_at_a_time_is_not_quiet() {
    let server = Server::start(|mut stream| {
        loop {
            stream.write_all(&[7; 100_000])?;
        }
    });
    let balancer = balancer(&server.url(), &["--tunnel-timeout", "1s", "--workers", "1"]);
    let mut client = connect(balancer.address);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(4) {
        client.read_exact(&mut [0; 12_000]).expect("it goes on");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_lifetime_ends_a_tunnel_however_much_moves() {
    let server = Server::echo();
    let balancer = balancer(&server.url(), &["--lifetime-timeout", "500ms"]);
    let mut client = connect(balancer.address);
    let start = Instant::now();
    let mut byte = [0];
    while client.write_all(b"x").is_ok() && client.read_exact(&mut byte).is_ok() {
        assert!(start.elapsed() < SOON, "it goes on");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(start.elapsed() >= Duration::from_millis(450), "{:?}", start.elapsed());
    logged(&balancer, &["tunnel-lifetime"]);
    server.settles();
}

#[test]
fn a_drain_lets_tunnels_end_until_its_time_is_over() {
    let server = Server::echo();
    let mut balancer = balancer(&server.url(), &["--drain-timeout", "20s"]);
    let mut client = connect(balancer.address);
    client.write_all(b"before").expect("written");
    client.read_exact(&mut [0; 6]).expect("the echo");
    balancer.terminate();
    eventually(SOON, "new connections are refused", || TcpStream::connect(balancer.address).is_err());
    std::thread::sleep(Duration::from_millis(600));
    client.write_all(b"during").expect("written");
    client.read_exact(&mut [0; 6]).expect("the echo goes on");
    drop(client);
    assert!(balancer.exit_within(SOON).success());
    server.settles();
}

/// A balancer of connections whose status can be asked for.
fn told_of(server: &Server, more: &[&str]) -> Admin {
    let url = server.url();
    let flags = ["--mode", "tcp", "--health-check", "none", "--log-level", "debug", "--backends", &url];
    Admin::start(&[&flags[..], more].concat())
}

#[test]
fn a_client_that_takes_its_last_bytes_late_is_not_quiet() {
    let (server, streams) = handing();
    let admin = told_of(&server, &["--workers", "1", "--tunnel-timeout", "2s"]);
    let mut client = connect(admin.balancer.address);
    let mut backend = streams.recv_timeout(SOON).expect("a connection");
    // In pieces that no pipe is taken for, until one waits for the client.
    let (piece, mut sent, start) = ([7; 16 * 1024], 0, Instant::now());
    let given = || admin.json("/api/status")["listeners"][0]["bytes_out"].as_u64().expect("a count");
    loop {
        backend.write_all(&piece).expect("written");
        sent += piece.len() as u64;
        let full = Instant::now();
        while given() < sent && full.elapsed() < Duration::from_millis(200) {}
        if given() < sent {
            break;
        }
        assert!(start.elapsed() < SOON, "the client's side takes everything");
    }
    let full = Instant::now();
    std::thread::sleep(Duration::from_millis(1_000));
    client.read_exact(&mut vec![0; sent as usize]).expect("all of it");
    eventually(SOON, "it would be over by now", || full.elapsed() > Duration::from_millis(2_400));
    client.write_all(b"x").expect("written");
    backend.read_exact(&mut [0]).expect("it goes on");
}

#[test]
fn every_client_that_resets_is_counted() {
    let server = Server::start(|mut stream| {
        loop {
            stream.write_all(&[7; 3000])?;
        }
    });
    let admin = told_of(&server, &[]);
    for _ in 0..100 {
        let mut client = connect(admin.balancer.address);
        client.read_exact(&mut [0; 100]).expect("bytes");
        reset(client);
    }
    server.settles();
    let count = || admin.json("/api/status")["errors"]["client-closed"].as_u64();
    eventually(SOON, "all are over", || admin.json("/api/status")["listeners"][0]["connections"] == 0);
    assert_eq!(count(), Some(100));
}

#[test]
fn a_drain_does_not_wait_for_what_has_not_begun() {
    let server = Server::echo();
    let flags = ["--proxy-protocol", "require", "--proxy-from", "127.0.0.1", "--drain-timeout", "1h"];
    let mut balancer = balancer(&server.url(), &[&flags[..], &["--head-timeout", "1h"]].concat());
    let mut silent = connect(balancer.address);
    balancer.terminate();
    assert!(balancer.exit_within(SOON).success());
    let _ = rest(&mut silent);
}

#[test]
fn a_websocket_whose_bytes_reach_nobody_is_reset_too() {
    let server = Server::start(|mut stream| {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            head.extend(byte);
        }
        stream.write_all(b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nthat is all")
    });
    let flags = ["--health-check", "none", "--log-level", "debug", "--backends"];
    let balancer = Evenkeel::start(&[&flags[..], &[&server.url()]].concat());
    let mut client = connect(balancer.address);
    let asked = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    client.write_all(asked).expect("written");
    assert!(rest(&mut client).expect("an end").ends_with(b"that is all"));
    let start = Instant::now();
    while client.write_all(b"more").is_ok() {
        assert!(start.elapsed() < SOON, "it goes on");
        std::thread::yield_now();
    }
    logged(&balancer, &["cut off: backend-reset"]);
}
