//! The operating system: sockets, cores, processes.

pub mod alarm;
pub mod cores;
pub mod descriptors;
pub mod priority;
pub mod process;
pub mod socket;
pub mod stderr;
