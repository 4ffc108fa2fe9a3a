//! Connections that are balanced as a whole: see `judge.rs` for what is held.

mod judge;
mod opening;
mod plan;
mod reload;
mod side;
mod waits;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::ledger::Mood;
use crate::net::Splits;
use crate::plot::Plot;
use crate::{seeds, show};
use judge::Outcome;
use world::World;

/// Seeds of a plain test run.
const SEEDS: u64 = 1_000;
/// Beginnings of a plain test run that are cut up, and in how many ways.
const SPLIT_SEEDS: u64 = 150;
const SPLITS: u64 = 6;

fn plot(seed: u64) -> Plot {
    let mood = if seed.is_multiple_of(3) { Mood::Calm } else { Mood::Rough };
    Plot { seed, net_seed: !seed, mood, splits: Splits::Random, traced: false }
}

/// What went wrong in that run, its trace, and what became of its first client.
fn run(plot: Plot) -> (Vec<String>, Vec<String>, Option<Outcome>) {
    let mut world = World::new(plot);
    let panicked = catch_unwind(AssertUnwindSafe(|| world.run())).is_err();
    if panicked {
        world.wrong("it panicked");
    }
    let (wrongs, trace) = (std::mem::take(&mut world.wrongs), world.take_trace());
    let outcome = plot.mood.is_timeless().then(|| world.outcome());
    if panicked {
        // What a panic leaves behind may panic again when it is dropped.
        std::mem::forget(world);
    }
    (wrongs, trace, outcome)
}

#[test]
fn every_tunnel_carries_all_and_ends_as_it_was_ended() {
    let failed = seeds(SEEDS, |seed| run(plot(seed)).0.into_iter().next());
    show(&failed, "every_tunnel", |seed| {
        let (wrongs, trace, _) = run(Plot { traced: true, ..plot(seed) });
        (wrongs, trace)
    });
}

/// The first way of cutting that changes something.
fn differs(seed: u64, traced: bool) -> (Vec<String>, Vec<String>) {
    let timeless = |splits, net_seed| Plot { seed, net_seed, mood: Mood::Timeless, splits, traced };
    let (wrongs, trace, whole) = run(timeless(Splits::Whole, 0));
    if !wrongs.is_empty() {
        return (wrongs, trace);
    }
    for net_seed in 1..=SPLITS {
        let (wrongs, cut_trace, pieces) = run(timeless(Splits::Random, net_seed));
        if !wrongs.is_empty() {
            return (wrongs, cut_trace);
        }
        if whole != pieces {
            let traces = [trace, vec!["the same in pieces:".into()], cut_trace].concat();
            return (vec![format!("in one piece {whole:?}, in pieces {pieces:?}")], traces);
        }
    }
    (Vec::new(), Vec::new())
}

#[test]
fn any_split_of_a_beginning_leads_to_the_same_backend() {
    let failed = seeds(SPLIT_SEEDS, |seed| differs(seed, false).0.into_iter().next());
    show(&failed, "any_split_of_a_beginning", |seed| differs(seed, true));
}
