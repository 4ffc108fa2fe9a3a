//! Choosing a backend: the one entry, and what is common to all algorithms.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::circuit::State;
use super::{Backend, Mode, Pool, Table, hash, schedule};
use crate::config::Algorithm;
use crate::id::BackendId;

/// Up to so many backends, the least loaded one is looked for among all; above it, among two.
const SCAN_MAX: usize = 64;
/// Places of a key that are looked at before its hash alone decides among those that are left.
const PLACES: u32 = 16;
/// One choice in so many goes round by turn whatever the latencies, so that every backend is known.
const TURN_SHARE: u32 = 32;
/// A backend that returns is given at least this part of its share at once.
const SLOW_START_MIN: f32 = 0.1;
/// A request that may not be sent twice is used for a trial only where no other came for so many milliseconds.
const TRIAL_PATIENCE: u64 = 1_000;

/// What is known of a request when it is to be served.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask<'a> {
    /// Milliseconds since the process began.
    pub now: u64,
    /// Hash of its key, where the pool chooses by one.
    pub key: Option<u64>,
    /// The backend that its client sticks to.
    pub sticky: Option<BackendId>,
    /// It may be sent again elsewhere.
    pub replayable: bool,
    /// Backends that were tried in vain.
    pub tried: &'a [Option<BackendId>],
}

/// What came of a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// This one. The request is counted in, where the pool counts requests in flight.
    Backend(BackendId),
    /// This one, which is out: the request is the one that tries it.
    Trial(BackendId),
    /// Every backend that could take it has all that it may have.
    Full,
    /// No backend is eligible that was not tried.
    None,
}

/// A worker's copy of a pool's eligible set, refreshed between its ticks when the pool's epoch has moved.
#[derive(Debug)]
pub struct Eligible {
    /// Each backend as often as its weight says, spread evenly.
    turns: Vec<BackendId>,
    /// Each backend once, with its weight.
    backends: Vec<(BackendId, u16)>,
    /// Whether each member of the pool is among them.
    here: Vec<bool>,
    weight: u64,
    epoch: u64,
    /// When the first of those that are out may be tried.
    trial_at: u64,
    /// Until then some backend is given less than its share.
    warming_until: u64,
    /// The next in turn is the choice, whatever the request: nothing is counted, nothing is full.
    plain: bool,
    rotor: usize,
    rng: fastrand::Rng,
}

impl Eligible {
    /// The backends eligible at present; `seed` makes this worker's random choices its own.
    pub fn new(table: &Table, pool: &Pool, seed: u64) -> Self {
        let mut eligible = Self {
            turns: Vec::new(),
            backends: Vec::with_capacity(pool.members().len()),
            here: Vec::new(),
            weight: 0,
            epoch: u64::MAX,
            trial_at: u64::MAX,
            warming_until: 0,
            plain: false,
            rotor: 0,
            rng: fastrand::Rng::with_seed(seed),
        };
        eligible.refresh(table, pool);
        eligible
    }

    /// Takes over what has changed; true when something had. The epoch is read first: a change meanwhile is
    /// found next time.
    pub fn refresh(&mut self, table: &Table, pool: &Pool) -> bool {
        let epoch = pool.epoch();
        if self.epoch == epoch {
            return false;
        }
        self.epoch = epoch;
        self.gather(table, pool, |backend| backend.is_eligible() && !backend.is_backup());
        if self.backends.is_empty() {
            self.gather(table, pool, Backend::is_eligible);
        }
        if self.backends.is_empty() && pool.config().fail_open {
            self.gather(table, pool, |backend| backend.mode() == Mode::Enabled);
        }
        schedule::smooth(&self.backends, &mut self.turns);
        self.weight = self.backends.iter().map(|&(_, weight)| u64::from(weight)).sum();
        self.look_for_trials(table, pool);
        let slow = pool.config().slow_start.as_millis() as u64;
        let returned = self.backends.iter().map(|&(id, _)| table.backend(id).since());
        self.warming_until = match returned.max() {
            Some(since) if slow > 0 && since > 0 => since + slow,
            _ => 0,
        };
        let in_turn = pool.config().algorithm == Algorithm::RoundRobin;
        self.plain = in_turn && !pool.counts() && !self.turns.is_empty();
        true
    }

    fn gather(&mut self, table: &Table, pool: &Pool, takes: impl Fn(&Backend) -> bool) {
        self.backends.clear();
        self.here.clear();
        for &id in pool.members() {
            let backend = table.backend(id);
            let here = takes(backend);
            self.here.push(here);
            if here {
                self.backends.push((id, backend.weight()));
            }
        }
    }

    fn look_for_trials(&mut self, table: &Table, pool: &Pool) {
        let times = pool.members().iter().map(|&id| trial_at(table.backend(id)));
        self.trial_at = times.min().unwrap_or(u64::MAX);
    }

    /// True when no backend may be given a request, but for trials.
    pub fn is_empty(&self) -> bool {
        self.backends.is_empty()
    }

    /// Backends that are eligible.
    pub fn backends(&self) -> impl Iterator<Item = BackendId> + '_ {
        self.backends.iter().map(|&(id, _)| id)
    }

    /// Chooses a backend for a request.
    #[inline]
    pub fn choose(&mut self, table: &Table, pool: &Pool, ask: &Ask<'_>) -> Choice {
        let calm = ask.now < self.trial_at && ask.now >= self.warming_until;
        if self.plain && calm && ask.sticky.is_none() && ask.tried.is_empty() {
            return Choice::Backend(self.turn(pool));
        }
        self.choose_among(table, pool, ask)
    }

    fn choose_among(&mut self, table: &Table, pool: &Pool, ask: &Ask<'_>) -> Choice {
        let own = ask.sticky.filter(|id| !ask.tried.contains(&Some(*id)));
        let keeps = |backend: &Backend| backend.serves(pool.id()) && backend.keeps_clients();
        if let Some(id) = own.filter(|&id| keeps(table.backend(id))) {
            // A client that sticks waits for its own backend, rather than lose what it has there.
            return if enter(table, pool, id) { Choice::Backend(id) } else { Choice::Full };
        }
        if ask.now >= self.trial_at
            && let Some(id) = self.trial(table, pool, ask)
        {
            return Choice::Trial(id);
        }
        if self.turns.is_empty() {
            return Choice::None;
        }
        if ask.tried.is_empty() && !pool.is_capped() && ask.now >= self.warming_until {
            let chosen = self.pick(table, pool, ask, &|_| true);
            return chosen.filter(|&id| enter(table, pool, id)).map_or(Choice::None, Choice::Backend);
        }
        self.choose_with_care(table, pool, ask)
    }

    /// Passes over those that were tried, those without room, and at times those that have just returned.
    fn choose_with_care(&mut self, table: &Table, pool: &Pool, ask: &Ask<'_>) -> Choice {
        let untried = |id: BackendId| !ask.tried.contains(&Some(id));
        if !self.backends().any(untried) {
            return Choice::None;
        }
        let slow = pool.config().slow_start;
        let by_load = by_load(&pool.config().algorithm);
        let mut luck = self.rng.fork();
        for careful in [true, false] {
            // Those that go by the load have the share in the load; the others draw for it.
            let draws = careful && !by_load && ask.now < self.warming_until;
            let seed = luck.u64(..);
            let takes = |backend: &Backend| {
                let since = backend.since();
                !draws || fastrand::Rng::with_seed(seed ^ since).f32() < share(backend, ask.now, slow)
            };
            let passes = |id: BackendId| {
                let backend = table.backend(id);
                untried(id) && backend.has_room() && takes(backend)
            };
            // Another worker may take the last place in between; then the others are looked at again.
            while let Some(id) = self.pick(table, pool, ask, &passes) {
                if enter(table, pool, id) {
                    return Choice::Backend(id);
                }
            }
        }
        Choice::Full
    }

    /// The one request that tries a backend which is out.
    fn trial(&mut self, table: &Table, pool: &Pool, ask: &Ask<'_>) -> Option<BackendId> {
        let patience = if ask.replayable || self.backends.is_empty() { 0 } else { TRIAL_PATIENCE };
        let ripe = |id: BackendId| {
            trial_at(table.backend(id)).checked_add(patience).is_some_and(|at| at <= ask.now)
                && !ask.tried.contains(&Some(id))
        };
        let mine = pool.members().iter().copied().filter(|&id| ripe(id)).find(|&id| {
            let entered = enter(table, pool, id);
            let mine = entered && table.try_out(id, ask.now);
            if entered && !mine {
                leave(table, pool, id, Counted::by(pool));
            }
            mine
        });
        self.look_for_trials(table, pool);
        // Those that were ripe and not taken are full, taken by another worker, or not for this request.
        self.trial_at = self.trial_at.max(ask.now + u64::from(mine.is_none()));
        mine
    }

    fn pick(
        &mut self,
        table: &Table,
        pool: &Pool,
        ask: &Ask<'_>,
        passes: &dyn Fn(BackendId) -> bool,
    ) -> Option<BackendId> {
        let (warm, slow) = (ask.now >= self.warming_until, pool.config().slow_start);
        let share = |id: BackendId| if warm { 1.0 } else { share(table.backend(id), ask.now, slow) };
        match &pool.config().algorithm {
            // A retry that took a turn would have the next request begin where this one did.
            Algorithm::RoundRobin if !ask.tried.is_empty() => self.at_random(passes),
            Algorithm::RoundRobin => self.in_turn(pool, passes),
            Algorithm::Random => self.at_random(passes),
            Algorithm::LeastConnections if self.backends.len() <= SCAN_MAX => {
                self.least(table, share, passes)
            }
            Algorithm::LeastConnections | Algorithm::TwoChoices => {
                self.of_two(passes, |id| table.backend(id).in_flight_for_weight() / share(id))
            }
            Algorithm::PeakEwma => {
                self.rotor = self.rotor.wrapping_add(1);
                if (self.rotor as u32).is_multiple_of(TURN_SHARE) {
                    // One that is busy is about to be heard of, or hangs.
                    let turn = self.turn(pool);
                    if table.backend(turn).in_flight() == 0 && passes(turn) {
                        return Some(turn);
                    }
                }
                self.of_two(passes, |id| table.backend(id).cost(ask.now) / share(id))
            }
            Algorithm::Hash { bound, .. } => match ask.key {
                Some(key) => self.by_hash(table, pool, key, *bound, passes),
                None => self.in_turn(pool, passes),
            },
        }
    }

    /// The next in turn. Where that one does not pass, any other: the next but one would get all of its share.
    fn in_turn(&mut self, pool: &Pool, passes: &dyn Fn(BackendId) -> bool) -> Option<BackendId> {
        let turn = self.turn(pool);
        if passes(turn) { Some(turn) } else { self.at_random(passes) }
    }

    fn turn(&self, pool: &Pool) -> BackendId {
        self.turns[(pool.ticket() % self.turns.len() as u64) as usize]
    }

    fn at_random(&mut self, passes: &dyn Fn(BackendId) -> bool) -> Option<BackendId> {
        let start = self.rng.usize(..self.turns.len());
        let turned = self.turns[start..].iter().chain(&self.turns[..start]);
        turned.copied().find(|&id| passes(id))
    }

    /// The one with the fewest requests in flight for its weight; among equals, any.
    fn least(
        &mut self,
        table: &Table,
        share: impl Fn(BackendId) -> f32,
        passes: &dyn Fn(BackendId) -> bool,
    ) -> Option<BackendId> {
        let count = self.backends.len();
        let start = self.rng.usize(..count);
        let mut best: Option<(BackendId, f32, f32)> = None;
        for at in 0..count {
            let at = start + at;
            let (id, weight) = self.backends[if at < count { at } else { at - count }];
            let (load, weight) = ((table.backend(id).in_flight() + 1) as f32, f32::from(weight) * share(id));
            let better = best.is_none_or(|(_, least, of)| load * of < least * weight);
            if better && passes(id) {
                best = Some((id, load, weight));
            }
        }
        best.map(|(id, ..)| id)
    }

    /// The cheaper of two taken at random by weight.
    fn of_two(
        &mut self,
        passes: &dyn Fn(BackendId) -> bool,
        cost: impl Fn(BackendId) -> f32,
    ) -> Option<BackendId> {
        let one = self.at_random(passes)?;
        // With unequal weights one backend may have most of the turns: another is the next one behind them.
        let other = self.at_random(&|id| id != one && passes(id)).unwrap_or(one);
        Some(if cost(other) < cost(one) { other } else { one })
    }

    /// The key's own backend, or the next of its places that takes more.
    fn by_hash(
        &mut self,
        table: &Table,
        pool: &Pool,
        key: u64,
        bound: Option<u32>,
        passes: &dyn Fn(BackendId) -> bool,
    ) -> Option<BackendId> {
        let total = u64::from(pool.in_flight().load(Relaxed)) + 1;
        let within = |id: BackendId| {
            bound.is_none_or(|bound| {
                let backend = table.backend(id);
                let share = total * u64::from(backend.weight()) * u64::from(bound);
                u64::from(backend.in_flight()) < share.div_ceil(self.weight * 100)
            })
        };
        let maglev = pool.maglev()?;
        for attempt in 0..PLACES {
            let member = usize::from(maglev.place(hash::mix(key, attempt)));
            let id = pool.members()[member];
            if self.here[member] && within(id) && passes(id) {
                return Some(id);
            }
        }
        let start = (hash::mix(key, PLACES) % self.turns.len() as u64) as usize;
        let turned = || self.turns[start..].iter().chain(&self.turns[..start]).copied();
        turned().find(|&id| within(id) && passes(id)).or_else(|| turned().find(|&id| passes(id)))
    }
}

/// What a request is counted in, so that it is counted out of the same after a reload that counts otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    backend: bool,
    pool: bool,
}

impl Counted {
    /// What a request is counted in that is chosen for a backend of this pool.
    pub fn by(pool: &Pool) -> Self {
        Self { backend: pool.counts(), pool: pool.counts() && pool.maglev().is_some() }
    }
}

/// Counts a request in where the pool counts them; false when the backend has all that it may have.
fn enter(table: &Table, pool: &Pool, id: BackendId) -> bool {
    let counted = Counted::by(pool);
    if !counted.backend {
        return true;
    }
    let entered = table.backend(id).enter();
    if entered && counted.pool {
        pool.in_flight().fetch_add(1, Relaxed);
    }
    entered
}

/// Counts a request out that was chosen for this backend.
pub fn leave(table: &Table, pool: &Pool, id: BackendId, counted: Counted) {
    if counted.backend {
        table.backend(id).leave();
    }
    if counted.pool {
        pool.in_flight().fetch_sub(1, Relaxed);
    }
}

/// When a backend that is out may be tried; never while checks or a person keep it out.
fn trial_at(backend: &Backend) -> u64 {
    match backend.circuit() {
        State::Open { until } if backend.is_up() && backend.mode() == Mode::Enabled => until,
        _ => u64::MAX,
    }
}

/// Whether a backend is chosen by how much it has to do.
fn by_load(algorithm: &Algorithm) -> bool {
    match algorithm {
        Algorithm::LeastConnections | Algorithm::TwoChoices | Algorithm::PeakEwma => true,
        Algorithm::RoundRobin | Algorithm::Random | Algorithm::Hash { .. } => false,
    }
}

/// The part of its share that a backend is given: all but for one that has returned lately.
fn share(backend: &Backend, now: u64, slow_start: Duration) -> f32 {
    let (since, span) = (backend.since(), slow_start.as_millis() as f32);
    if since == 0 {
        return 1.0;
    }
    (now.saturating_sub(since) as f32 / span).clamp(SLOW_START_MIN, 1.0)
}

#[cfg(test)]
mod tests;
