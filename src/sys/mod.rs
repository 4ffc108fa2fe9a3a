//! The operating system: sockets and cores.

pub mod alarm;
pub mod cores;
pub mod descriptors;
pub mod process;
pub mod socket;
