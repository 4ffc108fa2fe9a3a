//! The loop of the probe thread: does what the schedule says on real sockets, and tells the table.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::Receiver;
use fastrand::Rng;
use mio::{Events, Poll, Token};
use rustix::io::Errno;

use super::attempt::{Attempt, Progress};
use super::course::{Failed, Step, Up};
use super::dial;
use super::fault::{Failure, Fault};
use super::lines::{DownLine, UpLine};
use super::schedule::{Due, Entry, Schedule};
use super::streak::Streak;
use super::targets::Targets;
use super::timing::Timing;
use crate::balance::Table;
use crate::config::Check;
use crate::id::BackendId;

/// Says that a command has come; attempts have their backend's number as token.
pub(super) const COMMAND: Token = Token(usize::MAX);
/// A whole round of a large table in a few turns.
const EVENTS: usize = 1024;
/// Read at once of an answer: most are far smaller.
const ROOM: usize = 16 * 1024;

/// What the thread is told.
pub(super) enum Command {
    /// Another table is in force.
    Replace(Arc<Table>),
    /// The end.
    Stop,
}

/// All probes and what they need.
pub(super) struct Rounds {
    targets: Targets,
    schedule: Schedule,
    slots: Vec<Slot>,
    poll: Poll,
    room: Box<[u8]>,
}

/// What is kept for one backend.
#[derive(Default)]
struct Slot {
    /// The attempt that runs: never more than one descriptor.
    attempt: Option<Attempt>,
    streak: Streak,
    /// Those of the latest probe: the backend's own may be others by now.
    addresses: Arc<[SocketAddr]>,
}

impl Rounds {
    /// Probes of all targets, the first round due now.
    pub(super) fn new(targets: Targets, poll: Poll) -> Self {
        let mut schedule = Schedule::new(Rng::new());
        let entries: Vec<_> = targets.ids().map(|id| Entry::New(Timing::of(targets.health(id)))).collect();
        schedule.replace(&entries, Instant::now());
        let slots = entries.iter().map(|_| Slot::default()).collect();
        Self { targets, schedule, slots, poll, room: vec![0; ROOM].into() }
    }

    /// Probes until told to stop. Panics if the system refuses to wait: nothing can be balanced blindly.
    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            // Behind the events, so that none of them is taken for a backend that has got its number since.
            for command in commands.try_iter() {
                match command {
                    Command::Replace(table) => self.replace(table),
                    Command::Stop => return,
                }
            }
            let now = Instant::now();
            while let Some(due) = self.schedule.due(now) {
                self.act(due);
            }
            let timeout = self.schedule.wake().map(|wake| wake.saturating_duration_since(Instant::now()));
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    panic!("health checks cannot go on: {error}")
                }
                // An interruption leaves no events.
                _ => events.iter().for_each(|event| self.ready(event.token())),
            }
        }
    }

    fn act(&mut self, due: Due) {
        let now = Instant::now();
        match due {
            Due::Start(id) => {
                let backend = self.targets.backend(id);
                let (addresses, first) = (backend.addresses(), backend.preferred());
                let step = self.schedule.start(id, addresses.len(), first, now);
                self.slots[id.index()].addresses = addresses;
                self.follow(id, step);
            }
            Due::Expired(id) => {
                let attempt = self.slots[id.index()].attempt.take();
                let fault = attempt.map_or(Fault { path: None, failure: Failure::NoAnswer }, |attempt| {
                    attempt.fault(Failure::NoAnswer)
                });
                let step = self.schedule.address_failed(id, fault, now);
                self.follow(id, step);
            }
        }
    }

    /// An attempt may go on.
    fn ready(&mut self, token: Token) {
        let Some(attempt) = self.slots.get_mut(token.0).and_then(|slot| slot.attempt.as_mut()) else {
            return;
        };
        let id = BackendId(token.0 as u16);
        let (check, url) = (&self.targets.health(id).check, self.targets.backend(id).url());
        let progress = attempt.advance(check, url, &mut self.room);
        if matches!(progress, Progress::Waiting) {
            return;
        }
        self.slots[id.index()].attempt = None;
        let now = Instant::now();
        let step = match progress {
            Progress::Waiting => return,
            Progress::Good(status) => {
                if let Some(up) = self.schedule.succeeded(id, now) {
                    self.up(id, up, status);
                }
                return;
            }
            Progress::Unreachable(fault) => self.schedule.address_failed(id, fault, now),
            Progress::Bad(fault) => self.schedule.path_failed(id, fault, now),
        };
        self.follow(id, step);
    }

    /// Goes on with a probe until it waits for the network or has ended.
    fn follow(&mut self, id: BackendId, mut step: Step) {
        loop {
            let (position, path) = match step {
                Step::Dial { position, path } => (position, path),
                Step::Down(failed) => return self.down(id, &failed),
            };
            let address = self.slots[id.index()].addresses[position];
            match Attempt::new(self.poll.registry(), Token(id.index()), address, path) {
                Ok(attempt) => {
                    self.slots[id.index()].attempt = Some(attempt);
                    return;
                }
                Err(error) if dial::is_shortage(&error, address) => return self.postpone(id, error),
                Err(error) => {
                    let fault = Fault { path: None, failure: Failure::Error(error) };
                    step = self.schedule.address_failed(id, fault, Instant::now());
                }
            }
        }
    }

    fn postpone(&mut self, id: BackendId, error: io::Error) {
        if self.schedule.postpone(id, Instant::now()) {
            let ports = error.raw_os_error() == Some(Errno::ADDRNOTAVAIL.raw_os_error());
            let see = if ports {
                "no local port is free; see net.ipv4.ip_local_port_range"
            } else {
                "see ulimit -n"
            };
            let why = Failure::Error(error);
            log::warn!("not every backend can be probed: {why}; those keep their last state ({see})");
        }
    }

    fn up(&mut self, id: BackendId, up: Up, status: Option<u16>) {
        self.targets.backend(id).prefer(up.position);
        if let Some(in_a_row) = self.settle(id, true) {
            let (backend, check) = (self.targets.backend(id), &self.targets.health(id).check);
            let addresses = &self.slots[id.index()].addresses;
            log::info!("{}", UpLine { backend, addresses, check, in_a_row, up, status });
        }
    }

    fn down(&mut self, id: BackendId, failed: &[Failed]) {
        if let Some(in_a_row) = self.settle(id, false) {
            let (backend, check) = (self.targets.backend(id), &self.targets.health(id).check);
            let addresses = &self.slots[id.index()].addresses;
            let line = DownLine { backend, addresses, check, in_a_row, failed }.to_string();
            log::warn!("{line}");
            let why = line.split_once(" is down").and_then(|(_, rest)| rest.split_once(": "));
            backend.record().explain(why.map_or(String::new(), |(_, why)| why.to_owned()));
        }
    }

    /// Writes what follows from a result into the table; when that is news, how many in a row it took.
    fn settle(&mut self, id: BackendId, good: bool) -> Option<u32> {
        let health = self.targets.health(id);
        let streak = &mut self.slots[id.index()].streak;
        let believed = self.targets.backend(id).is_up();
        let verdict = streak.add(good, believed, health.rise, health.fall);
        if verdict.up != good {
            self.schedule.hasten(id, Instant::now());
            return None;
        }
        let is_news = self.targets.set_up(id, good) || verdict.is_first;
        is_news.then_some(streak.count())
    }

    /// Another table: backends that are in both go on as they are, wherever they stand in it.
    fn replace(&mut self, table: Arc<Table>) {
        let targets = self.targets.of(table);
        let mut old: HashMap<_, _> = self.targets.ids().map(|id| (self.targets.identity(id), id)).collect();
        let mut slots = Vec::new();
        let mut entries = Vec::new();
        for id in targets.ids() {
            let (slot, entry) = match old.remove(&targets.identity(id)) {
                Some(was) => self.carry_over(was, &targets, id),
                None => (Slot::default(), Entry::New(Timing::of(targets.health(id)))),
            };
            slots.push(slot);
            entries.push(entry);
        }
        self.schedule.replace(&entries, Instant::now());
        // Attempts at backends that have gone end here.
        (self.slots, self.targets) = (slots, targets);
    }

    /// The state of a backend under its new number. One that is to be checked in another way, or has moved, is
    /// probed anew, and one that is not to be checked any more is left to traffic.
    fn carry_over(&mut self, was: BackendId, targets: &Targets, id: BackendId) -> (Slot, Entry) {
        let mut slot = std::mem::take(&mut self.slots[was.index()]);
        let (health, addresses) = (targets.health(id), targets.backend(id).addresses());
        if targets.backend(id).is_gone() {
            return (Slot::default(), Entry::New(None));
        }
        if !addresses.is_empty() && !addresses.iter().any(|address| slot.addresses.contains(address)) {
            return (Slot::default(), Entry::New(Timing::of(health)));
        }
        if self.targets.health(was) == health {
            let renamed = match &mut slot.attempt {
                Some(attempt) if was != id => attempt.rename(self.poll.registry(), Token(id.index())),
                _ => Ok(()),
            };
            if renamed.is_ok() {
                return (slot, Entry::Kept(was));
            }
        }
        slot.attempt = None;
        if health.check == Check::None && targets.set_up(id, true) {
            slot.streak = Streak::default();
            log::info!("backend {} is taken to be up: it is not checked any more", targets.backend(id).url());
        }
        (slot, Entry::New(Timing::of(health)))
    }
}
