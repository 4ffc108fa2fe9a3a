//! A pool: backends that serve the same thing, and how one of them is chosen and trusted.

use std::net::SocketAddr;
use std::time::Duration;

use super::{BackendUrl, Health, Listener, Mode, ProxyVersion, Statuses};
use crate::limits;

/// One pool as the user asked for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// What routes, log and status call it.
    pub name: String,
    /// How a backend is chosen.
    pub algorithm: Algorithm,
    /// In the order given, no two alike, at least one.
    pub backends: Vec<Backend>,
    /// Active health checks.
    pub health: Health,
    /// What is tried again, and how often.
    pub retry: Retry,
    /// When traffic's own failures take a backend out.
    pub ejection: Ejection,
    /// Clients that return to the backend they had.
    pub sticky: Option<Sticky>,
    /// Where requests wait while every backend has all that it may have.
    pub queue: Queue,
    /// A backend that returns is given its share little by little over this time; zero: at once.
    pub slow_start: Duration,
    /// With every backend down, try them all the same.
    pub fail_open: bool,
    /// What a name with several addresses is.
    pub resolve: Resolve,
    /// Each connection to a backend begins with a header of the PROXY protocol, and serves one client.
    pub send_proxy: Option<ProxyVersion>,
}

/// What a name with several addresses is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resolve {
    /// One backend: the address that answers first is kept to.
    #[default]
    First,
    /// A backend for each address.
    All,
}

impl Default for Pool {
    /// The pool of a run without flags.
    fn default() -> Self {
        let urls = super::parse_backends(limits::BACKENDS).expect("the default backends are well formed");
        Self {
            name: limits::POOL.to_owned(),
            algorithm: Algorithm::RoundRobin,
            backends: urls,
            health: Health::default(),
            retry: Retry::default(),
            ejection: Ejection::default(),
            sticky: None,
            queue: Queue::default(),
            slow_start: Duration::ZERO,
            fail_open: false,
            resolve: Resolve::First,
            send_proxy: None,
        }
    }
}

/// One backend as the user asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Where it is.
    pub url: BackendUrl,
    /// The one of its name's addresses that it is, under [`Resolve::All`].
    pub address: Option<SocketAddr>,
    /// Its share beside the others', 1 to [`limits::WEIGHT_MAX`].
    pub weight: u16,
    /// Used only while no other backend of the pool is eligible.
    pub backup: bool,
    /// Connections to it by all workers together, at least 1; `None`: no limit.
    pub max_connections: Option<u32>,
    /// Requests in flight to it by all workers together, at least 1; `None`: no limit.
    pub max_requests: Option<u32>,
}

impl Backend {
    /// A backend of weight 1 without limits.
    #[must_use]
    pub fn new(url: BackendUrl) -> Self {
        Self { url, address: None, weight: 1, backup: false, max_connections: None, max_requests: None }
    }
}

/// How a backend is chosen.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Algorithm {
    /// In turn, by weight; exact shares over all workers.
    #[default]
    RoundRobin,
    /// The one with the fewest requests in flight for its weight.
    LeastConnections,
    /// The less loaded of two taken at random (Mitzenmacher, "The Power of Two Choices", 2001).
    TwoChoices,
    /// Of two taken at random, the one with the lower latency times requests in flight.
    PeakEwma,
    /// At random, by weight.
    Random,
    /// The same backend for the same key, by consistent hashing.
    Hash {
        /// What is hashed.
        key: Key,
        /// A backend takes at most so many percent of the mean number of requests in flight (Mirrokni, Thorup
        /// and Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2016), above 100; `None`: no bound.
        bound: Option<u32>,
    },
}

/// What of a request tells clients or contents apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// The client's address; of IPv6 the first 64 bits, which is what one client has.
    Address,
    /// Path and query.
    Uri,
    /// The first field of that name.
    Header(String),
    /// The cookie of that name.
    Cookie(String),
}

impl Key {
    /// The bound of a hash by this key unless one is set. What makes a cache hot is to be spread; a client is to come back to
    /// where it was, however many others are there.
    #[must_use]
    pub fn bound(&self) -> Option<u32> {
        (*self != Self::Address).then_some(limits::HASH_BOUND)
    }
}

/// Gives the usual bound to the hashes of pools that have none `set`: where only connections come it is that of the client's
/// address, whatever the key.
pub fn bound_hashes(listeners: &[Listener], pools: &mut [Pool], set: &[bool]) {
    for (i, pool) in pools.iter_mut().enumerate() {
        if let Algorithm::Hash { key, bound } = &mut pool.algorithm
            && set.get(i) != Some(&true)
        {
            let key = if has_connections_alone(listeners, i) { &Key::Address } else { &*key };
            *bound = key.bound();
        }
    }
}

/// Listeners lead to this pool, and all that do are of mode tcp.
pub(super) fn has_connections_alone(listeners: &[Listener], pool: usize) -> bool {
    let leads = |mode: Mode| {
        listeners.iter().any(|listener| listener.mode == mode && listener.pools().any(|led| led == pool))
    };
    leads(Mode::Tcp) && !leads(Mode::Http)
}

/// Retries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retry {
    /// Retries of a request at most, beside the first try; at most [`limits::RETRIES_MAX`].
    pub retries: u8,
    /// Wait before the same backend is tried again.
    pub delay: Duration,
    /// Retries of all requests together, in percent of requests; 100 and more hardly bound anything.
    pub budget: u32,
    /// Retries a second that are granted whatever the budget says.
    pub budget_floor: u32,
    /// Time for one try, where the request can be tried again; `None`: the response timeout alone.
    pub try_timeout: Option<Duration>,
    /// Answers of these statuses are thrown away for another try, where the request may be sent again.
    pub statuses: Statuses,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            retries: limits::RETRIES,
            delay: limits::RETRY_DELAY,
            budget: limits::RETRY_BUDGET,
            budget_floor: limits::RETRY_BUDGET_FLOOR,
            try_timeout: None,
            statuses: Statuses::default(),
        }
    }
}

/// The circuit breaker: what traffic itself finds out about a backend.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ejection {
    /// Failures in a row that take a backend out; 0: none do.
    pub max_fails: u32,
    /// Failures in percent of the requests of a window that take a backend out; 0: none do.
    pub fail_rate: u32,
    /// The window of `fail_rate`.
    pub window: Duration,
    /// Requests that a window must have had before its rate means anything.
    pub fail_rate_requests: u32,
    /// For how long it is out the first time; each further time twice as long.
    pub time: Duration,
    /// The longest that it is out before one request may try.
    pub time_max: Duration,
    /// At most so many percent of a pool's backends are out by this judgement.
    pub most: u32,
    /// Answers of these statuses count as failures of the backend.
    pub statuses: Statuses,
}

impl Default for Ejection {
    fn default() -> Self {
        Self {
            max_fails: limits::MAX_FAILS,
            fail_rate: limits::FAIL_RATE,
            window: limits::FAIL_WINDOW,
            fail_rate_requests: limits::FAIL_RATE_REQUESTS,
            time: limits::EJECT_TIME,
            time_max: limits::EJECT_TIME_MAX,
            most: limits::EJECT_MOST,
            statuses: Statuses::default(),
        }
    }
}

/// Clients that return to the backend they had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sticky {
    /// What a client is known by.
    pub by: StickyBy,
    /// A client whose backend was out returns to it when it is back; else it stays with the new one.
    pub returns: bool,
}

/// What a client is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StickyBy {
    /// A cookie that we set.
    Cookie(Cookie),
    /// Its address, remembered for this long after its last request.
    Address(Duration),
}

/// The cookie of sticky sessions. It is always HttpOnly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// Its name, a token.
    pub name: String,
    /// Its path.
    pub path: String,
    /// Its SameSite attribute.
    pub same_site: SameSite,
    /// Sent over TLS alone.
    pub secure: bool,
    /// Keys the value, so that nobody can tell the backend's address from it. All instances in front of the same
    /// clients need the same one.
    pub secret: String,
}

/// See RFC 6265bis section 4.1.2.7.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SameSite {
    /// Not sent along from other sites at all.
    Strict,
    /// Sent along when a link is followed.
    #[default]
    Lax,
    /// Sent along always; browsers want it secure.
    None,
}

/// Where requests wait while every backend has all that it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Requests that wait at most, of all workers together; 0: none does.
    pub length: u32,
    /// How long each waits at most.
    pub timeout: Duration,
}

impl Default for Queue {
    fn default() -> Self {
        Self { length: limits::QUEUE_LENGTH, timeout: limits::QUEUE_TIMEOUT }
    }
}

/// How many requests a client may bring: a token bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// So many requests, 1 to [`limits::RATE_MAX`] a second …
    pub requests: u32,
    /// … in this time.
    pub per: Duration,
    /// Requests that may come at once, at least 1.
    pub burst: u32,
    /// Tells clients apart; requests without that header count by their client's address.
    pub key: Key,
}
