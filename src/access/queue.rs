//! The way of the lines from the workers to the thread that writes them: bounded, and never waited for.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::config::LogFormat;
use crate::limits;

/// What the writing thread is told.
#[derive(Debug)]
pub(super) enum Order {
    /// Whole lines.
    Write(Vec<u8>),
    /// There may be a file to open again.
    Look,
    /// Everything before this is written; say so.
    Finish(Sender<()>),
}

/// A worker's end of the queue.
#[derive(Clone, Debug)]
pub struct Queue {
    orders: Sender<Order>,
    /// Buffers for the next lines, empty.
    returned: Receiver<Vec<u8>>,
    losses: Arc<Losses>,
    /// Bytes of lines that are not written yet.
    waiting: Arc<AtomicUsize>,
    format: LogFormat,
}

/// The writing thread's end.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) orders: Receiver<Order>,
    pub(super) returns: Sender<Vec<u8>>,
    pub(super) losses: Arc<Losses>,
    pub(super) waiting: Arc<AtomicUsize>,
    pub(super) reopen: Arc<AtomicBool>,
    /// Is disconnected when nothing is to be waited for any more.
    pub(super) hurry: Receiver<()>,
}

/// What all queues of a process share, one after the other: what is lost behind an old one is counted all the same.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) losses: Arc<Losses>,
    /// Lines were lost.
    pub(super) rings: Receiver<()>,
    /// Dropped when nothing is to be waited for any more.
    pub(super) patience: Option<Sender<()>>,
    hurry: Receiver<()>,
    returns: Sender<Vec<u8>>,
    returned: Receiver<Vec<u8>>,
}

impl Shared {
    pub(super) fn new() -> Self {
        let (returns, returned) = bounded(limits::LOG_BATCHES);
        let (bell, rings) = bounded(1);
        let losses = Arc::new(Losses { lines: 0.into(), said: 0.into(), error: Mutex::default(), bell });
        let (patience, hurry) = bounded(0);
        Self { losses, rings, patience: Some(patience), hurry, returns, returned }
    }
}

/// Lines lost by the whole process.
#[derive(Debug)]
pub struct Losses {
    lines: AtomicU64,
    /// How many of them were said.
    said: AtomicU64,
    /// The last error of a write.
    error: Mutex<Option<String>>,
    /// Wakes the thread that says it: a worker would wait for standard error, which may be the same stuck pipe.
    bell: Sender<()>,
}

impl Losses {
    /// How many they are.
    pub fn lines(&self) -> u64 {
        self.lines.load(Relaxed)
    }

    fn add(&self, lines: u64) {
        self.lines.fetch_add(lines, Relaxed);
        // Rung already is as good.
        let _ = self.bell.try_send(());
    }

    /// Counts lines that could not be written.
    pub(super) fn refused(&self, lines: u64, error: &io::Error) {
        self.blame(error);
        self.add(lines);
    }

    /// What is lost next is lost for this.
    pub(super) fn blame(&self, error: &io::Error) {
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
    }

    /// What is lost from now on is not lost for that any more.
    pub(super) fn forgive(&self) {
        self.say();
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Says what was lost and not yet said.
    pub(super) fn say(&self) {
        let all = self.lines();
        let new = all.saturating_sub(self.said.swap(all, Relaxed));
        if new > 0 {
            let error = self.error.lock().unwrap_or_else(PoisonError::into_inner).take();
            let why = error.as_deref().unwrap_or("its file or pipe is too slow");
            log::warn!("access log: {new} lines lost, {all} in all: {why}");
        }
    }
}

/// Both ends.
pub(super) fn queue(format: LogFormat, shared: &Shared) -> (Queue, Ends) {
    let (orders, received) = bounded(limits::LOG_BATCHES);
    let Shared { losses, returns, returned, hurry, .. } = shared.clone();
    let waiting = Arc::<AtomicUsize>::default();
    let ends = Ends {
        orders: received,
        returns,
        losses: Arc::clone(&losses),
        waiting: Arc::clone(&waiting),
        reopen: Arc::default(),
        hurry,
    };
    (Queue { orders, returned, losses, waiting, format }, ends)
}

impl Queue {
    /// How its lines look.
    pub fn format(&self) -> LogFormat {
        self.format
    }

    /// Whether it is the same one, with lines that look the same.
    pub fn is(&self, other: &Self) -> bool {
        self.orders.same_channel(&other.orders) && self.format == other.format
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    pub(super) fn orders(&self) -> &Sender<Order> {
        &self.orders
    }

    /// Passes whole lines on, unless the queue is full: then they are lost, which is said now and then, and the buffer
    /// comes back with them in it.
    pub fn pass(&self, bytes: Vec<u8>, lines: u64) -> Result<(), Vec<u8>> {
        let length = bytes.len();
        // Others may pass theirs on just now: a batch more for each worker does no harm.
        if self.waiting.load(Relaxed) >= limits::LOG_BYTES {
            self.losses.add(lines);
            return Err(bytes);
        }
        self.waiting.fetch_add(length, Relaxed);
        self.orders.try_send(Order::Write(bytes)).map_err(|error| {
            self.waiting.fetch_sub(length, Relaxed);
            self.losses.add(lines);
            unwritten(error.into_inner())
        })
    }

    /// As [`Self::pass`], for the last lines of a worker: waits a moment for room.
    pub fn pass_last(&self, bytes: Vec<u8>, lines: u64) -> Result<(), Vec<u8>> {
        let length = bytes.len();
        self.waiting.fetch_add(length, Relaxed);
        let order = Order::Write(bytes);
        self.orders.send_timeout(order, limits::LOG_PATIENCE).map_err(|error| {
            self.waiting.fetch_sub(length, Relaxed);
            self.losses.add(lines);
            unwritten(error.into_inner())
        })
    }

    /// A buffer that came back, if one did.
    pub fn returned(&self) -> Option<Vec<u8>> {
        self.returned.try_recv().ok()
    }
}

fn unwritten(order: Order) -> Vec<u8> {
    match order {
        Order::Write(bytes) => bytes,
        Order::Look | Order::Finish(_) => Vec::new(),
    }
}
