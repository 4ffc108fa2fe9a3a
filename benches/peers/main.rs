//! Evenkeel, nginx and HAProxy side by side on one machine: `cargo bench --bench peers -- --help`.
//! How to read what it prints: docs/performance.md.

mod latency;
mod load;
mod machine;
mod origin;
mod peers;
mod ports;
mod process;
mod rounds;
mod table;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use argh::FromArgs;

use crate::load::{SCENARIOS, Scenario};
use crate::machine::Machine;
use crate::origin::Origin;
use crate::peers::{Kind, Peer};
use crate::process::Process;
use crate::rounds::Rounds;

/// Fewer in a round and p99.9 rests on less than a hundred of them.
const SAMPLES: u64 = 100_000;
const INSTALL: &str = "apt-get install -y nginx haproxy wrk";

/// Evenkeel, nginx and HAProxy side by side: CPU time per request, requests/s and latency, as a markdown table.
#[derive(FromArgs)]
struct Options {
    /// rounds; every proxy has a turn in each (default 5)
    #[argh(option, default = "5")]
    rounds: usize,
    /// seconds of each measured window (default 3)
    #[argh(option, default = "3")]
    secs: u64,
    /// comma-separated: small, c1, c512, 16k, 1m, post4k, headers, close (default all)
    #[argh(option)]
    scenario: Option<String>,
    /// instead of the scenarios: open loop at this many requests/s, latency from the moment each was due
    #[argh(option)]
    latency: Option<u32>,
    /// comma-separated: evenkeel, nginx, haproxy (default: all that are installed)
    #[argh(option)]
    only: Option<String>,
    /// another evenkeel than the one just built
    #[argh(option)]
    evenkeel: Option<PathBuf>,
    /// another nginx than the one on the path
    #[argh(option)]
    nginx: Option<PathBuf>,
    /// another haproxy than the one on the path
    #[argh(option)]
    haproxy: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let error = match args.first().and_then(|a| a.to_str()) {
        Some(process::LAUNCH) => process::launch(&args[1..]),
        Some(origin::ORIGIN) => {
            let nonce = args.get(1).and_then(|n| n.to_str()).unwrap_or_default();
            format!("origin: {}", origin::serve(nonce))
        }
        _ => match options(&args).and_then(run) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(error) => error,
        },
    };
    eprintln!("peers: {error}");
    ExitCode::FAILURE
}

/// Reads the arguments, without the `--bench` that cargo puts behind them; `--help` ends the process.
fn options(args: &[OsString]) -> Result<Options, String> {
    let args: Vec<_> = args.iter().map(|arg| arg.to_string_lossy()).filter(|arg| arg != "--bench").collect();
    let args: Vec<&str> = args.iter().map(|arg| &**arg).collect();
    Options::from_args(&["cargo bench --bench peers --"], &args).map_err(|exit| {
        if exit.status.is_ok() {
            println!("{}", exit.output);
            std::process::exit(0);
        }
        exit.output.trim_end().to_owned()
    })
}

fn run(options: Options) -> Result<(), String> {
    let scenarios = chosen(&options)?;
    process::catch_signals()?;
    let machine = Machine::take()?;
    if machine.proxy_cpu == machine.load_cpu {
        eprintln!("peers: only one CPU: proxy and load share it, expect wide spreads");
    }
    let dir = Directory::make()?;
    let wrk = peers::which("wrk").ok_or_else(|| format!("wrk is not installed: {INSTALL}"))?;
    let mut peers = find(&options, &machine, &dir.0)?;
    println!("{}", title(&options, &peers, &wrk, &machine, &dir.0)?);
    let origin = Origin::start(&machine, &dir.0)?;
    let rounds =
        Rounds { machine, origin, wrk, dir: dir.0.clone(), rounds: options.rounds, secs: options.secs };
    if let Some(rate) = options.latency {
        if u64::from(rate) * options.secs < SAMPLES {
            eprintln!("peers: p99.9 wants {SAMPLES} requests a round: more --secs");
        }
        peers.extend(Peer::find(Kind::Direct, None, &rounds.machine, &dir.0));
        table::latency(&peers, &rounds.latency(&peers, rate)?, rate);
        return Ok(());
    }
    let mut summary = table::Summary::default();
    for scenario in scenarios {
        let outcome = rounds.throughput(&peers, scenario)?;
        summary.scenario(scenario, &peers, &outcome);
    }
    summary.print(&peers);
    Ok(())
}

/// Checks the numbers and names the scenarios.
fn chosen(options: &Options) -> Result<Vec<&'static Scenario>, String> {
    if options.rounds == 0 || options.secs == 0 || options.latency == Some(0) {
        return Err("--rounds, --secs and --latency must be at least 1".into());
    }
    let Some(names) = &options.scenario else { return Ok(SCENARIOS.iter().collect()) };
    let all = SCENARIOS.map(|s| s.name).join(", ");
    let find = |name: &str| SCENARIOS.iter().find(|s| s.name == name);
    let known = |name: &str| find(name).ok_or_else(|| format!("--scenario {name}: must be one of {all}"));
    names.split(',').map(|name| known(name.trim())).collect()
}

/// The proxies of this run, evenkeel first and once more at the end as the control.
fn find(options: &Options, machine: &Machine, dir: &Path) -> Result<Vec<Peer>, String> {
    let built = || PathBuf::from(env!("CARGO_BIN_EXE_evenkeel"));
    let known = [
        ("evenkeel", Kind::Evenkeel, Some(options.evenkeel.clone().unwrap_or_else(built))),
        ("nginx", Kind::Nginx, options.nginx.clone()),
        ("haproxy", Kind::Haproxy, options.haproxy.clone()),
    ];
    let only: Option<Vec<&str>> = options.only.as_deref().map(|o| o.split(',').map(str::trim).collect());
    if let Some(name) = only.iter().flatten().find(|o| known.iter().all(|(name, ..)| name != *o)) {
        return Err(format!("--only {name}: must be one of evenkeel, nginx, haproxy"));
    }
    let mut peers = Vec::new();
    for (name, kind, given) in known {
        if only.as_ref().is_some_and(|only| !only.contains(&name)) {
            continue;
        }
        match Peer::find(kind, given.clone(), machine, dir) {
            Some(peer) => peers.push(peer),
            None => match given {
                Some(path) => return Err(format!("--{name} {}: no such program", path.display())),
                None if only.is_some() => return Err(format!("{name} is not installed: {INSTALL}")),
                None => eprintln!("peers: {name} is not installed and is left out: {INSTALL}"),
            },
        }
    }
    let again = peers.iter().find(|p| p.kind == Kind::Evenkeel).map(Peer::control);
    peers.extend(again);
    Ok(peers)
}

/// What the reader of a table must know: versions, machine, length and date.
fn title(
    options: &Options,
    peers: &[Peer],
    wrk: &Path,
    machine: &Machine,
    dir: &Path,
) -> Result<String, String> {
    let argv = [wrk.into(), OsString::from("-v")];
    let said = Process::run("wrk-version", machine.load_cpu, &argv, dir, Duration::from_secs(5))?;
    let mut versions: Vec<String> =
        peers.iter().filter(|p| p.name != "evenkeel again").map(|p| p.version.clone()).collect();
    versions.push(said.split_whitespace().take(2).collect::<Vec<_>>().join(" "));
    let Options { rounds, secs, .. } = options;
    Ok(format!(
        "{}; {}; proxy with one worker on CPU {}, wrk and origin on CPU {}; {rounds} rounds of {secs} s; {}",
        versions.join(", "),
        machine.name,
        machine.proxy_cpu,
        machine.load_cpu,
        httpdate::fmt_http_date(SystemTime::now()),
    ))
}

/// A directory for configurations and logs that goes when the run ends.
struct Directory(PathBuf);

impl Directory {
    fn make() -> Result<Directory, String> {
        let path = std::env::temp_dir().join(format!("evenkeel-peers-{}", std::process::id()));
        std::fs::create_dir(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(Directory(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
