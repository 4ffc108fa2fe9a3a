//! Evenkeel's promises, each held against the real binary over real sockets: a module a promise.
//!
//! `EVENKEEL_BIN` and `TEST_SERVER_BIN` name other builds to hold the same promises against.

mod support;

mod access;
mod admin;
mod balancing;
mod bodies;
mod cli;
mod config;
mod connections;
mod crew;
mod crowds;
mod descriptors;
mod dns;
mod drain;
mod failure;
mod forwarded;
mod framing;
mod headers;
mod health;
mod health_http;
mod idle_race;
mod kills;
mod layer4;
mod limits;
mod panics;
mod pipelining;
mod readme;
mod reload;
mod round_robin;
mod routes;
mod status;
mod stderr;
mod timeouts;
