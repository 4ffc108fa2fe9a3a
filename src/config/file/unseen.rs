//! Keys that say something of requests, where only connections come as a whole.

use super::given::{Many, Place};
use super::model;
use super::note::Notes;
use crate::config::{Key, Listener, Mode, Pool};

/// Listeners lead to this pool, and all that do are of mode tcp.
fn has_connections_alone(listeners: &[Listener], pool: usize) -> bool {
    let leads = |mode: Mode| {
        listeners.iter().any(|listener| listener.mode == mode && listener.pools().any(|led| led == pool))
    };
    leads(Mode::Tcp) && !leads(Mode::Http)
}

/// Takes the bound that nobody set from pools that only listeners of mode tcp lead to.
pub(super) fn unbind(listeners: &[Listener], given: &Many<model::Pool>, pools: &mut [Pool]) {
    for (i, (pool, (given, _))) in pools.iter_mut().zip(given.each()).enumerate() {
        if !given.hash_bound.is_there() && has_connections_alone(listeners, i) {
            pool.algorithm.unbind();
        }
    }
}

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
