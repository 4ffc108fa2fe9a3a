//! Keys of a pool that say something of requests, where only connections come to it as a whole.

use super::given::{Many, Place};
use super::model;
use super::note::Notes;
use crate::config::{Key, Listener, Mode};

/// Notes what has no effect in pools that only listeners of mode tcp lead to.
pub(super) fn warn(listeners: &[Listener], given: &Many<model::Pool>, notes: &Notes) {
    let leads = |mode: Mode, pool: usize| {
        listeners.iter().any(|listener| listener.mode == mode && listener.pools().any(|led| led == pool))
    };
    for (i, (pool, _)) in given.each().enumerate() {
        if leads(Mode::Http, i) || !leads(Mode::Tcp, i) {
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
