//! Errors that keep a run from starting.

use std::fmt;
use std::io;
use std::net::SocketAddr;

/// Why a run could not start; said once, on one line, with exit code 2.
#[derive(Debug)]
pub enum StartError {
    /// An address could not be listened on; of the listener of that name, where a file says so.
    Listen(SocketAddr, Option<String>, io::Error),
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
            Self::Listen(address, listener, error) => {
                write!(f, "cannot listen on {address} ({}): ", asked_by(address, listener.as_deref()))?;
                match error.kind() {
                    io::ErrorKind::AddrInUse => f.write_str("the port is in use; `ss -ltnp` shows by whom"),
                    io::ErrorKind::PermissionDenied => {
                        f.write_str("not permitted; ports below 1024 need root or CAP_NET_BIND_SERVICE")
                    }
                    _ => write!(f, "{error}"),
                }
            }
            Self::Admin(address, error) if error.kind() == io::ErrorKind::AddrInUse => {
                write!(f, "admin.address or --admin {address}: the port is in use; `ss -ltnp` shows by whom")
            }
            Self::Admin(address, error) => write!(f, "admin.address or --admin {address}: {error}"),
            Self::AccessLog(path, error) => write!(f, "cannot open the access log {path}: {error}"),
            Self::System(what, error) => write!(f, "{what}: {error}"),
        }
    }
}

/// Who wants an address to be listened on.
fn asked_by(address: &SocketAddr, listener: Option<&str>) -> String {
    match listener {
        None => format!("--port {} or --listen {address}", address.port()),
        Some(name) if name == address.to_string() => "a listener of the configuration".to_owned(),
        Some(name) => format!("listener {name:?}"),
    }
}

impl std::error::Error for StartError {}
