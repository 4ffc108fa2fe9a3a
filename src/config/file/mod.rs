//! The file: read from TOML, YAML or JSON, checked as a whole, and every error of it told at once.
//!
//! Each format is read into one tree of values that know their places; one serde model says what the tree may hold;
//! what is wrong with a value is noted with its place, and the reading goes on.

mod connection;
mod explain;
mod from_json;
mod from_toml;
mod from_yaml;
mod given;
mod health;
mod keys;
mod listener;
mod model;
mod names;
mod note;
mod pool;
mod rate;
mod read;
mod redirects;
mod route;
mod show;
mod tree;
mod unseen;
mod whole;
mod written;

use std::path::Path;

use log::LevelFilter;
use serde::Deserialize;

use super::{Config, Pool, bound_hashes};
pub use explain::{explain, summary};
use given::Given;
use model::File;
use note::{Format, Notes};
pub use note::{Report, Warning};
use read::Reader;
use tree::Node;

/// What a file says, checked and complete: what it leaves out has its default.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it says of the run.
    ///
    /// A sticky cookie's secret is empty where the file gives none. Its `pools` are the default one if the file names none; they are empty if it names none and nothing leads to one.
    pub config: Config,
    /// The least important messages that are logged; `None`: the file does not say.
    pub log_level: Option<LevelFilter>,
    /// Whether the file itself names listeners; if not, the environment may set the port.
    pub names_listeners: bool,
    /// Whether the file itself names pools.
    pub names_pools: bool,
    /// For each of those whether it sets the bound of a hash.
    pub sets_hash_bound: Vec<bool>,
}

/// All defaults as a TOML file to start from, commented: `#key = value` is a default, `## key = value` an example of
/// what is not there unless it is written.
#[must_use]
pub fn print_config() -> &'static str {
    include_str!("template.toml")
}

/// Reads and checks a file.
///
/// # Errors
/// The file cannot be read, or see [`load`].
pub fn open(path: &Path) -> Result<(Loaded, Vec<Warning>), Report> {
    let refuse = |reason: String| Report::whole(&path.display().to_string(), reason);
    let bytes =
        std::fs::read(path).map_err(|error| refuse(format!("cannot be read: {}", whole::said(&error))))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = memchr::memchr_iter(b'\n', valid).count() + 1;
        refuse(format!("line {line} is not UTF-8; save the file as UTF-8"))
    })?;
    load(path, &text)
}

/// Checks the text of a file; its format goes by the path's ending, and files that it names are looked for beside it.
///
/// # Errors
/// Everything that is wrong with it, with the places.
pub fn load(path: &Path, text: &str) -> Result<(Loaded, Vec<Warning>), Report> {
    let name = path.display().to_string();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase());
    let format = match ending.as_deref() {
        Some("toml") => Format::Toml,
        Some("yaml" | "yml") => Format::Yaml,
        Some("json") => Format::Json,
        _ => {
            let reason = "its ending names no format; call it .toml, .yaml, .yml or .json";
            return Err(Report::whole(&name, reason.to_owned()));
        }
    };
    let notes = Notes::new(format, text);
    let node = match format {
        Format::Toml => from_toml::parse(text, &notes),
        Format::Yaml => from_yaml::parse(text, &notes),
        Format::Json => from_json::parse(text, &notes),
    };
    let loaded = node.and_then(|node| build(&node, path.parent().unwrap_or(Path::new("")), &notes));
    let warnings = notes.finish(&name)?;
    // Without a note of why, there is something.
    loaded.map(|loaded| (loaded, warnings)).ok_or_else(|| Report::whole(&name, "cannot be read".to_owned()))
}

/// From the tree to what a run needs; what is wrong is noted.
fn build(node: &Node, directory: &Path, notes: &Notes) -> Option<Loaded> {
    let reader = Reader { node, key: "the file", key_span: node.span, notes };
    let file = Given::<File>::deserialize(reader).ok()?.value?;
    let timeouts = whole::timeouts(&file.timeouts, notes);
    let mut pools = pool::pools(&file.pool, timeouts.response, notes);
    if !file.pool.has_any() {
        pools.push(Pool::default());
    }
    let listeners = listener::listeners(&file, node.span, &pools, notes);
    unseen::warn_of_rates(&listeners, &file, notes);
    unseen::warn_of_file(&listeners, &file, notes);
    if file.pool.has_any() {
        listener::warn_of_unused(&listeners, &pools, &file.pool, notes);
        unseen::warn(&listeners, &file.pool, notes);
    } else if listeners.iter().all(|listener| listener.pools().next().is_none()) {
        pools.clear();
    }
    let sets_hash_bound: Vec<bool> = file.pool.each().map(|(pool, _)| pool.hash_bound.is_there()).collect();
    bound_hashes(&listeners, &mut pools, &sets_hash_bound);
    let default = Config::default();
    let config = Config {
        listeners,
        workers: file.workers.read().flatten().unwrap_or(default.workers),
        pin: file.pin.get().copied().unwrap_or(default.pin),
        busy_poll: file.busy_poll.get().copied().unwrap_or(default.busy_poll),
        pools,
        rate_limit: file
            .rate_limit
            .get()
            .and_then(|rate| rate::rate_limit(rate, file.rate_limit.span(), notes)),
        drain_timeout: file.drain_timeout.or(default.drain_timeout),
        status_path: file.status_path.or(default.status_path),
        cause_header: file.cause_header.or(default.cause_header),
        timeouts,
        limits: whole::limits(&file.limits, notes),
        trust: whole::trust(&file.trust_forwarded, notes),
        resolve_interval: file.resolve_interval.or(default.resolve_interval),
        error_pages: whole::error_pages(&file.error_page, directory, notes),
        admin: None,
        access_log: whole::access_log(&file.access_log, directory, notes),
    };
    let admin = whole::admin(&file.admin, &config, notes);
    Some(Loaded {
        log_level: file.log_level.get().copied().map(whole::log_level),
        names_listeners: file.listener.has_any(),
        names_pools: file.pool.has_any(),
        sets_hash_bound,
        config: Config { admin, ..config },
    })
}

#[cfg(test)]
mod tests;
