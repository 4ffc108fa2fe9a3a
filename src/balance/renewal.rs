//! From one table to the next: what stays keeps its number and its state, what is new takes a free one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::backend::Backend;
use super::pool::Pool;
use super::table::Table;
use crate::config::{self, Check};
use crate::id::{BackendId, PoolId};

/// A table in the making.
pub(super) struct Renewal<'t> {
    before: &'t Table,
    backends: Vec<Arc<Backend>>,
    pools: Vec<Arc<Pool>>,
    /// Numbers whose holders are gone and have nothing going on any more.
    free_backends: Vec<usize>,
    free_pools: Vec<usize>,
    workers: usize,
    /// 0 at the start of the process.
    now: u64,
}

impl<'t> Renewal<'t> {
    pub(super) fn new(before: &'t Table, workers: usize, now: u64) -> Self {
        let (backends, pools) = (before.backends.to_vec(), before.pools.to_vec());
        let over: Vec<bool> = pools.iter().map(|pool| pool.is_over()).collect();
        // What still goes on at a pool that is gone may choose any of its backends again.
        let wanted = |at: usize| {
            let pool = backends[at].pool();
            let members = || pools[pool.index()].members();
            pools[pool.index()].is_gone() && !over[pool.index()] && members().contains(&BackendId(at as u16))
        };
        let free_backends = (0..backends.len()).filter(|&at| backends[at].is_over() && !wanted(at)).collect();
        let free_pools = (0..pools.len()).filter(|&at| over[at]).collect();
        Self { before, backends, pools, free_backends, free_pools, workers, now }
    }

    pub(super) fn renew(mut self, pools: Vec<(config::Pool, Vec<Vec<SocketAddr>>)>) -> (Table, Vec<PoolId>) {
        let mut ids = Vec::with_capacity(pools.len());
        for (config, addresses) in pools {
            ids.push(self.pool(config, addresses));
        }
        for pool in self.before.pools.iter().filter(|pool| !ids.contains(&pool.id())) {
            pool.set_gone();
            pool.members().iter().for_each(|&id| self.before.backend(id).set_gone());
        }
        let epoch = Arc::clone(&self.before.epoch);
        if !self.before.pools.is_empty() {
            epoch.0.fetch_add(1, Relaxed);
        }
        (Table { backends: self.backends.into(), pools: self.pools.into(), epoch }, ids)
    }

    fn pool(&mut self, config: config::Pool, addresses: Vec<Vec<SocketAddr>>) -> PoolId {
        let known =
            self.before.pools.iter().find(|pool| !pool.is_gone() && pool.config().name == config.name);
        let id = known.map_or_else(|| self.number_of_pool(), |pool| pool.id());
        let old = known.map_or(&[][..], |pool| pool.members());
        let same = known.is_some_and(|pool| *pool.config() == config);
        let mut members = Vec::with_capacity(config.backends.len());
        for (backend, addresses) in config.backends.iter().zip(addresses) {
            let at = old.iter().find(|&&id| self.backends[id.index()].is(backend)).copied();
            let member = at.unwrap_or_else(|| self.backend(backend, id, &config, addresses.clone()));
            let held = Arc::clone(&self.backends[member.index()]);
            if at.is_some() {
                held.renew(backend, addresses);
            }
            members.push((member, held));
        }
        if !members.iter().any(|(_, backend)| backend.is_healthy()) {
            // Nobody could serve until the first probe: then a request finds out as soon as that does.
            let unjudged = members.iter().filter(|(_, backend)| backend.unjudged.swap(false, Relaxed));
            unjudged.for_each(|(_, backend)| backend.up.store(true, Relaxed));
        }
        for &left in old.iter().filter(|&&id| !members.iter().any(|(member, _)| *member == id)) {
            self.before.forget(left);
        }
        match known {
            Some(pool) if same && pool.members().len() == members.len() => pool.changed(),
            _ => {
                let pool = Pool::new(id, config, &members, self.workers, known.map(|pool| &**pool));
                pool.changed();
                self.put_pool(id, Arc::new(pool));
            }
        }
        id
    }

    fn number_of_pool(&mut self) -> PoolId {
        PoolId(self.free_pools.pop().unwrap_or(self.pools.len()) as u16)
    }

    fn put_pool(&mut self, id: PoolId, pool: Arc<Pool>) {
        match self.pools.get_mut(id.index()) {
            Some(place) => *place = pool,
            None => self.pools.push(pool),
        }
    }

    /// A backend that was not there. Once the process runs it waits for its first probe, if others serve meanwhile,
    /// and starts slowly.
    fn backend(
        &mut self,
        backend: &config::Backend,
        pool: PoolId,
        config: &config::Pool,
        addresses: Vec<SocketAddr>,
    ) -> BackendId {
        let new = Backend::new(backend, pool, addresses, self.workers);
        if self.now > 0 {
            new.since.store(self.now, Relaxed);
            new.up.store(config.health.check == Check::None, Relaxed);
            new.unjudged.store(true, Relaxed);
        }
        let at = self.free_backends.pop().unwrap_or(self.backends.len());
        match self.backends.get_mut(at) {
            Some(place) => *place = Arc::new(new),
            None => self.backends.push(Arc::new(new)),
        }
        BackendId(at as u16)
    }
}

impl Table {
    /// A backend is no longer configured, and none of those that are out by traffic's judgement.
    fn forget(&self, id: BackendId) {
        let backend = self.backend(id);
        backend.set_gone();
        if backend.circuit.reset() {
            self.pool_of(id).return_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::BackendUrl;

    fn pool(name: &str, ports: &[u16]) -> (config::Pool, Vec<Vec<SocketAddr>>) {
        let backend = |&port| config::Backend::new(BackendUrl { host: "h".into(), port });
        let backends = ports.iter().map(backend).collect();
        let addresses = ports.iter().map(|&port| vec![SocketAddr::from(([127, 0, 0, 1], port))]).collect();
        (config::Pool { name: name.into(), backends, ..config::Pool::default() }, addresses)
    }

    fn ports(table: &Table, pool: PoolId) -> Vec<(u16, u16)> {
        let members = table.pool(pool).members().iter();
        members.map(|&id| (id.0, table.backend(id).url().port)).collect()
    }

    #[test]
    fn what_stays_keeps_its_number_and_its_state() {
        let table = Table::new(vec![pool("a", &[1, 2]), pool("b", &[3])], 1);
        table.set_up(BackendId(1), false, 1);
        let (next, ids) = table.renew(vec![pool("c", &[4]), pool("a", &[5, 2, 6])], 1, 10);
        assert_eq!(ids, [PoolId(2), PoolId(0)]);
        assert_eq!(ports(&next, ids[1]), [(4, 5), (1, 2), (5, 6)]);
        assert!(Arc::ptr_eq(&table.backends()[1], &next.backends()[1]) && !next.backends()[1].is_up());
        assert!(next.backends()[0].is_gone() && next.pools()[1].is_gone() && next.backends()[2].is_gone());
        assert_ne!(table.epoch(), 0);
    }

    #[test]
    fn numbers_are_used_again_when_nothing_goes_on_there() {
        let table = Table::new(vec![pool("a", &[1, 2])], 1);
        assert!(table.backend(BackendId(0)).connect());
        let (second, _) = table.renew(vec![pool("a", &[2])], 1, 10);
        let (third, _) = second.renew(vec![pool("a", &[2, 3])], 1, 10);
        assert_eq!(ports(&third, PoolId(0)), [(1, 2), (2, 3)], "a connection still counts at the first");
        table.backend(BackendId(0)).disconnect();
        let (fourth, _) = third.renew(vec![pool("a", &[2, 3, 4])], 1, 10);
        assert_eq!(ports(&fourth, PoolId(0)), [(1, 2), (2, 3), (0, 4)]);
        let (mut table, mut most) = (fourth, 0);
        for port in 10..200 {
            table = table.renew(vec![pool("a", &[2, port])], 1, 10).0;
            most = most.max(table.backends().len());
        }
        assert!(most <= 5, "{most} numbers for two backends");
    }

    #[test]
    fn a_pool_keeps_its_numbers_while_a_request_may_choose_from_it() {
        let before = Table::new(vec![pool("a", &[1]), pool("b", &[2])], 2);
        before.pool(PoolId(1)).request(1);
        let (gone, _) = before.renew(vec![pool("a", &[1])], 2, 10);
        let next = |ports: &[u16]| vec![pool("a", &[1]), pool("c", ports)];
        let (taken, ids) = gone.renew(next(&[3]), 2, 10);
        assert_eq!((ids[1], ports(&taken, ids[1])), (PoolId(2), vec![(2, 3)]));
        assert_eq!(ports(&taken, PoolId(1)), [(1, 2)], "a request waits before it is tried again");
        gone.pool(PoolId(1)).end_request(1);
        gone.pool(PoolId(1)).hold(true);
        let (held, _) = taken.renew(next(&[3, 4]), 2, 10);
        assert_eq!(ports(&held, PoolId(2)), [(2, 3), (3, 4)], "a listener that was closed leads there");
        gone.pool(PoolId(1)).hold(false);
        let (free, ids) = held.renew([next(&[3, 4]), vec![pool("d", &[5])]].concat(), 2, 10);
        assert_eq!((ids[2], ports(&free, ids[2])), (PoolId(1), vec![(1, 5)]));
    }

    #[test]
    fn what_is_new_waits_for_its_probe_only_where_others_serve() {
        let table = Table::new(vec![pool("a", &[1])], 1);
        let (next, ids) = table.renew(vec![pool("a", &[1, 2]), pool("b", &[3, 4])], 1, 10);
        let up = |table: &Table, pool: PoolId| -> Vec<bool> {
            table.pool(pool).members().iter().map(|&id| table.backend(id).is_up()).collect()
        };
        assert_eq!((up(&next, ids[0]), up(&next, ids[1])), (vec![true, false], vec![true, true]));
        next.set_up(BackendId(0), false, 11);
        let (other, ids) = next.renew(vec![pool("a", &[1, 2, 5])], 1, 12);
        assert_eq!(up(&other, ids[0]), [false, true, true], "what is known to be down stays down");
    }

    #[test]
    fn one_that_still_waits_for_its_probe_serves_when_it_is_the_last() {
        let table = Table::new(vec![pool("a", &[1])], 1);
        let (next, ids) = table.renew(vec![pool("a", &[1, 2, 3])], 1, 10);
        next.set_up(BackendId(2), false, 11);
        let (last, _) = next.renew(vec![pool("a", &[2, 3])], 1, 12);
        let up: Vec<bool> = last.pool(ids[0]).members().iter().map(|&id| last.backend(id).is_up()).collect();
        assert_eq!(up, [true, false], "one has been found to be down");
    }

    #[test]
    fn a_weight_set_by_hand_holds_until_the_file_says_another() {
        let table = Table::new(vec![pool("a", &[1])], 1);
        table.set_weight(BackendId(0), 9);
        let (same, _) = table.renew(vec![pool("a", &[1])], 1, 10);
        assert_eq!(same.backend(BackendId(0)).weight(), 9);
        let (mut config, addresses) = pool("a", &[1]);
        config.backends[0].weight = 2;
        let (other, _) = same.renew(vec![(config, addresses)], 1, 10);
        assert_eq!(other.backend(BackendId(0)).weight(), 2);
    }

    #[test]
    fn one_that_is_out_and_goes_does_not_keep_its_place_among_those() {
        let table = Table::new(vec![pool("a", &[1, 2])], 1);
        (0..3).for_each(|_| {
            table.failed(BackendId(0), 0, 1);
        });
        assert!(!table.backend(BackendId(0)).is_healthy());
        let (next, _) = table.renew(vec![pool("a", &[2, 3])], 1, 10);
        // What was in flight to it fails afterwards.
        (0..3).for_each(|_| {
            next.failed(BackendId(0), 0, 15);
        });
        (0..3).for_each(|_| {
            next.failed(BackendId(1), 0, 20);
        });
        assert!(!next.backend(BackendId(1)).is_healthy(), "one of two may be out");
    }

    #[test]
    fn settings_of_one_that_stays_change_in_place() {
        let table = Table::new(vec![pool("a", &[1, 2])], 1);
        let (mut config, addresses) = pool("a", &[1, 2]);
        config.backends[0].weight = 7;
        config.backends[1].max_requests = Some(1);
        let (next, _) = table.renew(vec![(config, addresses)], 1, 10);
        assert_eq!(next.backend(BackendId(0)).weight(), 7);
        assert!(next.pools()[0].is_capped() && next.backend(BackendId(1)).enter());
        assert!(!next.backend(BackendId(1)).enter());
    }
}
