//! Consistent hashing by a table of places.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::hash;

/// Places for each backend at least: the more, the closer the shares are to the weights.
const PLACES_EACH: usize = 100;
/// Numbers of places, primes so that each backend's steps lead through all places. The last one is enough for 5,242
/// backends; more have fewer places each. From one size to the next, at 656, 1,311 and 2,622 backends, nearly all
/// keys move: that is the price of small pools having a table that stays in the cache.
const SIZES: [usize; 4] = [65_537, 131_101, 262_147, 524_309];
const FREE: u16 = u16::MAX;

/// A Maglev table: which backend a key belongs to (Eisenbud et al., "Maglev: A Fast and Reliable Software
/// Network Load Balancer", NSDI 2016, section 3.4), with weights.
///
/// It is made once of all configured backends, up or down. A key whose backend is out tries its next place
/// ([`hash::mix`]), so only the keys of that backend move, and they spread over all others.
#[derive(Clone, Debug)]
pub struct Maglev {
    /// Positions in what the table was made of.
    places: Box<[u16]>,
}

/// One backend's way through the places.
struct Walk {
    /// Its position in what the table is made of.
    position: u16,
    weight: u64,
    /// Places that it has.
    had: u64,
    /// Where it looks next.
    at: usize,
    step: usize,
}

impl Walk {
    /// When it takes its next place: one each `1 / weight`, so that a turn of all is the paper's when weights are
    /// equal. Fractions of two u16 that differ do so by at least 2^-32: at 2^-40 none are taken for the same.
    fn time(&self) -> u64 {
        (self.had << 40) / self.weight
    }

    /// Takes the first free place on its way.
    fn take(&mut self, places: &mut [u16]) {
        while places[self.at] != FREE {
            self.at += self.step;
            if self.at >= places.len() {
                self.at -= places.len();
            }
        }
        places[self.at] = self.position;
        self.had += 1;
    }
}

impl Maglev {
    /// A table over backends, each given as the hash of what it is known by and its weight; at most 65,535.
    /// Their order makes no difference but for the positions that [`Self::place`] gives. A backend of weight 0
    /// has no place. Without any weight, every key has position 0.
    ///
    /// Each backend with a weight has at least one place; it has at most one place more than its share, and at
    /// most one in a hundred of its share less.
    pub fn new(names: &[(u64, u16)]) -> Self {
        let size = SIZES.into_iter().find(|size| *size >= names.len() * PLACES_EACH);
        let size = size.unwrap_or(SIZES[SIZES.len() - 1]);
        let mut walks = walks(names, size);
        if walks.is_empty() {
            return Self { places: Box::new([0]) };
        }
        let mut places = vec![FREE; size].into_boxed_slice();
        let mut turns: BinaryHeap<_> = (0..walks.len()).map(|at| Reverse((0, at))).collect();
        for _ in 0..size {
            let Some(mut turn) = turns.peek_mut() else { break };
            let Reverse((time, at)) = &mut *turn;
            walks[*at].take(&mut places);
            *time = walks[*at].time();
        }
        Self { places }
    }

    /// The backend that a key with this hash belongs to, as its position in what the table was made of.
    pub fn place(&self, hash: u64) -> u16 {
        self.places[(hash % self.places.len() as u64) as usize]
    }
}

/// The ways of those that have a weight, in an order that does not depend on that of the names.
fn walks(names: &[(u64, u16)], size: usize) -> Vec<Walk> {
    let mut sorted: Vec<_> = (0..FREE).zip(names).filter(|(_, (_, weight))| *weight > 0).collect();
    sorted.sort_unstable_by_key(|(position, (name, weight))| (*name, *weight, *position));
    let walk = |(position, &(name, weight)): (u16, &(u64, u16))| Walk {
        position,
        weight: u64::from(weight),
        had: 0,
        at: (hash::mix(name, 1) % size as u64) as usize,
        step: (hash::mix(name, 2) % (size as u64 - 1)) as usize + 1,
    };
    sorted.into_iter().map(walk).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<(u64, u16)> {
        (0..count)
            .map(|at| (hash::hash(format!("http://10.0.{}.{}:80", at / 256, at % 256).as_bytes()), 1))
            .collect()
    }

    /// How many places each backend has.
    fn counts(maglev: &Maglev, backends: usize) -> Vec<usize> {
        let mut counts = vec![0; backends];
        maglev.places.iter().for_each(|at| counts[usize::from(*at)] += 1);
        counts
    }

    /// The name that each place belongs to.
    fn owners(names: &[(u64, u16)]) -> Vec<u64> {
        Maglev::new(names).places.iter().map(|at| names[usize::from(*at)].0).collect()
    }

    /// The part of all places that moved, and the part of those that moved without need: neither from nor to
    /// the backend with this name.
    fn moved(before: &[u64], after: &[u64], name: u64) -> (f64, f64) {
        assert_eq!(before.len(), after.len());
        let moves = || before.iter().zip(after).filter(|(a, b)| a != b);
        let needless = moves().filter(|(a, b)| **a != name && **b != name).count();
        (moves().count() as f64 / before.len() as f64, needless as f64 / before.len() as f64)
    }

    #[test]
    fn sizes_are_growing_primes() {
        assert!(SIZES.is_sorted());
        for size in SIZES {
            assert!((2..1000).take_while(|n| n * n <= size).all(|n| size % n != 0), "{size}");
        }
        for (count, size) in [(1, 65_537), (655, 65_537), (656, 131_101), (4096, 524_309)] {
            assert_eq!(Maglev::new(&names(count)).places.len(), size);
        }
    }

    #[test]
    fn equal_weights_have_equal_shares() {
        for count in [1, 2, 3, 10, 100, 655, 4096] {
            let counts = counts(&Maglev::new(&names(count)), count);
            let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            assert!(most - least <= 1, "{count} backends have {least} to {most} places");
        }
    }

    #[test]
    fn shares_are_those_of_the_weights() {
        for (count, most) in [(2, 10), (3, 256), (16, 5), (100, 256), (655, 256), (655, 65_535)] {
            let mut names = names(count);
            for (at, (name, weight)) in names.iter_mut().enumerate() {
                *weight = if at == 0 { most } else { (hash::mix(*name, 3) % u64::from(most)) as u16 + 1 };
            }
            names[1].1 = 1;
            let maglev = Maglev::new(&names);
            let sum: f64 = names.iter().map(|(_, weight)| f64::from(*weight)).sum();
            for (had, (_, weight)) in counts(&maglev, count).into_iter().zip(&names) {
                let share = maglev.places.len() as f64 * f64::from(*weight) / sum;
                let fair = share * 0.99 <= had as f64 && had as f64 <= share + 1.0;
                assert!(had > 0 && fair, "{count} backends: {had} places for {share}");
            }
        }
    }

    #[test]
    fn one_backend_more_or_less_moves_its_own_keys_and_few_others() {
        for count in [2, 3, 5, 10, 50, 100, 300, 655, 1_000] {
            let all = names(count);
            let before = owners(&all);
            for gone in [0, count / 2, count - 1] {
                let mut rest = all.clone();
                let (name, _) = rest.remove(gone);
                // To lose it and to get it back move the same places.
                let (moved, needless) = moved(&before, &owners(&rest), name);
                let own = 1.0 / count as f64;
                assert!(moved >= own * 0.98, "{count} backends: {moved} moved");
                assert!(moved < own + 0.02, "{count} backends: {moved} moved, {needless} without need");
            }
        }
    }

    #[test]
    fn a_changed_weight_moves_about_the_difference() {
        let mut names = names(10);
        names.iter_mut().for_each(|(_, weight)| *weight = 100);
        let before = owners(&names);
        names[4].1 = 50;
        let (moved, _) = moved(&before, &owners(&names), names[4].0);
        let difference = 0.1 - 50.0 / 950.0;
        assert!((difference..difference + 0.03).contains(&moved), "{moved}");
    }

    #[test]
    fn the_order_of_names_makes_no_difference() {
        let mut names = names(50);
        names.iter_mut().enumerate().for_each(|(at, (_, weight))| *weight = at as u16 % 7 + 1);
        let before = owners(&names);
        names.rotate_left(17);
        names[3..40].reverse();
        assert_eq!(owners(&names), before);
    }

    #[test]
    fn the_keys_of_a_backend_that_is_out_spread_over_all_others() {
        let maglev = Maglev::new(&names(10));
        let mut counts = [0; 10];
        let keys = (0..100_000u32).map(|key| hash::hash(&key.to_be_bytes()));
        for key in keys.filter(|key| maglev.place(*key) == 3) {
            let other = (1..).map(|attempt| maglev.place(hash::mix(key, attempt))).find(|at| *at != 3);
            counts[usize::from(other.unwrap())] += 1;
        }
        for (at, count) in counts.into_iter().enumerate().filter(|(at, _)| *at != 3) {
            assert!((900..1_350).contains(&count), "{at} has {count} of 10,000: {counts:?}");
        }
    }

    #[test]
    fn weights_of_zero_have_no_place() {
        let mut names = names(3);
        names[1].1 = 0;
        assert_eq!(counts(&Maglev::new(&names), 3)[1], 0);
        assert_eq!(Maglev::new(&[]).place(u64::MAX), 0);
        assert_eq!(Maglev::new(&[(1, 0), (2, 0)]).place(7), 0);
    }
}
