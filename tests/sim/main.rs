//! The balancer under simulation: see `world.rs` for what a run is and `ledger.rs` for what is held.
//!
//! `SIM_SEEDS=100000 cargo test --test sim` runs many seeds, `SIM_SEED=123` one of them, with its trace.

mod answer;
mod backend;
mod broken;
mod client;
mod http;
mod judge;
mod kernel;
mod layer4;
mod ledger;
mod line;
mod near;
mod net;
mod peer;
mod pipe;
mod plot;
mod reload;
mod rng;
mod schedule;
mod script;
mod ticks;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use ledger::{Mood, Outcome};
use net::Splits;
use plot::Plot;
use world::World;

/// Seeds of a plain test run.
const SEEDS: u64 = 8_000;
/// Conversations of a plain test run that are cut up, and in how many ways.
const SPLIT_SEEDS: u64 = 600;
const SPLITS: u64 = 8;
/// Lines of a trace that are shown.
const SHOWN: usize = 4000;

fn plot(seed: u64) -> Plot {
    let mood = match seed % 6 {
        0 => Mood::Calm,
        1 => Mood::Flaky,
        2 => Mood::Rude,
        _ => Mood::Rough,
    };
    Plot { seed, net_seed: !seed, mood, splits: Splits::Random, traced: false }
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

/// Fails with the trace of the first of those seeds.
fn show(failed: &[(u64, String)], test: &str, replay: impl Fn(u64) -> (Vec<String>, Vec<String>)) {
    let Some(&(first, _)) = failed.first() else { return };
    let (wrongs, trace) = replay(first);
    for line in &trace[trace.len().saturating_sub(SHOWN)..] {
        println!("{line}");
    }
    let all: String = failed.iter().map(|(seed, wrong)| format!("{seed}: {wrong}\n")).collect();
    assert!(
        wrongs.is_empty(),
        "seed {first}: {}\nreplay it with SIM_SEED={first} cargo test --test sim {test}\nseeds that fail:\n{all}",
        wrongs.join("\n")
    );
}

/// The seed that was asked for, or those that fail.
fn seeds(plain: u64, wrong: impl Fn(u64) -> Option<String> + Sync) -> Vec<(u64, String)> {
    match number("SIM_SEED") {
        Some(seed) => vec![(seed, String::new())],
        None => failing(number("SIM_SEEDS").unwrap_or(plain), wrong),
    }
}

#[test]
fn every_conversation_ends_well_or_is_cut() {
    let failed = seeds(SEEDS, |seed| run(plot(seed)).0.into_iter().next());
    show(&failed, "ends_well", |seed| run(Plot { traced: true, ..plot(seed) }));
}

/// One conversation without anything that depends on who is faster.
fn timeless(seed: u64, splits: Splits, net_seed: u64) -> Plot {
    Plot { seed, net_seed, mood: Mood::Timeless, splits, traced: false }
}

/// What became of each request when the bytes were cut up in that way.
fn outcomes(plot: Plot) -> (Vec<Outcome>, Vec<String>, Vec<String>) {
    let mut world = World::new(plot);
    world.run();
    let outcomes = world.ledger.plans.iter().map(|plan| plan.outcome.clone()).collect();
    (outcomes, std::mem::take(&mut world.ledger.wrongs), world.take_trace())
}

/// The same outcomes, but for one thing: a malformed answer is a 502 if nothing of it had left when that was
/// seen, else a cut, which ends what comes behind on its connection.
fn agree(whole: &[Outcome], pieces: &[Outcome]) -> bool {
    let mut broken = false;
    whole.iter().zip(pieces).all(|(whole, pieces)| {
        let told =
            matches!(whole, Outcome::Ours { status: 502 }) || matches!(pieces, Outcome::Ours { status: 502 });
        let cut = matches!(whole, Outcome::Cut) || matches!(pieces, Outcome::Cut);
        broken |= told && cut;
        whole == pieces || (broken && cut)
    })
}

/// The first way of cutting that changes something.
fn differs(seed: u64, traced: bool) -> (Vec<String>, Vec<String>) {
    let (whole, wrongs, trace) = outcomes(Plot { traced, ..timeless(seed, Splits::Whole, 0) });
    if !wrongs.is_empty() {
        return (wrongs, trace);
    }
    for net_seed in 1..=SPLITS {
        let (cut, wrongs, mut cut_trace) =
            outcomes(Plot { traced, ..timeless(seed, Splits::Random, net_seed) });
        if !wrongs.is_empty() {
            return (wrongs, cut_trace);
        }
        if !agree(&whole, &cut) {
            let mut traces = trace;
            traces.push("the same in pieces:".into());
            traces.append(&mut cut_trace);
            return (vec![format!("in one piece {whole:?}, in pieces {cut:?}")], traces);
        }
    }
    (Vec::new(), Vec::new())
}

#[test]
fn any_split_of_the_bytes_gives_the_same_outcome() {
    let failed = seeds(SPLIT_SEEDS, |seed| differs(seed, false).0.into_iter().next());
    show(&failed, "any_split", |seed| differs(seed, true));
}

#[test]
fn what_comes_behind_an_answer_answers_nobody() {
    let poisoned = |seed| Plot { mood: Mood::Poisoned, ..timeless(seed, Splits::Whole, 0) };
    let failed = seeds(SPLIT_SEEDS, |seed| run(poisoned(seed)).0.into_iter().next());
    show(&failed, "behind", |seed| run(Plot { traced: true, ..poisoned(seed) }));
}
