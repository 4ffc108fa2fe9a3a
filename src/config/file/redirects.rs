//! Redirects that lead a client round in a circle.

use super::model;
use super::note::Notes;
use super::tree::Span;
use crate::config::{Action, HostPattern, PathPattern, Route, Routes, ValueMatch};

/// A browser gives up after about twenty.
const HOPS: usize = 20;
/// Stands for a host that no route names.
const ANY_HOST: &str = "any.invalid";

/// Notes each redirect whose target comes back to it; `proxied` says that proxies in front are trusted, one of which
/// may end TLS.
pub(super) fn check(
    routes: &Routes,
    spans: &[(Span, &model::Route)],
    port: u16,
    proxied: bool,
    notes: &Notes,
) {
    for (index, (_, given)) in spans.iter().enumerate() {
        let route = &routes.all()[index];
        let Action::Redirect(_) = route.action else { continue };
        let place = given.redirect.get().map_or(given.redirect.span(), |redirect| redirect.location.span());
        if circles(routes, index, &[("http://", port)]) {
            let message = "this redirect leads back to itself; lead it elsewhere, or give its target a route of its own";
            notes.error(place, message.to_owned());
        } else if proxied
            && route.headers.is_empty()
            && circles(routes, index, &[("http://", port), ("https://", 443)])
        {
            let message = "if a trusted proxy in front ends TLS, this redirect leads round for ever; \
                           add headers = { x-forwarded-proto = \"http\" }";
            notes.warning(place, message.to_owned());
        }
    }
}

/// Whether a client that takes this route is led to it again, given the schemes and ports that lead to this listener.
fn circles(routes: &Routes, index: usize, here: &[(&str, u16)]) -> bool {
    let start = &routes.all()[index];
    let (mut host, mut path) = sample(start);
    let mut at = index;
    for _ in 0..HOPS {
        let Action::Redirect(redirect) = &routes.all()[at].action else { return false };
        let mut location = Vec::new();
        redirect.location.write(host.as_bytes(), path.as_bytes(), &mut location);
        let location = String::from_utf8_lossy(&location);
        let Some(target) = here.iter().find_map(|here| target(&location, &host, *here)) else { return false };
        (host, path) = target;
        match routes.find(host.as_bytes(), path.as_bytes(), |name| field(start, name)) {
            Some(next) if next == index => return true,
            Some(next) => at = next,
            None => return false,
        }
    }
    // Round in a circle that this one is not part of: the others are found on their own.
    false
}

/// The field of a request for which a route's conditions hold.
fn field<'a>(route: &'a Route, name: &str) -> Option<&'a [u8]> {
    match &route.headers.iter().find(|header| header.name == name)?.value {
        ValueMatch::Present => Some(b"x"),
        ValueMatch::Absent => None,
        ValueMatch::Equals(text) => Some(text.as_bytes()),
    }
}

/// A host and a path that a route's conditions hold for.
fn sample(route: &Route) -> (String, String) {
    let host = match &route.host {
        None => ANY_HOST.to_owned(),
        Some(HostPattern::Exact(host)) => host.clone(),
        Some(HostPattern::Wildcard(end)) => format!("x{end}"),
    };
    let path = match &route.path {
        PathPattern::Any => "/".to_owned(),
        PathPattern::Exact(path) | PathPattern::Prefix(path) => path.clone(),
    };
    (host, path)
}

/// Host and path of a location, if it leads to this listener.
fn target(location: &str, host: &str, (scheme, port): (&str, u16)) -> Option<(String, String)> {
    if location.starts_with('/') {
        return Some((host.to_owned(), location.to_owned()));
    }
    let rest = location.strip_prefix(scheme)?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let named = authority.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    let host =
        named.map_or(authority, |named| authority.strip_suffix(&format!(":{named}")).unwrap_or(authority));
    let usual = if scheme == "http://" { 80 } else { 443 };
    let path = if path.is_empty() { "/" } else { path };
    (named.unwrap_or(usual) == port).then(|| (host.to_owned(), path.to_owned()))
}
