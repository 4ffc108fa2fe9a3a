//! The origin: what the proxies proxy to. One thread, three ports, `/b/N` answers N bytes in one write.
//!
//! It must cost far less than any proxy, so it formats an answer once a size and reads no header it does not need.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream as StdStream};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token};

use crate::machine::Machine;
use crate::ports;
use crate::process::Process;

/// First argument with which this program starts itself as the origin.
pub(crate) const ORIGIN: &str = "origin";
const PORTS: usize = 3;
const BODY_MAX: usize = 64 << 20;
const HEADERS_MAX: usize = 100;
const READ: usize = 64 << 10;

/// The origin as the bench sees it: a child process. Dropping it ends it.
pub(crate) struct Origin {
    _process: Process,
    /// Loopback ports, all served alike.
    pub(crate) ports: Vec<u16>,
    nonce: String,
}

/// Connections accepted and requests answered since the start.
#[derive(Clone, Copy)]
pub(crate) struct Served {
    pub(crate) accepts: u64,
    pub(crate) requests: u64,
}

impl Origin {
    /// Starts it on the load CPU and waits until it listens.
    pub(crate) fn start(machine: &Machine, dir: &std::path::Path) -> Result<Origin, String> {
        let program = std::env::current_exe().map_err(|e| format!("own path: {e}"))?;
        let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
        let nonce = format!("{:x}-{:x}", std::process::id(), since.as_nanos());
        let argv = [program.into(), OsString::from(ORIGIN), OsString::from(&nonce)];
        let mut process = Process::start(ORIGIN, machine.load_cpu, &argv, dir)?;
        let ports = process.wait_until("to listen", |p| {
            let line = p.printed();
            let ports = line.strip_prefix("ports ")?.strip_suffix('\n')?;
            ports.split(' ').map(|p| p.parse().ok()).collect::<Option<Vec<u16>>>()
        })?;
        for &port in &ports {
            ports::owned(port, &process.tree())?;
        }
        Ok(Origin { _process: process, ports, nonce })
    }

    /// Whether `port` (a proxy's) leads to this very origin.
    pub(crate) fn answers_through(&self, port: u16) -> bool {
        ask(port, "/b/1").is_some_and(|a| {
            a.starts_with("HTTP/1.1 200 ")
                && a.to_ascii_lowercase().contains(&format!("x-origin: {}", self.nonce))
        })
    }

    /// Reads its counters.
    pub(crate) fn served(&self) -> Result<Served, String> {
        let parse = |answer: String| {
            let (accepts, requests) = answer.split_once("\r\n\r\n")?.1.split_once(' ')?;
            Some(Served { accepts: accepts.parse().ok()?, requests: requests.parse().ok()? })
        };
        ask(self.ports[0], "/served").and_then(parse).ok_or_else(|| "the origin does not answer".into())
    }
}

/// One request on a connection of its own; the whole answer as text.
fn ask(port: u16, path: &str) -> Option<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = StdStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    let head = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// The child's side: prints its ports, then serves until it is killed. Returns only an error.
pub(crate) fn serve(nonce: &str) -> std::io::Error {
    match run(nonce) {
        Ok(never) => match never {},
        Err(e) => e,
    }
}

fn run(nonce: &str) -> std::io::Result<std::convert::Infallible> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(512);
    let mut listeners = Vec::new();
    for index in 0..PORTS {
        let mut listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0).into())?;
        poll.registry().register(&mut listener, Token(index), Interest::READABLE)?;
        listeners.push(listener);
    }
    let ports = listeners.iter().map(|l| Ok(l.local_addr()?.port().to_string()));
    println!("ports {}", ports.collect::<std::io::Result<Vec<_>>>()?.join(" "));
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut answers = Answers { nonce: nonce.into(), ready: HashMap::new(), accepts: 0, requests: 0 };
    let mut input = vec![0; READ];
    loop {
        match poll.poll(&mut events, None) {
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            other => other?,
        }
        for event in &events {
            let token = event.token().0;
            if let Some(listener) = listeners.get(token) {
                accept(listener, poll.registry(), &mut connections, &mut answers)?;
                continue;
            }
            let Some(slot) = connections.get_mut(token - PORTS) else { continue };
            let Some(connection) = slot else { continue };
            if !connection.turn(&mut input, &mut answers, event.is_read_closed()) {
                *slot = None;
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    registry: &Registry,
    connections: &mut Vec<Option<Connection>>,
    answers: &mut Answers,
) -> std::io::Result<()> {
    loop {
        let mut stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(e) if matches!(e.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => continue,
            Err(e) => return Err(e),
        };
        stream.set_nodelay(true)?;
        answers.accepts += 1;
        let index = connections.iter().position(Option::is_none).unwrap_or(connections.len());
        let both = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut stream, Token(PORTS + index), both)?;
        let connection =
            Connection { stream, head: Vec::new(), body_left: 0, size: 0, sending: None, last: false };
        if index == connections.len() {
            connections.push(Some(connection));
        } else {
            connections[index] = Some(connection);
        }
    }
}

/// Whole answers by body size, formatted once, and the counters.
struct Answers {
    nonce: String,
    ready: HashMap<usize, Vec<u8>>,
    accepts: u64,
    requests: u64,
}

impl Answers {
    /// Size key of the counters' answer, which is made anew each time.
    const SERVED: usize = usize::MAX;
    /// Size key of the answer to what this origin does not read.
    const REFUSED: usize = usize::MAX - 1;

    fn prepare(&mut self, size: usize) {
        if size == Self::SERVED {
            let body = format!("{} {}", self.accepts, self.requests);
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            self.ready.insert(size, (head + &body).into_bytes());
            return;
        }
        self.requests += 1;
        let nonce = &self.nonce;
        self.ready.entry(size).or_insert_with(|| {
            if size == Self::REFUSED {
                return b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                    .to_vec();
            }
            let kind = "Server: origin\r\nContent-Type: text/plain";
            let head =
                format!("HTTP/1.1 200 OK\r\n{kind}\r\nX-Origin: {nonce}\r\nContent-Length: {size}\r\n\r\n");
            let mut answer = head.into_bytes();
            answer.resize(answer.len() + size, b'x');
            answer
        });
    }
}

struct Connection {
    stream: TcpStream,
    /// A head that came in pieces; empty in the usual case of one read.
    head: Vec<u8>,
    /// Bytes of the request body still to come; the answer waits for them.
    body_left: usize,
    size: usize,
    /// Bytes already written of the answer under way.
    sending: Option<usize>,
    /// Close once the answer has left.
    last: bool,
}

impl Connection {
    /// Reads and answers until nothing moves; false when the connection has ended.
    fn turn(&mut self, input: &mut [u8], answers: &mut Answers, peer_ended: bool) -> bool {
        loop {
            match self.flush(answers) {
                Some(true) => {}
                Some(false) => return true,
                None => return false,
            }
            let n = match self.stream.read(input) {
                Ok(0) => return false,
                Ok(n) => n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return true,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return false,
            };
            self.take(&input[..n], answers);
            // A short read has drained the socket; its next bytes bring their own event.
            if n < input.len() && !peer_ended {
                return self.flush(answers).is_some();
            }
        }
    }

    /// `Some(true)`: nothing left to write. `Some(false)`: the socket is full. `None`: ended.
    fn flush(&mut self, answers: &Answers) -> Option<bool> {
        while let Some(sent) = self.sending {
            let answer = answers.ready.get(&self.size)?;
            match self.stream.write(&answer[sent..]) {
                Ok(n) if sent + n == answer.len() => {
                    self.sending = None;
                    if self.last {
                        return None;
                    }
                }
                Ok(n) => self.sending = Some(sent + n),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Some(false),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
        Some(true)
    }

    /// Takes the bytes of at most one request: no proxy here sends a second before it has the answer.
    fn take(&mut self, bytes: &[u8], answers: &mut Answers) {
        if self.body_left > 0 {
            self.body_left = self.body_left.saturating_sub(bytes.len());
        } else {
            let whole = if self.head.is_empty() {
                self.read_head(bytes)
            } else {
                self.head.extend_from_slice(bytes);
                let head = std::mem::take(&mut self.head);
                let whole = self.read_head(&head);
                self.head = head;
                whole
            };
            if !whole {
                if self.head.is_empty() {
                    self.head.extend_from_slice(bytes);
                }
                return;
            }
            self.head.clear();
        }
        if self.body_left == 0 {
            answers.prepare(self.size);
            self.sending = Some(0);
        }
    }

    /// Reads a head into `size`, `body_left` and `last`; false when it is not whole yet.
    fn read_head(&mut self, bytes: &[u8]) -> bool {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut headers);
        let length = match request.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return false,
            Err(_) => {
                (self.size, self.last) = (Answers::REFUSED, true);
                return true;
            }
        };
        self.size = match request.path.unwrap_or_default() {
            "/served" => Answers::SERVED,
            path => {
                let size = path.strip_prefix("/b/").and_then(|n| n.parse().ok());
                size.filter(|&n| n <= BODY_MAX).unwrap_or(Answers::REFUSED)
            }
        };
        let mut body: usize = 0;
        for header in request.headers.iter() {
            if header.name.eq_ignore_ascii_case("content-length") {
                body = std::str::from_utf8(header.value).ok().and_then(|v| v.parse().ok()).unwrap_or(0);
            } else if header.name.eq_ignore_ascii_case("connection") {
                self.last |= header.value.eq_ignore_ascii_case(b"close");
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                // No scenario sends chunks: a proxy that makes some shows as an error.
                self.size = Answers::REFUSED;
            }
        }
        self.last |= self.size == Answers::REFUSED || self.size == Answers::SERVED;
        self.body_left = body.saturating_sub(bytes.len() - length);
        true
    }
}
