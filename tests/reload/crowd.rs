//! A hundred reloads in a row under load: nobody notices, and nothing is left behind.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Live, pool};
use crate::cli::free_port;
use crate::support::wire::Body;
use crate::support::{Backend, Client, SOON, eventually, get};

const CLIENTS: usize = 64;
const RELOADS: usize = 100;
/// The first few may still fill caches and stacks.
const FIRST: usize = 20;
/// What the allocator may keep more of in 80 reloads under load; a table is some kilobytes.
const MEMORY: u64 = 4 << 20;

/// The file of one turn. The listener `web` and the pool `steady` are in all of them.
fn file(turn: usize, backends: &[Backend], steady: &Backend, side: u16) -> String {
    let mut text = String::from("workers = 2\ntimeouts = { backend_idle = \"500ms\" }\n");
    text += "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\npool = \"app\"\n";
    text += "[[listener.route]]\npath_prefix = \"/steady\"\npool = \"steady\"\n";
    if turn % 3 == 1 {
        text += "[[listener.route]]\npath_prefix = \"/r\"\nsplit = { app = 1, other = 1 }\n";
        text += &format!("response_headers = {{ set = {{ X-Turn = \"{turn}\" }} }}\n");
    }
    if turn % 2 == 1 {
        text += &format!("[[listener]]\nname = \"side\"\naddress = \"127.0.0.1:{side}\"\npool = \"app\"\n");
    }
    let app = if turn % 4 < 2 { &backends[..2] } else { &backends[..3] };
    // The weight is the last backend's.
    text += &format!("{}weight = {}\n", pool("app", app), turn % 5 + 1);
    if turn % 3 == 1 {
        text += &pool("other", &backends[3..]);
    }
    text + &pool("steady", [steady])
}

/// Clients that ask again and again on kept connections, and stop for a while when they are told to.
struct Crowd {
    pause: Arc<RwLock<()>>,
    over: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<()>>,
}

impl Crowd {
    fn start(address: std::net::SocketAddr) -> Self {
        let (pause, over, answered) = (Arc::default(), Arc::default(), Arc::default());
        let clients = (0..CLIENTS).map(|number| {
            let (pause, over, answered): (Arc<RwLock<()>>, Arc<AtomicBool>, Arc<AtomicUsize>) =
                (Arc::clone(&pause), Arc::clone(&over), Arc::clone(&answered));
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                while !over.load(SeqCst) {
                    let _going = pause.read().expect("the lock");
                    let target = if number % 2 == 0 { "/" } else { "/r/x" };
                    let response =
                        client.get(target).unwrap_or_else(|error| panic!("client {number}: {error}"));
                    assert_eq!((response.status, response.closes()), (200, false), "{}", response.text());
                    answered.fetch_add(1, SeqCst);
                    // A load, not a race for the processor: the reloads want some of it too.
                    std::thread::sleep(Duration::from_millis(5));
                }
            })
        });
        let clients = clients.collect();
        Self { pause, over, answered, clients }
    }

    /// What the process has while nobody asks: memory, descriptors, threads.
    #[track_caller]
    fn at_rest(&self, live: &Live, right: Option<usize>) -> (u64, usize, usize) {
        let _paused = self.pause.write().expect("the lock");
        let descriptors = || live.balancer.descriptors().0;
        let mut last = 0;
        let idle = right.map_or_else(String::new, |right| format!(", {right} before"));
        eventually(2 * SOON, &format!("kept connections are closed{idle}"), || {
            let before = std::mem::replace(&mut last, descriptors());
            match right {
                Some(right) => last <= right,
                None => {
                    std::thread::sleep(Duration::from_millis(1_500));
                    before == last && descriptors() == last
                }
            }
        });
        let tasks = std::fs::read_dir(format!("/proc/{}/task", live.balancer.id())).expect("its threads");
        (live.balancer.resident(), last, tasks.count())
    }

    fn end(self) -> usize {
        self.over.store(true, SeqCst);
        self.clients.into_iter().for_each(|client| client.join().expect("a client without a failed request"));
        self.answered.load(SeqCst)
    }
}

/// A download that goes on until `over`, and an echo behind a 101.
fn steady(over: &Arc<AtomicBool>) -> Backend {
    let over = Arc::clone(over);
    Backend::start(move |request, reply| match request.target.as_str() {
        "/steady/echo" => {
            reply.send(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            )?;
            let mut stream = reply.stream();
            std::io::copy(&mut stream.try_clone()?, &mut stream)?;
            reply.close();
            Ok(())
        }
        "/steady/download" => {
            reply.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            while !over.load(SeqCst) {
                reply.send(format!("400\r\n{}\r\n", "x".repeat(0x400)))?;
                std::thread::sleep(Duration::from_millis(2));
            }
            reply.send("0\r\n\r\n")
        }
        _ => reply.ok("steady"),
    })
}

#[test]
fn a_hundred_reloads_under_load_fail_no_request_and_leave_nothing_behind() {
    let backends: Vec<Backend> = ["a", "b", "c", "d"].map(Backend::named).into();
    let over = Arc::new(AtomicBool::new(false));
    let (steady, side) = (steady(&over), free_port());
    let live = Live::start(&file(0, &backends, &steady, side));
    let address = live.balancer.address;
    let upgrade = "GET /steady/echo HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let mut tunnel = Client::connect(address);
    tunnel.send(upgrade).expect("send");
    assert_eq!(tunnel.head().expect("a head").0, 101);
    let download = std::thread::spawn(move || {
        let mut client = Client::connect(address);
        client.send("GET /steady/download HTTP/1.1\r\nHost: h\r\n\r\n").expect("send");
        let (status, _, framing) = client.head().expect("a head");
        let mut body = Body::default();
        client.body(framing, &mut body).expect("all of the download");
        (status, body.length)
    });
    let crowd = Crowd::start(address);
    let mut first = None;
    for turn in 1..=RELOADS {
        live.reload(&file(turn, &backends, &steady, side));
        let text = format!("turn {turn}");
        tunnel.send(&text).expect("the tunnel takes more");
        tunnel.expect_bytes(text.as_bytes());
        if turn % 2 == 1 {
            assert_eq!(get(([127, 0, 0, 1], side).into(), "/").expect("the side listener").status, 200);
        }
        if turn == FIRST {
            first = Some(crowd.at_rest(&live, None));
        }
    }
    let (memory, descriptors, threads) = first.expect("a first look");
    let (last_memory, _, last_threads) = crowd.at_rest(&live, Some(descriptors));
    let answered = crowd.end();
    assert!(answered > 100 * CLIENTS, "{answered} requests are no load");
    assert_eq!(last_threads, threads);
    assert!(last_memory <= memory + MEMORY, "{} KiB more", (last_memory - memory) / 1024);
    over.store(true, SeqCst);
    let (status, length) = download.join().expect("the download");
    assert!(status == 200 && length > 100 * 1024, "{status}, {length} bytes");
    assert!(!live.balancer.lines().iter().any(|line| line.contains("[ERROR]")));
}
