//! Listening sockets: one for each worker on the same address.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::limits;

/// Sockets on one address that take no connection yet.
#[derive(Debug)]
pub struct Bound {
    sockets: Vec<Socket>,
    reach: Reach,
}

/// What sockets at an address take.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    /// As bound.
    pub address: SocketAddr,
    /// On `[::]`: no IPv4.
    pub only_v6: bool,
}

impl Reach {
    /// Whether some connections would reach both.
    pub fn meets(self, other: Self) -> bool {
        let (one, two) = (self.address.ip().to_canonical(), other.address.ip().to_canonical());
        let wide = one.is_unspecified() || two.is_unspecified();
        self.address.port() == other.address.port()
            && (one == two
                || (wide && one.is_ipv4() == two.is_ipv4())
                || self.covers(two)
                || other.covers(one))
    }

    /// It is on `[::]` and takes IPv4 too.
    fn covers(self, ip: IpAddr) -> bool {
        let own = self.address.ip();
        own.is_ipv6() && own.is_unspecified() && !self.only_v6 && ip.is_ipv4()
    }
}

impl Bound {
    /// Binds `count` sockets to one address; with port 0 the kernel chooses a port for all of them.
    ///
    /// Unless they may stand `beside` others of this user, the first is bound before it allows others to share the port, so
    /// that the bind fails when any process, another evenkeel included, has it. `only_v6` keeps `[::]` from taking IPv4
    /// too. Beside a socket of ours on a wider or narrower address those of other processes of this user go unnoticed: the
    /// kernel does not say whose it is.
    pub fn new(address: SocketAddr, only_v6: bool, count: usize, beside: bool) -> io::Result<Self> {
        let first = match bind(address, only_v6, beside) {
            Err(error) if address.ip().is_unspecified() && address.is_ipv6() && lacks_ipv6(&error) => {
                bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port()), false, beside)?
            }
            bound => bound?,
        };
        first.set_reuse_port(true)?;
        let address = first.local_addr()?.as_socket().unwrap_or(address);
        let mut sockets = vec![first];
        for _ in 1..count {
            sockets.push(bind(address, only_v6, true)?);
        }
        Ok(Self { sockets, reach: Reach { address, only_v6 } })
    }

    /// What they will take.
    pub fn reach(&self) -> Reach {
        self.reach
    }

    /// Has the kernel take connections from now on.
    pub fn listen(self) -> io::Result<Vec<TcpListener>> {
        for socket in &self.sockets {
            socket.listen(limits::BACKLOG)?;
        }
        Ok(self.sockets.into_iter().map(TcpListener::from).collect())
    }
}

fn bind(address: SocketAddr, only_v6: bool, share: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // Connections of an earlier run that linger in TIME_WAIT must not keep us from starting.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(share)?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    // Inherited by every accepted connection: one call fewer for each.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn lacks_ipv6(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.kind() == io::ErrorKind::Unsupported
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

/// Shrinks the queue of a listener that is about to be emptied and closed, so that hardly anything new gets
/// into it meanwhile.
pub fn refuse_new(listener: &mio::net::TcpListener) {
    // Without it there would only be a little more to accept.
    let _ = SockRef::from(listener).listen(0);
}

/// Closing it will reset the connection instead of ending it.
pub fn reset_on_close(stream: &mio::net::TcpStream) {
    // It fails only when the peer has gone, and then there is nobody to tell.
    let _ = SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_noticed_also_when_it_is_shared() {
        let address = "127.0.0.1:0".parse().unwrap();
        let ours = Bound::new(address, false, 2, false).unwrap().listen().unwrap();
        let address = ours[0].local_addr().unwrap();
        assert_eq!(ours[1].local_addr().unwrap(), address);
        let wide = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
        for address in [address, wide] {
            let error = Bound::new(address, false, 2, false).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        }
        Bound::new(wide, false, 2, true).unwrap().listen().unwrap();
    }
}
