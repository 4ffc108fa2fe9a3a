//! One keep-alive request over real sockets: straight to a tiny backend, and through the real balancer before it.
//! The difference is what the balancer adds to one request on a quiet machine.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};

const PATIENCE: Duration = Duration::from_secs(10);
const SIZES: [(&str, usize); 2] = [("small", 14), ("16k", 16 * 1024)];

/// The balancer as a process of its own; ended when dropped.
struct Balancer(Child);

impl Balancer {
    /// Starts it with one worker before one backend; gives the address that it listens on.
    fn start(backend: SocketAddr) -> (Self, SocketAddr) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
            .args(["--listen", "127.0.0.1:0", "--workers", "1", "--backends", &backend.to_string()])
            .env_remove("PROXY_PORT")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("evenkeel starts");
        let mut log = BufReader::new(child.stderr.take().expect("piped"));
        let balancer = Self(child);
        let mut line = String::new();
        loop {
            line.clear();
            let read = log.read_line(&mut line).expect("its log");
            assert!(read > 0, "evenkeel ended before it listened");
            if let Some((_, address)) = line.split_once("listening on ") {
                // Whoever writes to a pipe that nobody reads comes to a stop.
                thread::spawn(move || log.bytes().for_each(drop));
                return (balancer, address.trim().parse().expect("an address"));
            }
        }
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A backend that answers every request on every connection with a body of that length.
fn backend(length: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let mut response = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into_bytes();
    response.resize(response.len() + length, b'r');
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let response = response.clone();
            thread::spawn(move || serve(stream, &response));
        }
    });
    address
}

fn serve(mut stream: TcpStream, response: &[u8]) {
    let (mut request, mut filled) = ([0; 4096], 0);
    stream.set_nodelay(true).expect("a socket");
    while let Ok(n) = stream.read(&mut request[filled..]) {
        filled += n;
        if n == 0 || filled == request.len() {
            return;
        }
        if request[..filled].ends_with(b"\r\n\r\n") {
            filled = 0;
            if stream.write_all(response).is_err() {
                return;
            }
        }
    }
}

/// A client that keeps its connection.
struct Client {
    stream: TcpStream,
    room: Vec<u8>,
}

impl Client {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("a listener");
        stream.set_nodelay(true).expect("a socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        Self { stream, room: vec![0; 64 * 1024] }
    }

    /// Sends one request and reads its response, whose body has that length.
    fn ask(&mut self, length: usize) {
        self.stream.write_all(b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n").expect("sent");
        let (mut filled, mut whole) = (0, usize::MAX);
        while filled < whole {
            let n = self.stream.read(&mut self.room[filled..]).expect("an answer");
            assert!(n > 0, "closed in the middle of an answer");
            filled += n;
            if whole == usize::MAX
                && let Some(end) = self.room[..filled].windows(4).position(|w| w == b"\r\n\r\n")
            {
                assert!(self.room.starts_with(b"HTTP/1.1 200 "), "an answer other than 200");
                whole = end + 4 + length;
            }
        }
    }
}

fn loopback(c: &mut Criterion) {
    let mut group = c.benchmark_group("loopback");
    for (name, length) in SIZES {
        let backend = backend(length);
        let mut client = Client::connect(backend);
        group.bench_function(format!("{name}/direct"), |b| b.iter(|| client.ask(length)));
        let (balancer, address) = Balancer::start(backend);
        let mut client = Client::connect(address);
        group.bench_function(format!("{name}/evenkeel"), |b| b.iter(|| client.ask(length)));
        drop(balancer);
    }
    group.finish();
}

criterion_group!(benches, loopback);
criterion_main!(benches);
