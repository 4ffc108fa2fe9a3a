//! Why a probe failed, in words for the log.

use std::fmt;
use std::io;

use crate::config::{Check, HttpCheck};
use crate::proto::h1::Refusal;

/// What went wrong.
#[derive(Debug)]
pub(super) enum Failure {
    /// It took longer than the timeout.
    NoAnswer,
    /// The connection was turned down, could not be made or broke.
    Error(io::Error),
    /// The connection was closed without an answer.
    Closed,
    /// The connection was closed within the answer.
    Broken,
    /// The answer is not HTTP/1.
    Refused(Refusal),
    /// Only interim answers came.
    Interim,
    /// A status that is not expected.
    Status(u16),
    /// An expected status, but not the text.
    Text(u16),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer => f.write_str("no answer in time"),
            Self::Error(error) => {
                let text = error.to_string();
                let text = text.split(" (os error").next().unwrap_or(&text);
                let mut letters = text.chars();
                let first = letters.next().map(|letter| letter.to_ascii_lowercase());
                write!(f, "{}{}", first.unwrap_or('?'), letters.as_str())
            }
            Self::Closed => f.write_str("closed without an answer"),
            Self::Broken => f.write_str("closed before the end of the answer"),
            Self::Refused(refusal) => write!(f, "not HTTP/1: {}", refusal.text()),
            Self::Interim => f.write_str("only interim answers"),
            Self::Status(status) => write!(f, "answered {status}"),
            Self::Text(status) => write!(f, "answered {status} without the expected text"),
        }
    }
}

/// One failed attempt.
#[derive(Debug)]
pub(super) struct Fault {
    /// The path asked for, by position; `None` when there was no connection to ask on.
    pub(super) path: Option<usize>,
    pub(super) failure: Failure,
}

impl Fault {
    /// With the request that it was the end of.
    pub(super) fn named<'a>(&'a self, check: &'a Check) -> impl fmt::Display + 'a {
        fmt::from_fn(move |f| {
            let (Some(path), Check::Http(http)) = (self.path, check) else {
                return write!(f, "{}", self.failure);
            };
            let colon = if matches!(self.failure, Failure::Status(_) | Failure::Text(_)) { "" } else { ":" };
            write!(f, "{} {}{colon} {}", http.method, path_of(http, path), self.failure)
        })
    }
}

/// The path at this position.
pub(super) fn path_of(check: &HttpCheck, position: usize) -> &str {
    check.paths.get(position).map_or("/", String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn failures_read_well() {
        let failure = |errno: Errno| Failure::Error(errno.into()).to_string();
        assert_eq!(failure(Errno::CONNREFUSED), "connection refused");
        assert_eq!(failure(Errno::HOSTUNREACH), "no route to host");
        assert_eq!(Failure::Error(io::ErrorKind::ConnectionRefused.into()).to_string(), "connection refused");
    }

    #[test]
    fn faults_name_the_request() {
        let check = Check::Http(HttpCheck::default());
        let said = |path, failure| Fault { path, failure }.named(&check).to_string();
        assert_eq!(said(Some(0), Failure::Status(503)), "GET /health answered 503");
        assert_eq!(said(Some(1), Failure::Text(200)), "GET / answered 200 without the expected text");
        assert_eq!(said(Some(1), Failure::NoAnswer), "GET /: no answer in time");
        assert_eq!(said(Some(1), Refusal::StartLine.into()), "GET /: not HTTP/1: malformed start line");
        assert_eq!(said(None, Failure::NoAnswer), "no answer in time");
    }
}
