//! Evenkeel: a thread-per-core HTTP load balancer.
//!
//! ```text
//! floor 4  main, cli             start-up, exit codes
//!          control               the supervising thread: spawn, signals, drain
//!          admin                 status, metrics, dashboard, live commands
//!          demo                  the test backend
//! floor 3  worker                the event loop: accept, pump, idle stacks, commands
//!          probe                 the health-probe thread
//! floor 2  exchange              what happens next in a request or a tunnel: a pure machine
//!          transport             moves bytes between a socket and a buffer
//!          stats                 per-worker counters
//!          access                lines of the access log, and the thread that writes them
//! floor 1  proto/h1              bytes to meaning and back, pure
//!          balance               choice, health, failures: pure policy over atomics
//!          buffer, slab, timer, histogram   pure mechanisms of fixed capacity
//!          sys                   socket options, affinity: the operating system
//! floor 0  id, limits, error, config
//! ```
//!
//! A module imports from the floors below it, never from one above.

pub mod config;
pub mod error;
pub mod id;
pub mod limits;

pub mod balance;
pub mod buffer;
pub mod histogram;
pub mod proto;
pub mod slab;
pub mod sys;
pub mod timer;

pub mod access;
pub mod exchange;
pub mod stats;
pub mod transport;

pub mod probe;
pub mod worker;

pub mod admin;
pub mod cli;
pub mod control;
pub mod demo;
