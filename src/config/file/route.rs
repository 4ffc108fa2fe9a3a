//! The listeners and routes of a file, from the model to what a run needs.

use super::given::{Given, Pairs, Place};
use super::health::fields;
use super::model::{self, HeaderValue};
use super::note::Notes;
use super::rate::rate_limit;
use super::tree::Span;
use super::written::field_value;
use crate::config::{
    Action, FieldEdits, Fixed, HeaderMatch, PathPattern, Pool, Redirect, Rewrite, Route, RouteTimeouts,
    ValueMatch, nearest, parse_token, quoted,
};

/// A share of a split at most: finer than thousandths of a percent nobody asks for.
pub(super) const SHARE_MAX: u32 = 100_000;
/// Fields that a proxy writes itself, because they are about one connection or frame the message.
const OURS: [&str; 8] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
const STATUSES: [u32; 4] = [301, 302, 307, 308];
const STATUS: u32 = 308;

/// Finds the index of a pool by its name, or notes that there is none.
pub(super) fn pool_index(name: &str, span: Span, pools: &[Pool], notes: &Notes) -> Option<usize> {
    let found = pools.iter().position(|pool| pool.name == name);
    // A pool whose own name was wrong may be the one that is meant.
    if found.is_none() && !pools.iter().any(|pool| pool.name.is_empty()) {
        let names: Vec<&str> = pools.iter().map(|pool| pool.name.as_str()).collect();
        let right = match nearest(name, names.iter().copied()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None if names.is_empty() => format!("there is none; write {}", notes.format.element("pool")),
            None => format!("there is {}", names.join(", ")),
        };
        notes.error(span, format!("no pool is called {}; {right}", quoted(name)));
    }
    found
}

/// One route; what is wrong with it is noted.
pub(super) fn route(given: &model::Route, name: String, span: Span, pools: &[Pool], notes: &Notes) -> Route {
    let path = path(given, notes);
    Route {
        host: given.host.read(),
        rewrite: rewrite(given, notes),
        path,
        headers: given.headers.get().map_or_else(Vec::new, |headers| conditions(headers, notes)),
        request_headers: edits(&given.request_headers, true, notes),
        response_headers: edits(&given.response_headers, false, notes),
        timeouts: timeouts(&given.timeouts),
        rate_limit: given.rate_limit.get().and_then(|rate| rate_limit(rate, given.rate_limit.span(), notes)),
        ..Route::new(name, action(given, span, pools, notes))
    }
}

fn path(given: &model::Route, notes: &Notes) -> PathPattern {
    if given.path.is_there() && given.path_prefix.is_there() {
        notes.error(given.path_prefix.key(), "path and path_prefix exclude each other; keep one".to_owned());
    }
    match (given.path.read(), given.path_prefix.read()) {
        (Some(path), _) => PathPattern::Exact(path),
        (None, Some(prefix)) if prefix == "/" => PathPattern::Any,
        (None, Some(prefix)) => PathPattern::Prefix(prefix),
        (None, None) => PathPattern::Any,
    }
}

fn rewrite(given: &model::Route, notes: &Notes) -> Option<Rewrite> {
    let strips = given.strip_prefix.get() == Some(&true);
    let place = if strips { given.strip_prefix.place } else { given.rewrite_prefix.place };
    let place = place.filter(|_| strips || given.rewrite_prefix.is_there())?;
    if strips && given.rewrite_prefix.is_there() {
        let message = "strip_prefix and rewrite_prefix exclude each other; keep one";
        notes.error(given.rewrite_prefix.key(), message.to_owned());
    }
    // A route by sni has none, which is noted elsewhere.
    if !given.path_prefix.is_there() && !given.sni.is_there() {
        let key = if strips { "strip_prefix" } else { "rewrite_prefix" };
        notes.error(
            place.key,
            format!("{key} needs the path_prefix that it is about; add path_prefix = \"/…\""),
        );
    }
    let bare = |path: String| path.strip_suffix('/').map(str::to_owned).unwrap_or(path);
    let to = if strips { String::new() } else { given.rewrite_prefix.read()? };
    Some(Rewrite { from: bare(given.path_prefix.read()?), to: bare(to) })
}

fn conditions(given: &Pairs<HeaderValue>, notes: &Notes) -> Vec<HeaderMatch> {
    let mut conditions: Vec<HeaderMatch> = Vec::new();
    for (name, name_span, value, span) in given.each() {
        let name = match parse_token(name) {
            Ok(name) => name.to_ascii_lowercase(),
            Err(reason) => {
                notes.error(name_span, format!("{} is no header's name: {reason}", quoted(name)));
                continue;
            }
        };
        if name == "host" {
            notes.error(name_span, "the host is a condition of its own; write host = \"…\"".to_owned());
        }
        if conditions.iter().any(|other| other.name == name) {
            notes.error(name_span, format!("header {name} has two conditions here; keep one"));
        }
        let value = match value {
            HeaderValue::There(true) => ValueMatch::Present,
            HeaderValue::There(false) => ValueMatch::Absent,
            HeaderValue::Text(text) => {
                if let Err(line) = field_value(text) {
                    notes.error(span, line);
                }
                ValueMatch::Equals(text.clone())
            }
        };
        conditions.push(HeaderMatch { name, value });
    }
    conditions.sort();
    conditions
}

fn action(given: &model::Route, span: Span, pools: &[Pool], notes: &Notes) -> Action {
    let places: [(&str, Option<Place>); 4] = [
        ("pool", given.pool.place),
        ("split", given.split.place),
        ("redirect", given.redirect.place),
        ("respond", given.respond.place),
    ];
    let mut there = places.iter().filter_map(|(key, place)| Some((key, (*place)?)));
    let first = there.next();
    for (key, place) in there {
        let first = first.map_or("", |(key, _)| key);
        notes.error(place.key, format!("{first} and {key} exclude each other; a route does one thing"));
    }
    match first {
        None => {
            let message = match given.sni.is_there() {
                true => "a route that leads nowhere; give it a pool or a split",
                false => "a route that leads nowhere; give it a pool, a split, a redirect or a respond",
            };
            for key in ["pool", "split", "redirect"] {
                if notes.is_misspelt(span, key) {
                    return Action::Pool(0);
                }
            }
            notes.missing(span, "respond", message.to_owned());
        }
        Some((_, place)) => warn_of_unused(given, place, notes),
    }
    let pool = given.pool.get().and_then(|name| pool_index(name, given.pool.span(), pools, notes));
    let split = given.split.get().map(|shares| split(shares, given.split.span(), pools, notes));
    let redirect = given.redirect.get().and_then(|to| redirect(to, given.redirect.span(), notes));
    let respond = given.respond.get().map(|answer| respond(answer, given.respond.span(), notes));
    pool.map(Action::Pool)
        .or(split.map(Action::Split))
        .or(redirect.map(Action::Redirect))
        .or(respond.map(Action::Fixed))
        .unwrap_or(Action::Pool(0))
}

/// Notes what does nothing because no backend is asked.
fn warn_of_unused(given: &model::Route, action: Place, notes: &Notes) {
    let answers = given.redirect.is_there() || given.respond.is_there();
    let unused = [
        ("strip_prefix", given.strip_prefix.place),
        ("rewrite_prefix", given.rewrite_prefix.place),
        ("request_headers", given.request_headers.place),
        ("timeouts", given.timeouts.place),
    ];
    for (key, place) in unused.iter().filter_map(|(key, place)| Some((key, (*place)?))) {
        if answers {
            let line = notes.line_of(action.key);
            notes.error(place.key, format!("{key} does nothing here: line {line} answers without a backend"));
        }
    }
}

fn split(
    shares: &Pairs<super::written::As<super::written::Count<0, SHARE_MAX>>>,
    span: Span,
    pools: &[Pool],
    notes: &Notes,
) -> Vec<(usize, u32)> {
    if shares.0.is_empty()
        || (shares.0.len() == shares.each().count() && shares.each().all(|(_, _, share, _)| share.0 == 0))
    {
        let message = "split gives nothing to anyone; write it like { app = 95, canary = 5 }";
        notes.error(span, message.to_owned());
    }
    let index = |(name, name_span, share, _): (&str, Span, &super::written::As<_>, Span)| {
        pool_index(name, name_span, pools, notes).map(|pool| (pool, share.0))
    };
    shares.each().filter_map(index).collect()
}

fn redirect(given: &model::Redirect, span: Span, notes: &Notes) -> Option<Redirect> {
    let status = given.status.or(STATUS);
    if !STATUSES.contains(&status) {
        let message = format!("status {status}: a redirect is 301, 302, 307 or 308");
        notes.error(given.status.span(), message);
    }
    if !given.location.is_there() {
        let message = "a redirect to where? Write location = \"https://{host}{uri}\"";
        notes.missing(span, "location", message.to_owned());
    }
    Some(Redirect { status: status as u16, location: given.location.read()? })
}

fn respond(given: &model::Respond, span: Span, notes: &Notes) -> Fixed {
    if !given.status.is_there() {
        notes.missing(span, "status", "respond with which status? Write status = 200".to_owned());
    }
    let status = given.status.or(200);
    let body = given.body.get().cloned().unwrap_or_default();
    if matches!(status, 204 | 304) && !body.is_empty() {
        notes.error(given.body.span(), format!("an answer with status {status} has no body; take it away"));
    }
    let content_type = given.content_type.or("text/plain; charset=utf-8".to_owned());
    if let Err(line) = field_value(&content_type) {
        notes.error(given.content_type.span(), line);
    }
    Fixed { status: status as u16, body, content_type }
}

fn edits(given: &Given<model::FieldEdits>, of_request: bool, notes: &Notes) -> FieldEdits {
    let Some(edits) = given.get() else { return FieldEdits::default() };
    let check = |name: &str, span: Span, sets: bool| {
        let name = name.to_ascii_lowercase();
        if OURS.contains(&name.as_str()) {
            notes.error(
                span,
                format!("{name} is about one connection or frames the message, so it is not to be changed"),
            );
        } else if of_request && name == "host" && !sets {
            notes.error(span, "a request has one host: it can be set, not added or removed".to_owned());
        }
    };
    for (pairs, sets) in [(&edits.set, true), (&edits.add, false)] {
        pairs.get().into_iter().flat_map(Pairs::each).for_each(|(name, span, ..)| check(name, span, sets));
    }
    for (name, span) in edits.remove.each() {
        check(name, span, false);
        if let Err(reason) = parse_token(name) {
            notes.error(span, format!("{} is no header's name: {reason}", quoted(name)));
        }
    }
    FieldEdits {
        set: fields(&edits.set, notes),
        add: fields(&edits.add, notes),
        remove: edits.remove.each().map(|(name, _)| name.clone()).collect(),
    }
}

fn timeouts(given: &Given<model::RouteTimeouts>) -> RouteTimeouts {
    let Some(timeouts) = given.get() else { return RouteTimeouts::default() };
    RouteTimeouts {
        connect: timeouts.connect.read(),
        response: timeouts.response.read(),
        stall: timeouts.stall.read(),
        tunnel: timeouts.tunnel.read(),
    }
}
