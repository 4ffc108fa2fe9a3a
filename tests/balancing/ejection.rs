//! Traffic takes a backend out that fails it, and exactly one request tries it again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use super::held::Held;
use super::{Press, balance, named};
use crate::support::{Backend, Client, Evenkeel, SOON, eventually, get};

const FAILURE: &str = "HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n";

/// A backend that is ill while the switch says so, and when each request came to it while it was.
struct Switched {
    backend: Backend,
    ill: Arc<AtomicBool>,
    came: Arc<Mutex<Vec<Instant>>>,
}

impl Switched {
    fn ill(name: &'static str) -> Self {
        let (ill, came) = (Arc::new(AtomicBool::new(true)), Arc::new(Mutex::new(Vec::new())));
        let (is_ill, noted) = (Arc::clone(&ill), Arc::clone(&came));
        let backend = Backend::start(move |_, reply| match is_ill.load(SeqCst) {
            true => {
                noted.lock().unwrap().push(Instant::now());
                reply.send(FAILURE)
            }
            false => reply.ok(name),
        });
        Self { backend, ill, came }
    }

    fn mend(&self) {
        self.ill.store(false, SeqCst);
    }

    fn failed(&self) -> usize {
        self.came.lock().unwrap().len()
    }
}

fn text(balancer: &Evenkeel) -> String {
    get(balancer.address, "/").expect("a response").text()
}

#[test]
fn so_many_failures_in_a_row_take_it_out() {
    let (ill, well) = (Switched::ill("mended"), Backend::named("well"));
    let balancer = balance(
        "--workers 1 --fail-statuses 500-599 --max-fails 4 --fail-rate 0 --eject-time 10s",
        [&ill.backend, &well],
    );
    for _ in 0..40 {
        get(balancer.address, "/").expect("a response");
    }
    assert_eq!((ill.failed(), well.requests()), (4, 36), "four in turn, and then none");
    eventually(SOON, "it says so", || balancer.lines_with("4 failures in a row", "out") == 1);
}

#[test]
fn an_answer_between_failures_begins_the_count_anew() {
    let count = AtomicUsize::new(0);
    let two_of_three = Backend::start(move |_, reply| match count.fetch_add(1, SeqCst) % 3 {
        2 => reply.ok("well"),
        _ => reply.send(FAILURE),
    });
    let well = Backend::named("well");
    let balancer =
        balance("--workers 1 --fail-statuses 500 --max-fails 3 --fail-rate 0", [&two_of_three, &well]);
    for _ in 0..60 {
        get(balancer.address, "/").expect("a response");
    }
    assert_eq!((two_of_three.requests(), well.requests()), (30, 30));
}

#[test]
fn a_failure_rate_takes_it_out() {
    let count = AtomicUsize::new(0);
    let half = Backend::start(move |_, reply| match count.fetch_add(1, SeqCst) % 2 {
        0 => reply.send(FAILURE),
        _ => reply.ok("half"),
    });
    let well = Backend::named("well");
    let flags = "--workers 1 --fail-statuses 500 --max-fails 0 --fail-window 10s --eject-time 10s";
    let balancer = balance(&format!("{flags} --fail-rate 50"), [&half, &well]);
    for _ in 0..80 {
        get(balancer.address, "/").expect("a response");
    }
    assert!((20..=22).contains(&half.requests()), "{} requests before it was out", half.requests());
    eventually(SOON, "it says so", || balancer.lines_with("of its requests failed", "out") == 1);
    let lenient = balance(&format!("{flags} --fail-rate 60"), [&half, &well]);
    let before = half.requests();
    for _ in 0..80 {
        get(lenient.address, "/").expect("a response");
    }
    assert_eq!(half.requests() - before, 40, "half of all is less than 60 %");
}

#[test]
fn the_time_out_doubles_up_to_its_most() {
    let (ill, well) = (Switched::ill("mended"), Backend::named("well"));
    let balancer = balance(
        "--workers 2 --fail-statuses 500 --max-fails 1 --eject-time 100ms --eject-time-max 400ms",
        [&ill.backend, &well],
    );
    let _press = Press::start(balancer.address, 1);
    eventually(SOON, "five tries", || ill.failed() >= 5);
    let came = ill.came.lock().unwrap().clone();
    let gaps: Vec<u128> = came.windows(2).map(|two| (two[1] - two[0]).as_millis()).collect();
    for (gap, least) in gaps.iter().zip([100, 200, 400, 400]) {
        // The clock of a tick has whole milliseconds.
        assert!(*gap >= least - 2, "{gaps:?}");
    }
    eventually(SOON, "it says so", || {
        let out = |time: &str| balancer.lines_with(&format!("out for {time}"), "out");
        [out("100ms"), out("200ms")] == [1, 1] && out("400ms") >= 2
    });
}

/// A backend that was out, whose trial has just been answered, while 64 clients press.
struct Tried {
    held: Held,
    other: Backend,
    balancer: Evenkeel,
    press: Press,
}

/// Holds the trial for several times as long as the backend is out, and then answers it like this.
fn one_tries(answer: &'static str) -> Tried {
    let broken = Arc::new(AtomicBool::new(true));
    let is_broken = Arc::clone(&broken);
    let held = Held::start(move |_, reply| match is_broken.load(SeqCst) {
        true => reply.send(FAILURE),
        false => reply.send(answer),
    });
    let other = Backend::named("other");
    let flags = "--workers 4 --fail-statuses 500 --max-fails 1 --eject-time 100ms";
    let balancer = balance(flags, [&held.backend, &other]);
    held.let_go(1);
    for _ in 0..2 {
        get(balancer.address, "/").expect("a response");
    }
    eventually(SOON, "it is out", || balancer.lines_with(&held.backend.url(), "out") == 1);
    broken.store(false, SeqCst);
    let press = Press::start(balancer.address, 64);
    held.await_now(1);
    let (before, began) = (other.requests(), Instant::now());
    eventually(SOON, "many others are answered", || {
        began.elapsed() > Duration::from_millis(400) && other.requests() > before + 200
    });
    assert_eq!((held.now(), held.backend.requests()), (1, 2), "one tries it");
    held.let_go(1);
    eventually(SOON, "the answer counts", || {
        let lines = |word| balancer.lines_with(&held.backend.url(), word);
        lines("back") + lines("stays") > 0
    });
    Tried { held, other, balancer, press }
}

#[test]
fn exactly_one_request_of_64_clients_tries_it_and_brings_it_back() {
    let Tried { held, other, balancer, press } =
        one_tries("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nback");
    assert_eq!(balancer.lines_with(&held.backend.url(), "back"), 1);
    held.open();
    drop(press);
    let before = [held.backend.requests(), other.requests()];
    for _ in 0..20 {
        get(balancer.address, "/").expect("a response");
    }
    let after = [held.backend.requests(), other.requests()];
    assert_eq!([after[0] - before[0], after[1] - before[1]], [10, 10], "it has its share again");
}

#[test]
fn a_trial_that_fails_leaves_it_out_for_longer() {
    let Tried { held, balancer, press, .. } = one_tries(FAILURE);
    assert_eq!(balancer.lines_with("stays out for 200ms", "failed"), 1, "{:?}", balancer.lines());
    held.await_now(1);
    assert_eq!(held.backend.requests(), 3, "and then one again");
    held.open();
    drop(press);
}

#[test]
fn a_client_that_leaves_during_the_trial_says_nothing_about_the_backend() {
    let ill = Arc::new(AtomicBool::new(true));
    let is_ill = Arc::clone(&ill);
    let held = Held::start(move |_, reply| match is_ill.load(SeqCst) {
        true => reply.send(FAILURE),
        false => reply.ok("back"),
    });
    let balancer = balance(
        "--workers 1 --fail-statuses 500 --max-fails 1 --eject-time 50ms --max-ejected 100",
        [&held.backend],
    );
    held.let_go(1);
    assert_eq!(get(balancer.address, "/").expect("a response").status, 500);
    ill.store(false, SeqCst);
    let mut trying = Client::connect(balancer.address);
    eventually(SOON, "one tries it", || {
        let _ = trying.stream().set_read_timeout(Some(Duration::from_millis(50)));
        trying.get("/").is_err() && held.now() == 1
    });
    trying.reset_on_close();
    drop(trying);
    held.open();
    eventually(SOON, "another tries it", || text(&balancer) == "back");
    assert_eq!(balancer.lines_with(&held.backend.url(), "stays"), 0, "{:?}", balancer.lines());
}

/// How many of four ill backends are out after much traffic.
fn out_of_four(most: u32) -> usize {
    let ill = [(); 4].map(|()| Switched::ill("x"));
    let flags =
        format!("--workers 4 --fail-statuses 500 --max-fails 1 --eject-time 10s --max-ejected {most}");
    let balancer = balance(&flags, ill.iter().map(|ill| &ill.backend));
    for _ in 0..60 {
        assert!(matches!(get(balancer.address, "/").expect("a response").status, 500 | 503));
    }
    let before: Vec<usize> = ill.iter().map(Switched::failed).collect();
    for _ in 0..60 {
        get(balancer.address, "/").expect("a response");
    }
    let out = ill.iter().zip(before).filter(|(ill, before)| ill.failed() == *before).count();
    assert_eq!(balancer.lines_with("failures in a row", "out"), out);
    out
}

#[test]
fn at_most_the_set_share_is_out() {
    let cases = [(0, 0), (24, 0), (25, 1), (50, 2), (75, 3), (100, 4)];
    assert_eq!(cases.map(|(most, _)| out_of_four(most)), cases.map(|(_, right)| right));
}

#[test]
fn a_flapping_backend_costs_no_request() {
    let mut backends = named(["a", "b", "c"]);
    let balancer = balance(
        "--workers 4 --max-fails 1 --eject-time 50ms --eject-time-max 100ms --retry-budget 100",
        &backends,
    );
    let (stop, stopped) = mpsc::channel::<()>();
    let to = balancer.address;
    let load = std::thread::spawn(move || {
        let (mut client, mut answered) = (Client::connect(to), 0);
        while let Err(mpsc::TryRecvError::Empty) = stopped.try_recv() {
            let response = client.get("/").expect("a response");
            assert_eq!(response.status, 200, "{}", response.text());
            answered += 1;
        }
        answered
    });
    for _ in 0..6 {
        backends[0].kill();
        std::thread::sleep(Duration::from_millis(60));
        backends[0].restart();
        let before = backends[0].requests();
        eventually(SOON, "it serves again", || backends[0].requests() > before);
    }
    drop(stop);
    assert!(load.join().expect("all were answered") > 100);
}

#[test]
fn a_mended_backend_is_back_after_one_trial() {
    let (ill, well) = (Switched::ill("mended"), Backend::named("well"));
    let balancer =
        balance("--workers 2 --fail-statuses 500 --max-fails 2 --eject-time 100ms", [&ill.backend, &well]);
    for _ in 0..4 {
        get(balancer.address, "/").expect("a response");
    }
    ill.mend();
    eventually(SOON, "it is back", || text(&balancer) == "mended");
    assert_eq!(ill.failed(), 2);
}
