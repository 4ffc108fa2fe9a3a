//! Whether requests should be sent here.

use serde::Serialize;

use super::Sources;
use super::answer::Answer;
use crate::balance::Table;

#[derive(Serialize)]
struct Told {
    ready: bool,
    reasons: Vec<String>,
}

/// 200, or 503 with the reasons.
pub(super) fn answer(sources: &Sources) -> Answer {
    let reasons = reasons(sources, &(sources.table)());
    let ready = reasons.is_empty();
    Answer::json(if ready { 200 } else { 503 }, &Told { ready, reasons })
}

/// What keeps requests from being served; empty: nothing.
pub(super) fn reasons(sources: &Sources, table: &Table) -> Vec<String> {
    let mut reasons = Vec::new();
    if (sources.draining)() {
        reasons.push("draining".to_owned());
    }
    if (sources.listeners)().is_empty() {
        reasons.push("no listener is open".to_owned());
    }
    let unserved = table.pools().iter().filter(|pool| !pool.is_gone() && pool.eligible(table) == 0);
    reasons.extend(unserved.map(|pool| format!("pool {}: no backend is eligible", pool.config().name)));
    reasons
}
