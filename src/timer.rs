//! A coarse timer wheel. Timers are lazy: an entry only reminds its owner to look at the deadline that
//! activity has moved meanwhile (Varghese and Lauck, "Hashed and hierarchical timing wheels", 1987).

/// Milliseconds to a slot.
const GRAIN: u64 = 8;
/// Slots; entries farther away than all of them (8 s) are met once a round and stay.
const SLOTS: u64 = 1024;

/// No entry: the end of a slot's list.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Entry<K> {
    grain: u64,
    key: K,
    /// The next entry of the same slot, or the next spare one.
    next: u32,
}

/// Reminders by time, in milliseconds of the owner's clock.
#[derive(Debug)]
pub struct Wheel<K> {
    /// The first entry of each slot's list.
    slots: Box<[u32]>,
    /// All entries, spare ones included: one allocation that grows with the most there ever were.
    entries: Vec<Entry<K>>,
    spare: u32,
    /// Grains up to and including this one have been looked at.
    done: u64,
    /// No entry lies before this grain; `u64::MAX` when there is none.
    first: u64,
    len: usize,
}

impl<K: Copy> Default for Wheel<K> {
    fn default() -> Self {
        Self {
            slots: vec![NONE; SLOTS as usize].into_boxed_slice(),
            entries: Vec::new(),
            spare: NONE,
            done: 0,
            first: u64::MAX,
            len: 0,
        }
    }
}

impl<K: Copy> Wheel<K> {
    /// Adds a reminder for the time `due`; it comes up to 8 ms late, never early.
    pub fn insert(&mut self, due: u64, key: K) {
        let grain = due.div_ceil(GRAIN).max(self.done + 1);
        let head = &mut self.slots[(grain % SLOTS) as usize];
        let entry = Entry { grain, key, next: *head };
        match self.entries.get_mut(self.spare as usize) {
            Some(spare) => {
                *head = self.spare;
                self.spare = spare.next;
                *spare = entry;
            }
            None => {
                *head = self.entries.len() as u32;
                self.entries.push(entry);
            }
        }
        self.first = self.first.min(grain);
        self.len += 1;
    }

    /// When [`Self::expire`] has something to do, at the earliest.
    pub fn next(&self) -> Option<u64> {
        (self.len > 0).then(|| self.first * GRAIN)
    }

    /// Moves the keys of all reminders due at `now` to `expired`.
    pub fn expire(&mut self, now: u64, expired: &mut Vec<K>) {
        let upto = now / GRAIN;
        if upto < self.first {
            self.done = self.done.max(upto);
            return;
        }
        let from = self.first.max(self.done + 1);
        for grain in from..=upto.min(from + SLOTS - 1) {
            self.expire_slot((grain % SLOTS) as usize, upto, expired);
        }
        self.done = upto;
        self.first = self.find_first();
    }

    fn expire_slot(&mut self, slot: usize, upto: u64, expired: &mut Vec<K>) {
        let mut at = std::mem::replace(&mut self.slots[slot], NONE);
        while let Some(entry) = self.entries.get_mut(at as usize) {
            let next = entry.next;
            let list = if entry.grain <= upto {
                expired.push(entry.key);
                self.len -= 1;
                &mut self.spare
            } else {
                &mut self.slots[slot]
            };
            entry.next = std::mem::replace(list, at);
            at = next;
        }
    }

    fn find_first(&self) -> u64 {
        if self.len == 0 {
            return u64::MAX;
        }
        let ahead = (self.done + 1..=self.done + SLOTS).find(|g| self.slots[(g % SLOTS) as usize] != NONE);
        ahead.expect("an entry lies in one of the slots")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reminders_come_in_time_never_early_and_once() {
        let mut wheel = Wheel::default();
        let dues = [1_u64, 9, 100, 8_000, 8_192, 60_000, 3_600_000];
        for due in dues {
            wheel.insert(due, due);
        }
        let (mut now, mut seen) = (0, Vec::new());
        while let Some(next) = wheel.next() {
            assert!(next > now, "the wheel asks to be woken at {next}, which is not after {now}");
            now = next;
            let mut expired = Vec::new();
            wheel.expire(now, &mut expired);
            for due in &expired {
                assert!(*due <= now && now < due + 2 * GRAIN, "{due} came at {now}");
            }
            seen.extend(expired);
        }
        assert_eq!(seen, dues);
    }

    #[test]
    fn a_long_sleep_misses_nothing() {
        let mut wheel = Wheel::default();
        (0..5_000).for_each(|i| wheel.insert(i * 7, i));
        let mut expired = Vec::new();
        wheel.expire(1_000_000, &mut expired);
        assert_eq!(expired.len(), 5_000);
        assert_eq!(wheel.next(), None);
        wheel.insert(5, 0);
        wheel.expire(1_000_008, &mut expired);
        assert_eq!(expired.len(), 5_001, "a reminder for the past comes at the next look");
    }
}
