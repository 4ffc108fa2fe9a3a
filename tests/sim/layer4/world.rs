//! One run: clients that speak anything, the balancer, and backends, in virtual time.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use evenkeel::balance::{Clients, Table};
use evenkeel::config::{Action, Algorithm, Mode, ProxyProtocol, ProxyVersion, Route, Routes, Timeouts};
use evenkeel::exchange::{Act, Line, Share, Site, Wanted};
use evenkeel::id::PoolId;
use evenkeel::stats::Block;
use evenkeel::transport::Newcomer;
use evenkeel::worker::{Pump, Settings};

use super::plan::{Gate, Plan, Planner, ROUTED, TRUSTED};
use super::reload::{self, Reloads};
use super::side::Side;
use crate::ledger::Mood;
use crate::near::{SimNet, Stream};
use crate::net::{Host, Wires};
use crate::plot::{Plot, draw_limits, draw_members, draw_pool, draw_timeouts};
use crate::reload::ids;
use crate::rng::Rng;
use crate::ticks::Ticks;

/// Turns of a run that is never going to end.
const ENDLESS: u32 = 400_000;

/// A client that has come.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) plan: Plan,
    pub(crate) side: Side,
}

/// A connection that a backend has accepted.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) pool: usize,
    pub(crate) side: Side,
    /// All that the backend means to say.
    pub(crate) said: Vec<u8>,
}

/// Everything in a run.
pub(crate) struct World {
    pub(crate) plot: Plot,
    pub(crate) wires: Rc<RefCell<Wires>>,
    passed: Rc<RefCell<Vec<Newcomer<Stream>>>>,
    pub(crate) pump: Pump<SimNet>,
    pub(crate) table: Arc<Table>,
    pub(crate) stats: Arc<Block>,
    pub(crate) counts: Option<Arc<Clients>>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) gate: Gate,
    most: usize,
    /// By address, which backend.
    pub(crate) addresses: Vec<(SocketAddr, usize)>,
    /// By backend, which pool.
    pools: Vec<usize>,
    /// By pool, what its backends are told first.
    pub(crate) told: Vec<Option<ProxyVersion>>,
    waiting: Vec<Plan>,
    pub(crate) clients: Vec<Client>,
    pub(crate) servings: Vec<Serving>,
    pub(crate) wrongs: Vec<String>,
    rng: Rng,
    ticks: Ticks,
    next_probe: u64,
    drain_at: Option<u64>,
    pub(crate) drained: bool,
    pub(crate) reloads: Option<Reloads>,
}

/// A line of a site to that pool.
fn line(algorithm: &Algorithm, pool: usize, timeouts: Timeouts) -> Line {
    let hash = match algorithm {
        Algorithm::Hash { key, .. } => Some(key.clone()),
        _ => None,
    };
    let pool = PoolId(pool as u16);
    let share = Share { pool, until: 1, wanted: Wanted { hash, ..Wanted::default() } };
    Line { action: Act::Pools([share].into()), timeouts, ..Line::to_pool(pool) }
}

fn draw_gate(rng: &mut Rng) -> Gate {
    let from = vec![TRUSTED.parse().expect("a network")];
    let required = rng.chance(50);
    let routed = rng.chance(50);
    Gate {
        proxy: rng.chance(60).then_some(ProxyProtocol { required, from }),
        routed,
        default: !routed || rng.chance(50),
    }
}

pub(super) fn site(gate: &Gate, table: &Table, timeouts: Timeouts) -> Site {
    let count = if gate.routed { ROUTED.len() } else { 0 };
    let route = |(at, name): (usize, &&str)| {
        let host = Some(name.parse().expect("a name"));
        Route { host, ..Route::new((*name).to_owned(), Action::Pool(at + 1)) }
    };
    let algorithm = |pool: usize| &table.pools()[pool].config().algorithm;
    let mut lines: Vec<Line> = (1..=count).map(|pool| line(algorithm(pool), pool, timeouts)).collect();
    let last = line(algorithm(0), 0, timeouts);
    lines.push(if gate.default { last } else { Line { action: Act::Nobody, ..last } });
    Site {
        routes: Routes::new(ROUTED.iter().enumerate().take(count).map(route).collect()),
        mode: Mode::Tcp,
        proxy: gate.proxy.clone(),
        lines: lines.into(),
        ..Site::to_pool(PoolId(0))
    }
}

impl World {
    pub(crate) fn new(plot: Plot) -> Self {
        let mut rng = Rng::new(plot.seed);
        let (rough, timeless) = (plot.mood == Mood::Rough, plot.mood.is_timeless());
        let mut timeouts = draw_timeouts(&mut rng);
        if rough && rng.chance(20) {
            timeouts.lifetime = Some(Duration::from_millis(rng.between(1, 3_000)));
        }
        // A new socket takes a PROXY header whole.
        let width = if timeless { 400_000 } else { rng.pick(&[2_400, 20_000, 80_000]) };
        let most = if timeless { rng.pick(&[3_000, 300_000]) } else { width * 3 };
        let limits = draw_limits(plot.mood, most, &mut rng);
        let mut wires = Wires::new(Rng::new(plot.net_seed), plot.splits, width, plot.traced);
        let (mut all, mut addresses, mut pools, mut told) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for number in 0..=ROUTED.len() {
            let mut pool = draw_pool(plot.mood, &mut rng);
            pool.name = format!("pool{number}");
            pool.send_proxy = rng.pick(&[None, None, Some(ProxyVersion::V1), Some(ProxyVersion::V2)]);
            told.push(pool.send_proxy);
            let count = if timeless { 1 } else { rng.between(1, 3) as usize };
            let numbers = pools.len()..pools.len() + count;
            let (resolved, of) = draw_members(&mut pool, numbers, plot, &mut rng, &mut wires);
            pools.resize(pools.len() + count, number);
            addresses.extend(of);
            all.push((pool, resolved));
        }
        let table = Arc::new(Table::new(all, 1));
        let gate = draw_gate(&mut rng);
        let stats = Arc::new(Block::default());
        let counts = (rough && rng.chance(30)).then(|| Arc::new(Clients::new(2)));
        let reloads = reload::draw(plot, &mut pools, &mut addresses, &mut wires);
        let (sites, clients) = (vec![Arc::new(site(&gate, &table, timeouts))], counts.clone());
        let settings = Settings { sites, timeouts, limits, clients, ..Settings::default() };
        let (reloads, settings) = reload::watch(reloads, &table, settings);
        let clients = if timeless { 1 } else { rng.between(1, 8) as usize };
        let mut planner = Planner { rng: &mut rng, mood: plot.mood, gate: &gate, most };
        let waiting = (0..clients).map(|number| planner.client(number)).collect();
        wires.say(|| format!("{gate:?} {timeouts:?} {told:?}"));
        let wires = Rc::new(RefCell::new(wires));
        let passed = Rc::default();
        let net = SimNet::new(&wires, &passed);
        let pump = Pump::new(0, net, Arc::clone(&table), Arc::clone(&settings), Arc::clone(&stats));
        let drain_at = (rough && rng.chance(10)).then(|| rng.below(800));
        Self {
            plot,
            wires,
            passed,
            pump,
            table,
            stats,
            counts,
            settings,
            gate,
            most,
            addresses,
            pools,
            told,
            waiting,
            clients: Vec::new(),
            servings: Vec::new(),
            wrongs: Vec::new(),
            rng: rng.fork(),
            ticks: Ticks::default(),
            next_probe: 0,
            drain_at,
            drained: false,
            reloads,
        }
    }

    pub(crate) fn wrong(&mut self, what: impl Into<String>) {
        self.wrongs.push(what.into());
    }

    pub(crate) fn take_trace(&mut self) -> Vec<String> {
        self.wires.borrow_mut().trace.take().unwrap_or_default()
    }

    pub(crate) fn now(&self) -> u64 {
        self.wires.borrow().now
    }

    /// Runs to the end; what went wrong is in `wrongs`.
    pub(crate) fn run(&mut self) {
        let sides_rest = |world: &Self| {
            world.waiting.is_empty()
                && world.reloads.as_ref().is_none_or(|reloads| reloads.next().is_none())
                && world.clients.iter().all(|client| client.side.peer.gone)
                && world.servings.iter().all(|serving| serving.side.peer.gone)
        };
        self.run_until(sides_rest);
        // What it has to find out yet takes no longer than the news.
        let until = self.now() + 60_000;
        self.run_until(|world| world.pump.open_downstreams() == 0 || world.now() > until);
        self.judge_rest();
        self.judge();
        if self.drained && !self.pump.is_drained() {
            self.wrong("a drain has not ended");
        }
    }

    fn run_until(&mut self, done: impl Fn(&Self) -> bool) {
        let most = self.now() + 300_000;
        for _ in 0..ENDLESS {
            if done(self) || !self.wrongs.is_empty() {
                return;
            }
            self.turn();
            if self.now() > most {
                return self.wrong("time goes on and nothing ends");
            }
        }
        self.wrong("the run does not end");
    }

    /// One tick of everything.
    fn turn(&mut self) {
        self.wires.borrow_mut().deliver();
        self.happen();
        self.act();
        let busy = self.ticks.tick(&mut self.pump, &self.wires, &self.passed);
        if self.ticks.is_circle() {
            self.wrong("the pump runs in a circle");
        }
        let moving = busy || self.wires.borrow().is_moving();
        self.pass_time(moving);
    }

    fn happen(&mut self) {
        self.reload();
        let now = self.now();
        while let Some(at) = self.waiting.iter().position(|plan| plan.born <= now) {
            let plan = self.waiting.remove(at);
            if self.drained || self.reloads.as_ref().is_some_and(|reloads| reloads.left) {
                continue;
            }
            let line = self.wires.borrow_mut().call();
            let (stream, peer) = (Stream::new(line, &self.wires), plan.address);
            let side = Side::new(line, plan.acts.clone(), plan.reading);
            self.clients.push(Client { plan, side });
            self.pump.accepted(Newcomer { stream, peer, port: 0, listener: 0, counted: false, requests: 0 });
        }
        if self.drain_at.is_some_and(|at| now >= at) && !self.drained {
            self.drained = true;
            self.pump.drain();
        }
        if self.plot.mood == Mood::Rough && now >= self.next_probe {
            self.next_probe = now + 300;
            self.probe();
        }
    }

    /// Backends fail and come back, and the probe finds out a little late.
    fn probe(&mut self) {
        let mut wires = self.wires.borrow_mut();
        for (address, backend) in &self.addresses {
            let host = wires.hosts.iter_mut().find(|(a, _)| a == address).expect("every address is a host");
            for id in ids(&self.table, *backend) {
                self.table.set_up(id, host.1 == Host::Up, 0);
            }
            if self.rng.chance(20) {
                let fates = [Host::Up, Host::Up, Host::Refuses, Host::Blackhole, Host::Unroutable];
                host.1 = self.rng.pick(&fates);
            }
        }
    }

    fn act(&mut self) {
        let wires = &mut *self.wires.borrow_mut();
        for (line, address) in std::mem::take(&mut wires.arrivals) {
            let backend = self.addresses.iter().find(|(a, _)| *a == address).expect("it was dialled").1;
            let (mood, gate, most) = (self.plot.mood, &self.gate, self.most);
            // By its line, so that it does not hang on when it comes.
            let rng = &mut Rng::new(self.plot.seed ^ (line as u64) << 40);
            let (acts, reading, said) = Planner { rng, mood, gate, most }.server(line);
            let side = Side::new(line, acts, reading);
            self.servings.push(Serving { pool: self.pools[backend], side, said });
        }
        self.clients.iter_mut().for_each(|client| client.side.turn(wires));
        self.servings.iter_mut().for_each(|serving| serving.side.turn(wires));
    }

    /// A little while things move, else to when something is due.
    fn pass_time(&mut self, moving: bool) {
        let mut wires = self.wires.borrow_mut();
        let now = wires.now;
        if moving {
            wires.now += u64::from(self.rng.chance(30));
            return;
        }
        let sides = self.clients.iter().map(|c| &c.side).chain(self.servings.iter().map(|s| &s.side));
        let wakes = sides.filter_map(|side| side.wakes(now));
        let births = self.waiting.iter().map(|plan| plan.born);
        let drain = self.drain_at.filter(|_| !self.drained);
        let reload = self.reloads.as_ref().and_then(Reloads::next);
        let own = [self.pump.next_expiry(), wires.next_connect(), drain, reload];
        let due = wakes.chain(births).chain(own.into_iter().flatten()).filter(|&due| due > now).min();
        wires.now = due.unwrap_or(now + 500).min(now + 500);
    }
}
