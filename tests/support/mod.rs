//! The two sides of a balancer under test: clients and backends that are strict about what they read, and the
//! real binary between them.

pub(crate) mod backend;
pub(crate) mod client;
pub(crate) mod figures;
pub(crate) mod port;
pub(crate) mod process;
pub(crate) mod raw;
pub(crate) mod wire;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};

pub(crate) use backend::{Backend, Reply, Request};
pub(crate) use client::{Client, get};
pub(crate) use port::Port;
pub(crate) use process::{Evenkeel, TestServer};
pub(crate) use wire::{Framing, Pattern, Response, Split};

/// How long anything that should happen soon may take on a loaded machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Waits until the condition holds; after the deadline the test fails, saying what never came.
#[track_caller]
pub(crate) fn eventually(deadline: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < deadline, "not within {deadline:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// `a,b,c` for `--backends`.
pub(crate) fn list<'a>(backends: impl IntoIterator<Item = &'a Backend>) -> String {
    backends.into_iter().map(|b| b.url()).collect::<Vec<_>>().join(",")
}

/// Raises the limit of open files as far as allowed, here and for what is started afterwards, and says how far.
pub(crate) fn raise_open_files() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("raise the soft limit to the hard one");
    limit.maximum.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX))
}

/// The turn of a test that takes most of the open files there may be: those that run beside it have the rest.
pub(crate) fn many_open_files() -> (MutexGuard<'static, ()>, usize) {
    static TURN: Mutex<()> = Mutex::new(());
    (TURN.lock().unwrap_or_else(PoisonError::into_inner), raise_open_files())
}
