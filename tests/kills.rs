//! Backends killed and restarted under load cost no idempotent request.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use crate::support::{Client, Evenkeel, TestServer, eventually};

const CLIENTS: usize = 64;
const KILLS: usize = 10;
const ROUND: Duration = Duration::from_secs(30);

/// What the clients have seen so far.
#[derive(Default)]
struct Tally {
    answered: AtomicUsize,
    failed: Mutex<Vec<String>>,
    stop: AtomicBool,
}

impl Tally {
    fn fail(&self, what: String) {
        self.failed.lock().unwrap().push(what);
    }

    fn assert_none_failed(&self) {
        let failed = self.failed.lock().unwrap();
        assert!(failed.is_empty(), "{} failed, the first: {:?}", failed.len(), failed.first());
    }

    /// Waits until that many more requests have been answered.
    fn more(&self, requests: usize) {
        let goal = self.answered.load(SeqCst) + requests;
        eventually(ROUND, "the load goes on", || {
            self.assert_none_failed();
            self.answered.load(SeqCst) >= goal
        });
    }
}

/// Keep-alive GETs until told to stop; every failure is kept.
fn load(address: std::net::SocketAddr, tally: &Tally) {
    let mut client = None;
    while !tally.stop.load(SeqCst) {
        let mut connection = client.take().unwrap_or_else(|| Client::connect(address));
        match connection.get("/some/path") {
            Ok(response) if response.status == 200 && response.text().starts_with("Hello from ") => {
                tally.answered.fetch_add(1, SeqCst);
                client = (!response.closes()).then_some(connection);
            }
            Ok(response) => tally.fail(format!("{}: {}", response.status, response.text())),
            Err(e) => tally.fail(e.to_string()),
        }
    }
}

/// Ends the load however the scope is left, so that a failed assertion does not hang it.
struct Stop<'a>(&'a Tally);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, SeqCst);
    }
}

#[test]
fn ten_kills_of_one_of_three_backends_under_load_lose_no_get() {
    let mut servers = [TestServer::start(), TestServer::start(), TestServer::start()];
    let urls = servers.iter().map(TestServer::url).collect::<Vec<_>>().join(",");
    let balancer =
        Evenkeel::start(&["--workers", "2", "--health-check-interval", "100ms", "--backends", &urls]);
    let tally = Tally::default();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| load(balancer.address, &tally));
        }
        let _stop = Stop(&tally);
        tally.more(500);
        for kill in 0..KILLS {
            let victim = servers[1].url();
            let ups = balancer.lines_with(&victim, "up");
            servers[1].kill();
            eventually(ROUND, "it is found down", || balancer.lines_with(&victim, "down") > kill);
            tally.more(300);
            servers[1].restart();
            eventually(ROUND, "it is found up", || balancer.lines_with(&victim, "up") > ups);
            tally.more(300);
        }
    });
    tally.assert_none_failed();
}

#[test]
fn restarts_too_short_for_any_probe_lose_no_get() {
    let mut servers = [TestServer::start(), TestServer::start(), TestServer::start()];
    let urls = servers.iter().map(TestServer::url).collect::<Vec<_>>().join(",");
    let balancer =
        Evenkeel::start(&["--workers", "2", "--health-check-interval", "300ms", "--backends", &urls]);
    let tally = Tally::default();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| load(balancer.address, &tally));
        }
        let _stop = Stop(&tally);
        for _ in 0..KILLS {
            tally.more(200);
            servers[1].restart();
        }
        tally.more(200);
    });
    tally.assert_none_failed();
}
