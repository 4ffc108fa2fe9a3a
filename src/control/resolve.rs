//! Turning the names of backends into addresses.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::thread;

use crate::config::{self, BackendUrl};
use crate::limits;

/// The addresses of every backend; names are looked up side by side, because one may take seconds to fail.
pub(super) fn backends(configured: &[config::Backend]) -> Vec<Vec<SocketAddr>> {
    let mut resolved = Vec::with_capacity(configured.len());
    for batch in configured.chunks(limits::LOOKUPS) {
        thread::scope(|scope| {
            let lookups: Vec<_> =
                batch.iter().map(|backend| scope.spawn(|| addresses(&backend.url))).collect();
            resolved.extend(lookups.into_iter().map(|lookup| lookup.join().unwrap_or_default()));
        });
    }
    resolved
}

fn addresses(url: &BackendUrl) -> Vec<SocketAddr> {
    if let Ok(address) = url.host.parse::<IpAddr>() {
        return vec![SocketAddr::new(address, url.port)];
    }
    let mut found = match (url.host.as_str(), url.port).to_socket_addrs() {
        Ok(found) => found.collect(),
        Err(error) => {
            log::warn!("backend {url}: its name does not resolve: {error}");
            Vec::new()
        }
    };
    if url.host == "localhost" {
        // RFC 6761 section 6.3: both loopback addresses, whatever the hosts file says; a server may have either.
        found.extend(
            [IpAddr::from([127, 0, 0, 1]), IpAddr::from(std::net::Ipv6Addr::LOCALHOST)]
                .map(|ip| SocketAddr::new(ip, url.port)),
        );
    }
    let mut seen = Vec::new();
    found.retain(|address| {
        let fresh = !seen.contains(address);
        seen.push(*address);
        fresh
    });
    found.truncate(limits::ADDRESSES);
    found
}
