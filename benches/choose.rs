//! Choosing a backend: the same cost with 3 and with 1,000, and with another worker at the shared index.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use evenkeel::balance::{Backend, Eligible, Table};
use evenkeel::config::{self, BackendUrl};
use evenkeel::id::BackendId;

const SIZES: [u16; 2] = [3, 1000];

fn table(backends: u16) -> Table {
    let url = |i| BackendUrl { host: "backend.test".into(), port: 1 + i };
    let backend = |i| Backend::new(config::Backend::new(url(i)), Vec::new());
    Table::new((0..backends).map(backend).collect())
}

fn choose(c: &mut Criterion) {
    let mut group = c.benchmark_group("choose");
    for backends in SIZES {
        let table = table(backends);
        let mut eligible = Eligible::new(&table);
        group.bench_function(BenchmarkId::new("round-robin", backends), |b| {
            b.iter(|| {
                eligible.refresh(black_box(&table));
                black_box(eligible.choose(&table))
            });
        });
        group.bench_function(BenchmarkId::new("retry-elsewhere", backends), |b| {
            b.iter(|| eligible.choose_where(black_box(&table), |backend| backend != BackendId(0)));
        });
        table.set_up(BackendId(1), false);
        eligible.refresh(&table);
        group.bench_function(BenchmarkId::new("one-down", backends), |b| {
            b.iter(|| black_box(eligible.choose(black_box(&table))));
        });
    }
    group.finish();
}

fn choose_beside_another(c: &mut Criterion) {
    let table = Arc::new(table(3));
    let eligible = Eligible::new(&table);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let eligible = Eligible::new(&table);
            while !stop.load(Relaxed) {
                black_box(eligible.choose(&table));
            }
        });
        // Worse than any real load: the other worker does nothing else.
        c.bench_function("choose/round-robin-contended/3", |b| {
            b.iter(|| black_box(eligible.choose(black_box(&table))));
        });
        stop.store(true, Relaxed);
    });
}

criterion_group!(benches, choose, choose_beside_another);
criterion_main!(benches);
