//! What `GET /metrics` tells. Every label comes from the configuration or from a list in the code, so that no client
//! can make up another.

mod backends;
mod lanes;
mod pools;
mod process;

use std::sync::Arc;

use super::Sources;
use super::answer::Answer;
use super::exposition::{Family, Format, Kind, Samples, Text, labels};
use super::server::Site;
use crate::balance::tally::CLASSES;
use crate::exchange::cause::CODES;
use crate::histogram::Times;
use crate::stats::{Block, Counter};
use crate::sys::process::thread_seconds;

pub(super) use backends::state;

const fn family(name: &'static str, kind: Kind, help: &'static str) -> Family {
    Family { name, kind, unit: "", help }
}

const fn in_unit(name: &'static str, kind: Kind, unit: &'static str, help: &'static str) -> Family {
    Family { name, kind, unit, help }
}

pub(super) fn answer(site: &Site, format: Format) -> Answer {
    let sources = &*site.sources;
    let table = (sources.table)();
    let mut text = Text::new(format);
    process::process(&mut text, site, &table);
    workers(&mut text, sources);
    failures(&mut text, &sources.workers);
    lanes::listeners(&mut text, &(sources.listeners)());
    lanes::routes(&mut text, &(sources.routes)());
    pools::pools(&mut text, sources, &table);
    pools::pool_times(&mut text, &table);
    backends::backends(&mut text, &table);
    Answer::new(200, format.content_type(), text.finish())
}

/// Per-worker families that are one count each.
const WORKER_COUNTS: [(Family, Counter); 22] = {
    use Kind::{Counter as C, Gauge as G};
    [
        (family("evenkeel_worker_accepted", C, "Client connections accepted."), Counter::Accepted),
        (family("evenkeel_worker_connections", G, "Client connections open."), Counter::Downstreams),
        (
            family("evenkeel_worker_upstreams", G, "Connections to backends open, unused ones included."),
            Counter::Upstreams,
        ),
        (family("evenkeel_worker_in_flight", G, "Exchanges in flight."), Counter::Flights),
        (
            family("evenkeel_worker_requests", C, "Requests whose head was complete, refused ones included."),
            Counter::Requests,
        ),
        (family("evenkeel_worker_failures", C, "Exchanges that ended other than well."), Counter::Failures),
        (family("evenkeel_worker_retries", C, "Requests sent again."), Counter::Retries),
        (
            family("evenkeel_worker_retries_denied", C, "Retries that the budget did not allow."),
            Counter::RetriesDenied,
        ),
        (family("evenkeel_worker_queued", C, "Requests that had to wait for a backend."), Counter::Queued),
        (in_unit("evenkeel_worker_received_bytes", C, "bytes", "Bytes that clients sent."), Counter::BytesIn),
        (in_unit("evenkeel_worker_sent_bytes", C, "bytes", "Bytes sent to clients."), Counter::BytesOut),
        (
            family(
                "evenkeel_worker_idle_races_won",
                C,
                "Retries because a kept connection closed just then.",
            ),
            Counter::IdleRacesWon,
        ),
        (
            family(
                "evenkeel_worker_idle_undercut",
                C,
                "Kept connections not used again because the backend was about to close them.",
            ),
            Counter::IdleUndercut,
        ),
        (
            family("evenkeel_worker_idle_closed", C, "Client connections closed because no request came."),
            Counter::IdleClosed,
        ),
        (
            family(
                "evenkeel_worker_requests_spent",
                C,
                "Client connections closed because they had brought all the requests they may.",
            ),
            Counter::RequestsSpent,
        ),
        (
            family(
                "evenkeel_worker_idle_surplus",
                C,
                "Connections to backends closed because enough unused ones were kept.",
            ),
            Counter::IdleSurplus,
        ),
        (
            family(
                "evenkeel_worker_accept_pauses",
                C,
                "Pauses in accepting for want of descriptors or of room.",
            ),
            Counter::AcceptPauses,
        ),
        (family("evenkeel_worker_tunnels", C, "Connections balanced as a whole."), Counter::Tunnels),
        (family("evenkeel_worker_buffers_lent", G, "Buffers that connections hold."), Counter::BuffersLent),
        (in_unit("evenkeel_worker_buffers_lent_bytes", G, "bytes", "Memory of these."), Counter::BufferBytes),
        (
            in_unit("evenkeel_worker_buffers_spare_bytes", G, "bytes", "Memory of buffers kept for later."),
            Counter::SpareBytes,
        ),
        (
            family("evenkeel_worker_pipes_lent", G, "Pipes that exchanges hold, for bodies moved uncopied."),
            Counter::PipesLent,
        ),
    ]
};

fn workers(text: &mut Text, sources: &Sources) {
    let names: Vec<String> =
        (0..sources.workers.len()).map(|i| labels(&[("worker", &i.to_string())])).collect();
    for (family, counter) in &WORKER_COUNTS {
        let mut samples = text.family(family);
        names.iter().zip(&sources.workers).for_each(|(name, block)| {
            samples.add(name, block.get(*counter));
        });
    }
    let tick = in_unit(
        "evenkeel_worker_tick_seconds",
        Kind::Histogram,
        "seconds",
        "Length of a turn of the worker's loop: what comes meanwhile waits for its end. Its sum is the time it was busy.",
    );
    let mut samples = text.family(&tick);
    for (name, block) in names.iter().zip(&sources.workers) {
        samples.histogram(name, &Times::of(std::iter::once(block.ticks())));
    }
    let help = "Processor time that the worker's thread has used.";
    let mut samples = text.family(&in_unit("evenkeel_worker_cpu_seconds", Kind::Counter, "seconds", help));
    for (name, block) in names.iter().zip(&sources.workers) {
        if let Some(seconds) = block.thread().and_then(thread_seconds) {
            samples.add(name, seconds);
        }
    }
    let help = "How long connections balanced as a whole lasted, of those that are over.";
    let mut samples = text.family(&in_unit("evenkeel_worker_tunnel_seconds", Kind::Summary, "seconds", help));
    for (name, block) in names.iter().zip(&sources.workers) {
        let us = block.get(Counter::TunnelMillis).saturating_mul(1_000);
        samples.summary(name, us, block.get(Counter::TunnelsEnded));
    }
    let open = (sources.connections)();
    let most = open.iter().max().copied().unwrap_or(0);
    let total: u32 = open.iter().sum();
    let mean = f64::from(total) / open.len().max(1) as f64;
    let imbalance = if total == 0 { 1.0 } else { f64::from(most) / mean };
    let help =
        "Client connections of the worker that has most, as a multiple of the mean; 1 is perfect balance.";
    text.family(&in_unit("evenkeel_worker_imbalance_ratio", Kind::Gauge, "ratio", help)).add("", imbalance);
}

fn failures(text: &mut Text, blocks: &[Arc<Block>]) {
    let help = "Exchanges that ended other than well, by cause; docs/causes.md explains each.";
    let mut samples = text.family(&family("evenkeel_failures", Kind::Counter, help));
    for (i, code) in CODES.iter().enumerate() {
        samples.add_by("", "cause", code, blocks.iter().map(|block| block.failures(i)).sum::<u64>());
    }
}

fn by_class(samples: &mut Samples<'_>, name: &str, answers: &[u64]) {
    for (class, count) in CLASSES.iter().zip(answers) {
        samples.add_by(name, "class", class, *count);
    }
}
