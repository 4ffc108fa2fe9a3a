//! Errors that keep a run from starting.

use std::fmt;
use std::io;
use std::net::SocketAddr;

/// Why a run could not start; said once, on one line, with exit code 2.
#[derive(Debug)]
pub enum StartError {
    /// An address could not be listened on.
    Listen(SocketAddr, io::Error),
    /// The admin listener could not be opened.
    Admin(SocketAddr, io::Error),
    /// The access log could not be opened.
    AccessLog(String, io::Error),
    /// The system refused a thread, a poll or a signal.
    System(&'static str, io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(address, error) if error.kind() == io::ErrorKind::AddrInUse => write!(
                f,
                "cannot listen on {address} (--port {} or --listen {address}): the port is in use; `ss -ltnp` shows \
                 by whom",
                address.port()
            ),
            Self::Listen(address, error) if error.kind() == io::ErrorKind::PermissionDenied => write!(
                f,
                "--port {} or --listen {address}: not permitted; ports below 1024 need root or CAP_NET_BIND_SERVICE",
                address.port()
            ),
            Self::Admin(address, error) if error.kind() == io::ErrorKind::AddrInUse => {
                write!(f, "--admin {address}: the port is in use; `ss -ltnp` shows by whom")
            }
            Self::Admin(address, error) => write!(f, "--admin {address}: {error}"),
            Self::Listen(address, error) => write!(f, "--listen {address}: {error}"),
            Self::AccessLog(path, error) => write!(f, "cannot open the access log {path}: {error}"),
            Self::System(what, error) => write!(f, "{what}: {error}"),
        }
    }
}

impl std::error::Error for StartError {}
