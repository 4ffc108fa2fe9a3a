//! The operating system: sockets and cores.

pub mod cores;
pub mod descriptors;
pub mod socket;
