//! Who serves a request: the table of backends, their health, and the choice among them.

pub mod table;

pub use table::{Backend, Table};
