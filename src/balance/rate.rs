//! How many requests each client may bring: a token bucket for each, in bounded memory, without a lock.
//!
//! A bucket is one number, the theoretical arrival time of its next request (the generic cell rate algorithm of
//! ITU-T I.371, a leaky bucket as a meter): a request moves it on by the time that one token takes, and is
//! refused when that would put it further ahead of the clock than a whole burst.
//!
//! The table is set-associative and never grows. Where a set is full, the entry with the earliest arrival time
//! makes room. Where that bucket was full again nothing is lost; else its client may bring a burst once more.
//! Clients whose hashes agree in 33 bits share a bucket: with a full table, about one pair of all.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::config::RateLimit;
use crate::limits;

/// Entries of a set: one cache line.
const WAYS: usize = 8;
const SETS: usize = limits::RATE_CLIENTS / WAYS;
/// The lower bits of an entry are its arrival time in ticks, which wraps around after years; those above are of
/// the client's hash.
const TIME: u64 = (1 << 44) - 1;
/// A tick is this many nanoseconds at most, and the time of one token is a whole number of them.
const TICK: u128 = 10_000;
/// So much further ahead than a burst, in ticks, is still the future: workers' clocks are not quite alike.
const SKEW: u64 = 1 << 30;
/// What of an IPv6 address tells clients apart: one client has the rest to itself.
const PREFIX: u128 = !0 << 64;

const _: () =
    assert!(SETS.is_power_of_two() && SETS <= 1 << 44, "a set is chosen by the lower bits of a hash");

/// Who brings a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Client<'a> {
    /// Known by its address; of IPv6 the first 64 bits count.
    Address(IpAddr),
    /// Known by the value of a header field.
    Field(&'a [u8]),
}

impl Client<'_> {
    fn canonical(self) -> Self {
        match self {
            Self::Address(address) => Self::Address(match address.to_canonical() {
                IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & PREFIX).into(),
                v4 => v4,
            }),
            field => field,
        }
    }
}

/// The buckets of all clients, shared by all workers.
#[derive(Debug)]
pub struct RateLimiter {
    sets: Box<[Set]>,
    /// Keyed at random, so that nobody can tell which clients share a set.
    keys: RandomState,
    /// So many ticks …
    ticks: u128,
    /// … in so many nanoseconds.
    nanos: u128,
    /// Ticks of one token.
    token: u64,
    /// Ticks of a whole burst.
    burst: u64,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Set([AtomicU64; WAYS]);

impl RateLimiter {
    /// Full buckets for everybody.
    #[must_use]
    pub fn new(limit: &RateLimit) -> Self {
        let requests = u128::from(limit.requests.max(1));
        let nanos = limit.per.as_nanos().max(1);
        let token = nanos.div_ceil(requests * TICK);
        // The configuration allows a burst of at most a year; whatever comes must leave most of the time as past.
        let burst = (token * u128::from(limit.burst.max(1))).min(u128::from(TIME / 2));
        Self {
            sets: (0..SETS).map(|_| Set::default()).collect(),
            keys: RandomState::new(),
            ticks: requests * token,
            nanos,
            token: (token as u64).min(TIME / 2),
            burst: burst as u64,
        }
    }

    /// Takes a token from the client's bucket; exact over all workers.
    ///
    /// `now_us`: microseconds since any start that all callers share.
    ///
    /// # Errors
    /// How long it takes until a token is there, if nobody else takes it.
    pub fn admit(&self, client: Client<'_>, now_us: u64) -> Result<(), Duration> {
        self.admit_hash(self.hash(client), now_us)
    }

    /// What the client is known by here, and nobody outside can foretell.
    pub fn hash(&self, client: Client<'_>) -> u64 {
        self.keys.hash_one(client.canonical())
    }

    /// See [`Self::admit`], for a client known by its [`Self::hash`].
    ///
    /// # Errors
    /// See [`Self::admit`].
    pub fn admit_hash(&self, hash: u64, now_us: u64) -> Result<(), Duration> {
        // None is 0, so that an entry without a client is nobody's.
        let (set, print) = (&self.sets[hash as usize % SETS], (hash & !TIME).max(TIME + 1));
        let start = self.ticks_at(now_us);
        let now = start as u64 & TIME;
        loop {
            let (entry, word, lead) = self.find(set, print, now);
            let after = lead + self.token;
            if after > self.burst {
                return Err(self.wait(now_us, start + u128::from(after - self.burst)));
            }
            let moved = print | (now + after) & TIME;
            // Whoever was quicker may have brought in the same client elsewhere: look again.
            if entry.compare_exchange(word, moved, Relaxed, Relaxed).is_ok() {
                return Ok(());
            }
        }
    }

    /// The client's entry, what it holds, and how many ticks its arrival time is ahead; for a client that has none,
    /// the entry that makes room for it, as of a full bucket.
    fn find<'a>(&self, set: &'a Set, print: u64, now: u64) -> (&'a AtomicU64, u64, u64) {
        let (mut entry, mut earliest) = (&set.0[0], (i64::MAX, 0));
        for other in &set.0 {
            let word = other.load(Relaxed);
            let lead = self.lead(word & TIME, now);
            if word & !TIME == print {
                return (other, word, lead.max(0).unsigned_abs());
            }
            if lead < earliest.0 {
                (entry, earliest) = (other, (lead, word));
            }
        }
        (entry, earliest.1, 0)
    }

    /// Ticks from now to that arrival time; negative when it has passed.
    fn lead(&self, arrival: u64, now: u64) -> i64 {
        let ahead = arrival.wrapping_sub(now) & TIME;
        let wrap = if ahead > self.burst + SKEW { TIME + 1 } else { 0 };
        ahead as i64 - wrap as i64
    }

    fn ticks_at(&self, now_us: u64) -> u128 {
        u128::from(now_us) * 1000 * self.ticks / self.nanos
    }

    /// The time from now to the first microsecond of that tick.
    fn wait(&self, now_us: u64, tick: u128) -> Duration {
        let then = (tick * self.nanos).div_ceil(self.ticks * 1000);
        Duration::from_micros((then as u64).saturating_sub(now_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Key;

    const SECOND: u64 = 1_000_000;

    fn limiter(requests: u32, per: Duration, burst: u32) -> RateLimiter {
        RateLimiter::new(&RateLimit { requests, per, burst, key: Key::Address })
    }

    /// Hashes of clients that all want the same set.
    fn neighbour(number: u64) -> u64 {
        number << 44 | 5
    }

    /// Spreads over sets and fingerprints, but the same in each run (splitmix64).
    fn mixed(number: u64) -> u64 {
        let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let rates = [(1, 1000), (8, 3000), (600, 60_000), (3000, 100), (7001, 100), (10_000, 100)];
        for (requests, millis) in rates {
            // A burst of 1 would waste what of a token is there between two requests.
            for (burst, start) in [(2, 0), (1000, 86_400 * SECOND)] {
                let limiter = limiter(requests, Duration::from_millis(millis), burst);
                let mut admitted = 0;
                for now in (0..=5 * millis * 1000).step_by(if millis > 100 { 500 } else { 10 }) {
                    while limiter.admit_hash(1, start + now).is_ok() {
                        admitted += 1;
                    }
                }
                assert_eq!(admitted, burst + 5 * requests, "{requests} in {millis} ms, bursts of {burst}");
            }
        }
    }

    #[test]
    fn a_quiet_client_has_its_whole_burst_again_and_no_more() {
        let limiter = limiter(10, Duration::from_secs(1), 4);
        for now in [0, 400_000, 10 * SECOND, 3600 * SECOND, 400 * 86_400 * SECOND] {
            assert_eq!((0..100).filter(|_| limiter.admit_hash(1, now).is_ok()).count(), 4, "at {now}");
        }
    }

    #[test]
    fn whoever_waits_as_told_is_admitted_and_no_earlier() {
        for (requests, per) in [(3, SECOND), (7, 60 * SECOND), (99_999, SECOND), (1, 86_400 * SECOND)] {
            let limiter = limiter(requests, Duration::from_micros(per), 2);
            let mut now = 1_234_567;
            for _ in 0..500 {
                if let Err(wait) = limiter.admit_hash(1, now) {
                    let then = now + wait.as_micros() as u64;
                    assert!(limiter.admit_hash(1, then - 1).is_err(), "{requests} in {per} us: {wait:?}");
                    assert!(limiter.admit_hash(1, then).is_ok(), "{requests} in {per} us: {wait:?}");
                    now = then;
                }
            }
            // The clock of the buckets had not ticked for up to 10 us at the start.
            assert!(now - 1_234_567 + 10 >= 498 * per / u64::from(requests), "{requests} in {per} us");
        }
    }

    #[test]
    fn four_threads_admit_exactly_what_may_be() {
        let limiter = limiter(1000, Duration::from_secs(1), 50);
        let admitted: [AtomicU64; WAYS] = Default::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for now in (0..=SECOND).step_by(500) {
                        for (client, admitted) in admitted.iter().enumerate() {
                            while limiter.admit_hash(neighbour(client as u64 + 1), now).is_ok() {
                                admitted.fetch_add(1, Relaxed);
                            }
                        }
                    }
                });
            }
        });
        assert_eq!(admitted.map(AtomicU64::into_inner), [1050; WAYS]);
    }

    #[test]
    fn four_threads_at_one_bucket_empty_it_once() {
        let limiter = limiter(1, Duration::from_secs(1), 2_000_000);
        let start = std::sync::Barrier::new(4);
        let admit = || {
            start.wait();
            (0..).take_while(|_| limiter.admit_hash(1, 0).is_ok()).count()
        };
        let admitted: usize = std::thread::scope(|scope| {
            let threads = [(); 4].map(|()| scope.spawn(admit));
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(admitted, 2_000_000);
    }

    #[test]
    fn a_million_clients_do_not_grow_it_nor_hide_who_asks_most() {
        let limiter = limiter(1, Duration::from_secs(1), 5);
        let bytes = || size_of_val(&*limiter.sets);
        assert_eq!(bytes(), 8 * limits::RATE_CLIENTS);
        (0..5).for_each(|_| assert!(limiter.admit_hash(0, 0).is_ok()));
        assert!((1..=1_000_000).all(|client| limiter.admit_hash(mixed(client), 0).is_ok()));
        assert_eq!(limiter.admit_hash(0, 0), Err(Duration::from_secs(1)));
        assert_eq!(bytes(), 8 * limits::RATE_CLIENTS);
    }

    #[test]
    fn of_a_full_set_the_earliest_makes_room() {
        let limiter = limiter(1, Duration::from_secs(1), 10);
        for client in 1..=8 {
            (0..client + 1).for_each(|_| assert!(limiter.admit_hash(neighbour(client), 0).is_ok()));
        }
        assert!(limiter.admit_hash(neighbour(9), 0).is_ok());
        let left = |client| (0..).take_while(|_| limiter.admit_hash(neighbour(client), 0).is_ok()).count();
        assert_eq!((2..=8).map(left).collect::<Vec<_>>(), [7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(left(1), 10, "it was forgotten");
    }

    #[test]
    fn clocks_apart_and_wrapped_do_no_harm() {
        let limiter = limiter(100_000, Duration::from_secs(1), 2);
        let year = 365 * 86_400 * SECOND;
        for now in [SECOND, year, 3 * year, 5 * year, 7 * year, 20 * year] {
            assert!(limiter.admit_hash(1, now).is_ok() && limiter.admit_hash(1, now).is_ok(), "{now}");
            assert!(
                limiter.admit_hash(1, now).is_err() && limiter.admit_hash(1, now - 5000).is_err(),
                "{now}"
            );
        }
        let wrap = (TIME + 1) * 10;
        for now in wrap - 100..wrap + 100 {
            while limiter.admit_hash(2, now).is_ok() {}
        }
        assert_eq!(limiter.admit_hash(2, wrap + 100), Ok(()));
        assert_eq!(limiter.admit_hash(2, wrap + 100), Err(Duration::from_micros(10)));
    }

    #[test]
    fn no_limit_is_too_odd() {
        let year = Duration::from_secs(365 * 86_400);
        for (requests, per) in [(0, Duration::ZERO), (u32::MAX, Duration::from_nanos(1)), (1, year)] {
            for burst in [0, 1, u32::MAX] {
                let limiter = limiter(requests, per, burst);
                assert!(limiter.admit_hash(1, u64::MAX / 2).is_ok());
                assert_eq!(limiter.admit_hash(1, u64::MAX / 2).is_ok(), burst > 1);
            }
        }
        let limiter = limiter(1, year, 1);
        assert!(limiter.admit_hash(1, SECOND).is_ok());
        assert_eq!(limiter.admit_hash(1, SECOND), Err(year));
    }

    #[test]
    fn clients_are_told_apart_by_what_is_theirs() {
        let limiter = limiter(1, Duration::from_secs(1), 1);
        let address = |text: &str| Client::Address(text.parse().unwrap());
        let taken = [address("192.0.2.1"), address("2001:db8::1"), Client::Field(b"key")];
        assert!(taken.iter().all(|client| limiter.admit(*client, 0).is_ok()));
        let same = [address("::ffff:192.0.2.1"), address("2001:db8::ffff:1"), Client::Field(b"key")];
        assert!(same.iter().all(|client| limiter.admit(*client, 0).is_err()));
        let others = [address("192.0.2.2"), address("2001:db8:0:1::1"), Client::Field(b"Key")];
        assert!(others.iter().all(|client| limiter.admit(*client, 0).is_ok()));
        let another = self::limiter(1, Duration::from_secs(1), 1);
        let hashes = [&limiter, &another].map(|limiter| limiter.keys.hash_one(taken[0]));
        assert_ne!(hashes[0], hashes[1], "nobody can foretell a set");
    }
}
