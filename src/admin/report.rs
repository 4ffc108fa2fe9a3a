//! The whole status as JSON.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::beginning::Beginning;
use super::history::{BackendSample, Point, Sample, rounded};
use super::server::Site;
use super::{metrics, readiness};
use crate::balance::circuit::State;
use crate::balance::tally::{CLASSES, PoolTally, Sum};
use crate::balance::{Backend, Pool, Reason, Table};
use crate::config::{Algorithm, Key};
use crate::exchange::cause::CODES;
use crate::histogram::Times;
use crate::id::BackendId;
use crate::stats::Counter;
use crate::stats::traffic::Counted;

/// What `GET /api/status` answers. `requests_per_second` is that of requests and connections balanced as a whole. Rates, shares and quantiles are those of the last `window_seconds`; counts are
/// since the start; times are Unix times in seconds.
#[derive(Serialize)]
pub(super) struct Report {
    window_seconds: f64,
    process: Process,
    requests_per_second: f64,
    latency: Option<Latency>,
    /// The newest point of `GET /api/history`.
    last: Option<Point>,
    /// Counts of all workers.
    counts: BTreeMap<&'static str, u64>,
    /// Exchanges that ended other than well, by cause; causes that never came are left out.
    errors: BTreeMap<&'static str, u64>,
    listeners: Vec<Listener>,
    workers: Vec<Worker>,
    pools: Vec<PoolReport>,
}

#[derive(Serialize)]
struct Process {
    version: &'static str,
    pid: u32,
    started: f64,
    uptime_seconds: f64,
    ready: bool,
    /// Why it is not ready.
    reasons: Vec<String>,
    draining: bool,
    reloads: Reloads,
}

#[derive(Serialize)]
struct Reloads {
    ok: u64,
    failed: u64,
    last_successful: bool,
    /// Of the last one that succeeded, or of the start.
    last: f64,
}

/// Quantiles of the time from a request's head to the last byte of its answer.
#[derive(Serialize)]
struct Latency {
    count: u64,
    mean_ms: f64,
    p50_ms: Option<f64>,
    p90_ms: Option<f64>,
    p99_ms: Option<f64>,
    p999_ms: Option<f64>,
}

#[derive(Serialize)]
struct Listener {
    name: String,
    address: String,
    accepted: u64,
    /// Balanced as a whole.
    tunnels: u64,
    /// Open at present.
    connections: u64,
    in_flight: u64,
    bytes_in: u64,
    bytes_out: u64,
    answers: BTreeMap<&'static str, u64>,
    errors: BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
struct Worker {
    connections: u32,
    in_flight: u64,
    upstreams: u64,
    requests: u64,
    failures: u64,
    requests_per_second: f64,
    /// Share of the time in which it had something to do, in percent.
    busy_percent: f64,
    /// Share of the time in which it was on a core; `null` where the system does not say.
    cpu_percent: Option<f64>,
    /// How long what came while it was busy had to wait at most, in 99 of 100 turns.
    lag_p99_ms: Option<f64>,
}

#[derive(Serialize)]
struct PoolReport {
    name: String,
    algorithm: &'static str,
    eligible: usize,
    ejected: u32,
    queue: Queue,
    budget: Budget,
    requests_per_second: f64,
    latency: Option<Latency>,
    /// Connections that it had as a whole.
    tunnels: u64,
    backends: Vec<BackendReport>,
}

#[derive(Serialize)]
struct Queue {
    length: u32,
    limit: u32,
}

#[derive(Serialize)]
struct Budget {
    /// Retries that would be allowed now.
    retries_left: i64,
    percent: u32,
}

#[derive(Serialize)]
pub(super) struct BackendReport {
    id: String,
    index: usize,
    url: String,
    state: &'static str,
    why: String,
    since: f64,
    /// Its health checks succeed, or it has none; also while it is drained or disabled.
    healthy: bool,
    /// May be given any request.
    eligible: bool,
    backup: bool,
    weight: u16,
    in_flight: u64,
    connections: u32,
    requests: u64,
    failures: u64,
    retries: u64,
    answers: BTreeMap<&'static str, u64>,
    /// Failures by cause.
    errors: BTreeMap<&'static str, u64>,
    requests_per_second: f64,
    /// Of its pool's requests, in percent; `null` when there were none.
    share_percent: Option<f64>,
    /// From the begin of a try to the head of its answer; `null` when there was none.
    first_byte_mean_ms: Option<f64>,
}

/// What the parts of a report are made from.
struct View<'a> {
    table: &'a Table,
    present: Sample,
    earlier: Arc<Sample>,
    seconds: f64,
    /// Milliseconds since the process began.
    now: u64,
    began: &'a Beginning,
}

impl<'a> View<'a> {
    fn new(site: &'a Site, table: &'a Table) -> Self {
        let present = Sample::take(&site.sources);
        let earlier = site.history.earlier().unwrap_or_else(|| Arc::new(present.clone()));
        let (seconds, now) = (present.after(&earlier).as_secs_f64(), site.sources.now());
        Self { table, present, earlier, seconds, now, began: &site.began }
    }

    /// Requests sent to all backends of a pool.
    fn requests_of(&self, pool: &Pool) -> u64 {
        pool.members().iter().map(|&id| self.requests(id)).sum()
    }

    fn requests(&self, id: BackendId) -> u64 {
        self.recent(id).requests
    }

    fn recent(&self, id: BackendId) -> BackendSample {
        self.present.of_backend(id.index(), &self.earlier)
    }
}

pub(super) fn report(site: &Site) -> Report {
    let sources = &*site.sources;
    let table = (sources.table)();
    let view = View::new(site, &table);
    let reasons = readiness::reasons(sources, &table);
    let blocks = &sources.workers;
    let count = |counter| blocks.iter().map(|block| block.get(counter)).sum::<u64>();
    let failures = |code| blocks.iter().map(|block| block.failures(code)).sum::<u64>();
    let workers = workers(site, &view);
    Report {
        window_seconds: rounded(view.seconds),
        process: Process {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            started: rounded(site.began.get()),
            uptime_seconds: view.now as f64 / 1e3,
            ready: reasons.is_empty(),
            reasons,
            draining: (sources.draining)(),
            reloads: Reloads {
                ok: sources.reloads.ok(),
                failed: sources.reloads.failed(),
                last_successful: sources.reloads.last_successful(),
                last: rounded(site.began.wall(sources.reloads.at())),
            },
        },
        requests_per_second: rounded(workers.iter().map(|worker| worker.requests_per_second).sum()),
        latency: latency(&view.present.times_since(&view.earlier)),
        last: site.history.last(&site.began),
        counts: Counter::TOLD
            .iter()
            .map(|&(name, counter)| (name, count(counter)))
            .chain([("access_log_lost", sources.losses.lines())])
            .collect(),
        errors: by_cause((0..CODES.len()).map(failures)),
        listeners: (sources.listeners)().iter().map(|listener| listener_report(listener)).collect(),
        workers,
        pools: table
            .pools()
            .iter()
            .filter(|pool| !pool.is_gone())
            .map(|pool| pool_report(&view, pool))
            .collect(),
    }
}

/// One backend as in the whole report.
pub(super) fn backend(site: &Site, table: &Table, id: BackendId) -> BackendReport {
    let view = View::new(site, table);
    let pool = table.pool_of(id);
    let index = pool.members().iter().position(|&member| member == id).unwrap_or_default();
    backend_report(&view, index, id, view.requests_of(pool))
}

fn latency(times: &Times) -> Option<Latency> {
    let count = times.count();
    let quantile = |share| times.quantile(share).map(|us| rounded(us / 1e3));
    (count > 0).then(|| Latency {
        count,
        mean_ms: rounded(times.sum_us as f64 / count as f64 / 1e3),
        p50_ms: quantile(0.5),
        p90_ms: quantile(0.9),
        p99_ms: quantile(0.99),
        p999_ms: quantile(0.999),
    })
}

fn listener_report(listener: &Counted) -> Listener {
    let sum = listener.sum();
    Listener {
        name: listener.name().to_owned(),
        address: listener.address().to_owned(),
        accepted: sum.connections,
        tunnels: sum.tunnels,
        connections: sum.open,
        in_flight: sum.in_flight,
        bytes_in: sum.bytes_in,
        bytes_out: sum.bytes_out,
        answers: by_class(&sum.classes()),
        errors: by_cause(sum.causes),
    }
}

fn by_cause(causes: impl IntoIterator<Item = u64>) -> BTreeMap<&'static str, u64> {
    CODES.iter().copied().zip(causes).filter(|&(_, n)| n > 0).collect()
}

fn by_class(answers: &[u64]) -> BTreeMap<&'static str, u64> {
    CLASSES.iter().copied().zip(answers.iter().copied()).filter(|&(_, n)| n > 0).collect()
}

fn workers(site: &Site, view: &View<'_>) -> Vec<Worker> {
    let open = (site.sources.connections)();
    let worker = |(i, block): (usize, &Arc<crate::stats::Block>)| {
        let (present, earlier) = (&view.present.workers[i], &view.earlier.workers[i]);
        let ticks = present.ticks.since(&earlier.ticks);
        Worker {
            connections: open.get(i).copied().unwrap_or(0),
            in_flight: block.get(Counter::Flights),
            upstreams: block.get(Counter::Upstreams),
            requests: present.requests,
            failures: present.failures,
            requests_per_second: rounded(
                present.balanced().saturating_sub(earlier.balanced()) as f64 / view.seconds,
            ),
            busy_percent: rounded((ticks.sum_us as f64 / 1e4 / view.seconds).min(100.0)),
            cpu_percent: present
                .cpu
                .zip(earlier.cpu)
                .map(|(now, then)| rounded(((now - then) * 100.0 / view.seconds).clamp(0.0, 100.0))),
            lag_p99_ms: ticks.quantile(0.99).map(|us| rounded(us / 1e3)),
        }
    };
    site.sources.workers.iter().enumerate().map(worker).collect()
}

fn pool_report(view: &View<'_>, pool: &Pool) -> PoolReport {
    let config = pool.config();
    let times = view.present.times_of(pool.id().index(), &view.earlier);
    let sent = view.requests_of(pool);
    let members = pool.members().iter().enumerate();
    PoolReport {
        name: config.name.clone(),
        algorithm: algorithm(&config.algorithm),
        eligible: pool.eligible(view.table),
        ejected: pool.ejected(),
        queue: Queue { length: pool.waiting().len(), limit: config.queue.length },
        budget: Budget {
            retries_left: pool.budget().left(view.now, pool.requests()),
            percent: config.retry.budget,
        },
        requests_per_second: rounded(sent as f64 / view.seconds),
        latency: latency(&times),
        tunnels: pool.tallies().iter().map(PoolTally::tunnels).sum(),
        backends: members.map(|(index, &id)| backend_report(view, index, id, sent)).collect(),
    }
}

/// The word for it in flags and files.
pub(super) fn algorithm(algorithm: &Algorithm) -> &'static str {
    match algorithm {
        Algorithm::RoundRobin => "round-robin",
        Algorithm::LeastConnections => "least-connections",
        Algorithm::TwoChoices => "two-choices",
        Algorithm::PeakEwma => "peak-ewma",
        Algorithm::Random => "random",
        Algorithm::Hash { key: Key::Address, .. } => "ip-hash",
        Algorithm::Hash { .. } => "hash",
    }
}

/// What a backend is called within its pool: `host:port`, or `host:port@address:port` where each address of a name is
/// a backend.
pub(super) fn id(backend: &Backend) -> String {
    backend.identity().trim_start_matches("http://").replace(" at ", "@")
}

/// `all` are the requests that its pool sent meanwhile.
fn backend_report(view: &View<'_>, index: usize, number: BackendId, all: u64) -> BackendReport {
    let backend = view.table.backend(number);
    let sum: Sum = backend.sum();
    let recent = view.recent(number);
    let (state, why, at) = standing(backend, view.now);
    BackendReport {
        id: id(backend),
        index,
        url: backend.url().to_string(),
        state,
        why,
        since: rounded(view.began.after(at, view.now)),
        healthy: backend.is_up(),
        eligible: view.table.pool_of(number).may_serve(view.table, backend),
        backup: backend.is_backup(),
        weight: backend.weight(),
        in_flight: sum.in_flight(),
        connections: backend.connections(),
        requests: sum.requests,
        failures: sum.failures,
        retries: sum.retries,
        answers: by_class(&sum.answers),
        errors: by_cause(sum.causes),
        requests_per_second: rounded(recent.requests as f64 / view.seconds),
        share_percent: (all > 0).then(|| rounded(recent.requests as f64 * 100.0 / all as f64)),
        first_byte_mean_ms: (recent.answers > 0)
            .then(|| rounded(recent.first_byte_us as f64 / recent.answers as f64 / 1e3)),
    }
}

/// The state in force, why it is that, and since when in milliseconds since the process began. What a person wants
/// comes first, then what checks say, then what traffic found.
fn standing(backend: &Backend, now: u64) -> (&'static str, String, u64) {
    let last = backend.record().last();
    let ejected = match last.traffic_why {
        Some(Reason::InARow(count)) => format!("{count} failures in a row"),
        Some(Reason::Rate(percent)) => format!("{percent} % of its requests failed"),
        Some(Reason::Trial) => "the request that tried it failed".to_owned(),
        None => "failures".to_owned(),
    };
    let state = metrics::state(backend);
    let ill = if last.check_why.is_empty() { "health checks fail".to_owned() } else { last.check_why };
    let by_command = |what: &str| match backend.is_up() {
        true => format!("by command: {what}; healthy"),
        false => format!("by command: {what}; down: {ill}"),
    };
    let (why, at) = match (state, backend.circuit()) {
        ("draining", _) => (by_command("no new clients"), last.mode_at),
        ("disabled", _) => (by_command("no new requests"), last.mode_at),
        ("down", _) => (ill, last.check_at),
        (_, State::Open { until }) => {
            let left = until.saturating_sub(now) as f64 / 1e3;
            (format!("{ejected}; tried again in {left:.1} s"), last.traffic_at)
        }
        (_, State::HalfOpen) => (format!("{ejected}; one request is trying it"), last.traffic_at),
        _ => (String::new(), last.mode_at.max(last.check_at).max(last.traffic_at)),
    };
    (state, why, at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, BackendUrl};
    use crate::id::PoolId;

    #[test]
    fn the_addresses_of_one_name_have_ids_of_their_own() {
        let url = BackendUrl { host: "app.example".into(), port: 80 };
        let plain = config::Backend::new(url);
        let one = config::Backend { address: Some("[::1]:80".parse().unwrap()), ..plain.clone() };
        let id_of = |config: &config::Backend| id(&Backend::new(config, PoolId(0), Vec::new(), 1));
        assert_eq!(
            (id_of(&plain).as_str(), id_of(&one).as_str()),
            ("app.example:80", "app.example:80@[::1]:80")
        );
    }
}
