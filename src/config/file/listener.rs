//! The listeners of a file, and what is wrong between their routes.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::given::Many;
use super::model;
use super::note::Notes;
use super::route::{pool_index, route};
use super::tree::Span;
use crate::config::{
    Config, Listener, Mode, PathPattern, Pool, ProxyProtocol, Route, Routes, doubled_listen,
};
use crate::limits;

/// All listeners; if the file names none, one on the default address.
pub(super) fn listeners(file: &model::File, whole: Span, pools: &[Pool], notes: &Notes) -> Vec<Listener> {
    let given = &file.listener;
    let around = Around { pools, proxied: file.trust_forwarded.has_any(), notes };
    let mut names: HashMap<String, Span> = HashMap::new();
    let mut addresses: Vec<SocketAddr> = Vec::new();
    let mut listeners = Vec::new();
    for (listener, span) in given.each() {
        let address = address(listener, span, &mut addresses, notes);
        let name = listener.name.read().unwrap_or_else(|| address.to_string());
        unique(&name, "listener", listener.name.span(), listener.name.is_there(), &mut names, notes);
        listeners.push(around.listener(listener, name, address, span));
    }
    if !given.has_any() {
        let address = Config::all_addresses(limits::PORT);
        let mode = Mode::default();
        listeners.push(Listener {
            name: address.to_string(),
            address,
            mode,
            proxy: None,
            pool: Some(0),
            routes: Routes::default(),
        });
        if pools.len() > 1 {
            let message = "several pools and no listener that names one; write";
            let message = format!("{message} {}", notes.format.element("listener"));
            notes.missing(whole, "listener", message);
        }
    }
    listeners
}

fn address(given: &model::Listener, span: Span, seen: &mut Vec<SocketAddr>, notes: &Notes) -> SocketAddr {
    let Some(address) = given.address.read() else {
        if !given.address.is_there() {
            let message = "a listener without an address; write address = \"0.0.0.0:8080\"";
            notes.missing(span, "address", message.to_owned());
        }
        return Config::all_addresses(0);
    };
    seen.push(address);
    if doubled_listen(seen).is_some() {
        seen.pop();
        let chosen = if address.port() == 0 { ", or a port" } else { "" };
        let message = format!(
            "address \"{address}\": another listener has it; give each an address{chosen} of its own"
        );
        notes.error(given.address.span(), message);
    }
    address
}

/// Notes that a name stands twice; what was only made up may.
fn unique(name: &str, what: &str, span: Span, named: bool, names: &mut HashMap<String, Span>, notes: &Notes) {
    if !named {
        return;
    }
    if let Some(first) = names.insert(name.to_owned(), span) {
        let line = notes.line_of(first);
        let message =
            format!("name \"{name}\": another {what} has it, in line {line}; give each a name of its own");
        notes.error(span, message);
    }
}

/// What a listener is read with.
struct Around<'a> {
    pools: &'a [Pool],
    /// Proxies in front are trusted.
    proxied: bool,
    notes: &'a Notes<'a>,
}

impl Around<'_> {
    fn listener(&self, given: &model::Listener, name: String, address: SocketAddr, span: Span) -> Listener {
        let Self { pools, proxied, notes } = *self;
        let mode = match given.mode.get() {
            None | Some(model::Mode::Http) => Mode::Http,
            Some(model::Mode::Tcp) => Mode::Tcp,
        };
        let mut names = HashMap::new();
        let mut routes: Vec<Route> = Vec::new();
        let mut spans: Vec<(Span, &model::Route)> = Vec::new();
        for (i, (route, span)) in given.route.each().enumerate() {
            let route_name = route.name.read().unwrap_or_else(|| format!("{name}/{}", i + 1));
            unique(&route_name, "route", route.name.span(), route.name.is_there(), &mut names, notes);
            super::names::check(route, mode, span, notes);
            let one = match mode {
                Mode::Tcp => super::names::routes(route, &route_name, span, pools, notes),
                Mode::Http => vec![self::route(route, route_name, span, pools, notes)],
            };
            spans.extend(one.iter().map(|_| (span, route)));
            routes.extend(one);
        }
        unreachable(&routes, &spans, notes);
        let routes = Routes::new(routes);
        super::redirects::check(&routes, &spans, address.port(), proxied, notes);
        let all_taken = routes.all().iter().any(takes_all);
        let pool = match given.pool.get() {
            Some(pool) => {
                if all_taken {
                    let message = "no request reaches this pool: a route without conditions takes all that no other takes";
                    notes.warning(given.pool.span(), message.to_owned());
                }
                pool_index(pool, given.pool.span(), pools, notes)
            }
            None if given.pool.is_there() || all_taken => None,
            // Whoever asks for no name of the routes is refused.
            None if mode == Mode::Tcp && given.route.has_any() => None,
            None if pools.len() == 1 => Some(0),
            None => {
                let names: Vec<&str> = pools.iter().map(|pool| pool.name.as_str()).collect();
                let message = format!(
                    "a listener without a pool for what no route takes; write pool = \"…\" ({})",
                    names.join(" or ")
                );
                notes.missing(span, "pool", message);
                None
            }
        };
        Listener { name, address, mode, proxy: proxy(given, notes), pool, routes }
    }
}

fn proxy(given: &model::Listener, notes: &Notes) -> Option<ProxyProtocol> {
    let from = super::whole::trust(&given.proxy_from, notes);
    if !given.proxy_protocol.is_there() {
        if given.proxy_from.is_there() {
            let message = "proxy_from goes with proxy_protocol only; add proxy_protocol = \"require\"";
            notes.error(given.proxy_from.key(), message.to_owned());
        }
        return None;
    }
    if from.is_empty() && !given.proxy_from.has_any() {
        let message =
            "proxy_protocol from whom? Write proxy_from = [\"10.0.0.0/8\"], with your own proxies only";
        notes.error(given.proxy_protocol.key(), message.to_owned());
    }
    let required = *given.proxy_protocol.get()? == model::ProxyProtocol::Require;
    Some(ProxyProtocol { required, from })
}

/// Whether no request is left for others.
fn takes_all(route: &Route) -> bool {
    route.host.is_none() && route.path == PathPattern::Any && route.headers.is_empty()
}

/// Notes routes whose conditions are those of an earlier one.
fn unreachable(routes: &[Route], spans: &[(Span, &model::Route)], notes: &Notes) {
    let mut seen: HashMap<String, Span> = HashMap::new();
    for (route, (span, given)) in routes.iter().zip(spans) {
        // What is wrong about a condition is noted already, and what it should mean is not known.
        if given.has_wrong_condition() {
            continue;
        }
        let conditions = format!("{:?} {:?} {:?}", route.host, route.path, route.headers);
        if let Some(first) = seen.get(&conditions) {
            let line = notes.line_of(*first);
            let message =
                format!("no request reaches this route: the one in line {line} has the same conditions");
            notes.error(*span, message);
        } else {
            seen.insert(conditions, *span);
        }
    }
}

/// Pools that no listener and no route leads to.
pub(super) fn warn_of_unused(
    listeners: &[Listener],
    pools: &[Pool],
    given: &Many<model::Pool>,
    notes: &Notes,
) {
    let mut used = vec![false; pools.len()];
    for pool in listeners.iter().flat_map(Listener::pools) {
        used.get_mut(pool).into_iter().for_each(|used| *used = true);
    }
    for (used, (pool, span)) in used.iter().zip(given.each()) {
        if !used {
            let place = if pool.name.is_there() { pool.name.span() } else { span };
            notes.warning(place, "nothing leads to this pool; name it in a listener or a route".to_owned());
        }
    }
}
