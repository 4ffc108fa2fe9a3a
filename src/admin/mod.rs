//! What a running balancer tells of itself, and takes in the way of commands: status, metrics, a page to look at.
//!
//! It has threads of its own and reads what the workers write; nothing here makes a worker wait.

mod answer;
mod backends;
mod beginning;
mod connection;
mod exposition;
mod guard;
mod history;
mod metrics;
mod page;
mod readiness;
mod report;
mod request;
mod routes;
mod seats;
mod server;
pub mod status;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crate::access::Losses;
use crate::balance::Table;
use crate::stats::Block;
use crate::stats::reloads::Reloads;
use crate::stats::traffic::Counted;

pub use server::{Thread, serve};

/// Carries out a command; says what came of it, or why nothing did.
pub type Command = Box<dyn Fn() -> Result<String, String> + Send + Sync>;

/// Where the admin listener takes from what it tells, and whom it tells what it is asked to do.
pub struct Sources {
    /// Asked for in `Authorization: Bearer`, if there is one; the one of now.
    pub token: Box<dyn Fn() -> Option<String> + Send + Sync>,
    /// When the process began: what the table's times count from.
    pub began: Instant,
    /// The table in force.
    pub table: Box<dyn Fn() -> Arc<Table> + Send + Sync>,
    /// The listeners that are open.
    pub listeners: Box<dyn Fn() -> Vec<Arc<Counted>> + Send + Sync>,
    /// The routes in force.
    pub routes: Box<dyn Fn() -> Vec<Arc<Counted>> + Send + Sync>,
    /// Each worker's counters.
    pub workers: Vec<Arc<Block>>,
    /// What became of reloads.
    pub reloads: Arc<Reloads>,
    /// Lines of the access log that were lost.
    pub losses: Arc<Losses>,
    /// Client connections that each worker has open.
    pub connections: Box<dyn Fn() -> Vec<u32> + Send + Sync>,
    /// The process is about to end.
    pub draining: Box<dyn Fn() -> bool + Send + Sync>,
    /// Reads the configuration again.
    pub reload: Command,
    /// Ends the process when what it has in flight has ended.
    pub drain: Command,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("workers", &self.workers.len()).finish_non_exhaustive()
    }
}

impl Sources {
    /// Milliseconds since the process began.
    fn now(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }
}
