//! How a pool's backends are trusted: checks, retries, ejection; and what is risky about it.

use std::time::Duration;

use super::given::{Given, Pairs};
use super::model::{self, CheckKind};
use super::note::Notes;
use super::tree::Span;
use super::written::field_value;
use crate::config::{
    Backend, Check, Ejection, Health, HttpCheck, Retry, Statuses, parse_field, parse_token, quoted, size,
};
use crate::limits;

pub(super) fn health(given: &Given<model::Health>, notes: &Notes) -> Health {
    let default = Health::default();
    let Some(health) = given.get() else { return default };
    let kind = health.kind.get().copied();
    if kind != Some(CheckKind::Http) && (kind.is_some() || !health.kind.is_there()) {
        let of_http = [
            ("paths", health.paths.place),
            ("method", health.method.place),
            ("host", health.host.place),
            ("headers", health.headers.place),
            ("expected", health.expected.place),
            ("body", health.body.place),
        ];
        for (key, place) in of_http {
            if let Some(place) = place {
                notes.error(place.key, format!("{key} goes with kind = \"http\" only"));
            }
        }
    }
    let built = Health {
        check: match kind {
            Some(CheckKind::None) => Check::None,
            Some(CheckKind::Tcp) | None => Check::Tcp,
            Some(CheckKind::Http) => Check::Http(http(health, notes)),
        },
        interval: health.interval.or(default.interval),
        timeout: health.timeout.or(default.timeout),
        rise: health.rise.or(default.rise),
        fall: health.fall.or(default.fall),
    };
    if built.timeout > built.interval && built.check != Check::None {
        let place = if health.timeout.is_there() { health.timeout.span() } else { health.interval.span() };
        let message = "the health check's timeout is longer than its interval; a slow backend is then probed less \
                       often than asked for";
        notes.warning(place, message.to_owned());
    }
    built
}

fn http(health: &model::Health, notes: &Notes) -> HttpCheck {
    let default = HttpCheck::default();
    if health.paths.value.as_ref().is_some_and(Vec::is_empty) {
        notes.error(
            health.paths.span(),
            "paths is empty; name one or more, like [\"/health\", \"/\"]".to_owned(),
        );
    }
    let expected = health.expected.or(default.expected);
    if expected.is_empty() {
        notes.error(
            health.expected.span(),
            "expected is empty, so no check could succeed; write it like \"200-399\"".to_owned(),
        );
    }
    let all: Vec<(&String, Span)> = health.paths.each().map(|(path, span)| (&path.0, span)).collect();
    for (i, (path, span)) in all.iter().enumerate() {
        if all[..i].iter().any(|(other, _)| other == path) {
            notes.error(*span, format!("paths {}: given twice; name each path once", quoted(path)));
        }
    }
    if health.body.is_there() && health.method.get().is_some_and(|method| method.0 == "HEAD") {
        notes.error(
            health.body.key(),
            "body has no effect with method = \"HEAD\": no body answers it".to_owned(),
        );
    }
    if health.body.get().is_some_and(|body| body.0.len() > limits::HEALTH_BODY) {
        let most = size(limits::HEALTH_BODY as u64);
        notes.error(health.body.span(), format!("body: longer than what is read of one, {most}"));
    }
    let paths = || health.paths.each().map(|(path, _)| path.0.clone()).collect();
    HttpCheck {
        paths: if health.paths.is_there() { paths() } else { default.paths },
        method: health.method.or(default.method),
        host: health.host.read(),
        fields: probe_fields(&health.headers, notes),
        expected,
        body: health.body.read(),
        announce: None,
    }
}

/// Fields of a probe; their values may be passwords, so that no message says them again.
fn probe_fields(given: &Given<Pairs<String>>, notes: &Notes) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    for (name, name_span, value, span) in given.get().into_iter().flat_map(Pairs::each) {
        if name.eq_ignore_ascii_case("host") {
            notes.error(name_span, "the host of a check is set by its host; write host = \"…\"".to_owned());
        } else if let Err(reason) = parse_field(&format!("{name}: ")) {
            notes.error(name_span, format!("header {}: {reason}", quoted(name)));
        } else {
            match parse_field(&format!("{name}: {value}")) {
                Ok(field) => fields.push(field),
                Err(reason) => notes.error(span, format!("header {name}: {reason}")),
            }
        }
    }
    fields
}

/// Names and values of header fields.
pub(super) fn fields(given: &Given<Pairs<String>>, notes: &Notes) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    for (name, name_span, value, span) in given.get().into_iter().flat_map(Pairs::each) {
        if let Err(reason) = parse_token(name) {
            notes.error(name_span, format!("{} is no header's name: {reason}", quoted(name)));
        }
        if let Err(line) = field_value(value) {
            notes.error(span, line);
        }
        fields.push((name.to_owned(), value.clone()));
    }
    fields
}

pub(super) fn retry(given: &Given<model::Retry>, response: Duration, notes: &Notes) -> Retry {
    let default = Retry::default();
    let Some(retry) = given.get() else { return default };
    let statuses = retry.statuses.or(default.statuses);
    let kept = Statuses::from(100..=399);
    if (100..=399).any(|status| kept.contains(status) && statuses.contains(status)) {
        let message = "retry on statuses below 400 throws good answers away; 502-504 are what is usual";
        notes.warning(retry.statuses.span(), message.to_owned());
    }
    if retry.budget.read().is_some_and(|budget| budget >= 100) {
        let message = "a retry budget of 100 % and more lets retries double an outage; 20 is the default";
        notes.warning(retry.budget.span(), message.to_owned());
    }
    let try_timeout = retry.try_timeout.read().filter(|timeout| *timeout > Duration::ZERO);
    if try_timeout.is_some_and(|timeout| timeout >= response) {
        let message = format!(
            "try_timeout is not less than the response timeout, {}, which ends the request; lower this one or raise that",
            super::show::time(response)
        );
        notes.error(retry.try_timeout.span(), message);
    }
    Retry {
        retries: retry.retries.or(default.retries.into()) as u8,
        delay: retry.delay.or(default.delay),
        budget: retry.budget.or(default.budget),
        budget_floor: retry.budget_floor.or(default.budget_floor),
        try_timeout,
        statuses,
    }
}

pub(super) fn ejection(given: &Given<model::Ejection>, notes: &Notes) -> Ejection {
    let default = Ejection::default();
    let Some(ejection) = given.get() else { return default };
    let time = ejection.time.or(default.time);
    // A longer first time alone must not be refused for a bound that nobody asked for.
    let time_max = ejection.time_max.or(default.time_max.max(time));
    if time_max < time {
        let place = ejection.time_max.span();
        notes.error(
            place,
            "time_max is shorter than time; the first time out cannot be longer than the longest".to_owned(),
        );
    }
    Ejection {
        max_fails: ejection.max_fails.or(default.max_fails),
        fail_rate: ejection.fail_rate.or(default.fail_rate),
        window: ejection.window.or(default.window),
        fail_rate_requests: ejection.fail_rate_requests.or(default.fail_rate_requests),
        time,
        time_max,
        most: ejection.most.or(default.most),
        statuses: ejection.statuses.or(default.statuses),
    }
}

/// What is risky about a pool as a whole.
pub(super) fn warn(
    pool: &model::Pool,
    backends: &[Backend],
    health: &Health,
    ejection: &Ejection,
    span: Span,
    notes: &Notes,
) {
    let place = pool.health.get().and_then(|health| health.kind.place).map_or(span, |place| place.value);
    let unchecked = health.check == Check::None;
    let never_out = (ejection.max_fails == 0 && ejection.fail_rate == 0) || ejection.most == 0;
    if unchecked && never_out {
        let message =
            "neither checks nor ejection: a dead backend is given requests for ever; set one of them";
        notes.warning(place, message.to_owned());
    } else if unchecked && backends.len() == 1 {
        let message =
            "no health check of the only backend: that it is dead is found out by requests that fail";
        notes.warning(place, message.to_owned());
    }
    if pool.fail_open.get() == Some(&true) && unchecked && never_out {
        let message = "fail_open changes nothing where neither checks nor ejection take a backend out";
        notes.warning(pool.fail_open.span(), message.to_owned());
    }
}
