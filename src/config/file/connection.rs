//! What a file makes of a connection to a listener of `mode = "tcp"`, in words.

use super::explain::{backends, percent, row};
use super::{Loaded, show};
use crate::config::{
    Action, Algorithm, Key, Listener, Pool, ProxyVersion, RateLimit, Route, StickyBy, Timeouts, is_host_name,
};

/// What one listener makes of a connection that asks for that name, or for none.
pub(super) fn one(loaded: &Loaded, listener: &Listener, name: &str) -> String {
    let mut text = String::new();
    row(&mut text, "listener", &format!("{} on {}, mode tcp", listener.name, listener.address));
    if let Some(proxy) = &listener.proxy {
        let verb = if proxy.required { "must" } else { "may" };
        let from: Vec<String> = proxy.from.iter().map(ToString::to_string).collect();
        row(&mut text, "proxy", &format!("a PROXY header {verb} come first, from {}", from.join(", ")));
    }
    let fits = name.is_empty() || is_host_name(name.as_bytes());
    let found = if fits { listener.routes.find(name.as_bytes(), b"", |_| None) } else { None };
    let route = found.map(|index| &listener.routes.all()[index]);
    match route {
        Some(route) => row(&mut text, "route", &format!("{}: {}", route.name, condition(route))),
        None if listener.routes.all().is_empty() => {}
        None if !fits => row(&mut text, "route", "none, as that is no host's name; so the listener's pool"),
        None => row(&mut text, "route", "none, so the listener's pool"),
    }
    let limits =
        [("of all", &loaded.config.rate_limit), ("of the route", &route.and_then(|r| r.rate_limit.clone()))];
    for (of, limit) in limits {
        limit.iter().for_each(|limit| row(&mut text, "rate limit", &format!("{}, {of}", rate(limit))));
    }
    let mut shares: Vec<(usize, Option<String>)> = Vec::new();
    match route.map(|route| &route.action) {
        Some(Action::Pool(index)) => shares.push((*index, None)),
        Some(Action::Split(split)) => {
            let all = split.iter().map(|(_, share)| u64::from(*share)).sum();
            shares.extend(split.iter().map(|(index, share)| (*index, Some(percent(u64::from(*share), all)))));
        }
        Some(Action::Redirect(_) | Action::Fixed(_)) => {}
        None => shares.extend(listener.pool.map(|index| (index, None))),
    }
    if shares.is_empty() {
        row(&mut text, "answer", "it is reset: no route takes it and the listener has no pool");
    }
    let timeouts = route.map_or(loaded.config.timeouts, |route| route.timeouts.over(loaded.config.timeouts));
    for (index, share) in shares {
        let Some(chosen) = loaded.config.pools.get(index) else { continue };
        let share = share.map_or_else(String::new, |share| format!(", {share} of the connections"));
        row(&mut text, "pool", &format!("{}{share}", chosen.name));
        pool(&mut text, chosen, timeouts);
    }
    text
}

fn condition(route: &Route) -> String {
    route.host.as_ref().map_or_else(|| "all names".to_owned(), |host| format!("sni {host}"))
}

/// Nothing but its address is known of a client.
fn rate(limit: &RateLimit) -> String {
    show::rate(&RateLimit { key: Key::Address, ..limit.clone() }).replacen("requests", "connections", 1)
}

fn pool(text: &mut String, pool: &Pool, timeouts: Timeouts) {
    let algorithm = match &pool.algorithm {
        Algorithm::Hash { bound, .. } => Algorithm::Hash { key: Key::Address, bound: *bound },
        other => other.clone(),
    };
    row(text, "algorithm", &show::algorithm(&algorithm));
    match pool.sticky.as_ref().map(|sticky| &sticky.by) {
        Some(StickyBy::Address(time)) => {
            row(text, "sticky", &format!("by the client's address, for {}", show::time(*time)));
        }
        Some(StickyBy::Cookie(_)) => row(text, "sticky", "no: a connection has no cookie"),
        None => {}
    }
    backends(text, pool);
    match pool.send_proxy {
        Some(ProxyVersion::V1) => row(text, "", "each is told the client first, by PROXY v1"),
        Some(ProxyVersion::V2) => row(text, "", "each is told the client first, by PROXY v2"),
        None => {}
    }
    row(text, "health", &show::health(&pool.health));
    let mut times = vec![("connect", timeouts.connect), ("tunnel", timeouts.tunnel)];
    times.extend(timeouts.lifetime.map(|lifetime| ("lifetime", lifetime)));
    let times: Vec<String> =
        times.iter().map(|(name, duration)| format!("{name} {}", show::time(*duration))).collect();
    row(text, "timeouts", &times.join(", "));
    let retries = match pool.retry.retries {
        0 => "none".to_owned(),
        1 => "once, while no backend has taken the connection".to_owned(),
        times => format!("up to {times} times, while no backend has taken the connection"),
    };
    row(text, "retries", &retries);
}
