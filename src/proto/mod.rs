//! Protocols: bytes to meaning and back, without a socket or a clock.

pub mod h1;
pub mod proxy;
pub mod tls;
