//! The routes of a listener of connections: by the name that a TLS client asks for.

use super::model;
use super::note::Notes;
use super::tree::Span;
use super::written::As;
use crate::config::{Mode, Pool, Route};

/// A route for each of its names, alike but for that; the first has the route's own name.
pub(super) fn routes(
    given: &model::Route,
    name: &str,
    span: Span,
    pools: &[Pool],
    notes: &Notes,
) -> Vec<Route> {
    let route = super::route::route(given, name.to_owned(), span, pools, notes);
    let mut routes: Vec<Route> = Vec::new();
    for (As(host), place) in given.sni.each() {
        if routes.iter().any(|route| route.host.as_ref() == Some(host)) {
            notes.error(place, format!("{host} stands in this list twice; keep one"));
            continue;
        }
        let name = if routes.is_empty() { name.to_owned() } else { format!("{name}:{host}") };
        routes.push(Route { name, host: Some(host.clone()), ..route.clone() });
    }
    routes
}

/// Notes what a route cannot have where that is spoken.
pub(super) fn check(given: &model::Route, mode: Mode, span: Span, notes: &Notes) {
    if mode == Mode::Http {
        if given.sni.is_there() {
            let message = "sni goes with mode = \"tcp\" only; write host = \"…\"";
            notes.error(given.sni.key(), message.to_owned());
        }
        return;
    }
    if !given.sni.has_any() {
        let message = "a route of mode = \"tcp\" goes by the name that TLS clients ask for; write sni = [\"example.com\"]";
        notes.missing(span, "sni", message.to_owned());
    }
    let of_requests = [
        ("host", given.host.place),
        ("path", given.path.place),
        ("path_prefix", given.path_prefix.place),
        ("headers", given.headers.place),
        ("redirect", given.redirect.place),
        ("respond", given.respond.place),
        ("strip_prefix", given.strip_prefix.place),
        ("rewrite_prefix", given.rewrite_prefix.place),
        ("request_headers", given.request_headers.place),
        ("response_headers", given.response_headers.place),
    ];
    for (key, place) in of_requests.iter().filter_map(|(key, place)| Some((key, (*place)?))) {
        notes.error(
            place.key,
            format!("{key} is about requests, and mode = \"tcp\" knows none; take it away"),
        );
    }
}
