//! Idle stacks: a worker's unused upstream connections, the one used last on top.

use crate::id::BackendId;
use crate::slab::Key;

/// One stack a backend.
#[derive(Debug)]
pub(super) struct Stacks {
    stacks: Vec<Vec<Key>>,
    /// In all stacks together: asked for every tick, so it is not added up.
    len: usize,
    /// In each stack.
    most: usize,
}

impl Stacks {
    pub(super) fn new(backends: usize, most: usize) -> Self {
        Self { stacks: vec![Vec::new(); backends], len: 0, most }
    }

    /// Room for so many backends.
    pub(super) fn grow(&mut self, backends: usize) {
        self.stacks.resize_with(self.stacks.len().max(backends), Vec::new);
    }

    /// Keeps so many of each backend from now on. Those that are more go when their time is over.
    pub(super) fn limit(&mut self, most: usize) {
        self.most = most;
    }

    /// Takes the connection used last: the likeliest alive, with the widest window.
    pub(super) fn pop(&mut self, backend: BackendId) -> Option<Key> {
        let top = self.stacks[backend.index()].pop();
        self.len -= usize::from(top.is_some());
        top
    }

    /// Takes the connection that was idle longest.
    pub(super) fn pop_oldest(&mut self, backend: BackendId) -> Option<Key> {
        let stack = self.stacks.get_mut(backend.index())?;
        let oldest = (!stack.is_empty()).then(|| stack.remove(0));
        self.len -= usize::from(oldest.is_some());
        oldest
    }

    /// Keeps a connection; false when there are enough.
    pub(super) fn push(&mut self, backend: BackendId, upstream: Key) -> bool {
        let stack = &mut self.stacks[backend.index()];
        let room = stack.len() < self.most;
        if room {
            stack.push(upstream);
            self.len += 1;
        }
        room
    }

    /// Takes out one that died.
    pub(super) fn remove(&mut self, backend: BackendId, upstream: Key) {
        let stack = &mut self.stacks[backend.index()];
        if let Some(place) = stack.iter().rposition(|&key| key == upstream) {
            stack.remove(place);
            self.len -= 1;
        }
    }

    /// Takes out those that are `stale`.
    pub(super) fn prune(&mut self, mut stale: impl FnMut(Key) -> bool) -> Vec<Key> {
        let mut pruned = Vec::new();
        for stack in &mut self.stacks {
            pruned.extend(stack.extract_if(.., |key| stale(*key)));
        }
        self.len -= pruned.len();
        pruned
    }

    /// Connections kept in all.
    pub(super) fn len(&self) -> usize {
        self.len
    }
}
