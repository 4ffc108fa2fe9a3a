//! What is sent arrives, whoever speaks first, however much and however slowly.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;

use super::{Server, balancer, connect, logged, rest, said};
use crate::admin::Admin;
use crate::support::{Backend, Evenkeel, Port, get, list};

/// Bytes that repeat late, so that a lost or doubled piece is seen.
fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

#[test]
fn what_a_client_sends_comes_back() {
    let server = Server::echo();
    let balancer = balancer(&server.url(), &[]);
    let mut client = connect(balancer.address);
    for len in [1, 100, 5_000, 200_000] {
        let sent = pattern(len);
        let mut writer = client.try_clone().expect("a second handle");
        let bytes = sent.clone();
        let writing = thread::spawn(move || writer.write_all(&bytes));
        let mut back = vec![0; len];
        client.read_exact(&mut back).expect("the echo");
        writing.join().expect("no panic").expect("written");
        assert!(back == sent, "{len} bytes came back changed");
    }
    client.shutdown(Shutdown::Write).expect("shutdown");
    assert_eq!(rest(&mut client).expect("the end"), b"");
    logged(&balancer, &["ended", "205101 up, 205101 down", &server.url()]);
    server.settles();
}

#[test]
fn much_and_little_take_turns() {
    let server = Server::echo();
    let balancer = balancer(&server.url(), &[]);
    let mut client = connect(balancer.address);
    for len in [2 << 20, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2 << 20, 10, 3 << 20, 1] {
        let sent = pattern(len);
        let mut writer = client.try_clone().expect("a second handle");
        let bytes = sent.clone();
        let writing = thread::spawn(move || writer.write_all(&bytes));
        let mut back = vec![0; len];
        client.read_exact(&mut back).expect("the echo");
        writing.join().expect("no panic").expect("written");
        assert!(back == sent, "{len} bytes came back changed");
    }
    drop(client);
    server.settles();
}

#[test]
fn sixty_four_mebibytes_each_way_arrive_whole() {
    let server = Server::echo();
    let balancer = balancer(&server.url(), &["--workers", "1"]);
    let pipes = || {
        let open = std::fs::read_dir(format!("/proc/{}/fd", balancer.id())).expect("descriptors");
        let links = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        links.filter(|link| link.to_string_lossy().starts_with("pipe:")).count()
    };
    let before = pipes();
    let sent = pattern(64 << 20);
    let mut client = connect(balancer.address);
    let mut writer = client.try_clone().expect("a second handle");
    let bytes = sent.clone();
    let writing = thread::spawn(move || {
        writer.write_all(&bytes)?;
        writer.shutdown(Shutdown::Write)
    });
    let back = rest(&mut client).expect("the echo");
    writing.join().expect("no panic").expect("written");
    assert_eq!(back.len(), sent.len());
    assert!(back == sent, "what came back differs");
    assert_eq!(pipes(), before + 4, "both ways went through a pipe, which is kept");
    let memory = balancer.peak_memory();
    assert!(memory < 64 << 20, "{memory} bytes at most");
}

#[test]
fn a_gibibyte_goes_through_whole() {
    const PIECE: usize = 1 << 20;
    let server = Server::start(|mut stream| {
        let mut piece = pattern(PIECE);
        for i in 0..1024_u32 {
            piece[..4].copy_from_slice(&i.to_be_bytes());
            stream.write_all(&piece)?;
        }
        Ok(())
    });
    let balancer = balancer(&server.url(), &["--workers", "1"]);
    let mut client = connect(balancer.address);
    let (mut piece, mut right) = (vec![0; PIECE], pattern(PIECE));
    for i in 0..1024_u32 {
        client.read_exact(&mut piece).expect("a piece");
        right[..4].copy_from_slice(&i.to_be_bytes());
        assert!(piece == right, "piece {i} differs");
    }
    assert_eq!(rest(&mut client).expect("the end"), b"");
    drop(client);
    logged(&balancer, &["0 up, 1073741824 down"]);
}

#[test]
fn a_server_may_speak_first() {
    let server = Server::named("220 ready\r\n");
    let balancer = balancer(&server.url(), &[]);
    assert_eq!(said(balancer.address), "220 ready\r\n");
}

#[test]
fn connections_go_around() {
    let servers = [Server::named("a"), Server::named("b"), Server::named("c")];
    let urls: Vec<_> = servers.iter().map(Server::url).collect();
    let balancer = balancer(&urls.join(","), &[]);
    let mut all: Vec<_> = (0..30).map(|_| said(balancer.address)).collect();
    all.sort();
    assert_eq!(all.concat(), ["a".repeat(10), "b".repeat(10), "c".repeat(10)].concat());
}

#[test]
fn a_client_keeps_its_backend_by_hash_and_by_memory() {
    let servers = [Server::named("a"), Server::named("b"), Server::named("c")];
    let urls: Vec<_> = servers.iter().map(Server::url).collect();
    // Those before stand, and must not push the next one elsewhere.
    let flags: [&[&str]; 3] =
        [&["--algorithm", "ip-hash"], &["--algorithm", "hash"], &["--sticky", "address"]];
    for flags in flags {
        let balancer = balancer(&urls.join(","), flags);
        let first = said(balancer.address);
        let mut standing = Vec::new();
        for _ in 0..10 {
            let mut client = connect(balancer.address);
            let mut heard = [0];
            client.read_exact(&mut heard).expect("its name");
            assert_eq!(heard, first.as_bytes(), "{flags:?}");
            standing.push(client);
        }
    }
}

#[test]
fn a_backend_that_refuses_costs_nobody_a_connection() {
    let (server, dead) = (Server::named("alive"), Port::reserve());
    let balancer = balancer(&format!("{},{}", dead.url(), server.url()), &[]);
    for _ in 0..50 {
        assert_eq!(said(balancer.address), "alive");
    }
    logged(&balancer, &["is out", "connect-failed"]);
}

#[test]
fn one_backend_after_the_other_is_tried_without_a_budget_and_the_same_again_within_it() {
    let (server, dead) = (Server::named("alive"), [Port::reserve(), Port::reserve()]);
    let [one, other] = dead.each_ref().map(Port::url);
    let start = |urls: &[&str]| {
        let flags = ["--mode", "tcp", "--health-check", "none", "--max-fails", "0", "--fail-rate", "0"];
        let rest = ["--retry-budget", "0", "--retry-delay", "1ms", "--backends", &urls.join(",")];
        Admin::start(&[&flags[..], &rest].concat())
    };
    let denied = |admin: &Admin| admin.json("/api/status")["counts"]["retries_denied"].as_u64();
    let admin = start(&[&one, &other, &server.url()]);
    for _ in 0..300 {
        assert_eq!(said(admin.balancer.address), "alive");
    }
    assert_eq!(denied(&admin), Some(0));
    let admin = start(&[&one, &other]);
    for _ in 0..50 {
        assert!(rest(&mut connect(admin.balancer.address)).is_err(), "nobody is there");
    }
    assert!(denied(&admin) >= Some(10), "{:?}", denied(&admin));
}

#[test]
fn http_passes_as_bytes() {
    let backend = Backend::named("plain");
    let balancer = balancer(&list([&backend]), &[]);
    assert_eq!(get(balancer.address, "/").expect("an answer").text(), "plain");
    assert!(!backend.last().head.has("via"), "{:?}", backend.last().head);
}

#[test]
fn much_after_a_switch_of_protocols_goes_without_a_copy_too() {
    const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
    let server = Server::start(|mut stream| {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            head.extend(byte);
        }
        stream.write_all(SWITCH)?;
        let mut from = stream.try_clone()?;
        std::io::copy(&mut from, &mut stream)?;
        stream.shutdown(Shutdown::Write)
    });
    let flags = ["--workers", "1", "--health-check", "none", "--backends", &server.url()];
    let balancer = Evenkeel::start(&flags);
    let pipes = || {
        let open = std::fs::read_dir(format!("/proc/{}/fd", balancer.id())).expect("descriptors");
        let links = open.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok());
        links.filter(|link| link.to_string_lossy().starts_with("pipe:")).count()
    };
    let before = pipes();
    let mut client = connect(balancer.address);
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        .expect("written");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).expect("a head");
        head.extend(byte);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    for len in [16 << 20, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 4 << 20] {
        let sent = pattern(len);
        let mut writer = client.try_clone().expect("a second handle");
        let bytes = sent.clone();
        let writing = thread::spawn(move || writer.write_all(&bytes));
        let mut back = vec![0; len];
        client.read_exact(&mut back).expect("the echo");
        writing.join().expect("no panic").expect("written");
        assert!(back == sent, "{len} bytes came back changed");
    }
    assert!(pipes() > before, "no pipe was used");
    client.shutdown(Shutdown::Write).expect("shutdown");
    assert_eq!(rest(&mut client).expect("the end"), b"");
    server.settles();
}
