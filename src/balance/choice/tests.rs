use std::collections::HashMap;
use std::time::Duration;

use super::*;
use crate::config::{self, BackendUrl, Ejection, Key};

fn backend(port: u16) -> config::Backend {
    config::Backend::new(BackendUrl { host: "h".into(), port })
}

fn pool(n: u16, algorithm: Algorithm) -> config::Pool {
    config::Pool { backends: (1..=n).map(backend).collect(), algorithm, ..config::Pool::default() }
}

fn table(pool: config::Pool) -> Table {
    let addresses = vec![Vec::new(); pool.backends.len()];
    Table::new(vec![(pool, addresses)], 1)
}

fn eligible(table: &Table) -> Eligible {
    Eligible::new(table, &table.pools()[0], 1)
}

fn choose(eligible: &mut Eligible, table: &Table, ask: &Ask<'_>) -> Choice {
    let pool = &table.pools()[0];
    eligible.refresh(table, pool);
    eligible.choose(table, pool, ask)
}

fn chosen(choice: Choice) -> usize {
    match choice {
        Choice::Backend(id) | Choice::Trial(id) => id.index(),
        none => panic!("{none:?}"),
    }
}

fn end(table: &Table, choice: Choice) {
    let pool = &table.pools()[0];
    leave(table, pool, BackendId(chosen(choice) as u16), Counted::by(pool));
}

/// So many choices, each ended at once, and how many fell to each.
fn shares(table: &Table, turns: usize, ask: impl Fn(usize) -> Ask<'static>) -> Vec<usize> {
    let mut eligible = eligible(table);
    let mut shares = vec![0; table.backends().len()];
    for turn in 0..turns {
        let choice = choose(&mut eligible, table, &ask(turn));
        shares[chosen(choice)] += 1;
        end(table, choice);
    }
    shares
}

/// So many choices at once, and how many fell to each; then all end.
fn held(table: &Table, count: usize, ask: impl Fn(usize) -> Ask<'static>) -> Vec<usize> {
    let mut eligible = eligible(table);
    let choices: Vec<_> = (0..count).map(|turn| choose(&mut eligible, table, &ask(turn))).collect();
    let shares = table.backends().iter().map(|backend| backend.in_flight() as usize).collect();
    choices.into_iter().for_each(|choice| end(table, choice));
    shares
}

const ALGORITHMS: [Algorithm; 6] = [
    Algorithm::RoundRobin,
    Algorithm::LeastConnections,
    Algorithm::TwoChoices,
    Algorithm::PeakEwma,
    Algorithm::Random,
    Algorithm::Hash { key: Key::Uri, bound: Some(125) },
];

fn keyed(turn: usize) -> Ask<'static> {
    Ask { key: Some(hash::mix(turn as u64, 0)), ..Ask::default() }
}

#[test]
fn shares_are_exact_by_weight_over_all_workers() {
    let mut pool = pool(3, Algorithm::RoundRobin);
    pool.backends[2].weight = 3;
    let table = table(pool);
    let mut workers = [eligible(&table), eligible(&table)];
    let mut shares = [0; 3];
    for i in 0..500 {
        shares[chosen(choose(&mut workers[i % 7 % 2], &table, &Ask::default()))] += 1;
    }
    assert_eq!(shares, [100, 100, 300]);
}

#[test]
fn shares_are_exact_however_many_choose_at_once() {
    const EACH: usize = 30_000;
    let table = table(pool(3, Algorithm::RoundRobin));
    let mut sums = [0; 3];
    std::thread::scope(|scope| {
        let worker = || shares(&table, EACH, |_| Ask::default());
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(worker)).collect();
        for worker in workers {
            sums.iter_mut().zip(worker.join().unwrap()).for_each(|(sum, share)| *sum += share);
        }
    });
    assert_eq!(sums, [4 * EACH / 3; 3]);
}

#[test]
fn every_algorithm_gives_each_backend_about_the_share_of_its_weight() {
    for algorithm in ALGORITHMS {
        let mut pool = pool(4, algorithm.clone());
        pool.backends[0].weight = 5;
        let table = table(pool);
        // With answers in no time, only the two choices by weight tell these apart.
        let shares = shares(&table, 16_000, keyed);
        let least = matches!(algorithm, Algorithm::LeastConnections);
        let right = if least { [16_000, 0, 0, 0] } else { [10_000, 2_000, 2_000, 2_000] };
        for (share, right) in shares.iter().zip(right) {
            let of_two = matches!(algorithm, Algorithm::TwoChoices | Algorithm::PeakEwma);
            let slack = if of_two { 5_000 } else { 400 };
            assert!(share.abs_diff(right) <= slack, "{algorithm:?}: {shares:?}");
        }
    }
}

#[test]
fn least_connections_fills_by_weight() {
    let mut pool = pool(3, Algorithm::LeastConnections);
    pool.backends[1].weight = 2;
    let table = table(pool);
    let mut eligible = eligible(&table);
    (0..40).for_each(|_| {
        choose(&mut eligible, &table, &Ask::default());
    });
    let loads: Vec<_> = table.backends().iter().map(|backend| backend.in_flight()).collect();
    assert_eq!(loads, [10, 20, 10]);
}

#[test]
fn above_the_scan_least_connections_stays_near_even() {
    let table = table(pool(200, Algorithm::LeastConnections));
    let mut eligible = eligible(&table);
    (0..2_000).for_each(|_| {
        choose(&mut eligible, &table, &Ask::default());
    });
    let most = table.backends().iter().map(|backend| backend.in_flight()).max();
    assert!(most <= Some(14), "{most:?} with 10 each on average");
}

#[test]
fn the_slow_and_the_failing_get_less_but_never_nothing() {
    let table = table(pool(4, Algorithm::PeakEwma));
    for (id, latency) in [1_000, 1_000, 100_000].into_iter().enumerate() {
        table.backend(BackendId(id as u16)).latency().observe(latency, 1);
    }
    table.backend(BackendId(3)).latency().observe_failure(100, 1);
    let shares = shares(&table, 6_400, |_| Ask { now: 1, ..Ask::default() });
    assert!(shares[0] + shares[1] > 3 * (shares[2] + shares[3]), "{shares:?}");
    assert!(shares[2] >= 40 && shares[3] >= 40, "each has its turn one time in 32 rounds: {shares:?}");
}

#[test]
fn what_is_down_is_not_chosen() {
    for algorithm in ALGORITHMS {
        let table = table(pool(3, algorithm.clone()));
        assert!(table.set_up(BackendId(1), false, 1) && !table.set_up(BackendId(1), false, 1));
        let shares = shares(&table, 300, keyed);
        assert!(shares[1] == 0 && shares[0] > 0 && shares[2] > 0, "{algorithm:?}: {shares:?}");
        let mut eligible = eligible(&table);
        let tried = [Some(BackendId(0))];
        let other = choose(&mut eligible, &table, &Ask { tried: &tried, ..keyed(1) });
        assert_eq!(other, Choice::Backend(BackendId(2)), "{algorithm:?}");
        let tried = [Some(BackendId(0)), Some(BackendId(2))];
        assert_eq!(choose(&mut eligible, &table, &Ask { tried: &tried, ..keyed(1) }), Choice::None);
        table.set_up(BackendId(0), false, 1);
        table.set_up(BackendId(2), false, 1);
        assert_eq!(choose(&mut eligible, &table, &keyed(1)), Choice::None);
    }
}

#[test]
fn with_all_down_fail_open_tries_them_all() {
    let table = table(config::Pool { fail_open: true, ..pool(3, Algorithm::RoundRobin) });
    (0..3).for_each(|id| {
        table.set_up(BackendId(id), false, 1);
    });
    table.set_mode(BackendId(2), Mode::Disabled, 1);
    assert_eq!(shares(&table, 100, |_| Ask::default()), [50, 50, 0]);
}

#[test]
fn a_backup_serves_only_while_no_other_can() {
    for algorithm in ALGORITHMS {
        let mut pool = pool(3, algorithm);
        pool.backends[1].backup = true;
        let table = table(pool);
        assert_eq!(shares(&table, 90, keyed)[1], 0);
        table.set_up(BackendId(0), false, 1);
        table.set_up(BackendId(2), false, 1);
        assert_eq!(shares(&table, 90, keyed), [0, 90, 0]);
        table.set_up(BackendId(0), true, 2);
        assert_eq!(shares(&table, 90, keyed), [90, 0, 0]);
    }
}

#[test]
fn a_key_keeps_its_backend_and_only_those_of_the_lost_one_move() {
    let table = table(pool(10, Algorithm::Hash { key: Key::Uri, bound: None }));
    let place = |turn: usize| {
        let mut eligible = eligible(&table);
        chosen(choose(&mut eligible, &table, &keyed(turn)))
    };
    let before: Vec<_> = (0..5_000).map(place).collect();
    assert_eq!((0..5_000).map(place).collect::<Vec<_>>(), before);
    table.set_up(BackendId(4), false, 1);
    let mut moved_to = HashMap::new();
    for (turn, &was) in before.iter().enumerate() {
        let is = place(turn);
        assert_eq!(is == was, was != 4, "turn {turn}: {was} to {is}");
        if was == 4 {
            *moved_to.entry(is).or_insert(0) += 1;
        }
    }
    assert!(moved_to.len() == 9 && moved_to.values().all(|&n| n > 20), "spread over all: {moved_to:?}");
    table.set_up(BackendId(4), true, 2);
    assert_eq!((0..5_000).map(place).collect::<Vec<_>>(), before, "they return");
}

#[test]
fn a_bounded_hash_never_loads_one_far_above_the_mean() {
    let table = table(pool(5, Algorithm::Hash { key: Key::Uri, bound: Some(125) }));
    let mut eligible = eligible(&table);
    for _ in 0..100 {
        choose(&mut eligible, &table, &keyed(1));
    }
    let most = table.backends().iter().map(|backend| backend.in_flight()).max();
    assert!(most <= Some(26), "{most:?} with 20 each on average");
}

#[test]
fn the_limit_is_exact_with_four_workers() {
    for algorithm in ALGORITHMS {
        let mut pool = pool(3, algorithm);
        pool.backends.iter_mut().for_each(|backend| backend.max_requests = Some(50));
        let table = table(pool);
        let worker = || {
            let mut eligible = eligible(&table);
            (0..200).filter(|&i| choose(&mut eligible, &table, &keyed(i)) != Choice::Full).count()
        };
        let entered: usize = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4).map(|_| scope.spawn(worker)).collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).sum()
        });
        assert_eq!(entered, 150);
        assert!(table.backends().iter().all(|backend| backend.in_flight() == 50));
    }
}

#[test]
fn failures_in_a_row_take_a_backend_out_until_one_trial_succeeds() {
    let ejection = Ejection { most: 100, ..Ejection::default() };
    let table = table(config::Pool { ejection, ..pool(2, Algorithm::RoundRobin) });
    let (id, mut eligible) = (BackendId(0), eligible(&table));
    assert_eq!((table.failed(id, 0, 5), table.failed(id, 0, 5)), (None, None));
    table.succeeded(id);
    assert_eq!((table.failed(id, 0, 5), table.failed(id, 0, 5)), (None, None));
    let out = table.failed(id, 0, 5).expect("three in a row");
    assert_eq!((out.reason, out.time), (super::super::Reason::InARow(3), Duration::from_secs(1)));
    let at = |now| Ask { now, replayable: true, ..Ask::default() };
    assert!((0..10).all(|_| choose(&mut eligible, &table, &at(1_004)) == Choice::Backend(BackendId(1))));
    assert_eq!(choose(&mut eligible, &table, &at(1_005)), Choice::Trial(id));
    assert!((0..10).all(|_| choose(&mut eligible, &table, &at(1_006)) == Choice::Backend(BackendId(1))));
    assert_eq!(table.trial_failed(id, 0, 1_010).map(|out| out.time), Some(Duration::from_secs(2)));
    assert_eq!(choose(&mut eligible, &table, &at(3_009)), Choice::Backend(BackendId(1)));
    let careful = Ask { replayable: false, ..at(3_010) };
    assert_eq!(choose(&mut eligible, &table, &careful), Choice::Backend(BackendId(1)));
    assert_eq!(choose(&mut eligible, &table, &at(3_011)), Choice::Trial(id));
    assert!(table.trial_succeeded(id, 3_020) && table.backend(id).is_eligible());
    let turns: Vec<_> = (0..10).map(|_| chosen(choose(&mut eligible, &table, &at(3_021)))).collect();
    assert_eq!(turns.iter().filter(|&&turn| turn == 0).count(), 5);
}

#[test]
fn a_request_that_may_not_be_sent_twice_tries_only_where_no_other_comes() {
    let table = table(pool(2, Algorithm::RoundRobin));
    (0..3).for_each(|_| {
        table.failed(BackendId(0), 0, 0);
    });
    let mut eligible = eligible(&table);
    let at = |now| Ask { now, ..Ask::default() };
    assert!((1_000..1_999).all(|now| chosen(choose(&mut eligible, &table, &at(now))) == 1));
    assert_eq!(choose(&mut eligible, &table, &at(2_000)), Choice::Trial(BackendId(0)));
}

#[test]
fn at_most_the_set_share_is_out() {
    let table = table(pool(5, Algorithm::RoundRobin));
    for id in 0..5 {
        (0..9).for_each(|_| {
            table.failed(BackendId(id), 0, 0);
        });
    }
    let out = table.backends().iter().filter(|backend| !backend.is_healthy()).count();
    assert_eq!(out, 2, "half of five");
}

#[test]
fn slow_start_gives_every_algorithms_backend_a_growing_share() {
    for algorithm in ALGORITHMS {
        let slow_start = Duration::from_secs(10);
        let table = table(config::Pool { slow_start, ..pool(4, algorithm.clone()) });
        table.set_up(BackendId(0), false, 500);
        table.set_up(BackendId(0), true, 1_000);
        let mut before = 0;
        for (now, least, most) in [(1_100, 0, 240), (6_000, 240, 850), (11_000, 700, 1_300)] {
            let ask = |turn| Ask { now, ..keyed(turn) };
            let shares =
                if by_load(&algorithm) { held(&table, 4_000, ask) } else { shares(&table, 4_000, ask) };
            assert!((least..most).contains(&shares[0]), "{algorithm:?} at {now}: {shares:?}");
            assert!(shares[0] > before, "{algorithm:?} at {now}: {shares:?}");
            assert!(shares[1..].iter().all(|&share| share > 700), "{algorithm:?} at {now}: {shares:?}");
            before = shares[0];
        }
    }
}

#[test]
fn a_draining_backend_keeps_those_who_stick_to_it_and_a_disabled_one_nobody() {
    let table = table(pool(2, Algorithm::RoundRobin));
    let mut eligible = eligible(&table);
    let sticks = Ask { sticky: Some(BackendId(0)), ..Ask::default() };
    table.set_mode(BackendId(0), Mode::Draining, 1);
    assert_eq!(choose(&mut eligible, &table, &Ask::default()), Choice::Backend(BackendId(1)));
    assert_eq!(choose(&mut eligible, &table, &sticks), Choice::Backend(BackendId(0)));
    table.set_mode(BackendId(0), Mode::Disabled, 1);
    assert_eq!(choose(&mut eligible, &table, &sticks), Choice::Backend(BackendId(1)));
    assert!(table.set_mode(BackendId(0), Mode::Enabled, 1));
    assert_eq!(choose(&mut eligible, &table, &sticks), Choice::Backend(BackendId(0)));
}

#[test]
fn a_client_sticks_to_no_backend_that_is_gone_or_another_pools() {
    let named = |name: &str, ports: &[u16]| {
        let backends: Vec<_> = ports.iter().map(|&port| backend(port)).collect();
        let addresses = vec![Vec::new(); ports.len()];
        (config::Pool { name: name.into(), backends, ..config::Pool::default() }, addresses)
    };
    let before = Table::new(vec![named("a", &[1, 2])], 1);
    let ask = Ask { sticky: Some(BackendId(1)), now: 100, ..Ask::default() };
    assert_eq!(choose(&mut eligible(&before), &before, &ask), Choice::Backend(BackendId(1)));
    let (gone, _) = before.renew(vec![named("a", &[1])], 1, 10);
    assert_eq!(choose(&mut eligible(&gone), &gone, &ask), Choice::Backend(BackendId(0)));
    let (taken, _) = gone.renew(vec![named("a", &[1]), named("b", &[3])], 1, 10);
    taken.set_up(BackendId(1), true, 11);
    assert_eq!((taken.backend(BackendId(1)).url().port, taken.backend(BackendId(1)).is_healthy()), (3, true));
    assert_eq!(choose(&mut eligible(&taken), &taken, &ask), Choice::Backend(BackendId(0)));
}
