//! Bounds hold to the connection.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use socket2::SockRef;

use super::{Server, balancer, connect, logged, names, rest};
use crate::admin::Admin;
use crate::admin::gauges::sum;
use crate::admin::metrics::scrape;
use crate::support::{SOON, eventually};

fn lives(client: &mut TcpStream) -> bool {
    client.write_all(b"x").is_ok() && client.read_exact(&mut [0]).is_ok()
}

#[test]
fn a_client_has_so_many_connections_and_no_more() {
    let server = Server::echo();
    let balancer = balancer(&server.url(), &["--max-connections-per-client", "3", "--workers", "1"]);
    let mut open: Vec<_> = (0..3).map(|_| connect(balancer.address)).collect();
    assert!(open.iter_mut().all(lives));
    assert!(rest(&mut connect(balancer.address)).is_err(), "the fourth is reset");
    logged(&balancer, &["too-many-connections"]);
    open.pop();
    eventually(SOON, "there is room for another", || lives(&mut connect(balancer.address)));
}

#[test]
fn a_full_backend_has_connections_wait_their_turn() {
    let server = Server::echo();
    let flags = ["--backend-max-connections", "2", "--queue-length", "1", "--queue-timeout", "10s"];
    let balancer = balancer(&server.url(), &[&flags[..], &["--workers", "1"]].concat());
    let mut open: Vec<_> = (0..2).map(|_| connect(balancer.address)).collect();
    assert!(open.iter_mut().all(lives));
    let mut waiting = connect(balancer.address);
    waiting.write_all(b"early").expect("taken by the kernel");
    // Whoever comes while one waits finds the queue full.
    eventually(SOON, "the queue is full", || {
        let mut other = connect(balancer.address);
        rest(&mut other).is_err()
    });
    assert_eq!(server.connections(), 2);
    drop(open.pop());
    let mut echo = [0; 5];
    waiting.read_exact(&mut echo).expect("its turn has come");
    assert_eq!(&echo, b"early");
    assert_eq!(server.connections(), 3);
}

#[test]
fn a_connection_beyond_its_rate_counts_at_its_route_and_its_line_names_that() {
    let server = Server::echo();
    let directory = names::Directory::new("rate");
    let log = directory.0.join("a.log");
    let admin = Admin::start_with_file(&format!(
        "[access_log]\npath = \"{}\"\nformat = \"json\"\n\
         [[listener]]\nname = \"l\"\naddress = \"127.0.0.1:0\"\nmode = \"tcp\"\n\
         [[listener.route]]\nname = \"few\"\nsni = [\"a.example\"]\npool = \"p\"\n\
         rate_limit = {{ requests = 1, per = \"1h\", burst = 1 }}\n\
         [[pool]]\nname = \"p\"\nhealth = {{ kind = \"none\" }}\n[[pool.backend]]\nurl = \"{}\"\n",
        log.display(),
        server.url()
    ));
    let hello = names::hello(b"a.example");
    let ask = || {
        let mut client = connect(admin.balancer.address);
        client.write_all(&hello).expect("taken by the kernel");
        let _ = client.shutdown(Shutdown::Write);
        rest(&mut client)
    };
    assert_eq!(ask().expect("the echo"), hello);
    assert!(ask().is_err(), "the second is reset");
    let found = scrape(&admin);
    assert_eq!(sum(&found, "evenkeel_route_failures_total"), 1.0);
    assert_eq!(sum(&found, "evenkeel_route_requests_total"), 0.0, "nobody was answered");
    let limited = |line: &str| line.contains("rate-limited") && line.contains("\"route\":\"few\"");
    eventually(SOON, "its line", || {
        std::fs::read_to_string(&log).is_ok_and(|text| text.lines().any(limited))
    });
}

#[test]
fn a_reader_that_takes_nothing_costs_little() {
    let server = Server::start(|mut stream| {
        let piece = vec![7; 1 << 20];
        for _ in 0..256 {
            stream.write_all(&piece)?;
        }
        Ok(())
    });
    let balancer = balancer(&server.url(), &["--workers", "1"]);
    let slow: Vec<_> = (0..8).map(|_| connect(balancer.address)).collect();
    std::thread::sleep(Duration::from_secs(2));
    let memory = balancer.peak_memory();
    assert!(memory < 32 << 20, "{memory} bytes at most");
    drop(slow);
    server.settles();
}

#[test]
fn a_client_may_end_its_side_while_it_waits() {
    let server = Server::echo();
    let flags = ["--backend-max-connections", "1", "--queue-timeout", "10s", "--workers", "1"];
    let balancer = balancer(&server.url(), &flags);
    let mut first = connect(balancer.address);
    assert!(lives(&mut first));
    let [mut ended, reset] = [(); 2].map(|()| connect(balancer.address));
    ended.write_all(b"all at once").expect("taken by the kernel");
    ended.shutdown(Shutdown::Write).expect("shutdown");
    SockRef::from(&reset).set_linger(Some(Duration::ZERO)).expect("linger");
    drop(reset);
    logged(&balancer, &["tunnel to nobody: client-closed"]);
    drop(first);
    assert_eq!(rest(&mut ended).expect("its turn has come"), b"all at once");
    assert_eq!(server.connections(), 2);
}
