//! What a reload changes under a worker: new settings and a new table, between two ticks. Exchanges keep the
//! settings they began with to their end.

use std::sync::Arc;

use super::connection::Phase;
use super::pump::{Pump, Settings};
use crate::balance::{Eligible, Patience, Table};
use crate::exchange::Line;
use crate::id::{BackendId, PoolId};
use crate::slab::Key;
use crate::stats::traffic::Counted;
use crate::transport::Net;

/// Where an exchange finds its line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    generation: u32,
    site: u16,
    line: u32,
}

impl Place {
    /// Number of the listener that its connection came to.
    pub(super) fn site(self) -> u16 {
        self.site
    }
}

/// Settings that were replaced, while exchanges that began with them go on.
#[derive(Debug)]
pub(super) struct Past {
    generation: u32,
    settings: Arc<Settings>,
    flights: usize,
}

/// The settings that an exchange began with.
fn settings<'s>(settings: &'s Settings, past: &'s [Past], place: Place) -> &'s Settings {
    let found = past.iter().find(|past| past.generation == place.generation);
    found.map_or(settings, |past| &past.settings)
}

/// The line of an exchange, in the settings that it began with.
pub(super) fn line<'s>(settings: &'s Settings, past: &'s [Past], place: Place) -> &'s Line {
    let settings = self::settings(settings, past, place);
    &settings.sites[usize::from(place.site)].lines[place.line as usize]
}

impl<N: Net> Pump<N> {
    /// The place of a line in the settings of now.
    pub(super) fn place(&self, key: Key, line: usize) -> Place {
        Place { generation: self.generation, site: self.downstreams[key].listener, line: line as u32 }
    }

    /// The line of an exchange.
    pub(super) fn line(&self, flight: Key) -> &Line {
        line(&self.settings, &self.past, self.flights[flight].place)
    }

    /// Where the route of an exchange is counted; nowhere if it took none.
    pub(super) fn route(&self, place: Place) -> Option<&Counted> {
        let settings = settings(&self.settings, &self.past, place);
        let routes = settings.routes.get(usize::from(place.site))?;
        routes.get(place.line as usize).map(|route| &**route)
    }

    /// Until it is left once more, the settings of an exchange that is about to end stay.
    pub(super) fn stay_in_generation(&mut self, place: Place) {
        self.past
            .iter_mut()
            .filter(|past| past.generation == place.generation)
            .for_each(|past| past.flights += 1);
    }

    /// An exchange is over; settings that it was the last to use go with it.
    pub(super) fn leave_generation(&mut self, place: Place) {
        if place.generation == self.generation {
            return;
        }
        for past in self.past.iter_mut().filter(|past| past.generation == place.generation) {
            past.flights -= 1;
        }
        self.past.retain(|past| past.flights > 0);
    }

    /// Takes over new settings and a new table, in which whatever goes on has kept its number.
    pub fn replace(&mut self, table: Arc<Table>, settings: Arc<Settings>) {
        let settings_before = Arc::clone(&self.settings);
        if !Arc::ptr_eq(&self.settings, &settings) {
            self.renew_settings(settings);
        }
        let before = std::mem::replace(&mut self.table, table);
        self.renew_backends(&before);
        self.leave_addresses();
        self.renew_pools(&before);
        self.rename_backends();
        self.renew_waits(&settings_before);
    }

    fn renew_settings(&mut self, settings: Arc<Settings>) {
        let flights = self.flights.len() - self.past.iter().map(|past| past.flights).sum::<usize>();
        let settings = std::mem::replace(&mut self.settings, settings);
        if flights > 0 {
            self.past.push(Past { generation: self.generation, settings, flights });
        }
        self.generation = self.generation.wrapping_add(1);
        self.idle.limit(self.settings.limits.backend_idle);
    }

    fn renew_backends(&mut self, before: &Table) {
        let count = self.table.backends().len();
        self.idle.grow(count);
        self.patience.resize(count, Patience::default());
        self.room_wanted.resize(count, false);
        for at in 0..count {
            let backend = &self.table.backends()[at];
            let same = before.backends().get(at).is_some_and(|old| Arc::ptr_eq(old, backend));
            if !same {
                self.patience[at] = Patience::default();
            }
            if backend.is_gone() {
                while let Some(up_key) = self.idle.pop(BackendId(at as u16)) {
                    self.close_upstream(up_key);
                }
            }
        }
    }

    fn renew_pools(&mut self, before: &Table) {
        let count = self.table.pools().len();
        self.lines.grow(count);
        for at in 0..count {
            let pool = &self.table.pools()[at];
            match before.pools().get(at) {
                Some(old) if Arc::ptr_eq(old, pool) => {}
                Some(_) => self.eligible[at] = Eligible::new(&self.table, pool, self.seed(pool.id())),
                None => self.eligible.push(Eligible::new(&self.table, pool, self.seed(pool.id()))),
            }
            // There may be room for any number of them, and from now on nobody who would pass a turn on.
            let waiting: Vec<Key> = self.lines.waiting(PoolId(at as u16)).collect();
            waiting.into_iter().for_each(|key| self.enqueue(key));
        }
    }

    /// Connections to where a backend no longer is serve nobody after the present exchange.
    fn leave_addresses(&mut self) {
        for up_key in self.upstreams.keys().collect::<Vec<_>>() {
            let up = &mut self.upstreams[up_key];
            let backend = up.backend;
            if self.table.backend(backend).addresses().contains(&up.address) {
                continue;
            }
            up.left = true;
            if up.owner.is_none() {
                self.idle.remove(backend, up_key);
                self.close_upstream(up_key);
            }
        }
    }

    pub(super) fn seed(&self, pool: PoolId) -> u64 {
        (self.worker as u64) << 32 | u64::from(pool.0)
    }

    /// Its listener is gone: it ends with the exchange that it has, or soon.
    pub(super) fn is_left_behind(&self, key: Key) -> bool {
        self.settings.sites[usize::from(self.downstreams[key].listener)].leaving
    }

    /// Connections that have not begun end soon when their listener goes, once, and wait as before when it is back. What
    /// one waited for may not have to come any more.
    fn renew_waits(&mut self, before: &Settings) {
        for key in self.downstreams.keys().collect::<Vec<_>>() {
            let down = &self.downstreams[key];
            let was_left = before.sites.get(usize::from(down.listener)).is_some_and(|site| site.leaving);
            if down.phase == Phase::Opening {
                self.enqueue(key);
            }
            if self.downstreams[key].is_unused() && was_left != self.is_left_behind(key) {
                self.arm_first(key);
            }
        }
    }
}
