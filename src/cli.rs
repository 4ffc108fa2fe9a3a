//! The command line: arguments and environment in, a checked [`Config`] or one clear line out.

mod arguments;
mod balancing;
mod bounds;
mod clients;
mod flags;
mod trust;

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::time::Duration;

use log::LevelFilter;

use crate::config::{self, Config, Listener, digits, quoted};
use crate::limits;
use arguments::Asked;
use flags::Flags;

const PORT_VARIABLE: &str = "PROXY_PORT";
/// The clocks of poll and the log go by the millisecond; probes at less would be a busy loop.
const DURATION_MIN: Duration = Duration::from_millis(1);

/// What the command line asks of the process.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "made once in the life of a process")]
pub enum Outcome {
    /// Balance.
    Run {
        /// Everything checked; with `demo` the backends are the default ones, to be replaced.
        config: Config,
        /// The least important messages that are still logged.
        log_level: LevelFilter,
        /// Start backends of our own and balance over them.
        demo: bool,
    },
    /// Print this on stdout, without a line break at its end, and exit with 0.
    Print(String),
    /// Print this one line on stderr, without a line break at its end, and exit with 2.
    Refuse(String),
}

/// Reads the arguments (without the program's name) and looks up what it needs in the environment.
///
/// Any bytes may come in; what cannot be used is refused by a line that names the flag and the value, what was
/// wrong and what would be right.
pub fn parse<A: AsRef<OsStr>>(arguments: &[A], environment: &dyn Fn(&str) -> Option<OsString>) -> Outcome {
    match try_parse(arguments, environment) {
        Ok(outcome) => outcome,
        Err(line) => Outcome::Refuse(line),
    }
}

fn try_parse<A: AsRef<OsStr>>(
    arguments: &[A],
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Outcome, String> {
    // No flag or value takes the character that stands in for bad bytes: it is refused with its flag named.
    let arguments: Vec<_> = arguments.iter().map(|argument| argument.as_ref().to_string_lossy()).collect();
    let arguments: Vec<&str> = arguments.iter().map(|argument| &**argument).collect();
    let flags = match arguments::read(&arguments)? {
        Asked::Help(text) => return Ok(Outcome::Print(text)),
        Asked::Run(flags) if flags.version => return Ok(Outcome::Print(arguments::version())),
        Asked::Run(flags) => flags,
    };
    if flags.demo {
        let given = [("--backends", flags.backends.is_some()), ("--backup", flags.backup.is_some())];
        let reason = "and --demo exclude each other: --demo brings its own backends; give one or the other";
        needless(&given, reason)?;
    }
    let log_level = value("--log-level", &flags.log_level, log_level)?.unwrap_or(LevelFilter::Info);
    let demo = flags.demo;
    Ok(Outcome::Run { config: config(&flags, environment)?, log_level, demo })
}

fn config(flags: &Flags, environment: &dyn Fn(&str) -> Option<OsString>) -> Result<Config, String> {
    let default = Config::default();
    let workers =
        value("--workers", &flags.workers, |text| config::parse_count(text, 1..=limits::WORKERS_MAX as u32))?;
    let limits = bounds::limits(flags, default.limits)?;
    let timeouts = bounds::timeouts(flags, default.timeouts)?;
    let pool = balancing::pool(flags, &timeouts, environment)?;
    let status_path = value("--status-path", &flags.status_path, config::parse_status_path)?;
    let trust = match &flags.trust_forwarded {
        Some(list) => config::parse_networks(list).map_err(|line| format!("--trust-forwarded {line}"))?,
        None => default.trust,
    };
    Ok(Config {
        listeners: listen(flags, environment)?.into_iter().map(Listener::new).collect(),
        workers: workers.map_or(default.workers, |workers| workers as usize),
        pin: flags.pin,
        busy_poll: flags.busy_poll,
        pools: vec![pool],
        rate_limit: clients::rate_limit(flags)?,
        resolve_interval: default.resolve_interval,
        error_pages: default.error_pages,
        admin: default.admin,
        access_log: default.access_log,
        drain_timeout: value("--drain-timeout", &flags.drain_timeout, config::parse_duration)?
            .unwrap_or(default.drain_timeout),
        status_path: status_path.unwrap_or(default.status_path),
        timeouts,
        limits,
        trust,
    })
}

fn listen(flags: &Flags, environment: &dyn Fn(&str) -> Option<OsString>) -> Result<Vec<SocketAddr>, String> {
    let port = value("--port", &flags.port, port)?;
    let addresses = flags.listen.iter().map(|text| named("--listen", text, config::parse_listen(text)));
    let addresses = addresses.collect::<Result<Vec<_>, _>>()?;
    if let (Some(port), Some(address)) = (port, addresses.first()) {
        return Err(format!(
            "--port {port} and --listen {address} exclude each other: --port already listens on all addresses; \
             give --port alone, or --listen once for each address"
        ));
    }
    if let Some(address) = config::doubled_listen(&addresses) {
        return Err(format!("--listen \"{address}\": given twice; name each address once"));
    }
    if !addresses.is_empty() {
        return Ok(addresses);
    }
    let port = match (port, environment(PORT_VARIABLE)) {
        (Some(port), _) => port,
        (None, None) => limits::PORT,
        (None, Some(set)) => {
            let text = set.to_string_lossy();
            named(PORT_VARIABLE, &text, self::port(&text))?
        }
    };
    Ok(vec![Config::all_addresses(port)])
}

fn positive(text: &str) -> Result<Duration, String> {
    match config::parse_duration(text)? {
        duration if duration < DURATION_MIN => Err("too short; it must be at least 1ms".to_owned()),
        duration => Ok(duration),
    }
}

fn port(text: &str) -> Result<u16, String> {
    digits(text).ok_or_else(|| "must be a whole number from 0 to 65535 (0 takes a free port)".to_owned())
}

fn log_level(text: &str) -> Result<LevelFilter, String> {
    use LevelFilter::{Debug, Error, Info, Warn};
    one_of(text, &[("error", Error), ("warn", Warn), ("info", Info), ("debug", Debug)])
}

/// Reads one of these words, in upper or lower case.
fn one_of<T: Clone>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    if let Some((_, choice)) = choices.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)) {
        return Ok(choice.clone());
    }
    let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
    match words.split_last() {
        Some((last, others)) => Err(format!("must be {} or {last}", others.join(", "))),
        None => Err("must be left out".to_owned()),
    }
}

/// Refuses the first of these flags that was given, as without effect for that reason.
fn needless(flags: &[(&str, bool)], reason: &str) -> Result<(), String> {
    match flags.iter().find(|(_, given)| *given) {
        Some((flag, _)) => Err(format!("{flag} {reason}")),
        None => Ok(()),
    }
}

/// Reads a flag's value if the flag was given.
fn value<T>(
    flag: &str,
    given: &Option<String>,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<T>, String> {
    given.as_deref().map(|text| named(flag, text, read(text))).transpose()
}

/// Puts the flag and the value before what was wrong with it.
fn named<T>(flag: &str, text: &str, result: Result<T, String>) -> Result<T, String> {
    result.map_err(|reason| format!("{flag} {}: {reason}", quoted(text)))
}

#[cfg(test)]
mod tests;
