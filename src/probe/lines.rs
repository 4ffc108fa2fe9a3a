//! The lines of the log.

use std::fmt;
use std::net::SocketAddr;

use super::course::{Failed, Up};
use super::fault::path_of;
use crate::balance::Backend;
use crate::config::Check;

/// A backend is up: how many good results in a row say so, and the last of them.
pub(super) struct UpLine<'a> {
    pub(super) backend: &'a Backend,
    /// Those that were probed.
    pub(super) addresses: &'a [SocketAddr],
    pub(super) check: &'a Check,
    pub(super) in_a_row: u32,
    pub(super) up: Up,
    pub(super) status: Option<u16>,
}

impl fmt::Display for UpLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "backend {} is up", self.backend.url())?;
        in_a_row(f, self.in_a_row, "successes")?;
        if let (Check::Http(check), Some(status)) = (self.check, self.status) {
            write!(f, ": {} {} answered {status}", check.method, path_of(check, self.up.path))?;
        }
        let address = self.addresses[self.up.position];
        let took = self.up.took.as_secs_f64() * 1000.0;
        write!(f, " ({address}, {took:.1} ms)")
    }
}

/// A backend is down: how many bad results in a row say so, and of the last of them every address and what was
/// wrong there.
pub(super) struct DownLine<'a> {
    pub(super) backend: &'a Backend,
    /// Those that were probed.
    pub(super) addresses: &'a [SocketAddr],
    pub(super) check: &'a Check,
    pub(super) in_a_row: u32,
    pub(super) failed: &'a [Failed],
}

impl fmt::Display for DownLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "backend {} is down", self.backend.url())?;
        in_a_row(f, self.in_a_row, "failures")?;
        f.write_str(": ")?;
        if self.failed.is_empty() {
            f.write_str("its name does not resolve")?;
        }
        let mut comma = "";
        for Failed { position, faults } in self.failed {
            for fault in faults {
                write!(f, "{comma}{}", fault.named(self.check))?;
                comma = ", ";
            }
            write!(f, " ({})", self.addresses[*position])?;
        }
        Ok(())
    }
}

fn in_a_row(f: &mut fmt::Formatter<'_>, count: u32, noun: &str) -> fmt::Result {
    if count > 1 { write!(f, ", {count} {noun} in a row") } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::super::fault::{Failure, Fault};
    use super::*;
    use crate::config::{self, BackendUrl, HttpCheck};
    use crate::id::PoolId;
    use std::io;
    use std::time::Duration;

    fn backend(addresses: &[&str]) -> Backend {
        let url = BackendUrl { host: "localhost".into(), port: 8081 };
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        Backend::new(&config::Backend::new(url), PoolId(0), addresses, 1)
    }

    fn failed(position: usize, faults: Vec<(Option<usize>, Failure)>) -> Failed {
        let faults = faults.into_iter().map(|(path, failure)| Fault { path, failure }).collect();
        Failed { position, faults }
    }

    fn refused() -> (Option<usize>, Failure) {
        (None, Failure::Error(io::ErrorKind::ConnectionRefused.into()))
    }

    #[test]
    fn connects_name_the_backend_the_address_and_the_reason() {
        let backend = &backend(&["127.0.0.1:8081", "[::1]:8081"]);
        let addresses = &*backend.addresses();
        let line = |in_a_row, failed: &[Failed]| {
            DownLine { backend, addresses, check: &Check::Tcp, in_a_row, failed }.to_string()
        };
        assert_eq!(
            line(1, &[failed(0, vec![refused()])]),
            "backend http://localhost:8081 is down: connection refused (127.0.0.1:8081)"
        );
        assert_eq!(
            line(3, &[failed(1, vec![(None, Failure::NoAnswer)]), failed(0, vec![refused()])]),
            "backend http://localhost:8081 is down, 3 failures in a row: \
             no answer in time ([::1]:8081), connection refused (127.0.0.1:8081)"
        );
        assert_eq!(line(1, &[]), "backend http://localhost:8081 is down: its name does not resolve");
        let up = Up { position: 0, path: 0, took: Duration::from_micros(314) };
        let line = |in_a_row| {
            UpLine { backend, addresses, check: &Check::Tcp, in_a_row, up, status: None }.to_string()
        };
        assert_eq!(line(1), "backend http://localhost:8081 is up (127.0.0.1:8081, 0.3 ms)");
        assert_eq!(
            line(2),
            "backend http://localhost:8081 is up, 2 successes in a row (127.0.0.1:8081, 0.3 ms)"
        );
    }

    #[test]
    fn requests_name_each_path_and_what_it_answered() {
        let backend = &backend(&["127.0.0.1:8081", "[::1]:8081"]);
        let addresses = &*backend.addresses();
        let check = &Check::Http(HttpCheck::default());
        let answers = vec![(Some(0), Failure::Status(503)), (Some(1), Failure::Status(404))];
        let failed = &[failed(0, answers), failed(1, vec![refused()])];
        assert_eq!(
            DownLine { backend, addresses, check, in_a_row: 3, failed }.to_string(),
            "backend http://localhost:8081 is down, 3 failures in a row: GET /health answered 503, \
             GET / answered 404 (127.0.0.1:8081), connection refused ([::1]:8081)"
        );
        let up = Up { position: 0, path: 1, took: Duration::from_micros(314) };
        assert_eq!(
            UpLine { backend, addresses, check, in_a_row: 2, up, status: Some(204) }.to_string(),
            "backend http://localhost:8081 is up, 2 successes in a row: \
             GET / answered 204 (127.0.0.1:8081, 0.3 ms)"
        );
    }
}
