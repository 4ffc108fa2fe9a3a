//! Turning the names of backends into addresses, off every thread that must not wait, again and again.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::config::BackendUrl;
use crate::limits;

/// What names stand for, as last heard; a look-up that fails changes nothing.
#[derive(Debug, Default)]
pub(super) struct Names {
    known: Mutex<Known>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct Known {
    /// `None`: not asked yet.
    addresses: HashMap<BackendUrl, Option<Vec<SocketAddr>>>,
    every: Duration,
}

impl Names {
    /// Starts to look up; `changed` is called from that thread whenever an answer is another one than before.
    pub(super) fn start(every: Duration, changed: impl Fn() + Send + 'static) -> std::io::Result<Arc<Self>> {
        let names = Arc::new(Self::default());
        names.lock().every = every;
        let looking = Arc::clone(&names);
        thread::Builder::new().name("resolver".into()).spawn(move || looking.run(&changed))?;
        Ok(names)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        // A panic ends the process, so nobody ever sees a poisoned lock.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has these looked up too, and waits for those that are new, within limits: a name server that does not answer
    /// must not keep a run from starting.
    pub(super) fn follow(&self, urls: impl Iterator<Item = BackendUrl>) {
        let mut known = self.lock();
        for url in urls.filter(|url| literal(url).is_none()) {
            known.addresses.entry(url).or_default();
        }
        self.news.notify_all();
        let deadline = Instant::now() + limits::RESOLVE_PATIENCE;
        while known.addresses.values().any(Option::is_none) {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return };
            known = self.news.wait_timeout(known, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Has no others looked up than these, and how often that is.
    pub(super) fn forget_others(&self, urls: impl Iterator<Item = BackendUrl>, every: Duration) {
        let urls: HashSet<BackendUrl> = urls.collect();
        let mut known = self.lock();
        known.every = every;
        known.addresses.retain(|url, _| urls.contains(url));
        self.news.notify_all();
    }

    /// The addresses of a backend as last heard; none while its name does not resolve.
    pub(super) fn addresses(&self, url: &BackendUrl) -> Vec<SocketAddr> {
        match literal(url) {
            Some(address) => vec![address],
            None => self.lock().addresses.get(url).cloned().flatten().unwrap_or_default(),
        }
    }

    /// Looks up all names, then waits for the next time or for new names.
    fn run(&self, changed: &dyn Fn()) {
        let mut next = Instant::now();
        loop {
            let (due, urls) = self.wait(next);
            let (mut moved, mut first) = (false, false);
            for batch in urls.chunks(limits::LOOKUPS) {
                let found: Vec<_> = thread::scope(|scope| {
                    let lookups: Vec<_> = batch.iter().map(|url| scope.spawn(|| look_up(url))).collect();
                    lookups.into_iter().map(|lookup| lookup.join().ok().flatten()).collect()
                });
                for (url, found) in batch.iter().zip(found) {
                    let fresh = self.note(url, found);
                    first |= fresh == Some(true);
                    moved |= fresh == Some(false);
                }
                self.news.notify_all();
            }
            // Whoever asked for new names may have waited for them in vain.
            if moved || first {
                changed();
            }
            if due {
                let every = self.lock().every;
                // Not in step with the other instances that started with this one.
                next = Instant::now() + every.mul_f64(fastrand::f64().mul_add(0.2, 0.9));
            }
        }
    }

    /// The names to look up: all when it is time, before it those that were not asked yet.
    fn wait(&self, next: Instant) -> (bool, Vec<BackendUrl>) {
        let mut known = self.lock();
        loop {
            let now = Instant::now();
            let due = now >= next && !known.addresses.is_empty();
            let new = |url: &&BackendUrl| due || known.addresses[*url].is_none();
            let urls: Vec<_> = known.addresses.keys().filter(new).cloned().collect();
            if !urls.is_empty() {
                return (due, urls);
            }
            let left = if known.addresses.is_empty() { known.every } else { next - now };
            known = self.news.wait_timeout(known, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Keeps an answer; whether it is the first for that name, `None` if it is no news.
    fn note(&self, url: &BackendUrl, found: Option<Vec<SocketAddr>>) -> Option<bool> {
        let mut known = self.lock();
        let last = known.addresses.get_mut(url)?;
        match (found, &last) {
            (None, None) => {
                log::warn!("backend {url}: its name does not resolve; it is asked for again");
                *last = Some(Vec::new());
                None
            }
            (None, Some(_)) => None,
            (Some(found), Some(before)) if same(&found, before) => None,
            (Some(found), before) => {
                let first = before.as_ref().is_none_or(Vec::is_empty);
                let asked = before.is_some();
                if asked {
                    let list: Vec<_> = found.iter().map(ToString::to_string).collect();
                    log::info!("backend {url} is now at {}", list.join(", "));
                }
                *last = Some(found);
                Some(first && !asked)
            }
        }
    }
}

/// Name servers give the same addresses in ever other orders.
fn same(one: &[SocketAddr], other: &[SocketAddr]) -> bool {
    one.len() == other.len() && one.iter().all(|address| other.contains(address))
}

fn literal(url: &BackendUrl) -> Option<SocketAddr> {
    Some(SocketAddr::new(url.host.parse::<IpAddr>().ok()?, url.port))
}

fn look_up(url: &BackendUrl) -> Option<Vec<SocketAddr>> {
    let mut found: Vec<_> =
        (url.host.as_str(), url.port).to_socket_addrs().map(Iterator::collect).unwrap_or_default();
    if url.host == "localhost" {
        // RFC 6761 section 6.3: both loopback addresses, whatever the hosts file says; a server may have either.
        let both = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
        found.extend(both.map(|ip| SocketAddr::new(ip, url.port)));
    }
    let mut seen = Vec::new();
    found.retain(|address| {
        let fresh = !seen.contains(address);
        seen.push(*address);
        fresh
    });
    found.truncate(limits::ADDRESSES);
    (!found.is_empty()).then_some(found)
}
