//! The health thread: a timed TCP connect to every backend, all at once, each interval.
//!
//! `schedule` decides, handed the time; `rounds` does it with mio and tells the table; `dial` is one
//! connection.

mod dial;
mod rounds;
mod schedule;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Release};
use std::thread::{Builder, JoinHandle};

use mio::{Poll, Waker};

use crate::balance::Table;
use rounds::Rounds;

/// The running probe thread; dropping it stops it.
#[derive(Debug)]
pub struct Thread {
    stop: Arc<AtomicBool>,
    waker: Waker,
    join: Option<JoinHandle<()>>,
}

/// Starts the thread `probe`; its first round begins at once. Fails only if the system gives no thread or
/// no poller.
pub fn spawn(table: Arc<Table>, began: std::time::Instant) -> io::Result<Thread> {
    let health = table.pools()[0].config().health.clone();
    let poll = Poll::new()?;
    let waker = Waker::new(poll.registry(), rounds::STOP)?;
    let stop = Arc::new(AtomicBool::new(false));
    let rounds = Rounds::new(table, health, poll, began);
    let stopped = Arc::clone(&stop);
    let join = Builder::new().name("probe".into()).spawn(move || rounds.run(&stopped))?;
    Ok(Thread { stop, waker, join: Some(join) })
}

impl Thread {
    /// Stops probing, closes its connections and waits until the thread has ended, which takes milliseconds.
    pub fn stop(self) {}

    /// False once the thread has ended, which before `stop` only a panic can do.
    pub fn is_running(&self) -> bool {
        self.join.as_ref().is_some_and(|join| !join.is_finished())
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.stop.store(true, Release);
        // A thread that cannot be woken ends at its next event: better left alone than waited for.
        if self.waker.wake().is_ok()
            && let Some(join) = self.join.take()
        {
            // A panic has already been printed by the thread that had it.
            let _ = join.join();
        }
    }
}

#[cfg(any())]
mod tests {
    use super::*;
    use crate::balance::Backend;
    use crate::config::{self, BackendUrl, Health, Pool};
    use crate::id::BackendId;
    use socket2::{Domain, Socket, Type};
    use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
    use std::process::Command;
    use std::sync::Mutex;
    use std::time::{Duration, Instant};

    const PATIENCE: Duration = Duration::from_secs(20);
    const HOME: Ipv4Addr = Ipv4Addr::LOCALHOST;

    fn health(interval: u64, timeout: u64) -> Health {
        let (interval, timeout) = (Duration::from_millis(interval), Duration::from_millis(timeout));
        Health { interval, timeout, ..Health::default() }
    }

    fn table(backends: Vec<Vec<SocketAddr>>) -> Arc<Table> {
        let named = backends.into_iter().enumerate().map(|(index, addresses)| {
            let url = BackendUrl { host: format!("b{index}"), port: 80 };
            Backend::new(config::Backend::new(url), addresses)
        });
        Arc::new(Table::new(named.collect()))
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
        let table = table(vec![vec![live.local_addr().unwrap()], vec![dead], vec![]]);
        table.set_up(BackendId(0), false);
        let thread = spawn(Arc::clone(&table), health(60_000, 5000)).unwrap();
        assert_eq!(thread.join.as_ref().unwrap().thread().name(), Some("probe"));
        wait("first round", || up(&table, 0) && !up(&table, 1) && !up(&table, 2));
        assert_eq!(table.epoch(), 4);
        assert!(thread.is_running());
    }

    #[test]
    fn a_backend_that_comes_and_goes_is_followed() {
        let (socket, address) = held(HOME, 0);
        let table = table(vec![vec![address]]);
        let _thread = spawn(Arc::clone(&table), health(20, 5000)).unwrap();
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
        let table = table(vec![vec![dead, address], vec![silent, dead, address]]);
        table.set_up(BackendId(0), false);
        let _thread = spawn(Arc::clone(&table), health(60_000, 200)).unwrap();
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
        let table = table(refusing.chain(vec![vec![silent]; 50]).chain([alive]).collect());
        table.set_up(BackendId(1050), false);
        let timeout = Duration::from_millis(1500);
        let begun = Instant::now();
        let _thread =
            spawn(Arc::clone(&table), Health { interval: PATIENCE * 2, timeout, ..Health::default() })
                .unwrap();
        wait("all refusing", || up(&table, 1050) && (0..1000).all(|index| !up(&table, index)));
        assert!(begun.elapsed() < timeout, "the silent held up the others: {:?}", begun.elapsed());
        wait("all silent", || (1000..1050).all(|index| !up(&table, index)));
        let took = begun.elapsed();
        assert!(took >= timeout && took < timeout * 2, "{took:?}");
    }

    #[test]
    fn stop_does_not_wait_for_probes() {
        let (_listener, _queue, silent) = blackhole();
        let table = table(vec![vec![silent]; 10]);
        let thread = spawn(Arc::clone(&table), health(60_000, 60_000)).unwrap();
        let begun = Instant::now();
        thread.stop();
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        assert_eq!(Arc::strong_count(&table), 1);
        assert!((0..10).all(|index| up(&table, index)));
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
        let mut command = Command::new(std::env::current_exe().unwrap());
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
            let table = table(vec![vec![live.local_addr().unwrap()], vec![address]]);
            let thread = spawn(Arc::clone(&table), health(20, 5000)).unwrap();
            wait("down", || {
                lines(&format!("WARN backend http://b1:80 is down: connection refused ({address})")) == 1
            });
            socket.listen(128).unwrap();
            wait("up", || lines(&format!("INFO backend http://b1:80 is up ({address}, ")) == 1);
            drop(socket);
            wait("down again", || lines("b1:80 is down") == 2);
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
            let table = table([vec![vec![silent]; 8], vec![vec![address]; 200]].concat());
            let limit = getrlimit(Resource::Nofile);
            let few = rustix::process::Rlimit { current: Some(before as u64 + 24), ..limit };
            setrlimit(Resource::Nofile, few).unwrap();
            let thread = spawn(Arc::clone(&table), health(60_000, 500)).unwrap();
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
}
