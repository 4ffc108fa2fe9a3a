//! What a file makes of a request, in words; and what the file has in numbers.

use std::fmt::Write;

use super::{Loaded, Warning, connection, show};
use crate::config::{Action, Backend, Listener, Mode, Pool, Route, StickyBy, Timeouts, quoted};

/// One line with what the file has, and then its warnings.
#[must_use]
pub fn summary(loaded: &Loaded, warnings: &[Warning]) -> String {
    let routes = loaded.config.listeners.iter().map(|listener| listener.routes.all().len()).sum();
    let backends = loaded.config.pools.iter().map(|pool| pool.backends.len()).sum();
    let counted = [
        (loaded.config.listeners.len(), "listener"),
        (routes, "route"),
        (loaded.config.pools.len(), "pool"),
        (backends, "backend"),
        (warnings.len(), "warning"),
    ];
    let counted = counted.iter().filter(|(count, what)| *count > 0 || *what != "warning");
    let counted =
        counted.map(|(count, what)| format!("{count} {what}{}", if *count == 1 { "" } else { "s" }));
    let mut text = format!("OK: {}", counted.collect::<Vec<String>>().join(", "));
    for warning in warnings {
        let _ = write!(text, "\n{warning}");
    }
    text
}

/// A request as a person writes it.
struct Asked<'a> {
    method: &'a str,
    host: &'a str,
    target: &'a str,
    fields: Vec<(String, &'a str)>,
}

/// Says what becomes of a request such as `GET api.example.com/v1/x`, which fields may follow, as in
/// `GET api.example.com/ x-canary:1`; or of a connection, as `tcp://example.com:443`, whose name is what TLS asks for and
/// may be left out. A port after the host names the listener; else all of that mode answer.
///
/// # Errors
/// One line: what is not understood about the request, or that nothing listens on its port for such a thing.
pub fn explain(loaded: &Loaded, request: &str) -> Result<String, String> {
    if let Some(asked) = request.trim().strip_prefix("tcp://") {
        let end = asked.rfind(':').filter(|&at| !asked[at..].contains(']')).unwrap_or(asked.len());
        let (name, port) = asked.split_at(end);
        if asked.contains(['/', ' ']) || (!port.is_empty() && port[1..].parse::<u16>().is_err()) {
            return Err(format!(
                "{}: write a connection like \"tcp://example.com:443\" or \"tcp://:5432\"",
                quoted(request)
            ));
        }
        let parts = listeners(loaded, Mode::Tcp, asked)?;
        let parts = parts.into_iter().map(|listener| connection::one(loaded, listener, name));
        return Ok(format!("tcp://{asked}\n{}", parts.collect::<Vec<String>>().join("\n")));
    }
    let asked = asked(request)?;
    let parts = listeners(loaded, Mode::Http, asked.host)?;
    let parts: Vec<String> = parts.into_iter().map(|listener| one(loaded, listener, &asked)).collect();
    Ok(format!("{} {}{}\n{}", asked.method, asked.host, asked.target, parts.join("\n")))
}

/// The listeners on the port that stands behind a host, or all, as far as that is spoken there; at least one.
fn listeners<'l>(loaded: &'l Loaded, mode: Mode, host: &str) -> Result<Vec<&'l Listener>, String> {
    let port = host.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    let all = &loaded.config.listeners;
    let here: Vec<&Listener> =
        all.iter().filter(|listener| port.is_none_or(|port| listener.address.port() == port)).collect();
    match (here.first(), port) {
        (None, Some(port)) => {
            let ports: Vec<String> = all.iter().map(|l| l.address.port().to_string()).collect();
            return Err(format!("no listener has port {port}; there is {}", ports.join(", ")));
        }
        (Some(other), _) if here.iter().all(|listener| listener.mode != mode) => {
            let (speaks, right) = match mode {
                Mode::Tcp => ("http", "\"GET api.example.com/v1/x\""),
                Mode::Http => ("tcp", "\"tcp://example.com:443\" or \"tcp://:5432\""),
            };
            return Err(format!("the listener {} is of mode {speaks}; write it like {right}", other.name));
        }
        _ => {}
    }
    Ok(here.into_iter().filter(|listener| listener.mode == mode).collect())
}

fn asked(request: &str) -> Result<Asked<'_>, String> {
    let wrong =
        |what: &str| format!("{}: {what}; write it like \"GET api.example.com/v1/x\"", quoted(request));
    let mut words = request.split_whitespace();
    let mut first = words.next().ok_or_else(|| wrong("no request"))?;
    let mut method = "GET";
    let is_method = |word: &str| word.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
    if is_method(first) {
        method = first;
        first = words.next().ok_or_else(|| wrong("a method and no host"))?;
    }
    let url = first.strip_prefix("http://").or_else(|| first.strip_prefix("https://")).unwrap_or(first);
    let (host, target) = url.split_at(url.find('/').unwrap_or(url.len()));
    let mut fields: Vec<(String, &str)> = Vec::new();
    for word in words {
        let (name, value) =
            word.split_once(':').ok_or_else(|| wrong("after the path stand fields, like x-canary:1"))?;
        fields.push((name.to_ascii_lowercase(), value));
    }
    Ok(Asked { method, host, target: if target.is_empty() { "/" } else { target }, fields })
}

/// What one listener makes of it.
fn one(loaded: &Loaded, listener: &Listener, asked: &Asked) -> String {
    let mut text = String::new();
    row(&mut text, "listener", &format!("{} on {}", listener.name, listener.address));
    if loaded.config.status_path.as_deref() == Some(asked.target) {
        row(&mut text, "answer", "the short status, before any route");
        return text;
    }
    let field = |name: &str| asked.fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_bytes());
    let found = listener.routes.find(asked.host.as_bytes(), asked.target.as_bytes(), field);
    let route = found.map(|index| &listener.routes.all()[index]);
    match route {
        Some(route) => row(&mut text, "route", &format!("{}: {}", route.name, show::conditions(route))),
        None => row(&mut text, "route", "none, so the listener's pool"),
    }
    let limits =
        [("of all", &loaded.config.rate_limit), ("of the route", &route.and_then(|r| r.rate_limit.clone()))];
    for (of, limit) in limits {
        limit.iter().for_each(|limit| row(&mut text, "rate limit", &format!("{}, {of}", show::rate(limit))));
    }
    match (route, listener.pool) {
        (Some(route), _) => action(&mut text, loaded, route, asked),
        (None, Some(index)) => pool(&mut text, loaded, index, None, loaded.config.timeouts, asked.method),
        (None, None) => row(&mut text, "answer", "404: no route takes it and the listener has no pool"),
    }
    text
}

/// A line of two columns.
pub(super) fn row(text: &mut String, name: &str, value: &str) {
    let _ = writeln!(text, "  {name:<12}{value}");
}

fn action(text: &mut String, loaded: &Loaded, route: &Route, asked: &Asked) {
    if let Some(answer) = show::answer(&route.action) {
        row(text, "answer", &answer);
        if let Action::Redirect(redirect) = &route.action {
            let mut location = Vec::new();
            redirect.location.write(asked.host.as_bytes(), asked.target.as_bytes(), &mut location);
            row(text, "location", &String::from_utf8_lossy(&location));
        }
        edits(text, route);
        return;
    }
    if let Some(rewrite) = &route.rewrite {
        let (to, rest) = rewrite.apply(asked.target.as_bytes());
        row(
            text,
            "path",
            &format!("sent on as {}{}", String::from_utf8_lossy(to), String::from_utf8_lossy(rest)),
        );
    }
    edits(text, route);
    let timeouts = route.timeouts.over(loaded.config.timeouts);
    match &route.action {
        Action::Pool(index) => pool(text, loaded, *index, None, timeouts, asked.method),
        Action::Split(shares) => {
            let all: u64 = shares.iter().map(|(_, share)| u64::from(*share)).sum();
            for (index, share) in shares {
                let percent = percent(u64::from(*share), all);
                pool(text, loaded, *index, Some(percent), timeouts, asked.method);
            }
        }
        Action::Redirect(_) | Action::Fixed(_) => {}
    }
}

fn edits(text: &mut String, route: &Route) {
    for (name, edits) in [("request", &route.request_headers), ("response", &route.response_headers)] {
        let show = |verb: &str, name: &str, value: &str| format!("{verb} {name}{value}");
        let removed = edits.remove.iter().map(|name| show("remove", name, ""));
        let set = edits.set.iter().map(|(name, value)| show("set", name, &format!(": {value}")));
        let added = edits.add.iter().map(|(name, value)| show("add", name, &format!(": {value}")));
        for line in removed.chain(set).chain(added) {
            row(text, name, &line);
        }
    }
}

pub(super) fn percent(part: u64, whole: u64) -> String {
    format!("{:.1} %", part as f64 * 100.0 / whole.max(1) as f64)
}

fn pool(
    text: &mut String,
    loaded: &Loaded,
    index: usize,
    share: Option<String>,
    timeouts: Timeouts,
    method: &str,
) {
    let Some(pool) = loaded.config.pools.get(index) else { return };
    let share = share.map_or_else(String::new, |share| format!(", {share} of the requests"));
    row(text, "pool", &format!("{}{share}", pool.name));
    row(text, "algorithm", &show::algorithm(&pool.algorithm));
    if let Some(sticky) = &pool.sticky {
        let by = match &sticky.by {
            StickyBy::Cookie(cookie) => format!("by the cookie {}", cookie.name),
            StickyBy::Address(time) => format!("by the client's address, for {}", show::time(*time)),
        };
        let returns = if sticky.returns {
            "returns to a backend that was out"
        } else {
            "stays with the new one after a failover"
        };
        row(text, "sticky", &format!("{by}; {returns}"));
    }
    backends(text, pool);
    row(text, "health", &show::health(&pool.health));
    let Timeouts { connect, response, stall, tunnel, .. } = timeouts;
    let times = [("connect", connect), ("response", response), ("stall", stall), ("tunnel", tunnel)];
    let times = times.map(|(name, duration)| format!("{name} {}", show::time(duration)));
    row(text, "timeouts", &times.join(", "));
    retries(text, pool, method);
}

/// A line for each.
pub(super) fn backends(text: &mut String, pool: &Pool) {
    let firsts: u64 = pool.backends.iter().filter(|b| !b.backup).map(|b| u64::from(b.weight)).sum();
    for (i, backend) in pool.backends.iter().enumerate() {
        row(text, if i == 0 { "backends" } else { "" }, &candidate(backend, firsts));
    }
}

fn candidate(backend: &Backend, firsts: u64) -> String {
    let share = if backend.backup {
        "backup".to_owned()
    } else {
        format!("weight {}, {}", backend.weight, percent(backend.weight.into(), firsts))
    };
    let caps = [(backend.max_connections, "connections"), (backend.max_requests, "requests")];
    let caps = caps.iter().filter_map(|(cap, what)| Some(format!(", at most {} {what}", (*cap)?)));
    format!("{}  {share}{}", backend.url, caps.collect::<String>())
}

fn retries(text: &mut String, pool: &Pool, method: &str) {
    let retry = &pool.retry;
    if retry.retries == 0 {
        row(text, "retries", "none");
        return;
    }
    let times = if retry.retries == 1 { "once".to_owned() } else { format!("up to {} times", retry.retries) };
    row(
        text,
        "retries",
        &format!("{times}, on another backend at once, on the same after {}", show::time(retry.delay)),
    );
    // RFC 9110 section 9.2.2.
    let again = matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE");
    if again {
        row(
            text,
            "",
            &format!("{method} may be sent again also after a backend had it, while nothing was answered"),
        );
    } else {
        row(text, "", &format!("{method} is sent again only if no backend can have had it"));
    }
    if again && !retry.statuses.is_empty() {
        row(text, "", &format!("also after an answer of {}", retry.statuses));
    }
    if let Some(timeout) = retry.try_timeout {
        row(text, "", &format!("each try may take {}", show::time(timeout)));
    }
    let (budget, floor) = (retry.budget, retry.budget_floor);
    row(text, "", &format!("all requests together: {budget} % of them, or {floor} a second"));
}
