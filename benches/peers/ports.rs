//! Ports: who listens on one. A foreign process that answers in a proxy's place would be measured instead of it.

use std::collections::HashSet;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};

/// A loopback port nobody uses now.
pub(crate) fn free() -> Result<u16, String> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|l| l.local_addr())
        .map_err(|e| format!("bind a free port: {e}"))?
        .port();
    if listeners(port).is_empty() { Ok(port) } else { Err(format!("port {port} is taken")) }
}

/// Checks that `port` is listened on, and by these processes alone.
pub(crate) fn owned(port: u16, pids: &[u32]) -> Result<(), String> {
    let sockets = listeners(port);
    if sockets.is_empty() {
        return Err(format!("nobody listens on port {port}"));
    }
    let own: HashSet<u64> = pids.iter().flat_map(|&pid| sockets_of(pid)).collect();
    if sockets.is_subset(&own) {
        return Ok(());
    }
    Err(format!(
        "port {port} is also listened on by a process that is not the proxy: the figures would be its own"
    ))
}

/// Inodes of the sockets that listen on `port`, on any address.
fn listeners(port: u16) -> HashSet<u64> {
    const LISTEN: &str = "0A";
    let mut found = HashSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        for line in fs::read_to_string(table).unwrap_or_default().lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [_, local, _, state, ..] = fields[..] else { continue };
            let hex = local.rsplit(':').next().unwrap_or_default();
            if state == LISTEN && u16::from_str_radix(hex, 16) == Ok(port) {
                found.extend(fields.get(9).and_then(|inode| inode.parse::<u64>().ok()));
            }
        }
    }
    found
}

fn sockets_of(pid: u32) -> Vec<u64> {
    let Ok(dir) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let links = dir.flatten().filter_map(|f| fs::read_link(f.path()).ok());
    links.filter_map(|l| l.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()).collect()
}
