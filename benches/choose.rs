//! Choosing a backend: each algorithm with 3 and with 1,000, and with another worker at the shared index.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use evenkeel::balance::choice::{self, Counted};
use evenkeel::balance::{Ask, Choice, Eligible, Table};
use evenkeel::config::{self, Algorithm, BackendUrl, Key, Pool};
use evenkeel::id::BackendId;
use evenkeel::limits;

const SIZES: [u16; 3] = [3, 64, 1000];
const ALGORITHMS: [(&str, Algorithm); 7] = [
    ("round-robin", Algorithm::RoundRobin),
    ("least-connections", Algorithm::LeastConnections),
    ("two-choices", Algorithm::TwoChoices),
    ("peak-ewma", Algorithm::PeakEwma),
    ("random", Algorithm::Random),
    ("hash", Algorithm::Hash { key: Key::Uri, bound: None }),
    ("hash-bounded", Algorithm::Hash { key: Key::Uri, bound: Some(limits::HASH_BOUND) }),
];

fn table(backends: u16, algorithm: Algorithm) -> Table {
    let url = |i| BackendUrl { host: "backend.test".into(), port: 1 + i };
    let backend = |i| config::Backend { weight: 1 + i % 3, ..config::Backend::new(url(i)) };
    let backends: Vec<_> = (0..backends).map(backend).collect();
    let addresses = vec![Vec::new(); backends.len()];
    let table = Table::new(vec![(Pool { backends, algorithm, ..Pool::default() }, addresses)], 1);
    (0..table.backends().len()).for_each(|i| {
        let backend = table.backend(BackendId(i as u16));
        backend.latency().observe(1_000 + 17 * i as u64, 0);
        (0..i % 5).for_each(|_| assert!(backend.enter()));
    });
    table
}

/// One choice and what undoes its count.
fn turn(table: &Table, eligible: &mut Eligible, ask: &Ask<'_>) -> Choice {
    let pool = &table.pools()[0];
    eligible.refresh(table, pool);
    let choice = eligible.choose(table, pool, ask);
    if let Choice::Backend(backend) = choice {
        choice::leave(table, pool, backend, Counted::by(pool));
    }
    choice
}

fn choose(c: &mut Criterion) {
    let mut group = c.benchmark_group("choose");
    for (name, algorithm) in ALGORITHMS {
        for backends in SIZES {
            let table = table(backends, algorithm.clone());
            let mut eligible = Eligible::new(&table, &table.pools()[0], 7);
            let mut key = 0_u64;
            group.bench_function(BenchmarkId::new(name, backends), |b| {
                b.iter(|| {
                    key = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
                    let ask = Ask { now: 10, key: Some(key), ..Ask::default() };
                    black_box(turn(black_box(&table), &mut eligible, &ask))
                });
            });
        }
    }
    for backends in SIZES {
        let table = table(backends, Algorithm::RoundRobin);
        let mut eligible = Eligible::new(&table, &table.pools()[0], 7);
        let ask = Ask { tried: &[Some(BackendId(0))], ..Ask::default() };
        group.bench_function(BenchmarkId::new("retry-elsewhere", backends), |b| {
            b.iter(|| black_box(turn(black_box(&table), &mut eligible, &ask)));
        });
    }
    group.finish();
}

fn choose_beside_another(c: &mut Criterion) {
    for (name, algorithm) in ALGORITHMS.into_iter().take(2) {
        let table = table(3, algorithm);
        let mut eligible = Eligible::new(&table, &table.pools()[0], 1);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut eligible = Eligible::new(&table, &table.pools()[0], 2);
                while !stop.load(Relaxed) {
                    black_box(turn(&table, &mut eligible, &Ask::default()));
                }
            });
            // Worse than any real load: the other worker does nothing else.
            c.bench_function(&format!("choose/{name}-contended/3"), |b| {
                b.iter(|| black_box(turn(black_box(&table), &mut eligible, &Ask::default())));
            });
            stop.store(true, Relaxed);
        });
    }
}

criterion_group!(benches, choose, choose_beside_another);
criterion_main!(benches);
