//! Rate limits, of the whole and of a route.

use std::time::Duration;

use super::model;
use super::note::Notes;
use super::tree::Span;
use crate::config::{Key, RateLimit};
use crate::limits;

pub(super) fn rate_limit(given: &model::RateLimit, span: Span, notes: &Notes) -> Option<RateLimit> {
    if !given.requests.is_there() {
        notes.missing(span, "requests", "a rate_limit of how many? Write requests = 100".to_owned());
    }
    let requests = given.requests.read()?;
    let per = given.per.or(Duration::from_secs(1));
    if f64::from(requests) > f64::from(limits::RATE_MAX) * per.as_secs_f64() {
        let message = format!("requests {requests}: at most {} a second are counted", limits::RATE_MAX);
        notes.error(given.requests.span(), message);
    }
    let key = given.key.or(Key::Address);
    if key == Key::Uri {
        let message =
            "key \"uri\": clients are told apart by \"address\", \"header:NAME\" or \"cookie:NAME\"";
        notes.error(given.key.span(), message.to_owned());
    }
    Some(RateLimit { requests, per, burst: given.burst.or(requests), key })
}
