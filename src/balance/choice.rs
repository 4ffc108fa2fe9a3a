//! Choosing a backend: round robin by a ticket shared by all workers.

use crate::balance::Table;
use crate::id::BackendId;

/// A worker's copy of the eligible set, refreshed between its ticks when the table's epoch has moved.
#[derive(Debug)]
pub struct Eligible {
    backends: Vec<BackendId>,
    epoch: u64,
}

impl Eligible {
    /// The backends up at present.
    pub fn new(table: &Table) -> Self {
        let mut eligible = Self { backends: Vec::with_capacity(table.backends().len()), epoch: u64::MAX };
        eligible.refresh(table);
        eligible
    }

    /// Takes over what has changed. The epoch is read first: a change meanwhile is found next time.
    pub fn refresh(&mut self, table: &Table) {
        let epoch = table.epoch();
        if self.epoch == epoch {
            return;
        }
        self.epoch = epoch;
        self.backends.clear();
        let up = table.backends().iter().enumerate().filter(|(_, backend)| backend.is_up());
        self.backends.extend(up.map(|(i, _)| BackendId(i as u16)));
    }

    /// True when every backend is down.
    pub fn is_empty(&self) -> bool {
        self.backends.is_empty()
    }

    /// The next backend in turn; `None` when none is eligible.
    pub fn choose(&self, table: &Table) -> Option<BackendId> {
        if self.backends.is_empty() {
            return None;
        }
        let ticket = table.ticket() % self.backends.len() as u64;
        Some(self.backends[ticket as usize])
    }

    /// The next backend in turn that passes, or the first after it that does.
    pub fn choose_where(&self, table: &Table, passes: impl Fn(BackendId) -> bool) -> Option<BackendId> {
        let first = self.choose(table)?;
        let start = self.backends.iter().position(|&b| b == first)?;
        let turned = self.backends[start..].iter().chain(&self.backends[..start]);
        turned.copied().find(|&backend| passes(backend))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::Backend;
    use crate::config::{self, BackendUrl};

    fn table(n: u16) -> Table {
        let url = |port| BackendUrl { host: "h".into(), port };
        Table::new((1..=n).map(|port| Backend::new(config::Backend::new(url(port)), Vec::new())).collect())
    }

    #[test]
    fn any_n_rounds_give_each_backend_n() {
        let table = table(3);
        let workers = [Eligible::new(&table), Eligible::new(&table)];
        let mut shares = [0; 3];
        for i in 0..300 {
            shares[workers[i % 7 % 2].choose(&table).unwrap().index()] += 1;
        }
        assert_eq!(shares, [100; 3]);
    }

    #[test]
    fn shares_are_exact_however_many_choose_at_once() {
        const EACH: usize = 30_000;
        let table = table(3);
        let mut shares = [0; 3];
        std::thread::scope(|scope| {
            let worker = || {
                let eligible = Eligible::new(&table);
                let mut shares = [0; 3];
                (0..EACH).for_each(|_| shares[eligible.choose(&table).unwrap().index()] += 1);
                shares
            };
            let workers: Vec<_> = (0..4).map(|_| scope.spawn(worker)).collect();
            for worker in workers {
                let one = worker.join().unwrap();
                shares.iter_mut().zip(one).for_each(|(sum, share)| *sum += share);
            }
        });
        assert_eq!(shares, [4 * EACH / 3; 3]);
    }

    #[test]
    fn what_is_down_is_not_chosen() {
        let table = table(3);
        let mut eligible = Eligible::new(&table);
        assert!(table.set_up(BackendId(1), false) && !table.set_up(BackendId(1), false));
        eligible.refresh(&table);
        assert!((0..10).all(|_| eligible.choose(&table).unwrap() != BackendId(1)));
        let other = eligible.choose_where(&table, |b| b != BackendId(0));
        assert_eq!(other, Some(BackendId(2)));
        assert_eq!(eligible.choose_where(&table, |_| false), None);
        table.set_up(BackendId(0), false);
        table.set_up(BackendId(2), false);
        eligible.refresh(&table);
        assert_eq!(eligible.choose(&table), None);
    }

    #[test]
    fn failures_in_a_row_take_a_backend_down() {
        let table = table(1);
        let id = BackendId(0);
        assert!(!table.failed(id, 3) && !table.failed(id, 3));
        table.succeeded(id);
        assert!(!table.failed(id, 3) && !table.failed(id, 3) && table.failed(id, 3));
        assert!(!table.backend(id).is_up() && !table.failed(id, 3));
        assert!(table.set_up(id, true) && table.backend(id).is_up());
    }
}
