//! Ports for those that are to listen on one.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};

/// A port that stays ours: bound but not listening, so that connecting is refused until somebody listens on it
/// with SO_REUSEADDR, and nobody is given it by chance meanwhile.
pub(crate) struct Port {
    _socket: Socket,
    pub(crate) address: SocketAddr,
}

impl Port {
    pub(crate) fn reserve() -> Self {
        Self::reserve_on("127.0.0.1:0")
    }

    /// As [`Port::reserve`], on another address.
    pub(crate) fn reserve_on(address: &str) -> Self {
        let address: SocketAddr = address.parse().expect("an address");
        let socket = reusable(address).expect("bind");
        let address = socket.local_addr().ok().and_then(|a| a.as_socket()).expect("a bound address");
        Self { _socket: socket, address }
    }

    pub(crate) fn number(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// A socket bound as a server's, on which nobody listens yet.
pub(crate) fn reusable(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}
