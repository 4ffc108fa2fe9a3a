//! How many connections each client address has open, over all workers.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Locks: a power of two, so that clients of different addresses hardly meet.
const SHARDS: usize = 64;

/// Counts connections by address up to a limit. Only asked when a connection comes and goes, and only when
/// there is such a limit.
#[derive(Debug)]
pub struct Clients {
    shards: Box<[Mutex<HashMap<IpAddr, u32>>]>,
    most: AtomicU32,
}

impl Clients {
    /// At most so many connections an address.
    pub fn new(most: u32) -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), most: AtomicU32::new(most) }
    }

    /// At most so many from now on; none of those that are open is closed for it.
    pub fn limit(&self, most: u32) {
        self.most.store(most, Relaxed);
    }

    /// Counts a connection in; false when the address has enough.
    pub fn enter(&self, address: IpAddr) -> bool {
        let mut counts = self.shard(address);
        let count = counts.entry(address).or_default();
        let room = *count < self.most.load(Relaxed);
        *count += u32::from(room);
        room
    }

    /// Counts a connection out that was counted in.
    pub fn leave(&self, address: IpAddr) {
        let mut counts = self.shard(address);
        if let Some(count) = counts.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&address);
            }
        }
    }

    fn shard(&self, address: IpAddr) -> std::sync::MutexGuard<'_, HashMap<IpAddr, u32>> {
        let last = match address {
            IpAddr::V4(v4) => v4.octets()[3],
            IpAddr::V6(v6) => v6.octets().iter().fold(0, |hash, byte| hash ^ byte),
        };
        // A panic ends the process, so nobody ever sees a poisoned lock.
        self.shards[usize::from(last) % SHARDS].lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_limit_and_leaves_nothing_behind() {
        let clients = Clients::new(2);
        let (a, b) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 65]));
        assert!(clients.enter(a) && clients.enter(a) && !clients.enter(a) && clients.enter(b));
        clients.leave(a);
        assert!(clients.enter(a) && !clients.enter(a));
        (0..2).for_each(|_| clients.leave(a));
        clients.leave(b);
        assert!(clients.shards.iter().all(|shard| shard.lock().unwrap().is_empty()));
    }
}
