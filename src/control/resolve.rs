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
        let mut last: Option<Instant> = None;
        loop {
            // Not in step with the other instances that started with this one.
            let late = fastrand::f64().mul_add(0.2, 0.9);
            let (due, urls) = self.wait(last, late);
            let mut news = false;
            for batch in urls.chunks(limits::LOOKUPS) {
                let found: Vec<_> = thread::scope(|scope| {
                    let lookups: Vec<_> = batch.iter().map(|url| scope.spawn(|| look_up(url))).collect();
                    lookups.into_iter().map(|lookup| lookup.join().ok().flatten()).collect()
                });
                for (url, found) in batch.iter().zip(found) {
                    news |= self.note(url, found);
                }
                self.news.notify_all();
            }
            // Who waited for new names may have given up, so that it is told of those too.
            if news {
                changed();
            }
            if due {
                last = Some(Instant::now());
            }
        }
    }

    /// The names to look up: all when it is time, before it those that were not asked yet. All were `last` then; the
    /// interval may have become another one since.
    fn wait(&self, last: Option<Instant>, late: f64) -> (bool, Vec<BackendUrl>) {
        let mut known = self.lock();
        loop {
            let now = Instant::now();
            let next = last.map_or(now, |last| last + known.every.mul_f64(late));
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

    /// Keeps an answer; true when it is news.
    fn note(&self, url: &BackendUrl, found: Option<Vec<SocketAddr>>) -> bool {
        let mut known = self.lock();
        let Some(last) = known.addresses.get_mut(url) else { return false };
        match (found, &last) {
            (None, None) => {
                log::warn!("backend {url}: its name does not resolve; it is asked for again");
                *last = Some(Vec::new());
                false
            }
            (None, Some(_)) => false,
            (Some(found), Some(before)) if same(&found, before) => false,
            (Some(found), before) => {
                if before.is_some() {
                    let list: Vec<_> = found.iter().map(ToString::to_string).collect();
                    log::info!("backend {url} is now at {}", list.join(", "));
                }
                *last = Some(found);
                true
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn url(host: &str) -> BackendUrl {
        BackendUrl { host: host.into(), port: 80 }
    }

    fn wait(what: &str, condition: impl Fn() -> bool) {
        let begun = Instant::now();
        while !condition() {
            assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn an_answer_is_news_once_and_a_failure_never() {
        let names = Names::default();
        let (a, at) = (url("a.test"), |last: u8| SocketAddr::from(([10, 0, 0, last], 80)));
        names.lock().addresses.insert(a.clone(), None);
        assert!(!names.note(&a, None) && names.addresses(&a).is_empty());
        assert!(names.note(&a, Some(vec![at(1), at(2)])));
        assert!(!names.note(&a, Some(vec![at(2), at(1)])), "another order of the same");
        assert!(!names.note(&a, None));
        assert_eq!(names.addresses(&a), [at(1), at(2)]);
        assert!(names.note(&a, Some(vec![at(2)])) && names.addresses(&a) == [at(2)]);
        assert!(!names.note(&url("other.test"), Some(vec![at(1)])), "nobody wants to know it any more");
        assert_eq!(names.addresses(&url("::1")), ["[::1]:80".parse().unwrap()]);
    }

    #[test]
    fn who_gives_up_waiting_is_told_and_a_shorter_interval_holds_at_once() {
        let told = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&told);
        let changed = move || {
            count.fetch_add(1, SeqCst);
        };
        let names = Names::start(Duration::from_secs(3600), changed).unwrap();
        names.follow([url("localhost"), url("127.0.0.1")].into_iter());
        assert!(!names.addresses(&url("localhost")).is_empty());
        wait("the first answer is told", || told.load(SeqCst) == 1);
        // As if it had been at another address an hour ago.
        names.lock().addresses.insert(url("localhost"), Some(vec!["10.0.0.1:80".parse().unwrap()]));
        names.forget_others([url("localhost")].into_iter(), Duration::from_millis(10));
        wait("it is asked again", || told.load(SeqCst) == 2);
        names.forget_others(std::iter::empty(), Duration::from_millis(10));
        assert!(names.addresses(&url("localhost")).is_empty());
    }
}
