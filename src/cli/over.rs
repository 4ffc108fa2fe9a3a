//! Flags over the file over the environment: one configuration of all three, made anew at each reload.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;

use log::LevelFilter;

use super::flags::Flags;
use super::{access, admin, balancing, bounds, clients, log_level, named, needless, value};
use crate::config::file::{self, Loaded, Report, Warning};
use crate::config::{self, Config, Listener, Mode, Pool, ProxyProtocol, Timeouts};
use crate::limits;

const PORT_VARIABLE: &str = "PROXY_PORT";
const SECRET_VARIABLE: &str = clients::SECRET_VARIABLE;

/// A configuration to run with.
#[derive(Debug)]
pub struct Setup {
    /// Everything checked.
    pub config: Config,
    /// The least important messages that are still logged.
    pub log_level: LevelFilter,
    /// What is allowed in the file and yet risky, a line each.
    pub warnings: Vec<String>,
}

impl Setup {
    pub(super) fn new(loaded: Loaded, warnings: Vec<Warning>) -> Self {
        // A log has no use for the place under the line, which begins with its number.
        let line = |warning: Warning| warning.to_string().lines().next().unwrap_or_default().to_owned();
        Self {
            config: loaded.config,
            log_level: loaded.log_level.unwrap_or(LevelFilter::Info),
            warnings: warnings.into_iter().map(line).collect(),
        }
    }
}

/// What keeps a run from starting.
#[derive(Debug)]
pub(super) enum Wrong {
    Line(String),
    File(Report),
}

impl From<String> for Wrong {
    fn from(line: String) -> Self {
        Self::Line(line)
    }
}

/// What is taken from the environment; it does not change while a process runs.
#[derive(Debug, Default)]
pub(super) struct Environment {
    port: Option<OsString>,
    pub(super) secret: Option<OsString>,
    pub(super) admin_token: Option<OsString>,
}

/// Makes the configuration of the flags of the start, the environment, and the file as it is now.
#[derive(Debug)]
pub struct Reader {
    pub(super) flags: Flags,
    environment: Environment,
}

impl Reader {
    pub(super) fn new(flags: Flags, environment: &dyn Fn(&str) -> Option<OsString>) -> Self {
        let environment = Environment {
            port: environment(PORT_VARIABLE),
            secret: environment(SECRET_VARIABLE),
            admin_token: environment(admin::TOKEN_VARIABLE),
        };
        Self { flags, environment }
    }

    pub(super) fn has_file(&self) -> bool {
        self.flags.config.is_some()
    }

    /// Reads the file again.
    ///
    /// # Errors
    /// Everything that is wrong with it, or one line that names the flag that does not go with it.
    pub fn read(&self) -> Result<Setup, String> {
        match self.load() {
            Ok((loaded, warnings)) => Ok(Setup::new(loaded, warnings)),
            Err(Wrong::Line(line)) => Err(line),
            Err(Wrong::File(report)) => Err(report.to_string()),
        }
    }

    pub(super) fn load(&self) -> Result<(Loaded, Vec<Warning>), Wrong> {
        let (mut loaded, warnings) = match &self.flags.config {
            Some(path) => file::open(Path::new(path)).map_err(Wrong::File)?,
            None => (unwritten(), Vec::new()),
        };
        let level = value("--log-level", &self.flags.log_level, log_level)?;
        loaded.log_level = level.or(loaded.log_level);
        loaded.config = over(&self.flags, &loaded, &self.environment)?;
        Ok((loaded, warnings))
    }
}

/// What a file that says nothing says.
fn unwritten() -> Loaded {
    Loaded {
        config: Config::default(),
        log_level: None,
        names_listeners: false,
        names_pools: false,
        sets_hash_bound: Vec::new(),
    }
}

fn over(flags: &Flags, loaded: &Loaded, environment: &Environment) -> Result<Config, String> {
    let base = loaded.config.clone();
    let workers =
        value("--workers", &flags.workers, |text| config::parse_count(text, 1..=limits::WORKERS_MAX as u32))?;
    let limits = bounds::limits(flags, base.limits)?;
    let timeouts = bounds::timeouts(flags, base.timeouts)?;
    let cause_header = value("--cause-header", &flags.cause_header, config::parse_cause_header)?;
    let status_path = value("--status-path", &flags.status_path, config::parse_status_path)?;
    let trust = match &flags.trust_forwarded {
        Some(list) => config::parse_networks(list).map_err(|line| format!("--trust-forwarded {line}"))?,
        None => base.trust,
    };
    let drain_timeout = value("--drain-timeout", &flags.drain_timeout, config::parse_duration)?;
    let listeners = listeners(flags, loaded, environment)?;
    let mut pools = pools(flags, loaded, &timeouts, environment)?;
    // The flag is for a pool that is the only one.
    let by_flag = [true];
    let set = if flags.hash_bound.is_some() { &by_flag } else { loaded.sets_hash_bound.as_slice() };
    config::bound_hashes(&listeners, &mut pools, set);
    Ok(Config {
        listeners,
        workers: workers.map_or(base.workers, |workers| workers as usize),
        pin: flags.pin || base.pin,
        busy_poll: flags.busy_poll || base.busy_poll,
        pools,
        rate_limit: clients::rate_limit(flags, base.rate_limit)?,
        resolve_interval: base.resolve_interval,
        error_pages: base.error_pages,
        admin: admin::admin(flags, base.admin, environment)?,
        access_log: access::access_log(flags, base.access_log)?,
        drain_timeout: drain_timeout.unwrap_or(base.drain_timeout),
        status_path: status_path.unwrap_or(base.status_path),
        cause_header: cause_header.unwrap_or(base.cause_header),
        timeouts,
        limits,
        trust,
    })
}

/// The flags of a pool go to the only one.
fn pools(
    flags: &Flags,
    loaded: &Loaded,
    timeouts: &Timeouts,
    environment: &Environment,
) -> Result<Vec<Pool>, String> {
    if flags.demo && loaded.names_pools {
        return Err(
            "--demo brings its own backends, and the file names some; leave one of them out".to_owned()
        );
    }
    let mut filled = loaded.clone();
    match loaded.config.pools.as_slice() {
        [pool] => return Ok(vec![balancing::pool(flags, pool.clone(), timeouts, environment)?]),
        [] => {
            let reason = "has no effect: nothing in the file leads to a pool; leave it out";
            needless(&[("--demo", flags.demo)], reason)?;
            needless(&of_pool(flags), reason)?;
            needless(&[("--sticky-secret", flags.sticky_secret.is_some())], reason)?;
        }
        several => {
            let names: Vec<&str> = several.iter().map(|pool| pool.name.as_str()).collect();
            let names = names.join(", ");
            let reason = format!("is for one pool, and the file names several, {names}; set it there");
            needless(&of_pool(flags), &reason)?;
            clients::secrets(flags, &mut filled, environment)?;
        }
    }
    Ok(filled.config.pools)
}

/// The listeners with what the flags say of each.
fn listeners(flags: &Flags, loaded: &Loaded, environment: &Environment) -> Result<Vec<Listener>, String> {
    let modes = [("http", Mode::Http), ("tcp", Mode::Tcp)];
    let mode = value("--mode", &flags.mode, |text| super::one_of(text, &modes))?;
    let mut listeners = listening(flags, loaded, environment)?;
    for listener in &mut listeners {
        listener.mode = mode.unwrap_or(listener.mode);
        listener.proxy = proxy(flags, listener.proxy.take())?;
    }
    super::mode::check(flags, &listeners)?;
    Ok(listeners)
}

fn proxy(flags: &Flags, base: Option<ProxyProtocol>) -> Result<Option<ProxyProtocol>, String> {
    let required = value("--proxy-protocol", &flags.proxy_protocol, |text| {
        super::one_of(text, &[("require", true), ("accept", false)])
    })?;
    let from = flags.proxy_from.as_deref().map(config::parse_networks).transpose();
    let from = from.map_err(|line| format!("--proxy-from {line}"))?;
    match (required, from, base) {
        (None, None, base) => Ok(base),
        (None, Some(_), None) => Err("--proxy-from needs --proxy-protocol; give both or neither".to_owned()),
        (Some(_), None, None) => {
            Err("--proxy-protocol needs --proxy-from, with your own proxies; give both or neither".to_owned())
        }
        (required, from, base) => {
            let was = base.unwrap_or(ProxyProtocol { required: true, from: Vec::new() });
            let (required, from) = (required.unwrap_or(was.required), from.unwrap_or(was.from));
            Ok(Some(ProxyProtocol { required, from }))
        }
    }
}

fn listening(flags: &Flags, loaded: &Loaded, environment: &Environment) -> Result<Vec<Listener>, String> {
    let base = &loaded.config.listeners;
    if base.len() > 1 {
        let names: Vec<&str> = base.iter().map(|listener| listener.name.as_str()).collect();
        let names = names.join(", ");
        let reason = format!("is for one listener, and the file names several, {names}; set it there");
        let given = [
            ("--listen", !flags.listen.is_empty()),
            ("--port", flags.port.is_some()),
            ("--mode", flags.mode.is_some()),
            ("--proxy-protocol", flags.proxy_protocol.is_some()),
            ("--proxy-from", flags.proxy_from.is_some()),
        ];
        needless(&given, &reason)?;
    }
    let given = addresses(flags)?;
    if given.is_empty() && loaded.names_listeners {
        return Ok(base.clone());
    }
    let addresses = if given.is_empty() { vec![address_of(environment)?] } else { given };
    let named = base.first().filter(|listener| listener.name != listener.address.to_string());
    let named = named.filter(|_| addresses.len() == 1);
    let listeners = addresses.into_iter().map(|address| {
        let first = base.first().cloned().unwrap_or_else(|| Listener::new(address));
        let name = named.map_or_else(|| address.to_string(), |listener| listener.name.clone());
        Listener { name, address, ..first }
    });
    Ok(listeners.collect())
}

/// What the flags say; empty if they say nothing.
fn addresses(flags: &Flags) -> Result<Vec<SocketAddr>, String> {
    let port = value("--port", &flags.port, super::port)?;
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
    Ok(port.map_or(addresses, |port| vec![Config::all_addresses(port)]))
}

fn address_of(environment: &Environment) -> Result<SocketAddr, String> {
    let port = environment.port.as_ref().map(|set| {
        let text = set.to_string_lossy();
        named(PORT_VARIABLE, &text, super::port(&text))
    });
    Ok(Config::all_addresses(port.transpose()?.unwrap_or(limits::PORT)))
}

/// The flags that say something of one pool, and whether each was given.
fn of_pool(flags: &Flags) -> Vec<(&'static str, bool)> {
    let switches = [
        ("--fail-open", flags.fail_open),
        ("--sticky-secure", flags.sticky_secure),
        ("--sticky-return", flags.sticky_return),
    ];
    let options = [
        ("--backends", &flags.backends),
        ("--backup", &flags.backup),
        ("--algorithm", &flags.algorithm),
        ("--hash-key", &flags.hash_key),
        ("--hash-bound", &flags.hash_bound),
        ("--slow-start", &flags.slow_start),
        ("--send-proxy", &flags.send_proxy),
        ("--health-check", &flags.health_check),
        ("--health-check-interval", &flags.health_check_interval),
        ("--health-check-timeout", &flags.health_check_timeout),
        ("--health-rise", &flags.health_rise),
        ("--health-fall", &flags.health_fall),
        ("--health-path", &flags.health_path),
        ("--health-method", &flags.health_method),
        ("--health-host", &flags.health_host),
        ("--health-status", &flags.health_status),
        ("--health-body", &flags.health_body),
        ("--max-fails", &flags.max_fails),
        ("--fail-rate", &flags.fail_rate),
        ("--fail-window", &flags.fail_window),
        ("--fail-statuses", &flags.fail_statuses),
        ("--eject-time", &flags.eject_time),
        ("--eject-time-max", &flags.eject_time_max),
        ("--max-ejected", &flags.max_ejected),
        ("--retries", &flags.retries),
        ("--retry-delay", &flags.retry_delay),
        ("--retry-budget", &flags.retry_budget),
        ("--retry-statuses", &flags.retry_statuses),
        ("--try-timeout", &flags.try_timeout),
        ("--backend-max-connections", &flags.backend_max_connections),
        ("--backend-max-requests", &flags.backend_max_requests),
        ("--queue-length", &flags.queue_length),
        ("--queue-timeout", &flags.queue_timeout),
        ("--sticky", &flags.sticky),
        ("--sticky-cookie", &flags.sticky_cookie),
        ("--sticky-path", &flags.sticky_path),
        ("--sticky-same-site", &flags.sticky_same_site),
        ("--sticky-time", &flags.sticky_time),
    ];
    let fields = [("--health-header", !flags.health_header.is_empty())];
    let options = options.iter().map(|(flag, given)| (*flag, given.is_some()));
    switches.into_iter().chain(fields).chain(options).collect()
}

#[cfg(test)]
mod tests;
