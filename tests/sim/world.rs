//! One run: clients, the balancer and backends in one thread, in virtual time.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use evenkeel::balance::Table;
use evenkeel::config::Timeouts;
use evenkeel::id::PoolId;
use evenkeel::limits;
use evenkeel::stats::{Block, Counter};
use evenkeel::transport::Newcomer;
use evenkeel::worker::{Pump, Settings};

use crate::backend::Serving;
use crate::client::Client;
use crate::ledger::{Ledger, Mood};
use crate::near::{SimNet, Stream};
use crate::net::{Host, Wires};
use crate::plot::{Plot, draw_backends, draw_limits, draw_pool, draw_timeouts};
use crate::reload::{self, Reloads};
use crate::rng::Rng;
use crate::script::{Author, ClientScript};
use crate::ticks::Ticks;

/// Turns of a run that is never going to end.
const ENDLESS: u32 = 400_000;

/// Everything in a run.
pub(crate) struct World {
    pub(crate) wires: Rc<RefCell<Wires>>,
    /// Connections on their way from one worker to another.
    pub(crate) passed: Rc<RefCell<Vec<Newcomer<Stream>>>>,
    pub(crate) pump: Pump<SimNet>,
    pub(crate) table: Arc<Table>,
    pub(crate) stats: Arc<Block>,
    pub(crate) timeouts: Timeouts,
    /// By address, which backend.
    pub(crate) addresses: Vec<(SocketAddr, usize)>,
    pub(crate) waiting: Vec<ClientScript>,
    pub(crate) clients: Vec<Client>,
    pub(crate) servings: Vec<Serving>,
    pub(crate) ledger: Ledger,
    /// Decides what happens of itself.
    pub(crate) rng: Rng,
    pub(crate) backend_patience: u64,
    pub(crate) next_probe: u64,
    ticks: Ticks,
    pub(crate) drain_at: Option<u64>,
    pub(crate) drained: bool,
    pub(crate) reloads: Option<Reloads>,
}

pub(crate) fn millis(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

impl World {
    pub(crate) fn new(plot: Plot) -> Self {
        let mut rng = Rng::new(plot.seed);
        let calm = plot.mood == Mood::Calm;
        let timeless = plot.mood.is_timeless();
        let pool = draw_pool(plot.mood, &mut rng);
        let retry = pool.retry;
        let timeouts = draw_timeouts(&mut rng);
        let width = rng.pick(&[200, 2_000, 20_000, 80_000]);
        let capacity = if timeless { 400_000 } else { width };
        let limits = draw_limits(plot.mood, width * 3, &mut rng);
        let mut ledger = Ledger {
            mood: plot.mood,
            plans: Vec::new(),
            said: Default::default(),
            left: Default::default(),
            retries: u32::from(retry.retries),
            body: limits.body,
            wrongs: Vec::new(),
            tunnels: Default::default(),
        };
        let count = if timeless { 1 } else { rng.between(1, 6) };
        let most = if timeless { rng.pick(&[3000, 3000, 3000, 90_000, 300_000]) } else { width * 3 };
        let fork = rng.fork();
        let mut author = Author { rng: fork, ledger: &mut ledger, most, patience: 900 };
        let waiting = (0..count).map(|_| author.client()).collect();
        let mut wires = Wires::new(Rng::new(plot.net_seed), plot.splits, capacity, plot.traced);
        let backends = if timeless { 1 } else { rng.between(1 + u64::from(!calm), 4) };
        let (table, mut addresses) = draw_backends(pool, backends, plot, &mut rng, &mut wires);
        let table = Arc::new(table);
        let stats = Arc::new(Block::default());
        let site = Arc::new(reload::site(&[(table.pools()[0].config(), PoolId(0))], &[], timeouts));
        let settings = Settings { sites: vec![Arc::clone(&site)], timeouts, limits, ..Self::settings() };
        wires.say(|| format!("{timeouts:?} {:?} {limits:?}", table.pools()[0].config()));
        let mut reloads = reload::draw(plot, &mut addresses, width * 3, &site, &mut wires);
        let settings = Arc::new(match &mut reloads {
            Some(reloads) => reloads.settings(settings),
            None => settings,
        });
        reloads.iter_mut().for_each(|reloads| reloads.past().watch(&table, &settings));
        let wires = Rc::new(RefCell::new(wires));
        let passed = Rc::default();
        let pump =
            Pump::new(0, SimNet::new(&wires, &passed), Arc::clone(&table), settings, Arc::clone(&stats));
        let restless = !plot.mood.has_good_backends() && !timeless && rng.chance(60);
        let backend_patience = if restless { rng.between(1, 600) } else { u64::MAX };
        let eager = plot.mood == Mood::Rough;
        let drain_at = (eager && rng.chance(10)).then(|| rng.below(800));
        Self {
            wires,
            passed,
            pump,
            table,
            stats,
            timeouts,
            addresses,
            waiting,
            clients: Vec::new(),
            servings: Vec::new(),
            ledger,
            backend_patience,
            drain_at,
            rng: rng.fork(),
            next_probe: 0,
            ticks: Ticks::default(),
            drained: false,
            reloads,
        }
    }

    /// What no run changes.
    pub(crate) fn settings() -> Settings {
        Settings {
            status_path: Some("/lb-status".into()),
            status: Box::new(|| "{}".into()),
            ..Settings::default()
        }
    }

    pub(crate) fn take_trace(&mut self) -> Vec<String> {
        self.wires.borrow_mut().trace.take().unwrap_or_default()
    }

    pub(crate) fn now(&self) -> u64 {
        self.wires.borrow().now
    }

    /// Runs to the end; what went wrong is in the ledger.
    pub(crate) fn run(&mut self) {
        self.run_until(|world| world.clients.iter().all(|c| c.peer.gone) && world.waiting.is_empty());
        // Whoever was silent leaves; backends that still talk are left to themselves.
        let patience = self.longest_wait();
        let until = self.now() + patience;
        self.run_until(|world| world.pump.open_downstreams() == 0 || world.now() > until);
        if self.pump.open_downstreams() > 0 {
            self.ledger.wrong(format!("a connection is held {patience} ms after everybody has left"));
        }
        if self.pump.held() != (0, 0) {
            self.ledger.wrong(format!("buffers and flights are held at rest: {:?}", self.pump.held()));
        }
        let until = self.now() + millis(self.timeouts.upstream_idle) + 2 * millis(limits::PRUNE_INTERVAL);
        self.run_until(|world| world.now() > until);
        if self.pump.idle_upstreams() > 0 || self.stats.get(Counter::Upstreams) > 0 {
            self.ledger.wrong("an upstream is held after its idle timeout");
        }
        let gauges = [Counter::Downstreams, Counter::Flights].map(|counter| self.stats.get(counter));
        if gauges != [0, 0] {
            self.ledger.wrong(format!("downstreams and flights are counted at rest: {gauges:?}"));
        }
        if self.drained && !self.pump.is_drained() {
            self.ledger.wrong("a drain has not ended");
        }
        self.judge();
    }

    fn run_until(&mut self, done: impl Fn(&Self) -> bool) {
        let started = self.now();
        let most = 20 * self.longest_wait() + 60_000;
        for _ in 0..ENDLESS {
            if done(self) || !self.ledger.wrongs.is_empty() {
                return;
            }
            self.turn();
            if self.now() > started + most {
                self.ledger.wrong("time goes on and nothing ends");
                return;
            }
        }
        self.ledger.wrong("the run does not end");
    }

    /// One tick of everything.
    fn turn(&mut self) {
        self.wires.borrow_mut().deliver();
        self.happen();
        self.act();
        let busy = self.tick();
        self.count_upstreams();
        let moving = busy || self.wires.borrow().is_moving();
        self.pass_time(moving);
    }

    /// What comes from outside: new clients, failing hosts, probes, a drain.
    fn happen(&mut self) {
        self.reload();
        let now = self.now();
        while let Some(at) = self.waiting.iter().position(|script| script.born <= now) {
            let script = self.waiting.remove(at);
            let listener = self.reloads.as_mut().map_or(Some(0), Reloads::listener);
            let Some(listener) = listener.filter(|_| !self.drained) else { continue };
            let line = self.wires.borrow_mut().call();
            let peer = IpAddr::V4(Ipv4Addr::new(192, 0, 2, self.clients.len() as u8 + 1));
            self.clients.push(Client::new(line, script));
            let stream = Stream::new(line, &self.wires);
            self.pump.accepted(Newcomer { stream, peer, port: 0, listener, counted: false, requests: 0 });
        }
        if self.drain_at.is_some_and(|at| now >= at) && !self.drained {
            self.drained = true;
            self.wires.borrow_mut().say(|| "a drain begins".into());
            self.pump.drain();
        }
        if !self.ledger.mood.has_good_backends() && now >= self.next_probe {
            self.next_probe = now + 300;
            self.probe();
        }
    }

    /// Backends fail and come back, and the probe finds out a little late.
    fn probe(&mut self) {
        let mut wires = self.wires.borrow_mut();
        let flaky = self.ledger.mood == Mood::Flaky;
        for at in 0..self.addresses.len() {
            let (address, backend) = self.addresses[at];
            let up = wires.hosts.iter().any(|(a, host)| *host == Host::Up && self.is_of(*a, backend));
            reload::ids(&self.table, backend).into_iter().for_each(|id| {
                self.table.set_up(id, up, wires.now);
            });
            // Of flaky backends the first is always there.
            if self.addresses.len() > 1 && !(flaky && backend == 0) && self.rng.chance(20) {
                let fates = [Host::Up, Host::Up, Host::Refuses, Host::Blackhole, Host::Unroutable];
                let fate = self.rng.pick(&fates);
                let host = wires.hosts.iter_mut().find(|(a, _)| *a == address);
                host.expect("every address is a host").1 = fate;
                wires.say(|| format!("backend {backend}: {address} is {fate:?}"));
            }
        }
    }

    fn is_of(&self, address: SocketAddr, backend: usize) -> bool {
        self.addresses.contains(&(address, backend))
    }

    fn act(&mut self) {
        let wires = &mut *self.wires.borrow_mut();
        for (line, address) in std::mem::take(&mut wires.arrivals) {
            let backend = self.addresses.iter().find(|(a, _)| *a == address).expect("it was dialled").1;
            let fork = self.rng.fork();
            self.servings.push(Serving::new(line, backend, self.backend_patience, wires.now, fork));
        }
        self.clients.iter_mut().for_each(|client| client.turn(wires, &mut self.ledger));
        self.servings.iter_mut().for_each(|serving| serving.turn(wires, &mut self.ledger));
        self.servings.retain(|serving| !serving.peer.gone);
        let slack = millis(self.timeouts.head) + 200;
        for client in &self.clients {
            if client.head_since().is_some_and(|since| wires.now > since + slack) {
                self.ledger.wrong(format!("line {}: a head may take for ever", client.peer.line));
            }
        }
    }

    /// The worker's tick; true when it did something or has more to do.
    fn tick(&mut self) -> bool {
        let busy = self.ticks.tick(&mut self.pump, &self.wires, &self.passed);
        if self.ticks.is_circle() {
            self.ledger.wrong("the pump runs in a circle");
        }
        busy
    }

    /// A little while things move, else to when something is due.
    fn pass_time(&mut self, moving: bool) {
        let mut wires = self.wires.borrow_mut();
        let now = wires.now;
        if moving {
            wires.now += u64::from(self.rng.chance(30));
            return;
        }
        let actors = self.clients.iter().filter_map(|c| c.wakes(now));
        let actors = actors.chain(self.servings.iter().filter_map(|s| s.wakes(now)));
        let births = self.waiting.iter().map(|script| script.born);
        let prune = (self.pump.idle_upstreams() > 0).then(|| self.ticks.next_prune());
        let reload = self.reloads.as_ref().and_then(Reloads::next);
        let drain = self.drain_at.filter(|_| !self.drained);
        let own = [self.pump.next_expiry(), prune, wires.next_connect(), drain, reload];
        let due = actors.chain(births).chain(own.into_iter().flatten()).filter(|&due| due > now).min();
        // Health changes on its own; while nobody waits for anything it need not be seen.
        wires.now = due.unwrap_or(now + 500).min(now + 500);
    }
}
