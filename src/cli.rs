//! The command line: arguments and environment in, a checked [`Config`] or one clear line out.

mod bounds;
mod flags;

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::time::Duration;

use log::LevelFilter;

use crate::config::{self, Config, Health, Pool, Retry, digits, quoted};
use crate::limits;
use flags::{Asked, Flags};

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
    // No flag or value takes anything but ASCII, so what stands in for bad bytes is refused with its flag named.
    let arguments: Vec<_> = arguments.iter().map(|argument| argument.as_ref().to_string_lossy()).collect();
    let arguments: Vec<&str> = arguments.iter().map(|argument| &**argument).collect();
    let flags = match flags::read(&arguments)? {
        Asked::Help(text) => return Ok(Outcome::Print(text)),
        Asked::Run(flags) if flags.version => return Ok(Outcome::Print(flags::version())),
        Asked::Run(flags) => flags,
    };
    if flags.demo && flags.backends.is_some() {
        return Err("--backends and --demo exclude each other: --demo brings its own backends; \
                    give one or the other"
            .to_owned());
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
    let pool = pool(flags)?;
    let status_path = value("--status-path", &flags.status_path, config::parse_status_path)?;
    let trust = match &flags.trust_forwarded {
        Some(list) => config::parse_networks(list).map_err(|line| format!("--trust-forwarded {line}"))?,
        None => default.trust,
    };
    Ok(Config {
        listen: listen(flags, environment)?,
        workers: workers.map_or(default.workers, |workers| workers as usize),
        pin: flags.pin,
        busy_poll: flags.busy_poll,
        pools: vec![pool],
        rate_limit: None,
        drain_timeout: value("--drain-timeout", &flags.drain_timeout, config::parse_duration)?
            .unwrap_or(default.drain_timeout),
        status_path: status_path.unwrap_or(default.status_path),
        timeouts: bounds::timeouts(flags, default.timeouts)?,
        limits,
        trust,
    })
}

fn pool(flags: &Flags) -> Result<Pool, String> {
    let mut pool = Pool::default();
    if let Some(list) = &flags.backends {
        pool.backends = config::parse_backends(list).map_err(|line| format!("--backends {line}"))?;
    }
    let most = bounds::backend_connections(flags)?;
    pool.backends.iter_mut().for_each(|backend| backend.max_connections = most);
    pool.health = health(flags, pool.health)?;
    pool.retry = retry(flags, pool.retry)?;
    let max_fails = value("--max-fails", &flags.max_fails, |text| config::parse_count(text, 1..=u32::MAX))?;
    pool.ejection.max_fails = max_fails.unwrap_or(pool.ejection.max_fails);
    Ok(pool)
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

fn health(flags: &Flags, default: Health) -> Result<Health, String> {
    let interval = value("--health-check-interval", &flags.health_check_interval, positive)?;
    let timeout = value("--health-check-timeout", &flags.health_check_timeout, positive)?;
    Ok(Health {
        interval: interval.unwrap_or(default.interval),
        timeout: timeout.unwrap_or(default.timeout),
        ..default
    })
}

fn retry(flags: &Flags, default: Retry) -> Result<Retry, String> {
    let retries =
        value("--retries", &flags.retries, |text| config::parse_count(text, 0..=limits::RETRIES_MAX.into()))?;
    let delay = value("--retry-delay", &flags.retry_delay, config::parse_duration)?;
    Ok(Retry {
        retries: retries.and_then(|retries| u8::try_from(retries).ok()).unwrap_or(default.retries),
        delay: delay.unwrap_or(default.delay),
        ..default
    })
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
    const LEVELS: [LevelFilter; 4] =
        [LevelFilter::Error, LevelFilter::Warn, LevelFilter::Info, LevelFilter::Debug];
    let level = LEVELS.into_iter().find(|level| level.as_str().eq_ignore_ascii_case(text));
    level.ok_or_else(|| "must be error, warn, info or debug".to_owned())
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
