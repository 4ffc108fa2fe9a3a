//! What the workers of one process share: how many connections each has open, and the way to pass one on.
//!
//! SO_REUSEPORT deals connections by hash: 32 long-lived ones on two workers easily stand 20 to 12. A
//! connection is passed on when it is about to be watched for the first time, which is before it costs a
//! registration, and which one that is closed after a single answer never comes to; one whose first request was
//! already there is passed on when that is answered.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use mio::Waker;
use mio::net::TcpStream;

use super::pump::Settings;
use crate::access::Queue;
use crate::balance::{Padded, Table};
use crate::id::{BackendId, PoolId};
use crate::limits;
use crate::transport::Newcomer;

/// What a worker can be told.
#[derive(Debug)]
pub enum Command {
    /// Stop accepting, let exchanges end, then return.
    Drain,
    /// Wait no longer for what a drain still waits for.
    Cut,
    /// Take over a connection that another worker accepted; it is counted already.
    Adopt(Newcomer<TcpStream>),
    /// Close an unused connection to this backend: it has all it may have, and another worker needs one.
    MakeRoom(BackendId),
    /// There may be room for the first of the line for this pool.
    TakeTurn(PoolId),
    /// Take over a new configuration.
    Renew(Box<Renewal>),
    /// Begin with these listeners, by number.
    Open(Vec<(u16, TcpListener)>),
}

/// What a reload brings one worker.
#[derive(Debug)]
pub struct Renewal {
    /// The next table.
    pub table: Arc<Table>,
    /// The next settings.
    pub settings: Arc<Settings>,
    /// Where a line goes for each exchange.
    pub access: Option<Queue>,
    /// Numbers of the listeners to empty and close.
    pub closed: Vec<u16>,
    /// Told when all of it is done.
    pub done: Sender<()>,
}

/// Set in the count of a worker that takes nobody over any more.
const CLOSED: u32 = 1 << 31;

/// The counts and the ways, one of each a worker.
#[derive(Debug)]
pub struct Crew {
    open: Box<[Padded<AtomicU32>]>,
    ways: Box<[(Sender<Command>, Arc<Waker>)]>,
    /// When a worker paused accepting last, in milliseconds of the worker.
    paused: AtomicU64,
    /// That was said, and not yet that it is over.
    pause_said: AtomicBool,
}

impl Crew {
    /// A crew of these wakers, and each worker's end of its channel.
    pub fn new(wakers: Vec<Arc<Waker>>) -> (Arc<Self>, Vec<Receiver<Command>>) {
        let open = wakers.iter().map(|_| Padded::default()).collect();
        let (senders, ends): (Vec<_>, Vec<_>) = wakers.iter().map(|_| bounded(limits::COMMANDS)).unzip();
        let ways = senders.into_iter().zip(wakers).collect();
        (Arc::new(Self { open, ways, paused: AtomicU64::new(0), pause_said: AtomicBool::new(false) }), ends)
    }

    /// Tells every worker to drain.
    pub fn drain(&self) -> io::Result<()> {
        for (sender, waker) in &self.ways {
            // A worker that does not take it any more has ended.
            let _ = sender.send(Command::Drain);
            waker.wake()?;
        }
        Ok(())
    }

    /// Tells every worker to wait no longer. One that hangs is not waited for.
    pub fn cut(&self) {
        for (sender, waker) in &self.ways {
            let _ = sender.try_send(Command::Cut);
            let _ = waker.wake();
        }
    }

    /// Gives each worker its part of a new configuration.
    pub fn renew(&self, parts: impl Iterator<Item = Renewal>) -> io::Result<()> {
        for ((sender, waker), part) in self.ways.iter().zip(parts) {
            // A worker that does not take it any more has ended.
            let _ = sender.send(Command::Renew(Box::new(part)));
            waker.wake()?;
        }
        Ok(())
    }

    /// Gives each worker its own sockets of new listeners, once all have the configuration that knows of them: one
    /// worker may pass a connection on to any other.
    pub fn listen(&self, parts: impl Iterator<Item = Vec<(u16, TcpListener)>>) -> io::Result<()> {
        for ((sender, waker), part) in self.ways.iter().zip(parts).filter(|(_, part)| !part.is_empty()) {
            let _ = sender.send(Command::Open(part));
            waker.wake()?;
        }
        Ok(())
    }

    /// Connections that each worker has open.
    pub fn open(&self) -> impl Iterator<Item = u32> + '_ {
        self.open.iter().map(|count| count.0.load(Relaxed) & !CLOSED)
    }
}

/// One worker's place in its crew.
#[derive(Clone, Debug)]
pub struct Place {
    crew: Arc<Crew>,
    own: usize,
}

impl Place {
    /// The place of worker number `own`.
    pub fn new(crew: Arc<Crew>, own: usize) -> Self {
        Self { crew, own }
    }

    /// Counts a connection that this worker accepted.
    pub fn opened(&self) {
        self.crew.open[self.own].0.fetch_add(1, Relaxed);
    }

    /// Counts one that it closed.
    pub fn closed(&self) {
        self.crew.open[self.own].0.fetch_sub(1, Relaxed);
    }

    /// Connections open in the whole crew.
    pub fn total(&self) -> u64 {
        self.crew.open().map(u64::from).sum()
    }

    /// Notes that this worker pauses accepting now; true when that is to be said. The workers' clocks began within moments
    /// of each other.
    pub fn pauses(&self, now: u64) -> bool {
        self.crew.paused.fetch_max(now, Relaxed);
        !self.crew.pause_said.swap(true, Relaxed)
    }

    /// Whether it is to be said that no worker has paused for [`limits::ACCEPT_CALM`].
    pub fn is_calm(&self, now: u64) -> bool {
        let last = self.crew.paused.load(Relaxed);
        last + limits::ACCEPT_CALM.as_millis() as u64 <= now && self.crew.pause_said.swap(false, Relaxed)
    }

    /// Asks the others for room at a backend that has all the connections it may have.
    pub fn ask_for_room(&self, backend: BackendId) {
        let others = self.crew.ways.iter().enumerate().filter(|&(i, _)| i != self.own);
        for (_, (sender, waker)) in others {
            // One with so much to do has nothing unused.
            if sender.try_send(Command::MakeRoom(backend)).is_ok() {
                let _ = waker.wake();
            }
        }
    }

    /// Tells another worker that there may be room for the first of its line.
    pub fn give_turn(&self, worker: usize, pool: PoolId) {
        let (sender, waker) = &self.crew.ways[worker];
        // One that takes no command now tries again of itself in a while.
        if sender.try_send(Command::TakeTurn(pool)).is_ok() {
            let _ = waker.wake();
        }
    }

    /// Takes nobody over any more; true when no connection is left, none on its way here either.
    pub fn retire(&self) -> bool {
        self.crew.open[self.own].0.fetch_or(CLOSED, Relaxed) & !CLOSED == 0
    }

    /// The worker with fewest connections, if it has at least two fewer than this one.
    pub fn lighter(&self) -> Option<usize> {
        let own = self.crew.open[self.own].0.load(Relaxed);
        let counts = self.crew.open.iter().enumerate().map(|(i, count)| (count.0.load(Relaxed), i));
        let (least, other) = counts.min()?;
        (own < CLOSED && least + 1 < own).then_some(other)
    }

    /// Passes a connection on; gives it back when the other does not take it.
    pub fn pass(&self, to: usize, newcomer: Newcomer<TcpStream>) -> Result<(), Newcomer<TcpStream>> {
        let (count, (sender, waker)) = (&self.crew.open[to].0, &self.crew.ways[to]);
        // Counted by the giver, so that a burst of connections does not all go to the same worker, and only
        // while the taker has not retired.
        let counted = count.fetch_update(Relaxed, Relaxed, |n| (n < CLOSED).then_some(n + 1));
        if counted.is_err() {
            return Err(newcomer);
        }
        match sender.try_send(Command::Adopt(newcomer)) {
            Ok(()) => {
                self.closed();
                // It wakes on its own at the latest when its next timer is due.
                let _ = waker.wake();
                Ok(())
            }
            Err(
                TrySendError::Full(Command::Adopt(newcomer))
                | TrySendError::Disconnected(Command::Adopt(newcomer)),
            ) => {
                count.fetch_sub(1, Relaxed);
                Err(newcomer)
            }
            Err(_) => unreachable!("what was sent comes back"),
        }
    }
}
