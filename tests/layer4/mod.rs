//! `mode = "tcp"`: connections are balanced as a whole, and no byte of theirs is touched.

mod bytes;
mod ends;
mod limits;
mod many;
pub(crate) mod names;
mod postgres;
mod proxy;
mod redis;
mod relay;
mod urgent;

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use crate::support::{Evenkeel, SOON, eventually};

/// A server that is given each connection in a thread of its own; connections without a byte are probes or tests'.
pub(crate) struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    stopped: Arc<AtomicBool>,
}

impl Server {
    pub(crate) fn start(script: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("an address");
        let (connections, open) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let stopped = Arc::<AtomicBool>::default();
        let server =
            Self { address, connections: connections.clone(), open: open.clone(), stopped: stopped.clone() };
        let script = Arc::new(script);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stopped.load(SeqCst) {
                    break;
                }
                connections.fetch_add(1, SeqCst);
                open.fetch_add(1, SeqCst);
                let (script, open) = (Arc::clone(&script), Arc::clone(&open));
                std::thread::spawn(move || {
                    let _ = script(stream);
                    open.fetch_sub(1, SeqCst);
                });
            }
        });
        server
    }

    /// Sends back what comes, and ends when the client does.
    pub(crate) fn echo() -> Self {
        Self::start(|mut stream| {
            let mut from = stream.try_clone()?;
            io::copy(&mut from, &mut stream)?;
            stream.shutdown(Shutdown::Write)
        })
    }

    /// Says its name at once and ends.
    pub(crate) fn named(name: &'static str) -> Self {
        Self::start(move |mut stream| stream.write_all(name.as_bytes()))
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }

    /// Waits until none of its connections is left.
    #[track_caller]
    pub(crate) fn settles(&self) {
        eventually(SOON, "every connection of the backend is over", || self.open.load(SeqCst) == 0);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopped.store(true, SeqCst);
        // Wakes the accepting thread.
        let _ = TcpStream::connect(self.address);
    }
}

/// A balancer of connections over these backends, which are not probed.
#[track_caller]
pub(crate) fn balancer(backends: &str, more: &[&str]) -> Evenkeel {
    let mut arguments = vec!["--mode", "tcp", "--health-check", "none", "--log-level", "debug"];
    arguments.extend(["--backends", backends]);
    arguments.extend(more);
    Evenkeel::start(&arguments)
}

#[track_caller]
pub(crate) fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).expect("connect");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    stream.set_write_timeout(Some(SOON)).expect("a timeout");
    stream
}

/// All that comes until the end.
pub(crate) fn rest(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).map(|_| all)
}

/// Connects and reads to the end, as text.
#[track_caller]
pub(crate) fn said(to: SocketAddr) -> String {
    String::from_utf8(rest(&mut connect(to)).expect("to the end")).expect("text")
}

/// Waits for a line of the log that has all of these.
#[track_caller]
pub(crate) fn logged(balancer: &Evenkeel, parts: &[&str]) {
    let has = |line: &String| parts.iter().all(|part| line.contains(part));
    eventually(SOON, &format!("a line with {parts:?}"), || balancer.lines().iter().any(has));
}
