//! The thread as a whole, on real sockets.

use super::*;
use crate::config::{self, BackendUrl, Check, Health, HttpCheck, Pool};
use crate::id::BackendId;
use socket2::{Domain, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command as Process;
use std::sync::Mutex;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);
const HOME: Ipv4Addr = Ipv4Addr::LOCALHOST;

fn health(interval: u64, timeout: u64) -> Health {
    let (interval, timeout) = (Duration::from_millis(interval), Duration::from_millis(timeout));
    Health { interval, timeout, ..Health::default() }
}

/// A pool of backends with these addresses, called `b0`, `b1`, ...
fn pool(health: Health, addresses: Vec<Vec<SocketAddr>>) -> (Pool, Vec<Vec<SocketAddr>>) {
    let url = |index| BackendUrl { host: format!("b{index}"), port: 80 };
    let backends = (0..addresses.len()).map(|index| config::Backend::new(url(index))).collect();
    (Pool { health, backends, ..Pool::default() }, addresses)
}

fn table(health: Health, addresses: Vec<Vec<SocketAddr>>) -> Arc<Table> {
    Arc::new(Table::new(vec![pool(health, addresses)], 1))
}

fn start(table: &Arc<Table>) -> Thread {
    spawn(Arc::clone(table), Instant::now()).unwrap()
}

/// Holds a port without listening on it: connections are refused, and nobody else gets the port.
fn held(ip: Ipv4Addr, port: u16) -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((ip, port)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

/// A listener whose queue is full, so that it does not answer; and what fills it.
fn blackhole() -> (Socket, Vec<TcpStream>, SocketAddr) {
    let (socket, address) = held(HOME, 0);
    socket.listen(0).unwrap();
    let mut queue = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
        queue.push(stream);
    }
    (socket, queue, address)
}

fn up(table: &Table, index: u16) -> bool {
    table.backend(BackendId(index)).is_up()
}

fn wait(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn the_live_are_up_and_the_refusing_and_the_unresolved_are_down() {
    let live = TcpListener::bind((HOME, 0)).unwrap();
    let (_socket, dead) = held(HOME, 0);
    let table = table(health(60_000, 5000), vec![vec![live.local_addr().unwrap()], vec![dead], vec![]]);
    table.set_up(BackendId(0), false, 0);
    let thread = start(&table);
    assert_eq!(thread.join.as_ref().unwrap().thread().name(), Some("probe"));
    wait("first round", || up(&table, 0) && !up(&table, 1) && !up(&table, 2));
    assert_eq!(table.epoch(), 4);
    assert!(thread.is_running());
}

#[test]
fn a_backend_that_comes_and_goes_is_followed() {
    let (socket, address) = held(HOME, 0);
    let table = table(health(20, 5000), vec![vec![address]]);
    let _thread = start(&table);
    wait("down", || !up(&table, 0));
    socket.listen(128).unwrap();
    wait("up", || up(&table, 0));
    drop(socket);
    wait("down again", || !up(&table, 0));
    assert_eq!(table.epoch(), 3);
}

#[test]
fn the_address_that_answers_is_preferred() {
    let live = TcpListener::bind((HOME, 0)).unwrap();
    let address = live.local_addr().unwrap();
    let (_socket, dead) = held(Ipv4Addr::new(127, 0, 0, 2), address.port());
    let (_listener, _queue, silent) = blackhole();
    let table = table(health(60_000, 200), vec![vec![dead, address], vec![silent, dead, address]]);
    table.set_up(BackendId(0), false, 0);
    let _thread = start(&table);
    wait("second address", || up(&table, 0) && table.backend(BackendId(0)).preferred() == 1);
    wait("third address", || table.backend(BackendId(1)).preferred() == 2);
    assert!(up(&table, 1));
}

#[test]
fn a_thousand_dead_do_not_delay_one_another() {
    let (_socket, any) = held(Ipv4Addr::UNSPECIFIED, 0);
    let (_listener, _queue, silent) = blackhole();
    let refusing = (0..1000u16).map(|index| {
        let [high, low] = index.to_be_bytes();
        vec![SocketAddr::from(([127, 9, high, low], any.port()))]
    });
    let live = TcpListener::bind((HOME, 0)).unwrap();
    let alive = vec![live.local_addr().unwrap()];
    let timeout = Duration::from_millis(1500);
    let table = table(
        Health { interval: PATIENCE * 2, timeout, ..Health::default() },
        refusing.chain(vec![vec![silent]; 50]).chain([alive]).collect(),
    );
    table.set_up(BackendId(1050), false, 0);
    let begun = Instant::now();
    let _thread = start(&table);
    wait("all refusing", || up(&table, 1050) && (0..1000).all(|index| !up(&table, index)));
    assert!(begun.elapsed() < timeout, "the silent held up the others: {:?}", begun.elapsed());
    wait("all silent", || (1000..1050).all(|index| !up(&table, index)));
    let took = begun.elapsed();
    assert!(took >= timeout && took < timeout * 2, "{took:?}");
}

#[test]
fn stop_does_not_wait_for_probes() {
    let (_listener, _queue, silent) = blackhole();
    let table = table(health(60_000, 60_000), vec![vec![silent]; 10]);
    let thread = start(&table);
    let begun = Instant::now();
    thread.stop();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(Arc::strong_count(&table), 1);
    assert!((0..10).all(|index| up(&table, index)));
}

fn accepted(listener: &TcpListener) -> usize {
    listener.set_nonblocking(true).unwrap();
    std::iter::from_fn(|| listener.accept().ok()).count()
}

#[test]
fn each_pool_is_checked_in_its_own_way() {
    let talker = TcpListener::bind((HOME, 0)).unwrap();
    let address = talker.local_addr().unwrap();
    let (_socket, dead) = held(HOME, 0);
    let answer = std::thread::spawn(move || {
        for _ in 0..2 {
            use std::io::{Read, Write};
            let mut stream = talker.accept().unwrap().0;
            let mut first = [0];
            // The connect of the TCP check has nothing to say.
            if stream.read(&mut first).is_ok_and(|count| count > 0) {
                stream.write_all(b"HTTP/1.1 500 No\r\n\r\n").unwrap();
            }
        }
    });
    let http = Check::Http(HttpCheck { paths: vec!["/".into()], ..HttpCheck::default() });
    let checked = |check, address| pool(Health { check, ..health(60_000, 5000) }, vec![vec![address]]);
    let pools = vec![
        checked(http, address),
        checked(Check::Tcp, address),
        checked(Check::None, dead),
        checked(Check::Tcp, dead),
    ];
    let table = Arc::new(Table::new(pools, 1));
    table.set_up(BackendId(1), false, 0);
    let _thread = start(&table);
    wait("results", || !up(&table, 0) && up(&table, 1) && !up(&table, 3));
    assert!(up(&table, 2), "never probed");
    answer.join().unwrap();
}

#[test]
fn a_table_with_the_same_backends_interrupts_nothing() {
    let live = TcpListener::bind((HOME, 0)).unwrap();
    let (_listener, _queue, silent) = blackhole();
    let timeout = Duration::from_secs(4);
    let table =
        table(Health { timeout, ..health(60_000, 0) }, vec![vec![silent], vec![live.local_addr().unwrap()]]);
    table.set_up(BackendId(1), false, 0);
    let begun = Instant::now();
    let thread = start(&table);
    wait("the live one", || up(&table, 1));
    wait("half of the time", || begun.elapsed() > timeout / 2);
    let replaced = Instant::now();
    thread.replace(Arc::clone(&table));
    wait("the silent one", || !up(&table, 0));
    assert!(replaced.elapsed() < timeout, "begun anew: {:?}", replaced.elapsed());
    thread.stop();
    assert_eq!(accepted(&live), 1);
}

#[test]
fn another_table_is_probed_at_once_and_the_old_one_let_go() {
    use std::io::Read;
    let silent = TcpListener::bind((HOME, 0)).unwrap();
    let (_socket, dead) = held(HOME, 0);
    let asked = Health { check: Check::Http(HttpCheck::default()), ..health(60_000, 60_000) };
    let old = table(asked, vec![vec![silent.local_addr().unwrap()]]);
    let thread = start(&old);
    let (mut stream, _) = silent.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.read_exact(&mut [0; 12]).unwrap();
    let new = table(health(60_000, 5000), vec![vec![dead], vec![silent.local_addr().unwrap()]]);
    new.set_up(BackendId(1), false, 0);
    thread.replace(Arc::clone(&new));
    wait("the new ones", || !up(&new, 0) && up(&new, 1));
    stream.read_to_end(&mut Vec::new()).expect("the old probe is closed");
    assert_eq!(Arc::strong_count(&old), 1);
    assert!(up(&old, 0));
    thread.replace(table(health(1, 1), Vec::new()));
    wait("the empty one", || Arc::strong_count(&new) == 1);
}

#[test]
fn a_name_that_moves_while_it_is_probed_is_probed_at_its_new_address() {
    let (_listener, _queue, silent) = blackhole();
    let (live, (_socket, dead)) = (TcpListener::bind((HOME, 0)).unwrap(), held(HOME, 0));
    let live = live.local_addr().unwrap();
    // A course over three addresses, of which one is left when the first has had its time.
    let before = table(health(60_000, 300), vec![vec![silent, dead, silent], vec![silent, dead]]);
    let thread = start(&before);
    let renewed = |addresses| Arc::new(before.renew(vec![pool(health(60_000, 300), addresses)], 1, 1).0);
    let shrunk = renewed(vec![vec![silent], vec![live]]);
    thread.replace(Arc::clone(&shrunk));
    wait("the one that moved stays up, the other goes down", || up(&shrunk, 1) && !up(&shrunk, 0));
    let moved = renewed(vec![vec![live], vec![live]]);
    thread.replace(Arc::clone(&moved));
    wait("it is probed at once, and that alone decides", || up(&moved, 0));
    assert!(thread.is_running());
}

#[test]
fn what_is_no_longer_configured_is_no_longer_probed() {
    let live = TcpListener::bind((HOME, 0)).unwrap();
    let address = live.local_addr().unwrap();
    let before = table(health(20, 5000), vec![vec![address], vec![address]]);
    let thread = start(&before);
    wait("both are probed", || accepted(&live) >= 2);
    let renewed = |count: usize| {
        let mut renewed = pool(health(20, 5000), vec![vec![address]; count]);
        renewed.0.name = if count == 0 { "other".to_owned() } else { renewed.0.name };
        Arc::new(before.renew(vec![renewed], 1, 1).0)
    };
    let none = renewed(0);
    thread.replace(Arc::clone(&none));
    wait("it has the new table", || Arc::strong_count(&before) == 1);
    accepted(&live);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(accepted(&live), 0);
}

/// Keeps the log's lines.
struct Lines(Mutex<Vec<String>>);

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = format!("{} {}", record.level(), record.args());
        self.0.lock().unwrap().push(line);
    }

    fn flush(&self) {}
}

static LINES: Lines = Lines(Mutex::new(Vec::new()));

fn lines(part: &str) -> usize {
    LINES.0.lock().unwrap().iter().filter(|line| line.contains(part)).count()
}

/// Runs a test alone in a process of its own, for what belongs to the whole process: its log, its limits.
fn alone(test: &str, body: impl FnOnce()) {
    const MARK: &str = "EVENKEEL_TEST_ALONE";
    if std::env::var_os(MARK).is_some() {
        log::set_logger(&LINES).unwrap();
        log::set_max_level(log::LevelFilter::Debug);
        return body();
    }
    let mut command = Process::new(std::env::current_exe().unwrap());
    let name = format!("probe::tests::{test}");
    let output = command.args(["--exact", &name, "--nocapture"]).env(MARK, "1").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
fn each_change_and_each_first_result_is_one_line() {
    alone("each_change_and_each_first_result_is_one_line", || {
        let live = TcpListener::bind((HOME, 0)).unwrap();
        let (socket, address) = held(HOME, 0);
        let table = table(health(20, 5000), vec![vec![live.local_addr().unwrap()], vec![address]]);
        let thread = start(&table);
        wait("down", || {
            lines(&format!("WARN backend http://b1:80 is down: connection refused ({address})")) == 1
        });
        socket.listen(128).unwrap();
        wait("up", || {
            lines(&format!("INFO backend http://b1:80 is up, 2 successes in a row ({address}, ")) == 1
        });
        drop(socket);
        wait("down again", || lines("b1:80 is down, 3 failures in a row: connection refused") == 1);
        thread.stop();
        assert_eq!((lines("INFO backend http://b0:80 is up"), lines("")), (1, 4));
    });
}

#[test]
fn without_descriptors_nothing_is_marked_down() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    alone("without_descriptors_nothing_is_marked_down", || {
        let live = TcpListener::bind((HOME, 0)).unwrap();
        let (_listener, _queue, silent) = blackhole();
        let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let before = open();
        let address = live.local_addr().unwrap();
        // The silent one comes first, so that its descriptor is held while the others want one.
        let table = table(health(60_000, 500), [vec![vec![silent]; 8], vec![vec![address]; 200]].concat());
        let limit = getrlimit(Resource::Nofile);
        let few = rustix::process::Rlimit { current: Some(before as u64 + 24), ..limit };
        setrlimit(Resource::Nofile, few).unwrap();
        let thread = start(&table);
        wait("the shortage", || lines("WARN not every backend can be probed: too many open files") == 1);
        wait("all others", || {
            // Nobody accepts: make room in the listener's queue.
            live.set_nonblocking(true).unwrap();
            while live.accept().is_ok() {}
            lines("is up") == 200 && lines("is down") == 8
        });
        thread.stop();
        assert_eq!((table.epoch(), lines("")), (8, 209));
        setrlimit(Resource::Nofile, limit).unwrap();
        assert_eq!(open(), before);
    });
}
