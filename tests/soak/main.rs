//! A soak: clients and backends that go wrong in every way, drawn from one seed, for ten seconds, or for
//! `SOAK_SECONDS`. Every request is numbered and its answer checked; a failure is right only where a fault was
//! injected for it. At the end nothing is left behind.
//!
//! `SOAK_SECONDS=120 SOAK_SEED=7 cargo test --release --test soak -- --nocapture`

mod backend;
mod client;
mod ledger;
mod plan;
#[path = "../sim/rng.rs"]
#[expect(dead_code, reason = "shared with the simulation")]
mod rng;
#[path = "../support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "shared with the other tests")]
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use backend::Backend;
use client::Soaker;
use ledger::Ledger;
use rng::Rng;
use support::{Evenkeel, SOON, eventually};

const CLIENTS: u64 = 16;
const BACKENDS: usize = 4;
const WORKERS: usize = 2;
/// Memory is compared with what it was after this long, when every buffer and table has been needed.
const SETTLED: Duration = Duration::from_secs(10);
/// What it may have grown by since.
const GROWTH: u64 = 3 << 20;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn a_soak_with_faults_leaves_nothing_wrong_and_nothing_behind() {
    let (length, seed) = (Duration::from_secs(number("SOAK_SECONDS", 10)), number("SOAK_SEED", 1));
    let ledger = Arc::new(Ledger::default());
    let mut backends: Vec<Backend> = (0..BACKENDS).map(|_| Backend::start(&ledger)).collect();
    let balancer = start(&backends);
    balancer.status();
    let (before, started) = (balancer.descriptors(), Instant::now());
    let (settled, late) = std::thread::scope(|scope| {
        let mut seeds = Rng::new(seed);
        for i in 0..CLIENTS {
            let soaker = Soaker::new(balancer.address, &ledger, seeds.fork(), i << 40 | 1);
            scope.spawn(|| soaker.run());
        }
        let (backends, ledger) = (&mut backends, &ledger);
        let mut rng = seeds.fork();
        scope.spawn(move || kill_now_and_then(backends, ledger, &mut rng));
        sleep_until(started + SETTLED.min(length / 2));
        let settled = balancer.resident();
        sleep_until(started + length);
        let late = balancer.resident();
        ledger.end();
        (settled, late)
    });
    let kib = |bytes: u64| bytes / 1024;
    println!("soak of {length:?}, seed {seed}: {:?}", ledger.counts());
    println!("failures told: {}", balancer.status()["failures"]);
    println!("resident: {} KiB settled, {} KiB under load at the end", kib(settled), kib(late));
    let wrongs = ledger.wrongs();
    assert!(wrongs.is_empty(), "seed {seed}:\n{}", wrongs.join("\n"));
    eventually(SOON, "no client connection is left but the one that asks", || {
        balancer.open().iter().sum::<u64>() == 1
    });
    let mut left = (0, 0);
    eventually(SOON, "the sockets are as they were", || {
        left = balancer.descriptors();
        left.0 == before.0
    });
    let resident = balancer.resident();
    println!("descriptors but pipes: {} before, {} after; ends of spare pipes: {}", before.0, left.0, left.1);
    println!("resident: {} KiB at rest", kib(resident));
    assert!(left.1 <= 2 * evenkeel::limits::SPARE_PIPES * WORKERS, "{} ends of pipes", left.1);
    assert!(resident.max(late) < settled + GROWTH, "grown from {settled} to {late}, {resident} at rest");
}

fn start(backends: &[Backend]) -> Evenkeel {
    let urls: Vec<String> = backends.iter().map(Backend::url).collect();
    let flags = format!(
        "--workers {WORKERS} --health-check-interval 100ms --max-fails 1000000 --response-timeout 2s --stall-timeout 2s \
                 --backend-idle-timeout 1s --backends {}",
        urls.join(",")
    );
    Evenkeel::start(&flags.split(' ').collect::<Vec<_>>())
}

fn sleep_until(then: Instant) {
    std::thread::sleep(then.saturating_duration_since(Instant::now()));
}

/// Kills one backend after another, each for a moment; all are alive at the end.
fn kill_now_and_then(backends: &mut [Backend], ledger: &Ledger, rng: &mut Rng) {
    while !ledger.is_over() {
        std::thread::sleep(Duration::from_millis(rng.between(200, 600)));
        let victim = &mut backends[rng.below(BACKENDS as u64) as usize];
        ledger.kill(|| victim.kill());
        std::thread::sleep(Duration::from_millis(rng.between(20, 300)));
        victim.restart();
    }
}
