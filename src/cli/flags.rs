//! The flags themselves: their names, their help text, and which value goes with which.

use argh::{ArgsInfo, FlagInfo, FlagInfoKind, FromArgs, Optionality};

use crate::config::quoted;

const NAME: &str = env!("CARGO_PKG_NAME");
const HELP: [&str; 3] = ["--help", "-h", "help"];
/// A misspelt flag is at most this many letters from the one meant.
const NEAR: usize = 2;

#[derive(FromArgs, ArgsInfo, Debug, Default)]
#[argh(
    description = "Spreads HTTP requests over backends, with one event loop on each core. Without a
flag it listens on port 8080 and balances over three local backends; --demo
brings backends of its own.",
    help_triggers("--help", "-h", "help"),
    usage = "[--listen ADDR:PORT]... [--port N] [--backends LIST]
         [--workers N] [--pin] [--busy-poll] [--health-check-interval DUR]
         [--health-check-timeout DUR] [--retries N] [--retry-delay DUR]
         [--max-fails N] [--trust-forwarded LIST] [--max-head BYTES]
         [--max-headers N] [--max-target BYTES] [--max-body BYTES]
         [--min-body-rate BYTES] [--max-requests N] [--max-connections N]
         [--max-connections-per-client N] [--backend-max-connections N]
         [--backend-max-idle N] [--head-timeout DUR] [--idle-timeout DUR]
         [--connect-timeout DUR] [--response-timeout DUR]
         [--stall-timeout DUR] [--tunnel-timeout DUR]
         [--backend-idle-timeout DUR] [--drain-timeout DUR]
         [--status-path P] [--log-level error|warn|info|debug] [--demo]
         [--version] [--help]",
    example = "{command_name} --demo",
    example = "{command_name} --port 80 --backends http://10.0.0.1:8080,http://10.0.0.2:8080",
    example = "{command_name} --listen 127.0.0.1:8080 --listen [::1]:8080 --workers 4 --pin",
    note = "LIST is comma-separated. A backend is http://host:port or host:port; an IPv6",
    note = "host stands in brackets, like [::1]:8081. A network is an address or a CIDR,",
    note = "like 10.0.0.0/8 or 2001:db8::/32.",
    note = "DUR is 500ms, 2s, 1m, 1h or a bare number of seconds; 1.5s is fine too.",
    note = "BYTES is a bare number or has a k, m or g, powers of 1024, like 32k; 32kb and",
    note = "32KiB are the same.",
    note = "A value may follow its flag as the next word or after a =, as in --port=80.",
    note = "PROXY_PORT in the environment sets the port; --port and --listen win over it.",
    note = "SIGTERM or SIGINT drains and ends the run, a second one ends it at once.",
    note = "Exit codes: 0 after a drain, 2 when it cannot start as asked."
)]
pub(super) struct Flags {
    /// an address and port to listen on, as 127.0.0.1:8080 or [::]:8080; may be given more than once
    #[argh(option, arg_name = "ADDR:PORT")]
    pub(super) listen: Vec<String>,
    /// port to listen on, on all addresses, IPv4 and IPv6; 0 takes a free one (default 8080)
    #[argh(option, arg_name = "N")]
    pub(super) port: Option<String>,
    /// backends to balance over, comma-separated
    /// (default http://localhost:8081,http://localhost:8082,http://localhost:8083)
    #[argh(option, arg_name = "LIST")]
    pub(super) backends: Option<String>,
    /// number of worker threads, 1 to 1024 (default: the cores this process may use)
    #[argh(option, arg_name = "N")]
    pub(super) workers: Option<String>,
    /// pin each worker to a core of its own
    #[argh(switch)]
    pub(super) pin: bool,
    /// poll without sleeping: lowest latency, a whole core for each worker
    #[argh(switch)]
    pub(super) busy_poll: bool,
    /// time between two health checks of a backend (default 10s)
    #[argh(option, arg_name = "DUR")]
    pub(super) health_check_interval: Option<String>,
    /// time after which a health check that has not connected has failed (default 2s)
    #[argh(option, arg_name = "DUR")]
    pub(super) health_check_timeout: Option<String>,
    /// how often a failed request is tried again at most, 0 to 15 (default 3)
    #[argh(option, arg_name = "N")]
    pub(super) retries: Option<String>,
    /// wait before the same backend is tried again; another one is tried at once (default 10ms)
    #[argh(option, arg_name = "DUR")]
    pub(super) retry_delay: Option<String>,
    /// failures in a row that take a backend out until a health check succeeds (default 3)
    #[argh(option, arg_name = "N")]
    pub(super) max_fails: Option<String>,
    /// clients, by address or CIDR, whose own X-Forwarded-* and X-Request-Id are kept; those of all
    /// others are replaced (default: nobody)
    #[argh(option, arg_name = "LIST")]
    pub(super) trust_forwarded: Option<String>,
    /// size of a request's or response's head, 1k to 60k (default 32k)
    #[argh(option, arg_name = "BYTES")]
    pub(super) max_head: Option<String>,
    /// header fields in a head, 1 to 128 (default 100)
    #[argh(option, arg_name = "N")]
    pub(super) max_headers: Option<String>,
    /// size of a request's target, 64 to --max-head (default 8k, or --max-head if that is less)
    #[argh(option, arg_name = "BYTES")]
    pub(super) max_target: Option<String>,
    /// size of a request's body; 0: no limit (default 0)
    #[argh(option, arg_name = "BYTES")]
    pub(super) max_body: Option<String>,
    /// what a request's body must bring each second; 0: no limit (default 100)
    #[argh(option, arg_name = "BYTES")]
    pub(super) min_body_rate: Option<String>,
    /// requests on one client connection; 0: no limit (default 0)
    #[argh(option, arg_name = "N")]
    pub(super) max_requests: Option<String>,
    /// client connections in all; 0: as many as the descriptors allow (default 0)
    #[argh(option, arg_name = "N")]
    pub(super) max_connections: Option<String>,
    /// connections of one client address; 0: no limit (default 0)
    #[argh(option, arg_name = "N")]
    pub(super) max_connections_per_client: Option<String>,
    /// connections to each backend, of all workers together; 0: no limit (default 0)
    #[argh(option, arg_name = "N")]
    pub(super) backend_max_connections: Option<String>,
    /// unused connections that one worker keeps to one backend; 0: none (default 512)
    #[argh(option, arg_name = "N")]
    pub(super) backend_max_idle: Option<String>,
    /// time for a whole request head, from the accept or its first byte (default 10s)
    #[argh(option, arg_name = "DUR")]
    pub(super) head_timeout: Option<String>,
    /// time a client connection is kept without a request (default 60s)
    #[argh(option, arg_name = "DUR")]
    pub(super) idle_timeout: Option<String>,
    /// time for a connect to a backend (default 2s)
    #[argh(option, arg_name = "DUR")]
    pub(super) connect_timeout: Option<String>,
    /// time from a request sent to the head of its response (default 60s)
    #[argh(option, arg_name = "DUR")]
    pub(super) response_timeout: Option<String>,
    /// time in which a body, either way, may stand still (default 30s)
    #[argh(option, arg_name = "DUR")]
    pub(super) stall_timeout: Option<String>,
    /// time in which a WebSocket or other tunnel may be quiet (default 1h)
    #[argh(option, arg_name = "DUR")]
    pub(super) tunnel_timeout: Option<String>,
    /// time an unused connection to a backend is kept (default 50s)
    #[argh(option, arg_name = "DUR")]
    pub(super) backend_idle_timeout: Option<String>,
    /// how long requests in flight may take to finish when the run ends (default 30s)
    #[argh(option, arg_name = "DUR")]
    pub(super) drain_timeout: Option<String>,
    /// path that answers which backends are alive, as JSON; "" turns it off (default /lb-status)
    #[argh(option, arg_name = "P")]
    pub(super) status_path: Option<String>,
    /// how much to log: error, warn, info or debug (default info)
    #[argh(option, arg_name = "LEVEL")]
    pub(super) log_level: Option<String>,
    /// start three backends on free local ports and balance over them
    #[argh(switch)]
    pub(super) demo: bool,
    /// print the version
    #[argh(switch, short = 'V')]
    pub(super) version: bool,
}

/// What the arguments ask for, before any value is looked at.
#[derive(Debug)]
pub(super) enum Asked {
    Help(String),
    Run(Box<Flags>),
}

/// Matches arguments to flags; the first `--help` ends the reading.
///
/// argh's own messages are prose of several shapes, so every argument it could complain of is found before it
/// sees them: it then only fills in the fields.
pub(super) fn read(arguments: &[&str]) -> Result<Asked, String> {
    let known = Flags::get_args_info().flags;
    let mut words: Vec<&str> = Vec::with_capacity(arguments.len());
    let mut given: Vec<&str> = Vec::new();
    let mut rest = arguments.iter().copied();
    while let Some(argument) = rest.next() {
        if HELP.contains(&argument) {
            return Ok(Asked::Help(help()));
        }
        let (name, attached) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (argument, None),
        };
        let flag = known.iter().find(|flag| is(flag, name)).ok_or_else(|| unknown(argument, name, known))?;
        let FlagInfoKind::Option { arg_name } = flag.kind else {
            match attached {
                Some(value) => return Err(format!("{} takes no value, not {}", flag.long, quoted(value))),
                None => words.push(flag.long),
            }
            continue;
        };
        if given.contains(&flag.long) && flag.optionality != Optionality::Repeating {
            return Err(format!("{} is given twice; give it once", flag.long));
        }
        given.push(flag.long);
        let value = attached.or_else(|| rest.next()).ok_or_else(|| needs(flag, arg_name, "nothing"))?;
        if attached.is_none() && known.iter().any(|other| is(other, value.split('=').next().unwrap_or(value)))
        {
            return Err(needs(flag, arg_name, value));
        }
        words.extend([flag.long, value]);
    }
    Flags::from_args(&[NAME], &words)
        .map(|flags| Asked::Run(Box::new(flags)))
        .map_err(|exit| one_line(&exit.output))
}

fn is(flag: &FlagInfo<'_>, name: &str) -> bool {
    name == flag.long
        || flag.short.is_some_and(|short| name.strip_prefix('-').is_some_and(|n| n.chars().eq([short])))
}

fn needs(flag: &FlagInfo<'_>, arg_name: &str, follower: &str) -> String {
    format!("{} needs a value, {arg_name}, but {follower} follows it", flag.long)
}

/// The program's name and version.
pub(super) fn version() -> String {
    format!("{NAME} {}", env!("CARGO_PKG_VERSION"))
}

fn help() -> String {
    match Flags::from_args(&[NAME], &["--help"]) {
        Err(exit) => exit.output.trim_end().to_owned(),
        Ok(_) => version(),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn unknown(argument: &str, name: &str, known: &[FlagInfo<'_>]) -> String {
    if !argument.starts_with('-') || argument == "--" || argument == "-" {
        return format!("{} is not a flag; {NAME} takes flags only, see {NAME} --help", quoted(argument));
    }
    match nearest(name, known) {
        Some(near) => format!("unknown flag {}; did you mean {near}?", quoted(name)),
        None => format!("unknown flag {}; see {NAME} --help", quoted(name)),
    }
}

/// The known flag that `name` was most likely meant to be: a slip of a few letters, or its beginning.
fn nearest<'a>(name: &str, known: &[FlagInfo<'a>]) -> Option<&'a str> {
    let name = name.to_ascii_lowercase().replace('_', "-");
    let letters = name.trim_start_matches('-');
    if letters.len() < 2 {
        return None;
    }
    let by_distance = known
        .iter()
        .map(|flag| (distance(letters, flag.long.trim_start_matches('-')), flag.long))
        .filter(|(distance, _)| *distance <= NEAR && *distance < letters.len() - 1)
        .min_by_key(|(distance, _)| *distance);
    let by_beginning = || known.iter().find(|flag| flag.long.trim_start_matches('-').starts_with(letters));
    by_distance.map(|(_, long)| long).or_else(|| by_beginning().map(|flag| flag.long))
}

/// Letters to insert, delete or replace to get from one to the other (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    if from.len().abs_diff(to.len()) > NEAR {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.bytes().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}
