//! When reloads come, and the first checks of the backends that they brought.

use evenkeel::balance::Table;
use evenkeel::id::BackendId;

use crate::rng::Rng;

/// Times in milliseconds of what is still to come.
#[derive(Debug)]
pub(crate) struct Schedule {
    /// Of reloads, the next one last.
    due: Vec<u64>,
    /// When those that are new have had their first check.
    check_at: Option<u64>,
}

impl Schedule {
    /// So many reloads at most, and one at least, all before `end`.
    pub(crate) fn draw(most: u64, end: u64, rng: &mut Rng) -> Self {
        let mut due: Vec<u64> = (0..rng.between(1, most)).map(|_| rng.below(end)).collect();
        due.sort_unstable_by(|a, b| b.cmp(a));
        Self { due, check_at: None }
    }

    /// When the next of it is due.
    pub(crate) fn next(&self) -> Option<u64> {
        self.due.last().copied().into_iter().chain(self.check_at).min()
    }

    /// What a reload brought is checked before long.
    pub(crate) fn check_soon(&mut self, now: u64, rng: &mut Rng) {
        self.check_at = Some(now + rng.below(200));
    }

    /// All are up once the time of that has come.
    pub(crate) fn check(&mut self, table: &Table, now: u64) {
        if self.check_at.take_if(|at| now >= *at).is_some() {
            for id in 0..table.backends().len() {
                table.set_up(BackendId(id as u16), true, now);
            }
        }
    }

    /// Takes the next reload away if it is due.
    pub(crate) fn comes(&mut self, now: u64) -> bool {
        self.due.pop_if(|due| now >= *due).is_some()
    }
}
