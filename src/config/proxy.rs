//! The PROXY protocol's settings: whose headers are taken, and what is sent.

use std::net::IpAddr;

use super::Network;

/// Headers of the PROXY protocol at a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyProtocol {
    /// A connection without one is closed.
    pub required: bool,
    /// Who may send one, at least one network.
    pub from: Vec<Network>,
}

impl ProxyProtocol {
    /// Whether this peer may say where its connections come from.
    #[must_use]
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.from.iter().any(|network| network.contains(peer))
    }
}

/// A version of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}
