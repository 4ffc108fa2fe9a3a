//! The health thread: a timed connect or request to every backend, all at once, each interval.
//!
//! A backend that is believed up goes down after `fall` failed probes in a row, one that is believed down comes up
//! after `rise` good ones; the very first result decides alone. While a backend is between the two (its latest
//! result is not what is believed of it), it is probed sooner: each quarter of the interval, but at most once a
//! second unless the interval itself is shorter. Each start but the first is late by a random time of up to a
//! tenth of the interval.
//!
//! `schedule` decides, handed the time (`timing`), and leads each probe over addresses and paths (`course`);
//! `streak` knows rise and fall; `rounds` does all that with mio and tells the table (`targets`). An `attempt` is
//! one connection (`dial`), with at most one `request` and its `answer`; `fault` and `lines` say what was wrong.

mod answer;
mod attempt;
mod course;
mod dial;
mod fault;
mod lines;
mod request;
mod rounds;
mod schedule;
mod streak;
mod targets;
mod timing;

use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use crossbeam_channel::{Sender, unbounded};
use mio::{Poll, Waker};

use crate::balance::Table;
use rounds::{Command, Rounds};
use targets::Targets;

/// The running probe thread; dropping it stops it.
#[derive(Debug)]
pub struct Thread {
    commands: Sender<Command>,
    waker: Waker,
    join: Option<JoinHandle<()>>,
}

/// Starts the thread `probe`; its first round begins at once. The table counts time from when the process `began`.
/// Fails only if the system gives no thread or no poller.
pub fn spawn(table: Arc<Table>, began: Instant) -> io::Result<Thread> {
    let poll = Poll::new()?;
    let waker = Waker::new(poll.registry(), rounds::COMMAND)?;
    let (commands, received) = unbounded();
    let rounds = Rounds::new(Targets::new(table, began), poll);
    let join = Builder::new().name("probe".into()).spawn(move || rounds.run(&received))?;
    Ok(Thread { commands, waker, join: Some(join) })
}

impl Thread {
    /// Another table is in force. Backends that are in both go on being probed as they were; new ones, and those
    /// that are to be checked in another way, are probed at once; connections to those that have gone are closed.
    pub fn replace(&self, table: Arc<Table>) {
        self.command(Command::Replace(table));
    }

    /// Stops probing, closes its connections and waits until the thread has ended, which takes milliseconds.
    pub fn stop(self) {}

    /// False once the thread has ended, which before `stop` only a panic can do.
    pub fn is_running(&self) -> bool {
        self.join.as_ref().is_some_and(|join| !join.is_finished())
    }

    /// False when the thread cannot be woken for it; then it finds it at its next event.
    fn command(&self, command: Command) -> bool {
        // A thread that has ended after a panic takes none.
        let _ = self.commands.send(command);
        self.waker.wake().is_ok()
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // A thread that cannot be woken is better left alone than waited for.
        if self.command(Command::Stop)
            && let Some(join) = self.join.take()
        {
            // A panic has already been printed by the thread that had it.
            let _ = join.join();
        }
    }
}

#[cfg(test)]
mod tests;
