//! Scripted backends: a thread for each connection, a closure for each request.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use socket2::SockRef;

use super::port::{Port, reusable};
use super::wire::{Body, Framing, Head, Split, Wire, write_pieces};

/// A request as a backend saw it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) head: Head,
    pub(crate) framing: Framing,
    pub(crate) body: Body,
    /// Its place on its connection, from 0.
    pub(crate) nth: usize,
}

impl Request {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body.bytes).into_owned()
    }
}

/// Where a script answers.
pub(crate) struct Reply<'a> {
    stream: &'a TcpStream,
    close: bool,
}

impl Reply<'_> {
    pub(crate) fn send(&self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        write_pieces(self.stream, bytes.as_ref(), &Split::Whole)
    }

    pub(crate) fn send_pieces(&self, bytes: &[u8], split: &Split) -> io::Result<()> {
        write_pieces(self.stream, bytes, split)
    }

    /// A plain 200 with a length.
    pub(crate) fn ok(&self, body: &str) -> io::Result<()> {
        self.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
    }

    /// What the answer goes to, for what is no answer.
    pub(crate) fn stream(&self) -> &TcpStream {
        self.stream
    }

    /// Ends the connection after this answer.
    pub(crate) fn close(&mut self) {
        self.close = true;
    }
}

type Script = dyn Fn(&Request, &mut Reply<'_>) -> io::Result<()> + Send + Sync;

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    requests: AtomicUsize,
    log: Mutex<Vec<Request>>,
    /// What the balancer sent that is not HTTP.
    faults: Mutex<Vec<String>>,
    open: Mutex<Vec<TcpStream>>,
}

/// A backend whose answers a closure gives. When it is dropped, anything invalid it was sent fails the test.
pub(crate) struct Backend {
    port: Port,
    script: Arc<Script>,
    seen: Arc<Seen>,
    running: Option<(TcpListener, JoinHandle<()>)>,
}

impl Backend {
    pub(crate) fn start(
        script: impl Fn(&Request, &mut Reply<'_>) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self::start_on("127.0.0.1:0", script)
    }

    /// As [`Backend::start`], on another address.
    pub(crate) fn start_on(
        address: &str,
        script: impl Fn(&Request, &mut Reply<'_>) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let port = Port::reserve_on(address);
        let mut backend = Self { port, script: Arc::new(script), seen: Arc::default(), running: None };
        backend.restart();
        backend
    }

    /// Answers every request with its own name.
    pub(crate) fn named(name: &'static str) -> Self {
        Self::start(move |_, reply| reply.ok(name))
    }

    pub(crate) fn url(&self) -> String {
        self.port.url()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.port.address
    }

    /// Connections accepted so far, probes included.
    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(SeqCst)
    }

    /// Whole requests read so far.
    pub(crate) fn requests(&self) -> usize {
        self.seen.requests.load(SeqCst)
    }

    /// The latest request.
    #[track_caller]
    pub(crate) fn last(&self) -> Request {
        self.seen.log.lock().unwrap().last().cloned().expect("the backend saw no request")
    }

    /// Stops listening and ends every connection, as the death of its process would.
    pub(crate) fn kill(&mut self) {
        if let Some((listener, accepting)) = self.running.take() {
            // Wakes the accepting thread; the port refuses from here on.
            let _ = SockRef::from(&listener).shutdown(Shutdown::Both);
            let _ = accepting.join();
            drop(listener);
        }
        for stream in self.seen.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Listens again on the same port.
    pub(crate) fn restart(&mut self) {
        self.kill();
        let socket = reusable(self.port.address).expect("bind again");
        socket.listen(1024).expect("listen");
        let listener: TcpListener = socket.into();
        let accepting = listener.try_clone().expect("a second handle");
        let (script, seen) = (self.script.clone(), self.seen.clone());
        let thread = std::thread::spawn(move || accept(&accepting, &script, &seen));
        self.running = Some((listener, thread));
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.kill();
        let faults = self.seen.faults.lock().unwrap();
        if !std::thread::panicking() {
            assert!(faults.is_empty(), "the balancer sent what is not HTTP: {faults:?}");
        }
    }
}

fn accept(listener: &TcpListener, script: &Arc<Script>, seen: &Arc<Seen>) {
    while let Ok((stream, _)) = listener.accept() {
        seen.connections.fetch_add(1, SeqCst);
        let (script, seen) = (script.clone(), seen.clone());
        if let Ok(second) = stream.try_clone() {
            let mut open = seen.open.lock().unwrap();
            open.retain(|s| s.peer_addr().is_ok());
            open.push(second);
        }
        std::thread::spawn(move || {
            let _ = stream.set_nodelay(true);
            if let Err(e) = serve(&stream, &*script, &seen)
                && e.kind() == io::ErrorKind::InvalidData
            {
                seen.faults.lock().unwrap().push(e.to_string());
            }
            // The copy kept for `kill` would hold the connection open.
            let _ = stream.shutdown(Shutdown::Both);
        });
    }
}

fn serve(stream: &TcpStream, script: &Script, seen: &Seen) -> io::Result<()> {
    let mut wire = Wire::new(stream);
    for nth in 0.. {
        let Some(head) = wire.head()? else { break };
        let request = read_request(&mut wire, head, nth)?;
        seen.log.lock().unwrap().push(request.clone());
        seen.requests.fetch_add(1, SeqCst);
        let mut reply = Reply { stream, close: false };
        script(&request, &mut reply)?;
        if reply.close || request.head.lists("connection", "close") {
            break;
        }
    }
    Ok(())
}

fn read_request(wire: &mut Wire<&TcpStream>, head: Head, nth: usize) -> io::Result<Request> {
    let parts: Vec<&str> = head.start.split(' ').collect();
    let [method, target, "HTTP/1.1" | "HTTP/1.0"] = parts[..] else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("request line {:?}", head.start)));
    };
    let (method, target) = (method.to_string(), target.to_string());
    let framing = head.request_framing()?;
    let mut body = Body::default();
    wire.body(framing, &mut body)?;
    Ok(Request { method, target, head, framing, body, nth })
}
