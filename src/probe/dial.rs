//! A connection that is begun and checked.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustix::io::Errno;

/// Begins to connect; the token reports when the connection is made or has failed, and whatever comes on it.
pub(super) fn dial(registry: &Registry, address: SocketAddr, token: Token) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
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
pub(super) fn is_shortage(error: &io::Error, address: SocketAddr) -> bool {
    let is = |errno: Errno| error.raw_os_error() == Some(errno.raw_os_error());
    if is(Errno::ADDRNOTAVAIL) {
        return has_way(address);
    }
    [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::NOSPC].into_iter().any(is)
}

/// Whether we have an address to dial this one from. If so, EADDRNOTAVAIL means that all local ports are taken;
/// if not, that this machine lacks the address family. Connecting UDP looks for the address all the same, takes
/// a port from the ports of UDP, and sends nothing.
fn has_way(address: SocketAddr) -> bool {
    let any = match address {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    UdpSocket::bind(any).and_then(|socket| socket.connect(address)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::{Domain, Socket, Type};

    #[test]
    fn only_our_own_want_is_a_shortage() {
        let home = SocketAddr::from(([127, 0, 0, 1], 9));
        assert!(is_shortage(&Errno::MFILE.into(), home));
        assert!(!is_shortage(&Errno::CONNREFUSED.into(), home));
        assert!(!is_shortage(&io::ErrorKind::ConnectionRefused.into(), home));
    }

    #[test]
    fn no_local_address_is_a_shortage_where_there_is_a_way() {
        // To all: nobody is let through there without asking for it first.
        let none = SocketAddr::from(([255, 255, 255, 255], 9));
        assert!(is_shortage(&Errno::ADDRNOTAVAIL.into(), SocketAddr::from(([127, 0, 0, 1], 9))));
        assert!(!is_shortage(&Errno::ADDRNOTAVAIL.into(), none));
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
