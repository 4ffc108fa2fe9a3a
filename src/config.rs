//! What the user asked for, checked and complete: the command line (and later the file) ends here.

mod address;
mod changes;
pub mod file;
mod health;
mod listener;
mod message;
mod near;
mod network;
mod pool;
mod proxy;
mod rate;
mod route;
mod routes;
mod statuses;
mod value;

use std::net::{Ipv6Addr, SocketAddr};
use std::thread::available_parallelism;
use std::time::Duration;

use crate::limits;

pub use address::{doubled_listen, parse_backends, parse_listen};
pub use changes::{changes, keep_fixed};
pub use health::{Check, Health, HttpCheck};
pub use listener::{AccessLog, Admin, ErrorPage, Listener, LogFormat, Mode};
pub use message::{
    parse_cause_header, parse_cookie_path, parse_field, parse_host, parse_key, parse_method, parse_paths,
    parse_token,
};
pub(crate) use near::nearest;
pub use network::{Network, parse_networks};
pub use pool::{
    Algorithm, Backend, Cookie, Ejection, Key, Pool, Queue, RateLimit, Resolve, Retry, SameSite, Sticky,
    StickyBy, bound_hashes,
};
pub use proxy::{ProxyProtocol, ProxyVersion};
pub use rate::parse_rate;
pub use route::{
    Action, FieldEdits, Fixed, HeaderMatch, HostPattern, Location, PathPattern, Redirect, Rewrite, Route,
    RouteTimeouts, ValueMatch, parse_path,
};
pub use routes::{Routes, is_host_name};
pub use statuses::{Statuses, parse_statuses};
pub(crate) use value::{digits, quoted, size};
pub use value::{parse_count, parse_duration, parse_percent, parse_size, parse_status_path};

/// Everything a run needs to know. Built by `cli`, read-only afterwards.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where requests come in, no two alike, at least one.
    pub listeners: Vec<Listener>,
    /// Number of worker threads, at least 1.
    pub workers: usize,
    /// Pin worker i to the i-th core this process may use.
    pub pin: bool,
    /// Poll without sleeping: the lowest latency, for a whole core of each worker.
    pub busy_poll: bool,
    /// What requests are balanced over; no two of one name.
    pub pools: Vec<Pool>,
    /// Requests that a client may bring; `None`: any number.
    pub rate_limit: Option<RateLimit>,
    /// How often the names of backends are looked up again.
    pub resolve_interval: Duration,
    /// How long a drain may take before connections are cut.
    pub drain_timeout: Duration,
    /// Path that answers the short status; `None` turns it off.
    pub status_path: Option<String>,
    /// Upper bounds in time.
    pub timeouts: Timeouts,
    /// Upper bounds in bytes and in number.
    pub limits: Limits,
    /// Clients whose own `X-Forwarded-*` and `X-Request-Id` are kept; those of all others are replaced.
    pub trust: Vec<Network>,
    /// Bodies of our own error replies; of several for one status the first counts.
    pub error_pages: Vec<ErrorPage>,
    /// Field of our own error replies that tells their cause; `None`: there is none.
    pub cause_header: Option<String>,
    /// The listener for those who run the balancer; `None`: there is none.
    pub admin: Option<Admin>,
    /// A line for each request; `None`: there is none.
    pub access_log: Option<AccessLog>,
}

impl Config {
    /// All addresses of this machine, IPv4 and IPv6, at one port.
    #[must_use]
    pub fn all_addresses(port: u16) -> SocketAddr {
        SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))
    }
}

impl Default for Config {
    /// What a run without flags does, on the cores this process may use.
    fn default() -> Self {
        let workers = available_parallelism().map_or(1, usize::from).min(limits::WORKERS_MAX);
        Self {
            listeners: vec![Listener::new(Self::all_addresses(limits::PORT))],
            workers,
            pin: false,
            busy_poll: false,
            pools: vec![Pool::default()],
            rate_limit: None,
            resolve_interval: limits::RESOLVE_INTERVAL,
            drain_timeout: limits::DRAIN_TIMEOUT,
            status_path: Some(limits::STATUS_PATH.to_owned()),
            timeouts: Timeouts::default(),
            limits: Limits::default(),
            trust: Vec::new(),
            error_pages: Vec::new(),
            cause_header: None,
            admin: None,
            access_log: None,
        }
    }
}

/// A backend as the user named it: `http://host:port`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BackendUrl {
    /// Host name or address, IPv6 without brackets, lower case.
    pub host: String,
    /// TCP port, not 0.
    pub port: u16,
}

impl std::fmt::Display for BackendUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "http://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "http://{}:{}", self.host, self.port)
        }
    }
}

/// Upper bounds in time for each phase of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// A whole request head, from its first byte (or from the accept).
    pub head: Duration,
    /// A client's keep-alive connection without a request.
    pub idle: Duration,
    /// A TCP connect to a backend.
    pub connect: Duration,
    /// From the request sent to the response head.
    pub response: Duration,
    /// A body, in either direction, that does not move.
    pub stall: Duration,
    /// A tunnel in which nothing moves.
    pub tunnel: Duration,
    /// A tunnel as a whole, from its connect to the backend; `None`: no limit.
    pub lifetime: Option<Duration>,
    /// Our own unused connection to a backend.
    pub upstream_idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            head: limits::HEAD_TIMEOUT,
            idle: limits::IDLE_TIMEOUT,
            connect: limits::CONNECT_TIMEOUT,
            response: limits::RESPONSE_TIMEOUT,
            stall: limits::STALL_TIMEOUT,
            tunnel: limits::TUNNEL_TIMEOUT,
            lifetime: None,
            upstream_idle: limits::UPSTREAM_IDLE_TIMEOUT,
        }
    }
}

/// Upper bounds in bytes and in number, for messages and for connections.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A head in bytes, [`limits::HEAD_MIN`] to [`limits::HEAD_MAX`].
    pub head: usize,
    /// Header fields in a head, 1 to [`limits::FIELDS`].
    pub fields: usize,
    /// A request target in bytes, from [`limits::TARGET_MIN`] to `head`.
    pub target: usize,
    /// A request body in bytes; `None`: no limit.
    pub body: Option<u64>,
    /// Bytes a second that a request body must bring; 0: no limit.
    pub body_rate: u64,
    /// Requests on one client connection, at least 1; `None`: no limit.
    pub requests: Option<u64>,
    /// Client connections in all, at least 1; `None`: [`limits::CONNECTIONS_PERCENT`] of the descriptors.
    pub connections: Option<u64>,
    /// Connections of one client address, at least 1; `None`: no limit.
    pub connections_per_client: Option<u32>,
    /// Unused connections kept to one backend by one worker; 0 keeps none.
    pub backend_idle: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: limits::HEAD,
            fields: limits::FIELDS_DEFAULT,
            target: limits::TARGET,
            body: None,
            body_rate: limits::BODY_RATE,
            requests: None,
            connections: None,
            connections_per_client: None,
            backend_idle: limits::IDLE_UPSTREAMS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_complete() {
        let config = Config::default();
        assert_eq!(config.listeners[0].address, parse_listen("[::]:8080").expect("an address"));
        assert!((1..=limits::WORKERS_MAX).contains(&config.workers));
        let backends: Vec<String> =
            config.pools[0].backends.iter().map(|backend| backend.url.to_string()).collect();
        assert_eq!(backends.join(","), limits::BACKENDS);
        assert_eq!(parse_status_path(limits::STATUS_PATH), Ok(config.status_path));
    }
}
