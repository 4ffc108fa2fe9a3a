//! Small numbers that name things, kept apart by type.

/// Position of a backend in the table, in the order of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendId(pub u16);

impl BackendId {
    /// As an index into the table's array.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Position of a pool in the table, in the order of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolId(pub u16);

impl PoolId {
    /// As an index into the table's array.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}
