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
        let message = format!(
            "requests {requests}: more than {} a second; no client brings that many",
            limits::RATE_MAX
        );
        notes.error(given.requests.span(), message);
    }
    let key = given.key.or(Key::Address);
    if matches!(key, Key::Uri | Key::Cookie(_)) {
        let message = "clients are told apart by key = \"address\" or \"header:NAME\" only";
        notes.error(given.key.span(), message.to_owned());
    }
    let limit = RateLimit { key, ..RateLimit::new((requests, per)) };
    match given.burst.read().map(|burst| (burst, limit.clone().with_burst(burst))) {
        None => Some(limit),
        Some((_, Ok(limit))) => Some(limit),
        Some((burst, Err(reason))) => {
            notes.error(given.burst.span(), format!("burst {burst}: {reason}"));
            Some(limit)
        }
    }
}
