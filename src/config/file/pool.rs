//! The pools of a file, from the model to what a run needs.

use std::collections::HashMap;
use std::time::Duration;

use super::given::{Given, Many};
use super::model;
use super::note::Notes;
use super::tree::Span;
use super::written::{As, Count};
use crate::config::{
    Algorithm, Backend, BackendUrl, Cookie, Key, Pool, ProxyVersion, Queue, Resolve, SameSite, Sticky,
    StickyBy,
};
use crate::limits;

/// All pools, with the response timeout that their tries must be shorter than; a name that is wrong or missing is noted and stands as an empty one.
pub(super) fn pools(given: &Many<model::Pool>, response: Duration, notes: &Notes) -> Vec<Pool> {
    let mut pools: Vec<Pool> = Vec::new();
    let mut names: HashMap<String, Span> = HashMap::new();
    let mut backends = 0;
    let alone = given.value.as_ref().is_none_or(|all| all.len() == 1);
    for (pool, span) in given.each() {
        let name = name(pool, span, alone, notes);
        let name_span = if pool.name.is_there() { pool.name.span() } else { span };
        match names.get(&name) {
            Some(first) if !name.is_empty() => {
                let line = notes.line_of(*first);
                let message = format!(
                    "name \"{name}\": another pool has it, in line {line}; give each a name of its own"
                );
                notes.error(name_span, message);
            }
            _ => _ = names.insert(name.clone(), name_span),
        }
        let pool = self::pool(pool, name, span, response, notes);
        let room = limits::BACKENDS_MAX.saturating_sub(backends);
        if pool.backends.len() > room {
            notes.error(
                span,
                format!("at most {} backends are taken, of all pools together", limits::BACKENDS_MAX),
            );
        }
        backends += pool.backends.len();
        pools.push(pool);
    }
    pools
}

fn name(pool: &model::Pool, span: Span, alone: bool, notes: &Notes) -> String {
    match pool.name.read() {
        Some(name) => name,
        None if pool.name.is_there() => String::new(),
        None if alone => limits::POOL.to_owned(),
        None => {
            notes.error(
                span,
                "a pool without a name; write name = \"…\", for listeners and routes to call it by"
                    .to_owned(),
            );
            String::new()
        }
    }
}

fn pool(pool: &model::Pool, name: String, span: Span, response: Duration, notes: &Notes) -> Pool {
    let backends = backends(pool, &name, span, notes);
    let health = super::health::health(&pool.health, notes);
    let ejection = super::health::ejection(&pool.ejection, notes);
    let fail_open = pool.fail_open.get().copied().unwrap_or(false);
    super::health::warn(pool, &backends, &health, &ejection, span, notes);
    Pool {
        name,
        algorithm: algorithm(pool, notes),
        health,
        retry: super::health::retry(&pool.retry, response, notes),
        ejection,
        sticky: pool.sticky.get().and_then(|sticky| self::sticky(sticky, pool.sticky.span(), notes)),
        queue: queue(&pool.queue, &backends, notes),
        backends,
        slow_start: pool.slow_start.or(Duration::ZERO),
        fail_open,
        resolve: match pool.resolve.get() {
            None | Some(model::Resolve::First) => Resolve::First,
            Some(model::Resolve::All) => Resolve::All,
        },
        send_proxy: pool.send_proxy.get().map(|version| match version {
            model::ProxyVersion::V1 => ProxyVersion::V1,
            model::ProxyVersion::V2 => ProxyVersion::V2,
        }),
    }
}

fn backends(pool: &model::Pool, name: &str, span: Span, notes: &Notes) -> Vec<Backend> {
    let mut seen: HashMap<BackendUrl, Span> = HashMap::new();
    let mut backends = Vec::new();
    for (given, backend_span) in pool.backend.each() {
        let Some(url) = given.url.read() else {
            if !given.url.is_there() {
                notes.missing(
                    backend_span,
                    "url",
                    "a backend without a url; write url = \"http://host:port\"".to_owned(),
                );
            }
            continue;
        };
        if let Some(first) = seen.insert(url.clone(), given.url.span()) {
            let line = notes.line_of(first);
            let message =
                format!("url \"{url}\": this pool has it already, in line {line}; raise its weight instead");
            notes.error(given.url.span(), message);
        }
        backends.push(Backend {
            weight: given.weight.or(1) as u16,
            backup: given.backup.get().copied().unwrap_or(false),
            max_connections: above_zero(&given.max_connections),
            max_requests: above_zero(&given.max_requests),
            ..Backend::new(url)
        });
    }
    if !pool.backend.has_any() {
        let pool = if name.is_empty() { "this pool".to_owned() } else { format!("pool \"{name}\"") };
        let message =
            format!("{pool} has no backend; write {} and its url", notes.format.element("pool.backend"));
        notes.missing(span, "backend", message);
    }
    if !backends.is_empty() && backends.iter().all(|backend| backend.backup) {
        notes.warning(
            pool.backend.key(),
            "every backend is a backup, so none is; take backup away from those of first choice".to_owned(),
        );
    }
    backends
}

/// A bound of which 0 means that there is none.
pub(super) fn above_zero<const LEAST: u32>(given: &Given<As<Count<LEAST, { u32::MAX }>>>) -> Option<u32> {
    given.read().filter(|&bound| bound > 0)
}

fn algorithm(pool: &model::Pool, notes: &Notes) -> Algorithm {
    let hashes = matches!(pool.algorithm.get(), Some(model::Algorithm::Hash | model::Algorithm::IpHash));
    let known = !pool.algorithm.is_there() || pool.algorithm.get().is_some();
    if known && !hashes && pool.hash_bound.is_there() {
        notes.error(
            pool.hash_bound.key(),
            "hash_bound goes with algorithm = \"hash\" or \"ip-hash\" only".to_owned(),
        );
    }
    if known && !matches!(pool.algorithm.get(), Some(model::Algorithm::Hash)) && pool.hash_key.is_there() {
        notes.error(pool.hash_key.key(), "hash_key goes with algorithm = \"hash\" only".to_owned());
    }
    let key = match pool.algorithm.get() {
        Some(model::Algorithm::IpHash) => Key::Address,
        _ => pool.hash_key.or(Key::Uri),
    };
    let bound = match pool.hash_bound.read() {
        None => key.bound(),
        Some(0) => None,
        Some(bound) if bound > 100 => Some(bound),
        Some(bound) => {
            let message =
                format!("hash_bound {bound}: must be above 100, in percent of the mean, or 0 for no bound");
            notes.error(pool.hash_bound.span(), message);
            None
        }
    };
    match pool.algorithm.get() {
        None | Some(model::Algorithm::RoundRobin) => Algorithm::RoundRobin,
        Some(model::Algorithm::LeastConnections) => Algorithm::LeastConnections,
        Some(model::Algorithm::TwoChoices) => Algorithm::TwoChoices,
        Some(model::Algorithm::PeakEwma) => Algorithm::PeakEwma,
        Some(model::Algorithm::Random) => Algorithm::Random,
        Some(model::Algorithm::IpHash | model::Algorithm::Hash) => Algorithm::Hash { key, bound },
    }
}

fn sticky(given: &model::Sticky, span: Span, notes: &Notes) -> Option<Sticky> {
    let returns = given.returns.get().copied().unwrap_or(false);
    let cookie = [
        ("name", given.name.place),
        ("path", given.path.place),
        ("same_site", given.same_site.place),
        ("secure", given.secure.place),
        ("secret", given.secret.place),
    ];
    let misplaced = |keys: &[(&str, Option<super::given::Place>)], by: &str| {
        for (key, place) in keys {
            if let Some(place) = place {
                notes.error(place.key, format!("{key} goes with by = \"{by}\" only"));
            }
        }
    };
    let by = match given.by.get() {
        Some(model::StickyBy::Cookie) => {
            misplaced(&[("time", given.time.place)], "address");
            StickyBy::Cookie(self::cookie(given, span, notes))
        }
        Some(model::StickyBy::Address) => {
            misplaced(&cookie, "cookie");
            StickyBy::Address(given.time.or(limits::STICKY_TIME))
        }
        None => {
            if !given.by.is_there() {
                notes.missing(
                    span,
                    "by",
                    "sticky by what? Write by = \"cookie\" or by = \"address\"".to_owned(),
                );
            }
            return None;
        }
    };
    Some(Sticky { by, returns })
}

fn cookie(given: &model::Sticky, span: Span, notes: &Notes) -> Cookie {
    let secure = given.secure.get().copied().unwrap_or(false);
    let name = given.name.or(limits::STICKY_COOKIE.to_owned());
    let path = given.path.or("/".to_owned());
    let begins =
        |prefix: &str| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    let prefixed = begins("__Secure-") || begins("__Host-");
    // Browsers throw such cookies away without a word (RFC 6265bis sections 4.1.3 and 5.7).
    if !secure && !given.secure.is_wrong() {
        if given.same_site.get() == Some(&model::SameSite::None) {
            let message =
                "same_site \"none\": browsers take no such cookie unless it is secure; add secure = true";
            notes.error(given.same_site.span(), message.to_owned());
        }
        if prefixed {
            let message =
                format!("name {name}: browsers take no such cookie unless it is secure; add secure = true");
            notes.error(given.name.span(), message);
        }
    }
    if begins("__Host-") && path != "/" {
        let message =
            format!("name {name}: browsers take no such cookie with another path than /; leave path out");
        notes.error(given.name.span(), message);
    }
    if !given.secret.is_there() {
        let message = "a sticky cookie without a secret in the file; unless EVENKEEL_STICKY_SECRET in the environment \
                       has one, anyone can choose the backend by it";
        notes.warning(span, message.to_owned());
    }
    Cookie {
        name,
        path,
        same_site: match given.same_site.get() {
            Some(model::SameSite::Strict) => SameSite::Strict,
            None | Some(model::SameSite::Lax) => SameSite::Lax,
            Some(model::SameSite::None) => SameSite::None,
        },
        secure,
        secret: given.secret.or(String::new()),
    }
}

fn queue(given: &Given<model::Queue>, backends: &[Backend], notes: &Notes) -> Queue {
    let default = Queue::default();
    let Some(queue) = given.get() else { return default };
    let built = Queue { length: queue.length.or(default.length), timeout: queue.timeout.or(default.timeout) };
    let unbounded =
        backends.iter().all(|backend| backend.max_connections.is_none() && backend.max_requests.is_none());
    if built != default && built.length > 0 && unbounded {
        let message = "nothing waits in this queue: no backend has max_requests or max_connections";
        notes.warning(given.key(), message.to_owned());
    }
    built
}
