//! Keys that say something of requests, where only connections come as a whole.

use super::given::{Many, Place};
use super::model;
use super::note::Notes;
use crate::config::pool::has_connections_alone;
use crate::config::{Key, Listener, Mode};

/// Notes what has no effect in pools that only listeners of mode tcp lead to.
pub(super) fn warn(listeners: &[Listener], given: &Many<model::Pool>, notes: &Notes) {
    for (i, (pool, _)) in given.each().enumerate() {
        if !has_connections_alone(listeners, i) {
            continue;
        }
        for (key, place) in of_requests(pool).into_iter().filter_map(|(key, place)| Some((key, place?))) {
            let message = format!(
                "{key} is about requests, and only listeners of mode = \"tcp\" lead to this pool; it has no effect"
            );
            notes.warning(place.key, message);
        }
    }
}

/// Notes keys of rate limits by which no client can be told apart where only connections come as a whole.
pub(super) fn warn_of_rates(listeners: &[Listener], file: &model::File, notes: &Notes) {
    let tcp = |listener: &&model::Listener| matches!(listener.mode.get(), Some(model::Mode::Tcp));
    let of_file = listeners.iter().all(|listener| listener.mode == Mode::Tcp).then_some(&file.rate_limit);
    let given = file.listener.each().map(|(listener, _)| listener).filter(tcp);
    let of_routes = given.flat_map(|listener| listener.route.each().map(|(route, _)| &route.rate_limit));
    for key in of_file.into_iter().chain(of_routes).filter_map(|rate| Some(&rate.get()?.key)) {
        if key.read().is_some_and(|key| key != Key::Address) {
            let message = "mode = \"tcp\" knows nothing of a client but its address; write key = \"address\"";
            notes.warning(key.span(), message.to_owned());
        }
    }
}

/// Notes what of the file as a whole, and of its routes, has no effect where only connections come as a whole.
pub(super) fn warn_of_file(listeners: &[Listener], file: &model::File, notes: &Notes) {
    let tcp = |listener: &&model::Listener| matches!(listener.mode.get(), Some(model::Mode::Tcp));
    for (route, _) in
        file.listener.each().map(|(listener, _)| listener).filter(tcp).flat_map(|one| one.route.each())
    {
        let of_route = route
            .timeouts
            .get()
            .map(|given| [("response", given.response.place), ("stall", given.stall.place)]);
        let message = "is about requests, and mode = \"tcp\" knows none; it has no effect";
        warn_of(of_route.into_iter().flatten(), message, notes);
    }
    if listeners.iter().any(|listener| listener.mode != Mode::Tcp) {
        return;
    }
    let message = "is about requests, and every listener is of mode = \"tcp\"; it has no effect";
    warn_of(of_all_requests(file), message, notes);
    let waits = |listener: &Listener| listener.proxy.is_some() || !listener.routes.all().is_empty();
    if !listeners.iter().any(waits) {
        let head = file.timeouts.get().map(|given| ("head", given.head.place));
        let message = "has no effect: no listener waits for a PROXY header or a server's name";
        warn_of(head.into_iter(), message, notes);
    }
}

fn warn_of(keys: impl Iterator<Item = (&'static str, Option<Place>)>, message: &str, notes: &Notes) {
    for (key, place) in keys.filter_map(|(key, place)| Some((key, place?))) {
        notes.warning(place.key, format!("{key} {message}"));
    }
}

fn of_all_requests(file: &model::File) -> impl Iterator<Item = (&'static str, Option<Place>)> {
    let timeouts = file.timeouts.get().map(|given| {
        [
            ("idle", given.idle.place),
            ("response", given.response.place),
            ("stall", given.stall.place),
            ("backend_idle", given.backend_idle.place),
        ]
    });
    let limits = file.limits.get().map(|given| {
        [
            ("max_head", given.max_head.place),
            ("max_headers", given.max_headers.place),
            ("max_target", given.max_target.place),
            ("max_body", given.max_body.place),
            ("min_body_rate", given.min_body_rate.place),
            ("max_requests", given.max_requests.place),
            ("backend_max_idle", given.backend_max_idle.place),
        ]
    });
    let whole = [
        ("status_path", file.status_path.place),
        ("cause_header", file.cause_header.place),
        ("trust_forwarded", file.trust_forwarded.place),
        ("error_page", file.error_page.place),
    ];
    whole.into_iter().chain(timeouts.into_iter().flatten()).chain(limits.into_iter().flatten())
}

fn of_requests(pool: &model::Pool) -> [(&'static str, Option<Place>); 5] {
    let (retry, ejection) = (pool.retry.get(), pool.ejection.get());
    let other = pool.hash_key.read().is_some_and(|key| key != Key::Address);
    let cookie = pool.sticky.get().filter(|sticky| sticky.by.get() == Some(&model::StickyBy::Cookie));
    [
        ("hash_key", pool.hash_key.place.filter(|_| other)),
        ("by = \"cookie\"", cookie.and_then(|sticky| sticky.by.place)),
        ("try_timeout", retry.and_then(|retry| retry.try_timeout.place)),
        ("statuses", retry.and_then(|retry| retry.statuses.place)),
        ("statuses", ejection.and_then(|ejection| ejection.statuses.place)),
    ]
}
