//! A reload at any moment between two ticks: other backends, pools, routes, limits and times, listeners that go and come
//! back, while heads, bodies, tunnels and requests in line are in the air.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::{Arc, Weak};

use evenkeel::balance::{Backend, Table};
use evenkeel::config::{self, Action, Algorithm, BackendUrl, PathPattern, Pool, Route, Routes, Timeouts};
use evenkeel::exchange::{Act, Line, Share, Site, Wanted};
use evenkeel::id::{BackendId, PoolId};
use evenkeel::limits;
use evenkeel::stats::traffic::Counted;
use evenkeel::worker::Settings;

use crate::ledger::Mood;
use crate::net::Wires;
use crate::plot::{Plot, draw_backend, draw_limits, draw_members, draw_pool, draw_timeouts};
use crate::rng::Rng;
use crate::schedule::Schedule;
use crate::world::{World, millis};

/// Listeners that a run may have.
const LISTENERS: usize = 2;

/// A listener, by its number.
#[derive(Debug)]
struct Slot {
    site: Arc<Site>,
    /// When it was closed.
    left: Option<u64>,
    traffic: Arc<Counted>,
    routes: Vec<Arc<Counted>>,
}

/// What was in force in a run, to see at its end that nobody holds it any more.
#[derive(Debug, Default)]
pub(crate) struct Past {
    /// All that counted something.
    pub(crate) counted: Vec<Arc<Counted>>,
    settings: Vec<Weak<Settings>>,
    tables: Vec<Weak<Table>>,
    backends: Vec<Arc<Backend>>,
}

impl Past {
    /// Notes what is in force now.
    pub(crate) fn watch(&mut self, table: &Arc<Table>, settings: &Arc<Settings>) {
        self.tables.push(Arc::downgrade(table));
        self.settings.push(Arc::downgrade(settings));
        for backend in table.backends() {
            if !self.backends.iter().any(|known| Arc::ptr_eq(known, backend)) {
                self.backends.push(Arc::clone(backend));
            }
        }
    }

    /// What is held once nothing goes on; that table and the last settings are in force.
    pub(crate) fn held(&self, table: &Arc<Table>) -> Vec<String> {
        let mut wrongs = Vec::new();
        let (_, settings) = self.settings.split_last().expect("it was watched from the start");
        let settings = settings.iter().filter(|settings| settings.strong_count() > 0).count();
        let tables = self.tables.iter().filter_map(Weak::upgrade).filter(|t| !Arc::ptr_eq(t, table)).count();
        if (settings, tables) != (0, 0) {
            wrongs.push(format!("{settings} settings and {tables} tables of the past are held at rest"));
        }
        for backend in &self.backends {
            if (backend.connections(), backend.in_flight()) != (0, 0) {
                wrongs.push(format!("connections or requests to {} are counted at rest", backend.url()));
            }
        }
        for counted in &self.counted {
            let sum = counted.sum();
            if (sum.open, sum.in_flight) != (0, 0) {
                let (name, open, in_flight) = (counted.name(), sum.open, sum.in_flight);
                wrongs.push(format!("{name} counts {open} connections, {in_flight} exchanges at rest"));
            }
        }
        wrongs
    }
}

/// Numbers in a table of the backends of that number in the run.
pub(crate) fn ids(table: &Table, backend: usize) -> Vec<BackendId> {
    let name = format!("backend{backend}");
    let is_it = |one: &Backend| !one.is_gone() && one.url().host == name;
    (0..).zip(table.backends()).filter(|(_, one)| is_it(one)).map(|(id, _)| BackendId(id)).collect()
}

/// The next backends of a pool, of these numbers: some stay, some go, some come.
pub(crate) fn draw_next(
    before: &[config::Backend],
    numbers: &[usize],
    kept: Option<usize>,
    mood: Mood,
    rng: &mut Rng,
) -> Vec<config::Backend> {
    let mut backends = Vec::new();
    for &number in numbers {
        let url = BackendUrl { host: format!("backend{number}"), port: 80 };
        let was = before.iter().find(|backend| backend.url == url).cloned();
        let stays = rng.chance(if was.is_some() { 70 } else { 40 });
        if stays || kept == Some(number) {
            let drawn = draw_backend(number, false, mood, rng);
            backends.push(was.filter(|_| rng.chance(50)).unwrap_or(drawn));
        }
    }
    if backends.is_empty() {
        backends.push(draw_backend(rng.pick(numbers), false, mood, rng));
    }
    backends
}

/// The reloads of a run, and what came before each.
#[derive(Debug)]
pub(crate) struct Reloads {
    rng: Rng,
    mood: Mood,
    schedule: Schedule,
    /// Numbers of the backends that may be configured.
    numbers: Range<usize>,
    /// Longest body.
    longest: usize,
    slots: Vec<Slot>,
    past: Past,
    done: usize,
}

/// What a pool's choice wants to know of a request.
fn wanted(pool: &Pool) -> Wanted {
    let hash = match &pool.algorithm {
        Algorithm::Hash { key, .. } => Some(key.clone()),
        _ => None,
    };
    Wanted { hash, ..Wanted::default() }
}

fn line(pool: &Pool, id: PoolId, timeouts: Timeouts) -> Line {
    let share = Share { pool: id, until: 1, wanted: wanted(pool) };
    Line { action: Act::Pools([share].into()), timeouts, ..Line::to_pool(id) }
}

/// Where all that no route takes goes to the first pool, and each route to another.
pub(crate) fn site(pools: &[(&Pool, PoolId)], prefixes: &[&str], timeouts: Timeouts) -> Site {
    let other = |at: usize| pools[(at + 1) % pools.len()];
    let lines = (0..prefixes.len()).map(|at| line(other(at).0, other(at).1, timeouts));
    let lines = lines.chain([line(pools[0].0, pools[0].1, timeouts)]).collect();
    let route = |(at, prefix): (usize, &&str)| Route {
        path: PathPattern::Prefix((*prefix).to_owned()),
        ..Route::new((*prefix).to_owned(), Action::Pool(at))
    };
    let routes = Routes::new(prefixes.iter().enumerate().map(route).collect());
    Site { local: "sim.local:80".to_owned(), lines, routes, ..Site::to_pool(PoolId(0)) }
}

/// A stream of chance for the reloads of a run, which leaves the rest of it as it is without; `None` where there are none.
pub(crate) fn fate(plot: Plot) -> Option<Rng> {
    let mut rng = Rng::new(plot.seed ^ 0x0072_656c_6f61_6400);
    (!plot.mood.is_timeless() && rng.chance(40)).then_some(rng)
}

/// The reloads of a run that begins with those backends and that site, if it has any, and the backends that they may bring;
/// `longest` is its longest body.
pub(crate) fn draw(
    plot: Plot,
    addresses: &mut Vec<(SocketAddr, usize)>,
    longest: usize,
    site: &Arc<Site>,
    wires: &mut Wires,
) -> Option<Reloads> {
    let mut rng = fate(plot)?;
    let first = addresses.iter().map(|(_, backend)| backend + 1).max().unwrap_or(0);
    let spare = first..first + rng.between(0, 3) as usize;
    addresses.extend(draw_members(&mut Pool::default(), spare.clone(), plot, &mut rng, wires).1);
    Some(Reloads::new(plot.mood, 0..spare.end, longest, site, rng))
}

impl Reloads {
    /// Of a run that begins with that site; `longest` is its longest body.
    pub(crate) fn new(
        mood: Mood,
        numbers: Range<usize>,
        longest: usize,
        site: &Arc<Site>,
        mut rng: Rng,
    ) -> Self {
        let schedule = Schedule::draw(4, 1_200, &mut rng);
        let mut reloads =
            Self { rng, mood, schedule, numbers, longest, slots: Vec::new(), past: Past::default(), done: 0 };
        reloads.open(0, Arc::clone(site), &[]);
        reloads
    }

    fn open(&mut self, number: usize, site: Arc<Site>, prefixes: &[&str]) {
        let counts = |name: &str| Arc::new(Counted::new(name.to_owned(), String::new(), 1));
        let old = self.slots.get_mut(number);
        let known = old.map(|slot| (Arc::clone(&slot.traffic), std::mem::take(&mut slot.routes)));
        let (traffic, known) = known.unwrap_or_else(|| (counts("listener"), Vec::new()));
        let same = |prefix: &str| known.iter().find(|count| count.name() == prefix).map(Arc::clone);
        let routes: Vec<_> =
            prefixes.iter().map(|prefix| same(prefix).unwrap_or_else(|| counts(prefix))).collect();
        self.past.counted.push(Arc::clone(&traffic));
        self.past.counted.extend(routes.iter().cloned());
        let slot = Slot { site, left: None, traffic, routes };
        match self.slots.get_mut(number) {
            Some(old) => *old = slot,
            None => self.slots.push(slot),
        }
    }

    /// When the next one is due.
    pub(crate) fn next(&self) -> Option<u64> {
        self.schedule.next()
    }

    /// So many there were.
    pub(crate) fn done(&self) -> usize {
        self.done
    }

    /// A listener that a client may come to now; `None` where all are closed.
    pub(crate) fn listener(&mut self) -> Option<u16> {
        let open: Vec<u16> =
            (0..).zip(&self.slots).filter(|(_, s)| s.left.is_none()).map(|(n, _)| n).collect();
        (!open.is_empty()).then(|| self.rng.pick(&open))
    }

    /// Takes the settings' part that listeners are.
    pub(crate) fn settings(&self, rest: Settings) -> Settings {
        Settings {
            sites: self.slots.iter().map(|slot| Arc::clone(&slot.site)).collect(),
            traffic: self.slots.iter().map(|slot| Arc::clone(&slot.traffic)).collect(),
            routes: self.slots.iter().map(|slot| slot.routes.clone()).collect(),
            measured: true,
            ..rest
        }
    }

    pub(crate) fn past(&mut self) -> &mut Past {
        &mut self.past
    }

    /// The next pools: some settings are as before, some backends stay, some go, some come.
    fn pools(&mut self, before: &Table) -> Vec<Pool> {
        let known: Vec<&Pool> = before.pools().iter().filter(|p| !p.is_gone()).map(|p| p.config()).collect();
        let names: &[&str] =
            self.rng.pick(&[&["default"], &["default"], &["default", "two"], &["other", "default"]]);
        let numbers: Vec<usize> = self.numbers.clone().collect();
        // Of flaky backends the first is always there.
        let kept = (self.mood == Mood::Flaky).then_some(0);
        let mut pools = Vec::new();
        for name in names {
            let old = known.iter().find(|pool| pool.name == *name);
            let before = old.map_or(&[][..], |pool| &pool.backends);
            let backends = draw_next(before, &numbers, kept, self.mood, &mut self.rng);
            let pool = match old {
                Some(old) if self.rng.chance(50) => (*old).clone(),
                _ => draw_pool(self.mood, &mut self.rng),
            };
            pools.push(Pool { name: (*name).to_owned(), backends, ..pool });
        }
        pools
    }

    /// Opens and closes listeners, and leads those that are open anew.
    fn renew_slots(&mut self, pools: &[(&Pool, PoolId)], timeouts: Timeouts, before: Timeouts, now: u64) {
        let patience = millis(before.head + limits::CLOSED_PATIENCE);
        for slot in self.slots.iter_mut().filter(|slot| slot.left.is_some_and(|left| now >= left + patience))
        {
            let lines = [Line { action: Act::Nobody, ..Line::to_pool(PoolId(0)) }].into();
            slot.site = Arc::new(Site { leaving: true, lines, ..Site::to_pool(PoolId(0)) });
        }
        let rough = matches!(self.mood, Mood::Rude | Mood::Rough);
        for number in 0..LISTENERS.min(self.slots.len() + 1) {
            let there = self.slots.get(number).map(|slot| slot.left.is_none());
            let closes = rough && there == Some(true) && self.rng.chance(30);
            let stays_away = there != Some(true) && self.rng.chance(40);
            if closes {
                let slot = &mut self.slots[number];
                let (lines, routes) = (Arc::clone(&slot.site.lines), slot.site.routes.clone());
                slot.site = Arc::new(Site { leaving: true, lines, routes, ..Site::to_pool(PoolId(0)) });
                slot.left = Some(now);
            } else if !stays_away {
                let prefixes: &[&str] = self.rng.pick(&[&[], &["/1"], &["/2", "/0"], &["/3", "/1", "/2"]]);
                self.open(number, Arc::new(site(pools, prefixes, timeouts)), prefixes);
            }
        }
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
        let timeouts = if reloads.rng.chance(50) { self.timeouts } else { draw_timeouts(&mut reloads.rng) };
        let closed = reloads.slots.iter().filter(|slot| slot.left.is_some());
        let held: Vec<PoolId> = closed.flat_map(|slot| slot.site.pools()).collect();
        self.table.pools().iter().for_each(|pool| pool.hold(held.contains(&pool.id())));
        let pools = reloads.pools(&self.table);
        let addresses = |backend: &config::Backend| -> Vec<SocketAddr> {
            let own = |number: usize| backend.url.host == format!("backend{number}");
            self.addresses.iter().filter(|(_, number)| own(*number)).map(|(address, _)| *address).collect()
        };
        let resolved = pools.iter().map(|pool| (pool.clone(), pool.backends.iter().map(addresses).collect()));
        let (table, ids) = self.table.renew(resolved.collect(), 1, now.max(1));
        let leads: Vec<(&Pool, PoolId)> = pools.iter().zip(ids).collect();
        reloads.renew_slots(&leads, timeouts, self.timeouts, now);
        let limits = draw_limits(reloads.mood, reloads.longest, &mut reloads.rng);
        let settings = Settings { timeouts, limits, ..World::settings() };
        let (table, settings) = (Arc::new(table), Arc::new(reloads.settings(settings)));
        reloads.past.watch(&table, &settings);
        self.note_reload(reloads, &pools, &settings, now);
        self.table = Arc::clone(&table);
        self.pump.set_now(now * 1_000);
        self.pump.replace(table, settings);
        self.pump.refresh();
        reloads.done += 1;
        if self.ledger.mood.has_good_backends() {
            reloads.schedule.check_soon(now, &mut reloads.rng);
        }
    }

    /// What was allowed once is allowed to what began then.
    fn note_reload(&mut self, reloads: &Reloads, pools: &[Pool], settings: &Settings, now: u64) {
        let (old, new) = (&mut self.timeouts, settings.timeouts);
        old.head = old.head.max(new.head);
        old.idle = old.idle.max(new.idle);
        old.connect = old.connect.max(new.connect);
        old.response = old.response.max(new.response);
        old.stall = old.stall.max(new.stall);
        old.tunnel = old.tunnel.max(new.tunnel);
        old.upstream_idle = old.upstream_idle.max(new.upstream_idle);
        let ledger = &mut self.ledger;
        let retries = pools.iter().map(|pool| u32::from(pool.retry.retries)).max().unwrap_or(0);
        ledger.retries = ledger.retries.max(retries);
        ledger.body = ledger.body.zip(settings.limits.body).map(|(old, new)| old.max(new));
        let strays = reloads.slots.iter().any(|slot| slot.left.is_some());
        for number in reloads.numbers.clone() {
            let name = format!("backend{number}");
            let there = pools.iter().flat_map(|pool| &pool.backends).any(|backend| backend.url.host == name);
            let left = ledger.left.entry(number).or_default();
            // A listener that is gone leads where it led.
            *left = if there || strays { None } else { left.or(Some(now)) };
        }
        let sites: Vec<_> = settings.sites.iter().map(|s| (s.leaving, s.routes.all().len())).collect();
        let members = pools.iter().map(|pool| {
            let hosts: Vec<_> = pool.backends.iter().map(|backend| &*backend.url.host).collect();
            format!("{} {hosts:?}", pool.name)
        });
        let members: Vec<String> = members.collect();
        self.wires
            .borrow_mut()
            .say(|| format!("a reload: {members:?} {sites:?} {new:?} {:?}", settings.limits));
    }
}
