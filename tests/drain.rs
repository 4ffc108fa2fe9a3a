//! SIGTERM and SIGINT drain: nothing accepted is lost, and it ends.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{Backend, Client, Evenkeel, SOON, eventually, list};

/// A backend that answers `/held` only when the gate is opened, and everything else at once.
fn held() -> (Backend, SyncSender<()>) {
    let (gate, opened): (SyncSender<()>, Receiver<()>) = sync_channel(8);
    let opened = Arc::new(Mutex::new(opened));
    let backend = Backend::start(move |request, reply| {
        if request.target == "/held" {
            let _ = opened.lock().unwrap().recv_timeout(2 * SOON);
        }
        reply.ok("finished")
    });
    (backend, gate)
}

/// A client whose request is at the backend and unanswered.
fn in_flight(balancer: &Evenkeel, backend: &Backend) -> Client {
    let before = backend.requests();
    let client = Client::connect(balancer.address);
    client.send("GET /held HTTP/1.1\r\nHost: h\r\n\r\n").expect("send");
    eventually(SOON, "the backend has the request", || backend.requests() > before);
    client
}

fn refuses(address: SocketAddr) -> bool {
    Client::try_connect(address).is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused)
}

#[test]
fn an_exchange_in_flight_finishes_and_the_exit_code_is_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let (backend, gate) = held();
        let mut balancer = Evenkeel::start(&["--backends", &backend.url()]);
        let mut client = in_flight(&balancer, &backend);
        balancer.signal(signal);
        eventually(SOON, "new connections are refused", || refuses(balancer.address));
        gate.send(()).expect("open the gate");
        let response = client.response("GET").expect("the answer in full");
        assert_eq!((response.status, response.text().as_str()), (200, "finished"));
        client.assert_ended();
        let status = balancer.exit_within(SOON);
        assert_eq!(status.code(), Some(0), "{:?}", balancer.lines());
    }
}

#[test]
fn without_work_it_ends_soon_and_closes_idle_connections() {
    let (backend, _gate) = held();
    let mut balancer = Evenkeel::start(&["--backends", &backend.url()]);
    let mut idle: Vec<Client> = (0..20).map(|_| Client::connect(balancer.address)).collect();
    for client in &mut idle {
        assert_eq!(client.get("/").expect("a response").status, 200);
    }
    let start = Instant::now();
    balancer.terminate();
    idle.iter_mut().for_each(Client::assert_ended);
    assert_eq!(balancer.exit_within(SOON).code(), Some(0), "{:?}", balancer.lines());
    assert!(start.elapsed() < Duration::from_secs(10), "took {:?}", start.elapsed());
}

#[test]
fn the_drain_timeout_ends_what_does_not_finish() {
    let (backend, _gate) = held();
    let mut balancer = Evenkeel::start(&["--drain-timeout", "1s", "--backends", &backend.url()]);
    let _client = in_flight(&balancer, &backend);
    let start = Instant::now();
    balancer.terminate();
    balancer.exit_within(SOON);
    let took = start.elapsed();
    assert!(took > Duration::from_millis(900) && took < Duration::from_secs(8), "took {took:?}");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let (backend, _gate) = held();
    let mut balancer = Evenkeel::start(&["--backends", &backend.url()]);
    let _client = in_flight(&balancer, &backend);
    balancer.terminate();
    eventually(SOON, "the drain has begun", || refuses(balancer.address));
    let start = Instant::now();
    balancer.terminate();
    balancer.exit_within(SOON);
    assert!(start.elapsed() < Duration::from_secs(5), "took {:?}", start.elapsed());
}

/// What a client under load saw until the balancer sent it away.
#[derive(Default)]
struct Tally {
    answered: AtomicUsize,
    lost: Mutex<Vec<String>>,
    draining: AtomicBool,
}

impl Tally {
    fn lose(&self, what: String) {
        self.lost.lock().unwrap().push(what);
    }
}

/// Keep-alive requests on one connection until an answer says `Connection: close`.
fn until_told_to_close(address: SocketAddr, tally: &Tally) {
    let mut client = Client::connect(address);
    loop {
        match client.get("/") {
            Ok(response) if response.status == 200 && response.text() == "served" => {
                tally.answered.fetch_add(1, SeqCst);
                if response.closes() {
                    return;
                }
            }
            Ok(response) => return tally.lose(format!("{}: {}", response.status, response.text())),
            Err(e) => return tally.lose(format!("keep-alive: {e}")),
        }
    }
}

/// A connection for each request until connecting is refused. One made before the drain began has to be served; one
/// that the kernel took in at the same moment as the listener closed may be reset, which is a refusal too.
fn until_refused(address: SocketAddr, tally: &Tally) {
    loop {
        let Ok(mut client) = Client::try_connect(address) else { return };
        let before = !tally.draining.load(SeqCst);
        match client.get("/") {
            Ok(response) if response.status == 200 => {
                tally.answered.fetch_add(1, SeqCst);
            }
            Ok(response) => return tally.lose(format!("{}: {}", response.status, response.text())),
            Err(e) if before => return tally.lose(format!("connected before the drain: {e}")),
            Err(_) => return,
        }
    }
}

#[test]
fn a_drain_under_load_loses_nothing() {
    let serve = || {
        Backend::start(|_, reply| {
            std::thread::sleep(Duration::from_millis(1));
            reply.ok("served")
        })
    };
    let backends = [serve(), serve(), serve()];
    let mut balancer = Evenkeel::start(&["--workers", "2", "--backends", &list(&backends)]);
    let (address, tally) = (balancer.address, Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| until_told_to_close(address, &tally));
        }
        for _ in 0..4 {
            scope.spawn(|| until_refused(address, &tally));
        }
        eventually(SOON, "the load runs", || tally.answered.load(SeqCst) > 500);
        tally.draining.store(true, SeqCst);
        balancer.terminate();
    });
    let lost = tally.lost.lock().unwrap();
    assert!(lost.is_empty(), "{} lost of {}: {:?}", lost.len(), tally.answered.load(SeqCst), lost.first());
    assert_eq!(balancer.exit_within(SOON).code(), Some(0), "{:?}", balancer.lines());
}

#[test]
fn a_large_download_finishes_within_the_drain() {
    let (gate, opened) = sync_channel::<()>(1);
    let opened = Mutex::new(opened);
    let backend = Backend::start(move |_, reply| {
        reply.send("HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n")?;
        reply.send(vec![b'x'; 2_000_000])?;
        let _ = opened.lock().unwrap().recv_timeout(SOON);
        reply.send(vec![b'x'; 3_000_000])
    });
    let mut balancer = Evenkeel::start(&["--backends", &backend.url()]);
    let mut client = Client::connect(balancer.address);
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").expect("send");
    let (_, _, framing) = client.head().expect("the head");
    balancer.terminate();
    eventually(SOON, "new connections are refused", || refuses(balancer.address));
    gate.send(()).expect("open the gate");
    let mut body = Default::default();
    client.body(framing, &mut body).expect("the whole body");
    assert_eq!(body.length, 5_000_000);
    assert_eq!(balancer.exit_within(SOON).code(), Some(0));
}

#[test]
fn connections_not_yet_accepted_are_served_before_the_listener_closes() {
    let (backend, _gate) = held();
    let mut balancer = Evenkeel::start(&["--workers", "2", "--backends", &backend.url()]);
    // Frozen, it cannot accept: the kernel queues what arrives, and the signal waits behind it.
    balancer.signal(Signal::STOP);
    let mut clients: Vec<Client> = (0..400).map(|_| Client::connect(balancer.address)).collect();
    for client in &clients {
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").expect("send");
    }
    balancer.terminate();
    balancer.signal(Signal::CONT);
    for (i, client) in clients.iter_mut().enumerate() {
        let response = client.response("GET").unwrap_or_else(|e| panic!("connection {i}: {e}"));
        assert_eq!((response.status, response.text().as_str()), (200, "finished"));
    }
    assert_eq!(balancer.exit_within(SOON).code(), Some(0), "{:?}", balancer.lines());
}
