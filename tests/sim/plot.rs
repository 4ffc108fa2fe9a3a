//! What a run is to be like, and what its seed makes of the settings.

use std::net::SocketAddr;
use std::time::Duration;

use evenkeel::balance::{Backend, Table};
use evenkeel::config::{BackendUrl, Limits, Retry, Timeouts};

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
        limits.backend_connections = rng.chance(20).then(|| rng.between(1, 3) as u32);
    }
    limits
}

pub(crate) fn draw_retry(mood: Mood, rng: &mut Rng) -> Retry {
    Retry {
        retries: if mood == Mood::Flaky { 8 } else { rng.between(0, 4) as u8 },
        delay: Duration::from_millis(rng.between(1, 20)),
        max_fails: match mood {
            Mood::Rude => 1,
            Mood::Rough => rng.between(1, 5) as u32,
            _ => 1000,
        },
    }
}

pub(crate) fn draw_backends(
    count: u64,
    plot: Plot,
    rng: &mut Rng,
    wires: &mut Wires,
) -> (Table, Vec<(SocketAddr, usize)>) {
    let (mut backends, mut addresses) = (Vec::new(), Vec::new());
    for backend in 0..count as usize {
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
        let url = BackendUrl { host: format!("backend{backend}"), port: 80 };
        backends.push(Backend::new(url, of));
    }
    (Table::new(backends), addresses)
}
