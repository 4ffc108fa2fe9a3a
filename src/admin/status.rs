//! The short status: which backends are alive.

use serde::Serialize;

use crate::balance::Table;

#[derive(Serialize)]
struct Short {
    backends: Vec<Backend>,
    workers: Vec<Worker>,
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

/// `{"backends":[{"url":"http://localhost:8081","alive":true}, …],"workers":[{"connections":3}, …]}` and a line
/// end. `connections` are each worker's open client connections.
pub fn short(table: &Table, connections: impl Iterator<Item = u32>) -> String {
    let backends = table.backends().iter();
    let backends = backends.map(|b| Backend { url: b.url().to_string(), alive: b.is_up() }).collect();
    let workers = connections.map(|connections| Worker { connections }).collect();
    let mut text =
        serde_json::to_string(&Short { backends, workers }).expect("strings and booleans are always JSON");
    text.push('\n');
    text
}
