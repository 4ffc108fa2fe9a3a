//! Thousands of clients that are slow on purpose, by `slowhttptest`: others are served as if they were not there.
//!
//! `SLOWHTTP=1 cargo test --release --test slowhttp -- --nocapture` runs all four modes with 5,000 connections.

#[expect(dead_code, unused_imports, reason = "shared with the other tests")]
mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::raw::serve_raw;
use support::{Evenkeel, get, raise_open_files};

/// The answer to `/large`: far more than the sockets of a slow reader hold.
const LARGE: usize = 1 << 20;
/// Pause between two normal requests: a few hundred a second.
const PACE: Duration = Duration::from_millis(3);
/// A p99 below this is noise of the machine, whatever the unloaded one was.
const FLOOR: Duration = Duration::from_millis(4);
/// The same on a machine that does other things meanwhile: the p99 of a few seconds is its third or fourth worst request.
const FLOOR_BESIDE_OTHERS: Duration = Duration::from_millis(50);

/// A mode of slowhttptest, with what it needs.
struct Mode {
    name: &'static str,
    flags: &'static [&'static str],
    path: &'static str,
}

const MODES: [Mode; 4] = [
    Mode { name: "slow heads", flags: &["-H"], path: "/" },
    Mode { name: "slow bodies", flags: &["-B", "-s", "8192"], path: "/" },
    Mode { name: "ranges", flags: &["-R"], path: "/large" },
    Mode {
        name: "slow reading",
        flags: &["-X", "-w", "10", "-y", "20", "-n", "2", "-z", "32"],
        path: "/large",
    },
];

/// Reads one request, its body included, and gives its head in lower case; `None` at the end of the stream.
fn read_request(mut stream: &TcpStream, waiting: &mut Vec<u8>) -> Option<String> {
    let mut piece = [0; 2048];
    loop {
        if let Some(end) = waiting.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&waiting[..end]).to_ascii_lowercase();
            let length = head.split("\r\ncontent-length:").nth(1).and_then(|rest| rest.lines().next());
            let length: usize = length.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
            if waiting.len() >= end + 4 + length {
                waiting.drain(..end + 4 + length);
                return Some(head);
            }
        }
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return None,
            Ok(n) => waiting.extend_from_slice(&piece[..n]),
        }
    }
}

fn backend() -> SocketAddr {
    serve_raw(|mut stream: TcpStream| {
        let mut waiting = Vec::new();
        let _ = stream.set_read_timeout(None);
        while let Some(head) = read_request(&stream, &mut waiting) {
            let large = head.split(' ').nth(1) == Some("/large");
            let body = if large { "l".repeat(LARGE) } else { "small".into() };
            let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            if !head.starts_with("head ") {
                answer += &body;
            }
            if stream.write_all(answer.as_bytes()).is_err() || head.contains("\r\nconnection: close") {
                return;
            }
        }
    })
}

/// Latencies of requests on fresh connections.
struct Latency {
    requests: usize,
    p50: Duration,
    p99: Duration,
    most: Duration,
}

impl std::fmt::Display for Latency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { requests, p50, p99, most } = self;
        write!(f, "{requests} requests, p50 {p50:.1?}, p99 {p99:.1?}, most {most:.1?}")
    }
}

impl Latency {
    fn of(mut took: Vec<Duration>) -> Self {
        took.sort();
        let at = |percent: usize| took[(took.len() - 1) * percent / 100];
        Self { requests: took.len(), p50: at(50), p99: at(99), most: at(100) }
    }
}

/// Asks on a fresh connection again and again, the balancer and a server that nobody attacks in turn: what the
/// second comes to is the machine's doing. Every answer must be right.
fn measure(balancer: &Evenkeel, control: SocketAddr, length: Duration) -> [Latency; 2] {
    let (start, mut took) = (Instant::now(), [Vec::new(), Vec::new()]);
    while start.elapsed() < length {
        for (to, took) in [balancer.address, control].into_iter().zip(&mut took) {
            let began = Instant::now();
            let response = get(to, "/").expect("a normal request is answered");
            assert_eq!((response.status, response.text().as_str()), (200, "small"));
            took.push(began.elapsed());
            std::thread::sleep(PACE);
        }
    }
    took.map(Latency::of)
}

/// A running slowhttptest.
struct Attack(Child);

impl Attack {
    fn start(balancer: &Evenkeel, mode: &Mode, connections: usize, length: Duration) -> Self {
        let (count, rate) = (connections.to_string(), (connections / 2).to_string());
        let (seconds, url) =
            (length.as_secs().to_string(), format!("http://{}{}", balancer.address, mode.path));
        // Attackers have machines of their own: this one gets what the others leave.
        let mut command = Command::new("nice");
        command
            .args(["-n", "19", "slowhttptest"])
            .args(mode.flags)
            .args(["-c", &count, "-r", &rate, "-i", "1", "-l", &seconds, "-u", &url]);
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(quiet.spawn().expect("slowhttptest"))
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn is_installed() -> bool {
    Command::new("slowhttptest").arg("-h").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

fn open(balancer: &Evenkeel) -> u64 {
    balancer.open().iter().sum()
}

#[test]
fn normal_requests_are_answered_among_thousands_of_slow_ones() {
    let full = std::env::var_os("SLOWHTTP").is_some();
    if !is_installed() {
        assert!(!full, "slowhttptest is not installed");
        eprintln!("slowhttptest is not installed (Debian package slowhttptest): nothing was shown");
        return;
    }
    let files = raise_open_files();
    let (modes, connections, length, floor) = match full {
        true => (&MODES[..], 5000, Duration::from_secs(12), FLOOR),
        false => (&MODES[..2], 500, Duration::from_secs(4), FLOOR_BESIDE_OTHERS),
    };
    let connections = connections.min(files.saturating_sub(200) / 2);
    let (url, control) = (format!("http://{}", backend()), backend());
    let balancer = Evenkeel::start(&["--workers", "2", "--backends", &url]);
    measure(&balancer, control, Duration::from_millis(300));
    for mode in modes {
        let [before, control_before] = measure(&balancer, control, length / 4);
        let attack = Attack::start(&balancer, mode, connections, length + Duration::from_secs(5));
        // All come within two seconds; what is measured is the time when they are there.
        let (start, mut most) = (Instant::now(), 0);
        while start.elapsed() < length / 4 {
            most = most.max(open(&balancer));
            std::thread::sleep(Duration::from_millis(20));
        }
        let [under, control_under] = measure(&balancer, control, length * 3 / 4);
        let after = open(&balancer);
        drop(attack);
        let failures = balancer.status()["failures"].to_string();
        println!("{}: {connections} asked for, {most} open at most before, {after} after", mode.name);
        println!("  unloaded: {before}\n  attacked: {under}");
        println!("  control unloaded: {control_before}\n  control meanwhile: {control_under}");
        println!("  failures so far {failures}");
        let bound = floor.max(2 * before.p99.max(control_under.p99));
        assert!(under.p99 <= bound, "{}: p99 {:?}, at most {bound:?}", mode.name, under.p99);
        assert!(most > connections as u64 / 4 || mode.name == "ranges", "{}: only {most} came", mode.name);
        support::eventually(support::SOON, "the slow ones are gone", || open(&balancer) == 1);
    }
}
