//! What a running balancer says of itself on its status path, and what the kernel says of it.

use serde_json::Value;

use super::{Evenkeel, SOON, eventually, get};

impl Evenkeel {
    /// The short status, asked for on a connection of its own.
    #[track_caller]
    pub(crate) fn status(&self) -> Value {
        let response = get(self.address, "/lb-status").expect("the status");
        serde_json::from_str(&response.text()).expect("JSON")
    }

    /// Exchanges that ended for the cause of that code.
    #[track_caller]
    pub(crate) fn failures(&self, code: &str) -> u64 {
        self.status()["failures"][code].as_u64().unwrap_or(0)
    }

    /// Waits until so many exchanges have ended for that cause.
    #[track_caller]
    pub(crate) fn await_failures(&self, code: &str, count: u64) {
        eventually(SOON, &format!("{count} {code} in {}", self.status()["failures"]), || {
            self.failures(code) == count
        });
    }

    /// Client connections that each worker has open; the one that asks is among them.
    #[track_caller]
    pub(crate) fn open(&self) -> Vec<u64> {
        open_in(&self.status())
    }

    /// Descriptors that the process has open: all but ends of pipes, and ends of pipes.
    pub(crate) fn descriptors(&self) -> (usize, usize) {
        let all = std::fs::read_dir(format!("/proc/{}/fd", self.id())).expect("its descriptors");
        let named = all.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        let (pipes, others): (Vec<_>, Vec<_>) =
            named.partition(|name| name.to_string_lossy().starts_with("pipe:"));
        (others.len(), pipes.len())
    }

    /// Memory that it has resident now, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let path = format!("/proc/{}/status", self.id());
        let status = std::fs::read_to_string(path).expect("process status");
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).expect("VmRSS");
        let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kibibytes * 1024
    }
}

/// Client connections that each worker has open, by a status.
pub(crate) fn open_in(status: &Value) -> Vec<u64> {
    let workers = status["workers"].as_array().expect("workers");
    workers.iter().map(|worker| worker["connections"].as_u64().expect("a count")).collect()
}
