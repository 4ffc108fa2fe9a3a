//! The access log: a line for each exchange that ends, and the thread that writes the lines down.
//!
//! A worker formats its lines itself (`line`, `escape`, `stamp`: pure) and passes them on in batches through a bounded
//! queue (`queue`). The thread behind it (`writer`, which holds the file by a `pen`) may be as slow as its disk or its
//! reader: what does not fit into the queue is dropped and counted, and no worker ever waits. One log follows
//! another (`log`) with a queue and a thread of its own.

mod escape;
mod line;
mod log;
mod pen;
mod queue;
mod stamp;
mod writer;

pub use self::log::{Log, Next, Reopen};
pub use line::{Line, Times};
pub use queue::{Losses, Queue};
pub use stamp::Stamps;
