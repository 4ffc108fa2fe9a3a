//! The access log in force, and how another follows it.

use std::io;
use std::mem;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use crossbeam_channel::after;

use super::queue::{Losses, Order, Queue, Shared};
use super::writer::{self, Ending, Target, Writer};
use crate::config::AccessLog;
use crate::limits;

/// The log in force, if there is one. Dropping it waits a moment until what was passed on so far is written.
#[derive(Debug)]
pub struct Log {
    shared: Shared,
    /// A thread says what was lost.
    tells: bool,
    current: Option<(AccessLog, Writer)>,
    /// Those before it that may still have to write.
    leaving: Vec<Ending>,
    reopen: Reopen,
}

/// A log that is ready to follow the one in force: its file is open and its thread runs.
#[derive(Debug)]
pub struct Next(Option<(AccessLog, Writer)>);

/// Has the file in force opened again, under the name that it was asked for by.
#[derive(Clone, Debug)]
pub struct Reopen(Arc<Mutex<Option<Target>>>);

impl Log {
    /// No log yet.
    pub fn none() -> Self {
        let (shared, reopen) = (Shared::new(), Reopen(Arc::default()));
        Self { shared, tells: false, current: None, leaving: Vec::new(), reopen }
    }

    /// Makes what is wanted ready, if it is not what is in force already; nothing changes yet.
    pub fn prepare(&mut self, wanted: Option<&AccessLog>) -> io::Result<Option<Next>> {
        if self.current.as_ref().map(|(log, _)| log) == wanted {
            return Ok(None);
        }
        let Some(wanted) = wanted else { return Ok(Some(Next(None))) };
        let current = self.current.iter().map(|(_, writer)| &writer.ending);
        let before = self.leaving.iter().chain(current).cloned().collect();
        Ok(Some(Next(Some((wanted.clone(), writer::start(wanted, &self.shared, before)?)))))
    }

    /// Puts it in force: the one before ends as soon as no worker has a queue to it any more.
    pub fn follow(&mut self, next: Next) {
        if next.0.is_some()
            && let Err(error) = self.tell_losses()
        {
            log::error!("access log: nobody says what of it is lost: {error}");
        }
        let before = mem::replace(&mut self.current, next.0);
        *self.reopen.target() = self.current.as_ref().map(|(_, writer)| writer.target());
        self.leaving.retain(|ending| !ending.is_over());
        self.leaving.extend(before.map(|(_, writer)| writer.ending));
    }

    /// A worker's end of the queue.
    pub fn queue(&self) -> Option<Queue> {
        self.current.as_ref().map(|(_, writer)| writer.queue())
    }

    /// What was lost so far, for those who ask from other threads.
    pub fn losses(&self) -> Arc<Losses> {
        Arc::clone(&self.shared.losses)
    }

    /// What has the file opened again, whichever is in force when it is asked.
    pub fn reopen(&self) -> Reopen {
        self.reopen.clone()
    }

    fn tell_losses(&mut self) -> io::Result<()> {
        if self.tells {
            return Ok(());
        }
        let Shared { losses, rings, .. } = self.shared.clone();
        let tell = move || {
            while rings.recv().is_ok() {
                losses.say();
                thread::sleep(limits::LOG_WARNING);
            }
        };
        thread::Builder::new().name("access-losses".into()).spawn(tell)?;
        self.tells = true;
        Ok(())
    }
}

impl Next {
    /// It will not be followed: nothing stays of it, not even a file that was made for it.
    pub fn forget(self) {
        self.0.into_iter().for_each(|(_, writer)| writer.forget());
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.shared.patience = None;
        let limit = after(limits::LOG_PATIENCE);
        let left = self.leaving.iter().all(|ending| ending.await_until(&limit));
        let finished = self.current.as_ref().is_none_or(|(_, writer)| writer.finish());
        self.shared.losses.say();
        if !finished {
            let waiting = self.current.as_ref().map_or(0, |(_, writer)| writer.waiting());
            log::warn!("access log: its last lines, up to {waiting} bytes, could not be written in time");
        } else if !left {
            log::warn!("access log: last lines of one before it could not be written in time");
        }
    }
}

impl Reopen {
    fn target(&self) -> MutexGuard<'_, Option<Target>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for it; the next line goes to the new file.
    pub fn ask(&self) {
        if let Some((wanted, orders)) = &*self.target() {
            // Asked for already: orders that nobody takes would keep lines out of the queue.
            if wanted.swap(true, Relaxed) {
                return;
            }
            // With the queue full the thread is awake, and looks before it writes.
            let _ = orders.try_send(Order::Look);
        }
    }
}
