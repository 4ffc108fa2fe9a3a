//! What is told of each listener, and of each route.

use std::sync::Arc;

use super::{by_class, family, in_unit};
use crate::admin::exposition::{Family, Kind, Samples, Text, labels};
use crate::balance::tally::{CLASSES, METHODS};
use crate::exchange::cause::CODES;
use crate::stats::traffic::{Counted, Sum};

type Count = (Family, fn(&Sum) -> u64);

struct Seen {
    labels: String,
    sum: Sum,
}

fn seen(all: &[Arc<Counted>], labels: fn(&Counted) -> String) -> Vec<Seen> {
    all.iter().map(|one| Seen { labels: labels(one), sum: one.sum() }).collect()
}

fn each(text: &mut Text, all: &[Seen], family: &Family, add: impl Fn(&mut Samples<'_>, &Seen)) {
    let mut samples = text.family(family);
    all.iter().for_each(|seen| add(&mut samples, seen));
}

fn counts(text: &mut Text, all: &[Seen], counts: &[Count]) {
    for (family, count) in counts {
        each(text, all, family, |samples, seen| {
            samples.add(&seen.labels, count(&seen.sum));
        });
    }
}

const LISTENER: [Count; 7] = {
    use Kind::{Counter as C, Gauge as G};
    [
        (family("evenkeel_listener_connections", C, "Client connections accepted."), |sum| sum.connections),
        (family("evenkeel_listener_open_connections", G, "Client connections open."), |sum| sum.open),
        (family("evenkeel_listener_in_flight", G, "Exchanges in flight."), |sum| sum.in_flight),
        (family("evenkeel_listener_tunnels", C, "Connections balanced as a whole."), |sum| sum.tunnels),
        (family("evenkeel_listener_retries", C, "Requests sent again."), |sum| sum.retries),
        (in_unit("evenkeel_listener_received_bytes", C, "bytes", "Bytes that clients sent."), |sum| {
            sum.bytes_in
        }),
        (in_unit("evenkeel_listener_sent_bytes", C, "bytes", "Bytes sent to clients."), |sum| sum.bytes_out),
    ]
};

pub(super) fn listeners(text: &mut Text, all: &[Arc<Counted>]) {
    let all = seen(all, |listener| labels(&[("listener", listener.name())]));
    counts(text, &all, &LISTENER);
    requests(text, &all, "evenkeel_listener_requests", |_, _| true);
    let help = "Exchanges and connections that ended other than well, by cause.";
    each(text, &all, &family("evenkeel_listener_failures", Kind::Counter, help), |samples, seen| {
        for (code, count) in CODES.iter().zip(seen.sum.causes) {
            samples.add_by(&seen.labels, "cause", code, count);
        }
    });
    total(text, &all, "evenkeel_listener_total_seconds");
}

/// By method and class, of those methods that are told.
fn requests(
    text: &mut Text,
    all: &[Seen],
    name: &'static str,
    told: fn(usize, &[u64; CLASSES.len()]) -> bool,
) {
    let requests = family(name, Kind::Counter, "Requests answered, by method and class of status.");
    each(text, all, &requests, |samples, seen| {
        let answers = seen.sum.answers.iter().enumerate();
        for (at, answers) in answers.filter(|&(at, answers)| told(at, answers)) {
            by_class(samples, &format!("{},method=\"{}\"", seen.labels, METHODS[at]), answers);
        }
    });
}

fn total(text: &mut Text, all: &[Seen], name: &'static str) {
    let help = "From a request's head to the last byte of its answer.";
    let total = in_unit(name, Kind::Histogram, "seconds", help);
    each(text, all, &total, |samples, seen| samples.histogram(&seen.labels, &seen.sum.total));
}

const ROUTE: [Count; 5] = {
    use Kind::{Counter as C, Gauge as G};
    [
        (family("evenkeel_route_in_flight", G, "Exchanges in flight."), |sum| sum.in_flight),
        (family("evenkeel_route_tunnels", C, "Connections balanced as a whole."), |sum| sum.tunnels),
        (family("evenkeel_route_retries", C, "Requests sent again."), |sum| sum.retries),
        (in_unit("evenkeel_route_received_bytes", C, "bytes", "Bytes that clients sent."), |sum| {
            sum.bytes_in
        }),
        (in_unit("evenkeel_route_sent_bytes", C, "bytes", "Bytes sent to clients."), |sum| sum.bytes_out),
    ]
};

pub(super) fn routes(text: &mut Text, all: &[Arc<Counted>]) {
    let all = seen(all, |route| labels(&[("listener", route.listener()), ("route", route.name())]));
    counts(text, &all, &ROUTE);
    // There may be hundreds of routes, most of which have one method.
    requests(text, &all, "evenkeel_route_requests", |at, answers| at == 0 || answers.iter().any(|&n| n > 0));
    let help = "Exchanges that ended other than well, by cause.";
    each(text, &all, &family("evenkeel_route_failures", Kind::Counter, help), |samples, seen| {
        // And most of them never met most of the causes.
        for (code, count) in CODES.iter().zip(seen.sum.causes).filter(|&(_, count)| count > 0) {
            samples.add_by(&seen.labels, "cause", code, count);
        }
    });
    total(text, &all, "evenkeel_route_total_seconds");
}
