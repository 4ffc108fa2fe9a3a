//! A little traffic of the demo's own, so that there is something to look at.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use crate::limits;

/// Between two rounds: enough for a graph that moves, too little to be in the way.
const PAUSE: Duration = Duration::from_millis(150);
/// What a demo on loopback is given to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks that address again and again, from a thread that ends with the process. Fails only if the system gives no thread.
pub fn start(address: SocketAddr) -> io::Result<()> {
    let ask = move || {
        loop {
            // A request for each backend: whoever asks between two rounds sees them take turns. What fails is told by the
            // balancer itself.
            for _ in 0..limits::DEMO_BACKENDS {
                let _ = once(reached(address));
            }
            thread::sleep(PAUSE);
        }
    };
    thread::Builder::new().name("demo-traffic".into()).spawn(ask).map(drop)
}

/// Where an address that stands for all of them is reached.
fn reached(mut address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

fn once(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /demo HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n")?;
    stream.read_to_end(&mut Vec::new()).map(drop)
}
