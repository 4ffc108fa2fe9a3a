//! Who serves a request: the table of backends, their health, and the choice among them.

pub mod choice;
pub mod clients;
pub mod patience;
pub mod table;

pub use choice::Eligible;
pub use clients::Clients;
pub use patience::Patience;
pub use table::{Backend, Padded, Table};
