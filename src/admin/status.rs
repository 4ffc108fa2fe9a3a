//! The short status: which backends are alive.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::access::Losses;
use crate::balance::Table;
use crate::exchange::cause::CODES;
use crate::stats::{Block, Counter};

#[derive(Serialize)]
struct Short {
    backends: Vec<Backend>,
    workers: Vec<Worker>,
    counts: BTreeMap<&'static str, u64>,
    /// Exchanges that ended other than well, by cause; causes that never came are left out.
    failures: BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
struct Worker {
    connections: u32,
}

#[derive(Serialize)]
struct Backend {
    url: String,
    alive: bool,
}

/// `{"backends":[{"url":"http://localhost:8081","alive":true}, …],"workers":[{"connections":3}, …],
/// "counts":{"requests":9, …},"failures":{"no-backend":1}}` and a line end. `connections` are each worker's open client connections.
pub fn short(
    table: &Table,
    connections: impl Iterator<Item = u32>,
    stats: &[Arc<Block>],
    losses: &Losses,
) -> String {
    let backends = table.backends().iter().filter(|backend| !backend.is_gone());
    let backends = backends.map(|b| Backend { url: b.url().to_string(), alive: b.is_up() }).collect();
    let count = |code| stats.iter().map(|block| block.failures(code)).sum::<u64>();
    let counted = CODES.iter().enumerate().map(|(i, &code)| (code, count(i)));
    let failures = counted.filter(|&(_, n)| n > 0).collect();
    let sum = |counter| stats.iter().map(|block| block.get(counter)).sum::<u64>();
    let lost = ("access_log_lost", losses.lines());
    let counts = Counter::TOLD.iter().map(|&(name, counter)| (name, sum(counter))).chain([lost]).collect();
    let workers = connections.map(|connections| Worker { connections }).collect();
    let mut text = serde_json::to_string(&Short { backends, workers, counts, failures })
        .expect("strings and booleans are always JSON");
    text.push('\n');
    text
}
