//! Who serves while backends are away, and how much one that returns is given at first.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use super::held::HEALTH;
use super::{Press, balance, named};
use crate::support::{Backend, Client, Evenkeel, SOON, eventually, get};

const CHECKED: &str = "--health-check-interval 50ms --health-rise 1 --health-fall 1";

fn text(balancer: &Evenkeel) -> String {
    get(balancer.address, "/").expect("a response").text()
}

/// Waits until checks have found so many times that the backend is up or down.
#[track_caller]
fn await_word(balancer: &Evenkeel, backend: &Backend, word: &str, count: usize) {
    let url = backend.url();
    eventually(SOON, &format!("{url} is {word}"), || balancer.lines_with(&url, word) >= count);
}

#[test]
fn a_backup_serves_only_while_no_other_can() {
    let mut backends = named(["a", "b", "backup"]);
    let backup = backends[2].url();
    let balancer = balance(&format!("--workers 4 --backup {backup} {CHECKED}"), &backends[..2]);
    let names = || (0..20).map(|_| text(&balancer)).collect::<Vec<_>>();
    let only = |name: &str| names().iter().all(|n| n == name);
    assert!(names().iter().all(|name| name != "backup"));
    await_word(&balancer, &backends[0], "up", 1);
    backends[0].kill();
    await_word(&balancer, &backends[0], "down", 1);
    assert!(only("b"), "one that is no backup is left");
    backends[1].kill();
    assert_eq!(text(&balancer), "backup", "also before a check has found out");
    await_word(&balancer, &backends[1], "down", 1);
    assert!(only("backup"));
    backends[0].restart();
    await_word(&balancer, &backends[0], "up", 2);
    assert!(only("a"), "the backup rests again");
}

/// Two backends that serve well, and are ill to health checks while the switch says so.
fn ill_to_checks() -> ([Backend; 2], Arc<AtomicBool>) {
    let ill = Arc::new(AtomicBool::new(true));
    let backends = ["a", "b"].map(|name| {
        let is_ill = Arc::clone(&ill);
        Backend::start(move |request, reply| match request.target == HEALTH && is_ill.load(SeqCst) {
            true => reply.send("HTTP/1.1 500 Ill\r\nContent-Length: 0\r\n\r\n"),
            false => reply.ok(name),
        })
    });
    (backends, ill)
}

#[test]
fn with_all_down_fail_open_tries_them_all_the_same() {
    let (backends, ill) = ill_to_checks();
    let start = |flags: &str| {
        let balancer = balance(&format!("--workers 2 --health-path {HEALTH} {CHECKED} {flags}"), &backends);
        backends.iter().for_each(|backend| await_word(&balancer, backend, "down", 1));
        balancer
    };
    let (shut, open) = (start(""), start("--fail-open"));
    assert_eq!(get(shut.address, "/").expect("a response").status, 503);
    let names: Vec<String> = (0..4).map(|_| text(&open)).collect();
    assert_eq!(names, ["a", "b", "a", "b"]);
    ill.store(false, SeqCst);
    eventually(SOON, "200 again", || get(shut.address, "/").expect("a response").status == 200);
}

#[test]
fn with_one_up_fail_open_changes_nothing() {
    let mut backends = named(["a", "b"]);
    let balancer = balance(&format!("--workers 2 --fail-open {CHECKED}"), &backends);
    backends[0].kill();
    await_word(&balancer, &backends[0], "down", 1);
    assert!((0..10).all(|_| text(&balancer) == "b"));
}

#[test]
fn all_down_is_503_at_once_for_everybody() {
    let mut backends = named(["a", "b", "c"]);
    let balancer = balance(&format!("--workers 4 {CHECKED}"), &backends);
    assert_eq!(get(balancer.address, "/").expect("a response").status, 200);
    backends.iter_mut().for_each(Backend::kill);
    backends.iter().for_each(|backend| await_word(&balancer, backend, "down", 1));
    let began = Instant::now();
    std::thread::scope(|scope| {
        for i in 0..64 {
            let balancer = &balancer;
            scope.spawn(move || {
                let mut client = Client::connect(balancer.address);
                for _ in 0..5 {
                    let response = if i % 2 == 0 { client.get("/") } else { client.post("/", "body") };
                    let response = response.expect("a response");
                    assert_eq!((response.status, response.closes()), (503, false));
                    assert!(response.head.has("retry-after"), "{:?}", response.head);
                }
            });
        }
    });
    assert!(began.elapsed() < Duration::from_secs(2), "320 refusals took {:?}", began.elapsed());
    assert_eq!(balancer.failures("no-backend"), 320);
}

const SLOW_START: Duration = Duration::from_millis(1800);

/// What part of the requests, in percent, a backend that has just returned had in the first and in the last third of
/// its slow start, and after it; `None` when the machine was too busy for enough requests.
fn shares_after_a_return(algorithm: &str) -> Option<[f64; 3]> {
    let mut backends = [(); 2].map(|()| {
        Backend::start(|_, reply| {
            std::thread::sleep(Duration::from_millis(30));
            reply.ok("well")
        })
    });
    let flags = format!("--workers 2 --algorithm {algorithm} --slow-start 1800ms {CHECKED}");
    let balancer = balance(&flags, &backends);
    await_word(&balancer, &backends[0], "up", 1);
    backends[0].kill();
    await_word(&balancer, &backends[0], "down", 1);
    backends[0].restart();
    await_word(&balancer, &backends[0], "up", 2);
    let began = Instant::now();
    let _press = Press::start(balancer.address, 4);
    let mut enough = true;
    let shares = [(0, 1), (2, 3), (3, 4)].map(|(from, to)| {
        std::thread::sleep((SLOW_START * from / 3).saturating_sub(began.elapsed()));
        let before = backends.each_ref().map(Backend::requests);
        std::thread::sleep((SLOW_START * to / 3).saturating_sub(began.elapsed()));
        let [returned, other] = [0, 1].map(|i| (backends[i].requests() - before[i]) as f64);
        enough &= returned + other > 25.0;
        100.0 * returned / (returned + other)
    });
    enough.then_some(shares)
}

#[test]
fn the_share_of_one_that_returned_grows() {
    let by_turn = ["round-robin", "random", "hash --hash-bound 0"];
    let by_load = ["least-connections", "two-choices", "peak-ewma"];
    std::thread::scope(|scope| {
        for algorithm in by_turn.into_iter().chain(by_load) {
            scope.spawn(move || {
                let [first, last, then] =
                    (0..8).find_map(|_| shares_after_a_return(algorithm)).expect("enough requests");
                let told = format!("{algorithm}: {first:.0} %, {last:.0} %, then {then:.0} %");
                if algorithm == "peak-ewma" {
                    // How fast its answers happened to be counts more than anything else.
                    assert!(first < 40.0 && then.max(last) > first, "{told}");
                    return;
                }
                assert!(first < 30.0 && last > first + 5.0, "{told}");
                assert!((25.0..80.0).contains(&then), "{told}");
            });
        }
    });
}
