//! The algorithms against each other in virtual time, with the code that chooses in the balancer itself.
//!
//! `POLICY_DOCS=1 cargo test --test policy` writes the tables and the plot of docs/balancing.md anew.

mod figures;
mod page;
mod plot;
mod results;
mod scenario;
mod world;

use figures::Figures;
use results::{RESULTS, place};
use scenario::ALGORITHMS;

fn of<'a>(all: &'a [Figures], name: &str) -> &'a Figures {
    &all[place(name)]
}

/// Holds with every seed: the first one's p99 is below so much of the second one's.
#[track_caller]
fn assert_below(factor: f64, all: &[Figures], better: &str, worse: &str) {
    let (better, worse) = (of(all, better).p99_each(), of(all, worse).p99_each());
    let below = better.iter().zip(&worse).all(|(better, worse)| *better < factor * worse);
    assert!(below, "p99 {better:?} ms is not below {factor} times {worse:?}");
}

/// Where load is not looked at, queueing theory knows the latency: it is exponential (Kleinrock, "Queueing Systems",
/// 1975, chapters 3 and 6).
#[test]
fn the_model_is_that_of_the_textbook() {
    const LOAD: f64 = 0.8;
    let mean = scenario::SERVICE / 1_000.0;
    // Each of 16 sees every 16th arrival: the root by iteration, which converges as its slope there is below 1.
    let erlang = 16.0 * LOAD;
    let root = (0..100).fold(0.0, |root: f64, _| (erlang / (erlang + 1.0 - root)).powi(16));
    let random = (of(&RESULTS.many, "random"), mean / (1.0 - LOAD));
    let in_turn = (of(&RESULTS.equal, "round-robin"), mean / (1.0 - root));
    for (figures, mean) in [random, in_turn] {
        for (figure, exact) in [(figures.p50(), mean * 2_f64.ln()), (figures.p99(), mean * 100_f64.ln())] {
            assert!((0.85..1.15).contains(&(figure / exact)), "{figure} ms for {exact}");
        }
    }
}

#[test]
fn with_equal_backends_least_connections_has_half_the_p99_of_round_robin() {
    assert_below(0.6, &RESULTS.equal, "least-connections", "round-robin");
    assert_below(0.8, &RESULTS.equal, "two-choices", "round-robin");
    // Above 64 backends it is two choices.
    assert_below(0.8, &RESULTS.many, "least-connections", "round-robin");
}

#[test]
fn a_slow_backend_fills_up_only_where_its_load_is_not_looked_at() {
    for (name, _) in &ALGORITHMS {
        let (equal, slow) = (of(&RESULTS.equal, name), of(&RESULTS.half_speed, name));
        let [first, second] = slow.p99_halves();
        if matches!(*name, "round-robin" | "random") {
            assert!(second > 1.4 * first && slow.queue() > 100.0, "{name}: {first} ms, then {second}");
            continue;
        }
        assert!(second < 1.2 * first, "{name}: {first} ms, then {second}");
        assert!(slow.p99() < 1.2 * equal.p99() && slow.queue() < 12.0, "{name}: {} ms", slow.p99());
    }
}

#[test]
fn stalls_are_avoided_by_those_who_look() {
    for better in ["two-choices", "peak-ewma", "least-connections"] {
        assert_below(0.85, &RESULTS.stalls, better, "random");
    }
    assert_below(0.5, &RESULTS.stalls, "least-connections", "round-robin");
}

#[test]
fn whoever_fails_fast_attracts_nobody_and_is_not_forgotten() {
    let [answer, failure, breaker] = &RESULTS.fails;
    let even = 100.0 / 16.0;
    assert!(of(answer, "least-connections").first_share() > 1.5 * even, "it looks idle");
    let ewma = of(failure, "peak-ewma");
    assert!((0.1..1.0).contains(&ewma.first_share()), "{:?}", ewma.shares());
    for ((name, _), figures) in ALGORITHMS.iter().zip(breaker) {
        assert!((0.01..0.2).contains(&figures.first_share()), "{name}: {}", figures.first_share());
    }
}

#[test]
fn nobody_starves() {
    let even = 100.0 / 16.0;
    let [_, failure, _] = &RESULTS.fails;
    for all in [&RESULTS.equal, &RESULTS.half_speed, &RESULTS.stalls] {
        for ((name, _), figures) in ALGORITHMS.iter().zip(all) {
            assert!(figures.least_share() > 0.35 * even, "{name}: {:?}", figures.shares());
        }
    }
    for ((name, _), figures) in ALGORITHMS.iter().zip(failure) {
        assert!(
            figures.shares()[1..].iter().all(|share| *share > 0.7 * even),
            "{name}: {:?}",
            figures.shares()
        );
    }
}

#[test]
fn a_slow_start_spares_a_backend_that_returns_cold() {
    let [at_once, slowly] = &RESULTS.returns;
    for name in ["round-robin", "random"] {
        let (at_once, slowly) = (of(at_once, name), of(slowly, name));
        assert!(slowly.p99() < 0.3 * at_once.p99(), "{name}: {} ms, {}", at_once.p99(), slowly.p99());
    }
    for ((name, _), (at_once, slowly)) in ALGORITHMS.iter().zip(at_once.iter().zip(slowly)) {
        assert!(slowly.p99() < 1.1 * at_once.p99(), "{name}: {} ms, {}", at_once.p99(), slowly.p99());
        assert!(slowly.first_share() < at_once.first_share() + 0.1, "{name}");
    }
}

#[test]
fn the_page_says_what_the_simulation_says() {
    let (page, tables) = (page::read("balancing.md"), page::tables(&RESULTS));
    let [before, figures, after] = page::split(&page);
    if std::env::var_os("POLICY_DOCS").is_some() {
        page::write("balancing.md", &[before, &tables, after].concat());
        page::write("balancing.svg", &plot::svg(&page::panels(&tables)));
        return;
    }
    let write = "write it anew with POLICY_DOCS=1 cargo test --test policy";
    if let Some(difference) = page::difference(figures, &tables) {
        panic!("docs/balancing.md is stale; {write}\n{difference}");
    }
    let plot = plot::svg(&page::panels(figures));
    assert!(plot == page::read("balancing.svg"), "docs/balancing.svg is stale; {write}");
}
