//! The balancer under simulation: see `world.rs` for what a run is and `ledger.rs` for what is held.
//!
//! `SIM_SEEDS=100000 cargo test --test sim` runs many seeds, `SIM_SEED=123` one of them, with its trace.

mod backend;
mod client;
mod http;
mod kernel;
mod ledger;
mod net;
mod peer;
mod pipe;
mod rng;
mod script;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use ledger::Mood;
use net::Splits;
use world::{Plot, World};

/// Seeds of a plain test run.
const SEEDS: u64 = 4000;
/// Lines of a trace that are shown.
const SHOWN: usize = 4000;

fn plot(seed: u64) -> Plot {
    let mood = match seed % 4 {
        0 => Mood::Calm,
        1 => Mood::Flaky,
        _ => Mood::Rough,
    };
    Plot { seed, net_seed: !seed, mood, splits: Splits::Random, timeless: false, traced: false }
}

/// What went wrong in that run, and its trace if it was asked for.
fn run(plot: Plot) -> (Vec<String>, Vec<String>) {
    let mut world = World::new(plot);
    let panicked = catch_unwind(AssertUnwindSafe(|| world.run())).is_err();
    if panicked {
        world.ledger.wrong("it panicked");
    }
    let wrongs = std::mem::take(&mut world.ledger.wrongs);
    let trace = world.take_trace();
    if panicked {
        // What a panic leaves behind may panic again when it is dropped.
        std::mem::forget(world);
    }
    (wrongs, trace)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs all seeds on all cores; the first that fail, with what was wrong.
fn failing(seeds: u64, wrong: impl Fn(u64) -> Option<String> + Sync) -> Vec<(u64, String)> {
    let next = AtomicU64::new(0);
    let failed = std::sync::Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= seeds || failed.lock().unwrap().len() >= 20 {
                        break;
                    }
                    if let Some(wrong) = wrong(seed) {
                        failed.lock().unwrap().push((seed, wrong));
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap();
    failed.sort_unstable();
    failed
}

#[test]
fn every_conversation_ends_well_or_is_cut() {
    let failed = match number("SIM_SEED") {
        Some(seed) => vec![(seed, String::new())],
        None => failing(number("SIM_SEEDS").unwrap_or(SEEDS), |seed| run(plot(seed)).0.into_iter().next()),
    };
    let Some(&(first, _)) = failed.first() else { return };
    let (wrongs, trace) = run(Plot { traced: true, ..plot(first) });
    for line in &trace[trace.len().saturating_sub(SHOWN)..] {
        println!("{line}");
    }
    assert!(
        wrongs.is_empty(),
        "seed {first}: {}\nreplay it with SIM_SEED={first} cargo test --test sim\nseeds that fail:\n{}",
        wrongs.join("\n"),
        failed.iter().map(|(seed, wrong)| format!("{seed}: {wrong}\n")).collect::<String>()
    );
}
