//! What is probed: the backends of the table in force, how each is to be checked, and where its health is told.

use std::sync::Arc;
use std::time::Instant;

use crate::balance::{Backend, Table};
use crate::config::Health;
use crate::id::BackendId;

/// The backends of one table.
pub(super) struct Targets {
    table: Arc<Table>,
    /// When the process began: the table counts from then.
    began: Instant,
}

impl Targets {
    /// All backends of that table.
    pub(super) fn new(table: Arc<Table>, began: Instant) -> Self {
        Self { table, began }
    }

    /// The backends of another table.
    pub(super) fn of(&self, table: Arc<Table>) -> Self {
        Self { table, began: self.began }
    }

    /// The number of every backend.
    pub(super) fn ids(&self) -> impl Iterator<Item = BackendId> + use<> {
        (0..self.table.backends().len()).map(|index| BackendId(index as u16))
    }

    /// The backend of that number.
    pub(super) fn backend(&self, id: BackendId) -> &Backend {
        self.table.backend(id)
    }

    /// How that backend is checked.
    pub(super) fn health(&self, id: BackendId) -> &Health {
        &self.table.pool_of(id).config().health
    }

    /// Tells the table; true when that is a change.
    pub(super) fn set_up(&self, id: BackendId, up: bool) -> bool {
        self.table.set_up(id, up, self.began.elapsed().as_millis() as u64)
    }

    /// Equal for one and the same backend in two tables, while both live.
    pub(super) fn identity(&self, id: BackendId) -> *const Backend {
        self.backend(id)
    }
}
