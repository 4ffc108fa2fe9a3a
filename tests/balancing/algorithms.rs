//! What share of the requests each algorithm gives to whom.

use std::ops::RangeInclusive;

use super::{balance_over, counts, load, named, weighted};
use crate::support::Client;

#[test]
fn round_robin_shares_exactly_by_weight_over_four_workers() {
    let backends = named(["a", "b", "c"]);
    let balancer = balance_over("--workers 4 --algorithm round-robin", &weighted(&backends, &[5, 3, 1]));
    let mut client = Client::connect(balancer.address);
    let first: String = (0..9).map(|_| client.get("/").expect("a response").text()).collect();
    assert_eq!(counts(&backends), [5, 3, 1]);
    assert!(!first.contains("aaa"), "in turn, not one after the other: {first}");
    load(balancer.address, 12, 60);
    assert_eq!(counts(&backends), [405, 243, 81], "729 requests, 9 a round");
}

/// The part of the requests, in percent, that weights of 3 and 1 give to the first of two.
fn share_of_the_heavier(algorithm: &str) -> usize {
    let backends = named(["heavy", "light"]);
    let flags = format!("--workers 4 --algorithm {algorithm}");
    let balancer = balance_over(&flags, &weighted(&backends, &[3, 1]));
    load(balancer.address, 8, 100);
    let counts = counts(&backends);
    assert_eq!(counts.iter().sum::<usize>(), 800);
    counts[0] * 100 / 800
}

#[test]
fn every_algorithm_heeds_weights() {
    let cases: [(&str, RangeInclusive<usize>); 5] = [
        ("random", 65..=85),
        ("least-connections", 60..=90),
        ("two-choices", 55..=95),
        ("peak-ewma", 50..=98),
        ("round-robin", 75..=75),
    ];
    for (algorithm, right) in cases {
        let share = share_of_the_heavier(algorithm);
        assert!(right.contains(&share), "{algorithm}: {share} %");
    }
}
