//! One attempt: a connection that is begun, checked and closed, and why it failed.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustix::io::Errno;

/// Why an attempt failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing came within the timeout.
    NoAnswer,
    /// The connection was turned down, or could not be made.
    Error(io::Error),
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
        }
    }
}

/// Begins to connect; the token reports when the connection is made or has failed.
pub(super) fn dial(registry: &Registry, address: SocketAddr, token: Token) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    registry.register(&mut stream, token, Interest::WRITABLE)?;
    Ok(stream)
}

/// True when connected, false while it is still being tried; so an event out of date does no harm.
pub(super) fn check(stream: &TcpStream) -> io::Result<bool> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    match stream.peer_addr() {
        // A dial to a free local port may be given that same port to dial from, and then meets itself.
        Ok(peer) if stream.local_addr().is_ok_and(|local| local == peer) => {
            Err(io::ErrorKind::ConnectionRefused.into())
        }
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}

/// The attempt could not be made for want of something of ours, which says nothing about the backend.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    let ours = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::NOSPC];
    ours.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::{Domain, Socket, Type};

    #[test]
    fn failures_read_well() {
        let failure = |errno: Errno| Failure::Error(errno.into()).to_string();
        assert_eq!(failure(Errno::CONNREFUSED), "connection refused");
        assert_eq!(failure(Errno::HOSTUNREACH), "no route to host");
        assert_eq!(Failure::Error(io::ErrorKind::ConnectionRefused.into()).to_string(), "connection refused");
    }

    #[test]
    fn only_our_own_want_is_a_shortage() {
        assert!(is_shortage(&Errno::MFILE.into()));
        assert!(!is_shortage(&Errno::CONNREFUSED.into()));
        assert!(!is_shortage(&io::ErrorKind::ConnectionRefused.into()));
    }

    #[test]
    fn a_connection_to_itself_is_refused() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        socket.connect(&socket.local_addr().unwrap()).unwrap();
        socket.set_nonblocking(true).unwrap();
        let error = check(&TcpStream::from_std(socket.into())).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
