//! A reload at any moment: backends come and go, times change, and the listener goes and comes back, while headers, hellos and
//! tunnels are under way. Where a connection leads stays as it was, so that all that is held of one still is.

use std::net::SocketAddr;
use std::sync::Arc;

use evenkeel::balance::Table;
use evenkeel::config::{Pool, Timeouts};
use evenkeel::exchange::Site;
use evenkeel::stats::traffic::Counted;
use evenkeel::worker::Settings;

use super::plan::ROUTED;
use super::world::{World, site};
use crate::ledger::Mood;
use crate::net::Wires;
use crate::plot::{Plot, draw_members, draw_pool, draw_timeouts};
use crate::reload::{Past, draw_next, fate};
use crate::rng::Rng;
use crate::schedule::Schedule;

/// The reloads of a run.
#[derive(Debug)]
pub(crate) struct Reloads {
    rng: Rng,
    mood: Mood,
    schedule: Schedule,
    /// By pool, numbers of the backends that it may have.
    numbers: Vec<Vec<usize>>,
    pub(crate) past: Past,
    traffic: Arc<Counted>,
    /// The listener is closed.
    pub(crate) left: bool,
}

/// The reloads of a run, if it has any, with the backends that they may bring: to which pool each belongs, and where it is.
pub(crate) fn draw(
    plot: Plot,
    pools: &mut Vec<usize>,
    addresses: &mut Vec<(SocketAddr, usize)>,
    wires: &mut Wires,
) -> Option<Reloads> {
    let mut rng = fate(plot)?;
    let own = |pool| (0..pools.len()).filter(|&at| pools[at] == pool).collect();
    let mut numbers: Vec<Vec<usize>> = (0..=ROUTED.len()).map(own).collect();
    for (pool, numbers) in numbers.iter_mut().enumerate() {
        let spare = pools.len()..pools.len() + rng.between(0, 2) as usize;
        addresses.extend(draw_members(&mut Pool::default(), spare.clone(), plot, &mut rng, wires).1);
        pools.resize(spare.end, pool);
        numbers.extend(spare);
    }
    Some(Reloads::new(plot.mood, numbers, rng))
}

/// Has what is in force first be seen, where there are reloads.
pub(crate) fn watch(
    reloads: Option<Reloads>,
    table: &Arc<Table>,
    settings: Settings,
) -> (Option<Reloads>, Arc<Settings>) {
    let Some(mut reloads) = reloads else { return (None, Arc::new(settings)) };
    let settings = Arc::new(reloads.settings(settings));
    reloads.past.watch(table, &settings);
    (Some(reloads), settings)
}

impl Reloads {
    fn new(mood: Mood, numbers: Vec<Vec<usize>>, mut rng: Rng) -> Self {
        let schedule = Schedule::draw(5, 1_000, &mut rng);
        let traffic = Arc::new(Counted::new("listener".to_owned(), String::new(), 1));
        let mut past = Past::default();
        past.counted.push(Arc::clone(&traffic));
        Self { rng, mood, schedule, numbers, past, traffic, left: false }
    }

    /// When the next one is due.
    pub(crate) fn next(&self) -> Option<u64> {
        self.schedule.next()
    }

    /// Has what the settings' listener counts be seen.
    fn settings(&self, rest: Settings) -> Settings {
        Settings {
            measured: true,
            traffic: vec![Arc::clone(&self.traffic)],
            routes: vec![Vec::new()],
            ..rest
        }
    }

    fn pool(&mut self, before: &Pool, at: usize) -> Pool {
        let backends = draw_next(&before.backends, &self.numbers[at], None, self.mood, &mut self.rng);
        let other = if self.rng.chance(50) { before.clone() } else { draw_pool(self.mood, &mut self.rng) };
        Pool { name: before.name.clone(), send_proxy: before.send_proxy, backends, ..other }
    }
}

impl World {
    /// Does what is due of reloads.
    pub(crate) fn reload(&mut self) {
        let now = self.now();
        let Some(mut reloads) = self.reloads.take() else { return };
        reloads.schedule.check(&self.table, now);
        while reloads.schedule.comes(now) {
            if !self.drained {
                self.renew(&mut reloads, now);
            }
        }
        self.reloads = Some(reloads);
    }

    fn renew(&mut self, reloads: &mut Reloads, now: u64) {
        let rng = &mut reloads.rng;
        let lifetime = self.settings.timeouts.lifetime;
        let drawn = draw_timeouts(rng);
        let timeouts = if rng.chance(50) { self.settings.timeouts } else { drawn };
        let timeouts = Timeouts { lifetime, ..timeouts };
        let was_left = std::mem::replace(&mut reloads.left, self.plot.mood == Mood::Rough && rng.chance(35));
        let before: Vec<Pool> = self.table.pools().iter().map(|pool| pool.config().clone()).collect();
        let pools: Vec<Pool> = (0..).zip(&before).map(|(at, pool)| reloads.pool(pool, at)).collect();
        let resolved = pools.iter().map(|pool| {
            let of = |host: &str| {
                let own = |number: usize| host == format!("backend{number}");
                let all = self.addresses.iter().filter(|(_, number)| own(*number));
                all.map(|(address, _)| *address).collect::<Vec<_>>()
            };
            (pool.clone(), pool.backends.iter().map(|backend| of(&backend.url.host)).collect())
        });
        let (table, ids) = self.table.renew(resolved.collect(), 1, now.max(1));
        assert!((0..).zip(ids).all(|(at, id)| id.0 == at), "pools that stay keep their numbers");
        let old = &self.settings.sites[0];
        let site = match reloads.left {
            false => Arc::new(site(&self.gate, &table, timeouts)),
            true if was_left => Arc::clone(old),
            true => Arc::new(Site {
                routes: old.routes.clone(),
                local: old.local.clone(),
                mode: old.mode,
                proxy: old.proxy.clone(),
                leaving: true,
                lines: Arc::clone(&old.lines),
            }),
        };
        let settings = Settings {
            sites: vec![site],
            timeouts,
            limits: self.settings.limits,
            clients: self.counts.clone(),
            ..Settings::default()
        };
        let (table, settings) = (Arc::new(table), Arc::new(reloads.settings(settings)));
        reloads.past.watch(&table, &settings);
        let members = pools.iter().map(|p| p.backends.iter().map(|b| b.url.host.clone()).collect::<Vec<_>>());
        let (members, left) = (members.collect::<Vec<_>>(), reloads.left);
        self.wires.borrow_mut().say(|| format!("a reload: {members:?}, left: {left}, {timeouts:?}"));
        (self.table, self.settings) = (Arc::clone(&table), Arc::clone(&settings));
        self.pump.set_now(now * 1_000);
        self.pump.replace(table, settings);
        self.pump.refresh();
        if self.plot.mood == Mood::Calm {
            reloads.schedule.check_soon(now, &mut reloads.rng);
        }
    }
}
