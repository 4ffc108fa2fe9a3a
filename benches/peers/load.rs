//! The closed loop: wrk, its scenarios, and what it prints.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::process::Process;

/// One kind of load.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// One line for the reader of the table.
    pub(crate) about: &'static str,
    path: &'static str,
    connections: usize,
    extra: Extra,
}

enum Extra {
    Nothing,
    Post4k,
    Headers16,
    Close,
}

const fn get(
    name: &'static str,
    about: &'static str,
    path: &'static str,
    connections: usize,
    extra: Extra,
) -> Scenario {
    Scenario { name, about, path, connections, extra }
}

/// Every scenario, in the order of the table.
pub(crate) const SCENARIOS: [Scenario; 8] = [
    get("small", "128 B answers, 64 connections", "/b/128", 64, Extra::Nothing),
    get("c1", "128 B answers, 1 connection", "/b/128", 1, Extra::Nothing),
    get("c512", "128 B answers, 512 connections", "/b/128", 512, Extra::Nothing),
    get("16k", "16 KiB answers, 64 connections", "/b/16384", 64, Extra::Nothing),
    get("1m", "1 MiB answers, 16 connections", "/b/1048576", 16, Extra::Nothing),
    get("post4k", "POST of 4 KiB, 64 connections", "/b/128", 64, Extra::Post4k),
    get("headers", "16 more request headers, 64 connections", "/b/128", 64, Extra::Headers16),
    get("close", "a new client connection each request, 64 at a time", "/b/128", 64, Extra::Close),
];

/// What wrk printed.
pub(crate) struct Report {
    pub(crate) requests: u64,
    pub(crate) seconds: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// Socket errors, time-outs and answers that are not 2xx or 3xx.
    pub(crate) errors: u64,
}

impl Scenario {
    /// Runs wrk on `cpu` against a port of this machine.
    pub(crate) fn drive(
        &self,
        wrk: &Path,
        cpu: usize,
        port: u16,
        secs: u64,
        dir: &Path,
    ) -> Result<Report, String> {
        let mut argv = vec![wrk.as_os_str().to_owned()];
        let mut push = |s: String| argv.push(OsString::from(s));
        push("-t1".into());
        push(format!("-c{}", self.connections));
        push(format!("-d{secs}s"));
        push("--latency".into());
        match self.extra {
            Extra::Nothing => {}
            Extra::Post4k => {
                push("-s".into());
                push(post_script(dir)?.display().to_string());
            }
            Extra::Headers16 => {
                for index in 0..16 {
                    push("-H".into());
                    push(format!("X-Trace-{index}: {index:0>32}"));
                }
            }
            Extra::Close => {
                push("-H".into());
                push("Connection: close".into());
            }
        }
        push(format!("http://127.0.0.1:{port}{}", self.path));
        let printed = Process::run("wrk", cpu, &argv, dir, Duration::from_secs(secs + 20))?;
        parse(&printed).ok_or_else(|| format!("wrk did not report:\n{printed}"))
    }
}

fn post_script(dir: &Path) -> Result<PathBuf, String> {
    let file = dir.join("post.lua");
    let script = "wrk.method = \"POST\"\nwrk.body = string.rep(\"y\", 4096)\n";
    fs::write(&file, script).map_err(|e| format!("{}: {e}", file.display()))?;
    Ok(file)
}

fn parse(printed: &str) -> Option<Report> {
    let mut report = Report { requests: 0, seconds: 0.0, p50_ms: 0.0, p99_ms: 0.0, errors: 0 };
    for line in printed.lines().map(str::trim) {
        if let Some((requests, rest)) = line.split_once(" requests in ") {
            report.requests = requests.parse().ok()?;
            report.seconds = millis(rest.split(',').next()?)? / 1000.0;
        } else if let Some(value) = line.strip_prefix("50%") {
            report.p50_ms = millis(value.trim())?;
        } else if let Some(value) = line.strip_prefix("99%") {
            report.p99_ms = millis(value.trim())?;
        } else if line.starts_with("Socket errors:") || line.starts_with("Non-2xx or 3xx responses:") {
            let numbers = line.split([' ', ',']).filter_map(|w| w.parse::<u64>().ok());
            report.errors += numbers.sum::<u64>();
        }
    }
    (report.seconds > 0.0 && report.requests > 0).then_some(report)
}

/// A time as wrk prints it.
fn millis(text: &str) -> Option<f64> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (value, unit) = text.split_at(unit_at);
    let factor = match unit {
        "us" => 1e-3,
        "ms" => 1.0,
        "s" => 1e3,
        "m" => 60e3,
        _ => return None,
    };
    Some(value.parse::<f64>().ok()? * factor)
}
