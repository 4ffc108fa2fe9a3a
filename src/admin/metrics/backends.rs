//! What is told of each backend.

use std::sync::Arc;

use super::{by_class, family, in_unit};
use crate::admin::exposition::{Family, Kind, Samples, Text, labels};
use crate::admin::report;
use crate::balance::circuit::State;
use crate::balance::tally::Sum;
use crate::balance::{Backend, Mode, Table};
use crate::exchange::cause::CODES;

type BackendValue = (Family, fn(&Seen<'_>) -> u64);

/// A backend with all that is told of it.
struct Seen<'t> {
    labels: String,
    backend: &'t Backend,
    eligible: bool,
    sum: Sum,
}

impl<'t> Seen<'t> {
    fn of(table: &'t Table, backend: &'t Arc<Backend>) -> Self {
        let pool = table.pool(backend.pool());
        let labels = labels(&[("pool", &pool.config().name), ("backend", &report::id(backend))]);
        Self { labels, backend, eligible: pool.may_serve(table, backend), sum: backend.sum() }
    }
}

pub(super) fn backends(text: &mut Text, table: &Table) {
    let seen = |backend| Seen::of(table, backend);
    let seen: Vec<Seen<'_>> =
        table.backends().iter().filter(|backend| !backend.is_gone()).map(seen).collect();
    backend_counts(text, &seen);
    let gauges: [BackendValue; 5] = [
        (family("evenkeel_backend_in_flight", Kind::Gauge, "Requests in flight."), |seen| {
            seen.sum.in_flight()
        }),
        (
            family("evenkeel_backend_connections", Kind::Gauge, "Connections open, unused ones included."),
            |seen| u64::from(seen.backend.connections()),
        ),
        (family("evenkeel_backend_weight", Kind::Gauge, "Its share beside the others'."), |seen| {
            u64::from(seen.backend.weight())
        }),
        (family("evenkeel_backend_healthy", Kind::Gauge, "1 while its health checks succeed."), |seen| {
            u64::from(seen.backend.is_up())
        }),
        (family("evenkeel_backend_eligible", Kind::Gauge, "1 while it may be given any request."), |seen| {
            u64::from(seen.eligible)
        }),
    ];
    for (family, value) in gauges {
        each_backend(text, &seen, &family, |samples, seen| {
            samples.add(&seen.labels, value(seen));
        });
    }
    let help = "1 for the state that it is in, 0 for the others.";
    each_backend(text, &seen, &family("evenkeel_backend_state", Kind::Gauge, help), |samples, seen| {
        let state = state(seen.backend);
        for known in STATES {
            samples.add_by(&seen.labels, "state", known, u8::from(known == state));
        }
    });
}

/// All states, in the order in which they prevail.
const STATES: [&str; 6] = ["draining", "disabled", "down", "out", "half-open", "up"];

/// As in the status.
pub(in crate::admin) fn state(backend: &Backend) -> &'static str {
    match (backend.mode(), backend.is_up(), backend.circuit()) {
        (Mode::Draining, ..) => "draining",
        (Mode::Disabled, ..) => "disabled",
        (_, false, _) => "down",
        (_, _, State::Open { .. }) => "out",
        (_, _, State::HalfOpen) => "half-open",
        (_, _, State::Closed { .. }) => "up",
    }
}

fn each_backend(
    text: &mut Text,
    all: &[Seen<'_>],
    family: &Family,
    add: impl Fn(&mut Samples<'_>, &Seen<'_>),
) {
    let mut samples = text.family(family);
    all.iter().for_each(|seen| add(&mut samples, seen));
}

fn backend_counts(text: &mut Text, all: &[Seen<'_>]) {
    use Kind::Counter as C;
    let counts: [BackendValue; 9] = [
        (family("evenkeel_backend_requests", C, "Requests sent, retries included."), |seen| {
            seen.sum.requests
        }),
        (family("evenkeel_backend_failures", C, "Requests that failed by its fault."), |seen| {
            seen.sum.failures
        }),
        (family("evenkeel_backend_retries", C, "Requests that were sent elsewhere before."), |seen| {
            seen.sum.retries
        }),
        (in_unit("evenkeel_backend_sent_bytes", C, "bytes", "Bytes sent to it."), |seen| seen.sum.bytes_sent),
        (in_unit("evenkeel_backend_received_bytes", C, "bytes", "Bytes that it sent."), |seen| {
            seen.sum.bytes_received
        }),
        (family("evenkeel_backend_connects", C, "Connections made."), |seen| seen.sum.connects),
        (family("evenkeel_backend_connect_failures", C, "Connections that could not be made."), |seen| {
            seen.sum.connect_failures
        }),
        (
            family("evenkeel_backend_health_changes", C, "Times that active checks changed their mind."),
            |seen| seen.backend.record().health_changes(),
        ),
        (
            family(
                "evenkeel_backend_ejections",
                C,
                "Times that traffic took it out, failed trials included.",
            ),
            |seen| seen.backend.record().ejections(),
        ),
    ];
    for (family, count) in counts {
        each_backend(text, all, &family, |samples, seen| {
            samples.add(&seen.labels, count(seen));
        });
    }
    let help = "Requests that failed by its fault, by cause. Causes that it never met are left out.";
    each_backend(text, all, &family("evenkeel_backend_failure_causes", C, help), |samples, seen| {
        for (code, count) in CODES.iter().zip(seen.sum.causes).filter(|&(_, count)| count > 0) {
            samples.add_by(&seen.labels, "cause", code, count);
        }
    });
    let answers = family("evenkeel_backend_answers", C, "Answers, by class of status.");
    each_backend(text, all, &answers, |samples, seen| by_class(samples, &seen.labels, &seen.sum.answers));
    let help = "Time to make a connection to it. Quantiles are the pool's to tell.";
    let connect = in_unit("evenkeel_backend_connect_seconds", Kind::Summary, "seconds", help);
    each_backend(text, all, &connect, |samples, seen| {
        samples.summary(&seen.labels, seen.sum.connect_us, seen.sum.connects);
    });
    let help = "From the begin of a try to the head of its answer. Quantiles are the pool's to tell.";
    let first_byte = in_unit("evenkeel_backend_first_byte_seconds", Kind::Summary, "seconds", help);
    each_backend(text, all, &first_byte, |samples, seen| {
        samples.summary(&seen.labels, seen.sum.first_byte_us, seen.sum.answers.iter().sum());
    });
}
