//! The loop of the probe thread: does what the schedule says on real sockets, and tells the table.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Acquire};
use std::time::Instant;

use mio::net::TcpStream;
use mio::{Events, Poll, Token};

use super::dial::{self, Failure};
use super::schedule::{Due, Schedule, Step, Up};
use crate::balance::{Backend, Table};
use crate::config::Health;
use crate::id::BackendId;

/// The stop signal; backends have their number as token.
pub(super) const STOP: Token = Token(usize::MAX);
/// A whole round of a large table in a few turns.
const EVENTS: usize = 1024;

/// All probes and what they need.
pub(super) struct Rounds {
    table: Arc<Table>,
    schedule: Schedule,
    slots: Box<[Slot]>,
    poll: Poll,
    began: Instant,
}

/// What is kept for one backend.
#[derive(Default)]
struct Slot {
    /// The attempt that runs: never more than one descriptor.
    stream: Option<TcpStream>,
    /// A first result has been told.
    told: bool,
}

impl Rounds {
    /// Probes of every backend of the table, the first round due now.
    pub(super) fn new(table: Arc<Table>, health: Health, poll: Poll, began: Instant) -> Self {
        let backends = table.backends().len();
        let slots = (0..backends).map(|_| Slot::default()).collect();
        Self { table, schedule: Schedule::new(health, backends, Instant::now()), slots, poll, began }
    }

    /// Probes until told to stop. Panics if the system refuses to wait: nothing can be balanced blindly.
    pub(super) fn run(mut self, stop: &AtomicBool) {
        let mut events = Events::with_capacity(EVENTS);
        while !stop.load(Acquire) {
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
                let backend = self.table.backend(id);
                let (addresses, first) = (backend.addresses().len(), backend.preferred());
                let step = self.schedule.start(id, addresses, first, now);
                self.follow(id, step);
            }
            Due::Expired(id) => self.failed(id, Failure::NoAnswer),
        }
    }

    /// A socket may have connected or failed.
    fn ready(&mut self, token: Token) {
        let Some(stream) = self.slots.get(token.0).and_then(|slot| slot.stream.as_ref()) else {
            return;
        };
        let id = BackendId(token.0 as u16);
        match dial::check(stream) {
            Ok(false) => {}
            Ok(true) => {
                self.slots[id.index()].stream = None;
                if let Some(up) = self.schedule.connected(id, Instant::now()) {
                    self.up(id, up);
                }
            }
            Err(error) => self.failed(id, Failure::Error(error)),
        }
    }

    fn failed(&mut self, id: BackendId, failure: Failure) {
        self.slots[id.index()].stream = None;
        let step = self.schedule.failed(id, failure, Instant::now());
        self.follow(id, step);
    }

    /// Goes on with a probe until it waits for the network or has ended.
    fn follow(&mut self, id: BackendId, mut step: Step) {
        loop {
            let position = match step {
                Step::Dial(position) => position,
                Step::Down(failed) => return self.down(id, &failed),
            };
            let address = self.table.backend(id).addresses()[position];
            match dial::dial(self.poll.registry(), address, Token(id.index())) {
                Ok(stream) => {
                    self.slots[id.index()].stream = Some(stream);
                    return;
                }
                Err(error) if dial::is_shortage(&error) => return self.postpone(id, error),
                Err(error) => step = self.schedule.failed(id, Failure::Error(error), Instant::now()),
            }
        }
    }

    fn postpone(&mut self, id: BackendId, error: io::Error) {
        if self.schedule.postpone(id, Instant::now()) {
            let why = Failure::Error(error);
            log::warn!("not every backend can be probed: {why}; those keep their last state (see ulimit -n)");
        }
    }

    fn up(&mut self, id: BackendId, up: Up) {
        let backend = self.table.backend(id);
        backend.prefer(up.position);
        if self.settle(id, true) {
            let backend = self.table.backend(id);
            log::info!("{}", UpLine { backend, up });
        }
    }

    fn down(&mut self, id: BackendId, failed: &[(usize, Failure)]) {
        if self.settle(id, false) {
            let backend = self.table.backend(id);
            log::warn!("{}", DownLine { backend, failed });
        }
    }

    /// Writes the result into the table; true when it is news.
    fn settle(&mut self, id: BackendId, up: bool) -> bool {
        let changed = self.table.set_up(id, up, self.began.elapsed().as_millis() as u64);
        let told = std::mem::replace(&mut self.slots[id.index()].told, true);
        changed || !told
    }
}

/// The log line of a backend that is up.
struct UpLine<'a> {
    backend: &'a Backend,
    up: Up,
}

impl fmt::Display for UpLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.backend.addresses()[self.up.position];
        let took = self.up.took.as_secs_f64() * 1000.0;
        write!(f, "backend {} is up ({address}, {took:.1} ms)", self.backend.url())
    }
}

/// The log line of a backend that is down: every address and what became of it.
struct DownLine<'a> {
    backend: &'a Backend,
    failed: &'a [(usize, Failure)],
}

impl fmt::Display for DownLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "backend {} is down: ", self.backend.url())?;
        if self.failed.is_empty() {
            f.write_str("its name does not resolve")?;
        }
        for (count, (position, failure)) in self.failed.iter().enumerate() {
            let comma = if count == 0 { "" } else { ", " };
            write!(f, "{comma}{failure} ({})", self.backend.addresses()[*position])?;
        }
        Ok(())
    }
}

#[cfg(any())]
mod tests {
    use super::*;
    use crate::config::{self, BackendUrl};
    use std::time::Duration;

    fn backend(addresses: &[&str]) -> Backend {
        let url = BackendUrl { host: "localhost".into(), port: 8081 };
        Backend::new(
            config::Backend::new(url),
            addresses.iter().map(|address| address.parse().unwrap()).collect(),
        )
    }

    #[test]
    fn lines_name_the_backend_the_address_and_the_reason() {
        let refused = || Failure::Error(io::ErrorKind::ConnectionRefused.into());
        let backend = &backend(&["127.0.0.1:8081", "[::1]:8081"]);
        let line = |failed: &[(usize, Failure)]| DownLine { backend, failed }.to_string();
        assert_eq!(
            line(&[(0, refused())]),
            "backend http://localhost:8081 is down: connection refused (127.0.0.1:8081)"
        );
        assert_eq!(
            line(&[(1, Failure::NoAnswer), (0, refused())]),
            "backend http://localhost:8081 is down: \
             no answer in time ([::1]:8081), connection refused (127.0.0.1:8081)"
        );
        assert_eq!(line(&[]), "backend http://localhost:8081 is down: its name does not resolve");
        let up = Up { position: 0, took: Duration::from_micros(314) };
        assert_eq!(
            UpLine { backend, up }.to_string(),
            "backend http://localhost:8081 is up (127.0.0.1:8081, 0.3 ms)"
        );
    }
}
