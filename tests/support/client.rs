//! A client that sends exactly the bytes it is told to.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};

use socket2::{Domain, SockRef, Socket, Type};

use super::SOON;
use super::wire::{Body, Framing, Head, Response, Split, Wire, status_of, write_pieces};

/// One connection to the balancer.
pub(crate) struct Client {
    wire: Wire<TcpStream>,
}

impl Client {
    /// Connects, or says why not.
    pub(crate) fn try_connect(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&to, SOON)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SOON))?;
        stream.set_write_timeout(Some(SOON))?;
        Ok(Self { wire: Wire::new(stream) })
    }

    /// As [`Client::try_connect`], from an address of our choice: all of 127/8 is ours.
    pub(crate) fn try_connect_from(from: IpAddr, to: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        // Else nobody could listen on all addresses at the port that this one is given.
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::new(from, 0).into())?;
        socket.connect_timeout(&to.into(), SOON)?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SOON))?;
        Ok(Self { wire: Wire::new(stream) })
    }

    #[track_caller]
    pub(crate) fn connect(to: SocketAddr) -> Self {
        Self::try_connect(to).unwrap_or_else(|e| panic!("connect to {to}: {e}"))
    }

    /// A client that speaks on a stream made elsewhere.
    pub(crate) fn over(stream: TcpStream) -> Self {
        Self { wire: Wire::new(stream) }
    }

    /// Reads exactly these bytes, which are no message.
    #[track_caller]
    pub(crate) fn expect_bytes(&mut self, bytes: &[u8]) {
        let mut body = Body::default();
        self.body(Framing::Length(bytes.len() as u64), &mut body).expect("the bytes");
        assert_eq!(body.bytes, bytes);
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        self.wire.source()
    }

    pub(crate) fn send(&self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        write_pieces(self.stream(), bytes.as_ref(), &Split::Whole)
    }

    pub(crate) fn send_pieces(&self, bytes: &[u8], split: &Split) -> io::Result<()> {
        write_pieces(self.stream(), bytes, split)
    }

    /// A whole response to a request with that method.
    pub(crate) fn response(&mut self, method: &str) -> io::Result<Response> {
        self.wire.response(method)
    }

    /// Only the head of a response to a GET, with the status and the framing of what follows.
    pub(crate) fn head(&mut self) -> io::Result<(u16, Head, Framing)> {
        let head = self.wire.head()?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let status = status_of(&head.start)?;
        let framing = head.response_framing("GET", status)?;
        Ok((status, head, framing))
    }

    /// The body after [`Client::head`]; what had come when it broke stays in `body`.
    pub(crate) fn body(&mut self, framing: Framing, body: &mut Body) -> io::Result<()> {
        self.wire.body(framing, body)
    }

    /// Sends bytes that are one request with that method and reads its response.
    pub(crate) fn exchange(&mut self, method: &str, request: impl AsRef<[u8]>) -> io::Result<Response> {
        self.send(request)?;
        self.response(method)
    }

    /// A keep-alive GET.
    pub(crate) fn get(&mut self, target: &str) -> io::Result<Response> {
        self.exchange("GET", format!("GET {target} HTTP/1.1\r\nHost: test.example\r\n\r\n"))
    }

    /// As [`Client::get`], with further fields, each with its line end.
    pub(crate) fn get_with(&mut self, target: &str, fields: &str) -> io::Result<Response> {
        self.exchange("GET", format!("GET {target} HTTP/1.1\r\nHost: test.example\r\n{fields}\r\n"))
    }

    /// A keep-alive POST with a length.
    pub(crate) fn post(&mut self, target: &str, body: &str) -> io::Result<Response> {
        let length = body.len();
        let head =
            format!("POST {target} HTTP/1.1\r\nHost: test.example\r\nContent-Length: {length}\r\n\r\n");
        self.exchange("POST", head + body)
    }

    /// Waits for the balancer to end the connection; a further byte fails the test.
    #[track_caller]
    pub(crate) fn assert_ended(&mut self) {
        match self.wire.ended() {
            Ok(true) => {}
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => {}
            other => panic!("expected the end of the connection, got {other:?}"),
        }
    }

    /// Leaves no socket in TIME_WAIT when dropped: for thousands of connections.
    pub(crate) fn reset_on_close(&self) {
        SockRef::from(self.stream()).set_linger(Some(std::time::Duration::ZERO)).expect("SO_LINGER");
    }
}

/// One GET on a connection of its own.
pub(crate) fn get(to: SocketAddr, target: &str) -> io::Result<Response> {
    let request = format!("GET {target} HTTP/1.1\r\nHost: test.example\r\nConnection: close\r\n\r\n");
    Client::try_connect(to)?.exchange("GET", request)
}
