//! Who serves a request: pools and their backends, their health, and the choice among them.

pub mod affinity;
pub mod backend;
pub mod budget;
pub mod choice;
pub mod circuit;
pub mod clients;
pub mod hash;
pub mod latency;
pub mod maglev;
pub mod patience;
pub mod pool;
pub mod rate;
pub mod record;
mod renewal;
pub mod schedule;
pub mod table;
pub mod tally;
pub mod waiting;
mod window;

pub use backend::{Backend, Mode, Padded};
pub use choice::{Ask, Choice, Eligible};
pub use clients::Clients;
pub use patience::Patience;
pub use pool::Pool;
pub use rate::RateLimiter;
pub use table::{Ejected, Reason, Table};
