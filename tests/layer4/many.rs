//! Ten thousand connections, one after the other and at once, leave nothing behind.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::ends::{handing, reset};
use super::{Server, balancer, connect, said};
use crate::support::{Evenkeel, SOON, eventually, many_open_files};

const MANY: usize = 10_000;
/// What the process may need for each connection, the allocator's slack and its growth steps included.
const MEMORY_EACH: u64 = 2048;

fn open(balancer: &Evenkeel) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", balancer.id())).expect("descriptors").count()
}

#[test]
fn nothing_is_left_of_many_connections() {
    let server = Server::named("x");
    let balancer = balancer(&server.url(), &["--workers", "2"]);
    assert_eq!(said(balancer.address), "x");
    eventually(SOON, "the first one is gone", || balancer.lines().iter().any(|line| line.contains("ended")));
    let before = open(&balancer);
    let threads: Vec<_> = (0..10)
        .map(|_| {
            let address = balancer.address;
            std::thread::spawn(move || (0..1_000).for_each(|_| assert_eq!(said(address), "x")))
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("all answered"));
    eventually(SOON, "all descriptors are closed", || open(&balancer) <= before);
    server.settles();
    assert_eq!(server.connections(), 10_001);
}

/// Both ends of a connection through the balancer.
struct Carried {
    client: TcpStream,
    server: TcpStream,
}

impl Carried {
    fn exchange(&mut self, text: [u8; 4]) {
        let mut seen = [0; 4];
        self.client.write_all(&text).expect("written");
        self.server.read_exact(&mut seen).expect("it arrives");
        self.server.write_all(&seen).expect("written");
        self.client.read_exact(&mut seen).expect("it comes back");
        assert_eq!(seen, text);
    }
}

#[test]
fn as_many_at_once_are_all_carried_and_leave_nothing() {
    let (_turn, files) = many_open_files();
    // The balancer needs two for each, and so does this test, which is both ends.
    let at_once = MANY.min(files * 2 / 5);
    let (server, streams) = handing();
    let limit = at_once.to_string();
    let balancer = balancer(&server.url(), &["--workers", "2", "--max-connections", &limit]);
    let carry = || {
        let client = connect(balancer.address);
        let server = streams.recv_timeout(SOON).expect("the backend is dialled");
        Carried { client, server }
    };
    carry().exchange(*b"warm");
    eventually(SOON, "the first one is gone", || balancer.lines().iter().any(|line| line.contains("ended")));
    let (before, memory) = (open(&balancer), balancer.peak_memory());
    let mut left = MANY;
    while left > 0 {
        let wave = left.min(at_once);
        let mut carried: Vec<Carried> = (0..wave).map(|_| carry()).collect();
        assert_eq!(open(&balancer), before + 2 * wave);
        for (i, one) in carried.iter_mut().enumerate() {
            one.exchange(u32::try_from(i).expect("few").to_be_bytes());
        }
        let grown = balancer.peak_memory() - memory;
        assert!(grown < at_once as u64 * MEMORY_EACH, "grown by {grown} bytes for {at_once} connections");
        for (i, Carried { client, server }) in carried.into_iter().enumerate() {
            match i % 3 {
                0 => drop((client, server)),
                1 => drop((server, client)),
                _ => reset(client),
            }
        }
        eventually(SOON, "all descriptors are closed", || open(&balancer) <= before);
        left -= wave;
    }
    assert_eq!(server.connections(), MANY + 1);
}
