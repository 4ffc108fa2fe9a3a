//! The server as its clients see it: over real sockets.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, TcpStream};

use super::*;

const DEADLINE: Duration = Duration::from_secs(10);

struct Client {
    stream: BufReader<TcpStream>,
}

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Client {
    fn connect(server: &Server) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).expect("connects");
        stream.set_read_timeout(Some(DEADLINE)).expect("takes a timeout");
        stream.set_nodelay(true).expect("takes nodelay");
        Self { stream: BufReader::new(stream) }
    }

    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).expect("sends");
    }

    fn head(&mut self) -> (u16, String) {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(self.stream.read_line(&mut head).expect("a line") > 0, "ended after {head:?}");
        }
        (head[9..12].parse().expect("a status"), head)
    }

    fn answer(&mut self) -> Answer {
        let (status, head) = self.head();
        let mut body = vec![0; content_length(&head)];
        self.stream.read_exact(&mut body).expect("a whole body");
        Answer { status, head, body: String::from_utf8(body).expect("text") }
    }

    fn ask(&mut self, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        self.answer()
    }

    fn assert_closed(mut self) {
        assert_eq!(self.stream.read(&mut [0]).expect("an orderly end"), 0, "more than was asked for");
    }
}

fn content_length(head: &str) -> usize {
    let line = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    line.expect("a length").parse().expect("a number")
}

fn start() -> Server {
    Server::start(Options::default()).expect("starts")
}

#[test]
fn it_says_who_it_is_and_what_it_saw() {
    let server = Server::start(Options { name: "Nina".to_owned(), ..Options::default() }).expect("starts");
    let mut client = Client::connect(&server);
    client.send("PUT /a/b?c=d HTTP/1.1\r\nHost: x\r\nX-One:  1 \r\nx-two: \r\nContent-Length: 3\r\n\r\nabc");
    let answer = client.answer();
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("\r\nContent-Type: text/plain; charset=utf-8\r\n"), "{}", answer.head);
    let date = answer.head.lines().find_map(|line| line.strip_prefix("Date: ")).expect("a date");
    assert!(httpdate::parse_http_date(date).is_ok(), "{date}");
    let expected = format!(
        "Hello from Nina on port {}\nPUT /a/b?c=d HTTP/1.1\nHost: x\nX-One: 1\nx-two: \nContent-Length: 3\n\nbody: 3 bytes\n",
        server.port()
    );
    assert_eq!(answer.body, expected);
}

#[test]
fn pipelined_requests_of_every_kind_are_answered_in_order_however_they_are_cut() {
    let server = start();
    let bytes = b"\r\nGET /1 HTTP/1.1\r\nHost: x\r\n\r\n\
        POST /2 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello\
        POST /3 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n6;a=b\r\nhello \r\n5\r\nworld\r\n0\r\nT: 1\r\n\r\n\
        GET /4 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n\
        GET /5 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n\
        GET /6 HTTP/1.1\r\nHost: x\r\n\r\n";
    for split in 0..bytes.len() {
        let mut client = Client::connect(&server);
        let (first, second) = bytes.split_at(split);
        client.send(first);
        client.send(second);
        for (number, length) in [(1, 0), (2, 5), (3, 11), (4, 0), (5, 0)] {
            let answer = client.answer();
            let line = answer.body.lines().nth(1).expect("a request line");
            assert!(
                line.contains(&format!(" /{number} HTTP/1.")),
                "{line} instead of {number}, split at {split}"
            );
            assert!(answer.body.ends_with(&format!("\n\nbody: {length} bytes\n")), "{}", answer.body);
            assert_eq!(answer.head.contains("\r\nConnection: close\r\n"), number == 5, "{}", answer.head);
            assert_eq!(
                answer.head.contains("\r\nConnection: keep-alive\r\n"),
                number == 4,
                "{}",
                answer.head
            );
        }
        client.assert_closed();
    }
}

#[test]
fn a_head_request_gets_the_head_that_get_would() {
    let server = start();
    let mut client = Client::connect(&server);
    client.send("HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n");
    let (status, head) = client.head();
    assert_eq!(
        (status, content_length(&head)),
        (200, client.ask("/a").body.len() + "HEAD".len() - "GET".len())
    );
}

#[test]
fn http_10_closes_unless_asked() {
    let server = start();
    let mut client = Client::connect(&server);
    client.send("GET / HTTP/1.0\r\n\r\n");
    let answer = client.answer();
    assert!(answer.head.contains("\r\nConnection: close\r\n"), "{}", answer.head);
    client.assert_closed();
}

#[test]
fn a_client_that_waits_for_100_gets_it_once() {
    let server = start();
    let mut client = Client::connect(&server);
    let head = "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-Continue\r\nContent-Length: 4\r\n\r\n";
    client.send(head);
    assert_eq!(client.head(), (100, "HTTP/1.1 100 Continue\r\n\r\n".to_owned()));
    client.send("body");
    assert!(client.answer().body.ends_with("body: 4 bytes\n"));
    // Who sends the body at once did not wait.
    client.send([head, "body"].concat());
    assert_eq!(client.answer().status, 200);
    client.send("GET / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.answer().status, 200);
}

#[test]
fn large_bodies_and_heads_pass() {
    const LENGTH: usize = 20_000_000;
    let server = start();
    let mut client = Client::connect(&server);
    client.send(format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {LENGTH}\r\n\r\n"));
    client.send(vec![b'x'; LENGTH]);
    assert!(client.answer().body.ends_with(&format!("body: {LENGTH} bytes\n")));
    client.send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    let chunk = [format!("{:x}\r\n", 100_000).as_bytes(), &[b'y'; 100_000], b"\r\n"].concat();
    for _ in 0..50 {
        client.send(&chunk);
    }
    client.send("0\r\n\r\n");
    assert!(client.answer().body.ends_with("body: 5000000 bytes\n"));
    let long = "z".repeat(50_000);
    client.send(format!("GET / HTTP/1.1\r\nHost: x\r\nLong: {long}\r\n\r\n"));
    assert!(client.answer().body.contains(&long));
}

#[test]
fn bad_requests_are_refused_and_the_connection_closed() {
    let server = start();
    let long = format!("GET / HTTP/1.1\r\nHost: x\r\nLong: {}\r\n\r\n", "z".repeat(200_000));
    for (bytes, status) in [
        ("nonsense\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: a\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", 400),
        ("GET / HTTP/3.0\r\n\r\n", 505),
        ("CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", 501),
        (&long, 431),
    ] {
        let mut client = Client::connect(&server);
        assert_eq!(client.ask("/").status, 200);
        client.send(bytes);
        // It is not looked at any more.
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        let answer = client.answer();
        assert_eq!(answer.status, status, "{bytes:.60}");
        assert!(answer.head.contains("\r\nConnection: close\r\n"), "{}", answer.head);
        client.assert_closed();
    }
}

#[test]
fn a_request_cut_short_is_bad_and_none_at_all_is_not() {
    let server = start();
    for cut in ["GET / HT", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhell"] {
        let mut client = Client::connect(&server);
        client.send(cut);
        client.stream.get_ref().shutdown(Shutdown::Write).expect("half closes");
        assert_eq!(client.answer().status, 400);
        client.assert_closed();
    }
    let mut client = Client::connect(&server);
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    client.stream.get_ref().shutdown(Shutdown::Write).expect("half closes");
    assert_eq!(client.answer().status, 200);
    client.assert_closed();
}

#[test]
fn fail_makes_every_later_answer_a_503() {
    let server = start();
    let mut client = Client::connect(&server);
    assert_eq!(client.ask("/health").status, 200);
    assert_eq!(client.ask("/failure").status, 200);
    assert_eq!(client.ask("/fail?now").status, 200);
    for path in ["/health", "/", "/fail"] {
        let answer = client.ask(path);
        assert_eq!(answer.status, 503);
        assert!(
            answer.body.starts_with(&format!("Server on port {} fails\n", server.port())),
            "{}",
            answer.body
        );
        assert_eq!(Client::connect(&server).ask(path).status, 503);
    }
}

#[test]
fn it_fails_after_its_time() {
    let fail_after = Duration::from_millis(300);
    let before = Instant::now();
    let server =
        Server::start(Options { fail_after: Some(fail_after), ..Options::default() }).expect("starts");
    let started = Instant::now();
    let mut client = Client::connect(&server);
    loop {
        let asked = Instant::now();
        let status = client.ask("/health").status;
        if asked - started >= fail_after {
            assert_eq!(status, 503);
            break;
        }
        assert!(status == 200 || before.elapsed() >= fail_after, "{status} too early");
    }
}

#[test]
fn the_delay_is_a_true_one_for_each_connection() {
    let delay = Duration::from_millis(100);
    let server = Server::start(Options { delay, ..Options::default() }).expect("starts");
    let started = Instant::now();
    let mut clients: Vec<_> = (0..50).map(|_| Client::connect(&server)).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    for client in &mut clients {
        assert_eq!(client.answer().status, 200);
        assert!(started.elapsed() >= delay);
    }
    assert!(started.elapsed() < delay * 25, "delays were added up: {:?}", started.elapsed());
}

#[test]
fn it_holds_a_thousand_connections() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("raises the limit");
    let server = start();
    let mut clients: Vec<_> = (0..1000).map(|_| Client::connect(&server)).collect();
    for _ in 0..2 {
        for client in &mut clients {
            client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        }
        for client in &mut clients {
            assert_eq!(client.answer().status, 200);
        }
    }
}

#[test]
fn a_stopped_server_frees_its_port_and_closes_after_the_next_answer() {
    let mut server = start();
    let port = server.port();
    let mut client = Client::connect(&server);
    assert_eq!(client.ask("/").status, 200);
    let taken = Server::start(Options { port, ..Options::default() }).expect_err("the port is in use");
    assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    server.stop();
    server.stop();
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
    let again = Server::start(Options { port, ..Options::default() }).expect("the port is free");
    assert!(client.ask("/").head.contains("\r\nConnection: close\r\n"));
    client.assert_closed();
    drop(again);
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
}

#[test]
fn all_addresses_means_both_families() {
    let server = Server::start(Options { address: None, ..Options::default() }).expect("starts");
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).is_ok());
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        assert!(TcpStream::connect((Ipv6Addr::LOCALHOST, server.port())).is_ok());
    }
    let taken = Server::start(Options { address: None, port: server.port(), ..Options::default() });
    assert_eq!(taken.expect_err("the port is in use").kind(), io::ErrorKind::AddrInUse);
}
