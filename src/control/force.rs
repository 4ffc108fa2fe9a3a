//! What is in force: the configuration, the table and the settings made of it, and how one follows another.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::{Arc, PoisonError, RwLock};

use super::counts::Counts;
use crate::balance::{Clients, RateLimiter, Table};
use crate::config::{
    self, Action, Algorithm, BackendUrl, Config, Key, Listener, RateLimit, Rewrite, RouteTimeouts, Sticky,
    StickyBy,
};
use crate::exchange::{Act, Line, Share, Site, Wanted};
use crate::id::PoolId;
use crate::limits;
use crate::proto::h1::edits::Edits;
use crate::stats::traffic::Counted;
use crate::sys::socket::{Bound, Reach};
use crate::worker::Settings;

/// Counts, for those who ask from other threads.
pub(super) type Told = Arc<RwLock<Vec<Arc<Counted>>>>;

/// A listener's number, which its connections know it by, and what is there.
pub(super) struct Slot {
    /// As configured.
    asked: SocketAddr,
    /// As bound.
    bound: SocketAddr,
    /// It is on `[::]`, and IPv4 is another listener's.
    only_v6: bool,
    site: Arc<Site>,
    /// When it was closed, in milliseconds since the process began; `None`: it is open.
    pub(super) left: Option<u64>,
    /// What came in there.
    pub(super) traffic: Arc<Counted>,
    /// What took each of its routes, by place.
    pub(super) routes: Vec<Arc<Counted>>,
}

/// What is in force.
pub(super) struct Force {
    config: Config,
    table: Arc<Table>,
    slots: Vec<Slot>,
    /// The counts of those that are open, for those who ask from other threads.
    traffic: Told,
    /// The counts of their routes.
    routes: Told,
    settings: Arc<Settings>,
    /// Rate limits with what they have counted, so that a reload does not forget it.
    limiters: Vec<Limiter>,
    workers: usize,
}

struct Limiter {
    of: String,
    limit: RateLimit,
    limiter: Arc<RateLimiter>,
}

/// Sockets that a step opens, each with its listener's number, and listeners that it closes.
#[derive(Default)]
pub(super) struct Sockets {
    pub(super) opened: Vec<(u16, Vec<TcpListener>)>,
    pub(super) closed: Vec<u16>,
}

/// Says what addresses a backend has.
pub(super) type Resolve<'r> = &'r dyn Fn(&BackendUrl) -> Vec<SocketAddr>;
/// What of the settings does not come from the configuration.
pub(super) struct Fixtures {
    pub(super) status: Arc<dyn Fn() -> String + Send + Sync>,
    /// Client connections in all.
    pub(super) connections: u64,
    /// Pipes of one worker.
    pub(super) pipes: usize,
}

/// A listener that cannot be opened.
pub(super) type Refused = (SocketAddr, io::Error);

impl Force {
    /// The first one.
    pub(super) fn new(
        config: Config,
        resolve: Resolve<'_>,
        fixtures: &Fixtures,
    ) -> Result<(Self, Sockets), Refused> {
        let workers = config.workers;
        let mut force = Self {
            table: Arc::new(Table::new(Vec::new(), workers)),
            slots: Vec::new(),
            traffic: Arc::default(),
            routes: Arc::default(),
            settings: Arc::default(),
            limiters: Vec::new(),
            workers,
            config: Config { listeners: Vec::new(), pools: Vec::new(), ..config.clone() },
        };
        let sockets = force.follow(config, resolve, fixtures, 0)?;
        Ok((force, sockets))
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn table(&self) -> &Arc<Table> {
        &self.table
    }

    pub(super) fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// What came in at each listener that is open.
    pub(super) fn traffic(&self) -> Told {
        Arc::clone(&self.traffic)
    }

    /// What took each route in force.
    pub(super) fn routes(&self) -> Told {
        Arc::clone(&self.routes)
    }

    /// The addresses listened on, with the ports the kernel chose.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.slots.iter().filter(|slot| slot.left.is_none()).map(|slot| slot.bound).collect()
    }

    /// Makes a configuration the one in force, or leaves everything as it is where a listener cannot be opened.
    pub(super) fn follow(
        &mut self,
        config: Config,
        resolve: Resolve<'_>,
        fixtures: &Fixtures,
        now: u64,
    ) -> Result<Sockets, Refused> {
        let mut sockets = self.open(&config)?;
        let opened = sockets.opened.iter().map(|(number, _)| *number);
        let replaced: Vec<u16> = opened.filter(|&number| self.is_open(number)).collect();
        let ids = self.renew_table(&config, resolve, now);
        self.forget_closed(now);
        self.renew_limiters(&config);
        let mut counts = Counts::new(&self.slots, &config);
        for listener in &config.listeners {
            self.renew_slot(&config, listener, &ids, &sockets, &mut counts);
        }
        sockets.closed = [replaced, self.close(&config, now)].concat();
        let open = || self.slots.iter().filter(|slot| slot.left.is_none());
        let traffic = open().map(|slot| Arc::clone(&slot.traffic)).collect();
        let routes = open().flat_map(|slot| slot.routes.iter().cloned()).collect();
        *self.traffic.write().unwrap_or_else(PoisonError::into_inner) = traffic;
        *self.routes.write().unwrap_or_else(PoisonError::into_inner) = routes;
        self.settings = Arc::new(self.renew_settings(&config, fixtures));
        self.config = config;
        Ok(sockets)
    }

    /// Takes over the addresses that names stand for now; all else stays as it is.
    pub(super) fn rename(&mut self, resolve: Resolve<'_>, now: u64) {
        let config = self.config.clone();
        self.renew_table(&config, resolve, now);
    }

    fn renew_table(&mut self, config: &Config, resolve: Resolve<'_>, now: u64) -> Vec<PoolId> {
        let closed = self.slots.iter().filter(|slot| slot.left.is_some());
        let held: Vec<PoolId> = closed.flat_map(|slot| slot.site.pools()).collect();
        self.table.pools().iter().for_each(|pool| pool.hold(held.contains(&pool.id())));
        let pools = config.pools.iter().map(|pool| resolved(pool, resolve)).collect();
        let (table, ids) = self.table.renew(pools, self.workers, now);
        self.table = Arc::new(table);
        ids
    }

    /// A listener that was closed leads where it led until all that came to it must have brought its request. What
    /// that may be given is held until the next reload: by then no worker knows of it.
    fn forget_closed(&mut self, now: u64) {
        let patience = (self.config.timeouts.head + limits::CLOSED_PATIENCE).as_millis() as u64;
        for slot in &mut self.slots {
            if slot.left.is_some_and(|left| now >= left + patience) {
                slot.site = Arc::new(Site {
                    mode: slot.site.mode,
                    proxy: slot.site.proxy.clone(),
                    leaving: true,
                    local: slot.site.local.clone(),
                    routes: config::Routes::default(),
                    lines: [Line { action: Act::Nobody, ..Line::to_pool(PoolId(0)) }].into(),
                });
            }
        }
    }

    /// The number of a listener that was there before, open or closed.
    fn slot(&self, asked: SocketAddr) -> Option<usize> {
        self.slots.iter().position(|slot| slot.asked == asked)
    }

    fn is_open(&self, number: u16) -> bool {
        self.slots.get(usize::from(number)).is_some_and(|slot| slot.left.is_none())
    }

    /// Opens the listeners that are not open; their numbers are those they had, or those behind the present ones. None
    /// takes a connection before all are bound: where one cannot be, nothing has happened.
    fn open(&self, config: &Config) -> Result<Sockets, Refused> {
        let (mut wanted, mut new) = (Vec::new(), 0);
        for listener in &config.listeners {
            let address = listener.address;
            let known = self.slot(address);
            let only_v6 = only_v6(config, address);
            // `[::]` takes IPv4 too from now on, which is settled when a socket is bound.
            let narrow =
                address.ip().is_unspecified() && known.is_some_and(|at| self.slots[at].only_v6 && !only_v6);
            if narrow || known.is_none_or(|at| self.slots[at].left.is_some()) {
                // The port that the kernel chose stays.
                let port = known.filter(|_| narrow).map_or(address.port(), |at| self.slots[at].bound.port());
                let number = known.unwrap_or(self.slots.len() + new);
                new += usize::from(known.is_none());
                wanted.push((number as u16, address, port, only_v6));
            }
        }
        // Whoever has a narrower one is met by the widest, which shares with none but our own.
        wanted.sort_by_key(|(_, address, ..)| !address.ip().to_canonical().is_unspecified());
        let mut bound = Vec::new();
        for (number, address, port, only_v6) in wanted {
            let opened = self.bind(SocketAddr::new(address.ip(), port), only_v6, &bound);
            bound.push((number, opened.map_err(|error| (address, error))?));
        }
        bound.sort_by_key(|(number, _)| *number);
        let mut sockets = Sockets::default();
        for (number, bound) in bound {
            let address = bound.reach().address;
            sockets.opened.push((number, bound.listen().map_err(|error| (address, error))?));
        }
        Ok(sockets)
    }

    /// The sockets of a listener, which may be on addresses that listeners of this process are on too: the one before it,
    /// or one on a narrower address, to which its connections go first.
    fn bind(&self, address: SocketAddr, only_v6: bool, bound: &[(u16, Bound)]) -> io::Result<Bound> {
        let own = self.slots.iter().filter(|slot| slot.left.is_none());
        let own = own.map(|slot| Reach { address: slot.bound, only_v6: slot.only_v6 });
        let mut own = own.chain(bound.iter().map(|(_, bound)| bound.reach()));
        let wanted = Reach { address, only_v6 };
        match Bound::new(address, only_v6, self.workers, false) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && own.any(|own| own.meets(wanted)) => {
                Bound::new(address, only_v6, self.workers, true)
            }
            bound => bound,
        }
    }

    fn renew_slot(
        &mut self,
        config: &Config,
        listener: &Listener,
        ids: &[PoolId],
        sockets: &Sockets,
        counts: &mut Counts<'_>,
    ) {
        let known = self.slot(listener.address);
        let number = known.unwrap_or(self.slots.len());
        let mut opened = sockets.opened.iter();
        let own = opened.find(|(opened, _)| usize::from(*opened) == number);
        let bound = own.and_then(|(_, sockets)| sockets.first()?.local_addr().ok());
        let bound = bound.or(known.map(|at| self.slots[at].bound)).unwrap_or(listener.address);
        let site = Arc::new(self.site(config, listener, bound, ids));
        // Sockets that are there already stay what they are.
        let known_v6 = known.filter(|_| own.is_none()).map(|at| self.slots[at].only_v6);
        let only_v6 = known_v6.unwrap_or_else(|| only_v6(config, listener.address));
        // One without a name of its own goes by its address, with the port that the kernel chose.
        let named = listener.name != listener.address.to_string();
        let name = if named { listener.name.clone() } else { bound.to_string() };
        let (traffic, routes) = counts.of(listener, &name, &bound.to_string(), known, self.workers);
        let slot = Slot { asked: listener.address, bound, only_v6, site, left: None, traffic, routes };
        match known {
            Some(at) => self.slots[at] = slot,
            None => self.slots.push(slot),
        }
    }

    /// The listeners that are not configured any more. Their numbers are kept for their addresses: a process is not
    /// reloaded with ever new ones.
    fn close(&mut self, config: &Config, now: u64) -> Vec<u16> {
        let mut closed = Vec::new();
        for (number, slot) in self.slots.iter_mut().enumerate() {
            let stays = config.listeners.iter().any(|listener| listener.address == slot.asked);
            if !stays && slot.left.is_none() {
                closed.push(number as u16);
                slot.left = Some(now);
                slot.site = Arc::new(Site {
                    leaving: true,
                    mode: slot.site.mode,
                    proxy: slot.site.proxy.clone(),
                    local: slot.site.local.clone(),
                    routes: slot.site.routes.clone(),
                    lines: Arc::clone(&slot.site.lines),
                });
            }
        }
        closed
    }

    fn renew_settings(&self, config: &Config, fixtures: &Fixtures) -> Settings {
        let per_client = config.limits.connections_per_client;
        // Once connections are counted they are counted on, so that no count outlives its connection.
        let known = self.settings.clients.as_ref();
        known.into_iter().for_each(|clients| clients.limit(per_client.unwrap_or(u32::MAX)));
        let status = Arc::clone(&fixtures.status);
        Settings {
            timeouts: config.timeouts,
            limits: config.limits,
            trust: config.trust.clone(),
            clients: known.cloned().or_else(|| per_client.map(|most| Arc::new(Clients::new(most)))),
            busy_poll: config.busy_poll,
            connections: fixtures.connections,
            pipes: fixtures.pipes,
            status_path: config.status_path.clone(),
            status: Box::new(move || status()),
            sites: self.slots.iter().map(|slot| Arc::clone(&slot.site)).collect(),
            traffic: self.slots.iter().map(|slot| Arc::clone(&slot.traffic)).collect(),
            routes: self.slots.iter().map(|slot| slot.routes.clone()).collect(),
            measured: config.admin.is_some(),
            error_pages: config.error_pages.clone(),
            cause_header: config.cause_header.clone(),
        }
    }

    fn renew_limiters(&mut self, config: &Config) {
        let whole = config.rate_limit.iter().map(|limit| (String::new(), limit));
        let routes = config.listeners.iter().flat_map(|listener| {
            let routes = listener.routes.all().iter();
            routes.filter_map(|route| Some((limiter_name(listener, &route.name), route.rate_limit.as_ref()?)))
        });
        let mut limiters = Vec::new();
        for (of, limit) in whole.chain(routes) {
            let known = self.limiters.iter().find(|known| known.of == of && known.limit == *limit);
            let limiter =
                known.map_or_else(|| Arc::new(RateLimiter::new(limit)), |known| Arc::clone(&known.limiter));
            limiters.push(Limiter { of, limit: limit.clone(), limiter });
        }
        self.limiters = limiters;
    }

    fn limiter(&self, of: &str) -> Option<(Key, Arc<RateLimiter>)> {
        let limiter = self.limiters.iter().find(|limiter| limiter.of == of)?;
        Some((limiter.limit.key.clone(), Arc::clone(&limiter.limiter)))
    }

    fn site(&self, config: &Config, listener: &Listener, bound: SocketAddr, ids: &[PoolId]) -> Site {
        let share =
            |pool: usize, until| Share { pool: ids[pool], until, wanted: wanted(&config.pools[pool]) };
        let act = |action: &Action| match action {
            Action::Pool(pool) => Act::Pools([share(*pool, 1)].into()),
            Action::Split(shares) => {
                let mut until = 0;
                let shares = shares.iter().map(|&(pool, weight)| {
                    until += u64::from(weight);
                    share(pool, until)
                });
                Act::Pools(shares.collect())
            }
            Action::Redirect(redirect) => Act::Redirect(redirect.clone()),
            Action::Fixed(fixed) => Act::Fixed(fixed.clone()),
        };
        let line = |name: String, action: Act, timeouts: RouteTimeouts, rewrite: Option<Rewrite>| Line {
            rates: [self.limiter(""), self.limiter(&limiter_name(listener, &name))]
                .into_iter()
                .flatten()
                .collect(),
            name,
            action,
            timeouts: timeouts.over(config.timeouts),
            rewrite,
            request: Edits::default(),
            response: Edits::default().without(config.cause_header.as_deref()),
        };
        let routes = listener.routes.all().iter().map(|route| Line {
            request: Edits::from(&route.request_headers),
            response: Edits::from(&route.response_headers).without(config.cause_header.as_deref()),
            ..line(route.name.clone(), act(&route.action), route.timeouts, route.rewrite.clone())
        });
        let rest = listener.pool.map_or(Act::Nobody, |pool| act(&Action::Pool(pool)));
        let rest = line(String::new(), rest, RouteTimeouts::default(), None);
        let lines = routes.chain([rest]).collect();
        Site {
            routes: listener.routes.clone(),
            local: bound.to_string(),
            mode: listener.mode,
            proxy: listener.proxy.clone(),
            leaving: false,
            lines,
        }
    }
}

/// A pool with the addresses of its backends, each of them a backend where that is asked for.
fn resolved(pool: &config::Pool, resolve: Resolve<'_>) -> (config::Pool, Vec<Vec<SocketAddr>>) {
    let (mut backends, mut addresses) = (Vec::new(), Vec::new());
    for backend in &pool.backends {
        let found = resolve(&backend.url);
        let name = backend.url.host.parse::<IpAddr>().is_err();
        let room = backends.len() + found.len() <= limits::BACKENDS_MAX;
        if pool.resolve == config::Resolve::All && name && room && !found.is_empty() {
            for address in found {
                backends.push(config::Backend { address: Some(address), ..backend.clone() });
                addresses.push(vec![address]);
            }
        } else {
            backends.push(backend.clone());
            addresses.push(found);
        }
    }
    let mut pool = config::Pool { backends, ..pool.clone() };
    if let config::Check::Http(check) = &mut pool.health.check {
        check.announce = pool.send_proxy;
    }
    (pool, addresses)
}

/// On `[::]` IPv4 comes too, unless another listener has all of it on the same port.
fn only_v6(config: &Config, address: SocketAddr) -> bool {
    let has_whole = |other: &Listener| {
        other.address.port() == address.port() && other.address.ip().to_canonical() == Ipv4Addr::UNSPECIFIED
    };
    let chosen = address.port() != 0;
    chosen && address.ip() == Ipv6Addr::UNSPECIFIED && config.listeners.iter().any(has_whole)
}

fn limiter_name(listener: &Listener, route: &str) -> String {
    format!("{}/{route}", listener.address)
}

/// What has to be looked for in each request for this pool.
fn wanted(pool: &config::Pool) -> Wanted {
    let hash = match &pool.algorithm {
        Algorithm::Hash { key, .. } => Some(key.clone()),
        _ => None,
    };
    let cookie = match &pool.sticky {
        Some(Sticky { by: StickyBy::Cookie(cookie), .. }) => Some(cookie.name.clone()),
        _ => None,
    };
    Wanted { hash, cookie }
}
