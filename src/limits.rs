//! Every bound and default, with why it is that number.

use std::time::Duration;

/// Port when neither flag nor environment names one.
pub const PORT: u16 = 8080;
/// Backends when none are named: where `test-server` and its siblings are started by hand.
pub const BACKENDS: &str = "http://localhost:8081,http://localhost:8082,http://localhost:8083";
/// Backends at most: an index fits 16 bits and a status page can still be read.
pub const BACKENDS_MAX: usize = 4096;
/// Worker threads at most: beyond it a typo is likelier than a machine.
pub const WORKERS_MAX: usize = 1024;

/// Time between probes: a dead backend is noticed by traffic sooner, a revived one may wait this long.
pub const HEALTH_INTERVAL: Duration = Duration::from_secs(10);
/// A TCP handshake across a data centre takes milliseconds; two seconds survive one lost SYN.
pub const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

/// Retries of one request: with three backends all are tried once.
pub const RETRIES: u8 = 3;
/// More would multiply an outage; also sizes the list of backends already tried.
pub const RETRIES_MAX: u8 = 15;
/// Wait before the same backend again: a restarting process needs some, a person does not notice it.
pub const RETRY_DELAY: Duration = Duration::from_millis(10);
/// One failure may be chance, three in a row are not.
pub const MAX_FAILS: u32 = 3;

/// A drain waits this long for exchanges in flight: what Kubernetes grants before it kills.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// An idle keep-alive client is closed this long after a drain began: one that is about to send still may.
pub const DRAIN_GRACE: Duration = Duration::from_millis(250);
/// Where the short status answers.
pub const STATUS_PATH: &str = "/lb-status";

/// A whole request head: total, not for each byte, so that a slow drip ends too.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Keep-alive without a request: nginx and browsers are near it.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Connect to a backend: as for a probe.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// From request to response head: nginx's proxy_read_timeout.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);
/// A body that does not move: long enough for a phone in a tunnel.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// A tunnel may be quiet for long: WebSockets wait for people.
pub const TUNNEL_TIMEOUT: Duration = Duration::from_secs(3600);
/// Below the 60 s and 75 s at which common servers close, so that we close first.
pub const UPSTREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(50);
/// After our last word on a connection we read this long, so that the peer reads it before a reset.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
