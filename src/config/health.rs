//! Active health checks, as the user asked for them.

use std::time::Duration;

use super::{ProxyVersion, Statuses};
use crate::limits;

/// Active health checks of a pool, all from the one probe thread.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// What a probe does.
    pub check: Check,
    /// Time between the starts of two probes of one backend.
    pub interval: Duration,
    /// Time after which a probe that has not succeeded counts as failed.
    pub timeout: Duration,
    /// Successes in a row that bring a backend up, at least 1.
    pub rise: u32,
    /// Failures in a row that take a backend down, at least 1.
    pub fall: u32,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            check: Check::Tcp,
            interval: limits::HEALTH_INTERVAL,
            timeout: limits::HEALTH_TIMEOUT,
            rise: limits::HEALTH_RISE,
            fall: limits::HEALTH_FALL,
        }
    }
}

/// What a probe does.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Check {
    /// Nothing: only traffic finds out.
    None,
    /// A connect.
    #[default]
    Tcp,
    /// A request.
    Http(HttpCheck),
}

/// The request of a probe and what is expected of its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpCheck {
    /// Tried in turn until one succeeds; at least one.
    pub paths: Vec<String>,
    /// A token, like `GET` or `HEAD`.
    pub method: String,
    /// The Host field; `None`: the backend's own `host:port`.
    pub host: Option<String>,
    /// Further fields, credentials for one.
    pub fields: Vec<(String, String)>,
    /// Statuses of success.
    pub expected: Statuses,
    /// Text that the first [`limits::HEALTH_BODY`] bytes of the body must hold.
    pub body: Option<String>,
    /// It begins with a header of the PROXY protocol, as its pool's connections do.
    pub announce: Option<ProxyVersion>,
}

impl Default for HttpCheck {
    fn default() -> Self {
        Self {
            paths: limits::HEALTH_PATHS.map(str::to_owned).to_vec(),
            method: "GET".to_owned(),
            host: None,
            fields: Vec::new(),
            expected: Statuses::from(100..=499),
            body: None,
            announce: None,
        }
    }
}
