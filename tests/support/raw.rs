//! Backends that speak no HTTP of their own: a closure has each connection.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};

use super::SOON;

/// Gives every connection to `serve`, on a thread of its own, until the test process ends.
pub(crate) fn serve_raw(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("a bound address");
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let _ = stream.set_nodelay(true);
            let _ = stream.set_read_timeout(Some(SOON));
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

/// Reads until an empty line has come; what there is. `None` when the stream ended before.
pub(crate) fn read_head(mut stream: &TcpStream) -> Option<Vec<u8>> {
    let (mut seen, mut piece) = (Vec::new(), [0; 4096]);
    while !seen.windows(4).any(|four| four == b"\r\n\r\n") {
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return None,
            Ok(n) => seen.extend_from_slice(&piece[..n]),
        }
    }
    Some(seen)
}

/// Reads to the end of the stream, a reset included; what there was.
pub(crate) fn read_to_end(mut stream: &TcpStream) -> io::Result<Vec<u8>> {
    let mut seen = Vec::new();
    match stream.read_to_end(&mut seen) {
        Err(e) if e.kind() != io::ErrorKind::ConnectionReset => Err(e),
        _ => Ok(seen),
    }
}
