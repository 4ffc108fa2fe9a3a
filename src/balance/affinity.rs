//! Which backend each client had, where clients stick by their address or another key.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::id::BackendId;

/// Entries of a set: what one cache line holds.
const WAYS: usize = 8;
/// Bits of an entry, from the highest: fingerprint, backend, second of its last use plus one (8 years of them).
const FINGERPRINT_BITS: u32 = 20;
const SECOND_BITS: u32 = 28;
const SECOND_MAX: u64 = (1 << SECOND_BITS) - 1;

/// One client. All of it is one word, so workers can share it without a lock and never see half of it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Entry(u64);

impl Entry {
    const EMPTY: Self = Self(0);

    fn new(hash: u64, id: BackendId, second: u64) -> Self {
        let fingerprint = hash >> (u64::BITS - FINGERPRINT_BITS) << (u64::BITS - FINGERPRINT_BITS);
        Self(fingerprint | u64::from(id.0) << SECOND_BITS | second)
    }

    /// Whether it is that client's, or one's whose hash is the same in all that is kept of it.
    fn is_of(self, hash: u64) -> bool {
        self != Self::EMPTY && (self.0 ^ hash) >> (u64::BITS - FINGERPRINT_BITS) == 0
    }

    fn id(self) -> BackendId {
        BackendId((self.0 >> SECOND_BITS) as u16)
    }

    fn second(self) -> u64 {
        self.0 & SECOND_MAX
    }
}

/// Clients that can only be in these places; a cache line of its own, so that a look-up costs one miss.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Set([AtomicU64; WAYS]);

impl Set {
    fn entries(&self) -> impl Iterator<Item = (&AtomicU64, Entry)> {
        self.0.iter().map(|slot| (slot, Entry(slot.load(Relaxed))))
    }
}

/// A table of fixed size that remembers the backend of each client, shared by all workers without a lock.
///
/// Clients are told apart by a hash, which has to be keyed by a secret of this process: else anyone could find
/// addresses that displace a certain client. The hash picks a set of 8 entries, and the top 20 bits of it are kept:
/// where the set is full, one new client in 131,072 is taken for another one and served by its backend. With 65,536
/// entries in use, a quarter of a pair of clients is expected to share an entry, and so to move when the other moves.
#[derive(Debug)]
pub struct Affinity {
    sets: Box<[Set]>,
    /// Seconds.
    keep: u64,
}

impl Affinity {
    /// Room for at least so many clients, 8 bytes each, the number rounded up to 8 times a power of two. Each is
    /// remembered for this long after its last use, and at most two seconds longer.
    pub fn new(entries: usize, keep: Duration) -> Self {
        let sets = entries.div_ceil(WAYS).next_power_of_two();
        let keep = keep.as_millis().div_ceil(1000).min(u128::from(SECOND_MAX)) as u64;
        Self { sets: (0..sets).map(|_| Set::default()).collect(), keep }
    }

    /// The backend of the client with this hash, which counts as used `now_ms` milliseconds after the process began.
    pub fn get(&self, hash: u64, now_ms: u64) -> Option<BackendId> {
        let now = second(now_ms);
        let (slot, entry) = self.set_of(hash).entries().find(|(_, entry)| entry.is_of(hash))?;
        if self.is_expired(entry, now) {
            return None;
        }
        if entry.second() < now {
            // When it fails, another worker has just used or set this entry, which is as good or better.
            let used = Entry::new(hash, entry.id(), now);
            let _ = slot.compare_exchange(entry.0, used.0, Relaxed, Relaxed);
        }
        Some(entry.id())
    }

    /// Remembers that the client with this hash is served by this backend. In a full set that displaces the one
    /// that was not used for longest.
    pub fn set(&self, hash: u64, id: BackendId, now_ms: u64) {
        let now = second(now_ms);
        let new = Entry::new(hash, id, now);
        let set = self.set_of(hash);
        // Where another worker changes the same entry at the same time, one more look tells whether it was
        // this client's. After that many the set is so busy that it would not be kept for long anyway.
        for _ in 0..WAYS {
            let (slot, old) = match set.entries().find(|(_, entry)| entry.is_of(hash)) {
                Some(own) => own,
                None => self.victim(set, hash),
            };
            if old == new || slot.compare_exchange(old.0, new.0, Relaxed, Relaxed).is_ok() {
                return;
            }
        }
    }

    /// The entry used longest ago: empty ones are older than all.
    fn victim<'a>(&self, set: &'a Set, hash: u64) -> (&'a AtomicU64, Entry) {
        // Of entries that are equally old, not always the first: many clients may come in the same second.
        let start = (hash >> (u64::BITS - FINGERPRINT_BITS)) as usize % WAYS;
        let load = |way: usize| (&set.0[way], Entry(set.0[way].load(Relaxed)));
        let mut oldest = load(start);
        for way in 1..WAYS {
            let other = load((start + way) % WAYS);
            if other.1.second() < oldest.1.second() {
                oldest = other;
            }
        }
        oldest
    }

    /// Workers read the clock at different times, so an entry may be from a second still to come.
    fn is_expired(&self, entry: Entry, now: u64) -> bool {
        now.saturating_sub(entry.second()) > self.keep
    }

    fn set_of(&self, hash: u64) -> &Set {
        &self.sets[hash as usize & (self.sets.len() - 1)]
    }
}

/// Never 0, which is an empty entry's.
fn second(now_ms: u64) -> u64 {
    (now_ms / 1000 + 1).min(SECOND_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::hash;
    use crate::limits;

    const KEEP: Duration = Duration::from_secs(60);

    fn client(number: u32) -> u64 {
        hash::hash(&number.to_be_bytes())
    }

    fn backend(number: u32) -> BackendId {
        BackendId((number % 1000) as u16)
    }

    fn affinity() -> Affinity {
        Affinity::new(limits::STICKY_CLIENTS, KEEP)
    }

    /// How many of these clients are remembered with the backend that they had.
    fn remembered(affinity: &Affinity, clients: std::ops::Range<u32>, now: u64) -> usize {
        clients.filter(|number| affinity.get(client(*number), now) == Some(backend(*number))).count()
    }

    #[test]
    fn a_client_is_remembered_with_its_last_backend() {
        let affinity = affinity();
        for id in [BackendId(0), BackendId(7), BackendId(4095), BackendId(u16::MAX)] {
            affinity.set(client(1), id, 500);
            assert_eq!(affinity.get(client(1), 900), Some(id));
        }
        assert_eq!(affinity.get(client(2), 900), None);
        let (zero, ones) = (0, u64::MAX);
        assert_eq!(affinity.get(zero, 0), None, "an empty entry is nobody's");
        affinity.set(zero, BackendId(0), 0);
        affinity.set(ones, BackendId(3), 0);
        assert_eq!((affinity.get(zero, 0), affinity.get(ones, 0)), (Some(BackendId(0)), Some(BackendId(3))));
    }

    #[test]
    fn a_client_is_forgotten_when_it_stays_away() {
        let affinity = affinity();
        affinity.set(client(1), BackendId(3), 999);
        assert_eq!(affinity.get(client(1), 60_999), Some(BackendId(3)));
        assert_eq!(affinity.get(client(1), 120_999), Some(BackendId(3)), "each use counts anew");
        assert_eq!(affinity.get(client(1), 120_999 + 62_000), None);
        affinity.set(client(1), BackendId(4), 183_000);
        assert_eq!(affinity.get(client(1), 183_000), Some(BackendId(4)));
        assert_eq!(affinity.get(client(1), 182_000), Some(BackendId(4)), "a clock that is a little behind");
    }

    #[test]
    fn short_times_are_kept_in_full_and_long_ones_do_not_overflow() {
        let short = Affinity::new(8, Duration::from_millis(1));
        short.set(client(1), BackendId(3), 999);
        assert_eq!(short.get(client(1), 1_000), Some(BackendId(3)));
        assert_eq!(short.get(client(1), 3_000), None);
        let long = Affinity::new(8, Duration::MAX);
        long.set(client(1), BackendId(3), u64::MAX);
        assert_eq!(long.get(client(1), u64::MAX), Some(BackendId(3)));
    }

    #[test]
    fn a_million_clients_do_not_grow_it_and_the_last_ones_are_found() {
        let affinity = affinity();
        for number in 0..1_000_000 {
            affinity.set(client(number), backend(number), u64::from(number) / 20);
        }
        assert_eq!(affinity.sets.len() * size_of::<Set>(), limits::STICKY_CLIENTS * 8);
        // Two each set: that eight others came later to the same one is rare.
        let last = remembered(&affinity, 1_000_000 - 16_384..1_000_000, 50_000);
        assert!(last > 16_000, "{last} of the last 16,384");
        assert!(remembered(&affinity, 0..500_000, 50_000) < 50, "they have made room");
    }

    #[test]
    fn of_many_in_one_second_most_of_the_last_are_found() {
        let affinity = affinity();
        (0..200_000).for_each(|number| affinity.set(client(number), backend(number), 10));
        let last = remembered(&affinity, 200_000 - 8_192..200_000, 10);
        assert!(last > 7_400, "{last} of the last 8,192");
    }

    #[test]
    fn clients_that_keep_coming_outlast_a_flood_of_others() {
        let affinity = affinity();
        (0..1_000).for_each(|number| affinity.set(client(number), backend(number), 0));
        for second in 0..200 {
            let flood = 1_000_000 + second * 2_000;
            for number in flood..flood + 2_000 {
                affinity.set(client(number), BackendId(9), u64::from(second) * 1_000);
            }
            remembered(&affinity, 0..1_000, u64::from(second) * 1_000 + 999);
        }
        assert_eq!(remembered(&affinity, 0..1_000, 200_000), 1_000);
    }

    #[test]
    fn threads_share_it() {
        let affinity = affinity();
        let (shared, ids) = (client(u32::MAX), 1000..1004u16);
        affinity.set(shared, BackendId(ids.start), 0);
        std::thread::scope(|scope| {
            for (thread, id) in (0..).zip(ids.clone()) {
                let (affinity, ids) = (&affinity, ids.clone());
                scope.spawn(move || {
                    for round in 0..2_000 {
                        let number = thread * 2_000 + round;
                        let now = u64::from(round) * 5;
                        affinity.set(client(number), backend(number), now);
                        assert_eq!(affinity.get(client(number), now), Some(backend(number)));
                        affinity.set(shared, BackendId(id), now);
                        assert!(affinity.get(shared, now).is_some_and(|id| ids.contains(&id.0)));
                    }
                });
            }
        });
        assert_eq!(remembered(&affinity, 0..8_000, 10_000), 8_000, "each thread sees what the others set");
    }

    #[test]
    fn threads_that_want_the_same_entry_at_once_all_get_one() {
        const THREADS: u64 = 2;
        let tables: Vec<_> = (0..20_000).map(|_| Affinity::new(WAYS, KEEP)).collect();
        let started = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (tables, started) = (&tables, &started);
                scope.spawn(move || {
                    for (round, table) in (1..).zip(tables) {
                        started.fetch_add(1, Relaxed);
                        while started.load(Relaxed) < THREADS * round {
                            std::thread::yield_now();
                        }
                        // These hashes differ only in bits that do not choose the place: all want the same one.
                        table.set(thread << 60, BackendId(thread as u16), 0);
                    }
                });
            }
        });
        for (round, table) in tables.iter().enumerate() {
            for thread in 0..THREADS {
                let found = table.get(thread << 60, 0);
                assert_eq!(found, Some(BackendId(thread as u16)), "round {round}");
            }
        }
    }
}
