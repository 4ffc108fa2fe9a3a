//! The way of the lines from the workers to the thread that writes them: bounded, and never waited for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::config::LogFormat;
use crate::limits;

/// Whole lines.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) lines: u64,
}

/// What the writing thread is told.
#[derive(Debug)]
pub(super) enum Order {
    Write(Batch),
    /// There may be a file to open again.
    Look,
    /// Everything before this is written; say so.
    Finish(Sender<()>),
}

/// A buffer that has been written, and lines of it that were not.
#[derive(Debug)]
pub struct Returned {
    /// Empty, for the next lines.
    pub bytes: Vec<u8>,
    /// Lines that could not be written.
    pub lost: u64,
}

/// A worker's end of the queue.
#[derive(Clone, Debug)]
pub struct Queue {
    orders: Sender<Order>,
    returned: Receiver<Returned>,
    losses: Arc<Losses>,
    format: LogFormat,
}

/// The writing thread's end.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) orders: Receiver<Order>,
    pub(super) returns: Sender<Returned>,
    pub(super) losses: Arc<Losses>,
    pub(super) reopen: Arc<AtomicBool>,
}

/// Lines lost by the whole process, and when that was last said.
#[derive(Debug, Default)]
pub(super) struct Losses {
    lines: AtomicU64,
    /// How many of them were said.
    said: AtomicU64,
    /// In milliseconds since the process began; 0 is never.
    said_at: AtomicU64,
}

impl Losses {
    /// Counts lost lines, and says so unless that was done within the last minute.
    pub(super) fn add(&self, lines: u64, why: &str, now: u64) {
        self.lines.fetch_add(lines, Relaxed);
        let (last, now) = (self.said_at.load(Relaxed), now.max(1));
        let due = last == 0 || now >= last + limits::LOG_WARNING.as_millis() as u64;
        if due && self.said_at.compare_exchange(last, now, Relaxed, Relaxed).is_ok() {
            self.say(why);
        }
    }

    /// Says what was lost and not yet said.
    pub(super) fn say(&self, why: &str) {
        let all = self.lines.load(Relaxed);
        let new = all.saturating_sub(self.said.swap(all, Relaxed));
        if new > 0 {
            log::warn!("access log: {new} lines lost, {all} in all: {why}");
        }
    }
}

/// Both ends.
pub(super) fn queue(format: LogFormat) -> (Queue, Ends) {
    let (orders, received) = bounded(limits::LOG_BATCHES);
    let (returns, returned) = bounded(limits::LOG_BATCHES);
    let losses = Arc::new(Losses::default());
    let ends = Ends { orders: received, returns, losses: Arc::clone(&losses), reopen: Arc::default() };
    (Queue { orders, returned, losses, format }, ends)
}

impl Queue {
    /// How its lines look.
    pub fn format(&self) -> LogFormat {
        self.format
    }

    pub(super) fn orders(&self) -> &Sender<Order> {
        &self.orders
    }

    /// Passes whole lines on, unless the queue is full: then they are lost, which is said now and then, and the buffer
    /// comes back with them in it. `now` is in milliseconds since the process began.
    pub fn pass(&self, bytes: Vec<u8>, lines: u64, now: u64) -> Result<(), Vec<u8>> {
        self.orders.try_send(Order::Write(Batch { bytes, lines })).map_err(|error| {
            self.losses.add(lines, "the file or pipe is too slow", now);
            unwritten(error.into_inner())
        })
    }

    /// As [`Self::pass`], for the last lines of a worker: waits a moment for room.
    pub fn pass_last(&self, bytes: Vec<u8>, lines: u64, now: u64) -> Result<(), Vec<u8>> {
        let order = Order::Write(Batch { bytes, lines });
        self.orders.send_timeout(order, limits::LOG_PATIENCE).map_err(|error| {
            self.losses.add(lines, "the file or pipe is too slow", now);
            unwritten(error.into_inner())
        })
    }

    /// A buffer that came back, if one did.
    pub fn returned(&self) -> Option<Returned> {
        self.returned.try_recv().ok()
    }
}

fn unwritten(order: Order) -> Vec<u8> {
    match order {
        Order::Write(batch) => batch.bytes,
        Order::Look | Order::Finish(_) => Vec::new(),
    }
}
