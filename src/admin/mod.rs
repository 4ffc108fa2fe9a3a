//! What a running balancer tells of itself.

pub mod status;
