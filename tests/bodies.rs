//! Bodies of any size pass whole in both directions, with bounded memory, however slow the reader.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::admin::Admin;
use crate::admin::metrics::scrape;
use crate::support::{Backend, Client, Evenkeel, Framing, Pattern, Reply, Request, SOON, eventually, list};

const LARGE: u64 = 100_000_000;
/// What passing a body may add to the process: buffers, not bodies.
const MEMORY: u64 = 64 << 20;
/// What the kernel may hold of one stalled direction: socket buffers on two connections, both ends.
const SOCKETS: u64 = 48 << 20;

/// A body of the pattern with a length.
fn write_length(mut to: impl Write, length: u64) -> io::Result<()> {
    let (mut pattern, mut left) = (Pattern::default(), length);
    while left > 0 {
        let part = pattern.next(usize::try_from(left).unwrap_or(usize::MAX).min(64 << 10));
        to.write_all(part)?;
        left -= part.len() as u64;
    }
    Ok(())
}

/// A chunked body of the pattern, in chunks of at most `chunk` bytes.
fn write_chunked(mut to: impl Write, length: u64, chunk: usize) -> io::Result<()> {
    let (mut pattern, mut left) = (Pattern::default(), length);
    while left > 0 {
        let part = pattern.next(usize::try_from(left).unwrap_or(usize::MAX).min(chunk));
        let framed = [format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat();
        to.write_all(&framed)?;
        left -= part.len() as u64;
    }
    to.write_all(b"0\r\n\r\n")
}

/// Adapts a script's reply to `Write`.
struct Out<'a, 'b>(&'a Reply<'b>);

impl Write for Out<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(bytes).map(|()| bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Answers `/length/N`, `/chunked/N` and `/until-close/N` with N bytes of the pattern, and any body with its fate.
fn serve(request: &Request, reply: &mut Reply<'_>) -> io::Result<()> {
    let mut parts = request.target.split('/').skip(1);
    let (kind, size) = (parts.next().unwrap_or(""), parts.next().and_then(|n| n.parse().ok()).unwrap_or(0));
    match kind {
        "length" => {
            reply.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n"))?;
            write_length(Out(reply), size)
        }
        "chunked" => {
            reply.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            write_chunked(Out(reply), size, 20_000)
        }
        "until-close" => {
            reply.close();
            reply.send("HTTP/1.1 200 OK\r\n\r\n")?;
            write_length(Out(reply), size)
        }
        _ => {
            let fate = if request.body.off_pattern { "broken" } else { "whole" };
            reply.ok(&format!("{fate} {}", request.body.length))
        }
    }
}

fn download(client: &mut Client, kind: &str, size: u64) {
    let response = client.get(&format!("/{kind}/{size}")).expect("a response");
    assert_eq!(response.status, 200);
    assert!(response.body.is_pattern(size), "{kind} {size}: {} bytes came", response.body.length);
}

fn upload(client: &mut Client, kind: &str, size: u64) {
    let head = "POST /upload HTTP/1.1\r\nHost: h\r\n";
    let sent = match kind {
        "length" => client
            .send(format!("{head}Content-Length: {size}\r\n\r\n"))
            .and_then(|()| write_length(client.stream(), size)),
        _ => client
            .send(format!("{head}Transfer-Encoding: chunked\r\n\r\n"))
            .and_then(|()| write_chunked(client.stream(), size, 20_000)),
    };
    sent.expect("send the body");
    assert_eq!(client.response("POST").expect("a response").text(), format!("whole {size}"), "{kind}");
}

/// Passes `size` bytes and says how much the process has grown at its peak.
fn growth(pass: impl Fn(&mut Client)) -> u64 {
    let backend = Backend::start(serve);
    let balancer = Evenkeel::start(&["--backends", &backend.url(), "--workers", "1"]);
    let mut client = Client::connect(balancer.address);
    client.get("/warm").expect("a response");
    let before = balancer.peak_memory();
    pass(&mut client);
    balancer.peak_memory() - before
}

#[test]
fn a_hundred_megabytes_down_need_bounded_memory() {
    for kind in ["length", "chunked"] {
        let grown = growth(|client| download(client, kind, LARGE));
        assert!(grown < MEMORY, "{kind}: grown by {grown} bytes");
    }
}

#[test]
fn a_hundred_megabytes_up_need_bounded_memory() {
    for kind in ["length", "chunked"] {
        let grown = growth(|client| upload(client, kind, LARGE));
        assert!(grown < MEMORY, "{kind}: grown by {grown} bytes");
    }
}

#[test]
fn bodies_around_every_buffer_size_pass_whole() {
    let backends = [Backend::start(serve), Backend::start(serve)];
    let balancer = Evenkeel::start(&["--backends", &list(&backends)]);
    let mut client = Client::connect(balancer.address);
    for power in [10, 12, 13, 14, 15, 16, 17, 18, 20] {
        for size in [(1 << power) - 1, 1 << power, (1 << power) + 1] {
            download(&mut client, "length", size);
            download(&mut client, "chunked", size);
            upload(&mut client, "length", size);
            upload(&mut client, "chunked", size);
            download(&mut Client::connect(balancer.address), "until-close", size);
        }
    }
}

#[test]
fn bodies_cross_on_many_connections_unmixed() {
    let backends = [Backend::start(serve), Backend::start(serve)];
    let balancer = Evenkeel::start(&["--backends", &list(&backends), "--workers", "2"]);
    std::thread::scope(|scope| {
        for i in 0..16_u64 {
            let address = balancer.address;
            scope.spawn(move || {
                let mut client = Client::connect(address);
                for round in 0..5 {
                    let size = 1_000 + i * 37_777 + round * 211;
                    download(&mut client, "length", size);
                    upload(&mut client, "chunked", size);
                    download(&mut client, "chunked", size);
                }
            });
        }
    });
}

/// Waits until a counter has stood still for a while: whoever moves it is blocked.
fn settled(counter: &AtomicU64) -> u64 {
    let (mut last, mut since) = (counter.load(SeqCst), Instant::now());
    eventually(SOON, "the writer is held back", || {
        let now = counter.load(SeqCst);
        if now != last {
            (last, since) = (now, Instant::now());
        }
        last > 0 && since.elapsed() > Duration::from_millis(400)
    });
    last
}

/// Counts what passes through it.
struct Counted<W>(W, Arc<AtomicU64>);

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.0.write(bytes)?;
        self.1.fetch_add(written as u64, SeqCst);
        Ok(written)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[test]
fn a_client_that_does_not_read_holds_its_backend_back_and_nothing_grows() {
    for kind in ["length", "chunked"] {
        let sent = Arc::new(AtomicU64::new(0));
        let counter = sent.clone();
        let backend = Backend::start(move |request, reply| {
            let out = Counted(Out(reply), counter.clone());
            match request.target.as_str() {
                "/length" => {
                    reply.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n"))?;
                    write_length(out, LARGE)
                }
                "/chunked" => {
                    reply.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
                    write_chunked(out, LARGE, 20_000)
                }
                _ => reply.ok("warm"),
            }
        });
        let balancer = Evenkeel::start(&["--backends", &backend.url(), "--workers", "1"]);
        let mut client = Client::connect(balancer.address);
        client.get("/warm").expect("a response");
        let before = balancer.peak_memory();
        client.send(format!("GET /{kind} HTTP/1.1\r\nHost: h\r\n\r\n")).expect("send");
        let held = settled(&sent);
        assert!(held < SOCKETS, "{kind}: {held} bytes went to a client that reads none");
        assert_eq!(Client::connect(balancer.address).get("/other").expect("others are served").status, 200);
        let response = client.response("GET").expect("the whole response in the end");
        assert!(response.body.is_pattern(LARGE), "{kind}: {} bytes came", response.body.length);
        let grown = balancer.peak_memory() - before;
        assert!(grown < MEMORY, "{kind}: grown by {grown} bytes");
    }
}

/// A backend that reads a head, then nothing until told, then all; the first connection with bytes tells its stream.
fn reluctant() -> (String, std::sync::mpsc::Receiver<TcpStream>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            // A probe sends nothing and is over at once.
            if stream.peek(&mut [0]).is_ok_and(|n| n > 0) && tell.send(stream).is_err() {
                break;
            }
        }
    });
    (url, told)
}

#[test]
fn a_backend_that_does_not_read_holds_its_client_back_and_nothing_grows() {
    let (url, streams) = reluctant();
    let balancer = Evenkeel::start(&["--backends", &url, "--workers", "1"]);
    let before = balancer.peak_memory();
    let sent = Arc::new(AtomicU64::new(0));
    let mut client = Client::connect(balancer.address);
    client.send(format!("POST /slow HTTP/1.1\r\nHost: h\r\nContent-Length: {LARGE}\r\n\r\n")).expect("send");
    let out = Counted(client.stream().try_clone().expect("a second handle"), sent.clone());
    let sending = std::thread::spawn(move || write_length(out, LARGE));
    let mut stream = streams.recv_timeout(SOON).expect("the request arrives");
    let held = settled(&sent);
    assert!(held < SOCKETS, "{held} bytes were taken for a backend that reads none");

    let mut wire = crate::support::wire::Wire::new(stream.try_clone().expect("a second handle"));
    let head = wire.head().expect("valid").expect("a head");
    assert_eq!(head.request_framing().expect("valid"), Framing::Length(LARGE));
    let mut body = Default::default();
    wire.body(Framing::Length(LARGE), &mut body).expect("the whole body in the end");
    assert!(body.is_pattern(LARGE));
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").expect("answer");
    assert_eq!(client.response("POST").expect("a response").text(), "ok");
    sending.join().expect("no panic").expect("all sent");
    let grown = balancer.peak_memory() - before;
    assert!(grown < MEMORY, "grown by {grown} bytes");
}

#[test]
fn a_response_is_passed_on_as_it_comes() {
    let (gate, opened) = std::sync::mpsc::sync_channel::<()>(1);
    let opened = std::sync::Mutex::new(opened);
    let backend = Backend::start(move |_, reply| {
        reply.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")?;
        let _ = opened.lock().unwrap().recv_timeout(SOON);
        reply.send("later")
    });
    let balancer = Evenkeel::start(&["--backends", &backend.url()]);
    let client = Client::connect(balancer.address);
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").expect("send");
    let mut early = Vec::new();
    let mut piece = [0; 1024];
    while !early.ends_with(b"first") {
        let n = client.stream().read(&mut piece).expect("the beginning, before the rest exists");
        assert!(n > 0, "ended early: {}", String::from_utf8_lossy(&early));
        early.extend_from_slice(&piece[..n]);
    }
    gate.send(()).expect("open the gate");
    let mut rest = [0; 5];
    client.stream().read_exact(&mut rest).expect("the rest");
    assert_eq!(&rest, b"later");
}

/// The kernel tells nothing of a client that will be closed until it has to be waited for.
#[test]
fn a_slow_client_that_is_closed_afterwards_does_not_wait_for_a_timer() {
    const SIZE: usize = 20_000_000;
    let backend = Backend::start(|_, reply| {
        reply.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"))?;
        reply.send(vec![b'x'; SIZE])
    });
    let balancer = Evenkeel::start(&["--workers", "1", "--backends", &backend.url()]);
    // Frozen, so that the request has come when the connection is accepted.
    balancer.signal(Signal::STOP);
    let mut client = Client::connect(balancer.address);
    client.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").expect("send");
    balancer.signal(Signal::CONT);
    let (_, _, framing) = client.head().expect("the head");
    // Until the sockets between are full.
    std::thread::sleep(Duration::from_millis(200));
    let start = Instant::now();
    let mut body = Default::default();
    client.body(framing, &mut body).expect("the whole body");
    assert_eq!(body.length, SIZE as u64);
    let took = start.elapsed();
    assert!(took < Duration::from_millis(600), "took {took:?}");
}

/// Long before the backend is given up: what the pipe holds for it hides nothing.
#[test]
fn a_client_that_leaves_within_its_body_is_noticed_though_the_backend_takes_nothing() {
    let (url, streams) = reluctant();
    let admin = Admin::start(&["--backends", &url, "--workers", "1"]);
    let client = Client::connect(admin.balancer.address);
    client.send(format!("POST /left HTTP/1.1\r\nHost: h\r\nContent-Length: {LARGE}\r\n\r\n")).expect("send");
    let _stream = streams.recv_timeout(SOON).expect("the request arrives");
    let sum = |of: &str| {
        let all = scrape(&admin);
        all.iter().filter(|(name, _)| name.starts_with(of)).map(|(_, n)| n).sum::<f64>()
    };
    let held = || sum("evenkeel_worker_received_bytes_total") - sum("evenkeel_backend_sent_bytes_total");
    let (piece, start) = (vec![b'x'; 64 * 1024], Instant::now());
    while held() < 200_000.0 {
        client.send(&piece).expect("taken");
        assert!(start.elapsed() < SOON, "the backend's side takes everything");
    }
    drop(client);
    admin.balancer.await_failures("client-closed", 1);
}
