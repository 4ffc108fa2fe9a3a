//! Idle stacks: a worker's unused upstream connections, the one used last on top.

use crate::id::BackendId;
use crate::limits;
use crate::slab::Key;

/// One stack a backend.
#[derive(Debug)]
pub(super) struct Stacks {
    stacks: Vec<Vec<Key>>,
}

impl Stacks {
    pub(super) fn new(backends: usize) -> Self {
        Self { stacks: vec![Vec::new(); backends] }
    }

    /// Takes the connection used last: the likeliest alive, with the widest window.
    pub(super) fn pop(&mut self, backend: BackendId) -> Option<Key> {
        self.stacks[backend.index()].pop()
    }

    /// Keeps a connection; false when there are enough.
    pub(super) fn push(&mut self, backend: BackendId, upstream: Key) -> bool {
        let stack = &mut self.stacks[backend.index()];
        let room = stack.len() < limits::IDLE_UPSTREAMS;
        if room {
            stack.push(upstream);
        }
        room
    }

    /// Takes out one that died.
    pub(super) fn remove(&mut self, backend: BackendId, upstream: Key) {
        let stack = &mut self.stacks[backend.index()];
        if let Some(place) = stack.iter().rposition(|&key| key == upstream) {
            stack.remove(place);
        }
    }

    /// Takes out those, from the bottom of each stack, that are `stale`.
    pub(super) fn prune(&mut self, mut stale: impl FnMut(Key) -> bool) -> Vec<Key> {
        let mut pruned = Vec::new();
        for stack in &mut self.stacks {
            let fresh = stack.iter().position(|&key| !stale(key)).unwrap_or(stack.len());
            pruned.extend(stack.drain(..fresh));
        }
        pruned
    }

    /// Connections kept in all.
    pub(super) fn len(&self) -> usize {
        self.stacks.iter().map(Vec::len).sum()
    }
}
