//! What is told of each pool.

use super::{family, in_unit};
use crate::admin::Sources;
use crate::admin::exposition::{Family, Kind, Samples, Text, labels};
use crate::balance::tally::{CLASSES, METHODS, PoolTally};
use crate::balance::{Pool, Table};
use crate::exchange::cause::CODES;
use crate::histogram::{Histogram, Times};

type PoolCount = (Family, fn(&PoolTally) -> u64);
type PoolGauge<'v> = (Family, &'v dyn Fn(&Pool) -> i64);
type PoolTimes = (&'static str, &'static str, fn(&PoolTally) -> &Histogram);

/// Calls `add` for each pool with its labels.
fn each_pool(text: &mut Text, table: &Table, family: &Family, add: impl Fn(&mut Samples<'_>, &str, &Pool)) {
    let mut samples = text.family(family);
    for pool in table.pools().iter().filter(|pool| !pool.is_gone()) {
        add(&mut samples, &labels(&[("pool", &pool.config().name)]), pool);
    }
}

pub(super) fn pools(text: &mut Text, sources: &Sources, table: &Table) {
    let sum = |pool: &Pool, count: &dyn Fn(&PoolTally) -> u64| pool.tallies().iter().map(count).sum::<u64>();
    let requests =
        family("evenkeel_pool_requests", Kind::Counter, "Requests answered, by method and class of status.");
    each_pool(text, table, &requests, |samples, name, pool| {
        for (m, method) in METHODS.iter().enumerate() {
            let name = format!("{name},method=\"{method}\"");
            for (c, class) in CLASSES.iter().enumerate() {
                samples.add_by(&name, "class", class, sum(pool, &|tally| tally.answers(m, c)));
            }
        }
    });
    let failures =
        family("evenkeel_pool_failures", Kind::Counter, "Exchanges that ended other than well, by cause.");
    each_pool(text, table, &failures, |samples, name, pool| {
        for (i, code) in CODES.iter().enumerate() {
            samples.add_by(name, "cause", code, sum(pool, &|tally| tally.failures(i)));
        }
    });
    let counts: [PoolCount; 5] = [
        (
            family("evenkeel_pool_tunnels", Kind::Counter, "Connections balanced as a whole."),
            PoolTally::tunnels,
        ),
        (family("evenkeel_pool_retries", Kind::Counter, "Requests sent again."), |tally| tally.retries().0),
        (
            family("evenkeel_pool_retries_denied", Kind::Counter, "Retries that the budget did not allow."),
            |tally| tally.retries().1,
        ),
        (
            in_unit("evenkeel_pool_received_bytes", Kind::Counter, "bytes", "Bytes that clients sent."),
            |tally| tally.bytes().0,
        ),
        (in_unit("evenkeel_pool_sent_bytes", Kind::Counter, "bytes", "Bytes sent to clients."), |tally| {
            tally.bytes().1
        }),
    ];
    for (family, count) in counts {
        each_pool(text, table, &family, |samples, name, pool| {
            samples.add(name, sum(pool, &count));
        });
    }
    pool_gauges(text, sources, table);
}

fn pool_gauges(text: &mut Text, sources: &Sources, table: &Table) {
    let now = sources.now();
    let gauges: [PoolGauge<'_>; 6] = [
        (
            family("evenkeel_pool_in_flight", Kind::Gauge, "Requests in flight, those that wait included."),
            &|pool| pool.unfinished() as i64,
        ),
        (family("evenkeel_pool_queue_length", Kind::Gauge, "Requests that wait for a backend."), &|pool| {
            i64::from(pool.waiting().len())
        }),
        (family("evenkeel_pool_queue_limit", Kind::Gauge, "Requests that may wait at most."), &|pool| {
            i64::from(pool.config().queue.length)
        }),
        (family("evenkeel_pool_retry_budget", Kind::Gauge, "Retries that would be allowed now."), &|pool| {
            pool.budget().left(now, pool.requests())
        }),
        (family("evenkeel_pool_eligible", Kind::Gauge, "Backends that may be given any request."), &|pool| {
            pool.eligible(table) as i64
        }),
        (
            family("evenkeel_pool_ejected", Kind::Gauge, "Backends that are out by traffic's judgement."),
            &|pool| i64::from(pool.ejected()),
        ),
    ];
    for (family, value) in gauges {
        each_pool(text, table, &family, |samples, name, pool| {
            samples.add(name, value(pool));
        });
    }
}

pub(super) fn pool_times(text: &mut Text, table: &Table) {
    let times: [PoolTimes; 4] = [
        ("evenkeel_pool_queue_seconds", "Wait for a backend, of requests that had to.", |tally| &tally.queue),
        ("evenkeel_pool_connect_seconds", "Time to make a connection to a backend.", |tally| &tally.connect),
        ("evenkeel_pool_first_byte_seconds", "From the begin of a try to the head of its answer.", |tally| {
            &tally.first_byte
        }),
        ("evenkeel_pool_total_seconds", "From a request's head to the last byte of its answer.", |tally| {
            &tally.total
        }),
    ];
    for (name, help, histogram) in times {
        each_pool(text, table, &in_unit(name, Kind::Histogram, "seconds", help), |samples, name, pool| {
            samples.histogram(name, &Times::of(pool.tallies().iter().map(histogram)));
        });
    }
}
