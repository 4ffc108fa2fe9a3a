//! The PROXY protocol, taken and sent, with nginx and HAProxy as the other side.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Server, balancer, connect, logged, rest};
use crate::support::{Backend, Client, Evenkeel, Port, SOON, eventually, get, list};

const V1: &[u8] = b"PROXY TCP4 192.0.2.77 198.51.100.1 7777 443\r\n";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x4d\xc6\x33\x64\x01\x1e\x61\x01\xbb";
const TAKES: [&str; 4] = ["--proxy-protocol", "require", "--proxy-from", "127.0.0.0/8"];

/// Sends what came back to it, after its own header if it was given one.
fn sent_and_back(to: SocketAddr, pieces: &[&[u8]]) -> Vec<u8> {
    let mut client = connect(to);
    for piece in pieces {
        client.write_all(piece).expect("written");
        client.flush().expect("flushed");
    }
    client.shutdown(Shutdown::Write).expect("shutdown");
    rest(&mut client).expect("the end")
}

#[test]
fn a_header_is_taken_off_and_the_backend_is_told_of_the_client() {
    let server = Server::echo();
    for (version, announced) in [("v1", V1), ("v2", V2)] {
        let balancer = balancer(&server.url(), &[&TAKES[..], &["--send-proxy", version]].concat());
        for header in [V1, V2] {
            let whole = [header, b"hello"].concat();
            let back = sent_and_back(balancer.address, &[&whole]);
            assert_eq!(back, [announced, b"hello"].concat(), "{version}");
            let bytes: Vec<&[u8]> = whole.chunks(1).collect();
            assert_eq!(sent_and_back(balancer.address, &bytes), back);
        }
        logged(&balancer, &["client 192.0.2.77 tunnel to"]);
    }
}

#[test]
fn without_a_header_of_its_own_a_connection_says_its_own_ends() {
    let server = Server::echo();
    let plain = balancer(&server.url(), &["--send-proxy", "v1"]);
    let mut client = connect(plain.address);
    let own = client.local_addr().expect("an address");
    client.shutdown(Shutdown::Write).expect("shutdown");
    let said = String::from_utf8(rest(&mut client).expect("the end")).expect("text");
    let right = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n", own.port(), plain.address.port());
    assert_eq!(said, right);

    let balancer = balancer(&server.url(), &[&TAKES[..], &["--send-proxy", "v1"]].concat());
    for nothing in [&b"PROXY UNKNOWN\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"] {
        assert!(sent_and_back(balancer.address, &[nothing]).starts_with(b"PROXY TCP4 127.0.0.1 127.0.0.1 "));
    }
}

#[test]
fn what_is_missing_malformed_late_or_from_a_stranger_is_closed() {
    let server = Server::echo();
    let refused = |flags: &[&str], bytes: &[u8]| {
        let balancer = balancer(&server.url(), &[flags, &["--head-timeout", "300ms"]].concat());
        let mut client = connect(balancer.address);
        // A reset is told once, to whoever comes first.
        let reset = client.write_all(bytes).is_err() || rest(&mut client).is_err();
        assert!(reset, "{bytes:?}");
        eventually(SOON, "it is counted", || balancer.lines_with("bad-proxy-header", "closed") == 1);
    };
    refused(&TAKES, b"GET / HTTP/1.1\r\n\r\n");
    refused(&TAKES, b"PROXY TCP4 nonsense\r\n");
    refused(&TAKES, b"PROXY TCP4 192.0.2.77");
    refused(&TAKES, b"");
    refused(&["--proxy-protocol", "require", "--proxy-from", "10.0.0.0/8"], V1);
    assert_eq!(server.connections(), 0);
}

#[test]
fn where_a_header_is_no_must_others_are_served_as_what_they_are() {
    let server = Server::echo();
    let accept = |from| ["--proxy-protocol", "accept", "--proxy-from", from];
    let trusting = balancer(&server.url(), &accept("127.0.0.1"));
    assert_eq!(sent_and_back(trusting.address, &[b"plain"]), b"plain");
    assert_eq!(sent_and_back(trusting.address, &[b"P", b"LAIN"]), b"PLAIN");
    assert_eq!(sent_and_back(trusting.address, &[V2, b"after"]), b"after");
    let strict = balancer(&server.url(), &accept("10.0.0.0/8"));
    assert_eq!(sent_and_back(strict.address, &[V1]), V1);

    let first = Server::named("220 ready");
    let flags = [&accept("127.0.0.1")[..], &["--head-timeout", "200ms"]].concat();
    assert_eq!(super::said(balancer(&first.url(), &flags).address), "220 ready");
}

#[test]
fn limits_and_hashes_go_by_the_client_that_was_named() {
    let server = Server::echo();
    let flags = [&TAKES[..], &["--max-connections-per-client", "1", "--workers", "1"]].concat();
    let balancer = balancer(&server.url(), &flags);
    let open = |last: u8| {
        let mut client = connect(balancer.address);
        let header = format!("PROXY TCP4 192.0.2.{last} 198.51.100.1 7777 443\r\n");
        client.write_all(header.as_bytes()).expect("written");
        let lives = client.write_all(b"x").is_ok() && client.read_exact(&mut [0]).is_ok();
        lives.then_some(client)
    };
    let clients = [open(1), open(2), open(3)];
    assert!(clients.iter().all(Option::is_some));
    assert!(open(2).is_none(), "one too many");
    drop(clients);
    eventually(SOON, "there is room again", || open(2).is_some());
}

#[test]
fn whoever_says_nothing_counts_among_its_address() {
    let server = Server::start(|mut stream| {
        stream.write_all(b"220")?;
        stream.read(&mut [0]).map(|_| ())
    });
    let flags = ["--proxy-protocol", "accept", "--proxy-from", "127.0.0.1", "--head-timeout", "200ms"];
    let more = ["--max-connections-per-client", "1", "--workers", "1"];
    let balancer = balancer(&server.url(), &[&flags[..], &more].concat());
    let mut first = connect(balancer.address);
    first.read_exact(&mut [0; 3]).expect("the server speaks first");
    let second = rest(&mut connect(balancer.address)).expect_err("one too many");
    assert_eq!(second.kind(), std::io::ErrorKind::ConnectionReset);
    drop(first);
    eventually(SOON, "there is room again", || connect(balancer.address).read_exact(&mut [0; 3]).is_ok());
}

#[test]
fn in_http_the_named_client_is_the_one_forwarded_and_no_connection_is_shared() {
    let backend = Backend::named("x");
    let backends = list([&backend]);
    let flags = ["--backends", &backends, "--health-check", "none"];
    let balancer = Evenkeel::start(&[&flags[..], &TAKES[..]].concat());
    for header in [V1, V2] {
        let mut client = connect(balancer.address);
        client.write_all(&[header, b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"].concat()).expect("written");
        let mut answer = [0; 15];
        client.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
        assert_eq!(backend.last().head.joined("x-forwarded-for"), "192.0.2.77");
    }
    let mut stranger = connect(balancer.address);
    stranger.write_all(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n").expect("written");
    assert!(rest(&mut stranger).is_err());
}

/// nginx or HAProxy, ended with the test; `None` where it is not installed.
struct Peer {
    child: Child,
    directory: std::path::PathBuf,
}

impl Peer {
    fn start(program: &str, configuration: &str, port: &Port) -> Option<Self> {
        let directory = std::env::temp_dir().join(format!("evenkeel-{program}-{}", port.number()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let file = directory.join("conf");
        let text = configuration.replace("DIR", directory.to_str().expect("UTF-8"));
        std::fs::write(&file, text).expect("a file");
        let mut command = Command::new(program);
        match program {
            "nginx" => command.arg("-p").arg(&directory).arg("-c").arg(&file),
            _ => command.arg("-db").arg("-f").arg(&file),
        };
        command.env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()));
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let Ok(child) = spawned else {
            eprintln!("{program} is not installed: skipped");
            return None;
        };
        let mut peer = Self { child, directory };
        let start = Instant::now();
        while TcpStream::connect(port.address).is_err() {
            let ended = peer.child.try_wait().expect("its state");
            assert!(ended.is_none() && start.elapsed() < SOON, "{program} does not start: {ended:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(peer)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A free port that another process can take.
fn free() -> Port {
    Port::reserve()
}

#[test]
fn nginx_believes_what_it_is_told() {
    for (version, mode) in [("v1", "http"), ("v2", "http"), ("v1", "tcp"), ("v2", "tcp")] {
        let port = free();
        let configuration = format!(
            "daemon off; master_process off; pid DIR/pid; error_log DIR/error; events {{}}
             http {{ access_log off; client_body_temp_path DIR/a; proxy_temp_path DIR/b; fastcgi_temp_path DIR/c;
             uwsgi_temp_path DIR/d; scgi_temp_path DIR/e;
             server {{ listen 127.0.0.1:{} proxy_protocol;
             location / {{ return 200 \"$proxy_protocol_addr $proxy_protocol_server_port\"; }} }} }}",
            port.number()
        );
        let Some(_nginx) = Peer::start("nginx", &configuration, &port) else { return };
        let url = port.url();
        let flags = ["--mode", mode, "--backends", &url, "--send-proxy", version, "--health-check", "http"];
        let balancer = Evenkeel::start(&flags);
        let own = balancer.address.port();
        let mut client = Client::connect(balancer.address);
        for _ in 0..3 {
            assert_eq!(client.get("/").expect("an answer").text(), format!("127.0.0.1 {own}"), "{version}");
        }
        let announced = Evenkeel::start(&[&flags[..], &TAKES[..]].concat());
        let mut client = connect(announced.address);
        client
            .write_all(&[V1, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"].concat())
            .expect("written");
        let answer = String::from_utf8(rest(&mut client).expect("the end")).expect("text");
        assert!(answer.ends_with("192.0.2.77 443"), "{answer}");
        assert!(balancer.lines().iter().all(|line| !line.contains("is down")), "checks go through too");
    }
}

#[test]
fn haproxy_is_believed_and_believes() {
    let backend = Backend::named("behind");
    for version in ["v1", "v2"] {
        let (front, back) = (free(), free());
        let url = back.url();
        // HAProxy in front sends a header; evenkeel takes it and sends one of its own; HAProxy behind takes that.
        let flags = ["--mode", "tcp", "--backends", &url, "--health-check", "none", "--send-proxy", version];
        let balancer = Evenkeel::start(&[&flags[..], &TAKES[..]].concat());
        let send = if version == "v1" { "send-proxy" } else { "send-proxy-v2" };
        let configuration = format!(
            "defaults\n mode http\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n\
             listen front\n mode tcp\n bind 127.0.0.1:{}\n server a {} {send} source 127.0.0.5\n\
             listen back\n bind 127.0.0.1:{} accept-proxy\n option forwardfor\n server b {}\n",
            front.number(),
            balancer.address,
            back.number(),
            backend.address()
        );
        let Some(_haproxy) = Peer::start("haproxy", &configuration, &front) else { return };
        assert_eq!(get(front.address, "/").expect("an answer").text(), "behind", "{version}");
        // The client connected from there, HAProxy from 127.0.0.5.
        assert_eq!(backend.last().head.joined("x-forwarded-for"), "127.0.0.1", "{version}");
    }
}
