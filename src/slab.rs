//! Slots that are reused, with keys that are not: a key to a removed entry finds nothing.

/// Names an entry of one slab for as long as it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Position in the slab.
    pub index: u32,
    /// How often the position was used before; wraps at [`GENERATIONS`].
    pub generation: u32,
}

/// Generations before a key could come again: what fits a token beside index and kind.
pub const GENERATIONS: u32 = 1 << 30;

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    /// Next vacant slot; only meaningful while vacant.
    next: u32,
    value: Option<T>,
}

const NONE: u32 = u32::MAX;

/// Values in reusable slots.
#[derive(Debug)]
pub struct Slab<T> {
    slots: Vec<Slot<T>>,
    vacant: u32,
    len: usize,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), vacant: NONE, len: 0 }
    }
}

impl<T> Slab<T> {
    /// Entries in use.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when no entry is in use.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The key that the next [`Self::insert`] will give.
    pub fn next_key(&self) -> Key {
        match self.slots.get(self.vacant as usize) {
            Some(slot) => Key { index: self.vacant, generation: slot.generation },
            None => Key { index: self.slots.len() as u32, generation: 0 },
        }
    }

    /// Puts a value into the slot vacated last.
    pub fn insert(&mut self, value: T) -> Key {
        let key = self.next_key();
        match self.slots.get_mut(key.index as usize) {
            Some(slot) => {
                self.vacant = slot.next;
                slot.value = Some(value);
            }
            None => self.slots.push(Slot { generation: 0, next: NONE, value: Some(value) }),
        }
        self.len += 1;
        key
    }

    /// The value, if the key's entry still lives.
    pub fn get(&self, key: Key) -> Option<&T> {
        let slot = self.slots.get(key.index as usize)?;
        if slot.generation == key.generation { slot.value.as_ref() } else { None }
    }

    /// The value, to change.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation == key.generation { slot.value.as_mut() } else { None }
    }

    /// Takes the value out; its key finds nothing from now on.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation != key.generation {
            return None;
        }
        let value = slot.value.take()?;
        slot.generation = (slot.generation + 1) % GENERATIONS;
        slot.next = self.vacant;
        self.vacant = key.index;
        self.len -= 1;
        Some(value)
    }

    /// Drops the value where it lies, which a large one is cheaper for than to be moved out first.
    pub fn vacate(&mut self, key: Key) {
        let Some(slot) = self.slots.get_mut(key.index as usize) else { return };
        if slot.generation != key.generation || slot.value.is_none() {
            return;
        }
        slot.value = None;
        slot.generation = (slot.generation + 1) % GENERATIONS;
        slot.next = self.vacant;
        self.vacant = key.index;
        self.len -= 1;
    }

    /// The keys in use, by position.
    pub fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        let used = self.slots.iter().enumerate().filter(|(_, slot)| slot.value.is_some());
        used.map(|(index, slot)| Key { index: index as u32, generation: slot.generation })
    }
}

impl<T> std::ops::Index<Key> for Slab<T> {
    type Output = T;

    fn index(&self, key: Key) -> &T {
        self.get(key).expect("the key's owner keeps the entry alive")
    }
}

impl<T> std::ops::IndexMut<Key> for Slab<T> {
    fn index_mut(&mut self, key: Key) -> &mut T {
        self.get_mut(key).expect("the key's owner keeps the entry alive")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_outlives_its_entry_harmlessly() {
        let mut slab = Slab::default();
        let a = slab.insert('a');
        let b = slab.insert('b');
        assert_eq!(slab.remove(a), Some('a'));
        assert_eq!(slab.next_key().index, a.index);
        let c = slab.insert('c');
        assert_eq!(c.index, a.index);
        assert_eq!(slab.remove(a), None);
        assert_eq!((slab.get(a), slab.get(c)), (None, Some(&'c')));
        assert_eq!(slab.keys().collect::<Vec<_>>(), [c, b]);
        assert_eq!(slab.len(), 2);
        slab.vacate(a);
        assert_eq!(slab.get(c), Some(&'c'), "a key whose entry is gone vacates nothing");
        slab.vacate(c);
        slab.vacate(c);
        assert_eq!((slab.get(c), slab.len()), (None, 1));
        assert_eq!(slab.insert('d').index, c.index);
    }
}
