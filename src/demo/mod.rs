//! The test backend: a small HTTP/1.1 server that says who it is and what it was sent.
//!
//! `test-server` and `evenkeel --demo` run it. It has a thread for each connection, so that its delay is a true
//! delay, and it shares no code with the balancer's own HTTP, so that one can find the other's mistakes.

mod body;
mod connection;
mod request;
pub mod traffic;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Connections that may wait to be accepted: a load test opens its thousand at once.
const BACKLOG: i32 = 4096;
/// A connection keeps its buffers on the heap and needs a few KiB of stack; this leaves room for unoptimised builds.
const STACK: usize = 128 * 1024;
/// Pause after a failed accept: what fails is mostly a lack of descriptors, which asking again does not cure.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// What a [`Server`] is and does. The default answers at once, for ever, on a free port of the loopback.
#[derive(Clone, Debug)]
pub struct Options {
    /// Address to listen on; `None` is every address of the machine, IPv6 and IPv4.
    pub address: Option<IpAddr>,
    /// TCP port; 0 lets the kernel choose a free one.
    pub port: u16,
    /// The name it gives in its answers.
    pub name: String,
    /// Time from the start until every answer is 503; `None` is never.
    pub fail_after: Option<Duration>,
    /// Wait before each answer.
    pub delay: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            address: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            port: 0,
            name: "Server".to_owned(),
            fail_after: None,
            delay: Duration::ZERO,
        }
    }
}

/// A running test backend. Dropping it stops it.
#[derive(Debug)]
pub struct Server {
    port: u16,
    shared: Arc<Shared>,
    accepting: Option<(Arc<TcpListener>, JoinHandle<()>)>,
}

impl Server {
    /// Binds, listens and answers from now on. Fails as the bind does, for one with `AddrInUse`.
    pub fn start(options: Options) -> io::Result<Self> {
        let listener = Arc::new(listen(options.address, options.port)?);
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared::new(&options, port));
        let acceptor = thread::Builder::new().name(format!("demo-{port}")).spawn({
            let (listener, shared) = (Arc::clone(&listener), Arc::clone(&shared));
            move || accept(&listener, &shared)
        })?;
        Ok(Self { port, shared, accepting: Some((listener, acceptor)) })
    }

    /// The TCP port it listens on, the real one where 0 was asked for.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends accepting: once this returns, the port is free. Each open connection is closed after its next answer.
    pub fn stop(&mut self) {
        let Some((listener, acceptor)) = self.accepting.take() else { return };
        self.shared.stopped.store(true, Ordering::Release);
        // On Linux this wakes the blocked accept. Where it fails, a join would never return.
        if SockRef::from(&*listener).shutdown(Shutdown::Both).is_ok() {
            let _ = acceptor.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What all connections of one server look at.
#[derive(Debug)]
struct Shared {
    hello: String,
    failure: String,
    delay: Duration,
    started: Instant,
    fail_after: Option<Duration>,
    told_to_fail: AtomicBool,
    stopped: AtomicBool,
}

impl Shared {
    fn new(options: &Options, port: u16) -> Self {
        let name = &options.name;
        Self {
            hello: format!("Hello from {name} on port {port}\n"),
            failure: format!("{name} on port {port} fails\n"),
            delay: options.delay,
            started: Instant::now(),
            fail_after: options.fail_after,
            told_to_fail: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
        }
    }

    fn failing(&self) -> bool {
        self.told_to_fail.load(Ordering::Relaxed)
            || self.fail_after.is_some_and(|after| self.started.elapsed() >= after)
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while !shared.stopped.load(Ordering::Acquire) {
        match listener.accept() {
            Ok((stream, _)) => spawn(stream, shared),
            Err(_) if shared.stopped.load(Ordering::Acquire) => return,
            Err(_) => thread::sleep(ACCEPT_PAUSE),
        }
    }
}

fn spawn(stream: TcpStream, shared: &Arc<Shared>) {
    let shared = Arc::clone(shared);
    // Without a thread for it, the connection is dropped and so closed; those that have one go on.
    let _ = thread::Builder::new().stack_size(STACK).spawn(move || connection::serve(stream, &shared));
}

fn listen(address: Option<IpAddr>, port: u16) -> io::Result<TcpListener> {
    if let Some(address) = address {
        return listen_on(SocketAddr::new(address, port));
    }
    match listen_on(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)) {
        Err(e) if !matches!(e.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied) => {
            // A machine without IPv6.
            listen_on(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))
        }
        outcome => outcome,
    }
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // A restart must not wait for the old connections' TIME_WAIT; a second listener is still refused.
    socket.set_reuse_address(true)?;
    // Accepted connections inherit it.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests;
