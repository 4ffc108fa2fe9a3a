//! The cases, class by class, each with what evenkeel must do and the section that says so. R is RFC 9110, M is RFC 9112.

use crate::case::Class;

mod answer_bodies;
mod answer_heads;
mod answer_turns;
mod chunks;
mod codings;
mod connection;
mod fields;
mod host;
mod lengths;
mod smuggling;
mod start_line;
mod target;
mod turns;

/// Requests first, then what backends answer.
pub(crate) fn all() -> Vec<Class> {
    let groups = [
        lengths::classes(),
        codings::classes(),
        chunks::classes(),
        fields::classes(),
        host::classes(),
        target::classes(),
        start_line::classes(),
        connection::classes(),
        turns::classes(),
        smuggling::classes(),
        answer_heads::classes(),
        answer_bodies::classes(),
        answer_turns::classes(),
    ];
    groups.into_iter().flatten().collect()
}
