//! The end of a run: what is in flight finishes, or is cut.

use std::process::ExitCode;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use super::{Event, Running, count, failed};
use crate::limits;
use crate::sys;

impl Running {
    /// Drains until nothing is left, the drain timeout is over or a second signal comes. Where none has come so far, it
    /// was asked for over the admin listener, and whoever runs the process may yet tell it to end, in the usual way.
    pub(super) fn drain(self, mut signalled: bool) -> ExitCode {
        self.draining.store(true, Relaxed);
        log::info!("draining: no new connections, {} open", count(self.open(), "connection"));
        if let Err(error) = self.crew.drain() {
            log::error!("cannot wake a worker: {error}");
        }
        let deadline = Instant::now() + self.force.config().drain_timeout;
        let mut left = self.count;
        while left > 0 {
            match self.events.recv_deadline(deadline) {
                Ok(Event::Drained) => left -= 1,
                Ok(Event::Failed(i, error)) => return failed(i, &error),
                Ok(Event::Reload) => self.refuse_reload(),
                Ok(Event::Renamed | Event::Drain) => {}
                Ok(Event::Stop) if !signalled => {
                    signalled = true;
                    log::info!("draining already; a second signal ends it at once");
                }
                Ok(Event::Stop) => {
                    log::warn!("stopped by a second signal, {} cut", count(self.open(), "connection"));
                    return self.cut(left);
                }
                Err(_) => {
                    log::warn!("the drain timeout is over, {} cut", count(self.open(), "connection"));
                    return self.cut(left);
                }
            }
        }
        log::info!("drained");
        ExitCode::SUCCESS
    }

    fn refuse_reload(&self) {
        let why = "this process is draining";
        log::warn!("not reloaded: {why}");
        self.outcomes.ended(false, sys::process::since_boot());
        while let Ok(asked) = self.reloads.try_recv() {
            // Whoever asked may have given up.
            let _ = asked.send(Err(why.to_owned()));
        }
    }

    /// Has the workers that are left close all they have, and pass on the lines that tell of it.
    fn cut(&self, mut left: usize) -> ExitCode {
        self.crew.cut();
        let deadline = Instant::now() + limits::CUT_PATIENCE;
        while left > 0 {
            match self.events.recv_deadline(deadline) {
                Ok(Event::Drained) => left -= 1,
                Ok(Event::Failed(i, error)) => return failed(i, &error),
                Ok(Event::Stop | Event::Drain | Event::Reload | Event::Renamed) => {}
                Err(_) => {
                    log::warn!("{} did not end in time", count(left as u64, "worker"));
                    break;
                }
            }
        }
        ExitCode::SUCCESS
    }
}
