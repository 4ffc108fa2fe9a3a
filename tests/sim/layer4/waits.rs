//! Connections that have not begun, when their listener goes and when it comes back: every step at a time of its own.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use evenkeel::balance::Table;
use evenkeel::config::{Action, Backend, BackendUrl, Mode, Pool, ProxyProtocol, Route, Routes, Timeouts};
use evenkeel::exchange::{Line, Site};
use evenkeel::id::PoolId;
use evenkeel::limits;
use evenkeel::stats::Block;
use evenkeel::transport::Newcomer;
use evenkeel::worker::{Pump, Settings};

use crate::near::{SimNet, Stream};
use crate::net::{Host, Splits, Wires};
use crate::rng::Rng;
use crate::ticks::Ticks;
use crate::world::millis;

const HEAD: u64 = 2_000;

/// What a connection waits for first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    Request,
    Header,
    Hello,
}

const ALL: [First; 3] = [First::Request, First::Header, First::Hello];

fn site(first: First, leaving: bool) -> Arc<Site> {
    let route =
        Route { host: Some("a.sim".parse().expect("a name")), ..Route::new("a".to_owned(), Action::Pool(0)) };
    let routes = if first == First::Hello { vec![route] } else { Vec::new() };
    let lines = (0..=routes.len()).map(|_| Line::to_pool(PoolId(0))).collect();
    let from = vec!["192.0.2.0/24".parse().expect("a network")];
    Arc::new(Site {
        mode: if first == First::Hello { Mode::Tcp } else { Mode::Http },
        proxy: (first == First::Header).then_some(ProxyProtocol { required: true, from }),
        routes: Routes::new(routes),
        lines,
        leaving,
        ..Site::to_pool(PoolId(0))
    })
}

/// One silent client of one worker.
struct Scene {
    wires: Rc<RefCell<Wires>>,
    passed: Rc<RefCell<Vec<Newcomer<Stream>>>>,
    pump: Pump<SimNet>,
    table: Arc<Table>,
    ticks: Ticks,
    line: usize,
}

impl Scene {
    /// A client that has come at 0 and said nothing.
    fn new(first: First, seed: u64) -> Self {
        let address = SocketAddr::from(([10, 0, 0, 1], 80));
        let mut wires = Wires::new(Rng::new(seed), Splits::Whole, 10_000, false);
        wires.hosts.push((address, Host::Up));
        let line = wires.call();
        let (wires, passed) = (Rc::new(RefCell::new(wires)), Rc::default());
        let url = BackendUrl { host: "backend".to_owned(), port: 80 };
        let pool = Pool { backends: vec![Backend::new(url)], ..Pool::default() };
        let table = Arc::new(Table::new(vec![(pool, vec![vec![address]])], 1));
        let net = SimNet::new(&wires, &passed);
        let pump = Pump::new(
            0,
            net,
            Arc::clone(&table),
            Self::settings(site(first, false)),
            Arc::new(Block::default()),
        );
        let mut scene = Self { wires, passed, pump, table, ticks: Ticks::default(), line };
        let peer = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        let stream = Stream::new(line, &scene.wires);
        scene.pump.accepted(Newcomer { stream, peer, port: 0, listener: 0, counted: false, requests: 0 });
        scene.until(0);
        scene
    }

    fn settings(site: Arc<Site>) -> Arc<Settings> {
        let timeouts = Timeouts { head: Duration::from_millis(HEAD), ..Timeouts::default() };
        Arc::new(Settings { sites: vec![site], timeouts, ..Settings::default() })
    }

    /// Lets the time pass, and all that is due happen.
    fn until(&mut self, now: u64) {
        self.wires.borrow_mut().now = now;
        for _ in 0..20 {
            self.wires.borrow_mut().deliver();
            self.ticks.tick(&mut self.pump, &self.wires, &self.passed);
        }
    }

    fn reload(&mut self, now: u64, site: Arc<Site>) {
        self.until(now);
        self.pump.replace(Arc::clone(&self.table), Self::settings(site));
        self.until(now);
    }

    fn says(&mut self, bytes: &[u8]) {
        self.wires.borrow_mut().far_write(self.line, bytes);
    }

    fn is_open(&self) -> bool {
        self.pump.open_downstreams() == 1
    }
}

fn each(test: impl Fn(First, Scene)) {
    for first in ALL {
        // By its seed it is passed on to another worker meanwhile, or is not.
        (0..8).for_each(|seed| test(first, Scene::new(first, seed)));
    }
}

#[test]
fn reloads_in_a_row_give_a_silent_one_no_more_time() {
    each(|first, mut scene| {
        for now in [100, 200, 300] {
            assert!(scene.is_open(), "{first:?}");
            scene.reload(now, site(first, true));
        }
        scene.until(360);
        assert!(!scene.is_open(), "{first:?}");
    });
}

#[test]
fn a_listener_that_is_back_in_time_keeps_its_connections() {
    each(|first, mut scene| {
        scene.reload(100, site(first, true));
        scene.reload(300, site(first, false));
        scene.until(300 + HEAD - 10);
        assert!(scene.is_open(), "{first:?}");
        scene.until(400 + HEAD);
        assert!(!scene.is_open(), "{first:?}");
    });
}

#[test]
fn a_first_byte_within_the_grace_ends_it() {
    for drains in [false, true] {
        each(|first, mut scene| {
            scene.until(100);
            if drains {
                scene.pump.drain();
            } else {
                scene.reload(100, site(first, true));
            }
            scene.until(300);
            scene.says(if first == First::Hello { b"\x16" } else { b"P" });
            scene.until(301);
            scene.until(300 + HEAD - 10);
            assert!(scene.is_open(), "{first:?}, drains: {drains}");
            // A request that came too late is answered, and what follows read for a while.
            scene.until(500 + HEAD);
            scene.until(600 + HEAD + millis(limits::LINGER_TIMEOUT));
            assert!(!scene.is_open(), "{first:?}, drains: {drains}");
        });
    }
}

#[test]
fn what_a_reload_asks_for_no_more_is_not_waited_for() {
    for seed in 0..8 {
        let mut scene = Scene::new(First::Hello, seed);
        assert!(scene.wires.borrow().arrivals.is_empty());
        let plain = Site { mode: Mode::Tcp, ..Site::to_pool(PoolId(0)) };
        scene.reload(100, Arc::new(plain));
        assert_eq!(scene.wires.borrow().arrivals.len(), 1, "its backend may speak first");
    }
}
