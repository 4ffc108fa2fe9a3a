//! The admin listener's threads: one accepts, one takes samples, and each connection has its own.

use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use socket2::SockRef;

use super::Sources;
use super::answer::Answer;
use super::beginning::Beginning;
use super::connection;
use super::history::History;
use super::seats::Seats;
use crate::limits;
use crate::proto::h1::response::Connection;
use crate::sys::priority;

/// A connection's stack: what it writes is on the heap; this leaves room for unoptimised builds.
const STACK: usize = 512 * 1024;

/// What every connection looks at.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) sources: Arc<Sources>,
    pub(super) history: History,
    /// Only this machine can connect.
    pub(super) local: bool,
    pub(super) began: Beginning,
}

/// The running admin listener; dropping it closes it and all its connections.
#[derive(Debug)]
pub struct Thread {
    address: SocketAddr,
    listener: Arc<TcpListener>,
    stopped: Arc<AtomicBool>,
    seats: Arc<Seats>,
    threads: Vec<JoinHandle<()>>,
}

/// Answers on this listener from now on. Fails only if the system gives no thread.
pub fn serve(listener: TcpListener, sources: Arc<Sources>) -> io::Result<Thread> {
    listener.set_nonblocking(false)?;
    let address = listener.local_addr()?;
    let local = address.ip().to_canonical().is_loopback();
    let began = Beginning::of(sources.began);
    if !local && (sources.token)().is_none() {
        log::warn!(
            "the admin listener can be reached from other machines and has no token: anybody there may read status and \
             metrics, commands are refused"
        );
    }
    let (listener, stopped) = (Arc::new(listener), Arc::new(AtomicBool::new(false)));
    let seats = Seats::new(limits::ADMIN_CONNECTIONS);
    let site = Arc::new(Site { history: History::new(&sources), sources, local, began });
    let mut thread = Thread { address, listener, stopped, seats, threads: Vec::new() };
    let (sampled, stopped) = (Arc::clone(&site), Arc::clone(&thread.stopped));
    let sample = move || {
        make_way();
        sampled.history.run(&sampled.sources, &stopped);
    };
    thread.threads.push(thread::Builder::new().name("samples".into()).spawn(sample)?);
    let (listener, stopped) = (Arc::clone(&thread.listener), Arc::clone(&thread.stopped));
    let seats = Arc::clone(&thread.seats);
    let accept = move || {
        make_way();
        accept(&listener, &site, &seats, &stopped);
    };
    thread.threads.push(thread::Builder::new().name("admin".into()).spawn(accept)?);
    log::info!("dashboard, status, metrics and commands on http://{address}/");
    Ok(thread)
}

/// Requests come first: what is told here of a thousand backends takes a core for several milliseconds. Threads that
/// this one starts make way as well.
fn make_way() {
    if let Err(error) = priority::lower() {
        log::warn!("the admin listener's threads have the priority of the workers: {error}");
    }
}

fn accept(listener: &TcpListener, site: &Arc<Site>, seats: &Arc<Seats>, stopped: &AtomicBool) {
    let mut id = 0;
    while !stopped.load(Ordering::Acquire) {
        match listener.accept() {
            Ok((stream, _)) => {
                id += 1;
                begin(id, stream, site, seats);
            }
            Err(_) if stopped.load(Ordering::Acquire) => return,
            // What fails is mostly a lack of descriptors, which asking again at once does not cure.
            Err(_) => thread::sleep(limits::ACCEPT_PAUSE),
        }
    }
}

fn begin(id: u64, stream: TcpStream, site: &Arc<Site>, seats: &Arc<Seats>) {
    let _ = stream.set_nodelay(true);
    let Some(seat) = seats.take(id, &stream, Instant::now()) else { return turn_away(&stream) };
    let site = Arc::clone(site);
    let serve = move || connection::serve(stream, &seat, &site);
    // Without a thread for it, the connection is dropped and so closed.
    let _ = thread::Builder::new().name("admin".into()).stack_size(STACK).spawn(serve);
}

/// All answers are being made. The little that is written fits any socket, so that it does not wait.
fn turn_away(mut stream: &TcpStream) {
    let answer = Answer::error(503, "too many connections to the admin listener; try again");
    let mut out = Vec::new();
    answer.write(&connection::date(), false, Connection::Close, &mut out);
    let _ = stream.write_all(&out);
}

impl Thread {
    /// Where it listens, with the port that the kernel chose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        // On Linux this wakes the blocked accept. Where it fails, a join would never return.
        let woken = SockRef::from(&*self.listener).shutdown(Shutdown::Both).is_ok();
        self.seats.clear();
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            if woken {
                // A panic has already been printed by the thread that had it.
                let _ = thread.join();
            }
        }
    }
}
