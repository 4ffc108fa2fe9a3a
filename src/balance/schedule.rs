//! Turns by weight, spread evenly, as an array to be gone through with one index.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::id::BackendId;

/// Entries of a schedule at most: 128 KiB a pool and worker, and made in a few milliseconds.
pub const TURNS_MAX: usize = 1 << 16;
/// No backend.
const NONE: usize = usize::MAX;

/// One backend on its way through the schedule.
struct Entrant {
    id: BackendId,
    weight: u64,
    /// Turns that it has had.
    had: u64,
    /// The next of those that wait for the same slot.
    next: usize,
}

impl Entrant {
    /// The first slot of its next turn, out of `slots`.
    fn release(&self, slots: u64) -> u64 {
        self.had * slots / self.weight
    }

    /// The slot before which it must have had its next turn.
    fn deadline(&self, slots: u64) -> u64 {
        ((self.had + 1) * slots).div_ceil(self.weight)
    }
}

/// Fills `out` with each backend as often as its weight, divided by what all weights have in common, spread so
/// evenly that in the first `n` of `len` entries, for every `n`, each backend stands less than one time more or
/// less often than `n * weight / len`. Backends of equal weight come in their order. One of weight 0 has no turn.
///
/// That is uniprocessor Pfair (Baruah, Cohen, Plaxton and Varvel, "Proportionate progress", 1996): turn `k` of a
/// backend has the window from `floor(k * len / weight)` to `ceil((k + 1) * len / weight)`, and the turn whose
/// window ends first is taken first (of two, the lighter backend's), which always meets all of them. To sort the
/// turns by `(k + 1/2) / weight` would not do: with one backend of weight 256 and 255 of weight 1, these 255 would
/// follow each other.
///
/// There are at most [`TURNS_MAX`] entries. Where the weights add up to more they are scaled down and rounded to
/// at least 1; each is then less than one entry off.
pub fn smooth(weights: &[(BackendId, u16)], out: &mut Vec<BackendId>) {
    out.clear();
    let mut entrants = entrants(weights);
    let slots: u64 = entrants.iter().map(|entrant| entrant.weight).sum();
    out.reserve(slots as usize);
    let key = |entrant: &Entrant, at: usize| Reverse((entrant.deadline(slots), entrant.weight, at));
    let mut ready: BinaryHeap<_> = entrants.iter().enumerate().map(|(at, e)| key(e, at)).collect();
    // For each slot, the first of those whose next window opens there.
    let mut opening = vec![NONE; slots as usize];
    for slot in 0..slots {
        let mut at = opening[slot as usize];
        while at != NONE {
            ready.push(key(&entrants[at], at));
            at = entrants[at].next;
        }
        let Some(Reverse((.., at))) = ready.pop() else { continue };
        let entrant = &mut entrants[at];
        out.push(entrant.id);
        entrant.had += 1;
        if entrant.had < entrant.weight {
            let release = entrant.release(slots).max(slot + 1) as usize;
            entrant.next = std::mem::replace(&mut opening[release], at);
        }
    }
}

/// Those that have turns, with weights that add up to no more than [`TURNS_MAX`].
fn entrants(weights: &[(BackendId, u16)]) -> Vec<Entrant> {
    let weighted = || weights.iter().filter(|(_, weight)| *weight > 0);
    let divisor = weighted().fold(0, |divisor, &(_, weight)| gcd(divisor, u64::from(weight))).max(1);
    let sum = weighted().map(|&(_, weight)| u64::from(weight) / divisor).sum::<u64>();
    // To round up, or to 1, adds less than one entry to each.
    let room = TURNS_MAX.saturating_sub(weighted().count()) as u64;
    let scaled = |weight: u64| {
        if sum <= TURNS_MAX as u64 { weight } else { ((2 * weight * room + sum) / (2 * sum)).max(1) }
    };
    let entrant = |&(id, weight): &(BackendId, u16)| Entrant {
        id,
        weight: scaled(u64::from(weight) / divisor),
        had: 0,
        next: NONE,
    };
    weighted().map(entrant).collect()
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::hash;

    fn weighted(weights: &[u16]) -> Vec<(BackendId, u16)> {
        (0..).map(BackendId).zip(weights.iter().copied()).collect()
    }

    fn turns(weights: &[u16]) -> Vec<u16> {
        // What stood there before is forgotten.
        let mut out = vec![BackendId(9); 3];
        smooth(&weighted(weights), &mut out);
        out.iter().map(|id| id.0).collect()
    }

    fn random_weights(count: usize, most: u16, seed: u64) -> Vec<u16> {
        (0..count).map(|at| (hash::mix(seed, at as u32 + 1) % u64::from(most)) as u16 + 1).collect()
    }

    /// Checks the counts, and after every prefix that each backend is less than one turn off its share.
    fn assert_even(weights: &[u16], turns: &[u16]) {
        let sum: i64 = weights.iter().map(|w| i64::from(*w)).sum();
        let len = turns.len() as i64;
        let mut had = vec![0i64; weights.len()];
        let mut last = vec![None; weights.len()];
        for (slot, &turn) in (0..).zip(turns) {
            let (at, weight) = (usize::from(turn), i64::from(weights[usize::from(turn)]));
            // Only at a backend's own turns is it furthest off: behind just before, ahead just after.
            let behind = slot * weight - had[at] * sum;
            had[at] += 1;
            let ahead = had[at] * sum - (slot + 1) * weight;
            assert!(behind < sum && ahead < sum, "{weights:?}: backend {at} is off in slot {slot}");
            if let Some(last) = last[at].replace(slot) {
                let off = (slot - last) * weight - sum;
                assert!(off.abs() < sum + weight, "{weights:?}: backend {at}: {last} to {slot}");
            }
        }
        for (had, weight) in had.iter().zip(weights) {
            assert_eq!(had * sum, i64::from(*weight) * len, "{weights:?}");
        }
    }

    #[test]
    fn equal_weights_are_the_list_in_order() {
        for (count, weight) in [(1, 1), (3, 1), (3, 256), (5, 7), (4096, 100)] {
            let turns = turns(&vec![weight; count]);
            assert_eq!(turns, (0..count as u16).collect::<Vec<_>>());
        }
    }

    #[test]
    fn small_schedules_are_what_one_would_write_down() {
        assert_eq!(turns(&[2, 1]), [0, 1, 0]);
        assert_eq!(turns(&[20, 10]), [0, 1, 0]);
        assert_eq!(turns(&[1, 3]), [1, 1, 0, 1]);
        assert_eq!(turns(&[1, 5, 1, 5]), [1, 3, 1, 3, 1, 3, 0, 1, 3, 2, 1, 3]);
        assert_eq!(turns(&[5, 1, 1]), [0, 0, 0, 1, 0, 2, 0]);
        assert_eq!(turns(&[0, 3, 0]), [1]);
        assert!(turns(&[]).is_empty() && turns(&[0, 0]).is_empty());
    }

    #[test]
    fn every_backend_is_always_less_than_one_turn_off() {
        let mut heavy = vec![1; 255];
        heavy.push(256);
        let mut all = vec![vec![256, 1], vec![1, 256], vec![255, 256], vec![7, 7, 3], heavy, vec![1, 65_535]];
        for seed in 0..200 {
            let most = [2, 5, 17, 256][seed as usize % 4];
            all.push(random_weights(2 + seed as usize % 40, most, seed));
        }
        for weights in all {
            let turns = turns(&weights);
            let sum = weights.iter().map(|w| usize::from(*w)).sum::<usize>();
            let divisor = weights.iter().fold(0, |divisor, w| gcd(divisor, u64::from(*w))) as usize;
            assert_eq!(turns.len(), sum / divisor);
            assert_even(&weights, &turns);
        }
    }

    #[test]
    fn a_schedule_is_bounded_and_each_weight_less_than_an_entry_off() {
        let mut steep = vec![256; 4095];
        steep.push(1);
        for weights in
            [random_weights(4096, 256, 1), random_weights(1000, 256, 2), steep, vec![65_535, 65_534]]
        {
            let turns = turns(&weights);
            assert!(turns.len() <= TURNS_MAX && turns.len() > TURNS_MAX * 7 / 8, "{}", turns.len());
            let mut counts = vec![0u16; weights.len()];
            turns.iter().for_each(|turn| counts[usize::from(*turn)] += 1);
            let sum: f64 = weights.iter().map(|w| f64::from(*w)).sum();
            let scale = (TURNS_MAX - weights.len()) as f64 / sum;
            for (count, weight) in counts.iter().zip(&weights) {
                let exact = f64::from(*weight) * scale;
                assert!(*count > 0 && (f64::from(*count) - exact).abs() < 1.0, "{count} for {exact}");
            }
            assert_even(&counts, &turns);
        }
    }
}
