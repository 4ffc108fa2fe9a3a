//! What a run is to be like, and what its seed makes of the settings.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use evenkeel::balance::Table;
use evenkeel::config::{
    Algorithm, Backend, BackendUrl, Ejection, Key, Limits, Pool, Queue, Retry, Statuses, Timeouts,
};

use crate::ledger::Mood;
use crate::net::{Host, Splits, Wires};
use crate::rng::Rng;

/// What a run is to be like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plot {
    /// Decides what everybody means to do.
    pub(crate) seed: u64,
    /// Decides how bytes are cut and when they come.
    pub(crate) net_seed: u64,
    pub(crate) mood: Mood,
    pub(crate) splits: Splits,
    pub(crate) traced: bool,
}

pub(crate) fn draw_timeouts(rng: &mut Rng) -> Timeouts {
    let mut time = |low, high| Duration::from_millis(rng.between(low, high));
    Timeouts {
        lifetime: None,
        head: time(1500, 3000),
        idle: time(4000, 6000),
        connect: time(60, 300),
        response: time(1200, 3000),
        stall: time(1000, 2000),
        tunnel: time(5000, 9000),
        upstream_idle: time(500, 3000),
    }
}

pub(crate) fn draw_limits(mood: Mood, longest: usize, rng: &mut Rng) -> Limits {
    let mut limits = Limits { backend_idle: rng.pick(&[0, 1, 512, 512]), ..Limits::default() };
    if !mood.is_rough() {
        // An honest client may be as slow as it likes.
        limits.body_rate = 0;
    }
    if mood == Mood::Rough {
        limits.requests = rng.chance(20).then(|| rng.between(1, 4));
        limits.body = rng.chance(20).then(|| rng.below(longest as u64));
    }
    limits
}

/// How backends are chosen, trusted and spared; what the mood promises must hold whatever is drawn.
pub(crate) fn draw_pool(mood: Mood, rng: &mut Rng) -> Pool {
    let rough = mood == Mood::Rough;
    let millis = Duration::from_millis;
    let retry = Retry {
        retries: if mood == Mood::Flaky { 8 } else { rng.between(0, 4) as u8 },
        delay: millis(rng.between(1, 20)),
        budget: if rough { rng.pick(&[0, 20, 1_000]) } else { 1_000_000 },
        budget_floor: if rough { rng.pick(&[0, 3]) } else { 1_000 },
        try_timeout: (rough && rng.chance(30)).then(|| millis(rng.between(20, 800))),
        statuses: if rough && rng.chance(30) { Statuses::from(400..=599) } else { Statuses::NONE },
    };
    let ejection = Ejection {
        max_fails: match mood {
            Mood::Rude => 1,
            Mood::Rough => rng.between(0, 5) as u32,
            _ => 0,
        },
        fail_rate: if rough { rng.pick(&[0, 50]) } else { 0 },
        fail_rate_requests: 2,
        time: millis(rng.between(1, 500)),
        time_max: millis(rng.between(1, 2_000)),
        most: if rough { rng.pick(&[0, 50, 100]) } else { 100 },
        statuses: if rough && rng.chance(30) { Statuses::from(500..=599) } else { Statuses::NONE },
        ..Ejection::default()
    };
    let keyed = |key| Algorithm::Hash { key, bound: Some(125) };
    let algorithm = rng.pick(&[0, 1, 2, 3, 4, 5, 6]);
    Pool {
        algorithm: match algorithm {
            0 => Algorithm::RoundRobin,
            1 => Algorithm::LeastConnections,
            2 => Algorithm::TwoChoices,
            3 => Algorithm::PeakEwma,
            4 => Algorithm::Random,
            5 => keyed(Key::Uri),
            _ => keyed(Key::Address),
        },
        retry,
        ejection,
        queue: Queue {
            length: if rough { rng.pick(&[0, 1, 100]) } else { 100 },
            timeout: millis(if rough { rng.between(1, 600) } else { 60_000 }),
        },
        slow_start: millis(rng.pick(&[0, 0, 300])),
        fail_open: rough && rng.chance(30),
        ..Pool::default()
    }
}

pub(crate) fn draw_backends(
    mut pool: Pool,
    count: u64,
    plot: Plot,
    rng: &mut Rng,
    wires: &mut Wires,
) -> (Table, Vec<(SocketAddr, usize)>) {
    let (resolved, addresses) = draw_members(&mut pool, 0..count as usize, plot, rng, wires);
    (Table::new(vec![(pool, resolved)], 1), addresses)
}

/// A pool's backends, of these numbers: the addresses of each, and which backend each address is of.
pub(crate) fn draw_members(
    pool: &mut Pool,
    numbers: Range<usize>,
    plot: Plot,
    rng: &mut Rng,
    wires: &mut Wires,
) -> (Vec<Vec<SocketAddr>>, Vec<(SocketAddr, usize)>) {
    let (mut resolved, mut addresses) = (Vec::new(), Vec::new());
    pool.backends.clear();
    for backend in numbers.clone() {
        let double = !plot.mood.is_timeless() && rng.chance(25);
        let mut of = Vec::new();
        for i in 0..=u8::from(double) {
            let address = SocketAddr::from(([10, 0, backend as u8, i], 80));
            // The first of two may be one that nobody listens on.
            let dead = double && i == 0 && rng.chance(50);
            wires.hosts.push((address, if dead { Host::Refuses } else { Host::Up }));
            addresses.push((address, backend));
            of.push(address);
        }
        resolved.push(of);
        pool.backends.push(draw_backend(backend, backend > numbers.start, plot.mood, rng));
    }
    (resolved, addresses)
}

/// A backend of that number, which may be one for need.
pub(crate) fn draw_backend(number: usize, backup: bool, mood: Mood, rng: &mut Rng) -> Backend {
    let url = BackendUrl { host: format!("backend{number}"), port: 80 };
    let rough = mood == Mood::Rough;
    Backend {
        weight: rng.pick(&[1, 1, 3]),
        backup: backup && rough && rng.chance(20),
        max_connections: (rough && rng.chance(20)).then(|| rng.between(1, 3) as u32),
        // A client that ends its side while it waits is taken as gone, which honest ones may do.
        max_requests: (rough && rng.chance(20)).then(|| rng.between(1, 3) as u32),
        ..Backend::new(url)
    }
}
