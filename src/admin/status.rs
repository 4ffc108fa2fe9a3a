//! The short status: which backends are alive.

use serde::Serialize;

use crate::balance::Table;

#[derive(Serialize)]
struct Short {
    backends: Vec<Backend>,
}

#[derive(Serialize)]
struct Backend {
    url: String,
    alive: bool,
}

/// `{"backends":[{"url":"http://localhost:8081","alive":true}, …]}` and a line end.
pub fn short(table: &Table) -> String {
    let backends = table.backends().iter();
    let backends = backends.map(|b| Backend { url: b.url().to_string(), alive: b.is_up() }).collect();
    let mut text = serde_json::to_string(&Short { backends }).expect("strings and booleans are always JSON");
    text.push('\n');
    text
}
